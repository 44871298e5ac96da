//! Functions, procedures and DO blocks made in the sandbox: the statements in their bodies.

use super::scope::Scope;
use super::utility::{is_end, result};
use super::walk::{Answer, Walk};
use super::{Redirect, lexer};
use crate::catalog::Masked;
use crate::sql::edit::Edit;
use crate::sql::lexer::{Token, TokenKind};
use crate::sql::outline::{self, Words};

/// The inside of a string constant as it stands, and where it begins in the text; None for one whose inside is not what it says.
pub(super) fn body<'t>(text: &'t str, token: &Token) -> Option<(&'t str, usize)> {
    let raw = token.text(text);
    let quote = match token.kind {
        TokenKind::DollarString => raw.get(1..)?.find('$')? + 2,
        TokenKind::String if !raw.get(1..raw.len().checked_sub(1)?)?.contains('\'') => 1,
        _ => return None,
    };
    let inside = raw.get(quote..raw.len().checked_sub(quote)?)?;
    Some((inside, token.start + quote))
}

/// CREATE FUNCTION or PROCEDURE, from that word on.
pub(super) fn routine(text: &str, mut words: Words<'_>, masked: &Masked) -> Option<Redirect> {
    let mut language = None;
    let mut string = None;
    let mut atomic = None;
    while let Some(token) = words.peek().copied() {
        if words.eat(&["language"]) {
            language = words.label();
        } else if words.eat(&["begin", "atomic"]) {
            atomic = Some(words.rest());
            break;
        } else if words.eat(&["return"]) {
            return expression(text, words.rest(), masked);
        } else if words.eat(&["as"]) {
            string = words
                .peek()
                .copied()
                .filter(|next| body(text, next).is_some())
                .or(string);
        } else if token.kind == TokenKind::Symbol(b'(') {
            words.parens()?;
        } else {
            words.advance();
        }
    }
    if let Some(tokens) = atomic {
        return statements(text, tokens, masked);
    }
    match language?.as_str() {
        "sql" => inner(text, &string?, masked, &|text, tokens| {
            statements(text, tokens, masked)
        }),
        "plpgsql" => inner(text, &string?, masked, &|text, tokens| {
            plpgsql(text, tokens, masked)
        }),
        _ => None,
    }
}

/// DO, behind that word.
pub(super) fn code(text: &str, mut words: Words<'_>, masked: &Masked) -> Option<Redirect> {
    let mut string = None;
    let mut language = "plpgsql".to_owned();
    while let Some(token) = words.peek().copied() {
        if words.eat(&["language"]) {
            language = words.label()?;
        } else {
            string = Some(token);
            words.advance();
        }
        if is_end(&token) {
            break;
        }
    }
    if language != "plpgsql" {
        return None;
    }
    inner(text, &string?, masked, &|text, tokens| {
        plpgsql(text, tokens, masked)
    })
}

/// Redirects inside of a string constant.
fn inner(
    text: &str,
    string: &Token,
    _masked: &Masked,
    redirect: &dyn Fn(&str, &[Token]) -> Option<Redirect>,
) -> Option<Redirect> {
    let (inside, offset) = body(text, string)?;
    let tokens = lexer::significant(inside);
    let mut found = redirect(inside, &tokens)?;
    let tag = text.get(string.start..offset)?;
    for edit in &mut found.edits {
        // What is put in must not end the string.
        if string.kind == TokenKind::String {
            edit.text = edit.text.replace('\'', "''");
        } else if edit.text.contains(tag) {
            return None;
        }
        *edit = Edit::new(
            edit.range.start + offset..edit.range.end + offset,
            std::mem::take(&mut edit.text),
        );
    }
    found.returning = None;
    Some(found)
}

/// `RETURN expression`.
fn expression(text: &str, tokens: &[Token], masked: &Masked) -> Option<Redirect> {
    let expression = outline::expression(text, tokens)?;
    let mut walk = Walk::new(text, masked, Answer::Impossible);
    walk.scopes.push(Scope::default());
    walk.expression(&expression);
    Some(result(walk))
}

/// SQL statements, one after the other; what is not understood ends the list.
fn statements(text: &str, tokens: &[Token], masked: &Masked) -> Option<Redirect> {
    let mut found = Redirect::default();
    for statement in tokens.split(is_end) {
        // The last one of BEGIN ATOMIC is END.
        let Some(outline) = outline::outline(text, statement) else {
            continue;
        };
        let mut walk = Walk::new(text, masked, Answer::Impossible);
        walk.statement(&outline);
        add(&mut found, result(walk));
    }
    Some(found)
}

fn add(found: &mut Redirect, more: Redirect) {
    found.edits.extend(more.edits);
    found.views.extend(more.views);
    found.blocked = found.blocked.take().or(more.blocked);
}

/// The statements in a body of PL/pgSQL: where a word of SQL begins one, and queries in parentheses.
fn plpgsql(text: &str, tokens: &[Token], masked: &Masked) -> Option<Redirect> {
    let mut found = Redirect::default();
    for statement in tokens.split(is_end) {
        let mut at = 0;
        while let Some(rest) = statement.get(at..).filter(|rest| !rest.is_empty()) {
            let words = Words::new(text, rest);
            let begins = words.is_any(&[
                "select", "with", "insert", "update", "delete", "merge", "perform",
            ]) || (words.is_symbol(b'(') && words.is_query());
            // In `FOR UPDATE`, `BEFORE INSERT` or a name the outline fails, and nothing is changed.
            let read = if begins {
                one(text, rest, masked)
            } else {
                None
            };
            match read {
                Some((redirect, left)) => {
                    add(&mut found, redirect);
                    at = statement.len() - left;
                }
                None => at += 1,
            }
        }
    }
    Some(found)
}

/// One statement in PL/pgSQL, and how many tokens stand behind it.
fn one(text: &str, tokens: &[Token], masked: &Masked) -> Option<(Redirect, usize)> {
    let mut words = Words::new(text, tokens);
    if words.is_any(&["perform"]) {
        // It is a SELECT under another name.
        words.advance();
        let (select, left) = outline::select_list(text, words.rest())?;
        let mut walk = Walk::new(text, masked, Answer::Impossible);
        walk.statement(&select);
        return Some((result(walk), left.len()));
    }
    if words.is_symbol(b'(') {
        let inside = words.inside()?;
        let outline = outline::outline(text, inside)?;
        let mut walk = Walk::new(text, masked, Answer::Impossible);
        walk.statement(&outline);
        words.parens()?;
        return Some((result(walk), words.rest().len()));
    }
    let (outline, rest) = outline::routine_prefix(text, tokens)?;
    let mut walk = Walk::new(text, masked, Answer::Impossible);
    walk.statement(&outline);
    Some((result(walk), rest.len()))
}
