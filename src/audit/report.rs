//! Who read which sensitive columns, how much, and whether that is unusual for them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::record::Record;

/// A day counts as unusual from this many times a developer's median day on …
const TIMES: u64 = 3;
/// … if it is at least this many rows.
const LEAST: u64 = 100;
const DAY: u64 = 86_400_000;

/// Adds records up.
#[derive(Debug, Default)]
pub struct Report {
    columns: BTreeMap<(String, String, String), Sum>,
    /// Rows of statements that read sensitive columns, by developer and day since 1970.
    days: BTreeMap<String, BTreeMap<u64, u64>>,
}

#[derive(Debug, Default)]
struct Sum {
    statements: u64,
    rows: u64,
    cut: u64,
    first: String,
    last: String,
}

/// What a developer read of a sensitive column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Who.
    pub developer: String,
    /// On which upstream.
    pub upstream: String,
    /// `schema.table.column`.
    pub column: String,
    /// How many statements.
    pub statements: u64,
    /// How many rows these returned.
    pub rows: u64,
    /// How many of them a budget cut or a refusal stopped.
    pub stopped: u64,
    /// The first and the last, RFC 3339.
    pub first: String,
    /// The last.
    pub last: String,
}

/// A day on which a developer read far more sensitive rows than they use to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusual {
    /// Who.
    pub developer: String,
    /// The day, in days since 1970-01-01 (UTC).
    pub day: u64,
    /// How many rows.
    pub rows: u64,
    /// The median of the developer's earlier days with sensitive reads; None: there was none.
    pub median: Option<u64>,
}

impl Report {
    /// Adds a record; those that read nothing sensitive count for nothing.
    pub fn add(&mut self, record: &Record) {
        let what = &record.unmapped;
        if what.event != "statement" || what.sensitive.is_empty() {
            return;
        }
        let developer = &record.actor.user.name;
        let columns: BTreeSet<&String> = what.sensitive.iter().collect();
        for column in columns {
            let key = (
                developer.clone(),
                record.database.name.clone(),
                column.clone(),
            );
            let sum = self.columns.entry(key).or_default();
            sum.statements += 1;
            sum.rows = sum.rows.saturating_add(what.rows);
            let stopped = matches!(what.verdict.as_deref(), Some("cut" | "refused"));
            sum.cut += u64::from(stopped);
            if sum.first.is_empty() {
                sum.first.clone_from(&record.time_dt);
            }
            sum.last.clone_from(&record.time_dt);
        }
        let days = self.days.entry(developer.clone()).or_default();
        let day = days.entry(record.time / DAY).or_default();
        *day = day.saturating_add(what.rows);
    }

    /// What was read, most rows first.
    pub fn columns(&self) -> Vec<Column> {
        let mut columns: Vec<Column> = self
            .columns
            .iter()
            .map(|((developer, upstream, column), sum)| Column {
                developer: developer.clone(),
                upstream: upstream.clone(),
                column: column.clone(),
                statements: sum.statements,
                rows: sum.rows,
                stopped: sum.cut,
                first: sum.first.clone(),
                last: sum.last.clone(),
            })
            .collect();
        columns.sort_by_key(|column| Reverse((column.rows, column.statements)));
        columns
    }

    /// The unusual days, latest first.
    pub fn unusual(&self) -> Vec<Unusual> {
        let mut found = Vec::new();
        for (developer, days) in &self.days {
            let mut before = Vec::new();
            for (day, rows) in days {
                let median = median(&before);
                let usual = median.map_or(0, |median| median.saturating_mul(TIMES));
                if *rows >= LEAST && *rows > usual {
                    found.push(Unusual {
                        developer: developer.clone(),
                        day: *day,
                        rows: *rows,
                        median,
                    });
                }
                let at = before.partition_point(|other| other < rows);
                before.insert(at, *rows);
            }
        }
        found.sort_by_key(|unusual: &Unusual| Reverse((unusual.day, unusual.rows)));
        found
    }
}

/// The middle of sorted numbers; of two middles, the lower.
fn median(sorted: &[u64]) -> Option<u64> {
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}
