//! How sandboxes are named, how they begin and end, and how their clients get on with each other.

use std::time::{Duration, Instant};

use devinprod::audit::{EndReason, EventKind};

use super::chaos_kit::{
    clients_of, console, eventually, refused, sandbox_backends, sqlstate, state_of, value,
};
use super::harness::wire::{Client, transcript};
use super::harness::{self, Proxy, Setup};

async fn proxy_with(sandbox: &'static str) -> Proxy {
    harness::proxy_with(
        harness::database().await,
        Setup {
            sandbox,
            ..Setup::default()
        },
    )
    .await
}

fn ended(proxy: &Proxy, reason: EndReason) -> usize {
    let kind = EventKind::SandboxEnded { reason };
    proxy
        .events()
        .iter()
        .filter(|event| event.kind == kind)
        .count()
}

fn happened(proxy: &Proxy, kind: &EventKind) -> bool {
    proxy.events().iter().any(|event| event.kind == *kind)
}

/// Each client is told once that its sandbox has ended, and why, and then works in a fresh one.
async fn check_told_once(clients: &mut [Client], why: &str) {
    for client in clients {
        let told = client.simple("SELECT 1").await;
        assert!(
            told.contains("ERROR 57P01") && told.contains(why) && told.contains("fresh sandbox"),
            "{told}"
        );
        assert_eq!(
            value(client, "SELECT to_regclass('kept') IS NULL").await,
            "t"
        );
    }
}

async fn two_clients(proxy: &Proxy) -> [Client; 2] {
    let mut one = Client::connect(&proxy.url()).await;
    let two = Client::connect(&proxy.url()).await;
    assert_eq!(state_of(&mut one, "CREATE TABLE kept (n int)").await, "");
    [one, two]
}

#[tokio::test]
async fn a_sandbox_outlives_its_clients() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client
        .simple("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1), (2)")
        .await;
    client.terminate().send().await;
    drop(client);
    eventually("the client is gone", || async {
        clients_of(&proxy, "dev1") == 0
    })
    .await;
    let mut again = Client::connect(&proxy.url()).await;
    assert_eq!(value(&mut again, "SELECT count(*) FROM kept").await, "2");
}

#[tokio::test]
async fn a_reset_ends_a_sandbox_and_only_its_developer_can() {
    let proxy = harness::proxy().await;
    let mut clients = two_clients(&proxy).await;
    let denied = console(&proxy, "dev2", "RESET SANDBOX default").await;
    assert!(denied.contains("ERROR 42704"), "{denied}");
    assert_eq!(
        value(&mut clients[0], "SELECT count(*) FROM kept").await,
        "0"
    );
    let done = console(&proxy, "dev1", "RESET SANDBOX default").await;
    assert!(!done.contains("ErrorResponse"), "{done}");
    check_told_once(&mut clients, "it was reset").await;
    assert_eq!(ended(&proxy, EndReason::Reset), 1);
    assert_eq!(sandbox_backends(&proxy.database).await, 1);
}

#[tokio::test]
async fn a_reset_reaches_a_block_a_copy_and_a_running_statement() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("CREATE TABLE kept (n int)").await;
    client.query("SELECT pg_sleep(1)").send().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    console(&proxy, "dev1", "RESET SANDBOX default").await;
    // What runs may come to its end; what follows is told.
    client.run().await;
    check_told_once(std::slice::from_mut(&mut client), "it was reset").await;

    client.simple("CREATE TABLE kept (n int); BEGIN").await;
    console(&proxy, "dev1", "RESET SANDBOX default").await;
    assert_eq!(
        state_of(&mut client, "INSERT INTO kept VALUES (1)").await,
        "57P01"
    );
    assert!(
        client
            .simple("ROLLBACK")
            .await
            .ends_with("CommandComplete ROLLBACK\nReadyForQuery I\n")
    );

    client.simple("CREATE TABLE kept (n int)").await;
    client.query("COPY kept FROM STDIN").run_until(b"G").await;
    console(&proxy, "dev1", "RESET SANDBOX default").await;
    client.copy_data(b"1\n").copy_done().run().await;
    check_told_once(std::slice::from_mut(&mut client), "it was reset").await;

    client.simple("CREATE TABLE kept (n int)").await;
    console(&proxy, "dev1", "RESET SANDBOX default").await;
    let answers = client
        .parse("", "SELECT 1", &[])
        .bind("", "", &[])
        .execute("", 0)
        .sync()
        .run()
        .await;
    assert_eq!(sqlstate(&answers), "57P01");
    assert!(
        client
            .extended("SELECT 1", &[])
            .await
            .contains("DataRow \"1\"")
    );
}

