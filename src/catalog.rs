//! What the proxy knows of a sealed upstream's masked relations: read from the seal itself, never from a policy file.

use std::collections::HashMap;
use std::sync::Arc;

/// Where temporary tables are, whatever the server calls that schema.
const TEMPORARY: &str = "pg_temp";
/// Searched first unless the search path names it.
const SYSTEM: &str = "pg_catalog";

/// The masked relations of an upstream, and what else has their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaskedRelations {
    relations: Vec<MaskedRelation>,
    /// By name: the schemas that have a relation of that name, and which one it is if it is masked.
    names: HashMap<String, Vec<(String, Option<usize>)>>,
    /// By the oid of a view.
    views: HashMap<u32, usize>,
    /// By the name of a view, unquoted; the masked view and the one of rows have the same.
    view_names: HashMap<String, usize>,
    /// The server is older than MERGE.
    without_merge: bool,
}

impl MaskedRelations {
    /// `namesakes` are other relations that have the name of a masked one, schema and name: they may stand
    /// before it in a search path. Temporary ones are in the schema `pg_temp`.
    pub fn new(
        relations: Vec<MaskedRelation>,
        namesakes: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut names: HashMap<String, Vec<(String, Option<usize>)>> = HashMap::new();
        let mut views = HashMap::new();
        let mut view_names = HashMap::new();
        for (index, relation) in relations.iter().enumerate() {
            let schemas = names.entry(relation.name.clone()).or_default();
            schemas.push((relation.schema.clone(), Some(index)));
            views.extend([(relation.view_oid, index), (relation.rows_oid, index)]);
            for view in relation.view.iter().chain(&relation.rows) {
                view_names.extend(quoted_name(view).map(|name| (name, index)));
            }
        }
        for (schema, name) in namesakes {
            if let Some(schemas) = names.get_mut(&name)
                && schemas.iter().all(|(known, _)| *known != schema)
            {
                schemas.push((schema, None));
            }
        }
        views.remove(&0);
        Self {
            relations,
            names,
            views,
            view_names,
            without_merge: false,
        }
    }

    /// On a server of this version, as `server_version_num` has it: MERGE came with Postgres 15.
    pub fn on_version(self, version: u32) -> Self {
        Self {
            without_merge: version < 150_000,
            ..self
        }
    }

    /// Does the server know MERGE?
    pub fn has_merge(&self) -> bool {
        !self.without_merge
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &MaskedRelation> {
        self.relations.iter()
    }

    /// Does one of them, in any schema, have this name?
    pub fn knows(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }

    /// Is there a column whose real value is kept from developers?
    pub fn hides(&self) -> bool {
        self.iter()
            .any(|relation| relation.columns.iter().any(|column| !column.clear))
    }

    /// The relation in whose place this view stands.
    pub fn by_view(&self, oid: u32) -> Option<&MaskedRelation> {
        self.relations.get(*self.views.get(&oid)?)
    }
}

/// The masked relations as one client names them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Masked {
    relations: Arc<MaskedRelations>,
    /// The schemas that are searched, in order, those that are searched without being named included.
    path: Vec<String>,
}

impl Masked {
    /// With a search path: its schemas, unquoted.
    pub fn new(relations: Arc<MaskedRelations>, path: &[String]) -> Self {
        let implicit = [TEMPORARY, SYSTEM]
            .into_iter()
            .filter(|schema| !path.iter().any(|named| named == schema))
            .map(str::to_owned);
        Self {
            path: implicit.chain(path.iter().cloned()).collect(),
            relations,
        }
    }

    /// All of them.
    pub fn relations(&self) -> &MaskedRelations {
        &self.relations
    }

    /// Does a masked relation of any schema have this name?
    pub fn knows(&self, name: &str) -> bool {
        self.relations.knows(name)
    }

    /// The first schema of the search path that is not the system's.
    pub fn first_schema(&self) -> Option<&str> {
        let named = |schema: &&String| ![TEMPORARY, SYSTEM].contains(&schema.as_str());
        self.path.iter().find(named).map(String::as_str)
    }

    /// The masked relation that a name means; None if it means something else, such as a temporary table.
    /// Names are unquoted and folded.
    pub fn resolve(&self, schema: Option<&str>, name: &str) -> Option<&MaskedRelation> {
        let schemas = self.relations.names.get(name)?;
        let within = |schema: &str| schemas.iter().find(|(known, _)| known == schema);
        let (_, index) = match schema {
            Some(schema) => within(schema)?,
            None => self.path.iter().find_map(|schema| within(schema))?,
        };
        self.relations.relations.get((*index)?)
    }

    /// The masked relation behind a view of the seal, for who reads that view by its own name. Without a schema any
    /// relation of such a name is taken for one.
    pub fn behind(&self, schema: Option<&str>, name: &str) -> Option<&MaskedRelation> {
        let is_seals = schema.is_none_or(|schema| VIEW_SCHEMAS.contains(&schema));
        let index = self.relations.view_names.get(name).filter(|_| is_seals)?;
        self.relations.relations.get(*index)
    }
}

