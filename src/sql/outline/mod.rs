//! The outline of a query or DML statement: which clause stands where, which relations it names, which columns its
//! expressions mention. Read from the tokens alone, so that every place is exact.
//!
//! It is no parser of SQL: an expression is a place, the dotted names in it and the statements nested in it. All clauses
//! begin with reserved words, so the outline cannot be misled by what stands between them. What it does not know has no
//! outline.

mod dml;
mod expression;
mod from;
mod query;
mod words;

use std::ops::Range;

pub use words::Words;

use super::cursor::Cursor;
use super::lexer::{Token, TokenKind};
use super::statement::{Name, RelationName};

/// How deep parentheses may nest, and how many of them a nested statement or join counts for: less than 1 MiB of stack
/// without optimisation.
const DEEPEST: usize = 240;
const STATEMENT: usize = 6;

/// A query or a DML statement, with its WITH.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Its place.
    pub span: Range<usize>,
    /// WITH RECURSIVE.
    pub recursive: bool,
    /// The common table expressions.
    pub tables: Vec<CommonTable>,
    /// What stands behind WITH.
    pub body: Body,
}

/// `name AS (statement)`.
#[derive(Debug, Clone, PartialEq)]
pub struct CommonTable {
    /// Its name.
    pub name: Name,
    /// What it reads.
    pub statement: Outline,
}

/// What kind of statement it is.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Body {
    Query(Query),
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Merge(Box<Merge>),
}

/// One or more operands of UNION and its kind, and what stands behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// In their order; a plain SELECT is the only one.
    pub operands: Vec<Operand>,
    /// ORDER BY, LIMIT, OFFSET and FETCH.
    pub tail: Vec<Expression>,
}

/// An operand of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// SELECT.
    Select(Box<Select>),
    /// VALUES and its rows: each row's values.
    Values(Vec<Vec<Expression>>),
    /// TABLE name: the place of both.
    Table(Box<Relation>, Range<usize>),
    /// A query in parentheses.
    Parens(Box<Outline>),
}

/// SELECT up to WINDOW.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// DISTINCT ON (…).
    pub distinct_on: Option<Expression>,
    /// The select list.
    pub items: Vec<Item>,
    /// FROM.
    pub from: Vec<FromItem>,
    /// WHERE.
    pub condition: Option<Expression>,
    /// GROUP BY.
    pub group: Option<Group>,
    /// HAVING.
    pub having: Option<Expression>,
    /// WINDOW.
    pub windows: Option<Expression>,
}

impl Select {
    /// `*` or `alias.*` stands in its list.
    pub fn has_star(&self) -> bool {
        let is_star = |item: &Item| item.is_star || item.own_star().is_some();
        self.items.iter().any(is_star)
    }
}

/// GROUP BY.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its items.
    pub items: Vec<Expression>,
    /// ROLLUP, CUBE, GROUPING SETS or `()` is among them.
    pub has_sets: bool,
}

/// An item of a select list or of RETURNING.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// `*`.
    pub is_star: bool,
    /// The expression, without its name.
    pub expression: Expression,
    /// The name it is given, with or without AS.
    pub alias: Option<Name>,
}

impl Item {
    /// `alias.*`, if that is all of it.
    pub fn own_star(&self) -> Option<&Reference> {
        match self.expression.references.as_slice() {
            [only] if only.has_star && only.span == self.expression.span => Some(only),
            _ => None,
        }
    }
}

/// An expression: what it mentions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expression {
    /// Its place.
    pub span: Range<usize>,
    /// Names in it that may be columns or whole rows, those of nested statements left out.
    pub references: Vec<Reference>,
    /// Statements nested in it.
    pub statements: Vec<Nested>,
}

/// A statement inside of an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Nested {
    /// The statement, without its parentheses.
    pub statement: Outline,
    /// It stands in the arguments of an aggregate function.
    pub in_aggregate: bool,
}

/// `a`, `a.b`, `a.b.c`, `a.b.c.d`; with `.*` behind it perhaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The names between the dots.
    pub parts: Vec<Name>,
    /// `.*` follows.
    pub has_star: bool,
    /// Its place.
    pub span: Range<usize>,
    /// It stands in the arguments of an aggregate function.
    pub in_aggregate: bool,
}

/// A relation in FROM, or the target of DML.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// Its name.
    pub name: RelationName,
    /// ONLY.
    pub only: bool,
    /// From ONLY or the name to the name's end, `*` or `)`.
    pub span: Range<usize>,
    /// Its alias.
    pub alias: Option<Alias>,
    /// TABLESAMPLE.
    pub sample: Option<Expression>,
}

/// `[AS] name [(column, …)]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Alias {
    /// The name.
    pub name: Name,
    /// The names that it gives to columns.
    pub columns: Vec<Name>,
    /// From AS or the name to the end.
    pub span: Range<usize>,
}

