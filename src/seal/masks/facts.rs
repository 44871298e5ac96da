//! What a table is like, as far as it matters for who wrote a value.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Row};

use super::own::TRIGGER_PREFIX;
use crate::seal::SealError;

/// A table that developers may write to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::seal) struct Facts {
    /// Its qualified name as SQL.
    pub identity: String,
    /// It is a partition: the row triggers of its root are its own.
    pub partition: bool,
    /// The topmost partitioned table that it belongs to, or is, as SQL.
    pub root: Option<String>,
    /// BEFORE ROW triggers of the application, its own and its partitions', for INSERT: `trigger public.users.touch`.
    pub before_insert: Vec<String>,
    /// The same for UPDATE.
    pub before_update: Vec<String>,
    /// Rules, of any relation, that name it: `rule public.users.copy`.
    pub rules: Vec<String>,
    /// The seal's triggers that it has.
    pub triggers: Vec<String>,
    /// Its columns by name.
    pub columns: BTreeMap<String, ColumnFacts>,
}

/// A column of such a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::seal) struct ColumnFacts {
    /// Postgres makes its value from others.
    pub generated: bool,
    /// It can be assigned in part, without the right to read it: an array, jsonb, a composite, a point.
    pub parts: bool,
    /// It stands in an index that no two rows may have the same value in.
    pub unique: bool,
    /// Functions of the application that its default calls: `function app.token(integer)`.
    pub default_code: Vec<String>,
}

impl Facts {
    /// The application's code that may change what is written here.
    pub fn code(&self) -> Vec<String> {
        let defaults = self
            .columns
            .values()
            .flat_map(|column| &column.default_code);
        let all: BTreeSet<&String> = self
            .before_insert
            .iter()
            .chain(&self.before_update)
            .chain(&self.rules)
            .chain(defaults)
            .collect();
        all.into_iter().cloned().collect()
    }

    /// Takes in what a partition of this table has of its own: a row that is written here may end there.
    fn take_in(&mut self, partition: &Facts) {
        let join = |all: &mut Vec<String>, more: &[String]| {
            let new: Vec<String> = more
                .iter()
                .filter(|code| !all.contains(code))
                .cloned()
                .collect();
            all.extend(new);
        };
        join(&mut self.before_insert, &partition.before_insert);
        join(&mut self.before_update, &partition.before_update);
        join(&mut self.rules, &partition.rules);
        for (name, column) in &partition.columns {
            if let Some(own) = self.columns.get_mut(name) {
                join(&mut own.default_code, &column.default_code);
            }
        }
    }
}

/// Looks at all tables of users, by oid. `search_path` must be `pg_catalog`.
pub(in crate::seal) async fn facts(client: &Client) -> Result<BTreeMap<u32, Facts>, SealError> {
    let mut tables = BTreeMap::new();
    for row in client.query(TABLES, &[&TRIGGER_PREFIX]).await? {
        tables.insert(row.try_get::<_, u32>(0)?, table(&row)?);
    }
    for row in client.query(COLUMNS, &[]).await? {
        if let Some(table) = tables.get_mut(&row.try_get::<_, u32>(0)?) {
            let column = ColumnFacts {
                generated: row.try_get(2)?,
                parts: row.try_get(3)?,
                unique: row.try_get(4)?,
                default_code: row.try_get(5)?,
            };
            table.columns.insert(row.try_get(1)?, column);
        }
    }
    let roots: BTreeMap<String, u32> = tables
        .iter()
        .filter(|(_, table)| !table.partition)
        .map(|(oid, table)| (table.identity.clone(), *oid))
        .collect();
    let partitions: Vec<Facts> = tables
        .values()
        .filter(|table| table.partition)
        .cloned()
        .collect();
    for partition in &partitions {
        let root = partition.root.as_ref().and_then(|root| roots.get(root));
        if let Some(root) = root.and_then(|oid| tables.get_mut(oid)) {
            root.take_in(partition);
        }
    }
    Ok(tables)
}

fn table(row: &Row) -> Result<Facts, SealError> {
    Ok(Facts {
        identity: row.try_get(1)?,
        partition: row.try_get(2)?,
        root: row.try_get(3)?,
        before_insert: row.try_get(4)?,
        before_update: row.try_get(5)?,
        rules: row.try_get(6)?,
        triggers: row.try_get(7)?,
        columns: BTreeMap::new(),
    })
}

/// Tables of users. A trigger's kind is a set of bits: 1 ROW, 2 BEFORE, 4 INSERT, 16 UPDATE.
const TABLES: &str = "
SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relispartition,
    (SELECT format('%I.%I', rn.nspname, r.relname) FROM pg_class r JOIN pg_namespace rn ON rn.oid = r.relnamespace
        WHERE r.oid = pg_partition_root(c.oid)),
    ARRAY(SELECT format('trigger %s.%s.%s', n.nspname, c.relname, t.tgname) FROM pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 7 = 7 AND t.tgenabled <> 'D'
            AND t.tgparentid = 0 ORDER BY 1),
    ARRAY(SELECT format('trigger %s.%s.%s', n.nspname, c.relname, t.tgname) FROM pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 19 = 19 AND t.tgenabled <> 'D'
            AND t.tgparentid = 0 ORDER BY 1),
    ARRAY(SELECT DISTINCT format('rule %s.%s.%s', en.nspname, e.relname, w.rulename)
        FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid
            JOIN pg_class e ON e.oid = w.ev_class JOIN pg_namespace en ON en.oid = e.relnamespace
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
            AND w.ev_type <> '1' ORDER BY 1),
    ARRAY(SELECT t.tgname::text FROM pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgparentid = 0 AND starts_with(t.tgname::text, $1)
        ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname <> 'devinprod'
    AND n.nspname !~ '^pg_'";

/// Their columns. What has a subscripting handler or is a composite can be assigned in part. Functions of the
/// system are not in pg_depend; those of an extension are not the application's.
const COLUMNS: &str = "
WITH RECURSIVE based (oid, base) AS (
    SELECT t.oid, t.oid FROM pg_type t
    UNION ALL
    SELECT b.oid, t.typbasetype FROM based b JOIN pg_type t ON t.oid = b.base WHERE t.typtype = 'd'
), parted (oid) AS MATERIALIZED (
    SELECT DISTINCT b.oid FROM based b JOIN pg_type t ON t.oid = b.base WHERE t.typsubscript <> 0 OR t.typtype = 'c'
), code AS MATERIALIZED (
    SELECT d.classid, d.objid, d.objsubid, format('function %s.%s(%s)', n.nspname, p.proname,
        pg_get_function_identity_arguments(p.oid)) AS called
    FROM pg_depend d LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
        JOIN pg_proc p ON p.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
        JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE d.classid IN ('pg_attrdef'::regclass, 'pg_type'::regclass)
        AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
        AND n.nspname <> 'pg_catalog' AND NOT EXISTS (SELECT FROM pg_depend e
        WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
)
SELECT a.attrelid, a.attname::text, a.attgenerated <> '',
    a.atttypid IN (SELECT p.oid FROM parted p),
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion)
        AND (a.attnum = ANY (i.indkey) OR EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum))),
    ARRAY(SELECT DISTINCT k.called FROM code k
        WHERE (k.classid = 'pg_attrdef'::regclass AND k.objid = f.oid)
            OR (k.classid = 'pg_type'::regclass AND k.objid IN (SELECT b.base FROM based b WHERE b.oid = a.atttypid)
                AND f.oid IS NULL)
        ORDER BY 1)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname <> 'devinprod'
    AND n.nspname !~ '^pg_' AND a.attnum > 0 AND NOT a.attisdropped";
