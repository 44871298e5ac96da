//! Writes the defaults that call `now()` into the INSERTs that leave them to Postgres.

use std::ops::Range;

use crate::sql::cursor::Cursor;
use crate::sql::edit::Edit;
use crate::sql::lexer::{self, Token, TokenKind};
use crate::sql::statement::{Name, RelationName};

/// A column whose default is `now()` or one of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NowDefault {
    /// The column.
    pub column: String,
    /// The expression to write in the default's place.
    pub expression: String,
}

/// A table with such columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NowDefaults {
    /// All columns of the table, in its order.
    pub columns: Vec<String>,
    /// Those whose default is the time.
    pub defaults: Vec<NowDefault>,
}

/// Edits that give each INSERT of the statement the defaults that `defaults` knows for its table: a column that is left out is
/// appended to the list and to every row, an explicit `DEFAULT` is replaced, and `DEFAULT VALUES` becomes a list and a
/// row. An INSERT … SELECT gets the value at the end of its select list, in each arm of a UNION. Where there is no list, the
/// table's first columns make one.
///
/// Left alone: an INSERT with OVERRIDING, a query with an arm that is no SELECT, rows that do not fit their list, and `*` where
/// there is no list.
pub fn insert_default_edits(
    text: &str,
    defaults: &dyn Fn(&RelationName) -> NowDefaults,
) -> Vec<Edit> {
    let tokens = lexer::significant(text);
    let mut edits = Vec::new();
    let mut cursor = Cursor::new(text, &tokens);
    while !cursor.at_end() {
        if !cursor.eat_words(&["insert", "into"]) {
            cursor.advance();
            continue;
        }
        // Whether it was understood or not, the search goes on behind what was read: a query's WITH may hold the next INSERT.
        if let Some(insert) = insert(&mut cursor) {
            let defaults = defaults(&insert.table);
            edits.extend(insert.edits(&defaults).unwrap_or_default());
        }
    }
    edits
}

/// An INSERT, as far as its defaults need it.
struct Insert {
    table: RelationName,
    source: Source,
}

enum Source {
    /// DEFAULT VALUES: the place of both words.
    Defaults(Range<usize>),
    /// VALUES.
    Rows { list: List, rows: Vec<Row> },
    /// The arms of a query.
    Query { list: List, arms: Vec<Arm> },
}

/// The columns to insert into.
enum List {
    /// The columns, and the place of the closing parenthesis.
    Written(Vec<Name>, usize),
    /// There is none: where it would stand.
    Missing(usize),
}

/// A SELECT: where its list ends, and how many columns it has, unless a `*` hides that.
struct Arm {
    end: usize,
    width: Option<usize>,
}

/// A row of VALUES: its values' places, and whether each is the word DEFAULT; the place of its closing parenthesis.
struct Row {
    values: Vec<(Range<usize>, bool)>,
    end: usize,
}

