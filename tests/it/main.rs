//! The integration tests: one binary, one file per behaviour, a real Postgres in each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod cli;
mod console;
mod harness;
mod harness_works;
mod smoke;
