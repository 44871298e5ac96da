//! Running proxies whose read budgets are one, or survive a kill.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::chaos_kit::{developers, eventually};
use super::harness::keyserver::KeyServer;
use super::harness::wire::Client;
use super::harness::{self, TestDatabase};
use super::process_kit::Process;

const DEVELOPERS: [&str; 5] = ["dev1", "dev2", "dev3", "dev4", "dev5"];

/// A folder with a configuration whose policy has this many rows for each developer, in a window that no test sees the end of.
struct Place {
    folder: tempfile::TempDir,
    config: String,
}

impl Place {
    fn new(database: &TestDatabase, rows: u32, budgets: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = format!(
            "default = {{ as = \"clear\", opens_unclassified = true, because = \"a test\" }}\n\
             [[budget]]\nwho = [\"*\"]\nper = \"366d\"\nrows = {rows}\n"
        );
        std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
        let config = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n\
             [[upstream]]\nname = \"app\"\nurl = \"{}?sslmode=disable\"\nstage = \"test\"\nsealed = false\n\
             developers = {DEVELOPERS:?}\npolicy = [\"policy.toml\"]\n\
             [budgets]\n{budgets}\n{}",
            database.url,
            developers(&DEVELOPERS)
        );
        Self { folder, config }
    }

    fn start(&self) -> Process {
        Process::start_in(self.folder.path(), &self.config, "")
    }

    /// What is used of the rows of a developer, as `devinprod budget list` says.
    fn used(&self, developer: &str) -> u64 {
        let output = Command::new(env!("CARGO_BIN_EXE_devinprod"))
            .args(["budget", "list", developer, "--format", "json"])
            .current_dir(self.folder.path())
            .env_remove("DEVINPROD_CONFIG")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let lines: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let rows = |line: &&Value| {
            let budget = line["budget"].as_str();
            budget.is_some_and(|budget| budget == "rows per 366d")
        };
        lines.iter().find(rows).unwrap()["used"].as_u64().unwrap()
    }

    fn audit(&self) -> String {
        logs(&self.folder.path().join("audit"))
    }
}

fn logs(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    let texts = files.iter().map(std::fs::read_to_string);
    texts.map(Result::unwrap_or_default).collect()
}

/// How many rows an answer has, as a query's or as COPY's.
fn rows(answer: &str) -> usize {
    answer.matches("DataRow").count() + answer.matches("CopyData").count()
}

