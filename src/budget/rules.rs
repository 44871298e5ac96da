//! From a policy and a stage to what holds for one developer on one upstream.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ledger::Counter;
use super::touched::Touched;
use crate::policy::{Amount, Bound, Budget, Measure, Policy, Rate, Scope, Stage};

/// One limit that holds for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// Under which name it is counted: the developer's, or `@group` or `*` if it is shared.
    pub subject: String,
    pub scope: Scope,
    pub cap: Cap,
    /// Where it stands, for people.
    pub place: String,
}

/// What is limited; there is a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cap {
    Window(Measure, Duration, u64),
    RowsPerStatement(u64),
    Concurrent(u64),
    Rate(Rate),
}

/// How closely a budget names somebody, the closest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    ByName,
    ByGroup,
    Everybody,
    Default,
}

/// What holds for a developer in `groups` (without their `@`).
pub(super) fn rules(
    developer: &str,
    groups: &BTreeSet<String>,
    stage: Stage,
    policy: Option<&Policy>,
) -> Vec<Rule> {
    let defaults = Budget::defaults(stage);
    let written = policy.map(Policy::budgets).unwrap_or_default();
    let meant: Vec<(Closeness, &str, &Budget)> = written
        .iter()
        .chain(&defaults)
        .filter_map(|budget| {
            let (closeness, name) = closeness(budget, developer, groups)?;
            Some((closeness, name, budget))
        })
        .collect();
    let mut rules: Vec<Rule> = Vec::new();
    for (closeness, name, budget) in &meant {
        let closer = |(other, _, b): &(Closeness, &str, &Budget)| {
            other < closeness && b.counts_alike(budget)
        };
        let Some(cap) = cap(budget.bound) else {
            continue;
        };
        if meant.iter().any(closer) {
            continue;
        }
        let subject = if budget.together { name } else { developer };
        let rule = Rule {
            subject: subject.to_owned(),
            scope: budget.scope.clone(),
            cap,
            place: match &budget.origin {
                Some(origin) => format!("stands at {}", origin.place),
                None => format!("is a default of stage {}", stage.as_str()),
            },
        };
        // Two lines for two groups of theirs: what is counted once has one limit, the smaller.
        match rules.iter_mut().find(|other| other.counts_as(&rule)) {
            Some(other) if other.cap.limit() > rule.cap.limit() => *other = rule,
            Some(_) => {}
            None => rules.push(rule),
        }
    }
    rules
}

fn closeness<'a>(
    budget: &'a Budget,
    developer: &str,
    groups: &BTreeSet<String>,
) -> Option<(Closeness, &'a str)> {
    let of = |who: &'a String| {
        let closeness = match who.strip_prefix('@') {
            None if budget.origin.is_none() => Closeness::Default,
            None if who == "*" => Closeness::Everybody,
            None if who == developer => Closeness::ByName,
            Some(group) if groups.contains(group) => Closeness::ByGroup,
            _ => return None,
        };
        Some((closeness, who.as_str()))
    };
    budget.who.iter().filter_map(of).min()
}

/// None if it limits nothing.
fn cap(bound: Bound) -> Option<Cap> {
    match bound {
        Bound::Window(measure, per, Amount::AtMost(limit)) => {
            Some(Cap::Window(measure, per, limit))
        }
        Bound::RowsPerStatement(Amount::AtMost(limit)) => Some(Cap::RowsPerStatement(limit)),
        Bound::Concurrent(Amount::AtMost(limit)) => Some(Cap::Concurrent(limit)),
        Bound::Rate(rate) => rate.map(Cap::Rate),
        Bound::Window(.., Amount::Unlimited)
        | Bound::RowsPerStatement(Amount::Unlimited)
        | Bound::Concurrent(Amount::Unlimited) => None,
    }
}

impl Cap {
    fn limit(self) -> u64 {
        match self {
            Self::Window(.., limit) | Self::RowsPerStatement(limit) | Self::Concurrent(limit) => {
                limit
            }
            Self::Rate(rate) => rate.per_second.get().into(),
        }
    }
}

impl Rule {
    fn counts_as(&self, other: &Self) -> bool {
        let alike = match (self.cap, other.cap) {
            (Cap::Window(measure, per, _), Cap::Window(other, window, _)) => {
                measure == other && per == window
            }
            (one, other) => std::mem::discriminant(&one) == std::mem::discriminant(&other),
        };
        alike && self.subject == other.subject && self.scope == other.scope
    }

    /// The counter on an upstream, if it is one of the ledger's.
    pub(super) fn counter(&self, upstream: &str) -> Option<Counter> {
        match self.cap {
            Cap::Window(measure, per, _) => Some(Counter::new(
                upstream,
                &self.subject,
                &self.scope,
                measure,
                per,
            )),
            _ => None,
        }
    }

