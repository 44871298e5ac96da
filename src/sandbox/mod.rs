//! A developer's uncommittable world on one upstream: virtual transactions, who holds the floor, what is
//! shared by its clients, and when it ends.

pub mod advisory;
pub mod catalog;
pub mod data;
pub mod floor;
pub mod machine;
pub mod mailbox;
pub mod masked;
mod ops;
mod points;
pub mod registry;
pub mod settings;
pub mod view;
pub mod world;
