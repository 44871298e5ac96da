//! What a database has, as far as a policy's owner must know: read from the catalog, never from the tables themselves.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Row};

use crate::synth;

/// A database's columns, and the code that a policy may speak of.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Relations of users, by schema and name.
    pub relations: Vec<Relation>,
    /// Triggers, as a vouch names them: `trigger public.customers.touch`.
    pub triggers: Vec<String>,
    /// Functions as `schema.name(types)`, and whether they are SECURITY DEFINER.
    pub functions: Vec<(String, bool)>,
}

/// A table, view, materialized view or foreign table.
#[derive(Debug, Clone, Default)]
pub struct Relation {
    /// Its oid.
    pub oid: u32,
    /// Its schema, unquoted.
    pub schema: String,
    /// Its name, unquoted.
    pub name: String,
    /// `relkind`: r, p, v, m or f.
    pub kind: char,
    /// How many rows the statistics say it has; negative if nobody has counted.
    pub rows: f32,
    /// What it inherits from, or is a partition of.
    pub parents: Vec<u32>,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its number in the relation.
    pub number: i16,
    /// Its name, unquoted.
    pub name: String,
    /// Its type as it was declared.
    pub declared: String,
    /// What masks need to know of it.
    pub shape: synth::Column,
    /// It has no NULL.
    pub not_null: bool,
    /// It is generated from others.
    pub generated: bool,
    /// Indexes that a lookup by it alone may use.
    pub indexes: Vec<String>,
    /// The column that it refers to as a foreign key of its own: relation's oid, and name.
    pub refers_to: Option<(u32, String)>,
    /// The owner's comment on it.
    pub comment: Option<String>,
    /// How many different values the statistics say it has: a number, or, negative, a share of the rows. None if nobody
    /// has counted, or this role may not know.
    pub distinct: Option<f32>,
}

/// What a seal was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The policy's version.
    pub version: String,
    /// When, as Postgres writes it.
    pub at: String,
    /// The columns that it knew: relation's oid and number.
    pub columns: BTreeSet<(u32, i16)>,
}

impl Catalog {
    /// The relation of that name.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations
            .iter()
            .find(|relation| relation.schema == schema && relation.name == name)
    }

    /// The relation of that oid.
    pub fn by_oid(&self, oid: u32) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.oid == oid)
    }

    /// The relation whose lines are for this one: a partition or child has those of its parent.
    pub fn root<'a>(&'a self, relation: &'a Relation) -> &'a Relation {
        let mut root = relation;
        // Inheritance has no circles; the bound is for a catalog that is read while it changes.
        for _ in 0..self.relations.len() {
            match root.parents.iter().find_map(|oid| self.by_oid(*oid)) {
                Some(parent) => root = parent,
                None => break,
            }
        }
        root
    }
}

