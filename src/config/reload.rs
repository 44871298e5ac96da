//! When the configuration should be read again: on SIGHUP, and when the developers' file or a policy's file has
//! changed, so that `devinprod developer rotate` and an edited policy need nothing else.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Config, Loaded, Report};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the configuration again whenever there is a reason to.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    hangup: Signal,
    seen: Seen,
}

/// The files besides the configuration itself, and how each of them looked; None: it was not there.
type Seen = BTreeMap<PathBuf, Option<Fingerprint>>;

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
            seen: look(watched(config)),
        })
    }

    /// Waits for a reason, then reads the configuration. Nothing is lost if this is dropped while it waits.
    ///
    /// # Errors
    /// What is wrong with the configuration; keep the old one.
    pub async fn next(&mut self) -> Result<Loaded, Report> {
        tokio::select! {
            _ = self.hangup.recv() => {}
            () = changed(&self.seen) => {}
        }
        // Looked at before they are read: a change in between is then seen as one.
        self.seen = look(self.seen.keys().cloned());
        let loaded = Config::load(&self.path)?;
        let before = std::mem::take(&mut self.seen);
        for file in watched(&loaded.config) {
            let seen = match before.get(&file) {
                Some(seen) => seen.clone(),
                None => fingerprint(&file),
            };
            self.seen.insert(file, seen);
        }
        Ok(loaded)
    }
}

/// The files that a configuration is made of, besides itself.
fn watched(config: &Config) -> impl Iterator<Item = PathBuf> {
    config
        .policy_files()
        .into_iter()
        .chain(config.developers_file.clone())
}

fn look(files: impl IntoIterator<Item = PathBuf>) -> Seen {
    files
        .into_iter()
        .map(|file| {
            let fingerprint = fingerprint(&file);
            (file, fingerprint)
        })
        .collect()
}

/// Returns when a file no longer looks as it was seen; never, if there is no file to look at.
async fn changed(seen: &Seen) {
    if seen.is_empty() {
        std::future::pending::<()>().await;
    }
    while seen
        .iter()
        .all(|(file, before)| fingerprint(file) == *before)
    {
        tokio::time::sleep(LOOK).await;
    }
}

fn fingerprint(file: &Path) -> Option<Fingerprint> {
    let metadata = std::fs::metadata(file).ok()?;
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
    async fn a_changed_policy_is_noticed_and_a_wrong_one_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devinprod.toml");
        std::fs::write(&path, format!("{CONFIG}policy = [\"p.toml\"]\n")).unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("p.toml"), text).unwrap();
        write("default = \"deny\"\n");
        let config = Config::load(&path).unwrap().config;
        let before = config.upstreams["shop"].policy.clone().unwrap();
        let mut reloader = Reloader::new(&path, &config).unwrap();
        write("default = \"denied\"\n");
        let report = timeout(LOOK * 10, reloader.next())
            .await
            .unwrap()
            .unwrap_err();
        let report = report.to_string();
        assert!(
            report.contains("p.toml:1:11: there is no mask `denied`"),
            "{report}"
        );
        assert!(
            timeout(LOOK * 2, reloader.next()).await.is_err(),
            "it is reported once"
        );
        write("default = \"text\"\n");
        let loaded = timeout(LOOK * 10, reloader.next()).await.unwrap().unwrap();
        let after = loaded.config.upstreams["shop"].policy.clone().unwrap();
        assert_ne!(after.version(), before.version());
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
