//! [`Watch`]: which events are worth an alert. Pure: it knows the time only as it is told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use super::alert::{Alert, State, Topic, clean_name};
use super::settings::Streak;
use crate::audit::{EndReason, Event, EventKind, Verdict};
use crate::error::SqlState;
use crate::report::units::Span;

/// About how many developers streaks are counted; more than a proxy has.
const ROOM: usize = 10_000;
/// Classes of SQLSTATE that say "not now": they refuse nobody.
const NOT_NOW: [&str; 6] = ["08", "40", "53", "55", "57", "58"];

/// Makes alerts of events, for one channel.
#[derive(Debug)]
pub struct Watch {
    streak: Streak,
    /// When each developer was refused, the last ones.
    refused: HashMap<String, VecDeque<Instant>>,
    /// When logins failed. One list for all names: whoever guesses chooses them.
    failed: VecDeque<Instant>,
    /// Trouble that was told, by upstream; its end is worth an alert, too.
    trouble: HashSet<(Topic, String)>,
}

/// Whether it is worth looking closer: nearly no event is, and this asks nobody.
pub fn may_matter(event: &Event) -> bool {
    match &event.kind {
        EventKind::Statement(record) => is_denied(&record.verdict),
        EventKind::ClientConnected | EventKind::ClientDisconnected => false,
        _ => true,
    }
}

/// Did Postgres say that this developer has no right to it?
fn is_denied(verdict: &Verdict) -> bool {
    // What the proxy itself refused has an event of its own.
    matches!(verdict, Verdict::Failed { sqlstate } if sqlstate == SqlState::INSUFFICIENT_PRIVILEGE.0)
}

impl Watch {
    /// Nothing has happened yet.
    pub fn new(streak: Streak) -> Self {
        Self {
            streak,
            refused: HashMap::new(),
            failed: VecDeque::new(),
            trouble: HashSet::new(),
        }
    }

    /// What this event is worth; often nothing.
    pub fn see(&mut self, event: &Event, now: Instant) -> Vec<Alert> {
        if matches!(event.kind, EventKind::SandboxBegun) {
            return self.begun(event);
        }
        self.look(event, now)
            .map(|alert| alert.of(event))
            .into_iter()
            .collect()
    }

