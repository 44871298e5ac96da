//! `devinprod evidence list|verify`: what was shown about commits, read offline.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::attest::resolved;
use super::audit::public_key;
use super::table::{Format, Rows};
use super::{ConfigFile, Failure, print, say_why};
use crate::audit::key::{PublicKey, SigningKey};
use crate::config::Config;
use crate::evidence::Statement;
use crate::evidence::collect::{Collector, Found, Piece};

/// What `evidence verify` ends with where it could not look.
const NOT_VERIFIED: u8 = 3;

#[derive(Debug, Subcommand)]
pub(super) enum EvidenceCommand {
    /// List what was shown about commits, and whether it is signed
    List(ListArgs),
    /// Say whether evidence is signed by a proxy that is trusted, as it was written
    ///
    /// Ends with 0 if all of it is, 1 if some is not, 3 if that could not be found out.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    sources: Sources,
    /// Only what is about this commit
    #[arg(long, value_name = "COMMIT")]
    change: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    sources: Sources,
}

/// Where evidence is read from.
#[derive(Debug, Args)]
struct Sources {
    /// Files of evidence, or folders with such files
    #[arg(value_name = "FILE|DIR")]
    evidence: Vec<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

/// Which logs are read, and whose signatures count.
#[derive(Debug, Args)]
pub(super) struct Trust {
    /// The folder of a log, or a copy of one; that of the configuration if nothing is named
    #[arg(long = "audit", value_name = "DIR")]
    audits: Vec<PathBuf>,
    /// A public key that is trusted, or a file that holds it, beside those of the configuration
    #[arg(long = "key", value_name = "PUB")]
    keys: Vec<String>,
    #[command(flatten)]
    pub(super) config: ConfigFile,
}

impl Trust {
    /// The keys of the arguments, of `[gate]`, and of the configuration's own audit, as far as they are to be had.
    ///
    /// # Errors
    /// A key is none, or the configuration's gate is wrong.
    pub(super) fn keys(&self) -> anyhow::Result<Vec<PublicKey>> {
        let named = self.keys.iter().map(|key| public_key(key));
        let mut keys: Vec<PublicKey> = named.collect::<Result<_, _>>()?;
        let path = &self.config.path;
        if path.exists() {
            keys.extend(Config::gate(path)?.all_keys());
            // Who reads a copy elsewhere has no business with the private key.
            if let Ok(own) = SigningKey::load(&Config::audit_key_file(path)?) {
                keys.push(own.public());
            }
        }
        Ok(keys)
    }

    /// Everything that these files and folders hold; without any, the log of the configuration.
    ///
    /// # Errors
    /// Something cannot be read.
    pub(super) fn read(
        &self,
        evidence: &[PathBuf],
        keys: &[PublicKey],
    ) -> anyhow::Result<Vec<Piece>> {
        let mut found = Collector::new(keys);
        for path in evidence {
            found.path(path).with_context(|| unreadable(path))?;
        }
        for folder in &self.audits {
            found.log(folder).with_context(|| unreadable(folder))?;
        }
        if evidence.is_empty() && self.audits.is_empty() {
            let folder = Config::audit_folder(&self.config.path)?;
            found.log(&folder).with_context(|| unreadable(&folder))?;
        }
        Ok(found.pieces)
    }

    /// Is only what somebody picked out read, and no log?
    pub(super) fn is_picked(&self, evidence: &[PathBuf]) -> bool {
        self.audits.is_empty() && !evidence.is_empty()
    }
}

/// What is wrong where no key is trusted.
pub(super) fn no_key() -> Failure {
    Failure::new(
        "no key is trusted, so no evidence can be",
        "give --key, or `keys` in [gate], with what `devinprod audit key` prints where the proxy runs",
    )
}

fn unreadable(path: &Path) -> String {
    format!("{} cannot be read", path.display())
}

pub(super) fn run(command: EvidenceCommand) -> anyhow::Result<ExitCode> {
    match command {
        EvidenceCommand::List(args) => list(&args),
        EvidenceCommand::Verify(args) => Ok(verify(&args).unwrap_or_else(|error| {
            say_why(&error);
            ExitCode::from(NOT_VERIFIED)
        })),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let change = args.change.as_deref().map(resolved).transpose()?;
    let keys = args.sources.trust.keys()?;
    let mut listed = Vec::new();
    for piece in args.sources.trust.read(&args.sources.evidence, &keys)? {
        let (statement, signed) = match piece.found {
            Found::Signed(statement, _) => (statement, "yes"),
            Found::NotSigned(Some(statement)) if keys.is_empty() => (statement, "not checked"),
            Found::NotSigned(Some(statement)) => (statement, "NO"),
            Found::NotSigned(None) => {
                print::note(format!("{}: this is no evidence", piece.place));
                continue;
            }
        };
        let wanted = change.as_ref();
        if wanted.is_none_or(|change| statement.claim.commit == *change) {
            listed.push((piece.place, statement, signed));
        }
    }
    listed.sort_by_key(|(_, statement, _)| statement.time);
    match args.format {
        Format::Json => {
            let whole = listed.iter().map(|(place, statement, signed)| {
                let Statement { witness, claim, .. } = &**statement;
                json!({ "place": place, "signed": *signed == "yes", "proxy": witness, "command": claim })
            });
            print::line(Value::Array(whole.collect()).to_string());
        }
        Format::Table if listed.is_empty() => print::note("there is no evidence"),
        Format::Table => {
            let rows = listed.iter().map(|(_, statement, signed)| {
                let Statement { witness, claim, .. } = &**statement;
                vec![
                    json!(witness.time),
                    json!(claim.commit.short()),
                    json!(witness.stage),
                    json!(witness.upstream),
                    json!(claim.kind.as_str()),
                    json!(if claim.passed { "passed" } else { "failed" }),
                    json!(witness.developer),
                    json!(claim.tree.as_str()),
                    json!(signed),
                    json!(claim.command),
                ]
            });
            let names = [
                "time",
                "commit",
                "stage",
                "upstream",
                "kind",
                "result",
                "developer",
                "tree",
                "signed",
                "command",
            ];
            print::line(Rows::new(&names, rows.collect()).to_table());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let keys = args.sources.trust.keys()?;
    if keys.is_empty() {
        return Err(no_key().into());
    }
    let pieces = args.sources.trust.read(&args.sources.evidence, &keys)?;
    let mut wrong = 0_usize;
    for piece in &pieces {
        let why = match &piece.found {
            Found::Signed(..) => continue,
            Found::NotSigned(Some(_)) => "no key that is trusted signed it as it is",
            Found::NotSigned(None) => "this is no evidence",
        };
        print::line(format!("{}: {why}", piece.place));
        wrong += 1;
    }
    if wrong > 0 {
        let message = format!("{wrong} of {} are not what a proxy signed", pieces.len());
        print::error_with_hint(message, None);
        return Ok(ExitCode::FAILURE);
    }
    if pieces.is_empty() {
        return Err(Failure::new(
            "there is no evidence here",
            "name the files, or a log's folder with --audit",
        )
        .into());
    }
    print::line(format!("signed: {} pieces of evidence", pieces.len()));
    Ok(ExitCode::SUCCESS)
}
