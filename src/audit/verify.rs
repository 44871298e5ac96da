//! Is the log what was written? Reads a folder, or a copy of it, and needs nothing else; what it is also given, the
//! public key and the checkpoints of the second place, it can tell more with:
//!
//! | what was done to the log | what finds it |
//! | --- | --- |
//! | a line changed, removed, added, moved | the links from line to line |
//! | the same, and all links behind it made anew | the signatures of the checkpoints |
//! | the end cut off, checkpoints and all | the second place |
//! | all of it written anew, signed with another key | the public key, or the second place |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use super::chain::{Hash, Head};
use super::checkpoint::{Checkpoint, Signed};
use super::folder::{self, Lines, Segment};
use super::key::PublicKey;
use super::record::{self, Record};

/// More findings than this are only counted.
const SHOWN: usize = 50;

/// What a log is held against.
#[derive(Debug, Default)]
pub struct Against {
    /// The key that must have signed it.
    pub key: Option<PublicKey>,
    /// Checkpoints from the second place.
    pub checkpoints: Vec<Signed>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong; empty: nothing.
    pub findings: Vec<Finding>,
    /// How many more findings there are.
    pub more: u64,
    /// What is not wrong, but should be known.
    pub notes: Vec<String>,
    /// How many records were read.
    pub records: u64,
    /// The sequence numbers of the first and the last.
    pub range: Option<(u64, u64)>,
    /// How many segments.
    pub segments: usize,
    /// How many checkpoints with a right signature.
    pub checkpoints: u64,
    /// The sequence number of the last record that is signed.
    pub signed_through: u64,
    /// The key that it is signed with.
    pub key: Option<PublicKey>,
    /// The log's name.
    pub log: Option<String>,
    /// How many checkpoints of the second place were found in the log.
    pub compared: u64,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The segment's file, or another one that was given.
    pub file: String,
    /// The line, from 1; 0: the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

impl Verdict {
    /// Is nothing wrong?
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Reads the checkpoints that a second place has received: a line each, whatever stands before the JSON. Lines without
/// one, and those cut short, are skipped.
///
/// # Errors
/// The file cannot be read.
pub fn checkpoints(file: &Path) -> io::Result<Vec<Signed>> {
    let mut lines = Lines::open(file)?;
    let mut line = Vec::new();
    let mut found = Vec::new();
    loop {
        let more = lines.next(&mut line)?;
        let start = line.iter().position(|byte| *byte == b'{');
        let json = start
            .and_then(|start| line.get(start..))
            .unwrap_or_default();
        if let Ok(Record { unmapped, .. }) = Record::parse(json) {
            found.extend(unmapped.signed);
        }
        if !more {
            return Ok(found);
        }
    }
}

/// Reads the log in `folder`.
///
/// # Errors
/// It cannot be read. What can be read, but is wrong, is a finding.
pub fn verify(folder: &Path, against: &Against) -> io::Result<Verdict> {
    let segments = folder::segments(folder)?;
    let mut reading = Reading::new(against, its_name(&segments)?);
    reading.verdict.segments = segments.len();
    let last = segments.len().saturating_sub(1);
    for (at, segment) in segments.iter().enumerate() {
        reading.segment(segment, at == last)?;
    }
    if segments.is_empty() {
        let name = folder.display().to_string();
        reading.finding(&name, 0, "there is no segment of a log");
    }
    reading.end();
    Ok(reading.verdict)
}

/// The name of the log: as its first line says, or else its first checkpoint.
fn its_name(segments: &[Segment]) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    for segment in segments {
        let mut lines = Lines::open(&segment.path)?;
        while lines.next(&mut line)? {
            let Ok(Record { unmapped, .. }) = Record::parse(&line) else {
                continue;
            };
            let signed = unmapped.signed.map(|signed| signed.checkpoint.log);
            if let Some(name) = signed.or(unmapped.log) {
                return Ok(Some(name));
            }
        }
    }
    Ok(None)
}

struct Reading<'a> {
    against: &'a Against,
    verdict: Verdict,
    head: Option<Head>,
    /// Where the line before stands.
    before: (String, u64),
    last_checkpoint: Option<Checkpoint>,
    /// Checkpoints of the second place, by the sequence number that they sign.
    second: BTreeMap<u64, Vec<&'a Checkpoint>>,
    /// What the log's first line is linked to, if lines before it are gone.
    gone: Option<(u64, Hash, String)>,
    /// Notes of removed segments that no checkpoint has signed yet.
    removed: Vec<(u64, Hash)>,
    explained: bool,
}

