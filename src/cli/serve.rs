//! `devinprod serve`

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::audit::Audit;
use super::budget::Keeping;
use super::{ConfigFile, block_on, print};
use crate::audit::Events;
use crate::config::Config;
use crate::config::reload::Reloader;
use crate::notify::{Notifier, Timing};
use crate::server::Server;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let loaded = Config::load(&args.config.path)?;
    if !loaded.warnings.is_empty() {
        print::note(loaded.warnings.to_string());
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("DEVINPROD_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    block_on(async move {
        let reloader = Reloader::new(&args.config.path, &loaded.config)?;
        let sql = loaded.config.audit_sql.as_ref();
        let notifier = Notifier::start(&loaded.config.notify, Timing::default());
        let audit = Audit::start(&loaded.config.audit, sql, notifier.clone())?;
        let events = audit.events.clone();
        let served = serve(loaded.config, reloader, events, notifier).await;
        audit.finished().await;
        served
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Accepts clients until it is told to stop.
async fn serve(
    config: Config,
    mut reloader: Reloader,
    events: Events,
    notifier: Notifier,
) -> anyhow::Result<()> {
    let address = config.listen.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let page = match &config.page {
        None => None,
        Some(page) => Some(
            page.bind()
                .await
                .with_context(|| format!("cannot listen on {} for [page]", page.listen.address))?,
        ),
    };
    let keeping = Keeping::open(&config, &events).await?;
    let server = Server::with_ledger(config, events.clone(), keeping.ledger.clone());
    let control = keeping.serve(&server, events);
    for (upstream, what) in server.check_seals().await {
        // Not fatal: the others can be served, and this one answers each client with the reason.
        print::note(format!("upstream {upstream}: {what}"));
    }
    // Before it says that it listens: who reads that may tell it to stop at once.
    let mut terminate = signal(SignalKind::terminate())?;
    if let Some((page, url)) = page {
        print::note(format!("the page is at {url}"));
        let server = server.clone();
        tokio::spawn(async move { server.run_page(page).await });
    }
    print::note(format!("listening on {}", listener.local_addr()?));
    let reloading = server.clone();
    let reload = tokio::spawn(async move {
        loop {
            match reloader.next().await {
                Ok(loaded) => {
                    if !loaded.warnings.is_empty() {
                        print::note(loaded.warnings.to_string());
                    }
                    notifier.reload(&loaded.config.notify);
                    reloading.reload(loaded.config);
                    print::note("configuration reloaded");
                }
                Err(report) => {
                    print::note(format!("{report}\nthe old configuration stays in force"));
                    reloading.reload_failed(report.to_string());
                }
            }
        }
    });
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let served = server.run(listener, stop).await;
    reload.abort();
    control.abort();
    Ok(served?)
}
