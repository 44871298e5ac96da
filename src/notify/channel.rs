//! [`Channel`]: one way to tell people, with a thread of its own that delivers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::alert::Alert;
use super::deliver::{Failure, deliver};
use super::outbox::{Message, Outbox};
use super::settings::NotifySettings;
use super::watch::Watch;
use crate::audit::desk::Desk;
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
    desk: Arc<Desk<Outbox>>,
}

impl Channel {
    /// Starts its thread.
    pub fn start(settings: &NotifySettings, timing: Timing) -> Self {
        let work = Work {
            settings: settings.clone(),
            timing,
            failures: 0,
            lost: false,
        };
        let desk = Desk::start(
            "notify",
            Outbox::new(settings.quiet, settings.per_hour),
            move |desk| work.run(desk),
            |reason| EventKind::NotifyLost {
                name: settings.name.clone(),
                reason,
            },
        );
        Self {
            watch: Watch::new(settings.streak),
            settings: settings.clone(),
            desk,
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
            self.desk.with(|outbox| outbox.offer(alert, now));
        }
    }

    /// What should be noted in the log since the last call.
    pub fn news(&self) -> Vec<EventKind> {
        self.desk.news()
    }

    /// What is due is delivered, if the first try succeeds; then the thread ends.
    pub fn end(&self) {
        self.desk.end();
    }

    /// Waits for the thread's end, but not beyond `until`.
    pub fn wait(&self, until: Instant) {
        self.desk.wait(until);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread does.
struct Work {
    settings: NotifySettings,
    timing: Timing,
    /// Failures in a row, of whichever message.
    failures: u32,
    /// It is on record that nothing gets through.
    lost: bool,
}

impl Work {
    fn run(mut self, desk: &Desk<Outbox>) {
        while let Some(message) = desk.next(|outbox, now| outbox.next(now)) {
            if !self.carry(desk, &message) {
                desk.with(|outbox| outbox.undeliverable(&message));
            }
        }
    }

    /// Delivers a message, however many tries it takes; false: it is given up.
    fn carry(&mut self, desk: &Desk<Outbox>, message: &Message) -> bool {
        let until = Instant::now() + self.timing.give_up;
        let mut pause = self.timing.pause;
        loop {
            let failure = match deliver(&self.settings, message, self.timing.patience) {
                Ok(_) => {
                    self.delivered(desk);
                    return true;
                }
                Err(failure) => failure,
            };
            self.failed(desk, &failure);
            // Not longer than anybody would wait: the other side may ask for centuries.
            let asked = failure.after.unwrap_or_default();
            let wait = asked.min(self.timing.give_up).max(pause);
            if failure.lasting || Instant::now() + wait > until || desk.rest(wait) {
                return false;
            }
            pause = (pause * 2).min(self.timing.longest_pause);
        }
    }

    fn delivered(&mut self, desk: &Desk<Outbox>) {
        self.failures = 0;
        if std::mem::take(&mut self.lost) {
            let name = self.settings.name.clone();
            desk.note(EventKind::NotifyBack { name });
        }
    }

    fn failed(&mut self, desk: &Desk<Outbox>, failure: &Failure) {
        let name = &self.settings.name;
        tracing::warn!(
            name,
            reason = failure.reason,
            "a notification could not be delivered"
        );
        self.failures += 1;
        if !self.lost && (failure.lasting || self.failures >= PATIENT_WITH) {
            self.lost = true;
            desk.note(EventKind::NotifyLost {
                name: name.clone(),
                reason: failure.reason.clone(),
            });
        }
    }
}
