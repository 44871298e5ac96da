//! What the console answers: columns and rows, before anybody thinks of a protocol.

use std::time::SystemTime;

use super::command::{Command, SandboxAct};
use super::diff;
use super::{ClientRow, Directory, LockRow, PointRow, SandboxRow, UpstreamRow, Visitor};
use crate::audit::time::Utc;
use crate::budget::Line;
use crate::error::Refusal;
use crate::sandbox::settings::{Isolation, Seal};

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int8,
    Bool,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(Option<String>),
    Int8(Option<i64>),
    Bool(bool),
}

/// Names and types.
pub(super) type Columns = &'static [(&'static str, Kind)];

/// What a command answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub tag: &'static str,
    /// None for a command that answers with its tag alone.
    pub rows: Option<Vec<Vec<Cell>>>,
}

const HELP: &[(&str, &str)] = &[
    ("SHOW UPSTREAMS", "what you may use, and what holds there"),
    ("SHOW SANDBOXES", "your sandboxes"),
    (
        "SHOW CLIENTS",
        "your connections, and which of them waits for which",
    ),
    ("SHOW LOCKS", "whom you wait for, and who waits for you"),
    (
        "SHOW DIFF name [ON upstream]",
        "what a sandbox would have changed, a row for each cell",
    ),
    (
        "SHOW BUDGETS",
        "how much you may read, and how much of it is used",
    ),
    (
        "RESET SANDBOX name [ON upstream]",
        "throw away everything that a sandbox holds; a fresh one begins with the next statement",
    ),
    (
        "SAVE SANDBOX name AS point [ON upstream]",
        "keep what a sandbox holds now, so that you can go back to it",
    ),
    (
        "RETURN SANDBOX name TO point [ON upstream]",
        "undo all that was done in it since then, as often as you like",
    ),
    ("SHOW POINTS", "the points that you can go back to"),
    (
        "KEEP SANDBOX name [FOR 8h] [ON upstream]",
        "let it live without being used, for a while or as long as max_age allows",
    ),
    (
        "RECORD EVIDENCE 'json'",
        "sign what a run showed about a commit; devinprod compare and rehearse say it themselves",
    ),
    ("HELP", "this"),
];

/// The columns that a command answers with; empty if it answers with its tag alone.
pub(super) fn columns(command: &Command) -> Columns {
    use Kind::{Bool, Int8, Text};
    match command {
        Command::Help => &[("command", Text), ("what it does", Text)],
        Command::ShowUpstreams => &[
            ("upstream", Text),
            ("stage", Text),
            ("isolation", Text),
            ("sandboxes", Int8),
            ("what holds", Text),
        ],
        Command::ShowSandboxes => &[
            ("upstream", Text),
            ("sandbox", Text),
            ("state", Text),
            ("begun", Text),
            ("idle_seconds", Int8),
            ("clients", Int8),
            ("armed", Bool),
            ("tainted", Bool),
            ("statements", Int8),
            ("subtransactions", Int8),
            ("backend_pid", Int8),
        ],
        Command::ShowClients => &[
            ("pid", Int8),
            ("upstream", Text),
            ("sandbox", Text),
            ("application_name", Text),
            ("client", Text),
            ("state", Text),
            ("connected", Text),
            ("waits_for", Int8),
        ],
        Command::ShowLocks => &[
            ("upstream", Text),
            ("kind", Text),
            ("object", Text),
            ("waiter", Text),
            ("waiter_sandbox", Text),
            ("holder", Text),
            ("holder_sandbox", Text),
            ("waited_seconds", Int8),
        ],
        Command::ShowBudgets => &[
            ("upstream", Text),
            ("who", Text),
            ("budget", Text),
            ("used", Int8),
            ("limit", Int8),
            ("refilled_at", Text),
            ("because", Text),
        ],
        Command::ShowDiff { .. } => &[
            ("schema", Text),
            ("table", Text),
            ("row", Int8),
            ("change", Text),
            ("key", Text),
            ("column", Text),
            ("before", Text),
            ("after", Text),
        ],
        Command::Ping => &[("?column?", Int8)],
        Command::ShowPoints => &[("upstream", Text), ("sandbox", Text), ("point", Text)],
        Command::RecordEvidence(_) => &[("envelope", Text)],
        Command::Sandbox { .. }
        | Command::Begin
        | Command::Commit
        | Command::Rollback
        | Command::Set
        | Command::DiscardAll => &[],
    }
}

