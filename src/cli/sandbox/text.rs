//! A changeset for people.

use super::diff::{Line, Lines, Shows, name};
use crate::changeset::{Change, Counts, Event, Row, Summary, Table};
use std::sync::Arc;

/// How much of a value is shown.
const LONGEST: usize = 160;

/// Lines like those of `git diff`.
pub(super) struct Text {
    colour: bool,
    table: Option<Arc<Table>>,
    shown: Counts,
}

impl Text {
    pub(super) fn new(colour: bool) -> Self {
        Self {
            colour,
            table: None,
            shown: Counts::default(),
        }
    }

    fn paint(&self, code: &str, text: String) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text
        }
    }

    /// `id=5`, or all cells where the row has no key.
    fn key(&self, row: &Row) -> String {
        let Some(table) = &self.table else {
            return String::new();
        };
        if table.key.is_empty() {
            return cells(table, row, 0..row.len());
        }
        cells(table, row, table.key.iter().copied())
    }

    fn change(&mut self, change: &Change) -> Vec<String> {
        let Some(table) = self.table.clone() else {
            return Vec::new();
        };
        match change {
            Change::Insert(row) => {
                self.shown.inserted += 1;
                vec![self.paint("32", format!("  + {}", cells(&table, row, 0..row.len())))]
            }
            Change::Delete(row) => {
                self.shown.deleted += 1;
                vec![self.paint("31", format!("  - {}", cells(&table, row, 0..row.len())))]
            }
            Change::Update { before, after } => {
                self.shown.updated += 1;
                let mut lines = vec![self.paint("33", format!("  ~ {}", self.key(before)))];
                for at in change.changed() {
                    let column = table.columns.get(at).map_or("", |column| &column.name);
                    let old = shown(before.get(at).and_then(Option::as_ref));
                    let new = shown(after.get(at).and_then(Option::as_ref));
                    lines.push(format!(
                        "      {}: {} → {}",
                        visible(column),
                        self.paint("31", old),
                        self.paint("32", new)
                    ));
                }
                lines
            }
        }
    }
}

impl Shows for Text {
    fn event(&mut self, event: &Event<'_>) -> Lines {
        Ok(match event {
            Event::Definition(made) => {
                let first = made.sql.lines().next().unwrap_or_default();
                let more = if made.sql.lines().count() > 1 {
                    " …"
                } else {
                    ""
                };
                vec![
                    self.paint("1", format!("{} {}", made.kind, visible(&made.name))),
                    self.paint("32", format!("  + {}{more}", visible(first))),
                ]
            }
            Event::Table(table) => {
                self.shown = Counts::default();
                self.table = Some((*table).clone());
                vec![self.paint("1", visible(&name(table)))]
            }
            Event::Change(change) => self.change(change),
            Event::Counted(counts) => {
                let mut line = format!("  {}", counted(counts));
                let all = counts.inserted + counts.updated + counts.deleted;
                let shown = self.shown.inserted + self.shown.updated + self.shown.deleted;
                if shown < all {
                    line.push_str(&format!("; {} not shown", all - shown));
                }
                vec![line]
            }
            Event::Progress { .. } => Vec::new(),
        })
    }

    fn end(&mut self, summary: &Summary, line: Line<'_>) -> std::io::Result<()> {
        summary.withheld.iter().try_for_each(|withheld| {
            let name = visible(&format!("{}.{}", withheld.schema, withheld.name));
            line(&self.paint("1", name))?;
            line(&format!(
                "  not shown: {}; {}, rolled back or not",
                withheld.because,
                counted(&withheld.counted)
            ))
        })
    }
}

/// `2 inserted, 1 deleted`.
pub(super) fn counted(counts: &Counts) -> String {
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

fn cells(table: &Table, row: &Row, which: impl Iterator<Item = usize>) -> String {
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

/// A value; NULL is a word, and what could be taken for it, or for more than one value, is quoted.
fn shown(cell: Option<&String>) -> String {
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
pub(super) fn visible(text: &str) -> String {
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
