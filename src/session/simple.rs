//! The simple protocol: a Query of any number of statements, each sent upstream by the extended protocol.

use super::expect::{Expect, Part};
use super::prepared::{Origin, Prepared, Source, TextEncoding, next_id};
use super::{Session, Stop};
use crate::error::{Refusal, SqlState};
use crate::plan::{Action, Plan};
use crate::sql::statement::Kind;
use crate::upstream::text::ClientText;
use crate::wire::backend::{self, EMPTY_QUERY};
use crate::wire::frontend::{self, Target};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

impl Session {
    /// A simple Query. It also ends whatever the unnamed statement and portal were.
    pub(super) async fn query(&mut self, text: Bytes) -> Result<(), Stop> {
        self.bound = false;
        self.statements.remove(&Bytes::new());
        self.portals.remove(&Bytes::new());
        let (text, encoding) = TextEncoding::decode(&text);
        let pieces = crate::sql::split::split(&text);
        if pieces.is_empty() {
            self.emit_bytes(EMPTY_QUERY);
            return self.exchange(true).await;
        }
        self.implicit_block = pieces.len() > 1;
        if self.implicit_block {
            self.check_syntax(&text, encoding).await?;
        }
        let last = pieces.len() - 1;
        for (index, piece) in pieces.iter().enumerate() {
            self.query_statement(&text, piece, encoding, index == last)
                .await?;
            if self.skipping {
                break;
            }
        }
        if !self.skipping {
            self.end_implicit().await?;
            if !self.skipping {
                self.queue.push_back(Expect::EmitHeld);
            }
        }
        self.exchange(true).await?;
        if self.view.block.is_none() {
            self.portals.clear();
        }
        Ok(())
    }

    async fn query_statement(
        &mut self,
        text: &str,
        piece: &Range<usize>,
        encoding: TextEncoding,
        is_last: bool,
    ) -> Result<(), Stop> {
        let own = text.get(piece.clone()).unwrap_or_default();
        let offset = text
            .get(..piece.start)
            .map_or(0, |before| before.chars().count());
        let plan = self.context.plans.plan(own);
        self.account.plans(&plan);
        let shifted = |refusal: Refusal| match refusal.position {
            Some(position) => refusal.position(position + offset),
            None => refusal,
        };
        if let Err(Stop::Refused(refusal)) = self.check_runnable(&plan) {
            return Err(shifted(*refusal).into());
        }
        if let Some(refusal) = parameter_refusal(&plan) {
            return Err(shifted(refusal).into());
        }
        match &plan.action {
            Action::Empty => self.emit_bytes(EMPTY_QUERY),
            Action::Refuse(refusal) => return Err(shifted(refusal.clone()).into()),
            Action::Emulate | Action::Transaction(_) => {
                self.check_place(&plan)?;
                self.emulate(&plan, true).await?;
                self.answers(&plan);
            }
            Action::Forward(_) | Action::Advisory(_) | Action::NotifyCall => {
                self.check_place(&plan)?;
                self.forward_simple(&plan, encoding, offset, is_last)
                    .await?;
            }
        }
        Ok(())
    }

    async fn forward_simple(
        &mut self,
        plan: &Arc<Plan>,
        encoding: TextEncoding,
        offset: usize,
        is_last: bool,
    ) -> Result<(), Stop> {
        self.enter(plan).await?;
        self.executed_up_to_date(plan).await?;
        let asked = plan;
        let redirected = self.redirect(asked).await?;
        if self.skipping {
            return Ok(());
        }
        let plan = redirected.as_ref().map_or(asked, |other| &other.plan);
        let (edits, now) = self.session_edits(plan)?;
        let Some(sendable) = plan.sendable(edits) else {
            return Ok(());
        };
        let sent = encoding
            .client_text(sendable.text())
            .ok_or_else(not_sendable)?;
        let touched = self.touched(asked);
        let behind = self.behind(plan, redirected.as_ref(), encoding, false, &touched)?;
        let origin = Arc::new(Origin {
            sendable,
            touched,
            offset,
            asked: asked.clone(),
            redirected: redirected.clone(),
            behind: false,
        });
        if let Some(upstream) = self.prepared_name.take() {
            self.register_sql_prepare(plan, upstream, (&sent, encoding), &origin, behind.as_ref())?;
        }
        self.ensure_executed(plan)?;
        if let Some(mut forward) = self.effective_forward(plan) {
            forward.now |= now;
            self.before(&forward)?;
        }
        let hold = is_last && self.plan_view().block.is_none();
        if let Some(behind) =
            behind.filter(|_| !matches!(plan.statement.kind, Kind::Prepare { .. }))
        {
            self.begin_spending(&origin.touched).await?;
            return self
                .run_with_rows_behind(plan, &sent, origin, &behind, hold)
                .await;
        }
        self.begin_spending(&origin.touched).await?;
        self.push_origin(Some(origin));
        let link = &mut self.world()?.link;
        link.unnamed = None;
        link.parse(b"", &sent, frontend::NO_TYPES);
        link.bind(b"", b"", frontend::NO_PARAMETERS);
        link.describe(Target::Portal, b"");
        link.execute(b"", 0);
        self.queue.push_back(Expect::Parse {
            forward: false,
            id: 0,
            registers: None,
        });
        self.queue.push_back(Expect::Bind {
            forward: false,
            portal: Bytes::new(),
        });
        let late = !matches!(
            plan.statement.kind,
            Kind::Read | Kind::EffectfulSelect | Kind::AdvisoryLock(_) | Kind::NotifyCall(_)
        );
        self.queue.push_back(Expect::Describe {
            no_data: false,
            late,
            part: Part::All,
        });
        self.finish_execute(plan, hold).await
    }

