//! A budget holds while rows pass: what is too much is cut at the limit, whatever form it takes, and the sandbox and
//! the connection live on.

use crate::harness::{self, Proxy, Setup, dump, wire::Client};

/// What `dev1` may read: few rows of accounts, many of anything else.
fn policy(budgets: &str) -> String {
    format!(
        "default = {{ as = \"clear\", opens_unclassified = true, because = \"a test\" }}\n\
         [table.public.accounts]\nemail = \"email\"\n{budgets}"
    )
}

async fn proxy(budgets: &str) -> Proxy {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin
        .batch_execute(
            "INSERT INTO accounts (email, name) SELECT 'e' || n, 'n' || n FROM generate_series(1, 5000) n;
             CREATE TABLE big (id int PRIMARY KEY, pad text);
             INSERT INTO big SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n;",
        )
        .await
        .unwrap();
    let setup = Setup {
        policy: Some(policy(budgets)),
        ..Setup::default()
    };
    harness::proxy_with(database, setup).await
}

const HUNDRED: &str =
    "[[budget]]\nwho = [\"*\"]\ntable = \"public.accounts\"\nper = \"1h\"\nrows = 100\n";

fn rows(answer: &str) -> usize {
    answer.matches("DataRow").count() + answer.matches("CopyData").count()
}

#[tokio::test]
async fn a_read_is_cut_at_its_limit_in_every_form() {
    let forms: &[(&str, &[&str])] = &[
        ("a query", &["SELECT id FROM accounts"]),
        (
            "masked columns",
            &["SELECT email FROM accounts ORDER BY id"],
        ),
        ("COPY", &["COPY accounts (id) TO STDOUT"]),
        (
            "COPY of a query",
            &["COPY (SELECT * FROM accounts) TO STDOUT"],
        ),
        (
            "RETURNING",
            &["UPDATE accounts SET balance = 1 RETURNING id"],
        ),
        (
            "RETURNING masked",
            &["UPDATE accounts SET balance = 1 RETURNING email"],
        ),
        (
            "a cursor",
            &[
                "BEGIN",
                "DECLARE c CURSOR FOR SELECT id FROM accounts",
                "FETCH ALL FROM c",
            ],
        ),
        (
            "a prepared one",
            &["PREPARE p AS SELECT id FROM accounts", "EXECUTE p"],
        ),
        (
            "a copy in the sandbox",
            &[
                "CREATE TEMP TABLE t AS SELECT * FROM accounts",
                "SELECT id FROM t",
            ],
        ),
        (
            "a function of the sandbox",
            &[
                "CREATE FUNCTION f() RETURNS SETOF bigint LANGUAGE sql AS 'SELECT id FROM accounts'",
                "SELECT * FROM f()",
            ],
        ),
        (
            "EXPLAIN ANALYZE",
            &["EXPLAIN (ANALYZE, TIMING OFF) SELECT id FROM accounts"],
        ),
    ];
    for (form, statements) in forms {
        let proxy = proxy(HUNDRED).await;
        let before = dump(&proxy.database).await;
        let mut client = Client::connect(&proxy.url()).await;
        let mut answer = String::new();
        for statement in *statements {
            answer = client.simple(statement).await;
        }
        assert!(answer.contains("53400"), "{form}: {answer:.300}");
        assert!(rows(&answer) <= 100, "{form}: {} rows", rows(&answer));
        if !form.contains("EXPLAIN") {
            assert_eq!(rows(&answer), 100, "{form}");
        }
        // The connection and the sandbox live on; what is not limited can be read.
        client.simple("ROLLBACK").await;
        let after = client.simple("SELECT count(*) FROM big").await;
        if form.contains("sandbox") {
            // Any relation of such a sandbox may hold the rows that are limited.
            assert!(after.contains("53400"), "{form}: {after}");
            let alive = client.simple("SHOW transaction_isolation").await;
            assert!(alive.contains("read committed"), "{form}: {alive}");
        } else {
            assert!(after.contains("DataRow \"20000\""), "{form}: {after}");
        }
        // And nothing resets it: not another sandbox, not another connection.
        let mut other = Client::connect(&proxy.url_for("dev1+other")).await;
        let refused = other.simple("SELECT id FROM accounts").await;
        assert!(
            refused.contains("53400") && rows(&refused) == 0,
            "{form}: {refused:.300}"
        );
        let mut another = Client::connect(&proxy.url_for("dev2")).await;
        let answer = another.simple("SELECT id FROM accounts LIMIT 7").await;
        assert_eq!(
            rows(&answer),
            7,
            "{form}: another developer has a budget of their own"
        );
        assert_eq!(before, dump(&proxy.database).await, "{form}");
    }
}

