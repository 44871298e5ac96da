//! What a query stands in: EXPLAIN, PREPARE, DECLARE, COPY, CREATE … AS; and COPY of a relation itself.

use std::ops::Range;

use super::sources::{self, Wanted, quoted, shown};
use super::walk::{Answer, Walk};
use super::{Blocked, Redirect, like, routine};
use crate::catalog::{Masked, MaskedRelation};
use crate::sql::edit::Edit;
use crate::sql::lexer::{self, Token, TokenKind};
use crate::sql::outline::{self, Words};
use crate::sql::value;

/// None where nothing is understood.
pub(super) fn redirect(text: &str, tokens: &[Token], masked: &Masked) -> Option<Redirect> {
    let mut words = Words::new(text, tokens);
    let mut answer = Answer::Second;
    if words.eat(&["explain"]) {
        answer = Answer::Nothing;
        let is_list = words.is_symbol(b'(') && !words.is_query();
        if is_list {
            words.parens()?;
        } else {
            words.eat_any(&["analyze", "analyse"]);
            words.eat(&["verbose"]);
        }
    }
    if words.eat(&["prepare"]) {
        words.name()?;
        let _types = words.parens();
        return words
            .eat(&["as"])
            .then(|| query(text, words.rest(), masked, Answer::Second))?;
    }
    if words.eat(&["declare"]) {
        while !words.at_end() {
            if words.eat(&["for"]) {
                return query(text, words.rest(), masked, answer);
            }
            words.advance();
        }
        return None;
    }
    if words.eat(&["copy"]) {
        return copy(text, words, masked);
    }
    if words.eat(&["do"]) {
        return routine::code(text, words, masked);
    }
    if words.eat(&["create"]) {
        return create(text, words, masked, answer);
    }
    query(text, words.rest(), masked, answer)
}

/// A query or DML statement.
pub(super) fn query(
    text: &str,
    tokens: &[Token],
    masked: &Masked,
    answer: Answer,
) -> Option<Redirect> {
    let outline = outline::outline(text, tokens)?;
    let mut walk = Walk::new(text, masked, answer);
    walk.statement(&outline);
    Some(result(walk))
}

/// What a walk has found.
pub(super) fn result(walk: Walk<'_>) -> Redirect {
    Redirect {
        edits: walk.edits,
        returning: walk.returning,
        tag: walk.tag,
        views: walk.views.into_iter().collect(),
        blocked: walk.blocked,
    }
}

/// CREATE: a query behind AS, or the body of a function.
fn create(text: &str, mut words: Words<'_>, masked: &Masked, answer: Answer) -> Option<Redirect> {
    words.eat(&["or", "replace"]);
    if words.is_any(&["function", "procedure"]) {
        return routine::routine(text, words, masked);
    }
    while words.eat_any(&[
        "local",
        "global",
        "temp",
        "temporary",
        "unlogged",
        "recursive",
        "materialized",
    ]) {}
    if !words.eat_any(&["table", "view"]) {
        return None;
    }
    let found = elements(text, words.clone(), masked);
    if found.blocked.is_some() || !found.edits.is_empty() {
        return Some(found);
    }
    // A column list or options in parentheses may stand before AS.
    while !words.at_end() {
        if words.eat(&["as"]) {
            return created(text, words.rest(), masked, answer);
        }
        if words.parens().is_none() {
            words.advance();
        }
    }
    None
}

