//! One connection from its first byte to where it is served.

use super::{CancelHandle, CancelTarget, Shared, passthrough};
use crate::audit::EventKind;
use crate::config::{Config, Upstream};
use crate::console::{self, Visitor};
use crate::error::{Refusal, SqlState};
use crate::sandbox::machine::ClientId;
use crate::sandbox::settings::Isolation;
use crate::session::{self, Client, Login};
use crate::wire::authenticate::authenticate;
use crate::wire::options::split_options;
use crate::wire::startup::{
    self, ClientStream, Limits, Negotiated, Startup, StartupError, negotiate,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// The setting that names a sandbox.
const SANDBOX: &str = "devinprod.sandbox";

/// Serves one connection to its end.
pub(super) async fn handle(shared: Arc<Shared>, tcp: TcpStream, peer: SocketAddr) {
    let config = shared.config();
    let limits = Limits {
        time: config.limits.startup_timeout,
    };
    match negotiate(tcp, config.listen.tls.as_ref(), limits).await {
        Ok(Negotiated::Cancel {
            stream,
            process,
            secret,
        }) => {
            shared.cancel(process, &secret).await;
            drop(stream);
        }
        Ok(Negotiated::Startup(mut stream, startup)) => {
            let Ok(_place) = shared.clients.clone().try_acquire_owned() else {
                let _ = startup::refuse(&mut stream, &too_many()).await;
                return;
            };
            log_in(shared, config, stream, startup, peer).await;
        }
        Err(error) => tracing::debug!(%peer, %error, "no session"),
    }
}

async fn log_in(
    shared: Arc<Shared>,
    config: Arc<Config>,
    mut stream: ClientStream,
    startup: Startup,
    peer: SocketAddr,
) {
    let (developer, sandbox) = match startup.user.split_once('+') {
        Some((developer, sandbox)) => (developer.to_owned(), Some(sandbox.to_owned())),
        None => (startup.user.clone(), None),
    };
    if !stream.is_tls() && !config.listen.accepts_plaintext_from(peer.ip()) {
        let refusal = Refusal::fatal(
            SqlState::INVALID_AUTHORIZATION,
            "this proxy takes connections from other machines only with TLS",
        )
        .hint("Connect with sslmode=require");
        let _ = startup::refuse(&mut stream, &refusal).await;
        return;
    }
    let verifier = config
        .developers
        .get(&developer)
        .map(|developer| &developer.verifier);
    match authenticate(&mut stream, &startup, verifier, &shared.mock).await {
        Ok(()) => {}
        Err(error) => {
            if matches!(error, StartupError::Refused(_)) {
                shared.report_from(peer, &developer, EventKind::AuthenticationFailed);
            }
            return;
        }
    }
    if let Err(refusal) = shared.context.events.health() {
        return refuse(&shared, &mut stream, peer, &developer, refusal).await;
    }
    if startup.database == console::DATABASE {
        let visitor = Visitor {
            developer,
            address: peer,
        };
        let directory = Arc::new(super::ProxyDirectory::new(shared.clone()));
        // Without an upstream, a record is about the proxy itself, as the console is.
        shared.report_from(peer, &visitor.developer, EventKind::ClientConnected);
        let developer = visitor.developer.clone();
        if let Err(error) = console::serve(stream, visitor, directory).await {
            tracing::debug!(%peer, %error, "a console ended");
        }
        shared.report_from(peer, &developer, EventKind::ClientDisconnected);
        return;
    }
    let upstream = match config.upstream_for(&developer, &startup.database) {
        Ok(upstream) => upstream.clone(),
        Err(refusal) => return refuse(&shared, &mut stream, peer, &developer, refusal).await,
    };
    let login = settings(&startup, sandbox)
        .and_then(|settings| login(&config, &developer, &upstream, settings, peer));
    let login = match login {
        Ok(login) => login,
        Err(refusal) => return refuse(&shared, &mut stream, peer, &developer, refusal).await,
    };
    serve(shared, config, stream, startup, upstream, login).await;
}

async fn refuse(
    shared: &Shared,
    stream: &mut ClientStream,
    peer: SocketAddr,
    developer: &str,
    refusal: Refusal,
) {
    let kind = EventKind::Refused {
        sqlstate: refusal.sqlstate.0.to_owned(),
        message: refusal.message.clone(),
    };
    shared.report_from(peer, developer, kind);
    let _ = startup::refuse(stream, &refusal).await;
}

pub(super) fn too_many() -> Refusal {
    Refusal::fatal(
        SqlState::TOO_MANY_CONNECTIONS,
        "sorry, too many clients already",
    )
    .hint("See limits.max_clients of the proxy: it says how many there may be")
}

/// The settings of a startup message, by lower-case name; a sandbox of the user's name among them, unless there is one of its own.
fn settings(
    startup: &Startup,
    sandbox: Option<String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut settings = BTreeMap::new();
    if let Some(name) = sandbox {
        settings.insert(SANDBOX.to_owned(), name);
    }
    if let Some(options) = startup.parameter("options") {
        for (name, value) in split_options(options)? {
            settings.insert(name.to_lowercase(), value);
        }
    }
    for (name, value) in &startup.parameters {
        if name != "options" {
            settings.insert(name.to_lowercase(), value.clone());
        }
    }
    Ok(settings)
}

/// Settings as a login: which sandbox, and what is left of them.
pub(super) fn login(
    config: &Config,
    developer: &str,
    upstream: &Upstream,
    mut settings: BTreeMap<String, String>,
    peer: SocketAddr,
) -> Result<Login, Refusal> {
    let private = match settings.remove("devinprod.isolation").as_deref() {
        None | Some("sandbox") => false,
        Some("connection") => true,
        Some(other) => {
            return Err(Refusal::fatal(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"devinprod.isolation\": \"{other}\""),
            )
            .hint(
                "connection gives the connection a sandbox of its own; without it, it shares one",
            ));
        }
    };
    let named = settings.remove(SANDBOX);
    if let Some(name) = &named {
        check_sandbox_name(name)?;
    }
    if let Some(name) = settings.keys().find(|name| name.starts_with("devinprod.")) {
        return Err(Refusal::fatal(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("unrecognized configuration parameter \"{name}\""),
        ));
    }
    if settings
        .get("standard_conforming_strings")
        .is_some_and(|v| v != "on")
    {
        return Err(Refusal::fatal(
            SqlState::FEATURE_NOT_SUPPORTED,
            "standard_conforming_strings cannot be turned off through devinprod",
        ));
    }
    Ok(Login {
        developer: developer.to_owned(),
        groups: config
            .developers
            .get(developer)
            .map(|developer| developer.groups.clone())
            .unwrap_or_default(),
        upstream: upstream.name.clone(),
        stage: upstream.stage,
        records_values: upstream
            .policy
            .as_ref()
            .is_some_and(|policy| policy.records_values(upstream.stage)),
        sandbox: if private {
            None
        } else {
            Some(named.unwrap_or_else(|| "default".to_owned()))
        },
        settings,
        address: peer,
        process: 0,
    })
}

