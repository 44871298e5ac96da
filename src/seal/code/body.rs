//! What a function's source does with the row that it is given, as far as its text tells.
//!
//! What is not understood counts as the worse of two readings.

use crate::sql::functions::{self, Verdict};
use crate::sql::lexer::{self, Token, TokenKind};
use crate::sql::value;

/// See [`read`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Body {
    /// A value of the row reaches an operator or a function, which are found by name when it runs.
    pub hands_on: bool,
    /// How a value of the row may get where a developer can read it.
    pub lets_out: Option<String>,
}

/// Reads the source of a trigger function in PL/pgSQL; `is_readable` says whether developers may read that column.
pub(super) fn read(source: &str, is_readable: &dyn Fn(&str) -> bool) -> Body {
    let tokens = lexer::significant(source);
    let mut reader = Reader {
        source,
        tokens: &tokens,
        statement: Statement::Other,
        body: Body::default(),
    };
    let mut starts = true;
    for at in 0..tokens.len() {
        if starts {
            reader.statement = reader.begins(at, is_readable);
        }
        reader.token(at);
        starts = reader.ends(at);
    }
    reader.body
}

/// What the statement is that a token stands in.
#[derive(Clone, PartialEq, Eq)]
enum Statement {
    /// `NEW.column := …`: the tokens of the target, and the column if developers may read it.
    Assignment {
        expression: usize,
        readable: Option<String>,
    },
    /// `IF …`, `WHILE …`: up to THEN or LOOP.
    Condition,
    /// `RETURN NEW;` and its like.
    Return,
    Other,
}

struct Reader<'a> {
    source: &'a str,
    tokens: &'a [Token],
    statement: Statement,
    body: Body,
}

impl Reader<'_> {
    fn begins(&self, at: usize, is_readable: &dyn Fn(&str) -> bool) -> Statement {
        if self.is_row(at) && self.is_symbol(at + 1, b'.') && self.is_assignment(at + 3) {
            let column = self
                .tokens
                .get(at + 2)
                .and_then(|token| value::identifier(token, self.source));
            return match column {
                Some(column) => Statement::Assignment {
                    expression: at + 4,
                    readable: is_readable(&column).then_some(column),
                },
                None => Statement::Other,
            };
        }
        let is_returned = |at| self.is_row(at) || self.is_word(at, "null");
        if self.is_word(at, "return") && is_returned(at + 1) && self.is_symbol(at + 2, b';') {
            return Statement::Return;
        }
        match ["if", "elsif", "elseif", "while"]
            .iter()
            .any(|word| self.is_word(at, word))
        {
            true => Statement::Condition,
            false => Statement::Other,
        }
    }

    fn ends(&self, at: usize) -> bool {
        self.is_symbol(at, b';')
            || ["begin", "then", "else", "loop", "declare"]
                .iter()
                .any(|word| self.is_word(at, word))
    }

    fn token(&mut self, at: usize) {
        if self.is_row(at) && !self.is_behind_dot(at) {
            return self.row(at);
        }
        let Some(token) = self.tokens.get(at).filter(|token| is_name(token)) else {
            return;
        };
        const LETS_OUT: [&str; 12] = [
            "insert", "update", "delete", "merge", "copy", "execute", "perform", "call", "notify",
            "assert", "select", "into",
        ];
        if let Some(word) = LETS_OUT.iter().find(|word| self.is_word(at, word)) {
            return self.out(format!("it has {}", word.to_uppercase()));
        }
        if self.is_word(at, "raise") {
            // RAISE [level] 'only text';
            let is_text = |at: usize| {
                self.tokens
                    .get(at)
                    .is_some_and(|token| matches!(token.kind, TokenKind::String))
                    && self.is_symbol(at + 1, b';')
            };
            if !is_text(at + 1) && !is_text(at + 2) {
                self.out("it has RAISE with more than a text".to_owned());
            }
        } else if self.is_symbol(at + 1, b'(') {
            const WORDS: [&str; 12] = [
                "if", "elsif", "elseif", "while", "when", "and", "or", "not", "return", "then",
                "case", "else",
            ];
            let name = value::identifier(token, self.source).unwrap_or_default();
            let is_known = WORDS.contains(&name.as_str())
                || matches!(
                    functions::verdict(&name),
                    Verdict::Harmless | Verdict::Syntax
                );
            if !is_known {
                self.out(format!("it calls {name}"));
            }
        }
    }

    /// NEW or OLD stands here.
    fn row(&mut self, at: usize) {
        match self.statement.clone() {
            Statement::Return => {}
            Statement::Assignment {
                expression,
                readable,
            } => {
                if at >= expression {
                    self.body.hands_on = true;
                    if let Some(column) = readable {
                        self.out(format!(
                            "it sets the readable column {column} from values of the row"
                        ));
                    }
                }
            }
            Statement::Condition => self.body.hands_on = true,
            Statement::Other => {
                self.body.hands_on = true;
                self.out("it does more with the row than to compare and change it".to_owned());
            }
        }
    }

    fn out(&mut self, how: String) {
        self.body.lets_out.get_or_insert(how);
    }

    fn is_row(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| {
            is_name(token)
                && value::identifier(token, self.source)
                    .is_none_or(|name| name == "new" || name == "old")
        })
    }

    fn is_behind_dot(&self, at: usize) -> bool {
        at.checked_sub(1)
            .is_some_and(|before| self.is_symbol(before, b'.'))
    }

    fn is_assignment(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| match token.kind {
            TokenKind::ColonEquals => true,
            TokenKind::Operator => token.text(self.source) == "=",
            _ => false,
        })
    }

    fn is_symbol(&self, at: usize, symbol: u8) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|token| token.kind == TokenKind::Symbol(symbol))
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| {
            token.kind == TokenKind::Word && token.text(self.source).eq_ignore_ascii_case(word)
        })
    }
}

