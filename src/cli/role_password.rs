//! The password of a login role that a setup makes or keeps.

use anyhow::{Context, bail};
use postgres_protocol::password::scram_sha_256;
use rand::distr::{Alphanumeric, SampleString};

use super::print;
use crate::upstream::address::Address;

/// The length of a generated password: letters and digits, which a URL need not escape.
const LENGTH: usize = 32;

/// Where a login role's password comes from.
pub(super) enum RolePassword {
    /// The role exists and keeps its password.
    Kept,
    /// Made here, to be shown once.
    Generated(String),
    /// From the named environment variable.
    Given { variable: String, password: String },
}

impl RolePassword {
    /// From the environment variable that was named; else a new role gets a fresh one.
    pub(super) fn choose(variable: Option<&String>, exists: bool) -> anyhow::Result<Self> {
        if let Some(variable) = variable {
            let password = std::env::var(variable)
                .with_context(|| format!("the environment has no password in {variable}"))?;
            if password.is_empty() {
                bail!("the password in {variable} is empty");
            }
            let variable = variable.clone();
            return Ok(Self::Given { variable, password });
        }
        if exists {
            return Ok(Self::Kept);
        }
        let password = Alphanumeric.sample_string(&mut rand::rng(), LENGTH);
        Ok(Self::Generated(password))
    }

    /// What Postgres is to check it against; None: what it has.
    pub(super) fn verifier(&self) -> Option<String> {
        match self {
            Self::Kept => None,
            Self::Generated(password) | Self::Given { password, .. } => {
                Some(scram_sha_256(password.as_bytes()))
            }
        }
    }

    /// Says what to write into devinprod.toml, where `what` goes: `lines` makes it of the role's URL. A printed script
    /// stays valid SQL: this goes to stderr.
    pub(super) fn tell(
        &self,
        address: &Address,
        role: &str,
        what: &str,
        lines: impl Fn(&str) -> String,
    ) {
        let mut own = address.clone();
        role.clone_into(&mut own.user);
        let url = own.to_string();
        match self {
            Self::Kept => {}
            Self::Generated(password) => {
                let url = url.replacen('@', &format!(":{password}@"), 1);
                print::note(format!("{what} for devinprod.toml, shown this once:"));
                print::note(lines(&url));
            }
            Self::Given { variable, .. } => {
                print::note(format!(
                    "{what} for devinprod.toml; add the password of {variable}:"
                ));
                print::note(lines(&url));
            }
        }
    }
}
