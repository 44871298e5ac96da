//! Bytes to messages and back: framing with size caps, the messages themselves, startup and SCRAM.

pub mod backend;
pub mod frame;
pub mod frontend;

pub mod authenticate;
pub mod bounded;
pub mod listen;
pub mod options;
pub mod packet;
pub mod scram;
pub mod socket;
pub mod startup;
pub mod tls;
pub mod verifier;
