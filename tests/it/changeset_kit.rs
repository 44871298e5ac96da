//! A workload in a sandbox, the same one committed on a plain copy, and the changeset between: what was there before, with the
//! changeset applied, must be what is there after.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use devinprod::changeset::{self, Change, Event, Options, Row, Summary, Table, script};
use tokio_postgres::Client;

use crate::harness::{self, Proxy, Setup, TestDatabase, connect};

/// The same tables twice: behind a proxy, and plain.
pub struct Pair {
    pub proxy: Proxy,
    /// A superuser's connection to the copy.
    pub plain: Client,
    /// A developer's connection to the default sandbox.
    pub developer: Client,
    inside: Client,
    outside: Client,
}

/// All rows of all tables, as text, sorted.
pub type Contents = BTreeMap<String, Vec<Row>>;

/// A changeset, as it was told.
#[derive(Debug, Default)]
pub struct Changeset {
    pub tables: Vec<(Arc<Table>, Vec<Change>)>,
    pub summary: Summary,
}

impl Pair {
    /// With these tables besides the harness' own.
    pub async fn new(databases: [TestDatabase; 2], tables: &str) -> Self {
        Self::with(databases, tables, Setup::default()).await
    }

    pub async fn with(databases: [TestDatabase; 2], tables: &str, setup: Setup) -> Self {
        let [sealed, plain] = databases;
        for database in [&sealed, &plain] {
            let admin = database.connect().await;
            admin
                .batch_execute(tables)
                .await
                .unwrap_or_else(|error| panic!("{error:?}"));
        }
        let proxy = harness::proxy_with(sealed, setup).await;
        let developer = connect(&proxy.url()).await;
        Self {
            plain: plain.connect().await,
            inside: connect(&proxy.url()).await,
            outside: connect(&outside_url(&proxy, "dev1")).await,
            proxy,
            developer,
        }
    }

    /// Runs a statement on both sides. Whether it fails must be the same.
    pub async fn run(&self, sql: &str) {
        let inside = self.developer.batch_execute(sql).await;
        let plain = self.plain.batch_execute(sql).await;
        assert_eq!(
            inside.as_ref().err().and_then(|error| error.code()),
            plain.as_ref().err().and_then(|error| error.code()),
            "{sql}: {inside:?}"
        );
    }

    /// The changeset of `dev1`'s default sandbox.
    pub async fn changeset(&self) -> Changeset {
        read_by(&self.inside, &self.outside, &Options::default()).await
    }

    /// Runs a workload on both sides, and checks the changeset of the one against the truth of the other.
    pub async fn check(&self, workload: &[&str]) -> Changeset {
        let before = contents(&self.plain).await;
        for sql in workload {
            self.run(sql).await;
        }
        self.compare(&before).await
    }

    /// Checks the changeset since the plain side held `before`.
    pub async fn compare(&self, before: &Contents) -> Changeset {
        let changeset = self.changeset().await;
        let after = contents(&self.plain).await;
        let applied = applied(before.clone(), &changeset);
        for (table, rows) in &after {
            assert_eq!(
                applied.get(table),
                Some(rows),
                "{table}\n{:?}",
                changeset.tables
            );
        }
        for (table, changes) in &changeset.tables {
            for change in changes {
                assert!(!change.changed().is_empty(), "{}: {change:?}", table.name);
            }
        }
        assert_eq!(changeset.summary.withheld, []);
        changeset
    }
}

impl Changeset {
    /// The changes of a table, written short: `+a,b`, `-a,b`, `~a,b>c,d`.
    pub fn of(&self, name: &str) -> Vec<String> {
        let line = |row: &Row| {
            let cells: Vec<&str> = row
                .iter()
                .map(|cell| cell.as_deref().unwrap_or("NULL"))
                .collect();
            cells.join(",")
        };
        let mut lines: Vec<String> = self
            .tables
            .iter()
            .filter(|(table, _)| table.name == name)
            .flat_map(|(_, changes)| changes)
            .map(|change| match change {
                Change::Insert(row) => format!("+{}", line(row)),
                Change::Delete(row) => format!("-{}", line(row)),
                Change::Update { before, after } => format!("~{}>{}", line(before), line(after)),
            })
            .collect();
        lines.sort();
        lines
    }
}

/// The URL of a developer's connection with a sandbox of its own.
pub fn outside_url(proxy: &Proxy, user: &str) -> String {
    let user = user.split('+').next().unwrap();
    format!(
        "{}?options=-c%20devinprod.isolation%3Dconnection",
        proxy.url_for(user)
    )
}

