//! `devinprod compare`, as a developer starts it.

use std::time::Duration;

use serde_json::Value;

use super::compare_kit::{Desk, PASSWORD};
use super::harness;

/// What differs, one line each.
fn differences(report: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(report).unwrap();
    let line = |difference: &Value| {
        let text = |name: &str| difference[name].as_str().unwrap_or_default().to_owned();
        format!(
            "{} | {} | {} | {}",
            text("kind"),
            text("what"),
            text("a"),
            text("b")
        )
    };
    report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(line)
        .collect()
}

#[tokio::test]
async fn the_same_is_the_same_whatever_is_random() {
    let desk = Desk::new().await;
    let before = harness::dump(&desk.proxy.database).await;
    let script = "INSERT INTO orders (account_id, total) VALUES (1, 5), (2, 6) RETURNING id, total, placed_at;
        SELECT random(), clock_timestamp(), pg_backend_pid(), count(*) FROM orders;
        UPDATE accounts SET settings = jsonb_build_object('at', clock_timestamp()) WHERE id < 4;
        SELECT id, name FROM accounts ORDER BY random()";
    let said = desk.psql(&[], script, script, 0).await;
    assert!(said.out.ends_with("same: no difference\n"), "{}", said.out);
    for noise in [
        "other values in column id: INSERT",
        "other values in column placed_at: INSERT",
        "other values in column random: SELECT",
        "public.orders: inserts other values in column id",
        "public.accounts: updates other values in column settings",
    ] {
        assert!(said.out.contains(noise), "{noise}\n{}", said.out);
    }
    assert_eq!(harness::dump(&desk.proxy.database).await, before);
    desk.nothing_is_left().await;
}

#[tokio::test]
async fn what_differs_is_told() {
    let desk = Desk::new().await;
    let a = "SELECT name, balance FROM accounts WHERE id < 4 ORDER BY id;
        SELECT count(*) FROM orders WHERE account_id = 3;
        DELETE FROM order_log WHERE order_id IN (1)";
    let same = "SELECT name, balance FROM accounts WHERE id < 4 ORDER BY id";
    for (b, expected) in [
        (
            "UPDATE accounts SET balance = 1 WHERE id = 2;
             SELECT name, balance FROM accounts WHERE id < 4 ORDER BY id;
             SELECT count(*) FROM orders WHERE account_id = 3;
             DELETE FROM order_log WHERE order_id IN (1)",
            &[
                "changes | public.accounts: updates another number of rows | 0 rows | 1 row",
                "results | returns other values in column balance |  | ",
                "statements | runs in B only | never | once",
            ][..],
        ),
        (
            "SELECT name, balance FROM accounts WHERE id < 9 ORDER BY id;
             SELECT count(*) FROM orders WHERE account_id = 3;
             SELECT count(*) FROM orders WHERE account_id = 3;
             DELETE FROM order_log WHERE order_id IN (1, 2, 3, 4)",
            &[
                "changes | public.order_log: deletes another number of rows | 1 row | 4 rows",
                "results | returns another number of rows | 3 rows | 8 rows",
                "results | writes another number of rows | 1 rows | 4 rows",
                "statements | runs another number of times | once | 2 times",
            ],
        ),
        (
            &format!("{same}; SELECT 1/0"),
            &[
                "exit | the commands end with another status | 0 | 1",
                "changes | public.order_log: deletes another number of rows | 1 row | 0 rows",
                "errors | fails with 22012: division by zero | no such error | once",
                "statements | runs in A only | once | never",
                "statements | runs in A only | once | never",
                "statements | runs in B only | never | once",
            ],
        ),
    ] {
        let said = desk.psql(&["--format", "json"], a, b, 1).await;
        assert_eq!(differences(&said.out), expected, "{}", said.out);
    }
    desk.nothing_is_left().await;
}

#[tokio::test]
async fn what_would_be_written_is_compared_with_what_triggers_do() {
    let desk = Desk::new().await;
    let a = "INSERT INTO orders (account_id, total) VALUES (3, 5); CREATE TABLE bills (n int)";
    let b = "INSERT INTO orders (account_id, total, status) VALUES (3, 5, 'paid'); CREATE TABLE bills (n text);
        UPDATE accounts SET balance = balance WHERE id = 1";
    let options = [
        "--format",
        "json",
        "--ignore",
        "statements",
        "--ignore",
        "plans",
    ];
    let said = desk.psql(&options, a, b, 1).await;
    assert_eq!(
        differences(&said.out),
        [
            "changes | makes table public.bills in another way | made | made",
            "changes | public.order_log: inserts other values in column entry |  | ",
            "changes | public.orders: inserts other values in column status |  | ",
        ],
        "what reads as before is no change: {}",
        said.out
    );
}

