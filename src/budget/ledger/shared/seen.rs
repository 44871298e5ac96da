//! What a proxy knows of the shared ledger: how counters stood when it last heard, and what it let through by itself since.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::super::{Counter, Level, Limit, millis};
use super::store::Connection;

/// A counter as the ledger last told of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub per: u64,
    pub window: u64,
    /// Grows with each change in a window; answers may come out of order.
    pub version: u64,
    pub used: u64,
    /// What was let through here while the ledger was away, and it has not been told yet.
    pub offline: u64,
}

/// How this proxy stands to the ledger.
pub(super) enum Link {
    Lost,
    There {
        connection: Connection,
        /// Until then, the others say what they have seen.
        settled: Instant,
    },
}

/// All that changes.
pub(super) struct State {
    pub link: Link,
    /// Another number with each change of the link.
    pub generation: u64,
    /// The name of the ledger's life that `seen` is of. A ledger that has forgotten something begins another.
    pub life: Arc<str>,
    /// The name under which `offline` is reported next.
    pub report: String,
    pub seen: HashMap<Arc<str>, Seen>,
    /// What is left of grants.
    pub grants: HashMap<u64, u64>,
    /// The audit knows that it is lost.
    pub told: bool,
    /// The file says which life this proxy knows.
    pub life_is_kept: bool,
}

impl Seen {
    /// What is used as far as this proxy knows.
    pub fn total(&self) -> u64 {
        self.used.saturating_add(self.offline)
    }
}

impl State {
    /// Takes in how a counter stands; returns what is to be kept of it, if that is news.
    pub fn note(&mut self, counter: &Counter, level: Level, version: u64) -> Option<Seen> {
        let seen = self.seen.entry(Arc::clone(&counter.key)).or_default();
        let is_old = (level.window, version) <= (seen.window, seen.version);
        if is_old && seen.per != 0 {
            return None;
        }
        seen.take_in(millis(counter.per), level, version);
        Some(*seen)
    }

    /// Counts what was let through here.
    pub fn spend_offline(&mut self, limit: &Limit, level: &Level, amount: u64) {
        let seen = self.seen.entry(Arc::clone(&limit.counter.key)).or_default();
        if level.window > seen.window || seen.per == 0 {
            *seen = Seen {
                per: millis(limit.counter.per),
                window: level.window,
                ..Seen::default()
            };
        }
        seen.offline = seen.offline.saturating_add(amount);
    }

    /// Counts it no more. What the ledger itself has counted it goes on counting: nobody told it.
    pub fn give_back_offline(&mut self, limit: &Limit, level: &Level, amount: u64) {
        if let Some(seen) = self.seen.get_mut(&limit.counter.key)
            && seen.window == level.window
        {
            seen.offline = seen.offline.saturating_sub(amount);
        }
    }

    /// As far as one of `proxies` may go alone: to its share of what was left when the ledger was last heard of.
    pub fn share(&self, limit: &Limit, now: u64, proxies: u64) -> Limit {
        let window = limit.counter.window(now);
        let seen = self.seen.get(&limit.counter.key);
        let used = seen.filter(|seen| seen.window >= window);
        let used = used.map_or(0, |seen| seen.used);
        let left = limit.limit.saturating_sub(used);
        Limit {
            counter: limit.counter.clone(),
            limit: used.saturating_add(left / proxies.max(1)),
        }
    }

    /// Leaves out what no longer counts.
    pub fn forget_the_past(&mut self, now: u64) {
        self.seen
            .retain(|_, seen| seen.window >= now / seen.per.max(1));
    }
}

impl Seen {
    /// Takes in how it stands, whatever was known before.
    pub fn take_in(&mut self, per: u64, level: Level, version: u64) {
        if level.window != self.window {
            self.offline = 0;
        }
        self.per = per;
        self.window = level.window;
        self.version = version;
        self.used = level.used;
    }
}
