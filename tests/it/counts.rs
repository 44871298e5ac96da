//! What a client's operation costs upstream, counted on the wire: round trips, and savepoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{self, Setup, wire::Client};
use crate::masked_kit::{Closed, masked_proxy};
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

/// A proxy whose sandboxes' messages are counted, and a client whose sandbox has begun.
async fn counted() -> (Arc<Seen>, harness::Proxy, Client) {
    counted_with(&[]).await
}

/// The same, with these columns behind masks.
async fn counted_with(closed: &[Closed]) -> (Arc<Seen>, harness::Proxy, Client) {
    let seen = Arc::new(Seen::default());
    let mut database = harness::database().await;
    database.port = counter(database.port, seen.clone()).await;
    let proxy = match closed {
        [] => harness::proxy_with(database, Setup::default()).await,
        closed => masked_proxy(database, closed, Setup::default()).await,
    };
    let mut client = Client::connect(&proxy.url()).await;
    client
        .simple("UPDATE accounts SET name = name WHERE id = 1")
        .await;
    client.simple("SELECT 1").await;
    seen.take();
    (seen, proxy, client)
}

#[tokio::test]
async fn operations_cost_one_round_trip_and_reads_no_savepoint() {
    let (seen, _proxy, mut client) = counted().await;
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

    let block = [
        ("BEGIN", (0, 0)),
        ("SELECT 1", (1, 0)),
        ("SELECT 2", (1, 0)),
        ("COMMIT", (1, 0)),
    ];
    let writing = [
        ("BEGIN", (0, 0)),
        ("UPDATE accounts SET name = 'y' WHERE id = 1", (1, 0)),
        ("UPDATE accounts SET name = 'z' WHERE id = 2", (1, 0)),
        ("COMMIT", (1, 1)),
    ];
    let undone = [
        ("BEGIN", (0, 0)),
        ("UPDATE accounts SET name = 'y' WHERE id = 1", (1, 0)),
        ("SELECT 1/0", (1, 0)),
        ("SELECT 1", (0, 0)),
        ("ROLLBACK", (1, 0)),
        // The ROLLBACK TO behind an error in autocommit rides ahead of the next statement.
        ("SELECT 1/0", (1, 0)),
        ("SELECT 1", (1, 0)),
    ];
    for transcript in [&block[..], &writing, &undone] {
        for (statement, cost) in transcript {
            client.simple(statement).await;
            assert_eq!(seen.take(), *cost, "{statement} of {transcript:?}");
        }
    }
}

#[tokio::test]
async fn a_prepared_statement_costs_one_round_trip_each_time() {
    let (seen, _proxy, mut client) = counted().await;
    let read = "SELECT name FROM accounts WHERE id = $1::int";
    let write = "UPDATE accounts SET name = 'p' WHERE id = $1::int";
    client.parse("read", read, &[]).parse("write", write, &[]);
    client.describe(b'S', "read").sync().run().await;
    assert_eq!(seen.take(), (1, 0), "Parse, Parse, Describe");
    for _ in 0..3 {
        for (name, cost) in [("read", (1, 0)), ("write", (1, 1))] {
            client.bind("", name, &[Some("1")]).describe(b'P', "");
            client.execute("", 0).sync().run().await;
            assert_eq!(seen.take(), cost, "{name}");
        }
    }
    // A pipeline in front of one Sync is one round trip, too.
    for _ in 0..20 {
        client.bind("", "read", &[Some("1")]).execute("", 0);
    }
    client.sync().run().await;
    assert_eq!(seen.take(), (1, 0), "a pipeline of reads");
}

#[tokio::test]
async fn a_query_of_several_statements_is_asked_about_once() {
    let (seen, _proxy, mut client) = counted().await;
    let several = "SELECT 1; SELECT 2; SELECT 3";
    client.simple(several).await;
    // The question, in a savepoint of its own, what undoes it, and then the statements.
    assert_eq!(
        seen.take(),
        (3, 1),
        "the first time its syntax is asked for"
    );
    client.simple(several).await;
    assert_eq!(seen.take(), (1, 0), "from then on");
}

#[tokio::test]
async fn masked_tables_cost_no_round_trip_more() {
    let closed = [Closed::shown("accounts.email", "'masked'")];
    let (seen, _proxy, mut client) = counted_with(&closed).await;
    client
        .parse("s", "SELECT email FROM accounts WHERE id = $1", &[])
        .describe(b'S', "s")
        .sync();
    client.run().await;
    assert_eq!(seen.take(), (1, 0), "Parse and Describe");
    for id in 101..104 {
        let read = client.simple("SELECT email FROM accounts").await;
        assert!(read.contains("\"masked\""), "{read}");
        assert_eq!(seen.take(), (1, 0), "a read in the simple protocol");
        client
            .extended("SELECT email FROM accounts WHERE id = $1", &[Some("1")])
            .await;
        assert_eq!(seen.take(), (1, 0), "a read in the extended protocol");
        client.bind("", "s", &[Some("1")]).execute("", 0).sync();
        client.run().await;
        assert_eq!(seen.take(), (1, 0), "a prepared read");
        let insert = format!(
            "INSERT INTO accounts (id, email, name) VALUES ({id}, {id}, 'n') RETURNING email"
        );
        let returned = client.simple(&insert).await;
        assert!(returned.contains("\"masked\""), "{returned}");
        assert_eq!(seen.take(), (1, 1), "RETURNING in the simple protocol");
        client
            .extended(
                "UPDATE accounts SET email = $1 WHERE id = 101 RETURNING email",
                &[Some("x")],
            )
            .await;
        assert_eq!(seen.take(), (1, 1), "RETURNING in the extended protocol");
    }
    // What names mean is looked up again after DDL, by the next statement that names a masked relation.
    client.simple("BEGIN").await;
    client.simple("CREATE TEMP TABLE other (n int)").await;
    seen.take();
    client.simple("SELECT count(*) FROM orders").await;
    assert_eq!(seen.take(), (1, 0), "no masked relation is named");
    client.simple("SELECT email FROM accounts").await;
    assert_eq!(seen.take(), (2, 0), "one is");
    client.simple("SELECT email FROM accounts").await;
    assert_eq!(seen.take(), (1, 0), "again");
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
