//! Made-up values for a recording: each of the shape of the one in whose place it stands, and always the same one for
//! the same value, so that what was equal stays equal.
//!
//! A digit becomes a digit, a letter a letter; what stands between them stays. Dates keep year and month, so that they
//! remain dates. The key is drawn anew for each recording and never stored, so nobody can try values out.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::execution::Parameter;
use crate::sql::lexer::{Lexer, TokenKind};

/// Types by their OID ([pg_type.dat](https://www.postgresql.org/docs/current/catalog-pg-type.html)).
mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const JSON: u32 = 114;
    pub(super) const FLOAT4: u32 = 700;
    pub(super) const FLOAT8: u32 = 701;
    pub(super) const BPCHAR: u32 = 1042;
    pub(super) const VARCHAR: u32 = 1043;
    pub(super) const DATE: u32 = 1082;
    pub(super) const TIMESTAMP: u32 = 1114;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const UUID: u32 = 2950;
}

/// Numbers of fewer digits say little, and are often part of what a statement means (LIMIT 10).
const SHORT_NUMBER: usize = 2;

/// What makes values up.
#[derive(Debug)]
pub struct Mask {
    key: [u8; 32],
}

impl Mask {
    /// With a key that nobody knows.
    pub fn random() -> Self {
        Self {
            key: rand::random(),
        }
    }

