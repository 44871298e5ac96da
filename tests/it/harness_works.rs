//! The harness itself: if it were wrong, the other tests would prove nothing.

use crate::harness::{self, wire};

#[tokio::test]
async fn databases_are_fresh_and_dumps_see_changes() {
    let one = harness::database().await;
    let other = harness::database().await;
    assert_ne!(one.name, other.name);
    check_dump(&one).await;
    assert_eq!(
        harness::scalar(&other.connect().await, "SELECT count(*) FROM accounts").await,
        "20"
    );
}

#[tokio::test]
async fn postgres_18_serves_too_where_it_is_installed() {
    let Some(database) = harness::postgres18().await else {
        eprintln!("Postgres 18 is not at hand: `.ci/pg` installs it");
        return;
    };
    check_dump(&database).await;
    let version = harness::scalar(&database.connect().await, "SHOW server_version").await;
    assert!(version.starts_with("18"), "{version}");
}

async fn check_dump(database: &harness::TestDatabase) {
    let before = harness::dump(database).await;
    assert!(before.contains("person7@example.com"));
    assert!(before.contains("orders_account_fk"));
    let client = harness::second_connection(database).await;

    client
        .batch_execute("SELECT nextval('ticket_numbers')")
        .await
        .unwrap();
    assert_eq!(harness::dump(database).await, before);
    for change in [
        "UPDATE accounts SET name = 'changed' WHERE id = 3",
        "ALTER TABLE orders ADD note text",
        "GRANT SELECT ON orders TO PUBLIC",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT lo_from_bytea(0, 'abc')",
    ] {
        let before = harness::dump(database).await;
        client.batch_execute(change).await.unwrap();
        assert_ne!(harness::dump(database).await, before, "{change}");
    }
}

#[tokio::test]
async fn the_raw_client_shows_what_the_server_says() {
    let database = harness::database().await;
    let mut client = wire::Client::connect(&database.url).await;
    assert_eq!(client.parameters["server_encoding"], "UTF8");
    assert_ne!(client.process, 0);
    assert_eq!(
        client
            .simple("SELECT id, email, NULL AS n FROM accounts WHERE id = 2; SELEC 1")
            .await,
        "ErrorResponse ERROR 42601: syntax error at or near \"SELEC\"; position: 57\n\
         ReadyForQuery I\n"
    );
    assert_eq!(
        client
            .extended(
                "SELECT id, email, NULL AS n FROM accounts WHERE id = $1",
                &[Some("2")]
            )
            .await,
        "ParseComplete\nBindComplete\n\
         RowDescription id:20@1 email:1043(124)@2 n:25\n\
         DataRow \"2\" \"person2@example.com\" NULL\n\
         CommandComplete SELECT 1\nReadyForQuery I\n"
    );
    assert_eq!(
        client.simple("BEGIN; BEGIN").await,
        "CommandComplete BEGIN\n\
         NoticeResponse WARNING 25001: there is already a transaction in progress\n\
         CommandComplete BEGIN\nReadyForQuery T\n"
    );
    client.simple("ROLLBACK").await;

    client.query("COPY order_log FROM STDIN");
    assert_eq!(
        wire::transcript(&client.run_until(b"GZ").await),
        "CopyInResponse 0\n"
    );
    client.copy_data(b"1\tby copy\n").copy_done();
    assert_eq!(
        wire::transcript(&client.run().await),
        "CommandComplete COPY 1\nReadyForQuery I\n"
    );
    client.terminate().send().await;
    assert_eq!(client.read().await, None);
}

#[tokio::test]
async fn the_raw_client_tells_why_it_was_refused() {
    let database = harness::database().await;
    let wrong = database.url_as("postgres", "wrong");
    let refused = wire::Client::try_connect(&wrong, &[]).await.err().unwrap();
    assert_eq!(refused.unwrap().field(b'C').as_deref(), Some("28P01"));
}

#[tokio::test]
async fn an_own_cluster_can_be_killed() {
    let (mut cluster, database) = harness::own_cluster().await;
    let before = harness::dump(&database).await;
    cluster.kill().unwrap();
    assert!(
        tokio_postgres::connect(&database.url, tokio_postgres::NoTls)
            .await
            .is_err()
    );
    cluster.restart().await.unwrap();
    assert_eq!(harness::dump(&database).await, before);
}
