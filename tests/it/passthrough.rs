//! Isolation `none`: the same answers as without the proxy, and each execution on record and counted all the same.

use devinprod::audit::{EventKind, Verdict};

use crate::chaos_kit::eventually;
use crate::harness::wire::{Client, transcript};
use crate::harness::{self, Proxy, Setup};

/// A proxy that passes through, with these budgets.
async fn proxy(budgets: &str) -> Proxy {
    let policy = format!(
        "default = {{ as = \"clear\", opens_unclassified = true, because = \"a test\" }}\n{budgets}"
    );
    let setup = Setup {
        sealed: false,
        isolation: "none",
        policy: Some(policy),
        ..Setup::default()
    };
    harness::proxy_with(harness::database().await, setup).await
}

const HUNDRED: &str = "[[budget]]\nwho = [\"*\"]\nper = \"1h\"\nrows = 100\n";

fn rows(answer: &str) -> usize {
    answer.matches("DataRow").count() + answer.matches("CopyData").count()
}

/// How a statement ended, in a word.
fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Done => "done".to_owned(),
        Verdict::Failed { sqlstate } => format!("failed {sqlstate}"),
        Verdict::Refused { sqlstate } => format!("refused {sqlstate}"),
        Verdict::Cut { sqlstate } => format!("cut {sqlstate}"),
    }
}

/// The statements on record: text, rows, rows written, verdict; relations behind it where it ran by name.
fn recorded(proxy: &Proxy) -> Vec<String> {
    let events = proxy.events();
    let statements = events.iter().filter_map(|event| match &event.kind {
        EventKind::Statement(record) => Some(record),
        _ => None,
    });
    statements
        .map(|record| {
            let shape = &record.shape;
            let read = match shape.text.split(' ').next() {
                Some("EXECUTE" | "FETCH") => format!(" of {}", shape.relations.join(" ")),
                _ => String::new(),
            };
            let opaque = if shape.opaque { " opaque" } else { "" };
            format!(
                "{}{read}{opaque}: {} rows, {} written, {}",
                shape.text,
                record.rows,
                record.rows_written,
                word(&record.verdict)
            )
        })
        .collect()
}

/// Waits until the last of these is on record, and compares.
async fn check_recorded(proxy: &Proxy, expected: &[&str]) {
    eventually("all is on record", || async {
        recorded(proxy).len() >= expected.len()
    })
    .await;
    assert_eq!(recorded(proxy), expected);
}

/// What a client may do, and the answers.
async fn play(client: &mut Client) -> String {
    let mut told = String::new();
    for text in [
        "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT n, 'x' FROM generate_series(1, 50) n; SELECT count(*) FROM t",
        "",
        "; -- nothing\n;",
        "SELECT 1; SELECT 1/0; SELECT 2",
        "SELECT 1; SELEKT; SELECT 2",
        "BEGIN",
        "INSERT INTO t VALUES (1, 'twice')",
        "SELECT 1",
        "ROLLBACK",
        "PREPARE p (int) AS SELECT a FROM t WHERE id = $1",
        "EXECUTE p (7)",
        "BEGIN; DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id; FETCH 3 FROM c; CLOSE c; COMMIT",
        "LISTEN news; NOTIFY news, 'told'",
        "SET application_name = 'me'",
        "DO $$ BEGIN RAISE NOTICE 'noted'; END $$",
        "COPY (SELECT id FROM t ORDER BY id LIMIT 3) TO STDOUT",
        "EXPLAIN (COSTS OFF) SELECT * FROM t WHERE id = 1",
    ] {
        told += &client.simple(text).await;
    }
    // Names, suspended portals, an error in the middle of a pipeline.
    client
        .parse("s", "SELECT id FROM t WHERE id > $1 ORDER BY id", &[23])
        .describe(b'S', "s")
        .bind("", "s", &[Some("40")])
        .describe(b'P', "")
        .execute("", 4)
        .execute("", 4)
        .execute("", 0)
        .sync();
    told += &transcript(&client.run().await);
    client
        .bind("", "s", &[Some("48")])
        .execute("", 0)
        .parse("", "SELECT broken", &[])
        .bind("", "s", &[Some("1")])
        .execute("", 0)
        .query("SELECT 'skipped'")
        .sync()
        .query("SELECT 'behind'");
    for _ in 0..2 {
        told += &transcript(&client.run().await);
    }
    client.parse("s", "SELECT 'again'", &[]).sync();
    told += &transcript(&client.run().await);
    client
        .bind("", "s", &[Some("49")])
        .execute("", 0)
        .close(b'S', "s")
        .flush();
    told += &transcript(&client.run_until(b"3").await);
    client.bind("", "s", &[Some("49")]).sync();
    told += &transcript(&client.run().await);
    // COPY, in each protocol; its Sync comes too early, as libpq's does.
    client.query("COPY t FROM STDIN");
    told += &transcript(&client.run_until(b"G").await);
    client
        .copy_data(b"101\ta\n")
        .copy_data(b"102\tb\n")
        .copy_done();
    told += &transcript(&client.run().await);
    client
        .parse("", "COPY t FROM STDIN", &[])
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    told += &transcript(&client.run_until(b"G").await);
    client.copy_data(b"103\tc\n").copy_done().sync();
    told += &transcript(&client.run().await);
    client.query("COPY t FROM STDIN");
    told += &transcript(&client.run_until(b"G").await);
    client
        .copy_data(b"1\ttwice\n")
        .copy_data(b"2\ttwice\n")
        .copy_fail("enough");
    told += &transcript(&client.run().await);
    client.query("COPY t FROM STDIN");
    told += &transcript(&client.run_until(b"G").await);
    client
        .copy_data(b"no number\n")
        .copy_data(&vec![b'x'; 300_000])
        .copy_done();
    told += &transcript(&client.run().await);
    told += &client
        .simple("SELECT count(*), repeat('y', 200000) FROM t")
        .await;
    told += &client
        .extended("SELECT $1::text", &[Some(&"z".repeat(100_000))])
        .await;
    told
}

