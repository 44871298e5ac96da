//! [`Refusal`]: the only shape of error that a client ever sees from devinprod itself.
//!
//! Errors of the upstream pass through unchanged; whatever the proxy refuses on its own becomes a
//! `Refusal`. Internal errors (I/O, bugs) have types of their own and no conversion into this one, so
//! that their text cannot reach a client by accident.

use std::fmt;

/// A five-character SQLSTATE ([Postgres, appendix A](https://www.postgresql.org/docs/current/errcodes-appendix.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub &'static str);

#[allow(missing_docs)]
impl SqlState {
    pub const WARNING: Self = Self("01000");
    pub const PROTOCOL_VIOLATION: Self = Self("08P01");
    pub const CONNECTION_FAILURE: Self = Self("08006");
    pub const CANNOT_CONNECT_NOW: Self = Self("57P03");
    pub const FEATURE_NOT_SUPPORTED: Self = Self("0A000");
    pub const INVALID_PARAMETER_VALUE: Self = Self("22023");
    pub const CHARACTER_NOT_IN_REPERTOIRE: Self = Self("22021");
    pub const ACTIVE_SQL_TRANSACTION: Self = Self("25001");
    pub const NO_ACTIVE_SQL_TRANSACTION: Self = Self("25P01");
    pub const IN_FAILED_SQL_TRANSACTION: Self = Self("25P02");
    pub const IDLE_IN_TRANSACTION_TIMEOUT: Self = Self("25P03");
    pub const INVALID_SQL_STATEMENT_NAME: Self = Self("26000");
    pub const INVALID_AUTHORIZATION: Self = Self("28000");
    pub const INVALID_PASSWORD: Self = Self("28P01");
    pub const INVALID_SAVEPOINT_SPECIFICATION: Self = Self("3B001");
    pub const INVALID_CATALOG_NAME: Self = Self("3D000");
    pub const INVALID_CURSOR_NAME: Self = Self("34000");
    pub const SERIALIZATION_FAILURE: Self = Self("40001");
    pub const DEADLOCK_DETECTED: Self = Self("40P01");
    pub const SYNTAX_ERROR: Self = Self("42601");
    pub const INSUFFICIENT_PRIVILEGE: Self = Self("42501");
    pub const DUPLICATE_CURSOR: Self = Self("42P03");
    pub const DUPLICATE_PREPARED_STATEMENT: Self = Self("42P05");
    pub const UNDEFINED_PARAMETER: Self = Self("42P02");
    pub const TOO_MANY_CONNECTIONS: Self = Self("53300");
    pub const CONFIGURATION_LIMIT_EXCEEDED: Self = Self("53400");
    pub const PROGRAM_LIMIT_EXCEEDED: Self = Self("54000");
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: Self = Self("55000");
    pub const LOCK_NOT_AVAILABLE: Self = Self("55P03");
    pub const QUERY_CANCELED: Self = Self("57014");
    pub const ADMIN_SHUTDOWN: Self = Self("57P01");
    pub const IDLE_SESSION_TIMEOUT: Self = Self("57P05");
    pub const IO_ERROR: Self = Self("58030");
    pub const INTERNAL_ERROR: Self = Self("XX000");
}

/// How loud an ErrorResponse or NoticeResponse is (protocol field `S` and `V`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the connection lives on.
    Error,
    /// The connection ends after this message.
    Fatal,
    /// Sent as a NoticeResponse.
    Warning,
    /// Sent as a NoticeResponse.
    Notice,
}

impl Severity {
    /// The word as Postgres writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }
}

/// What devinprod tells a client: what happened, why, and what to do.
///
/// No field may hold a secret, a real value of a sensitive column, or an internal error's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Error, fatal, or a notice of some level.
    pub severity: Severity,
    /// The condition's code.
    pub sqlstate: SqlState,
    /// What happened: one line, no final period.
    pub message: String,
    /// Why.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the client's own text, counted in characters from 1.
    pub position: Option<usize>,
}

impl Refusal {
    /// An error that ends the statement.
    pub fn error(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// An error that ends the connection.
    pub fn fatal(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fatal,
            ..Self::error(sqlstate, message)
        }
    }

    /// A warning, sent as a NoticeResponse.
    pub fn warning(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(sqlstate, message)
        }
    }

    /// A notice, sent as a NoticeResponse.
    pub fn notice(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Notice,
            ..Self::error(SqlState("00000"), message)
        }
    }

    /// Adds why it happened.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the place in the client's text (characters, from 1).
    #[must_use]
    pub fn position(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.severity.as_str(),
            self.sqlstate.0,
            self.message
        )?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
