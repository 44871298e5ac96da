//! ON CONFLICT by a masked column, which Postgres refuses to look up for who may not read it: the row is looked for in the
//! view, as the client sees it, and the statement becomes one that updates what it finds and inserts the rest.
//!
//! A value that is in the table but not in the view (a real one, guessed) is a unique violation, as in a plain INSERT.

use std::ops::Range;

use super::Returning;
use super::dml::{Target, remember};
use super::insert::is_steady;
use super::scope::Bound;
use super::sources::{Identity, quoted, shown, table};
use super::walk::{Answer, Walk};
use super::written::single_row;
use crate::catalog::{Filled, MaskedColumn, MaskedRelation};
use crate::sql::outline::{Body, Conflict, Insert, Operand};

/// How such a statement is told: its own tag counts the same rows.
const TAG: &str = "INSERT 0 ";

/// What all the forms are made of.
struct Parts {
    /// The target and its alias.
    target: String,
    /// The columns to insert into.
    columns: Vec<String>,
    /// What is to be inserted, as a query.
    rows: String,
    /// The view's row is the one that the proposed row `devinprod_e` conflicts with.
    matches: String,
    /// Of proposed rows that conflict with one another, which is the first: what to partition by, and what conflicts
    /// with nothing. None if there is one row.
    first: Option<(String, Option<String>)>,
    /// Another constraint than that which is meant may be violated.
    may_violate: bool,
    identity: Identity,
}

impl<'a> Walk<'a> {
    /// Answers whether RETURNING is dealt with.
    pub(super) fn upsert(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        insert: &'a Insert,
        conflict: &'a Conflict,
        column: &MaskedColumn,
        with: bool,
    ) -> bool {
        let parts = self.upsert_parts(target, relation, insert, conflict);
        let is_update = !conflict.assignments.is_empty();
        let returns = match (&insert.returning, self.answer) {
            (Some(returning), Answer::Second) => Some(returning),
            _ => None,
        };
        let is_possible = !is_update
            || (self.is_outermost()
                && !(with && returns.is_some())
                && (self.answer != Answer::Impossible || insert.returning.is_none()));
        // What nobody sees the rows of becomes one MERGE, for the tag's sake.
        if is_update && returns.is_none() && !self.masked.relations().has_merge() {
            self.block(
                shown(relation, Some(&column.name)),
                &format!("ON CONFLICT must read the masked column `{}` ({}), for which it becomes MERGE, which came with Postgres 15", column.name, column.because),
                "add RETURNING, or look for the row first and then INSERT or UPDATE",
            );
            return false;
        }
        let (Some(parts), true) = (parts, is_possible) else {
            self.block(
                shown(relation, Some(&column.name)),
                &format!("ON CONFLICT must read the masked column `{}` ({})", column.name, column.because),
                "name the columns behind INTO, VALUES without DEFAULT, and behind ON CONFLICT what a unique index has, in its words; or look for the row first and then INSERT or UPDATE",
            );
            return false;
        };
        self.use_view(parts.identity.oid, relation);
        if !is_update {
            // A value that is there but not shown is no error either, where no other constraint can be meant.
            let text = match parts.may_violate {
                true => parts.insert_first(),
                false => format!("{} ON CONFLICT DO NOTHING", parts.insert()),
            };
            self.exchange(insert.start..conflict.span.end, text);
            return false;
        }
        self.push_bound(Bound::other(Some("excluded".to_owned())));
        self.assignments(target, &conflict.assignments);
        if let Some(condition) = &conflict.condition {
            self.value(target, condition, false);
        }
        let condition = conflict
            .condition
            .as_ref()
            .and_then(|condition| self.edited(&condition.span));
        let (Some(first), Some(last)) = (conflict.assignments.first(), conflict.assignments.last())
        else {
            return false;
        };
        let (before, behind, end) = match (returns, &insert.returning) {
            (Some(returning), _) => {
                // The target alone is in sight of RETURNING.
                if let Some(scope) = self.scopes.last_mut() {
                    scope.items.truncate(1);
                }
                for item in &returning.items {
                    self.expression(&item.expression);
                }
                match self.second(target, relation, returning, &[]) {
                    Ok(query) => self.returning = Some(Returning { query }),
                    Err(because) => {
                        self.block(
                            shown(relation, Some(&column.name)),
                            because,
                            "leave out RETURNING, and select the row in a statement of its own",
                        );
                        return true;
                    }
                }
                let (before, behind) = parts.update_and_insert(target, condition);
                (before, behind, returning.span.end)
            }
            // EXPLAIN: nobody sees the rows.
            (None, Some(returning)) => {
                let (before, behind) = parts.merge(target, condition);
                (before, behind, returning.span.end)
            }
            (None, None) => {
                let (before, behind) = parts.merge(target, condition);
                (before, behind, conflict.span.end)
            }
        };
        self.tag = Some(TAG);
        self.exchange(insert.start..first.span.start, before);
        self.exchange(last.span.end..end, behind);
        true
    }

