//! The integration tests: one binary, one file per behaviour, a real Postgres in each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod chaos;
mod chaos_kit;
mod cli;
mod clients;
mod console;
mod counts;
mod demo;
mod differential;
mod effects;
mod faults;
mod faults_upstream;
mod fuzz;
mod harness;
mod harness_works;
mod layers;
mod lifecycle;
mod lifecycle_config;
mod own_cells;
mod own_cells_kit;
mod policy_check;
mod redirect_sql;
mod seal_attacks;
mod seal_cli;
mod seal_functions;
mod seal_kit;
mod seal_lease;
mod seal_masks;
mod seal_masks_kit;
mod seal_setup;
mod smoke;
mod synth;
mod synth_attacks;
mod synth_formats;
mod synth_kit;
mod traps;
