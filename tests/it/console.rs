//! The console behind a real login, as psql and `devinprod status` see it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use devinprod::budget::Line;
use devinprod::changeset::Summary;
use devinprod::cluster::binaries;
use devinprod::console::{
    ClientRow, Directory, Listener, LockRow, PointRow, SandboxAct, SandboxRow, SandboxState,
    UpstreamRow, Visitor, serve,
};
use devinprod::error::{Refusal, SqlState};
use devinprod::sandbox::settings::{Isolation, Seal};
use devinprod::wire::authenticate::authenticate;
use devinprod::wire::startup::{Limits, Negotiated, negotiate};
use devinprod::wire::verifier::{MockSecret, Verifier};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

const PASSWORD: &str = "s3cret";

/// One sandbox, which can be reset once.
#[derive(Default)]
struct OneSandbox(Mutex<bool>);

#[async_trait::async_trait]
impl Directory for OneSandbox {
    fn upstreams(&self, _: &str) -> Vec<UpstreamRow> {
        vec![UpstreamRow {
            name: "shop".to_owned(),
            stage: "preprod",
            isolation: Isolation::Sandbox(Seal::Sealed),
            sandboxes: 1,
        }]
    }

    fn sandboxes(&self, developer: &str) -> Vec<SandboxRow> {
        if developer != "dev1" || *self.0.lock().unwrap() {
            return Vec::new();
        }
        vec![SandboxRow {
            upstream: "shop".to_owned(),
            name: "feature-x".to_owned(),
            state: SandboxState::Idle,
            begun: UNIX_EPOCH,
            idle: Duration::from_secs(61),
            clients: 10,
            armed: true,
            tainted: false,
            statements: 1234,
            subtransactions: 0,
            backend_pid: Some(4711),
        }]
    }

    fn clients(&self, _: &str) -> Vec<ClientRow> {
        Vec::new()
    }

    async fn locks(&self, _: &str) -> Result<Vec<LockRow>, Refusal> {
        Err(Refusal::error(
            SqlState::CONNECTION_FAILURE,
            "the upstream does not answer",
        ))
    }

    async fn budgets(&self, _: &str) -> Result<Vec<Line>, Refusal> {
        Ok(Vec::new())
    }

    fn points(&self, _: &str) -> Result<Vec<PointRow>, Refusal> {
        Ok(Vec::new())
    }

    async fn changeset(
        &self,
        _: &Visitor,
        _: Option<&str>,
        _: &str,
        _: Listener<'_>,
    ) -> Result<Summary, Refusal> {
        Ok(Summary::default())
    }

    async fn act(
        &self,
        _: &str,
        _: Option<&str>,
        name: &str,
        act: &SandboxAct,
    ) -> Result<(), Refusal> {
        assert_eq!(*act, SandboxAct::Reset);
        let mut done = self.0.lock().unwrap();
        if name != "feature-x" || *done {
            return Err(
                Refusal::error(SqlState::INVALID_PARAMETER_VALUE, "no such sandbox")
                    .hint("SHOW SANDBOXES lists yours"),
            );
        }
        *done = true;
        Ok(())
    }

    async fn sign(&self, _: &Visitor, _: &str) -> Result<String, Refusal> {
        unreachable!("nobody asks for it here")
    }
}

/// A server that has nothing but a console.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let directory = Arc::new(OneSandbox::default());
    tokio::spawn(async move {
        while let Ok((tcp, peer)) = listener.accept().await {
            tokio::spawn(session(tcp, peer, Arc::clone(&directory)));
        }
    });
    address
}

async fn session(tcp: TcpStream, address: SocketAddr, directory: Arc<OneSandbox>) {
    let Ok(Negotiated::Startup(mut stream, startup)) =
        negotiate(tcp, None, Limits::default()).await
    else {
        return;
    };
    assert_eq!(startup.database, "devinprod");
    let verifier = Verifier::from_password(PASSWORD, 16);
    let secret = MockSecret::random();
    if authenticate(&mut stream, &startup, Some(&verifier), &secret)
        .await
        .is_ok()
    {
        let visitor = Visitor {
            developer: startup.user,
            address,
        };
        serve(stream, visitor, directory).await.unwrap();
    }
}

/// Runs a program, which must end as `success` says; gives what it printed.
async fn check(command: &mut Command, success: bool) -> (String, String) {
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(20), output)
        .await
        .expect("it hangs")
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), success, "{stdout}\n{stderr}");
    (stdout, stderr)
}

fn devinprod(address: SocketAddr, password: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devinprod"));
    command.args(arguments).env(
        "DATABASE_URL",
        format!("postgres://dev1+feature-x:{password}@{address}/shop?options=-c%20a%3Db"),
    );
    command
}

