//! What the console shows, from the registry; each developer sees their own.

use super::Shared;
use crate::audit::time::Utc;
use crate::audit::{EndReason, Event, EventKind};
use crate::budget::Line;
use crate::changeset;
use crate::console::{
    ClientRow, Directory, Listener, LockKind, LockRow, PointRow, SandboxAct, SandboxRow,
    SandboxState, UpstreamRow, Visitor,
};
use crate::error::{Refusal, Severity, SqlState};
use crate::evidence::{Claim, Statement, Witness};
use crate::sandbox::data::Summary;
use crate::sandbox::world::Sandbox;
use async_trait::async_trait;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What the console shows, from the registry; each developer sees their own.
#[derive(Debug)]
pub struct ProxyDirectory {
    pub(super) shared: Arc<Shared>,
}

impl ProxyDirectory {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn sandboxes_of(&self, developer: &str) -> Vec<Arc<Sandbox>> {
        let all = self.shared.context.registry.all();
        all.into_iter()
            .filter(|sandbox| sandbox.key.developer == developer)
            .collect()
    }
}

#[async_trait]
impl Directory for ProxyDirectory {
    fn upstreams(&self, developer: &str) -> Vec<UpstreamRow> {
        let config = self.shared.config();
        let sandboxes = self.sandboxes_of(developer);
        config
            .granted_to(developer)
            .map(|upstream| UpstreamRow {
                name: upstream.name.clone(),
                stage: upstream.stage.as_str(),
                isolation: upstream.isolation,
                sandboxes: sandboxes
                    .iter()
                    .filter(|s| s.key.upstream == upstream.name)
                    .count(),
            })
            .collect()
    }

    fn sandboxes(&self, developer: &str) -> Vec<SandboxRow> {
        self.sandboxes_of(developer)
            .iter()
            .map(|sandbox| {
                let summary = sandbox.summary();
                SandboxRow {
                    upstream: summary.key.upstream.clone(),
                    name: summary.key.name.clone(),
                    state: state(&summary),
                    begun: wall_clock(summary.begun),
                    idle: summary.idle.unwrap_or_default(),
                    clients: summary.clients,
                    armed: summary.armed,
                    tainted: summary.tainted,
                    statements: summary.statements,
                    subtransactions: summary.savepoints,
                    backend_pid: Some(summary.process),
                }
            })
            .collect()
    }

