//! Queries, calls and facts.

use proptest::prelude::*;

use super::{check, kind};
use crate::sql::classify::classify;
use crate::sql::statement::Kind;

#[test]
fn queries() {
    check(&[
        ("", "Empty"),
        (" -- nothing\n;", "Empty"),
        ("select 1", "Read"),
        ("((select 1) union (select 2))", "Read"),
        ("values (1), (2)", "Read"),
        ("table users", "Read"),
        (
            "SELECT count(*) FILTER (WHERE a IN (1,2)) OVER (PARTITION BY b) FROM \"Users\" u(a, b)",
            "Read",
        ),
        (
            "select * from (values (1)) t(a) join unnest(array[1]) as v(x) on (true)",
            "Read",
        ),
        (
            "with t(a) as (select 1), u(b) as materialized (select 2) select * from t, u",
            "Read",
        ),
        (
            "select a::numeric(10,2), pg_catalog.lower(b), cast(c as varchar(3)) from t",
            "Read",
        ),
        (
            "select a.b.c from a.b where exists (select 1) and x = any(array[1])",
            "Read",
        ),
        (
            "select current_timestamp(3), extract(year from now()), coalesce(a, 'nextval(') from t",
            "Read",
        ),
        (
            "select x from t order by x fetch first (3) rows only",
            "Read",
        ),
        ("select lo.insert, \"update\" from t", "EffectfulSelect"),
        ("select nextval('s')", "EffectfulSelect"),
        ("select distinct on (a) charge(b) from t", "EffectfulSelect"),
        (
            "select 1 operator(pg_catalog.+) charge(b)",
            "EffectfulSelect",
        ),
        ("select app.lower(a) from t", "EffectfulSelect"),
        ("select \"charge\"(a) from t", "EffectfulSelect"),
        ("select U&\"nextv\\0061l\"('s')", "EffectfulSelect"),
        ("select * from charge(1) as t(a int)", "EffectfulSelect"),
        ("select * from users for update", "EffectfulSelect"),
        (
            "select * from users for no key update skip locked",
            "EffectfulSelect",
        ),
        ("select * from users for key share", "EffectfulSelect"),
        ("select set_config('a', 'b', true)", "EffectfulSelect"),
        ("select pg_notify('a', 'b'), 1", "EffectfulSelect"),
        (
            "select query_to_xml('delete from t', true, true, '')",
            "EffectfulSelect",
        ),
        ("select 'open", "EffectfulSelect"),
        (
            "select * into temp t from users",
            "table t temp=true PreserveRows",
        ),
        (
            "select * into unlogged table s.t from users",
            "table t temp=false PreserveRows",
        ),
        ("insert into t values (1)", "Write"),
        (
            "with a as (insert into t values (1) returning *) select * from a",
            "Write",
        ),
        ("with a as (select 1) update t set a = 1", "Write"),
        (
            "with recursive a as (select 1) search depth first by x set y update t set a = 1",
            "Write",
        ),
        (
            "with a as (with b as (select 1) delete from t) select 1",
            "Write",
        ),
        (
            "merge into t using s on true when matched then delete",
            "Write",
        ),
        ("(delete from t)", "Write"),
        ("(commit)", "Unknown"),
        ("explain select 1", "Read"),
        ("explain (analyze, buffers) select 1", "Read"),
        ("explain ((select 1))", "Read"),
        ("explain (values (1))", "Read"),
        ("explain select charge()", "EffectfulSelect"),
        ("explain insert into t values (1)", "Write"),
        ("explain analyze verbose delete from t", "Write"),
        (
            "explain (analyze) create table t as select 1",
            "table t temp=false PreserveRows",
        ),
        ("explain create table t as select 1", "EffectfulSelect"),
        ("explain analyze execute p(1)", "execute p"),
        ("explain declare c cursor for select 1", "Read"),
        ("explain commit", "EffectfulSelect"),
        ("explain explain select 1", "EffectfulSelect"),
        ("selec 1", "Unknown"),
        ("\"select\" 1", "Unknown"),
        ("'x'", "Unknown"),
    ]);
}

#[test]
fn what_the_parser_misreads_is_read_from_tokens() {
    check(&[
        ("SELECT email AND FROM users", "Read"),
        ("SELECT interval FROM users", "Read"),
        ("SELECT 1 FROM ONLY users", "Read"),
        ("SELECT 1 UNION ALL TABLE users", "Read"),
        ("SELECT U&\"em\\0061il\" FROM users", "Read"),
        (
            "BEGIN DEFERRABLE",
            "begin start=false - ro=None def=Some(true)",
        ),
        ("COPY users TO STDOUT", "Copy(ToStdout { effect: false })"),
    ]);
}

#[test]
fn calls_that_the_proxy_answers() {
    check(&[
        (
            "SELECT pg_catalog.pg_try_advisory_lock($1, abs(-2)) AS locked",
            "advisory pg_try_advisory_lock[$1|abs(-2)] pg_catalog.pg_try_advisory_lock($1, abs(-2))",
        ),
        (
            "select PG_ADVISORY_UNLOCK_ALL()",
            "advisory pg_advisory_unlock_all[] PG_ADVISORY_UNLOCK_ALL()",
        ),
        ("select pg_advisory_lock(1), 2", "EffectfulSelect"),
        ("select pg_advisory_lock(1) from t", "EffectfulSelect"),
        ("select app.pg_advisory_lock(1)", "EffectfulSelect"),
        ("select pg_advisory_lock(1,)", "EffectfulSelect"),
        (
            "select pg_notify('a', 'b' || c)",
            "notify call 'a'|'b' || c pg_notify('a', 'b' || c)",
        ),
        ("select pg_notify('a')", "EffectfulSelect"),
        ("notify A, 'x''y'", "notify a Some(\"x'y\")"),
        ("notify \"A\"", "notify A None"),
        ("listen a", "listen a"),
        ("unlisten *", "unlisten *"),
        ("unlisten a", "unlisten a"),
        ("listen", "EffectfulSelect"),
    ]);
    let facts = |text: &str| classify(text).facts;
    assert_eq!(facts("select pg_advisory_lock(1)").embedded_advisory, None);
    let text = "select pg_advisory_lock(id) from t";
    assert_eq!(facts(text).embedded_advisory, Some(7..23));
    assert_eq!(
        facts("explain analyze select pg_advisory_lock(1)").embedded_advisory,
        Some(23..39)
    );
}