#[tokio::test]
async fn idle_time_and_age_end_a_sandbox() {
    // Long enough that on a busy machine the clients below, too, find their fresh sandbox still there.
    let proxy = proxy_with("idle_timeout = \"4s\"").await;
    let mut clients = two_clients(&proxy).await;
    eventually("the idle time is over", || async {
        ended(&proxy, EndReason::IdleTimeout) == 1
    })
    .await;
    eventually("its backend is gone", || async {
        sandbox_backends(&proxy.database).await == 0
    })
    .await;
    check_told_once(&mut clients, "sandbox.idle_timeout").await;

    let proxy = proxy_with("max_age = \"5s\"").await;
    let mut clients = two_clients(&proxy).await;
    let started = Instant::now();
    while ended(&proxy, EndReason::MaxAge) == 0 {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "it does not age"
        );
        clients[0].simple("SELECT 1").await;
    }
    // The busy one was told in its loop, or is told now; the other one is told now.
    clients[0].simple("SELECT 1").await;
    check_told_once(&mut clients[1..], "sandbox.max_age").await;
}

#[tokio::test]
async fn an_idle_sandbox_that_blocks_others_ends() {
    let proxy = proxy_with("block_timeout = \"1s\"").await;
    let mut holder = Client::connect(&proxy.url()).await;
    let mut other = Client::connect(&proxy.url_for("dev2")).await;
    holder
        .simple("UPDATE accounts SET name = 'mine' WHERE id = 1")
        .await;
    let started = Instant::now();
    assert_eq!(
        state_of(
            &mut other,
            "UPDATE accounts SET name = 'theirs' WHERE id = 1"
        )
        .await,
        ""
    );
    assert!(
        started.elapsed() > Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    check_told_once(std::slice::from_mut(&mut holder), "sandbox.block_timeout").await;

    // And for a session that does not come through the proxy.
    let direct = proxy.database.connect().await;
    direct
        .batch_execute("BEGIN; UPDATE accounts SET name = 'direct' WHERE id = 1; ROLLBACK")
        .await
        .unwrap();
    assert_eq!(state_of(&mut other, "SELECT 1").await, "57P01");
    assert_eq!(ended(&proxy, EndReason::BlockTimeout), 2);
}

#[tokio::test]
async fn a_lock_timeout_names_the_developer_who_holds_the_lock() {
    let proxy = proxy_with("lock_timeout = \"2s\"").await;
    let mut holder = Client::connect(&proxy.url_for("dev2+theirs")).await;
    holder
        .simple("UPDATE accounts SET name = 'theirs' WHERE id = 1")
        .await;
    let mut waiter = Client::connect(&proxy.url()).await;
    let told = waiter
        .simple("UPDATE accounts SET name = 'mine' WHERE id = 1")
        .await;
    assert!(
        told.contains("ERROR 55P03") && told.contains("developer dev2, in the sandbox \"theirs\""),
        "{told}"
    );
    // Its work before the statement is still there.
    assert_eq!(
        state_of(
            &mut waiter,
            "UPDATE accounts SET name = 'mine' WHERE id = 2"
        )
        .await,
        ""
    );
}

#[tokio::test]
async fn sandboxes_are_named_by_user_and_by_options() {
    let proxy = harness::proxy().await;
    let mut by_user = Client::connect(&proxy.url_for("dev1+feature-x")).await;
    by_user.simple("CREATE TABLE kept (n int)").await;
    let option = [("options", "-c devinprod.sandbox=feature-x")];
    let mut by_option = Client::try_connect(&proxy.url(), &option).await.unwrap();
    assert_eq!(
        value(&mut by_option, "SELECT to_regclass('kept')").await,
        "kept"
    );
    for user in ["dev1", "dev1+feature-y", "dev2", "dev2+feature-x"] {
        let mut other = Client::connect(&proxy.url_for(user)).await;
        assert_eq!(
            value(&mut other, "SELECT to_regclass('kept') IS NULL").await,
            "t",
            "{user}"
        );
    }
    let private = [("options", "-c devinprod.isolation=connection")];
    let mut first = Client::try_connect(&proxy.url(), &private).await.unwrap();
    let mut second = Client::try_connect(&proxy.url(), &private).await.unwrap();
    first.simple("CREATE TABLE alone (n int)").await;
    assert_eq!(
        value(&mut first, "SELECT to_regclass('alone')").await,
        "alone"
    );
    assert_eq!(
        value(&mut second, "SELECT to_regclass('alone') IS NULL").await,
        "t"
    );
    drop((first, second));
    eventually("private sandboxes end with their client", || async {
        ended(&proxy, EndReason::ConnectionClosed) == 2
    })
    .await;
    for (user, option) in [
        ("dev1+", ""),
        ("dev1+a b", ""),
        ("dev1", "-c devinprod.isolation=none"),
        ("dev1", "-c devinprod.unknown=1"),
        ("dev1", "-c devinprod.sandbox="),
    ] {
        let url = proxy.url_for(user).replace(' ', "%20");
        let told = refused(&url, &[("options", option)]).await;
        assert!(
            told.contains("FATAL 22023") || told.contains("FATAL 28"),
            "{user} {option}: {told}"
        );
    }
}

#[tokio::test]
async fn a_nested_connection_joins_the_open_transaction() {
    let proxy = harness::proxy().await;
    let mut holder = Client::connect(&proxy.url()).await;
    let mut nested = Client::connect(&proxy.url()).await;
    holder
        .simple("BEGIN; UPDATE accounts SET name = 'inside' WHERE id = 1")
        .await;
    let started = Instant::now();
    assert_eq!(
        value(&mut nested, "SELECT name FROM accounts WHERE id = 1").await,
        "inside"
    );
    assert!(
        started.elapsed() > Duration::from_millis(200),
        "it did not wait: {:?}",
        started.elapsed()
    );
    assert_eq!(
        state_of(
            &mut nested,
            "UPDATE accounts SET name = 'nested' WHERE id = 2"
        )
        .await,
        ""
    );
    assert_eq!(state_of(&mut nested, "SELECT 1/0").await, "22012");
    assert!(
        holder
            .simple("COMMIT")
            .await
            .contains("CommandComplete COMMIT")
    );
    assert_eq!(
        value(&mut holder, "SELECT name FROM accounts WHERE id = 2").await,
        "nested"
    );
    eventually("the event", || async {
        happened(&proxy, &EventKind::Joined)
    })
    .await;
}

#[tokio::test]
async fn who_joins_a_read_only_block_reads_and_is_told_why_it_cannot_write() {
    let proxy = harness::proxy().await;
    let mut holder = Client::connect(&proxy.url()).await;
    let mut nested = Client::connect(&proxy.url()).await;
    holder
        .simple("BEGIN READ ONLY; SELECT name FROM accounts WHERE id = 1")
        .await;
    assert_eq!(value(&mut nested, "SELECT 1").await, "1");
    let update = "UPDATE accounts SET name = 'nested' WHERE id = 2";
    let told = nested.simple(update).await;
    assert!(
        told.contains("ERROR 25006")
            && told.contains("another client's open READ ONLY transaction"),
        "{told}"
    );
    // The holder's own error is as Postgres says it.
    let told = holder.simple(update).await;
    assert!(
        told.contains("ERROR 25006") && !told.contains("another client"),
        "{told}"
    );
    holder.simple("ROLLBACK").await;
    assert_eq!(state_of(&mut nested, update).await, "");
    assert_eq!(
        value(&mut holder, "SELECT name FROM accounts WHERE id = 2").await,
        "nested"
    );
}

#[tokio::test]
async fn a_commit_checks_its_constraints_although_another_client_failed_inside() {
    let proxy = harness::proxy().await;
    let mut holder = Client::connect(&proxy.url()).await;
    let mut nested = Client::connect(&proxy.url()).await;
    holder
        .simple("BEGIN; INSERT INTO orders (account_id, total) VALUES (99999, 1)")
        .await;
    assert_eq!(state_of(&mut nested, "SELECT 1/0").await, "22012");
    assert_eq!(state_of(&mut holder, "COMMIT").await, "23503");
    assert_eq!(
        value(&mut nested, "SELECT count(*) FROM orders").await,
        "60"
    );
}

#[tokio::test]
async fn work_lost_by_another_clients_rollback_is_told_to_both() {
    let proxy = harness::proxy().await;
    let mut holder = Client::connect(&proxy.url()).await;
    let mut nested = Client::connect(&proxy.url()).await;
    holder
        .simple("BEGIN; UPDATE accounts SET name = 'inside' WHERE id = 1")
        .await;
    assert_eq!(
        state_of(
            &mut nested,
            "UPDATE accounts SET name = 'nested' WHERE id = 2"
        )
        .await,
        ""
    );
    let rolled_back = holder.simple("ROLLBACK").await;
    assert!(
        rolled_back.contains("NoticeResponse WARNING 01000"),
        "{rolled_back}"
    );
    let told = nested
        .simple("SELECT name FROM accounts WHERE id = 2")
        .await;
    assert!(told.contains("NoticeResponse WARNING 01000"), "{told}");
    assert!(told.contains("DataRow \"Person 2\""), "{told}");
    assert!(
        !nested.simple("SELECT 1").await.contains("WARNING"),
        "it is told twice"
    );
    eventually("the event", || async {
        happened(&proxy, &EventKind::SandboxTainted)
    })
    .await;
    let shown = console(&proxy, "dev1", "SHOW SANDBOXES").await;
    assert!(shown.contains("tainted"), "{shown}");
    use devinprod::console::Directory;
    assert!(
        proxy
            .server
            .directory()
            .sandboxes("dev1")
            .iter()
            .all(|row| row.tainted)
    );
}

#[tokio::test]
async fn overlap_wait_and_error_say_who_holds_the_sandbox() {
    let proxy = proxy_with("overlap = \"wait\"\nwait_timeout = \"1s\"").await;
    let holder = [("application_name", "the holder")];
    let mut holding = Client::try_connect(&proxy.url(), &holder).await.unwrap();
    let mut waiting = Client::connect(&proxy.url()).await;
    holding
        .simple("BEGIN; UPDATE accounts SET name = 'inside' WHERE id = 1")
        .await;
    let told = waiting.simple("SELECT 1").await;
    assert!(
        told.contains("ERROR 55P03") && told.contains("the holder") && told.contains("hint"),
        "{told}"
    );
    waiting
        .query("SELECT name FROM accounts WHERE id = 1")
        .send()
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    holding.simple("ROLLBACK").await;
    assert!(transcript(&waiting.run().await).contains("DataRow \"Person 1\""));

    let proxy = proxy_with("overlap = \"error\"").await;
    let mut holding = Client::try_connect(&proxy.url(), &holder).await.unwrap();
    let mut waiting = Client::connect(&proxy.url()).await;
    holding
        .simple("BEGIN; UPDATE accounts SET name = 'inside' WHERE id = 1")
        .await;
    let told = waiting.simple("SELECT 1").await;
    assert!(
        told.contains("ERROR 40P01") && told.contains("the holder") && told.contains("hint"),
        "{told}"
    );
    holding.simple("COMMIT").await;
    assert_eq!(
        value(&mut waiting, "SELECT name FROM accounts WHERE id = 1").await,
        "inside"
    );
}

#[tokio::test]
async fn queues_and_advisory_locks_never_overlap() {
    let proxy = proxy_with("wait_timeout = \"1s\"").await;
    let mut holder = Client::connect(&proxy.url()).await;
    let mut nested = Client::connect(&proxy.url()).await;
    holder
        .simple("BEGIN; SELECT id FROM orders WHERE id = 1 FOR UPDATE SKIP LOCKED")
        .await;
    let job = "SELECT id FROM orders ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
    // Inside of the holder's transaction it would get the row that the holder works on.
    assert_eq!(state_of(&mut nested, job).await, "55P03");
    holder.simple("ROLLBACK; SELECT pg_advisory_lock(1)").await;
    assert_eq!(
        value(&mut nested, "SELECT pg_try_advisory_lock(1)").await,
        "f"
    );
    assert_eq!(
        value(&mut nested, "SELECT pg_try_advisory_lock(2)").await,
        "t"
    );
    holder.simple("SELECT pg_advisory_unlock(1)").await;
    assert_eq!(
        value(&mut nested, "SELECT pg_try_advisory_lock(1)").await,
        "t"
    );
    drop(nested);
    eventually("its locks are gone with the client", || async {
        clients_of(&proxy, "dev1") == 1
    })
    .await;
    assert_eq!(
        value(&mut holder, "SELECT pg_try_advisory_lock(2)").await,
        "t"
    );
    // Another sandbox has a key space of its own.
    let mut other = Client::connect(&proxy.url_for("dev2")).await;
    assert_eq!(
        value(&mut other, "SELECT pg_try_advisory_lock(2)").await,
        "t"
    );
}

#[tokio::test]
async fn a_cancel_key_reaches_its_own_statement_only() {
    let proxy = proxy_with("wait_timeout = \"20s\"").await;
    let mut running = Client::connect(&proxy.url()).await;
    let mut waiting = Client::connect(&proxy.url()).await;
    running.query("SELECT pg_sleep(2)").send().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    waiting.query("SELECT 1").send().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    cancel(&proxy, waiting.process, &waiting.secret).await;
    assert_eq!(sqlstate(&waiting.run().await), "57014");
    let mut wrong = running.secret.to_vec();
    wrong[0] ^= 1;
    cancel(&proxy, running.process, &wrong).await;
    assert!(
        transcript(&running.run().await).contains("CommandComplete SELECT 1"),
        "it was cancelled"
    );
    running.query("SELECT pg_sleep(30)").send().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    cancel(&proxy, running.process, &running.secret).await;
    assert_eq!(sqlstate(&running.run().await), "57014");
    assert_eq!(value(&mut running, "SELECT 1").await, "1");
    // One that comes when nothing runs does nothing, also to the next statement.
    cancel(&proxy, running.process, &running.secret).await;
    assert_eq!(
        value(&mut running, "SELECT 1 FROM pg_sleep(0.2)").await,
        "1"
    );
    assert_eq!(value(&mut waiting, "SELECT 1").await, "1");
}

async fn cancel(proxy: &Proxy, process: i32, secret: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", proxy.port))
        .await
        .unwrap();
    let length = u32::try_from(12 + secret.len()).unwrap();
    let mut packet = length.to_be_bytes().to_vec();
    packet.extend_from_slice(&80_877_102u32.to_be_bytes());
    packet.extend_from_slice(&process.to_be_bytes());
    packet.extend_from_slice(secret);
    stream.write_all(&packet).await.unwrap();
    let mut nothing = Vec::new();
    stream.read_to_end(&mut nothing).await.unwrap();
    assert!(nothing.is_empty());
}

#[tokio::test]
async fn idle_timeouts_of_a_client_are_kept_by_the_proxy() {
    let proxy = harness::proxy().await;
    let mut other = Client::connect(&proxy.url()).await;
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("CREATE TABLE kept (n int)").await;
    client
        .simple("SET idle_in_transaction_session_timeout = '300ms'")
        .await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    client.simple("BEGIN; INSERT INTO kept VALUES (1)").await;
    let told = transcript(&client.run().await);
    assert!(told.contains("FATAL 25P03"), "{told}");
    assert_eq!(value(&mut other, "SELECT count(*) FROM kept").await, "0");
    assert_eq!(
        value(&mut other, "SHOW idle_in_transaction_session_timeout").await,
        "0"
    );

    let timeout = [("options", "-c idle_session_timeout=300")];
    let mut client = Client::try_connect(&proxy.url(), &timeout).await.unwrap();
    let told = transcript(&client.run().await);
    assert!(told.contains("FATAL 57P05"), "{told}");
    assert_eq!(value(&mut other, "SELECT count(*) FROM kept").await, "0");
}
