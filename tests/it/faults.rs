//! Clients that break the protocol, are not who they say they are, or vanish: each gets a clear error, and
//! nobody else notices.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::chaos_kit::{
    Forwarder, clients_of, developers, eventually, refused, sandbox_backends, serve, sqlstate,
    state_of, unsealed_upstream, value,
};
use super::harness::wire::Client;
use super::harness::{self, Proxy, Setup};

#[tokio::test]
async fn broken_messages_end_their_client_alone() {
    let proxy = harness::proxy().await;
    let mut neighbour = Client::connect(&proxy.url()).await;
    neighbour
        .simple("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
        .await;
    let cases: &[(&str, &[u8])] = &[
        ("a length below four", b"Q\0\0\0\x03"),
        ("a length of nearly 2 GB", b"Q\x7f\xff\xff\xffSELECT 1"),
        ("a negative length", b"Q\xff\xff\xff\xff"),
        ("an unknown type", b"~\0\0\0\x04"),
        ("a password long after the login", b"p\0\0\0\x06a\0"),
        ("text without its end", b"Q\0\0\0\x06ab"),
        ("text that ends too early", b"Q\0\0\0\x08a\0bc"),
        (
            "a Bind with more values than bytes",
            b"B\0\0\0\x0c\0\0\0\0\xff\xff\0\0",
        ),
        (
            "a Bind with a negative length",
            b"B\0\0\0\x10\0\0\0\0\0\x01\x80\0\0\0\0\0",
        ),
        (
            "a Parse with more types than bytes",
            b"P\0\0\0\x09a\0b\0\x7f",
        ),
        ("a Describe of neither", b"D\0\0\0\x06X\0"),
        ("an Execute without a count", b"E\0\0\0\x05\0"),
    ];
    for (what, bytes) in cases {
        let mut client = Client::connect(&proxy.url()).await;
        client.simple("BEGIN; INSERT INTO kept VALUES (2)").await;
        let answers = client.raw(bytes).run_until(b"E").await;
        assert_eq!(sqlstate(&answers), "08P01", "{what}");
        assert!(
            client.read().await.is_none(),
            "{what}: the connection stays"
        );
        drop(client);
        assert_eq!(
            value(&mut neighbour, "SELECT count(*) FROM kept").await,
            "1",
            "{what}"
        );
    }
    eventually("only the neighbour is left", || async {
        clients_of(&proxy, "dev1") == 1
    })
    .await;
}

#[tokio::test]
async fn messages_out_of_order_are_answered_as_postgres_answers_them() {
    type Step = fn(&mut Client) -> &mut Client;
    let proxy = harness::proxy().await;
    let cases: &[(&str, Step)] = &[
        ("a Bind of nothing", |c| {
            c.bind("", "nothing", &[]).execute("", 0).sync()
        }),
        ("an Execute of nothing", |c| c.execute("nothing", 0).sync()),
        ("a Describe of no statement", |c| {
            c.describe(b'S', "nothing").sync()
        }),
        ("a Describe of no portal", |c| {
            c.describe(b'P', "nothing").sync()
        }),
        ("a Close of nothing", |c| {
            c.close(b'S', "nothing").close(b'P', "nothing").sync()
        }),
        ("copy messages without a COPY", |c| {
            c.copy_data(b"1\n")
                .copy_done()
                .copy_fail("no")
                .query("SELECT 1")
        }),
        ("a Sync alone", |c| c.sync()),
        ("what follows an error", |c| {
            c.parse("", "SELEC", &[])
                .bind("", "", &[])
                .execute("", 0)
                .parse("", "SELECT 2", &[])
                .sync()
        }),
        ("a name that is taken", |c| {
            c.parse("a", "SELECT 1", &[])
                .parse("a", "SELECT 2", &[])
                .sync()
        }),
        ("a Bind with too few values", |c| {
            c.parse("", "SELECT $1::int", &[])
                .bind("", "", &[])
                .execute("", 0)
                .sync()
        }),
        ("two statements in one Parse", |c| {
            c.parse("", "SELECT 1; SELECT 2", &[]).sync()
        }),
        ("a Parse with a transaction command behind", |c| {
            c.parse("", "SELECT 1; COMMIT", &[]).sync()
        }),
        ("an empty Parse", |c| {
            c.parse("", " ; ", &[])
                .bind("", "", &[])
                .execute("", 0)
                .sync()
        }),
    ];
    for (what, step) in cases {
        let mut direct = Client::connect(&proxy.database.url).await;
        let mut through = Client::connect(&proxy.url()).await;
        let plain = |answers: Vec<harness::wire::Message>| -> Vec<String> {
            let error = |m: &harness::wire::Message| {
                format!(
                    "{} {}",
                    m.line().split(' ').next().unwrap(),
                    m.field(b'C').unwrap_or_default()
                )
            };
            answers
                .iter()
                .map(|m| if m.tag == b'E' { error(m) } else { m.line() })
                .collect()
        };
        let expected = plain(step(&mut direct).run().await);
        assert_eq!(plain(step(&mut through).run().await), expected, "{what}");
        assert_eq!(value(&mut through, "SELECT 'on'").await, "on", "{what}");
    }
}

#[tokio::test]
async fn a_query_in_the_middle_of_a_copy_ends_the_copy() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("CREATE TABLE kept (n int)").await;
    client.query("COPY kept FROM STDIN").run_until(b"G").await;
    let answers = client.copy_data(b"1\n").query("SELECT 1").run().await;
    assert!(
        sqlstate(&answers).starts_with("08") || sqlstate(&answers) == "57014",
        "{}",
        sqlstate(&answers)
    );
    assert_eq!(value(&mut client, "SELECT count(*) FROM kept").await, "0");
}

