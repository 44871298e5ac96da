//! tokio-postgres and sqlx with its pool.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::harness::{self, scalar};
use super::uncommitted;

#[tokio::test]
async fn tokio_postgres_works_fails_and_recovers() {
    uncommitted(|proxy| async move {
        let mut client = harness::connect(&proxy.url()).await;
        client
            .batch_execute("CREATE TABLE notes (id serial PRIMARY KEY, title text UNIQUE)")
            .await
            .unwrap();
        let add = client
            .prepare("INSERT INTO notes (title) VALUES ($1) RETURNING id")
            .await
            .unwrap();
        let first: i32 = client.query_one(&add, &[&"a"]).await.unwrap().get(0);
        let mut block = client.transaction().await.unwrap();
        block.execute(&add, &[&"b"]).await.unwrap();
        {
            let nested = block.transaction().await.unwrap();
            let error = nested.execute(&add, &[&"a"]).await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
            nested.rollback().await.unwrap();
        }
        let portal = block
            .bind("SELECT title FROM notes ORDER BY id", &[])
            .await
            .unwrap();
        assert_eq!(block.query_portal(&portal, 1).await.unwrap().len(), 1);
        assert_eq!(block.query_portal(&portal, 5).await.unwrap().len(), 1);
        block.commit().await.unwrap();
        let error = client
            .query("SELECT 1/$1::int4", &[&0_i32])
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
        let dropped = client.transaction().await.unwrap();
        dropped.execute(&add, &[&"never"]).await.unwrap();
        drop(dropped);
        assert_eq!(
            scalar(
                &client,
                "SELECT string_agg(title, ',' ORDER BY id) FROM notes"
            )
            .await,
            "a,b"
        );
        assert_eq!(first, 1);
    })
    .await;
}

#[tokio::test]
async fn tokio_postgres_copies_both_ways() {
    uncommitted(|proxy| async move {
        let client = harness::connect(&proxy.url()).await;
        client
            .batch_execute("CREATE TABLE lines (n int, t text)")
            .await
            .unwrap();
        let sink = client.copy_in("COPY lines FROM STDIN").await.unwrap();
        futures::pin_mut!(sink);
        for n in 0..2000 {
            sink.send(Bytes::from(format!("{n}\tline {n}\n")))
                .await
                .unwrap();
        }
        assert_eq!(sink.finish().await.unwrap(), 2000);
        let out = client
            .copy_out("COPY lines TO STDOUT (FORMAT csv)")
            .await
            .unwrap();
        let bytes: Vec<Bytes> = out.try_collect().await.unwrap();
        let lines: usize = bytes
            .iter()
            .map(|b| b.iter().filter(|b| **b == b'\n').count())
            .sum();
        assert_eq!(lines, 2000);
        let sink = client
            .copy_in::<_, Bytes>("COPY lines FROM STDIN")
            .await
            .unwrap();
        futures::pin_mut!(sink);
        sink.send(Bytes::from_static(b"no number\tx\n"))
            .await
            .unwrap();
        let error = sink.finish().await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INVALID_TEXT_REPRESENTATION));
        assert_eq!(scalar(&client, "SELECT count(*) FROM lines").await, "2000");
    })
    .await;
}

#[tokio::test]
async fn tokio_postgres_cancels() {
    uncommitted(|proxy| async move {
        let client = harness::connect(&proxy.url()).await;
        let other = harness::connect(&proxy.url()).await;
        let token = client.cancel_token();
        let (slept, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(20)"), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            token.cancel_query(NoTls).await.unwrap();
        });
        assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
        assert_eq!(scalar(&client, "SELECT 1").await, "1");
        assert_eq!(scalar(&other, "SELECT 1").await, "1");
    })
    .await;
}

