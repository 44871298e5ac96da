//! The comparison itself: a pure function of runs.

use std::collections::BTreeMap;

use super::assert::Checked;
use super::changes;
use super::noise::{self, Aspects};
use super::report::{Difference, Figures, Kind, Line, Report, Side};
use super::run::{ErrorCount, Run, Statement};

/// A statement that runs so many times in one run and at most a fifth as many in the other is worth a hint.
const MANY: u64 = 10;

/// Compares B with A, of which the second run says what is noise. What is of an ignored kind makes no difference.
pub fn compare(a: (&Run, &Run), b: &Run, ignored: &[Kind], assertions: Vec<Checked>) -> Report {
    let mut found = Found::default();
    found.exit(a.0, b);
    found.unbound_errors(a, b);
    found.changes(a, b);
    let mut prints: Vec<&String> = a.0.in_order().into_iter().map(|(print, _)| print).collect();
    prints.extend(
        b.in_order()
            .into_iter()
            .map(|(print, _)| print)
            .filter(|print| !a.0.statements.contains_key(*print)),
    );
    let mut statements = Vec::new();
    for print in prints {
        let of = |run: &Run| run.statements.get(print).cloned();
        let (first, second, other) = (of(a.0), of(a.1), of(b));
        let text = first.as_ref().or(other.as_ref());
        let text = text.map(|statement| statement.text.clone());
        found.about = Some((print.clone(), text.clone().unwrap_or_default()));
        statements.push(Line {
            fingerprint: print.clone(),
            statement: text.unwrap_or_default(),
            a: first.as_ref().map(|first| figures(first, second.as_ref())),
            b: other.as_ref().map(|other| figures(other, None)),
        });
        let none = Statement::default();
        let or_none = |statement: &Option<Statement>| statement.clone().unwrap_or(none.clone());
        let all = (or_none(&first), or_none(&second), or_none(&other));
        found.count(&all.0, &all.1, &all.2);
        found.errors((&all.0.errors, &all.1.errors), &all.2.errors);
        if first.is_some() && other.is_some() {
            found.results(&all.0, &all.1, &all.2);
            found.plan(&all.0, &all.1, &all.2);
        }
    }
    let Found {
        mut differences,
        noise,
        hints,
        ..
    } = found;
    differences.retain(|difference| !ignored.contains(&difference.kind));
    differences.sort_by_key(|difference| difference.kind);
    let failed = assertions.iter().any(|checked| checked.failure.is_some());
    Report {
        devinprod_comparison: 1,
        same: differences.is_empty() && !failed,
        a: side(a.0),
        b: Some(side(b)),
        differences,
        assertions,
        hints,
        noise,
        statements,
    }
}

