//! A connection to an upstream: socket, TLS, and what `login` makes of it; and cancel requests.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use super::address::{Address, Host, Password, SslMode};
use super::login::{self, Login};
use super::tls::{self, TrustError};
use crate::wire::socket::Socket;
use crate::wire::tls::end_point_hash;

/// The stream to an upstream.
pub type UpstreamStream = Socket;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;

/// When a silent server is asked whether it is still there, and how often in vain before it counts as dead:
/// within a minute, since a sandbox on a dead connection helps nobody.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// An authenticated connection on which the server is ready for the first query.
pub struct Connection {
    /// The stream.
    pub stream: UpstreamStream,
    /// The backend's process id; 0 if the server gave none.
    pub process: i32,
    /// The backend's secret for [`cancel`]; empty if the server gave none.
    pub secret: Vec<u8>,
    /// What the server said of itself by ParameterStatus, in its order.
    pub parameters: Vec<(String, String)>,
    /// The server's version as `server_version_num` has it: 150018 for 15.18; 0 if the server did not say.
    pub server_version: u32,
    /// What the server sent after its first ReadyForQuery; empty as a rule.
    pub read_ahead: BytesMut,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("process", &self.process)
            .field("server_version", &self.server_version)
            .finish_non_exhaustive()
    }
}

/// Why there is no connection. No variant holds a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server cannot be reached.
    #[error("cannot connect to the server")]
    Unreachable(#[source] io::Error),
    /// The connection broke before the server was ready.
    #[error("the connection broke before the server was ready")]
    Io(#[from] io::Error),
    /// The server closed the connection and said nothing.
    #[error("the server closed the connection before it was ready")]
    Closed,
    /// The time was over.
    #[error("the server was not ready in time")]
    TimedOut,
    /// `sslmode` asks for TLS and the server has none.
    #[error("the server does not offer TLS, and sslmode does not allow to go without")]
    TlsRefused,
    /// The handshake failed, or the certificate is not trusted.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// TLS needs a host name or an IP address.
    #[error("the host's name cannot be used for TLS")]
    HostName,
    /// The trusted certificates cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The server asks for a password and there is none.
    #[error("the server asks for a password, and none is configured")]
    NoPassword,
    /// The server asks for the password itself, and everybody in between would read it.
    #[error(
        "the server asks for the password in clear text over an unencrypted network; use sslmode=require, or SCRAM on the server"
    )]
    ClearTextPassword,
    /// The server asks for a proof that the proxy cannot give.
    #[error("the server asks for an authentication method that is not supported: {0}")]
    UnsupportedMethod(&'static str),
    /// `channel_binding=require`, and the server did not do it.
    #[error("channel binding is required, and the server authenticates without it")]
    ChannelBinding,
    /// The exchange of proofs failed; above all, the server could not prove that it knows the password.
    #[error("the SCRAM exchange with the server failed")]
    Scram(#[source] io::Error),
    /// The server said no, or cannot now.
    #[error("the server refused the connection: {message} ({sqlstate})")]
    Refused {
        /// Its code.
        sqlstate: String,
        /// Its words.
        message: String,
    },
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The driver of the administrator's connections failed.
    #[error("the administrator's connection failed")]
    Driver(#[source] tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refused) => Self::Refused {
                sqlstate: refused.code().code().to_owned(),
                message: refused.message().to_owned(),
            },
            None => Self::Driver(error),
        }
    }
}

/// Connects to the address' server and database as `user`, with `parameters` in the startup message (the
/// address' `application_name` is added unless they have one). `timeout` is for the whole.
pub async fn connect(
    address: &Address,
    user: &str,
    password: &Password,
    parameters: &[(&str, &str)],
    timeout: Duration,
) -> Result<Connection, ConnectError> {
    let login = Login {
        user,
        password,
        database: &address.database,
        application_name: address.application_name.as_deref(),
        parameters,
        channel_binding: address.channel_binding,
    };
    let connecting = async { login::run(open(address).await?, &login).await };
    tokio::time::timeout(timeout, connecting)
        .await
        .map_err(|_| ConnectError::TimedOut)?
}

