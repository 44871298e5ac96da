//! What ON CONFLICT finds a row by: columns, expressions of an index, or a constraint's name.

use std::ops::Range;

use super::insert::is_steady;
use super::sources::quoted;
use super::walk::Walk;
use crate::catalog::{Filled, IndexKey, MaskedRelation, UniqueIndex};
use crate::sql::lexer::{self, TokenKind};
use crate::sql::outline::{Conflict, Expression};
use crate::sql::value;

/// See the module.
pub(super) struct Arbiter {
    /// What must be equal, in parentheses.
    list: Vec<Piece>,
    /// For which rows, if not for all of them.
    condition: Option<Vec<Piece>>,
    /// The list is nothing but columns.
    plain: bool,
    /// NULL is equal to NULL.
    nulls_equal: bool,
    /// The unique indexes that it means; none if they are not known.
    pub(super) indexes: Vec<UniqueIndex>,
}

/// SQL, with its columns apart.
enum Piece {
    Text(String),
    Column(String),
}

/// The name that a column has on one side, as SQL.
type Side<'s> = &'s dyn Fn(&str) -> Option<String>;

impl Arbiter {
    /// The columns that must be equal, or that the expressions that must be equal hang on.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter_map(|piece| match piece {
            Piece::Column(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Two rows have the same key.
    pub(super) fn equal(&self, left: Side<'_>, right: Side<'_>) -> Option<String> {
        let sign = if self.nulls_equal {
            "IS NOT DISTINCT FROM"
        } else {
            "="
        };
        if !self.plain {
            let (left, right) = (render(&self.list, left)?, render(&self.list, right)?);
            return Some(format!("{left} {sign} {right}"));
        }
        let pairs: Option<Vec<String>> = self
            .columns()
            .map(|name| Some(format!("{} {sign} {}", left(name)?, right(name)?)))
            .collect();
        Some(pairs?.join(" AND "))
    }

    /// Two rows conflict.
    pub(super) fn matches(&self, left: Side<'_>, right: Side<'_>) -> Option<String> {
        let mut matches = self.equal(left, right)?;
        if let Some(condition) = &self.condition {
            for side in [left, right] {
                matches.push_str(&format!(" AND ({})", render(condition, side)?));
            }
        }
        Some(matches)
    }

    /// The list on one side.
    pub(super) fn key(&self, side: Side<'_>) -> Option<String> {
        render(&self.list, side)
    }

    /// A row conflicts with nothing, whatever else there is.
    pub(super) fn never(&self, side: Side<'_>) -> Option<String> {
        let mut never = match self.nulls_equal {
            true => String::new(),
            false => format!("({}) IS NOT TRUE", self.equal(side, side)?),
        };
        if let Some(condition) = &self.condition {
            let or = if never.is_empty() { "" } else { " OR " };
            never.push_str(&format!("{or}({}) IS NOT TRUE", render(condition, side)?));
        }
        Some(never).filter(|never| !never.is_empty())
    }

    /// Can rows of these columns, quoted, violate no other unique index than those that it means?
    pub(super) fn is_only_one(&self, relation: &MaskedRelation, columns: &[String]) -> bool {
        let is_new = |name: &str| {
            let column = relation.column(name);
            let filled = column.map(|column| &column.filled);
            !columns.contains(&quoted(name))
                && match filled {
                    Some(Filled::Expression(default)) => !is_steady(&format!("SELECT {default}")),
                    _ => false,
                }
        };
        let is_null = |name: &str| {
            let filled = relation.column(name).map(|column| &column.filled);
            !columns.contains(&quoted(name)) && filled == Some(&Filled::Null)
        };
        !self.indexes.is_empty()
            && relation
                .unique
                .iter()
                .filter(|index| !self.indexes.contains(index))
                .all(|index| {
                    index.keys.iter().any(|key| match key {
                        IndexKey::Column(name) => {
                            is_new(name) || (is_null(name) && !index.nulls_equal)
                        }
                        IndexKey::Expression(_) => false,
                    })
                })
    }
}

impl Walk<'_> {
    /// What an ON CONFLICT finds a row by; None if it names nothing, or what is not understood.
    pub(super) fn arbiter(
        &self,
        relation: &MaskedRelation,
        conflict: &Conflict,
    ) -> Option<Arbiter> {
        if let Some(name) = &conflict.constraint {
            let index = named(relation, &name.value)?;
            let columns: Option<Vec<&String>> = index
                .keys
                .iter()
                .map(|key| match key {
                    IndexKey::Column(name) => Some(name),
                    IndexKey::Expression(_) => None,
                })
                .collect();
            return Some(Arbiter {
                list: listed(columns?),
                condition: None,
                plain: true,
                nulls_equal: index.nulls_equal,
                indexes: vec![index.clone()],
            });
        }
        let list = conflict.arbiter.as_ref()?;
        let condition = conflict.arbiter_condition.as_ref();
        let indexes = self.indexes(relation, list, condition);
        let columns = self.plain_columns(list);
        let pieces = match &columns {
            Some(columns) => listed(columns.iter().copied()),
            None => self.pieces(relation, list)?,
        };
        let is_partial =
            !indexes.is_empty() && indexes.iter().all(|index| index.predicate.is_some());
        Some(Arbiter {
            list: pieces,
            condition: match condition.filter(|_| is_partial) {
                Some(condition) => Some(self.pieces(relation, condition)?),
                None => None,
            },
            plain: columns.is_some(),
            nulls_equal: !indexes.is_empty() && indexes.iter().all(|index| index.nulls_equal),
            indexes,
        })
    }

