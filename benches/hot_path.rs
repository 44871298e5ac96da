//! What every statement costs in the proxy itself, without a network: framing, the plan, the machine.
//!
//! `cargo bench --bench hot_path`

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use devinprod::plan::PlanCache;
use devinprod::sandbox::machine::{Machine, ScopeKind, Settings};
use devinprod::wire::frame;
use devinprod::wire::frontend::{self, Frontend, Target};

const QUERY: &str =
    "SELECT id, email, name FROM accounts WHERE email = $1 AND balance > $2 ORDER BY id LIMIT 10";

/// Parse, Bind, Describe, Execute, Sync: what a driver sends for one statement.
fn framing(c: &mut Criterion) {
    let mut bytes = BytesMut::new();
    frontend::parse(&mut bytes, b"", QUERY.as_bytes(), frontend::NO_TYPES);
    frontend::bind(&mut bytes, b"", b"", frontend::NO_PARAMETERS);
    frontend::describe(&mut bytes, Target::Portal, b"");
    frontend::execute(&mut bytes, b"", 0);
    frontend::sync(&mut bytes);
    let mut group = c.benchmark_group("framing");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("five messages", |b| {
        b.iter_batched(
            || bytes.clone(),
            |mut input| {
                let mut count = 0;
                while let Ok(Some(frame)) = frame::take(&mut input, 1 << 20) {
                    count += usize::from(Frontend::parse(frame).is_ok());
                }
                assert_eq!(count, 5);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn planning(c: &mut Criterion) {
    let cache = PlanCache::default();
    c.bench_function("plan, known text", |b| {
        b.iter(|| cache.plan(black_box(QUERY)))
    });
    let mut number = 0_u64;
    c.bench_function("plan, new text", |b| {
        b.iter_batched(
            || {
                number += 1;
                format!("{QUERY} OFFSET {number}")
            },
            |text| PlanCache::default().plan(&text),
            BatchSize::SmallInput,
        );
    });
}

/// What the machine does for a read and for a write of a client in no transaction block, the copy that it plans on included.
fn machine(c: &mut Criterion) {
    let (fresh, _) = Machine::begin("bench");
    let settings = Settings::default();
    c.bench_function("machine, read", |b| {
        b.iter(|| {
            let mut machine = fresh.clone();
            let mut ops = machine.enter(1, ScopeKind::Implicit, &settings, false);
            ops.extend(machine.commit(1));
            assert!(ops.is_empty(), "a read costs no savepoint");
            machine
        });
    });
    c.bench_function("machine, write", |b| {
        b.iter(|| {
            let mut machine = fresh.clone();
            let mut ops = machine.enter(1, ScopeKind::Implicit, &settings, false);
            ops.extend(machine.effect());
            ops.extend(machine.commit(1));
            assert_eq!(ops.len(), 3, "arm, release, savepoint");
            machine
        });
    });
}

criterion_group!(hot_path, framing, planning, machine);
criterion_main!(hot_path);
