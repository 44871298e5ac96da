//! What can go wrong with a private cluster.

use std::io;
use std::path::{Path, PathBuf};

/// Why a cluster could not be made, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses this cluster.
    #[error("{} is in use by another devinprod process", .0.display())]
    InUse(PathBuf),
    /// The folder holds something that is not a cluster of ours.
    #[error("{} is not a devinprod cluster: {reason}", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// How it was recognised.
        reason: String,
    },
    /// The cluster was made by another major version of Postgres.
    #[error(
        "{} was made by Postgres {made_by}, but the programs found are Postgres {found}",
        path.display()
    )]
    OtherVersion {
        /// The cluster.
        path: PathBuf,
        /// The major version that made it.
        made_by: u32,
        /// The major version of the programs.
        found: u32,
    },
    /// Running as root, and there is no account to run Postgres as.
    #[error("Postgres refuses to run as root, and neither user `postgres` nor `nobody` exists")]
    NoAccount,
    /// Running as root, and the account that is to run Postgres cannot execute its programs.
    #[error("user `{account}` cannot run the programs in {}", folder.display())]
    Unreachable {
        /// The account.
        account: String,
        /// The folder of the programs.
        folder: PathBuf,
    },
    /// initdb failed.
    #[error("initdb failed: {0}")]
    Initdb(String),
    /// The server ended while it was starting.
    #[error("Postgres ended while starting ({status}): {log}")]
    Ended {
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The server did not answer a query in time.
    #[error("Postgres did not answer in time; its log: {}", .0.display())]
    Silent(PathBuf),
    /// A server that an earlier process left behind does not stop.
    #[error("a Postgres server left over in {} (pid {pid}) does not stop", data.display())]
    Leftover {
        /// Its data directory.
        data: PathBuf,
        /// Its first process.
        pid: i32,
    },
}

impl Error {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse(_) => Some("stop that process, or choose another folder".to_owned()),
            Self::Foreign { .. } => Some("choose another folder, or remove this one".to_owned()),
            Self::OtherVersion { path, made_by, .. } => Some(format!(
                "point PG_BIN at Postgres {made_by}, or remove {} to begin anew",
                path.display()
            )),
            Self::NoAccount => {
                Some("create a user `postgres`, or run as an ordinary user".to_owned())
            }
            Self::Unreachable { .. } => Some(
                "install Postgres in a folder that everybody can reach, or run as an ordinary user"
                    .to_owned(),
            ),
            Self::Leftover { pid, .. } => Some(format!("end it with `kill -9 {pid}`")),
            Self::Io { .. } | Self::Initdb(_) | Self::Ended { .. } | Self::Silent(_) => None,
        }
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.display().to_string(),
            source,
        }
    }
}