    /// The unique indexes that Postgres would find for this list and condition.
    fn indexes(
        &self,
        relation: &MaskedRelation,
        list: &Expression,
        condition: Option<&Expression>,
    ) -> Vec<UniqueIndex> {
        let normal_of = |span: &Range<usize>| self.text.get(span.clone()).map(normal);
        let Some(wanted) = self.items(list) else {
            return Vec::new();
        };
        let condition = condition.and_then(|condition| normal_of(&condition.span));
        let fits = |index: &&UniqueIndex| {
            let mut keys: Vec<String> = index
                .keys
                .iter()
                .map(|key| match key {
                    IndexKey::Column(name) => quoted(name),
                    IndexKey::Expression(text) => normal(text),
                })
                .collect();
            keys.sort();
            keys.dedup();
            !index.exclusion
                && keys == wanted
                && (index.predicate.is_none()
                    || index.predicate.as_deref().map(normal) == condition)
        };
        relation.unique.iter().filter(fits).cloned().collect()
    }

    /// The items of a list in parentheses: columns quoted, expressions in one way of writing; sorted.
    fn items(&self, list: &Expression) -> Option<Vec<String>> {
        let start = list.span.start;
        let text = self.text.get(list.span.clone())?;
        let tokens = lexer::significant(text);
        let mut depth = 0_usize;
        let mut begin = 1;
        let mut items = Vec::new();
        for token in &tokens {
            let is_close = token.kind == TokenKind::Symbol(b')');
            if depth == 1 && (is_close || token.kind == TokenKind::Symbol(b',')) {
                let place = begin..token.start;
                let inner = text.get(place.clone())?;
                let skipped = inner.len() - inner.trim_start().len();
                let place = start + place.start + skipped
                    ..start + place.start + skipped + inner.trim().len();
                let column = list
                    .references
                    .iter()
                    .find(|reference| reference.span == place && !reference.has_star);
                items.push(match column.map(|column| column.parts.as_slice()) {
                    Some([name]) => quoted(&name.value),
                    _ => normal(inner),
                });
                begin = token.end;
            }
            match token.kind {
                TokenKind::Symbol(b'(' | b'[') => depth += 1,
                TokenKind::Symbol(b')' | b']') => depth = depth.checked_sub(1)?,
                _ => {}
            }
        }
        items.sort();
        items.dedup();
        Some(items)
    }