/// Reads a sandbox's changeset as a developer would.
pub async fn read(proxy: &Proxy, user: &str, options: &Options) -> Changeset {
    let inside = connect(&proxy.url_for(user)).await;
    let outside = connect(&outside_url(proxy, user)).await;
    read_by(&inside, &outside, options).await
}

pub async fn read_by(inside: &Client, outside: &Client, options: &Options) -> Changeset {
    let mut tables: Vec<(Arc<Table>, Vec<Change>)> = Vec::new();
    let mut tell = |event: Event<'_>| {
        match event {
            Event::Table(table) => tables.push((table.clone(), Vec::new())),
            Event::Change(change) => tables.last_mut().unwrap().1.push(change),
            Event::Progress { done, total } => assert!(done <= total),
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let summary = changeset::read(inside, outside, options, &mut tell)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{error:?}"));
    if options.limit.is_none() {
        for ((table, changes), (counted, counts)) in tables.iter().zip(&summary.tables) {
            assert_eq!(table, counted);
            assert_eq!(
                changes.len() as u64,
                counts.inserted + counts.updated + counts.deleted
            );
        }
    }
    Changeset { tables, summary }
}

/// All rows of all tables that are no partitions.
pub async fn contents(client: &Client) -> Contents {
    let tables = client
        .query(
            "SELECT c.oid::regclass::text, c.relname::text,
                 (SELECT string_agg(CASE WHEN a.atttypid = 'bool'::regtype THEN format('%I::text', a.attname)
                     ELSE format('CASE WHEN num_nulls(%1$I) = 0 THEN concat(%1$I) END', a.attname) END, ', ' ORDER BY a.attnum)
                  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
                 CASE WHEN c.relkind = 'r' THEN 'ONLY ' ELSE '' END
             FROM pg_class c
             WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
                 AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema|devinprod)'",
            &[],
        )
        .await
        .unwrap();
    client
        .batch_execute(
            "SET timezone = 'UTC'; SET intervalstyle = 'postgres'; SET datestyle = 'ISO'",
        )
        .await
        .unwrap();
    let mut contents = Contents::new();
    for table in tables {
        let (place, name, cells, only): (String, String, Option<String>, String) =
            (table.get(0), table.get(1), table.get(2), table.get(3));
        let cells = cells.unwrap_or_default();
        let rows = client
            .query(&format!("SELECT {cells} FROM {only}{place}"), &[])
            .await
            .unwrap_or_else(|error| panic!("{place}: {error:?}"));
        let mut rows: Vec<Row> = rows
            .iter()
            .map(|row| (0..row.len()).map(|at| row.get(at)).collect())
            .collect();
        rows.sort();
        contents.insert(name, rows);
    }
    contents
}

/// What was there with a changeset applied.
pub fn applied(mut contents: Contents, changeset: &Changeset) -> Contents {
    for (table, changes) in &changeset.tables {
        let rows = contents.entry(table.name.clone()).or_default();
        let mut added = Vec::new();
        for change in changes {
            let (gone, new) = match change {
                Change::Insert(row) => (None, Some(row)),
                Change::Delete(row) => (Some(row), None),
                Change::Update { before, after } => (Some(before), Some(after)),
            };
            if let Some(gone) = gone {
                let at = rows.iter().position(|row| row == gone).unwrap_or_else(|| {
                    panic!("{}: {gone:?} was not there before: {changes:?}", table.name)
                });
                rows.remove(at);
            }
            added.extend(new.cloned());
        }
        rows.extend(added);
        rows.sort();
    }
    contents
}

/// The script of a changeset, as `devinprod sandbox export` orders it for whoever may keep triggers from firing.
pub fn script(changeset: &Changeset) -> String {
    let mut statements: Vec<(script::Turn, String)> = changeset
        .tables
        .iter()
        .flat_map(|(table, changes)| {
            changes
                .iter()
                .flat_map(|change| script::statements(table, change))
        })
        .collect();
    statements.sort_by_key(|(turn, _)| *turn);
    let made = |before| {
        changeset
            .summary
            .definitions
            .iter()
            .filter(move |made| made.before_rows == before)
            .map(|made| format!("{};", made.sql))
    };
    let lines: Vec<String> = std::iter::once(script::HEAD.to_owned())
        .chain(made(true))
        .chain(statements.into_iter().map(|(_, sql)| sql))
        .chain(made(false))
        .chain([script::TAIL.to_owned()])
        .collect();
    lines.join("\n")
}
