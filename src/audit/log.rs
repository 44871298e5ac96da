//! The log: a folder of segments, written by one process.
//!
//! Each line has a sequence number and the hash of the line before. A checkpoint, itself a line, signs where the log
//! stands: at the end of each segment, every few seconds while records come, and before anything is deleted. It also
//! goes to a second place. What [`Log`] is given is written and synced as a whole, or taken back as a whole: the
//! log's own idea of where it stands moves only when the disk has said yes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::chain::{Hash, Head};
use super::checkpoint::{Checkpoint, Signed};
use super::envelope::Signer;
use super::event::{Event, EventKind};
use super::feed::{Fed, Feed};
use super::folder::{self, Lock, LockError, Segment};
use super::key::SigningKey;
use super::record;
use super::recover::{self, Found, Left, RecoverError};
use super::second::Courier;
use super::settings::AuditSettings;
use super::sink::Sink;
use super::time::milliseconds;
use super::{retain, spool};

/// After this, a record is on disk, even if nobody waits for it.
pub const PROMISED: Duration = Duration::from_millis(100);
/// How long records are collected before they are written, if nobody waits for them. The disk has what is left of
/// [`PROMISED`]: a record may come just when a write has begun, and waits for that one, too.
const LINGER: Duration = Duration::from_millis(25);
/// How often old segments are looked for.
const RETAIN: Duration = Duration::from_secs(60);

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process writes it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It was changed, or cannot be read.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// There is a log, but not the key that it was signed with.
    #[error("the log in {folder} is signed with the key {key}, and {file} {why}")]
    Key {
        /// The folder.
        folder: String,
        /// The public key of the log.
        key: String,
        /// The key's file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The folder's files have no beginning of a log.
    #[error("{0} holds segments that no log began with")]
    NoLog(String),
    /// A file cannot be used.
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

impl LogError {
    /// What to do about it; no final period.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Lock(_) => "each proxy needs a folder of its own: set `folder` in [audit]",
            Self::Key { .. } => {
                "put the key's file back, or move the folder away: a new log begins with a new key"
            }
            Self::Recover(RecoverError::Changed { .. }) | Self::NoLog(_) => {
                "`devinprod audit verify` says what is wrong with it; keep the folder as evidence and move it away: a new log begins then"
            }
            Self::Recover(_) | Self::Io(..) => {
                "without its audit the proxy serves nobody: make the folder of [audit] writable"
            }
        }
    }
}

/// A log that this process writes.
#[derive(Debug)]
pub struct Log {
    settings: AuditSettings,
    _lock: Lock,
    key: Arc<SigningKey>,
    /// The log's name.
    name: String,
    segment: Open,
    head: Head,
    /// The checkpoint before the next one.
    last_checkpoint: Option<Checkpoint>,
    signed_at: Instant,
    retained_at: Instant,
    courier: Courier,
    fed: Fed,
}

/// The segment that is being written.
#[derive(Debug)]
struct Open {
    segment: Segment,
    file: File,
    /// How many bytes of it count: all that lies behind was never confirmed.
    length: u64,
    /// When its first line was written.
    began: u64,
    /// Its last line closes it.
    closed: bool,
    /// A write failed: what lies behind `length` is unknown.
    dirty: bool,
}

impl Log {
    /// Begins a log, or goes on with the one that is there; needs a tokio runtime for the second place.
    ///
    /// # Errors
    /// Another process writes it, it was changed, or it cannot be read or written.
    pub fn open(settings: &AuditSettings) -> Result<Self, LogError> {
        let folder = settings.folder.as_path();
        let io = |error| LogError::Io(folder.display().to_string(), error);
        folder::make(folder).map_err(io)?;
        let lock = Lock::take(folder)?;
        let Left { found, torn } = recover::look(folder)?;
        let key = key(settings, found.as_ref())?;
        for (segment, offset) in torn {
            recover::set_aside(folder, &segment, offset).map_err(io)?;
        }
        let mut log = match found {
            Some(found) => Self::go_on(settings, lock, key, found)?,
            None => Self::begin(settings, lock, key).map_err(io)?,
        };
        log.note_what_was_set_aside().map_err(io)?;
        Ok(log)
    }

    fn begin(settings: &AuditSettings, lock: Lock, key: SigningKey) -> io::Result<Self> {
        let name = hex::encode(rand::random::<[u8; 16]>());
        let kind = EventKind::LogBegun {
            log: name.clone(),
            key: key.public().to_string(),
        };
        let segment = Open::create(&settings.folder, 1)?;
        let mut log = Self::new(settings, lock, key, name, segment, Head::START, None);
        log.write(&[Event::now(kind)])?;
        Ok(log)
    }

