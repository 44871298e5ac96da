//! [`Desk`]: a thread that delivers, and what it shares with those who give it work. Nobody waits for it, and it ends with
//! its desk's owner.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::event::EventKind;

/// See the [module](self). `T` is what is to be done.
#[derive(Debug)]
pub(crate) struct Desk<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    work: T,
    news: Vec<EventKind>,
    ends: bool,
    ended: bool,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<R> {
    /// This.
    Do(R),
    /// Nothing before this instant.
    WaitUntil(Instant),
    /// Nothing.
    Wait,
}

impl<T: Send + 'static> Desk<T> {
    /// Starts the thread. `lost` is what is noted if there can be none.
    pub fn start(
        name: &str,
        work: T,
        run: impl FnOnce(&Self) + Send + 'static,
        lost: impl FnOnce(String) -> EventKind,
    ) -> Arc<Self> {
        let desk = Arc::new(Self {
            state: Mutex::new(State {
                work,
                news: Vec::new(),
                ends: false,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let working = desk.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || {
            run(&working);
            working.lock().ended = true;
            working.changed.notify_all();
        });
        if let Err(error) = started {
            let mut state = desk.lock();
            state.ended = true;
            state.news.push(lost(error.to_string()));
        }
        desk
    }
}

impl<T> Desk<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is to be done; the thread looks at it again.
    pub fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let changed = change(&mut self.lock().work);
        self.changed.notify_all();
        changed
    }

    /// Notes something for the log.
    pub fn note(&self, kind: EventKind) {
        self.lock().news.push(kind);
    }

    /// What should be noted in the log since the last call.
    pub fn news(&self) -> Vec<EventKind> {
        std::mem::take(&mut self.lock().news)
    }

    /// What is due is done if it can be at once; then the thread ends.
    pub fn end(&self) {
        self.lock().ends = true;
        self.changed.notify_all();
    }

    /// Waits for the thread's end, but not beyond `until`.
    pub fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), left, |state| !state.ended);
        drop(waited);
    }

    /// For the thread: waits for something to do; None: nothing is due, and it ends.
    pub fn next<R>(&self, mut look: impl FnMut(&mut T, Instant) -> Next<R>) -> Option<R> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let until = match look(&mut state.work, now) {
                Next::Do(what) => return Some(what),
                _ if state.ends => return None,
                Next::WaitUntil(until) => Some(until),
                Next::Wait => None,
            };
            state = match until {
                Some(until) => {
                    let left = until.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// For the thread: pauses; true if it is to end.
    pub fn rest(&self, pause: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), pause, |state| !state.ends);
        waited.unwrap_or_else(PoisonError::into_inner).0.ends
    }
}
