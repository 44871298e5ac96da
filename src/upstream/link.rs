//! One upstream connection: bytes out, bytes in, and what the proxy must remember of the server's session.

use super::command::{Command, Flavor};
use super::text::ClientText;
use crate::wire::backend::{Fields, Status};
use crate::wire::frame::{self, FrameError};
use crate::wire::frontend::{self, Target};
use bytes::{Buf, BytesMut};
use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How many bytes are read at once, and the most that waits unread.
const READ: usize = 64 * 1024;
/// The most that an empty buffer keeps for the next messages.
const KEPT: usize = 512 * 1024;
/// A message that the proxy must hold whole (not rows) may have this many bytes.
const WHOLE_MESSAGE: usize = 64 * 1024 * 1024;

/// Why an upstream connection is of no more use.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The socket failed.
    #[error("the connection to the upstream failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed it.
    #[error("the upstream closed the connection")]
    Closed,
    /// The server said why it closes it.
    #[error("the upstream ended the connection: {0}")]
    Fatal(String),
    /// What came is not the protocol.
    #[error("the upstream broke the protocol: {0}")]
    Protocol(&'static str),
    /// After a Sync the server was in no transaction. The promise of the sandbox hangs on this check.
    #[error("the upstream left its transaction")]
    LeftTransaction,
    /// It did not answer in time.
    #[error("the upstream did not answer in time")]
    Timeout,
}

impl From<FrameError> for LinkError {
    fn from(_: FrameError) -> Self {
        Self::Protocol("a message has an impossible length")
    }
}

/// See the [module](self).
pub struct Link {
    stream: Box<dyn Duplex>,
    /// Bytes to be written. Private: what a client wrote gets in only as a [`ClientText`].
    out: BytesMut,
    /// Bytes that were read and not yet looked at.
    pub input: BytesMut,
    /// The backend's process id.
    pub process: i32,
    /// Which statement the unnamed prepared statement is now: a number that sessions give.
    pub unnamed: Option<u64>,
    /// The numbers of the named statements that are prepared here.
    pub prepared: HashSet<u64>,
    /// How this upstream is kept from committing.
    pub flavor: Flavor,
    /// Round trips so far: writes that were followed by waiting for an answer.
    pub round_trips: u64,
    /// Savepoints made so far, for `SHOW SANDBOXES`.
    pub savepoints: u64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Over a connection that is past its startup; `input` is what was read ahead.
    pub fn new(stream: Box<dyn Duplex>, process: i32, flavor: Flavor, input: BytesMut) -> Self {
        Self {
            stream,
            out: BytesMut::new(),
            input,
            process,
            unnamed: None,
            prepared: HashSet::new(),
            flavor,
            round_trips: 0,
            savepoints: 0,
        }
    }

    /// Writes what waits and reads, whichever goes on; returns when something was read.
    ///
    /// Both directions at once: a server that cannot send does not read either, so a writer that does not
    /// read would wait for ever.
    pub async fn progress(&mut self) -> Result<(), LinkError> {
        if !self.out.is_empty() {
            self.round_trips += 1;
        }
        poll_fn(|cx| {
            self.poll_write_out(cx)?;
            self.poll_read_in(cx)
        })
        .await
    }

