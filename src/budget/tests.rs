//! Accounts that spend, against a ledger in memory: what is cut, what is given back, what no trick resets.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ledger::clock::Clock;
use super::*;
use crate::error::SqlState;

fn settings(text: &str) -> Settings {
    let policy = Policy::from_text(Path::new("p.toml"), text).unwrap();
    let shop = Upstream {
        stage: Stage::Local,
        policy: Some(Arc::new(policy)),
        contact: Some("data@example.org".to_owned()),
        developers: ["dev1", "dev2"].map(str::to_owned).into(),
    };
    let support = || BTreeSet::from(["support".to_owned()]);
    Settings {
        upstreams: BTreeMap::from([("shop".to_owned(), shop)]),
        groups: ["dev1", "dev2"].map(|d| (d.to_owned(), support())).into(),
    }
}

fn budgets(text: &str) -> Budgets {
    Budgets::in_memory(settings(text))
}

/// With a clock that is set by hand: the time of day and the steady one, in milliseconds.
fn with_clock(text: &str) -> (Budgets, Arc<AtomicU64>, Arc<AtomicU64>) {
    let (wall, steady) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (w, s) = (wall.clone(), steady.clone());
    let clock = Clock::new(0, move || {
        (w.load(Ordering::Relaxed), s.load(Ordering::Relaxed))
    });
    let ledger = Arc::new(LocalLedger::forgetful(clock));
    (Budgets::new(ledger, settings(text)), wall, steady)
}

fn customers() -> Touched {
    Touched::new([TouchedRelation {
        schema: "public".to_owned(),
        name: "customers".to_owned(),
        sensitive: vec!["email".to_owned()],
    }])
}

/// A statement that would like to read `rows` rows of 100 bytes, one by one; how many it gets, and why no more.
async fn read(account: &Account, touched: &Touched, rows: u64) -> (u64, Option<Refusal>) {
    let mut spending = match account.begin(touched).await {
        Ok(spending) => spending,
        Err(refusal) => return (0, Some(refusal)),
    };
    let mut got = 0;
    let mut refused = None;
    while got < rows {
        if !spending.spend(1, 100)
            && let Err(refusal) = spending.more(1, 100).await
        {
            refused = Some(refusal);
            break;
        }
        got += 1;
    }
    spending.end().await;
    (got, refused)
}

