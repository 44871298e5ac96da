//! Which relations a statement reads: [`reads`], the one place where SQL is parsed into a tree.
//!
//! The tree says where a name stands for a relation and where for a common table expression; the name itself is
//! read from the tokens, by Postgres' rules. A few forms that the parser accepts but misreads (`FROM ONLY t`,
//! `SELECT a AND FROM t`, `UNION TABLE t`, `COPY t`) are found from the tokens alone. Nothing here is a
//! boundary: a relation that goes unseen is one that Postgres itself still guards.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, ObjectNamePart, Query, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Location;

use super::classify::classify;
use super::cursor::Cursor;
use super::lexer::{self, Token, TokenKind};
use super::statement::{Copy, Kind, RelationName};

/// Bytes of SQL that are parsed on the caller's own stack.
const SMALL: usize = 1024;

/// Bytes of SQL beyond which nothing is parsed.
const LARGE: usize = 256 * 1024;

/// Stack that one byte of SQL may need. A chain of `a+a+a…` nests once for every two bytes, one of `a!!!…` for every byte,
/// and a level takes less than 1 KiB to visit and to drop (measured without optimisation).
const STACK_PER_BYTE: usize = 2048;

/// Stack for what does not grow with the text.
const MIN_STACK: usize = 1 << 20;

/// The relations that the statement reads, in the order of their places, common table expressions left out.
///
/// None: it may read anything, for it could not be parsed, is too long to be, or runs code (DO, CALL, EXECUTE).
pub fn reads(text: &str) -> Option<Vec<RelationName>> {
    let kind = classify(text).kind;
    let tokens = lexer::significant(text);
    let mut created = None;
    match kind {
        Kind::CreateTable { name, .. } => created = name.map(|name| name.span.start),
        Kind::Read
        | Kind::EffectfulSelect
        | Kind::Write
        | Kind::Declare { .. }
        | Kind::Ddl
        | Kind::Prepare { .. } => {}
        Kind::Copy(copy) => {
            if let Some(copied) = copied(text, &tokens, copy) {
                return Some(copied);
            }
        }
        Kind::Code | Kind::Execute { .. } | Kind::Unknown => return None,
        _ => return Some(Vec::new()),
    }
    if let Some(table) = whole_table(text, &tokens) {
        return Some(vec![table]);
    }
    // The parser knows neither of these; what they hold it does.
    let body = body(text, &tokens);
    let places = parse(text.get(body.clone())?)?;
    let mut starts: BTreeSet<usize> = places
        .relations
        .iter()
        .map(|place| body.start + place)
        .collect();
    let aliases: BTreeSet<usize> = places
        .common_tables
        .iter()
        .map(|place| body.start + place)
        .collect();
    starts.extend(
        named_by_tokens(text, &tokens)
            .into_iter()
            .filter(|start| !aliases.contains(start)),
    );
    let relation_at = |start: usize| {
        let at = tokens.partition_point(|token| token.start < start);
        let is_target = at > 0
            && tokens
                .get(at - 1)
                .is_some_and(|before| is_word(before, text, "into"));
        let only = tokens
            .get(at)
            .is_some_and(|token| is_word(token, text, "only"));
        if is_target || only || created == Some(start) {
            return None;
        }
        let mut cursor = Cursor::new(text, tokens.get(at..)?);
        // Behind FROM, a name with parentheses is a function.
        cursor.relation().filter(|_| !cursor.is_symbol(b'('))
    };
    Some(starts.into_iter().filter_map(relation_at).collect())
}

/// The relation of `TABLE name` as a whole statement, which the parser does not know.
fn whole_table(text: &str, tokens: &[Token]) -> Option<RelationName> {
    let mut cursor = Cursor::new(text, tokens);
    let (relation, _) = cursor
        .eat_word("table")
        .then(|| cursor.relation_expression())??;
    (cursor.at_end() || cursor.is_symbol(b';')).then_some(relation)
}

