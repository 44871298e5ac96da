//! What a sandbox knows of the masked relations of its upstream, and what each client's names mean.

use crate::catalog::{
    Filled, IndexKey, Masked, MaskedColumn, MaskedRelation, MaskedRelations, UniqueIndex,
};
use crate::wire::backend;
use bytes::BytesMut;
use std::collections::HashMap;
use std::sync::Arc;

/// Search paths whose meaning is kept.
const PATHS: usize = 16;

/// Fields of a row of the query.
const FIELDS: usize = 10;

/// Of an upstream with masked relations; read by [`crate::upstream::command::Command::Masked`].
#[derive(Debug, Clone)]
pub struct MaskedCatalog {
    relations: Arc<MaskedRelations>,
    /// The search path of a session that has not set one.
    path: String,
    /// The role, which `"$user"` in a search path means.
    role: String,
    by_path: HashMap<String, Arc<Masked>>,
    /// The version of the policy that the seal was made by.
    policy: Option<Arc<str>>,
}

impl MaskedCatalog {
    /// From the rows of the query; rows that do not fit are left out. `further` relations have stand-ins, too. None
    /// if nothing is masked.
    pub fn from_rows(
        rows: &[BytesMut],
        further: &[MaskedRelation],
        path: String,
        role: String,
    ) -> Option<Self> {
        let fields = rows.iter().map(|row| {
            let field = |index| {
                backend::column(row, index).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            (0..FIELDS).map(field).collect()
        });
        let relations = relations(fields, further);
        let version = |row: &BytesMut| {
            let is_policy = backend::column(row, 0) == Some(b"mp");
            let version = backend::column(row, 2).filter(|_| is_policy)?;
            Some(String::from_utf8_lossy(version).into())
        };
        (!relations.is_empty()).then(|| Self {
            relations: Arc::new(relations),
            path,
            role,
            by_path: HashMap::new(),
            policy: rows.iter().find_map(version),
        })
    }

    /// All of them.
    pub fn relations(&self) -> &Arc<MaskedRelations> {
        &self.relations
    }

    /// The version of the policy that the seal was made by.
    pub fn policy_version(&self) -> Option<Arc<str>> {
        self.policy.clone()
    }

    /// What names mean to a client; `path` is its setting `search_path`, if it has one. `shared` gives back
    /// an equal one that others have already.
    pub fn seen_with(
        &mut self,
        path: Option<&str>,
        shared: impl FnOnce(Masked) -> Arc<Masked>,
    ) -> Arc<Masked> {
        let path = path.unwrap_or(&self.path);
        if let Some(masked) = self.by_path.get(path) {
            return masked.clone();
        }
        let schemas: Vec<String> = schemas(path)
            .into_iter()
            .map(|schema| match schema.as_str() {
                "$user" => self.role.clone(),
                _ => schema,
            })
            .collect();
        let masked = shared(Masked::new(self.relations.clone(), &schemas));
        let path = path.to_owned();
        if self.by_path.len() >= PATHS {
            self.by_path.clear();
        }
        self.by_path.insert(path, masked.clone());
        masked
    }
}

/// The relations that the query's rows, field by field, tell of; and further ones.
pub fn relations(
    rows: impl IntoIterator<Item = Vec<Option<String>>>,
    further: &[MaskedRelation],
) -> MaskedRelations {
    let mut relations: Vec<MaskedRelation> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    let mut namesakes = Vec::new();
    let mut version = None;
    for row in rows {
        let field = |index: usize| row.get(index).cloned().flatten();
        let number = |index| field(index).and_then(|text| text.parse().ok());
        let is_true = |index| field(index).is_some_and(|text| text == "true");
        let (Some(kind), Some(first)) = (field(0), field(1)) else {
            continue;
        };
        if kind == "mn" {
            namesakes.extend(field(2).map(|name| (first, name)));
            continue;
        }
        let Ok(oid) = first.parse::<u32>() else {
            continue;
        };
        if kind == "mv" {
            version = Some(oid);
            continue;
        }
        let known = places.get(&oid).and_then(|place| relations.get_mut(*place));
        match (kind.as_str(), known, field(2), field(3)) {
            ("mr", None, Some(schema), Some(name)) => {
                places.insert(oid, relations.len());
                relations.push(MaskedRelation {
                    schema,
                    name,
                    oid,
                    view_oid: number(5).unwrap_or_default(),
                    view: field(4).filter(|_| field(5).is_some()),
                    rows_oid: number(7).unwrap_or_default(),
                    rows: field(6).filter(|_| field(7).is_some()),
                    plain: is_true(8),
                    ..MaskedRelation::default()
                });
            }
            ("mk", Some(relation), Some(column), _) => relation.key.push(column),
            ("mw", Some(relation), withheld, _) => relation.withheld = withheld,
            ("mc", Some(relation), Some(name), Some(number)) => {
                let Ok(number) = number.parse() else {
                    continue;
                };
                relation.columns.push(MaskedColumn {
                    name,
                    number,
                    view_number: field(4).and_then(|text| text.parse().ok()),
                    clear: is_true(5),
                    treatment: field(6).unwrap_or_default(),
                    because: field(7).unwrap_or_default(),
                    ungroupable: is_true(8),
                    generated: is_true(9),
                    ..MaskedColumn::default()
                });
            }
            ("mt", Some(relation), Some(name), Some(declared)) => {
                let column = relation
                    .columns
                    .iter_mut()
                    .find(|column| column.name == name);
                if let Some(column) = column {
                    column.declared = declared;
                    let made = field(6).unwrap_or_default();
                    column.identity = match made.as_str() {
                        "a" => Some("ALWAYS"),
                        "d" => Some("BY DEFAULT"),
                        _ => None,
                    };
                    column.generation = match (made.as_str(), field(5)) {
                        ("s", Some(expression)) => Some(format!("({expression}) STORED")),
                        ("v", Some(expression)) => Some(format!("({expression}) VIRTUAL")),
                        _ => None,
                    };
                    column.not_null = is_true(7);
                    column.collation = field(8);
                    column.filled = match (field(4).as_deref(), field(5)) {
                        (Some("n"), _) => Filled::Null,
                        (Some("k"), Some(expression)) => Filled::Expression(expression),
                        _ => Filled::Unknown,
                    };
                }
            }
            ("mx", Some(relation), Some(name), Some(definition)) => {
                relation.checks.push((name, definition));
            }
            ("mu", Some(relation), Some(name), Some(kind)) => {
                let key = match (field(4), field(5)) {
                    (Some(column), _) => IndexKey::Column(column),
                    (None, expression) => IndexKey::Expression(expression.unwrap_or_default()),
                };
                match relation.unique.last_mut().filter(|last| last.name == name) {
                    Some(index) => index.keys.push(key),
                    None => relation.unique.push(UniqueIndex {
                        name,
                        constraint: kind != "u",
                        primary: kind == "p",
                        keys: vec![key],
                        predicate: field(6),
                        nulls_equal: is_true(7),
                        exclusion: kind == "x",
                    }),
                }
            }
            _ => {}
        }
    }
    relations.extend_from_slice(further);
    let relations = MaskedRelations::new(relations, namesakes);
    match version {
        Some(version) => relations.on_version(version),
        None => relations,
    }
}

/// The schemas of a search path as a setting writes it: a list of identifiers, folded unless quoted.
fn schemas(path: &str) -> Vec<String> {
    let mut schemas = Vec::new();
    let mut name = String::new();
    let mut quoted = false;
    let mut was_quoted = false;
    let mut rest = path.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                name.push('"');
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => {
                schemas.push(std::mem::take(&mut name));
                was_quoted = false;
            }
            c if quoted => name.push(c),
            c if c.is_whitespace() => {}
            c if was_quoted => name.push(c),
            c => name.push(c.to_ascii_lowercase()),
        }
    }
    schemas.push(name);
    schemas.retain(|schema| !schema.is_empty());
    schemas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_paths_are_read_as_postgres_reads_them() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("\"\"", &[]),
            ("\"$user\", public", &["$user", "public"]),
            ("App,PUBLIC", &["app", "public"]),
            (" \"App\" , \"a,b\",\"x\"\"y\" ", &["App", "a,b", "x\"y"]),
        ];
        for (path, expected) in cases {
            assert_eq!(schemas(path), *expected, "{path}");
        }
    }

    #[test]
    fn rows_become_relations() {
        let row = |fields: &[Option<&str>]| {
            let mut row = BytesMut::from(&(fields.len() as u16).to_be_bytes()[..]);
            for field in fields {
                match field {
                    Some(text) => {
                        row.extend_from_slice(&(text.len() as i32).to_be_bytes());
                        row.extend_from_slice(text.as_bytes());
                    }
                    None => row.extend_from_slice(&(-1_i32).to_be_bytes()),
                }
            }
            row
        };
        let (view, rows) = (
            Some("devinprod_masked.\"a.t\""),
            Some("devinprod_rows.\"a.t\""),
        );
        let rows = [
            row(&[
                Some("mr"),
                Some("7"),
                Some("a"),
                Some("t"),
                view,
                Some("8"),
                rows,
                Some("9"),
                None,
            ]),
            row(&[
                Some("mr"),
                Some("17"),
                Some("a"),
                Some("closed"),
                Some("."),
                None,
                Some("."),
                None,
                None,
            ]),
            row(&[
                Some("mk"),
                Some("7"),
                Some("id"),
                None,
                None,
                None,
                None,
                None,
                None,
            ]),
            row(&[
                Some("mc"),
                Some("7"),
                Some("id"),
                Some("1"),
                Some("1"),
                Some("true"),
                Some("clear"),
                None,
                Some("false"),
                Some("true"),
            ]),
            row(&[
                Some("mc"),
                Some("7"),
                Some("j"),
                Some("3"),
                None,
                Some("false"),
                Some("deny"),
                Some("p:1"),
                Some("true"),
            ]),
            row(&[
                Some("mn"),
                Some("pg_temp"),
                Some("t"),
                None,
                None,
                None,
                None,
                None,
                None,
            ]),
            row(&[Some("c"), Some("x"), None, Some("y"), Some("t")]),
        ];
        let mut catalog =
            MaskedCatalog::from_rows(&rows, &[], "\"$user\", a".into(), "dev".into()).unwrap();
        let relations: Vec<_> = catalog.relations().iter().cloned().collect();
        assert_eq!(relations.len(), 2);
        assert_eq!(relations[0].view_oid, 8);
        assert_eq!(relations[0].key, ["id"]);
        assert_eq!(relations[0].columns.len(), 2);
        assert!(relations[0].columns[0].generated && !relations[0].columns[0].ungroupable);
        assert_eq!(relations[0].columns[1].view_number, None);
        assert_eq!(relations[0].columns[1].because, "p:1");
        assert_eq!((&relations[1].view, relations[1].view_oid), (&None, 0));
        // The temporary table stands before it.
        assert!(
            catalog
                .seen_with(None, Arc::new)
                .resolve(None, "t")
                .is_none()
        );
        let own = catalog.seen_with(Some("a, pg_temp"), Arc::new);
        assert_eq!(own.resolve(None, "t").unwrap().oid, 7);
        assert_eq!(own.resolve(Some("a"), "t").unwrap().oid, 7);
    }
}
