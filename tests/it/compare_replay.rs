//! `devinprod record` and `devinprod replay`.

use serde_json::Value;

use super::compare_kit::{Desk, PASSWORD};
use super::harness::{self, scalar};

/// The lines of a recording, the header first.
fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const SCRIPT: &str = "SELECT name FROM accounts WHERE email = 'person7@example.com';
    INSERT INTO accounts (email, name) VALUES ('Anna.Berg@example.com', 'Anna Berg');
    UPDATE accounts SET balance = 12345 WHERE id < 4";

async fn record(desk: &Desk, options: &[&str]) -> Vec<Value> {
    let words = [
        &["record", "--out", "r.jsonl"],
        options,
        &["--", "psql", "-XqAt", "-c", SCRIPT],
    ]
    .concat();
    let said = desk.run(&words).await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.err.contains("3 statements"), "{}", said.err);
    lines(&desk.read("r.jsonl"))
}

#[tokio::test]
async fn a_recording_has_no_value_unless_it_is_asked_for() {
    let desk = Desk::new().await;
    let lines = record(&desk, &[]).await;
    let text = desk.read("r.jsonl");
    for gone in ["Anna", "Berg", "person7", "12345", PASSWORD] {
        assert!(!text.contains(gone), "{gone}\n{text}");
    }
    assert_eq!(lines[0]["keeps_parameters"], false);
    assert_eq!(
        lines[0]["command"]
            .as_str()
            .unwrap()
            .matches("psql")
            .count(),
        1
    );
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1]["rows"], 1);
    // It belongs to its owner alone, as what else tells of the data.
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &desk.path("r.jsonl").metadata().unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    desk.run(&["sandbox", "reset", "default"]).await;
    let lines = record(&desk, &["--keep-parameters"]).await;
    let text = desk.read("r.jsonl");
    assert!(text.contains("Anna.Berg@example.com"), "{text}");
    assert_eq!(lines[3]["rows"], 3);
}

#[tokio::test]
async fn a_replay_says_what_became_of_it() {
    let desk = Desk::new().await;
    let before = harness::dump(&desk.proxy.database).await;
    record(&desk, &["--keep-parameters"]).await;
    desk.run(&["sandbox", "reset", "default"]).await;
    let replay = async |options: &[&str]| {
        let said = desk
            .run(&[&["replay", "r.jsonl", "--json"], options].concat())
            .await;
        let report: Value =
            serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err));
        (report, said.code)
    };
    let (report, code) = replay(&["--speed", "max"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (&report["executions"], &report["other_rows"]),
        (&3.into(), &0.into())
    );
    desk.nothing_is_left().await;

    // The same on another version of the schema, in a sandbox that stays.
    desk.run(&[
        "run",
        "--sandbox",
        "v2",
        "--",
        "psql",
        "-XqAt",
        "-c",
        "UPDATE accounts SET email = 'gone' WHERE id = 7",
    ])
    .await;
    let (report, code) = replay(&["--sandbox", "v2", "--speed", "10"]).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["other_rows"], 1);
    let line = report["statements"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["other_rows"] == 1)
        .unwrap();
    assert_eq!(line["rows"], serde_json::json!([1, 0]));
    // Again in the same sandbox: the account is there already.
    let (report, _) = replay(&["--sandbox", "v2", "--speed", "max"]).await;
    let line = report["statements"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["other_outcome"] == 1)
        .unwrap();
    assert!(
        line["outcome"][1].as_str().unwrap().starts_with("23505 "),
        "{line}"
    );

    let (report, code) = replay(&["--clients", "2", "--speed", "max"]).await;
    assert_eq!(report["executions"], 6, "{report}");
    assert_eq!(report["all"]["count"], 6);
    assert!(code.is_some());
    assert_eq!(harness::dump(&desk.proxy.database).await, before);
}

