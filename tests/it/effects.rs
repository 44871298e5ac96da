//! What a rollback would not undo is refused, or kept inside the sandbox: seen from a session of the upstream
//! that does not come through the proxy.

use std::time::Duration;

use futures::StreamExt;
use tokio_postgres::{AsyncMessage, NoTls};

use super::chaos_kit::{sqlstate, state_of, value};
use super::harness::wire::Client;
use super::harness::{self, Proxy, Setup};

/// Each of these is refused with the SQLSTATE, says something of what to do where `said` asks for it, and
/// leaves the session usable; by simple and by extended protocol.
async fn check_refused(proxy: &Proxy, cases: &[(&str, &str, &str)]) {
    let mut client = Client::connect(&proxy.url()).await;
    for (sql, state, said) in cases {
        for extended in [false, true] {
            let told = if extended {
                client.extended(sql, &[]).await
            } else {
                client.simple(sql).await
            };
            assert!(
                told.contains(&format!("ErrorResponse ERROR {state}")),
                "{sql}: {told}"
            );
            assert!(told.contains(said), "{sql}: nothing of {said:?}: {told}");
            assert!(told.ends_with("ReadyForQuery I\n"), "{sql}: {told}");
        }
        assert_eq!(value(&mut client, "SELECT 'on'").await, "on", "{sql}");
    }
}

#[tokio::test]
async fn functions_that_reach_outside_are_refused() {
    let proxy = harness::proxy().await;
    let before = harness::dump(&proxy.database).await;
    check_refused(
        &proxy,
        &[
            ("SELECT pg_logical_emit_message(false, 'a', 'b')", "42501", "reaches outside"),
            ("SELECT * FROM pg_create_logical_replication_slot('s', 'pgoutput')", "42501", ""),
            ("SELECT pg_create_physical_replication_slot('s', true)", "42501", ""),
            ("SELECT pg_drop_replication_slot('s')", "42501", ""),
            ("SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t (n int)", "42501", ""),
            ("SELECT dblink_exec('dbname=postgres', 'DROP TABLE orders')", "42501", ""),
            ("SELECT lo_import('/etc/passwd')", "42501", ""),
            ("SELECT lo_export(1, '/tmp/exported')", "42501", ""),
            ("SELECT pg_read_file('/etc/passwd')", "42501", ""),
            ("SELECT pg_ls_dir('/')", "42501", ""),
            ("SELECT pg_terminate_backend(1)", "42501", ""),
            ("SELECT pg_cancel_backend(pid) FROM pg_stat_activity", "42501", ""),
            ("SELECT pg_reload_conf()", "42501", ""),
            ("SELECT pg_switch_wal()", "42501", ""),
            ("SELECT pg_stat_reset()", "42501", ""),
            ("SELECT setval('ticket_numbers', 1000)", "42501", ""),
            ("SELECT pg_catalog . \"pg_terminate_backend\" (1)", "42501", ""),
            ("SELECT U&\"pg\\005fterminate\\005fbackend\"(1)", "42501", ""),
            ("EXPLAIN ANALYZE SELECT pg_terminate_backend(1)", "42501", ""),
            ("WITH a AS (SELECT pg_logical_emit_message(true, 'a', 'b')) SELECT * FROM a", "42501", ""),
            ("COPY (SELECT pg_logical_emit_message(true, 'a', 'b')) TO STDOUT", "42501", ""),
            ("COPY orders TO '/tmp/orders'", "42501", "STDOUT"),
            ("COPY orders FROM '/etc/passwd'", "42501", "STDIN"),
            ("COPY orders TO PROGRAM 'cat'", "42501", "STDOUT"),
            ("COPY (SELECT 1) TO PROGRAM 'cat'", "42501", "STDOUT"),
            // Where the analysis does not look, the seal's privileges do.
            ("DO $$ BEGIN EXECUTE 'SELECT pg_logical_' || 'emit_message(true, ''a'', ''b'')'; END $$", "42501", ""),
            ("DO $$ BEGIN EXECUTE 'SELECT set' || 'val(''ticket_numbers'', 1000)'; END $$", "42501", ""),
            ("DO $$ BEGIN EXECUTE 'COPY orders TO ''/tmp/' || 'orders'''; END $$", "42501", ""),
            ("DO $$ BEGIN EXECUTE 'SELECT pg_create_physical_' || 'replication_slot(''s'')'; END $$", "42501", ""),
        ],
    )
    .await;
    let witness = proxy.database.connect().await;
    let slots = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(harness::scalar(&witness, slots).await, "0");
    assert!(
        harness::dump(&proxy.database).await == before,
        "the dump differs"
    );
}

