//! A changeset for people.

use super::diff::{Line, Lines, Shows};
use crate::changeset::words::{cells, counted, key, shown, visible};
use crate::changeset::{Change, Counts, Event, Summary, Table};
use std::sync::Arc;

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
                let mut lines = vec![self.paint("33", format!("  ~ {}", key(&table, before)))];
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
                vec![self.paint("1", visible(&table.full_name()))]
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
