//! [`Spending`]: one statement that runs.

use std::sync::Arc;

use super::Shared;
use super::account::Held;
use super::ledger::{Limit, Outcome, Share, Unused};
use super::pace::Running;
use super::refusal::unavailable;
use crate::error::Refusal;
use crate::sql::explained::Explained;

/// The first batch of a statement; each further one is twice as large, up to the last.
const FIRST_ROWS: u64 = 64;
const LAST_ROWS: u64 = 8_192;
const FIRST_BYTES: u64 = 64 << 10;
const LAST_BYTES: u64 = 8 << 20;

/// What one statement may read, a batch at a time. What it leaves over is given back when it ends.
#[derive(Debug)]
pub struct Spending {
    /// Reserved and not used. `u64::MAX` where nothing is limited.
    rows: u64,
    bytes: u64,
    /// None if nothing is limited.
    more: Option<Box<More>>,
    notices: Vec<Refusal>,
    explained: Explained,
    _running: Vec<Arc<Running>>,
}

/// Where more comes from.
#[derive(Debug)]
struct More {
    shared: Arc<Shared>,
    held: Arc<Held>,
    /// What this statement may still reserve, whatever the ledger has.
    rows_of_statement: u64,
    next_rows: u64,
    next_bytes: u64,
    rows_from: Option<Batch>,
    bytes_from: Option<Batch>,
}

/// The last batch: what is left over is always of it.
#[derive(Debug)]
struct Batch {
    limits: Arc<[Limit]>,
    share: Share,
}

impl Spending {
    /// Of somebody who may read as much as they like.
    pub fn unlimited() -> Self {
        Self {
            rows: u64::MAX,
            bytes: u64::MAX,
            more: None,
            notices: Vec::new(),
            explained: Explained::default(),
            _running: Vec::new(),
        }
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        held: Arc<Held>,
        running: Vec<Arc<Running>>,
        notices: Vec<Refusal>,
    ) -> Self {
        let mut spending = Self::unlimited();
        spending.notices = notices;
        spending._running = running;
        let rows_of_statement = held.rows_per_statement.as_ref().map(|(limit, _)| *limit);
        let counts_rows = !held.rows.limits.is_empty() || rows_of_statement.is_some();
        let counts_bytes = !held.bytes.limits.is_empty();
        if counts_rows {
            spending.rows = 0;
        }
        if counts_bytes {
            spending.bytes = 0;
        }
        if counts_rows || counts_bytes {
            spending.more = Some(Box::new(More {
                shared,
                held,
                rows_of_statement: rows_of_statement.unwrap_or(u64::MAX),
                next_rows: FIRST_ROWS,
                next_bytes: FIRST_BYTES,
                rows_from: None,
                bytes_from: None,
            }));
        }
        spending
    }

    /// Spends what is reserved; false, and nothing is spent, if that is not enough: then ask for [`Self::more`].
    pub fn spend(&mut self, rows: u64, bytes: u64) -> bool {
        match (self.rows.checked_sub(rows), self.bytes.checked_sub(bytes)) {
            (Some(rows), Some(bytes)) => {
                (self.rows, self.bytes) = (rows, bytes);
                true
            }
            _ => false,
        }
    }

    /// Spends a row of this many bytes; of EXPLAIN ANALYZE, whose first column is `explained`, also the rows that it says were
    /// read. If those are too many, what is left is spent all the same, as it would have been by the statement itself.
    ///
    /// # Errors
    /// As [`Self::more`].
    pub async fn row(&mut self, explained: Option<&str>, bytes: u64) -> Result<(), Refusal> {
        let mut read = explained.map_or(0, |line| self.explained.row(line));
        let mut most = read;
        while read > 0 {
            most = most.min(read);
            let spent = match self.spend(most, 0) {
                true => Ok(()),
                false => self.more(most, 0).await,
            };
            match spent {
                Ok(()) => read -= most,
                Err(refusal) if most == 1 => return Err(refusal),
                Err(_) => most /= 2,
            }
        }
        match self.spend(1, bytes) {
            true => Ok(()),
            false => self.more(1, bytes).await,
        }
    }

