//! Bytes to messages and back: framing with size caps, the messages themselves, startup and SCRAM.

pub mod backend;
pub mod frame;
pub mod frontend;
