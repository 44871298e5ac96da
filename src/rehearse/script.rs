//! A migration's text as a list of statements, and what is to be done with each.

use crate::sql::classify::classify;
use crate::sql::normalise::normalised;
use crate::sql::split::split;
use crate::sql::statement::{Copy, Kind, Transaction};

use super::RehearsalError;

/// One statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Counted from 1.
    pub line: usize,
    /// Without literals, for the report.
    pub shown: String,
    pub action: Action,
}

impl Step {
    /// The real one runs CONCURRENTLY.
    pub(super) fn is_concurrent(&self) -> bool {
        matches!(self.action, Action::Run { note: Some(_), .. })
    }
}

/// What is done with a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Sent; with a note, without its CONCURRENTLY.
    Run { sql: String, note: Option<String> },
    /// SAVEPOINT and its like.
    Savepoint { sql: String },
    /// SET CONSTRAINTS ALL IMMEDIATE, of which the guard must not hear.
    CheckConstraints,
    /// The script's own transaction begins.
    Begin,
    /// It ends: deferred constraints are checked.
    Commit,
    /// It ends, and what it did is undone.
    Rollback,
    /// Not sent.
    Skip { why: String },
}

/// Reads a script.
///
/// # Errors
/// It is one of psql, with commands that psql itself obeys, or no SQL.
pub(super) fn read(script: &str) -> Result<Vec<Step>, RehearsalError> {
    let line_of = |at: usize| {
        let before = script.get(..at).unwrap_or_default();
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    };
    for (number, line) in (1..).zip(script.lines()) {
        if line.trim_start().starts_with('\\') {
            return Err(RehearsalError::Script {
                line: number,
                what: "this is a command of psql, not SQL".to_owned(),
            });
        }
    }
    let mut steps = Vec::new();
    for range in split(script) {
        let text = script.get(range.clone()).unwrap_or_default();
        let sql = text.trim();
        let statement = classify(sql);
        if statement.kind == Kind::Empty {
            continue;
        }
        let leading = text.len() - text.trim_start().len();
        let line = line_of(range.start + leading);
        let wrong = |what: &str| RehearsalError::Script {
            line,
            what: what.to_owned(),
        };
        match statement.kind {
            Kind::Copy(Copy::FromStdin) => {
                return Err(wrong(
                    "COPY FROM STDIN takes rows, which a script of SQL cannot hold",
                ));
            }
            Kind::Unknown => return Err(wrong("no statement of SQL begins like this")),
            _ => {}
        }
        steps.push(Step {
            line,
            shown: normalised(sql),
            action: action(sql, &statement.kind),
        });
    }
    Ok(steps)
}

fn action(sql: &str, kind: &Kind) -> Action {
    let skip = |why: &str| Action::Skip {
        why: why.to_owned(),
    };
    match kind {
        Kind::Transaction(transaction) => match transaction {
            Transaction::Begin { .. } => Action::Begin,
            Transaction::Commit { .. } => Action::Commit,
            Transaction::Rollback { .. } => Action::Rollback,
            Transaction::PrepareTransaction
            | Transaction::CommitPrepared
            | Transaction::RollbackPrepared => skip("a prepared transaction outlives its session"),
            Transaction::SetTransaction(_)
            | Transaction::SetSnapshot
            | Transaction::SetCharacteristics(_) => {
                skip("the rehearsal's own transaction has its modes already")
            }
            Transaction::Savepoint(_)
            | Transaction::Release(_)
            | Transaction::RollbackTo(_)
            | Transaction::Malformed { .. } => Action::Savepoint {
                sql: sql.to_owned(),
            },
        },
        Kind::Concurrently { keyword, .. } => {
            let mut plain = sql.to_owned();
            plain.replace_range(keyword.clone(), "");
            Action::Run {
                sql: plain,
                note: Some(
                    "CONCURRENTLY cannot run in a transaction: rehearsed without it. The real one takes longer, and keeps \
                     nobody from reading or writing"
                        .to_owned(),
                ),
            }
        }
        Kind::SetConstraints {
            all: true,
            deferred: false,
        } => Action::CheckConstraints,
        Kind::Vacuum => skip("VACUUM cannot run in a transaction"),
        Kind::OutsideTransaction(what) => Action::Skip {
            why: format!("{what} cannot run in a transaction, or reaches outside of this database"),
        },
        Kind::Maintenance => skip("it acts on the server, not in a transaction"),
        Kind::Copy(Copy::File | Copy::Program) => {
            skip("COPY from or to files and programs of the server is not rehearsed")
        }
        _ => Action::Run {
            sql: sql.to_owned(),
            note: None,
        },
    }
}
