//! The client's side of a session: messages in, bytes out, both bounded.

use crate::error::{Refusal, SqlState};
use crate::upstream::link::Duplex;
use crate::wire::backend;
use crate::wire::frame::{self, FrameError};
use crate::wire::frontend::{Frontend, MessageError};
use bytes::BytesMut;
use std::io;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What waits for a client before it is written, in bytes.
const WRITE: usize = 32 * 1024;
/// How many bytes are read at once.
const READ: usize = 16 * 1024;

/// Why a client can no longer be served.
#[derive(Debug, Error)]
pub enum ClientError {
    /// It is gone, or said goodbye.
    #[error("the client is gone")]
    Gone,
    /// Its socket failed.
    #[error("the connection to the client failed: {0}")]
    Io(#[from] io::Error),
    /// It broke the protocol and is told so.
    #[error("{0}")]
    Protocol(Refusal),
}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        let refusal = match error {
            FrameError::TooShort => {
                Refusal::fatal(SqlState::PROTOCOL_VIOLATION, "invalid message length")
            }
            FrameError::TooLong { length, limit } => Refusal::fatal(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "a message of {length} bytes is larger than the proxy's limit of {limit} bytes"
                ),
            )
            .hint("Raise limits.max_message_size, or send the data with COPY"),
        };
        Self::Protocol(refusal)
    }
}

impl From<MessageError> for ClientError {
    fn from(error: MessageError) -> Self {
        Self::Protocol(Refusal::fatal(
            SqlState::PROTOCOL_VIOLATION,
            error.to_string(),
        ))
    }
}

/// A client's connection: messages in, bytes out.
pub struct Client {
    stream: Box<dyn Duplex>,
    input: BytesMut,
    /// Bytes to be written.
    pub out: BytesMut,
    limit: usize,
    gone: bool,
}

impl Client {
    /// Over a stream that is past authentication. `limit` is the largest message in bytes.
    pub fn new(stream: Box<dyn Duplex>, limit: usize) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            out: BytesMut::new(),
            limit,
            gone: false,
        }
    }

    /// A message that is there already.
    pub fn buffered(&mut self) -> Result<Option<Frontend>, ClientError> {
        match frame::take(&mut self.input, self.limit)? {
            Some(frame) => Ok(Some(Frontend::parse(frame)?)),
            None => Ok(None),
        }
    }

    /// The next message. Safe to drop half-way: what was read stays.
    pub async fn message(&mut self) -> Result<Frontend, ClientError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            if self.input.is_empty() && self.input.capacity() > 4 * READ {
                // One large message must not hold its memory for the rest of the session.
                self.input = BytesMut::new();
            }
            self.input.reserve(READ);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(ClientError::Gone);
            }
        }
    }

    /// Writes all that waits.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        if self.gone {
            self.out.clear();
            return Ok(());
        }
        if !self.out.is_empty() {
            self.stream.write_all_buf(&mut self.out).await?;
            self.stream.flush().await?;
            if self.out.capacity() > 4 * WRITE {
                self.out = BytesMut::new();
            }
        }
        Ok(())
    }

    /// Whether so much waits that it should be written: this is where a slow reader slows the upstream down.
    pub fn has_much(&self) -> bool {
        self.out.len() >= WRITE
    }

    /// The client is gone: what would be written is dropped.
    pub fn forget(&mut self) {
        self.gone = true;
        self.out = BytesMut::new();
    }

    /// Leaves an error or notice to be written.
    pub fn tell(&mut self, refusal: &Refusal) {
        backend::refusal(&mut self.out, refusal);
    }
}
