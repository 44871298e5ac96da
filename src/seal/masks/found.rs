//! What a database has, as far as reading is concerned: the part of a [`Survey`](super::super::Survey) that masks need.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::actions::{ACTIONS, Action, Hidden, action};
use super::facts::{Facts, facts};
use super::lineage::{self, Copied, Derived};
use super::queries;
use crate::seal::{Names, SealError};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The users' relations, by schema and name.
    pub relations: Vec<FoundRelation>,
    /// How the tables among them are written to, by oid.
    pub(in crate::seal) facts: BTreeMap<u32, Facts>,
    /// The foreign keys that do something to the rows that refer.
    pub(super) actions: Vec<Action>,
    /// What views are made of, by oid.
    pub(super) derived: BTreeMap<u32, Derived>,
    /// What setup noted of copies of views.
    pub(super) copied: BTreeMap<u32, Copied>,
    /// What PUBLIC and the seal's groups hold on relations, by oid.
    pub(super) grants: BTreeMap<u32, BTreeSet<Grant>>,
    /// What stands in the schemas of views.
    pub(super) views: Vec<FoundView>,
    /// The schemas of views: name, owner, readers have USAGE, others may CREATE.
    pub(super) schemas: Vec<(String, String, bool, bool)>,
    /// The schemas, as SQL, that the sealing role may use.
    pub(super) entered: BTreeSet<String>,
    /// Default privileges that would open or link tables to come.
    pub(super) defaults: Vec<FoundDefault>,
    /// What the seal says of itself.
    pub(super) manifest: Option<Manifest>,
    /// Tables of the seal that somebody else may get at: table and role.
    pub(super) secrets: Vec<(String, String)>,
    /// A digest of the seal's functions as they are.
    pub(super) functions: Option<String>,
}

/// A table, view, materialized view or foreign table of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundRelation {
    /// Its oid.
    pub oid: u32,
    /// Its schema, unquoted.
    pub schema: String,
    /// Its name, unquoted.
    pub name: String,
    /// Its schema as SQL.
    pub place: String,
    /// Its qualified name as SQL.
    pub identity: String,
    /// `relkind`: r, p, v, m or f.
    pub kind: char,
    /// Its owner.
    pub owner: String,
    /// Whether who surveys may grant on it.
    pub manageable: bool,
    /// It belongs to an extension.
    pub extension: bool,
    /// What it inherits from, or is a partition of.
    pub parents: Vec<u32>,
    /// It is a partition.
    pub partition: bool,
    /// The numbers of its key's columns: the primary key, or a unique key without NULL; none where a key does not
    /// tell rows apart, as with inheritance.
    pub key: Vec<i16>,
    /// Row security policies in force that are for named roles.
    pub role_policies: Vec<String>,
    /// Relations that its row security policies look at.
    pub policy_reads: Vec<u32>,
    /// Of a view: the relations that its definition names.
    pub reads: Vec<u32>,
    /// Of a view: a digest of its definition.
    pub definition: Option<String>,
    /// A digest of its row security policies; None where they are not in force.
    pub security: Option<String>,
    /// Its columns, in order.
    pub columns: Vec<FoundColumn>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundColumn {
    /// Its number.
    pub number: i16,
    /// Its name, unquoted.
    pub name: String,
    /// Its name as SQL.
    pub identity: String,
    /// Its type as SQL, with its length, domains resolved.
    pub base: String,
    /// The labels, if it is an enum.
    pub labels: Vec<String>,
    /// Its collation as SQL, if it is not the type's own.
    pub collation: Option<String>,
    /// It is generated from others.
    pub generated: bool,
    /// The numbers of those.
    pub sources: Vec<i16>,
    /// GROUP BY cannot compare it.
    pub ungroupable: bool,
    /// It alone is a key.
    pub unique: bool,
}

/// A privilege that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Grant {
    /// The role; empty for PUBLIC.
    pub holder: String,
    /// `SELECT` …
    pub privilege: String,
    /// The column, or 0 for all of them.
    pub column: i16,
}

/// A relation in one of the schemas of views.
#[derive(Debug, Clone)]
pub(super) struct FoundView {
    pub schema: String,
    pub name: String,
    pub oid: u32,
    pub kind: char,
    pub owner: String,
}

/// A default privilege.
#[derive(Debug, Clone)]
pub(super) struct FoundDefault {
    pub owner: String,
    pub schema: Option<String>,
    pub privilege: String,
    pub grantee: String,
    pub manageable: bool,
}

/// What the seal says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Manifest {
    /// The policy's version, the digest of the masks' definition, and that of the functions as they were; None
    /// where no policy was ever sealed.
    pub policy: Option<(String, String, Option<String>)>,
    pub masked: Vec<Masked>,
    pub clear: Vec<Clear>,
    /// The columns of masked relations: may be read, and their treatment.
    pub columns: BTreeMap<(u32, i16), (bool, String)>,
}

