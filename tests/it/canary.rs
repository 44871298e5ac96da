//! The canary test: every sensitive cell of a database holds a marker; a hostile developer tries a large corpus of
//! attacks and what a fuzzer makes up, and no byte of a marker ever reaches the client.

mod attacker;
mod corpus;
mod search;
mod tape;

use std::collections::BTreeSet;
use std::sync::Arc;

use attacker::{Attacker, Leak, Way};
use search::Search;

use crate::harness::{self, TestDatabase};

const MARKED: &str = include_str!("canary/marked.sql");

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

/// A fresh marked database and the search for its markers.
async fn marked(database: TestDatabase) -> (TestDatabase, Arc<Search>) {
    let admin = database.connect().await;
    admin
        .batch_execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC",
        )
        .await
        .unwrap();
    admin.batch_execute(MARKED).await.unwrap();
    let search = Search::of(&admin).await;
    assert!(search.markers > 300, "{} markers", search.markers);
    (database, Arc::new(search))
}

fn no_leak(leaks: &[Leak]) {
    let shown: Vec<String> = leaks
        .iter()
        .take(40)
        .map(|leak| format!("{}\n    {}\n    -> {}", leak.attack, leak.statement, leak.what))
        .collect();
    assert!(
        leaks.is_empty(),
        "{} statements let a marker out:\n{}",
        leaks.len(),
        shown.join("\n")
    );
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
    eprintln!("{} sent, {} done, {} leaks, {} channels", admin.sent, admin.done, admin.leaks.len(), channels.len());
    assert!(channels.len() > 500, "only {} channels", channels.len());
}
