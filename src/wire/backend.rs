//! Messages that a server sends, as the proxy writes them to its clients, and the few that it reads.

use super::frame::HEADER;
use crate::error::{Refusal, Severity};
use bytes::{BufMut, Bytes, BytesMut};

/// A client's transaction status, the byte of a ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// In no transaction block.
    Idle,
    /// In a transaction block.
    Transaction,
    /// In a failed transaction block.
    Failed,
}

impl Status {
    /// The protocol's byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Transaction => b'T',
            Self::Failed => b'E',
        }
    }

    /// Reads the protocol's byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::Transaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }
}

/// Type OIDs (`pg_type.dat`) that the proxy's own results use.
pub mod oid {
    /// `text`
    pub const TEXT: u32 = 25;
}

/// ParseComplete, whole.
pub const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";
/// BindComplete, whole.
pub const BIND_COMPLETE: &[u8] = b"2\0\0\0\x04";
/// CloseComplete, whole.
pub const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";
/// NoData, whole.
pub const NO_DATA: &[u8] = b"n\0\0\0\x04";
/// EmptyQueryResponse, whole.
pub const EMPTY_QUERY: &[u8] = b"I\0\0\0\x04";
/// ParameterDescription of no parameters, whole.
pub const NO_PARAMETERS: &[u8] = b"t\0\0\0\x06\0\0";

/// Writes a ReadyForQuery.
pub fn ready(out: &mut BytesMut, status: Status) {
    message(out, b'Z', |out| out.put_u8(status.byte()));
}

/// Writes a CommandComplete.
pub fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| string(out, tag.as_bytes()));
}

/// Writes a CommandComplete in the place of another one (a whole message): under this tag, with the number at the end
/// of the real tag behind it if it ends in a space.
pub fn command_told_as(out: &mut BytesMut, tag: &str, real: &[u8]) {
    if !tag.ends_with(' ') {
        return command_complete(out, tag);
    }
    let digits = real.iter().rev().skip_while(|byte| **byte == 0);
    let mut number: Vec<u8> = digits.copied().take_while(u8::is_ascii_digit).collect();
    number.reverse();
    let number = String::from_utf8_lossy(&number);
    command_complete(out, &format!("{tag}{number}"));
}

/// Writes a ParameterStatus.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        string(out, name.as_bytes());
        string(out, value.as_bytes());
    });
}

/// Writes a BackendKeyData.
pub fn backend_key_data(out: &mut BytesMut, process: i32, secret: &[u8]) {
    message(out, b'K', |out| {
        out.put_i32(process);
        out.put_slice(secret);
    });
}

/// Writes an authentication request or its end: AuthenticationOk is kind 0 without data.
pub fn authentication(out: &mut BytesMut, kind: u32, data: &[u8]) {
    message(out, b'R', |out| {
        out.put_u32(kind);
        out.put_slice(data);
    });
}

/// Writes a NegotiateProtocolVersion: 3.`minor` is spoken, and these extensions are unknown.
pub fn negotiate_protocol_version(out: &mut BytesMut, minor: u32, unknown: &[String]) {
    message(out, b'v', |out| {
        // The whole version, as Postgres sends it and libpq reads it, not the minor number alone.
        out.put_u32(3 << 16 | minor);
        out.put_u32(unknown.len() as u32);
        for name in unknown {
            string(out, name.as_bytes());
        }
    });
}

/// Writes a NotificationResponse.
pub fn notification(out: &mut BytesMut, process: i32, channel: &str, payload: &str) {
    message(out, b'A', |out| {
        out.put_i32(process);
        string(out, channel.as_bytes());
        string(out, payload.as_bytes());
    });
}

/// Writes a RowDescription of one text column.
pub fn text_column(out: &mut BytesMut, name: &str) {
    message(out, b'T', |out| {
        out.put_i16(1);
        string(out, name.as_bytes());
        out.put_u32(0);
        out.put_i16(0);
        out.put_u32(oid::TEXT);
        out.put_i16(-1);
        out.put_i32(-1);
        out.put_i16(0);
    });
}

/// Writes a DataRow of one text value.
pub fn text_row(out: &mut BytesMut, value: &str) {
    message(out, b'D', |out| {
        out.put_i16(1);
        out.put_i32(value.len() as i32);
        out.put_slice(value.as_bytes());
    });
}

/// Writes a Refusal as an ErrorResponse or, for warnings and notices, a NoticeResponse.
pub fn refusal(out: &mut BytesMut, refusal: &Refusal) {
    let tag = match refusal.severity {
        Severity::Error | Severity::Fatal => b'E',
        Severity::Warning | Severity::Notice => b'N',
    };
    let position = refusal.position.map(|p| p.to_string());
    let fields = [
        (b'S', Some(refusal.severity.as_str())),
        (b'V', Some(refusal.severity.as_str())),
        (b'C', Some(refusal.sqlstate.0)),
        (b'M', Some(refusal.message.as_str())),
        (b'D', refusal.detail.as_deref()),
        (b'H', refusal.hint.as_deref()),
        (b'P', position.as_deref()),
    ];
    message(out, tag, |out| {
        for (field, value) in fields {
            if let Some(value) = value {
                out.put_u8(field);
                string(out, value.as_bytes());
            }
        }
        out.put_u8(0);
    });
}

/// The fields of an ErrorResponse or NoticeResponse that came from an upstream, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(Vec<(u8, Bytes)>);