impl Report {
    /// One run with what was asserted of it.
    pub fn of_one(run: &Run, assertions: Vec<Checked>) -> Self {
        let statements = run.in_order().into_iter().map(|(print, statement)| Line {
            fingerprint: print.clone(),
            statement: statement.text.clone(),
            a: Some(figures(statement, None)),
            b: None,
        });
        Self {
            devinprod_comparison: 1,
            same: assertions.iter().all(|checked| checked.failure.is_none()),
            a: side(run),
            b: None,
            differences: Vec::new(),
            assertions,
            hints: Vec::new(),
            noise: Vec::new(),
            statements: statements.collect(),
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    differences: Vec<Difference>,
    noise: Vec<String>,
    hints: Vec<String>,
    /// The fingerprint and text of the statement that is looked at.
    about: Option<(String, String)>,
}

impl Found {
    fn differs(&mut self, kind: Kind, what: String, a: String, b: String) {
        let (fingerprint, statement) = self.about.clone().unzip();
        self.differences.push(Difference {
            kind,
            fingerprint,
            statement,
            what,
            a,
            b,
        });
    }

    fn is_noise(&mut self, what: &str) {
        let text = self.about.as_ref().map_or("", |(_, text)| text);
        self.noise.push(format!("{what}: {text}"));
    }

    fn exit(&mut self, a: &Run, b: &Run) {
        if a.exit != b.exit {
            let what = "the commands end with another status".to_owned();
            self.differs(Kind::Exit, what, a.exit.to_string(), b.exit.to_string());
        }
    }

    fn unbound_errors(&mut self, a: (&Run, &Run), b: &Run) {
        self.errors((&a.0.errors, &a.1.errors), &b.errors);
    }

    fn changes(&mut self, a: (&Run, &Run), b: &Run) {
        let (Some(first), Some(second), Some(other)) = (&a.0.changes, &a.1.changes, &b.changes)
        else {
            self.hints
                .push("what the runs would have written could not be compared".to_owned());
            return;
        };
        let noise = changes::differences(first, second);
        for what in noise.keys() {
            self.noise.push(what.clone());
        }
        for (what, (a, b)) in changes::differences(first, other) {
            if !noise.contains_key(&what) {
                self.differs(Kind::Changes, what, a, b);
            }
        }
        for (table, because) in other.withheld.iter().chain(&first.withheld) {
            let hint = format!("what is written to {table} is not compared: {because}");
            if !self.hints.contains(&hint) {
                self.hints.push(hint);
            }
        }
    }

    fn count(&mut self, first: &Statement, second: &Statement, other: &Statement) {
        if first.count == other.count {
            return;
        }
        if first.count != second.count {
            return self.is_noise("how many times it is run");
        }
        let what = match (first.count, other.count) {
            (0, _) => "runs in B only".to_owned(),
            (_, 0) => "runs in A only".to_owned(),
            _ => "runs another number of times".to_owned(),
        };
        let times = |count: u64| match count {
            0 => "never".to_owned(),
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        self.differs(
            Kind::Statements,
            what,
            times(first.count),
            times(other.count),
        );
        let is_read = self.about.as_ref().is_some_and(|(_, text)| is_read(text));
        for (many, few, side, other) in [
            (first.count, other.count, "A", "B"),
            (other.count, first.count, "B", "A"),
        ] {
            if is_read && many >= MANY && few * 5 <= many {
                let text = self.about.as_ref().map_or("", |(_, text)| text);
                self.hints.push(format!(
                    "{side} runs it {many} times, {other} {}; one query for each row of another (N+1)? {text}",
                    times(few)
                ));
            }
        }
    }

    fn errors(
        &mut self,
        a: (&BTreeMap<String, ErrorCount>, &BTreeMap<String, ErrorCount>),
        b: &BTreeMap<String, ErrorCount>,
    ) {
        let states =
            a.0.keys()
                .chain(b.keys().filter(|state| !a.0.contains_key(*state)));
        for state in states {
            let times = |errors: &BTreeMap<String, ErrorCount>| {
                errors.get(state).map_or(0, |error| error.count)
            };
            let (first, second, other) = (times(a.0), times(a.1), times(b));
            if first == other {
                continue;
            }
            if first != second {
                self.is_noise(&format!("how many times it fails with {state}"));
                continue;
            }
            let message = a.0.get(state).or_else(|| b.get(state));
            let message = message.map_or("", |error| &error.message);
            let words = |count: u64| match count {
                0 => "no such error".to_owned(),
                1 => "once".to_owned(),
                count => format!("{count} times"),
            };
            let what = format!("fails with {state}: {message}");
            self.differs(Kind::Errors, what, words(first), words(other));
        }
    }

    fn results(&mut self, first: &Statement, second: &Statement, other: &Statement) {
        let noise = noise::aspects(first, second);
        for aspect in noise.keys() {
            self.is_noise(&aspect.words());
        }
        let left: Aspects = noise::without(noise::aspects(first, other), &noise);
        for (aspect, times) in left {
            let of = first.results.len().max(other.results.len());
            let (rows, other_rows) = (first.rows, other.rows);
            let what = match of {
                1 => format!("returns {}", aspect.words()),
                of => format!("returns {} ({times} of {of} times)", aspect.words()),
            };
            let (a, b) = match aspect {
                noise::Aspect::Rows => (format!("{rows} rows"), format!("{other_rows} rows")),
                _ => (String::new(), String::new()),
            };
            self.differs(Kind::Results, what, a, b);
        }
        let same_count = first.count == second.count && first.count == other.count;
        if same_count && first.affected == second.affected && first.affected != other.affected {
            let words = |rows: u64| format!("{rows} rows");
            let what = "writes another number of rows".to_owned();
            self.differs(
                Kind::Results,
                what,
                words(first.affected),
                words(other.affected),
            );
        }
    }

    fn plan(&mut self, first: &Statement, second: &Statement, other: &Statement) {
        let (Some(a), Some(b)) = (&first.plan, &other.plan) else {
            return;
        };
        if second.plan.as_ref().is_some_and(|second| second != a) {
            return self.is_noise("its plan");
        }
        if a != b {
            let what = "is planned in another way".to_owned();
            self.differs(Kind::Plans, what, a.clone(), b.clone());
        }
    }
}

/// Whether a statement begins like one that only reads.
fn is_read(text: &str) -> bool {
    let text = text.trim_start_matches('(').to_lowercase();
    ["select", "with", "table", "values"]
        .iter()
        .any(|word| text.starts_with(word))
}

/// The figures of a statement; those of time from two runs, if there are two.
fn figures(statement: &Statement, again: Option<&Statement>) -> Figures {
    let mut times: Vec<u32> = statement.times_us.clone();
    times.extend(again.iter().flat_map(|again| again.times_us.iter()));
    times.sort_unstable();
    let total = match again {
        Some(again) => u64::midpoint(statement.total_us, again.total_us),
        None => statement.total_us,
    };
    Figures {
        count: statement.count,
        rows: statement.rows,
        affected: statement.affected,
        errors: statement.errors.values().map(|error| error.count).sum(),
        median_us: times.get(times.len() / 2).copied().unwrap_or(0).into(),
        total_us: total,
    }
}

fn side(run: &Run) -> Side {
    let total: u64 = run.statements.values().map(|one| one.total_us).sum();
    Side {
        command: run.command.clone(),
        exit: run.exit,
        connections: run.connections,
        executions: run.executions(),
        seconds: run.seconds,
        database_seconds: total as f64 / 1e6,
    }
}
