//! A cluster's whole life, on the Postgres of this machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

fn binaries() -> Binaries {
    binaries::find().unwrap_or_else(|error| panic!("{error}\nhint: {}", error.hint()))
}

/// Without the disk's leisure; in a folder that every account can enter.
fn options(dir: &Path) -> Options {
    Options {
        fsync: false,
        ..Options::new(dir)
    }
}

fn dir_with_mode(mode: u32) -> tempfile::TempDir {
    tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
        .tempdir()
        .unwrap()
}

fn shared_dir() -> tempfile::TempDir {
    dir_with_mode(0o755)
}

async fn query(cluster: &Cluster, sql: &str) -> String {
    let (client, connection) =
        tokio_postgres::connect(&cluster.url("postgres"), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    for message in client.simple_query(sql).await.unwrap() {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            return row.get(0).unwrap_or_default().to_owned();
        }
    }
    String::new()
}

/// Whether a server listens on the port; its pid says less, for it stays until somebody reaps it.
fn alive(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[tokio::test]
async fn data_survives_stops_and_kills_and_the_port_stays() {
    let dir = shared_dir();
    let mut cluster = Cluster::start(&binaries(), options(dir.path()))
        .await
        .unwrap();
    let port = cluster.port();
    query(&cluster, "CREATE TABLE t AS SELECT 7 AS n").await;

    cluster.restart().await.unwrap();
    assert_eq!(query(&cluster, "SELECT n FROM t").await, "7");
    cluster.kill().unwrap();
    assert_eq!(cluster.pid(), None);
    cluster.restart().await.unwrap();
    assert_eq!(query(&cluster, "SELECT n FROM t").await, "7");
    assert_eq!(cluster.port(), port);

    assert!(alive(port));
    drop(cluster);
    assert!(!alive(port));
    let cluster = Cluster::start(&binaries(), options(dir.path()))
        .await
        .unwrap();
    assert_eq!(query(&cluster, "SELECT n FROM t").await, "7");
}

#[tokio::test]
async fn the_password_is_really_asked_for() {
    let dir = shared_dir();
    let cluster = Cluster::start(&binaries(), options(dir.path()))
        .await
        .unwrap();
    let wrong = cluster.url("postgres").replace(cluster.password(), "wrong");
    let error = tokio_postgres::connect(&wrong, tokio_postgres::NoTls)
        .await
        .err()
        .unwrap();
    assert_eq!(error.code().unwrap().code(), "28P01");
}

#[tokio::test]
async fn a_folder_serves_one_process_at_a_time() {
    let dir = shared_dir();
    let cluster = Cluster::start(&binaries(), options(dir.path()))
        .await
        .unwrap();
    let second = Cluster::start(&binaries(), options(dir.path())).await;
    assert!(matches!(second, Err(Error::InUse(_))), "{second:?}");
    drop(cluster);
}

#[tokio::test]
async fn what_is_half_made_is_not_used() {
    let dir = shared_dir();
    let partial = dir.path().join("partial-0123");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("password"), "half").unwrap();
    let cluster = Cluster::start(&binaries(), options(dir.path()))
        .await
        .unwrap();
    assert!(!partial.exists());
    assert_ne!(cluster.password(), "half");
    drop(cluster);

    fs::remove_file(dir.path().join("cluster/version")).unwrap();
    let refused = Cluster::start(&binaries(), options(dir.path())).await;
    assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
    fs::write(
        dir.path().join("cluster/version"),
        "devinprod cluster 1\npostgres 9\n",
    )
    .unwrap();
    let refused = Cluster::start(&binaries(), options(dir.path())).await;
    assert!(
        matches!(refused, Err(Error::OtherVersion { made_by: 9, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_server_that_was_left_over_is_stopped_at_the_next_start() {
    let dir = shared_dir();
    let cluster = Cluster::start(&binaries(), options(dir.path()))
        .await
        .unwrap();
    let folder = Folder::open(&options(dir.path()), &binaries()).await;
    assert!(folder.is_err(), "the folder is locked");
    let data = cluster.data_dir();
    drop(cluster);

    // Begun behind the library's back, as one whose owner and watchdog were both killed.
    let mut postgres = account::Account::choose()
        .unwrap()
        .command(&binaries().program("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=127.0.0.1", "-k", "", "-p"])
        .arg(free_port().unwrap().to_string())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid_file = data.join("postmaster.pid");
    while !fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready")) {
        assert!(postgres.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // Reaped beside us, as init would.
    let reaper = std::thread::spawn(move || postgres.wait());
    let cluster = Cluster::start(&binaries(), options(dir.path()))
        .await
        .unwrap();
    assert!(reaper.join().unwrap().is_ok());
    assert_eq!(query(&cluster, "SELECT 1").await, "1");
}

#[tokio::test]
async fn a_pid_that_is_somebody_elses_is_left_alone() {
    let dir = shared_dir();
    let cluster = Cluster::start(&binaries(), options(dir.path()))
        .await
        .unwrap();
    let pid_file = cluster.data_dir().join("postmaster.pid");
    drop(cluster);
    let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(&pid_file, format!("{}\n", bystander.id())).unwrap();
    assert!(server::stop_leftover(pid_file.parent().unwrap()).is_ok());
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test]
async fn a_folder_that_postgres_cannot_reach_is_stood_in_for() {
    let dir = dir_with_mode(0o700);
    let private = Options {
        ephemeral: true,
        ..options(dir.path())
    };
    let cluster = Cluster::start(&binaries(), private).await.unwrap();
    assert_eq!(query(&cluster, "SELECT 1").await, "1");
    let data = cluster.data_dir();
    let root = rustix::process::geteuid().is_root();
    assert_eq!(
        !data.starts_with(dir.path().canonicalize().unwrap()),
        root,
        "{data:?}"
    );
    drop(cluster);
    assert!(!data.exists());
}

#[tokio::test]
async fn an_ephemeral_cluster_leaves_nothing() {
    let parent = shared_dir();
    let dir = parent.path().join("ephemeral");
    let cluster = Cluster::start(
        &binaries(),
        Options {
            ephemeral: true,
            ..options(&dir)
        },
    )
    .await
    .unwrap();
    assert!(cluster.data_dir().starts_with(&dir));
    drop(cluster);
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_start_that_fails_tells_why() {
    let dir = shared_dir();
    let error = Cluster::start(
        &binaries(),
        options(dir.path()).setting("shared_buffers", "nonsense"),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, Error::Ended { .. }));
    assert!(error.to_string().contains("shared_buffers"), "{error}");
}

/// Set in the child process of the test below: the folder of the cluster that it owns.
const OWNER_DIR: &str = "DEVINPROD_TEST_OWNER_DIR";

#[tokio::test]
async fn nothing_outlives_an_owner_that_was_killed() {
    if let Some(dir) = std::env::var_os(OWNER_DIR) {
        let dir = Path::new(&dir);
        let owned = Options {
            ephemeral: true,
            ..options(&dir.join("ephemeral"))
        };
        let cluster = Cluster::start(&binaries(), owned).await.unwrap();
        fs::write(dir.join("port"), format!("{}\n", cluster.port())).unwrap();
        std::future::pending::<()>().await;
    }
    let dir = shared_dir();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "cluster::tests::nothing_outlives_an_owner_that_was_killed",
        ])
        .env(OWNER_DIR, dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let port_file = dir.path().join("port");
    let port = loop {
        match fs::read_to_string(&port_file) {
            Ok(text) if text.ends_with('\n') => break text.trim().parse().unwrap(),
            _ => assert!(owner.try_wait().unwrap().is_none(), "the owner ended early"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(alive(port));
    owner.kill().unwrap();
    owner.wait().unwrap();

    let limit = std::time::Instant::now() + Duration::from_secs(20);
    while alive(port) || dir.path().join("ephemeral").exists() {
        assert!(std::time::Instant::now() < limit, "the server lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
