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
    let mut leaks = Vec::new();
    for way in [Way::Straight, Way::Armed] {
        let lease = seal::lease(&keeper).await.unwrap();
        let url = database.url_as(&lease.role, &lease.password);
        let mut attacker = Attacker::new(way, &url, search.clone())
            .await
            .knows(&prefix);
        run_corpus(&mut attacker, &corpus::attacks()).await;
        let schema = match way {
            Way::Armed => "devinprod_masked",
            _ => "devinprod_rows",
        };
        run_corpus(&mut attacker, &corpus::attacks_at_views(schema)).await;
        messages::run(&mut attacker, &functions(&database).await).await;
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
        leaks.extend(attacker.leaks);
    }
    no_leak(&leaks);
    let after = dump(&database).await;
    assert!(before == after, "something was committed");
}

#[tokio::test]
async fn through_the_proxy_no_marker_comes_out_and_nothing_is_committed() {
    let (database, search) = marked(harness::database().await).await;
    let setup = Setup {
        policy: Some(read("policy.toml")),
        ..Setup::default()
    };
    let prefix = format!("{}_", database.name);
    let proxy = proxy_with(database, setup).await;
    same_masks(&proxy.database).await;
    let before = dump(&proxy.database).await;
    let mut leaks = Vec::new();

    let mut attacker = Attacker::new(Way::Proxy, &proxy.url(), search.clone())
        .await
        .knows(&prefix);
    run_corpus(&mut attacker, &corpus::attacks()).await;
    messages::run(&mut attacker, &functions(&proxy.database).await).await;
    attacker
        .run_all("made up", &made_up(4000), Keeps::SomeEffects)
        .await;
    // As fast as they can be passed on: most of the corpus must have been understood.
    assert!(
        attacker.done > 4000,
        "{} of {} were run",
        attacker.done,
        attacker.sent
    );
    let mut sent = attacker.sent;
    leaks.extend(attacker.leaks);

    let url = proxy.url_for("dev2");
    let mut attacker = Attacker::new(Way::Proxy, &url, search).await.knows(&prefix);
    attacker = attacker.extended().autocommit();
    run_corpus(&mut attacker, &corpus::attacks()).await;
    attacker
        .run_all("made up", &made_up(2000), Keeps::SomeEffects)
        .await;
    sent += attacker.sent;
    leaks.extend(attacker.leaks);

    no_leak(&leaks);
    assert!(sent > 10_000, "{sent} statements");
    let after = dump(&proxy.database).await;
    assert!(before == after, "something was committed");
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