    fn look(&mut self, event: &Event, now: Instant) -> Option<Alert> {
        let developer = event.developer.as_deref().map(clean_name);
        let developer = developer.as_deref().unwrap_or("somebody");
        let upstream = event.upstream.as_deref().map(clean_name);
        let upstream = upstream.as_deref().unwrap_or("the proxy");
        let alert = |topic, state, subject: &str, title: String, hint: &str| {
            Some(Alert::new(topic, state, subject, title, hint, event.time))
        };
        let trouble = |topic, subject: &str, title: String, hint: &str| {
            alert(topic, State::Trouble, subject, title, hint)
        };
        let pair = format!("{developer} on {upstream}");
        let budget = |limit: &str| {
            trouble(
                Topic::Budget,
                &pair,
                format!("{pair} has used up a budget: {limit}"),
                "`devinprod audit report` says what was read, and `devinprod budget grant` gives more for a while",
            )
        };
        match &event.kind {
            EventKind::Statement(record) if is_denied(&record.verdict) => {
                self.refused(event, SqlState::INSUFFICIENT_PRIVILEGE.0, now)
            }
            EventKind::AuthenticationFailed => {
                if !count(&mut self.failed, self.streak, now) {
                    return None;
                }
                let times = self.times();
                trouble(
                    Topic::Logins,
                    "",
                    format!("logins failed {times}, the last as {developer}"),
                    "`devinprod audit search --event authentication_failed` has the names and addresses",
                )
            }
            // A statement that was cut has the first, one that was not begun the other.
            EventKind::BudgetExceeded { limit } => budget(limit),
            EventKind::Refused { sqlstate, message }
                if sqlstate == SqlState::CONFIGURATION_LIMIT_EXCEEDED.0 =>
            {
                budget(message)
            }
            EventKind::Refused { sqlstate, .. } => self.refused(event, sqlstate, now),
            EventKind::LedgerLost { what } => trouble(
                Topic::Ledger,
                "",
                format!("the ledger of budgets cannot be reached: {what}"),
                "look at the ledger's server and at the proxy's own log",
            ),
            EventKind::LedgerBack => alert(
                Topic::Ledger,
                State::Over,
                "",
                "the ledger of budgets can be reached again".to_owned(),
                "nothing",
            ),
            EventKind::SealOpen { what } => {
                self.remember(Topic::Seal, event);
                trouble(
                    Topic::Seal,
                    upstream,
                    format!(
                        "the seal of {upstream} is open; its sandboxes end and none begins: {what}"
                    ),
                    "`devinprod doctor` says more; `devinprod setup` closes it",
                )
            }
            EventKind::SealWhole => {
                self.forget(Topic::Seal, event);
                seal_whole(upstream, event)
            }
            EventKind::TransactionLost { .. }
            | EventKind::SandboxEnded {
                reason: EndReason::TransactionLost,
            } => trouble(
                Topic::Seal,
                &format!("transaction of {pair}"),
                format!(
                    "a sandbox of {pair} left the transaction that must never end; it was ended"
                ),
                "look at what it ran, with `devinprod audit search`, and run `devinprod doctor`",
            ),
            EventKind::SandboxEnded {
                reason: EndReason::BlockTimeout,
            } => alert(
                Topic::Blocking,
                State::News,
                &pair,
                format!(
                    "a sandbox of {pair} was idle while others waited for its locks; it was ended"
                ),
                "nothing was committed; the developer begins anew",
            ),
            EventKind::SandboxEnded {
                reason: EndReason::UpstreamLost,
            } => alert(
                Topic::Upstream,
                State::News,
                &format!("connection to {upstream}"),
                format!(
                    "the upstream {upstream} broke off the connection of a sandbox of {developer}"
                ),
                "if nobody ended it on purpose, look at the upstream's log",
            ),
            EventKind::PolicyChanged { version } => alert(
                Topic::Configuration,
                State::News,
                upstream,
                match version {
                    Some(version) => format!("the policy of {upstream} is now version {version}"),
                    None => format!("{upstream} no longer has a policy"),
                },
                "the seal must be of the same policy: `devinprod setup --policy`",
            ),
            // The reason may quote the file.
            EventKind::ReloadFailed { .. } => {
                self.remember(Topic::Configuration, event);
                trouble(
                    Topic::Configuration,
                    "file",
                    "a changed configuration was refused; the old one stays in force".to_owned(),
                    "`devinprod config check` says what is wrong with it",
                )
            }
            EventKind::Reloaded if self.forget(Topic::Configuration, event) => alert(
                Topic::Configuration,
                State::Over,
                "file",
                "the configuration is right again, and was taken in".to_owned(),
                "nothing",
            ),
            EventKind::Administered {
                command, account, ..
            } => alert(
                Topic::Administration,
                State::News,
                &format!("{command} by {account}"),
                format!("{account} used `devinprod {command}`"),
                "`devinprod audit search --event administered` says what it was told",
            ),
            EventKind::Gate {
                commit,
                to,
                passed: false,
                why,
                account,
            } => {
                let short: String = commit.chars().take(12).collect();
                trouble(
                    Topic::Gate,
                    &format!("{commit} to {to}"),
                    format!("the gate to {to} is closed for {short}, as {account} asked: {why}"),
                    "`devinprod gate` says what would open it",
                )
            }
            EventKind::EventsLost { count } => trouble(
                Topic::Audit,
                "events",
                format!("{count} events are missing in the audit log; nobody was served meanwhile"),
                "the proxy's own log has the reason",
            ),
            EventKind::TailSetAside { bytes, .. } => trouble(
                Topic::Audit,
                "tail",
                format!(
                    "the audit log ended in {bytes} bytes that are no whole record; they are set aside"
                ),
                "this is what a power cut leaves; `devinprod audit verify` looks at the rest",
            ),
            EventKind::SecondPlaceLost { .. } => trouble(
                Topic::Audit,
                "second place",
                "checkpoints of the audit log cannot be brought to their second place".to_owned(),
                "the proxy's own log has the reason",
            ),
            EventKind::SecondPlaceBack => alert(
                Topic::Audit,
                State::Over,
                "second place",
                "checkpoints of the audit log reach their second place again".to_owned(),
                "nothing",
            ),
            EventKind::SqlLost { .. } => trouble(
                Topic::Audit,
                "sql",
                "the audit log is not being copied into its database".to_owned(),
                "the log itself is whole; the proxy's own log has the reason",
            ),
            EventKind::SqlBack => alert(
                Topic::Audit,
                State::Over,
                "sql",
                "the audit log is being copied into its database again".to_owned(),
                "nothing",
            ),
            EventKind::NotifyLost { name, .. } => trouble(
                Topic::Notify,
                name,
                format!("the notification {name} cannot be delivered"),
                "`devinprod notify test` says what comes back",
            ),
            EventKind::NotifyBack { name } => alert(
                Topic::Notify,
                State::Over,
                name,
                format!("the notification {name} gets through again"),
                "nothing",
            ),
            _ => None,
        }
    }

