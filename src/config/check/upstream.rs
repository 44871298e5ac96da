//! Upstreams: where they are, how they are isolated, who may use them, how their sandboxes behave.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;

use super::super::raw::{RawIsolation, RawSandbox, RawUpstream};
use super::super::{Developer, Upstream};
use super::Check;
use crate::console::DATABASE;
use crate::report::{Problem, did_you_mean};
use crate::sandbox::settings::{Isolation, Overlap, SandboxSettings, Seal};
use crate::seal::Names;
use crate::upstream::address::Address;

impl Check<'_> {
    pub(super) fn upstreams(
        &mut self,
        raw: Vec<Spanned<RawUpstream>>,
        defaults: &SandboxSettings,
        developers: &BTreeMap<String, Developer>,
        contact: Option<&str>,
    ) -> BTreeMap<String, Arc<Upstream>> {
        let mut upstreams = BTreeMap::new();
        if raw.is_empty() && self.problems.is_empty() {
            self.problems.push(
                Problem::whole("there is no upstream")
                    .hint("add one as `[[upstream]]`; `devinprod config example` shows how"),
            );
        }
        for upstream in raw {
            let span = upstream.span();
            let raw = upstream.into_inner();
            let name = raw.name.clone();
            let Some(checked) = self.upstream(span, raw, defaults, developers, contact) else {
                continue;
            };
            if upstreams
                .insert(checked.name.clone(), Arc::new(checked))
                .is_some()
            {
                self.problems.push(Problem::at(
                    name.span(),
                    format!("upstream \"{}\" stands here twice", name.get_ref()),
                ));
            }
        }
        upstreams
    }

    fn upstream(
        &mut self,
        span: Range<usize>,
        raw: RawUpstream,
        defaults: &SandboxSettings,
        developers: &BTreeMap<String, Developer>,
        contact: Option<&str>,
    ) -> Option<Upstream> {
        let name = self.upstream_name(&raw.name);
        let address = self.address(span, &raw);
        let isolation = self.isolation(&raw);
        let names = self.names(raw.role_prefix.as_ref());
        let sandbox = self.sandbox(&raw.sandbox, defaults.clone());
        let granted = self.grants(&raw, developers);
        let policy = self.policy(&raw, developers);
        let sets = match (&policy, &raw.policy) {
            (Some(policy), Some(at)) => self.sets(at.span(), policy, &granted, developers),
            _ => BTreeMap::new(),
        };
        Some(Upstream {
            name: name?,
            address: address?,
            stage: raw.stage,
            isolation: isolation?,
            names: names?,
            sandbox,
            developers: granted,
            contact: raw.contact.or_else(|| contact.map(str::to_owned)),
            policy,
            sets,
        })
    }

    fn upstream_name(&mut self, name: &Spanned<String>) -> Option<String> {
        let text = name.get_ref();
        let problem = if text.is_empty() || text.len() > 63 || text.contains('\0') {
            Problem::at(name.span(), "a database name has 1 to 63 bytes")
        } else if text == DATABASE {
            Problem::at(
                name.span(),
                format!("`{DATABASE}` is the proxy's own console"),
            )
            .hint("choose another name: it need not be the database's real one")
        } else {
            return Some(text.clone());
        };
        self.problems.push(problem);
        None
    }

    fn address(&mut self, span: Range<usize>, raw: &RawUpstream) -> Option<Address> {
        let found = self.address_from(&raw.url, &raw.url_env, &raw.url_file);
        found.unwrap_or_else(|| {
            self.problems.push(
                Problem::at(
                    span,
                    format!(
                        "upstream \"{}\" needs exactly one of `url`, `url_env` and `url_file`",
                        raw.name.get_ref()
                    ),
                )
                .hint("`url_env` or `url_file` keep the proxy's password out of this file"),
            );
            None
        })
    }

    /// An address from the one place that is given, Some(None) if there is a problem with it; None: not one is, or
    /// more are.
    pub(super) fn address_from(
        &mut self,
        url: &Option<Spanned<String>>,
        variable: &Option<Spanned<String>>,
        file: &Option<Spanned<PathBuf>>,
    ) -> Option<Option<Address>> {
        let (span, url) = match self.kept_elsewhere(url, variable, file) {
            Ok(Some(given)) => given,
            Ok(None) => return None,
            Err(()) => return Some(None),
        };
        match url.trim().parse::<Address>() {
            Ok(address) => Some(Some(address)),
            Err(error) => {
                self.problems.push(Problem::at(span, error.to_string()));
                Some(None)
            }
        }
    }

    fn isolation(&mut self, raw: &RawUpstream) -> Option<Isolation> {
        let sealed = raw.sealed.as_ref().is_none_or(|sealed| *sealed.get_ref());
        if let Some(word) = raw.sealed.as_ref().filter(|_| !sealed)
            && !raw.stage.is_relaxed()
        {
            self.problems.push(
                Problem::at(
                    word.span(),
                    format!("an upstream of stage `{}` must be sealed", raw.stage.as_str()),
                )
                .hint("`devinprod setup` seals it; an unsealed sandbox can be escaped from, which only the stages local and test may risk"),
            );
            return None;
        }
        let seal = if sealed { Seal::Sealed } else { Seal::Unsealed };
        match raw
            .isolation
            .as_ref()
            .map(|isolation| (isolation.get_ref(), isolation.span()))
        {
            None | Some((RawIsolation::Sandbox, _)) => Some(Isolation::Sandbox(seal)),
            Some((RawIsolation::ReadOnly, _)) => Some(Isolation::ReadOnly(seal)),
            Some((RawIsolation::None, _)) if raw.stage.is_relaxed() => Some(Isolation::None),
            Some((RawIsolation::None, span)) => {
                self.problems.push(
                    Problem::at(
                        span,
                        format!(
                            "an upstream of stage `{}` cannot do without isolation: everything would be committed",
                            raw.stage.as_str()
                        ),
                    )
                    .hint("`none` is for the stages local and test; use `sandbox` or `read_only`"),
                );
                None
            }
        }
    }

    fn names(&mut self, prefix: Option<&Spanned<String>>) -> Option<Names> {
        let Some(prefix) = prefix else {
            return Some(Names::default());
        };
        match Names::with_prefix(prefix.get_ref()) {
            Ok(names) => Some(names),
            Err(error) => {
                let problem = Problem::at(prefix.span(), error.to_string());
                self.problems.push(problem);
                None
            }
        }
    }

    /// Resolves names and groups; what is unknown is only warned about, so that a removed developer does
    /// not keep the proxy from taking the new configuration in.
    fn grants(
        &mut self,
        raw: &RawUpstream,
        developers: &BTreeMap<String, Developer>,
    ) -> BTreeSet<String> {
        let mut granted = BTreeSet::new();
        for entry in &raw.developers {
            let before = granted.len();
            let (known, what): (Vec<&str>, &str) = match entry.get_ref().strip_prefix('@') {
                Some(group) => {
                    let members = developers.values().filter(|d| d.groups.contains(group));
                    granted.extend(members.map(|d| d.name.clone()));
                    (
                        developers
                            .values()
                            .flat_map(|d| &d.groups)
                            .map(String::as_str)
                            .collect(),
                        "group",
                    )
                }
                None => {
                    granted.extend(developers.get(entry.get_ref()).map(|d| d.name.clone()));
                    (developers.keys().map(String::as_str).collect(), "developer")
                }
            };
            let name = entry.get_ref().trim_start_matches('@');
            if granted.len() == before && !known.contains(&name) {
                let problem = Problem::at(
                    entry.span(),
                    format!("there is no {what} \"{name}\", so this grants nothing"),
                );
                self.warnings.push(match did_you_mean(name, known) {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                });
            }
        }
        granted
    }

    pub(super) fn sandbox(&mut self, raw: &RawSandbox, base: SandboxSettings) -> SandboxSettings {
        let settings = SandboxSettings {
            wait_timeout: self.duration(&raw.wait_timeout, base.wait_timeout),
            overlap: raw.overlap.unwrap_or(base.overlap),
            overlap_after: raw
                .overlap_after
                .as_ref()
                .map_or(base.overlap_after, |after| after.get_ref().0),
            idle_timeout: self.duration(&raw.idle_timeout, base.idle_timeout),
            max_age: self.duration(&raw.max_age, base.max_age),
            block_timeout: self.duration(&raw.block_timeout, base.block_timeout),
            lock_timeout: self.duration(&raw.lock_timeout, base.lock_timeout),
            max_sandboxes_per_developer: self.count(
                &raw.max_sandboxes_per_developer,
                base.max_sandboxes_per_developer,
            ),
            max_clients: self.count(&raw.max_clients, base.max_clients),
        };
        let written = raw.overlap_after.as_ref().or(raw.wait_timeout.as_ref());
        if settings.overlap == Overlap::Join && settings.overlap_after >= settings.wait_timeout {
            let message = format!(
                "`overlap_after` ({:?}) is not below `wait_timeout` ({:?}), so nobody would ever join",
                settings.overlap_after, settings.wait_timeout
            );
            let problem = match written {
                Some(written) => Problem::at(written.span(), message),
                None => Problem::whole(message),
            };
            self.problems
                .push(problem.hint("`overlap = \"wait\"` says so plainly"));
        }
        settings
    }
}
