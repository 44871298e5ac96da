//! How a sandbox behaves: what an operator may set, with the defaults.

use std::time::Duration;

use serde::Deserialize;

pub use crate::policy::Stage;

/// The settings of the sandboxes of one upstream. Every one of them is explained in `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// How long a statement waits for the floor before it fails with a retryable error.
    pub wait_timeout: Duration,
    /// What a statement does that meets another client's open transaction.
    pub overlap: Overlap,
    /// With [`Overlap::Join`]: how long the holder must have been idle in its transaction.
    pub overlap_after: Duration,
    /// A sandbox that nobody used for this long ends.
    pub idle_timeout: Duration,
    /// A sandbox ends at this age, as soon as no statement runs in it.
    pub max_age: Duration,
    /// An idle sandbox that wrote, and on which other sessions of the upstream wait for this long, ends; at once
    /// if it is a logical replication worker that waits.
    pub block_timeout: Duration,
    /// `lock_timeout` of the sandbox's session: how long its statements wait for another session's lock.
    pub lock_timeout: Duration,
    /// How many sandboxes one developer may have on one upstream at the same time; at least 1.
    pub max_sandboxes_per_developer: u32,
    /// How many clients may use one sandbox at the same time; at least 1.
    pub max_clients: u32,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            wait_timeout: Duration::from_secs(30),
            overlap: Overlap::Join,
            overlap_after: Duration::from_millis(250),
            idle_timeout: Duration::from_secs(60 * 60),
            max_age: Duration::from_secs(8 * 60 * 60),
            block_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            max_sandboxes_per_developer: 5,
            max_clients: 100,
        }
    }
}

/// What a statement does that meets another client's open transaction in its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It runs inside the holder's transaction once the holder has been idle for `overlap_after`.
    Join,
    /// It waits for the holder's transaction to end, at most `wait_timeout`.
    Wait,
    /// It fails at once with 40P01.
    Error,
}

/// What stands between a client and the upstream's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// One transaction that never ends.
    Sandbox(Seal),
    /// Real `READ ONLY` transactions.
    ReadOnly(Seal),
    /// Pass-through; the stages local and test only.
    None,
}

impl Isolation {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox(_) => "sandbox",
            Self::ReadOnly(_) => "read_only",
            Self::None => "none",
        }
    }
}

/// Did `devinprod setup` prepare this upstream?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// Yes, and the proxy refuses to use it if it is not so.
    Sealed,
    /// No: a guard of the session's own is used, which is weaker; the stages local and test only.
    Unsealed,
}
