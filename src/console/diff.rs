//! SHOW DIFF: a changeset as rows, a row for each cell that changed.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::answer::{Cell, count, text};
use super::{Directory, Visitor};
use crate::changeset::words::{counted, key};
use crate::changeset::{Change, Event, Row, Table, Withheld};
use crate::error::{Refusal, SqlState};

/// The most rows of an answer: all of it is in memory before any of it is sent.
const MOST_ROWS: usize = 10_000;
/// The most that the values in it may take, in bytes.
const MOST_BYTES: usize = 8 << 20;

/// The answer to `SHOW DIFF name`.
///
/// # Errors
/// What the directory refuses; 54000 for a changeset that is too large to be shown like this.
pub(super) async fn rows(
    visitor: &Visitor,
    upstream: Option<&str>,
    name: &str,
    directory: &dyn Directory,
) -> Result<Vec<Vec<Cell>>, Refusal> {
    let mut listing = Listing::default();
    let summary = directory
        .changeset(visitor, upstream, name, &mut |event| listing.event(&event))
        .await?;
    for withheld in &summary.withheld {
        listing.withheld(withheld);
    }
    if summary.stopped || listing.is_full() {
        return Err(Refusal::error(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!(
                "sandbox \"{name}\" has changed more than SHOW DIFF shows: {MOST_ROWS} cells, or {} MB",
                MOST_BYTES >> 20
            ),
        )
        .hint(format!(
            "`devinprod sandbox diff {name}` shows all of it; --table and --limit a part"
        )));
    }
    Ok(listing.rows)
}

#[derive(Default)]
struct Listing {
    table: Option<Arc<Table>>,
    /// Counts changed rows, as the cells of one belong together.
    row: u64,
    rows: Vec<Vec<Cell>>,
    bytes: usize,
}

impl Listing {
    fn is_full(&self) -> bool {
        self.rows.len() > MOST_ROWS || self.bytes > MOST_BYTES
    }

    fn event(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Definition(made) => self.push([
                none(),
                text(made.name.as_str()),
                none(),
                text(format!("create {}", made.kind)),
                none(),
                none(),
                none(),
                text(made.sql.as_str()),
            ]),
            Event::Table(table) => self.table = Some(Arc::clone(table)),
            Event::Change(change) => {
                if let Some(table) = self.table.clone() {
                    self.change(&table, change);
                }
            }
            Event::Counted(_) | Event::Progress { .. } => {}
        }
        if self.is_full() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn change(&mut self, table: &Table, change: &Change) {
        self.row += 1;
        let (word, before, after) = match change {
            Change::Insert(row) => ("insert", None, Some(row)),
            Change::Delete(row) => ("delete", Some(row), None),
            Change::Update { before, after } => ("update", Some(before), Some(after)),
        };
        let cell = |row: Option<&Row>, at: usize| {
            Cell::Text(row.and_then(|row| row.get(at)).cloned().flatten())
        };
        let key = match before.or(after) {
            Some(row) if !table.key.is_empty() => Some(key(table, row)),
            _ => None,
        };
        for at in change.changed() {
            let column = table.columns.get(at).map(|column| column.name.clone());
            self.push([
                text(table.schema.as_str()),
                text(table.name.as_str()),
                count(self.row),
                text(word),
                Cell::Text(key.clone()),
                Cell::Text(column),
                cell(before, at),
                cell(after, at),
            ]);
            // A row may have as many columns as 1600, each of any size.
            if self.is_full() {
                return;
            }
        }
    }

    fn withheld(&mut self, withheld: &Withheld) {
        self.push([
            text(withheld.schema.as_str()),
            text(withheld.name.as_str()),
            none(),
            text("not shown"),
            none(),
            none(),
            none(),
            text(format!(
                "{}, rolled back or not; {}",
                counted(&withheld.counted),
                withheld.because
            )),
        ]);
    }

    fn push(&mut self, cells: [Cell; 8]) {
        self.bytes += cells
            .iter()
            .map(|cell| match cell {
                Cell::Text(Some(text)) => text.len(),
                _ => 0,
            })
            .sum::<usize>();
        self.rows.push(cells.into());
    }
}

fn none() -> Cell {
    Cell::Text(None)
}
