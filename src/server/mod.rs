//! The proxy itself: accepts clients, finds out who they are, and hands each to a session, the console or,
//! for isolation `none`, a pass-through.

mod client;
mod directory;
mod house;
mod opener;
mod passthrough;
mod within;

use crate::audit::{EndReason, Event, EventKind, Events};
use crate::budget::ledger::{Ledger, LocalLedger};
use crate::budget::{self, Budgets};
use crate::config::Config;
use crate::error::{Refusal, SqlState};
use crate::page;
use crate::plan::PlanCache;
use crate::sandbox::data::Key;
use crate::sandbox::registry::{Access, Opener, Registry};
use crate::session::Context;
use crate::wire::verifier::MockSecret;
use opener::UpstreamOpener;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub use directory::ProxyDirectory;

/// How often sandboxes are looked at for idle time, age, and whom they block.
const SWEEP: Duration = Duration::from_secs(1);

/// A running proxy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What all clients of a server share.
#[derive(Debug)]
struct Shared {
    config: RwLock<Arc<Config>>,
    openers: Mutex<HashMap<String, Arc<UpstreamOpener>>>,
    context: Arc<Context>,
    mock: MockSecret,
    cancels: Mutex<HashMap<i32, CancelHandle>>,
    next_client: std::sync::atomic::AtomicU64,
    /// Places for clients.
    clients: Arc<Semaphore>,
    /// The developers for whom the proxy reads a changeset.
    reading: Mutex<HashSet<String>>,
    /// Held while the page checks a password, and while it reads the record.
    hashing: tokio::sync::Mutex<()>,
    reading_record: tokio::sync::Mutex<()>,
}

/// How a cancel request finds its statement.
#[derive(Debug, Clone)]
struct CancelHandle {
    secret: Vec<u8>,
    target: CancelTarget,
}

#[derive(Debug, Clone)]
enum CancelTarget {
    Sandbox {
        client: u64,
        cancelled: Arc<Notify>,
    },
    Upstream {
        upstream: String,
        process: i32,
        secret: Vec<u8>,
    },
}

impl Server {
    /// A server for this configuration that forgets with the process what was read. Nothing listens yet.
    pub fn new(config: Config, events: Events) -> Self {
        Self::with_ledger(config, events, Arc::new(LocalLedger::in_memory()))
    }

    /// A server for this configuration that keeps what was read in this ledger. Nothing listens yet.
    pub fn with_ledger(config: Config, events: Events, ledger: Arc<dyn Ledger>) -> Self {
        let registry = Registry::new(events.clone());
        let context = Arc::new(Context {
            plans: PlanCache::default(),
            registry,
            events,
            budgets: Budgets::new(ledger, budget_settings(&config)),
            stopping: CancellationToken::new(),
        });
        let server = Self {
            shared: Arc::new(Shared {
                clients: Arc::new(Semaphore::new(config.limits.max_clients as usize)),
                reading: Mutex::default(),
                hashing: tokio::sync::Mutex::default(),
                reading_record: tokio::sync::Mutex::default(),
                config: RwLock::new(Arc::new(config)),
                openers: Mutex::default(),
                context,
                mock: MockSecret::random(),
                cancels: Mutex::default(),
                next_client: std::sync::atomic::AtomicU64::new(1),
            }),
        };
        server.shared.set_upstreams();
        server
    }

    /// Takes in a configuration that was read again. Sandboxes that run keep their limits; those of
    /// developers who lost their access end.
    pub fn reload(&self, config: Config) {
        let shared = &self.shared;
        let before = shared.config();
        *shared
            .config
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        shared.set_upstreams();
        let config = shared.config();
        shared.context.budgets.reload(budget_settings(&config));
        for sandbox in shared.context.registry.all() {
            let Key {
                developer,
                upstream,
                ..
            } = &sandbox.key;
            let set_before = set_of(&before, developer, upstream);
            // Who sees more from now on does so in their next sandbox.
            let sees_less =
                set_before.is_some() && set_before != set_of(&config, developer, upstream);
            let reason = if config.upstream_for(developer, upstream).is_err() {
                EndReason::AccessWithdrawn
            } else if sees_less {
                EndReason::ExceptionsWithdrawn
            } else {
                continue;
            };
            shared.context.registry.end(&sandbox, reason);
        }
        shared.report(EventKind::Reloaded);
        shared.report_new_policies(&before, &config);
    }

