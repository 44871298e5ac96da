//! What `devinprod setup` puts into a database, so that no developer role can ever commit a write.
//!
//! [`survey()`] reads what the database has, [`plan()`] decides without a connection what to run and why,
//! [`apply()`] runs it in one transaction and looks again before it commits. The proxy then needs
//! [`verify()`] (is the seal whole?) and [`lease()`] (a developer role for one sandbox); [`doctor()`]
//! attacks a live upstream and says what held.
//!
//! How it holds: a *reader* role logs in and holds no right to write. The function `devinprod.arm()`, owned
//! by the *sealing role*, puts a row into `devinprod.commit_guard`, whose deferred trigger makes COMMIT fail,
//! and grants the reader its own *writer* role, in one step: both live and die in the same subtransaction.
//!
//! Nothing here may give a developer role a right that outlives its transaction, own a user's table, or
//! rest on the proxy having understood a statement.

mod apply;
mod close;
mod code;
pub mod doctor;
mod grants;
mod judge;
mod lease;
pub mod masks;
mod plan;
mod queries;
mod removal;
mod sessions;
pub mod survey;

pub use apply::apply;
pub use doctor::doctor;
pub use judge::{Finding, Gravity, verify, verify_in_transaction};
pub use lease::{Lease, lease, lease_of};
pub use plan::{SealPlan, Step, plan};
pub use removal::{Taken, removal, survey_taken};
pub use survey::{Survey, survey};

use crate::policy::Policy;

/// The SQLSTATE with which the commit guard ends a transaction.
pub const COMMIT_REFUSED: &str = "UC001";

/// How to seal.
#[derive(Debug, Clone)]
pub struct SealOptions {
    /// How many developer roles there are, which is how many sandboxes may run at once.
    pub pairs: u16,
    /// The names of the roles.
    pub names: Names,
    /// The proxy role's password as a SCRAM-SHA-256 verifier; None leaves the role's password as it is.
    pub proxy_verifier: Option<String>,
    /// SECURITY DEFINER functions (`schema.name(types)`, as the plan writes them) that armed developer roles
    /// may call.
    pub allowed_functions: Vec<String>,
    /// What developers may see. None: everything, or what the last policy left.
    pub policy: Option<Policy>,
    /// How many pairs of roles each set of exceptions of the policy has of its own.
    pub exception_pairs: u16,
    /// The application's own code that the owner of the data vouches for, as findings name it
    /// (`trigger public.orders.log`, `function public.f(integer)`), besides what the policy vouches for.
    pub vouched: Vec<String>,
    /// Functions of the application (`schema.name(types)`) whose search path is pinned, so that the names in them mean the
    /// same whoever calls; `all`: each that costs developers a right to write.
    pub pinned: Vec<String>,
}

impl Default for SealOptions {
    fn default() -> Self {
        Self {
            pairs: 16,
            names: Names::default(),
            proxy_verifier: None,
            allowed_functions: Vec::new(),
            policy: None,
            exception_pairs: 4,
            vouched: Vec::new(),
            pinned: Vec::new(),
        }
    }
}

/// The names of the roles that the seal makes, all with one reserved prefix.
///
/// The prefix is a plain lower-case identifier, so that no name made from it needs quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            prefix: "devinprod_".to_owned(),
        }
    }
}

impl Names {
    /// Names with another prefix: lower-case letters, digits and `_`, at most 40 characters.
    pub fn with_prefix(prefix: &str) -> Result<Self, SealError> {
        let mut characters = prefix.chars();
        let starts = characters
            .next()
            .is_some_and(|first| first.is_ascii_lowercase());
        let continues =
            characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if starts && continues && prefix.len() <= 40 && !prefix.starts_with("pg_") {
            Ok(Self {
                prefix: prefix.to_owned(),
            })
        } else {
            Err(SealError::Prefix(prefix.to_owned()))
        }
    }

    /// What all the names begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The sealing role: owns the schema `devinprod` and `devinprod.arm()`, may grant the writers.
    pub fn owner(&self) -> String {
        format!("{}owner", self.prefix)
    }

    /// The role that owns `devinprod.lease()`: the only one of ours with CREATEROLE.
    pub fn warden(&self) -> String {
        format!("{}warden", self.prefix)
    }

    /// The role that the proxy itself logs in as.
    pub fn proxy(&self) -> String {
        format!("{}proxy", self.prefix)
    }

    /// The group that holds what every reader may do.
    pub fn readers(&self) -> String {
        format!("{}readers", self.prefix)
    }

    /// The group that holds what every armed reader may do besides.
    pub fn writers(&self) -> String {
        format!("{}writers", self.prefix)
    }

    /// The developer role of pair `number`, which counts from 1.
    pub fn reader(&self, number: u16) -> String {
        format!("{}reader_{number:02}", self.prefix)
    }

