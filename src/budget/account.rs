//! [`Account`]: one developer on one upstream.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::ledger::{Limit, Outcome, Want, pool};
use super::pace::{Gate, Meter, PATIENCE, Running};
use super::refusal::{Reader, unavailable};
use super::rules::{Cap, Rule, rules};
use super::spending::Spending;
use super::touched::Touched;
use super::{Settings, Shared};
use crate::error::Refusal;
use crate::policy::{Measure, Rate};

/// SQLSTATEs that tell somebody something of a value that they cannot see: unique and exclusion violations, denied permissions.
const GUESSES: [&str; 3] = ["23505", "23P01", "42501"];

/// A developer's budgets on an upstream. Cheap to clone; each connection has one. What a reload changes holds
/// from the next statement on.
#[derive(Debug, Clone)]
pub struct Account {
    shared: Arc<Shared>,
    upstream: Arc<str>,
    developer: Arc<str>,
    last: Arc<Mutex<Option<Last>>>,
    /// Where this connection is counted as running: a batch of statements, which run one after the other, counts once.
    running: Arc<Mutex<Vec<Weak<Running>>>>,
}

/// What held for the last statement: the next one is often the same.
#[derive(Debug)]
struct Last {
    settings: Arc<Settings>,
    touched: Touched,
    held: Arc<Held>,
}

/// All that holds for a statement.
#[derive(Debug)]
pub(super) struct Held {
    pub reader: Reader,
    pub rows: Windows,
    pub bytes: Windows,
    pub rows_per_statement: Option<(u64, Rule)>,
    statements: Windows,
    guesses: Windows,
    concurrent: Vec<(u64, Rule, Arc<Gate>)>,
    rates: Vec<(Rate, Rule, Arc<Meter>)>,
}

/// The limits of one measure, and where each of them comes from.
#[derive(Debug)]
pub(super) struct Windows {
    pub limits: Arc<[Limit]>,
    pub rules: Vec<Rule>,
    pub pools: Arc<[Arc<str>]>,
}

impl Account {
    pub(super) fn new(shared: Arc<Shared>, upstream: &str, developer: &str) -> Self {
        Self {
            shared,
            upstream: upstream.into(),
            developer: developer.into(),
            last: Arc::default(),
            running: Arc::default(),
        }
    }

    /// A statement begins. It counts as running until what is returned is dropped.
    ///
    /// # Errors
    /// 53400 if it may not begin: too many, too fast, too many at once, or too many guesses before; 58030 if nobody can
    /// say. Statements that come too fast are held up before they are refused.
    pub async fn begin(&self, touched: &Touched) -> Result<Spending, Refusal> {
        let held = self.held(touched);
        for (rate, rule, meter) in &held.rates {
            if !meter.turn(PATIENCE).await {
                return Err(held.reader.too_fast(rule, rate.per_second.get()));
            }
        }
        let mut running = Vec::with_capacity(held.concurrent.len());
        for (limit, rule, gate) in &held.concurrent {
            let entered = self.enter(gate, *limit);
            running.push(entered.ok_or_else(|| held.reader.too_many_at_once(rule, *limit))?);
        }
        let mut notices = Vec::new();
        if !held.statements.limits.is_empty() || !held.guesses.limits.is_empty() {
            let wants = [held.guesses.want(1, 0), held.statements.want(1, 1)];
            let outcome = self.shared.ledger.reserve(&wants).await;
            match outcome.map_err(|error| unavailable(&error))? {
                Outcome::Reserved(shares) => {
                    if let [_, share] = shares.as_slice() {
                        self.shared
                            .note(&held.reader, &held.statements, share, &mut notices);
                    }
                }
                Outcome::Refused { want, limit, level } => {
                    let windows = [&held.guesses, &held.statements];
                    let windows = windows.get(want).copied().unwrap_or(&held.statements);
                    return Err(windows.used_up(&held.reader, limit, level));
                }
            }
        }
        let shared = Arc::clone(&self.shared);
        Ok(Spending::new(shared, held, running, notices))
    }

    /// A statement failed with this SQLSTATE. If that can have told something of a value that is masked, it is counted.
    pub async fn failed_guess(&self, touched: &Touched, sqlstate: &str) {
        let mut relations = touched.relations.iter();
        let is_sensitive = touched.unknown || relations.any(|r| !r.sensitive.is_empty());
        if !is_sensitive || !GUESSES.contains(&sqlstate) {
            return;
        }
        let held = self.held(touched);
        if held.guesses.limits.is_empty() {
            return;
        }
        let charged = self.shared.ledger.charge(&held.guesses.limits, 1).await;
        if let Err(error) = charged {
            // The next statement is refused if the ledger is still away.
            tracing::error!(%error, "a failed guess was not counted");
        }
    }

