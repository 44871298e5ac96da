//! The thinnest path: an application's connections through the proxy to a sealed Postgres.

use super::harness;

#[tokio::test]
async fn connections_see_each_other_and_nothing_is_committed() {
    let proxy = harness::proxy().await;
    let before = harness::dump(&proxy.database).await;
    let one = harness::connect(&proxy.url()).await;
    let two = harness::connect(&proxy.url()).await;
    one.batch_execute("CREATE TABLE made_here (n int); INSERT INTO made_here VALUES (1)")
        .await
        .unwrap();
    assert_eq!(
        harness::scalar(&two, "SELECT n::text FROM made_here").await,
        "1"
    );
    let witness = harness::second_connection(&proxy.database).await;
    assert_eq!(
        harness::scalar(
            &witness,
            "SELECT coalesce(to_regclass('made_here')::text, 'absent')"
        )
        .await,
        "absent"
    );
    drop((one, two));
    assert!(
        harness::dump(&proxy.database).await == before,
        "the dump differs"
    );
}
