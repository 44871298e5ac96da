//! `devinprod demo`: a shop on a Postgres of its own, sealed, behind a proxy; nothing to install but Postgres.

mod change;
mod proxy;
mod record;
mod secrets;
mod shop;
mod tour;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, block_on, print};
use crate::cluster::{self, Binaries, Cluster, NotFound, Options};
use proxy::Proxy;
use secrets::Secrets;

/// The developer that the demo logs in as.
const DEVELOPER: &str = "dev1";

/// The port that the proxy takes if it is free and no other was asked for.
const USUAL_PORT: u16 = 6432;

/// Where the demo lives.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The folder for its database; remove it to begin anew
    #[arg(long, value_name = "FOLDER", default_value = ".devinprod")]
    dir: PathBuf,
    /// The proxy's port on 127.0.0.1 [default: 6432, or a free one if that is taken]
    #[arg(long)]
    port: Option<u16>,
    /// Take the tour by itself, say what was seen, and fail if a promise did not hold
    #[arg(long)]
    check: bool,
}

/// The two ways to the shop.
#[derive(Debug)]
struct Urls {
    /// Through the proxy, as a developer.
    proxy: String,
    /// Straight to Postgres, as its administrator.
    direct: String,
    /// The copy of the audit's log, as its owner.
    record: String,
    /// The folder of the audit's log.
    log: PathBuf,
    /// The proxy's configuration.
    config: PathBuf,
    /// The web page.
    page: String,
}

pub(super) fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DEVINPROD_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    block_on(demo(args))
}

async fn demo(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut cluster = start_cluster(&args).await?;
    let secrets = Secrets::keep(&args.dir)?;
    if shop::open(&cluster).await? {
        print::note("made the shop: customers, orders, payments, support tickets");
    }
    proxy::seal(&cluster, &secrets).await?;
    print::note(format!(
        "sealed: developer roles cannot commit what they write, and read what {} opens",
        shop::POLICY_FILE
    ));
    record::open(&cluster, &secrets).await?;
    let proxy = Proxy::start(&args, &cluster, &secrets).await?;
    let urls = Urls {
        proxy: proxy.url(&secrets),
        direct: cluster.url(shop::DATABASE),
        record: cluster.url(record::DATABASE),
        log: proxy.log.clone(),
        config: proxy.config.clone(),
        page: proxy.page.clone(),
    };
    let code = if args.check {
        tour::take(&urls, &secrets).await
    } else {
        announce(&urls, &secrets);
        told_to_stop().await.map(|()| ExitCode::SUCCESS)
    };
    // Whatever the tour found, everything that was begun ends here, in order.
    let stopped = proxy.stop().await;
    cluster.stop().map_err(told)?;
    stopped?;
    code
}

async fn start_cluster(args: &DemoArgs) -> anyhow::Result<Cluster> {
    let binaries = match cluster::binaries::find() {
        Ok(binaries) => binaries,
        Err(missing) => instead(&args.dir, missing).await?,
    };
    print::note(format!(
        "starting Postgres {} ({})",
        binaries.major(),
        binaries.folder().display()
    ));
    let options = Options::new(&args.dir)
        .setting("max_connections", "100")
        .setting("max_prepared_transactions", "0");
    let cluster = Cluster::start(&binaries, options).await.map_err(told)?;
    let data = cluster.data_dir();
    if !data.starts_with(args.dir.canonicalize()?) {
        let (data, dir) = (data.display(), args.dir.display());
        print::note(format!(
            "its files are in {data}: the user that runs Postgres cannot enter {dir}"
        ));
    }
    Ok(cluster)
}

/// Server programs where none are installed.
#[cfg(feature = "embedded")]
async fn instead(dir: &Path, missing: NotFound) -> anyhow::Result<Binaries> {
    if missing.ordered {
        return Err(Failure::new(missing.to_string(), missing.hint()).into());
    }
    print::note("no Postgres server is installed here: downloading its programs, once");
    let downloaded = cluster::download::download(dir).await;
    downloaded.map_err(|error| {
        let message = format!("{missing}; and they could not be downloaded: {error}");
        Failure::new(message, missing.hint()).into()
    })
}

#[cfg(not(feature = "embedded"))]
async fn instead(_dir: &Path, missing: NotFound) -> anyhow::Result<Binaries> {
    Err(Failure::new(missing.to_string(), missing.hint()).into())
}

/// The error with its hint, as the command line shows them.
fn told(error: cluster::Error) -> anyhow::Error {
    match error.hint() {
        Some(hint) => Failure::new(error.to_string(), hint).into(),
        None => error.into(),
    }
}

fn announce(urls: &Urls, secrets: &Secrets) {
    let Urls {
        page,
        proxy,
        direct,
        record,
        log,
        config,
    } = urls;
    print::note(format!(
        "
The shop is open. Develop against it; nothing that you do is ever committed.
Names, e-mails, phones and cards are made up; policies/shop.toml says which columns are.

Three things to try:
  psql \"{proxy}\" -c \"DELETE FROM payments\" -c \"SELECT count(*) FROM payments\"
  psql \"{proxy}\" -c \"SELECT id, full_name, email, phone FROM customers ORDER BY id LIMIT 3\" -c \"TABLE payments\"
  psql \"{direct}\" -c \"SELECT id, full_name, email, phone FROM customers ORDER BY id LIMIT 3\" -c \"SELECT count(*) FROM payments\"

The second finds what the first has left, and nobody's real name; the third goes straight to Postgres and finds all as it was.
What you have changed, what you may read and what is on record of you, in a browser:
  {page}   log in as {DEVELOPER}, password {password}
Who did what is on record, in a log and, for those who ask in SQL, in a database:
  devinprod audit search --dir {log} --table customers
  devinprod audit verify {log} --sql \"{record}\"
  psql \"{record}\" -c \"SELECT * FROM devinprod_audit.sensitive_reads\"
How much may be read, and was:
  devinprod budget list --config {config}
  devinprod budget grant {DEVELOPER} --rows 50000 --for 1h --because \"a report\" --config {config}
To begin again: psql \"{console}\" -c \"RESET SANDBOX default\"
Ctrl-C ends everything.
",
        password = secrets.developer,
        console = console_url(proxy),
        log = log.display(),
        config = config.display(),
    ));
    print::line(format!("DATABASE_URL={proxy}"));
    print::line(format!("UPSTREAM_URL={direct}"));
    print::line(format!("PAGE_URL={page}"));
}

/// The URL of the console beside the shop.
fn console_url(proxy: &str) -> String {
    let server = proxy.strip_suffix(shop::DATABASE).unwrap_or(proxy);
    format!("{server}{}", crate::console::DATABASE)
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    print::note("stopping");
    Ok(())
}
