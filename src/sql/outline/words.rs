//! [`Words`]: what stands around a query, word by word.

use std::ops::Range;

use super::Reader;
use crate::sql::cursor::Cursor;
use crate::sql::lexer::Token;
use crate::sql::statement::RelationName;

/// Walks over the words of what stands around a query.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    cursor: Cursor<'a>,
    tokens: &'a [Token],
}

impl<'a> Words<'a> {
    /// Before the first of the tokens, which were made from `text` and hold no space or comment.
    pub fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        Self {
            cursor: Cursor::new(text, tokens),
            tokens,
        }
    }

    /// Passes all of these words, or none.
    pub fn eat(&mut self, words: &[&str]) -> bool {
        self.cursor.eat_words(words)
    }

    /// Passes one of these words.
    pub fn eat_any(&mut self, words: &[&str]) -> bool {
        self.cursor.eat_any_word(words)
    }

    /// Is this one of the words?
    pub fn is_any(&self, words: &[&str]) -> bool {
        self.cursor.is_any_word(words)
    }

    /// Is the token so many places ahead this word?
    pub fn is_ahead(&self, ahead: usize, word: &str) -> bool {
        self.cursor.is_word_ahead(ahead, word)
    }

    /// Is this that symbol?
    pub fn is_symbol(&self, symbol: u8) -> bool {
        self.cursor.is_symbol(symbol)
    }

    /// Does a parenthesis open here that holds a query?
    pub fn is_query(&self) -> bool {
        let rest = self.cursor.rest();
        Reader::new(self.cursor.text(), rest).is_query(0)
    }

    /// Passes a name.
    pub fn name(&mut self) -> Option<String> {
        self.cursor.name().map(|name| name.value)
    }

    /// Passes any word or identifier.
    pub fn label(&mut self) -> Option<String> {
        self.cursor.label().map(|name| name.value)
    }

    /// Passes a relation's name.
    pub fn relation(&mut self) -> Option<RelationName> {
        self.cursor.relation()
    }

    /// Passes a group in parentheses: its place.
    pub fn parens(&mut self) -> Option<Range<usize>> {
        self.cursor.parens()
    }

    /// The tokens inside of the parentheses that open here.
    pub fn inside(&self) -> Option<&'a [Token]> {
        let mut behind = self.cursor.clone();
        behind.parens()?;
        self.tokens.get(self.cursor.at() + 1..behind.at() - 1)
    }

    /// The next token.
    pub fn peek(&self) -> Option<&'a Token> {
        self.cursor.peek()
    }

    /// Passes one token.
    pub fn advance(&mut self) {
        self.cursor.advance();
    }

    /// Nothing is left.
    pub fn at_end(&self) -> bool {
        self.cursor.at_end()
    }

    /// The tokens that are left.
    pub fn rest(&self) -> &'a [Token] {
        self.cursor.rest()
    }

    /// Where the next token begins.
    pub fn here(&self) -> usize {
        self.cursor.here().start
    }

    /// Where the last token that was passed ends.
    pub fn end(&self) -> usize {
        let last = self
            .cursor
            .at()
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at));
        last.map_or(0, |token| token.end)
    }
}