    /// Checks the seals of all upstreams that should have one. Returns what is wrong, by upstream.
    pub async fn check_seals(&self) -> Vec<(String, String)> {
        let openers: Vec<_> = self.shared.openers().into_iter().collect();
        let mut wrong = Vec::new();
        for (name, opener) in openers {
            if let Err(refusal) = opener.check_seal().await {
                // Who cannot be asked has said nothing.
                if refusal.sqlstate == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE {
                    let what = refusal.message.clone();
                    let event = Event::now(EventKind::SealOpen { what }).upstream(&name);
                    self.shared.context.events.report(event);
                }
                wrong.push((name, refusal.to_string()));
            }
        }
        wrong.sort();
        wrong
    }

    /// Serves clients until `stop` is ready, then lets running statements end, for as long as the
    /// configuration grants, and ends all sandboxes.
    pub async fn run(
        &self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let shared = &self.shared;
        shared.report(EventKind::Started);
        let sweeper = tokio::spawn(sweep(shared.clone()));
        let watcher = tokio::spawn(watch(shared.clone()));
        let tasks = tokio_util::task::TaskTracker::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    tasks.spawn(client::handle(shared.clone(), tcp, peer));
                }
                Err(error) => {
                    // Out of file descriptors: the next accept would fail at once, too.
                    tracing::error!(%error, "a client could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        shared.context.stopping.cancel();
        tasks.close();
        let grace = shared.config().limits.shutdown_grace;
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            tracing::warn!(
                "clients are still busy after the grace period; their statements are cut off"
            );
        }
        sweeper.abort();
        watcher.abort();
        for sandbox in shared.context.registry.all() {
            shared.context.registry.end(&sandbox, EndReason::Shutdown);
        }
        // Time for the goodbyes to reach the upstreams.
        tokio::time::sleep(Duration::from_millis(50)).await;
        shared.report(EventKind::Stopped);
        Ok(())
    }

    /// Serves the web page, if the configuration has one, until [`Self::run`] is told to stop.
    pub async fn run_page(&self, listener: TcpListener) {
        let shared = &self.shared;
        if let Some(settings) = shared.config().page.clone() {
            let stop = shared.context.stopping.clone();
            page::serve(listener, settings, self.directory(), stop).await;
        }
    }

    /// The read budgets of its developers.
    pub fn budgets(&self) -> Budgets {
        self.shared.context.budgets.clone()
    }

    /// What the console asks.
    pub fn directory(&self) -> Arc<ProxyDirectory> {
        Arc::new(ProxyDirectory::new(self.shared.clone()))
    }

    /// Records a configuration that was refused.
    pub fn reload_failed(&self, reason: String) {
        self.shared.report(EventKind::ReloadFailed { reason });
    }
}

impl Access for Config {
    fn check(&self, developer: &str, upstream: &str) -> Result<(), Refusal> {
        self.upstream_for(developer, upstream).map(|_| ())
    }
}

