//! The masks `null` and `constant` and the decision `deny` on columns of every kind of type, and what a policy is told
//! whose mask fits no such type.

use std::path::Path;

use devinprod::policy::{Policy, live};

use crate::harness::wire::Client;
use crate::harness::{self, Setup, proxy_with};

/// A type, a real value and a constant.
const TYPES: [(&str, &str, &str); 34] = [
    ("time", "12:34:56.789", "00:00"),
    ("time(2) with time zone", "12:34:56.78+03", "00:00+00"),
    ("interval", "3 days 04:05:06", "1 day"),
    ("interval day to second(3)", "3 days 04:05:06", "1 day"),
    ("xml", "<secret>real</secret>", "<none/>"),
    ("int4range", "[17,42)", "[1,2)"),
    ("numrange", "[17.5,42.5)", "empty"),
    (
        "daterange",
        "[1971-03-04,1971-03-09)",
        "[2000-01-01,2000-01-02)",
    ),
    ("tstzrange", "[1971-03-04 00:00+00,)", "empty"),
    ("int8multirange", "{[17,42)}", "{}"),
    ("int4range[]", "{\"[17,42)\"}", "{}"),
    ("span", "[1.75,4.25)", "empty"),
    ("point", "(17,42)", "(0,0)"),
    ("box", "(42,42),(17,17)", "(1,1),(0,0)"),
    ("polygon", "((17,17),(42,42),(17,42))", "((0,0))"),
    ("bit(8)", "10110111", "00000000"),
    ("bit varying(9)", "101101", "0"),
    ("tsvector", "'geheim' 'real'", "'none'"),
    ("tsquery", "'geheim'", "'none'"),
    ("jsonpath", "$.\"real\"", "$.\"none\""),
    ("\"char\"", "%", "x"),
    ("name", "real_name", "none"),
    ("oid", "171717", "0"),
    ("regclass", "pg_class", "pg_type"),
    ("pg_lsn", "17/42", "0/0"),
    (
        "macaddr8",
        "17:42:17:42:17:42:17:42",
        "00:00:00:00:00:00:00:00",
    ),
    ("money", "$17.42", "$0.00"),
    ("bytea", "\\x1742", "\\x00"),
    ("mood", "furious", "calm"),
    ("mood[]", "{furious}", "{calm}"),
    ("pair", "(17,real)", "(0,none)"),
    ("pair[]", "{\"(17,real)\"}", "{}"),
    ("strict", "real@x", "none@x"),
    (
        "timestamptz(0)",
        "1971-03-04 05:06:07+00",
        "2000-01-01 00:00:00+00",
    ),
];

const KINDS: &str = "
    CREATE TYPE mood AS ENUM ('calm', 'furious');
    CREATE TYPE pair AS (n integer, what text);
    CREATE TYPE span AS RANGE (subtype = float8);
    CREATE DOMAIN strict AS text NOT NULL CHECK (VALUE LIKE '%@%');
";

#[tokio::test]
async fn null_constant_and_deny_fit_every_type() {
    for database in harness::both().await {
        let mut sql = KINDS.to_owned();
        let mut policy = crate::seal_masks_kit::REST.to_owned();
        for (n, (kind, real, constant)) in TYPES.iter().enumerate() {
            let real = real.replace('\'', "''");
            sql.push_str(&format!(
                "CREATE TABLE t{n} (id integer PRIMARY KEY, a {kind}, b {kind}, c {kind});
                 INSERT INTO t{n} VALUES (1, '{real}', '{real}', '{real}');"
            ));
            let constant = toml::Value::String((*constant).to_owned());
            policy.push_str(&format!(
                "[table.public.t{n}]\nid = \"clear\"\na = \"null\"\nb = {{ as = \"constant\", value = {constant} }}\nc = \"deny\"\n"
            ));
        }
        database.connect().await.batch_execute(&sql).await.unwrap();
        let setup = Setup {
            policy: Some(policy),
            ..Setup::default()
        };
        let proxy = proxy_with(database, setup).await;
        let mut client = Client::connect(&proxy.url()).await;
        for (n, (kind, real, constant)) in TYPES.iter().enumerate() {
            let constant = constant.replace('\'', "''");
            let told = client
                .simple(&format!("SELECT a IS NULL, b::text = '{constant}'::{kind}::text, pg_typeof(b) = '{kind}'::regtype OR 'strict' = '{kind}' FROM t{n}"))
                .await;
            assert!(told.contains("DataRow \"t\" \"t\" \"t\""), "{kind}: {told}");
            let all = client.simple(&format!("SELECT * FROM t{n}")).await;
            let row = all.lines().find(|line| line.starts_with("DataRow"));
            assert!(!row.expect(&all).contains(real), "{kind}: {all}");
            let denied = client.simple(&format!("SELECT c FROM t{n}")).await;
            assert!(
                denied.contains("42501") && !denied.contains(real),
                "{kind}: {denied}"
            );
            // What the sandbox writes reads back.
            let real = real.replace('\'', "''");
            let told = client
                .simple(&format!("INSERT INTO t{n} VALUES (2, '{real}', '{real}', '{real}') RETURNING a::text = '{real}'::{kind}::text, b::text = '{real}'::{kind}::text"))
                .await;
            assert!(told.contains("DataRow \"t\" \"t\""), "{kind}: {told}");
        }
    }
}

#[tokio::test]
async fn a_mask_that_does_not_fit_says_which_do() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin
        .batch_execute(
            "CREATE TABLE spans (id integer PRIMARY KEY, part interval, born date, room int4range)",
        )
        .await
        .unwrap();
    let text = "[table.public.spans]\nid = \"clear\"\npart = \"email\"\nborn = \"phone\"\nroom = \"number\"\n";
    let policy = Policy::from_text(Path::new("policies/p.toml"), text).unwrap();
    let comparison = policy.against(&live::catalog(&admin).await.unwrap());
    let told: String = comparison.errors.iter().map(ToString::to_string).collect();
    for line in [
        "for interval there are null, constant; or deny it",
        "for date there are null, constant, date, date_coarse; or deny it",
        "for int4range there are null, constant; or deny it",
    ] {
        assert!(told.contains(line), "{line:?} is not in:\n{told}");
    }
}
