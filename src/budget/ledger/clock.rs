//! The ledger's time: it never goes backwards, whatever is done to the machine's clock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, and milliseconds of a clock that nobody can set.
type Reading = (u64, u64);

/// The time as the ledger sees it: the machine's clock, but never earlier than it was, and never slower than time really passes. So a
/// clock that is put back neither refills a window nor keeps one closed for longer than it lasts.
pub struct Clock {
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    /// The ledger's time minus the clock that nobody can set; it only grows.
    offset: AtomicU64,
}

impl Clock {
    /// This machine's, where the ledger has seen `latest` before.
    pub fn system(latest: u64) -> Self {
        let started = Instant::now();
        Self::new(latest, move || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let wall = since.unwrap_or_default().as_millis();
            let steady = started.elapsed().as_millis();
            (
                u64::try_from(wall).unwrap_or(u64::MAX),
                u64::try_from(steady).unwrap_or(u64::MAX),
            )
        })
    }

    /// One that reads the time of day and a steady clock (milliseconds each) from `read`.
    pub fn new(latest: u64, read: impl Fn() -> (u64, u64) + Send + Sync + 'static) -> Self {
        let (_, steady) = read();
        Self {
            read: Box::new(read),
            offset: AtomicU64::new(latest.saturating_sub(steady)),
        }
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> u64 {
        let (wall, steady) = (self.read)();
        let offset = wall.saturating_sub(steady);
        let before = self.offset.fetch_max(offset, Ordering::Relaxed);
        steady.saturating_add(before.max(offset))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn it_never_goes_back_and_never_stands_still() {
        let wall = Arc::new(AtomicU64::new(1_000_000));
        let steady = Arc::new(AtomicU64::new(50));
        let (w, s) = (wall.clone(), steady.clone());
        let clock = Clock::new(0, move || {
            (w.load(Ordering::Relaxed), s.load(Ordering::Relaxed))
        });
        assert_eq!(clock.now(), 1_000_000);
        // Put back by an hour: time goes on from where it was.
        wall.store(400_000, Ordering::Relaxed);
        assert_eq!(clock.now(), 1_000_000);
        steady.store(1_050, Ordering::Relaxed);
        assert_eq!(clock.now(), 1_001_000);
        // Put forward: it is followed.
        wall.store(2_000_000, Ordering::Relaxed);
        assert_eq!(clock.now(), 2_000_000);
    }

    #[test]
    fn a_restart_with_an_earlier_clock_goes_on_from_what_was_seen() {
        let steady = Arc::new(AtomicU64::new(0));
        let s = steady.clone();
        let clock = Clock::new(5_000, move || (1_000, s.load(Ordering::Relaxed)));
        assert_eq!(clock.now(), 5_000);
        steady.store(60_000, Ordering::Relaxed);
        assert_eq!(clock.now(), 65_000);
    }
}
