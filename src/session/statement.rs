//! What surrounds a forwarded statement: the scope it runs in, the right to write, settings before it and
//! settings read back after it.

use super::expect::{Expect, Own};
use super::prepared::{Origin, Prepared, Source};
use super::{Session, Stop};
use crate::error::{Refusal, SqlState};
use crate::plan::{Action, Forward, Plan};
use crate::sandbox::machine::{Op, ScopeKind};
use crate::sandbox::view::Cursor;
use crate::sql::edit::Edit;
use crate::sql::rewrite;
use crate::sql::statement::{Kind, OnCommit};
use crate::upstream::command::{Command, identifier};
use std::sync::Arc;

impl Session {
    /// Takes the floor and brings the upstream into this client's scope and settings.
    pub(super) async fn enter(&mut self, plan: &Plan) -> Result<(), Stop> {
        let never = plan.statement.facts.skip_locked
            || matches!(plan.statement.kind, Kind::Lock { .. })
            || matches!(plan.action, Action::Advisory(_));
        self.enter_scope(!never).await
    }

    /// As [`Self::enter`]; `may_overlap` says whether another client's open block may be joined.
    pub(super) async fn enter_scope(&mut self, may_overlap: bool) -> Result<(), Stop> {
        self.take_floor(may_overlap).await?;
        let Some((machine, view)) = &mut self.planned else {
            return Ok(());
        };
        let (kind, begun) = match view.block_mut() {
            Some(block) => {
                let first = !std::mem::replace(&mut block.queried, true);
                (ScopeKind::Block, first)
            }
            None => (ScopeKind::Implicit, false),
        };
        // Nothing is executed: it need not become this client's block to be undone with it.
        let kind =
            if self.asking.at_once && !machine.has_scope(self.id) && machine.holder().is_some() {
                ScopeKind::Piece
            } else {
                kind
            };
        if begun && !machine.has_scope(self.id) {
            machine.become_kind(self.id, kind);
        }
        let read_only = view.is_read_only();
        let wanted = view.settings.effective().clone();
        let had_scope = machine.has_scope(self.id);
        let joins = !had_scope
            && machine
                .holder()
                .is_some_and(|holder| holder.client != self.id);
        let ops = machine.enter(self.id, kind, &wanted, read_only);
        if joins {
            self.context.joined(&self.login, &self.sandbox.key);
        }
        if ops.is_empty() && !had_scope {
            self.reach();
        }
        self.push_ops(ops)
    }

    /// The planned state holds from here on: at once, where nothing is awaited before it.
    fn reach(&mut self) {
        if !self.queue.is_empty() {
            return self.push_advance();
        }
        let Some((machine, view)) = self.planned.clone() else {
            return;
        };
        if let Ok(world) = self.world() {
            world.machine = machine;
            self.view = view;
        }
    }

    /// What must come right before a statement that does this.
    pub(super) fn before(&mut self, forward: &Forward) -> Result<(), Stop> {
        if forward.now {
            self.set_now()?;
        }
        for name in &forward.virtual_settings {
            let value = self.virtual_setting(name);
            self.push_own(
                &Command::Set(format!("devinprod.{name}"), value),
                Own::Nothing,
            )?;
        }
        if forward.effect {
            let Some((machine, _)) = &mut self.planned else {
                return Ok(());
            };
            let ops = machine.effect();
            self.push_ops(ops)?;
        }
        Ok(())
    }

    /// Sets the time at which the virtual transaction began; it stands still in a block.
    fn set_now(&mut self) -> Result<(), Stop> {
        let (ago, known) = match &self.plan_view().block {
            Some(block) => (block.begun.elapsed().as_micros(), block.now.clone()),
            None => (0, None),
        };
        match known {
            Some(now) => {
                self.push_own(&Command::Set("devinprod.now".to_owned(), now), Own::Nothing)
            }
            // Asked before in this pipeline, and the answer is not here yet.
            None if self.now_asked => Ok(()),
            None => {
                self.now_asked = true;
                self.push_own(&Command::Now(ago), Own::Now)
            }
        }
    }

