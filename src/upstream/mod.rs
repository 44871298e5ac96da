//! The only place that opens a socket to Postgres, and the transaction there that cannot commit.

pub mod address;
pub mod admin;
pub mod command;
pub mod connect;
pub mod link;
mod login;
pub mod text;
mod tls;