    /// A statement with made-up literals.
    pub fn statement(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for token in Lexer::new(text) {
            let literal = token.text(text);
            let masked = match token.kind {
                // Only what is between the quotes; what is in front of them, and escapes, decide how it is read.
                TokenKind::String | TokenKind::NationalString => self.quoted(literal),
                TokenKind::BitString => literal.to_owned(),
                TokenKind::EscapeString | TokenKind::UnicodeString | TokenKind::DollarString => {
                    self.escaped(literal)
                }
                TokenKind::Number if digits(literal) > SHORT_NUMBER => self.shaped(literal),
                TokenKind::Comment | TokenKind::Unterminated => " ".to_owned(),
                _ => continue,
            };
            out.push_str(text.get(done..token.start).unwrap_or_default());
            out.push_str(&masked);
            done = token.end;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        out
    }

    /// A parameter's value, made up by its type.
    pub fn parameter(&self, parameter: &Parameter, type_oid: u32) -> Parameter {
        let value = parameter.value.as_ref().and_then(|value| {
            let made: Vec<u8> = match (parameter.binary, type_oid) {
                (_, oid::BOOL) => value.to_vec(),
                (false, oid::JSON | 3802) => self.json(value),
                (false, _) => self.value(&String::from_utf8_lossy(value)).into_bytes(),
                (true, oid::TEXT | oid::VARCHAR | oid::BPCHAR) => {
                    self.value(&String::from_utf8_lossy(value)).into_bytes()
                }
                (true, oid::JSON) => self.json(value),
                (true, oid::INT2 | oid::INT4 | oid::INT8) => self.integer(value)?,
                (
                    true,
                    oid::FLOAT4 | oid::FLOAT8 | oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ,
                ) => self.blurred(value)?,
                (true, oid::UUID) => self.stream(value).take(value.len()).collect(),
                // Its form is not known here.
                (true, _) => return None,
            };
            Some(Bytes::from(made))
        });
        Parameter {
            binary: parameter.binary,
            value,
        }
    }

    /// A text that may be a date.
    fn value(&self, text: &str) -> String {
        match text.as_bytes() {
            [y1, y2, y3, y4, b'-', m1, m2, b'-', _, _, ..]
                if [y1, y2, y3, y4, m1, m2].iter().all(|c| c.is_ascii_digit()) =>
            {
                // Day 01 to 28, and the time as it was.
                let day = self.stream(text.as_bytes()).next().unwrap_or(0) % 28 + 1;
                let (head, tail) = text.split_at_checked(8).unwrap_or((text, ""));
                format!("{head}{day:02}{}", tail.get(2..).unwrap_or_default())
            }
            _ if matches!(text, "t" | "f" | "true" | "false" | "TRUE" | "FALSE") => text.to_owned(),
            _ => self.shaped(text),
        }
    }

    /// A quoted literal: a prefix, and quotes around text in which two quotes are one.
    fn quoted(&self, literal: &str) -> String {
        let Some((prefix, rest)) = literal.split_once('\'') else {
            return literal.to_owned();
        };
        let inner = rest.strip_suffix('\'').unwrap_or(rest);
        format!("{prefix}'{}'", self.value(inner))
    }

    /// A literal in which letters and digits behind a backslash, or in a dollar quote's tag, have a meaning: it becomes
    /// a plain one.
    fn escaped(&self, literal: &str) -> String {
        let made: String = self
            .shaped(literal)
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        format!("'{made}'")
    }

    fn json(&self, value: &[u8]) -> Vec<u8> {
        match serde_json::from_slice(value) {
            Ok(json) => self.leaves(json).to_string().into_bytes(),
            Err(_) => self.shaped(&String::from_utf8_lossy(value)).into_bytes(),
        }
    }

    /// The keys stay: they are the application's, as columns are.
    fn leaves(&self, json: serde_json::Value) -> serde_json::Value {
        use serde_json::Value as Json;
        match json {
            Json::String(text) => Json::String(self.value(&text)),
            Json::Number(number) => {
                let made = self.shaped(&number.to_string());
                made.parse().map_or(Json::from(0), Json::Number)
            }
            Json::Array(all) => Json::Array(all.into_iter().map(|one| self.leaves(one)).collect()),
            Json::Object(all) => {
                let made = all
                    .into_iter()
                    .map(|(key, value)| (key, self.leaves(value)));
                Json::Object(made.collect())
            }
            other => other,
        }
    }

    /// An integer with as many digits.
    fn integer(&self, value: &[u8]) -> Option<Vec<u8>> {
        let number = match value {
            [a, b] => i64::from(i16::from_be_bytes([*a, *b])),
            [a, b, c, d] => i64::from(i32::from_be_bytes([*a, *b, *c, *d])),
            _ => i64::from_be_bytes(value.try_into().ok()?),
        };
        // One digit fewer where the made-up number is too large for the type.
        let made: i64 = self
            .shaped(&number.to_string())
            .parse()
            .unwrap_or(number / 10);
        Some(match value.len() {
            2 => i16::try_from(made)
                .unwrap_or(i16::MAX)
                .to_be_bytes()
                .to_vec(),
            4 => i32::try_from(made)
                .unwrap_or(i32::MAX)
                .to_be_bytes()
                .to_vec(),
            _ => made.to_be_bytes().to_vec(),
        })
    }

    /// A number whose lower half is made up: of the same size, and no longer the same.
    fn blurred(&self, value: &[u8]) -> Option<Vec<u8>> {
        let keep = value.len() / 2;
        let made = self.stream(value).take(value.len() - keep);
        Some(value.get(..keep)?.iter().copied().chain(made).collect())
    }

    /// Digits for digits, letters for letters. A leading digit is no 0 unless it was one.
    fn shaped(&self, text: &str) -> String {
        let is_hex = text.len() >= 32 && text.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
        let mut stream = self.stream(text.as_bytes());
        let mut first = true;
        let one = |c: char| {
            let made = stream.next().unwrap_or(0);
            let in_range = |from: u8, count: u8| char::from(from + made % count);
            let leads = std::mem::take(&mut first);
            match c {
                '0'..='9' if is_hex => in_range(b'0', 10),
                'a'..='f' | 'A'..='F' if is_hex => in_range(b'a', 6),
                '1'..='9' if leads => in_range(b'1', 9),
                '0'..='9' => in_range(b'0', 10),
                'a'..='z' => in_range(b'a', 26),
                'A'..='Z' => in_range(b'A', 26),
                c if c.is_ascii() || !c.is_alphanumeric() => c,
                _ => in_range(b'a', 26),
            }
        };
        text.chars().map(one).collect()
    }

    /// Bytes that hang on the key and the value alone.
    fn stream<'a>(&'a self, value: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
        (0_u64..).flat_map(move |block| {
            let mut mac = match Hmac::<Sha256>::new_from_slice(&self.key) {
                Ok(mac) => mac,
                // HMAC takes keys of any length.
                Err(_) => return Vec::new(),
            };
            mac.update(&block.to_be_bytes());
            mac.update(value);
            mac.finalize().into_bytes().to_vec()
        })
    }
}

