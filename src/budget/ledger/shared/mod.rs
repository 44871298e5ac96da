//! One ledger for several proxies, in a Valkey or Redis server.
//!
//! While it can be reached, every reservation is made there, by its clock ([`store`], `script.lua`). Each proxy keeps what it has last
//! heard in its own ledger ([`LocalLedger`]), for three things: a server that has forgotten something is told again, by all proxies,
//! before anybody may read on; while it is away, each proxy can go on with its share, if that is configured; and what was let through
//! meanwhile is reported when it is back.

mod address;
mod link;
mod seen;
mod store;

use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::{
    Counter, Grant, Granted, Ledger, Level, Limit, LocalLedger, Outcome, SHARERS, Share, Source,
    Unavailable, Unused, Want, millis,
};
use crate::audit::Events;
use crate::audit::time::milliseconds;
use seen::{Link, Seen, State};
use store::{Answer, Failure, Keys, Store, asked, hex};

pub use super::local::OpenError;
pub use address::Address;

/// The file that says which life of the ledger this proxy knows.
const LIFE: &str = "shared.life";

/// How a fleet shares a ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedSettings {
    /// Where it is.
    pub address: Address,
    /// What its keys begin with.
    pub prefix: String,
    /// What holds while it cannot be reached.
    pub unreachable: Unreachable,
    /// How many proxies share it.
    pub proxies: NonZeroU64,
}

/// What holds while the shared ledger cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreachable {
    /// Who has a limit reads nothing.
    #[default]
    Refuse,
    /// Each proxy goes on alone, up to its share of what was left.
    Share,
}

/// A ledger that several proxies share.
#[derive(Debug)]
pub struct SharedLedger {
    inner: Arc<Inner>,
    keeper: JoinHandle<()>,
}

struct Inner {
    settings: SharedSettings,
    store: Store,
    local: LocalLedger,
    life_file: PathBuf,
    time: Arc<ServerTime>,
    events: Events,
    state: Mutex<State>,
    /// One at a time says what was seen.
    attaching: tokio::sync::Mutex<()>,
}

/// The server's time of day, as far as it is known here.
struct ServerTime {
    started: Instant,
    /// Its milliseconds since 1970 when this began; 0: never heard.
    at_start: AtomicU64,
}

impl ServerTime {
    fn steady(&self) -> u64 {
        millis(self.started.elapsed())
    }

    fn heard(&self, now: u64) {
        // An answer is late by the time it takes to come, never early.
        let at_start = now.saturating_sub(self.steady());
        self.at_start.fetch_max(at_start, Ordering::Relaxed);
    }
}

impl SharedLedger {
    /// Opens it, with the folder of this proxy alone for what it has seen; needs a tokio runtime. A server that is away is no
    /// error: what is configured for that holds.
    ///
    /// # Errors
    /// As [`LocalLedger::open`].
    pub async fn open(
        settings: SharedSettings,
        folder: &Path,
        events: Events,
    ) -> Result<Self, OpenError> {
        Self::open_with(settings, folder, events, || milliseconds(SystemTime::now())).await
    }

