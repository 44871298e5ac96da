//! What drivers do with messages that plain SQL never shows: found with psycopg and asyncpg.

use std::time::Duration;

use super::harness::wire::{Client, transcript};
use super::uncommitted;

#[tokio::test]
async fn a_cursor_is_a_portal() {
    uncommitted(|proxy| async move {
        let mut client = Client::connect(&proxy.url()).await;
        client.simple("BEGIN; DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 3) AS n").await;
        client.describe(b'P', "walk").execute("walk", 2).close(b'P', "walk").sync();
        assert_eq!(
            transcript(&client.run().await),
            "RowDescription n:23\nDataRow \"1\"\nDataRow \"2\"\nPortalSuspended\nCloseComplete\nReadyForQuery T\n"
        );
        let gone = client.simple("FETCH 1 FROM walk").await;
        assert!(gone.starts_with("ErrorResponse ERROR 34000: cursor \"walk\" does not exist"), "{gone}");
    })
    .await;
}

#[tokio::test]
async fn a_prepared_fetch_serves_the_next_cursor_of_that_name() {
    uncommitted(|proxy| async move {
        let mut client = Client::connect(&proxy.url()).await;
        let declare = |n: i32| format!("BEGIN; DECLARE walk CURSOR FOR SELECT {n} AS n");
        client.simple(&declare(1)).await;
        client.parse("fetch", "FETCH 1 FROM walk", &[]).sync();
        client.run().await;
        for n in 1..=2 {
            client.bind("", "fetch", &[]).execute("", 0).sync();
            let answer = transcript(&client.run().await);
            assert!(answer.contains(&format!("DataRow \"{n}\"")), "{answer}");
            client.simple("COMMIT").await;
            client.simple(&declare(n + 1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_is_only_prepared_keeps_nobody_waiting() {
    uncommitted(|proxy| async move {
        let mut one = Client::connect(&proxy.url()).await;
        one.parse("s", "SELECT $1::int4 + 1 AS n", &[])
            .describe(b'S', "s")
            .flush();
        let prepared = transcript(&one.run_until(b"T").await);
        assert_eq!(
            prepared,
            "ParseComplete\nParameterDescription [23]\nRowDescription n:23\n"
        );
        let mut two = Client::connect(&proxy.url()).await;
        let other = tokio::time::timeout(Duration::from_secs(5), two.simple("SELECT 2 AS n")).await;
        assert!(
            other
                .expect("it waits for the first")
                .contains("DataRow \"2\"")
        );
        one.bind("", "s", &[Some("41")]).execute("", 0).sync();
        let answer = transcript(&one.run().await);
        assert_eq!(
            answer,
            "BindComplete\nDataRow \"42\"\nCommandComplete SELECT 1\nReadyForQuery I\n"
        );
    })
    .await;
}

#[tokio::test]
async fn a_prepare_that_fails_is_skipped_to_its_sync() {
    uncommitted(|proxy| async move {
        let mut client = Client::connect(&proxy.url()).await;
        client.parse("s", "SELECT nothing_like_it", &[]).flush();
        let failed = transcript(&client.run_until(b"E").await);
        assert!(failed.starts_with("ErrorResponse ERROR 42703"), "{failed}");
        client.bind("", "s", &[]).execute("", 0).sync();
        assert_eq!(transcript(&client.run().await), "ReadyForQuery I\n");
        assert!(
            client
                .simple("SELECT 1 AS n")
                .await
                .contains("DataRow \"1\"")
        );
    })
    .await;
}

#[tokio::test]
async fn listen_and_notify_in_a_block_that_only_read() {
    uncommitted(|proxy| async move {
        let mut listener = Client::connect(&proxy.url()).await;
        listener.simple("BEGIN").await;
        listener.simple("SELECT 1").await;
        listener.simple("LISTEN news").await;
        listener.simple("COMMIT").await;
        let mut sender = Client::connect(&proxy.url()).await;
        sender.simple("BEGIN").await;
        sender.simple("SELECT pg_notify('news', 'once')").await;
        sender.simple("COMMIT").await;
        sender.simple("NOTIFY news, 'last'").await;
        let mut heard = String::new();
        while !heard.contains("last") {
            heard.push_str(&transcript(&listener.run_until(b"A").await));
        }
        assert_eq!(heard.matches("once").count(), 1, "{heard}");
    })
    .await;
}

#[tokio::test]
async fn set_local_is_reported_as_over_at_the_commit() {
    uncommitted(|proxy| async move {
        let mut client = Client::connect(&proxy.url()).await;
        client.simple("SET TimeZone = 'Asia/Tokyo'").await;
        client.simple("BEGIN").await;
        client.simple("SET LOCAL TimeZone = 'Europe/Rome'").await;
        assert_eq!(client.parameters["TimeZone"], "Europe/Rome");
        client.simple("COMMIT").await;
        assert_eq!(client.parameters["TimeZone"], "Asia/Tokyo");
    })
    .await;
}
