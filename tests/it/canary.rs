//! The canary test: every sensitive cell of a database holds a marker; a hostile developer tries a large corpus of
//! attacks and what a fuzzer makes up, and no byte of a marker ever reaches the client.

mod attacker;
mod corpus;
mod fuzzer;
mod messages;
mod search;
mod tape;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use attacker::{Attacker, Keeps, Leak, Way};
use corpus::Attack;
use fuzzer::Fuzzer;
use search::Search;

use devinprod::seal;

use crate::harness::wire::Client;
use crate::harness::{self, Setup, TestDatabase, connect, dump, proxy_with, seal_database_with};

/// Sensitive columns, each with another of the same table that is not: what the corpus asks each of them.
const SENSITIVE: [(&str, &str, &str); 52] = [
    ("users", "email", "city"),
    ("users", "full_name", "city"),
    ("users", "phone", "id"),
    ("users", "born", "city"),
    ("users", "balance", "city"),
    ("users", "notes", "city"),
    ("users", "tags", "city"),
    ("users", "profile", "city"),
    ("users", "raw", "city"),
    ("users", "photo", "city"),
    ("users", "token", "city"),
    ("users", "secret_no", "id"),
    ("users", "ssn", "city"),
    ("users", "address", "city"),
    ("users", "letter", "city"),
    ("users", "home", "city"),
    ("users", "seen", "city"),
    ("users", "code", "city"),
    ("users", "words", "city"),
    ("users", "mail_key", "id"),
    ("public.users", "email", "grade"),
    ("orders", "user_email", "status"),
    ("orders", "amount", "id"),
    ("orders", "note", "user_id"),
    ("logins", "email", "id"),
    ("events", "actor", "id"),
    ("events", "payload", "at"),
    ("events_2023", "actor", "id"),
    ("accounts", "holder", "bank"),
    ("accounts", "number", "bank"),
    ("accounts_some", "holder", "bank"),
    ("people", "name", "id"),
    ("staff", "name", "id"),
    ("staff", "salary", "id"),
    ("papers", "title", "box"),
    ("papers", "body", "box"),
    ("bookings", "guest", "room"),
    ("bookings", "reason", "during"),
    ("members", "email", "joined"),
    ("members", "pin", "id"),
    ("member_log", "whole", "what"),
    ("subscribers", "email", "plan"),
    ("patients", "diagnosis", "ward"),
    ("visits", "patient", "place"),
    ("letters", "body", "id"),
    ("later", "secret", "place"),
    ("app.cases", "secret", "tenant"),
    ("app.\"Odd Names\"", "\"E-Mail\"", "\"the id\""),
    ("user_list", "email", "city"),
    ("user_mails", "mail", "id"),
    ("user_copies", "email", "city"),
    ("spending", "full_name", "full_name"),
];

/// A file of this test's folder.
fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/canary");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// A fresh marked database and the search for its markers.
async fn marked(database: TestDatabase) -> (TestDatabase, Arc<Search>) {
    let admin = database.connect().await;
    admin
        .batch_execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC",
        )
        .await
        .unwrap();
    admin.batch_execute(&read("marked.sql")).await.unwrap();
    let search = Search::of(&admin).await;
    assert!(search.markers > 300, "{} markers", search.markers);
    (database, Arc::new(search))
}

/// The same masks in every run: now and then a date that was made up is, by chance and in the attacker's time zone, a day
/// that is a marker.
async fn same_masks(database: &TestDatabase) {
    let key = "UPDATE devinprod.mask_key SET key = sha256('the canary test')";
    let changed = database.connect().await.execute(key, &[]).await.unwrap();
    assert_eq!(changed, 1, "keys");
}

fn no_leak(leaks: &[Leak]) {
    let shown: Vec<String> = leaks
        .iter()
        .take(40)
        .map(|leak| {
            format!(
                "{}\n    {}\n    -> {}",
                leak.attack, leak.statement, leak.what
            )
        })
        .collect();
    assert!(
        leaks.is_empty(),
        "{} statements let a marker out:\n{}",
        leaks.len(),
        shown.join("\n")
    );
}

/// What the fuzzer makes up; `CANARY_SEED` chooses another lot, `CANARY_STATEMENTS` how many.
fn made_up(count: usize) -> Vec<String> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("CANARY_SEED").unwrap_or(4_242);
    let count = number("CANARY_STATEMENTS").map_or(count, |n| usize::try_from(n).unwrap());
    let mut fuzzer = Fuzzer::new(seed);
    (0..count).map(|_| fuzzer.statement()).collect()
}

/// If this found nothing, the other tests of this file would show nothing.
#[tokio::test]
async fn an_administrator_is_shown_the_markers() {
    let (database, search) = marked(harness::database().await).await;
    let mut admin = Attacker::new(Way::Admin, &database.url, search).await;
    for attack in corpus::attacks() {
        admin.run(&attack).await;
    }
    let channels: BTreeSet<&str> = admin
        .leaks
        .iter()
        .map(|leak| leak.statement.as_str())
        .collect();
    assert!(channels.len() > 1500, "only {} channels", channels.len());
    let before = admin.leaks.len();
    for sql in made_up(1000) {
        let ask = |client: &mut Client| {
            client.query(&sql);
        };
        admin.messages(&sql, 1, ask).await;
    }
    let found = admin.leaks.len() - before;
    assert!(found > 150, "{found} of 1000 made up showed a marker");
    let before = admin.leaks.len();
    messages::run(&mut admin, &functions(&database).await).await;
    let found = admin.leaks.len() - before;
    assert!(found > 20, "{found} attacks by messages showed a marker");
}

