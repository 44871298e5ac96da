//! What a sandbox would have changed, had it committed: every row inserted, updated and deleted, by triggers and
//! cascades, too; and what it made: tables, indexes, functions.
//!
//! It is read over two ordinary connections of the developer: one *inside* the sandbox, which sees what the sandbox wrote,
//! and one *outside*, in a sandbox of its own, which sees what is committed. So masks, row security, budgets and the record
//! apply to a changeset as to every other read, and nothing here knows of them. Nothing is written on either side.
//!
//! How it is exact, in the words of Postgres' heap:
//!
//! 1. Which tables: those that `pg_stat_xact_user_tables` counts writes of; it counts what was rolled back, too, so there
//!    may be some too many. Without `track_counts`, all tables.
//! 2. *New versions*, inside: rows whose `xmin` is a transaction of the sandbox (`devinprod.ours`).
//! 3. *Old versions*, outside: rows with an `xmax` that are not visible inside, and, asked again, still visible outside. A row that
//!    somebody else deleted meanwhile is visible in neither; one that is merely locked, by one transaction or many, in both.
//! 4. Which old version became which new one: Postgres follows the update chain itself (`currtid2`). So updates of keys, and of
//!    tables without keys, are known as such. A row that was deleted and inserted again is paired by the table's key, if that can
//!    be read. A row that moved to another partition has neither: it is told as deleted here and inserted there.
//!
//! What was rewritten and reads as before is no change. Both sides are compared as the developer sees them: a masked value by its
//! mask, never by what it really is.
//!
//! Memory: the places of the versions are kept, as bits by page (some 100 bytes for each page that has one, in at most four sets), and
//! a batch of rows, about 2 MB unless single rows are larger.

pub mod html;
mod places;
mod read;
mod rows;
mod schema;
pub mod script;
mod tables;
pub mod words;

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio_postgres::Client;

/// A table of which rows changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its oid; of a partitioned table, the topmost one's.
    pub oid: u32,
    /// Its schema, unquoted.
    pub schema: String,
    /// Its name, unquoted.
    pub name: String,
    /// The columns that the developer may see, in the table's order.
    pub columns: Vec<Column>,
    /// Where in `columns` the primary key's columns are, or those of another unique key that has no NULL; empty if there is none,
    /// or not all of it is shown as it is.
    pub key: Vec<usize>,
    /// Columns, as places in `columns`, that a unique index has.
    pub unique: Vec<usize>,
    /// The developer may see all columns.
    pub complete: bool,
    /// It has children that are no partitions, whose rows are not its own.
    pub only: bool,
    /// The sandbox made it.
    pub made: bool,
}

impl Table {
    /// `public.orders`: for people, so nothing is quoted.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Something that the sandbox made, such as a table or a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// What it is: `table`, `index` …
    pub kind: &'static str,
    /// Its name as SQL, with its schema.
    pub name: String,
    /// The statement that makes it, without a semicolon.
    pub sql: String,
    /// It must be there before the rows; the others are better made behind them.
    pub before_rows: bool,
}

/// A column of a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// Its type, as SQL that does not hang on the search path.
    pub type_name: String,
    /// A mask stands in the place of what the developer did not write.
    pub masked: bool,
    /// It is generated from others: nobody can write it.
    pub generated: bool,
    /// GENERATED ALWAYS AS IDENTITY: written to only where that is overridden.
    pub always_identity: bool,
    /// Its cell as text, as SQL over a row `t`.
    cell: String,
}

/// The cells of a row, as Postgres writes them as text; None is NULL. They are those of [`Table::columns`].
pub type Row = Vec<Option<String>>;

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Insert(Row),
    /// At least one cell differs.
    Update {
        /// As it is committed.
        before: Row,
        /// As the sandbox sees it.
        after: Row,
    },
    /// It is there no more.
    Delete(Row),
}

