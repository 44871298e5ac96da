//! A changeset as one page of HTML, with nothing from elsewhere.

use super::words::counted;
use super::{Change, Event, Row, Summary};
use crate::report::html::escaped;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1f2328;background:#fff}\
    h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}\
    th,td{border:1px solid #d1d9e0;padding:.25rem .5rem;text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:anywhere}\
    th{background:#f6f8fa}tr.insert td{background:#e6ffec}tr.delete td{background:#ffebe9}del{background:#ffcecb;text-decoration:none}\
    ins{background:#abf2bc;text-decoration:none}i{color:#6e7781}pre{background:#e6ffec;padding:.75rem;overflow-x:auto}\
    @media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th{background:#161b22}th,td{border-color:#3d444d}\
    tr.insert td,pre{background:#12261e}tr.delete td{background:#25171c}del{background:#67060c}ins{background:#055d20}}";

/// The page, a piece at a time.
#[derive(Debug)]
pub struct Page {
    sandbox: String,
    begun: bool,
}

impl Page {
    /// Of the sandbox of this name.
    pub fn new(sandbox: &str) -> Self {
        Self {
            sandbox: sandbox.to_owned(),
            begun: false,
        }
    }

    fn head(&mut self) -> Vec<String> {
        if std::mem::replace(&mut self.begun, true) {
            return Vec::new();
        }
        let title = escaped(&format!("Changes of sandbox {}", self.sandbox));
        vec![format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n\
             <body><h1>{title}</h1>"
        )]
    }
}

impl Page {
    /// The lines for an event.
    pub fn event(&mut self, event: &Event<'_>) -> Vec<String> {
        let mut lines = self.head();
        match event {
            Event::Definition(made) => lines.push(format!(
                "<h2>{} {}</h2><pre>{}</pre>",
                made.kind,
                escaped(&made.name),
                escaped(&made.sql)
            )),
            Event::Table(table) => {
                let names = table.columns.iter().enumerate().map(|(at, column)| {
                    let key = if table.key.contains(&at) { " *" } else { "" };
                    format!("<th>{}{key}</th>", escaped(&column.name))
                });
                lines.push(format!(
                    "<h2>{}</h2><table><tr><th></th>{}</tr>",
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
                lines.push(format!("</table><p>{}</p>", counted(counts)));
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
                "<h2>{}</h2><p>Not shown: {}; {}, rolled back or not.</p>",
                escaped(&format!("{}.{}", withheld.schema, withheld.name)),
                withheld.because,
                counted(&withheld.counted)
            ));
        }
        lines.push("</body></html>".to_owned());
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
