//! Transaction, setting and utility commands.

use super::{check, kind};
use crate::sql::statement::{Copy, Kind, OnCommit};

#[test]
fn transaction_commands() {
    check(&[
        ("begin", "begin start=false - ro=None def=None"),
        (
            "/* a /* b */ */ BEGIN -- c\n WORK ISOLATION LEVEL SERIALIZABLE, READ ONLY DEFERRABLE;",
            "begin start=false serializable ro=Some(true) def=Some(true)",
        ),
        (
            "begin read only read write",
            "begin start=false - ro=Some(false) def=None",
        ),
        (
            "START TRANSACTION NOT DEFERRABLE",
            "begin start=true - ro=None def=Some(false)",
        ),
        (
            "begin isolation level read uncommitted",
            "begin start=false read uncommitted ro=None def=None",
        ),
        ("start", "malformed at "),
        ("begin read only,", "malformed at "),
        ("begin isolation serializable", "malformed at serializable"),
        ("begin atomic", "malformed at atomic"),
        ("commit and chain", "Commit { chain: true }"),
        ("end transaction and no chain", "Commit { chain: false }"),
        ("commit; drop table t", "malformed at ;"),
        ("commit and", "malformed at "),
        ("abort work", "Rollback { chain: false }"),
        ("rollback and chain", "Rollback { chain: true }"),
        ("rollback to savepoint a", "rollback to a"),
        ("rollback work to \"A b\"", "rollback to A b"),
        ("ROLLBACK TRANSACTION TO A", "rollback to a"),
        ("rollback to select", "malformed at select"),
        ("rollback to savepoint", "rollback to savepoint"),
        ("savepoint work", "savepoint work"),
        ("savepoint U&\"d\\0061t\"", "savepoint dat"),
        ("savepoint a b", "malformed at b"),
        ("release savepoint a", "release a"),
        ("release a", "release a"),
        ("release savepoint", "release savepoint"),
        ("release", "malformed at "),
        ("prepare transaction 'x'", "PrepareTransaction"),
        ("commit prepared 'x'", "CommitPrepared"),
        ("rollback prepared E'x'", "RollbackPrepared"),
        ("commit prepared x", "malformed at x"),
        ("set transaction snapshot '00'", "SetSnapshot"),
        ("set transaction", "malformed at "),
        (
            "set local transaction from b); select 1",
            "malformed at from",
        ),
        ("set session transaction from current", "malformed at from"),
        ("set session characteristics", "malformed at "),
        (
            "set session session characteristics from current",
            "malformed at from",
        ),
        ("set local transaction, read only", "malformed at ,"),
        (
            "set local transaction read only",
            "SetTransaction(Modes { isolation: None, read_only: Some(true), deferrable: None })",
        ),
        (
            "set session characteristics as transaction isolation level repeatable read",
            "SetCharacteristics(Modes { isolation: Some(RepeatableRead), read_only: None, deferrable: None })",
        ),
    ]);
}

#[test]
fn settings() {
    check(&[
        ("set search_path = app", "set search_path 'app'"),
        ("SET Search_Path TO app, public", "set search_path list"),
        (
            "set local statement_timeout = '5s'",
            "set local statement_timeout '5s'",
        ),
        ("set session x.y to default", "set x.y default"),
        ("set local transaction.x = 1", "set local transaction.x '1'"),
        (
            "set session characteristics.x to on",
            "set characteristics.x 'on'",
        ),
        ("set x.y = -5", "set x.y '-5'"),
        ("set a = on", "set a 'on'"),
        ("set time zone local", "set timezone default"),
        ("set local time zone 'UTC'", "set local timezone 'UTC'"),
        (
            "set time zone interval '-8' hour to minute",
            "set timezone list",
        ),
        ("set names 'utf8'", "set client_encoding 'utf8'"),
        ("set names", "set client_encoding default"),
        ("set role none", "set role 'none'"),
        ("set local role \"App\"", "set local role 'App'"),
        ("set role = app", "set role 'app'"),
        ("set schema 'x'", "set search_path 'x'"),
        (
            "set session authorization default",
            "set session_authorization default",
        ),
        (
            "set session session authorization bob",
            "set session_authorization 'bob'",
        ),
        (
            "set local session authorization 'bob'",
            "set local session_authorization 'bob'",
        ),
        ("set xml option document", "set xmloption 'document'"),
        ("set session to 1", "set session '1'"),
        ("set local = 1", "set local '1'"),
        ("set", "set  list"),
        ("set a 1", "set  list"),
        (
            "set constraints all deferred",
            "SetConstraints { all: true, deferred: true }",
        ),
        (
            "set constraints a.b, c immediate",
            "SetConstraints { all: false, deferred: false }",
        ),
        ("set constraints all", "EffectfulSelect"),
        ("reset all", "ResetAll"),
        (
            "reset session authorization",
            "Reset(\"session_authorization\")",
        ),
        ("RESET Work_Mem", "Reset(\"work_mem\")"),
        (
            "show transaction isolation level",
            "Show(\"transaction_isolation\")",
        ),
        ("show time zone", "Show(\"timezone\")"),
        ("show all", "Show(\"all\")"),
        ("show devinprod.x", "Show(\"devinprod.x\")"),
    ]);
}

