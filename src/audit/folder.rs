//! The log's folder: what its files are called, who may write there, and reading a segment line by line.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// What a segment's name ends with.
const SEGMENT: &str = "jsonl";
/// What the name of bytes that were set aside ends with; `new` is added until the log has a note of them.
pub(super) const TORN: &str = "torn";

/// A segment's file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The sequence number of its first line, as its name says.
    pub first: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Segment {
    /// The segment of this folder whose first line is number `first`.
    pub fn new(folder: &Path, first: u64) -> Self {
        Self {
            first,
            path: folder.join(format!("{first:020}.{SEGMENT}")),
        }
    }

    /// The file's name.
    pub fn name(&self) -> String {
        name(&self.path)
    }
}

/// A file's name, for people.
pub(super) fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The segments of a folder in their order. Other files are not looked at.
///
/// # Errors
/// The folder cannot be read.
pub fn segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == SEGMENT)
        {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if let Ok(first) = stem.parse() {
                found.push(Segment { first, path });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The files of bytes that were set aside, and of which the log has no note yet.
pub(super) fn torn_without_note(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let suffix = format!(".{TORN}.new");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if name(&path).ends_with(&suffix) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the folder, private to its owner, if it is not there.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes what was done to the names in a folder last.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Held by the one process that writes the log.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the audit log in {folder} is being written by another process{}", .process.map_or(String::new(), |id| format!(", {id}")))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The other process's id.
        process: Option<u32>,
    },
    /// The lock's file cannot be used.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock of a folder, and writes this process's id into it.
    ///
    /// # Errors
    /// Another process holds it.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut process = String::new();
                file.read_to_string(&mut process)?;
                return Err(LockError::Held {
                    folder: folder.to_owned(),
                    process: process.trim().parse().ok(),
                });
            }
            Err(error) => return Err(io::Error::from(error).into()),
        }
        // On a full disk the lock holds without its owner's name.
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// The lines of a file, one after the other.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<File>,
    /// Where the next line begins.
    pub offset: u64,
}

/// The longest line that is read; those of a log are far shorter.
const LONGEST: u64 = 64 << 20;

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            reader: BufReader::with_capacity(1 << 16, File::open(path)?),
            offset: 0,
        })
    }

    /// Reads the next line into `line`, without its line end. False at the end of the file; a last line without a
    /// line end is not taken: `line` holds it then.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let read = (&mut self.reader).take(LONGEST).read_until(b'\n', line)?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            return Ok(false);
        }
        self.offset += read as u64;
        Ok(true)
    }

    /// Goes back to the end of the last whole line, to look whether more was written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn again(&mut self) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(self.offset)).map(|_| ())
    }

    /// Goes back before a line of this length that was just read.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn again_from(&mut self, length: usize) -> io::Result<()> {
        self.offset = self.offset.saturating_sub(length as u64 + 1);
        self.again()
    }
}
