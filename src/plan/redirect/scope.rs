//! Which relation of which FROM a name means.

use std::ops::Range;

use super::sources::{is_system, quoted};
use crate::catalog::{MaskedColumn, MaskedRelation};
use crate::sql::outline::{Reference, Relation};

/// What stands in a FROM or is the target of DML, under a name.
#[derive(Debug)]
pub(super) struct Bound<'a> {
    /// The name that it is visible under; None if the alias of a join hides it.
    pub(super) name: Option<String>,
    /// Its schema, where it may be named with it: a relation without an alias.
    pub(super) schema: Option<String>,
    /// The masked relation that it is.
    pub(super) relation: Option<&'a MaskedRelation>,
    /// What it is read as.
    pub(super) role: Role<'a>,
    /// Names that its alias gives to its first columns.
    pub(super) renamed: Vec<String>,
    /// Where it was mentioned.
    pub(super) mentions: Vec<Mention<'a>>,
}

/// How a [`Bound`] is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role<'a> {
    /// A view takes its place.
    View(&'a Relation),
    /// It is the target of INSERT, UPDATE, DELETE or MERGE, and stays.
    Target,
    /// The proposed row of ON CONFLICT, and stays.
    Excluded,
    /// It is no masked relation, or stays as it is.
    Other,
}

/// A mention of a masked relation.
#[derive(Debug, Clone)]
pub(super) struct Mention<'a> {
    /// What of it.
    pub(super) what: What<'a>,
    /// Where.
    pub(super) span: Range<usize>,
    /// Inside of the arguments of an aggregate function of its own query.
    pub(super) in_aggregate: bool,
    /// In the part of its query that GROUP BY restricts.
    pub(super) grouped: bool,
    /// It can mean nothing else.
    pub(super) certain: bool,
}

/// What of a relation is mentioned.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    /// A column.
    Column(&'a MaskedColumn),
    /// `alias.*`.
    Star,
    /// The whole row.
    Row,
    /// ctid, tableoid, xmin …
    System,
}

impl Bound<'_> {
    /// What is no masked relation.
    pub(super) fn other(name: Option<String>) -> Self {
        Self {
            name,
            schema: None,
            relation: None,
            role: Role::Other,
            renamed: Vec::new(),
            mentions: Vec::new(),
        }
    }

    /// Are its system columns mentioned?
    pub(super) fn uses_system(&self) -> bool {
        self.mentions
            .iter()
            .any(|mention| matches!(mention.what, What::System))
    }
}

impl<'a> Bound<'a> {
    /// Its columns under the names that they have here: those of the view, or of the table if it stays.
    pub(super) fn columns(&self) -> Vec<(String, &'a MaskedColumn)> {
        let Some(relation) = self.relation else {
            return Vec::new();
        };
        let is_view = matches!(self.role, Role::View(_));
        let shown = relation
            .columns
            .iter()
            .filter(|column| !is_view || column.view_number.is_some());
        shown
            .enumerate()
            .map(|(at, column)| {
                let name = self.renamed.get(at).unwrap_or(&column.name);
                (name.clone(), column)
            })
            .collect()
    }

    /// The column that has this name here.
    fn column(&self, name: &str) -> Option<&'a MaskedColumn> {
        let relation = self.relation?;
        if self.renamed.is_empty() {
            return relation.column(name);
        }
        let columns = self.columns();
        let found = columns.into_iter().find(|(shown, _)| shown == name);
        found.map(|(_, column)| column)
    }
}

/// The relations of one query.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    /// In the order of FROM.
    pub(super) items: Vec<Bound<'a>>,
    /// Places of `*` in the select list.
    pub(super) stars: Vec<Range<usize>>,
    /// Where each `alias.*` of the select list ends.
    pub(super) listed: Vec<usize>,
    /// USING or NATURAL merges columns.
    pub(super) merges: bool,
    /// The walk is in the part of the query that GROUP BY restricts.
    pub(super) grouped: bool,
    /// The walk is inside of that many arguments of aggregate functions of this query.
    pub(super) aggregates: usize,
}

/// What a reference means: the scope, the item in it, and what of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit<'a> {
    pub(super) scope: usize,
    pub(super) item: usize,
    /// None for what is no masked relation, or a column that is unknown.
    pub(super) what: Option<What<'a>>,
    pub(super) certain: bool,
    /// Bytes to leave out, because a view is not in the relation's schema.
    pub(super) qualifier: usize,
}

