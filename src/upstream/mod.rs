//! The only place that opens a socket to Postgres.

pub mod address;
pub mod admin;
pub mod connect;
mod login;
mod tls;
