//! `devinprod run`: the command is the process, in its sandbox.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use super::compare_kit::Desk;
use super::harness::wire::Client;

#[tokio::test]
async fn a_command_finds_its_sandbox_by_url_and_by_variables() {
    let desk = Desk::new().await;
    let create = "CREATE TABLE mine (n int); INSERT INTO mine VALUES (7)";
    let said = desk
        .run(&[
            "run",
            "--sandbox",
            "feature/x",
            "--",
            "psql",
            "-XqAt",
            "-c",
            create,
        ])
        .await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let script = "psql -XqAt \"$DATABASE_URL\" -c 'SELECT n FROM mine'";
    let said = desk
        .run(&["run", "--sandbox", "feature/x", "--", "sh", "-c", script])
        .await;
    assert_eq!(
        (said.out.as_str(), said.code),
        ("7\n", Some(0)),
        "{}",
        said.err
    );
    // In the default sandbox it is not there.
    let said = desk.run(&["run", "--", "sh", "-c", script]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("does not exist"), "{}", said.err);
}

#[tokio::test]
async fn nothing_leads_it_elsewhere() {
    let desk = Desk::new().await;
    let environment = [
        ("PGHOST", "elsewhere.example"),
        ("PGSERVICE", "prod"),
        ("PGOPTIONS", "-c work_mem=1MB"),
        ("BILLING_URL", "postgresql://x:hidden@elsewhere.example/y"),
        ("COLOUR", "blue"),
    ];
    let mut command = desk.command(&["run", "--keep", "PGOPTIONS", "--", "env"]);
    let said = Desk::said(command.envs(environment).spawn().unwrap()).await;
    for (part, is_there) in [
        ("elsewhere", false),
        ("PGSERVICE", false),
        ("BILLING_URL", false),
        ("PGOPTIONS=-c work_mem=1MB", true),
        ("COLOUR=blue", true),
        ("PGUSER=dev1+default", true),
        (
            "DATABASE_URL=postgres://dev1+default:secret@127.0.0.1:",
            true,
        ),
    ] {
        assert_eq!(said.out.contains(part), is_there, "{part}\n{}", said.out);
    }
    assert!(
        said.err.contains("PGHOST") && said.err.contains("BILLING_URL"),
        "{}",
        said.err
    );
    assert!(!said.err.contains("hidden"), "{}", said.err);
}

#[tokio::test]
async fn input_exit_status_and_signals_are_the_command_s_own() {
    let desk = Desk::new().await;
    let mut command = desk.command(&["run", "--", "sh", "-c", "read line; echo got $line; exit 3"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"this\n")
        .await
        .unwrap();
    let said = Desk::said(child).await;
    assert_eq!((said.out.as_str(), said.code), ("got this\n", Some(3)));

    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let mut child = desk
        .command(&["run", "--", "sh", "-c", script])
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut ready)
        .await
        .unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(Desk::said(child).await.code, Some(9));

    let said = desk.run(&["run", "--", "no-such-program"]).await;
    assert_eq!(said.code, Some(127));
    assert!(said.err.contains("hint: "), "{}", said.err);
}

#[tokio::test]
async fn the_password_is_in_no_argument_list() {
    let desk = Desk::new().await;
    let said = desk
        .run(&["run", "--", "sh", "-c", "cat /proc/self/cmdline"])
        .await;
    assert!(
        !said.out.contains("secret") && said.code == Some(0),
        "{}",
        said.out
    );
    assert_eq!(said.err, "");
}

/// Two services that use one sandbox's name share one world.
#[tokio::test]
async fn two_services_share_one_world() {
    let desk = Desk::new().await;
    let run = async |script: &str| {
        let words = [
            "run",
            "--sandbox",
            "pipeline",
            "--",
            "psql",
            "-XqAt",
            "-c",
            script,
        ];
        desk.run(&words).await
    };
    let orders = "INSERT INTO orders (account_id, total) SELECT 3, n FROM generate_series(1, 4) n";
    assert_eq!(run(orders).await.code, Some(0));
    let bills = "CREATE TABLE bills AS SELECT account_id, sum(total) AS due FROM orders \
                 WHERE id > 60 GROUP BY account_id";
    assert_eq!(run(bills).await.code, Some(0));
    assert_eq!(run("SELECT due FROM bills").await.out, "10.00\n");
    let mut other = Client::connect(&desk.proxy.url()).await;
    let elsewhere = other.simple("SELECT due FROM bills").await;
    assert!(elsewhere.contains("42P01"), "{elsewhere}");
}