/// What COPY with a table reads; None for COPY (query).
fn copied(text: &str, tokens: &[Token], copy: Copy) -> Option<Vec<RelationName>> {
    let mut cursor = Cursor::new(text, tokens.get(1..)?);
    if cursor.is_symbol(b'(') {
        return None;
    }
    if !cursor.is_word_ahead(1, "to") && !cursor.is_word_ahead(1, "from") {
        cursor.eat_word("binary");
    }
    let (relation, _) = cursor.relation_expression()?;
    let _columns = cursor.parens();
    let is_read = copy != Copy::FromStdin && cursor.is_word("to");
    Some(if is_read { vec![relation] } else { Vec::new() })
}

/// The part of the text to parse: the query of COPY, DECLARE and PREPARE, or all of it.
fn body(text: &str, tokens: &[Token]) -> std::ops::Range<usize> {
    let all = 0..text.len();
    let mut cursor = Cursor::new(text, tokens);
    let begins = if cursor.eat_word("copy") {
        return cursor.parens().unwrap_or(all);
    } else if cursor.eat_word("declare") {
        "for"
    } else if cursor.eat_word("prepare") {
        "as"
    } else {
        return all;
    };
    while !cursor.at_end() {
        if cursor.eat_word(begins) {
            return cursor.here().start..text.len();
        }
        cursor.advance();
    }
    all
}

/// Names behind FROM, JOIN, ONLY and TABLE, whatever the parser made of them: where they begin.
fn named_by_tokens(text: &str, tokens: &[Token]) -> Vec<usize> {
    let mut starts = Vec::new();
    for at in 0..tokens.len() {
        let mut cursor = Cursor::new(text, tokens.get(at..).unwrap_or_default());
        let before = |word: &str| {
            at > 0
                && tokens
                    .get(at - 1)
                    .is_some_and(|token| is_word(token, text, word))
        };
        let introduces = match () {
            () if cursor.is_word("from") => !is_expression_from(text, tokens, at),
            () if cursor.is_word("table") => {
                at == 0
                    || ["union", "intersect", "except", "all", "distinct", "as"]
                        .into_iter()
                        .any(before)
                    || tokens
                        .get(at - 1)
                        .is_some_and(|token| token.kind == TokenKind::Symbol(b'('))
            }
            () => cursor.is_word("join"),
        };
        if !introduces {
            continue;
        }
        cursor.advance();
        if cursor.eat_word("only") {
            cursor.eat_symbol(b'(');
        }
        let start = cursor.here().start;
        if cursor.relation().is_some() && !cursor.is_symbol(b'(') {
            starts.push(start);
        }
    }
    starts
}

/// The FROM of `extract(… FROM …)`, `trim(… FROM …)` and their like, or of `IS DISTINCT FROM`.
fn is_expression_from(text: &str, tokens: &[Token], at: usize) -> bool {
    const FUNCTIONS: [&str; 5] = ["extract", "trim", "substring", "overlay", "position"];
    let word = |at: usize, word: &str| {
        tokens
            .get(at)
            .is_some_and(|token| is_word(token, text, word))
    };
    if at > 0 && word(at - 1, "distinct") {
        return at > 1 && !word(at - 2, "select");
    }
    // Back to the parenthesis that is open here; a short way in all that people write.
    let mut depth = 0_usize;
    for back in (0..at).rev().take(200) {
        match tokens.get(back).map(|token| token.kind) {
            Some(TokenKind::Symbol(b')')) => depth += 1,
            Some(TokenKind::Symbol(b'(')) if depth == 0 => {
                let calls = |name: &&str| back > 0 && word(back - 1, name);
                return FUNCTIONS.iter().any(calls);
            }
            Some(TokenKind::Symbol(b'(')) => depth -= 1,
            _ => {}
        }
    }
    false
}

fn is_word(token: &Token, text: &str, word: &str) -> bool {
    token.kind == TokenKind::Word && token.text(text).eq_ignore_ascii_case(word)
}

