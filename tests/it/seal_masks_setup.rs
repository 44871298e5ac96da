//! Sealing with a policy: what it changes, for whom it works, and what is left when it is interrupted.

use std::process::Command;

use devinprod::seal::{self, SealError, SealOptions, SealPlan};

use crate::harness::{self, both, connect};
use crate::seal_kit::{PASSWORD, answer, run_setup, wait_for_no_sessions};
use crate::seal_masks_kit::{POLICY, USERS, holes, options, remove, replan, sealed, sealed_by};

const KEY: &str = "SELECT encode(key, 'hex') FROM devinprod.mask_key";

const OTHER: &str = "
    [table.public.users]
    id = \"clear\"
    city = \"text\"
    email = \"email\"
    phone = \"clear\"
    born = \"deny\"
";

fn text(plan: &SealPlan) -> String {
    let steps: Vec<&str> = plan.steps.iter().map(|step| step.reason.as_str()).collect();
    let notes: Vec<String> = plan.findings.iter().map(ToString::to_string).collect();
    [steps.join("\n"), plan.summary.join("\n"), notes.join("\n")].join("\n")
}

#[tokio::test]
async fn a_changed_policy_changes_what_it_says_and_keeps_the_key() {
    let sealed = sealed().await;
    let developer = sealed.developer().await;
    let key = harness::scalar(&sealed.admin, KEY).await;
    let mask = "SELECT email FROM devinprod_masked.\"public.users\" WHERE id = 3";
    let before = developer.ask(mask).await.unwrap();
    let others =
        "SELECT string_agg(xmin::text, ' ' ORDER BY relation) FROM devinprod.clear_relation";
    let untouched = harness::scalar(&sealed.admin, others).await;
    let other = options(&sealed.database, OTHER);
    let plan = replan(&sealed.admin, &other).await.unwrap();
    let said = text(&plan);
    for line in [
        "public.users: clear id, phone; email as email; denied full_name, born, balance, notes; city as text",
        "public.users.phone: clear; it was phone",
        "public.users.city: text; it was clear",
        "public.users.born: deny; it was date",
    ] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }
    assert!(!said.contains("public.users.email: "), "{said}");
    seal::apply(&sealed.admin, &plan).await.unwrap();
    assert_eq!(harness::scalar(&sealed.admin, KEY).await, key);
    assert_eq!(harness::scalar(&sealed.admin, others).await, untouched);
    assert_eq!(developer.ask(mask).await.unwrap(), before);
    assert_eq!(
        developer
            .ask("SELECT phone FROM users WHERE id = 3")
            .await
            .unwrap(),
        ["+1 555 0103"]
    );
    assert_eq!(
        developer.ask("SELECT city FROM users").await.unwrap_err(),
        "42501"
    );
    let born = "SELECT born FROM devinprod_masked.\"public.users\"";
    assert_eq!(developer.ask(born).await.unwrap_err(), "42703");
    assert_eq!(
        holes(&sealed.keeper, &sealed.options.names).await,
        Vec::<String>::new()
    );
    let same = SealOptions {
        proxy_verifier: None,
        ..other
    };
    assert!(replan(&sealed.admin, &same).await.unwrap().is_empty());
    // All of it clear: no view is left, nor any trigger.
    let clear = "[table.public.users]\n\"*\" = { as = \"clear\", because = \"a test\" }\n";
    run_setup(&sealed.admin, &options(&sealed.database, clear)).await;
    assert_eq!(
        developer
            .ask("SELECT notes FROM users WHERE id = 3")
            .await
            .unwrap(),
        ["real note 3"]
    );
    let left =
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal";
    assert_eq!(harness::scalar(&sealed.admin, left).await, "0");
    assert_eq!(
        harness::scalar(
            &sealed.admin,
            "SELECT to_regclass('devinprod_masked.\"public.users\"')"
        )
        .await,
        ""
    );
}

