//! Expressions: the names that they mention and the statements that are nested in them.

use super::{Expression, Nested, Reader, Reference};
use crate::sql::cursor::Cursor;
use crate::sql::keywords;
use crate::sql::lexer::TokenKind;

/// Where an expression ends; a parenthesis or bracket that closes more than it opened ends it always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Nothing else.
    Close,
    /// A word that begins another clause.
    Clause,
    /// That, a comma, and AS.
    Item,
}

/// Functions that PostgreSQL ships as aggregates (`pg_proc.prokind = 'a'`, Postgres 15 to 18), as far as they take arguments.
const AGGREGATES: [&str; 56] = [
    "any_value",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "cume_dist",
    "dense_rank",
    "every",
    "json_agg",
    "json_agg_strict",
    "json_arrayagg",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "json_objectagg",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "max",
    "min",
    "mode",
    "percent_rank",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "range_intersect_agg",
    "rank",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
    "xmlagg",
];

impl<'a> Reader<'a> {
    /// An expression, or a list of them where commas do not end it.
    pub(super) fn expression(&mut self, until: Until) -> Option<Expression> {
        let start = self.cursor.here().start;
        let mut expression = Expression::default();
        let before = self.cursor.at();
        self.scan(&mut expression, until, false)?;
        // Nothing is no expression, save in parentheses.
        if self.cursor.at() == before && until != Until::Close {
            return None;
        }
        expression.span = start..self.end().max(start);
        Some(expression)
    }

    /// `(…)` as a part of an expression.
    pub(super) fn group_of(&mut self, found: &mut Expression, in_aggregate: bool) -> Option<()> {
        if !self.cursor.eat_symbol(b'(') {
            return None;
        }
        self.nested(1, |reader| reader.scan(found, Until::Close, in_aggregate))?;
        self.cursor.eat_symbol(b')').then_some(())
    }

