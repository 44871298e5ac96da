//! Framing: a byte stream cut into messages of one tag byte, a 32-bit length and a body
//! ([protocol, message formats](https://www.postgresql.org/docs/current/protocol-message-formats.html)).

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// The bytes before a body: tag and length.
pub const HEADER: usize = 5;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message's type.
    pub tag: u8,
    /// Length of the whole message in bytes, header included.
    pub total: usize,
}

/// One whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The message's type.
    pub tag: u8,
    /// What follows the length.
    pub body: Bytes,
}

/// A length that no message can have. The stream cannot be trusted after it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The length field is smaller than itself.
    #[error("invalid message length")]
    TooShort,
    /// The message is larger than the limit, in bytes.
    #[error("message of {length} bytes is larger than the limit of {limit} bytes")]
    TooLong {
        /// What the header says.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// Reads the header at the start of `buffer` without consuming it; None while it is incomplete.
pub fn peek(buffer: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some((head, _)) = buffer.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [tag, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    if length < 4 {
        return Err(FrameError::TooShort);
    }
    Ok(Some(Header {
        tag,
        total: length.saturating_add(1),
    }))
}

/// Refuses a message that is larger than `limit` bytes.
pub fn within(header: Header, limit: usize) -> Result<(), FrameError> {
    if header.total <= limit {
        return Ok(());
    }
    Err(FrameError::TooLong {
        length: header.total,
        limit,
    })
}

/// Takes one whole message off the start of `buffer`; None while it is incomplete.
///
/// The limit is checked as soon as the header is there, so that nobody makes the buffer grow beyond it.
pub fn take(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let Some(header) = peek(buffer)? else {
        return Ok(None);
    };
    within(header, limit)?;
    if buffer.len() < header.total {
        return Ok(None);
    }
    let mut message = buffer.split_to(header.total).freeze();
    message.advance(HEADER);
    Ok(Some(Frame {
        tag: header.tag,
        body: message,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(messages: &[(u8, Vec<u8>)]) -> BytesMut {
        let mut out = BytesMut::new();
        for (tag, body) in messages {
            out.extend_from_slice(&[*tag]);
            out.extend_from_slice(&((body.len() as u32 + 4).to_be_bytes()));
            out.extend_from_slice(body);
        }
        out
    }

    #[test]
    fn a_length_below_four_is_an_error() {
        let mut buffer = BytesMut::from(&b"Q\0\0\0\x03"[..]);
        assert_eq!(take(&mut buffer, 100), Err(FrameError::TooShort));
    }

    #[test]
    fn an_oversized_message_is_refused_by_its_header_alone() {
        let mut buffer = BytesMut::from(&b"Q\x40\0\0\0"[..]);
        assert!(matches!(
            take(&mut buffer, 1000),
            Err(FrameError::TooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn any_cut_of_a_stream_gives_the_same_messages(
            messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in prop::collection::vec(1usize..20, 1..60),
        ) {
            let whole = framed(&messages);
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            let mut rest = &whole[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let n = (*cuts.next().unwrap()).min(rest.len());
                buffer.extend_from_slice(&rest[..n]);
                rest = &rest[n..];
                while let Some(frame) = take(&mut buffer, 1 << 20).unwrap() {
                    seen.push((frame.tag, frame.body.to_vec()));
                }
            }
            prop_assert_eq!(seen, messages);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut buffer, 64) {}
        }
    }
}
