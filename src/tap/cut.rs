//! A byte stream cut into messages as it passes, in bounded memory: rows and the data of COPY are handed on in
//! pieces, of other messages at most [`LARGEST`] bytes are kept.

use bytes::Bytes;

use crate::wire::frame::{self, FrameError, HEADER};

/// How much of a message is kept, in bytes.
pub(super) const LARGEST: usize = 1024 * 1024;

/// A message, or a piece of one.
pub(super) enum Piece<'a> {
    /// A message; `whole` says whether all of its body is there.
    Message { tag: u8, body: Bytes, whole: bool },
    /// A piece of the body of a streamed message; a body without bytes is one empty piece.
    Part {
        tag: u8,
        bytes: &'a [u8],
        last: bool,
    },
}

/// Cuts one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// The types of which nothing is kept.
    streamed: &'static [u8],
    header: Vec<u8>,
    /// The message that is being read.
    tag: u8,
    left: usize,
    kept: Vec<u8>,
    whole: bool,
}

impl Cutter {
    /// Messages of the types in `streamed` are handed on in pieces.
    pub(super) fn new(streamed: &'static [u8]) -> Self {
        Self {
            streamed,
            ..Self::default()
        }
    }

    /// Takes the next bytes and gives each message or piece that they complete.
    ///
    /// # Errors
    ///
    /// A length that no message can have; nothing of this stream can be read after it.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Piece<'_>),
    ) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            if self.header.len() < HEADER {
                let wanted = (HEADER - self.header.len()).min(bytes.len());
                let (head, rest) = bytes.split_at(wanted);
                self.header.extend_from_slice(head);
                bytes = rest;
                let Some(header) = frame::peek(&self.header)? else {
                    return Ok(());
                };
                self.tag = header.tag;
                self.left = header.total - HEADER;
                self.whole = true;
                if self.left > 0 {
                    continue;
                }
            }
            let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
            bytes = rest;
            self.left -= piece.len();
            let last = self.left == 0;
            if self.streamed.contains(&self.tag) {
                each(Piece::Part {
                    tag: self.tag,
                    bytes: piece,
                    last,
                });
            } else {
                let room = LARGEST.saturating_sub(self.kept.len()).min(piece.len());
                let (kept, dropped) = piece.split_at(room);
                self.kept.extend_from_slice(kept);
                self.whole &= dropped.is_empty();
                if last {
                    each(Piece::Message {
                        tag: self.tag,
                        body: std::mem::take(&mut self.kept).into(),
                        whole: self.whole,
                    });
                }
            }
            if last {
                self.header.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    /// Everything that comes out, pieces put together.
    fn cut(stream: &[u8], sizes: &[usize]) -> Vec<(u8, Vec<u8>, bool)> {
        let mut cutter = Cutter::new(b"Dd");
        let (mut out, mut row) = (Vec::new(), Vec::new());
        let mut rest = stream;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            rest = later;
            cutter
                .feed(now, |piece| match piece {
                    Piece::Message { tag, body, whole } => out.push((tag, body.to_vec(), whole)),
                    Piece::Part { tag, bytes, last } => {
                        row.extend_from_slice(bytes);
                        if last {
                            out.push((tag, std::mem::take(&mut row), true));
                        }
                    }
                })
                .unwrap();
        }
        out
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_messages(
            messages in prop::collection::vec((prop::sample::select(b"DdTCQ".to_vec()), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            sizes in prop::collection::vec(1usize..20, 1..60),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|(tag, body)| framed(*tag, body)).collect();
            let expected: Vec<_> = messages.into_iter().map(|(tag, body)| (tag, body, true)).collect();
            prop_assert_eq!(cut(&stream, &sizes), expected);
        }
    }

    #[test]
    fn a_large_message_is_cut_and_what_follows_is_not_lost() {
        let large = vec![7; LARGEST + 9];
        let stream = [framed(b'Q', &large), framed(b'S', b"")].concat();
        let out = cut(&stream, &[4096]);
        assert_eq!((out[0].1.len(), out[0].2), (LARGEST, false));
        assert_eq!(out[1], (b'S', Vec::new(), true));
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error() {
        assert!(Cutter::default().feed(b"Q\0\0\0\x03", |_| ()).is_err());
    }
}
