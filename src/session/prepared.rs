//! Prepared statements and portals as the client names them, and under which names the upstream has them.

use crate::plan::{Plan, Redirected, Sendable, Touched};
use crate::upstream::text::ClientText;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A statement that the client prepared. It outlives the upstream connection: it is prepared again, under
/// the same name, wherever it is needed.
#[derive(Debug)]
pub struct Prepared {
    /// Unique in the process.
    pub id: u64,
    /// As the client wrote it.
    pub asked: Arc<Plan>,
    /// What runs: what the client wrote, or what that was redirected to.
    pub plan: Arc<Plan>,
    /// The redirect, if there is one.
    pub redirected: Option<Arc<Redirected>>,
    /// The statement that is sent behind it, and whose rows are the client's.
    pub returning: Option<Arc<Prepared>>,
    /// The upstream's name for it; empty for the unnamed statement.
    pub upstream: Bytes,
    /// It reads the time, by a default that was written into it.
    pub now: bool,
    /// It is an SQL PREPARE, and this is the upstream's name of what it makes.
    pub makes: Option<Bytes>,
    /// How it gets there.
    pub source: Source,
    /// For errors.
    pub origin: Option<Arc<Origin>>,
}

impl Prepared {
    /// This one, and the one that is sent behind it.
    pub fn with_behind(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.returning.as_deref())
    }
}

/// How a statement is prepared on an upstream.
#[derive(Debug)]
pub enum Source {
    /// By Parse: the text and the parameter types.
    Parse {
        /// The text as sent.
        text: ClientText,
        /// A Parse's tail.
        types: Bytes,
        /// How the client's text was read.
        encoding: TextEncoding,
    },
    /// By an SQL PREPARE.
    Sql {
        /// The text as sent.
        text: ClientText,
        /// How the client's text was read.
        encoding: TextEncoding,
    },
    /// Not at all: a DECLARE has made the portal already.
    Cursor,
    /// Not at all: the proxy answers.
    Emulated,
}

/// Where a text that runs came from: maps errors back.
#[derive(Debug)]
pub struct Origin {
    /// The text that was sent.
    pub sendable: Sendable,
    /// Characters of the client's message before this statement.
    pub offset: usize,
    /// The statement as the client wrote it.
    pub asked: Arc<Plan>,
    /// What it was redirected to, if it was.
    pub redirected: Option<Arc<Redirected>>,
    /// What it touches.
    pub touched: Arc<Touched>,
    /// This is the statement behind it: no place in it is one in the client's text.
    pub behind: bool,
}

/// A portal that the client bound.
#[derive(Debug, Clone)]
pub struct Portal {
    /// What it runs.
    pub prepared: Arc<Prepared>,
    /// A Bind's tail.
    pub tail: Bytes,
    /// The upstream's name for it; empty for the unnamed portal.
    pub upstream: Bytes,
    /// The formats of the result, as a Bind's tail, and the upstream's name of the portal that gives the rows
    /// once it runs: of a statement whose rows come from another one.
    pub rows: Option<(Bytes, Bytes)>,
    /// Portals that were made after a savepoint end when that is rolled back to.
    pub number: u64,
}

impl Portal {
    /// The upstream's names for it that are not the unnamed portal's.
    pub fn upstream_names(&self) -> impl Iterator<Item = &Bytes> {
        let rows = self.rows.as_ref().map(|(_, upstream)| upstream);
        std::iter::once(&self.upstream)
            .chain(rows)
            .filter(|name| !name.is_empty())
    }
}

/// The next statement's number.
pub fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Text of a client as characters.
///
/// In an encoding other than UTF-8 each byte is taken as one character, so that analysis and splicing work;
/// [`TextEncoding::bytes`] gives the same bytes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEncoding {
    /// Valid UTF-8.
    Utf8,
    /// Anything else.
    Bytes,
}

impl TextEncoding {
    /// Reads a client's text.
    pub fn decode(bytes: &[u8]) -> (String, Self) {
        match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), Self::Utf8),
            Err(_) => (
                bytes.iter().map(|byte| char::from(*byte)).collect(),
                Self::Bytes,
            ),
        }
    }

    /// A text as it may be sent; None if it is a transaction command after all.
    pub fn client_text(self, text: &str) -> Option<ClientText> {
        ClientText::new(text, self.bytes(text))
    }

    /// The bytes to send.
    pub fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Bytes => text
                .chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back_as_they_were() {
        for bytes in [
            &b"SELECT 'a'"[..],
            "SELECT 'é'".as_bytes(),
            b"SELECT '\xe9\xff'",
        ] {
            let (text, encoding) = TextEncoding::decode(bytes);
            assert_eq!(encoding.bytes(&text), bytes);
        }
    }
}
