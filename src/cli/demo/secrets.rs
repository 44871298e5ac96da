//! The demo's passwords: made once and kept, so that a URL goes on working after a restart.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use postgres_protocol::password::scram_sha_256;
use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};

const PASSWORD_LENGTH: usize = 24;

/// All are letters and digits alone, so they need no escaping in a URL.
#[derive(Serialize, Deserialize)]
pub(super) struct Secrets {
    /// The password of the role that the proxy logs in as.
    pub(super) proxy: String,
    /// The developer's password at the proxy.
    pub(super) developer: String,
    /// The password of the role that adds records to the audit's database.
    pub(super) writer: String,
}

impl Secrets {
    /// Those kept in `dir`, or fresh ones.
    pub(super) fn keep(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("passwords.json");
        // Lost or damaged is no harm: the proxy's role gets the new password when the shop is sealed.
        if let Some(kept) = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
        {
            return Ok(kept);
        }
        let fresh = Self {
            proxy: random_password(),
            developer: random_password(),
            writer: random_password(),
        };
        fresh
            .write(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(fresh)
    }

    /// What the proxy checks the developer's password against.
    pub(super) fn developer_verifier(&self) -> String {
        scram_sha_256(self.developer.as_bytes())
    }

    /// What Postgres checks the proxy's password against.
    pub(super) fn proxy_verifier(&self) -> String {
        scram_sha_256(self.proxy.as_bytes())
    }

    /// What Postgres checks the audit's writer against.
    pub(super) fn writer_verifier(&self) -> String {
        scram_sha_256(self.writer.as_bytes())
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_private(path, &serde_json::to_vec(self)?)
    }
}

/// Writes a file that nobody else can read, as a whole or not at all.
pub(super) fn write_private(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(text)?;
    file.sync_all()?;
    Ok(fs::rename(&partial, path)?)
}

fn random_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn passwords_are_kept_private_and_stay_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let first = Secrets::keep(dir.path()).unwrap();
        let second = Secrets::keep(dir.path()).unwrap();
        assert_eq!(first.proxy, second.proxy);
        assert_eq!(first.developer, second.developer);
        assert_ne!(first.proxy, first.developer);
        let path = dir.path().join("passwords.json");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        fs::write(&path, "{").unwrap();
        assert_ne!(Secrets::keep(dir.path()).unwrap().proxy, first.proxy);
    }
}
