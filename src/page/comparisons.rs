//! The reports of `devinprod compare --format json` that lie in a developer's folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::compare::Report;

/// The largest report that is shown, in bytes.
const LARGEST: u64 = 8 << 20;
/// So many are listed, the newest ones.
const MOST: usize = 200;

/// A report that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// The file's name.
    pub name: String,
    /// When it was written.
    pub written: SystemTime,
}

/// The developer's reports, the newest first; none where there is no folder.
pub(super) fn list(folder: &Path, developer: &str) -> io::Result<Vec<Kept>> {
    let Some(folder) = of(folder, developer) else {
        return Ok(Vec::new());
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        // Of the entry itself: a link to elsewhere is no report.
        let metadata = entry.metadata()?;
        if is_plain(&name) && name.ends_with(".json") && metadata.is_file() {
            let written = metadata.modified()?;
            kept.push(Kept { name, written });
        }
    }
    kept.sort_by(|a, b| (b.written, &b.name).cmp(&(a.written, &a.name)));
    kept.truncate(MOST);
    Ok(kept)
}

/// A report of the developer's; None where there is none that can be shown.
pub(super) fn read(folder: &Path, developer: &str, name: &str) -> Option<Report> {
    if !is_plain(name) || !name.ends_with(".json") {
        return None;
    }
    let path = of(folder, developer)?.join(name);
    if !fs::symlink_metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    let report: Report = serde_json::from_str(&text).ok()?;
    (report.devinprod_comparison == 1).then_some(report)
}

fn of(folder: &Path, developer: &str) -> Option<PathBuf> {
    is_plain(developer).then(|| folder.join(developer))
}

/// Is it a name in a folder, and nothing that leads out of it?
fn is_plain(name: &str) -> bool {
    !name.starts_with('.')
        && !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"devinprod_comparison":1,"same":true,"a":{"command":"x","exit":0,"connections":1,"executions":1,
        "seconds":0.5,"database_seconds":0.1},"b":null,"differences":[],"assertions":[],"hints":[],"noise":[],"statements":[]}"#;

    #[test]
    fn a_developer_finds_their_own_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for developer in ["dev1", "dev2"] {
            fs::create_dir(at(developer)).unwrap();
        }
        fs::write(at("dev1/one.json"), REPORT).unwrap();
        fs::write(at("dev1/notes.txt"), "x").unwrap();
        fs::write(at("dev1/.hidden.json"), REPORT).unwrap();
        fs::write(at("dev1/broken.json"), "{").unwrap();
        fs::write(at("dev2/theirs.json"), REPORT).unwrap();
        std::os::unix::fs::symlink(at("dev2/theirs.json"), at("dev1/link.json")).unwrap();
        let mut names: Vec<_> = list(folder.path(), "dev1")
            .unwrap()
            .into_iter()
            .map(|kept| kept.name)
            .collect();
        names.sort();
        assert_eq!(names, ["broken.json", "one.json"]);
        assert_eq!(list(folder.path(), "dev3").unwrap(), []);
        assert_eq!(list(folder.path(), "..").unwrap(), []);
        assert!(read(folder.path(), "dev1", "one.json").is_some());
        for name in [
            "",
            "broken.json",
            "link.json",
            ".hidden.json",
            "none.json",
            "../dev2/theirs.json",
            "/etc/passwd",
        ] {
            assert!(read(folder.path(), "dev1", name).is_none(), "{name}");
        }
        assert!(read(folder.path(), "..", "one.json").is_none());
    }
}
