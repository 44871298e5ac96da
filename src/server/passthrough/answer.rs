//! The execution whose answer comes, and what an answer may be.

use super::names::Named;
use super::track::{Run, Sent, Track};
use crate::audit::Verdict;
use crate::error::{Refusal, SqlState};
use crate::session::ClientError;
use std::time::Instant;

/// The execution whose answer comes.
#[derive(Debug)]
pub(super) struct Answer {
    pub run: Option<Box<Run>>,
    pub rows: u64,
    pub bytes: u64,
    pub since: Instant,
    /// Why it is cut: its rows are dropped.
    pub cut: Option<Refusal>,
    pub application: String,
}

impl Answer {
    pub fn new(application: &str) -> Self {
        Self {
            run: None,
            rows: 0,
            bytes: 0,
            since: Instant::now(),
            cut: None,
            application: application.to_owned(),
        }
    }
}

/// Whose error it is.
pub(super) enum Front {
    Runs,
    Names(Named),
    Sync,
    Other,
}

impl Front {
    pub fn of(track: &Track) -> Self {
        match track.queue.front() {
            Some(Sent::Execute(_) | Sent::Query { .. }) => Self::Runs,
            Some(Sent::Parse(_, statement)) => Self::Names(statement.clone()),
            Some(Sent::Bind(_, statement, _)) => Self::Names(track.reached.statement(statement)),
            Some(Sent::Sync) => Self::Sync,
            _ => Self::Other,
        }
    }
}

pub(super) fn cut(refusal: &Refusal) -> Verdict {
    Verdict::Cut {
        sqlstate: refusal.sqlstate.0.to_owned(),
    }
}

/// The upstream answered what nobody asked: from here on nobody knows which answer is whose.
pub(super) fn unexpected(tag: u8) -> ClientError {
    tracing::error!(tag = %char::from(tag), "an answer of the upstream was not expected");
    ClientError::Protocol(Refusal::fatal(
        SqlState::PROTOCOL_VIOLATION,
        "the upstream gave an answer that was not expected",
    ))
}
