//! From the upstream to the client: answers go on as they came, rows from the buffer that they were read into;
//! each execution is counted, recorded before the client sees its end, and cut where a budget ends.

use super::answer::{Answer, Front, cut, unexpected};
use super::names::Named;
use super::track::{Run, Sent, Shared};
use crate::audit::{Event, EventKind, StatementRecord, Values, Verdict};
use crate::error::{Refusal, SqlState};
use crate::session::{ClientError, Context, Login};
use crate::upstream::address::Address;
use crate::upstream::connect;
use crate::wire::backend::{self, Fields};
use crate::wire::frame::{self, HEADER, Header};
use crate::wire::socket::Socket;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

/// How much is read at once, in bytes.
const READ: usize = 64 * 1024;
/// The longest that a cancel request may take.
const CANCEL: Duration = Duration::from_secs(5);

/// How a statement of this connection is cancelled.
pub(super) struct Cancel {
    pub address: Address,
    pub process: i32,
    pub secret: Vec<u8>,
}

/// See the [module](self).
pub(super) struct FromUpstream {
    pub upstream: ReadHalf<Socket>,
    pub client: WriteHalf<Socket>,
    pub input: BytesMut,
    /// So much of the input is to be sent on as it is.
    pub pass: usize,
    /// So much of a row is still to come; it is sent on, or not.
    pub rest: usize,
    pub dropped: bool,
    pub shared: Arc<Shared>,
    pub context: Arc<Context>,
    pub login: Login,
    pub cancel: Cancel,
    pub answer: Answer,
    /// What was recorded and is to be written before the client gets more.
    pub made: VecDeque<Event>,
    /// A cut statement had ended before it could be cancelled: nothing goes on up to a ReadyForQuery.
    pub muted: bool,
    /// The client was left in the middle of a message.
    pub torn: bool,
}

impl FromUpstream {
    /// Sends on until the upstream has closed the connection.
    pub async fn run(&mut self) -> Result<(), ClientError> {
        loop {
            while self.one().await? {}
            self.flush().await?;
            self.input.reserve(READ);
            if self.upstream.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
        }
    }

    /// No more answers come: what was sent and not answered is on record all the same.
    pub async fn end(&mut self) {
        let mut unanswered: Vec<Named> = Vec::new();
        for sent in std::mem::take(&mut self.shared.track().queue) {
            match sent {
                Sent::Execute(Some(run)) => unanswered.push(run.statement),
                Sent::Query { runs, .. } => {
                    unanswered.extend(runs.into_iter().map(|run| run.statement));
                }
                _ => {}
            }
        }
        let sqlstate = || SqlState::CONNECTION_FAILURE.0.to_owned();
        if self.answer.run.is_some() {
            let verdict = match self.answer.cut.take() {
                Some(refusal) => cut(&refusal),
                None => Verdict::Failed {
                    sqlstate: sqlstate(),
                },
            };
            self.ended(verdict, 0).await;
        }
        for statement in unanswered {
            let sqlstate = sqlstate();
            self.record(&statement, Verdict::Failed { sqlstate }, 0);
        }
        let _ = self.hand_over().await;
    }

    /// A last word, if the client can still read one.
    pub async fn tell_end(&mut self, refusal: &Refusal) {
        if !self.torn && self.rest == 0 {
            let mut told = BytesMut::new();
            backend::refusal(&mut told, refusal);
            let _ = self.write(&told).await;
        }
    }

    fn unread(&self) -> &[u8] {
        self.input.get(self.pass..).unwrap_or_default()
    }

    /// Handles the message at the front; false when more must be read first.
    async fn one(&mut self) -> Result<bool, ClientError> {
        if self.rest > 0 {
            return self.pass_rest().await;
        }
        let Some(header) = frame::peek(self.unread())? else {
            return Ok(false);
        };
        match header.tag {
            b'D' | b'd' | b'V' => return self.row(header).await,
            _ if self.unread().len() < header.total => return Ok(false),
            b'E' => self.error(header).await?,
            b'C' | b's' | b'I' => self.end_of_statement(header).await?,
            b'Z' => self.ready(header).await?,
            b'S' => {
                self.told(header);
                self.pass += header.total;
            }
            b'N' | b'A' => self.pass += header.total,
            tag => {
                self.progress(tag)?;
                self.done(header.total, self.muted).await?;
            }
        }
        Ok(true)
    }

