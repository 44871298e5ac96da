//! Sandboxes that live as long as a command, and the files that it leaves.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::connect::ProxyUrl;
use super::print;
use super::target::Target;
use crate::console::quote_identifier;
use crate::upstream::admin::{admin, admin_with};
use crate::upstream::connect::ConnectError;

/// What the proxy says where no developer role, or no sandbox, is to be had: `too_many_connections`.
const TOO_MANY: &str = "53300";
/// How long a sandbox is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(40);
/// How long until it is asked for again.
const PAUSE: Duration = Duration::from_millis(500);
impl Target {
    /// Begins the sandbox, so that the command finds it. A role that a sandbox has just left is not given to another
    /// at once, so this may take a while.
    pub(super) async fn begin(
        &self,
        sandbox: &str,
        interrupted: &CancellationToken,
    ) -> anyhow::Result<()> {
        let address = self.address(sandbox);
        let client = self.waiting(interrupted, async || admin(&address).await);
        Ok(client.await?.batch_execute("SELECT 1").await?)
    }

    /// Connects, as soon as there is room.
    async fn waiting(
        &self,
        interrupted: &CancellationToken,
        connect: impl AsyncFn() -> Result<Client, ConnectError>,
    ) -> anyhow::Result<Client> {
        let began = Instant::now();
        let mut told = false;
        loop {
            let error = match connect().await {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            let is_full =
                matches!(&error, ConnectError::Refused { sqlstate, .. } if sqlstate == TOO_MANY);
            if !is_full || began.elapsed() > LONGEST_WAIT || interrupted.is_cancelled() {
                return Err(error.into());
            }
            if !told {
                print::note("waiting for a free developer role");
                told = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A connection that sees what is committed: its sandbox is its own, and ends with it.
    pub(super) async fn outside(&self, interrupted: &CancellationToken) -> anyhow::Result<Client> {
        let mut address = self.address("");
        address.user.clone_from(&self.developer);
        self.waiting(interrupted, async || {
            admin_with(&address, "-c devinprod.isolation=connection").await
        })
        .await
    }

    /// Throws the sandbox away. One that never began needs no reset.
    pub(super) async fn reset(&self, proxy: &ProxyUrl, sandbox: &str) -> anyhow::Result<()> {
        let console = proxy.connect().await?;
        let upstream = quote_identifier(&self.upstream);
        let name = quote_identifier(sandbox);
        let answer = console
            .ask(&format!("RESET SANDBOX {name} ON {upstream}"))
            .await;
        match answer {
            Err(error) if !error.to_string().contains("you have no sandbox") => {
                Err(error.context(format!("the sandbox {sandbox} is not reset")))
            }
            _ => Ok(()),
        }
    }
}

/// Writes a file that its owner alone may read: it tells of the data.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = create_private(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Makes a file, or empties it, for its owner alone.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}
