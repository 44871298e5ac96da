//! What happened, for the record: events and where they go.
//!
//! Whoever has something to report holds an [`Events`] handle, which is cheap to clone and never waits: it
//! puts the [`Event`] into a bounded queue, and one task writes the queue to a [`Sink`]. An event that finds
//! the queue full, or that the sink cannot write, is counted and said on the proxy's log; clients are not
//! held up by it.

pub mod event;
pub mod sink;
pub mod time;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use event::{EndReason, Event, EventKind};
pub use sink::{JsonLines, Sink};

/// How many events may wait for the writer.
const QUEUE: usize = 4_096;

/// A handle to report events with.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
}

/// The task behind an [`Events`]; it ends, everything written, when the last handle is gone.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Events {
    /// Starts the writer of `sink`; needs a tokio runtime.
    pub fn start(sink: impl Sink + 'static) -> (Self, Writer) {
        let (queue, events) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = tokio::spawn(write_all(sink, events, Arc::clone(&lost)));
        (Self { queue, lost }, Writer(writer))
    }

    /// Reports an event; never waits.
    pub fn report(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            // The writer says so as soon as it gets on: a line per lost event would only add to the load.
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events were lost since the writer last said so.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Writer {
    /// Waits until every handle is gone and everything is written.
    pub async fn finished(self) {
        if let Err(error) = self.0.await {
            tracing::error!(%error, "the writer of events did not end well");
        }
    }
}

async fn write_all(
    mut sink: impl Sink + 'static,
    mut events: mpsc::Receiver<Event>,
    lost: Arc<AtomicU64>,
) {
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, QUEUE).await > 0 {
        let count = batch.len();
        // A disk may be slow: it is waited for where no client's task runs.
        let written = tokio::task::spawn_blocking(move || {
            let result = sink.write(&batch);
            (sink, batch, result)
        });
        let result;
        (sink, batch, result) = match written.await {
            Ok(back) => back,
            Err(error) => {
                tracing::error!(%error, "events are no longer written");
                return;
            }
        };
        batch.clear();
        if let Err(error) = result {
            tracing::error!(%error, count, "events could not be written");
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            count => tracing::error!(
                count,
                "events were lost: they came faster than they could be written"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Mutex;
    use std::sync::mpsc as blocking;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Event>>>);

    impl Sink for Kept {
        fn write(&mut self, events: &[Event]) -> io::Result<()> {
            self.0.lock().unwrap().extend_from_slice(events);
            Ok(())
        }
    }

    #[tokio::test]
    async fn everything_is_written_in_order_before_the_writer_ends() {
        let kept = Kept::default();
        let (events, writer) = Events::start(kept.clone());
        let expected: Vec<Event> = (0..100)
            .map(|n| Event::now(EventKind::ClientConnected).sandbox(n.to_string()))
            .collect();
        for event in &expected {
            events.report(event.clone());
        }
        drop(events);
        writer.finished().await;
        assert_eq!(*kept.0.lock().unwrap(), expected);
    }

    struct Stuck(blocking::Receiver<()>);

    impl Sink for Stuck {
        fn write(&mut self, _: &[Event]) -> io::Result<()> {
            let _ = self.0.recv();
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[tokio::test]
    async fn a_stuck_sink_holds_nobody_up() {
        let (release, stuck) = blocking::channel();
        let (events, writer) = Events::start(Stuck(stuck));
        for _ in 0..3 * QUEUE {
            events.report(Event::now(EventKind::ClientConnected));
        }
        assert!(events.lost() > 0);
        drop(release);
        drop(events);
        writer.finished().await;
    }
}
