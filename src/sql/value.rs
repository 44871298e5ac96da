//! What an identifier or a string constant says: quotes undone, escapes decoded, case folded.

use std::borrow::Cow;

use super::lexer::{Token, TokenKind, continuation};

/// The value of an identifier token as Postgres reads it: folded to lower case (ASCII) unless quoted, `U&`
/// decoded, cut at 63 bytes. None for any other token, and for an empty or badly escaped identifier.
pub fn identifier(token: &Token, text: &str) -> Option<String> {
    let raw = token.text(text);
    let mut value = match token.kind {
        TokenKind::Word => raw.to_ascii_lowercase(),
        TokenKind::QuotedIdentifier => undouble(raw, '"', 1)?,
        TokenKind::UnicodeIdentifier => unicode_value(raw, '"')?,
        _ => return None,
    };
    let mut length = value.len().min(63);
    while !value.is_char_boundary(length) {
        length -= 1;
    }
    value.truncate(length);
    (!value.is_empty()).then_some(value)
}

/// The value of a string constant as Postgres reads it; None for any other token, for `B''` and `X''`, and for
/// an escape that Postgres refuses.
pub fn string_value(token: &Token, text: &str) -> Option<String> {
    let raw = token.text(text);
    match token.kind {
        TokenKind::String => string_pieces(raw, 0).map(|body| body.replace("''", "'")),
        TokenKind::NationalString => string_pieces(raw, 1).map(|body| body.replace("''", "'")),
        TokenKind::EscapeString => escape_value(&string_pieces(raw, 1)?),
        TokenKind::UnicodeString => unicode_value(raw, '\''),
        TokenKind::DollarString => {
            let tag = raw.get(1..)?.find('$')? + 2;
            Some(raw.get(tag..raw.len().checked_sub(tag)?)?.to_owned())
        }
        _ => None,
    }
}

/// The inside of a quoted token, from the byte `open` to its closing quote, with doubled quotes made single.
fn undouble(raw: &str, quote: char, open: usize) -> Option<String> {
    let body = raw.get(open..raw.len().checked_sub(1)?)?;
    Some(if body.contains(quote) {
        let doubled: String = [quote, quote].iter().collect();
        body.replace(&doubled, &quote.to_string())
    } else {
        body.to_owned()
    })
}

/// The raw inside of a string constant (quotes still doubled) with its continued pieces put together;
/// `prefix` is the number of bytes before the opening quote.
fn string_pieces(raw: &str, prefix: usize) -> Option<Cow<'_, str>> {
    let escapes = prefix == 1 && raw.starts_with(['e', 'E']);
    let bytes = raw.as_bytes();
    let mut pieces: Vec<&str> = Vec::new();
    let mut open = prefix + 1;
    let mut at = open;
    loop {
        match bytes.get(at)? {
            b'\\' if escapes => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => {
                pieces.push(raw.get(open..at)?);
                match continuation(bytes, at + 1) {
                    Some(quote) => {
                        open = quote + 1;
                        at = open;
                    }
                    None => break,
                }
            }
            _ => at += 1,
        }
    }
    Some(match pieces.as_slice() {
        [only] => Cow::Borrowed(*only),
        many => Cow::Owned(many.concat()),
    })
}

