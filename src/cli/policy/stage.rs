//! A proxy in this process, in front of a sealed database, to try things as a developer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use rand::distr::{Alphanumeric, SampleString};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::audit::{Events, Nowhere, Writer};
use crate::cli::Failure;
use crate::config::Config;
use crate::policy::Policy;
use crate::seal::Names;
use crate::server::Server;
use crate::upstream::admin::admin;
use crate::wire::verifier::Verifier;

/// Rounds of a password that lives for seconds and never leaves this machine.
const ROUNDS: u32 = 1;

/// A developer on the stage: their name, and their groups without an @.
pub(super) type Player = (String, BTreeSet<String>);

/// A running proxy.
pub(super) struct Stage {
    address: SocketAddr,
    database: String,
    password: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    writer: Writer,
}

impl Stage {
    /// Begins to serve the database at `url`, whose seal's roles have these names, to `players`; their sets of exceptions are those of `policy`.
    pub(super) async fn open(
        url: &str,
        names: &Names,
        policy: &Policy,
        players: &BTreeSet<Player>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot find a free port")?;
        let address = listener.local_addr()?;
        let database = policy.upstream().unwrap_or("database").to_owned();
        let password = Alphanumeric.sample_string(&mut rand::rng(), 32);
        let text = configuration(address, &database, url, names, policy, players, &password)?;
        let loaded = Config::parse(&PathBuf::from("/policy.toml"), &text, &|_| None)?;
        let (events, writer) = Events::start(Nowhere);
        let server = Server::new(loaded.config, events);
        if let Some((_, what)) = server.check_seals().await.into_iter().next() {
            return Err(Failure::new(
                format!("the seal does not hold: {what}"),
                "run `devinprod setup --policy` on it first",
            )
            .into());
        }
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async {
                // A sender that is gone means stop as well.
                let _ = stopped.await;
            };
            server.run(listener, stopped).await
        });
        Ok(Self {
            address,
            database,
            password,
            stop,
            served,
            writer,
        })
    }

    /// A connection as one of the players.
    pub(super) async fn connect(&self, developer: &str) -> anyhow::Result<Client> {
        let (address, password, database) = (self.address, &self.password, &self.database);
        let mut url = url::Url::parse(&format!("postgres://{address}/?sslmode=disable"))?;
        url.set_path(database);
        let _ = url.set_username(developer);
        let _ = url.set_password(Some(password));
        admin(&url.as_str().parse()?)
            .await
            .map_err(|error| anyhow::anyhow!("{developer} cannot connect: {error}"))
    }

    /// Ends it: sandboxes are rolled back.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        // It has ended already if nobody listens.
        let _ = self.stop.send(());
        self.served.await??;
        self.writer.finished().await;
        Ok(())
    }
}

fn configuration(
    address: SocketAddr,
    database: &str,
    url: &str,
    names: &Names,
    policy: &Policy,
    players: &BTreeSet<Player>,
    password: &str,
) -> anyhow::Result<String> {
    let mut groups: BTreeMap<&String, &BTreeSet<String>> = BTreeMap::new();
    for (name, own) in players {
        if groups.insert(name, own).is_some_and(|before| before != own) {
            return Err(Failure::new(
                format!("{name} has different groups in two cases"),
                "use another name in one of them",
            )
            .into());
        }
    }
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let list = |texts: &mut dyn Iterator<Item = String>| {
        let texts: Vec<String> = texts.map(|text| quoted(&text)).collect();
        format!("[{}]", texts.join(", "))
    };
    let mut text = format!(
        "[listen]\naddress = \"{address}\"\n[[upstream]]\nname = {}\nurl = {}\nstage = \"preprod\"\nrole_prefix = {}\ndevelopers = {}\n",
        quoted(database),
        quoted(url),
        quoted(names.prefix()),
        list(&mut groups.keys().map(|name| (*name).clone()))
    );
    let mut files = Vec::new();
    for file in policy.files() {
        files.push(file.path.canonicalize()?.display().to_string());
    }
    text.push_str(&format!("policy = {}\n", list(&mut files.into_iter())));
    let verifier = Verifier::from_password(password, ROUNDS);
    for (name, own) in groups {
        text.push_str(&format!(
            "[[developer]]\nname = {}\npassword = \"{verifier}\"\ngroups = {}\n",
            quoted(name),
            list(&mut own.iter().cloned())
        ));
    }
    Ok(text)
}
