//! What handing a record over costs the session that does it: without a log, with one, and durable.
//!
//! `cargo bench --bench audit`; the folder is in `TMPDIR`, whose disk decides what durable costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use devinprod::audit::{
    AuditSettings, Does, Event, EventKind, Events, Log, Nowhere, StatementRecord, StatementShape,
    Verdict,
};
use tokio::runtime::Runtime;

/// How many clients record at the same time, where it makes a difference.
const CLIENTS: [u64; 2] = [1, 16];

fn event(shape: &Arc<StatementShape>) -> Event {
    let record = StatementRecord {
        application: "psql".to_owned(),
        shape: shape.clone(),
        rows: 10,
        bytes: 1_000,
        rows_written: 0,
        duration: Duration::from_micros(300),
        verdict: Verdict::Done,
        policy: None,
        values: None,
    };
    Event::now(EventKind::Statement(Box::new(record)))
        .developer("dev1")
        .upstream("shop")
        .sandbox("default")
        .client(([127, 0, 0, 1], 4711).into())
}

/// The time until each of `clients` has recorded, and settled, its part of `count` records.
async fn record(events: &Events, clients: u64, count: u64) -> Duration {
    let shape = Arc::new(StatementShape {
        text: "SELECT id, email, name FROM accounts WHERE email = ? AND balance > ? LIMIT ?"
            .to_owned(),
        fingerprint: "0123456789abcdef".to_owned(),
        does: Does::Read,
        relations: vec!["public.accounts".to_owned()],
        sensitive: vec!["public.accounts.email".to_owned()],
        opaque: false,
    });
    let begun = Instant::now();
    let mut running = Vec::new();
    for client in 0..clients {
        let (events, shape) = (events.clone(), shape.clone());
        let part = count / clients + u64::from(client < count % clients);
        running.push(tokio::spawn(async move {
            for _ in 0..part {
                let recorded = events.record(event(&shape)).await;
                assert!(recorded.is_ok() && events.settled().await.is_ok());
            }
        }));
    }
    for client in running {
        assert!(client.await.is_ok());
    }
    begun.elapsed()
}

fn hand_over(c: &mut Criterion) {
    let Ok(runtime) = Runtime::new() else { return };
    let Ok(folder) = tempfile::tempdir() else {
        return;
    };
    let mut group = c.benchmark_group("audit");
    group.throughput(Throughput::Elements(1));
    for clients in CLIENTS {
        for (name, durable) in [("off", None), ("on", Some(false)), ("durable", Some(true))] {
            let settings =
                AuditSettings::in_folder(&folder.path().join(format!("{name}{clients}")));
            let started = runtime.block_on(async {
                match durable {
                    None => Some(Events::start(Nowhere)),
                    Some(durable) => {
                        let log = Log::open(&settings).ok()?;
                        Some(Events::start_with(log, durable))
                    }
                }
            });
            let Some((events, writer)) = started else {
                continue;
            };
            group.bench_function(format!("{name}, {clients} clients"), |b| {
                b.iter_custom(|count| runtime.block_on(record(&events, clients, count)));
            });
            drop(events);
            runtime.block_on(writer.finished());
        }
    }
    group.finish();
}

criterion_group!(benches, hand_over);
criterion_main!(benches);
