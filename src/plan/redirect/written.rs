//! RETURNING of masked columns where no second statement can give the rows: inside of WITH, in a function, with parameters,
//! of MERGE. What the statement wrote is what it says itself; what it left alone is what the view shows.
//!
//! Postgres shows the rows that a statement writes to no other part of it, so each value is taken from the statement's own
//! text, where that gives the same a second time, or from a copy of the rows that it inserts.

use std::ops::Range;

use super::dml::Target;
use super::insert::is_steady;
use super::scope::{Bound, What, resolve};
use super::sources::{Identity, identity, quoted};
use super::walk::Walk;
use crate::catalog::{Filled, MaskedColumn, MaskedRelation};
use crate::sql::edit::Edit;
use crate::sql::outline::{
    self, Assignment, Body, Expression, Insert, Merge, Operand, Outline, Update, When,
};

/// The statement that has the RETURNING.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wrote<'a> {
    /// INSERT, and whether common table expressions stand before it.
    Insert(&'a Insert, bool),
    /// UPDATE.
    Update(&'a Update),
    /// MERGE.
    Merge(&'a Merge),
}

const COPIED: &str = "devinprod_s";
const CHANGES: &str = "a trigger or a rule may change what is written, and what it becomes cannot go on inside of the database";
const DRAWN: &str =
    "a value of a masked column that is not the same each time cannot be returned here";
const NO_KEY: &str = "RETURNING of a masked column needs a key that can be read and is not changed";
const CONFLICT: &str =
    "RETURNING of a masked column behind ON CONFLICT DO UPDATE cannot go on inside of the database";
const UNKNOWN: &str = "the default of a masked column cannot be returned here";

type Value = Result<String, &'static str>;

impl<'a> Walk<'a> {
    /// Puts what was written in the place of the masked columns that RETURNING mentions, or says why that cannot be.
    pub(super) fn written(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        returning: &'a outline::Returning,
        wrote: Wrote<'a>,
    ) -> Result<(), &'static str> {
        if returning.has_options {
            return Err("RETURNING WITH (OLD AS …, NEW AS …) of a masked column is not supported");
        }
        if !relation.plain {
            return Err(CHANGES);
        }
        let span = &returning.span;
        let is_own_star = |reference: &outline::Reference| {
            reference
                .parts
                .last()
                .is_some_and(|name| quoted(&name.value) == target.name)
        };
        let mut places: Vec<(Range<usize>, What<'a>)> = Vec::new();
        let mut listed: Vec<usize> = Vec::new();
        for item in &returning.items {
            let place = item.expression.span.clone();
            if item.is_star || item.own_star().is_some_and(is_own_star) {
                listed.push(place.end);
                places.push((place, What::Star));
            }
        }
        let scope = self.scopes.last().and_then(|scope| scope.items.first());
        for mention in scope.iter().flat_map(|bound| &bound.mentions) {
            let is_here = span.start <= mention.span.start && mention.span.end <= span.end;
            let is_masked = match mention.what {
                What::Column(column) => !column.clear && column.view_number.is_some(),
                What::Star | What::Row => !listed.contains(&mention.span.end),
                What::System => false,
            };
            if is_here && is_masked {
                // Anywhere but in the list, a star is the whole row.
                let what = match mention.what {
                    What::Star => What::Row,
                    what => what,
                };
                places.push((mention.span.clone(), what));
            }
        }
        let all = places
            .iter()
            .any(|(_, what)| !matches!(what, What::Column(_)));
        let wanted: Vec<&MaskedColumn> = relation
            .visible()
            .filter(|column| !column.clear)
            .filter(|column| {
                let is_it = |what: &What<'_>| matches!(what, What::Column(known) if known.number == column.number);
                all || places.iter().any(|(_, what)| is_it(what))
            })
            .collect();
        let values = self.written_values(target, relation, wrote, &wanted)?;
        let value = |column: &MaskedColumn| {
            let found = values.iter().find(|(number, _)| *number == column.number);
            found.map(|(_, value)| value.clone())
        };
        let row: Vec<String> = relation
            .visible()
            .map(|column| {
                value(column).unwrap_or_else(|| format!("{}.{}", target.name, quoted(&column.name)))
            })
            .collect();
        let row = row.join(", ");
        let everything = self.everything(&row, wrote);
        for (place, what) in places {
            let is_star = returning
                .items
                .iter()
                .any(|item| item.is_star && item.expression.span == place);
            let text = match what {
                What::Column(column) => value(column),
                What::Star if is_star => everything.clone(),
                What::Star => Some(row.clone()),
                _ => Some(format!(
                    "(SELECT {0} FROM (SELECT {row}) AS {0})",
                    target.name
                )),
            };
            let text = text.ok_or("RETURNING * of several relations cannot be written out")?;
            self.drop_edits(&place);
            self.replace(place, text);
        }
        Ok(())
    }

    /// `*`: MERGE returns its source's columns first, UPDATE those of FROM last.
    fn everything(&self, row: &str, wrote: Wrote<'_>) -> Option<String> {
        let scope = self.scopes.last()?;
        let beside: Option<Vec<String>> = scope
            .items
            .iter()
            .skip(1)
            .map(|bound: &Bound<'_>| Some(format!("{}.*", quoted(bound.name.as_deref()?))))
            .collect();
        let beside = match wrote {
            Wrote::Insert(..) => Vec::new(),
            _ if scope.merges || scope.items.iter().skip(1).any(Bound::uses_system) => return None,
            _ => beside?,
        };
        let mut all = beside;
        match wrote {
            Wrote::Merge(_) => all.push(row.to_owned()),
            _ => all.insert(0, row.to_owned()),
        }
        Some(all.join(", "))
    }

    fn written_values(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        wrote: Wrote<'a>,
        wanted: &[&'a MaskedColumn],
    ) -> Result<Vec<(i16, String)>, &'static str> {
        let numbered = |column: &MaskedColumn, value: String| (column.number, value);
        match wrote {
            Wrote::Insert(insert, with) => {
                if insert
                    .conflict
                    .as_ref()
                    .is_some_and(|conflict| !conflict.assignments.is_empty())
                {
                    return Err(CONFLICT);
                }
                let plain: Result<Vec<_>, _> = wanted
                    .iter()
                    .map(|column| Ok(numbered(column, self.inserted(relation, insert, column)?)))
                    .collect();
                match plain {
                    Ok(values) => Ok(values),
                    Err(because) => self
                        .copied(target, relation, insert, with, wanted)
                        .ok_or(because),
                }
            }
            Wrote::Update(update) => wanted
                .iter()
                .map(|column| {
                    let value = self.updated(target, relation, &update.assignments, column)?;
                    Ok(numbered(column, value))
                })
                .collect(),
            Wrote::Merge(merge) => wanted
                .iter()
                .map(|column| {
                    Ok(numbered(
                        column,
                        self.merged(target, relation, merge, column)?,
                    ))
                })
                .collect(),
        }
    }

    /// A value as the column keeps it, under the column's name. It is only taken from a text that gives the same twice.
    fn steady(&self, column: &MaskedColumn, place: &Range<usize>) -> Value {
        let written = self.text.get(place.clone()).unwrap_or_default();
        if written.trim().eq_ignore_ascii_case("default") {
            return default(column);
        }
        if !is_steady(&format!("SELECT {written}")) {
            return Err(DRAWN);
        }
        let text = self.edited(place).ok_or(DRAWN)?;
        kept(column, &text)
    }

    /// What INSERT gives a column.
    fn inserted(&self, relation: &MaskedRelation, insert: &Insert, column: &MaskedColumn) -> Value {
        let Some(source) = &insert.source else {
            return default(column);
        };
        let place = match &insert.columns {
            Some(columns) => columns.iter().position(|name| name.value == column.name),
            None => relation
                .columns
                .iter()
                .position(|other| other.number == column.number),
        };
        let row = single_row(source).ok_or(DRAWN)?;
        match (place, &insert.columns) {
            (None, _) => default(column),
            (Some(at), None) if at >= row.len() => default(column),
            (Some(at), _) => self.steady(column, &row.get(at).ok_or(DRAWN)?.span),
        }
    }

    /// Makes the rows to be inserted a common table expression, with the key's defaults drawn there; each value is looked up
    /// in it by key.
    fn copied(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        insert: &'a Insert,
        with: bool,
        wanted: &[&'a MaskedColumn],
    ) -> Option<Vec<(i16, String)>> {
        let source = insert.source.as_ref()?;
        let key = readable_key(relation)?;
        // ON CONFLICT by a masked column has replaced all of it.
        let is_replaced =
            |edit: &Edit| edit.range.start == insert.start && edit.range.end >= source.span.end;
        if insert.overriding || self.edits.iter().any(is_replaced) {
            return None;
        }
        let (mut columns, rows) = self.upsert_rows(relation, insert)?;
        let given = columns.len();
        let mut drawn = String::new();
        let mut always = false;
        for name in &relation.key {
            let column = relation.column(name)?;
            if columns.contains(&quoted(name)) {
                continue;
            }
            let Filled::Expression(default) = &column.filled else {
                return None;
            };
            always |= column.identity == Some("ALWAYS");
            drawn.push_str(&format!(", {default}"));
            columns.push(quoted(name));
        }
        let matches: Vec<String> = key
            .iter()
            .map(|name| format!("{COPIED}.{name} = {}.{name}", target.name))
            .collect();
        let matches = matches.join(" AND ");
        let values: Result<Vec<_>, _> = wanted
            .iter()
            .map(|column| {
                let name = quoted(&column.name);
                let value = if columns.contains(&name) {
                    // Of two rows with the same key, behind DO NOTHING, nobody knows which was inserted: an error.
                    let row = format!("(SELECT {COPIED}.{name} FROM {COPIED} WHERE {matches})");
                    kept(column, &row)
                } else {
                    default(column)
                };
                value.map(|value| (column.number, value))
            })
            .collect();
        let values = values.ok()?;
        let list = columns.join(", ");
        let given = columns.get(..given)?.join(", ");
        let begin = if with { ", " } else { "WITH " };
        let head = insert
            .target
            .alias
            .as_ref()
            .map_or(insert.target.span.end, |alias| alias.span.end);
        let overriding = if always {
            "OVERRIDING SYSTEM VALUE "
        } else {
            ""
        };
        self.exchange(
            head..source.span.end,
            format!(" ({list}) {overriding}SELECT * FROM {COPIED}"),
        );
        self.insert(
            insert.start,
            format!(
                "{begin}{COPIED} ({list}) AS MATERIALIZED (SELECT devinprod_q.*{drawn} FROM ({rows}) AS devinprod_q ({given})) "
            ),
        );
        Some(values)
    }

    /// What UPDATE makes of a column.
    fn updated(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        assignments: &'a [Assignment],
        column: &MaskedColumn,
    ) -> Value {
        let assigned = assignments.iter().find_map(|assignment| {
            let names = &assignment.columns;
            let at = names.iter().position(|name| name.value == column.name)?;
            Some((assignment, at))
        });
        let (Some((assignment, at)), false) = (assigned, column.generated) else {
            return self.left(target, relation, assignments, column);
        };
        if assignment.from_query {
            return Err(DRAWN);
        }
        let name = assignment.columns.get(at).ok_or(DRAWN)?;
        let value = assignment.values.get(at).ok_or(DRAWN)?;
        // `column[1] = …` writes a part of it.
        let behind = self.text.get(name.span.end..).unwrap_or_default();
        if behind.trim_start().starts_with(['[', '.']) {
            return Err(DRAWN);
        }
        let written = self.steady(column, &value.span)?;
        if !self.mentions_target(value) {
            return Ok(written);
        }
        // The target's columns are meant as they were.
        let (before, behind) = self
            .by_key(relation, assignments)?
            .around_value(&target.name);
        Ok(format!("{before}{written}{behind}"))
    }

    /// What a column was before, as the view shows it.
    fn left(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        assignments: &[Assignment],
        column: &MaskedColumn,
    ) -> Value {
        if column.generated {
            return Err("a masked column that is generated cannot be returned here");
        }
        let identity = self.by_key(relation, assignments)?;
        self.use_view(identity.oid, relation);
        let (before, behind) = identity.around_value(&target.name);
        let name = quoted(&column.name);
        Ok(format!("{before}{}.{name}{behind}", target.name))
    }

    /// The view's row of the same key, where the key stays what it was.
    fn by_key(
        &self,
        relation: &'a MaskedRelation,
        assignments: &[Assignment],
    ) -> Result<Identity, &'static str> {
        readable_key(relation).ok_or(NO_KEY)?;
        let is_assigned = |key: &String| {
            assignments
                .iter()
                .flat_map(|assignment| &assignment.columns)
                .any(|name| name.value == *key)
        };
        if relation.key.iter().any(is_assigned) {
            return Err(NO_KEY);
        }
        identity(relation, false).ok_or(NO_KEY)
    }

    fn mentions_target(&self, value: &Expression) -> bool {
        let is_target = |reference: &outline::Reference| {
            resolve(&self.scopes, reference)
                .is_none_or(|hit| hit.item == 0 && hit.scope + 1 == self.scopes.len())
        };
        !value.statements.is_empty() || value.references.iter().any(is_target)
    }

    /// What MERGE makes of a column, by what it did with the row.
    fn merged(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        merge: &'a Merge,
        column: &MaskedColumn,
    ) -> Value {
        let mut inserts = merge.whens.iter().filter(|when| when.insert.is_some());
        let mut updates = merge
            .whens
            .iter()
            .filter(|when| !when.assignments.is_empty());
        let (insert, update) = (inserts.next(), updates.next());
        if inserts.next().is_some() || updates.next().is_some() {
            return Err("MERGE with several WHEN clauses of a kind cannot return masked columns");
        }
        let mut cases = String::new();
        if let Some(insert) = insert {
            let value = self.merge_inserted(relation, insert, column)?;
            cases.push_str(&format!(" WHEN 'INSERT' THEN {value}"));
        }
        let assignments = update.map_or(&[][..], |when| &when.assignments);
        if update.is_some() {
            let value = self.updated(target, relation, assignments, column)?;
            cases.push_str(&format!(" WHEN 'UPDATE' THEN {value}"));
        }
        let deleted = match merge.whens.iter().any(|when| when.deletes) {
            true => format!(" ELSE {}", self.left(target, relation, &[], column)?),
            false => String::new(),
        };
        kept(column, &format!("CASE merge_action(){cases}{deleted} END"))
    }

    fn merge_inserted(
        &self,
        relation: &MaskedRelation,
        when: &When,
        column: &MaskedColumn,
    ) -> Value {
        let Some(insert) = &when.insert else {
            return default(column);
        };
        let place = match &insert.columns {
            Some(columns) => columns.iter().position(|name| name.value == column.name),
            None => relation
                .columns
                .iter()
                .position(|other| other.number == column.number),
        };
        match place.and_then(|at| insert.values.get(at)) {
            Some(value) => self.steady(column, &value.span),
            None => default(column),
        }
    }
}

/// The one row of VALUES.
pub(super) fn single_row(source: &Outline) -> Option<&Vec<Expression>> {
    let Body::Query(query) = &source.body else {
        return None;
    };
    match (query.operands.as_slice(), query.tail.as_slice()) {
        ([Operand::Values(rows)], []) if source.tables.is_empty() => match rows.as_slice() {
            [row] => Some(row),
            _ => None,
        },
        _ => None,
    }
}

/// The key's columns, quoted, if all of them are clear.
fn readable_key(relation: &MaskedRelation) -> Option<Vec<String>> {
    let is_clear = |name: &String| relation.column(name).is_some_and(|column| column.clear);
    let readable = !relation.key.is_empty() && relation.key.iter().all(is_clear);
    readable.then(|| relation.key.iter().map(|name| quoted(name)).collect())
}

fn default(column: &MaskedColumn) -> Value {
    match &column.filled {
        Filled::Null if !column.generated => kept(column, "NULL"),
        Filled::Expression(text) if is_steady(&format!("SELECT {text}")) => kept(column, text),
        _ => Err(UNKNOWN),
    }
}

/// The value with the column's type and name.
fn kept(column: &MaskedColumn, value: &str) -> Value {
    if column.declared.is_empty() {
        return Err(UNKNOWN);
    }
    Ok(format!(
        "(SELECT ({value})::{} AS {})",
        column.declared,
        quoted(&column.name)
    ))
}
