//! One POST over HTTP, for checkpoints and for notifications. Neither its errors nor its answer name the URL, which may
//! hold a token.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use url::Url;

/// How much of an answer is read, in bytes.
const LONGEST_ANSWER: u64 = 4 << 10;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, 100 to 599.
    pub status: u16,
    /// How long to wait before the next try (`Retry-After`, if it is in seconds; RFC 9110, 10.2.3).
    pub retry_after: Option<Duration>,
    /// The first 4 kB of the body.
    pub body: String,
}

impl Answer {
    /// Whether what was sent was taken. A redirect has not taken it, and is not followed: the URL is to be right.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Sends `json` to `url`, as who knows `token` if there is one; blocks for at most `patience`. These authorities are trusted,
/// or, without any, those that this system trusts; the environment may name a proxy, as usual.
///
/// # Errors
/// No answer came.
pub fn post(
    url: &Url,
    token: Option<&str>,
    json: &[u8],
    authorities: &[CertificateDer<'_>],
    patience: Duration,
) -> io::Result<Answer> {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(roots(authorities))
        .build();
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .timeout_global(Some(patience))
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls)
            .build(),
    );
    let mut request = agent
        .post(url.as_str())
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut response = request.send(json).map_err(without_url)?;
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    // The status has said it all; a body that does not come changes nothing.
    let mut body = Vec::new();
    let reader = response.body_mut().as_reader();
    let _ = io::Read::read_to_end(&mut io::Read::take(reader, LONGEST_ANSWER), &mut body);
    Ok(Answer {
        status: response.status().as_u16(),
        retry_after,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn without_url(error: ureq::Error) -> io::Error {
    match error {
        ureq::Error::Io(error) => error,
        ureq::Error::Timeout(_) => {
            io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time")
        }
        ureq::Error::HostNotFound => io::Error::other("its host is not known"),
        ureq::Error::Tls(what) => io::Error::other(what),
        _ => io::Error::other("it could not be reached"),
    }
}

/// These authorities, or those that this system trusts.
fn roots(authorities: &[CertificateDer<'_>]) -> RootCerts {
    let owned = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
    let trusted = match authorities {
        [] => {
            let found = rustls_native_certs::load_native_certs();
            found.certs.iter().map(owned).collect()
        }
        authorities => authorities.iter().map(owned).collect(),
    };
    RootCerts::Specific(Arc::new(trusted))
}
