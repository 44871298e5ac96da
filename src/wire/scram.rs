//! SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677), with the messages that Postgres accepts and the
//! errors that it answers.
//!
//! One struct per state: [`AwaitFirst`] → [`AwaitFinal`] → the server's last message. The client's side
//! (towards upstreams) is `postgres_protocol`'s.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::verifier::{Key, MockSecret, Verifier, hmac};
use crate::error::{Refusal, SqlState};

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Random bytes in the server's part of the nonce, as in Postgres.
const NONCE_BYTES: usize = 18;

/// How the exchange failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The proof does not fit the verifier, or there is no such user: the two cannot be told apart.
    WrongPassword,
    /// The client broke the protocol, or somebody between tampered with it.
    Refused(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The mechanisms have been offered; the client's choice and first message are awaited.
#[derive(Debug)]
pub struct AwaitFirst {
    verifier: Verifier,
    known: Choice,
    end_point: Option<Vec<u8>>,
}

impl AwaitFirst {
    /// Begins an exchange. Without a verifier (no such user) it runs in the same shape and always fails.
    /// `end_point` is the TLS channel's binding; None where PLUS cannot be offered.
    pub fn new(
        user: &str,
        verifier: Option<&Verifier>,
        secret: &MockSecret,
        end_point: Option<&[u8]>,
    ) -> Self {
        Self {
            known: Choice::from(u8::from(verifier.is_some())),
            verifier: verifier.cloned().unwrap_or_else(|| secret.verifier(user)),
            end_point: end_point.map(<[u8]>::to_vec),
        }
    }

    /// The mechanisms to offer, the preferred one first.
    pub fn mechanisms(&self) -> &'static [&'static str] {
        if self.end_point.is_some() {
            &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256]
        } else {
            &[SCRAM_SHA_256]
        }
    }

    /// Takes the client's choice of mechanism and its client-first-message; gives the server-first-message.
    pub fn handle(self, mechanism: &str, message: &[u8]) -> Result<(String, AwaitFinal), Refusal> {
        let mut random = [0; NONCE_BYTES];
        rand::fill(&mut random);
        self.handle_with_nonce(mechanism, message, &BASE64.encode(random))
    }

    fn handle_with_nonce(
        self,
        mechanism: &str,
        message: &[u8],
        server_nonce: &str,
    ) -> Result<(String, AwaitFinal), Refusal> {
        if !self.mechanisms().contains(&mechanism) {
            return Err(protocol_violation(
                "client selected an invalid SASL authentication mechanism",
            ));
        }
        let plus = mechanism == SCRAM_SHA_256_PLUS;
        let message = std::str::from_utf8(message)
            .map_err(|_| malformed("The message is not valid UTF-8."))?;
        let first = ClientFirst::parse(message)?;
        let mut binding = first.gs2_header.as_bytes().to_vec();
        match (first.flag, &self.end_point) {
            (Flag::NotSupported | Flag::NotOffered, _) if plus => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
                ));
            }
            (Flag::Used, _) if !plus => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
                ));
            }
            // Somebody between the two took PLUS off the list.
            (Flag::NotOffered, Some(_)) => {
                let message = "SCRAM channel binding negotiation error";
                return Err(Refusal::fatal(SqlState::INVALID_AUTHORIZATION, message).detail(
                    "The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.",
                ));
            }
            (Flag::Used, Some(end_point)) => binding.extend_from_slice(end_point),
            (Flag::NotSupported | Flag::NotOffered | Flag::Used, _) => {}
        }

        let nonce = format!("{}{server_nonce}", first.nonce);
        let server_first = format!(
            "r={nonce},s={},i={}",
            BASE64.encode(&self.verifier.salt),
            self.verifier.iterations
        );
        let next = AwaitFinal {
            verifier: self.verifier,
            known: self.known,
            plus,
            binding: BASE64.encode(binding),
            nonce,
            transcript: format!("{},{server_first}", first.bare),
        };
        Ok((server_first, next))
    }
}

