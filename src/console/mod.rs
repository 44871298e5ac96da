//! The virtual database `devinprod`: what a developer may ask the proxy itself.
//!
//! `psql postgres://dev1@proxy/devinprod` speaks to this module instead of Postgres. It is served with pgwire's handlers
//! and codec, from the moment at which the client is authenticated. Each developer sees their own sandboxes
//! and clients; the only thing they see of others is whom they wait for.
//!
//! The console knows nothing of how sandboxes work: it asks a [`Directory`].

mod answer;
mod command;
mod diff;
mod handler;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::budget::Line;
use crate::changeset::{Event, Summary};
use crate::error::Refusal;
use crate::sandbox::settings::Isolation;

pub use crate::sql::value::quote_identifier;
pub use answer::what_holds;
pub use command::SandboxAct;
pub use handler::serve;

/// The database name that clients ask for to get here; no upstream may be called so.
pub const DATABASE: &str = "devinprod";

/// Who is at the console.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The developer, authenticated.
    pub developer: String,
    /// Where from.
    pub address: SocketAddr,
}

/// What takes a changeset, piece by piece, and says when it has enough.
pub type Listener<'a> = &'a mut (dyn FnMut(Event<'_>) -> ControlFlow<()> + Send);

/// What the console asks the rest of the proxy. Every method answers for one developer only.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The upstreams that the developer may use.
    fn upstreams(&self, developer: &str) -> Vec<UpstreamRow>;

    /// The developer's sandboxes.
    fn sandboxes(&self, developer: &str) -> Vec<SandboxRow>;

    /// The developer's connections.
    fn clients(&self, developer: &str) -> Vec<ClientRow>;

    /// Who waits for whom, where the developer is one of the two.
    ///
    /// # Errors
    /// An upstream had to be asked and did not answer.
    async fn locks(&self, developer: &str) -> Result<Vec<LockRow>, Refusal>;

    /// How the developer's read budgets stand, those included that they share with others.
    ///
    /// # Errors
    /// The ledger is not there.
    async fn budgets(&self, developer: &str) -> Result<Vec<Line>, Refusal>;

    /// The points of the developer's sandboxes.
    ///
    /// # Errors
    /// A statement runs in one of them, so that nobody can look (55P03).
    fn points(&self, developer: &str) -> Result<Vec<PointRow>, Refusal>;

    /// Reads what the developer's sandbox `name` on `upstream`, or on the only one where there is a sandbox of that name, would
    /// have changed: over connections like any other of that developer, so masks, budgets and the record hold.
    ///
    /// # Errors
    /// There is no such sandbox, there are several and no upstream was named, it takes too long, or what the upstream and
    /// the proxy refuse such a connection.
    async fn changeset(
        &self,
        visitor: &Visitor,
        upstream: Option<&str>,
        name: &str,
        tell: Listener<'_>,
    ) -> Result<Summary, Refusal>;

    /// Does something with the developer's sandbox `name` on `upstream`, or on the only one where there is a sandbox of
    /// that name.
    ///
    /// # Errors
    /// There is none, there are several and no upstream was named, or it cannot be done now.
    async fn act(
        &self,
        developer: &str,
        upstream: Option<&str>,
        name: &str,
        act: &SandboxAct,
    ) -> Result<(), Refusal>;

    /// Signs and records what a command of the developer says that it did: JSON of a
    /// [`Claim`](crate::evidence::Claim). Returns the envelope, as JSON.
    ///
    /// # Errors
    /// It is no claim, it is about an upstream that the developer may not use, or it cannot be signed or recorded.
    async fn sign(&self, visitor: &Visitor, claim: &str) -> Result<String, Refusal>;
}

/// A line of SHOW POINTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointRow {
    /// The upstream.
    pub upstream: String,
    /// The sandbox.
    pub sandbox: String,
    /// What the developer called it.
    pub point: String,
}

/// A line of SHOW UPSTREAMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRow {
    /// The database name to ask for.
    pub name: String,
    /// `local`, `test`, `preprod` or `prod`.
    pub stage: &'static str,
    /// What stands between the developer and the data.
    pub isolation: Isolation,
    /// How many sandboxes the developer has there.
    pub sandboxes: usize,
}

/// A line of SHOW SANDBOXES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRow {
    /// The upstream.
    pub upstream: String,
    /// The sandbox's name.
    pub name: String,
    /// What it is doing.
    pub state: SandboxState,
    /// When its upstream transaction began.
    pub begun: SystemTime,
    /// How long nobody has used it.
    pub idle: Duration,
    /// How many connections use it.
    pub clients: usize,
    /// It holds the right to write.
    pub armed: bool,
    /// Something was rolled back of which another client had been told that it is committed.
    pub tainted: bool,
    /// How many statements ran in it.
    pub statements: u64,
    /// How many subtransactions with writes are alive; above 64, the server's snapshots become slower.
    pub subtransactions: u64,
    /// The process id of its upstream session, if it has one.
    pub backend_pid: Option<i32>,
}

/// What a sandbox is doing, in the words of `pg_stat_activity.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// A statement is running.
    Active,
    /// Nobody is in a virtual transaction.
    Idle,
    /// A client is in a virtual transaction and sends nothing.
    IdleInTransaction,
    /// The same, and that transaction has failed.
    IdleInTransactionAborted,
}

impl SandboxState {
    /// As `pg_stat_activity` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle in transaction",
            Self::IdleInTransactionAborted => "idle in transaction (aborted)",
        }
    }
}

/// A line of SHOW CLIENTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// The process id that the client was told (`pg_backend_pid` of libpq).
    pub pid: i32,
    /// The upstream, or `devinprod` for a console.
    pub upstream: String,
    /// The sandbox, if it is in one.
    pub sandbox: Option<String>,
    /// `application_name`.
    pub application: String,
    /// Where it comes from.
    pub address: SocketAddr,
    /// What it is doing.
    pub state: SandboxState,
    /// When it connected.
    pub connected: SystemTime,
    /// It waits for this client of the same sandbox.
    pub waits_for: Option<i32>,
}

/// A line of SHOW LOCKS: somebody waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRow {
    /// The upstream.
    pub upstream: String,
    /// What is waited for.
    pub kind: LockKind,
    /// The relation or lock key, as far as it is known; never a value of a row.
    pub object: Option<String>,
    /// Who waits: a developer, or the role's name of a session that is not devinprod's.
    pub waiter: String,
    /// The waiter's sandbox, if it is one.
    pub waiter_sandbox: Option<String>,
    /// For whom.
    pub holder: String,
    /// The holder's sandbox, if it is one.
    pub holder_sandbox: Option<String>,
    /// For how long so far.
    pub waited: Duration,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// The end of another client's virtual transaction in the same sandbox.
    Floor,
    /// An advisory lock that the proxy keeps.
    Advisory,
    /// A lock of the upstream.
    Upstream,
}

impl LockKind {
    /// As SHOW LOCKS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Advisory => "advisory",
            Self::Upstream => "upstream",
        }
    }
}
