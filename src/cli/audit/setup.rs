//! `devinprod audit setup`: makes the database that the log is copied into.

use std::process::ExitCode;

use clap::Args;

use crate::audit::postgres::{AUDITOR, Options, WRITER, script};
use crate::cli::administrator::{AdminUrl, agreed};
use crate::cli::role_password::RolePassword;
use crate::cli::{Failure, print};
use crate::report::units::Span;
use crate::upstream::address::Address;

const DAY: u64 = 86_400;

#[derive(Debug, Args)]
pub(in crate::cli) struct SetupArgs {
    #[command(flatten)]
    database: AdminUrl,
    /// Drop days that are older, such as 90d; what was set before stays if this is left out
    #[arg(long, value_name = "DAYS")]
    retention: Option<String>,
    /// The environment variable with the password of the proxy's role there; made up for a new role if this is left out
    #[arg(long, value_name = "VAR")]
    writer_password_env: Option<String>,
    /// Print the SQL for somebody to read and run with psql, and change nothing
    #[arg(long)]
    print: bool,
    /// Do not ask before changing the database
    #[arg(long)]
    yes: bool,
}

/// Shows what it does and, unless it is only to be printed, asks and does it.
pub(super) async fn run(args: &SetupArgs) -> anyhow::Result<ExitCode> {
    let (address, client) = args.database.connect().await?;
    let exists = client
        .query_opt(
            "SELECT FROM pg_catalog.pg_roles WHERE rolname = $1",
            &[&WRITER],
        )
        .await?
        .is_some();
    let password = RolePassword::choose(args.writer_password_env.as_ref(), exists)?;
    let options = Options {
        verifier: password.verifier().map(|text| text.parse()).transpose()?,
        retention_days: args.retention.as_deref().map(days).transpose()?,
    };
    let script = script(&options);
    if args.print {
        print::line(script.trim_end());
    } else {
        explain(&address, &options, exists);
        if !agreed(args.yes, "audit setup", &address.database)? {
            return Ok(ExitCode::FAILURE);
        }
        client.batch_execute(&script).await.map_err(told)?;
        print::note(format!(
            "{} is ready for the audit: {WRITER} may add records, members of {AUDITOR} may read them, nobody but their \
             owner may change or delete one",
            address.database
        ));
    }
    password.tell(&address, WRITER, "The setting", |url| {
        format!("[audit]\nsql_url = \"{url}\"")
    });
    Ok(ExitCode::SUCCESS)
}

/// What is about to change.
fn explain(address: &Address, options: &Options, exists: bool) {
    let (database, owner) = (&address.database, &address.user);
    print::note(format!("What changes, in {database} as {owner}:"));
    let role = match (exists, options.verifier.is_some()) {
        (false, _) => {
            format!("the roles {WRITER}, who may log in, and {AUDITOR}, if it is missing")
        }
        (true, true) => format!("{WRITER} gets another password"),
        (true, false) => format!("{WRITER} is there, and keeps its password"),
    };
    print::note(format!("  1. {role}"));
    print::note(format!(
        "  2. the schema devinprod_audit, owned by {owner}: what is missing of its tables, views and functions; \
         {WRITER} may add records, members of {AUDITOR} may read them"
    ));
    if let Some(days) = options.retention_days {
        print::note(format!("  3. days older than {days} days may be dropped"));
    }
}

/// Whole days.
fn days(text: &str) -> anyhow::Result<u32> {
    let seconds = Span::parse(text).map_or(0, |Span(span)| span.as_secs());
    let days = u32::try_from(seconds / DAY)?;
    if !seconds.is_multiple_of(DAY) || !(1..=36_500).contains(&days) {
        let hint = "the copy is kept in partitions of a day: give 90d, for example";
        return Err(Failure::new(
            format!("a retention of {text:?} is no number of days"),
            hint,
        )
        .into());
    }
    Ok(days)
}

/// Postgres' own words, with its hint.
fn told(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(refused) => Failure::new(
            format!("nothing was changed: {}", refused.message()),
            refused
                .hint()
                .unwrap_or("the role needs CREATE on the database and CREATEROLE"),
        )
        .into(),
        None => error.into(),
    }
}
