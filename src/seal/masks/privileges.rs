//! The steps that give and take privileges.

use std::collections::{BTreeMap, BTreeSet};

use super::actions::{Hidden, Withheld, withheld};
use super::decide::{Access, Decided};
use super::found::{Found, FoundDefault};
use super::{Parts, rights};
use crate::seal::code::Closed;
use crate::seal::judge::Finding;
use crate::seal::plan::Step;
use crate::seal::{Names, Survey};

/// Who holds what, column by column.
pub(super) fn privileges(
    found: &Found,
    decided: &[Decided<'_>],
    names: &Names,
    closed: &[Closed],
    plan: &mut Parts,
) {
    let all = withhold(found, decided, closed);
    let mut before = Vec::new();
    let mut after = Vec::new();
    let mut entered: BTreeSet<&str> = found.entered.iter().map(String::as_str).collect();
    for relation in decided {
        if matches!(relation.access, Access::Extension | Access::Foreign) {
            continue;
        }
        let (owner, developers) = rights::statements(found, relation, decided, &all, names);
        let place = relation.found.place.as_str();
        let needs_place = relation.access == Access::Masked || !owner.is_empty();
        if needs_place && entered.insert(place) {
            before.push(format!(
                "GRANT USAGE ON SCHEMA {place} TO {};",
                names.owner()
            ));
        }
        before.extend(owner);
        after.extend(developers);
    }
    for (oid, withheld) in &withheld(&found.actions, &hidden(decided)) {
        let Some(relation) = found.relation(*oid) else {
            continue;
        };
        let columns: Vec<&str> = withheld
            .update
            .iter()
            .filter_map(|number| relation.column(*number))
            .map(|column| column.identity.as_str())
            .collect();
        let mut what = Vec::new();
        if withheld.delete {
            what.push("no DELETE".to_owned());
        }
        if !columns.is_empty() {
            what.push(format!("no UPDATE of {}", columns.join(", ")));
        }
        let because: Vec<&str> = withheld.because.iter().map(String::as_str).collect();
        plan.findings.push(Finding::note(
            format!(
                "developers get {} on {}: what it sets off may fail, and the error would show a whole row ({})",
                what.join(" and "),
                relation.identity,
                because.join(", ")
            ),
            "",
        ));
    }
    if !before.is_empty() {
        plan.before.push(Step::new(
            "The sealing role reads what its views mask",
            before.join("\n"),
        ));
    }
    if !after.is_empty() {
        plan.after.push(Step::new(
            "Developers read clear columns, no whole table: a column that comes later is closed",
            after.join("\n"),
        ));
    }
}

/// What developers must not do to relations: for what foreign keys' actions would show, and for the code that it would
/// set off.
pub(super) fn withhold(
    found: &Found,
    decided: &[Decided<'_>],
    closed: &[Closed],
) -> BTreeMap<u32, Withheld> {
    let mut all = withheld(&found.actions, &hidden(decided));
    for closed in closed {
        let withheld = all.entry(closed.relation).or_default();
        withheld.insert |= closed.privileges.contains("INSERT");
        withheld.delete |= closed.privileges.contains("DELETE");
        if closed.privileges.contains("UPDATE") {
            withheld.update.insert(0);
        }
    }
    all
}

/// The columns that are not clear.
fn hidden(decided: &[Decided<'_>]) -> Hidden {
    decided
        .iter()
        .map(|relation| {
            let hidden = relation.columns.iter().filter(|column| !column.is_clear());
            let numbers = hidden.map(|column| column.found.number).collect();
            (relation.found.oid, numbers)
        })
        .collect()
}

/// Whether a default privilege would open tables to come, or let them be linked to.
pub(super) fn opens(default: &FoundDefault, names: &Names) -> bool {
    let developer = names.pair_of(&default.owner).is_some();
    // PUBLIC's REFERENCES is closed with its other rights to write.
    let closed = default.privilege == "SELECT" || default.grantee == names.writers();
    closed && !developer
}

pub(super) fn defaults(survey: &Survey, names: &Names, plan: &mut Parts) {
    for default in survey
        .masks
        .defaults
        .iter()
        .filter(|default| opens(default, names))
    {
        let owner = survey.quoted(&default.owner);
        let place = default
            .schema
            .as_ref()
            .map_or_else(String::new, |schema| format!(" IN SCHEMA {schema}"));
        let (from, shown) = if default.grantee.is_empty() {
            ("PUBLIC".to_owned(), "everybody")
        } else {
            (survey.quoted(&default.grantee), "developers")
        };
        let privilege = &default.privilege;
        let sql = format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner}{place} REVOKE {privilege} ON TABLES FROM {from};"
        );
        let what = format!("{privilege} on tables that {owner} makes later{place}");
        if default.manageable {
            plan.after
                .push(Step::new(format!("No longer for {shown}: {what}"), sql));
        } else {
            plan.findings.push(Finding::hole(
                format!("{from} will get {what}"),
                format!("as {owner}: {sql}"),
            ));
        }
    }
}