    /// The role that reader `number` is granted while armed.
    pub fn writer(&self, number: u16) -> String {
        format!("{}writer_{number:02}", self.prefix)
    }

    /// The role that owns copies of the application's views: it may read what developers may, and nothing else.
    pub fn viewer(&self) -> String {
        format!("{}viewer", self.prefix)
    }

    /// The group of the developer roles that see what a set of exceptions says.
    pub fn exceptions(&self, set: &str) -> String {
        format!("{}exc_{set}", self.prefix)
    }

    /// Whether `role` is one of the seal's own.
    pub fn is_ours(&self, role: &str) -> bool {
        [
            self.owner(),
            self.warden(),
            self.proxy(),
            self.readers(),
            self.writers(),
            self.viewer(),
        ]
        .iter()
        .any(|name| name == role)
            || role.starts_with(&self.exceptions(""))
            || self.pair_of(role).is_some()
    }

    /// The number of the pair that `role`, a reader or a writer, belongs to.
    pub fn pair_of(&self, role: &str) -> Option<u16> {
        let rest = role.strip_prefix(&self.prefix)?;
        let digits = rest
            .strip_prefix("reader_")
            .or_else(|| rest.strip_prefix("writer_"))?;
        let number = digits.parse().ok()?;
        (self.reader(number) == role || self.writer(number) == role).then_some(number)
    }

    /// `text` with its `@prefix@`, `@owner@`, `@warden@`, `@proxy@`, `@readers@` and `@writers@` filled in.
    fn fill(&self, text: &str) -> String {
        text.replace("@prefix@", &self.prefix)
            .replace("@owner@", &self.owner())
            .replace("@warden@", &self.warden())
            .replace("@proxy@", &self.proxy())
            .replace("@readers@", &self.readers())
            .replace("@writers@", &self.writers())
    }
}

/// Why sealing, or using a seal, did not work.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The upstream answered with an error, or the connection broke.
    #[error("{}", postgres_text(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The upstream refused one step of a plan.
    #[error("the step \"{reason}\" failed: {}", postgres_text(.source))]
    Step {
        /// The step's reason.
        reason: String,
        /// What the upstream said.
        source: tokio_postgres::Error,
    },
    /// The database, or the administrator's rights, do not allow a seal that holds.
    #[error("this database cannot be sealed as it is:{}", list(.0))]
    Refused(Vec<Finding>),
    /// Another setup is at work on this database.
    #[error(
        "another devinprod setup is running on this database\nhint: wait for it to end, then run setup again"
    )]
    Busy,
    /// Every developer role has a sandbox, or had one a moment ago.
    #[error("{0}")]
    AllLeased(String),
    /// The seal was made before the policy got this set of exceptions.
    #[error(
        "the seal has no developer roles for the set of exceptions {0}\nhint: run devinprod setup with the policy that has it"
    )]
    NoSuchSet(String),
    /// A connection as a developer role could not be made.
    #[error("a leased developer role cannot connect: {0}")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The prefix for role names is not one.
    #[error(
        "{0:?} cannot begin role names\nhint: use lower-case letters, digits and _, at most 40, not pg_"
    )]
    Prefix(String),
    /// The number of pairs is not one.
    #[error("{0} pairs of developer roles were asked for\nhint: use 1 to 999")]
    Pairs(u16),
    /// The catalog answered with something this version does not know.
    #[error("the upstream's catalog holds something unexpected: {0}")]
    Catalog(String),
}

/// An upstream error with its detail and hint, which `Display` of [`tokio_postgres::Error`] leaves out.
fn postgres_text(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        return error.to_string();
    };
    let mut text = format!("{} ({})", db.message(), db.code().code());
    if let Some(detail) = db.detail() {
        text.push_str("; ");
        text.push_str(detail);
    }
    if let Some(hint) = db.hint() {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

fn list(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("\n- {finding}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_a_plain_identifier() {
        for good in ["devinprod_", "shop_dip_", "d"] {
            assert!(Names::with_prefix(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "9a",
            "pg_x",
            "Dev",
            "a b",
            "a\"b",
            "a;b",
            "é",
            &"a".repeat(41),
        ] {
            assert!(Names::with_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn our_roles_are_known_by_their_whole_name() {
        let names = Names::default();
        for ours in [
            "devinprod_owner",
            "devinprod_reader_01",
            "devinprod_writer_116",
        ] {
            assert!(names.is_ours(ours), "{ours}");
        }
        for other in [
            "devinprod",
            "devinprod_reader_1",
            "devinprod_reader_",
            "devinprod_reader_01x",
            "devinprod_reader_+1",
            "devinprod_admin",
        ] {
            assert!(!names.is_ours(other), "{other}");
        }
    }
}
