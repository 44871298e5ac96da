//! `now()` and its kind, told by a setting.
//!
//! Each replacement has the name, the type and the type modifier of what it replaces (measured on Postgres 15, column by
//! column); a scalar subquery may stand wherever they may, in a query: it runs once, and keeps the name of its column.

use crate::sql::classify::classify;
use crate::sql::cursor::Cursor;
use crate::sql::edit::Edit;
use crate::sql::lexer::{self, Token, TokenKind};
use crate::sql::statement::{Copy, Kind};
use crate::sql::value;

/// The setting that holds the virtual transaction's start: seconds since 1970-01-01 00:00 UTC with 6 decimals, which a
/// `float8` carries without loss until the year 2100.
pub const NOW_SETTING: &str = "devinprod.now";

const NOW: &str =
    "pg_catalog.to_timestamp(pg_catalog.current_setting('devinprod.now')::pg_catalog.float8)";

/// Edits that make every `now()`, `transaction_timestamp()`, `CURRENT_TIMESTAMP[(p)]`, `CURRENT_DATE`, `CURRENT_TIME[(p)]`,
/// `LOCALTIME[(p)]`, `LOCALTIMESTAMP[(p)]`, and every constant `'now'`, `'today'`, `'tomorrow'` and `'yesterday'` with its type written beside it, read
/// [`NOW_SETTING`].
///
/// Only queries, DML, EXPLAIN of them, DECLARE, CREATE TABLE … AS, COPY (query) and the body of a PREPARE are
/// edited: a default or a view's text must not hold what is meant for one session. Function calls in FROM
/// (`FROM now()`) are left alone, for a subquery there needs an alias.
pub fn now_edits(text: &str) -> Vec<Edit> {
    if !mentions_time(text) || !is_editable(text) {
        return Vec::new();
    }
    let tokens = lexer::significant(text);
    let mut search = Search {
        text,
        tokens: &tokens,
        levels: vec![Level::Query],
        edits: Vec::new(),
    };
    let mut at = 0;
    while at < tokens.len() {
        at = search.step(at).max(at + 1);
    }
    search.edits
}

/// A quick look before any work is done: most statements do not speak of the time.
fn mentions_time(text: &str) -> bool {
    const WORDS: [&[u8]; 7] = [
        b"now",
        b"current_",
        b"localtime",
        b"transaction_timestamp",
        b"today",
        b"tomorrow",
        b"yesterday",
    ];
    let bytes = text.as_bytes();
    let begins = |byte: u8| matches!(byte.to_ascii_lowercase(), b'n' | b'c' | b'l' | b't' | b'y');
    bytes.iter().enumerate().any(|(at, byte)| {
        begins(*byte)
            && WORDS.iter().any(|word| {
                bytes
                    .get(at..at + word.len())
                    .is_some_and(|here| here.eq_ignore_ascii_case(word))
            })
    })
}

/// Is this text run now and then forgotten, so that what is meant for one session may stand in it?
pub(super) fn is_editable(text: &str) -> bool {
    let statement = classify(text);
    match statement.kind {
        Kind::Read | Kind::EffectfulSelect | Kind::Write | Kind::CreateTable { .. } => {
            statement.facts.optimizable
        }
        Kind::Declare { .. } | Kind::Prepare { .. } | Kind::Copy(Copy::ToStdout { .. }) => true,
        _ => false,
    }
}

/// Which part of a query one level of parentheses is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Expressions: a function call may become a subquery.
    Query,
    /// A FROM clause: what stands directly in its list is a table.
    From,
    /// `ROWS FROM (…)`: only functions stand in its list.
    RowsFrom,
}

struct Search<'a> {
    text: &'a str,
    tokens: &'a [Token],
    levels: Vec<Level>,
    edits: Vec<Edit>,
}

