//! A recording, played again: the same statements on as many connections, at the recorded pace, faster, or several times at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use serde::Serialize;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

use super::ask::Raw;
use crate::sql::normalise::{fingerprint, normalised};
use crate::tap::recording::Recorded;
use crate::upstream::address::Address;
use crate::upstream::admin::admin;
use crate::upstream::connect::ConnectError;

/// How many durations of a statement are kept.
const MOST_TIMES: usize = 100_000;
/// How many statements a connection keeps prepared.
const MOST_PREPARED: usize = 500;

/// How to replay.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// So many times faster than recorded; None: each connection as fast as it can.
    pub speed: Option<f64>,
}

/// What a replay found.
#[derive(Debug, Default, Serialize)]
pub struct Replayed {
    /// 1.
    pub devinprod_replay: u32,
    /// Statements run.
    pub executions: u64,
    /// Statements that cannot be replayed: COPY, and those whose parameters were too large to be recorded.
    pub skipped: u64,
    /// Statements that answered with another number of rows.
    pub other_rows: u64,
    /// Statements that failed where they had not, did not where they had, or with another SQLSTATE.
    pub other_outcome: u64,
    /// Time on the clock, in seconds.
    pub seconds: f64,
    /// All statements.
    pub all: Latency,
    /// Each statement, the most time first.
    pub statements: Vec<Line>,
}

/// One statement.
#[derive(Debug, Default, Serialize)]
pub struct Line {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its text without literals.
    pub statement: String,
    /// How long it took.
    pub latency: Latency,
    /// How long it took when it was recorded.
    pub recorded: Latency,
    /// How many times it answered with another number of rows.
    pub other_rows: u64,
    /// The first such: recorded and replayed.
    pub rows: Option<(u64, u64)>,
    /// How many times it ended in another way.
    pub other_outcome: u64,
    /// The first such: the recorded SQLSTATE and the replayed one with its message; "" is success.
    pub outcome: Option<(String, String)>,
}

/// Percentiles of durations, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// In all.
    pub total_us: u64,
    /// Half were no longer than this.
    pub p50_us: u32,
    /// 95 of 100 were no longer than this.
    pub p95_us: u32,
    /// 99 of 100 were no longer than this.
    pub p99_us: u32,
    /// The longest.
    pub max_us: u32,
}

