//! The console as `tokio_postgres` and raw bytes meet it.

use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::*;
use crate::budget::Line;
use crate::changeset::{Definition, Event, Summary};
use crate::console::{
    ClientRow, Listener, LockKind, LockRow, PointRow, SandboxAct, SandboxRow, SandboxState,
    UpstreamRow, quote_identifier,
};
use crate::sandbox::settings::{Isolation, Seal};

#[derive(Default)]
struct OneSandbox {
    resets: Mutex<Vec<String>>,
}

#[async_trait]
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
        vec![SandboxRow {
            upstream: "shop".to_owned(),
            name: format!("of {developer}"),
            state: SandboxState::IdleInTransaction,
            begun: UNIX_EPOCH,
            idle: Duration::from_millis(7_900),
            clients: 2,
            armed: true,
            tainted: false,
            statements: 12,
            subtransactions: 3,
            backend_pid: None,
        }]
    }

    fn clients(&self, _: &str) -> Vec<ClientRow> {
        vec![ClientRow {
            pid: 7,
            upstream: "shop".to_owned(),
            sandbox: Some("default".to_owned()),
            application: "tests".to_owned(),
            address: ([127, 0, 0, 1], 4711).into(),
            state: SandboxState::Idle,
            connected: UNIX_EPOCH,
            waits_for: Some(8),
        }]
    }

    async fn locks(&self, _: &str) -> Result<Vec<LockRow>, Refusal> {
        Ok(vec![LockRow {
            upstream: "shop".to_owned(),
            kind: LockKind::Upstream,
            object: Some("public.orders".to_owned()),
            waiter: "dev1".to_owned(),
            waiter_sandbox: Some("default".to_owned()),
            holder: "app".to_owned(),
            holder_sandbox: None,
            waited: Duration::from_secs(3),
        }])
    }

    async fn budgets(&self, developer: &str) -> Result<Vec<Line>, Refusal> {
        Ok(vec![Line {
            upstream: "shop".to_owned(),
            who: developer.to_owned(),
            budget: "rows of masked tables per 1h".to_owned(),
            used: Some(7),
            limit: 10_000,
            refilled_at: None,
            place: "is a default of stage prod".to_owned(),
        }])
    }

    fn points(&self, _: &str) -> Result<Vec<PointRow>, Refusal> {
        Ok(Vec::new())
    }

    async fn changeset(
        &self,
        visitor: &Visitor,
        _: Option<&str>,
        name: &str,
        tell: Listener<'_>,
    ) -> Result<Summary, Refusal> {
        assert_eq!(visitor.developer, "dev1");
        let made = Definition {
            kind: "view",
            name: "public.made".to_owned(),
            sql: "CREATE VIEW public.made AS SELECT 1".to_owned(),
            before_rows: false,
        };
        let mut left = if name == "large" { u64::MAX } else { 1 };
        while left > 0 && tell(Event::Definition(&made)).is_continue() {
            left -= 1;
        }
        Ok(Summary {
            stopped: left > 0,
            ..Summary::default()
        })
    }

    async fn act(
        &self,
        _: &str,
        upstream: Option<&str>,
        name: &str,
        act: &SandboxAct,
    ) -> Result<(), Refusal> {
        assert_eq!(*act, SandboxAct::Reset);
        if name == "none" {
            return Err(Refusal::error(SqlState("42704"), "no such sandbox").hint("SHOW SANDBOXES"));
        }
        let mut resets = self.resets.lock().unwrap();
        resets.push(format!("{name} on {upstream:?}"));
        Ok(())
    }

    async fn sign(&self, visitor: &Visitor, claim: &str) -> Result<String, Refusal> {
        Ok(format!("{claim} of {}", visitor.developer))
    }
}

/// The console behind a server that believes everybody, and the other end of its stream.
fn console(directory: Arc<OneSandbox>) -> DuplexStream {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let length = far.read_u32().await.unwrap();
        let mut startup = vec![0; length as usize - 4];
        far.read_exact(&mut startup).await.unwrap();
        far.write_all(b"R\0\0\0\x08\0\0\0\0").await.unwrap();
        let visitor = Visitor {
            developer: "dev1".to_owned(),
            address: ([127, 0, 0, 1], 4711).into(),
        };
        serve(far, visitor, directory).await
    });
    near
}

async fn connect() -> (Client, Arc<OneSandbox>) {
    let directory = Arc::new(OneSandbox::default());
    let stream = console(Arc::clone(&directory));
    let mut config = tokio_postgres::Config::new();
    config.user("dev1").dbname("devinprod");
    let (client, connection) = config.connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    (client, directory)
}