impl Insert {
    fn edits(&self, table: &NowDefaults) -> Option<Vec<Edit>> {
        let mut edits = Vec::new();
        if table.defaults.is_empty() {
            return None;
        }
        let (list, width) = match &self.source {
            Source::Defaults(range) => {
                let columns: Vec<String> = table
                    .defaults
                    .iter()
                    .map(|default| quoted(&default.column))
                    .collect();
                let values: Vec<&str> = table
                    .defaults
                    .iter()
                    .map(|default| default.expression.as_str())
                    .collect();
                let list = format!("({}) VALUES ({})", columns.join(", "), values.join(", "));
                return Some(vec![Edit::new(range.clone(), list)]);
            }
            Source::Rows { list, rows } => (list, rows.first().map(|row| row.values.len())),
            Source::Query { list, arms } => (list, arms.first()?.width),
        };
        let columns: Vec<&str> = match list {
            List::Written(columns, _) => {
                columns.iter().map(|column| column.value.as_str()).collect()
            }
            List::Missing(_) => table
                .columns
                .iter()
                .take(width?)
                .map(String::as_str)
                .collect(),
        };
        if let Source::Rows { rows, .. } = &self.source {
            if rows.iter().any(|row| row.values.len() != columns.len()) {
                return None;
            }
            for default in &table.defaults {
                if let Some(at) = columns.iter().position(|column| *column == default.column) {
                    edits.extend(rows.iter().filter_map(|row| replaced(row, at, default)));
                }
            }
        }
        let left_out: Vec<&NowDefault> = table
            .defaults
            .iter()
            .filter(|default| !columns.contains(&default.column.as_str()))
            .collect();
        if left_out.is_empty() {
            return Some(edits);
        }
        let names: Vec<String> = left_out
            .iter()
            .map(|default| quoted(&default.column))
            .collect();
        edits.push(match list {
            List::Written(_, end) => Edit::new(*end..*end, format!(", {}", names.join(", "))),
            List::Missing(at) => {
                let all = columns.iter().map(|column| quoted(column)).chain(names);
                let all: Vec<String> = all.collect();
                Edit::new(*at..*at, format!("({}) ", all.join(", ")))
            }
        });
        let ends: Vec<usize> = match &self.source {
            Source::Rows { rows, .. } => rows.iter().map(|row| row.end).collect(),
            Source::Query { arms, .. } => {
                let is_missing = matches!(list, List::Missing(_));
                if is_missing && arms.iter().any(|arm| arm.width != width) {
                    return None;
                }
                arms.iter().map(|arm| arm.end).collect()
            }
            Source::Defaults(_) => Vec::new(),
        };
        let values: String = left_out
            .iter()
            .map(|default| format!(", {}", default.expression))
            .collect();
        edits.extend(
            ends.into_iter()
                .map(|end| Edit::new(end..end, values.clone())),
        );
        Some(edits)
    }
}

/// The edit for an explicit DEFAULT in that column.
fn replaced(row: &Row, column: usize, default: &NowDefault) -> Option<Edit> {
    let (range, is_default) = row.values.get(column)?;
    is_default.then(|| Edit::new(range.clone(), default.expression.clone()))
}

fn quoted(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}

/// The INSERT whose table's name begins here.
fn insert(cursor: &mut Cursor<'_>) -> Option<Insert> {
    let table = cursor.relation()?;
    if cursor.eat_word("as") {
        cursor.name()?;
    }
    if cursor.is_word("default") && cursor.is_word_ahead(1, "values") {
        let start = cursor.here().start;
        cursor.advance();
        let range = start..cursor.here().end;
        return Some(Insert {
            table,
            source: Source::Defaults(range),
        });
    }
    let at = cursor.here().start;
    let is_query = cursor.is_any_word(&["values", "select", "with"]);
    let list = match columns(&mut cursor.clone()) {
        Some((columns, end)) if !is_query => {
            cursor.parens()?;
            List::Written(columns, end)
        }
        // `(SELECT …)`.
        _ => List::Missing(at),
    };
    if !cursor.eat_word("values") {
        // Read ahead only: what it holds is searched for the next INSERT.
        let arms = query(&mut cursor.clone(), 0)?;
        return Some(Insert {
            table,
            source: Source::Query { list, arms },
        });
    }
    let mut rows = vec![row(cursor)?];
    while cursor.eat_symbol(b',') {
        rows.push(row(cursor)?);
    }
    // Anything else makes the rows part of a larger query (UNION, ORDER BY …).
    let ends = cursor.at_end()
        || cursor.is_any_word(&["on", "returning"])
        || cursor.is_symbol(b')')
        || cursor.is_symbol(b';');
    ends.then_some(Insert {
        table,
        source: Source::Rows { list, rows },
    })
}

/// How deep parentheses around a query may be before it is left alone.
const DEPTH: usize = 16;

