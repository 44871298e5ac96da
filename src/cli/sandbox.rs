//! `devinprod sandbox list|reset`

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connect::ProxyUrl;
use super::table::Format;
use super::{block_on, print};
use crate::console::quote_identifier;

#[derive(Debug, Subcommand)]
pub(super) enum SandboxCommand {
    /// List your sandboxes
    List(ListArgs),
    /// Throw away everything that a sandbox holds; its next statement finds a fresh one
    Reset(ResetArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    proxy: ProxyUrl,
    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// The sandbox's name
    #[arg(default_value = "default")]
    name: String,
    /// The upstream, if you have a sandbox of that name on several
    #[arg(long)]
    upstream: Option<String>,
    #[command(flatten)]
    proxy: ProxyUrl,
}

pub(super) fn run(command: SandboxCommand) -> anyhow::Result<ExitCode> {
    match command {
        SandboxCommand::List(args) => block_on(list(args))?,
        SandboxCommand::Reset(args) => block_on(reset(args))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let rows = args.proxy.connect().await?.ask("SHOW SANDBOXES").await?;
    match args.format {
        Format::Json => print::line(rows.to_json().to_string()),
        Format::Table if rows.is_empty() => {
            print::note("no sandbox; one begins with an application's first statement");
        }
        Format::Table => print::line(rows.to_table()),
    }
    Ok(())
}

async fn reset(args: ResetArgs) -> anyhow::Result<()> {
    let mut command = format!("RESET SANDBOX {}", quote_identifier(&args.name));
    if let Some(upstream) = &args.upstream {
        command.push_str(&format!(" ON {}", quote_identifier(upstream)));
    }
    args.proxy.connect().await?.ask(&command).await?;
    print::note(format!("sandbox \"{}\" is reset", args.name));
    Ok(())
}