impl Search<'_> {
    /// Looks at one token; the answer is the token to look at next.
    fn step(&mut self, at: usize) -> usize {
        let Some(token) = self.tokens.get(at) else {
            return at + 1;
        };
        match token.kind {
            TokenKind::Symbol(b'(') => {
                let is_rows_from = self.is_word(at, 1, "from") && self.is_word(at, 2, "rows");
                self.levels.push(if is_rows_from {
                    Level::RowsFrom
                } else {
                    Level::Query
                });
            }
            TokenKind::Symbol(b')') if self.levels.len() > 1 => {
                self.levels.pop();
            }
            TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier => {
                self.follow_clause(at, token);
                return self
                    .function(at, token)
                    .or_else(|| self.keyword(at, token))
                    .or_else(|| self.typed_constant(at))
                    .unwrap_or(at + 1);
            }
            kind if is_string(kind) => self.cast_constant(at, token),
            _ => {}
        }
        at + 1
    }

    fn follow_clause(&mut self, at: usize, token: &Token) {
        if token.kind != TokenKind::Word {
            return;
        }
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        let word = token.text(self.text);
        let is = |words: &[&str]| words.iter().any(|other| word.eq_ignore_ascii_case(other));
        if is(&[
            "where",
            "group",
            "having",
            "window",
            "order",
            "limit",
            "offset",
            "union",
            "intersect",
            "except",
        ]) || is(&["select", "returning", "set", "values", "fetch", "when"])
        {
            *level = Level::Query;
        } else if is(&["from", "using"])
            && !self.is_expression_from(at)
            && let Some(level) = self.levels.last_mut()
        {
            *level = Level::From;
        }
    }

    /// The FROM of `extract(field FROM …)` or of `IS [NOT] DISTINCT FROM`: it begins no clause.
    fn is_expression_from(&self, at: usize) -> bool {
        self.is_word(at, 1, "distinct") && (self.is_word(at, 2, "is") || self.is_word(at, 3, "is"))
            || (self.is_symbol(at, 2, b'(') && self.is_word(at, 3, "extract"))
    }

    /// `[pg_catalog.]now()` and `[pg_catalog.]transaction_timestamp()`.
    fn function(&mut self, at: usize, token: &Token) -> Option<usize> {
        let is_empty_call =
            self.symbol_ahead(at, 1) == Some(b'(') && self.symbol_ahead(at, 2) == Some(b')');
        if !is_empty_call {
            return None;
        }
        let name = value::identifier(token, self.text)?;
        if name != "now" && name != "transaction_timestamp" {
            return None;
        }
        let mut first = at;
        if self.is_symbol(at, 1, b'.') {
            first = at.checked_sub(2)?;
            let schema = value::identifier(self.tokens.get(first)?, self.text)?;
            if schema != "pg_catalog" || self.is_symbol(first, 1, b'.') {
                return None;
            }
        }
        if self.is_table(first) || self.is_word(first, 1, "as") {
            return None;
        }
        self.replace(first, at + 2, format!("(SELECT {NOW} AS {name})"))
    }

    /// `CURRENT_TIMESTAMP[(p)]` and its like: reserved words, so they are values unless they stand where a label does.
    fn keyword(&mut self, at: usize, token: &Token) -> Option<usize> {
        const TYPES: [(&str, &str); 5] = [
            ("current_timestamp", "timestamptz"),
            ("current_date", "date"),
            ("current_time", "timetz"),
            ("localtimestamp", "timestamp"),
            ("localtime", "time"),
        ];
        if token.kind != TokenKind::Word {
            return None;
        }
        let word = token.text(self.text);
        let (name, ty) = TYPES
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))?;
        if self.is_label(at) || self.is_table(at) {
            return None;
        }
        let mut precision = String::new();
        let mut last = at;
        if self.symbol_ahead(at, 1) == Some(b'(') {
            let number = self
                .tokens
                .get(at + 2)
                .filter(|token| token.kind == TokenKind::Number)?;
            if self.symbol_ahead(at, 3) != Some(b')') {
                return None;
            }
            precision = format!("({})", number.text(self.text));
            last = at + 3;
        }
        let cast = match (*name, precision.is_empty()) {
            ("current_timestamp", true) => String::new(),
            _ => format!("::pg_catalog.{ty}{precision}"),
        };
        self.replace(at, last, format!("(SELECT {NOW}{cast} AS {name})"))
    }

    /// `timestamp [(p)] [with time zone] 'now'`.
    fn typed_constant(&mut self, at: usize) -> Option<usize> {
        if self.is_symbol(at, 1, b'.') || matches!(self.before(at, 1)?.kind, TokenKind::TypeCast) {
            return None;
        }
        let mut cursor = Cursor::new(self.text, self.tokens.get(at..)?);
        let kind = time_type(&mut cursor)?;
        let string = cursor.peek().filter(|token| is_string(token.kind))?;
        let constant = constant(string, self.text, kind)?;
        let ty = self
            .text
            .get(self.tokens.get(at)?.start..self.tokens.get(at + cursor.at() - 1)?.end)?;
        self.replace(at, at + cursor.at(), format!("CAST({constant} AS {ty})"))
    }

    /// `'now'::timestamptz` and `CAST('now' AS timestamptz)`: the type stays where it is.
    fn cast_constant(&mut self, at: usize, token: &Token) {
        let is_cast = self.is_symbol(at, 1, b'(') && self.is_word(at, 2, "cast");
        let rest = self.tokens.get(at + 1..).unwrap_or_default();
        let mut cursor = Cursor::new(self.text, rest);
        let has_type = if is_cast {
            cursor.eat_word("as")
        } else {
            let is_type_cast = cursor
                .peek()
                .is_some_and(|token| token.kind == TokenKind::TypeCast);
            cursor.advance();
            is_type_cast
        };
        if !has_type {
            return;
        }
        if cursor.is_word("pg_catalog") {
            cursor.advance();
            cursor.eat_symbol(b'.');
        }
        let Some(kind) = time_type(&mut cursor) else {
            return;
        };
        if let Some(constant) = constant(token, self.text, kind) {
            self.edits.push(Edit::new(token.span(), constant));
        }
    }

    /// Does a table stand here: directly in a FROM list, or behind JOIN?
    fn is_table(&self, at: usize) -> bool {
        let is_item = self.is_symbol(at, 1, b',')
            || self.is_symbol(at, 1, b'(')
            || ["from", "using", "join", "lateral"]
                .iter()
                .any(|word| self.is_word(at, 1, word));
        match self.levels.last() {
            Some(Level::From) => is_item,
            Some(Level::RowsFrom) => true,
            _ => self.is_word(at, 1, "join") || self.is_word(at, 1, "lateral"),
        }
    }

    /// Does a label stand here (`AS current_date`, `t.current_date`, `1 current_date`)? A value comes only behind a symbol, an
    /// operator or one of the words that an expression follows.
    fn is_label(&self, at: usize) -> bool {
        const BEFORE_VALUE: [&str; 32] = [
            "all",
            "and",
            "any",
            "asymmetric",
            "between",
            "by",
            "case",
            "distinct",
            "else",
            "escape",
            "from",
            "having",
            "ilike",
            "in",
            "is",
            "like",
            "limit",
            "not",
            "offset",
            "on",
            "or",
            "placing",
            "returning",
            "select",
            "some",
            "symmetric",
            "then",
            "to",
            "using",
            "variadic",
            "when",
            "where",
        ];
        match self.before(at, 1) {
            None => true,
            Some(before) => match before.kind {
                TokenKind::Symbol(symbol) => matches!(symbol, b')' | b']' | b'.'),
                TokenKind::Operator => false,
                TokenKind::ColonEquals => false,
                TokenKind::Word => {
                    let word = before.text(self.text);
                    !BEFORE_VALUE
                        .iter()
                        .any(|other| word.eq_ignore_ascii_case(other))
                }
                _ => true,
            },
        }
    }

    /// Replaces the tokens `first..=last`; the answer is the token behind them.
    fn replace(&mut self, first: usize, last: usize, text: String) -> Option<usize> {
        let (start, end) = (self.tokens.get(first)?.start, self.tokens.get(last)?.end);
        self.edits.push(Edit::new(start..end, text));
        Some(last + 1)
    }

    fn before(&self, at: usize, back: usize) -> Option<&Token> {
        self.tokens.get(at.checked_sub(back)?)
    }

    /// Is the token `back` before this one that word?
    fn is_word(&self, at: usize, back: usize, word: &str) -> bool {
        self.before(at, back).is_some_and(|token| {
            token.kind == TokenKind::Word && token.text(self.text).eq_ignore_ascii_case(word)
        })
    }

    fn is_symbol(&self, at: usize, back: usize, symbol: u8) -> bool {
        self.before(at, back)
            .is_some_and(|token| token.kind == TokenKind::Symbol(symbol))
    }

    fn symbol_ahead(&self, at: usize, ahead: usize) -> Option<u8> {
        match self.tokens.get(at + ahead)?.kind {
            TokenKind::Symbol(symbol) => Some(symbol),
            _ => None,
        }
    }
}

