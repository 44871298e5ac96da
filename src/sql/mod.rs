//! Pure functions on SQL text: cut it into statements, say what each one is, and edit it in place.
//!
//! Nothing here knows a policy, a catalog or a connection, and nothing prints a syntax tree: every change
//! is an [`edit::Edit`] spliced into the client's own text.

pub mod classify;
mod cursor;
pub mod edit;
pub mod explained;
pub mod functions;
pub(crate) mod keywords;
pub mod lexer;
pub mod normalise;
pub mod outline;
mod purity;
pub mod relations;
pub mod rewrite;
mod settings;
pub mod split;
pub mod statement;
#[cfg(test)]
mod tests;
mod transaction;
mod utility;
pub mod value;