/// Where the names begin that the tree takes for relations, and those that it takes for common table expressions.
#[derive(Debug, Default)]
struct Places {
    relations: Vec<usize>,
    common_tables: Vec<usize>,
}

/// Parses and walks the tree where there is stack enough: it nests as deep as the text is long, and so does its drop.
fn parse(text: &str) -> Option<Places> {
    match text.len() {
        0..=SMALL => parse_here(text),
        length if length <= LARGE => std::thread::scope(|scope| {
            let stack = MIN_STACK + length * STACK_PER_BYTE;
            let thread = std::thread::Builder::new()
                .name("sql-parse".to_owned())
                .stack_size(stack)
                .spawn_scoped(scope, || parse_here(text));
            thread.ok()?.join().ok()?
        }),
        _ => None,
    }
}

fn parse_here(text: &str) -> Option<Places> {
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
    let mut search = Search::default();
    let _ = statements.visit(&mut search);
    let lines = Lines::new(text);
    let offsets = |places: Vec<Location>| {
        places
            .into_iter()
            .filter_map(|place| lines.offset(place))
            .collect()
    };
    Some(Places {
        relations: offsets(search.relations),
        common_tables: offsets(search.common_tables),
    })
}

/// Collects relations, and knows which common table expressions are in sight.
#[derive(Default)]
struct Search {
    relations: Vec<Location>,
    common_tables: Vec<Location>,
    scopes: Vec<Scope>,
}

/// One query's WITH, or the body of one of its expressions.
#[derive(Default)]
struct Scope {
    /// Folded names, each with its query's address: the only way to know that query again when it is visited.
    tables: Vec<(String, *const Query)>,
    recursive: bool,
    /// How many of the names are in sight from where the walk is.
    visible: usize,
}

impl Visitor for Search {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let address: *const Query = query;
        // Inside of its own WITH, an expression sees those before it, with RECURSIVE all of them.
        if let Some(scope) = self.scopes.last_mut()
            && !scope.recursive
            && let Some(at) = scope.tables.iter().position(|(_, table)| *table == address)
        {
            scope.visible = at;
        }
        let mut scope = Scope::default();
        if let Some(with) = &query.with {
            scope.recursive = with.recursive;
            let named = |cte: &sqlparser::ast::Cte| {
                let address: *const Query = &raw const *cte.query;
                (folded(&cte.alias.name), address)
            };
            scope.tables = with.cte_tables.iter().map(named).collect();
            scope.visible = scope.tables.len();
        }
        self.scopes.push(scope);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        // Whatever was visited last, the outer query's body comes after all of its WITH.
        if let Some(scope) = self.scopes.last_mut() {
            scope.visible = scope.tables.len();
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let Some(ObjectNamePart::Identifier(first)) = relation.0.first() else {
            return ControlFlow::Continue(());
        };
        let is_common_table = relation.0.len() == 1 && {
            let name = folded(first);
            let in_sight = |scope: &Scope| {
                scope
                    .tables
                    .iter()
                    .take(scope.visible)
                    .any(|(table, _)| *table == name)
            };
            self.scopes.iter().any(in_sight)
        };
        if is_common_table {
            self.common_tables.push(first.span.start);
        } else {
            self.relations.push(first.span.start);
        }
        ControlFlow::Continue(())
    }
}

fn folded(name: &sqlparser::ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}