#[track_caller]
fn check_refused(refused: Option<Refusal>, expected: &[&str]) {
    let refusal = refused.unwrap();
    assert_eq!(refusal.sqlstate, SqlState::CONFIGURATION_LIMIT_EXCEEDED);
    let text = refusal.to_string();
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[tokio::test]
async fn a_read_is_cut_at_exactly_its_limit_and_nothing_resets_it() {
    let text = "[[budget]]\nwho = [\"*\"]\nper = \"1d\"\nrows = 1000\n";
    let budgets = budgets(text);
    let all = Touched::default();
    let (got, refused) = read(&budgets.account("shop", "dev1"), &all, 5_000).await;
    assert_eq!(got, 1_000);
    check_refused(
        refused,
        &[
            "read budget used up: 1000 rows per 1d",
            "1000 of them are used",
            "It is refilled at 2",
            "The limit stands at p.toml:1",
            "ask data@example.org for more: devinprod budget grant dev1 --rows 1000 --for 1h --upstream shop --because",
        ],
    );
    // Another connection, a reload of a file that says it elsewhere, a move to another group.
    assert_eq!(read(&budgets.account("shop", "dev1"), &all, 1).await.0, 0);
    budgets.reload(settings(&format!("\n\n\n{text}")));
    assert_eq!(read(&budgets.account("shop", "dev1"), &all, 1).await.0, 0);
    // Somebody else has their own.
    assert_eq!(read(&budgets.account("shop", "dev2"), &all, 7).await.0, 7);
}

#[tokio::test]
async fn a_raised_limit_holds_at_once_and_keeps_what_was_spent() {
    let budgets = budgets("[[budget]]\nwho = [\"*\"]\nper = \"1d\"\nrows = 100\n");
    let account = budgets.account("shop", "dev1");
    assert_eq!(read(&account, &customers(), 500).await.0, 100);
    budgets.reload(settings(
        "[[budget]]\nwho = [\"@support\"]\nper = \"1d\"\nrows = 150\n",
    ));
    assert_eq!(read(&account, &customers(), 500).await.0, 50);
    let mut without = settings(
        "[[budget]]\nwho = [\"@support\"]\nper = \"1d\"\nrows = 900\n[[budget]]\nwho = [\"*\"]\nper = \"1d\"\nrows = 160\n",
    );
    without.groups.clear();
    budgets.reload(without);
    assert_eq!(
        read(&account, &customers(), 500).await.0,
        10,
        "out of the group"
    );
}

#[tokio::test]
async fn what_is_not_read_is_given_back() {
    let budgets =
        budgets("[[budget]]\nwho = [\"*\"]\nper = \"1d\"\nrows = 1000\nbytes = 100_000\n");
    let account = budgets.account("shop", "dev1");
    let all = Touched::default();
    for _ in 0..100 {
        assert_eq!(read(&account, &all, 1).await, (1, None));
    }
    let lines = budgets.list(Some("dev1")).await.unwrap();
    let used: Vec<_> = lines
        .iter()
        .map(|line| (line.budget.as_str(), line.used))
        .collect();
    assert_eq!(
        used,
        [("rows per 1d", Some(100)), ("bytes per 1d", Some(10_000))]
    );
    // A statement that is dropped in its middle gives back, too.
    let mut spending = account.begin(&all).await.unwrap();
    spending.more(1, 100).await.unwrap();
    drop(spending);
    tokio::task::yield_now().await;
    let lines = budgets.list(Some("dev1")).await.unwrap();
    assert_eq!(lines[0].used, Some(101));
    assert_eq!(read(&account, &all, 5_000).await.0, 899);
}

#[tokio::test]
async fn the_tightest_of_several_limits_holds() {
    let budgets = budgets(
        "[[budget]]\nwho = [\"*\"]\nper = \"1d\"\nrows = 1000\n\
         [[budget]]\nwho = [\"*\"]\nsensitive = true\nper = \"1d\"\nrows = 300\n\
         [[budget]]\nwho = [\"@support\"]\ntogether = true\nper = \"7d\"\nrows = 450\n\
         [[budget]]\nwho = [\"*\"]\nper = \"1d\"\nbytes = \"1MB\"\nrows_per_statement = 200\n",
    );
    let account = budgets.account("shop", "dev1");
    let (got, refused) = read(&account, &customers(), 5_000).await;
    assert_eq!(got, 200);
    check_refused(refused, &["more than 200 rows in one statement"]);
    let (got, refused) = read(&account, &customers(), 5_000).await;
    assert_eq!(got, 100);
    check_refused(refused, &["300 rows of masked tables per 1d"]);
    // What is not sensitive goes on, until the group has used up what it shares.
    let other = budgets.account("shop", "dev2");
    assert_eq!(read(&other, &Touched::default(), 100).await.0, 100);
    let (got, refused) = read(&account, &Touched::default(), 5_000).await;
    assert_eq!(got, 50);
    check_refused(refused, &["450 rows per 7d", "which the group shares"]);
}

#[tokio::test]
async fn nothing_is_allowed_where_the_limit_is_nothing() {
    let zero = "[[budget]]\nwho = [\"*\"]\ntable = \"public.customers\"\nper = \"1h\"\nrows = 0\n";
    let budgets = budgets(zero);
    let account = budgets.account("shop", "dev1");
    let (got, refused) = read(&account, &customers(), 1).await;
    assert_eq!(got, 0);
    check_refused(refused, &["0 rows of public.customers per 1h"]);
    assert_eq!(read(&account, &Touched::default(), 9).await, (9, None));
    assert_eq!(read(&account, &Touched::unknown(), 9).await.0, 0);
}

#[tokio::test]
async fn amounts_near_the_end_of_the_numbers_do_not_wrap() {
    let most = i64::MAX;
    let budgets = budgets(&format!(
        "[[budget]]\nwho = [\"*\"]\nper = \"1d\"\nbytes = {most}\nrows = {most}\n"
    ));
    let account = budgets.account("shop", "dev1");
    let mut spending = account.begin(&Touched::default()).await.unwrap();
    spending.more(1, u64::MAX).await.unwrap_err();
    spending.more(u64::MAX, 1).await.unwrap_err();
    spending.more(1, i64::MAX as u64).await.unwrap();
    spending.more(1, 1).await.unwrap_err();
    let mut free = Spending::unlimited();
    assert!(free.spend(u64::MAX, u64::MAX));
    free.more(u64::MAX, u64::MAX).await.unwrap();
}

#[tokio::test]
async fn a_window_ends_when_time_has_passed_and_not_when_the_clock_is_put_back() {
    let (budgets, wall, steady) =
        with_clock("[[budget]]\nwho = [\"*\"]\nper = \"1h\"\nrows = 10\n");
    const HOUR: u64 = 3_600_000;
    let set = |clock: &AtomicU64, value| clock.store(value, Ordering::Relaxed);
    let account = budgets.account("shop", "dev1");
    let all = Touched::default();
    set(&wall, 100 * HOUR + 5);
    assert_eq!(read(&account, &all, 50).await.0, 10);
    for back in [99 * HOUR, 0, 100 * HOUR] {
        set(&wall, back);
        assert_eq!(read(&account, &all, 50).await.0, 0, "at {back}");
    }
    set(&steady, HOUR);
    assert_eq!(read(&account, &all, 50).await.0, 10);
    set(&wall, 102 * HOUR);
    assert_eq!(read(&account, &all, 50).await.0, 10);
}

#[tokio::test]
async fn what_is_given_back_too_late_opens_nothing() {
    let (budgets, wall, _) = with_clock("[[budget]]\nwho = [\"*\"]\nper = \"1h\"\nrows = 100\n");
    let account = budgets.account("shop", "dev1");
    let all = Touched::default();
    let mut spending = account.begin(&all).await.unwrap();
    spending.more(1, 0).await.unwrap();
    wall.store(3_600_000, Ordering::Relaxed);
    assert_eq!(read(&account, &all, 60).await.0, 60);
    spending.end().await;
    assert_eq!(read(&account, &all, 60).await.0, 40);
}

#[tokio::test]
async fn statements_are_counted_and_so_are_the_connections_where_one_runs() {
    let budgets =
        budgets("[[budget]]\nwho = [\"*\"]\nper = \"1d\"\nstatements = 4\nconcurrent = 2\n");
    let all = Touched::default();
    let [first, second, third] = [(); 3].map(|()| budgets.account("shop", "dev1"));
    let one = first.begin(&all).await.unwrap();
    // What one connection sends in one go runs one after the other.
    let behind = first.begin(&all).await.unwrap();
    let two = second.begin(&all).await.unwrap();
    let refused = third.begin(&all).await.unwrap_err();
    check_refused(Some(refused), &["more than 2 statements at the same time"]);
    assert!(budgets.account("shop", "dev2").begin(&all).await.is_ok());
    drop(one);
    assert!(
        third.begin(&all).await.is_err(),
        "one of the two still runs"
    );
    drop(behind);
    // Whatever happens to a statement, it no longer runs.
    let task = tokio::spawn(async move {
        let _two = two;
        panic!("as it happens");
    });
    assert!(task.await.is_err());
    let three = third.begin(&all).await.unwrap();
    three.end().await;
    let lines = budgets.list(Some("dev1")).await.unwrap();
    let used: Vec<_> = lines.iter().map(|line| line.used).collect();
    assert_eq!(used, [Some(4), Some(0)]);
    let refused = first.begin(&all).await.unwrap_err();
    check_refused(Some(refused), &["read budget used up: 4 statements per 1d"]);
}

#[tokio::test]
async fn guesses_close_what_is_masked_and_nothing_else() {
    let budgets =
        budgets("[[budget]]\nwho = [\"*\"]\nsensitive = true\nper = \"1d\"\nfailed_guesses = 2\n");
    let account = budgets.account("shop", "dev1");
    let touched = customers();
    for (what, state) in [
        (&touched, "42601"),
        (&Touched::default(), "23505"),
        (&touched, "23505"),
    ] {
        account.failed_guess(what, state).await;
    }
    assert!(account.begin(&touched).await.is_ok());
    account.failed_guess(&touched, "42501").await;
    let refused = account.begin(&touched).await.unwrap_err();
    check_refused(
        Some(refused),
        &[
            "too many failed guesses",
            "2 failed guesses of masked tables per 1d",
            "--failed-guesses",
        ],
    );
    assert!(account.begin(&Touched::default()).await.is_ok());
}

#[tokio::test]
async fn near_the_limit_there_is_one_notice_per_window() {
    let (budgets, wall, _) = with_clock("[[budget]]\nwho = [\"*\"]\nper = \"1h\"\nrows = 1000\n");
    let all = Touched::default();
    let mut told = Vec::new();
    for hour in 0..2 {
        wall.store(hour * 3_600_000, Ordering::Relaxed);
        for _ in 0..10 {
            let account = budgets.account("shop", "dev1");
            let mut spending = account.begin(&all).await.unwrap();
            for _ in 0..100 {
                if !spending.spend(1, 1) {
                    spending.more(1, 1).await.unwrap();
                }
            }
            told.extend(spending.notices());
            spending.end().await;
        }
        assert_eq!(told.len(), hour as usize + 1, "{told:?}");
    }
    let text = told[0].to_string();
    assert!(text.starts_with("NOTICE 00000: 8"), "{text}");
    assert!(text.contains("of 1000 rows per 1h are used on the upstream \"shop\""));
}

#[tokio::test]
async fn a_grant_is_used_up_once_and_ends() {
    let (budgets, wall, _) = with_clock("[[budget]]\nwho = [\"*\"]\nper = \"1h\"\nrows = 10\n");
    let account = budgets.account("shop", "dev1");
    let all = Touched::default();
    assert_eq!(read(&account, &all, 50).await.0, 10);
    let allowed = |developer: &str, upstream: Option<&str>, measure: &str| Allowed {
        developer: developer.to_owned(),
        upstream: upstream.map(str::to_owned),
        measure: measure.to_owned(),
        amount: 100,
        seconds: 7_200,
    };
    for wrong in [
        allowed("dev3", None, "rows"),
        allowed("dev1", Some("shoe"), "rows"),
        allowed("dev1", None, "tables"),
    ] {
        assert!(budgets.grant(&wrong).await.is_err(), "{wrong:?}");
    }
    budgets.grant(&allowed("dev2", None, "rows")).await.unwrap();
    budgets
        .grant(&allowed("dev1", None, "bytes"))
        .await
        .unwrap();
    assert_eq!(read(&account, &all, 50).await.0, 0, "that was for others");
    budgets
        .grant(&allowed("dev1", Some("shop"), "rows"))
        .await
        .unwrap();
    assert_eq!(read(&account, &all, 30).await.0, 30);
    // The next window has its own rows, and then the rest of the grant.
    wall.store(3_600_000, Ordering::Relaxed);
    assert_eq!(read(&account, &all, 500).await.0, 80);
    let lines = budgets.list(Some("dev1")).await.unwrap();
    let grant = lines
        .iter()
        .find(|line| line.budget == "rows granted")
        .unwrap();
    assert_eq!((grant.used, grant.limit), (Some(100), 100));
    budgets.grant(&allowed("dev1", None, "rows")).await.unwrap();
    wall.store(3 * 3_600_000, Ordering::Relaxed);
    assert_eq!(read(&account, &all, 500).await.0, 10, "it has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_connections_at_once_never_read_more_together() {
    let budgets = budgets("[[budget]]\nwho = [\"*\"]\nper = \"7d\"\nrows = 20_000\n");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let account = budgets.account("shop", "dev1");
        tasks.spawn(async move {
            let mut got = 0;
            loop {
                let (rows, refused) = read(&account, &Touched::default(), 333).await;
                got += rows;
                if refused.is_some() {
                    return got;
                }
            }
        });
    }
    let got: u64 = tasks.join_all().await.iter().sum();
    assert!(got <= 20_000, "{got}");
    // And what is left after all of them have stopped can still be read.
    let rest = read(
        &budgets.account("shop", "dev1"),
        &Touched::default(),
        20_000,
    )
    .await;
    assert_eq!(got + rest.0, 20_000);
}
