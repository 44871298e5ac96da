//! What is kept of a password: [`Verifier`], in the format of `pg_authid.rolpassword`; and [`MockSecret`],
//! what stands in for it where there is no such user.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// How often the password is hashed unless a verifier says otherwise: Postgres' default.
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// Bytes of salt that Postgres makes for a password.
const SALT_BYTES: usize = 16;
/// The first part of a verifier.
const MECHANISM: &str = "SCRAM-SHA-256";

/// A key or signature: the size of SHA-256.
pub(super) type Key = [u8; 32];

/// What the server keeps of a password: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`.
///
/// It is worth protecting (it allows an offline search for the password), so Debug does not show it;
/// Display writes it in full, for the configuration file.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

/// The text is no SCRAM-SHA-256 verifier. The text itself is not part of the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a verifier of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")]
pub struct InvalidVerifier;

impl Verifier {
    /// A verifier of a password with a fresh random salt. `iterations` of 0 counts as 1.
    pub fn from_password(password: &str, iterations: u32) -> Self {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt);
        Self::with_salt(password, iterations, &salt)
    }

    /// Is this the password? For who tells it in plain words, as a form does; hashes it, which takes milliseconds.
    pub fn accepts(&self, password: &str) -> bool {
        let theirs = Self::with_salt(password, self.iterations, &self.salt);
        theirs.stored_key.ct_eq(&self.stored_key).into()
    }

    pub(super) fn with_salt(password: &str, iterations: u32, salt: &[u8]) -> Self {
        let iterations = iterations.max(1);
        // Like Postgres: a password that SASLprep forbids is used as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let mut salted = Key::default();
        pbkdf2::pbkdf2_hmac::<Sha256>(prepared.as_bytes(), salt, iterations, &mut salted);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(hmac(&salted, &[b"Client Key"])).into(),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }
}

impl FromStr for Verifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        let mut parts = text.split('$');
        let (Some(MECHANISM), Some(hashing), Some(keys), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidVerifier);
        };
        let (iterations, salt) = hashing.split_once(':').ok_or(InvalidVerifier)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(InvalidVerifier)?;
        let decode = |text: &str| BASE64.decode(text).map_err(|_| InvalidVerifier);
        let key = |text: &str| Key::try_from(decode(text)?).map_err(|_| InvalidVerifier);
        let verifier = Self {
            iterations: iterations.parse().map_err(|_| InvalidVerifier)?,
            salt: decode(salt)?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        };
        if verifier.iterations == 0 || verifier.salt.is_empty() {
            return Err(InvalidVerifier);
        }
        Ok(verifier)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{MECHANISM}${}:{}${}:{}",
            self.iterations,
            BASE64.encode(&self.salt),
            BASE64.encode(self.stored_key),
            BASE64.encode(self.server_key)
        )
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(redacted)")
    }
}

/// A secret of this server that gives unknown users a salt of their own, always the same one, so that
/// nobody learns from the exchange which users exist.
#[derive(Clone)]
pub struct MockSecret(Key);

impl MockSecret {
    /// A new secret. Keep it as long as the process lives.
    pub fn random() -> Self {
        let mut secret = Key::default();
        rand::fill(&mut secret);
        Self(secret)
    }

    #[cfg(test)]
    pub(super) fn of(secret: Key) -> Self {
        Self(secret)
    }

    /// What to run the exchange with for a user that does not exist. No password matches it.
    pub fn verifier(&self, user: &str) -> Verifier {
        let mut salt = hmac(&self.0, &[b"salt", user.as_bytes()]).to_vec();
        salt.truncate(SALT_BYTES);
        Verifier {
            iterations: DEFAULT_ITERATIONS,
            salt,
            stored_key: hmac(&self.0, &[b"stored", user.as_bytes()]),
            server_key: hmac(&self.0, &[b"server", user.as_bytes()]),
        }
    }
}

impl fmt::Debug for MockSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MockSecret(redacted)")
    }
}

pub(super) fn hmac(key: &Key, parts: &[&[u8]]) -> Key {
    // A key shorter than a block is filled up with zeros: HMAC's own rule, done here because a block
    // always fits and no error has to be invented.
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifiers_are_written_and_read_as_postgres_does() {
        // Written by Postgres 15.
        let theirs = [
            (
                "secret",
                "SCRAM-SHA-256$4096:SOHms7VyGR/PARQrOD3WzQ==$\
                 Hvuscp3un2Djp8D8Vz8r3Ml5Mwh5n5mrjjB3JM2IsnE=:\
                 pD+GucQhBDhWmd2USb19vw7pBAXRLTyiCdNXlP6C8z0=",
            ),
            (
                "pä ss",
                "SCRAM-SHA-256$4096:EN0Vcf7mCTAFTCTLH1WAvA==$\
                 TVaQ/1UBYXn+Pgux+h18yLA34CgFuah6ItO8cGkzv1k=:\
                 uwLumefKuP61gXKFccEP7/h85Szmk5gJzGZeoulMg94=",
            ),
        ];
        for (password, text) in theirs {
            let parsed: Verifier = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(Verifier::with_salt(password, 4096, &parsed.salt), parsed);
        }

        let verifier = Verifier::from_password("secret", 4096);
        assert!(verifier.accepts("secret"));
        assert!(!verifier.accepts("Secret") && !verifier.accepts(""));
        let nobody = MockSecret::random().verifier("nobody");
        assert!(!nobody.accepts("secret") && !nobody.accepts(""));
        let text = verifier.to_string();
        assert!(text.starts_with("SCRAM-SHA-256$4096:"));
        assert_eq!(text.parse(), Ok(verifier.clone()));
        assert!(!format!("{verifier:?}").contains(&text[20..40]));
        let key = BASE64.encode([1; 32]);
        for bad in [
            "",
            "md5aaaa",
            "SCRAM-SHA-256$4096:c2FsdA==$",
            &format!("SCRAM-SHA-256$0:c2FsdA==${key}:{key}"),
            &format!("SCRAM-SHA-256$4096:${key}:{key}"),
            &format!("SCRAM-SHA-256$4096:c2FsdA==${key}:AAAA"),
            &format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}$"),
            &format!("SCRAM-SHA-1$4096:c2FsdA==${key}:{key}"),
        ] {
            assert_eq!(bad.parse::<Verifier>(), Err(InvalidVerifier), "{bad}");
        }
    }
}
