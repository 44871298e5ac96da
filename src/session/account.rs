//! What a session says of its statements to the record: each execution is counted while its answers pass, and
//! becomes one [`StatementRecord`] before the client sees the end of its answer.

use super::expect::{Complete, Expect};
use super::{ClientError, Session};
use crate::audit::{EndReason, Event, EventKind, StatementRecord, Values, Verdict};
use crate::error::Refusal;
use crate::plan::{Plan, Touched};
use crate::sandbox::data::end_refusal;
use crate::sql::statement::Kind;
use crate::wire::backend;
use crate::wire::frame::HEADER;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// What is counted of the statement that runs, and what waits to be recorded.
#[derive(Debug)]
pub(super) struct Account {
    /// The statement whose answers come.
    running: Option<Arc<Touched>>,
    rows: u64,
    bytes: u64,
    written: u64,
    parameters: Vec<Option<String>>,
    since: Instant,
    /// The statement that is being planned, until it is known to have failed upstream: whose refusal it is.
    planning: Option<Arc<Plan>>,
    /// What cursors read, by the client's names.
    cursors: HashMap<String, Arc<Touched>>,
    made: Vec<Event>,
    unsettled: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            running: None,
            rows: 0,
            bytes: 0,
            written: 0,
            parameters: Vec::new(),
            since: Instant::now(),
            planning: None,
            cursors: HashMap::new(),
            made: Vec::new(),
            unsettled: false,
        }
    }
}

impl Account {
    /// A batch of the client's arrived.
    pub(super) fn batch_begins(&mut self) {
        self.since = Instant::now();
        self.planning = None;
        self.parameters = Vec::new();
    }

    /// This statement is planned next.
    pub(super) fn plans(&mut self, plan: &Arc<Plan>) {
        self.planning = Some(plan.clone());
    }

    /// The answers that come next are of this statement, or of none.
    pub(super) fn runs(&mut self, touched: Option<Arc<Touched>>) {
        self.running = touched;
    }

    /// The next execution has these parameters.
    pub(super) fn bound(&mut self, parameters: Vec<Option<String>>) {
        self.parameters = parameters;
    }

    /// The statement whose answers come.
    pub(super) fn running(&self) -> Option<&Arc<Touched>> {
        self.running.as_ref()
    }

    /// A row begins to pass to the client; `bytes` with the message's header.
    pub(super) fn row(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes as u64;
    }

    /// A statement wrote as many rows as its CommandComplete says; that of another one is the client's.
    pub(super) fn wrote(&mut self, complete: &[u8]) {
        // COPY TO has the tag of COPY FROM, but sends rows.
        let sent = complete
            .get(HEADER..)
            .is_some_and(|tag| tag.starts_with(b"COPY"))
            && self.rows > 0;
        self.written = if sent {
            0
        } else {
            backend::rows_written(complete)
        };
    }
}

impl Session {
    /// What a statement touches for this client; a FETCH what its cursor reads, an EXECUTE what it executes.
    pub(super) fn touched(&mut self, plan: &Plan) -> Arc<Touched> {
        let masked = match &self.floor {
            Some(_) => self.meaning().ok().flatten(),
            None => None,
        };
        let own = plan.touched(masked.as_ref());
        let through = match &plan.statement.kind {
            Kind::Execute { name } => self
                .statements
                .get(name.value.as_bytes())
                .and_then(|target| target.origin.as_ref())
                .map(|origin| origin.touched.clone()),
            Kind::Fetch { name, .. } => self.account.cursors.get(&name.value).cloned(),
            _ => None,
        };
        match through {
            Some(target) => Arc::new(own.through(&target)),
            None => own,
        }
    }

    /// What a cursor reads that DECLARE made, for a portal of its name.
    pub(super) fn cursor_touched(&self, name: &[u8]) -> Option<Arc<Touched>> {
        let name = std::str::from_utf8(name).ok()?;
        self.account.cursors.get(name).cloned()
    }

    /// The statement that is planned makes a cursor.
    pub(super) fn declares(&mut self, name: &str) {
        let Some(plan) = self.account.planning.clone() else {
            return;
        };
        let touched = self.touched(&plan);
        self.account.cursors.insert(name.to_owned(), touched);
    }

    /// An Execute of the client's ended well; `complete` is what the upstream said of it, if it said that here.
    pub(super) fn executed(&mut self, complete: Option<&[u8]>) {
        if let Some(complete) = complete {
            self.account.wrote(complete);
        }
        self.ended(Verdict::Done);
    }

    /// The statement whose answers come has ended like this.
    pub(super) fn ended(&mut self, verdict: Verdict) {
        if let Some(touched) = self.account.running.clone() {
            self.record(&touched, verdict);
        }
    }

