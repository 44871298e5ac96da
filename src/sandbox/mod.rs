//! A developer's uncommittable world on one upstream: virtual transactions, who holds the floor, what is
//! shared by its clients, and when it ends.

pub mod machine;
pub mod settings;
pub mod view;
