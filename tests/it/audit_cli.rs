//! `devinprod audit`, on a log that was made for it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use devinprod::audit::{
    AuditSettings, Does, Event, EventKind, Log, Sink, StatementRecord, StatementShape, Verdict,
};

/// 2026-01-31T00:00:00Z
const DAY: u64 = 1_769_817_600;

fn audit(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_devinprod"))
        .arg("audit")
        .args(arguments)
        .current_dir(folder)
        .env_remove("DEVINPROD_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn stdout(folder: &Path, arguments: &[&str]) -> String {
    let output = audit(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn statement(day: u64, developer: &str, text: &str, table: &str, email: bool, rows: u64) -> Event {
    let record = StatementRecord {
        application: "psql".to_owned(),
        shape: Arc::new(StatementShape {
            text: text.to_owned(),
            fingerprint: "f".to_owned(),
            does: Does::Read,
            relations: vec![format!("public.{table}")],
            sensitive: email
                .then(|| format!("public.{table}.email"))
                .into_iter()
                .collect(),
            opaque: false,
        }),
        rows,
        bytes: rows * 10,
        rows_written: 0,
        duration: Duration::from_millis(1),
        verdict: Verdict::Done,
        policy: None,
        values: None,
    };
    Event {
        time: UNIX_EPOCH + Duration::from_secs(DAY + day * 86_400),
        ..Event::now(EventKind::Statement(Box::new(record)))
    }
    .developer(developer)
    .upstream("shop")
    .sandbox("default")
    .client(([127, 0, 0, 1], 4711).into())
}

/// A folder with a log of five days.
fn log() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let settings = AuditSettings::in_folder(&folder.path().join("audit"));
    let mut log = Log::open(&settings).unwrap();
    let read = "SELECT email FROM customers";
    let mut events = Vec::new();
    for day in 0..4 {
        events.push(statement(day, "dev1", read, "customers", true, 200 + day));
        events.push(statement(day, "dev2", read, "customers", true, 900));
    }
    events.push(statement(4, "dev1", read, "customers", true, 5_000));
    events.push(statement(4, "dev2", read, "customers", true, 950));
    events.push(statement(
        4,
        "dev2",
        "SELECT\n?, \"=x\"",
        "orders",
        false,
        1,
    ));
    events.push(
        Event::now(EventKind::Refused {
            sqlstate: "42501".to_owned(),
            message: "no".to_owned(),
        })
        .developer("dev3"),
    );
    log.write(&events).unwrap();
    log.close().unwrap();
    folder
}

#[test]
fn search_finds_what_fits() {
    let folder = log();
    let at = folder.path();
    let count = |filter: &[&str]| {
        let arguments = [&["search", "--dir", "audit"], filter].concat();
        stdout(at, &arguments).lines().count()
    };
    assert_eq!(count(&["--developer", "dev1"]), 5);
    assert_eq!(count(&["--developer", "dev1", "--table", "customers"]), 5);
    assert_eq!(count(&["--table", "public.customers"]), 10);
    assert_eq!(count(&["--table", "ustomers"]), 0);
    assert_eq!(count(&["--column", "email"]), 10);
    assert_eq!(count(&["--column", "orders.email"]), 0);
    assert_eq!(count(&["--event", "refused"]), 1);
    assert_eq!(count(&["--verdict", "done", "--since", "2026-02-04"]), 3);
    assert_eq!(
        count(&["--table", "customers", "--until", "2026-02-01T00:00:00Z"]),
        2
    );
    assert_eq!(count(&["--event", "refused", "--since", "7d"]), 1);
    insta::assert_snapshot!(
        stdout(at, &["search", "--dir", "audit", "--table", "orders"]),
        @r#"2026-02-04T00:00:00.000000Z  dev2  shop  done  1 rows  SELECT ?, "=x""#
    );
    let csv = stdout(
        at,
        &["search", "--dir", "audit", "--table", "orders", "--csv"],
    );
    assert!(csv.starts_with("time,sequence,event,developer,"), "{csv}");
    assert!(csv.ends_with(",dev2,127.0.0.1:4711,psql,shop,default,read,done,,1,public.orders,\"SELECT\n?, \"\"=x\"\"\"\n"), "{csv}");
    let json = stdout(
        at,
        &["search", "--dir", "audit", "--table", "orders", "--json"],
    );
    let line: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(line["class_uid"], 6005);
    let wrong = audit(at, &["search", "--dir", "audit", "--since", "yesterday"]);
    assert!(!wrong.status.success());
}

#[test]
fn tail_shows_the_last() {
    let folder = log();
    let shown = stdout(folder.path(), &["tail", "--dir", "audit", "-n", "2"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(lines[0].contains("  refused  42501  no"), "{shown}");
    assert!(lines[1].ends_with("  checkpoint"), "{shown}");
}

#[test]
fn tail_follows_into_the_next_segment() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut settings = AuditSettings::in_folder(&folder.path().join("audit"));
    settings.segment_size = 1;
    let mut log = Log::open(&settings).unwrap();
    let follower = || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_devinprod"))
            .args(["audit", "tail", "-f", "--event", "reloaded", "--dir"])
            .arg(&settings.folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, shown)
    };
    // Neither takes a line away from the other, and one that comes later gets those that are new.
    let mut followers = vec![follower(), follower()];
    for n in 0..5 {
        if n == 3 {
            followers.push(follower());
        }
        let event = Event::now(EventKind::Reloaded).developer(format!("dev{n}"));
        log.write(&[event]).unwrap();
        for (_, shown) in &mut followers {
            let mut line = shown.next().unwrap().unwrap();
            while n == 3 && line.contains("  dev2  ") {
                line = shown.next().unwrap().unwrap();
            }
            assert!(line.contains(&format!("  dev{n}  ")), "{line}");
        }
    }
    for (mut child, _) in followers {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn report_says_who_read_what_and_what_is_unusual() {
    let folder = log();
    let at = folder.path();
    insta::assert_snapshot!(stdout(at, &["report", "--dir", "audit"]), @r"
    developer  upstream  column                  statements  rows  stopped  first                        last
    dev1       shop      public.customers.email           5  5806        0  2026-01-31T00:00:00.000000Z  2026-02-04T00:00:00.000000Z
    dev2       shop      public.customers.email           5  4550        0  2026-01-31T00:00:00.000000Z  2026-02-04T00:00:00.000000Z

    unusual days: far more sensitive rows than the developer's median of the days before

    developer  day         rows  median
    dev1       2026-02-04  5000     201
    dev2       2026-01-31   900       -
    dev1       2026-01-31   200       -
    ");
    insta::assert_snapshot!(stdout(at, &["report", "--dir", "audit", "--format", "csv"]), @r"
    developer,upstream,column,statements,rows,stopped,first,last
    dev1,shop,public.customers.email,5,5806,0,2026-01-31T00:00:00.000000Z,2026-02-04T00:00:00.000000Z
    dev2,shop,public.customers.email,5,4550,0,2026-01-31T00:00:00.000000Z,2026-02-04T00:00:00.000000Z
    ");
    let json = stdout(
        at,
        &[
            "report",
            "--dir",
            "audit",
            "--format",
            "json",
            "--developer",
            "dev1",
        ],
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["columns"][0]["rows"], 5_806);
    assert_eq!(json["unusual"][0]["median"], 201);
}

#[test]
fn verify_and_its_exit_codes() {
    let folder = log();
    let at = folder.path();
    fs::write(
        at.join("devinprod.toml"),
        "[[upstream]]\nname = \"a\"\nurl = \"postgres://p@h/d\"\nstage = \"test\"\n",
    )
    .unwrap();
    let key = stdout(at, &["key"]);
    let key = key.trim();
    let whole = stdout(
        at,
        &["verify", "--key", key, "--checkpoints", "audit.checkpoints"],
    );
    insta::assert_snapshot!(whole, @"whole: the records 1 to 15 in 1 segments, with 2 checkpoints, 2 of them known to the second place");
    fs::write(at.join("pub"), format!("{key}\n")).unwrap();
    stdout(at, &["verify", "audit", "--key", "pub"]);
    let segment = at.join("audit/00000000000000000001.jsonl");
    let text = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, text.replacen("\"rows\":5000", "\"rows\":50", 1)).unwrap();
    let found = audit(at, &["verify", "audit"]);
    assert_eq!(found.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(found.stdout).unwrap(),
        "00000000000000000001.jsonl:11: record 11 was changed after it was written\n"
    );
    for wrong in [
        &["verify", "nowhere"][..],
        &["verify", "audit", "--key", "nothing"],
    ] {
        assert_eq!(audit(at, wrong).status.code(), Some(3), "{wrong:?}");
    }
}

#[test]
fn the_schema_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(&stdout(folder.path(), &["schema"])).unwrap();
    assert_eq!(schema["properties"]["class_uid"]["const"], 6005);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(now.as_secs() > DAY, "the clock is right enough for --since");
}