fn digits(text: &str) -> usize {
    text.chars().filter(char::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sql::normalise::normalised;

    fn mask() -> Mask {
        Mask { key: [7; 32] }
    }

    fn shape(text: &str) -> String {
        let one = |c: char| match c {
            '0'..='9' => '9',
            'a'..='z' => 'a',
            'A'..='Z' => 'A',
            c => c,
        };
        text.chars().map(one).collect()
    }

    #[test]
    fn values_keep_their_shape() {
        let mask = mask();
        for text in [
            "Anna.Berg@example.com",
            "+49 170 1234567",
            "DE12 5001",
            "12.50",
            "-3071",
        ] {
            let made = mask.value(text);
            assert_ne!(made, text);
            assert_eq!(shape(&made), shape(text));
            assert_eq!(mask.value(text), made, "stable");
            assert_ne!(Mask::random().value(text), made, "another recording");
        }
        let date = mask.value("2024-02-29 10:00:00+00");
        assert!(
            date.starts_with("2024-02-") && date.ends_with(" 10:00:00+00"),
            "{date}"
        );
        assert_eq!(mask.value("true"), "true");
        let uuid = mask.value("6fa459ea-ee8a-3ca4-894e-db77e160355e");
        assert!(
            uuid.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-'),
            "{uuid}"
        );
    }

    #[test]
    fn statements_stay_what_they_are() {
        let text =
            "SELECT 'Anna''s', E'a\\'b', $q$secret$q$, 12345, 10 /* Anna */ FROM t LIMIT 10 -- x";
        let made = mask().statement(text);
        assert_eq!(normalised(&made), normalised(text));
        for gone in ["Anna", "secret", "12345"] {
            assert!(!made.contains(gone), "{made}");
        }
        assert!(made.contains("LIMIT 10") && made.contains(", 10"), "{made}");
    }

    #[test]
    fn binary_parameters_by_their_type() {
        let mask = mask();
        let made = |value: &[u8], oid| {
            let parameter = Parameter {
                binary: true,
                value: Some(value.to_vec().into()),
            };
            mask.parameter(&parameter, oid).value
        };
        let number = made(&123_456_i32.to_be_bytes(), oid::INT4).unwrap();
        let number = i32::from_be_bytes(number.as_ref().try_into().unwrap());
        assert!((100_000..=999_999).contains(&number) && number != 123_456);
        assert_eq!(made(&i64::MAX.to_be_bytes(), oid::INT8).unwrap().len(), 8);
        assert_eq!(made(&[1], oid::BOOL).unwrap().as_ref(), [1]);
        assert_eq!(made(&[1, 2, 3], 1700), None, "a form that is not known");
        let json = mask.json(br#"{"name": "Anna", "n": [12345, true, null]}"#);
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_ne!(json["name"], "Anna");
        assert!(json["n"][1] == true && json["n"][2].is_null() && json["n"][0] != 12345);
    }

    proptest! {
        #[test]
        fn a_masked_statement_has_the_same_normal_form(
            before in "[a-z (),=]{0,20}", inner in "[^'\\\\]{0,20}", number in 0_u64..u64::MAX,
        ) {
            let text = format!("{before} '{inner}' {number} E'{}'", inner.replace('\n', "\\n"));
            prop_assert_eq!(normalised(&mask().statement(&text)), normalised(&text));
        }
    }
}
