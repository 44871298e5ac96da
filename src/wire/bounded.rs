//! A stream that ends where the other side announces a message that is too large, so that nobody can make the proxy buffer one: for
//! the libraries that read messages whole.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Counts along with the messages that are read.
#[derive(Debug)]
pub struct Bounded<S> {
    stream: S,
    at: At,
    most: u32,
}

/// Where in the client's messages the next byte stands.
#[derive(Debug, Clone, Copy)]
enum At {
    /// In a message's type and length: so many of its 5 bytes are read, the length so far.
    Header { read: u8, length: u32 },
    /// In a message's body: so many bytes are still to come.
    Body(u32),
}

const START: At = At::Header { read: 0, length: 0 };

impl<S> Bounded<S> {
    /// `stream` must stand at the start of a message that has a type (none of a startup); `most` is the largest body, in bytes.
    pub fn new(stream: S, most: u32) -> Self {
        Self {
            stream,
            at: START,
            most,
        }
    }
}

impl At {
    /// Goes on by `bytes`; an error where a message's length is out of bounds.
    fn advance(mut self, mut bytes: &[u8], most: u32) -> io::Result<Self> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self {
                At::Header { read: 0, .. } => self = At::Header { read: 1, length: 0 },
                At::Header { read, length } => {
                    let length = length << 8 | u32::from(byte);
                    self = match read {
                        1..=3 => At::Header {
                            read: read + 1,
                            length,
                        },
                        _ => At::body(length, most)?,
                    };
                }
                At::Body(left) => {
                    let skipped = bytes.len().min(left as usize);
                    bytes = bytes.get(skipped..).unwrap_or_default();
                    // `skipped` is at most `left`, a u32.
                    self = At::of_body(left - skipped as u32);
                    continue;
                }
            }
            bytes = rest;
        }
        Ok(self)
    }

    /// After a header; the length counts its own 4 bytes.
    fn body(length: u32, most: u32) -> io::Result<Self> {
        match length.checked_sub(4) {
            Some(body) if body <= most => Ok(Self::of_body(body)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a message here may have at most {most} bytes"),
            )),
        }
    }

    fn of_body(left: u32) -> Self {
        if left == 0 { START } else { At::Body(left) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        self.at = self.at.advance(new, self.most)?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(body: usize) -> Vec<u8> {
        let mut message = vec![b'Q'];
        message.extend((body as u32 + 4).to_be_bytes());
        message.resize(5 + body, b'x');
        message
    }

    const MOST: u32 = 1000;

    fn read(bytes: &[u8], piece: usize) -> io::Result<At> {
        bytes
            .chunks(piece)
            .try_fold(START, |at, piece| at.advance(piece, MOST))
    }

    proptest! {
        #[test]
        fn messages_in_any_pieces(bodies in prop::collection::vec(0usize..300, 0..9), piece in 1usize..400) {
            let bytes = bodies.iter().flat_map(|body| message(*body)).collect::<Vec<_>>();
            let at_start = matches!(read(&bytes, piece).unwrap(), At::Header { read: 0, .. });
            prop_assert!(at_start);
        }
    }

    #[test]
    fn lengths_out_of_bounds() {
        for piece in [1, 2, 5, 100] {
            assert!(read(&message(MOST as usize), piece).is_ok());
            assert!(read(&message(MOST as usize + 1), piece).is_err());
            assert!(read(&[b'S', 0, 0, 0, 3], piece).is_err());
            assert!(read(&[b'S', 0xff, 0xff, 0xff, 0xff], piece).is_err());
            let mut second = message(7);
            second.extend([b'Q', 0x7f, 0xff, 0xff, 0xff]);
            assert!(read(&second, piece).is_err());
        }
    }
}
