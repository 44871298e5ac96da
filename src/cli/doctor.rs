//! `devinprod doctor`: tries to break the promises on a live upstream, one line for each.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::print;
use crate::seal::doctor::{Promise, Verdict};
use crate::seal::{self, Names, SealError};
use crate::upstream::address::Address;
use crate::upstream::admin::{admin, admin_as};

/// Which upstream to examine.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The upstream's URL, as devinprod.toml has it: that of the proxy's own role
    #[arg(
        long,
        value_name = "URL",
        env = "DEVINPROD_UPSTREAM_URL",
        hide_env_values = true
    )]
    url: String,
    /// What the names of the seal's roles begin with
    #[arg(long, value_name = "PREFIX", default_value = "devinprod_")]
    prefix: String,
    /// Also say what was tried and what Postgres answered
    #[arg(long, short)]
    verbose: bool,
}

/// Attacks the upstream and says what held; fails if a promise did not.
pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let address: Address = args
        .url
        .parse()
        .context("the upstream's URL is not right")?;
    let names = Names::with_prefix(&args.prefix)?;
    let keeper = admin(&address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let connect = async |role: &str, password: &str| {
        admin_as(&address, role, password)
            .await
            .map_err(|error| SealError::Connect(Box::new(error)))
    };
    let promises = seal::doctor(&keeper, &names, connect).await?;
    for promise in &promises {
        tell(promise, args.verbose);
    }
    let count = |verdict| promises.iter().filter(|p| p.verdict == verdict).count();
    let broken = count(Verdict::Broken);
    print::line(format!(
        "{address}: {} held, {broken} broken, {} left to the proxy",
        count(Verdict::Held),
        count(Verdict::LeftToProxy)
    ));
    Ok(if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(promise: &Promise, verbose: bool) {
    let word = match promise.verdict {
        Verdict::Held => "held",
        Verdict::Broken => "BROKEN",
        Verdict::LeftToProxy => "proxy",
        Verdict::Note => "note",
    };
    let Promise { text, seen, .. } = promise;
    if seen.is_empty() || (promise.verdict == Verdict::Held && !verbose) {
        print::line(format!("{word:7} {text}"));
    } else {
        print::line(format!("{word:7} {text} ({seen})"));
    }
}
