//! What a statement returns of the masked cells that it wrote, where no second statement can tell; unique indexes; INSERT
//! without a column list; EXECUTE after a change of the search path: through the proxy.

use crate::harness::{self, Proxy, Setup, wire::Client};
use crate::masked_kit::{Closed, masked_proxy};
use crate::redirect_sql::{Seen, World, cases, compare_on};

const CLOSED: &[Closed] = &[
    Closed::shown("accounts.email", "'masked' || accounts.id"),
    Closed {
        column: "accounts.settings",
        mask: None,
    },
];

async fn proxy() -> Proxy {
    masked_proxy(harness::database().await, CLOSED, Setup::default()).await
}

/// The rows of an answer.
fn rows(answer: &str) -> Vec<&str> {
    let rows = answer
        .lines()
        .filter_map(|line| line.strip_prefix("DataRow "));
    assert!(!answer.contains("ErrorResponse"), "{answer}");
    rows.collect()
}

#[tokio::test]
async fn parameters_stand_beside_masked_columns() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let sql = "INSERT INTO accounts (email, name) VALUES ($1, $2) RETURNING email, $1 || ' of ' || name, $3::int + 1";
    let answer = client
        .extended(sql, &[Some("p@x"), Some("P"), Some("41")])
        .await;
    assert_eq!(rows(&answer), ["\"p@x\" \"p@x of P\" \"42\""]);
    // Prepared once, run twice.
    client
        .parse(
            "s",
            "UPDATE accounts SET name = $2 WHERE id = $1 RETURNING email, $2 AS given",
            &[],
        )
        .describe(b'S', "s")
        .sync();
    let described = harness::wire::transcript(&client.run().await);
    assert!(
        described.contains("RowDescription email:") && described.contains("given:"),
        "{described}"
    );
    for id in ["3", "4"] {
        client
            .bind("", "s", &[Some(id), Some("new")])
            .execute("", 0)
            .sync();
        let answer = harness::wire::transcript(&client.run().await);
        assert_eq!(rows(&answer), [format!("\"masked{id}\" \"new\"")]);
    }
    client
        .simple("PREPARE p(text) AS INSERT INTO accounts (email, name) VALUES ($1, 'n') RETURNING email, $1")
        .await;
    let answer = client.simple("EXECUTE p('q@x')").await;
    assert_eq!(rows(&answer), ["\"q@x\" \"q@x\""]);
}

#[tokio::test]
async fn a_with_gives_what_was_written_and_the_mask_of_the_rest() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let real: String = harness::scalar(
        &proxy.database.connect().await,
        "SELECT email FROM accounts WHERE id = 3",
    )
    .await;
    for (sql, expected) in [
        (
            "WITH n AS (INSERT INTO accounts (email, name) VALUES ('n@x', 'N') RETURNING email, name) SELECT * FROM n",
            &["\"n@x\" \"N\""][..],
        ),
        (
            "WITH n AS (INSERT INTO accounts (email, name) SELECT v || '@y', v FROM unnest(ARRAY['a', 'b']) v RETURNING id, email) \
             SELECT email FROM n ORDER BY id",
            &["\"a@y\"", "\"b@y\""],
        ),
        (
            "WITH n AS (UPDATE accounts SET name = 'x' WHERE id = 3 RETURNING *) SELECT email FROM n",
            &["\"masked3\""],
        ),
        // Every way to have a real value back.
        (
            "WITH n AS (UPDATE accounts SET name = email WHERE id = 3 RETURNING name, email, email || name) SELECT * FROM n",
            &["\"masked3\" \"masked3\" \"masked3masked3\""],
        ),
        (
            "WITH n AS (UPDATE accounts a SET email = a.email || '!' WHERE id = 3 RETURNING email, a::text LIKE '%masked3%') SELECT * FROM n",
            &["\"masked3!\" \"t\""],
        ),
        (
            "WITH n AS (INSERT INTO accounts (email, name) SELECT email, email FROM accounts WHERE id = 5 RETURNING email, name) SELECT * FROM n",
            &["\"masked5\" \"masked5\""],
        ),
        (
            "WITH n AS (INSERT INTO accounts (email, name) SELECT 'z@x', 'z' RETURNING (SELECT min(a.email) FROM accounts a WHERE a.id = 3)) SELECT * FROM n",
            &["\"masked3\""],
        ),
        (
            "WITH n AS (INSERT INTO accounts (id, email, name) VALUES (3, 'y@x', 'z') ON CONFLICT (id) DO NOTHING RETURNING email) SELECT * FROM n",
            &[],
        ),
        (
            "WITH n AS (DELETE FROM accounts WHERE id = 6 RETURNING email) SELECT * FROM n",
            &["\"masked6\""],
        ),
    ] {
        client.simple("BEGIN").await;
        let answer = client.simple(sql).await;
        assert!(!answer.contains(&real), "{sql}: {answer}");
        assert_eq!(rows(&answer), expected, "{sql}");
        client.simple("ROLLBACK").await;
    }
    // In a function that the developer makes.
    client
        .simple(
            "CREATE FUNCTION pg_temp.add(text) RETURNS text LANGUAGE plpgsql AS \
             $$ DECLARE made text; BEGIN INSERT INTO accounts (email, name) VALUES ($1, 'f') RETURNING email INTO made; RETURN made; END $$",
        )
        .await;
    let answer = client.simple("SELECT pg_temp.add('f@x')").await;
    assert_eq!(rows(&answer), ["\"f@x\""]);
}

