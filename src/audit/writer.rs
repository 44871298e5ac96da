//! The one task that writes: takes what is queued, in order and in batches, to the sink.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::event::{Event, EventKind};
use super::sink::Sink;
use super::{Queued, Shared};

/// How many events are written at once, at most.
const BATCH: usize = 4_096;
/// How often the sink is tended: checkpoints, rotation, retention.
const TEND: Duration = Duration::from_millis(500);
/// How long a sink that failed is left alone before it is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often a sink that fails is tried, when nothing else holds the process up any more.
const LAST_TRIES: u32 = 6;

/// The task behind an [`Events`](super::Events); it ends, everything written, when the last handle is gone.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Writer {
    pub(super) fn spawn(
        sink: impl Sink + 'static,
        events: mpsc::UnboundedReceiver<Queued>,
        shared: Arc<Shared>,
    ) -> Self {
        let work = Work {
            sink: Some(Box::new(sink)),
            events,
            shared,
            batch: Batch::default(),
        };
        Self(tokio::spawn(work.run()))
    }

    /// Waits until every handle is gone and everything is written.
    pub async fn finished(self) {
        if let Err(error) = self.0.await {
            tracing::error!(%error, "the writer of the audit did not end well");
        }
    }
}

/// How long events that were taken wait for more before they are written: what `linger` says, once. A full batch is not
/// worth waiting with, nor is one that somebody waits for.
pub(super) fn lingers(linger: Duration, taken: usize, room: usize, durable: bool) -> Duration {
    match taken > 0 && taken < room && !durable {
        true => linger,
        false => Duration::ZERO,
    }
}

/// What was taken from the queue and is not yet written, and the room that it takes there.
#[derive(Default)]
struct Batch {
    events: Vec<Event>,
    /// How many of them came through the queue.
    queued: u64,
    waited: usize,
    reported: usize,
}

struct Work {
    /// None only while a blocking thread has it, or after one has panicked with it.
    sink: Option<Box<dyn Sink>>,
    events: mpsc::UnboundedReceiver<Queued>,
    shared: Arc<Shared>,
    batch: Batch,
}

impl Work {
    async fn run(mut self) {
        let mut tended = Instant::now();
        let mut last_tries = 0;
        loop {
            let open = self.gather().await;
            let tend = tended.elapsed() >= TEND || !open;
            if tend {
                tended = Instant::now();
            }
            match self.write(tend).await {
                Some(Ok(())) if !open => break,
                Some(Ok(())) => last_tries = 0,
                Some(Err(reason)) => {
                    self.shared.fail(&reason);
                    last_tries += u32::from(self.events.is_closed());
                    if last_tries >= LAST_TRIES {
                        let count = self.batch.events.len() + self.events.len();
                        tracing::error!(count, "the proxy ends with events that were not written");
                        return;
                    }
                    sleep(RETRY).await;
                }
                None => return self.shared.fail("the writer has ended"),
            }
        }
        if let Some(mut sink) = self.sink.take() {
            let closed = tokio::task::spawn_blocking(move || sink.close()).await;
            if let Ok(Err(error)) = closed {
                tracing::error!(%error, "the audit log was not closed well");
            }
        }
    }

    /// Adds to the batch what is queued; waits, for a while, if it is empty. False: nothing will come any more.
    async fn gather(&mut self) -> bool {
        let mut taken = Vec::new();
        let room = BATCH.saturating_sub(self.batch.events.len());
        let mut open = true;
        if self.batch.events.is_empty() {
            let received = timeout(TEND, self.events.recv_many(&mut taken, room)).await;
            open = received != Ok(0);
            let linger = self.sink.as_ref().map_or(Duration::ZERO, |s| s.linger());
            let wait = lingers(linger, taken.len(), room, self.shared.durable);
            if !wait.is_zero() {
                sleep(wait).await;
            }
        }
        while taken.len() < room {
            match self.events.try_recv() {
                Ok(queued) => taken.push(queued),
                Err(_) => break,
            }
        }
        for queued in taken {
            let units = queued.units as usize;
            if queued.waited {
                self.batch.waited += units;
            } else {
                self.batch.reported += units;
            }
            self.batch.queued += 1;
            self.batch.events.push(queued.event);
        }
        let count = self.shared.lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            self.batch
                .events
                .push(Event::now(EventKind::EventsLost { count }));
        }
        open
    }

    /// Writes the batch and forgets it. None: the sink is gone.
    async fn write(&mut self, tend: bool) -> Option<Result<(), String>> {
        if self.batch.events.is_empty() && !tend {
            return Some(Ok(()));
        }
        let mut sink = self.sink.take()?;
        let events = std::mem::take(&mut self.batch.events);
        // A disk may be slow: it is waited for where no client's task runs.
        let written = tokio::task::spawn_blocking(move || {
            let mut result = Ok(());
            if !events.is_empty() {
                result = sink.write(&events);
            }
            let done = result.is_ok();
            if tend && done {
                result = sink.tend().map(drop);
            }
            (sink, events, done, result)
        });
        let (sink, events, done, result) = match written.await {
            Ok(back) => back,
            Err(error) => {
                tracing::error!(%error, "the audit's sink broke");
                return None;
            }
        };
        self.sink = Some(sink);
        if done {
            self.release(result.is_ok());
        } else {
            self.batch.events = events;
        }
        Some(result.map_err(|error| error.to_string()))
    }

    /// Gives back the room of what is written, and wakes who waits for it.
    fn release(&mut self, healthy: bool) {
        let batch = std::mem::take(&mut self.batch);
        let shared = &self.shared;
        shared.waited.add_permits(batch.waited);
        shared.reported.add_permits(batch.reported);
        let healthy = healthy && shared.lost.load(Ordering::Relaxed) == 0;
        let mut recovered = false;
        shared.progress.send_if_modified(|progress| {
            recovered = healthy && progress.failed.take().is_some();
            progress.synced += batch.queued;
            batch.queued > 0 || recovered
        });
        if recovered {
            tracing::info!("the audit log can be written again");
        }
    }
}
