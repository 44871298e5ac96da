//! The audit of a proxy that is killed, whose disk is full, or whose folder another proxy has.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use devinprod::audit::key::SigningKey;
use devinprod::audit::search::{Filter, search};
use devinprod::audit::verify::{Against, checkpoints, verify};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::chaos_kit::{developers, eventually, unsealed_upstream};
use super::harness::wire::Client;
use super::harness::{self, TestDatabase};
use super::process_kit::{Process, serve};

/// How often the proxy is killed.
const KILLS: u32 = 15;
/// How many clients run statements meanwhile.
const CLIENTS: usize = 4;

fn config(database: &TestDatabase, audit: &str) -> String {
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[audit]\n{audit}\n{}{}",
        unsealed_upstream(
            "app",
            &format!("{}?sslmode=disable", database.url),
            "[upstream.sandbox]\nmax_sandboxes_per_developer = 50"
        ),
        developers(&["dev1"])
    )
}

/// Runs one statement of this name; true if its end was seen.
async fn run(client: &mut Client, name: &str) -> bool {
    let sql = format!("SELECT 1 AS {name}");
    let answer = client.query(&sql).run().await;
    answer.iter().any(|message| message.tag == b'C')
}

/// Holds the log in `folder` against its key and its second place, and gives the texts of its statements.
#[track_caller]
fn statements(folder: &Path) -> Vec<String> {
    let audit = folder.join("audit");
    let against = Against {
        key: Some(
            SigningKey::load(&folder.join("audit.key"))
                .unwrap()
                .public(),
        ),
        checkpoints: checkpoints(&folder.join("audit.checkpoints")).unwrap(),
    };
    let verdict = verify(&audit, &against).unwrap();
    assert!(verdict.is_whole(), "{:#?}", verdict.findings);
    assert!(verdict.compared > 0);
    let filter = Filter {
        event: Some("statement".to_owned()),
        ..Filter::default()
    };
    let mut texts = Vec::new();
    search(&audit, &filter, |record, _| {
        let query = record.query_info.as_ref().unwrap();
        texts.push(query.query_string.clone());
        std::io::Result::Ok(())
    })
    .unwrap();
    texts
}

#[track_caller]
fn assert_on_record(folder: &Path, answered: &BTreeSet<String>) {
    let texts = statements(folder);
    let known: BTreeSet<&str> = texts
        .iter()
        .filter_map(|text| text.rsplit(' ').next())
        .collect();
    let missing: Vec<_> = answered
        .iter()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "answered, but not on record: {missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_each_kill_the_log_is_whole_and_has_all_that_was_answered() {
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let audit = "durable = true\nsegment_size = \"64kB\"\ncheckpoint_interval = \"20ms\"";
    let config = config(&database, audit);
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut answered = BTreeSet::new();
    for round in 0..KILLS {
        let mut process = Process::start_in(folder.path(), &config, "");
        let mut running = Vec::new();
        for number in 0..CLIENTS {
            let mut client = Client::connect(&process.url(&format!("dev1+c{number}"))).await;
            running.push(tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let name = format!("m_{round}_{number}_{}", seen.len());
                    match run(&mut client, &name).await {
                        true => seen.push(name),
                        false => return seen,
                    }
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(1..400))).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        for client in running {
            answered.extend(client.await.unwrap());
        }
    }
    let last = Process::start_in(folder.path(), &config, "");
    assert!(last.stop().success());
    assert!(answered.len() > KILLS as usize, "{}", answered.len());
    assert_on_record(folder.path(), &answered);
}

#[tokio::test]
async fn on_a_full_disk_nobody_is_served_and_what_was_answered_stays() {
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&database, "durable = true");
    // No file of this process may grow beyond this many blocks; a write that would fails, as on a full disk.
    let process = Process::start_in(folder.path(), &config, "trap '' XFSZ; ulimit -S -f 60");
    let mut client = Client::connect(&process.url("dev1")).await;
    let mut answered = BTreeSet::new();
    let refusal = loop {
        let name = format!("full_{}", answered.len());
        let answer = client.query(&format!("SELECT 1 AS {name}")).run().await;
        match answer.iter().find(|message| message.tag == b'E') {
            Some(refusal) => break refusal.line(),
            None => assert!(answered.insert(name)),
        }
        assert!(answered.len() < 1_000, "the disk was never full");
    };
    let expected = "FATAL 58030: the audit log cannot be written";
    assert!(refusal.contains(expected), "{refusal}");
    assert!(answered.len() > 3, "{}", answered.len());
    let refused = Client::try_connect(&process.url("dev1"), &[]).await;
    let refused = refused.unwrap_err().unwrap().line();
    assert!(refused.contains(expected), "{refused}");
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    prlimit(
        Some(Pid::from_child(&process.child)),
        Resource::Fsize,
        unlimited,
    )
    .unwrap();
    let url = process.url("dev1");
    eventually("it serves again", || async {
        Client::try_connect(&url, &[]).await.is_ok()
    })
    .await;
    let mut client = Client::connect(&url).await;
    assert!(run(&mut client, "room_again").await);
    answered.insert("room_again".to_owned());
    drop(client);
    assert!(process.stop().success());
    assert_on_record(folder.path(), &answered);
}

#[tokio::test]
async fn a_folder_that_vanishes_refuses_and_its_coming_back_serves() {
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start_in(folder.path(), &config(&database, ""), "");
    let (audit, away) = (folder.path().join("audit"), folder.path().join("away"));
    let mut client = Client::connect(&process.url("dev1")).await;
    assert!(run(&mut client, "before").await);
    std::fs::rename(&audit, &away).unwrap();
    let url = process.url("dev1");
    eventually("nobody is let in", || async {
        Client::try_connect(&url, &[]).await.is_err()
    })
    .await;
    let answer = client.simple("SELECT 1 AS during").await;
    assert!(answer.contains("FATAL 58030"), "{answer}");
    std::fs::rename(&away, &audit).unwrap();
    eventually("clients are let in again", || async {
        Client::try_connect(&url, &[]).await.is_ok()
    })
    .await;
    assert!(process.stop().success());
    let texts = statements(folder.path());
    assert!(
        texts.contains(&"SELECT ? AS before".to_owned()),
        "{texts:?}"
    );
}

#[tokio::test]
async fn two_proxies_have_two_folders() {
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&database, "");
    let first = Process::start_in(folder.path(), &config, "");
    let second = serve(folder.path(), &config, "")
        .wait_with_output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    let expected = format!("written by another process, {}", first.child.id());
    assert!(said.contains(&expected), "{said}");
    assert!(
        said.contains("hint: each proxy needs a folder of its own"),
        "{said}"
    );
    let mut client = Client::connect(&first.url("dev1")).await;
    assert!(run(&mut client, "undisturbed").await);
}
