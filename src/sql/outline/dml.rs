//! INSERT, UPDATE, DELETE and MERGE.

use super::expression::Until;
use super::{
    Alias, Assignment, Conflict, Delete, Expression, Insert, Merge, MergeInsert, Reader, Relation,
    Returning, Update, When,
};
use crate::sql::statement::Name;

impl Reader<'_> {
    /// Behind INSERT INTO, which begins there.
    pub(super) fn insert(&mut self, begins: usize) -> Option<Insert> {
        let start = self.cursor.here().start;
        let name = self.cursor.relation()?;
        let span = start..self.end();
        let at_alias = self.cursor.here().start;
        // What stands in parentheses behind it are the columns to insert into.
        let alias = match self.cursor.eat_word("as") {
            true => Some(Alias {
                name: self.cursor.name()?,
                columns: Vec::new(),
                span: at_alias..self.end(),
            }),
            false => None,
        };
        let target = Relation {
            name,
            only: false,
            span,
            alias,
            sample: None,
        };
        let columns = match self.cursor.is_symbol(b'(') && !self.is_query(self.cursor.at()) {
            true => Some(self.target_list()?),
            false => None,
        };
        let overriding = self.cursor.eat_word("overriding");
        if overriding {
            self.cursor.eat_any_word(&["user", "system"]);
            self.cursor.eat_word("value");
        }
        let source = match self.cursor.eat_words(&["default", "values"]) {
            true => None,
            false => Some(self.statement()?),
        };
        let conflict = match self.cursor.is_word("on") {
            true => Some(self.conflict()?),
            false => None,
        };
        Some(Insert {
            start: begins,
            target,
            columns,
            overriding,
            source,
            conflict,
            returning: self.returning()?,
        })
    }

    /// `(column [subscript or field] [, …])`.
    fn target_list(&mut self) -> Option<Vec<Name>> {
        if !self.cursor.eat_symbol(b'(') {
            return None;
        }
        let mut columns = Vec::new();
        loop {
            columns.push(self.cursor.name()?);
            // What a subscript mentions does not matter where a column is only written.
            self.expression(Until::Item);
            if self.cursor.eat_symbol(b')') {
                return Some(columns);
            }
            if !self.cursor.eat_symbol(b',') {
                return None;
            }
        }
    }

    fn conflict(&mut self) -> Option<Conflict> {
        let start = self.cursor.here().start;
        if !self.cursor.eat_words(&["on", "conflict"]) {
            return None;
        }
        let mut conflict = Conflict {
            span: start..start,
            arbiter: None,
            arbiter_condition: None,
            constraint: None,
            assignments: Vec::new(),
            condition: None,
        };
        if self.cursor.is_symbol(b'(') {
            let start = self.cursor.here().start;
            let mut arbiter = Expression::default();
            self.group_of(&mut arbiter, false)?;
            arbiter.span = start..self.end();
            conflict.arbiter = Some(arbiter);
            if self.cursor.eat_word("where") {
                conflict.arbiter_condition = Some(self.expression(Until::Clause)?);
            }
        } else if self.cursor.eat_words(&["on", "constraint"]) {
            conflict.constraint = Some(self.cursor.name()?);
        }
        if !self.cursor.eat_word("do") {
            return None;
        }
        if self.cursor.eat_word("nothing") {
            conflict.span.end = self.end();
            return Some(conflict);
        }
        if !self.cursor.eat_words(&["update", "set"]) {
            return None;
        }
        conflict.assignments = self.assignments()?;
        if self.cursor.eat_word("where") {
            conflict.condition = Some(self.expression(Until::Clause)?);
        }
        conflict.span.end = self.end();
        Some(conflict)
    }

    /// Behind SET.
    fn assignments(&mut self) -> Option<Vec<Assignment>> {
        let mut assignments = vec![self.assignment()?];
        while self.cursor.eat_symbol(b',') {
            assignments.push(self.assignment()?);
        }
        Some(assignments)
    }

    fn assignment(&mut self) -> Option<Assignment> {
        let begins = self.cursor.here().start;
        if self.cursor.is_symbol(b'(') {
            let columns = self.target_list()?;
            if !self.cursor.eat_operator("=") {
                return None;
            }
            if self.is_query(self.cursor.at()) {
                let start = self.cursor.here().start;
                let mut value = Expression::default();
                let statement = self.in_parens()?;
                value.statements.push(super::Nested {
                    statement,
                    in_aggregate: false,
                });
                value.span = start..self.end();
                return Some(Assignment {
                    span: begins..self.end(),
                    columns,
                    values: vec![value],
                    from_query: true,
                });
            }
            self.cursor.eat_word("row");
            let values = self.row()?;
            return Some(Assignment {
                span: begins..self.end(),
                columns,
                values,
                from_query: false,
            });
        }
        let column = self.cursor.name()?;
        while self.cursor.is_symbol(b'[') || self.cursor.is_symbol(b'.') {
            match self.closing(self.cursor.at()) {
                Some(close) => {
                    while self.cursor.at() <= close {
                        self.cursor.advance();
                    }
                }
                None => {
                    self.cursor.advance();
                    self.cursor.label()?;
                }
            }
        }
        if !self.cursor.eat_operator("=") {
            return None;
        }
        let value = self.expression(Until::Item)?;
        Some(Assignment {
            span: begins..self.end(),
            columns: vec![column],
            values: vec![value],
            from_query: false,
        })
    }

    /// Behind UPDATE.
    pub(super) fn update(&mut self) -> Option<Update> {
        let target = self.relation(false)?;
        if !self.cursor.eat_word("set") {
            return None;
        }
        let mut update = Update {
            target,
            assignments: self.assignments()?,
            from: Vec::new(),
            from_end: 0,
            condition: None,
            at_cursor: false,
            returning: None,
        };
        if self.cursor.eat_word("from") {
            update.from = self.item_list()?;
        }
        update.from_end = self.end();
        (update.condition, update.at_cursor) = self.dml_condition()?;
        update.returning = self.returning()?;
        Some(update)
    }

    /// Behind DELETE FROM.
    pub(super) fn delete(&mut self) -> Option<Delete> {
        let mut delete = Delete {
            target: self.relation(false)?,
            using: Vec::new(),
            using_end: 0,
            condition: None,
            at_cursor: false,
            returning: None,
        };
        if self.cursor.eat_word("using") {
            delete.using = self.item_list()?;
        }
        delete.using_end = self.end();
        (delete.condition, delete.at_cursor) = self.dml_condition()?;
        delete.returning = self.returning()?;
        Some(delete)
    }

    /// WHERE, and whether it is WHERE CURRENT OF.
    fn dml_condition(&mut self) -> Option<(Option<Expression>, bool)> {
        if !self.cursor.eat_word("where") {
            return Some((None, false));
        }
        if self.cursor.eat_words(&["current", "of"]) {
            self.cursor.name()?;
            return Some((None, true));
        }
        Some((Some(self.expression(Until::Clause)?), false))
    }

    /// RETURNING, if it is there; the outer None is for one that is not understood.
    #[expect(clippy::option_option)]
    fn returning(&mut self) -> Option<Option<Returning>> {
        if !self.cursor.eat_word("returning") {
            return Some(None);
        }
        let has_options =
            self.cursor.is_word("with") && self.is_symbol_at(self.cursor.at() + 1, b'(');
        if has_options {
            self.cursor.advance();
            self.cursor.parens()?;
        }
        let start = self.cursor.here().start;
        let items = self.items()?;
        Some(Some(Returning {
            span: start..self.end(),
            items,
            has_options,
        }))
    }

    /// Behind MERGE INTO.
    pub(super) fn merge(&mut self) -> Option<Merge> {
        let target = self.relation(false)?;
        if !self.cursor.eat_word("using") {
            return None;
        }
        let source = self.listed_item()?;
        if !self.cursor.eat_word("on") {
            return None;
        }
        let on = self.expression(Until::Clause)?;
        let mut whens = Vec::new();
        while self.cursor.eat_word("when") {
            whens.push(self.when()?);
        }
        Some(Merge {
            target,
            source,
            on,
            whens,
            returning: self.returning()?,
        })
    }

    fn when(&mut self) -> Option<When> {
        self.cursor.eat_word("not");
        if !self.cursor.eat_word("matched") {
            return None;
        }
        if self.cursor.eat_word("by") {
            self.cursor.eat_any_word(&["source", "target"]);
        }
        let mut when = When {
            condition: None,
            assignments: Vec::new(),
            insert: None,
            deletes: false,
        };
        if self.cursor.eat_word("and") {
            when.condition = Some(self.expression(Until::Clause)?);
        }
        if !self.cursor.eat_word("then") {
            return None;
        }
        if self.cursor.eat_words(&["update", "set"]) {
            when.assignments = self.assignments()?;
        } else if self.cursor.eat_word("insert") {
            let columns = match self.cursor.is_symbol(b'(') {
                true => Some(self.target_list()?),
                false => None,
            };
            if self.cursor.eat_word("overriding") {
                self.cursor.eat_any_word(&["user", "system"]);
                self.cursor.eat_word("value");
            }
            let mut values = Vec::new();
            if !self.cursor.eat_words(&["default", "values"]) {
                if !self.cursor.eat_word("values") {
                    return None;
                }
                values = self.row()?;
            }
            when.insert = Some(MergeInsert { columns, values });
        } else if self.cursor.eat_word("delete") {
            when.deletes = true;
        } else if !self.cursor.eat_words(&["do", "nothing"]) {
            return None;
        }
        Some(when)
    }
}
