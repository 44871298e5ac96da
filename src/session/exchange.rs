//! The exchange with the upstream: what was planned is written, and the answers are carried over to the
//! client, each against what was expected.

use super::expect::{Complete, Expect, Part, Rows};
use super::{ClientError, Session, Stop, end_reason};
use crate::audit::EndReason;
use crate::error::{Refusal, SqlState};
use crate::upstream::link::LinkError;
use crate::wire::backend::{self, Status};
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend::Target;
use bytes::{Buf, Bytes, BytesMut};
use std::time::Duration;

/// A statement that takes longer is looked at: does it wait for somebody's lock?
const SLOW: Duration = Duration::from_millis(500);
/// Rows up to this many bytes are passed on whole: if the upstream is lost in the middle of one, the client
/// is still between two messages and can be told.
const WHOLE_ROW: usize = 64 * 1024;

impl Session {
    /// Sends what was planned, with a Sync or a Flush, and waits until all of it is answered.
    pub(super) async fn exchange(&mut self, sync: bool) -> Result<(), Stop> {
        if self.floor.is_some() {
            let open_portal = std::mem::take(&mut self.open_portal);
            let planned_something = !self.queue.is_empty();
            let world = self.world()?;
            if sync {
                if open_portal {
                    world.link.close_named(Target::Portal, b"");
                    self.queue.push_back(Expect::Close { forward: false });
                }
                let world = self.world()?;
                world.link.sync();
                self.queue.push_back(Expect::Sync { forward: true });
            } else if planned_something {
                world.link.flush();
            }
        } else if sync {
            self.queue.push_back(Expect::Sync { forward: true });
        }
        if sync {
            return self.finish_exchange().await;
        }
        let result = self.carry().await;
        if let Err(Stop::Ended(reason)) = result {
            self.break_off(reason);
        }
        result
    }

    /// Waits for the answers up to the Sync that has been sent, and gives the floor back.
    pub(super) async fn finish_exchange(&mut self) -> Result<(), Stop> {
        match self.carry().await {
            Err(Stop::Ended(reason)) => {
                self.break_off(reason);
                Err(Stop::Ended(reason))
            }
            Err(stop) => Err(stop),
            Ok(()) => {
                self.skipping = false;
                self.planned = None;
                self.lock_watch = None;
                self.purse.rests();
                self.release_floor().await;
                Ok(())
            }
        }
    }

    /// Reads and carries over until nothing more is expected.
    async fn carry(&mut self) -> Result<(), Stop> {
        loop {
            self.settle_local();
            if self.queue.is_empty() {
                return Ok(());
            }
            if self.floor.is_none() {
                // Nothing was sent upstream, so that only a Sync of our own can be left.
                self.ready_without_upstream();
                continue;
            }
            if !self.carry_one().await? {
                self.wait_for_upstream().await?;
            }
            self.hand_over().await?;
            if self.client.has_much() {
                self.send().await?;
            }
        }
    }

    /// Carries over what has been read. False when more must be read first.
    async fn carry_one(&mut self) -> Result<bool, Stop> {
        if self.row_remaining > 0 {
            return Ok(self.pass_row());
        }
        let front_forwards_rows = matches!(
            self.queue.front(),
            Some(Expect::Execute {
                rows: Rows::Forward,
                ..
            })
        );
        let world = match &mut self.floor {
            Some(floor) => floor.world()?,
            None => return Err(Stop::Ended(EndReason::UpstreamLost)),
        };
        let link = &mut world.link;
        let Some(header) =
            frame::peek(&link.input).map_err(|_| Stop::Ended(EndReason::UpstreamLost))?
        else {
            return Ok(false);
        };
        if matches!(header.tag, b'D' | b'd') && front_forwards_rows {
            if header.total <= WHOLE_ROW && link.input.len() < header.total {
                return Ok(false);
            }
            if self.pay(header.total).await {
                self.account.row(header.total);
                self.describe();
            }
            self.row_remaining = header.total;
            return Ok(self.pass_row());
        }
        if link.input.len() < header.total {
            return Ok(false);
        }
        let message = link.input.split_to(header.total);
        self.on_message(header.tag, message).await?;
        Ok(true)
    }

    /// The RowDescription that waited goes out.
    fn describe(&mut self) {
        if !self.described.is_empty() {
            let described = std::mem::take(&mut self.described);
            self.client.out.extend_from_slice(&described);
        }
    }

