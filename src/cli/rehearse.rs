//! `devinprod rehearse`: tries a migration on the real data, in a transaction that cannot commit.

mod taken;
mod tool;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::attest::{Change, EvidenceArgs, input, milliseconds};
use super::connect::ProxyUrl;
use super::table::Rows;
use super::target::Target;
use super::{Failure, print};
use crate::evidence::claim::without_arguments;
use crate::evidence::{Claim, Figure, Kind};
use crate::rehearse::{self, Options, Outcome, Report, Sized};
use crate::report::units::Span;
use crate::upstream::address::Address;
use tool::Tool;

/// Which migration, where, and how far it may go.
#[derive(Debug, Args)]
pub(super) struct RehearseArgs {
    /// The migration: plain SQL
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// The URL of the role that owns the tables; it is used now and stored nowhere
    #[arg(
        long,
        value_name = "URL",
        env = "DEVINPROD_OWNER_URL",
        hide_env_values = true
    )]
    url: String,
    /// The role that runs the migration, if another one logs in
    #[arg(long = "as", value_name = "ROLE")]
    role: Option<String>,
    /// Each statement is a transaction of its own, unless the script opens one
    #[arg(long)]
    autocommit: bool,
    /// How long it may take in all
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = duration)]
    time_limit: Duration,
    /// How long a statement may wait for a lock
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    lock_timeout: Duration,
    /// How long others may wait for it before it gives up
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    block_limit: Duration,
    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The proxy's URL for the upstream that this is a rehearsal for: its proxy signs the evidence
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    proxy: Option<String>,
    #[command(flatten)]
    evidence: EvidenceArgs,
    /// A variable that the tool keeps although it may lead to another database
    #[arg(long, value_name = "VARIABLE")]
    keep: Vec<String>,
    /// A table whose rows the tool reads; those of common tools' own tables are copied anyway
    #[arg(long, value_name = "TABLE")]
    rows: Vec<String>,
    /// A migration tool: it is run on an empty copy of the schema, and what it did there is rehearsed
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object
    Json,
}

/// Exit status: 0 it works, 1 it does not, 2 it could not be tried.
pub(super) async fn run(args: RehearseArgs) -> anyhow::Result<ExitCode> {
    match in_evidence(&args).await {
        Ok(report) => Ok(ExitCode::from(u8::from(!report.worked))),
        Err(error) => {
            let hint = error
                .downcast_ref::<Failure>()
                .map(|failure| failure.hint.as_str());
            print::error_with_hint(format!("{error:#}"), hint);
            Ok(ExitCode::from(2))
        }
    }
}

/// Rehearses it, says what was seen, and leaves evidence of that.
async fn in_evidence(args: &RehearseArgs) -> anyhow::Result<Report> {
    // Before a tool runs, which may write files.
    let change = match &args.proxy {
        Some(_) => args.evidence.change()?,
        None if args.evidence.is_asked_for() => {
            let hint = "give --proxy, or DATABASE_URL: the upstream that it is a rehearsal for";
            return Err(Failure::new("there is no proxy to sign the evidence", hint).into());
        }
        None => None,
    };
    let (name, script) = migration(args).await?;
    let report = rehearsed(args, &script).await?;
    match args.format {
        Format::Json => print::line(serde_json::to_string_pretty(&report)?),
        Format::Text => text(&report),
    }
    if let Some(change) = change {
        let proxy = ProxyUrl::at(args.proxy.clone());
        match claim(&name, &proxy, change, &script, &report) {
            Ok(claim) => args.evidence.leave(&proxy, &[claim]).await?,
            Err(error) if args.evidence.is_asked_for() => return Err(error),
            Err(error) => print::note(format!("no evidence was left: {error:#}")),
        }
    }
    Ok(report)
}

/// What the report shows about a commit.
fn claim(
    name: &str,
    proxy: &ProxyUrl,
    change: Change,
    script: &str,
    report: &Report,
) -> anyhow::Result<Claim> {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let statements = &report.statements;
    let skipped =
        |statement: &&rehearse::Statement| matches!(statement.outcome, Outcome::Skipped(_));
    let longest = report.locks.iter().map(|lock| lock.milliseconds);
    Ok(Claim {
        kind: Kind::Rehearse,
        commit: change.commit,
        tree: change.tree,
        // That nothing worked says nothing.
        passed: report.worked && !statements.is_empty(),
        upstream: Target::of(proxy)?.upstream,
        command: "devinprod rehearse".to_owned(),
        ignored: Vec::new(),
        inputs: vec![input(name, script)],
        figures: BTreeMap::from([
            (Figure::Statements, count(statements.len())),
            (
                Figure::Skipped,
                count(statements.iter().filter(skipped).count()),
            ),
            (
                Figure::RowsChanged,
                statements.iter().map(|one| one.rows_changed).sum(),
            ),
            (
                Figure::Rewritten,
                count(statements.iter().map(|one| one.rewritten.len()).sum()),
            ),
            (
                Figure::LongestLock,
                milliseconds(longest.fold(0.0, f64::max) / 1_000.0),
            ),
            (Figure::Waited, count(report.waited)),
            (
                Figure::Milliseconds,
                milliseconds(report.milliseconds / 1_000.0),
            ),
        ]),
    })
}