/// Functions that give something away when they are called with a number.
async fn functions(database: &TestDatabase) -> Vec<u32> {
    let admin = database.connect().await;
    let rows = admin
        .query(
            "SELECT oid FROM pg_proc WHERE oid IN (to_regprocedure('lo_get(oid)'), to_regprocedure('app.mail_of(bigint)'))",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn straight_at_postgres_no_marker_comes_out_and_nothing_is_committed() {
    straight(harness::database().await, 1500).await;
}

#[tokio::test]
async fn straight_at_postgres_18_no_marker_comes_out_and_nothing_is_committed() {
    if let Some(database) = harness::postgres18().await {
        straight(database, 500).await;
    }
}

async fn straight(database: TestDatabase, fuzzed: usize) {
    let (database, search) = marked(database).await;
    let prefix = format!("{}_", database.name);
    let password = seal_database_with(&database, &prefix, Some(&read("policy.toml"))).await;
    same_masks(&database).await;
    let keeper = connect(&database.url_as(&format!("{prefix}proxy"), &password)).await;
    let before = dump(&database).await;
    let functions = functions(&database).await;
    // Side by side: who may not write is in nobody's way.
    let attacks = [Way::Straight, Way::Armed].map(|way| {
        let (database, keeper, search) = (&database, &keeper, &search);
        let (functions, prefix) = (&functions, &prefix);
        async move {
            let lease = seal::lease(keeper).await.unwrap();
            let url = database.url_as(&lease.role, &lease.password);
            let attacker = Attacker::new(way, &url, search.clone()).await;
            at_the_seal(attacker.knows(prefix), way, functions, fuzzed).await
        }
    });
    let leaks: Vec<Leak> = futures::future::join_all(attacks)
        .await
        .into_iter()
        .flatten()
        .collect();
    no_leak(&leaks);
    let after = dump(&database).await;
    assert!(before == after, "something was committed");
}

/// All that there is, without a proxy.
async fn at_the_seal(
    mut attacker: Attacker,
    way: Way,
    functions: &[u32],
    fuzzed: usize,
) -> Vec<Leak> {
    run_corpus(&mut attacker, &corpus::attacks()).await;
    let schema = match way {
        Way::Armed => "devinprod_masked",
        _ => "devinprod_rows",
    };
    run_corpus(&mut attacker, &corpus::attacks_at_views(schema)).await;
    messages::run(&mut attacker, functions).await;
    let statements = made_up(fuzzed);
    attacker
        .run_all("made up", &statements, Keeps::SomeEffects)
        .await;
    let at_views = statements.iter().map(|sql| corpus::at_views(sql, schema));
    let at_views: Vec<String> = at_views.collect();
    attacker
        .run_all("made up, at the views", &at_views, Keeps::SomeEffects)
        .await;
    assert!(attacker.sent > 5000, "{} sent", attacker.sent);
    assert!(
        attacker.done > 1000,
        "{} of {} were run",
        attacker.done,
        attacker.sent
    );
    attacker.leaks
}

/// Developers side by side, each on a database of their own: on the same one they would wait for each other's locks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn through_the_proxy_no_marker_comes_out_and_nothing_is_committed() {
    let developers = [("dev1", 0), ("dev1", 1), ("dev2", 2), ("dev2", 3)];
    let running = developers.map(|(who, lot)| tokio::spawn(through_the_proxy(who, lot)));
    let (mut sent, mut done, mut leaks) = (0, 0, Vec::new());
    for lane in running {
        let attacker = lane.await.unwrap();
        sent += attacker.sent;
        done += attacker.done;
        leaks.extend(attacker.leaks);
    }
    no_leak(&leaks);
    assert!(sent > 10_000, "{sent} statements");
    // Most of the corpus must have been understood.
    assert!(done > 6_000, "{done} of {sent} were run");
}

/// Every second attack and a quarter of what is made up: those of `dev1` in blocks and with simple queries, those of
/// `dev2` as they stand and by the extended protocol.
async fn through_the_proxy(who: &str, lot: usize) -> Attacker {
    const LOTS: usize = 4;
    let (database, search) = marked(harness::database().await).await;
    let setup = Setup {
        policy: Some(read("policy.toml")),
        ..Setup::default()
    };
    let prefix = format!("{}_", database.name);
    let proxy = proxy_with(database, setup).await;
    same_masks(&proxy.database).await;
    let before = dump(&proxy.database).await;
    let url = proxy.url_for(who);
    let mut attacker = Attacker::new(Way::Proxy, &url, search).await.knows(&prefix);
    if who == "dev2" {
        attacker = attacker.extended().autocommit();
    }
    let mut place = 0;
    let mut mine = |lots: usize| {
        place += 1;
        place % lots == lot % lots
    };
    let mut attacks = corpus::attacks();
    attacks.retain(|_| mine(2));
    run_corpus(&mut attacker, &attacks).await;
    if who == "dev1" {
        messages::run(&mut attacker, &functions(&proxy.database).await).await;
    }
    let mut statements = made_up(6000);
    statements.retain(|_| mine(LOTS));
    attacker
        .run_all("made up", &statements, Keeps::SomeEffects)
        .await;
    let after = dump(&proxy.database).await;
    assert!(before == after, "something was committed");
    attacker
}

/// Attacks of one statement go in few round trips, the others one answer at a time.
async fn run_corpus(attacker: &mut Attacker, attacks: &[Attack]) {
    let (short, long): (Vec<_>, Vec<_>) = attacks.iter().partition(|attack| attack.is_one_query());
    for attack in long {
        attacker.run(attack).await;
    }
    let short: Vec<String> = short.iter().map(|a| a.statements[0].sql.clone()).collect();
    attacker
        .run_all("one statement", &short, Keeps::Nothing)
        .await;
}
