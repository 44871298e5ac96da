//! Statements that are neither queries nor transaction or setting commands, from their first words.
//!
//! Each function begins behind the statement's first word. What the grammar does not have falls back to a kind that
//! is forwarded, so that the client gets Postgres' own syntax error.

use super::cursor::Cursor;
use super::lexer::TokenKind;
use super::statement::{Copy, Discard, Kind, LockMode, Name, OnCommit, RelationName};

/// FETCH or MOVE [direction] [FROM | IN] cursor. Words that are a direction name a cursor if nothing follows them.
pub(super) fn fetch(mut cursor: Cursor<'_>, is_move: bool) -> Kind {
    let is_alone = cursor.rest().len() == 1;
    let is_sound = is_alone || direction(&mut cursor).is_some();
    match cursor.name() {
        Some(name) if is_sound && cursor.at_end() => Kind::Fetch { name, is_move },
        _ => Kind::EffectfulSelect,
    }
}

/// NEXT, PRIOR, ABSOLUTE 5, 5, ALL, FORWARD [5 | ALL], BACKWARD … [FROM | IN]; None if a number lacks.
fn direction(cursor: &mut Cursor<'_>) -> Option<()> {
    if !cursor.eat_any_word(&["next", "prior", "first", "last"]) {
        let needs_number = cursor.eat_any_word(&["absolute", "relative"]);
        if !needs_number {
            cursor.eat_any_word(&["forward", "backward"]);
        }
        let is_all = !needs_number && cursor.eat_word("all");
        if !is_all {
            let has_sign = cursor.eat_operator("-") || cursor.eat_operator("+");
            let is_number = cursor
                .peek()
                .is_some_and(|token| token.kind == TokenKind::Number);
            if is_number {
                cursor.advance();
            } else if has_sign || needs_number {
                return None;
            }
        }
    }
    cursor.eat_any_word(&["from", "in"]);
    Some(())
}

/// CLOSE {name | ALL}.
pub(super) fn close(mut cursor: Cursor<'_>) -> Kind {
    match all_or_name(&mut cursor) {
        Some(name) => Kind::Close(name),
        None => Kind::EffectfulSelect,
    }
}

/// `DEALLOCATE [PREPARE] {name | ALL}`
pub(super) fn deallocate(mut cursor: Cursor<'_>) -> Kind {
    if !cursor.at_end() && cursor.rest().len() > 1 {
        cursor.eat_word("prepare");
    }
    match all_or_name(&mut cursor) {
        Some(name) => Kind::Deallocate(name),
        None => Kind::EffectfulSelect,
    }
}

/// ALL (`Some(None)`) or one name, and nothing behind it.
fn all_or_name(cursor: &mut Cursor<'_>) -> Option<Option<Name>> {
    let named = if cursor.eat_word("all") {
        None
    } else {
        Some(cursor.name()?)
    };
    cursor.at_end().then_some(named)
}

/// DISCARD {ALL | PLANS | SEQUENCES | TEMP | TEMPORARY}.
pub(super) fn discard(mut cursor: Cursor<'_>) -> Kind {
    let what = if cursor.eat_word("all") {
        Discard::All
    } else if cursor.eat_word("plans") {
        Discard::Plans
    } else if cursor.eat_word("sequences") {
        Discard::Sequences
    } else if cursor.eat_any_word(&["temp", "temporary"]) {
        Discard::Temp
    } else {
        return Kind::EffectfulSelect;
    };
    if cursor.at_end() {
        Kind::Discard(what)
    } else {
        Kind::EffectfulSelect
    }
}

/// NOTIFY channel [, 'payload'].
pub(super) fn notify(mut cursor: Cursor<'_>) -> Kind {
    let parsed = cursor.name().and_then(|channel| {
        let payload = if cursor.eat_symbol(b',') {
            Some(cursor.string()?)
        } else {
            None
        };
        cursor.at_end().then_some(Kind::Notify { channel, payload })
    });
    parsed.unwrap_or(Kind::EffectfulSelect)
}

/// LISTEN channel.
pub(super) fn listen(mut cursor: Cursor<'_>) -> Kind {
    match cursor.name() {
        Some(channel) if cursor.at_end() => Kind::Listen(channel),
        _ => Kind::EffectfulSelect,
    }
}

/// UNLISTEN {channel | *}.
pub(super) fn unlisten(mut cursor: Cursor<'_>) -> Kind {
    let channel = if cursor.eat_operator("*") {
        Some(None)
    } else {
        cursor.name().map(Some)
    };
    match channel {
        Some(channel) if cursor.at_end() => Kind::Unlisten(channel),
        _ => Kind::EffectfulSelect,
    }
}

