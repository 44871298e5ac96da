//! Every mask takes whatever its column's type can hold: it never raises, keeps NULL as NULL and the type as it is, and
//! never shows what it was given.

use devinprod::synth::{Mask, Unit};

use crate::harness::{self, TestDatabase};
use crate::synth_kit::{Masks, column, mask, rows_of, unique};

/// Each mask, with parameters, and the types of columns that it must do for.
const CASES: &[(&str, &str, &[&str])] = &[
    (
        "null",
        "",
        &["text", "integer", "jsonb", "mood", "text[]", "point"],
    ),
    (
        "constant",
        "value = \"it's\"",
        &["text", "character varying(3)"],
    ),
    (
        "constant",
        "value = 7",
        &["integer", "numeric(12,2)", "text"],
    ),
    ("person_name", "", TEXTS),
    ("person_name", "part = 'first'\nlocale = 'de'", TEXTS),
    ("person_name", "part = 'last'\nlocale = 'tr'", TEXTS),
    (
        "user_name",
        "",
        &[
            "text",
            "character varying(8)",
            "character varying(13)",
            "name",
        ],
    ),
    (
        "password_hash",
        "",
        &["text", "character varying(60)", "character(32)"],
    ),
    (
        "email",
        "",
        &[
            "text",
            "character varying(254)",
            "character varying(20)",
            "text[]",
            "name",
        ],
    ),
    (
        "phone",
        "",
        &["text", "character varying(15)", "character(20)"],
    ),
    ("street", "", TEXTS),
    ("city", "", TEXTS),
    ("postcode", "", TEXTS),
    (
        "country",
        "",
        &["text", "character(2)", "character varying(3)"],
    ),
    ("company", "", TEXTS),
    ("url", "", &["text", "character varying(32)"]),
    ("ip", "", &["inet", "cidr", "text", "inet[]"]),
    ("mac", "", &["macaddr", "macaddr8", "text"]),
    ("uuid", "", &["uuid", "text", "uuid[]"]),
    (
        "card",
        "",
        &[
            "text",
            "character varying(16)",
            "character varying(19)",
            "bigint",
            "numeric",
            "numeric(16,0)",
        ],
    ),
    ("iban", "", &["text", "character varying(22)"]),
    ("iban", "country = 'pl'", &["text"]),
    ("national_id", "", TEXTS),
    ("national_id", "country = 'us'", &["text"]),
    ("national_id", "country = 'gb'", &["text"]),
    ("national_id", "country = 'es'", &["text"]),
    ("date", "", DATES),
    ("date", "days = 36500", DATES),
    ("date_shift", "subject = 's'", DATES),
    ("date_coarse", "", DATES),
    ("date_coarse", "unit = 'week'", DATES),
    (
        "date_coarse",
        "unit = 'hour'",
        &["timestamp without time zone", "timestamp with time zone"],
    ),
    ("number", "", NUMBERS),
    (
        "number",
        "min = -5\nmax = 5",
        &[
            "smallint",
            "bigint",
            "numeric",
            "numeric(12,2)",
            "real",
            "money",
            "integer[]",
        ],
    ),
    ("number_bucket", "size = 7", NUMBERS),
    ("number_bucket", "size = 9223372036854775807", NUMBERS),
    ("text", "", TEXTS),
    ("json", "", &["json", "jsonb", "jsonb[]"]),
    (
        "json",
        "keys = 'named'\npaths = { 'a' = 'email', 'b' = 'null', 'c.d' = 'number', 'e' = 'card' }",
        &["json", "jsonb"],
    ),
    ("bytea", "", &["bytea", "bytea[]"]),
    ("enum", "", &["mood", "mood[]"]),
    ("enum", "subject = 's'", &["mood", "boolean"]),
    ("partial", "", &["text", "character varying(8)"]),
    ("hash", "", &["text", "character(32)"]),
    ("hash", "digits = 64", &["text"]),
];

const TEXTS: &[&str] = &[
    "text",
    "character varying(40)",
    "character varying(5)",
    "character(1)",
    "text[]",
];
const DATES: &[&str] = &[
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "timestamp(0) without time zone",
    "date[]",
];
const NUMBERS: &[&str] = &[
    "smallint",
    "integer",
    "bigint",
    "numeric",
    "numeric(12,2)",
    "numeric(3,3)",
    "numeric(2,-3)",
    "numeric(2,4)",
    "real",
    "double precision",
    "money",
    "integer[]",
    "numeric(38,0)",
];

