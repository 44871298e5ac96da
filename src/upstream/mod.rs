//! The only place that opens a socket to Postgres, and the transaction there that cannot commit.

pub mod command;
pub mod link;
