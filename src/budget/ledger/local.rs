//! The ledger of one proxy: in memory, with a file behind it that one thread keeps up to date.
//!
//! A change is on disk a tenth of a second later, plus what the disk takes to sync: that is what a crash can lose. What was reserved
//! then counts as spent, since nobody is left to give it back. A ledger that cannot write grants nothing until it can again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::clock::Clock;
use super::journal::{Journal, Record};
use super::{
    Counter, Grant, Granted, Ledger, Level, Limit, Outcome, Share, Source, Unavailable, Unused,
    Want, batch, millis,
};

pub use super::journal::OpenError;

/// How long changes are collected before they are written.
const TICK: Duration = Duration::from_millis(100);

/// How long after a failed write the next is tried.
const RETRY: Duration = Duration::from_secs(1);

/// A ledger of one proxy.
#[derive(Debug)]
pub struct LocalLedger {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    /// Nobody writes anything down.
    forgetful: bool,
    state: Mutex<State>,
    wake: Condvar,
}

/// `unwritten` holds each thing once, so it cannot outgrow what there is to write.
#[derive(Debug, Default)]
struct State {
    counts: HashMap<Arc<str>, Count>,
    grants: BTreeMap<u64, Allowance>,
    unwritten: HashSet<Change>,
    /// A test's: the journal goes on in this file.
    #[cfg(test)]
    divert: Option<std::path::PathBuf>,
    waiting: Vec<oneshot::Sender<Result<(), Unavailable>>>,
    failed: Option<Unavailable>,
    /// The writer has nothing to do and must be woken.
    asleep: bool,
    stopping: bool,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    window: u64,
    per: u64,
    used: u64,
}

#[derive(Debug, Clone)]
struct Allowance {
    pool: Arc<str>,
    amount: u64,
    left: u64,
    /// Milliseconds since 1970.
    ends: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Change {
    Count(Arc<str>),
    Grant(u64),
}

impl LocalLedger {
    /// One that is forgotten with the process: for tests, and where nothing is limited.
    pub fn in_memory() -> Self {
        Self::forgetful(Clock::system(0))
    }

    /// The same, with a clock of its own.
    pub fn forgetful(clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                forgetful: true,
                state: Mutex::default(),
                wake: Condvar::new(),
            }),
            writer: None,
        }
    }

    /// The ledger in `folder`, which is made if need be. Nobody else can have it until this is dropped.
    ///
    /// # Errors
    /// Another process has it, it is none of ours, or the system says no.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(folder, Clock::system)
    }

    /// The same, with a clock that is told the latest time that the ledger has seen.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(folder: &Path, clock: impl FnOnce(u64) -> Clock) -> Result<Self, OpenError> {
        let (mut journal, records) = Journal::open(folder)?;
        let mut state = State::default();
        let latest = state.take_in(records);
        let clock = clock(latest);
        state.forget_the_past(clock.now());
        let io = |error| OpenError::Io(folder.to_owned(), error);
        journal.rewrite(&state.all(clock.now())).map_err(io)?;
        let shared = Arc::new(Shared {
            clock,
            forgetful: false,
            state: Mutex::new(state),
            wake: Condvar::new(),
        });
        let its = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("budget-ledger".to_owned())
            .spawn(move || its.write_all(journal))
            .map_err(io)?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    #[cfg(test)]
    pub(super) fn write_to(&self, path: &Path) {
        self.shared.state().divert = Some(path.to_owned());
    }

    /// Returns when everything so far is on disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn flush(&self) -> Result<(), Unavailable> {
        if self.shared.forgetful {
            return Ok(());
        }
        let (done, waits) = oneshot::channel();
        self.shared.state().waiting.push(done);
        self.shared.wake.notify_one();
        let gone = || Unavailable("the ledger of read budgets is closed".to_owned());
        waits.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// What it does at once, without anything to wait for: a shared ledger does it under a lock of its own.
impl LocalLedger {
    pub(super) fn health(&self) -> Result<(), Unavailable> {
        self.shared.state().health()
    }