/// What a column of this type may hold, as SQL.
fn odd_values(sql_type: &str) -> Vec<String> {
    let texts = || {
        let quoted = [
            "",
            " ",
            "a",
            "Grace Brewster Hopper",
            "grace.hopper@navy.mil",
            "GRACE@NAVY.MIL ",
            "no at sign",
            "@",
            "a@b@c",
            "+1 202 555 0123",
            "+49 30 901820",
            "0049-30-901820",
            "(030) 90 18 20",
            "110",
            "+",
            "()",
            "1234567",
            "12345678901234",
            "123456789012345678901234567890",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111111111111111",
            "not a card",
            "GB82 WEST 1234 5698 7654 32",
            "078-05-1120",
            "QQ123456C",
            "12345678Z",
            "SW1A 1AA",
            "90210",
            "DE",
            "Deutschland",
            "https://user:secret@host.example/path?token=abc",
            "192.168.1.17",
            "fe80::1ff:fe23:4567:890a",
            "08:00:2b:01:02:03",
            "6b1f1c7a-0c0d-4a51-9d2c-1b2f3d4e5f60",
            "{\"a\": 1}",
            "2024-02-29",
            "NaN",
            "infinity",
            "$2b$12$abcdefghijklmnopqrstuuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012",
            "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA",
            "pbkdf2_sha256$600000$salt$hash",
            "d41d8cd98f00b204e9800998ecf8427e",
            "''",
            "\\",
            "\\x00",
            "%s %n",
            "\"",
            "$1",
            "Zoë Müller-Lüdenscheid",
            "山田太郎",
            "👩‍👩‍👧‍👦 family",
            "e\u{301}",
            "\u{feff}bom",
            "\u{202e}rtl",
            "tab\tand\nline",
        ];
        let mut values: Vec<String> = quoted
            .iter()
            .map(|text| format!("$odd${text}$odd$"))
            .collect();
        if sql_type == "text" {
            values.push("repeat('Zoë ', 100000)".to_owned());
            values.push("repeat('7', 100000)".to_owned());
        }
        values.push("chr(1)".to_owned());
        values.push("NULL".to_owned());
        values
    };
    let listed = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    if let Some(element) = sql_type.strip_suffix("[]") {
        let element_values = odd_values(element);
        let cast: Vec<_> = element_values
            .iter()
            .map(|value| format!("({value})::{element}"))
            .collect();
        return vec![
            "NULL".to_owned(),
            "'{}'".to_owned(),
            "ARRAY[NULL]".to_owned(),
            format!("ARRAY[{}]", cast.join(", ")),
        ];
    }
    match sql_type {
        "text" | "name" => texts(),
        text if text.starts_with("character") => texts(),
        "mood" => listed(&["'sad'", "'it''s fine'", "'happy'", "NULL"]),
        "boolean" => listed(&["true", "false", "NULL"]),
        "date" => listed(&[
            "'2024-02-29'",
            "'0001-01-01'",
            "'0001-12-31 BC'",
            "'4713-11-24 BC'",
            "'5874897-12-31'",
            "'9999-12-31'",
            "'infinity'",
            "'-infinity'",
            "'1970-01-01'",
            "'0101-01-01'",
            "'9898-12-31'",
            "NULL",
        ]),
        moment if moment.starts_with("timestamp") => listed(&[
            "'2024-02-29 12:34:56.789012'",
            "'0001-01-01'",
            "'4713-11-24 00:00:00 BC'",
            "'294276-12-31 23:59:59'",
            "'infinity'",
            "'-infinity'",
            "'1970-01-01'",
            "'0101-01-01'",
            "'9898-12-31'",
            "NULL",
        ]),
        "smallint" => listed(&["0", "1", "-1", "32767", "-32768", "42", "NULL"]),
        "integer" => listed(&[
            "0",
            "1",
            "-1",
            "2147483647",
            "-2147483648",
            "123456",
            "NULL",
        ]),
        "bigint" => listed(&[
            "0",
            "1",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "4111111111111111",
            "NULL",
        ]),
        "numeric" => listed(&[
            "0",
            "1",
            "-1",
            "0.5",
            "123456789.123456789",
            "'1e1000'",
            "'-1e131071'",
            "'1e-16000'",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "4111111111111111",
            "NULL",
        ]),
        "numeric(3,3)" => listed(&["0", "0.999", "-0.999", "'NaN'", "NULL"]),
        "numeric(2,-3)" => listed(&["0", "99000", "-99000", "'NaN'", "NULL"]),
        "numeric(2,4)" => listed(&["0", "0.0099", "-0.0099", "'NaN'", "NULL"]),
        numeric if numeric.starts_with("numeric") => listed(&[
            "0",
            "9999999999",
            "-9999999999",
            "12.34",
            "0.01",
            "'NaN'",
            "NULL",
        ]),
        "real" => listed(&[
            "0",
            "'-0'",
            "1.5",
            "-3.4e38",
            "3.4e38",
            "1e-37",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "NULL",
        ]),
        "double precision" => listed(&[
            "0",
            "'-0'",
            "1.5",
            "-1.7e308",
            "1.7e308",
            "2e-308",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "NULL",
        ]),
        "money" => listed(&[
            "0",
            "'1.50'",
            "'-92233720368547758.08'",
            "'92233720368547758.07'",
            "NULL",
        ]),
        "inet" => listed(&[
            "'192.168.1.17'",
            "'192.168.1.17/24'",
            "'0.0.0.0/0'",
            "'::'",
            "'fe80::1ff:fe23:4567:890a/64'",
            "'::ffff:1.2.3.4'",
            "NULL",
        ]),
        "cidr" => listed(&[
            "'192.168.1.0/24'",
            "'0.0.0.0/0'",
            "'::/0'",
            "'fe80::/64'",
            "NULL",
        ]),
        "macaddr" => listed(&["'08:00:2b:01:02:03'", "NULL"]),
        "macaddr8" => listed(&["'08:00:2b:01:02:03:04:05'", "NULL"]),
        "uuid" => listed(&[
            "'6b1f1c7a-0c0d-4a51-9d2c-1b2f3d4e5f60'",
            "'00000000-0000-0000-0000-000000000000'",
            "NULL",
        ]),
        "bytea" => listed(&[
            "''",
            "'\\x00ff'",
            "decode(repeat('ab', 1000000), 'hex')",
            "NULL",
        ]),
        "point" => listed(&["'(1,2)'", "NULL"]),
        "json" | "jsonb" => {
            let mut documents: Vec<String> = listed(&[
                "'null'",
                "'{}'",
                "'[]'",
                "'\"Grace Hopper\"'",
                "'7'",
                "'-0.5'",
                "'true'",
                "'1e1000'",
                "'{\"a\": \"grace.hopper@navy.mil\", \"b\": {\"x\": \"Grace Hopper\"}, \"c\": [{\"d\": 41}, {\"d\": null}], \"e\": 4111111111111111}'",
                "'{\"grace.hopper@navy.mil\": {\"1985-02-03\": true}}'",
                "'[\"https://x.example/secret\", \"2024-02-29T12:00:00Z\", \"2024-02-31\", \"+1 202 555 0123\", \"\"]'",
                "('{\"a\":' || repeat('[', 2000) || '\"Grace Hopper\"' || repeat(']', 2000) || '}')",
                "(repeat('{\"a\":', 59) || '\"Grace Hopper\"' || repeat('}', 59))",
                "('[' || repeat('\"Grace Hopper\",', 2000) || '1]')",
                "NULL",
            ]);
            if sql_type == "json" {
                documents.extend(listed(&[
                    "'{\"a\": \"Grace \\u0000 Hopper\"}'",
                    "'{\"Grace Hopper\": 1e1000000}'",
                    "'{\"a\": \"\\ud800 Grace Hopper\"}'",
                    "'{\"a\": 1, \"a\": \"Grace Hopper\"}'",
                ]));
            }
            documents
        }
        _ => panic!("no values of {sql_type}"),
    }
}

