//! Which segments are older than the retention.

use std::fs;
use std::io;
use std::path::Path;

use super::chain::Hash;
use super::folder::{self, Lines, Segment};
use super::record::Record;
use super::time::milliseconds;

/// The oldest segments of a log, all of them old enough.
#[derive(Debug)]
pub(super) struct Old {
    pub segments: Vec<Segment>,
    /// The sequence number of their last line, and its hash.
    pub through: u64,
    pub hash: Hash,
}

/// The segments whose last line was written before this time (milliseconds since 1970), from the first on; never the
/// one that begins with `open`.
pub(super) fn older_than(folder: &Path, open: u64, before: u64) -> io::Result<Option<Old>> {
    let mut old: Option<Old> = None;
    for segment in folder::segments(folder)? {
        if segment.first >= open {
            break;
        }
        // A file that was touched since then has a line since then; so only a few are read.
        if milliseconds(fs::metadata(&segment.path)?.modified()?) >= before {
            break;
        }
        let mut lines = Lines::open(&segment.path)?;
        let mut line = Vec::new();
        let mut last = Vec::new();
        while lines.next(&mut line)? {
            std::mem::swap(&mut line, &mut last);
        }
        let record = match Record::parse(&last) {
            Ok(record) if record.metadata.logged_time < before => record,
            _ => break,
        };
        let mut segments = old.map_or_else(Vec::new, |old| old.segments);
        segments.push(segment);
        old = Some(Old {
            segments,
            through: record.metadata.sequence,
            hash: Hash::of(&last),
        });
    }
    Ok(old)
}
