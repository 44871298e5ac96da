//! [`Cursor`]: walks the significant tokens of one statement, the way a hand-written grammar wants to.

use std::ops::Range;

use super::keywords;
use super::lexer::{Token, TokenKind};
use super::statement::{Name, RelationName};
use super::value;

/// A place between two tokens; what begins with `eat` or returns an Option moves only when it succeeds.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Before the first of the tokens, which were made from `text` and hold no space or comment.
    pub(super) fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        Self {
            text,
            tokens,
            at: 0,
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// How many tokens were passed.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The tokens not yet passed.
    pub(super) fn rest(&self) -> &'a [Token] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    /// The current token's text; empty at the end.
    pub(super) fn peek_text(&self) -> &'a str {
        self.peek().map_or("", |token| token.text(self.text))
    }

    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    /// The current token's place; at the end, the empty range behind the last token.
    pub(super) fn here(&self) -> Range<usize> {
        match (self.peek(), self.tokens.last()) {
            (Some(token), _) => token.span(),
            (None, Some(last)) => last.end..last.end,
            (None, None) => 0..0,
        }
    }

    /// Is the token `ahead` of here this unquoted word (given in lower case)?
    pub(super) fn is_word_ahead(&self, ahead: usize, word: &str) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(|token| {
            token.kind == TokenKind::Word && token.text(self.text).eq_ignore_ascii_case(word)
        })
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.is_word_ahead(0, word)
    }

    pub(super) fn is_any_word(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(word))
    }

    pub(super) fn is_symbol(&self, symbol: u8) -> bool {
        self.peek()
            .is_some_and(|token| token.kind == TokenKind::Symbol(symbol))
    }

    pub(super) fn is_operator(&self, operator: &str) -> bool {
        self.peek().is_some_and(|token| {
            token.kind == TokenKind::Operator && token.text(self.text) == operator
        })
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.at += usize::from(is);
        is
    }

    pub(super) fn eat_any_word(&mut self, words: &[&str]) -> bool {
        let is = self.is_any_word(words);
        self.at += usize::from(is);
        is
    }

    /// All of the words in their order, or none of them.
    pub(super) fn eat_words(&mut self, words: &[&str]) -> bool {
        let all = (0..)
            .zip(words)
            .all(|(ahead, word)| self.is_word_ahead(ahead, word));
        if all {
            self.at += words.len();
        }
        all
    }

    pub(super) fn eat_symbol(&mut self, symbol: u8) -> bool {
        let is = self.is_symbol(symbol);
        self.at += usize::from(is);
        is
    }

    pub(super) fn eat_operator(&mut self, operator: &str) -> bool {
        let is = self.is_operator(operator);
        self.at += usize::from(is);
        is
    }

    /// A name as the grammar's `ColId` takes it: an identifier, or a word that is not reserved.
    pub(super) fn name(&mut self) -> Option<Name> {
        let token = self.peek()?;
        let is_keyword =
            token.kind == TokenKind::Word && keywords::is_not_a_name(token.text(self.text));
        if is_keyword { None } else { self.label() }
    }

    /// A name as the grammar's `ColLabel` takes it: any identifier or word.
    pub(super) fn label(&mut self) -> Option<Name> {
        let token = self.peek()?;
        let value = value::identifier(token, self.text)?;
        self.at += 1;
        Some(Name {
            value,
            span: token.span(),
        })
    }

    /// `[[catalog.]schema.]name`.
    pub(super) fn relation(&mut self) -> Option<RelationName> {
        let first = self.name()?;
        let span_start = first.span.start;
        let mut schema = None;
        let mut name = first;
        while self.is_symbol(b'.') {
            let before = self.at;
            self.at += 1;
            let Some(next) = self.label() else {
                self.at = before;
                break;
            };
            schema = Some(std::mem::replace(&mut name, next).value);
        }
        Some(RelationName {
            schema,
            name: name.value,
            span: span_start..name.span.end,
        })
    }

    /// `[ONLY] name [*]` or `ONLY (name)`, and whether ONLY was said.
    pub(super) fn relation_expression(&mut self) -> Option<(RelationName, bool)> {
        let before = self.at;
        let only = self.eat_word("only");
        let parens = only && self.eat_symbol(b'(');
        let relation = self.relation();
        let closed = !parens || self.eat_symbol(b')');
        match relation {
            Some(relation) if closed => {
                if !only {
                    self.eat_operator("*");
                }
                Some((relation, only))
            }
            _ => {
                self.at = before;
                None
            }
        }
    }

    /// A string constant's value.
    pub(super) fn string(&mut self) -> Option<String> {
        let value = value::string_value(self.peek()?, self.text)?;
        self.at += 1;
        Some(value)
    }

    /// A parenthesised group, nested ones included: its place. Unmoved if there is none or it does not end.
    pub(super) fn parens(&mut self) -> Option<Range<usize>> {
        if !self.is_symbol(b'(') {
            return None;
        }
        let start = self.here().start;
        let mut depth = 0_usize;
        for (passed, token) in self.rest().iter().enumerate() {
            match token.kind {
                TokenKind::Symbol(b'(') => depth += 1,
                TokenKind::Symbol(b')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.at += passed + 1;
                return Some(start..token.end);
            }
        }
        None
    }
}
