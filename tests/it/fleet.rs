//! Several proxies with one ledger in a Valkey or Redis server: what they let through together is one limit, also while the server is
//! away, slow, emptied, or wrong about the time.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use devinprod::audit::{Event, EventKind, Events, Sink, Writer};
use devinprod::budget::ledger::shared::{Address, OpenError, SharedSettings, Unreachable};
use devinprod::budget::ledger::{
    Counter, Grant, Ledger, Limit, Outcome, Share, SharedLedger, Source, Unused, Want, pool,
};
use devinprod::policy::{Measure, Scope};

use super::chaos_kit::eventually;
use super::harness::keyserver::KeyServer;

/// So long that no test sees its end.
pub const AGE: Duration = Duration::from_secs(3_650_000 * 86_400);

/// A ledger of one proxy, with a folder and an audit of its own.
pub struct Proxy {
    pub ledger: SharedLedger,
    events: Kept,
    _writer: Writer,
    folder: Arc<tempfile::TempDir>,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Event>>>);

impl Sink for Kept {
    fn write(&mut self, events: &[Event]) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
}

fn settings(server: &KeyServer, unreachable: Unreachable, proxies: u64) -> SharedSettings {
    SharedSettings {
        address: Address::parse(&server.url()).unwrap(),
        prefix: "test".to_owned(),
        unreachable,
        proxies: proxies.try_into().unwrap(),
    }
}

/// One of several proxies with this server.
pub async fn proxy(server: &KeyServer, unreachable: Unreachable, proxies: u64) -> Proxy {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    proxy_in(folder, settings(server, unreachable, proxies), 0).await
}

/// One of several proxies with the server at this address.
pub async fn proxy_at(address: Address) -> Proxy {
    let settings = SharedSettings {
        address,
        prefix: "test".to_owned(),
        unreachable: Unreachable::Refuse,
        proxies: 2.try_into().unwrap(),
    };
    proxy_in(Arc::new(tempfile::tempdir().unwrap()), settings, 0).await
}

