//! A client's first bytes: TLS, GSS and cancel requests, and the startup message.
//!
//! Nothing is read ahead: every packet is read to its last byte and no further, so that nothing that was
//! sent before a TLS handshake can be taken for what came after it. After [`negotiate`] the client is
//! known by name only; [`super::authenticate`] makes sure of it.

use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::socket::Socket;
use super::tls::{ALPN, ServerTls};
use crate::error::{Refusal, SqlState};

/// The stream to a client.
pub type ClientStream = Socket;

/// The longest startup packet, in bytes without its length word: `MAX_STARTUP_PACKET_LENGTH` in Postgres.
pub const MAX_STARTUP_PACKET: usize = 10_000;
/// The longest secret that a cancel request may carry (protocol 3.2).
pub const MAX_CANCEL_SECRET: usize = 256;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
/// The first byte of a TLS handshake record; as the first byte of a length it would mean 369 MB.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long, and how far, a refused client's unread bytes are read and dropped, so that closing the socket
/// does not reset the connection under the error message.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: u64 = 64 * 1024;

/// What a client may take of the proxy before it is known.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first byte to the end of authentication; Postgres' `authentication_timeout`.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
        }
    }
}

/// What the client came for.
#[derive(Debug)]
pub enum Negotiated {
    /// It wants a session: authenticate it next.
    Startup(ClientStream, Startup),
    /// It wants another connection's statement cancelled. It expects no answer; the stream is closed when
    /// this value is dropped, which the client may be waiting for.
    Cancel {
        /// Dropped when the cancel request has been passed on.
        stream: ClientStream,
        /// The process id that the other connection was given.
        process: i32,
        /// The secret that the other connection was given: 4 bytes in protocol 3.0, up to 256 in 3.2.
        secret: Vec<u8>,
    },
}

/// The startup message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Who the client says it is.
    pub user: String,
    /// The database it asks for; the user's name if it asks for none, as in Postgres.
    pub database: String,
    /// The other parameters in the order in which they came, `options` as it was written
    /// (see [`super::options::split_options`]); `_pq_.` names and `replication` are left out.
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
    fn of_minor(minor: u16) -> Self {
        // 3.1 was never used by a release; Postgres keeps the number free.
        if minor < 2 { Self::V3_0 } else { Self::V3_2 }
    }

    fn minor(self) -> u16 {
        match self {
            Self::V3_0 => 0,
            Self::V3_2 => 2,
        }
    }
}

/// Why there is no session. Whatever the client could be told, it has been told already.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The client went away: a port check, or a psql that asks its user for a password first.
    #[error("the client closed the connection during startup")]
    Closed,
    /// The connection failed, or the TLS handshake.
    #[error("the connection failed during startup")]
    Io(#[from] io::Error),
    /// The client did not come to an end in time.
    #[error("startup took longer than allowed")]
    TimedOut,
    /// The client was refused, with this error.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Reads what the client wants, up to and including its startup message: accepts TLS when the client asks
/// for it (by SSLRequest or at once) and `tls` is given, answers GSSENCRequest with `N`.
pub async fn negotiate(
    tcp: TcpStream,
    tls: Option<&ServerTls>,
    limits: Limits,
) -> Result<Negotiated, StartupError> {
    let deadline = Instant::now() + limits.time;
    // Like Postgres, nothing is said to a client that says nothing.
    timeout_at(deadline, run(tcp, tls, deadline))
        .await
        .map_err(|_| StartupError::TimedOut)?
}

/// Writes the refusal to the client and closes the stream in a way that lets the client read it. Takes half a
/// second at most.
pub async fn refuse(stream: &mut ClientStream, refusal: &Refusal) -> io::Result<()> {
    let farewell = async {
        stream.write_all(&error_response(refusal)).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        Ok(())
    };
    tokio::time::timeout(LINGER, farewell)
        .await
        .unwrap_or(Ok(()))
}

async fn run(
    tcp: TcpStream,
    tls: Option<&ServerTls>,
    deadline: Instant,
) -> Result<Negotiated, StartupError> {
    tcp.set_nodelay(true)?;
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Err(StartupError::Closed);
    }
    let mut socket = if first == [TLS_HANDSHAKE] {
        accept_direct(tcp, tls).await?
    } else {
        Socket::Tcp(tcp)
    };
    // Each kind of encryption may be asked for once, and none inside of TLS.
    let mut may_ask_tls = !socket.is_tls();
    let mut may_ask_gss = !socket.is_tls();
    loop {
        let packet = read_packet(&mut socket).await;
        match told(&mut socket, packet).await? {
            Packet::Ssl if may_ask_tls => {
                let early = refuse_early_bytes(&socket);
                told(&mut socket, early).await?;
                may_ask_tls = false;
                socket = match (socket, tls) {
                    (Socket::Tcp(mut tcp), Some(tls)) => {
                        may_ask_gss = false;
                        tcp.write_all(b"S").await?;
                        tls.accept(tcp).await?
                    }
                    (mut other, _) => {
                        other.write_all(b"N").await?;
                        other
                    }
                };
            }
            Packet::Gss if may_ask_gss => {
                let early = refuse_early_bytes(&socket);
                told(&mut socket, early).await?;
                may_ask_gss = false;
                socket.write_all(b"N").await?;
            }
            Packet::Ssl => {
                let again = Err(unsupported_protocol(SSL_REQUEST));
                told(&mut socket, again).await?;
            }
            Packet::Gss => {
                let again = Err(unsupported_protocol(GSSENC_REQUEST));
                told(&mut socket, again).await?;
            }
            Packet::Cancel { process, secret } => {
                return Ok(Negotiated::Cancel {
                    stream: socket,
                    process,
                    secret,
                });
            }
            Packet::Startup { version, body } => {
                let parsed = parse_startup(version, &body, deadline);
                let (startup, unknown) = told(&mut socket, parsed).await?;
                let asked = version & 0xffff;
                if asked != u32::from(startup.protocol.minor()) || !unknown.is_empty() {
                    let reply = negotiate_protocol_version(startup.protocol, &unknown);
                    socket.write_all(&reply).await?;
                }
                return Ok(Negotiated::Startup(socket, startup));
            }
        }
    }
}

