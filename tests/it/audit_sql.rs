//! The copy of the audit's log in a database.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use devinprod::audit::chain::Head;
use devinprod::audit::key::SigningKey;
use devinprod::audit::postgres::{AUDITOR, Comparison, Options, WRITER, compare, follow, script};
use devinprod::audit::record::event_line;
use devinprod::audit::search::{Filter, search};
use devinprod::audit::verify::{Against, verify};
use devinprod::audit::{
    AuditSettings, Does, Event, EventKind, Log, Sink, StatementRecord, StatementShape, Verdict,
};
use devinprod::cluster::Cluster;
use devinprod::wire::verifier::Verifier;
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use super::chaos_kit::{developers, eventually, unsealed_upstream};
use super::harness::wire;
use super::harness::{self, TestDatabase, scalar};
use super::notify_kit::{self, Web};
use super::process_kit::Process;

const DAY: Duration = Duration::from_secs(86_400);

/// A database that the audit is copied into, in a cluster of its own: its roles are no other test's business.
async fn audit_database(retention_days: Option<u32>) -> TestDatabase {
    static SHARED: OnceCell<(Cluster, TestDatabase)> = OnceCell::const_new();
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (cluster, first) = SHARED.get_or_init(harness::own_cluster).await;
    let name = format!("audit_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let admin = harness::connect(&first.url).await;
    admin
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    let mut database = first.clone();
    database.url = cluster.url(&name);
    database.name = name;
    make(&database, retention_days).await;
    database
}

/// Roles are the whole cluster's.
static ROLES: Mutex<()> = Mutex::const_new(());

/// Makes the schema, twice: the second time does no harm.
async fn make(database: &TestDatabase, retention_days: Option<u32>) {
    let _alone = ROLES.lock().await;
    let options = Options {
        verifier: Some(Verifier::from_password("secret", 4096)),
        retention_days,
    };
    let owner = database.connect().await;
    for _ in 0..2 {
        owner.batch_execute(&script(&options)).await.unwrap();
    }
}

fn writer_url(database: &TestDatabase) -> String {
    format!("{}?sslmode=disable", database.url_as(WRITER, "secret"))
}

fn begin_copy(log: &Log, database: &TestDatabase) -> JoinHandle<()> {
    let url = writer_url(database);
    let connect = move || {
        let url = url.clone();
        async move {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            tokio::spawn(connection);
            Ok::<Client, tokio_postgres::Error>(client)
        }
    };
    tokio::spawn(follow(log.feed(), connect))
}

fn statement(rows: u64) -> Event {
    let record = StatementRecord {
        application: "psql".to_owned(),
        shape: Arc::new(StatementShape {
            text: "SELECT email FROM customers\t-- \\N \"{,}\"".to_owned(),
            fingerprint: "f".to_owned(),
            does: Does::Read,
            relations: vec!["public.customers".to_owned()],
            sensitive: vec!["public.customers.email".to_owned(), "a.\"b,{}".to_owned()],
            opaque: false,
        }),
        rows,
        bytes: rows * 10,
        rows_written: 0,
        duration: Duration::from_micros(1_234),
        verdict: match rows {
            0 => Verdict::Refused {
                sqlstate: "42501".to_owned(),
            },
            _ => Verdict::Done,
        },
        policy: Some("v1".into()),
        values: None,
    };
    Event::now(EventKind::Statement(Box::new(record)))
        .developer("dev1")
        .upstream("shop")
        .stage("preprod")
        .client("[::1]:4711".parse().unwrap())
}

fn settings(folder: &tempfile::TempDir) -> AuditSettings {
    AuditSettings {
        segment_size: 5_000,
        ..AuditSettings::in_folder(&folder.path().join("audit"))
    }
}

async fn compared(audit: &Path, database: &TestDatabase) -> Comparison {
    let verdict = verify(audit, &Against::default()).unwrap();
    assert!(verdict.is_whole(), "{:#?}", verdict.findings);
    let client = database.connect().await;
    compare(audit, &verdict.log.unwrap(), &client)
        .await
        .unwrap()
}

/// The table has each line of the log, in every column, once.
async fn assert_same(audit: &Path, database: &TestDatabase) {
    let comparison = compared(audit, database).await;
    assert!(comparison.findings.is_empty(), "{comparison:#?}");
    assert!(comparison.notes.is_empty(), "{comparison:#?}");
    let client = database.connect().await;
    let sql = "SELECT count(*) || ' ' || min(sequence) || ' ' || max(sequence) || ' ' || count(DISTINCT sequence)
        FROM devinprod_audit.records";
    let same = comparison.same;
    assert_eq!(
        scalar(&client, sql).await,
        format!("{same} 1 {same} {same}")
    );
    let breaks = "SELECT count(*) FROM devinprod_audit.breaks";
    assert_eq!(scalar(&client, breaks).await, "0");
}

fn config(upstream: &TestDatabase, copy: &TestDatabase) -> String {
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[audit]\nsql_url = \"{}\"\n{}{}",
        writer_url(copy),
        unsealed_upstream("app", &format!("{}?sslmode=disable", upstream.url), ""),
        developers(&["dev1"])
    )
}

