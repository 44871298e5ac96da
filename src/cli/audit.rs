//! `devinprod audit verify|key|schema|search|tail|report|setup`

mod report;
mod search;
mod setup;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::task::JoinHandle;

use super::{ConfigFile, Failure, block_on, print};
use crate::audit::key::{PublicKey, SigningKey};
use crate::audit::verify::{Against, Verdict, checkpoints, verify};
use crate::audit::{AuditSettings, Events, Log, Writer, postgres, record};
use crate::config::Config;
use crate::notify::{Notifier, Tap};
use crate::upstream::address::Address;
use crate::upstream::admin::admin;

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
    /// Prepare a Postgres database that the log is copied into, for those who ask in SQL
    ///
    /// Makes the schema devinprod_audit and two roles: devinprod_audit_writer, which the proxy logs in as and which may add
    /// records, and devinprod_auditor, whose members may read them. Does no harm where it was run before.
    Setup(setup::SetupArgs),
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
    /// The URL of the database that the log is copied into, as a role that may read: is it what the log says?
    #[arg(long, value_name = "URL")]
    sql: Option<String>,
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

/// The audit of a proxy that serves.
pub(super) struct Audit {
    pub(super) events: Events,
    writer: Writer,
    copier: Option<JoinHandle<()>>,
}

/// How long the copy may take for what is left when the log has ended.
const GOODBYE: Duration = Duration::from_secs(5);

impl Audit {
    /// Opens the log, or begins one, and starts its writer, and what copies it into the database `sql`; whom
    /// `notifier` knows is told of what the log has taken.
    ///
    /// # Errors
    /// There can be no audit, with what to do about it; nobody should be served then.
    pub(super) fn start(
        settings: &AuditSettings,
        sql: Option<&Address>,
        notifier: Notifier,
    ) -> anyhow::Result<Self> {
        let log =
            Log::open(settings).map_err(|error| Failure::new(error.to_string(), error.hint()))?;
        let copier = sql.map(|address| {
            let address = address.clone();
            let connect = move || {
                let address = address.clone();
                async move { admin(&address).await }
            };
            tokio::spawn(postgres::follow(log.feed(), connect))
        });
        let (events, writer) = Events::start_with(Tap::new(log, notifier), settings.durable);
        Ok(Self {
            events,
            writer,
            copier,
        })
    }

    /// Waits until everything is written, once nobody else holds a handle of its events.
    pub(super) async fn finished(self) {
        drop(self.events);
        self.writer.finished().await;
        if let Some(mut copier) = self.copier
            && tokio::time::timeout(GOODBYE, &mut copier).await.is_err()
        {
            copier.abort();
            tracing::warn!("the end of the audit log is copied at the next start");
        }
    }
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
        AuditCommand::Setup(args) => return block_on(setup::run(&args)),
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
    if let Some(url) = &args.sql
        && !block_on(same_in_sql(&folder, &verdict, url))?
    {
        print::error_with_hint("the database is not what the log says", None);
        return Ok(ExitCode::FAILURE);
    }
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

/// Holds the copy in a database against the log, and says what was found; true: it is what the log says.
async fn same_in_sql(folder: &Path, verdict: &Verdict, url: &str) -> anyhow::Result<bool> {
    let address: Address = url
        .parse()
        .context("the URL of the audit's database is not right")?;
    let client = admin(&address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let name = verdict.log.as_deref().unwrap_or_default();
    let compared = postgres::compare(folder, name, &client)
        .await
        .with_context(|| format!("{} could not be compared", address.database))?;
    for finding in &compared.findings {
        print::line(finding);
    }
    if compared.more > 0 {
        print::line(format!("… and {} more", compared.more));
    }
    for note in &compared.notes {
        print::note(format!("note: {note}"));
    }
    let same = compared.findings.is_empty();
    if same {
        print::line(format!(
            "{}: {} records are what the log says, in every column",
            address.database, compared.same
        ));
    }
    Ok(same)
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
pub(super) fn public_key(text: &str) -> anyhow::Result<PublicKey> {
    if let Some(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    let read = std::fs::read_to_string(text)
        .with_context(|| format!("{text} is neither a public key nor a file with one"))?;
    PublicKey::parse(&read).with_context(|| format!("{text}: there is no public key in this file"))
}
