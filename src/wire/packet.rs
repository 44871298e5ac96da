//! The packets that come before a session, which have no type byte: parsing alone, without I/O.

use std::fmt;

use tokio::time::Instant;

use crate::error::{Refusal, SqlState};

/// The longest startup packet, in bytes without its length word: `MAX_STARTUP_PACKET_LENGTH` in Postgres.
pub const MAX_STARTUP_PACKET: usize = 10_000;
/// The longest secret that a cancel request may carry (protocol 3.2).
pub const MAX_CANCEL_SECRET: usize = 256;

const CANCEL_REQUEST: u32 = 80_877_102;
pub(super) const SSL_REQUEST: u32 = 80_877_103;
pub(super) const GSSENC_REQUEST: u32 = 80_877_104;
/// A client's first packet, or one after an answered request for encryption.
#[derive(Clone, PartialEq, Eq)]
pub enum Packet {
    /// It asks for TLS.
    SslRequest,
    /// It asks for GSSAPI encryption.
    GssEncRequest,
    /// It wants another connection's statement cancelled.
    Cancel {
        /// The process id that the other connection was given.
        process: i32,
        /// The secret that the other connection was given.
        secret: Vec<u8>,
    },
    /// It wants a session.
    Startup {
        /// What it says of itself.
        startup: Startup,
        /// Whether it asked for nothing that is unknown here. If not, it must be told by
        /// NegotiateProtocolVersion what is spoken instead.
        understood: bool,
        /// The names of the protocol extensions (`_pq_.`) that it asked for; none is known.
        extensions: Vec<String>,
    },
}

impl Packet {
    /// The length of what follows the length word, in bytes, if a packet may have it.
    pub fn body_length(length: u32) -> Result<usize, Refusal> {
        usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(4))
            .filter(|body| (4..=MAX_STARTUP_PACKET).contains(body))
            .ok_or_else(bad_length)
    }

    /// Reads a packet from what follows its length word; a startup message keeps the deadline.
    pub fn parse(body: &[u8], deadline: Instant) -> Result<Self, Refusal> {
        let (code, body) = body.split_first_chunk::<4>().ok_or_else(bad_length)?;
        match u32::from_be_bytes(*code) {
            SSL_REQUEST if body.is_empty() => Ok(Self::SslRequest),
            GSSENC_REQUEST if body.is_empty() => Ok(Self::GssEncRequest),
            SSL_REQUEST | GSSENC_REQUEST => Err(bad_length()),
            CANCEL_REQUEST => match body.split_first_chunk::<4>() {
                Some((process, secret)) if (1..=MAX_CANCEL_SECRET).contains(&secret.len()) => {
                    Ok(Self::Cancel {
                        process: i32::from_be_bytes(*process),
                        secret: secret.to_vec(),
                    })
                }
                _ => Err(violation("invalid length of query cancel packet")),
            },
            version => parse_startup(version, body, deadline),
        }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SslRequest => f.write_str("SslRequest"),
            Self::GssEncRequest => f.write_str("GssEncRequest"),
            Self::Cancel { process, .. } => f
                .debug_struct("Cancel")
                .field("process", process)
                .finish_non_exhaustive(),
            Self::Startup { startup, .. } => startup.fmt(f),
        }
    }
}

/// The startup message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Who the client says it is.
    pub user: String,
    /// The database it asks for; the user's name if it asks for none, as in Postgres.
    pub database: String,
    /// The other parameters in the order in which they came, `options` as it was written
    /// (see [`super::options::split_options`]); `_pq_.` names and `replication` are left out. Postgres applies
    /// the settings in `options` first, so that the others win over them.
    pub parameters: Vec<(String, String)>,
    /// The protocol that both sides speak from here on.
    pub protocol: Protocol,
    /// When the client must be authenticated.
    pub deadline: Instant,
}

impl Startup {
    /// A parameter's value; the last one counts where it was sent twice.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().rev().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The protocol's versions that are spoken to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// 3.0: what every client speaks. Its cancel secret has 4 bytes.
    V3_0,
    /// 3.2 (Postgres 18): its cancel secret may be longer.
    V3_2,
}

impl Protocol {
    /// The newest version that both sides know.
    fn of_minor(minor: u32) -> Self {
        // 3.1 was never used by a release; Postgres keeps the number free.
        if minor < 2 { Self::V3_0 } else { Self::V3_2 }
    }

    /// The number behind the `3.`.
    pub fn minor(self) -> u32 {
        match self {
            Self::V3_0 => 0,
            Self::V3_2 => 2,
        }
    }
}

