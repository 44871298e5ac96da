//! Named points of a sandbox: what it holds is kept, and gone back to as often as one likes.

use devinprod::audit::{EndReason, EventKind};

use crate::chaos_kit::{clients_of, console, eventually, state_of, value};
use crate::harness::{self, Proxy, Setup, wire::Client};

const BALANCE: &str = "SELECT balance FROM accounts WHERE id = 1";

async fn done(proxy: &Proxy, sql: &str) {
    let answer = console(proxy, "dev1", sql).await;
    assert!(!answer.contains("ErrorResponse"), "{sql}: {answer}");
}

async fn set(client: &mut Client, balance: u32) {
    let sql = format!("UPDATE accounts SET balance = {balance} WHERE id = 1");
    assert_eq!(state_of(client, &sql).await, "");
}

#[tokio::test]
async fn what_happened_since_a_point_is_undone_as_often_as_one_likes() {
    let proxy = harness::proxy().await;
    let before = harness::dump(&proxy.database).await;
    let mut client = Client::connect(&proxy.url()).await;
    let mut other = Client::connect(&proxy.url()).await;
    set(&mut client, 11).await;
    done(&proxy, "SAVE SANDBOX default AS 'logged in'").await;
    for round in 0..3 {
        set(&mut other, 20 + round).await;
        client
            .simple("CREATE TABLE made (n int); INSERT INTO made VALUES (1); BEGIN; DELETE FROM order_log; COMMIT")
            .await;
        assert_eq!(value(&mut other, "SELECT count(*) FROM made").await, "1");
        done(&proxy, "RETURN SANDBOX default TO 'logged in'").await;
        // Both are told, once, and see what there was.
        for client in [&mut client, &mut other] {
            let told = client.simple(BALANCE).await;
            assert!(
                told.contains("WARNING 01000") && told.contains("logged in"),
                "{told}"
            );
            assert!(told.contains("DataRow \"11"), "{told}");
            assert!(!client.simple("SELECT 1").await.contains("WARNING"));
        }
        assert_eq!(
            value(&mut other, "SELECT to_regclass('made') IS NULL").await,
            "t"
        );
        assert_ne!(
            value(&mut other, "SELECT count(*) FROM order_log").await,
            "0"
        );
    }
    drop((client, other));
    eventually("all clients are gone", || async {
        clients_of(&proxy, "dev1") == 0
    })
    .await;
    let kinds: Vec<_> = proxy.events().into_iter().map(|event| event.kind).collect();
    let point = "logged in".to_owned();
    let count = |kind: EventKind| kinds.iter().filter(|other| **other == kind).count();
    assert_eq!(
        count(EventKind::SandboxSaved {
            point: point.clone()
        }),
        1
    );
    assert_eq!(count(EventKind::SandboxBack { point }), 3);
    assert_eq!(count(EventKind::SandboxTainted), 0);
    assert!(harness::dump(&proxy.database).await == before);
}

#[tokio::test]
async fn points_lie_one_in_the_other() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    // Also before anything was written.
    assert_eq!(value(&mut client, "SELECT 1").await, "1");
    let first = value(&mut client, BALANCE).await;
    done(&proxy, "SAVE SANDBOX default AS nothing").await;
    set(&mut client, 1).await;
    done(&proxy, "SAVE SANDBOX default AS one").await;
    set(&mut client, 2).await;
    done(&proxy, "SAVE SANDBOX default AS two").await;
    set(&mut client, 3).await;
    // The name names the later point from now on.
    done(&proxy, "SAVE SANDBOX default AS one").await;
    set(&mut client, 4).await;
    let listed = console(&proxy, "dev1", "SHOW POINTS").await;
    let names = ["nothing", "two", "one"];
    let places: Vec<_> = names
        .iter()
        .map(|name| listed.find(&format!("\"{name}\"")))
        .collect();
    assert!(places.is_sorted() && places[0].is_some(), "{listed}");

    for (point, balance) in [("one", "3.00"), ("two", "2.00"), ("nothing", &first)] {
        done(&proxy, &format!("RETURN SANDBOX default TO {point}")).await;
        client.simple("SELECT 1").await;
        assert_eq!(value(&mut client, BALANCE).await, balance, "{point}");
    }
    let gone = console(&proxy, "dev1", "RETURN SANDBOX default TO two").await;
    assert!(gone.contains("3B001"), "{gone}");
    let unknown = console(&proxy, "dev1", "RETURN SANDBOX default TO never").await;
    assert!(
        unknown.contains("3B001") && unknown.contains("SHOW POINTS"),
        "{unknown}"
    );
    let not_mine = console(&proxy, "dev2", "RETURN SANDBOX default TO nothing").await;
    assert!(not_mine.contains("42704"), "{not_mine}");
    // It works on as before, and nothing can be committed.
    assert_eq!(
        state_of(&mut client, "BEGIN; DELETE FROM order_log; ROLLBACK").await,
        ""
    );
    set(&mut client, 9).await;
    assert_eq!(value(&mut client, BALANCE).await, "9.00");
}

