//! `devinprod.toml` as it is written: every field optional where a default exists, nothing checked beyond
//! its type. [`super::check`] turns it into a [`super::Config`].
//!
//! Every field here is explained in `docs/configuration.md`; a test compares the two.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::budget::ledger::shared::Unreachable;
use crate::evidence::{Kind, Tree};
use crate::notify::Topic;
use crate::report::toml_file::beside;
use crate::report::units::{Size, Span};
use crate::sandbox::settings::{Overlap, Stage};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    #[serde(default)]
    pub listen: RawListen,
    pub page: Option<RawPage>,
    pub contact: Option<String>,
    pub developers_file: Option<PathBuf>,
    #[serde(default)]
    pub sandbox: RawSandbox,
    #[serde(default)]
    pub upstream: Vec<Spanned<RawUpstream>>,
    #[serde(default)]
    pub developer: Vec<Spanned<RawDeveloper>>,
    #[serde(default)]
    pub audit: RawAudit,
    #[serde(default)]
    pub notify: Vec<Spanned<RawNotify>>,
    #[serde(default)]
    pub gate: RawGate,
    pub events: Option<Spanned<toml::Value>>,
    #[serde(default)]
    pub limits: RawLimits,
    #[serde(default)]
    pub budgets: RawBudgets,
}

/// `[listen]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListen {
    pub address: Option<Spanned<String>>,
    pub tls: Option<RawTls>,
    pub allow_plaintext_beyond_loopback: Option<bool>,
}

/// `[page]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPage {
    pub address: Option<Spanned<String>>,
    pub tls: Option<RawTls>,
    pub allow_plaintext_beyond_loopback: Option<bool>,
    #[serde(default)]
    pub names: Vec<Spanned<String>>,
    pub comparisons: Option<PathBuf>,
}

/// `tls = { cert = …, key = … }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub cert: Spanned<PathBuf>,
    pub key: Spanned<PathBuf>,
}

/// `[[upstream]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstream {
    pub name: Spanned<String>,
    pub url: Option<Spanned<String>>,
    pub url_env: Option<Spanned<String>>,
    pub url_file: Option<Spanned<PathBuf>>,
    pub stage: Stage,
    pub isolation: Option<Spanned<RawIsolation>>,
    pub sealed: Option<Spanned<bool>>,
    pub role_prefix: Option<Spanned<String>>,
    #[serde(default)]
    pub developers: Vec<Spanned<String>>,
    pub contact: Option<String>,
    #[serde(default)]
    pub policy: Option<Spanned<Vec<Spanned<PathBuf>>>>,
    #[serde(default)]
    pub sandbox: RawSandbox,
}

/// `isolation = …`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawIsolation {
    Sandbox,
    ReadOnly,
    None,
}

/// `[sandbox]` and `[upstream.sandbox]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSandbox {
    pub wait_timeout: Option<Spanned<Span>>,
    pub overlap: Option<Overlap>,
    pub overlap_after: Option<Spanned<Span>>,
    pub idle_timeout: Option<Spanned<Span>>,
    pub max_age: Option<Spanned<Span>>,
    pub block_timeout: Option<Spanned<Span>>,
    pub lock_timeout: Option<Spanned<Span>>,
    pub max_sandboxes_per_developer: Option<Spanned<u32>>,
    pub max_clients: Option<Spanned<u32>>,
}

/// `[[developer]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDeveloper {
    pub name: Spanned<String>,
    pub password: Option<Spanned<String>>,
    #[serde(default)]
    pub groups: Vec<Spanned<String>>,
}

/// `[audit]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAudit {
    pub folder: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub durable: Option<bool>,
    pub segment_size: Option<Spanned<Size>>,
    pub segment_age: Option<Spanned<Span>>,
    pub retention: Option<Spanned<Span>>,
    pub checkpoint_interval: Option<Spanned<Span>>,
    pub checkpoints: Option<Spanned<String>>,
    pub checkpoints_ca: Option<Spanned<PathBuf>>,
    pub sql_url: Option<Spanned<String>>,
    pub sql_url_env: Option<Spanned<String>>,
    pub sql_url_file: Option<Spanned<PathBuf>>,
}

impl RawAudit {
    /// The folder, for a configuration at `path`.
    pub fn folder(&self, path: &Path) -> PathBuf {
        let folder = self.folder.as_deref();
        beside(path, folder.unwrap_or_else(|| Path::new("audit")))
    }
}

/// `[[notify]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNotify {
    pub name: Spanned<String>,
    pub kind: RawWay,
    pub url: Option<Spanned<String>>,
    pub url_env: Option<Spanned<String>>,
    pub url_file: Option<Spanned<PathBuf>>,
    pub token_env: Option<Spanned<String>>,
    pub token_file: Option<Spanned<PathBuf>>,
    pub chat: Option<Spanned<String>>,
    pub from: Option<Spanned<String>>,
    #[serde(default)]
    pub to: Vec<Spanned<String>>,
    pub events: Option<Spanned<BTreeSet<Topic>>>,
    pub streak: Option<Spanned<u32>>,
    pub streak_within: Option<Spanned<Span>>,
    pub quiet: Option<Spanned<Span>>,
    pub per_hour: Option<Spanned<u32>>,
}

/// `kind = …`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawWay {
    Webhook,
    Slack,
    Telegram,
    Smtp,
}

/// `[gate]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGate {
    pub stages: Option<Spanned<Vec<Spanned<Stage>>>>,
    #[serde(default)]
    pub needs: ByStage<Spanned<BTreeSet<Kind>>>,
    pub valid_for: Option<Spanned<Span>>,
    pub from: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub keys: Vec<Spanned<String>>,
    #[serde(default)]
    pub stage_keys: ByStage<Vec<Spanned<String>>>,
    pub trees: Option<BTreeSet<Tree>>,
}

/// `[gate.needs]` and `[gate.stage_keys]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ByStage<T> {
    pub local: Option<T>,
    pub test: Option<T>,
    pub preprod: Option<T>,
    pub prod: Option<T>,
}

impl<T> Default for ByStage<T> {
    fn default() -> Self {
        Self {
            local: None,
            test: None,
            preprod: None,
            prod: None,
        }
    }
}

impl<T> ByStage<T> {
    /// What is written for a stage.
    pub fn of(&self, stage: Stage) -> Option<&T> {
        match stage {
            Stage::Local => self.local.as_ref(),
            Stage::Test => self.test.as_ref(),
            Stage::Preprod => self.preprod.as_ref(),
            Stage::Prod => self.prod.as_ref(),
        }
    }
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub max_message_size: Option<Spanned<Size>>,
    pub max_clients: Option<Spanned<u32>>,
    pub startup_timeout: Option<Spanned<Span>>,
    pub shutdown_grace: Option<Spanned<Span>>,
    pub seal_check: Option<Spanned<Span>>,
}

/// `[budgets]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBudgets {
    pub folder: Option<PathBuf>,
    pub ledger: Option<Spanned<String>>,
    pub ledger_env: Option<Spanned<String>>,
    pub ledger_file: Option<Spanned<PathBuf>>,
    pub ledger_ca: Option<Spanned<PathBuf>>,
    pub ledger_prefix: Option<Spanned<String>>,
    pub ledger_unreachable: Option<Spanned<Unreachable>>,
    pub proxies: Option<Spanned<u64>>,
}
