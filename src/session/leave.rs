//! The two ends of a session: attaching to a sandbox, and leaving it as if the client had never been there.

use super::expect::Own;
use super::spend::Purse;
use super::{Client, ClientError, Context, Login, Session, Stop};
use crate::audit::{EndReason, EventKind};
use crate::error::{Refusal, SqlState};
use crate::sandbox::data::{Asking, ClientInfo, Key};
use crate::sandbox::machine::{ClientId, Op, ScopeKind};
use crate::sandbox::mailbox::Mailbox;
use crate::sandbox::view::{ClientSettings, View};
use crate::sandbox::world::Sandbox;
use crate::sql::statement::SetValue;
use crate::upstream::command::Command;
use crate::wire::backend::{self, Status};
use crate::wire::frame::HEADER;
use crate::wire::frontend::Target;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const APPLICATION_NAME: &str = "application_name";

/// How long a statement of a client that is gone may take to be cancelled before the sandbox is given up.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves a client that is past authentication until it is gone. `secret` goes into its BackendKeyData.
pub async fn serve(
    client: Client,
    login: Login,
    context: Arc<Context>,
    id: ClientId,
    secret: &[u8],
    cancelled: Arc<Notify>,
) {
    let key = Key {
        developer: login.developer.clone(),
        upstream: login.upstream.clone(),
        name: login
            .sandbox
            .clone()
            .unwrap_or_else(|| format!("connection-{id}")),
    };
    let mut client = client;
    let sandbox = match context.registry.open(&key).await {
        Ok(sandbox) => sandbox,
        Err(refusal) => {
            context.refused(&login, &key, &refusal);
            client.tell(&Refusal {
                severity: crate::error::Severity::Fatal,
                ..refusal
            });
            let _ = client.flush().await;
            return;
        }
    };
    let mut session = Session::new(id, login, client, context, sandbox, cancelled);
    if let Err(refusal) = session.attach() {
        session.context.refused(&session.login, &key, &refusal);
        session.client.tell(&refusal);
        let _ = session.client.flush().await;
        return;
    }
    session
        .context
        .client_event(&session.login, EventKind::ClientConnected);
    let result = match session.welcome(secret).await {
        Ok(()) => session.run().await,
        Err(error) => Err(error),
    };
    if let Err(ClientError::Protocol(refusal)) = &result {
        session.client.tell(&Refusal {
            severity: crate::error::Severity::Fatal,
            ..refusal.clone()
        });
        let _ = tokio::time::timeout(Duration::from_secs(1), session.client.flush()).await;
    }
    session.leave().await;
}

impl Session {
    fn new(
        id: ClientId,
        login: Login,
        client: Client,
        context: Arc<Context>,
        sandbox: Arc<Sandbox>,
        cancelled: Arc<Notify>,
    ) -> Self {
        let account = context.budgets.account(&login.upstream, &login.developer);
        let purse = Purse::new(account);
        let settings = login
            .settings
            .iter()
            .filter(|(name, _)| !crate::plan::is_virtual_setting(name));
        let mut view = View::default();
        let mut startup: BTreeMap<_, _> = settings.map(|(k, v)| (k.clone(), v.clone())).collect();
        // The proxy's own connection has a name, too.
        startup.entry(APPLICATION_NAME.to_owned()).or_default();
        view.settings = ClientSettings::from_startup(startup);
        Self {
            id,
            login,
            client,
            context,
            sandbox,
            asking: Asking {
                client: id,
                may_overlap: true,
                at_once: false,
                cancelled,
            },
            mailbox: Arc::new(Mailbox::default()),
            view,
            before_implicit: None,
            statements: HashMap::new(),
            portals: HashMap::new(),
            reported: BTreeMap::new(),
            at_login: BTreeMap::new(),
            told: Arc::default(),
            floor: None,
            bound: false,
            skipping: false,
            planned: None,
            queue: VecDeque::new(),
            pending: VecDeque::new(),
            origin: None,
            held: Default::default(),
            kept: HashMap::new(),
            described: Default::default(),
            open_portal: false,
            captured: None,
            catalog_rows: Vec::new(),
            next_name: 0,
            cursor_names: HashMap::new(),
            told_isolation: false,
            listening: Arc::default(),
            implicit_block: false,
            prepared_name: None,
            idle_limits: BTreeMap::new(),
            lock_watch: None,
            now_asked: false,
            row_remaining: 0,
            cut_off: false,
            turned_back: 0,
            account: Default::default(),
            purse,
        }
    }

