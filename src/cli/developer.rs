//! `devinprod developer add|list|rotate|remove`: keeps the developers' file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::password::{self, Source};
use super::{ConfigFile, Failure, print};
use crate::audit::administered;
use crate::config::Config;
use crate::config::developers::{ChangeLock, DevelopersFile, check_name};
use crate::wire::verifier::{DEFAULT_ITERATIONS, Verifier};

#[derive(Debug, Subcommand)]
pub(super) enum DeveloperCommand {
    /// Add a developer; without further options, a password is generated and printed once
    Add(PasswordArgs),
    /// Give a developer a new password; a running proxy takes it without a restart
    Rotate(PasswordArgs),
    /// List the developers, and what each may use
    List(ConfigFile),
    /// Remove a developer; a running proxy takes it without a restart
    Remove(NameArgs),
}

#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    #[command(flatten)]
    developer: NameArgs,
    /// Ask for the password on the terminal, without showing it
    #[arg(long, conflicts_with = "password_stdin")]
    ask: bool,
    /// Read the password from standard input, up to the end of the line
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The developer's name: what they log in with
    name: String,
    #[command(flatten)]
    config: ConfigFile,
}

impl PasswordArgs {
    fn source(&self) -> Source {
        match (self.ask, self.password_stdin) {
            (true, _) => Source::Terminal,
            (_, true) => Source::Stdin,
            _ => Source::Generated,
        }
    }
}

pub(super) fn run(command: DeveloperCommand) -> anyhow::Result<ExitCode> {
    match command {
        DeveloperCommand::Add(args) => add(&args)?,
        DeveloperCommand::Rotate(args) => rotate(&args)?,
        DeveloperCommand::List(config) => list(&config.path)?,
        DeveloperCommand::Remove(args) => remove(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add(args: &PasswordArgs) -> anyhow::Result<()> {
    let NameArgs { name, config } = &args.developer;
    check_name(name).map_err(anyhow::Error::msg)?;
    change(&config.path, "developer add", name, |file| {
        if file.get(name).is_some() {
            return Err(Failure::new(
                format!("developer \"{name}\" exists already"),
                format!("`devinprod developer rotate {name}` gives a new password"),
            )
            .into());
        }
        set_password(file, name, args.source())
    })?;
    print::note(format!("developer \"{name}\" added"));
    print::note(granted(&config.path, name));
    Ok(())
}

fn rotate(args: &PasswordArgs) -> anyhow::Result<()> {
    let NameArgs { name, config } = &args.developer;
    change(&config.path, "developer rotate", name, |file| {
        known(file, name)?;
        set_password(file, name, args.source())
    })?;
    print::note(format!(
        "developer \"{name}\" has a new password; open connections stay"
    ));
    Ok(())
}

fn remove(args: &NameArgs) -> anyhow::Result<()> {
    let name = &args.name;
    change(&args.config.path, "developer remove", name, |file| {
        known(file, name)?;
        file.remove(name);
        Ok(())
    })?;
    print::note(format!("developer \"{name}\" removed"));
    Ok(())
}

fn list(config: &Path) -> anyhow::Result<()> {
    let loaded = Config::load(config)?;
    for name in loaded.config.developers.keys() {
        let upstreams: Vec<&str> = loaded
            .config
            .granted_to(name)
            .map(|upstream| upstream.name.as_str())
            .collect();
        print::line(format!("{name}\t{}", upstreams.join(",")));
    }
    Ok(())
}

/// Reads the developers' file, changes it and writes it, while nobody else does; what is done goes on record first.
fn change(
    config: &Path,
    command: &str,
    name: &str,
    change: impl FnOnce(&mut DevelopersFile) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let path = developers_file(config)?;
    let _lock = ChangeLock::take(&path)?;
    let mut file = DevelopersFile::read_or_empty(&path)?;
    change(&mut file)?;
    let folder = Config::audit_folder(config)?;
    administered(&folder, command, name)
        .with_context(|| format!("{} takes no record of this", folder.display()))?;
    Ok(file.write(&path)?)
}

fn developers_file(config: &Path) -> anyhow::Result<PathBuf> {
    Config::developers_file(config)?.ok_or_else(|| {
        Failure::new(
            format!("{} names no developers' file", config.display()),
            "add `developers_file = \"devinprod.developers\"` at its top",
        )
        .into()
    })
}

fn known(file: &DevelopersFile, name: &str) -> anyhow::Result<()> {
    if file.get(name).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = file.iter().map(|(name, _)| name).collect();
    Err(Failure::new(
        format!("the developers' file has no developer \"{name}\""),
        if names.is_empty() {
            "it has none at all".to_owned()
        } else {
            format!("it has {}", names.join(", "))
        },
    )
    .into())
}

fn set_password(file: &mut DevelopersFile, name: &str, source: Source) -> anyhow::Result<()> {
    let password = password::obtain(source)?;
    file.set(name, Verifier::from_password(&password, DEFAULT_ITERATIONS));
    if source == Source::Generated {
        print::note("password, shown this once:");
        print::line(&password);
    }
    Ok(())
}

/// What a new developer may use; a configuration that is not right yet is no reason to fail here.
fn granted(config: &Path, name: &str) -> String {
    let upstreams: Vec<String> = match Config::load(config) {
        Ok(loaded) => loaded
            .config
            .granted_to(name)
            .map(|u| u.name.clone())
            .collect(),
        Err(_) => Vec::new(),
    };
    if upstreams.is_empty() {
        format!(
            "hint: no upstream is granted yet; list \"{name}\" in the `developers` of an [[upstream]]"
        )
    } else {
        format!("may use: {}", upstreams.join(", "))
    }
}