    fn clients(&self, developer: &str) -> Vec<ClientRow> {
        let mut rows = Vec::new();
        for sandbox in self.sandboxes_of(developer) {
            let summary = sandbox.summary();
            let running = sandbox.running();
            let clients = sandbox.clients();
            let waiting = sandbox.waiting();
            let holder = summary
                .holder
                .and_then(|id| clients.iter().find(|(client, _)| *client == id));
            for (id, info) in &clients {
                let state = if running == Some(*id) {
                    SandboxState::Active
                } else if summary.holder == Some(*id) {
                    SandboxState::IdleInTransaction
                } else {
                    SandboxState::Idle
                };
                rows.push(ClientRow {
                    pid: info.process,
                    upstream: sandbox.key.upstream.clone(),
                    sandbox: Some(sandbox.key.name.clone()),
                    application: info.application.clone(),
                    address: info
                        .address
                        .parse()
                        .unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))),
                    state,
                    connected: wall_clock(info.since),
                    waits_for: waiting
                        .iter()
                        .any(|(client, _)| client == id)
                        .then(|| holder.map(|(_, holder)| holder.process))
                        .flatten(),
                });
            }
        }
        rows
    }

    async fn locks(&self, developer: &str) -> Result<Vec<LockRow>, Refusal> {
        let registry = &self.shared.context.registry;
        let mut rows = Vec::new();
        for sandbox in self.sandboxes_of(developer) {
            for (_, since) in sandbox.waiting() {
                rows.push(LockRow {
                    upstream: sandbox.key.upstream.clone(),
                    kind: LockKind::Floor,
                    object: None,
                    waiter: developer.to_owned(),
                    waiter_sandbox: Some(sandbox.key.name.clone()),
                    holder: developer.to_owned(),
                    holder_sandbox: Some(sandbox.key.name.clone()),
                    waited: since.elapsed(),
                });
            }
        }
        let config = self.shared.config();
        let dirty = registry.all();
        for upstream in config
            .granted_to(developer)
            .filter(|u| dirty.iter().any(|s| s.key.upstream == u.name))
        {
            for wait in registry.blocking(&upstream.name).await? {
                let waiter = registry.by_process(&upstream.name, wait.blocked);
                let holder = registry.by_process(&upstream.name, wait.blocker);
                let theirs = [&waiter, &holder]
                    .into_iter()
                    .flatten()
                    .any(|sandbox| sandbox.key.developer == developer);
                if !theirs {
                    continue;
                }
                let name = |sandbox: &Option<Arc<Sandbox>>, process: i32| match sandbox {
                    Some(sandbox) => (
                        sandbox.key.developer.clone(),
                        Some(sandbox.key.name.clone()),
                    ),
                    None => (format!("process {process}"), None),
                };
                let (waiter, waiter_sandbox) = name(&waiter, wait.blocked);
                let (holder, holder_sandbox) = name(&holder, wait.blocker);
                rows.push(LockRow {
                    upstream: upstream.name.clone(),
                    kind: LockKind::Upstream,
                    object: None,
                    waiter,
                    waiter_sandbox,
                    holder,
                    holder_sandbox,
                    waited: Duration::ZERO,
                });
            }
        }
        Ok(rows)
    }

    async fn budgets(&self, developer: &str) -> Result<Vec<Line>, Refusal> {
        let budgets = &self.shared.context.budgets;
        let lines = budgets.list(Some(developer)).await;
        lines.map_err(|error| Refusal::error(SqlState::IO_ERROR, error.to_string()))
    }

    fn points(&self, developer: &str) -> Result<Vec<PointRow>, Refusal> {
        let mut rows = Vec::new();
        for sandbox in self.sandboxes_of(developer) {
            let name = &sandbox.key.name;
            let points = sandbox.points().ok_or_else(|| {
                Refusal::error(
                    SqlState::LOCK_NOT_AVAILABLE,
                    format!("a statement runs in the sandbox \"{name}\""),
                )
                .hint("Try again when it is done")
            })?;
            rows.extend(points.into_iter().map(|point| PointRow {
                upstream: sandbox.key.upstream.clone(),
                sandbox: name.clone(),
                point,
            }));
        }
        Ok(rows)
    }

    async fn changeset(
        &self,
        visitor: &Visitor,
        upstream: Option<&str>,
        name: &str,
        tell: Listener<'_>,
    ) -> Result<changeset::Summary, Refusal> {
        let sandbox = self.named(&visitor.developer, upstream, name)?;
        let key = &sandbox.key;
        self.read_changeset(visitor, &key.upstream, &key.name, tell)
            .await
    }

    async fn act(
        &self,
        developer: &str,
        upstream: Option<&str>,
        name: &str,
        act: &SandboxAct,
    ) -> Result<(), Refusal> {
        let sandbox = self.named(developer, upstream, name)?;
        let registry = &self.shared.context.registry;
        match act {
            SandboxAct::Reset => registry.end(&sandbox, EndReason::Reset),
            SandboxAct::Save { point } => {
                registry.save(&sandbox, point).await?;
            }
            SandboxAct::Back { point } => {
                registry.back(&sandbox, point).await?;
            }
            SandboxAct::Keep { duration } => registry.keep(&sandbox, *duration),
        }
        Ok(())
    }

    async fn sign(&self, visitor: &Visitor, claim: &str) -> Result<String, Refusal> {
        let claim = Claim::parse(claim)?;
        let developer = &visitor.developer;
        let config = self.shared.config();
        let upstream = config
            .upstream_for(developer, &claim.upstream)
            .map_err(|refusal| Refusal {
                severity: Severity::Error,
                ..refusal
            })?;
        let events = &self.shared.context.events;
        let signer = events.signer().ok_or_else(|| {
            Refusal::error(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "this proxy has nothing to sign evidence with",
            )
            .detail("It keeps no log of what happens.")
            .hint("Use a proxy that `devinprod serve` runs")
        })?;
        let policy = upstream.policy.as_ref();
        let stage = upstream.stage.as_str();
        let witness = Witness {
            developer: developer.clone(),
            upstream: upstream.name.clone(),
            stage: stage.to_owned(),
            isolation: upstream.isolation.as_str().to_owned(),
            policy: policy.map(|policy| policy.version().to_owned()),
            time: Utc(SystemTime::now()).to_string(),
            log: signer.log().to_owned(),
            devinprod: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (kind, commit, passed) = (claim.kind, claim.commit.clone(), claim.passed);
        let unwritten = |_: serde_json::Error| {
            Refusal::error(SqlState::INTERNAL_ERROR, "evidence could not be written")
        };
        let envelope = Statement::sign(claim, witness, signer).map_err(unwritten)?;
        let text = serde_json::to_string(&envelope).map_err(unwritten)?;
        let event = Event::now(EventKind::Evidence {
            kind: kind.as_str(),
            commit: commit.as_str().to_owned(),
            passed,
            envelope,
        });
        let event = event
            .developer(developer)
            .upstream(&upstream.name)
            .stage(stage)
            .client(visitor.address);
        events.record(event).await?;
        // What is handed out is on record: a gate may be asked the next moment.
        events.written().await?;
        Ok(text)
    }
}

impl ProxyDirectory {
    fn named(
        &self,
        developer: &str,
        upstream: Option<&str>,
        name: &str,
    ) -> Result<Arc<Sandbox>, Refusal> {
        let found: Vec<_> = self
            .sandboxes_of(developer)
            .into_iter()
            .filter(|sandbox| {
                sandbox.key.name == name && upstream.is_none_or(|u| u == sandbox.key.upstream)
            })
            .collect();
        match found.as_slice() {
            [sandbox] => Ok(sandbox.clone()),
            [] => Err(
                Refusal::error(SqlState("42704"), format!("you have no sandbox \"{name}\""))
                    .hint("SHOW SANDBOXES lists yours; one begins with its first statement"),
            ),
            several => {
                let upstreams: Vec<_> = several.iter().map(|s| s.key.upstream.as_str()).collect();
                Err(Refusal::error(
                    SqlState("42725"),
                    format!(
                        "there are several sandboxes \"{name}\": on {}",
                        upstreams.join(", ")
                    ),
                )
                .hint("Name the upstream: name ON upstream"))
            }
        }
    }
}

fn state(summary: &Summary) -> SandboxState {
    match (summary.idle, summary.holder) {
        (None, _) => SandboxState::Active,
        (Some(_), Some(_)) => SandboxState::IdleInTransaction,
        (Some(_), None) => SandboxState::Idle,
    }
}

fn wall_clock(instant: Instant) -> SystemTime {
    SystemTime::now()
        .checked_sub(instant.elapsed())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
