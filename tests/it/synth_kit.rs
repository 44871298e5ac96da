//! A database with the masks in it, and a fixed key, so that what comes out is known.

use devinprod::synth::{self, Column, Mask};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness::{TestDatabase, connect};

/// A database in which `synth::definition()` was run.
pub struct Masks {
    pub database: TestDatabase,
    /// A superuser, who may read the key.
    pub admin: Client,
    /// The name of a role that may execute masks and read nothing but views.
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
        // Setup may be run again.
        for _ in 0..2 {
            admin
                .batch_execute(&synth::definition().replace("@readers@", &reader))
                .await
                .unwrap_or_else(|error| panic!("{error:?}"));
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

    /// Makes a table `t_NAME` of values written as SQL, with the columns `n` (their number), `c` (they), and `s` (their
    /// number as text), and a view `v_NAME` of `n`, the masked `c` and its type, for the reader.
    pub async fn view(&self, name: &str, mask: &Mask, column: &Column, values: &[String]) {
        let rows: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(n, value)| format!("({n}, ({value})::{}, '{n}')", column.sql_type))
            .collect();
        let expression = mask.expression("t.c", column).unwrap();
        let sql = format!(
            "CREATE TABLE t_{name} (n integer, c {}, s text); INSERT INTO t_{name} VALUES {}; \
             CREATE VIEW v_{name} AS SELECT t.n, {expression} AS c FROM t_{name} AS t; \
             GRANT SELECT ON v_{name} TO {}",
            column.sql_type,
            rows.join(", "),
            self.reader
        );
        self.admin
            .batch_execute(&sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    }

    /// What the mask makes of values, written as SQL; None for NULL.
    pub async fn mask(&self, mask: &Mask, column: &Column, values: &[&str]) -> Vec<Option<String>> {
        let rows: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(n, value)| format!("({n}, ({value})::{}, '{n}')", column.sql_type))
            .collect();
        let expression = mask.expression("t.c", column).unwrap();
        let sql = format!(
            "SELECT ({expression})::text FROM (VALUES {}) AS t (n, c, s) ORDER BY n",
            rows.join(", ")
        );
        rows_of(&self.admin, &sql)
            .await
            .into_iter()
            .map(|row| row.into_iter().next().unwrap())
            .collect()
    }
}

/// The rows of a query, as text.
pub async fn rows_of(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|at| row.get(at).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        })
        .collect()
}

/// A column of this type.
pub fn column(sql_type: &str) -> Column {
    Column {
        sql_type: sql_type.to_owned(),
        labels: match sql_type {
            "mood" | "mood[]" => vec!["sad".to_owned(), "it's fine".to_owned(), "happy".to_owned()],
            _ => Vec::new(),
        },
        unique: false,
    }
}

/// A column of this type that is a key.
pub fn unique(sql_type: &str) -> Column {
    Column {
        unique: true,
        ..column(sql_type)
    }
}

/// A mask as a policy file writes it.
pub fn mask(name: &str, parameters: &str) -> Mask {
    Mask::new(name, &parameters.parse().unwrap()).unwrap()
}
