//! Upstreams that are killed, refuse, hang or are full, and the proxy's own sudden death: those concerned get
//! a clear error, the others go on, and what is committed stays as it was.

use std::fs;
use std::time::{Duration, Instant};

use devinprod::audit::{EndReason, EventKind};

use super::chaos_kit::{
    backend_of, closed_port, console, developers, eventually, refused, sandbox_backends, serve,
    silent_port, state_of, unsealed_upstream, value,
};
use super::harness::wire::Client;
use super::harness::{self, Setup, TestDatabase};
use super::process_kit::Process;

#[tokio::test]
async fn a_terminated_backend_ends_its_sandbox_and_each_client_is_told_once() {
    let proxy = harness::proxy().await;
    let mut idle = Client::connect(&proxy.url()).await;
    let mut block = Client::connect(&proxy.url()).await;
    let mut other = Client::connect(&proxy.url_for("dev2")).await;
    other.simple("CREATE TABLE theirs (n int)").await;
    idle.simple("CREATE TABLE kept (n int); PREPARE p AS SELECT 7")
        .await;
    idle.parse("named", "SELECT 8", &[]).sync().run().await;
    let begun = block.simple("BEGIN; INSERT INTO kept VALUES (1)").await;
    assert!(begun.ends_with("ReadyForQuery T\n"), "{begun}");
    let backend = backend_of(&proxy, "dev1", "default");
    let admin = proxy.database.connect().await;
    admin
        .execute("SELECT pg_terminate_backend($1, 5000)", &[&backend])
        .await
        .unwrap();

    let told = idle.simple("SELECT 1").await;
    assert!(
        told.contains("ErrorResponse ERROR 57P01: the sandbox \"default\" has ended"),
        "{told}"
    );
    assert!(
        told.contains("fresh sandbox") && told.ends_with("ReadyForQuery I\n"),
        "{told}"
    );
    assert_eq!(
        value(&mut idle, "SELECT to_regclass('kept') IS NULL").await,
        "t"
    );

    // The one in a transaction block is told, too; its block has failed with all that was in it.
    let told = block.simple("SELECT 1").await;
    assert!(
        told.contains("ERROR 57P01") && told.ends_with("ReadyForQuery E\n"),
        "{told}"
    );
    assert_eq!(state_of(&mut block, "SELECT 1").await, "25P02");
    assert!(
        block
            .simple("COMMIT")
            .await
            .contains("CommandComplete ROLLBACK")
    );
    assert_eq!(value(&mut block, "SELECT 1").await, "1");

    // What was prepared by the client goes on, as it belongs to its connection.
    assert_eq!(value(&mut idle, "EXECUTE p").await, "7");
    let answers = idle
        .bind("", "named", &[])
        .execute("", 0)
        .sync()
        .run()
        .await;
    assert!(answers.iter().any(|m| m.line() == "DataRow \"8\""));

    assert_eq!(value(&mut other, "SELECT count(*) FROM theirs").await, "0");
    assert_eq!(sandbox_backends(&proxy.database).await, 2);
    let ended = EventKind::SandboxEnded {
        reason: EndReason::UpstreamLost,
    };
    let count = || {
        proxy
            .events()
            .into_iter()
            .filter(|event| event.kind == ended)
            .count()
    };
    eventually("the event is written", || async { count() == 1 }).await;
}

#[tokio::test]
async fn a_backend_terminated_under_a_running_statement_is_told_to_all_who_wait() {
    let proxy = harness::proxy().await;
    let mut running = Client::connect(&proxy.url()).await;
    let mut waiting = Client::connect(&proxy.url()).await;
    running.query("SELECT pg_sleep(60)").send().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    waiting.query("SELECT 1").send().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let backend = backend_of(&proxy, "dev1", "default");
    let admin = proxy.database.connect().await;
    admin
        .execute("SELECT pg_terminate_backend($1, 5000)", &[&backend])
        .await
        .unwrap();
    for client in [&mut running, &mut waiting] {
        let told = harness::wire::transcript(&client.run().await);
        assert!(
            told.contains("ERROR 57P01") && told.ends_with("ReadyForQuery I\n"),
            "{told}"
        );
        assert_eq!(value(client, "SELECT 1").await, "1");
    }
    assert_eq!(sandbox_backends(&proxy.database).await, 1);
}

