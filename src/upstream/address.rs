//! [`Address`]: where an upstream is and who connects to it, from a `postgres://` URL.
//!
//! A URL holds a password, and a mistyped one may hold it anywhere. So no error here repeats any part of
//! the text, Debug and Display leave the password out, and only [`Password::reveal`] gives it away.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Postgres' port.
const DEFAULT_PORT: u16 = 5432;
/// How long to wait for a connection unless the URL says otherwise.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An upstream's address, as libpq reads `postgres://user:password@host:port/database?name=value&…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The machine or the socket's directory.
    pub host: Host,
    /// The TCP port, also part of a Unix-domain socket's name.
    pub port: u16,
    /// Who connects.
    pub user: String,
    /// The password; empty if the URL has none.
    pub password: Password,
    /// The database; the user's name if the URL has none.
    pub database: String,
    /// Whether to use TLS, and whom to trust.
    pub ssl_mode: SslMode,
    /// Which certificates to trust.
    pub ssl_root: SslRoot,
    /// Whether SCRAM must be bound to the TLS channel.
    pub channel_binding: ChannelBinding,
    /// The name to show in `pg_stat_activity`.
    pub application_name: Option<String>,
    /// The longest time for connecting and authenticating; at least 2 s, as in libpq.
    pub connect_timeout: Duration,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an IP address, without brackets.
    Tcp(String),
    /// The directory of a Unix-domain socket.
    Unix(PathBuf),
}

/// libpq's `sslmode`; its `allow` is left out, which would send the password in the clear first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it; any certificate. The default. Unlike libpq, a handshake that fails is an
    /// error and not a reason to try without.
    Prefer,
    /// TLS; any certificate, unless `sslrootcert` is given: then as `verify-ca`.
    Require,
    /// TLS with a certificate from a trusted authority, for whatever host.
    VerifyCa,
    /// TLS with a certificate from a trusted authority for this host.
    VerifyFull,
}

/// Which authorities `verify-ca` and `verify-full` trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SslRoot {
    /// `sslrootcert` was not given: the operating system's.
    Unset,
    /// `sslrootcert=system`: the operating system's.
    System,
    /// The certificates in this PEM file.
    File(PathBuf),
}

/// libpq's `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where the server offers it. The default.
    Prefer,
    /// Or no connection at all.
    Require,
}

/// A password. Debug does not show it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Password(String);

impl Password {
    /// Wraps a password; an empty one means none.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The password itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// What is wrong with a URL, without any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error("the URL must begin with postgres:// or postgresql://")]
    Scheme,
    /// No user name.
    #[error("the URL names no user; write postgres://user@host/database")]
    User,
    /// No host.
    #[error("the URL names no host; write postgres://user@host/database")]
    Host,
    /// Several hosts.
    #[error(
        "the URL names several hosts; one upstream is one server: give the primary's host alone"
    )]
    SeveralHosts,
    /// `[` without `]`, or something behind it.
    #[error("the URL's IPv6 address must be written as [address] or [address]:port")]
    Brackets,
    /// No number from 1 to 65535.
    #[error(
        "the URL's port is not a number from 1 to 65535 (characters like / and @ in a password must be percent-encoded)"
    )]
    Port,
    /// A bad percent sequence, a zero byte or invalid UTF-8.
    #[error("the URL has an invalid percent-encoded character (write a % as %25)")]
    Encoding,
    /// A parameter without a value.
    #[error("each parameter of the URL must be written as name=value")]
    Parameter,
    /// A parameter of libpq that the proxy does not have.
    #[error("the URL's parameter {0} is not supported; leave it out")]
    UnsupportedParameter(&'static str),
    /// No parameter of libpq either.
    #[error(
        "the URL has an unknown parameter; known are sslmode, sslrootcert, channel_binding, application_name, connect_timeout, host, port, user, password and dbname"
    )]
    UnknownParameter,
    /// A known parameter with a value that it cannot have.
    #[error("the URL's parameter {name} must be {expected}")]
    Value {
        /// Which one.
        name: &'static str,
        /// What it can be.
        expected: &'static str,
    },
}

