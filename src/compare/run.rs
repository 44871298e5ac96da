//! [`Run`]: what one run of a program asked, and what it was answered.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::changes::Changes;
use crate::sql::normalise::{fingerprint, normalised};
use crate::tap::{Digest, Execution, Outcome, Parameter, ResultDigest, Seen, Sink};

/// How many different statements of a run are told apart; further ones are counted in `more`.
const MOST_STATEMENTS: usize = 2_000;
/// How many executions of a statement are remembered one by one.
const MOST_RESULTS: usize = 1_000;
/// How many executions of a run are remembered one by one.
const MOST_RESULTS_IN_ALL: usize = 50_000;
/// How many durations of a statement are kept for its median.
const MOST_TIMES: usize = 10_000;
/// Larger parameters are not kept for EXPLAIN, in bytes.
const LARGEST_SAMPLE: usize = 64 * 1024;

/// What one run of a program asked, and what it was answered. It holds no value: texts are normalised, rows are digests.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Run {
    /// The command, passwords in URLs left out.
    pub command: String,
    /// Its exit status; 128 and the signal's number if it was killed.
    pub exit: i32,
    /// How many sessions it began.
    pub connections: u64,
    /// How long it ran, in seconds.
    pub seconds: f64,
    /// Its statements by their fingerprint.
    pub statements: BTreeMap<String, Statement>,
    /// Executions of statements beyond those that are told apart.
    pub more: u64,
    /// Errors that belong to no statement, by SQLSTATE.
    pub errors: BTreeMap<String, ErrorCount>,
    /// What it would have written; None where that could not be read.
    #[serde(default)]
    pub changes: Option<Changes>,
    #[serde(skip)]
    kept: usize,
}

/// All executions of one statement.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Statement {
    /// When it was first seen: 0 for the run's first statement.
    pub first: usize,
    /// Its text without literals.
    pub text: String,
    /// How many times it was run.
    pub count: u64,
    /// Rows returned, in all.
    pub rows: u64,
    /// Rows inserted, updated or deleted, in all, by the tags.
    pub affected: u64,
    /// Bytes of the rows returned, in all.
    pub bytes: u64,
    /// Time in all, in microseconds.
    pub total_us: u64,
    /// The first durations, in microseconds.
    pub times_us: Vec<u32>,
    /// How it failed, by SQLSTATE.
    pub errors: BTreeMap<String, ErrorCount>,
    /// The first results, each with the digest of what was asked (text and parameters).
    pub results: Vec<(Digest, ResultDigest)>,
    /// The shape of its plan, if EXPLAIN gave one.
    pub plan: Option<String>,
    /// One execution, for EXPLAIN.
    #[serde(skip)]
    pub sample: Option<Sample>,
}

/// An error, counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ErrorCount {
    /// How many times.
    pub count: u64,
    /// The first one's message.
    pub message: String,
}

/// What is needed to run a statement again. Never stored.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The statement.
    pub text: String,
    /// The types of its parameters; 0 is unknown.
    pub types: Vec<u32>,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
}

/// A recorded reference: the two runs of the same command by which noise is known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Baseline {
    /// 1.
    pub devinprod_reference: u32,
    /// The first run.
    pub first: Run,
    /// The second run.
    pub second: Run,
}

impl Run {
    /// Counts what passed.
    pub fn add(&mut self, seen: Seen) {
        match seen {
            Seen::Execution(execution) => self.execution(*execution),
            Seen::Error { sqlstate, message } => count(&mut self.errors, sqlstate, message),
        }
    }

