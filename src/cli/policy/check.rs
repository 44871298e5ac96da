//! `devinprod policy check`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{connect, load, refuse, tell};
use crate::cli::print;
use crate::policy::{Comparison, Loaded, Policy, live};

/// How many unclassified columns are named.
const NAMED: usize = 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// The files of one policy [default: policies/*.toml, by upstream]
    files: Vec<PathBuf>,
    /// Compare with this database, too; only its catalog is read
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Take warnings for mistakes
    #[arg(long)]
    strict: bool,
}

pub(super) async fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let policies = match &args.url {
        // A database has one policy.
        Some(_) => vec![super::load_single(&args.files)?],
        None => load(&args.files)?,
    };
    let catalog = match &args.url {
        Some(url) => {
            let client = connect(url).await?;
            let catalog = live::catalog(&client).await;
            Some(catalog.context("cannot read the catalog")?)
        }
        None => None,
    };
    let mut right = true;
    for loaded in policies {
        let Some(Loaded { policy, warnings }) = loaded else {
            right = false;
            continue;
        };
        let comparison = catalog.as_ref().map(|catalog| policy.against(catalog));
        let warned = comparison
            .as_ref()
            .is_some_and(|comparison| !comparison.warnings.is_empty());
        right &= !(args.strict && (warned || !warnings.is_empty()));
        match comparison {
            None => print::line(describe(&policy)),
            Some(comparison) => {
                tell(&comparison.warnings);
                match comparison.passed() {
                    Ok(comparison) => {
                        print::line(describe(&policy));
                        print::line(compared(&comparison));
                    }
                    Err(wrong) => {
                        refuse(&wrong);
                        right = false;
                    }
                }
            }
        }
    }
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn describe(policy: &Policy) -> String {
    let files: Vec<String> = policy
        .files()
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    let upstream = policy
        .upstream()
        .map_or(String::new(), |name| format!(" for the upstream {name}"));
    format!(
        "{}: policy {}{upstream}; {}, {}",
        files.join(", "),
        policy.version(),
        count(policy.grants().len(), "exception"),
        count(policy.cases().len(), "case"),
    )
}

fn compared(comparison: &Comparison) -> String {
    let Comparison {
        columns,
        clear,
        masked,
        unclassified,
        ..
    } = comparison;
    let denied = columns - clear - masked;
    let mut text =
        format!("of {columns} columns {clear} are clear, {masked} masked, {denied} denied");
    if !unclassified.is_empty() {
        text.push_str(&format!(
            "; {} by the default, since no line names them:",
            count(unclassified.len(), "column")
        ));
        for name in unclassified.iter().take(NAMED) {
            text.push_str(&format!("\n  {name}"));
        }
        if unclassified.len() > NAMED {
            text.push_str(&format!("\n  and {} more", unclassified.len() - NAMED));
        }
    }
    text
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
