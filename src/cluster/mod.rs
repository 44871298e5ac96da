//! Private Postgres clusters, for the demo and for tests.
//!
//! A [`Cluster`] lives in a folder of its own, which one process at a time may use. Its files are made
//! under a temporary name and renamed when they are complete, so a half-made cluster is never started.
//! It listens on loopback and on a socket inside its folder, and asks everybody for a password.
//!
//! Nothing outlives its owner: dropping a `Cluster` stops the server, and should the owner be killed, a
//! small watchdog process notices that its pipe closed and does the same. A server that is left over all
//! the same (the watchdog was killed too) is found by its pid file and stopped at the next start.
//!
//! Postgres refuses to run as root: there, the server runs as `postgres` or `nobody`.

mod account;
pub mod binaries;
#[cfg(feature = "embedded")]
pub mod download;
mod error;
mod folder;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use binaries::{Binaries, NotFound};
pub use error::Error;

use folder::Folder;
use server::Server;

/// The superuser of every private cluster.
pub const SUPERUSER: &str = "postgres";

/// How long a start may take, crash recovery included.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How a cluster is to be run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that holds the cluster; made if it is missing. Where Postgres' account cannot reach it,
    /// the files go to a folder in /var/tmp instead, which [`Cluster::data_dir`] tells.
    pub dir: PathBuf,
    /// The TCP port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Whether commits wait for the disk. Off is faster, and a power failure then destroys the cluster.
    pub fsync: bool,
    /// Whether the folder goes away with the cluster, also when this process is killed.
    pub ephemeral: bool,
    /// Further server settings, such as `("max_connections", "200")`.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// A durable cluster in `dir` on a free port.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            port: 0,
            fsync: true,
            ephemeral: false,
            settings: Vec::new(),
        }
    }

    /// Adds a server setting.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A private Postgres server; it is stopped when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    // The order of the fields is the order of their drops: the server ends before its folder is unlocked.
    server: Option<Server>,
    folder: Folder,
    binaries: Binaries,
    options: Options,
    port: u16,
}

impl Cluster {
    /// Makes the cluster if its folder has none yet, starts it, and waits until it answers a query.
    pub async fn start(binaries: &Binaries, options: Options) -> Result<Self, Error> {
        let folder = Folder::open(&options, binaries).await?;
        server::stop_leftover(&folder.data())?;
        let mut cluster = Self {
            server: None,
            folder,
            binaries: binaries.clone(),
            port: options.port,
            options,
        };
        cluster.start_server().await?;
        Ok(cluster)
    }

    /// Stops the server as `pg_ctl stop -m fast` does: open transactions are rolled back, data is written.
    /// Nothing happens if it does not run.
    pub fn stop(&mut self) -> Result<(), Error> {
        match self.server.take() {
            Some(server) => server.stop(),
            None => Ok(()),
        }
    }

    /// Kills the server's first process with SIGKILL; its children notice and end by themselves.
    pub fn kill(&mut self) -> Result<(), Error> {
        match self.server.take() {
            Some(server) => server.kill(),
            None => Ok(()),
        }
    }

    /// Stops the server if it runs, and starts it again on the same port.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop()?;
        self.start_server().await
    }

    /// The TCP port on 127.0.0.1; it stays the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        self.folder.password()
    }

    /// A superuser's connection URL for one database.
    pub fn url(&self, database: &str) -> String {
        let password = self.password();
        let port = self.port;
        format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{port}/{database}")
    }

    /// The folder of the Unix socket; None where its path would be longer than a socket address can be.
    pub fn socket_dir(&self) -> Option<PathBuf> {
        self.folder.socket_dir()
    }

    /// Postgres' data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.data()
    }

    /// Where the server writes its log.
    pub fn log_file(&self) -> PathBuf {
        self.folder.log()
    }

    /// The server's first process; None when it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// The programs that this cluster runs with.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    async fn start_server(&mut self) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        loop {
            let port = match self.port {
                0 => free_port()?,
                port => port,
            };
            let mut server = Server::spawn(&self.binaries, &self.folder, &self.options, port)?;
            let url = format!(
                "postgres://{SUPERUSER}:{}@127.0.0.1:{port}/postgres",
                self.folder.password()
            );
            match server.wait_until_ready(&url, deadline).await {
                Ok(()) => {
                    self.port = port;
                    self.server = Some(server);
                    return Ok(());
                }
                // Two passing conditions: somebody took the free port first, and after a crash the last
                // children of the old server still hold its shared memory.
                Err(Error::Ended { log, .. })
                    if tokio::time::Instant::now() < deadline
                        && ((self.port == 0 && log.contains("could not bind"))
                            || log.contains("shared memory block")) =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A port that was free a moment ago; the caller must be ready to lose the race for it.
fn free_port() -> Result<u16, Error> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::io("find a free port", Path::new("127.0.0.1"), source))
}

#[cfg(test)]
mod tests;
