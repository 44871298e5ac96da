//! The audit: who did what, in a log that nobody can change unseen.
//!
//! Whoever has something to report holds an [`Events`] handle, which is cheap to clone, and hands over an
//! [`Event`]; one task takes them in order, in batches, to a [`Sink`]. The sink of a proxy that serves is the
//! [`Log`]: a folder of segments whose lines are linked by hash and signed ([`chain`], [`checkpoint`]).
//!
//! What waits in memory is bounded, and nothing is dropped in silence: a statement's record waits for room
//! ([`Events::record`]), and where nobody can wait ([`Events::report`]) an event without room makes the audit
//! fail. While it has failed, [`Events::health`] refuses, so that nobody is served off the record; the writer goes on
//! trying, and keeps what it holds.

pub mod chain;
pub mod checkpoint;
pub(crate) mod desk;
pub mod envelope;
pub mod event;
mod feed;
pub mod folder;
pub mod key;
pub mod log;
pub mod post;
pub mod postgres;
pub mod record;
mod recover;
pub mod report;
mod retain;
pub mod search;
mod second;
pub mod settings;
pub mod sink;
mod spool;
pub mod statement;
pub mod time;
pub mod verify;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, mpsc, watch};

use crate::error::{Refusal, SqlState};

pub use envelope::{Envelope, Signer};
pub use event::{EndReason, Event, EventKind};
pub use feed::Feed;
pub use log::{Log, LogError};
pub use settings::AuditSettings;
pub use sink::{Nowhere, Sink};
pub use spool::{Gated, account, administered, gated};
pub use statement::{Does, StatementRecord, StatementShape, Values, Verdict};
pub use writer::Writer;

/// How much may wait for the writer, in units of [`UNIT`] bytes: statements, and what is reported beside them.
const ROOM: usize = 16_384;
/// An event takes one unit, and one more for each that its texts fill.
const UNIT: usize = 1_024;

/// A handle to report events with.
#[derive(Debug, Clone)]
pub struct Events {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Queued>,
}

/// What handles and the writer share.
#[derive(Debug)]
struct Shared {
    /// An answer waits until its record is synced.
    durable: bool,
    /// Events that were given to the queue, or are about to be.
    queued: AtomicU64,
    /// Events for which there was no room, and that the writer has not yet said.
    lost: AtomicU64,
    /// Room for those who can wait, and for those who cannot.
    waited: Semaphore,
    reported: Semaphore,
    progress: watch::Sender<Progress>,
    /// Signs what the proxy vouches for.
    signer: Option<Signer>,
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// How many of the queue's events the sink has taken.
    synced: u64,
    /// Why it cannot go on.
    failed: Option<Arc<str>>,
}

/// An event in the queue, and the room that it takes.
#[derive(Debug)]
struct Queued {
    event: Event,
    units: u32,
    waited: bool,
}

impl Events {
    /// Starts the writer of `sink`; needs a tokio runtime. Nobody waits for it.
    pub fn start(sink: impl Sink + 'static) -> (Self, Writer) {
        Self::start_with(sink, false)
    }

