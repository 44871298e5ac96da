//! A proxy in front of a test database, in this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use devinprod::audit::{AuditSettings, Event, Events, Log, Sink};
use devinprod::config::Config;
use devinprod::policy::Policy;
use devinprod::seal::{self, Names, SealOptions};
use devinprod::server::Server;
use devinprod::wire::verifier::Verifier;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::TestDatabase;

/// What a test may set; the rest is as a user would find it.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Whether the database is sealed first. Without it the proxy uses the guard of unsealed upstreams.
    pub sealed: bool,
    /// A policy, as a file of it has it: what developers may see of the sealed database.
    pub policy: Option<String>,
    /// `sandbox`, `read_only` or `none`.
    pub isolation: &'static str,
    /// Lines for the section `[sandbox]`.
    pub sandbox: &'static str,
    /// Lines for the section `[limits]`.
    pub limits: &'static str,
    /// The folder of a log to begin. Without it, `Proxy::events` has what happened.
    pub log: Option<PathBuf>,
    /// Whether its web page is served.
    pub page: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            sealed: true,
            policy: None,
            isolation: "sandbox",
            sandbox: "",
            limits: "",
            log: None,
            page: false,
        }
    }
}

/// A running proxy, with the developers `dev1` and `dev2`, whose password is `secret`. It stops when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    /// Its web page, if it is served: `http://127.0.0.1:4711/`.
    pub page: Option<String>,
    /// The database behind it.
    pub database: TestDatabase,
    /// The server itself.
    pub server: Server,
    events: Kept,
    _stop: DropGuard,
}

impl Proxy {
    /// The URL for `dev1`'s default sandbox.
    pub fn url(&self) -> String {
        self.url_for("dev1")
    }

    /// The URL for a user such as `dev2` or `dev1+feature-x`.
    pub fn url_for(&self, user: &str) -> String {
        format!("postgres://{user}:secret@127.0.0.1:{}/app", self.port)
    }

    /// What happened so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.0.lock().unwrap().clone()
    }
}

/// A fresh database behind a proxy, sealed.
pub async fn proxy() -> Proxy {
    proxy_with(super::database().await, Setup::default()).await
}

/// A proxy in front of this database.
pub async fn proxy_with(database: TestDatabase, setup: Setup) -> Proxy {
    let (url, prefix) = if setup.sealed {
        let prefix = format!("{}_", database.name);
        let password = seal_database_with(&database, &prefix, setup.policy.as_deref()).await;
        (
            database.url_as(&format!("{prefix}proxy"), &password),
            prefix,
        )
    } else {
        (database.url.clone(), "devinprod_".to_owned())
    };
    let verifier = Verifier::from_password("secret", 4096);
    // The proxy reads the policy, too: it says whose sandboxes are of which set of exceptions.
    let files = tempfile::tempdir().unwrap();
    let policy = setup.policy.as_ref().map(|policy| {
        let path = files.path().join("policy.toml");
        std::fs::write(&path, policy).unwrap();
        format!("policy = [{path:?}]\n")
    });
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n{}\
         [[upstream]]\nname = \"app\"\nurl = \"{url}?sslmode=disable\"\nstage = \"test\"\nsealed = {}\n\
         isolation = \"{}\"\n{}{}developers = [\"dev1\", \"dev2\"]\n\
         [[developer]]\nname = \"dev1\"\npassword = \"{verifier}\"\n\
         [[developer]]\nname = \"dev2\"\npassword = \"{verifier}\"\n\
         [sandbox]\n{}\n[limits]\n{}\n",
        if setup.page {
            "[page]\naddress = \"127.0.0.1:0\"\n"
        } else {
            ""
        },
        setup.sealed,
        setup.isolation,
        if setup.sealed {
            format!("role_prefix = \"{prefix}\"\n")
        } else {
            String::new()
        },
        policy.unwrap_or_default(),
        setup.sandbox,
        setup.limits,
    );
    let empty: BTreeMap<String, String> = BTreeMap::new();
    let loaded = Config::parse(Path::new("test.toml"), &text, &|name| {
        empty.get(name).cloned()
    })
    .unwrap_or_else(|report| panic!("{report}"));
    let page = match &loaded.config.page {
        Some(page) => Some(page.bind().await.unwrap()),
        None => None,
    };
    let kept = Kept::default();
    let (events, _writer) = match &setup.log {
        Some(folder) => {
            Events::start_with(Log::open(&AuditSettings::in_folder(folder)).unwrap(), true)
        }
        None => Events::start(kept.clone()),
    };
    let server = Server::new(loaded.config, events);
    let wrong = server.check_seals().await;
    assert!(wrong.is_empty(), "{wrong:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let (running, stopped) = (server.clone(), stop.clone());
    tokio::spawn(async move { running.run(listener, stopped.cancelled_owned()).await });
    let page = page.map(|(listener, url)| {
        let server = server.clone();
        tokio::spawn(async move { server.run_page(listener).await });
        url
    });
    Proxy {
        port,
        page,
        database,
        server,
        events: kept,
        _stop: stop.drop_guard(),
    }
}

/// Seals the database with roles of its own, and returns the proxy role's password.
pub async fn seal_database(database: &TestDatabase, prefix: &str) -> String {
    seal_database_with(database, prefix, None).await
}

/// Seals the database with roles of its own and, if there is one, a policy; returns the proxy role's password.
pub async fn seal_database_with(
    database: &TestDatabase,
    prefix: &str,
    policy: Option<&str>,
) -> String {
    // Roles belong to the whole cluster: two setups at once would touch the same rows of its catalogs.
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = ONE.lock().await;
    let password = "proxysecret";
    let options = SealOptions {
        pairs: 8,
        names: Names::with_prefix(prefix).unwrap(),
        proxy_verifier: Some(Verifier::from_password(password, 4096).to_string()),
        policy: policy.map(|text| {
            Policy::from_text(Path::new("policies/test.toml"), text)
                .unwrap_or_else(|wrong| panic!("{wrong}"))
        }),
        ..SealOptions::default()
    };
    let client = database.connect().await;
    let survey = seal::survey(&client, &options.names).await.unwrap();
    let plan = seal::plan(&survey, &options).unwrap_or_else(|error| panic!("{error}"));
    seal::apply(&client, &plan)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    password.to_owned()
}

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Event>>>);

impl Sink for Kept {
    fn write(&mut self, events: &[Event]) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
}
