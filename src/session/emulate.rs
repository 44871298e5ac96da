//! Statements that the proxy answers itself.

use super::expect::{Complete, Expect, Own, Rows};
use super::prepared::{Prepared, Source};
use super::{Session, Stop};
use crate::error::{Refusal, SqlState};
use crate::plan::{ADVISORY, Action, Forward, NOTIFY, Plan};
use crate::sandbox::advisory::{Call, Key};
use crate::sql::edit::Edit;
use crate::sql::statement::{Discard, Kind, SetValue};
use crate::upstream::command::{Command, identifier};
use crate::wire::backend::{self, NO_DATA};
use crate::wire::frame::HEADER;
use bytes::Bytes;
use std::sync::Arc;

impl Session {
    /// Runs a statement that has no text for the upstream. `simple` asks for a RowDescription as well.
    pub(super) async fn emulate(&mut self, plan: &Plan, simple: bool) -> Result<(), Stop> {
        if let Action::Transaction(command) = &plan.action {
            return self.transaction(plan, command).await;
        }
        match &plan.statement.kind {
            Kind::Show(name) => {
                let value = self.virtual_setting(name);
                if simple {
                    self.emit(|out| backend::text_column(out, name));
                }
                self.emit(|out| backend::text_row(out, &value));
                self.emit_tag("SHOW");
            }
            Kind::Set { name, value, .. } => self.set_virtual(name, value)?,
            Kind::Reset(name) => {
                self.reset_virtual(name);
                self.changed();
                self.emit_tag("RESET");
            }
            Kind::ResetAll => {
                let view = self.plan_view();
                view.settings.reset_all();
                view.characteristics = Default::default();
                self.idle_limits.clear();
                self.changed();
                self.emit_tag("RESET");
            }
            Kind::Discard(what) => self.discard(*what).await?,
            Kind::Deallocate(name) => {
                self.deallocate(name.as_ref().map(|n| n.value.as_str()))
                    .await?
            }
            Kind::Close(None) => {
                self.close_all_cursors().await?;
                self.emit_tag("CLOSE CURSOR ALL");
            }
            Kind::Listen(name) => {
                Arc::make_mut(&mut self.plan_view().listens).insert(name.value.clone());
                self.changed();
                self.emit_tag("LISTEN");
            }
            Kind::Unlisten(name) => {
                let listens = Arc::make_mut(&mut self.plan_view().listens);
                match name {
                    Some(name) => {
                        listens.remove(&name.value);
                    }
                    None => listens.clear(),
                }
                self.changed();
                self.emit_tag("UNLISTEN");
            }
            Kind::Notify { channel, payload } => {
                let pair = (channel.value.clone(), payload.clone().unwrap_or_default());
                let notifications = Arc::make_mut(&mut self.plan_view().notifications);
                if !notifications.contains(&pair) {
                    notifications.push(pair);
                }
                self.changed();
                self.emit_tag("NOTIFY");
            }
            Kind::SetConstraints { deferred, .. } => self.set_constraints(*deferred).await?,
            Kind::Vacuum => {
                let notice = Refusal::notice(
                    "VACUUM does nothing in a sandbox: nothing of it is ever committed",
                );
                self.emit(|out| backend::refusal(out, &notice));
                self.emit_tag("VACUUM");
            }
            _ => {
                return Err(Refusal::error(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "this statement is not supported in a sandbox",
                )
                .into());
            }
        }
        Ok(())
    }

    /// RowDescription or NoData of a statement that the proxy answers.
    pub(super) fn emit_description(&mut self, plan: &Plan) {
        match (&plan.action, &plan.statement.kind) {
            (Action::Emulate, Kind::Show(name)) => self.emit(|out| backend::text_column(out, name)),
            _ => self.emit_bytes(NO_DATA),
        }
    }

    /// A setting that belongs to the virtual transaction.
    pub(super) fn virtual_setting(&mut self, name: &str) -> String {
        let on = |value: bool| if value { "on" } else { "off" }.to_owned();
        let nothing_writes = self.sandbox.is_read_only();
        let view = self.plan_view();
        match name {
            "transaction_read_only" | "default_transaction_read_only" if nothing_writes => on(true),
            "transaction_isolation" => view.isolation().as_str().to_owned(),
            "default_transaction_isolation" => view
                .characteristics
                .isolation
                .map_or("read committed", |level| level.as_str())
                .to_owned(),
            "transaction_read_only" => on(view.is_read_only()),
            "default_transaction_read_only" => on(view.characteristics.read_only.unwrap_or(false)),
            "transaction_deferrable" => {
                on(view.block.as_ref().is_some_and(|block| block.deferrable))
            }
            "default_transaction_deferrable" => {
                on(view.characteristics.deferrable.unwrap_or(false))
            }
            "in_hot_standby" => on(false),
            _ => self
                .idle_limits
                .get(name)
                .cloned()
                .unwrap_or_else(|| "0".to_owned()),
        }
    }