    pub(super) fn now(&self) -> u64 {
        self.shared.clock.now()
    }

    /// Counters with the length of a window in milliseconds, the number of the window, and what is used of it.
    pub(super) fn counts(&self) -> Vec<(Arc<str>, u64, u64, u64)> {
        let state = self.shared.state();
        let counts = state.counts.iter();
        counts
            .map(|(key, count)| (Arc::clone(key), count.per, count.window, count.used))
            .collect()
    }

    /// A counter stands like this, whatever it was before.
    pub(super) fn note(&self, key: &Arc<str>, per: u64, window: u64, used: u64) {
        let mut state = self.shared.state();
        let count = Count { window, per, used };
        state.counts.insert(Arc::clone(key), count);
        state.unwritten.insert(Change::Count(Arc::clone(key)));
        self.shared.changed(&mut state);
    }

    pub(super) fn reserve_now(&self, wants: &[Want]) -> Result<Outcome, Unavailable> {
        let mut state = self.shared.state();
        state.health()?;
        let now = self.shared.clock.now();
        let mut shares: Vec<Share> = Vec::with_capacity(wants.len());
        for (number, want) in wants.iter().enumerate() {
            match state.take(want, now) {
                Ok(share) => shares.push(share),
                Err((limit, level)) => {
                    for (want, share) in wants.iter().zip(&shares) {
                        state.give_back(&want.limits, share, share.amount, now);
                    }
                    return Ok(Outcome::Refused {
                        want: number,
                        limit,
                        level,
                    });
                }
            }
        }
        self.shared.changed(&mut state);
        Ok(Outcome::Reserved(shares))
    }

    pub(super) fn give_back_now(&self, unused: &[Unused]) {
        let mut state = self.shared.state();
        let now = self.shared.clock.now();
        for part in unused {
            state.give_back(&part.limits, &part.share, part.amount, now);
        }
        self.shared.changed(&mut state);
    }

    pub(super) fn charge_now(&self, limits: &[Limit], amount: u64) -> Vec<Level> {
        let mut state = self.shared.state();
        let now = self.shared.clock.now();
        let limits = limits.iter();
        let levels = limits.map(|limit| state.add(&limit.counter, now, amount));
        let levels = levels.collect();
        self.shared.changed(&mut state);
        levels
    }
}

impl Drop for LocalLedger {
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the ledger of read budgets did not end well");
        }
    }
}

#[async_trait]
impl Ledger for LocalLedger {
    async fn reserve(&self, wants: &[Want]) -> Result<Outcome, Unavailable> {
        self.reserve_now(wants)
    }

    async fn give_back(&self, unused: &[Unused]) {
        self.give_back_now(unused);
    }

    async fn charge(&self, limits: &[Limit], amount: u64) -> Result<(), Unavailable> {
        self.charge_now(limits, amount);
        self.health()
    }

    async fn read(&self, counters: &[Counter]) -> Result<Vec<Level>, Unavailable> {
        let state = self.shared.state();
        let now = self.shared.clock.now();
        Ok(counters.iter().map(|c| state.level(c, now)).collect())
    }

    async fn grant(&self, grant: &Grant) -> Result<(), Unavailable> {
        {
            let mut state = self.shared.state();
            state.health()?;
            let now = self.shared.clock.now();
            let id = state.grants.last_key_value().map_or(1, |(id, _)| id + 1);
            let allowance = Allowance {
                pool: Arc::clone(&grant.pool),
                amount: grant.amount,
                left: grant.amount,
                ends: now.saturating_add(millis(grant.lasts)),
            };
            state.grants.insert(id, allowance);
            state.unwritten.insert(Change::Grant(id));
        }
        self.flush().await
    }

