//! Transaction commands: answered as Postgres answers them, from the client's view.

use super::expect::{Expect, Own};
use super::{Session, Stop};
use crate::error::{Refusal, SqlState};
use crate::plan::{Action, Plan};
use crate::sandbox::view::ClientSavepoint;
use crate::sql::statement::{IsolationLevel, Modes, Name, Transaction};
use crate::wire::backend;
use std::ops::Range;
use std::time::Instant;

/// Whether Postgres runs this in a failed block.
pub(super) fn runs_in_failed_block(plan: &Plan) -> bool {
    matches!(
        plan.action,
        Action::Transaction(
            Transaction::Commit { .. }
                | Transaction::Rollback { .. }
                | Transaction::RollbackTo(_)
                | Transaction::PrepareTransaction
                | Transaction::Malformed { .. }
        )
    )
}

/// What Postgres says to everything else in a failed block.
pub(super) fn failed_block() -> Refusal {
    Refusal::error(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

impl Session {
    /// Runs a transaction command.
    pub(super) async fn transaction(
        &mut self,
        plan: &Plan,
        command: &Transaction,
    ) -> Result<(), Stop> {
        self.await_captures(command).await?;
        if self.skipping {
            return Ok(());
        }
        match command {
            Transaction::Begin { start, modes } => self.begin(*start, *modes).await,
            Transaction::Commit { chain } => self.commit(*chain).await,
            Transaction::Rollback { chain } => self.rollback(*chain).await,
            Transaction::Savepoint(name) => self.savepoint(name).await,
            Transaction::Release(name) => self.release(name).await,
            Transaction::RollbackTo(name) => self.rollback_to(name).await,
            Transaction::SetTransaction(modes) => self.set_transaction(*modes),
            Transaction::SetCharacteristics(modes) => {
                let set = &mut self.plan_view().characteristics;
                set.isolation = modes.isolation.or(set.isolation);
                set.read_only = modes.read_only.or(set.read_only);
                set.deferrable = modes.deferrable.or(set.deferrable);
                self.changed();
                self.emit_tag("SET");
                Ok(())
            }
            Transaction::SetSnapshot => Err(Refusal::error(
                SqlState::FEATURE_NOT_SUPPORTED,
                "SET TRANSACTION SNAPSHOT is not available in a sandbox",
            )
            .detail("All transactions of a sandbox are one transaction of the upstream, which has begun already")
            .into()),
            Transaction::PrepareTransaction | Transaction::CommitPrepared | Transaction::RollbackPrepared => {
                Err(Refusal::error(SqlState::FEATURE_NOT_SUPPORTED, "two-phase commit is not available in a sandbox")
                    .detail("A prepared transaction would outlive the sandbox")
                    .into())
            }
            Transaction::Malformed { at } => Err(malformed(&plan.text, at).into()),
        }
    }

    /// What a statement set must be known before a state is kept to return to.
    async fn await_captures(&mut self, command: &Transaction) -> Result<(), Stop> {
        let keeps_state = matches!(
            command,
            Transaction::Begin { .. }
                | Transaction::Savepoint(_)
                | Transaction::RollbackTo(_)
                | Transaction::Commit { chain: true }
                | Transaction::Rollback { chain: true }
        );
        let captures = |expect: &Expect| {
            matches!(
                expect,
                Expect::Own(Own::Setting { .. } | Own::Now | Own::Notify)
            )
        };
        // What was set for the transaction only must be put back behind its end.
        let locals =
            |expect: &Expect| matches!(expect, Expect::Own(Own::Setting { local: true, .. }));
        let commits = matches!(command, Transaction::Commit { .. });
        if keeps_state && self.queue.iter().any(captures)
            || commits && self.queue.iter().any(locals)
        {
            self.exchange(false).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, start: bool, modes: Modes) -> Result<(), Stop> {
        if self.plan_view().block.is_some() {
            self.warn(
                SqlState::ACTIVE_SQL_TRANSACTION,
                "there is already a transaction in progress",
            );
        } else {
            self.open_block(modes, None);
            self.mention_isolation();
        }
        self.changed();
        self.emit_tag(if start { "START TRANSACTION" } else { "BEGIN" });
        Ok(())
    }

    fn open_block(&mut self, modes: Modes, chained: Option<Modes>) {
        let id = self.id;
        let (has_scope, view) = match &mut self.planned {
            Some((machine, view)) => {
                machine.become_kind(id, crate::sandbox::machine::ScopeKind::Block);
                (machine.has_scope(id), view)
            }
            None => (false, &mut self.view),
        };
        view.begin(modes, chained, Instant::now());
        if let Some(block) = view.block_mut() {
            // Statements of the same implicit transaction that ran before belong to the block now.
            block.queried = has_scope;
        }
    }

    async fn commit(&mut self, chain: bool) -> Result<(), Stop> {
        let view = self.plan_view();
        let modes = view.modes();
        let failed = match &view.block {
            None if chain => return Err(only_in_blocks("COMMIT AND CHAIN").into()),
            None => {
                self.warn(
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    "there is no transaction in progress",
                );
                self.end_implicit().await?;
                if !self.skipping {
                    self.emit_tag("COMMIT");
                }
                return Ok(());
            }
            Some(block) => block.failed,
        };
        if failed {
            self.undo_block().await?;
        } else {
            self.take_floor_if_scoped().await?;
            self.plan_commit().await?;
        }
        if self.skipping {
            return Ok(());
        }
        if chain {
            self.open_block(modes, Some(modes));
            self.changed();
        }
        self.emit_tag(if failed { "ROLLBACK" } else { "COMMIT" });
        Ok(())
    }

    async fn rollback(&mut self, chain: bool) -> Result<(), Stop> {
        let view = self.plan_view();
        let modes = view.modes();
        if view.block.is_none() {
            if chain {
                return Err(only_in_blocks("ROLLBACK AND CHAIN").into());
            }
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "there is no transaction in progress",
            );
        }
        self.undo_block().await?;
        if chain {
            self.open_block(modes, Some(modes));
            self.changed();
        }
        self.emit_tag("ROLLBACK");
        Ok(())
    }

    async fn undo_block(&mut self) -> Result<(), Stop> {
        self.take_floor_if_scoped().await?;
        self.plan_rollback()
    }

    async fn savepoint(&mut self, name: &Name) -> Result<(), Stop> {
        match &self.plan_view().block {
            None => return Err(only_in_blocks("SAVEPOINT").into()),
            Some(block) if block.failed => return Err(failed_block().into()),
            Some(_) => {}
        }
        self.enter_scope(false).await?;
        let number = self.next_number();
        if let Some((machine, view)) = &mut self.planned {
            let (upstream, ops) = machine.savepoint();
            let before = Box::new(view.clone());
            if let Some(block) = view.block_mut() {
                block.savepoints.push(ClientSavepoint {
                    name: name.value.clone(),
                    upstream,
                    number,
                    before,
                });
            }
            self.push_ops(ops)?;
        }
        self.emit_tag("SAVEPOINT");
        Ok(())
    }

    async fn release(&mut self, name: &Name) -> Result<(), Stop> {
        match &self.plan_view().block {
            None => return Err(only_in_blocks("RELEASE SAVEPOINT").into()),
            Some(block) if block.failed => return Err(failed_block().into()),
            Some(_) => {}
        }
        let (index, upstream) = self.find_savepoint(name)?;
        self.enter_scope(false).await?;
        if let Some((machine, view)) = &mut self.planned {
            let ops = machine.release(&upstream);
            if let Some(block) = view.block_mut() {
                block.savepoints.truncate(index);
            }
            self.push_ops(ops)?;
        }
        self.emit_tag("RELEASE");
        Ok(())
    }

    async fn rollback_to(&mut self, name: &Name) -> Result<(), Stop> {
        if self.plan_view().block.is_none() {
            return Err(only_in_blocks("ROLLBACK TO SAVEPOINT").into());
        }
        let (index, upstream) = self.find_savepoint(name)?;
        self.take_floor(false).await?;
        if let Some((machine, view)) = &mut self.planned {
            let ops = machine.rollback_to(&upstream);
            if let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world()) {
                world.catalog.rolled_back();
            }
            let mut kept = view
                .block
                .as_ref()
                .map(|b| b.savepoints.clone())
                .unwrap_or_default();
            kept.truncate(index + 1);
            if let Some(savepoint) = kept.last() {
                *view = (*savepoint.before).clone();
                self.portals
                    .retain(|_, portal| portal.number < savepoint.number);
            }
            if let Some(block) = view.block_mut() {
                block.savepoints = kept;
                block.failed = false;
            }
            self.push_ops(ops)?;
            self.push_advance();
        }
        self.emit_tag("ROLLBACK");
        Ok(())
    }

    fn find_savepoint(&mut self, name: &Name) -> Result<(usize, String), Stop> {
        let found = self.plan_view().block.as_ref().and_then(|block| {
            let index = block
                .savepoints
                .iter()
                .rposition(|savepoint| savepoint.name == name.value)?;
            Some((index, block.savepoints.get(index)?.upstream.clone()))
        });
        found.ok_or_else(|| {
            Refusal::error(
                SqlState("3B001"),
                format!("savepoint \"{}\" does not exist", name.value),
            )
            .into()
        })
    }

    pub(super) fn set_transaction(&mut self, modes: Modes) -> Result<(), Stop> {
        let Some(block) = self.plan_view().block_mut() else {
            if !self.implicit_block {
                self.warn_outside_block("SET TRANSACTION");
            }
            self.emit_tag("SET");
            return Ok(());
        };
        if block.failed {
            return Err(failed_block().into());
        }
        let late = |what: &str| -> Stop {
            Refusal::error(
                SqlState::ACTIVE_SQL_TRANSACTION,
                format!("{what} before any query"),
            )
            .into()
        };
        if block.queried {
            if modes
                .isolation
                .is_some_and(|level| level != block.isolation)
            {
                return Err(late("SET TRANSACTION ISOLATION LEVEL must be called"));
            }
            if modes.read_only == Some(false) && block.read_only {
                return Err(late("transaction read-write mode must be set"));
            }
            if modes.deferrable.is_some() {
                return Err(late("SET TRANSACTION [NOT] DEFERRABLE must be called"));
            }
        }
        block.isolation = modes.isolation.unwrap_or(block.isolation);
        block.read_only = modes.read_only.unwrap_or(block.read_only);
        block.deferrable = modes.deferrable.unwrap_or(block.deferrable);
        self.changed();
        self.mention_isolation();
        self.emit_tag("SET");
        Ok(())
    }

    /// Said once: what a sandbox does not give.
    fn mention_isolation(&mut self) {
        let level = self.plan_view().isolation();
        let higher = matches!(
            level,
            IsolationLevel::RepeatableRead | IsolationLevel::Serializable
        );
        if higher && !std::mem::replace(&mut self.told_isolation, true) {
            let notice = Refusal::notice(format!("a sandbox runs in READ COMMITTED, not in {}", level.as_str().to_uppercase()))
                .detail("What other sessions of the upstream commit becomes visible; nothing else of the sandbox changes under this transaction");
            self.emit(|out| backend::refusal(out, &notice));
        }
    }

    /// The floor, if a scope of this client is open upstream; otherwise there is nothing to do there.
    async fn take_floor_if_scoped(&mut self) -> Result<(), Stop> {
        let touched = self
            .plan_view()
            .block
            .as_ref()
            .is_none_or(|block| block.queried || !block.savepoints.is_empty());
        if self.floor.is_some() || touched {
            self.take_floor(true).await
        } else {
            Ok(())
        }
    }

    /// The planned view has changed without anything sent upstream.
    pub(super) fn changed(&mut self) {
        if self.floor.is_some() {
            self.push_advance();
        }
    }

    /// What Postgres says where a statement has no effect beyond itself.
    pub(super) fn warn_outside_block(&mut self, what: &str) {
        self.warn(
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            &format!("{what} can only be used in transaction blocks"),
        );
    }

    pub(super) fn warn(&mut self, sqlstate: SqlState, message: &str) {
        let warning = Refusal::warning(sqlstate, message);
        self.emit(|out| backend::refusal(out, &warning));
    }

    /// A refusal in its turn: what was planned before it runs first, then the transaction fails as it would
    /// have in Postgres.
    pub(super) async fn fail_with(&mut self, refusal: Refusal) -> Result<(), Stop> {
        self.exchange(false).await?;
        if self.skipping {
            return Ok(());
        }
        self.refused(&refusal);
        self.client.tell(&refusal);
        self.skipping = true;
        // A block of this client may have work upstream while the floor is not held.
        if self.floor.is_none()
            && self
                .view
                .block
                .as_ref()
                .is_some_and(|b| b.queried && !b.failed)
        {
            self.take_floor(false).await?;
        }
        let scoped = match &self.planned {
            Some((machine, _)) => machine.has_scope(self.id) && !machine.is_failed(),
            None => false,
        };
        if scoped && self.floor.is_some() {
            let link = &mut self.world()?.link;
            link.write_command(&crate::upstream::command::Command::Poison);
            self.queue.push_back(Expect::Poison);
        }
        if let Some(block) = self.view.block_mut() {
            block.failed = true;
        }
        self.planned = None;
        Ok(())
    }
}

fn only_in_blocks(what: &str) -> Refusal {
    Refusal::error(
        SqlState::NO_ACTIVE_SQL_TRANSACTION,
        format!("{what} can only be used in transaction blocks"),
    )
}

fn malformed(text: &str, at: &Range<usize>) -> Refusal {
    let position = text
        .get(..at.start)
        .map_or(1, |before| before.chars().count() + 1);
    let message = match text.get(at.clone()) {
        Some(token) if !token.is_empty() => format!("syntax error at or near \"{token}\""),
        _ => "syntax error at end of input".to_owned(),
    };
    Refusal::error(SqlState::SYNTAX_ERROR, message).position(position)
}
