//! The machine's ops as the commands that carry them out upstream.

use super::machine::Op;
use crate::upstream::command::Command;

impl Op {
    /// The commands of this op, in order.
    pub fn commands(self) -> Vec<Command> {
        match self {
            Self::Savepoint(name) => vec![Command::Savepoint(name)],
            Self::Release(name) => vec![Command::Release(name)],
            Self::RollbackTo(name) => vec![Command::RollbackTo(name)],
            Self::Restart => vec![Command::Rollback, Command::Begin],
            Self::Arm => vec![Command::Arm],
            Self::ReadOnly => vec![Command::ReadOnly],
            Self::Install(changes) => changes
                .into_iter()
                .map(|(name, value)| match value {
                    Some(value) => Command::Set(name, value),
                    None => Command::Reset(name),
                })
                .collect(),
        }
    }
}