    async fn grants(&self, pools: &[Arc<str>]) -> Result<Vec<Granted>, Unavailable> {
        let state = self.shared.state();
        let now = self.shared.clock.now();
        let there = state.grants.values();
        Ok(there
            .filter(|grant| grant.ends > now && pools.contains(&grant.pool))
            .map(|grant| Granted {
                pool: Arc::clone(&grant.pool),
                amount: grant.amount,
                left: grant.left,
                ends_in: Duration::from_millis(grant.ends - now),
            })
            .collect())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the writer if there is something for it.
    fn changed(&self, state: &mut State) {
        // While it collects or writes, it need not be told of each change.
        if state.asleep && !state.unwritten.is_empty() {
            state.asleep = false;
            self.wake.notify_one();
        }
    }

    /// The writer's thread.
    fn write_all(&self, mut journal: Journal) {
        let mut state = self.state();
        loop {
            let idle = |s: &mut State| {
                s.asleep = s.unwritten.is_empty() && !s.urgent();
                s.asleep
            };
            state = wait(self.wake.wait_while(state, idle));
            let collects = |s: &mut State| !s.urgent();
            state = wait(self.wake.wait_timeout_while(state, TICK, collects)).0;
            let stopping = state.stopping;
            let waiting = std::mem::take(&mut state.waiting);
            let changes = std::mem::take(&mut state.unwritten);
            let now = self.clock.now();
            #[cfg(test)]
            if let Some(path) = state.divert.take() {
                journal.divert(&path);
            }
            // After a failure, half a line may stand there, and a new file may even be smaller.
            let anew = journal.is_large() || state.failed.is_some();
            let records = if anew {
                state.forget_the_past(now);
                state.all(now)
            } else {
                state.records(&changes, now)
            };
            drop(state);
            let result = if anew {
                journal.rewrite(&records)
            } else {
                journal.append(&records)
            };
            state = self.state();
            let result = result.map_err(|error| {
                tracing::error!(%error, "the ledger of read budgets cannot be written");
                Unavailable("the ledger of read budgets cannot be written".to_owned())
            });
            if result.is_err() {
                state.unwritten.extend(changes);
            }
            state.failed = result.clone().err();
            for waits in waiting {
                // Who no longer waits need not know.
                let _ = waits.send(result.clone());
            }
            if stopping {
                return;
            }
            if result.is_err() {
                let stays = |s: &mut State| !s.stopping;
                state = wait(self.wake.wait_timeout_while(state, RETRY, stays)).0;
            }
        }
    }
}

/// A lock is as good as ever after somebody panicked with it: each change is made whole.
fn wait<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn urgent(&self) -> bool {
        self.stopping || !self.waiting.is_empty()
    }

    fn health(&self) -> Result<(), Unavailable> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn level(&self, counter: &Counter, now: u64) -> Level {
        let window = counter.window(now);
        let count = self.counts.get(&counter.key);
        let used = count.filter(|count| count.window >= window);
        Level {
            window,
            used: used.map_or(0, |count| count.used),
            refilled_in: counter.refilled_in(now),
        }
    }

    fn add(&mut self, counter: &Counter, now: u64, amount: u64) -> Level {
        let mut level = self.level(counter, now);
        level.used = level.used.saturating_add(amount);
        let count = Count {
            window: level.window,
            per: millis(counter.per),
            used: level.used,
        };
        self.counts.insert(Arc::clone(&counter.key), count);
        self.unwritten
            .insert(Change::Count(Arc::clone(&counter.key)));
        level
    }

