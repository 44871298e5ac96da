//! The doctor's short form: what a proxy tries before it uses an upstream.

use std::path::Path;

use devinprod::audit::{Events, Nowhere};
use devinprod::config::Config;
use devinprod::seal::doctor::{Promise, Verdict, quick};
use devinprod::server::Server;
use devinprod::wire::verifier::Verifier;
use tokio::net::TcpListener;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

use crate::harness::{self, connect, scalar};
use crate::seal_kit::{Developer, PASSWORD, Sealed, run_setup};
use crate::seal_masks_kit::{holes, sealed};

/// What is broken, of what a developer role tries.
async fn broken(sealed: &Sealed, developer: &Developer) -> Vec<Promise> {
    let names = &sealed.options.names;
    let promises = quick(&developer.client, names, &developer.lease.role, true)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(promises.len() > 50, "{}", promises.len());
    promises
        .into_iter()
        .filter(|promise| promise.verdict != Verdict::Held)
        .collect()
}

/// What somebody opens, what then does not hold, and how it is closed again where setup does not do it.
const OPENED: [(&str, &str, &str); 9] = [
    (
        "GRANT SELECT (email) ON users TO @readers",
        "no sensitive column is read",
        "",
    ),
    (
        "GRANT SELECT ON users TO @readers",
        "a cast that fails",
        "",
    ),
    (
        "GRANT UPDATE ON accounts TO @readers",
        "UPDATE is denied",
        "REVOKE UPDATE ON accounts FROM @readers",
    ),
    (
        "GRANT SELECT ON devinprod.mask_key TO @readers",
        "the masks' key cannot be read",
        "REVOKE SELECT ON devinprod.mask_key FROM @readers",
    ),
    (
        "GRANT INSERT ON devinprod.written TO @writers",
        "no note can be forged",
        "REVOKE INSERT ON devinprod.written FROM @writers",
    ),
    (
        "GRANT DELETE ON devinprod.commit_guard TO @writers",
        "the guard cannot be emptied",
        "REVOKE DELETE ON devinprod.commit_guard FROM @writers",
    ),
    (
        "GRANT TEMP ON DATABASE @database@ TO @readers",
        "the right to write goes with the guard",
        "REVOKE TEMP ON DATABASE @database@ FROM @readers",
    ),
    (
        "CREATE FUNCTION boss() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT email FROM public.users'",
        "no function with its owner's rights",
        "",
    ),
    (
        "CREATE FUNCTION devinprod.careless(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN lower($1); END';
         CREATE OR REPLACE VIEW devinprod_masked.\"public.users\" AS
            SELECT id, devinprod.careless(email)::varchar(254) AS email, full_name, phone, born, balance, city FROM users",
        "names of the attacker's own",
        "DROP FUNCTION devinprod.careless(text) CASCADE",
    ),
];

#[tokio::test]
async fn what_is_open_is_found_and_nothing_else() {
    let sealed = sealed().await;
    let mut options = sealed.options.clone();
    options.proxy_verifier = None;
    let developer = sealed.developer().await;
    assert_eq!(broken(&sealed, &developer).await, Vec::new());
    for (sql, expected, undo) in OPENED {
        let fill = |sql: &str| {
            sql.replace("@database@", &sealed.database.name)
                .replace('@', options.names.prefix())
        };
        sealed.admin.batch_execute(&fill(sql)).await.unwrap();
        let found = broken(&sealed, &developer).await;
        assert!(
            found.iter().any(
                |promise| promise.text.contains(expected) && promise.verdict == Verdict::Broken
            ),
            "{sql}: {found:?}"
        );
        sealed.admin.batch_execute(&fill(undo)).await.unwrap();
        run_setup(&sealed.admin, &options).await;
        let left = broken(&sealed, &developer).await;
        assert_eq!(left, Vec::new(), "after {sql}");
    }
    // What is then committed stays: the last one.
    let sql = "ALTER TABLE devinprod.commit_guard DISABLE TRIGGER refuse_commit";
    sealed.admin.batch_execute(sql).await.unwrap();
    let found = broken(&sealed, &developer).await;
    for expected in ["COMMIT is refused", "one message is not committed"] {
        assert!(
            found.iter().any(|promise| promise.text.contains(expected)),
            "{found:?}"
        );
    }
}

/// A configuration with these two upstreams, both sealed, for the developer `dev`.
fn two(one: &Sealed, other: &Sealed) -> Config {
    let upstream = |name: &str, sealed: &Sealed| {
        let names = &sealed.options.names;
        format!(
            "[[upstream]]\nname = \"{name}\"\nurl = \"{}?sslmode=disable\"\nstage = \"test\"\nsealed = true\n\
             isolation = \"sandbox\"\nrole_prefix = \"{}\"\ndevelopers = [\"dev\"]\n",
            sealed.database.url_as(&names.proxy(), PASSWORD),
            names.prefix()
        )
    };
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n{}{}[[developer]]\nname = \"dev\"\npassword = \"{}\"\n",
        upstream("one", one),
        upstream("other", other),
        Verifier::from_password("secret", 4096)
    );
    Config::parse(Path::new("test.toml"), &text, &|_| None)
        .unwrap_or_else(|report| panic!("{report}"))
        .config
}

#[tokio::test]
async fn an_upstream_on_which_an_attack_succeeds_is_not_used_and_others_are() {
    let one = Sealed::new(harness::database().await).await;
    let other = Sealed::new(harness::database().await).await;
    // Who looks at the catalog alone sees no hole in this.
    let open = format!(
        "GRANT DELETE ON devinprod.commit_guard TO {}",
        one.options.names.writers()
    );
    one.admin.batch_execute(&open).await.unwrap();
    assert_eq!(
        holes(&one.keeper, &one.options.names).await,
        Vec::<String>::new()
    );
    let (events, _writer) = Events::start(Nowhere);
    let server = Server::new(two(&one, &other), events);
    let wrong = server.check_seals().await;
    let [(upstream, what)] = wrong.as_slice() else {
        panic!("{wrong:?}");
    };
    assert_eq!(upstream, "one");
    assert!(what.contains("the guard cannot be emptied"), "{what}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let (running, stopped) = (server.clone(), stop.clone());
    let _stop = stop.drop_guard();
    tokio::spawn(async move { running.run(listener, stopped.cancelled_owned()).await });
    let url = |upstream: &str| format!("postgres://dev:secret@127.0.0.1:{port}/{upstream}");
    let refused = async || {
        let error = match tokio_postgres::connect(&url("one"), NoTls).await {
            Err(error) => error,
            Ok((client, connection)) => {
                tokio::spawn(connection);
                client.simple_query("SELECT 1").await.unwrap_err()
            }
        };
        let error = error.as_db_error().unwrap().clone();
        (error.code().code().to_owned(), format!("{error:?}"))
    };
    let (code, text) = refused().await;
    assert_eq!(code, "55000", "{text}");
    for said in [
        "the upstream one is not safely sealed",
        "the guard cannot be emptied",
        "Run devinprod setup",
    ] {
        assert!(text.contains(said), "{text}");
    }
    let client = connect(&url("other")).await;
    assert_eq!(scalar(&client, "SELECT 1").await, "1");
    // Closed, it is used without a new start.
    let close = open.replace("GRANT", "REVOKE").replace(" TO ", " FROM ");
    one.admin.batch_execute(&close).await.unwrap();
    let client = connect(&url("one")).await;
    assert_eq!(scalar(&client, "SELECT 1").await, "1");
}
