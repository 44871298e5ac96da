//! What a sandbox must know of its schema: deferrable constraints, and columns whose default is the time.

use crate::sql::edit::Edits;
use crate::sql::rewrite::{self, NowDefault};
use crate::sql::statement::RelationName;
use crate::wire::backend;
use bytes::BytesMut;
use std::collections::HashMap;

/// Read by [`crate::upstream::command::Command::Catalog`] when the sandbox begins and after each DDL.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    deferrable: Vec<Deferrable>,
    defaults: HashMap<String, Vec<(String, NowDefault)>>,
    /// DDL has run since it was read.
    pub stale: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Deferrable {
    schema: String,
    name: String,
    initially_deferred: bool,
}

impl Catalog {
    /// From the rows of the query; rows that do not fit are left out.
    pub fn from_rows(rows: &[BytesMut]) -> Self {
        let mut catalog = Self::default();
        for row in rows {
            let field = |index| {
                backend::column(row, index).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            let (Some(kind), Some(schema), Some(name), Some(last)) =
                (field(0), field(1), field(3), field(4))
            else {
                continue;
            };
            match (kind.as_str(), field(2)) {
                ("c", _) => catalog.deferrable.push(Deferrable {
                    schema,
                    name,
                    initially_deferred: last == "t",
                }),
                ("d", Some(table)) => {
                    if let Some(expression) = rewritten_default(&last) {
                        catalog.defaults.entry(table).or_default().push((
                            schema,
                            NowDefault {
                                column: name,
                                expression,
                            },
                        ));
                    }
                }
                _ => {}
            }
        }
        catalog.deferrable.dedup();
        catalog
    }

    /// Whether a COMMIT has anything to check.
    pub fn has_deferrable(&self) -> bool {
        !self.deferrable.is_empty()
    }

    /// All deferrable constraints, schema and name.
    pub fn deferrable(&self) -> Vec<(String, String)> {
        self.deferrable
            .iter()
            .map(|c| (c.schema.clone(), c.name.clone()))
            .collect()
    }

    /// Those that are deferred at the start of each transaction.
    pub fn initially_deferred(&self) -> Vec<(String, String)> {
        self.deferrable
            .iter()
            .filter(|c| c.initially_deferred)
            .map(|c| (c.schema.clone(), c.name.clone()))
            .collect()
    }

    /// Columns of a table whose default is the time. Without a schema, a name that several schemas have is
    /// left alone: which one is meant, only the search path says.
    pub fn now_defaults(&self, table: &RelationName) -> Vec<NowDefault> {
        let Some(columns) = self.defaults.get(&table.name) else {
            return Vec::new();
        };
        let mut schemas: Vec<&str> = columns.iter().map(|(schema, _)| schema.as_str()).collect();
        schemas.dedup();
        columns
            .iter()
            .filter(|(schema, _)| match &table.schema {
                Some(wanted) => wanted == schema,
                None => schemas.len() == 1,
            })
            .map(|(_, default)| default.clone())
            .collect()
    }
}

/// The default's expression with the time replaced by the virtual transaction's.
fn rewritten_default(expression: &str) -> Option<String> {
    const SELECT: &str = "SELECT ";
    let query = format!("{SELECT}{expression}");
    let edits = rewrite::now_edits(&query);
    if edits.is_empty() {
        return None;
    }
    let mut all = Edits::default();
    all.extend(edits).ok()?;
    all.apply(&query)
        .ok()?
        .text
        .strip_prefix(SELECT)
        .map(str::to_owned)
}