    /// Reserves what is missing and more, and spends this.
    ///
    /// # Errors
    /// 53400: a limit does not allow it, and nothing was spent; the rows must not be sent on. 58030: nobody can say.
    pub async fn more(&mut self, rows: u64, bytes: u64) -> Result<(), Refusal> {
        let Some(more) = &mut self.more else {
            // 2^64 were spent.
            (self.rows, self.bytes) = (u64::MAX, u64::MAX);
            return Ok(());
        };
        let needed_rows = rows.saturating_sub(self.rows);
        let needed_bytes = bytes.saturating_sub(self.bytes);
        let held = Arc::clone(&more.held);
        if let Some((limit, rule)) = &held.rows_per_statement
            && needed_rows > more.rows_of_statement
        {
            return Err(held.reader.too_many_rows(rule, *limit));
        }
        let batch = |needed: u64, next: u64| match needed {
            0 => (0, 0),
            needed => (needed, next.max(needed)),
        };
        let (needed, wished) = batch(needed_rows, more.next_rows);
        let of_rows = held.rows.want(needed, wished.min(more.rows_of_statement));
        let (needed, wished) = batch(needed_bytes, more.next_bytes);
        let of_bytes = held.bytes.want(needed, wished);
        let reserved = more.shared.ledger.reserve(&[of_rows, of_bytes]).await;
        let shares = match reserved.map_err(|error| unavailable(&error))? {
            Outcome::Reserved(shares) => shares,
            Outcome::Refused { want, limit, level } => {
                let windows = if want == 0 { &held.rows } else { &held.bytes };
                return Err(windows.used_up(&held.reader, limit, level));
            }
        };
        let mut shares = shares.into_iter();
        let sides = [
            (&held.rows, &mut self.rows, &mut more.rows_from),
            (&held.bytes, &mut self.bytes, &mut more.bytes_from),
        ];
        let mut got_rows = 0;
        for (number, (windows, left, from)) in sides.into_iter().enumerate() {
            let Some(share) = shares.next().filter(|share| share.amount > 0) else {
                continue;
            };
            *left = left.saturating_add(share.amount);
            if number == 0 {
                got_rows = share.amount;
            }
            more.shared
                .note(&held.reader, windows, &share, &mut self.notices);
            *from = Some(Batch {
                limits: Arc::clone(&windows.limits),
                share,
            });
        }
        if held.rows_per_statement.is_some() {
            more.rows_of_statement = more.rows_of_statement.saturating_sub(got_rows);
        }
        if got_rows > 0 {
            more.next_rows = more.next_rows.saturating_mul(2).min(LAST_ROWS);
        }
        if needed_bytes > 0 {
            more.next_bytes = more.next_bytes.saturating_mul(2).min(LAST_BYTES);
        }
        // What was missing has been added, so this cannot fail; if it ever did, nothing may be sent.
        if self.spend(rows, bytes) {
            Ok(())
        } else {
            Err(unavailable(&super::ledger::Unavailable(
                "the ledger gave less than was needed".to_owned(),
            )))
        }
    }

    /// NOTICEs that came up since this was last asked: most of a limit is used. Once per limit and window.
    pub fn notices(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.notices)
    }

    /// Ends it, and gives back what was not used.
    pub async fn end(mut self) {
        if let Some((shared, unused)) = self.unused() {
            shared.ledger.give_back(&unused).await;
        }
    }

    /// Takes out what must be given back, if anything.
    fn unused(&mut self) -> Option<(Arc<Shared>, Vec<Unused>)> {
        let more = self.more.take()?;
        let sides = [(more.rows_from, self.rows), (more.bytes_from, self.bytes)];
        let unused: Vec<Unused> = sides
            .into_iter()
            .filter_map(|(from, amount)| {
                let Batch { limits, share } = from.filter(|_| amount > 0)?;
                // Without a limit nothing was counted.
                (!limits.is_empty()).then_some(Unused {
                    limits,
                    share,
                    amount,
                })
            })
            .collect();
        (self.rows, self.bytes) = (0, 0);
        (!unused.is_empty()).then_some((more.shared, unused))
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        let Some((shared, unused)) = self.unused() else {
            return;
        };
        // Without a runtime, what was reserved stays spent: that is the safe side.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { shared.ledger.give_back(&unused).await });
        }
    }
}
