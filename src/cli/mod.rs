//! The command line: one file per command; `print` is the only one that prints.

mod administrator;
mod attest;
mod audit;
mod budget;
mod child;
mod compare;
mod config;
mod connect;
mod demo;
mod developer;
mod doctor;
mod evidence;
mod fresh;
mod gate;
mod notify;
mod password;
mod policy;
pub mod print;
mod record;
mod rehearse;
mod replay;
mod role_password;
mod run;
mod sandbox;
mod serve;
mod setup;
mod status;
mod table;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cluster::Binaries;
use clap::{Args, Parser, Subcommand};

const TOUR: &str = "\
Where to begin:
  devinprod demo                               a shop to play with; needs nothing but Postgres' programs
  devinprod config example > devinprod.toml    a commented configuration to start from
  devinprod developer add dev1                 a developer, and a password for them
  devinprod config check                       is it all right?
  devinprod serve                              then: psql postgres://dev1@localhost:6432/shop

While it runs, `psql postgres://dev1@localhost:6432/devinprod` is the console; try HELP there.";

/// Develop against production-like data, commit nothing.
///
/// devinprod stands between an application and Postgres. Whatever the application writes stays in a sandbox:
/// one transaction that is never committed. The application changes one thing, its DATABASE_URL.
#[derive(Debug, Parser)]
#[command(name = "devinprod", version, after_help = TOUR, subcommand_required = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it all: a shop on a private Postgres, sealed, behind a proxy
    Demo(demo::DemoArgs),
    /// Serve the upstreams that devinprod.toml names
    Serve(serve::ServeArgs),
    /// Seal a database against commits, or take the seal away
    Setup(setup::SetupArgs),
    /// Try to break the promises on a live upstream
    Doctor(doctor::DoctorArgs),
    /// Check devinprod.toml, or print an example of one
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Write, check, try and explain policies: who sees what of which column
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Verify, search and sum up the record of who did what
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Who is told of what happens: list them, or send a test
    #[command(subcommand)]
    Notify(notify::NotifyCommand),
    /// Add, list, rotate and remove developers
    #[command(subcommand)]
    Developer(developer::DeveloperCommand),
    /// Say how much of the read budgets is used, or let somebody read more for a while
    #[command(subcommand)]
    Budget(budget::BudgetCommand),
    /// List your sandboxes, or throw one away
    #[command(subcommand)]
    Sandbox(sandbox::SandboxCommand),
    /// Try a migration on the real data, in a transaction that cannot commit
    Rehearse(rehearse::RehearseArgs),
    /// Start a command with a sandbox as its database
    Run(run::RunArgs),
    /// Run two programs on the same data and say in what they differ; check assertions
    Compare(compare::CompareArgs),
    /// Start a command and write its statements to a file that can be replayed
    Record(record::RecordArgs),
    /// Run the statements of a recording again, and say how long they take and what differs
    Replay(replay::ReplayArgs),
    /// List and verify what was shown about commits
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
    /// Say whether a commit may go on to a stage, by the evidence of the stages before it
    Gate(gate::GateArgs),
    /// Say where you are and what holds there
    Status(status::StatusArgs),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(
        long = "config",
        value_name = "FILE",
        env = "DEVINPROD_CONFIG",
        default_value = "devinprod.toml"
    )]
    path: PathBuf,
}

impl Cli {
    /// Runs the command, and says on standard error why it failed, if it did.
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Demo(args) => demo::run(args),
            Command::Serve(args) => serve::run(args),
            Command::Setup(args) => block_on(setup::run(args)),
            Command::Doctor(args) => block_on(doctor::run(args)),
            Command::Config(command) => config::run(command),
            Command::Audit(command) => audit::run(command),
            Command::Notify(command) => notify::run(command),
            Command::Policy(command) => policy::run(command),
            Command::Developer(command) => developer::run(command),
            Command::Budget(command) => budget::run(command),
            Command::Sandbox(command) => sandbox::run(command),
            Command::Rehearse(args) => block_on(rehearse::run(args)),
            Command::Run(args) => run::run(args),
            Command::Compare(args) => return compare::run(args),
            Command::Record(args) => block_on(record::run(args)),
            Command::Replay(args) => block_on(replay::run(args)),
            Command::Evidence(command) => evidence::run(command),
            Command::Gate(args) => return gate::run(&args),
            Command::Status(args) => status::run(args),
        };
        result.unwrap_or_else(|error| {
            say_why(&error);
            ExitCode::FAILURE
        })
    }
}

/// Says on standard error why a command failed.
fn say_why(error: &anyhow::Error) {
    let hint = error
        .downcast_ref::<Failure>()
        .map(|failure| failure.hint.as_str());
    print::error_with_hint(format!("{error:#}"), hint);
}

/// One of Postgres' client programs: beside the server's, or on the PATH.
pub(crate) fn client_program(binaries: &Binaries, name: &str) -> anyhow::Result<PathBuf> {
    let beside = binaries.program(name);
    if beside.exists() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.exists())
        .ok_or_else(|| {
            let hint = "it comes with Postgres' client programs";
            Failure::new(format!("{name} is not installed"), hint).into()
        })
}

/// An error with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    message: String,
    hint: String,
}

impl Failure {
    /// Both without a final period.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// Runs a command that talks over the network.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