/// A query's arms: `[WITH …] arm [UNION arm …]`, up to its end or a `)` that closes what is around it.
fn query(cursor: &mut Cursor<'_>, depth: usize) -> Option<Vec<Arm>> {
    if depth > DEPTH {
        return None;
    }
    if cursor.eat_word("with") {
        cursor.eat_word("recursive");
        loop {
            cursor.name()?;
            cursor.parens();
            if !cursor.eat_word("as") {
                return None;
            }
            cursor.eat_word("not");
            cursor.eat_word("materialized");
            cursor.parens()?;
            if !cursor.eat_symbol(b',') {
                break;
            }
        }
    }
    let mut arms = Vec::new();
    loop {
        if cursor.eat_symbol(b'(') {
            arms.extend(query(cursor, depth + 1)?);
            if !cursor.eat_symbol(b')') {
                return None;
            }
        } else if cursor.eat_word("select") {
            arms.push(select_list(cursor)?);
        } else {
            return None;
        }
        if !next_arm(cursor)? {
            return Some(arms);
        }
    }
}

/// The select list that begins here.
fn select_list(cursor: &mut Cursor<'_>) -> Option<Arm> {
    const BEHIND: [&str; 17] = [
        "from",
        "where",
        "group",
        "having",
        "window",
        "order",
        "limit",
        "offset",
        "fetch",
        "for",
        "union",
        "intersect",
        "except",
        "into",
        "on",
        "returning",
        "values",
    ];
    let mut end = None;
    let mut width = Some(1);
    let mut begins_item = true;
    let mut previous = Before::default();
    cursor.eat_word("all");
    while let Some(token) = cursor.peek() {
        let closes = matches!(token.kind, TokenKind::Symbol(b')' | b';'));
        let is_on = cursor.is_word("on") && previous.is_distinct;
        if closes || (cursor.is_any_word(&BEHIND) && !previous.takes_any_word && !is_on) {
            break;
        }
        // `*`, `t.*`; a comma between two columns. What stands in parentheses is passed over.
        let is_star = token.text(cursor.text()) == "*";
        if is_star && (begins_item || previous.is_dot) {
            width = None;
        }
        let is_comma = cursor.is_symbol(b',');
        begins_item = is_comma
            || (begins_item && (cursor.is_any_word(&["distinct", "on"]) || previous.is_on));
        width = width.map(|width: usize| width + usize::from(is_comma));
        previous = previous.then(cursor);
        end = Some(token.end);
        if cursor.is_symbol(b'(') {
            end = Some(cursor.parens()?.end);
        } else {
            cursor.advance();
        }
    }
    Some(Arm { end: end?, width })
}

/// Moves behind what follows a select list, and behind UNION and its like; false at the end of the query.
fn next_arm(cursor: &mut Cursor<'_>) -> Option<bool> {
    let mut previous = Before::default();
    while let Some(token) = cursor.peek() {
        if matches!(token.kind, TokenKind::Symbol(b')' | b';')) {
            return Some(false);
        }
        if cursor.is_any_word(&["union", "intersect", "except"]) && !previous.takes_any_word {
            cursor.advance();
            cursor.eat_any_word(&["all", "distinct"]);
            return Some(true);
        }
        previous = previous.then(cursor);
        if cursor.is_symbol(b'(') {
            cursor.parens()?;
        } else {
            cursor.advance();
        }
    }
    Some(false)
}

/// What the token before says of a reserved word behind it.
#[derive(Clone, Copy, Default)]
struct Before {
    /// A label or a part of a larger expression: behind AS, a dot, WITHIN (GROUP) and IS [NOT] DISTINCT (FROM).
    takes_any_word: bool,
    is_compared: bool,
    is_distinct: bool,
    is_dot: bool,
    is_on: bool,
}

impl Before {
    fn then(self, cursor: &Cursor<'_>) -> Self {
        let is_distinct = cursor.is_word("distinct");
        Self {
            takes_any_word: cursor.is_any_word(&["as", "within"])
                || cursor.is_symbol(b'.')
                || (is_distinct && self.is_compared),
            is_compared: cursor.is_word("is") || (cursor.is_word("not") && self.is_compared),
            is_distinct: is_distinct && !self.is_compared,
            is_dot: cursor.is_symbol(b'.'),
            is_on: cursor.is_word("on"),
        }
    }
}

/// `(name [, …])` and the place of its closing parenthesis; a column with a subscript or a field is left alone.
fn columns(cursor: &mut Cursor<'_>) -> Option<(Vec<Name>, usize)> {
    if !cursor.eat_symbol(b'(') {
        return None;
    }
    let mut columns = vec![cursor.name()?];
    while cursor.eat_symbol(b',') {
        columns.push(cursor.name()?);
    }
    let end = cursor.here().start;
    cursor.eat_symbol(b')').then_some((columns, end))
}