    /// An answer to one of the messages that run nothing.
    fn progress(&mut self, tag: u8) -> Result<(), ClientError> {
        let mut track = self.shared.track();
        let track = &mut *track;
        if let Some(Sent::Query { answered, .. }) = track.queue.front_mut() {
            *answered = true;
        }
        match (track.queue.front(), tag) {
            (Some(Sent::Parse(..)), b'1')
            | (Some(Sent::Bind(..)), b'2')
            | (Some(Sent::CloseStatement(_) | Sent::ClosePortal(_)), b'3')
            | (Some(Sent::Describe), b'T' | b'n') => match track.queue.pop_front() {
                Some(Sent::Parse(name, statement)) => track.reached.parsed(name, statement),
                Some(Sent::Bind(portal, statement, parameters)) => {
                    track.reached.bound(portal, &statement, parameters);
                }
                Some(Sent::CloseStatement(name)) => track.reached.closed_statement(&name),
                Some(Sent::ClosePortal(name)) => track.reached.closed_portal(&name),
                _ => {}
            },
            (Some(Sent::Describe), b't') | (Some(Sent::Query { .. }), b'T' | b'H' | b'c') => {}
            (Some(Sent::Execute(_)), b'H' | b'c') => {}
            (Some(Sent::Execute(_) | Sent::Query { .. }), b'G' | b'W') => {
                track.copies();
                self.shared.changed.notify_one();
            }
            _ => return Err(unexpected(tag)),
        }
        Ok(())
    }

