//! `devinprod sandbox …`

mod diff;
mod export;
mod text;

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
    /// Show what a sandbox would have changed, had it committed
    Diff(diff::DiffArgs),
    /// Write what a sandbox changed as a script that makes the same change elsewhere
    Export(export::ExportArgs),
    /// Play a script into a sandbox
    Import(export::ImportArgs),
    /// Throw away everything that a sandbox holds; its next statement finds a fresh one
    Reset(ResetArgs),
    /// Keep what a sandbox holds now under a name, to go back to it as often as you like
    Save(PointArgs),
    /// Undo all that was done in a sandbox since a point was saved
    Back(PointArgs),
    /// List the points that you can go back to
    Points(ListArgs),
    /// Let a sandbox live without being used
    Keep(KeepArgs),
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

#[derive(Debug, Args)]
pub(super) struct PointArgs {
    /// The point's name
    point: String,
    /// The sandbox
    #[arg(long, default_value = "default")]
    sandbox: String,
    /// The upstream, if you have a sandbox of that name on several
    #[arg(long)]
    upstream: Option<String>,
    #[command(flatten)]
    proxy: ProxyUrl,
}

#[derive(Debug, Args)]
pub(super) struct KeepArgs {
    /// The sandbox's name
    #[arg(default_value = "default")]
    name: String,
    /// For how long, such as 8h; without it, for as long as sandbox.max_age allows
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
    /// The upstream, if you have a sandbox of that name on several
    #[arg(long)]
    upstream: Option<String>,
    #[command(flatten)]
    proxy: ProxyUrl,
}

pub(super) fn run(command: SandboxCommand) -> anyhow::Result<ExitCode> {
    match command {
        SandboxCommand::List(args) => {
            let none = "no sandbox; one begins with an application's first statement";
            block_on(list(args, "SHOW SANDBOXES", none))?;
        }
        SandboxCommand::Diff(args) => return block_on(diff::run(args)),
        SandboxCommand::Export(args) => block_on(export::export(args))?,
        SandboxCommand::Import(args) => block_on(export::import(args))?,
        SandboxCommand::Points(args) => {
            let none = "no point; `devinprod sandbox save NAME` makes one";
            block_on(list(args, "SHOW POINTS", none))?;
        }
        SandboxCommand::Reset(args) => {
            let upstream = args.upstream.as_deref();
            block_on(act(&args.proxy, "RESET", &args.name, None, upstream))?;
            print::note(format!("sandbox \"{}\" is reset", args.name));
        }
        SandboxCommand::Save(args) => {
            block_on(at_point(&args, "SAVE", "AS"))?;
            print::note(format!(
                "saved; `devinprod sandbox back {}` goes back to it",
                args.point
            ));
        }
        SandboxCommand::Back(args) => {
            block_on(at_point(&args, "RETURN", "TO"))?;
            let (sandbox, point) = (&args.sandbox, &args.point);
            print::note(format!("sandbox \"{sandbox}\" is at \"{point}\" again"));
        }
        SandboxCommand::Keep(args) => {
            let clause = args.duration.as_deref().map(|duration| ("FOR", duration));
            let upstream = args.upstream.as_deref();
            block_on(act(&args.proxy, "KEEP", &args.name, clause, upstream))?;
            print::note(format!("sandbox \"{}\" is kept", args.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs, command: &str, none: &str) -> anyhow::Result<()> {
    let rows = args.proxy.connect().await?.ask(command).await?;
    match args.format {
        Format::Json => print::line(rows.to_json().to_string()),
        Format::Table if rows.is_empty() => print::note(none),
        Format::Table => print::line(rows.to_table()),
    }
    Ok(())
}

async fn at_point(args: &PointArgs, verb: &str, word: &str) -> anyhow::Result<()> {
    let clause = Some((word, args.point.as_str()));
    let upstream = args.upstream.as_deref();
    act(&args.proxy, verb, &args.sandbox, clause, upstream).await
}

/// Asks the console to do something with a sandbox: `VERB SANDBOX name [WORD value] [ON upstream]`.
async fn act(
    proxy: &ProxyUrl,
    verb: &str,
    name: &str,
    clause: Option<(&str, &str)>,
    upstream: Option<&str>,
) -> anyhow::Result<()> {
    let clauses = clause
        .into_iter()
        .chain(upstream.map(|upstream| ("ON", upstream)));
    let mut command = format!("{verb} SANDBOX {}", quote_identifier(name));
    for (word, value) in clauses {
        command.push_str(&format!(" {word} {}", quote_identifier(value)));
    }
    proxy.connect().await?.ask(&command).await?;
    Ok(())
}
