//! `devinprod audit verify|key|schema|search|tail|report`

mod report;
mod search;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{ConfigFile, Failure, print};
use crate::audit::key::{PublicKey, SigningKey};
use crate::audit::verify::{Against, Verdict, checkpoints, verify};
use crate::audit::{AuditSettings, Events, Log, Writer, record};
use crate::config::Config;

/// What `audit verify` ends with where it could not look.
const NOT_VERIFIED: u8 = 3;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Say whether the log, or a copy of it, is what was written
    ///
    /// Ends with 0 if it is, 1 if it was tampered with, 3 if that could not be found out.
    Verify(VerifyArgs),
    /// Print the public key that the log is signed with
    Key(KeyArgs),
    /// Print the JSON schema of a line
    Schema,
    /// Print the records that fit
    Search(search::SearchArgs),
    /// Print the last records, and those that come
    Tail(search::TailArgs),
    /// Who read which sensitive columns, how many rows, and what is unusual
    Report(report::ReportArgs),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The log's folder; that of the configuration if it is left out
    dir: Option<PathBuf>,
    /// The public key that `devinprod audit key` printed, or a file that holds it
    #[arg(long, value_name = "PUB")]
    key: Option<String>,
    /// What the second place has received: lines with a checkpoint each, whatever stands before it
    #[arg(long, value_name = "FILE")]
    checkpoints: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(flatten)]
    config: ConfigFile,
}

/// Which log is read.
#[derive(Debug, Args)]
struct Where {
    /// The log's folder, or a copy of it; that of the configuration if it is left out
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

impl Where {
    fn folder(&self) -> anyhow::Result<PathBuf> {
        folder(self.dir.as_ref(), &self.config)
    }
}

/// The folder that was named, or else that of the configuration.
fn folder(named: Option<&PathBuf>, config: &ConfigFile) -> anyhow::Result<PathBuf> {
    match named {
        Some(named) => Ok(named.clone()),
        None => Ok(Config::load(&config.path)?.config.audit.folder),
    }
}

/// Opens the log, or begins one, and starts its writer.
///
/// # Errors
/// There can be no audit, with what to do about it; nobody should be served then.
pub(super) fn start(settings: &AuditSettings) -> anyhow::Result<(Events, Writer)> {
    let log = Log::open(settings).map_err(|error| Failure::new(error.to_string(), error.hint()))?;
    Ok(Events::start_with(log, settings.durable))
}

pub(super) fn run(command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify(args) => {
            return Ok(run_verify(&args).unwrap_or_else(|error| {
                print::error_with_hint(format!("{error:#}"), None);
                ExitCode::from(NOT_VERIFIED)
            }));
        }
        AuditCommand::Key(args) => {
            let file = Config::load(&args.config.path)?.config.audit.key_file;
            let key = SigningKey::load(&file).map_err(|error| {
                Failure::new(
                    format!("{}: {error}", file.display()),
                    "the key is made when `devinprod serve` begins a log",
                )
            })?;
            print::line(key.public().to_string());
        }
        AuditCommand::Schema => print::line(record::SCHEMA.trim_end()),
        AuditCommand::Search(args) => search::search(&args)?,
        AuditCommand::Tail(args) => search::tail(&args)?,
        AuditCommand::Report(args) => report::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let folder = folder(args.dir.as_ref(), &args.config)?;
    let against = Against {
        key: args.key.as_deref().map(public_key).transpose()?,
        checkpoints: match &args.checkpoints {
            Some(file) => {
                let found = checkpoints(file).with_context(|| file.display().to_string())?;
                anyhow::ensure!(
                    !found.is_empty(),
                    "{}: there is no checkpoint in this file",
                    file.display()
                );
                found
            }
            None => Vec::new(),
        },
    };
    let verdict = verify(&folder, &against)
        .with_context(|| format!("{} cannot be read", folder.display()))?;
    for finding in &verdict.findings {
        print::line(finding.to_string());
    }
    if verdict.more > 0 {
        print::line(format!("… and {} more", verdict.more));
    }
    for note in &verdict.notes {
        print::note(format!("note: {note}"));
    }
    if !verdict.is_whole() {
        print::error_with_hint("the log is not what was written", None);
        return Ok(ExitCode::FAILURE);
    }
    print::line(summary(&verdict));
    if args.key.is_none() {
        let key = verdict.key.map(|key| key.to_string()).unwrap_or_default();
        print::note(format!(
            "note: signed with {key}; with --key it would be known that this is the proxy's"
        ));
    }
    if args.checkpoints.is_none() {
        print::note(
            "note: with --checkpoints it would be known that nothing was cut off at its end",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(verdict: &Verdict) -> String {
    let (first, last) = verdict.range.unwrap_or_default();
    let compared = match verdict.compared {
        0 => String::new(),
        count => format!(", {count} of them known to the second place"),
    };
    format!(
        "whole: the records {first} to {last} in {} segments, with {} checkpoints{compared}",
        verdict.segments, verdict.checkpoints
    )
}

/// A key, or a file that holds one.
fn public_key(text: &str) -> anyhow::Result<PublicKey> {
    if let Some(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    let read = std::fs::read_to_string(text)
        .with_context(|| format!("{text} is neither a public key nor a file with one"))?;
    PublicKey::parse(&read).with_context(|| format!("{text}: there is no public key in this file"))
}
