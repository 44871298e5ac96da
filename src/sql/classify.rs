//! Says what a statement is: [`classify`], from its tokens alone.
//!
//! Nothing here may fail on any text. Where Postgres' grammar has no such statement, the answer is a kind that is
//! forwarded (Postgres then says what is wrong), save for a first word that no statement of Postgres begins with,
//! which is [`Kind::Unknown`], and the tail of a transaction command, which is
//! [`Malformed`](super::statement::Transaction::Malformed).

use super::cursor::Cursor;
use super::lexer::{self, Token, TokenKind};
use super::purity::{self, Survey};
use super::statement::{AdvisoryCall, Copy, Facts, Kind, NotifyCall, RelationName, Statement};
use super::{functions, settings, transaction, utility};

/// Classifies one statement, as [`super::split::split`] cuts them (a trailing `;` does no harm).
///
/// The inner statement of a PREPARE is classified as its body's own text, its spans count from the body's start.
pub fn classify(text: &str) -> Statement {
    let tokens = lexer::significant(text);
    let mut tokens = tokens.as_slice();
    while let [rest @ .., last] = tokens {
        if last.kind != TokenKind::Symbol(b';') {
            break;
        }
        tokens = rest;
    }
    statement(text, tokens)
}

/// The statement that these tokens make.
fn statement(text: &str, tokens: &[Token]) -> Statement {
    let cursor = Cursor::new(text, tokens);
    let Some(first) = tokens.first() else {
        return Statement {
            kind: Kind::Empty,
            facts: Facts::default(),
        };
    };
    if let Some(transaction) = transaction::parse(&cursor) {
        return Statement {
            kind: Kind::Transaction(transaction),
            facts: Facts::default(),
        };
    }
    let survey = purity::survey(text, tokens);
    if matches!(first.kind, TokenKind::Symbol(b'(')) {
        return query(cursor, survey);
    }
    let word = match first.kind {
        TokenKind::Word => cursor.peek_text().to_ascii_lowercase(),
        _ => String::new(),
    };
    match word.as_str() {
        "select" | "values" | "table" | "with" | "insert" | "update" | "delete" | "merge" => {
            query(cursor, survey)
        }
        "explain" => explain(text, cursor, survey),
        "prepare" => prepare(text, cursor, survey),
        "declare" => declare(cursor, survey),
        "copy" => copy(text, cursor, survey),
        "create" => create(cursor, survey),
        _ => {
            let mut behind = cursor;
            behind.advance();
            let mut statement = plain(other(&word, behind), survey);
            // CALL's arguments are analysed with it, DO has none.
            statement.facts.optimizable = word == "call";
            statement
        }
    }
}

/// Kinds that need nothing but their words.
fn other(word: &str, cursor: Cursor<'_>) -> Kind {
    match word {
        "set" if cursor.is_word("constraints") && !settings::is_assignment(&cursor, 1) => {
            let mut cursor = cursor;
            cursor.advance();
            utility::set_constraints(cursor)
        }
        "set" => settings::set(cursor),
        "reset" => settings::reset(cursor),
        "show" => settings::show(cursor),
        "discard" => utility::discard(cursor),
        "execute" => execute(cursor),
        "deallocate" => utility::deallocate(cursor),
        "fetch" => utility::fetch(cursor, false),
        "move" => utility::fetch(cursor, true),
        "close" => utility::close(cursor),
        "notify" => utility::notify(cursor),
        "listen" => utility::listen(cursor),
        "unlisten" => utility::unlisten(cursor),
        "lock" => utility::lock(cursor),
        "truncate" => utility::truncate(cursor),
        "drop" => utility::drop(&cursor),
        "alter" => utility::alter(&cursor),
        "reindex" => utility::reindex(&cursor),
        "refresh" => utility::refresh(cursor),
        "cluster" => utility::cluster(cursor),
        "analyze" | "analyse" | "comment" | "grant" | "import" | "reassign" | "revoke"
        | "security" => Kind::Ddl,
        "do" | "call" => Kind::Code,
        "vacuum" => Kind::Vacuum,
        "checkpoint" | "load" => Kind::Maintenance,
        _ => Kind::Unknown,
    }
}

/// A kind with the walk's facts; what it writes is not for kinds that are no DML.
fn plain(kind: Kind, survey: Survey) -> Statement {
    let facts = Facts {
        optimizable: false,
        writes: Vec::new(),
        ..survey.facts
    };
    Statement { kind, facts }
}

