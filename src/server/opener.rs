//! Connections to one upstream: for sandboxes, as leased developer roles; and the keeper, the proxy's own
//! side connection, which leases roles and sees who waits for whom.

use crate::config::Upstream;
use crate::error::{Refusal, SqlState};
use crate::sandbox::registry::{Blocking, Opened, Opener};
use crate::sandbox::settings::{Isolation, SandboxSettings, Seal};
use crate::seal::doctor::{self, Verdict};
use crate::seal::{self, Gravity, Lease};
use crate::upstream::address::Password;
use crate::upstream::admin::{admin, admin_as};
use crate::upstream::command::Flavor;
use crate::upstream::connect::{self, ConnectError};
use crate::upstream::link::Link;
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The longest that the keeper waits for an answer.
const KEEPER: Duration = Duration::from_secs(10);

/// What a standby answers to a write: read_only_sql_transaction.
const READ_ONLY_TRANSACTION: &str = "25006";

/// See the [module](self).
#[derive(Debug)]
pub struct UpstreamOpener {
    upstream: Arc<Upstream>,
    keeper: tokio::sync::Mutex<Option<Arc<tokio_postgres::Client>>>,
    sealed: tokio::sync::OnceCell<()>,
    /// What a later look found wrong with the seal.
    opened: Mutex<Option<Refusal>>,
    /// The developer role that attacked the seal: the first sandbox takes it over.
    spare: Mutex<Option<Spare>>,
    secrets: Arc<Mutex<HashMap<i32, Vec<u8>>>>,
}

/// A leased role, and a connection as it: as long as there is one, nobody else gets the role.
#[derive(Debug)]
struct Spare {
    lease: Lease,
    connection: tokio_postgres::Client,
}

/// Gives up what belongs to a backend when its connection does.
struct Held {
    process: i32,
    secrets: Arc<Mutex<HashMap<i32, Vec<u8>>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.process);
    }
}

impl UpstreamOpener {
    /// For one upstream of the configuration.
    pub fn new(upstream: Arc<Upstream>) -> Self {
        Self {
            upstream,
            keeper: tokio::sync::Mutex::default(),
            sealed: tokio::sync::OnceCell::new(),
            opened: Mutex::default(),
            spare: Mutex::default(),
            secrets: Arc::default(),
        }
    }

    /// Whether a reloaded configuration still means the same database, reached the same way.
    pub fn serves(&self, upstream: &Upstream) -> bool {
        self.upstream.address == upstream.address
            && self.upstream.isolation == upstream.isolation
            && self.upstream.names == upstream.names
            && self.upstream.sandbox == upstream.sandbox
            && self.upstream.sets == upstream.sets
    }

    /// Whether the seal that should be there is there, whole, and holds when it is attacked; the first to ask waits for
    /// both.
    pub async fn check_seal(&self) -> Result<(), Refusal> {
        if !self.is_sealed() {
            return Ok(());
        }
        self.sealed.get_or_try_init(|| self.examine()).await?;
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.clone().map_or(Ok(()), Err)
    }

    /// Looks again at the seal of an upstream that has been used. `Some(Err)` when it is open now and was whole before,
    /// `Some(Ok)` when it is whole again.
    pub async fn look_again(&self) -> Option<Result<(), Refusal>> {
        if !self.is_sealed() || !self.sealed.initialized() {
            return None;
        }
        // Nobody came for it.
        drop(self.take_spare());
        let found = self.verify().await.err();
        if let Some(refusal) = &found
            && refusal.sqlstate != SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
        {
            // Who cannot be asked has said nothing.
            return None;
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = opened.is_some();
        opened.clone_from(&found);
        match found {
            Some(refusal) if !was_open => Some(Err(refusal)),
            None if was_open => Some(Ok(())),
            _ => None,
        }
    }

    /// What is done once, before anybody uses the upstream.
    async fn examine(&self) -> Result<(), Refusal> {
        self.verify().await?;
        let address = &self.upstream.address;
        let names = &self.upstream.names;
        let unreachable = |error| self.unreachable(&error);
        let attack = async |developer: &tokio_postgres::Client, role: &str, may_arm| {
            self.in_time(doctor::quick(developer, names, role, may_arm))
                .await?
                .map_err(|error| self.seal_refusal(&error))
        };
        let promises = if self.cannot_lease() {
            let developer = admin(address).await.map_err(unreachable)?;
            attack(&developer, &address.user, false).await?
        } else {
            let keeper = self.keeper().await?;
            let lease = self.lease(&keeper, None).await?;
            let connection = admin_as(address, &lease.role, &lease.password)
                .await
                .map_err(unreachable)?;
            let promises = attack(&connection, &lease.role, true).await?;
            *self.spare.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Spare { lease, connection });
            promises
        };
        let broken = promises
            .into_iter()
            .find(|promise| promise.verdict == Verdict::Broken);
        match broken {
            Some(promise) => {
                drop(self.take_spare());
                Err(self.open_seal(format!(
                    "an attack succeeded against \"{}\" ({})",
                    promise.text, promise.seen
                )))
            }
            None => Ok(()),
        }
    }

