//! Brings one message to one place, once.

use std::io;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};
use url::Url;

use super::alert::clean;
use super::message;
use super::outbox::Message;
use super::settings::{Mail, NotifySettings, Security, Way};
use crate::audit::post::post;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// Without a URL, a password or a token.
    pub reason: String,
    /// The same message will never be taken.
    pub lasting: bool,
    /// When the other side wants to be asked again.
    pub after: Option<Duration>,
}

/// Brings `message` there; blocks, for about as long as `patience`. Returns what came back.
///
/// # Errors
/// It was not taken, or nobody knows whether it was.
pub fn deliver(
    settings: &NotifySettings,
    message: &Message,
    patience: Duration,
) -> Result<String, Failure> {
    let said = match &settings.way {
        Way::Webhook { url, token } => {
            let json = message::generic(&settings.name, message);
            let token = token.as_ref().map(|token| token.get().as_str());
            send(url.get(), token, &json, patience)
        }
        Way::Slack { url } => send(url.get(), None, &message::slack(message), patience),
        Way::Telegram { url, token, chat } => {
            let json = message::telegram(chat, message);
            send(&send_message(url.get(), token.get()), None, &json, patience)
        }
        Way::Smtp(mail) => send_mail(mail, message, patience),
    };
    let hide = |text: String| {
        let secrets = settings.way.secrets();
        // The root of a web server is no secret, and is everywhere.
        let secrets = secrets.into_iter().filter(|secret| secret.len() > 3);
        secrets.fold(text, |text, secret| text.replace(secret, "…"))
    };
    match said {
        Ok(said) => Ok(hide(said)),
        Err(failure) => Err(Failure {
            reason: hide(failure.reason),
            ..failure
        }),
    }
}

fn send(
    url: &Url,
    token: Option<&str>,
    json: &serde_json::Value,
    patience: Duration,
) -> Result<String, Failure> {
    let answer = post(url, token, json.to_string().as_bytes(), &[], patience).map_err(unreached)?;
    let mut said = format!("it answered {}", answer.status);
    let body = clean(answer.body.trim(), 200);
    if !body.is_empty() {
        said = format!("{said}: {body}");
    }
    match answer.is_success() {
        true => Ok(said),
        false => Err(Failure {
            reason: said,
            // Neither "too slow" nor "too early" nor "too many".
            lasting: answer.status < 500 && ![408, 425, 429].contains(&answer.status),
            after: answer.retry_after,
        }),
    }
}

fn unreached(error: io::Error) -> Failure {
    Failure {
        reason: error.to_string(),
        lasting: false,
        after: None,
    }
}

/// The URL of the method, below where the API is.
fn send_message(api: &Url, token: &str) -> Url {
    let mut url = api.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty()
            .push(&format!("bot{token}"))
            .push("sendMessage");
    }
    url
}

fn send_mail(mail: &Mail, message: &Message, patience: Duration) -> Result<String, Failure> {
    let failure = |error: lettre::transport::smtp::Error| Failure {
        reason: mail_reason(&error),
        lasting: error.is_permanent(),
        after: None,
    };
    let tls = || TlsParameters::new(mail.host.clone()).map_err(failure);
    let mut transport = SmtpTransport::builder_dangerous(&mail.host)
        .port(mail.port)
        .timeout(Some(patience))
        .tls(match mail.security {
            Security::Tls => Tls::Wrapper(tls()?),
            Security::StartTls => Tls::Required(tls()?),
            Security::Plain => Tls::None,
        });
    if let Some(login) = &mail.login {
        let (user, password) = login.get().clone();
        transport = transport.credentials(Credentials::new(user, password));
    }
    let mut letter = lettre::Message::builder()
        .from(mail.from.clone())
        .subject(message::subject(message))
        .header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        letter = letter.to(to.clone());
    }
    let letter = letter
        .body(message::text(message) + "\n")
        .map_err(|error| Failure {
            reason: error.to_string(),
            lasting: true,
            after: None,
        })?;
    let answer = transport.build().send(&letter).map_err(failure)?;
    let said: Vec<&str> = answer.message().collect();
    let said = clean(&said.join(" "), 200);
    Ok(format!("it answered {} {said}", answer.code()))
}

/// What the server said, or what went wrong on the way to it.
fn mail_reason(error: &lettre::transport::smtp::Error) -> String {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        if !reason.contains(&more) {
            reason = format!("{reason}: {more}");
        }
        source = error.source();
    }
    clean(&reason, 300)
}