/// Asks the server to cancel what the backend is doing, over a connection of its own with the address' TLS,
/// and waits until the server has closed it: the signal has been sent then, though the statement may run on
/// for a moment. `timeout` is for the whole; an empty `secret` is an error.
pub async fn cancel(
    address: &Address,
    process: i32,
    secret: &[u8],
    timeout: Duration,
) -> io::Result<()> {
    let length = u32::try_from(12 + secret.len()).map_err(io::Error::other)?;
    if secret.is_empty() {
        let message = "the backend gave no key to cancel it with";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let mut request = BytesMut::new();
    request.put_u32(length);
    request.put_u32(CANCEL_REQUEST);
    request.put_i32(process);
    request.put_slice(secret);
    let deadline = tokio::time::Instant::now() + timeout;
    let asking = async {
        let mut stream = open(address).await.map_err(io::Error::other)?;
        stream.write_all(&request).await?;
        stream.flush().await?;
        match stream.read(&mut [0]).await {
            // Whether it says goodbye properly (TLS) or just drops us: it has read the request.
            Err(error) if is_hangup(&error) => Ok(()),
            other => other.map(|_| ()),
        }
    };
    timeout_at(deadline, asking).await?
}

fn is_hangup(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | UnexpectedEof)
}

/// Opens the stream alone: TCP with TLS as the address says, or a Unix-domain socket, where libpq has no TLS either.
pub async fn open(address: &Address) -> Result<Socket, ConnectError> {
    let host = match &address.host {
        Host::Tcp(host) => host.as_str(),
        Host::Unix(directory) => {
            let path = directory.join(format!(".s.PGSQL.{}", address.port));
            let connected = UnixStream::connect(path).await;
            return connected
                .map(Socket::Unix)
                .map_err(ConnectError::Unreachable);
        }
    };
    let config = tls::load(address).await?;
    let mut tcp = TcpStream::connect((host, address.port))
        .await
        .map_err(ConnectError::Unreachable)?;
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;

    let Some(config) = config else {
        return Ok(Socket::Tcp(tcp));
    };
    let mut request = BytesMut::new();
    request.put_u32(8);
    request.put_u32(SSL_REQUEST);
    tcp.write_all(&request).await?;
    // One byte and no more: what somebody in between may have put behind it becomes part of the handshake,
    // which then fails (CVE-2021-23222).
    match tcp.read_u8().await {
        Ok(b'S') => {}
        Ok(b'N') if address.ssl_mode == SslMode::Prefer => return Ok(Socket::Tcp(tcp)),
        Ok(b'N') => return Err(ConnectError::TlsRefused),
        // Possibly an ErrorResponse, but not one to be repeated: nobody knows yet who wrote it.
        Ok(_) => return Err(ConnectError::Protocol("no answer to SSLRequest")),
        Err(error) if is_hangup(&error) => return Err(ConnectError::Closed),
        Err(error) => return Err(error.into()),
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::HostName)?;
    let stream = TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(ConnectError::Handshake)?;
    let certificates = stream.get_ref().1.peer_certificates();
    let end_point = certificates
        .and_then(|chain| end_point_hash(chain.first()?))
        .map(Into::into);
    Ok(Socket::Tls {
        stream: Box::new(stream.into()),
        end_point,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::wire::authenticate::authenticate;
    use crate::wire::startup::{Limits, Negotiated, negotiate};
    use crate::wire::tls::{ServerTls, testing};
    use crate::wire::verifier::{MockSecret, Verifier};

    const SOON: Duration = Duration::from_secs(5);

    /// A server with SCRAM, made of the proxy's own other side: `anna` may come in with `secret`. Gives its
    /// port; it takes one client.
    async fn server(tls: Option<ServerTls>) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let negotiated = negotiate(tcp, tls.as_ref(), Limits::default()).await;
            let Ok(Negotiated::Startup(mut stream, startup)) = negotiated else {
                return;
            };
            let verifier = Verifier::from_password("secret", 16);
            let verifier = (startup.user == "anna").then_some(&verifier);
            let secret = MockSecret::random();
            if authenticate(&mut stream, &startup, verifier, &secret)
                .await
                .is_err()
            {
                return;
            }
            let mut rest = b"S\0\0\0\x19server_version\x0015.18\0".to_vec();
            rest.extend_from_slice(b"K\0\0\0\x0c\0\0\0\x07abcdZ\0\0\0\x05Iahead");
            stream.write_all(&rest).await.unwrap();
            stream.flush().await.unwrap();
            let _ = stream.read(&mut [0]).await;
        });
        (port, task)
    }

    async fn try_connect(url: &str) -> Result<Connection, ConnectError> {
        let address: Address = url.parse().unwrap();
        let (user, password) = (&address.user, &address.password);
        connect(
            &address,
            user,
            password,
            &[("client_encoding", "UTF8")],
            SOON,
        )
        .await
    }

    #[tokio::test]
    async fn a_connection_in_the_clear() {
        let (port, _) = server(None).await;
        let url = format!("postgres://anna:secret@127.0.0.1:{port}/shop");
        let mut connection = try_connect(&url).await.unwrap();
        assert!(!connection.stream.is_tls());
        assert_eq!(
            (connection.process, connection.secret.as_slice()),
            (7, &b"abcd"[..])
        );
        assert_eq!(connection.server_version, 150_018);
        let mut ahead = connection.read_ahead.to_vec();
        while ahead.len() < 5 {
            connection.stream.read_buf(&mut ahead).await.unwrap();
        }
        assert_eq!(ahead, b"ahead", "nothing is lost behind ReadyForQuery");
        let stated = [("server_version".to_owned(), "15.18".to_owned())];
        assert_eq!(connection.parameters, stated);
    }

    #[tokio::test]
    async fn a_wrong_password_and_an_unknown_user_look_alike() {
        for user in ["anna", "ben"] {
            let (port, _) = server(None).await;
            let url = format!("postgres://{user}:wrong@127.0.0.1:{port}/shop");
            match try_connect(&url).await.unwrap_err() {
                ConnectError::Refused { sqlstate, message } => {
                    assert_eq!(sqlstate, "28P01");
                    let expected = format!("password authentication failed for user \"{user}\"");
                    assert_eq!(message, expected);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn each_ssl_mode_trusts_whom_it_says() {
        let ours = testing::certificates("localhost");
        let theirs = testing::certificates("localhost");
        let file = |pem: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(pem.as_bytes()).unwrap();
            file
        };
        let (good, bad) = (file(&ours.authority_pem), file(&theirs.authority_pem));
        let good = format!("sslrootcert={}", good.path().display());
        let bad = format!("sslrootcert={}", bad.path().display());
        for (host, settings, expected) in [
            ("127.0.0.1", "sslmode=disable".to_owned(), "clear"),
            ("127.0.0.1", "sslmode=prefer".to_owned(), "tls"),
            ("127.0.0.1", format!("sslmode=prefer&{bad}"), "tls"),
            ("127.0.0.1", "sslmode=require".to_owned(), "tls"),
            (
                "127.0.0.1",
                "sslmode=require&channel_binding=require".to_owned(),
                "tls",
            ),
            (
                "127.0.0.1",
                "sslmode=require&channel_binding=disable".to_owned(),
                "tls",
            ),
            (
                "127.0.0.1",
                "sslmode=disable&channel_binding=require".to_owned(),
                "ChannelBinding",
            ),
            ("127.0.0.1", format!("sslmode=require&{good}"), "tls"),
            ("127.0.0.1", format!("sslmode=require&{bad}"), "Handshake"),
            ("127.0.0.1", format!("sslmode=verify-ca&{good}"), "tls"),
            ("127.0.0.1", format!("sslmode=verify-ca&{bad}"), "Handshake"),
            (
                "127.0.0.1",
                format!("sslmode=verify-full&{good}"),
                "Handshake",
            ),
            ("localhost", format!("sslmode=verify-full&{good}"), "tls"),
            (
                "localhost",
                format!("sslmode=verify-full&{bad}"),
                "Handshake",
            ),
            (
                "localhost",
                "sslmode=verify-full&sslrootcert=/no/such.pem".to_owned(),
                "Trust",
            ),
        ] {
            let (port, _) = server(Some(ours.server.clone())).await;
            let url = format!("postgres://anna:secret@{host}:{port}/shop?{settings}");
            let outcome = match try_connect(&url).await {
                Ok(connection) if connection.stream.is_tls() => "tls".to_owned(),
                Ok(_) => "clear".to_owned(),
                Err(error) => format!("{error:?}"),
            };
            assert!(outcome.starts_with(expected), "{url}: {outcome}");
        }
    }

    #[tokio::test]
    async fn without_tls_only_prefer_goes_on() {
        let mut root = tempfile::NamedTempFile::new().unwrap();
        let authority = testing::certificates("localhost").authority_pem;
        root.write_all(authority.as_bytes()).unwrap();
        for (mode, expected) in [
            ("prefer", "Connection"),
            ("require", "TlsRefused"),
            ("verify-ca", "TlsRefused"),
            ("verify-full", "TlsRefused"),
        ] {
            let (port, _) = server(None).await;
            let root = root.path().display();
            let url = format!(
                "postgres://anna:secret@127.0.0.1:{port}/shop?sslmode={mode}&sslrootcert={root}"
            );
            let outcome = match try_connect(&url).await {
                Ok(connection) => format!("{connection:?}"),
                Err(error) => format!("{error:?}"),
            };
            assert!(outcome.starts_with(expected), "{mode}: {outcome}");
        }
    }

    /// Answers the first bytes with these, and then takes what comes until the client hangs up.
    async fn answering(answer: &'static [u8]) -> (u16, JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut taken = vec![0; 8];
            tcp.read_exact(&mut taken).await.unwrap();
            tcp.write_all(answer).await.unwrap();
            let _ = tcp.read_to_end(&mut taken).await;
            taken
        });
        (port, task)
    }

    #[tokio::test]
    async fn what_is_stuffed_behind_the_answer_to_sslrequest_is_never_believed() {
        let ready = b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
        let error = b"E\0\0\0\x10C08P01\0Mno\0\0";
        for (answer, expected) in [(&ready[..], "Handshake"), (error, "Protocol")] {
            let (port, task) = answering(answer).await;
            let url = format!("postgres://anna:secret@127.0.0.1:{port}/shop");
            let outcome = format!("{:?}", try_connect(&url).await.unwrap_err());
            assert!(outcome.starts_with(expected), "{outcome}");
            let taken = task.await.unwrap();
            assert!(!taken.windows(4).any(|bytes| bytes == b"anna"));
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_given_up() {
        let (port, _task) = answering(b"").await;
        let address: Address = format!("postgres://anna@127.0.0.1:{port}/shop")
            .parse()
            .unwrap();
        let time = Duration::from_millis(50);
        let outcome = connect(&address, "anna", &address.password, &[], time).await;
        assert!(
            matches!(outcome, Err(ConnectError::TimedOut)),
            "{outcome:?}"
        );
        let (port, _task) = answering(b"N").await;
        let address = Address { port, ..address };
        let outcome = cancel(&address, 1, b"abcd", time).await.unwrap_err();
        assert_eq!(outcome.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_cancel_request_arrives_whole_and_waits_for_the_end() {
        let certificates = testing::certificates("localhost");
        for tls in [None, Some(certificates.server)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let url = format!("postgres://anna@127.0.0.1:{port}/shop");
            let address: Address = url.parse().unwrap();
            let secret = [9; 32];
            let asking = async {
                cancel(&address, -7, &secret, SOON).await.unwrap();
                tokio::time::Instant::now()
            };
            let serving = async {
                let (tcp, _) = listener.accept().await.unwrap();
                let asked = negotiate(tcp, tls.as_ref(), Limits::default())
                    .await
                    .unwrap();
                let Negotiated::Cancel {
                    stream,
                    process,
                    secret,
                } = asked
                else {
                    panic!("{asked:?}");
                };
                assert_eq!((process, secret), (-7, vec![9; 32]));
                assert_eq!(stream.is_tls(), tls.is_some());
                tokio::time::sleep(Duration::from_millis(50)).await;
                tokio::time::Instant::now()
            };
            let (done, closed) = tokio::join!(asking, serving);
            assert!(
                done >= closed,
                "cancel returned before the server was through"
            );
        }
        let address: Address = "postgres://anna@127.0.0.1:1/shop".parse().unwrap();
        let outcome = cancel(&address, 1, &[], SOON).await.unwrap_err();
        assert_eq!(outcome.kind(), io::ErrorKind::Unsupported);
    }
}