/// A type that has a `'now'`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TimeType {
    /// With a date: it has a `'today'`, too.
    Dated,
    /// `time` and `timetz`.
    Time,
}

/// Passes `timestamp [(p)] [{with | without} time zone]` and its like.
fn time_type(cursor: &mut Cursor<'_>) -> Option<TimeType> {
    let kind = if cursor.is_any_word(&["timestamp", "timestamptz", "date"]) {
        TimeType::Dated
    } else if cursor.is_any_word(&["time", "timetz"]) {
        TimeType::Time
    } else {
        return None;
    };
    cursor.advance();
    eat_precision(cursor);
    if !cursor.eat_words(&["with", "time", "zone"]) {
        cursor.eat_words(&["without", "time", "zone"]);
    }
    // `timestamptz[]` has no 'now'.
    (!cursor.is_symbol(b'[')).then_some(kind)
}

/// `(p)`, and nothing else in parentheses.
fn eat_precision(cursor: &mut Cursor<'_>) {
    let mut ahead = cursor.clone();
    let is_open = ahead.eat_symbol(b'(');
    let is_number = ahead
        .peek()
        .is_some_and(|token| token.kind == TokenKind::Number);
    ahead.advance();
    if is_open && is_number && ahead.eat_symbol(b')') {
        *cursor = ahead;
    }
}

