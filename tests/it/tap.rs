//! A tap changes nothing that passes, and tells what passed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use devinprod::tap::{Execution, Outcome, Seen, Sink, Tap};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::wire::{Client, transcript};
use super::harness::{self, scalar};

#[derive(Default)]
struct Kept(Mutex<Vec<Execution>>, Mutex<Vec<String>>);

impl Sink for Kept {
    fn seen(&self, seen: Seen) {
        match seen {
            Seen::Execution(execution) => self.0.lock().unwrap().push(*execution),
            Seen::Error { sqlstate, .. } => self.1.lock().unwrap().push(sqlstate),
        }
    }
}

impl Kept {
    fn lines(&self) -> Vec<String> {
        let line = |run: &Execution| {
            let outcome = match &run.outcome {
                Outcome::Done(tag) => tag,
                Outcome::Failed { sqlstate, .. } => sqlstate,
            };
            format!("{} | {} | {outcome}", run.text, run.result.rows)
        };
        self.0.lock().unwrap().iter().map(line).collect()
    }
}

/// A tap in front of this URL, and the URL that leads through it.
async fn tap(url: &str) -> (Tap, String, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let tap = Tap::start(url.parse().unwrap(), kept.clone())
        .await
        .unwrap();
    let mut tapped = url::Url::parse(url).unwrap();
    tapped.set_host(Some("127.0.0.1")).unwrap();
    tapped.set_port(Some(tap.port)).unwrap();
    tapped.set_query(None);
    (tap, tapped.to_string(), kept)
}

/// A bit of everything that the protocol has; all that the server answered.
async fn conversation(url: &str) -> String {
    let mut client = Client::connect(url).await;
    let mut said = String::new();
    for sql in [
        "SELECT id, email FROM accounts ORDER BY id LIMIT 3; SELECT 1 WHERE false",
        "SELECT 1; SELEC; SELECT 2",
        "",
        "CREATE TABLE notes (id int, note text)",
        "BEGIN; BEGIN; INSERT INTO notes VALUES (1, 'a'), (2, NULL); ROLLBACK",
        "COPY accounts (id, name) TO STDOUT",
    ] {
        said += &client.simple(sql).await;
    }
    let large = "x".repeat(3_000_000);
    said += &client
        .extended("SELECT $1::text, length($1)", &[Some(&large)])
        .await;
    client.query("COPY notes FROM STDIN");
    said += &transcript(&client.run_until(b"GZ").await);
    assert!(
        said.ends_with("CopyInResponse 0\n"),
        "{}",
        said.replace(&large, "x")
    );
    client.copy_data(b"1\tby copy\n").copy_done();
    said += &transcript(&client.run().await);
    client.query("COPY notes FROM STDIN");
    client.run_until(b"GZ").await;
    client.copy_fail("no more");
    said += &transcript(&client.run().await);
    // A pipeline with an error in it, and a portal that is read in parts.
    client.parse("s", "SELECT n FROM generate_series(1, $1::int) n", &[]);
    client
        .bind("p", "s", &[Some("5")])
        .describe(b'P', "p")
        .execute("p", 2)
        .execute("p", 0);
    client
        .sync()
        .bind("", "s", &[Some("no number")])
        .execute("", 0)
        .sync();
    client.bind("", "s", &[Some("1")]).execute("", 0).sync();
    for _ in 0..3 {
        client.send().await;
        said += &transcript(&client.run_until(b"Z").await);
    }
    client.terminate().send().await;
    said += &format!("{:?}", client.read().await);
    said
}

