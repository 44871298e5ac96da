//! The page of a `devinprod serve`: the record that it wrote, reports in a folder, and TLS.

use std::path::Path;

use crate::chaos_kit::{developers, unsealed_upstream};
use crate::harness::{self, connect};
use crate::page_kit::{Browser, request, session};
use crate::process_kit::Process;

fn config(url: &str, page: &str) -> String {
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[page]\naddress = \"127.0.0.1:0\"\n{page}\n{}{}",
        unsealed_upstream("app", &format!("{url}?sslmode=disable"), "")
            .replace("[\"dev1\"]", "[\"dev1\", \"dev2\"]"),
        developers(&["dev1", "dev2"])
    )
}

/// A report that says a hostile thing wherever it can.
fn report(folder: &Path, developer: &str, name: &str) {
    let folder = folder.join("reports").join(developer);
    std::fs::create_dir_all(&folder).unwrap();
    let figures = |factor: u64| {
        serde_json::json!({
            "count": 12, "rows": 40, "affected": 3, "errors": 0, "median_us": 310 * factor, "total_us": 4100 * factor,
        })
    };
    let side = |command: &str| {
        serde_json::json!({
            "command": command, "exit": 0, "connections": 2, "executions": 14, "seconds": 1.25, "database_seconds": 0.4,
        })
    };
    let line = |statement: &str, factor| {
        serde_json::json!({
            "fingerprint": "f", "statement": statement, "a": figures(1), "b": figures(factor),
        })
    };
    let report = serde_json::json!({
        "devinprod_comparison": 1, "same": false, "a": side("./shop --old"), "b": side("./shop --new <script>1</script>"),
        "differences": [
            {"kind": "changes", "fingerprint": null, "statement": null, "what": "public.orders: 3 updated, then 4",
             "a": "3 updated", "b": "4 updated"},
            {"kind": "results", "fingerprint": "f", "statement": "SELECT total FROM orders WHERE id = $1",
             "what": "column total differs", "a": "<img src=x onerror=alert(1)>", "b": "another digest"},
        ],
        "assertions": [
            {"run": "B", "place": "check.sql:3", "statement": "SELECT id FROM orders WHERE customer IS NULL",
             "failure": {"why": "returned 1 row", "columns": ["id"], "rows": [["7"]]}},
            {"run": "B", "place": "check.sql:5", "statement": "SELECT true", "failure": null},
        ],
        "hints": ["one statement is run 40 times in a row"], "noise": ["public.orders.updated_at"],
        "statements": [line("SELECT total FROM orders WHERE id = $1", 3), line("UPDATE orders SET total = $1 WHERE id = $2", 1)],
    });
    std::fs::write(folder.join(name), report.to_string()).unwrap();
}

/// Something that blocks, beside the tasks of this runtime.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn the_record_and_comparisons_are_the_developer_s_own() {
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    report(folder.path(), "dev1", "nightly.json");
    report(folder.path(), "dev2", "theirs.json");
    let text = config(&database.url, "comparisons = \"reports\"");
    let process = Process::start_in(folder.path(), &text, "");
    let developer = connect(&process.url("dev1")).await;
    developer
        .batch_execute("SELECT id AS \"<script>1</script>\" FROM accounts")
        .await
        .unwrap();
    let wrong = developer.batch_execute("SELECT * FROM nowhere").await;
    assert!(wrong.is_err());
    let other = connect(&process.url("dev2")).await;
    other
        .batch_execute("SELECT 1 AS of_the_other FROM orders")
        .await
        .unwrap();
    let page = process.page.clone().unwrap();
    beside(move || {
        let browser = Browser::start();
        browser.log_in(&page, "dev1", "secret");
        browser.follow("Record");
        let seen = browser.text();
        for part in [
            "<script>1</script>",
            "FROM nowhere",
            "failed",
            "accounts",
            "client connected",
        ] {
            assert!(seen.contains(part), "{part}: {seen}");
        }
        assert!(!seen.contains("of_the_other"), "{seen}");
        browser.shoot("record");

        browser.follow("Comparisons");
        assert!(!browser.text().contains("theirs.json"));
        browser.shoot("comparisons");
        browser.follow("nightly.json");
        let seen = browser.text();
        for part in [
            "different: 2 differences",
            "./shop --new <script>1</script>",
            "<img src=x onerror=alert(1)>",
            "returned 1 row",
        ] {
            assert!(seen.contains(part), "{part}: {seen}");
        }
        assert_eq!(browser.count("script, img"), 0);
        // The bars of the table are as wide as what they stand for.
        let widths = "[...document.querySelectorAll('td.bar i')].map(bar => bar.getBoundingClientRect().width > 20)";
        assert_eq!(browser.run(widths)[1], true);
        browser.shoot("comparison");
        for name in ["theirs.json", "../dev2/theirs.json", "none.json"] {
            browser.open(&format!("{page}comparison?of={name}"));
            assert!(browser.text().contains("There is no such comparison"));
        }
        browser.shoot("nothing");
    })
    .await;
}

#[tokio::test]
async fn a_rotated_password_ends_sessions() {
    let database = harness::database().await;
    let process = Process::start(&config(&database.url, ""));
    let page = process.page.clone().unwrap();
    let file = process
        .folder
        .as_ref()
        .unwrap()
        .path()
        .join("devinprod.toml");
    let child = process.child.id();
    beside(move || {
        let (_, cookie) = session(&page, "dev1", "secret");
        let head = format!("GET / HTTP/1.1\nHost: localhost\n{}", cookie.unwrap());
        assert!(request(&page, &head, "").starts_with("HTTP/1.1 200 "));
        let text = std::fs::read_to_string(&file).unwrap();
        let other = devinprod::wire::verifier::Verifier::from_password("other", 4096);
        let (before, after) = text.split_once("password = \"").unwrap();
        let (_, after) = after.split_once('"').unwrap();
        std::fs::write(&file, format!("{before}password = \"{other}\"{after}")).unwrap();
        let pid = rustix::process::Pid::from_raw(child.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        let ended = (0..150).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            request(&page, &head, "").contains("location: /login")
        });
        assert!(ended);
        let (answer, cookie) = session(&page, "dev1", "secret");
        assert!(cookie.is_none(), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn with_tls_the_page_is_served_by_https_alone() {
    let database = harness::database().await;
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(
        folder.path().join("key.pem"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    let text = config(
        &database.url,
        "tls = { cert = \"cert.pem\", key = \"key.pem\" }",
    );
    let process = Process::start_in(folder.path(), &text, "");
    let page = process.page.clone().unwrap();
    beside(move || {
        assert!(page.starts_with("https://127.0.0.1:"), "{page}");
        let browser = Browser::start();
        browser.trust_anybody();
        browser.log_in(&page, "dev1", "secret");
        assert!(browser.text().contains("Your sandboxes"));
        let cookies = browser.cookies();
        let session = cookies
            .as_array()
            .unwrap()
            .iter()
            .find(|cookie| cookie["name"] == "devinprod_page")
            .unwrap();
        assert_eq!(session["secure"], true, "{session}");
        assert_eq!(session["httpOnly"], true, "{session}");
        assert_eq!(session["sameSite"], "Strict", "{session}");
        // Who speaks no TLS is told nothing.
        let plain = page.replace("https:", "http:");
        let answer = std::panic::catch_unwind(|| {
            request(&plain, "GET /login HTTP/1.1\nHost: localhost", "")
        });
        assert!(!answer.unwrap_or_default().contains("HTTP/1.1"));
    })
    .await;
}
