//! Commands of an administrator get onto the record even though another process writes the log: they leave a file in
//! the log's folder, and whoever writes the log takes it in.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind};
use super::folder;
use super::time::milliseconds;

const FOLDER: &str = "incoming";

/// What a command leaves.
#[derive(Debug, Serialize, Deserialize)]
struct Left {
    time: u64,
    command: String,
    detail: String,
    account: String,
    /// What a gate said, if the command was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gate: Option<Gated>,
}

/// What a gate said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gated {
    /// The commit, in full.
    pub commit: String,
    /// The stage that it was to go on to.
    pub to: String,
    /// Whether it may.
    pub passed: bool,
    /// What is missing, if something is.
    pub why: String,
}

impl Left {
    fn kind(self) -> EventKind {
        let Self {
            command,
            detail,
            account,
            gate,
            ..
        } = self;
        match gate {
            None => EventKind::Administered {
                command,
                detail,
                account,
            },
            Some(Gated {
                commit,
                to,
                passed,
                why,
            }) => EventKind::Gate {
                commit,
                to,
                passed,
                why,
                account,
            },
        }
    }
}

/// An event that was left, and its file.
#[derive(Debug)]
pub(super) struct Spooled {
    pub event: Event,
    pub path: PathBuf,
}

/// Leaves the record of an administrator's command for the log in `folder`: on disk when this returns, in the log as
/// soon as a proxy runs. `detail` says what the command was told, without a secret.
///
/// # Errors
/// The file cannot be written: the command should not be carried out then.
pub fn administered(folder: &Path, command: &str, detail: &str) -> io::Result<()> {
    leave(folder, command, detail, None)
}

/// Leaves the record of what a gate said, as [`administered`] does.
///
/// # Errors
/// The file cannot be written.
pub fn gated(folder: &Path, gate: &Gated) -> io::Result<()> {
    leave(folder, "gate", "", Some(gate.clone()))
}

/// The account that runs this process: the one behind `sudo`, if there is one.
pub fn account() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn leave(folder: &Path, command: &str, detail: &str, gate: Option<Gated>) -> io::Result<()> {
    let event = Event::now(EventKind::Started);
    let left = Left {
        time: milliseconds(event.time),
        command: command.to_owned(),
        detail: detail.to_owned(),
        account: account(),
        gate,
    };
    folder::make(folder)?;
    let incoming = folder.join(FOLDER);
    folder::make(&incoming)?;
    let name = format!("{:020}-{:016x}", left.time, rand::random::<u64>());
    let path = incoming.join(format!("{name}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(&serde_json::to_vec(&left)?)?;
    file.sync_all()?;
    fs::rename(&path, incoming.join(format!("{name}.json")))?;
    folder::sync(&incoming)
}

/// What was left, oldest first. A file that makes no sense is moved aside and reported.
pub(super) fn take(folder: &Path) -> io::Result<Vec<Spooled>> {
    let incoming = folder.join(FOLDER);
    let entries = match fs::read_dir(&incoming) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match serde_json::from_slice::<Left>(&fs::read(&path)?) {
            Ok(left) => found.push(Spooled {
                event: Event {
                    time: UNIX_EPOCH + Duration::from_millis(left.time),
                    ..Event::now(left.kind())
                },
                path,
            }),
            Err(_) => {
                tracing::warn!(file = folder::name(&path), "no record of a command");
                fs::rename(&path, path.with_extension("wrong"))?;
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}