impl<'a> Reading<'a> {
    fn new(against: &'a Against, log: Option<String>) -> Self {
        let mut reading = Self {
            against,
            verdict: Verdict {
                log,
                ..Verdict::default()
            },
            head: None,
            before: (String::new(), 0),
            last_checkpoint: None,
            second: BTreeMap::new(),
            gone: None,
            removed: Vec::new(),
            explained: false,
        };
        let mut others = BTreeSet::new();
        for signed in &against.checkpoints {
            reading.second_place(signed, &mut others);
        }
        for other in others {
            let note = format!("the second place has checkpoints of another log, too: {other}");
            reading.verdict.notes.push(note);
        }
        if reading.second.is_empty() && !against.checkpoints.is_empty() {
            let what =
                "it knows nothing of this log: the log was replaced, or this is the wrong file";
            reading.finding(SECOND_PLACE, 0, what);
        }
        reading
    }

    /// Takes a checkpoint of the second place, if it is one.
    fn second_place(&mut self, signed: &'a Signed, others: &mut BTreeSet<&'a str>) {
        let checkpoint = &signed.checkpoint;
        let what = match signed.signer() {
            None => "has a wrong signature",
            Some(key) if self.against.key.is_some_and(|expected| expected != key) => {
                "is signed with another key than the one that was given"
            }
            Some(_) if self.verdict.log.as_ref() != Some(&checkpoint.log) => {
                others.insert(&checkpoint.log);
                return;
            }
            Some(_) => {
                self.second
                    .entry(checkpoint.last)
                    .or_default()
                    .push(checkpoint);
                return;
            }
        };
        let last = checkpoint.last;
        self.finding(
            SECOND_PLACE,
            0,
            format!("the checkpoint of record {last} {what}"),
        );
    }

    fn finding(&mut self, file: &str, line: u64, what: impl Into<String>) {
        if self.verdict.findings.len() < SHOWN {
            self.verdict.findings.push(Finding {
                file: file.to_owned(),
                line,
                what: what.into(),
            });
        } else {
            self.verdict.more += 1;
        }
    }

    fn segment(&mut self, segment: &Segment, is_last: bool) -> io::Result<()> {
        let name = segment.name();
        let mut lines = Lines::open(&segment.path)?;
        let mut line = Vec::new();
        let mut number = 0;
        let mut closed = false;
        while lines.next(&mut line)? {
            number += 1;
            closed = self.line(segment, &name, number, &line);
        }
        if !line.is_empty() {
            let what = "the last line is not whole";
            self.finding(&name, number + 1, what);
        }
        if number == 0 && !is_last {
            self.finding(&name, 0, "the segment is empty");
        } else if !closed && !is_last {
            let what =
                "the segment's end is missing: it does not end with a checkpoint that closes it";
            self.finding(&name, number, what);
        }
        Ok(())
    }

    /// Takes a line; true if it is a checkpoint that closes the segment.
    fn line(&mut self, segment: &Segment, name: &str, number: u64, line: &[u8]) -> bool {
        let before = std::mem::replace(&mut self.before, (name.to_owned(), number));
        let record = match Record::parse(line) {
            Ok(record) => record,
            Err(error) => {
                self.finding(name, number, format!("this is no record: {error}"));
                // The line behind it will say whether this one only counts as one.
                self.head = self.head.map(|head| head.after(line, head.logged));
                return false;
            }
        };
        self.verdict.records += 1;
        let sequence = record.metadata.sequence;
        if number == 1 && sequence != segment.first {
            self.finding(
                name,
                1,
                format!("it is record {sequence}, and the file's name says another"),
            );
        }
        let previous = record.unmapped.previous;
        match self.head {
            None => self.first(name, sequence, previous),
            Some(head) => self.link(&head, &before, name, number, sequence, previous),
        }
        let head = Head {
            next: sequence,
            ..self.head.unwrap_or(Head::START)
        };
        let hash = Hash::of(line);
        self.compare(sequence, hash, name, number);
        let first = self.verdict.range.map_or(sequence, |(first, _)| first);
        self.verdict.range = Some((first, sequence));
        if let (Some(through), Some(hash)) = (record.unmapped.through, record.unmapped.hash) {
            self.removed.push((through, hash));
        }
        if let (Some(file), Some(bytes)) = (&record.unmapped.file, record.unmapped.bytes) {
            let when = &record.time_dt;
            let note =
                format!("{when}: {bytes} bytes that a power cut left were set aside in {file}");
            self.verdict.notes.push(note);
        }
        let mut closes = false;
        if let Some(signed) = &record.unmapped.signed {
            closes = signed.checkpoint.closes;
            self.checkpoint(segment, name, number, line, signed, previous);
        } else if record.unmapped.event == "checkpoint" {
            self.finding(name, number, "the checkpoint is not whole");
        }
        self.head = Some(head.after(line, record.metadata.logged_time));
        closes
    }

