//! Random clients do random things in several sandboxes while clients, backends and sandboxes are killed at
//! random. Afterwards the upstream is as it was, nothing is left over, and the proxy still serves.
//!
//! `CHAOS_SEED` repeats a run's choices (not its timing); `CHAOS_SECONDS` makes it longer.

use std::str::FromStr;
use std::time::{Duration, Instant};

use devinprod::seal::{self, Names, SealOptions};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::chaos_kit::{clients_of, eventually, sandbox_backends, value};
use super::harness::wire::{Client, Message};
use super::harness::{self, Proxy, Setup};

const USERS: [&str; 5] = ["dev1", "dev1+a", "dev1+b", "dev2", "dev2+a"];
const WORKERS: u64 = 10;
/// Longer than any statement below and any wait for the floor.
const ANSWER: Duration = Duration::from_secs(30);

const STATEMENTS: [&str; 32] = [
    "SELECT count(*) FROM orders",
    "SELECT 1; SELECT 2",
    "UPDATE accounts SET balance = balance + 1 WHERE id = 1",
    "INSERT INTO orders (account_id, total) VALUES (1, 5) RETURNING id",
    "INSERT INTO orders (account_id, total) VALUES (99999, 5)",
    "DELETE FROM order_log WHERE order_id = 3",
    "TRUNCATE order_log",
    "CREATE TABLE IF NOT EXISTS made (n int)",
    "INSERT INTO made SELECT generate_series(1, 100)",
    "DROP TABLE IF EXISTS made",
    "CREATE TEMP TABLE IF NOT EXISTS scratch (n int) ON COMMIT DROP",
    "BEGIN",
    "BEGIN; SELECT 1",
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "BEGIN READ ONLY",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "RELEASE a",
    "SELECT 1/0",
    "SELEC nonsense",
    "SET work_mem = '8MB'",
    "SET LOCAL search_path = pg_catalog",
    "DISCARD ALL",
    "LISTEN news; NOTIFY news, 'x'",
    "SELECT pg_try_advisory_lock(1)",
    "DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 1000)",
    "DO $$ BEGIN COMMIT; END $$",
    "SELECT set_config('application_name', 'chaos', true), pg_sleep(0.01)",
    "PREPARE p AS SELECT 1; EXECUTE p; DEALLOCATE p",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_done_and_killed_nothing_is_committed() {
    let seed = from_environment("CHAOS_SEED").unwrap_or_else(rand::random::<u64>);
    let seconds = from_environment("CHAOS_SECONDS").unwrap_or(15);
    // Shown when the test fails.
    println!("CHAOS_SEED={seed}");
    let setup = Setup {
        sandbox: "wait_timeout = \"1s\"\noverlap_after = \"20ms\"\nlock_timeout = \"300ms\"\nblock_timeout = \"2s\"",
        limits: "max_message_size = \"1MB\"\nshutdown_grace = \"2s\"",
        ..Setup::default()
    };
    let proxy = harness::proxy_with(harness::database().await, setup).await;
    add_pairs(&proxy).await;
    let before = harness::dump(&proxy.database).await;
    let end = Instant::now() + Duration::from_secs(seconds);

    let workers: Vec<_> = (0..WORKERS)
        .map(|n| {
            let urls: Vec<String> = USERS.iter().map(|user| proxy.url_for(user)).collect();
            tokio::spawn(work(
                urls,
                SmallRng::seed_from_u64(seed.wrapping_add(n)),
                end,
            ))
        })
        .collect();
    let mut rng = SmallRng::seed_from_u64(seed.wrapping_add(WORKERS));
    let mut kills = 0;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..400))).await;
        kills += kill(&proxy, &mut rng).await;
    }
    let mut answered = 0;
    for worker in workers {
        answered += worker.await.expect("no worker hangs or panics");
    }
    assert!(
        answered > 100 && kills > 5,
        "{answered} answers, {kills} kills: nothing was tried"
    );

    eventually("all clients are gone", || async {
        clients_of(&proxy, "dev1") + clients_of(&proxy, "dev2") == 0
    })
    .await;
    for user in USERS {
        let mut client = Client::connect(&proxy.url_for(user)).await;
        // The last kill may have hit a sandbox that nobody used: whoever uses it next is told so, once.
        let first = client.simple("SELECT 1").await;
        let told = first.contains("ERROR 57P01") && first.contains("the upstream was lost");
        assert!(first.contains("DataRow \"1\"") || told, "{user}: {first}");
        assert_eq!(
            value(&mut client, "SELECT count(*) >= 0 FROM orders").await,
            "t",
            "{user}"
        );
        assert!(
            !client
                .simple("UPDATE accounts SET name = 'x' WHERE id = 7")
                .await
                .contains("XX000")
        );
    }
    let database = proxy.database.clone();
    drop(proxy);
    eventually("no backend is left", || async {
        sandbox_backends(&database).await == 0
    })
    .await;
    assert!(harness::dump(&database).await == before, "the dump differs");
}

