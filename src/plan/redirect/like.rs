//! CREATE TABLE (LIKE …): Postgres asks for the right to read all of the table, so its columns are written out.

use super::Blocked;
use super::sources::{quoted, shown};
use crate::catalog::{Filled, IndexKey, MaskedColumn, MaskedRelation};
use crate::sql::outline::Words;

/// What LIKE copies besides names, types and NOT NULL; comments, storage, compression, statistics and indexes that are
/// not unique change no answer, and are left out.
#[derive(Debug, Clone, Copy, Default)]
struct Including {
    constraints: bool,
    defaults: bool,
    generated: bool,
    identity: bool,
    indexes: bool,
}

/// The elements that stand in the place of `LIKE relation`, whose options begin here.
pub(super) fn elements(
    relation: &MaskedRelation,
    words: &mut Words<'_>,
) -> Result<String, Blocked> {
    let mut including = Including::default();
    loop {
        let value = words.is_any(&["including"]);
        if !words.eat_any(&["including", "excluding"]) {
            break;
        }
        let all = words.is_any(&["all"]);
        let set = |word: &str, flag: &mut bool| {
            if all || words.is_any(&[word]) {
                *flag = value;
            }
        };
        set("constraints", &mut including.constraints);
        set("defaults", &mut including.defaults);
        set("generated", &mut including.generated);
        set("identity", &mut including.identity);
        set("indexes", &mut including.indexes);
        words.advance();
    }
    let columns = relation.columns.iter();
    let columns: Result<Vec<String>, Blocked> = columns
        .map(|column| element(relation, column, including))
        .collect();
    let mut elements = columns?;
    if including.constraints {
        let checks = relation.checks.iter();
        elements.extend(checks.map(|(name, check)| format!("CONSTRAINT {} {check}", quoted(name))));
    }
    if including.indexes {
        for index in &relation.unique {
            let columns: Option<Vec<String>> = index
                .keys
                .iter()
                .map(|key| match key {
                    IndexKey::Column(name) => Some(quoted(name)),
                    IndexKey::Expression(_) => None,
                })
                .collect();
            let columns = columns.filter(|_| !index.exclusion && index.predicate.is_none());
            let Some(columns) = columns else {
                return Err(blocked(
                    relation,
                    None,
                    &format!(
                        "the index \"{}\" cannot be written in CREATE TABLE",
                        index.name
                    ),
                    "add EXCLUDING INDEXES, and create the index in a statement of its own",
                ));
            };
            let kind = match (index.primary, index.nulls_equal) {
                (true, _) => "PRIMARY KEY",
                (false, true) => "UNIQUE NULLS NOT DISTINCT",
                (false, false) => "UNIQUE",
            };
            elements.push(format!("{kind} ({})", columns.join(", ")));
        }
    }
    Ok(elements.join(", "))
}

fn element(
    relation: &MaskedRelation,
    column: &MaskedColumn,
    including: Including,
) -> Result<String, Blocked> {
    if column.declared.is_empty() {
        return Err(blocked(
            relation,
            Some(column),
            "LIKE needs the right to read all of the table",
            "list the columns, or use CREATE TABLE … AS SELECT",
        ));
    }
    let mut text = format!("{} {}", quoted(&column.name), column.declared);
    if let Some(collation) = &column.collation {
        text.push_str(&format!(" COLLATE {collation}"));
    }
    match (&column.generation, column.identity, &column.filled) {
        (Some(expression), _, _) if including.generated => {
            text.push_str(&format!(" GENERATED ALWAYS AS {expression}"));
        }
        (None, Some(identity), _) if including.identity => {
            text.push_str(&format!(" GENERATED {identity} AS IDENTITY"));
        }
        (None, None, Filled::Expression(default)) if including.defaults => {
            text.push_str(&format!(" DEFAULT {default}"));
        }
        (None, None, Filled::Unknown) if including.defaults => {
            return Err(blocked(
                relation,
                Some(column),
                "its default cannot be written out: what it calls is found by a search path",
                "add EXCLUDING DEFAULTS, and set the default in a statement of its own",
            ));
        }
        _ => {}
    }
    if column.not_null {
        text.push_str(" NOT NULL");
    }
    Ok(text)
}

fn blocked(
    relation: &MaskedRelation,
    column: Option<&MaskedColumn>,
    because: &str,
    instead: &str,
) -> Blocked {
    Blocked {
        what: shown(relation, column.map(|column| column.name.as_str())),
        because: because.to_owned(),
        instead: instead.to_owned(),
    }
}
