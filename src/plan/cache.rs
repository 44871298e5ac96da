//! Plans by exact text, shared by all clients.

use super::Plan;
use crate::catalog::Masked;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Longer texts, in bytes, are planned each time: they are rarely sent twice.
const LONGEST: usize = 16 * 1024;
/// The most meanings of names that are kept.
const MEANINGS: usize = 256;
/// The most plans that are kept.
const CAPACITY: usize = 8192;

/// Plans by exact text, shared by all clients.
#[derive(Debug, Default)]
pub struct PlanCache {
    plans: Mutex<HashMap<String, Arc<Plan>>>,
    parses: Mutex<HashSet<String>>,
    meanings: Mutex<Vec<Arc<Masked>>>,
}

impl PlanCache {
    /// Whether the server has been asked, and said that this text of several statements parses.
    pub fn is_known_to_parse(&self, text: &str) -> bool {
        self.parses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(text)
    }

    /// Remembers that it does.
    pub fn learn_parses(&self, text: &str) {
        if text.len() > LONGEST {
            return;
        }
        let mut parses = self.parses.lock().unwrap_or_else(PoisonError::into_inner);
        if parses.len() >= CAPACITY {
            parses.clear();
        }
        parses.insert(text.to_owned());
    }

    /// One Arc for each meaning of names: plans keep their redirects by it.
    pub fn meaning(&self, masked: Masked) -> Arc<Masked> {
        let mut meanings = self.meanings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = meanings.iter().find(|known| ***known == masked) {
            return same.clone();
        }
        if meanings.len() >= MEANINGS {
            meanings.remove(0);
        }
        let masked = Arc::new(masked);
        meanings.push(masked.clone());
        masked
    }

    /// The plan of one statement.
    pub fn plan(&self, text: &str) -> Arc<Plan> {
        if text.len() > LONGEST {
            return Arc::new(Plan::new(text));
        }
        if let Some(plan) = self
            .plans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(text)
        {
            return plan.clone();
        }
        let plan = Arc::new(Plan::new(text));
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= CAPACITY {
            // Applications that paste values into their texts fill any cache; starting over is cheap.
            plans.clear();
        }
        plans.insert(text.to_owned(), plan.clone());
        plan
    }
}
