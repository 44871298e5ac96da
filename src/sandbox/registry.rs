//! All sandboxes of the proxy: found by name, begun when they are asked for, ended when their time is up.

use super::catalog::Catalog;
use super::data::Key;
use super::machine::Machine;
use super::settings::SandboxSettings;
use super::world::{Sandbox, World};
use crate::audit::{EndReason, Event, EventKind, Events};
use crate::error::{Refusal, SqlState};
use crate::upstream::command::Command;
use crate::upstream::link::Link;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A connection that is ready for a sandbox.
#[derive(Debug)]
pub struct Opened {
    /// Past its startup, in no transaction yet.
    pub link: Link,
    /// ParameterStatus values.
    pub parameters: BTreeMap<String, String>,
    /// Kept as long as the connection.
    pub lease: Box<dyn std::any::Any + Send>,
    /// Server version as `server_version_num` gives it.
    pub version: u32,
}

/// One session that waits for a lock, and one that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocking {
    /// Who waits.
    pub blocked: i32,
    /// What kind of backend it is (`client backend`, `logical replication worker` …).
    pub backend_type: String,
    /// Who is in the way.
    pub blocker: i32,
}

/// What the registry needs of an upstream.
#[async_trait]
pub trait Opener: Send + Sync + std::fmt::Debug {
    /// A new connection for a sandbox of `developer`, as a developer role of its own where the upstream is sealed.
    async fn open(&self, developer: &str) -> Result<Opened, Refusal>;
    /// The limits of its sandboxes.
    fn settings(&self) -> SandboxSettings;
    /// Sends a cancel request for the backend and waits until the server has taken it.
    async fn cancel(&self, process: i32);
    /// Who waits for whom now.
    async fn blocking(&self) -> Result<Vec<Blocking>, Refusal>;
}

/// Who may use what, as the configuration says now.
pub trait Access: Send + Sync + std::fmt::Debug {
    /// Whether the developer may use the upstream; if not, what they are told.
    fn check(&self, developer: &str, upstream: &str) -> Result<(), Refusal>;
}

/// See the [module](self).
#[derive(Debug)]
pub struct Registry {
    openers: Mutex<HashMap<String, Arc<dyn Opener>>>,
    access: Mutex<Option<Arc<dyn Access>>>,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    events: Events,
}

/// One name's place: beginning is serialised, so that two clients do not begin it twice.
#[derive(Debug, Default)]
struct Slot(tokio::sync::Mutex<Option<Arc<Sandbox>>>);

/// Finds out who holds the lock that a statement waits for, while it waits.
#[derive(Debug, Clone, Default)]
pub struct LockWatch(Arc<Mutex<Option<String>>>);

