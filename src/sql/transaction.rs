//! Transaction commands, parsed exactly as `gram.y` has them: what does not fit is
//! [`Transaction::Malformed`], never something near it.

use super::cursor::Cursor;
use super::settings;
use super::statement::{IsolationLevel, Modes, Transaction};

/// The transaction command that begins here; None if the first words say that it is none
/// (`PREPARE name AS …`, `SET x = …`).
pub(super) fn parse(cursor: &Cursor<'_>) -> Option<Transaction> {
    let mut cursor = cursor.clone();
    let parsed = if cursor.eat_word("begin") {
        eat_work(&mut cursor);
        modes(&mut cursor, false).map(|modes| Transaction::Begin {
            start: false,
            modes,
        })
    } else if cursor.eat_word("start") {
        if cursor.eat_word("transaction") {
            modes(&mut cursor, false).map(|modes| Transaction::Begin { start: true, modes })
        } else {
            None
        }
    } else if cursor.eat_word("commit") {
        if cursor.eat_word("prepared") {
            cursor.string().map(|_| Transaction::CommitPrepared)
        } else {
            eat_work(&mut cursor);
            chain(&mut cursor).map(|chain| Transaction::Commit { chain })
        }
    } else if cursor.eat_word("end") {
        eat_work(&mut cursor);
        chain(&mut cursor).map(|chain| Transaction::Commit { chain })
    } else if cursor.eat_word("abort") {
        eat_work(&mut cursor);
        chain(&mut cursor).map(|chain| Transaction::Rollback { chain })
    } else if cursor.eat_word("rollback") {
        rollback(&mut cursor)
    } else if cursor.eat_word("savepoint") {
        cursor.name().map(Transaction::Savepoint)
    } else if cursor.eat_word("release") {
        savepoint_name(&mut cursor).map(Transaction::Release)
    } else if cursor.eat_words(&["prepare", "transaction"]) {
        cursor.string().map(|_| Transaction::PrepareTransaction)
    } else if cursor.eat_word("set") {
        return set(cursor);
    } else {
        return None;
    };
    Some(finish(&cursor, parsed))
}

/// The command, if nothing follows it.
fn finish(cursor: &Cursor<'_>, parsed: Option<Transaction>) -> Transaction {
    match parsed {
        Some(transaction) if cursor.at_end() => transaction,
        _ => Transaction::Malformed { at: cursor.here() },
    }
}

/// `[LOCAL | SESSION] TRANSACTION …` and `[LOCAL | SESSION] SESSION CHARACTERISTICS …`, behind SET.
fn set(mut cursor: Cursor<'_>) -> Option<Transaction> {
    let is_prefix = cursor.is_any_word(&["local", "session"])
        && (cursor.is_word_ahead(1, "transaction")
            || (cursor.is_word_ahead(1, "session") && cursor.is_word_ahead(2, "characteristics")));
    if is_prefix {
        cursor.advance();
    }
    let is_setting = settings::is_assignment(&cursor, 2); // SET SESSION characteristics.x = …
    let parsed = if !is_setting && cursor.eat_words(&["session", "characteristics"]) {
        if cursor.eat_words(&["as", "transaction"]) {
            modes(&mut cursor, true).map(Transaction::SetCharacteristics)
        } else {
            None
        }
    } else if cursor.is_word("transaction") {
        cursor.advance();
        if settings::is_assignment(&cursor, 0) {
            return None; // a setting of that name
        }
        if cursor.eat_word("snapshot") {
            cursor.string().map(|_| Transaction::SetSnapshot)
        } else {
            modes(&mut cursor, true).map(Transaction::SetTransaction)
        }
    } else {
        return None;
    };
    Some(finish(&cursor, parsed))
}

fn rollback(cursor: &mut Cursor<'_>) -> Option<Transaction> {
    if cursor.eat_word("prepared") {
        return cursor.string().map(|_| Transaction::RollbackPrepared);
    }
    eat_work(cursor);
    if cursor.eat_word("to") {
        savepoint_name(cursor).map(Transaction::RollbackTo)
    } else {
        chain(cursor).map(|chain| Transaction::Rollback { chain })
    }
}

/// `[SAVEPOINT] name`, where the name itself may be `savepoint`.
fn savepoint_name(cursor: &mut Cursor<'_>) -> Option<super::statement::Name> {
    let mut behind = cursor.clone();
    if behind.eat_word("savepoint") && !behind.at_end() {
        *cursor = behind;
    }
    cursor.name()
}

/// `[WORK | TRANSACTION]`.
fn eat_work(cursor: &mut Cursor<'_>) {
    cursor.eat_any_word(&["work", "transaction"]);
}

/// `[AND [NO] CHAIN]`; None if it is cut short.
fn chain(cursor: &mut Cursor<'_>) -> Option<bool> {
    if !cursor.eat_word("and") {
        return Some(false);
    }
    let chain = !cursor.eat_word("no");
    cursor.eat_word("chain").then_some(chain)
}

/// `mode [[,] mode …]`; of a mode said twice the last counts. None where a mode must stand and none does.
fn modes(cursor: &mut Cursor<'_>, required: bool) -> Option<Modes> {
    let mut modes = Modes::default();
    let mut must_follow = required;
    while must_follow || !cursor.at_end() {
        if cursor.eat_words(&["isolation", "level"]) {
            modes.isolation = Some(isolation_level(cursor)?);
        } else if cursor.eat_word("read") {
            modes.read_only = Some(cursor.is_word("only"));
            if !cursor.eat_any_word(&["only", "write"]) {
                return None;
            }
        } else if cursor.eat_word("deferrable") {
            modes.deferrable = Some(true);
        } else if cursor.eat_words(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else {
            if cursor.is_any_word(&["isolation", "not"]) {
                cursor.advance(); // the error is at the second word
            }
            return None;
        }
        must_follow = cursor.eat_symbol(b',');
    }
    Some(modes)
}

fn isolation_level(cursor: &mut Cursor<'_>) -> Option<IsolationLevel> {
    if cursor.eat_word("serializable") {
        Some(IsolationLevel::Serializable)
    } else if cursor.eat_word("repeatable") {
        cursor
            .eat_word("read")
            .then_some(IsolationLevel::RepeatableRead)
    } else if cursor.eat_word("read") {
        if cursor.eat_word("committed") {
            Some(IsolationLevel::ReadCommitted)
        } else {
            cursor
                .eat_word("uncommitted")
                .then_some(IsolationLevel::ReadUncommitted)
        }
    } else {
        None
    }
}
