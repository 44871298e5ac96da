//! `current_setting('transaction_isolation')` and its like, told by a setting of ours; and what pg_dump would set.

use crate::sql::cursor::Cursor;
use crate::sql::edit::Edit;
use crate::sql::lexer::{self, TokenKind};
use crate::sql::value;

/// Edits that make each `current_setting('name' …)` whose name is a literal that `is_virtual` knows read `devinprod.name`
/// instead, and the names, in lower case, each once.
///
/// Only the literal changes, so that the call keeps its place, its column's name and its second argument. As with
/// [`now_edits`](super::now_edits), what is kept for later (a view, a default) is left alone.
pub fn setting_edits(text: &str, is_virtual: &dyn Fn(&str) -> bool) -> (Vec<Edit>, Vec<String>) {
    const FUNCTION: &[u8] = b"current_setting";
    let mut edits = Vec::new();
    let mut names: Vec<String> = Vec::new();
    // Few statements ask: a quick look before any work is done.
    let is_mentioned = text
        .as_bytes()
        .windows(FUNCTION.len())
        .any(|here| here.eq_ignore_ascii_case(FUNCTION));
    if !is_mentioned || !super::now::is_editable(text) {
        return (edits, names);
    }
    let tokens = lexer::significant(text);
    for (at, token) in tokens.iter().enumerate() {
        let is_name = matches!(token.kind, TokenKind::Word | TokenKind::QuotedIdentifier);
        if !is_name || value::identifier(token, text).as_deref() != Some("current_setting") {
            continue;
        }
        let mut cursor = Cursor::new(text, tokens.get(at + 1..).unwrap_or_default());
        if !cursor.eat_symbol(b'(') {
            continue;
        }
        let literal = cursor.here();
        let Some(name) = cursor.string().map(|name| name.to_ascii_lowercase()) else {
            continue;
        };
        if (cursor.is_symbol(b')') || cursor.is_symbol(b',')) && is_virtual(&name) {
            edits.push(Edit::new(literal, format!("'devinprod.{name}'")));
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    (edits, names)
}

/// Edits under which pg_dump's `SELECT set_config(name, …) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'`
/// finds no such setting, as on a server that does not have it yet.
///
/// The setting keeps a superuser's pg_dump from reading views, which could run the code of others. A developer's dump
/// reads the views that stand in the place of tables, and has no rights that somebody could borrow. What is set under a name
/// that is no literal is also nothing that could be kept to this one client.
pub fn restriction_edits(text: &str) -> Vec<Edit> {
    const SETTING: &str = "restrict_nonsystem_relation_kind";
    if !text.contains(SETTING) || !text.contains("pg_settings") {
        return Vec::new();
    }
    let tokens = lexer::significant(text);
    let calls = tokens.iter().any(|token| {
        matches!(token.kind, TokenKind::Word)
            && value::identifier(token, text).as_deref() == Some("set_config")
    });
    let literals = tokens.iter().enumerate().filter_map(|(at, _)| {
        let mut cursor = Cursor::new(text, tokens.get(at..).unwrap_or_default());
        let literal = cursor.here();
        (calls && cursor.string()? == SETTING)
            .then(|| Edit::new(literal, format!("'devinprod.{SETTING}'")))
    });
    literals.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::edit::Edits;

    #[test]
    fn literals_of_virtual_settings_are_renamed() {
        for (text, expected) in [
            (
                "select current_setting('transaction_isolation')",
                "select current_setting('devinprod.transaction_isolation')",
            ),
            (
                "select * from pg_catalog.\"current_setting\" ( E'Transaction_Isolation' , true ), t where x = CURRENT_SETTING('work_mem')",
                "select * from pg_catalog.\"current_setting\" ( 'devinprod.transaction_isolation' , true ), t where x = CURRENT_SETTING('work_mem')",
            ),
            ("select current_setting('transaction_' || 'isolation')", ""),
            ("select current_setting('transaction_isolation' || '')", ""),
            ("select current_setting($1)", ""),
            (
                "create view v as select current_setting('transaction_isolation')",
                "",
            ),
            ("select 'current_setting(''transaction_isolation'')'", ""),
        ] {
            let (found, names) = setting_edits(text, &|name| name == "transaction_isolation");
            assert_eq!(names.len(), found.len(), "{text}");
            let mut edits = Edits::new();
            edits.extend(found).unwrap();
            let expected = if expected.is_empty() { text } else { expected };
            assert_eq!(edits.apply(text).unwrap().text, expected);
        }
    }
    #[test]
    fn a_dump_finds_no_restriction() {
        for (text, expected) in [
            (
                "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
                "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'devinprod.restrict_nonsystem_relation_kind'",
            ),
            (
                "select setting from pg_settings where name = 'restrict_nonsystem_relation_kind'",
                "select setting from pg_settings where name = 'restrict_nonsystem_relation_kind'",
            ),
        ] {
            let mut edits = Edits::new();
            edits.extend(restriction_edits(text)).unwrap();
            assert_eq!(edits.apply(text).unwrap().text, expected);
        }
    }
}
