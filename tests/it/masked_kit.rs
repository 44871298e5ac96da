//! A database whose tables are read through views in the manner of the seal's masks, made by hand: each test says
//! what a masked column shows. With the value itself for a mask, a proxy must answer as Postgres does.

use std::fmt::Write as _;

use crate::harness::{self, Proxy, Setup, TestDatabase};

/// A column that is not clear.
#[derive(Debug, Clone)]
pub struct Closed {
    /// `users.email`.
    pub column: &'static str,
    /// What is shown in its place, an expression over the table's own name; None: denied.
    pub mask: Option<&'static str>,
}

impl Closed {
    /// A masked column.
    pub const fn shown(column: &'static str, mask: &'static str) -> Self {
        Self {
            column,
            mask: Some(mask),
        }
    }
}

/// A proxy in front of this database, sealed, with views in the place of the tables of these columns.
pub async fn masked_proxy(database: TestDatabase, closed: &[Closed], setup: Setup) -> Proxy {
    let proxy = harness::proxy_with(database, setup).await;
    let admin = proxy.database.connect().await;
    let readers = format!("{}_readers", proxy.database.name);
    let writers = format!("{}_writers", proxy.database.name);
    let mut sql = MANIFEST
        .replace("@readers@", &readers)
        .replace("@writers@", &writers);
    let mut tables: Vec<&str> = closed
        .iter()
        .map(|closed| closed.column.split('.').next().unwrap())
        .collect();
    tables.dedup();
    for table in tables {
        let rows = admin
            .query(
                "SELECT attname::text, attnum, format_type(atttypid, atttypmod), attgenerated <> ''
                 FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                &[&table],
            )
            .await
            .unwrap();
        let mut shown = Vec::new();
        let mut clear = Vec::new();
        let mut manifest = String::new();
        for row in &rows {
            let (name, number, ty): (String, i16, String) = (row.get(0), row.get(1), row.get(2));
            let closed = closed
                .iter()
                .find(|closed| closed.column == format!("{table}.{name}"));
            match closed {
                None => {
                    shown.push(format!("{table}.{name}"));
                    clear.push(name.clone());
                }
                // As the seal writes it: an expression, with the column's declared type.
                Some(Closed {
                    mask: Some(mask), ..
                }) => shown.push(format!(
                    "CASE WHEN {table}.ctid IS NOT NULL THEN {mask} END::{ty} AS {name}"
                )),
                Some(_) => {}
            }
            let treatment = match closed {
                None => "clear",
                Some(Closed { mask: Some(_), .. }) => "text",
                Some(_) => "deny",
            };
            let _ = writeln!(
                manifest,
                "INSERT INTO devinprod.masked_column VALUES ('{table}'::regclass, {number}, '{name}', {}, {}, '{treatment}', \
                 'policies/test.toml:{number}', {});",
                if treatment == "deny" {
                    "NULL".to_owned()
                } else {
                    shown.len().to_string()
                },
                treatment == "clear",
                ty == "json",
            );
        }
        let (view, rows) = (
            format!("devinprod_masked.\"public.{table}\""),
            format!("devinprod_rows.\"public.{table}\""),
        );
        // As in the seal's views, where the table is called t.
        let columns = shown.join(", ").replace(&format!("{table}."), "t.");
        let clear = clear.join(", ");
        let _ = write!(
            sql,
            "CREATE VIEW {view} AS SELECT {columns} FROM public.{table} AS t;
             CREATE VIEW {rows} AS SELECT {columns}, t.ctid AS devinprod_ctid, t.tableoid AS devinprod_tableoid,
                 t.xmin AS devinprod_xmin, t.xmax AS devinprod_xmax FROM public.{table} AS t;
             GRANT SELECT ON {view}, {rows} TO {readers};
             GRANT UPDATE ON {view} TO {readers};
             DO $$ DECLARE r record; BEGIN
                 FOR r IN SELECT DISTINCT grantee::regrole AS who FROM pg_class, aclexplode(relacl)
                          WHERE oid = '{table}'::regclass AND privilege_type = 'SELECT' AND grantee <> relowner LOOP
                     EXECUTE format('REVOKE SELECT ON {table} FROM %s', r.who);
                 END LOOP;
             END $$;
             GRANT SELECT ({clear}, ctid, tableoid) ON {table} TO {readers};
             INSERT INTO devinprod.masked_relation (relation, schema, name, view, view_oid, rows, rows_oid, key)
                 VALUES ('{table}'::regclass, 'public', '{table}', '{view}', '{view}'::regclass, '{rows}', '{rows}'::regclass,
                 ARRAY(SELECT a.attname FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (n, o), pg_attribute a
                     WHERE i.indrelid = '{table}'::regclass AND i.indisprimary AND a.attrelid = i.indrelid AND a.attnum = k.n
                     ORDER BY k.o));
             {manifest}"
        );
    }
    admin
        .batch_execute(&sql)
        .await
        .unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    proxy
}

const MANIFEST: &str = "
CREATE TABLE devinprod.masked_relation (relation oid PRIMARY KEY, schema name NOT NULL, name name NOT NULL, view text,
    view_oid oid, rows text, rows_oid oid, key name[] NOT NULL);
CREATE TABLE devinprod.masked_column (relation oid, number int2, name name, view_number int2, clear boolean,
    treatment text, because text, ungroupable boolean);
CREATE TABLE devinprod.policy AS SELECT 'test'::text AS version;
CREATE SCHEMA devinprod_masked;
CREATE SCHEMA devinprod_rows;
GRANT SELECT ON devinprod.policy, devinprod.masked_relation, devinprod.masked_column TO PUBLIC;
GRANT USAGE ON SCHEMA devinprod_masked, devinprod_rows TO PUBLIC;
CREATE TABLE devinprod.remembered (n bigserial, token text, relation oid, version tid);
CREATE FUNCTION devinprod.remember(token text, relation oid, version tid) RETURNS void LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS 'INSERT INTO devinprod.remembered (token, relation, version) VALUES ($1, $2, $3)';
CREATE FUNCTION devinprod.take(token text) RETURNS TABLE (n bigint, tableoid oid, ctid tid) LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS 'DELETE FROM devinprod.remembered WHERE token = $1 RETURNING n, relation, version';
REVOKE ALL ON FUNCTION devinprod.remember(text, oid, tid), devinprod.take(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION devinprod.remember(text, oid, tid), devinprod.take(text) TO @writers@;
";
