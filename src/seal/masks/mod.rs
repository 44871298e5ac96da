//! Masked relations: what stands in their place, and what keeps a sandbox's own writes readable.

#[allow(dead_code, reason = "setup calls it when it makes the views")]
pub(in crate::seal) mod facts;
#[allow(dead_code, reason = "setup calls it when it makes the views")]
pub(in crate::seal) mod own;
