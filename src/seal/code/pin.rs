//! Functions of the application whose search path setup pins, because their owner asked for it, and the way back.

use std::collections::BTreeSet;

use super::found::{Pinned, Routine};
use super::vouch::vouched;
use super::{Look, Sensitive, allowed, look, path};
use crate::seal::SealOptions;
use crate::seal::close::literal;
use crate::seal::judge::Finding;
use crate::seal::plan::Step;
use crate::seal::survey::Survey;
use crate::sql::lexer::{self, Token, TokenKind};
use crate::sql::value;

/// What a function is pinned to: developers can put nothing into it.
pub(super) const PATH: &str = "pg_catalog, pg_temp";

/// Asks for every function that would do.
const ALL: &str = "all";

/// The words after which SQL names a relation.
const BEFORE_RELATIONS: [&str; 7] = ["from", "join", "into", "update", "only", "table", "using"];

/// The part of a plan that is about pinning.
pub(in crate::seal) struct Pins {
    /// What the database will have: functions that are pinned are sound.
    pub survey: Survey,
    /// Puts on record what they had; run as the sealing role.
    pub record: Option<Step>,
    /// Pins.
    pub steps: Vec<Step>,
    /// One line for each.
    pub summary: Vec<String>,
    /// What cannot be pinned.
    pub findings: Vec<Finding>,
}

/// Pins what the options ask for.
pub(in crate::seal) fn pins(survey: &Survey, options: &SealOptions, sensitive: &Sensitive) -> Pins {
    let mut pins = Pins {
        survey: survey.clone(),
        record: None,
        steps: Vec::new(),
        summary: Vec::new(),
        findings: Vec::new(),
    };
    if options.pinned.is_empty() {
        return pins;
    }
    let taken = vouched(survey, options);
    let is_vouched = |code: &str| taken.contains(code);
    let look = look(survey, &is_vouched);
    let mut wanted: BTreeSet<u32> = BTreeSet::new();
    for name in &options.pinned {
        if name == ALL {
            wanted.extend(look.steered_ones(sensitive, &allowed(options)));
            continue;
        }
        let mut routines = survey.code.routines.values();
        match routines.find(|routine| routine.identity == *name) {
            // Sound as it is, or pinned already.
            Some(routine) if look.steered(routine, 0).is_none() => {}
            Some(routine) => {
                wanted.insert(routine.oid);
            }
            None => pins.findings.push(Finding::hole(
                format!("there is no function {name} that developers set off or may call"),
                "name it as the plan does, with its schema and argument types: app.add(integer,text)",
            )),
        }
    }
    let relations: BTreeSet<&str> = survey
        .masks
        .relations
        .iter()
        .map(|relation| relation.name.as_str())
        .collect();
    let mut rows = Vec::new();
    for routine in wanted
        .iter()
        .filter_map(|oid| survey.code.routines.get(oid))
    {
        let names = unqualified(&routine.source, &relations, &survey.code.names);
        if !routine.manageable {
            pins.findings.push(Finding::hole(
                format!(
                    "{} cannot be pinned: it belongs to {}",
                    routine.identity, routine.owner
                ),
                format!("as {}: {}", routine.owner, alter(routine)),
            ));
        } else if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            pins.findings.push(Finding::hole(
                format!(
                    "{} cannot be pinned: it names {} without a schema, and would no longer find it",
                    routine.identity,
                    names.join(", ")
                ),
                "write the schema before each name in it, then run setup again",
            ));
        } else {
            pins.steps.push(Step::new(
                format!(
                    "The names in {} mean the same, whoever sets it off",
                    routine.identity
                ),
                alter(routine),
            ));
            pins.summary.push(format!(
                "{} gets search_path = {PATH}, in place of {}; --remove gives that back",
                routine.identity,
                routine.search_path.as_deref().unwrap_or("none")
            ));
            rows.push(format!(
                "({}, {})",
                literal(&routine.identity),
                routine
                    .search_path
                    .as_deref()
                    .map_or_else(|| "NULL".to_owned(), literal)
            ));
            if let Some(found) = pins.survey.code.routines.get_mut(&routine.oid) {
                found.search_path = Some(PATH.to_owned());
            }
        }
    }
    if !rows.is_empty() {
        pins.record = Some(Step::new(
            "On record, so that --remove can undo it",
            format!(
                "SET LOCAL ROLE {};\nINSERT INTO devinprod.pinned (function, former) VALUES\n    {}\n\
                 ON CONFLICT (function) DO UPDATE SET former = excluded.former;\nRESET ROLE;",
                options.names.owner(),
                rows.join(",\n    ")
            ),
        ));
    }
    pins
}

