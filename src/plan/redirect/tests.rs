//! What is spliced where, what stays as it is, and that no text makes the redirect stumble. Whether the new text means the
//! same is for `tests/it/redirect_sql.rs`, on a real Postgres.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Redirect, TOKEN, redirect};
use crate::catalog::{
    Filled, IndexKey, Masked, MaskedColumn, MaskedRelation, MaskedRelations, UniqueIndex,
};
use crate::sql::classify::classify;
use crate::sql::edit::Edits;
use crate::sql::lexer;

const FILES: [&str; 3] = [
    include_str!("../../../tests/it/redirect_sql/reads.sql"),
    include_str!("../../../tests/it/redirect_sql/writes.sql"),
    include_str!("../../../tests/it/redirect_sql/utility.sql"),
];

/// `name key: column, masked!, denied-`.
fn relation(oid: u32, name: &str, key: &str, columns: &[&str]) -> MaskedRelation {
    let mut relation = MaskedRelation {
        schema: "public".to_owned(),
        name: name.to_owned(),
        oid,
        view: Some(format!("m.{name}")),
        view_oid: oid + 1,
        rows: Some(format!("r.{name}")),
        rows_oid: oid + 2,
        key: key.split_whitespace().map(str::to_owned).collect(),
        plain: true,
        ..MaskedRelation::default()
    };
    for (column, number) in columns.iter().zip(1..) {
        let name = column.trim_end_matches(['!', '-', '?']);
        relation.columns.push(MaskedColumn {
            name: name.to_owned(),
            number,
            view_number: (!column.ends_with('-')).then_some(number),
            clear: name == *column,
            treatment: "as the test says".to_owned(),
            because: format!("policy.toml:{number}"),
            ungroupable: column.ends_with('?'),
            declared: "text".to_owned(),
            filled: Filled::Null,
            ..MaskedColumn::default()
        });
    }
    relation
}

fn masked() -> Masked {
    let unique = |column: &str| UniqueIndex {
        name: format!("by_{column}"),
        constraint: true,
        keys: vec![IndexKey::Column(column.to_owned())],
        ..UniqueIndex::default()
    };
    let mut vault = relation(700, "vault", "id", &["id-", "pin-"]);
    (vault.view, vault.rows) = (None, None);
    let mut relations = vec![
        relation(
            100,
            "users",
            "id",
            &["id", "email!", "full_name!", "phone!", "city"],
        ),
        relation(
            200,
            "profiles",
            "user_id",
            &["user_id", "data?", "secret-", "level"],
        ),
        relation(300, "events", "id day", &["id", "day", "body!", "kind"]),
        relation(400, "visits", "", &["line!", "at"]),
        relation(500, "codes", "code", &["code!", "uses"]),
        relation(600, "people", "", &["id", "name!", "town"]),
        vault,
    ];
    if let Some(at) = relations[3].columns.get_mut(1) {
        at.filled = Filled::Unknown;
    }
    for relation in &mut relations {
        for column in ["id", "email", "code"] {
            if relation.column(column).is_some() {
                relation.unique.push(unique(column));
            }
        }
    }
    let namesakes = [("app".to_owned(), "users".to_owned())];
    Masked::new(
        Arc::new(MaskedRelations::new(relations, namesakes)),
        &["public".to_owned()],
    )
}

fn redirected(text: &str) -> (String, Redirect) {
    let redirect = redirect(text, &classify(text), &masked());
    let mut edits = Edits::new();
    let added = edits.extend(redirect.edits.iter().cloned());
    assert_eq!(added, Ok(()), "{text}: {:?}", redirect.edits);
    (edits.apply(text).unwrap().text, redirect)
}

