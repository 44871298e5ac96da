//! Who the client is: SASL with SCRAM-SHA-256, with channel binding where TLS allows it.

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout_at;

use super::backend;
use super::scram::{AwaitFirst, Failure};
use super::socket::Socket;
use super::startup::{ClientStream, Startup, StartupError, read_exact, refuse};
use super::verifier::{MockSecret, Verifier};
use crate::error::{Refusal, SqlState};

/// The longest SASL message, in bytes: `PG_MAX_SASL_MESSAGE_LENGTH` in Postgres.
const MAX_SASL_MESSAGE: usize = 1024;

const OK: u32 = 0;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Makes the client prove that it knows the user's password, until the startup's deadline.
///
/// Without a verifier (no such user, or one that may not log in) the exchange has the same shape and fails
/// with the same words. On success AuthenticationOk has been written and the caller goes on with
/// ParameterStatus; on failure the client has been told and the stream is of no more use.
pub async fn authenticate(
    stream: &mut ClientStream,
    startup: &Startup,
    verifier: Option<&Verifier>,
    secret: &MockSecret,
) -> Result<(), StartupError> {
    let state = AwaitFirst::new(&startup.user, verifier, secret, stream.end_point());
    let outcome = timeout_at(startup.deadline, exchange(stream, state, &startup.user)).await;
    let (refusal, error) = match outcome {
        Ok(Err(StartupError::Refused(refusal))) => {
            (refusal.clone(), StartupError::Refused(refusal))
        }
        Ok(other) => return other,
        Err(_) => (
            Refusal::fatal(
                SqlState::QUERY_CANCELED,
                "canceling authentication due to timeout",
            ),
            StartupError::TimedOut,
        ),
    };
    // Whether it still listens makes no difference to the outcome.
    let _ = refuse(stream, &refusal).await;
    Err(error)
}

async fn exchange(stream: &mut Socket, state: AwaitFirst, user: &str) -> Result<(), StartupError> {
    let mut offer = Vec::new();
    for mechanism in state.mechanisms() {
        offer.extend_from_slice(mechanism.as_bytes());
        offer.push(0);
    }
    offer.push(0);
    send(stream, &request(SASL, &offer)).await?;

    let choice = read_response(stream).await?;
    let (mechanism, first) = initial_response(&choice)?;
    let (server_first, state) = state.handle(mechanism, first)?;
    send(stream, &request(SASL_CONTINUE, server_first.as_bytes())).await?;

    let client_final = read_response(stream).await?;
    let server_final = state
        .handle(&client_final)
        .map_err(|failure| match failure {
            Failure::WrongPassword => Refusal::fatal(
                SqlState::INVALID_PASSWORD,
                format!("password authentication failed for user \"{user}\""),
            ),
            Failure::Refused(refusal) => refusal,
        })?;
    let mut last = request(SASL_FINAL, server_final.as_bytes());
    last.unsplit(request(OK, &[]));
    send(stream, &last).await
}

async fn send(stream: &mut Socket, bytes: &[u8]) -> Result<(), StartupError> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    Ok(())
}

fn request(kind: u32, data: &[u8]) -> BytesMut {
    let mut message = BytesMut::new();
    backend::authentication(&mut message, kind, data);
    message
}

/// Reads one `p` message, whole and no further.
async fn read_response(stream: &mut Socket) -> Result<Vec<u8>, StartupError> {
    let mut tag = [0];
    read_exact(stream, &mut tag).await?;
    if tag != *b"p" {
        let [tag] = tag;
        let message = format!("expected SASL response, got message type {tag}");
        return Err(violation(&message).into());
    }
    let mut length = [0; 4];
    read_exact(stream, &mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length))
        .ok()
        .and_then(|length| length.checked_sub(4))
        .filter(|length| *length <= MAX_SASL_MESSAGE)
        .ok_or_else(|| violation("invalid message length"))?;
    let mut body = vec![0; length];
    read_exact(stream, &mut body).await?;
    Ok(body)
}

/// SASLInitialResponse: the mechanism and the client's first message.
fn initial_response(body: &[u8]) -> Result<(&str, &[u8]), Refusal> {
    let invalid = || violation("malformed SASLInitialResponse message");
    let end = memchr::memchr(0, body).ok_or_else(invalid)?;
    let (mechanism, rest) = body.split_at_checked(end).ok_or_else(invalid)?;
    let mechanism = std::str::from_utf8(mechanism).map_err(|_| invalid())?;
    let rest = rest.get(1..).ok_or_else(invalid)?;
    let (length, data) = rest.split_first_chunk::<4>().ok_or_else(invalid)?;
    // SCRAM has an initial response always; -1, "none", fits no length and is refused with the others.
    if usize::try_from(i32::from_be_bytes(*length)) != Ok(data.len()) {
        return Err(invalid());
    }
    Ok((mechanism, data))
}

