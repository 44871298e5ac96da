//! What one client believes of its session: settings, transaction block, cursors, listened channels.
//!
//! A [`View`] is cheap to clone. It is what a virtual ROLLBACK brings back, and what is thrown away when a
//! batch fails half-way.

use super::machine::Settings;
use crate::sql::statement::{IsolationLevel, Modes, OnCommit};
use crate::wire::backend::Status;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub struct View {
    /// SET and its scopes.
    pub settings: ClientSettings,
    /// The transaction block, if there is one.
    pub block: Option<Arc<Block>>,
    /// SQL cursors by the client's name for them.
    pub cursors: Arc<BTreeMap<String, Cursor>>,
    /// Temporary tables that something happens to at COMMIT, by their quoted names.
    pub on_commit: Arc<BTreeMap<String, OnCommit>>,
    /// LISTEN, effective at COMMIT.
    pub listens: Arc<BTreeSet<String>>,
    /// NOTIFY: channel and payload, delivered at COMMIT, each pair once.
    pub notifications: Arc<Vec<(String, String)>>,
    /// SET SESSION CHARACTERISTICS.
    pub characteristics: Modes,
    /// Which transaction of the client this is, and which one was kept last.
    transaction: (u64, Option<u64>),
}

/// A transaction block as the client sees it.
#[derive(Debug, Clone)]
pub struct Block {
    /// When BEGIN came: `now()` stands still from here on.
    pub begun: Instant,
    /// The same by the upstream's clock, once it was asked: seconds since the epoch.
    pub now: Option<String>,
    /// The modes in force.
    pub isolation: IsolationLevel,
    /// READ ONLY
    pub read_only: bool,
    /// DEFERRABLE
    pub deferrable: bool,
    /// The modes that AND CHAIN gave it: those come back after an error, what BEGIN said does not.
    pub chained: Modes,
    /// A statement that takes a snapshot has run: modes are fixed.
    pub queried: bool,
    /// A statement failed.
    pub failed: bool,
    /// SET CONSTRAINTS has run.
    pub constraints: bool,
    /// The session as it was before BEGIN, for ROLLBACK.
    pub before: Box<View>,
    /// The client's own savepoints, outermost first.
    pub savepoints: Vec<ClientSavepoint>,
}

/// A client's own savepoint.
#[derive(Debug, Clone)]
pub struct ClientSavepoint {
    /// As the client calls it.
    pub name: String,
    /// As the upstream knows it.
    pub upstream: String,
    /// Portals with a higher number end with a ROLLBACK TO.
    pub number: u64,
    /// The session as it was.
    pub before: Box<View>,
}

/// A cursor made by DECLARE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// As the upstream knows it.
    pub upstream: String,
    /// WITH HOLD
    pub hold: bool,
}

/// Three layers of settings, and what they add up to.
#[derive(Debug, Clone, Default)]
pub struct ClientSettings {
    startup: Settings,
    session: Settings,
    local: Settings,
    effective: Settings,
}

impl ClientSettings {
    /// With the values of the startup message, to which RESET returns.
    pub fn from_startup(startup: BTreeMap<String, String>) -> Self {
        let startup = Arc::new(startup);
        Self {
            effective: startup.clone(),
            startup,
            ..Self::default()
        }
    }

    /// What the upstream must have for this client.
    pub fn effective(&self) -> &Settings {
        &self.effective
    }

    /// A setting's value, if this client set it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.effective.get(name).map(String::as_str)
    }

    /// As [`Self::get`], without the values of the startup message.
    pub fn changed(&self, name: &str) -> Option<&str> {
        let value = self.local.get(name).or_else(|| self.session.get(name));
        value.map(String::as_str)
    }

    /// SET (or, with `local`, SET LOCAL).
    pub fn set(&mut self, name: &str, value: String, local: bool) {
        if local {
            Arc::make_mut(&mut self.local).insert(name.to_owned(), value);
        } else {
            Arc::make_mut(&mut self.session).insert(name.to_owned(), value);
            Arc::make_mut(&mut self.local).remove(name);
        }
        self.recompute();
    }

    /// RESET; true if the setting has a value of the startup message to return to.
    pub fn reset(&mut self, name: &str) -> bool {
        Arc::make_mut(&mut self.session).remove(name);
        Arc::make_mut(&mut self.local).remove(name);
        self.recompute();
        self.startup.contains_key(name)
    }

    /// RESET ALL. Role and session authorization stay, as in Postgres.
    pub fn reset_all(&mut self) {
        let kept = |settings: &Settings| -> Settings {
            Arc::new(
                settings
                    .iter()
                    .filter(|(k, _)| *k == "role")
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect(),
            )
        };
        self.session = kept(&self.session);
        self.local = kept(&self.local);
        self.recompute();
    }

    /// The end of a transaction: SET LOCAL is over.
    pub fn end_transaction(&mut self) {
        if !self.local.is_empty() {
            self.local = Settings::default();
            self.recompute();
        }
    }

    /// What will be in effect at the end of the transaction, if that is not what is in effect now.
    pub fn after_transaction(&self) -> Option<Settings> {
        let mut after = self.clone();
        after.end_transaction();
        (after.effective != self.effective).then_some(after.effective)
    }

    fn recompute(&mut self) {
        let mut all = (*self.startup).clone();
        for layer in [&self.session, &self.local] {
            all.extend(
                layer
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        }
        self.effective = Arc::new(all);
    }
}

