//! Pure functions on SQL text: cut it into statements, say what each one is, and edit it in place.
//!
//! Nothing here knows a policy, a catalog or a connection, and nothing prints a syntax tree: every change
//! is an [`edit::Edit`] spliced into the client's own text.

pub mod classify;
pub mod edit;
pub mod functions;
pub mod lexer;
pub mod rewrite;
pub mod split;
pub mod statement;
