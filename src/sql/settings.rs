//! SET, RESET and SHOW in all their forms.
//!
//! A form that the grammar does not have becomes a SET, RESET or SHOW of the empty name, which is no setting:
//! forwarded, Postgres answers with its own syntax error.

use super::cursor::Cursor;
use super::keywords;
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
pub(super) fn is_assignment(cursor: &Cursor<'_>, ahead: usize) -> bool {
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
        ("timezone", time_zone(cursor)?)
    } else if cursor.eat_words(&["session", "authorization"]) {
        let is_default = cursor.eat_word("default");
        let value = if is_default {
            SetValue::Default
        } else {
            SetValue::Single(word_or_string(cursor)?)
        };
        ("session_authorization", value)
    } else if cursor.eat_word("role") {
        ("role", SetValue::Single(word_or_string(cursor)?))
    } else if cursor.eat_word("schema") {
        ("search_path", SetValue::Single(cursor.string()?))
    } else if cursor.eat_word("names") {
        let is_default = cursor.at_end() || cursor.eat_word("default");
        let value = if is_default {
            SetValue::Default
        } else {
            SetValue::Single(cursor.string()?)
        };
        ("client_encoding", value)
    } else if cursor.eat_words(&["xml", "option"]) {
        if !cursor.is_any_word(&["document", "content"]) {
            return None;
        }
        ("xmloption", SetValue::Single(word_or_string(cursor)?))
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
    if cursor.eat_word("default") {
        return Some((name, SetValue::Default));
    }
    let mut value = SetValue::Single(single(cursor)?);
    while cursor.eat_symbol(b',') {
        single(cursor)?;
        value = SetValue::Other;
    }
    Some((name, value))
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

/// What SET TIME ZONE takes: a value, LOCAL or DEFAULT, or an interval.
fn time_zone(cursor: &mut Cursor<'_>) -> Option<SetValue> {
    if cursor.eat_any_word(&["local", "default"]) {
        return Some(SetValue::Default);
    }
    if !cursor.eat_word("interval") {
        return single(cursor).map(SetValue::Single);
    }
    let _precision = cursor.parens();
    cursor.string()?;
    cursor.eat_word("hour");
    cursor.eat_words(&["to", "minute"]);
    Some(SetValue::Other)
}

/// A value of a setting: a string, a word, or a number with its sign.
fn single(cursor: &mut Cursor<'_>) -> Option<String> {
    if cursor.is_any_word(&["true", "false", "on"]) {
        return Some(cursor.label()?.value);
    }
    if let Some(value) = word_or_string(cursor) {
        return Some(value);
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
    Some(if minus {
        format!("-{digits}")
    } else {
        digits.to_owned()
    })
}

/// A string, or a word that is not reserved.
fn word_or_string(cursor: &mut Cursor<'_>) -> Option<String> {
    let is_reserved = cursor
        .peek()
        .is_some_and(|token| token.kind == TokenKind::Word)
        && keywords::is_reserved(cursor.peek_text());
    if is_reserved {
        return None;
    }
    cursor.string().or_else(|| Some(cursor.label()?.value))
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
