//! Read budgets of a running `devinprod serve`: they survive its end, the team can look at them and grant more, on record.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::chaos_kit::{developers, eventually, unsealed_upstream};
use super::harness::wire::Client;
use super::harness::{self, TestDatabase};
use super::process_kit::{Process, serve};

const ROWS: &str = "SELECT * FROM generate_series(1, 500)";

/// A configuration with a policy of these budgets, in this folder.
fn config(folder: &Path, database: &TestDatabase, budgets: &str) -> String {
    let policy = format!(
        "default = {{ as = \"clear\", opens_unclassified = true, because = \"a test\" }}\n{budgets}"
    );
    std::fs::write(folder.join("policy.toml"), policy).unwrap();
    let url = format!("{}?sslmode=disable", database.url);
    format!(
        "contact = \"data@example.org\"\n[listen]\naddress = \"127.0.0.1:0\"\n{}{}",
        unsealed_upstream("app", &url, "policy = [\"policy.toml\"]\n")
            .replace("[\"dev1\"]", "[\"dev1\", \"dev2\"]"),
        developers(&["dev1", "dev2"])
    )
}

fn budget(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_devinprod"))
        .arg("budget")
        .args(arguments)
        .current_dir(folder)
        .env_remove("DEVINPROD_CONFIG")
        .env("SUDO_USER", "carol")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn check_fails(folder: &Path, arguments: &[&str], expected: &str) {
    let output = budget(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?}");
    assert!(said.contains(expected), "{said}");
}

fn list(folder: &Path) -> Vec<Value> {
    let output = budget(folder, &["list", "--format", "json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How many rows a developer gets of five hundred, and what they are told.
async fn read(process: &Process, user: &str) -> (usize, String) {
    let mut client = Client::connect(&process.url(user)).await;
    let answer = client.simple(ROWS).await;
    (answer.matches("DataRow").count(), answer)
}

#[tokio::test]
async fn a_kill_resets_nothing_and_a_grant_is_on_record() {
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let limits = "[[budget]]\nwho = [\"*\"]\nper = \"7d\"\nrows = 300\nconcurrent = 9\n";
    let config = config(path, &database, limits);
    let mut process = Process::start_in(path, &config, "");
    let (got, answer) = read(&process, "dev1").await;
    assert_eq!(got, 300);
    assert!(
        answer.contains("53400") && answer.contains("read budget used up: 300 rows per 7d"),
        "{answer}"
    );
    let ledger = path.join("budgets").join("budgets.ledger");
    eventually("it is on disk", || async {
        std::fs::read_to_string(&ledger).unwrap().contains(",300]")
    })
    .await;
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    check_fails(path, &["list"], "hint: start it: devinprod serve");

    let process = Process::start_in(path, &config, "");
    assert_eq!(read(&process, "dev1+fresh").await.0, 0);
    assert_eq!(read(&process, "dev2").await.0, 300);
    let lines = list(path);
    let line = |who: &str, budget: &str| {
        let is = |line: &&Value| line["who"] == who && line["budget"] == budget;
        lines.iter().find(is).unwrap_or(&Value::Null).clone()
    };
    let rows = line("dev1", "rows per 7d");
    assert_eq!(
        (rows["used"].as_u64(), rows["limit"].as_u64()),
        (Some(300), Some(300))
    );
    assert!(
        rows["refilled_at"].as_str().unwrap().ends_with('Z'),
        "{rows}"
    );
    assert_eq!(line("dev2", "statements at the same time")["limit"], 9);

    let because = ["--for", "1h", "--because", "the quarterly\nreport"];
    for (arguments, expected) in [
        (
            vec!["grant", "dev3", "--rows", "9"],
            "no developer \"dev3\" may use any upstream",
        ),
        (
            vec!["grant", "dev1", "--rows", "9", "--upstream", "x"],
            "may use an upstream \"x\"",
        ),
        (vec!["grant", "dev1"], "this grants nothing"),
    ] {
        check_fails(path, &[&arguments[..], &because].concat(), expected);
    }
    check_fails(
        path,
        &[
            "grant",
            "dev1",
            "--rows",
            "9",
            "--for",
            "1h",
            "--because",
            " ",
        ],
        "a grant needs a reason",
    );
    let granted = budget(
        path,
        &[&["grant", "dev1", "--rows", "40"][..], &because].concat(),
    );
    assert!(granted.status.success(), "{granted:?}");
    assert_eq!(read(&process, "dev1").await.0, 40);
    assert!(process.stop().success());

    // It is used up after a restart, too, and on record: what, for whom, by whom, why.
    let process = Process::start_in(path, &config, "");
    assert_eq!(read(&process, "dev1").await.0, 0);
    let console = process.url("dev1").replace("/app", "/devinprod");
    let mut client = Client::connect(&console).await;
    let shown = client.simple("SHOW BUDGETS").await;
    assert!(
        shown.contains("rows granted") && shown.contains("rows per 7d"),
        "{shown}"
    );
    assert!(!shown.contains("dev2"), "{shown}");
    drop(client);
    assert!(process.stop().success());
    let log: String = std::fs::read_dir(path.join("audit"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap_or_default())
        .collect();
    for part in [
        "budget grant",
        "40 rows for 1h: the quarterly report",
        "root for carol",
    ] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    assert!(!log.contains("dev3"), "what was refused granted nothing");
}

#[tokio::test]
async fn an_idle_connection_holds_nothing() {
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let limits = "[[budget]]\nwho = [\"*\"]\nper = \"7d\"\nrows = 1000\nconcurrent = 1\n";
    let process = Process::start_in(folder.path(), &config(folder.path(), &database, limits), "");
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(&process.url("dev1")).await;
        let answer = client.simple("SELECT * FROM generate_series(1, 70)").await;
        assert_eq!(answer.matches("DataRow").count(), 70, "{answer}");
        clients.push(client);
    }
    eventually("what is left over is given back", || async {
        list(folder.path()).iter().any(|line| line["used"] == 210)
    })
    .await;
}

#[tokio::test]
async fn a_changed_policy_keeps_what_was_spent() {
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let limit = |rows: u32| format!("[[budget]]\nwho = [\"*\"]\nper = \"7d\"\nrows = {rows}\n");
    let text = config(path, &database, &limit(100));
    let process = Process::start_in(path, &text, "");
    assert_eq!(read(&process, "dev1").await.0, 100);
    config(path, &database, &format!("# elsewhere\n\n{}", limit(160)));
    eventually("the policy is read again", || async {
        list(path).iter().any(|line| line["limit"] == 160)
    })
    .await;
    assert_eq!(read(&process, "dev1").await.0, 60);
}

#[tokio::test]
async fn a_ledger_has_one_proxy_and_its_socket_one_user() {
    use std::os::unix::fs::PermissionsExt;
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let first = config(path, &database, "");
    let process = Process::start_in(path, &first, "");
    let modes = ["", "budgets.sock", "budgets.ledger"].map(|name| {
        let metadata = path.join("budgets").join(name).metadata().unwrap();
        metadata.permissions().mode() & 0o777
    });
    assert_eq!(modes, [0o700, 0o600, 0o600]);
    // Another proxy with an audit of its own, pointed at the same ledger.
    let other = path.join("other");
    std::fs::create_dir(&other).unwrap();
    let second = format!(
        "{}\n[budgets]\nfolder = {:?}\n",
        config(&other, &database, ""),
        path.join("budgets")
    );
    let refused = serve(&other, &second, "").wait_with_output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(said.contains("is in use by another process"), "{said}");
    assert!(
        said.contains("hint: each proxy needs a folder of its own"),
        "{said}"
    );
    // A socket that talks nonsense at it, or nothing, is answered or left alone.
    use std::io::{Read, Write};
    let socket = path.join("budgets").join("budgets.sock");
    let silent = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let mut nonsense = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    nonsense
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    nonsense.write_all(&[b'x'; 100]).unwrap();
    nonsense.write_all(b"\n").unwrap();
    let mut answer = String::new();
    nonsense.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("does not understand"), "{answer}");
    let lines = list(path);
    assert!(lines.is_empty() || lines[0]["who"] == "dev1", "{lines:?}");
    drop(silent);
    assert!(process.stop().success());
}