impl LockWatch {
    /// The holder, for people.
    pub fn found(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Registry {
    /// Without any upstream.
    pub fn new(events: Events) -> Arc<Self> {
        Arc::new(Self {
            openers: Mutex::default(),
            access: Mutex::default(),
            slots: Mutex::default(),
            events,
        })
    }

    /// Makes these the upstreams, with who may use them; sandboxes that run are kept.
    pub fn set_upstreams(
        &self,
        openers: HashMap<String, Arc<dyn Opener>>,
        access: Arc<dyn Access>,
    ) {
        *self.access.lock().unwrap_or_else(PoisonError::into_inner) = Some(access);
        *self.openers.lock().unwrap_or_else(PoisonError::into_inner) = openers;
    }

    /// The sandbox of this name: the one that runs, or a fresh one.
    ///
    /// Access is checked each time: a client may have been let in before its developer lost it.
    pub async fn open(&self, key: &Key) -> Result<Arc<Sandbox>, Refusal> {
        self.check_access(key)?;
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(key.clone()).or_default().clone()
        };
        let mut current = slot.0.lock().await;
        if let Some(sandbox) = current.as_ref().filter(|sandbox| sandbox.ended().is_none()) {
            return Ok(sandbox.clone());
        }
        let opener = self.opener(&key.upstream)?;
        self.check_limit(key, &opener.settings())?;
        let sandbox = begin(key, &*opener).await?;
        self.report(key, EventKind::SandboxBegun);
        *current = Some(sandbox.clone());
        Ok(sandbox)
    }

    /// All sandboxes that run.
    pub fn all(&self) -> Vec<Arc<Sandbox>> {
        let slots: Vec<_> = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.values().cloned().collect()
        };
        let mut all: Vec<_> = slots
            .iter()
            .filter_map(|slot| slot.0.try_lock().ok()?.clone())
            .filter(|sandbox| sandbox.ended().is_none())
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// Ends a sandbox, once.
    pub fn end(&self, sandbox: &Sandbox, reason: EndReason) {
        if sandbox.end(reason) {
            self.report(&sandbox.key, EventKind::SandboxEnded { reason });
        }
    }

    /// Keeps what a sandbox holds now under a name; see [`Sandbox::save`].
    ///
    /// # Errors
    /// As there.
    pub async fn save(&self, sandbox: &Arc<Sandbox>, point: &str) -> Result<(), Refusal> {
        let saved = sandbox.save(point).await;
        let point = point.to_owned();
        self.report_act(sandbox, saved, EventKind::SandboxSaved { point })
    }

    /// Takes a sandbox back to a point; see [`Sandbox::back`].
    ///
    /// # Errors
    /// As there.
    pub async fn back(&self, sandbox: &Arc<Sandbox>, point: &str) -> Result<(), Refusal> {
        let back = sandbox.back(point).await;
        let point = point.to_owned();
        self.report_act(sandbox, back, EventKind::SandboxBack { point })
    }

    /// Keeps a sandbox that nobody uses for this long; without a time, for as long as a sandbox may live.
    pub fn keep(&self, sandbox: &Sandbox, duration: Option<Duration>) {
        let duration = duration
            .unwrap_or(sandbox.settings.max_age)
            .min(sandbox.settings.max_age);
        sandbox.keep(duration);
        let seconds = duration.as_secs();
        self.report(&sandbox.key, EventKind::SandboxKept { seconds });
    }

    fn report_act(
        &self,
        sandbox: &Sandbox,
        done: Result<(), Refusal>,
        kind: EventKind,
    ) -> Result<(), Refusal> {
        match &done {
            Ok(()) => self.report(&sandbox.key, kind),
            Err(_) if sandbox.ended() == Some(EndReason::UpstreamLost) => {
                self.report_end(&sandbox.key, EndReason::UpstreamLost);
            }
            Err(_) => {}
        }
        done
    }

    /// Reports a sandbox that ended by itself.
    pub fn report_end(&self, key: &Key, reason: EndReason) {
        self.report(key, EventKind::SandboxEnded { reason });
    }

    /// Cancels the statement that runs in the sandbox.
    pub async fn cancel(&self, sandbox: &Sandbox) {
        if let Ok(opener) = self.opener(&sandbox.key.upstream) {
            opener.cancel(sandbox.process).await;
        }
    }

    /// Looks, beside a statement that takes long, who is in its way.
    pub fn watch_locks(self: &Arc<Self>, sandbox: &Sandbox) -> LockWatch {
        let watch = LockWatch::default();
        let weak = Arc::downgrade(&watch.0);
        let registry = self.clone();
        let (upstream, process) = (sandbox.key.upstream.clone(), sandbox.process);
        tokio::spawn(async move {
            while let Some(found) = weak.upgrade() {
                if let Some(holder) = registry.holder(&upstream, process).await {
                    *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(holder);
                }
                drop(found);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        watch
    }

    /// One round of housekeeping: sandboxes whose time is up, and those that others wait for.
    pub async fn sweep(&self, blocked_since: &mut HashMap<i32, Instant>) {
        let now = Instant::now();
        let all = self.all();
        for sandbox in &all {
            if let Some(reason) = sandbox.overdue(now) {
                self.end(sandbox, reason);
            }
        }
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, slot| {
                Arc::strong_count(slot) > 1
                    || slot
                        .0
                        .try_lock()
                        .map_or(true, |s| s.as_ref().is_some_and(|s| s.ended().is_none()))
            });
        let mut upstreams: Vec<_> = all
            .iter()
            .filter(|s| s.summary().dirty)
            .map(|s| s.key.upstream.clone())
            .collect();
        upstreams.sort();
        upstreams.dedup();
        let mut seen = Vec::new();
        for upstream in upstreams {
            let Ok(opener) = self.opener(&upstream) else {
                continue;
            };
            let Ok(blocking) = opener.blocking().await else {
                continue;
            };
            for sandbox in all.iter().filter(|s| s.key.upstream == upstream) {
                let Some(wait) = blocking.iter().find(|b| b.blocker == sandbox.process) else {
                    continue;
                };
                let worker = wait.backend_type.contains("logical replication");
                let since = *blocked_since.entry(sandbox.process).or_insert(now);
                seen.push(sandbox.process);
                let idle = sandbox.idle_for(now).unwrap_or_default();
                let waited = now.duration_since(since).min(idle);
                if worker || waited > sandbox.settings.block_timeout {
                    self.end(sandbox, EndReason::BlockTimeout);
                }
            }
        }
        blocked_since.retain(|process, _| seen.contains(process));
    }

    /// Who waits for whom on an upstream.
    pub async fn blocking(&self, upstream: &str) -> Result<Vec<Blocking>, Refusal> {
        self.opener(upstream)?.blocking().await
    }

    /// The sandbox behind a backend of an upstream.
    pub fn by_process(&self, upstream: &str, process: i32) -> Option<Arc<Sandbox>> {
        self.all()
            .into_iter()
            .find(|s| s.process == process && s.key.upstream == upstream)
    }

    async fn holder(&self, upstream: &str, process: i32) -> Option<String> {
        let blocking = self.opener(upstream).ok()?.blocking().await.ok()?;
        let blocker = blocking.iter().find(|b| b.blocked == process)?.blocker;
        Some(match self.by_process(upstream, blocker) {
            Some(sandbox) => format!(
                "developer {}, in the sandbox \"{}\"",
                sandbox.key.developer, sandbox.key.name
            ),
            None => format!("process {blocker} of the upstream, which is no sandbox of this proxy"),
        })
    }

    fn opener(&self, upstream: &str) -> Result<Arc<dyn Opener>, Refusal> {
        let openers = self.openers.lock().unwrap_or_else(PoisonError::into_inner);
        openers.get(upstream).cloned().ok_or_else(|| {
            Refusal::error(
                SqlState::INVALID_CATALOG_NAME,
                format!("database \"{upstream}\" does not exist"),
            )
            .hint("The databases here are the upstreams that the proxy's configuration names")
        })
    }

    fn check_access(&self, key: &Key) -> Result<(), Refusal> {
        let access = self
            .access
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        access.map_or(Ok(()), |access| access.check(&key.developer, &key.upstream))
    }

    fn check_limit(&self, key: &Key, settings: &SandboxSettings) -> Result<(), Refusal> {
        let limit = settings.max_sandboxes_per_developer as usize;
        let count = self
            .all()
            .iter()
            .filter(|s| s.key.developer == key.developer && s.key.upstream == key.upstream)
            .count();
        if count < limit {
            return Ok(());
        }
        Err(Refusal::error(
            SqlState::TOO_MANY_CONNECTIONS,
            format!(
                "developer {} already has {count} sandboxes on {}, the most that are allowed",
                key.developer, key.upstream
            ),
        )
        .hint("RESET SANDBOX in the database devinprod ends one (SHOW SANDBOXES lists them)"))
    }

    fn report(&self, key: &Key, kind: EventKind) {
        self.events.report(
            Event::now(kind)
                .developer(&key.developer)
                .upstream(&key.upstream)
                .sandbox(&key.name),
        );
    }
}

/// Connects and opens the transaction that never ends.
async fn begin(key: &Key, opener: &dyn Opener) -> Result<Arc<Sandbox>, Refusal> {
    let Opened {
        mut link,
        parameters,
        lease,
        version,
    } = opener.open(&key.developer).await?;
    let settings = opener.settings();
    let failed = |what: String| {
        Refusal::error(
            SqlState::CONNECTION_FAILURE,
            format!("could not begin a sandbox on {}: {what}", key.upstream),
        )
    };
    // A statement that reads the time may be planned before any has run.
    let mut session = vec![Command::Set("devinprod.now".into(), "0".into())];
    if version >= 170_000 {
        session.push(Command::Set("transaction_timeout".into(), "0".into()));
    }
    match link.run_before_begin(&session).await {
        Ok(Ok(_)) => {}
        Ok(Err(fields)) => return Err(failed(fields.text(b'M'))),
        Err(error) => return Err(failed(error.to_string())),
    }
    // So that a backend whose proxy died ends in the middle of a statement, too, and its locks with it. Some
    // platforms of the server do not have it, which is no reason to go without a sandbox.
    let noticing = Command::Set("client_connection_check_interval".into(), "2s".into());
    match link.run_before_begin(&[noticing]).await {
        Ok(Ok(_)) => {}
        Ok(Err(fields)) => {
            tracing::debug!(code = %fields.text(b'C'), "a dead proxy is noticed after statements only");
        }
        Err(error) => return Err(failed(error.to_string())),
    }
    let (machine, standing) = Machine::begin(&format!("{:08x}", rand::random::<u32>()));
    let mut commands = vec![Command::Begin];
    commands.extend(standing.commands());
    commands.push(Command::Catalog);
    let rows = match link.run(&commands).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(fields)) => return Err(failed(fields.text(b'M'))),
        Err(error) => return Err(failed(error.to_string())),
    };
    let mut catalog = Catalog::from_rows(&rows);
    if catalog.lists_masked() {
        match link.run(&[Command::Masked]).await {
            Ok(Ok(rows)) => catalog.read_masked(&rows),
            Ok(Err(fields)) => return Err(failed(fields.text(b'M'))),
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    let world = World {
        link,
        machine,
        catalog,
        copies: false,
        turned_back: 0,
        lease,
    };
    Ok(Sandbox::new(key.clone(), settings, world, parameters))
}
