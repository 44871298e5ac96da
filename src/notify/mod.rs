//! Who is told: chosen events of the audit, brought to people by webhook, Slack, Telegram or mail.
//!
//! A [`Tap`] stands between the audit and its log. What the log has taken goes on to each channel: [`watch`] makes an
//! [`Alert`] of what is worth one, [`outbox`] keeps repeats quiet and holds to a rate, and a thread per channel
//! delivers ([`channel`], [`deliver`]). Nobody waits for any of it: what is held is bounded, what does not fit is
//! counted, and the log has everything. A channel that cannot deliver gets onto the record.
//!
//! No message holds a literal, a row's value or a secret: an alert is made of names and counts alone.

pub mod alert;
pub mod channel;
pub mod deliver;
mod message;
pub mod outbox;
pub mod settings;
mod tap;
pub mod watch;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use crate::audit::Event;

pub use alert::{Alert, State, Topic};
pub use channel::Timing;
pub use deliver::{Failure, deliver};
pub use outbox::Message;
pub use settings::{Hidden, Mail, NotifySettings, Security, Streak, Way};
pub use tap::Tap;

use channel::Channel;

/// Everybody who is told. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notifier {
    channels: Arc<Mutex<Vec<Channel>>>,
    timing: Timing,
}

impl Notifier {
    /// Starts a thread for each of them.
    pub fn start(settings: &[NotifySettings], timing: Timing) -> Self {
        let channels = settings.iter().map(|one| Channel::start(one, timing));
        Self {
            channels: Arc::new(Mutex::new(channels.collect())),
            timing,
        }
    }

    /// Takes in settings that were read again. A channel whose settings are the same goes on with what it holds.
    pub fn reload(&self, settings: &[NotifySettings]) {
        let mut channels = self.lock();
        let mut old = std::mem::take(&mut *channels);
        for one in settings {
            let kept = old.iter().position(|channel| channel.settings() == one);
            channels.push(match kept {
                Some(at) => old.swap_remove(at),
                None => Channel::start(one, self.timing),
            });
        }
    }

    /// Looks at events that are on record.
    pub fn see(&self, events: &[Event]) {
        let now = Instant::now();
        let mut channels = self.lock();
        for event in events.iter().filter(|event| watch::may_matter(event)) {
            for channel in channels.iter_mut() {
                channel.see(event, now);
            }
        }
    }

    /// Tells what no event says.
    pub fn tell(&self, alert: &Alert) {
        let now = Instant::now();
        for channel in self.lock().iter_mut() {
            channel.tell(alert.clone(), now);
        }
    }

    /// What should be noted in the log since the last call.
    pub fn news(&self) -> Vec<Event> {
        let channels = self.lock();
        let news = channels.iter().flat_map(Channel::news);
        news.map(Event::now).collect()
    }

    /// Waits, not for long, until what is due is delivered.
    pub fn finish(&self) {
        let channels = std::mem::take(&mut *self.lock());
        for channel in &channels {
            channel.end();
        }
        let until = Instant::now() + self.timing.goodbye;
        for channel in &channels {
            channel.wait(until);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `devinprod notify test` sends.
pub fn test_message() -> Message {
    Message::of(Alert::new(
        Topic::Test,
        State::News,
        "",
        "This is a test: notifications of devinprod arrive here",
        "nothing",
        SystemTime::now(),
    ))
}
