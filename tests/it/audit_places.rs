//! The audit's second place, over HTTPS.

use std::path::Path;
use std::sync::Arc;

use devinprod::audit::search::{Filter, search};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use super::chaos_kit::{developers, eventually, unsealed_upstream};
use super::harness;
use super::harness::wire::Client;
use super::notify_kit::{Does, Web};
use super::process_kit::Process;

/// The reason of the first event of this name in the log.
fn noted(folder: &Path, event: &str) -> Option<String> {
    let filter = Filter {
        event: Some(event.to_owned()),
        ..Filter::default()
    };
    let mut found = None;
    search(&folder.join("audit"), &filter, |record, _| {
        found.get_or_insert(record.unmapped.reason.clone().unwrap_or_default());
        Ok::<(), std::io::Error>(())
    })
    .unwrap();
    found
}

#[tokio::test]
async fn checkpoints_go_by_https_to_whom_the_own_authority_vouches_for_and_to_nobody_else() {
    let made = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (own, another) = (made(), made());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![own.cert.der().clone()],
            PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let place = Web::start_over(vec![Does::status(204)], Some(Arc::new(tls)));
    let url = place.url("/in?token=s3cret").replace("http://", "https://");
    let database = harness::database().await;
    let config = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[audit]\ncheckpoint_interval = \"1s\"\ncheckpoints = \"{url}\"\n\
         checkpoints_ca = \"ca.pem\"\n{}{}",
        unsealed_upstream("app", &format!("{}?sslmode=disable", database.url), ""),
        developers(&["dev1"]),
    );
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");

    std::fs::write(&ca, own.cert.pem()).unwrap();
    let process = Process::start_in(folder.path(), &config, "");
    let got = place.next();
    assert_eq!(got.line, "POST /in?token=s3cret HTTP/1.1");
    assert_eq!(got.json["unmapped"]["event"], "checkpoint", "{}", got.json);
    assert_eq!(noted(folder.path(), "second_place_lost"), None);
    assert!(process.stop().success());

    // The log goes on, and says that its checkpoints do not leave.
    std::fs::write(&ca, another.cert.pem()).unwrap();
    let process = Process::start_in(folder.path(), &config, "");
    eventually("it is noted", || async {
        noted(folder.path(), "second_place_lost").is_some()
    })
    .await;
    let why = noted(folder.path(), "second_place_lost").unwrap();
    assert!(why.contains("invalid peer certificate"), "{why}");
    assert!(!why.contains("s3cret") && !why.contains("/in"), "{why}");
    let answer = Client::connect(&process.url("dev1"))
        .await
        .simple("SELECT 1")
        .await;
    assert!(answer.contains("DataRow"), "{answer}");
}