/// Decodes the backslashes and doubled quotes of an `E''` string's inside.
fn escape_value(body: &str) -> Option<String> {
    let mut out: Vec<u8> = Vec::with_capacity(body.len());
    let mut chars = body.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            chars.next();
        }
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escaped = chars.next()?;
        let mut code = |radix: u32, most: usize, start: u32| {
            let mut value = start;
            for _ in 0..most {
                let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix)) else {
                    break;
                };
                value = value * radix + digit;
                chars.next();
            }
            value
        };
        match escaped {
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            '0'..='7' => {
                let first = escaped.to_digit(8)?;
                out.push(u8::try_from(code(8, 2, first) & 0xff).ok()?);
            }
            'x' => match code(16, 2, 0) {
                0 => out.push(b'x'),
                value => out.push(u8::try_from(value).ok()?),
            },
            'u' | 'U' => {
                let digits = if escaped == 'u' { 4 } else { 8 };
                let value = code(16, digits, 0);
                out.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    String::from_utf8(out).ok()
}

/// Decodes a `U&'…'` or `U&"…"` token, its UESCAPE clause included.
fn unicode_value(raw: &str, quote: char) -> Option<String> {
    let body_end = closing_quote(raw, quote)?;
    let tail = raw.get(body_end + 1..)?;
    let escape = match tail.trim_end_matches('\'').chars().next_back() {
        Some(escape) if tail.ends_with('\'') => escape,
        _ => '\\',
    };
    let head = raw.get(..=body_end)?;
    let body = if quote == '\'' {
        string_pieces(head, 2)?.replace("''", "'")
    } else {
        undouble(head, quote, 3)?
    };
    decode_unicode(&body, escape)
}

/// Where the quote is that closes a `U&` token, before any UESCAPE clause.
fn closing_quote(raw: &str, quote: char) -> Option<usize> {
    let (bytes, quote) = (raw.as_bytes(), u8::try_from(quote).ok()?);
    let mut at = 3;
    loop {
        match *bytes.get(at)? {
            byte if byte != quote => at += 1,
            _ if bytes.get(at + 1) == Some(&quote) => at += 2,
            _ if quote == b'"' => return Some(at),
            _ => match continuation(bytes, at + 1) {
                Some(open) => at = open + 1,
                None => return Some(at),
            },
        }
    }
}

/// `\0061`, `\+000061` and the doubled escape character; surrogate pairs make one character.
fn decode_unicode(body: &str, escape: char) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        let (value, used) = if c != escape {
            (u32::from(c), 0)
        } else if rest.starts_with(escape) {
            (u32::from(escape), escape.len_utf8())
        } else if let Some(digits) = rest.strip_prefix('+') {
            (u32::from_str_radix(digits.get(..6)?, 16).ok()?, 7)
        } else {
            (u32::from_str_radix(rest.get(..4)?, 16).ok()?, 4)
        };
        rest = rest.get(used..)?;
        match u16::try_from(value) {
            Ok(unit) => units.push(unit),
            Err(_) => units.extend_from_slice(char::from_u32(value)?.encode_utf16(&mut [0; 2])),
        }
    }
    String::from_utf16(&units).ok()
}

/// A name as the console reads it back, quoted whatever it is.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lexer::lex;

    #[test]
    fn values_are_those_of_postgres() {
        let identifiers: &[(&str, Option<&str>)] = &[
            ("Users", Some("users")),
            ("ÄB", Some("Äb")),
            ("\"Us\"\"ers\"", Some("Us\"ers")),
            ("U&\"em\\0061il\"", Some("email")),
            ("U&\"em!0061il!!\" uescape '!'", Some("email!")),
            ("U&\"\\+01F600\\D83D\\DE00\"", Some("😀😀")),
            ("\"\"", None),
            ("U&\"\\00\"", None),
            ("'a'", None),
        ];
        for (text, expected) in identifiers {
            assert_eq!(
                identifier(&lex(text)[0], text).as_deref(),
                *expected,
                "{text}"
            );
        }
        let long = "ä".repeat(40);
        assert_eq!(identifier(&lex(&long)[0], &long), Some("ä".repeat(31)));

        let strings: &[(&str, Option<&str>)] = &[
            ("'it''s'", Some("it's")),
            ("'a'\n'b''c'", Some("ab'c")),
            ("E'a\\n\\x41\\101\\u00e4\\'''\\q'", Some("a\nAAä''q")),
            ("E'a\\'\n'\n'b'", Some("a'\nb")),
            ("E'\\xff'", None),
            ("U&'d\\0061t\\\\a'", Some("dat\\a")),
            ("U&'d!0061''' UESCAPE '!'", Some("da'")),
            ("$a$ $b$ $a$", Some(" $b$ ")),
            ("N'x'", Some("x")),
            ("B'1'", None),
            ("x", None),
        ];
        for (text, expected) in strings {
            assert_eq!(
                string_value(&lex(text)[0], text).as_deref(),
                *expected,
                "{text}"
            );
        }
    }
}
