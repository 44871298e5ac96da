//! `devinprod policy …`: what the files say, and whether it holds

mod check;
mod explain;
mod names;
mod stage;
mod suggest;
mod test;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use tokio_postgres::Client;

use super::{Failure, administrator, block_on, print};
use crate::policy::{Loaded, Policy, Wrong, json_schema};
use crate::report::Report;

/// Where policies are looked for if no file is named.
const FOLDER: &str = "policies";

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Check policy files, alone or against a database
    Check(check::CheckArgs),
    /// Run the cases that stand in the files
    Test(test::TestArgs),
    /// Say what each column is that comes out of a query, and why; if the database is sealed with a policy, the query is tried
    Explain(explain::ExplainArgs),
    /// Write a first policy for a database, or say what is new in it; --url may be of anybody who may read its tables
    Suggest(suggest::SuggestArgs),
    /// Print the JSON schema of policy files, for editors
    Schema,
}

pub(super) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check(args) => block_on(check::run(args)),
        PolicyCommand::Test(args) => block_on(test::run(args)),
        PolicyCommand::Explain(args) => block_on(explain::run(args)),
        PolicyCommand::Suggest(args) => block_on(suggest::run(args)),
        PolicyCommand::Schema => {
            print::line(json_schema().trim_end());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The policies of the named files, which are one; without any, those of `policies/*.toml`, one per upstream. What
/// is wrong with one, and warnings, are printed; None: it cannot be used.
fn load(files: &[PathBuf]) -> anyhow::Result<Vec<Option<Loaded>>> {
    let policies = match files {
        [] => grouped(&found()?),
        files => vec![files.to_vec()],
    };
    Ok(policies.iter().map(|files| load_one(files)).collect())
}

/// The one policy of the named files, or of `policies/*.toml`; what is wrong with it is printed.
fn load_single(files: &[PathBuf]) -> anyhow::Result<Option<Loaded>> {
    let mut policies = load(files)?;
    if policies.len() > 1 {
        return Err(Failure::new(
            format!("{FOLDER}/ has policies of {} upstreams", policies.len()),
            "name the files of one",
        )
        .into());
    }
    Ok(policies.pop().flatten())
}

fn load_one(files: &[PathBuf]) -> Option<Loaded> {
    match Policy::load(files) {
        Ok(loaded) => {
            tell(&loaded.warnings);
            Some(loaded)
        }
        Err(wrong) => {
            refuse(&wrong);
            None
        }
    }
}

fn tell(reports: &[Report]) {
    for report in reports {
        print::note(format!("{report}\n"));
    }
}

fn refuse(wrong: &Wrong) {
    tell(&wrong.reports);
    let files: Vec<String> = wrong
        .reports
        .iter()
        .map(|report| report.path().display().to_string())
        .collect();
    let problems = match wrong.count() {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    };
    print::error_with_hint(format!("{}: {problems}", files.join(", ")), None);
}

fn found() -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(FOLDER);
    let mut files: Vec<PathBuf> = entries
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    if files.is_empty() {
        return Err(Failure::new(
            format!("there is no policy file in {FOLDER}/"),
            "name one; `devinprod policy suggest --url URL` writes a first one",
        )
        .into());
    }
    Ok(files)
}

/// Files by the upstream that they are for. What cannot be read stands alone, and will be reported.
fn grouped(files: &[PathBuf]) -> Vec<Vec<PathBuf>> {
    let mut groups: BTreeMap<Option<String>, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        groups
            .entry(upstream_of(file))
            .or_default()
            .push(file.clone());
    }
    groups.into_values().collect()
}

fn upstream_of(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let table: toml::Table = text.parse().ok()?;
    table.get("upstream")?.as_str().map(str::to_owned)
}

/// The groups of somebody, as the command line names them: with or without an @.
fn groups(names: &[String]) -> std::collections::BTreeSet<String> {
    let bare = |name: &String| name.trim_start_matches('@').to_owned();
    names.iter().map(bare).collect()
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    Ok(administrator::connect(url).await?.1)
}