/// SELECT, VALUES, TABLE, WITH, `(`, INSERT, UPDATE, DELETE or MERGE.
fn query(cursor: Cursor<'_>, survey: Survey) -> Statement {
    let mut first = cursor.clone();
    while first.eat_symbol(b'(') {}
    let is_query = first.is_any_word(&["select", "values", "table", "with"]);
    let mut facts = Facts {
        optimizable: true,
        ..survey.facts
    };
    let kind = if survey.dml || first.is_any_word(&["insert", "update", "delete", "merge"]) {
        Kind::Write
    } else if !is_query {
        return Statement {
            kind: Kind::Unknown,
            facts: Facts {
                optimizable: false,
                ..facts
            },
        };
    } else if survey.has_into {
        utility::select_into(&cursor, survey.into)
    } else if !survey.effect {
        Kind::Read
    } else {
        whole_call(&cursor).unwrap_or(Kind::EffectfulSelect)
    };
    if matches!(kind, Kind::AdvisoryLock(_)) {
        facts.embedded_advisory = None;
    }
    if !matches!(kind, Kind::Write) {
        facts.writes.clear();
    }
    Statement { kind, facts }
}

/// Does a statement that PREPARE and COPY accept begin here?
fn begins_query(cursor: &Cursor<'_>) -> bool {
    cursor.is_symbol(b'(')
        || cursor.is_any_word(&[
            "select", "values", "table", "with", "insert", "update", "delete", "merge",
        ])
}

/// `SELECT function(arguments) [[AS] alias]` and nothing else, where the function is one that the proxy keeps for itself.
fn whole_call(cursor: &Cursor<'_>) -> Option<Kind> {
    let mut cursor = cursor.clone();
    if !cursor.eat_word("select") {
        return None;
    }
    let start = cursor.here().start;
    let function = cursor.relation()?;
    if function
        .schema
        .as_deref()
        .is_some_and(|schema| schema != "pg_catalog")
    {
        return None;
    }
    let mut inside = cursor.clone();
    let call = start..cursor.parens()?.end;
    let has_as = cursor.eat_word("as");
    let is_named = if has_as {
        cursor.label().is_some()
    } else {
        cursor.at_end() || cursor.name().is_some()
    };
    if !is_named || !cursor.at_end() {
        return None;
    }
    inside.advance();
    let arguments = arguments(inside)?;
    match (functions::verdict(&function.name), arguments.as_slice()) {
        (functions::Verdict::Advisory, [] | [_] | [_, _]) => {
            Some(Kind::AdvisoryLock(AdvisoryCall {
                function: function.name,
                arguments,
                call,
            }))
        }
        (functions::Verdict::Notify, [channel, payload]) => {
            let (channel, payload) = (channel.clone(), payload.clone());
            Some(Kind::NotifyCall(NotifyCall {
                channel,
                payload,
                call,
            }))
        }
        _ => None,
    }
}

/// The places of a call's arguments; the cursor is behind the opening parenthesis of a group that ends.
fn arguments(mut cursor: Cursor<'_>) -> Option<Vec<std::ops::Range<usize>>> {
    let mut arguments = Vec::new();
    let mut argument: Option<std::ops::Range<usize>> = None;
    let mut depth = 0_usize;
    while let Some(token) = cursor.peek() {
        match token.kind {
            TokenKind::Symbol(b')') if depth == 0 => {
                // Nothing before the end is right for an empty list only.
                if argument.is_none() && !arguments.is_empty() {
                    return None;
                }
                arguments.extend(argument);
                return Some(arguments);
            }
            TokenKind::Symbol(b',') if depth == 0 => {
                arguments.push(argument.take()?);
                cursor.advance();
                continue;
            }
            TokenKind::Symbol(b'(' | b'[') => depth += 1,
            TokenKind::Symbol(b')' | b']') => depth = depth.checked_sub(1)?,
            // A named argument is not worth following.
            TokenKind::ColonEquals => return None,
            TokenKind::Operator if token.text(cursor.text()) == "=>" => return None,
            _ => {}
        }
        let start = argument
            .as_ref()
            .map_or(token.start, |argument| argument.start);
        argument = Some(start..token.end);
        cursor.advance();
    }
    None
}

/// EXPLAIN: what it explains, and whether that runs.
fn explain(text: &str, mut cursor: Cursor<'_>, survey: Survey) -> Statement {
    cursor.advance();
    let runs = explain_options(&mut cursor);
    if cursor.is_word("explain") || cursor.is_word("prepare") || cursor.is_word("copy") {
        return plain(Kind::EffectfulSelect, survey); // not in the grammar, and no reason to recurse
    }
    let inner = statement(text, cursor.rest());
    let kind = match inner.kind {
        Kind::Read => Kind::Read,
        // Postgres asks for the privileges of a DML statement even if it only explains it.
        Kind::Write => Kind::Write,
        Kind::CreateTable { .. } if runs => inner.kind,
        Kind::Execute { name } => Kind::Execute { name },
        // EXPLAIN runs the query at most, it never opens the cursor.
        Kind::Declare { .. } if !survey.effect => Kind::Read,
        Kind::Ddl if runs => Kind::Ddl,
        _ => Kind::EffectfulSelect,
    };
    let mut facts = Facts {
        optimizable: true,
        ..survey.facts
    };
    facts.writes = if runs && matches!(kind, Kind::Write) {
        inner.facts.writes
    } else {
        Vec::new()
    };
    Statement { kind, facts }
}