#[tokio::test]
async fn what_cannot_run_in_a_transaction_is_refused_with_a_reason() {
    let proxy = harness::proxy().await;
    let reason = "one transaction that is never committed";
    let statements = [
        "CREATE DATABASE other",
        "DROP DATABASE postgres",
        "ALTER DATABASE postgres SET TABLESPACE pg_default",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "CREATE TABLESPACE t LOCATION '/tmp'",
        "DROP TABLESPACE t",
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
        "DROP SUBSCRIPTION s",
    ];
    let cases: Vec<_> = statements
        .iter()
        .map(|sql| (*sql, "0A000", reason))
        .collect();
    check_refused(&proxy, &cases).await;
    check_refused(
        &proxy,
        &[
            ("COMMIT PREPARED 'x'", "0A000", "two-phase"),
            ("ROLLBACK PREPARED 'x'", "0A000", "two-phase"),
            (
                "ALTER TABLE orders ADD COLUMN n int",
                "42501",
                "Objects that existed before the sandbox",
            ),
            (
                "DROP TABLE orders",
                "42501",
                "Objects that existed before the sandbox",
            ),
            (
                "CREATE INDEX ON orders (total)",
                "42501",
                "Objects that existed before the sandbox",
            ),
            ("ALTER ROLE postgres PASSWORD 'x'", "42501", ""),
            ("CREATE ROLE somebody", "42501", ""),
        ],
    )
    .await;
    let mut client = Client::connect(&proxy.url()).await;
    let prepared = client.simple("BEGIN; PREPARE TRANSACTION 'x'").await;
    assert!(prepared.contains("ERROR 0A000"), "{prepared}");
}

#[tokio::test]
async fn vacuum_and_concurrently_answer_with_a_notice() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    for (sql, tag) in [
        ("VACUUM", "VACUUM"),
        ("VACUUM ANALYZE orders", "VACUUM"),
        ("VACUUM (FULL) orders", "VACUUM"),
    ] {
        let told = client.simple(sql).await;
        assert!(
            told.contains("NoticeResponse NOTICE")
                && told.contains(&format!("CommandComplete {tag}\n")),
            "{sql}: {told}"
        );
    }
    client.simple("CREATE TABLE made (n int)").await;
    let told = client
        .simple("CREATE INDEX CONCURRENTLY made_n ON made (n)")
        .await;
    assert!(
        told.contains("NoticeResponse NOTICE") && told.contains("CommandComplete CREATE INDEX"),
        "{told}"
    );
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM pg_indexes WHERE indexname = 'made_n'"
        )
        .await,
        "1"
    );
}

#[tokio::test]
async fn notifications_stay_in_the_sandbox() {
    let proxy = harness::proxy().await;
    let (direct, mut connection) = tokio_postgres::connect(&proxy.database.url, NoTls)
        .await
        .unwrap();
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = heard.send(notification.payload().to_owned());
            }
        }
    });
    direct.batch_execute("LISTEN news").await.unwrap();
    let mut sender = Client::connect(&proxy.url()).await;
    let mut listener = Client::connect(&proxy.url()).await;
    listener.simple("LISTEN news").await;
    sender.simple("NOTIFY news, 'one'").await;
    sender.simple("SELECT pg_notify('news', 'two')").await;
    let told = sender
        .extended("SELECT pg_notify($1, $2)", &[Some("news"), Some("three")])
        .await;
    assert!(told.contains("CommandComplete SELECT 1"), "{told}");
    sender
        .simple("DO $$ BEGIN PERFORM pg_notify('news', 'hidden'); END $$")
        .await;
    sender
        .simple("BEGIN; SELECT 1; NOTIFY news, 'four'; COMMIT")
        .await;
    sender
        .simple("BEGIN; NOTIFY news, 'undone'; ROLLBACK")
        .await;
    // All of them come before the answer to a statement that is sent after them.
    let answers = listener.query("SELECT 1").run().await;
    let got: Vec<_> = answers
        .iter()
        .filter(|m| m.tag == b'A')
        .map(|m| m.line())
        .collect();
    let of = |payload: &str| format!("NotificationResponse news \"{payload}\"");
    assert_eq!(got, ["one", "two", "three", "four"].map(of));
    // The marker comes after anything that was sent before it.
    let marker = proxy.database.connect().await;
    marker.batch_execute("NOTIFY news, 'marker'").await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(10), hears.recv())
        .await
        .unwrap();
    assert_eq!(first.as_deref(), Some("marker"));
}

/// Runs SQL through the proxy, which succeeds, and then SQL directly, which must not have to wait.
async fn check_does_not_block(through: &str, direct: &str) {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let answers = client.query(&format!("BEGIN; {through}")).run().await;
    assert_eq!(sqlstate(&answers), "", "{through}");
    let witness = proxy.database.connect().await;
    let sql = format!(
        "BEGIN; SET LOCAL lock_timeout = '500ms'; SET LOCAL statement_timeout = '5s'; {direct}; ROLLBACK"
    );
    let done = witness.batch_execute(&sql).await;
    assert!(done.is_ok(), "{through} blocks {direct}: {done:?}");
}

