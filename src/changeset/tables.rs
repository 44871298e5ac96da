//! Which tables a sandbox wrote to, and what may be seen of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::{Client, Row};

use super::{Column, Counts, Error, Options, Table, Withheld};

/// A table and the partitions of it that were written to.
#[derive(Debug)]
pub(super) struct Unit {
    pub table: Arc<Table>,
    /// What to read it from, as SQL.
    pub from: String,
    /// The tables that hold its rows; of a table without partitions, itself.
    pub leaves: Vec<Leaf>,
    /// The types of the key's columns, in the key's order.
    pub key_types: Vec<String>,
}

/// A table that holds rows.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub oid: u32,
    /// Its pages, as the sandbox sees it.
    pub pages: u32,
    pub chain: Chain,
}

/// Who may ask where the latest version of a row is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chain {
    /// The developer; the table's name as SQL.
    Developer(String),
    /// The seal.
    Seal,
    /// Nobody.
    Nobody,
}

/// What was written to.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub units: Vec<Unit>,
    pub withheld: Vec<Withheld>,
}

const SEALED: &str = "SELECT pg_catalog.to_regprocedure('devinprod.ours(xid)') IS NOT NULL \
    AND pg_catalog.to_regprocedure('devinprod.latest(oid, tid[])') IS NOT NULL";

/// The tables that hold what was written. What a sandbox made itself may never have been counted: a TRUNCATE forgets.
const LEAVES: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, coalesce(pg_catalog.pg_partition_root(c.oid)::oid, c.oid),
    coalesce(s.n_tup_ins, 0), coalesce(s.n_tup_upd, 0), coalesce(s.n_tup_del, 0),
    pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8,
    coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::oid,
    CASE WHEN pg_catalog.has_table_privilege(c.oid, 'SELECT') THEN pg_catalog.format('%I.%I', n.nspname, c.relname) END,
    pg_catalog.has_table_privilege(f.proowner, c.oid, 'SELECT')
FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_proc f ON f.oid = 'devinprod.latest(oid, tid[])'::regprocedure
    LEFT JOIN pg_catalog.pg_stat_xact_user_tables s ON s.relid = c.oid
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'devinprod' AND n.nspname <> 'information_schema'
    AND n.nspname <> 'pg_catalog'
    AND (s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0 OR pg_catalog.current_setting('track_counts') = 'off'
        OR CASE WHEN pg_catalog.age(c.xmin) <= 0 THEN devinprod.ours(c.xmin) END)
ORDER BY n.nspname, c.relname";

const KNOWN_OUTSIDE: &str = "SELECT c.oid, coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::oid \
    FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1)";

const HAS_MASKS: &str = "SELECT pg_catalog.to_regclass('devinprod.masked_relation') IS NOT NULL";

const MASKED_RELATIONS: &str = "SELECT m.relation, m.rows IS NOT NULL FROM devinprod.masked_relation m \
    WHERE m.relation = ANY ($1)";

const MASKED_COLUMNS: &str = "SELECT m.relation, m.number, m.view_number IS NOT NULL, m.clear \
    FROM devinprod.masked_column m WHERE m.relation = ANY ($1)";

const RELATIONS: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p', c.relhassubclass,
    pg_catalog.has_column_privilege(c.oid, 'xmin', 'SELECT') AND pg_catalog.has_column_privilege(c.oid, 'xmax', 'SELECT')
        AND pg_catalog.has_column_privilege(c.oid, 'ctid', 'SELECT')
        AND pg_catalog.has_column_privilege(c.oid, 'tableoid', 'SELECT')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1)";

/// An output function is asked by name where a cast to text would be another thing: `char(n)` loses its spaces, and a type of the
/// application's may have a cast of its own.
const COLUMNS: &str = "
SELECT a.attrelid, a.attnum, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> '',
    a.attidentity = 'a', pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
    CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace AND t.typname NOT IN ('bpchar', '_bpchar')
        THEN pg_catalog.format('t.%I::pg_catalog.text', a.attname)
        ELSE pg_catalog.format('CASE WHEN pg_catalog.num_nulls(t.%1$I) = 0 THEN pg_catalog.concat(t.%1$I) END', a.attname) END
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

