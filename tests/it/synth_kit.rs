//! A database with the masks in it, and a fixed key, so that what comes out is known.

use devinprod::synth::{self, Column, Mask};
use tokio_postgres::Client;

use crate::harness::{TestDatabase, connect};

/// A database in which `synth::definition()` was run.
pub struct Masks {
    pub database: TestDatabase,
    /// A superuser, with the key.
    pub admin: Client,
    /// A role that may execute masks and read nothing.
    pub reader: String,
}

impl Masks {
    pub async fn new(database: TestDatabase) -> Self {
        let admin = database.connect().await;
        let reader = format!("{}_reader", database.name);
        admin
            .batch_execute(&format!(
                "CREATE ROLE {reader} LOGIN PASSWORD 'reads'; CREATE SCHEMA devinprod; \
                 GRANT USAGE ON SCHEMA devinprod TO PUBLIC; SET search_path = pg_catalog"
            ))
            .await
            .unwrap();
        for _ in 0..2 {
            // Setup may be run again.
            admin
                .batch_execute(&synth::definition().replace("@readers@", &reader))
                .await
                .unwrap();
        }
        admin
            .batch_execute(
                "UPDATE devinprod.mask_key SET key = sha256('a key for tests'); RESET search_path",
            )
            .await
            .unwrap();
        Self {
            database,
            admin,
            reader,
        }
    }

    /// The role that may execute masks, connected.
    pub async fn connect_reader(&self) -> Client {
        connect(&self.database.url_as(&self.reader, "reads")).await
    }

    /// What the mask makes of a value, written as SQL; "NULL" for NULL.
    pub async fn masked(&self, mask: &Mask, column: &Column, value: &str) -> String {
        let typed = format!("v.x::{}", column.sql_type);
        let expression = mask.expression("t.c", column).unwrap();
        let sql = format!(
            "SELECT coalesce(({expression})::text, 'NULL'), pg_typeof({expression})::text \
             FROM (SELECT {typed} AS c FROM (VALUES ({value})) AS v(x)) AS t"
        );
        let row = self
            .admin
            .query_one(&sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        row.get(0)
    }
}

/// A column of this type.
pub fn column(sql_type: &str) -> Column {
    Column {
        sql_type: sql_type.to_owned(),
        labels: Vec::new(),
        unique: false,
    }
}

/// A mask as a policy file would write it.
pub fn mask(name: &str, parameters: &str) -> Mask {
    Mask::new(name, &parameters.parse().unwrap()).unwrap()
}