    /// The same, with the time of day of this machine (milliseconds since 1970), which is only asked for until the server has told its.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(
        settings: SharedSettings,
        folder: &Path,
        events: Events,
        wall: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let store = Store::new(settings.address.clone(), &settings.prefix);
        let time = Arc::new(ServerTime {
            started: Instant::now(),
            at_start: AtomicU64::new(0),
        });
        // First of all, so that what the folder has is read by the clock that it was written by.
        let connected = store.connect().await;
        if let Ok(connection) = &connected {
            time.heard(connection.now);
        }
        let its = Arc::clone(&time);
        let local = LocalLedger::open_with(folder, move |latest| {
            Clock::new(latest, move || {
                let steady = its.steady();
                match its.at_start.load(Ordering::Relaxed) {
                    0 => (wall(), steady),
                    at_start => (at_start.saturating_add(steady), steady),
                }
            })
        })?;
        let life_file = folder.join(LIFE);
        let life = std::fs::read_to_string(&life_file).unwrap_or_default();
        let seen = local.counts().into_iter();
        let seen = seen.map(|(key, per, window, used)| {
            let seen = Seen {
                per,
                window,
                used,
                ..Seen::default()
            };
            (key, seen)
        });
        let state = State {
            link: Link::Lost,
            generation: 0,
            life_is_kept: !life.is_empty(),
            life: life.into(),
            report: link::name(),
            seen: seen.collect(),
            grants: Default::default(),
            told: false,
        };
        let inner = Arc::new(Inner {
            settings,
            store,
            local,
            life_file,
            time,
            events,
            state: Mutex::new(state),
            attaching: tokio::sync::Mutex::default(),
        });
        match connected {
            Ok(connection) => {
                if let Err(why) = inner.attach(0, Some(connection)).await {
                    inner.lost(0, &why);
                }
            }
            Err(why) => inner.lost(0, &why),
        }
        let keeper = tokio::spawn(link::keep(Arc::downgrade(&inner)));
        Ok(Self { inner, keeper })
    }
}

impl Drop for SharedLedger {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLedger")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Ledger for SharedLedger {
    async fn reserve(&self, wants: &[Want]) -> Result<Outcome, Unavailable> {
        self.inner.local.health()?;
        // Where nothing is limited, nobody need be asked.
        if wants.iter().all(|want| want.limits.is_empty()) {
            return self.inner.local.reserve(wants).await;
        }
        match self.inner.reserve(wants).await {
            Ok(outcome) => Ok(outcome),
            Err(_) if self.inner.settings.unreachable == Unreachable::Share => {
                self.inner.reserve_alone(wants)
            }
            Err(_) => Err(away()),
        }
    }

    async fn give_back(&self, unused: &[Unused]) {
        if self.inner.give_back(unused).await.is_err() {
            self.inner.give_back_alone(unused);
        }
    }

    async fn charge(&self, limits: &[Limit], amount: u64) -> Result<(), Unavailable> {
        if self.inner.charge(limits, amount).await.is_err() {
            // It has happened, so it is counted, whatever is configured.
            self.inner.charge_alone(limits, amount);
        }
        self.inner.local.health()
    }

    async fn read(&self, counters: &[Counter]) -> Result<Vec<Level>, Unavailable> {
        match self.inner.read(counters).await {
            Ok(levels) => Ok(levels),
            Err(_) if self.inner.settings.unreachable == Unreachable::Share => {
                self.inner.local.read(counters).await
            }
            Err(_) => Err(away()),
        }
    }

    async fn grant(&self, grant: &Grant) -> Result<(), Unavailable> {
        let asked = json!({
            "pool": &*grant.pool,
            "amount": hex(grant.amount),
            "lasts": store::per(millis(grant.lasts)),
        });
        let granted = self.inner.ask("grant", &Keys::default(), asked).await;
        granted.map(|_| ()).map_err(|_| away())
    }

    async fn grants(&self, pools: &[Arc<str>]) -> Result<Vec<Granted>, Unavailable> {
        match self.inner.grants(pools).await {
            Ok(granted) => Ok(granted),
            // They do not count meanwhile.
            Err(_) if self.inner.settings.unreachable == Unreachable::Share => Ok(Vec::new()),
            Err(_) => Err(away()),
        }
    }
}