    fn first(&mut self, name: &str, sequence: u64, previous: Hash) {
        if sequence > 1 {
            self.gone = Some((sequence - 1, previous, name.to_owned()));
        } else if sequence == 0 || previous != Hash::NONE {
            self.finding(name, 1, "this is not how a log begins");
        }
    }

    fn link(
        &mut self,
        head: &Head,
        (file, line): &(String, u64),
        name: &str,
        number: u64,
        sequence: u64,
        previous: Hash,
    ) {
        let expected = head.next;
        if sequence > expected {
            let last = sequence - 1;
            let what = match last - expected {
                0 => format!("record {expected} is missing before this line"),
                _ => format!("the records {expected} to {last} are missing before this line"),
            };
            self.finding(name, number, what);
        } else if sequence < expected {
            let what = format!(
                "record {sequence} stands where {expected} should: lines were moved or added"
            );
            self.finding(name, number, what);
        } else if previous != head.hash {
            let what = format!("record {} was changed after it was written", expected - 1);
            self.finding(file, *line, what);
        }
    }

    fn checkpoint(
        &mut self,
        segment: &Segment,
        name: &str,
        number: u64,
        line: &[u8],
        signed: &Signed,
        previous: Hash,
    ) {
        let checkpoint = &signed.checkpoint;
        let Some(signer) = signed.signer() else {
            return self.finding(name, number, "the checkpoint's signature is wrong");
        };
        let expected = self.against.key.or(self.verdict.key);
        if expected.is_some_and(|expected| expected != signer) {
            let what = match self.against.key {
                Some(_) => "the checkpoint is signed with another key than the one that was given",
                None => "the checkpoint is signed with another key than those before",
            };
            return self.finding(name, number, what);
        }
        self.verdict.key = Some(signer);
        if self.verdict.log.as_ref() != Some(&checkpoint.log) {
            return self.finding(name, number, "the checkpoint is of another log");
        }
        let last = self.last_checkpoint.as_ref();
        let links = match last {
            Some(last) => last.hash_of_text() == checkpoint.previous,
            // What it was linked to is gone with the segments before.
            None => self.gone.is_some() || checkpoint.previous == Hash::NONE,
        };
        if !links {
            self.finding(
                name,
                number,
                "a checkpoint is missing between the one before and this one",
            );
        }
        // It is made again from what is signed: so the line itself cannot be changed either.
        let same = record::checkpoint_line(signed).is_ok_and(|made| made == line);
        if !same || checkpoint.hash != previous || checkpoint.first != segment.first {
            let what = "the line is not the one that was signed in this place";
            self.finding(name, number, what);
        } else {
            self.verdict.checkpoints += 1;
            self.verdict.signed_through = checkpoint.last;
            let removed = std::mem::take(&mut self.removed);
            self.explained |= match &self.gone {
                Some((through, hash, _)) => removed.contains(&(*through, *hash)),
                None => false,
            };
        }
        self.last_checkpoint = Some(checkpoint.clone());
    }

    /// Holds a line against what the second place knows of it.
    fn compare(&mut self, sequence: u64, hash: Hash, name: &str, number: u64) {
        let Some(known) = self.second.remove(&sequence) else {
            return;
        };
        for checkpoint in known {
            if checkpoint.hash == hash {
                self.verdict.compared += 1;
            } else {
                let what = format!(
                    "record {sequence} is not the one that the second place has a checkpoint of"
                );
                self.finding(name, number, what);
            }
        }
    }

    fn end(&mut self) {
        let (name, number) = self.before.clone();
        if let Some((through, _, file)) = self.gone.take() {
            match self.explained {
                true => self.verdict.notes.push(format!(
                    "the records 1 to {through} were deleted by the retention; the log says so, signed"
                )),
                false => self.finding(
                    &file,
                    1,
                    format!("the records 1 to {through} are missing, and no signed note says that the retention deleted them"),
                ),
            }
        }
        let Some((_, last)) = self.verdict.range else {
            return;
        };
        let cut = self
            .second
            .keys()
            .next_back()
            .copied()
            .filter(|known| *known > last);
        if let Some(known) = cut {
            let what = format!(
                "the log ends with record {last}, but the second place has a checkpoint of record {known}: its end was cut off, or it is another log"
            );
            self.finding(&name, number, what);
        }
        let signed = self.verdict.signed_through;
        if self.verdict.checkpoints == 0 {
            self.finding(&name, 0, "nothing in this log is signed");
        } else if last > signed + 1 {
            self.verdict.notes.push(format!(
                "the records {} to {last} are not signed yet: they are linked, but could have been written anew",
                signed + 2
            ));
        }
    }
}

/// Stands for the file of the second place's checkpoints in findings.
const SECOND_PLACE: &str = "second place";

#[cfg(test)]
mod tests;
