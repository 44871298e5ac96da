//! What a session is given: who the client is, and what all sessions share.

use crate::audit::{Event, EventKind, Events};
use crate::budget::Budgets;
use crate::error::{Refusal, SqlState};
use crate::plan::PlanCache;
use crate::sandbox::data::Key;
use crate::sandbox::registry::Registry;
use crate::sandbox::settings::Stage;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A client that is who it says it is, and may use the upstream.
#[derive(Debug, Clone)]
pub struct Login {
    /// The developer.
    pub developer: String,
    /// The developer's groups, without their `@`.
    pub groups: BTreeSet<String>,
    /// The upstream's name in the configuration.
    pub upstream: String,
    /// What kind of data the upstream holds.
    pub stage: Stage,
    /// The sandbox's name; None for one of its own (`devinprod.isolation=connection`).
    pub sandbox: Option<String>,
    /// Settings of the startup message, lower-case names, `options` included.
    pub settings: BTreeMap<String, String>,
    /// The policy wants literals and parameters of its statements on record.
    pub records_values: bool,
    /// Where it came from.
    pub address: SocketAddr,
    /// The process id that it is told.
    pub process: i32,
}

impl Login {
    /// Something that this client did, or that was done to it.
    pub fn event(&self, kind: EventKind) -> Event {
        Event::now(kind)
            .developer(&self.developer)
            .upstream(&self.upstream)
            .stage(self.stage.as_str())
            .client(self.address)
    }

    /// `application_name`, if it was given.
    pub fn application(&self) -> &str {
        self.settings
            .get("application_name")
            .map_or("", String::as_str)
    }
}

/// What all sessions share.
#[derive(Debug)]
pub struct Context {
    /// Plans by text.
    pub plans: PlanCache,
    /// The sandboxes.
    pub registry: Arc<Registry>,
    /// Where events go.
    pub events: Events,
    /// How much developers may read.
    pub budgets: Budgets,
    /// Set off when the proxy stops.
    pub stopping: tokio_util::sync::CancellationToken,
}

impl Context {
    /// Records that a client was refused something.
    pub fn refused(&self, login: &Login, key: &Key, refusal: &Refusal) {
        let kind = EventKind::Refused {
            sqlstate: refusal.sqlstate.0.to_owned(),
            message: for_the_record(refusal),
        };
        self.report(login, key, kind);
    }

    /// Records that work which another client was told is committed was undone.
    pub fn tainted(&self, login: &Login, key: &Key) {
        self.report(login, key, EventKind::SandboxTainted);
    }

    /// Records that a statement runs inside another client's transaction.
    pub fn joined(&self, login: &Login, key: &Key) {
        self.report(login, key, EventKind::Joined);
    }

    /// Records that a client came or went.
    pub fn client_event(&self, login: &Login, kind: EventKind) {
        self.events.report(login.event(kind));
    }

    fn report(&self, login: &Login, key: &Key, kind: EventKind) {
        self.events.report(login.event(kind).sandbox(&key.name));
    }
}

/// A refusal's message without what it may quote of a statement: events hold no values.
fn for_the_record(refusal: &Refusal) -> String {
    let quotes_text =
        [SqlState::SYNTAX_ERROR, SqlState::INVALID_PARAMETER_VALUE].contains(&refusal.sqlstate);
    match refusal.message.split_once('"') {
        Some((before, _)) if quotes_text => format!("{before}\"…\""),
        _ => refusal.message.clone(),
    }
}

/// A time as a setting writes it (`500`, `5s`, `2min`); plain numbers are milliseconds
/// ([Postgres, parameter values](https://www.postgresql.org/docs/current/config-setting.html)).
pub fn milliseconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "us" => return Some(Duration::from_micros(number)),
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(factor)?))
}

/// What a client is told when the proxy stops.
pub fn stopping() -> Refusal {
    Refusal::fatal(
        SqlState::ADMIN_SHUTDOWN,
        "terminating connection due to administrator command",
    )
    .detail("devinprod is stopping; sandboxes do not outlive it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_statement_is_recorded() {
        let syntax = Refusal::error(
            SqlState::SYNTAX_ERROR,
            "syntax error at or near \"'4111 1111'\"",
        );
        assert_eq!(for_the_record(&syntax), "syntax error at or near \"…\"");
        let name = Refusal::error(SqlState::INVALID_CURSOR_NAME, "portal \"p\" does not exist");
        assert_eq!(for_the_record(&name), "portal \"p\" does not exist");
    }
}
