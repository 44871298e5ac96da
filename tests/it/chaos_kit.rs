//! What the tests of faults, lifecycles and chaos share: proxies with a configuration of their own, what is
//! seen of them from the upstream's side, and networks that misbehave.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use devinprod::audit::{Event, Events, Sink};
use devinprod::config::Config;
use devinprod::server::Server;
use devinprod::wire::verifier::Verifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::harness::wire::{Client, Message};
use super::harness::{self, Proxy, TestDatabase};

/// How long something may take that happens in the background.
const SOON: Duration = Duration::from_secs(15);

/// A proxy whose configuration the test wrote.
#[derive(Debug)]
pub struct Serving {
    /// Where it listens.
    pub port: u16,
    /// The server itself.
    pub server: Server,
    /// Stops it.
    pub stop: CancellationToken,
    /// Ready when it has stopped.
    pub running: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    _guard: DropGuard,
}

impl Serving {
    /// The URL of one of its databases for a user, with the password `secret`.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!(
            "postgres://{user}:secret@127.0.0.1:{}/{database}",
            self.port
        )
    }
}

/// A configuration from its text.
pub fn config(text: &str) -> Config {
    let empty: BTreeMap<String, String> = BTreeMap::new();
    Config::parse(Path::new("test.toml"), text, &|name| {
        empty.get(name).cloned()
    })
    .unwrap_or_else(|report| panic!("{report}"))
    .config
}

/// `[[developer]]` sections for these names, all with the password `secret`.
pub fn developers(names: &[&str]) -> String {
    let verifier = Verifier::from_password("secret", 4096);
    let section =
        |name: &&str| format!("[[developer]]\nname = \"{name}\"\npassword = \"{verifier}\"\n");
    names.iter().map(section).collect()
}

/// An `[[upstream]]` section for `dev1` over an unsealed database, with further lines.
pub fn unsealed_upstream(name: &str, url: &str, lines: &str) -> String {
    format!(
        "[[upstream]]\nname = \"{name}\"\nurl = \"{url}\"\nstage = \"test\"\nsealed = false\n\
         developers = [\"dev1\"]\n{lines}\n"
    )
}

/// Serves a configuration on a free port of the loopback.
pub async fn serve(text: &str) -> Serving {
    let (events, _writer) = Events::start(Nowhere);
    let server = Server::new(config(text), events);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let (serving, stopped) = (server.clone(), stop.clone());
    let running =
        tokio::spawn(async move { serving.run(listener, stopped.cancelled_owned()).await });
    Serving {
        port,
        server,
        stop: stop.clone(),
        running: Some(running),
        _guard: stop.drop_guard(),
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _: &[Event]) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits until the condition holds; fails with what was waited for.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < SOON, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Upstream backends that serve sandboxes of the database, as a superuser sees them.
pub async fn sandbox_backends(database: &TestDatabase) -> usize {
    let witness = database.connect().await;
    harness::scalar(
        &witness,
        &format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{0}' AND usename LIKE '{0}\\_%' \
             AND usename <> '{0}_proxy'",
            database.name
        ),
    )
    .await
    .parse()
    .unwrap()
}

/// The upstream process of a developer's sandbox, by the sandbox's name.
pub fn backend_of(proxy: &Proxy, developer: &str, name: &str) -> i32 {
    use devinprod::console::Directory;
    let rows = proxy.server.directory().sandboxes(developer);
    let row = rows
        .iter()
        .find(|row| row.name == name)
        .expect("the sandbox runs");
    row.backend_pid.expect("it has a backend")
}

/// Clients that are attached to a developer's sandboxes.
pub fn clients_of(proxy: &Proxy, developer: &str) -> usize {
    use devinprod::console::Directory;
    proxy.server.directory().clients(developer).len()
}

/// Does this from the console, as the developer.
pub async fn console(proxy: &Proxy, developer: &str, sql: &str) -> String {
    let url = format!(
        "postgres://{developer}:secret@127.0.0.1:{}/devinprod",
        proxy.port
    );
    Client::connect(&url).await.simple(sql).await
}

/// The SQLSTATE of the first error among the answers; "" if there was none.
pub fn sqlstate(answers: &[Message]) -> String {
    let error = answers.iter().find(|message| message.tag == b'E');
    error
        .and_then(|message| message.field(b'C'))
        .unwrap_or_default()
}

/// One Query and the SQLSTATE of its answer.
pub async fn state_of(client: &mut Client, sql: &str) -> String {
    sqlstate(&client.query(sql).run().await)
}

/// The first column of the first row of one Query.
pub async fn value(client: &mut Client, sql: &str) -> String {
    let answer = client.simple(sql).await;
    let row = answer
        .lines()
        .find_map(|line| line.strip_prefix("DataRow "));
    match row {
        Some(row) => row.trim_matches('"').to_owned(),
        None => panic!("no row: {}", answer.chars().take(300).collect::<String>()),
    }
}

/// The error with which a client was not let in.
pub async fn refused(url: &str, parameters: &[(&str, &str)]) -> String {
    match Client::try_connect(url, parameters).await {
        Ok(_) => "let in".to_owned(),
        Err(Some(message)) => message.line(),
        Err(None) => "hung up".to_owned(),
    }
}

/// A port in between that passes bytes on and counts those that come back.
#[derive(Debug, Clone)]
pub struct Forwarder {
    /// Where it listens.
    pub port: u16,
    /// Bytes that came from the target.
    pub returned: Arc<AtomicU64>,
}

impl Forwarder {
    /// In front of a port of the loopback. It lives as long as the test's runtime.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let returned = Arc::new(AtomicU64::new(0));
        let counter = returned.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let counter = counter.clone();
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else {
                        return;
                    };
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    let nobody = Arc::new(AtomicU64::new(0));
                    // Either end closes both, as the other side would see it.
                    tokio::select! {
                        () = carry(near_in, far_out, nobody) => {}
                        () = carry(far_in, near_out, counter) => {}
                    }
                });
            }
        });
        Self { port, returned }
    }

    /// Bytes that came from the target so far.
    pub fn returned(&self) -> u64 {
        self.returned.load(Ordering::Relaxed)
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    counter: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        counter.fetch_add(n as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}

/// A port that accepts connections and never says anything.
pub async fn silent_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    port
}

/// A port on which nobody listens.
pub async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