#[tokio::test]
async fn rows_by_the_extended_protocol_have_types() {
    let (client, _) = connect().await;
    let rows = client.query("SHOW SANDBOXES", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(row.get::<_, &str>("sandbox"), "of dev1");
    assert_eq!(row.get::<_, &str>("state"), "idle in transaction");
    assert_eq!(row.get::<_, &str>("begun"), "1970-01-01T00:00:00.000000Z");
    assert_eq!(row.get::<_, i64>("idle_seconds"), 7);
    assert!(row.get::<_, bool>("armed"));
    assert_eq!(row.get::<_, Option<i64>>("backend_pid"), None);

    let rows = client.query("SHOW CLIENTS", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>("waits_for"), 8);
    let rows = client.query("SHOW LOCKS", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, &str>("holder"), "app");
    let rows = client.query("SHOW UPSTREAMS", &[]).await.unwrap();
    assert!(
        rows[0]
            .get::<_, &str>("what holds")
            .starts_with("nothing is committed")
    );
    let rows = client.query("SHOW BUDGETS", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>("used"), 7);
    assert_eq!(rows[0].get::<_, Option<&str>>("refilled_at"), None);
    assert_eq!(client.query("HELP", &[]).await.unwrap().len(), 13);
}

#[tokio::test]
async fn every_answer_has_the_columns_that_were_announced() {
    let (client, _) = connect().await;
    for command in [
        "HELP",
        "RECORD EVIDENCE '{}'",
        "SHOW UPSTREAMS",
        "SHOW SANDBOXES",
        "SHOW CLIENTS",
        "SHOW LOCKS",
        "SHOW BUDGETS",
        "SHOW DIFF default",
        "SELECT 1",
    ] {
        let statement = client.prepare(command).await.unwrap();
        let rows = client.query(&statement, &[]).await.unwrap();
        // tokio_postgres cuts a row at its fields, and fails where their number is another.
        assert!(!rows.is_empty(), "{command}");
        assert_eq!(rows[0].len(), statement.columns().len(), "{command}");
    }
}

#[tokio::test]
async fn a_changeset_that_is_too_large_is_for_the_command_line() {
    let (client, _) = connect().await;
    let rows = client.query("SHOW DIFF small", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, &str>("change"), "create view");
    let error = client.query("SHOW DIFF large", &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "54000");
    assert!(error.hint().unwrap().contains("devinprod sandbox diff"));
}

#[tokio::test]
async fn several_commands_in_one_simple_query() {
    let (client, directory) = connect().await;
    let text = "SHOW SANDBOXES; RESET SANDBOX a; RESET SANDBOX none; RESET SANDBOX b";
    let error = client.simple_query(text).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(
        (error.code().code(), error.hint()),
        ("42704", Some("SHOW SANDBOXES"))
    );
    assert_eq!(*directory.resets.lock().unwrap(), ["a on None"]);

    let messages = client.simple_query("SHOW SANDBOXES").await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    assert_eq!(row.unwrap().get("armed"), Some("t"));
}

#[tokio::test]
async fn a_reset_names_its_sandbox_exactly() {
    let (client, directory) = connect().await;
    let command = format!("RESET SANDBOX {} ON shop", quote_identifier("a \"b\""));
    assert_eq!(client.execute(&command, &[]).await.unwrap(), 0);
    assert_eq!(
        *directory.resets.lock().unwrap(),
        ["a \"b\" on Some(\"shop\")"]
    );
}

#[tokio::test]
async fn an_error_leaves_the_connection_usable() {
    let (client, _) = connect().await;
    for query in ["SELECT * FROM users", "HELP; HELP", "RESET SANDBOX none"] {
        let error = client.query(query, &[]).await.unwrap_err();
        assert!(error.as_db_error().is_some(), "{query}: {error}");
        assert_eq!(client.query("SELECT 1", &[]).await.unwrap().len(), 1);
    }
    client.simple_query("").await.unwrap();
    client
        .batch_execute("BEGIN; SHOW CLIENTS; COMMIT")
        .await
        .unwrap();
}

#[tokio::test]
async fn hostile_bytes_end_this_connection_with_a_reason() {
    for bytes in [
        b"Q\x7f\xff\xff\xff".as_slice(),
        b"Q\0\0\0\0",
        b"?\0\0\0\x04",
        b"B\0\0\0\x06\0\0",
    ] {
        let mut stream = console(Arc::default());
        stream.write_all(b"\0\0\0\x08\0\x03\0\0").await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
        read.await
            .unwrap_or_else(|_| panic!("{bytes:?}: the connection stays open"))
            .unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.contains("FATAL") && text.contains("08P01"),
            "{bytes:?}: {text}"
        );
    }
}