fn alter(routine: &Routine) -> String {
    format!(
        "ALTER ROUTINE {} SET search_path = {PATH};",
        routine.identity
    )
}

impl Look<'_> {
    /// The functions whose names developers could choose the meaning of, where that matters.
    fn steered_ones(&self, sensitive: &Sensitive, allowed: &[String]) -> BTreeSet<u32> {
        let code = &self.survey.code;
        let pieces = code.pieces.iter().filter(|piece| {
            let hidden = sensitive.get(&piece.relation);
            self.own_rights(piece).is_some()
                || hidden.is_some_and(|hidden| self.real_rows(piece, hidden).is_some())
                || (self.is_set_off(piece) && self.as_owner(piece).is_some())
        });
        let called = code.routines.values().filter(|routine| {
            routine.definer
                && (allowed.contains(&routine.identity)
                    || code.event_triggers.contains(&routine.oid))
        });
        pieces
            .filter_map(|piece| self.routine(piece))
            .chain(called)
            .filter_map(|routine| self.steered(routine, 0))
            .map(|(routine, _)| routine.oid)
            .collect()
    }
}

/// The relations and functions that a body names without their schema.
///
/// What it runs from strings, operators and types are not looked at.
fn unqualified(
    source: &str,
    relations: &BTreeSet<&str>,
    functions: &BTreeSet<String>,
) -> BTreeSet<String> {
    let tokens = lexer::significant(source);
    let text = |token: Option<&Token>| token.map_or("", |token| token.text(source));
    let mut found = BTreeSet::new();
    for (place, token) in tokens.iter().enumerate() {
        let is_name = matches!(
            token.kind,
            TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier
        );
        let Some(name) = value::identifier(token, source).filter(|_| is_name) else {
            continue;
        };
        let before = text(place.checked_sub(1).and_then(|place| tokens.get(place)));
        let after = text(tokens.get(place + 1));
        if before == "." || after == "." {
            continue;
        }
        let is_relation = relations.contains(name.as_str())
            && (BEFORE_RELATIONS.contains(&before.to_lowercase().as_str()) || after == "%");
        let is_call = after == "(" && functions.contains(&name);
        if is_relation || is_call {
            found.insert(name);
        }
    }
    found
}

/// Gives functions the search path back that they had, unless somebody changed it since.
pub(in crate::seal) fn unpin(survey: &Survey) -> (Vec<Step>, Vec<Finding>) {
    let mut steps = Vec::new();
    let mut findings = Vec::new();
    for pinned in &survey.code.pinned {
        let Pinned {
            identity,
            former,
            now,
            manageable,
        } = pinned;
        if now.as_deref() != Some(PATH) {
            findings.push(Finding::note(
                format!("{identity} is not pinned any more, or gone, and stays as it is"),
                "",
            ));
            continue;
        }
        let back = match former {
            None => Some("RESET search_path".to_owned()),
            Some(former) => {
                path::literal_list(former).map(|list| format!("SET search_path TO {list}"))
            }
        };
        match back {
            Some(back) if *manageable => steps.push(Step::new(
                format!("{identity} gets the search_path back that it had"),
                format!("ALTER ROUTINE {identity} {back};"),
            )),
            _ => findings.push(Finding::note(
                format!("{identity} stays pinned, since it belongs to somebody else"),
                format!(
                    "it had search_path = {}",
                    former.as_deref().unwrap_or("none")
                ),
            )),
        }
    }
    (steps, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_schema_are_seen() {
        let relations = BTreeSet::from(["accounts", "log"]);
        let functions = BTreeSet::from(["digest".to_owned()]);
        for (source, found) in [
            (
                "BEGIN UPDATE public.accounts SET n = 1; RETURN NEW; END",
                vec![],
            ),
            ("BEGIN UPDATE accounts SET n = 1; END", vec!["accounts"]),
            ("DECLARE r \"log\"%ROWTYPE; BEGIN END", vec!["log"]),
            (
                "SELECT 1 FROM public.log l JOIN Accounts a ON true",
                vec!["accounts"],
            ),
            ("BEGIN NEW.log := app.digest(NEW.accounts); END", vec![]),
            (
                "BEGIN NEW.x := digest(NEW.y); INSERT INTO app.log (log) VALUES (1); END",
                vec!["digest"],
            ),
            ("BEGIN -- FROM accounts\n x := 'FROM log'; END", vec![]),
        ] {
            let seen = unqualified(source, &relations, &functions);
            assert_eq!(seen.into_iter().collect::<Vec<_>>(), found, "{source}");
        }
    }
}
