//! The ledger's file: a line for each change, with a checksum, in absolute values.
//!
//! A line replaces what an earlier one said of the same thing, so a line that is torn or read twice harms nothing. When the
//! file has grown, a new one with only what still counts takes its place by a rename.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// From this size on, a file that is mostly outdated is written anew.
const LARGE: u64 = 1 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// A file of this version begins.
    Ledger(u32),
    /// The ledger's time, in milliseconds since 1970.
    Now(u64),
    /// A counter: key, window's number, how long a window is in milliseconds, what is used.
    Count(String, u64, u64, u64),
    /// A grant: number, pool, what was granted, what is left, when it ends.
    Grant(u64, String, u64, u64, u64),
}

/// The version that this program writes.
const VERSION: u32 = 1;

/// The file, open, and its folder locked.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    /// How large the file was when it was written anew.
    fresh: u64,
    _lock: File,
}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the ledger of read budgets in {0} is in use by another process")]
    Locked(PathBuf),
    /// It was written by a later version, or is no ledger.
    #[error("{0} is not a ledger of read budgets that this version can read")]
    Foreign(PathBuf),
    /// The system says no.
    #[error("the ledger of read budgets in {0} cannot be opened")]
    Io(PathBuf, #[source] io::Error),
}

impl Journal {
    /// Opens the ledger in `folder`, which is made if need be, and returns what stands in it.
    pub(super) fn open(folder: &Path) -> Result<(Self, Vec<Record>), OpenError> {
        let io = |error| OpenError::Io(folder.to_owned(), error);
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(io)?;
        let lock = private(&folder.join("budgets.lock"), false).map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| OpenError::Locked(folder.to_owned()))?;
        let path = folder.join("budgets.ledger");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io(error)),
        };
        let records = read(&text).ok_or_else(|| OpenError::Foreign(path.clone()))?;
        let file = private(&path, true).map_err(io)?;
        let journal = Self {
            path,
            file,
            size: text.len() as u64,
            fresh: 0,
            _lock: lock,
        };
        Ok((journal, records))
    }

    /// Is it time to write the file anew?
    pub(super) fn is_large(&self) -> bool {
        self.size > LARGE && self.size > self.fresh.saturating_mul(2)
    }

    #[cfg(test)]
    pub(super) fn divert(&mut self, path: &Path) {
        self.file = private(path, true).unwrap();
    }

    /// Adds `records`, and returns when they are on disk. After a failure, the file must be written anew.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let text = lines(records)?;
        self.file.write_all(&text)?;
        self.size += text.len() as u64;
        self.file.sync_data()
    }

    /// Writes a file of `records` alone in place of the old one; the old one stays if that fails.
    pub(super) fn rewrite(&mut self, records: &[Record]) -> io::Result<()> {
        let mut all = vec![Record::Ledger(VERSION)];
        all.extend_from_slice(records);
        let text = lines(&all)?;
        let new = self.path.with_extension("new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private(&new, true)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        self.file = file;
        self.size = text.len() as u64;
        self.fresh = self.size;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn private(path: &Path, append: bool) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(append)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn lines(records: &[Record]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for record in records {
        let json = serde_json::to_string(record)?;
        writeln!(text, "{} {json}", checksum(&json))?;
    }
    Ok(text)
}

/// What stands in a file; None if it is no ledger. Lines that are not whole are left out: a power cut leaves them at the
/// end, where nothing had been confirmed yet.
fn read(text: &[u8]) -> Option<Vec<Record>> {
    let whole = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        (checksum(json) == sum).then(|| serde_json::from_str(json).ok())?
    });
    let mut records = whole.peekable();
    match records.next() {
        Some(Record::Ledger(VERSION)) => Some(records.collect()),
        None if text.is_empty() => Some(Vec::new()),
        _ => None,
    }
}

fn checksum(json: &str) -> String {
    let digest = Sha256::digest(json);
    digest.iter().take(4).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(used: u64) -> Record {
        Record::Count("k".to_owned(), 1, 1_000, used)
    }

    #[test]
    fn a_torn_tail_is_left_out_wherever_it_is_torn() {
        let whole = lines(&[Record::Ledger(VERSION), count(1), count(2)]).unwrap();
        let first = lines(&[Record::Ledger(VERSION)]).unwrap().len();
        for end in first..=whole.len() {
            let records = read(&whole[..end]).unwrap();
            let expected = [count(1), count(2)];
            assert_eq!(records, expected[..records.len()], "cut at {end}");
        }
        assert_eq!(read(&whole[..whole.len() - 1]).unwrap().len(), 2);
        assert!(read(b"something else\n").is_none());
        assert!(read(&lines(&[Record::Ledger(VERSION + 1)]).unwrap()).is_none());
    }

    #[test]
    fn a_changed_byte_takes_its_line_along_and_no_other() {
        let whole = lines(&[Record::Ledger(VERSION), count(1), count(2)]).unwrap();
        let second = lines(&[Record::Ledger(VERSION)]).unwrap().len();
        for at in second..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            let records = read(&broken).unwrap();
            assert!(records.iter().all(|r| [count(1), count(2)].contains(r)));
            assert!(
                records.len() <= 2 && (records.len() == 1 || broken[at] == b'\x0b'),
                "{at}"
            );
        }
    }

    #[test]
    fn two_processes_cannot_have_it_and_it_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state");
        let (mut journal, records) = Journal::open(&folder).unwrap();
        assert!(records.is_empty());
        journal.rewrite(&[count(1)]).unwrap();
        journal.append(&[count(2)]).unwrap();
        let second = Journal::open(&folder);
        assert!(matches!(second, Err(OpenError::Locked(_))), "{second:?}");
        drop(journal);
        let (_, records) = Journal::open(&folder).unwrap();
        assert_eq!(records, [count(1), count(2)]);
        for name in ["budgets.ledger", "budgets.lock"] {
            let mode = folder.join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