#[tokio::test]
async fn a_backend_terminated_in_the_middle_of_a_copy_is_told() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("CREATE TABLE kept (n int)").await;
    client.query("COPY kept FROM STDIN").run_until(b"G").await;
    let backend = backend_of(&proxy, "dev1", "default");
    let admin = proxy.database.connect().await;
    admin
        .execute("SELECT pg_terminate_backend($1, 5000)", &[&backend])
        .await
        .unwrap();
    let answers = client.copy_data(b"1\n").copy_done().run().await;
    let told = harness::wire::transcript(&answers);
    assert!(told.contains("ERROR 57P01"), "{told}");
    assert_eq!(
        value(&mut client, "SELECT to_regclass('kept') IS NULL").await,
        "t"
    );
}

#[tokio::test]
async fn a_killed_server_is_said_to_be_gone_and_found_again() {
    let (mut cluster, database) = harness::own_cluster().await;
    let proxy = harness::proxy_with(database.clone(), Setup::default()).await;
    let before = harness::dump(&database).await;
    let mut one = Client::connect(&proxy.url()).await;
    let mut two = Client::connect(&proxy.url_for("dev2")).await;
    for client in [&mut one, &mut two] {
        client
            .simple("DELETE FROM order_log; BEGIN; DELETE FROM orders")
            .await;
    }
    cluster.kill().unwrap();
    for client in [&mut one, &mut two] {
        let told = client.simple("SELECT 1").await;
        assert!(told.contains(" 57P0"), "{told}");
        assert!(
            told.contains("the upstream app") || told.contains("has ended"),
            "{told}"
        );
    }
    let down = refused(&proxy.url(), &[]).await;
    assert!(
        down.contains("FATAL 57P03") && down.contains("the upstream app cannot be reached"),
        "{down}"
    );
    assert!(
        console(&proxy, "dev1", "SHOW SANDBOXES")
            .await
            .contains("CommandComplete")
    );
    cluster.restart().await.unwrap();
    assert!(harness::dump(&database).await == before, "the dump differs");
    for user in ["dev1", "dev2"] {
        let mut again = Client::connect(&proxy.url_for(user)).await;
        assert_eq!(value(&mut again, "SELECT count(*) FROM orders").await, "60");
    }
    assert_eq!(sandbox_backends(&database).await, 2);
}

#[tokio::test]
async fn upstreams_that_refuse_or_hang_are_said_so_and_the_others_go_on() {
    let database = harness::database().await;
    let at = |port: u16| {
        format!("postgres://postgres:x@127.0.0.1:{port}/app?sslmode=disable&connect_timeout=1")
    };
    let upstreams = [
        unsealed_upstream("good", &format!("{}?sslmode=disable", database.url), ""),
        unsealed_upstream("closed", &at(closed_port().await), ""),
        unsealed_upstream("silent", &at(silent_port().await), ""),
        unsealed_upstream("wrong", &at(database.port), ""),
        unsealed_upstream(
            "through_closed",
            &at(closed_port().await),
            "isolation = \"none\"",
        ),
        unsealed_upstream(
            "through_silent",
            &at(silent_port().await),
            "isolation = \"none\"",
        ),
    ];
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\n";
    let serving = serve(&format!(
        "{listen}{}{}",
        upstreams.concat(),
        developers(&["dev1"])
    ))
    .await;
    for (name, says) in [
        ("closed", "cannot be reached"),
        ("silent", "cannot be reached"),
        ("wrong", "refused the proxy's connection"),
        ("through_closed", "cannot be reached"),
        ("through_silent", "cannot be reached"),
    ] {
        let started = Instant::now();
        let url = serving.url("dev1", name);
        let refused = refused(&url, &[]);
        let mut good = Client::connect(&serving.url("dev1", "good")).await;
        let (refused, good) = tokio::join!(refused, value(&mut good, "SELECT 1"));
        assert!(
            refused.contains("FATAL 57P03") && refused.contains(says),
            "{name}: {refused}"
        );
        assert!(
            !refused.contains(":x@"),
            "{name}: the password is in the error"
        );
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            started.elapsed()
        );
        assert_eq!(good, "1");
    }
}

