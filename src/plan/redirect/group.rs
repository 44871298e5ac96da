//! GROUP BY the key: a table's other columns may then be selected, a view's may not, so they are added.

use std::ops::Range;

use super::scope::{Bound, Mention, Role, Scope, What, columns_of, resolve};
use super::sources::quoted;
use super::walk::Walk;
use crate::catalog::{MaskedColumn, MaskedRelation};
use crate::sql::outline::{Expression, Group, Item, Reference};

impl<'a> Walk<'a> {
    /// Adds what depends on a key that is grouped by; the query's own scope is the innermost one.
    pub(super) fn group(&mut self, group: &'a Group, items: &'a [Item]) {
        let Some(end) = group.items.last().map(|item| item.span.end) else {
            return;
        };
        let grouped: Vec<(usize, String)> = group
            .items
            .iter()
            .flat_map(|item| self.grouped_columns(item, items))
            .collect();
        let Some(scope) = self.scopes.last() else {
            return;
        };
        let mut additions = Vec::new();
        let mut edits = Vec::new();
        for (at, bound) in scope.items.iter().enumerate() {
            let (Some(relation), Role::View(_)) = (bound.relation, bound.role) else {
                continue;
            };
            let is_grouped = |name: &str| {
                grouped
                    .iter()
                    .any(|(item, column)| *item == at && column == name)
            };
            if relation.key.is_empty() || !relation.key.iter().all(|key| is_grouped(key)) {
                continue;
            }
            let needed = Needed {
                text: self.text,
                bound,
                relation,
                items,
                is_grouped: &is_grouped,
            };
            needed.add(scope, &mut additions, &mut edits);
        }
        for (span, text) in edits {
            self.replace(span, text);
        }
        let mut added: Vec<String> = Vec::new();
        for addition in additions {
            if !added.contains(&addition) {
                added.push(addition);
            }
        }
        if !added.is_empty() {
            self.insert(end, format!(", {}", added.join(", ")));
        }
    }

    /// The columns that an item of GROUP BY is: by name, by the number of an item of the select list, by its name there.
    fn grouped_columns(&self, item: &Expression, items: &[Item]) -> Vec<(usize, String)> {
        if let Some(reference) = only_reference(item) {
            let found = self.own_columns(reference);
            if !found.is_empty() {
                return found;
            }
            let [name] = reference.parts.as_slice() else {
                return found;
            };
            let named = items.iter().find(|item| {
                item.alias
                    .as_ref()
                    .is_some_and(|alias| alias.value == name.value)
            });
            return named
                .and_then(|item| only_reference(&item.expression))
                .map(|reference| self.own_columns(reference))
                .unwrap_or_default();
        }
        let number = self
            .text
            .get(item.span.clone())
            .and_then(|text| text.parse::<usize>().ok());
        number
            .and_then(|number| items.get(number.checked_sub(1)?))
            .and_then(|item| only_reference(&item.expression))
            .map(|reference| self.own_columns(reference))
            .unwrap_or_default()
    }

