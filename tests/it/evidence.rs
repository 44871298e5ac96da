//! Runs of compare, assert and rehearse leave evidence that the proxy signs: what is in it, and what never is.

use serde_json::{Value, json};

use super::compare_kit::Desk;
use super::evidence_kit::{MARKER, Tree, statement};
use super::harness::{self, wire};

/// What the command said of itself.
fn command(statement: &Value) -> &Value {
    &statement["predicate"]["devinprod"]["command"]
}

/// What the proxy said.
fn proxy(statement: &Value) -> &Value {
    &statement["predicate"]["devinprod"]["proxy"]
}

/// Kind and result of each.
fn results(statements: &[Value]) -> Vec<String> {
    let result = |it: &Value| {
        let (kind, result) = (&command(it)["kind"], &it["predicate"]["result"]);
        format!("{} {}", kind.as_str().unwrap(), result.as_str().unwrap())
    };
    statements.iter().map(result).collect()
}

#[tokio::test]
async fn a_comparison_and_its_assertions_leave_evidence() {
    let tree = Tree::new().await;
    let script = format!(
        "UPDATE accounts SET name = '{MARKER}' WHERE id = 1; SELECT name, email FROM accounts WHERE name = '{MARKER}'"
    );
    let options = ["--assert", "checks.sql", "--evidence", "evidence.jsonl"];
    let said = tree.compare(&options, &[&script, &script], 0).await;
    let short = &tree.commit[..12];
    for kind in ["compare", "assert"] {
        let note = format!("evidence: {kind} passed for {short} on app\n");
        assert!(said.err.contains(&note), "{}", said.err);
    }
    let statements = tree.statements("evidence.jsonl");
    assert_eq!(results(&statements), ["compare PASSED", "assert PASSED"]);
    for statement in &statements {
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        let digest = json!([{"digest": {"gitCommit": tree.commit}}]);
        assert_eq!(statement["subject"], digest);
        let witness = proxy(statement);
        for (field, expected) in [
            ("developer", "dev1"),
            ("upstream", "app"),
            ("stage", "test"),
            ("isolation", "sandbox"),
        ] {
            assert_eq!(witness[field], expected);
        }
        assert_eq!(command(statement)["tree"], "clean");
        assert_eq!(command(statement)["command"], "psql ? ? ? ? ?");
        assert!(!statement.to_string().contains(MARKER), "{statement}");
        assert!(
            !statement.to_string().contains("example.com"),
            "{statement}"
        );
    }
    let figures = &command(&statements[0])["figures"];
    assert_eq!(
        (&figures["differences"], &figures["exit_b"]),
        (&json!(0), &json!(0))
    );
    let asserted = command(&statements[1]);
    assert_eq!(asserted["figures"]["assertions"], 2, "after each command");
    assert_eq!(asserted["inputs"][0]["name"], "checks.sql");

    // The policy is the one that the statements were under.
    let search = [
        "audit",
        "search",
        "--dir",
        "audit",
        "--event",
        "statement",
        "--json",
    ];
    let lines = tree.run(&search, 0).await.out;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let policy = &first["unmapped"]["policy"];
    assert!(policy.is_string() && proxy(&statements[0])["policy"] == *policy);

    // The same is on record, in a log that is whole, and signed by the key that the log is signed with.
    let key = tree.key();
    tree.run(&["audit", "verify", "audit", "--key", &key], 0)
        .await;
    let lines = [
        "audit", "search", "--dir", "audit", "--event", "evidence", "--json",
    ];
    let lines = tree.run(&lines, 0).await.out;
    assert!(!lines.contains(MARKER));
    let logged: Vec<Value> = lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["actor"]["user"]["name"], "dev1");
            assert_eq!(line["unmapped"]["commit"], *tree.commit);
            assert_eq!(line["src_endpoint"]["ip"], "127.0.0.1");
            statement(&line["unmapped"]["envelope"].to_string())
        })
        .collect();
    assert_eq!(logged, statements);
    let verify = [
        "evidence",
        "verify",
        "evidence.jsonl",
        "--audit",
        "audit",
        "--key",
        &key,
    ];
    let said = tree.run(&verify, 0).await;
    assert_eq!(said.out, "signed: 2 pieces of evidence\n", "each once");
}

