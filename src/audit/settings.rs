//! How the audit is kept; `[audit]` in the configuration.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

/// How the audit is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// The folder of the log's segments.
    pub folder: PathBuf,
    /// The private key that checkpoints are signed with; made if neither it nor a log is there.
    pub key_file: PathBuf,
    /// An answer reaches its client only when its record is on disk.
    pub durable: bool,
    /// A segment is closed when it has reached this many bytes …
    pub segment_size: u64,
    /// … or this age.
    pub segment_age: Duration,
    /// Segments whose last record is older than this are deleted; None: never.
    pub retention: Option<Duration>,
    /// New records are signed after this long at the latest.
    pub checkpoint_interval: Duration,
    /// Where checkpoints go besides.
    pub checkpoints: SecondPlace,
    /// Who may vouch for the second place, if it is reached by HTTPS; empty: whom this system trusts.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// Where checkpoints go besides the log, so that who can write the log's folder cannot cut its end off unseen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecondPlace {
    /// Nowhere.
    Nowhere,
    /// Appended to a file.
    File(PathBuf),
    /// POSTed, one each, as JSON.
    Http(url::Url),
    /// Sent as messages of [RFC 5424](https://www.rfc-editor.org/rfc/rfc5424).
    Syslog(Syslog),
}

/// How a syslog server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Syslog {
    /// One datagram each ([RFC 5426](https://www.rfc-editor.org/rfc/rfc5426)).
    Udp(SocketAddr),
    /// A stream, octets counted ([RFC 6587](https://www.rfc-editor.org/rfc/rfc6587)).
    Tcp(SocketAddr),
    /// A local socket of datagrams, such as `/dev/log`.
    Unix(PathBuf),
}

impl AuditSettings {
    /// The defaults, with a log in this folder, and its key and checkpoints beside it.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            key_file: beside(folder, "key"),
            checkpoints: SecondPlace::File(beside(folder, "checkpoints")),
            folder: folder.to_owned(),
            durable: false,
            segment_size: 64 << 20,
            segment_age: Duration::from_secs(24 * 3_600),
            retention: None,
            checkpoint_interval: Duration::from_secs(10),
            authorities: Vec::new(),
        }
    }
}

impl fmt::Display for SecondPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("none"),
            Self::File(path) => write!(f, "{}", path.display()),
            // Neither a password nor a token that stands in its path or query.
            Self::Http(url) => write!(f, "{}", url.origin().ascii_serialization()),
            Self::Syslog(Syslog::Udp(address)) => write!(f, "syslog+udp://{address}"),
            Self::Syslog(Syslog::Tcp(address)) => write!(f, "syslog+tcp://{address}"),
            Self::Syslog(Syslog::Unix(path)) => write!(f, "syslog+unix://{}", path.display()),
        }
    }
}

/// `audit` and `key` make `audit.key`.
fn beside(folder: &Path, extension: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(extension);
    folder.with_file_name(name)
}
