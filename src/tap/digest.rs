//! Digests of results: the same rows give the same digest, and nothing of the rows can be read from it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Further columns of a result count as one.
const MOST_COLUMNS: usize = 256;

/// 128 bits of SHA-256, or a sum of such; hexadecimal in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(u128);

impl Digest {
    /// Of these parts, whose borders count.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self::taken(&hash.finalize())
    }

    fn taken(hash: &[u8]) -> Self {
        let first = hash.first_chunk::<16>().copied().unwrap_or_default();
        Self(u128::from_be_bytes(first))
    }

    /// A sum does not depend on the order of what is added.
    fn add(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)?;
        Ok(Self(number))
    }
}

/// What a statement returned, without a value of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResultDigest {
    /// How many rows, or messages of a COPY.
    pub rows: u64,
    /// The rows' bytes on the wire.
    pub bytes: u64,
    /// Of all rows in their order.
    pub ordered: Digest,
    /// Of all rows in any order.
    pub unordered: Digest,
    /// Of each column's values in any order.
    pub columns: Vec<ColumnDigest>,
}

/// One column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ColumnDigest {
    /// Its name; empty where no RowDescription was seen.
    pub name: String,
    /// Of its values in any order.
    pub digest: Digest,
}

/// Reads rows as they pass, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Rows {
    result: ResultDigest,
    order: Sha256,
    row: Sha256,
    value: Sha256,
    at: At,
    /// Bytes of a number that is not complete.
    number: Vec<u8>,
    column: usize,
}

/// Where in a DataRow the next byte stands.
#[derive(Debug, Default, Clone, Copy)]
enum At {
    /// In the number of columns.
    #[default]
    Count,
    /// In a value's length.
    Length,
    /// In a value of which so many bytes are to come.
    Value(usize),
}

impl Rows {
    /// The next piece of a DataRow's body.
    pub(super) fn data_row(&mut self, bytes: &[u8], last: bool) {
        self.take(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.step(rest);
        }
        if last {
            (self.at, self.column) = (At::Count, 0);
            self.number.clear();
            self.end_row();
        }
    }

    /// The next piece of a CopyData's body.
    pub(super) fn copy_data(&mut self, bytes: &[u8], last: bool) {
        self.take(bytes);
        if last {
            self.end_row();
        }
    }

    /// The digest of what has passed; the next row begins another result.
    pub(super) fn finish<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> ResultDigest {
        let mut result = std::mem::take(&mut self.result);
        result.ordered = Digest::taken(&std::mem::take(&mut self.order).finalize());
        for (at, name) in names.take(MOST_COLUMNS).enumerate() {
            // A result without rows has its columns, too.
            if result.columns.len() <= at {
                result.columns.push(ColumnDigest::default());
            }
            if let Some(column) = result.columns.get_mut(at) {
                name.clone_into(&mut column.name);
            }
        }
        result
    }

    fn take(&mut self, bytes: &[u8]) {
        self.result.bytes += bytes.len() as u64;
        self.row.update(bytes);
    }

    fn end_row(&mut self) {
        self.result.rows += 1;
        let row = std::mem::take(&mut self.row).finalize();
        self.order.update(row);
        self.result.unordered.add(Digest::taken(&row));
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let wanted = match self.at {
            At::Count => 2,
            At::Length => 4,
            At::Value(left) => {
                let (value, rest) = bytes.split_at(left.min(bytes.len()));
                self.value.update(value);
                self.at = At::Value(left - value.len());
                if left == value.len() {
                    self.end_value(b"value");
                }
                return rest;
            }
        };
        let (number, rest) = bytes.split_at((wanted - self.number.len()).min(bytes.len()));
        self.number.extend_from_slice(number);
        if self.number.len() < wanted {
            return rest;
        }
        let number = std::mem::take(&mut self.number);
        match (
            self.at,
            number.as_slice().try_into().map(i32::from_be_bytes),
        ) {
            (At::Count, _) => self.at = At::Length,
            // NULL has the length -1.
            (_, Ok(length)) => match usize::try_from(length) {
                Ok(0) => self.end_value(b"value"),
                Ok(length) => self.at = At::Value(length),
                Err(_) => self.end_value(b"null"),
            },
            (_, Err(_)) => {}
        }
        rest
    }

