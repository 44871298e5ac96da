//! Where a log that was left stands, and what a power cut may have left at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::chain::{Hash, Head};
use super::checkpoint::{Checkpoint, Signed};
use super::event::EventKind;
use super::folder::{self, Lines, Segment, TORN};
use super::record::Record;

/// Where a log stands.
#[derive(Debug)]
pub(super) struct Found {
    /// The last segment that has a whole line.
    pub segment: Segment,
    /// Behind its last whole line.
    pub head: Head,
    /// How many bytes its whole lines take.
    pub length: u64,
    /// When its first line was written.
    pub began: u64,
    /// The last checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// The log's name and public key, if its first line was read.
    pub log: Option<(String, String)>,
}

/// What is in a log's folder.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// None: there is no whole line.
    pub found: Option<Found>,
    /// Bytes behind the last whole line, by segment and offset.
    pub torn: Vec<(Segment, u64)>,
}

/// Why a log cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// What was signed is not what is there.
    #[error("{file}, line {line}: the log was changed after it was signed")]
    Changed {
        /// The segment.
        file: String,
        /// The line, from 1.
        line: u64,
    },
    /// A segment cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Looks at the end of the log in `folder`.
///
/// # Errors
/// It was changed, or it cannot be read.
pub(super) fn look(folder: &Path) -> Result<Left, RecoverError> {
    let mut left = Left::default();
    for segment in folder::segments(folder)?.into_iter().rev() {
        let scan = scan(&segment)?;
        match &mut left.found {
            // Older ones are read only for their last checkpoint: what they hold otherwise, `verify` looks at.
            Some(found) => {
                found.checkpoint = scan.checkpoint;
                found.log = found.log.take().or(scan.log);
            }
            None => {
                if scan.length < scan.total {
                    left.torn.push((segment.clone(), scan.length));
                }
                left.found = scan.head.map(|head| Found {
                    segment,
                    head,
                    length: scan.length,
                    began: scan.began,
                    checkpoint: scan.checkpoint,
                    log: scan.log,
                });
            }
        }
        let found = left.found.as_ref();
        if found.is_some_and(|found| found.checkpoint.is_some()) {
            break;
        }
    }
    Ok(left)
}

struct Scan {
    head: Option<Head>,
    length: u64,
    total: u64,
    began: u64,
    checkpoint: Option<Checkpoint>,
    log: Option<(String, String)>,
}

/// Reads a segment up to its first line that is not linked to the one before.
fn scan(segment: &Segment) -> Result<Scan, RecoverError> {
    let mut scan = Scan {
        head: None,
        length: 0,
        total: fs::metadata(&segment.path)?.len(),
        began: 0,
        checkpoint: None,
        log: None,
    };
    let mut lines = Lines::open(&segment.path)?;
    let mut line = Vec::new();
    let mut number = 0;
    while lines.next(&mut line)? {
        number += 1;
        let record = match Record::parse(&line) {
            Ok(record) if follows(&record, scan.head, segment) => record,
            _ => {
                // A power cut tears what was not yet on disk; a checkpoint behind it says that it was.
                return match signed_behind(&mut lines, &line)? {
                    true => Err(RecoverError::Changed {
                        file: segment.name(),
                        line: number,
                    }),
                    false => Ok(scan),
                };
            }
        };
        if scan.head.is_none() {
            scan.began = record.metadata.logged_time;
        }
        if let Some(signed) = record.unmapped.signed {
            scan.checkpoint = Some(signed.checkpoint);
        }
        if let (Some(log), Some(key)) = (record.unmapped.log, record.unmapped.key) {
            scan.log = Some((log, key));
        }
        let head = scan.head.unwrap_or(Head {
            next: segment.first,
            hash: record.unmapped.previous,
            logged: 0,
        });
        scan.head = Some(head.after(&line, record.metadata.logged_time));
        scan.length = lines.offset;
    }
    Ok(scan)
}

fn follows(record: &Record, head: Option<Head>, segment: &Segment) -> bool {
    match head {
        Some(head) => {
            record.metadata.sequence == head.next && record.unmapped.previous == head.hash
        }
        None => record.metadata.sequence == segment.first,
    }
}

fn signed_behind(lines: &mut Lines, first: &[u8]) -> io::Result<bool> {
    let mut line = first.to_vec();
    loop {
        let signed = Record::parse(&line).ok().and_then(|r| r.unmapped.signed);
        if signed.as_ref().and_then(Signed::signer).is_some() {
            return Ok(true);
        }
        if !lines.next(&mut line)? {
            return Ok(false);
        }
    }
}

/// Copies what stands behind `offset` into a file beside the segment, then takes it away there.
pub(super) fn set_aside(folder: &Path, segment: &Segment, offset: u64) -> io::Result<()> {
    let mut from = File::open(&segment.path)?;
    from.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    let hash: String = Hash::of(&bytes).to_string().chars().take(8).collect();
    let path = folder.join(format!("{:020}-{offset}-{hash}.{TORN}.new", segment.first));
    let mut copy = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    io::Write::write_all(&mut copy, &bytes)?;
    copy.sync_all()?;
    folder::sync(folder)?;
    let file = OpenOptions::new().write(true).open(&segment.path)?;
    file.set_len(offset)?;
    file.sync_all()
}

/// The note of a file that was set aside, and the name that it gets when the log has the note.
pub(super) fn note(path: &Path) -> io::Result<(EventKind, PathBuf)> {
    let bytes = fs::read(path)?;
    let noted = path.with_extension("");
    let kind = EventKind::TailSetAside {
        file: folder::name(&noted),
        bytes: bytes.len() as u64,
        sha256: Hash::of(&bytes).to_string(),
    };
    Ok((kind, noted))
}