fn check_sandbox_name(name: &str) -> Result<(), Refusal> {
    let fine = !name.is_empty()
        && name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
    if fine {
        return Ok(());
    }
    Err(
        Refusal::fatal(SqlState::INVALID_PARAMETER_VALUE, "invalid sandbox name")
            .detail("A sandbox's name has 1 to 63 letters, digits, and the characters - _ . /"),
    )
}

async fn serve(
    shared: Arc<Shared>,
    config: Arc<Config>,
    stream: ClientStream,
    startup: Startup,
    upstream: Arc<Upstream>,
    mut login: Login,
) {
    let id = shared.next_client.fetch_add(1, Ordering::Relaxed);
    login.process = process_of(id);
    let process = login.process;
    if upstream.isolation == Isolation::None {
        let registered = |target| register(&shared, process, Vec::new(), target);
        let context = &shared.context;
        context.client_event(&login, EventKind::ClientConnected);
        let limit = config.limits.max_message_size;
        passthrough::serve(
            stream, &upstream, &startup, &login, context, limit, registered,
        )
        .await;
        context.client_event(&login, EventKind::ClientDisconnected);
    } else {
        let secret: [u8; 4] = rand::random();
        let cancelled = Arc::new(Notify::new());
        let target = CancelTarget::Sandbox {
            client: id,
            cancelled: cancelled.clone(),
        };
        register(&shared, process, secret.to_vec(), target);
        let client = Client::new(Box::new(stream), config.limits.max_message_size);
        session::serve(
            client,
            login,
            shared.context.clone(),
            id,
            &secret,
            cancelled,
        )
        .await;
    }
    shared
        .cancels
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&process);
}

/// The process id that a client is told. Spread out, so that they look like process ids and not like a counter; unique for 2^30 clients.
pub(super) fn process_of(id: ClientId) -> i32 {
    1 + (id.wrapping_mul(7919) % 0x3fff_ffff) as i32
}

fn register(shared: &Shared, process: i32, secret: Vec<u8>, target: CancelTarget) {
    let (process, secret) = match &target {
        CancelTarget::Upstream {
            process, secret, ..
        } => (*process, secret.clone()),
        CancelTarget::Sandbox { .. } => (process, secret),
    };
    shared
        .cancels
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(process, CancelHandle { secret, target });
}