#[tokio::test]
async fn data_outlives_the_application_until_a_reset() {
    uncommitted(|proxy| async move {
        let (client, connection) = tokio_postgres::connect(&proxy.url(), NoTls).await.unwrap();
        let running = tokio::spawn(connection);
        client
            .batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
            .await
            .unwrap();
        client
            .batch_execute("BEGIN; INSERT INTO kept VALUES (8)")
            .await
            .unwrap();
        // Killed: the socket is closed with no word of farewell.
        running.abort();
        let _ = running.await;
        let again = harness::connect(&proxy.url()).await;
        assert_eq!(
            scalar(&again, "SELECT string_agg(n::text, ',') FROM kept").await,
            "7"
        );
        let console = harness::connect(&proxy.url().replace("/app", "/devinprod")).await;
        console.simple_query("RESET SANDBOX default").await.unwrap();
        let told = again.simple_query("SELECT 1").await.unwrap_err();
        assert_eq!(told.code(), Some(&SqlState::ADMIN_SHUTDOWN));
        assert_eq!(
            scalar(&again, "SELECT coalesce(to_regclass('kept')::text, 'gone')").await,
            "gone"
        );
    })
    .await;
}

#[tokio::test]
async fn sqlx_and_its_pool_of_ten() {
    uncommitted(|proxy| async move {
        let pool = PgPoolOptions::new()
            .min_connections(10)
            .max_connections(10)
            .acquire_timeout(Duration::from_secs(30))
            .connect(&proxy.url())
            .await
            .unwrap();
        pool.execute("CREATE TABLE jobs (id serial PRIMARY KEY, worker int, step int)")
            .await
            .unwrap();
        let workers = (0..10).map(|worker| {
            let pool = pool.clone();
            async move {
                for step in 0..8 {
                    let mut block = pool.begin().await.unwrap();
                    sqlx::query("INSERT INTO jobs (worker, step) VALUES ($1, $2)")
                        .bind(worker)
                        .bind(step)
                        .execute(&mut *block)
                        .await
                        .unwrap();
                    block.commit().await.unwrap();
                    // Another connection of the pool, most likely.
                    let seen: i64 =
                        sqlx::query_scalar("SELECT count(*) FROM jobs WHERE worker = $1")
                            .bind(worker)
                            .fetch_one(&pool)
                            .await
                            .unwrap();
                    assert_eq!(seen, i64::from(step) + 1);
                }
            }
        });
        futures::future::join_all(workers).await;
        let rows = sqlx::query("SELECT worker, count(*) FROM jobs GROUP BY worker")
            .fetch_all(&pool)
            .await
            .unwrap();
        assert!(rows.len() == 10 && rows.iter().all(|row| row.get::<i64, _>(1) == 8));
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn sqlx_fails_recovers_and_listens() {
    uncommitted(|proxy| async move {
        let mut db = PgConnection::connect(&proxy.url()).await.unwrap();
        db.execute("CREATE TABLE marks (n int PRIMARY KEY)")
            .await
            .unwrap();
        let mut block = db.begin().await.unwrap();
        block.execute("INSERT INTO marks VALUES (1)").await.unwrap();
        let mut nested = block.begin().await.unwrap();
        let error = nested
            .execute("INSERT INTO marks VALUES (1)")
            .await
            .unwrap_err();
        assert!(error.as_database_error().unwrap().is_unique_violation());
        nested.rollback().await.unwrap();
        block.execute("INSERT INTO marks VALUES (2)").await.unwrap();
        block.commit().await.unwrap();
        drop(db.begin().await.unwrap());
        let sum: i64 = sqlx::query_scalar("SELECT sum(n) FROM marks")
            .fetch_one(&mut db)
            .await
            .unwrap();
        assert_eq!(sum, 3);

        let mut listener = PgListener::connect(&proxy.url()).await.unwrap();
        listener.listen("marks").await.unwrap();
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind("marks")
            .bind("done")
            .execute(&mut db)
            .await
            .unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await;
        assert_eq!(heard.expect("no notification").unwrap().payload(), "done");
    })
    .await;
}