/// Reads as fast as it can until it is cut; returns how many rows it got.
async fn read_all(url: String, sql: &'static str) -> usize {
    let mut client = Client::connect(&url).await;
    let mut got = 0;
    loop {
        let answer = client.simple(sql).await;
        got += rows(&answer);
        if answer.contains("ERROR") {
            assert!(answer.contains("53400"), "{answer}");
            return got;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_at_two_proxies_get_what_one_would() {
    const LIMIT: usize = 2_000;
    let server = KeyServer::start().await;
    // Each client has a connection in it.
    let (_cluster, database) = harness::own_cluster().await;
    let shared = format!(
        "ledger = \"{}\"\nledger_unreachable = \"refuse\"\nproxies = 2",
        server.url()
    );
    let places = [(); 2].map(|()| Place::new(&database, LIMIT as u32, &shared));
    let proxies = places.each_ref().map(Place::start);
    let mut clients = Vec::new();
    for number in 0..50 {
        let developer = DEVELOPERS[number % 5];
        // In sandboxes of their own, so that they need not wait for each other.
        let url = proxies[number / 5 % 2].url(&format!("{developer}+s{}", number / 10));
        let sql = [
            "SELECT * FROM generate_series(1, 70)",
            "SELECT * FROM generate_series(1, 1000)",
            "COPY (SELECT * FROM generate_series(1, 300)) TO STDOUT",
        ][number % 3];
        clients.push((developer, tokio::spawn(read_all(url, sql))));
    }
    let mut got = DEVELOPERS.map(|developer| (developer, 0));
    for (developer, client) in clients {
        let rows = client.await.unwrap();
        got.iter_mut().find(|one| one.0 == developer).unwrap().1 += rows;
    }
    for (developer, got) in &mut got {
        assert!(*got <= LIMIT, "{developer} got {got}");
        // What was reserved by those who were cut has been given back; nothing of the limit is lost.
        for _ in 0..1_000 {
            if *got == LIMIT {
                break;
            }
            let one = "SELECT * FROM generate_series(1, 1)";
            *got += read_all(proxies[0].url(developer), one).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(*got, LIMIT, "{developer}");
    }
    for place in &places {
        assert_eq!(place.used("dev3"), LIMIT as u64);
    }
}

#[tokio::test]
async fn a_fleet_without_its_ledger_does_as_configured_and_says_so() {
    let mut server = KeyServer::start().await;
    let database = harness::database().await;
    let settings = |choice: &str| {
        format!(
            "ledger = \"{}\"\nledger_unreachable = \"{choice}\"\nproxies = 4",
            server.url().replace(".sock", ".sock?pass=s3cret")
        )
    };
    let refusing = Place::new(&database, 100, &settings("refuse"));
    let sharing = Place::new(&database, 100, &settings("share"));
    server
        .command(&["CONFIG", "SET", "requirepass", "s3cret"])
        .await;
    let proxies = [refusing.start(), sharing.start()];
    let twenty = "SELECT * FROM generate_series(1, 20)";
    let mut clients = Vec::new();
    for proxy in &proxies {
        let mut client = Client::connect(&proxy.url("dev1")).await;
        let answer = client.simple(twenty).await;
        assert_eq!(answer.matches("DataRow").count(), 20, "{answer}");
        clients.push(client);
    }
    eventually("the batches are given back", || async {
        // Both connections are idle, and hold nothing more. Asking is hearing what the other gave back.
        sharing.used("dev1") == 40
    })
    .await;
    server.kill();
    let refused = clients[0].simple(twenty).await;
    assert!(
        refused.contains("58030")
            && refused.contains("which several proxies share, cannot be reached"),
        "{refused}"
    );
    // The connection and the sandbox live on; a fourth of the sixty that are left is read, and no more.
    let cut = clients[1]
        .simple("SELECT * FROM generate_series(1, 100)")
        .await;
    assert_eq!(cut.matches("DataRow").count(), 15, "{cut}");
    assert!(cut.contains("53400"), "{cut}");
    server.start_again(&["--requirepass", "s3cret"]).await;
    for place in [&refusing, &sharing] {
        eventually("it is back", || async {
            place.audit().contains("ledger_back")
        })
        .await;
    }
    eventually("what was read meanwhile is told", || async {
        refusing.used("dev1") == 55
    })
    .await;
    let answer = clients[0]
        .simple("SELECT * FROM generate_series(1, 100)")
        .await;
    assert_eq!(answer.matches("DataRow").count(), 45, "{answer}");
    for (process, place) in proxies.into_iter().zip([&refusing, &sharing]) {
        assert!(process.stop().success());
        let audit = place.audit();
        assert!(audit.contains("ledger_lost"), "{audit}");
        assert!(!audit.contains("s3cret"));
    }
    assert!(sharing.audit().contains("one part in 4 of what was left"));
}

/// What `devinprod serve` let through up to a second before it was killed is spent when it is back.
#[tokio::test]
async fn a_kill_forgets_no_more_than_the_last_second() {
    let database = harness::database().await;
    let place = Place::new(&database, 1_000_000, "");
    let mut spent = 0;
    for round in 0..3 {
        let mut process = place.start();
        let mut client = Client::connect(&process.url("dev1")).await;
        let mut got = 0;
        let mut history = Vec::new();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1_500 + 130 * round) {
            let answer = client.simple("SELECT * FROM generate_series(1, 50)").await;
            got += answer.matches("DataRow").count() as u64;
            history.push((Instant::now(), got));
        }
        process.child.kill().unwrap();
        let killed = Instant::now();
        process.child.wait().unwrap();
        let old = history
            .iter()
            .rev()
            .find(|(at, _)| killed - *at > Duration::from_secs(1));
        let (_, sure) = old.unwrap();
        let process = place.start();
        let used = place.used("dev1");
        assert!(used >= spent + sure, "{used} of {spent} + {sure} rows");
        spent = used;
        assert!(process.stop().success());
    }
    assert!(spent > 0);
}