fn away() -> Unavailable {
    Unavailable("the ledger of read budgets, which several proxies share, cannot be reached".into())
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reserve(&self, wants: &[Want]) -> Result<Outcome, Failure> {
        let mut keys = Keys::default();
        let limited = wants.iter().filter(|want| !want.limits.is_empty());
        let wanted: Vec<Value> = limited
            .map(|want| {
                let limits: Vec<Value> = want
                    .limits
                    .iter()
                    .map(|limit| {
                        let mut one = asked(&mut keys, &limit.counter);
                        insert(&mut one, "limit", hex(limit.limit));
                        one
                    })
                    .collect();
                json!({
                    "limits": limits,
                    "pools": want.pools.iter().map(|pool| &**pool).collect::<Vec<_>>(),
                    "needed": hex(want.needed),
                    "wished": hex(want.wished),
                })
            })
            .collect();
        let asked = json!({ "wants": wanted, "sharers": SHARERS });
        let mut told = self.ask("reserve", &keys, asked).await?;
        let mut limited = wants.iter().enumerate();
        if told.refused {
            let number = usize::try_from(told.answer.number()?).unwrap_or(usize::MAX);
            let limit = usize::try_from(told.answer.number()?).unwrap_or(usize::MAX);
            let mut limited = limited.filter(|(_, want)| !want.limits.is_empty());
            let (want, its) = limited.nth(number).ok_or("its answer fits no question")?;
            let counter = its.limits.get(limit).ok_or("its answer fits no question")?;
            let level = self.level(&mut told, &counter.counter)?;
            return Ok(Outcome::Refused { want, limit, level });
        }
        limited
            .try_fold(Vec::with_capacity(wants.len()), |mut shares, (_, want)| {
                shares.push(self.share(&mut told, want)?);
                Ok(shares)
            })
            .map(Outcome::Reserved)
    }

    fn share(&self, told: &mut Told, want: &Want) -> Result<Share, Failure> {
        if want.limits.is_empty() {
            return Ok(Share {
                amount: want.wished.max(want.needed),
                source: Source::Counters,
                levels: Vec::new(),
            });
        }
        let amount = told.answer.count()?;
        let source = told.answer.text()?;
        let left = told.answer.text()?;
        let levels = want.limits.iter();
        let levels = levels.map(|limit| self.level(told, &limit.counter));
        Ok(Share {
            amount,
            levels: levels.collect::<Result<_, _>>()?,
            source: match source.parse() {
                Ok(id) => {
                    self.left_of(id, &left);
                    Source::Grant(id)
                }
                Err(_) => Source::Counters,
            },
        })
    }

    /// Reads how a counter stands, and keeps it.
    fn level(&self, told: &mut Told, counter: &Counter) -> Result<Level, Failure> {
        let (level, version) = told.answer.level()?;
        let mut state = self.state();
        // What is of another life is no news of this one.
        if state.life == told.life
            && let Some(seen) = state.note(counter, level, version)
        {
            self.local
                .note(&counter.key, seen.per, seen.window, seen.total());
        }
        Ok(level)
    }

    fn left_of(&self, grant: u64, left: &str) {
        if let Ok(left) = u64::from_str_radix(left, 16) {
            self.state().grants.insert(grant, left);
        }
    }

    async fn give_back(&self, unused: &[Unused]) -> Result<(), Failure> {
        let mut keys = Keys::default();
        let parts: Vec<Value> = unused
            .iter()
            .map(|part| {
                let levels = part.limits.iter().zip(&part.share.levels);
                let limits: Vec<Value> = match part.share.source {
                    Source::Counters => levels
                        .map(|(limit, level)| {
                            let mut one = asked(&mut keys, &limit.counter);
                            insert(&mut one, "window", level.window);
                            one
                        })
                        .collect(),
                    Source::Grant(_) => Vec::new(),
                };
                json!({
                    "limits": limits,
                    "grant": match part.share.source {
                        Source::Counters => String::new(),
                        Source::Grant(id) => id.to_string(),
                    },
                    "amount": hex(part.amount.min(part.share.amount)),
                })
            })
            .collect();
        let asked = json!({ "parts": parts });
        let mut told = self.ask("give_back", &keys, asked).await?;
        for part in unused {
            match part.share.source {
                Source::Counters => {
                    for limit in part.limits.iter().take(part.share.levels.len()) {
                        self.level(&mut told, &limit.counter)?;
                    }
                    told.answer.text()?;
                }
                Source::Grant(id) => self.left_of(id, &told.answer.text()?),
            }
        }
        Ok(())
    }

    async fn charge(&self, limits: &[Limit], amount: u64) -> Result<(), Failure> {
        let mut keys = Keys::default();
        let counters = limits.iter().map(|limit| asked(&mut keys, &limit.counter));
        let asked = json!({ "limits": counters.collect::<Vec<_>>(), "amount": hex(amount) });
        let mut told = self.ask("charge", &keys, asked).await?;
        for limit in limits {
            self.level(&mut told, &limit.counter)?;
        }
        Ok(())
    }

    async fn read(&self, counters: &[Counter]) -> Result<Vec<Level>, Failure> {
        let mut keys = Keys::default();
        let limits = counters.iter().map(|counter| {
            json!({ "at": keys.push(&counter.key), "per": store::per(millis(counter.per)) })
        });
        let asked = json!({ "limits": limits.collect::<Vec<_>>() });
        let mut told = self.ask("read", &keys, asked).await?;
        let levels = counters.iter();
        levels
            .map(|counter| self.level(&mut told, counter))
            .collect()
    }

    async fn grants(&self, pools: &[Arc<str>]) -> Result<Vec<Granted>, Failure> {
        let pools: Vec<&str> = pools.iter().map(|pool| &**pool).collect();
        let asked = json!({ "pools": pools });
        let mut answer = self.ask("grants", &Keys::default(), asked).await?.answer;
        let mut granted = Vec::new();
        while !answer.is_at_end() {
            granted.push(Granted {
                pool: answer.text()?.into(),
                amount: answer.count()?,
                left: answer.count()?,
                ends_in: Duration::from_millis(answer.number()?),
            });
        }
        Ok(granted)
    }

    /// Reserves from this proxy's share.
    fn reserve_alone(&self, wants: &[Want]) -> Result<Outcome, Unavailable> {
        let mut state = self.state();
        if matches!(state.link, Link::There { .. }) {
            // It has just come back; the next one is answered there.
            return Err(away());
        }
        let now = self.local.now();
        let proxies = self.settings.proxies.get();
        let shares = |want: &Want| Want {
            limits: want
                .limits
                .iter()
                .map(|limit| state.share(limit, now, proxies))
                .collect(),
            // Grants are kept where nobody can reach them.
            pools: [].into(),
            ..want.clone()
        };
        let alone: Vec<Want> = wants.iter().map(shares).collect();
        let outcome = self.local.reserve_now(&alone)?;
        if let Outcome::Reserved(shares) = &outcome {
            for (want, share) in wants.iter().zip(shares) {
                for (limit, level) in want.limits.iter().zip(&share.levels) {
                    state.spend_offline(limit, level, share.amount);
                }
            }
            self.forget_life(&mut state);
        }
        Ok(outcome)
    }

    fn give_back_alone(&self, unused: &[Unused]) {
        let mut state = self.state();
        if matches!(state.link, Link::There { .. }) {
            return;
        }
        let of_counters = |part: &&Unused| part.share.source == Source::Counters;
        let unused: Vec<Unused> = unused.iter().filter(of_counters).cloned().collect();
        for part in &unused {
            for (limit, level) in part.limits.iter().zip(&part.share.levels) {
                state.give_back_offline(limit, level, part.amount.min(part.share.amount));
            }
        }
        self.local.give_back_now(&unused);
    }

    fn charge_alone(&self, limits: &[Limit], amount: u64) {
        let mut state = self.state();
        let levels = self.local.charge_now(limits, amount);
        for (limit, level) in limits.iter().zip(&levels) {
            state.spend_offline(limit, level, amount);
        }
        self.forget_life(&mut state);
    }
}

/// An answer, and the life of the ledger that it is about.
struct Told {
    refused: bool,
    life: Arc<str>,
    answer: Answer,
}

fn insert(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value.into());
    }
}