#[tokio::test]
async fn kills_leave_no_gap_and_write_nothing_twice() {
    let upstream = harness::database().await;
    let copy = audit_database(None).await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&upstream, &copy);
    let witness = copy.connect().await;
    let count = "SELECT count(*) FROM devinprod_audit.records";
    for round in 0..6_usize {
        let mut process = Process::start_in(folder.path(), &config, "");
        let mut client = wire::Client::connect(&process.url("dev1")).await;
        let before: usize = scalar(&witness, count).await.parse().unwrap();
        // At first it is killed while it copies, then while nothing is copied yet.
        while scalar(&witness, count).await.parse::<usize>().unwrap() <= before + round {
            for _ in 0..20 {
                client.simple("SELECT 1").await;
            }
            if round > 3 {
                break;
            }
        }
        // The loop ends just behind a COMMIT; what comes now is copied in the next batch, or half of it.
        for _ in 0..rand::random_range(0..400) {
            client.simple("SELECT 1").await;
        }
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }
    let process = Process::start_in(folder.path(), &config, "");
    wire::Client::connect(&process.url("dev1"))
        .await
        .simple("SELECT 1")
        .await;
    assert!(process.stop().success());
    assert_same(&folder.path().join("audit"), &copy).await;
}

#[tokio::test]
async fn nobody_waits_for_a_database_that_is_away_and_what_it_missed_is_copied() {
    let (mut cluster, copy) = harness::own_cluster().await;
    make(&copy, None).await;
    let upstream = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let told = Web::start(vec![notify_kit::Does::status(200)]);
    let config = format!(
        "{}[[notify]]\nname = \"team\"\nkind = \"webhook\"\nurl = \"{}\"\n",
        config(&upstream, &copy),
        told.url("/")
    );
    let process = Process::start_in(folder.path(), &config, "");
    let mut client = wire::Client::connect(&process.url("dev1")).await;
    client.simple("SELECT 1 AS before").await;
    let records = |part: &'static str| {
        let copy = copy.clone();
        async move {
            let client = copy.connect().await;
            let sql = format!(
                "SELECT count(*) FROM devinprod_audit.records WHERE statement LIKE '%{part}%' OR event = '{part}'"
            );
            scalar(&client, &sql).await
        }
    };
    eventually("the first is copied", || async {
        records("before").await == "1"
    })
    .await;
    cluster.kill().unwrap();
    for _ in 0..50 {
        let answer = client.simple("SELECT 1 AS during").await;
        assert!(answer.contains("SELECT 1"), "{answer}");
    }
    let audit = folder.path().join("audit");
    let noted = |event: &str| {
        let filter = Filter {
            event: Some(event.to_owned()),
            ..Filter::default()
        };
        let mut found = 0;
        search(&audit, &filter, |_, _| {
            found += 1;
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
        found
    };
    eventually("it is noted", || async { noted("sql_lost") == 1 }).await;
    let lost = told.next_with("is not being copied into its database").json;
    assert_eq!(
        (&lost["event"], &lost["state"]),
        (&"audit".into(), &"trouble".into())
    );
    cluster.restart().await.unwrap();
    eventually("all is copied", || async {
        records("during").await == "50" && records("sql_back").await == "1"
    })
    .await;
    let back = told
        .next_with("is being copied into its database again")
        .json;
    assert_eq!(back["state"], "over");
    assert!(process.stop().success());
    assert_same(&audit, &copy).await;
}

#[tokio::test]
async fn the_writer_adds_and_the_auditor_reads_and_neither_changes_anything() {
    let database = audit_database(None).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let mut log = Log::open(&settings).unwrap();
    let copier = begin_copy(&log, &database);
    log.write(&[statement(7), statement(0)]).unwrap();
    log.close().unwrap();
    drop(log);
    copier.await.unwrap();
    let owner = database.connect().await;
    let auditor = format!("{}_auditor", database.name);
    owner
        .batch_execute(&format!(
            "CREATE ROLE {auditor} LOGIN PASSWORD 'secret' IN ROLE {AUDITOR}"
        ))
        .await
        .unwrap();
    let reading = harness::connect(&database.url_as(&auditor, "secret")).await;
    let read = "SELECT developer || sensitive_column || statements || rows || stopped
        FROM devinprod_audit.sensitive_reads WHERE sensitive_column LIKE '%email'";
    assert_eq!(
        scalar(&reading, read).await,
        "dev1public.customers.email271"
    );
    let writing = harness::connect(&database.url_as(WRITER, "secret")).await;
    let day = scalar(
        &owner,
        "SELECT to_char(max(day), 'YYYY_MM_DD') FROM devinprod_audit.records",
    )
    .await;
    let others = [
        "DELETE FROM devinprod_audit.records",
        "UPDATE devinprod_audit.records SET developer = 'x'",
        "TRUNCATE devinprod_audit.records",
        "DROP TABLE devinprod_audit.records",
        "ALTER TABLE devinprod_audit.records DISABLE TRIGGER ALL",
        "UPDATE devinprod_audit.logs SET last = 1",
        "DELETE FROM devinprod_audit.logs",
        "INSERT INTO devinprod_audit.logs VALUES ('x', 1, 1, '')",
        "UPDATE devinprod_audit.settings SET retention_days = 1",
        "CREATE TABLE devinprod_audit.mine (n int)",
        "DELETE FROM devinprod_audit.records_DAY",
        "DROP TABLE devinprod_audit.records_DAY",
        "TRUNCATE devinprod_audit.records_DAY",
        "ALTER TABLE devinprod_audit.records DETACH PARTITION devinprod_audit.records_DAY",
    ];
    for sql in others {
        let sql = sql.replace("DAY", &day);
        for client in [&writing, &reading] {
            let refused = client.batch_execute(&sql).await.unwrap_err();
            assert_eq!(refused.code().unwrap().code(), "42501", "{sql}");
        }
    }
    for (client, sql) in [
        (&writing, "SELECT statement FROM devinprod_audit.records"),
        (
            &reading,
            "INSERT INTO devinprod_audit.records DEFAULT VALUES",
        ),
        (&reading, "SELECT devinprod_audit.retain()"),
        (&reading, "SELECT devinprod_audit.begin_day('2026-01-01')"),
    ] {
        let refused = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{sql}");
    }
    // Who has the writer's password cannot say that less, or other lines, were copied.
    let back =
        "SELECT devinprod_audit.advance(log, last, first, first, hash) FROM devinprod_audit.logs";
    assert!(writing.batch_execute(back).await.is_err());
    assert_same(&settings.folder, &database).await;
}

/// A log that began 30 days ago and went on two days ago, as a proxy would have left it.
fn old_log(settings: &AuditSettings) {
    let key = SigningKey::create(&settings.key_file).unwrap();
    let begun = Event::now(EventKind::LogBegun {
        log: "00112233445566778899aabbccddeeff".to_owned(),
        key: key.public().to_string(),
    });
    let mut head = Head::START;
    let mut bytes = Vec::new();
    for (event, days) in [
        (begun, 30),
        (statement(1), 30),
        (statement(2), 2),
        (statement(3), 2),
    ] {
        let at = SystemTime::now() - DAY * days;
        let event = Event { time: at, ..event };
        let (line, logged) = event_line(&event, &head, at).unwrap();
        head = head.after(&line, logged);
        bytes.extend(line);
        bytes.push(b'\n');
    }
    std::fs::create_dir(&settings.folder).unwrap();
    let first = settings.folder.join(format!("{:020}.jsonl", 1));
    std::fs::write(first, bytes).unwrap();
}

#[tokio::test]
async fn days_have_partitions_segments_follow_each_other_and_old_days_go() {
    let kept = audit_database(None).await;
    let short = audit_database(Some(10)).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    old_log(&settings);
    let mut log = Log::open(&settings).unwrap();
    let copiers = [begin_copy(&log, &kept), begin_copy(&log, &short)];
    for rows in 10..40 {
        log.write(&[statement(rows)]).unwrap();
    }
    log.close().unwrap();
    drop(log);
    for copier in copiers {
        copier.await.unwrap();
    }
    assert!(std::fs::read_dir(&settings.folder).unwrap().count() > 4);
    assert_same(&settings.folder, &kept).await;
    let days =
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'devinprod_audit.records'::regclass";
    let client = kept.connect().await;
    assert_eq!(scalar(&client, days).await, "3");
    // A partition for each day, and nothing in the wrong one.
    let apart = "SELECT bool_and(tableoid::regclass::text = 'devinprod_audit.records_' || to_char(logged AT TIME ZONE 'UTC', 'YYYY_MM_DD'))
        FROM devinprod_audit.records";
    assert_eq!(scalar(&client, apart).await, "t");
    let client = short.connect().await;
    // It ended before its hour was over; the proxy's own role asks again.
    let writer = harness::connect(&short.url_as(WRITER, "secret")).await;
    writer
        .batch_execute("SELECT devinprod_audit.retain()")
        .await
        .unwrap();
    assert_eq!(scalar(&client, days).await, "2");
    let comparison = compared(&settings.folder, &short).await;
    assert!(comparison.findings.is_empty(), "{comparison:#?}");
    assert_eq!(
        comparison.notes,
        ["2 records of the log are older than the database's retention"]
    );
}

#[tokio::test]
async fn what_was_changed_in_the_database_is_found() {
    let database = audit_database(None).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let mut log = Log::open(&settings).unwrap();
    let copier = begin_copy(&log, &database);
    let events: Vec<Event> = (1..9).map(statement).collect();
    log.write(&events).unwrap();
    log.close().unwrap();
    drop(log);
    copier.await.unwrap();
    let url = database.url.clone();
    let said = || {
        let output = Command::new(env!("CARGO_BIN_EXE_devinprod"))
            .args(["audit", "verify", "audit", "--sql", &url])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = said();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("records are what the log says"), "{text}");
    let owner = database.connect().await;
    for (change, expected) in [
        (
            "UPDATE devinprod_audit.records SET developer = 'x', rows = 0 WHERE sequence = 5",
            "record 5 was changed in the database: developer, rows",
        ),
        (
            "UPDATE devinprod_audit.records SET sensitive = '{}' WHERE sequence = 5",
            "record 5 was changed in the database: sensitive",
        ),
        (
            "DELETE FROM devinprod_audit.records WHERE sequence IN (4, 5)",
            "the records 4 to 5 are missing in the database",
        ),
        (
            "UPDATE devinprod_audit.records SET sequence = 99 WHERE sequence = 5",
            "the log ends with record",
        ),
        (
            "TRUNCATE devinprod_audit.records",
            "are missing in the database",
        ),
        (
            "DELETE FROM devinprod_audit.logs",
            "the database knows nothing of this log",
        ),
    ] {
        owner
            .batch_execute("CREATE TABLE kept AS TABLE devinprod_audit.records; CREATE TABLE known AS TABLE devinprod_audit.logs")
            .await
            .unwrap();
        owner.batch_execute(change).await.unwrap();
        let (code, text) = said();
        assert_eq!(code, Some(1), "{change}: {text}");
        assert!(text.contains(expected), "{change}: {text}");
        owner
            .batch_execute(
                "TRUNCATE devinprod_audit.records, devinprod_audit.logs;
                 INSERT INTO devinprod_audit.records TABLE kept; INSERT INTO devinprod_audit.logs TABLE known;
                 DROP TABLE kept, known",
            )
            .await
            .unwrap();
    }
    assert_eq!(said().0, Some(0));
    // The log's end is cut off, and what signs it with it: the database still knows.
    let mut segments: Vec<_> = std::fs::read_dir(&settings.folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    segments.sort();
    let last = segments.last().unwrap();
    let text = std::fs::read_to_string(last).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(last, lines[..lines.len() - 2].join("\n") + "\n").unwrap();
    let (code, text) = said();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the log's end was cut off"), "{text}");
}

#[tokio::test]
async fn setup_asks_before_it_changes_a_database() {
    let database = audit_database(None).await;
    let _alone = ROLES.lock().await;
    let owner = database.connect().await;
    owner
        .batch_execute("DROP SCHEMA devinprod_audit CASCADE")
        .await
        .unwrap();
    let is_there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'devinprod_audit'";
    let setup = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devinprod"));
        command
            .args(["audit", "setup", "--url", &database.url])
            .args(more);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let (done, said) = setup(&[]);
    assert!(!done, "{said}");
    assert!(
        said.contains("audit setup asks before it changes a database: give --yes"),
        "{said}"
    );
    assert!(
        said.contains("the schema devinprod_audit, owned by"),
        "{said}"
    );
    assert!(setup(&["--print"]).0);
    assert_eq!(scalar(&owner, is_there).await, "0");
    let (done, said) = setup(&["--yes"]);
    assert!(done, "{said}");
    assert_eq!(scalar(&owner, is_there).await, "1");
}
