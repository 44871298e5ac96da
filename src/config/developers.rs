//! The developers' file: one `name:verifier` line each, kept by `devinprod developer`.
//!
//! Comments (`#`) and empty lines are kept as they are. A file is replaced as a whole, so that a proxy that
//! reads it meanwhile sees the old one or the new one, and only its owner can read it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::wire::verifier::Verifier;

/// A developers' file in memory.
#[derive(Debug, Clone, Default)]
pub struct DevelopersFile {
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
enum Line {
    Developer { name: String, verifier: Verifier },
    Other(String),
}

/// Why a developers' file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DevelopersError {
    /// Reading or writing failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not `name:verifier`. The line itself is not shown: it may hold a password.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process is changing the file.
    #[error("{path}: another `devinprod developer` is changing this file", path = path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

impl DevelopersFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or a line of it is not `name:verifier`.
    pub fn read(path: &Path) -> Result<Self, DevelopersError> {
        let text = fs::read_to_string(path).map_err(io_error(path))?;
        Self::parse(path, &text)
    }

    /// Reads the file at `path`; one that does not exist is empty.
    ///
    /// # Errors
    /// As [`DevelopersFile::read`].
    pub fn read_or_empty(path: &Path) -> Result<Self, DevelopersError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(io_error(path)(error)),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, DevelopersError> {
        let mut file = Self::default();
        for (number, line) in text.lines().enumerate() {
            let wrong = |reason: String| DevelopersError::Line {
                path: path.to_owned(),
                line: number + 1,
                reason,
            };
            if line.trim().is_empty() || line.starts_with('#') {
                file.lines.push(Line::Other(line.to_owned()));
                continue;
            }
            let (name, verifier) = line
                .split_once(':')
                .ok_or_else(|| wrong("not a name, a colon and a SCRAM verifier".to_owned()))?;
            check_name(name).map_err(wrong)?;
            let verifier = verifier.trim().parse().map_err(|_| {
                wrong(format!(
                    "what follows \"{name}:\" is not a SCRAM-SHA-256 verifier"
                ))
            })?;
            if file.get(name).is_some() {
                return Err(wrong(format!("developer \"{name}\" stands here twice")));
            }
            file.lines.push(Line::Developer {
                name: name.to_owned(),
                verifier,
            });
        }
        Ok(file)
    }

    /// The developers in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Verifier)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Developer { name, verifier } => Some((name.as_str(), verifier)),
            Line::Other(_) => None,
        })
    }

    /// The verifier of one developer.
    pub fn get(&self, name: &str) -> Option<&Verifier> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, verifier)| verifier)
    }

    /// Adds a developer, or gives one a new verifier.
    pub fn set(&mut self, name: &str, verifier: Verifier) {
        let line = Line::Developer {
            name: name.to_owned(),
            verifier,
        };
        match self.position(name).and_then(|at| self.lines.get_mut(at)) {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
    }

    /// Takes a developer out; false if there was none of that name.
    pub fn remove(&mut self, name: &str) -> bool {
        match self.position(name) {
            Some(at) => {
                self.lines.remove(at);
                true
            }
            None => false,
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.lines
            .iter()
            .position(|line| matches!(line, Line::Developer { name: known, .. } if known == name))
    }

    /// Writes the file at `path`: mode 0600, on disk before it takes the place of the old one.
    ///
    /// # Errors
    /// It cannot be written; the old file is then as it was.
    pub fn write(&self, path: &Path) -> Result<(), DevelopersError> {
        let temporary = sibling(path, "new");
        let mut out = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(io_error(&temporary))?;
        // A leftover of a killed process keeps its old mode, so it is set again.
        let written = out
            .set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| out.write_all(self.to_text().as_bytes()))
            .and_then(|()| out.sync_all())
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| sync_folder(path));
        written.map_err(io_error(path))
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            match line {
                Line::Developer { name, verifier } => {
                    text.push_str(&format!("{name}:{verifier}\n"))
                }
                Line::Other(line) => text.push_str(&format!("{line}\n")),
            }
        }
        text
    }
}

/// Held while a developers' file is read, changed and written, so that two changes at once both last.
#[derive(Debug)]
pub struct ChangeLock {
    _file: File,
}

impl ChangeLock {
    /// Takes the lock for the file at `path`.
    ///
    /// # Errors
    /// Another process holds it, or the lock file beside `path` cannot be made.
    pub fn take(path: &Path) -> Result<Self, DevelopersError> {
        let lock = sibling(path, "lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(io_error(&lock))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DevelopersError::Busy {
                path: path.to_owned(),
            }),
            Err(error) => Err(io_error(&lock)(error.into())),
        }
    }
}

/// Is this a name that a developer can have? It must fit into a URL, beside a `+sandbox`.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a developer's name may not be empty".to_owned());
    }
    if name.len() > 63 {
        return Err(format!("the name \"{name}\" is longer than 63 bytes"));
    }
    match name
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')))
    {
        None => Ok(()),
        Some(c) => Err(format!(
            "the name \"{name}\" has a {c:?} in it, allowed are letters, digits, `_`, `-` and `.`"
        )),
    }
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DevelopersError {
    let path = path.to_owned();
    move |source| DevelopersError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(password: &str) -> Verifier {
        Verifier::from_password(password, 1)
    }

    fn parsed(text: &str) -> Result<DevelopersFile, String> {
        DevelopersFile::parse(Path::new("f"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn comments_and_order_stay() {
        let (one, two, new) = (verifier("a"), verifier("b"), verifier("c"));
        let text = format!("# who\n\ndev1:{one}\n# and\ndev2:{two}\n");
        let mut file = parsed(&text).unwrap();
        assert_eq!(file.to_text(), text);
        file.set("dev1", new.clone());
        file.set("dev3", one.clone());
        assert!(file.remove("dev2"));
        assert!(!file.remove("dev2"));
        assert_eq!(
            file.to_text(),
            format!("# who\n\ndev1:{new}\n# and\ndev3:{one}\n")
        );
        assert_eq!(file.get("dev1"), Some(&new));
        assert_eq!(file.get("dev2"), None);
    }

    #[test]
    fn a_bad_line_is_named_but_not_shown() {
        let good = verifier("a");
        for (text, expected) in [
            ("dev1\n".to_owned(), "f:1: not a name"),
            ("#\ndev1:s3cret\n".to_owned(), "f:2: what follows \"dev1:\""),
            (format!("a b:{good}\n"), "f:1: the name \"a b\" has a ' '"),
            (
                format!("a:{good}\na:{good}\n"),
                "f:2: developer \"a\" stands here twice",
            ),
        ] {
            let error = parsed(&text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_written_file_is_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("developers");
        fs::write(&path, "# old\n").unwrap();
        fs::write(
            sibling(&path, "new"),
            "a leftover of a killed process, longer than the new text ".repeat(9),
        )
        .unwrap();
        let mut file = DevelopersFile::read(&path).unwrap();
        file.set("dev1", verifier("a"));
        file.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), file.to_text());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!sibling(&path, "new").exists());
    }

    #[test]
    fn one_change_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("developers");
        let held = ChangeLock::take(&path).unwrap();
        assert!(matches!(
            ChangeLock::take(&path),
            Err(DevelopersError::Busy { .. })
        ));
        drop(held);
        ChangeLock::take(&path).unwrap();
    }

    #[test]
    fn names_fit_into_a_url() {
        for good in ["dev1", "a.b-c_D", "7"] {
            check_name(good).unwrap();
        }
        for bad in [
            "",
            "a+b",
            "a@b",
            "a:b",
            "a/b",
            "a b",
            "\u{e9}",
            &"x".repeat(64),
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