    /// Writes all that waits, and reads what comes meanwhile.
    pub async fn drain(&mut self) -> Result<(), LinkError> {
        poll_fn(|cx| {
            self.poll_write_out(cx)?;
            if self.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.poll_read_in(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    fn poll_write_out(&mut self, cx: &mut std::task::Context<'_>) -> Result<(), LinkError> {
        let had = !self.out.is_empty();
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Ready(Ok(0)) => return Err(LinkError::Closed),
                Poll::Ready(Ok(n)) => self.out.advance(n),
                Poll::Ready(Err(error)) => {
                    // What the server said before it closed is still to be read, and says more than this.
                    if self.input.is_empty()
                        && !matches!(self.poll_read_in(cx), Poll::Ready(Ok(())))
                    {
                        return Err(error.into());
                    }
                    self.out.clear();
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            }
        }
        if self.out.is_empty() && self.out.capacity() > KEPT {
            // One large message must not hold its memory for the rest of the sandbox.
            self.out = BytesMut::new();
        }
        if had {
            let _ = Pin::new(&mut self.stream).poll_flush(cx)?;
        }
        Ok(())
    }

    fn poll_read_in(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), LinkError>> {
        if self.input.len() >= WHOLE_MESSAGE {
            return Poll::Ready(Err(LinkError::Protocol("a message is too large")));
        }
        self.input.reserve(READ);
        let read = pin!(self.stream.read_buf(&mut self.input));
        match read.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(0)) => Poll::Ready(Err(LinkError::Closed)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
        }
    }

    /// Writes one of our commands, as Parse, Bind and Execute of the unnamed statement. Returns whether there
    /// was anything to write; if so, three answers follow.
    pub fn write_command(&mut self, command: &Command) -> bool {
        let Some(sql) = command.sql(self.flavor) else {
            return false;
        };
        if matches!(command, Command::Savepoint(_)) {
            self.savepoints += 1;
        }
        self.unnamed = None;
        frontend::parse(&mut self.out, b"", sql.as_bytes(), frontend::NO_TYPES);
        frontend::bind(&mut self.out, b"", b"", frontend::NO_PARAMETERS);
        frontend::execute(&mut self.out, b"", 0);
        true
    }

    /// Writes a Parse of a client's statement; `types` is a Parse's tail. One answer follows.
    pub fn parse(&mut self, name: &[u8], text: &ClientText, types: &[u8]) {
        frontend::parse(&mut self.out, name, text.bytes(), types);
    }

    /// Asks the server whether a text of several statements parses, and undoes that, behind one Sync. A
    /// Parse runs nothing, and one of several statements always fails: on its syntax, or because they are several.
    pub async fn probe(
        &mut self,
        text: &[u8],
        savepoint: &str,
    ) -> Result<Option<Fields>, LinkError> {
        self.write_command(&Command::Savepoint(savepoint.to_owned()));
        frontend::parse(&mut self.out, b"", text, frontend::NO_TYPES);
        let fields = self.run(&[]).await?.err();
        let undo = [
            Command::RollbackTo(savepoint.to_owned()),
            Command::Release(savepoint.to_owned()),
        ];
        match self.run(&undo).await? {
            Ok(_) => Ok(fields),
            Err(_) => Err(LinkError::Protocol(
                "a savepoint of the proxy's own is gone",
            )),
        }
    }

    /// Writes a Bind; `tail` is a Bind's tail. One answer follows.
    pub fn bind(&mut self, portal: &[u8], statement: &[u8], tail: &[u8]) {
        frontend::bind(&mut self.out, portal, statement, tail);
    }

    /// Writes a Describe.
    pub fn describe(&mut self, target: Target, name: &[u8]) {
        frontend::describe(&mut self.out, target, name);
    }

    /// Writes an Execute; `max_rows` of 0 means all.
    pub fn execute(&mut self, portal: &[u8], max_rows: i32) {
        frontend::execute(&mut self.out, portal, max_rows);
    }

    /// Writes a Close. One answer follows.
    pub fn close_named(&mut self, target: Target, name: &[u8]) {
        frontend::close(&mut self.out, target, name);
    }

    /// Writes a Sync.
    pub fn sync(&mut self) {
        frontend::sync(&mut self.out);
    }

    /// Writes a Flush.
    pub fn flush(&mut self) {
        frontend::flush(&mut self.out);
    }

    /// Writes a CopyData.
    pub fn copy_data(&mut self, data: &[u8]) {
        frontend::copy_data(&mut self.out, data);
    }

    /// Writes a CopyDone.
    pub fn copy_done(&mut self) {
        frontend::copy_done(&mut self.out);
    }

    /// Writes a CopyFail.
    pub fn copy_fail(&mut self, reason: &[u8]) {
        frontend::copy_fail(&mut self.out, reason);
    }

    /// How many bytes wait to be written.
    pub fn pending(&self) -> usize {
        self.out.len()
    }

    /// Runs our commands behind one Sync and waits for the answers. Rows come back as bodies of DataRows. An
    /// error of the server comes back as its fields.
    pub async fn run(
        &mut self,
        commands: &[Command],
    ) -> Result<Result<Vec<BytesMut>, Fields>, LinkError> {
        match self.run_anywhere(commands).await? {
            (Status::Idle, _) => Err(LinkError::LeftTransaction),
            (_, result) => Ok(result),
        }
    }

    /// As [`Self::run`], before the transaction has begun.
    pub async fn run_before_begin(
        &mut self,
        commands: &[Command],
    ) -> Result<Result<Vec<BytesMut>, Fields>, LinkError> {
        Ok(self.run_anywhere(commands).await?.1)
    }

    async fn run_anywhere(
        &mut self,
        commands: &[Command],
    ) -> Result<(Status, Result<Vec<BytesMut>, Fields>), LinkError> {
        for command in commands {
            self.write_command(command);
        }
        frontend::close(&mut self.out, Target::Portal, b"");
        frontend::sync(&mut self.out);
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            while let Some(header) = frame::peek(&self.input)? {
                if self.input.len() < header.total {
                    break;
                }
                let mut body = self.input.split_to(header.total);
                body.advance(frame::HEADER);
                match header.tag {
                    b'D' => rows.push(body),
                    b'E' => failed = Some(Fields::parse(body.freeze())),
                    b'Z' => {
                        let status = body.first().copied().and_then(Status::from_byte);
                        let status = status.ok_or(LinkError::Protocol(
                            "a transaction status that does not exist",
                        ))?;
                        return Ok((status, failed.map_or(Ok(rows), Err)));
                    }
                    _ => {}
                }
            }
            if let Err(error) = self.progress().await {
                return Err(match (failed, error) {
                    (Some(fields), LinkError::Closed | LinkError::Io(_)) => {
                        LinkError::Fatal(fields.text(b'M'))
                    }
                    (_, error) => error,
                });
            }
        }
    }

    /// Says goodbye; the server rolls back. Errors do not matter any more.
    pub async fn close(mut self) {
        frontend::terminate(&mut self.out);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.drain()).await;
    }
}
