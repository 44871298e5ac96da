//! INSERT, UPDATE, DELETE and MERGE of masked relations: the target stays, what reads its masked columns asks the view.

use super::Returning;
use super::TOKEN;
use super::scope::{Bound, Mention, Role, Scope, What};
use super::sources::{self, Identity, Wanted, identity, joined_name, quoted, shown};
use super::walk::{Answer, Walk, denied};
use super::written::Wrote;
use crate::catalog::{MaskedColumn, MaskedRelation};
use crate::sql::lexer::{self, TokenKind};
use crate::sql::outline::{
    self, Assignment, Delete, Expression, FromItem, Item, Merge, Relation, Update,
};

/// The target of a statement that is being walked over: the first item of the innermost scope.
#[derive(Debug, Clone)]
pub(super) struct Target<'a> {
    /// The relation, if it is masked.
    pub(super) relation: Option<&'a MaskedRelation>,
    /// The name that it has in the statement, quoted.
    pub(super) name: String,
}

impl<'a> Walk<'a> {
    /// Opens the scope of a statement with a target.
    pub(super) fn open_target(&mut self, relation: &'a Relation) -> Target<'a> {
        let target = self.target(relation);
        let mut bound = Bound::other(Some(relation.alias.as_ref().map_or_else(
            || relation.name.name.clone(),
            |alias| alias.name.value.clone(),
        )));
        bound.relation = target.relation;
        if let Some(masked) = target.relation {
            bound.role = Role::Target;
            bound.schema = relation.alias.is_none().then(|| masked.schema.clone());
        }
        self.scopes.push(Scope {
            items: vec![bound],
            ..Scope::default()
        });
        target
    }

    /// Common table expressions are no targets.
    fn target(&self, relation: &Relation) -> Target<'a> {
        let name = relation
            .alias
            .as_ref()
            .map_or(&relation.name.name, |alias| &alias.name.value);
        Target {
            relation: self
                .masked
                .resolve(relation.name.schema.as_deref(), &relation.name.name),
            name: quoted(name),
        }
    }

    pub(super) fn close_target(&mut self) {
        if let Some(scope) = self.scopes.pop() {
            self.settle(scope);
        }
    }

