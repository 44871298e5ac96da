//! The configuration: `devinprod.toml`, read and checked once, in one place.
//!
//! A file goes through two shapes. The raw one (`raw`) says what is written, type by type; the checked one,
//! [`Config`], can only be made by [`Config::load`] and [`Config::parse`], and holds nothing that the
//! proxy would have to doubt: an unsealed or pass-through upstream is of a stage that allows it, a password is a verifier,
//! an address beyond loopback has TLS or somebody's explicit word. Every problem is reported with its
//! line, all of them at once ([`Report`]).
//!
//! The settings structs belong to the modules that use them; this module composes them and stands above.

mod check;
pub mod developers;
mod raw;
pub mod reload;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::audit::AuditSettings;
use crate::budget::ledger::shared::SharedSettings;
use crate::error::{Refusal, SqlState};
use crate::evidence::gate::GateSettings;
use crate::notify::NotifySettings;
use crate::page::PageSettings;
use crate::policy::Policy;
use crate::report::toml_file as read;
use crate::sandbox::settings::{Isolation, SandboxSettings, Stage};
use crate::seal::Names;
use crate::upstream::address::Address;
use crate::wire::verifier::Verifier;

pub use crate::report::Report;
pub use crate::wire::listen::Listen;

/// The example that `devinprod config example` prints; a test loads it.
pub const EXAMPLE: &str = include_str!("../docs/devinprod.example.toml");

const IF_MISSING: &str = "`devinprod config example > devinprod.toml` makes a first one";

/// Everything that `devinprod serve` was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients connect, and how safely.
    pub listen: Listen,
    /// The web page, if there is to be one.
    pub page: Option<PageSettings>,
    /// The upstreams by the database name that clients ask for.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// The developers by name.
    pub developers: BTreeMap<String, Developer>,
    /// Where the audit's log is, and how it is kept.
    pub audit: AuditSettings,
    /// The database that the log is copied into, if there is one.
    pub audit_sql: Option<Address>,
    /// Who is told of what happens.
    pub notify: Vec<NotifySettings>,
    /// What a change must show before it goes on to a stage.
    pub gate: GateSettings,
    /// Limits of the whole proxy.
    pub limits: Limits,
    /// Where the ledger of read budgets is.
    pub budgets_folder: PathBuf,
    /// The ledger that several proxies share, if there is one.
    pub shared_ledger: Option<SharedSettings>,
    /// The file that `devinprod developer` keeps, if there is one.
    pub developers_file: Option<PathBuf>,
    contact: Option<String>,
}

/// A database that the proxy may connect to.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The database name that clients ask for.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// What kind of data it holds.
    pub stage: Stage,
    /// What stands between clients and its data.
    pub isolation: Isolation,
    /// What the seal's roles are called there, if it is sealed.
    pub names: Names,
    /// How its sandboxes behave.
    pub sandbox: SandboxSettings,
    /// Who may use it, groups resolved.
    pub developers: BTreeSet<String>,
    /// Whom a refused developer should ask.
    pub contact: Option<String>,
    /// Who sees what there, if that was written down. What the database itself shows hangs on its seal alone.
    pub policy: Option<Arc<Policy>>,
    /// The policy's sets of exceptions by developer; who has none is not here.
    pub sets: BTreeMap<String, String>,
}

/// Somebody who may connect.
#[derive(Debug, Clone)]
pub struct Developer {
    /// The user name to log in with.
    pub name: String,
    /// What the password is checked against.
    pub verifier: Verifier,
    /// The groups, without their `@`.
    pub groups: BTreeSet<String>,
}

/// Limits of the whole proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest message that a client may send, in bytes.
    pub max_message_size: usize,
    /// How many clients may be connected at the same time.
    pub max_clients: u32,
    /// From connect to authenticated, at most this long.
    pub startup_timeout: Duration,
    /// How long a graceful stop waits for running statements.
    pub shutdown_grace: Duration,
    /// How often the seal of an upstream that is in use is looked at again.
    pub seal_check: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: 64 << 20,
            max_clients: 1_000,
            startup_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(10),
            seal_check: Duration::from_secs(60),
        }
    }
}

/// A configuration that can be used, and what its owner should know all the same.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings; often empty.
    pub warnings: Report,
}

