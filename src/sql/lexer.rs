//! Postgres' lexical rules (`scan.l` of Postgres 15 to 18, `standard_conforming_strings = on`) as byte spans.
//!
//! The tokens of [`lex`] tile the text: nothing is dropped, nothing overlaps, and no input makes it panic. What
//! Postgres would refuse (an open string, an open comment) ends the list with [`TokenKind::Unterminated`].
//! Values are decoded only on request, by [`super::value`].

use std::ops::Range;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A run of Postgres' white space.
    Space,
    /// `-- …` (without its newline) or a nested `/* … */`.
    Comment,
    /// A keyword or an unquoted identifier.
    Word,
    /// `"…"`.
    QuotedIdentifier,
    /// `U&"…"`, with its UESCAPE clause if there is one.
    UnicodeIdentifier,
    /// `'…'`, continuations over newlines included, like for all strings but the dollar-quoted.
    String,
    /// `E'…'`.
    EscapeString,
    /// `B'…'` or `X'…'`.
    BitString,
    /// `N'…'`.
    NationalString,
    /// `U&'…'`, with its UESCAPE clause if there is one.
    UnicodeString,
    /// `$tag$ … $tag$`.
    DollarString,
    /// `$1`.
    Parameter,
    /// An integer or a decimal number, without a sign.
    Number,
    /// A run of operator characters, cut as Postgres cuts it; also `=`, `*`, `<=` and `=>`.
    Operator,
    /// One of `( ) [ ] , ; . :`.
    Symbol(u8),
    /// `::`
    TypeCast,
    /// `:=`
    ColonEquals,
    /// `..`
    DotDot,
    /// A string, quoted identifier or comment that the text's end cuts short: always the last token.
    Unterminated,
    /// A character that no rule of Postgres accepts.
    Other,
}

/// One token: its kind and its bytes in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// First byte.
    pub start: usize,
    /// The byte behind the last.
    pub end: usize,
}

impl Token {
    /// The token's byte range.
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The token's bytes in the text it was made from (empty for any other text it does not fit).
    pub fn text<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// Neither white space nor a comment.
    pub fn is_significant(&self) -> bool {
        !matches!(self.kind, TokenKind::Space | TokenKind::Comment)
    }
}

/// All tokens of the text, white space and comments included: their spans tile it.
pub fn lex(text: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len() / 3 + 4);
    tokens.extend(Lexer::new(text));
    tokens
}

/// The tokens that the grammar sees: [`lex`] without white space and comments.
pub fn significant(text: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len() / 5 + 4);
    tokens.extend(Lexer::new(text).filter(Token::is_significant));
    tokens
}

/// White space of Postgres' scanner (the vertical tab since Postgres 16).
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_identifier_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_identifier_part(byte: u8) -> bool {
    is_identifier_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'~' | b'!'
            | b'@'
            | b'#'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
            | b'+'
            | b'-'
            | b'*'
            | b'/'
            | b'%'
            | b'<'
            | b'>'
            | b'='
    )
}

/// An operator that ends in `+` or `-` must hold one of these, or the sign is a token of its own.
fn lets_operator_end_in_sign(byte: u8) -> bool {
    matches!(
        byte,
        b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%'
    )
}

