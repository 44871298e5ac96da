//! A console answer as a table or as JSON: text in, text out.

use clap::ValueEnum;
use serde_json::{Map, Value};
use tokio_postgres::types::Type;
use tokio_postgres::{Column, Row};

/// How to print rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for people
    Table,
    /// One array of objects
    Json,
}

/// Rows of named columns.
#[derive(Debug, Default)]
pub(super) struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Rows {
    /// Rows that were made here.
    pub(super) fn new(columns: &[&str], rows: Vec<Vec<Value>>) -> Self {
        Self {
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            rows,
        }
    }

    /// A line of names and a line for each row ([RFC 4180](https://www.rfc-editor.org/rfc/rfc4180)).
    pub(super) fn to_csv(&self) -> String {
        let names = csv_line(self.columns.iter().map(String::as_str));
        let rows = self.rows.iter().map(|row| {
            let cells: Vec<String> = row.iter().map(csv_cell).collect();
            csv_line(cells.iter().map(String::as_str))
        });
        std::iter::once(names)
            .chain(rows)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Reads what a query answered. The console has text, bigint and boolean columns only.
    pub(super) fn read(columns: &[Column], rows: &[Row]) -> anyhow::Result<Self> {
        Ok(Self {
            columns: columns
                .iter()
                .map(|column| column.name().to_owned())
                .collect(),
            rows: rows.iter().map(read_row).collect::<anyhow::Result<_>>()?,
        })
    }

    /// Whether a row has this text in the column of this name.
    pub(super) fn has(&self, column: &str, text: &str) -> bool {
        let at = self.columns.iter().position(|name| name == column);
        at.is_some_and(|at| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            cells.into_iter().any(|cell| cell.as_str() == Some(text))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Objects by column name.
    pub(super) fn to_json(&self) -> Value {
        let object = |row: &Vec<Value>| {
            let fields = self.columns.iter().cloned().zip(row.iter().cloned());
            Value::Object(fields.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    /// Aligned columns under a line of names: numbers to the right, no space at a line's end.
    pub(super) fn to_table(&self) -> String {
        let cells: Vec<Vec<String>> = std::iter::once(self.columns.clone())
            .chain(self.rows.iter().map(|row| row.iter().map(cell).collect()))
            .collect();
        let width = |column: usize| {
            let lengths = cells.iter().filter_map(|row| row.get(column));
            lengths.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let is_number = |column: usize| {
            let mut values = self.rows.iter().filter_map(|row| row.get(column));
            values.any(Value::is_number)
        };
        let lines = cells.iter().map(|row| {
            let padded = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| {
                    if is_number(column) {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Cells with a comma between; quoted where they must be, and where a spreadsheet would take them for a formula.
pub(super) fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted = cells.map(|cell| {
        let formula = cell.starts_with(['=', '+', '-', '@', '\t']);
        match formula || cell.contains(['"', ',', '\n', '\r']) {
            true => format!(
                "\"{}{}\"",
                if formula { "'" } else { "" },
                cell.replace('"', "\"\"")
            ),
            false => cell.to_owned(),
        }
    });
    quoted.collect::<Vec<_>>().join(",")
}

fn csv_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn read_row(row: &Row) -> anyhow::Result<Vec<Value>> {
    let columns = row.columns().iter().enumerate();
    let value = |(at, column): (usize, &Column)| -> anyhow::Result<Value> {
        Ok(match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(at)?.into(),
            Type::BOOL => row.try_get::<_, Option<bool>>(at)?.into(),
            _ => row.try_get::<_, Option<String>>(at)?.into(),
        })
    };
    columns.map(value).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        Rows {
            columns: vec!["name".into(), "clients".into(), "armed".into()],
            rows: vec![
                vec!["default".into(), 12.into(), true.into()],
                vec!["é".into(), 3.into(), Value::Null],
            ],
        }
    }

    #[test]
    fn a_table_is_aligned() {
        assert_eq!(
            rows().to_table(),
            "name     clients  armed\ndefault       12  yes\né              3  -"
        );
    }

    #[test]
    fn json_has_names_and_types() {
        assert_eq!(
            rows().to_json().to_string(),
            r#"[{"armed":true,"clients":12,"name":"default"},{"armed":null,"clients":3,"name":"é"}]"#
        );
    }
}
