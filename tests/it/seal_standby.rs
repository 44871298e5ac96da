//! A hot standby of a sealed primary: developers read through the masked views, and nobody writes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use devinprod::audit::{Events, Nowhere};
use devinprod::cluster::{Cluster, Options};
use devinprod::config::Config;
use devinprod::seal::doctor::Verdict;
use devinprod::seal::{self, Gravity, SealError};
use devinprod::server::Server;
use devinprod::wire::verifier::Verifier;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{self, connect, scalar};
use crate::seal_kit::{PASSWORD, answer};
use crate::seal_masks_kit::{POLICY, USERS, sealed_by};

/// A copy of the primary by pg_basebackup, which follows it.
async fn standby(primary: &Cluster) -> Cluster {
    let dir = tempfile::Builder::new()
        .prefix("devinprod-test-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
        .keep();
    let data = primary.data_dir();
    let from = data.parent().unwrap();
    let to = dir.join("cluster");
    std::fs::create_dir_all(to.join("run")).unwrap();
    for file in ["password", "version"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let backup = Command::new(primary.binaries().program("pg_basebackup"))
        .args([
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--wal-method=stream",
            "--no-sync",
        ])
        .args([
            "--host=127.0.0.1",
            "--username=postgres",
            &format!("--port={}", primary.port()),
        ])
        .arg(format!("--pgdata={}", to.join("data").display()))
        .env("PGPASSWORD", primary.password())
        .output()
        .unwrap();
    assert!(
        backup.status.success(),
        "{}",
        String::from_utf8_lossy(&backup.stderr)
    );
    // As root, the files belong to Postgres' account.
    let owned = Command::new("chown")
        .args(["-R", "--reference"])
        .args([&data, &to])
        .status()
        .unwrap();
    assert!(owned.success());
    let options = Options {
        fsync: false,
        ephemeral: true,
        ..Options::new(dir)
    }
    .setting("max_connections", "200")
    .setting("shared_buffers", "32MB")
    .setting("log_min_messages", "fatal");
    Cluster::start(primary.binaries(), options)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

fn config(url: &str, prefix: &str) -> Config {
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[[upstream]]\nname = \"app\"\nurl = \"{url}?sslmode=disable\"\n\
         stage = \"test\"\nsealed = true\nisolation = \"read_only\"\nrole_prefix = \"{prefix}\"\n\
         developers = [\"dev\"]\n[[developer]]\nname = \"dev\"\npassword = \"{}\"\n",
        Verifier::from_password("secret", 4096)
    );
    Config::parse(Path::new("test.toml"), &text, &|_| None)
        .unwrap_or_else(|report| panic!("{report}"))
        .config
}

#[tokio::test]
async fn a_standby_shows_masks_and_nothing_else() {
    let (primary, database) = harness::own_cluster().await;
    let sealed = sealed_by(database, USERS, POLICY).await;
    let names = sealed.options.names.clone();
    let role = format!("{}_standby", sealed.database.name);
    sealed
        .admin
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'standby' IN ROLE {}",
            names.readers()
        ))
        .await
        .unwrap();
    let shown = sealed
        .developer()
        .await
        .ask("SELECT email FROM devinprod_masked.\"public.users\" ORDER BY id")
        .await
        .unwrap();
    let standby = standby(&primary).await;
    let url = |role: &str, password: &str| {
        let (port, name) = (standby.port(), &sealed.database.name);
        format!("postgres://{role}:{password}@127.0.0.1:{port}/{name}")
    };
    let own = connect(&url(&role, "standby")).await;
    assert_eq!(scalar(&own, "SELECT pg_is_in_recovery()").await, "t");

    // Whoever looks finds a whole seal, and the doctor attacks what can be attacked.
    for finding in seal::verify(&own, &names).await.unwrap() {
        assert_ne!(finding.gravity, Gravity::Hole, "{finding}");
    }
    let connect_as =
        async |_: &str, _: &str| Err(SealError::Catalog("nobody is leased".to_owned()));
    let promises = seal::doctor(&own, &names, connect_as).await.unwrap();
    let count = |verdict| promises.iter().filter(|p| p.verdict == verdict).count();
    assert_eq!(count(Verdict::Broken), 0, "{promises:#?}");
    assert!(count(Verdict::Held) >= 4, "{promises:#?}");
    let said = format!("{promises:?}");
    assert!(said.contains("only the primary can show it"), "{said}");
    let keeper = connect(&url(&names.proxy(), PASSWORD)).await;
    let said = format!(
        "{:?}",
        seal::doctor(&keeper, &names, connect_as).await.unwrap()
    );
    assert!(said.contains("is no developer"), "{said}");

    let (events, _writer) = Events::start(Nowhere);
    let server = Server::new(
        config(&url(&role, "standby"), names.prefix()),
        events.clone(),
    );
    assert_eq!(server.check_seals().await, Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let (running, stopped) = (server.clone(), stop.clone());
    let _stop = stop.drop_guard();
    tokio::spawn(async move { running.run(listener, stopped.cancelled_owned()).await });
    let client = connect(&format!("postgres://dev:secret@127.0.0.1:{port}/app")).await;
    let seen = answer(
        client
            .simple_query("SELECT email FROM users ORDER BY id")
            .await,
    );
    assert_eq!(seen, Ok(shown), "masks are the same as on the primary");
    for sql in [
        "SELECT to_json(u) FROM users u",
        "SELECT u FROM users u",
        "SELECT full_name || email FROM ONLY users",
        "SELECT email FROM users u WHERE u.ctid IS NOT NULL",
        "COPY users TO STDOUT",
        "TABLE users",
        "SELECT notes FROM users",
        "SELECT email::int FROM users",
    ] {
        let told = match client.simple_query(sql).await {
            Ok(messages) => format!("{messages:?}"),
            Err(error) => format!("{error:?}"),
        };
        for real in ["secret.example", "Real Name", "real note"] {
            assert!(!told.contains(real), "{sql}: {told}");
        }
    }
    for sql in [
        "UPDATE users SET email = 'x'",
        "INSERT INTO users (id, email, full_name) VALUES (99, 'a', 'b') RETURNING email",
        "CREATE TEMP TABLE t ()",
    ] {
        let answer = answer(client.simple_query(sql).await);
        let code = answer.unwrap_err();
        assert!(["25006", "42501"].contains(&code.as_str()), "{sql}: {code}");
    }

    // With the proxy's own role there is nobody to lease, and that is said.
    let server = Server::new(
        config(&url(&names.proxy(), PASSWORD), names.prefix()),
        events,
    );
    let wrong = format!("{:?}", server.check_seals().await);
    assert!(
        wrong.contains("is a standby") && wrong.contains(&names.readers()),
        "{wrong}"
    );
}
