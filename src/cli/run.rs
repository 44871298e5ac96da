//! `devinprod run`: a command with a sandbox as its database.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use clap::Args;

use super::connect::ProxyUrl;
use super::target::Target;
use super::{child, print};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The sandbox [default: the one that the URL names, or `default`]
    #[arg(long, value_name = "NAME")]
    sandbox: Option<String>,
    /// A variable that the command keeps although it may lead to another database
    #[arg(long, value_name = "VARIABLE")]
    keep: Vec<String>,
    #[command(flatten)]
    proxy: ProxyUrl,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// This process becomes the command: terminal, signals and exit status are the command's own.
pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let target = Target::of(&args.proxy)?;
    let named = args.sandbox.as_deref().or(target.sandbox.as_deref());
    let way = target.straight(named.unwrap_or("default"));
    let mut command = child::prepare(&args.command, &way, &args.keep)?;
    let error = command.exec();
    let program = command.get_program().to_string_lossy().into_owned();
    let failure = child::cannot_start(&program, &error);
    print::error_with_hint(failure.message, Some(&failure.hint));
    // As the shell and env say it.
    Ok(match error.kind() {
        ErrorKind::NotFound => ExitCode::from(127),
        _ => ExitCode::from(126),
    })
}
