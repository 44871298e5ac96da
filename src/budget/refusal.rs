//! What a developer reads when a budget is used up, or nearly.

use std::time::{Duration, SystemTime};

use super::ledger::{Level, Unavailable};
use super::rules::{Cap, Rule};
use crate::audit::time::Utc;
use crate::error::{Refusal, SqlState};
use crate::policy::Measure;
use crate::report::units::Span;

/// Who reads it, and whom they can ask.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub developer: String,
    pub upstream: String,
    pub contact: Option<String>,
}

impl Reader {
    /// A window's limit does not allow what comes next.
    pub(super) fn used_up(&self, rule: &Rule, level: Level) -> Refusal {
        let Cap::Window(measure, per, limit) = rule.cap else {
            return self.refused(rule, "a read budget is used up".to_owned());
        };
        let what = what(rule, measure);
        let used = level.used.min(limit);
        let message = match measure {
            Measure::FailedGuesses => format!(
                "too many failed guesses: no more than {limit} {what} per {}",
                Span(per)
            ),
            _ => format!("read budget used up: {limit} {what} per {}", Span(per)),
        };
        let sharers = match rule.subject.as_str() {
            "*" => ", which everybody shares,",
            subject if subject.starts_with('@') => ", which the group shares,",
            _ => "",
        };
        let detail = format!(
            "On the upstream \"{}\", {used} of them{sharers} are used, and the next does not fit. {} The limit {}.",
            self.upstream,
            refilled(level.refilled_in),
            rule.place
        );
        // Zero would grant nothing; where nothing is allowed, some number still has to stand there.
        let amount = if limit == 0 { 1_000 } else { limit };
        let hint = format!(
            "wait, or ask {} for more: devinprod budget grant {} --{} {amount} --for 1h --upstream {} --because …",
            self.contact
                .as_deref()
                .unwrap_or("whoever keeps the policy"),
            self.developer,
            measure.as_str().replace('_', "-"),
            self.upstream,
        );
        Refusal::error(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
            .detail(detail)
            .hint(hint)
    }

    pub(super) fn too_many_rows(&self, rule: &Rule, limit: u64) -> Refusal {
        let what = what(rule, Measure::Rows);
        self.refused(rule, format!("more than {limit} {what} in one statement"))
            .hint("read less at a time: a LIMIT, a narrower WHERE, or several statements")
    }

    pub(super) fn too_many_at_once(&self, rule: &Rule, limit: u64) -> Refusal {
        let what = what(rule, Measure::Statements);
        self.refused(rule, format!("more than {limit} {what} at the same time"))
            .hint("wait for one of them to end, or make the application's pool smaller")
    }

    pub(super) fn too_fast(&self, rule: &Rule, per_second: u32) -> Refusal {
        let what = what(rule, Measure::Statements);
        self.refused(rule, format!("more than {per_second} {what} per second"))
            .hint("slow down: statements are held up for a while, and these come too fast for too long")
    }

    fn refused(&self, rule: &Rule, message: String) -> Refusal {
        Refusal::error(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message).detail(format!(
            "A read budget of {} on the upstream \"{}\" {}.",
            self.developer, self.upstream, rule.place
        ))
    }

    /// Most of a limit is used.
    pub(super) fn nearly(&self, rule: &Rule, level: Level) -> Option<Refusal> {
        let Cap::Window(measure, per, limit) = rule.cap else {
            return None;
        };
        let what = what(rule, measure);
        let used = level.used.min(limit);
        Some(
            Refusal::notice(format!(
                "{used} of {limit} {what} per {} are used on the upstream \"{}\"",
                Span(per),
                self.upstream
            ))
            .detail(refilled(level.refilled_in))
            .hint("SHOW BUDGETS in the database \"devinprod\" lists all of them"),
        )
    }
}

/// `rows of masked tables`.
pub(super) fn what(rule: &Rule, measure: Measure) -> String {
    format!("{}{}", word(measure), rule.scope)
}

/// A measure in plain words.
pub(super) fn word(measure: Measure) -> &'static str {
    match measure {
        Measure::FailedGuesses => "failed guesses",
        other => other.as_str(),
    }
}

/// The ledger cannot be asked, so nothing is known of what is left.
pub(super) fn unavailable(error: &Unavailable) -> Refusal {
    Refusal::error(
        SqlState::IO_ERROR,
        "read budgets cannot be kept, so nothing is read",
    )
    .detail(format!("The reason: {error}."))
    .hint("this is for whoever runs devinprod; its log says more")
}

/// A moment from now, to the second.
pub(super) fn moment(from_now: Duration) -> String {
    let text = Utc(SystemTime::now() + from_now).to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

fn refilled(from_now: Duration) -> String {
    let minutes = from_now.as_secs().div_ceil(60).max(1);
    let distance = match minutes {
        1..120 => format!("{minutes} min"),
        120..2_880 => format!("{} h", minutes.div_ceil(60)),
        _ => format!("{} days", minutes.div_ceil(1_440)),
    };
    format!("It is refilled at {} (in {distance}).", moment(from_now))
}