/// The salt has been sent; the client's proof is awaited.
pub struct AwaitFinal {
    verifier: Verifier,
    known: Choice,
    plus: bool,
    /// What `c=` must be, in base64.
    binding: String,
    nonce: String,
    /// The authentication message so far: client-first-message-bare, server-first-message.
    transcript: String,
}

impl fmt::Debug for AwaitFinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitFinal").finish_non_exhaustive()
    }
}

impl AwaitFinal {
    /// Takes the client-final-message; gives the server-final-message, which proves to the client that
    /// this server knows its verifier. Only then is the client authenticated.
    pub fn handle(self, message: &[u8]) -> Result<String, Failure> {
        let message = std::str::from_utf8(message)
            .map_err(|_| malformed("The message is not valid UTF-8."))?;
        let (without_proof, proof) = message
            .rsplit_once(",p=")
            .ok_or_else(|| malformed("The client-final-message has no proof."))?;
        let proof: Key = BASE64
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or_else(|| malformed("Malformed proof in client-final-message."))?;
        // Extensions may stand between the nonce and the proof; none is known, and all are ignored.
        let mut attributes = without_proof.split(',');
        let binding = attribute(attributes.next(), 'c')?;
        let nonce = attribute(attributes.next(), 'r')?;
        if binding != self.binding {
            return Err(Failure::Refused(if self.plus {
                let message = "SCRAM channel binding check failed";
                Refusal::fatal(SqlState::INVALID_AUTHORIZATION, message)
            } else {
                protocol_violation(
                    "unexpected SCRAM channel-binding attribute in client-final-message",
                )
            }));
        }
        if nonce != self.nonce {
            return Err(Failure::Refused(
                protocol_violation("invalid SCRAM response").detail("Nonce does not match."),
            ));
        }

        let transcript = format!("{},{without_proof}", self.transcript);
        let signature = hmac(&self.verifier.stored_key, &[transcript.as_bytes()]);
        let mut client_key = proof;
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let stored_key: Key = Sha256::digest(client_key).into();
        // One branch, taken after both questions have been answered, for every kind of failure.
        let proven = stored_key.ct_eq(&self.verifier.stored_key) & self.known;
        if !bool::from(proven) {
            return Err(Failure::WrongPassword);
        }
        let signature = hmac(&self.verifier.server_key, &[transcript.as_bytes()]);
        Ok(format!("v={}", BASE64.encode(signature)))
    }
}

/// The client's word on channel binding (`gs2-cbind-flag`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    /// `n`: the client cannot do it.
    NotSupported,
    /// `y`: the client can, and believes that the server cannot.
    NotOffered,
    /// `p=tls-server-end-point`.
    Used,
}

struct ClientFirst<'a> {
    flag: Flag,
    gs2_header: &'a str,
    bare: &'a str,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a str) -> Result<Self, Refusal> {
        let incomplete = || malformed("The client-first-message is incomplete.");
        let (flag, rest) = message.split_once(',').ok_or_else(incomplete)?;
        let flag = match flag {
            "n" => Flag::NotSupported,
            "y" => Flag::NotOffered,
            "p=tls-server-end-point" => Flag::Used,
            _ if flag.starts_with("p=") => {
                return Err(protocol_violation("unsupported SCRAM channel-binding type"));
            }
            _ => return Err(malformed("Unexpected channel-binding flag.")),
        };
        let (identity, bare) = rest.split_once(',').ok_or_else(incomplete)?;
        if !identity.is_empty() {
            return Err(unsupported(
                "client uses authorization identity, but it is not supported",
            ));
        }
        if bare.starts_with("m=") {
            return Err(unsupported(
                "client requires an unsupported SCRAM extension",
            ));
        }
        let mut attributes = bare.split(',');
        // The user's name stands in the startup message; this one is ignored, as Postgres does.
        attribute(attributes.next(), 'n')?;
        let nonce = attribute(attributes.next(), 'r')?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(protocol_violation(
                "non-printable characters in SCRAM nonce",
            ));
        }
        Ok(Self {
            flag,
            gs2_header: message.strip_suffix(bare).ok_or_else(incomplete)?,
            bare,
            nonce,
        })
    }
}