/// Where the seal's views stand.
const VIEW_SCHEMAS: [&str; 2] = ["devinprod_masked", "devinprod_rows"];

/// The name in `schema."name"`.
fn quoted_name(view: &str) -> Option<String> {
    let (_, name) = view.split_once(".\"")?;
    Some(name.strip_suffix('"')?.replace("\"\"", "\""))
}

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
    /// The view that has the identity of each row besides, as SQL: behind the masked view's columns come
    /// `devinprod_ctid tid`, `devinprod_tableoid oid`, `devinprod_xmin xid` and `devinprod_xmax xid`.
    pub rows: Option<String>,
    /// The rows view's oid.
    pub rows_oid: u32,
    /// The primary key's columns, or those of a unique key that has no NULL; empty if it has none, and for a table with
    /// children that are not its partitions: the same key may stand in several of them.
    pub key: Vec<String>,
    /// Its columns in the order of the table.
    pub columns: Vec<MaskedColumn>,
    /// Which writes developers are denied, and why, in words that follow "developers get".
    pub withheld: Option<String>,
    /// What keeps its rows apart.
    pub unique: Vec<UniqueIndex>,
    /// Its CHECK constraints: names, and definitions as the server writes them.
    pub checks: Vec<(String, String)>,
    /// What is written is what a statement says: it is a table without rules and without BEFORE ROW triggers.
    pub plain: bool,
}

/// A unique or exclusion constraint, or a unique index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UniqueIndex {
    /// The index's name, which is the constraint's.
    pub name: String,
    /// A constraint has this name.
    pub constraint: bool,
    /// It is the primary key.
    pub primary: bool,
    /// What must be unique.
    pub keys: Vec<IndexKey>,
    /// For which rows, as the server writes it; None for all.
    pub predicate: Option<String>,
    /// NULL is equal to NULL.
    pub nulls_equal: bool,
    /// It is an exclusion constraint.
    pub exclusion: bool,
}

/// A part of a [`UniqueIndex`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexKey {
    /// A column, unquoted.
    Column(String),
    /// An expression, as the server writes it.
    Expression(String),
}

/// What a column that an INSERT leaves out becomes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Filled {
    /// It cannot be written here.
    #[default]
    Unknown,
    /// NULL.
    Null,
    /// An expression that means the same in every search path.
    Expression(String),
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
    /// It is a generated column: COPY leaves it out.
    pub generated: bool,
    /// Its type as SQL, with its length; empty if it is not known.
    pub declared: String,
    /// Its default.
    pub filled: Filled,
    /// It is an identity column: ALWAYS or BY DEFAULT.
    pub identity: Option<&'static str>,
    /// What it is generated from, with parentheses and STORED or VIRTUAL, as the server writes it.
    pub generation: Option<String>,
    /// It is NOT NULL.
    pub not_null: bool,
    /// Its collation as SQL, if it is not that of its type.
    pub collation: Option<String>,
}

impl MaskedRelation {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&MaskedColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns that its views have, in their order.
    pub fn visible(&self) -> impl Iterator<Item = &MaskedColumn> {
        let seen = |column: &&MaskedColumn| column.view_number.is_some();
        self.columns.iter().filter(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(schema: &str, name: &str) -> MaskedRelation {
        MaskedRelation {
            schema: schema.to_owned(),
            name: name.to_owned(),
            ..MaskedRelation::default()
        }
    }

    #[test]
    fn a_name_means_what_stands_first_in_the_search_path() {
        let other = |schema: &str| (schema.to_owned(), "users".to_owned());
        let relations = |others: Vec<(String, String)>| {
            let masked = vec![relation("public", "users"), relation("app", "users")];
            Arc::new(MaskedRelations::new(masked, others))
        };
        let found = |others: Vec<(String, String)>, path: &[&str], schema: Option<&str>| {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            Masked::new(relations(others), &path)
                .resolve(schema, "users")
                .map(|relation| relation.schema.clone())
        };
        let is = |schema: &str| Some(schema.to_owned());
        assert_eq!(found(vec![], &["public", "app"], None), is("public"));
        assert_eq!(found(vec![], &["app", "public"], None), is("app"));
        assert_eq!(found(vec![], &["x"], None), None);
        assert_eq!(found(vec![], &["x"], Some("app")), is("app"));
        assert_eq!(found(vec![], &["x"], Some("x")), None);
        // Something else of that name comes first.
        assert_eq!(found(vec![other("x")], &["x", "app"], None), None);
        assert_eq!(found(vec![other("x")], &["app", "x"], None), is("app"));
        assert_eq!(found(vec![other("pg_temp")], &["app"], None), None);
        assert_eq!(
            found(vec![other("pg_temp")], &["app", "pg_temp"], None),
            is("app")
        );
        assert_eq!(
            found(vec![other("pg_temp")], &["app"], Some("app")),
            is("app")
        );
    }
}
