//! From the startup message to the first ReadyForQuery.
//!
//! The server must prove itself, too: SCRAM's last message is checked before AuthenticationOk counts, and no
//! password goes over an unencrypted network in the clear.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::backend::{
    AuthenticationSaslBody, ErrorResponseBody, Header, Message,
};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::address::{ChannelBinding, Password};
use super::connect::{ConnectError, Connection};
use crate::wire::socket::Socket;

/// The longest message that a server may send before it is ready, in bytes.
const MAX_MESSAGE: i32 = 64 * 1024;
/// The most ParameterStatus messages that are kept; Postgres 18 sends 15.
const MAX_PARAMETERS: usize = 1000;

/// Who logs in, and how.
pub(super) struct Login<'a> {
    pub user: &'a str,
    pub password: &'a Password,
    pub database: &'a str,
    pub application_name: Option<&'a str>,
    pub parameters: &'a [(&'a str, &'a str)],
    pub channel_binding: ChannelBinding,
}

/// Logs in over a stream on which nothing has been said yet, TLS apart.
pub(super) async fn run(stream: Socket, login: &Login<'_>) -> Result<Connection, ConnectError> {
    let mut server = Server {
        stream,
        buffer: BytesMut::with_capacity(4096),
    };
    let mut startup = vec![("user", login.user), ("database", login.database)];
    startup.extend_from_slice(login.parameters);
    let named = login
        .parameters
        .iter()
        .any(|(n, _)| *n == "application_name");
    if let (Some(name), false) = (login.application_name, named) {
        startup.push(("application_name", name));
    }
    server
        .send(|buffer| frontend::startup_message(startup, buffer))
        .await?;
    server.authenticate(login).await?;
    server.until_ready().await
}

struct Server {
    stream: Socket,
    buffer: BytesMut,
}

impl Server {
    async fn authenticate(&mut self, login: &Login<'_>) -> Result<(), ConnectError> {
        let request = self.next().await?;
        let scram = matches!(request, Message::AuthenticationSasl(_));
        if login.channel_binding == ChannelBinding::Require && !scram {
            return Err(ConnectError::ChannelBinding);
        }
        if matches!(request, Message::AuthenticationOk) {
            return Ok(());
        }
        if login.password.is_empty() && asks_password(&request) {
            return Err(ConnectError::NoPassword);
        }
        let password = login.password.reveal().as_bytes();
        match request {
            Message::AuthenticationCleartextPassword => {
                if !self.is_private() {
                    return Err(ConnectError::ClearTextPassword);
                }
                self.send(|buffer| frontend::password_message(password, buffer))
                    .await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(login.user.as_bytes(), password, body.salt());
                self.send(|buffer| frontend::password_message(hash.as_bytes(), buffer))
                    .await?;
            }
            Message::AuthenticationSasl(body) => {
                self.scram(&body, password, login.channel_binding).await?;
            }
            Message::AuthenticationGss | Message::AuthenticationKerberosV5 => {
                return Err(ConnectError::UnsupportedMethod("GSSAPI or Kerberos"));
            }
            Message::AuthenticationSspi => {
                return Err(ConnectError::UnsupportedMethod("SSPI"));
            }
            _ => return Err(ConnectError::Protocol("no authentication request")),
        }
        match self.next().await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(ConnectError::Protocol("no AuthenticationOk")),
        }
    }

    /// SCRAM up to the server's own proof, which is checked.
    async fn scram(
        &mut self,
        offer: &AuthenticationSaslBody,
        password: &[u8],
        wanted: ChannelBinding,
    ) -> Result<(), ConnectError> {
        let (mut plain, mut plus) = (false, false);
        let mut mechanisms = offer.mechanisms();
        while let Some(mechanism) = mechanisms.next()? {
            plain |= mechanism == SCRAM_SHA_256;
            plus |= mechanism == SCRAM_SHA_256_PLUS;
        }
        let end_point = match wanted {
            ChannelBinding::Disable => None,
            ChannelBinding::Prefer | ChannelBinding::Require => self.stream.end_point(),
        };
        let (mechanism, binding) = match end_point {
            Some(hash) if plus => (
                SCRAM_SHA_256_PLUS,
                sasl::ChannelBinding::tls_server_end_point(hash.to_vec()),
            ),
            _ if wanted == ChannelBinding::Require => return Err(ConnectError::ChannelBinding),
            // "I could, but you did not offer it": the server notices if somebody took its offer away.
            Some(_) if plain => (SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None if plain => (SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
            _ => {
                return Err(ConnectError::UnsupportedMethod(
                    "SASL without SCRAM-SHA-256",
                ));
            }
        };

        let mut scram = ScramSha256::new(password, binding);
        self.send(|buffer| frontend::sasl_initial_response(mechanism, scram.message(), buffer))
            .await?;
        let Message::AuthenticationSaslContinue(body) = self.next().await? else {
            return Err(ConnectError::Protocol("no SASL challenge"));
        };
        scram.update(body.data()).map_err(ConnectError::Scram)?;
        self.send(|buffer| frontend::sasl_response(scram.message(), buffer))
            .await?;
        let Message::AuthenticationSaslFinal(body) = self.next().await? else {
            return Err(ConnectError::Protocol("no proof from the server"));
        };
        scram.finish(body.data()).map_err(ConnectError::Scram)
    }

    async fn until_ready(mut self) -> Result<Connection, ConnectError> {
        let (mut process, mut secret, mut parameters) = (0, Vec::new(), Vec::new());
        loop {
            match self.next().await? {
                Message::ParameterStatus(body) if parameters.len() < MAX_PARAMETERS => {
                    parameters.push((body.name()?.to_owned(), body.value()?.to_owned()));
                }
                Message::BackendKeyData(body) => {
                    process = body.process_id();
                    secret = body.secret_key().to_be_bytes().to_vec();
                }
                Message::ReadyForQuery(_) => break,
                _ => {
                    return Err(ConnectError::Protocol(
                        "unexpected message before it was ready",
                    ));
                }
            }
        }
        let version = parameters.iter().find(|(name, _)| name == "server_version");
        Ok(Connection {
            server_version: version.map_or(0, |(_, version)| version_number(version)),
            stream: self.stream,
            process,
            secret,
            parameters,
            read_ahead: self.buffer,
        })
    }

    async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>,
    ) -> Result<(), ConnectError> {
        let mut message = BytesMut::new();
        write(&mut message)?;
        self.stream.write_all(&message).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// The next message that is no notice; an ErrorResponse becomes [`ConnectError::Refused`].
    async fn next(&mut self) -> Result<Message, ConnectError> {
        loop {
            if Header::parse(&self.buffer)?.is_some_and(|header| header.len() > MAX_MESSAGE) {
                return Err(ConnectError::Protocol("a message is too long"));
            }
            match Message::parse(&mut self.buffer)? {
                Some(Message::NoticeResponse(_)) => {}
                Some(Message::ErrorResponse(body)) => return Err(refused(&body)),
                Some(message) => return Ok(message),
                None => {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Err(ConnectError::Closed);
                    }
                }
            }
        }
    }

    /// Whether nobody between the two can read along: TLS, or one and the same machine.
    fn is_private(&self) -> bool {
        match &self.stream {
            Socket::Tls { .. } | Socket::Unix(_) => true,
            Socket::Tcp(tcp) => tcp.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()),
        }
    }
}

