//! `[budgets]`: where what was read is counted.

use std::num::NonZeroU64;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Check;
use crate::budget::ledger::shared::{Address, SharedSettings, Unreachable};
use crate::config::raw::RawBudgets;
use crate::report::Problem;
use crate::report::toml_file::beside;

/// The folder of the ledger of read budgets.
pub(in crate::config) fn folder(path: &Path, raw: &RawBudgets) -> PathBuf {
    let folder = raw.folder.as_deref();
    beside(path, folder.unwrap_or_else(|| Path::new("budgets")))
}

impl Check<'_> {
    /// The ledger that several proxies share, if there is one.
    pub(super) fn shared_ledger(&mut self, raw: &RawBudgets) -> Option<SharedSettings> {
        let given = [
            raw.ledger.is_some(),
            raw.ledger_env.is_some(),
            raw.ledger_file.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() > 1 {
            let what = "[budgets] may have one of `ledger`, `ledger_env` and `ledger_file`";
            self.problems.push(Problem::whole(what));
            return None;
        }
        let given = self.kept_elsewhere(&raw.ledger, &raw.ledger_env, &raw.ledger_file);
        let (span, text) = match given {
            Ok(Some(given)) => given,
            Ok(None) => {
                self.only_with_a_ledger(raw);
                return None;
            }
            Err(()) => return None,
        };
        let authorities = match &raw.ledger_ca {
            Some(file) => Some(self.authorities(file)?),
            None => None,
        };
        let address = match Address::vouched_for(text.trim(), authorities.as_deref()) {
            Ok(address) => Some(address),
            Err(why) => {
                let problem = Problem::at(span, why).hint(
                    "redis://host:6379, rediss://user:password@host:6379 (with TLS) or redis+unix:///run/valkey.sock",
                );
                self.problems.push(problem);
                None
            }
        };
        let unreachable = raw.ledger_unreachable.as_ref();
        let unreachable = unreachable.map_or_else(Unreachable::default, |choice| *choice.get_ref());
        let proxies = match (&raw.proxies, &raw.ledger_unreachable) {
            (Some(number), _) => {
                let checked = NonZeroU64::new(*number.get_ref());
                if checked.is_none() {
                    let problem = Problem::at(number.span(), "there is at least this one");
                    self.problems.push(problem);
                }
                checked
            }
            (None, Some(choice)) if unreachable == Unreachable::Share => {
                let problem = Problem::at(choice.span(), "a share of how many?")
                    .hint("say how many proxies share the ledger: proxies = 2");
                self.problems.push(problem);
                None
            }
            (None, _) => Some(NonZeroU64::MIN),
        };
        Some(SharedSettings {
            address: address?,
            prefix: match &raw.ledger_prefix {
                Some(prefix) => prefix.get_ref().clone(),
                None => "devinprod".to_owned(),
            },
            unreachable,
            proxies: proxies?,
        })
    }

    fn only_with_a_ledger(&mut self, raw: &RawBudgets) {
        let spans: [(&str, Option<Range<usize>>); 4] = [
            ("ledger_ca", raw.ledger_ca.as_ref().map(toml::Spanned::span)),
            (
                "ledger_unreachable",
                raw.ledger_unreachable.as_ref().map(toml::Spanned::span),
            ),
            ("proxies", raw.proxies.as_ref().map(toml::Spanned::span)),
            (
                "ledger_prefix",
                raw.ledger_prefix.as_ref().map(toml::Spanned::span),
            ),
        ];
        for (name, span) in spans {
            let Some(span) = span else { continue };
            let problem = Problem::at(
                span,
                format!("`{name}` says something of a shared ledger, and there is none"),
            )
            .hint("`ledger = \"redis://…\"` is the one that several proxies share");
            self.problems.push(problem);
        }
    }
}
