//! [`Envelope`]: a payload and who signed it, as DSSE has it
//! ([protocol](https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md),
//! [envelope](https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md)).
//!
//! What is signed names the payload's type, so a signature of the audit's key on a checkpoint is none on an envelope, and
//! the other way round.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::key::{PublicKey, Signature, SigningKey};

/// A signed payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What the payload is.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The payload, base64.
    pub payload: String,
    /// Who signed it.
    pub signatures: Vec<Signed>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Whose it says it is: the public key, base64. Nobody needs to believe it.
    #[serde(default)]
    pub keyid: String,
    /// The signature, base64.
    pub sig: String,
}

/// Signs in the name of a proxy's log.
#[derive(Clone)]
pub struct Signer {
    key: Arc<SigningKey>,
    log: String,
}

impl Signer {
    /// Signs with the key of the log of this name.
    pub fn new(key: Arc<SigningKey>, log: String) -> Self {
        Self { key, log }
    }

    /// The log's name.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Puts a payload of this type into an envelope.
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> Envelope {
        let signature = self.key.sign(&signed_bytes(payload_type, payload));
        Envelope {
            payload_type: payload_type.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signed {
                keyid: self.key.public().to_string(),
                sig: signature.to_string(),
            }],
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl Envelope {
    /// The payload, whoever signed it; None: it is no base64.
    pub fn unverified(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.payload).ok()
    }

    /// The payload and who signed it; None: none of these keys did.
    pub fn opened(&self, keys: &[PublicKey]) -> Option<(Vec<u8>, PublicKey)> {
        let payload = self.unverified()?;
        let bytes = signed_bytes(&self.payload_type, &payload);
        let signatures = self.signatures.iter();
        let signatures: Vec<_> = signatures
            .filter_map(|one| Signature::parse(&one.sig))
            .collect();
        let signer = keys.iter().find(|key| {
            signatures
                .iter()
                .any(|signature| key.verifies(&bytes, signature))
        });
        signer.map(|key| (payload, *key))
    }

    /// About how many bytes of memory its texts take.
    pub(super) fn size(&self) -> usize {
        let signatures = self.signatures.iter();
        self.payload.len() + signatures.map(|one| one.sig.len()).sum::<usize>()
    }
}

/// The pre-authentication encoding: type and payload with their lengths, so that no two of them look the same.
fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(folder: &tempfile::TempDir, name: &str) -> (Signer, PublicKey) {
        let key = SigningKey::create(&folder.path().join(name)).unwrap();
        let public = key.public();
        (Signer::new(Arc::new(key), "log".to_owned()), public)
    }

    #[test]
    fn what_is_signed_is_what_the_protocol_says() {
        // The example of the protocol's own page.
        assert_eq!(
            signed_bytes("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn an_envelope_opens_for_its_signer_s_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (signer, key) = signer(&folder, "a");
        let (_, other) = self::signer(&folder, "b");
        let envelope = signer.sign("text/plain", b"it works");
        let text = serde_json::to_string(&envelope).unwrap();
        assert!(text.starts_with(r#"{"payloadType":"text/plain","payload":"aXQgd29ya3M=","#));
        let envelope: Envelope = serde_json::from_str(&text).unwrap();
        let opened = Some((b"it works".to_vec(), key));
        assert_eq!(envelope.opened(&[other, key]), opened);
        assert_eq!(envelope.opened(&[other]), None);
        assert_eq!(envelope.opened(&[]), None);

        let changed = |change: fn(&mut Envelope)| {
            let mut changed = envelope.clone();
            change(&mut changed);
            assert_ne!(changed, envelope);
            changed.opened(&[key])
        };
        assert_eq!(changed(|it| it.payload = STANDARD.encode("it broke")), None);
        assert_eq!(changed(|it| it.payload_type.push('x')), None);
        assert_eq!(changed(|it| it.signatures.clear()), None);
        assert_eq!(changed(|it| it.payload.push('!')), None);
        // Whose it says it is makes no difference.
        assert_eq!(changed(|it| it.signatures[0].keyid.clear()), opened);
    }
}
