//! What one SQL statement is, as far as the proxy must know: plain data, made by [`super::classify`].
//!
//! All spans are byte ranges of the statement's own text.

use std::ops::Range;

/// An identifier as Postgres reads it (folded to lower case unless quoted, `U&` decoded, cut at 63 bytes)
/// and where it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The identifier's value.
    pub value: String,
    /// The token's place in the text, quotes included.
    pub span: Range<usize>,
}

/// A possibly qualified relation name; `schema` is None when the search path decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationName {
    /// The schema, if it was written.
    pub schema: Option<String>,
    /// The relation.
    pub name: String,
    /// The whole qualified name's place in the text.
    pub span: Range<usize>,
}

/// One classified statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it is.
    pub kind: Kind,
    /// What else was seen in it.
    pub facts: Facts,
}

/// The statement's kind; what is not recognised here is [`Kind::Unknown`].
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing but white space and comments.
    Empty,
    /// BEGIN, COMMIT, SAVEPOINT and their like: never forwarded.
    Transaction(Transaction),
    /// A known pure read: SELECT, VALUES, TABLE, WITH … SELECT, EXPLAIN without ANALYZE of any of these,
    /// in which every function called is known to be harmless, with no FOR UPDATE/SHARE and no INTO.
    Read,
    /// A SELECT that may have an effect: an unknown function, FOR UPDATE, set_config, nextval …
    EffectfulSelect,
    /// INSERT, UPDATE, DELETE or MERGE, also inside WITH, or EXPLAIN ANALYZE of one.
    Write,
    /// `SELECT` of exactly one advisory-lock function and nothing else (no FROM, no second column).
    AdvisoryLock(AdvisoryCall),
    /// `SELECT pg_notify(channel, payload)` and nothing else.
    NotifyCall(NotifyCall),
    /// NOTIFY channel [, 'payload'].
    Notify {
        channel: Name,
        payload: Option<String>,
    },
    /// LISTEN channel.
    Listen(Name),
    /// UNLISTEN channel, or None for `*`.
    Unlisten(Option<Name>),
    /// SET [SESSION | LOCAL] name …, also SET TIME ZONE, SET NAMES, SET ROLE, SET SCHEMA,
    /// SET SESSION AUTHORIZATION, SET XML OPTION under their setting's name (lower case).
    Set {
        name: String,
        local: bool,
        value: SetValue,
    },
    /// RESET name.
    Reset(String),
    /// RESET ALL.
    ResetAll,
    /// SHOW name (lower case, `transaction_isolation` for SHOW TRANSACTION ISOLATION LEVEL, `timezone`
    /// for SHOW TIME ZONE, `session_authorization`); `all` for SHOW ALL.
    Show(String),
    /// DISCARD ALL | PLANS | SEQUENCES | TEMP.
    Discard(Discard),
    /// PREPARE name [(types)] AS body.
    Prepare {
        name: Name,
        body: Range<usize>,
        inner: Box<Statement>,
    },
    /// EXECUTE name [(…)], also EXPLAIN EXECUTE and CREATE TABLE … AS EXECUTE.
    Execute { name: Name },
    /// `DEALLOCATE [PREPARE] name`, or None for ALL.
    Deallocate(Option<Name>),
    /// DECLARE name … CURSOR [WITH HOLD] FOR query.
    Declare { name: Name, hold: bool },
    /// FETCH or MOVE … cursor.
    Fetch { name: Name, is_move: bool },
    /// CLOSE name, or None for ALL.
    Close(Option<Name>),
    /// LOCK TABLE …
    Lock {
        tables: Vec<RelationName>,
        mode: LockMode,
        nowait: bool,
    },
    /// TRUNCATE …
    Truncate {
        tables: Vec<(RelationName, bool)>,
        restart_identity: bool,
        cascade: bool,
    },
    /// SET CONSTRAINTS ALL or names.
    SetConstraints { all: bool, deferred: bool },
    /// COPY.
    Copy(Copy),
    /// CREATE TABLE (temporary or not), also AS and LIKE.
    CreateTable {
        temporary: bool,
        on_commit: OnCommit,
        name: Option<RelationName>,
    },
    /// CREATE INDEX, DROP INDEX, REINDEX or REFRESH … with CONCURRENTLY, whose token is given.
    Concurrently {
        keyword: Range<usize>,
        tag: &'static str,
    },
    /// Any other CREATE, ALTER, DROP, COMMENT, GRANT, REVOKE, REINDEX, CLUSTER, ANALYZE, REFRESH, IMPORT,
    /// REASSIGN, SECURITY LABEL …: runs in a transaction and may change the catalog.
    Ddl,
    /// DO, CALL.
    Code,
    /// VACUUM (with or without ANALYZE).
    Vacuum,
    /// CHECKPOINT, LOAD.
    Maintenance,
    /// What cannot run in a transaction block or reaches outside the database; the words that say which
    /// (`CREATE DATABASE`, `ALTER SYSTEM`, `CREATE SUBSCRIPTION`, `DROP TABLESPACE` …).
    OutsideTransaction(&'static str),
    /// The first token is no statement word of Postgres. It is refused: Postgres would only say
    /// "syntax error", but nothing unknown may travel as the first word.
    Unknown,
}

