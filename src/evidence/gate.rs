//! The gate: may a commit go on to a stage? Pure; it knows the time only as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::claim::{Commit, Input, Kind, Tree};
use super::collect::{Found, Piece};
use super::statement::Statement;
use crate::audit::key::PublicKey;
use crate::policy::Stage;

/// So far may clocks be apart: evidence that is younger than this is not yet from the future.
const CLOCKS: u64 = 5 * 60_000;

/// What a gate asks for; `[gate]` in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateSettings {
    /// The stages in the order in which a change goes through them, and what each must show.
    pub steps: Vec<Step>,
    /// Evidence that is older does not count.
    pub valid_for: Duration,
    /// Whose evidence counts; None: everybody's.
    pub from: Option<BTreeSet<String>>,
    /// Which proxies' signatures count, beside those of the configuration's own audit.
    pub keys: Vec<PublicKey>,
    /// Proxies whose signatures count for one stage alone: whoever holds such a key can sign whatever they like, and should
    /// not be able to for another stage.
    pub stage_keys: Vec<(Stage, PublicKey)>,
    /// From which work trees evidence counts.
    pub trees: BTreeSet<Tree>,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            valid_for: Duration::from_secs(7 * 86_400),
            from: None,
            keys: Vec::new(),
            stage_keys: Vec::new(),
            trees: BTreeSet::from([Tree::Clean]),
        }
    }
}

/// A stage that a change goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The stage.
    pub stage: Stage,
    /// What it must show; None: whatever was tried there, and at least one thing.
    pub needs: Option<BTreeSet<Kind>>,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The commit, in full.
    pub change: Commit,
    /// The stage that it is to go on to.
    pub to: &'static str,
    /// Whether it may.
    pub open: bool,
    /// What each stage before it must show.
    pub checks: Vec<Check>,
    /// What else was found about this commit, and does not count.
    pub passed_over: Vec<PassedOver>,
}

/// One thing that a stage must show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The stage.
    pub stage: &'static str,
    /// What; None: anything.
    pub kind: Option<Kind>,
    /// How it stands.
    pub state: State,
    /// What decided it.
    #[serde(flatten)]
    pub decided_by: Option<Seen>,
}

/// How something that a stage must show stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is there.
    Passed,
    /// The newest evidence speaks against it.
    Failed,
    /// It was there, and is too old.
    Expired,
    /// There is none that counts.
    Missing,
}

impl State {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Missing => "missing",
        }
    }
}

/// A piece of evidence, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Who said it.
    pub developer: String,
    /// On which upstream.
    pub upstream: String,
    /// When, RFC 3339.
    pub time: String,
    /// What was run.
    pub command: String,
    /// The files that decided it.
    pub inputs: Vec<Input>,
    /// Where it was found.
    pub place: String,
    /// How often the same had failed before, on this commit.
    pub failed_before: usize,
}

/// Something about this commit that does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Where it was found.
    pub place: String,
    /// Why it does not count.
    pub why: String,
    /// For which stage it would have been.
    pub stage: String,
    /// What it would have shown.
    pub kind: Kind,
}