impl Change {
    /// The columns that differ, as places in [`Table::columns`]; all for what is no update.
    pub fn changed(&self) -> Vec<usize> {
        match self {
            Self::Insert(row) | Self::Delete(row) => (0..row.len()).collect(),
            Self::Update { before, after } => before
                .iter()
                .zip(after)
                .enumerate()
                .filter(|(_, (before, after))| before != after)
                .map(|(at, _)| at)
                .collect(),
        }
    }
}

/// How many rows of a table changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated, as far as a developer can tell.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows written that read as before.
    pub same: u64,
}

impl Counts {
    /// No row changed.
    pub fn is_empty(&self) -> bool {
        self.inserted + self.updated + self.deleted == 0
    }
}

/// A table that was written to and that cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// Its schema, unquoted.
    pub schema: String,
    /// Its name, unquoted.
    pub name: String,
    /// Rows inserted, updated and deleted, what was rolled back included: as Postgres counts them.
    pub counted: Counts,
    /// Why it cannot be shown.
    pub because: &'static str,
}

/// What is told while a changeset is read.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something that the sandbox made; these come first, in an order in which they can be made.
    Definition(&'a Definition),
    /// The changes that follow are of this table. Deletes come first, then updates, then inserts; a row that was deleted and
    /// inserted again is an update among the deletes.
    Table(&'a Arc<Table>),
    /// A row of the last table told.
    Change(Change),
    /// All changes of the last table were told. With a limit, the counts go on where the changes do not.
    Counted(Counts),
    /// So many of so many steps are done: pages looked at and rows read.
    Progress {
        /// Steps done.
        done: u64,
        /// All steps, as far as is known by now.
        total: u64,
    },
}

/// What to read of a changeset.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these tables, `name` or `schema.name`; none: all.
    pub only: Vec<String>,
    /// The most rows that are told of a table; the others are counted alone, those that read as before among them.
    pub limit: Option<u64>,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// What the sandbox made besides rows, in an order in which it can be made.
    pub definitions: Vec<Definition>,
    /// The tables of which rows changed, in the order told: those that others refer to come first.
    pub tables: Vec<(Arc<Table>, Counts)>,
    /// Tables that were written to and cannot be shown.
    pub withheld: Vec<Withheld>,
    /// Whoever listened wanted no more.
    pub stopped: bool,
}

impl Summary {
    /// Nothing changed, as far as can be seen.
    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
            && self.withheld.is_empty()
            && self.tables.iter().all(|(_, counts)| counts.is_empty())
    }
}

/// Why a changeset cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The upstream, or the proxy before it, refused something.
    #[error("cannot read {what}: {}", told(.source))]
    Database {
        /// What was to be read.
        what: String,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// The database has no seal of a version that knows changesets.
    #[error("the upstream's seal does not say which rows a sandbox wrote")]
    NotSealed,
    /// An answer that Postgres would not give.
    #[error("cannot understand what the upstream said of {0}")]
    Strange(&'static str),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Database { source, .. } => source
                .as_db_error()
                .and_then(|error| error.hint())
                .map(str::to_owned),
            Self::NotSealed => {
                Some("the upstream's owner should run devinprod setup again".to_owned())
            }
            Self::Strange(_) => None,
        }
    }
}

/// The server's own words; the driver alone would say "db error".
fn told(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// Reads the changeset of the sandbox that `inside` belongs to. `outside` is the same developer's connection to the same upstream, in
/// a sandbox of its own in which nothing was written.
///
/// `inside` is in a block of its own while this runs, so the sandbox's other clients wait, or join as they would join any
/// other. Both connections end up as they were, unless this fails or is dropped on the way: then they should be closed.
pub async fn read(
    inside: &Client,
    outside: &Client,
    options: &Options,
    tell: &mut (dyn FnMut(Event<'_>) -> ControlFlow<()> + Send),
) -> Result<Summary, Error> {
    read::read(inside, outside, options, tell).await
}
