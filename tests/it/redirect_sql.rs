//! What the redirect makes of a statement, run on a real Postgres: on views that show the real values, by a role that may
//! read the views only, it must do and answer what the statement does on the tables themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use devinprod::catalog::{Masked, MaskedColumn, MaskedRelation, MaskedRelations};
use devinprod::plan::redirect::{Redirect, TOKEN, redirect};
use devinprod::sql::classify::classify;
use devinprod::sql::edit::Edits;
use devinprod::sql::split::split;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness;

const SCHEMA: &str = include_str!("redirect_sql/schema.sql");

/// What a client sees of one statement.
#[derive(Debug, PartialEq, Eq, Default)]
struct Seen {
    error: Option<String>,
    /// Names, types and type modifiers, where the statement can be described.
    columns: Vec<String>,
    rows: Vec<String>,
    count: u64,
    copied: String,
}

struct World {
    client: Client,
    masked: Masked,
}

impl World {
    async fn new() -> Self {
        let database = harness::database().await;
        Self::on(&database).await
    }

    async fn on(database: &harness::TestDatabase) -> Self {
        let client = database.connect().await;
        // Roles are shared by all tests of the cluster.
        client
            .batch_execute(
                "DO $$ BEGIN CREATE ROLE app_dev; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
                 DROP SCHEMA public CASCADE; CREATE SCHEMA public",
            )
            .await
            .unwrap();
        client
            .batch_execute(&format!(
                "{SCHEMA};\nGRANT TEMPORARY ON DATABASE {} TO app_dev",
                database.name
            ))
            .await
            .unwrap();
        let masked = masked(&client).await;
        Self { client, masked }
    }

    /// Runs the statements in a transaction that is undone, and looks at the tables afterwards.
    async fn run(&self, statements: &[&str], redirected: bool) -> (Vec<Seen>, Vec<String>) {
        self.client.batch_execute("BEGIN").await.unwrap();
        if redirected {
            self.client
                .batch_execute("SET LOCAL ROLE app_dev")
                .await
                .unwrap();
        }
        let mut seen = Vec::new();
        for text in statements {
            let now = if redirected {
                self.redirected(text).await
            } else {
                see(&self.client, text).await
            };
            let failed = now.error.is_some();
            seen.push(now);
            if failed {
                break;
            }
        }
        let mut tables = Vec::new();
        if seen.iter().all(|seen| seen.error.is_none()) {
            self.client.batch_execute("RESET ROLE").await.unwrap();
            for table in [
                "users",
                "orders",
                "profiles",
                "documents",
                "events",
                "people",
                "visits",
                "codes",
                "\"Odd Table\"",
            ] {
                let query = format!(
                    "SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM {table} t"
                );
                tables.push(format!(
                    "{table}: {}",
                    harness::scalar(&self.client, &query).await
                ));
            }
        }
        self.client
            .batch_execute("ROLLBACK; DEALLOCATE ALL")
            .await
            .unwrap();
        (seen, tables)
    }

    async fn redirected(&self, text: &str) -> Seen {
        let redirect = self.redirect(text);
        let first = see(&self.client, &rewritten(text, &redirect)).await;
        match redirect.returning {
            Some(returning) if first.error.is_none() => {
                let second = see(&self.client, &returning.query.replace(TOKEN, "a token")).await;
                Seen {
                    count: first.count,
                    ..second
                }
            }
            _ => first,
        }
    }

    fn redirect(&self, text: &str) -> Redirect {
        redirect(text, &classify(text), &self.masked)
    }
}

fn rewritten(text: &str, redirect: &Redirect) -> String {
    let mut edits = Edits::new();
    edits
        .extend(redirect.edits.iter().cloned())
        .unwrap_or_else(|misfit| panic!("{misfit} in {text}: {:?}", redirect.edits));
    edits.apply(text).unwrap().text.replace(TOKEN, "a token")
}

/// The masked relations as the seal would describe them.
async fn masked(client: &Client) -> Masked {
    let columns = client
        .query(
            "SELECT n.nspname, c.relname, c.oid, a.attname, a.attnum, t.treatment, a.attgenerated <> '' AS generated,
                    to_regclass(format('devinprod_masked.%I', n.nspname || '.' || c.relname))::oid AS view_oid,
                    to_regclass(format('devinprod_rows.%I', n.nspname || '.' || c.relname))::oid AS rows_oid,
                    a.atttypid IN ('json'::regtype, 'point'::regtype, 'xml'::regtype) AS ungroupable,
                    i.indrelid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid AND c.relkind = 'r') AS key
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             LEFT JOIN devinprod.treatment t ON t.relation = c.oid AND t.name = a.attname
             LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)
             WHERE c.oid IN (SELECT relation FROM devinprod.treatment)
             ORDER BY c.oid, a.attnum",
            &[],
        )
        .await
        .unwrap();
    let mut relations: BTreeMap<u32, MaskedRelation> = BTreeMap::new();
    for row in columns {
        let (schema, name): (String, String) = (row.get("nspname"), row.get("relname"));
        let place = format!("\"{schema}.{name}\"");
        let view_oid: Option<u32> = row.get("view_oid");
        let relation = relations
            .entry(row.get("oid"))
            .or_insert_with(|| MaskedRelation {
                view: view_oid.map(|_| format!("devinprod_masked.{place}")),
                rows: view_oid.map(|_| format!("devinprod_rows.{place}")),
                view_oid: view_oid.unwrap_or(0),
                rows_oid: row.get::<_, Option<u32>>("rows_oid").unwrap_or(0),
                oid: row.get("oid"),
                schema,
                name,
                ..MaskedRelation::default()
            });
        let treatment: Option<String> = row.get("treatment");
        let treatment = treatment.unwrap_or_else(|| "clear".to_owned());
        let shown = relation
            .columns
            .iter()
            .filter(|column| column.view_number.is_some())
            .count();
        if row.get("key") {
            relation.key.push(row.get("attname"));
        }
        relation.columns.push(MaskedColumn {
            name: row.get("attname"),
            number: row.get("attnum"),
            view_number: (treatment != "deny").then(|| i16::try_from(shown + 1).unwrap()),
            clear: treatment == "clear",
            because: "policy.toml:7".to_owned(),
            ungroupable: row.get("ungroupable"),
            generated: row.get("generated"),
            treatment,
        });
    }
    let namesakes = [("app".to_owned(), "users".to_owned())];
    let relations = MaskedRelations::new(relations.into_values().collect(), namesakes);
    Masked::new(Arc::new(relations), &["public".to_owned()])
}

