//! A statement's text without what it says about the data: [`normalised`], for the record.
//!
//! Every literal becomes `?`, as `pg_stat_statements` shows constants as parameters, and what differs only in
//! the number of listed values, in white space, comments or the case of unquoted words comes out the same.

use super::lexer::{Lexer, Token, TokenKind};
use sha2::{Digest, Sha256};

/// What stands for a literal.
const LITERAL: &str = "?";
/// A longer normalised text is cut here, at a character, and ends in `…`.
const LONGEST: usize = 16 * 1024;

/// The text with `?` for each literal, one space between words, no comments; lists of literals are one `?`, and
/// rows of VALUES are one row. Nothing that a string, a number or a dollar-quoted body says is in it. What cannot
/// be told from a literal (a text that ends within quotes) is left out, too.
pub fn normalised(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut joined = Vec::new();
    let mut end = 0;
    for token in Lexer::new(text).filter(Token::is_significant) {
        let is_literal = matches!(
            token.kind,
            TokenKind::String
                | TokenKind::EscapeString
                | TokenKind::BitString
                | TokenKind::NationalString
                | TokenKind::UnicodeString
                | TokenKind::DollarString
                | TokenKind::Number
                | TokenKind::Unterminated
        );
        let part = if is_literal {
            LITERAL
        } else {
            token.text(text)
        };
        parts.push(part);
        joined.push(token.start == end);
        end = token.end;
        fold_list(&mut parts, &mut joined);
    }
    while parts.last() == Some(&";") {
        parts.pop();
    }
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for (index, (part, joined)) in parts.iter().zip(&joined).enumerate() {
        if index > 0 && !joined {
            out.push(' ');
        }
        out.push_str(part);
        if out.len() > LONGEST {
            let mut cut = LONGEST;
            while !out.is_char_boundary(cut) {
                cut -= 1;
            }
            out.truncate(cut);
            out.push('…');
            break;
        }
    }
    out
}

/// `?, ?` at the end becomes `?`, and `(?), (?)` becomes `(?)`.
fn fold_list(parts: &mut Vec<&str>, joined: &mut Vec<bool>) {
    let folded = match parts.as_slice() {
        [.., LITERAL, ",", LITERAL] => 2,
        [.., "(", LITERAL, ")", ",", "(", LITERAL, ")"] => 4,
        _ => return,
    };
    let left = parts.len() - folded;
    parts.truncate(left);
    joined.truncate(left);
}

/// A short name for statements that differ in their literals alone: the first 64 bits of SHA-256 over the
/// normalised text in lower case, as 16 hexadecimal digits.
pub fn fingerprint(normalised: &str) -> String {
    let digest = Sha256::digest(normalised.to_lowercase().as_bytes());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals_are_gone() {
        for (text, expected) in [
            (
                "SELECT * FROM t WHERE a = 'x''y' AND b=5 -- 'z'\n;",
                "SELECT * FROM t WHERE a = ? AND b=?",
            ),
            ("select E'\\'', U&'d\\0061', B'01', 1e9", "select ?"),
            (
                "SELECT a FROM t WHERE id IN (1, 2, 3)",
                "SELECT a FROM t WHERE id IN (?)",
            ),
            (
                "INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'),(3,'z')",
                "INSERT INTO t (a, b) VALUES (?)",
            ),
            ("SELECT $1, a", "SELECT $1, a"),
            ("DO $x$ SELECT 'secret' $x$", "DO ?"),
            ("SELECT 'never closed", "SELECT ?"),
            ("SELECT\n\t1 /* 'a' */ + 2", "SELECT ? + ?"),
            ("", ""),
        ] {
            assert_eq!(normalised(text), expected, "{text}");
        }
    }

    #[test]
    fn case_and_literals_do_not_change_a_fingerprint() {
        let of = |text: &str| fingerprint(&normalised(text));
        assert_eq!(
            of("SELECT a FROM t WHERE b = 1"),
            of("select A from T where B = 22;")
        );
        assert_ne!(of("SELECT a FROM t"), of("SELECT b FROM t"));
        assert_eq!(of("").len(), 16);
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = format!("SELECT {}", "ä,".repeat(LONGEST));
        assert!(normalised(&text).len() < LONGEST + 8);
    }

    proptest! {
        #[test]
        fn no_string_survives(before in "[a-z (),=]{0,20}", marker in "[0-9]{8}[a-z]{4}", quote in 0..3) {
            let literal = match quote {
                0 => format!("'{marker}'"),
                1 => format!("$a${marker}$a$"),
                _ => format!("E'\\n{marker}'"),
            };
            let text = format!("{before} {literal} {literal}");
            prop_assert!(!normalised(&text).contains(&marker));
        }
    }
}
