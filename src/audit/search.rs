//! Reading the log: in order, filtered, with no more in memory than a line.

use std::io;
use std::path::{Path, PathBuf};

use super::folder::{self, Lines, Segment};
use super::record::Record;

/// What is looked for; None: whatever.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Who.
    pub developer: Option<String>,
    /// On which upstream.
    pub upstream: Option<String>,
    /// Which table was read or written, with or without its schema.
    pub table: Option<String>,
    /// Which sensitive column was read: `column`, `table.column` or `schema.table.column`.
    pub column: Option<String>,
    /// Which kind of record: `statement`, `refused` …
    pub event: Option<String>,
    /// How a statement ended: `done`, `failed`, `refused`, `cut`.
    pub verdict: Option<String>,
    /// Not before this time, in milliseconds since 1970.
    pub since: u64,
    /// Before this time.
    pub until: Option<u64>,
}

impl Filter {
    /// Does a record fit?
    pub fn fits(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, there: Option<&str>| match wanted {
            Some(wanted) => there == Some(wanted),
            None => true,
        };
        let one_of = |wanted: &Option<String>, names: &[String]| match wanted {
            Some(wanted) => names.iter().any(|name| ends_with(name, wanted)),
            None => true,
        };
        let what = &record.unmapped;
        record.time >= self.since
            && self.until.is_none_or(|until| record.time < until)
            && is(&self.developer, Some(&record.actor.user.name))
            && is(&self.upstream, Some(&record.database.name))
            && is(&self.event, Some(&what.event))
            && is(&self.verdict, what.verdict.as_deref())
            && one_of(&self.table, &what.relations)
            && one_of(&self.column, &what.sensitive)
    }
}

/// Is `wanted` this name, or its last parts?
fn ends_with(name: &str, wanted: &str) -> bool {
    name.strip_suffix(wanted)
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Calls `found` with each record that fits, and its line, in the log's order. Lines that are no records are passed
/// over: `verify` speaks of those.
///
/// # Errors
/// The log cannot be read, or what `found` returned.
pub fn search<E: From<io::Error>>(
    folder: &Path,
    filter: &Filter,
    mut found: impl FnMut(&Record, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut line = Vec::new();
    for segment in since(folder, filter.since)? {
        let mut lines = Lines::open(&segment.path)?;
        while lines.next(&mut line)? {
            if let Ok(record) = Record::parse(&line)
                && filter.fits(&record)
            {
                found(&record, &line)?;
            }
        }
    }
    Ok(())
}

/// The segments that may hold something from this time on. A record is written after it happened: one that happened
/// since then stands in no segment that ended before.
fn since(folder: &Path, since: u64) -> io::Result<Vec<Segment>> {
    let segments = folder::segments(folder)?;
    let mut from = 0;
    let mut line = Vec::new();
    for (at, segment) in segments.iter().enumerate().skip(1) {
        let began = Lines::open(&segment.path)?.next(&mut line)?;
        match Record::parse(&line) {
            Ok(record) if began && record.metadata.logged_time < since => from = at,
            _ => break,
        }
    }
    Ok(segments.into_iter().skip(from).collect())
}

/// Follows the log as it grows, into new segments.
#[derive(Debug)]
pub struct Follow {
    folder: PathBuf,
    open: Option<(Segment, Lines)>,
}

impl Follow {
    /// Begins with the last segment.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn last_segment(folder: &Path) -> io::Result<Self> {
        Self::segment(folder, folder::segments(folder)?.pop())
    }

    /// Begins with the segment that the record behind number `last` is in, or the first one after it.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn behind(folder: &Path, last: u64) -> io::Result<Self> {
        let mut segments = folder::segments(folder)?;
        let after = segments.partition_point(|segment| segment.first <= last.saturating_add(1));
        segments.truncate(after.max(1));
        Self::segment(folder, segments.pop())
    }

    fn segment(folder: &Path, segment: Option<Segment>) -> io::Result<Self> {
        let open = match segment {
            Some(segment) => {
                let lines = Lines::open(&segment.path)?;
                Some((segment, lines))
            }
            None => None,
        };
        Ok(Self {
            folder: folder.to_owned(),
            open,
        })
    }

    /// Is the record of this number the first of the segment that is read?
    pub fn begins_with(&self, sequence: u64) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|(segment, _)| segment.first == sequence)
    }

    /// Forgets what was read ahead of the last record.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub fn look_again(&mut self) -> io::Result<()> {
        match &mut self.open {
            Some((_, lines)) => lines.again(),
            None => Ok(()),
        }
    }

    /// The next record and its line; None: there is none yet.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Record>> {
        loop {
            if let Some((_, lines)) = &mut self.open {
                while lines.next(line)? {
                    if let Ok(record) = Record::parse(line) {
                        return Ok(Some(record));
                    }
                }
                lines.again()?;
            }
            let last = self.open.as_ref().map_or(0, |(segment, _)| segment.first);
            let segments = folder::segments(&self.folder)?;
            let Some(newer) = segments.into_iter().find(|segment| segment.first > last) else {
                return Ok(None);
            };
            // Between the two looks the old one may have got its last lines.
            if let Some((_, lines)) = &mut self.open
                && lines.next(line)?
            {
                lines.again_from(line.len())?;
                continue;
            }
            let lines = Lines::open(&newer.path)?;
            self.open = Some((newer, lines));
        }
    }
}
