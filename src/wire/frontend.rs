//! Messages that a client sends, and the same messages as the proxy writes them to an upstream.

use super::frame::Frame;
use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// A message of a client after its startup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Frontend {
    /// A simple Query: its text, without the closing zero byte.
    Query(Bytes),
    /// `types` is the message's tail as it came: a count and as many type OIDs.
    Parse {
        name: Bytes,
        text: Bytes,
        types: Bytes,
    },
    /// `tail` is everything behind the two names, as it came: parameter formats, parameters, result formats.
    Bind {
        portal: Bytes,
        statement: Bytes,
        tail: Bytes,
    },
    Describe {
        target: Target,
        name: Bytes,
    },
    /// `max_rows` of 0 means all.
    Execute {
        portal: Bytes,
        max_rows: i32,
    },
    Close {
        target: Target,
        name: Bytes,
    },
    Flush,
    Sync,
    /// A FunctionCall, which bypasses Parse.
    FunctionCall,
    CopyData(Bytes),
    CopyDone,
    CopyFail(Bytes),
    Terminate,
}

/// What a Describe or Close speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Target {
    Statement,
    Portal,
}

impl Target {
    fn tag(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }
}

/// A message that cannot be read. Postgres ends the connection on these, and so does the proxy.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    /// No frontend message has this type.
    #[error("invalid frontend message type {0}")]
    UnknownType(u8),
    /// The body does not have the shape of its type.
    #[error("invalid message format")]
    Malformed,
}

impl Frontend {
    /// Reads a frame; every byte of it must be accounted for.
    pub fn parse(frame: Frame) -> Result<Self, MessageError> {
        let mut body = Body(frame.body);
        let message = match frame.tag {
            b'Q' => Self::Query(body.string()?),
            b'P' => Self::Parse {
                name: body.string()?,
                text: body.string()?,
                types: body.types()?,
            },
            b'B' => Self::Bind {
                portal: body.string()?,
                statement: body.string()?,
                tail: body.bind_tail()?,
            },
            b'D' => Self::Describe {
                target: body.target()?,
                name: body.string()?,
            },
            b'E' => Self::Execute {
                portal: body.string()?,
                max_rows: body.i32()?,
            },
            b'C' => Self::Close {
                target: body.target()?,
                name: body.string()?,
            },
            b'H' => Self::Flush,
            b'S' => Self::Sync,
            b'F' => {
                body.rest();
                Self::FunctionCall
            }
            b'd' => Self::CopyData(body.rest()),
            b'c' => Self::CopyDone,
            b'f' => Self::CopyFail(body.string()?),
            b'X' => Self::Terminate,
            other => return Err(MessageError::UnknownType(other)),
        };
        if body.0.is_empty() {
            Ok(message)
        } else {
            Err(MessageError::Malformed)
        }
    }
}

/// Reads fields off the front of a body.
struct Body(Bytes);

impl Body {
    fn string(&mut self) -> Result<Bytes, MessageError> {
        let end = memchr::memchr(0, &self.0).ok_or(MessageError::Malformed)?;
        let mut field = self.0.split_to(end + 1);
        field.truncate(end);
        Ok(field)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let head = *self.0.first_chunk::<N>().ok_or(MessageError::Malformed)?;
        let _ = self.0.split_to(N);
        Ok(head)
    }

    fn i32(&mut self) -> Result<i32, MessageError> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    fn target(&mut self) -> Result<Target, MessageError> {
        match self.take::<1>()? {
            [b'S'] => Ok(Target::Statement),
            [b'P'] => Ok(Target::Portal),
            _ => Err(MessageError::Malformed),
        }
    }

    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    fn types(&mut self) -> Result<Bytes, MessageError> {
        let tail = self.rest();
        let (count, oids) = tail
            .split_first_chunk::<2>()
            .ok_or(MessageError::Malformed)?;
        if oids.len() != usize::from(u16::from_be_bytes(*count)) * 4 {
            return Err(MessageError::Malformed);
        }
        Ok(tail)
    }