    /// Does a statement that touches this count?
    pub(super) fn is_meant(&self, touched: &Touched, policy: Option<&Policy>) -> bool {
        let scope = &self.scope;
        if touched.unknown || *scope == Scope::default() {
            return true;
        }
        touched.relations.iter().any(|relation| {
            let table = scope.table.as_ref();
            let is_table = table
                .is_none_or(|(schema, name)| *schema == relation.schema && *name == relation.name);
            let in_class = |class: &String| {
                let mut columns = relation.sensitive.iter();
                policy.is_some_and(|policy| {
                    columns.any(|c| policy.in_class(class, &relation.schema, &relation.name, c))
                })
            };
            is_table
                && scope.class.as_ref().is_none_or(in_class)
                && !(scope.sensitive && relation.sensitive.is_empty())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::touched::TouchedRelation;
    use super::*;
    use std::path::Path;

    fn policy(text: &str) -> Policy {
        Policy::from_text(Path::new("p.toml"), text).unwrap()
    }

    /// What holds for dev1, who is in the group `support`: `subject what limit`.
    #[track_caller]
    fn check(stage: Stage, text: &str, expected: &[&str]) {
        let policy = policy(text);
        let groups = BTreeSet::from(["support".to_owned(), "dba".to_owned()]);
        let rules = rules("dev1", &groups, stage, Some(&policy));
        let shown: Vec<String> = rules
            .iter()
            .map(|rule| {
                let what = match rule.cap {
                    Cap::Window(measure, per, _) => {
                        format!("{}/{}s", measure.as_str(), per.as_secs())
                    }
                    Cap::RowsPerStatement(_) => "rows_per_statement".to_owned(),
                    Cap::Concurrent(_) => "concurrent".to_owned(),
                    Cap::Rate(_) => "rate".to_owned(),
                };
                format!("{} {what}{} {}", rule.subject, rule.scope, rule.cap.limit())
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn who_is_named_closest_decides_and_then_all_hold() {
        let everybody = "[[budget]]\nwho = [\"*\"]\nper = \"1h\"\nrows = 10\n";
        check(Stage::Local, everybody, &["dev1 rows/3600s 10"]);
        let support = "[[budget]]\nwho = [\"@support\"]\nper = \"1d\"\nrows = 500\n";
        check(
            Stage::Local,
            &format!("{everybody}{support}"),
            &["dev1 rows/86400s 500"],
        );
        let mine = "[[budget]]\nwho = [\"dev1\"]\nper = \"1h\"\nrows = \"unlimited\"\n";
        check(Stage::Local, &format!("{everybody}{support}{mine}"), &[]);
        let dba = "[[budget]]\nwho = [\"@dba\"]\nper = \"1d\"\nrows = 200\nconcurrent = 3\n";
        check(
            Stage::Local,
            &format!("{support}{dba}"),
            &["dev1 rows/86400s 200", "dev1 concurrent 3"],
        );
        check(
            Stage::Local,
            "[[budget]]\nwho = [\"@hr\", \"dev2\"]\nconcurrent = 1\n",
            &[],
        );
    }

    #[test]
    fn what_is_shared_holds_besides() {
        check(
            Stage::Local,
            "[[budget]]\nwho = [\"@support\"]\ntogether = true\nper = \"1h\"\nrows = 100\n\
             [[budget]]\nwho = [\"dev1\"]\nper = \"1h\"\nrows = 900\n\
             [[budget]]\nwho = [\"*\"]\ntogether = true\nstatements_per_second = 7\n",
            &["@support rows/3600s 100", "dev1 rows/3600s 900", "* rate 7"],
        );
    }

    #[test]
    fn a_default_yields_to_a_line_for_the_same_and_to_no_other() {
        let guesses = "dev1 failed_guesses/3600s of masked tables 20";
        check(
            Stage::Prod,
            "[[budget]]\nwho = [\"*\"]\ntable = \"public.orders\"\nper = \"1h\"\nrows = 9\n\
             [[budget]]\nwho = [\"@dba\"]\nsensitive = true\nper = \"7d\"\nrows = 3\n\
             [[budget]]\nwho = [\"*\"]\nper = \"1h\"\nbytes = \"unlimited\"\n",
            &[
                "dev1 rows/3600s of public.orders 9",
                "dev1 rows/604800s of masked tables 3",
                "dev1 rows/3600s 2000000",
                guesses,
            ],
        );
    }

    #[test]
    fn a_statement_counts_where_what_it_touches_is_meant() {
        let policy = policy("[class.card]\nnames = [\"card*\"]\nas = \"deny\"\n");
        let scope = |table: Option<(&str, &str)>, class: Option<&str>, sensitive| Scope {
            table: table.map(|(schema, name)| (schema.to_owned(), name.to_owned())),
            class: class.map(str::to_owned),
            sensitive,
        };
        let relation = |name: &str, sensitive: &[&str]| TouchedRelation {
            schema: "public".to_owned(),
            name: name.to_owned(),
            sensitive: sensitive.iter().map(|c| (*c).to_owned()).collect(),
        };
        let payments = Touched::new([
            relation("payments", &["card_number"]),
            relation("tags", &[]),
        ]);
        let tags = Touched::new([relation("tags", &[])]);
        let unknown = Touched::unknown();
        for (scope, with_payments, with_tags) in [
            (scope(None, None, false), true, true),
            (scope(None, None, true), true, false),
            (scope(None, Some("card"), false), true, false),
            (scope(None, Some("mail"), false), false, false),
            (scope(Some(("public", "tags")), None, false), true, true),
            // Of one relation, all of it must be so.
            (scope(Some(("public", "tags")), None, true), false, false),
            (scope(Some(("hr", "payments")), None, false), false, false),
        ] {
            let rule = Rule {
                subject: "dev1".to_owned(),
                scope,
                cap: Cap::Concurrent(1),
                place: String::new(),
            };
            assert_eq!(
                rule.is_meant(&payments, Some(&policy)),
                with_payments,
                "{rule:?}"
            );
            assert_eq!(rule.is_meant(&tags, Some(&policy)), with_tags, "{rule:?}");
            assert!(rule.is_meant(&unknown, Some(&policy)), "{rule:?}");
        }
    }
}