#[tokio::test]
async fn unique_indexes_are_known_by_name_and_expression() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin
        .batch_execute(
            "ALTER TABLE accounts ADD COLUMN gone date;
             CREATE UNIQUE INDEX accounts_lower ON accounts (lower(email)) WHERE gone IS NULL;
             CREATE UNIQUE INDEX accounts_name ON accounts (name)",
        )
        .await
        .unwrap();
    let proxy = masked_proxy(database, CLOSED, Setup::default()).await;
    let mut client = Client::connect(&proxy.url()).await;
    let upsert = "INSERT INTO accounts (email, name) VALUES ($1, $2) ON CONFLICT (lower(email)) WHERE gone IS NULL \
                  DO UPDATE SET name = excluded.name RETURNING id, name";
    let answer = client
        .extended(upsert, &[Some("MASKED3"), Some("by expression")])
        .await;
    assert_eq!(rows(&answer), ["\"3\" \"by expression\""]);
    let named = "INSERT INTO accounts (id, email, name) VALUES (3, 'other@x', 'by name') ON CONFLICT ON CONSTRAINT accounts_pkey \
                 DO UPDATE SET name = excluded.name RETURNING id, name";
    assert_eq!(rows(&client.simple(named).await), ["\"3\" \"by name\""]);
    // Another constraint is not swallowed.
    let answer = client
        .simple("INSERT INTO accounts (email, name) VALUES ('new@x', 'by name') ON CONFLICT (lower(email)) WHERE gone IS NULL DO NOTHING")
        .await;
    assert!(answer.contains("23505"), "{answer}");
    let answer = client
        .simple("INSERT INTO accounts (email, name) VALUES ('Masked4', 'unused') ON CONFLICT (lower(email)) WHERE gone IS NULL DO NOTHING")
        .await;
    assert!(answer.contains("INSERT 0 0"), "{answer}");
}

