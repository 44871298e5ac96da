//! The extended protocol: Parse, Bind, Describe, Execute, Close.

use super::expect::{Complete, Expect, Part, Rows};
use super::prepared::{Origin, Portal, Prepared, Source, TextEncoding, next_id};
use super::{Session, Stop};
use crate::error::{Refusal, SqlState};
use crate::plan::{Action, Plan};
use crate::sql::statement::{Copy, Kind};
use crate::wire::backend::{self, BIND_COMPLETE, CLOSE_COMPLETE, EMPTY_QUERY, PARSE_COMPLETE};
use crate::wire::frontend::{self, Frontend, Target};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

impl Session {
    /// One message of the extended protocol.
    pub(super) async fn extended(&mut self, message: Frontend) -> Result<(), Stop> {
        match message {
            Frontend::Parse { name, text, types } => self.parse(name, &text, types).await,
            Frontend::Bind {
                portal,
                statement,
                tail,
            } => self.bind(portal, &statement, tail).await,
            Frontend::Describe {
                target: Target::Statement,
                name,
            } => self.describe_statement(&name).await,
            Frontend::Describe {
                target: Target::Portal,
                name,
            } => self.describe_portal(&name).await,
            Frontend::Execute { portal, max_rows } => self.execute(&portal, max_rows).await,
            Frontend::Close { target, name } => self.close(target, &name).await,
            _ => Ok(()),
        }
    }

