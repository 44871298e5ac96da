//! No sequence of reservations, returns, grants, clocks and crashes lets more through than the limit.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::clock::Clock;
use super::*;

const HOUR: u64 = 3_600_000;

/// Two counters with windows of an hour and of a day; the second is in only some of the wants.
const LIMITS: [(u64, u64); 2] = [(HOUR, 100), (24 * HOUR, 150)];

#[derive(Debug, Clone)]
enum Step {
    Reserve {
        both: bool,
        needed: u64,
        wished: u64,
    },
    GiveBack {
        which: usize,
        amount: u64,
    },
    Clock {
        to: u64,
    },
    Grant {
        amount: u64,
        hours: u64,
    },
    /// The process is killed; after a flush, nothing may be forgotten, whatever stands torn at the file's end.
    Crash {
        flushed: bool,
        torn: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any::<bool>(), 0..40u64, 0..400u64).prop_map(|(both, needed, wished)| Step::Reserve {
            both,
            needed: needed.max(1),
            wished,
        }),
        4 => (0..8usize, 0..200u64).prop_map(|(which, amount)| Step::GiveBack { which, amount }),
        2 => (0..60u64).prop_map(|hour| Step::Clock { to: hour * HOUR / 2 }),
        1 => (0..50u64, 1..40u64).prop_map(|(amount, hours)| Step::Grant { amount, hours }),
        1 => (any::<bool>(), 0..40usize).prop_map(|(flushed, torn)| Step::Crash { flushed, torn }),
    ]
}

fn limits() -> Vec<Limit> {
    let limit = |(per, limit): (u64, u64)| Limit {
        counter: Counter::new(
            "shop",
            "dev1",
            &Scope::default(),
            Measure::Rows,
            Duration::from_millis(per),
        ),
        limit,
    };
    LIMITS.map(limit).to_vec()
}

fn open(folder: &Path, wall: &Arc<AtomicU64>) -> LocalLedger {
    let wall = Arc::clone(wall);
    LocalLedger::open_with(folder, |latest| {
        Clock::new(latest, move || (wall.load(Ordering::Relaxed), 0))
    })
    .unwrap()
}

/// What is on disk at this moment, as another process would find it after a kill.
fn killed(folder: &Path, torn: usize) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut text = std::fs::read(folder.join("budgets.ledger")).unwrap();
    text.extend("12345678 {\"count\":[\"[\\\"shop\\\",".bytes().take(torn));
    std::fs::write(copy.path().join("budgets.ledger"), text).unwrap();
    copy
}

#[derive(Default)]
struct Model {
    /// Let through by counter and window.
    through: HashMap<(usize, u64), u64>,
    /// What an unflushed crash may have forgotten of that.
    forgotten: HashMap<(usize, u64), u64>,
    from_grants: u64,
    forgotten_of_grants: u64,
    granted: u64,
    latest: u64,
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let runtime = Runtime::new().unwrap();
    let wall = Arc::new(AtomicU64::new(0));
    let mut folder = tempfile::tempdir().unwrap();
    let mut ledger = open(folder.path(), &wall);
    let mut held: Vec<Unused> = Vec::new();
    let mut model = Model::default();
    let mut unflushed: Vec<(usize, u64, u64)> = Vec::new();
    let mut unflushed_of_grants = 0;
    let pool = pool(None, "dev1", Measure::Rows);
    for step in steps {
        match *step {
            Step::Reserve {
                both,
                needed,
                wished,
            } => {
                let limits: Arc<[Limit]> =
                    limits().into_iter().take(1 + usize::from(both)).collect();
                let want = Want {
                    limits: Arc::clone(&limits),
                    pools: [Arc::clone(&pool)].into(),
                    needed,
                    wished: wished.max(needed),
                };
                let Outcome::Reserved(shares) = runtime.block_on(ledger.reserve(&[want])).unwrap()
                else {
                    continue;
                };
                let share = shares.into_iter().next().unwrap();
                prop_assert!(share.amount >= needed && share.amount <= wished.max(needed));
                match share.source {
                    Source::Grant(_) => {
                        model.from_grants += share.amount;
                        unflushed_of_grants += share.amount;
                    }
                    Source::Counters => {
                        for (number, level) in share.levels.iter().enumerate() {
                            let (per, _) = LIMITS[number];
                            prop_assert!(level.window <= model.latest / per, "refilled too early");
                            *model.through.entry((number, level.window)).or_default() +=
                                share.amount;
                            unflushed.push((number, level.window, share.amount));
                        }
                    }
                }
                let amount = share.amount;
                held.push(Unused {
                    limits,
                    share,
                    amount,
                });
            }
            Step::GiveBack { which, amount } => {
                let Some(index) = which.checked_rem(held.len()) else {
                    continue;
                };
                let unused = held.swap_remove(index);
                let amount = amount.min(unused.amount);
                match unused.share.source {
                    Source::Grant(_) => model.from_grants -= amount,
                    Source::Counters => {
                        for (number, level) in unused.share.levels.iter().enumerate() {
                            *model.through.get_mut(&(number, level.window)).unwrap() -= amount;
                        }
                    }
                }
                runtime.block_on(ledger.give_back(&[Unused { amount, ..unused }]));
            }
            Step::Clock { to } => {
                wall.store(to, Ordering::Relaxed);
                model.latest = model.latest.max(to);
            }
            Step::Grant { amount, hours } => {
                let grant = Grant {
                    pool: Arc::clone(&pool),
                    amount,
                    lasts: Duration::from_millis(hours * HOUR),
                };
                runtime.block_on(ledger.grant(&grant)).unwrap();
                model.granted += amount;
                // It is kept with all that came before.
                unflushed.clear();
                unflushed_of_grants = 0;
            }
            Step::Crash { flushed, torn } => {
                if flushed {
                    runtime.block_on(ledger.flush()).unwrap();
                } else {
                    for (number, window, amount) in &unflushed {
                        *model.forgotten.entry((*number, *window)).or_default() += amount;
                    }
                    model.forgotten_of_grants += unflushed_of_grants;
                }
                unflushed.clear();
                unflushed_of_grants = 0;
                let copy = killed(folder.path(), torn);
                drop(ledger);
                folder = copy;
                ledger = open(folder.path(), &wall);
                // Whoever held something is gone: it counts as read.
                held.clear();
            }
        }
        for ((number, window), amount) in &model.through {
            let (_, limit) = LIMITS[*number];
            let forgotten = model
                .forgotten
                .get(&(*number, *window))
                .copied()
                .unwrap_or(0);
            prop_assert!(
                *amount <= limit + forgotten,
                "{amount} of {limit} (+{forgotten}) in window {window} of counter {number}"
            );
        }
        prop_assert!(model.from_grants <= model.granted + model.forgotten_of_grants);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_lets_more_through(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps)?;
    }
}

