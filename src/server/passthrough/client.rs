//! From the client to the upstream: messages go on as they came, once it is known what they run and that a budget
//! allows it.

use super::names::Named;
use super::track::{Run, Sent, Shared};
use crate::budget::{self, Spending};
use crate::error::{Refusal, SqlState};
use crate::session::{ClientError, Context, stopping};
use crate::upstream::command::{Command, Flavor};
use crate::wire::frame::{self, Frame, HEADER};
use crate::wire::frontend::{self, Frontend, Target};
use crate::wire::socket::Socket;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

/// How much is read at once, in bytes.
const READ: usize = 16 * 1024;
/// The name of a portal that no client has: an Execute of it fails where Postgres would have failed.
const NO_PORTAL: &[u8] = b"devinprod: refused";

/// See the [module](self).
pub(super) struct FromClient {
    pub client: ReadHalf<Socket>,
    pub upstream: WriteHalf<Socket>,
    pub input: BytesMut,
    /// So much of the input is to be sent on as it is.
    pub pass: usize,
    /// So much of a message is still to come; it is sent on, or not.
    pub rest: usize,
    pub dropped: bool,
    pub shared: Arc<Shared>,
    pub context: Arc<Context>,
    pub account: budget::Account,
    /// The largest message in bytes, but for data of a COPY.
    pub limit: usize,
    /// Parameters are to be on record.
    pub records_values: bool,
}

impl FromClient {
    /// Sends on until the client has said goodbye or is gone.
    pub async fn run(&mut self) -> Result<(), ClientError> {
        loop {
            if self.rest > 0 {
                self.pass_rest().await?;
            } else if let Some(header) = frame::peek(self.unread())? {
                if self.one(header).await? {
                    return self.goodbye().await;
                }
                continue;
            }
            if (self.rest > 0 || self.is_incomplete()?) && !self.read().await? {
                return self.goodbye().await;
            }
        }
    }

    fn unread(&self) -> &[u8] {
        self.input.get(self.pass..).unwrap_or_default()
    }

    fn is_incomplete(&self) -> Result<bool, ClientError> {
        Ok(frame::peek(self.unread())?.is_none())
    }

    /// The message at the front; true if it was the last one.
    async fn one(&mut self, header: frame::Header) -> Result<bool, ClientError> {
        if header.tag == b'd' {
            self.dropped = self.shared.track().skipping;
            self.rest = header.total;
            self.pass_rest().await?;
            return Ok(false);
        }
        frame::within(header, self.limit)?;
        while self.unread().len() < header.total {
            if !self.read().await? {
                return Ok(true);
            }
        }
        if matches!(header.tag, b'c' | b'f') {
            let dropped = {
                let mut track = self.shared.track();
                track.copying = false;
                track.skipping
            };
            self.done(header.total, dropped).await?;
            return Ok(false);
        }
        self.wait_for_turn().await?;
        let body = self.unread().get(HEADER..header.total);
        let message = Frontend::parse(Frame {
            tag: header.tag,
            body: Bytes::copy_from_slice(body.unwrap_or_default()),
        })?;
        let is_last = message == Frontend::Terminate;
        self.message(message, header.total).await?;
        Ok(is_last)
    }

    async fn message(&mut self, message: Frontend, total: usize) -> Result<(), ClientError> {
        let (copying, skipping) = {
            let track = self.shared.track();
            (track.copying, track.skipping)
        };
        match &message {
            Frontend::Terminate => return self.done(total, false).await,
            // The server would swallow them.
            Frontend::Sync | Frontend::Flush if copying => return self.done(total, true).await,
            _ if copying => {
                return Err(ClientError::Protocol(Refusal::fatal(
                    SqlState::PROTOCOL_VIOLATION,
                    "unexpected message during COPY from stdin",
                )));
            }
            Frontend::Sync => return self.sync(total).await,
            // The server would skip them.
            _ if skipping => return self.done(total, true).await,
            Frontend::Flush => return self.done(total, false).await,
            _ => {}
        }
        self.context
            .events
            .health()
            .map_err(ClientError::Protocol)?;
        let plans = &self.context.plans;
        let reading = self.shared.track().reading;
        match message {
            Frontend::Query(text) => {
                let mut runs = VecDeque::new();
                for statement in reading.statements(plans, &text) {
                    let run = self.begin(statement).await;
                    if run.refused.is_some() {
                        return self.refuse_query(run, total).await;
                    }
                    self.shared
                        .track()
                        .plans(&run.statement, &self.context.plans);
                    runs.push_back(run);
                }
                self.push(query(runs));
            }
            Frontend::FunctionCall => {
                let run = self.begin(Named::call()).await;
                if run.refused.is_some() {
                    return self.refuse_query(run, total).await;
                }
                self.push(query(VecDeque::from([run])));
            }
            Frontend::Parse { name, text, .. } => {
                let statement = reading.statement(plans, &text);
                let mut track = self.shared.track();
                track.planned.parsed(name.clone(), statement.clone());
                track.queue.push_back(Sent::Parse(name, statement));
            }
            Frontend::Bind {
                portal,
                statement,
                tail,
            } => {
                let parameters: Arc<[Option<String>]> = match self.records_values {
                    true => frontend::parameters(&tail).into(),
                    false => Arc::default(),
                };
                let mut track = self.shared.track();
                let bound = parameters.clone();
                track.planned.bound(portal.clone(), &statement, bound);
                let sent = Sent::Bind(portal, statement, parameters);
                track.queue.push_back(sent);
            }
            Frontend::Describe { .. } => self.push(Sent::Describe),
            Frontend::Close { target, name } => {
                let mut track = self.shared.track();
                let sent = match target {
                    Target::Statement => {
                        track.planned.closed_statement(&name);
                        Sent::CloseStatement(name)
                    }
                    Target::Portal => {
                        track.planned.closed_portal(&name);
                        Sent::ClosePortal(name)
                    }
                };
                track.queue.push_back(sent);
            }
            Frontend::Execute { portal, .. } => {
                let statement = self.shared.track().planned.portal(&portal);
                let run = self.begin(statement).await;
                let refused = run.refused.is_some();
                if !refused {
                    self.shared
                        .track()
                        .plans(&run.statement, &self.context.plans);
                }
                self.push(Sent::Execute(Some(Box::new(run))));
                if refused {
                    let mut instead = BytesMut::new();
                    frontend::execute(&mut instead, NO_PORTAL, 0);
                    return self.instead(total, &instead).await;
                }
            }
            Frontend::Sync
            | Frontend::Flush
            | Frontend::Terminate
            | Frontend::CopyData(_)
            | Frontend::CopyDone
            | Frontend::CopyFail(_) => {}
        }
        self.done(total, false).await
    }