/// Texts that no answer may hold, in any form of the masks above: what the values above say of Grace Hopper.
const SECRETS: &[&str] = &[
    "Hopper",
    "hopper",
    "navy",
    "555 0123",
    "901820",
    "90 18 20",
    "4111",
    "WEST",
    "05-1120",
    "host.example",
    "secret",
    "token=abc",
    "192.168",
    "ff:fe23",
    "2b:01",
    "6b1f1c7a",
    "d41d8cd98f",
    "Müller",
    "太郎",
    "12:34:56",
    "123456789",
    "1985-02-03",
    "2024-02-29",
];

#[tokio::test]
async fn odd_values_are_masked_without_a_word_on_15() {
    odd_values_are_masked(harness::database().await).await;
}

#[tokio::test]
async fn odd_values_are_masked_without_a_word_on_18() {
    if let Some(database) = harness::postgres18().await {
        odd_values_are_masked(database).await;
    }
}

async fn odd_values_are_masked(database: TestDatabase) {
    let masks = Masks::new(database).await;
    masks
        .admin
        .batch_execute("CREATE TYPE mood AS ENUM ('sad', 'it''s fine', 'happy')")
        .await
        .unwrap();
    let reader = masks.connect_reader().await;
    let version = harness::scalar(&masks.admin, "SHOW server_version_num").await;
    let mut wrong = Vec::new();
    for (at, (name, parameters, types)) in CASES.iter().enumerate() {
        for (which, sql_type) in types.iter().enumerate() {
            // A scale below 0 or above the precision came with Postgres 15.
            if ["numeric(2,-3)", "numeric(2,4)"].contains(sql_type) && version.as_str() < "150000" {
                continue;
            }
            let mask = mask(name, parameters);
            let view = format!("{at}_{which}");
            let column = column(sql_type);
            masks
                .view(&view, &mask, &column, &odd_values(sql_type))
                .await;
            wrong.extend(judge(&masks, &reader, &view, &mask, sql_type).await);
            let keyed = unique(sql_type);
            if mask.expression("t.c", &keyed).is_ok() {
                masks
                    .view(&format!("{view}_u"), &mask, &keyed, &odd_values(sql_type))
                    .await;
                wrong.extend(judge(&masks, &reader, &format!("{view}_u"), &mask, sql_type).await);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Is this what the mask promises to keep?
fn kept(mask: &Mask, secret: &str) -> bool {
    match mask {
        // The edge of a bucket may be anything.
        Mask::NumberBucket { .. } => true,
        Mask::DateShift { .. } => secret == "12:34:56",
        Mask::DateCoarse { unit } => *unit == Unit::Hour && secret == "2024-02-29",
        _ => false,
    }
}

/// What is wrong with the view, seen by the reader.
async fn judge(
    masks: &Masks,
    reader: &tokio_postgres::Client,
    view: &str,
    mask: &Mask,
    sql_type: &str,
) -> Vec<String> {
    let named = format!("{} of {sql_type} ({view})", mask.name());
    let sql = format!("SELECT n, c::text FROM public.v_{view} ORDER BY n");
    let messages = match reader.simple_query(&sql).await {
        Ok(messages) => messages,
        Err(error) => return vec![format!("{named}: {error:?}")],
    };
    let mut wrong = Vec::new();
    for message in &messages {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            let text = row.get(1).unwrap_or_default();
            for secret in SECRETS {
                if text.contains(secret) && !kept(mask, secret) {
                    wrong.push(format!(
                        "{named}: row {} has {secret}: {text:.200}",
                        row.get(0).unwrap()
                    ));
                }
            }
        }
    }
    let types = rows_of(
        &masks.admin,
        &format!(
            "SELECT (SELECT array_agg(format_type(atttypid, atttypmod) ORDER BY attrelid) FROM pg_attribute \
             WHERE attrelid IN ('t_{view}'::regclass, 'v_{view}'::regclass) AND attname = 'c'), \
             (SELECT count(*) FROM t_{view} JOIN v_{view} USING (n) WHERE (t_{view}.c IS NULL) <> (v_{view}.c IS NULL))"
        ),
    )
    .await;
    let (typed, nulls) = (types[0][0].clone().unwrap(), types[0][1].clone().unwrap());
    let expected = format!(
        "{{{0},{0}}}",
        if sql_type.contains([' ', ',']) {
            format!("\"{sql_type}\"")
        } else {
            sql_type.to_owned()
        }
    );
    if typed != expected {
        wrong.push(format!("{named}: the types are {typed}"));
    }
    if nulls != "0" && *mask != Mask::Null {
        wrong.push(format!("{named}: {nulls} NULLs come or go"));
    }
    wrong
}
