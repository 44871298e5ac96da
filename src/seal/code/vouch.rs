//! What the owner of the data vouches for: the danger that is theirs to take, and the one that is not.

use std::collections::BTreeSet;

use super::Look;
use super::found::Routine;
use crate::seal::SealOptions;
use crate::seal::close::literal;
use crate::seal::judge::Finding;
use crate::seal::plan::Step;
use crate::seal::survey::Survey;

/// Puts on record what is vouched for; run as the sealing role.
pub(in crate::seal) fn record(survey: &Survey, options: &SealOptions) -> Option<Step> {
    let vouched = vouched(survey, options);
    if vouched == survey.code.vouched {
        return None;
    }
    let mut sql = vec![
        format!("SET LOCAL ROLE {};", options.names.owner()),
        "DELETE FROM devinprod.vouched;".to_owned(),
    ];
    if !vouched.is_empty() {
        let rows: Vec<String> = vouched
            .iter()
            .map(|code| format!("({})", literal(code)))
            .collect();
        sql.push(format!(
            "INSERT INTO devinprod.vouched (code) VALUES\n    {};",
            rows.join(",\n    ")
        ));
    }
    sql.push("RESET ROLE;".to_owned());
    Some(Step::new(
        "What the owner of the data vouches for",
        sql.join("\n"),
    ))
}

/// The names of all code that is vouched for, and that there is. What an earlier setup had on record holds until another one
/// vouches for something.
pub(super) fn vouched(survey: &Survey, options: &SealOptions) -> BTreeSet<String> {
    let code = &survey.code;
    let pieces = code.pieces.iter().map(|piece| piece.name.clone());
    let routines = code.routines.values().map(Routine::name);
    let is_silent = options.vouched.is_empty() && options.policy.is_none();
    pieces
        .chain(routines)
        .filter(|name| {
            options.vouched.contains(name)
                || options
                    .policy
                    .as_ref()
                    .is_some_and(|policy| policy.vouches(name))
                || (is_silent && code.vouched.contains(name))
        })
        .collect()
}

/// Vouches that were asked for and are not taken: nobody can answer for what code does with more rights than the developer's, while the
/// developer chooses what the names in it mean.
pub(super) fn refused(look: &Look<'_>, options: &SealOptions) -> Vec<Finding> {
    let by_policy = options.policy.iter().flat_map(|policy| policy.vouched());
    let vouched: BTreeSet<&str> = options
        .vouched
        .iter()
        .map(String::as_str)
        .chain(by_policy)
        .collect();
    let code = &look.survey.code;
    let pieces = code.pieces.iter().filter_map(|piece| {
        let routine = look.routine(piece)?;
        let name = vouched
            .get(piece.name.as_str())
            .or_else(|| vouched.get(routine.name().as_str()))?;
        let set_off = || {
            look.is_set_off(piece)
                .then(|| look.as_owner(piece))
                .flatten()
        };
        let why = look.own_rights(piece).or_else(set_off)?;
        Some((name, why, routine))
    });
    let called = code.routines.values().filter_map(|routine| {
        let name = vouched.get(routine.name().as_str())?;
        let (of, why) = look.steered(routine, 0).filter(|_| routine.definer)?;
        Some((name, format!("it is {}{why}", of.identity), routine))
    });
    let mut seen = BTreeSet::new();
    pieces
        .chain(called)
        .filter(|(name, ..)| seen.insert(*name))
        .map(|(name, why, routine)| {
            Finding::hole(
                format!(
                    "nobody can vouch for {name}: {why}; developers choose what it does"
                ),
                format!(
                    "qualify the names in it, then pin it: devinprod setup --pin {:?}, or ALTER FUNCTION {} SET search_path = {}",
                    routine.identity,
                    routine.identity,
                    super::pin::PATH
                ),
            )
        })
        .collect()
}