/// Transaction control, as Postgres' grammar has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Transaction {
    /// BEGIN or START TRANSACTION, with its modes.
    Begin { start: bool, modes: Modes },
    /// COMMIT or END.
    Commit { chain: bool },
    /// ROLLBACK or ABORT.
    Rollback { chain: bool },
    /// SAVEPOINT name.
    Savepoint(Name),
    /// `RELEASE [SAVEPOINT] name`
    Release(Name),
    /// `ROLLBACK TO [SAVEPOINT] name`
    RollbackTo(Name),
    /// SET TRANSACTION modes.
    SetTransaction(Modes),
    /// SET TRANSACTION SNAPSHOT.
    SetSnapshot,
    /// SET SESSION CHARACTERISTICS AS TRANSACTION modes.
    SetCharacteristics(Modes),
    /// PREPARE TRANSACTION.
    PrepareTransaction,
    /// COMMIT PREPARED.
    CommitPrepared,
    /// ROLLBACK PREPARED.
    RollbackPrepared,
    /// A transaction word with a tail that Postgres' grammar does not have: the span of the first token
    /// that does not fit (empty, at the end of the text, when the text ends too early).
    Malformed { at: Range<usize> },
}

/// Transaction modes that were written; None where nothing was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    /// ISOLATION LEVEL …
    pub isolation: Option<IsolationLevel>,
    /// READ ONLY (true) or READ WRITE (false).
    pub read_only: Option<bool>,
    /// DEFERRABLE (true) or NOT DEFERRABLE (false).
    pub deferrable: Option<bool>,
}

/// SQL's isolation levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Treated as READ COMMITTED by Postgres.
    ReadUncommitted,
    /// Postgres' default, and the only one that a sandbox really runs in.
    ReadCommitted,
    /// Accepted, answered as set.
    RepeatableRead,
    /// Accepted, answered as set.
    Serializable,
}

impl IsolationLevel {
    /// As SHOW transaction_isolation writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read uncommitted",
            Self::ReadCommitted => "read committed",
            Self::RepeatableRead => "repeatable read",
            Self::Serializable => "serializable",
        }
    }
}

/// The right side of a SET.
#[derive(Debug, Clone, PartialEq)]
pub enum SetValue {
    /// One literal or word, unquoted (`SET x = 'abc'` and `SET x TO abc` both give `abc`).
    Single(String),
    /// SET … TO DEFAULT (also SET ROLE NONE is Single("none")).
    Default,
    /// A list or anything else.
    Other,
}

/// What DISCARD discards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Discard {
    All,
    Plans,
    Sequences,
    Temp,
}

/// LOCK TABLE's modes, as far as the proxy tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LockMode {
    AccessShare,
    RowShare,
    RowExclusive,
    ShareUpdateExclusive,
    Share,
    ShareRowExclusive,
    Exclusive,
    AccessExclusive,
}

/// COPY's direction and the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// COPY … FROM STDIN
    FromStdin,
    /// COPY … TO STDOUT
    ToStdout {
        /// COPY (query) TO STDOUT, where the query is not a known pure read.
        effect: bool,
    },
    /// COPY … FROM/TO 'file'
    File,
    /// COPY … FROM/TO PROGRAM
    Program,
}

/// ON COMMIT of a temporary table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OnCommit {
    PreserveRows,
    DeleteRows,
    Drop,
}

/// A call of an advisory-lock function as a whole statement.
#[derive(Debug, Clone, PartialEq)]
pub struct AdvisoryCall {
    /// The function without its schema, lower case, e.g. `pg_try_advisory_xact_lock_shared`.
    pub function: String,
    /// Each argument's text (0, 1 or 2 of them).
    pub arguments: Vec<Range<usize>>,
    /// From the function's name (schema included) to its closing parenthesis.
    pub call: Range<usize>,
}

/// A call of pg_notify as a whole statement.
#[derive(Debug, Clone, PartialEq)]
pub struct NotifyCall {
    /// The channel's expression.
    pub channel: Range<usize>,
    /// The payload's expression.
    pub payload: Range<usize>,
    /// From the function's name (schema included) to its closing parenthesis.
    pub call: Range<usize>,
}

/// A set_config call seen anywhere in the statement.
#[derive(Debug, Clone, PartialEq)]
pub struct SetConfig {
    /// The setting's name in lower case, if it is a literal.
    pub name: Option<String>,
    /// The value, if that and the name are literals.
    pub value: Option<String>,
    /// The third argument, if it is a literal.
    pub local: Option<bool>,
}

/// What else the proxy must know of a statement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// The highest `$n` that stands outside of strings and comments, with its first place; None: no parameter.
    pub parameter: Option<(u16, Range<usize>)>,
    /// A DML statement, query, EXPLAIN, DECLARE or CREATE TABLE AS: analysed by Postgres when it is parsed,
    /// so that a `$1` in a simple Query is an error (42P02) there.
    pub optimizable: bool,
    /// Calls of set_config.
    pub set_config: Vec<SetConfig>,
    /// `WHERE CURRENT OF name`.
    pub current_of: Option<Name>,
    /// FOR UPDATE/SHARE … SKIP LOCKED: never joins another's transaction.
    pub skip_locked: bool,
    /// An advisory-lock function stands somewhere else than in [`Kind::AdvisoryLock`].
    pub embedded_advisory: Option<Range<usize>>,
    /// A function that the analysis refuses (it reaches outside the transaction): its name and place.
    pub forbidden_function: Option<Name>,
    /// The relations that the statement itself writes (INSERT, UPDATE, DELETE, MERGE, COPY FROM).
    pub writes: Vec<RelationName>,
}