#[test]
fn facts() {
    let facts = |text: &str| classify(text).facts;
    assert_eq!(
        facts("select $2, '$9', $1 -- $7").parameter,
        Some((2, 7..9))
    );
    assert_eq!(
        facts("select $99999").parameter.map(|(number, _)| number),
        Some(u16::MAX)
    );
    assert_eq!(
        facts("update t set a = 1 where current of C")
            .current_of
            .map(|name| name.value),
        Some("c".to_owned())
    );
    assert!(facts("select 1 from t for update skip locked").skip_locked);
    for text in [
        "select 1",
        "explain select 1",
        "declare c cursor for select 1",
        "create table t as select 1",
        "call p(1)",
        "delete from t",
    ] {
        assert!(facts(text).optimizable, "{text}");
    }
    for text in [
        "create table t (a int)",
        "set a = 1",
        "prepare p as select 1",
        "copy (select 1) to stdout",
        "create view v as select 1",
    ] {
        assert!(!facts(text).optimizable, "{text}");
    }

    let forbidden = |text: &str| facts(text).forbidden_function.map(|name| name.value);
    assert_eq!(
        forbidden(
            "select pg_cancel_backend(pg_backend_pid()), pg_catalog.pg_cancel_backend ( pg_catalog.pg_backend_pid ( ) )"
        ),
        None
    );
    for other in [
        "select pg_cancel_backend(pg_backend_pid() + 1)",
        "select pg_cancel_backend(x.pg_backend_pid())",
        "select pg_terminate_backend(pg_backend_pid())",
    ] {
        assert!(forbidden(other).is_some(), "{other}");
    }
    assert_eq!(
        forbidden("select 1 where pg_catalog.\"pg_terminate_backend\"(1)"),
        Some("pg_terminate_backend".to_owned())
    );
    assert_eq!(
        forbidden("call p(pg_logical_emit_message(false, 'a', 'b'))"),
        Some("pg_logical_emit_message".to_owned())
    );
    assert_eq!(
        forbidden("select * from ext.dblink('a', 'b') as t(a int)"),
        Some("dblink".to_owned())
    );
    assert_eq!(forbidden("select 'pg_read_file(1)'"), None);

    let set_config = |text: &str| {
        let calls = facts(text).set_config;
        calls
            .into_iter()
            .map(|call| (call.name, call.local))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        set_config("select set_config('A.b', $1, true)"),
        [(Some("a.b".to_owned()), Some(true))]
    );
    assert_eq!(
        set_config("select set_config('a', f(1, false), 'off'), set_config(b, c, d)"),
        [(Some("a".to_owned()), Some(false)), (None, None)]
    );
    assert_eq!(
        set_config("select set_config('a' || 'b', 'x', false)"),
        [(None, Some(false))]
    );

    let writes = |text: &str| {
        let writes = facts(text).writes;
        let names = writes.iter().map(|name| text[name.span.clone()].to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    for (text, expected) in [
        (
            "insert into a.\"B\" (x) select 1 on conflict (x) do update set x = 2",
            "a.\"B\"",
        ),
        (
            "with x as (delete from only t returning *) update u set a = 1 from x",
            "t u",
        ),
        (
            "merge into t using s on true when matched then update set a = 1 when not matched then insert values (1)",
            "t",
        ),
        ("copy t (a) from stdin", "t"),
        ("copy (delete from t returning 1) to stdout", "t"),
        ("explain analyze delete from t", "t"),
        ("explain delete from t", ""),
        ("select * from t for update", ""),
        ("create rule r as on insert to t do also delete from u", ""),
    ] {
        assert_eq!(writes(text), expected, "{text}");
    }
}

#[test]
fn long_and_deep_texts_do_no_harm() {
    let and = format!("select 1 where {}", vec!["a = 1"; 50_000].join(" and "));
    assert_eq!(kind(&and), Kind::Read);
    for deep in [
        "(",
        "explain ",
        "prepare a as ",
        "copy (",
        "set_config(",
        "with a as (",
        "f(",
        "case ",
    ] {
        let _ = classify(&deep.repeat(50_000));
        let _ = classify(&format!("select {}", deep.repeat(50_000)));
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s)([ -~\n]|[-'\"$/*();,.:a1 \n]|.){0,80}") {
        let _ = classify(&text);
    }

    #[test]
    fn no_words_make_it_panic(words in prop::collection::vec(
        prop::sample::select(vec![
            "begin", "commit", "rollback", "to", "savepoint", "set", "local", "session", "transaction", "select", "into",
            "create", "temp", "table", "as", "execute", "explain", "analyze", "(", ")", ",", ".", "copy", "from", "stdin",
            "reindex", "concurrently", "lock", "in", "share", "mode", "prepare", "declare", "cursor", "for", "fetch", "x",
            "'s'", "1", "=", "insert", "update", "with", "set_config", "pg_advisory_lock", "on", "drop", "$1", ";",
        ]),
        0..14,
    )) {
        let _ = classify(&words.join(" "));
    }
}