    /// Settings of the startup message that belong to the virtual transaction.
    fn take_virtual_settings(&mut self) -> Result<(), Refusal> {
        if let Some(refusal) = self
            .login
            .settings
            .get("client_encoding")
            .and_then(|e| crate::plan::unsafe_encoding(e))
        {
            return Err(refusal);
        }
        let settings = self.login.settings.clone();
        for (name, value) in settings
            .iter()
            .filter(|(name, _)| crate::plan::is_virtual_setting(name))
        {
            match self.set_virtual(name, &SetValue::Single(value.clone())) {
                Ok(()) => {}
                Err(Stop::Refused(refusal)) => return Err(*refusal),
                Err(_) => {}
            }
        }
        // SET has answered with a tag that nobody asked for.
        self.client.out.clear();
        Ok(())
    }

    fn attach(&self) -> Result<(), Refusal> {
        let info = ClientInfo {
            application: self.login.application().to_owned(),
            address: self.login.address.to_string(),
            process: self.login.process,
            since: Instant::now(),
            mailbox: self.mailbox.clone(),
            listens: self.view.listens.clone(),
        };
        self.sandbox.attach(self.id, info)
    }

    /// From AuthenticationOk to the first ReadyForQuery. The startup's settings are tried on the upstream, so
    /// that a wrong one is refused here, as Postgres does.
    async fn welcome(&mut self, secret: &[u8]) -> Result<(), ClientError> {
        self.take_virtual_settings()
            .map_err(ClientError::Protocol)?;
        self.reported = self.sandbox.parameters.clone();
        let application = self.view.settings.get(APPLICATION_NAME).unwrap_or_default();
        self.reported
            .insert(APPLICATION_NAME.to_owned(), application.to_owned());
        if self.view.settings.effective().len() > 1 {
            match self.try_settings().await {
                Ok(()) => {}
                Err(Stop::Client(error)) => return Err(error),
                Err(Stop::Refused(refusal)) => return Err(ClientError::Protocol(*refusal)),
                Err(Stop::Ended(reason)) => {
                    return Err(ClientError::Protocol(reason_refusal(reason, &self.sandbox)));
                }
            }
        }
        self.client.out.clear();
        self.at_login = self.reported.clone();
        for not_set in [
            "default_transaction_read_only",
            "is_superuser",
            "session_authorization",
        ] {
            self.at_login.remove(not_set);
        }
        for (name, value) in &self.reported {
            backend::parameter_status(&mut self.client.out, name, value);
        }
        backend::backend_key_data(&mut self.client.out, self.login.process, secret);
        backend::ready(&mut self.client.out, Status::Idle);
        self.client.flush().await
    }

    /// Installs the client's settings once and reads back the values that Postgres reports.
    async fn try_settings(&mut self) -> Result<(), Stop> {
        self.take_floor(true).await?;
        let wanted = self.view.settings.effective().clone();
        if let Some((machine, _)) = &mut self.planned {
            let ops = machine.enter(self.id, ScopeKind::Implicit, &wanted, false);
            self.push_ops(ops)?;
        }
        let reported: Vec<String> = self
            .reported
            .keys()
            .filter(|name| wanted.contains_key(&name.to_lowercase()))
            .cloned()
            .collect();
        for name in reported {
            self.push_own(&Command::Show(name.clone()), Own::Reported(name))?;
        }
        if let Some((machine, _)) = &mut self.planned {
            let ops = machine.commit(self.id);
            self.push_ops(ops)?;
            self.push_advance();
        }
        self.exchange(false).await?;
        let failed = self.skipping;
        let error = failed.then(|| self.client.out.split());
        self.exchange(true).await?;
        if let Some(error) = error {
            // The Sync was ours: a ReadyForQuery would tell the client that it is let in.
            self.client.out.clear();
            let fields = backend::Fields::parse(error.freeze().slice(HEADER..));
            let refusal = Refusal::fatal(SqlState::INVALID_PARAMETER_VALUE, fields.text(b'M'));
            return Err(refusal.into());
        }
        Ok(())
    }

