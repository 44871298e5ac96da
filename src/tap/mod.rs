//! The tap: a relay on loopback between a command and the proxy, which watches what passes and changes nothing.
//!
//! The command gets the relay's address instead of the proxy's, without TLS: both ends are on this machine. Towards
//! the proxy the relay speaks TLS as the URL asks. From the startup message on, every byte is passed on as it
//! came, so authentication, cancel requests, COPY and pipelines are between the command and the proxy alone.
//!
//! [`watch`] reads the frames on their way and makes an [`Execution`] of each statement that was run. Nothing here
//! decides anything, and what cannot be read is passed on all the same.

mod cut;
mod digest;
mod execution;
mod mask;
pub mod recording;
mod relay;
mod watch;

pub use digest::{ColumnDigest, Digest, ResultDigest, RowDigest};
pub use execution::{Execution, Outcome, Parameter, Seen, Sink};
pub use mask::Mask;
pub use relay::Tap;
pub use watch::{LONGEST_TEXT, Watch};
