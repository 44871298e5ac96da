//! Where events are written.

use std::io;
use std::time::Duration;

use super::envelope::Signer;
use super::event::Event;

/// Takes events, in order. It may block: it is called where no client's task runs.
pub trait Sink: Send {
    /// Writes `events`, all of them or none: when this returns, they will not be lost.
    ///
    /// # Errors
    /// None of them is written; they will be offered again, more behind them.
    fn write(&mut self, events: &[Event]) -> io::Result<()>;

    /// Does what is due without any event; called about twice a second. Returns the events that it wrote by itself.
    ///
    /// # Errors
    /// What is written may no longer be trusted; it will be called again.
    fn tend(&mut self) -> io::Result<Vec<Event>> {
        Ok(Vec::new())
    }

    /// How long it is worth waiting for more events before those that came are written.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    /// Signs with the key that what is written is signed with, if it is.
    fn signer(&self) -> Option<Signer> {
        None
    }

    /// Does what is due at the end; nothing comes after it.
    ///
    /// # Errors
    /// Something of it could not be done; what was written is safe.
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Forgets everything: for a proxy that only tries something out.
#[derive(Debug)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _: &[Event]) -> io::Result<()> {
        Ok(())
    }
}