#[tokio::test]
async fn an_execute_means_what_names_mean_now() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin
        .batch_execute(
            "CREATE SCHEMA other; CREATE TABLE other.accounts (id int, email varchar(120)); INSERT INTO other.accounts VALUES (3, 'other');
             GRANT USAGE ON SCHEMA other TO PUBLIC; GRANT SELECT ON other.accounts TO PUBLIC",
        )
        .await
        .unwrap();
    let proxy = masked_proxy(database, CLOSED, Setup::default()).await;
    let sql = "PREPARE p AS SELECT email FROM accounts WHERE id = 3";
    // As Postgres does it on its own.
    let plain = proxy.database.connect().await;
    plain.batch_execute(sql).await.unwrap();
    plain
        .batch_execute("SET search_path = other")
        .await
        .unwrap();
    assert_eq!(harness::scalar(&plain, "EXECUTE p").await, "other");

    let mut client = Client::connect(&proxy.url()).await;
    client.simple(sql).await;
    assert_eq!(rows(&client.simple("EXECUTE p").await), ["\"masked3\""]);
    client.simple("SET search_path = other").await;
    assert_eq!(rows(&client.simple("EXECUTE p").await), ["\"other\""]);
    client.parse("e", "EXECUTE p", &[]).sync();
    client.run().await;
    client.simple("SET search_path = nowhere").await;
    let answer = client.simple("EXECUTE p").await;
    assert!(answer.contains("42P01"), "{answer}");
    for (path, expected) in [("public", "\"masked3\""), ("other", "\"other\"")] {
        client.simple(&format!("SET search_path = {path}")).await;
        client.bind("", "e", &[]).execute("", 0).sync();
        let answer = harness::wire::transcript(&client.run().await);
        assert_eq!(rows(&answer), [expected], "{path}");
        // Once more, as it is.
        assert_eq!(
            rows(&client.simple("EXECUTE p").await),
            [expected],
            "{path}"
        );
    }
    assert!(
        client
            .simple("DEALLOCATE p")
            .await
            .contains("CommandComplete DEALLOCATE")
    );
    let answer = client.simple("EXECUTE p").await;
    assert!(answer.contains("26000"), "{answer}");
}

#[tokio::test]
async fn an_insert_without_a_list_has_the_time_of_its_transaction() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin
        .batch_execute(
            "CREATE TABLE plain (id int, made timestamptz DEFAULT now(), note text, seen timestamptz DEFAULT now());
             CREATE SCHEMA other; CREATE TABLE other.two (a int); CREATE TABLE public.two (a int, made timestamptz DEFAULT now());
             GRANT USAGE ON SCHEMA other TO PUBLIC",
        )
        .await
        .unwrap();
    let proxy = masked_proxy(database, CLOSED, Setup::default()).await;
    let mut client = Client::connect(&proxy.url()).await;
    // The sandbox's transaction is older than those of the client.
    client.simple("INSERT INTO plain (id) VALUES (0)").await;
    for sql in [
        "INSERT INTO plain VALUES (1)",
        "INSERT INTO plain VALUES (1, DEFAULT, 'x')",
        "INSERT INTO plain SELECT 1",
        "INSERT INTO plain VALUES (1, DEFAULT, 'x', DEFAULT)",
    ] {
        client.simple("BEGIN").await;
        client.simple(sql).await;
        let answer = client
            .simple("SELECT count(*) FROM plain WHERE id = 1 AND made = now() AND seen = now() AND made > (SELECT made FROM plain WHERE id = 0)")
            .await;
        assert_eq!(rows(&answer), ["\"1\""], "{sql}");
        client.simple("ROLLBACK").await;
    }
    client.simple("BEGIN").await;
    let answer = client
        .simple("INSERT INTO accounts SELECT 9000, 'd@x', 'D' RETURNING created_at = now(), email")
        .await;
    assert_eq!(rows(&answer), ["\"t\" \"masked9000\""]);
    client.simple("ROLLBACK").await;
    // A table of the same name has no such column.
    client.simple("SET search_path = other").await;
    let answer = client.simple("INSERT INTO two VALUES (1)").await;
    assert!(!answer.contains("42703"), "{answer}");
}

#[tokio::test]
async fn conflicts_are_found_as_on_the_tables() {
    let world = World::new().await;
    compare_on(&world, include_str!("redirect_sql/conflict.sql")).await;
    // What fails, fails for the same reason: nothing is swallowed.
    for (name, statements) in cases(include_str!("redirect_sql/fails.sql")) {
        let code = |seen: &[Seen]| {
            let error = seen.last().and_then(|seen| seen.error.clone());
            error.map(|error| error.get(..5).unwrap_or_default().to_owned())
        };
        let (plain, _) = world.run(&statements, false).await;
        let (redirected, _) = world.run(&statements, true).await;
        assert!(code(&plain).is_some(), "{name} does not fail");
        if world.lacks_merge(&statements, &redirected) {
            continue;
        }
        assert_eq!(
            code(&plain),
            code(&redirected),
            "{name}: {plain:?} {redirected:?}"
        );
    }
}