    /// A setting's value.
    fn told(&mut self, header: Header) {
        let body = self.unread().get(HEADER..header.total).unwrap_or_default();
        let mut parts = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return;
        };
        let (name, value) = (name.into_owned(), value.into_owned());
        if name == "application_name" {
            self.answer.application = value;
        } else {
            self.shared.track().reading.told(&name, &value);
        }
    }

    /// The execution at the front is the one whose answer comes.
    fn start(&mut self, tag: u8) -> Result<(), ClientError> {
        if self.answer.run.is_some() {
            return Ok(());
        }
        let run = match self.shared.track().queue.front_mut() {
            Some(Sent::Execute(run)) => run.take(),
            Some(Sent::Query { runs, answered, .. }) => {
                *answered = true;
                let run = runs.pop_front();
                Some(Box::new(run.unwrap_or_else(|| Run {
                    statement: match tag {
                        b'I' => Named::nothing(&self.context.plans),
                        // A text that the proxy takes for fewer statements.
                        _ => Named::unread(),
                    },
                    spending: None,
                    refused: None,
                    sent: self.answer.since,
                })))
            }
            _ => None,
        };
        self.answer.run = Some(run.ok_or_else(|| unexpected(tag))?);
        Ok(())
    }

    async fn row(&mut self, header: Header) -> Result<bool, ClientError> {
        self.start(header.tag)?;
        let explains = self
            .answer
            .run
            .as_ref()
            .is_some_and(|run| run.statement.touched.explains);
        if explains && self.unread().len() < header.total {
            return Ok(false);
        }
        let explained = explains
            .then(|| backend::first_column(self.unread().get(HEADER..header.total)?))
            .flatten()
            .map(|line| String::from_utf8_lossy(line).into_owned());
        if !self.muted && self.pay(explained.as_deref(), header.total as u64).await? {
            self.answer.rows += 1;
            self.answer.bytes += header.total as u64;
            self.dropped = false;
        } else {
            self.dropped = true;
        }
        self.rest = header.total;
        self.pass_rest().await
    }

    /// True if a row may pass; `explained` is what it says, if it is one of EXPLAIN ANALYZE.
    async fn pay(&mut self, explained: Option<&str>, bytes: u64) -> Result<bool, ClientError> {
        if self.answer.cut.is_some() {
            return Ok(false);
        }
        let spending = self
            .answer
            .run
            .as_mut()
            .and_then(|run| run.spending.as_mut());
        let Some(spending) = spending else {
            return Ok(true);
        };
        if explained.is_none() && spending.spend(1, bytes) {
            return Ok(true);
        }
        let paid = spending.row(explained, bytes).await;
        for notice in spending.notices() {
            self.tell(&notice).await?;
            let kind = EventKind::BudgetNear {
                limit: notice.message,
            };
            self.context.events.report(self.login.event(kind));
        }
        let Err(refusal) = paid else {
            return Ok(true);
        };
        if let Some(run) = &mut self.answer.run {
            run.spending = None;
        }
        self.answer.cut = Some(refusal);
        // Nothing else is sent before this is answered, so that no other statement can be hit.
        let Cancel {
            address,
            process,
            secret,
        } = &self.cancel;
        if let Err(error) = connect::cancel(address, *process, secret, CANCEL).await {
            tracing::warn!(upstream = %self.login.upstream, %error, "a statement that used up a budget could not be cancelled");
        }
        Ok(false)
    }

    async fn pass_rest(&mut self) -> Result<bool, ClientError> {
        let there = self.rest.min(self.unread().len());
        self.rest -= there;
        let dropped = self.dropped;
        self.done(there, dropped).await?;
        Ok(self.rest == 0)
    }

    /// An execution ended well, or was left where its portal stands.
    async fn end_of_statement(&mut self, header: Header) -> Result<(), ClientError> {
        self.start(header.tag)?;
        let message = self.unread().get(..header.total).unwrap_or_default();
        // COPY TO has the tag of COPY FROM, but sends rows.
        let sent = message
            .get(HEADER..)
            .is_some_and(|tag| tag.starts_with(b"COPY"));
        let written = match header.tag {
            b'C' if !(sent && self.answer.rows > 0) => backend::rows_written(message),
            _ => 0,
        };
        let refusal = self
            .answer
            .cut
            .take()
            .or_else(|| self.answer.run.as_mut()?.refused.take());
        {
            let mut track = self.shared.track();
            let track = &mut *track;
            if let Some(run) = &self.answer.run {
                track.reached.done(&run.statement, &self.context.plans);
            }
            if matches!(track.queue.front(), Some(Sent::Execute(_))) {
                track.queue.pop_front();
            }
        }
        let Some(refusal) = refusal else {
            self.ended(Verdict::Done, written).await;
            return self.done(header.total, self.muted).await;
        };
        // It was through before the cancel request arrived, and the upstream knows of no error.
        self.exceeded(&refusal);
        self.ended(cut(&refusal), written).await;
        self.done(header.total, true).await?;
        self.tell(&refusal.detail(
            "The statement had ended before it could be cancelled: what it wrote, and what was sent behind it \
             in the same batch, may have been done",
        ))
        .await?;
        self.muted = true;
        let mut track = self.shared.track();
        if !track.is_held() {
            // What the client sends behind it is not run, and its Sync finds an error.
            track.skipping = true;
            track.fail_at_sync = true;
        }
        Ok(())
    }

    async fn error(&mut self, header: Header) -> Result<(), ClientError> {
        let body = self.unread().get(HEADER..header.total).unwrap_or_default();
        let sqlstate = Fields::parse(Bytes::copy_from_slice(body)).text(b'C');
        let failed = |sqlstate: &str| Verdict::Failed {
            sqlstate: sqlstate.to_owned(),
        };
        let mut instead = None;
        let front = {
            let mut track = self.shared.track();
            let track = &mut *track;
            Front::of(track)
        };
        match front {
            Front::Runs => {
                self.start(b'E')?;
                let refused = self.answer.run.as_mut().and_then(|run| run.refused.take());
                instead = self.answer.cut.take();
                match (&instead, &refused) {
                    (Some(refusal), _) => {
                        self.exceeded(refusal);
                        self.ended(cut(refusal), 0).await;
                    }
                    (None, Some(refusal)) => {
                        self.refused(refusal);
                        let sqlstate = refusal.sqlstate.0.to_owned();
                        self.ended(Verdict::Refused { sqlstate }, 0).await;
                    }
                    (None, None) => self.ended(failed(&sqlstate), 0).await,
                }
                instead = instead.or(refused);
            }
            Front::Names(statement) => self.record(&statement, failed(&sqlstate), 0),
            Front::Sync => {
                let commit = Named::commit(&self.context.plans);
                self.record(&commit, failed(&sqlstate), 0);
            }
            Front::Other => {}
        }
        self.shared.track().failed();
        self.shared.changed.notify_one();
        match instead {
            None => self.done(header.total, self.muted).await,
            Some(refusal) => {
                self.done(header.total, true).await?;
                if self.muted {
                    Ok(())
                } else {
                    self.tell(&refusal).await
                }
            }
        }
    }

    async fn ready(&mut self, header: Header) -> Result<(), ClientError> {
        let status = self.unread().get(HEADER).copied();
        let left = {
            let mut track = self.shared.track();
            match track.queue.pop_front() {
                Some(Sent::Sync) => Default::default(),
                Some(Sent::Query { failed: true, .. }) => Default::default(),
                Some(Sent::Query {
                    runs,
                    answered: true,
                    ..
                }) => runs,
                sent => {
                    track.queue.extend(sent);
                    return Err(unexpected(b'Z'));
                }
            }
        };
        // Fewer answers than statements: a text that the proxy takes for more.
        for run in left {
            self.record(&run.statement, Verdict::Done, 0);
        }
        // A FunctionCall has no other end.
        self.ended(Verdict::Done, 0).await;
        let fails = self.muted && status == Some(b'T');
        {
            let mut track = self.shared.track();
            if status == Some(b'I') {
                track.reached.transaction_ended();
                track.planned.transaction_ended();
            }
            if fails {
                track.fail_now = true;
                track.queue.extend([Sent::Failure, Sent::Sync]);
            }
        }
        self.shared.changed.notify_one();
        self.done(header.total, fails).await?;
        if !fails {
            self.muted = false;
        }
        Ok(())
    }

    fn exceeded(&self, refusal: &Refusal) {
        let limit = refusal.message.clone();
        let kind = EventKind::BudgetExceeded { limit };
        self.context.events.report(self.login.event(kind));
    }

    fn refused(&self, refusal: &Refusal) {
        let kind = EventKind::Refused {
            sqlstate: refusal.sqlstate.0.to_owned(),
            message: refusal.message.clone(),
        };
        self.context.events.report(self.login.event(kind));
    }

    /// The execution whose answer came has ended like this.
    async fn ended(&mut self, verdict: Verdict, written: u64) {
        let Some(run) = self.answer.run.take() else {
            return;
        };
        self.answer.since = self.answer.since.max(run.sent);
        if !run.statement.is_empty() {
            self.record(&run.statement, verdict, written);
        }
        if let Some(spending) = run.spending
            && self.shared.track().runs_more()
        {
            // The next one may need what this one left over; else nobody waits for that.
            spending.end().await;
        }
    }

    fn record(&mut self, statement: &Named, verdict: Verdict, written: u64) {
        let now = Instant::now();
        let answer = &mut self.answer;
        let record = StatementRecord {
            application: answer.application.clone(),
            shape: statement.touched.shape.clone(),
            rows: std::mem::take(&mut answer.rows),
            bytes: std::mem::take(&mut answer.bytes),
            rows_written: written,
            duration: now.duration_since(std::mem::replace(&mut answer.since, now)),
            verdict,
            policy: None,
            values: self.login.records_values.then(|| {
                Box::new(Values {
                    text: statement.touched.said.clone(),
                    parameters: statement.parameters.clone(),
                })
            }),
        };
        let kind = EventKind::Statement(Box::new(record));
        self.made.push_back(self.login.event(kind));
    }

    /// This much of the input is read; it goes on, or not.
    async fn done(&mut self, total: usize, dropped: bool) -> Result<(), ClientError> {
        if dropped {
            self.flush().await?;
            self.input.advance(total.min(self.input.len()));
        } else {
            self.pass += total;
        }
        Ok(())
    }

    /// Something of the proxy's own goes to the client.
    async fn tell(&mut self, refusal: &Refusal) -> Result<(), ClientError> {
        self.flush().await?;
        let mut told = BytesMut::new();
        backend::refusal(&mut told, refusal);
        self.write(&told).await
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        self.hand_over().await?;
        if self.pass > 0 {
            let bytes = self.input.split_to(self.pass.min(self.input.len()));
            self.pass = 0;
            self.write(&bytes).await?;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        // Until all of it is written, the client is in the middle of something.
        self.torn = true;
        self.client.write_all(bytes).await?;
        self.client.flush().await?;
        self.torn = false;
        Ok(())
    }

    /// What was recorded goes to the log, before the client sees the end of the answer.
    async fn hand_over(&mut self) -> Result<(), ClientError> {
        if self.made.is_empty() {
            return Ok(());
        }
        let mut recorded = Ok(());
        // Each stays until it is handed over: this may be left half-way.
        while let Some(event) = self.made.front().cloned() {
            let this = self.context.events.record(event).await;
            self.made.pop_front();
            recorded = recorded.and(this);
        }
        let settled = match recorded {
            Ok(()) => self.context.events.settled().await,
            refused => refused,
        };
        settled.map_err(|refusal| {
            // What is not on record is not answered.
            self.pass = 0;
            ClientError::Protocol(refusal)
        })
    }
}
