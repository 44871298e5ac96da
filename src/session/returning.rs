//! RETURNING of masked columns: the statement remembers which rows it wrote, and a second one, sent right behind
//! it, reads them through the masked view. The client gets the second one's description and rows, and the first
//! one's tag.

use super::expect::{Complete, Expect, Part, Rows};
use super::prepared::{Origin, Portal, Prepared, Source, TextEncoding, next_id};
use super::{Session, Stop};
use crate::plan::{Action, Forward, Plan, RETURNING, Redirected, Touched};
use crate::sql::edit::Edit;
use crate::sql::lexer;
use crate::sql::statement::Kind;
use crate::upstream::command::{Command, identifier};
use crate::upstream::text::ClientText;
use crate::wire::frontend::{self, Target};
use bytes::Bytes;
use std::sync::Arc;

/// Tags of portals that were never read to their end are forgotten at this number.
const TAGS: usize = 256;

impl Session {
    /// The statement that is sent behind this one, if there is one; an EXECUTE has that of what it executes.
    pub(super) fn behind(
        &mut self,
        plan: &Plan,
        redirected: Option<&Arc<Redirected>>,
        encoding: TextEncoding,
        named: bool,
        touched: &Arc<Touched>,
    ) -> Result<Option<Arc<Prepared>>, Stop> {
        if let Kind::Execute { name } = &plan.statement.kind {
            let target = self.statements.get(name.value.as_bytes());
            // EXPLAIN EXECUTE writes nothing that could be returned, and its rows are the plan.
            let runs = lexer::significant(&plan.text)
                .first()
                .is_some_and(|word| word.text(&plan.text).eq_ignore_ascii_case("execute"));
            return Ok(target
                .filter(|_| runs)
                .and_then(|target| target.returning.clone()));
        }
        let Some((redirected, behind)) =
            redirected.and_then(|redirected| Some((redirected, redirected.returning.as_ref()?)))
        else {
            return Ok(None);
        };
        let Some(sendable) = behind.sendable(Vec::new()) else {
            return Ok(None);
        };
        let text = encoding
            .client_text(sendable.text())
            .ok_or_else(super::simple::not_sendable)?;
        let upstream = if named {
            self.fresh_name("s").into()
        } else {
            Bytes::new()
        };
        Ok(Some(Arc::new(Prepared {
            id: next_id(),
            asked: behind.clone(),
            plan: behind.clone(),
            redirected: None,
            returning: None,
            upstream,
            now: behind.forward().is_some_and(|forward| forward.now),
            makes: None,
            source: Source::Parse {
                text,
                types: Bytes::from_static(frontend::NO_TYPES),
                encoding,
            },
            origin: Some(Arc::new(Origin {
                sendable,
                offset: 0,
                asked: behind.clone(),
                redirected: Some(redirected.clone()),
                touched: touched.clone(),
                behind: true,
            })),
        })))
    }

    /// The statement as names mean it now: after a change of the search path, or of what stands before a
    /// masked relation, it is prepared anew, as Postgres itself analyses it anew.
    pub(super) async fn up_to_date(
        &mut self,
        prepared: Arc<Prepared>,
        name: &Bytes,
    ) -> Result<Arc<Prepared>, Stop> {
        let Source::Parse {
            types, encoding, ..
        } = &prepared.source
        else {
            return Ok(prepared);
        };
        let redirected = self.redirect(&prepared.asked).await?;
        let same = is_same(redirected.as_ref(), prepared.redirected.as_ref());
        if same || self.skipping {
            return Ok(prepared);
        }
        self.forget_statement(&prepared).await?;
        let new = self
            .prepare(&prepared.asked, *encoding, name, types.clone())
            .await?;
        self.statements.insert(name.clone(), new.clone());
        Ok(new)
    }