    /// What must come right after it.
    pub(super) fn after(&mut self, plan: &Plan, forward: &Forward) -> Result<(), Stop> {
        for (name, local) in &forward.captures {
            self.push_own(
                &Command::Show(name.clone()),
                Own::Setting {
                    name: name.clone(),
                    local: *local,
                },
            )?;
        }
        if forward.ddl {
            self.world()?.catalog.changes();
        }
        match &plan.statement.kind {
            Kind::Reset(name) => {
                if let Some((machine, view)) = &mut self.planned {
                    machine.installed(name, None);
                    view.settings.reset(name);
                }
            }
            Kind::CreateTable {
                temporary: true,
                on_commit,
                name: Some(name),
            } if *on_commit != OnCommit::PreserveRows => {
                let view = self.plan_view();
                Arc::make_mut(&mut view.on_commit).insert(identifier(&name.name), *on_commit);
            }
            Kind::Declare { name, hold } => {
                self.declares(&name.value);
                if let Some((machine, _)) = &mut self.planned {
                    machine.opened();
                }
                let cursor = Cursor {
                    upstream: self.upstream_cursor(&name.value),
                    hold: *hold,
                };
                Arc::make_mut(&mut self.plan_view().cursors).insert(name.value.clone(), cursor);
            }
            Kind::Close(Some(name)) => {
                self.portals.remove(name.value.as_bytes());
                Arc::make_mut(&mut self.plan_view().cursors).remove(&name.value);
            }
            Kind::SetConstraints { .. } => self.set_constraint_modes(),
            Kind::Lock { mode, .. } if crate::plan::is_exclusive(*mode) => {
                self.sandbox.set_exclusive(self.id, true);
            }
            _ => {}
        }
        self.push_advance();
        Ok(())
    }

