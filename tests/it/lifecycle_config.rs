//! What an operator decides: isolation per upstream, TLS to clients, and a configuration that changes while
//! sandboxes run.

use std::fs;
use std::process::Command;
use std::time::Duration;

use devinprod::cluster::binaries;
use devinprod::config::Config;

use super::chaos_kit::{Serving, config, developers, serve, state_of, unsealed_upstream, value};
use super::harness::wire::{Client, transcript};
use super::harness::{self, Setup, TestDatabase};

const LISTEN: &str = "[listen]\naddress = \"127.0.0.1:0\"\n";

#[tokio::test]
async fn read_only_really_is() {
    for sealed in [true, false] {
        let setup = Setup {
            isolation: "read_only",
            sealed,
            ..Setup::default()
        };
        let proxy = harness::proxy_with(harness::database().await, setup).await;
        let mut client = Client::connect(&proxy.url()).await;
        assert_eq!(
            value(&mut client, "SELECT count(*) FROM orders").await,
            "60"
        );
        for write in [
            "UPDATE accounts SET name = 'x'",
            "CREATE TABLE t (n int)",
            "BEGIN READ WRITE; DELETE FROM order_log",
        ] {
            let told = client.simple(write).await;
            assert!(
                told.contains("ERROR 25006") && told.contains("hint"),
                "sealed {sealed}, {write}: {told}"
            );
            client.simple("ROLLBACK").await;
        }
        assert_eq!(value(&mut client, "SHOW transaction_read_only").await, "on");
        assert_eq!(
            value(&mut client, "SELECT count(*) FROM order_log").await,
            "60"
        );
    }
}

#[tokio::test]
async fn isolation_none_commits_and_is_for_local_and_test_only() {
    let database = harness::database().await;
    let upstream = unsealed_upstream("app", &database.url, "isolation = \"none\"");
    let serving = serve(&format!("{LISTEN}{upstream}{}", developers(&["dev1"]))).await;
    let mut client = Client::connect(&serving.url("dev1", "app")).await;
    client
        .simple("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
        .await;
    let witness = database.connect().await;
    assert_eq!(
        harness::scalar(&witness, "SELECT count(*) FROM kept").await,
        "1"
    );
    for stage in ["preprod", "prod"] {
        let text = format!("{LISTEN}{upstream}{}", developers(&["dev1"]))
            .replace("sealed = false", "")
            .replace("\"test\"", &format!("\"{stage}\""));
        let refused = parse(&text).unwrap_err();
        assert!(
            refused.contains("none") && refused.contains(stage),
            "{refused}"
        );
    }
}

fn parse(text: &str) -> Result<Config, String> {
    let loaded = Config::parse("test.toml".as_ref(), text, &|_| None);
    loaded
        .map(|loaded| loaded.config)
        .map_err(|report| report.to_string())
}

#[tokio::test]
async fn a_reload_keeps_sandboxes_and_ends_those_whose_access_is_withdrawn() {
    let database = harness::database().await;
    let both =
        unsealed_upstream("app", &database.url, "").replace("[\"dev1\"]", "[\"dev1\", \"dev2\"]");
    let one = unsealed_upstream("app", &database.url, "");
    let who = developers(&["dev1", "dev2"]);
    let serving = serve(&format!("{LISTEN}{both}{who}")).await;
    let mut kept = Client::connect(&serving.url("dev1", "app")).await;
    let mut withdrawn = Client::connect(&serving.url("dev2", "app")).await;
    kept.simple("CREATE TABLE mine (n int)").await;
    withdrawn.simple("BEGIN; CREATE TABLE theirs (n int)").await;
    serving
        .server
        .reload(config(&format!("{LISTEN}{one}{who}")));
    assert_eq!(value(&mut kept, "SELECT count(*) FROM mine").await, "0");
    let told = withdrawn.simple("SELECT 1").await;
    assert!(told.contains("FATAL 42501"), "{told}");
    // It does not get in again, neither on the old connection nor on a new one.
    let again = withdrawn
        .simple("ROLLBACK; SELECT count(*) FROM orders")
        .await;
    assert!(!again.contains("DataRow"), "{again}");
    let denied = super::chaos_kit::refused(&serving.url("dev2", "app"), &[]).await;
    assert!(denied.contains("FATAL 42501"), "{denied}");
}

#[tokio::test]
async fn a_graceful_stop_tells_the_clients_and_takes_no_new_ones() {
    let database = harness::database().await;
    let upstream = unsealed_upstream("app", &database.url, "");
    let limits = "[limits]\nshutdown_grace = \"5s\"\n";
    let mut serving = serve(&format!(
        "{LISTEN}{limits}{upstream}{}",
        developers(&["dev1"])
    ))
    .await;
    let mut idle = Client::connect(&serving.url("dev1", "app")).await;
    let mut busy = Client::connect(&serving.url("dev1+busy", "app")).await;
    busy.query("BEGIN; SELECT pg_sleep(1)").send().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    serving.stop.cancel();
    assert!(transcript(&idle.run().await).contains("FATAL 57P01"));
    let answers = transcript(&busy.run().await);
    assert!(answers.contains("CommandComplete SELECT 1"), "{answers}");
    busy.simple("COMMIT").await;
    let running = serving.running.take().unwrap();
    tokio::time::timeout(Duration::from_secs(8), running)
        .await
        .expect("it stops")
        .unwrap()
        .unwrap();
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", serving.port))
            .await
            .is_err()
    );
}