    fn take_spare(&self) -> Option<Spare> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.take().filter(|spare| !spare.connection.is_closed())
    }

    /// A hot standby cannot lease: that is a write. Its url names a member of the readers' group.
    fn cannot_lease(&self) -> bool {
        matches!(self.upstream.isolation, Isolation::ReadOnly(Seal::Sealed))
            && self.upstream.address.user != self.upstream.names.proxy()
    }

    async fn lease(
        &self,
        keeper: &tokio_postgres::Client,
        set: Option<&str>,
    ) -> Result<Lease, Refusal> {
        self.in_time(seal::lease_of(keeper, set))
            .await?
            .map_err(|error| self.seal_refusal(&error))
    }

    async fn verify(&self) -> Result<(), Refusal> {
        // A connection of its own: the look is a transaction, which nobody else's statement may get into.
        let keeper = admin(&self.upstream.address)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let findings = self
            .in_time(seal::verify(&keeper, &self.upstream.names))
            .await?
            .map_err(|error| self.seal_refusal(&error))?;
        match findings
            .into_iter()
            .find(|finding| finding.gravity == Gravity::Hole)
        {
            Some(hole) => Err(self.open_seal(hole.what)),
            None => Ok(()),
        }
    }

    fn open_seal(&self, what: String) -> Refusal {
        Refusal::error(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "the upstream {} is not safely sealed: {what}",
                self.upstream.name
            ),
        )
        .hint("Run devinprod setup on it; devinprod doctor says more")
    }

    fn is_sealed(&self) -> bool {
        matches!(
            self.upstream.isolation,
            Isolation::Sandbox(Seal::Sealed) | Isolation::ReadOnly(Seal::Sealed)
        )
    }

    /// A connection as the proxy's own role, made again when it broke.
    pub async fn keeper(&self) -> Result<Arc<tokio_postgres::Client>, Refusal> {
        let mut keeper = self.keeper.lock().await;
        if let Some(client) = keeper.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let client = admin(&self.upstream.address)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let client = Arc::new(client);
        *keeper = Some(client.clone());
        Ok(client)
    }

    /// Sends a cancel request with a key that is not in this opener's own list.
    pub async fn cancel_backend(&self, process: i32, secret: &[u8]) {
        let result = connect::cancel(
            &self.upstream.address,
            process,
            secret,
            Duration::from_secs(5),
        )
        .await;
        if let Err(error) = result {
            tracing::warn!(upstream = %self.upstream.name, %error, "a cancel request could not be passed on");
        }
    }

    /// Waits for an answer to the keeper, but not for ever; a keeper that does not answer is given up.
    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Result<T, Refusal> {
        match tokio::time::timeout(KEEPER, answer).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                *self.keeper.lock().await = None;
                Err(self.unreachable(&ConnectError::TimedOut))
            }
        }
    }

    fn unreachable(&self, error: &ConnectError) -> Refusal {
        let name = &self.upstream.name;
        match error {
            // The server's own words, which name no secret.
            ConnectError::Refused { sqlstate, message } if sqlstate.starts_with("53") => {
                Refusal::error(
                    SqlState::TOO_MANY_CONNECTIONS,
                    format!("the upstream {name} takes no more connections: {message}"),
                )
                .hint("Try again when others have left")
            }
            ConnectError::Refused { sqlstate, message } => Refusal::error(
                SqlState::CANNOT_CONNECT_NOW,
                format!(
                    "the upstream {name} refused the proxy's connection: {message} ({sqlstate})"
                ),
            )
            .hint("Whoever runs the proxy should look at the upstream's url"),
            error => {
                tracing::warn!(upstream = %name, %error, "upstream not reachable");
                Refusal::error(
                    SqlState::CANNOT_CONNECT_NOW,
                    format!("the upstream {name} cannot be reached: {error}"),
                )
                .hint("Try again later, or ask whoever runs the proxy")
            }
        }
    }

    fn seal_refusal(&self, error: &seal::SealError) -> Refusal {
        match error {
            seal::SealError::AllLeased(_) => Refusal::error(
                SqlState::TOO_MANY_CONNECTIONS,
                format!("all developer roles of the upstream {} are in use", self.upstream.name),
            )
            .hint("End a sandbox that is no longer needed (RESET SANDBOX in the database devinprod), or run devinprod setup with more --pairs (--exception-pairs for those to whom a policy's exceptions apply)"),
            seal::SealError::NoSuchSet(set) => Refusal::error(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "the seal of the upstream {} has no roles for the set of exceptions {set:?}",
                    self.upstream.name
                ),
            )
            .detail("The proxy's policy has this set, and the policy that the upstream was sealed with did not")
            .hint("Whoever runs the proxy should run devinprod setup on the upstream with the policy as it is now"),
            seal::SealError::Postgres(error) if error.code().is_some_and(|code| code.code() == READ_ONLY_TRANSACTION) => Refusal::error(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("the upstream {} is a standby, on which no developer role can be leased", self.upstream.name),
            )
            .hint(format!(
                "Whoever runs the proxy should set isolation = \"read_only\" and let its url name a role that was made on the primary, a member of {}",
                self.upstream.names.readers()
            )),
            // A connection that broke says nothing about the seal.
            seal::SealError::Postgres(error) if is_lost(error) => self.unreachable(&ConnectError::Closed),
            error => self.open_seal(error.to_string()),
        }
    }
}