impl Config {
    /// Reads and checks the file at `path`, with this process's environment.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn load(path: &Path) -> Result<Loaded, Report> {
        let text = read::file(path, IF_MISSING)?;
        Self::parse(path, &text, &|name| std::env::var(name).ok())
    }

    /// Checks `text` as if it stood in the file at `path` (other files are looked up relative to it);
    /// `environment` answers for `url_env`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn parse(
        path: &Path,
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Loaded, Report> {
        let (raw, problems) = read::raw(text);
        check::config(path, text, raw, problems, environment)
    }

    /// The developers' file that a configuration names, resolved against its own folder; nothing else in it
    /// need be right.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn developers_file(path: &Path) -> Result<Option<PathBuf>, Report> {
        let raw = Self::written(path)?;
        Ok(raw.developers_file.map(|file| read::beside(path, &file)))
    }

    /// The audit's folder, as the file at `path` names it; nothing else in it need be right.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn audit_folder(path: &Path) -> Result<PathBuf, Report> {
        let raw = Self::written(path)?;
        Ok(raw.audit.folder(path))
    }

    /// What the file at `path` says of its gate; the rest of it must have the right form, and need not be right.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML, or the gate is wrong.
    pub fn gate(path: &Path) -> Result<GateSettings, Report> {
        let (text, raw) = Self::well_formed(path)?;
        check::gate(path, &text, &raw)
    }

    /// Whom the file at `path` wants to be told; the rest of it must have the right form, and need not be right.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML, or what it says of that is wrong.
    pub fn notify(path: &Path) -> Result<Vec<NotifySettings>, Report> {
        let (text, raw) = Self::well_formed(path)?;
        check::notify(path, &text, &raw, &|name| std::env::var(name).ok())
    }

    /// The file as it is written, if nothing in it is unknown: a setting that is misspelt could be any.
    fn well_formed(path: &Path) -> Result<(String, raw::RawConfig), Report> {
        let text = read::file(path, IF_MISSING)?;
        match read::raw(&text) {
            (Some(raw), problems) if problems.is_empty() => Ok((text, raw)),
            (_, problems) => Err(Report::new(path, &text, &problems)),
        }
    }

    /// The private key of the audit, as the file at `path` names it; nothing else in it need be right.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn audit_key_file(path: &Path) -> Result<PathBuf, Report> {
        let raw = Self::written(path)?;
        Ok(check::audit::key_file(path, &raw.audit))
    }

    /// The folder of the ledger of read budgets, as the file at `path` names it; nothing else in it need be right.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn budgets_folder(path: &Path) -> Result<PathBuf, Report> {
        let raw = Self::written(path)?;
        Ok(check::budgets::folder(path, &raw.budgets))
    }

    /// The file as it is written.
    fn written(path: &Path) -> Result<raw::RawConfig, Report> {
        let text = read::file(path, IF_MISSING)?;
        match read::raw(&text) {
            (Some(raw), _) => Ok(raw),
            (None, problems) => Err(Report::new(path, &text, &problems)),
        }
    }

    /// The upstream that `developer` asked for as `database`.
    ///
    /// # Errors
    /// 3D000 if there is none of that name, 42501 with whom to ask if it was not granted.
    pub fn upstream_for(&self, developer: &str, database: &str) -> Result<&Arc<Upstream>, Refusal> {
        let Some(upstream) = self.upstreams.get(database) else {
            let granted: Vec<&str> = self
                .granted_to(developer)
                .map(|u| u.name.as_str())
                .collect();
            let hint = if granted.is_empty() {
                format!(
                    "no upstream is granted to you; {}",
                    ask(self.contact.as_deref())
                )
            } else {
                format!("upstreams that you may use: {}", granted.join(", "))
            };
            return Err(Refusal::fatal(
                SqlState::INVALID_CATALOG_NAME,
                format!("database \"{database}\" does not exist"),
            )
            .hint(hint));
        };
        if upstream.developers.contains(developer) {
            return Ok(upstream);
        }
        Err(Refusal::fatal(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("developer \"{developer}\" may not use the upstream \"{database}\""),
        )
        .detail(
            "An upstream may be used by those that its configuration lists, and by nobody else.",
        )
        .hint(ask(upstream.contact.as_deref())))
    }

    /// The files of all upstreams' policies.
    pub fn policy_files(&self) -> BTreeSet<PathBuf> {
        self.upstreams
            .values()
            .filter_map(|upstream| upstream.policy.as_ref())
            .flat_map(|policy| policy.files())
            .map(|file| file.path.clone())
            .collect()
    }

    /// The upstreams that `developer` may use, by name.
    pub fn granted_to<'a>(&'a self, developer: &'a str) -> impl Iterator<Item = &'a Arc<Upstream>> {
        self.upstreams
            .values()
            .filter(move |upstream| upstream.developers.contains(developer))
    }
}

fn ask(contact: Option<&str>) -> String {
    match contact {
        Some(contact) => format!("ask {contact} for access"),
        None => "ask whoever keeps devinprod's configuration for access".to_owned(),
    }
}
