//! What the tap tells: one [`Execution`] for each statement that was run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::{Digest, ResultDigest};

/// A statement that was run, and what came of it.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Which connection of this tap, counted from 1.
    pub connection: u64,
    /// When it was sent, counted from the tap's start.
    pub at: Duration,
    /// The statement alone, also where it came in a Query with others; cut where it is longer than what is kept.
    pub text: Arc<str>,
    /// Whether it came as a simple Query.
    pub simple: bool,
    /// The types of its parameters (OIDs), as far as somebody named them; 0 is unknown.
    pub types: Vec<u32>,
    /// Its parameters; None where they were too large to be kept.
    pub parameters: Option<Vec<Parameter>>,
    /// From when it was sent, or the one before it was done, to its last answer.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// What it returned.
    pub result: ResultDigest,
}

impl Execution {
    /// The same for the same text with the same parameters.
    pub fn question(&self) -> Digest {
        let mut parts: Vec<&[u8]> = vec![self.text.as_bytes()];
        for parameter in self.parameters.iter().flatten() {
            parts.push(match &parameter.value {
                Some(value) => value,
                None => b"\0null",
            });
        }
        Digest::of(&parts)
    }
}

/// A value that was bound to a `$n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Whether it is in the type's binary form, not in text.
    pub binary: bool,
    /// As it was sent; None is NULL.
    pub value: Option<Bytes>,
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It went well: the tag of CommandComplete; empty where there was none (a portal not read to its end).
    Done(String),
    /// It did not.
    Failed {
        /// The five characters.
        sqlstate: String,
        /// The primary message.
        message: String,
    },
}

impl Outcome {
    /// The number at the end of the tag: rows inserted, updated, returned …
    pub fn affected(&self) -> Option<u64> {
        match self {
            Self::Done(tag) => tag.rsplit(' ').next()?.parse().ok(),
            Self::Failed { .. } => None,
        }
    }
}

/// Something that passed.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A statement was run.
    Execution(Box<Execution>),
    /// An error that belongs to no statement: a login that was refused, a connection that was ended.
    Error {
        /// The five characters.
        sqlstate: String,
        /// The primary message.
        message: String,
    },
}

/// Who is told. Called in the order of each connection; it must be quick, the answer waits for it.
pub trait Sink: Send + Sync + 'static {
    /// Something passed.
    fn seen(&self, seen: Seen);
}
