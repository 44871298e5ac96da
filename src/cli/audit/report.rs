//! `devinprod audit report`

use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Where;
use super::search::FilterArgs;
use crate::audit::report::Report;
use crate::audit::search::search;
use crate::audit::time::Utc;
use crate::cli::print;
use crate::cli::table::Rows;

/// Days, in seconds.
const DAY: u64 = 86_400;

#[derive(Debug, Args)]
pub(in crate::cli) struct ReportArgs {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    filter: FilterArgs,
    /// How to print it; CSV has the columns that were read, without the unusual days
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// How many lines of each table, at most
    #[arg(long, default_value_t = 20)]
    top: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub(in crate::cli) fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let filter = args.filter.filter()?;
    let mut report = Report::default();
    search(&args.at.folder()?, &filter, |record, _| {
        report.add(record);
        anyhow::Ok(())
    })?;
    let (columns, unusual) = (read(&report, args.top), unusual(&report, args.top));
    match args.format {
        Format::Csv => print::line(columns.to_csv()),
        Format::Json => {
            let whole = json!({ "columns": columns.to_json(), "unusual": unusual.to_json() });
            print::line(whole.to_string());
        }
        Format::Table if columns.is_empty() => {
            print::note("no statement has read a sensitive column");
        }
        Format::Table => {
            print::line(columns.to_table());
            if !unusual.is_empty() {
                print::line(
                    "\nunusual days: far more sensitive rows than the developer's median of the days before\n",
                );
                print::line(unusual.to_table());
            }
        }
    }
    Ok(())
}

fn read(report: &Report, top: usize) -> Rows {
    let names = [
        "developer",
        "upstream",
        "column",
        "statements",
        "rows",
        "stopped",
        "first",
        "last",
    ];
    let rows = report.columns().into_iter().take(top).map(|read| {
        vec![
            read.developer.into(),
            read.upstream.into(),
            read.column.into(),
            read.statements.into(),
            read.rows.into(),
            read.stopped.into(),
            read.first.into(),
            read.last.into(),
        ]
    });
    Rows::new(&names, rows.collect())
}

fn unusual(report: &Report, top: usize) -> Rows {
    let rows = report.unusual().into_iter().take(top).map(|unusual| {
        let day = Utc(UNIX_EPOCH + Duration::from_secs(unusual.day.saturating_mul(DAY)));
        let day: String = day.to_string().chars().take(10).collect();
        vec![
            unusual.developer.into(),
            day.into(),
            unusual.rows.into(),
            unusual.median.map_or(Value::Null, Value::from),
        ]
    });
    Rows::new(&["developer", "day", "rows", "median"], rows.collect())
}