/// What FROM and USING list.
#[derive(Debug, Clone, PartialEq)]
pub enum FromItem {
    /// A relation or a common table expression.
    Relation(Relation),
    /// `[LATERAL] (query) alias`.
    Statement {
        /// LATERAL.
        lateral: bool,
        /// The query.
        statement: Box<Outline>,
        /// Its alias.
        alias: Option<Alias>,
    },
    /// A function, ROWS FROM, XMLTABLE …
    Function {
        /// All of it, without the alias.
        expression: Expression,
        /// Its alias, or the function's own name.
        name: Option<Name>,
    },
    /// A join, in parentheses perhaps.
    Join(Box<Join>),
}

/// `left … JOIN right …`.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// Left of JOIN.
    pub left: FromItem,
    /// Right of JOIN.
    pub right: FromItem,
    /// NATURAL.
    pub natural: bool,
    /// FULL.
    pub full: bool,
    /// USING (…).
    pub using: Vec<Name>,
    /// ON.
    pub on: Option<Expression>,
    /// The alias of a join in parentheses, which hides the names inside.
    pub alias: Option<Alias>,
}

/// INSERT.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    /// Where its first word begins, behind WITH.
    pub start: usize,
    /// INTO.
    pub target: Relation,
    /// The column list; None if there is none.
    pub columns: Option<Vec<Name>>,
    /// OVERRIDING stands before its source.
    pub overriding: bool,
    /// VALUES or a query; None for DEFAULT VALUES.
    pub source: Option<Outline>,
    /// ON CONFLICT.
    pub conflict: Option<Conflict>,
    /// RETURNING.
    pub returning: Option<Returning>,
}

/// ON CONFLICT.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// All of it, from ON to DO NOTHING or the end of WHERE.
    pub span: Range<usize>,
    /// What stands in parentheses behind ON CONFLICT.
    pub arbiter: Option<Expression>,
    /// The WHERE behind it.
    pub arbiter_condition: Option<Expression>,
    /// ON CONSTRAINT name.
    pub constraint: Option<Name>,
    /// DO UPDATE SET.
    pub assignments: Vec<Assignment>,
    /// DO UPDATE … WHERE.
    pub condition: Option<Expression>,
}

/// `column = value` or `(column, …) = (value, …)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Its place.
    pub span: Range<usize>,
    /// The columns.
    pub columns: Vec<Name>,
    /// The values: one expression each, or the query that gives all of them, with its parentheses.
    pub values: Vec<Expression>,
    /// Several columns are set from one query.
    pub from_query: bool,
}

/// UPDATE.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// What is updated.
    pub target: Relation,
    /// SET.
    pub assignments: Vec<Assignment>,
    /// FROM.
    pub from: Vec<FromItem>,
    /// The end of FROM, or of SET if there is none.
    pub from_end: usize,
    /// WHERE.
    pub condition: Option<Expression>,
    /// WHERE CURRENT OF.
    pub at_cursor: bool,
    /// RETURNING.
    pub returning: Option<Returning>,
}

/// DELETE.
#[derive(Debug, Clone, PartialEq)]
pub struct Delete {
    /// What is deleted from.
    pub target: Relation,
    /// USING.
    pub using: Vec<FromItem>,
    /// The end of USING, or of the target if there is none.
    pub using_end: usize,
    /// WHERE.
    pub condition: Option<Expression>,
    /// WHERE CURRENT OF.
    pub at_cursor: bool,
    /// RETURNING.
    pub returning: Option<Returning>,
}

/// MERGE.
#[derive(Debug, Clone, PartialEq)]
pub struct Merge {
    /// INTO.
    pub target: Relation,
    /// USING.
    pub source: FromItem,
    /// ON.
    pub on: Expression,
    /// The WHEN clauses.
    pub whens: Vec<When>,
    /// RETURNING (since Postgres 17).
    pub returning: Option<Returning>,
}

/// `WHEN … [AND condition] THEN …`.
#[derive(Debug, Clone, PartialEq)]
pub struct When {
    /// AND.
    pub condition: Option<Expression>,
    /// UPDATE SET.
    pub assignments: Vec<Assignment>,
    /// INSERT.
    pub insert: Option<MergeInsert>,
    /// DELETE.
    pub deletes: bool,
}

/// `INSERT [(column, …)] VALUES (value, …)` of MERGE.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeInsert {
    /// The column list; None if there is none.
    pub columns: Option<Vec<Name>>,
    /// The values; none for DEFAULT VALUES.
    pub values: Vec<Expression>,
}

/// RETURNING.
#[derive(Debug, Clone, PartialEq)]
pub struct Returning {
    /// The list's place.
    pub span: Range<usize>,
    /// The list.
    pub items: Vec<Item>,
    /// WITH (OLD AS …) stands before it.
    pub has_options: bool,
}

