//! The views in place of a masked relation, and its rows in the manifest, as SQL.

use sha2::{Digest, Sha256};

use super::actions::Withheld;
use super::decide::{Access, Decided, DecidedColumn};
use super::facts::Facts;
use super::found::{FoundRelation, hex};
use super::or_null;
use super::own::Notes;
use crate::policy::{Exception, Treatment};
use crate::seal::Names;
use crate::seal::close::literal;

/// The schema of the views that stand in place of masked relations.
pub(super) const MASKED: &str = "devinprod_masked";

/// The schema of the same views with the identity of each row.
pub(super) const ROWS: &str = "devinprod_rows";

/// The longest name that Postgres keeps, in bytes.
const LONGEST: usize = 63;

/// What a relation that is not clear needs.
pub(super) struct Definition {
    /// Makes the trigger functions of its notes, and the views; run as the sealing role.
    pub views: String,
    /// Makes the triggers of its notes; run as the administrator.
    pub triggers: String,
    /// Takes back what that needed; run as the sealing role.
    pub done: String,
    /// Makes the relation's rows in the manifest; run as the sealing role.
    pub manifest: String,
    /// A digest of what makes views and triggers.
    pub made: String,
    /// A digest of `manifest`.
    pub said: String,
    /// Columns in which what a developer writes does not read back, and why.
    pub closed: Vec<(String, String)>,
}

/// The name of the views of a relation, unquoted: `schema.table`, cut and told apart where that is too long or
/// where a name has a dot of its own.
pub(super) fn name(schema: &str, relation: &str) -> String {
    let plain = format!("{schema}.{relation}");
    let dotted = schema.contains('.') || relation.contains('.');
    if plain.len() <= LONGEST && !dotted {
        return plain;
    }
    let digest = hex(&Sha256::digest(format!("{schema}\0{relation}")));
    let ending: String = digest.chars().take(8).collect();
    let mut kept = plain.as_str();
    while kept.len() + 1 + ending.len() > LONGEST {
        let mut characters = kept.chars();
        characters.next_back();
        kept = characters.as_str();
    }
    format!("{kept}~{ending}")
}

/// A view of a relation as SQL.
pub(super) fn view(schema: &str, relation: &FoundRelation) -> String {
    let name = name(&relation.schema, &relation.name).replace('"', "\"\"");
    format!("{schema}.\"{name}\"")
}

/// The views and the manifest of a relation that is not clear. `denied`: which writes developers are denied, and why. `vouches` says whether the policy's owner vouches for a
/// piece of the application's code.
pub(super) fn definition(
    decided: &Decided<'_>,
    facts: Option<&Facts>,
    withheld: Option<&Withheld>,
    denied: Option<&str>,
    vouches: impl Fn(&str) -> bool,
    names: &Names,
) -> Definition {
    let has_views = decided.access == Access::Masked;
    let masked: Vec<&str> = decided
        .columns
        .iter()
        .filter(|column| has_views && column.mask.is_some())
        .map(|column| column.found.name.as_str())
        .collect();
    let subjects: Vec<(&str, &str)> = decided
        .columns
        .iter()
        .filter_map(|column| match &column.decision.treatment {
            Treatment::Mask(mask) => Some((column.found.name.as_str(), mask.subject()?)),
            _ => None,
        })
        .collect();
    let notes = facts
        .map(|facts| facts.notes(&masked, &subjects, &vouches, names))
        .unwrap_or_default();
    // The same as if no seal had been there before.
    let fresh = facts
        .map(|facts| {
            let facts = Facts {
                triggers: Vec::new(),
                ..facts.clone()
            };
            facts.notes(&masked, &subjects, &vouches, names)
        })
        .unwrap_or_default();
    let views = if has_views {
        views(decided, facts.map(|_| &notes), withheld, names)
    } else {
        String::new()
    };
    let made = hex(&Sha256::new()
        .chain_update(&notes.functions)
        .chain_update(&fresh.triggers)
        .chain_update(&views)
        .finalize());
    let seen = facts.map(|facts| facts.code().join("\n"));
    let rows = manifest(decided, has_views, seen.as_deref(), denied);
    let said = hex(&Sha256::digest(&rows));
    let oid = decided.found.oid;
    Definition {
        manifest: format!(
            "{rows}UPDATE devinprod.masked_relation SET definition = '{made} {said}' WHERE relation = {oid};\n"
        ),
        views: notes.functions + &views,
        triggers: notes.triggers,
        done: notes.done,
        made,
        said,
        closed: notes.closed,
    }
}

