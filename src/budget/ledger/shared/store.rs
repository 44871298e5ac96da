//! What is said to the server: one run of a script for each operation, and its answer.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, Script};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::{Counter, Level, millis};
use super::address::Address;

/// Who does not answer in this time is not there.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The longest window, in milliseconds, with which the script reckons exactly: a hundred thousand years.
const LONGEST: u64 = 1 << 52;

/// The script, and where its keys are.
pub(super) struct Store {
    address: Address,
    prefix: String,
    script: Script,
}

/// A connection, and the server's own name for this run of it.
#[derive(Clone)]
pub(super) struct Connection {
    redis: MultiplexedConnection,
    pub(super) run: Arc<str>,
    /// The server's time when this began.
    pub(super) now: u64,
}

/// Why there is no answer, in words that hold no secret.
pub(super) type Failure = String;

impl Store {
    pub(super) fn new(address: Address, prefix: &str) -> Self {
        Self {
            address,
            // What stands in braces says where keys are in a cluster: all of these in one place.
            prefix: format!("{prefix}:{{budgets}}:"),
            script: Script::new(include_str!("script.lua")),
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connecting = async {
            let client = self.address.client();
            let mut redis = client
                .get_multiplexed_async_connection_with_config(&settings)
                .await?;
            let info: String = redis::cmd("INFO")
                .arg("server")
                .query_async(&mut redis)
                .await?;
            let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut redis).await?;
            Ok((redis, info, seconds * 1_000 + micros / 1_000))
        };
        // A server that is slow several times in a row is slow.
        let connected = timeout(2 * PATIENCE, connecting).await;
        let (redis, info, now) = connected.map_err(|_| too_slow())?.map_err(|e| words(&e))?;
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        let run = run.ok_or("it does not say its run_id")?.trim().into();
        Ok(Connection { redis, run, now })
    }

    /// Runs an operation.
    pub(super) async fn run(
        &self,
        connection: &mut Connection,
        operation: &str,
        keys: &Keys,
        asked: &Value,
    ) -> Result<Answer, Failure> {
        let mut call = self.script.prepare_invoke();
        call.key(format!("{}life", self.prefix));
        call.key(format!("{}grants", self.prefix));
        for key in &keys.0 {
            call.key(format!("{}{key}", self.prefix));
        }
        call.arg(operation).arg(asked.to_string());
        let answer = timeout(PATIENCE, call.invoke_async(&mut connection.redis)).await;
        let answer: Vec<String> = answer.map_err(|_| too_slow())?.map_err(|e| words(&e))?;
        Ok(Answer(answer.into_iter()))
    }
}

fn too_slow() -> Failure {
    format!("it does not answer within {} s", PATIENCE.as_secs())
}

/// An error's kind: its text might repeat what was sent.
fn words(error: &RedisError) -> Failure {
    let source = std::error::Error::source(error);
    let shared =
        source.and_then(|source| source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>());
    let broken = shared.and_then(|shared| shared.downcast_ref::<std::io::Error>());
    let tls = broken.and_then(|broken| broken.get_ref()?.downcast_ref::<rustls::Error>());
    match (error.code(), tls, broken) {
        _ if error.is_timeout() => too_slow(),
        (Some(code), ..) => format!("it answers {code}"),
        // Names of servers and authorities at most.
        (None, Some(refused), _) => format!("no TLS with it: {refused}"),
        (None, None, Some(broken)) => broken.kind().to_string(),
        (None, None, None) => error.category().to_owned(),
    }
}

/// The first counter's place among the script's keys, as the script counts.
const FIRST: usize = 3;

/// The counters that an operation is about, each once.
#[derive(Default)]
pub(super) struct Keys(Vec<Arc<str>>);

impl Keys {
    /// The counters, with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        (FIRST..).zip(&self.0)
    }

    /// The place of a counter among the script's keys, as the script counts.
    pub(super) fn place(&mut self, key: &Arc<str>) -> usize {
        let there = self.iter().find(|(_, one)| *one == key);
        match there {
            Some((place, _)) => place,
            None => self.push(key),
        }
    }

    /// A new counter, which the caller knows not to be among them yet.
    pub(super) fn push(&mut self, key: &Arc<str>) -> usize {
        self.0.push(Arc::clone(key));
        self.0.len() - 1 + FIRST
    }
}

/// A counter as the script is told of it.
pub(super) fn asked(keys: &mut Keys, counter: &Counter) -> Value {
    json!({ "at": keys.place(&counter.key), "per": per(millis(counter.per)) })
}

/// The length of a window, as the script can take it.
pub(super) fn per(millis: u64) -> u64 {
    millis.min(LONGEST)
}

/// 64 bits, as the script reads them.
pub(super) fn hex(count: u64) -> String {
    format!("{count:016x}")
}

/// What the script answered, to be read in order.
pub(super) struct Answer(std::vec::IntoIter<String>);

impl Answer {
    pub(super) fn text(&mut self) -> Result<String, Failure> {
        self.0
            .next()
            .ok_or_else(|| "its answer is too short".to_owned())
    }

    pub(super) fn number(&mut self) -> Result<u64, Failure> {
        let text = self.text()?;
        text.parse()
            .map_err(|_| "its answer has no number where one should be".to_owned())
    }

    pub(super) fn count(&mut self) -> Result<u64, Failure> {
        let text = self.text()?;
        u64::from_str_radix(&text, 16)
            .map_err(|_| "its answer has no count where one should be".to_owned())
    }

    /// A level, and its version.
    pub(super) fn level(&mut self) -> Result<(Level, u64), Failure> {
        let level = Level {
            window: self.number()?,
            used: self.count()?,
            refilled_in: Duration::from_millis(self.number()?),
        };
        Ok((level, self.number()?))
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}