fn parse_startup(version: u32, body: &[u8], deadline: Instant) -> Result<Packet, Refusal> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != 3 {
        return Err(unsupported_protocol(version));
    }
    let protocol = Protocol::of_minor(minor);
    let mut startup = Startup {
        user: String::new(),
        database: String::new(),
        parameters: Vec::new(),
        protocol,
        deadline,
    };
    let mut extensions = Vec::new();
    let mut replication = None;
    let mut rest = body;
    loop {
        let name = take_string(&mut rest)?;
        if name.is_empty() {
            break;
        }
        let value = take_string(&mut rest)?;
        match name.as_str() {
            "user" => startup.user = value,
            "database" => startup.database = value,
            "replication" => replication = Some(value),
            _ if name.starts_with("_pq_.") => extensions.push(name),
            _ => startup.parameters.push((name, value)),
        }
    }
    if !rest.is_empty() {
        return Err(bad_layout());
    }
    if let Some(value) = replication {
        refuse_replication(&value)?;
    }
    if startup.user.is_empty() {
        return Err(Refusal::fatal(
            SqlState::INVALID_AUTHORIZATION,
            "no PostgreSQL user name specified in startup packet",
        ));
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    Ok(Packet::Startup {
        understood: minor == protocol.minor() && extensions.is_empty(),
        startup,
        extensions,
    })
}

fn take_string(rest: &mut &[u8]) -> Result<String, Refusal> {
    let end = memchr::memchr(0, rest).ok_or_else(bad_layout)?;
    let (string, tail) = rest.split_at_checked(end).ok_or_else(bad_layout)?;
    *rest = tail.get(1..).ok_or_else(bad_layout)?;
    String::from_utf8(string.to_vec()).map_err(|_| {
        Refusal::fatal(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\" in startup packet",
        )
        .hint("Send names and settings of the startup message in UTF-8")
    })
}

