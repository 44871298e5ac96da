//! `devinprod config check|example`

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigFile, notify, print};
use crate::config::{Config, EXAMPLE, Upstream};
use crate::sandbox::settings::{Isolation, Seal};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration, and say what it means
    Check(ConfigFile),
    /// Print a commented example
    Example,
}

pub(super) fn run(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Example => {
            print::line(EXAMPLE.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Check(file) => check(&file),
    }
}

fn check(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let loaded = match Config::load(&file.path) {
        Ok(loaded) => loaded,
        Err(report) => {
            print::note(format!("{report}\n"));
            let problems = if report.len() == 1 {
                "problem"
            } else {
                "problems"
            };
            print::error_with_hint(
                format!("{}: {} {problems}", file.path.display(), report.len()),
                None,
            );
            return Ok(ExitCode::FAILURE);
        }
    };
    if !loaded.warnings.is_empty() {
        print::note(format!("{}\n", loaded.warnings));
    }
    let config = &loaded.config;
    let tls = match (&config.listen.tls, config.listen.address.ip().is_loopback()) {
        (Some(_), _) => "with TLS",
        (None, true) => "loopback only",
        (None, false) => "in plaintext, as you asked",
    };
    print::line(format!("listens on {}, {tls}", config.listen.address));
    for upstream in config.upstreams.values() {
        print::line(describe(upstream));
    }
    for one in &config.notify {
        print::line(notify::describe(one));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(upstream: &Upstream) -> String {
    let protection = match upstream.isolation {
        Isolation::None => "no isolation: everything is committed",
        Isolation::Sandbox(Seal::Sealed) => "sandbox, sealed",
        Isolation::Sandbox(Seal::Unsealed) => "sandbox, unsealed",
        Isolation::ReadOnly(Seal::Sealed) => "read only, sealed",
        Isolation::ReadOnly(Seal::Unsealed) => "read only, unsealed",
    };
    let developers: Vec<&str> = upstream.developers.iter().map(String::as_str).collect();
    let developers = if developers.is_empty() {
        "nobody".to_owned()
    } else {
        developers.join(", ")
    };
    format!(
        "upstream {}: {}, {protection}, for {developers}",
        upstream.name,
        upstream.stage.as_str()
    )
}
