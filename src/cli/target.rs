//! The URLs that a command is given: its own sandbox at the proxy, straight or by way of a tap.

use super::Failure;
use super::connect::{OURS, ProxyUrl};
use crate::upstream::address::{Address, Host};

/// The proxy that `DATABASE_URL` names, the developer and the upstream.
pub(super) struct Target {
    address: Address,
    /// The developer.
    pub(super) developer: String,
    /// The upstream: the URL's database.
    pub(super) upstream: String,
    /// The sandbox that the URL names.
    pub(super) sandbox: Option<String>,
    /// The URL's parameters that are for the application's driver, as they were written.
    others: Vec<String>,
    /// Those that are about TLS, as they were written.
    tls: Vec<String>,
}

/// What a command is told of its database.
pub(super) struct Way {
    /// The URL, with the password.
    pub(super) url: String,
    /// The same for what reads libpq's variables.
    pub(super) variables: Vec<(&'static str, String)>,
}

impl Target {
    /// Reads the URL of the proxy.
    pub(super) fn of(proxy: &ProxyUrl) -> anyhow::Result<Self> {
        let url = proxy.given()?;
        let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
        if parameters.contains("devinprod.") {
            let hint = "leave the settings devinprod.… out of its options";
            return Err(Failure::new("the URL names a sandbox of its own", hint).into());
        }
        let address = proxy.address()?;
        let (developer, sandbox) = match address.user.split_once('+') {
            Some((developer, sandbox)) => (developer.to_owned(), Some(sandbox.to_owned())),
            None => (address.user.clone(), None),
        };
        let name = |parameter: &&str| parameter.split('=').next().unwrap_or_default().to_owned();
        let (tls, others): (Vec<&str>, Vec<&str>) = parameters
            .split('&')
            .filter(|parameter| !parameter.is_empty())
            .filter(|parameter| {
                !["user", "password", "host", "port"].contains(&name(parameter).as_str())
            })
            .partition(|parameter| OURS.contains(&name(parameter).as_str()));
        Ok(Self {
            upstream: address.database.clone(),
            address,
            developer,
            sandbox,
            others: others.into_iter().map(str::to_owned).collect(),
            tls: tls.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Where and as whom to connect for this sandbox.
    pub(super) fn address(&self, sandbox: &str) -> Address {
        let mut address = self.address.clone();
        address.user = format!("{}+{sandbox}", self.developer);
        address.application_name = Some("devinprod".to_owned());
        address
    }

    /// Straight to the proxy, into this sandbox.
    pub(super) fn straight(&self, sandbox: &str) -> Way {
        let (host, folder) = match &self.address.host {
            Host::Tcp(host) => (host.clone(), None),
            Host::Unix(folder) => (String::new(), Some(folder.display().to_string())),
        };
        let parameters = folder
            .iter()
            .map(|folder| format!("host={}", encoded(folder)))
            .chain(self.tls.iter().cloned())
            .collect();
        let mode = self.address.ssl_mode.as_str();
        let host = folder.unwrap_or(host);
        self.way(sandbox, &host, self.address.port, parameters, mode)
    }

    /// By way of a tap on this port of loopback, into this sandbox.
    pub(super) fn tapped(&self, sandbox: &str, port: u16) -> Way {
        let parameters = vec!["sslmode=disable".to_owned()];
        self.way(sandbox, "127.0.0.1", port, parameters, "disable")
    }

    fn way(
        &self,
        sandbox: &str,
        host: &str,
        port: u16,
        mut parameters: Vec<String>,
        ssl_mode: &str,
    ) -> Way {
        parameters.extend(self.others.iter().cloned());
        let (developer, password) = (&self.developer, self.address.password.reveal());
        let place = match host {
            host if host.starts_with('/') => String::new(),
            host if host.contains(':') => format!("[{host}]:{port}"),
            host => format!("{host}:{port}"),
        };
        let secret = match password {
            "" => String::new(),
            password => format!(":{}", encoded(password)),
        };
        let url = format!(
            "postgres://{}+{}{secret}@{place}/{}{}{}",
            encoded(developer),
            encoded(sandbox),
            encoded(&self.upstream),
            if parameters.is_empty() { "" } else { "?" },
            parameters.join("&")
        );
        let mut variables = vec![
            ("PGHOST", host.to_owned()),
            ("PGPORT", port.to_string()),
            ("PGUSER", format!("{developer}+{sandbox}")),
            ("PGDATABASE", self.upstream.clone()),
            ("PGSSLMODE", ssl_mode.to_owned()),
        ];
        if !password.is_empty() {
            variables.push(("PGPASSWORD", password.to_owned()));
        }
        Way { url, variables }
    }
}

/// Percent-encoded ([RFC 3986](https://www.rfc-editor.org/rfc/rfc3986#section-2.1)), but for what needs it nowhere.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        proxy: ProxyUrl,
    }

    fn target(url: &str) -> anyhow::Result<Target> {
        Target::of(&Arguments::try_parse_from(["x", "--url", url])?.proxy)
    }

    #[test]
    fn a_url_leads_into_the_sandbox() {
        let url =
            "postgres://dev%201+old:s%2Bc%40t@db.example:6432/shop?sslmode=require&pool_size=3";
        let target = target(url).unwrap();
        assert_eq!(target.sandbox.as_deref(), Some("old"));
        assert_eq!(
            target.straight("a/b").url,
            "postgres://dev%201+a%2Fb:s%2Bc%40t@db.example:6432/shop?sslmode=require&pool_size=3"
        );
        let tapped = target.tapped("x", 7777);
        assert_eq!(
            tapped.url,
            "postgres://dev%201+x:s%2Bc%40t@127.0.0.1:7777/shop?sslmode=disable&pool_size=3"
        );
        assert!(tapped.variables.contains(&("PGPASSWORD", "s+c@t".into())));
        assert!(tapped.variables.contains(&("PGUSER", "dev 1+x".into())));
        assert_eq!(target.address("x").user, "dev 1+x");
    }

    #[test]
    fn a_sandbox_in_the_options_is_refused() {
        let url = "postgres://a:b@h/d?options=-c%20devinprod.sandbox%3Dx";
        let error = target(url).err().unwrap().to_string();
        assert!(error.contains("names a sandbox"), "{error}");
    }
}
