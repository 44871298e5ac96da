//! The ways in which a client could try to make a sandbox commit, each as it would really be sent, and the protocol
//! traps that lie beside them. After each, a second connection finds nothing committed, and no upstream
//! connection of a sandbox is outside of its transaction.

use crate::harness::{self, Proxy, wire::Client};

/// What every attack writes first, and would like to keep.
const WRITE: &str = "UPDATE accounts SET name = 'kept' WHERE id = 1";

/// Statements that commit, or that something committing hides in.
const SMUGGLED: &[&str] = &[
    "COMMIT",
    "COMMIT; SELECT 1",
    "SELECT 1; COMMIT; SELECT 2",
    "ROLLBACK; UPDATE accounts SET name = 'kept'; COMMIT",
    "/* a */ COMMIT",
    "/* a /* nested */ b */ COMMIT -- c",
    "-- a comment\nCOMMIT",
    "\x0b\x0cCOMMIT",
    "\t\r\n COMMIT\n;\n",
    "CoMmIt WoRk",
    "END",
    "COMMIT AND CHAIN",
    "COMMIT PREPARED 'x'",
    "PREPARE TRANSACTION 'x'",
    "ABORT",
    "PREPARE c AS COMMIT",
    "PREPARE c AS SELECT 1; EXECUTE c; COMMIT",
    "DO $$ BEGIN COMMIT; END $$",
    "DO $$ BEGIN EXECUTE 'COMMIT'; END $$",
    "DO $$ BEGIN EXECUTE 'PREPARE TRANSACTION ''x'''; END $$",
    "CREATE PROCEDURE c() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$; CALL c()",
    "CREATE PROCEDURE c() LANGUAGE sql AS 'COMMIT'",
    "EXPLAIN ANALYZE COMMIT",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SET CONSTRAINTS ALL DEFERRED; COMMIT",
    "SET CONSTRAINTS devinprod.refuse_commit IMMEDIATE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET session_replication_role = replica",
    "DISCARD ALL",
    "DELETE FROM devinprod.commit_guard",
    "TRUNCATE devinprod.commit_guard",
    "DROP SCHEMA devinprod CASCADE",
    "DO $$ BEGIN DEALLOCATE ALL; END $$; COMMIT",
    "BEGIN; UPDATE accounts SET name = 'kept' WHERE id = 2; COMMIT",
    "VACUUM",
    "CREATE INDEX CONCURRENTLY ON accounts (name)",
];

async fn assert_nothing_kept(proxy: &Proxy, attack: &str) {
    let witness = harness::second_connection(&proxy.database).await;
    let kept = harness::scalar(
        &witness,
        "SELECT count(*) FROM accounts WHERE name = 'kept'",
    )
    .await;
    assert_eq!(kept, "0", "committed by {attack:?}");
    let outside = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{0}' AND state = 'idle'
         AND starts_with(usename, '{0}_') AND usename <> '{0}_proxy'",
        proxy.database.name
    );
    assert_eq!(
        harness::scalar(&witness, &outside).await,
        "0",
        "left its transaction: {attack:?}"
    );
}

#[tokio::test]
async fn no_smuggled_commit_commits() {
    let proxy = harness::proxy().await;
    let before = harness::dump(&proxy.database).await;
    for attack in SMUGGLED {
        let mut client = Client::connect(&proxy.url()).await;
        client.simple(WRITE).await;
        client.simple(attack).await;
        assert_nothing_kept(&proxy, attack).await;
        client.simple("ROLLBACK").await;
        client.extended(attack, &[]).await;
        assert_nothing_kept(&proxy, attack).await;
        client.simple("ROLLBACK").await;
        let answer = client.simple("SELECT 1").await;
        assert!(
            answer.contains("DataRow \"1\""),
            "after {attack:?}: {answer}"
        );
    }
    assert!(
        harness::dump(&proxy.database).await == before,
        "the dump differs"
    );
}

#[tokio::test]
async fn a_pipelined_rollback_does_not_free_what_follows() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("BEGIN").await;
    for sql in [WRITE, "ROLLBACK", WRITE, "COMMIT", "COMMIT", WRITE] {
        client.parse("", sql, &[]).bind("", "", &[]).execute("", 0);
    }
    client.sync();
    let answer = harness::wire::transcript(&client.run().await);
    assert_eq!(
        answer.matches("CommandComplete UPDATE 1").count(),
        3,
        "{answer}"
    );
    assert_nothing_kept(&proxy, "a pipelined ROLLBACK").await;
}

#[tokio::test]
async fn a_named_portal_of_commit_commits_nothing() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client.parse("c", "COMMIT", &[]).bind("p", "c", &[]).sync();
    client.run().await;
    client.simple(WRITE).await;
    client
        .bind("p", "c", &[])
        .execute("p", 0)
        .execute("p", 0)
        .sync();
    client.run().await;
    assert_nothing_kept(&proxy, "a portal").await;
}

#[tokio::test]
async fn a_function_call_is_refused_and_leaves_the_session_in_order() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    // pg_backend_pid() by its OID, no arguments, result as text.
    client.raw(b"F\0\0\0\x0e\0\0\x07\xea\0\0\0\0\0\0");
    let answer = harness::wire::transcript(&client.run().await);
    assert!(answer.starts_with("ErrorResponse ERROR 0A000"), "{answer}");
    assert!(client.simple("SELECT 1").await.contains("DataRow \"1\""));
}

#[tokio::test]
async fn a_session_survives_code_that_deallocates_its_names() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client.parse("s", "SELECT 'mine'", &[]).sync();
    client.run().await;
    client.simple("DO $$ BEGIN DEALLOCATE ALL; END $$").await;
    client.bind("", "s", &[]).execute("", 0).sync();
    client.run().await;
    client.simple(WRITE).await;
    assert!(
        client
            .simple("SELECT name FROM accounts WHERE id = 1")
            .await
            .contains("kept")
    );
    assert_nothing_kept(&proxy, "DEALLOCATE in DO").await;
}
