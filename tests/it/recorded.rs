//! Every statement that a client runs leaves one record: whoever sends it, however it travels, and however it ends.

use std::time::Duration;

use devinprod::audit::{Does, EventKind, StatementRecord, Verdict};

use crate::chaos_kit::backend_of;
use crate::harness::{self, Proxy, Setup, wire::Client};
use crate::masked_kit::{Closed, masked_proxy};

const CLOSED: &[Closed] = &[Closed::shown("accounts.email", "'masked' || accounts.id")];

async fn proxy() -> Proxy {
    masked_proxy(harness::database().await, CLOSED, Setup::default()).await
}

/// The records so far, of statements whose text holds `part`, once there are `count` of them.
async fn records(proxy: &Proxy, part: &str, count: usize) -> Vec<StatementRecord> {
    for _ in 0..200 {
        let found: Vec<StatementRecord> = proxy
            .events()
            .into_iter()
            .filter_map(|event| match event.kind {
                EventKind::Statement(record) if record.shape.text.contains(part) => Some(*record),
                _ => None,
            })
            .collect();
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no {count} records of {part:?}: {:?}", proxy.events());
}

async fn one(proxy: &Proxy, part: &str) -> StatementRecord {
    let mut found = records(proxy, part, 1).await;
    assert_eq!(found.len(), 1, "{part}: {found:?}");
    found.remove(0)
}

#[tokio::test]
async fn a_read_says_what_it_read_and_how_much() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client
        .simple("SELECT id, email FROM accounts WHERE id <= 3 AND email <> 'planted-4711'")
        .await;
    let record = one(&proxy, "id, email").await;
    assert_eq!(record.rows, 3);
    assert!(record.bytes > 3 * 20, "{record:?}");
    assert_eq!(record.verdict, Verdict::Done);
    assert_eq!(record.shape.does, Does::Read);
    assert_eq!(record.shape.relations, ["public.accounts"]);
    assert_eq!(record.shape.sensitive, ["public.accounts.email"]);
    assert_eq!(record.policy.as_deref(), Some("test"));
    assert!(!format!("{:?}", proxy.events()).contains("planted"));
}

#[tokio::test]
async fn however_a_statement_travels_it_is_recorded_once_with_its_rows() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let rows = |record: &StatementRecord| (record.rows, record.rows_written);
    let sensitive = ["public.accounts.email"];

    client
        .extended("SELECT 'unnamed', email FROM accounts LIMIT 2", &[])
        .await;
    assert_eq!(rows(&one(&proxy, "LIMIT").await), (2, 0), "unnamed");

    client
        .parse(
            "s",
            "SELECT email AS prepared FROM accounts WHERE id < $1",
            &[],
        )
        .sync();
    client.run().await;
    for _ in 0..2 {
        client.bind("", "s", &[Some("4")]).execute("", 0).sync();
        client.run().await;
    }
    let found = records(&proxy, "prepared", 2).await;
    assert_eq!(
        found.iter().map(rows).collect::<Vec<_>>(),
        [(3, 0), (3, 0)],
        "prepared"
    );

    client.simple("BEGIN").await;
    client
        .simple("DECLARE c CURSOR FOR SELECT email FROM accounts")
        .await;
    client.simple("FETCH 5 FROM c").await;
    let fetched = one(&proxy, "FETCH").await;
    assert_eq!(fetched.rows, 5);
    assert_eq!(fetched.shape.sensitive, sensitive, "what the cursor reads");
    client.simple("COMMIT").await;

    client
        .simple("PREPARE p AS SELECT email FROM accounts LIMIT 4")
        .await;
    client.simple("EXECUTE p").await;
    let executed = one(&proxy, "EXECUTE").await;
    assert_eq!(
        (executed.rows, &executed.shape.sensitive[..]),
        (4, &sensitive.map(String::from)[..])
    );

    client
        .simple("COPY (SELECT id, email FROM accounts LIMIT 6) TO STDOUT")
        .await;
    assert_eq!(rows(&one(&proxy, "COPY (").await), (6, 0), "COPY TO");

    client
        .simple("UPDATE accounts SET email = 'a' || id WHERE id < 3 RETURNING email")
        .await;
    assert_eq!(rows(&one(&proxy, "UPDATE").await), (2, 2), "RETURNING");

    client
        .simple("SELECT 1; SELECT 2, email FROM accounts LIMIT 1; SELECT nonsense")
        .await;
    let parts = records(&proxy, "nonsense", 1).await;
    assert_eq!(
        parts[0].verdict,
        Verdict::Failed {
            sqlstate: "42703".to_owned()
        }
    );
}

#[tokio::test]
async fn a_portal_that_is_read_in_pieces_is_counted_piece_by_piece() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client
        .parse(
            "",
            "SELECT email AS pieces FROM accounts ORDER BY id LIMIT 5",
            &[],
        )
        .bind("", "", &[])
        .execute("", 2)
        .execute("", 2)
        .execute("", 0)
        .sync();
    client.run().await;
    let found = records(&proxy, "pieces", 3).await;
    let rows: Vec<u64> = found.iter().map(|record| record.rows).collect();
    assert_eq!(rows, [2, 2, 1]);
}