impl Shared {
    fn config(&self) -> Arc<Config> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn openers(&self) -> HashMap<String, Arc<UpstreamOpener>> {
        self.openers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes an opener for each upstream; one whose upstream did not change is kept, with its connection.
    fn set_upstreams(&self) {
        let config = self.config();
        let old = self.openers();
        let new: HashMap<String, Arc<UpstreamOpener>> = config
            .upstreams
            .iter()
            .map(|(name, upstream)| {
                let kept = old
                    .get(name)
                    .filter(|opener| opener.serves(upstream))
                    .cloned();
                (
                    name.clone(),
                    kept.unwrap_or_else(|| Arc::new(UpstreamOpener::new(upstream.clone()))),
                )
            })
            .collect();
        let openers = new
            .iter()
            .map(|(name, opener)| (name.clone(), opener.clone() as Arc<dyn Opener>))
            .collect();
        self.context.registry.set_upstreams(openers, config);
        *self.openers.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn report(&self, kind: EventKind) {
        self.context.events.report(Event::now(kind));
    }

    /// Records each upstream whose policy is another one than before.
    fn report_new_policies(&self, before: &Config, after: &Config) {
        let version = |config: &Config, upstream: &str| {
            let policy = config.upstreams.get(upstream)?.policy.clone()?;
            Some(policy.version().to_owned())
        };
        for upstream in after.upstreams.keys() {
            let (old, new) = (version(before, upstream), version(after, upstream));
            if old != new {
                let kind = EventKind::PolicyChanged { version: new };
                self.context
                    .events
                    .report(Event::now(kind).upstream(upstream));
            }
        }
    }

    fn report_from(&self, peer: SocketAddr, developer: &str, kind: EventKind) {
        self.context
            .events
            .report(Event::now(kind).developer(developer).client(peer));
    }

    /// A cancel request that came over a connection of its own. Nobody is told whether it found anything.
    async fn cancel(&self, process: i32, secret: &[u8]) {
        use subtle::ConstantTimeEq;
        let handle = self
            .cancels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&process)
            .cloned();
        let Some(handle) = handle.filter(|handle| bool::from(handle.secret.ct_eq(secret))) else {
            return;
        };
        match handle.target {
            CancelTarget::Sandbox { client, cancelled } => {
                let registry = &self.context.registry;
                let running = registry
                    .all()
                    .into_iter()
                    .find(|sandbox| sandbox.has_client(client));
                let Some(sandbox) = running else { return };
                let _gate = sandbox.cancel_gate.lock().await;
                if sandbox.running() == Some(client) {
                    registry.cancel(&sandbox).await;
                } else {
                    cancelled.notify_waiters();
                }
            }
            CancelTarget::Upstream {
                upstream,
                process,
                secret,
            } => {
                if let Some(opener) = self.openers().get(&upstream) {
                    opener.cancel_backend(process, &secret).await;
                }
            }
        }
    }
}

/// The set of exceptions that applies to a developer on an upstream.
fn set_of<'a>(config: &'a Config, developer: &str, upstream: &str) -> Option<&'a String> {
    config.upstreams.get(upstream)?.sets.get(developer)
}

async fn sweep(shared: Arc<Shared>) {
    let mut blocked_since: HashMap<i32, Instant> = HashMap::new();
    loop {
        tokio::time::sleep(SWEEP).await;
        shared.context.registry.sweep(&mut blocked_since).await;
    }
}

/// Looks again and again at the seals of the upstreams in use.
async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.config().limits.seal_check).await;
        for (name, opener) in shared.openers() {
            let kind = match opener.look_again().await {
                None => continue,
                Some(Ok(())) => EventKind::SealWhole,
                Some(Err(refusal)) => {
                    let registry = &shared.context.registry;
                    for sandbox in registry.all() {
                        if sandbox.key.upstream == name {
                            registry.end(&sandbox, EndReason::SealOpen);
                        }
                    }
                    EventKind::SealOpen {
                        what: refusal.message,
                    }
                }
            };
            shared
                .context
                .events
                .report(Event::now(kind).upstream(name));
        }
    }
}

/// What budgets must know of a configuration.
fn budget_settings(config: &Config) -> budget::Settings {
    let upstreams = config.upstreams.iter().map(|(name, upstream)| {
        let settings = budget::Upstream {
            stage: upstream.stage,
            policy: upstream.policy.clone(),
            contact: upstream.contact.clone(),
            developers: upstream.developers.clone(),
        };
        (name.clone(), settings)
    });
    let groups = config
        .developers
        .iter()
        .map(|(name, developer)| (name.clone(), developer.groups.clone()));
    budget::Settings {
        upstreams: upstreams.collect(),
        groups: groups.collect(),
    }
}
