//! What a session expects next from its upstream, in order, and what it does with it.

use crate::budget::Spending;
use crate::plan::{Plan, Touched};
use crate::sandbox::machine::Machine;
use crate::sandbox::view::View;
use crate::session::prepared::Origin;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// One thing to come, or one thing to do when all before it has come.
#[derive(Debug)]
pub enum Expect {
    /// ParseComplete of a client's statement.
    Parse {
        /// The client is told.
        forward: bool,
        /// The statement that it prepares: undone here if it never comes.
        id: u64,
        /// The client's name, if this Parse made it.
        registers: Option<Bytes>,
    },
    /// BindComplete.
    Bind {
        /// The client is told.
        forward: bool,
        /// The portal as the client calls it.
        portal: Bytes,
    },
    /// CloseComplete.
    Close {
        /// The client is told.
        forward: bool,
    },
    /// ParameterDescription, for a statement, then RowDescription or NoData.
    Describe {
        /// A simple Query has no NoData.
        no_data: bool,
        /// It waits for the first row: Postgres runs this statement before it describes it.
        late: bool,
        /// What of it is the client's.
        part: Part,
    },
    /// Rows and the end of an Execute.
    Execute {
        /// What becomes of the rows.
        rows: Rows,
        /// What becomes of the CommandComplete.
        complete: Complete,
    },
    /// ParseComplete, BindComplete, rows and CommandComplete of a command of ours.
    Own(Own),
    /// ReadyForQuery.
    Sync {
        /// The client is due one as well.
        forward: bool,
    },
    /// An error that we made on purpose.
    Poison,
    /// Bytes for the client, in their turn.
    Emit(Bytes),
    /// The CommandComplete that was held back.
    EmitHeld,
    /// A statement of the client begins (Some) or ends: whose errors these are.
    Origin(Option<Arc<Origin>>),
    /// The rows of this statement come, which has no origin.
    Runs(Arc<Touched>),
    /// The parameters of the statement that is executed next, for its record.
    Bound(Vec<Option<String>>),
    /// The rows that come are paid from this.
    Spends(Box<Spending>),
    /// A statement that the proxy answers itself was answered.
    Answered(Arc<Plan>),
    /// An SQL PREPARE of this name has run; without that the name is free.
    Made(Bytes),
    /// This state has been reached.
    Advance(Box<(Machine, View)>),
    /// The virtual transaction has ended well: deliver what waited for that.
    Committed,
    /// The virtual transaction has ended badly.
    RolledBack,
}

/// See [`Expect::Describe`]. A statement whose rows come from another one is described by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Parameters and columns.
    All,
    /// The parameters.
    Parameters,
    /// The columns.
    Columns,
}

/// See [`Expect::Execute`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// To the client.
    Forward,
    /// Kept whole, for the proxy to change (one row).
    Hold,
    /// To nobody: those of another statement are the client's.
    Drop,
}

/// See [`Expect::Execute`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complete {
    /// To the client as it is.
    Forward,
    /// To the client under another tag; one that ends in a space is told with the number of the real one.
    Tag(&'static str),
    /// Held until [`Expect::EmitHeld`], perhaps under another tag.
    Hold(Option<&'static str>),
    /// Kept under this number, perhaps with another tag, to be told behind the rows of another statement.
    Keep(u64, Option<&'static str>),
    /// The one that was kept; held as by `Hold` if the last is true.
    Kept(u64, bool),
}

/// What a command of ours answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// Nothing of interest.
    Nothing,
    /// A setting's value after a statement that set it.
    Setting {
        /// Its name.
        name: String,
        /// SET LOCAL
        local: bool,
    },
    /// A setting that the client is told of at login.
    Reported(String),
    /// The start of the client's virtual transaction, as the upstream's clock has it.
    Now,
    /// The arguments of an advisory call.
    Advisory,
    /// The arguments of a pg_notify call.
    Notify,
    /// A row of the catalog.
    Catalog,
    /// An SQL PREPARE that is made again: the statement's number.
    Prepared(u64),
}

/// The queue.
pub type Expects = VecDeque<Expect>;