#[tokio::test]
async fn what_passes_is_not_changed_and_all_of_it_is_seen() {
    let proxy = harness::proxy().await;
    let (tap, through, kept) = tap(&proxy.url_for("dev1+through")).await;
    let straight = conversation(&proxy.url_for("dev1+straight")).await;
    // It holds the name of its table.
    let console = proxy.url().replace("/app", "/devinprod");
    let reset = "RESET SANDBOX straight";
    Client::connect(&console).await.simple(reset).await;
    assert_eq!(conversation(&through).await, straight);
    assert!(straight.contains("CopyData"), "{straight}");
    assert_eq!(tap.connections(), 1);
    let large = kept.0.lock().unwrap()[10].clone();
    assert_eq!(large.result.bytes, 3_000_000 + 7 + 2 + 4 + 4);
    assert!(large.parameters.is_none(), "too large to be kept");
    let lines = kept.lines();
    let expected = [
        "SELECT id, email FROM accounts ORDER BY id LIMIT 3 | 3 | SELECT 3",
        "SELECT 1 WHERE false | 0 | SELECT 0",
        "SELECT 1 | 0 | 42601",
        " | 0 | ",
        "CREATE TABLE notes (id int, note text) | 0 | CREATE TABLE",
        "BEGIN | 0 | BEGIN",
        "BEGIN | 0 | BEGIN",
        "INSERT INTO notes VALUES (1, 'a'), (2, NULL) | 0 | INSERT 0 2",
        "ROLLBACK | 0 | ROLLBACK",
        "COPY accounts (id, name) TO STDOUT | 20 | COPY 20",
        "SELECT $1::text, length($1) | 1 | SELECT 1",
        "COPY notes FROM STDIN | 0 | COPY 1",
        "COPY notes FROM STDIN | 0 | 57014",
        "SELECT n FROM generate_series(1, $1::int) n | 2 | ",
        "SELECT n FROM generate_series(1, $1::int) n | 3 | SELECT 3",
        "SELECT n FROM generate_series(1, $1::int) n | 0 | 22P02",
        "SELECT n FROM generate_series(1, $1::int) n | 1 | SELECT 1",
    ];
    assert_eq!(lines, expected);
    tap.finish(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_cancel_request_passes() {
    let proxy = harness::proxy().await;
    let (tap, through, kept) = tap(&proxy.url()).await;
    let mut client = Client::connect(&through).await;
    client.query("SELECT pg_sleep(60)").send().await;
    let mut request = vec![0, 0, 0, 12 + client.secret.len() as u8, 4, 210, 22, 46];
    request.extend_from_slice(&client.process.to_be_bytes());
    request.extend_from_slice(&client.secret);
    // It may arrive before the statement does; it is asked again until the answer is there.
    let asking = async {
        loop {
            let mut other = TcpStream::connect(("127.0.0.1", tap.port)).await.unwrap();
            other.write_all(&request).await.unwrap();
            let _ = other.read(&mut [0]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = tokio::select! {
        messages = client.run() => transcript(&messages),
        () = asking => unreachable!(),
    };
    assert!(answer.contains("57014"), "{answer}");
    assert_eq!(kept.lines(), ["SELECT pg_sleep(60) | 0 | 57014"]);
    assert_eq!(tap.connections(), 1, "a cancel request is no session");
}

#[tokio::test]
async fn encryption_is_asked_for_in_vain_and_used_towards_the_proxy() {
    let database = harness::database().await;
    let tls = super::lifecycle_config::serve_tls(&database).await;
    let cert = tls.folder.path().join("cert.pem").display().to_string();
    let port = tls.serving.port;
    for (parameters, fine) in [
        (
            format!("sslmode=verify-full&sslrootcert={cert}&channel_binding=disable"),
            true,
        ),
        ("sslmode=require".to_owned(), true),
        ("sslmode=verify-full".to_owned(), false),
    ] {
        let url = format!("postgres://dev1:secret@localhost:{port}/app?{parameters}");
        let (_tap, through, _) = tap(&url).await;
        // The driver asks for TLS first, and takes no for an answer.
        let asking = format!("{through}?sslmode=prefer");
        let said = tokio_postgres::connect(&asking, tokio_postgres::NoTls);
        match (said.await, fine) {
            (Ok((client, connection)), true) => {
                tokio::spawn(connection);
                assert_eq!(scalar(&client, "SELECT 7").await, "7");
            }
            (Err(error), false) => {
                let told = error.as_db_error().unwrap();
                assert_eq!(told.code().code(), "57P03");
                assert!(told.message().contains("TLS"), "{told}");
            }
            (other, _) => panic!("{parameters}: {:?}", other.err()),
        }
    }
}

#[tokio::test]
async fn a_proxy_that_is_away_and_a_login_that_is_refused() {
    let proxy = harness::proxy().await;
    let (_tap, through, kept) = tap(&proxy.url().replace("secret", "wrong")).await;
    let refused = Client::try_connect(&through, &[]).await.err().unwrap();
    assert_eq!(refused.unwrap().field(b'C').as_deref(), Some("28P01"));
    assert_eq!(*kept.1.lock().unwrap(), ["28P01"]);
    // Nobody listens on the port of a socket that is gone.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = gone.local_addr().unwrap().port();
    drop(gone);
    let (_tap, through, _) = tap(&format!("postgres://a:b@127.0.0.1:{port}/c")).await;
    let refused = Client::try_connect(&through, &[])
        .await
        .err()
        .unwrap()
        .unwrap();
    assert_eq!(refused.field(b'C').as_deref(), Some("57P03"));
    assert!(refused.field(b'H').unwrap().contains("devinprod serve"));
}

#[tokio::test]
async fn connections_that_stay_open_are_closed_at_the_end() {
    let proxy = harness::proxy().await;
    let (tap, through, _) = tap(&proxy.url()).await;
    let mut client = Client::connect(&through).await;
    client.simple("BEGIN; CREATE TABLE half (n int)").await;
    tap.finish(Duration::ZERO).await;
    assert_eq!(client.read().await, None);
}

#[tokio::test]
async fn a_statement_that_is_left_behind_is_cancelled() {
    let proxy = harness::proxy().await;
    let (tap, through, _) = tap(&proxy.url()).await;
    let mut client = Client::connect(&through).await;
    client.query("SELECT pg_sleep(600)").send().await;
    tap.finish(Duration::from_millis(200)).await;
    // The sandbox is free again.
    let mut other = Client::connect(&proxy.url()).await;
    assert!(other.simple("SELECT 7").await.contains("DataRow \"7\""));
}