    /// Checks the shape of a Bind's tail, so that what is forwarded cannot be half a message.
    fn bind_tail(&mut self) -> Result<Bytes, MessageError> {
        let tail = self.rest();
        let mut at = Body(tail.clone());
        let formats = u16::from_be_bytes(at.take()?);
        at.skip(usize::from(formats) * 2)?;
        let values = u16::from_be_bytes(at.take()?);
        for _ in 0..values {
            match at.i32()? {
                -1 => {}
                length => at.skip(usize::try_from(length).map_err(|_| MessageError::Malformed)?)?,
            }
        }
        let results = u16::from_be_bytes(at.take()?);
        at.skip(usize::from(results) * 2)?;
        if at.0.is_empty() {
            Ok(tail)
        } else {
            Err(MessageError::Malformed)
        }
    }

    fn skip(&mut self, bytes: usize) -> Result<(), MessageError> {
        if bytes > self.0.len() {
            return Err(MessageError::Malformed);
        }
        let _ = self.0.split_to(bytes);
        Ok(())
    }
}

/// The number of parameter values in a Bind's tail.
pub fn bind_values(tail: &[u8]) -> Option<u16> {
    let (formats, rest) = tail.split_first_chunk::<2>()?;
    let (values, _) = rest
        .get(usize::from(u16::from_be_bytes(*formats)) * 2..)?
        .split_first_chunk::<2>()?;
    Some(u16::from_be_bytes(*values))
}

/// The parameters in a Bind's tail: text as it came, binary values as `\x` and hexadecimal digits, None for NULL. Empty
/// for a malformed one.
pub fn parameters(tail: &[u8]) -> Vec<Option<String>> {
    read_parameters(tail).unwrap_or_default()
}

fn read_parameters(tail: &[u8]) -> Option<Vec<Option<String>>> {
    let (count, rest) = tail.split_first_chunk::<2>()?;
    let (formats, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*count)) * 2)?;
    let is_binary = |at: usize| match formats.len() {
        // One for all, or one for each.
        2 => formats == [0, 1],
        _ => formats.get(at * 2..at * 2 + 2) == Some(&[0, 1]),
    };
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    let mut found = Vec::new();
    for at in 0..usize::from(u16::from_be_bytes(*count)) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            found.push(None);
            rest = behind;
            continue;
        };
        let (value, behind) = behind.split_at_checked(length)?;
        found.push(Some(match is_binary(at) {
            false => String::from_utf8_lossy(value).into_owned(),
            true => value
                .iter()
                .fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")),
        }));
        rest = behind;
    }
    Some(found)
}

/// A Bind's tail cut in two, each a tail of its own: the parameters with all results as text, and the formats of
/// the results without parameters. None for a malformed one.
pub fn split_bind(tail: &[u8]) -> Option<(Bytes, Bytes)> {
    let (formats, _) = tail.split_first_chunk::<2>()?;
    let mut at = 2 + usize::from(u16::from_be_bytes(*formats)) * 2;
    let values = bind_values(tail)?;
    at += 2;
    for _ in 0..values {
        let (length, _) = tail.get(at..)?.split_first_chunk::<4>()?;
        at += 4 + usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
    }
    let (parameters, results) = tail.split_at_checked(at)?;
    let one = [parameters, &[0, 0]].concat();
    let other = [&[0, 0, 0, 0], results].concat();
    Some((one.into(), other.into()))
}

/// A Bind's tail without parameters and with all results as text.
pub const NO_PARAMETERS: &[u8] = &[0, 0, 0, 0, 0, 0];
/// A Parse's tail that leaves all parameter types to the server.
pub const NO_TYPES: &[u8] = &[0, 0];

/// Writes a Query.
pub fn query(out: &mut BytesMut, text: &[u8]) {
    message(out, b'Q', text.len() + 1, |out| string(out, text));
}

/// Writes a Parse.
pub fn parse(out: &mut BytesMut, name: &[u8], text: &[u8], types: &[u8]) {
    message(
        out,
        b'P',
        name.len() + text.len() + 2 + types.len(),
        |out| {
            string(out, name);
            string(out, text);
            out.put_slice(types);
        },
    );
}

/// Writes a Bind.
pub fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], tail: &[u8]) {
    message(
        out,
        b'B',
        portal.len() + statement.len() + 2 + tail.len(),
        |out| {
            string(out, portal);
            string(out, statement);
            out.put_slice(tail);
        },
    );
}

/// Writes a Describe.
pub fn describe(out: &mut BytesMut, target: Target, name: &[u8]) {
    message(out, b'D', name.len() + 2, |out| {
        out.put_u8(target.tag());
        string(out, name);
    });
}

