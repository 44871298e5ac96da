//! One walk over a statement's tokens that gathers its [`Facts`] and asks whether anything in it may have an effect.
//!
//! It looks at tokens only, so it cannot be misled by what a parser makes of them; where a token may be one thing
//! or another, it takes the one that has an effect.

use super::cursor::Cursor;
use super::functions::{self, Verdict};
use super::lexer::{Token, TokenKind};
use super::statement::{Facts, Name, RelationName, SetConfig};
use super::value;

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The facts, save `optimizable`; `embedded_advisory` names any advisory-lock call.
    pub(super) facts: Facts,
    /// Something may have an effect: an unknown function, a row lock, a word of DML.
    pub(super) effect: bool,
    /// An INSERT, UPDATE, DELETE or MERGE stands here, maybe inside of WITH.
    pub(super) dml: bool,
    /// INTO stands where it makes SELECT create a table.
    pub(super) into: Option<RelationName>,
    /// INTO was seen, whether its name was understood or not.
    pub(super) has_into: bool,
}

/// Walks over the significant tokens of one statement.
pub(super) fn survey(text: &str, tokens: &[Token]) -> Survey {
    let mut walk = Walk {
        text,
        tokens,
        open: Vec::new(),
        closed: Paren::Plain,
        found: Survey::default(),
    };
    for (at, token) in tokens.iter().enumerate() {
        walk.token(at, token);
    }
    walk.found
}

/// What stood before an opening parenthesis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Paren {
    Plain,
    /// `ON (…)` or `OPERATOR(…)`, behind which an expression may begin.
    BeforeExpression,
}

struct Walk<'a> {
    text: &'a str,
    tokens: &'a [Token],
    open: Vec<Paren>,
    /// The parenthesis that was closed last.
    closed: Paren,
    found: Survey,
}

impl<'a> Walk<'a> {
    fn token(&mut self, at: usize, token: &Token) {
        match token.kind {
            TokenKind::Word => {
                if self.is_symbol(at + 1, b'(') {
                    self.call(at, token);
                }
                self.word(at, token);
            }
            TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier
                if self.is_symbol(at + 1, b'(') =>
            {
                self.call(at, token);
            }
            TokenKind::Symbol(b'(') => {
                let before_expression =
                    at > 0 && (self.is_word(at - 1, "on") || self.is_word(at - 1, "operator"));
                self.open.push(if before_expression {
                    Paren::BeforeExpression
                } else {
                    Paren::Plain
                });
            }
            TokenKind::Symbol(b')') => self.closed = self.open.pop().unwrap_or(Paren::Plain),
            TokenKind::Parameter => self.parameter(token),
            TokenKind::Unterminated | TokenKind::Other => self.found.effect = true,
            _ => {}
        }
    }

    fn parameter(&mut self, token: &Token) {
        let digits = token.text(self.text).trim_start_matches('$');
        let number = digits.parse::<u16>().unwrap_or(u16::MAX);
        if self
            .found
            .facts
            .parameter
            .as_ref()
            .is_none_or(|(highest, _)| number > *highest)
        {
            self.found.facts.parameter = Some((number, token.span()));
        }
    }

    /// Keywords that tell something wherever they stand.
    fn word(&mut self, at: usize, token: &Token) {
        // Most words are none of these: their length says so first.
        match token.end - token.start {
            3 if self.is_word(at, "for") => {
                let locks = ["update", "no", "share", "key"];
                self.found.effect |= locks.iter().any(|lock| self.is_word(at + 1, lock));
            }
            4 if self.is_word(at, "into") => self.select_into(at),
            4 if self.is_word(at, "skip") && self.is_word(at + 1, "locked") => {
                self.found.facts.skip_locked = true;
            }
            5 if self.is_word(at, "merge") => self.dml(at),
            6 if ["insert", "update", "delete"]
                .iter()
                .any(|word| self.is_word(at, word)) =>
            {
                self.dml(at)
            }
            7 if self.is_word(at, "current") && self.is_word(at + 1, "of") => {
                self.found.facts.current_of = self.cursor(at + 2).name();
            }
            _ => {}
        }
    }

    fn select_into(&mut self, at: usize) {
        if at > 0 && (self.is_word(at - 1, "insert") || self.is_word(at - 1, "merge")) {
            return;
        }
        self.found.has_into = true;
        let mut cursor = self.cursor(at + 1);
        cursor.eat_any_word(&["temp", "temporary", "unlogged", "local", "global"]);
        cursor.eat_any_word(&["temp", "temporary"]);
        cursor.eat_word("table");
        if self.found.into.is_none() {
            self.found.into = cursor.relation();
        }
    }

