//! [`Tap`]: the second reader of the audit's events.

use std::io;
use std::time::{Duration, SystemTime};

use super::Notifier;
use super::alert::{Alert, State, Topic};
use crate::audit::{Event, Signer, Sink};

/// A sink before the log's: what the log has taken, the notifier sees. It adds no way to fail.
#[derive(Debug)]
pub struct Tap<S> {
    log: S,
    notifier: Notifier,
    /// What the notifier has to say to the log, and could not yet.
    news: Vec<Event>,
    failing: bool,
}

impl<S: Sink> Tap<S> {
    /// Before this log.
    pub fn new(log: S, notifier: Notifier) -> Self {
        Self {
            log,
            notifier,
            news: Vec::new(),
            failing: false,
        }
    }

    /// Tells when the log begins to fail, and when it no longer does: no event can say so.
    fn told<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        let fails = result.is_err();
        if self.failing != fails {
            self.failing = fails;
            let (state, title, hint) = match fails {
                true => (
                    State::Trouble,
                    "the audit log cannot be written; the proxy serves nobody until it can",
                    "the proxy's own log has the reason; look at the disk first",
                ),
                false => (
                    State::Over,
                    "the audit log can be written again; the proxy serves",
                    "nothing",
                ),
            };
            let alert = Alert::new(Topic::Audit, state, "log", title, hint, SystemTime::now());
            self.notifier.tell(&alert);
        }
        result
    }
}

impl<S: Sink> Sink for Tap<S> {
    fn write(&mut self, events: &[Event]) -> io::Result<()> {
        let written = self.log.write(events);
        self.told(written)?;
        self.notifier.see(events);
        Ok(())
    }

    fn tend(&mut self) -> io::Result<Vec<Event>> {
        let tended = self.log.tend();
        let mut own = self.told(tended)?;
        self.notifier.see(&own);
        self.news.extend(self.notifier.news());
        if !self.news.is_empty() {
            let written = self.log.write(&self.news);
            self.told(written)?;
            self.notifier.see(&self.news);
            own.append(&mut self.news);
        }
        Ok(own)
    }

    fn linger(&self) -> Duration {
        self.log.linger()
    }

    fn signer(&self) -> Option<Signer> {
        self.log.signer()
    }

    fn close(&mut self) -> io::Result<()> {
        let closed = self.log.close();
        self.notifier.finish();
        closed
    }
}