/// Writes an Execute; `max_rows` of 0 means all.
pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: i32) {
    message(out, b'E', portal.len() + 5, |out| {
        string(out, portal);
        out.put_i32(max_rows);
    });
}

/// Writes a Close.
pub fn close(out: &mut BytesMut, target: Target, name: &[u8]) {
    message(out, b'C', name.len() + 2, |out| {
        out.put_u8(target.tag());
        string(out, name);
    });
}

/// Writes a Sync.
pub fn sync(out: &mut BytesMut) {
    message(out, b'S', 0, |_| {});
}

/// Writes a Flush.
pub fn flush(out: &mut BytesMut) {
    message(out, b'H', 0, |_| {});
}

/// Writes a CopyData.
pub fn copy_data(out: &mut BytesMut, data: &[u8]) {
    message(out, b'd', data.len(), |out| out.put_slice(data));
}

/// Writes a CopyDone.
pub fn copy_done(out: &mut BytesMut) {
    message(out, b'c', 0, |_| {});
}

/// Writes a CopyFail.
pub fn copy_fail(out: &mut BytesMut, reason: &[u8]) {
    message(out, b'f', reason.len() + 1, |out| string(out, reason));
}

/// Writes a Terminate.
pub fn terminate(out: &mut BytesMut) {
    message(out, b'X', 0, |_| {});
}

fn message(out: &mut BytesMut, tag: u8, body: usize, write: impl FnOnce(&mut BytesMut)) {
    out.reserve(body + 5);
    out.put_u8(tag);
    out.put_u32((body + 4) as u32);
    write(out);
}

fn string(out: &mut BytesMut, value: &[u8]) {
    out.put_slice(value);
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::*;
    use proptest::prelude::*;

    fn read(out: &mut BytesMut) -> Result<Frontend, MessageError> {
        Frontend::parse(frame::take(out, 1 << 20).unwrap().unwrap())
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = BytesMut::new();
        parse(&mut out, b"s", b"SELECT 1", &[0, 1, 0, 0, 0, 23]);
        bind(&mut out, b"p", b"s", NO_PARAMETERS);
        execute(&mut out, b"p", 7);
        close(&mut out, Target::Statement, b"s");
        assert_eq!(
            read(&mut out),
            Ok(Frontend::Parse {
                name: "s".into(),
                text: "SELECT 1".into(),
                types: Bytes::from_static(&[0, 1, 0, 0, 0, 23])
            })
        );
        assert!(matches!(read(&mut out), Ok(Frontend::Bind { .. })));
        assert_eq!(
            read(&mut out),
            Ok(Frontend::Execute {
                portal: "p".into(),
                max_rows: 7
            })
        );
        assert_eq!(
            read(&mut out),
            Ok(Frontend::Close {
                target: Target::Statement,
                name: "s".into()
            })
        );
    }

    #[test]
    fn parameters_are_read_in_either_format() {
        let values = [
            0, 3, 0, 0, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, b'b', 0xe9,
        ];
        for (formats, last) in [
            (&[0, 0][..], "b\u{fffd}"),
            (&[0, 1, 0, 0], "b\u{fffd}"),
            (&[0, 3, 0, 0, 0, 0, 0, 1], "\\x62e9"),
        ] {
            let read = parameters(&[formats, &values].concat());
            assert_eq!(read, [Some("a".to_owned()), None, Some(last.to_owned())]);
        }
        let all = parameters(&[&[0, 1, 0, 1][..], &values].concat());
        assert_eq!(all[0].as_deref(), Some("\\x61"));
        assert!(parameters(&values).is_empty());
    }

    #[test]
    fn a_bind_whose_counts_lie_is_malformed() {
        for tail in [
            &[0u8, 9, 0, 0, 0, 0][..],
            &[0, 0, 0, 1, 0, 0],
            &[0, 0, 0, 0, 0, 0, 1],
            &[0, 0],
        ] {
            let mut body = b"\0\0".to_vec();
            body.extend_from_slice(tail);
            let frame = Frame {
                tag: b'B',
                body: body.into(),
            };
            assert_eq!(
                Frontend::parse(frame),
                Err(MessageError::Malformed),
                "{tail:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(tag in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Frontend::parse(Frame { tag, body: body.into() });
        }
    }
}