impl Latency {
    fn of(times: &mut [u32]) -> Self {
        times.sort_unstable();
        // The nearest rank: the smallest that so many are no longer than.
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self {
            count: times.len() as u64,
            total_us: times.iter().map(|time| u64::from(*time)).sum(),
            p50_us: at(50),
            p95_us: at(95),
            p99_us: at(99),
            max_us: at(100),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    statements: BTreeMap<String, (Line, Vec<u32>, Vec<u32>)>,
    skipped: u64,
}

/// How a statement ended, now: its rows, or SQLSTATE and message.
type Ended = Result<u64, (String, String)>;

/// Replays at each of these addresses at once: one client each, with a connection for each recorded one.
///
/// # Errors
///
/// One of the connections cannot be had.
pub async fn replay(
    addresses: &[Address],
    recorded: &[Recorded],
    pace: Pace,
) -> Result<Replayed, ConnectError> {
    let mut connections: BTreeMap<u64, Vec<Recorded>> = BTreeMap::new();
    for one in recorded {
        connections
            .entry(one.connection)
            .or_default()
            .push(one.clone());
    }
    let connections: Vec<Arc<Vec<Recorded>>> = connections.into_values().map(Arc::new).collect();
    let mut opened = Vec::new();
    for address in addresses {
        for statements in &connections {
            opened.push((admin(address).await?, statements.clone()));
        }
    }
    let tally = Arc::new(Mutex::new(Tally::default()));
    let began = Instant::now();
    let first = recorded.iter().map(|one| one.at_us).min().unwrap_or(0);
    let mut playing = tokio::task::JoinSet::new();
    for (client, statements) in opened {
        let tally = tally.clone();
        playing.spawn(async move {
            let mut player = Player {
                client,
                prepared: HashMap::new(),
            };
            for one in statements.iter() {
                if let Some(speed) = pace.speed {
                    let since = Duration::from_micros(one.at_us - first).div_f64(speed);
                    tokio::time::sleep_until((began + since).into()).await;
                }
                let asked = player.play(one).await;
                tally
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .add(one, asked);
            }
        });
    }
    while playing.join_next().await.is_some() {}
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(tally.sum_up(began.elapsed()))
}

struct Player {
    client: Client,
    prepared: HashMap<(String, Vec<u32>), Statement>,
}

impl Player {
    /// Runs a statement; None if it cannot be replayed.
    async fn play(&mut self, one: &Recorded) -> Option<(Ended, Duration)> {
        let is_copy = one.statement.trim_start().get(..4);
        if one.incomplete || is_copy.is_some_and(|word| word.eq_ignore_ascii_case("copy")) {
            return None;
        }
        let parameters = one.bound().ok()?;
        let began = Instant::now();
        let (ended, began) = if one.simple {
            (self.simple(&one.statement).await, began)
        } else {
            match self.prepare(one).await {
                Ok(statement) if statement.params().len() == parameters.len() => {
                    let began = Instant::now();
                    let raw: Vec<Raw<'_>> = parameters.iter().map(Raw).collect();
                    (self.extended(&statement, &raw).await, began)
                }
                Ok(_) => return None,
                Err(error) => (Err(error), began),
            }
        };
        let took = began.elapsed();
        Some((ended.map_err(told), took))
    }

    async fn prepare(&mut self, one: &Recorded) -> Result<Statement, tokio_postgres::Error> {
        let key = (one.statement.clone(), one.types.clone());
        if let Some(found) = self.prepared.get(&key) {
            return Ok(found.clone());
        }
        let types: Vec<Type> = one
            .types
            .iter()
            .map_while(|oid| Type::from_oid(*oid))
            .collect();
        let statement = self.client.prepare_typed(&one.statement, &types).await?;
        if self.prepared.len() >= MOST_PREPARED {
            self.prepared.clear();
        }
        self.prepared.insert(key, statement.clone());
        Ok(statement)
    }

    async fn simple(&self, text: &str) -> Result<u64, tokio_postgres::Error> {
        let messages = self.client.simple_query_raw(text).await?;
        futures::pin_mut!(messages);
        let mut rows = 0;
        while let Some(message) = messages.try_next().await? {
            if let SimpleQueryMessage::CommandComplete(count) = message {
                rows = count;
            }
        }
        Ok(rows)
    }

    async fn extended(
        &self,
        statement: &Statement,
        raw: &[Raw<'_>],
    ) -> Result<u64, tokio_postgres::Error> {
        let parameters = raw.iter().map(|raw| raw as &(dyn ToSql + Sync));
        let rows = self.client.query_raw(statement, parameters).await?;
        futures::pin_mut!(rows);
        let mut count = 0;
        while rows.try_next().await?.is_some() {
            count += 1;
        }
        Ok(rows.rows_affected().unwrap_or(0).max(count))
    }
}

fn told(error: tokio_postgres::Error) -> (String, String) {
    match error.as_db_error() {
        Some(error) => (error.code().code().to_owned(), error.message().to_owned()),
        None => ("08006".to_owned(), error.to_string()),
    }
}

impl Tally {
    fn add(&mut self, one: &Recorded, asked: Option<(Ended, Duration)>) {
        let Some((ended, took)) = asked else {
            self.skipped += 1;
            return;
        };
        let text = normalised(&one.statement);
        let print = fingerprint(&text);
        let (line, times, recorded) = self.statements.entry(print.clone()).or_default();
        (line.fingerprint, line.statement) = (print, text);
        if times.len() < MOST_TIMES {
            times.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            recorded.push(u32::try_from(one.duration_us).unwrap_or(u32::MAX));
        }
        let (rows, state, message) = match ended {
            Ok(rows) => (Some(rows), String::new(), String::new()),
            Err((state, message)) => (None, state, message),
        };
        let was = one.sqlstate.clone().unwrap_or_default();
        if was != state {
            line.other_outcome += 1;
            line.outcome
                .get_or_insert_with(|| (was, format!("{state} {message}").trim().to_owned()));
        } else if let Some(rows) = rows.filter(|rows| *rows != one.rows) {
            line.other_rows += 1;
            line.rows.get_or_insert((one.rows, rows));
        }
    }

    fn sum_up(self, took: Duration) -> Replayed {
        let mut out = Replayed {
            devinprod_replay: 1,
            skipped: self.skipped,
            seconds: took.as_secs_f64(),
            ..Replayed::default()
        };
        let mut all = Vec::new();
        for (mut line, mut times, mut recorded) in self.statements.into_values() {
            line.latency = Latency::of(&mut times);
            line.recorded = Latency::of(&mut recorded);
            out.other_rows += line.other_rows;
            out.other_outcome += line.other_outcome;
            all.append(&mut times);
            out.statements.push(line);
        }
        out.all = Latency::of(&mut all);
        out.executions = out.all.count;
        out.statements
            .sort_by_key(|line| std::cmp::Reverse(line.latency.total_us));
        out
    }
}

impl Replayed {
    /// For people.
    pub fn text(&self) -> String {
        let ms = |micros: u32| format!("{:.1}", f64::from(micros) / 1e3);
        let cells = |latency: &Latency| {
            format!(
                "{:>9} {:>9} {:>9}",
                ms(latency.p50_us),
                ms(latency.p95_us),
                ms(latency.p99_us)
            )
        };
        let mut out = vec![format!(
            "{:>7} {:>9} {:>9} {:>9}   {:>9} {:>9}  statement",
            "runs", "p50 ms", "p95 ms", "p99 ms", "p50 was", "p99 was"
        )];
        for line in &self.statements {
            out.push(format!(
                "{:>7} {}   {:>9} {:>9}  {}",
                line.latency.count,
                cells(&line.latency),
                ms(line.recorded.p50_us),
                ms(line.recorded.p99_us),
                super::text::cut(&line.statement, 100),
            ));
            if let Some((was, is)) = line.rows {
                out.push(format!(
                    "        {}x other rows: {was} then, {is} now",
                    line.other_rows
                ));
            }
            if let Some((was, is)) = &line.outcome {
                let or_success = |text: &str| match text {
                    "" => "success".to_owned(),
                    text => super::text::cut(text, 100),
                };
                out.push(format!(
                    "        {}x another outcome: {} then, {} now",
                    line.other_outcome,
                    or_success(was),
                    or_success(is)
                ));
            }
        }
        out.push(format!("{:>7} {}   all", self.executions, cells(&self.all)));
        out.push(String::new());
        out.push(format!(
            "{} statements in {:.2} s, {} skipped; {} with other rows, {} with another outcome",
            self.executions, self.seconds, self.skipped, self.other_rows, self.other_outcome
        ));
        out.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut times: Vec<u32> = (1..=200).rev().collect();
        let latency = Latency::of(&mut times);
        assert_eq!(
            (
                latency.p50_us,
                latency.p95_us,
                latency.p99_us,
                latency.max_us
            ),
            (100, 190, 198, 200)
        );
        assert_eq!(Latency::of(&mut [7]).p99_us, 7);
        assert_eq!(Latency::of(&mut []), Latency::default());
    }
}