/// `[ANALYZE] [VERBOSE]` or `(option [value], …)`: does the statement run?
fn explain_options(cursor: &mut Cursor<'_>) -> bool {
    let mut inside = cursor.clone();
    let is_list = inside.eat_symbol(b'(')
        && !inside.is_symbol(b'(')
        && !inside.is_any_word(&["select", "values", "table", "with"]);
    if !is_list {
        let runs = cursor.eat_any_word(&["analyze", "analyse"]);
        cursor.eat_word("verbose");
        return runs;
    }
    let mut options = inside;
    let mut runs = false;
    if cursor.parens().is_none() {
        return true;
    }
    while !options.at_end() && !options.is_symbol(b')') {
        if options.eat_any_word(&["analyze", "analyse"]) {
            let value = options.peek_text().trim_matches('\'').to_ascii_lowercase();
            runs |= !matches!(value.as_str(), "false" | "off" | "0");
        } else {
            options.advance();
        }
    }
    runs
}

/// PREPARE name [(types)] AS statement.
fn prepare(text: &str, mut cursor: Cursor<'_>, survey: Survey) -> Statement {
    cursor.advance();
    let name = cursor.name();
    let _types = cursor.parens();
    let is_complete = cursor.eat_word("as") && begins_query(&cursor);
    let kind = match name {
        Some(name) if is_complete => {
            let end = cursor.rest().last().map_or(text.len(), |last| last.end);
            let body = cursor.here().start..end;
            let inner = Box::new(classify(text.get(body.clone()).unwrap_or_default()));
            Kind::Prepare { name, body, inner }
        }
        _ => Kind::EffectfulSelect,
    };
    plain(kind, survey)
}

/// EXECUTE name [(arguments)].
fn execute(mut cursor: Cursor<'_>) -> Kind {
    let name = cursor.name();
    let _arguments = cursor.parens();
    match name {
        Some(name) if cursor.at_end() => Kind::Execute { name },
        _ => Kind::EffectfulSelect,
    }
}

/// DECLARE … CURSOR FOR query.
fn declare(mut cursor: Cursor<'_>, survey: Survey) -> Statement {
    cursor.advance();
    let kind = match utility::declare(cursor) {
        Some((name, hold)) => Kind::Declare { name, hold },
        None => Kind::EffectfulSelect,
    };
    let facts = Facts {
        optimizable: true,
        writes: Vec::new(),
        ..survey.facts
    };
    Statement { kind, facts }
}

/// COPY.
fn copy(text: &str, mut cursor: Cursor<'_>, survey: Survey) -> Statement {
    cursor.advance();
    let mut writes: Vec<RelationName> = Vec::new();
    let copy = match utility::copy(cursor) {
        Some((Copy::ToStdout { .. }, utility::CopySource::Query(inside)))
            if begins_query(&inside) =>
        {
            let query = copied_query(text, &inside);
            let effect = query.kind != Kind::Read;
            writes = query.facts.writes;
            Copy::ToStdout { effect }
        }
        Some((copy, utility::CopySource::Into(relation))) => {
            writes.push(relation);
            copy
        }
        Some((Copy::ToStdout { .. }, utility::CopySource::OutOf)) => {
            Copy::ToStdout { effect: false }
        }
        Some((copy @ (Copy::File | Copy::Program), _)) => copy,
        // Not in the grammar: forwarded as an effect, for Postgres to say so.
        _ => Copy::ToStdout { effect: true },
    };
    let facts = Facts {
        optimizable: false,
        writes,
        ..survey.facts
    };
    Statement {
        kind: Kind::Copy(copy),
        facts,
    }
}

/// The query of `COPY (query) TO`; the cursor is behind the opening parenthesis.
fn copied_query(text: &str, inside: &Cursor<'_>) -> Statement {
    let mut depth = 0_usize;
    let rest = inside.rest();
    let length = rest.iter().take_while(|token| {
        match token.kind {
            TokenKind::Symbol(b'(') => depth += 1,
            TokenKind::Symbol(b')') if depth == 0 => return false,
            TokenKind::Symbol(b')') => depth -= 1,
            _ => {}
        }
        true
    });
    let length = length.count();
    statement(text, rest.get(..length).unwrap_or_default())
}

/// CREATE.
fn create(mut cursor: Cursor<'_>, survey: Survey) -> Statement {
    cursor.advance();
    let kind = utility::create(&cursor);
    let optimizable = utility::is_create_as(&cursor);
    let facts = Facts {
        optimizable,
        writes: Vec::new(),
        ..survey.facts
    };
    Statement { kind, facts }
}