/// Runs a command for a developer.
///
/// # Errors
/// What the directory refuses.
pub(super) async fn answer(
    command: &Command,
    visitor: &Visitor,
    directory: &dyn Directory,
) -> Result<Answer, Refusal> {
    let developer = visitor.developer.as_str();
    let rows = |tag, rows: Vec<Vec<Cell>>| Answer {
        tag,
        rows: Some(rows),
    };
    let tag = |tag| Answer { tag, rows: None };
    Ok(match command {
        Command::Help => {
            let lines = HELP
                .iter()
                .map(|&(left, right)| vec![text(left), text(right)]);
            rows("HELP", lines.collect())
        }
        Command::ShowUpstreams => {
            let upstreams = directory.upstreams(developer);
            rows("SHOW", upstreams.into_iter().map(upstream).collect())
        }
        Command::ShowSandboxes => {
            let sandboxes = directory.sandboxes(developer);
            rows("SHOW", sandboxes.into_iter().map(sandbox).collect())
        }
        Command::ShowClients => {
            let clients = directory.clients(developer);
            rows("SHOW", clients.into_iter().map(client).collect())
        }
        Command::ShowLocks => {
            let locks = directory.locks(developer).await?;
            rows("SHOW", locks.into_iter().map(lock).collect())
        }
        Command::ShowBudgets => {
            let budgets = directory.budgets(developer).await?;
            rows("SHOW", budgets.into_iter().map(budget).collect())
        }
        Command::ShowPoints => {
            let points = directory.points(developer)?;
            let row = |row: PointRow| vec![text(row.upstream), text(row.sandbox), text(row.point)];
            rows("SHOW", points.into_iter().map(row).collect())
        }
        Command::ShowDiff { name, upstream } => {
            let lines = diff::rows(visitor, upstream.as_deref(), name, directory);
            rows("SHOW", lines.await?)
        }
        Command::Sandbox {
            act,
            name,
            upstream,
        } => {
            directory
                .act(developer, upstream.as_deref(), name, act)
                .await?;
            tag(match act {
                SandboxAct::Reset => "RESET SANDBOX",
                SandboxAct::Save { .. } => "SAVE SANDBOX",
                SandboxAct::Back { .. } => "RETURN SANDBOX",
                SandboxAct::Keep { .. } => "KEEP SANDBOX",
            })
        }
        Command::RecordEvidence(claim) => {
            let envelope = directory.sign(visitor, claim).await?;
            rows("RECORD", vec![vec![text(envelope)]])
        }
        Command::Ping => rows("SELECT", vec![vec![int(1)]]),
        Command::Begin => tag("BEGIN"),
        Command::Commit => tag("COMMIT"),
        Command::Rollback => tag("ROLLBACK"),
        Command::Set => tag("SET"),
        Command::DiscardAll => tag("DISCARD ALL"),
    })
}

/// What an isolation promises, in words.
pub fn what_holds(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Sandbox(Seal::Sealed) => "nothing is committed; Postgres itself refuses to",
        Isolation::Sandbox(Seal::Unsealed) => "nothing is committed, unless on purpose: not sealed",
        Isolation::ReadOnly(_) => "nothing can be written",
        Isolation::None => "nothing: what you write is committed",
    }
}

fn upstream(row: UpstreamRow) -> Vec<Cell> {
    vec![
        text(row.name),
        text(row.stage),
        text(row.isolation.as_str()),
        count(row.sandboxes),
        text(what_holds(row.isolation)),
    ]
}

fn sandbox(row: SandboxRow) -> Vec<Cell> {
    vec![
        text(row.upstream),
        text(row.name),
        text(row.state.as_str()),
        time(row.begun),
        count(row.idle.as_secs()),
        count(row.clients),
        Cell::Bool(row.armed),
        Cell::Bool(row.tainted),
        count(row.statements),
        count(row.subtransactions),
        Cell::Int8(row.backend_pid.map(i64::from)),
    ]
}

fn client(row: ClientRow) -> Vec<Cell> {
    vec![
        int(row.pid),
        text(row.upstream),
        Cell::Text(row.sandbox),
        text(row.application),
        text(row.address.to_string()),
        text(row.state.as_str()),
        time(row.connected),
        Cell::Int8(row.waits_for.map(i64::from)),
    ]
}

fn lock(row: LockRow) -> Vec<Cell> {
    vec![
        text(row.upstream),
        text(row.kind.as_str()),
        Cell::Text(row.object),
        text(row.waiter),
        Cell::Text(row.waiter_sandbox),
        text(row.holder),
        Cell::Text(row.holder_sandbox),
        count(row.waited.as_secs()),
    ]
}

fn budget(line: Line) -> Vec<Cell> {
    vec![
        text(line.upstream),
        text(line.who),
        text(line.budget),
        line.used.map_or(Cell::Int8(None), count),
        count(line.limit),
        Cell::Text(line.refilled_at),
        text(line.place),
    ]
}

pub(super) fn text(value: impl Into<String>) -> Cell {
    Cell::Text(Some(value.into()))
}

fn time(value: SystemTime) -> Cell {
    text(Utc(value).to_string())
}

fn int(value: i32) -> Cell {
    Cell::Int8(Some(value.into()))
}

/// A number that is beyond a bigint shows as the largest one.
pub(super) fn count(value: impl TryInto<i64>) -> Cell {
    Cell::Int8(Some(value.try_into().unwrap_or(i64::MAX)))
}
