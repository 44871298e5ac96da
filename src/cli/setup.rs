//! `devinprod setup`: seals a database against commits and, with a policy, sensitive columns against being read; or takes
//! the seal away.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio_postgres::Client;

use super::administrator::{self, AdminUrl};
use super::role_password::RolePassword;
use super::{Failure, print};
use crate::audit::administered;
use crate::config::Config;
use crate::policy::{Policy, live};
use crate::seal::{self, Finding, Names, SealOptions, SealPlan, Survey};
use crate::upstream::address::Address;

/// Which database to seal, and how.
#[derive(Debug, Args)]
pub(super) struct SetupArgs {
    #[command(flatten)]
    database: AdminUrl,
    /// Print the SQL for somebody to read and run with psql, and change nothing
    #[arg(long)]
    print: bool,
    /// Take the seal away, and give PUBLIC back what it lost
    #[arg(long)]
    remove: bool,
    /// A file of the policy that says what developers may see; may be given repeatedly. Without one, what they may read
    /// stays as it is
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    policy: Vec<PathBuf>,
    /// How many sandboxes may run at once: each needs a pair of roles
    #[arg(long, value_name = "N", default_value_t = 16)]
    pairs: u16,
    /// How many sandboxes may run at once for each of the policy's sets of exceptions
    #[arg(long, value_name = "N", default_value_t = 4)]
    exception_pairs: u16,
    /// Do not ask before changing the database
    #[arg(long)]
    yes: bool,
    /// The environment variable that holds the proxy's password; without it, one is generated and shown once
    #[arg(long, value_name = "NAME")]
    proxy_password_env: Option<String>,
    /// A SECURITY DEFINER function that developers may call, as schema.name(types); may be given repeatedly
    #[arg(long, value_name = "FUNCTION")]
    allow_function: Vec<String>,
    /// Code of the application that may run when developers write, as the plan names it; may be given repeatedly
    #[arg(long, value_name = "CODE")]
    vouch: Vec<String>,
    /// A function of the application whose search_path is set to pg_catalog, pg_temp, as schema.name(types), or all: each that
    /// the plan says could be steered. Every name in it must be qualified. May be given repeatedly; --remove undoes it
    #[arg(long, value_name = "FUNCTION", conflicts_with = "remove")]
    pin: Vec<String>,
    /// What the names of the roles begin with; another one for each sealed database of a server
    #[arg(long, value_name = "PREFIX", default_value = "devinprod_")]
    prefix: String,
    /// The proxy's configuration: what is done to the database goes on record in its audit
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Shows the plan and, unless it is only to be printed, runs it.
pub(super) async fn run(args: SetupArgs) -> anyhow::Result<ExitCode> {
    let (address, client) = args.database.connect().await?;
    let names = Names::with_prefix(&args.prefix)?;
    let survey = seal::survey(&client, &names).await?;
    if args.remove {
        remove(&args, &client, &survey, &names).await
    } else {
        seal(&args, &client, &survey, names, &address).await
    }
}

async fn seal(
    args: &SetupArgs,
    client: &Client,
    survey: &Survey,
    names: Names,
    address: &Address,
) -> anyhow::Result<ExitCode> {
    let password = RolePassword::choose(
        args.proxy_password_env.as_ref(),
        survey.role(&names.proxy()).is_some(),
    )?;
    let policy = policy(&args.policy)?;
    if let Some(policy) = &policy {
        fits(client, policy).await?;
    }
    let options = SealOptions {
        pairs: args.pairs,
        proxy_verifier: password.verifier(),
        allowed_functions: args.allow_function.clone(),
        vouched: args.vouch.clone(),
        pinned: args.pin.clone(),
        names,
        policy,
        exception_pairs: args.exception_pairs,
    };
    let plan = seal::plan(survey, &options)?;
    if !agreed(args, &plan, survey, "seal")? {
        return Ok(ExitCode::FAILURE);
    }
    if !args.print {
        let policy = options.policy.as_ref();
        record(args, survey, policy.map_or("no policy", Policy::version))?;
        seal::apply(client, &plan).await?;
        print::note(match &options.policy {
            Some(policy) => format!(
                "{} is sealed: nothing can be committed, and developers read what the policy {} opens",
                survey.database,
                policy.version()
            ),
            None => format!("{} is sealed against commits", survey.database),
        });
    }
    let names = &options.names;
    password.tell(address, &names.proxy(), "The upstream's url", |url| {
        settings(url, names)
    });
    Ok(ExitCode::SUCCESS)
}

/// What is about to be done goes on record, where there is a proxy's log to take it.
fn record(args: &SetupArgs, survey: &Survey, what: &str) -> anyhow::Result<()> {
    let Some(config) = &args.config else {
        return Ok(());
    };
    let folder = Config::audit_folder(config)?;
    let detail = format!(
        "{} as {}: {what}",
        survey.database, survey.administrator.name
    );
    administered(&folder, "setup", &detail)
        .with_context(|| format!("{} takes no record of this", folder.display()))
}

/// Reads the policy's files, if any were named, and says what is doubtful about them.
fn policy(files: &[PathBuf]) -> anyhow::Result<Option<Policy>> {
    if files.is_empty() {
        return Ok(None);
    }
    let loaded = Policy::load(files).map_err(|wrong| anyhow::anyhow!("{wrong}"))?;
    for warning in &loaded.warnings {
        print::note(warning.to_string());
    }
    Ok(Some(loaded.policy))
}

/// A policy that names what is not there, or that contradicts itself on this database, changes nothing.
async fn fits(client: &Client, policy: &Policy) -> anyhow::Result<()> {
    let catalog = live::catalog(client)
        .await
        .context("cannot read the catalog")?;
    let comparison = policy.against(&catalog);
    for warning in &comparison.warnings {
        print::note(format!("{warning}\n"));
    }
    let hint = "nothing was changed; `devinprod policy check --url` says this again";
    match comparison.passed() {
        Ok(_) => Ok(()),
        Err(wrong) => Err(Failure::new(wrong.to_string(), hint).into()),
    }
}

async fn remove(
    args: &SetupArgs,
    client: &Client,
    survey: &Survey,
    names: &Names,
) -> anyhow::Result<ExitCode> {
    let taken = seal::survey_taken(client, survey).await?;
    let plan = seal::removal(survey, &taken, names)?;
    if !agreed(args, &plan, survey, "take the seal from")? {
        return Ok(ExitCode::FAILURE);
    }
    if !args.print {
        record(args, survey, "--remove")?;
        seal::apply(client, &plan).await?;
        print::note(format!(
            "nothing of the seal is left in {}",
            survey.database
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the plan, and asks whether to run it unless that was said already or there is nothing to ask.
fn agreed(args: &SetupArgs, plan: &SealPlan, survey: &Survey, verb: &str) -> anyhow::Result<bool> {
    if args.print {
        print::line(plan.script());
        return Ok(true);
    }
    if plan.is_empty() {
        print::note("there is nothing to change");
        return Ok(true);
    }
    print::note(format!(
        "What changes, to {verb} {} as {}:",
        survey.database, survey.administrator.name
    ));
    for (number, step) in plan.steps.iter().enumerate() {
        print::note(format!("{:3}. {}", number + 1, step.reason));
    }
    if !plan.summary.is_empty() {
        print::note("What is closed, given or ended:");
    }
    for line in &plan.summary {
        print::note(format!("  - {line}"));
    }
    let (open, known): (Vec<&Finding>, Vec<&Finding>) = plan
        .findings
        .iter()
        .partition(|finding| !finding.remedy.is_empty());
    for Finding { what, .. } in known {
        print::note(format!("note: {what}"));
    }
    if !open.is_empty() {
        print::note("What its owner must decide:");
    }
    for Finding { what, remedy, .. } in open {
        print::note(format!("  - {what}\n    hint: {remedy}"));
    }
    administrator::agreed(args.yes, "setup", &survey.database)
}

/// The lines for devinprod.toml.
fn settings(url: &str, names: &Names) -> String {
    let mut lines = format!("url = \"{url}\"");
    if *names != Names::default() {
        lines.push_str(&format!("\nrole_prefix = \"{}\"", names.prefix()));
    }
    lines
}