fn views(
    decided: &Decided<'_>,
    notes: Option<&Notes>,
    withheld: Option<&Withheld>,
    names: &Names,
) -> String {
    let relation = decided.found;
    let cells: Vec<String> = decided
        .columns
        .iter()
        .filter(|column| column.is_seen())
        .map(|column| cell(column, notes))
        .collect();
    let list = cells.join(",\n    ");
    let from = &relation.identity;
    let masked = view(MASKED, relation);
    let mut sql = format!(
        "DROP VIEW IF EXISTS {masked} CASCADE;\n\
         CREATE VIEW {masked} AS\nSELECT\n    {list}\nFROM {from} AS t;\n\
         REVOKE ALL ON {masked} FROM PUBLIC;\n\
         GRANT SELECT ON {masked} TO {};\n",
        names.readers(),
    );
    if let Some(columns) = lockable(decided, withheld) {
        // For SELECT … FOR UPDATE alone: an UPDATE of the view would write where writes of the table may be withheld.
        sql.push_str(&format!(
            "CREATE RULE locked AS ON UPDATE TO {masked} DO INSTEAD NOTHING;\n\
             GRANT UPDATE ({}) ON {masked} TO {};\n",
            columns.join(", "),
            names.writers()
        ));
    }
    if has_rows(relation) {
        let rows = view(ROWS, relation);
        sql.push_str(&format!(
            "DROP VIEW IF EXISTS {rows} CASCADE;\n\
             CREATE VIEW {rows} AS\nSELECT\n    {list},\n    t.ctid AS devinprod_ctid,\n    \
             t.tableoid AS devinprod_tableoid,\n    t.xmin AS devinprod_xmin,\n    \
             t.xmax AS devinprod_xmax\nFROM {from} AS t;\n\
             REVOKE ALL ON {rows} FROM PUBLIC;\n\
             GRANT SELECT ON {rows} TO {};\n",
            names.readers(),
        ));
    }
    sql
}

/// Rows can be written, so that one may have to say which; and no column has the name that we would give.
fn has_rows(relation: &FoundRelation) -> bool {
    matches!(relation.kind, 'r' | 'p')
        && !relation.columns.iter().any(|column| {
            matches!(
                column.name.as_str(),
                "devinprod_ctid" | "devinprod_tableoid" | "devinprod_xmin" | "devinprod_xmax"
            )
        })
}

/// The columns, as SQL, on which UPDATE is granted so that the rows of the view can be locked: the key if the view has it
/// as it is, else any clear column. What is written through the view is written as the sealing role, so it must not be
/// more than developers may write themselves.
pub(super) fn lockable(decided: &Decided<'_>, withheld: Option<&Withheld>) -> Option<Vec<String>> {
    if !matches!(decided.found.kind, 'r' | 'p') {
        return None;
    }
    let fits = |column: &&DecidedColumn<'_>| {
        column.is_clear()
            && !column.found.generated
            && withheld.is_none_or(|withheld| {
                let numbers = [0, column.found.number];
                numbers
                    .iter()
                    .all(|number| !withheld.update.contains(number))
            })
    };
    let by_number = |number: &i16| {
        decided
            .columns
            .iter()
            .filter(fits)
            .find(|column| column.found.number == *number)
    };
    let key: Option<Vec<_>> = decided.found.key.iter().map(by_number).collect();
    let columns = match key {
        Some(key) if !key.is_empty() => key,
        _ => vec![decided.columns.iter().find(fits)?],
    };
    Some(
        columns
            .into_iter()
            .map(|column| column.found.identity.clone())
            .collect(),
    )
}