#[tokio::test]
async fn what_did_not_work_is_evidence_too() {
    let tree = Tree::new().await;
    let nothing = "SELECT count(*) FROM orders";
    let orphan = "ALTER TABLE orders DISABLE TRIGGER ALL";
    let options = ["--assert", "checks.sql", "--evidence", "e.jsonl"];
    let writes = "UPDATE accounts SET balance = 1 WHERE id = 2";
    tree.compare(&options, &[nothing, writes], 1).await;
    // Both do the same, and both fail: that assertions hold on what is left says nothing.
    tree.compare(&options, &[orphan, orphan], 0).await;
    // It never came to the database.
    let words = [
        "compare",
        "--assert",
        "checks.sql",
        "--evidence",
        "e.jsonl",
        "--",
        "true",
    ];
    tree.run(&words, 0).await;
    tree.desk.file("never.sql", "SELECT id FROM accounts");
    tree.compare(
        &["--assert", "never.sql", "--evidence", "e.jsonl"],
        &[nothing],
        1,
    )
    .await;
    let statements = tree.statements("e.jsonl");
    assert_eq!(
        results(&statements),
        [
            "compare FAILED",
            "assert PASSED",
            "compare FAILED",
            "assert FAILED",
            "assert FAILED",
            "assert FAILED"
        ]
    );
    // A new file is a change, but for the one that evidence is written to.
    let trees: Vec<&Value> = statements.iter().map(|it| &command(it)["tree"]).collect();
    assert_eq!(
        trees,
        ["clean", "clean", "clean", "clean", "clean", "changed"]
    );
    assert_eq!(command(&statements[5])["figures"]["assertions_failed"], 1);
}

#[tokio::test]
async fn the_work_tree_is_told_as_it_was() {
    let tree = Tree::new().await;
    let script = "SELECT 1 FROM accounts";
    let mut expected: Vec<Value> = Vec::new();
    let run = async |options: &[&str], state: &str, expected: &mut Vec<Value>| {
        let mut all = vec!["--assert", "checks.sql", "--evidence", "e.jsonl"];
        all.extend(options);
        tree.compare(&all, &[script], 0).await;
        expected.push(state.into());
    };
    tree.desk
        .file("checks.sql", &format!("{} --", super::evidence_kit::HOLDS));
    run(&[], "changed", &mut expected).await;
    tree.commit();
    run(&[], "clean", &mut expected).await;
    run(&["--change", &tree.commit], "other", &mut expected).await;
    run(&["--change", "HEAD~1"], "other", &mut expected).await;
    std::fs::rename(tree.desk.path(".git"), tree.desk.path("audit.git")).unwrap();
    run(&["--change", &tree.commit], "none", &mut expected).await;
    let statements = tree.statements("e.jsonl");
    let trees = statements.iter().map(|it| &command(it)["tree"]);
    assert_eq!(
        trees.collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    // Without a work tree nothing is left, and asking for it is an error before anything runs.
    let said = tree
        .compare(&["--assert", "checks.sql"], &[script], 0)
        .await;
    assert!(!said.err.contains("evidence"), "{}", said.err);
    let asked = ["--assert", "checks.sql", "--evidence", "f.jsonl"];
    let said = tree.compare(&asked, &[script], 2).await;
    assert!(said.err.contains("there is no commit"), "{}", said.err);
    assert!(!said.err.contains("A: psql"), "{}", said.err);
    let said = tree
        .compare(&["--assert", "checks.sql", "--change", "abc"], &[script], 2)
        .await;
    assert!(said.err.contains("no commit \"abc\""), "{}", said.err);
}

#[tokio::test]
async fn a_proxy_without_a_log_signs_nothing() {
    let desk = Desk::new().await;
    desk.file("checks.sql", super::evidence_kit::HOLDS);
    super::evidence_kit::begin(desk.folder.path());
    let run = async |options: &[&str]| {
        let mut words = vec!["compare", "--assert", "checks.sql"];
        words.extend(options);
        words.extend(["--", "psql", "-XqAt", "-c", "SELECT 1 FROM orders"]);
        desk.run(&words).await
    };
    let said = run(&[]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let note = "no evidence was left: this proxy has nothing to sign evidence with";
    assert!(said.err.contains(note), "{}", said.err);
    let said = run(&["--evidence", "e.jsonl"]).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("hint: Use a proxy"), "{}", said.err);
    assert!(!desk.path("e.jsonl").exists());
    let said = run(&["--no-evidence"]).await;
    assert!(!said.err.contains("evidence"), "{}", said.err);
}

#[tokio::test]
async fn nobody_signs_for_another_or_for_what_they_may_not_use() {
    let tree = Tree::new().await;
    let url = tree
        .desk
        .proxy
        .url_for("dev2")
        .replace("/app", "/devinprod");
    let mut console = wire::Client::connect(&url).await;
    let claim = |change: &str| {
        let claim = format!(
            r#"{{"kind":"assert","commit":"{}","tree":"clean","passed":true,"upstream":"app","command":"x"}}"#,
            tree.commit
        );
        let (from, to) = change.split_once('>').unwrap();
        assert!(claim.contains(from));
        format!("RECORD EVIDENCE '{}'", claim.replacen(from, to, 1))
    };
    // Whoever says it is the one that the evidence names.
    let said = console.simple(&claim("x>y")).await;
    assert!(said.contains("DataRow"), "{said}");
    for (change, expected) in [
        ("\"app\">\"other\"", "database \"other\" does not exist"),
        (
            "\"x\"}>\"x\",\"developer\":\"ci\"}",
            "no evidence that can be signed",
        ),
        (
            "\"x\"}>\"x\",\"stage\":\"prod\"}",
            "no evidence that can be signed",
        ),
        ("{>[", "no evidence that can be signed"),
    ] {
        let said = console.simple(&claim(change)).await;
        assert!(
            said.contains(expected) && said.contains("ERROR"),
            "{change}: {said}"
        );
    }
    let list = ["evidence", "list", "--audit", "audit", "--format", "json"];
    let listed: Value = serde_json::from_str(&tree.run(&list, 0).await.out).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["proxy"]["developer"], "dev2");
}

