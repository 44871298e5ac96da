//! What was sent and waits for its answer, in order. Both directions of a pass-through look at it.

use super::names::{Named, Names, Reading};
use crate::budget::Spending;
use crate::error::Refusal;
use crate::plan::PlanCache;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// An Execute has a Parse, a Bind and a Describe before it at most.
const NEAR: usize = 4;

/// One execution of one statement.
#[derive(Debug)]
pub(super) struct Run {
    pub statement: Named,
    /// What it may read; None if it reads nothing, or does not run.
    pub spending: Option<Spending>,
    /// It does not run, and this is why: what was sent in its place fails.
    pub refused: Option<Refusal>,
    pub sent: Instant,
}

/// A message that will be answered.
#[derive(Debug)]
pub(super) enum Sent {
    Parse(Bytes, Named),
    /// A portal's name, the statement's, and the parameters that are to be on record.
    Bind(Bytes, Bytes, Arc<[Option<String>]>),
    Describe,
    Execute(Option<Box<Run>>),
    CloseStatement(Bytes),
    ClosePortal(Bytes),
    /// A Query or FunctionCall: it ends with a ReadyForQuery of its own.
    Query {
        runs: VecDeque<Run>,
        /// Something of its answer has come.
        answered: bool,
        /// An error has come: what is left does not run.
        failed: bool,
    },
    Sync,
    /// An Execute or Query of ours that fails; nothing of its answer is the client's.
    Failure,
}

impl Sent {
    /// Its answer ends with a ReadyForQuery.
    fn is_awaited(&self) -> bool {
        matches!(self, Self::Query { .. } | Self::Sync)
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Track {
    pub queue: VecDeque<Sent>,
    /// Names as they will be when all is answered.
    pub planned: Names,
    /// Names as they are.
    pub reached: Names,
    pub reading: Reading,
    /// The server reads no message but a Sync: an error came.
    pub skipping: bool,
    /// The server takes data, and no other message.
    pub copying: bool,
    /// A failure is to be made before the next Sync, or at once.
    pub fail_at_sync: bool,
    pub fail_now: bool,
}

impl Track {
    /// A ReadyForQuery is to come: Postgres reads no further message before that, and so nothing is sent.
    pub fn is_held(&self) -> bool {
        self.queue.back().is_some_and(Sent::is_awaited)
    }

    /// Something else runs in the same batch.
    pub fn runs_more(&self) -> bool {
        self.queue.iter().take(NEAR).any(|sent| match sent {
            Sent::Execute(run) => run.is_some(),
            Sent::Query { runs, .. } => !runs.is_empty(),
            _ => false,
        })
    }

    /// An error of the server's came for the message at the front.
    pub fn failed(&mut self) {
        self.copying = false;
        self.planned = self.reached.clone();
        match self.queue.front_mut() {
            None | Some(Sent::Sync) => {}
            Some(Sent::Query { failed, .. }) => *failed = true,
            Some(_) => {
                self.fail_at_sync = false;
                self.skip();
            }
        }
    }

    /// What waits up to the next Sync will not be answered.
    pub fn skip(&mut self) {
        while self
            .queue
            .front()
            .is_some_and(|sent| !matches!(sent, Sent::Sync))
        {
            self.queue.pop_front();
        }
        self.skipping = self.queue.is_empty();
    }

    /// The server has begun to take data, and swallows what was sent as a Sync behind the Execute.
    pub fn copies(&mut self) {
        self.copying = true;
        if matches!(self.queue.front(), Some(Sent::Execute(_))) {
            self.queue.retain(|sent| !matches!(sent, Sent::Sync));
        }
    }

    /// A statement is sent.
    pub fn plans(&mut self, statement: &Named, plans: &PlanCache) {
        self.planned.done(statement, plans);
    }
}

/// A [`Track`] that two directions share, and how one wakes the other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    track: Mutex<Track>,
    /// Something changed for who sends.
    pub changed: Notify,
}

impl Shared {
    pub fn track(&self) -> MutexGuard<'_, Track> {
        self.track.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
