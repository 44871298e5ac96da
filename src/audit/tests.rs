//! The queue and its writer, with sinks that fail on command.

use super::*;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc as blocking;
use std::time::Duration;

/// Keeps what it is given; while `broken`, it takes nothing.
#[derive(Clone, Default)]
struct Kept {
    events: Arc<Mutex<Vec<Event>>>,
    broken: Arc<AtomicBool>,
}

impl Kept {
    fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }
}

impl Sink for Kept {
    fn write(&mut self, events: &[Event]) -> io::Result<()> {
        self.tend()?;
        self.events.lock().unwrap().extend_from_slice(events);
        Ok(())
    }

    fn tend(&mut self) -> io::Result<Vec<Event>> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(Vec::new()),
        }
    }
}

fn event(n: usize) -> Event {
    Event::now(EventKind::ClientConnected).sandbox(n.to_string())
}

#[tokio::test]
async fn everything_is_written_in_order_before_the_writer_ends() {
    let kept = Kept::default();
    let (events, writer) = Events::start(kept.clone());
    let expected: Vec<Event> = (0..100).map(event).collect();
    for (n, event) in expected.iter().enumerate() {
        if n % 2 == 0 {
            events.report(event.clone());
        } else {
            events.record(event.clone()).await.unwrap();
        }
    }
    drop(events);
    writer.finished().await;
    assert_eq!(kept.all(), expected);
}

#[tokio::test]
async fn settled_means_written() {
    let kept = Kept::default();
    let (events, _writer) = Events::start_with(kept.clone(), true);
    for n in 0..200 {
        events.record(event(n)).await.unwrap();
        events.settled().await.unwrap();
        assert_eq!(kept.all().len(), n + 1);
    }
}

/// Would collect for ever.
struct Patient(Kept);

impl Sink for Patient {
    fn write(&mut self, events: &[Event]) -> io::Result<()> {
        self.0.write(events)
    }

    fn linger(&self) -> Duration {
        Duration::from_secs(1 << 40)
    }
}

#[tokio::test]
async fn who_waits_for_a_record_waits_for_no_others() {
    let kept = Kept::default();
    let (events, _writer) = Events::start_with(Patient(kept.clone()), true);
    events.record(event(0)).await.unwrap();
    events.settled().await.unwrap();
    assert_eq!(kept.all().len(), 1);
}

proptest::proptest! {
    #[test]
    fn a_record_lingers_once_and_never_longer_than_its_sink_says(
        linger in 0_u64..1_000, taken in 0_usize..20, room in 1_usize..20, durable: bool,
    ) {
        let linger = Duration::from_millis(linger);
        let waits = super::writer::lingers(linger, taken, room, durable);
        proptest::prop_assert!(waits <= linger);
        proptest::prop_assert_eq!(waits.is_zero(), linger.is_zero() || durable || taken == 0 || taken >= room);
    }
}

#[tokio::test]
async fn a_sink_that_fails_refuses_and_what_was_taken_is_written_later() {
    let kept = Kept::default();
    let (events, _writer) = Events::start_with(kept.clone(), true);
    kept.broken.store(true, Ordering::SeqCst);
    events.record(event(0)).await.unwrap();
    let refusal = events.settled().await.unwrap_err();
    assert_eq!(refusal.sqlstate.0, "58030");
    assert_eq!(refusal.severity, crate::error::Severity::Fatal);
    assert!(events.health().is_err());
    assert!(events.record(event(1)).await.is_err());
    assert!(kept.all().is_empty());
    kept.broken.store(false, Ordering::SeqCst);
    while events.health().is_err() {
        tokio::task::yield_now().await;
    }
    events.settled().await.unwrap();
    let written: Vec<_> = kept.all().into_iter().map(|e| e.sandbox.unwrap()).collect();
    assert_eq!(
        written,
        ["0", "1"],
        "both were taken, though one was refused"
    );
}

/// Takes a batch for each message, and one for each call after the other end is gone.
struct Stuck(blocking::Receiver<()>, Kept);

impl Sink for Stuck {
    fn write(&mut self, events: &[Event]) -> io::Result<()> {
        let _ = self.0.recv();
        self.1.write(events)
    }
}

#[tokio::test]
async fn a_stuck_sink_holds_reports_up_never_and_loses_none_in_silence() {
    let kept = Kept::default();
    let (release, stuck) = blocking::channel();
    let (events, writer) = Events::start(Stuck(stuck, kept.clone()));
    let sent = ROOM + 10;
    for n in 0..sent {
        events.report(event(n));
    }
    assert!(events.health().is_err(), "some had no room");
    drop(release);
    while events.health().is_err() {
        tokio::task::yield_now().await;
    }
    drop(events);
    writer.finished().await;
    let mut written = 0;
    let mut lost = 0;
    for event in kept.all() {
        match event.kind {
            EventKind::EventsLost { count } => lost += count,
            _ => written += 1,
        }
    }
    assert!(lost > 0);
    assert_eq!(written + lost, sent as u64);
}

#[tokio::test]
async fn a_record_waits_for_room_and_room_comes_back() {
    let kept = Kept::default();
    let (release, stuck) = blocking::channel();
    let (events, _writer) = Events::start(Stuck(stuck, kept.clone()));
    let long = "x".repeat(UNIT * ROOM / 4);
    for _ in 0..4 {
        let event = event(0).developer(long.clone());
        let waited = events.record(event);
        if tokio::time::timeout(std::time::Duration::from_millis(50), waited)
            .await
            .is_err()
        {
            break;
        }
    }
    assert!(
        events.shared.waited.available_permits() < ROOM / 4,
        "it is full"
    );
    let waiting = tokio::spawn({
        let events = events.clone();
        let event = event(9).developer(long);
        async move { events.record(event).await }
    });
    drop(release);
    waiting.await.unwrap().unwrap();
    while events.shared.waited.available_permits() < ROOM {
        tokio::task::yield_now().await;
    }
    assert_eq!(kept.all().last().unwrap().sandbox.as_deref(), Some("9"));
}
