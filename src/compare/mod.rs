//! Two runs of a program on the same data, compared: what they asked, what they were answered, what they would have
//! written.
//!
//! A [`Run`] is what a [`tap`](crate::tap) saw of one run, summed up by the statements' fingerprints. The first
//! program runs twice: what differs between its own two runs (times, generated ids, random values) is [noise](noise)
//! and is left out of the [`Report`].

pub mod ask;
pub mod assert;
pub mod changes;
mod diff;
mod html;
mod noise;
pub mod plan;
pub mod replay;
mod report;
mod run;
mod text;

pub use diff::compare;
pub use html::{body, html};
pub use report::{Difference, Figures, Kind, Line, Report, Side};
pub use run::{Baseline, Collector, ErrorCount, Run, Sample, Statement, hide_passwords};
pub use text::{seconds, text};