    /// INSERT, UPDATE, DELETE or MERGE: a verb, a column of that name, or part of FOR UPDATE.
    fn dml(&mut self, at: usize) {
        self.found.effect = true;
        let mut cursor = self.cursor(at);
        let begins = at == 0 || self.is_symbol(at - 1, b'(') || self.is_symbol(at - 1, b')');
        let is_verb = match () {
            () if cursor.eat_words(&["insert", "into"]) || cursor.eat_words(&["merge", "into"]) => {
                true
            }
            () if cursor.eat_words(&["delete", "from"]) => begins || !self.is_in_list(at),
            () => {
                cursor.advance();
                begins || (self.is_word(at, "update") && self.is_behind_search_clause(at))
            }
        };
        if !is_verb {
            return;
        }
        self.found.dml = true;
        if let Some((relation, _)) = cursor.relation_expression() {
            self.found.facts.writes.push(relation);
        }
    }

    /// Does the word stand where a column would (`SELECT delete FROM t`)?
    fn is_in_list(&self, at: usize) -> bool {
        at > 0
            && (self.is_symbol(at - 1, b',')
                || self.is_symbol(at - 1, b'.')
                || ["select", "all", "distinct", "as"]
                    .iter()
                    .any(|word| self.is_word(at - 1, word)))
    }

    /// `WITH … SEARCH … SET name UPDATE` and `CYCLE … USING name UPDATE`.
    fn is_behind_search_clause(&self, at: usize) -> bool {
        at > 1 && (self.is_word(at - 2, "set") || self.is_word(at - 2, "using"))
    }

    /// An identifier with an opening parenthesis behind it.
    fn call(&mut self, at: usize, token: &Token) {
        let Some(schema_at) = self.schema_of(at) else {
            let raw = token.text(self.text);
            let mut folded = [0_u8; 63];
            // Nearly all names are short ASCII words: fold them without an allocation.
            let verdict = match (token.kind, folded.get_mut(..raw.len())) {
                (TokenKind::Word, Some(folded)) => {
                    folded.copy_from_slice(raw.as_bytes());
                    folded.make_ascii_lowercase();
                    std::str::from_utf8(folded).map_or(Verdict::Unknown, functions::verdict)
                }
                _ => {
                    match value::identifier(token, self.text).map(|name| functions::verdict(&name))
                    {
                        None | Some(Verdict::Syntax) => Verdict::Unknown,
                        Some(verdict) => verdict,
                    }
                }
            };
            self.judge(at, at, token, verdict);
            return;
        };
        let schema = self
            .tokens
            .get(schema_at)
            .and_then(|schema| value::identifier(schema, self.text));
        let name = value::identifier(token, self.text);
        let verdict = match (schema, name) {
            (Some(schema), Some(name)) => functions::qualified_verdict(&schema, &name),
            _ => Verdict::Unknown,
        };
        self.judge(schema_at, at, token, verdict);
    }

    /// Where the schema of a qualified name stands.
    fn schema_of(&self, at: usize) -> Option<usize> {
        (at >= 2 && self.is_symbol(at - 1, b'.')).then(|| at - 2)
    }

    /// Takes a verdict on the call whose name begins at `first` and ends at `at` into account.
    fn judge(&mut self, first: usize, at: usize, token: &Token, verdict: Verdict) {
        match verdict {
            Verdict::Harmless | Verdict::Syntax => {}
            Verdict::Unknown => {
                let is_known_effect = self.found.effect;
                self.found.effect = is_known_effect || !self.is_no_call(first, at);
            }
            Verdict::Effect | Verdict::Notify => self.found.effect = true,
            Verdict::Advisory => {
                self.found.effect = true;
                self.found
                    .facts
                    .embedded_advisory
                    .get_or_insert(token.span());
            }
            Verdict::SetConfig => {
                self.found.effect = true;
                let unread = SetConfig {
                    name: None,
                    value: None,
                    local: None,
                };
                // Each one is read to its end: more of them than anybody writes would take too long.
                let is_many = self.found.facts.set_config.len() >= 32;
                let call = if is_many { unread } else { self.set_config(at) };
                self.found.facts.set_config.push(call);
            }
            Verdict::Forbidden => {
                self.found.effect = true;
                if self.cancels_itself(at) {
                    return;
                }
                if self.found.facts.forbidden_function.is_none() {
                    self.found.facts.forbidden_function =
                        value::identifier(token, self.text).map(|value| Name {
                            value,
                            span: token.span(),
                        });
                }
            }
        }
    }