    fn push(&self, sent: Sent) {
        self.shared.track().queue.push_back(sent);
    }

    /// May it read?
    async fn begin(&mut self, statement: Named) -> Run {
        // What was named in the same message, or before it in the pipeline, is known by now.
        let statement = self.shared.track().planned.through(statement);
        let begun = if statement.is_free() {
            Ok(Spending::unlimited())
        } else {
            self.account.begin(&statement.touched.relations).await
        };
        let (spending, refused) = match begun {
            Ok(spending) => (Some(spending), None),
            Err(refusal) => (None, Some(refusal)),
        };
        Run {
            statement,
            spending,
            refused,
            sent: Instant::now(),
        }
    }

    async fn refuse_query(&mut self, run: Run, total: usize) -> Result<(), ClientError> {
        {
            let mut track = self.shared.track();
            // Of the statements before it in this Query, none will have run.
            track.planned = track.reached.clone();
            track.queue.push_back(query(VecDeque::from([run])));
        }
        self.instead(total, &failing_query()).await
    }

    async fn sync(&mut self, total: usize) -> Result<(), ClientError> {
        let fails = {
            let mut track = self.shared.track();
            track.skipping = false;
            let fails = std::mem::take(&mut track.fail_at_sync);
            if fails {
                track.queue.push_back(Sent::Failure);
            }
            track.queue.push_back(Sent::Sync);
            fails
        };
        if !fails {
            return self.done(total, false).await;
        }
        let mut instead = BytesMut::new();
        frontend::execute(&mut instead, NO_PORTAL, 0);
        frontend::sync(&mut instead);
        self.instead(total, &instead).await
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

    /// Something else goes on in the place of this much of the input.
    async fn instead(&mut self, total: usize, bytes: &[u8]) -> Result<(), ClientError> {
        self.flush().await?;
        self.input.advance(total.min(self.input.len()));
        self.upstream.write_all(bytes).await?;
        self.upstream.flush().await?;
        Ok(())
    }

    /// What is there of a large message.
    async fn pass_rest(&mut self) -> Result<(), ClientError> {
        let there = self.rest.min(self.unread().len());
        self.rest -= there;
        let dropped = self.dropped;
        self.done(there, dropped).await
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        if let Some(bytes) = self
            .input
            .get(..self.pass)
            .filter(|bytes| !bytes.is_empty())
        {
            self.upstream.write_all(bytes).await?;
            self.upstream.flush().await?;
        }
        self.input.advance(self.pass);
        self.pass = 0;
        Ok(())
    }

    /// Reads more; false at the client's end.
    async fn read(&mut self) -> Result<bool, ClientError> {
        self.flush().await?;
        loop {
            self.fail_if_asked().await?;
            self.input.reserve(READ);
            let shared = self.shared.clone();
            let context = self.context.clone();
            let between = self.rest == 0 && self.input.is_empty();
            tokio::select! {
                read = self.client.read_buf(&mut self.input) => return Ok(read? > 0),
                () = shared.changed.notified() => {}
                () = context.stopping.cancelled(), if between && shared.track().queue.is_empty() => {
                    return Err(ClientError::Protocol(stopping()));
                }
            }
        }
    }

    /// Waits until what was sent before is answered up to its ReadyForQuery, as Postgres would read no further.
    async fn wait_for_turn(&mut self) -> Result<(), ClientError> {
        self.fail_if_asked().await?;
        while self.shared.track().is_held() {
            self.flush().await?;
            self.shared.changed.notified().await;
            self.fail_if_asked().await?;
        }
        Ok(())
    }

    /// A block is made to fail behind a statement that was cut too late.
    async fn fail_if_asked(&mut self) -> Result<(), ClientError> {
        if self.rest == 0 && std::mem::take(&mut self.shared.track().fail_now) {
            self.flush().await?;
            self.upstream.write_all(&failing_query()).await?;
            self.upstream.flush().await?;
        }
        Ok(())
    }

    async fn goodbye(&mut self) -> Result<(), ClientError> {
        self.flush().await?;
        self.upstream.shutdown().await?;
        Ok(())
    }
}

fn query(runs: VecDeque<Run>) -> Sent {
    Sent::Query {
        runs,
        answered: false,
        failed: false,
    }
}

/// A Query that fails, inside of a block and outside.
fn failing_query() -> BytesMut {
    let mut out = BytesMut::new();
    let text = Command::Poison.sql(Flavor::Guarded).unwrap_or_default();
    frontend::query(&mut out, text.as_bytes());
    out
}
