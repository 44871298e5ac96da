//! What a message looks like, by the way that it goes.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::outbox::Message;
use crate::audit::time::Utc;
use crate::report::units::Span;

/// For people, in a few lines.
pub fn text(message: &Message) -> String {
    let alert = &message.alert;
    let mut text = alert.title.clone();
    if message.times > 1 {
        let _ = write!(text, " ({})", times(message));
    }
    let _ = write!(
        text,
        "\nwhat to do: {}\ndevinprod, {}",
        alert.hint,
        Utc(alert.time)
    );
    if message.lost > 0 {
        let _ = write!(text, "\n{}", lost(message));
    }
    text
}

/// For programs. `docs/notifications.md` explains the fields.
pub fn generic(name: &str, message: &Message) -> Value {
    let alert = &message.alert;
    let mut value = json!({
        "source": "devinprod",
        "notification": name,
        "event": alert.topic.as_str(),
        "state": alert.state.as_str(),
        "time": Utc(alert.time).to_string(),
        "title": alert.title,
        "hint": alert.hint,
        "times": message.times,
        "within_seconds": message.within.as_secs(),
        "lost": message.lost,
    });
    let known = [
        ("developer", alert.developer.as_deref()),
        ("upstream", alert.upstream.as_deref()),
        ("stage", alert.stage),
        ("sandbox", alert.sandbox.as_deref()),
    ];
    if let Some(fields) = value.as_object_mut() {
        for (name, known) in known {
            if let Some(known) = known {
                fields.insert(name.to_owned(), known.into());
            }
        }
    }
    value
}

/// [For an incoming webhook of Slack](https://docs.slack.dev/messaging/formatting-message-text): its three control
/// characters are escaped, nothing is read as markup, no link is looked up.
pub fn slack(message: &Message) -> Value {
    let escaped = text(message)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    json!({
        "text": escaped,
        "mrkdwn": false,
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// [For `sendMessage`](https://core.telegram.org/bots/api#sendmessage): without a `parse_mode` nothing is markup.
/// What would mention somebody is taken apart.
pub fn telegram(chat: &str, message: &Message) -> Value {
    json!({
        "chat_id": chat,
        "text": text(message).replace('@', "@\u{2060}"),
        "link_preview_options": { "is_disabled": true },
    })
}

/// The subject of a mail.
pub fn subject(message: &Message) -> String {
    let title = super::alert::clean(&message.alert.title, 120);
    format!("[devinprod] {title}")
}

fn times(message: &Message) -> String {
    let minutes = message.within.as_secs().div_ceil(60).max(1);
    let within = Span(Duration::from_secs(minutes * 60));
    format!("{} times in the last {within}", message.times)
}

fn lost(message: &Message) -> String {
    format!(
        "before this, {} notifications could not be delivered; the audit log has everything",
        message.lost
    )
}