/// One of a client's transactions; see [`View::moment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    transaction: u64,
}

impl View {
    /// The status byte that this client is due.
    pub fn status(&self) -> Status {
        match &self.block {
            None => Status::Idle,
            Some(block) if block.failed => Status::Failed,
            Some(_) => Status::Transaction,
        }
    }

    /// The block, to change it.
    pub fn block_mut(&mut self) -> Option<&mut Block> {
        self.block.as_mut().map(Arc::make_mut)
    }

    /// What it knew of is gone: cursors, and temporary tables that a COMMIT would empty or drop.
    pub fn forget_objects(&mut self) {
        self.cursors = Arc::default();
        self.on_commit = Arc::default();
        if let Some(block) = self.block_mut() {
            block.before.cursors = Arc::default();
            block.before.on_commit = Arc::default();
        }
    }

    /// Opens a block. `begun` is when its transaction began; `chained` are the modes of the one before.
    pub fn begin(&mut self, modes: Modes, chained: Option<Modes>, begun: Instant) {
        let modes = chained.unwrap_or(modes);
        let before = Box::new(self.clone());
        self.block = Some(Arc::new(Block {
            begun,
            now: None,
            isolation: modes
                .isolation
                .or(self.characteristics.isolation)
                .unwrap_or(IsolationLevel::ReadCommitted),
            read_only: modes.read_only.unwrap_or_else(|| self.default_read_only()),
            deferrable: modes
                .deferrable
                .or(self.characteristics.deferrable)
                .unwrap_or(false),
            chained: chained.unwrap_or_default(),
            queried: false,
            failed: false,
            constraints: false,
            before,
            savepoints: Vec::new(),
        }));
    }

    /// The modes of the block, to be taken over by AND CHAIN.
    pub fn modes(&self) -> Modes {
        match &self.block {
            None => Modes::default(),
            Some(block) if block.failed => block.chained,
            Some(block) => Modes {
                isolation: Some(block.isolation),
                read_only: Some(block.read_only),
                deferrable: Some(block.deferrable),
            },
        }
    }

    /// Takes over what a statement of `at`, an earlier state of this client, turned out to have set.
    pub fn learn_setting(&mut self, at: &Moment, name: &str, value: Option<&str>, local: bool) {
        let (transaction, kept) = self.transaction;
        let over = kept == Some(at.transaction);
        if (transaction != at.transaction && !over) || (over && local) {
            return;
        }
        match value {
            Some(value) => self.settings.set(name, value.to_owned(), local),
            None => {
                self.settings.reset(name);
            }
        }
    }

    /// The transaction that this state belongs to.
    pub fn moment(&self) -> Moment {
        Moment {
            transaction: self.transaction.0,
        }
    }

    /// Whether a statement of this client must run READ ONLY.
    pub fn is_read_only(&self) -> bool {
        self.block
            .as_ref()
            .map_or_else(|| self.default_read_only(), |block| block.read_only)
    }

    /// The isolation level that SHOW answers.
    pub fn isolation(&self) -> IsolationLevel {
        self.block
            .as_ref()
            .map(|block| block.isolation)
            .or(self.characteristics.isolation)
            .unwrap_or(IsolationLevel::ReadCommitted)
    }

    /// What a successful end of the transaction leaves.
    pub fn committed(&mut self) {
        self.transaction = (self.transaction.0 + 1, Some(self.transaction.0));
        self.block = None;
        self.settings.end_transaction();
        if self.cursors.values().any(|cursor| !cursor.hold) {
            Arc::make_mut(&mut self.cursors).retain(|_, cursor| cursor.hold);
        }
        if self
            .on_commit
            .values()
            .any(|action| *action == OnCommit::Drop)
        {
            Arc::make_mut(&mut self.on_commit).retain(|_, action| *action != OnCommit::Drop);
        }
        self.notifications = Arc::default();
    }

    /// The session as it was before the block.
    pub fn rolled_back(&mut self) {
        let number = self.transaction.0;
        if let Some(block) = self.block.take() {
            *self = (*block.before).clone();
        }
        self.transaction.0 = number + 1;
        self.settings.end_transaction();
        self.notifications = Arc::default();
    }

    /// Whether a transaction is READ ONLY that does not say what it is.
    pub fn default_read_only(&self) -> bool {
        self.characteristics.read_only.unwrap_or_else(|| {
            matches!(
                self.settings.get("default_transaction_read_only"),
                Some("on" | "true" | "yes" | "1")
            )
        })
    }
}