    fn reset_virtual(&mut self, name: &str) {
        self.idle_limits.remove(name);
        let view = self.plan_view();
        view.settings.reset(name);
        match name {
            "default_transaction_isolation" => view.characteristics.isolation = None,
            "default_transaction_read_only" => view.characteristics.read_only = None,
            "default_transaction_deferrable" => view.characteristics.deferrable = None,
            _ => {}
        }
    }

    pub(super) fn set_virtual(&mut self, name: &str, value: &SetValue) -> Result<(), Stop> {
        use crate::sql::statement::{IsolationLevel, Modes};
        let invalid = |value: &str| {
            Refusal::error(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"{name}\": \"{value}\""),
            )
        };
        let text = match value {
            SetValue::Single(value) => Some(value.to_lowercase()),
            SetValue::Default => None,
            SetValue::Other => return Err(invalid("…").into()),
        };
        let boolean = |text: &Option<String>| match text.as_deref() {
            None | Some("off" | "false" | "no" | "0" | "f" | "n") => Ok(false),
            Some("on" | "true" | "yes" | "1" | "t" | "y") => Ok(true),
            Some(_) => Err(Stop::from(Refusal::error(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("parameter \"{name}\" requires a Boolean value"),
            ))),
        };
        let isolation = |text: &Option<String>| {
            match text.as_deref() {
            None | Some("read committed") => Ok(IsolationLevel::ReadCommitted),
            Some("read uncommitted") => Ok(IsolationLevel::ReadUncommitted),
            Some("repeatable read") => Ok(IsolationLevel::RepeatableRead),
            Some("serializable") => Ok(IsolationLevel::Serializable),
            Some(other) => Err(Stop::from(invalid(other).hint(
                "Available values: serializable, repeatable read, read committed, read uncommitted.",
            ))),
        }
        };
        match name {
            "transaction_isolation" => {
                return self.set_transaction(Modes {
                    isolation: Some(isolation(&text)?),
                    ..Modes::default()
                });
            }
            "transaction_read_only" => {
                return self.set_transaction(Modes {
                    read_only: Some(boolean(&text)?),
                    ..Modes::default()
                });
            }
            "transaction_deferrable" => {
                return self.set_transaction(Modes {
                    deferrable: Some(boolean(&text)?),
                    ..Modes::default()
                });
            }
            "default_transaction_isolation" => {
                self.plan_view().characteristics.isolation = Some(isolation(&text)?);
            }
            "default_transaction_read_only" => {
                self.plan_view().characteristics.read_only = Some(boolean(&text)?);
            }
            "default_transaction_deferrable" => {
                self.plan_view().characteristics.deferrable = Some(boolean(&text)?);
            }
            "devinprod.sandbox" | "devinprod.isolation" => {
                return Err(Refusal::error(SqlState("55P02"), format!("parameter \"{name}\" cannot be set after connection start"))
                    .hint("Name the sandbox in the user (dev1+name) or in the options of the connection string")
                    .into());
            }
            name if name.starts_with("devinprod.") => {
                return Err(Refusal::error(
                    SqlState::INSUFFICIENT_PRIVILEGE,
                    format!("parameter \"{name}\" belongs to devinprod"),
                )
                .into());
            }
            name => {
                let value = text.unwrap_or_else(|| "0".to_owned());
                if super::shared::milliseconds(&value).is_none() {
                    return Err(invalid(&value).into());
                }
                self.idle_limits.insert(name.to_owned(), value);
            }
        }
        self.changed();
        self.emit_tag("SET");
        Ok(())
    }

    async fn discard(&mut self, what: Discard) -> Result<(), Stop> {
        match what {
            Discard::All => {
                self.close_all_cursors().await?;
                self.deallocate_all().await?;
                let view = self.plan_view();
                view.settings.reset_all();
                view.settings.reset("role");
                view.characteristics = Default::default();
                view.listens = Arc::default();
                self.idle_limits.clear();
                self.sandbox.advisory.unlock_all(self.id);
                self.changed();
                self.emit_tag("DISCARD ALL");
            }
            // Plans are the upstream's own affair; sequences' and temporary tables' state is the sandbox's,
            // and others use it.
            Discard::Plans => self.emit_tag("DISCARD PLANS"),
            Discard::Sequences => self.emit_tag("DISCARD SEQUENCES"),
            Discard::Temp => {
                let notice = Refusal::notice(
                    "DISCARD TEMP is left out: temporary tables are shared by the clients of a sandbox",
                );
                self.emit(|out| backend::refusal(out, &notice));
                self.emit_tag("DISCARD TEMP");
            }
        }
        Ok(())
    }

    async fn deallocate(&mut self, name: Option<&str>) -> Result<(), Stop> {
        match name {
            None => {
                self.deallocate_all().await?;
                self.emit_tag("DEALLOCATE ALL");
            }
            Some(name) => {
                let key = Bytes::copy_from_slice(name.as_bytes());
                let prepared = self.find_statement(&key)?;
                self.statements.remove(&key);
                self.forget_statement(&prepared).await?;
                self.emit_tag("DEALLOCATE");
            }
        }
        Ok(())
    }

    async fn deallocate_all(&mut self) -> Result<(), Stop> {
        for (_, prepared) in std::mem::take(&mut self.statements) {
            self.forget_statement(&prepared).await?;
        }
        Ok(())
    }

    async fn close_all_cursors(&mut self) -> Result<(), Stop> {
        let cursors = std::mem::take(&mut self.plan_view().cursors);
        if cursors.is_empty() {
            return Ok(());
        }
        self.enter_scope(true).await?;
        self.plan_view().cursors = Arc::default();
        for cursor in cursors.values() {
            self.push_own(&Command::CloseCursor(cursor.upstream.clone()), Own::Nothing)?;
        }
        self.push_advance();
        Ok(())
    }

    /// SET CONSTRAINTS ALL: by name, because ALL would fire the guard.
    async fn set_constraints(&mut self, deferred: bool) -> Result<(), Stop> {
        if self.plan_view().block.is_none() && !self.implicit_block {
            self.emit_tag("SET CONSTRAINTS");
            return Ok(());
        }
        self.enter_scope(true).await?;
        self.set_constraint_modes();
        if self.world()?.catalog.stale {
            self.refresh_catalog().await?;
            if self.skipping {
                return Ok(());
            }
        }
        let names = self.world()?.catalog.deferrable();
        if !names.is_empty() {
            let command = if deferred {
                Command::DeferConstraints(names)
            } else {
                Command::CheckConstraints(names)
            };
            self.push_own(&command, Own::Nothing)?;
        }
        self.push_advance();
        self.emit_tag("SET CONSTRAINTS");
        Ok(())
    }

    /// The rows of an advisory call wait until the proxy has locked.
    pub(super) async fn advisory(&mut self, call: Call) -> Result<(), Stop> {
        self.captured = None;
        self.queue.push_back(Expect::Execute {
            rows: Rows::Hold,
            complete: Complete::Hold(None),
        });
        self.push_origin(None);
        self.push_own(&Command::Show(ADVISORY.to_owned()), Own::Advisory)?;
        self.push_advance();
        self.exchange(false).await?;
        if self.skipping {
            return Ok(());
        }
        let granted = match (call, parse_key(self.captured.take().as_deref())) {
            (Call::UnlockAll, _) => {
                self.sandbox.advisory.unlock_all(self.id);
                true
            }
            // A NULL argument: the function is strict, and nothing happened.
            (_, None) => true,
            (Call::Unlock { shared }, Some(key)) => {
                let had = self.sandbox.advisory.unlock(self.id, key, shared);
                if !had {
                    let name = if shared { "ShareLock" } else { "ExclusiveLock" };
                    self.warn(
                        SqlState::WARNING,
                        &format!("you don't own a lock of type {name}"),
                    );
                }
                had
            }
            (
                Call::Lock {
                    no_wait: true,
                    transaction,
                    shared,
                },
                Some(key),
            ) => self
                .sandbox
                .advisory
                .try_lock(self.id, key, transaction, shared),
            (
                Call::Lock {
                    no_wait: false,
                    transaction,
                    shared,
                },
                Some(key),
            ) => {
                self.wait_for_advisory(key, transaction, shared).await?;
                true
            }
        };
        if call.returns_bool() && !granted {
            make_false(&mut self.held);
        }
        self.queue.push_back(Expect::EmitHeld);
        Ok(())
    }

    /// Waits without the floor, so that the holder can give the lock back.
    async fn wait_for_advisory(
        &mut self,
        key: Key,
        transaction: bool,
        shared: bool,
    ) -> Result<(), Stop> {
        let sandbox = self.sandbox.clone();
        if sandbox.advisory.try_lock(self.id, key, transaction, shared) {
            return Ok(());
        }
        // The upstream is at rest between two exchanges; the scope stays.
        let held = std::mem::take(&mut self.held);
        self.planned = None;
        self.release_floor().await;
        let limit = sandbox.settings.wait_timeout;
        let cancelled = self.asking.cancelled.clone();
        let refusal = tokio::select! {
            () = sandbox.advisory.lock(self.id, key, transaction, shared) => None,
            () = cancelled.notified() => Some(Refusal::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")),
            () = tokio::time::sleep(limit) => Some(
                Refusal::error(SqlState::LOCK_NOT_AVAILABLE, format!("waited {} s for an advisory lock that another client of this sandbox holds", limit.as_secs_f32()))
                    .hint("SHOW CLIENTS in the database devinprod lists the clients; see sandbox.wait_timeout")),
        };
        self.take_floor(false).await?;
        self.held = held;
        match refusal {
            Some(refusal) => {
                self.held.clear();
                Err(refusal.into())
            }
            None => Ok(()),
        }
    }

    /// What pg_notify was given waits for the end of the transaction.
    pub(super) fn notify_call(&mut self, hold: bool) -> Result<(), Stop> {
        let complete = if hold {
            Complete::Hold(None)
        } else {
            Complete::Forward
        };
        self.open_portal = true;
        self.queue.push_back(Expect::Execute {
            rows: Rows::Forward,
            complete,
        });
        self.push_origin(None);
        self.push_own(&Command::Show(NOTIFY.to_owned()), Own::Notify)?;
        self.push_advance();
        Ok(())
    }

    /// Edits of prepared statements' names: the upstream's are unique among all clients.
    pub(super) fn name_edits(&mut self, plan: &Plan) -> Result<Vec<Edit>, Stop> {
        match &plan.statement.kind {
            Kind::Prepare { name, .. } => {
                let upstream = self.fresh_name("s");
                self.prepared_name = Some(Bytes::from(upstream.clone()));
                Ok(vec![Edit::new(name.span.clone(), identifier(&upstream))])
            }
            Kind::Execute { name } => {
                // Postgres says what is wrong with a name that there is not.
                let Some(target) = self.statements.get(name.value.as_bytes()) else {
                    return Ok(Vec::new());
                };
                if matches!(target.source, Source::Emulated) {
                    return Err(Refusal::error(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "this prepared statement can only be run by the extended protocol",
                    )
                    .into());
                }
                let upstream = String::from_utf8_lossy(&target.upstream).into_owned();
                Ok(vec![Edit::new(name.span.clone(), identifier(&upstream))])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// An EXECUTE needs its statement on this upstream.
    pub(super) fn ensure_executed(&mut self, plan: &Plan) -> Result<(), Stop> {
        if let Kind::Execute { name } = &plan.statement.kind {
            let target = self.statements.get(name.value.as_bytes()).cloned();
            target.map_or(Ok(()), |target| self.ensure_prepared(&target))?;
        }
        Ok(())
    }

    /// As [`Self::ensure_executed`], for a statement of the extended protocol.
    pub(super) fn ensure_executable(&mut self, prepared: &Arc<Prepared>) -> Result<(), Stop> {
        self.ensure_executed(&prepared.plan)?;
        self.ensure_prepared(prepared)
    }

    /// How a plan is forwarded; an EXECUTE as what it executes.
    pub(super) fn effective_forward(&self, plan: &Plan) -> Option<Forward> {
        let Kind::Execute { name } = &plan.statement.kind else {
            return plan.forward().cloned();
        };
        let target = self.statements.get(name.value.as_bytes())?;
        match &target.plan.statement.kind {
            Kind::Prepare { body, .. } => {
                let body = target.plan.text.get(body.clone())?;
                self.context.plans.plan(body).forward().cloned()
            }
            _ => target.plan.forward().cloned(),
        }
    }
}

fn parse_key(text: Option<&str>) -> Option<Key> {
    let text = text?;
    match text.split_once(',') {
        Some((first, second)) => Some(Key::Two(first.parse().ok()?, second.parse().ok()?)),
        None => Some(Key::One(text.parse().ok()?)),
    }
}

/// Turns the `true` of a held one-column DataRow into `false`, in text or binary.
fn make_false(held: &mut [u8]) {
    if let Some(value) = held.get_mut(HEADER + 2 + 4) {
        *value = if *value == 1 { 0 } else { b'f' };
    }
}
