//! Evidence from files, folders and copies of a log.

use std::fs;
use std::io;
use std::path::Path;

use super::statement::{PAYLOAD_TYPE, Statement};
use crate::audit::Envelope;
use crate::audit::key::PublicKey;
use crate::audit::search::{Filter, search};

/// How deep folders are looked into.
const DEPTH: usize = 8;

/// Something that says it is evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it was found.
    pub place: String,
    /// What it is.
    pub found: Found,
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// One of the keys signed it.
    Signed(Box<Statement>, PublicKey),
    /// None of the keys signed it as it is; what it says, if it can be read.
    NotSigned(Option<Box<Statement>>),
}

/// Reads evidence, and holds it against these keys.
#[derive(Debug)]
pub struct Collector<'a> {
    keys: &'a [PublicKey],
    seen: Vec<Envelope>,
    /// What was found, each envelope once.
    pub pieces: Vec<Piece>,
}

impl<'a> Collector<'a> {
    /// Nothing is read yet.
    pub fn new(keys: &'a [PublicKey]) -> Self {
        Self {
            keys,
            seen: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// Reads a file with an envelope in each line, or all files of a folder whose names end in `.json` or `.jsonl`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn path(&mut self, path: &Path) -> io::Result<()> {
        if fs::metadata(path)?.is_dir() {
            return self.folder(path, DEPTH);
        }
        let text = fs::read(path)?;
        let text = String::from_utf8_lossy(&text);
        // One envelope may be written over several lines.
        if let Ok(envelope) = serde_json::from_str(&text) {
            self.envelope(path.display().to_string(), envelope);
            return Ok(());
        }
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let place = format!("{}:{}", path.display(), at + 1);
            match serde_json::from_str(line) {
                Ok(envelope) => self.envelope(place, envelope),
                Err(_) => self.pieces.push(Piece {
                    place,
                    found: Found::NotSigned(None),
                }),
            }
        }
        Ok(())
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        let entries: io::Result<Vec<_>> = fs::read_dir(folder)?.collect();
        let mut entries = entries?;
        entries.sort_by_key(fs::DirEntry::path);
        for entry in entries {
            let path = entry.path();
            // Links are not followed: they could lead in circles.
            let kind = entry.file_type()?;
            if kind.is_dir() && depth > 0 {
                self.folder(&path, depth - 1)?;
            } else if kind.is_file() && holds_evidence(&path) {
                self.path(&path)?;
            }
        }
        Ok(())
    }

    /// Reads the records of evidence in a log's folder, or in a copy of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn log(&mut self, folder: &Path) -> io::Result<()> {
        let filter = Filter {
            event: Some("evidence".to_owned()),
            ..Filter::default()
        };
        let shown = folder.display().to_string();
        search(folder, &filter, |record, _| {
            let place = format!("{shown}, record {}", record.metadata.sequence);
            match &record.unmapped.envelope {
                Some(envelope) => self.envelope(place, envelope.clone()),
                None => self.pieces.push(Piece {
                    place,
                    found: Found::NotSigned(None),
                }),
            }
            io::Result::Ok(())
        })
    }

    fn envelope(&mut self, place: String, envelope: Envelope) {
        if self.seen.contains(&envelope) {
            return;
        }
        let read = |payload: &[u8]| Statement::read(&envelope.payload_type, payload).map(Box::new);
        let opened = envelope.opened(self.keys);
        let found = match opened.and_then(|(payload, key)| Some((read(&payload)?, key))) {
            Some((statement, key)) => Found::Signed(statement, key),
            None => {
                let unverified = envelope.unverified();
                Found::NotSigned(unverified.and_then(|payload| read(&payload)))
            }
        };
        self.pieces.push(Piece { place, found });
        self.seen.push(envelope);
    }
}

fn holds_evidence(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("json" | "jsonl"))
}

/// What an envelope says, if one of these keys signed it.
pub fn opened(envelope: &Envelope, keys: &[PublicKey]) -> Option<Statement> {
    let (payload, _) = envelope.opened(keys)?;
    Statement::read(PAYLOAD_TYPE, &payload)
}
