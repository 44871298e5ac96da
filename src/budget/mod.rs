//! Read budgets: how much a developer may read, counted as it passes.
//!
//! A session has an [`Account`] for its developer and upstream. Each statement begins with [`Account::begin`], which gives a
//! [`Spending`]; each row that passes is spent, from a batch that was reserved in the [`ledger`]. So a limit is never passed,
//! whatever the form of the statement and however many connections read at once, and the ledger is asked rarely.
//!
//! Counters have no limits in them: what was spent survives a policy that is written anew, another connection, another
//! sandbox, a restart. What holds for whom is worked out by [`rules`], anew after each reload.

mod account;
pub mod control;
pub mod ledger;
mod list;
mod pace;
mod refusal;
mod rules;
mod spending;
mod touched;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::Refusal;
use crate::policy::{Policy, Stage};
use account::Windows;
use ledger::{Ledger, LocalLedger, Share, Source};
use pace::Paces;
use refusal::Reader;
use rules::Cap;

pub use account::Account;
pub use list::{Allowed, Line};
pub use spending::Spending;
pub use touched::{Touched, TouchedRelation};

/// All budgets of a proxy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budgets {
    shared: Arc<Shared>,
}

/// Who may read how much where: what a reload replaces.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// By upstream.
    pub upstreams: BTreeMap<String, Upstream>,
    /// By developer: their groups, without their `@`.
    pub groups: BTreeMap<String, BTreeSet<String>>,
}

/// An upstream, as far as budgets care.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// It says what holds where the policy says nothing.
    pub stage: Stage,
    /// The policy with its budgets.
    pub policy: Option<Arc<Policy>>,
    /// Whom a developer should ask for more.
    pub contact: Option<String>,
    /// Who may use it.
    pub developers: BTreeSet<String>,
}

/// An upstream of which nothing is known: the tightest defaults hold.
static UNKNOWN: Upstream = Upstream {
    stage: Stage::Prod,
    policy: None,
    contact: None,
    developers: BTreeSet::new(),
};

impl Settings {
    fn upstream(&self, name: &str) -> &Upstream {
        self.upstreams.get(name).unwrap_or(&UNKNOWN)
    }
}

/// What all accounts share.
#[derive(Debug)]
struct Shared {
    ledger: Arc<dyn Ledger>,
    settings: RwLock<Arc<Settings>>,
    paces: Paces,
    /// By counter: the last window of which somebody was told that it is nearly used up.
    told: Mutex<HashMap<Arc<str>, u64>>,
}

impl Budgets {
    /// Budgets that are counted in this ledger.
    pub fn new(ledger: Arc<dyn Ledger>, settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                ledger,
                settings: RwLock::new(Arc::new(settings)),
                paces: Paces::default(),
                told: Mutex::default(),
            }),
        }
    }

    /// Budgets that are forgotten with the process.
    pub fn in_memory(settings: Settings) -> Self {
        Self::new(Arc::new(LocalLedger::in_memory()), settings)
    }

    /// From now on, this holds, also for accounts that are in use. What was spent stays spent.
    pub fn reload(&self, settings: Settings) {
        let mut current = self.shared.settings.write();
        let current = current.as_mut().map_err(|poisoned| poisoned.get_mut());
        let (Ok(current) | Err(current)) = current;
        **current = Arc::new(settings);
    }

    /// A developer's account on an upstream. Stage, policy and groups are those of the settings.
    pub fn account(&self, upstream: &str, developer: &str) -> Account {
        Account::new(Arc::clone(&self.shared), upstream, developer)
    }
}

impl Shared {
    fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a notice for each limit of which a share has just used most, and nobody was told in this window.
    fn note(&self, reader: &Reader, windows: &Windows, share: &Share, notices: &mut Vec<Refusal>) {
        if share.source != Source::Counters {
            return;
        }
        for ((limit, rule), level) in windows.limits.iter().zip(&windows.rules).zip(&share.levels) {
            let Cap::Window(.., most) = rule.cap else {
                continue;
            };
            if level.used < most - most / 5 {
                continue;
            }
            let key = Arc::clone(&limit.counter.key);
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.insert(key, level.window) != Some(level.window) {
                notices.extend(reader.nearly(rule, *level));
            }
        }
    }
}