#[tokio::test]
async fn a_rehearsal_leaves_evidence() {
    let database = harness::database().await;
    let owner = format!("{}_owner", database.name);
    let admin = database.connect().await;
    let sql = format!(
        "CREATE ROLE {owner};
        GRANT TEMPORARY ON DATABASE {} TO {owner};
        ALTER TABLE accounts OWNER TO {owner}",
        database.name
    );
    admin.batch_execute(&sql).await.unwrap();
    let url = database.url_as(&format!("{owner}_deploy"), "secret");
    let tree = Tree::on(database).await;
    let sql = format!("CREATE ROLE {owner}_deploy LOGIN PASSWORD 'secret' IN ROLE {owner}");
    admin.batch_execute(&sql).await.unwrap();
    let works = format!("ALTER TABLE accounts ADD COLUMN c text DEFAULT '{MARKER}'");
    tree.desk.file("works.sql", &works);
    tree.desk.file(
        "fails.sql",
        "ALTER TABLE accounts ADD CHECK (balance > 100)",
    );
    let commit = tree.commit();
    for (file, code) in [("works.sql", 0), ("fails.sql", 1)] {
        let words = [
            "rehearse",
            file,
            "--as",
            &owner,
            "--url",
            &url,
            "--evidence",
            "e.jsonl",
        ];
        let said = tree.run(&words, code).await;
        assert!(said.err.contains("evidence: rehearse"), "{}", said.err);
    }
    let statements = tree.statements("e.jsonl");
    assert_eq!(results(&statements), ["rehearse PASSED", "rehearse FAILED"]);
    for (statement, file) in statements.iter().zip(["works.sql", "fails.sql"]) {
        assert_eq!(statement["subject"][0]["digest"]["gitCommit"], *commit);
        assert_eq!(proxy(statement)["upstream"], "app");
        assert_eq!(command(statement)["inputs"][0]["name"], file);
        let file = &statement["predicate"]["configuration"][0];
        assert_eq!(file["digest"]["sha256"].as_str().unwrap().len(), 64);
        let text = statement.to_string();
        for secret in [MARKER, "secret", "postgres://"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    // Nobody to sign: an error before anything runs, if it was asked for.
    let mut command = tree
        .desk
        .command(&["rehearse", "works.sql", "--as", &owner, "--url", &url]);
    command.env_remove("DATABASE_URL");
    let said = Desk::said(command.spawn().unwrap()).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let asked = [
        "rehearse",
        "works.sql",
        "--as",
        &owner,
        "--url",
        &url,
        "--evidence",
        "f",
    ];
    let mut command = tree.desk.command(&asked);
    command.env_remove("DATABASE_URL");
    let said = Desk::said(command.spawn().unwrap()).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("no proxy to sign"), "{}", said.err);
}
