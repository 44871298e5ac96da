//! Named points: what a sandbox holds now, kept so that it can be gone back to, as often as one likes.
//!
//! A point is a savepoint below the standing one. Both are made while nobody is in a virtual transaction, so that what
//! lies below a point is virtually committed, all of it.

use std::sync::Arc;

use super::{ClientId, Machine, Op, Savepoint};

/// The most that a sandbox may have: each lies inside the one before, and the server keeps account of all of them.
pub const MOST_POINTS: usize = 32;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    /// What the developer calls it.
    label: String,
    savepoint: Savepoint,
}

/// Why a point can be neither made nor gone back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPoint {
    /// A client is in a virtual transaction.
    Busy,
    /// There is none of this name.
    Unknown,
    /// There are as many as there may be.
    TooMany,
}

impl Machine {
    /// Keeps what there is now under a name; one that was used before names this point alone from now on.
    ///
    /// # Errors
    /// A virtual transaction is open, or there are too many points; nothing has happened then.
    pub fn save(&mut self, client: ClientId, label: &str) -> Result<Vec<Op>, NoPoint> {
        if self.points.len() >= MOST_POINTS {
            return Err(NoPoint::TooMany);
        }
        let mut ops = self.at_rest(client)?;
        ops.extend(self.stack.drain(..).next().map(|s| Op::Release(s.name)));
        ops.push(self.push_savepoint());
        let points = Arc::make_mut(&mut self.points);
        for point in points.iter_mut().filter(|point| point.label == label) {
            // The savepoint stays where it is, below others; it is just not to be found any more.
            point.label.clear();
        }
        points.extend(self.stack.drain(..).map(|savepoint| Point {
            label: label.to_owned(),
            savepoint,
        }));
        self.acknowledged.clear();
        ops.push(self.push_savepoint());
        Ok(ops)
    }

    /// Undoes all that happened since a point was made. Later points are gone, the point itself stays.
    ///
    /// # Errors
    /// A virtual transaction is open, or there is no such point; nothing has happened then.
    pub fn back(&mut self, client: ClientId, label: &str) -> Result<Vec<Op>, NoPoint> {
        let named = |point: &Point| point.label == label && !label.is_empty();
        let index = self.points.iter().rposition(named);
        let index = index.ok_or(NoPoint::Unknown)?;
        let mut ops = self.at_rest(client)?;
        let points = Arc::make_mut(&mut self.points);
        points.truncate(index + 1);
        if let Some(point) = points.last() {
            ops.push(Op::RollbackTo(point.savepoint.name.clone()));
            self.now = point.savepoint.at.clone();
        }
        self.rewinds += 1;
        self.stack.clear();
        self.acknowledged.clear();
        ops.push(self.push_savepoint());
        Ok(ops)
    }

    /// The names of the points, the oldest first.
    pub fn points(&self) -> impl Iterator<Item = &str> {
        self.points
            .iter()
            .map(|point| point.label.as_str())
            .filter(|label| !label.is_empty())
    }

    /// Undoes what failed; after that no scope may be open.
    fn at_rest(&mut self, client: ClientId) -> Result<Vec<Op>, NoPoint> {
        let mut settled = self.clone();
        let mut ops = Vec::new();
        settled.settle(client, &mut ops);
        if !settled.scopes.is_empty() || settled.failed {
            return Err(NoPoint::Busy);
        }
        *self = settled;
        Ok(ops)
    }
}
