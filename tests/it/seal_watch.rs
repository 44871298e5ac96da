//! The proxy looks at the seal again and again while an upstream is in use.

use std::time::Duration;

use devinprod::audit::{EndReason, EventKind};

use crate::harness::{self, Setup, connect, proxy_with, scalar};

/// Waits until something is so, for at most half a minute.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..300 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} does not happen");
}

#[tokio::test]
async fn a_hole_ends_the_sandboxes_until_it_is_closed() {
    let setup = Setup {
        limits: "seal_check = \"1s\"",
        ..Setup::default()
    };
    let proxy = proxy_with(harness::database().await, setup).await;
    let client = connect(&proxy.url()).await;
    assert_eq!(scalar(&client, "SELECT 1").await, "1");
    let admin = proxy.database.connect().await;
    let readers = format!("{}_readers", proxy.database.name);
    let open = format!("GRANT DELETE ON accounts TO {readers}");
    admin.batch_execute(&open).await.unwrap();
    until("the sandbox's end", async || {
        client.simple_query("SELECT 1").await.is_err()
    })
    .await;
    // The record is written a moment behind what it says.
    let upstream = Some("app".to_owned());
    until("the record of the hole", async || {
        proxy.events().iter().any(|event| {
            event.upstream == upstream
                && matches!(&event.kind, EventKind::SealOpen { what } if what.contains("DELETE on public.accounts"))
        })
    })
    .await;
    let ended = EventKind::SandboxEnded {
        reason: EndReason::SealOpen,
    };
    until("the record of the sandbox's end", async || {
        proxy.events().iter().any(|event| event.kind == ended)
    })
    .await;
    let refused = match tokio_postgres::connect(&proxy.url_for("dev2"), tokio_postgres::NoTls).await
    {
        Err(error) => error,
        Ok((other, connection)) => {
            tokio::spawn(connection);
            other.simple_query("SELECT 1").await.unwrap_err()
        }
    };
    let refused = format!("{refused:?}");
    assert!(refused.contains("not safely sealed"), "{refused}");
    let close = format!("REVOKE DELETE ON accounts FROM {readers}");
    admin.batch_execute(&close).await.unwrap();
    until("a whole seal", async || {
        proxy
            .events()
            .iter()
            .any(|event| event.kind == EventKind::SealWhole)
    })
    .await;
    let client = connect(&proxy.url()).await;
    assert_eq!(scalar(&client, "SELECT 1").await, "1");
}
