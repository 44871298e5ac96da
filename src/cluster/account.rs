//! Whose account runs Postgres: one's own, or, as root, one that Postgres accepts.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::Error;

/// The account that owns a cluster's files and runs its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    /// This process is an ordinary user, and so is the server.
    Own,
    /// This process is root; the server runs as somebody else.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// The account to use here.
    pub(super) fn choose() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| {
                let uid = numeric_id("-u", name)?;
                let gid = numeric_id("-g", name)?;
                (uid != 0).then(|| Self::Other {
                    name: name.to_owned(),
                    uid,
                    gid,
                })
            })
            .ok_or(Error::NoAccount)
    }

    /// A command that will run as this account, with no input and a neutral working folder.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // The current folder may be one that the account cannot enter; Postgres gives up on that.
        command.current_dir("/").stdin(Stdio::null());
        // Log lines are read by us, so they must be in English.
        command.env("LC_ALL", "C");
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Makes a private folder that belongs to this account.
    pub(super) fn create_dir(&self, path: &Path) -> Result<(), Error> {
        std::fs::create_dir(path).map_err(|source| Error::io("create", path, source))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .map_err(|source| Error::io("protect", path, source))?;
        self.own(path)
    }

    /// Gives a file or folder to this account.
    pub(super) fn own(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => std::os::unix::fs::lchown(path, Some(*uid), Some(*gid))
                .map_err(|source| Error::io("change the owner of", path, source)),
        }
    }

    /// Whether a folder, which must exist, can be entered by this account.
    pub(super) fn can_enter(&self, folder: &Path) -> bool {
        self.succeeds("cd \"$1\"", folder)
    }

    /// Whether a program can be run by this account.
    pub(super) fn can_run(&self, program: &Path) -> bool {
        self.succeeds("test -x \"$1\"", program)
    }

    /// Whether a path belongs to this account or to this process' own (and is no link to elsewhere).
    pub(super) fn owns(&self, path: &Path) -> bool {
        let Ok(metadata) = std::fs::symlink_metadata(path) else {
            return false;
        };
        let own = rustix::process::geteuid().as_raw();
        !metadata.file_type().is_symlink()
            && match self {
                Self::Own => metadata.uid() == own,
                Self::Other { uid, .. } => metadata.uid() == own || metadata.uid() == *uid,
            }
    }

    /// The account's name, for messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Own => "you",
            Self::Other { name, .. } => name,
        }
    }

    fn succeeds(&self, script: &str, argument: &Path) -> bool {
        self.command(Path::new("/bin/sh"))
            .args(["-c", script, "sh"])
            .arg(argument)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Asks `id`, which knows accounts from all sources of the system, not only from /etc/passwd.
fn numeric_id(flag: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, name]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.trim().parse().ok())
        .flatten()
}