/// The expression for a constant of that type, in parentheses and without a name of its own, as a constant has none.
fn constant(token: &Token, text: &str, kind: TimeType) -> Option<String> {
    let value = value::string_value(token, text)?;
    let days = match (value.trim().to_ascii_lowercase().as_str(), kind) {
        ("now", _) => {
            return Some(format!(
                "({NOW} OPERATOR(pg_catalog.+) '0'::pg_catalog.interval)"
            ));
        }
        ("today", TimeType::Dated) => 0,
        ("tomorrow", TimeType::Dated) => 1,
        ("yesterday", TimeType::Dated) => -1,
        _ => return None,
    };
    Some(format!(
        "(pg_catalog.date_trunc('day', {NOW}) OPERATOR(pg_catalog.+) '{days} day'::pg_catalog.interval)"
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::edit::Edits;

    /// The statement with each replacement shortened to `{what}`.
    fn edited(text: &str) -> String {
        let mut edits = Edits::new();
        for edit in now_edits(text) {
            let short = edit
                .text
                .replace(NOW, "NOW")
                .replace(" OPERATOR(pg_catalog.+) ", "+")
                .replace("pg_catalog.", "");
            edits.add(Edit::new(edit.range, short)).unwrap();
        }
        edits.apply(text).unwrap().text
    }

    #[test]
    fn the_time_is_read_from_the_setting() {
        assert!(NOW.contains(NOW_SETTING));
        let cases: &[(&str, &str)] = &[
            ("select now()", "select (SELECT NOW AS now)"),
            (
                "select pg_catalog . now ( ) x",
                "select (SELECT NOW AS now) x",
            ),
            ("select \"now\"()", "select (SELECT NOW AS now)"),
            (
                "select TRANSACTION_TIMESTAMP()",
                "select (SELECT NOW AS transaction_timestamp)",
            ),
            (
                "select current_timestamp, CURRENT_TIMESTAMP(3)",
                "select (SELECT NOW AS current_timestamp), (SELECT NOW::timestamptz(3) AS current_timestamp)",
            ),
            (
                "select current_date - 1",
                "select (SELECT NOW::date AS current_date) - 1",
            ),
            (
                "select current_time(2)",
                "select (SELECT NOW::timetz(2) AS current_time)",
            ),
            (
                "select localtime, localtimestamp(0)",
                "select (SELECT NOW::time AS localtime), (SELECT NOW::timestamp(0) AS localtimestamp)",
            ),
            (
                "select 'now'::timestamptz, ' Now '::pg_catalog.date",
                "select (NOW+'0'::interval)::timestamptz, (NOW+'0'::interval)::pg_catalog.date",
            ),
            (
                "select timestamp(3) with time zone 'now'",
                "select CAST((NOW+'0'::interval) AS timestamp(3) with time zone)",
            ),
            (
                "select date 'tomorrow', cast('yesterday' as date)",
                "select CAST((date_trunc('day', NOW)+'1 day'::interval) AS date), cast((date_trunc('day', NOW)+'-1 day'::interval) as date)",
            ),
            (
                "update t set a = now() where b < current_timestamp returning now()",
                "update t set a = (SELECT NOW AS now) where b < (SELECT NOW AS current_timestamp) returning (SELECT NOW AS now)",
            ),
            (
                "insert into t values (1, now()), (2, current_date) on conflict (id) do update set x = now()",
                "insert into t values (1, (SELECT NOW AS now)), (2, (SELECT NOW::date AS current_date)) \
              on conflict (id) do update set x = (SELECT NOW AS now)",
            ),
            (
                "select extract(epoch from now()) from t where a is distinct from now()",
                "select extract(epoch from (SELECT NOW AS now)) from t where a is distinct from (SELECT NOW AS now)",
            ),
            (
                "select * from t join u on t.a < now() where f(now()) order by now()",
                "select * from t join u on t.a < (SELECT NOW AS now) where f((SELECT NOW AS now)) order by (SELECT NOW AS now)",
            ),
            (
                "select * from generate_series(now(), now(), '1d')",
                "select * from generate_series((SELECT NOW AS now), (SELECT NOW AS now), '1d')",
            ),
            (
                "create table t as select now()",
                "create table t as select (SELECT NOW AS now)",
            ),
            (
                "declare c cursor for select now()",
                "declare c cursor for select (SELECT NOW AS now)",
            ),
            (
                "copy (select now()) to stdout",
                "copy (select (SELECT NOW AS now)) to stdout",
            ),
            (
                "prepare p as select now()",
                "prepare p as select (SELECT NOW AS now)",
            ),
            ("explain select now()", "explain select (SELECT NOW AS now)"),
            (
                "select case when current_date > a then now() else localtime end",
                "select case when (SELECT NOW::date AS current_date) > a then (SELECT NOW AS now) else (SELECT NOW::time AS localtime) end",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(edited(text), *expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_the_time_stays() {
        for text in [
            "select now from t",
            "select app.now(), a.pg_catalog.now()",
            "select now(1)",
            "select 1 as current_date, t.localtime, a current_timestamp, (1) current_time",
            "select 'now', 'now'::text, 'now()', $$now()$$ -- now()",
            "select 'today'::time",
            "select 'now'::timestamptz[]",
            "select * from now()",
            "select * from t, now() where true",
            "select * from t cross join lateral now()",
            "select * from rows from (now(), current_date)",
            "create table t (a timestamptz default now())",
            "create view v as select now()",
            "create materialized view v as select now()",
            "alter table t alter a set default now()",
            "call p(now())",
            "execute p(now())",
            "copy t from stdin where a < now()",
            "set a = 'now'",
            "begin",
        ] {
            assert_eq!(edited(text), text);
        }
    }
}
