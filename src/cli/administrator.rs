//! A database as its administrator reaches it.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, bail};
use clap::Args;
use tokio_postgres::Client;

use super::print;
use crate::upstream::address::Address;
use crate::upstream::admin::admin;

/// Which database, and as whom.
#[derive(Debug, Args)]
pub(super) struct AdminUrl {
    /// The URL of an administrator of the database; it is used now and stored nowhere
    #[arg(
        long,
        value_name = "URL",
        env = "DEVINPROD_ADMIN_URL",
        hide_env_values = true
    )]
    pub(super) url: String,
}

impl AdminUrl {
    /// Connects; says also where that is.
    pub(super) async fn connect(&self) -> anyhow::Result<(Address, Client)> {
        connect(&self.url).await
    }
}

/// Connects to a URL of an administrator; says also where that is.
pub(super) async fn connect(url: &str) -> anyhow::Result<(Address, Client)> {
    let address: Address = url
        .parse()
        .context("the URL of the database is not right")?;
    let client = admin(&address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    Ok((address, client))
}

/// Asks before a database is changed, unless `yes` was said already; false: it is not to be changed, and that was told.
///
/// # Errors
/// There is nobody to ask.
pub(super) fn agreed(yes: bool, command: &str, database: &str) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        bail!(
            "{command} asks before it changes a database: give --yes, or --print to only see the SQL"
        );
    }
    print::note(format!(
        "Run this, in one transaction, on {database}? [y/N]"
    ));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        print::note("nothing was changed");
    }
    Ok(yes)
}