/// A column of the views, of the very type that the relation's has.
///
/// Where rows can be written, the notes decide between mask and value, and nothing that a sandbox wrote goes through
/// the mask: it would answer which mask belongs to a guessed value.
fn cell(column: &DecidedColumn<'_>, notes: Option<&Notes>) -> String {
    let name = &column.found.identity;
    let real = format!("t.{name}");
    if column.is_clear() {
        return real;
    }
    let hidden = match (&column.mask, notes) {
        (Some(mask), Some(notes)) => notes.cell(&column.found.name, mask),
        (Some(mask), None) => mask.clone(),
        (None, _) => "NULL".to_owned(),
    };
    let shown = match excepted(&column.decision.exceptions) {
        Some(condition) => format!("CASE WHEN {condition} THEN {real} ELSE {hidden} END"),
        None => hidden,
    };
    let collation = column
        .found
        .collation
        .as_ref()
        .map_or_else(String::new, |collation| format!(" COLLATE {collation}"));
    // Not to the domain, if it is one: its constraints are for real values, and a mask, or the NULL of what was touched,
    // need not hold them. A client is told the base type anyway.
    format!(
        "CAST({shown} AS {}){collation} AS {name}",
        column.found.base
    )
}

/// Whether who asks belongs to a set that sees the real value. Each is asked once per query.
fn excepted(exceptions: &[Exception]) -> Option<String> {
    let conditions: Vec<String> = exceptions
        .iter()
        .map(|exception| {
            format!(
                "(SELECT devinprod.excepted({}, {}::timestamptz))",
                literal(&exception.set),
                literal(&exception.until)
            )
        })
        .collect();
    (!conditions.is_empty()).then(|| conditions.join(" OR "))
}

fn manifest(
    decided: &Decided<'_>,
    has_views: bool,
    seen: Option<&str>,
    denied: Option<&str>,
) -> String {
    let relation = decided.found;
    let oid = relation.oid;
    let key: Vec<String> = relation
        .key
        .iter()
        .filter_map(|number| relation.column(*number))
        .map(|column| literal(&column.name))
        .collect();
    let named = |schema, there: bool| {
        if there {
            let text = literal(&view(schema, relation));
            format!("{text}, {text}::regclass")
        } else {
            "NULL, NULL".to_owned()
        }
    };
    let masked = named(MASKED, has_views);
    let rows = named(ROWS, has_views && has_rows(relation));
    let mut place = 0;
    let columns: Vec<String> = decided
        .columns
        .iter()
        .map(|column| {
            let view_number = if has_views && column.is_seen() {
                place += 1;
                place.to_string()
            } else {
                "NULL".to_owned()
            };
            format!(
                "({oid}, {}, {}, {view_number}, {}, {}, {}, {})",
                column.found.number,
                literal(&column.found.name),
                column.is_clear(),
                literal(treatment(&column.decision.treatment)),
                literal(&column.decision.because),
                column.found.ungroupable
            )
        })
        .collect();
    let mut sql = format!(
        "DELETE FROM devinprod.masked_relation WHERE relation = {oid};\n\
         INSERT INTO devinprod.masked_relation\n    \
         (relation, schema, name, view, view_oid, rows, rows_oid, key, definition, seen, security, withheld)\n\
         VALUES ({oid}, {}, {}, {masked}, {rows}, ARRAY[{}]::name[], '', {}, {}, {});\n",
        literal(&relation.schema),
        literal(&relation.name),
        key.join(", "),
        or_null(seen),
        or_null(relation.security.as_deref()),
        or_null(denied),
    );
    if !columns.is_empty() {
        sql.push_str(&format!(
            "INSERT INTO devinprod.masked_column\n    \
             (relation, number, name, view_number, clear, treatment, because, ungroupable)\nVALUES\n    {};\n",
            columns.join(",\n    ")
        ));
    }
    sql
}

/// As the manifest names it.
pub(super) fn treatment(treatment: &Treatment) -> &str {
    match treatment {
        Treatment::Clear => "clear",
        Treatment::Deny => "deny",
        Treatment::Mask(mask) => mask.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_views_fit_and_differ() {
        assert_eq!(name("public", "users"), "public.users");
        let long = "ü".repeat(31);
        for (schema, table) in [("public", long.as_str()), ("a.b", "c"), (&long, &long)] {
            let made = name(schema, table);
            assert!(made.len() <= LONGEST, "{made}");
            assert!(made.contains('~'), "{made}");
        }
        assert_ne!(name("a.b", "c"), name("a", "b.c"));
    }
}