fn is_name(token: &Token) -> bool {
    matches!(
        token.kind,
        TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_followed() {
        let cases: &[(&str, bool, bool)] = &[
            ("BEGIN NEW.changed := now(); RETURN NEW; END", false, false),
            (
                "BEGIN IF TG_OP = 'UPDATE' THEN new.changed = current_timestamp; END IF; RETURN NULL; END",
                false,
                false,
            ),
            ("BEGIN RAISE EXCEPTION 'no'; END", false, false),
            (
                "BEGIN NEW.email := lower(NEW.email); RETURN NEW; END",
                true,
                false,
            ),
            ("BEGIN NEW.city := NEW.email; RETURN NEW; END", true, true),
            (
                "BEGIN IF NEW.email IS DISTINCT FROM OLD.email THEN NEW.changed := now(); END IF; RETURN NEW; END",
                true,
                false,
            ),
            (
                "BEGIN RAISE NOTICE '%', OLD.email; RETURN OLD; END",
                true,
                true,
            ),
            (
                "BEGIN RAISE NOTICE USING MESSAGE = 'x'; RETURN OLD; END",
                false,
                true,
            ),
            (
                "DECLARE v text := NEW.email; BEGIN NEW.city := v; RETURN NEW; END",
                true,
                true,
            ),
            ("DECLARE r ALIAS FOR NEW; BEGIN RETURN r; END", true, true),
            (
                "BEGIN INSERT INTO log VALUES (to_jsonb(OLD)); RETURN NULL; END",
                true,
                true,
            ),
            (
                "BEGIN NEW.email := app.clean(NEW.email); RETURN NEW; END",
                true,
                true,
            ),
            (
                "BEGIN NEW.changed := app.clock(); RETURN NEW; END",
                false,
                true,
            ),
            (
                "BEGIN \"new\".email := \"old\".email; RETURN NEW; END",
                true,
                false,
            ),
            ("BEGIN RETURN f(NEW); END", true, true),
            ("BEGIN NEW := OLD; RETURN NEW; END", true, true),
        ];
        for (source, hands_on, lets_out) in cases {
            let body = read(source, &|column| column == "city");
            assert_eq!(
                (body.hands_on, body.lets_out.is_some()),
                (*hands_on, *lets_out),
                "{source}: {body:?}"
            );
        }
    }
}
