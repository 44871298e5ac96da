//! Budgets while rows pass: what a statement may still read is counted row by row, and a statement that would read
//! more is cut.
//!
//! A cut statement is cancelled upstream; what still comes of it is dropped, and the client is told why in the place
//! of the end of its answer. If the statement was through before the cancel request arrived, the upstream knows of
//! no error: what follows in the same batch is dropped up to its Sync, as Postgres would have skipped it, and a
//! block is then made to fail by an error of ours.

use super::expect::Expect;
use super::{Session, Stop};
use crate::audit::{EventKind, Verdict};
use crate::budget::{self, Spending};
use crate::error::Refusal;
use crate::plan::Touched;
use crate::upstream::command::Command;
use crate::wire::backend;
use crate::wire::frame::HEADER;
use bytes::Bytes;

/// What a session spends.
#[derive(Debug)]
pub(super) struct Purse {
    account: budget::Account,
    /// Of the statement whose rows pass.
    spending: Option<Spending>,
    /// Why the statement whose rows pass is cut.
    cut: Option<Refusal>,
    /// How much of what waits for the client is to be kept while the rest of a batch is dropped.
    muted: Option<usize>,
}

impl Purse {
    pub(super) fn new(account: budget::Account) -> Self {
        Self {
            account,
            spending: None,
            cut: None,
            muted: None,
        }
    }

    /// The statement whose rows pass is cut: they are dropped.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// From now on, this pays for the rows.
    pub(super) fn pays(&mut self, spending: Spending) {
        // What the one before left over goes back to the ledger.
        self.spending = Some(spending);
    }

    /// All statements so far are answered: a connection that is idle holds nothing that others may read.
    pub(super) fn rests(&mut self) {
        self.spending = None;
    }
}

impl Session {
    /// A statement is about to be sent that may return rows.
    pub(super) async fn begin_spending(&mut self, touched: &Touched) -> Result<(), Stop> {
        let holds_copies = self.world()?.copies;
        let mut relations = touched.relations.clone();
        // In a sandbox that holds copies of sensitive rows, any relation or function may show them.
        relations.unknown |= holds_copies;
        let spending = self.purse.account.begin(&relations).await?;
        if touched.copies {
            self.world()?.copies = true;
        }
        self.queue.push_back(Expect::Spends(Box::new(spending)));
        Ok(())
    }

    /// A row of this many bytes has come, header included. True if it may pass.
    pub(super) async fn pay(&mut self, bytes: usize) -> bool {
        if self.purse.is_cut() {
            return false;
        }
        let explained = self.explained();
        let Some(spending) = &mut self.purse.spending else {
            return true;
        };
        if explained.is_none() && spending.spend(1, bytes as u64) {
            return true;
        }
        let paid = spending.row(explained.as_deref(), bytes as u64).await;
        let notices = spending.notices();
        self.tell_limits(notices);
        match paid {
            Ok(()) => true,
            Err(refusal) => {
                self.cut(refusal).await;
                false
            }
        }
    }

    /// What the row at the front of the upstream's bytes says, where it is one of EXPLAIN ANALYZE.
    fn explained(&mut self) -> Option<String> {
        if !self
            .account
            .running()
            .is_some_and(|touched| touched.explains)
        {
            return None;
        }
        let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world()) else {
            return None;
        };
        let row = world.link.input.get(HEADER..).unwrap_or_default();
        backend::first_column(row).map(|line| String::from_utf8_lossy(line).into_owned())
    }

    fn tell_limits(&mut self, notices: Vec<Refusal>) {
        for notice in notices {
            self.client.tell(&notice);
            self.budget_event(EventKind::BudgetNear {
                limit: notice.message,
            });
        }
    }

    fn budget_event(&self, kind: EventKind) {
        let event = self.login.event(kind).sandbox(&self.sandbox.key.name);
        self.context.events.report(event);
    }

    /// The statement whose rows come is ended.
    async fn cut(&mut self, refusal: Refusal) {
        self.purse.spending = None;
        self.purse.cut = Some(refusal);
        // No other client's statement can be hit: this one holds the floor.
        let _gate = self.sandbox.cancel_gate.lock().await;
        self.context.registry.cancel(&self.sandbox).await;
    }

    /// An error of the upstream: that of a cut statement is told as the budget's. True if it was told.
    pub(super) fn told_cut(&mut self) -> bool {
        let Some(refusal) = self.purse.cut.take() else {
            return false;
        };
        self.record_cut(&refusal);
        self.client.tell(&refusal);
        true
    }

    /// The end of an answer: a cut statement got through before it could be cancelled. True if it was told.
    pub(super) fn ended_cut(&mut self) -> bool {
        let told = self.told_cut();
        if told {
            self.held.clear();
            self.purse.muted = Some(self.client.out.len());
        }
        told
    }

    fn record_cut(&mut self, refusal: &Refusal) {
        let sqlstate = refusal.sqlstate.0.to_owned();
        self.ended(Verdict::Cut { sqlstate });
        self.budget_event(EventKind::BudgetExceeded {
            limit: refusal.message.clone(),
        });
    }

    /// What came since a cut statement's end is dropped.
    pub(super) fn keep_quiet(&mut self) {
        if let Some(kept) = self.purse.muted {
            self.client.out.truncate(kept);
            self.purse.muted = Some(0);
        }
    }

    /// At a Sync: is there a failure yet to be made? Then it is under way, and this Sync is not the client's.
    pub(super) fn fails_behind_cut(&mut self) -> Result<bool, Stop> {
        let Some(kept) = self.purse.muted.take() else {
            return Ok(false);
        };
        self.client.out.truncate(kept);
        if self.view.block.as_ref().is_none_or(|block| block.failed) {
            return Ok(false);
        }
        let link = &mut self.world()?.link;
        link.write_command(&Command::Poison);
        link.sync();
        self.queue.push_back(Expect::Poison);
        self.queue.push_back(Expect::Sync { forward: true });
        Ok(true)
    }

    /// Counts an error that may have confirmed a guess about a masked value.
    pub(super) async fn count_guess(&mut self, error: &[u8]) {
        let Some(touched) = self.account.running() else {
            return;
        };
        let body = Bytes::copy_from_slice(error.get(HEADER..).unwrap_or_default());
        let sqlstate = backend::Fields::parse(body).text(b'C');
        self.purse
            .account
            .failed_guess(&touched.relations, &sqlstate)
            .await;
    }
}
