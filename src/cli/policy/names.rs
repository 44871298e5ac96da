//! What the roles of a seal are called: as the command line says, or the configuration

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::Failure;
use crate::config::{Config, Upstream};
use crate::policy::Policy;
use crate::seal::Names;

/// How the seal was made, as far as its roles' names go.
#[derive(Debug, Args)]
pub(super) struct SealNames {
    /// What the names of the seal's roles begin with, as setup was told [default: devinprod_]
    #[arg(long, value_name = "PREFIX", conflicts_with = "config")]
    prefix: Option<String>,
    /// A configuration whose upstream says it: the one that the policy names, or the only one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl SealNames {
    /// The names; an error says what is wrong with the prefix or the configuration.
    pub(super) fn of(&self, policy: &Policy) -> anyhow::Result<Names> {
        match (&self.prefix, &self.config) {
            (Some(prefix), _) => Ok(Names::with_prefix(prefix)?),
            (None, Some(file)) => {
                let config = Config::load(file)
                    .map_err(|report| anyhow::anyhow!("{report}"))?
                    .config;
                Ok(upstream(&config, policy)?.names.clone())
            }
            (None, None) => Ok(Names::default()),
        }
    }
}

fn upstream<'a>(config: &'a Config, policy: &Policy) -> anyhow::Result<&'a Arc<Upstream>> {
    let mut all = config.upstreams.values();
    let (found, message) = match (policy.upstream(), all.next(), all.next()) {
        (Some(name), ..) => (
            config.upstreams.get(name),
            format!("the configuration has no upstream {name}, which the policy is for"),
        ),
        (None, Some(only), None) => (Some(only), String::new()),
        (None, ..) => (
            None,
            "the policy names no upstream, and the configuration has not exactly one".to_owned(),
        ),
    };
    found.ok_or_else(|| Failure::new(message, "say what the roles begin with by --prefix").into())
}