    /// What an EXECUTE runs, as names mean it now: the same for a statement of an SQL PREPARE. It keeps the upstream's name,
    /// which an EXECUTE that was prepared itself has in its text.
    pub(super) async fn executed_up_to_date(&mut self, plan: &Plan) -> Result<(), Stop> {
        let Kind::Execute { name } = &plan.statement.kind else {
            return Ok(());
        };
        let name = Bytes::copy_from_slice(name.value.as_bytes());
        let Some(old) = self.statements.get(&name).cloned() else {
            return Ok(());
        };
        let Source::Sql { encoding, .. } = old.source else {
            return Ok(());
        };
        let redirected = self.redirect(&old.asked).await?;
        if self.skipping || is_same(redirected.as_ref(), old.redirected.as_ref()) {
            return Ok(());
        }
        let plan = redirected.as_ref().map_or(&old.asked, |other| &other.plan);
        let Kind::Prepare { name: place, .. } = &plan.statement.kind else {
            return Ok(());
        };
        let upstream = identifier(&String::from_utf8_lossy(&old.upstream));
        let edit = Edit::new(place.span.clone(), upstream);
        let Some(sendable) = plan.sendable(vec![edit]) else {
            return Ok(());
        };
        let text = encoding
            .client_text(sendable.text())
            .ok_or_else(super::simple::not_sendable)?;
        let touched = self.touched(&old.asked);
        let returning = self.behind(plan, redirected.as_ref(), encoding, false, &touched)?;
        let new = Prepared {
            id: next_id(),
            asked: old.asked.clone(),
            plan: plan.clone(),
            redirected: redirected.clone(),
            returning,
            upstream: old.upstream.clone(),
            now: false,
            makes: None,
            source: Source::Sql { text, encoding },
            origin: Some(Arc::new(Origin {
                sendable,
                offset: 0,
                asked: old.asked.clone(),
                redirected: redirected.clone(),
                touched,
                behind: false,
            })),
        };
        self.forget_statement(&old).await?;
        self.statements.insert(name, Arc::new(new));
        Ok(())
    }

    /// Simple protocol: both statements, one behind the other.
    pub(super) async fn run_with_rows_behind(
        &mut self,
        plan: &Plan,
        sent: &ClientText,
        origin: Arc<Origin>,
        behind: &Arc<Prepared>,
        hold: bool,
    ) -> Result<(), Stop> {
        self.before_rows_behind(behind)?;
        self.push_origin(Some(origin));
        let link = &mut self.world()?.link;
        link.unnamed = None;
        link.parse(b"", sent, frontend::NO_TYPES);
        link.bind(b"", b"", frontend::NO_PARAMETERS);
        self.queue.push_back(Expect::Parse {
            forward: false,
            id: 0,
            registers: None,
        });
        self.expect_bound();
        let number = self.next_number();
        self.remember(b"", number, plan)?;
        self.push_origin(behind.origin.clone());
        self.ensure_prepared(behind)?;
        let link = &mut self.world()?.link;
        link.bind(b"", &behind.upstream, frontend::NO_PARAMETERS);
        link.describe(Target::Portal, b"");
        link.execute(b"", 0);
        self.expect_bound();
        self.queue.push_back(Expect::Describe {
            no_data: false,
            late: true,
            part: Part::Columns,
        });
        self.finish_rows_behind(plan, Complete::Kept(number, hold))
    }

    /// At Bind: the parameters are for the statement itself, the formats of the result for the one behind it.
    pub(super) fn split_rows(&mut self, portal: &mut Portal) -> Result<(), Stop> {
        let Some(behind) = portal.prepared.returning.clone() else {
            return Ok(());
        };
        if matches!(portal.prepared.plan.statement.kind, Kind::Prepare { .. }) {
            return Ok(());
        }
        if let Some((parameters, results)) = frontend::split_bind(&portal.tail) {
            portal.tail = parameters;
            portal.rows = Some((results, Bytes::new()));
        }
        self.before_rows_behind(&behind)
    }

