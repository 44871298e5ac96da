//! What the proxy knows of a sealed upstream's masked relations: read from the seal itself, never from a policy file.

/// A relation with columns that developers do not see as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaskedRelation {
    /// Its schema, unquoted.
    pub schema: String,
    /// Its name, unquoted.
    pub name: String,
    /// Its oid.
    pub oid: u32,
    /// The view in its place, as SQL; None if nothing of it can be seen.
    pub view: Option<String>,
    /// The view's oid.
    pub view_oid: u32,
    /// The view that has the identity of each row besides (`devinprod_ctid`, `devinprod_tableoid`), as SQL.
    pub rows: Option<String>,
    /// The rows view's oid.
    pub rows_oid: u32,
    /// The primary key's columns, or those of a unique key that has no NULL; empty if it has none.
    pub key: Vec<String>,
    /// Its columns in the order of the table.
    pub columns: Vec<MaskedColumn>,
}

/// A column of a [`MaskedRelation`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaskedColumn {
    /// Its name, unquoted.
    pub name: String,
    /// Its number in the table.
    pub number: i16,
    /// Its number in the masked view; None if it is not there (denied).
    pub view_number: Option<i16>,
    /// The real value may be read.
    pub clear: bool,
    /// `clear`, `deny` or the mask's name.
    pub treatment: String,
    /// Where the policy says so.
    pub because: String,
    /// It is of a type that GROUP BY cannot compare (json, xml, point …).
    pub ungroupable: bool,
}
