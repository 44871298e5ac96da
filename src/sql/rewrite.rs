//! Mechanical rewrites: functions of a statement's text that yield [`Edit`](super::edit::Edit)s, for callers that decide
//! whether to make them.
//!
//! The sandbox's transaction began long ago, so `now()` would stand still. [`now_edits`] makes a statement read the
//! virtual transaction's start from the setting [`NOW_SETTING`] instead, and [`insert_default_edits`] writes out the
//! column defaults that would call `now()` out of reach. [`setting_edits`] does the same for `current_setting` of what belongs to the
//! virtual transaction; [`restriction_edits`] keep pg_dump from refusing masked views.

mod insert;
mod now;
mod setting;

pub use insert::{NowDefault, NowDefaults, insert_default_edits};
pub use now::{NOW_SETTING, now_edits};
pub use setting::{restriction_edits, setting_edits};
