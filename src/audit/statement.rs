//! [`StatementRecord`]: one statement that a client ran, or was not allowed to run.

use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// One execution of one statement. No value of a table is in it, and no literal or parameter, unless a policy asks for
/// those ([`Values`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementRecord {
    /// The client's `application_name`; empty if it has none.
    pub application: String,
    /// What is the same for every execution.
    pub shape: Arc<StatementShape>,
    /// Rows that went to the client.
    pub rows: u64,
    /// Bytes of these rows, with the headers of their messages.
    pub bytes: u64,
    /// Rows that its command tag says were written.
    pub rows_written: u64,
    /// From when it was sent, or the one before it in its batch had ended, to its end.
    pub duration: Duration,
    /// How it ended.
    pub verdict: Verdict,
    /// The version of the policy that its upstream was sealed with; None without one.
    pub policy: Option<Arc<str>>,
    /// What a policy wants to be kept on upstreams of this stage; None: it does not.
    pub values: Option<Box<Values>>,
}

/// What a client said in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Values {
    /// The text with its literals.
    pub text: Arc<str>,
    /// The parameters: text as it came, binary values as `\x` and hexadecimal digits, None for NULL.
    pub parameters: Arc<[Option<String>]>,
}

/// What a statement is, whoever runs it and however often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StatementShape {
    /// The text without its literals ([`crate::sql::normalise`]).
    pub text: String,
    /// A short name of that text.
    pub fingerprint: String,
    /// What it does.
    pub does: Does,
    /// Relations that it reads or writes, `schema.name` where the schema is known.
    pub relations: Vec<String>,
    /// Columns that the policy does not leave clear and that it may read, `schema.name.column`.
    pub sensitive: Vec<String>,
    /// It runs code or could not be read: it may read more than is listed.
    pub opaque: bool,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// It reads rows.
    Read,
    /// It writes rows, whatever it reads.
    Write,
    /// It changes the schema.
    Define,
    /// BEGIN, COMMIT, SAVEPOINT and their like.
    Transact,
    /// Anything else: SET, SHOW, LISTEN …
    #[default]
    Other,
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It ran to its end, or to where its cursor or portal was left.
    Done,
    /// Postgres answered with an error.
    Failed {
        /// The SQLSTATE.
        sqlstate: String,
    },
    /// The proxy did not let it run.
    Refused {
        /// The SQLSTATE that the client was given.
        sqlstate: String,
    },
    /// It ran, and was ended because a budget was used up.
    Cut {
        /// The SQLSTATE that the client was given.
        sqlstate: String,
    },
}