    /// The upstream answered a statement of the client's with an error.
    pub(super) fn failed(&mut self, sqlstate: String) {
        let ending = self.queue.iter().find_map(|expect| match expect {
            Expect::Answered(plan) => Some(plan.clone()),
            _ => None,
        });
        let touched = match self.account.running.take() {
            Some(touched) => touched,
            // What the end of a transaction found out.
            None => match ending {
                Some(plan) => plan.touched(None),
                None => return,
            },
        };
        self.account.planning = None;
        self.record(&touched, Verdict::Failed { sqlstate });
    }

    /// The proxy has left the answer of a statement of its own: it is recorded in its turn.
    pub(super) fn answers(&mut self, plan: &Arc<Plan>) {
        if self.queue.is_empty() {
            self.answered(plan);
        } else {
            self.queue.push_back(Expect::Answered(plan.clone()));
        }
    }

    /// A statement that the proxy answers itself was answered.
    pub(super) fn answered(&mut self, plan: &Plan) {
        self.record(&plan.touched(None), Verdict::Done);
    }

    /// The proxy refused the statement that was being planned, if there is one.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.context
            .refused(&self.login, &self.sandbox.key, refusal);
        if let Some(plan) = self.account.planning.take() {
            let touched = self.touched(&plan);
            let sqlstate = refusal.sqlstate.0.to_owned();
            self.record(&touched, Verdict::Refused { sqlstate });
        }
    }

    /// The sandbox has ended, and with it what was sent and never answered to its end: rows may have come of it.
    pub(super) fn lost(&mut self, reason: EndReason) {
        let refusal = end_refusal(reason, &self.sandbox.key.name);
        let mut running = self.account.running.take();
        let mut unanswered = Vec::new();
        for expect in &self.queue {
            match expect {
                Expect::Origin(origin) => {
                    running = origin.as_ref().map(|origin| origin.touched.clone());
                }
                Expect::Runs(touched) => running = Some(touched.clone()),
                Expect::Execute { complete, .. } if !matches!(complete, Complete::Keep(..)) => {
                    unanswered.extend(running.clone());
                }
                Expect::Answered(plan) => unanswered.push(plan.touched(None)),
                _ => {}
            }
        }
        for touched in unanswered {
            self.account.planning = None;
            let sqlstate = refusal.sqlstate.0.to_owned();
            self.record(&touched, Verdict::Failed { sqlstate });
        }
    }

    fn record(&mut self, touched: &Touched, verdict: Verdict) {
        let policy = match self.floor.as_mut().map(|floor| floor.world()) {
            Some(Ok(world)) => world.catalog.policy_version(),
            _ => None,
        };
        let account = &mut self.account;
        let now = Instant::now();
        let record = StatementRecord {
            application: self.login.application().to_owned(),
            shape: touched.shape.clone(),
            rows: std::mem::take(&mut account.rows),
            bytes: std::mem::take(&mut account.bytes),
            rows_written: std::mem::take(&mut account.written),
            duration: now.duration_since(account.since),
            verdict,
            policy,
            values: self.login.records_values.then(|| {
                Box::new(Values {
                    text: touched.said.clone(),
                    parameters: std::mem::take(&mut account.parameters).into(),
                })
            }),
        };
        account.since = now;
        account.made.push(
            self.login
                .event(EventKind::Statement(Box::new(record)))
                .sandbox(&self.sandbox.key.name),
        );
    }

    /// Hands what was recorded to the log.
    pub(super) async fn hand_over(&mut self) -> Result<(), ClientError> {
        let mut recorded = Ok(());
        // One that cannot be written keeps none of the others from being tried.
        for event in std::mem::take(&mut self.account.made) {
            self.account.unsettled = true;
            let this = self.context.events.record(event).await;
            recorded = recorded.and(this);
        }
        self.on_record(recorded)
    }

    /// What is not on record is not answered: the client gets the reason instead, and is let go.
    fn on_record(&mut self, recorded: Result<(), Refusal>) -> Result<(), ClientError> {
        recorded.map_err(|refusal| {
            self.client.out.clear();
            self.cut_off |= self.row_remaining > 0;
            if self.cut_off {
                ClientError::Gone
            } else {
                ClientError::Protocol(refusal)
            }
        })
    }

    /// Writes what waits for the client. No end of an answer goes out before it is on record.
    pub(super) async fn send(&mut self) -> Result<(), ClientError> {
        self.keep_quiet();
        self.hand_over().await?;
        if std::mem::take(&mut self.account.unsettled) {
            let settled = self.context.events.settled().await;
            self.on_record(settled)?;
        }
        self.client.flush().await
    }
}
