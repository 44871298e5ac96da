//! A copy of the log in a Postgres database, for those who ask in SQL.
//!
//! The log's folder is the truth. A task beside it ([`follow`]) reads the segments, never beyond what is synced, and
//! copies their lines in batches. How far it is stands in the database and moves in the same transaction as the rows,
//! from where the task thinks it is or not at all: so neither a kill nor an unknown COMMIT leaves a gap or writes
//! a line twice. Nobody waits for the database, and what it missed while it was away is copied when it is back.
//!
//! [`setup`] makes the schema (`schema.sql`), whose privileges let the proxy's role add rows and do nothing else to
//! them; [`compare`] holds a table against the log.

mod compare;
mod follow;
mod row;
mod setup;

pub use compare::{Comparison, compare};
pub use follow::follow;
pub use setup::{AUDITOR, Options, WRITER, script};

/// What can go wrong with the copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// The database refused something.
    #[error("{}", .0.as_db_error().map_or_else(|| .0.to_string(), |refused| refused.message().to_owned()))]
    Database(#[from] tokio_postgres::Error),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(#[from] std::io::Error),
    /// It does not fit to what was copied of it.
    #[error(
        "record {0} is not linked to the one that was copied before it: the log, or its copy, was changed"
    )]
    Changed(u64),
    /// No answer.
    #[error("the database does not answer")]
    TimedOut,
}
