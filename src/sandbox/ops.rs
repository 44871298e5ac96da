//! What a machine asks for, and the commands that carry it out upstream.

use crate::upstream::command::Command;

/// A savepoint command, or what must happen beside one, in the order in which it must reach the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// SAVEPOINT
    Savepoint(String),
    /// RELEASE SAVEPOINT
    Release(String),
    /// ROLLBACK TO SAVEPOINT
    RollbackTo(String),
    /// A real ROLLBACK and a new beginning: nothing written is alive any more.
    Restart,
    /// `devinprod.arm()`: the guard and the right to write, in one step.
    Arm,
    /// SET TRANSACTION READ ONLY
    ReadOnly,
    /// Settings to switch: a value, or None for RESET.
    Install(Vec<(String, Option<String>)>),
}

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
