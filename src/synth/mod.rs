//! Synthetic values: what stands where a sensitive value was, and the SQL that makes it.
//!
//! A [`Mask`] turns the SQL of a real value into the SQL of a synthetic one: deterministic, keyed with a secret
//! that never leaves the database, of the column's own type. [`definition`] is what the expressions call.
//! Nothing here knows a policy or a catalog.

/// A kind of synthetic value, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// NULL, whatever the value was.
    Null,
}

/// The column that a mask is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its type as `format_type` writes it, domains resolved to their base type: `character varying(254)`.
    pub sql_type: String,
    /// The labels, if it is an enum.
    pub labels: Vec<String>,
}

/// A mask that cannot make values of a column's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

impl Mask {
    /// The mask's name in a policy file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
        }
    }

    /// SQL that makes a synthetic value of `column`'s type from `value`, the SQL of the real one; NULL stays NULL.
    ///
    /// # Errors
    /// [`Unfit`] if there is no such value of that type.
    pub fn expression(&self, _value: &str, column: &Column) -> Result<String, Unfit> {
        match self {
            Self::Null => Ok(format!("NULL::{}", column.sql_type)),
        }
    }
}

/// The functions and dictionaries that the expressions use, in the schema `devinprod`; run as the sealing role.
pub fn definition() -> String {
    String::new()
}
