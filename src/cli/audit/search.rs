//! `devinprod audit search` and `audit tail`

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::Where;
use crate::audit::record::Record;
use crate::audit::search::{Filter, Follow, search as search_log};
use crate::audit::time;
use crate::cli::table::csv_line;
use crate::cli::{Failure, print};
use crate::report::units::Span;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(in crate::cli) struct SearchArgs {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct TailArgs {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    shape: Shape,
    /// Wait for more
    #[arg(short, long)]
    follow: bool,
    /// How many of the last segment's records to begin with
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
}

/// Which records.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Who did it
    #[arg(long)]
    developer: Option<String>,
    /// On which upstream
    #[arg(long)]
    upstream: Option<String>,
    /// Statements that read or write this table
    #[arg(long)]
    table: Option<String>,
    /// Statements that read this sensitive column: email, customers.email …
    #[arg(long)]
    column: Option<String>,
    /// Records of this kind: statement, refused, client_connected, sandbox_begun …
    #[arg(long)]
    event: Option<String>,
    /// Statements that ended so: done, failed, refused, cut
    #[arg(long)]
    verdict: Option<String>,
    /// From this time on: 7d, 12h, 2026-01-31, 2026-01-31T08:30:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// How records are printed.
#[derive(Debug, Args)]
pub(super) struct Shape {
    /// The lines as they stand in the log
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Comma-separated values
    #[arg(long)]
    csv: bool,
}

const COLUMNS: [&str; 14] = [
    "time",
    "sequence",
    "event",
    "developer",
    "client",
    "application",
    "upstream",
    "sandbox",
    "does",
    "verdict",
    "sqlstate",
    "rows",
    "relations",
    "statement",
];

impl FilterArgs {
    pub(super) fn filter(&self) -> anyhow::Result<Filter> {
        Ok(Filter {
            developer: self.developer.clone(),
            upstream: self.upstream.clone(),
            table: self.table.clone(),
            column: self.column.clone(),
            event: self.event.clone(),
            verdict: self.verdict.clone(),
            since: self.since.as_deref().map(moment).transpose()?.unwrap_or(0),
            until: self.until.as_deref().map(moment).transpose()?,
        })
    }
}

/// A time, or how long ago one was, in milliseconds since 1970.
fn moment(text: &str) -> anyhow::Result<u64> {
    let ago = Span::parse(text).map(|Span(ago)| {
        let now = time::milliseconds(SystemTime::now());
        now.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))
    });
    ago.or_else(|| time::parse(text)).ok_or_else(|| {
        Failure::new(
            format!("{text} is no time"),
            "write 7d, 12h, 30min, a day such as 2026-01-31, or 2026-01-31T08:30:00Z (UTC)",
        )
        .into()
    })
}

pub(in crate::cli) fn search(args: &SearchArgs) -> anyhow::Result<()> {
    let filter = args.filter.filter()?;
    args.shape.head();
    search_log(&args.at.folder()?, &filter, |record, line| {
        args.shape.print(record, line);
        Ok(())
    })
}

pub(in crate::cli) fn tail(args: &TailArgs) -> anyhow::Result<()> {
    let filter = args.filter.filter()?;
    let mut follow = Follow::last_segment(&args.at.folder()?)?;
    args.shape.head();
    let mut line = Vec::new();
    let mut last = VecDeque::new();
    while let Some(record) = follow.next(&mut line)? {
        if filter.fits(&record) {
            last.push_back((record, line.clone()));
            if last.len() > args.lines {
                last.pop_front();
            }
        }
    }
    for (record, line) in last {
        args.shape.print(&record, &line);
    }
    if !args.follow {
        return Ok(());
    }
    loop {
        match follow.next(&mut line)? {
            Some(record) if filter.fits(&record) => args.shape.print(&record, &line),
            Some(_) => {}
            None => std::thread::sleep(LOOK),
        }
    }
}

impl Shape {
    fn head(&self) {
        if self.csv {
            print::line(csv_line(COLUMNS.into_iter()));
        }
    }

    fn print(&self, record: &Record, line: &[u8]) {
        if self.json {
            print::line(String::from_utf8_lossy(line));
        } else if self.csv {
            print::line(csv_line(cells(record).iter().map(String::as_str)));
        } else {
            print::line(sentence(record));
        }
    }
}

/// What stands under [`COLUMNS`].
fn cells(record: &Record) -> [String; 14] {
    let what = &record.unmapped;
    let some = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        record.time_dt.clone(),
        record.metadata.sequence.to_string(),
        what.event.clone(),
        record.actor.user.name.clone(),
        client(record),
        record.actor.app_name.clone(),
        record.database.name.clone(),
        some(&what.sandbox),
        what.does.clone(),
        some(&what.verdict),
        some(&record.status_code),
        what.rows.to_string(),
        what.relations.join(" "),
        text(record).to_owned(),
    ]
}

/// One line for people.
fn sentence(record: &Record) -> String {
    let what = &record.unmapped;
    let mut words = vec![
        record.time_dt.clone(),
        record.actor.user.name.clone(),
        record.database.name.clone(),
    ];
    match &what.verdict {
        Some(verdict) => {
            words.push(verdict.clone());
            words.extend(record.status_code.clone());
            words.push(format!("{} rows", what.rows + what.rows_written));
        }
        None => {
            words.push(what.event.clone());
            words.extend(record.status_code.clone());
        }
    }
    words.push(text(record).to_owned());
    // A statement's text may hold line ends, and worse: names are the client's.
    let line = words.join("  ");
    line.trim_end()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn client(record: &Record) -> String {
    match (record.src_endpoint.ip, record.src_endpoint.port) {
        (Some(ip), Some(port)) => std::net::SocketAddr::new(ip, port).to_string(),
        _ => String::new(),
    }
}

/// The statement, or what else a record says.
fn text(record: &Record) -> &str {
    let what = &record.unmapped;
    let query = record.query_info.as_ref().map(|query| &query.query_string);
    query
        .or(what.message.as_ref())
        .or(what.reason.as_ref())
        .or(what.command.as_ref())
        .map_or("", String::as_str)
}