    /// A refusal: of a developer, or because of the upstream.
    fn refused(&mut self, event: &Event, sqlstate: &str, now: Instant) -> Option<Alert> {
        let upstream = event.upstream.as_deref();
        if let Some(upstream) = upstream
            && [
                SqlState::CANNOT_CONNECT_NOW.0,
                SqlState::CONNECTION_FAILURE.0,
            ]
            .contains(&sqlstate)
        {
            self.remember(Topic::Upstream, event);
            let upstream = clean_name(upstream);
            return Some(Alert::new(
                Topic::Upstream,
                State::Trouble,
                &upstream,
                format!("the upstream {upstream} cannot be reached"),
                "look at the upstream, and at the proxy's own log for the reason",
                event.time,
            ));
        }
        let not_now = sqlstate
            .get(..2)
            .is_none_or(|class| NOT_NOW.contains(&class));
        let developer = event.developer.as_deref()?;
        if not_now || (self.refused.len() >= ROOM && !self.refused.contains_key(developer)) {
            return None;
        }
        let times = self.refused.entry(developer.to_owned()).or_default();
        if !count(times, self.streak, now) {
            return None;
        }
        let name = clean_name(developer);
        let upstream = upstream.map_or_else(String::new, |upstream| {
            format!(", last on {}", clean_name(upstream))
        });
        Some(Alert::new(
            Topic::Refusals,
            State::Trouble,
            &name,
            format!("{name} was refused {}{upstream} ({sqlstate})", self.times()),
            // Without the name: somebody will paste this into a shell.
            "`devinprod audit search --developer NAME` says what they tried",
            event.time,
        ))
    }

    /// A sandbox begins: its upstream can be reached, and is sealed as it should be.
    fn begun(&mut self, event: &Event) -> Vec<Alert> {
        let Some(upstream) = event.upstream.as_deref().map(clean_name) else {
            return Vec::new();
        };
        let mut over = Vec::new();
        if self.forget(Topic::Seal, event) {
            over.extend(seal_whole(&upstream, event));
        }
        if self.forget(Topic::Upstream, event) {
            over.push(Alert::new(
                Topic::Upstream,
                State::Over,
                &upstream,
                format!("the upstream {upstream} can be reached again"),
                "nothing",
                event.time,
            ));
        }
        for alert in &mut over {
            alert.upstream = Some(upstream.clone());
            alert.stage = event.stage;
        }
        over
    }

    fn remember(&mut self, topic: Topic, event: &Event) {
        self.trouble.insert(trouble_of(topic, event));
    }

    /// Whether there was such trouble.
    fn forget(&mut self, topic: Topic, event: &Event) -> bool {
        self.trouble.remove(&trouble_of(topic, event))
    }

    /// "10 times within 10min".
    fn times(&self) -> String {
        let Streak { count, within } = self.streak;
        format!("{count} times within {}", Span(within))
    }
}

fn seal_whole(upstream: &str, event: &Event) -> Option<Alert> {
    Some(Alert::new(
        Topic::Seal,
        State::Over,
        upstream,
        format!("the seal of {upstream} is whole again"),
        "nothing",
        event.time,
    ))
}

fn trouble_of(topic: Topic, event: &Event) -> (Topic, String) {
    (topic, event.upstream.clone().unwrap_or_default())
}

/// Notes that it happened now. True if it has happened often enough; what is counted then begins anew.
fn count(times: &mut VecDeque<Instant>, streak: Streak, now: Instant) -> bool {
    while times
        .front()
        .is_some_and(|&at| now.duration_since(at) > streak.within)
    {
        times.pop_front();
    }
    times.push_back(now);
    let enough = times.len() >= streak.count as usize;
    if enough {
        times.clear();
    }
    enough
}