    /// Starts the writer of `sink`; needs a tokio runtime. With `durable`, [`Events::settled`] waits.
    pub fn start_with(sink: impl Sink + 'static, durable: bool) -> (Self, Writer) {
        let (queue, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            durable,
            queued: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            waited: Semaphore::new(ROOM),
            reported: Semaphore::new(ROOM),
            progress: watch::Sender::new(Progress::default()),
            signer: sink.signer(),
        });
        let writer = Writer::spawn(sink, events, shared.clone());
        (Self { shared, queue }, writer)
    }

    /// Reports an event for which nobody waits; never waits itself. If there is no room for it, the audit fails
    /// until the log has caught up and says how many are missing.
    pub fn report(&self, event: Event) {
        let units = units(&event);
        match self.shared.reported.try_acquire_many(units) {
            Ok(room) => {
                room.forget();
                self.push(Queued {
                    event,
                    units,
                    waited: false,
                });
            }
            Err(_) => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                self.shared
                    .fail("events came faster than they could be written");
            }
        }
    }

    /// Records an event; waits only while there is no room for it.
    ///
    /// # Errors
    /// 58030, fatal: the audit has failed. The event is kept all the same if there is room.
    pub async fn record(&self, event: Event) -> Result<(), Refusal> {
        if let Err(refusal) = self.health() {
            self.report(event);
            return Err(refusal);
        }
        let units = units(&event);
        let shared = &self.shared;
        let room = match shared.waited.try_acquire_many(units) {
            Ok(room) => Some(room),
            Err(_) => {
                let mut progress = shared.progress.subscribe();
                tokio::select! {
                    room = shared.waited.acquire_many(units) => room.ok(),
                    _ = progress.wait_for(|progress| progress.failed.is_some()) => None,
                }
            }
        };
        match room {
            Some(room) => {
                room.forget();
                self.push(Queued {
                    event,
                    units,
                    waited: true,
                });
                Ok(())
            }
            None => {
                self.report(event);
                self.health()
            }
        }
    }

    /// With `durable`, waits until everything that this process has recorded up to now is on disk; one sync
    /// serves all who wait.
    ///
    /// # Errors
    /// 58030, fatal: the audit has failed.
    pub async fn settled(&self) -> Result<(), Refusal> {
        match self.shared.durable {
            true => self.written().await,
            false => self.health(),
        }
    }

    /// Waits until everything that this process has recorded up to now is on disk, whatever `durable` says.
    ///
    /// # Errors
    /// 58030, fatal: the audit has failed.
    pub async fn written(&self) -> Result<(), Refusal> {
        let shared = &self.shared;
        let target = shared.queued.load(Ordering::SeqCst);
        let mut progress = shared.progress.subscribe();
        let reached = progress
            .wait_for(|progress| progress.synced >= target || progress.failed.is_some())
            .await;
        match reached {
            Ok(progress) if progress.synced >= target => Ok(()),
            Ok(progress) => Err(refusal(progress.failed.as_deref())),
            Err(_) => Err(refusal(None)),
        }
    }

    /// Whether the log can be written: asked before a connection is accepted and before each statement.
    ///
    /// # Errors
    /// 58030, fatal: it cannot.
    pub fn health(&self) -> Result<(), Refusal> {
        match &self.shared.progress.borrow().failed {
            None => Ok(()),
            Some(reason) => Err(refusal(Some(reason))),
        }
    }

    /// What the proxy signs with; None: it keeps no signed log.
    pub fn signer(&self) -> Option<&Signer> {
        self.shared.signer.as_ref()
    }

    fn push(&self, queued: Queued) {
        // Counted before it is sent: who settles never waits for less than what it has recorded.
        self.shared.queued.fetch_add(1, Ordering::SeqCst);
        if self.queue.send(queued).is_err() {
            self.shared.fail("the writer has ended");
        }
    }
}

impl Shared {
    fn fail(&self, reason: &str) {
        let changed = self.progress.send_if_modified(|progress| {
            let news = progress.failed.as_deref() != Some(reason);
            if news {
                progress.failed = Some(reason.into());
            }
            news
        });
        if changed {
            tracing::error!(
                reason,
                "the audit log cannot be written; nobody is served until it can"
            );
        }
    }
}

/// The room that an event takes.
fn units(event: &Event) -> u32 {
    u32::try_from(1 + event.size() / UNIT).map_or(ROOM as u32, |units| units.min(ROOM as u32))
}

/// The reason goes to the proxy's own log; a client only needs to know that it is not its fault.
fn refusal(reason: Option<&str>) -> Refusal {
    tracing::debug!(reason, "refused: no audit");
    Refusal::fatal(SqlState::IO_ERROR, "the audit log cannot be written")
        .detail("Nobody is served off the record.")
        .hint("Try again later; who runs the proxy finds the reason in its log")
}

#[cfg(test)]
mod tests;
