//! `devinprod notify test|list`

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{ConfigFile, Failure, print};
use crate::config::Config;
use crate::notify::{self, NotifySettings, Timing, Topic};

#[derive(Debug, Subcommand)]
pub(super) enum NotifyCommand {
    /// Send a test message, and say what came back
    Test(TestArgs),
    /// List who is told what
    List(ConfigFile),
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Which notification; all of them if it is left out
    name: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: NotifyCommand) -> anyhow::Result<ExitCode> {
    match command {
        NotifyCommand::Test(args) => test(&args),
        NotifyCommand::List(file) => {
            for one in Config::load(&file.path)?.config.notify {
                print::line(describe(&one));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn test(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let all = Config::load(&args.config.path)?.config.notify;
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    let hint = match names.as_slice() {
        [] => "the configuration has no [[notify]]".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    let wanted = |one: &&NotifySettings| args.name.as_ref().is_none_or(|name| one.name == *name);
    let chosen: Vec<_> = all.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let what = match &args.name {
            Some(name) => format!("there is no notification \"{name}\""),
            None => "there is nobody to tell".to_owned(),
        };
        return Err(Failure::new(what, hint).into());
    }
    let mut code = ExitCode::SUCCESS;
    for one in chosen {
        let (name, kind) = (&one.name, one.way.as_str());
        match notify::deliver(one, &notify::test_message(), Timing::default().patience) {
            Ok(said) => print::line(format!("{name} ({kind}): delivered, {said}")),
            Err(failure) => {
                print::error_with_hint(format!("{name} ({kind}): not delivered: {failure}"), None);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// One line for people.
pub(super) fn describe(one: &NotifySettings) -> String {
    let topics = match one.topics.len() == Topic::ALL.len() {
        true => "everything".to_owned(),
        false => {
            let topics: Vec<_> = one.topics.iter().map(|topic| topic.as_str()).collect();
            topics.join(", ")
        }
    };
    format!("notification {} ({}): {topics}", one.name, one.way.as_str())
}
