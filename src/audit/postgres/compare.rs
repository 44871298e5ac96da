//! Holds a table against the log: every column of every row.

use std::path::Path;
use std::pin::pin;

use futures::TryStreamExt;
use tokio_postgres::{Client, Row};

use super::CopyError;
use super::row::{self, Copied, Day};
use crate::audit::folder::{self, Lines};
use crate::audit::record::Record;

/// More findings than this are only counted.
const SHOWN: usize = 50;

/// What was found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// What is wrong; empty: nothing.
    pub findings: Vec<String>,
    /// How many more findings there are.
    pub more: u64,
    /// What is not wrong, but should be known.
    pub notes: Vec<String>,
    /// How many rows are as the log says.
    pub same: u64,
}

/// Compares what the table has of the log `name` with the log in `folder`, which should have been verified. Needs a
/// role that may read.
///
/// # Errors
/// The table or the log cannot be read.
pub async fn compare(folder: &Path, name: &str, client: &Client) -> Result<Comparison, CopyError> {
    let mut comparing = Comparing::default();
    let known = client
        .query_opt(
            "SELECT first, last FROM devinprod_audit.logs WHERE log = $1",
            &[&name],
        )
        .await?;
    let Some(known) = known else {
        let what = format!("the database knows nothing of this log, {name}");
        comparing.finding(what);
        return Ok(comparing.result);
    };
    comparing.first = number(&known, 0)?;
    comparing.last = number(&known, 1)?;
    let kept = client
        .query_opt(
            "SELECT (now() AT TIME ZONE 'UTC')::date - retention_days FROM devinprod_audit.settings \
             WHERE retention_days IS NOT NULL",
            &[],
        )
        .await?;
    comparing.kept_from = kept.map(|row| row.try_get(0)).transpose()?;
    let sql = format!(
        "SELECT {} FROM devinprod_audit.records WHERE log = $1 ORDER BY day, sequence",
        row::names()
    );
    let mut rows = pin!(client.query_raw(&sql, [name]).await?);
    let mut next = rows.try_next().await?;
    let mut line = Vec::new();
    for segment in folder::segments(folder)? {
        let mut lines = Lines::open(&segment.path)?;
        while lines.next(&mut line)? {
            // What is no record is for `verify` to say.
            if Record::parse(&line).is_err() {
                continue;
            }
            let Ok(expected) = Copied::of(name, &line) else {
                continue;
            };
            while let Some(row) = &next
                && number(row, 1)? < expected.sequence
            {
                comparing.surplus(number(row, 1)?);
                next = rows.try_next().await?;
            }
            comparing.begun = true;
            match &next {
                Some(row) if number(row, 1)? == expected.sequence => {
                    comparing.pair(&expected, row);
                    next = rows.try_next().await?;
                }
                _ => comparing.absent(&expected),
            }
            comparing.log_last = expected.sequence;
        }
    }
    while let Some(row) = next {
        comparing.surplus(number(&row, 1)?);
        next = rows.try_next().await?;
    }
    comparing.end();
    Ok(comparing.result)
}

fn number(row: &Row, at: usize) -> Result<u64, CopyError> {
    let number: i64 = row.try_get(at)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

#[derive(Default)]
struct Comparing {
    result: Comparison,
    /// What the database says that it has of the log.
    first: u64,
    last: u64,
    /// Older days may have been dropped; None: none may.
    kept_from: Option<Day>,
    /// The log's first line was seen.
    begun: bool,
    log_last: u64,
    missing: Option<(u64, u64)>,
    dropped: u64,
    older: u64,
    beyond: Option<(u64, u64)>,
}

impl Comparing {
    fn finding(&mut self, what: String) {
        if self.result.findings.len() < SHOWN {
            self.result.findings.push(what);
        } else {
            self.result.more += 1;
        }
    }

    fn pair(&mut self, expected: &Copied, row: &Row) {
        self.missing_ends();
        let differs = expected.differs(row);
        if differs.is_empty() {
            self.result.same += 1;
        } else {
            let what = format!(
                "record {} was changed in the database: {}",
                expected.sequence,
                differs.join(", ")
            );
            self.finding(what);
        }
    }

    /// A row that the log has no line for where it stands.
    fn surplus(&mut self, sequence: u64) {
        if !self.begun {
            self.older += 1;
        } else if sequence > self.log_last {
            let first = self.beyond.map_or(sequence, |(first, _)| first);
            self.beyond = Some((first, sequence));
        } else {
            self.finding(format!(
                "the database has record {sequence} in a place where the log does not"
            ));
        }
    }

    /// A line that the table has no row for.
    fn absent(&mut self, expected: &Copied) {
        let sequence = expected.sequence;
        if sequence < self.first || sequence > self.last {
            return;
        }
        if self.kept_from.is_some_and(|from| expected.day < from) {
            self.dropped += 1;
            return;
        }
        self.missing = match self.missing {
            Some((first, last)) if last + 1 == sequence => Some((first, sequence)),
            _ => {
                self.missing_ends();
                Some((sequence, sequence))
            }
        };
    }

    fn missing_ends(&mut self) {
        if let Some((first, last)) = self.missing.take() {
            self.finding(match first == last {
                true => format!("record {first} is missing in the database"),
                false => format!("the records {first} to {last} are missing in the database"),
            });
        }
    }

    fn end(&mut self) {
        self.missing_ends();
        let log_last = self.log_last;
        if let Some((first, last)) = self.beyond {
            self.finding(format!(
                "the log ends with record {log_last}, and the database has the records {first} to {last}: the log's \
                 end was cut off, or this is an older copy of it"
            ));
        } else if self.last > log_last {
            self.finding(format!(
                "the log ends with record {log_last}, and the database says that it had copied {}",
                self.last
            ));
        }
        let notes = &mut self.result.notes;
        if log_last > self.last {
            let behind = log_last - self.last;
            notes.push(format!("the database is {behind} records behind"));
        }
        if self.older > 0 {
            notes.push(format!(
                "the database has {} records that are older than what is left of the log",
                self.older
            ));
        }
        if self.dropped > 0 {
            notes.push(format!(
                "{} records of the log are older than the database's retention",
                self.dropped
            ));
        }
        if self.first > 1 {
            notes.push(format!(
                "the records before {} were not there to be copied",
                self.first
            ));
        }
    }
}
