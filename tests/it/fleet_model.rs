//! The ledger that proxies share answers as the one of a single proxy does, whatever is asked in whatever order.

use std::sync::Arc;
use std::time::Duration;

use devinprod::budget::ledger::shared::Unreachable;
use devinprod::budget::ledger::{
    Grant, Ledger, Level, Limit, LocalLedger, Outcome, Source, Unused, Want, pool,
};
use devinprod::policy::Measure;
use proptest::prelude::*;

use super::fleet::{AGE, limit, proxy};
use super::harness::keyserver::KeyServer;

#[derive(Debug, Clone)]
enum Step {
    Reserve(Vec<(u8, u64, u64)>),
    GiveBack(usize, u64),
    Charge(u64),
    Grant(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let count = || prop_oneof![0..60u64, 0..1_000u64, any::<u64>()];
    prop_oneof![
        8 => proptest::collection::vec((0..4u8, 0..60u64, count()), 1..3).prop_map(Step::Reserve),
        4 => (0..8usize, count()).prop_map(|(which, amount)| Step::GiveBack(which, amount)),
        1 => (0..30u64).prop_map(Step::Charge),
        1 => count().prop_map(Step::Grant),
    ]
}

/// What must be the same in both ledgers: all but the time, and the numbers of grants.
fn plain(outcome: Outcome) -> Outcome {
    let timeless = |level: Level| Level {
        refilled_in: Duration::ZERO,
        ..level
    };
    match outcome {
        Outcome::Reserved(mut shares) => {
            let several = shares.len() > 1;
            for share in &mut shares {
                for level in &mut share.levels {
                    *level = timeless(*level);
                    // Whether the others of the same reservation are in it nobody needs to know.
                    level.used = if several { 0 } else { level.used };
                }
                if let Source::Grant(id) = &mut share.source {
                    *id = 0;
                }
            }
            Outcome::Reserved(shares)
        }
        Outcome::Refused { want, limit, level } => Outcome::Refused {
            want,
            limit,
            level: Level {
                used: if want > 0 { 0 } else { level.used },
                ..timeless(level)
            },
        },
    }
}

async fn compare(
    steps: &[Step],
    developer: &str,
    ledgers: [&dyn Ledger; 2],
) -> Result<(), TestCaseError> {
    let small = limit(developer, AGE, 500);
    let large = limit(developer, AGE * 2, 800);
    let limits: [Arc<[Limit]>; 4] = [
        [].into(),
        [small.clone()].into(),
        [large.clone()].into(),
        [large.clone(), small.clone()].into(),
    ];
    let pools = [pool(None, developer, Measure::Rows)];
    let mut held: [Vec<Unused>; 2] = Default::default();
    for step in steps {
        match step {
            Step::Reserve(parts) => {
                let want = |(which, needed, wished): &(u8, u64, u64)| Want {
                    limits: limits[usize::from(*which)].clone(),
                    pools: pools.clone().into(),
                    needed: *needed,
                    wished: *wished,
                };
                let wants: Vec<Want> = parts.iter().map(want).collect();
                let one = ledgers[0].reserve(&wants).await.unwrap();
                let two = ledgers[1].reserve(&wants).await.unwrap();
                for (held, outcome) in held.iter_mut().zip([&one, &two]) {
                    if let Outcome::Reserved(shares) = outcome {
                        held.extend(wants.iter().zip(shares).map(|(want, share)| Unused {
                            limits: want.limits.clone(),
                            share: share.clone(),
                            amount: share.amount,
                        }));
                    }
                }
                prop_assert_eq!(plain(one), plain(two));
            }
            Step::GiveBack(which, amount) => {
                for (ledger, held) in ledgers.iter().zip(&mut held) {
                    if *which < held.len() {
                        let mut unused = held.swap_remove(*which);
                        unused.amount = unused.amount.min(*amount);
                        ledger.give_back(&[unused]).await;
                    }
                }
            }
            Step::Charge(amount) => {
                for ledger in ledgers {
                    ledger.charge(&limits[3], *amount).await.unwrap();
                }
            }
            Step::Grant(amount) => {
                for ledger in ledgers {
                    let grant = Grant {
                        pool: pools[0].clone(),
                        amount: *amount,
                        lasts: AGE / 10,
                    };
                    ledger.grant(&grant).await.unwrap();
                }
            }
        }
    }
    let counters = [small.counter, large.counter];
    let [one, two] = ledgers;
    let used = |levels: Vec<Level>| levels.iter().map(|l| l.used).collect::<Vec<_>>();
    prop_assert_eq!(
        used(one.read(&counters).await.unwrap()),
        used(two.read(&counters).await.unwrap())
    );
    prop_assert_eq!(
        grants_left(one, developer).await,
        grants_left(two, developer).await
    );
    Ok(())
}

async fn grants_left(ledger: &dyn Ledger, developer: &str) -> Vec<u64> {
    let pools = [pool(None, developer, Measure::Rows)];
    let granted = ledger.grants(&pools).await.unwrap();
    granted.iter().map(|granted| granted.left).collect()
}

#[test]
fn it_answers_as_the_ledger_of_one_proxy() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, shared) = runtime.block_on(async {
        let server = KeyServer::start().await;
        let proxy = proxy(&server, Unreachable::Refuse, 1).await;
        (server, proxy)
    });
    let mut number = 0;
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let number = std::cell::RefCell::new(&mut number);
    let result = runner.run(&proptest::collection::vec(step(), 1..25), |steps| {
        let developer = {
            let mut number = number.borrow_mut();
            **number += 1;
            format!("dev{number}")
        };
        let local = LocalLedger::in_memory();
        let ledgers: [&dyn Ledger; 2] = [&local, &shared.ledger];
        runtime.block_on(compare(&steps, &developer, ledgers))
    });
    drop(server);
    result.unwrap_or_else(|failed| panic!("{failed}"));
}