/// What cannot be answered as on the tables is refused, and the redirect knows why.
#[tokio::test]
async fn returning_that_cannot_be_told_is_refused_with_the_reason() {
    let world = World::new().await;
    for (text, because) in [
        (
            "WITH n AS (INSERT INTO tidied VALUES (2, 'X') RETURNING mail) SELECT * FROM n",
            "a trigger or a rule",
        ),
        (
            "WITH n AS (UPDATE tidied SET mail = 'X' RETURNING mail) SELECT * FROM n",
            "a trigger or a rule",
        ),
        (
            "WITH n AS (UPDATE members SET mail = gen_random_uuid()::text RETURNING mail) SELECT * FROM n",
            "not the same each time",
        ),
        (
            "WITH n AS (UPDATE members SET id = id + 100 RETURNING mail) SELECT * FROM n",
            "needs a key",
        ),
        (
            "WITH n AS (UPDATE visits SET at = 1 RETURNING line) SELECT * FROM n",
            "needs a key",
        ),
        (
            "WITH n AS (INSERT INTO users (id, email, full_name) VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET city = 'x' RETURNING email) SELECT * FROM n",
            "ON CONFLICT DO UPDATE",
        ),
    ] {
        let (plain, _) = world.run(&[text], false).await;
        assert_eq!(plain[0].error, None, "{text}");
        let blocked = world.redirect(text).blocked;
        assert!(
            blocked
                .as_ref()
                .is_some_and(|blocked| blocked.because.contains(because)),
            "{text}: {blocked:?}"
        );
        let (redirected, _) = world.run(&[text], true).await;
        assert!(
            redirected[0]
                .error
                .as_ref()
                .is_some_and(|error| error.starts_with("42501")),
            "{text}: {redirected:?}"
        );
    }
}

/// `*` leaves out what is denied: where columns count by their place, values would slip into others.
#[tokio::test]
async fn a_star_is_never_taken_by_place_where_a_column_is_missing() {
    let world = World::new().await;
    let into = "INSERT INTO orders (id, email, status, total, user_id)";
    for (text, stays) in [
        (
            format!("{into} SELECT * FROM (SELECT * FROM profiles) x"),
            true,
        ),
        (
            format!("WITH x AS (SELECT * FROM profiles) {into} SELECT * FROM x"),
            true,
        ),
        (
            format!("WITH x AS (SELECT * FROM profiles) {into} TABLE x"),
            true,
        ),
        (
            format!("WITH x AS (DELETE FROM profiles RETURNING *) {into} SELECT * FROM x"),
            true,
        ),
        (
            format!(
                "WITH x AS (UPDATE profiles SET level = 1 RETURNING profiles.*) {into} SELECT x.* FROM x"
            ),
            true,
        ),
        (
            format!(
                "WITH x AS (INSERT INTO profiles (user_id) VALUES (90) RETURNING *) {into} SELECT * FROM x"
            ),
            true,
        ),
        (
            "WITH x AS (SELECT * FROM profiles) INSERT INTO orders (id) SELECT user_id + 900 FROM x"
                .to_owned(),
            false,
        ),
        (
            "WITH x AS (DELETE FROM profiles RETURNING *) SELECT * FROM x".to_owned(),
            false,
        ),
        (
            "INSERT INTO orders (id) SELECT 990 WHERE EXISTS (SELECT * FROM profiles)".to_owned(),
            false,
        ),
    ] {
        let (redirected, _) = world.run(&[&text], true).await;
        assert_eq!(
            redirected[0].error.is_some(),
            stays,
            "{text}: {redirected:?}"
        );
        let blocked = world.redirect(&text).blocked;
        assert_eq!(
            blocked.map(|blocked| blocked.what),
            stays.then(|| "public.profiles.secret".to_owned()),
            "{text}"
        );
    }
}