    async fn parse(&mut self, name: Bytes, text: &[u8], types: Bytes) -> Result<(), Stop> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            let name = String::from_utf8_lossy(&name);
            return Err(Refusal::error(
                SqlState::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            )
            .into());
        }
        let (text, encoding) = TextEncoding::decode(text);
        let pieces = crate::sql::split::split(&text);
        let plan = match pieces.as_slice() {
            [] => self.context.plans.plan(""),
            // The whole text, so that positions in errors and the text in logs are the client's own.
            [_] => self.context.plans.plan(&text),
            _ => {
                return Err(Refusal::error(
                    SqlState::SYNTAX_ERROR,
                    "cannot insert multiple commands into a prepared statement",
                )
                .into());
            }
        };
        self.account.plans(&plan);
        self.check_runnable(&plan)?;
        let prepared = self.prepare(&plan, encoding, &name, types).await?;
        if self.skipping {
            return Ok(());
        }
        if matches!(prepared.source, Source::Parse { .. }) {
            self.write_parse(&prepared, Some(name.clone()))?;
        } else {
            self.emit_bytes(PARSE_COMPLETE);
        }
        self.statements.insert(name, prepared);
        Ok(())
    }

    /// A plan as a statement that can be prepared on any upstream. What was planned before may have failed on
    /// the way.
    pub(super) async fn prepare(
        &mut self,
        plan: &Arc<Plan>,
        encoding: TextEncoding,
        name: &Bytes,
        types: Bytes,
    ) -> Result<Arc<Prepared>, Stop> {
        let sent = matches!(
            plan.action,
            Action::Forward(_) | Action::Advisory(_) | Action::NotifyCall
        );
        let asked = plan;
        let mut redirected = None;
        if sent {
            self.enter(asked).await?;
            redirected = self.redirect(asked).await?;
        }
        let plan = redirected.as_ref().map_or(asked, |other| &other.plan);
        let (edits, now) = self.session_edits(plan)?;
        let (source, sendable) = match plan.sendable(edits) {
            Some(sendable) => {
                let text = encoding
                    .client_text(sendable.text())
                    .ok_or_else(super::simple::not_sendable)?;
                let source = Source::Parse {
                    text,
                    types,
                    encoding,
                };
                (source, sendable)
            }
            None => {
                return Ok(Arc::new(Prepared {
                    id: next_id(),
                    asked: asked.clone(),
                    plan: plan.clone(),
                    redirected: None,
                    returning: None,
                    upstream: Bytes::new(),
                    now: false,
                    makes: None,
                    source: Source::Emulated,
                    origin: None,
                }));
            }
        };
        let makes = self.prepared_name.take();
        let touched = self.touched(asked);
        let named = !name.is_empty();
        let returning = self.behind(plan, redirected.as_ref(), encoding, named, &touched)?;
        let upstream = if name.is_empty() {
            Bytes::new()
        } else {
            self.fresh_name("s").into()
        };
        Ok(Arc::new(Prepared {
            id: next_id(),
            asked: asked.clone(),
            plan: plan.clone(),
            redirected: redirected.clone(),
            returning,
            upstream,
            now,
            makes,
            source,
            origin: Some(Arc::new(Origin {
                sendable,
                offset: 0,
                asked: asked.clone(),
                redirected,
                touched,
                behind: false,
            })),
        }))
    }

    pub(super) fn write_parse(
        &mut self,
        prepared: &Arc<Prepared>,
        registers: Option<Bytes>,
    ) -> Result<(), Stop> {
        let Source::Parse { text, types, .. } = &prepared.source else {
            return Ok(());
        };
        self.push_origin(prepared.origin.clone());
        let link = &mut self.world()?.link;
        if prepared.upstream.is_empty() {
            link.unnamed = Some(prepared.id);
        } else {
            link.prepared.insert(prepared.id);
        }
        link.parse(&prepared.upstream, text, types);
        self.queue.push_back(Expect::Parse {
            forward: registers.is_some(),
            id: prepared.id,
            registers,
        });
        Ok(())
    }

    async fn bind(&mut self, name: Bytes, statement: &Bytes, tail: Bytes) -> Result<(), Stop> {
        self.bound = true;
        let mut prepared = self.find_statement(statement)?;
        self.account.plans(&prepared.asked);
        let taken = self.portals.contains_key(&name) || self.portal_named(&name).is_some();
        if !name.is_empty() && taken {
            let name = String::from_utf8_lossy(&name);
            return Err(Refusal::error(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{name}\" already exists"),
            )
            .into());
        }
        self.check_runnable(&prepared.plan)?;
        let failed = self.plan_view().block.as_ref().is_some_and(|b| b.failed);
        if failed && matches!(prepared.plan.action, Action::Empty) {
            return Err(super::transaction::failed_block().into());
        }
        let number = self.next_number();
        let mut portal = Portal {
            prepared: prepared.clone(),
            tail,
            upstream: Bytes::new(),
            rows: None,
            number,
        };
        if matches!(prepared.source, Source::Emulated) {
            let values = frontend::bind_values(&portal.tail).unwrap_or_default();
            if values != 0 {
                let statement = String::from_utf8_lossy(statement);
                let message = format!(
                    "bind message supplies {values} parameters, but prepared statement \"{statement}\" requires 0"
                );
                return Err(Refusal::error(SqlState::PROTOCOL_VIOLATION, message).into());
            }
            self.emit_bytes(BIND_COMPLETE);
            self.portals.insert(name, portal);
            return Ok(());
        }
        self.enter(&prepared.plan).await?;
        self.executed_up_to_date(&prepared.plan).await?;
        prepared = self.up_to_date(prepared, statement).await?;
        if self.skipping {
            return Ok(());
        }
        portal.prepared = prepared.clone();
        self.push_origin(prepared.origin.clone());
        self.ensure_executable(&prepared)?;
        if let Some(mut forward) = self.effective_forward(&prepared.plan) {
            forward.now |= prepared.now;
            self.before(&forward)?;
        }
        self.split_rows(&mut portal)?;
        // Commands of ours may have taken the unnamed statement.
        self.ensure_prepared(&prepared)?;
        if !runs_at_once(&name, &self.pending) {
            portal.upstream = self.fresh_name("p").into();
            if let Some((machine, _)) = &mut self.planned {
                machine.opened();
            }
        }
        let link = &mut self.world()?.link;
        link.bind(&portal.upstream, &prepared.upstream, &portal.tail);
        self.queue.push_back(Expect::Bind {
            forward: true,
            portal: name.clone(),
        });
        if !portal.upstream.is_empty() {
            self.push_advance();
        }
        if let Some(old) = self.portals.insert(name, portal) {
            for upstream in old.upstream_names() {
                self.close_upstream_portal(upstream)?;
            }
        }
        Ok(())
    }

    async fn describe_statement(&mut self, name: &Bytes) -> Result<(), Stop> {
        let prepared = self.find_statement(name)?;
        if matches!(prepared.source, Source::Emulated) {
            self.emit_bytes(backend::NO_PARAMETERS);
            self.emit_description(&prepared.plan);
            return Ok(());
        }
        self.enter(&prepared.plan).await?;
        let prepared = self.up_to_date(prepared, name).await?;
        if self.skipping {
            return Ok(());
        }
        match &prepared.returning {
            None => self.describe_prepared(&prepared, Part::All),
            Some(behind) => {
                self.describe_prepared(&prepared, Part::Parameters)?;
                self.describe_prepared(behind, Part::Columns)
            }
        }
    }

    fn describe_prepared(&mut self, prepared: &Arc<Prepared>, part: Part) -> Result<(), Stop> {
        self.push_origin(prepared.origin.clone());
        self.ensure_prepared(prepared)?;
        self.world()?
            .link
            .describe(Target::Statement, &prepared.upstream);
        self.queue.push_back(Expect::Describe {
            no_data: true,
            late: false,
            part,
        });
        Ok(())
    }

    async fn describe_portal(&mut self, name: &Bytes) -> Result<(), Stop> {
        let portal = self.find_portal(name)?;
        if matches!(portal.prepared.source, Source::Emulated) {
            let plan = portal.prepared.plan.clone();
            self.emit_description(&plan);
            return Ok(());
        }
        self.enter(&portal.prepared.plan).await?;
        if portal.rows.is_some() {
            return self.describe_rows_behind(&portal);
        }
        self.push_origin(portal.prepared.origin.clone());
        self.world()?
            .link
            .describe(Target::Portal, &portal.upstream);
        self.queue.push_back(Expect::Describe {
            no_data: true,
            late: false,
            part: Part::All,
        });
        Ok(())
    }

    async fn execute(&mut self, name: &Bytes, max_rows: i32) -> Result<(), Stop> {
        let portal = self.find_portal(name)?;
        let plan = portal.prepared.plan.clone();
        self.account.plans(&portal.prepared.asked);
        match &plan.action {
            Action::Empty => self.emit_bytes(EMPTY_QUERY),
            Action::Emulate | Action::Transaction(_) => {
                self.check_place(&plan)?;
                self.emulate(&plan, false).await?;
                self.answers(&plan);
            }
            Action::Refuse(refusal) => return Err(refusal.clone().into()),
            Action::Forward(_) | Action::Advisory(_) | Action::NotifyCall => {
                self.check_place(&plan)?;
                self.enter(&plan).await?;
                if let (Some(upstream), Source::Parse { text, encoding, .. }, Some(origin)) = (
                    &portal.prepared.makes,
                    &portal.prepared.source,
                    &portal.prepared.origin,
                ) {
                    let behind = portal.prepared.returning.as_ref();
                    let sent = (text, *encoding);
                    self.register_sql_prepare(&plan, upstream.clone(), sent, origin, behind)?;
                }
                let touched = match (&portal.prepared.origin, &plan.statement.kind) {
                    (None, _) => self.cursor_touched(name),
                    // What it means may have been made since it was prepared.
                    (_, Kind::Fetch { .. } | Kind::Execute { .. }) => {
                        Some(self.touched(&portal.prepared.asked))
                    }
                    (Some(origin), _) => Some(origin.touched.clone()),
                };
                if let Some(touched) = &touched {
                    self.begin_spending(touched).await?;
                }
                if self.login.records_values {
                    let parameters = frontend::parameters(&portal.tail);
                    self.queue.push_back(Expect::Bound(parameters));
                }
                if portal.rows.is_some() {
                    return self.execute_with_rows_behind(name, portal, max_rows).await;
                }
                self.push_origin(portal.prepared.origin.clone());
                self.queue.extend(touched.map(Expect::Runs));
                self.world()?.link.execute(&portal.upstream, max_rows);
                self.finish_execute(&plan, false).await?;
                if portal.upstream.is_empty() {
                    self.portals.remove(name);
                }
            }
        }
        Ok(())
    }

    /// Behind the Execute of a forwarded statement, in either protocol: what is expected, and what follows.
    /// With `hold`, the CommandComplete waits until the transaction has ended.
    pub(super) async fn finish_execute(&mut self, plan: &Plan, hold: bool) -> Result<(), Stop> {
        match &plan.action {
            Action::Forward(forward) => {
                self.open_portal = true;
                let complete = match (hold, forward.tag) {
                    (true, tag) => Complete::Hold(tag),
                    (false, Some(tag)) => Complete::Tag(tag),
                    (false, None) => Complete::Forward,
                };
                if let Some(notice) = &forward.notice {
                    let notice = notice.clone();
                    self.emit(|out| backend::refusal(out, &notice));
                }
                self.queue.push_back(Expect::Execute {
                    rows: Rows::Forward,
                    complete,
                });
                if let Kind::Prepare { name, .. } = &plan.statement.kind {
                    let name = Bytes::copy_from_slice(name.value.as_bytes());
                    self.queue.push_back(Expect::Made(name));
                }
                if matches!(plan.statement.kind, Kind::Copy(Copy::FromStdin)) {
                    self.exchange(false).await?;
                    if self.skipping {
                        return Ok(());
                    }
                }
                self.push_origin(None);
                self.after(plan, forward)
            }
            Action::Advisory(call) => self.advisory(*call).await,
            Action::NotifyCall => self.notify_call(hold),
            _ => Ok(()),
        }
    }

    async fn close(&mut self, target: Target, name: &Bytes) -> Result<(), Stop> {
        match target {
            Target::Statement => {
                if let Some(prepared) = self.statements.remove(name) {
                    self.forget_statement(&prepared).await?;
                }
            }
            Target::Portal => {
                if let Some(portal) = self.portals.remove(name) {
                    for upstream in portal.upstream_names() {
                        self.close_upstream_portal(upstream)?;
                    }
                } else if let Some(cursor) = self.portal_named(name) {
                    self.take_floor(false).await?;
                    self.close_upstream_portal(&cursor.into())?;
                    let name = String::from_utf8_lossy(name);
                    Arc::make_mut(&mut self.plan_view().cursors).remove(name.as_ref());
                    self.push_advance();
                }
            }
        }
        self.emit_bytes(CLOSE_COMPLETE);
        Ok(())
    }

    /// Drops a statement from the upstream, if it is there and the floor is held; otherwise when this client
    /// leaves.
    pub(super) async fn forget_statement(&mut self, prepared: &Prepared) -> Result<(), Stop> {
        if prepared.upstream.is_empty() || matches!(prepared.source, Source::Emulated) {
            return Ok(());
        }
        self.take_floor(true).await?;
        for prepared in prepared.with_behind() {
            let link = &mut self.world()?.link;
            if link.prepared.remove(&prepared.id) {
                link.close_named(Target::Statement, &prepared.upstream);
                self.queue.push_back(Expect::Close { forward: false });
            }
        }
        Ok(())
    }

    pub(super) fn close_upstream_portal(&mut self, upstream: &Bytes) -> Result<(), Stop> {
        if !upstream.is_empty() && self.floor.is_some() {
            self.world()?.link.close_named(Target::Portal, upstream);
            self.queue.push_back(Expect::Close { forward: false });
        }
        Ok(())
    }

    pub(super) fn find_statement(&self, name: &Bytes) -> Result<Arc<Prepared>, Stop> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!(
                    "prepared statement \"{}\" does not exist",
                    String::from_utf8_lossy(name)
                )
            };
            Refusal::error(SqlState::INVALID_SQL_STATEMENT_NAME, message).into()
        })
    }

    /// The portal of this name: made by Bind, or by DECLARE, for to Postgres these are the same thing.
    fn find_portal(&mut self, name: &Bytes) -> Result<Portal, Stop> {
        if let Some(portal) = self.portals.get(name) {
            return Ok(portal.clone());
        }
        if let Some(upstream) = self.portal_named(name) {
            let plan = self.context.plans.plan("SELECT");
            let prepared = Prepared {
                id: next_id(),
                asked: plan.clone(),
                plan,
                redirected: None,
                returning: None,
                upstream: Bytes::new(),
                now: false,
                makes: None,
                source: Source::Cursor,
                origin: None,
            };
            return Ok(Portal {
                prepared: Arc::new(prepared),
                tail: Bytes::new(),
                upstream: upstream.into(),
                rows: None,
                number: 0,
            });
        }
        let message = format!(
            "portal \"{}\" does not exist",
            String::from_utf8_lossy(name)
        );
        Err(Refusal::error(SqlState::INVALID_CURSOR_NAME, message).into())
    }

    /// What Postgres would refuse before it looks at anything else.
    pub(super) fn check_runnable(&mut self, plan: &Plan) -> Result<(), Stop> {
        let in_failed_block = self
            .plan_view()
            .block
            .as_ref()
            .is_some_and(|block| block.failed);
        if let Action::Refuse(refusal) = &plan.action
            && (!in_failed_block || refusal.sqlstate == SqlState::SYNTAX_ERROR)
        {
            return Err(refusal.clone().into());
        }
        let ends_block = matches!(&plan.statement.kind, Kind::Empty)
            || super::transaction::runs_in_failed_block(plan);
        if in_failed_block && !ends_block && !self.has_upstream_scope() {
            return Err(super::transaction::failed_block().into());
        }
        Ok(())
    }

    /// Whether the upstream itself would answer for a failed block.
    fn has_upstream_scope(&self) -> bool {
        match (&self.floor, &self.planned) {
            (Some(_), Some((machine, _))) => machine.is_failed() && machine.is_top(self.id),
            _ => false,
        }
    }
}

/// Whether the portal is executed to its end in this batch and not named again, so that it may be the
/// upstream's unnamed portal: that one is gone when anything else uses it.
fn runs_at_once(portal: &Bytes, rest: &VecDeque<Frontend>) -> bool {
    let mut executed = false;
    for message in rest {
        match message {
            Frontend::Describe {
                target: Target::Portal,
                name,
            } if name == portal && !executed => {}
            Frontend::Execute {
                portal: name,
                max_rows: 0,
            } if name == portal && !executed => executed = true,
            Frontend::Bind { portal: name, .. } if name == portal => return executed,
            Frontend::Sync => return executed,
            _ if executed => {}
            _ => return false,
        }
    }
    false
}