#[test]
fn views_stand_in_the_tables_places() {
    let cases: &[(&str, &str)] = &[
        (
            "select email from users",
            "select email from m.users AS \"users\"",
        ),
        (
            "select u.email from public.users u",
            "select u.email from m.users u",
        ),
        (
            "select public.users.email, users.* from public.users",
            "select users.email, users.* from m.users AS \"users\"",
        ),
        ("table users", "table m.users"),
        (
            "select ctid, email from users",
            "select ctid, email from (SELECT \"id\", \"email\", \"full_name\", \"phone\", \"city\", \
          devinprod_ctid AS ctid, devinprod_tableoid AS tableoid, devinprod_xmin AS xmin, devinprod_xmax AS xmax FROM r.users AS devinprod_r) AS \"users\"",
        ),
        (
            "select 1 from only users",
            "select 1 from (SELECT \"id\", \"email\", \"full_name\", \"phone\", \"city\" FROM r.users AS devinprod_r \
          WHERE devinprod_tableoid = '100'::pg_catalog.oid) AS \"users\"",
        ),
        // What the parser of others misreads.
        (
            "SELECT email AND FROM users",
            "SELECT email AND FROM m.users AS \"users\"",
        ),
        (
            "SELECT interval FROM users",
            "SELECT interval FROM m.users AS \"users\"",
        ),
        (
            "SELECT 1 UNION ALL TABLE users",
            "SELECT 1 UNION ALL TABLE m.users",
        ),
        (
            "SELECT U&\"em\\0061il\" FROM U&\"us!0065rs\" UESCAPE '!'",
            "SELECT U&\"em\\0061il\" FROM m.users AS \"users\"",
        ),
        (
            "copy users (email) to stdout csv",
            "copy (SELECT email FROM (SELECT \"id\", \"email\", \"full_name\", \"phone\", \"city\" FROM r.users \
          AS devinprod_r WHERE devinprod_tableoid = '100'::pg_catalog.oid) AS \"users\") to stdout csv",
        ),
        (
            "select u.id, u.email from users u group by u.id",
            "select u.id, u.email from m.users u group by u.id, \"u\".\"email\"",
        ),
        // The key is not all there, or nothing needs it.
        (
            "select id, max(body) from events group by id",
            "select id, max(body) from m.events AS \"events\" group by id",
        ),
        (
            "update users set city = 'x' where email = 'y'",
            "update users set city = 'x' where (\"users\".\"id\") IN (SELECT \"users\".\"id\" \
          FROM m.users AS \"users\" WHERE email = 'y')",
        ),
        (
            "delete from visits where line = 'y'",
            "delete from visits where (\"visits\".tableoid, \"visits\".ctid) IN (SELECT \"visits\".tableoid, \
          \"visits\".ctid FROM (SELECT \"line\", \"at\", devinprod_ctid AS ctid, devinprod_tableoid AS tableoid, devinprod_xmin AS xmin, devinprod_xmax AS xmax \
          FROM r.visits AS devinprod_r) AS \"visits\" WHERE line = 'y')",
        ),
        (
            "update users set city = 'x' from o where o.e = users.email",
            "update users set city = 'x' from o, (SELECT devinprod_v.\"id\" AS \
          devinprod_k1, devinprod_v.\"email\" AS devinprod_c2 FROM m.users AS devinprod_v) AS devinprod_m where \"users\".\"id\" = \
          devinprod_m.devinprod_k1 AND (o.e = devinprod_m.devinprod_c2)",
        ),
        (
            "do 'begin perform 1 from users; end'",
            "do 'begin perform 1 from m.users AS \"users\"; end'",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(redirected(text).0, *expected);
    }
}

#[test]
fn returning_becomes_a_second_statement() {
    let (text, redirect) =
        redirected("update public.users set city = 'x' returning *, public.users.phone p");
    assert_eq!(
        text,
        format!(
            "update public.users set city = 'x' returning devinprod.remember('{TOKEN}', \"users\".tableoid, \"users\".ctid)"
        )
    );
    let query = redirect.returning.unwrap().query;
    assert!(
        query.starts_with("SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"full_name\", \"users\".\"phone\", \"users\".\"city\", users.phone p FROM "),
        "{query}"
    );
    for text in [
        "insert into users (id) values (1) returning id",
        "update users set email = 'x' where id = 1 returning city",
        "delete from users where id = 1 returning id",
        "explain analyze update users set city = 'x' returning email",
    ] {
        assert_eq!(redirected(text).1.returning, None, "{text}");
    }
}

#[test]
fn what_is_not_masked_or_not_understood_stays() {
    for text in [
        "select 1",
        "select * from orders, app.users",
        "with users as (select 1) select * from users",
        "select 'from users'",
        "insert into users (id, email) values (1, 'x')",
        "update users set email = 'x' where id = 1 and city = 'y'",
        "delete from users where id in (select user_id from orders)",
        "update users set city = 'x' where current of c",
        "select email from users where (",
        "select email from users frobnicate the list",
        "select email from users; select email from users",
        "copy binary users to stdout",
        "copy users from stdin",
        "truncate users",
        "alter table users add column x int",
        "create function f() returns int language c as 'users', 'f'",
        "do $$ begin execute 'select email from users'; end $$",
        "comment on table users is 'select 1 from users'",
    ] {
        assert_eq!(redirected(text).0, text);
    }
}

#[test]
fn a_statement_that_cannot_work_says_why() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "select secret from profiles",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        (
            "select p.secret from profiles p",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        (
            "update profiles set level = 1 where secret = 'x'",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        ("select * from vault", "public.vault", "policy.toml:1"),
        (
            "select * from profiles natural join users",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        (
            "select a from profiles as p (a, b, c, d)",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        (
            "insert into profiles select * from profiles",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        (
            "insert into profiles select p.* from profiles p",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        (
            "select 1, 2, 3 union (select * from profiles)",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        (
            "insert into profiles table profiles",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        (
            "copy profiles (user_id, secret) to stdout",
            "public.profiles.secret",
            "policy.toml:3",
        ),
        (
            "with x as (insert into users (id) values (1) on conflict (id) do update set city = 'x' returning email) select * from x",
            "public.users.email",
            "inside of the database",
        ),
        (
            "update users set id = 2 where id = $1 returning email || $2",
            "public.users.email",
            "needs a key",
        ),
        (
            "update users u set email = random()::text from orders o where o.id = u.id returning u.email, o.total",
            "public.users.email",
            "not the same",
        ),
        (
            "insert into users (id, email) values (1, 'x') on conflict (lower(email)) do nothing",
            "public.users.email",
            "policy.toml:2",
        ),
        (
            "create table t (like visits including all)",
            "public.visits.at",
            "its default",
        ),
        (
            "create table t (id int, email text references public.users (email))",
            "public.users.email",
            "policy.toml:2",
        ),
    ];
    for (text, what, because) in cases {
        let blocked = redirected(text)
            .1
            .blocked
            .unwrap_or_else(|| panic!("{text}"));
        assert_eq!(blocked.what, *what, "{text}");
        assert!(
            blocked.because.contains(because),
            "{text}: {}",
            blocked.because
        );
    }
}

#[test]
fn a_statement_that_works_is_not_blocked() {
    for text in [
        "select * from profiles",
        "select level from profiles p where exists (select secret from other)",
        "select * from (select * from profiles) p",
        "insert into other (a, b) select user_id, level from profiles",
        "update profiles set level = 1 where user_id = 3",
        "select secret.level from profiles secret",
        "create table t (id int references users (id), like orders)",
    ] {
        assert_eq!(redirected(text).1.blocked, None, "{text}");
    }
}

#[test]
fn the_views_that_are_used_are_told() {
    let cases: &[(&str, &[(u32, u32)])] = &[
        ("select email from users", &[(101, 100)]),
        (
            "select email from only users, events",
            &[(102, 100), (301, 300)],
        ),
        ("update users set city = 'x' returning email", &[(102, 100)]),
        ("select * from orders", &[]),
    ];
    for (text, views) in cases {
        assert_eq!(redirected(text).1.views, *views, "{text}");
    }
}

#[test]
fn deep_nesting_ends_in_nothing_but_a_refusal() {
    let on_a_small_stack = |text: String| {
        let thread = std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || redirected(&text).0 == text);
        thread.unwrap().join().unwrap()
    };
    let nest = |open: &str, close: &str, depth: usize| {
        format!(
            "select email from users where {}1{}",
            open.repeat(depth),
            close.repeat(depth)
        )
    };
    for (open, close) in [
        ("(", ")"),
        ("(select ", ")"),
        ("f(", ")"),
        ("a[", "]"),
        ("case when (", ") then 1 end"),
        ("((select 1) + ", ")"),
    ] {
        assert!(!on_a_small_stack(nest(open, close, 30)), "{open}");
        for depth in (31..260).step_by(3) {
            on_a_small_stack(nest(open, close, depth));
        }
        assert!(on_a_small_stack(nest(open, close, 100_000)), "{open}");
    }
    assert!(on_a_small_stack(format!(
        "select 1 from {}users{}",
        "(".repeat(50_000),
        ")".repeat(50_000)
    )));
    assert!(on_a_small_stack(format!(
        "select 1 from users {}",
        "join (users ".repeat(50_000)
    )));
}

/// All statements of the cases, cut into tokens.
fn pieces() -> Vec<String> {
    let mut pieces = Vec::new();
    for text in FILES {
        for token in lexer::significant(text) {
            let piece = token.text(text).to_owned();
            if !pieces.contains(&piece) && piece.len() < 40 {
                pieces.push(piece);
            }
        }
    }
    pieces
}

fn statements() -> Vec<&'static str> {
    FILES
        .iter()
        .flat_map(|text| text.split("--- ").skip(1))
        .filter_map(|case| case.split_once('\n'))
        .flat_map(|(_, text)| text.split(";\n"))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn statements_with_tokens_lost_doubled_and_exchanged_do_no_harm(
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8), 0..6),
    ) {
        thread_local! {
            static PIECES: Vec<String> = pieces();
            static STATEMENTS: Vec<&'static str> = statements();
        }
        let text = STATEMENTS.with(|all| *at.get(all));
        let mut tokens: Vec<String> = lexer::lex(text).iter().map(|token| token.text(text).to_owned()).collect();
        for (place, piece, change) in changes {
            if tokens.is_empty() {
                break;
            }
            let place = place.index(tokens.len());
            let piece = PIECES.with(|all| piece.get(all).clone());
            match change {
                0 => drop(tokens.remove(place)),
                1 => tokens.insert(place, tokens[place].clone()),
                2 => tokens[place] = piece,
                _ => tokens.insert(place, format!(" {piece} ")),
            }
        }
        // Edits must fit together, whatever the text.
        redirected(&tokens.concat());
    }
}