/// The tokens of a text, one after the other.
pub struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Before the first token of the text.
    pub fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
        }
    }

    /// The byte at a place; 0, which no text of Postgres holds, behind the end.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn skip_while(&self, mut at: usize, accept: impl Fn(u8) -> bool) -> usize {
        while at < self.bytes.len() && accept(self.byte(at)) {
            at += 1;
        }
        at
    }

    /// Kind and end of the token that begins at `start`, which is inside the text.
    fn token_at(&self, start: usize) -> (TokenKind, usize) {
        let next = self.byte(start + 1);
        match self.byte(start) {
            byte if is_space(byte) => (TokenKind::Space, self.skip_while(start, is_space)),
            b'-' if next == b'-' => {
                let end = self.skip_while(start, |byte| byte != b'\n' && byte != b'\r');
                (TokenKind::Comment, end)
            }
            b'/' if next == b'*' => self.block_comment(start),
            b'\'' => self.string(TokenKind::String, start, false),
            b'"' => self.quoted_identifier(TokenKind::QuotedIdentifier, start),
            b'e' | b'E' if next == b'\'' => self.string(TokenKind::EscapeString, start + 1, true),
            b'b' | b'B' | b'x' | b'X' if next == b'\'' => {
                self.string(TokenKind::BitString, start + 1, false)
            }
            b'n' | b'N' if next == b'\'' => {
                self.string(TokenKind::NationalString, start + 1, false)
            }
            b'u' | b'U' if next == b'&' && self.byte(start + 2) == b'\'' => {
                self.with_uescape(self.string(TokenKind::UnicodeString, start + 2, false))
            }
            b'u' | b'U' if next == b'&' && self.byte(start + 2) == b'"' => {
                self.with_uescape(self.quoted_identifier(TokenKind::UnicodeIdentifier, start + 2))
            }
            byte if is_identifier_start(byte) => {
                (TokenKind::Word, self.skip_while(start, is_identifier_part))
            }
            b'$' => self.dollar(start),
            byte if byte.is_ascii_digit() => (TokenKind::Number, self.number(start)),
            b'.' if next.is_ascii_digit() => (TokenKind::Number, self.number(start)),
            b'.' if next == b'.' => (TokenKind::DotDot, start + 2),
            b':' if next == b':' => (TokenKind::TypeCast, start + 2),
            b':' if next == b'=' => (TokenKind::ColonEquals, start + 2),
            byte @ (b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' | b':') => {
                (TokenKind::Symbol(byte), start + 1)
            }
            byte if is_operator(byte) => (TokenKind::Operator, self.operator(start)),
            _ => (TokenKind::Other, start + 1),
        }
    }

    fn block_comment(&self, start: usize) -> (TokenKind, usize) {
        let mut at = start + 2;
        let mut depth = 1_usize;
        while at < self.bytes.len() {
            match (self.byte(at), self.byte(at + 1)) {
                (b'/', b'*') => {
                    depth += 1;
                    at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return (TokenKind::Comment, at);
                    }
                }
                _ => at += 1,
            }
        }
        (TokenKind::Unterminated, self.bytes.len())
    }

    /// A string whose opening quote is at `quote`, with every continuation after white space with a newline.
    fn string(&self, kind: TokenKind, quote: usize, escapes: bool) -> (TokenKind, usize) {
        let doubles = kind != TokenKind::BitString;
        let mut at = quote + 1;
        while at < self.bytes.len() {
            match self.byte(at) {
                b'\\' if escapes => at += 2,
                b'\'' if doubles && self.byte(at + 1) == b'\'' => at += 2,
                b'\'' => match continuation(self.bytes, at + 1) {
                    Some(open) => at = open + 1,
                    None => return (kind, at + 1),
                },
                _ => at += 1,
            }
        }
        (TokenKind::Unterminated, self.bytes.len())
    }

    fn quoted_identifier(&self, kind: TokenKind, quote: usize) -> (TokenKind, usize) {
        let mut at = quote + 1;
        while let Some(length) = memchr::memchr(b'"', self.bytes.get(at..).unwrap_or_default()) {
            at += length + 1;
            if self.byte(at) != b'"' {
                return (kind, at);
            }
            at += 1;
        }
        (TokenKind::Unterminated, self.bytes.len())
    }

    /// Takes `UESCAPE 'c'` into the `U&` token that ends here: Postgres' parser reads them as one, too.
    fn with_uescape(&self, (kind, end): (TokenKind, usize)) -> (TokenKind, usize) {
        if kind == TokenKind::Unterminated {
            return (kind, end);
        }
        let word = self.skip_insignificant(end);
        let word_end = self.skip_while(word, is_identifier_part);
        let is_uescape = self
            .bytes
            .get(word..word_end)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"uescape"));
        let quote = self.skip_insignificant(word_end);
        if is_uescape && self.byte(quote) == b'\'' {
            match self.string(TokenKind::String, quote, false) {
                (TokenKind::String, end) => return (kind, end),
                unterminated => return unterminated,
            }
        }
        (kind, end)
    }

    fn skip_insignificant(&self, mut at: usize) -> usize {
        while at < self.bytes.len() {
            match self.insignificant_at(at) {
                Some(end) => at = end,
                None => break,
            }
        }
        at
    }

    fn insignificant_at(&self, at: usize) -> Option<usize> {
        let first = self.byte(at);
        (is_space(first) || first == b'-' || first == b'/')
            .then(|| self.token_at(at))
            .filter(|(kind, _)| matches!(kind, TokenKind::Space | TokenKind::Comment))
            .map(|(_, end)| end)
    }

    /// `$1`, a dollar-quoted string, or a lone `$`.
    fn dollar(&self, start: usize) -> (TokenKind, usize) {
        let next = self.byte(start + 1);
        if next.is_ascii_digit() {
            let end = self.skip_while(start + 1, |byte| byte.is_ascii_digit());
            return (TokenKind::Parameter, end);
        }
        let tag_end = if is_identifier_start(next) {
            self.skip_while(start + 1, |byte| byte != b'$' && is_identifier_part(byte))
        } else {
            start + 1
        };
        if self.byte(tag_end) != b'$' {
            return (TokenKind::Other, start + 1);
        }
        let delimiter = self.bytes.get(start..=tag_end).unwrap_or_default();
        let body = self.bytes.get(tag_end + 1..).unwrap_or_default();
        match memchr::memmem::find(body, delimiter) {
            Some(length) => (
                TokenKind::DollarString,
                tag_end + 1 + length + delimiter.len(),
            ),
            None => (TokenKind::Unterminated, self.bytes.len()),
        }
    }

    /// The end of a number. Letters glued to it (an error since Postgres 15) are left for the next token.
    fn number(&self, start: usize) -> usize {
        let radix = match (self.byte(start), self.byte(start + 1)) {
            (b'0', b'x' | b'X') => Some(16),
            (b'0', b'o' | b'O') => Some(8),
            (b'0', b'b' | b'B') => Some(2),
            _ => None,
        };
        if let Some(radix) = radix {
            let is_digit = |byte: u8| char::from(byte).is_digit(radix);
            let end = self.digits(start + 2, is_digit, true);
            if end > start + 2 {
                return end;
            }
        }
        let is_digit = |byte: u8| byte.is_ascii_digit();
        let mut end = self.digits(start, is_digit, false);
        // `1..2` is 1, `..`, 2; but `1.` and `.5` are numbers.
        if self.byte(end) == b'.' && self.byte(end + 1) != b'.' {
            end = self.digits(end + 1, is_digit, false);
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            if is_digit(self.byte(end + 1 + sign)) {
                end = self.digits(end + 1 + sign, is_digit, false);
            }
        }
        end
    }

    /// Digits with single underscores between them (and before the first one after `0x`).
    fn digits(
        &self,
        mut at: usize,
        is_digit: impl Fn(u8) -> bool,
        leading_underscore: bool,
    ) -> usize {
        let mut after_digit = leading_underscore;
        loop {
            if is_digit(self.byte(at)) {
                after_digit = true;
                at += 1;
            } else if after_digit && self.byte(at) == b'_' && is_digit(self.byte(at + 1)) {
                at += 2;
            } else {
                return at;
            }
        }
    }

    /// The end of an operator: before a comment, and without trailing signs unless the operator may end in one.
    fn operator(&self, start: usize) -> usize {
        let mut end = self.skip_while(start, is_operator);
        for at in start + 1..end {
            if matches!(
                (self.byte(at), self.byte(at + 1)),
                (b'-', b'-') | (b'/', b'*')
            ) {
                end = at;
                break;
            }
        }
        let keeps_sign = self
            .bytes
            .get(start..end)
            .is_some_and(|operator| operator.iter().copied().any(lets_operator_end_in_sign));
        while !keeps_sign && end > start + 1 && matches!(self.byte(end - 1), b'+' | b'-') {
            end -= 1;
        }
        end
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let start = self.at;
        if start >= self.bytes.len() {
            return None;
        }
        let (kind, end) = self.token_at(start);
        // A backslash as the last byte of an open E'' may point one byte behind the end.
        self.at = end.min(self.bytes.len());
        Some(Token {
            kind,
            start,
            end: self.at,
        })
    }
}