    /// The old sandbox is over; a fresh one of the same name begins.
    pub(super) async fn reattach(&mut self) -> Result<(), ClientError> {
        self.break_off(EndReason::UpstreamLost);
        self.sandbox.detach(self.id);
        let key = self.sandbox.key.clone();
        self.sandbox = self
            .context
            .registry
            .open(&key)
            .await
            .map_err(ClientError::Protocol)?;
        self.attach().map_err(ClientError::Protocol)?;
        self.portals.clear();
        let view = &mut self.view;
        view.forget_objects();
        view.notifications = Arc::default();
        if let Some(block) = view.block_mut() {
            block.failed = true;
            block.queried = false;
            block.savepoints.clear();
        }
        Ok(())
    }

    /// Undoes what is open, drops what is prepared, and gives the floor back.
    async fn leave(mut self) {
        let tidied = tokio::time::timeout(DRAIN, self.tidy()).await;
        if !matches!(tidied, Ok(Ok(()))) {
            self.break_off(EndReason::UpstreamLost);
        }
        // Nobody waits for an answer any more; what was read is on record all the same.
        let _ = self.hand_over().await;
        let left = self.sandbox.detach(self.id);
        if self.login.sandbox.is_none() && left == 0 {
            self.context
                .registry
                .end(&self.sandbox, EndReason::ConnectionClosed);
        }
        self.context
            .client_event(&self.login, EventKind::ClientDisconnected);
    }

    async fn tidy(&mut self) -> Result<(), Stop> {
        if self.floor.is_some() {
            self.drain_upstream().await?;
        }
        let scoped = self.view.block.as_ref().is_some_and(|block| block.queried);
        let named: Vec<_> = self
            .statements
            .values()
            .filter(|p| !p.upstream.is_empty())
            .cloned()
            .collect();
        if self.floor.is_none() && !scoped && named.is_empty() && self.view.cursors.is_empty() {
            return Ok(());
        }
        self.queue.clear();
        self.planned = None;
        self.take_floor(true).await?;
        let holds: Vec<_> = self
            .view
            .cursors
            .values()
            .filter(|c| c.hold)
            .map(|c| c.upstream.clone())
            .collect();
        let id = self.id;
        let world = self.world()?;
        world.machine.take_evicted(id);
        let ops = world.machine.rollback(id);
        world.catalog.rolled_back();
        let lost = world.machine.take_lost();
        for prepared in named.iter().flat_map(|named| named.with_behind()) {
            if world.link.prepared.remove(&prepared.id) {
                world
                    .link
                    .close_named(Target::Statement, &prepared.upstream);
            }
        }
        let mut commands: Vec<Command> = ops.into_iter().flat_map(Op::commands).collect();
        if !world.machine.is_failed() {
            commands.extend(holds.into_iter().map(Command::CloseCursor));
        }
        if let Err(fields) = world.link.run(&commands).await? {
            tracing::warn!(code = %fields.text(b'C'), "a client's leftovers could not be cleared");
            world.machine.fail();
        }
        if !lost.is_empty() {
            self.sandbox.taint(self.id, &lost);
            self.context.tainted(&self.login, &self.sandbox.key);
        }
        self.release_floor().await;
        Ok(())
    }

    /// The client went away in the middle of an exchange: the statement is cancelled, and its answers are
    /// taken as always, with nobody to send them to.
    async fn drain_upstream(&mut self) -> Result<(), Stop> {
        self.client.forget();
        self.pending.clear();
        if !self.queue.is_empty() {
            self.context.registry.cancel(&self.sandbox).await;
            // Ends a COPY FROM STDIN; at any other time the server ignores it.
            self.world()?.link.copy_fail(b"the client is gone");
        }
        if self
            .queue
            .iter()
            .any(|e| matches!(e, super::expect::Expect::Sync { .. }))
        {
            self.finish_exchange().await
        } else {
            self.exchange(true).await
        }
    }
}

fn reason_refusal(reason: EndReason, sandbox: &Sandbox) -> Refusal {
    crate::sandbox::data::end_refusal(reason, &sandbox.key.name)
}
