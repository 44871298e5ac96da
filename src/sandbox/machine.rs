//! The virtual transactions of one sandbox, sans-IO: what each client believes to be its transaction, laid
//! over the savepoints of the one upstream transaction that never ends.
//!
//! Inputs are what clients do and whether the upstream failed; outputs are [`Op`]s, which become
//! [commands](crate::upstream::command::Command) of the upstream. Nothing here can commit: there is no such op.
//!
//! The picture. At the bottom stands one savepoint, the *standing* one: all that lies below it is virtually
//! committed. A client's work happens in a `Scope`: a transaction block, or an implicit transaction (one
//! simple Query, or all up to a Sync). The lowest scope uses the standing savepoint as its own, so that a
//! read costs no savepoint at all and a block costs one. A scope that joins another client's open block gets
//! a savepoint of its own above it. A scope that ends well is released into the one below it, or, at the
//! bottom, under a new standing savepoint; a scope that ends badly is rolled back to its savepoint.

mod points;
mod questions;
#[cfg(test)]
mod tests;

pub use super::ops::Op;
pub use points::{MOST_POINTS, NoPoint};

use points::Point;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// A client of the proxy, unique for the life of the process.
pub type ClientId = u64;

/// Settings (`pg_settings` names, lower case, and custom ones) and their values.
pub type Settings = Arc<BTreeMap<String, String>>;

/// What kind of work a scope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// A transaction block that the client opened.
    Block,
    /// An implicit transaction; ends at the Sync.
    Implicit,
    /// A part of a client's block that runs on top of another client's block: it ends at the Sync, and the
    /// client's own block, if it has a scope below, goes on.
    Piece,
    /// An implicit transaction or piece that failed; undone before anything else runs.
    FailedImplicit,
    /// A block that was committed while another client's scope lay on top of it; ends with that one.
    Committed,
}

/// One client's open work.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    client: ClientId,
    kind: ScopeKind,
    /// Index in the stack of the savepoint that undoes it.
    bottom: usize,
}

/// What a rollback brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    armed: bool,
    read_only: bool,
    /// How many statements with an effect are alive.
    effects: u64,
    /// How many cursors and portals were opened: a rollback closes them.
    opened: u64,
    installed: Settings,
}

impl State {
    fn install(&mut self, name: &str, value: Option<&str>) {
        let installed = Arc::make_mut(&mut self.installed);
        match value {
            Some(value) => installed.insert(name.to_owned(), value.to_owned()),
            None => installed.remove(name),
        };
    }
}

/// A point in what a machine did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    counter: u64,
    rewinds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Savepoint {
    name: String,
    /// The machine's counter when it was made.
    number: u64,
    at: State,
}

/// A write that was acknowledged as committed but lies in another client's open scope.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acknowledged {
    client: ClientId,
    /// It is lost if the savepoint of this index is rolled back to.
    level: usize,
}

/// Who stands on top, as the schedule must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Whose open block it is.
    pub client: ClientId,
    /// Whether another client's statement can run on top of it now.
    pub joinable: bool,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Machine {
    prefix: Arc<str>,
    counter: u64,
    /// How often something was undone.
    rewinds: u64,
    now: State,
    failed: bool,
    /// Below the stack.
    points: Arc<Vec<Point>>,
    stack: Vec<Savepoint>,
    scopes: Vec<Scope>,
    acknowledged: Vec<Acknowledged>,
    evicted: Vec<ClientId>,
    lost: Vec<ClientId>,
}

impl Machine {
    /// A machine over an upstream transaction that has just begun; the op that makes the standing savepoint
    /// is returned. `prefix` is random, so that nobody can guess our savepoints' names.
    pub fn begin(prefix: &str) -> (Self, Op) {
        let mut machine = Self {
            prefix: prefix.into(),
            counter: 0,
            rewinds: 0,
            now: State {
                armed: false,
                read_only: false,
                effects: 0,
                opened: 0,
                installed: Settings::default(),
            },
            failed: false,
            points: Arc::default(),
            stack: Vec::new(),
            scopes: Vec::new(),
            acknowledged: Vec::new(),
            evicted: Vec::new(),
            lost: Vec::new(),
        };
        let op = machine.push_savepoint();
        (machine, op)
    }

