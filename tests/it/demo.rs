//! `devinprod demo`, as scripts meet it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness;

fn demo(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devinprod"));
    command
        .args(["demo", "--port", "0", "--dir"])
        .arg(dir)
        .stdin(Stdio::null());
    command
}

fn reachable_dir() -> tempfile::TempDir {
    tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap()
}

fn check(dir: &Path) {
    let output = demo(dir).arg("--check").output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(
        stdout.ends_with("16 promises held, 0 broken\n"),
        "{stdout}{stderr}"
    );
}

/// A running demo, which is killed with the test that fails.
struct Running {
    child: Child,
    proxy: String,
    direct: String,
    page: String,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let mut child = demo(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut url = |name: &str| {
            let line = lines.next().expect("the demo ended").unwrap();
            line.strip_prefix(name).expect(name).to_owned()
        };
        let proxy = url("DATABASE_URL=");
        let direct = url("UPSTREAM_URL=");
        let page = url("PAGE_URL=");
        Self {
            child,
            proxy,
            direct,
            page,
        }
    }

    fn interrupt(mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_tour_passes_and_the_shop_is_kept() {
    let dir = reachable_dir();
    check(dir.path());
    let first = Running::start(dir.path());
    let password = first.proxy.clone();
    looks_real(&first.direct).await;
    let (user, _) = first.proxy.split_once('@').unwrap();
    let (_, secret) = user.rsplit_once(':').unwrap();
    let (answer, cookie) = crate::page_kit::session(&first.page, "dev1", secret);
    assert!(cookie.is_some(), "{answer}");

    budgets_are_listed_and_granted(dir.path());
    let inside = harness::connect(&first.proxy).await;
    inside
        .batch_execute("DELETE FROM order_items")
        .await
        .unwrap();
    let direct = first.direct.clone();
    first.interrupt();
    assert!(
        tokio_postgres::connect(&direct, tokio_postgres::NoTls)
            .await
            .is_err(),
        "Ctrl-C left Postgres running"
    );

    let second = Running::start(dir.path());
    assert_eq!(
        second.proxy.split('@').next(),
        password.split('@').next(),
        "the developer's password changed"
    );
    let inside = harness::connect(&second.proxy).await;
    assert_ne!(
        harness::scalar(&inside, "SELECT count(*) FROM order_items").await,
        "0"
    );
    let rival = demo(dir.path()).output().unwrap();
    assert!(!rival.status.success());
    assert!(String::from_utf8_lossy(&rival.stderr).contains("in use"));
    second.interrupt();
}

/// The commands for the team find the running demo by the configuration in its folder, which holds passwords.
fn budgets_are_listed_and_granted(dir: &Path) {
    let config = dir.join("devinprod.toml");
    let mode = std::os::unix::fs::PermissionsExt::mode(&config.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let budget = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devinprod"));
        command.arg("budget").args(arguments).arg("--config");
        let output = command.arg(&config).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = budget(&["list", "dev1"]);
    assert!(listed.contains("rows per 1h"), "{listed}");
    budget(&[
        "grant",
        "dev1",
        "--rows",
        "77",
        "--for",
        "1h",
        "--because",
        "a test",
    ]);
    let listed = budget(&["list", "dev1"]);
    assert!(
        listed.contains("rows granted") && listed.contains("77"),
        "{listed}"
    );
}

/// Thousands of rows with values that a mask will have to find.
async fn looks_real(url: &str) {
    let client = harness::connect(url).await;
    for (table, least) in [
        ("customers", 1000),
        ("orders", 1000),
        ("payments", 1000),
        ("support_tickets", 1000),
    ] {
        let count = harness::scalar(&client, &format!("SELECT count(*) FROM {table}")).await;
        assert!(count.parse::<u32>().unwrap() >= least, "{table}: {count}");
    }
    let cards = client
        .query("SELECT DISTINCT card_number FROM payments", &[])
        .await
        .unwrap();
    assert!(cards.len() > 1000);
    for card in cards {
        let card: String = card.get(0);
        assert!(card.len() == 16 && passes_luhn(&card), "{card}");
    }
    let odd = "SELECT count(*) FROM customers WHERE email !~ '^[a-z]+\\.[a-z]+[0-9]+@[a-z.]+$' OR phone !~ '^\\+1 \\d{3} 555 \\d{4}$'";
    assert_eq!(harness::scalar(&client, odd).await, "0");
}

fn passes_luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            match place % 2 {
                0 => digit,
                _ => (digit * 2) / 10 + (digit * 2) % 10,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[tokio::test]
async fn a_demo_killed_while_it_was_made_is_made_again() {
    let dir = reachable_dir();
    // In initdb, soon after it, and while the shop is loading.
    for stage in ["lock", "cluster", "cluster/data/postmaster.pid"] {
        let mut child = demo(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !dir.path().join(stage).exists() {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended before {stage}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    check(dir.path());
}