    fn execution(&mut self, execution: Execution) {
        let text = normalised(&execution.text);
        let known = self.statements.len();
        let print = fingerprint(&text);
        if known >= MOST_STATEMENTS && !self.statements.contains_key(&print) {
            self.more += 1;
            return;
        }
        let statement = self.statements.entry(print).or_insert_with(|| Statement {
            first: known,
            text,
            ..Statement::default()
        });
        if statement.sample.is_none() {
            statement.sample = Sample::of(&execution);
        }
        let micros = u64::try_from(execution.duration.as_micros()).unwrap_or(u64::MAX);
        statement.count += 1;
        statement.rows += execution.result.rows;
        statement.bytes += execution.result.bytes;
        statement.total_us = statement.total_us.saturating_add(micros);
        if statement.times_us.len() < MOST_TIMES {
            statement
                .times_us
                .push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
        let is_write = execution.result.rows == 0;
        statement.affected += execution
            .outcome
            .affected()
            .filter(|_| is_write)
            .unwrap_or(0);
        if statement.results.len() < MOST_RESULTS && self.kept < MOST_RESULTS_IN_ALL {
            let question = execution.question();
            statement.results.push((question, execution.result));
            self.kept += 1;
        }
        if let Outcome::Failed { sqlstate, message } = execution.outcome {
            count(&mut statement.errors, sqlstate, message);
        }
    }

    /// The statements in the order in which they were first seen.
    pub fn in_order(&self) -> Vec<(&String, &Statement)> {
        let mut all: Vec<_> = self.statements.iter().collect();
        all.sort_by_key(|(_, statement)| statement.first);
        all
    }

    /// How many statements were run.
    pub fn executions(&self) -> u64 {
        let counts = self.statements.values().map(|statement| statement.count);
        counts.sum::<u64>() + self.more
    }
}

fn count(errors: &mut BTreeMap<String, ErrorCount>, sqlstate: String, message: String) {
    let error = errors
        .entry(sqlstate)
        .or_insert_with(|| ErrorCount { count: 0, message });
    error.count += 1;
}

impl Sample {
    /// None where its parameters are too large, or were not kept.
    fn of(execution: &Execution) -> Option<Self> {
        let parameters = execution.parameters.as_ref()?;
        let sizes = parameters.iter().flat_map(|p| p.value.as_ref());
        if sizes.map(|value| value.len()).sum::<usize>() > LARGEST_SAMPLE {
            return None;
        }
        // Copied: a slice would keep the whole message that it was cut from.
        let copied = parameters.iter().map(|parameter| Parameter {
            binary: parameter.binary,
            value: parameter.value.as_ref().map(|value| value.to_vec().into()),
        });
        Some(Self {
            text: execution.text.to_string(),
            types: execution.types.clone(),
            parameters: copied.collect(),
        })
    }
}

/// A [`Run`] while it is running.
#[derive(Debug, Default)]
pub struct Collector(Mutex<Run>);

impl Collector {
    /// What was seen so far; it begins anew.
    pub fn take(&self) -> Run {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for Collector {
    fn seen(&self, seen: Seen) {
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        run.add(seen);
    }
}

/// A command's words in one line, the passwords of URLs left out.
pub fn hide_passwords(words: &[String]) -> String {
    let shown = words.iter().map(|word| {
        let hidden = hide_in(word);
        match hidden.contains([' ', '\'', '"', ';']) || hidden.is_empty() {
            true => format!("'{}'", hidden.replace('\'', r"'\''")),
            false => hidden,
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn hide_in(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c == '?' || c.is_whitespace())
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((credentials, host)) => {
                let user = credentials.split(':').next().unwrap_or_default();
                out.push_str(&format!("{user}@{host}"));
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_without_passwords() {
        for (words, shown) in [
            (&["npm", "test"][..], "npm test"),
            (&["sh", "-c", "a; b"], "sh -c 'a; b'"),
            (
                &["psql", "postgres://a:se:c@ret@h:1/d?x=y"],
                "psql postgres://a@h:1/d?x=y",
            ),
            (
                &["x", "u=http://u:p@h v=http://w:q@i/"],
                "x 'u=http://u@h v=http://w@i/'",
            ),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(hide_passwords(&words), shown);
        }
    }
}
