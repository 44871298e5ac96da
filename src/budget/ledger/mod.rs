//! What was spent: 64-bit counts by counter and window of time.
//!
//! A [`Ledger`] is asked for a batch *before* it is spent, so that the sum over all connections, and all proxies that share it, never
//! exceeds a limit; what was not used is given back. [`local`] keeps it in a folder of one proxy, [`shared`] in a server for several.

pub mod clock;
mod journal;
pub mod local;
pub mod shared;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::policy::{Measure, Scope};

pub use local::LocalLedger;
pub use shared::SharedLedger;

/// What is counted, in windows that begin at full multiples of `per` since 1970 in UTC.
///
/// The key says who, where and what. It has no limit in it, no file and no line: a policy that is written anew finds what was spent before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Counter {
    /// A JSON array, the same in every proxy.
    pub key: Arc<str>,
    /// How long a window is; at least a millisecond is taken.
    pub per: Duration,
}

impl Counter {
    /// The counter of one subject (a developer, `@group`, or `*` for all of them together) on one upstream.
    pub fn new(
        upstream: &str,
        subject: &str,
        scope: &Scope,
        measure: Measure,
        per: Duration,
    ) -> Self {
        let table = scope.table.as_ref();
        let key = serde_json::json!([
            upstream,
            subject,
            table.map(|(schema, name)| [schema, name]),
            scope.class,
            scope.sensitive,
            measure.as_str(),
            millis(per),
        ]);
        Self {
            key: key.to_string().into(),
            per,
        }
    }

    /// The number of the window that `now` (milliseconds since 1970) falls into.
    pub fn window(&self, now: u64) -> u64 {
        now / millis(self.per)
    }

    /// From `now` to the next window.
    pub fn refilled_in(&self, now: u64) -> Duration {
        let per = millis(self.per);
        Duration::from_millis(per - now % per)
    }
}

/// Whole milliseconds, at least one.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// A counter that may not go above a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub counter: Counter,
    /// How far it may go.
    pub limit: u64,
}

/// An amount to be reserved from several counters at once: what a row costs, it costs everywhere.
#[derive(Debug, Clone)]
pub struct Want {
    /// The counters, with their limits.
    pub limits: Arc<[Limit]>,
    /// Where to look for grants when one of them is used up ([`pool`]).
    pub pools: Arc<[Arc<str>]>,
    /// Less than this is of no use.
    pub needed: u64,
    /// More than this is not wanted; what is given hangs on what is left. 0: nothing is taken, only looked whether there is
    /// what is needed.
    pub wished: u64,
}

/// What was reserved for one [`Want`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// How much.
    pub amount: u64,
    /// From where.
    pub source: Source,
    /// How the counters stand now, in the order of the limits.
    pub levels: Vec<Level>,
}

/// Where a share came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From each of the counters.
    Counters,
    /// From a grant, and from no counter.
    Grant(u64),
}

/// How a counter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The window's number.
    pub window: u64,
    /// What is used of it, reserved or spent.
    pub used: u64,
    /// When the next window begins, from now.
    pub refilled_in: Duration,
}

/// What became of a reservation: all of it, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// One share for each want.
    Reserved(Vec<Share>),
    /// Nothing was taken, because this one has too little left.
    Refused {
        /// The number of the want.
        want: usize,
        /// The number of its limit.
        limit: usize,
        /// How it stands.
        level: Level,
    },
}

/// What was reserved and not used.
#[derive(Debug, Clone)]
pub struct Unused {
    /// The counters that it came from.
    pub limits: Arc<[Limit]>,
    /// The share that it came from.
    pub share: Share,
    /// How much of it.
    pub amount: u64,
}

/// An allowance above all limits: it is used up once, and ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whom and what it is for, see [`pool`].
    pub pool: Arc<str>,
    /// How much.
    pub amount: u64,
    /// For how long, from now.
    #[serde(rename = "milliseconds", with = "as_millis")]
    pub lasts: Duration,
}

/// What is left of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Whom and what it is for.
    pub pool: Arc<str>,
    /// What was granted.
    pub amount: u64,
    /// What is left.
    pub left: u64,
    /// When it ends, from now.
    pub ends_in: Duration,
}

/// The name under which grants of a measure for a developer are kept; None: on every upstream.
pub fn pool(upstream: Option<&str>, developer: &str, measure: Measure) -> Arc<str> {
    serde_json::json!([upstream, developer, measure.as_str()])
        .to_string()
        .into()
}

/// The ledger cannot be asked, or cannot keep what it is told. It is safe to say to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Keeps what was spent. Every method is atomic.
#[async_trait]
pub trait Ledger: Send + Sync + fmt::Debug {
    /// Reserves all that is wanted, or nothing. Of a want with no limits, all that is wished.
    ///
    /// # Errors
    /// The ledger is not there; nothing is reserved as far as the caller may know.
    async fn reserve(&self, wants: &[Want]) -> Result<Outcome, Unavailable>;

    /// Gives back what was reserved in a window that has not ended; what has ended is gone. Best effort: what cannot be given back stays spent.
    async fn give_back(&self, unused: &[Unused]);

    /// Counts what has happened already, whatever the limits say.
    ///
    /// # Errors
    /// It may not have been counted.
    async fn charge(&self, limits: &[Limit], amount: u64) -> Result<(), Unavailable>;

    /// How counters stand.
    ///
    /// # Errors
    /// The ledger is not there.
    async fn read(&self, counters: &[Counter]) -> Result<Vec<Level>, Unavailable>;

    /// Adds a grant; it is kept when this returns.
    ///
    /// # Errors
    /// It may not have been kept.
    async fn grant(&self, grant: &Grant) -> Result<(), Unavailable>;

    /// The grants of these pools that have not ended, oldest first.
    ///
    /// # Errors
    /// The ledger is not there.
    async fn grants(&self, pools: &[Arc<str>]) -> Result<Vec<Granted>, Unavailable>;
}

/// So many connections can hold a batch of what is left.
const SHARERS: u64 = 8;

/// How much of `left` one reservation gets: a batch, but never so much that a few connections hold all that is left.
pub fn batch(left: u64, needed: u64, wished: u64) -> u64 {
    wished.min(left / SHARERS).max(needed)
}

mod as_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(d: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(super::millis(*d))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}