    fn end_value(&mut self, kind: &[u8]) {
        let mut value = std::mem::take(&mut self.value);
        value.update(kind);
        let at = self.column.min(MOST_COLUMNS - 1);
        let columns = &mut self.result.columns;
        if columns.len() <= at {
            columns.resize_with(at + 1, ColumnDigest::default);
        }
        if let Some(column) = columns.get_mut(at) {
            column.digest.add(Digest::taken(&value.finalize()));
        }
        self.column += 1;
        self.at = At::Length;
    }
}

/// Rows that did not come over the wire, digested as if they had.
#[derive(Debug, Default)]
pub struct RowDigest(Rows);

impl RowDigest {
    /// The next row; None is NULL.
    pub fn row(&mut self, cells: &[Option<String>]) {
        let count = u16::try_from(cells.len()).unwrap_or(u16::MAX);
        self.0.data_row(&count.to_be_bytes(), cells.is_empty());
        for (at, cell) in cells.iter().enumerate() {
            let length = match cell {
                Some(cell) => i32::try_from(cell.len()).unwrap_or(i32::MAX),
                None => -1,
            };
            let last = at + 1 == cells.len();
            let bytes = cell.as_ref().map_or(&[][..], String::as_bytes);
            self.0
                .data_row(&length.to_be_bytes(), last && bytes.is_empty());
            if !bytes.is_empty() {
                self.0.data_row(bytes, last);
            }
        }
    }

    /// The digest of the rows; the next row begins another result.
    pub fn finish(&mut self, names: &[String]) -> ResultDigest {
        self.0.finish(names.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&str>]) -> Vec<u8> {
        let mut body = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            match value {
                Some(value) => {
                    body.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    body.extend_from_slice(value.as_bytes());
                }
                None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
        body
    }

    fn digest(rows: &[&[Option<&str>]], size: usize) -> ResultDigest {
        let mut reader = Rows::default();
        for values in rows {
            let body = row(values);
            let pieces: Vec<&[u8]> = body.chunks(size).collect();
            for (at, piece) in pieces.iter().enumerate() {
                reader.data_row(piece, at + 1 == pieces.len());
            }
        }
        reader.finish(["a", "b"].into_iter())
    }

    const ONE: &[Option<&str>] = &[Some("1"), Some("x")];
    const TWO: &[Option<&str>] = &[Some("2"), None];

    #[test]
    fn the_size_of_pieces_makes_no_difference() {
        let whole = digest(&[ONE, TWO], 1000);
        assert_eq!((whole.rows, whole.columns.len()), (2, 2));
        for size in 1..9 {
            assert_eq!(digest(&[ONE, TWO], size), whole, "{size}");
        }
    }

    #[test]
    fn order_counts_where_it_should() {
        let (one, other) = (digest(&[ONE, TWO], 99), digest(&[TWO, ONE], 99));
        assert_ne!(one.ordered, other.ordered);
        assert_eq!(one.unordered, other.unordered);
        assert_eq!(one.columns, other.columns);
    }

    #[test]
    fn each_column_has_its_own() {
        let one = digest(&[ONE], 99);
        let other = digest(&[&[Some("1"), Some("y")]], 99);
        assert_eq!(one.columns[0], other.columns[0]);
        assert_ne!(one.columns[1].digest, other.columns[1].digest);
        let empty = digest(&[&[Some("1"), Some("")]], 99);
        let null = digest(&[&[Some("1"), None]], 99);
        assert_ne!(empty.columns[1].digest, null.columns[1].digest);
        assert_eq!(digest(&[], 99).columns.len(), 2);
    }

    #[test]
    fn rows_that_came_otherwise_have_the_same_digest() {
        let mut other = RowDigest::default();
        for values in [ONE, TWO] {
            let cells: Vec<Option<String>> = values.iter().map(|v| v.map(str::to_owned)).collect();
            other.row(&cells);
        }
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(other.finish(&names), digest(&[ONE, TWO], 99));
    }

    #[test]
    fn json_keeps_a_digest() {
        let digest = Digest::of(&[b"a"]);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
    }
}