#[tokio::test]
async fn text_that_is_no_utf8_is_refused_and_the_session_goes_on() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let answers = client.raw(b"Q\0\0\0\x10SELECT '\xff\xfe'\0").run().await;
    assert_eq!(sqlstate(&answers), "22021");
    let mut parse = b"P\0\0\0\x13\0SELECT '\xc3\x28'\0\0\0".to_vec();
    parse[4] = u8::try_from(parse.len() - 1).unwrap();
    let answers = client.raw(&parse).sync().run().await;
    assert_eq!(sqlstate(&answers), "22021");
    // A parameter is data: Postgres itself says what is wrong with it.
    client.parse("", "SELECT $1::text", &[]);
    let answers = client
        .raw(b"B\0\0\0\x12\0\0\0\0\0\x01\0\0\0\x02\xff\xfe\0\0")
        .execute("", 0)
        .sync()
        .run()
        .await;
    assert_eq!(sqlstate(&answers), "22021");
    assert_eq!(value(&mut client, "SELECT 'ä'").await, "ä");
}

#[tokio::test]
async fn who_is_not_known_or_not_granted_is_told_why() {
    let database = harness::database().await;
    let granted = unsealed_upstream("app", &database.url, "");
    let theirs = unsealed_upstream("theirs", &database.url, "contact = \"the platform team\"")
        .replace("\"dev1\"", "\"dev2\"");
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\n";
    let serving = serve(&format!(
        "{listen}{granted}{theirs}{}",
        developers(&["dev1", "dev2"])
    ))
    .await;
    let wrong = serving.url("dev1", "app").replace("secret", "guess");
    let unknown = refused(&serving.url("nobody", "app"), &[]).await;
    assert!(
        refused(&wrong, &[])
            .await
            .contains("FATAL 28P01: password authentication failed for user \"dev1\"")
    );
    // Nothing tells who exists.
    assert!(
        unknown.contains("FATAL 28P01: password authentication failed for user \"nobody\""),
        "{unknown}"
    );
    let missing = refused(&serving.url("dev1", "nowhere"), &[]).await;
    assert!(
        missing.contains("FATAL 3D000") && missing.contains("\"nowhere\""),
        "{missing}"
    );
    let denied = refused(&serving.url("dev1", "theirs"), &[]).await;
    assert!(
        denied.contains("FATAL 42501") && denied.contains("ask the platform team"),
        "{denied}"
    );
    let replication = refused(&serving.url("dev1", "app"), &[("replication", "database")]).await;
    assert!(replication.contains("FATAL 0A000"), "{replication}");
    let setting = refused(&serving.url("dev1", "app"), &[("no_such_setting", "1")]).await;
    assert!(setting.contains("FATAL"), "{setting}");
    assert_eq!(
        value(
            &mut Client::connect(&serving.url("dev1", "app")).await,
            "SELECT 1"
        )
        .await,
        "1"
    );
}