impl Relation {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// `public.customers`, for people.
    pub fn title(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Reads the catalog in a read-only transaction of its own; the client must be in none.
///
/// # Errors
/// What the upstream says.
pub async fn catalog(client: &Client) -> Result<Catalog, tokio_postgres::Error> {
    // So that names of types and functions come with their schemas, and operators are the system's own.
    client
        .batch_execute("BEGIN READ ONLY; SET LOCAL search_path = pg_catalog")
        .await?;
    let catalog = read(client).await;
    client.batch_execute("ROLLBACK").await?;
    catalog
}

async fn read(client: &Client) -> Result<Catalog, tokio_postgres::Error> {
    let mut relations = Vec::new();
    let mut places = BTreeMap::new();
    for row in client.query(RELATIONS, &[]).await? {
        let relation = relation(&row)?;
        places.insert(relation.oid, relations.len());
        relations.push(relation);
    }
    let oids: Vec<u32> = places.keys().copied().collect();
    for row in client.query(COLUMNS, &[&oids]).await? {
        let oid: u32 = row.try_get(0)?;
        if let Some(relation) = places.get(&oid).and_then(|place| relations.get_mut(*place)) {
            relation.columns.push(column(&row)?);
        }
    }
    let triggers = client.query(TRIGGERS, &[]).await?;
    let triggers: Result<_, _> = triggers.iter().map(|row| row.try_get(0)).collect();
    let functions = client.query(FUNCTIONS, &[]).await?;
    let functions: Result<_, _> = functions
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect();
    Ok(Catalog {
        relations,
        triggers: triggers?,
        functions: functions.map_err(|error: tokio_postgres::Error| error)?,
    })
}

/// What the database's seal was made from; None if it has none that knows policies.
///
/// # Errors
/// What the upstream says.
pub async fn sealed(client: &Client) -> Result<Option<Sealed>, tokio_postgres::Error> {
    let there = "SELECT pg_catalog.to_regclass('devinprod.clear_relation') IS NOT NULL";
    if !client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let Some(policy) = client
        .query_opt(
            "SELECT version, sealed_at::pg_catalog.text FROM devinprod.policy",
            &[],
        )
        .await?
    else {
        return Ok(None);
    };
    let columns = client
        .query(
            "SELECT relation, number FROM devinprod.masked_column UNION ALL \
             SELECT relation, pg_catalog.unnest(columns) FROM devinprod.clear_relation",
            &[],
        )
        .await?;
    let columns: Result<_, tokio_postgres::Error> = columns
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect();
    Ok(Some(Sealed {
        version: policy.try_get(0)?,
        at: policy.try_get(1)?,
        columns: columns?,
    }))
}

fn relation(row: &Row) -> Result<Relation, tokio_postgres::Error> {
    let kind: String = row.try_get(3)?;
    Ok(Relation {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        kind: kind.chars().next().unwrap_or_default(),
        rows: row.try_get(4)?,
        parents: row.try_get(5)?,
        columns: Vec::new(),
    })
}

fn column(row: &Row) -> Result<Column, tokio_postgres::Error> {
    let referred: Option<u32> = row.try_get(8)?;
    let by_name: Option<String> = row.try_get(9)?;
    Ok(Column {
        number: row.try_get(12)?,
        name: row.try_get(1)?,
        declared: row.try_get(2)?,
        shape: synth::Column {
            sql_type: row.try_get(3)?,
            labels: row.try_get(4)?,
            unique: row.try_get(11)?,
        },
        not_null: row.try_get(5)?,
        generated: row.try_get(6)?,
        indexes: row.try_get(7)?,
        refers_to: referred.zip(by_name),
        comment: row.try_get(10)?,
        distinct: row.try_get(13)?,
    })
}

/// Relations that a policy may speak of: oid, schema, name, kind, rows, parents.
const RELATIONS: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.reltuples,
    ARRAY(SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
    AND n.nspname NOT IN ('information_schema', 'devinprod', 'devinprod_masked', 'devinprod_rows')
    AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname";

/// Columns: relation, name, type, type without domains, enum's labels, not null, generated, indexes that begin with
/// it or whose expressions mention it, foreign key's relation and column, comment, unique, number, different values.
const COLUMNS: &str = "
SELECT a.attrelid, a.attname::text, format_type(a.atttypid, a.atttypmod),
    format_type(b.type, b.modifier),
    ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = b.type ORDER BY e.enumsortorder),
    a.attnotnull, a.attgenerated <> '',
    ARRAY(SELECT i.indexrelid::regclass::text FROM pg_index i
        WHERE i.indrelid = a.attrelid AND i.indisvalid AND i.indpred IS NULL
            AND (i.indkey[0] = a.attnum OR i.indkey[0] = 0 AND EXISTS (SELECT FROM pg_depend d
                WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
                    AND d.refobjsubid = a.attnum))
        ORDER BY i.indexrelid),
    f.confrelid, (SELECT r.attname::text FROM pg_attribute r
        WHERE r.attrelid = f.confrelid AND r.attnum = f.confkey[1]),
    col_description(a.attrelid, a.attnum),
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid
        AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum),
    a.attnum,
    (SELECT s.n_distinct FROM pg_stats s JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
        ORDER BY s.inherited LIMIT 1)
FROM pg_attribute a
    CROSS JOIN LATERAL (
        WITH RECURSIVE step (type, modifier) AS (
            SELECT a.atttypid, a.atttypmod
            UNION ALL
            SELECT d.typbasetype, d.typtypmod FROM step JOIN pg_type d ON d.oid = step.type AND d.typtype = 'd'
        )
        SELECT step.type, step.modifier FROM step JOIN pg_type y ON y.oid = step.type WHERE y.typtype <> 'd') b
    LEFT JOIN LATERAL (SELECT o.confrelid, o.confkey FROM pg_constraint o
        WHERE o.contype = 'f' AND o.conrelid = a.attrelid AND o.conkey = ARRAY[a.attnum]
        ORDER BY o.oid LIMIT 1) f ON true
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = ANY ($1)
ORDER BY a.attrelid, a.attnum";

/// Triggers of users, as a vouch names them.
const TRIGGERS: &str = "
SELECT 'trigger ' || t.tgrelid::regclass::text || '.' || quote_ident(t.tgname)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'devinprod')
ORDER BY 1";

/// Functions of users: as SQL names them, SECURITY DEFINER.
const FUNCTIONS: &str = "
SELECT p.oid::regprocedure::text, p.prosecdef
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'devinprod')
ORDER BY 1";
