//! `devinprod policy test`: the cases of policy files, run as developers would

mod judge;
mod place;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::names::SealNames;
use super::stage::{Player, Stage};
use super::{connect, load_single};
use crate::cli::{Failure, print};
use crate::policy::{Case, Loaded, Policy, live};
use judge::{Answer, judge};
use place::Place;

/// Who asks in a case that names nobody.
const SOMEBODY: &str = "somebody";

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// The files of one policy [default: policies/*.toml]
    files: Vec<PathBuf>,
    /// Start a Postgres, load this dump, seal it with the policy, and throw it all away afterwards
    #[arg(
        long,
        value_name = "DUMP.sql",
        required_unless_present = "url",
        conflicts_with = "url"
    )]
    schema: Option<PathBuf>,
    /// Use this database, which is sealed with the policy; as a superuser
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    names: SealNames,
}

pub(super) async fn run(args: TestArgs) -> anyhow::Result<ExitCode> {
    let Some(Loaded { policy, .. }) = load_single(&args.files)? else {
        return Ok(ExitCode::FAILURE);
    };
    if policy.cases().is_empty() {
        return Err(Failure::new(
            "the policy has no case",
            "docs/policies.md says how a [[case]] is written",
        )
        .into());
    }
    let names = args.names.of(&policy)?;
    // Kept until the end: a cluster of our own stops when this is dropped.
    let (url, _place) = match (&args.schema, &args.url) {
        (Some(dump), _) => {
            let place = Place::make(dump, &policy, &names).await?;
            (place.url(), Some(place))
        }
        (None, Some(url)) => (url.clone(), None),
        (None, None) => anyhow::bail!("neither --schema nor --url was given"),
    };
    let owner = connect(&url).await?;
    if args.url.is_some() {
        check_version(&owner, &policy).await?;
    }
    let stage = Stage::open(&url, &names, &policy, &players(&policy)).await?;
    let results = run_all(&stage, &owner, &policy).await;
    stage.close().await?;
    let failed = results?;
    let all = policy.cases().len();
    if failed == 0 {
        print::line(format!("{all} of {all} cases hold"));
        return Ok(ExitCode::SUCCESS);
    }
    print::error_with_hint(format!("{failed} of {all} cases do not hold"), None);
    Ok(ExitCode::FAILURE)
}

/// Does the seal come from these very files?
async fn check_version(owner: &Client, policy: &Policy) -> anyhow::Result<()> {
    let hint = "devinprod setup --policy makes the seal of these files";
    match live::sealed(owner).await? {
        Some(sealed) if sealed.version == policy.version() => Ok(()),
        Some(sealed) => {
            let (old, new) = (sealed.version, policy.version());
            let message =
                format!("the database is sealed with the policy {old}, and this is {new}");
            Err(Failure::new(message, hint).into())
        }
        None => Err(Failure::new("the database is not sealed with a policy", hint).into()),
    }
}

fn player(case: &Case) -> Player {
    let name = case.developer.as_deref().unwrap_or(SOMEBODY);
    (name.to_owned(), case.groups.clone())
}

fn players(policy: &Policy) -> BTreeSet<Player> {
    policy.cases().iter().map(player).collect()
}

/// Runs the cases, developer by developer, and tells how each went. How many failed.
async fn run_all(stage: &Stage, owner: &Client, policy: &Policy) -> anyhow::Result<usize> {
    let mut failed = 0;
    for who in players(policy) {
        let developer = stage.connect(&who.0).await?;
        for case in policy.cases().iter().filter(|case| player(case) == who) {
            let real = ask(owner, &case.query).await;
            let seen = ask(&developer, &case.query).await;
            match judge(&case.expect, &real, &seen) {
                Ok(()) => print::line(format!("ok    {}", case.name)),
                Err(why) => {
                    failed += 1;
                    print::line(format!("FAIL  {}", case.name));
                    print::line(format!("      {}: {why}", case.origin.place));
                }
            }
        }
    }
    Ok(failed)
}

/// What a statement answers; whatever it did is rolled back.
async fn ask(client: &Client, query: &str) -> Answer {
    let answer = match client.batch_execute("BEGIN").await {
        Ok(()) => client.simple_query(query).await,
        Err(error) => Err(error),
    };
    // A connection that broke will say so the next time.
    let _ = client.batch_execute("ROLLBACK").await;
    read(answer)
}

fn read(answer: Result<Vec<SimpleQueryMessage>, Error>) -> Answer {
    let messages = answer.map_err(|error| match error.as_db_error() {
        Some(db) => db.code().code().to_owned(),
        None => "no answer".to_owned(),
    })?;
    let mut names: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                names = columns
                    .iter()
                    .map(|column| column.name().to_owned())
                    .collect();
            }
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|place| row.get(place).map(str::to_owned));
                rows.push(values.collect());
            }
            _ => {}
        }
    }
    Ok(judge::Table { names, rows })
}

/// Runs what the cases want to be there, as the database's owner, each text once.
async fn given(client: &Client, policy: &Policy) -> anyhow::Result<()> {
    let mut done = BTreeSet::new();
    for case in policy.cases() {
        for sql in &case.given {
            if done.insert(sql) {
                client.batch_execute(sql).await.with_context(|| {
                    format!("what the case \"{}\" is given does not work", case.name)
                })?;
            }
        }
    }
    Ok(())
}