#[tokio::test]
async fn a_client_gets_the_answers_that_it_gets_without_the_proxy() {
    let direct = harness::database().await;
    let mut client = Client::connect(&direct.url).await;
    let expected = play(&mut client).await;
    let proxy = proxy("").await;
    let mut client = Client::connect(&proxy.url()).await;
    let answers = play(&mut client).await;
    for (answer, expected) in answers.lines().zip(expected.lines()) {
        assert_eq!(answer.get(..300), expected.get(..300));
    }
    assert_eq!(answers, expected);
    assert!(answers.contains("NotificationResponse"), "{answers:.2000}");
    // What was written is committed.
    let admin = proxy.database.connect().await;
    assert_eq!(
        harness::scalar(&admin, "SELECT count(*) FROM t").await,
        "53"
    );
}

#[tokio::test]
async fn each_execution_is_on_record_under_what_it_runs() {
    let proxy = proxy("").await;
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("INSERT INTO accounts (email, name) VALUES ('secret@x', 'n') RETURNING 1; SELECT 'secret' LIMIT 1").await;
    client.simple("SELECT 1/0; SELECT 2").await;
    client
        .parse("s", "SELECT id FROM accounts WHERE email = $1", &[])
        .bind("p", "s", &[Some("secret@x")])
        .execute("p", 1)
        .execute("p", 0)
        // An error, so that the name stands for what it stood for before.
        .parse("s", "SELECT 'other'", &[])
        .sync();
    client.run().await;
    client
        .bind("", "s", &[Some("nobody")])
        .execute("", 0)
        .sync();
    client.run().await;
    client
        .simple("PREPARE q AS SELECT * FROM orders LIMIT 0; EXECUTE q")
        .await;
    client
        .simple(
            "BEGIN; DECLARE c CURSOR FOR SELECT * FROM accounts LIMIT 1; FETCH ALL FROM c; COMMIT",
        )
        .await;
    client.query("COPY accounts (email, name) FROM STDIN");
    client.run_until(b"G").await;
    client
        .copy_data(b"secret1\tn\n")
        .copy_data(b"secret2\tn\n")
        .copy_done();
    client.run().await;
    client
        .simple("COPY (SELECT 1 UNION SELECT 2) TO STDOUT")
        .await;
    // FunctionCall, of pg_backend_pid().
    client.raw(b"F\0\0\0\x0e\0\0\x07\xea\0\0\0\0\0\0");
    assert!(client.run().await.iter().any(|message| message.tag == b'V'));
    check_recorded(
        &proxy,
        &[
            "INSERT INTO accounts (email, name) VALUES (?) RETURNING ?: 1 rows, 1 written, done",
            "SELECT ? LIMIT ?: 1 rows, 0 written, done",
            "SELECT ?/?: 0 rows, 0 written, failed 22012",
            "SELECT id FROM accounts WHERE email = $1: 1 rows, 0 written, done",
            "SELECT id FROM accounts WHERE email = $1: 0 rows, 0 written, done",
            "SELECT ?: 0 rows, 0 written, failed 42P05",
            "SELECT id FROM accounts WHERE email = $1: 0 rows, 0 written, done",
            "PREPARE q AS SELECT * FROM orders LIMIT ?: 0 rows, 0 written, done",
            "EXECUTE q of orders: 0 rows, 0 written, done",
            "BEGIN: 0 rows, 0 written, done",
            "DECLARE c CURSOR FOR SELECT * FROM accounts LIMIT ?: 0 rows, 0 written, done",
            "FETCH ALL FROM c of accounts: 1 rows, 0 written, done",
            "COMMIT: 0 rows, 0 written, done",
            "COPY accounts (email, name) FROM STDIN: 0 rows, 2 written, done",
            "COPY (SELECT ? UNION SELECT ?) TO STDOUT: 2 rows, 0 written, done",
            "a FunctionCall message opaque: 1 rows, 0 written, done",
        ],
    )
    .await;
}

