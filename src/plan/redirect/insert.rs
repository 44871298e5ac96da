//! INSERT into masked relations, and what ON CONFLICT reads of them.

use super::arbiter;
use super::dml::Target;
use super::scope::{Bound, Role, What};
use super::sources::{quoted, shown, table};
use super::walk::Walk;
use super::written::Wrote;
use crate::catalog::{IndexKey, MaskedColumn, MaskedRelation};
use crate::sql::classify::classify;
use crate::sql::outline::{Body, Conflict, Expression, Insert, Operand, Outline};
use crate::sql::statement::Kind;

impl<'a> Walk<'a> {
    /// `with`: it stands behind common table expressions of its own.
    pub(super) fn insert_into(&mut self, insert: &'a Insert, with: bool) {
        if let Some(source) = &insert.source {
            self.by_place = true;
            self.statement(source);
        }
        let target = self.open_target(&insert.target);
        let mut answered = false;
        if let (Some(conflict), Some(relation)) = (&insert.conflict, target.relation) {
            match self.hidden_arbiter(relation, conflict) {
                Some(column) => {
                    answered = self.upsert(&target, relation, insert, conflict, column, with)
                }
                None => self.conflict(&target, relation, insert, conflict),
            }
        } else if let Some(conflict) = &insert.conflict {
            for assignment in &conflict.assignments {
                assignment
                    .values
                    .iter()
                    .for_each(|value| self.expression(value));
            }
            self.optional(conflict.condition.as_ref());
        }
        if let (Some(returning), false) = (&insert.returning, answered) {
            self.returning(&target, returning, &[], Wrote::Insert(insert, with));
        }
        self.close_target();
    }

