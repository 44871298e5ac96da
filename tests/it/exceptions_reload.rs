//! Sets of exceptions through the proxy: who loses one loses the sandbox that was begun with it, and a set that the
//! seal does not know is no set at all.

use std::path::Path;

use crate::chaos_kit::{Serving, config, developers, serve, value};
use crate::harness;
use crate::harness::wire::{Client, transcript};
use crate::seal_kit::{PASSWORD, Sealed};
use crate::seal_masks_kit::{REST, USERS, sealed_by};

const PHONE: &str = "SELECT phone FROM users WHERE id = 7";
const REAL: &str = "+1 555 0107";

/// Whose set `support` is.
fn policy(who: &str) -> String {
    format!(
        "[table.public.users]
        id = \"clear\"
        phone = \"phone\"
        [[exception]]
        set = \"support\"
        who = [\"{who}\"]
        columns = [\"public.users.phone\"]
        until = 2099-01-31
        because = \"they call people back\"
        "
    )
}

fn configuration(sealed: &Sealed, folder: &Path, policy: &str, who: &[&str]) -> String {
    let path = folder.join("policy.toml");
    std::fs::write(&path, format!("{policy}{REST}")).unwrap();
    let names = &sealed.options.names;
    let url = sealed.database.url_as(&names.proxy(), PASSWORD);
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[[upstream]]\nname = \"app\"\nurl = \"{url}?sslmode=disable\"\n\
         stage = \"test\"\nsealed = true\nrole_prefix = \"{}\"\npolicy = [{path:?}]\ndevelopers = {who:?}\n{}",
        names.prefix(),
        developers(&["ann", "bob"])
    )
}

async fn begin(serving: &Serving, who: &str) -> Client {
    Client::connect(&serving.url(who, "app")).await
}

#[tokio::test]
async fn who_loses_a_set_goes_on_without_it_and_is_told_why() {
    let sealed = sealed_by(harness::database().await, USERS, &policy("ann")).await;
    let folder = tempfile::tempdir().unwrap();
    let both = ["ann", "bob"];
    let text = configuration(&sealed, folder.path(), &policy("ann"), &both);
    let serving = serve(&text).await;
    let (mut ann, mut bob) = (begin(&serving, "ann").await, begin(&serving, "bob").await);
    assert_eq!(value(&mut ann, PHONE).await, REAL);
    ann.simple("CREATE TABLE kept AS SELECT phone FROM users")
        .await;
    assert_ne!(value(&mut bob, PHONE).await, REAL);
    bob.simple("CREATE TABLE mine (n int)").await;

    // The files give the set to somebody else; the seal's own roles stay what they are.
    let text = configuration(&sealed, folder.path(), &policy("bob"), &both);
    serving.server.reload(config(&text));
    let told = transcript(&ann.query(PHONE).run().await);
    assert!(
        told.contains("57P01") && told.contains("the policy's exceptions") && !told.contains(REAL),
        "{told}"
    );
    assert!(told.contains("a fresh sandbox"), "{told}");
    let seen = value(&mut ann, PHONE).await;
    assert_ne!(seen, REAL);
    // What was kept went with the sandbox.
    let gone = transcript(&ann.query("TABLE kept").run().await);
    assert!(gone.contains("42P01"), "{gone}");
    assert_eq!(value(&mut begin(&serving, "ann").await, PHONE).await, seen);

    // Who sees more from now on does so in the next sandbox, and loses nothing.
    assert_eq!(value(&mut bob, "SELECT count(*) FROM mine").await, "0");
    assert_ne!(value(&mut bob, PHONE).await, REAL);
    let mut next = begin(&serving, "bob+next").await;
    assert_eq!(value(&mut next, PHONE).await, REAL);
}

#[tokio::test]
async fn a_set_that_the_seal_does_not_know_is_refused_with_what_to_do() {
    let without = "[table.public.users]\nid = \"clear\"\nphone = \"phone\"\n";
    let sealed = sealed_by(harness::database().await, USERS, without).await;
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(&sealed, folder.path(), &policy("ann"), &["ann", "bob"]);
    let serving = serve(&text).await;
    let told = match Client::try_connect(&serving.url("ann", "app"), &[]).await {
        Ok(mut ann) => transcript(&ann.query(PHONE).run().await),
        Err(refused) => refused.expect("an error").line(),
    };
    for part in ["55000", "\"support\"", "hint: ", "devinprod setup"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    // Nobody else is concerned.
    let mut bob = begin(&serving, "bob").await;
    assert_ne!(value(&mut bob, PHONE).await, REAL);

    // A setup with the policy makes the roles, and then there is nothing to say.
    let with = crate::seal_masks_kit::options(&sealed.database, &policy("ann"));
    // Not while a sandbox has looked at the table.
    let mut console = Client::connect(&serving.url("bob", "devinprod")).await;
    console.simple("RESET SANDBOX default").await;
    crate::seal_kit::run_setup(&sealed.admin, &with).await;
    let mut ann = begin(&serving, "ann").await;
    assert_eq!(value(&mut ann, PHONE).await, REAL);
}
