//! [`Report`]: what a comparison found; its JSON is documented in `docs/comparing.md`.

use serde::{Deserialize, Serialize};

use super::assert::Checked;

/// What a comparison found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// 1; another number where a field has gone or means something else.
    pub devinprod_comparison: u32,
    /// Whether anything differs or failed.
    pub same: bool,
    /// The run that was compared with.
    pub a: Side,
    /// The run that was compared; None where there was one run and its assertions.
    pub b: Option<Side>,
    /// What differs, the most telling first.
    pub differences: Vec<Difference>,
    /// What was asserted.
    pub assertions: Vec<Checked>,
    /// What may be worth a look, and makes no difference.
    pub hints: Vec<String>,
    /// What was left out, since it differs between two runs of A as well.
    pub noise: Vec<String>,
    /// All statements.
    pub statements: Vec<Line>,
}

/// One of the two runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Side {
    /// The command, passwords in URLs left out.
    pub command: String,
    /// Its exit status.
    pub exit: i32,
    /// Sessions begun.
    pub connections: u64,
    /// Statements run.
    pub executions: u64,
    /// Its time on the clock, in seconds.
    pub seconds: f64,
    /// The time of its statements, in seconds.
    pub database_seconds: f64,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// In what.
    pub kind: Kind,
    /// Of which statement, if it is about one.
    pub fingerprint: Option<String>,
    /// That statement without its literals.
    pub statement: Option<String>,
    /// In words.
    pub what: String,
    /// How it is in A.
    pub a: String,
    /// How it is in B.
    pub b: String,
}

/// In what runs can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The commands' exit status.
    Exit,
    /// Rows that would have been written.
    Changes,
    /// Errors.
    Errors,
    /// What statements returned.
    Results,
    /// Which statements were run, and how many times.
    Statements,
    /// The shape of plans.
    Plans,
}

impl Kind {
    /// As it is written in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Changes => "changes",
            Self::Errors => "errors",
            Self::Results => "results",
            Self::Statements => "statements",
            Self::Plans => "plans",
        }
    }
}

/// One statement on both sides.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its text without literals.
    pub statement: String,
    /// In A, if it was run there.
    pub a: Option<Figures>,
    /// In B, if it was run there.
    pub b: Option<Figures>,
}

/// The figures of a statement in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// How many times it was run.
    pub count: u64,
    /// Rows returned.
    pub rows: u64,
    /// Rows written.
    pub affected: u64,
    /// How many times it failed.
    pub errors: u64,
    /// The median of its durations, in microseconds; of both runs of A.
    pub median_us: u64,
    /// Its time in all, in microseconds.
    pub total_us: u64,
}