    fn go_on(
        settings: &AuditSettings,
        lock: Lock,
        key: SigningKey,
        found: Found,
    ) -> Result<Self, LogError> {
        let folder = settings.folder.display().to_string();
        let name = match (&found.checkpoint, &found.log) {
            (Some(checkpoint), _) => checkpoint.log.clone(),
            (None, Some((name, _))) => name.clone(),
            (None, None) => return Err(LogError::NoLog(folder)),
        };
        let (head, checkpoint) = (found.head, found.checkpoint.clone());
        let segment = Open::again(found).map_err(|error| LogError::Io(folder.clone(), error))?;
        let mut log = Self::new(settings, lock, key, name, segment, head, checkpoint);
        log.write(&[Event::now(EventKind::LogOpened)])
            .map_err(|error| LogError::Io(folder, error))?;
        Ok(log)
    }

    fn new(
        settings: &AuditSettings,
        lock: Lock,
        key: SigningKey,
        name: String,
        segment: Open,
        head: Head,
        last_checkpoint: Option<Checkpoint>,
    ) -> Self {
        Self {
            courier: Courier::start(settings),
            settings: settings.clone(),
            _lock: lock,
            key: Arc::new(key),
            name,
            segment,
            head,
            last_checkpoint,
            signed_at: Instant::now(),
            retained_at: Instant::now(),
            fed: Fed::default(),
        }
    }

    /// Writes what was found at the start, and signs it.
    fn note_what_was_set_aside(&mut self) -> io::Result<()> {
        for file in folder::torn_without_note(&self.settings.folder)? {
            let (kind, noted) = recover::note(&file)?;
            tracing::warn!(
                file = folder::name(&noted),
                "the end of the audit log was torn by a power cut and is set aside"
            );
            self.write(&[Event::now(kind)])?;
            fs::rename(&file, noted)?;
        }
        self.sign(false)
    }

    /// Appends lines and syncs them; if that fails, nothing has happened.
    fn append(&mut self, bytes: &[u8], head: Head) -> io::Result<()> {
        if self.segment.length == 0 {
            self.segment.began = head.logged;
        }
        self.segment.append(bytes)?;
        self.head = head;
        self.fed.confirm(head.next.saturating_sub(1));
        Ok(())
    }

    /// For who follows the log while it is written.
    pub fn feed(&self) -> Feed {
        self.fed
            .feed(self.name.clone(), self.settings.folder.clone())
    }

    /// Goes on in a new segment, if this one is full, old or already closed.
    fn rotate(&mut self) -> io::Result<()> {
        let age = milliseconds(SystemTime::now()).saturating_sub(self.segment.began);
        let old = u128::from(age) >= self.settings.segment_age.as_millis();
        let due =
            self.segment.length > 0 && (old || self.segment.length >= self.settings.segment_size);
        if due && !self.segment.closed {
            self.sign(true)?;
        }
        if self.segment.closed {
            self.segment = Open::create(&self.settings.folder, self.head.next)?;
        }
        Ok(())
    }

    /// Are there lines behind the last checkpoint?
    fn is_unsigned(&self) -> bool {
        let signed = self.last_checkpoint.as_ref();
        // A checkpoint's own line is the one behind what it signs.
        signed.is_none_or(|checkpoint| checkpoint.last.saturating_add(2) < self.head.next)
    }

    /// Writes a checkpoint.
    fn sign(&mut self, closes: bool) -> io::Result<()> {
        let previous = self.last_checkpoint.as_ref();
        let checkpoint = Checkpoint {
            log: self.name.clone(),
            key: self.key.public().to_string(),
            first: self.segment.segment.first,
            last: self.head.next.saturating_sub(1),
            hash: self.head.hash,
            previous: previous.map_or(Hash::NONE, Checkpoint::hash_of_text),
            time: self.head.logged.max(milliseconds(SystemTime::now())),
            closes,
        };
        let head = Head {
            logged: checkpoint.time,
            ..self.head
        };
        let signed: Signed = checkpoint.sign(&self.key);
        let line = record::checkpoint_line(&signed)?;
        let after = head.after(&line, head.logged);
        let mut bytes = line.clone();
        bytes.push(b'\n');
        self.append(&bytes, after)?;
        self.segment.closed = closes;
        self.last_checkpoint = Some(signed.checkpoint);
        self.signed_at = Instant::now();
        self.courier.carry(line);
        Ok(())
    }

    /// Deletes segments that are too old. Their removal is signed first, so that it can be told from somebody else's.
    fn retain(&mut self) -> io::Result<()> {
        let Some(retention) = self.settings.retention else {
            return Ok(());
        };
        let before = SystemTime::now()
            .checked_sub(retention)
            .map_or(0, milliseconds);
        let open = self.segment.segment.first;
        let Some(old) = retain::older_than(&self.settings.folder, open, before)? else {
            return Ok(());
        };
        self.write(&[Event::now(EventKind::SegmentsRemoved {
            through: old.through,
            hash: old.hash.to_string(),
            files: old.segments.iter().map(Segment::name).collect(),
        })])?;
        self.sign(false)?;
        for segment in old.segments {
            fs::remove_file(segment.path)?;
        }
        folder::sync(&self.settings.folder)
    }
}

