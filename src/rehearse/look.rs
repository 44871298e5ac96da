//! What the rehearsal looks up about itself, beside the migration's statements.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Error};

use super::Sized;

/// A relation as it was before the migration.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub name: String,
    /// The file that holds it; None for one without storage.
    pub file: Option<u32>,
}

/// All relations that are no system ones, by OID.
pub(super) type Relations = BTreeMap<u32, Known>;

/// OIDs below this one belong to the system (`FirstNormalObjectId`).
const NORMAL: &str = "16384";

/// The relations as this transaction sees them.
pub(super) async fn relations(client: &Client) -> Result<Relations, Error> {
    let sql = format!(
        "SELECT c.oid, c.oid::regclass::text, pg_relation_filenode(c.oid)
        FROM pg_catalog.pg_class c WHERE c.oid >= {NORMAL} AND c.relpersistence <> 't'"
    );
    let rows = client.query(&sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let known = Known {
                name: row.try_get(1)?,
                file: row.try_get(2)?,
            };
            Ok((row.try_get(0)?, known))
        })
        .collect()
}

/// The locks on relations that this session holds: OID and mode.
pub(super) async fn locks(client: &Client) -> Result<Vec<(u32, String)>, Error> {
    let sql = format!(
        "SELECT relation, mode FROM pg_catalog.pg_locks
        WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation >= {NORMAL}
            AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
    );
    let rows = client.query(&sql, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// How many rows this transaction has written so far, what it rolled back included.
pub(super) async fn rows_changed(client: &Client) -> Result<i64, Error> {
    let sql = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::int8
        FROM pg_catalog.pg_stat_xact_user_tables WHERE relname <> 'devinprod_rehearsal'";
    client.query_one(sql, &[]).await?.try_get(0)
}

/// Sizes of these relations.
pub(super) async fn sizes(client: &Client, oids: &[u32]) -> Result<Vec<Sized>, Error> {
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT c.oid::regclass::text, pg_relation_size(c.oid) FROM pg_catalog.pg_class c
        WHERE c.oid = ANY ($1) ORDER BY 1";
    let rows = client.query(sql, &[&oids]).await?;
    rows.iter()
        .map(|row| {
            Ok(Sized {
                name: row.try_get(0)?,
                bytes: row.try_get(1)?,
            })
        })
        .collect()
}

/// The indexes among these relations.
pub(super) async fn indexes(client: &Client, oids: &[u32]) -> Result<Vec<u32>, Error> {
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT oid FROM pg_catalog.pg_class WHERE oid = ANY ($1) AND relkind IN ('i', 'I')";
    let rows = client.query(sql, &[&oids]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// How many sessions wait for the one with this process id now.
pub(super) async fn waiting_for(client: &Client, process: i32) -> Result<usize, Error> {
    // What sessions of other roles wait for is not shown to an ordinary role, but who blocks them is.
    let sql = "SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE $1 = ANY (pg_blocking_pids(a.pid))";
    let count: i64 = client.query_one(sql, &[&process]).await?.try_get(0)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// What CREATE INDEX CONCURRENTLY and its like hold on the table.
pub(super) const CONCURRENT: &str = "ShareUpdateExclusiveLock";

/// How strong a lock's mode is, and whom it keeps out
/// ([13.3.1](https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES)). None for one that only
/// schema changes feel.
pub(super) fn strength(mode: &str) -> Option<(u8, &'static str)> {
    Some(match mode {
        "AccessExclusiveLock" => (5, "everybody: reads and writes"),
        "ExclusiveLock" => (4, "writes, and reads that lock rows"),
        "ShareRowExclusiveLock" => (3, "writes"),
        "ShareLock" => (2, "writes"),
        CONCURRENT => (1, "schema changes and VACUUM"),
        _ => return None,
    })
}
