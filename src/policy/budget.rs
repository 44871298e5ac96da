//! [`Budget`]: how much somebody may read, as `[[budget]]` writes it, and what holds where nobody wrote anything.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::{Origin, Stage};

/// One `[[budget]]`, or a default of a stage. Who is meant by several is bound by all of them; see
/// [`Budget::counts_alike`] for which take the place of which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Developers, groups with their `@`, and `*` for everybody.
    pub who: BTreeSet<String>,
    /// All of them share it; if not, each has it for themselves.
    pub together: bool,
    /// Which statements count.
    pub scope: Scope,
    /// What is limited, and how far.
    pub bound: Bound,
    /// Where it stands; None for a default of the stage.
    pub origin: Option<Origin>,
}

/// Which statements count: those to which all of this applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// They touch this relation: schema and name.
    pub table: Option<(String, String)>,
    /// They read a column of this class.
    pub class: Option<String>,
    /// They touch a relation with columns that are not clear.
    pub sensitive: bool,
}

/// What is limited, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// So much in each window of time.
    Window(Measure, Duration, Amount),
    /// So many rows of one statement.
    RowsPerStatement(Amount),
    /// So many statements at the same time.
    Concurrent(Amount),
    /// So many statements per second; above `burst` at once they are held up, not refused. None: as fast as they like.
    Rate(Option<Rate>),
}

/// What is added up in a window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Rows that a client is sent.
    Rows,
    /// Bytes of those rows, as they stand in DataRow and CopyData messages.
    Bytes,
    /// Statements.
    Statements,
    /// Unique violations and denied permissions on columns that are not clear: somebody may be guessing.
    FailedGuesses,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Rows,
        Self::Bytes,
        Self::Statements,
        Self::FailedGuesses,
    ];

    /// As a policy file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Statements => "statements",
            Self::FailedGuesses => "failed_guesses",
        }
    }
}

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// As much as they like: takes the place of a limit for more people.
    Unlimited,
    /// At most this.
    AtMost(u64),
}

/// How fast statements may follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// So many at once, after a rest.
    pub burst: NonZeroU32,
}

impl Budget {
    /// Does the other count the same, for each by themselves? Then the one that names a person more closely takes the
    /// place of the other, whatever their windows.
    pub fn counts_alike(&self, other: &Self) -> bool {
        !self.together
            && !other.together
            && self.scope == other.scope
            && self.bound.kind() == other.bound.kind()
    }

    /// What holds on an upstream of this stage for what no line of a policy limits.
    pub fn defaults(stage: Stage) -> Vec<Self> {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        const GB: u64 = 1 << 30;
        let every = Scope::default;
        let sensitive = || Scope {
            sensitive: true,
            ..Scope::default()
        };
        let (rows, bytes, hourly, daily, guesses) = match stage {
            Stage::Local => return Vec::new(),
            Stage::Test => (20_000_000, 20 * GB, 1_000_000, 5_000_000, 1_000),
            Stage::Preprod => (5_000_000, 5 * GB, 50_000, 200_000, 50),
            Stage::Prod => (2_000_000, 2 * GB, 10_000, 50_000, 20),
        };
        [
            (every(), Measure::Rows, HOUR, rows),
            (every(), Measure::Bytes, HOUR, bytes),
            (sensitive(), Measure::Rows, HOUR, hourly),
            (sensitive(), Measure::Rows, DAY, daily),
            (sensitive(), Measure::FailedGuesses, HOUR, guesses),
        ]
        .into_iter()
        .map(|(scope, measure, per, limit)| Self {
            who: BTreeSet::from(["*".to_owned()]),
            together: false,
            scope,
            bound: Bound::Window(measure, per, Amount::AtMost(limit)),
            origin: None,
        })
        .collect()
    }
}

impl Bound {
    /// The setting's name.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Window(measure, ..) => measure.as_str(),
            Self::RowsPerStatement(_) => "rows_per_statement",
            Self::Concurrent(_) => "concurrent",
            Self::Rate(_) => "statements_per_second",
        }
    }
}

/// Behind a word that says what is counted: ` of public.customers`; nothing if all counts.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Some((schema, name)) => write!(f, " of {schema}.{name}")?,
            None if self.sensitive => f.write_str(" of masked tables")?,
            None => {}
        }
        if let Some(class) = &self.class {
            write!(f, " with columns of class {class}")?;
        }
        Ok(())
    }
}
