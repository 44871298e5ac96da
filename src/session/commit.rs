//! The end of a virtual transaction.

use super::expect::{Expect, Own};
use super::{Session, Stop};
use crate::sandbox::machine::ScopeKind;
use crate::sql::statement::OnCommit;
use crate::upstream::command::Command;
use crate::wire::frontend::Target;
use bytes::Bytes;

/// So many constraints are all checked by name at a COMMIT: 500 names cost 10 ms, these a fifth of one.
const NAMED: usize = 64;

impl Session {
    /// Plans a virtual COMMIT: what Postgres does at its own, done to the savepoint.
    pub(super) async fn plan_commit(&mut self) -> Result<(), Stop> {
        let id = self.id;
        if let Some((machine, _)) = &mut self.planned {
            let ops = machine.clear_failed(id);
            self.push_ops(ops)?;
        }
        let Some((machine, view)) = &mut self.planned else {
            // Nothing of it ever reached the upstream.
            self.committed();
            self.view.committed();
            return Ok(());
        };
        if machine.has_scope(id) {
            // From here on an error fails the whole transaction, and the client is in none.
            machine.become_kind(id, ScopeKind::Implicit);
            let mut undone = view.clone();
            undone.rolled_back();
            let kept = std::mem::replace(view, undone);
            let machine = machine.clone();
            self.push_advance();
            self.planned = Some((machine, kept));
            if self.is_planned_top() {
                self.push_commit_work().await?;
            }
            if self.skipping {
                return Ok(());
            }
            let is_top = self.is_planned_top();
            if let Some((machine, view)) = &mut self.planned {
                // Now, and not when this client comes back: Postgres reports the values at COMMIT.
                let mut ops = match view.settings.after_transaction() {
                    Some(settings) if is_top => machine.switch(&settings),
                    _ => Vec::new(),
                };
                ops.extend(machine.commit(id));
                self.push_ops(ops)?;
            }
            // Also where no op is due: what waited for the end is in this view.
            self.push_advance();
        }
        self.close_portals()?;
        self.now_asked = false;
        self.push_advance();
        self.queue.push_back(Expect::Committed);
        self.plan_view().committed();
        self.push_advance();
        Ok(())
    }

    /// Plans a virtual ROLLBACK.
    pub(super) fn plan_rollback(&mut self) -> Result<(), Stop> {
        self.now_asked = false;
        if let Some((machine, view)) = &mut self.planned {
            view.rolled_back();
            let ops = machine.rollback(self.id);
            self.push_ops(ops)?;
            if let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world()) {
                world.catalog.rolled_back();
            }
        } else {
            self.view.rolled_back();
        }
        self.portals.clear();
        self.queue.push_back(Expect::RolledBack);
        self.push_advance();
        Ok(())
    }

    /// Ends the implicit transaction, if one is open.
    pub(super) async fn end_implicit(&mut self) -> Result<(), Stop> {
        if let Some((machine, _)) = &mut self.planned {
            let ops = machine.end_piece(self.id);
            self.push_ops(ops)?;
        }
        let open = match &self.planned {
            Some((machine, view)) => view.block.is_none() && machine.has_scope(self.id),
            None => false,
        };
        let view = self.planned.as_ref().map_or(&self.view, |(_, view)| view);
        let waits = view.block.is_none()
            && (!view.notifications.is_empty() || view.listens != self.listening);
        if open || waits {
            self.plan_commit().await
        } else {
            Ok(())
        }
    }

    /// Below another client's open block nothing can be checked now; that block's end checks it.
    fn is_planned_top(&self) -> bool {
        self.planned
            .as_ref()
            .is_some_and(|(machine, _)| machine.is_top(self.id))
    }

    /// SET CONSTRAINTS ends with the transaction: at its end all modes are put back.
    pub(super) fn set_constraint_modes(&mut self) {
        if let Some(block) = self.plan_view().block_mut() {
            block.constraints = true;
        }
    }

    async fn push_commit_work(&mut self) -> Result<(), Stop> {
        let id = self.id;
        let (changed, modes_set, closes, temporary) = match &self.planned {
            Some((machine, view)) => (
                machine.changed_by(id),
                view.block.as_ref().is_some_and(|block| block.constraints),
                view.cursors
                    .values()
                    .filter(|c| !c.hold)
                    .map(|c| c.upstream.clone())
                    .collect::<Vec<_>>(),
                view.on_commit.clone(),
            ),
            None => return Ok(()),
        };
        if changed || modes_set {
            if self.world()?.catalog.stale {
                self.refresh_catalog().await?;
                if self.skipping {
                    return Ok(());
                }
            }
            let catalog = &self.world()?.catalog;
            if catalog.deferrable().len() > NAMED && !modes_set {
                self.push_own(&Command::CheckTouchedConstraints, Own::Nothing)?;
            } else if catalog.has_deferrable() {
                let (all, deferred) = (catalog.deferrable(), catalog.initially_deferred());
                self.push_own(&Command::CheckConstraints(all), Own::Nothing)?;
                if !deferred.is_empty() {
                    self.push_own(&Command::DeferConstraints(deferred), Own::Nothing)?;
                }
            }
        }
        for name in closes {
            self.push_own(&Command::CloseCursor(name), Own::Nothing)?;
        }
        if changed {
            for (name, action) in temporary.iter() {
                let command = match action {
                    OnCommit::Drop => Command::DropTemporary(name.clone()),
                    OnCommit::DeleteRows => Command::EmptyTemporary(name.clone()),
                    OnCommit::PreserveRows => continue,
                };
                self.push_own(&command, Own::Nothing)?;
            }
        }
        Ok(())
    }

    /// Reads again what the schema asks for; all before it must have been answered.
    pub(super) async fn refresh_catalog(&mut self) -> Result<(), Stop> {
        self.catalog_rows.clear();
        self.push_own(&Command::Catalog, Own::Catalog)?;
        if self.world()?.catalog.lists_masked() {
            self.push_own(&Command::Masked, Own::Catalog)?;
        }
        self.exchange(false).await?;
        let rows = std::mem::take(&mut self.catalog_rows);
        if !self.skipping {
            let world = self.world()?;
            world.catalog = world.catalog.refreshed(&rows);
        }
        Ok(())
    }

    /// The client's portals end with its transaction.
    pub(super) fn close_portals(&mut self) -> Result<(), Stop> {
        let names: Vec<Bytes> = self
            .portals
            .drain()
            .flat_map(|(_, portal)| portal.upstream_names().cloned().collect::<Vec<_>>())
            .collect();
        if names.is_empty() || self.floor.is_none() {
            return Ok(());
        }
        for name in names {
            self.world()?.link.close_named(Target::Portal, &name);
            self.queue.push_back(Expect::Close { forward: false });
        }
        Ok(())
    }
}