    /// Prepares for a statement of `client`: undoes what failed before, opens a scope if it has none, and
    /// switches settings and the access mode to the client's.
    pub fn enter(
        &mut self,
        client: ClientId,
        kind: ScopeKind,
        wanted: &Settings,
        read_only: bool,
    ) -> Vec<Op> {
        let mut ops = Vec::new();
        self.settle(client, &mut ops);
        match self.scopes.last_mut() {
            Some(top) if top.client == client && top.kind != ScopeKind::Committed => {
                if kind == ScopeKind::Block && top.kind == ScopeKind::Implicit {
                    top.kind = ScopeKind::Block;
                }
            }
            Some(_) => {
                let has_more = self.has_scope(client);
                let kind = if has_more { ScopeKind::Piece } else { kind };
                ops.push(self.push_savepoint());
                self.scopes.push(Scope {
                    client,
                    kind,
                    bottom: self.stack.len() - 1,
                });
            }
            None => self.scopes.push(Scope {
                client,
                kind,
                bottom: 0,
            }),
        }
        if !self.failed {
            if read_only && !self.now.read_only {
                // What was written before must be kept at COMMIT, when READ ONLY is rolled back.
                let written = self
                    .stack
                    .last()
                    .is_some_and(|top| top.at.effects != self.now.effects);
                if written {
                    ops.push(self.push_savepoint());
                }
                self.now.read_only = true;
                ops.push(Op::ReadOnly);
            }
            self.install(wanted, &mut ops);
        }
        ops
    }

    /// Before a statement that may have an effect: arms where that is needed.
    pub fn effect(&mut self) -> Vec<Op> {
        self.now.effects += 1;
        // In a READ ONLY transaction arming fails, and nothing can be written anyway.
        if self.failed || self.now.armed || self.now.read_only {
            return Vec::new();
        }
        self.now.armed = true;
        vec![Op::Arm]
    }

    /// A cursor or portal was opened; it ends with what is rolled back.
    pub fn opened(&mut self) {
        self.now.opened += 1;
    }

    /// Turns the client's block into an implicit transaction, or the reverse: what fails from here on fails
    /// as that.
    pub fn become_kind(&mut self, client: ClientId, kind: ScopeKind) {
        if let Some(scope) = self
            .scopes
            .iter_mut()
            .rev()
            .find(|s| s.client == client && s.is_open())
        {
            scope.kind = kind;
        }
    }

    /// Before a client's COMMIT: what another one left failed above its block is undone, so that the
    /// COMMIT's own work can run.
    pub fn clear_failed(&mut self, client: ClientId) -> Vec<Op> {
        let mut ops = Vec::new();
        if self.has_scope(client) {
            self.settle(client, &mut ops);
        }
        ops
    }

    /// The client's scope ends well. Without one, nothing happens.
    pub fn commit(&mut self, client: ClientId) -> Vec<Op> {
        let mut ops = Vec::new();
        let Some(index) = self.open_scope(client) else {
            return ops;
        };
        if index + 1 < self.scopes.len() {
            if let Some(scope) = self.scopes.get_mut(index) {
                scope.kind = ScopeKind::Committed;
            }
            return ops;
        }
        self.end_top(&mut ops);
        while self
            .scopes
            .last()
            .is_some_and(|top| top.kind == ScopeKind::Committed)
        {
            self.end_top(&mut ops);
        }
        ops
    }

    /// The Sync behind a piece: what it did belongs to the scope below.
    pub fn end_piece(&mut self, client: ClientId) -> Vec<Op> {
        let mut ops = Vec::new();
        if self
            .scopes
            .last()
            .is_some_and(|top| top.client == client && top.kind == ScopeKind::Piece)
        {
            self.end_top(&mut ops);
        }
        ops
    }

    /// The client's scope is undone. Without one, nothing happens.
    pub fn rollback(&mut self, client: ClientId) -> Vec<Op> {
        let mut ops = Vec::new();
        if let Some(index) = self.open_scope(client) {
            self.undo(index, &mut ops);
            while self
                .scopes
                .last()
                .is_some_and(|top| top.kind == ScopeKind::Committed)
            {
                self.end_top(&mut ops);
            }
        }
        ops
    }

    /// A client's own SAVEPOINT; the name under which the upstream knows it is returned.
    pub fn savepoint(&mut self) -> (String, Vec<Op>) {
        let op = self.push_savepoint();
        let name = self
            .stack
            .last()
            .map(|s| s.name.clone())
            .unwrap_or_default();
        (name, vec![op])
    }

