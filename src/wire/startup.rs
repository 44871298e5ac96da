//! A client's first bytes: TLS, GSS and cancel requests, and the startup message.
//!
//! Nothing is read ahead: every packet is read to its last byte and no further, so that nothing that was
//! sent before a TLS handshake can be taken for what came after it. After [`negotiate`] the client is
//! known by name only; [`super::authenticate`] makes sure of it.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::backend;
use super::packet::{GSSENC_REQUEST, Packet, SSL_REQUEST, unsupported_protocol};
pub use super::packet::{Protocol, Startup};
use super::socket::Socket;
use super::tls::{ALPN, ServerTls};
use crate::error::{Refusal, SqlState};

/// The stream to a client.
pub type ClientStream = Socket;

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

impl fmt::Debug for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Startup(_, startup) => startup.fmt(f),
            // The secret is left out.
            Self::Cancel { process, .. } => write!(f, "Cancel({process})"),
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
    let mut message = BytesMut::new();
    backend::refusal(&mut message, refusal);
    farewell(stream, &message).await
}

async fn farewell(stream: &mut Socket, message: &[u8]) -> io::Result<()> {
    let farewell = async {
        stream.write_all(message).await?;
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
        let packet = read_packet(&mut socket, deadline).await;
        match told(&mut socket, packet).await? {
            Packet::SslRequest if may_ask_tls => {
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
            Packet::GssEncRequest if may_ask_gss => {
                let early = refuse_early_bytes(&socket);
                told(&mut socket, early).await?;
                may_ask_gss = false;
                socket.write_all(b"N").await?;
            }
            Packet::SslRequest => {
                let again = Err(unsupported_protocol(SSL_REQUEST).into());
                told(&mut socket, again).await?;
            }
            Packet::GssEncRequest => {
                let again = Err(unsupported_protocol(GSSENC_REQUEST).into());
                told(&mut socket, again).await?;
            }
            Packet::Cancel { process, secret } => {
                return Ok(Negotiated::Cancel {
                    stream: socket,
                    process,
                    secret,
                });
            }
            Packet::Startup {
                startup,
                understood,
                extensions,
            } => {
                if !understood {
                    let mut reply = BytesMut::new();
                    let minor = startup.protocol.minor();
                    backend::negotiate_protocol_version(&mut reply, minor, &extensions);
                    socket.write_all(&reply).await?;
                    socket.flush().await?;
                }
                return Ok(Negotiated::Startup(socket, startup));
            }
        }
    }
}

async fn read_packet(socket: &mut Socket, deadline: Instant) -> Result<Packet, StartupError> {
    let mut length = [0; 4];
    read_exact(socket, &mut length).await?;
    let mut body = vec![0; Packet::body_length(u32::from_be_bytes(length))?];
    read_exact(socket, &mut body).await?;
    match Packet::parse(&body, deadline) {
        Err(refusal) if matches!(body.as_slice(), [0, 0..=2, ..]) => {
            // Clients of protocol 2 and older read no other form of error than this one of their time. The
            // stream is shut down by it, so that nothing can be added in another form.
            let text = format!("EFATAL:  {}\n\0", refusal.message);
            let _ = farewell(socket, text.as_bytes()).await;
            Err(refusal.into())
        }
        parsed => Ok(parsed?),
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

/// Reads exactly these bytes; the end of the stream in their midst is [`StartupError::Closed`].
pub(super) async fn read_exact(socket: &mut Socket, bytes: &mut [u8]) -> Result<(), StartupError> {
    match socket.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(StartupError::Closed),
        Err(error) => Err(error.into()),
    }
}

fn violation(message: &str) -> Refusal {
    Refusal::fatal(SqlState::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use tokio::net::TcpListener;

    use super::*;
    use crate::wire::tls::testing;

    const SSL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
    const GSS: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];
    const STARTUP: &[u8] = b"\0\0\0\x13\0\x03\0\0user\0anna\0\0";
    const CANCEL: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07abcd";

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    /// Sends the bytes, then nothing more; gives the outcome in short and what was answered.
    async fn outcome(sent: &[u8], tls: Option<&ServerTls>) -> (String, Vec<u8>) {
        let (mut client, server) = pair().await;
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let negotiated = negotiate(server, tls, Limits::default()).await;
        let outcome = match &negotiated {
            Ok(Negotiated::Startup(_, startup)) => format!("startup of {}", startup.user),
            Ok(Negotiated::Cancel {
                process, secret, ..
            }) => {
                format!("cancel {process} {}", String::from_utf8_lossy(secret))
            }
            Err(StartupError::Refused(refusal)) => refusal.sqlstate.0.to_owned(),
            Err(StartupError::Closed) => "closed".to_owned(),
            Err(error) => format!("{error}"),
        };
        drop(negotiated);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        (outcome, answer)
    }

    #[tokio::test]
    async fn requests_in_the_clear() {
        /// What is sent, the outcome, how the answer begins.
        type Case<'a> = (&'a [&'a [u8]], &'a str, &'a [u8]);
        let cases: &[Case<'_>] = &[
            (&[STARTUP], "startup of anna", b""),
            (&[CANCEL], "cancel 7 abcd", b""),
            (
                &[b"\0\0\0\x13\0\x03\0\x09user\0anna\0\0"],
                "startup of anna",
                b"v",
            ),
            (&[], "closed", b""),
            (&[b"\0"], "closed", b""),
            (&[b"\0\0\0\x13\0\x03\0\0use"], "closed", b""),
            (&[b"\0\0\0\0"], "08P01", b"E"),
            (&[b"\0\0\0\x07abc"], "08P01", b"E"),
            (&[b"\xff\xff\xff\xff"], "08P01", b"E"),
            (&[b"GET / HTTP/1.0\r\n\r\n"], "08P01", b"E"),
            (&[b"\0\0\0\x09\0\x03\0\0x"], "08P01", b"E"),
            (
                &[b"\0\0\0\x09\0\x02\0\0\0"],
                "0A000",
                b"EFATAL:  unsupported",
            ),
            (&[SSL, STARTUP], "08P01", b"E"),
            (&[GSS, STARTUP], "08P01", b"E"),
            (&[b"\x16\x03\x01\0\x05hello"], "08P01", b""),
        ];
        for (sent, expected, answer) in cases {
            let sent = sent.concat();
            let (outcome, answered) = outcome(&sent, None).await;
            assert_eq!(&outcome, expected, "{sent:?}");
            assert!(answered.starts_with(answer), "{sent:?}: {answered:?}");
            assert_eq!(
                answered.is_empty(),
                answer.is_empty(),
                "{sent:?}: {answered:?}"
            );
        }
    }

    /// Sends one packet after the other, each after the answer to the one before; gives all answers.
    async fn dialogue(packets: &[&[u8]]) -> (Result<Negotiated, StartupError>, Vec<u8>) {
        let (mut client, server) = pair().await;
        // The client's end is closed as soon as it has nothing more to say.
        let talk = async move {
            let mut answers = Vec::new();
            for packet in packets {
                client.write_all(packet).await.unwrap();
                let mut answer = [0; 1];
                if client.read_exact(&mut answer).await.is_ok() {
                    answers.extend_from_slice(&answer);
                }
            }
            answers
        };
        let serve = async { negotiate(server, None, Limits::default()).await };
        tokio::join!(serve, talk)
    }

    #[tokio::test]
    async fn each_encryption_can_be_asked_for_once() {
        for (packets, answers) in [
            (&[SSL, GSS, b"\0\0\0\0"], b"NNE"),
            (&[GSS, SSL, b"\0\0\0\0"], b"NNE"),
            (&[GSS, SSL, SSL], b"NNE"),
            (&[SSL, GSS, GSS], b"NNE"),
        ] {
            let (outcome, answered) = dialogue(packets).await;
            assert!(
                matches!(outcome, Err(StartupError::Refused(_))),
                "{packets:?}"
            );
            assert_eq!(answered, answers, "{packets:?}");
        }
    }

    #[tokio::test]
    async fn a_silent_client_is_given_up() {
        for sent in [&b""[..], b"\0\0\0\x13\0\x03"] {
            let (mut client, server) = pair().await;
            client.write_all(sent).await.unwrap();
            let limits = Limits {
                time: Duration::from_millis(50),
            };
            let outcome = negotiate(server, None, limits).await;
            assert!(
                matches!(outcome, Err(StartupError::TimedOut)),
                "{outcome:?}"
            );
        }
    }

    /// A client that shakes hands, offers these protocols by ALPN and sends a startup message.
    async fn over_tls(first: &[u8], alpn: &[&[u8]], packet: &[u8]) -> (String, Vec<u8>) {
        let certificates = testing::certificates("localhost");
        let tls = &certificates.server;
        let (mut client, server) = pair().await;
        let talk = async {
            client.write_all(first).await.unwrap();
            if !first.is_empty() {
                assert_eq!(client.read_u8().await.unwrap(), b'S');
            }
            let connector = tokio_rustls::TlsConnector::from(certificates.client(alpn));
            let name = ServerName::try_from("localhost").unwrap();
            let Ok(mut client) = connector.connect(name, client).await else {
                return b"no handshake".to_vec();
            };
            client.write_all(packet).await.unwrap();
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
            answer
        };
        let serve = async {
            match negotiate(server, Some(tls), Limits::default()).await {
                Ok(Negotiated::Startup(socket, startup)) => {
                    assert!(socket.is_tls() && socket.end_point().is_some());
                    format!("startup of {}", startup.user)
                }
                Ok(Negotiated::Cancel { process, .. }) => format!("cancel {process}"),
                Err(StartupError::Refused(refusal)) => refusal.sqlstate.0.to_owned(),
                Err(StartupError::Io(_)) => "io".to_owned(),
                Err(error) => format!("{error}"),
            }
        };
        tokio::join!(serve, talk)
    }

    #[tokio::test]
    async fn requests_over_tls() {
        /// What is sent before the handshake, ALPN, what is sent after it, the outcome, how the answer begins.
        type Case<'a> = (&'a [u8], &'a [&'a [u8]], &'a [u8], &'a str, &'a [u8]);
        let cases: &[Case<'_>] = &[
            (SSL, &[], STARTUP, "startup of anna", b""),
            (SSL, &[ALPN], STARTUP, "startup of anna", b""),
            (SSL, &[b"http/1.1"], STARTUP, "io", b"no handshake"),
            (SSL, &[], CANCEL, "cancel 7", b""),
            (SSL, &[], SSL, "0A000", b"E"),
            (SSL, &[], GSS, "0A000", b"E"),
            (b"", &[ALPN], STARTUP, "startup of anna", b""),
            (b"", &[], STARTUP, "08P01", b"E"),
            (b"", &[b"http/1.1"], STARTUP, "io", b"no handshake"),
        ];
        for (first, alpn, packet, expected, answer) in cases {
            let (outcome, answered) = over_tls(first, alpn, packet).await;
            assert_eq!(&outcome, expected, "{first:?} {alpn:?} {packet:?}");
            assert!(
                answered.starts_with(answer),
                "{first:?} {alpn:?}: {answered:?}"
            );
        }
    }

    #[tokio::test]
    async fn bytes_in_the_clear_before_the_handshake_are_refused() {
        let certificates = testing::certificates("localhost");
        let (outcome, answered) =
            outcome(&[SSL, STARTUP].concat(), Some(&certificates.server)).await;
        assert_eq!(outcome, "08P01");
        assert!(
            answered.starts_with(b"E"),
            "there must be no S: {answered:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn random_bytes_never_panic(
            sent in proptest::collection::vec(any::<u8>(), 0..300),
            start in 0..5_usize,
        ) {
            let starts: [&[u8]; 5] = [b"", SSL, b"\0\0\0\x20\0\x03\0\0", b"\x16\x03\x01", GSS];
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let certificates = testing::certificates("localhost");
            let sent = [starts[start], &sent].concat();
            let (outcome, _) = runtime.block_on(outcome(&sent, Some(&certificates.server)));
            prop_assert!(!outcome.is_empty());
        }
    }
}
