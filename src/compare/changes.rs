//! What a run would have written, summed up so that two runs can be compared: for each table the digests of the rows inserted,
//! updated and deleted. No value is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::noise::{Aspect, differing};
use crate::changeset::{self, Change, Event, Options};
use crate::tap::{Digest, ResultDigest, RowDigest};

/// What a run would have written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// By table, as `schema.name`.
    pub tables: BTreeMap<String, TableChanges>,
    /// Tables, indexes, functions … that it made, by kind and name, each with the digest of its definition.
    #[serde(default)]
    pub made: BTreeMap<String, Digest>,
    /// Tables that were written to and cannot be shown, with why.
    pub withheld: BTreeMap<String, String>,
}

/// What a run would have written to a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChanges {
    /// Rows inserted.
    pub inserted: ResultDigest,
    /// Rows updated: each column before and after.
    pub updated: ResultDigest,
    /// Rows deleted.
    pub deleted: ResultDigest,
}

impl TableChanges {
    /// Each kind of change, with its verb.
    fn each(&self) -> [(&'static str, &ResultDigest); 3] {
        [
            ("inserts", &self.inserted),
            ("updates", &self.updated),
            ("deletes", &self.deleted),
        ]
    }
}

/// Rows of the table that is told of.
#[derive(Default)]
struct Reader {
    changes: Changes,
    table: Option<std::sync::Arc<changeset::Table>>,
    inserted: RowDigest,
    updated: RowDigest,
    deleted: RowDigest,
}

/// Reads what the sandbox of `inside` would have written; `outside` is the same developer's connection in a sandbox of its own.
///
/// # Errors
///
/// It cannot be read: the upstream is not sealed, a budget is used up, a connection is lost.
pub async fn read(inside: &Client, outside: &Client) -> Result<Changes, changeset::Error> {
    let mut reader = Reader::default();
    let mut tell = |event: Event<'_>| {
        reader.take(event);
        ControlFlow::Continue(())
    };
    let summary = changeset::read(inside, outside, &Options::default(), &mut tell).await?;
    reader.finish_table();
    let mut changes = reader.changes;
    for withheld in summary.withheld {
        let name = format!("{}.{}", withheld.schema, withheld.name);
        changes.withheld.insert(name, withheld.because.to_owned());
    }
    Ok(changes)
}

impl Reader {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Definition(made) => {
                let name = format!("{} {}", made.kind, made.name);
                let digest = Digest::of(&[made.sql.as_bytes()]);
                self.changes.made.insert(name, digest);
            }
            Event::Table(table) => {
                self.finish_table();
                self.table = Some(table.clone());
            }
            Event::Change(Change::Insert(row)) => self.inserted.row(&row),
            Event::Change(Change::Delete(row)) => self.deleted.row(&row),
            Event::Change(Change::Update { mut before, after }) => {
                before.extend(after);
                self.updated.row(&before);
            }
            Event::Counted(_) | Event::Progress { .. } => {}
        }
    }

    fn finish_table(&mut self) {
        let Some(table) = self.table.take() else {
            return;
        };
        let names: Vec<String> = table
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect();
        let both: Vec<String> = names
            .iter()
            .map(|name| format!("{name} before"))
            .chain(names.iter().cloned())
            .collect();
        let changes = TableChanges {
            inserted: self.inserted.finish(&names),
            updated: self.updated.finish(&both),
            deleted: self.deleted.finish(&names),
        };
        if changes.each().iter().any(|(_, digest)| digest.rows > 0) {
            let name = format!("{}.{}", table.schema, table.name);
            self.changes.tables.insert(name, changes);
        }
    }
}

/// In what two runs' changes differ: a sentence, and how it is on either side.
pub(super) fn differences(a: &Changes, b: &Changes) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let made: BTreeSet<&String> = a.made.keys().chain(b.made.keys()).collect();
    for name in made {
        let (one, other) = (a.made.get(name), b.made.get(name));
        if one != other {
            let what = match (one, other) {
                (Some(_), Some(_)) => format!("makes {name} in another way"),
                _ => format!("makes {name}"),
            };
            let words = |made: Option<&Digest>| match made {
                Some(_) => "made".to_owned(),
                None => "not made".to_owned(),
            };
            found.insert(what, (words(one), words(other)));
        }
    }
    let none = TableChanges::default();
    let names = a.tables.keys().chain(b.tables.keys());
    for name in names.collect::<BTreeSet<_>>() {
        let (one, other) = (
            a.tables.get(name).unwrap_or(&none),
            b.tables.get(name).unwrap_or(&none),
        );
        for ((verb, one), (_, other)) in one.each().into_iter().zip(other.each()) {
            let rows = |digest: &ResultDigest| match digest.rows {
                1 => "1 row".to_owned(),
                rows => format!("{rows} rows"),
            };
            if one.rows != other.rows {
                let what = format!("{name}: {verb} {}", Aspect::Rows.words());
                found.insert(what, (rows(one), rows(other)));
            } else if one.rows > 0 {
                for aspect in differing(one, other, false) {
                    let what = format!("{name}: {verb} {}", aspect.words());
                    found.insert(what, (String::new(), String::new()));
                }
            }
        }
    }
    found
}