    /// Replaces a place with all that was changed in it.
    pub(super) fn exchange(&mut self, range: Range<usize>, text: String) {
        self.edits.retain(|edit| {
            let inside = range.start <= edit.range.start && edit.range.end <= range.end;
            // What ends there belongs to what stays before it.
            let at_edge = edit.range.is_empty() && edit.range.start == range.start;
            !inside || at_edge
        });
        self.replace(range, text);
    }

    fn upsert_parts(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        insert: &'a Insert,
        conflict: &'a Conflict,
    ) -> Option<Parts> {
        let arbiter = self.arbiter(relation, conflict)?;
        // Without an index Postgres refuses it, in words of its own.
        if insert.overriding || arbiter.indexes.is_empty() {
            return None;
        }
        let (columns, rows) = self.upsert_rows(relation, insert)?;
        let (_, identity) = self.identity_for(target)?;
        let seen = |name: &str| {
            relation.column(name)?.view_number?;
            Some(format!("devinprod_v.{}", quoted(name)))
        };
        let proposed = |name: &str| {
            let column = relation.column(name)?;
            match (columns.contains(&quoted(name)), &column.filled) {
                (true, _) => Some(format!("devinprod_e.{}", quoted(name))),
                (_, Filled::Null) => Some(format!("NULL::{}", column.declared)),
                (_, Filled::Expression(default)) if is_steady(&format!("SELECT {default}")) => {
                    Some(format!("({default})::{}", column.declared))
                }
                _ => None,
            }
        };
        let matches = arbiter.matches(&seen, &proposed)?;
        let first = match insert.source.as_ref().and_then(single_row) {
            Some(_) => None,
            None => Some((arbiter.key(&proposed)?, arbiter.never(&proposed))),
        };
        let may_violate = !arbiter.is_only_one(relation, &columns);
        let alias = match &insert.target.alias {
            Some(_) => format!(" AS {}", target.name),
            None => String::new(),
        };
        Some(Parts {
            target: format!("{}{alias}", self.text.get(insert.target.span.clone())?),
            columns,
            rows,
            matches,
            first,
            may_violate,
            identity,
        })
    }

    /// The columns to insert into, and what is to be inserted as a query whose columns have the table's types.
    pub(super) fn upsert_rows(
        &self,
        relation: &MaskedRelation,
        insert: &Insert,
    ) -> Option<(Vec<String>, String)> {
        let source = insert.source.as_ref()?;
        let all = || relation.columns.iter().filter(|column| !column.generated);
        let mut columns: Vec<String> = match &insert.columns {
            Some(columns) => columns.iter().map(|name| quoted(&name.value)).collect(),
            None => all().map(|column| quoted(&column.name)).collect(),
        };
        let types = |columns: &[String]| {
            let typed = columns
                .iter()
                .map(|name| format!("(NULL::{}).{name}", table(relation)));
            typed.collect::<Vec<_>>().join(", ")
        };
        let rows = match &source.body {
            Body::Query(query) if source.tables.is_empty() && query.tail.is_empty() => {
                match query.operands.as_slice() {
                    [Operand::Values(rows)] => Some(rows),
                    _ => None,
                }
            }
            _ => None,
        };
        let Some(rows) = rows else {
            insert.columns.as_ref()?;
            let query = self.edited(&source.span)?;
            return Some((
                columns.clone(),
                format!("SELECT {} WHERE false UNION ALL ({query})", types(&columns)),
            ));
        };
        let mut values: Vec<Vec<String>> = Vec::new();
        for row in rows {
            let row: Option<Vec<String>> =
                row.iter().map(|value| self.edited(&value.span)).collect();
            values.push(row?);
        }
        let width = values.first()?.len();
        if insert.columns.is_none() {
            columns.truncate(width);
        }
        if width != columns.len() || values.iter().any(|row| row.len() != width) {
            return None;
        }
        // A column that is always DEFAULT is left out; where it is that sometimes, its default is written out.
        for at in (0..width).rev() {
            let is_default = |value: &str| value.eq_ignore_ascii_case("default");
            let defaults = values
                .iter()
                .filter(|row| row.get(at).is_some_and(|value| is_default(value)))
                .count();
            if defaults == values.len() {
                columns.remove(at);
                values.iter_mut().for_each(|row| {
                    row.remove(at);
                });
            } else if defaults > 0 {
                let name = columns.get(at)?;
                let column = relation
                    .columns
                    .iter()
                    .find(|column| quoted(&column.name) == *name)?;
                let default = match &column.filled {
                    Filled::Unknown => return None,
                    Filled::Null => "NULL".to_owned(),
                    Filled::Expression(default) => default.clone(),
                };
                let all = values.iter_mut().filter_map(|row| row.get_mut(at));
                all.filter(|value| is_default(value))
                    .for_each(|value| value.clone_from(&default));
            }
        }
        if columns.is_empty() {
            return None;
        }
        let rows: Vec<String> = values
            .iter()
            .map(|row| format!("({})", row.join(", ")))
            .collect();
        // The first row says which types the constants have.
        let query = format!(
            "SELECT * FROM (VALUES ({}), {}) AS devinprod_w OFFSET 1",
            types(&columns),
            rows.join(", ")
        );
        Some((columns, query))
    }
}