    /// The columns, if the list names nothing but columns: an expression is another value than a column's.
    fn plain_columns<'c>(&self, list: &'c Expression) -> Option<Vec<&'c String>> {
        if !list.statements.is_empty() {
            return None;
        }
        let columns: Option<Vec<&String>> = list
            .references
            .iter()
            .map(|reference| match reference.parts.as_slice() {
                [name] => Some(&name.value),
                _ => None,
            })
            .collect();
        let named: usize = list
            .references
            .iter()
            .map(|reference| reference.span.len())
            .sum();
        let text = self.text.get(list.span.clone())?;
        let written: usize = lexer::significant(text)
            .iter()
            .filter(|token| !matches!(token.kind, TokenKind::Symbol(b'(' | b')' | b',')))
            .map(|token| token.span().len())
            .sum();
        columns.filter(|columns| !columns.is_empty() && named == written)
    }

    /// An expression cut at its columns.
    fn pieces(&self, relation: &MaskedRelation, expression: &Expression) -> Option<Vec<Piece>> {
        if !expression.statements.is_empty() {
            return None;
        }
        let mut references: Vec<_> = expression.references.iter().collect();
        references.sort_by_key(|reference| reference.span.start);
        let mut pieces = Vec::new();
        let mut at = expression.span.start;
        for reference in references {
            let [name] = reference.parts.as_slice() else {
                return None;
            };
            relation.column(&name.value)?;
            pieces.push(Piece::Text(
                self.text.get(at..reference.span.start)?.to_owned(),
            ));
            pieces.push(Piece::Column(name.value.clone()));
            at = reference.span.end;
        }
        pieces.push(Piece::Text(
            self.text.get(at..expression.span.end)?.to_owned(),
        ));
        Some(pieces)
    }
}

/// The constraint of that name.
pub(super) fn named<'r>(relation: &'r MaskedRelation, name: &str) -> Option<&'r UniqueIndex> {
    let mut constraints = relation.unique.iter();
    constraints.find(|index| index.constraint && index.name == name)
}

fn listed<'c>(columns: impl IntoIterator<Item = &'c String>) -> Vec<Piece> {
    let mut pieces = vec![Piece::Text("(".to_owned())];
    for (at, name) in columns.into_iter().enumerate() {
        if at > 0 {
            pieces.push(Piece::Text(", ".to_owned()));
        }
        pieces.push(Piece::Column(name.clone()));
    }
    pieces.push(Piece::Text(")".to_owned()));
    pieces
}

fn render(pieces: &[Piece], side: Side<'_>) -> Option<String> {
    let parts: Option<Vec<String>> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Column(name) => side(name),
        })
        .collect();
    Some(parts?.concat())
}

/// An expression in one way of writing: without parentheses and casts, which the server puts in by itself. Two that
/// differ in meaning may come out the same; then Postgres, asked for the index, would have found none.
fn normal(text: &str) -> String {
    const TYPE: [&str; 7] = [
        "varying",
        "precision",
        "with",
        "without",
        "time",
        "zone",
        "local",
    ];
    let tokens = lexer::significant(text);
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let raw = token.text(text);
        at += 1;
        if raw == "::" {
            // The type: a name, perhaps of several words, with a schema, a length or brackets.
            at += 1;
            while let Some(next) = tokens.get(at) {
                let raw = next.text(text);
                let goes_on = match next.kind {
                    TokenKind::Word => TYPE.iter().any(|word| raw.eq_ignore_ascii_case(word)),
                    TokenKind::Symbol(b'.' | b'[' | b']') => true,
                    _ => false,
                };
                if !goes_on {
                    break;
                }
                at += if raw == "." { 2 } else { 1 };
            }
            if let Some([open, _, close]) = tokens.get(at..at + 3)
                && open.kind == TokenKind::Symbol(b'(')
                && close.kind == TokenKind::Symbol(b')')
            {
                at += 3;
            }
            continue;
        }
        match token.kind {
            TokenKind::Symbol(b'(' | b')') => {}
            _ if raw == "!=" => words.push("<>".to_owned()),
            _ => words.push(value::identifier(token, text).unwrap_or_else(|| raw.to_owned())),
        }
    }
    words.join(" ")
}