/// A masked relation in the manifest.
#[derive(Debug, Clone)]
pub(super) struct Masked {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub view: Option<String>,
    pub rows: Option<String>,
    pub view_oid: Option<u32>,
    pub rows_oid: Option<u32>,
    pub definition: String,
    pub then: Option<String>,
    pub now: Option<String>,
    /// The application's code that may change what is written, one piece per line, as setup saw it.
    pub seen: Option<String>,
    pub security: Option<String>,
}

/// A clear relation in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clear {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub columns: Vec<i16>,
    pub lineage: Option<String>,
    pub security: Option<String>,
}

impl Found {
    /// The relation of that oid.
    pub fn relation(&self, oid: u32) -> Option<&FoundRelation> {
        self.relations.iter().find(|relation| relation.oid == oid)
    }

    /// Whether the seal was made from a policy.
    pub fn has_policy(&self) -> bool {
        self.manifest
            .as_ref()
            .is_some_and(|manifest| manifest.policy.is_some())
    }

    /// The columns that the policy that was sealed does not open, by relation; what an extension made is left out.
    pub(super) fn hidden(&self) -> Hidden {
        let Some(manifest) = &self.manifest else {
            return Hidden::new();
        };
        let clear: BTreeMap<u32, &[i16]> = manifest
            .clear
            .iter()
            .map(|relation| (relation.oid, relation.columns.as_slice()))
            .collect();
        let is_clear = |oid: u32, number: i16| {
            let masked = manifest.columns.get(&(oid, number));
            masked.is_some_and(|(clear, _)| *clear)
                || clear
                    .get(&oid)
                    .is_some_and(|columns| columns.contains(&number))
        };
        self.relations
            .iter()
            .filter(|relation| !relation.extension)
            .map(|relation| {
                let numbers = relation.columns.iter().map(|column| column.number);
                let hidden = numbers.filter(|number| !is_clear(relation.oid, *number));
                (relation.oid, hidden.collect())
            })
            .collect()
    }

    /// The columns (0: all) on which `holder` holds `privilege`.
    pub(super) fn held(&self, oid: u32, holder: &str, privilege: &str) -> BTreeSet<i16> {
        self.grants
            .get(&oid)
            .into_iter()
            .flatten()
            .filter(|grant| grant.holder == holder && grant.privilege == privilege)
            .map(|grant| grant.column)
            .collect()
    }

    /// A digest of a view's definition and of those of all views below it; None if it is no view.
    pub(super) fn lineage(&self, relation: &FoundRelation) -> Option<String> {
        use sha2::{Digest, Sha256};
        relation.definition.as_ref()?;
        let mut seen = BTreeSet::new();
        let mut open = vec![relation.oid];
        while let Some(oid) = open.pop() {
            if seen.insert(oid) {
                open.extend(
                    self.relation(oid)
                        .into_iter()
                        .flat_map(|found| &found.reads),
                );
            }
        }
        let mut digest = Sha256::new();
        for oid in seen {
            let definition = self
                .relation(oid)
                .and_then(|found| found.definition.as_deref());
            digest.update(format!("{oid} {}\n", definition.unwrap_or_default()));
        }
        Some(hex(&digest.finalize()))
    }
}

impl FoundRelation {
    /// The column of that number.
    pub fn column(&self, number: i16) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.number == number)
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks, inside a transaction of the caller's, whose search path is `pg_catalog`.
pub(in crate::seal) async fn collect(client: &Client, names: &Names) -> Result<Found, SealError> {
    let (readers, writers, owner) = (names.readers(), names.writers(), names.owner());
    let mut relations = rows(client, queries::RELATIONS, &[], relation).await?;
    let places: BTreeMap<u32, usize> = relations
        .iter()
        .enumerate()
        .map(|(place, relation)| (relation.oid, place))
        .collect();
    for (oid, column) in rows(client, queries::COLUMNS, &[], column).await? {
        if let Some(relation) = places.get(&oid).and_then(|place| relations.get_mut(*place)) {
            relation.columns.push(column);
        }
    }
    let mut grants: BTreeMap<u32, BTreeSet<Grant>> = BTreeMap::new();
    let holders: &[&str] = &[&readers, &writers, &owner];
    for (oid, grant) in rows(client, queries::GRANTS, holders, grant).await? {
        grants.entry(oid).or_default().insert(grant);
    }
    let entered = rows(client, queries::ENTERED, &[&owner], |row| {
        Ok(row.try_get(0)?)
    })
    .await?;
    let functions = client.query_one(queries::FUNCTIONS, &[]).await?;
    Ok(Found {
        relations,
        facts: facts(client).await?,
        actions: rows(client, ACTIONS, &[], action).await?,
        derived: lineage::derived(client).await?,
        copied: lineage::copied(client).await?,
        grants,
        views: rows(client, queries::VIEWS, &[], view).await?,
        schemas: rows(client, queries::SCHEMAS, &[&readers], |row| {
            Ok((
                row.try_get(0)?,
                row.try_get(1)?,
                row.try_get(2)?,
                row.try_get(3)?,
            ))
        })
        .await?,
        entered: entered.into_iter().collect(),
        defaults: rows(client, queries::DEFAULTS, &[&readers, &writers], default).await?,
        manifest: manifest(client).await?,
        secrets: rows(client, queries::SECRETS, &[], |row| {
            Ok((row.try_get(0)?, row.try_get(1)?))
        })
        .await?,
        functions: functions.try_get(0)?,
    })
}