#[tokio::test]
async fn a_point_waits_for_an_open_transaction() {
    let setup = Setup {
        sandbox: "wait_timeout = \"300ms\"",
        ..Setup::default()
    };
    let proxy = harness::proxy_with(harness::database().await, setup).await;
    let mut client = Client::connect(&proxy.url()).await;
    client
        .simple("BEGIN; UPDATE accounts SET balance = 5 WHERE id = 1")
        .await;
    for sql in ["SAVE SANDBOX default AS a", "RETURN SANDBOX default TO a"] {
        let refused = console(&proxy, "dev1", sql).await;
        assert!(refused.contains("55P03"), "{refused}");
    }
    client.simple("COMMIT").await;
    done(&proxy, "SAVE SANDBOX default AS a").await;
    // A failed statement is undone before, which takes no cursor away; and a block that has not run anything yet does not stand in the way.
    client
        .simple("DECLARE held CURSOR WITH HOLD FOR SELECT 7")
        .await;
    client.simple("SELECT 1/0").await;
    done(&proxy, "SAVE SANDBOX default AS b").await;
    assert_eq!(value(&mut client, "FETCH held").await, "7");
    client.simple("BEGIN").await;
    done(&proxy, "RETURN SANDBOX default TO a").await;
    assert_eq!(
        state_of(&mut client, "UPDATE accounts SET balance = 6 WHERE id = 1").await,
        ""
    );
    assert!(
        client
            .simple("COMMIT")
            .await
            .contains("CommandComplete COMMIT")
    );
    assert_eq!(value(&mut client, BALANCE).await, "6.00");
}

#[tokio::test]
async fn what_clients_knew_of_is_forgotten_with_it() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("PREPARE kept AS SELECT 7").await;
    done(&proxy, "SAVE SANDBOX default AS a").await;
    client
        .simple("CREATE TEMP TABLE scratch (n int) ON COMMIT DELETE ROWS; DECLARE c CURSOR WITH HOLD FOR SELECT 1; SET work_mem = '9MB'")
        .await;
    done(&proxy, "RETURN SANDBOX default TO a").await;
    client.simple("SELECT 1").await;
    assert_eq!(state_of(&mut client, "FETCH c").await, "34000");
    // A COMMIT does not look for the table that it would have emptied.
    assert_eq!(state_of(&mut client, "BEGIN; SELECT 1; COMMIT").await, "");
    assert_eq!(
        state_of(&mut client, "SELECT * FROM scratch").await,
        "42P01"
    );
    // Settings and prepared statements are the connection's own.
    assert_eq!(value(&mut client, "SHOW work_mem").await, "9MB");
    assert_eq!(value(&mut client, "EXECUTE kept").await, "7");
    assert_eq!(
        state_of(&mut client, "DECLARE c CURSOR WITH HOLD FOR SELECT 1").await,
        ""
    );
}

#[tokio::test]
async fn there_are_only_so_many_points() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    set(&mut client, 1).await;
    for n in 0..32 {
        done(&proxy, &format!("SAVE SANDBOX default AS p{n}")).await;
    }
    let refused = console(&proxy, "dev1", "SAVE SANDBOX default AS more").await;
    assert!(refused.contains("54000"), "{refused}");
    done(&proxy, "RETURN SANDBOX default TO p3").await;
    done(&proxy, "SAVE SANDBOX default AS more").await;
    let long = "x".repeat(64);
    let refused = console(&proxy, "dev1", &format!("SAVE SANDBOX default AS {long}")).await;
    assert!(refused.contains("22023"), "{refused}");
}

#[tokio::test]
async fn a_kept_sandbox_outlives_its_idle_time_and_no_more() {
    let setup = Setup {
        sandbox: "idle_timeout = \"1s\"\nmax_age = \"6s\"",
        ..Setup::default()
    };
    let proxy = harness::proxy_with(harness::database().await, setup).await;
    let mut client = Client::connect(&proxy.url()).await;
    client.simple("SELECT 1").await;
    done(&proxy, "KEEP SANDBOX default").await;
    let ended = || {
        proxy
            .events()
            .into_iter()
            .find_map(|event| match event.kind {
                EventKind::SandboxEnded { reason } => Some(reason),
                _ => None,
            })
    };
    eventually("it ends", || async { ended().is_some() }).await;
    assert_eq!(ended(), Some(EndReason::MaxAge));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_saves_and_goes_back() {
    let proxy = harness::proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    set(&mut client, 1).await;
    let url = proxy.url();
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_devinprod"))
            .arg("sandbox")
            .args(args)
            .env("DATABASE_URL", &url)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout) + &text(&output.stderr)
    };
    run(&["save", "before lunch"]);
    set(&mut client, 2).await;
    assert!(run(&["points"]).contains("before lunch"));
    run(&["back", "before lunch"]);
    run(&["keep", "--for", "2h"]);
    client.simple("SELECT 1").await;
    assert_eq!(value(&mut client, BALANCE).await, "1.00");
}