#[tokio::test]
async fn other_sessions_of_the_upstream_are_not_locked_out() {
    for (through, direct) in [
        (
            "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE",
            "UPDATE orders SET total = 2 WHERE id = 1",
        ),
        (
            "LOCK TABLE orders, accounts",
            "INSERT INTO orders (account_id, total) VALUES (1, 1)",
        ),
        (
            "TRUNCATE order_log",
            "INSERT INTO order_log VALUES (1, 'x'); SELECT * FROM order_log",
        ),
        ("SELECT pg_advisory_lock(7)", "SELECT pg_advisory_lock(7)"),
        (
            "SELECT pg_advisory_xact_lock(7, 8)",
            "SELECT pg_advisory_xact_lock(7, 8)",
        ),
        (
            "SELECT nextval('ticket_numbers')",
            "SELECT nextval('ticket_numbers')",
        ),
        (
            "SELECT * FROM orders",
            "LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE",
        ),
    ] {
        check_does_not_block(through, direct).await;
    }
}

#[tokio::test]
async fn a_truncate_deletes_in_the_sandbox_alone() {
    let proxy = harness::proxy().await;
    let before = harness::dump(&proxy.database).await;
    let mut client = Client::connect(&proxy.url()).await;
    assert!(
        client
            .simple("TRUNCATE order_log")
            .await
            .contains("CommandComplete TRUNCATE TABLE")
    );
    assert_eq!(
        value(&mut client, "SELECT count(*) FROM order_log").await,
        "0"
    );
    let cascade = client.simple("TRUNCATE accounts CASCADE").await;
    if !cascade.contains("ErrorResponse") {
        assert_eq!(value(&mut client, "SELECT count(*) FROM orders").await, "0");
    }
    let witness = proxy.database.connect().await;
    assert_eq!(
        harness::scalar(&witness, "SELECT count(*) FROM order_log").await,
        "60"
    );
    assert!(
        harness::dump(&proxy.database).await == before,
        "the dump differs"
    );
}

#[tokio::test]
async fn sequences_get_gaps_and_nothing_else() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let first: i64 = value(&mut client, "SELECT nextval('ticket_numbers')")
        .await
        .parse()
        .unwrap();
    let witness = proxy.database.connect().await;
    let direct: i64 = harness::scalar(&witness, "SELECT nextval('ticket_numbers')")
        .await
        .parse()
        .unwrap();
    let second: i64 = value(&mut client, "SELECT nextval('ticket_numbers')")
        .await
        .parse()
        .unwrap();
    assert!(
        first < direct && direct < second,
        "{first} {direct} {second}"
    );
    assert_eq!(
        state_of(&mut client, "SELECT setval('ticket_numbers', 1)").await,
        "42501"
    );
    assert_eq!(
        state_of(&mut client, "ALTER SEQUENCE ticket_numbers RESTART").await,
        "42501"
    );
    let third: i64 = harness::scalar(&witness, "SELECT nextval('ticket_numbers')")
        .await
        .parse()
        .unwrap();
    assert!(third > second, "{second} {third}");
}

#[tokio::test]
async fn an_unsealed_upstream_refuses_by_analysis_what_its_superuser_could_do() {
    let setup = Setup {
        sealed: false,
        ..Setup::default()
    };
    let proxy = harness::proxy_with(harness::database().await, setup).await;
    let before = harness::dump(&proxy.database).await;
    check_refused(
        &proxy,
        &[
            (
                "SELECT pg_logical_emit_message(false, 'a', 'b')",
                "42501",
                "reaches outside",
            ),
            (
                "SELECT pg_create_physical_replication_slot('s', true)",
                "42501",
                "",
            ),
            ("SELECT lo_export(1, '/tmp/exported')", "42501", ""),
            ("SELECT pg_terminate_backend(1)", "42501", ""),
            ("COPY orders TO '/tmp/orders'", "42501", "STDOUT"),
            ("COPY (SELECT 1) TO PROGRAM 'cat'", "42501", "STDOUT"),
            ("ALTER SYSTEM SET work_mem = '1GB'", "0A000", ""),
            ("CREATE DATABASE other", "0A000", ""),
        ],
    )
    .await;
    let mut client = Client::connect(&proxy.url()).await;
    client
        .simple("DELETE FROM order_log; COMMIT; DROP TABLE open_orders")
        .await;
    client
        .simple("DROP VIEW open_orders; DROP TABLE order_log CASCADE; COMMIT AND CHAIN")
        .await;
    assert!(
        harness::dump(&proxy.database).await == before,
        "the dump differs"
    );
}

#[tokio::test]
async fn a_function_runs_in_a_read_only_block_of_a_fresh_sandbox() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin
        .batch_execute("CREATE FUNCTION nine() RETURNS int LANGUAGE sql AS 'SELECT 9'")
        .await
        .unwrap();
    let proxy = harness::proxy_with(database, Setup::default()).await;
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("BEGIN READ ONLY").await;
    let answer = client.simple("SELECT nine()").await;
    assert!(answer.contains("DataRow \"9\""), "{answer}");
    let answer = client.simple("DELETE FROM orders").await;
    assert!(
        answer.contains("25006: cannot execute DELETE in a read-only transaction"),
        "{answer}"
    );
}
