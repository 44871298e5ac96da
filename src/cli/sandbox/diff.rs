//! `devinprod sandbox diff [NAME]`

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::export::Script;
use super::text::Text;
use crate::changeset::html::Page;
use crate::changeset::{self, Change, Counts, Event, Options, Row, Summary};
use crate::cli::connect::{ProxyUrl, Sides};
use crate::cli::table::csv_line;
use crate::cli::{Failure, print};

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArgs {
    /// The sandbox; without it, the one of the URL
    name: Option<String>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Only this table, such as orders or public.orders; may be given more than once
    #[arg(long, value_name = "TABLE")]
    table: Vec<String>,
    /// Show so many rows of each table, and count the others
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// Exit with 1 if something changed
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    proxy: ProxyUrl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object per line
    Json,
    /// One line per cell that changed
    Csv,
    /// A script that makes the same change elsewhere
    Sql,
    /// One page
    Html,
}

/// How long a reading may take.
#[derive(Debug, Args)]
pub(super) struct Patience {
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

/// Something that makes lines of a changeset.
pub(super) trait Shows: Send {
    /// What is to be printed of an event.
    fn event(&mut self, event: &Event<'_>) -> Lines;
    /// What is to be printed at the end.
    fn end(&mut self, summary: &Summary, line: Line<'_>) -> std::io::Result<()>;
}

/// Takes a line.
pub(super) type Line<'a> = &'a mut (dyn FnMut(&str) -> std::io::Result<()> + Send);

/// Lines, or why there are none.
pub(super) type Lines = std::io::Result<Vec<String>>;

pub(super) async fn run(args: DiffArgs) -> anyhow::Result<ExitCode> {
    let sides = args.proxy.sides(args.name.as_deref()).await?;
    let mut shows: Box<dyn Shows> = match args.format {
        Format::Table => Box::new(Text::new(print::has_colour())),
        Format::Json => Box::new(Json::default()),
        Format::Csv => Box::new(Csv::default()),
        Format::Html => Box::new(Page::new(&sides.sandbox)),
        Format::Sql => Box::new(Script::new(&sides.sandbox)?),
    };
    let options = Options {
        only: args.table,
        limit: args.limit,
    };
    let mut out = Out::default();
    let summary = show(
        &sides,
        &options,
        &args.patience,
        shows.as_mut(),
        &mut |line| {
            out.line(line);
            Ok(())
        },
    )
    .await?;
    out.flush();
    if summary.is_empty() && args.format == Format::Table {
        print::note(format!("sandbox \"{}\" has changed nothing", sides.sandbox));
    }
    Ok(if args.exit_code && !summary.is_empty() {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// Reads a changeset and hands its lines on.
pub(super) async fn show(
    sides: &Sides,
    options: &Options,
    patience: &Patience,
    shows: &mut dyn Shows,
    line: Line<'_>,
) -> anyhow::Result<Summary> {
    let mut failed = None;
    let mut tell = |event: Event<'_>| {
        if let Event::Progress { done, total } = event {
            print::progress(done, total);
            return ControlFlow::Continue(());
        }
        let written = shows
            .event(&event)
            .and_then(|lines| lines.iter().try_for_each(|text| line(text)));
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let limit = Duration::from_secs(patience.timeout);
    let read = changeset::read(&sides.inside, &sides.outside, options, &mut tell);
    let summary = tokio::time::timeout(limit, read).await;
    print::progress(0, 0);
    let summary = summary
        .map_err(|_| {
            Failure::new(
                format!("the changeset was not read within {} s", patience.timeout),
                "give a longer --timeout, or --table for a part of it",
            )
        })?
        .map_err(|error| match error.hint() {
            Some(hint) => anyhow::Error::from(Failure::new(error.to_string(), hint)),
            None => error.into(),
        })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    shows.end(&summary, line)?;
    Ok(summary)
}

/// Lines for standard output, many at a time.
#[derive(Default)]
struct Out(String);

impl Out {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
        if self.0.len() > 1 << 15 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.0.pop().is_some() {
            print::line(&self.0);
        }
        self.0.clear();
    }
}

impl Shows for Page {
    fn event(&mut self, event: &Event<'_>) -> Lines {
        Ok(Page::event(self, event))
    }

    fn end(&mut self, summary: &Summary, line: Line<'_>) -> std::io::Result<()> {
        Page::end(self, summary)
            .iter()
            .try_for_each(|text| line(text))
    }
}

/// JSON Lines.
#[derive(Default)]
struct Json {
    table: String,
    columns: Vec<String>,
    key: Vec<usize>,
}

impl Json {
    fn row(&self, row: &Row) -> Value {
        let cells = self.columns.iter().zip(row);
        let cells = cells.map(|(name, cell)| (name.clone(), json!(cell)));
        Value::Object(cells.collect::<Map<_, _>>())
    }

    fn key(&self, row: &Row) -> Value {
        let cell = |at: &usize| Some((self.columns.get(*at)?.clone(), json!(row.get(*at)?)));
        Value::Object(self.key.iter().filter_map(cell).collect::<Map<_, _>>())
    }
}

fn counts(counts: &Counts) -> Value {
    json!({"inserted": counts.inserted, "updated": counts.updated, "deleted": counts.deleted})
}

impl Shows for Json {
    fn event(&mut self, event: &Event<'_>) -> Lines {
        let value = match event {
            Event::Definition(made) => {
                json!({"made": made.kind, "name": made.name, "sql": made.sql})
            }
            Event::Table(table) => {
                self.table = table.full_name();
                self.columns = table.columns.iter().map(|c| c.name.clone()).collect();
                self.key.clone_from(&table.key);
                return Ok(Vec::new());
            }
            Event::Change(change) => {
                let mut value = match change {
                    Change::Insert(row) => {
                        json!({"change": "insert", "key": self.key(row), "after": self.row(row)})
                    }
                    Change::Delete(row) => {
                        json!({"change": "delete", "key": self.key(row), "before": self.row(row)})
                    }
                    Change::Update { before, after } => {
                        let changed = change.changed();
                        let names = changed.iter().filter_map(|at| self.columns.get(*at));
                        json!({
                            "change": "update", "key": self.key(before), "changed": names.collect::<Vec<_>>(),
                            "before": self.row(before), "after": self.row(after),
                        })
                    }
                };
                if let Some(object) = value.as_object_mut() {
                    object.insert("table".to_owned(), json!(self.table));
                }
                value
            }
            Event::Counted(counted) => json!({"table": self.table, "counts": counts(counted)}),
            Event::Progress { .. } => return Ok(Vec::new()),
        };
        Ok(vec![value.to_string()])
    }

    fn end(&mut self, summary: &Summary, line: Line<'_>) -> std::io::Result<()> {
        summary.withheld.iter().try_for_each(|withheld| {
            let value = json!({
                "withheld": format!("{}.{}", withheld.schema, withheld.name),
                "because": withheld.because, "counts": counts(&withheld.counted),
            });
            line(&value.to_string())
        })
    }
}

/// A line per cell.
#[derive(Default)]
struct Csv {
    begun: bool,
    table: String,
    columns: Vec<String>,
    row: u64,
}

/// NULL is nothing, and an empty text is quoted, as in COPY.
fn csv(cell: Option<&String>) -> String {
    match cell {
        Some(text) if text.is_empty() => "\"\"".to_owned(),
        // A number is no formula, whatever its sign.
        Some(text) if text.parse::<f64>().is_ok() => text.clone(),
        Some(text) => csv_line(std::iter::once(text.as_str())),
        None => String::new(),
    }
}

impl Csv {
    fn head(&mut self) -> Vec<String> {
        let first = !std::mem::replace(&mut self.begun, true);
        first
            .then(|| "table,row,change,column,before,after".to_owned())
            .into_iter()
            .collect()
    }
}

impl Shows for Csv {
    fn event(&mut self, event: &Event<'_>) -> Lines {
        let mut lines = self.head();
        match event {
            Event::Table(table) => {
                self.table = table.full_name();
                self.columns = table.columns.iter().map(|c| c.name.clone()).collect();
            }
            Event::Change(change) => {
                self.row += 1;
                let (word, before, after) = match change {
                    Change::Insert(row) => ("insert", None, Some(row)),
                    Change::Delete(row) => ("delete", Some(row), None),
                    Change::Update { before, after } => ("update", Some(before), Some(after)),
                };
                let cell = |row: Option<&Row>, at: usize| {
                    csv(row.and_then(|row| row.get(at)).and_then(Option::as_ref))
                };
                for at in change.changed() {
                    let column = self.columns.get(at).map_or("", String::as_str);
                    lines.push(format!(
                        "{},{},{word},{},{},{}",
                        csv_line(std::iter::once(self.table.as_str())),
                        self.row,
                        csv_line(std::iter::once(column)),
                        cell(before, at),
                        cell(after, at)
                    ));
                }
            }
            Event::Definition(_) | Event::Counted(_) | Event::Progress { .. } => {}
        }
        Ok(lines)
    }

    fn end(&mut self, _: &Summary, line: Line<'_>) -> std::io::Result<()> {
        self.head().iter().try_for_each(|head| line(head))
    }
}
