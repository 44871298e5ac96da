//! The task that copies.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;

use super::CopyError;
use super::row::{self, Copied};
use crate::audit::chain::Hash;
use crate::audit::event::EventKind;
use crate::audit::feed::Feed;
use crate::audit::search::Follow;

/// A batch ends with this many lines, or bytes.
const LINES: usize = 5_000;
const BYTES: usize = 4 << 20;
/// How long lines are gathered before they are copied.
const LINGER: Duration = Duration::from_millis(200);
/// How long the database may take for a batch.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between tries, at first and at most.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often old days are dropped, and how long this task sleeps at most.
const RETAIN: Duration = Duration::from_secs(3_600);

/// How far a log is copied.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    last: u64,
    hash: Hash,
}

/// Copies a log for as long as it is written, and what is left when it has ended; gives up only then. `connect` is
/// called for each connection that is needed.
pub async fn follow<C, F, E>(mut feed: Feed, connect: C)
where
    C: Fn() -> F,
    F: Future<Output = Result<Client, E>>,
    E: Display,
{
    let mut state = State::default();
    let mut pause = PAUSE;
    loop {
        let copied = state.copied;
        match session(&mut feed, &connect, &mut state).await {
            Ok(()) => return,
            Err(error) => {
                if !state.lost {
                    tracing::warn!(%error, "the audit log is not being copied into its database");
                    feed.tell(EventKind::SqlLost {
                        reason: error.to_string(),
                    });
                }
                state.lost = true;
                if feed.ended() {
                    tracing::warn!("the end of the audit log is copied at the next start");
                    return;
                }
            }
        }
        if state.copied > copied {
            pause = PAUSE;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What outlives a connection.
#[derive(Debug, Default)]
struct State {
    /// The log has a note that its copy is not written.
    lost: bool,
    /// How many lines were copied.
    copied: u64,
}

/// Copies over one connection; Ok: all is copied, and the log has ended.
async fn session<C, F, E>(feed: &mut Feed, connect: &C, state: &mut State) -> Result<(), CopyError>
where
    C: Fn() -> F,
    F: Future<Output = Result<Client, E>>,
    E: Display,
{
    let connected = connect().await;
    let mut client = connected.map_err(|error| CopyError::Connect(error.to_string()))?;
    let mut cursor = within(cursor(&client, &feed.log)).await?;
    let mut reader = Reader {
        log: feed.log.clone(),
        follow: Follow::behind(&feed.folder, cursor.map_or(0, |cursor| cursor.last))?,
    };
    let mut days = BTreeSet::new();
    let mut retained: Option<Instant> = None;
    loop {
        let ended = feed.ended();
        let confirmed = feed.confirmed();
        while cursor.is_none_or(|cursor| cursor.last < confirmed) {
            let (back, batch) = reader.batch(cursor, confirmed).await?;
            reader = back;
            let Some(after) = batch.last().map(Copied::cursor) else {
                break;
            };
            for day in batch.iter().map(|line| line.day) {
                if days.insert(day) {
                    let begin = "SELECT devinprod_audit.begin_day($1)";
                    within(client.execute(begin, &[&day])).await?;
                }
            }
            within(write(&mut client, &feed.log, cursor, &batch)).await?;
            cursor = Some(after);
            state.copied += batch.len() as u64;
            if std::mem::take(&mut state.lost) {
                tracing::info!("the audit log is being copied into its database again");
                feed.tell(EventKind::SqlBack);
            }
        }
        if ended {
            return Ok(());
        }
        if retained.is_none_or(|at| at.elapsed() >= RETAIN) {
            retained = Some(Instant::now());
            if let Err(error) = within(client.execute("SELECT devinprod_audit.retain()", &[])).await
            {
                tracing::warn!(%error, "old days of the audit's copy could not be dropped");
            }
        }
        if timeout(RETAIN, feed.more()).await == Ok(true) {
            sleep(LINGER).await;
        }
    }
}

async fn within<T, E: Into<CopyError>>(
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, CopyError> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(CopyError::TimedOut),
    }
}

/// How far the database has a log; None: it does not know it.
async fn cursor(client: &Client, log: &str) -> Result<Option<Cursor>, CopyError> {
    let sql = "SELECT last, hash FROM devinprod_audit.logs WHERE log = $1";
    let Some(row) = client.query_opt(sql, &[&log]).await? else {
        return Ok(None);
    };
    let last: i64 = row.try_get(0)?;
    let last = u64::try_from(last).unwrap_or(0);
    let hash = Hash::from_bytes(row.try_get(1)?).ok_or(CopyError::Changed(last))?;
    Ok(Some(Cursor { last, hash }))
}

/// Adds the rows and moves the cursor, or does nothing.
async fn write(
    client: &mut Client,
    log: &str,
    cursor: Option<Cursor>,
    batch: &[Copied],
) -> Result<(), CopyError> {
    let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
        return Ok(());
    };
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let transaction = client.transaction().await?;
    // First of all: two that copy the same log wait here, and the second one finds that it was too late.
    let advance = "SELECT devinprod_audit.advance($1, $2, $3, $4, $5)";
    let was = cursor.map(|cursor| number(cursor.last));
    let hash = last.hash.bytes().as_slice();
    transaction
        .execute(
            advance,
            &[
                &log,
                &was,
                &number(first.sequence),
                &number(last.sequence),
                &hash,
            ],
        )
        .await?;
    let copy = format!(
        "COPY devinprod_audit.records ({}) FROM STDIN (FORMAT binary)",
        row::names()
    );
    let sink = transaction.copy_in(&copy).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &row::types()));
    for line in batch {
        writer.as_mut().write_raw(line.values()).await?;
    }
    writer.finish().await?;
    transaction.commit().await?;
    Ok(())
}

