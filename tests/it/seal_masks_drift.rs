//! A database that changes under its seal: noticed by whoever looks, as the proxy does, and closed rather than open.

use devinprod::seal::{Gravity, SealOptions};

use crate::seal_kit::run_setup;
use crate::seal_masks_kit::{holes, said, sealed};

/// What somebody does; what is then said; and how it is undone, where another setup does not put it right.
const HOLES: [(&str, &str, &str); 24] = [
    ("GRANT SELECT ON users TO PUBLIC", "PUBLIC may read", ""),
    ("GRANT SELECT (email) ON users TO PUBLIC", "of public.users: email", ""),
    ("GRANT SELECT ON users TO @readers", "may read what the policy does not open", ""),
    ("GRANT SELECT (phone, city) ON users TO @writers", "of public.users: phone", ""),
    (
        "GRANT SELECT (phone) ON users TO @reader_01",
        "privileges of its own",
        "REVOKE SELECT (phone) ON users FROM @reader_01",
    ),
    ("GRANT REFERENCES ON users TO PUBLIC", "PUBLIC may refer to", ""),
    ("GRANT TRIGGER ON users TO @writers", "holds TRIGGER", ""),
    (
        "CREATE OR REPLACE VIEW devinprod_masked.\"public.users\" AS
            SELECT id, email, full_name, phone, born, balance, city FROM users",
        "the masked views of public.users",
        "",
    ),
    ("DROP VIEW devinprod_rows.\"public.users\"", "is missing", ""),
    ("ALTER VIEW devinprod_masked.\"public.users\" OWNER TO postgres", "was not made by setup", "ALTER VIEW devinprod_masked.\"public.users\" OWNER TO @owner"),
    (
        "ALTER TABLE users DISABLE TRIGGER \"!devinprod_insert\"",
        "the seal's triggers on it",
        "",
    ),
    ("DROP TRIGGER \"!devinprod_update_2_own\" ON users", "the seal's triggers on it", ""),
    (
        "CREATE OR REPLACE VIEW open_orders AS
            SELECT o.id, o.account_id, o.total, u.email FROM orders o, users u WHERE u.id = o.id",
        "the view public.open_orders",
        "",
    ),
    (
        "CREATE VIEW devinprod_masked.other AS SELECT email FROM users",
        "was not made by setup",
        "DROP VIEW devinprod_masked.other",
    ),
    (
        "CREATE FUNCTION devinprod.extra() RETURNS int LANGUAGE sql RETURN 1",
        "functions of the schema devinprod",
        "DROP FUNCTION devinprod.extra()",
    ),
    (
        "CREATE OR REPLACE FUNCTION devinprod.excepted(exceptions text, until timestamptz) RETURNS boolean
            LANGUAGE sql STABLE RETURN true",
        "functions of the schema devinprod",
        "",
    ),
    ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", "makes later will give SELECT to PUBLIC", ""),
    ("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO @readers", "makes later will give SELECT", ""),
    ("GRANT SELECT ON devinprod.mask_key TO PUBLIC", "devinprod.mask_key", "REVOKE SELECT ON devinprod.mask_key FROM PUBLIC"),
    ("GRANT SELECT (own) ON devinprod.written TO @readers", "devinprod.written", "REVOKE SELECT (own) ON devinprod.written FROM @readers"),
    ("GRANT pg_read_all_data TO @readers", "is a member of pg_read_all_data", "REVOKE pg_read_all_data FROM @readers"),
    ("GRANT @owner TO @reader_01", "is a member of", "REVOKE @owner FROM @reader_01"),
    (
        "CREATE FUNCTION boss() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT email FROM public.users'",
        "owner's rights",
        "",
    ),
    (
        "ALTER TABLE accounts ADD secret text; GRANT SELECT ON accounts TO @readers",
        "of public.accounts: secret",
        "",
    ),
];

#[tokio::test]
async fn what_opens_a_sensitive_value_is_a_hole() {
    let sealed = sealed().await;
    let names = &sealed.options.names;
    let options = SealOptions {
        proxy_verifier: None,
        ..sealed.options.clone()
    };
    assert_eq!(holes(&sealed.keeper, names).await, Vec::<String>::new());
    for (sql, expected, undo) in HOLES {
        let fill = |sql: &str| sql.replace('@', names.prefix());
        sealed.admin.batch_execute(&fill(sql)).await.unwrap();
        let found = holes(&sealed.keeper, names).await.join("\n");
        assert!(found.contains(expected), "{sql}: {found}");
        sealed.admin.batch_execute(&fill(undo)).await.unwrap();
        run_setup(&sealed.admin, &options).await;
        assert_eq!(
            holes(&sealed.keeper, names).await,
            Vec::<String>::new(),
            "after {sql}"
        );
    }
}

#[tokio::test]
async fn what_is_merely_closed_is_noted() {
    let sealed = sealed().await;
    let names = &sealed.options.names;
    let cases = [
        (
            "ALTER TABLE users ADD secret text",
            "public.users has new columns, which are closed: secret",
        ),
        (
            "ALTER TABLE accounts ADD secret text",
            "public.accounts has new columns, which are closed: secret",
        ),
        (
            "CREATE TABLE later (id int)",
            "closed, since they came after the last setup: public.later",
        ),
        (
            "ALTER TABLE users RENAME TO people",
            "public.users is called public.people now",
        ),
        ("DROP TABLE people CASCADE", "public.users is gone"),
    ];
    for (sql, expected) in cases {
        sealed.admin.batch_execute(sql).await.unwrap();
        let notes = said(&sealed.keeper, names, Gravity::Note).await.join("\n");
        assert!(notes.contains(expected), "{sql}: {notes}");
    }
    assert_eq!(holes(&sealed.keeper, names).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_dropped_column_closes_nothing_else() {
    let sealed = sealed().await;
    let names = &sealed.options.names;
    // The views hang on it, so it goes with them, which whoever drops it has to say.
    let refused = sealed
        .admin
        .batch_execute("ALTER TABLE users DROP phone")
        .await;
    assert!(refused.is_err());
    sealed
        .admin
        .batch_execute("ALTER TABLE users DROP phone CASCADE")
        .await
        .unwrap();
    assert!(
        holes(&sealed.keeper, names)
            .await
            .join("\n")
            .contains("is missing")
    );
    let options = SealOptions {
        proxy_verifier: None,
        ..sealed.options.clone()
    };
    run_setup(&sealed.admin, &options).await;
    assert_eq!(holes(&sealed.keeper, names).await, Vec::<String>::new());
    let developer = sealed.developer().await;
    let view = "SELECT count(email) FROM devinprod_masked.\"public.users\"";
    assert_eq!(developer.ask(view).await.unwrap(), ["50"]);
}