impl Fields {
    /// Reads a message's body. What cannot be read is dropped: an upstream's broken error is still an error.
    pub fn parse(mut body: Bytes) -> Self {
        let mut fields = Vec::new();
        while let Some((&code, _)) = body.split_first().filter(|(code, _)| **code != 0) {
            let _ = body.split_to(1);
            let Some(end) = memchr::memchr(0, &body) else {
                break;
            };
            let mut value = body.split_to(end + 1);
            value.truncate(end);
            fields.push((code, value));
        }
        Self(fields)
    }

    /// A field by its code (`C` is the SQLSTATE, `M` the message, `P` the position …).
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(c, _)| *c == code)
            .map(|(_, value)| &**value)
    }

    /// A field as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self, code: u8) -> String {
        self.get(code)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .unwrap_or_default()
    }

    /// Sets or replaces a field.
    pub fn set(&mut self, code: u8, value: impl Into<Bytes>) {
        let value = value.into();
        match self.0.iter_mut().find(|(c, _)| *c == code) {
            Some((_, old)) => *old = value,
            None => self.0.push((code, value)),
        }
    }

    /// Adds text to a field behind a blank, or sets it.
    pub fn append(&mut self, code: u8, text: &str) {
        let old = self.text(code);
        self.set(
            code,
            if old.is_empty() {
                text.to_owned()
            } else {
                format!("{old} {text}")
            },
        );
    }

    /// Takes a field away.
    pub fn remove(&mut self, code: u8) {
        self.0.retain(|(c, _)| *c != code);
    }

    /// Applies `change` to each field that people read (message, detail, hint, context).
    pub fn for_each_text(&mut self, change: impl Fn(&[u8]) -> Option<Vec<u8>>) {
        for (code, value) in &mut self.0 {
            if matches!(code, b'M' | b'D' | b'H' | b'W')
                && let Some(new) = change(value)
            {
                *value = new.into();
            }
        }
    }

    /// Writes the message with the given tag (`E` or `N`).
    pub fn write(&self, out: &mut BytesMut, tag: u8) {
        message(out, tag, |out| {
            for (code, value) in &self.0 {
                out.put_u8(*code);
                string(out, value);
            }
            out.put_u8(0);
        });
    }
}

/// The first column of a DataRow's body; None for NULL or a malformed row.
pub fn first_column(body: &[u8]) -> Option<&[u8]> {
    column(body, 0)
}

/// A column of a DataRow's body by its index; None for NULL or a malformed row.
pub fn column(body: &[u8], index: usize) -> Option<&[u8]> {
    let mut rest = body.get(2..)?;
    for at in 0..=index {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        let value = usize::try_from(length).ok();
        if at == index {
            return tail.get(..value?);
        }
        rest = tail.get(value.unwrap_or(0)..)?;
    }
    None
}

/// The number at the end of a CommandComplete (a whole message) of INSERT, UPDATE, DELETE, MERGE or COPY; 0 for any other.
pub fn rows_written(complete: &[u8]) -> u64 {
    let tag = complete
        .get(HEADER..)
        .and_then(|body| body.split(|byte| *byte == 0).next())
        .and_then(|tag| std::str::from_utf8(tag).ok())
        .unwrap_or_default();
    match tag.split_once(' ') {
        Some(("INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY", rest)) => rest
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0),
        _ => 0,
    }
}

fn message(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let at = out.len();
    out.put_u32(0);
    write(out);
    let length = (out.len() - at) as u32;
    if let Some(slot) = out.get_mut(at..at + 4) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

fn string(out: &mut BytesMut, value: &[u8]) {
    // A zero byte would end the field early and shift all that follows.
    out.extend(value.iter().copied().filter(|byte| *byte != 0));
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::*;
    use crate::error::SqlState;

    #[test]
    fn an_error_of_ours_reads_back_field_by_field() {
        let mut out = BytesMut::new();
        let error = Refusal::error(SqlState::SYNTAX_ERROR, "no")
            .hint("do")
            .position(3);
        refusal(&mut out, &error);
        let frame = frame::take(&mut out, 1000).unwrap().unwrap();
        assert_eq!(frame.tag, b'E');
        let fields = Fields::parse(frame.body);
        assert_eq!(fields.text(b'C'), "42601");
        assert_eq!(fields.text(b'H'), "do");
        assert_eq!(fields.text(b'P'), "3");
    }

    #[test]
    fn a_tag_is_told_as_another_with_the_real_number() {
        let told = |tag: &str, real: &str| {
            let (mut message, mut out) = (BytesMut::new(), BytesMut::new());
            command_complete(&mut message, real);
            command_told_as(&mut out, tag, &message);
            let frame = frame::take(&mut out, 1000).unwrap().unwrap();
            String::from_utf8(frame.body.to_vec()).unwrap()
        };
        assert_eq!(told("INSERT 0 ", "MERGE 12"), "INSERT 0 12\0");
        assert_eq!(told("TRUNCATE TABLE", "DO"), "TRUNCATE TABLE\0");
    }

    #[test]
    fn columns_are_found_and_null_is_none() {
        let row = b"\0\x03\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x02bc";
        assert_eq!(column(row, 0), Some(&b"a"[..]));
        assert_eq!(column(row, 1), None);
        assert_eq!(column(row, 2), Some(&b"bc"[..]));
        assert_eq!(column(row, 3), None);
    }

    #[test]
    fn tags_say_how_much_was_written() {
        for (tag, rows) in [
            ("INSERT 0 12", 12),
            ("UPDATE 3", 3),
            ("COPY 7", 7),
            ("SELECT 9", 0),
            ("BEGIN", 0),
            ("", 0),
        ] {
            let mut message = BytesMut::new();
            command_complete(&mut message, tag);
            assert_eq!(rows_written(&message), rows, "{tag}");
        }
    }
}
