//! The folder of a cluster: where it is, who may use it, and what makes it complete.
//!
//! ```text
//! DIR/lock                     held while a process uses the cluster
//! DIR/cluster/version          what this is; the cluster is complete if it exists
//! DIR/cluster/password         the superuser's
//! DIR/cluster/data, log, run   Postgres' own files, its log, its socket
//! DIR/partial-…                being made, or left over from an attempt that failed
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::Options;
use super::account::Account;
use super::binaries::Binaries;
use super::error::Error;

/// First line of the version file; the number changes when the layout does.
const VERSION_LINE: &str = "devinprod cluster 1";

/// The longest path of a socket's folder: a socket address holds 104 bytes on macOS (108 on Linux), and
/// `/.s.PGSQL.65535` and a final zero byte must fit too.
const SOCKET_DIR_LIMIT: usize = 104 - 16;

/// A complete cluster on disk, locked for this process.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    cluster: PathBuf,
    password: String,
    account: Account,
    ephemeral: bool,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Folder {
    /// Opens the cluster in `dir`, and makes it first if there is none.
    pub(super) async fn open(options: &Options, binaries: &Binaries) -> Result<Self, Error> {
        let account = Account::choose()?;
        if !account.can_run(&binaries.program("postgres")) {
            return Err(Error::Unreachable {
                account: account.name().to_owned(),
                folder: binaries.folder().to_path_buf(),
            });
        }
        let root = reachable_root(&options.dir, &account)?;
        let lock = lock(&root)?;
        let cluster = root.join("cluster");
        if !cluster.exists() {
            remove_partial(&root)?;
            make(&root, &cluster, &account, binaries, options.fsync).await?;
        }
        check_version(&cluster, binaries)?;
        let password_file = cluster.join("password");
        let password = fs::read_to_string(&password_file)
            .map_err(|source| Error::io("read", &password_file, source))?;
        Ok(Self {
            root,
            cluster,
            password: password.trim().to_owned(),
            account,
            ephemeral: options.ephemeral,
            _lock: lock,
        })
    }

    /// The outermost folder of what is ours.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn data(&self) -> PathBuf {
        self.cluster.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.cluster.join("log")
    }

    pub(super) fn socket_dir(&self) -> Option<PathBuf> {
        let dir = self.cluster.join("run");
        (dir.as_os_str().len() <= SOCKET_DIR_LIMIT).then_some(dir)
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.ephemeral {
            // Nobody is left to tell, and what stays behind is only disk space in a temporary folder.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// `dir` itself, or, where the account cannot reach it, a folder of its own in /var/tmp.
pub(super) fn reachable_root(dir: &Path, account: &Account) -> Result<PathBuf, Error> {
    fs::create_dir_all(dir).map_err(|source| Error::io("create", dir, source))?;
    let dir = fs::canonicalize(dir).map_err(|source| Error::io("open", dir, source))?;
    if account.can_enter(&dir) {
        return Ok(dir);
    }
    let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let name: String = digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let fallback = Path::new("/var/tmp").join(format!("devinprod-{name}"));
    match fs::DirBuilder::new().mode(0o711).create(&fallback) {
        Ok(()) => Ok(fallback),
        // The name can be guessed and everybody may create there: only what is ours is taken.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fallback.is_dir() && account.owns(&fallback) {
                Ok(fallback)
            } else {
                Err(Error::Foreign {
                    path: fallback,
                    reason: "it belongs to somebody else".to_owned(),
                })
            }
        }
        Err(source) => Err(Error::io("create", &fallback, source)),
    }
}

fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join("lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| Error::io("open", &path, source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse(root.to_path_buf())),
        Err(error) => Err(Error::io("lock", &path, error.into())),
    }
}

/// Removes what attempts that failed have left; the lock is held, so nobody is still making one.
fn remove_partial(root: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(root).map_err(|source| Error::io("list", root, source))?;
    for entry in entries.flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"partial-")
        {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(|source| Error::io("remove", &path, source))?;
        }
    }
    Ok(())
}

async fn make(
    root: &Path,
    cluster: &Path,
    account: &Account,
    binaries: &Binaries,
    fsync: bool,
) -> Result<(), Error> {
    let partial = root.join(format!("partial-{:016x}", rand::random::<u64>()));
    account.create_dir(&partial)?;
    account.create_dir(&partial.join("run"))?;
    let password_file = partial.join("password");
    write_private(&password_file, &random_password())?;
    account.own(&password_file)?;

    let mut initdb = account.command(&binaries.program("initdb"));
    initdb
        .arg("--pgdata")
        .arg(partial.join("data"))
        .arg("--pwfile")
        .arg(&password_file)
        .args(["--username", super::SUPERUSER])
        .args(["--encoding", "UTF8", "--locale", "C"])
        .args(["--auth", "scram-sha-256"]);
    if !fsync {
        initdb.arg("--no-sync");
    }
    let mut initdb = tokio::process::Command::from(initdb);
    // Dropped half-way (Ctrl-C), it must not go on alone.
    initdb.kill_on_drop(true);
    let output = initdb
        .output()
        .await
        .map_err(|source| Error::io("run", &binaries.program("initdb"), source))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // What is left is harmless: the next attempt removes it.
        let _ = fs::remove_dir_all(&partial);
        return Err(Error::Initdb(text));
    }
    let version = format!("{VERSION_LINE}\npostgres {}\n", binaries.major());
    write_private(&partial.join("version"), &version)?;
    fs::rename(&partial, cluster).map_err(|source| Error::io("complete", cluster, source))
}

fn check_version(cluster: &Path, binaries: &Binaries) -> Result<(), Error> {
    let foreign = |reason: &str| Error::Foreign {
        path: cluster.to_path_buf(),
        reason: reason.to_owned(),
    };
    let text = fs::read_to_string(cluster.join("version"))
        .map_err(|_| foreign("it has no version file"))?;
    let rest = text
        .strip_prefix(VERSION_LINE)
        .ok_or_else(|| foreign("its version file is not one that this program writes"))?;
    let made_by = rest
        .trim()
        .strip_prefix("postgres ")
        .and_then(|major| major.parse().ok())
        .ok_or_else(|| foreign("its version file names no Postgres version"))?;
    if made_by == binaries.major() {
        Ok(())
    } else {
        Err(Error::OtherVersion {
            path: cluster.to_path_buf(),
            made_by,
            found: binaries.major(),
        })
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| Error::io("write", path, source))
}

/// 128 random bits, in letters that need no escaping in a URL.
fn random_password() -> String {
    format!("{:032x}", rand::random::<u128>())
}