    /// Remembers what an SQL PREPARE is about to make.
    pub(super) fn register_sql_prepare(
        &mut self,
        plan: &Arc<Plan>,
        upstream: Bytes,
        (sent, encoding): (&ClientText, TextEncoding),
        origin: &Arc<Origin>,
        behind: Option<&Arc<Prepared>>,
    ) -> Result<(), Stop> {
        let Kind::Prepare { name, .. } = &plan.statement.kind else {
            return Ok(());
        };
        if self.statements.contains_key(name.value.as_bytes()) {
            return Err(Refusal::error(
                SqlState::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{}\" already exists", name.value),
            )
            .into());
        }
        let id = next_id();
        if let Ok(world) = self.world() {
            world.link.prepared.insert(id);
        }
        let prepared = Prepared {
            id,
            asked: origin.asked.clone(),
            plan: plan.clone(),
            redirected: origin.redirected.clone(),
            returning: behind.cloned(),
            upstream,
            now: false,
            makes: None,
            source: Source::Sql {
                text: sent.clone(),
                encoding,
            },
            origin: Some(origin.clone()),
        };
        let name = Bytes::copy_from_slice(name.value.as_bytes());
        self.statements.insert(name, Arc::new(prepared));
        Ok(())
    }

    /// Postgres reads a whole Query before it runs any of it: a later statement that does not parse keeps the
    /// earlier ones from running. Only Postgres knows its grammar, so it is asked, once per text: a Parse of
    /// several statements fails either on the syntax or because they are several.
    async fn check_syntax(&mut self, text: &str, encoding: TextEncoding) -> Result<(), Stop> {
        if self.context.plans.is_known_to_parse(text)
            || self.plan_view().block.as_ref().is_some_and(|b| b.failed)
        {
            return Ok(());
        }
        self.enter_scope(true).await?;
        let (probe, fields) = self.probe(&encoding.bytes(text)).await?;
        if self.skipping {
            return Ok(());
        }
        match fields {
            Some(fields)
                if fields.text(b'C') == "42601"
                    && fields.text(b'M').contains("multiple commands") =>
            {
                self.context.plans.learn_parses(text);
                Ok(())
            }
            Some(fields) => {
                let mut refusal = Refusal::error(probe, fields.text(b'M'));
                if let Ok(position) = fields.text(b'P').parse() {
                    refusal = refusal.position(position);
                }
                if let Some(hint) = fields.get(b'H') {
                    refusal = refusal.hint(String::from_utf8_lossy(hint));
                }
                Err(refusal.into())
            }
            None => Ok(()),
        }
    }

    /// Asks the upstream to parse a text and undoes that. Returns its error.
    async fn probe(&mut self, text: &[u8]) -> Result<(SqlState, Option<backend::Fields>), Stop> {
        self.exchange(false).await?;
        if self.skipping {
            return Ok((SqlState::SYNTAX_ERROR, None));
        }
        let savepoint = self.fresh_name("probe");
        let fields = self.world()?.link.probe(text, &savepoint).await?;
        Ok((SqlState::SYNTAX_ERROR, fields))
    }
}

/// What the plan let through and the last look did not: a mistake of ours, and nothing is sent.
pub(super) fn not_sendable() -> Stop {
    tracing::error!("a transaction command was about to be forwarded");
    Refusal::error(
        SqlState::FEATURE_NOT_SUPPORTED,
        "this statement is not available in a sandbox",
    )
    .into()
}

/// `$1` in a simple Query is an error where Postgres analyses the statement at once.
fn parameter_refusal(plan: &Plan) -> Option<Refusal> {
    let (number, span) = plan.statement.facts.parameter.as_ref()?;
    if !plan.statement.facts.optimizable {
        return None;
    }
    let position = plan.text.get(..span.start)?.chars().count() + 1;
    Some(
        Refusal::error(
            SqlState::UNDEFINED_PARAMETER,
            format!("there is no parameter ${number}"),
        )
        .position(position),
    )
}
