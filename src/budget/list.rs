//! How budgets stand: for `SHOW BUDGETS` and `devinprod budget list`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ledger::{Counter, Grant, Granted, Unavailable, pool};
use super::refusal::{moment, what, word};
use super::rules::{Cap, Rule, rules};
use super::{Budgets, Settings};
use crate::policy::Measure;
use crate::report::units::Span;

/// How one limit stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The upstream.
    pub upstream: String,
    /// Whose: a developer, or `@group` or `*`, who share it.
    pub who: String,
    /// What is limited: `rows of masked tables per 1h`.
    pub budget: String,
    /// What is used, reservations of running statements included; None where nothing is added up.
    pub used: Option<u64>,
    /// The limit.
    pub limit: u64,
    /// When it is refilled, RFC 3339 in UTC.
    pub refilled_at: Option<String>,
    /// Where the limit comes from.
    pub place: String,
}

/// What is to be granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// To whom.
    pub developer: String,
    /// Where; None: everywhere.
    pub upstream: Option<String>,
    /// What.
    pub measure: String,
    /// How much of it.
    pub amount: u64,
    /// For how long, in seconds.
    pub seconds: u64,
}

impl Budgets {
    /// How everything stands that holds for `developer`, or for anybody.
    ///
    /// # Errors
    /// The ledger is not there.
    pub async fn list(&self, developer: Option<&str>) -> Result<Vec<Line>, Unavailable> {
        let settings = self.shared.settings();
        let mut lines = Vec::new();
        let mut counters: Vec<(usize, Counter)> = Vec::new();
        for (upstream, rule) in everything(&settings, developer) {
            if let Some(counter) = rule.counter(&upstream) {
                counters.push((lines.len(), counter));
            }
            let running = match rule.cap {
                Cap::Concurrent(_) => Some(self.shared.paces.gate(&upstream, &rule).running()),
                _ => None,
            };
            lines.push(Line {
                used: running,
                ..line(upstream, rule)
            });
        }
        let (places, counters): (Vec<usize>, Vec<Counter>) = counters.into_iter().unzip();
        let levels = self.shared.ledger.read(&counters).await?;
        for (place, level) in places.into_iter().zip(levels) {
            if let Some(line) = lines.get_mut(place) {
                line.used = Some(level.used);
                line.refilled_at = Some(moment(level.refilled_in));
            }
        }
        lines.extend(self.grants(&settings, developer).await?);
        Ok(lines)
    }

    /// Grants that have not ended, as lines of their own.
    async fn grants(
        &self,
        settings: &Settings,
        developer: Option<&str>,
    ) -> Result<Vec<Line>, Unavailable> {
        let mut meant = HashMap::new();
        for name in developers(settings, developer) {
            let upstreams = settings.upstreams.keys().map(String::as_str).map(Some);
            for upstream in upstreams.chain([None]) {
                for measure in Measure::ALL {
                    meant.insert(pool(upstream, name, measure), (upstream, name, measure));
                }
            }
        }
        let pools: Vec<Arc<str>> = meant.keys().cloned().collect();
        let grants = self.shared.ledger.grants(&pools).await?;
        let line = |grant: Granted| {
            let (upstream, name, measure) = meant.get(&grant.pool)?;
            Some(Line {
                upstream: upstream.unwrap_or("*").to_owned(),
                who: (*name).to_owned(),
                budget: format!("{} granted", word(*measure)),
                used: Some(grant.amount.saturating_sub(grant.left)),
                limit: grant.amount,
                refilled_at: None,
                place: format!("is a grant until {}", moment(grant.ends_in)),
            })
        };
        Ok(grants.into_iter().filter_map(line).collect())
    }

    /// Lets a developer read more than their budgets allow, once. It is kept when this returns.
    ///
    /// # Errors
    /// As [`Self::may_grant`]; or the ledger is not there.
    pub async fn grant(&self, allowed: &Allowed) -> Result<(), String> {
        let measure = self.may_grant(allowed)?;
        let grant = Grant {
            pool: pool(allowed.upstream.as_deref(), &allowed.developer, measure),
            amount: allowed.amount,
            lasts: Duration::from_secs(allowed.seconds),
        };
        let kept = self.shared.ledger.grant(&grant).await;
        kept.map_err(|error| error.to_string())
    }

    /// Would [`Self::grant`] mean anything? Returns what is measured.
    ///
    /// # Errors
    /// Nobody of that name may use the upstream, or there is no such measure; in words for whoever asked.
    pub fn may_grant(&self, allowed: &Allowed) -> Result<Measure, String> {
        let settings = self.shared.settings();
        let measure = Measure::ALL
            .into_iter()
            .find(|measure| measure.as_str() == allowed.measure)
            .ok_or_else(|| format!("there is no budget of `{}`", allowed.measure))?;
        let name = &allowed.developer;
        let may_use = |upstream: &super::Upstream| upstream.developers.contains(name);
        let known = match &allowed.upstream {
            Some(upstream) => settings.upstreams.get(upstream).is_some_and(may_use),
            None => settings.upstreams.values().any(may_use),
        };
        match &allowed.upstream {
            _ if known => Ok(measure),
            Some(upstream) => Err(format!(
                "no developer \"{name}\" may use an upstream \"{upstream}\""
            )),
            None => Err(format!("no developer \"{name}\" may use any upstream")),
        }
    }
}

fn developers<'a>(settings: &'a Settings, developer: Option<&'a str>) -> BTreeSet<&'a str> {
    match developer {
        Some(developer) => BTreeSet::from([developer]),
        None => {
            let upstreams = settings.upstreams.values();
            let all = upstreams.flat_map(|upstream| &upstream.developers);
            all.map(String::as_str).collect()
        }
    }
}

/// What holds, each thing once: by upstream, then by whose it is.
fn everything(settings: &Settings, developer: Option<&str>) -> Vec<(String, Rule)> {
    let mut all: Vec<(String, Rule)> = Vec::new();
    for (name, upstream) in &settings.upstreams {
        let who = developers(settings, developer);
        for developer in who.into_iter().filter(|d| upstream.developers.contains(*d)) {
            let groups = settings.groups.get(developer);
            let groups = groups.cloned().unwrap_or_default();
            let policy = upstream.policy.as_deref();
            for rule in rules(developer, &groups, upstream.stage, policy) {
                let entry = (name.clone(), rule);
                if !all.contains(&entry) {
                    all.push(entry);
                }
            }
        }
    }
    all
}

fn line(upstream: String, rule: Rule) -> Line {
    let (budget, limit) = match rule.cap {
        Cap::Window(measure, per, limit) => {
            (format!("{} per {}", what(&rule, measure), Span(per)), limit)
        }
        Cap::RowsPerStatement(limit) => (
            format!("{} in one statement", what(&rule, Measure::Rows)),
            limit,
        ),
        Cap::Concurrent(limit) => (
            format!("{} at the same time", what(&rule, Measure::Statements)),
            limit,
        ),
        Cap::Rate(rate) => (
            format!("{} per second", what(&rule, Measure::Statements)),
            rate.per_second.get().into(),
        ),
    };
    Line {
        upstream,
        who: rule.subject,
        budget,
        used: None,
        limit,
        refilled_at: None,
        place: rule.place,
    }
}