fn psql(address: SocketAddr, commands: &[&str]) -> Command {
    let program = binaries::find().unwrap().program("psql");
    let mut command = Command::new(program);
    command
        .arg(format!("postgres://dev1:{PASSWORD}@{address}/devinprod"))
        .args([
            "--no-psqlrc",
            "--set=VERBOSITY=verbose",
            "--tuples-only",
            "--no-align",
        ]);
    for text in commands {
        command.args(["--command", text]);
    }
    command
}

#[tokio::test]
async fn psql_is_served() {
    let address = server().await;
    let commands = [
        "SHOW SANDBOXES",
        "reset sandbox feature-x on shop; show sandboxes",
        "HELP",
    ];
    let (stdout, stderr) = check(&mut psql(address, &commands), true).await;
    insta::assert_snapshot!(stdout, @r"
    shop|feature-x|idle|1970-01-01T00:00:00.000000Z|61|10|t|f|1234|0|4711
    RESET SANDBOX
    SHOW UPSTREAMS|what you may use, and what holds there
    SHOW SANDBOXES|your sandboxes
    SHOW CLIENTS|your connections, and which of them waits for which
    SHOW LOCKS|whom you wait for, and who waits for you
    SHOW DIFF name [ON upstream]|what a sandbox would have changed, a row for each cell
    SHOW BUDGETS|how much you may read, and how much of it is used
    RESET SANDBOX name [ON upstream]|throw away everything that a sandbox holds; a fresh one begins with the next statement
    SAVE SANDBOX name AS point [ON upstream]|keep what a sandbox holds now, so that you can go back to it
    RETURN SANDBOX name TO point [ON upstream]|undo all that was done in it since then, as often as you like
    SHOW POINTS|the points that you can go back to
    KEEP SANDBOX name [FOR 8h] [ON upstream]|let it live without being used, for a while or as long as max_age allows
    RECORD EVIDENCE 'json'|sign what a run showed about a commit; devinprod compare and rehearse say it themselves
    HELP|this
    ");
    assert_eq!(stderr, "");

    let (_, stderr) = check(&mut psql(address, &["SELECT * FROM users"]), false).await;
    insta::assert_snapshot!(stderr, @r#"
    ERROR:  42601: this is not a command of the devinprod console
    DETAIL:  There is no data here: the database "devinprod" is the proxy itself.
    HINT:  HELP lists the commands
    "#);
    let (_, stderr) = check(&mut psql(address, &["SHOW LOCKS"]), false).await;
    assert!(
        stderr.contains("08006: the upstream does not answer"),
        "{stderr}"
    );
}

#[tokio::test]
async fn status_says_where_you_are() {
    let address = server().await;
    let (stdout, _) = check(&mut devinprod(address, PASSWORD, &["status"]), true).await;
    insta::assert_snapshot!(stdout.replace(&address.to_string(), "PROXY"), @r"
    dev1 at the proxy PROXY

    upstream  stage    isolation  sandboxes  what holds
    shop      preprod  sandbox            1  nothing is committed; Postgres itself refuses to

    upstream  sandbox    state  begun                        idle_seconds  clients  armed  tainted  statements  subtransactions  backend_pid
    shop      feature-x  idle   1970-01-01T00:00:00.000000Z            61       10  yes    no             1234                0         4711
    ");
    let mut json = devinprod(address, PASSWORD, &["status", "--format", "json"]);
    let (stdout, _) = check(&mut json, true).await;
    let status: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(status["developer"], "dev1");
    assert_eq!(status["sandboxes"][0]["clients"], 10);
}

#[tokio::test]
async fn a_sandbox_is_listed_and_reset() {
    let address = server().await;
    let list = ["sandbox", "list", "--format", "json"];
    let (stdout, _) = check(&mut devinprod(address, PASSWORD, &list), true).await;
    assert!(stdout.contains("\"sandbox\":\"feature-x\""), "{stdout}");
    let reset = ["sandbox", "reset", "feature-x", "--upstream", "shop"];
    check(&mut devinprod(address, PASSWORD, &reset), true).await;
    let (stdout, stderr) = check(
        &mut devinprod(address, PASSWORD, &["sandbox", "list"]),
        true,
    )
    .await;
    assert_eq!(
        (stdout.as_str(), stderr.starts_with("no sandbox")),
        ("", true)
    );
    let (_, stderr) = check(&mut devinprod(address, PASSWORD, &reset), false).await;
    insta::assert_snapshot!(stderr, @r"
    error: no such sandbox
    hint: SHOW SANDBOXES lists yours
    ");
}

#[tokio::test]
async fn a_wrong_password_and_no_proxy_are_told_apart() {
    let address = server().await;
    let (_, stderr) = check(&mut devinprod(address, "wrong", &["status"]), false).await;
    assert!(
        stderr.contains("password authentication failed"),
        "{stderr}"
    );
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (_, stderr) = check(&mut devinprod(nobody, PASSWORD, &["status"]), false).await;
    assert!(stderr.contains("no console at 127.0.0.1"), "{stderr}");
    assert!(!stderr.contains(PASSWORD), "{stderr}");
}
