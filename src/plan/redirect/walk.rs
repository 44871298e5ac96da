//! The walk over a statement's outline: binds the relations of each FROM, finds out what the expressions mention, and collects
//! the edits.

use std::collections::BTreeSet;
use std::ops::Range;

use super::scope::{
    Bound, Hit, Mention, Role, Scope, What, columns_of, resolve, row_of, star_list,
};
use super::sources::{self, Wanted, quoted, shown};
use super::{Blocked, Returning};
use crate::catalog::{Masked, MaskedColumn, MaskedRelation};
use crate::sql::edit::{Edit, Edits};
use crate::sql::outline::{
    Body, Expression, FromItem, Item, Operand, Outline, Query, Reference, Relation, Select,
};

/// What becomes of RETURNING that cannot be answered by the statement itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A second statement gives the rows.
    Second,
    /// Nobody sees the rows (EXPLAIN): anything may be returned.
    Nothing,
    /// The rows go on inside of the database.
    Impossible,
}

/// See the module.
pub(super) struct Walk<'a> {
    pub(super) text: &'a str,
    pub(super) masked: &'a Masked,
    pub(super) answer: Answer,
    pub(super) edits: Vec<Edit>,
    pub(super) views: BTreeSet<(u32, u32)>,
    pub(super) blocked: Option<Blocked>,
    pub(super) returning: Option<Returning>,
    pub(super) tag: Option<&'static str>,
    pub(super) scopes: Vec<Scope<'a>>,
    /// The common table expressions in sight.
    tables: Vec<&'a str>,
    depth: usize,
    /// The columns of the next query count by their place: those of an INSERT, or of one operand of several.
    pub(super) by_place: bool,
    /// So do those of what stands in this FROM, because `*` takes them.
    taken_by_place: bool,
    /// So do those of RETURNING.
    pub(super) returned_by_place: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(text: &'a str, masked: &'a Masked, answer: Answer) -> Self {
        Self {
            text,
            masked,
            answer,
            edits: Vec::new(),
            views: BTreeSet::new(),
            blocked: None,
            returning: None,
            tag: None,
            scopes: Vec::new(),
            tables: Vec::new(),
            depth: 0,
            by_place: false,
            taken_by_place: false,
            returned_by_place: false,
        }
    }

    /// Is this the outermost statement?
    pub(super) fn is_outermost(&self) -> bool {
        self.depth == 1
    }

    /// Notes why the statement cannot work, if nothing was noted yet.
    pub(super) fn block(&mut self, what: String, because: &str, instead: &str) {
        if self.blocked.is_none() {
            self.blocked = Some(Blocked {
                what,
                because: because.to_owned(),
                instead: instead.to_owned(),
            });
        }
    }

    pub(super) fn insert(&mut self, at: usize, text: String) {
        self.edits.push(Edit::new(at..at, text));
    }

    pub(super) fn replace(&mut self, range: Range<usize>, text: String) {
        self.edits.push(Edit::new(range, text));
    }

    pub(super) fn around(&mut self, span: &Range<usize>, (before, behind): (String, String)) {
        self.insert(span.start, before);
        self.insert(span.end, behind);
    }

    /// The text of a place with the edits in it made.
    pub(super) fn edited(&self, span: &Range<usize>) -> Option<String> {
        let mut edits = Edits::new();
        for edit in &self.edits {
            if span.start <= edit.range.start && edit.range.end <= span.end {
                let range = edit.range.start - span.start..edit.range.end - span.start;
                edits.add(Edit::new(range, edit.text.clone())).ok()?;
            }
        }
        let slice = self.text.get(span.clone())?;
        Some(edits.apply(slice).ok()?.text)
    }

    /// Forgets the edits of a place that is replaced as a whole.
    pub(super) fn drop_edits(&mut self, span: &Range<usize>) {
        self.edits
            .retain(|edit| edit.range.start < span.start || edit.range.end > span.end);
    }

    pub(super) fn use_view(&mut self, oid: u32, relation: &MaskedRelation) {
        self.views.insert((oid, relation.oid));
    }

    /// A statement, from its WITH on.
    pub(super) fn statement(&mut self, statement: &'a Outline) {
        self.depth += 1;
        let by_place = std::mem::take(&mut self.by_place);
        let known = self.tables.len();
        if statement.recursive {
            self.tables.extend(
                statement
                    .tables
                    .iter()
                    .map(|table| table.name.value.as_str()),
            );
        }
        let places = takes_places(&statement.body, by_place);
        for table in &statement.tables {
            self.by_place = places;
            self.statement(&table.statement);
            if !statement.recursive {
                self.tables.push(&table.name.value);
            }
        }
        let around = std::mem::replace(&mut self.returned_by_place, by_place);
        match &statement.body {
            Body::Query(query) => self.query(query, by_place),
            Body::Insert(insert) => self.insert_into(insert, !statement.tables.is_empty()),
            Body::Update(update) => self.update(update),
            Body::Delete(delete) => self.delete(delete),
            Body::Merge(merge) => self.merge(merge),
        }
        self.returned_by_place = around;
        self.tables.truncate(known);
        self.depth -= 1;
    }

    fn query(&mut self, query: &'a Query, by_place: bool) {
        if let [Operand::Select(select)] = query.operands.as_slice() {
            self.select(select, &query.tail, by_place);
            return;
        }
        let by_place = by_place || query.operands.len() > 1;
        for operand in &query.operands {
            self.by_place = by_place;
            match operand {
                Operand::Select(select) => {
                    self.by_place = false;
                    self.select(select, &[], by_place);
                }
                Operand::Values(rows) => rows
                    .iter()
                    .flatten()
                    .for_each(|value| self.expression(value)),
                Operand::Table(relation, span) => self.whole_table(relation, span, by_place),
                Operand::Parens(inner) => self.statement(inner),
            }
            self.by_place = false;
        }
        // What stands behind names columns of the result.
        self.scopes.push(Scope {
            items: vec![Bound::other(None)],
            ..Scope::default()
        });
        for expression in &query.tail {
            for nested in &expression.statements {
                self.statement(&nested.statement);
            }
        }
        self.scopes.pop();
    }

    /// `TABLE name`.
    fn whole_table(&mut self, relation: &'a Relation, span: &Range<usize>, by_place: bool) {
        let Some(masked) = self.resolve_relation(relation) else {
            return;
        };
        if let (true, Some(column)) = (by_place, denied(masked)) {
            self.block_column(masked, column);
            return;
        }
        let wanted = Wanted {
            only: relation.only,
            ..Wanted::default()
        };
        let Some((source, oid)) = sources::source(masked, wanted) else {
            self.block_relation(masked);
            return;
        };
        self.use_view(oid, masked);
        if relation.only {
            self.replace(
                span.clone(),
                format!("SELECT * FROM {source} AS {}", quoted(&masked.name)),
            );
        } else {
            self.replace(relation.span.clone(), source);
        }
    }

    /// The masked relation that a name in FROM means.
    fn resolve_relation(&self, relation: &Relation) -> Option<&'a MaskedRelation> {
        let name = relation.name.name.as_str();
        let is_common_table = relation.name.schema.is_none() && self.tables.contains(&name);
        if is_common_table {
            return None;
        }
        self.masked.resolve(relation.name.schema.as_deref(), name)
    }

    /// Nothing of the relation can be seen.
    pub(super) fn block_relation(&mut self, relation: &MaskedRelation) {
        let because = relation
            .columns
            .first()
            .map_or("every column of it is denied", |column| {
                column.because.as_str()
            });
        let because = because.to_owned();
        self.block(
            shown(relation, None),
            &because,
            "leave the relation out of the query, or ask for a column of it to be opened or masked in the policy",
        );
    }

    pub(super) fn block_column(&mut self, relation: &MaskedRelation, column: &MaskedColumn) {
        self.block(
            shown(relation, Some(&column.name)),
            &column.because,
            "leave the column out of the query, or ask for it to be opened or masked in the policy",
        );
    }

    fn select(&mut self, select: &'a Select, tail: &'a [Expression], by_place: bool) {
        self.scopes.push(Scope::default());
        let around = std::mem::replace(&mut self.taken_by_place, by_place && select.has_star());
        for item in &select.from {
            self.bind(item);
        }
        self.taken_by_place = around;
        self.optional(select.condition.as_ref());
        self.set_grouped(true);
        for item in &select.items {
            self.item(item);
        }
        for expression in [&select.distinct_on, &select.having, &select.windows] {
            self.optional(expression.as_ref());
        }
        for expression in tail {
            self.expression(expression);
        }
        self.set_grouped(false);
        if by_place {
            self.keep_places(select);
        }
        if let Some(group) = &select.group {
            for item in &group.items {
                self.expression(item);
            }
            if !group.has_sets {
                self.group(group, &select.items);
            }
        }
        if let Some(scope) = self.scopes.pop() {
            self.settle(scope);
        }
    }

    fn set_grouped(&mut self, grouped: bool) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.grouped = grouped;
        }
    }

    fn item(&mut self, item: &'a Item) {
        if let Some(scope) = self.scopes.last_mut() {
            if item.is_star {
                scope.stars.push(item.expression.span.clone());
            } else if item.own_star().is_some() {
                scope.listed.push(item.expression.span.end);
            }
        }
        self.expression(&item.expression);
    }

    pub(super) fn optional(&mut self, expression: Option<&'a Expression>) {
        if let Some(expression) = expression {
            self.expression(expression);
        }
    }

    /// Notes what an expression mentions.
    pub(super) fn expression(&mut self, expression: &'a Expression) {
        for reference in &expression.references {
            self.reference(reference);
        }
        for nested in &expression.statements {
            let within = usize::from(nested.in_aggregate);
            if let Some(scope) = self.scopes.last_mut() {
                scope.aggregates += within;
            }
            self.statement(&nested.statement);
            if let Some(scope) = self.scopes.last_mut() {
                scope.aggregates -= within;
            }
        }
    }

    fn reference(&mut self, reference: &Reference) {
        let Some(Hit {
            scope: at,
            item,
            what: Some(what),
            certain,
            qualifier,
        }) = resolve(&self.scopes, reference)
        else {
            return;
        };
        let nested = at + 1 < self.scopes.len();
        let Some(scope) = self.scopes.get_mut(at) else {
            return;
        };
        let (grouped, aggregates) = (scope.grouped, scope.aggregates);
        let Some(bound) = scope.items.get_mut(item) else {
            return;
        };
        let start = reference.span.start;
        bound.mentions.push(Mention {
            what,
            span: start + qualifier..reference.span.end,
            in_aggregate: aggregates > 0 || (!nested && reference.in_aggregate),
            grouped,
            certain,
        });
        let (relation, stays) = (bound.relation, matches!(bound.role, Role::Other));
        // A view is not in the schema of what it stands for.
        if !stays && qualifier > 0 {
            self.replace(start..start + qualifier, String::new());
        }
        if let (Some(relation), What::Column(column)) = (relation, what)
            && column.view_number.is_none()
            && certain
        {
            self.block_column(relation, column);
        }
    }

    /// Binds one item of FROM.
    pub(super) fn bind(&mut self, item: &'a FromItem) {
        match item {
            FromItem::Relation(relation) => {
                if let Some(sample) = &relation.sample {
                    self.expression(sample);
                }
                let bound = self.bound(relation);
                self.push_bound(bound);
            }
            FromItem::Statement {
                lateral,
                statement,
                alias,
            } => {
                let hidden = if *lateral { None } else { self.scopes.pop() };
                self.by_place = self.taken_by_place;
                self.statement(statement);
                self.scopes.extend(hidden);
                let name = alias.as_ref().map(|alias| alias.name.value.clone());
                self.push_bound(Bound::other(name));
            }
            FromItem::Function { expression, name } => {
                self.expression(expression);
                self.push_bound(Bound::other(name.as_ref().map(|name| name.value.clone())));
            }
            FromItem::Join(join) => {
                let first = self.scopes.last().map_or(0, |scope| scope.items.len());
                self.bind(&join.left);
                self.bind(&join.right);
                if join.natural {
                    self.keep_natural(first);
                }
                self.optional(join.on.as_ref());
                if let Some(scope) = self.scopes.last_mut() {
                    scope.merges |= join.natural || !join.using.is_empty();
                    if let Some(alias) = &join.alias {
                        for bound in scope.items.iter_mut().skip(first) {
                            bound.name = None;
                        }
                        scope
                            .items
                            .push(Bound::other(Some(alias.name.value.clone())));
                    }
                }
            }
        }
    }

    pub(super) fn push_bound(&mut self, bound: Bound<'a>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.items.push(bound);
        }
    }

    /// NATURAL would join by fewer columns than it should where some cannot be seen: better let Postgres refuse it.
    fn keep_natural(&mut self, first: usize) {
        let Some(scope) = self.scopes.last_mut() else {
            return;
        };
        let mut denied = None;
        for bound in scope.items.iter_mut().skip(first) {
            if let (Some(relation), Role::View(_)) = (bound.relation, bound.role)
                && let Some(column) = relation
                    .columns
                    .iter()
                    .find(|column| column.view_number.is_none())
            {
                bound.role = Role::Other;
                denied = Some((relation, column));
            }
        }
        if let Some((relation, column)) = denied {
            self.block_column(relation, column);
        }
    }

    /// `*` would give fewer columns than it should where some cannot be seen, and the others would slip into the wrong places:
    /// better let Postgres refuse it.
    fn keep_places(&mut self, select: &Select) {
        let all = select.items.iter().any(|item| item.is_star);
        let Some(scope) = self.scopes.last_mut() else {
            return;
        };
        let mut kept = None;
        for bound in &mut scope.items {
            let is_star = |span: &Range<usize>| {
                let stars = select.items.iter().filter(|item| !item.is_star);
                stars
                    .into_iter()
                    .any(|item| item.expression.span.end == span.end)
            };
            let own = bound
                .mentions
                .iter()
                .any(|mention| matches!(mention.what, What::Star) && is_star(&mention.span));
            if let (Some(relation), Role::View(_), true) = (bound.relation, bound.role, all || own)
                && let Some(column) = denied(relation)
            {
                bound.role = Role::Other;
                kept = Some((relation, column));
            }
        }
        if let Some((relation, column)) = kept {
            self.block_column(relation, column);
        }
    }

    fn bound(&mut self, relation: &'a Relation) -> Bound<'a> {
        let alias = relation.alias.as_ref();
        let name = alias.map_or(&relation.name.name, |alias| &alias.name.value);
        let mut bound = Bound::other(Some(name.clone()));
        let Some(masked) = self.resolve_relation(relation) else {
            return bound;
        };
        bound.relation = Some(masked);
        bound.schema = alias.is_none().then(|| masked.schema.clone());
        if masked.view.is_none() {
            self.block_relation(masked);
            return bound;
        }
        bound.renamed = alias
            .map(|alias| {
                alias
                    .columns
                    .iter()
                    .map(|name| name.value.clone())
                    .collect()
            })
            .unwrap_or_default();
        // The names would slip to other columns.
        let denied = masked
            .columns
            .iter()
            .take(bound.renamed.len())
            .find(|column| column.view_number.is_none());
        match denied {
            Some(column) => self.block_column(masked, column),
            None => bound.role = Role::View(relation),
        }
        bound
    }

    /// At the end of a query: puts the views in their places.
    pub(super) fn settle(&mut self, scope: Scope<'a>) {
        let uses_system =
            |bound: &Bound<'_>| matches!(bound.role, Role::View(_)) && bound.uses_system();
        if scope.items.iter().any(uses_system) && !scope.stars.is_empty() {
            let Some(list) = star_list(&scope) else {
                // What the star shows would change.
                self.block(
                    "the system columns of a masked relation".to_owned(),
                    "`*` with USING or NATURAL cannot be written out here",
                    "name the columns in place of `*`",
                );
                return;
            };
            for star in &scope.stars {
                self.replace(star.clone(), list.clone());
            }
        }
        for bound in &scope.items {
            let (Some(masked), Role::View(relation)) = (bound.relation, bound.role) else {
                continue;
            };
            let system = bound.uses_system();
            let sample = relation.sample.as_ref();
            let wanted = Wanted {
                system,
                only: relation.only,
                sample: sample.and_then(|sample| self.text.get(sample.span.clone())),
            };
            let Some((mut source, oid)) = sources::source(masked, wanted) else {
                continue;
            };
            self.use_view(oid, masked);
            if relation.alias.is_none() {
                source.push_str(" AS ");
                source.push_str(&quoted(&masked.name));
            }
            self.replace(relation.span.clone(), source);
            if let Some(sample) = sample {
                self.replace(sample.span.clone(), String::new());
            }
            if system {
                for mention in &bound.mentions {
                    let is_listed = scope.listed.contains(&mention.span.end);
                    let text = match mention.what {
                        What::Star if is_listed => columns_of(bound),
                        What::Star | What::Row => row_of(bound),
                        _ => None,
                    };
                    if let Some(text) = text {
                        self.replace(mention.span.clone(), text);
                    }
                }
            }
        }
    }
}

/// Does the statement take its tables' columns by their place?
fn takes_places(body: &Body, by_place: bool) -> bool {
    let takes = |query: &Query| {
        query.operands.iter().any(|operand| match operand {
            Operand::Select(select) => select.has_star(),
            Operand::Values(_) => false,
            Operand::Table(..) => true,
            Operand::Parens(inner) => takes_places(&inner.body, true),
        })
    };
    match body {
        Body::Query(query) => by_place && takes(query),
        Body::Insert(insert) => {
            let source = insert.source.as_ref();
            source.is_some_and(|source| takes_places(&source.body, true))
        }
        _ => false,
    }
}

/// A column of it that cannot be seen.
pub(super) fn denied(relation: &MaskedRelation) -> Option<&MaskedColumn> {
    relation
        .columns
        .iter()
        .find(|column| column.view_number.is_none())
}