#[tokio::test]
async fn what_does_not_run_is_recorded_too() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client
        .simple("COPY accounts TO PROGRAM 'secret-command'")
        .await;
    let refused = one(&proxy, "PROGRAM").await;
    assert_eq!(
        refused.verdict,
        Verdict::Refused {
            sqlstate: "42501".to_owned()
        }
    );
    client
        .simple("INSERT INTO accounts (id, email, name) VALUES (1, 'planted-4711', 'n')")
        .await;
    let failed = one(&proxy, "INSERT").await;
    assert_eq!(
        failed.verdict,
        Verdict::Failed {
            sqlstate: "23505".to_owned()
        }
    );
    assert_eq!(failed.rows_written, 0);
    client
        .extended("SELECT no_such_column FROM accounts", &[])
        .await;
    let failed = one(&proxy, "no_such_column").await;
    assert_eq!(
        failed.verdict,
        Verdict::Failed {
            sqlstate: "42703".to_owned()
        }
    );
    for part in ["BEGIN", "SHOW", "COMMIT"] {
        assert!(!format!("{:?}", proxy.events()).contains(&format!("\"{part}")));
    }
    client
        .simple("BEGIN; SHOW transaction_isolation; COMMIT")
        .await;
    for part in ["BEGIN", "SHOW", "COMMIT"] {
        assert_eq!(one(&proxy, part).await.verdict, Verdict::Done, "{part}");
    }
    let everything = format!("{:?}", proxy.events());
    assert!(!everything.contains("planted") && !everything.contains("secret-command"));
}

#[tokio::test]
async fn what_was_read_before_the_client_went_is_on_record() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let sql =
        "SELECT repeat(vanishing.email, 1000) FROM accounts vanishing, generate_series(1, 100000)";
    client.query(sql).run_until(b"D").await;
    drop(client);
    let record = one(&proxy, "vanishing").await;
    assert!(record.rows > 0, "{record:?}");
    assert_eq!(record.shape.sensitive, ["public.accounts.email"]);
    assert_ne!(record.verdict, Verdict::Done);
}

#[tokio::test]
async fn what_was_read_before_the_upstream_went_is_on_record() {
    let proxy = proxy().await;
    for (place, sql) in [
        // Between two rows, where the server's own farewell arrives, and inside one, where none can.
        (
            "outside",
            "SELECT repeat(outside.email, 1000) FROM accounts AS outside, generate_series(1, 100000)",
        ),
        (
            "inside",
            "SELECT repeat(inside.email, 20000000) FROM accounts inside LIMIT 1",
        ),
    ] {
        let mut client = Client::connect(&proxy.url()).await;
        client.query(sql).run_until(b"T").await;
        let backend = backend_of(&proxy, "dev1", "default");
        let admin = proxy.database.connect().await;
        admin
            .execute("SELECT pg_terminate_backend($1, 5000)", &[&backend])
            .await
            .unwrap();
        client.run().await;
        let record = one(&proxy, place).await;
        assert!(record.rows > 0, "{record:?}");
        let sqlstate = "57P01".to_owned();
        assert_eq!(record.verdict, Verdict::Failed { sqlstate }, "{place}");
    }
}

#[tokio::test]
async fn literals_and_parameters_are_on_record_only_where_the_policy_asks_for_them() {
    let text = "SELECT id FROM accounts WHERE email = 'planted-4711' AND name = $1 AND id <> $2";
    let parameters = [Some("planted-4712"), None];
    for isolation in ["sandbox", "none"] {
        for (stage, asked) in [("test", true), ("prod", false)] {
            let policy = format!(
                "default = {{ as = \"clear\", opens_unclassified = true, because = \"a test\" }}\n\
                 [record_values]\nstages = [\"{stage}\"]\nbecause = \"a test\"\n"
            );
            let setup = Setup {
                sealed: isolation == "sandbox",
                isolation,
                policy: Some(policy),
                ..Setup::default()
            };
            let proxy = harness::proxy_with(harness::database().await, setup).await;
            let mut client = Client::connect(&proxy.url()).await;
            client.extended(text, &parameters).await;
            client.simple("SELECT 'planted-4713'").await;
            let bound = one(&proxy, "FROM accounts").await;
            let simple = one(&proxy, "SELECT ?").await;
            // It is the same statement whatever its values are.
            assert!(!bound.shape.text.contains("planted"));
            if !asked {
                assert!(
                    !format!("{:?}", proxy.events()).contains("planted"),
                    "{isolation}"
                );
                continue;
            }
            let values = bound.values.unwrap();
            assert_eq!(&*values.text, text, "{isolation}");
            assert_eq!(
                *values.parameters,
                parameters.map(|p| p.map(str::to_owned)),
                "{isolation}"
            );
            let values = simple.values.unwrap();
            assert_eq!(
                (&*values.text, values.parameters.len()),
                ("SELECT 'planted-4713'", 0)
            );
        }
    }
}
