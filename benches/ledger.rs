//! What a reservation of a read budget costs: in the process, on disk, and in a shared ledger.
//!
//! `cargo bench --bench ledger`; the shared one only with `LEDGER_URL`, such as `redis+unix:///run/valkey.sock` or
//! `rediss://…`: its keys begin with `bench`.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use devinprod::audit::{Events, Nowhere};
use devinprod::budget::ledger::shared::{Address, SharedSettings, Unreachable};
use devinprod::budget::ledger::{
    Counter, Ledger, Limit, LocalLedger, Outcome, SharedLedger, Want, pool,
};
use devinprod::policy::{Measure, Scope};
use tokio::runtime::Runtime;

/// How many connections reserve at the same time.
const CONNECTIONS: [u64; 2] = [1, 16];

/// One row of as many as there are.
fn want() -> Want {
    let week = Duration::from_secs(7 * 24 * 3_600);
    let limit = Limit {
        counter: Counter::new("shop", "dev1", &Scope::default(), Measure::Rows, week),
        limit: u64::MAX,
    };
    Want {
        limits: [limit].into(),
        pools: [pool(None, "dev1", Measure::Rows)].into(),
        needed: 1,
        wished: 1,
    }
}

/// The time until each of `connections` has made its part of `count` reservations.
async fn reserve(ledger: &Arc<dyn Ledger>, connections: u64, count: u64) -> Duration {
    let begun = Instant::now();
    let mut running = Vec::new();
    for connection in 0..connections {
        let ledger = ledger.clone();
        let part = count / connections + u64::from(connection < count % connections);
        running.push(tokio::spawn(async move {
            let wants = [want()];
            for _ in 0..part {
                let outcome = ledger.reserve(&wants).await;
                assert!(matches!(outcome, Ok(Outcome::Reserved(_))));
            }
        }));
    }
    for connection in running {
        assert!(connection.await.is_ok());
    }
    begun.elapsed()
}

async fn shared(folder: &Path) -> Option<Arc<dyn Ledger>> {
    let settings = SharedSettings {
        address: Address::parse(&std::env::var("LEDGER_URL").ok()?).ok()?,
        prefix: "bench".to_owned(),
        unreachable: Unreachable::Refuse,
        proxies: NonZeroU64::MIN,
    };
    let (events, _writer) = Events::start(Nowhere);
    let opened = SharedLedger::open(settings, folder, events).await;
    Some(Arc::new(opened.ok()?))
}

fn reservations(c: &mut Criterion) {
    let Ok(runtime) = Runtime::new() else { return };
    let Ok(folder) = tempfile::tempdir() else {
        return;
    };
    let ledgers = runtime.block_on(async {
        let local = LocalLedger::open(&folder.path().join("local")).ok();
        [
            (
                "in memory",
                Some(Arc::new(LocalLedger::in_memory()) as Arc<dyn Ledger>),
            ),
            ("on disk", local.map(|ledger| Arc::new(ledger) as _)),
            ("shared", shared(&folder.path().join("shared")).await),
        ]
    });
    let mut group = c.benchmark_group("ledger");
    for (name, ledger) in &ledgers {
        let Some(ledger) = ledger else { continue };
        for connections in CONNECTIONS {
            group.bench_function(format!("{name}, {connections} connections"), |b| {
                b.iter_custom(|count| runtime.block_on(reserve(ledger, connections, count)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, reservations);
criterion_main!(benches);
