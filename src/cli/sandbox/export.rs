//! `devinprod sandbox export|import`: a changeset as a script, and a script into a sandbox.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::diff::{Line, Lines, Patience, Shows, show};
use crate::changeset::script::{self, HEAD, TAIL, Turn};
use crate::changeset::words::visible;
use crate::changeset::{Definition, Event, Options, Summary, Table};
use crate::cli::connect::{ProxyUrl, plain};
use crate::cli::{Failure, print};
use crate::sql::split;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// The sandbox; without it, the one of the URL
    name: Option<String>,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Sql)]
    format: Format,
    /// Only this table, such as orders or public.orders; may be given more than once
    #[arg(long, value_name = "TABLE")]
    table: Vec<String>,
    /// Where to; without it, standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    proxy: ProxyUrl,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A script of SQL
    Sql,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The script
    file: PathBuf,
    /// The sandbox; without it, the one of the URL
    #[arg(long, value_name = "NAME")]
    sandbox: Option<String>,
    #[command(flatten)]
    proxy: ProxyUrl,
}

pub(super) async fn export(args: ExportArgs) -> anyhow::Result<()> {
    let Format::Sql = args.format;
    let sides = args.proxy.sides(args.name.as_deref()).await?;
    let options = Options {
        only: args.table,
        limit: None,
    };
    let mut script = Script::new(&sides.sandbox)?;
    let summary = match &args.out {
        None => {
            show(&sides, &options, &args.patience, &mut script, &mut |line| {
                print::line(line);
                Ok(())
            })
            .await?
        }
        Some(path) => {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            let mut file = BufWriter::new(file);
            let summary = show(&sides, &options, &args.patience, &mut script, &mut |line| {
                writeln!(file, "{line}")
            })
            .await?;
            file.flush()?;
            summary
        }
    };
    for withheld in &summary.withheld {
        print::note(format!(
            "not in it: {}.{}, {}",
            visible(&withheld.schema),
            visible(&withheld.name),
            withheld.because
        ));
    }
    for (table, _) in &summary.tables {
        if !table.complete || table.columns.iter().any(|column| column.masked) {
            print::note(format!(
                "of {}.{} the script has what you may see: masks for what you did not write",
                visible(&table.schema),
                visible(&table.name)
            ));
        }
    }
    Ok(())
}

pub(super) async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let text = fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let (client, sandbox) = args.proxy.sandbox(args.sandbox.as_deref()).await?;
    let statements: Vec<&str> = split::split(&text)
        .into_iter()
        .filter_map(|range| text.get(range))
        .collect();
    let total = statements.len();
    for (number, statement) in (1..).zip(statements) {
        if let Err(error) = client.batch_execute(statement).await {
            // Only what ran before in a block of the script's own is undone: it is all of it if the script has one.
            let _ = client.batch_execute("ROLLBACK").await;
            let error = plain(error);
            return Err(Failure::new(
                format!("statement {number} of {total} failed: {error}"),
                "see whether the script fits the upstream; what it did in an open block is undone",
            )
            .into());
        }
        print::progress(number, total as u64);
    }
    print::note(format!("played into sandbox \"{sandbox}\""));
    Ok(())
}

/// The script: rows go, then change, then come, so that no value is in the way of another; tables that others refer to come first and go
/// last. What is read is kept in files that nobody else can open until it has its turn.
pub(super) struct Script {
    sandbox: String,
    table: Option<Arc<Table>>,
    after: Vec<String>,
    before: Vec<String>,
    deletes: Spool,
    updates: Spool,
    inserts: Spool,
}

/// Statements in a file, and where those of each table begin.
struct Spool {
    file: BufWriter<File>,
    starts: Vec<u64>,
    length: u64,
}

impl Spool {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!(
            "devinprod-{}",
            hex::encode(rand::random::<[u8; 16]>())
        ));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        // It lives as long as it is open.
        fs::remove_file(&path)?;
        Ok(Self {
            file: BufWriter::new(file),
            starts: vec![0],
            length: 0,
        })
    }

    fn add(&mut self, statement: &str) -> io::Result<()> {
        self.file.write_all(statement.as_bytes())?;
        self.file.write_all(b"\n")?;
        self.length += statement.len() as u64 + 1;
        Ok(())
    }

    fn next_table(&mut self) {
        self.starts.push(self.length);
    }

    /// All of it, table by table.
    fn take(&mut self, backwards: bool, line: Line<'_>) -> io::Result<()> {
        self.file.flush()?;
        let ends = self.starts.iter().skip(1).copied().chain([self.length]);
        let mut parts: Vec<(u64, u64)> = self.starts.iter().copied().zip(ends).collect();
        if backwards {
            parts.reverse();
        }
        for (start, end) in parts {
            let file = self.file.get_mut();
            file.seek(SeekFrom::Start(start))?;
            let mut part = BufReader::new(io::Read::take(file, end - start));
            let mut text = String::new();
            // A value may have line ends of any kind in it.
            while part.read_line(&mut text)? > 0 {
                line(text.strip_suffix('\n').unwrap_or(&text))?;
                text.clear();
            }
        }
        Ok(())
    }
}

impl Script {
    pub(super) fn new(sandbox: &str) -> io::Result<Self> {
        Ok(Self {
            sandbox: sandbox.to_owned(),
            table: None,
            after: Vec::new(),
            before: Vec::new(),
            deletes: Spool::new()?,
            updates: Spool::new()?,
            inserts: Spool::new()?,
        })
    }

    fn definition(&mut self, made: &Definition) {
        let place = if made.before_rows {
            &mut self.before
        } else {
            &mut self.after
        };
        place.push(format!("{};", made.sql));
    }
}

impl Shows for Script {
    fn event(&mut self, event: &Event<'_>) -> Lines {
        match event {
            Event::Definition(made) => self.definition(made),
            Event::Table(table) => {
                self.table = Some((*table).clone());
                for spool in [&mut self.deletes, &mut self.updates, &mut self.inserts] {
                    spool.next_table();
                }
            }
            Event::Change(change) => {
                if let Some(table) = &self.table {
                    for (turn, statement) in script::statements(table, change) {
                        match turn {
                            Turn::Delete => self.deletes.add(&statement)?,
                            Turn::Update => self.updates.add(&statement)?,
                            Turn::Insert => self.inserts.add(&statement)?,
                        }
                    }
                }
            }
            Event::Counted(_) | Event::Progress { .. } => {}
        }
        Ok(Vec::new())
    }

    fn end(&mut self, summary: &Summary, line: Line<'_>) -> io::Result<()> {
        let sandbox = visible(&self.sandbox);
        line(&format!(
            "-- What sandbox {sandbox} changed. Made by devinprod."
        ))?;
        for withheld in &summary.withheld {
            line(&format!(
                "-- Not in it: {}.{}, {}.",
                visible(&withheld.schema),
                visible(&withheld.name),
                withheld.because
            ))?;
        }
        line(HEAD)?;
        self.before.iter().try_for_each(|text| line(text))?;
        self.deletes.take(true, line)?;
        self.updates.take(false, line)?;
        self.inserts.take(false, line)?;
        self.after.iter().try_for_each(|text| line(text))?;
        line(TAIL)
    }
}
