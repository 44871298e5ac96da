//! Connections of the proxy to itself, as a developer who is logged in already: what the console and the page show of data is read
//! like everything else that this developer reads, by a session with its masks, its budgets and its place on the record.

use super::client::{login, process_of, too_many};
use super::{ProxyDirectory, Shared};
use crate::changeset::{self, Event, Options, Summary};
use crate::console::{Listener, Visitor};
use crate::error::{Refusal, SqlState};
use crate::session::{self, Client};
use crate::wire::bounded::Bounded;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_postgres::NoTls;

/// How long a changeset may take to be read, since somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most steps of a changeset, pages to look at and rows to read: what is kept in memory of each is at most a few hundred bytes.
const STEPS: u64 = 1_000_000;

/// The largest row, in bytes: the driver reads them whole.
const LARGEST: u32 = 8 << 20;

/// What lies in the pipe of a connection, in bytes.
const PIPE: usize = 64 << 10;

/// AuthenticationOk: the session behind it says the rest.
const AUTHENTICATION_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";

impl ProxyDirectory {
    /// See [`crate::console::Directory::changeset`].
    pub(super) async fn read_changeset(
        &self,
        visitor: &Visitor,
        upstream: &str,
        name: &str,
        tell: Listener<'_>,
    ) -> Result<Summary, Refusal> {
        let shared = &self.shared;
        let _turn = Turn::take(shared, &visitor.developer)?;
        let places = shared.clients.clone().try_acquire_many_owned(2);
        let _places: OwnedSemaphorePermit = places.map_err(|_| too_many())?;
        let oversized = Arc::new(AtomicBool::new(false));
        let mut too_many = false;
        let mut tell = |event: Event<'_>| match event {
            Event::Progress { total, .. } if total > STEPS => {
                too_many = true;
                ControlFlow::Break(())
            }
            event => tell(event),
        };
        let reading = async {
            let connect = |sandbox| shared.connect_as(visitor, upstream, sandbox, &oversized);
            let (inside, outside) = (connect(Some(name)).await?, connect(None).await?);
            let options = Options::default();
            changeset::read(&inside, &outside, &options, &mut tell)
                .await
                .map_err(|error| refusal(&error))
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        let large = if oversized.load(Ordering::Relaxed) {
            format!("a row that was changed has more than {} MB", LARGEST >> 20)
        } else if too_many {
            "the tables that were written to are too large to be looked through here".to_owned()
        } else {
            return read.map_err(|_| too_slow(name))?;
        };
        Err(Refusal::error(SqlState::PROGRAM_LIMIT_EXCEEDED, large)
            .hint(format!("`devinprod sandbox diff {name}` has no such limit")))
    }
}

fn too_slow(name: &str) -> Refusal {
    Refusal::error(
        SqlState::QUERY_CANCELED,
        format!("the changeset was not read within {} s", PATIENCE.as_secs()),
    )
    .hint(format!(
        "`devinprod sandbox diff {name}` has a --timeout, and --table for a part of it"
    ))
}

impl Shared {
    /// A connection of this developer to an upstream, in the sandbox of this name or in one of its own. It ends when the client is dropped.
    async fn connect_as(
        self: &Arc<Self>,
        visitor: &Visitor,
        upstream: &str,
        sandbox: Option<&str>,
        oversized: &Arc<AtomicBool>,
    ) -> Result<tokio_postgres::Client, Refusal> {
        self.context.events.health()?;
        let config = self.config();
        let developer = &visitor.developer;
        let upstream = config.upstream_for(developer, upstream)?;
        let (name, value) = match sandbox {
            Some(name) => ("devinprod.sandbox", name),
            None => ("devinprod.isolation", "connection"),
        };
        let settings = BTreeMap::from([
            ("application_name".to_owned(), "devinprod".to_owned()),
            (name.to_owned(), value.to_owned()),
        ]);
        let mut login = login(&config, developer, upstream, settings, visitor.address)?;
        let id = self.next_client.fetch_add(1, Ordering::Relaxed);
        login.process = process_of(id);
        let (near, far) = tokio::io::duplex(PIPE);
        let (context, limit) = (self.context.clone(), config.limits.max_message_size);
        tokio::spawn(async move {
            let Ok(far) = let_in(far).await else { return };
            let client = Client::new(Box::new(far), limit);
            // Nobody cancels it: it is given up.
            let cancelled = Arc::new(Notify::new());
            session::serve(client, login, context, id, &[0; 4], cancelled).await;
        });
        let mut settings = tokio_postgres::Config::new();
        settings.user(developer).dbname(&upstream.name);
        let (client, mut connection) = settings
            .connect_raw(Bounded::new(near, LARGEST), NoTls)
            .await
            .map_err(|error| told(&error, format!("cannot connect to {}", upstream.name)))?;
        let oversized = oversized.clone();
        tokio::spawn(async move {
            // By reference: who waits for an answer learns that there is none when it is dropped, and then looks here.
            if let Err(error) = (&mut connection).await
                && is_oversized(&error)
            {
                oversized.store(true, Ordering::Relaxed);
            }
        });
        Ok(client)
    }
}

/// Is it what [`Bounded`] says?
fn is_oversized(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}

/// Reads the startup message, of which all is known, and tells the driver that it is logged in.
async fn let_in(mut far: DuplexStream) -> io::Result<DuplexStream> {
    let length = far.read_u32().await?.saturating_sub(4);
    let mut rest = (&mut far).take(u64::from(length));
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    far.write_all(AUTHENTICATION_OK).await?;
    Ok(far)
}

fn refusal(error: &changeset::Error) -> Refusal {
    let mut refusal = match error {
        changeset::Error::Database { source, .. } => told(source, error.to_string()),
        changeset::Error::NotSealed => Refusal::error(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            error.to_string(),
        ),
        changeset::Error::Strange(_) => Refusal::error(SqlState::INTERNAL_ERROR, error.to_string()),
    };
    refusal.hint = error.hint().or(refusal.hint);
    refusal
}

/// What a session told the driver, as it would have told any client.
fn told(error: &tokio_postgres::Error, otherwise: String) -> Refusal {
    let Some(told) = error.as_db_error() else {
        return Refusal::error(SqlState::CONNECTION_FAILURE, otherwise);
    };
    let known = [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::CONFIGURATION_LIMIT_EXCEEDED,
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::INVALID_PARAMETER_VALUE,
    ];
    let sqlstate = known
        .into_iter()
        .find(|known| known.0 == told.code().code())
        .unwrap_or(SqlState::INTERNAL_ERROR);
    let mut refusal = Refusal::error(sqlstate, told.message());
    refusal.detail = told.detail().map(str::to_owned);
    refusal.hint = told.hint().map(str::to_owned);
    refusal
}

/// A developer's turn: one changeset at a time, as each takes a role of the upstream and the floor of a sandbox.
struct Turn {
    shared: Arc<Shared>,
    developer: String,
}

impl Turn {
    fn take(shared: &Arc<Shared>, developer: &str) -> Result<Self, Refusal> {
        let mut reading = shared
            .reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !reading.insert(developer.to_owned()) {
            return Err(Refusal::error(
                SqlState::LOCK_NOT_AVAILABLE,
                "another changeset of yours is being read",
            )
            .hint("Try again when it is done"));
        }
        Ok(Self {
            shared: shared.clone(),
            developer: developer.to_owned(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut reading = self
            .shared
            .reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        reading.remove(&self.developer);
    }
}
