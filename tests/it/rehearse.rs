//! A migration is tried on the real data by the role that owns it: the report is right, no row comes back, and nothing
//! stays.

use std::time::Duration;

use devinprod::rehearse::{Options, Outcome, Report, rehearse};
use devinprod::upstream::address::Address;

use crate::harness::{self, TestDatabase};

/// A database whose tables belong to a role of its own, and that role's URL.
async fn owned(database: TestDatabase) -> (TestDatabase, Address) {
    let admin = database.connect().await;
    let owner = format!("{}_owner", database.name);
    admin
        .batch_execute(&format!(
            "CREATE ROLE {owner} LOGIN PASSWORD 'secret';
            GRANT CREATE, TEMPORARY ON DATABASE {0} TO {owner};
            GRANT CREATE ON SCHEMA public TO {owner};
            ALTER TABLE accounts OWNER TO {owner};
            ALTER TABLE orders OWNER TO {owner};
            ALTER TABLE order_log OWNER TO {owner}",
            database.name
        ))
        .await
        .unwrap();
    let address = database.url_as(&owner, "secret").parse().unwrap();
    (database, address)
}

async fn rehearsed(address: &Address, script: &str) -> Report {
    rehearse(address, script, &Options::default())
        .await
        .unwrap()
}

fn failed(report: &Report) -> (&str, &devinprod::rehearse::Failure) {
    report
        .statements
        .iter()
        .find_map(|statement| match &statement.outcome {
            Outcome::Failed(failure) => Some((statement.text.as_str(), &**failure)),
            _ => None,
        })
        .unwrap_or_else(|| panic!("nothing failed: {report:#?}"))
}

#[tokio::test]
async fn a_migration_that_works_is_told_in_full_and_leaves_nothing() {
    for database in harness::both().await {
        let (database, address) = owned(database).await;
        let before = harness::dump(&database).await;
        let report = rehearsed(
            &address,
            "ALTER TABLE accounts ADD COLUMN nickname text;\n\
             UPDATE accounts SET nickname = 'planted-4711' WHERE id <= 7;\n\
             CREATE INDEX CONCURRENTLY accounts_nickname ON accounts (nickname);\n\
             ALTER TABLE order_log ALTER COLUMN entry TYPE varchar(200);\n\
             INSERT INTO orders (account_id, total) VALUES (1, 2);\n\
             VACUUM accounts;\n\
             CREATE TABLE made (id int PRIMARY KEY);\n",
        )
        .await;
        assert!(report.worked, "{report:#?}");
        let [add, update, index, retype, insert, vacuum, make] = &report.statements[..] else {
            panic!("{report:#?}")
        };
        assert_eq!((add.line, add.rows_changed, add.rewritten.len()), (1, 0, 0));
        assert_eq!(update.rows_changed, 7);
        assert!(!update.text.contains("4711"));
        assert_eq!(index.built[0].name, "accounts_nickname");
        assert!(index.notes[0].contains("CONCURRENTLY"));
        assert!(
            retype
                .rewritten
                .iter()
                .any(|sized| sized.name == "order_log" && sized.bytes > 0)
        );
        assert_eq!(insert.rows_changed, 2, "with what its trigger wrote");
        assert!(matches!(&vacuum.outcome, Outcome::Skipped(why) if why.contains("VACUUM")));
        assert_eq!(make.built.len(), 1);

        let lock = |relation: &str| {
            report
                .locks
                .iter()
                .find(|lock| lock.relation == relation)
                .unwrap_or_else(|| panic!("{relation}: {:#?}", report.locks))
        };
        assert_eq!(
            (lock("accounts").mode.as_str(), lock("accounts").line),
            ("AccessExclusiveLock", 1)
        );
        assert_eq!(
            (lock("order_log").mode.as_str(), lock("order_log").line),
            ("AccessExclusiveLock", 4)
        );
        assert!(lock("accounts").milliseconds >= lock("order_log").milliseconds);
        assert!(report.locks.iter().all(|lock| lock.relation != "made"));
        assert!(harness::dump(&database).await == before);
    }
}