/// Of expressions nothing is known but what they read, so all of it counts.
const UNIQUE: &str = "
SELECT i.indrelid, d.refobjsubid::int2
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass
    AND (d.objid = i.indexrelid OR d.objid IN (
        SELECT c.oid FROM pg_catalog.pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')))
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
WHERE i.indrelid = ANY ($1) AND (i.indisunique OR i.indisexclusion)
UNION
SELECT i.indrelid, k.number FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indkey::int2[]) AS k (number)
WHERE i.indrelid = ANY ($1) AND (i.indisunique OR i.indisexclusion)";

const REFERENCES: &str = "SELECT c.conrelid, c.confrelid FROM pg_catalog.pg_constraint c \
    WHERE c.contype = 'f' AND c.conrelid = ANY ($1) AND c.confrelid = ANY ($1)";

const KEYS: &str = "
SELECT DISTINCT ON (i.indrelid) i.indrelid, (i.indkey::int2[])[0:i.indnkeyatts - 1]
FROM pg_catalog.pg_index i
WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    AND (i.indisprimary OR i.indimmediate) AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid AND NOT a.attnotnull
            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
ORDER BY i.indrelid, i.indisprimary DESC, i.indexrelid";

/// A table that holds rows, as it was found.
struct Found {
    leaf: Leaf,
    schema: String,
    name: String,
    root: u32,
    counted: Counts,
    filenode: u32,
}

/// A relation through which rows may be read.
struct Relation {
    schema: String,
    name: String,
    partitioned: bool,
    has_children: bool,
    /// Its rows' places and transactions can be read.
    readable: bool,
    columns: Vec<Column>,
    /// Places in `columns`.
    key: Vec<usize>,
    unique: Vec<usize>,
    /// No column is left out.
    complete: bool,
}

/// Finds what the sandbox wrote to.
pub(super) async fn written(
    inside: &Client,
    outside: &Client,
    options: &Options,
) -> Result<Written, Error> {
    let sealed: bool = one(inside, SEALED).await?;
    if !sealed {
        return Err(Error::NotSealed);
    }
    let mut found = leaves(inside).await?;
    let oids: Vec<u32> = found
        .iter()
        .flat_map(|found| [found.leaf.oid, found.root])
        .collect();
    let relations = relations(inside, &oids).await?;
    found.retain(|found| {
        let root = relations.get(&found.root);
        let named = |schema: &str, name: &str| {
            options
                .only
                .iter()
                .any(|only| only == name || *only == format!("{schema}.{name}"))
        };
        options.only.is_empty()
            || named(&found.schema, &found.name)
            || root.is_some_and(|root| named(&root.schema, &root.name))
    });
    let outside_knows: BTreeMap<u32, u32> = ask(outside, KNOWN_OUTSIDE, &oids)
        .await?
        .iter()
        .map(|row| Ok((cell(row, 0)?, cell(row, 1)?)))
        .collect::<Result<_, Error>>()?;
    let mut written = Written::default();
    for found in found {
        let through = [found.root, found.leaf.oid]
            .into_iter()
            .find_map(|oid| Some((oid, relations.get(&oid).filter(|r| r.readable)?)));
        let former = outside_knows.get(&found.leaf.oid);
        let because = match through {
            None => Some("developers may not read it"),
            Some(_) if former.is_some_and(|former| *former != found.filenode) => {
                Some("the sandbox wrote it anew as a whole")
            }
            Some(_) => None,
        };
        match (through, because) {
            (Some((oid, relation)), None) => {
                let made = !outside_knows.contains_key(&oid);
                match written.units.iter_mut().find(|unit| unit.table.oid == oid) {
                    Some(unit) => unit.leaves.push(found.leaf),
                    None => written.units.push(unit(oid, relation, made, found.leaf)),
                }
            }
            (_, because) => {
                if !found.counted.is_empty() {
                    written.withheld.push(Withheld {
                        schema: found.schema,
                        name: found.name,
                        counted: found.counted,
                        because: because.unwrap_or_default(),
                    });
                }
            }
        }
    }
    written
        .units
        .sort_by(|a, b| (&a.table.schema, &a.table.name).cmp(&(&b.table.schema, &b.table.name)));
    written.units = parents_first(inside, written.units).await?;
    Ok(written)
}

/// The tables that others refer to before those; where they refer to each other, as they came.
async fn parents_first(inside: &Client, units: Vec<Unit>) -> Result<Vec<Unit>, Error> {
    let oids: Vec<u32> = units.iter().map(|unit| unit.table.oid).collect();
    let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for row in &ask(inside, REFERENCES, &oids).await? {
        parents
            .entry(cell(row, 0)?)
            .or_default()
            .push(cell(row, 1)?);
    }
    let mut waiting: Vec<Unit> = units;
    let mut sorted: Vec<Unit> = Vec::new();
    while !waiting.is_empty() {
        let waits_for = |unit: &Unit| {
            let parents = parents.get(&unit.table.oid);
            parents.into_iter().flatten().any(|parent| {
                *parent != unit.table.oid && waiting.iter().any(|other| other.table.oid == *parent)
            })
        };
        let next = waiting.iter().position(|unit| !waits_for(unit));
        sorted.push(waiting.remove(next.unwrap_or_default()));
    }
    Ok(sorted)
}

fn unit(oid: u32, relation: &Relation, made: bool, leaf: Leaf) -> Unit {
    let place = format!("{}.{}", quoted(&relation.schema), quoted(&relation.name));
    Unit {
        // Children that are no partitions have rows, columns and keys of their own.
        from: if relation.has_children && !relation.partitioned {
            format!("ONLY {place}")
        } else {
            place
        },
        key_types: relation
            .key
            .iter()
            .filter_map(|at| relation.columns.get(*at))
            .map(|column| column.type_name.clone())
            .collect(),
        table: Arc::new(Table {
            oid,
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            columns: relation.columns.clone(),
            key: relation.key.clone(),
            unique: relation.unique.clone(),
            complete: relation.complete,
            only: relation.has_children && !relation.partitioned,
            made,
        }),
        leaves: vec![leaf],
    }
}

async fn leaves(inside: &Client) -> Result<Vec<Found>, Error> {
    let rows = inside
        .query(LEAVES, &[])
        .await
        .map_err(database("which tables were written to"))?;
    rows.iter()
        .map(|row| {
            let count = |at| Ok::<u64, Error>(cell::<i64>(row, at)?.try_into().unwrap_or_default());
            let name: Option<String> = cell(row, 9)?;
            let sealed: bool = cell(row, 10)?;
            Ok(Found {
                leaf: Leaf {
                    oid: cell(row, 0)?,
                    pages: count(7)?.try_into().unwrap_or(u32::MAX),
                    chain: match (name, sealed) {
                        (Some(name), _) => Chain::Developer(name),
                        (None, true) => Chain::Seal,
                        (None, false) => Chain::Nobody,
                    },
                },
                schema: cell(row, 1)?,
                name: cell(row, 2)?,
                root: cell(row, 3)?,
                counted: Counts {
                    inserted: count(4)?,
                    updated: count(5)?,
                    deleted: count(6)?,
                    same: 0,
                },
                filenode: cell(row, 8)?,
            })
        })
        .collect()
}

/// Relations and what a developer may see of them, by oid.
async fn relations(inside: &Client, oids: &Vec<u32>) -> Result<BTreeMap<u32, Relation>, Error> {
    let mut relations = BTreeMap::new();
    for row in &ask(inside, RELATIONS, oids).await? {
        let oid: u32 = cell(row, 0)?;
        let relation = Relation {
            schema: cell(row, 1)?,
            name: cell(row, 2)?,
            partitioned: cell(row, 3)?,
            has_children: cell(row, 4)?,
            readable: cell(row, 5)?,
            columns: Vec::new(),
            key: Vec::new(),
            unique: Vec::new(),
            complete: true,
        };
        relations.insert(oid, relation);
    }
    // Whether a developer sees a column of a masked relation, and as it is.
    let mut masked: BTreeMap<(u32, i16), (bool, bool)> = BTreeMap::new();
    if one(inside, HAS_MASKS).await? {
        for row in &ask(inside, MASKED_RELATIONS, oids).await? {
            if let Some(relation) = relations.get_mut(&cell(row, 0)?) {
                relation.readable = cell(row, 1)?;
            }
        }
        for row in &ask(inside, MASKED_COLUMNS, oids).await? {
            masked.insert(
                (cell(row, 0)?, cell(row, 1)?),
                (cell(row, 2)?, cell(row, 3)?),
            );
        }
    }
    // Where each column's number went.
    let mut places: BTreeMap<(u32, i16), usize> = BTreeMap::new();
    for row in &ask(inside, COLUMNS, oids).await? {
        let (oid, number): (u32, i16) = (cell(row, 0)?, cell(row, 1)?);
        let Some(relation) = relations.get_mut(&oid) else {
            continue;
        };
        let granted: bool = cell(row, 6)?;
        let (seen, clear) = masked
            .get(&(oid, number))
            .copied()
            .unwrap_or((granted, true));
        if !seen {
            relation.complete = false;
            continue;
        }
        if clear {
            places.insert((oid, number), relation.columns.len());
        }
        relation.columns.push(Column {
            name: cell(row, 2)?,
            type_name: cell(row, 3)?,
            generated: cell(row, 4)?,
            always_identity: cell(row, 5)?,
            masked: !clear,
            cell: cell(row, 7)?,
        });
    }
    for row in &ask(inside, KEYS, oids).await? {
        let (oid, numbers): (u32, Vec<i16>) = (cell(row, 0)?, cell(row, 1)?);
        let key: Option<Vec<usize>> = numbers
            .iter()
            .map(|number| places.get(&(oid, *number)).copied())
            .collect();
        if let (Some(relation), Some(key)) = (relations.get_mut(&oid), key) {
            relation.key = key;
        }
    }
    for row in &ask(inside, UNIQUE, oids).await? {
        let place: (u32, i16) = (cell(row, 0)?, cell(row, 1)?);
        if let (Some(relation), Some(at)) = (relations.get_mut(&place.0), places.get(&place)) {
            relation.unique.push(*at);
        }
    }
    Ok(relations)
}

async fn ask(client: &Client, sql: &str, oids: &Vec<u32>) -> Result<Vec<Row>, Error> {
    client
        .query(sql, &[oids])
        .await
        .map_err(database("what tables there are"))
}

async fn one(client: &Client, sql: &str) -> Result<bool, Error> {
    let row = client
        .query_one(sql, &[])
        .await
        .map_err(database("what the seal is"))?;
    cell(&row, 0)
}

/// A cell of an answer.
pub(super) fn cell<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    at: usize,
) -> Result<T, Error> {
    row.try_get(at).map_err(database("an answer"))
}

/// Says what was to be read.
pub(super) fn database(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Error {
    let what = what.into();
    |source| Error::Database { what, source }
}

/// An identifier, quoted always.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