/// What it is called, and its SQL.
async fn migration(args: &RehearseArgs) -> anyhow::Result<(String, String)> {
    if let Some(file) = &args.file {
        let script = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        return Ok((file.display().to_string(), script));
    }
    let tool = Tool {
        words: &args.command,
        keep: &args.keep,
        rows: &args.rows,
        role: args.role.as_deref(),
    };
    let script = tool::script(&owner(args)?, &tool).await?;
    Ok((without_arguments(&args.command), script))
}

fn owner(args: &RehearseArgs) -> anyhow::Result<Address> {
    args.url.parse().context("the owner's URL is not right")
}

async fn rehearsed(args: &RehearseArgs, script: &str) -> anyhow::Result<Report> {
    let address = owner(args)?;
    let options = Options {
        role: args.role.clone(),
        // Each of a tool's statements is, too.
        autocommit: args.autocommit || !args.command.is_empty(),
        time_limit: args.time_limit,
        lock_timeout: args.lock_timeout,
        block_limit: args.block_limit,
    };
    rehearse::rehearse(&address, script, &options)
        .await
        .map_err(|error| match error.hint() {
            Some(hint) => Failure::new(error.to_string(), hint).into(),
            None => error.into(),
        })
}

fn text(report: &Report) {
    print::line(format!(
        "rehearsed as {} on Postgres {}; nothing was committed\n",
        report.role, report.server
    ));
    print::line(statements(report).to_table());
    for statement in &report.statements {
        let mut lines = statement.notes.clone();
        match &statement.outcome {
            Outcome::Skipped(why) => lines.push(why.clone()),
            Outcome::Failed(failure) => {
                lines.push(format!("{}: {}", failure.sqlstate, failure.message));
                if let Some(violations) = &failure.violations {
                    let keys = match violations.keys.as_slice() {
                        [] => String::new(),
                        keys => format!("; the first: {}", keys.join("; ")),
                    };
                    lines.push(format!(
                        "{} rows of {} violate: {}{keys}",
                        violations.count, violations.table, violations.rule
                    ));
                }
            }
            _ => {}
        }
        for line in lines {
            print::line(format!("line {}: {line}", statement.line));
        }
    }
    if !report.locks.is_empty() {
        print::line(format!("\n{}", locks(report).to_table()));
    }
    if report.waited > 0 {
        print::line(format!(
            "\n{} other sessions waited for it at once",
            report.waited
        ));
    }
    if let Some(ended) = &report.ended {
        print::line(format!("\n{ended}"));
    }
    let verdict = if report.worked {
        "it works"
    } else {
        "it does not work"
    };
    print::line(format!("\n{verdict}: {:.1} ms", report.milliseconds));
}

fn statements(report: &Report) -> Rows {
    let sizes = |sizes: &[Sized]| {
        let named: Vec<String> = sizes
            .iter()
            .map(|sized| format!("{} ({} kB)", sized.name, sized.bytes / 1024))
            .collect();
        json!(named.join(", "))
    };
    let rows = report.statements.iter().map(|statement| {
        let outcome = match &statement.outcome {
            Outcome::Ran => "ran",
            Outcome::Boundary => "noted",
            Outcome::Skipped(_) => "skipped",
            Outcome::Failed(_) => "FAILED",
            Outcome::NotReached => "not reached",
        };
        vec![
            json!(statement.line),
            json!(outcome),
            json!(statement.milliseconds),
            json!(statement.rows_changed),
            sizes(&statement.rewritten),
            sizes(&statement.built),
            json!(short(&statement.text)),
        ]
    });
    Rows::new(
        &[
            "line",
            "outcome",
            "ms",
            "rows changed",
            "rewritten",
            "built",
            "statement",
        ],
        rows.collect(),
    )
}

fn locks(report: &Report) -> Rows {
    let rows: Vec<Vec<Value>> = report
        .locks
        .iter()
        .map(|lock| {
            vec![
                json!(lock.relation),
                json!(lock.mode),
                json!(lock.line),
                json!(lock.milliseconds),
                json!(lock.keeps_out),
            ]
        })
        .collect();
    Rows::new(
        &["locks", "mode", "from line", "held ms", "keeps out"],
        rows,
    )
}

/// The beginning of a statement, on one line.
fn short(text: &str) -> String {
    const LENGTH: usize = 60;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LENGTH {
        return line;
    }
    line.chars().take(LENGTH).chain(['…']).collect()
}

fn duration(text: &str) -> Result<Duration, String> {
    match Span::parse(text) {
        Some(Span(duration)) if !duration.is_zero() => Ok(duration),
        _ => Err("a whole number and a unit: ms, s, min or h".to_owned()),
    }
}
