//! Who is told what, and how; `[[notify]]` in the configuration.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use lettre::message::Mailbox;
use url::Url;

use super::alert::Topic;

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySettings {
    /// Its name.
    pub name: String,
    /// How messages go.
    pub way: Way,
    /// What they are about.
    pub topics: BTreeSet<Topic>,
    /// What counts as again and again.
    pub streak: Streak,
    /// For how long repeats are collected into one message.
    pub quiet: Duration,
    /// How many messages go in an hour, at most.
    pub per_hour: u32,
}

/// How often something must happen, within which time, to be worth a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    /// How often, at least 1.
    pub count: u32,
    /// Within which time.
    pub within: Duration,
}

impl Default for Streak {
    fn default() -> Self {
        Self {
            count: 10,
            within: Duration::from_secs(600),
        }
    }
}

/// How messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// JSON, POSTed.
    Webhook {
        /// Where.
        url: Hidden<Url>,
        /// Sent as `Authorization: Bearer`.
        token: Option<Hidden<String>>,
    },
    /// An incoming webhook of Slack, or of what takes the same form.
    Slack {
        /// Where; it is the secret.
        url: Hidden<Url>,
    },
    /// A bot of Telegram.
    Telegram {
        /// Where its API is.
        url: Hidden<Url>,
        /// The bot's token.
        token: Hidden<String>,
        /// To whom: a chat's number, or `@channel`.
        chat: String,
    },
    /// Mail by SMTP.
    Smtp(Box<Mail>),
}

impl Way {
    /// As it stands in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Telegram { .. } => "telegram",
            Self::Smtp(_) => "smtp",
        }
    }

    /// What must not be shown, whoever repeats it.
    pub(super) fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Webhook { url, token } => {
                let token = token.as_ref().map(|token| token.get().as_str());
                let url = url.get();
                token
                    .into_iter()
                    .chain([url.as_str()])
                    .chain(url.query())
                    .collect()
            }
            Self::Slack { url } => vec![url.get().as_str(), url.get().path()],
            Self::Telegram { token, .. } => vec![token.get().as_str()],
            Self::Smtp(mail) => match &mail.login {
                Some(login) => vec![login.get().1.as_str()],
                None => Vec::new(),
            },
        }
    }
}

/// How mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The mail server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is talked to.
    pub security: Security,
    /// User and password.
    pub login: Option<Hidden<(String, String)>>,
    /// From whom.
    pub from: Mailbox,
    /// To whom, at least one.
    pub to: Vec<Mailbox>,
}

/// How a mail server is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte (RFC 8314, 3.3).
    Tls,
    /// TLS after STARTTLS, or not at all (RFC 3207).
    StartTls,
    /// In clear text: a server on this machine.
    Plain,
}

/// A value that no log or report shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden<T>(T);

impl<T> Hidden<T> {
    /// Hides it.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value.
    pub fn get(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
