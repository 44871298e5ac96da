//! SET, RESET and SHOW in all their forms.
//!
//! A form that the grammar does not have becomes a SET, RESET or SHOW of the empty name, which is no setting:
//! forwarded, Postgres answers with its own syntax error.

use super::cursor::Cursor;
use super::lexer::TokenKind;
use super::statement::{Kind, SetValue};

/// SET, behind its first word; SET TRANSACTION and SET CONSTRAINTS were recognised before.
pub(super) fn set(mut cursor: Cursor<'_>) -> Kind {
    let is_scope = cursor.is_any_word(&["local", "session"])
        && !is_assignment(&cursor, 1)
        && !(cursor.is_word("session") && cursor.is_word_ahead(1, "authorization"));
    let local = is_scope && cursor.is_word("local");
    if is_scope {
        cursor.advance();
    }
    match special(&mut cursor).or_else(|| generic(&mut cursor)) {
        Some((name, value)) if cursor.at_end() => Kind::Set { name, local, value },
        _ => Kind::Set {
            name: String::new(),
            local,
            value: SetValue::Other,
        },
    }
}

/// RESET, behind its first word.
pub(super) fn reset(mut cursor: Cursor<'_>) -> Kind {
    match shown_name(&mut cursor) {
        Some(name) if cursor.at_end() && name == "all" => Kind::ResetAll,
        Some(name) if cursor.at_end() => Kind::Reset(name),
        _ => Kind::Reset(String::new()),
    }
}

/// SHOW, behind its first word.
pub(super) fn show(mut cursor: Cursor<'_>) -> Kind {
    match shown_name(&mut cursor) {
        Some(name) if cursor.at_end() => Kind::Show(name),
        _ => Kind::Show(String::new()),
    }
}

/// Does `=`, TO or a dot stand `ahead` of here, so that the word before it is a setting's name?
fn is_assignment(cursor: &Cursor<'_>, ahead: usize) -> bool {
    let Some(token) = cursor.rest().get(ahead) else {
        return false;
    };
    match token.kind {
        TokenKind::Word => cursor.is_word_ahead(ahead, "to"),
        TokenKind::Operator => token.text(cursor.text()) == "=",
        kind => kind == TokenKind::Symbol(b'.'),
    }
}

/// The forms with a grammar of their own, under the name of the setting that they change.
fn special(cursor: &mut Cursor<'_>) -> Option<(String, SetValue)> {
    let (name, value) = if is_assignment(cursor, 1) {
        return None;
    } else if cursor.eat_words(&["time", "zone"]) {
        (
            "timezone",
            if cursor.eat_word("local") {
                SetValue::Default
            } else {
                values(cursor)?
            },
        )
    } else if cursor.eat_words(&["session", "authorization"]) {
        ("session_authorization", single(cursor)?)
    } else if cursor.eat_word("role") {
        ("role", single(cursor)?)
    } else if cursor.eat_word("schema") {
        ("search_path", SetValue::Single(cursor.string()?))
    } else if cursor.eat_word("names") {
        (
            "client_encoding",
            if cursor.at_end() {
                SetValue::Default
            } else {
                single(cursor)?
            },
        )
    } else if cursor.eat_words(&["xml", "option"]) {
        if !cursor.is_any_word(&["document", "content"]) {
            return None;
        }
        ("xmloption", single(cursor)?)
    } else {
        return None;
    };
    Some((name.to_owned(), value))
}

/// `name {= | TO} {value [, …] | DEFAULT}`.
fn generic(cursor: &mut Cursor<'_>) -> Option<(String, SetValue)> {
    let name = setting_name(cursor)?;
    if !cursor.eat_operator("=") && !cursor.eat_word("to") {
        return None;
    }
    Some((name, values(cursor)?))
}

/// A setting's name, its parts joined by dots, in lower case: settings do not mind the case, quoted or not.
fn setting_name(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut name = cursor.name()?.value.to_ascii_lowercase();
    while cursor.eat_symbol(b'.') {
        name.push('.');
        name.push_str(&cursor.name()?.value.to_ascii_lowercase());
    }
    Some(name)
}

fn values(cursor: &mut Cursor<'_>) -> Option<SetValue> {
    let before = cursor.clone();
    if let Some(value) = single(cursor)
        && cursor.at_end()
    {
        return Some(value);
    }
    *cursor = before;
    let mut seen = false;
    while let Some(token) = cursor.peek() {
        if matches!(token.kind, TokenKind::Other | TokenKind::Unterminated) {
            return None;
        }
        seen = true;
        cursor.advance();
    }
    seen.then_some(SetValue::Other)
}

/// DEFAULT, a string, a word, or a number with its sign.
fn single(cursor: &mut Cursor<'_>) -> Option<SetValue> {
    if cursor.eat_word("default") {
        return Some(SetValue::Default);
    }
    if let Some(value) = cursor.string().or_else(|| Some(cursor.label()?.value)) {
        return Some(SetValue::Single(value));
    }
    let minus = cursor.eat_operator("-");
    if !minus {
        cursor.eat_operator("+");
    }
    let number = cursor
        .peek()
        .filter(|token| token.kind == TokenKind::Number)?;
    let digits = number.text(cursor.text());
    cursor.advance();
    Some(SetValue::Single(if minus {
        format!("-{digits}")
    } else {
        digits.to_owned()
    }))
}

/// What RESET and SHOW name.
fn shown_name(cursor: &mut Cursor<'_>) -> Option<String> {
    let name = if cursor.eat_words(&["time", "zone"]) {
        "timezone"
    } else if cursor.eat_words(&["transaction", "isolation", "level"]) {
        "transaction_isolation"
    } else if cursor.eat_words(&["session", "authorization"]) {
        "session_authorization"
    } else if cursor.eat_word("all") {
        "all"
    } else {
        return setting_name(cursor);
    };
    Some(name.to_owned())
}
