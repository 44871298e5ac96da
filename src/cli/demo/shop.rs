//! The shop's database: complete, or not there at all.

use anyhow::Context;

use super::Failure;
use crate::cluster::Cluster;
use crate::upstream::admin::admin;

/// The shop's database.
pub(super) const DATABASE: &str = "shop";
/// The shop while it is being made.
const LOADING: &str = "shop_loading";
/// The database's comment says which shop it is; another one is not used.
const EDITION: &str = "devinprod demo shop 2";

/// Which of its columns are sensitive, and the file's name.
pub(super) const POLICY: &str = include_str!("../../../policies/shop.toml");
pub(super) const POLICY_FILE: &str = "policies/shop.toml";

const SCHEMA: &str = include_str!("schema.sql");
const DATA: &str = include_str!("data.sql");
const OWNED: &str = include_str!("owner.sql");
/// The role that everything in the shop belongs to.
pub(super) const OWNER: &str = "shop_owner";

/// Makes the shop if the cluster has none; says whether it did.
pub(super) async fn open(cluster: &Cluster) -> anyhow::Result<bool> {
    let client = admin(&cluster.url("postgres").parse()?).await?;
    let edition = client
        .query_opt(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1",
            &[&DATABASE],
        )
        .await?;
    if let Some(row) = edition {
        let edition: Option<String> = row.try_get(0)?;
        if edition.as_deref() == Some(EDITION) {
            return Ok(false);
        }
        return Err(Failure::new(
            "the demo's database was made by another version of devinprod",
            "remove the demo's folder (--dir) to begin anew",
        )
        .into());
    }
    // One statement each: CREATE DATABASE runs in no transaction.
    for statement in [
        format!("DROP DATABASE IF EXISTS {LOADING} WITH (FORCE)"),
        format!("CREATE DATABASE {LOADING}"),
        format!("COMMENT ON DATABASE {LOADING} IS '{EDITION}'"),
    ] {
        client.batch_execute(&statement).await?;
    }
    load(cluster).await.context("cannot make the shop")?;
    // The name is the promise: a database called shop is a whole one.
    client
        .batch_execute(&format!("ALTER DATABASE {LOADING} RENAME TO {DATABASE}"))
        .await?;
    Ok(true)
}

async fn load(cluster: &Cluster) -> anyhow::Result<()> {
    let client = admin(&cluster.url(LOADING).parse()?).await?;
    client
        .batch_execute(&format!("BEGIN;\n{SCHEMA}\n{DATA}\n{OWNED}\nCOMMIT;"))
        .await?;
    client.batch_execute("ANALYZE").await?;
    // Renaming needs a database without connections, and dropping the client ends this one only soon.
    let backend: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .await?
        .try_get(0)?;
    drop(client);
    let witness = admin(&cluster.url("postgres").parse()?).await?;
    witness
        .execute("SELECT pg_terminate_backend($1, 10000)", &[&backend])
        .await?;
    Ok(())
}