    /// Describe of a portal whose rows will come from another statement: as that one would give them now.
    pub(super) fn describe_rows_behind(&mut self, portal: &Portal) -> Result<(), Stop> {
        let (Some(behind), Some((results, _))) = (&portal.prepared.returning, &portal.rows) else {
            return Ok(());
        };
        self.push_origin(behind.origin.clone());
        self.ensure_prepared(behind)?;
        let name = Bytes::from(self.fresh_name("p"));
        let link = &mut self.world()?.link;
        link.bind(&name, &behind.upstream, results);
        link.describe(Target::Portal, &name);
        self.expect_bound();
        self.queue.push_back(Expect::Describe {
            no_data: true,
            late: false,
            part: Part::Columns,
        });
        self.close_upstream_portal(&name)
    }

    /// Execute of such a portal. The first time it writes, to its end; the rows are then read from the
    /// statement behind it, as many as were asked for.
    pub(super) async fn execute_with_rows_behind(
        &mut self,
        name: &Bytes,
        mut portal: Portal,
        max_rows: i32,
    ) -> Result<(), Stop> {
        let prepared = portal.prepared.clone();
        let (Some(behind), Some((results, rows))) = (&prepared.returning, &mut portal.rows) else {
            return Ok(());
        };
        if rows.is_empty() {
            self.push_origin(prepared.origin.clone());
            self.remember(&portal.upstream, portal.number, &prepared.plan)?;
            self.push_origin(behind.origin.clone());
            self.ensure_prepared(behind)?;
            // Bound behind the Execute: what a portal sees is what is there when it is bound.
            *rows = self.fresh_name("p").into();
            self.world()?.link.bind(rows, &behind.upstream, results);
            self.expect_bound();
            if max_rows != 0
                && let Some((machine, _)) = &mut self.planned
            {
                machine.opened();
            }
        } else {
            self.push_origin(behind.origin.clone());
        }
        // Read to its end, it is closed; a further Execute finds nothing more.
        let rows = if max_rows == 0 {
            std::mem::take(rows)
        } else {
            rows.clone()
        };
        self.world()?.link.execute(&rows, max_rows);
        self.finish_rows_behind(&prepared.plan, Complete::Kept(portal.number, false))?;
        if max_rows == 0 {
            self.close_upstream_portal(&rows)?;
        }
        if portal.upstream.is_empty() && max_rows == 0 {
            self.portals.remove(name);
        } else {
            self.portals.insert(name.clone(), portal);
        }
        Ok(())
    }

    /// What must come before both.
    fn before_rows_behind(&mut self, behind: &Prepared) -> Result<(), Stop> {
        if behind.now {
            self.before(&Forward {
                now: true,
                ..Forward::default()
            })?;
        }
        let token = self.fresh_name("r");
        self.push_own(
            &Command::Set(RETURNING.to_owned(), token),
            super::expect::Own::Nothing,
        )
    }

    /// Runs the statement itself; its tag is kept.
    fn remember(&mut self, portal: &[u8], number: u64, plan: &Plan) -> Result<(), Stop> {
        if self.kept.len() >= TAGS {
            self.kept.clear();
        }
        self.world()?.link.execute(portal, 0);
        self.queue.push_back(Expect::Execute {
            rows: Rows::Drop,
            complete: Complete::Keep(number, plan.forward().and_then(|forward| forward.tag)),
        });
        Ok(())
    }

    fn expect_bound(&mut self) {
        self.queue.push_back(Expect::Bind {
            forward: false,
            portal: Bytes::new(),
        });
    }

    /// The rows, the tag, and what comes behind a statement of this kind.
    fn finish_rows_behind(&mut self, plan: &Plan, complete: Complete) -> Result<(), Stop> {
        self.open_portal = true;
        self.queue.push_back(Expect::Execute {
            rows: Rows::Forward,
            complete,
        });
        self.push_origin(None);
        match &plan.action {
            Action::Forward(forward) => self.after(plan, forward),
            _ => Ok(()),
        }
    }
}

/// Do names mean the same?
fn is_same(new: Option<&Arc<Redirected>>, old: Option<&Arc<Redirected>>) -> bool {
    match (new, old) {
        (None, None) => true,
        (Some(new), Some(old)) => Arc::ptr_eq(new, old),
        _ => false,
    }
}