impl Sink for Log {
    fn write(&mut self, events: &[Event]) -> io::Result<()> {
        self.rotate()?;
        let mut head = self.head;
        let mut bytes = Vec::with_capacity(events.len() * 1_024);
        for event in events {
            let (line, logged) = record::event_line(event, &head, SystemTime::now())?;
            head = head.after(&line, logged);
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
        }
        self.append(&bytes, head)
    }

    fn tend(&mut self) -> io::Result<Vec<Event>> {
        self.segment.look()?;
        let mut events = self.courier.news();
        events.extend(self.fed.news());
        let spooled = spool::take(&self.settings.folder)?;
        events.extend(spooled.iter().map(|spooled| spooled.event.clone()));
        if !events.is_empty() {
            self.write(&events)?;
            for spooled in spooled {
                fs::remove_file(spooled.path)?;
            }
        }
        if self.retained_at.elapsed() >= RETAIN {
            self.retained_at = Instant::now();
            if let Err(error) = self.retain() {
                tracing::error!(%error, "old segments of the audit log could not be deleted");
            }
        }
        if self.is_unsigned() && self.signed_at.elapsed() >= self.settings.checkpoint_interval {
            self.sign(false)?;
        }
        Ok(events)
    }

    fn linger(&self) -> Duration {
        LINGER
    }

    fn signer(&self) -> Option<Signer> {
        Some(Signer::new(self.key.clone(), self.name.clone()))
    }

    fn close(&mut self) -> io::Result<()> {
        if self.is_unsigned() {
            self.sign(false)?;
        }
        self.courier.finish();
        Ok(())
    }
}

impl Open {
    /// A segment whose first line will be number `first`.
    fn create(folder: &Path, first: u64) -> io::Result<Self> {
        let segment = Segment::new(folder, first);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&segment.path)?;
        if file.metadata()?.len() > 0 {
            return Err(changed());
        }
        folder::sync(folder)?;
        Ok(Self {
            segment,
            file,
            length: 0,
            began: 0,
            closed: false,
            dirty: false,
        })
    }

    /// The segment that a log was left in.
    fn again(found: Found) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(&found.segment.path)?;
        Ok(Self {
            file,
            length: found.length,
            began: found.began,
            closed: found
                .checkpoint
                .is_some_and(|c| c.closes && c.last.saturating_add(2) == found.head.next),
            segment: found.segment,
            dirty: false,
        })
    }

    /// Is it still what was written, at its place? A folder that was moved away takes writes without a word.
    fn look(&self) -> io::Result<()> {
        let there = fs::metadata(&self.segment.path)?;
        let ours = self.file.metadata()?;
        let same = (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        match same && (self.dirty || ours.len() == self.length) {
            true => Ok(()),
            false => Err(changed()),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.look()?;
        if self.dirty {
            // After a failed sync nobody knows which pages are on disk: all that was not confirmed is written anew.
            self.file.set_len(self.length)?;
            self.file.sync_all()?;
            self.dirty = false;
        }
        let written = self
            .file
            .write_all(bytes)
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.dirty = true;
                Err(error)
            }
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("the last segment was moved, or changed by somebody else")
}

/// The key of the log that is there; a new one only for a new log.
fn key(settings: &AuditSettings, found: Option<&Found>) -> Result<SigningKey, LogError> {
    let file = settings.key_file.as_path();
    let shown = || file.display().to_string();
    let signer = found.and_then(|found| match (&found.checkpoint, &found.log) {
        (Some(checkpoint), _) => Some(checkpoint.key.clone()),
        (None, Some((_, key))) => Some(key.clone()),
        (None, None) => None,
    });
    let wrong = |signer: &str, why: String| LogError::Key {
        folder: settings.folder.display().to_string(),
        key: signer.to_owned(),
        file: shown(),
        why,
    };
    match (SigningKey::load(file), signer) {
        (Ok(key), Some(signer)) if key.public().to_string() != signer => {
            Err(wrong(&signer, "holds another".to_owned()))
        }
        (Ok(key), _) => Ok(key),
        (Err(error), Some(signer)) => Err(wrong(&signer, format!("cannot be read: {error}"))),
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => {
            SigningKey::create(file).map_err(|error| LogError::Io(shown(), error))
        }
        (Err(error), None) => Err(LogError::Io(shown(), error)),
    }
}

#[cfg(test)]
mod tests;