#[tokio::test]
async fn startups_that_are_broken_or_never_end_are_given_up() {
    let setup = Setup {
        limits: "startup_timeout = \"1s\"",
        ..Setup::default()
    };
    let proxy = harness::proxy_with(harness::database().await, setup).await;
    let starts: &[&[u8]] = &[
        b"",
        b"\0",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x04",
        b"\x7f\xff\xff\xff\0\x03\0\0",
        b"\0\0\0\x09\0\x03\0\0\0",
        b"\0\0\0\x10\0\x03\0\0user\0abc",
        b"\0\0\0\x08\0\x02\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ];
    for (index, start) in starts.iter().enumerate() {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
        // What is not answered is hung up on, at the latest when the startup's time is up.
        let ended = tokio::time::timeout(Duration::from_secs(5), read).await;
        assert!(ended.is_ok(), "case {index} is still open");
    }
    // One that vanishes half-way through the password exchange.
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
    stream
        .write_all(b"\0\0\0\x21\0\x03\0\0user\0dev1\0database\0app\0\0")
        .await
        .unwrap();
    drop(stream);
    assert_eq!(
        value(&mut Client::connect(&proxy.url()).await, "SELECT 1").await,
        "1"
    );
    assert_eq!(sandbox_backends(&proxy.database).await, 1);
}

/// A client does something, vanishes, and leaves no trace of it in its sandbox.
async fn vanishes(proxy: &Proxy, what: &str, act: impl AsyncFnOnce(&mut Client)) {
    let mut client = Client::connect(&proxy.url()).await;
    let mut neighbour = Client::connect(&proxy.url()).await;
    neighbour
        .simple("CREATE TABLE IF NOT EXISTS kept (n int)")
        .await;
    let before = value(&mut neighbour, "SELECT count(*) FROM kept").await;
    act(&mut client).await;
    drop(client);
    eventually(what, || async { clients_of(proxy, "dev1") == 1 }).await;
    assert_eq!(
        value(&mut neighbour, "SELECT count(*) FROM kept").await,
        before,
        "{what}"
    );
    neighbour.simple("INSERT INTO kept VALUES (0)").await;
    assert_eq!(
        state_of(&mut neighbour, "BEGIN; SELECT * FROM kept; COMMIT").await,
        "",
        "{what}"
    );
    drop(neighbour);
    eventually("the neighbour leaves, too", || async {
        clients_of(proxy, "dev1") == 0
    })
    .await;
    assert_eq!(sandbox_backends(&proxy.database).await, 1, "{what}");
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let proxy = harness::proxy().await;
    let before = harness::dump(&proxy.database).await;
    vanishes(&proxy, "in a transaction", async |client| {
        client
            .simple("BEGIN; INSERT INTO kept VALUES (1); SAVEPOINT a")
            .await;
    })
    .await;
    vanishes(&proxy, "in a failed transaction", async |client| {
        client
            .simple("BEGIN; INSERT INTO kept VALUES (1); SELECT 1/0")
            .await;
    })
    .await;
    vanishes(&proxy, "in the middle of a COPY", async |client| {
        client.query("COPY kept FROM STDIN").run_until(b"G").await;
        client.copy_data(b"1\n2\n").copy_data(b"3").send().await;
    })
    .await;
    vanishes(
        &proxy,
        "in the middle of a message of a COPY",
        async |client| {
            client
                .query("BEGIN; INSERT INTO kept VALUES (1); COPY kept FROM STDIN")
                .run_until(b"G")
                .await;
            client.raw(b"d\0\0\x10\0half").send().await;
        },
    )
    .await;
    vanishes(&proxy, "in the middle of COPY TO", async |client| {
        let sql = "BEGIN; INSERT INTO kept VALUES (1); COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT";
        client.query(sql).run_until(b"d").await;
    })
    .await;
    vanishes(&proxy, "in the middle of a result", async |client| {
        client
            .query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")
            .run_until(b"D")
            .await;
    })
    .await;
    vanishes(&proxy, "before the answers to a pipeline", async |client| {
        client.parse(
            "p",
            "INSERT INTO kept SELECT $1::int FROM pg_sleep(0.01)",
            &[],
        );
        for _ in 0..50 {
            client.bind("", "p", &[Some("1")]).execute("", 0);
        }
        client.send().await;
        client.flush().send().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    })
    .await;
    vanishes(&proxy, "between a Parse and its Bind", async |client| {
        client
            .parse("named", "SELECT 1", &[])
            .flush()
            .run_until(b"1")
            .await;
    })
    .await;
    vanishes(&proxy, "with a suspended portal", async |client| {
        client
            .parse("", "SELECT generate_series(1, 10)", &[])
            .bind("", "", &[])
            .execute("", 2)
            .flush();
        client.run_until(b"s").await;
    })
    .await;
    assert!(
        harness::dump(&proxy.database).await == before,
        "the dump differs"
    );
}

#[tokio::test]
async fn a_slow_reader_slows_the_upstream_down_and_nobody_else() {
    const RESULT: u64 = 600 * 1024 * 1024;
    let mut database = harness::database().await;
    let forwarder = Forwarder::start(database.port).await;
    database.port = forwarder.port;
    let proxy = harness::proxy_with(database, Setup::default()).await;
    let mut slow = Client::connect(&proxy.url()).await;
    let resident = resident_bytes();
    slow.query(&format!(
        "SELECT repeat('x', 1024) FROM generate_series(1, {})",
        RESULT / 1024
    ))
    .send()
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut other = Client::connect(&proxy.url_for("dev2")).await;
    for _ in 0..20 {
        assert_eq!(value(&mut other, "SELECT count(*) FROM orders").await, "60");
    }
    // What the kernel's socket buffers hold, at each of the hops, and not more.
    let returned = forwarder.returned();
    assert!(
        returned < RESULT / 10,
        "{returned} bytes were read ahead of the client"
    );
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < RESULT / 4, "grew by {grown} bytes");
    drop(slow);
    eventually("the slow reader's statement is cancelled", || async {
        clients_of(&proxy, "dev1") == 0
    })
    .await;
    let mut again = Client::connect(&proxy.url()).await;
    assert_eq!(value(&mut again, "SELECT count(*) FROM orders").await, "60");
    let returned = forwarder.returned();
    assert!(
        returned < RESULT / 2,
        "{returned} bytes were read for nobody"
    );
}

/// The memory of this process, in bytes; other tests run in it, too.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
