//! Where Postgres' server programs are on this machine.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that holds `initdb` and `postgres`, and their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    major: u32,
}

/// No folder with usable server programs was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NotFound {
    /// The folders that were looked at, in order, and what was wrong with each.
    pub searched: Vec<(PathBuf, &'static str)>,
    /// `PG_BIN` named the folder: nothing else is to be used.
    pub ordered: bool,
}

/// Finds the server programs: `PG_BIN`, then `PATH`, then the folders that distributions use, newest version first.
///
/// `PG_BIN` is an order: where it is set and wrong, nothing else is tried.
pub fn find() -> Result<Binaries, NotFound> {
    if let Some(folder) = std::env::var_os("PG_BIN").filter(|value| !value.is_empty()) {
        return first_usable(vec![PathBuf::from(folder)]).map_err(|missing| NotFound {
            ordered: true,
            ..missing
        });
    }
    let mut folders = path_folders(std::env::var_os("PATH"));
    folders.extend(distribution_folders());
    first_usable(folders)
}

impl Binaries {
    /// The programs in one folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Result<Self, NotFound> {
        first_usable(vec![folder.into()])
    }

    /// The folder that holds the programs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Postgres' major version, such as 15.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The path of one program, such as `initdb`; only `initdb` and `postgres` are known to exist.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl NotFound {
    /// The command that installs the server programs on this kind of machine.
    pub fn hint(&self) -> String {
        let download = if cfg!(feature = "embedded") {
            ""
        } else {
            ", or build devinprod with `--features embedded`, whose demo downloads one"
        };
        format!(
            "install a Postgres server with `{}`, or point PG_BIN at the folder that holds `initdb` and `postgres`{download}",
            install_command()
        )
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no Postgres server programs (initdb, postgres) were found"
        )?;
        for (position, (folder, reason)) in self.searched.iter().enumerate() {
            let separator = if position == 0 { "; searched: " } else { ", " };
            write!(f, "{separator}{} ({reason})", folder.display())?;
        }
        Ok(())
    }
}

fn first_usable(folders: Vec<PathBuf>) -> Result<Binaries, NotFound> {
    let mut searched: Vec<(PathBuf, &'static str)> = Vec::new();
    for folder in folders {
        if searched.iter().any(|(seen, _)| *seen == folder) {
            continue;
        }
        match usable(&folder) {
            Ok(binaries) => return Ok(binaries),
            Err(reason) => searched.push((folder, reason)),
        }
    }
    Err(NotFound {
        searched,
        ordered: false,
    })
}

fn usable(folder: &Path) -> Result<Binaries, &'static str> {
    if !folder.is_dir() {
        return Err("no such folder");
    }
    let postgres = folder.join("postgres");
    // Links are followed: `initdb` looks for `postgres` beside its real self, and so does the version below.
    let real = fs::canonicalize(&postgres).map_err(|_| "no postgres")?;
    let folder = real.parent().ok_or("no postgres")?;
    if !folder.join("initdb").is_file() {
        return Err("no initdb");
    }
    let output = Command::new(&real)
        .arg("--version")
        .output()
        .map_err(|_| "postgres does not run")?;
    let major =
        major_version(&String::from_utf8_lossy(&output.stdout)).ok_or("postgres does not run")?;
    if major < OLDEST_SUPPORTED {
        return Err("older than Postgres 14");
    }
    Ok(Binaries {
        folder: folder.to_path_buf(),
        major,
    })
}

/// The oldest major version that devinprod supports.
const OLDEST_SUPPORTED: u32 = 14;

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` and `… 19devel`.
fn major_version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("(PostgreSQL) ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn path_folders(path: Option<OsString>) -> Vec<PathBuf> {
    // Only those that hold anything of Postgres': a NotFound that lists all of PATH would bury the rest.
    path.map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .filter(|folder| folder.join("postgres").exists())
        .collect()
}

/// Folders by distribution: (parent, before the version, after the version).
const VERSIONED: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/lib", "postgresql", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/Library/PostgreSQL", "", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Folders without a version in their name.
const PLAIN: [&str; 3] = [
    "/usr/local/pgsql/bin",
    "/opt/homebrew/bin",
    "/usr/local/bin",
];

fn distribution_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (parent, prefix, suffix) in VERSIONED {
        folders.extend(versioned_folders(Path::new(parent), prefix, suffix));
    }
    folders.extend(PLAIN.iter().map(PathBuf::from));
    folders
}

/// `parent/prefix<version>/suffix` for each version there is, newest first.
fn versioned_folders(parent: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(suffix)))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    if found.is_empty() {
        // Kept in the list, so that NotFound can tell where such a folder would have been.
        return vec![parent.join(format!("{prefix}*")).join(suffix)];
    }
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn install_command() -> &'static str {
    if cfg!(target_os = "macos") {
        return "brew install postgresql@17";
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    install_command_for(&release)
}

fn install_command_for(os_release: &str) -> &'static str {
    let family: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    let is = |name: &str| family.contains(&name);
    if is("fedora") || is("rhel") || is("centos") {
        "dnf install postgresql-server"
    } else if is("alpine") {
        "apk add postgresql"
    } else if is("arch") {
        "pacman -S postgresql"
    } else if is("suse") || is("opensuse") {
        "zypper install postgresql-server"
    } else {
        "apt-get install postgresql"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_postgres_prints_them() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 19devel\n", Some(19)),
            ("postgres: command not found", None),
        ] {
            assert_eq!(major_version(text), major, "{text}");
        }
    }

    #[test]
    fn newest_version_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for version in ["9", "15", "16", "common"] {
            fs::create_dir_all(parent.path().join(version).join("bin")).unwrap();
        }
        let folders = versioned_folders(parent.path(), "", "bin");
        let expected: Vec<PathBuf> = ["16", "15", "9"]
            .iter()
            .map(|version| parent.path().join(version).join("bin"))
            .collect();
        assert_eq!(folders, expected);
    }

    #[test]
    fn not_found_tells_what_was_searched_and_how_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let missing = empty.path().join("missing");
        let error = first_usable(vec![empty.path().to_path_buf(), missing.clone()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "no Postgres server programs (initdb, postgres) were found; searched: {} (no postgres), {} (no such folder)",
                empty.path().display(),
                missing.display()
            )
        );
        assert!(error.hint().contains("PG_BIN"));
    }

    #[test]
    fn install_command_fits_the_distribution() {
        for (release, command) in [
            ("ID=debian\n", "apt-get install postgresql"),
            (
                "ID=rocky\nID_LIKE=\"rhel centos fedora\"\n",
                "dnf install postgresql-server",
            ),
            ("ID=alpine\n", "apk add postgresql"),
            ("", "apt-get install postgresql"),
        ] {
            assert_eq!(install_command_for(release), command, "{release}");
        }
    }
}