    /// A client's own RELEASE, by the upstream's name.
    pub fn release(&mut self, name: &str) -> Vec<Op> {
        let Some(index) = self.stack.iter().position(|s| s.name == name) else {
            return Vec::new();
        };
        let crosses_read_only = self
            .stack
            .get(index)
            .is_some_and(|s| self.now.read_only && !s.at.read_only);
        if crosses_read_only {
            // The way back to where it was not READ ONLY; COMMIT needs it, and it ends then.
            return Vec::new();
        }
        self.evict_above(index);
        self.stack.truncate(index);
        self.sink_acknowledged(index);
        vec![Op::Release(name.to_owned())]
    }

    /// A client's own ROLLBACK TO, by the upstream's name.
    pub fn rollback_to(&mut self, name: &str) -> Vec<Op> {
        let Some(index) = self.stack.iter().position(|s| s.name == name) else {
            return Vec::new();
        };
        self.evict_above(index);
        self.rewind(index);
        vec![Op::RollbackTo(name.to_owned())]
    }

    /// The upstream answered with an error: its transaction is in the failed state.
    pub fn fail(&mut self) {
        self.failed = true;
        match self.scopes.last_mut() {
            Some(top) if matches!(top.kind, ScopeKind::Implicit | ScopeKind::Piece) => {
                top.kind = ScopeKind::FailedImplicit;
            }
            Some(_) => {}
            // It failed before its scope was reached; what stands is the standing savepoint.
            None => self.scopes.push(Scope {
                client: 0,
                kind: ScopeKind::FailedImplicit,
                bottom: 0,
            }),
        }
    }

    /// A setting's value was changed by a statement of the client; it is undone with the scope.
    pub fn installed(&mut self, name: &str, value: Option<&str>) {
        self.now.install(name, value);
    }

    /// Where the machine stands, for [`Self::installed_at`].
    pub fn mark(&self) -> Mark {
        Mark {
            counter: self.counter,
            rewinds: self.rewinds,
        }
    }

    /// As [`Self::installed`], on a machine that was planned further, for a value that was set at this mark.
    pub fn installed_at(&mut self, mark: Mark, name: &str, value: Option<&str>) {
        if self.rewinds != mark.rewinds {
            return;
        }
        for savepoint in self.stack.iter_mut().filter(|s| s.number > mark.counter) {
            savepoint.at.install(name, value);
        }
        self.now.install(name, value);
    }

    /// Switches to these settings before the scope ends: what was SET LOCAL is over.
    pub fn switch(&mut self, wanted: &Settings) -> Vec<Op> {
        let mut ops = Vec::new();
        if !self.failed {
            self.install(wanted, &mut ops);
        }
        ops
    }

    /// Clients whose open block was undone by another one's rollback; each is named once.
    pub fn take_evicted(&mut self, client: ClientId) -> bool {
        let before = self.evicted.len();
        self.evicted.retain(|evicted| *evicted != client);
        self.evicted.len() < before
    }

