//! What the redirect makes of a statement, run on a real Postgres: on views that show the real values, by a role that may
//! read the views only, it must do and answer what the statement does on the tables themselves.

use std::sync::Arc;

use devinprod::catalog::Masked;
use devinprod::plan::redirect::{Redirect, TOKEN, redirect};
use devinprod::sandbox::masked::relations;
use devinprod::sql::classify::classify;
use devinprod::sql::edit::Edits;
use devinprod::sql::lexer;
use devinprod::sql::split::split;
use devinprod::upstream::command::{Command, Flavor};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness;

const SCHEMA: &str = include_str!("redirect_sql/schema.sql");

/// What a client sees of one statement.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Seen {
    pub error: Option<String>,
    /// Names, types and type modifiers, where the statement can be described.
    columns: Vec<String>,
    rows: Vec<String>,
    count: u64,
    copied: String,
}

pub struct World {
    client: Client,
    masked: Masked,
}

impl World {
    pub async fn new() -> Self {
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

    /// Was what would become MERGE refused, on a server that has none?
    pub fn lacks_merge(&self, statements: &[&str], seen: &[Seen]) -> bool {
        let refused = seen.last().and_then(|seen| seen.error.as_ref());
        !self.masked.relations().has_merge()
            && refused.is_some_and(|error| error.starts_with("42501"))
            && statements.iter().any(|text| {
                let blocked = self.redirect(text).blocked;
                blocked.is_some_and(|blocked| blocked.because.contains("Postgres 15"))
            })
    }

    /// Runs the statements in a transaction that is undone, and looks at the tables afterwards.
    pub async fn run(&self, statements: &[&str], redirected: bool) -> (Vec<Seen>, Vec<String>) {
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
                // How many numbers a sequence skips is nobody's promise.
                "(SELECT mail, nick, team, score, seen, gone, lower_mail FROM members)",
                "tidied",
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
            // What sequences gave out is not undone.
            .batch_execute(
                "ROLLBACK; DEALLOCATE ALL; SELECT setval('members_id_seq', 6), setval('members_number_seq', 6)",
            )
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

    pub fn redirect(&self, text: &str) -> Redirect {
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

/// The masked relations as the proxy reads them.
async fn masked(client: &Client) -> Masked {
    let sql = Command::Masked.sql(Flavor::Sealed).unwrap();
    let answer = client.simple_query(&sql).await.unwrap();
    let rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(
            (0..row.len())
                .map(|at| row.get(at).map(str::to_owned))
                .collect(),
        ),
        _ => None,
    });
    let relations = relations(rows, &[]);
    assert!(relations.knows("users"));
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
pub fn cases(file: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
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

pub async fn compare_on(world: &World, file: &'static str) {
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
        if world.lacks_merge(&statements, &redirected) {
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
async fn returning_gives_what_it_would_on_the_tables() {
    compare(include_str!("redirect_sql/returning.sql")).await;
}

#[tokio::test]
async fn what_holds_a_query_works_as_on_the_tables() {
    compare(include_str!("redirect_sql/utility.sql")).await;
}

#[tokio::test]
async fn postgres_18_answers_the_same() {
    let Some(database) = harness::postgres18().await else {
        return;
    };
    let world = World::on(&database).await;
    compare_on(&world, include_str!("redirect_sql/reads.sql")).await;
    compare_on(&world, include_str!("redirect_sql/writes.sql")).await;
    compare_on(&world, include_str!("redirect_sql/utility.sql")).await;
    compare_on(&world, include_str!("redirect_sql/returning.sql")).await;
    compare_on(&world, include_str!("redirect_sql/conflict.sql")).await;
}

/// Statements in which names and operators changed their places: what Postgres runs on the tables must give the same when it
/// is redirected, or fail.
#[tokio::test]
async fn a_statement_is_never_redirected_to_one_that_means_something_else() {
    let mutants = std::env::var("REDIRECT_MUTANTS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(250);
    let world = World::new().await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let texts: Vec<&str> = [
        include_str!("redirect_sql/reads.sql"),
        include_str!("redirect_sql/writes.sql"),
        include_str!("redirect_sql/returning.sql"),
    ]
    .into_iter()
    .flat_map(cases)
    .flat_map(|(_, statements)| statements)
    .collect();
    let mut ran = 0;
    let mut wrong = Vec::new();
    for _ in 0..mutants {
        let text = mutant(texts[random.below(texts.len())], &mut random);
        // Where a new row lies is nobody's promise, and `*` leaves out what is denied.
        let is_write = ["INSERT", "UPDATE", "DELETE", "MERGE"]
            .iter()
            .any(|word| text.contains(word));
        if (is_write && text.contains("ctid"))
            || (text.contains("profiles") && (text.contains('*') || text.contains("TABLE")))
        {
            continue;
        }
        let (plain, plain_tables) = world.run(&[&text], false).await;
        if plain[0].error.is_some() {
            continue;
        }
        ran += 1;
        let (redirected, tables) = world.run(&[&text], true).await;
        if redirected[0].error.is_some() {
            if std::env::var_os("REDIRECT_LOST").is_some() {
                eprintln!(
                    "LOST {:?}\n  {text}\n  {}",
                    redirected[0].error,
                    rewritten(&text, &world.redirect(&text))
                );
            }
            continue;
        }
        let sorted = |seen: &Seen| {
            let mut rows = seen.rows.clone();
            rows.sort();
            (rows, seen.count)
        };
        // The type of a whole row is the view's, which nobody can describe by name.
        let is_described = !redirected[0].columns.is_empty()
            && !plain[0]
                .columns
                .iter()
                .any(|column| column.contains(" users "));
        let differs = is_described && plain[0].columns != redirected[0].columns;
        if differs || sorted(&plain[0]) != sorted(&redirected[0]) || plain_tables != tables {
            let now = rewritten(&text, &world.redirect(&text));
            wrong.push(format!(
                "{text}\n  {now}{}",
                difference(&plain, &redirected, &plain_tables, &tables)
            ));
        }
    }
    assert!(ran > mutants / 20, "{ran} of {mutants} ran");
    assert!(
        wrong.is_empty(),
        "{} of {ran} mean something else:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

/// Words that may stand for one another.
const CLASSES: [&[&str]; 5] = [
    &[
        "id",
        "email",
        "city",
        "full_name",
        "phone",
        "notes",
        "born",
        "balance",
        "body",
        "kind",
        "name",
        "town",
        "line",
        "status",
        "total",
        "u.id",
        "u.email",
        "u.city",
        "users.email",
        "users.id",
        "public.users.email",
        "o.email",
        "o.id",
        "ctid",
        "u.ctid",
        "upper(email)",
        "email || city",
        "(SELECT max(email) FROM users)",
        "(SELECT max(o.email) FROM orders o WHERE o.id = u.id)",
        "count(email)",
        "users",
        "u",
        "u.*",
        "row_to_json(u)",
    ],
    &[
        "users",
        "orders",
        "events",
        "people",
        "visits",
        "documents",
        "codes",
        "public.users",
        "app.users",
        "ONLY people",
        "users AS u",
        "(SELECT * FROM users) AS u",
        "LATERAL (SELECT email FROM users) AS u",
        "users u JOIN orders o ON o.email = u.email",
        "users u LEFT JOIN orders o USING (email)",
        "users TABLESAMPLE bernoulli (100)",
        "(users u CROSS JOIN visits v)",
    ],
    &[
        "AND",
        "OR",
        "=",
        "<>",
        "<",
        "IS DISTINCT FROM",
        "IN",
        "LIKE",
        "||",
    ],
    &[
        "JOIN",
        "LEFT JOIN",
        "FULL JOIN",
        "NATURAL JOIN",
        "CROSS JOIN",
        "UNION",
        "UNION ALL",
        "EXCEPT",
        ",",
    ],
    &[
        "max",
        "min",
        "count",
        "upper",
        "lower",
        "length",
        "array_agg",
    ],
];

/// The statement with a few of its words exchanged for others of their kind, perhaps inside of another statement.
fn mutant(text: &str, random: &mut Random) -> String {
    let tokens = lexer::lex(text);
    let mut words: Vec<String> = tokens
        .iter()
        .map(|token| token.text(text).to_owned())
        .collect();
    for _ in 0..random.below(3) {
        let at = random.below(words.len());
        let class = CLASSES.iter().find(|class| {
            class
                .iter()
                .any(|word| word.eq_ignore_ascii_case(&words[at]))
        });
        if let Some(class) = class {
            words[at] = class[random.below(class.len())].to_owned();
        }
    }
    let text = words.concat();
    match random.below(12) {
        0 => format!("SELECT * FROM ({text}) AS users"),
        1 => format!("WITH users AS ({text}) SELECT * FROM users"),
        2 => format!("WITH q AS ({text}) SELECT q, users.email FROM q, users"),
        3 => format!("SELECT email FROM users u WHERE EXISTS ({text})"),
        4 => format!(
            "SELECT u.id, u.email, (SELECT count(*) FROM ({text}) q) FROM users u GROUP BY u.id"
        ),
        5 => format!("({text}) UNION ALL ({text})"),
        6 => format!(
            "UPDATE users u SET notes = (SELECT count(*) FROM ({text}) q) WHERE u.email < 'u3'"
        ),
        7 => format!(
            "DELETE FROM users u WHERE u.email IN (SELECT q::text FROM ({text}) q) OR u.phone IS NULL RETURNING *"
        ),
        8 => format!("INSERT INTO visits SELECT q::text FROM ({text}) q RETURNING line"),
        _ => text,
    }
}

/// Numbers that are the same in each run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}