#[tokio::test]
async fn an_upstream_without_free_connections_is_said_to_be_full() {
    let proxy = harness::proxy().await;
    let mut first = Client::connect(&proxy.url()).await;
    let admin = proxy.database.connect().await;
    let limit = |n: i32| {
        format!(
            "ALTER DATABASE {} CONNECTION LIMIT {n}",
            proxy.database.name
        )
    };
    admin.batch_execute(&limit(1)).await.unwrap();
    let full = refused(&proxy.url_for("dev2"), &[]).await;
    assert!(
        full.contains("FATAL 53300") && full.contains("takes no more connections"),
        "{full}"
    );
    assert_eq!(value(&mut first, "SELECT count(*) FROM orders").await, "60");
    assert_eq!(sandbox_backends(&proxy.database).await, 1);
    admin.batch_execute(&limit(-1)).await.unwrap();
    let mut second = Client::connect(&proxy.url_for("dev2")).await;
    assert_eq!(
        value(&mut second, "SELECT count(*) FROM orders").await,
        "60"
    );
}

async fn sealed_config(database: &TestDatabase) -> String {
    let prefix = format!("{}_", database.name);
    let password = harness::seal_database(database, &prefix).await;
    let url = database.url_as(&format!("{prefix}proxy"), &password);
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[[upstream]]\nname = \"app\"\n\
         url = \"{url}?sslmode=disable\"\nstage = \"test\"\nrole_prefix = \"{prefix}\"\n\
         developers = [\"dev1\", \"dev2\"]\n{}",
        developers(&["dev1", "dev2"])
    )
}

#[tokio::test]
async fn killing_the_proxy_commits_nothing_and_leaves_nothing_locked() {
    let database = harness::database().await;
    let config = sealed_config(&database).await;
    let before = harness::dump(&database).await;
    let mut process = Process::start(&config);
    let mut one = Client::connect(&process.url("dev1")).await;
    let mut two = Client::connect(&process.url("dev2")).await;
    let mut copying = Client::connect(&process.url("dev2+copy")).await;
    one.simple("DELETE FROM order_log; CREATE TABLE made (n int); UPDATE accounts SET name = 'x'")
        .await;
    two.simple("BEGIN; INSERT INTO order_log SELECT 1, 'x' FROM generate_series(1, 10000)")
        .await;
    copying
        .query("COPY order_log FROM STDIN")
        .run_until(b"G")
        .await;
    copying.copy_data(b"1\tx\n").send().await;
    two.query("COMMIT; SELECT pg_sleep(60)").send().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(sandbox_backends(&database).await, 3);

    process.child.kill().unwrap();
    process.child.wait().unwrap();
    assert!(one.simple("SELECT 1").await.is_empty(), "somebody answered");
    // Also the one that sleeps, for the proxy asked Postgres to look whether it is still there.
    eventually("the backends are gone", || async {
        sandbox_backends(&database).await == 0
    })
    .await;
    let admin = database.connect().await;
    admin
        .batch_execute(
            "BEGIN; SET LOCAL lock_timeout = '2s'; \
             LOCK TABLE orders, order_log, accounts IN ACCESS EXCLUSIVE MODE; ROLLBACK",
        )
        .await
        .unwrap();
    assert!(harness::dump(&database).await == before, "the dump differs");

    // A second start finds everything as if there had been no first.
    let process = Process::start(&config);
    let mut again = Client::connect(&process.url("dev1")).await;
    assert_eq!(
        value(&mut again, "SELECT count(*) FROM order_log").await,
        "60"
    );
    assert_eq!(
        value(&mut again, "SELECT to_regclass('made') IS NULL").await,
        "t"
    );
}