/// `LOCK [TABLE] relations [IN mode MODE] [NOWAIT]`.
pub(super) fn lock(mut cursor: Cursor<'_>) -> Kind {
    cursor.eat_word("table");
    let parsed = relations(&mut cursor).and_then(|tables| {
        let mode = if cursor.eat_word("in") {
            let mode = lock_mode(&mut cursor)?;
            cursor.eat_word("mode").then_some(mode)?
        } else {
            LockMode::AccessExclusive
        };
        let nowait = cursor.eat_word("nowait");
        let tables = tables.into_iter().map(|(table, _)| table).collect();
        cursor.at_end().then_some(Kind::Lock {
            tables,
            mode,
            nowait,
        })
    });
    parsed.unwrap_or(Kind::EffectfulSelect)
}

fn lock_mode(cursor: &mut Cursor<'_>) -> Option<LockMode> {
    const MODES: [(&[&str], LockMode); 8] = [
        (&["access", "share"], LockMode::AccessShare),
        (&["row", "share"], LockMode::RowShare),
        (&["row", "exclusive"], LockMode::RowExclusive),
        (
            &["share", "update", "exclusive"],
            LockMode::ShareUpdateExclusive,
        ),
        (&["share", "row", "exclusive"], LockMode::ShareRowExclusive),
        (&["share"], LockMode::Share),
        (&["exclusive"], LockMode::Exclusive),
        (&["access", "exclusive"], LockMode::AccessExclusive),
    ];
    let (_, mode) = MODES.iter().find(|(words, _)| cursor.eat_words(words))?;
    Some(*mode)
}

/// `TRUNCATE [TABLE] relations [RESTART | CONTINUE IDENTITY] [CASCADE | RESTRICT]`.
pub(super) fn truncate(mut cursor: Cursor<'_>) -> Kind {
    cursor.eat_word("table");
    let parsed = relations(&mut cursor).and_then(|tables| {
        let restart_identity = cursor.eat_words(&["restart", "identity"]);
        if !restart_identity {
            cursor.eat_words(&["continue", "identity"]);
        }
        let cascade = cursor.eat_word("cascade");
        if !cascade {
            cursor.eat_word("restrict");
        }
        cursor.at_end().then_some(Kind::Truncate {
            tables,
            restart_identity,
            cascade,
        })
    });
    parsed.unwrap_or(Kind::EffectfulSelect)
}

/// Relation expressions with commas between them, and whether ONLY was said of each.
fn relations(cursor: &mut Cursor<'_>) -> Option<Vec<(RelationName, bool)>> {
    let mut relations = vec![cursor.relation_expression()?];
    while cursor.eat_symbol(b',') {
        relations.push(cursor.relation_expression()?);
    }
    Some(relations)
}

/// SET CONSTRAINTS {ALL | names} {DEFERRED | IMMEDIATE}, behind both words.
pub(super) fn set_constraints(mut cursor: Cursor<'_>) -> Kind {
    let all = cursor.eat_word("all");
    let named = all || {
        let mut named = cursor.relation().is_some();
        while named && cursor.eat_symbol(b',') {
            named = cursor.relation().is_some();
        }
        named
    };
    let deferred = cursor.is_word("deferred");
    let ends = cursor.eat_any_word(&["deferred", "immediate"]) && cursor.at_end();
    if named && ends {
        Kind::SetConstraints { all, deferred }
    } else {
        Kind::EffectfulSelect
    }
}

/// `DECLARE name [options] CURSOR [{WITH | WITHOUT} HOLD] FOR query`: its name, and HOLD.
pub(super) fn declare(mut cursor: Cursor<'_>) -> Option<(Name, bool)> {
    let name = cursor.name()?;
    while cursor.eat_any_word(&["binary", "insensitive", "asensitive", "no", "scroll"]) {}
    if !cursor.eat_word("cursor") {
        return None;
    }
    let hold = cursor.eat_words(&["with", "hold"]);
    if !hold {
        cursor.eat_words(&["without", "hold"]);
    }
    cursor.eat_word("for").then_some((name, hold))
}

/// COPY, told apart by its two ends.
pub(super) enum CopySource<'a> {
    /// COPY (query) TO …: the cursor is behind the opening parenthesis.
    Query(Cursor<'a>),
    /// COPY name FROM …
    Into(RelationName),
    /// COPY name TO …
    OutOf,
}