/// Tells the client, if the step was refused.
async fn told<T>(socket: &mut Socket, step: Result<T, StartupError>) -> Result<T, StartupError> {
    if let Err(StartupError::Refused(refusal)) = &step {
        // Whether it still listens makes no difference to the outcome.
        let _ = refuse(socket, refusal).await;
    }
    step
}

/// The direct TLS start of Postgres 17: no SSLRequest; ALPN takes its place as the proof that the client
/// means this protocol, so that a cross-protocol attack by a browser gets nowhere.
async fn accept_direct(tcp: TcpStream, tls: Option<&ServerTls>) -> Result<Socket, StartupError> {
    let Some(tls) = tls else {
        // There is no way to say so that the client would understand.
        return Err(
            violation("received direct TLS connection request, but TLS is not set up").into(),
        );
    };
    let mut socket = tls.accept(tcp).await?;
    let agreed = match &socket {
        Socket::Tls { stream, .. } => stream.get_ref().1.alpn_protocol() == Some(ALPN),
        Socket::Tcp(_) | Socket::Unix(_) => false,
    };
    let checked = if agreed {
        Ok(())
    } else {
        Err(violation(
            "received direct SSL connection request without ALPN protocol negotiation extension",
        )
        .into())
    };
    told(&mut socket, checked).await?;
    Ok(socket)
}

/// After a request for encryption the client must wait for the answer. Bytes that are there already came in
/// the clear, perhaps from somebody in between (CVE-2021-23214).
fn refuse_early_bytes(socket: &Socket) -> Result<(), StartupError> {
    let Socket::Tcp(tcp) = socket else {
        return Ok(());
    };
    match tcp.try_read(&mut [0]) {
        Ok(0) => Err(StartupError::Closed),
        Ok(_) => Err(violation("received unencrypted data after SSL request")
            .detail("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.")
            .into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error.into()),
    }
}

enum Packet {
    Ssl,
    Gss,
    Cancel { process: i32, secret: Vec<u8> },
    Startup { version: u32, body: Vec<u8> },
}

async fn read_packet(socket: &mut Socket) -> Result<Packet, StartupError> {
    let length = read_u32(socket).await?;
    // The length counts its own four bytes; the code or version takes four more.
    let body = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_sub(8))
        .filter(|body| body + 4 <= MAX_STARTUP_PACKET)
        .ok_or_else(|| violation("invalid length of startup packet"))?;
    let version = read_u32(socket).await?;
    let mut bytes = vec![0; body];
    read_exact(socket, &mut bytes).await?;
    match version {
        SSL_REQUEST if body == 0 => Ok(Packet::Ssl),
        GSSENC_REQUEST if body == 0 => Ok(Packet::Gss),
        SSL_REQUEST | GSSENC_REQUEST => Err(violation("invalid length of startup packet").into()),
        CANCEL_REQUEST => match bytes.split_first_chunk::<4>() {
            Some((process, secret)) if (1..=MAX_CANCEL_SECRET).contains(&secret.len()) => {
                Ok(Packet::Cancel {
                    process: i32::from_be_bytes(*process),
                    secret: secret.to_vec(),
                })
            }
            _ => Err(violation("invalid length of query cancel packet").into()),
        },
        version => Ok(Packet::Startup {
            version,
            body: bytes,
        }),
    }
}

