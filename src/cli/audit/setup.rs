//! `devinprod audit setup`: makes the database that the log is copied into.

use anyhow::Context;
use clap::Args;

use crate::audit::postgres::{AUDITOR, Options, WRITER, script};
use crate::cli::role_password::RolePassword;
use crate::cli::{Failure, print};
use crate::report::units::Span;
use crate::upstream::address::Address;
use crate::upstream::admin::admin;

const DAY: u64 = 86_400;

#[derive(Debug, Args)]
pub(in crate::cli) struct SetupArgs {
    /// The URL of who will own the copy, and may make roles; it is used now and stored nowhere
    #[arg(
        long,
        value_name = "URL",
        env = "DEVINPROD_ADMIN_URL",
        hide_env_values = true
    )]
    url: String,
    /// Drop days that are older, such as 90d; what was set before stays if this is left out
    #[arg(long, value_name = "DAYS")]
    retention: Option<String>,
    /// The environment variable with the password of the proxy's role there; made up for a new role if this is left out
    #[arg(long, value_name = "VAR")]
    writer_password_env: Option<String>,
    /// Print the SQL for somebody to read and run with psql, and change nothing
    #[arg(long)]
    print: bool,
}

pub(super) async fn run(args: &SetupArgs) -> anyhow::Result<()> {
    let address: Address = args
        .url
        .parse()
        .context("the URL of the audit's database is not right")?;
    let client = admin(&address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
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
    Ok(())
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
