//! The demo's proxy: the same server as `devinprod serve`, with a configuration made here.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::secrets::write_private;
use super::{DEVELOPER, DemoArgs, Failure, Secrets, USUAL_PORT, record, shop};
use crate::cli::audit::Audit;
use crate::cli::budget::Keeping;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::notify::{Notifier, Timing};
use crate::policy::Policy;
use crate::seal::{self, Names, SealOptions};
use crate::server::Server;
use crate::upstream::admin::admin;

/// Where the page is, if that is free.
const PAGE_PORT: u16 = 6480;

/// The configuration's name in the demo's folder.
const CONFIG: &str = "devinprod.toml";

/// Seals the shop, or completes its seal; nothing is done to a whole one.
pub(super) async fn seal(cluster: &Cluster, secrets: &Secrets) -> anyhow::Result<()> {
    let administrator = admin(&cluster.url(shop::DATABASE).parse()?).await?;
    let names = Names::default();
    let survey = seal::survey(&administrator, &names).await?;
    let login = upstream_url(cluster, secrets).parse()?;
    let options = SealOptions {
        // Set only if it does not work, so that a second start finds nothing to do.
        proxy_verifier: match admin(&login).await {
            Ok(_) => None,
            Err(_) => Some(secrets.proxy_verifier()),
        },
        names,
        policy: Some(Policy::from_text(
            Path::new(shop::POLICY_FILE),
            shop::POLICY,
        )?),
        ..SealOptions::default()
    };
    let plan = seal::plan(&survey, &options)?;
    Ok(seal::apply(&administrator, &plan).await?)
}

/// A running proxy.
pub(super) struct Proxy {
    /// The folder of the audit's log.
    pub(super) log: PathBuf,
    /// Its configuration, for the commands that ask a running proxy.
    pub(super) config: PathBuf,
    /// Where its web page is.
    pub(super) page: String,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    audit: Audit,
}

impl Proxy {
    /// Starts it; it accepts clients when this returns.
    pub(super) async fn start(
        args: &DemoArgs,
        cluster: &Cluster,
        secrets: &Secrets,
    ) -> anyhow::Result<Self> {
        let listener = listen(args.port).await?;
        let address = listener.local_addr()?;
        let path = args.dir.join(CONFIG);
        let page = usual_or_free(PAGE_PORT).await?;
        let page_address = page.local_addr()?;
        let config = config(&path, address, page_address, cluster, secrets)?;
        let log = config.audit.folder.clone();
        let notifier = Notifier::start(&config.notify, Timing::default());
        let audit = Audit::start(&config.audit, config.audit_sql.as_ref(), notifier)?;
        let events = audit.events.clone();
        let keeping = Keeping::open(&config, &events).await?;
        let server = Server::with_ledger(config, events.clone(), keeping.ledger.clone());
        let control = keeping.serve(&server, events);
        if let Some((_, what)) = server.check_seals().await.into_iter().next() {
            anyhow::bail!("the seal does not hold: {what}");
        }
        let paging = server.clone();
        tokio::spawn(async move { paging.run_page(page).await });
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async {
                // A sender that is gone means stop as well.
                let _ = stopped.await;
            };
            let served = server.run(listener, stopped).await;
            control.abort();
            served
        });
        Ok(Self {
            log,
            config: path,
            page: format!("http://{page_address}/"),
            address,
            stop,
            served,
            audit,
        })
    }

    /// The developer's URL of the shop.
    pub(super) fn url(&self, secrets: &Secrets) -> String {
        let (address, password, database) = (self.address, &secrets.developer, shop::DATABASE);
        format!("postgres://{DEVELOPER}:{password}@{address}/{database}")
    }

    /// Ends it: clients are told, sandboxes are rolled back, events are written.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        // It has ended already if nobody listens.
        let _ = self.stop.send(());
        self.served.await??;
        self.audit.finished().await;
        Ok(())
    }
}

async fn listen(port: Option<u16>) -> anyhow::Result<TcpListener> {
    match port {
        Some(port) => bind(port).await.map_err(|error| {
            Failure::new(
                format!("cannot listen on port {port}: {error}"),
                "choose another one with --port",
            )
            .into()
        }),
        None => usual_or_free(USUAL_PORT).await,
    }
}

async fn usual_or_free(port: u16) -> anyhow::Result<TcpListener> {
    match bind(port).await {
        Ok(listener) => Ok(listener),
        Err(_) => bind(0).await.context("cannot find a free port"),
    }
}

async fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

fn config(
    path: &Path,
    address: SocketAddr,
    page: SocketAddr,
    cluster: &Cluster,
    secrets: &Secrets,
) -> anyhow::Result<Config> {
    let text = format!(
        r#"# Written anew whenever the demo starts.

[listen]
address = "{address}"

[page]
address = "{page}"
comparisons = "comparisons"

[audit]
sql_url = "{sql}"

# The tour's commits are made up, so there is no work tree of them.
[gate]
stages = ["preprod", "prod"]
from = ["{DEVELOPER}"]
trees = ["clean", "changed", "other", "none"]

[gate.needs]
preprod = ["assert", "rehearse"]

[[upstream]]
name = "{database}"
url = "{url}"
stage = "preprod"
developers = ["{DEVELOPER}"]

[[developer]]
name = "{DEVELOPER}"
password = "{verifier}"
"#,
        database = shop::DATABASE,
        sql = record::url(cluster, secrets),
        url = upstream_url(cluster, secrets),
        verifier = secrets.developer_verifier(),
    );
    write_private(path, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    let loaded = Config::parse(path, &text, &|_| None)?;
    Ok(loaded.config)
}

/// The proxy's own way to the shop.
fn upstream_url(cluster: &Cluster, secrets: &Secrets) -> String {
    let (role, password, port) = (Names::default().proxy(), &secrets.proxy, cluster.port());
    let database = shop::DATABASE;
    format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
}