/// One whose machine's clock is off by so many milliseconds.
async fn proxy_in(folder: Arc<tempfile::TempDir>, settings: SharedSettings, off: i64) -> Proxy {
    let events = Kept::default();
    let (handle, writer) = Events::start(events.clone());
    let wall = move || now().checked_add_signed(off).unwrap();
    let ledger = loop {
        let opened = SharedLedger::open_with(settings.clone(), folder.path(), handle.clone(), wall);
        match opened.await {
            // Who had it may still be about to let go of it.
            Err(OpenError::Locked(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => break opened.unwrap(),
        }
    };
    Proxy {
        ledger,
        events,
        _writer: writer,
        folder,
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}

/// A limit on rows of a developer.
pub fn limit(developer: &str, per: Duration, limit: u64) -> Limit {
    let counter = Counter::new("shop", developer, &Scope::default(), Measure::Rows, per);
    Limit { counter, limit }
}

fn want(limits: &[Limit], needed: u64, wished: u64) -> Want {
    Want {
        limits: limits.into(),
        pools: [pool(None, "dev1", Measure::Rows)].into(),
        needed,
        wished,
    }
}

impl Proxy {
    /// Reserves exactly this; None if it is refused.
    pub async fn take(&self, limit: &Limit, amount: u64) -> Option<Share> {
        let wants = [want(std::slice::from_ref(limit), amount, amount)];
        match self.ledger.reserve(&wants).await.unwrap() {
            Outcome::Reserved(shares) => shares.into_iter().next(),
            Outcome::Refused { .. } => None,
        }
    }

    pub async fn is_refused(&self, limit: &Limit) -> bool {
        let wants = [want(std::slice::from_ref(limit), 1, 1)];
        self.ledger.reserve(&wants).await.is_err()
    }

    async fn used(&self, limit: &Limit) -> u64 {
        let counter = std::slice::from_ref(&limit.counter);
        self.ledger.read(counter).await.unwrap()[0].used
    }

    /// What was said when the ledger was lost, as soon as it is.
    pub async fn lost_because(&self) -> String {
        self.is_lost(1).await;
        let events = self.events.0.lock().unwrap();
        let lost = events.iter().find_map(|event| match &event.kind {
            EventKind::LedgerLost { what } => Some(what.clone()),
            _ => None,
        });
        lost.unwrap()
    }

    /// How often the ledger was lost, and how often it came back.
    fn told(&self) -> (usize, usize) {
        let events = self.events.0.lock().unwrap();
        let count = |is: fn(&EventKind) -> bool| events.iter().filter(|e| is(&e.kind)).count();
        (
            count(|kind| matches!(kind, EventKind::LedgerLost { .. })),
            count(|kind| matches!(kind, EventKind::LedgerBack)),
        )
    }

    async fn comes_back(&self, times: usize) {
        eventually("the ledger is back", || async { self.told().1 == times }).await;
    }

    async fn is_lost(&self, times: usize) {
        eventually("the ledger is lost", || async { self.told().0 == times }).await;
    }
}

#[tokio::test]
async fn what_one_proxy_took_the_other_has_not() {
    let server = KeyServer::start().await;
    let (a, b) = (
        proxy(&server, Unreachable::Refuse, 2).await,
        proxy(&server, Unreachable::Refuse, 2).await,
    );
    let hundred = limit("dev1", AGE, 100);
    let share = a.take(&hundred, 60).await.unwrap();
    assert!(b.take(&hundred, 41).await.is_none());
    assert!(b.take(&hundred, 30).await.is_some());
    let unused = Unused {
        limits: [hundred.clone()].into(),
        share,
        amount: 25,
    };
    a.ledger.give_back(&[unused]).await;
    assert_eq!(b.used(&hundred).await, 65);
    // All or nothing: the second want has too little left, so the first takes nothing.
    let other = limit("dev2", AGE, 5);
    let wants = [
        want(std::slice::from_ref(&hundred), 10, 10),
        want(&[other.clone(), hundred.clone()], 6, 6),
    ];
    let outcome = b.ledger.reserve(&wants).await.unwrap();
    assert!(matches!(
        outcome,
        Outcome::Refused {
            want: 1,
            limit: 0,
            ..
        }
    ));
    assert_eq!((a.used(&hundred).await, a.used(&other).await), (65, 0));
    assert_eq!(a.told(), (0, 0));
}

#[tokio::test]
async fn counts_are_exact_to_the_last_of_64_bits() {
    let server = KeyServer::start().await;
    let proxy = proxy(&server, Unreachable::Refuse, 1).await;
    let all = limit("dev1", AGE, u64::MAX);
    let mut used = 0;
    for amount in [
        (1 << 53) + 1,
        2,
        (1 << 32) - 1,
        1,
        u64::MAX / 2,
        1_234_567_890_123_456_789,
    ] {
        let share = proxy.take(&all, amount).await.unwrap();
        used += amount;
        assert_eq!((share.amount, share.levels[0].used), (amount, used));
    }
    let rest = u64::MAX - used;
    assert!(proxy.take(&all, rest + 1).await.is_none());
    let share = proxy.take(&all, rest).await.unwrap();
    let unused = Unused {
        limits: [all.clone()].into(),
        share,
        amount: 3,
    };
    proxy.ledger.give_back(&[unused]).await;
    assert_eq!(proxy.used(&all).await, u64::MAX - 3);
    // More than there are numbers is the largest one, not a small one.
    let limits = std::slice::from_ref(&all);
    proxy.ledger.charge(limits, u64::MAX).await.unwrap();
    assert_eq!(proxy.used(&all).await, u64::MAX);
}

#[tokio::test]
async fn without_the_ledger_nothing_is_read_or_each_reads_its_share() {
    let mut server = KeyServer::start().await;
    let refusing = proxy(&server, Unreachable::Refuse, 4).await;
    let sharing = proxy(&server, Unreachable::Share, 4).await;
    let hundred = limit("dev1", AGE, 100);
    refusing.take(&hundred, 20).await.unwrap();
    sharing.take(&hundred, 20).await.unwrap();
    server.kill();

    assert!(refusing.is_refused(&hundred).await);
    let unlimited = [want(&[], 1, 7)];
    assert!(refusing.ledger.reserve(&unlimited).await.is_ok());
    // A fourth of the sixty that are left, and never more by asking again.
    assert!(sharing.take(&hundred, 16).await.is_none());
    let share = sharing.take(&hundred, 15).await.unwrap();
    assert_eq!(share.levels[0].used, 55);
    assert!(sharing.take(&hundred, 1).await.is_none());
    refusing.is_lost(1).await;
    sharing.is_lost(1).await;
    let grant = Grant {
        pool: pool(None, "dev1", Measure::Rows),
        amount: 5,
        lasts: AGE,
    };
    assert!(sharing.ledger.grant(&grant).await.is_err());

    // It comes back empty: both say what they have seen, and what was read meanwhile is in it.
    server.start_again(&[]).await;
    refusing.comes_back(1).await;
    sharing.comes_back(1).await;
    assert_eq!(refusing.used(&hundred).await, 55);
    assert!(refusing.take(&hundred, 46).await.is_none());
    assert!(refusing.take(&hundred, 45).await.is_some());
    let unused = Unused {
        limits: [hundred.clone()].into(),
        share,
        amount: 10,
    };
    sharing.ledger.give_back(&[unused]).await;
    assert_eq!(refusing.used(&hundred).await, 90);
    assert_eq!((refusing.told(), sharing.told()), ((1, 1), (1, 1)));
}

#[tokio::test]
async fn a_ledger_that_forgets_refills_nothing() {
    let mut server = KeyServer::start().await;
    let a = proxy(&server, Unreachable::Refuse, 2).await;
    let b = proxy(&server, Unreachable::Refuse, 2).await;
    let hundred = limit("dev1", AGE, 100);
    for way in ["emptied", "restarted", "one is evicted"] {
        let hundred = limit(way, AGE, 100);
        // The first has seen less than the second.
        a.take(&hundred, 50).await.unwrap();
        b.take(&hundred, 40).await.unwrap();
        match way {
            "emptied" => {
                server.command(&["FLUSHALL"]).await;
            }
            "restarted" => {
                server.kill();
                server.start_again(&[]).await;
                a.comes_back(1).await;
            }
            _ => {
                let key = format!("test:{{budgets}}:{}", hundred.counter.key);
                let gone = server.command(&["DEL", &key]).await;
                assert_eq!(gone, redis::Value::Int(1));
                // Only who has seen it can notice; the other hears of it then.
                b.used(&hundred).await;
            }
        }
        assert!(a.take(&hundred, 11).await.is_none(), "{way}");
        assert!(a.take(&hundred, 10).await.is_some(), "{way}");
        assert_eq!(b.used(&hundred).await, 100, "{way}");
    }
    // An older copy of it comes back, by another server.
    a.take(&hundred, 30).await.unwrap();
    server.command(&["SAVE"]).await;
    b.take(&hundred, 50).await.unwrap();
    server.kill();
    server.start_again(&[]).await;
    a.comes_back(2).await;
    assert!(a.take(&hundred, 21).await.is_none());
    assert!(a.take(&hundred, 20).await.is_some());
}

#[tokio::test]
async fn a_grant_is_the_fleets_and_used_up_once() {
    let mut server = KeyServer::start().await;
    let a = proxy(&server, Unreachable::Share, 2).await;
    let b = proxy(&server, Unreachable::Share, 2).await;
    let none = limit("dev1", AGE, 0);
    assert!(a.take(&none, 1).await.is_none());
    let grant = Grant {
        pool: pool(None, "dev1", Measure::Rows),
        amount: 30,
        lasts: Duration::from_secs(3_600),
    };
    a.ledger.grant(&grant).await.unwrap();
    let share = b.take(&none, 20).await.unwrap();
    assert!(matches!(share.source, Source::Grant(_)));
    assert!(a.take(&none, 11).await.is_none());
    let unused = Unused {
        limits: [none.clone()].into(),
        share,
        amount: 5,
    };
    b.ledger.give_back(&[unused]).await;
    a.take(&none, 15).await.unwrap();
    let granted = a
        .ledger
        .grants(std::slice::from_ref(&grant.pool))
        .await
        .unwrap();
    assert_eq!((granted[0].amount, granted[0].left), (30, 0));
    // Where nobody can look them up, there are none.
    server.kill();
    assert!(a.take(&none, 1).await.is_none());
    assert!(a.ledger.grants(&[grant.pool]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_ledger_that_hangs_is_away_and_what_is_read_meanwhile_is_told_once() {
    let server = KeyServer::start().await;
    let hundred = limit("dev1", AGE, 100);
    let a = proxy(&server, Unreachable::Share, 2).await;
    let b = proxy(&server, Unreachable::Share, 2).await;
    let refusing = proxy(&server, Unreachable::Refuse, 2).await;
    a.take(&hundred, 20).await.unwrap();
    b.used(&hundred).await;
    for round in 1..=2 {
        server.freeze();
        // Not one of these waits for ever.
        assert!(refusing.is_refused(&hundred).await);
        a.is_lost(round).await;
        b.is_lost(round).await;
        a.take(&hundred, 10).await.unwrap();
        b.take(&hundred, 5).await.unwrap();
        let charged = limit("dev2", AGE, 9);
        let limits = std::slice::from_ref(&charged);
        refusing.ledger.charge(limits, 2).await.unwrap();
        server.thaw();
        for proxy in [&a, &b, &refusing] {
            proxy.comes_back(round).await;
        }
        // What hung was done in the end: nobody got the answer, so it may stay counted.
        let used = b.used(&hundred).await;
        let told = 20 + 15 * round as u64;
        assert!((told..=told + 2 * round as u64).contains(&used), "{used}");
        assert_eq!(a.used(&charged).await, 2 * round as u64);
    }
}

#[tokio::test]
async fn the_servers_clock_is_the_fleets() {
    let mut server = KeyServer::start().await;
    let day: i64 = 86_400_000;
    let hour = Duration::from_secs(3_600);
    let proxies = [-day, 0, 3 * day].map(|off| {
        let settings = settings(&server, Unreachable::Share, 3);
        proxy_in(Arc::new(tempfile::tempdir().unwrap()), settings, off)
    });
    let proxies = futures::future::join_all(proxies).await;
    // Not so near to the full hour that a window ends in between.
    while now() % 3_600_000 > 3_540_000 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let window = now() / 3_600_000;
    let ninety = limit("dev1", hour, 90);
    for proxy in &proxies {
        let share = proxy.take(&ninety, 10).await.unwrap();
        assert_eq!(share.levels[0].window, window);
        assert!(share.levels[0].refilled_in <= hour);
    }
    assert_eq!(proxies[0].used(&ninety).await, 30);
    // All have heard of all thirty.
    for proxy in &proxies {
        proxy.used(&ninety).await;
    }
    server.kill();
    for proxy in &proxies {
        assert!(proxy.take(&ninety, 21).await.is_none());
        let share = proxy.take(&ninety, 20).await.unwrap();
        assert_eq!(share.levels[0].window, window);
    }
    server.start_again(&[]).await;
    for proxy in &proxies {
        proxy.comes_back(1).await;
    }
    assert_eq!(proxies[1].used(&ninety).await, 90);
}

#[tokio::test]
async fn a_proxy_that_ends_knows_what_it_had_seen() {
    let mut server = KeyServer::start().await;
    let hundred = limit("dev1", AGE, 100);
    let settings = settings(&server, Unreachable::Share, 2);
    let first = proxy(&server, Unreachable::Share, 2).await;
    first.take(&hundred, 60).await.unwrap();
    let folder = Arc::clone(&first.folder);
    drop(first);
    // Nothing but this folder is left of the fleet.
    server.kill();
    let second = proxy_in(folder, settings.clone(), 0).await;
    second.is_lost(1).await;
    assert!(second.take(&hundred, 21).await.is_none());
    second.take(&hundred, 20).await.unwrap();
    let folder = Arc::clone(&second.folder);
    drop(second);
    server.start_again(&[]).await;
    let third = proxy_in(folder, settings, 0).await;
    assert_eq!(third.used(&hundred).await, 80);
    assert!(third.take(&hundred, 21).await.is_none());
    assert!(is_kept(third.folder.path()));
}

fn is_kept(folder: &Path) -> bool {
    folder.join("shared.life").is_file()
}

#[tokio::test]
async fn a_limit_is_one_whatever_runs_at_once() {
    let server = KeyServer::start().await;
    let proxies = [
        Arc::new(proxy(&server, Unreachable::Refuse, 2).await),
        Arc::new(proxy(&server, Unreachable::Refuse, 2).await),
    ];
    let began = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..20 {
        let proxy = Arc::clone(&proxies[number % 2]);
        tasks.push(tokio::spawn(async move {
            let limit = limit("dev1", AGE, 10_000);
            let mut got = 0;
            for wished in (1..64).cycle() {
                let wants = [want(std::slice::from_ref(&limit), 1, wished)];
                let Outcome::Reserved(shares) = proxy.ledger.reserve(&wants).await.unwrap() else {
                    return got;
                };
                got += shares[0].amount;
            }
            got
        }));
    }
    let mut sum = 0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    assert_eq!(sum, 10_000, "after {:?}", began.elapsed());
}