fn attribute(part: Option<&str>, name: char) -> Result<&str, Refusal> {
    part.and_then(|part| part.strip_prefix(name)?.strip_prefix('='))
        .ok_or_else(|| malformed(&format!("Attribute \"{name}\" is missing.")))
}

fn malformed(detail: &str) -> Refusal {
    protocol_violation("malformed SCRAM message").detail(detail)
}

fn protocol_violation(message: &str) -> Refusal {
    Refusal::fatal(SqlState::PROTOCOL_VIOLATION, message)
}

fn unsupported(message: &str) -> Refusal {
    Refusal::fatal(SqlState::FEATURE_NOT_SUPPORTED, message)
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    use super::*;
    use crate::wire::verifier::DEFAULT_ITERATIONS;

    const END_POINT: &[u8] = b"hash of a certificate";

    fn state(verifier: Option<&Verifier>, end_point: Option<&[u8]>) -> AwaitFirst {
        AwaitFirst::new("user", verifier, &MockSecret::of([7; 32]), end_point)
    }

    /// The exchange of RFC 7677, section 3.
    fn rfc_7677() -> AwaitFinal {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::with_salt("pencil", 4096, &salt);
        let (server_first, next) = state(Some(&verifier), None)
            .handle_with_nonce(
                SCRAM_SHA_256,
                b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            )
            .unwrap();
        assert_eq!(
            server_first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        next
    }

    #[test]
    fn the_exchange_of_rfc_7677() {
        let answer = rfc_7677().handle(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        );
        let expected = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(answer, Ok(expected.to_owned()));
    }

    #[test]
    fn a_proof_that_is_off_by_one_bit_is_a_wrong_password() {
        let answer = rfc_7677().handle(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVU=",
        );
        assert_eq!(answer, Err(Failure::WrongPassword));
    }

    /// Runs a whole exchange with the client that `tokio_postgres` uses.
    fn exchange(
        state: AwaitFirst,
        mechanism: &str,
        password: &str,
        binding: ChannelBinding,
    ) -> Result<(), Failure> {
        let mut client = ScramSha256::new(password.as_bytes(), binding);
        let (server_first, state) = state.handle(mechanism, client.message())?;
        client.update(server_first.as_bytes()).unwrap();
        let server_final = state.handle(client.message())?;
        client.finish(server_final.as_bytes()).unwrap();
        Ok(())
    }

    #[test]
    fn a_real_client_gets_in_with_the_right_password_only() {
        for password in ["secret", "", "pass,word=", "p\u{ad}ass\u{a0}é", "\u{7}bell"] {
            let verifier = Verifier::from_password(password, 16);
            let run = |verifier, guess| {
                let binding = ChannelBinding::unsupported();
                exchange(state(verifier, None), SCRAM_SHA_256, guess, binding)
            };
            assert_eq!(run(Some(&verifier), password), Ok(()), "{password:?}");
            let wrong = Err(Failure::WrongPassword);
            assert_eq!(run(Some(&verifier), "other"), wrong, "{password:?}");
            assert_eq!(run(None, password), wrong, "{password:?}");
        }
    }

    #[test]
    fn channel_binding() {
        let verifier = Verifier::from_password("secret", 16);
        let run = |mechanism, end_point, binding| {
            let state = state(Some(&verifier), end_point);
            match exchange(state, mechanism, "secret", binding) {
                Ok(()) => "in".to_owned(),
                Err(Failure::WrongPassword) => "wrong password".to_owned(),
                Err(Failure::Refused(refusal)) => {
                    format!("{} {}", refusal.sqlstate.0, refusal.message)
                }
            }
        };
        let (plain, plus) = (SCRAM_SHA_256, SCRAM_SHA_256_PLUS);
        let bound = |hash: &[u8]| ChannelBinding::tls_server_end_point(hash.to_vec());
        let tls = Some(END_POINT);

        assert_eq!(run(plus, tls, bound(END_POINT)), "in");
        assert_eq!(run(plain, tls, ChannelBinding::unsupported()), "in");
        assert_eq!(run(plain, None, ChannelBinding::unrequested()), "in");
        assert_eq!(
            run(plus, tls, bound(b"of another certificate")),
            "28000 SCRAM channel binding check failed"
        );
        assert_eq!(
            run(plain, tls, ChannelBinding::unrequested()),
            "28000 SCRAM channel binding negotiation error",
            "somebody took PLUS off the list"
        );
        let malformed = "08P01 malformed SCRAM message";
        assert_eq!(run(plain, tls, bound(END_POINT)), malformed);
        assert_eq!(run(plus, tls, ChannelBinding::unsupported()), malformed);
        assert_eq!(
            run(plus, None, bound(END_POINT)),
            "08P01 client selected an invalid SASL authentication mechanism"
        );
    }

    #[test]
    fn an_unknown_user_looks_like_a_known_one() {
        let first = |user: &str| {
            let state = AwaitFirst::new(user, None, &MockSecret::of([7; 32]), None);
            let (answer, _) = state
                .handle_with_nonce(SCRAM_SHA_256, b"n,,n=,r=abc", "def")
                .unwrap();
            answer
        };
        let known = Verifier::from_password("secret", DEFAULT_ITERATIONS);
        let (real, _) = state(Some(&known), None)
            .handle_with_nonce(SCRAM_SHA_256, b"n,,n=,r=abc", "def")
            .unwrap();
        assert_eq!(first("anna").len(), real.len());
        assert_eq!(first("anna"), first("anna"), "the salt must not change");
        assert_ne!(first("anna"), first("ben"), "the salt is the user's own");
    }

    #[test]
    fn hostile_first_messages() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "08P01"),
            (b"n", "08P01"),
            (b"n,", "08P01"),
            (b"n,,", "08P01"),
            (b"n,,n=x", "08P01"),
            (b"n,,n=x,r=", "08P01"),
            (b"n,,n=x,r=a\x01b", "08P01"),
            (b"n,,r=abc,n=x", "08P01"),
            (b"x,,n=,r=abc", "08P01"),
            (b"p=tls-unique,,n=,r=abc", "08P01"),
            (b"\xff,,n=,r=abc", "08P01"),
            (b"n,a=admin,n=,r=abc", "0A000"),
            (b"n,,m=ext,n=,r=abc", "0A000"),
        ];
        for (message, sqlstate) in cases {
            let refusal = state(None, None)
                .handle(SCRAM_SHA_256, message)
                .unwrap_err();
            assert_eq!(refusal.sqlstate.0, *sqlstate, "{message:?}");
        }
    }

    #[test]
    fn hostile_final_messages() {
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let cases = [
            String::new(),
            ",p=".to_owned(),
            format!("c=biws,r={nonce}"),
            format!("c=biws,r={nonce},p=AAAA"),
            format!("c=biws,r={nonce},p={proof},x=1"),
            format!("c=eSws,r={nonce},p={proof}"),
            format!("c=biws,r={nonce}x,p={proof}"),
            format!("c=biws,r=,p={proof}"),
            format!("r={nonce},c=biws,p={proof}"),
        ];
        for message in cases {
            match rfc_7677().handle(message.as_bytes()) {
                Err(Failure::Refused(refusal)) => {
                    assert_eq!(refusal.sqlstate, SqlState::PROTOCOL_VIOLATION, "{message}");
                }
                other => panic!("{message}: {other:?}"),
            }
        }
    }
}