impl Copied {
    fn cursor(&self) -> Cursor {
        Cursor {
            last: self.sequence,
            hash: self.hash,
        }
    }
}

/// Reads the segments; sent to and fro, since reading blocks.
struct Reader {
    log: String,
    follow: Follow,
}

impl Reader {
    async fn batch(
        mut self,
        cursor: Option<Cursor>,
        confirmed: u64,
    ) -> Result<(Self, Vec<Copied>), CopyError> {
        let read = tokio::task::spawn_blocking(move || {
            let batch = self.read(cursor, confirmed)?;
            Ok((self, batch))
        });
        read.await
            .map_err(|error| io::Error::other(error.to_string()))?
    }

    fn read(&mut self, cursor: Option<Cursor>, confirmed: u64) -> Result<Vec<Copied>, CopyError> {
        let mut batch: Vec<Copied> = Vec::new();
        let mut line = Vec::new();
        let mut at = cursor;
        let mut bytes = 0;
        while batch.len() < LINES && bytes < BYTES && at.is_none_or(|at| at.last < confirmed) {
            let Some(record) = self.follow.next(&mut line)? else {
                break;
            };
            let sequence = record.metadata.sequence;
            match at {
                Some(at) if sequence <= at.last => continue,
                Some(at) if sequence == at.last + 1 && record.unmapped.previous != at.hash => {
                    return Err(CopyError::Changed(sequence));
                }
                Some(at) if sequence > at.last + 1 && !self.follow.begins_with(sequence) => {
                    return Err(CopyError::Changed(sequence));
                }
                Some(at) if sequence > at.last + 1 => tracing::error!(
                    from = at.last + 1,
                    to = sequence - 1,
                    "the retention deleted records of the audit log before they were copied"
                ),
                _ => {}
            }
            let copied = Copied::of(&self.log, &line).map_err(io::Error::from)?;
            bytes += line.len();
            at = Some(copied.cursor());
            batch.push(copied);
        }
        // What was read ahead may be taken back by who writes the log.
        self.follow.look_again()?;
        Ok(batch)
    }
}