#[test]
fn session_objects() {
    check(&[
        ("prepare p(int) as select $1", "prepare p Read: select $1"),
        (
            "prepare p as insert into t values (1);",
            "prepare p Write: insert into t values (1)",
        ),
        ("prepare p as commit", "EffectfulSelect"),
        ("execute \"P\"(1)", "execute P"),
        ("create temp table t as execute p(1)", "execute p"),
        ("deallocate prepare p", "deallocate p"),
        ("deallocate prepare all", "deallocate all"),
        ("deallocate prepare", "deallocate prepare"),
        (
            "declare c no scroll cursor with hold for select 1",
            "declare c hold=true",
        ),
        ("declare c cursor for select 1", "declare c hold=false"),
        ("fetch c", "fetch c"),
        ("fetch forward 10 from \"C\"", "fetch C"),
        ("fetch next", "fetch next"),
        ("move backward all in c", "move c"),
        ("close all", "close all"),
        ("close c", "close c"),
        ("discard temporary", "Discard(Temp)"),
        ("discard all", "Discard(All)"),
        ("discard", "EffectfulSelect"),
    ]);
}

#[test]
fn tables_locks_and_copies() {
    check(&[
        ("lock t", "lock t AccessExclusive nowait=false"),
        (
            "lock table only a.t, u * in share row exclusive mode nowait",
            "lock t,u ShareRowExclusive nowait=true",
        ),
        (
            "lock t in access share mode",
            "lock t AccessShare nowait=false",
        ),
        ("lock t in share mode", "lock t Share nowait=false"),
        (
            "truncate a, only b restart identity cascade",
            "truncate a:false,b:true restart=true cascade=true",
        ),
        (
            "truncate table only (a)",
            "truncate a:true restart=false cascade=false",
        ),
        ("copy t from stdin", "Copy(FromStdin)"),
        (
            "copy public.t (a, b) from stdin with (format csv)",
            "Copy(FromStdin)",
        ),
        (
            "copy binary t to stdout",
            "Copy(ToStdout { effect: false })",
        ),
        ("copy binary from stdin", "Copy(ToStdout { effect: true })"),
        (
            "copy (select 1) to stdout",
            "Copy(ToStdout { effect: false })",
        ),
        (
            "copy (insert into t values (1) returning *) to stdout",
            "Copy(ToStdout { effect: true })",
        ),
        (
            "copy (select charge()) to stdout",
            "Copy(ToStdout { effect: true })",
        ),
        ("copy t to '/tmp/x'", "Copy(File)"),
        ("copy t from program 'cat'", "Copy(Program)"),
        ("copy (select 1) to program 'cat'", "Copy(Program)"),
        ("copy", "Copy(ToStdout { effect: true })"),
        (
            "create table if not exists a.t (x int)",
            "table t temp=false PreserveRows",
        ),
        (
            "create temp table t (x text default 'on commit drop') on commit drop",
            "table t temp=true Drop",
        ),
        (
            "create local temporary table t on commit delete rows as select 1",
            "table t temp=true DeleteRows",
        ),
        (
            "create table pg_temp.t (x int)",
            "table t temp=true PreserveRows",
        ),
        (
            "create unlogged table t (like u including all)",
            "table t temp=false PreserveRows",
        ),
        ("create foreign table t (x int) server s", "Ddl"),
    ]);
    assert_eq!(kind("copy t from stdin"), Kind::Copy(Copy::FromStdin));
    assert!(matches!(
        kind("create table t()"),
        Kind::CreateTable {
            on_commit: OnCommit::PreserveRows,
            ..
        }
    ));
}

#[test]
fn utilities() {
    check(&[
        (
            "create unique index concurrently i on t (a)",
            "CREATE INDEX concurrently, without: create unique index  i on t (a)",
        ),
        (
            "drop index concurrently if exists i",
            "DROP INDEX concurrently, without: drop index  if exists i",
        ),
        (
            "reindex index concurrently i",
            "REINDEX concurrently, without: reindex index  i",
        ),
        (
            "reindex (concurrently) index i",
            "REINDEX concurrently, without: reindex  index i",
        ),
        (
            "reindex (verbose, concurrently) table t",
            "REINDEX concurrently, without: reindex (verbose) table t",
        ),
        (
            "reindex (concurrently true, verbose) table t",
            "REINDEX concurrently, without: reindex ( verbose) table t",
        ),
        ("reindex (concurrently false) table t", "Ddl"),
        (
            "refresh materialized view concurrently v",
            "REFRESH MATERIALIZED VIEW concurrently, without: refresh materialized view  v",
        ),
        (
            "alter table t detach partition p concurrently",
            "ALTER TABLE concurrently, without: alter table t detach partition p ",
        ),
        (
            "reindex database d",
            "OutsideTransaction(\"REINDEX DATABASE\")",
        ),
        (
            "create database d",
            "OutsideTransaction(\"CREATE DATABASE\")",
        ),
        (
            "drop tablespace d",
            "OutsideTransaction(\"DROP TABLESPACE\")",
        ),
        (
            "alter system set a = 1",
            "OutsideTransaction(\"ALTER SYSTEM\")",
        ),
        (
            "alter database d set tablespace x",
            "OutsideTransaction(\"ALTER DATABASE\")",
        ),
        ("alter database d set a = 1", "Ddl"),
        ("cluster", "OutsideTransaction(\"CLUSTER\")"),
        ("cluster t", "Ddl"),
        ("create index i on t (a)", "Ddl"),
        (
            "create function f() returns int begin atomic select 1; end",
            "Ddl",
        ),
        ("grant select on t to x", "Ddl"),
        ("analyze", "Ddl"),
        ("vacuum (full) t", "Vacuum"),
        ("do $$ begin commit; end $$", "Code"),
        ("call p(1)", "Code"),
        ("load 'x'", "Maintenance"),
        ("checkpoint", "Maintenance"),
    ]);
}