    /// `pg_cancel_backend(pg_backend_pid())`: it hits the statement that it stands in, and nothing else.
    fn cancels_itself(&self, at: usize) -> bool {
        let mut cursor = self.cursor(at);
        cursor
            .label()
            .is_some_and(|name| name.value == "pg_cancel_backend")
            && cursor.eat_symbol(b'(')
            && cursor.relation().is_some_and(|function| {
                function.name == "pg_backend_pid"
                    && function.schema.is_none_or(|schema| schema == "pg_catalog")
            })
            && cursor.eat_symbol(b'(')
            && cursor.eat_symbol(b')')
            && cursor.eat_symbol(b')')
    }

    /// Is the name at `first..=at` before its `(` surely something else than a function: an alias with columns,
    /// a type with a modifier, a common table expression, the FIRST of FETCH?
    fn is_no_call(&self, first: usize, at: usize) -> bool {
        let Some(before) = first
            .checked_sub(1)
            .and_then(|before| self.tokens.get(before))
        else {
            return false;
        };
        let is_alias_or_type = match before.kind {
            TokenKind::TypeCast | TokenKind::QuotedIdentifier => true,
            TokenKind::Symbol(b')') => self.closed == Paren::Plain,
            TokenKind::Word => {
                let before = before.text(self.text);
                ["as", "with", "recursive", "fetch"]
                    .iter()
                    .any(|word| before.eq_ignore_ascii_case(word))
            }
            _ => false,
        };
        is_alias_or_type || self.is_common_table(at)
    }

    /// `name (columns) AS [[NOT] MATERIALIZED] (SELECT …`.
    fn is_common_table(&self, at: usize) -> bool {
        let mut cursor = self.cursor(at + 1);
        // A list of columns; anything else is none, and not worth the walk.
        let mut expects_name = true;
        cursor.advance();
        while !cursor.is_symbol(b')') {
            let fits = if expects_name {
                cursor.name().is_some()
            } else {
                cursor.eat_symbol(b',')
            };
            if !fits {
                return false;
            }
            expects_name = !expects_name;
        }
        cursor.advance();
        let is_as = cursor.eat_word("as");
        cursor.eat_word("not");
        cursor.eat_word("materialized");
        is_as
            && cursor.eat_symbol(b'(')
            && cursor.is_any_word(&["select", "with", "table", "values"])
    }

    /// The literal arguments of the set_config call whose name is at `at`.
    fn set_config(&self, at: usize) -> SetConfig {
        let mut cursor = self.cursor(at + 2);
        let name = cursor.string().filter(|_| cursor.eat_symbol(b','));
        let value = name.as_ref().and_then(|_| {
            let mut cursor = cursor.clone();
            cursor.string().filter(|_| cursor.eat_symbol(b','))
        });
        let mut local = None;
        let mut depth = 1_usize;
        while let Some(token) = cursor.peek() {
            match token.kind {
                TokenKind::Symbol(b'(' | b'[') => depth += 1,
                TokenKind::Symbol(b')' | b']') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            let is_last = depth == 1 && token.kind == TokenKind::Symbol(b',');
            cursor.advance();
            if is_last {
                local = literal_boolean(&mut cursor.clone());
            }
        }
        SetConfig {
            name: name.map(|name| name.to_ascii_lowercase()),
            value,
            local,
        }
    }

    fn cursor(&self, at: usize) -> Cursor<'a> {
        Cursor::new(self.text, self.tokens.get(at..).unwrap_or_default())
    }

    fn is_symbol(&self, at: usize, symbol: u8) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|token| token.kind == TokenKind::Symbol(symbol))
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| {
            token.kind == TokenKind::Word && token.text(self.text).eq_ignore_ascii_case(word)
        })
    }
}

/// `true`, `false` or a string that says so, as a function's last argument.
fn literal_boolean(cursor: &mut Cursor<'_>) -> Option<bool> {
    let value = if cursor.is_any_word(&["true", "false"]) {
        cursor.label()?.value
    } else {
        cursor.string()?.to_ascii_lowercase()
    };
    if !cursor.is_symbol(b')') {
        return None;
    }
    match value.as_str() {
        "true" | "t" | "on" | "yes" | "1" => Some(true),
        "false" | "f" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}