/// The outline of the statement that these tokens make, all of them; a `;` may end it.
pub fn outline(text: &str, tokens: &[Token]) -> Option<Outline> {
    let (outline, rest) = prefix(text, tokens)?;
    let is_end = |token: &Token| token.kind == TokenKind::Symbol(b';');
    rest.iter().all(is_end).then_some(outline)
}

/// The outline of the statement that stands first, and the tokens behind it.
pub fn prefix<'a>(text: &'a str, tokens: &'a [Token]) -> Option<(Outline, &'a [Token])> {
    let mut reader = Reader::new(text, tokens);
    let outline = reader.statement()?;
    Some((outline, reader.cursor.rest()))
}

/// The same in PL/pgSQL, where LOOP may end it.
pub fn routine_prefix<'a>(text: &'a str, tokens: &'a [Token]) -> Option<(Outline, &'a [Token])> {
    let mut reader = Reader::new(text, tokens);
    reader.in_routine = true;
    let outline = reader.statement()?;
    Some((outline, reader.cursor.rest()))
}

/// What the expression that these tokens make mentions, as far as it is one.
pub fn expression(text: &str, tokens: &[Token]) -> Option<Expression> {
    Reader::new(text, tokens).expression(expression::Until::Close)
}

/// Reads an outline; each method stands where it begins and moves behind it.
struct Reader<'a> {
    cursor: Cursor<'a>,
    tokens: &'a [Token],
    /// For each opening parenthesis or bracket, the index of what closes it.
    closing: Vec<usize>,
    depth: usize,
    /// This is PL/pgSQL: LOOP ends a query.
    in_routine: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        let mut closing = vec![usize::MAX; tokens.len()];
        let mut open = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            match token.kind {
                TokenKind::Symbol(b'(' | b'[') => open.push(at),
                TokenKind::Symbol(b')' | b']') => {
                    if let Some(place) = open.pop().and_then(|open: usize| closing.get_mut(open)) {
                        *place = at;
                    }
                }
                _ => {}
            }
        }
        Self {
            cursor: Cursor::new(text, tokens),
            tokens,
            closing,
            depth: 0,
            in_routine: false,
        }
    }

    /// What closes the parenthesis at this index.
    fn closing(&self, open: usize) -> Option<usize> {
        self.closing
            .get(open)
            .copied()
            .filter(|close| *close != usize::MAX)
    }

    fn token(&self, at: usize) -> Option<&'a Token> {
        self.tokens.get(at)
    }

    fn is_symbol_at(&self, at: usize, symbol: u8) -> bool {
        self.token(at)
            .is_some_and(|token| token.kind == TokenKind::Symbol(symbol))
    }

    fn is_word_at(&self, at: usize, words: &[&str]) -> bool {
        self.token(at).is_some_and(|token| {
            let text = token.text(self.cursor.text());
            token.kind == TokenKind::Word
                && words.iter().any(|word| text.eq_ignore_ascii_case(word))
        })
    }

    /// The end of the last token that was passed.
    fn end(&self) -> usize {
        let last = self
            .cursor
            .at()
            .checked_sub(1)
            .and_then(|at| self.token(at));
        last.map_or(0, |token| token.end)
    }

    /// So many levels deeper; None if that is too deep.
    fn nested<T>(&mut self, levels: usize, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth + levels > DEEPEST {
            return None;
        }
        self.depth += levels;
        let result = read(self);
        self.depth -= levels;
        result
    }

    /// Does the parenthesis at this index hold a query?
    fn is_query(&self, mut open: usize) -> bool {
        // `((SELECT 1) UNION SELECT 2)` is one, `((SELECT 1) + 1)` is not.
        let first = open;
        for _ in 0..DEEPEST {
            if !self.is_symbol_at(open, b'(') {
                return false;
            }
            open += 1;
            if self.is_word_at(open, &["select", "values", "table", "with"]) {
                return (first..open - 1).all(|outer| self.goes_on_as_query(outer + 1));
            }
        }
        false
    }

    /// Does what follows the parenthesis at this index make it an operand of a query?
    fn goes_on_as_query(&self, open: usize) -> bool {
        const GOES_ON: [&str; 8] = [
            "union",
            "intersect",
            "except",
            "order",
            "limit",
            "offset",
            "fetch",
            "for",
        ];
        let behind = self
            .closing(open)
            .map_or(usize::MAX, |close| close.saturating_add(1));
        self.is_symbol_at(behind, b')') || self.is_word_at(behind, &GOES_ON)
    }
}

/// The outline of a SELECT whose first word was another one (PERFORM), and the tokens behind it.
pub fn select_list<'a>(text: &'a str, tokens: &'a [Token]) -> Option<(Outline, &'a [Token])> {
    let mut reader = Reader::new(text, tokens);
    reader.in_routine = true;
    let start = reader.cursor.here().start;
    let query = reader.select_query()?;
    let outline = Outline {
        span: start..reader.end(),
        recursive: false,
        tables: Vec::new(),
        body: Body::Query(query),
    };
    Some((outline, reader.cursor.rest()))
}