impl Parts {
    fn list(&self) -> String {
        self.columns.join(", ")
    }

    /// INSERT of what conflicts with nothing.
    fn insert(&self) -> String {
        self.insert_from(&format!("({})", self.rows))
    }

    /// The same, without what conflicts with a row before it.
    fn insert_first(&self) -> String {
        let Some((key, never)) = &self.first else {
            return self.insert();
        };
        let list = self.list();
        let never = never
            .as_ref()
            .map_or_else(String::new, |never| format!(" OR {never}"));
        let insert = self.insert_from(&format!(
            "(SELECT {list}, devinprod_o FROM (SELECT *, pg_catalog.row_number() OVER (PARTITION BY {key} ORDER BY devinprod_o) AS devinprod_p \
             FROM (SELECT *, pg_catalog.row_number() OVER () AS devinprod_o FROM ({}) AS devinprod_e({list})) AS devinprod_e) AS devinprod_e \
             WHERE devinprod_p = 1{never})",
            self.rows
        ));
        format!("{insert} ORDER BY devinprod_e.devinprod_o")
    }

    fn insert_from(&self, rows: &str) -> String {
        format!(
            "INSERT INTO {} ({list}) SELECT {} FROM {rows} AS devinprod_e({list}) WHERE NOT EXISTS (SELECT FROM {} AS devinprod_v WHERE {})",
            self.target,
            Identity::of("devinprod_e", &self.columns),
            self.identity.source,
            self.matches,
            list = self.list(),
        )
    }

    /// The proposed rows, each with the identity of the row that it conflicts with.
    fn proposed(&self, rows: &str, join: &str) -> String {
        let keys = self.identity.view.iter().zip(1..);
        let keys: Vec<String> = keys
            .map(|(column, number)| format!("devinprod_v.{column} AS devinprod_k{number}"))
            .collect();
        format!(
            "(SELECT devinprod_e.*, {} FROM {rows} AS devinprod_e({}) {join} {} AS devinprod_v ON {}) AS excluded",
            keys.join(", "),
            self.list(),
            self.identity.source,
            self.matches
        )
    }

    fn is_found(&self, target: &Target<'_>) -> String {
        let pairs = self.identity.table.iter().zip(1..);
        let pairs: Vec<String> = pairs
            .map(|(column, number)| {
                format!("{}.{column} = excluded.devinprod_k{number}", target.name)
            })
            .collect();
        pairs.join(" AND ")
    }

    /// What stands before and behind the assignments, without RETURNING.
    fn merge(&self, target: &Target<'_>, condition: Option<String>) -> (String, String) {
        let and = condition.map_or_else(String::new, |condition| format!(" AND ({condition})"));
        let before = format!(
            "MERGE INTO {} USING {} ON {} WHEN MATCHED{and} THEN UPDATE SET ",
            self.target,
            self.proposed(&format!("({})", self.rows), "LEFT JOIN"),
            self.is_found(target),
        );
        let behind = format!(
            " WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
            self.list(),
            Identity::of("excluded", &self.columns)
        );
        (before, behind)
    }

    /// The same, with rows to be remembered. MERGE returns nothing before Postgres 17.
    fn update_and_insert(
        &self,
        target: &Target<'_>,
        condition: Option<String>,
    ) -> (String, String) {
        let and = condition.map_or_else(String::new, |condition| format!(" AND ({condition})"));
        let before = format!(
            "WITH devinprod_i AS MATERIALIZED ({}), devinprod_u AS (UPDATE {} SET ",
            self.rows, self.target
        );
        let remember = remember(target);
        let behind = format!(
            " FROM {} WHERE {}{and} RETURNING {remember}), devinprod_n AS ({} RETURNING {remember}) \
             SELECT 1 FROM devinprod_u UNION ALL SELECT 1 FROM devinprod_n",
            self.proposed("devinprod_i", "JOIN"),
            self.is_found(target),
            self.insert_from("devinprod_i"),
        );
        (before, behind)
    }
}
