//! The shared ledger over a network: with a password, and with TLS.

use devinprod::budget::ledger::shared::Address;

use super::chaos_kit::closed_port;
use super::fleet::{self, AGE, Proxy};
use super::harness::keyserver::KeyServer;

/// What the two let through together, of a limit of a hundred.
async fn share_a_hundred(a: &Proxy, b: &Proxy) {
    let hundred = fleet::limit("dev1", AGE, 100);
    assert!(a.take(&hundred, 60).await.is_some());
    assert!(b.take(&hundred, 41).await.is_none());
    assert!(b.take(&hundred, 40).await.is_some());
    assert!(a.take(&hundred, 1).await.is_none());
}

#[tokio::test]
async fn a_fleet_shares_a_ledger_over_tcp_with_a_password() {
    let port = closed_port().await.to_string();
    let _server = KeyServer::start_with(&["--port", &port, "--requirepass", "s3cret"]).await;
    let address =
        |password: &str| Address::parse(&format!("redis://:{password}@127.0.0.1:{port}")).unwrap();
    let (a, b) = (
        fleet::proxy_at(address("s3cret")).await,
        fleet::proxy_at(address("s3cret")).await,
    );
    share_a_hundred(&a, &b).await;
    let stranger = fleet::proxy_at(address("wr0ng")).await;
    assert!(stranger.is_refused(&fleet::limit("dev1", AGE, 100)).await);
    let why = stranger.lost_because().await;
    assert!(
        why.contains("authentication failed") || why.contains("WRONGPASS"),
        "{why}"
    );
    assert!(!why.contains("wr0ng") && !why.contains("s3cret"), "{why}");
}

#[tokio::test]
async fn a_fleet_shares_a_ledger_over_tls_with_a_server_for_which_its_authority_vouches_alone() {
    let made = || {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        rcgen::generate_simple_self_signed(names).unwrap()
    };
    let (own, another) = (made(), made());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cert = file("server.pem", own.cert.pem());
    let key = file("server.key", own.signing_key.serialize_pem());
    let port = closed_port().await.to_string();
    let _server = KeyServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "s3cret",
    ])
    .await;
    let url = format!("rediss://:s3cret@127.0.0.1:{port}");
    let address = |pem: &str| Address::vouched_for(&url, Some(pem)).unwrap();
    let (a, b) = (
        fleet::proxy_at(address(&own.cert.pem())).await,
        fleet::proxy_at(address(&own.cert.pem())).await,
    );
    share_a_hundred(&a, &b).await;
    // Another authority, those of the system, and no TLS at all.
    let strangers = [
        (address(&another.cert.pem()), "invalid peer certificate"),
        (Address::parse(&url).unwrap(), "invalid peer certificate"),
        (Address::parse(&url.replace("rediss", "redis")).unwrap(), ""),
    ];
    for (address, expected) in strangers {
        let stranger = fleet::proxy_at(address).await;
        assert!(stranger.is_refused(&fleet::limit("dev1", AGE, 100)).await);
        let why = stranger.lost_because().await;
        assert!(why.contains(expected), "{why}");
        assert!(!why.contains("s3cret"), "{why}");
    }
}
