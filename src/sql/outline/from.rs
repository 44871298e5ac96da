//! FROM and USING: relations, joins, aliases.

use super::expression::Until;
use super::{Alias, Expression, FromItem, Join, Reader, Relation, STATEMENT};
use crate::sql::lexer::TokenKind;

impl Reader<'_> {
    /// The list behind FROM or USING.
    pub(super) fn item_list(&mut self) -> Option<Vec<FromItem>> {
        let mut list = vec![self.listed_item()?];
        while self.cursor.eat_symbol(b',') {
            list.push(self.listed_item()?);
        }
        Some(list)
    }

    /// One item of FROM, its joins included.
    pub(super) fn listed_item(&mut self) -> Option<FromItem> {
        self.nested(STATEMENT, |reader| {
            let mut item = reader.primary()?;
            while reader.begins_join(reader.cursor.at()) {
                item = reader.join(item)?;
            }
            Some(item)
        })
    }

    /// Do the words at this index begin a join, after its left side?
    pub(super) fn begins_join(&self, at: usize) -> bool {
        if self.is_word_at(at, &["join"]) {
            return true;
        }
        let next = |words: &[&str]| self.is_word_at(at + 1, words);
        if self.is_word_at(at, &["natural"]) {
            return next(&["join", "inner", "left", "right", "full"]);
        }
        (self.is_word_at(at, &["left", "right", "full"]) && next(&["join", "outer"]))
            || (self.is_word_at(at, &["inner", "cross"]) && next(&["join"]))
    }

    /// A join and its right side.
    fn join(&mut self, left: FromItem) -> Option<FromItem> {
        let natural = self.cursor.eat_word("natural");
        let cross = self.cursor.eat_word("cross");
        let full = self.cursor.eat_word("full");
        self.cursor.eat_any_word(&["inner", "left", "right"]);
        self.cursor.eat_word("outer");
        if !self.cursor.eat_word("join") {
            return None;
        }
        let mut right = self.primary()?;
        let mut join = Join {
            left,
            right: FromItem::Function {
                expression: Expression::default(),
                name: None,
            },
            natural,
            full,
            using: Vec::new(),
            on: None,
            alias: None,
        };
        if !natural && !cross {
            // `a JOIN b JOIN c ON … ON …`: the inner join's condition comes first.
            while self.begins_join(self.cursor.at()) {
                right = self.nested(STATEMENT, |reader| reader.join(right))?;
            }
            if self.cursor.eat_word("using") {
                join.using = self.names()?;
                if self.cursor.eat_word("as") {
                    self.cursor.name()?;
                }
            } else if self.cursor.eat_word("on") {
                join.on = Some(self.expression(Until::Clause)?);
            } else {
                return None;
            }
        }
        join.right = right;
        Some(FromItem::Join(Box::new(join)))
    }

    /// `(name, …)`.
    pub(super) fn names(&mut self) -> Option<Vec<crate::sql::statement::Name>> {
        if !self.cursor.eat_symbol(b'(') {
            return None;
        }
        let mut names = vec![self.cursor.name()?];
        while self.cursor.eat_symbol(b',') {
            names.push(self.cursor.name()?);
        }
        self.cursor.eat_symbol(b')').then_some(names)
    }

    fn primary(&mut self) -> Option<FromItem> {
        let lateral = self.cursor.eat_word("lateral");
        if self.cursor.is_symbol(b'(') {
            if self.is_query(self.cursor.at()) {
                let statement = Box::new(self.in_parens()?);
                let alias = self.alias();
                return Some(FromItem::Statement {
                    lateral,
                    statement,
                    alias,
                });
            }
            self.cursor.advance();
            let mut inner = self.listed_item()?;
            if !self.cursor.eat_symbol(b')') {
                return None;
            }
            if let Some(alias) = self.alias() {
                match &mut inner {
                    FromItem::Join(join) => join.alias = Some(alias),
                    _ => return None,
                }
            }
            return Some(inner);
        }
        if self.is_function() {
            return self.function();
        }
        let relation = self.relation(true)?;
        Some(FromItem::Relation(relation))
    }

    /// `[ONLY] name [*] [[AS] alias] [TABLESAMPLE …]`.
    pub(super) fn relation(&mut self, may_sample: bool) -> Option<Relation> {
        let start = self.cursor.here().start;
        let (name, only) = self.cursor.relation_expression()?;
        let mut relation = Relation {
            name,
            only,
            span: start..self.end(),
            alias: self.alias(),
            sample: None,
        };
        if may_sample && self.cursor.is_word("tablesample") {
            let start = self.cursor.here().start;
            self.cursor.advance();
            self.cursor.relation()?;
            let mut sample = Expression::default();
            self.group_of(&mut sample, false)?;
            if self.cursor.eat_word("repeatable") {
                self.group_of(&mut sample, false)?;
            }
            sample.span = start..self.end();
            relation.sample = Some(sample);
        }
        Some(relation)
    }

    /// Is this a function, and no relation?
    fn is_function(&self) -> bool {
        let mut cursor = self.cursor.clone();
        if cursor.is_word("rows") && cursor.is_word_ahead(1, "from") {
            return true;
        }
        if cursor.is_word("only") {
            return false;
        }
        // Functions may bear names that no relation may.
        if cursor.relation().is_none() {
            return self.is_bare_function() || (cursor.label().is_some() && cursor.is_symbol(b'('));
        }
        cursor.is_symbol(b'(')
    }

    /// CURRENT_DATE and its kind, without parentheses.
    fn is_bare_function(&self) -> bool {
        const BARE: [&str; 10] = [
            "current_catalog",
            "current_date",
            "current_role",
            "current_time",
            "current_timestamp",
            "current_user",
            "localtime",
            "localtimestamp",
            "session_user",
            "user",
        ];
        self.is_word_at(self.cursor.at(), &BARE) && !self.is_symbol_at(self.cursor.at() + 1, b'(')
    }

    fn function(&mut self) -> Option<FromItem> {
        let start = self.cursor.here().start;
        let mut expression = Expression::default();
        let mut name = None;
        let is_bare = self.is_bare_function();
        if !self.cursor.eat_words(&["rows", "from"]) {
            let mut label = self.cursor.label()?;
            while self.cursor.eat_symbol(b'.') {
                label = self.cursor.label()?;
            }
            name = Some(label);
        }
        if !is_bare {
            self.group_of(&mut expression, false)?;
        }
        if self.cursor.is_word("with") && self.cursor.is_word_ahead(1, "ordinality") {
            self.cursor.eat_words(&["with", "ordinality"]);
        }
        expression.span = start..self.end();
        // `AS (a int, b text)` or `AS alias (a int, b text)` are column definitions.
        let has_as = self.cursor.eat_word("as");
        if !self.cursor.is_word("set")
            && let Some(alias) = self.cursor.name()
        {
            name = Some(alias);
            let _columns = self.cursor.parens();
        } else if has_as {
            self.cursor.parens()?;
        }
        Some(FromItem::Function { expression, name })
    }

    /// `[AS] name [(column, …)]`.
    pub(super) fn alias(&mut self) -> Option<Alias> {
        let before = self.cursor.clone();
        let start = self.cursor.here().start;
        let has_as = self.cursor.eat_word("as");
        // `UPDATE t SET …`: SET is no alias without AS.
        let name = if !has_as && self.cursor.is_word("set") {
            None
        } else {
            self.cursor.name()
        };
        let Some(name) = name else {
            self.cursor = before;
            return None;
        };
        let mut columns = Vec::new();
        let holds_names = self.token(self.cursor.at() + 1).is_some_and(|token| {
            matches!(
                token.kind,
                TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier
            )
        });
        if self.cursor.is_symbol(b'(') && holds_names {
            let at_list = self.cursor.clone();
            match self.names() {
                Some(names) => columns = names,
                None => self.cursor = at_list,
            }
        }
        Some(Alias {
            name,
            columns,
            span: start..self.end(),
        })
    }
}
