//! What a developer with a direct connection would try. Data: the doctor and the tests run all of it.
//!
//! `@table@`, `@column@`, `@sequence@` and `@schema@` stand for something of the user's, `@writer@` for the
//! developer role's own writer, `@proof@` for a table whose existence would prove a commit.

use super::super::survey::Why;

/// Something a developer role must not be able to do without being armed.
#[derive(Debug, Clone, Copy)]
pub struct Unarmed {
    /// What must not be possible.
    pub promise: &'static str,
    /// How it is tried, inside a transaction that is rolled back.
    pub sql: &'static str,
    /// The SQLSTATEs that mean it was denied.
    pub answers: &'static [&'static str],
    /// The privilege of PUBLIC that, where it could not be taken, leaves this to the proxy.
    pub relies_on: Option<Why>,
}

/// A way out of a transaction that cannot commit.
#[derive(Debug, Clone, Copy)]
pub struct Armed {
    /// What must not be possible.
    pub promise: &'static str,
    /// The statements, each in a message of its own; the last one must be refused.
    pub sql: &'static [&'static str],
    /// The SQLSTATEs that the last one may answer.
    pub answers: &'static [&'static str],
}

const DENIED: &[&str] = &["42501"];
const COMMIT_REFUSED: &[&str] = &[super::COMMIT_REFUSED];

const fn denied(promise: &'static str, sql: &'static str) -> Unarmed {
    Unarmed {
        promise,
        sql,
        answers: DENIED,
        relies_on: None,
    }
}

const fn unless(why: Why, promise: &'static str, sql: &'static str) -> Unarmed {
    Unarmed {
        relies_on: Some(why),
        ..denied(promise, sql)
    }
}

/// What is tried without being armed.
pub const UNARMED: [Unarmed; 32] = [
    denied(
        "UPDATE is denied",
        "UPDATE @table@ SET @column@ = @column@ WHERE false",
    ),
    denied("DELETE is denied", "DELETE FROM @table@ WHERE false"),
    denied(
        "INSERT is denied",
        "INSERT INTO @table@ SELECT * FROM @table@ WHERE false",
    ),
    denied("TRUNCATE is denied", "TRUNCATE @table@"),
    denied("COPY FROM is denied", "COPY @table@ FROM STDIN"),
    denied("FOR UPDATE is denied", "SELECT 1 FROM @table@ FOR UPDATE"),
    denied("LOCK TABLE is denied", "LOCK TABLE @table@ IN SHARE MODE"),
    denied(
        "ALTER TABLE is denied",
        "ALTER TABLE @table@ SET (autovacuum_enabled = on)",
    ),
    denied(
        "a trigger is denied",
        "CREATE TRIGGER x BEFORE INSERT ON @table@ EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ),
    denied("nextval is denied", "SELECT nextval('@sequence@')"),
    denied(
        "setval is denied",
        "SELECT setval('@sequence@', last_value, is_called) FROM @sequence@",
    ),
    denied("a temporary table is denied", "CREATE TEMP TABLE x ()"),
    denied(
        "a temporary view is denied",
        "CREATE TEMP VIEW x AS SELECT 1",
    ),
    denied("a temporary sequence is denied", "CREATE TEMP SEQUENCE x"),
    denied("SELECT INTO is denied", "SELECT 1 AS n INTO TEMP x"),
    denied("a table is denied", "CREATE TABLE @schema@.x ()"),
    denied(
        "a table by EXPLAIN ANALYZE is denied",
        "EXPLAIN ANALYZE CREATE TABLE @schema@.x AS SELECT 1",
    ),
    denied(
        "a table by EXPLAIN ANALYZE in a DO block is denied",
        "DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE CREATE TEMP TABLE x AS SELECT 1'; END $$",
    ),
    denied(
        "a function is denied",
        "CREATE FUNCTION @schema@.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    denied("a type is denied", "CREATE TYPE @schema@.x AS ENUM ()"),
    denied("a schema is denied", "CREATE SCHEMA x"),
    denied("a publication is denied", "CREATE PUBLICATION x"),
    unless(
        Why::LargeObject,
        "a large object by lo_create is denied",
        "SELECT lo_create(0)",
    ),
    unless(
        Why::LargeObject,
        "a large object by lo_creat is denied",
        "SELECT lo_creat(-1)",
    ),
    unless(
        Why::LargeObject,
        "a large object by lo_from_bytea is denied",
        "SELECT lo_from_bytea(0, 'x')",
    ),
    unless(
        Why::LargeObject,
        "lo_unlink is denied",
        "SELECT lo_unlink(0)",
    ),
    unless(
        Why::LogicalMessage,
        "a logical message is denied",
        "SELECT pg_logical_emit_message(true, 'devinprod', '')",
    ),
    denied(
        "the commit guard cannot be changed",
        "ALTER TABLE devinprod.commit_guard DISABLE TRIGGER refuse_commit",
    ),
    denied(
        "a row cannot be put into the guard by hand",
        "INSERT INTO devinprod.commit_guard VALUES ('x')",
    ),
    denied(
        "the pairs cannot be changed",
        "UPDATE devinprod.pair SET leased_at = NULL",
    ),
    denied(
        "another role cannot be leased",
        "SELECT devinprod.lease('x')",
    ),
    denied(
        "triggers cannot be switched off",
        "SET session_replication_role = replica",
    ),
];

/// What every armed attempt begins with.
pub(super) const ARM: &str = "SELECT devinprod.arm()";
/// What would prove a commit.
pub(super) const PROOF: &str = "CREATE TABLE @proof@ ()";

const fn escape(
    promise: &'static str,
    sql: &'static [&'static str],
    answers: &'static [&'static str],
) -> Armed {
    Armed {
        promise,
        sql,
        answers,
    }
}

