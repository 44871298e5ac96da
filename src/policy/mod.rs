//! What a security team wrote down: which columns are sensitive, and what a developer sees in their place.
//!
//! A [`Policy`] is checked when it is made; it answers [`Policy::column`] for any column, also for one that it has
//! never heard of.

use crate::synth::Mask;

/// What a developer gets of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// The real value.
    Clear,
    /// Nothing: it cannot be named in a query.
    Deny,
    /// A synthetic value.
    Mask(Mask),
}

/// What a policy says of one column, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What a developer gets.
    pub treatment: Treatment,
    /// Where that stands: `policies/shop.toml:12`, or in words why no line says it.
    pub because: String,
    /// Who sees the real value all the same, for a while.
    pub exceptions: Vec<Exception>,
}

/// Members of a set who may see a column's real values until a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The set of exceptions that a developer role belongs to; a plain lower-case identifier.
    pub set: String,
    /// The last moment, as Postgres reads a timestamptz: `2027-01-31 23:59:59+00`.
    pub until: String,
}

/// A checked policy of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    version: String,
}

impl Policy {
    /// A digest of what the policy says; another policy has another.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What it says of a column; names as they stand in the catalog.
    pub fn column(&self, _schema: &str, _relation: &str, _column: &str) -> Decision {
        Decision {
            treatment: Treatment::Deny,
            because: "no line of the policy names it".to_owned(),
            exceptions: Vec::new(),
        }
    }

    /// Does the owner vouch for this piece of application code (`trigger public.customers.touch`,
    /// `function app.f(integer)`): it keeps no real value where a developer can read it?
    pub fn vouches(&self, _code: &str) -> bool {
        false
    }

    /// The SECURITY DEFINER functions (`schema.name(types)`) that armed developer roles may call.
    pub fn allowed_functions(&self) -> &[String] {
        &[]
    }

    /// The sets of exceptions that it makes, each needing developer roles of its own.
    pub fn sets(&self) -> Vec<String> {
        Vec::new()
    }
}