/// Where the quote is that continues a string which was closed just before `at`: behind white space or `--`
/// comments that hold at least one newline.
pub(super) fn continuation(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut seen_newline = false;
    loop {
        match bytes.get(at).copied()? {
            b'\n' | b'\r' => {
                seen_newline = true;
                at += 1;
            }
            byte if is_space(byte) => at += 1,
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at += memchr::memchr2(b'\n', b'\r', bytes.get(at..)?)?;
            }
            b'\'' if seen_newline => return Some(at),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The significant tokens' texts, each with its kind's name where that is not obvious.
    fn texts(text: &str) -> Vec<&str> {
        significant(text)
            .iter()
            .map(|token| token.text(text))
            .collect()
    }

    #[test]
    fn tokens_end_where_postgres_ends_them() {
        let cases: &[(&str, &[&str])] = &[
            ("select\u{b}1\u{c}--x\r2", &["select", "1", "2"]),
            ("a/* /* */ ; */b", &["a", "b"]),
            ("a/*b", &["a", "/*b"]),
            ("größe$1 $1a", &["größe$1", "$1", "a"]),
            ("\"a\"\"b\".\"\"", &["\"a\"\"b\"", ".", "\"\""]),
            ("'a''b' 'c'", &["'a''b'", "'c'"]),
            (
                "'a' -- x\n  -- y\n 'b' 'c'",
                &["'a' -- x\n  -- y\n 'b'", "'c'"],
            ),
            ("'a' /* */\n 'b'", &["'a'", "'b'"]),
            ("'a\\' E'a\\'b' e'\\\\'", &["'a\\'", "E'a\\'b'", "e'\\\\'"]),
            (
                "B'01' x'1F' N'n' U&'\\0061'",
                &["B'01'", "x'1F'", "N'n'", "U&'\\0061'"],
            ),
            (
                "U&\"d!0061\" UESCAPE '!' x",
                &["U&\"d!0061\" UESCAPE '!'", "x"],
            ),
            ("u&x U &\"y\"", &["u", "&", "x", "U", "&", "\"y\""]),
            (
                "$$a$b$$ $t$ $$ $T$ $t$ $x",
                &["$$a$b$$", "$t$ $$ $T$ $t$", "$", "x"],
            ),
            ("$t$ open", &["$t$ open"]),
            ("a$$b$$", &["a$$b$$"]),
            (
                "1.5e-3 1. .5 1..2 1e 0x1F_a 1_000 0o7 0b1 0xg",
                &[
                    "1.5e-3", "1.", ".5", "1", "..", "2", "1", "e", "0x1F_a", "1_000", "0o7",
                    "0b1", "0", "xg",
                ],
            ),
            (
                "a::b c:=d e=>f g:h ARRAY[1:2]",
                &[
                    "a", "::", "b", "c", ":=", "d", "e", "=>", "f", "g", ":", "h", "ARRAY", "[",
                    "1", ":", "2", "]",
                ],
            ),
            (
                "1*-2 1=-1 @- -1 a<>-b x|/+y",
                &[
                    "1", "*", "-", "2", "1", "=", "-", "1", "@-", "-", "1", "a", "<>", "-", "b",
                    "x", "|/+", "y",
                ],
            ),
            ("1+--c\n2 3*/*c*/4", &["1", "+", "2", "3", "*", "4"]),
            ("{a}\\", &["{", "a", "}", "\\"]),
        ];
        for (text, expected) in cases {
            assert_eq!(texts(text), *expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn spans_tile_any_text(text in "(?s)([ -~\n]|[-'\"$/*eEuU&\\\\;.:a1\n]|.){0,60}") {
            let mut at = 0;
            for token in lex(&text) {
                prop_assert_eq!(token.start, at);
                prop_assert!(token.end > at && text.is_char_boundary(token.end));
                let _ = (crate::sql::value::identifier(&token, &text), crate::sql::value::string_value(&token, &text));
                at = token.end;
            }
            prop_assert_eq!(at, text.len());
        }
    }
}
