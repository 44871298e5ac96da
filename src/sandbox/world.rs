//! One sandbox as its clients share it: the upstream transaction, who holds the floor, and its end.

use super::advisory::Advisory;
use super::catalog::Catalog;
use super::data::{Asking, ClientInfo, Denied, Key, Summary};
use super::floor::{Floor, close};
use super::machine::{ClientId, Holder, Machine};
use super::mailbox::Mail;
use super::settings::{Overlap, SandboxSettings};
use crate::audit::EndReason;
use crate::error::{Refusal, SqlState};
use crate::upstream::command::Flavor;
use crate::upstream::link::Link;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The upstream transaction and what the proxy knows of it. Only the holder of the floor has it.
#[derive(Debug)]
pub struct World {
    /// The connection.
    pub link: Link,
    /// Virtual transactions.
    pub machine: Machine,
    /// What the schema asks to be done.
    pub catalog: Catalog,
    /// Objects of the sandbox may hold rows of masked relations, or code that reads them.
    pub copies: bool,
    /// How often it was taken back to a point: what clients keep of it may be gone.
    pub turned_back: u64,
    /// Kept as long as the connection: the lease of the developer role.
    pub lease: Box<dyn std::any::Any + Send>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Sandbox {
    /// Its name.
    pub key: Key,
    /// Its limits.
    pub settings: SandboxSettings,
    /// Its advisory locks.
    pub advisory: Advisory,
    /// The upstream's process id.
    pub process: i32,
    /// When it began.
    pub begun: Instant,
    /// ParameterStatus values of its connection.
    pub parameters: BTreeMap<String, String>,
    /// Held while a cancel request is under way, and while the floor changes hands: a cancel request must
    /// not hit the next client's statement.
    pub cancel_gate: tokio::sync::Mutex<()>,
    flavor: Flavor,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    world: Option<Box<World>>,
    ended: Option<EndReason>,
    running: Option<ClientId>,
    free_since: Instant,
    used: Instant,
    /// Idle time does not end it before.
    kept_until: Option<Instant>,
    waiters: VecDeque<Waiter>,
    next_ticket: u64,
    clients: BTreeMap<ClientId, ClientInfo>,
    exclusive: Option<ClientId>,
    tainted: bool,
    statements: u64,
    /// Kept for `SHOW SANDBOXES` while the world is lent.
    last: Option<(bool, bool, u64, u64)>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    asking: Asking,
    since: Instant,
    wake: Arc<Notify>,
}

/// When somebody's turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Now,
    At(Instant),
    Later,
}