fn asks_password(request: &Message) -> bool {
    matches!(
        request,
        Message::AuthenticationCleartextPassword
            | Message::AuthenticationMd5Password(_)
            | Message::AuthenticationSasl(_)
    )
}

fn refused(body: &ErrorResponseBody) -> ConnectError {
    let (mut sqlstate, mut message) = (String::new(), String::new());
    let mut fields = body.fields();
    // Before the encodings are agreed upon the text may be in any of them.
    while let Ok(Some(field)) = fields.next() {
        let text = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => sqlstate = text(),
            b'M' => message = text(),
            _ => {}
        }
    }
    ConnectError::Refused { sqlstate, message }
}

/// `15.18 (Debian 15.18-1)` is 150018, `18beta1` is 180000.
fn version_number(version: &str) -> u32 {
    let mut parts = version
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()
        .unwrap_or_default()
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let major = parts.next().unwrap_or(0);
    let minor = parts.next().unwrap_or(0);
    major.saturating_mul(10_000).saturating_add(minor)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::wire::backend::authentication;
    use crate::wire::scram::{AwaitFirst, SCRAM_SHA_256};
    use crate::wire::verifier::{MockSecret, Verifier};

    #[test]
    fn versions() {
        assert_eq!(version_number("15.18 (Debian 15.18-0+deb12u1)"), 150_018);
        assert_eq!(version_number("18beta1"), 180_000);
        assert_eq!(version_number("14.0"), 140_000);
        assert_eq!(version_number(""), 0);
        assert_eq!(version_number("99999999999999"), 0);
    }

    fn authentication_message(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut message = BytesMut::new();
        authentication(&mut message, kind, data);
        message.to_vec()
    }

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (Socket::Tcp(client.unwrap()), server.unwrap().0)
    }

    /// Logs in with this password while the server says this, whatever it is told, and closes.
    async fn outcome(password: &str, channel_binding: ChannelBinding, says: &[&[u8]]) -> String {
        let (stream, mut server) = pair().await;
        server.write_all(&says.concat()).await.unwrap();
        server.shutdown().await.unwrap();
        log_in(stream, password, channel_binding).await
    }

    async fn log_in(stream: Socket, password: &str, channel_binding: ChannelBinding) -> String {
        let login = Login {
            user: "anna",
            password: &Password::new(password),
            database: "shop",
            application_name: None,
            parameters: &[],
            channel_binding,
        };
        let outcome = tokio::time::timeout(Duration::from_secs(5), run(stream, &login)).await;
        match outcome.expect("it hangs") {
            Ok(connection) => format!("ready after {}", connection.process),
            Err(error) => format!("{error:?}"),
        }
    }

    #[tokio::test]
    async fn what_a_server_may_say_and_what_not() {
        let kind = |kind| authentication_message(kind, &[]);
        let (ok, clear, kerberos, sspi) = (kind(0), kind(3), kind(2), kind(9));
        let md5 = authentication_message(5, b"salt");
        let scram = authentication_message(10, b"SCRAM-SHA-256\0\0");
        let unknown_sasl = authentication_message(10, b"OAUTHBEARER\0\0");
        let (key, ready) = (&b"K\0\0\0\x0c\0\0\0\x07abcd"[..], &b"Z\0\0\0\x05I"[..]);
        let notice = &b"N\0\0\0\x0cMhello\0\0"[..];
        let refused = &b"E\0\0\0\x16C53300\0Mtoo m\xffny\0\0"[..];
        let too_long = &b"S\x7f\xff\xff\xff"[..];
        let row = &b"D\0\0\0\x06\0\0"[..];
        let cases: &[(&str, &[&[u8]], &str)] = &[
            ("", &[&ok, key, ready], "ready after 7"),
            ("", &[notice, &ok, notice, ready], "ready after 0"),
            ("x", &[&clear, &ok, key, ready], "ready after 7"),
            ("x", &[&md5, &ok, key, ready], "ready after 7"),
            ("", &[&clear, &ok, ready], "NoPassword"),
            ("", &[&md5, &ok, ready], "NoPassword"),
            ("", &[&scram, &ok, ready], "NoPassword"),
            ("x", &[&kerberos], "UnsupportedMethod"),
            ("x", &[&sspi], "UnsupportedMethod"),
            ("x", &[&unknown_sasl], "UnsupportedMethod"),
            (
                "x",
                &[refused],
                "Refused { sqlstate: \"53300\", message: \"too m\u{fffd}ny\" }",
            ),
            ("x", &[&ok, refused], "Refused"),
            ("x", &[], "Closed"),
            ("x", &[&ok, key], "Closed"),
            ("x", &[&ok[..4]], "Closed"),
            ("x", &[&ok, too_long], "Protocol"),
            ("x", &[&ok, row, ready], "Protocol"),
            ("x", &[ready], "Protocol"),
            ("x", &[&md5, &md5], "Protocol"),
            ("x", &[b"S\0\0\0\0"], "Io"),
            // A server that asks for a proof must give its own.
            (
                "x",
                &[&scram, &ok, key, ready],
                "Protocol(\"no SASL challenge\")",
            ),
        ];
        for (password, says, expected) in cases {
            let outcome = outcome(password, ChannelBinding::Prefer, says).await;
            assert!(outcome.starts_with(expected), "{says:?}: {outcome}");
        }
        for says in [&ok, &md5, &clear, &scram] {
            let outcome = outcome("x", ChannelBinding::Require, &[says, ready]).await;
            assert_eq!(outcome, "ChannelBinding");
        }
    }

    /// A server that knows another password than the client's, or none, and pretends.
    async fn impostor(last: impl FnOnce(String) -> Vec<u8>) -> String {
        let (stream, mut server) = pair().await;
        let pretend = async {
            read_some(&mut server).await;
            let offer = authentication_message(10, b"SCRAM-SHA-256\0\0");
            server.write_all(&offer).await.unwrap();
            let first = read_some(&mut server).await;
            // Tag, length, mechanism, length; then the client-first-message.
            let first = &first[5 + SCRAM_SHA_256.len() + 1 + 4..];
            let verifier = Verifier::from_password("secret", 16);
            let secret = MockSecret::random();
            let (challenge, state) = AwaitFirst::new("anna", Some(&verifier), &secret, None)
                .handle(SCRAM_SHA_256, first)
                .unwrap();
            let challenge = authentication_message(11, challenge.as_bytes());
            server.write_all(&challenge).await.unwrap();
            let proof = read_some(&mut server).await;
            let server_final = state.handle(&proof[5..]).unwrap();
            server.write_all(&last(server_final)).await.unwrap();
            let _ = server.read(&mut [0]).await;
        };
        let client = log_in(stream, "secret", ChannelBinding::Prefer);
        let (outcome, ()) = tokio::join!(client, pretend);
        outcome
    }

    async fn read_some(server: &mut TcpStream) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let length = server.read(&mut bytes).await.unwrap();
        bytes.truncate(length);
        bytes
    }

    #[tokio::test]
    async fn the_server_must_prove_itself() {
        let ok = authentication_message(0, &[]);
        let ready = b"Z\0\0\0\x05I";
        let with = |server_final: &str| {
            let proof = authentication_message(12, server_final.as_bytes());
            [&proof, &ok, &ready[..]].concat()
        };
        let outcome = impostor(|proof| with(&proof)).await;
        assert_eq!(outcome, "ready after 0");
        let outcome = impostor(|_| with(&format!("v={}=", "A".repeat(43)))).await;
        assert!(outcome.starts_with("Scram"), "{outcome}");
        let outcome = impostor(|_| with("e=other-error")).await;
        assert!(outcome.starts_with("Scram"), "{outcome}");
        let outcome = impostor(|_| [&ok, &ready[..]].concat()).await;
        assert_eq!(outcome, "Protocol(\"no proof from the server\")");
    }
}