/// Whether the connection is gone, as opposed to a statement that failed: Postgres' classes 08 and 57P.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|error| {
        let code = error.code().code();
        code.starts_with("57P") || code.starts_with("08")
    })
}

#[async_trait]
impl Opener for UpstreamOpener {
    async fn open(&self, developer: &str) -> Result<Opened, Refusal> {
        let address = &self.upstream.address;
        // Kept until the sandbox has its own connection as that role.
        let mut spare = None;
        let (flavor, user, password) = match self.upstream.isolation {
            Isolation::ReadOnly(Seal::Sealed) if self.cannot_lease() => {
                self.check_seal().await?;
                (
                    Flavor::ReadOnly,
                    address.user.clone(),
                    address.password.clone(),
                )
            }
            Isolation::Sandbox(Seal::Sealed) | Isolation::ReadOnly(Seal::Sealed) => {
                self.check_seal().await?;
                let keeper = self.keeper().await?;
                let set = self.upstream.sets.get(developer).map(String::as_str);
                if set.is_none() {
                    spare = self.take_spare();
                }
                let lease = match &spare {
                    Some(spare) => spare.lease.clone(),
                    None => self.lease(&keeper, set).await?,
                };
                let flavor = match self.upstream.isolation {
                    Isolation::ReadOnly(_) => Flavor::ReadOnly,
                    _ => Flavor::Sealed,
                };
                (flavor, lease.role, Password::new(lease.password))
            }
            Isolation::Sandbox(Seal::Unsealed) => (
                Flavor::Guarded,
                address.user.clone(),
                address.password.clone(),
            ),
            Isolation::ReadOnly(Seal::Unsealed) => (
                Flavor::ReadOnly,
                address.user.clone(),
                address.password.clone(),
            ),
            Isolation::None => {
                return Err(Refusal::error(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("the upstream {} has no sandboxes", self.upstream.name),
                ));
            }
        };
        let lock_timeout = format!("{}ms", self.upstream.sandbox.lock_timeout.as_millis());
        let parameters = [
            ("application_name", "devinprod"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_read_only", "off"),
            ("default_transaction_deferrable", "off"),
            ("lock_timeout", &lock_timeout),
            ("statement_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("idle_session_timeout", "0"),
        ];
        let connection = connect::connect(
            address,
            &user,
            &password,
            &parameters,
            address.connect_timeout,
        )
        .await
        .map_err(|error| self.unreachable(&error))?;
        drop(spare);
        let process = connection.process;
        self.secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(process, connection.secret.clone());
        let parameters = connection.parameters.into_iter().collect();
        Ok(Opened {
            link: Link::new(
                Box::new(connection.stream),
                process,
                flavor,
                connection.read_ahead,
            ),
            parameters,
            lease: Box::new(Held {
                process,
                secrets: self.secrets.clone(),
            }),
            version: connection.server_version,
        })
    }

    fn settings(&self) -> SandboxSettings {
        self.upstream.sandbox.clone()
    }

    async fn cancel(&self, process: i32) {
        let secret = self
            .secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&process)
            .cloned();
        if let Some(secret) = secret {
            self.cancel_backend(process, &secret).await;
        }
    }

    async fn blocking(&self) -> Result<Vec<Blocking>, Refusal> {
        let keeper = self.keeper().await?;
        let rows = self
            .in_time(keeper.query_typed(
                "SELECT a.pid, coalesce(a.backend_type, ''), b.pid FROM pg_catalog.pg_stat_activity a, \
                 LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) AS b (pid) \
                 WHERE a.wait_event_type = 'Lock'",
                &[],
            ))
            .await?
            .map_err(|error| self.unreachable(&error.into()))?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                Some(Blocking {
                    blocked: row.try_get(0).ok()?,
                    backend_type: row.try_get(1).ok()?,
                    blocker: row.try_get(2).ok()?,
                })
            })
            .collect())
    }
}
