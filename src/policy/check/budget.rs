//! `[[budget]]`: one [`Budget`] for each limit that it sets.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use toml::{Spanned, Value};

use super::super::raw::RawBudget;
use super::super::{Amount, Bound, Budget, Measure, Rate, Scope};
use super::who::dotted;
use super::{Check, hinted};
use crate::report::units::{Size, Span};
use crate::report::{Problem, did_you_mean};

/// The longest and the shortest window of time.
const WINDOWS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 60 * 60);

impl Check {
    pub(super) fn budget(&mut self, file: usize, raw: Spanned<RawBudget>) {
        let span = raw.span();
        let origin = self.origin(file, span.clone());
        let raw = raw.into_inner();
        let who = self.budget_who(file, &raw.who);
        let together = self.together(file, &raw, &who);
        let scope = self.scope(file, &raw);
        let bounds = self.bounds(file, &raw);
        if raw.limits() == 0 {
            let problem = Problem::at(span, "this budget limits nothing");
            let hint = "rows, bytes, statements and failed_guesses with `per`; rows_per_statement, concurrent, statements_per_second";
            self.note(file, problem.hint(hint));
        }
        for (bound, at) in bounds {
            let budget = Budget {
                who: who.clone(),
                together,
                scope: scope.clone(),
                bound,
                origin: Some(origin.clone()),
            };
            let mut others = self.policy.budgets.iter();
            let twice = others.find(|other| {
                other.together == budget.together
                    && other.scope == budget.scope
                    && !other.who.is_disjoint(&budget.who)
                    && same_counter(other.bound, budget.bound)
            });
            if let Some(first) = twice.and_then(|other| other.origin.as_ref()) {
                let message = format!(
                    "`{}` is limited for the same people at {} already",
                    bound.kind(),
                    first.place
                );
                self.note(file, Problem::at(at, message));
                continue;
            }
            self.policy.budgets.push(budget);
        }
    }

    fn budget_who(&mut self, file: usize, raw: &Spanned<Vec<Spanned<String>>>) -> BTreeSet<String> {
        let mut who = BTreeSet::new();
        for name in raw.get_ref() {
            let bare = name.get_ref().strip_prefix('@').unwrap_or(name.get_ref());
            if name.get_ref() != "*" && (bare.trim().is_empty() || bare.contains('*')) {
                let problem =
                    Problem::at(name.span(), "this names neither a developer nor a group");
                let hint = "for example \"dev1\", \"@support\" for a group, or \"*\" for everybody";
                self.note(file, problem.hint(hint));
            }
            if !who.insert(name.get_ref().clone()) {
                self.note(file, Problem::at(name.span(), "this stands here twice"));
            }
        }
        if who.is_empty() {
            let problem = Problem::at(raw.span(), "a budget is for somebody");
            self.note(file, problem.hint("who = [\"*\"] is for everybody"));
        }
        who
    }

    /// A shared budget has one name to count under, so that nothing begins anew when a list changes.
    fn together(&mut self, file: usize, raw: &RawBudget, who: &BTreeSet<String>) -> bool {
        let Some(together) = raw.together.as_ref().filter(|word| *word.get_ref()) else {
            return false;
        };
        let shared: Vec<&String> = who.iter().collect();
        let is_many = |name: &str| name == "*" || name.starts_with('@');
        if !matches!(shared.as_slice(), [one] if is_many(one)) {
            let message = "what is shared is shared by one group, or by everybody";
            let hint =
                "who = [\"@support\"], or who = [\"*\"]; others get a `[[budget]]` of their own";
            self.note(file, Problem::at(together.span(), message).hint(hint));
        }
        true
    }

    fn scope(&mut self, file: usize, raw: &RawBudget) -> Scope {
        let table = raw.table.as_ref().and_then(|table| {
            let parts = dotted(table.get_ref());
            match parts.as_deref() {
                Some([schema, name]) if !schema.contains('*') && !name.contains('*') => {
                    Some((schema.clone(), name.clone()))
                }
                _ => {
                    let message = format!("`{}` names no table", table.get_ref());
                    let hint = "as schema.table; a part with a dot in it in double quotes";
                    self.note(file, Problem::at(table.span(), message).hint(hint));
                    None
                }
            }
        });
        let class = raw.class.as_ref().map(|class| {
            let name = class.get_ref();
            let known: Vec<String> = self.policy.classes.iter().map(|c| c.name.clone()).collect();
            if !known.contains(name) {
                let message = format!("there is no class `{name}`");
                let problem = Problem::at(class.span(), message);
                let hint = did_you_mean(name, known.iter().map(String::as_str));
                self.note(file, hinted(problem, hint));
            }
            name.clone()
        });
        if let Some(no) = raw.sensitive.as_ref().filter(|word| !*word.get_ref()) {
            let problem = Problem::at(no.span(), "leave this out");
            let hint = "a budget without `sensitive` counts all, sensitive or not";
            self.note(file, problem.hint(hint));
        }
        Scope {
            table,
            class,
            sensitive: raw.sensitive.as_ref().is_some_and(|word| *word.get_ref()),
        }
    }