async fn read_u32(socket: &mut Socket) -> Result<u32, StartupError> {
    let mut bytes = [0; 4];
    read_exact(socket, &mut bytes).await?;
    Ok(u32::from_be_bytes(bytes))
}

/// Reads exactly these bytes; the end of the stream in their midst is [`StartupError::Closed`].
pub(super) async fn read_exact(socket: &mut Socket, bytes: &mut [u8]) -> Result<(), StartupError> {
    match socket.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(StartupError::Closed),
        Err(error) => Err(error.into()),
    }
}

/// The startup message, and the names of the protocol extensions in it, none of which is known here.
fn parse_startup(
    version: u32,
    body: &[u8],
    deadline: Instant,
) -> Result<(Startup, Vec<String>), StartupError> {
    if version >> 16 != 3 {
        return Err(unsupported_protocol(version));
    }
    let minor = u16::try_from(version & 0xffff).unwrap_or(u16::MAX);
    let mut startup = Startup {
        user: String::new(),
        database: String::new(),
        parameters: Vec::new(),
        protocol: Protocol::of_minor(minor),
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
        return Err(bad_layout().into());
    }
    if let Some(value) = replication {
        refuse_replication(&value)?;
    }
    if startup.user.is_empty() {
        return Err(Refusal::fatal(
            SqlState::INVALID_AUTHORIZATION,
            "no PostgreSQL user name specified in startup packet",
        )
        .into());
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    Ok((startup, extensions))
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
        .hint("send names and settings of the startup message in UTF-8")
    })
}

fn refuse_replication(value: &str) -> Result<(), Refusal> {
    match parse_bool(value) {
        Some(false) => Ok(()),
        None if value != "database" => {
            let message = format!("invalid value for parameter \"replication\": \"{value}\"");
            Err(Refusal::fatal(SqlState::INVALID_PARAMETER_VALUE, message)
                .hint("valid values are: \"false\", 0, \"true\", 1, \"database\""))
        }
        _ => Err(Refusal::fatal(
            SqlState::FEATURE_NOT_SUPPORTED,
            "replication connections are not supported",
        )
        .detail("A replication stream carries every row as it is, outside of any transaction that could be rolled back.")
        .hint("connect to the database server itself, as a role that may replicate")),
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

/// NegotiateProtocolVersion: what is spoken instead of what was asked for.
fn negotiate_protocol_version(protocol: Protocol, unknown: &[String]) -> BytesMut {
    let mut body = BytesMut::new();
    // The whole version, as Postgres sends it and libpq reads it, not the minor number alone.
    body.put_u16(3);
    body.put_u16(protocol.minor());
    body.put_u32(u32::try_from(unknown.len()).unwrap_or(u32::MAX));
    for name in unknown {
        body.put_slice(name.as_bytes());
        body.put_u8(0);
    }
    message(b'v', &body)
}

fn error_response(refusal: &Refusal) -> BytesMut {
    let severity = refusal.severity.as_str();
    let mut body = BytesMut::new();
    let fields = [
        (b'S', Some(severity)),
        (b'V', Some(severity)),
        (b'C', Some(refusal.sqlstate.0)),
        (b'M', Some(refusal.message.as_str())),
        (b'D', refusal.detail.as_deref()),
        (b'H', refusal.hint.as_deref()),
    ];
    for (code, text) in fields {
        if let Some(text) = text {
            body.put_u8(code);
            body.extend(text.bytes().filter(|byte| *byte != 0));
            body.put_u8(0);
        }
    }
    body.put_u8(0);
    message(b'E', &body)
}

/// Frames a message that is known to be short.
pub(super) fn message(tag: u8, body: &[u8]) -> BytesMut {
    let mut framed = BytesMut::with_capacity(body.len() + 5);
    framed.put_u8(tag);
    framed.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    framed.put_slice(body);
    framed
}

fn unsupported_protocol(version: u32) -> StartupError {
    let (major, minor) = (version >> 16, version & 0xffff);
    let message =
        format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2");
    Refusal::fatal(SqlState::FEATURE_NOT_SUPPORTED, message).into()
}

fn bad_layout() -> Refusal {
    violation("invalid startup packet layout: expected terminator as last byte")
}

fn violation(message: &str) -> Refusal {
    Refusal::fatal(SqlState::PROTOCOL_VIOLATION, message)
}