fn violation(message: &str) -> Refusal {
    Refusal::fatal(SqlState::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    use postgres_protocol::message::frontend::{sasl_initial_response, sasl_response};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;
    use crate::wire::startup::Protocol;

    async fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (client.unwrap(), Socket::Tcp(server.unwrap().0))
    }

    fn startup(time: Duration) -> Startup {
        Startup {
            user: "anna".to_owned(),
            database: "shop".to_owned(),
            parameters: Vec::new(),
            protocol: Protocol::V3_0,
            deadline: Instant::now() + time,
        }
    }

    /// Authenticates a client that says this and closes; gives the outcome and what the client was told.
    async fn outcome(says: &[u8]) -> (Result<(), StartupError>, Vec<u8>) {
        let (mut client, mut server) = pair().await;
        client.write_all(says).await.unwrap();
        client.shutdown().await.unwrap();
        let startup = startup(Duration::from_secs(5));
        let verifier = Verifier::from_password("secret", 16);
        let secret = MockSecret::random();
        let outcome = authenticate(&mut server, &startup, Some(&verifier), &secret).await;
        drop(server);
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        (outcome, told)
    }

    fn response(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [b"p", &length.to_be_bytes()[..], body].concat()
    }

    #[tokio::test]
    async fn what_is_no_sasl_is_refused_with_the_reason() {
        let too_long = [&b"p\0\0\x04\x05"[..], &[b'x'; 1025]].concat();
        let cases: &[(Vec<u8>, &str)] = &[
            (b"Q\0\0\0\x04".to_vec(), "message type 81"),
            (b"p\0\0\0\x03".to_vec(), "invalid message length"),
            (b"p\xff\xff\xff\xff".to_vec(), "invalid message length"),
            (too_long, "invalid message length"),
            (response(b""), "malformed SASLInitialResponse"),
            (response(b"SCRAM-SHA-256"), "malformed SASLInitialResponse"),
            (
                response(b"SCRAM-SHA-256\0"),
                "malformed SASLInitialResponse",
            ),
            (
                response(b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
                "malformed SASLInitialResponse",
            ),
            (
                response(b"SCRAM-SHA-256\0\0\0\0\x02abc"),
                "malformed SASLInitialResponse",
            ),
            (
                response(b"SCRAM-SHA-1\0\0\0\0\x03n,,"),
                "invalid SASL authentication mechanism",
            ),
            (
                response(b"SCRAM-SHA-256-PLUS\0\0\0\0\x03n,,"),
                "invalid SASL authentication mechanism",
            ),
            (
                response(b"SCRAM-SHA-256\0\0\0\0\x03n,,"),
                "malformed SCRAM message",
            ),
        ];
        for (says, expected) in cases {
            let (outcome, told) = outcome(says).await;
            assert!(matches!(outcome, Err(StartupError::Refused(_))), "{says:?}");
            let told = String::from_utf8_lossy(&told);
            assert!(told.contains(expected), "{says:?}: {told}");
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_no_error_to_be_told() {
        for says in [&b""[..], b"p", b"p\0\0\0\x20SCRAM"] {
            let (outcome, told) = outcome(says).await;
            assert!(matches!(outcome, Err(StartupError::Closed)), "{says:?}");
            assert_eq!(told, b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
        }
    }

    #[tokio::test]
    async fn a_client_that_hesitates_is_told_that_it_was_too_long() {
        let (mut client, mut server) = pair().await;
        let startup = startup(Duration::from_millis(50));
        let secret = MockSecret::random();
        let outcome = authenticate(&mut server, &startup, None, &secret).await;
        assert!(
            matches!(outcome, Err(StartupError::TimedOut)),
            "{outcome:?}"
        );
        drop(server);
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("C57014\0Mcanceling authentication"), "{told}");
    }

    #[tokio::test]
    async fn what_comes_behind_the_proof_stays_unread() {
        let (mut client, mut server) = pair().await;
        let startup = startup(Duration::from_secs(5));
        let verifier = Verifier::from_password("secret", 16);
        let secret = MockSecret::random();
        let serve = async {
            authenticate(&mut server, &startup, Some(&verifier), &secret)
                .await
                .unwrap();
            let mut rest = [0; 5];
            server.read_exact(&mut rest).await.unwrap();
            rest
        };
        let talk = async {
            let mut scram = ScramSha256::new(b"secret", ChannelBinding::unsupported());
            let mut buffer = BytesMut::new();
            sasl_initial_response("SCRAM-SHA-256", scram.message(), &mut buffer).unwrap();
            client.write_all(&buffer).await.unwrap();
            let mut heard = vec![0; 24];
            client.read_exact(&mut heard).await.unwrap();
            heard = Vec::with_capacity(1024);
            client.read_buf(&mut heard).await.unwrap();
            scram.update(&heard[9..]).unwrap();
            buffer.clear();
            sasl_response(scram.message(), &mut buffer).unwrap();
            buffer.extend_from_slice(b"Q1234");
            client.write_all(&buffer).await.unwrap();
        };
        let (rest, ()) = tokio::join!(serve, talk);
        assert_eq!(&rest, b"Q1234");
    }
}
