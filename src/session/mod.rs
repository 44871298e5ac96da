//! One client: its messages are planned, sent into the sandbox, and the answers are sent back in order.
//!
//! A session works in *batches*: all that a client sends up to a Sync, a Flush or a simple Query. For a batch
//! it takes the sandbox's floor, writes the upstream's messages and beside each what it expects in answer
//! (`expect`), and then `exchange` carries the answers over. State (the virtual transaction, the
//! client's view) is planned ahead as if all went well, and taken over step by step as the answers come; on
//! an error what was planned beyond it is forgotten.
//!
//! Nothing here decides what a statement is ([`crate::plan`]) or what a savepoint is for
//! ([`crate::sandbox::machine`]).

mod account;
mod client;
mod commit;
mod copy;
mod emulate;
mod errors;
mod exchange;
mod expect;
mod extended;
mod leave;
mod masked_errors;
mod own;
mod prepared;
mod redirect;
mod reported;
mod returning;
mod shared;
mod simple;
mod spend;
mod statement;
mod transaction;

pub use client::{Client, ClientError};
pub use leave::serve;
pub use prepared::TextEncoding;
pub use shared::{Context, Login, stopping};

use crate::audit::EndReason;
use crate::error::{Refusal, SqlState};
use crate::sandbox::data::{Asking, Denied, end_refusal};
use crate::sandbox::floor::Floor;
use crate::sandbox::machine::{ClientId, Machine, Settings};
use crate::sandbox::mailbox::{Mail, Mailbox};
use crate::sandbox::registry::LockWatch;
use crate::sandbox::view::View;
use crate::sandbox::world::{Sandbox, World};
use crate::upstream::link::LinkError;
use crate::wire::backend;
use crate::wire::frontend::Frontend;
use account::Account;
use bytes::{Bytes, BytesMut};
use expect::{Expect, Expects};
use prepared::{Origin, Portal, Prepared};
use spend::Purse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Why a batch could not go on.
#[derive(Debug, Error)]
enum Stop {
    /// The client cannot be served any more.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The sandbox is over.
    #[error("the sandbox has ended")]
    Ended(EndReason),
    /// The statement is refused; the session goes on.
    #[error("{0}")]
    Refused(Box<Refusal>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<EndReason> for Stop {
    fn from(reason: EndReason) -> Self {
        Self::Ended(reason)
    }
}

/// Most messages of one batch that are collected before they are run, in number and bytes.
const BATCH: (usize, usize) = (4096, 256 * 1024);

/// See the [module](self).
struct Session {
    id: ClientId,
    login: Login,
    client: Client,
    context: Arc<Context>,
    sandbox: Arc<Sandbox>,
    asking: Asking,
    mailbox: Arc<Mailbox>,
    /// What has been reached.
    view: View,
    /// As it was when the implicit transaction began that runs now: what comes back if it fails.
    before_implicit: Option<Box<View>>,
    statements: HashMap<Bytes, Arc<Prepared>>,
    portals: HashMap<Bytes, Portal>,
    /// ParameterStatus values that the client was told last.
    reported: BTreeMap<String, String>,
    /// The same at login, of what a client can set: RESET returns to it.
    at_login: BTreeMap<String, String>,
    /// The settings that [`Self::reported`] was last compared with.
    told: Settings,
    /// Held while a batch runs, and from a Flush to its Sync.
    floor: Option<Floor>,
    /// Something was bound since the last Sync: the floor stays until the next one.
    bound: bool,
    /// After an error in the extended protocol, messages are skipped up to the Sync.
    skipping: bool,
    /// What is planned beyond [`Self::view`], and the machine that goes with it.
    planned: Option<(Machine, View)>,
    queue: Expects,
    /// What is left of the batch.
    pending: VecDeque<Frontend>,
    /// The statement whose answers are being read.
    origin: Option<Arc<Origin>>,
    /// A CommandComplete or row that was held back.
    held: BytesMut,
    /// Tags of statements whose rows come from another one, by the number of the portal.
    kept: HashMap<u64, Bytes>,
    /// A RowDescription that waits for the first row.
    described: BytesMut,
    /// The unnamed portal holds a finished query, and with it a snapshot.
    open_portal: bool,
    /// Arguments that the upstream evaluated for an advisory call or pg_notify.
    captured: Option<String>,
    catalog_rows: Vec<BytesMut>,
    next_name: u64,
    /// The upstream's names of SQL cursors, by the client's.
    cursor_names: HashMap<String, String>,
    told_isolation: bool,
    /// The channels that are listened to since the last COMMIT.
    listening: Arc<BTreeSet<String>>,
    /// Several statements of one Query are a transaction block to Postgres, though nobody began one.
    implicit_block: bool,
    /// The upstream's name of a statement that an SQL PREPARE is about to make.
    prepared_name: Option<Bytes>,
    /// The client's own idle time-outs, as it wrote them.
    idle_limits: BTreeMap<String, String>,
    /// Set when a statement takes long: who holds what it may wait for.
    lock_watch: Option<LockWatch>,
    /// The time was asked for since the floor was taken.
    now_asked: bool,
    /// Bytes of a row that is being passed on.
    row_remaining: usize,
    /// The client was left in the middle of a row; its connection must end.
    cut_off: bool,
    /// As often had the sandbox been taken back to a point when this client last ran in it.
    turned_back: u64,
    account: Account,
    purse: Purse,
}

impl Session {
    /// Serves until the client is gone.
    async fn run(&mut self) -> Result<(), ClientError> {
        loop {
            self.deliver_mail();
            self.send().await?;
            let first = self.next_message().await?;
            let batch = self.collect(first)?;
            self.batch(batch).await?;
        }
    }

    /// The next message; while the client is idle, what others have for it is delivered.
    async fn next_message(&mut self) -> Result<Frontend, ClientError> {
        loop {
            let idle = self.idle_limit();
            tokio::select! {
                biased;
                message = self.client.message() => return message,
                () = self.mailbox.arrived(), if self.floor.is_none() => {}
                () = tokio::time::sleep(idle.unwrap_or_default()), if idle.is_some() => {
                    return Err(ClientError::Protocol(self.idle_refusal()));
                }
                () = self.context.stopping.cancelled(), if self.floor.is_none() && !self.in_block() => {
                    return Err(ClientError::Protocol(shared::stopping()));
                }
            }
            self.deliver_mail();
            self.send().await?;
        }
    }

    /// All messages that are there already, up to the end of a batch.
    fn collect(&mut self, first: Frontend) -> Result<VecDeque<Frontend>, ClientError> {
        let mut batch = VecDeque::from([first]);
        let mut bytes = 0;
        while let Some(last) = batch.back() {
            bytes += match last {
                Frontend::Sync | Frontend::Flush | Frontend::Query(_) | Frontend::Terminate => {
                    break;
                }
                Frontend::Parse { text, .. } => text.len(),
                Frontend::Bind { tail, .. } => tail.len(),
                _ => 0,
            };
            if batch.len() >= BATCH.0 || bytes >= BATCH.1 {
                break;
            }
            match self.client.buffered()? {
                Some(message) => batch.push_back(message),
                None => break,
            }
        }
        Ok(batch)
    }

    /// Runs a batch, message by message. An error of one is told, and what it ends is ended.
    async fn batch(&mut self, batch: VecDeque<Frontend>) -> Result<(), ClientError> {
        let executes = |message: &Frontend| {
            matches!(
                message,
                Frontend::Execute { .. }
                    | Frontend::Bind { .. }
                    | Frontend::Query(_)
                    | Frontend::FunctionCall
            )
        };
        self.asking.at_once =
            matches!(batch.back(), Some(Frontend::Sync)) && !batch.iter().any(executes);
        self.context
            .events
            .health()
            .map_err(ClientError::Protocol)?;
        self.account.batch_begins();
        self.pending = batch;
        while let Some(message) = self.pending.pop_front() {
            let ends = matches!(
                message,
                Frontend::Sync | Frontend::Query(_) | Frontend::FunctionCall
            );
            // As Postgres: after an error in the extended protocol a Query is skipped, too.
            if self.skipping && !matches!(message, Frontend::Sync | Frontend::Terminate) {
                continue;
            }
            self.implicit_block &= !ends;
            let mut result = self.message(message).await;
            if let Err(Stop::Refused(refusal)) = result {
                result = self.fail_with(*refusal).await;
                if ends && result.is_ok() {
                    result = self.exchange(true).await;
                }
            }
            match result {
                Ok(()) => {}
                Err(Stop::Client(error)) => return Err(error),
                Err(stop) => self.recover(stop, ends).await?,
            }
        }
        // Answers of a long pipeline do not wait for its Sync for ever.
        if self.queue.len() > BATCH.0
            && let Err(stop) = self.exchange(false).await
        {
            self.recover(stop, false).await?;
        }
        Ok(())
    }

    async fn message(&mut self, message: Frontend) -> Result<(), Stop> {
        match message {
            Frontend::Terminate => Err(ClientError::Gone.into()),
            // Stragglers of a COPY that failed; Postgres ignores them, too.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => Ok(()),
            Frontend::Query(text) => self.query(text).await,
            Frontend::FunctionCall => self.refuse_function_call().await,
            Frontend::Sync => self.sync().await,
            Frontend::Flush => self.flush().await,
            message => self.extended(message).await,
        }
    }

    /// Takes the floor, if it is not held, and plans from what has been reached.
    async fn take_floor(&mut self, may_overlap: bool) -> Result<(), Stop> {
        if self.floor.is_some() {
            if self.planned.is_none() {
                let machine = self.world()?.machine.clone();
                self.planned = Some((machine, self.view.clone()));
            }
            return Ok(());
        }
        self.asking.may_overlap = may_overlap;
        let mut floor = match self.sandbox.acquire(&self.asking).await {
            Ok(floor) => floor,
            Err(Denied::Ended(reason)) => return Err(Stop::Ended(reason)),
            Err(Denied::Refused(refusal)) => return Err(refusal.into()),
        };
        let world = floor.world()?;
        if world.machine.take_evicted(self.id) {
            if let Some(block) = self.view.block_mut() {
                block.failed = true;
                block.savepoints.clear();
            }
            self.planned = None;
        }
        let turned_back = world.turned_back;
        if std::mem::replace(&mut self.turned_back, turned_back) != turned_back {
            // It went back to a point behind this client's back.
            self.view.forget_objects();
            if let Some((_, view)) = &mut self.planned {
                view.forget_objects();
            }
        }
        if self.view.block.is_none() {
            self.before_implicit = Some(Box::new(self.view.clone()));
        }
        let view = self
            .planned
            .take()
            .map_or_else(|| self.view.clone(), |(_, view)| view);
        self.planned = Some((world.machine.clone(), view));
        self.floor = Some(floor);
        Ok(())
    }

    /// Gives the floor back. A cancel request that is under way is waited for: it must not hit the next one.
    async fn release_floor(&mut self) {
        self.now_asked = false;
        if let Some(floor) = self.floor.take() {
            let _gate = self.sandbox.cancel_gate.lock().await;
            floor.release();
        }
    }

    fn world(&mut self) -> Result<&mut World, EndReason> {
        self.floor.as_mut().ok_or(EndReason::UpstreamLost)?.world()
    }

    /// The view as planned.
    fn plan_view(&mut self) -> &mut View {
        match &mut self.planned {
            Some((_, view)) => view,
            None => &mut self.view,
        }
    }

    fn in_block(&self) -> bool {
        self.view.block.is_some()
    }

    /// Bytes for the client: at once, or in their turn.
    fn emit(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if self.queue.is_empty() {
            write(&mut self.client.out);
        } else {
            let mut bytes = BytesMut::new();
            write(&mut bytes);
            self.queue.push_back(Expect::Emit(bytes.freeze()));
        }
    }

    fn emit_tag(&mut self, tag: &str) {
        self.emit(|out| backend::command_complete(out, tag));
    }

    fn deliver_mail(&mut self) {
        for mail in self.mailbox.take() {
            match mail {
                Mail::Notification {
                    process,
                    channel,
                    payload,
                } => {
                    backend::notification(&mut self.client.out, process, &channel, &payload);
                }
                Mail::Notice(refusal) => self.client.tell(&refusal),
            }
        }
    }

    /// The sandbox is gone, or a refusal could not be told in its turn: tell now, and go on.
    async fn recover(&mut self, stop: Stop, ends: bool) -> Result<(), ClientError> {
        if self.cut_off {
            return Err(ClientError::Gone);
        }
        let refusal = match stop {
            Stop::Client(error) => return Err(error),
            Stop::Refused(refusal) => *refusal,
            Stop::Ended(reason) => {
                let refusal = end_refusal(reason, &self.sandbox.key.name);
                self.reattach().await?;
                refusal
            }
        };
        self.planned = None;
        if let Some(block) = self.view.block_mut() {
            block.failed = true;
        }
        self.refused(&refusal);
        self.client.tell(&refusal);
        self.skipping = !ends;
        if ends {
            self.ready();
        }
        Ok(())
    }

    /// How long the client may stay idle: what it asked for with idle_in_transaction_session_timeout or
    /// idle_session_timeout, which the upstream must not enforce.
    fn idle_limit(&self) -> Option<Duration> {
        self.idle_limits
            .get(self.idle_setting())
            .and_then(|value| shared::milliseconds(value))
            .filter(|limit| !limit.is_zero())
    }

    fn idle_setting(&self) -> &'static str {
        if self.in_block() {
            "idle_in_transaction_session_timeout"
        } else {
            "idle_session_timeout"
        }
    }

    fn idle_refusal(&self) -> Refusal {
        if self.in_block() {
            Refusal::fatal(
                SqlState::IDLE_IN_TRANSACTION_TIMEOUT,
                "terminating connection due to idle-in-transaction timeout",
            )
        } else {
            Refusal::fatal(
                SqlState::IDLE_SESSION_TIMEOUT,
                "terminating connection due to idle-session timeout",
            )
        }
    }
}

/// A link's error as the sandbox's end.
fn end_reason(error: &LinkError) -> EndReason {
    match error {
        LinkError::LeftTransaction => EndReason::TransactionLost,
        _ => EndReason::UpstreamLost,
    }
}