/// Two services, each with connections of its own, in one sandbox: what they would have written is the pipeline's output.
#[tokio::test]
async fn a_pipeline_of_services_has_one_changeset() {
    let desk = Desk::new().await;
    let orders = "INSERT INTO orders (account_id, total) SELECT 3, n FROM generate_series(1, 4) n";
    // It writes no row that the others write: those would wait for it.
    let bill = |factor: &str| {
        format!(
            "INSERT INTO order_log SELECT 1, 'due ' || ({factor} * sum(total))::int FROM orders \
             WHERE id > 60 AND account_id = 3"
        )
    };
    for (sandbox, service) in [
        ("old", bill("1")),
        ("same", bill("1.0")),
        ("new", bill("2")),
    ] {
        for script in [orders, &service] {
            let words = [
                "run",
                "--sandbox",
                sandbox,
                "--",
                "psql",
                "-XqAt",
                "-c",
                script,
            ];
            let said = desk.run(&words).await;
            assert_eq!(said.code, Some(0), "{}", said.err);
        }
        if sandbox != "old" {
            let said = desk
                .run(&["compare", "--sandboxes", "old", sandbox, "--format", "json"])
                .await;
            let differences = differences(&said.out);
            // Ids and times are of the sandbox: without a second run nobody knows that they are noise.
            let entries = differences
                .iter()
                .filter(|line| line.contains("column entry"));
            let expected = (sandbox == "new").then_some(
                "changes | public.order_log: inserts other values in column entry |  | ",
            );
            assert_eq!(
                entries.collect::<Vec<_>>(),
                expected.into_iter().collect::<Vec<_>>(),
                "{}",
                said.out
            );
            desk.run(&["sandbox", "reset", sandbox]).await;
        }
    }
    let said = desk
        .run(&["compare", "--sandboxes", "old", "no-such"])
        .await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("you have no sandbox \"no-such\""),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn kinds_can_be_ignored() {
    let desk = Desk::new().await;
    let (a, b) = ("SELECT 1", "SELECT 1; SELECT 2 AS two");
    desk.psql(&["--ignore", "statements"], a, b, 0).await;
    desk.psql(&["--ignore", "results"], a, b, 1).await;
}

#[tokio::test]
async fn plans_and_queries_in_a_loop() {
    let desk = Desk::new().await;
    let query = "SELECT total FROM orders WHERE account_id = 3";
    let without = format!("SET enable_bitmapscan = off; SET enable_indexscan = off; {query}");
    let with = format!("SET enable_bitmapscan = off; SET enable_seqscan = off; {query}");
    // Settings are the connection's; EXPLAIN runs on another. So the plan changes by what is in the table.
    let said = desk.psql(&["--format", "json"], &without, &with, 1).await;
    assert!(!said.out.contains("\"plans\""), "{}", said.out);
    let fill = "CREATE TABLE big AS SELECT n, n % 7 AS m FROM generate_series(1, 20000) n;";
    let a = format!("{fill} ANALYZE big; SELECT m FROM big WHERE n = 5");
    let b =
        format!("{fill} CREATE INDEX big_n ON big (n); ANALYZE big; SELECT m FROM big WHERE n = 5");
    let said = desk.psql(&[], &a, &b, 1).await;
    assert!(
        said.out.contains("plans       is planned in another way"),
        "{}",
        said.out
    );
    let plans = "(A: Seq Scan on big, B: Index Scan using big_n on big)";
    assert!(said.out.contains(plans), "{}", said.out);

    let each: String = (1..=12)
        .map(|n| format!("SELECT total FROM orders WHERE id = {n};"))
        .collect();
    let said = desk
        .psql(
            &[],
            "SELECT total FROM orders WHERE id IN (1, 2, 3)",
            &each,
            1,
        )
        .await;
    assert!(said.out.contains("(N+1)?"), "{}", said.out);
}

#[tokio::test]
async fn assertions_hold_or_show_the_rows_that_break_them() {
    let desk = Desk::new().await;
    let file = desk.file(
        "checks.sql",
        "-- no order without an account\n\
         SELECT o.id FROM orders o LEFT JOIN accounts a ON a.id = o.account_id WHERE a.id IS NULL;\n\
         SELECT count(*) = 20 FROM accounts;\n\
         SELECT name, balance FROM accounts WHERE balance > 190 ORDER BY id;\n",
    );
    let psql = |script| {
        [
            "compare", "--assert", &file, "--", "psql", "-XqAt", "-c", script,
        ]
        .map(str::to_owned)
    };
    let run = async |script| {
        let words = psql(script);
        desk.run(&words.each_ref().map(String::as_str)).await
    };
    let good = run("UPDATE accounts SET balance = 5 WHERE id = 20").await;
    assert_eq!(good.code, Some(0), "{}{}", good.out, good.err);
    assert!(
        good.out.ends_with("0 of 3 assertions failed\n"),
        "{}",
        good.out
    );
    let bad = run("UPDATE accounts SET balance = 500 WHERE id < 3; SELECT 1").await;
    assert_eq!(bad.code, Some(1), "{}{}", bad.out, bad.err);
    for part in [
        "FAILED  A  ",
        "checks.sql:4  3 rows",
        "name = Person 1, balance = 500.00",
        "name = Person 20, balance = 200.00",
        "1 of 3 assertions failed",
    ] {
        assert!(bad.out.contains(part), "{part}\n{}", bad.out);
    }
    let broken = desk.file("broken.sql", "SELECT no_such FROM accounts");
    let said = desk
        .psql(&["--assert", &broken], "SELECT 1", "SELECT 1", 1)
        .await;
    assert!(
        said.out
            .contains("column \"no_such\" does not exist (42703)"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("same: no difference") || said.out.contains("2 of 2 assertions failed"),
        "{}",
        said.out
    );
    desk.nothing_is_left().await;
}

#[tokio::test]
async fn a_reference_is_compared_with_later() {
    let desk = Desk::new().await;
    let script = "INSERT INTO orders (account_id, total) VALUES (1, 5) RETURNING id; SELECT name FROM accounts ORDER BY id";
    let save = [
        "compare",
        "--save",
        "reference.json",
        "--",
        "psql",
        "-XqAt",
        "-c",
        script,
    ];
    let said = desk.run(&save).await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let reference = desk.read("reference.json");
    assert!(!reference.contains("Person"), "no value is stored");
    let against = |script| {
        [
            "compare",
            "--against",
            "reference.json",
            "--",
            "psql",
            "-XqAt",
            "-c",
            script,
        ]
    };
    let said = desk.run(&against(script)).await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let changed = format!("UPDATE accounts SET name = 'x' WHERE id = 5; {script}");
    let said = desk.run(&against(&changed)).await;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(
        said.out.contains("other values in column name"),
        "{}",
        said.out
    );
    desk.file("reference.json", "{}");
    let said = desk.run(&against(script)).await;
    assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
    assert!(
        said.err.contains("is no reference") && said.err.contains("hint: "),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn a_page_stands_alone_and_runs_nothing() {
    let desk = Desk::new().await;
    let (a, b) = (
        "SELECT '1' AS \"<script>alert(1)</script>\"",
        "SELECT '2' AS \"<script>alert(1)</script>\"",
    );
    let said = desk
        .psql(&["--format", "html", "--out", "report.html"], a, b, 1)
        .await;
    assert!(
        said.out.is_empty() && said.err.contains("report.html"),
        "{}",
        said.err
    );
    let page = desk.read("report.html");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(
        page.contains("other values in column &lt;script&gt;"),
        "{page}"
    );
    for absent in ["<script", "http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(!page.contains(PASSWORD), "{page}");
}

#[tokio::test]
async fn the_password_is_nowhere() {
    let desk = Desk::new().await;
    // An argument that holds it is the developer's own doing; the report leaves it out all the same.
    let given = desk.proxy.url();
    let quiet = "psql -XqAt \"$DATABASE_URL\" -c 'SELECT 1'";
    let telling =
        format!("tr '\\0' '\\n' < /proc/$PPID/cmdline; tr '\\0' '\\n' < /proc/$$/cmdline; {quiet}");
    for (words, code) in [
        (
            &["sh", "-c", quiet, "sh", &given, "---", "sh", "-c", quiet][..],
            0,
        ),
        (&["sh", "-c", &telling, "---", "sh", "-c", &telling], 0),
    ] {
        let words = [&["compare", "--format", "json", "--"], words].concat();
        let said = desk.run(&words).await;
        let all = said.out + &said.err;
        assert_eq!(said.code, Some(code), "{all}");
        assert!(!all.contains(PASSWORD), "{all}");
    }
}

#[tokio::test]
async fn commands_that_do_not_behave() {
    let desk = Desk::new().await;
    let cases: &[(&[&str], &str, &str, i32)] = &[
        (&[], "true", "neither command connected", 2),
        (&[], "no-such-program-here", "exit status 127", 2),
        (
            &["--timeout", "1"],
            "psql -XqAt -c 'SELECT 1' & sleep 600",
            "did not end within 1 s",
            2,
        ),
        (
            &["--timeout", "1"],
            "trap '' TERM; psql -XqAt -c 'CREATE TABLE t (n int); SELECT pg_sleep(600)'",
            "did not end",
            2,
        ),
        // A service in the background keeps its connection; it is ended with its command.
        (
            &[],
            "psql -XqAt -c 'SELECT pg_sleep(600)' & sleep 0.5",
            "no difference",
            0,
        ),
        (
            &[],
            "psql -XqAt -c 'SELECT 1'; kill -9 $$",
            "exit status 137",
            0,
        ),
    ];
    for (options, script, expected, code) in cases {
        let mut words = vec!["compare"];
        words.extend_from_slice(options);
        words.extend_from_slice(&["--", "sh", "-c", script, "---", "sh", "-c", script]);
        let said = tokio::time::timeout(Duration::from_secs(60), desk.run(&words))
            .await
            .expect(script);
        assert_eq!(said.code, Some(*code), "{script}\n{}{}", said.out, said.err);
        let all = said.out + &said.err;
        assert!(
            all.contains(expected) || script.starts_with("no-such"),
            "{script}\n{all}"
        );
        desk.nothing_is_left().await;
    }
    let one = "psql -XqAt -c 'SELECT 1'";
    let said = desk
        .run(&["compare", "--", "sh", "-c", one, "---", "true"])
        .await;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    for words in [
        &["compare", "--", "true"][..],
        &["compare", "--", "true", "---"],
        &["compare", "--", "---", "true"],
    ] {
        let said = desk.run(words).await;
        assert_eq!(said.code, Some(2), "{words:?}");
        assert!(said.err.contains("hint: "), "{}", said.err);
    }
}

#[tokio::test]
async fn an_interrupted_comparison_leaves_nothing() {
    let desk = Desk::new().await;
    let script = "psql -XqAt -c 'CREATE TABLE t (n int)'; touch begun; sleep 600";
    let child = desk
        .command(&["compare", "--", "sh", "-c", script, "---", "true"])
        .spawn()
        .unwrap();
    while !desk.path("begun").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let said = Desk::said(child).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("interrupted"), "{}", said.err);
    desk.nothing_is_left().await;
}

#[tokio::test]
async fn masks_and_budgets_hold_in_a_comparison() {
    let policy = "default = { as = \"clear\", opens_unclassified = true, because = \"a test\" }\n\
        [table.public.accounts]\nemail = \"email\"\n\
        [[budget]]\nwho = [\"*\"]\ntable = \"public.accounts\"\nper = \"1h\"\nrows = 50\n";
    let setup = harness::Setup {
        policy: Some(policy.to_owned()),
        ..harness::Setup::default()
    };
    let desk = Desk::of(harness::proxy_with(harness::database().await, setup).await);
    let checks = desk.file("checks.sql", "SELECT email FROM accounts WHERE id = 7");
    let script = "SELECT email FROM accounts";
    // Twice twenty rows and the assertion's one: the third run is cut.
    let said = desk.psql(&["--assert", &checks], script, script, 1).await;
    assert!(said.out.contains("53400"), "{}", said.out);
    assert!(said.out.contains("email = "), "{}", said.out);
    assert!(!said.out.contains("person7@example.com"), "{}", said.out);
}