#[tokio::test]
async fn nothing_runs_unseen_behind_what_the_server_skips() {
    let proxy = proxy("").await;
    let mut client = Client::connect(&proxy.url()).await;
    // Postgres ignores the Query, too, up to the Sync.
    client
        .parse("", "SELECT broken", &[])
        .query("SELECT 'skipped'")
        .sync();
    client.run().await;
    // In one packet with data that ends the COPY: the Query would run, and nobody would know whose rows came.
    client.query("COPY accounts FROM STDIN");
    client.run_until(b"G").await;
    client.copy_data(b"broken\n").query("SELECT 'smuggled'");
    let answer = transcript(&client.run().await);
    let ended = transcript(&client.run().await);
    let smuggled = answer.contains("DataRow") || ended.contains("DataRow");
    // Records are written in their order: when this one is there, those before it are.
    client.simple("SELECT 1 AS the_last").await;
    eventually("the last is on record", || async {
        recorded(&proxy)
            .iter()
            .any(|line| line.contains("the_last"))
    })
    .await;
    let on_record = recorded(&proxy)
        .iter()
        .filter(|line| line.starts_with("SELECT ?:"))
        .count();
    assert_eq!(usize::from(smuggled), on_record, "{answer}{ended}");
}

#[tokio::test]
async fn a_read_is_cut_at_its_limit_in_every_form_and_the_connection_lives_on() {
    const BIG: &str = "SELECT n, repeat('x', 500) FROM generate_series(1, 100000) n";
    let copy = format!("COPY ({BIG}) TO STDOUT");
    let declare = format!("BEGIN; DECLARE c CURSOR FOR {BIG}; FETCH 100000 FROM c");
    let returning =
        "CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 20000) RETURNING n";
    let prepared = format!("PREPARE p AS {BIG}; EXECUTE p");
    for form in [
        BIG,
        &copy,
        &declare,
        returning,
        &prepared,
        "extended",
        "pieces",
        "EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM generate_series(1, 5000)",
        // Names that look like a plan.
        "EXPLAIN ANALYZE SELECT * FROM generate_series(1, 5000) \"x (actual rows=0 loops=0)\n  ->  y\"",
        "EXPLAIN (ANALYZE, FORMAT YAML) SELECT * FROM generate_series(1, 5000) \"Actual Rows: 0\"",
    ] {
        let proxy = proxy(HUNDRED).await;
        let mut client = Client::connect(&proxy.url()).await;
        let answer = match form {
            "extended" => client.extended(BIG, &[]).await,
            "pieces" => {
                client.parse("", BIG, &[]).bind("p", "", &[]);
                for _ in 0..5 {
                    client.execute("p", 30);
                }
                transcript(&client.sync().run().await)
            }
            text => client.simple(text).await,
        };
        assert!(answer.contains("53400"), "{form}: {answer:.300}");
        assert!(answer.contains("ReadyForQuery"), "{form}: {answer:.300}");
        match form.starts_with("EXPLAIN") {
            // A plan's first row may not say yet what was read.
            true => assert!(rows(&answer) <= 1, "{form}: {answer:.300}"),
            false => assert_eq!(rows(&answer), 100, "{form}"),
        }
        client.simple("ROLLBACK").await;
        let alive = client.simple("SHOW server_version_num").await;
        let refused = client.simple("SELECT 1").await;
        assert!(
            alive.contains("53400") && rows(&alive) == 0,
            "{form}: {alive}"
        );
        assert!(
            refused.contains("53400") && rows(&refused) == 0,
            "{form}: {refused}"
        );
        assert!(refused.contains("ReadyForQuery I"), "{form}: {refused}");
        let mut other = Client::connect(&proxy.url_for("dev2")).await;
        assert_eq!(rows(&other.simple("SELECT 1").await), 1, "{form}");
        eventually("the cut is on record", || async {
            recorded(&proxy)
                .iter()
                .any(|line| line.ends_with("cut 53400"))
        })
        .await;
        let events = proxy.events();
        let exceeded = |kind: &EventKind| matches!(kind, EventKind::BudgetExceeded { .. });
        assert!(events.iter().any(|event| exceeded(&event.kind)), "{form}");
    }
}