async fn see(client: &Client, text: &str) -> Seen {
    let mut seen = Seen::default();
    if text.to_ascii_lowercase().starts_with("copy") {
        return copied(client, text).await;
    }
    // A savepoint: what cannot be described must not end the transaction.
    client.batch_execute("SAVEPOINT described").await.unwrap();
    match client.prepare(text).await {
        Ok(statement) => {
            for column in statement.columns() {
                seen.columns.push(format!(
                    "{} {} {}",
                    column.name(),
                    column.type_(),
                    column.type_modifier()
                ));
            }
        }
        Err(error) => seen.error = Some(code(&error)),
    }
    client.batch_execute("ROLLBACK TO described").await.unwrap();
    match client.simple_query(text).await {
        Ok(messages) => {
            seen.error = None;
            for message in messages {
                match message {
                    SimpleQueryMessage::Row(row) => {
                        let fields: Vec<&str> = (0..row.len())
                            .map(|at| row.get(at).unwrap_or("∅"))
                            .collect();
                        seen.rows.push(fields.join("|"));
                    }
                    SimpleQueryMessage::CommandComplete(count) => seen.count = count,
                    _ => {}
                }
            }
        }
        Err(error) => seen.error = Some(code(&error)),
    }
    seen
}

async fn copied(client: &Client, text: &str) -> Seen {
    use futures::TryStreamExt;
    let mut seen = Seen::default();
    match client.copy_out(text).await {
        Ok(stream) => {
            let chunks: Vec<_> = stream.try_collect().await.unwrap();
            let mut lines: Vec<String> = chunks
                .iter()
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            lines.sort();
            seen.copied = lines.concat();
        }
        Err(error) => seen.error = Some(code(&error)),
    }
    seen
}

fn code(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |error| format!("{}: {}", error.code().code(), error.message()),
    )
}

/// The cases of a file: each begins with `--- what it is`, its statements end with `;` at a line's end.
fn cases(file: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    file.split("--- ")
        .skip(1)
        .map(|case| {
            let (name, text) = case.split_once('\n').unwrap();
            let statements = split(text).into_iter().map(|span| &text[span]).collect();
            (name.trim(), statements)
        })
        .collect()
}

async fn compare(file: &'static str) {
    compare_on(&World::new().await, file).await;
}

async fn compare_on(world: &World, file: &'static str) {
    let mut wrong = Vec::new();
    for (name, statements) in cases(file) {
        let (plain, plain_tables) = world.run(&statements, false).await;
        let (redirected, tables) = world.run(&statements, true).await;
        // What this server does not know (a newer syntax) shows nothing.
        let unknown = plain.iter().any(|seen| {
            seen.error
                .as_ref()
                .is_some_and(|error| error.starts_with("42601") || error.starts_with("42883"))
        });
        if unknown {
            continue;
        }
        if let Some(error) = plain.iter().find_map(|seen| seen.error.as_ref()) {
            wrong.push(format!("{name}\n  does not run at all: {error}"));
            continue;
        }
        // A whole row's type is the view's, and the plan of a view is another one.
        let is_explain = statements.iter().any(|text| text.starts_with("EXPLAIN"));
        if is_explain
            && redirected.iter().all(|seen| seen.error.is_none())
            && tables == plain_tables
        {
            continue;
        }
        let differs = plain != redirected || plain_tables != tables;
        if differs {
            let texts: Vec<String> = statements
                .iter()
                .map(|text| rewritten(text, &world.redirect(text)))
                .collect();
            let blocked: Vec<_> = statements
                .iter()
                .filter_map(|text| world.redirect(text).blocked)
                .collect();
            wrong.push(format!(
                "{name}\n  {}\n  blocked: {blocked:?}{}",
                texts.join(";\n  "),
                difference(&plain, &redirected, &plain_tables, &tables)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

fn difference(
    plain: &[Seen],
    redirected: &[Seen],
    plain_tables: &[String],
    tables: &[String],
) -> String {
    let mut lines = String::new();
    for (expected, found) in plain.iter().zip(redirected) {
        if expected != found {
            lines.push_str(&format!("\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    for (expected, found) in plain_tables.iter().zip(tables) {
        if expected != found {
            lines.push_str(&format!("\n  expected {expected}\n  found    {found}"));
        }
    }
    lines
}

#[tokio::test]
async fn queries_answer_as_on_the_tables() {
    compare(include_str!("redirect_sql/reads.sql")).await;
}

#[tokio::test]
async fn writes_change_and_return_what_they_would_on_the_tables() {
    compare(include_str!("redirect_sql/writes.sql")).await;
}

#[tokio::test]
async fn what_holds_a_query_works_as_on_the_tables() {
    compare(include_str!("redirect_sql/utility.sql")).await;
}
