//! psql and pgbench, as a shell would run them.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::harness::{self, Proxy, scalar};
use super::uncommitted;

/// What a program said: standard output, standard error, exit code.
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

async fn run(proxy: &Proxy, program: &str, arguments: &[&str], input: &str) -> Said {
    let found = devinprod::cluster::binaries::find().expect("Postgres was found before");
    let mut child = Command::new(found.program(program))
        .args(arguments)
        .envs([
            ("PGHOST", "127.0.0.1"),
            ("PGDATABASE", "app"),
            ("PGUSER", "dev1"),
            ("PGPASSWORD", "secret"),
        ])
        .env("PGPORT", proxy.port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Said {
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code(),
    }
}

/// psql with rows as plain lines.
async fn psql(proxy: &Proxy, arguments: &[&str], input: &str) -> Said {
    run(proxy, "psql", &[&["-XqAt"], arguments].concat(), input).await
}

async fn pgbench(proxy: &Proxy, arguments: &[&str]) -> Said {
    let said = run(proxy, "pgbench", arguments, "").await;
    assert_eq!(said.code, Some(0), "pgbench {arguments:?}: {}", said.err);
    said
}

#[tokio::test]
async fn psql_runs_a_script_as_ever() {
    uncommitted(|proxy| async move {
        let script = "\
            CREATE TABLE visits (n int PRIMARY KEY);\n\
            COPY visits FROM STDIN;\n1\n2\n\\.\n\
            BEGIN;\nINSERT INTO visits VALUES (3);\nSELECT 1/0;\nSELECT 'ignored';\nCOMMIT;\n\
            SELECT count(*) FROM visits;\n\
            INSERT INTO visits VALUES (1);\n\
            BEGIN;\nSAVEPOINT s;\nINSERT INTO visits VALUES (4);\nROLLBACK TO s;\nINSERT INTO visits VALUES (5);\nCOMMIT;\n\
            COPY visits TO STDOUT;\n\
            \\set FETCH_COUNT 2\nSELECT n * 10 FROM visits ORDER BY n;\n";
        let said = psql(&proxy, &[], script).await;
        assert_eq!(said.out, "2\n1\n2\n5\n10\n20\n50\n");
        let errors: Vec<&str> = said.err.lines().filter_map(|line| line.split_once("ERROR:  ")).map(|(_, e)| e).collect();
        assert_eq!(
            errors,
            [
                "division by zero",
                "current transaction is aborted, commands ignored until end of transaction block",
                "duplicate key value violates unique constraint \"visits_pkey\"",
            ]
        );
        assert_eq!(said.code, Some(0));
        let again = psql(&proxy, &["-c", "SELECT sum(n) FROM visits"], "").await;
        assert_eq!(again.out, "8\n", "a second psql finds what the first has left: {}", again.err);
    })
    .await;
}

#[tokio::test]
async fn psql_describes_what_there_is() {
    uncommitted(|proxy| async move {
        let said = psql(
            &proxy,
            &[
                "-c",
                "CREATE VIEW mine AS SELECT 1 AS n",
                "-c",
                "\\d+ orders",
                "-c",
                "\\dv mine",
                "-c",
                "\\df",
            ],
            "",
        )
        .await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        assert!(
            said.out.contains("numeric(12,2)") && said.out.contains("mine"),
            "{}",
            said.out
        );
        let stop = psql(
            &proxy,
            &["-1", "-v", "ON_ERROR_STOP=1"],
            "CREATE TABLE half ();\nSELECT 1/0;\nSELECT 1;\n",
        )
        .await;
        assert_eq!(stop.code, Some(3));
        let gone = psql(&proxy, &["-c", "SELECT to_regclass('half') IS NULL"], "").await;
        assert_eq!(gone.out, "t\n");
    })
    .await;
}

#[tokio::test]
async fn psql_is_cancelled_by_its_statement_timeout() {
    uncommitted(|proxy| async move {
        let said = psql(
            &proxy,
            &[],
            "SET statement_timeout = '300ms';\nSELECT pg_sleep(20);\nSELECT 'alive';\n",
        )
        .await;
        assert_eq!(said.out, "alive\n");
        assert!(
            said.err
                .contains("canceling statement due to statement timeout"),
            "{}",
            said.err
        );
    })
    .await;
}

#[tokio::test]
async fn pgbench_in_all_three_protocols() {
    uncommitted(|proxy| async move {
        pgbench(&proxy, &["-i", "-q", "-s", "1"]).await;
        for protocol in ["simple", "extended", "prepared"] {
            for script in ["select-only", "tpcb-like"] {
                let arguments = ["-n", "-c", "4", "-j", "2", "-t", "25", "-M", protocol, "-b", script];
                let said = pgbench(&proxy, &arguments).await;
                assert!(said.out.contains("actually processed: 100/100"), "{protocol} {script}: {}", said.out);
                assert!(said.out.contains("failed transactions: 0 "), "{protocol} {script}: {}", said.out);
            }
        }
        // Every transaction of every client counts: the books balance.
        let client = harness::connect(&proxy.url()).await;
        let balanced = "SELECT count(*) = 300 AND sum(delta) = (SELECT sum(abalance) FROM pgbench_accounts) \
                        AND sum(delta) = (SELECT sum(bbalance) FROM pgbench_branches) FROM pgbench_history";
        assert_eq!(scalar(&client, balanced).await, "t");
    })
    .await;
}