#[tokio::test]
async fn what_comes_behind_a_statement_that_was_cut_too_late_does_not_run() {
    let proxy = proxy(HUNDRED).await;
    let admin = proxy.database.connect().await;
    admin.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let mut client = Client::connect(&proxy.url()).await;
    // Small enough for the upstream to be through before a cancel request arrives.
    let small = "SELECT generate_series(1, 101)";
    client
        .parse("", small, &[])
        .bind("", "", &[])
        .execute("", 0)
        .parse("", "INSERT INTO t VALUES (1)", &[])
        .bind("", "", &[])
        .execute("", 0)
        .flush();
    let answer = transcript(&client.run_until(b"E").await);
    assert!(
        answer.contains("53400") && rows(&answer) == 100,
        "{answer:.300}"
    );
    client
        .parse("", "INSERT INTO t VALUES (2)", &[])
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let answer = transcript(&client.run().await);
    assert_eq!(answer, "ReadyForQuery I\n");
    // In a block, it has failed, upstream too.
    let mut client = Client::connect(&proxy.url_for("dev2")).await;
    client.simple("BEGIN; INSERT INTO t VALUES (3)").await;
    let answer = client.simple(small).await;
    assert!(
        answer.contains("53400") && answer.contains("ReadyForQuery E"),
        "{answer:.300}"
    );
    let failed = client.simple("INSERT INTO t VALUES (4)").await;
    assert!(
        failed.contains("25P02") || failed.contains("53400"),
        "{failed}"
    );
    let ended = client.simple("COMMIT").await;
    assert!(ended.contains("ROLLBACK"), "{ended}");
    assert_eq!(harness::scalar(&admin, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test]
async fn what_was_never_answered_is_on_record() {
    let proxy = proxy("").await;
    let mut client = Client::connect(&proxy.url()).await;
    client.query("SELECT pg_sleep(60) FROM accounts");
    client.send().await;
    let admin = proxy.database.connect().await;
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() AND datname = current_database()";
    eventually("it runs", || async {
        harness::scalar(&admin, ended).await != "0"
    })
    .await;
    let answer = transcript(&client.run().await);
    assert!(answer.contains("57P01"), "{answer}");
    check_recorded(
        &proxy,
        &["SELECT pg_sleep(?) FROM accounts: 0 rows, 0 written, failed 57P01"],
    )
    .await;
}

#[tokio::test]
async fn a_cancel_request_reaches_its_statement() {
    let proxy = proxy("").await;
    let client = harness::connect(&proxy.url()).await;
    let cancel = client.cancel_token();
    let admin = proxy.database.connect().await;
    let runs = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(61)' AND state = 'active'";
    let sleeps = tokio::spawn(async move { client.batch_execute("SELECT pg_sleep(61)").await });
    eventually("it runs", || async {
        harness::scalar(&admin, runs).await != "0"
    })
    .await;
    cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    let error = sleeps.await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    check_recorded(
        &proxy,
        &["SELECT pg_sleep(?): 0 rows, 0 written, failed 57014"],
    )
    .await;
}
