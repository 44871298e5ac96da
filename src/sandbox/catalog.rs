//! What a sandbox must know of its schema: deferrable constraints, columns whose default is the time, and what
//! is masked.

use super::masked::MaskedCatalog;
use crate::catalog::MaskedRelation;
use crate::sql::edit::Edits;
use crate::sql::rewrite::{self, NowDefault, NowDefaults};
use crate::sql::statement::RelationName;
use crate::wire::backend;
use bytes::BytesMut;
use std::collections::{BTreeMap, HashMap};

/// Read by [`crate::upstream::command::Command::Catalog`] when the sandbox begins and after each DDL.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    deferrable: Vec<Deferrable>,
    /// By name and schema: tables with columns whose default is the time, and what else has their names.
    defaults: HashMap<String, BTreeMap<String, Timed>>,
    /// The masked relations, if there are any.
    pub masked: Option<MaskedCatalog>,
    /// The seal has a list of masked relations.
    lists_masked: bool,
    /// The views of the information schema that the seal has copies of.
    information: Vec<MaskedRelation>,
    /// The search path of a session that has not set one, and its role.
    session: (String, String),
    /// DDL has run since it was read.
    pub stale: bool,
    /// DDL has run in a transaction that is still open: a rollback may undo it.
    ddl: bool,
}

/// A table with columns whose default is the time; a relation of the same name, if it has none.
#[derive(Debug, Clone, Default)]
struct Timed {
    /// By number.
    columns: BTreeMap<i16, String>,
    defaults: Vec<NowDefault>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Deferrable {
    schema: String,
    name: String,
    initially_deferred: bool,
}

impl Catalog {
    /// From the rows of the query when the sandbox begins; rows that do not fit are left out.
    pub fn from_rows(rows: &[BytesMut]) -> Self {
        let mut catalog = Self::default();
        catalog.read(rows);
        catalog.read_masked(&[]);
        catalog
    }

    /// From the rows of the queries when they are made again; those of
    /// [`crate::upstream::command::Command::Masked`] may be among them.
    pub fn refreshed(&self, rows: &[BytesMut]) -> Self {
        let mut catalog = Self {
            ddl: self.ddl,
            ..Self::from_rows(rows)
        };
        // The client that holds the floor now may have set others.
        catalog.session.clone_from(&self.session);
        catalog.read_masked(rows);
        catalog
    }

    /// Takes over the rows of [`crate::upstream::command::Command::Masked`].
    pub fn read_masked(&mut self, rows: &[BytesMut]) {
        let (path, role) = self.session.clone();
        self.masked = MaskedCatalog::from_rows(rows, &self.information, path, role);
    }

    /// Whether the masked relations can be read at all: without a list of them, nothing is masked.
    pub fn lists_masked(&self) -> bool {
        self.lists_masked
    }

    /// The version of the policy that the upstream was sealed by, if anything is masked there.
    pub fn policy_version(&self) -> Option<std::sync::Arc<str>> {
        self.masked.as_ref()?.policy_version()
    }

    /// DDL runs.
    pub fn changes(&mut self) {
        self.stale = true;
        self.ddl = true;
    }

    /// No transaction is open: what is there now cannot be undone any more.
    pub fn settled(&mut self) {
        self.ddl = self.stale;
    }

    /// Something was undone, perhaps DDL.
    pub fn rolled_back(&mut self) {
        self.stale |= self.ddl;
    }

    fn read(&mut self, rows: &[BytesMut]) {
        let catalog = self;
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
                ("s", Some(role)) => {
                    catalog.session = (schema, role);
                    catalog.lists_masked = last == "t";
                }
                ("i", Some(oid)) => catalog
                    .information
                    .extend(information(schema, name, &oid, &last)),
                ("c", _) => catalog.deferrable.push(Deferrable {
                    schema,
                    name,
                    initially_deferred: last == "t",
                }),
                ("d", Some(table)) => {
                    if let Some(expression) = rewritten_default(&last) {
                        let default = NowDefault {
                            column: name,
                            expression,
                        };
                        catalog.timed(schema, table).defaults.push(default);
                    }
                }
                ("t", Some(table)) => {
                    if let Ok(number) = last.parse() {
                        catalog.timed(schema, table).columns.insert(number, name);
                    }
                }
                ("n", Some(table)) => {
                    catalog.timed(schema, table);
                }
                _ => {}
            }
        }
        catalog.deferrable.dedup();
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
    pub fn now_defaults(&self, table: &RelationName) -> NowDefaults {
        let timed = self
            .defaults
            .get(&table.name)
            .and_then(|schemas| match &table.schema {
                Some(schema) => schemas.get(schema),
                None => schemas.values().next().filter(|_| schemas.len() == 1),
            });
        timed.map_or_else(NowDefaults::default, |timed| NowDefaults {
            columns: timed.columns.values().cloned().collect(),
            defaults: timed.defaults.clone(),
        })
    }

    fn timed(&mut self, schema: String, table: String) -> &mut Timed {
        let schemas = self.defaults.entry(table).or_default();
        schemas.entry(schema).or_default()
    }
}

/// A view of the information schema, whose copy shows what an owner would see.
fn information(schema: String, name: String, oid: &str, copy: &str) -> Option<MaskedRelation> {
    Some(MaskedRelation {
        oid: oid.parse().ok()?,
        view: Some(format!("devinprod.\"{schema}.{name}\"")),
        view_oid: copy.parse().ok()?,
        schema,
        name,
        ..MaskedRelation::default()
    })
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