#[tokio::test]
async fn who_stands_in_the_way_of_a_constraint_is_counted_and_never_quoted() {
    let (database, address) = owned(harness::database().await).await;
    let admin = database.connect().await;
    admin
        .batch_execute(
            "UPDATE accounts SET name = 'planted-marker' WHERE id IN (3, 4, 5);
            ALTER TABLE accounts ADD phone text; UPDATE accounts SET phone = 'planted-marker' WHERE id > 4;
            ALTER TABLE order_log ADD account bigint; UPDATE order_log SET account = 99 + order_id WHERE order_id < 10",
        )
        .await
        .unwrap();
    let before = harness::dump(&database).await;
    for (script, sqlstate, count) in [
        (
            "ALTER TABLE accounts ADD CONSTRAINT u UNIQUE (name)",
            "23505",
            3,
        ),
        (
            "CREATE UNIQUE INDEX u ON accounts (lower(name))",
            "23505",
            3,
        ),
        (
            "ALTER TABLE accounts ALTER COLUMN phone SET NOT NULL",
            "23502",
            4,
        ),
        (
            "ALTER TABLE accounts ADD CONSTRAINT c CHECK (balance < 150 OR name = 'x')",
            "23514",
            6,
        ),
        (
            "ALTER TABLE order_log ADD CONSTRAINT f FOREIGN KEY (account) REFERENCES accounts",
            "23503",
            9,
        ),
        (
            "ALTER TABLE order_log ADD CONSTRAINT f FOREIGN KEY (account) REFERENCES accounts (id)",
            "23503",
            9,
        ),
    ] {
        let report = rehearsed(&address, &format!("SELECT 1;\n{script};\nSELECT 2")).await;
        let (_, failure) = failed(&report);
        assert_eq!(failure.sqlstate, sqlstate, "{script}: {failure:?}");
        let violations = failure
            .violations
            .as_ref()
            .unwrap_or_else(|| panic!("{script}"));
        assert_eq!(violations.count, count, "{script}: {violations:?}");
        // No policy lets anybody see keys here.
        assert!(violations.keys.is_empty());
        assert_eq!(report.statements[2].outcome, Outcome::NotReached);
        assert!(
            !report.worked && !format!("{report:?}").contains("planted"),
            "{report:#?}"
        );
    }
    // An error may quote a value in its message, too.
    for script in [
        "ALTER TABLE accounts ALTER COLUMN phone TYPE int USING phone::int",
        "DO $$ BEGIN RAISE EXCEPTION 'see %', (SELECT phone FROM accounts WHERE id = 9); END $$",
    ] {
        let report = rehearsed(&address, script).await;
        let text = serde_json::to_string(&report).unwrap();
        assert!(!report.worked && !text.contains("planted"), "{text}");
    }
    assert!(harness::dump(&database).await == before);
}

#[tokio::test]
async fn nothing_that_a_script_does_commits() {
    let (database, address) = owned(harness::database().await).await;
    let before = harness::dump(&database).await;
    for script in [
        "BEGIN; CREATE TABLE stays (n int); COMMIT; INSERT INTO stays VALUES (1)",
        "CREATE TABLE stays (n int); DO $$ BEGIN COMMIT; END $$",
        "CREATE TABLE stays (n int); DO $$ BEGIN EXECUTE 'COMMIT'; END $$",
        "CREATE TABLE stays (n int); CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'; CALL p()",
        "CREATE TABLE stays (n int); PREPARE TRANSACTION 'x'",
        "CREATE TABLE stays (n int); SET CONSTRAINTS ALL IMMEDIATE; COMMIT",
        "CREATE TABLE stays (n int); DROP TABLE pg_temp.devinprod_rehearsal; COMMIT",
        "CREATE TABLE stays (n int); ROLLBACK; CREATE TABLE stays2 (n int)",
        "CREATE TABLE stays (n int); SAVEPOINT a; ROLLBACK TO a; RELEASE a; COMMIT AND CHAIN",
        "CREATE TABLE stays (n int); RESET ROLE; SET SESSION AUTHORIZATION DEFAULT; END",
    ] {
        for autocommit in [false, true] {
            let options = Options {
                autocommit,
                ..Options::default()
            };
            // Whatever it says of it.
            let _ = rehearse(&address, script, &options).await;
            assert!(harness::dump(&database).await == before, "{script}");
        }
    }
}

