//! [`Channel`]: one way to tell people, with a thread of its own that delivers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::alert::Alert;
use super::deliver::{Failure, deliver};
use super::outbox::{Message, Next, Outbox};
use super::settings::NotifySettings;
use super::watch::Watch;
use crate::audit::{Event, EventKind};

/// After how many failures in a row it goes on record; one that will not pass by itself does so at once.
const PATIENT_WITH: u32 = 3;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// One try.
    pub patience: Duration,
    /// The pause after a failure, doubled with each …
    pub pause: Duration,
    /// … up to this.
    pub longest_pause: Duration,
    /// After this, a message is given up.
    pub give_up: Duration,
    /// The last deliveries, when the process ends.
    pub goodbye: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            give_up: Duration::from_secs(3_600),
            goodbye: Duration::from_secs(2),
        }
    }
}

/// One way to tell people. Its thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct Channel {
    settings: NotifySettings,
    watch: Watch,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    news: Vec<EventKind>,
    ends: bool,
    ended: bool,
}

impl Channel {
    /// Starts its thread.
    pub fn start(settings: &NotifySettings, timing: Timing) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                outbox: Outbox::new(settings.quiet, settings.per_hour),
                news: Vec::new(),
                ends: false,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let work = Work {
            settings: settings.clone(),
            timing,
            shared: shared.clone(),
            failures: 0,
            lost: false,
        };
        let thread = std::thread::Builder::new().name("notify".to_owned());
        if let Err(error) = thread.spawn(move || work.run()) {
            let mut state = shared.lock();
            state.ended = true;
            state.news.push(EventKind::NotifyLost {
                name: settings.name.clone(),
                reason: error.to_string(),
            });
        }
        Self {
            watch: Watch::new(settings.streak),
            settings: settings.clone(),
            shared,
        }
    }

    pub fn settings(&self) -> &NotifySettings {
        &self.settings
    }

    /// Looks at an event.
    pub fn see(&mut self, event: &Event, now: Instant) {
        // Who cannot be reached is not told so.
        if matches!(&event.kind, EventKind::NotifyLost { name, .. } | EventKind::NotifyBack { name } if *name == self.settings.name)
        {
            return;
        }
        for alert in self.watch.see(event, now) {
            self.tell(alert, now);
        }
    }

    /// Takes an alert, if it is of a topic that was asked for.
    pub fn tell(&self, alert: Alert, now: Instant) {
        if self.settings.topics.contains(&alert.topic) {
            self.shared.lock().outbox.offer(alert, now);
            self.shared.changed.notify_all();
        }
    }

    /// What should be noted in the log since the last call.
    pub fn news(&self) -> Vec<EventKind> {
        std::mem::take(&mut self.shared.lock().news)
    }

    /// What is due is delivered, if the first try succeeds; then the thread ends.
    pub fn end(&self) {
        self.shared.lock().ends = true;
        self.shared.changed.notify_all();
    }

    /// Waits for the thread's end, but not beyond `until`.
    pub fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        drop(
            self.shared
                .changed
                .wait_timeout_while(self.shared.lock(), left, |state| !state.ended),
        );
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to deliver; None: nothing is due, and the channel ends.
    fn next(&self) -> Option<Message> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let next = state.outbox.next(now);
            let until = match next {
                Next::Deliver(message) => return Some(*message),
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

    /// Pauses; true if the channel ends.
    fn rest(&self, pause: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), pause, |state| !state.ends);
        waited.unwrap_or_else(PoisonError::into_inner).0.ends
    }
}

/// What the thread does.
struct Work {
    settings: NotifySettings,
    timing: Timing,
    shared: Arc<Shared>,
    /// Failures in a row, of whichever message.
    failures: u32,
    /// It is on record that nothing gets through.
    lost: bool,
}

impl Work {
    fn run(mut self) {
        while let Some(message) = self.shared.next() {
            if !self.carry(&message) {
                self.shared.lock().outbox.undeliverable(&message);
            }
        }
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }

    /// Delivers a message, however many tries it takes; false: it is given up.
    fn carry(&mut self, message: &Message) -> bool {
        let until = Instant::now() + self.timing.give_up;
        let mut pause = self.timing.pause;
        loop {
            let failure = match deliver(&self.settings, message, self.timing.patience) {
                Ok(_) => {
                    self.delivered();
                    return true;
                }
                Err(failure) => failure,
            };
            self.failed(&failure);
            // Not longer than anybody would wait: the other side may ask for centuries.
            let asked = failure.after.unwrap_or_default();
            let wait = asked.min(self.timing.give_up).max(pause);
            if failure.lasting || Instant::now() + wait > until || self.shared.rest(wait) {
                return false;
            }
            pause = (pause * 2).min(self.timing.longest_pause);
        }
    }

    fn delivered(&mut self) {
        self.failures = 0;
        if std::mem::take(&mut self.lost) {
            let name = self.settings.name.clone();
            self.shared.lock().news.push(EventKind::NotifyBack { name });
        }
    }

    fn failed(&mut self, failure: &Failure) {
        let name = &self.settings.name;
        tracing::warn!(
            name,
            reason = failure.reason,
            "a notification could not be delivered"
        );
        self.failures += 1;
        if !self.lost && (failure.lasting || self.failures >= PATIENT_WITH) {
            self.lost = true;
            self.shared.lock().news.push(EventKind::NotifyLost {
                name: name.clone(),
                reason: failure.reason.clone(),
            });
        }
    }
}
