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
