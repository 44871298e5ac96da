//! A changeset as one page of HTML, with nothing from elsewhere.

use super::words::counted;
use super::{Change, Event, Row, Summary};
use crate::report::html::{FOOT, escaped, head};

/// The page, a piece at a time: first a heading, then for each event what belongs to it, then the end.
#[derive(Debug)]
pub struct Page {
    sandbox: String,
    /// It is a file of its own.
    whole: bool,
    begun: bool,
}

impl Page {
    /// Of the sandbox of this name; a file of its own.
    pub fn new(sandbox: &str) -> Self {
        Self {
            sandbox: sandbox.to_owned(),
            whole: true,
            begun: false,
        }
    }

    /// The same as a part of another page, which has [`crate::report::html::STYLE`].
    pub fn part(sandbox: &str) -> Self {
        Self {
            whole: false,
            ..Self::new(sandbox)
        }
    }

    fn head(&mut self) -> Vec<String> {
        if std::mem::replace(&mut self.begun, true) {
            return Vec::new();
        }
        let title = format!("Changes of sandbox {}", self.sandbox);
        let mut lines = Vec::new();
        if self.whole {
            lines.push(head(&title));
        }
        lines.push(format!("<h1>{}</h1>", escaped(&title)));
        lines
    }
}

impl Page {
    /// The lines for an event.
    pub fn event(&mut self, event: &Event<'_>) -> Vec<String> {
        let mut lines = self.head();
        match event {
            Event::Definition(made) => lines.push(format!(
                "<h2>{} {}</h2><pre class=\"made\">{}</pre>",
                made.kind,
                escaped(&made.name),
                escaped(&made.sql)
            )),
            Event::Table(table) => {
                let names = table.columns.iter().enumerate().map(|(at, column)| {
                    let key = if table.key.contains(&at) {
                        " class=\"key\""
                    } else {
                        ""
                    };
                    format!("<th{key}>{}</th>", escaped(&column.name))
                });
                lines.push(format!(
                    "<h2>{}</h2><div class=\"wide rows\"><table><tr><th></th>{}</tr>",
                    escaped(&table.full_name()),
                    names.collect::<String>()
                ));
            }
            Event::Change(change) => {
                let (class, sign, cells) = match change {
                    Change::Insert(row) => ("insert", '+', row_cells(row)),
                    Change::Delete(row) => ("delete", '−', row_cells(row)),
                    Change::Update { before, after } => {
                        let pairs = before.iter().zip(after);
                        let cells = pairs.map(|(before, after)| match before == after {
                            true => cell(after),
                            false => {
                                format!("<del>{}</del> <ins>{}</ins>", cell(before), cell(after))
                            }
                        });
                        (
                            "update",
                            '~',
                            cells.map(|cell| format!("<td>{cell}</td>")).collect(),
                        )
                    }
                };
                lines.push(format!("<tr class=\"{class}\"><td>{sign}</td>{cells}</tr>"));
            }
            Event::Counted(counts) => {
                lines.push(format!(
                    "</table></div><p class=\"soft\">{}</p>",
                    counted(counts)
                ));
            }
            Event::Progress { .. } => {}
        }
        lines
    }

    /// The lines behind the last event.
    pub fn end(&mut self, summary: &Summary) -> Vec<String> {
        let mut lines = self.head();
        if summary.is_empty() {
            lines.push("<p>Nothing changed.</p>".to_owned());
        }
        for withheld in &summary.withheld {
            lines.push(format!(
                "<h2>{}</h2><p class=\"notice\">Not shown: {}; {}, rolled back or not.</p>",
                escaped(&format!("{}.{}", withheld.schema, withheld.name)),
                withheld.because,
                counted(&withheld.counted)
            ));
        }
        if self.whole {
            lines.push(FOOT.to_owned());
        }
        lines
    }
}

fn row_cells(row: &Row) -> String {
    row.iter()
        .map(|value| format!("<td>{}</td>", cell(value)))
        .collect()
}

fn cell(value: &Option<String>) -> String {
    value
        .as_ref()
        .map_or_else(|| "<i>NULL</i>".to_owned(), |text| escaped(text))
}
