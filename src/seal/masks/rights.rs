//! Who holds what on the users' relations, column by column: from what is held to what should be.

use std::collections::{BTreeMap, BTreeSet};

use super::actions::Withheld;
use super::decide::{Access, Decided, DecidedColumn};
use super::found::{Found, FoundRelation, Grant};
use super::views::lockable;
use crate::seal::Names;

/// The columns that every table has: their numbers and names. They tell where a row is and which transactions
/// wrote it, nothing of what it holds.
const SYSTEM: [(i16, &str); 6] = [
    (-1, "ctid"),
    (-2, "xmin"),
    (-3, "cmin"),
    (-4, "xmax"),
    (-5, "cmax"),
    (-6, "tableoid"),
];

/// The columns of SYSTEM that the redirect needs on masked relations.
const IDENTITY: [i16; 2] = [-1, -6];

/// The statements that bring what the seal's groups hold on a relation to what they should: first those for the
/// sealing role, which the views need, then those for developers.
pub(super) fn statements(
    found: &Found,
    decided: &Decided<'_>,
    all: &[Decided<'_>],
    withheld: &BTreeMap<u32, Withheld>,
    names: &Names,
) -> (Vec<String>, Vec<String>) {
    let relation = decided.found;
    let wanted = wanted(decided, all, withheld.get(&relation.oid), names);
    let change = |holder: &str| change(found, relation, &wanted, holder);
    let owner = change(&names.owner());
    let mut developers = change(&names.readers());
    developers.extend(change(&names.writers()));
    (owner, developers)
}

fn change(
    found: &Found,
    relation: &FoundRelation,
    wanted: &BTreeSet<Grant>,
    holder: &str,
) -> Vec<String> {
    let empty = BTreeSet::new();
    let held = found.grants.get(&relation.oid).unwrap_or(&empty);
    let of = |grants: &BTreeSet<Grant>| -> BTreeMap<String, BTreeSet<i16>> {
        let mut by_privilege: BTreeMap<String, BTreeSet<i16>> = BTreeMap::new();
        for grant in grants.iter().filter(|grant| grant.holder == holder) {
            by_privilege
                .entry(grant.privilege.clone())
                .or_default()
                .insert(grant.column);
        }
        by_privilege
    };
    let (held, mut wanted) = (of(held), of(wanted));
    let identity = &relation.identity;
    let mut sql = Vec::new();
    for (privilege, has) in &held {
        let wants = wanted.entry(privilege.clone()).or_default();
        if has.is_subset(wants) {
            wants.retain(|column| !has.contains(column));
        } else {
            // For the whole table: that takes what stands at the columns too.
            sql.push(format!("REVOKE {privilege} ON {identity} FROM {holder};"));
        }
    }
    for (privilege, columns) in wanted {
        if columns.contains(&0) {
            sql.push(format!("GRANT {privilege} ON {identity} TO {holder};"));
        }
        let listed: Vec<&str> = columns
            .iter()
            .filter_map(|number| column_name(relation, *number))
            .collect();
        if !listed.is_empty() {
            let listed = listed.join(", ");
            sql.push(format!(
                "GRANT {privilege} ({listed}) ON {identity} TO {holder};"
            ));
        }
    }
    sql
}

fn column_name(relation: &FoundRelation, number: i16) -> Option<&str> {
    let system = SYSTEM.iter().find(|(system, _)| *system == number);
    match system {
        Some((_, name)) => Some(name),
        None => relation
            .column(number)
            .map(|column| column.identity.as_str()),
    }
}

/// What the three groups should hold on a relation.
fn wanted(
    decided: &Decided<'_>,
    all: &[Decided<'_>],
    withheld: Option<&Withheld>,
    names: &Names,
) -> BTreeSet<Grant> {
    let relation = decided.found;
    let table = matches!(relation.kind, 'r' | 'p');
    let mut grants = BTreeSet::new();
    let mut give = |holder: &str, privilege: &str, columns: &[i16]| {
        grants.extend(columns.iter().map(|column| Grant {
            holder: holder.to_owned(),
            privilege: privilege.to_owned(),
            column: *column,
        }));
    };
    let (readers, writers, owner) = (names.readers(), names.writers(), names.owner());
    let clear: Vec<i16> = decided
        .columns
        .iter()
        .filter(|column| column.is_clear())
        .map(|column| column.found.number)
        .collect();
    match decided.access {
        Access::Clear => {
            give(&readers, "SELECT", &clear);
            if table {
                give(&readers, "SELECT", &SYSTEM.map(|(number, _)| number));
                // devinprod.latest() asks as the sealing role; readers hold the columns alone.
                give(&owner, "SELECT", &[0]);
            }
        }
        Access::Masked => {
            give(&readers, "SELECT", &clear);
            give(&owner, "SELECT", &[0]);
            if table {
                give(&readers, "SELECT", &IDENTITY);
                give(&owner, "UPDATE", &lockable_numbers(decided, withheld));
            }
        }
        Access::Closed | Access::Extension | Access::Foreign => {}
    }
    let closed_view = relation.kind == 'v' && decided.access == Access::Closed;
    if (table || relation.kind == 'v') && !closed_view {
        let none = Withheld::default();
        let withheld = withheld.unwrap_or(&none);
        if !withheld.insert {
            give(&writers, "INSERT", &[0]);
        }
        if !withheld.delete {
            give(&writers, "DELETE", &[0]);
        }
        if withheld.update.is_empty() {
            give(&writers, "UPDATE", &[0]);
        } else if !withheld.update.contains(&0) {
            let numbers = relation.columns.iter().map(|column| column.number);
            let others: Vec<i16> = numbers
                .filter(|number| !withheld.update.contains(number))
                .collect();
            give(&writers, "UPDATE", &others);
        }
    }
    if table {
        // A reference to a sensitive column would say which values there are.
        give(&writers, "REFERENCES", &clear);
    }
    let looked_at = all.iter().any(|other| {
        other.access == Access::Masked && other.found.policy_reads.contains(&relation.oid)
    });
    if looked_at {
        // Row security policies of a masked relation run as the owner of its view.
        give(&owner, "SELECT", &[0]);
    }
    grants
}

fn lockable_numbers(decided: &Decided<'_>, withheld: Option<&Withheld>) -> Vec<i16> {
    let names = lockable(decided, withheld).unwrap_or_default();
    let listed = |column: &&DecidedColumn<'_>| names.contains(&column.found.identity);
    decided
        .columns
        .iter()
        .filter(listed)
        .map(|column| column.found.number)
        .collect()
}