#[tokio::test]
async fn a_long_answer_is_cut_in_the_middle_and_says_why() {
    let proxy = proxy("[[budget]]\nwho = [\"dev1\"]\nper = \"1h\"\nbytes = \"3MB\"\n").await;
    let mut client = Client::connect(&proxy.url()).await;
    let answer = client.simple("SELECT * FROM big").await;
    assert!(answer.contains("53400"), "{answer:.300}");
    let passed = rows(&answer);
    assert!(
        (2000..3500).contains(&passed),
        "{passed} rows of a kilobyte each"
    );
    // A block fails like after any error, and a ROLLBACK ends that.
    client.simple("BEGIN").await;
    let answer = client.simple("SELECT * FROM big").await;
    assert!(answer.contains("53400"), "{answer:.300}");
    let failed = client.simple("SELECT 1").await;
    assert!(failed.contains("25P02"), "{failed}");
    client.simple("ROLLBACK").await;
    let alive = client.simple("INSERT INTO big VALUES (-1, 'x')").await;
    assert!(alive.contains("INSERT 0 1"), "{alive}");
}

#[tokio::test]
async fn what_comes_behind_a_cut_statement_in_its_batch_is_skipped() {
    let proxy = proxy(HUNDRED).await;
    let mut client = Client::connect(&proxy.url()).await;
    // Small enough for the upstream to be through with all of it before a cancel request arrives.
    client
        .parse("", "SELECT id FROM accounts LIMIT 101", &[])
        .bind("", "", &[])
        .execute("", 0)
        .parse("", "SELECT 'behind'", &[])
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let answer = harness::wire::transcript(&client.run().await);
    assert!(answer.contains("53400"), "{answer:.300}");
    assert!(!answer.contains("behind"), "{answer:.300}");
    assert_eq!(rows(&answer), 100);
    let alive = client.simple("SELECT 'alive'").await;
    assert!(alive.contains("alive"), "{alive}");
    // In a block, it has failed, upstream too.
    client.simple("BEGIN").await;
    let answer = client.simple("SELECT id FROM accounts LIMIT 5").await;
    assert!(answer.contains("53400"), "{answer:.300}");
    let failed = client.simple("INSERT INTO big VALUES (-1, 'x')").await;
    assert!(failed.contains("25P02"), "{failed}");
    client.simple("ROLLBACK").await;
    let count = client.simple("SELECT count(*) FROM big").await;
    assert!(count.contains("\"20000\""), "{count}");
}

#[tokio::test]
async fn a_portal_read_in_pieces_stops_at_the_limit() {
    let proxy = proxy(HUNDRED).await;
    let mut client = Client::connect(&proxy.url()).await;
    let mut passed = 0;
    client.simple("BEGIN").await;
    client
        .parse("", "SELECT id FROM accounts", &[])
        .bind("p", "", &[])
        .sync();
    client.run().await;
    for _ in 0..5 {
        client.execute("p", 30).sync();
        let answer = harness::wire::transcript(&client.run().await);
        passed += rows(&answer);
        if answer.contains("53400") {
            break;
        }
    }
    assert_eq!(passed, 100);
}

#[tokio::test]
async fn rows_of_one_statement_are_limited_and_statements_too() {
    let limits = "[[budget]]\nwho = [\"*\"]\nrows_per_statement = 10\n\
                  [[budget]]\nwho = [\"*\"]\nper = \"1h\"\nstatements = 5\n";
    let proxy = proxy(limits).await;
    let mut client = Client::connect(&proxy.url()).await;
    let answer = client.simple("SELECT id FROM accounts").await;
    assert!(
        answer.contains("53400") && rows(&answer) == 10,
        "{answer:.300}"
    );
    let mut ran = 1;
    for _ in 0..10 {
        if client.simple("SELECT 1").await.contains("53400") {
            break;
        }
        ran += 1;
    }
    assert_eq!(ran, 5);
}