impl Address {
    /// The settings for `tokio_postgres`, password included. TLS is the connector's business: of the modes
    /// that check certificates it only learns that TLS is required.
    pub fn to_tokio_postgres_config(&self) -> tokio_postgres::Config {
        use tokio_postgres::config;
        let mut settings = tokio_postgres::Config::new();
        match &self.host {
            Host::Tcp(host) => settings.host(host),
            Host::Unix(directory) => settings.host_path(directory),
        };
        settings
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .connect_timeout(self.connect_timeout)
            .ssl_mode(match self.ssl_mode {
                SslMode::Disable => config::SslMode::Disable,
                SslMode::Prefer => config::SslMode::Prefer,
                SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                    config::SslMode::Require
                }
            })
            .channel_binding(match self.channel_binding {
                ChannelBinding::Disable => config::ChannelBinding::Disable,
                ChannelBinding::Prefer => config::ChannelBinding::Prefer,
                ChannelBinding::Require => config::ChannelBinding::Require,
            });
        if !self.password.is_empty() {
            settings.password(self.password.reveal());
        }
        if let Some(name) = &self.application_name {
            settings.application_name(name);
        }
        settings
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or(AddressError::Scheme)?;
        // libpq's order: the user ends at the first @ before any /, then comes the host up to / or ?.
        let (authority, tail) = match rest.find(['@', '/']) {
            Some(at) if rest.get(at..).is_some_and(|rest| rest.starts_with('@')) => {
                let (credentials, rest) = rest.split_at(at);
                (Some(credentials), rest.strip_prefix('@').unwrap_or(rest))
            }
            _ => (None, rest),
        };
        let (place, parameters) = tail.split_once('?').unwrap_or((tail, ""));
        let (host, database) = place.split_once('/').unwrap_or((place, ""));

