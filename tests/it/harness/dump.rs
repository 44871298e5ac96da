//! A database as text, to show that it is the same before and after.

use std::process::Command;

use super::{TestDatabase, connect};

/// The whole database as text: `pg_dump` where the cluster's programs have it, else a plain listing of the
/// catalog and of every row.
///
/// Left out is what changes though nothing was committed: the values of sequences (a rollback does not
/// undo `nextval`), which developer role was leased when, and pg_dump's random `\restrict` keys.
pub async fn dump(database: &TestDatabase) -> String {
    let pg_dump = database.binaries.program("pg_dump");
    if !pg_dump.exists() {
        return listing(database).await;
    }
    let output = Command::new(pg_dump)
        .arg("--dbname")
        .arg(&database.url)
        .args(["--exclude-table-data=devinprod.pair", "--encoding=UTF8"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    without_noise(&String::from_utf8(output.stdout).unwrap())
}

fn without_noise(dump: &str) -> String {
    const NOISE: [&str; 3] = ["\\restrict ", "\\unrestrict ", "SELECT pg_catalog.setval("];
    dump.lines()
        .filter(|line| !NOISE.iter().any(|noise| line.starts_with(noise)))
        .flat_map(|line| [line, "\n"])
        .collect()
}

async fn listing(database: &TestDatabase) -> String {
    let client = connect(&database.url).await;
    let mut lines = Vec::new();
    for row in client.query(OBJECTS, &[]).await.unwrap() {
        lines.push(row.get::<_, String>(0));
    }
    for table in client.query(TABLES, &[]).await.unwrap() {
        let table: String = table.get(0);
        lines.push(format!("rows of {table}"));
        let sql = format!("SELECT t::text FROM ONLY {table} AS t ORDER BY 1");
        for row in client.query(&sql, &[]).await.unwrap() {
            lines.push(row.get::<_, String>(0));
        }
    }
    lines.join("\n")
}

const TABLES: &str = "
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relkind IN ('r', 'm') AND c.relnamespace NOT IN (
        SELECT oid FROM pg_namespace WHERE nspname LIKE 'pg\\_%' OR nspname = 'information_schema')
    AND c.oid::regclass::text <> 'devinprod.pair'
    ORDER BY 1";

const OBJECTS: &str = "
    WITH ours AS (
        SELECT oid, nspname, nspacl FROM pg_namespace
        WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema')
    SELECT concat_ws(' ', 'schema', nspname, nspacl) FROM ours
    UNION ALL SELECT concat_ws(' ', 'relation', c.relkind, c.oid::regclass, c.relowner::regrole,
            -- What the owner has anyway may be written out or not: a REVOKE may leave it behind.
            nullif(c.relacl::text, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner)::text),
            CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END)
        FROM pg_class c JOIN ours ON ours.oid = c.relnamespace
    UNION ALL SELECT concat_ws(' ', 'column', a.attrelid::regclass, a.attnum, a.attname,
            format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attacl, pg_get_expr(d.adbin, d.adrelid))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN ours ON ours.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0
    UNION ALL SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(c.oid))
        FROM pg_constraint c JOIN ours ON ours.oid = c.connamespace
    UNION ALL SELECT pg_get_indexdef(indexrelid)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN ours ON ours.oid = c.relnamespace
    UNION ALL SELECT concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN ours ON ours.oid = c.relnamespace
        WHERE NOT tgisinternal
    UNION ALL SELECT concat_ws(' ', pg_get_functiondef(p.oid), p.proowner::regrole, p.proacl)
        FROM pg_proc p JOIN ours ON ours.oid = p.pronamespace WHERE p.prokind IN ('f', 'p')
    UNION ALL SELECT concat_ws(' ', 'type', t.oid::regtype, t.typtype,
            (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
        FROM pg_type t JOIN ours ON ours.oid = t.typnamespace
    UNION ALL SELECT concat_ws(' ', 'large object', l.oid, l.lomacl, encode(lo_get(l.oid), 'hex'))
        FROM pg_largeobject_metadata l
    ORDER BY 1";
