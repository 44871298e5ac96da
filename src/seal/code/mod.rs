//! The application's own code that Postgres runs when a developer writes: triggers, and functions in constraints, indexes,
//! defaults, generated columns, partition keys, domains and policies.
//!
//! Two things make such code dangerous. It may run with *more rights than the developer has*: a SECURITY DEFINER trigger
//! function, and whatever a foreign key's action (ON DELETE CASCADE …) sets off in the referencing table, which runs as that table's
//! owner. And it may run *on real rows* of columns that the developer may not read. In both cases a name in it that is looked up
//! when it runs can be made to mean a function of the developer's own, who chooses the search path and may make functions;
//! and in the second it may copy a value to where developers can read it.
//!
//! What is not known to be sound costs developers the right to write to that table, until its code is made sound or the owner of the
//! data vouches for it. Nothing here may depend on a policy being there: the first danger is one to the commit guard itself.

mod body;
mod found;
mod path;
mod pin;
mod queries;
mod vouch;

use std::collections::{BTreeMap, BTreeSet};

use super::judge::Finding;
use super::plan::Step;
use super::survey::Survey;
use super::{Names, SealOptions, masks};
use found::{Kind, Piece, Routine};

pub use found::Code;
pub(super) use found::collect;
pub(super) use pin::{pins, unpin};
pub(super) use vouch::record;
use vouch::{refused, vouched};

/// A relation that developers may not write to in some ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    /// Its oid.
    pub relation: u32,
    /// The relation as SQL.
    pub identity: String,
    /// `INSERT`, `UPDATE`, `DELETE`: those that are withheld.
    pub privileges: BTreeSet<&'static str>,
    /// The code, and what is wrong with it.
    pub because: Vec<String>,
    owner: String,
    manageable: bool,
    held: BTreeSet<String>,
}

/// The columns that developers may not read, by relation; a relation with none is not in it.
pub(super) type Sensitive = BTreeMap<u32, BTreeMap<i16, String>>;

const WRITES: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// How code is looked at.
struct Look<'a> {
    survey: &'a Survey,
    /// Whether the owner of the data vouches for this piece of code, or for this function.
    vouched: &'a dyn Fn(&str) -> bool,
}

/// Which relations developers may not write to, and why.
fn closed(look: &Look<'_>, sensitive: &Sensitive) -> Vec<Closed> {
    let code = &look.survey.code;
    let mut reasons = Reasons::new();
    let mut close = |relation: u32, privilege: &'static str, reason: String| {
        reasons
            .entry(relation)
            .or_default()
            .entry(privilege)
            .or_default()
            .insert(reason)
    };
    for piece in &code.pieces {
        if let Some(reason) = look.own_rights(piece) {
            for privilege in WRITES.into_iter().filter(|p| piece.events.has(p)) {
                close(piece.relation, privilege, reason.clone());
            }
        }
        if let Some(hidden) = sensitive
            .get(&piece.relation)
            .filter(|_| piece.kind != Kind::Policy)
            && let Some(reason) = look.real_rows(piece, hidden)
        {
            for privilege in WRITES.into_iter().filter(|p| piece.events.has(p)) {
                close(piece.relation, privilege, reason.clone());
            }
        }
    }
    let own = first_of_each(&reasons);
    for (relation, privilege, reason) in look.set_off(own) {
        reasons
            .entry(relation)
            .or_default()
            .entry(privilege)
            .or_default()
            .insert(reason);
    }
    through_views(code, &mut reasons);
    reasons
        .into_iter()
        .filter_map(|(relation, reasons)| {
            let held = code.held.iter().find(|held| held.relation == relation)?;
            let because: BTreeSet<&String> = reasons.values().flatten().collect();
            Some(Closed {
                relation,
                identity: held.identity.clone(),
                privileges: reasons.keys().copied().collect(),
                because: because.into_iter().cloned().collect(),
                owner: held.owner.clone(),
                manageable: held.manageable,
                held: held.privileges.clone(),
            })
        })
        .collect()
}

/// Why which privilege is withheld, by relation.
type Reasons = BTreeMap<u32, BTreeMap<&'static str, BTreeSet<String>>>;