/// What is tried once armed.
pub const ARMED: [Armed; 25] = [
    escape(
        "COMMIT is refused",
        &["BEGIN", ARM, PROOF, "COMMIT"],
        COMMIT_REFUSED,
    ),
    escape(
        "END is refused",
        &["BEGIN", ARM, PROOF, "END"],
        COMMIT_REFUSED,
    ),
    escape(
        "COMMIT AND CHAIN is refused",
        &["BEGIN", ARM, PROOF, "COMMIT AND CHAIN"],
        COMMIT_REFUSED,
    ),
    escape(
        "the implicit commit of several statements is refused",
        &["SELECT devinprod.arm(); CREATE TABLE @proof@ ()"],
        COMMIT_REFUSED,
    ),
    escape(
        "arming outside of a transaction is refused",
        &[ARM],
        COMMIT_REFUSED,
    ),
    escape(
        "a COMMIT after RELEASE is refused",
        &["BEGIN", "SAVEPOINT a", ARM, PROOF, "RELEASE a", "COMMIT"],
        COMMIT_REFUSED,
    ),
    escape(
        "PREPARE TRANSACTION is refused",
        &[
            "BEGIN",
            ARM,
            PROOF,
            "PREPARE TRANSACTION 'devinprod_doctor'",
        ],
        &["UC001", "55000"],
    ),
    escape(
        "the guard cannot be fired early and passed",
        &["BEGIN", ARM, PROOF, "SET CONSTRAINTS ALL IMMEDIATE"],
        COMMIT_REFUSED,
    ),
    escape(
        "the guard cannot be fired and caught in a DO block",
        &[
            "BEGIN",
            ARM,
            PROOF,
            "DO $$ BEGIN SET CONSTRAINTS ALL IMMEDIATE; EXCEPTION WHEN OTHERS THEN NULL; END $$",
            "COMMIT",
        ],
        COMMIT_REFUSED,
    ),
    escape(
        "the guard cannot be fired in a savepoint and passed",
        &[
            "BEGIN",
            ARM,
            PROOF,
            "SAVEPOINT a",
            "SET CONSTRAINTS devinprod.refuse_commit IMMEDIATE",
            "ROLLBACK TO a",
            "COMMIT",
        ],
        COMMIT_REFUSED,
    ),
    escape(
        "ROLLBACK TO takes the right to write away",
        &["BEGIN", "SAVEPOINT a", ARM, "ROLLBACK TO a", PROOF],
        DENIED,
    ),
    escape(
        "ROLLBACK TO takes the right of a prepared statement away",
        &[
            "BEGIN",
            "SAVEPOINT a",
            ARM,
            "PREPARE devinprod_doctor AS DELETE FROM @table@ WHERE false",
            "EXECUTE devinprod_doctor",
            "ROLLBACK TO a",
            "EXECUTE devinprod_doctor",
        ],
        DENIED,
    ),
    escape(
        "ROLLBACK TO takes SET ROLE away",
        &[
            "BEGIN",
            "SAVEPOINT a",
            ARM,
            "SET ROLE @writer@",
            "ROLLBACK TO a",
            "SET ROLE @writer@",
        ],
        DENIED,
    ),
    escape(
        "an exception takes the right to write away",
        &[
            "BEGIN",
            "DO $$ BEGIN PERFORM devinprod.arm(); RAISE 'x'; EXCEPTION WHEN OTHERS THEN NULL; END $$",
            PROOF,
        ],
        DENIED,
    ),
    escape(
        "a DO block cannot commit",
        &["DO $$ BEGIN PERFORM devinprod.arm(); EXECUTE 'CREATE TABLE @proof@ ()'; COMMIT; END $$"],
        COMMIT_REFUSED,
    ),
    escape(
        "a procedure cannot commit",
        &[
            "BEGIN",
            ARM,
            PROOF,
            "CREATE PROCEDURE @schema@.devinprod_doctor() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'",
            "CALL @schema@.devinprod_doctor()",
        ],
        &["2D000"],
    ),
    escape(
        "the guard's trigger cannot be dropped",
        &[
            "BEGIN",
            ARM,
            PROOF,
            "DROP TRIGGER refuse_commit ON devinprod.commit_guard",
        ],
        DENIED,
    ),
    escape(
        "the guard cannot be altered",
        &[
            "BEGIN",
            ARM,
            PROOF,
            "ALTER TABLE devinprod.commit_guard DISABLE TRIGGER ALL",
        ],
        DENIED,
    ),
    escape(
        "the guard cannot be emptied",
        &["BEGIN", ARM, PROOF, "DELETE FROM devinprod.commit_guard"],
        DENIED,
    ),
    escape(
        "the guard cannot be truncated",
        &["BEGIN", ARM, PROOF, "TRUNCATE devinprod.commit_guard"],
        DENIED,
    ),
    escape(
        "the guard cannot be dropped",
        &["BEGIN", ARM, PROOF, "DROP SCHEMA devinprod CASCADE"],
        DENIED,
    ),
    escape(
        "DROP OWNED does not reach the guard",
        &[
            "BEGIN",
            ARM,
            PROOF,
            "DROP OWNED BY CURRENT_USER",
            PROOF,
            "COMMIT",
        ],
        COMMIT_REFUSED,
    ),
    escape(
        "triggers cannot be switched off",
        &[
            "BEGIN",
            ARM,
            PROOF,
            "SET session_replication_role = replica",
        ],
        DENIED,
    ),
    escape(
        "DISCARD ALL does not get out",
        &["BEGIN", ARM, PROOF, "DISCARD ALL"],
        &["25001"],
    ),
    escape(
        "the right to write cannot be handed on",
        &["BEGIN", ARM, PROOF, "GRANT @writer@ TO @proxy@"],
        DENIED,
    ),
];
