//! What a changeset says to people: counts, keys and values that a terminal takes as such.

use super::{Counts, Row, Table};

/// How much of a value is shown, in characters.
const LONGEST: usize = 160;

/// `id=5`, or all cells where the table has no key.
pub fn key(table: &Table, row: &Row) -> String {
    if table.key.is_empty() {
        return cells(table, row, 0..row.len());
    }
    cells(table, row, table.key.iter().copied())
}

/// `2 inserted, 1 deleted`.
pub fn counted(counts: &Counts) -> String {
    let words = [
        (counts.inserted, "inserted"),
        (counts.updated, "updated"),
        (counts.deleted, "deleted"),
    ];
    let words = words.iter().filter(|(count, _)| *count > 0);
    words
        .map(|(count, word)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `id=5 name=cup`: these cells of a row; nothing in it speaks to a terminal.
pub fn cells(table: &Table, row: &Row, which: impl Iterator<Item = usize>) -> String {
    let cell = |at: usize| {
        let column = table.columns.get(at)?;
        let cell = row.get(at)?;
        Some(format!(
            "{}={}",
            visible(&column.name),
            shown(cell.as_ref())
        ))
    };
    which.filter_map(cell).collect::<Vec<_>>().join(" ")
}

/// A value, shortened; NULL is a word, and what could be taken for it, or for more than one value, is quoted.
pub fn shown(cell: Option<&String>) -> String {
    let Some(text) = cell else {
        return "NULL".to_owned();
    };
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    let plain = !short.is_empty() && short != "NULL" && !short.contains([' ', '\'', '=', '→']);
    if plain {
        visible(&short)
    } else {
        format!("'{}'", visible(&short.replace('\'', "''")))
    }
}

/// A text that a terminal takes as such: what would move its cursor, or turn its direction, is written out.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {
                shown.extend(c.escape_unicode());
            }
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_speak_to_the_terminal() {
        for (value, expected) in [
            (Some("a"), "a"),
            (None, "NULL"),
            (Some("NULL"), "'NULL'"),
            (Some(""), "''"),
            (Some("it's"), "'it''s'"),
            (Some("\u{1b}[2J\u{202e}x\n"), "\\u{1b}[2J\\u{202e}x\\n"),
        ] {
            assert_eq!(shown(value.map(str::to_owned).as_ref()), expected);
        }
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(shown(Some(&long)).chars().count(), LONGEST + 1);
    }
}