/// A view writes to what it shows with its owner's rights, and so do rules: what leads to a closed relation is closed like it.
fn through_views(code: &Code, reasons: &mut Reasons) {
    loop {
        let mut news = Vec::new();
        for link in &code.links {
            for (privilege, why) in reasons.get(&link.below).into_iter().flatten() {
                let privilege = link.by.unwrap_or(privilege);
                let is_known = reasons
                    .get(&link.above)
                    .is_some_and(|known| known.contains_key(privilege));
                if !is_known {
                    news.push((link.above, privilege, why.clone()));
                }
            }
        }
        if news.is_empty() {
            return;
        }
        for (relation, privilege, why) in news {
            reasons
                .entry(relation)
                .or_default()
                .entry(privilege)
                .or_default()
                .extend(why);
        }
    }
}

/// One reason for each.
fn first_of_each(reasons: &Reasons) -> BTreeMap<(u32, &'static str), String> {
    let all = reasons.iter().flat_map(|(relation, privileges)| {
        privileges.iter().map(|(privilege, reasons)| {
            (
                (*relation, *privilege),
                reasons.first().cloned().unwrap_or_default(),
            )
        })
    });
    all.collect()
}

impl Look<'_> {
    /// Why a trigger whose function runs with its owner's rights is not sound.
    fn own_rights(&self, piece: &Piece) -> Option<String> {
        let Kind::Trigger { .. } = piece.kind else {
            // Elsewhere the developer needs EXECUTE on it, and has none.
            return None;
        };
        let routine = self.routine(piece).filter(|routine| routine.definer)?;
        self.steerable(routine)
            .map(|why| format!("{} runs {why} with its owner's rights", piece.name))
    }

    /// What foreign keys' actions set off that is not sound: what is to be withheld on which referenced relation, and why.
    ///
    /// `dangerous` is what developers may not do to a relation themselves, with a reason: no action does it for them.
    fn set_off(
        &self,
        mut dangerous: BTreeMap<(u32, &'static str), String>,
    ) -> Vec<(u32, &'static str, String)> {
        let mut found = Vec::new();
        loop {
            let mut news = Vec::new();
            for action in &self.survey.code.actions {
                for (cause, effect) in [("DELETE", action.on_delete), ("UPDATE", action.on_update)]
                {
                    if dangerous.contains_key(&(action.parent, cause)) {
                        continue;
                    }
                    let direct = self
                        .survey
                        .code
                        .pieces
                        .iter()
                        .filter(|piece| action.sets_off(effect, piece))
                        .find_map(|piece| self.as_owner(piece));
                    let further = || {
                        WRITES
                            .into_iter()
                            .filter(|p| effect.has(p))
                            .find_map(|privilege| {
                                dangerous.get(&(action.child, privilege)).cloned()
                            })
                    };
                    if let Some(reason) = direct.or_else(further) {
                        news.push((action.parent, cause, reason));
                    }
                }
            }
            if news.is_empty() {
                return found;
            }
            for (relation, cause, reason) in news {
                dangerous.insert((relation, cause), reason.clone());
                found.push((relation, cause, reason));
            }
        }
    }

    /// Whether a foreign key's action sets a piece off.
    fn is_set_off(&self, piece: &Piece) -> bool {
        let mut actions = self.survey.code.actions.iter();
        actions.any(|action| {
            action.sets_off(action.on_delete, piece) || action.sets_off(action.on_update, piece)
        })
    }

    /// Why a piece is not sound that a foreign key's action sets off: what runs within the action runs as the owner of its table.
    fn as_owner(&self, piece: &Piece) -> Option<String> {
        match piece.kind {
            // Since 18 what comes after runs as who set it off, too.
            Kind::Trigger { before: false, .. } if self.survey.version < 180_000 => return None,
            // Its functions were found when it was made, and who sets it off needs EXECUTE on them.
            Kind::Rule | Kind::Policy => return None,
            _ => {}
        }
        let routine = self.routine(piece)?;
        self.steerable(routine).map(|why| {
            format!(
                "{} runs {why}, and a foreign key's action runs it as the owner of {}",
                piece.name, piece.identity
            )
        })
    }

    /// Why a piece is not sound that runs on rows with columns that developers may not read.
    fn real_rows(&self, piece: &Piece, hidden: &BTreeMap<i16, String>) -> Option<String> {
        if self.is_vouched(piece) {
            return None;
        }
        match piece.kind {
            // What is inserted, and what stands for it, comes from the developer.
            Kind::Default => return None,
            Kind::Rule => {
                return Some(format!("{} may copy the rows that it is about", piece.name));
            }
            _ if !piece.events.update && !piece.events.delete && piece.kind != Kind::Policy => {
                return None;
            }
            Kind::Expression | Kind::Policy => {
                let touches = piece.columns.is_empty()
                    || piece
                        .columns
                        .iter()
                        .any(|column| hidden.contains_key(column));
                if !touches {
                    return None;
                }
            }
            Kind::Trigger { .. } => {}
        }
        let routine = self.routine(piece)?;
        if routine.language == "c" || routine.language == "internal" {
            return None;
        }
        let steerable = self.steerable(routine);
        let Kind::Trigger { rows, .. } = piece.kind else {
            return steerable.map(|why| format!("{} runs {why} on real values", piece.name));
        };
        let is_readable = |column: &str| !hidden.values().any(|name| name == column);
        let body = match routine.language.as_str() {
            "plpgsql" if !rows => body::read(&routine.source, &is_readable),
            _ => body::Body {
                hands_on: true,
                lets_out: Some("nothing is known of what it does with the row".to_owned()),
            },
        };
        if !body.hands_on && !routine.definer {
            return None;
        }
        if let Some(why) = steerable {
            return Some(format!("{} runs {why} on real values", piece.name));
        }
        body.lets_out.map(|how| {
            format!(
                "{} runs {} on real values, and {how}",
                piece.name, routine.identity
            )
        })
    }

    /// Whether who calls this function can choose what a name in it means, in words that begin with the function that it is.
    fn steerable(&self, routine: &Routine) -> Option<String> {
        let (of, why) = self.steered(routine, 0)?;
        Some(format!("{}{why}", of.identity))
    }

    /// The same: the function that it is, which `routine` may call, and why.
    fn steered<'a>(
        &'a self,
        routine: &'a Routine,
        depth: usize,
    ) -> Option<(&'a Routine, &'static str)> {
        if routine.language == "c" || routine.language == "internal" {
            return None;
        }
        if let Some(path) = &routine.search_path {
            return (!path::is_safe(path, &|schema| self.is_closed(schema))).then_some((
                routine,
                ", whose search_path developers can put objects into,",
            ));
        }
        if !routine.standard_body {
            return Some((
                routine,
                ", whose names mean what the caller's search_path makes them mean,",
            ));
        }
        // Deeper than anybody writes: not looked into, so not known to be sound.
        if depth > 16 {
            return Some((routine, ", which calls too deep to look into,"));
        }
        routine
            .calls
            .iter()
            .filter_map(|called| self.survey.code.routines.get(called))
            .find_map(|called| self.steered(called, depth + 1))
    }

    /// Whether developers can make nothing in this schema. Armed, they may in every schema that setup can open to them.
    fn is_closed(&self, schema: &str) -> bool {
        let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
        schema == "information_schema"
            || self.survey.schemas.iter().any(|found| {
                (found.identity == schema || found.identity == quoted)
                    && !found.manageable
                    && !found.writable
            })
    }

    /// SECURITY DEFINER functions that developers may call, and event triggers, which they set off: what of these they could steer.
    fn callable(&self, allowed: &[String]) -> Vec<Finding> {
        let code = &self.survey.code;
        let called = code
            .routines
            .values()
            .filter(|routine| allowed.contains(&routine.identity));
        let set_off = code
            .event_triggers
            .iter()
            .filter_map(|oid| code.routines.get(oid));
        called
            .chain(set_off)
            .filter(|routine| routine.definer)
            .filter_map(|routine| Some((routine, self.steerable(routine)?)))
            .map(|(routine, why)| {
                Finding::hole(
                    format!("developers can have {why} run with its owner's rights"),
                    format!(
                        "qualify the names in it, then pin it: devinprod setup --pin {:?}",
                        routine.identity
                    ),
                )
            })
            .collect()
    }

    /// Row security policies that hand real values to code that is not sound: they run for reads too.
    fn policies(&self, sensitive: &Sensitive) -> Vec<Finding> {
        let pieces = self.survey.code.pieces.iter();
        pieces
            .filter(|piece| piece.kind == Kind::Policy)
            .filter_map(|piece| self.real_rows(piece, sensitive.get(&piece.relation)?))
            .map(|reason| {
                Finding::hole(
                    reason,
                    "qualify the names in its function, then pin that: devinprod setup --pin …; or vouch for it",
                )
            })
            .collect()
    }

    fn routine(&self, piece: &Piece) -> Option<&Routine> {
        self.survey.code.routines.get(&piece.routine?)
    }

    fn is_vouched(&self, piece: &Piece) -> bool {
        let function = self.routine(piece).map(Routine::name);
        (self.vouched)(&piece.name) || function.is_some_and(|function| (self.vouched)(&function))
    }
}