fn used(runtime: &Runtime, ledger: &LocalLedger) -> Vec<u64> {
    let counters: Vec<Counter> = limits().into_iter().map(|limit| limit.counter).collect();
    let levels = runtime.block_on(ledger.read(&counters)).unwrap();
    levels.into_iter().map(|level| level.used).collect()
}

#[test]
fn what_was_spent_is_there_after_an_end_and_after_a_kill() {
    let runtime = Runtime::new().unwrap();
    let wall = Arc::new(AtomicU64::new(0));
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path(), &wall);
    runtime.block_on(ledger.charge(&limits(), 40)).unwrap();
    runtime.block_on(ledger.flush()).unwrap();
    let copy = killed(folder.path(), 7);
    assert_eq!(used(&runtime, &open(copy.path(), &wall)), [40, 40]);
    runtime
        .block_on(ledger.charge(&limits(), u64::MAX))
        .unwrap();
    drop(ledger);
    let ledger = open(folder.path(), &wall);
    assert_eq!(used(&runtime, &ledger), [u64::MAX, u64::MAX]);
    wall.store(HOUR, Ordering::Relaxed);
    assert_eq!(used(&runtime, &ledger), [0, u64::MAX]);
}

#[test]
fn all_or_nothing_is_taken() {
    let runtime = Runtime::new().unwrap();
    let ledger = LocalLedger::in_memory();
    let want = |limits: Vec<Limit>, needed| Want {
        limits: limits.into(),
        pools: Arc::from([]),
        needed,
        wished: needed,
    };
    let [hour, day]: [Limit; 2] = limits().try_into().unwrap();
    let wants = [
        want(vec![hour.clone()], 90),
        want(vec![day.clone(), hour], 20),
    ];
    let outcome = runtime.block_on(ledger.reserve(&wants)).unwrap();
    assert!(
        matches!(outcome, Outcome::Refused { want: 1, limit: 1, level } if level.used == 90),
        "{outcome:?}"
    );
    assert_eq!(used(&runtime, &ledger), [0, 0]);
}

#[test]
fn a_ledger_that_cannot_write_grants_nothing_until_it_can() {
    let runtime = Runtime::new().unwrap();
    let wall = Arc::new(AtomicU64::new(0));
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("state");
    let ledger = open(&folder, &wall);
    std::fs::rename(&folder, outer.path().join("away")).unwrap();
    ledger.write_to("/dev/full".as_ref());
    let want = [Want {
        limits: limits().into(),
        pools: Arc::from([]),
        needed: 1,
        wished: 1,
    }];
    let grant = Grant {
        pool: pool(None, "dev1", Measure::Rows),
        amount: 1,
        lasts: Duration::from_secs(60),
    };
    assert!(runtime.block_on(ledger.charge(&limits(), 5)).is_ok());
    assert!(runtime.block_on(ledger.flush()).is_err());
    assert!(runtime.block_on(ledger.reserve(&want)).is_err());
    assert!(runtime.block_on(ledger.charge(&limits(), 1)).is_err());
    assert!(runtime.block_on(ledger.grant(&grant)).is_err());
    // There is room again: what could not be written is written now.
    std::fs::rename(outer.path().join("away"), &folder).unwrap();
    while runtime.block_on(ledger.flush()).is_err() {}
    assert!(runtime.block_on(ledger.reserve(&want)).is_ok());
    drop(ledger);
    assert_eq!(used(&runtime, &open(&folder, &wall)), [7, 7]);
}

#[test]
fn the_file_stays_small_however_much_is_spent() {
    let runtime = Runtime::new().unwrap();
    let wall = Arc::new(AtomicU64::new(0));
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path(), &wall);
    let counter = |n: u64| Limit {
        counter: Counter::new(
            &"u".repeat(2_000),
            &n.to_string(),
            &Scope::default(),
            Measure::Rows,
            Duration::from_secs(1),
        ),
        limit: 1,
    };
    for round in 0..40 {
        wall.store(round * 1_000, Ordering::Relaxed);
        let all: Vec<Limit> = (0..50).map(counter).collect();
        runtime.block_on(ledger.charge(&all, 1)).unwrap();
        runtime.block_on(ledger.flush()).unwrap();
    }
    let size = folder
        .path()
        .join("budgets.ledger")
        .metadata()
        .unwrap()
        .len();
    assert!(size < 1_500_000, "{size}");
}