    /// The limits that the budget sets, each with its place.
    fn bounds(&mut self, file: usize, raw: &RawBudget) -> Vec<(Bound, std::ops::Range<usize>)> {
        let per = self.per(file, raw);
        let mut bounds = Vec::new();
        let amounts = Measure::ALL.map(|measure| (measure, raw.of(measure)));
        for (measure, value) in amounts {
            let Some(value) = value else { continue };
            let amount = self.amount(file, value, measure == Measure::Bytes);
            match (amount, per) {
                (Some(amount), Some(per)) => {
                    bounds.push((Bound::Window(measure, per, amount), value.span()));
                }
                (_, None) if raw.per.is_none() => {
                    let message = format!("`{}` needs a window of time", measure.as_str());
                    let problem = Problem::at(value.span(), message);
                    self.note(file, problem.hint("per = \"1h\""));
                }
                _ => {}
            }
        }
        for (value, bound) in [
            (
                &raw.rows_per_statement,
                Bound::RowsPerStatement as fn(_) -> _,
            ),
            (&raw.concurrent, Bound::Concurrent),
        ] {
            let Some(value) = value else { continue };
            if let Some(amount) = self.amount(file, value, false) {
                bounds.push((bound(amount), value.span()));
            }
        }
        bounds.extend(self.rate(file, raw));
        bounds
    }

    fn per(&mut self, file: usize, raw: &RawBudget) -> Option<Duration> {
        let per = raw.per.as_ref()?;
        let Span(window) = *per.get_ref();
        if !WINDOWS.contains(&window) {
            let problem = Problem::at(per.span(), "a window has between 1s and 366d");
            self.note(file, problem);
            return None;
        }
        if Measure::ALL
            .iter()
            .all(|measure| raw.of(*measure).is_none())
        {
            let problem = Problem::at(per.span(), "nothing here is counted per window");
            let hint = "`per` belongs to rows, bytes, statements and failed_guesses";
            self.note(file, problem.hint(hint));
        }
        Some(window)
    }

    fn amount(&mut self, file: usize, value: &Spanned<Value>, is_size: bool) -> Option<Amount> {
        let amount = match value.get_ref() {
            Value::Integer(number) => u64::try_from(*number).ok().map(Amount::AtMost),
            Value::String(word) if word == "unlimited" => Some(Amount::Unlimited),
            Value::String(size) if is_size => {
                Size::parse(size).map(|Size(bytes)| Amount::AtMost(bytes))
            }
            _ => None,
        };
        if amount.is_none() {
            let problem = Problem::at(value.span(), "this is no amount");
            self.note(
                file,
                problem.hint(if is_size {
                    "a whole number of bytes, a size such as \"64MB\", or \"unlimited\""
                } else {
                    "a whole number, or \"unlimited\""
                }),
            );
        }
        amount
    }

    fn rate(&mut self, file: usize, raw: &RawBudget) -> Option<(Bound, std::ops::Range<usize>)> {
        let Some(value) = &raw.statements_per_second else {
            if let Some(burst) = &raw.burst {
                let message = "`burst` belongs to `statements_per_second`";
                self.note(file, Problem::at(burst.span(), message));
            }
            return None;
        };
        let rate = match self.amount(file, value, false)? {
            Amount::Unlimited => None,
            Amount::AtMost(number) => {
                let per_second = self.positive(file, value, number)?;
                let burst = match &raw.burst {
                    None => per_second,
                    Some(burst) => match self.amount(file, burst, false)? {
                        Amount::AtMost(number) => self.positive(file, burst, number)?,
                        Amount::Unlimited => NonZeroU32::MAX,
                    },
                };
                Some(Rate { per_second, burst })
            }
        };
        Some((Bound::Rate(rate), value.span()))
    }

    fn positive(&mut self, file: usize, at: &Spanned<Value>, number: u64) -> Option<NonZeroU32> {
        let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
        if number.is_none() {
            let problem = Problem::at(at.span(), "this is between 1 and 4294967295");
            let hint = "to allow no statement at all: statements = 0 with a `per`";
            self.note(file, problem.hint(hint));
        }
        number
    }
}

impl RawBudget {
    fn of(&self, measure: Measure) -> Option<&Spanned<Value>> {
        match measure {
            Measure::Rows => self.rows.as_ref(),
            Measure::Bytes => self.bytes.as_ref(),
            Measure::Statements => self.statements.as_ref(),
            Measure::FailedGuesses => self.failed_guesses.as_ref(),
        }
    }

    /// How many limits it sets, right or wrong.
    fn limits(&self) -> usize {
        let others = [
            &self.rows_per_statement,
            &self.concurrent,
            &self.statements_per_second,
        ];
        let windowed = Measure::ALL.iter().filter_map(|measure| self.of(*measure));
        windowed.count() + others.into_iter().flatten().count()
    }
}

fn same_counter(one: Bound, other: Bound) -> bool {
    match (one, other) {
        (Bound::Window(measure, per, _), Bound::Window(other, window, _)) => {
            measure == other && per == window
        }
        _ => one.kind() == other.kind(),
    }
}
