//! Where events are written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::event::Event;

/// Takes events, in order. It may block: it is called where no client's task runs.
pub trait Sink: Send {
    /// Writes `events`, all of them or none: when this returns, they will not be lost.
    ///
    /// # Errors
    /// None of them is written; they will be offered again, more behind them.
    fn write(&mut self, events: &[Event]) -> io::Result<()>;

    /// Does what is due without any event; called about twice a second.
    ///
    /// # Errors
    /// What is written may no longer be trusted; it will be called again.
    fn tend(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// How long it is worth waiting for more events before those that came are written.
    fn linger(&self) -> Duration {
        Duration::ZERO
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

/// One JSON object per line.
#[derive(Debug)]
pub struct JsonLines<W>(W);

impl JsonLines<io::Sink> {
    /// To nowhere: for a proxy that only tries something out.
    pub fn to_nowhere() -> Self {
        Self(io::sink())
    }
}

impl JsonLines<io::Stderr> {
    /// To standard error.
    pub fn to_stderr() -> Self {
        Self(io::stderr())
    }
}

impl JsonLines<File> {
    /// Appended to the file at `path`, which is made if need be, readable by its owner alone.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn append_to(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map(Self)
    }
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn write(&mut self, events: &[Event]) -> io::Result<()> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event)?;
            lines.push(b'\n');
        }
        self.0.write_all(&lines)?;
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::EventKind;
    use super::*;

    #[test]
    fn a_file_is_appended_to_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let event = Event::now(EventKind::Refused {
            sqlstate: "42501".to_owned(),
            message: "no\nsuch luck".to_owned(),
        });
        for _ in 0..2 {
            let mut sink = JsonLines::append_to(&path).unwrap();
            sink.write(std::slice::from_ref(&event)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["event"], "refused");
        assert_eq!(lines[1]["sqlstate"], "42501");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
