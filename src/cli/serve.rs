//! `devinprod serve`

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{ConfigFile, block_on, print};
use crate::audit::{Events, JsonLines, Writer};
use crate::config::reload::Reloader;
use crate::config::{Config, EventsTo};

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
        let (events, writer) = start_events(&loaded.config)?;
        let served = serve(loaded.config, reloader, events).await;
        writer.finished().await;
        served
    })?;
    Ok(ExitCode::SUCCESS)
}

fn start_events(config: &Config) -> anyhow::Result<(Events, Writer)> {
    Ok(match &config.events {
        EventsTo::Stderr => Events::start(JsonLines::to_stderr()),
        EventsTo::File(path) => Events::start(
            JsonLines::append_to(path)
                .with_context(|| format!("events cannot be written to {}", path.display()))?,
        ),
    })
}

/// Accepts clients until it is told to stop.
async fn serve(_config: Config, _reloader: Reloader, _events: Events) -> anyhow::Result<()> {
    anyhow::bail!("the server is not part of this build")
}