pub(super) struct Tls {
    pub(super) serving: Serving,
    pub(super) folder: tempfile::TempDir,
}

pub(super) async fn serve_tls(database: &TestDatabase) -> Tls {
    let folder = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    fs::write(&cert, signed.cert.pem()).unwrap();
    fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let listen = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert:?}, key = {key:?} }}\n"
    );
    let upstream = unsealed_upstream("app", &database.url, "");
    let serving = serve(&format!("{listen}{upstream}{}", developers(&["dev1"]))).await;
    Tls { serving, folder }
}

impl Tls {
    async fn psql(&self, host: &str, options: &str) -> (bool, String) {
        let port = self.serving.port;
        let options = options.replace(
            "CERT",
            &self.folder.path().join("cert.pem").display().to_string(),
        );
        let target = format!("postgres://dev1:secret@{host}:{port}/app?{options}");
        let psql = binaries::find().unwrap().program("psql");
        let run = move || {
            let sql = "CREATE TABLE kept (n int); \\conninfo";
            Command::new(psql)
                .args([
                    "-X",
                    &target,
                    "-c",
                    "CREATE TABLE kept (n int)",
                    "-c",
                    "\\conninfo",
                ])
                .env("LC_ALL", "C")
                .output()
                .map(|o| (sql, o))
        };
        let (_, output) = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }
}

#[tokio::test]
async fn tls_to_clients_is_checked_by_them() {
    let database = harness::database().await;
    let tls = serve_tls(&database).await;
    let (fine, said) = tls.psql("127.0.0.1", "sslmode=require").await;
    assert!(
        fine && said.contains("SSL connection (protocol: TLSv1.3"),
        "{said}"
    );
    let mut plain = Client::connect(&tls.serving.url("dev1", "app")).await;
    assert_eq!(state_of(&mut plain, "DROP TABLE kept").await, "");
    let (fine, said) = tls
        .psql("localhost", "sslmode=verify-full&sslrootcert=CERT")
        .await;
    assert!(fine && said.contains("SSL connection"), "{said}");
    // The certificate is for another name.
    let (fine, said) = tls
        .psql("127.0.0.1", "sslmode=verify-full&sslrootcert=CERT")
        .await;
    assert!(!fine && said.contains("does not match host name"), "{said}");
    // Channel binding: the proof holds for this very TLS connection.
    plain.simple("DROP TABLE kept").await;
    let (fine, said) = tls
        .psql("127.0.0.1", "sslmode=require&channel_binding=require")
        .await;
    assert!(fine, "{said}");
}

#[tokio::test]
async fn without_tls_only_the_loopback_is_served() {
    let beyond = "[listen]\naddress = \"0.0.0.0:0\"\n";
    let rest = format!(
        "{}{}",
        unsealed_upstream("app", "postgres://a:b@127.0.0.1/app", ""),
        developers(&["dev1"])
    );
    let refused = parse(&format!("{beyond}{rest}")).unwrap_err();
    assert!(
        refused.contains("tls") && refused.contains("allow_plaintext_beyond_loopback"),
        "{refused}"
    );
    assert!(
        parse(&format!(
            "{beyond}allow_plaintext_beyond_loopback = true\n{rest}"
        ))
        .is_ok()
    );
    assert!(parse(&format!("{LISTEN}{rest}")).is_ok());
}