    /// A row goes on as it is; one that is larger than the buffer piece by piece. False when more must be
    /// read first.
    fn pass_row(&mut self) -> bool {
        let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world()) else {
            return false;
        };
        let input = &mut world.link.input;
        let n = self.row_remaining.min(input.len());
        if let Some(bytes) = input.get(..n).filter(|_| !self.purse.is_cut()) {
            self.client.out.extend_from_slice(bytes);
        }
        input.advance(n);
        self.row_remaining -= n;
        self.row_remaining == 0
    }

    async fn wait_for_upstream(&mut self) -> Result<(), Stop> {
        let watching = self.lock_watch.is_some();
        let Some(floor) = &mut self.floor else {
            return Err(Stop::Ended(EndReason::UpstreamLost));
        };
        let link = &mut floor.world()?.link;
        let result = if watching {
            link.progress().await
        } else {
            match tokio::time::timeout(SLOW, link.progress()).await {
                Ok(result) => result,
                Err(_) => {
                    // The client should see what has come so far, and somebody should look who is in the way.
                    self.lock_watch = Some(self.context.registry.watch_locks(&self.sandbox));
                    self.send().await?;
                    return Ok(());
                }
            }
        };
        result.map_err(|error| {
            tracing::warn!(sandbox = %self.sandbox.key.name, %error, "upstream connection lost");
            Stop::Ended(end_reason(&error))
        })
    }

    async fn on_message(&mut self, tag: u8, message: BytesMut) -> Result<(), Stop> {
        match tag {
            b'N' => {
                if !matches!(self.queue.front(), Some(Expect::Own(_))) {
                    let message = self.with_real_names(message);
                    self.client.out.extend_from_slice(&message);
                }
                return Ok(());
            }
            b'S' => {
                return self.on_parameter_status(&message);
            }
            // Upstream notifications cannot come: LISTEN never reaches it.
            b'A' | b'K' | b'R' => return Ok(()),
            b'E' => {
                self.count_guess(&message).await;
                return self.on_error(message);
            }
            _ => {}
        }
        let ends_execute = matches!(
            (self.queue.front(), tag),
            (Some(Expect::Execute { .. }), b'C' | b's')
        );
        if ends_execute && self.ended_cut() {
            self.queue.pop_front();
            return Ok(());
        }
        match (self.queue.front_mut(), tag) {
            (Some(Expect::Parse { forward, .. }), b'1')
            | (Some(Expect::Bind { forward, .. }), b'2')
            | (Some(Expect::Close { forward }), b'3') => {
                if *forward {
                    self.client.out.extend_from_slice(&message);
                }
                self.queue.pop_front();
            }
            (Some(Expect::Describe { part, .. }), b't') => {
                if *part != Part::Columns {
                    self.client.out.extend_from_slice(&message);
                }
            }
            (Some(Expect::Describe { no_data, part, .. }), b'n') => {
                if *no_data && *part != Part::Parameters {
                    self.client.out.extend_from_slice(&message);
                }
                self.queue.pop_front();
            }
            (Some(Expect::Describe { late, part, .. }), b'T') => {
                if *part != Part::Parameters {
                    let late = *late;
                    let mut message = message;
                    self.map_description(&mut message);
                    self.described = message;
                    if !late {
                        self.describe();
                    }
                }
                self.queue.pop_front();
            }
            (
                Some(Expect::Execute {
                    rows: Rows::Drop, ..
                }),
                b'D',
            ) => {}
            (
                Some(Expect::Execute {
                    rows: Rows::Hold, ..
                }),
                b'D',
            ) => self.held.extend_from_slice(&message),
            (Some(Expect::Execute { complete, .. }), b'C') => {
                let complete = *complete;
                match complete {
                    Complete::Keep(..) => self.account.wrote(&message),
                    Complete::Kept(..) => self.executed(None),
                    _ => self.executed(Some(&message)),
                }
                if !matches!(complete, Complete::Keep(..)) {
                    self.describe();
                }
                match complete {
                    Complete::Keep(number, None) => {
                        self.kept.insert(number, message.freeze());
                    }
                    Complete::Keep(number, Some(tag)) => {
                        let mut told = BytesMut::new();
                        backend::command_told_as(&mut told, tag, &message);
                        self.kept.insert(number, told.freeze());
                    }
                    Complete::Kept(number, hold) => {
                        let tag = self
                            .kept
                            .remove(&number)
                            .unwrap_or_else(|| message.freeze());
                        let out = if hold {
                            &mut self.held
                        } else {
                            &mut self.client.out
                        };
                        out.extend_from_slice(&tag);
                    }
                    Complete::Forward => self.client.out.extend_from_slice(&message),
                    Complete::Tag(tag) => {
                        backend::command_told_as(&mut self.client.out, tag, &message);
                    }
                    Complete::Hold(None) => self.held.extend_from_slice(&message),
                    Complete::Hold(Some(tag)) => {
                        backend::command_told_as(&mut self.held, tag, &message);
                    }
                }
                self.queue.pop_front();
            }
            (Some(Expect::Execute { .. }), b's' | b'I') => {
                self.executed(None);
                self.client.out.extend_from_slice(&message);
                self.queue.pop_front();
            }
            (Some(Expect::Execute { .. }), b'H' | b'c') => {
                self.client.out.extend_from_slice(&message)
            }
            (Some(Expect::Execute { .. }), b'G') => {
                self.client.out.extend_from_slice(&message);
                self.copy_in().await?;
            }
            (Some(Expect::Own(_) | Expect::Poison), b'1' | b'2' | b'3') => {}
            (Some(Expect::Own(own)), b'D') => {
                let own = own.clone();
                self.on_own_row(own, message);
            }
            (Some(Expect::Own(_)), b'C' | b's' | b'I') => {
                self.queue.pop_front();
            }
            (Some(Expect::Sync { forward }), b'Z') => {
                let forward = *forward;
                self.queue.pop_front();
                self.on_ready(message.get(HEADER).copied(), forward)?;
            }
            (expected, tag) => {
                tracing::error!(?expected, tag = %char::from(tag), "an answer of the upstream was not expected");
                return Err(Stop::Ended(EndReason::UpstreamLost));
            }
        }
        Ok(())
    }

    /// What needs no answer is done when its turn comes.
    fn settle_local(&mut self) {
        loop {
            match self.queue.front() {
                Some(
                    Expect::Emit(_)
                    | Expect::EmitHeld
                    | Expect::Origin(_)
                    | Expect::Runs(_)
                    | Expect::Bound(_)
                    | Expect::Spends(_)
                    | Expect::Answered(_)
                    | Expect::Made(_)
                    | Expect::Advance(_)
                    | Expect::Committed
                    | Expect::RolledBack,
                ) => {}
                _ => return,
            }
            match self.queue.pop_front() {
                Some(Expect::Emit(bytes)) => self.client.out.extend_from_slice(&bytes),
                Some(Expect::EmitHeld) => {
                    let held = self.held.split();
                    self.client.out.extend_from_slice(&held);
                }
                Some(Expect::Origin(origin)) => {
                    let touched = origin.as_ref().map(|origin| origin.touched.clone());
                    self.account.runs(touched);
                    self.origin = origin;
                }
                Some(Expect::Spends(spending)) => self.purse.pays(*spending),
                Some(Expect::Runs(touched)) => self.account.runs(Some(touched)),
                Some(Expect::Bound(parameters)) => self.account.bound(parameters),
                Some(Expect::Answered(plan)) => self.answered(&plan),
                Some(Expect::Advance(state)) => {
                    let (machine, view) = *state;
                    if view.block.is_none() && !machine.has_scope(self.id) {
                        self.before_implicit = Some(Box::new(view.clone()));
                    }
                    self.view = view;
                    if let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world()) {
                        world.machine = machine;
                        self.tell_lost();
                    }
                }
                Some(Expect::Committed) => self.committed(),
                Some(Expect::RolledBack) => self.rolled_back(),
                _ => {}
            }
        }
    }

    /// What waited for the end of the transaction happens now.
    pub(super) fn committed(&mut self) {
        let notifications = std::mem::take(&mut self.view.notifications);
        self.listening = self.view.listens.clone();
        self.sandbox.set_listens(self.id, self.listening.clone());
        if !notifications.is_empty() {
            self.sandbox.notify(self.login.process, &notifications);
        }
        self.sandbox.advisory.end_transaction(self.id);
        self.sandbox.set_exclusive(self.id, false);
        if let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world())
            && world.machine.holder().is_none()
        {
            world.catalog.settled();
        }
    }

    /// What belonged to the transaction is over.
    pub(super) fn rolled_back(&mut self) {
        self.sandbox.advisory.end_transaction(self.id);
        self.sandbox.set_exclusive(self.id, false);
    }

    /// Clients whose acknowledged work has just been undone are told, and so is this one.
    fn tell_lost(&mut self) {
        let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world()) else {
            return;
        };
        let lost = world.machine.take_lost();
        if let Some((machine, _)) = &mut self.planned {
            machine.take_lost();
        }
        for expect in &mut self.queue {
            if let Expect::Advance(state) = expect {
                state.0.take_lost();
            }
        }
        if !lost.is_empty() {
            self.sandbox.taint(self.id, &lost);
            self.context.tainted(&self.login, &self.sandbox.key);
        }
    }

    fn on_ready(&mut self, byte: Option<u8>, forward: bool) -> Result<(), Stop> {
        let status = byte.and_then(Status::from_byte);
        let world = self.world()?;
        match status {
            Some(Status::Transaction) => {}
            Some(Status::Failed) => {
                if !world.machine.is_failed() {
                    world.machine.fail();
                }
            }
            Some(Status::Idle) | None => {
                tracing::error!("the upstream left its transaction; the sandbox ends");
                return Err(Stop::Ended(EndReason::TransactionLost));
            }
        }
        if forward && !self.fails_behind_cut()? {
            self.deliver_mail();
            self.ready();
        }
        Ok(())
    }

    fn ready_without_upstream(&mut self) {
        if let Some(Expect::Sync { forward: true }) = self.queue.pop_front() {
            if let Some((_, view)) = self.planned.take() {
                self.view = view;
            }
            self.deliver_mail();
            self.ready();
        }
    }

    /// The connection or the transaction is lost: the sandbox ends for all its clients.
    pub(super) fn break_off(&mut self, reason: EndReason) {
        self.lost(reason);
        if let Some(floor) = self.floor.take()
            && floor.abandon(reason)
        {
            self.context.registry.report_end(&self.sandbox.key, reason);
        }
        // In the middle of a row nothing can be told any more: whatever comes next would be read as the row.
        self.cut_off |= std::mem::take(&mut self.row_remaining) > 0;
        self.queue.clear();
        self.held.clear();
        self.origin = None;
        self.planned = None;
        self.open_portal = false;
    }

    /// A client's Flush. Where nothing but Parse and Describe came before it, the floor is given back: a driver
    /// that prepares this way sends its Sync only when it executes, and others must not wait for that.
    pub(super) async fn flush(&mut self) -> Result<(), Stop> {
        self.exchange(false).await?;
        if self.bound || self.floor.is_none() {
            return Ok(());
        }
        let skipping = self.skipping;
        if !skipping {
            self.end_implicit().await?;
        }
        self.world()?.link.sync();
        self.queue.push_back(Expect::Sync { forward: false });
        self.finish_exchange().await?;
        self.skipping = skipping;
        Ok(())
    }

    /// A client's Sync: its implicit transaction ends.
    pub(super) async fn sync(&mut self) -> Result<(), Stop> {
        self.bound = false;
        if !self.skipping {
            self.end_implicit().await?;
            if self.plan_view().block.is_none() {
                self.close_portals()?;
            }
        }
        self.exchange(true).await?;
        if self.view.block.is_none() {
            self.portals.clear();
        }
        Ok(())
    }

    pub(super) async fn refuse_function_call(&mut self) -> Result<(), Stop> {
        let refusal = Refusal::error(
            SqlState::FEATURE_NOT_SUPPORTED,
            "the FunctionCall message is not supported by devinprod",
        )
        .detail("It calls a function by its OID, past all that reads SQL")
        .hint("Call the function in a SELECT");
        Err(refusal.into())
    }

    /// Bytes of a message as they are.
    pub(super) fn emit_bytes(&mut self, bytes: &'static [u8]) {
        if self.queue.is_empty() {
            self.client.out.extend_from_slice(bytes);
        } else {
            self.queue
                .push_back(Expect::Emit(Bytes::from_static(bytes)));
        }
    }
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        Self::Ended(end_reason(&error))
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Client(ClientError::Io(error))
    }
}