    fn enter(&self, gate: &Arc<Gate>, limit: u64) -> Option<Arc<Running>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|one| one.strong_count() > 0);
        let mut there = running.iter().filter_map(Weak::upgrade);
        if let Some(one) = there.find(|one| one.is_of(gate)) {
            return Some(one);
        }
        let one = Arc::new(gate.enter(limit)?);
        running.push(Arc::downgrade(&one));
        Some(one)
    }

    fn held(&self, touched: &Touched) -> Arc<Held> {
        let settings = self.shared.settings();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && Arc::ptr_eq(&last.settings, &settings)
            && last.touched.is(touched)
        {
            return Arc::clone(&last.held);
        }
        let held = Arc::new(self.find_out(&settings, touched));
        *last = Some(Last {
            settings,
            touched: touched.clone(),
            held: Arc::clone(&held),
        });
        held
    }

    fn find_out(&self, settings: &Settings, touched: &Touched) -> Held {
        let upstream = settings.upstream(&self.upstream);
        let groups = settings.groups.get(&*self.developer);
        let policy = upstream.policy.as_deref();
        let rules = rules(
            &self.developer,
            groups.unwrap_or(&Default::default()),
            upstream.stage,
            policy,
        );
        let meant: Vec<Rule> = rules
            .into_iter()
            .filter(|rule| rule.is_meant(touched, policy))
            .collect();
        let windows = |measure| Windows::new(&self.upstream, &self.developer, measure, &meant);
        let mut held = Held {
            reader: Reader {
                developer: self.developer.to_string(),
                upstream: self.upstream.to_string(),
                contact: upstream.contact.clone(),
            },
            rows: windows(Measure::Rows),
            bytes: windows(Measure::Bytes),
            statements: windows(Measure::Statements),
            guesses: windows(Measure::FailedGuesses),
            rows_per_statement: None,
            concurrent: Vec::new(),
            rates: Vec::new(),
        };
        for rule in meant {
            match rule.cap {
                Cap::Window(..) => {}
                Cap::RowsPerStatement(limit) => {
                    let smallest = held.rows_per_statement.as_ref();
                    if smallest.is_none_or(|(smallest, _)| limit < *smallest) {
                        held.rows_per_statement = Some((limit, rule));
                    }
                }
                Cap::Concurrent(limit) => {
                    let gate = self.shared.paces.gate(&self.upstream, &rule);
                    held.concurrent.push((limit, rule, gate));
                }
                Cap::Rate(rate) => {
                    let meter = self.shared.paces.meter(&self.upstream, &rule, rate);
                    held.rates.push((rate, rule, meter));
                }
            }
        }
        held
    }
}

impl Windows {
    fn new(upstream: &str, developer: &str, measure: Measure, rules: &[Rule]) -> Self {
        let is_its = |rule: &&Rule| matches!(rule.cap, Cap::Window(its, ..) if its == measure);
        let rules: Vec<Rule> = rules.iter().filter(is_its).cloned().collect();
        let limits = rules.iter().filter_map(|rule| match rule.cap {
            Cap::Window(.., limit) => Some(Limit {
                counter: rule.counter(upstream)?,
                limit,
            }),
            _ => None,
        });
        Self {
            limits: limits.collect(),
            rules,
            pools: pools(upstream, developer, measure).into(),
        }
    }

    pub(super) fn want(&self, needed: u64, wished: u64) -> Want {
        Want {
            limits: Arc::clone(&self.limits),
            pools: Arc::clone(&self.pools),
            needed,
            wished,
        }
    }

    /// The refusal that one of the limits is the reason for.
    pub(super) fn used_up(
        &self,
        reader: &Reader,
        limit: usize,
        level: super::ledger::Level,
    ) -> Refusal {
        match self.rules.get(limit) {
            Some(rule) => reader.used_up(rule, level),
            None => Refusal::error(
                crate::error::SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                "read budget used up",
            ),
        }
    }
}

/// Where grants for a developer on an upstream are.
pub(super) fn pools(upstream: &str, developer: &str, measure: Measure) -> [Arc<str>; 2] {
    [
        pool(Some(upstream), developer, measure),
        pool(None, developer, measure),
    ]
}