    /// What of the target is mentioned by what `visit` walks over, as far as the target itself cannot show it.
    pub(super) fn hidden(&mut self, visit: impl FnOnce(&mut Self)) -> Vec<Mention<'a>> {
        let depth = self.scopes.len();
        let mentions = |walk: &Self| {
            let scope = depth.checked_sub(1).and_then(|at| walk.scopes.get(at));
            let bound = scope.and_then(|scope| scope.items.first());
            bound
                .map(|bound| bound.mentions.clone())
                .unwrap_or_default()
        };
        let before = mentions(self).len();
        visit(self);
        let mut new = mentions(self).split_off(before);
        new.retain(|mention| match mention.what {
            What::Column(column) => !column.clear,
            What::Star | What::Row => true,
            What::System => false,
        });
        new
    }

    /// What of the relation must be read from, so that these mentions can be shown.
    pub(super) fn identity_for(
        &mut self,
        target: &Target<'a>,
    ) -> Option<(&'a MaskedRelation, Identity)> {
        let relation = target.relation?;
        let uses_system = self
            .scopes
            .last()
            .and_then(|scope| scope.items.first())
            .is_some_and(Bound::uses_system);
        let identity = identity(relation, uses_system);
        if identity.is_none() {
            self.block_relation(relation);
        }
        Some((relation, identity?))
    }

    /// An expression in which the target's masked columns are read, for one row of it.
    pub(super) fn value(&mut self, target: &Target<'a>, value: &'a Expression, is_query: bool) {
        let hidden = self.hidden(|walk| walk.expression(value));
        if hidden.is_empty() {
            return;
        }
        let Some((relation, identity)) = self.identity_for(target) else {
            return;
        };
        let around = match is_query {
            true => identity.around_query(&target.name),
            false => identity.around_value(&target.name),
        };
        self.around(&value.span, around);
        self.use_view(identity.oid, relation);
    }

    pub(super) fn assignments(&mut self, target: &Target<'a>, assignments: &'a [Assignment]) {
        for assignment in assignments {
            for value in &assignment.values {
                self.value(target, value, assignment.from_query);
            }
        }
    }

    pub(super) fn update(&mut self, update: &'a Update) {
        let target = self.open_target(&update.target);
        self.bind_beside(&update.from);
        self.assignments(&target, &update.assignments);
        let join = (!update.from.is_empty()).then_some(update.from_end);
        self.target_condition(&target, update.condition.as_ref(), join);
        if let Some(returning) = &update.returning {
            self.returning(&target, returning, &update.from, Wrote::Update(update));
        }
        self.close_target();
    }

    pub(super) fn delete(&mut self, delete: &'a Delete) {
        let target = self.open_target(&delete.target);
        self.bind_beside(&delete.using);
        let join = (!delete.using.is_empty()).then_some(delete.using_end);
        self.target_condition(&target, delete.condition.as_ref(), join);
        if let Some(returning) = &delete.returning
            && !self.keeps_returned(target.relation, returning)
        {
            for item in &returning.items {
                self.deleted_item(&target, item);
            }
        }
        self.close_target();
    }

    /// FROM of UPDATE and USING of DELETE and MERGE: the target is not in sight there.
    fn bind_beside(&mut self, items: &'a [FromItem]) {
        let target = self
            .scopes
            .last_mut()
            .map(|scope| std::mem::take(&mut scope.items));
        for item in items {
            self.bind(item);
        }
        if let (Some(scope), Some(mut target)) = (self.scopes.last_mut(), target) {
            target.append(&mut scope.items);
            scope.items = target;
        }
    }

    /// WHERE; `join` is the end of FROM or USING, if there is one.
    fn target_condition(
        &mut self,
        target: &Target<'a>,
        condition: Option<&'a Expression>,
        join: Option<usize>,
    ) {
        let Some(condition) = condition else {
            return;
        };
        let hidden = self.hidden(|walk| walk.expression(condition));
        if hidden.is_empty() {
            return;
        }
        let Some((relation, identity)) = self.identity_for(target) else {
            return;
        };
        self.use_view(identity.oid, relation);
        let columns: Option<Vec<&MaskedColumn>> = hidden.iter().map(joinable).collect();
        match (join, columns) {
            (Some(end), Some(columns)) => {
                let mut distinct: Vec<&MaskedColumn> = Vec::new();
                for column in columns {
                    if distinct.iter().all(|known| known.number != column.number) {
                        distinct.push(column);
                    }
                }
                let (item, matches) = identity.joined(&target.name, &distinct);
                for mention in &hidden {
                    if let What::Column(column) = mention.what {
                        self.replace(
                            mention.span.clone(),
                            format!("devinprod_m.{}", joined_name(column)),
                        );
                    }
                }
                self.insert(end, format!(", {item}"));
                self.around(
                    &condition.span,
                    (format!("{matches} AND ("), ")".to_owned()),
                );
            }
            _ => self.around(&condition.span, identity.around_condition(&target.name)),
        }
    }

    /// An item of DELETE … RETURNING.
    fn deleted_item(&mut self, target: &Target<'a>, item: &'a Item) {
        let is_own_star = |walk: &Self| {
            let scope = walk.scopes.last();
            item.is_star
                .then(|| scope.map_or(0, |scope| scope.items.len()))
        };
        if let (Some(items), Some(relation)) = (is_own_star(self), target.relation) {
            if items == 1 {
                self.deleted_star(target, relation, &item.expression.span);
            } else {
                self.block(
                    shown(relation, None),
                    "RETURNING * of several relations cannot be written out",
                    "name the columns behind RETURNING",
                );
            }
            return;
        }
        let Some(span) = item.own_star().map(|star| star.span.clone()) else {
            self.value(target, &item.expression, false);
            return;
        };
        let hidden = self.hidden(|walk| walk.expression(&item.expression));
        if let (false, Some(relation)) = (hidden.is_empty(), target.relation) {
            self.deleted_star(target, relation, &span);
        }
    }

    fn deleted_star(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        span: &std::ops::Range<usize>,
    ) {
        let Some((_, identity)) = self.identity_for(target) else {
            return;
        };
        let (before, behind) = identity.around_value(&target.name);
        let list: Vec<String> = relation
            .visible()
            .map(|column| {
                let name = format!("{}.{}", target.name, quoted(&column.name));
                if column.clear {
                    name
                } else {
                    format!("{before}{name}{behind}")
                }
            })
            .collect();
        self.drop_edits(span);
        self.replace(span.clone(), list.join(", "));
        self.use_view(identity.oid, relation);
    }

    /// `*` in RETURNING whose columns count by their place stays, and is refused, where it would show fewer of them.
    fn keeps_returned(
        &mut self,
        relation: Option<&'a MaskedRelation>,
        returning: &outline::Returning,
    ) -> bool {
        let is_star = |item: &Item| item.is_star || item.own_star().is_some();
        let column = relation
            .and_then(denied)
            .filter(|_| self.returned_by_place && returning.items.iter().any(is_star));
        if let (Some(relation), Some(column)) = (relation, column) {
            self.block_column(relation, column);
        }
        column.is_some()
    }

    /// RETURNING of INSERT and UPDATE: what the row has become.
    pub(super) fn returning(
        &mut self,
        target: &Target<'a>,
        returning: &'a outline::Returning,
        beside: &'a [FromItem],
        wrote: Wrote<'a>,
    ) {
        if self.keeps_returned(target.relation, returning) {
            return;
        }
        let hidden = self.hidden(|walk| {
            for item in &returning.items {
                walk.expression(&item.expression);
            }
        });
        let has_star = returning.items.iter().any(|item| item.is_star);
        let Some(relation) = target.relation.filter(|_| !hidden.is_empty() || has_star) else {
            return;
        };
        if self.answer == Answer::Nothing && self.is_outermost() {
            self.drop_edits(&returning.span);
            let nothing = format!("{0}.tableoid, {0}.ctid", target.name);
            self.replace(returning.span.clone(), nothing);
            return;
        }
        match self.second(target, relation, returning, beside) {
            Ok(query) => {
                self.drop_edits(&returning.span);
                let remember = format!(
                    "devinprod.remember('{TOKEN}', {0}.tableoid, {0}.ctid)",
                    target.name
                );
                self.replace(returning.span.clone(), remember);
                self.returning = Some(Returning { query });
            }
            Err(_) => self.returning_within(target, relation, returning, &hidden, wrote),
        }
    }

    fn returning_within(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        returning: &'a outline::Returning,
        hidden: &[Mention<'a>],
        wrote: Wrote<'a>,
    ) {
        if let Err(because) = self.written(target, relation, returning, wrote) {
            let column = hidden.iter().find_map(|mention| match mention.what {
                What::Column(column) => Some(column.name.as_str()),
                _ => None,
            });
            self.block(
                shown(relation, column),
                because,
                "name only clear columns behind RETURNING, and select the others by key in a statement of their own",
            );
        }
    }

    /// The statement that gives the rows of RETURNING, or why there is none.
    pub(super) fn second(
        &mut self,
        target: &Target<'a>,
        relation: &'a MaskedRelation,
        returning: &'a outline::Returning,
        beside: &'a [FromItem],
    ) -> Result<String, &'static str> {
        if self.answer != Answer::Second || !self.is_outermost() {
            return Err(
                "what INSERT and UPDATE return of a masked column cannot go on inside of the database",
            );
        }
        if returning.has_options {
            return Err("RETURNING WITH (OLD AS …, NEW AS …) of a masked column is not supported");
        }
        let slice = self.text.get(returning.span.clone()).unwrap_or_default();
        let tokens = lexer::significant(slice);
        if tokens
            .iter()
            .any(|token| token.kind == TokenKind::Parameter)
        {
            return Err("RETURNING mentions a masked column and a parameter");
        }
        if !beside.is_empty() && !self.is_only_target(returning) {
            return Err("RETURNING mentions a masked column and another relation");
        }
        let wanted = Wanted {
            system: true,
            ..Wanted::default()
        };
        let (source, oid) =
            sources::source(relation, wanted).ok_or("nothing of the relation can be seen")?;
        let all = || {
            let columns = relation
                .visible()
                .map(|column| format!("{}.{}", target.name, quoted(&column.name)));
            columns.collect::<Vec<_>>().join(", ")
        };
        let mut stars = Vec::new();
        for item in &returning.items {
            let own_star = item.own_star().and_then(|star| star.parts.last());
            if item.is_star || own_star.is_some_and(|name| quoted(&name.value) == target.name) {
                stars.push((item.expression.span.clone(), all()));
            }
        }
        // What stands for the target here has its system columns besides: its whole row has not.
        let row = format!("(SELECT {0} FROM (SELECT {1}) AS {0})", target.name, all());
        let span = &returning.span;
        let listed: Vec<usize> = stars.iter().map(|(range, _)| range.end).collect();
        let target_scope = self.scopes.last().and_then(|scope| scope.items.first());
        for mention in target_scope.iter().flat_map(|bound| &bound.mentions) {
            let is_row = matches!(mention.what, What::Row | What::Star);
            let is_here = span.start <= mention.span.start && mention.span.end <= span.end;
            let is_new = stars.iter().all(|(range, _)| *range != mention.span);
            if is_row && is_here && is_new && !listed.contains(&mention.span.end) {
                stars.push((mention.span.clone(), row.clone()));
            }
        }
        for (range, text) in stars {
            self.drop_edits(&range);
            self.replace(range, text);
        }
        let list = self.edited(&returning.span);
        let list = list.ok_or("RETURNING could not be rewritten")?;
        self.use_view(oid, relation);
        Ok(format!(
            "SELECT {list} FROM devinprod.take('{TOKEN}') AS devinprod_q(devinprod_n, devinprod_t, devinprod_c) \
             JOIN {source} AS {0} ON {0}.tableoid = devinprod_q.devinprod_t AND {0}.ctid = devinprod_q.devinprod_c \
             ORDER BY devinprod_q.devinprod_n",
            target.name
        ))
    }

    /// Does RETURNING speak of the target alone?
    fn is_only_target(&self, returning: &outline::Returning) -> bool {
        returning.items.iter().all(|item| {
            let is_target = |reference: &outline::Reference| {
                super::scope::resolve(&self.scopes, reference)
                    .is_some_and(|hit| hit.item == 0 && hit.scope + 1 == self.scopes.len())
            };
            !item.is_star
                && item.expression.statements.is_empty()
                && item.expression.references.iter().all(is_target)
        })
    }

    pub(super) fn merge(&mut self, merge: &'a Merge) {
        let target = self.open_target(&merge.target);
        self.bind_beside(std::slice::from_ref(&merge.source));
        self.target_condition(&target, Some(&merge.on), None);
        for when in &merge.whens {
            if let Some(condition) = &when.condition {
                self.value(&target, condition, false);
            }
            self.assignments(&target, &when.assignments);
            let values = when.insert.iter().flat_map(|insert| &insert.values);
            values.for_each(|value| self.expression(value));
        }
        if let (Some(returning), Some(relation)) = (&merge.returning, target.relation) {
            let hidden = self.hidden(|walk| {
                returning
                    .items
                    .iter()
                    .for_each(|item| walk.expression(&item.expression))
            });
            let has_star = returning.items.iter().any(|item| item.is_star);
            if (!hidden.is_empty() || has_star) && !self.keeps_returned(Some(relation), returning) {
                self.returning_within(&target, relation, returning, &hidden, Wrote::Merge(merge));
            }
        }
        self.close_target();
    }
}

/// What notes a row in RETURNING.
pub(super) fn remember(target: &Target<'_>) -> String {
    format!(
        "devinprod.remember('{TOKEN}', {0}.tableoid, {0}.ctid)",
        target.name
    )
}

/// The column, if the mention can be replaced by one of the view beside the target.
fn joinable<'a>(mention: &Mention<'a>) -> Option<&'a MaskedColumn> {
    match mention.what {
        What::Column(column) if mention.certain && column.view_number.is_some() => Some(column),
        _ => None,
    }
}
