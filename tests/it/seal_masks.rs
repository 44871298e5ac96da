//! What a policy closes stays closed to a developer who is connected straight to Postgres.

use crate::harness::{self, both};
use crate::seal_kit::{Developer, Sealed, run_setup, wait_for_no_sessions};
use crate::seal_masks_kit::{POLICY, USERS, holes, options, remove, replan, sealed, sealed_by};

/// The SQLSTATE of a refused statement.
async fn refused(developer: &Developer, sql: &str) -> String {
    developer.ask(sql).await.expect_err(sql)
}

#[tokio::test]
async fn clear_columns_are_read_and_others_are_not() {
    for database in both().await {
        let sealed = sealed_by(database, USERS, POLICY).await;
        let developer = sealed.developer().await;
        let ask = async |sql: &str| {
            developer
                .ask(sql)
                .await
                .unwrap_or_else(|e| panic!("{sql}: {e}"))
        };
        assert_eq!(ask("SELECT city FROM users WHERE id = 7").await, ["City 2"]);
        assert_eq!(ask("SELECT count(*) FROM users").await, ["50"]);
        assert_eq!(
            ask("SELECT count(ctid) FROM users WHERE tableoid > 0").await,
            ["50"]
        );
        for sensitive in [
            "email",
            "full_name",
            "phone",
            "born",
            "balance",
            "notes",
            "users",
            "*",
            "users.*",
        ] {
            let sql = format!("SELECT {sensitive} FROM users");
            assert_eq!(refused(&developer, &sql).await, "42501", "{sql}");
        }
        for sql in [
            "TABLE users",
            "COPY users TO STDOUT",
            "COPY users (email) TO STDOUT",
            "SELECT id FROM users WHERE email LIKE 'real%'",
            "SELECT id FROM users ORDER BY email",
            "SELECT id FROM users FOR UPDATE",
            "SELECT key FROM devinprod.mask_key",
            "CREATE TABLE copy (LIKE users)",
        ] {
            assert_eq!(refused(&developer, sql).await, "42501", "{sql}");
        }
        // The views: the same rows, the masks, the real table's types, and no denied column.
        let view = "devinprod_masked.\"public.users\"";
        let shown =
            format!("SELECT concat_ws(' ', email, full_name, phone, born, balance) FROM {view}");
        let shown = ask(&shown).await;
        assert_eq!(shown.len(), 50);
        for (n, row) in shown.iter().enumerate() {
            assert!(
                row.contains('@') && !row.to_lowercase().contains("real"),
                "{row}"
            );
            assert!(!row.contains(&format!("+1 555 0{}", 101 + n)), "{row}");
        }
        let different = format!("SELECT count(DISTINCT email) FROM {view}");
        assert_eq!(ask(&different).await, ["50"]);
        assert_eq!(
            ask(&format!("SELECT city FROM {view} WHERE id = 7")).await,
            ["City 2"]
        );
        assert_eq!(
            refused(&developer, &format!("SELECT notes FROM {view}")).await,
            "42703"
        );
        let columns = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
            FROM pg_attribute WHERE attnum > 0 AND attrelid = ";
        assert_eq!(
            ask(&format!("{columns}'{view}'::regclass")).await,
            [
                "id bigint, email character varying(254), full_name text, phone text, born date, balance numeric(12,2), \
              city text"
            ]
        );
        let rows = "devinprod_rows.\"public.users\"";
        let real = ask("SELECT ctid || ' ' || tableoid FROM users WHERE id = 7").await;
        let sql =
            format!("SELECT devinprod_ctid || ' ' || devinprod_tableoid FROM {rows} WHERE id = 7");
        assert_eq!(ask(&sql).await, real);
        // The other tables are as they were.
        assert_eq!(
            ask("SELECT accounts.email FROM accounts WHERE id = 3").await,
            ["person3@example.com"]
        );
        assert_eq!(
            ask("SELECT total FROM open_orders WHERE id = 3").await,
            ["3.75"]
        );
    }
}

