//! A connection to the console of a running proxy.

use anyhow::Context;
use clap::Args;
use tokio_postgres::Client;

use super::Failure;
use super::table::Rows;
use crate::console;
use crate::upstream::address::{Address, Host};
use crate::upstream::admin::{admin, admin_with};

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
    /// The proxy at this URL.
    pub(super) fn at(url: Option<String>) -> Self {
        Self { url }
    }

    /// The URL, as it was given.
    pub(super) fn given(&self) -> anyhow::Result<&str> {
        let missing = || {
            Failure::new(
                "no URL of a proxy",
                "set DATABASE_URL, or give --url postgres://dev1:PASSWORD@localhost:6432/shop",
            )
        };
        Ok(self.url.as_deref().ok_or_else(missing)?)
    }

    /// What of the URL says where to connect, and as whom.
    pub(super) fn address(&self) -> anyhow::Result<Address> {
        connection_part(self.given()?)
            .parse()
            .context("the URL of the proxy is not right")
    }

    /// Connects.
    pub(super) async fn connect(&self) -> anyhow::Result<Console> {
        let mut address = self.address()?;
        address.database = console::DATABASE.to_owned();
        address.application_name = Some("devinprod".to_owned());
        if let Some((developer, _sandbox)) = address.user.split_once('+') {
            address.user = developer.to_owned();
        }
        let proxy = match &address.host {
            Host::Tcp(host) => format!("{host}:{}", address.port),
            Host::Unix(folder) => format!("{}:{}", folder.display(), address.port),
        };
        let client = admin(&address)
            .await
            .with_context(|| format!("no console at {proxy}"))?;
        Ok(Console {
            client,
            developer: address.user,
            proxy,
        })
    }
}

/// Two connections of a developer to the upstream of their URL.
pub(super) struct Sides {
    /// In the sandbox.
    pub(super) inside: Client,
    /// In a sandbox of its own, where nothing was written.
    pub(super) outside: Client,
    /// The sandbox's name.
    pub(super) sandbox: String,
}

impl ProxyUrl {
    /// Connects to a sandbox as an application would; without a name, to that of the URL.
    pub(super) async fn sandbox(&self, name: Option<&str>) -> anyhow::Result<(Client, String)> {
        let mut address = self.address()?;
        let own = address.user.clone();
        let (developer, named) = match own.split_once('+') {
            Some((developer, named)) => (developer, Some(named)),
            None => (own.as_str(), None),
        };
        let name = name.or(named).unwrap_or("default").to_owned();
        address.user = format!("{developer}+{name}");
        address.application_name = Some("devinprod".to_owned());
        let client = admin(&address)
            .await
            .with_context(|| format!("cannot reach the sandbox \"{name}\""))?;
        Ok((client, name))
    }

    /// Connects to a sandbox, and to what is committed.
    pub(super) async fn sides(&self, name: Option<&str>) -> anyhow::Result<Sides> {
        let (inside, sandbox) = self.sandbox(name).await?;
        let mut address = self.address()?;
        if let Some((developer, _)) = address.user.split_once('+') {
            address.user = developer.to_owned();
        }
        address.application_name = Some("devinprod".to_owned());
        let outside = admin_with(&address, "-c devinprod.isolation=connection")
            .await
            .context("cannot see what is committed")?;
        Ok(Sides {
            inside,
            outside,
            sandbox,
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

    /// Has the proxy sign a claim and put it on record; returns the envelope.
    pub(super) async fn record_evidence(&self, claim: &str) -> anyhow::Result<String> {
        let command = format!("RECORD EVIDENCE '{}'", claim.replace('\'', "''"));
        let row = self.client.query_one(&command, &[]).await.map_err(plain)?;
        Ok(row.try_get(0)?)
    }
}

/// The parameters of a URL that say where to connect, and as whom.
pub(super) const OURS: [&str; 9] = [
    "user",
    "password",
    "host",
    "port",
    "sslmode",
    "sslrootcert",
    "channel_binding",
    "connect_timeout",
    "gssencmode",
];

/// An application's URL without what only its own driver or the sandbox understands (`options`, `schema`,
/// `pool_size` …).
fn connection_part(url: &str) -> String {
    let Some((place, parameters)) = url.split_once('?') else {
        return url.to_owned();
    };
    let ours: Vec<&str> = parameters
        .split('&')
        .filter(|parameter| {
            let name = parameter.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| OURS.contains(&name))
        })
        .collect();
    format!("{place}?{}", ours.join("&"))
}

/// The proxy's own words, with its hint where ours would stand.
pub(super) fn plain(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(refused) => match refused.hint() {
            Some(hint) => Failure::new(refused.message(), hint).into(),
            None => anyhow::Error::msg(refused.message().to_owned()),
        },
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_s_own_parameters_are_left_out() {
        for (url, expected) in [
            ("postgres://a:b@h/d", "postgres://a:b@h/d"),
            (
                "postgres://a@h/d?options=-c%20devinprod.sandbox%3Dx&sslmode=require&pool_size=3&flag",
                "postgres://a@h/d?sslmode=require",
            ),
        ] {
            assert_eq!(connection_part(url), expected);
        }
    }
}
