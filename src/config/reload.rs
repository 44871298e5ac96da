//! When the configuration should be read again: on SIGHUP, and when the developers' file has changed, so that
//! `devinprod developer rotate` needs nothing else.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Config, Loaded, Report};

/// How often the developers' file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the configuration again whenever there is a reason to.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    hangup: Signal,
    developers_file: Option<PathBuf>,
    seen: Option<Fingerprint>,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    inode: u64,
    length: u64,
    modified: SystemTime,
}

impl Reloader {
    /// From now on SIGHUP does not end the process. `config` is what was read from `path` before; needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// The signal cannot be listened to.
    pub fn new(path: &Path, config: &Config) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            hangup: signal(SignalKind::hangup())?,
            seen: fingerprint(config.developers_file.as_deref()),
            developers_file: config.developers_file.clone(),
        })
    }

    /// Waits for a reason, then reads the configuration. Nothing is lost if this is dropped while it waits.
    ///
    /// # Errors
    /// What is wrong with the configuration; keep the old one.
    pub async fn next(&mut self) -> Result<Loaded, Report> {
        tokio::select! {
            _ = self.hangup.recv() => {}
            () = changed(self.developers_file.as_deref(), self.seen.as_ref()) => {}
        }
        // Looked at before it is read: a change in between is then seen as one.
        self.seen = fingerprint(self.developers_file.as_deref());
        let loaded = Config::load(&self.path)?;
        if loaded.config.developers_file != self.developers_file {
            self.developers_file = loaded.config.developers_file.clone();
            self.seen = fingerprint(self.developers_file.as_deref());
        }
        Ok(loaded)
    }
}

/// Returns when the file no longer looks as it was seen; never, if there is no file to look at.
async fn changed(file: Option<&Path>, seen: Option<&Fingerprint>) {
    if file.is_none() {
        std::future::pending::<()>().await;
    }
    while fingerprint(file).as_ref() == seen {
        tokio::time::sleep(LOOK).await;
    }
}

fn fingerprint(file: Option<&Path>) -> Option<Fingerprint> {
    let metadata = std::fs::metadata(file?).ok()?;
    Some(Fingerprint {
        inode: metadata.ino(),
        length: metadata.len(),
        modified: metadata.modified().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::developers::DevelopersFile;
    use crate::wire::verifier::Verifier;
    use tokio::time::timeout;

    const CONFIG: &str = "developers_file = \"who\"\n[[upstream]]\nname = \"shop\"\nurl = \"postgres://p@h/d\"\nstage = \"local\"\n";

    fn rotate(folder: &Path) -> Verifier {
        let verifier = Verifier::from_password("new", 1);
        let mut file = DevelopersFile::read_or_empty(&folder.join("who")).unwrap();
        file.set("dev1", verifier.clone());
        file.write(&folder.join("who")).unwrap();
        verifier
    }

    #[tokio::test]
    async fn a_changed_developers_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devinprod.toml");
        std::fs::write(&path, CONFIG).unwrap();
        let config = Config::load(&path).unwrap().config;
        let mut reloader = Reloader::new(&path, &config).unwrap();
        for _ in 0..2 {
            assert!(
                timeout(LOOK * 2, reloader.next()).await.is_err(),
                "nothing has changed"
            );
            let verifier = rotate(folder.path());
            let loaded = timeout(LOOK * 10, reloader.next()).await.unwrap().unwrap();
            assert_eq!(loaded.config.developers["dev1"].verifier, verifier);
        }
    }

    #[tokio::test]
    async fn a_configuration_that_is_wrong_is_reported_and_then_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devinprod.toml");
        std::fs::write(&path, CONFIG).unwrap();
        let config = Config::load(&path).unwrap().config;
        let mut reloader = Reloader::new(&path, &config).unwrap();
        std::fs::write(folder.path().join("who"), "not a developer\n").unwrap();
        assert!(timeout(LOOK * 10, reloader.next()).await.unwrap().is_err());
        assert!(
            timeout(LOOK * 2, reloader.next()).await.is_err(),
            "it is reported once"
        );
    }
}