/// What a reference means, seen from the innermost scope; the scopes stand from the outermost on.
pub(super) fn resolve<'a>(scopes: &[Scope<'a>], reference: &Reference) -> Option<Hit<'a>> {
    let names: Vec<&str> = reference
        .parts
        .iter()
        .map(|part| part.value.as_str())
        .collect();
    let names = names.as_slice();
    // The last name is a column, unless a star follows.
    let (qualifiers, column) = match (reference.has_star, names) {
        (true, names) => (names, None),
        (false, [qualifiers @ .., column]) => (qualifiers, Some(*column)),
        (false, []) => return None,
    };
    match qualifiers {
        [] => unqualified(scopes, column?),
        [name] => {
            let (scope, item) = find(scopes, |bound| bound.name.as_deref() == Some(*name))?;
            hit(scopes, scope, item, column, 0)
        }
        [.., schema, name] => {
            let is_it = |bound: &Bound<'_>| {
                bound.name.as_deref() == Some(*name) && bound.schema.as_deref() == Some(*schema)
            };
            let (scope, item) = find(scopes, is_it)?;
            // Without its schema it must still mean the same.
            let by_name = find(scopes, |bound| bound.name.as_deref() == Some(*name));
            if by_name != Some((scope, item)) {
                return None;
            }
            let table = reference.parts.get(qualifiers.len() - 1)?;
            let qualifier = table.span.start - reference.span.start;
            hit(scopes, scope, item, column, qualifier)
        }
    }
}

fn hit<'a>(
    scopes: &[Scope<'a>],
    scope: usize,
    item: usize,
    column: Option<&str>,
    qualifier: usize,
) -> Option<Hit<'a>> {
    let bound = scopes.get(scope)?.items.get(item)?;
    let what = match (bound.relation, column) {
        (None, _) => None,
        (Some(_), None) => Some(What::Star),
        (Some(_), Some(name)) if is_system(name) => Some(What::System),
        (Some(_), Some(name)) => bound.column(name).map(What::Column),
    };
    Some(Hit {
        scope,
        item,
        what,
        certain: true,
        qualifier,
    })
}

/// A column's or a whole row's name alone.
fn unqualified<'a>(scopes: &[Scope<'a>], name: &str) -> Option<Hit<'a>> {
    let mut certain = true;
    for (at, scope) in scopes.iter().enumerate().rev() {
        let make = |item: usize, what: What<'a>| Hit {
            scope: at,
            item,
            what: Some(what),
            certain,
            qualifier: 0,
        };
        // The row that ON CONFLICT proposes is named with its alias only where the target has the same columns.
        let columns = scope
            .items
            .iter()
            .enumerate()
            .filter(|(_, bound)| !matches!(bound.role, Role::Excluded))
            .find_map(|(item, bound)| Some((item, bound.column(name)?)));
        if let Some((item, column)) = columns {
            return Some(make(item, What::Column(column)));
        }
        if is_system(name) {
            return match scope.items.as_slice() {
                [only] if only.relation.is_some() => Some(make(0, What::System)),
                _ => None,
            };
        }
        if let Some(item) = scope
            .items
            .iter()
            .position(|bound| bound.name.as_deref() == Some(name))
        {
            return scope
                .items
                .get(item)
                .is_some_and(|bound| bound.relation.is_some())
                .then(|| make(item, What::Row));
        }
        certain &= scope.items.iter().all(|bound| bound.relation.is_some());
    }
    None
}

fn find(scopes: &[Scope<'_>], is_it: impl Fn(&Bound<'_>) -> bool) -> Option<(usize, usize)> {
    scopes.iter().enumerate().rev().find_map(|(at, scope)| {
        let item = scope.items.iter().position(&is_it)?;
        Some((at, item))
    })
}

/// What `*` means where system columns are among those of a subquery.
pub(super) fn star_list(scope: &Scope<'_>) -> Option<String> {
    if scope.merges {
        return None;
    }
    let lists: Option<Vec<String>> = scope
        .items
        .iter()
        .map(|bound| match bound.uses_system() {
            true => columns_of(bound),
            false => Some(format!("{}.*", quoted(bound.name.as_deref()?))),
        })
        .collect();
    Some(lists?.join(", "))
}

/// The whole row without its system columns, under the same name.
pub(super) fn row_of(bound: &Bound<'_>) -> Option<String> {
    let name = quoted(bound.name.as_deref()?);
    Some(format!(
        "(SELECT {name} FROM (SELECT {}) AS {name})",
        columns_of(bound)?
    ))
}

/// `alias.a, alias.b, …`.
pub(super) fn columns_of(bound: &Bound<'_>) -> Option<String> {
    let name = quoted(bound.name.as_deref()?);
    let columns = bound.columns().into_iter();
    let columns: Vec<String> = columns
        .map(|(column, _)| format!("{name}.{}", quoted(&column)))
        .collect();
    Some(columns.join(", "))
}
