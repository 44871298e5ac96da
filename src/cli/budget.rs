//! `devinprod budget list|grant`, and the side of the proxy that answers it

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::table::{Format, Rows};
use super::{ConfigFile, Failure, block_on, print};
use crate::audit::Events;
use crate::budget::control::{Answer, Control, Request, ask};
use crate::budget::ledger::local::OpenError;
use crate::budget::ledger::{Ledger, LocalLedger, SharedLedger};
use crate::budget::{Allowed, Line};
use crate::config::Config;
use crate::policy::Measure;
use crate::report::units::{Size, Span};
use crate::server::Server;

#[derive(Debug, Subcommand)]
pub(super) enum BudgetCommand {
    /// Say how much of each budget is used, and when it is refilled
    List(ListArgs),
    /// Let a developer read more than their budgets allow, for a while; on record, with the reason
    Grant(GrantArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only what holds for this developer
    developer: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    /// Who may read more
    developer: String,
    /// So many rows more
    #[arg(long, value_name = "N")]
    rows: Option<u64>,
    /// So many bytes more, such as 64MB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    bytes: Option<u64>,
    /// So many statements more
    #[arg(long, value_name = "N")]
    statements: Option<u64>,
    /// After too many failed guesses: so many statements on masked tables
    #[arg(long, value_name = "N")]
    failed_guesses: Option<u64>,
    /// For how long, such as 1h; what is not used by then is gone
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Duration,
    /// On this upstream alone
    #[arg(long)]
    upstream: Option<String>,
    /// Why, for the audit
    #[arg(long)]
    because: String,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: BudgetCommand) -> anyhow::Result<ExitCode> {
    match command {
        BudgetCommand::List(args) => block_on(list(args))?,
        BudgetCommand::Grant(args) => block_on(grant(args))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let request = Request::List {
        developer: args.developer,
    };
    let Answer::Lines(lines) = answer(&args.config, &request).await? else {
        anyhow::bail!("the proxy answered something else");
    };
    let rows = lines.into_iter().map(cells).collect();
    let rows = Rows::new(
        &[
            "upstream",
            "who",
            "budget",
            "used",
            "limit",
            "refilled_at",
            "because",
        ],
        rows,
    );
    match args.format {
        Format::Json => print::line(rows.to_json().to_string()),
        Format::Table if rows.is_empty() => print::note("nothing is limited"),
        Format::Table => print::line(rows.to_table()),
    }
    Ok(())
}

fn cells(line: Line) -> Vec<Value> {
    vec![
        line.upstream.into(),
        line.who.into(),
        line.budget.into(),
        line.used.into(),
        line.limit.into(),
        line.refilled_at.into(),
        line.place.into(),
    ]
}

async fn grant(args: GrantArgs) -> anyhow::Result<()> {
    let amounts = [
        (Measure::Rows, args.rows),
        (Measure::Bytes, args.bytes),
        (Measure::Statements, args.statements),
        (Measure::FailedGuesses, args.failed_guesses),
    ];
    let allowed: Vec<Allowed> = amounts
        .into_iter()
        .filter_map(|(measure, amount)| {
            Some(Allowed {
                developer: args.developer.clone(),
                upstream: args.upstream.clone(),
                measure: measure.as_str().to_owned(),
                amount: amount?,
                seconds: args.lasts.as_secs(),
            })
        })
        .collect();
    if allowed.is_empty() {
        let hint = "say how much: --rows, --bytes, --statements or --failed-guesses";
        return Err(Failure::new("this grants nothing", hint).into());
    }
    let request = Request::Grant {
        allowed,
        because: args.because,
        // Who became root to do this, as they say themselves.
        behalf_of: std::env::var("SUDO_USER").ok(),
    };
    answer(&args.config, &request).await?;
    print::note(format!(
        "granted to {} for {}",
        args.developer,
        Span(args.lasts)
    ));
    Ok(())
}

/// A proxy's ledger, and the socket beside it.
pub(super) struct Keeping {
    pub(super) ledger: Arc<dyn Ledger>,
    control: Control,
}

impl Keeping {
    /// Opens the ledger that the configuration names, and listens beside it; needs a tokio runtime.
    pub(super) async fn open(config: &Config, events: &Events) -> anyhow::Result<Self> {
        let folder = &config.budgets_folder;
        let opened: Result<Arc<dyn Ledger>, OpenError> = match &config.shared_ledger {
            None => LocalLedger::open(folder).map(|ledger| Arc::new(ledger) as _),
            Some(settings) => SharedLedger::open(settings.clone(), folder, events.clone())
                .await
                .map(|ledger| Arc::new(ledger) as _),
        };
        let ledger = match opened {
            Err(error @ OpenError::Locked(_)) => {
                let hint = "each proxy needs a folder of its own: `folder` in [budgets]";
                return Err(Failure::new(error.to_string(), hint).into());
            }
            opened => opened?,
        };
        let control = Control::listen(folder)
            .with_context(|| format!("the socket in {} cannot be made", folder.display()))?;
        Ok(Self { ledger, control })
    }

    /// Answers `devinprod budget` until the task is aborted.
    pub(super) fn serve(self, server: &Server, events: Events) -> JoinHandle<()> {
        tokio::spawn(self.control.serve(server.budgets(), events))
    }
}

/// Asks the running proxy.
async fn answer(config: &ConfigFile, request: &Request) -> anyhow::Result<Answer> {
    let folder = Config::budgets_folder(&config.path)?;
    match ask(&folder, request).await {
        Ok(Answer::Refused(reason)) => anyhow::bail!(reason),
        Ok(answer) => Ok(answer),
        Err(error) => Err(unreachable(&folder, error)),
    }
}

fn unreachable(folder: &Path, error: io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "run this as the user that the proxy runs as, or as root"
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "start it: devinprod serve; it must have the same `folder` in [budgets]"
        }
        _ => return anyhow::Error::new(error).context("the proxy did not answer"),
    };
    let message = format!("no running proxy keeps budgets in {}", folder.display());
    Failure::new(message, hint).into()
}

fn size(text: &str) -> Result<u64, String> {
    let size = text
        .parse()
        .ok()
        .or_else(|| Size::parse(text).map(|size| size.0));
    size.ok_or_else(|| "a whole number of bytes, or a size: B, kB, MB or GB (of 1024)".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    match Span::parse(text) {
        Some(Span(lasts)) if lasts >= Duration::from_secs(1) => Ok(lasts),
        _ => Err("a whole number and a unit (s, min, h or d), at least 1s".to_owned()),
    }
}