/// What a setup does about code.
pub(super) struct CodePlan {
    /// The relations that are closed for it.
    pub closed: Vec<Closed>,
    /// Takes the rights away that are withheld.
    pub steps: Vec<Step>,
    /// What is closed and why, for the owner of the data to decide.
    pub findings: Vec<Finding>,
}

/// Decides what developers may not write to.
///
/// `sensitive`: what developers may not read, once all has run.
pub(super) fn plan(survey: &Survey, options: &SealOptions, sensitive: &Sensitive) -> CodePlan {
    let vouched = vouched(survey, options);
    let is_vouched = |code: &str| vouched.contains(code);
    let look = look(survey, &is_vouched);
    let closed = closed(&look, sensitive);
    let mut findings: Vec<Finding> = closed.iter().map(Closed::finding).collect();
    findings.extend(refused(&look, options));
    findings.extend(look.callable(&allowed(options)));
    findings.extend(look.policies(sensitive));
    // With a policy, the rights to write are the business of masks; what these leave alone is still closed here.
    let gives = options.policy.is_none();
    let links = gives && !survey.masks.has_policy();
    CodePlan {
        steps: closed
            .iter()
            .filter_map(|closed| closed.step(&options.names, gives, links))
            .collect(),
        closed,
        findings,
    }
}