/// What drivers send: prepared statements, binary parameters, several connections.
#[tokio::test]
async fn parameters_are_replayed_as_they_were_sent() {
    use devinprod::compare::replay::{Pace, replay};
    use devinprod::tap::recording::Recorded;
    use devinprod::tap::{Mask, Seen, Sink, Tap};
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Kept(Mutex<Vec<Recorded>>, Mutex<Vec<Recorded>>);
    impl Sink for Kept {
        fn seen(&self, seen: Seen) {
            if let Seen::Execution(execution) = seen {
                self.0.lock().unwrap().push(Recorded::of(&execution, None));
                let mask = Mask::random();
                self.1
                    .lock()
                    .unwrap()
                    .push(Recorded::of(&execution, Some(&mask)));
            }
        }
    }

    let proxy = harness::proxy().await;
    let kept = Arc::new(Kept::default());
    let tap = Tap::start(proxy.url().parse().unwrap(), kept.clone())
        .await
        .unwrap();
    let through = proxy
        .url()
        .replace(&format!(":{}/", proxy.port), &format!(":{}/", tap.port));
    for _ in 0..2 {
        let client = harness::connect(&through).await;
        let by_id = client.prepare("SELECT name, created_at FROM accounts WHERE id = $1 AND settings = $2::text::jsonb").await.unwrap();
        for id in [3_i64, 4, 99] {
            client.query(&by_id, &[&id, &"{}"]).await.unwrap();
        }
        let add =
            "INSERT INTO orders (account_id, total, placed_at) VALUES ($1, 12.5, to_timestamp($2))";
        client
            .execute(add, &[&3_i64, &1_700_000_000.5_f64])
            .await
            .unwrap();
        assert_eq!(
            scalar(&client, "SELECT count(*) FROM orders WHERE total = 12.5")
                .await
                .parse::<u32>()
                .ok()
                .map(|n| n > 0),
            Some(true)
        );
    }
    tap.finish(std::time::Duration::from_secs(5)).await;
    let recorded = kept.0.lock().unwrap().clone();
    assert_eq!(recorded.len(), 10);
    assert_eq!(
        recorded.iter().map(|one| one.rows).collect::<Vec<_>>(),
        [1, 1, 0, 1, 1, 1, 1, 0, 1, 1]
    );
    assert_eq!(recorded[0].types, [20, 25]);
    let address = proxy.url_for("dev1+again").parse().unwrap();
    let again = replay(&[address], &recorded, Pace { speed: None })
        .await
        .unwrap();
    assert_eq!((again.executions, again.skipped), (10, 0));
    assert_eq!((again.other_rows, again.other_outcome), (0, 0), "{again:?}");

    // With made-up values it runs as well: what is masked still has its type.
    let masked = kept.1.lock().unwrap().clone();
    // One value of a digit may be made up as itself, not all of them.
    let values =
        |all: &[Recorded]| -> Vec<_> { all.iter().map(|one| one.parameters.clone()).collect() };
    assert_ne!(values(&masked), values(&recorded));
    let address = proxy.url_for("dev1+masked").parse().unwrap();
    let again = replay(&[address], &masked, Pace { speed: None })
        .await
        .unwrap();
    assert_eq!(again.executions, 10);
    let syntax = again
        .statements
        .iter()
        .filter_map(|line| line.outcome.as_ref())
        .find(|(_, now)| now.starts_with("42"));
    assert_eq!(syntax, None);
}

#[tokio::test]
async fn what_cannot_be_replayed_is_said() {
    let desk = Desk::new().await;
    let said = desk.run(&["replay", "no-such-file"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("cannot be read"), "{}", said.err);
    desk.file("bad.jsonl", "{\"not\": \"one\"}\n");
    let said = desk.run(&["replay", "bad.jsonl"]).await;
    assert!(
        said.err.contains("is no recording") && said.err.contains("hint: "),
        "{}",
        said.err
    );
    for arguments in [
        &["--speed", "0"][..],
        &["--speed", "fast"],
        &["--clients", "0"],
    ] {
        let said = desk
            .run(&[&["replay", "bad.jsonl"], arguments].concat())
            .await;
        assert_eq!(said.code, Some(2), "{arguments:?}");
    }
    let copy = "COPY accounts (id) TO STDOUT";
    desk.run(&[
        "record", "--out", "c.jsonl", "--", "psql", "-XqAt", "-c", copy,
    ])
    .await;
    let said = desk.run(&["replay", "c.jsonl"]).await;
    assert!(said.out.contains("1 skipped"), "{}{}", said.out, said.err);
}