    /// A cursor that stands at this index.
    pub(super) fn cursor_at(&self, at: usize) -> Cursor<'a> {
        Cursor::new(
            self.cursor.text(),
            self.tokens.get(at..).unwrap_or_default(),
        )
    }

    fn scan(&mut self, found: &mut Expression, until: Until, in_aggregate: bool) -> Option<()> {
        let mut cases = 0_usize;
        while let Some(token) = self.cursor.peek() {
            match token.kind {
                TokenKind::Symbol(b')' | b']' | b';') => return Some(()),
                TokenKind::Symbol(b',') if until == Until::Item => return Some(()),
                TokenKind::Symbol(b'(') if self.is_query(self.cursor.at()) => {
                    let statement = self.in_parens()?;
                    found.statements.push(Nested {
                        statement,
                        in_aggregate,
                    });
                }
                TokenKind::Symbol(b'(') => self.group_of(found, in_aggregate)?,
                TokenKind::Symbol(b'[') => {
                    self.cursor.advance();
                    self.nested(1, |reader| reader.scan(found, Until::Close, in_aggregate))?;
                    if !self.cursor.eat_symbol(b']') {
                        return None;
                    }
                }
                // A field of what stands before the dot.
                TokenKind::Symbol(b'.') => {
                    self.cursor.advance();
                    self.cursor.advance();
                }
                TokenKind::TypeCast => {
                    self.cursor.advance();
                    self.type_name()?;
                }
                TokenKind::Word => {
                    if until != Until::Close && cases == 0 && self.ends_clause(until) {
                        return Some(());
                    }
                    if self.cursor.is_word("case") {
                        cases += 1;
                        self.cursor.advance();
                    } else if self.cursor.is_word("end") && cases > 0 {
                        cases -= 1;
                        self.cursor.advance();
                    } else {
                        self.word(found, in_aggregate)?;
                    }
                }
                TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier => {
                    self.name(found, in_aggregate)?;
                }
                TokenKind::Unterminated | TokenKind::Other => return None,
                _ => self.cursor.advance(),
            }
        }
        Some(())
    }

    /// Does this word begin another clause?
    fn ends_clause(&self, until: Until) -> bool {
        const CLAUSES: [&str; 16] = [
            "where",
            "having",
            "window",
            "union",
            "intersect",
            "except",
            "order",
            "limit",
            "offset",
            "fetch",
            "into",
            "returning",
            "on",
            "when",
            "then",
            "do",
        ];
        let at = self.cursor.at();
        let before = |back: usize, words: &[&str]| {
            at.checked_sub(back)
                .is_some_and(|at| self.is_word_at(at, words))
        };
        let length = self.cursor.peek_text().len();
        if !(2..=9).contains(&length) {
            return false;
        }
        if self.is_word_at(at, &CLAUSES) {
            return true;
        }
        match () {
            () if self.cursor.is_word("as") => until == Until::Item,
            () if self.cursor.is_word("from") => {
                !(before(1, &["distinct"])
                    && (before(2, &["is"]) || (before(2, &["not"]) && before(3, &["is"]))))
            }
            () if self.cursor.is_word("group") => !before(1, &["within"]),
            () if self.cursor.is_word("for") => true,
            () if self.cursor.is_word("loop") => self.in_routine,
            () if self.cursor.is_word("with") => !self.is_word_at(at + 1, &["time", "ties"]),
            () => self.begins_join(at),
        }
    }

    /// A word: a keyword, a function, or a name.
    fn word(&mut self, found: &mut Expression, in_aggregate: bool) -> Option<()> {
        let at = self.cursor.at();
        let text = self.cursor.peek_text();
        if self.cursor.eat_word("as") {
            // CAST (x AS type), a name for an argument, or WINDOW w AS (…).
            return match self.cursor.is_symbol(b'(') {
                true => Some(()),
                false => self.type_name(),
            };
        }
        if self.cursor.eat_words(&["at", "time", "zone"]) {
            return Some(());
        }
        if self.cursor.is_word("nulls") && self.is_word_at(at + 1, &["first", "last"]) {
            self.cursor.advance();
            self.cursor.advance();
            return Some(());
        }
        if self.cursor.eat_word("collate") {
            self.cursor.relation();
            return Some(());
        }
        if self.cursor.is_word("filter") && self.is_symbol_at(at + 1, b'(') {
            self.cursor.advance();
            return self.group_of(found, true);
        }
        if self.cursor.eat_words(&["within", "group"]) {
            return self.group_of(found, true);
        }
        if self.cursor.is_word("over") && !self.is_symbol_at(at + 1, b'(') {
            self.cursor.advance();
            self.cursor.name();
            return Some(());
        }
        let is_call = self.is_symbol_at(at + 1, b'(');
        if keywords::is_reserved(text) || (keywords::is_not_a_name(text) && !is_call) {
            self.cursor.advance();
            return Some(());
        }
        self.name(found, in_aggregate)
    }

    /// A dotted name and, if it is a function, its arguments.
    fn name(&mut self, found: &mut Expression, in_aggregate: bool) -> Option<()> {
        let start = self.cursor.here().start;
        let Some(first) = self.cursor.label() else {
            self.cursor.advance();
            return Some(());
        };
        let mut parts = vec![first];
        let mut has_star = false;
        while !has_star && self.cursor.is_symbol(b'.') {
            let before = self.cursor.clone();
            self.cursor.advance();
            if self.cursor.eat_operator("*") {
                has_star = true;
            } else if let Some(next) = self.cursor.label() {
                parts.push(next);
            } else {
                self.cursor = before;
                self.cursor.advance();
                return Some(());
            }
        }
        if self.cursor.is_symbol(b'(') {
            let name = parts
                .last()
                .map(|name| name.value.as_str())
                .unwrap_or_default();
            let aggregates = AGGREGATES.binary_search(&name).is_ok() && !self.is_window_call();
            if self.is_query(self.cursor.at()) {
                let statement = self.in_parens()?;
                found.statements.push(Nested {
                    statement,
                    in_aggregate: in_aggregate || aggregates,
                });
                return Some(());
            }
            return self.group_of(found, in_aggregate || aggregates);
        }
        let is_argument_name = self.cursor.is_operator("=>")
            || self
                .cursor
                .peek()
                .is_some_and(|token| token.kind == TokenKind::ColonEquals);
        let is_type = parts.len() == 1
            && self
                .cursor
                .peek()
                .is_some_and(|token| is_string(token.kind));
        if !is_argument_name && !is_type {
            found.references.push(Reference {
                parts,
                has_star,
                span: start..self.end(),
                in_aggregate,
            });
        }
        Some(())
    }

    /// Does OVER follow the call whose parenthesis opens here?
    fn is_window_call(&self) -> bool {
        let Some(mut behind) = self.closing(self.cursor.at()).map(|close| close + 1) else {
            return false;
        };
        if self.is_word_at(behind, &["within"]) && self.is_word_at(behind + 1, &["group"]) {
            behind = self.closing(behind + 2).map_or(behind, |close| close + 1);
        }
        if self.is_word_at(behind, &["filter"]) && self.is_symbol_at(behind + 1, b'(') {
            behind = self.closing(behind + 1).map_or(behind, |close| close + 1);
        }
        self.is_word_at(behind, &["over"])
    }

    /// A type: `double precision`, `varchar(20)[]`, `timestamp with time zone` …
    pub(super) fn type_name(&mut self) -> Option<()> {
        self.cursor.eat_word("setof");
        let is_interval = self.cursor.is_word("interval");
        self.cursor.label()?;
        while self.cursor.eat_symbol(b'.') {
            self.cursor.label()?;
        }
        while self.cursor.eat_any_word(&["precision", "varying"]) {}
        let _modifiers = self.cursor.parens();
        if self.cursor.is_any_word(&["with", "without"]) && self.cursor.is_word_ahead(1, "time") {
            self.cursor.advance();
            self.cursor.eat_words(&["time", "zone"]);
        }
        const FIELDS: [&str; 7] = ["year", "month", "day", "hour", "minute", "second", "to"];
        while is_interval && self.cursor.eat_any_word(&FIELDS) {}
        self.cursor.eat_word("array");
        while self.cursor.is_symbol(b'[') {
            let close = self.closing(self.cursor.at())?;
            while self.cursor.at() <= close {
                self.cursor.advance();
            }
        }
        Some(())
    }
}

fn is_string(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::String
            | TokenKind::EscapeString
            | TokenKind::UnicodeString
            | TokenKind::DollarString
    )
}