    /// Clients who were told that their work is committed and whose work was undone since; each is named once.
    pub fn take_lost(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.lost)
    }

    fn open_scope(&self, client: ClientId) -> Option<usize> {
        self.scopes
            .iter()
            .rposition(|scope| scope.client == client && scope.is_open())
    }

    fn push_savepoint(&mut self) -> Op {
        self.counter += 1;
        let mut name = String::with_capacity(24);
        let _ = write!(name, "dp_{}_{}", self.prefix, self.counter);
        self.stack.push(Savepoint {
            name: name.clone(),
            number: self.counter,
            at: self.now.clone(),
        });
        Op::Savepoint(name)
    }

    /// Undoes what a failed implicit transaction left, and puts another client's hopeless block aside.
    fn settle(&mut self, client: ClientId, ops: &mut Vec<Op>) {
        while let Some(top) = self.scopes.last() {
            let failed_implicit = top.kind == ScopeKind::FailedImplicit;
            let hopeless = self.failed
                && top.kind == ScopeKind::Block
                && top.client != client
                && top.bottom + 1 == self.stack.len();
            if hopeless {
                self.evicted.push(top.client);
            }
            if !failed_implicit && !hopeless && top.kind != ScopeKind::Committed {
                break;
            }
            match top.kind {
                ScopeKind::Committed => self.end_top(ops),
                _ => self.undo(self.scopes.len() - 1, ops),
            }
        }
    }

    fn install(&mut self, wanted: &Settings, ops: &mut Vec<Op>) {
        if Arc::ptr_eq(wanted, &self.now.installed) {
            return;
        }
        let installed = &self.now.installed;
        let mut changes: Vec<_> = installed
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .map(|name| (name.clone(), None))
            .collect();
        changes.extend(
            wanted
                .iter()
                .filter(|(name, value)| installed.get(*name) != Some(value))
                .map(|(name, value)| (name.clone(), Some(value.clone()))),
        );
        self.now.installed = wanted.clone();
        if !changes.is_empty() {
            ops.push(Op::Install(changes));
        }
    }

    /// Ends the topmost scope well.
    fn end_top(&mut self, ops: &mut Vec<Op>) {
        let Some(top) = self.scopes.last().cloned() else {
            return;
        };
        let Some(bottom) = self.stack.get(top.bottom).cloned() else {
            return;
        };
        if self.now.read_only && !bottom.at.read_only {
            // READ ONLY cannot be taken back but by a rollback, and since then there is nothing to keep.
            match self.stack.iter().rposition(|s| !s.at.read_only) {
                Some(writable) if writable > top.bottom => {
                    let name = self.stack.get(writable).map(|s| s.name.clone());
                    ops.extend(name.map(Op::RollbackTo));
                    self.rewind_for(top.client, writable);
                }
                _ => return self.undo(self.scopes.len() - 1, ops),
            }
        }
        let changed = self.now.effects != bottom.at.effects;
        self.scopes.pop();
        if top.bottom > 0 {
            ops.push(Op::Release(bottom.name.clone()));
            self.stack.truncate(top.bottom);
            self.sink_acknowledged(top.bottom);
            if changed {
                self.acknowledged.push(Acknowledged {
                    client: top.client,
                    level: top.bottom - 1,
                });
            }
        } else if changed {
            ops.push(Op::Release(bottom.name.clone()));
            self.stack.clear();
            self.acknowledged.clear();
            ops.push(self.push_savepoint());
        } else if let Some(first) = self.stack.get(1) {
            ops.push(Op::Release(first.name.clone()));
            self.stack.truncate(1);
        }
    }

    /// Undoes the scope of this index and all above it.
    fn undo(&mut self, index: usize, ops: &mut Vec<Op>) {
        let Some(scope) = self.scopes.get(index).cloned() else {
            return;
        };
        let Some(bottom) = self.stack.get(scope.bottom).cloned() else {
            return;
        };
        for above in self.scopes.drain(index + 1..) {
            if above.is_open() && above.client != scope.client {
                self.evicted.push(above.client);
            }
        }
        self.scopes.pop();
        let touched = self.failed || self.now != bottom.at || self.stack.len() > scope.bottom + 1;
        let had_effects = self.now.effects != bottom.at.effects;
        self.rewind_for(scope.client, scope.bottom);
        if scope.bottom > 0 {
            if touched {
                ops.push(Op::RollbackTo(bottom.name.clone()));
            }
            ops.push(Op::Release(bottom.name));
            self.stack.truncate(scope.bottom);
        } else if had_effects && self.now.effects == 0 && self.points.is_empty() {
            ops.push(Op::Restart);
            self.now = State {
                armed: false,
                read_only: false,
                effects: 0,
                opened: 0,
                installed: Settings::default(),
            };
            self.stack.clear();
            ops.push(self.push_savepoint());
        } else if touched {
            ops.push(Op::RollbackTo(bottom.name));
        }
    }

    fn rewind(&mut self, index: usize) {
        let client = self.scopes.last().map_or(0, |top| top.client);
        self.rewind_for(client, index);
    }

    /// State as it was when the savepoint of this index was made, which stays.
    fn rewind_for(&mut self, client: ClientId, index: usize) {
        self.rewinds += 1;
        if let Some(savepoint) = self.stack.get(index) {
            self.now = savepoint.at.clone();
        }
        self.stack.truncate(index + 1);
        self.failed = false;
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.acknowledged)
            .into_iter()
            .partition(|a| a.level >= index);
        self.acknowledged = kept;
        self.lost.extend(
            gone.into_iter()
                .map(|a| a.client)
                .filter(|lost| *lost != client),
        );
    }

    /// Savepoints from `index` on were released: what lay above them lies one below now.
    fn sink_acknowledged(&mut self, index: usize) {
        for acknowledged in &mut self.acknowledged {
            acknowledged.level = acknowledged.level.min(index.saturating_sub(1));
        }
    }

    /// A scope whose savepoint lies above this index cannot outlive what happens there.
    fn evict_above(&mut self, index: usize) {
        while let Some(top) = self.scopes.last() {
            if top.bottom <= index {
                break;
            }
            if top.is_open() {
                self.evicted.push(top.client);
            }
            self.scopes.pop();
        }
    }
}

impl Scope {
    fn is_open(&self) -> bool {
        matches!(self.kind, ScopeKind::Block | ScopeKind::Implicit)
    }
}