/// Byte offsets of the parser's lines and columns, which count characters from 1.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let behind_newlines =
            memchr::memchr_iter(b'\n', text.as_bytes()).map(|newline| newline + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(behind_newlines).collect(),
        }
    }

    fn offset(&self, place: Location) -> Option<usize> {
        let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
        let start = *self.starts.get(line)?;
        let rest = self.text.get(start..)?;
        let length: usize = rest.chars().take(column).map(char::len_utf8).sum();
        Some(start + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let names = reads(text)?;
        let names = names.into_iter().map(|relation| {
            assert!(text.get(relation.span.clone()).is_some());
            match relation.schema {
                Some(schema) => format!("{schema}.{}", relation.name),
                None => relation.name,
            }
        });
        Some(names.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn relations_are_found() {
        let long = "ä".repeat(40);
        let cut = "ä".repeat(31);
        let long_name = format!("select * from {long}");
        let cases: &[(&str, Option<&str>)] = &[
            ("select 1", Some("")),
            (
                "select * from Users u, app.\"Or\"\"ders\" o join only c on true",
                Some("users app.Or\"ders c"),
            ),
            ("select 'é\n', x\nfrom\n  é . b", Some("é.b")),
            ("select * from db.app.users", Some("app.users")),
            (
                "with u as (select * from users) select * from u, t",
                Some("users t"),
            ),
            (
                "with users as (select * from users) select * from users",
                Some("users"),
            ),
            (
                "with recursive users as (select 1 union select * from users) select * from users",
                Some(""),
            ),
            (
                "with a as (select * from b), b as (select * from a) select * from a, b",
                Some("b"),
            ),
            (
                "select (with a as (select 1) select 1 from a) from a",
                Some("a"),
            ),
            ("with \"A\" as (select 1) select * from a", Some("a")),
            (
                "insert into t select * from u where x in (select y from v)",
                Some("u v"),
            ),
            ("update t set a = 1 from u", Some("t u")),
            ("create table t as select * from u", Some("u")),
            ("create table t (a int)", Some("")),
            ("select * into t from u", Some("u")),
            ("delete from t using u", Some("t u")),
            (
                "select extract(year from made) from t where a is distinct from b",
                Some("t"),
            ),
            (
                "select substring(a from b), trim(both 'x' from c) from t",
                Some("t"),
            ),
            ("select * from generate_series(1, 2), t", Some("t")),
            ("declare c cursor for select * from t", Some("t")),
            ("prepare p(int) as select * from t where a = $1", Some("t")),
            ("copy t to stdout", Some("t")),
            ("copy (select * from t) to stdout", Some("t")),
            ("copy t from stdin", Some("")),
            ("explain select * from t", Some("t")),
            ("begin", Some("")),
            ("do $$ begin end $$", None),
            ("select * from t where (", None),
            (&long_name, Some(&cut)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn what_the_parser_misreads_is_found_from_the_tokens() {
        for text in [
            "SELECT 1 FROM ONLY users",
            "SELECT 1 FROM ONLY (users)",
            "SELECT email AND FROM users",
            "SELECT interval FROM users",
            "SELECT 1 UNION ALL TABLE users",
            "TABLE users",
            "COPY users TO STDOUT",
            "COPY users (email) TO STDOUT",
            "SELECT U&\"em\\0061il\" FROM users",
        ] {
            assert_eq!(read(text).as_deref(), Some("users"), "{text}");
        }
    }

    #[test]
    fn long_chains_do_not_overflow_the_stack() {
        let on_a_small_stack = |text: String| {
            let thread = std::thread::Builder::new()
                .stack_size(2 << 20)
                .spawn(move || read(&text));
            thread.unwrap().join().unwrap()
        };
        let chain = |term: &str, by: &str, count: usize| vec![term; count].join(by);
        let and = chain("b", " and ", 40_000);
        assert_eq!(
            on_a_small_stack(format!("select a from t where {and}")).as_deref(),
            Some("t")
        );
        assert_eq!(
            on_a_small_stack(format!("select {} from t", chain("1", "+", 120_000))).as_deref(),
            Some("t")
        );
        assert_eq!(
            on_a_small_stack(format!("select {} from t", chain("1", "+", 500))).as_deref(),
            Some("t")
        );
        let factorials = format!("select 1{} from t", " !".repeat(100_000));
        assert_eq!(on_a_small_stack(factorials).as_deref(), Some("t"));
        let union = chain("select 1", " union ", 15_000);
        assert_eq!(on_a_small_stack(union).as_deref(), Some(""));
        assert_eq!(
            on_a_small_stack(format!("select {}", chain("1", " and ", 50_000))),
            None
        );
        assert_eq!(on_a_small_stack("(".repeat(100_000)), None);
    }
}
