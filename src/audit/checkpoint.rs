//! A signed checkpoint: whoever has it and the public key can tell whether the log was changed up to there.

use serde::{Deserialize, Serialize};

use super::chain::{Hash, Head};
use super::key::{PublicKey, Signature, SigningKey};

/// What is signed. It stands in a line of its own in the log, and in the second place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The log's name, made at random when it began: no checkpoint of another log will do.
    pub log: String,
    /// The public key, for who has no better source of it.
    pub key: String,
    /// The sequence number of the segment's first line.
    pub first: u64,
    /// The sequence number of the line before the checkpoint's own.
    pub last: u64,
    /// The hash of that line.
    pub hash: Hash,
    /// The hash of the signed text of the checkpoint before; zeros in the first.
    pub previous: Hash,
    /// When, in milliseconds since 1970; never less than in the checkpoint before.
    pub time: u64,
    /// It is the last line of its segment.
    pub closes: bool,
}

/// A checkpoint and its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// The signature of [`Checkpoint::text`], base64.
    pub signature: String,
}

impl Checkpoint {
    /// The signed bytes: one line for each field, in this order.
    pub fn text(&self) -> String {
        let Self {
            log,
            key,
            first,
            last,
            hash,
            previous,
            time,
            closes,
        } = self;
        format!(
            "devinprod audit checkpoint 1\nlog {log}\nkey {key}\nfirst {first}\nlast {last}\nhash {hash}\n\
             previous {previous}\ntime {time}\ncloses {closes}\n"
        )
    }

    /// What the next checkpoint is linked to.
    pub fn hash_of_text(&self) -> Hash {
        Hash::of(self.text().as_bytes())
    }

    /// Signs it.
    pub fn sign(self, key: &SigningKey) -> Signed {
        let signature = key.sign(self.text().as_bytes()).to_string();
        Signed {
            checkpoint: self,
            signature,
        }
    }

    /// Where the log stood before the checkpoint's own line was written.
    pub fn head(&self) -> Head {
        Head {
            next: self.last.saturating_add(1),
            hash: self.hash,
            logged: self.time,
        }
    }
}

impl Signed {
    /// The key that it says it is signed with, if the signature is right.
    pub fn signer(&self) -> Option<PublicKey> {
        let key = PublicKey::parse(&self.checkpoint.key)?;
        let signature = Signature::parse(&self.signature)?;
        key.verifies(self.checkpoint.text().as_bytes(), &signature)
            .then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_can_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::create(&folder.path().join("key")).unwrap();
        let signed = Checkpoint {
            log: "log".to_owned(),
            key: key.public().to_string(),
            first: 1,
            last: 9,
            hash: Hash::of(b"9"),
            previous: Hash::NONE,
            time: 1_700_000_000_000,
            closes: false,
        }
        .sign(&key);
        assert_eq!(signed.signer(), Some(key.public()));
        let fields = [
            ("log", "\"other\"".to_owned()),
            ("first", "2".to_owned()),
            ("last", "8".to_owned()),
            ("hash", format!("\"{}\"", Hash::of(b"8"))),
            ("previous", format!("\"{}\"", Hash::of(b"8"))),
            ("time", "1700000000001".to_owned()),
            ("closes", "true".to_owned()),
        ];
        let mut names = serde_json::to_value(&signed.checkpoint).unwrap();
        names.as_object_mut().unwrap().remove("key");
        assert_eq!(names.as_object().unwrap().len(), fields.len());
        for (field, value) in fields {
            let mut changed = serde_json::to_value(&signed).unwrap();
            changed["checkpoint"][field] = serde_json::from_str(&value).unwrap();
            let changed: Signed = serde_json::from_value(changed).unwrap();
            assert_ne!(changed, signed);
            assert_eq!(changed.signer(), None, "{field}");
        }
    }
}
