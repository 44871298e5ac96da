//! `[gate]`: what a change must show before it goes on to a stage.

use toml::Spanned;

use super::Check;
use crate::audit::key::PublicKey;
use crate::config::developers::check_name;
use crate::config::raw::{RawConfig, RawGate};
use crate::evidence::gate::{GateSettings, Step};
use crate::policy::Stage;
use crate::report::Problem;

/// The stages in the order that holds where none is written down.
const ORDER: [Stage; 4] = [Stage::Local, Stage::Test, Stage::Preprod, Stage::Prod];

impl Check<'_> {
    pub(super) fn gate(&mut self, raw: &RawConfig) -> GateSettings {
        let base = GateSettings::default();
        let written = &raw.gate;
        let stages = self.stages(raw);
        let steps = stages.into_iter().map(|stage| Step {
            stage,
            needs: written.needs.of(stage).map(|kinds| kinds.get_ref().clone()),
        });
        let steps: Vec<Step> = steps.collect();
        self.needs_of_no_step(written, &steps);
        GateSettings {
            steps,
            valid_for: self.duration(&written.valid_for, base.valid_for),
            from: written.from.as_ref().map(|from| {
                for name in from {
                    if let Err(reason) = check_name(name.get_ref()) {
                        let hint = "evidence counts by developer; a group is no developer";
                        let problem = Problem::at(name.span(), reason).hint(hint);
                        self.problems.push(problem);
                    }
                }
                from.iter().map(|name| name.get_ref().clone()).collect()
            }),
            keys: written
                .keys
                .iter()
                .filter_map(|key| self.key(key))
                .collect(),
            stage_keys: ORDER
                .into_iter()
                .flat_map(|stage| {
                    let keys = written.stage_keys.of(stage);
                    keys.into_iter().flatten().map(move |key| (stage, key))
                })
                .filter_map(|(stage, key)| Some((stage, self.key(key)?)))
                .collect(),
            trees: written.trees.clone().unwrap_or(base.trees),
        }
    }

    fn key(&mut self, key: &Spanned<String>) -> Option<PublicKey> {
        let parsed = PublicKey::parse(key.get_ref());
        if parsed.is_none() {
            let problem = Problem::at(key.span(), "this is no public key");
            let hint = "`devinprod audit key` prints the proxy's";
            self.problems.push(problem.hint(hint));
        }
        parsed
    }

    /// The order that is written, or else that of the upstreams, with production at its end.
    fn stages(&mut self, raw: &RawConfig) -> Vec<Stage> {
        let Some(written) = &raw.gate.stages else {
            let of = |stage: &Stage| {
                let mut upstreams = raw.upstream.iter();
                *stage == Stage::Prod || upstreams.any(|one| one.get_ref().stage == *stage)
            };
            return ORDER.into_iter().filter(of).collect();
        };
        let mut stages = Vec::new();
        for stage in written.get_ref() {
            if stages.contains(stage.get_ref()) {
                let what = format!("{} stands here twice", stage.get_ref().as_str());
                self.problems.push(Problem::at(stage.span(), what));
            }
            stages.push(*stage.get_ref());
        }
        if stages.len() < 2 {
            let problem = Problem::at(written.span(), "a gate stands between two stages")
                .hint("for example `stages = [\"test\", \"preprod\", \"prod\"]`");
            self.problems.push(problem);
        }
        stages
    }

    /// What is asked of a stage that is in no order, or of the last one, would never be asked.
    fn needs_of_no_step(&mut self, raw: &RawGate, steps: &[Step]) {
        let before = steps.split_last().map_or(&[][..], |(_, before)| before);
        for stage in ORDER {
            let Some(kinds) = raw.needs.of(stage) else {
                continue;
            };
            let name = stage.as_str();
            if !before.iter().any(|step| step.stage == stage) {
                let what = format!("no gate asks what {name} shows");
                let hint = "`stages` lists the stages in order, and nothing comes after the last";
                self.problems
                    .push(Problem::at(kinds.span(), what).hint(hint));
            }
            if kinds.get_ref().is_empty() {
                let what = format!("{name} needs nothing here, so anybody could pass it");
                let hint = "leave the stage out of `stages`, or this line out";
                self.problems
                    .push(Problem::at(kinds.span(), what).hint(hint));
            }
        }
    }
}