/// The SECURITY DEFINER functions that developers may call.
fn allowed(options: &SealOptions) -> Vec<String> {
    let by_policy = options.policy.iter();
    let by_policy = by_policy.flat_map(|policy| policy.allowed_functions());
    let mut allowed = options.allowed_functions.clone();
    allowed.extend(by_policy.cloned());
    allowed
}

/// Where code that is not sound would run for developers as things are.
pub(super) fn holes(survey: &Survey) -> Vec<Finding> {
    let is_vouched = |code: &str| survey.code.vouched.contains(code);
    let sealed = masks::sealed(survey);
    let mut findings: Vec<Finding> = closed(&look(survey, &is_vouched), &sealed)
        .iter()
        .filter(|relation| relation.is_open())
        .map(|relation| {
            Finding::hole(
                format!("developers may write to {}: {}", relation.identity, relation.because.join("; ")),
                "run devinprod setup again: it takes the right away until the code is sound or vouched for",
            )
        })
        .collect();
    let allowed: Vec<String> = survey
        .definers
        .iter()
        .filter(|definer| definer.allowed)
        .map(|definer| definer.identity.clone())
        .collect();
    let look = look(survey, &is_vouched);
    findings.extend(look.callable(&allowed));
    findings.extend(look.policies(&sealed));
    findings
}

fn look<'a>(survey: &'a Survey, vouched: &'a dyn Fn(&str) -> bool) -> Look<'a> {
    Look { survey, vouched }
}

impl Closed {
    fn is_open(&self) -> bool {
        self.privileges
            .iter()
            .any(|privilege| self.held.contains(*privilege))
    }

    /// Takes away what is withheld, and gives what is not: if `gives`, and with REFERENCES if `links`.
    fn step(&self, names: &Names, gives: bool, links: bool) -> Option<Step> {
        let writers = names.writers();
        let mut sql = Vec::new();
        let excess: Vec<&str> = self
            .privileges
            .iter()
            .copied()
            .filter(|p| self.held.contains(*p))
            .collect();
        if !excess.is_empty() {
            sql.push(format!(
                "REVOKE {} ON TABLE {} FROM {writers};",
                excess.join(", "),
                self.identity
            ));
        }
        let missing: Vec<&str> = WRITES
            .into_iter()
            .filter(|_| gives)
            .chain(links.then_some("REFERENCES"))
            .filter(|p| !self.privileges.contains(p) && !self.held.contains(*p))
            .collect();
        if !missing.is_empty() {
            sql.push(format!(
                "GRANT {} ON TABLE {} TO {writers};",
                missing.join(", "),
                self.identity
            ));
        }
        (self.manageable && !sql.is_empty()).then(|| {
            let withheld: Vec<&str> = self.privileges.iter().copied().collect();
            Step::new(
                format!(
                    "No {} on {}: code that it sets off could be steered",
                    withheld.join(" or "),
                    self.identity
                ),
                sql.join("\n"),
            )
        })
    }

    fn finding(&self) -> Finding {
        let withheld: Vec<&str> = self.privileges.iter().copied().collect();
        Finding::note(
            format!(
                "developers get no {} on {} (owner {}): {}",
                withheld.join(", "),
                self.identity,
                self.owner,
                self.because.join("; ")
            ),
            "qualify the names in it, then pin the function that is named here: devinprod setup --pin …; or, where that is \
             not what is wrong, vouch for it by the name that stands here",
        )
    }
}
