//! What a client's operation costs upstream, counted on the wire: round trips, and savepoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{self, Setup, wire::Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What went by, from the sandbox's connection to Postgres.
#[derive(Debug, Default)]
struct Seen {
    /// Sync and Flush messages: each is waited for.
    round_trips: AtomicUsize,
    savepoints: AtomicUsize,
}

impl Seen {
    fn take(&self) -> (usize, usize) {
        (
            self.round_trips.swap(0, Ordering::SeqCst),
            self.savepoints.swap(0, Ordering::SeqCst),
        )
    }

    fn look(&self, tag: u8, body: &[u8]) {
        match tag {
            b'S' | b'H' => self.round_trips.fetch_add(1, Ordering::SeqCst),
            b'P' if body.starts_with(b"\0SAVEPOINT ") => {
                self.savepoints.fetch_add(1, Ordering::SeqCst)
            }
            _ => 0,
        };
    }
}

/// Forwards to Postgres' port, and counts what sandboxes send. Returns its own port.
async fn counter(port: u16, seen: Arc<Seen>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut first = true;
                let mut counted = false;
                let mut input = bytes::BytesMut::new();
                while from_client.read_buf(&mut input).await.is_ok_and(|n| n > 0) {
                    loop {
                        let head = usize::from(!first);
                        let Some(length) = input.get(head..head + 4) else {
                            break;
                        };
                        let total = head + u32::from_be_bytes(length.try_into().unwrap()) as usize;
                        if input.len() < total {
                            break;
                        }
                        let frame = input.split_to(total);
                        if first {
                            // The administrative connection of the proxy is not a sandbox's.
                            counted = !String::from_utf8_lossy(&frame).contains("_proxy\0");
                            first = false;
                        } else if counted {
                            seen.look(frame[0], &frame[5..]);
                        }
                        if to_server.write_all(&frame).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    own
}

#[tokio::test]
async fn operations_cost_one_round_trip_and_reads_no_savepoint() {
    let seen = Arc::new(Seen::default());
    let mut database = harness::database().await;
    database.port = counter(database.port, seen.clone()).await;
    let proxy = harness::proxy_with(database, Setup::default()).await;
    let mut client = Client::connect(&proxy.url()).await;
    client
        .simple("UPDATE accounts SET name = name WHERE id = 1")
        .await;
    client.simple("SELECT 1").await;
    seen.take();

    for _ in 0..5 {
        client.simple("SELECT count(*) FROM accounts").await;
        assert_eq!(seen.take(), (1, 0), "a read in the simple protocol");
        client.extended("SELECT $1::int", &[Some("1")]).await;
        assert_eq!(seen.take(), (1, 0), "a read in the extended protocol");
        client
            .simple("UPDATE accounts SET name = 'x' WHERE id = 1")
            .await;
        assert_eq!(seen.take(), (1, 1), "a write of its own");
    }

    client.simple("BEGIN").await;
    client.simple("SELECT 1").await;
    client.simple("SELECT 2").await;
    client.simple("COMMIT").await;
    let (trips, savepoints) = seen.take();
    assert!(trips <= 4, "{trips} round trips of a block that reads");
    assert_eq!(savepoints, 0, "a block that reads");

    client.simple("BEGIN").await;
    client
        .simple("UPDATE accounts SET name = 'y' WHERE id = 1")
        .await;
    client
        .simple("UPDATE accounts SET name = 'z' WHERE id = 2")
        .await;
    client.simple("COMMIT").await;
    let (trips, savepoints) = seen.take();
    assert!(trips <= 4, "{trips} round trips of a block that writes");
    assert_eq!(savepoints, 1, "a block that writes");
}

#[tokio::test]
async fn a_sandbox_in_which_nothing_is_alive_holds_nothing() {
    let proxy = harness::proxy().await;
    let witness = harness::second_connection(&proxy.database).await;
    let held = format!(
        "SELECT count(*) || ' ' || count(backend_xid) || ' ' || count(backend_xmin) FROM pg_stat_activity
         WHERE datname = '{0}' AND starts_with(usename, '{0}_') AND usename <> '{0}_proxy'",
        proxy.database.name
    );
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("SELECT count(*) FROM accounts").await;
    client.extended("SELECT * FROM orders", &[]).await;
    assert_eq!(
        harness::scalar(&witness, &held).await,
        "1 0 0",
        "after reads"
    );

    client.simple("BEGIN").await;
    client
        .simple("DECLARE c CURSOR FOR SELECT * FROM orders")
        .await;
    client.simple("FETCH c").await;
    client.simple("ROLLBACK").await;
    assert_eq!(
        harness::scalar(&witness, &held).await,
        "1 0 0",
        "after a cursor was rolled back"
    );

    client.simple("BEGIN").await;
    client.simple("UPDATE accounts SET name = 'x'").await;
    assert!(
        harness::scalar(&witness, &held).await.starts_with("1 1"),
        "while a write is alive"
    );
    client.simple("ROLLBACK").await;
    assert_eq!(
        harness::scalar(&witness, &held).await,
        "1 0 0",
        "after everything was rolled back"
    );
}
