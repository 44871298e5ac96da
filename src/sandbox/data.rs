//! Plain data about sandboxes: their names, their clients, and what is told of them.

use super::machine::ClientId;
use super::mailbox::Mailbox;
use crate::audit::EndReason;
use crate::error::{Refusal, SqlState};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What names a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Whose it is.
    pub developer: String,
    /// On which upstream.
    pub upstream: String,
    /// `default` unless the client names another.
    pub name: String,
}

/// What each client of an ended sandbox is told, once.
pub fn end_refusal(reason: EndReason, name: &str) -> Refusal {
    let why = match reason {
        EndReason::Reset => "it was reset",
        EndReason::IdleTimeout => "nobody used it for longer than sandbox.idle_timeout",
        EndReason::MaxAge => "it reached sandbox.max_age",
        EndReason::BlockTimeout => {
            "while idle it held locks that others waited for, for longer than sandbox.block_timeout"
        }
        EndReason::UpstreamLost => "its connection to the upstream was lost",
        EndReason::TransactionLost => "the upstream left the transaction, which must never happen",
        EndReason::ConnectionClosed => "the client that it belonged to is gone",
        EndReason::AccessWithdrawn => "its developer may no longer use this upstream",
        EndReason::ExceptionsWithdrawn => {
            "the policy's exceptions that it was begun with no longer apply to its developer"
        }
        EndReason::UnsafeEncoding => {
            "a function set a client_encoding in which SQL cannot be read safely; use UTF8"
        }
        EndReason::SealOpen => "the upstream is no longer safely sealed",
        EndReason::Shutdown => "the proxy is stopping",
    };
    Refusal::error(
        SqlState::ADMIN_SHUTDOWN,
        format!("the sandbox \"{name}\" has ended: {why}"),
    )
    .detail("Nothing that was done in it was ever committed, and all of it is gone")
    .hint("The next statement begins a fresh sandbox")
}

/// One client as the sandbox lists it.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// Its `application_name` at login.
    pub application: String,
    /// Where it connected from.
    pub address: String,
    /// The process id that the proxy gave it.
    pub process: i32,
    /// When it attached.
    pub since: Instant,
    /// Its mailbox.
    pub mailbox: Arc<Mailbox>,
    /// The channels it listens to.
    pub listens: Arc<BTreeSet<String>>,
}

/// Someone who wants the floor.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Who.
    pub client: ClientId,
    /// Whether its statement may run inside another client's open block.
    pub may_overlap: bool,
    /// Nothing is executed (a batch of Parse and Describe): joining need not wait.
    pub at_once: bool,
    /// Set off by a cancel request.
    pub cancelled: Arc<Notify>,
}

/// Why the floor was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The sandbox is over.
    Ended(EndReason),
    /// The client is to be told this.
    Refused(Refusal),
}

/// What the console shows of a sandbox.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Summary {
    pub key: Key,
    pub begun: Instant,
    pub idle: Option<Duration>,
    pub clients: usize,
    pub armed: bool,
    pub dirty: bool,
    pub tainted: bool,
    pub statements: u64,
    pub savepoints: u64,
    pub round_trips: u64,
    pub process: i32,
    pub holder: Option<ClientId>,
    pub waiting: usize,
}