    /// The columns of this query's own relations that a reference means: several where USING merged them.
    fn own_columns(&self, reference: &Reference) -> Vec<(usize, String)> {
        let Some(scope) = self.scopes.last() else {
            return Vec::new();
        };
        if let [name] = reference.parts.as_slice() {
            let named = scope.items.iter().enumerate().filter_map(|(at, bound)| {
                let (_, column) = bound
                    .columns()
                    .into_iter()
                    .find(|(shown, _)| *shown == name.value)?;
                Some((at, column.name.clone()))
            });
            return named.collect();
        }
        match resolve(&self.scopes, reference) {
            Some(hit) if hit.scope + 1 == self.scopes.len() => match hit.what {
                Some(What::Column(column)) => vec![(hit.item, column.name.clone())],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

/// The reference that is all of an expression, in parentheses perhaps not.
fn only_reference(expression: &Expression) -> Option<&Reference> {
    match expression.references.as_slice() {
        [reference] if reference.span == expression.span && !reference.has_star => Some(reference),
        _ => None,
    }
}

/// What one relation needs in GROUP BY.
struct Needed<'n, 'a> {
    text: &'a str,
    bound: &'n Bound<'a>,
    relation: &'a MaskedRelation,
    items: &'n [Item],
    is_grouped: &'n dyn Fn(&str) -> bool,
}

impl<'a> Needed<'_, 'a> {
    fn add(
        &self,
        scope: &Scope<'a>,
        additions: &mut Vec<String>,
        edits: &mut Vec<(Range<usize>, String)>,
    ) {
        for mention in self
            .bound
            .mentions
            .iter()
            .filter(|mention| mention.grouped && !mention.in_aggregate)
        {
            match mention.what {
                What::Column(column) if column.ungroupable => {
                    let name = self.is_whole_item(mention).then_some(column);
                    edits.extend(self.aggregated(mention, name));
                }
                What::Column(column) => additions.extend(self.addition(Some(mention), column)),
                What::Row if self.relation.visible().any(|column| column.ungroupable) => {
                    edits.extend(self.aggregated(mention, None));
                }
                What::Row => {
                    additions.extend(self.text.get(mention.span.clone()).map(str::to_owned));
                }
                What::Star if self.is_listed_star(mention) => {
                    self.add_all(additions);
                    edits.extend(self.star(&mention.span));
                }
                // Anywhere else it is the whole row.
                What::Star => {
                    additions.extend(self.text.get(mention.span.clone()).map(str::to_owned));
                }
                What::System => {}
            }
        }
        if !scope.stars.is_empty() {
            self.add_all(additions);
            // Several relations are not written out: an ungroupable column among them is refused by Postgres.
            if let ([_], [star]) = (scope.items.as_slice(), scope.stars.as_slice()) {
                edits.extend(self.star(star));
            }
        }
    }

    fn add_all(&self, additions: &mut Vec<String>) {
        for column in self.relation.visible().filter(|column| !column.ungroupable) {
            additions.extend(self.addition(None, column));
        }
    }

    /// The column as GROUP BY names it, unless it is there already.
    fn addition(&self, mention: Option<&Mention<'_>>, column: &MaskedColumn) -> Option<String> {
        if (self.is_grouped)(&column.name) || column.view_number.is_none() {
            return None;
        }
        let columns = self.bound.columns();
        let shown = columns
            .iter()
            .find(|(_, other)| other.number == column.number);
        match (self.bound.name.as_deref(), shown) {
            (Some(name), Some((shown, _))) => Some(format!("{}.{}", quoted(name), quoted(shown))),
            _ => self.text.get(mention?.span.clone()).map(str::to_owned),
        }
    }

    /// `(array_agg(x))[1]`: there is one value per group.
    fn aggregated(
        &self,
        mention: &Mention<'_>,
        name: Option<&MaskedColumn>,
    ) -> Option<(Range<usize>, String)> {
        let text = self.text.get(mention.span.clone())?;
        let mut aggregated = format!("(pg_catalog.array_agg({text}))[1]");
        if let Some(column) = name {
            aggregated.push_str(&format!(" AS {}", quoted(&column.name)));
        }
        Some((mention.span.clone(), aggregated))
    }

    /// Is the mention an item of the select list that has no name of its own?
    fn is_whole_item(&self, mention: &Mention<'_>) -> bool {
        self.items.iter().any(|item| {
            item.expression.span.end == mention.span.end
                && item.expression.references.len() == 1
                && item
                    .expression
                    .references
                    .first()
                    .is_some_and(|only| only.span == item.expression.span)
                && item.alias.is_none()
        })
    }

    /// Is the mention an item of the select list, `alias.*`?
    fn is_listed_star(&self, mention: &Mention<'_>) -> bool {
        self.items
            .iter()
            .any(|item| match item.expression.references.as_slice() {
                [only] => {
                    only.has_star
                        && only.span == item.expression.span
                        && only.span.end == mention.span.end
                }
                _ => false,
            })
    }

    /// A star that shows an ungroupable column, written out.
    fn star(&self, span: &Range<usize>) -> Option<(Range<usize>, String)> {
        if !self.relation.visible().any(|column| column.ungroupable) {
            return None;
        }
        let alias = quoted(self.bound.name.as_deref()?);
        columns_of(self.bound)?;
        let columns = self.bound.columns().into_iter().map(|(shown, column)| {
            let shown = quoted(&shown);
            match column.ungroupable {
                true => format!("(pg_catalog.array_agg({alias}.{shown}))[1] AS {shown}"),
                false => format!("{alias}.{shown}"),
            }
        });
        Some((span.clone(), columns.collect::<Vec<_>>().join(", ")))
    }
}
