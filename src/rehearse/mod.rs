//! Trying a migration on the real data, in a transaction that cannot commit: does it work, how long does each statement
//! take, what does it lock and rewrite, and which rows stand in its way.
//!
//! No row comes back: the answers of the migration's statements are thrown away, and of an error only what names things is
//! kept, never what quotes a value. What keeps it from committing is twofold: each statement travels alone by the extended
//! protocol and none that ends a transaction is sent; and a deferred constraint trigger on a temporary table would fail a
//! COMMIT that came all the same.

mod look;
mod script;
mod steps;
#[cfg(test)]
mod tests;
mod violations;

use std::time::Duration;

use serde::Serialize;

use crate::upstream::address::Address;
use crate::upstream::admin::admin;
use crate::upstream::connect::ConnectError;

/// How a rehearsal goes about it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The role that runs the migration, if it is not the one that logs in.
    pub role: Option<String>,
    /// Each statement is a transaction of its own, as in `psql -f`, unless the script opens one. Otherwise all of it is one.
    pub autocommit: bool,
    /// How long it may take in all.
    pub time_limit: Duration,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// How long others may wait for it before it gives up.
    pub block_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            role: None,
            autocommit: false,
            time_limit: Duration::from_secs(300),
            lock_timeout: Duration::from_secs(2),
            block_limit: Duration::from_secs(2),
        }
    }
}

/// Why nothing could be rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The upstream cannot be reached.
    #[error("cannot connect: {0}")]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("the upstream failed: {0}")]
    Upstream(#[from] tokio_postgres::Error),
    /// A superuser reaches out of any transaction.
    #[error("role \"{0}\" is a superuser, whose statements can reach outside of any transaction")]
    Superuser(String),
    /// The guard could not be put up.
    #[error("the rehearsal could not be made uncommittable: {0}")]
    Guard(String),
    /// The upstream is not where it should be: it left the transaction. What was done until then may be committed.
    #[error("the upstream left the transaction, which must never happen")]
    LeftTransaction,
    /// It is a script of psql, or no SQL at all.
    #[error("line {line}: {what}")]
    Script {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

impl RehearsalError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Superuser(_) => {
                Some("name the role that owns the tables with --as, or log in as it")
            }
            Self::Guard(_) => Some("the role needs TEMPORARY on the database"),
            Self::Script { .. } => Some(
                "a rehearsal runs plain SQL; for a migration tool, give its command: devinprod rehearse -- COMMAND",
            ),
            _ => None,
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// All of it ran.
    pub worked: bool,
    /// The server's version.
    pub server: String,
    /// The role that the statements ran as.
    pub role: String,
    /// In the order of the script.
    pub statements: Vec<Statement>,
    /// The locks that others would have felt, the strongest first.
    pub locks: Vec<Lock>,
    /// Why it ended before its end, if not by a statement's error.
    pub ended: Option<String>,
    /// How many other sessions were seen waiting for it at once, at most.
    pub waited: usize,
    /// From the first statement to the last, in milliseconds.
    pub milliseconds: f64,
}

/// One statement of the script.
#[derive(Debug, Clone, Serialize)]
pub struct Statement {
    /// Where it begins, counted from 1.
    pub line: usize,
    /// Its text without literals.
    pub text: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    pub milliseconds: f64,
    /// Rows that it inserted, updated and deleted, by triggers and cascades too.
    pub rows_changed: u64,
    /// Tables and indexes that were there before and were written anew, with their size in bytes.
    pub rewritten: Vec<Sized>,
    /// Indexes that it built, with their size in bytes.
    pub built: Vec<Sized>,
    /// What else one should know.
    pub notes: Vec<String>,
}

/// A relation and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sized {
    /// Its name, quoted and qualified where it must be.
    pub name: String,
    /// In bytes.
    pub bytes: i64,
}

/// What became of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran.
    Ran,
    /// It begins or ends a transaction, which is only noted.
    Boundary,
    /// It cannot run in a transaction, or not here; why.
    Skipped(String),
    /// It failed.
    Failed(Box<Failure>),
    /// One before it failed.
    NotReached,
}

/// A statement's error, without the values that Postgres may quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its SQLSTATE.
    pub sqlstate: String,
    /// What went wrong.
    pub message: String,
    /// The rows that stand in the way.
    pub violations: Option<Violations>,
}

/// Rows that violate a constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violations {
    /// The table.
    pub table: String,
    /// What they violate.
    pub rule: String,
    /// How many.
    pub count: i64,
    /// The keys of the first few, if the seal's policy lets developers see them.
    pub keys: Vec<String>,
}

/// A lock on a relation that was there before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lock {
    /// The relation.
    pub relation: String,
    /// As `pg_locks` names it.
    pub mode: String,
    /// The line of the statement that took it.
    pub line: usize,
    /// How long it would have been held, in milliseconds.
    pub milliseconds: f64,
    /// Whom it keeps out.
    pub keeps_out: &'static str,
}

/// Rehearses a script on the database of `address`.
///
/// # Errors
/// Nothing could be tried. That a statement fails is no error: the report says so.
pub async fn rehearse(
    address: &Address,
    script: &str,
    options: &Options,
) -> Result<Report, RehearsalError> {
    let script = script::read(script)?;
    let client = admin(address).await?;
    let watcher = admin(address).await?;
    steps::run(&client, watcher, &script, options).await
}