        let mut parts = Parts::default();
        if let Some(authority) = authority {
            let (user, password) = authority.split_once(':').unwrap_or((authority, ""));
            parts.user = decode(user)?;
            parts.password = decode(password)?;
        }
        let (host, port) = split_host(host)?;
        parts.host = decode(host)?;
        parts.port = port.map(parse_port).transpose()?;
        parts.database = decode(database)?;
        for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(AddressError::Parameter)?;
            parts.take(&decode(name)?, decode(value)?)?;
        }
        parts.finish()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, database, mode) = (&self.user, &self.database, self.ssl_mode.as_str());
        write!(f, "postgres://{user}@")?;
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port)?,
            Host::Tcp(host) => write!(f, "{host}:{}", self.port)?,
            Host::Unix(path) => {
                return write!(f, "/{database}?host={}&port={}", path.display(), self.port);
            }
        }
        write!(f, "/{database}?sslmode={mode}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl SslMode {
    /// As it is written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// The URL's parts before they are put together; empty means not given.
#[derive(Default)]
struct Parts {
    user: String,
    password: String,
    host: String,
    port: Option<u16>,
    database: String,
    ssl_mode: Option<SslMode>,
    ssl_root: Option<SslRoot>,
    channel_binding: Option<ChannelBinding>,
    application_name: Option<String>,
    connect_timeout: Option<Duration>,
}

/// Parameters of libpq that would change what the connection is, so that ignoring them would be wrong.
const UNSUPPORTED: [&str; 16] = [
    "fallback_application_name",
    "gssencmode",
    "hostaddr",
    "keepalives",
    "krbsrvname",
    "load_balance_hosts",
    "options",
    "passfile",
    "replication",
    "service",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslnegotiation",
    "sslpassword",
    "target_session_attrs",
];

impl Parts {
    fn take(&mut self, name: &str, value: String) -> Result<(), AddressError> {
        match name {
            "user" => self.user = value,
            "password" => self.password = value,
            "host" => self.host = value,
            "port" => self.port = Some(parse_port(&value)?),
            "dbname" => self.database = value,
            "application_name" => self.application_name = Some(value),
            "sslmode" => self.ssl_mode = Some(parse_ssl_mode(&value)?),
            "sslrootcert" if value == "system" => self.ssl_root = Some(SslRoot::System),
            "sslrootcert" => self.ssl_root = Some(SslRoot::File(value.into())),
            "channel_binding" => self.channel_binding = Some(parse_channel_binding(&value)?),
            "connect_timeout" => self.connect_timeout = Some(parse_timeout(&value)?),
            "gssencmode" if value == "disable" || value == "prefer" => {}
            _ => {
                let known = UNSUPPORTED.into_iter().find(|known| *known == name);
                return Err(known.map_or(
                    AddressError::UnknownParameter,
                    AddressError::UnsupportedParameter,
                ));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Address, AddressError> {
        if self.user.is_empty() {
            return Err(AddressError::User);
        }
        if self.host.contains(',') {
            return Err(AddressError::SeveralHosts);
        }
        let host = match self.host {
            host if host.is_empty() => return Err(AddressError::Host),
            host if host.starts_with('/') => Host::Unix(host.into()),
            host => Host::Tcp(host),
        };
        Ok(Address {
            host,
            port: self.port.unwrap_or(DEFAULT_PORT),
            database: if self.database.is_empty() {
                self.user.clone()
            } else {
                self.database
            },
            user: self.user,
            password: Password(self.password),
            ssl_mode: self.ssl_mode.unwrap_or(SslMode::Prefer),
            ssl_root: self.ssl_root.unwrap_or(SslRoot::Unset),
            channel_binding: self.channel_binding.unwrap_or(ChannelBinding::Prefer),
            application_name: self.application_name,
            connect_timeout: self.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        })
    }
}

/// Splits `host[:port]`, brackets removed.
fn split_host(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    if text.contains(',') {
        return Err(AddressError::SeveralHosts);
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(AddressError::Brackets)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(AddressError::Brackets),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(AddressError::Brackets),
        Some((host, "")) => Ok((host, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    match text.parse() {
        Ok(0) | Err(_) => Err(AddressError::Port),
        Ok(port) => Ok(port),
    }
}

fn parse_ssl_mode(value: &str) -> Result<SslMode, AddressError> {
    match value {
        "disable" => Ok(SslMode::Disable),
        "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err(AddressError::Value {
            name: "sslmode",
            expected: "disable, prefer, require, verify-ca or verify-full",
        }),
    }
}

fn parse_channel_binding(value: &str) -> Result<ChannelBinding, AddressError> {
    match value {
        "disable" => Ok(ChannelBinding::Disable),
        "prefer" => Ok(ChannelBinding::Prefer),
        "require" => Ok(ChannelBinding::Require),
        _ => Err(AddressError::Value {
            name: "channel_binding",
            expected: "disable, prefer or require",
        }),
    }
}

fn parse_timeout(value: &str) -> Result<Duration, AddressError> {
    // libpq's 0 means for ever; nothing in the proxy may wait for ever.
    match value.parse::<u32>() {
        Ok(0) | Err(_) => Err(AddressError::Value {
            name: "connect_timeout",
            expected: "a number of seconds above 0",
        }),
        Ok(seconds) => Ok(Duration::from_secs(u64::from(seconds.max(2)))),
    }
}

pub fn decode(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            _ => return Err(AddressError::Encoding),
        }
    }
    if bytes.contains(&0) {
        return Err(AddressError::Encoding);
    }
    String::from_utf8(bytes).map_err(|_| AddressError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Address {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_whole_url() {
        let address = parse(
            "postgresql://an%40na:s%2fe%C3%A9%25@db.example:6432/shop%20floor?sslmode=verify-full\
             &sslrootcert=/etc/ca.pem&application_name=a%20b&connect_timeout=7&channel_binding=require",
        );
        let expected = Address {
            host: Host::Tcp("db.example".to_owned()),
            port: 6432,
            user: "an@na".to_owned(),
            password: Password::new("s/eé%"),
            database: "shop floor".to_owned(),
            ssl_mode: SslMode::VerifyFull,
            ssl_root: SslRoot::File("/etc/ca.pem".into()),
            channel_binding: ChannelBinding::Require,
            application_name: Some("a b".to_owned()),
            connect_timeout: Duration::from_secs(7),
        };
        assert!(address == expected, "{address:?}");
    }

    #[test]
    fn what_is_left_out_has_libpqs_default() {
        let address = parse("postgres://anna@db");
        assert_eq!((address.port, address.database.as_str()), (5432, "anna"));
        assert_eq!(address.ssl_mode, SslMode::Prefer);
        assert_eq!(address.ssl_root, SslRoot::Unset);
        assert!(address.password.is_empty());
        assert_eq!(address.connect_timeout, DEFAULT_CONNECT_TIMEOUT);
        let short = parse("postgres://anna@db?connect_timeout=1");
        assert_eq!(short.connect_timeout, Duration::from_secs(2));
    }

    #[test]
    fn hosts() {
        let tcp = |host: &str, port| (Host::Tcp(host.to_owned()), port);
        let unix = |path: &str, port| (Host::Unix(path.into()), port);
        for (url, expected) in [
            ("postgres://u@h:1/d", tcp("h", 1)),
            ("postgres://u@h:/d", tcp("h", 5432)),
            ("postgres://u@[::1]/d", tcp("::1", 5432)),
            ("postgres://u@[::1]:65535/d", tcp("::1", 65535)),
            ("postgres://u@127.0.0.1?dbname=d", tcp("127.0.0.1", 5432)),
            ("postgres://u@%2Frun%2Fpg:1/d", unix("/run/pg", 1)),
            (
                "postgres:///d?host=/run/pg&user=u&port=2",
                unix("/run/pg", 2),
            ),
            ("postgres://u:p@/d?host=h", tcp("h", 5432)),
        ] {
            let address = parse(url);
            assert_eq!((address.host, address.port), expected, "{url}");
            assert_eq!(address.database, "d", "{url}");
        }
    }

    #[test]
    fn what_is_refused() {
        use AddressError as E;
        for (url, expected) in [
            ("", E::Scheme),
            ("mysql://u@h/d", E::Scheme),
            ("postgres://h/d", E::User),
            ("postgres://u@/d", E::Host),
            ("postgres://u@h1,h2/d", E::SeveralHosts),
            ("postgres://u@h1:1,h2:2/d", E::SeveralHosts),
            ("postgres://u@/d?host=h1,h2", E::SeveralHosts),
            ("postgres://u@::1/d", E::Brackets),
            ("postgres://u@[::1/d", E::Brackets),
            ("postgres://u@[::1]x/d", E::Brackets),
            ("postgres://u@h:0/d", E::Port),
            ("postgres://u@h:65536/d", E::Port),
            ("postgres://u@h:x/d", E::Port),
            ("postgres://u%@h/d", E::Encoding),
            ("postgres://u%2@h/d", E::Encoding),
            ("postgres://u%zz@h/d", E::Encoding),
            ("postgres://u%00@h/d", E::Encoding),
            ("postgres://u%ff@h/d", E::Encoding),
            ("postgres://u@h/d?sslmode", E::Parameter),
            ("postgres://u@h/d?colour=red", E::UnknownParameter),
            (
                "postgres://u@h/d?sslkey=k",
                E::UnsupportedParameter("sslkey"),
            ),
            (
                "postgres://u@h/d?gssencmode=require",
                E::UnsupportedParameter("gssencmode"),
            ),
        ] {
            let error = url.parse::<Address>().unwrap_err();
            assert_eq!(error, expected, "{url}");
        }
        for url in [
            "postgres://u@h/d?sslmode=allow",
            "postgres://u@h/d?channel_binding=maybe",
            "postgres://u@h/d?connect_timeout=0",
            "postgres://u@h/d?connect_timeout=-1",
        ] {
            let error = url.parse::<Address>().unwrap_err();
            assert!(matches!(error, E::Value { .. }), "{url}: {error}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let address = parse("postgres://anna:hunter2@db/shop?application_name=x");
        let shown = format!("{address} {address:?} {:?}", address.password);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.starts_with("postgres://anna@db:5432/shop?sslmode=prefer"));
        // Characters that had to be encoded put parts of it where other things are expected.
        for url in [
            "postgres://anna:hunter2/x@db/shop",
            "postgres://anna:hunter2%@db/shop",
            "postgres://anna:x@hunter2:hunter2@db/shop",
            "postgres://anna:x/y?hunter2@db/shop",
            "postgres://anna:5/y?hunter2=x@db/shop",
            "postgres://anna:5/y?sslmode=hunter2@db/shop",
            "anna:hunter2@db/shop",
        ] {
            let error = url.parse::<Address>().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{url}: {shown}");
        }
    }

    #[test]
    fn what_is_displayed_is_the_same_place() {
        for url in [
            "postgres://anna@db:1/shop?sslmode=require",
            "postgres://anna@[::1]:5432/shop?sslmode=disable",
            "postgres://anna@/shop?host=/run/pg&port=5433",
        ] {
            assert_eq!(parse(url).to_string(), url);
        }
    }
}
