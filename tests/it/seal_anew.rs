//! A seal that is made anew while sandboxes read its views.

use crate::harness::{self, Proxy, Setup, connect, proxy_with, scalar, seal_database_with};
use crate::seal_masks_kit::{POLICY, REST, USERS, replan};

const EMAIL: &str = "SELECT email FROM users WHERE id = 1";

async fn sealed() -> Proxy {
    let database = harness::database().await;
    database.connect().await.batch_execute(USERS).await.unwrap();
    let setup = Setup {
        policy: Some(format!("{POLICY}{REST}")),
        ..Setup::default()
    };
    proxy_with(database, setup).await
}

/// The same policy, but that nobody sees an email.
fn stricter() -> String {
    format!("{POLICY}{REST}").replace("email = \"email\"", "email = \"null\"")
}

#[tokio::test]
async fn a_new_seal_ends_the_sandboxes_that_hold_the_old_one() {
    let proxy = sealed().await;
    let client = connect(&proxy.url()).await;
    assert!(scalar(&client, EMAIL).await.contains('@'));
    client
        .simple_query("BEGIN; UPDATE users SET email = 'x' WHERE id = 2")
        .await
        .unwrap();
    let prefix = format!("{}_", proxy.database.name);
    seal_database_with(&proxy.database, &prefix, Some(&stricter())).await;
    let error = client.simple_query("SELECT 1").await.unwrap_err();
    let code = error
        .as_db_error()
        .map(|error| error.code().code().to_owned());
    assert_eq!(code.as_deref(), Some("57P01"), "{error:?}");
    let client = connect(&proxy.url()).await;
    assert_eq!(scalar(&client, EMAIL).await, "");
    assert_eq!(
        scalar(&client, "SELECT city FROM users WHERE id = 1").await,
        "City 1"
    );
}

#[tokio::test]
async fn the_plan_says_that_sandboxes_end_and_ends_nobody_for_nothing() {
    let proxy = sealed().await;
    let client = connect(&proxy.url()).await;
    assert!(scalar(&client, EMAIL).await.contains('@'));
    let admin = proxy.database.connect().await;
    let mut options = crate::seal_masks_kit::options(&proxy.database, POLICY);
    options.pairs = 8;
    options.exception_pairs = 0;
    options.proxy_verifier = None;
    let plan = replan(&admin, &options).await.unwrap();
    assert!(plan.is_empty(), "{:?}", plan.steps);
    options.policy = Some(
        devinprod::policy::Policy::from_text(
            std::path::Path::new("policies/test.toml"),
            &stricter(),
        )
        .unwrap_or_else(|wrong| panic!("{wrong}")),
    );
    let plan = replan(&admin, &options).await.unwrap();
    let summary = plan.summary.join("\n");
    assert!(
        summary.contains("1 sessions of developer roles are open"),
        "{summary}"
    );
    assert!(plan.script().contains("pg_terminate_backend"));
    // It was a plan only.
    assert!(scalar(&client, EMAIL).await.contains('@'));
}