/// COPY, behind its first word; None if the grammar does not have it.
pub(super) fn copy(mut cursor: Cursor<'_>) -> Option<(Copy, CopySource<'_>)> {
    let query = cursor.clone();
    let (source, from) = if cursor.parens().is_some() {
        let mut inside = query;
        inside.advance();
        (CopySource::Query(inside), false)
    } else {
        if !cursor.is_word_ahead(1, "from") && !cursor.is_word_ahead(1, "to") {
            cursor.eat_word("binary");
        }
        let (relation, _) = cursor.relation_expression()?;
        let _columns = cursor.parens();
        let from = cursor.is_word("from");
        (
            if from {
                CopySource::Into(relation)
            } else {
                CopySource::OutOf
            },
            from,
        )
    };
    if !cursor.eat_word(if from { "from" } else { "to" }) {
        return None;
    }
    let copy = if cursor.eat_word("program") {
        Copy::Program
    } else if cursor.eat_any_word(&["stdin", "stdout"]) {
        if from {
            Copy::FromStdin
        } else {
            Copy::ToStdout { effect: false }
        }
    } else {
        cursor.string()?;
        Copy::File
    };
    Some((copy, source))
}

/// CREATE, behind its first word. A CREATE TABLE … AS EXECUTE is [`Kind::Execute`].
pub(super) fn create(cursor: &Cursor<'_>) -> Kind {
    let mut cursor = cursor.clone();
    if let Some(tag) = outside(
        &cursor,
        &[
            ("database", "CREATE DATABASE"),
            ("tablespace", "CREATE TABLESPACE"),
            ("subscription", "CREATE SUBSCRIPTION"),
        ],
    ) {
        return tag;
    }
    let mut index = cursor.clone();
    index.eat_word("unique");
    if index.eat_word("index") && index.is_word("concurrently") {
        return Kind::Concurrently {
            keyword: index.here(),
            tag: "CREATE INDEX",
        };
    }
    cursor.eat_any_word(&["global", "local"]);
    let mut temporary = cursor.eat_any_word(&["temp", "temporary"]);
    if !temporary {
        cursor.eat_word("unlogged");
    }
    if !cursor.eat_word("table") {
        return Kind::Ddl;
    }
    cursor.eat_words(&["if", "not", "exists"]);
    let name = cursor.relation();
    temporary |= name.as_ref().and_then(|name| name.schema.as_deref()) == Some("pg_temp");
    let mut on_commit = OnCommit::PreserveRows;
    while !cursor.at_end() {
        if cursor.is_symbol(b'(') {
            match cursor.parens() {
                Some(_) => continue,
                None => break,
            }
        }
        if cursor.eat_words(&["on", "commit"]) {
            on_commit = if cursor.eat_word("drop") {
                OnCommit::Drop
            } else if cursor.eat_words(&["delete", "rows"]) {
                OnCommit::DeleteRows
            } else {
                OnCommit::PreserveRows
            };
        } else if cursor.eat_words(&["as", "execute"]) {
            return cursor
                .name()
                .map_or(Kind::Ddl, |name| Kind::Execute { name });
        } else {
            cursor.advance();
        }
    }
    Kind::CreateTable {
        temporary,
        on_commit,
        name,
    }
}

/// Is this CREATE one whose query Postgres analyses at once: CREATE TABLE … AS, CREATE MATERIALIZED VIEW … AS?
pub(super) fn is_create_as(cursor: &Cursor<'_>) -> bool {
    let mut cursor = cursor.clone();
    let mut is_table = false;
    while !cursor.at_end() {
        if cursor.is_symbol(b'(') {
            match cursor.parens() {
                Some(_) => continue,
                None => break,
            }
        }
        if cursor.is_word("as") {
            return is_table;
        }
        // The first words say what is created; behind a name nothing else is looked for.
        is_table |= cursor.is_word("table")
            || (cursor.is_word("materialized") && cursor.is_word_ahead(1, "view"));
        if cursor.at() > 4 && !is_table {
            return false;
        }
        cursor.advance();
    }
    false
}

/// DROP, behind its first word.
pub(super) fn drop(cursor: &Cursor<'_>) -> Kind {
    if cursor.is_word("index") && cursor.is_word_ahead(1, "concurrently") {
        let mut keyword = cursor.clone();
        keyword.advance();
        return Kind::Concurrently {
            keyword: keyword.here(),
            tag: "DROP INDEX",
        };
    }
    outside(
        cursor,
        &[
            ("database", "DROP DATABASE"),
            ("tablespace", "DROP TABLESPACE"),
            ("subscription", "DROP SUBSCRIPTION"),
        ],
    )
    .unwrap_or(Kind::Ddl)
}

