//! [`ClientText`]: the only form in which a client's SQL reaches an upstream.

use crate::sql::lexer::{Lexer, Token, TokenKind};
use bytes::Bytes;

/// One statement of a client, checked once more on its way out: it is no transaction command.
///
/// The plan has decided that long before, from the client's text. This looks at the very text that is sent,
/// rewritten or not, so that no mistake in between can end the transaction. Server-side, a Parse takes one
/// statement only, whose first word is what is looked at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientText(Bytes);

impl ClientText {
    /// Checks `text`; `encoded` is the same text in the client's encoding. None for what could begin, end or
    /// leave a transaction.
    pub fn new(text: &str, encoded: Vec<u8>) -> Option<Self> {
        let mut words = Lexer::new(text).filter(Token::is_significant);
        let first = words.next()?;
        if first.kind != TokenKind::Word {
            // A parenthesis begins a query; nothing else that is no word begins a statement.
            return (first.text(text) == "(").then(|| Self(encoded.into()));
        }
        let second = words.next().map_or("", |token| token.text(text));
        let forbidden = match first.text(text).to_ascii_lowercase().as_str() {
            "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint"
            | "release" => true,
            "prepare" => second.eq_ignore_ascii_case("transaction"),
            _ => false,
        };
        (!forbidden).then(|| Self(encoded.into()))
    }

    /// The bytes to send.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text as characters, where it is UTF-8.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &str) -> bool {
        ClientText::new(text, text.as_bytes().to_vec()).is_some()
    }

    #[test]
    fn no_transaction_command_gets_through_however_it_is_dressed() {
        for text in [
            "COMMIT",
            " \t\r\n\x0c commit",
            "/* a /* nested */ b */ Commit AND CHAIN",
            "-- x\nEND",
            "rollback; update t set a = 1",
            "ABORT",
            "PREPARE /* x */ TRANSACTION 'a'",
            "begin",
            "START TRANSACTION",
            "SAVEPOINT a",
            "release a",
            "; COMMIT",
            "'a' COMMIT",
            "\"commit\"",
            "",
            "/* never closed COMMIT",
        ] {
            assert!(!accepted(text), "{text:?}");
        }
    }

    #[test]
    fn statements_get_through() {
        for text in [
            "SELECT 1",
            "(SELECT 1)",
            "prepare p as select 1",
            "DO $$ begin commit; end $$",
            "with a as (select 1) table a",
        ] {
            assert!(accepted(text), "{text:?}");
        }
    }
}