#[tokio::test]
async fn a_proxy_that_is_asked_to_stop_ends_everything_in_good_order() {
    let database = harness::database().await;
    let config = sealed_config(&database).await;
    let before = harness::dump(&database).await;
    let mut process = Process::start(&config);
    let mut idle = Client::connect(&process.url("dev1")).await;
    let mut busy = Client::connect(&process.url("dev2")).await;
    idle.simple("DELETE FROM order_log").await;
    busy.query("UPDATE accounts SET name = 'x'; SELECT pg_sleep(1)")
        .send()
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let pid = rustix::process::Pid::from_child(&process.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let told = harness::wire::transcript(&idle.run().await);
    assert!(told.contains("FATAL 57P01"), "{told}");
    // A running statement is let come to its end.
    let answers = harness::wire::transcript(&busy.run().await);
    assert!(answers.contains("CommandComplete SELECT 1"), "{answers}");
    let status = tokio::task::spawn_blocking(move || process.child.wait().unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(10), status).await;
    assert!(
        ended.expect("it stops in time").unwrap(),
        "it stopped with an error"
    );
    eventually("the backends are gone", || async {
        sandbox_backends(&database).await == 0
    })
    .await;
    assert!(harness::dump(&database).await == before, "the dump differs");
}

#[tokio::test]
async fn a_hangup_signal_reloads_and_running_sandboxes_go_on() {
    let database = harness::database().await;
    let config = sealed_config(&database).await;
    let process = Process::start(&config);
    let mut stays = Client::connect(&process.url("dev1")).await;
    stays
        .simple("CREATE TABLE made (n int); BEGIN; INSERT INTO made VALUES (1)")
        .await;
    drop(Client::connect(&process.url("dev2")).await);

    let fewer = config.replace(
        "developers = [\"dev1\", \"dev2\"]",
        "developers = [\"dev1\"]",
    );
    fs::write(
        process
            .folder
            .as_ref()
            .unwrap()
            .path()
            .join("devinprod.toml"),
        fewer,
    )
    .unwrap();
    let pid = rustix::process::Pid::from_child(&process.child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    eventually("dev2 has lost its access", || async {
        Client::try_connect(&process.url("dev2"), &[])
            .await
            .is_err()
    })
    .await;
    assert_eq!(value(&mut stays, "SELECT n FROM made").await, "1");

    // A broken file changes nothing.
    fs::write(
        process
            .folder
            .as_ref()
            .unwrap()
            .path()
            .join("devinprod.toml"),
        "[listen",
    )
    .unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(value(&mut stays, "SELECT n FROM made").await, "1");
    Client::connect(&process.url("dev1")).await;
}

/// Terminates dev1's backend while it sends a result that the client has not begun to read.
async fn terminate_in_the_middle(proxy: &harness::Proxy, client: &mut Client, sql: &str) -> String {
    // The description comes with the first row's first bytes.
    client.query(sql).run_until(b"T").await;
    let backend = backend_of(proxy, "dev1", "default");
    let admin = proxy.database.connect().await;
    admin
        .execute("SELECT pg_terminate_backend($1, 5000)", &[&backend])
        .await
        .unwrap();
    let answers = tokio::time::timeout(Duration::from_secs(20), client.run()).await;
    harness::wire::transcript(&answers.expect("the client is not left waiting"))
}

#[tokio::test]
async fn a_backend_lost_in_the_middle_of_a_result_leaves_the_client_between_messages() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let sql = "SELECT repeat('x', 50000) FROM generate_series(1, 4000)";
    let told = terminate_in_the_middle(&proxy, &mut client, sql).await;
    assert!(told.contains("ERROR 57P01"), "the client is told");
    assert!(told.ends_with("ReadyForQuery I\n"), "and goes on");
    assert_eq!(value(&mut client, "SELECT 1").await, "1");
}

#[tokio::test]
async fn a_backend_lost_in_the_middle_of_a_huge_row_ends_the_connection() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let told = terminate_in_the_middle(&proxy, &mut client, "SELECT repeat('x', 100000000)").await;
    assert!(
        !told.contains("ReadyForQuery"),
        "nothing can be told inside a row"
    );
    let mut fresh = Client::connect(&proxy.url()).await;
    assert_eq!(value(&mut fresh, "SELECT 1").await, "1");
}