fn refuse_replication(value: &str) -> Result<(), Refusal> {
    match parse_bool(value) {
        Some(false) => Ok(()),
        None if value != "database" => {
            let message = format!("invalid value for parameter \"replication\": \"{value}\"");
            Err(Refusal::fatal(SqlState::INVALID_PARAMETER_VALUE, message)
                .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."))
        }
        _ => Err(Refusal::fatal(
            SqlState::FEATURE_NOT_SUPPORTED,
            "replication connections are not supported",
        )
        .detail("A replication stream carries every row as it is, outside of any transaction that could be rolled back.")
        .hint("Connect to the database server itself, as a role that may replicate")),
    }
}

/// Postgres' `parse_bool`: unambiguous beginnings of the words, in any case.
fn parse_bool(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, at_least| value.len() >= at_least && word.starts_with(&value);
    if begins("true", 1) || begins("yes", 1) || value == "on" || value == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || value == "0" {
        Some(false)
    } else {
        None
    }
}

/// What a client is told that speaks another protocol, or asks for the same encryption twice.
pub(super) fn unsupported_protocol(version: u32) -> Refusal {
    let (major, minor) = (version >> 16, version & 0xffff);
    let message =
        format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2");
    Refusal::fatal(SqlState::FEATURE_NOT_SUPPORTED, message)
}

fn bad_layout() -> Refusal {
    violation("invalid startup packet layout: expected terminator as last byte")
}

fn violation(message: &str) -> Refusal {
    Refusal::fatal(SqlState::PROTOCOL_VIOLATION, message)
}

fn bad_length() -> Refusal {
    violation("invalid length of startup packet")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &[u8]) -> Result<Packet, Refusal> {
        Packet::parse(body, Instant::now())
    }

    fn packet(version: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in pairs {
            for text in [name, value] {
                body.extend_from_slice(text.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        body
    }

    fn startup(minor: u32, pairs: &[(&str, &str)]) -> (Startup, bool, Vec<String>) {
        match parse(&packet(3 << 16 | minor, pairs)).unwrap() {
            Packet::Startup {
                startup,
                understood,
                extensions,
            } => (startup, understood, extensions),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_startup_message() {
        let (read, understood, _) = startup(
            0,
            &[
                ("user", "anna"),
                ("options", "-c a=b"),
                ("database", "shop"),
                ("replication", "false"),
                ("application_name", "one"),
                ("application_name", "two"),
            ],
        );
        assert_eq!(
            (read.user.as_str(), read.database.as_str()),
            ("anna", "shop")
        );
        assert_eq!(read.parameter("options"), Some("-c a=b"));
        assert_eq!(read.parameter("application_name"), Some("two"));
        assert_eq!(read.parameters.len(), 3);
        assert_eq!(read.parameter("user"), None);
        assert!(understood);
        let (read, ..) = startup(0, &[("user", "anna"), ("database", "")]);
        assert_eq!(read.database, "anna", "as in Postgres");
    }

    #[test]
    fn the_newest_protocol_that_both_know() {
        let cases = [
            (0, Protocol::V3_0, true),
            (1, Protocol::V3_0, false),
            (2, Protocol::V3_2, true),
            (3, Protocol::V3_2, false),
            (9999, Protocol::V3_2, false),
        ];
        for (minor, protocol, understood) in cases {
            let (read, is_understood, _) = startup(minor, &[("user", "anna")]);
            assert_eq!(
                (read.protocol, is_understood),
                (protocol, understood),
                "3.{minor}"
            );
        }
        let (read, understood, extensions) = startup(0, &[("user", "anna"), ("_pq_.x", "1")]);
        assert_eq!((understood, extensions), (false, vec!["_pq_.x".to_owned()]));
        assert!(read.parameters.is_empty());
    }

    #[test]
    fn what_is_refused_and_how() {
        let version = 3_u32 << 16;
        let raw = |code: u32, body: &[u8]| [&code.to_be_bytes()[..], body].concat();
        let user = |name, value| packet(version, &[("user", "anna"), (name, value)]);
        let cases = [
            (vec![], "08P01"),
            (vec![0, 3], "08P01"),
            (raw(version, b""), "08P01"),
            (raw(version, b"user\0anna"), "08P01"),
            (raw(version, b"user\0anna\0"), "08P01"),
            (raw(version, b"user\0anna\0\0\0"), "08P01"),
            (raw(version, b"user\0an\xffna\0\0"), "22021"),
            (packet(version, &[("database", "shop")]), "28000"),
            (packet(2 << 16, &[("user", "anna")]), "0A000"),
            (packet(4 << 16, &[("user", "anna")]), "0A000"),
            (raw(1234 << 16, b""), "0A000"),
            (raw(SSL_REQUEST, b"x"), "08P01"),
            (raw(GSSENC_REQUEST, b"x"), "08P01"),
            (raw(CANCEL_REQUEST, b"abc"), "08P01"),
            (raw(CANCEL_REQUEST, b"abcd"), "08P01"),
            (raw(CANCEL_REQUEST, &[1; 4 + 257]), "08P01"),
            (user("replication", "database"), "0A000"),
            (user("replication", "true"), "0A000"),
            (user("replication", "YES"), "0A000"),
            (user("replication", "1"), "0A000"),
            (user("replication", "o"), "22023"),
            (user("replication", ""), "22023"),
        ];
        for (body, sqlstate) in cases {
            let refusal = parse(&body).unwrap_err();
            assert_eq!(refusal.sqlstate.0, sqlstate, "{body:?}");
        }
    }

    #[test]
    fn cancel_secrets_are_read_whole_and_never_shown() {
        let body = [&CANCEL_REQUEST.to_be_bytes()[..], &[0, 0, 1, 0], &[77; 32]].concat();
        let packet = parse(&body).unwrap();
        let expected = Packet::Cancel {
            process: 256,
            secret: vec![77; 32],
        };
        assert_eq!(packet, expected);
        assert!(!format!("{packet:?}").contains("77"));
    }

    #[test]
    fn lengths_at_the_edges() {
        for bad in [0, 3, 4, 7, 10_005, 0x1603_0100, u32::MAX] {
            assert!(Packet::body_length(bad).is_err(), "{bad}");
        }
        assert_eq!(Packet::body_length(8), Ok(4));
        assert_eq!(Packet::body_length(10_004), Ok(10_000));
    }

    proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..200), version in 0..4_u32) {
            let _ = parse(&body);
            let _ = parse(&[&(version << 16).to_be_bytes()[..], &body].concat());
        }

        #[test]
        fn what_is_written_is_read(pairs in proptest::collection::vec(("[a-z]{1,9}", "[^\0]{0,9}"), 0..9)) {
            let mut all = vec![("user", "anna")];
            all.extend(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let read = startup_of(&all);
            prop_assume!(!pairs.iter().any(|(name, _)| name == "user" || name == "database"));
            prop_assert_eq!(read, pairs);
        }
    }

    fn startup_of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        startup(0, pairs).0.parameters
    }
}
