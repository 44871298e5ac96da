//! [`Alert`]: what somebody should know, as plain data.

use std::time::SystemTime;

use serde::Deserialize;

use crate::audit::Event;

/// What an alert is about; `events` in the configuration lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A developer was refused again and again.
    Refusals,
    /// Logins failed again and again.
    Logins,
    /// A budget is used up.
    Budget,
    /// The ledger of budgets cannot be reached, or can be again.
    Ledger,
    /// A seal is open, or whole again; a sandbox left its transaction.
    Seal,
    /// A sandbox that blocked others was ended.
    Blocking,
    /// An upstream cannot be reached, or can be again; it broke off a sandbox's connection.
    Upstream,
    /// A policy is another one than before; a configuration was refused.
    Configuration,
    /// Somebody used a command that changes what others may do.
    Administration,
    /// A change may not go on to a stage.
    Gate,
    /// The audit's log, or its second place, cannot be written, or can be again; some of it is missing.
    Audit,
    /// Another notification cannot be delivered, or can be again.
    Notify,
    /// `devinprod notify test`.
    #[serde(skip)]
    Test,
}

impl Topic {
    /// All that a configuration can ask for.
    pub const ALL: [Self; 12] = [
        Self::Refusals,
        Self::Logins,
        Self::Budget,
        Self::Ledger,
        Self::Seal,
        Self::Blocking,
        Self::Upstream,
        Self::Configuration,
        Self::Administration,
        Self::Gate,
        Self::Audit,
        Self::Notify,
    ];

    /// As it stands in the configuration and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refusals => "refusals",
            Self::Logins => "logins",
            Self::Budget => "budget",
            Self::Ledger => "ledger",
            Self::Seal => "seal",
            Self::Blocking => "blocking",
            Self::Upstream => "upstream",
            Self::Configuration => "configuration",
            Self::Administration => "administration",
            Self::Gate => "gate",
            Self::Audit => "audit",
            Self::Notify => "notify",
            Self::Test => "test",
        }
    }
}

/// Whether something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Something is wrong.
    Trouble,
    /// What was wrong no longer is.
    Over,
    /// Something happened.
    News,
}

impl State {
    /// As it stands in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Over => "over",
            Self::News => "news",
        }
    }
}

/// What somebody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// When it happened.
    pub time: SystemTime,
    /// What it is about.
    pub topic: Topic,
    /// Whether something is wrong.
    pub state: State,
    /// Alerts of one topic about the same subject are repeats of each other.
    pub subject: String,
    /// What happened: one line, no final period, no control characters.
    pub title: String,
    /// What to do: one line, no final period.
    pub hint: String,
    /// Who, if somebody did it.
    pub developer: Option<String>,
    /// On which upstream.
    pub upstream: Option<String>,
    /// What kind of data the upstream holds.
    pub stage: Option<&'static str>,
    /// In which sandbox.
    pub sandbox: Option<String>,
}

/// How long a title or a hint may be, in characters.
const LONGEST: usize = 500;
/// How long a name may be, in characters.
const LONGEST_NAME: usize = 100;

impl Alert {
    /// An alert about nobody in particular. Title and hint are cleaned: names in them come from clients.
    pub fn new(
        topic: Topic,
        state: State,
        subject: impl AsRef<str>,
        title: impl AsRef<str>,
        hint: impl AsRef<str>,
        time: SystemTime,
    ) -> Self {
        Self {
            time,
            topic,
            state,
            subject: clean(subject.as_ref(), LONGEST),
            title: clean(title.as_ref(), LONGEST),
            hint: clean(hint.as_ref(), LONGEST),
            developer: None,
            upstream: None,
            stage: None,
            sandbox: None,
        }
    }

    /// The same, with who and where as the event says.
    #[must_use]
    pub fn of(mut self, event: &Event) -> Self {
        self.developer = event.developer.as_deref().map(clean_name);
        self.upstream = event.upstream.as_deref().map(clean_name);
        self.stage = event.stage;
        self.sandbox = event.sandbox.as_deref().map(clean_name);
        self
    }
}

/// A name that a client may have chosen, fit for one line.
pub fn clean_name(name: &str) -> String {
    clean(name, LONGEST_NAME)
}

/// One line of at most `longest` characters, without anything that a terminal or a chat would obey: control
/// characters, and those that change the direction of text or cannot be seen (Unicode, categories Cc, Cf, Zl, Zp).
pub fn clean(text: &str, longest: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(longest)
        .map(|c| if is_obeyed(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(longest).is_some() {
        shown.push('…');
    }
    shown
}

fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}