    /// A statement that Postgres would refuse outside of a block, or inside of one, while the sandbox's real
    /// transaction would let it pass.
    pub(super) fn check_place(&mut self, plan: &Plan) -> Result<(), Stop> {
        let in_block = self.plan_view().block.is_some() || self.implicit_block;
        let only_in_block = |what: &str| {
            Refusal::error(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                format!("{what} can only be used in transaction blocks"),
            )
        };
        let never_in_block = |what: &str| {
            Refusal::error(
                SqlState::ACTIVE_SQL_TRANSACTION,
                format!("{what} cannot run inside a transaction block"),
            )
        };
        let refusal = match &plan.statement.kind {
            Kind::Lock { .. } if !in_block => Some(only_in_block("LOCK TABLE")),
            Kind::Declare { hold: false, .. } if !in_block => Some(only_in_block("DECLARE CURSOR")),
            Kind::Concurrently { tag, .. } if in_block && !tag.starts_with("REFRESH") => {
                Some(never_in_block(&format!("{tag} CONCURRENTLY")))
            }
            Kind::Vacuum if in_block => Some(never_in_block("VACUUM")),
            Kind::Discard(crate::sql::statement::Discard::All) if in_block => {
                Some(never_in_block("DISCARD ALL"))
            }
            Kind::Set { local: true, .. } if !in_block => {
                self.warn_outside_block("SET LOCAL");
                None
            }
            Kind::SetConstraints { .. } if !in_block => {
                self.warn_outside_block("SET CONSTRAINTS");
                None
            }
            _ => None,
        };
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// The edits that depend on this session: names that are its own, and defaults of the catalog.
    /// True beside them if they read the time.
    pub(super) fn session_edits(&mut self, plan: &Plan) -> Result<(Vec<Edit>, bool), Stop> {
        let mut edits = self.name_edits(plan)?;
        let mut now = false;
        let statement = &plan.statement;
        match &statement.kind {
            Kind::Declare { name, .. } => {
                let upstream = self.upstream_cursor(&name.value);
                edits.push(Edit::new(name.span.clone(), identifier(&upstream)));
            }
            Kind::Fetch { name, .. } | Kind::Close(Some(name)) => {
                if let Some(upstream) = self.portal_named(name.value.as_bytes()) {
                    edits.push(Edit::new(name.span.clone(), identifier(&upstream)));
                }
            }
            Kind::Write if self.floor.is_some() => {
                let catalog = &self.world()?.catalog;
                let defaults =
                    rewrite::insert_default_edits(&plan.text, &|table| catalog.now_defaults(table));
                now = !defaults.is_empty();
                edits.extend(defaults);
            }
            _ => {}
        }
        if let Some(name) = &statement.facts.current_of
            && let Some(cursor) = self.plan_view().cursors.get(&name.value)
        {
            edits.push(Edit::new(name.span.clone(), identifier(&cursor.upstream)));
        }
        Ok((edits, now))
    }

    /// The upstream's name for a cursor of this client. It stays the same, because a prepared FETCH outlives
    /// the cursor and may be meant for the next one of its name.
    fn upstream_cursor(&mut self, name: &str) -> String {
        if let Some(upstream) = self.cursor_names.get(name) {
            return upstream.clone();
        }
        let upstream = self.fresh_name("c");
        self.cursor_names.insert(name.to_owned(), upstream.clone());
        upstream
    }

    /// The upstream's name of what is open under this name, made by DECLARE or by Bind: to Postgres these are
    /// the same thing.
    pub(super) fn portal_named(&mut self, name: &[u8]) -> Option<String> {
        if let Some(portal) = self.portals.get(name) {
            let upstream = String::from_utf8_lossy(&portal.upstream).into_owned();
            return Some(upstream).filter(|upstream| !upstream.is_empty());
        }
        let name = std::str::from_utf8(name).ok()?;
        Some(self.plan_view().cursors.get(name)?.upstream.clone())
    }

    /// Makes sure that the upstream has the statement under its name.
    pub(super) fn ensure_prepared(&mut self, prepared: &Arc<Prepared>) -> Result<(), Stop> {
        let id = prepared.id;
        let world = self.world()?;
        match &prepared.source {
            Source::Emulated | Source::Cursor => {}
            Source::Parse { text, types, .. } if prepared.upstream.is_empty() => {
                if world.link.unnamed != Some(id) {
                    world.link.unnamed = Some(id);
                    world.link.parse(b"", text, types);
                    self.queue.push_back(Expect::Parse {
                        forward: false,
                        id,
                        registers: None,
                    });
                }
            }
            Source::Parse { text, types, .. } => {
                if world.link.prepared.insert(id) {
                    world.link.parse(&prepared.upstream, text, types);
                    self.queue.push_back(Expect::Parse {
                        forward: false,
                        id,
                        registers: None,
                    });
                }
            }
            Source::Sql { text, .. } => {
                if world.link.prepared.insert(id) {
                    self.push_own(&Command::Prepare(text.clone()), Own::Prepared(id))?;
                }
            }
        }
        Ok(())
    }

    /// Writes the commands of some ops; when they are done, the planned state is reached.
    pub(super) fn push_ops(&mut self, ops: Vec<Op>) -> Result<(), Stop> {
        if ops.is_empty() {
            return Ok(());
        }
        for op in ops {
            for command in op.commands() {
                self.push_own(&command, Own::Nothing)?;
            }
        }
        self.push_advance();
        Ok(())
    }

    /// Writes one command of ours.
    pub(super) fn push_own(&mut self, command: &Command, answer: Own) -> Result<(), Stop> {
        let world = self.world()?;
        if world.link.write_command(command) {
            self.open_portal = false;
            self.queue.push_back(Expect::Own(answer));
        }
        Ok(())
    }

    /// The planned state is reached when all before has been answered.
    pub(super) fn push_advance(&mut self) {
        if let Some(planned) = &self.planned {
            let planned = planned.clone();
            self.queue.push_back(Expect::Advance(Box::new(planned)));
        }
    }

    pub(super) fn push_origin(&mut self, origin: Option<Arc<Origin>>) {
        self.queue.push_back(Expect::Origin(origin));
    }

    /// Grows with everything that is made.
    pub(super) fn next_number(&mut self) -> u64 {
        self.next_name += 1;
        self.next_name
    }

    /// A name that no client could guess or meant.
    pub(super) fn fresh_name(&mut self, kind: &str) -> String {
        self.next_number();
        format!(
            "devinprod_{kind}{}_{}_{:x}",
            self.id,
            self.next_name,
            rand::random::<u32>()
        )
    }
}
