//! Keeping what a sandbox holds under a name, going back to it, and holding a sandbox that nobody uses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::data::{Asking, Denied, end_refusal};
use super::machine::{ClientId, MOST_POINTS, Machine, NoPoint, Op};
use super::mailbox::Mail;
use super::world::Sandbox;
use crate::audit::EndReason;
use crate::error::{Refusal, SqlState};
use crate::upstream::command::Command;

/// Whose turn it is on the floor while a point is made: no client has this number.
const KEEPER: ClientId = ClientId::MAX;

/// The longest name of a point, in bytes: as long as a name of Postgres.
const LONGEST: usize = 63;

impl Sandbox {
    /// Keeps what there is now under a name.
    ///
    /// # Errors
    /// The name is no good; a client stays in a transaction for longer than `wait_timeout` (55P03); there are too many
    /// points (54000); the sandbox has ended.
    pub async fn save(self: &Arc<Self>, point: &str) -> Result<(), Refusal> {
        if point.is_empty() || point.len() > LONGEST {
            return Err(Refusal::error(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("the name of a point has 1 to {LONGEST} bytes"),
            ));
        }
        self.turn_to(point, Machine::save, false).await
    }

    /// Undoes all that happened since a point was made; its clients are told.
    ///
    /// # Errors
    /// There is no such point (3B001), or as for [`Self::save`].
    pub async fn back(self: &Arc<Self>, point: &str) -> Result<(), Refusal> {
        self.turn_to(point, Machine::back, true).await?;
        let notice = Refusal::warning(
            SqlState::WARNING,
            format!(
                "the sandbox \"{}\" was taken back to the point \"{point}\"",
                self.key.name
            ),
        )
        .detail("What was done in it since then is undone, also what was committed");
        for (_, client) in self.clients() {
            client.mailbox.put(Mail::Notice(notice.clone()));
        }
        Ok(())
    }

    /// The names of its points, the oldest first; None while a statement runs.
    pub fn points(&self) -> Option<Vec<String>> {
        self.with_world(|world| world.machine.points().map(str::to_owned).collect())
    }

    async fn turn_to(
        self: &Arc<Self>,
        point: &str,
        turn: impl Fn(&mut Machine, ClientId, &str) -> Result<Vec<Op>, NoPoint>,
        goes_back: bool,
    ) -> Result<(), Refusal> {
        let asking = Asking {
            client: KEEPER,
            may_overlap: false,
            at_once: false,
            cancelled: Arc::new(Notify::new()),
        };
        let ended = |reason: EndReason| end_refusal(reason, &self.key.name);
        let mut floor = self.acquire(&asking).await.map_err(|denied| match denied {
            Denied::Ended(reason) => ended(reason),
            Denied::Refused(refusal) => refusal,
        })?;
        let world = floor.world().map_err(ended)?;
        let mut machine = world.machine.clone();
        let ops = match turn(&mut machine, KEEPER, point) {
            Ok(ops) => ops,
            Err(why) => {
                floor.release();
                return Err(self.no_point(why, point));
            }
        };
        let undoes = ops.iter().any(|op| matches!(op, Op::RollbackTo(_)));
        let commands: Vec<Command> = ops.into_iter().flat_map(Op::commands).collect();
        match world.link.run(&commands).await {
            Ok(Ok(_)) => {
                world.machine = machine;
                if undoes {
                    world.catalog.rolled_back();
                }
                world.turned_back += u64::from(goes_back);
                floor.release();
                Ok(())
            }
            // Where the upstream stands is not known any more.
            Ok(Err(_)) | Err(_) => {
                floor.abandon(EndReason::UpstreamLost);
                Err(ended(EndReason::UpstreamLost))
            }
        }
    }

    fn no_point(&self, why: NoPoint, point: &str) -> Refusal {
        let name = &self.key.name;
        match why {
            NoPoint::Busy => Refusal::error(
                SqlState::LOCK_NOT_AVAILABLE,
                format!("a client of the sandbox \"{name}\" is in a transaction"),
            )
            .hint("Points lie between transactions: end it, and try again"),
            NoPoint::Unknown => Refusal::error(
                SqlState::INVALID_SAVEPOINT_SPECIFICATION,
                format!("the sandbox \"{name}\" has no point \"{point}\""),
            )
            .hint(
                "SHOW POINTS lists them; one is gone when the sandbox went back to an earlier one",
            ),
            NoPoint::TooMany => Refusal::error(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!(
                    "the sandbox \"{name}\" has {MOST_POINTS} points, the most that are allowed"
                ),
            )
            .hint("Go back to an earlier one, which drops those behind it, or reset the sandbox"),
        }
    }

    /// Keeps the sandbox for this long, also if nobody uses it; `max_age` holds all the same.
    pub fn keep(&self, duration: Duration) {
        self.keep_until(Instant::now() + duration);
    }
}
