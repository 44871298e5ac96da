//! devinprod: a Postgres wire-protocol isolation proxy.

pub mod audit;
pub mod cli;
pub mod cluster;
pub mod console;
pub mod error;
pub mod plan;
pub mod sandbox;
pub mod seal;
pub mod session;
pub mod sql;
pub mod upstream;
pub mod wire;