impl Sandbox {
    /// Over a world that has just begun.
    pub fn new(
        key: Key,
        settings: SandboxSettings,
        world: World,
        parameters: BTreeMap<String, String>,
    ) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            key,
            settings,
            advisory: Advisory::default(),
            process: world.link.process,
            begun: now,
            parameters,
            cancel_gate: tokio::sync::Mutex::new(()),
            flavor: world.link.flavor,
            inner: Mutex::new(Inner {
                world: Some(Box::new(world)),
                ended: None,
                running: None,
                free_since: now,
                used: now,
                kept_until: None,
                waiters: VecDeque::new(),
                next_ticket: 0,
                clients: BTreeMap::new(),
                exclusive: None,
                tainted: false,
                statements: 0,
                last: None,
            }),
        })
    }

    /// Waits for the floor: at most `wait_timeout`, in the order of asking, but the holder of the open block
    /// comes first, and others may join it when it has been idle for `overlap_after`.
    pub async fn acquire(self: &Arc<Self>, asking: &Asking) -> Result<Floor, Denied> {
        let started = Instant::now();
        let deadline = started + self.settings.wait_timeout;
        let (ticket, wake) = {
            let mut inner = self.lock();
            if let Some(reason) = inner.ended {
                return Err(Denied::Ended(reason));
            }
            let turn = self.turn(&inner, asking, started);
            if turn == Turn::Now
                && (inner.is_holder(asking.client) || !self.someone_is_due(&inner, started))
            {
                return self.take(&mut inner, asking.client);
            }
            let ticket = inner.next_ticket;
            inner.next_ticket += 1;
            let wake = Arc::new(Notify::new());
            inner.waiters.push_back(Waiter {
                ticket,
                asking: asking.clone(),
                since: started,
                wake: wake.clone(),
            });
            (ticket, wake)
        };
        let mut queued = Queued {
            sandbox: self,
            ticket,
        };
        loop {
            let now = Instant::now();
            let mut until = deadline;
            {
                let mut inner = self.lock();
                if let Some(reason) = inner.ended {
                    return Err(Denied::Ended(reason));
                }
                match self.turn(&inner, asking, now) {
                    Turn::Now if self.is_first(&inner, ticket, now) => {
                        queued.leave(&mut inner);
                        return self.take(&mut inner, asking.client);
                    }
                    Turn::At(at) => until = until.min(at),
                    Turn::Now | Turn::Later => {}
                }
                if self.settings.overlap == Overlap::Error
                    && self.overlaps(&inner, asking.client, now)
                {
                    return Err(Denied::Refused(self.overlap_refusal(&inner)));
                }
                if now >= deadline {
                    return Err(Denied::Refused(self.wait_refusal(&inner)));
                }
                if self.settings.overlap == Overlap::Error {
                    until = until.min(now + self.settings.overlap_after);
                }
            }
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep_until(until.into()) => {}
                () = asking.cancelled.notified() => {
                    return Err(Denied::Refused(Refusal::error(
                        SqlState::QUERY_CANCELED,
                        "canceling statement due to user request",
                    )));
                }
            }
        }
    }

    /// A client attaches.
    pub fn attach(&self, client: ClientId, info: ClientInfo) -> Result<(), Refusal> {
        let mut inner = self.lock();
        if inner.clients.len() >= self.settings.max_clients as usize {
            return Err(Refusal::fatal(
                SqlState::TOO_MANY_CONNECTIONS,
                format!("the sandbox \"{}\" already has {} clients, the most that are allowed", self.key.name, inner.clients.len()),
            )
            .hint("Use a smaller pool, or another sandbox; sandbox.max_clients says how many there may be"));
        }
        inner.used = Instant::now();
        inner.clients.insert(client, info);
        Ok(())
    }

    /// A client leaves. Returns how many are left.
    pub fn detach(&self, client: ClientId) -> usize {
        self.advisory.forget(client);
        let mut inner = self.lock();
        inner.used = Instant::now();
        inner.clients.remove(&client);
        if inner.exclusive == Some(client) {
            inner.exclusive = None;
        }
        inner.clients.len()
    }

    /// The channels a client listens to, from now on.
    pub fn set_listens(&self, client: ClientId, listens: Arc<BTreeSet<String>>) {
        if let Some(info) = self.lock().clients.get_mut(&client) {
            info.listens = listens;
        }
    }

    /// Delivers notifications to all clients that listen, the sender included.
    pub fn notify(&self, process: i32, notifications: &[(String, String)]) {
        let inner = self.lock();
        for (channel, payload) in notifications {
            for info in inner
                .clients
                .values()
                .filter(|info| info.listens.contains(channel))
            {
                info.mailbox.put(Mail::Notification {
                    process,
                    channel: channel.clone(),
                    payload: payload.clone(),
                });
            }
        }
    }

    /// Marks that work which clients were told is committed was undone, and tells them.
    pub fn taint(&self, by: ClientId, lost: &[ClientId]) {
        let mut inner = self.lock();
        inner.tainted = true;
        let whose = inner
            .clients
            .get(&by)
            .map(|info| info.application.clone())
            .unwrap_or_default();
        for client in lost.iter().chain([&by]) {
            let Some(info) = inner.clients.get(client) else {
                continue;
            };
            let text = if *client == by {
                "your rollback also undid statements that other clients of this sandbox were told are committed".to_owned()
            } else {
                format!(
                    "work of this connection that was acknowledged as committed was undone: it ran inside an open transaction of client \"{whose}\", which rolled back"
                )
            };
            info.mailbox.put(Mail::Notice(
                Refusal::warning(SqlState::WARNING, text)
                    .detail("The sandbox is marked as tainted")
                    .hint(
                        "Set sandbox.overlap to wait, or give each connection a sandbox of its own",
                    ),
            ));
        }
    }

    /// LOCK TABLE: while this client's block is open, nobody joins it.
    pub fn set_exclusive(&self, client: ClientId, exclusive: bool) {
        let mut inner = self.lock();
        if exclusive {
            inner.exclusive = Some(client);
        } else if inner.exclusive == Some(client) {
            inner.exclusive = None;
        }
    }

    /// Whether it is over, and why.
    pub fn ended(&self) -> Option<EndReason> {
        self.lock().ended
    }

    /// Ends it. The connection is closed at once if it is idle, else when its user gives it back.
    pub fn end(&self, reason: EndReason) -> bool {
        let world = {
            let mut inner = self.lock();
            if inner.ended.is_some() {
                return false;
            }
            inner.ended = Some(reason);
            for waiter in &inner.waiters {
                waiter.wake.notify_one();
            }
            inner.world.take()
        };
        if let Some(world) = world {
            close(world);
        }
        true
    }

    /// Whether the limits on idle time or age are reached now. A sandbox in use is left alone.
    pub fn overdue(&self, now: Instant) -> Option<EndReason> {
        let inner = self.lock();
        if inner.running.is_some() || inner.ended.is_some() {
            return None;
        }
        if now.duration_since(self.begun) > self.settings.max_age {
            return Some(EndReason::MaxAge);
        }
        let is_kept = inner.kept_until.is_some_and(|until| now < until);
        (!is_kept && now.duration_since(inner.used) > self.settings.idle_timeout)
            .then_some(EndReason::IdleTimeout)
    }

    /// For how long it has been idle; None while a statement runs.
    pub fn idle_for(&self, now: Instant) -> Option<Duration> {
        let inner = self.lock();
        inner
            .running
            .is_none()
            .then(|| now.duration_since(inner.free_since))
    }

    /// The clients attached.
    pub fn clients(&self) -> Vec<(ClientId, ClientInfo)> {
        self.lock()
            .clients
            .iter()
            .map(|(id, info)| (*id, info.clone()))
            .collect()
    }

    /// What the console shows.
    pub fn summary(&self) -> Summary {
        let inner = self.lock();
        let (armed, dirty, savepoints, round_trips) = match &inner.world {
            Some(w) => (
                w.machine.is_armed(),
                w.machine.is_dirty(),
                w.link.savepoints,
                w.link.round_trips,
            ),
            None => inner.last.unwrap_or_default(),
        };
        Summary {
            key: self.key.clone(),
            begun: self.begun,
            idle: inner.running.is_none().then(|| inner.free_since.elapsed()),
            clients: inner.clients.len(),
            armed,
            dirty,
            tainted: inner.tainted,
            statements: inner.statements,
            savepoints,
            round_trips,
            process: self.process,
            holder: inner.holder().map(|holder| holder.client).or(inner.running),
            waiting: inner.waiters.len(),
        }
    }

    /// Whether this client is attached here.
    pub fn has_client(&self, client: ClientId) -> bool {
        self.lock().clients.contains_key(&client)
    }

    /// Who waits for the floor, and since when.
    pub fn waiting(&self) -> Vec<(ClientId, Instant)> {
        self.lock()
            .waiters
            .iter()
            .map(|waiter| (waiter.asking.client, waiter.since))
            .collect()
    }

    /// Whether nothing can be written at all.
    pub fn is_read_only(&self) -> bool {
        self.flavor == Flavor::ReadOnly
    }

    /// Who runs a statement now.
    pub fn running(&self) -> Option<ClientId> {
        self.lock().running
    }

    /// Idle time does not end it before this.
    pub(super) fn keep_until(&self, until: Instant) {
        self.lock().kept_until = Some(until);
    }

    /// Asks the world something, unless a statement runs.
    pub(super) fn with_world<T>(&self, ask: impl FnOnce(&World) -> T) -> Option<T> {
        self.lock().world.as_deref().map(ask)
    }

    /// The floor's holder is done.
    pub(super) fn give_back(&self, world: Box<World>) {
        let mut inner = self.lock();
        inner.running = None;
        inner.free_since = Instant::now();
        inner.used = inner.free_since;
        if inner.ended.is_some() {
            drop(inner);
            close(world);
            return;
        }
        inner.world = Some(world);
        inner.wake_next();
    }

    /// The floor's holder has lost the world. True if the sandbox had not ended before.
    pub(super) fn lose(&self, reason: EndReason) -> bool {
        self.lock().running = None;
        self.end(reason)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, inner: &mut Inner, client: ClientId) -> Result<Floor, Denied> {
        let Some(world) = inner.world.take() else {
            return Err(Denied::Ended(
                inner.ended.unwrap_or(EndReason::UpstreamLost),
            ));
        };
        inner.running = Some(client);
        inner.statements += 1;
        inner.last = Some((
            world.machine.is_armed(),
            world.machine.is_dirty(),
            world.link.savepoints,
            world.link.round_trips,
        ));
        Ok(Floor {
            sandbox: self.clone(),
            world: Some(world),
        })
    }

    fn turn(&self, inner: &Inner, asking: &Asking, now: Instant) -> Turn {
        let client = asking.client;
        if inner.world.is_none() {
            return Turn::Later;
        }
        let Some(holder) = inner.holder().filter(|holder| holder.client != client) else {
            return Turn::Now;
        };
        let joins = self.settings.overlap == Overlap::Join
            && asking.may_overlap
            && holder.joinable
            && inner.exclusive.is_none_or(|exclusive| exclusive == client);
        if !joins {
            return Turn::Later;
        }
        let at = inner.free_since + self.settings.overlap_after;
        if at <= now || asking.at_once {
            Turn::Now
        } else {
            Turn::At(at)
        }
    }

    fn is_first(&self, inner: &Inner, ticket: u64, now: Instant) -> bool {
        inner
            .waiters
            .iter()
            .find(|w| w.ticket == ticket || self.turn(inner, &w.asking, now) == Turn::Now)
            .is_some_and(|w| w.ticket == ticket)
    }

    fn someone_is_due(&self, inner: &Inner, now: Instant) -> bool {
        inner
            .waiters
            .iter()
            .any(|w| self.turn(inner, &w.asking, now) == Turn::Now)
    }

    fn overlaps(&self, inner: &Inner, client: ClientId, now: Instant) -> bool {
        inner.world.is_some()
            && inner.holder().is_some_and(|holder| holder.client != client)
            && now.duration_since(inner.free_since) >= self.settings.overlap_after
    }

    fn overlap_refusal(&self, inner: &Inner) -> Refusal {
        Refusal::error(
            SqlState::DEADLOCK_DETECTED,
            format!("this statement would have to wait for an open transaction of the same sandbox, held by {}", inner.describe_holder()),
        )
        .hint("An application that opens a second connection inside a transaction waits for itself; use one connection, or set sandbox.overlap to join")
    }

    fn wait_refusal(&self, inner: &Inner) -> Refusal {
        Refusal::error(
            SqlState::LOCK_NOT_AVAILABLE,
            format!(
                "waited {} s for the sandbox \"{}\", which is held by {}",
                self.settings.wait_timeout.as_secs_f32(),
                self.key.name,
                inner.describe_holder()
            ),
        )
        .hint("Retry; all connections of a sandbox share one transaction, so an open transaction of one makes the others wait (SHOW CLIENTS in the database devinprod lists them; see sandbox.wait_timeout and sandbox.overlap)")
    }
}

impl Inner {
    fn holder(&self) -> Option<Holder> {
        self.world.as_ref()?.machine.holder()
    }

    fn is_holder(&self, client: ClientId) -> bool {
        self.holder().is_some_and(|holder| holder.client == client)
    }

    fn describe_holder(&self) -> String {
        let client = self.holder().map(|holder| holder.client).or(self.running);
        match client.and_then(|client| self.clients.get(&client)) {
            Some(info) => format!(
                "client {} (\"{}\", {})",
                info.process, info.application, info.address
            ),
            None => "another client".to_owned(),
        }
    }

    fn wake_next(&self) {
        for waiter in &self.waiters {
            waiter.wake.notify_one();
        }
    }
}

/// A place in the queue, given up when its owner stops waiting for whatever reason.
struct Queued<'a> {
    sandbox: &'a Sandbox,
    ticket: u64,
}

impl Queued<'_> {
    fn leave(&mut self, inner: &mut Inner) {
        inner.waiters.retain(|waiter| waiter.ticket != self.ticket);
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        // `acquire` has let go of its guard by now: guards are declared after this and dropped before it.
        let ticket = self.ticket;
        self.sandbox
            .lock()
            .waiters
            .retain(|waiter| waiter.ticket != ticket);
    }
}
