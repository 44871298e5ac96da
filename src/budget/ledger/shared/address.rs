//! Where a shared ledger is, without its password wherever it is shown.

use std::fmt;

use redis::{Client, IntoConnectionInfo, TlsCertificates};
use url::Url;

/// The place of a Valkey or Redis server.
#[derive(Clone)]
pub struct Address {
    client: Client,
    shown: String,
}

impl Address {
    /// Reads `redis://…`, `rediss://…` (with TLS) or `redis+unix:///…`.
    ///
    /// # Errors
    /// It is none of these; the text is not repeated, since there may be a password in it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        Self::vouched_for(text, None)
    }

    /// The same, for a server for which one of these authorities (in PEM) vouches, and none that this system trusts.
    ///
    /// # Errors
    /// As [`Self::parse`]; or there are authorities, and no TLS.
    pub fn vouched_for(text: &str, authorities: Option<&str>) -> Result<Self, &'static str> {
        const WRONG: &str = "this is no address of a Valkey or Redis server";
        let url = Url::parse(text).map_err(|_| WRONG)?;
        if !["redis", "rediss", "redis+unix"].contains(&url.scheme()) {
            return Err(WRONG);
        }
        if url.fragment().is_some() {
            return Err("certificates are always checked");
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}"));
        let shown = format!(
            "{}://{host}{}{}",
            url.scheme(),
            port.unwrap_or_default(),
            url.path()
        );
        let info = text.into_connection_info().map_err(|_| WRONG)?;
        let client = match authorities {
            Some(_) if url.scheme() != "rediss" => {
                return Err("only with rediss://… is anybody vouched for");
            }
            Some(authorities) => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(authorities.into()),
                };
                Client::build_with_tls(info, certificates)
            }
            None => Client::open(info),
        }
        .map_err(|_| WRONG)?;
        Ok(Self { client, shown })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.shown == other.shown
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (text, shown) in [
            ("redis://h", "redis://h"),
            ("redis://u:s3cret@h:7000/2", "redis://h:7000/2"),
            ("rediss://:s3cret@[::1]:6380/0", "rediss://[::1]:6380/0"),
            (
                "redis+unix:///run/valkey.sock?db=1&pass=s3cret",
                "redis+unix:///run/valkey.sock",
            ),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("s3cret"));
        }
        assert!(Address::vouched_for("redis://h", Some("")).is_err());
        for text in [
            "",
            "h:6379",
            "http://h",
            "redis://h/x",
            "rediss://h/#insecure",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