#[tokio::test]
async fn armed_too_nothing_sensitive_is_read_or_linked_to() {
    let sealed = sealed().await;
    let developer = sealed.developer().await;
    for sql in [
        "UPDATE users SET city = email",
        "UPDATE users SET city = 'x' WHERE phone LIKE '%1'",
        "UPDATE users SET city = 'x' RETURNING phone",
        "DELETE FROM users RETURNING *",
        "INSERT INTO users VALUES (99, 'a', 'b') RETURNING email",
        "INSERT INTO users VALUES (99, 'a', 'b') ON CONFLICT (email) DO NOTHING",
        "CREATE TABLE link (e varchar(254) REFERENCES users (email))",
        "CREATE TABLE copied AS SELECT email FROM users",
        "CREATE TRIGGER mine BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE TABLE child () INHERITS (users)",
        "CREATE RULE r AS ON UPDATE TO users DO ALSO SELECT 1",
        "CREATE POLICY p ON users",
        "CREATE STATISTICS s ON email, phone FROM users",
        "ALTER TABLE users ADD extra text",
        "ANALYZE (VERBOSE) users; SELECT 1 / 0",
        "CREATE OR REPLACE VIEW devinprod_masked.\"public.users\" AS SELECT 1",
        "CREATE VIEW devinprod_masked.mine AS SELECT 1",
    ] {
        developer.ask("BEGIN").await.unwrap();
        developer.ask("SELECT devinprod.arm()").await.unwrap();
        let code = refused(&developer, sql).await;
        assert!(matches!(code.as_str(), "42501" | "22012"), "{sql}: {code}");
        developer.ask("ROLLBACK").await.unwrap();
    }
    developer.ask("BEGIN").await.unwrap();
    developer.ask("SELECT devinprod.arm()").await.unwrap();
    for sql in [
        "INSERT INTO users (id, email, full_name) VALUES (99, 'a', 'b')",
        "UPDATE users SET phone = 'x', city = city || '!' WHERE id = 5",
        "DELETE FROM users WHERE id = 6",
        "CREATE TABLE linked (u bigint REFERENCES users (id))",
        "SELECT id FROM devinprod_masked.\"public.users\" WHERE id = 7 FOR UPDATE",
    ] {
        developer
            .ask(sql)
            .await
            .unwrap_or_else(|code| panic!("{sql}: {code}"));
    }
}

#[tokio::test]
async fn what_comes_later_is_closed() {
    let sealed = sealed().await;
    sealed
        .admin
        .batch_execute(
            "ALTER TABLE accounts ADD secret text DEFAULT 'real';
             ALTER TABLE users ADD secret text DEFAULT 'real';
             CREATE TABLE later (id serial PRIMARY KEY, secret text);
             CREATE VIEW later_view AS SELECT * FROM users",
        )
        .await
        .unwrap();
    let developer = sealed.developer().await;
    for sql in [
        "SELECT secret FROM accounts",
        "SELECT * FROM accounts",
        "SELECT secret FROM users",
        "SELECT id FROM later",
        "SELECT id FROM later_view",
    ] {
        assert_eq!(refused(&developer, sql).await, "42501", "{sql}");
    }
    assert_eq!(
        developer
            .ask("SELECT name FROM accounts WHERE id = 3")
            .await
            .unwrap(),
        ["Person 3"]
    );
    assert_eq!(
        holes(&sealed.keeper, &sealed.options.names).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_second_setup_finds_nothing_to_do() {
    for database in both().await {
        let sealed = sealed_by(database, USERS, POLICY).await;
        let options = devinprod::seal::SealOptions {
            proxy_verifier: None,
            ..sealed.options.clone()
        };
        let again = replan(&sealed.admin, &options).await.unwrap();
        assert!(again.is_empty(), "{:#?}", again.steps);
        // Without a policy it stays as it is, too.
        let without = devinprod::seal::SealOptions {
            policy: None,
            ..options
        };
        let again = replan(&sealed.admin, &without).await.unwrap();
        assert!(again.is_empty(), "{:#?}", again.steps);
        assert_eq!(
            holes(&sealed.keeper, &sealed.options.names).await,
            Vec::<String>::new()
        );
    }
}

#[tokio::test]
async fn the_removed_seal_leaves_nothing() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin.batch_execute(USERS).await.unwrap();
    admin
        .batch_execute(
            "GRANT SELECT ON users TO PUBLIC; GRANT SELECT (email) ON accounts TO PUBLIC",
        )
        .await
        .unwrap();
    let before = harness::dump(&database).await;
    let options = options(&database, POLICY);
    let sealed = Sealed::with(database, options).await;
    let developer = sealed.developer().await;
    assert_eq!(
        refused(&developer, "SELECT email FROM users").await,
        "42501"
    );
    drop(developer);
    assert_ne!(harness::dump(&sealed.database).await, before);
    wait_for_no_sessions(&sealed.admin, &sealed.options.names).await;
    remove(&sealed.admin, &sealed.options.names).await;
    assert_eq!(harness::dump(&sealed.database).await, before);
}

#[tokio::test]
async fn a_database_sealed_without_a_policy_can_get_one() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin.batch_execute(USERS).await.unwrap();
    let sealed = Sealed::new(database).await;
    let developer = sealed.developer().await;
    let ask = "SELECT email FROM users WHERE id = 1";
    developer.ask(ask).await.unwrap();
    run_setup(&sealed.admin, &options(&sealed.database, POLICY)).await;
    assert_eq!(refused(&developer, ask).await, "42501");
    sealed
        .admin
        .batch_execute("CREATE TABLE later (id int)")
        .await
        .unwrap();
    assert_eq!(refused(&developer, "SELECT id FROM later").await, "42501");
    assert_eq!(
        holes(&sealed.keeper, &sealed.options.names).await,
        Vec::<String>::new()
    );
}