    /// Takes what is wanted; if there is too little, says which limit is in the way.
    fn take(&mut self, want: &Want, now: u64) -> Result<Share, (usize, Level)> {
        let levels: Vec<Level> = want
            .limits
            .iter()
            .map(|limit| self.level(&limit.counter, now))
            .collect();
        let left = want.limits.iter().zip(&levels).enumerate();
        let left = left.map(|(at, (limit, level))| (limit.limit.saturating_sub(level.used), at));
        let Some((left, tightest)) = left.min() else {
            return Ok(Share {
                amount: want.wished.max(want.needed),
                source: Source::Counters,
                levels,
            });
        };
        if left >= want.needed {
            if want.wished == 0 {
                return Ok(Share {
                    amount: 0,
                    source: Source::Counters,
                    levels,
                });
            }
            let amount = batch(left, want.needed, want.wished);
            let limits = want.limits.iter();
            return Ok(Share {
                amount,
                source: Source::Counters,
                levels: limits
                    .map(|limit| self.add(&limit.counter, now, amount))
                    .collect(),
            });
        }
        let fits = |grant: &Allowance| {
            grant.ends > now && grant.left >= want.needed && want.pools.contains(&grant.pool)
        };
        let grants = self.grants.iter_mut().filter(|(_, grant)| fits(grant));
        if let Some((&id, grant)) = grants.min_by_key(|(_, grant)| grant.ends) {
            let amount = batch(grant.left, want.needed, want.wished);
            grant.left -= amount;
            self.unwritten.insert(Change::Grant(id));
            return Ok(Share {
                amount,
                source: Source::Grant(id),
                levels,
            });
        }
        let level = levels.get(tightest).copied();
        Err((tightest, level.unwrap_or(NOTHING)))
    }

    fn give_back(&mut self, limits: &[Limit], share: &Share, amount: u64, now: u64) {
        let amount = amount.min(share.amount);
        match share.source {
            Source::Counters => {
                for (limit, level) in limits.iter().zip(&share.levels) {
                    let key = &limit.counter.key;
                    let Some(count) = self.counts.get_mut(key) else {
                        continue;
                    };
                    if count.window == level.window && limit.counter.window(now) == level.window {
                        count.used = count.used.saturating_sub(amount);
                        self.unwritten.insert(Change::Count(Arc::clone(key)));
                    }
                }
            }
            Source::Grant(id) => {
                if let Some(grant) = self.grants.get_mut(&id) {
                    grant.left = grant.left.saturating_add(amount).min(grant.amount);
                    self.unwritten.insert(Change::Grant(id));
                }
            }
        }
    }

    /// What a file says; returns the latest time in it.
    fn take_in(&mut self, records: Vec<Record>) -> u64 {
        let mut latest = 0;
        for record in records {
            match record {
                Record::Ledger(_) => {}
                Record::Now(now) => latest = latest.max(now),
                Record::Count(key, window, per, used) => {
                    latest = latest.max(window.saturating_mul(per));
                    let count = Count { window, per, used };
                    self.counts.insert(key.into(), count);
                }
                Record::Grant(id, pool, amount, left, ends) => {
                    let pool = pool.into();
                    let allowance = Allowance {
                        pool,
                        amount,
                        left,
                        ends,
                    };
                    self.grants.insert(id, allowance);
                }
            }
        }
        latest
    }

    /// Leaves out what no longer counts. The newest grant stays, so that no number is given twice.
    fn forget_the_past(&mut self, now: u64) {
        self.counts
            .retain(|_, count| count.window >= now / count.per.max(1));
        let newest = self.grants.last_key_value().map(|(id, _)| *id);
        self.grants
            .retain(|id, grant| grant.ends > now || Some(*id) == newest);
    }

    fn all(&self, now: u64) -> Vec<Record> {
        let counts = self.counts.keys().cloned().map(Change::Count);
        let grants = self.grants.keys().copied().map(Change::Grant);
        self.records(&counts.chain(grants).collect(), now)
    }

    fn records(&self, changes: &HashSet<Change>, now: u64) -> Vec<Record> {
        let record = |change: &Change| match change {
            Change::Count(key) => {
                let count = self.counts.get(key)?;
                let key = key.to_string();
                Some(Record::Count(key, count.window, count.per, count.used))
            }
            Change::Grant(id) => {
                let grant = self.grants.get(id)?;
                let pool = grant.pool.to_string();
                Some(Record::Grant(
                    *id,
                    pool,
                    grant.amount,
                    grant.left,
                    grant.ends,
                ))
            }
        };
        let now = std::iter::once(Record::Now(now));
        now.chain(changes.iter().filter_map(record)).collect()
    }
}

/// A level of nothing at all.
const NOTHING: Level = Level {
    window: 0,
    used: 0,
    refilled_in: Duration::ZERO,
};
