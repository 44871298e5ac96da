//! A database in which every masked cell begins with `REAL`, and a developer who is armed, straight at Postgres.

use std::collections::BTreeSet;

use tokio_postgres::SimpleQueryMessage;

use crate::harness::{self, TestDatabase};
use crate::seal_kit::{Developer, Sealed};
use crate::seal_masks_kit::sealed_by;

const SCHEMA: &str = include_str!("own_cells/schema.sql");
const POLICY: &str = include_str!("own_cells/policy.toml");

/// The tables, each with its masked columns that are text or can be shown as text.
const TABLES: [(&str, &str); 17] = [
    ("users", "email, full_name, phone, balance"),
    ("docs", "doc, tags, place, pair"),
    ("people", "email, note"),
    ("people_us", "email, note"),
    ("people_rest", "email, note"),
    ("generated", "email, low"),
    ("copied", "email"),
    ("watched", "email"),
    ("ruled_copy", "email"),
    ("ruled", "email"),
    ("put_back", "email, other"),
    ("stamped", "email"),
    ("parent", "email"),
    ("child", "email"),
    ("defaults", "email, phone"),
    ("keyless", "email"),
    ("deferred", "email"),
];

/// Tables of which one is the other's parent.
const FAMILY: [(&str, &str); 2] = [("base", "email"), ("derived", "email, extra")];

/// Sealed databases: one on each server that there is.
pub async fn everywhere() -> Vec<Sealed> {
    let mut databases: Vec<TestDatabase> = vec![harness::database().await];
    databases.extend(harness::postgres18().await);
    let mut sealed = Vec::new();
    for database in databases {
        sealed.push(sealed_with(database, "").await);
    }
    sealed
}

/// A database sealed by the policy and `more` of it.
pub async fn sealed_with(database: TestDatabase, more: &str) -> Sealed {
    let allowed = [
        "give(integer,integer)",
        "double(integer)",
        "wipe()",
        "secret()",
    ]
    .map(|name| {
        format!("[[allow_function]]\nname = \"public.{name}\"\nbecause = \"the attack needs it\"\n")
    })
    .concat();
    let sealed = sealed_by(database, SCHEMA, &format!("{POLICY}{more}\n{allowed}")).await;
    // Where code that nobody vouches for would see real values, setup takes the right to write. Notes must hold without.
    let open = format!(
        "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}",
        sealed.options.names.writers()
    );
    sealed.admin.batch_execute(&open).await.unwrap();
    sealed
}

/// An armed developer in a transaction.
pub async fn armed(sealed: &Sealed) -> Developer {
    let developer = sealed.developer().await;
    for sql in ["BEGIN", "SELECT devinprod.arm()"] {
        developer
            .ask(sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    developer
}

/// Runs statements, each in a message of its own; a refused one takes nothing else with it.
pub async fn run(developer: &Developer, statements: &[&str]) -> Vec<String> {
    let mut refused = Vec::new();
    for sql in statements {
        developer.ask("SAVEPOINT each").await.unwrap();
        if let Err(code) = developer.ask(sql).await {
            developer.ask("ROLLBACK TO each").await.unwrap();
            refused.push(format!("{code}: {sql}"));
        }
    }
    refused
}

/// Runs statements that all must work.
pub async fn done(developer: &Developer, statements: &[&str]) {
    let refused = run(developer, statements).await;
    assert!(refused.is_empty(), "{refused:?}");
}

/// The rows that a question answers, `|` between values, `-` for NULL.
pub async fn rows(developer: &Developer, sql: &str) -> Vec<String> {
    let messages = developer
        .client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|place| row.get(place).unwrap_or("-"))
                    .collect::<Vec<_>>()
                    .join("|"),
            ),
            _ => None,
        })
        .collect()
}

/// The masked view of a table of the schema public.
pub fn masked(table: &str) -> String {
    format!("devinprod_masked.\"public.{table}\"")
}

/// Every value that is shown in a masked column, of every table, with its place.
pub async fn all_shown(developer: &Developer) -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    for (table, columns) in TABLES.iter().chain(&FAMILY) {
        for column in columns.split(", ") {
            let sql = format!(
                "SELECT DISTINCT {column}::text FROM {} WHERE {column} IS NOT NULL",
                masked(table)
            );
            for value in rows(developer, &sql).await {
                // A partition shows its root's masks.
                shown.insert(format!(
                    "{}.{column}={value}",
                    table.replace("_us", "").replace("_rest", "")
                ));
            }
        }
    }
    shown
}