/// `(value [, …])`.
fn row(cursor: &mut Cursor<'_>) -> Option<Row> {
    if !cursor.eat_symbol(b'(') {
        return None;
    }
    let mut row = Row {
        values: Vec::new(),
        end: 0,
    };
    let mut value: Option<(Range<usize>, bool)> = None;
    let mut depth = 0_usize;
    while let Some(token) = cursor.peek() {
        let is_end = depth == 0 && token.kind == TokenKind::Symbol(b')');
        if is_end || (depth == 0 && token.kind == TokenKind::Symbol(b',')) {
            row.values.push(value.take()?);
            row.end = token.start;
            cursor.advance();
            if is_end {
                return Some(row);
            }
            continue;
        }
        match token.kind {
            TokenKind::Symbol(b'(' | b'[') => depth += 1,
            TokenKind::Symbol(b')' | b']') => depth = depth.checked_sub(1)?,
            _ => {}
        }
        value = Some(extended(value, token, cursor.is_word("default")));
        cursor.advance();
    }
    None
}

/// The value with one more token: it is DEFAULT only as its only word.
fn extended(
    value: Option<(Range<usize>, bool)>,
    token: &Token,
    is_default: bool,
) -> (Range<usize>, bool) {
    match value {
        None => (token.span(), is_default),
        Some((range, _)) => (range.start..token.end, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::edit::Edits;

    fn edited(text: &str) -> String {
        let mut edits = Edits::new();
        let found = insert_default_edits(text, &|table| {
            let column = |column: &str, expression: &str| NowDefault {
                column: column.to_owned(),
                expression: expression.to_owned(),
            };
            match table.name.as_str() {
                "t" | "T x" => NowDefaults {
                    columns: ["a", "made", "b", "Se\"en", "c"].map(str::to_owned).into(),
                    defaults: vec![column("made", "NOW"), column("Se\"en", "DAY")],
                },
                _ => NowDefaults::default(),
            }
        });
        edits.extend(found).unwrap();
        edits.apply(text).unwrap().text
    }

    #[test]
    fn defaults_are_written_out() {
        let cases: &[(&str, &str)] = &[
            (
                "insert into t (a) values (1)",
                "insert into t (a, \"made\", \"Se\"\"en\") values (1, NOW, DAY)",
            ),
            (
                "INSERT INTO s.\"T x\" AS y (a, b) VALUES (f(1, 2), '('), (ARRAY[3, 4], DEFAULT) ON CONFLICT (a) DO NOTHING RETURNING *",
                "INSERT INTO s.\"T x\" AS y (a, b, \"made\", \"Se\"\"en\") VALUES (f(1, 2), '(', NOW, DAY), \
                 (ARRAY[3, 4], DEFAULT, NOW, DAY) ON CONFLICT (a) DO NOTHING RETURNING *",
            ),
            (
                "insert into t (Made, \"Se\"\"en\", a) values (default, $1, default), ($2, DEFAULT, 1)",
                "insert into t (Made, \"Se\"\"en\", a) values (NOW, $1, default), ($2, DAY, 1)",
            ),
            (
                "insert into t (a, \"Se\"\"en\") values (1, default)",
                "insert into t (a, \"Se\"\"en\", \"made\") values (1, DAY, NOW)",
            ),
            (
                "insert into t default values returning a",
                "insert into t (\"made\", \"Se\"\"en\") VALUES (NOW, DAY) returning a",
            ),
            (
                "with x as (insert into t (a) values (1) returning a) insert into u (a) values (2)",
                "with x as (insert into t (a, \"made\", \"Se\"\"en\") values (1, NOW, DAY) returning a) insert into u (a) values (2)",
            ),
            (
                "insert into t (a) select 1",
                "insert into t (a, \"made\", \"Se\"\"en\") select 1, NOW, DAY",
            ),
            (
                "insert into t (a, made) with x (b) as (select 1), y as materialized (select 2) select x.from, c as union from x \
                 where b is not distinct from 1 union all (select distinct on (a, b) a is distinct from b, d within group (order by e) \
                 from z order by 1) on conflict do nothing returning a",
                "insert into t (a, made, \"Se\"\"en\") with x (b) as (select 1), y as materialized (select 2) select x.from, c as union, DAY from x \
                 where b is not distinct from 1 union all (select distinct on (a, b) a is distinct from b, d within group (order by e), DAY \
                 from z order by 1) on conflict do nothing returning a",
            ),
            (
                "insert into t (a) select * from f(1) where x = $1; ",
                "insert into t (a, \"made\", \"Se\"\"en\") select *, NOW, DAY from f(1) where x = $1; ",
            ),
            (
                "with n as (insert into t (a) with o as (insert into t (a) select 1 returning a) select a from o) select 1 from n",
                "with n as (insert into t (a, \"made\", \"Se\"\"en\") with o as (insert into t (a, \"made\", \"Se\"\"en\") select 1, NOW, DAY returning a) \
                 select a, NOW, DAY from o) select 1 from n",
            ),
            (
                "insert into t values (1)",
                "insert into t (\"a\", \"made\", \"Se\"\"en\") values (1, NOW, DAY)",
            ),
            (
                "insert into t as x values (1, default, 3), (2, 4, f(5, 6)) returning *",
                "insert into t as x (\"a\", \"made\", \"b\", \"Se\"\"en\") values (1, NOW, 3, DAY), (2, 4, f(5, 6), DAY) returning *",
            ),
            (
                "insert into t values (1, default, 3, default, 5)",
                "insert into t values (1, NOW, 3, DAY, 5)",
            ),
            (
                "insert into t select distinct on (a, b) a * 2, (b).*, u from u union select 1, 2, 3",
                "insert into t select distinct on (a, b) a * 2, (b).*, u from u union select 1, 2, 3",
            ),
            (
                "insert into t select distinct on (a, b) a * 2, f(b, c), u from u union all (select 1, 2, 3)",
                "insert into t (\"a\", \"made\", \"b\", \"Se\"\"en\") select distinct on (a, b) a * 2, f(b, c), u, DAY from u \
                 union all (select 1, 2, 3, DAY)",
            ),
            (
                "insert into t (select 1)",
                "insert into t (\"a\", \"made\", \"Se\"\"en\") (select 1, NOW, DAY)",
            ),
            (
                "insert into t with w as (select 1) select 1 from w",
                "insert into t (\"a\", \"made\", \"Se\"\"en\") with w as (select 1) select 1, NOW, DAY from w",
            ),
            (
                "prepare p as insert into t (a) values ($1)",
                "prepare p as insert into t (a, \"made\", \"Se\"\"en\") values ($1, NOW, DAY)",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(edited(text), *expected, "{text}");
        }
    }

    #[test]
    fn other_inserts_stay() {
        for text in [
            "insert into u (a) values (1)",
            "insert into t values (1, 2, 3, 4)",
            "insert into t values (1), (2, 3)",
            "insert into t select * from u",
            "insert into t select distinct * from u",
            "insert into t select distinct on (a) u.* from u",
            "insert into t select all *, 1 from u",
            "insert into t select distinct on (a, b) * from u",
            "insert into t select 1 union select 2, 3",
            "insert into t select 1, 2, 3, 4",
            "insert into t table u",
            "insert into t overriding user value values (1)",
            "insert into t (a) select from u",
            "insert into t (a) select",
            "insert into t (a) select 1 union values (2)",
            "insert into t (a) select 1 union",
            "insert into t (a) table u",
            "insert into t (a) (select 1",
            "insert into t (a) overriding user value values (1)",
            "insert into t (a[1]) values (1)",
            "insert into t (a, b) values (1)",
            "insert into t (a) values (1) union values (2)",
            "insert into t (a) values (1",
            "insert into t (a) values ()",
            "insert into t (",
            "select 'insert into t (a) values (1)'",
        ] {
            assert_eq!(edited(text), text);
        }
    }
}