/// Why a gate cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoGate {
    /// The configuration has no such stage.
    #[error("no stage \"{0}\" is in the gate's order")]
    NoStage(&'static str),
    /// Nothing stands before it: the gate could ask for nothing.
    #[error("no stage comes before {0}, so there is nothing to ask for")]
    Nothing(&'static str),
}

/// Says whether `change` may go on to the stage `to`, by what `pieces` show at the time `now`, in milliseconds since 1970.
///
/// # Errors
/// The settings say nothing of that stage.
pub fn judge(
    settings: &GateSettings,
    change: &Commit,
    to: Stage,
    now: u64,
    pieces: &[Piece],
) -> Result<Answer, NoGate> {
    let name = to.as_str();
    let at = settings.steps.iter().position(|step| step.stage == to);
    let at = at.ok_or(NoGate::NoStage(name))?;
    let before = settings.steps.get(..at).unwrap_or_default();
    if before.is_empty() {
        return Err(NoGate::Nothing(name));
    }
    let mut counted = Vec::new();
    let mut passed_over = Vec::new();
    for piece in pieces {
        let (statement, why) = match &piece.found {
            Found::Signed(statement, key) => (statement, settings.against(statement, key, now)),
            Found::NotSigned(Some(statement)) => {
                let why = "no key that is trusted signed it as it is".to_owned();
                (statement, Some(why))
            }
            Found::NotSigned(None) => continue,
        };
        if statement.claim.commit != *change {
            continue;
        }
        match why {
            None => counted.push((piece, &**statement)),
            Some(why) => passed_over.push(PassedOver {
                place: piece.place.clone(),
                why,
                stage: statement.witness.stage.clone(),
                kind: statement.claim.kind,
            }),
        }
    }
    let mut checks = Vec::new();
    for step in before {
        let stage = step.stage.as_str();
        let here = counted.iter().copied();
        let here = here.filter(|(_, statement)| statement.witness.stage == stage);
        let here: Vec<_> = here.collect();
        let of = |kind: Kind| {
            let all = here.iter().copied();
            let all: Vec<_> = all.filter(|(_, s)| s.claim.kind == kind).collect();
            settings.check(stage, kind, now, &all)
        };
        let wanted = match &step.needs {
            Some(needs) => needs.iter().copied().map(of).collect(),
            None => {
                let tried = Kind::ALL.into_iter().map(of);
                let tried: Vec<_> = tried.filter(|c| c.state != State::Missing).collect();
                match tried.is_empty() {
                    true => vec![Check {
                        stage,
                        kind: None,
                        state: State::Missing,
                        decided_by: None,
                    }],
                    false => tried,
                }
            }
        };
        checks.extend(wanted);
    }
    Ok(Answer {
        change: change.clone(),
        to: name,
        open: checks.iter().all(|check| check.state == State::Passed),
        checks,
        passed_over,
    })
}

impl GateSettings {
    /// Why evidence does not count, whatever it shows. That it is too old is another matter.
    fn against(&self, statement: &Statement, key: &PublicKey, now: u64) -> Option<String> {
        let Statement {
            witness,
            claim,
            time,
        } = statement;
        let of_stages = self.stage_keys.iter().filter(|(_, of)| of == key);
        let of_stages: Vec<&str> = of_stages.map(|(stage, _)| stage.as_str()).collect();
        let is_limited = !of_stages.is_empty() && !self.keys.contains(key);
        if is_limited && !of_stages.contains(&witness.stage.as_str()) {
            let of = of_stages.join(" and ");
            return Some(format!("the key that signed it counts for {of} alone"));
        }
        if *time > now.saturating_add(CLOCKS) {
            return Some(format!("it is from the future: {}", witness.time));
        }
        if !self.trees.contains(&claim.tree) {
            return Some(
                match claim.tree {
                    Tree::Changed => "the work tree had changes that are in no commit",
                    Tree::Other => "the work tree was another commit",
                    Tree::None => "it was not made in a work tree of this commit",
                    Tree::Clean => "it was made in a work tree",
                }
                .to_owned(),
            );
        }
        match &self.from {
            Some(from) if !from.contains(&witness.developer) => {
                Some(format!("evidence of {} does not count", witness.developer))
            }
            _ => None,
        }
    }

    /// How one kind stands at a stage, by the evidence that counts there.
    ///
    /// The newest of a kind counts, for each upstream and each set of files by itself: a migration that failed is not made
    /// good by another one that works.
    fn check(
        &self,
        stage: &'static str,
        kind: Kind,
        now: u64,
        all: &[(&Piece, &Statement)],
    ) -> Check {
        type Same<'a> = (&'a str, BTreeSet<&'a Input>);
        let mut groups: BTreeMap<Same<'_>, Vec<(&Piece, &Statement)>> = BTreeMap::new();
        for &(piece, statement) in all {
            let inputs = statement.claim.inputs.iter().collect();
            let same = (statement.witness.upstream.as_str(), inputs);
            groups.entry(same).or_default().push((piece, statement));
        }
        let newest = groups.values_mut().filter_map(|group| {
            // Of two at the same instant, the failure is taken for the later one.
            group.sort_by_key(|(_, s)| (s.time, !s.claim.passed));
            let (piece, statement) = *group.last()?;
            let failed = group.iter().filter(|(_, s)| !s.claim.passed).count();
            let is_old = now.saturating_sub(statement.time) > milliseconds(self.valid_for);
            let state = match (statement.claim.passed, is_old) {
                (false, _) => State::Failed,
                (true, true) => State::Expired,
                (true, false) => State::Passed,
            };
            Some((state, seen(piece, statement, failed)))
        });
        // The worst decides.
        let rank = |state| match state {
            State::Failed => 0,
            State::Missing => 1,
            State::Expired => 2,
            State::Passed => 3,
        };
        let decided = newest.min_by_key(|(state, _)| rank(*state));
        Check {
            stage,
            kind: Some(kind),
            state: decided.as_ref().map_or(State::Missing, |(state, _)| *state),
            decided_by: decided.map(|(_, seen)| seen),
        }
    }
}

fn seen(piece: &Piece, statement: &Statement, failed: usize) -> Seen {
    let Statement { witness, claim, .. } = statement;
    Seen {
        developer: witness.developer.clone(),
        upstream: witness.upstream.clone(),
        time: witness.time.clone(),
        command: claim.command.clone(),
        inputs: claim.inputs.clone(),
        place: piece.place.clone(),
        failed_before: match claim.passed {
            true => failed,
            false => failed.saturating_sub(1),
        },
    }
}

impl Answer {
    /// What is missing, in one line; empty if the gate is open.
    pub fn why(&self) -> String {
        let missing = self.checks.iter().filter(|c| c.state != State::Passed);
        let missing = missing.map(|check| {
            let kind = check.kind.map_or("evidence", Kind::as_str);
            format!("{} {kind} {}", check.stage, check.state.as_str())
        });
        missing.collect::<Vec<_>>().join(", ")
    }
}

impl GateSettings {
    /// All keys that count for anything.
    pub fn all_keys(&self) -> impl Iterator<Item = PublicKey> {
        let of_stages = self.stage_keys.iter().map(|(_, key)| *key);
        self.keys.iter().copied().chain(of_stages)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