async fn manifest(client: &Client) -> Result<Option<Manifest>, SealError> {
    let there: bool = client.query_one(queries::MANIFEST, &[]).await?.try_get(0)?;
    if !there {
        return Ok(None);
    }
    let policy = rows(client, queries::POLICY, &[], |row| {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    })
    .await?;
    let columns = rows(client, queries::MASKED_COLUMNS, &[], |row| {
        Ok((
            (row.try_get(0)?, row.try_get(1)?),
            (row.try_get(2)?, row.try_get(3)?),
        ))
    })
    .await?;
    Ok(Some(Manifest {
        policy: policy.into_iter().next(),
        masked: rows(client, queries::MASKED, &[], masked).await?,
        clear: rows(client, queries::CLEAR, &[], clear).await?,
        columns: columns.into_iter().collect(),
    }))
}

async fn rows<T>(
    client: &Client,
    query: &str,
    texts: &[&str],
    read: fn(&Row) -> Result<T, SealError>,
) -> Result<Vec<T>, SealError> {
    let parameters: Vec<&(dyn ToSql + Sync)> = texts.iter().map(|text| text as _).collect();
    let found = client.query(query, &parameters).await?;
    found.iter().map(read).collect()
}

fn relation(row: &Row) -> Result<FoundRelation, SealError> {
    Ok(FoundRelation {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        place: row.try_get(3)?,
        identity: row.try_get(4)?,
        kind: letter(row, 5)?,
        owner: row.try_get(6)?,
        manageable: row.try_get(7)?,
        extension: row.try_get(8)?,
        parents: row.try_get(9)?,
        partition: row.try_get(10)?,
        key: row.try_get(11)?,
        role_policies: row.try_get(12)?,
        policy_reads: row.try_get(13)?,
        reads: row.try_get(14)?,
        definition: row.try_get(15)?,
        security: row.try_get(16)?,
        columns: Vec::new(),
    })
}

fn letter(row: &Row, place: usize) -> Result<char, SealError> {
    Ok(row
        .try_get::<_, &str>(place)?
        .chars()
        .next()
        .unwrap_or_default())
}

fn column(row: &Row) -> Result<(u32, FoundColumn), SealError> {
    Ok((
        row.try_get(0)?,
        FoundColumn {
            number: row.try_get(1)?,
            name: row.try_get(2)?,
            identity: row.try_get(3)?,
            base: row.try_get(4)?,
            labels: row.try_get(5)?,
            collation: row.try_get(6)?,
            generated: row.try_get(7)?,
            sources: row.try_get(8)?,
            ungroupable: row.try_get(9)?,
            unique: row.try_get(10)?,
        },
    ))
}

fn grant(row: &Row) -> Result<(u32, Grant), SealError> {
    Ok((
        row.try_get(0)?,
        Grant {
            column: row.try_get(1)?,
            holder: row.try_get(2)?,
            privilege: row.try_get(3)?,
        },
    ))
}

fn view(row: &Row) -> Result<FoundView, SealError> {
    Ok(FoundView {
        schema: row.try_get(0)?,
        name: row.try_get(1)?,
        oid: row.try_get(2)?,
        kind: letter(row, 3)?,
        owner: row.try_get(4)?,
    })
}

fn default(row: &Row) -> Result<FoundDefault, SealError> {
    Ok(FoundDefault {
        owner: row.try_get(0)?,
        schema: row.try_get(1)?,
        privilege: row.try_get(2)?,
        grantee: row.try_get(3)?,
        manageable: row.try_get(4)?,
    })
}

fn masked(row: &Row) -> Result<Masked, SealError> {
    Ok(Masked {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        view: row.try_get(3)?,
        rows: row.try_get(4)?,
        view_oid: row.try_get(5)?,
        rows_oid: row.try_get(6)?,
        definition: row.try_get(7)?,
        then: row.try_get(8)?,
        now: row.try_get(9)?,
        seen: row.try_get(10)?,
        security: row.try_get(11)?,
    })
}

fn clear(row: &Row) -> Result<Clear, SealError> {
    Ok(Clear {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        columns: row.try_get(3)?,
        lineage: row.try_get(4)?,
        security: row.try_get(5)?,
    })
}