/// A developer role rests for 15 s after each lease, and here sandboxes end every moment.
async fn add_pairs(proxy: &Proxy) {
    let options = SealOptions {
        pairs: 120,
        names: Names::with_prefix(&format!("{}_", proxy.database.name)).unwrap(),
        ..SealOptions::default()
    };
    let admin = proxy.database.connect().await;
    let survey = seal::survey(&admin, &options.names).await.unwrap();
    let plan = seal::plan(&survey, &options).unwrap();
    seal::apply(&admin, &plan).await.unwrap();
}

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Ends something; says whether there was anything to end.
async fn kill(proxy: &Proxy, rng: &mut SmallRng) -> u32 {
    let database = &proxy.database.name;
    match rng.random_range(0..3) {
        0 => {
            let admin = proxy.database.connect().await;
            let sql = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE \
                 datname = '{database}' AND usename LIKE '{database}\\_%' ORDER BY random() LIMIT 1) AS a"
            );
            harness::scalar(&admin, &sql).await.parse().unwrap()
        }
        1 => {
            let admin = proxy.database.connect().await;
            let sql = format!(
                "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}' \
                 AND usename LIKE '{database}\\_%' AND usename <> '{database}_proxy'"
            );
            harness::scalar(&admin, &sql).await.parse().unwrap()
        }
        _ => {
            let names = ["default", "a", "b"];
            let sql = format!("RESET SANDBOX {}", names[rng.random_range(0..3)]);
            let answer = super::chaos_kit::console(proxy, "dev1", &sql).await;
            u32::from(!answer.contains("ErrorResponse"))
        }
    }
}

/// One application after the other until the time is over; gives how many answers there were.
async fn work(urls: Vec<String>, mut rng: SmallRng, end: Instant) -> u64 {
    let mut answered = 0;
    while Instant::now() < end {
        let url = &urls[rng.random_range(0..urls.len())];
        let Ok(mut client) = Client::try_connect(url, &[]).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        for _ in 0..rng.random_range(1..25) {
            if Instant::now() > end {
                break;
            }
            let mut doing = String::new();
            let acted = tokio::time::timeout(ANSWER, act(&mut client, &mut rng, &mut doing)).await;
            match acted {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => panic!("no answer in time to {doing}"),
            }
            answered += 1;
        }
        // Half of them say goodbye; the others are just gone.
        if rng.random_bool(0.5) {
            client.terminate().send().await;
        }
    }
    answered
}

/// One thing that a client does; false when the connection is over.
async fn act(client: &mut Client, rng: &mut SmallRng, doing: &mut String) -> bool {
    let sql = STATEMENTS[rng.random_range(0..STATEMENTS.len())];
    let kind = rng.random_range(0..20);
    *doing = format!("{kind}: {sql}");
    match kind {
        0..10 => is_ready(&client.query(sql).run().await),
        10..14 => {
            client
                .parse("", sql, &[])
                .bind("", "", &[])
                .describe(b'P', "")
                .execute("", 0);
            is_ready(&client.sync().run().await)
        }
        14 => {
            for _ in 0..rng.random_range(1..20) {
                let sql = STATEMENTS[rng.random_range(0..STATEMENTS.len())];
                *doing += "; ";
                *doing += sql;
                client
                    .parse("", sql, &[])
                    .bind("", "", &[])
                    .execute("", rng.random_range(0..3));
            }
            is_ready(&client.sync().run().await)
        }
        15 => copy_in(client, rng).await,
        16 => {
            let answers = client
                .query("COPY (SELECT * FROM orders) TO STDOUT")
                .run()
                .await;
            is_ready(&answers)
        }
        17 => {
            // Gone with an answer under way.
            client
                .query("SELECT repeat('x', 100) FROM generate_series(1, 100000)")
                .send()
                .await;
            rng.random_bool(0.5) && is_ready(&client.run().await)
        }
        18 => {
            client.query(sql).send().await;
            false
        }
        _ => {
            let garbage: Vec<u8> = (0..rng.random_range(1..64)).map(|_| rng.random()).collect();
            client.raw(&garbage).send().await;
            false
        }
    }
}

async fn copy_in(client: &mut Client, rng: &mut SmallRng) -> bool {
    let begun = client
        .query("COPY order_log FROM STDIN")
        .run_until(b"GZ")
        .await;
    if begun.last().is_none_or(|message| message.tag != b'G') {
        return is_ready(&begun);
    }
    for _ in 0..rng.random_range(0..50) {
        client.copy_data(b"1\tcopied\n");
    }
    match rng.random_range(0..3) {
        0 => is_ready(&client.copy_done().run().await),
        1 => is_ready(&client.copy_fail("enough").run().await),
        _ => {
            client.send().await;
            false
        }
    }
}

fn is_ready(answers: &[Message]) -> bool {
    answers.last().is_some_and(|message| message.tag == b'Z')
}
