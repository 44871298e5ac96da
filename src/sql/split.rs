//! Cuts the text of one simple Query into its statements, where Postgres' grammar ends them.

use std::ops::Range;

use super::lexer::{Lexer, Token, TokenKind};

/// The statements of the text, each from its first significant token to its last, without its `;`. Pieces
/// that hold only white space and comments are left out, as Postgres leaves them out.
///
/// A `;` inside of parentheses (`CREATE RULE … DO (a; b)`) or of an SQL-standard body (`BEGIN ATOMIC … END`)
/// ends nothing. Text that does not lex to its end gives its rest as one statement, for Postgres to refuse.
pub fn split(text: &str) -> Vec<Range<usize>> {
    let mut statements = Vec::new();
    let mut current = Piece::default();
    for token in Lexer::new(text).filter(Token::is_significant) {
        if token.kind == TokenKind::Symbol(b';') && current.may_end() {
            statements.extend(std::mem::take(&mut current).span);
        } else {
            current.push(&token, text);
        }
    }
    statements.extend(current.span);
    statements
}

/// The statement that is being read.
#[derive(Default)]
struct Piece {
    span: Option<Range<usize>>,
    parens: usize,
    head: Head,
    /// Open BEGIN ATOMIC and CASE, each of which takes one END.
    blocks: usize,
    after_begin: bool,
}

/// How much of `CREATE [OR REPLACE] {FUNCTION | PROCEDURE}` was seen: only there may a body stand.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Head {
    #[default]
    Nothing,
    Create,
    Or,
    Replace,
    Routine,
    Other,
}

impl Piece {
    fn may_end(&self) -> bool {
        self.parens == 0 && self.blocks == 0
    }

    fn push(&mut self, token: &Token, text: &str) {
        let start = self.span.as_ref().map_or(token.start, |span| span.start);
        self.span = Some(start..token.end);
        match token.kind {
            TokenKind::Symbol(b'(') => self.parens += 1,
            TokenKind::Symbol(b')') => self.parens = self.parens.saturating_sub(1),
            _ => {}
        }
        if self.head == Head::Other {
            return;
        }
        let word = if token.kind == TokenKind::Word {
            token.text(text)
        } else {
            ""
        };
        let is = |expected: &str| word.eq_ignore_ascii_case(expected);
        self.head = match self.head {
            Head::Nothing if is("create") => Head::Create,
            Head::Create if is("or") => Head::Or,
            Head::Or if is("replace") => Head::Replace,
            Head::Create | Head::Replace if is("function") || is("procedure") => Head::Routine,
            Head::Routine => Head::Routine,
            _ => Head::Other,
        };
        if self.head == Head::Routine {
            let opens_body = self.after_begin && self.blocks == 0 && is("atomic");
            if opens_body || (self.blocks > 0 && is("case")) {
                self.blocks += 1;
            } else if self.blocks > 0 && is("end") {
                self.blocks -= 1;
            }
            self.after_begin = is("begin");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn statements_end_where_postgres_ends_them() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" ; ;; -- nothing\n ; /* ; */", &[]),
            ("select 1", &["select 1"]),
            (" select 1 ; select 2;", &["select 1", "select 2"]),
            ("-- a\nselect 1 -- b\n;select 2", &["select 1", "select 2"]),
            (
                "select ';' ; select $$;$$, \";\", E'\\';' ; x",
                &["select ';'", "select $$;$$, \";\", E'\\';'", "x"],
            ),
            ("select 1;/* ; /* ; */ ; */commit", &["select 1", "commit"]),
            (
                "create rule r as on insert to t do also (select 1; select 2); commit",
                &[
                    "create rule r as on insert to t do also (select 1; select 2)",
                    "commit",
                ],
            ),
            (
                "CREATE OR REPLACE FUNCTION f(x int) RETURNS int BEGIN ATOMIC SELECT 1; \
                 SELECT CASE x WHEN 1 THEN 2 END; END; COMMIT",
                &[
                    "CREATE OR REPLACE FUNCTION f(x int) RETURNS int BEGIN ATOMIC SELECT 1; \
                     SELECT CASE x WHEN 1 THEN 2 END; END",
                    "COMMIT",
                ],
            ),
            (
                "create procedure p() begin atomic end; end",
                &["create procedure p() begin atomic end", "end"],
            ),
            (
                "begin; create table atomic(x int); end",
                &["begin", "create table atomic(x int)", "end"],
            ),
            ("begin atomic; select 1", &["begin atomic", "select 1"]),
            ("select (1; select 2", &["select (1; select 2"]),
            ("select 1); select 2", &["select 1)", "select 2"]),
            (
                "select 1; select 'open; commit",
                &["select 1", "select 'open; commit"],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(pieces(text), *expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_are_in_order_and_lose_only_separators(text in "(?s)[ -~\n]{0,60}|.{0,40}") {
            let mut at = 0;
            for span in split(&text) {
                prop_assert!(at <= span.start && span.start < span.end);
                let between = &text[at..span.start];
                prop_assert!(crate::sql::lexer::significant(between).iter()
                    .all(|token| token.kind == TokenKind::Symbol(b';')), "{between:?}");
                at = span.end;
            }
        }
    }
}