/// `LIKE t` and `REFERENCES t (column)` ask for rights on the table itself. The first is written out; for the second no
/// view can stand.
fn elements(text: &str, mut words: Words<'_>, masked: &Masked) -> Redirect {
    let mut edits = Vec::new();
    let blocked = |blocked| Redirect {
        blocked: Some(blocked),
        ..Redirect::default()
    };
    while !words.at_end() && !words.is_any(&["as"]) {
        let start = words.here();
        let copies = words.is_any(&["like"]);
        if !words.eat_any(&["like", "references"]) {
            words.advance();
            continue;
        }
        let Some(name) = words.relation() else {
            continue;
        };
        let Some(relation) = masked.resolve(name.schema.as_deref(), &name.name) else {
            continue;
        };
        if copies {
            match like::elements(relation, &mut words) {
                Ok(elements) => edits.push(Edit::new(start..words.end(), elements)),
                Err(because) => return blocked(because),
            }
            continue;
        }
        let list = words
            .parens()
            .and_then(|span| text.get(span))
            .unwrap_or_default();
        let named = lexer::significant(list);
        let named = named
            .iter()
            .filter_map(|token| value::identifier(token, list));
        let mut hidden = named
            .filter_map(|name| relation.column(&name))
            .filter(|column| !column.clear);
        if let Some(column) = hidden.next() {
            return blocked(Blocked {
                what: shown(relation, Some(&column.name)),
                because: format!(
                    "a foreign key would tell which values are in a masked column ({})",
                    column.because
                ),
                instead: "refer to a clear column".to_owned(),
            });
        }
    }
    Redirect {
        edits,
        ..Redirect::default()
    }
}

/// The query behind CREATE … AS; WITH [NO] DATA or WITH CHECK OPTION may follow it.
fn created(text: &str, tokens: &[Token], masked: &Masked, answer: Answer) -> Option<Redirect> {
    let (outline, rest) = outline::prefix(text, tokens)?;
    let mut words = Words::new(text, rest);
    if words.eat(&["with"]) {
        while words.eat_any(&["no", "data", "cascaded", "local", "check", "option"]) {}
    }
    while words.is_symbol(b';') {
        words.advance();
    }
    if !words.at_end() {
        return None;
    }
    let answer = if answer == Answer::Nothing {
        answer
    } else {
        Answer::Impossible
    };
    let mut walk = Walk::new(text, masked, answer);
    walk.statement(&outline);
    Some(result(walk))
}

/// COPY: a query in parentheses, or a relation, which becomes a query.
fn copy(text: &str, mut words: Words<'_>, masked: &Masked) -> Option<Redirect> {
    if words.is_symbol(b'(') {
        let inside = words.inside()?;
        return query(text, inside, masked, Answer::Impossible);
    }
    // `COPY BINARY t` is a form of old that has no query.
    if words.is_any(&["binary"]) && !words.is_ahead(1, "to") && !words.is_ahead(1, "from") {
        return None;
    }
    let start = words.here();
    let relation = words.relation()?;
    let end = words.end();
    let masked_relation = masked.resolve(relation.schema.as_deref(), &relation.name)?;
    let (columns, list_end) = match words.is_symbol(b'(') {
        true => {
            let list = words.parens()?;
            let names = text.get(list.start + 1..list.end.checked_sub(1)?)?;
            (Some(names.to_owned()), list.end)
        }
        false => (None, end),
    };
    if !words.is_any(&["to"]) {
        return None;
    }
    let mut walk = Walk::new(text, masked, Answer::Impossible);
    copied(&mut walk, masked_relation, start..list_end, columns);
    Some(result(walk))
}

/// COPY leaves out the rows of children, and generated columns unless they are named.
fn copied(
    walk: &mut Walk<'_>,
    relation: &MaskedRelation,
    place: Range<usize>,
    columns: Option<String>,
) {
    let wanted = Wanted {
        only: true,
        ..Wanted::default()
    };
    let Some((source, oid)) = sources::source(relation, wanted) else {
        walk.block_relation(relation);
        return;
    };
    let columns = columns.unwrap_or_else(|| {
        let plain = relation.visible().filter(|column| !column.generated);
        plain
            .map(|column| quoted(&column.name))
            .collect::<Vec<_>>()
            .join(", ")
    });
    let denied = relation.columns.iter().find(|column| {
        let list = columns.split(',').map(|name| name.trim().trim_matches('"'));
        column.view_number.is_none()
            && list
                .into_iter()
                .any(|name| name.eq_ignore_ascii_case(&column.name))
    });
    if let Some(column) = denied {
        walk.block_column(relation, column);
    }
    walk.use_view(oid, relation);
    walk.edits.push(Edit::new(
        place,
        format!(
            "(SELECT {columns} FROM {source} AS {})",
            quoted(&relation.name)
        ),
    ));
}

/// Does the token end a statement?
pub(super) fn is_end(token: &Token) -> bool {
    token.kind == TokenKind::Symbol(b';')
}