#[tokio::test]
async fn what_is_deferred_is_checked_where_it_would_be() {
    let (database, address) = owned(harness::database().await).await;
    let orphan = "INSERT INTO orders (account_id, total) VALUES (4711, 1);\n";
    for (script, line) in [
        (format!("{orphan}SELECT 1"), 2),
        (format!("BEGIN;\n{orphan}COMMIT;\nSELECT 1"), 3),
        (
            format!("{orphan}SET CONSTRAINTS ALL IMMEDIATE;\nSELECT 1"),
            2,
        ),
    ] {
        let report = rehearsed(&address, &script).await;
        let failed = report
            .statements
            .iter()
            .find(|statement| matches!(statement.outcome, Outcome::Failed(_)));
        let failed = failed.unwrap_or_else(|| panic!("{report:#?}"));
        assert_eq!(failed.line, line, "{script}");
        assert!(matches!(&failed.outcome, Outcome::Failed(f) if f.sqlstate == "23503"));
    }
    let mended = format!(
        "{orphan}INSERT INTO accounts (id, email, name) VALUES (4711, 'a', 'b');\nCOMMIT;\n{orphan}"
    );
    assert!(rehearsed(&address, &mended).await.worked);
    drop(database);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_is_protected() {
    let (database, address) = owned(harness::database().await).await;
    // It does not wait for others for long …
    let mut other = database.connect().await;
    let busy = other.transaction().await.unwrap();
    busy.batch_execute("UPDATE accounts SET name = 'x' WHERE id = 1")
        .await
        .unwrap();
    let options = Options {
        lock_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    let report = rehearse(&address, "ALTER TABLE accounts ADD n int", &options)
        .await
        .unwrap();
    assert_eq!(failed(&report).1.sqlstate, "55P03");
    busy.rollback().await.unwrap();

    // … nor do others for it …
    let options = Options {
        block_limit: Duration::from_millis(300),
        ..Options::default()
    };
    let waiter = tokio::spawn(async move {
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'accounts'::regclass AND mode = 'AccessExclusiveLock'";
        while harness::scalar(&other, locked).await == "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        other.batch_execute("SELECT count(*) FROM accounts").await
    });
    let script = "ALTER TABLE accounts ADD n int; SELECT pg_sleep(30)";
    let report = rehearse(&address, script, &options).await.unwrap();
    assert_eq!(failed(&report).1.sqlstate, "57014");
    assert_eq!(report.waited, 1);
    assert!(report.ended.unwrap().contains("waited"));
    waiter.await.unwrap().unwrap();

    // … and it ends in time.
    let options = Options {
        time_limit: Duration::from_millis(500),
        ..Options::default()
    };
    let report = rehearse(&address, "SELECT pg_sleep(30)", &options)
        .await
        .unwrap();
    assert_eq!(failed(&report).1.sqlstate, "57014");

    // A superuser is not let near it, unless another role does the work.
    let superuser: Address = database.url.parse().unwrap();
    let refused = rehearse(&superuser, "SELECT 1", &Options::default()).await;
    assert!(refused.unwrap_err().hint().unwrap().contains("--as"));
    let options = Options {
        role: Some(format!("{}_owner", database.name)),
        ..Options::default()
    };
    let report = rehearse(&superuser, "ALTER TABLE accounts ADD n int", &options)
        .await
        .unwrap();
    assert!(report.worked && report.role.ends_with("_owner"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_prints_a_report_and_its_verdict() {
    let (database, _) = owned(harness::database().await).await;
    let owner = format!("{}_owner", database.name);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("migration.sql");
    let run = |sql: &str, format: &str| {
        std::fs::write(&file, sql).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_devinprod"))
            .arg("rehearse")
            .arg(&file)
            .args(["--format", format])
            .env("DEVINPROD_OWNER_URL", database.url_as(&owner, "secret"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, out, _) = run("ALTER TABLE accounts ADD n int;", "text");
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("it works") && out.contains("AccessExclusiveLock"),
        "{out}"
    );
    let (code, out, _) = run(
        "ALTER TABLE accounts ADD UNIQUE (balance), ADD n int NOT NULL;",
        "json",
    );
    assert_eq!(code, Some(1), "{out}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        report["statements"][0]["outcome"]["failed"]["sqlstate"],
        "23502"
    );
    let (code, _, error) = run("\\d accounts", "text");
    assert_eq!(code, Some(2));
    assert!(
        error.contains("line 1") && !error.contains("secret"),
        "{error}"
    );
}

/// A migration tool as there are many: it looks what has run, does the rest, and keeps account of it.
const TOOL: &str = r#"
set -e
ask() { psql "$DATABASE_URL" -XAtq -v ON_ERROR_STOP=1 -c "$1"; }
[ "$(ask 'SELECT count(*) FROM accounts')" = 0 ] || { echo "rows of the real data" >&2; exit 9; }
[ "$(ask 'SELECT max(version) FROM schema_migrations')" = 41 ] || exit 8
psql "$DATABASE_URL" -Xq -v ON_ERROR_STOP=1 <<'SQL'
BEGIN;
ALTER TABLE accounts ADD COLUMN nickname text;
UPDATE accounts SET nickname = name WHERE id <= 5;
INSERT INTO schema_migrations VALUES ($$42$$);
COMMIT;
CREATE INDEX CONCURRENTLY accounts_nickname ON accounts (nickname);
SQL
"#;

#[tokio::test]
async fn a_migration_tool_runs_on_a_copy_and_what_it_did_is_rehearsed() {
    let (database, _) = owned(harness::database().await).await;
    let admin = database.connect().await;
    let owner = format!("{}_owner", database.name);
    admin
        .batch_execute(&format!(
            "CREATE TABLE schema_migrations (version text PRIMARY KEY);
            ALTER TABLE schema_migrations OWNER TO {owner};
            INSERT INTO schema_migrations VALUES ('41');
            GRANT SELECT ON ALL TABLES IN SCHEMA public TO {owner}"
        ))
        .await
        .unwrap();
    let before = harness::dump(&database).await;
    let run = |tool: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_devinprod"))
            .args(["rehearse", "--format", "json", "--", "sh", "-c", tool])
            .env("DEVINPROD_OWNER_URL", database.url_as(&owner, "secret"))
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, out, error) = run(TOOL);
    assert_eq!(code, Some(0), "{out}{error}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let texts: Vec<(&str, u64)> = report["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["text"].as_str().unwrap(),
                one["rows_changed"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        texts,
        [
            ("BEGIN", 0),
            ("ALTER TABLE accounts ADD COLUMN nickname text", 0),
            // On the real rows.
            ("UPDATE accounts SET nickname = name WHERE id <= ?", 5),
            ("INSERT INTO schema_migrations VALUES (?)", 1),
            ("COMMIT", 0),
            (
                "CREATE INDEX CONCURRENTLY accounts_nickname ON accounts (nickname)",
                0
            ),
        ]
    );
    assert_eq!(before, harness::dump(&database).await);
    // Where the tool fails, nothing is rehearsed.
    let (code, _, error) = run("exit 3");
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.contains("failed with 3") && !error.contains("secret"),
        "{error}"
    );
}