#[tokio::test]
async fn an_interrupted_setup_leaves_the_old_seal_whole() {
    let sealed = sealed().await;
    let before = harness::dump(&sealed.database).await;
    let mut plan = replan(&sealed.admin, &options(&sealed.database, OTHER))
        .await
        .unwrap();
    let last = plan.steps.len() - 1;
    plan.steps[last].sql.push_str("\nSELECT 1 / 0;");
    assert!(matches!(
        seal::apply(&sealed.admin, &plan).await,
        Err(SealError::Step { .. })
    ));
    assert_eq!(harness::dump(&sealed.database).await, before);
    assert_eq!(
        holes(&sealed.keeper, &sealed.options.names).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn an_administrator_without_superuser_is_enough() {
    for database in both().await {
        let dba = format!("dba_{}", database.name);
        let admin = database.connect().await;
        let sql = format!(
            "{USERS}
            CREATE ROLE {dba} LOGIN CREATEROLE PASSWORD 'dba';
            -- As it is since Postgres 15.
            ALTER SCHEMA public OWNER TO pg_database_owner; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
            ALTER DATABASE {} OWNER TO {dba};
            ALTER TABLE accounts OWNER TO {dba}; ALTER TABLE orders OWNER TO {dba};
            ALTER TABLE users OWNER TO {dba};
            GRANT SELECT ON users TO PUBLIC;",
            database.name
        );
        admin.batch_execute(&sql).await.unwrap();
        let dba = connect(&database.url_as(&dba, "dba")).await;
        let first = options(&database, POLICY);
        run_setup(&dba, &first).await;
        let keeper = connect(&database.url_as(&first.names.proxy(), PASSWORD)).await;
        assert_eq!(holes(&keeper, &first.names).await, Vec::<String>::new());
        let lease = seal::lease(&keeper).await.unwrap();
        let developer = connect(&database.url_as(&lease.role, &lease.password)).await;
        let masked = "SELECT count(email) FROM devinprod_masked.\"public.users\"";
        assert_eq!(
            answer(developer.simple_query(masked).await).unwrap(),
            ["50"]
        );
        for real in ["SELECT email FROM users", "SELECT entry FROM order_log"] {
            assert_eq!(
                answer(developer.simple_query(real).await).unwrap_err(),
                "42501"
            );
        }
        drop(developer);
        let same = SealOptions {
            proxy_verifier: None,
            ..first
        };
        let again = replan(&dba, &same).await.unwrap();
        assert!(again.is_empty(), "{:#?}", again.steps);
        wait_for_no_sessions(&dba, &same.names).await;
        run_setup(&dba, &options(&database, OTHER)).await;
        remove(&dba, &same.names).await;
        assert_eq!(
            harness::scalar(&admin, "SELECT to_regnamespace('devinprod_masked')").await,
            ""
        );
    }
}

#[tokio::test]
async fn the_printed_script_runs_as_it_is() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin.batch_execute(USERS).await.unwrap();
    let options = options(&database, POLICY);
    let script = replan(&admin, &options).await.unwrap().script();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let output = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--quiet",
            "--dbname",
            &database.url,
            "--file",
        ])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(holes(&admin, &options.names).await, Vec::<String>::new());
}

