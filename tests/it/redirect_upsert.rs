//! ON CONFLICT by a masked column, through the proxy: the row is found by what the client sees of it, and the answer is that
//! of an INSERT.

use crate::harness::{self, Setup, wire::Client};
use crate::masked_kit::{Closed, masked_proxy};

const CLOSED: &[Closed] = &[Closed::shown("accounts.email", "'masked' || accounts.id")];

#[tokio::test]
async fn an_upsert_finds_the_row_that_the_client_sees_and_is_told_as_an_insert() {
    let proxy = masked_proxy(harness::database().await, CLOSED, Setup::default()).await;
    let mut client = Client::connect(&proxy.url()).await;

    let mut upsert =
        "INSERT INTO accounts (email, name) VALUES ('masked3', 'Three'), ('new@x', 'New') \
                      ON CONFLICT (email) DO UPDATE SET name = excluded.name || accounts.id"
            .to_owned();
    let admin = proxy.database.connect().await;
    let version = harness::scalar(&admin, "SHOW server_version_num").await;
    if version.as_str() < "150000" {
        let refused = client.simple(&upsert).await;
        assert!(
            refused.contains("42501") && refused.contains("MERGE, which came with Postgres 15"),
            "{refused}"
        );
        upsert.push_str(" RETURNING 1");
    }
    let answer = client.simple(&upsert).await;
    assert!(
        answer.ends_with("CommandComplete INSERT 0 2\nReadyForQuery I\n"),
        "{answer}"
    );
    let names = client
        .simple("SELECT name FROM accounts WHERE id = 3 OR name LIKE 'New%' ORDER BY id")
        .await;
    assert!(
        names.contains("DataRow \"Three3\"\nDataRow \"New\"\n"),
        "{names}"
    );

    let returning = "INSERT INTO accounts (email, name) VALUES ($1, $2) ON CONFLICT (email) DO UPDATE SET name = excluded.name \
                     RETURNING id, email, name";
    let answer = client
        .extended(returning, &[Some("masked5"), Some("Five")])
        .await;
    assert!(
        answer.ends_with(
            "DataRow \"5\" \"masked5\" \"Five\"\nCommandComplete INSERT 0 1\nReadyForQuery I\n"
        ),
        "{answer}"
    );

    let nothing = "INSERT INTO accounts (email, name) VALUES ($1, 'x') ON CONFLICT (email) DO NOTHING RETURNING id";
    let answer = client.extended(nothing, &[Some("masked5")]).await;
    assert!(
        answer.ends_with("CommandComplete INSERT 0 0\nReadyForQuery I\n")
            && !answer.contains("DataRow"),
        "{answer}"
    );

    // In a block, where the tag waits for nothing. These views show no own cells, so the new row is not found again.
    let upsert = &upsert.replace("new@x", "newer@x");
    client.simple("BEGIN").await;
    let answer = client.simple(upsert).await;
    assert!(
        answer.ends_with("CommandComplete INSERT 0 2\nReadyForQuery T\n"),
        "{answer}"
    );
    client.simple("ROLLBACK").await;
    let names = client
        .simple("SELECT count(*) FROM accounts WHERE name LIKE 'New%'")
        .await;
    assert!(names.contains("DataRow \"1\""), "{names}");
}