    /// A masked column by which ON CONFLICT finds a row.
    fn hidden_arbiter(
        &mut self,
        relation: &'a MaskedRelation,
        conflict: &'a Conflict,
    ) -> Option<&'a MaskedColumn> {
        if let Some(name) = &conflict.constraint {
            let keys = &arbiter::named(relation, &name.value)?.keys;
            return keys.iter().find_map(|key| match key {
                IndexKey::Column(name) => relation.column(name).filter(|column| !column.clear),
                IndexKey::Expression(_) => relation.columns.iter().find(|column| !column.clear),
            });
        }
        let hidden = self.hidden(|walk| {
            walk.optional(conflict.arbiter.as_ref());
            walk.optional(conflict.arbiter_condition.as_ref());
        });
        hidden.iter().find_map(|mention| match mention.what {
            What::Column(column) => Some(column),
            _ => None,
        })
    }

    fn conflict(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        insert: &'a Insert,
        conflict: &'a Conflict,
    ) {
        let mut excluded = Bound::other(Some("excluded".to_owned()));
        excluded.relation = Some(relation);
        excluded.role = Role::Excluded;
        self.push_bound(excluded);
        for assignment in &conflict.assignments {
            for value in &assignment.values {
                self.proposed(relation, insert, conflict, value);
                self.value(target, value, assignment.from_query);
            }
        }
        if let Some(condition) = &conflict.condition {
            self.proposed(relation, insert, conflict, condition);
            self.value(target, condition, false);
        }
    }

    /// `excluded.column` of a masked column may not be read: the value is taken from what was to be inserted.
    fn proposed(
        &mut self,
        relation: &'a MaskedRelation,
        insert: &'a Insert,
        conflict: &'a Conflict,
        value: &'a Expression,
    ) {
        let (edits, blocked) = (self.edits.clone(), self.blocked.clone());
        let mentions = |walk: &Self| {
            let excluded = walk.scopes.last().and_then(|scope| scope.items.get(1));
            excluded
                .map(|bound| bound.mentions.clone())
                .unwrap_or_default()
        };
        let before = mentions(self).len();
        self.expression(value);
        let new = mentions(self).split_off(before);
        // Whoever comes next walks over it again.
        (self.edits, self.blocked) = (edits, blocked);
        if let Some(scope) = self.scopes.last_mut() {
            for bound in &mut scope.items {
                let keep = if matches!(bound.role, Role::Target) {
                    0
                } else {
                    before
                };
                bound.mentions.truncate(keep);
            }
        }
        for mention in new {
            let column = match mention.what {
                What::Column(column) if column.clear => continue,
                What::Column(column) => column,
                _ => {
                    self.block_proposed(relation, None);
                    continue;
                }
            };
            match self.proposed_value(relation, insert, conflict, column) {
                Some(text) => self.replace(mention.span, text),
                None => self.block_proposed(relation, Some(column)),
            }
        }
    }

    fn block_proposed(&mut self, relation: &MaskedRelation, column: Option<&MaskedColumn>) {
        self.block(
            shown(relation, column.map(|column| column.name.as_str())),
            "EXCLUDED of a masked column can only be taken from VALUES or a plain query, by what stands behind ON CONFLICT",
            "name a clear unique column behind ON CONFLICT and the columns behind INTO, or look for the row first and then INSERT or UPDATE",
        );
    }

    fn proposed_value(
        &self,
        relation: &MaskedRelation,
        insert: &Insert,
        conflict: &Conflict,
        column: &MaskedColumn,
    ) -> Option<String> {
        let listed: Vec<&str> = match &insert.columns {
            Some(columns) => columns.iter().map(|name| name.value.as_str()).collect(),
            None => relation
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect(),
        };
        let place = |name: &str| listed.iter().position(|listed| *listed == name);
        let arbiter = self.arbiter(relation, conflict)?;
        let keys: Option<Vec<(&str, usize)>> = arbiter
            .columns()
            .map(|name| Some((name, place(name)?)))
            .collect();
        let keys = keys?;
        let wanted = place(&column.name)?;
        let source = insert.source.as_ref()?;
        let rows = self.proposed_rows(relation, &listed, &keys, (&column.name, wanted), source)?;
        let of = |alias: &'static str| move |name: &str| Some(format!("{alias}.{}", quoted(name)));
        let matches = arbiter.equal(&of("devinprod_e"), &of("excluded"))?;
        Some(format!(
            "(SELECT devinprod_e.{} FROM {rows} WHERE {matches})",
            quoted(&column.name),
        ))
    }

    /// What was to be inserted, as an item of FROM with the name `devinprod_e`.
    fn proposed_rows(
        &self,
        relation: &MaskedRelation,
        listed: &[&str],
        keys: &[(&str, usize)],
        (wanted, wanted_place): (&str, usize),
        source: &Outline,
    ) -> Option<String> {
        let Body::Query(query) = &source.body else {
            return None;
        };
        if !source.tables.is_empty() {
            return None;
        }
        if let ([Operand::Values(rows)], []) = (query.operands.as_slice(), query.tail.as_slice()) {
            let columns: Vec<(&str, usize)> = keys
                .iter()
                .copied()
                .chain([(wanted, wanted_place)])
                .collect();
            // A row of NULLs says which types the constants have; it matches nothing.
            let types = columns
                .iter()
                .map(|(name, _)| format!("(NULL::{}).{}", table(relation), quoted(name)));
            let mut all = vec![format!("({})", types.collect::<Vec<_>>().join(", "))];
            for row in rows {
                // A drawn key would be another one when it is looked for.
                let steady = keys.iter().all(|(_, at)| {
                    let key = row.get(*at).and_then(|key| self.text.get(key.span.clone()));
                    key.is_some_and(|key| is_steady(&format!("SELECT {key}")))
                });
                if !steady {
                    return None;
                }
                let values: Option<Vec<String>> = columns
                    .iter()
                    .map(|(_, at)| {
                        let value = self.edited(&row.get(*at)?.span)?;
                        (!value.eq_ignore_ascii_case("default")).then_some(value)
                    })
                    .collect();
                all.push(format!("({})", values?.join(", ")));
            }
            let names: Vec<String> = columns.iter().map(|(name, _)| quoted(name)).collect();
            return Some(format!(
                "(VALUES {}) AS devinprod_e({})",
                all.join(", "),
                names.join(", ")
            ));
        }
        // Run again for each row that conflicts: only if it gives the same each time.
        let text = self.text.get(source.span.clone())?;
        if !is_steady(text) {
            return None;
        }
        let names: Vec<String> = listed.iter().map(|name| quoted(name)).collect();
        Some(format!(
            "({}) AS devinprod_e({})",
            self.edited(&source.span)?,
            names.join(", ")
        ))
    }
}

/// Does the query give the same each time that it runs in one statement? Nothing that is not known is called.
pub(super) fn is_steady(query: &str) -> bool {
    const CHANGES: [&str; 5] = [
        "random",
        "uuid",
        "clock_timestamp",
        "timeofday",
        "statement_timestamp",
    ];
    let folded = query.to_ascii_lowercase();
    classify(query).kind == Kind::Read && !CHANGES.iter().any(|word| folded.contains(word))
}
