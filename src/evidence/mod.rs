//! Evidence: what a run of `compare`, `assert` or `rehearse` showed about a commit, signed by the proxy; and the gate that
//! asks for it.
//!
//! The command says what it did (a [`Claim`]), as a developer who has logged in. The proxy adds what it knows itself (who
//! that is, which upstream, stage and policy, when) and signs both with the key of its audit: a [`Statement`] of
//! [in-toto](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) in an
//! [`Envelope`](crate::audit::Envelope). A command cannot sign for itself. It could still say what is not so: therefore a
//! [gate](gate::judge) counts only the evidence of those that its settings name.
//!
//! Nothing here holds a value of a table, a literal of a statement or an argument of a command.

pub mod claim;
pub mod collect;
pub mod gate;
mod statement;
#[cfg(test)]
mod tests;

pub use claim::{Claim, Commit, Figure, Input, Kind, Tree};
pub use statement::{PAYLOAD_TYPE, Statement, Witness};