#[tokio::test]
async fn others_keep_what_everybody_could_read() {
    let database = harness::database().await;
    let admin = database.connect().await;
    let other = format!("app_{}", database.name);
    let sql = format!(
        "{USERS} CREATE ROLE {other} LOGIN PASSWORD 'app'; GRANT SELECT ON users TO PUBLIC;
        GRANT SELECT (name) ON accounts TO PUBLIC"
    );
    admin.batch_execute(&sql).await.unwrap();
    run_setup(&admin, &options(&database, POLICY)).await;
    let app = connect(&database.url_as(&other, "app")).await;
    for (sql, allowed) in [
        ("SELECT email FROM users", true),
        ("SELECT name FROM accounts", true),
        ("SELECT email FROM accounts", false),
        ("SELECT email FROM devinprod_masked.\"public.users\"", false),
    ] {
        assert_eq!(
            answer(app.simple_query(sql).await).is_ok(),
            allowed,
            "{sql}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_taken_from_everybody_is_refused() {
    let database = harness::database().await;
    let admin = database.connect().await;
    let dba = format!("dba_{}", database.name);
    let sql = format!(
        "{USERS} CREATE ROLE {dba} LOGIN CREATEROLE PASSWORD 'dba'; ALTER DATABASE {} OWNER TO {dba};
        ALTER TABLE accounts OWNER TO {dba}; GRANT SELECT ON users TO PUBLIC;
        REVOKE CREATE ON SCHEMA public FROM PUBLIC -- as it is since Postgres 15",
        database.name
    );
    admin.batch_execute(&sql).await.unwrap();
    let dba = connect(&database.url_as(&dba, "dba")).await;
    let plan = replan(&dba, &options(&database, POLICY)).await;
    let refused = match plan {
        Ok(plan) => seal::apply(&dba, &plan).await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(
        refused.contains("PUBLIC may read what the policy does not open of public.users"),
        "{refused}"
    );
    assert_eq!(
        harness::scalar(&admin, "SELECT to_regnamespace('devinprod')").await,
        ""
    );
}

#[tokio::test]
async fn row_security_holds_behind_the_views() {
    let database = harness::database().await;
    let sql = format!(
        "{USERS}
        ALTER TABLE users ENABLE ROW LEVEL SECURITY;
        CREATE TABLE tenants (city text PRIMARY KEY, secret text);
        INSERT INTO tenants VALUES ('City 2', 'x');
        CREATE POLICY by_setting ON users USING (city = current_setting('app.city', true)
            AND EXISTS (SELECT FROM tenants t WHERE t.city = users.city));
        CREATE TABLE papers (id int PRIMARY KEY, body text);
        INSERT INTO papers VALUES (1, 'real');
        ALTER TABLE papers ENABLE ROW LEVEL SECURITY;
        CREATE POLICY by_role ON papers TO pg_monitor USING (true);"
    );
    let text = format!(
        "{POLICY}\n[table.public.papers]\nid = \"clear\"\nbody = \"text\"\n[table.public.tenants]\ncity = \"clear\"\n"
    );
    let sealed = sealed_by(database, &sql, &text).await;
    let developer = sealed.developer().await;
    let count = "SELECT count(*) FROM devinprod_masked.\"public.users\"";
    assert_eq!(developer.ask(count).await.unwrap(), ["0"]);
    developer.ask("SET app.city = 'City 2'").await.unwrap();
    assert_eq!(developer.ask(count).await.unwrap(), ["10"]);
    let papers = "SELECT count(*) FROM devinprod_masked.\"public.papers\"";
    assert_eq!(developer.ask(papers).await.unwrap(), ["0"]);
    let notes =
        crate::seal_masks_kit::said(&sealed.keeper, &sealed.options.names, seal::Gravity::Note)
            .await;
    assert!(
        notes.join("\n").contains("row security of public.papers"),
        "{notes:?}"
    );
    assert!(
        !notes.join("\n").contains("row security of public.users"),
        "{notes:?}"
    );
}

/// Partitions, children, domains, enums, generated columns, collations, odd names, materialized views, foreign tables.
const ODD: &str = r#"
    CREATE DOMAIN address AS varchar(100) CHECK (VALUE LIKE '%@%');
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE SCHEMA "Odd ""x"".y";
    CREATE TABLE "Odd ""x"".y"."T; --" ("a b" int PRIMARY KEY, "se""cret" address, mood mood, de text COLLATE "C",
        doubled text GENERATED ALWAYS AS (upper(de)) STORED, plain text);
    INSERT INTO "Odd ""x"".y"."T; --" VALUES (1, 'real@x', 'happy', 'real', DEFAULT, 'p');
    CREATE TABLE events (id int, at date, secret text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    INSERT INTO events VALUES (1, '2024-05-05', 'real');
    CREATE TABLE parents (id int PRIMARY KEY, secret text);
    CREATE TABLE children (extra text) INHERITS (parents);
    INSERT INTO children VALUES (1, 'real', 'real');
    CREATE TABLE nokey (secret text);
    INSERT INTO nokey VALUES ('real');
    CREATE MATERIALIZED VIEW copied AS SELECT id, secret FROM events;
    CREATE MATERIALIZED VIEW copied_clear AS SELECT id, total FROM orders;
    CREATE VIEW over_secret AS SELECT * FROM events;
    CREATE VIEW over_clear AS SELECT * FROM open_orders;
    CREATE TABLE this_table_has_a_name_that_is_sixty_three_bytes_long_as_it_can (id int PRIMARY KEY, secret text);
"#;

const ODD_POLICY: &str = r#"
    [table."Odd \"x\".y"."T; --"]
    "a b" = "clear"
    'se"cret' = "email"
    mood = "null"
    de = "text"
    doubled = "deny"
    plain = "clear"
    [table.public.events]
    id = "clear"
    at = "clear"
    secret = "text"
    [table.public.events_1]
    secret = "clear"
    [table.public.parents]
    id = "clear"
    secret = "text"
    [table.public.children]
    extra = "text"
    [table.public.nokey]
    secret = "text"
    [table.public.copied]
    id = "clear"
    secret = "text"
    [table.public.this_table_has_a_name_that_is_sixty_three_bytes_long_as_it_can]
    id = "clear"
    secret = "text"
"#;

#[tokio::test]
async fn odd_relations_are_masked_too() {
    for database in both().await {
        let sealed = sealed_by(database, ODD, ODD_POLICY).await;
        let names = &sealed.options.names;
        let developer = sealed.developer().await;
        assert_eq!(holes(&sealed.keeper, names).await, Vec::<String>::new());
        let same = SealOptions {
            proxy_verifier: None,
            ..sealed.options.clone()
        };
        let again = replan(&sealed.admin, &same).await.unwrap();
        assert!(again.is_empty(), "{:#?}", again.steps);
        let views = "SELECT view FROM devinprod.masked_relation WHERE view IS NOT NULL
            UNION ALL SELECT rows FROM devinprod.masked_relation WHERE rows IS NOT NULL";
        let views = developer.ask(views).await.unwrap();
        // Of the materialized view, and of the copy of a view, there is no second one.
        assert_eq!(views.len(), 16, "{views:?}");
        for view in &views {
            let rows = developer
                .ask(&format!("SELECT v::text FROM {view} AS v"))
                .await;
            let rows = rows.unwrap_or_else(|code| panic!("{view}: {code}"));
            let expected = usize::from(!view.contains("sixty"));
            assert_eq!(rows.len(), expected, "{view}");
            assert!(
                rows.iter().all(|row| !row.to_lowercase().contains("real")),
                "{view}: {rows:?}"
            );
        }
        for sql in [
            "SELECT secret FROM events",
            "SELECT secret FROM events_1",
            "SELECT secret FROM parents",
            "SELECT secret FROM children",
            "SELECT extra FROM children",
            "SELECT secret FROM nokey",
            "SELECT secret FROM copied",
            "SELECT id FROM over_secret",
            "SELECT doubled FROM \"Odd \"\"x\"\".y\".\"T; --\"",
        ] {
            assert_eq!(developer.ask(sql).await.unwrap_err(), "42501", "{sql}");
        }
        for sql in [
            "SELECT id FROM over_clear",
            "SELECT total FROM copied_clear",
            "SELECT id FROM children",
        ] {
            developer
                .ask(sql)
                .await
                .unwrap_or_else(|code| panic!("{sql}: {code}"));
        }
        drop(developer);
        wait_for_no_sessions(&sealed.admin, names).await;
        remove(&sealed.admin, names).await;
    }
}
