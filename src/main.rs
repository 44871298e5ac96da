//! The `devinprod` command: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use devinprod::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
