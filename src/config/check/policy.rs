//! An upstream's policy: its files, and whether its exceptions fit the developers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::Developer;
use super::super::raw::RawUpstream;
use super::Check;
use crate::policy::{Loaded, Policy};
use crate::report::toml_file::beside;
use crate::report::{Problem, did_you_mean};

impl Check<'_> {
    /// The policy of an upstream; None if it has none, or one that is wrong, which is then noted.
    pub(super) fn policy(
        &mut self,
        raw: &RawUpstream,
        developers: &BTreeMap<String, Developer>,
    ) -> Option<Arc<Policy>> {
        let files = raw.policy.as_ref()?;
        let span = files.span();
        let files = files.get_ref();
        let paths: Vec<PathBuf> = files
            .iter()
            .map(|file| beside(self.path, file.get_ref()))
            .collect();
        let Loaded { policy, warnings } = match Policy::load(&paths) {
            Ok(loaded) => loaded,
            Err(wrong) => {
                let problem = Problem::at(span, "this policy cannot be used");
                let hint =
                    "what is wrong with it stands below; `devinprod policy check` says it again";
                self.problems.push(problem.hint(hint));
                self.policies.extend(wrong.reports);
                return None;
            }
        };
        self.policy_warnings.extend(warnings);
        let name = raw.name.get_ref();
        if let Some(other) = policy.upstream().filter(|other| other != name) {
            let message =
                format!("this policy is for the upstream \"{other}\", not for \"{name}\"");
            let hint = "one without `upstream` is for any that names it";
            self.problems
                .push(Problem::at(span.clone(), message).hint(hint));
        }
        self.known_people(&span, &policy, developers);
        Some(Arc::new(policy))
    }

    /// The sets of those who may use the upstream: one each, since a sandbox runs as one role.
    pub(super) fn sets(
        &mut self,
        span: Range<usize>,
        policy: &Policy,
        granted: &BTreeSet<String>,
        developers: &BTreeMap<String, Developer>,
    ) -> BTreeMap<String, String> {
        let mut sets = BTreeMap::new();
        for developer in granted.iter().filter_map(|name| developers.get(name)) {
            match policy.set_of(&developer.name, &developer.groups) {
                Ok(set) => {
                    sets.extend(set.map(|set| (developer.name.clone(), set.to_owned())));
                }
                Err(ambiguous) => {
                    let message = format!("developer \"{}\": {ambiguous}", developer.name);
                    let hint = format!(
                        "a sandbox belongs to one set: make one that names \"{}\" in `who` and has the columns of both",
                        developer.name
                    );
                    self.problems
                        .push(Problem::at(span.clone(), message).hint(hint));
                }
            }
        }
        sets
    }

    /// An exception for nobody opens nothing, and a budget for nobody limits nobody: a warning will do.
    fn known_people(
        &mut self,
        span: &Range<usize>,
        policy: &Policy,
        developers: &BTreeMap<String, Developer>,
    ) {
        let groups: BTreeSet<&str> = developers
            .values()
            .flat_map(|developer| &developer.groups)
            .map(String::as_str)
            .collect();
        let mut told = BTreeSet::new();
        let grants = policy.grants().iter();
        let grants = grants.map(|grant| (&grant.who, "exception", &grant.origin));
        let budgets = policy.budgets().iter();
        let budgets =
            budgets.filter_map(|budget| Some((&budget.who, "budget", budget.origin.as_ref()?)));
        for (kind, origin, who) in grants
            .chain(budgets)
            .flat_map(|(who, kind, origin)| who.iter().map(move |who| (kind, origin, who)))
            .filter(|(.., who)| *who != "*")
        {
            let (what, name, known): (_, _, Vec<&str>) = match who.strip_prefix('@') {
                Some(group) => ("group", group, groups.iter().copied().collect()),
                None => (
                    "developer",
                    who.as_str(),
                    developers.keys().map(String::as_str).collect(),
                ),
            };
            if known.contains(&name) || !told.insert(who) {
                continue;
            }
            let message = format!(
                "there is no {what} \"{name}\", whom the {kind} at {} is for",
                origin.place
            );
            let problem = Problem::at(span.clone(), message);
            self.warnings.push(match did_you_mean(name, known) {
                Some(hint) => problem.hint(hint),
                None => problem,
            });
        }
    }
}
