//! Queries: WITH, SELECT, VALUES, TABLE, set operations.

use super::expression::Until;
use super::{
    Body, CommonTable, Expression, Group, Item, Operand, Outline, Query, Reader, Relation,
    STATEMENT, Select,
};
use crate::sql::keywords;
use crate::sql::lexer::TokenKind;

/// Words that name a column only behind AS (`AS_LABEL` in Postgres' list of keywords), as far as they are not reserved.
const NEEDS_AS: [&str; 18] = [
    "char",
    "character",
    "day",
    "filter",
    "hour",
    "isnull",
    "minute",
    "month",
    "notnull",
    "over",
    "overlaps",
    "precision",
    "second",
    "varying",
    "within",
    "without",
    "year",
    "zone",
];

impl Reader<'_> {
    /// A query or DML statement, WITH included.
    pub(super) fn statement(&mut self) -> Option<Outline> {
        self.nested(STATEMENT, |reader| {
            let start = reader.cursor.here().start;
            let mut tables = Vec::new();
            let mut recursive = false;
            if reader.cursor.eat_word("with") {
                recursive = reader.cursor.eat_word("recursive");
                tables.push(reader.common_table()?);
                while reader.cursor.eat_symbol(b',') {
                    tables.push(reader.common_table()?);
                }
            }
            let begins = reader.cursor.here().start;
            let body = if reader.cursor.eat_words(&["insert", "into"]) {
                Body::Insert(Box::new(reader.insert(begins)?))
            } else if reader.cursor.eat_word("update") {
                Body::Update(Box::new(reader.update()?))
            } else if reader.cursor.eat_words(&["delete", "from"]) {
                Body::Delete(Box::new(reader.delete()?))
            } else if reader.cursor.eat_words(&["merge", "into"]) {
                Body::Merge(Box::new(reader.merge()?))
            } else {
                Body::Query(reader.query()?)
            };
            Some(Outline {
                span: start..reader.end(),
                recursive,
                tables,
                body,
            })
        })
    }

    fn common_table(&mut self) -> Option<CommonTable> {
        let name = self.cursor.name()?;
        let _columns = self.cursor.parens();
        if !self.cursor.eat_word("as") {
            return None;
        }
        if self.cursor.eat_word("not") && !self.cursor.is_word("materialized") {
            return None;
        }
        self.cursor.eat_word("materialized");
        let statement = self.in_parens()?;
        // SEARCH and CYCLE name columns only.
        while self.cursor.is_any_word(&["search", "cycle"]) {
            while !self.cursor.at_end()
                && !self.cursor.is_symbol(b',')
                && !self.cursor.is_symbol(b')')
                && !self.cursor.is_any_word(&[
                    "select", "insert", "update", "delete", "merge", "values", "table",
                ])
            {
                self.cursor.advance();
                // The columns of SEARCH are a list; the comma of the next expression has AS behind its name.
                if self.cursor.is_symbol(b',') && !self.begins_common_table() {
                    self.cursor.advance();
                }
            }
        }
        Some(CommonTable { name, statement })
    }

    /// Is this comma followed by `name [(…)] AS`?
    fn begins_common_table(&self) -> bool {
        let mut cursor = self.cursor.clone();
        cursor.advance();
        cursor.name().is_some() && {
            let _columns = cursor.parens();
            cursor.is_word("as")
        }
    }

    /// `(statement)`.
    pub(super) fn in_parens(&mut self) -> Option<Outline> {
        if !self.cursor.eat_symbol(b'(') {
            return None;
        }
        let statement = self.statement()?;
        self.cursor.eat_symbol(b')').then_some(statement)
    }

    fn query(&mut self) -> Option<Query> {
        let first = self.operand()?;
        self.query_after(first)
    }

    /// A query whose SELECT was passed.
    pub(super) fn select_query(&mut self) -> Option<Query> {
        let first = Operand::Select(Box::new(self.select()?));
        self.query_after(first)
    }

    fn query_after(&mut self, first: Operand) -> Option<Query> {
        let mut operands = vec![first];
        while self.cursor.eat_any_word(&["union", "intersect", "except"]) {
            self.cursor.eat_any_word(&["all", "distinct"]);
            operands.push(self.operand()?);
        }
        let mut tail = Vec::new();
        loop {
            if self.is_lock() {
                self.lock();
            } else if self
                .cursor
                .eat_any_word(&["order", "limit", "offset", "fetch"])
            {
                self.cursor.eat_word("by");
                tail.push(self.expression(Until::Clause)?);
            } else {
                return Some(Query { operands, tail });
            }
        }
    }

    fn is_lock(&self) -> bool {
        self.cursor.is_word("for")
            && ["update", "no", "share", "key"]
                .iter()
                .any(|word| self.cursor.is_word_ahead(1, word))
    }

    /// FOR UPDATE and its kind; the names behind OF are those of FROM.
    fn lock(&mut self) {
        self.cursor.advance();
        while self
            .cursor
            .eat_any_word(&["update", "no", "share", "key", "nowait", "skip", "locked"])
        {}
        if self.cursor.eat_word("of") {
            while self.cursor.relation().is_some() && self.cursor.eat_symbol(b',') {}
            while self.cursor.eat_any_word(&["nowait", "skip", "locked"]) {}
        }
    }

    fn operand(&mut self) -> Option<Operand> {
        if self.cursor.is_symbol(b'(') {
            return self
                .in_parens()
                .map(|inner| Operand::Parens(Box::new(inner)));
        }
        let start = self.cursor.here().start;
        if self.cursor.eat_word("select") {
            return self
                .select()
                .map(|select| Operand::Select(Box::new(select)));
        }
        if self.cursor.eat_word("values") {
            let mut rows = vec![self.row()?];
            while self.cursor.eat_symbol(b',') {
                rows.push(self.row()?);
            }
            return Some(Operand::Values(rows));
        }
        if !self.cursor.eat_word("table") {
            return None;
        }
        let before = self.cursor.here().start;
        let (name, only) = self.cursor.relation_expression()?;
        let relation = Relation {
            name,
            only,
            span: before..self.end(),
            alias: None,
            sample: None,
        };
        Some(Operand::Table(Box::new(relation), start..self.end()))
    }

    /// `(value, …)`, of which there is at least one.
    pub(super) fn row(&mut self) -> Option<Vec<Expression>> {
        if !self.cursor.eat_symbol(b'(') {
            return None;
        }
        let mut values = vec![self.expression(Until::Item)?];
        while self.cursor.eat_symbol(b',') {
            values.push(self.expression(Until::Item)?);
        }
        self.cursor.eat_symbol(b')').then_some(values)
    }

    fn select(&mut self) -> Option<Select> {
        let mut select = Select {
            distinct_on: None,
            items: Vec::new(),
            from: Vec::new(),
            condition: None,
            group: None,
            having: None,
            windows: None,
        };
        if !self.cursor.eat_word("all")
            && self.cursor.eat_word("distinct")
            && self.cursor.eat_word("on")
        {
            if !self.cursor.eat_symbol(b'(') {
                return None;
            }
            select.distinct_on = Some(self.expression(Until::Close)?);
            if !self.cursor.eat_symbol(b')') {
                return None;
            }
        }
        self.into()?;
        if !self.ends_select_list() {
            select.items = self.items()?;
        }
        self.into()?;
        if self.cursor.eat_word("from") {
            select.from = self.item_list()?;
        }
        self.into()?;
        if self.cursor.eat_word("where") {
            select.condition = Some(self.expression(Until::Clause)?);
        }
        if self.cursor.eat_words(&["group", "by"]) {
            select.group = Some(self.group()?);
        }
        if self.cursor.eat_word("having") {
            select.having = Some(self.expression(Until::Clause)?);
        }
        if self.cursor.eat_word("window") {
            select.windows = Some(self.expression(Until::Clause)?);
        }
        Some(select)
    }

    /// Nothing is selected: what follows ends the list already.
    fn ends_select_list(&self) -> bool {
        self.cursor.at_end()
            || self.cursor.is_symbol(b')')
            || self.cursor.is_symbol(b';')
            || self.cursor.is_any_word(&[
                "from",
                "where",
                "group",
                "having",
                "window",
                "union",
                "intersect",
                "except",
                "order",
                "limit",
                "offset",
                "fetch",
                "for",
                "on",
                "returning",
                "into",
            ])
    }

    /// `INTO [STRICT] [TEMP …] [TABLE] name [, …]`: a new table, or variables of a function.
    fn into(&mut self) -> Option<()> {
        if self.cursor.eat_word("into") {
            while self.cursor.eat_any_word(&[
                "local",
                "global",
                "temp",
                "temporary",
                "unlogged",
                "table",
                "strict",
            ]) {}
            self.cursor.relation()?;
            while self.cursor.eat_symbol(b',') {
                self.cursor.relation()?;
            }
        }
        Some(())
    }

    fn group(&mut self) -> Option<Group> {
        let has_quantifier = self.cursor.eat_any_word(&["all", "distinct"]);
        let mut group = Group {
            items: Vec::new(),
            has_sets: has_quantifier,
        };
        loop {
            group.has_sets |= self.cursor.is_any_word(&["rollup", "cube", "grouping"])
                || (self.cursor.is_symbol(b'(') && self.is_symbol_at(self.cursor.at() + 1, b')'));
            group.items.push(self.expression(Until::Item)?);
            if !self.cursor.eat_symbol(b',') {
                return Some(group);
            }
        }
    }

    /// A select list, of one item at least.
    pub(super) fn items(&mut self) -> Option<Vec<Item>> {
        let mut items = vec![self.item()?];
        while self.cursor.eat_symbol(b',') {
            items.push(self.item()?);
        }
        Some(items)
    }

    fn item(&mut self) -> Option<Item> {
        if self.cursor.is_operator("*") {
            let span = self.cursor.here();
            self.cursor.advance();
            return Some(Item {
                is_star: true,
                expression: Expression {
                    span,
                    ..Expression::default()
                },
                alias: None,
            });
        }
        let first = self.cursor.at();
        let mut expression = self.expression(Until::Item)?;
        let alias = if self.cursor.eat_word("as") {
            Some(self.cursor.label()?)
        } else if self.has_bare_alias(first) {
            let last = self.cursor.at() - 1;
            let mut again = self.cursor_at(last);
            let alias = again.label()?;
            expression
                .references
                .retain(|reference| reference.span != alias.span);
            expression.span.end = self.token(last.checked_sub(1)?)?.end;
            Some(alias)
        } else {
            None
        };
        Some(Item {
            is_star: false,
            expression,
            alias,
        })
    }

    /// Is the last token of the expression that began here a name for it?
    fn has_bare_alias(&self, first: usize) -> bool {
        let text = self.cursor.text();
        let Some(last) = self.cursor.at().checked_sub(1).filter(|last| *last > first) else {
            return false;
        };
        let (Some(token), Some(before)) = (self.token(last), self.token(last - 1)) else {
            return false;
        };
        let may_name = match token.kind {
            TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier => true,
            TokenKind::Word => {
                !keywords::is_reserved(token.text(text)) && !self.is_word_at(last, &NEEDS_AS)
            }
            _ => false,
        };
        may_name
            && match before.kind {
                TokenKind::Word if keywords::is_not_a_name(before.text(text)) => self.is_word_at(
                    last - 1,
                    &[
                        "null",
                        "true",
                        "false",
                        "end",
                        "user",
                        "current_user",
                        "session_user",
                        "current_role",
                        "current_date",
                        "current_time",
                        "current_timestamp",
                        "localtime",
                        "localtimestamp",
                        "current_catalog",
                        "current_schema",
                        "isnull",
                        "notnull",
                    ],
                ),
                TokenKind::Word => !self.is_word_at(
                    last - 1,
                    &[
                        "zone",
                        "escape",
                        "over",
                        "between",
                        "at",
                        "interval",
                        "json",
                        "normalized",
                        "document",
                    ],
                ),
                TokenKind::Operator | TokenKind::TypeCast | TokenKind::ColonEquals => false,
                TokenKind::Symbol(symbol) => matches!(symbol, b')' | b']'),
                _ => true,
            }
    }
}
