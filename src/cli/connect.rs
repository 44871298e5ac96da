//! A connection to the console of a running proxy.

use anyhow::Context;
use clap::Args;
use tokio_postgres::{Client, NoTls};

use super::Failure;
use super::table::Rows;
use crate::config::CONSOLE_DATABASE;

/// Which proxy to ask, and as whom.
#[derive(Debug, Args)]
pub(super) struct ProxyUrl {
    /// The URL that your application uses to reach the proxy; the database in it does not matter
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    url: Option<String>,
}

/// A console.
pub(super) struct Console {
    client: Client,
    /// The developer, as logged in.
    pub(super) developer: String,
    /// The proxy's host and port.
    pub(super) proxy: String,
}

impl ProxyUrl {
    /// Connects.
    pub(super) async fn connect(&self) -> anyhow::Result<Console> {
        let url = self.url.as_deref().ok_or_else(|| {
            Failure::new(
                "no URL of a proxy",
                "set DATABASE_URL, or give --url postgres://dev1:PASSWORD@localhost:6432/shop",
            )
        })?;
        let mut config: tokio_postgres::Config =
            url.parse().context("the URL of the proxy is not right")?;
        config
            .dbname(CONSOLE_DATABASE)
            .application_name("devinprod");
        let proxy = proxy_of(&config);
        let developer = config.get_user().unwrap_or_default().to_owned();
        let (client, connection) = config
            .connect(NoTls)
            .await
            .with_context(|| format!("cannot connect to the proxy at {proxy}"))?;
        tokio::spawn(connection);
        Ok(Console {
            client,
            developer,
            proxy,
        })
    }
}

impl Console {
    /// What a console command answers.
    pub(super) async fn ask(&self, command: &str) -> anyhow::Result<Rows> {
        let statement = self.client.prepare(command).await.map_err(plain)?;
        let rows = self.client.query(&statement, &[]).await.map_err(plain)?;
        Rows::read(statement.columns(), &rows)
    }
}

/// The proxy's own words, with its hint where ours would stand.
fn plain(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(refused) => match refused.hint() {
            Some(hint) => Failure::new(refused.message(), hint).into(),
            None => anyhow::Error::msg(refused.message().to_owned()),
        },
        None => error.into(),
    }
}

fn proxy_of(config: &tokio_postgres::Config) -> String {
    let host = match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
        Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}")
}