/// ALTER, behind its first word.
pub(super) fn alter(cursor: &Cursor<'_>) -> Kind {
    if let Some(kind) = outside(
        cursor,
        &[
            ("system", "ALTER SYSTEM"),
            ("subscription", "ALTER SUBSCRIPTION"),
        ],
    ) {
        return kind;
    }
    let mut cursor = cursor.clone();
    let is_database = cursor.is_word("database");
    let is_table = cursor.is_word("table");
    while (is_database || is_table) && !cursor.at_end() {
        if is_database && cursor.eat_words(&["set", "tablespace"]) {
            return Kind::OutsideTransaction("ALTER DATABASE");
        }
        if is_table && cursor.is_word("concurrently") && cursor.rest().len() == 1 {
            return Kind::Concurrently {
                keyword: cursor.here(),
                tag: "ALTER TABLE",
            };
        }
        cursor.advance();
    }
    Kind::Ddl
}

/// REINDEX, behind its first word.
pub(super) fn reindex(cursor: &Cursor<'_>) -> Kind {
    let mut cursor = cursor.clone();
    let options = cursor.clone();
    let in_options = cursor.parens().and_then(|_| concurrently_option(options));
    let target = cursor.clone();
    cursor.advance();
    if let Some(kind) = outside(
        &target,
        &[
            ("database", "REINDEX DATABASE"),
            ("system", "REINDEX SYSTEM"),
            ("schema", "REINDEX SCHEMA"),
        ],
    ) {
        return kind;
    }
    if cursor.is_word("concurrently") {
        return Kind::Concurrently {
            keyword: cursor.here(),
            tag: "REINDEX",
        };
    }
    in_options.map_or(Kind::Ddl, |keyword| Kind::Concurrently {
        keyword,
        tag: "REINDEX",
    })
}

/// What to take out of REINDEX's `(…)` so that CONCURRENTLY is gone and the rest still parses.
fn concurrently_option(mut cursor: Cursor<'_>) -> Option<std::ops::Range<usize>> {
    let whole = cursor.clone().parens()?;
    let mut before = cursor.here();
    cursor.advance();
    loop {
        let is_concurrently = cursor.is_word("concurrently");
        let start = cursor.here().start;
        let mut is_off = false;
        while !cursor.at_end() && !cursor.is_symbol(b',') && !cursor.is_symbol(b')') {
            is_off |= cursor.is_any_word(&["false", "off"]) || cursor.peek_text() == "0";
            cursor.advance();
        }
        let end = cursor.here();
        let is_first = before.start == whole.start;
        let is_last = cursor.is_symbol(b')');
        if is_concurrently && !is_off {
            return Some(match (is_first, is_last) {
                (true, true) => whole,
                (true, false) => start..end.end,
                (false, _) => before.start..end.start,
            });
        }
        if !cursor.is_symbol(b',') {
            return None;
        }
        before = end;
        cursor.advance();
    }
}

/// REFRESH, behind its first word.
pub(super) fn refresh(mut cursor: Cursor<'_>) -> Kind {
    if cursor.eat_words(&["materialized", "view"]) && cursor.is_word("concurrently") {
        return Kind::Concurrently {
            keyword: cursor.here(),
            tag: "REFRESH MATERIALIZED VIEW",
        };
    }
    Kind::Ddl
}

/// CLUSTER, behind its first word: without a table it clusters them all, in transactions of its own.
pub(super) fn cluster(mut cursor: Cursor<'_>) -> Kind {
    cursor.eat_word("verbose");
    let _options = cursor.parens();
    if cursor.at_end() {
        Kind::OutsideTransaction("CLUSTER")
    } else {
        Kind::Ddl
    }
}

/// The first of the words that stands here, as a statement that cannot run in a transaction.
fn outside(cursor: &Cursor<'_>, words: &[(&str, &'static str)]) -> Option<Kind> {
    let (_, tag) = words.iter().find(|(word, _)| cursor.is_word(word))?;
    Some(Kind::OutsideTransaction(tag))
}

/// The table of `SELECT … INTO [TEMP] [TABLE] name`.
pub(super) fn select_into(cursor: &Cursor<'_>, name: Option<RelationName>) -> Kind {
    let mut cursor = cursor.clone();
    let mut temporary = false;
    while let Some(token) = cursor.peek() {
        if token.kind == TokenKind::Word && cursor.eat_word("into") {
            cursor.eat_any_word(&["local", "global"]);
            temporary = cursor.is_any_word(&["temp", "temporary"]);
            break;
        }
        cursor.advance();
    }
    temporary |= name.as_ref().and_then(|name| name.schema.as_deref()) == Some("pg_temp");
    Kind::CreateTable {
        temporary,
        on_commit: OnCommit::PreserveRows,
        name,
    }
}
