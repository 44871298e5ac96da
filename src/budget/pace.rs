//! How fast and how many at once: what this process alone can see.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::rules::Rule;
use crate::policy::Rate;

/// The longest that a statement is held up.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The gates and meters of all accounts; what they count outlives connections and reloads.
#[derive(Debug, Default)]
pub(super) struct Paces {
    gates: Mutex<HashMap<String, Arc<Gate>>>,
    meters: Mutex<HashMap<String, Arc<Meter>>>,
}

/// How many connections have a statement running.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU64);

/// A connection with statements that run, as one gate counts it.
#[derive(Debug)]
pub(super) struct Running(Arc<Gate>);

/// How fast statements come.
#[derive(Debug)]
pub(super) struct Meter {
    rate: Rate,
    limiter: DefaultDirectRateLimiter,
}

impl Paces {
    pub(super) fn gate(&self, upstream: &str, rule: &Rule) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(key(upstream, rule)).or_default())
    }

    /// The meter; a new one only if the rate has changed.
    pub(super) fn meter(&self, upstream: &str, rule: &Rule, rate: Rate) -> Arc<Meter> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(upstream, rule);
        match meters.get(&key) {
            Some(meter) if meter.rate == rate => Arc::clone(meter),
            _ => {
                let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
                let limiter = RateLimiter::direct(quota);
                let meter = Arc::new(Meter { rate, limiter });
                meters.insert(key, Arc::clone(&meter));
                meter
            }
        }
    }
}

fn key(upstream: &str, rule: &Rule) -> String {
    format!("{:?}", (upstream, &rule.subject, &rule.scope))
}

impl Gate {
    /// One more, unless `limit` are running; it counts until what is returned is dropped.
    pub(super) fn enter(self: &Arc<Self>, limit: u64) -> Option<Running> {
        let enter = |running: u64| (running < limit).then(|| running.saturating_add(1));
        let order = Ordering::AcqRel;
        let entered = self.0.fetch_update(order, Ordering::Acquire, enter).is_ok();
        entered.then(|| Running(Arc::clone(self)))
    }

    pub(super) fn running(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Running {
    pub(super) fn is_of(&self, gate: &Arc<Gate>) -> bool {
        Arc::ptr_eq(&self.0, gate)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Meter {
    /// Waits for this statement's turn; false if that would take longer than `patience`.
    pub(super) async fn turn(&self, mut patience: Duration) -> bool {
        loop {
            let Err(early) = self.limiter.check() else {
                return true;
            };
            let wait = early.wait_time_from(DefaultClock::default().now());
            // Never a loop without a pause, should the clock say "now" twice.
            let wait = wait.max(Duration::from_millis(1));
            let Some(rest) = patience.checked_sub(wait) else {
                return false;
            };
            patience = rest;
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_goes_through_and_what_follows_waits() {
        let one = 1.try_into().unwrap();
        let burst = 3.try_into().unwrap();
        let meter = Meter {
            rate: Rate {
                per_second: one,
                burst,
            },
            // By the hour, so that a slow machine sees the same.
            limiter: RateLimiter::direct(Quota::per_hour(one).allow_burst(burst)),
        };
        for _ in 0..3 {
            assert!(meter.turn(Duration::ZERO).await);
        }
        assert!(!meter.turn(Duration::from_secs(60)).await);
        let fast = Rate {
            per_second: 1_000_000.try_into().unwrap(),
            burst: one,
        };
        let rule = Rule {
            subject: "dev1".to_owned(),
            scope: Default::default(),
            cap: super::super::rules::Cap::Rate(fast),
            place: String::new(),
        };
        let paces = Paces::default();
        for _ in 0..5 {
            assert!(paces.meter("shop", &rule, fast).turn(PATIENCE).await);
        }
        // The same meter, not a fresh one with a full burst.
        let meters = [(); 2].map(|()| paces.meter("shop", &rule, fast));
        assert!(Arc::ptr_eq(&meters[0], &meters[1]));
    }
}
