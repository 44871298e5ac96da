//! What the masks promise besides: checksums, layouts, the same value everywhere, unique where the real one is.

use std::collections::BTreeSet;

use devinprod::synth::Mask;

use crate::harness;
use crate::synth_kit::{Masks, column, mask, rows_of, unique};

#[tokio::test]
async fn cards_pass_luhn_and_ibans_mod_97() {
    let masks = Masks::new(harness::database().await).await;
    let cards = many(&masks, &mask("card", ""), "text", "'4111 1111 1111 ' || i").await;
    for card in &cards {
        let digits: String = card.split(' ').collect();
        assert_eq!((card.len(), digits.len()), (19, 16), "{card}");
        assert_eq!(luhn(&digits) % 10, 0, "{card}");
    }
    for country in ["de", "at", "be", "dk", "es", "fi", "pl", "pt", "se"] {
        let iban = mask("iban", &format!("country = '{country}'"));
        for iban in many(&masks, &iban, "text", "'GB82WEST' || i")
            .await
            .iter()
            .take(200)
        {
            assert!(iban.starts_with(&country.to_uppercase()), "{iban}");
            assert_eq!(mod_97(iban), 1, "{iban}");
        }
    }
}

/// 20,000 values written alike are 20,000 masked ones where a mask says it is unique.
#[tokio::test]
async fn unique_columns_stay_unique() {
    let masks = Masks::new(harness::database().await).await;
    for (name, sql_type, value) in [
        ("email", "text", "'user' || i || '@corp.example'"),
        (
            "email",
            "character varying(30)",
            "'user' || i || '@corp.example'",
        ),
        ("person_name", "text", "'Person ' || i"),
        ("city", "character varying(20)", "'City ' || i"),
        ("text", "character varying(12)", "'Text ' || i"),
        ("user_name", "character varying(10)", "'user' || i"),
        ("phone", "text", "'+1 202 ' || (1000000 + i)"),
        ("card", "text", "'4111111111' || (100000 + i)"),
        ("iban", "text", "'GB82WEST' || i"),
        ("url", "text", "'https://corp.example/' || i"),
        (
            "uuid",
            "uuid",
            "('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))",
        ),
        ("hash", "text", "'token' || i"),
        ("bytea", "bytea", "convert_to('bytes' || i, 'UTF8')"),
        ("number", "integer", "i"),
        ("number", "bigint", "i"),
        ("number", "smallint", "i - 10000"),
        (
            "mac",
            "macaddr",
            "('08:00:2b:' || lpad(to_hex(i / 256), 2, '0') || ':' || lpad(to_hex(i % 256), 2, '0') || ':01')",
        ),
    ] {
        let mask = mask(name, "");
        let expression = mask.expression("t.c", &unique(sql_type)).unwrap();
        let counts = rows_of(
            &masks.admin,
            &format!(
                "SELECT count(c), count(DISTINCT c), count(DISTINCT m), count(*) FILTER (WHERE c = m) FROM ( \
                 SELECT c, {expression} AS m FROM ( \
                 SELECT ({value})::{sql_type} AS c FROM generate_series(1, 20000) AS i) AS t OFFSET 0) AS masked"
            ),
        )
        .await;
        let expected = [Some("20000"), Some("20000"), Some("20000")];
        let counted: Vec<_> = counts[0].iter().map(|count| count.as_deref()).collect();
        assert_eq!(counted[..3], expected, "{name} of {sql_type}");
        // Of a million small integers a few stay where they are; of anything else none does.
        let same: u32 = counted[3].unwrap().parse().unwrap();
        assert!(
            same < 10 && (same == 0 || name == "number"),
            "{name} of {sql_type}: {same} as they were"
        );
    }
}

/// An integer of a unique column is permuted: of all 65,536 smallints none is lost, and signs stay.
#[tokio::test]
async fn all_smallints_change_places() {
    let masks = Masks::new(harness::database().await).await;
    let expression = mask("number", "")
        .expression("t.c", &unique("smallint"))
        .unwrap();
    let rows = rows_of(
        &masks.admin,
        &format!(
            "SELECT count(DISTINCT m), count(*) FILTER (WHERE (m < 0) <> (c < 0)), count(*) FILTER (WHERE m = c) < 20 \
             FROM (SELECT c, {expression} AS m FROM ( \
             SELECT i::smallint AS c FROM generate_series(-32768, 32767) AS i) AS t OFFSET 0) AS masked"
        ),
    )
    .await;
    assert_eq!(
        rows,
        [[
            Some("65536".to_owned()),
            Some("0".to_owned()),
            Some("t".to_owned())
        ]]
    );
}

#[tokio::test]
async fn the_same_value_is_the_same_everywhere() {
    let masks = Masks::new(harness::database().await).await;
    let email = mask("email", "");
    let of_text = masks
        .mask(
            &email,
            &column("text"),
            &["'Grace@navy.mil'", "' grace@NAVY.mil '", "'grace@navy.mi'"],
        )
        .await;
    let of_varchar = masks
        .mask(
            &email,
            &column("character varying(254)"),
            &["'grace@navy.mil'"],
        )
        .await;
    let of_unique = masks
        .mask(&email, &unique("text"), &["'grace@navy.mil'"])
        .await;
    assert_eq!(of_text[0], of_text[1]);
    assert_ne!(of_text[0], of_text[2]);
    assert_eq!([&of_text[0], &of_text[0]], [&of_varchar[0], &of_unique[0]]);

    // However a phone number and a card are written.
    let phones = masks
        .mask(
            &mask("phone", ""),
            &column("text"),
            &["'+1 202 555-0123'", "'+12025550123'", "'+1 (202) 555.0123'"],
        )
        .await;
    let digits = |text: &Option<String>| -> String {
        text.iter()
            .flat_map(|text| text.chars())
            .filter(char::is_ascii_digit)
            .collect()
    };
    assert_eq!(digits(&phones[0]), digits(&phones[1]));
    assert_eq!(digits(&phones[0]), digits(&phones[2]));
    // Numbers that are equal, whatever their type, as long as the scale is the same.
    let number = mask("number", "min = 0\nmax = 1000000");
    let mut numbers = BTreeSet::new();
    for (sql_type, value) in [("integer", "5"), ("bigint", "5"), ("numeric(12,0)", "5")] {
        let masked = masks.mask(&number, &column(sql_type), &[value]).await;
        numbers.insert(masked[0].clone().unwrap());
    }
    assert_eq!(numbers.len(), 1, "{numbers:?}");

    // Another key, other values.
    masks
        .admin
        .batch_execute("UPDATE devinprod.mask_key SET key = sha256('another key')")
        .await
        .unwrap();
    assert_ne!(
        masks
            .mask(&email, &column("text"), &["'grace@navy.mil'"])
            .await[0],
        of_text[0]
    );
    // Without a key there is nothing at all.
    masks
        .admin
        .batch_execute("DELETE FROM devinprod.mask_key")
        .await
        .unwrap();
    assert_eq!(
        masks
            .mask(&email, &column("text"), &["'grace@navy.mil'"])
            .await,
        [None]
    );
}

/// Settings that change how values are written change no mask: else they would be a second look at a value.
#[tokio::test]
async fn settings_change_nothing() {
    let masks = Masks::new(harness::database().await).await;
    let cases = [
        (
            "date",
            "",
            "timestamp with time zone",
            "'2024-02-29 12:34:56.789012+00'",
        ),
        (
            "date_shift",
            "subject = 's'",
            "timestamp with time zone",
            "'2024-02-29 12:34:56.789012+00'",
        ),
        (
            "date_coarse",
            "unit = 'day'",
            "timestamp with time zone",
            "'2024-02-29 12:34:56.789012+00'",
        ),
        (
            "date_coarse",
            "unit = 'year'",
            "timestamp with time zone",
            "'2024-12-31 23:34:56.789012+00'",
        ),
        ("date", "", "date", "'2024-02-29'"),
        ("number", "", "double precision", "'1.2345678901234567'"),
        ("bytea", "", "bytea", "'\\x0102'"),
        ("json", "", "jsonb", "'{\"a\": 1.5, \"b\": \"2024-02-29\"}'"),
        ("uuid", "", "uuid", "'6b1f1c7a-0c0d-4a51-9d2c-1b2f3d4e5f60'"),
    ];
    for (at, (name, parameters, sql_type, value)) in cases.iter().enumerate() {
        masks
            .view(
                &at.to_string(),
                &mask(name, parameters),
                &column(sql_type),
                &[(*value).to_owned()],
            )
            .await;
    }
    let query: Vec<_> = (0..cases.len())
        .map(|at| {
            // Compared as bytes, which no setting touches.
            let sql_type = cases[at].2;
            let send = match sql_type {
                "timestamp with time zone" => "timestamptz_send",
                "double precision" => "float8send",
                "jsonb" => "jsonb_send",
                other => &format!("{other}send")
                    .replace("datesend", "date_send")
                    .replace("uuidsend", "uuid_send"),
            };
            format!("SELECT {at}, {send}(c) FROM v_{at}")
        })
        .collect();
    let query = query.join(" UNION ALL ") + " ORDER BY 1";
    let reader = masks.connect_reader().await;
    let plain = rows_of(&reader, &query).await;
    reader
        .batch_execute(
            "SET TimeZone = 'X+05:37'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = -10; \
             SET lc_numeric = 'C'; SET lc_time = 'C'; SET timezone_abbreviations = 'India'; SET standard_conforming_strings = off; \
             SET client_encoding = 'UTF8'; SET row_security = off; SET transform_null_equals = on; SET array_nulls = off; \
             SET quote_all_identifiers = on; SET xmloption = 'document'; SET enable_memoize = off; SET jit = off",
        )
        .await
        .unwrap();
    reader
        .batch_execute("SET bytea_output = 'hex'")
        .await
        .unwrap();
    assert_eq!(rows_of(&reader, &query).await, plain);
}

#[tokio::test]
async fn dates_of_one_subject_keep_their_distance() {
    let masks = Masks::new(harness::database().await).await;
    masks
        .admin
        .batch_execute("CREATE TABLE visits (patient integer, seen date, paid timestamptz)")
        .await
        .unwrap();
    masks
        .admin
        .batch_execute(
            "INSERT INTO visits SELECT p, date '2020-01-01' + d, timestamptz '2020-01-01 10:00+00' + d * interval '1 day' \
             FROM generate_series(1, 300) AS p, generate_series(0, 20, 10) AS d; INSERT INTO visits VALUES (NULL, '2020-01-01', NULL)",
        )
        .await
        .unwrap();
    let shift = mask("date_shift", "subject = 'patient'\ndays = 30");
    let (seen, paid) = (
        shift.expression("t.seen", &column("date")).unwrap(),
        shift
            .expression("t.paid", &column("timestamp with time zone"))
            .unwrap(),
    );
    let rows = rows_of(
        &masks.admin,
        &format!(
            "WITH m AS (SELECT patient, seen, {seen} AS seen_, {paid} AS paid_ FROM visits AS t), \
             by AS (SELECT patient, count(DISTINCT seen_ - seen) AS shifts, max(seen_) - min(seen_) AS width, \
                min(seen_) - min(seen) AS shift, bool_and(paid_ = seen_::timestamptz + interval '10 hours') AS together \
                FROM m WHERE patient IS NOT NULL GROUP BY patient) \
             SELECT max(shifts), min(width), max(width), max(abs(shift)), count(DISTINCT shift) > 40, \
                count(*) FILTER (WHERE shift = 0), bool_and(together), (SELECT count(*) FROM m WHERE seen_ IS NULL) FROM by"
        ),
    )
    .await;
    let row: Vec<_> = rows[0]
        .iter()
        .map(|cell| cell.as_deref().unwrap())
        .collect();
    assert_eq!(row, ["1", "20", "20", "30", "t", "0", "t", "0"]);
}

#[tokio::test]
async fn json_is_masked_by_path_and_everywhere_else() {
    let masks = Masks::new(harness::database().await).await;
    let document = r#"'{"id": 7, "email": "grace@navy.mil", "vip": true, "note": null, "address": {"city": "New York", "zip": "10001"},
        "phones": [{"kind": "home", "number": "+1 202 555 0123"}], "grace@navy.mil": "Grace", "a.b": "Hopper"}'"#;
    let by_path = mask(
        "json",
        "paths = { 'id' = 'clear', 'vip' = 'clear', 'address' = 'null', 'address.city' = 'clear', 'phones.kind' = 'clear' }",
    );
    let masked = masks.mask(&by_path, &column("jsonb"), &[document]).await;
    let masked: serde_json::Value = serde_json::from_str(masked[0].as_deref().unwrap()).unwrap();
    assert_eq!(masked["id"], 7);
    assert_eq!(masked["vip"], true);
    assert_eq!(masked["address"]["city"], "New York");
    assert!(masked["address"]["zip"].is_null());
    assert_eq!(masked["phones"][0]["kind"], "home");
    assert!(
        masked["phones"][0]["number"]
            .as_str()
            .unwrap()
            .starts_with("+1 ")
    );
    let email = masks
        .mask(&mask("email", ""), &column("text"), &["'grace@navy.mil'"])
        .await;
    assert_eq!(
        masked["email"].as_str(),
        email[0].as_deref(),
        "as in a column of its own"
    );
    let text = masked.to_string();
    assert!(
        !text.contains("navy") && !text.contains("Grace") && !text.contains("Hopper"),
        "{text}"
    );

    // A dot in a field's name is no step of a path.
    let dotted = mask("json", "paths = { 'a.b' = 'clear' }");
    let values = ["'{\"a.b\": \"Hopper\"}'", "'{\"a\": {\"b\": \"Hopper\"}}'"];
    let masked = masks.mask(&dotted, &column("jsonb"), &values).await;
    assert!(
        !masked[0].as_deref().unwrap().contains("Hopper"),
        "{masked:?}"
    );
    assert_eq!(masked[1].as_deref(), Some(r#"{"a": {"b": "Hopper"}}"#));
    // No path, no leaf.
    let masked = masks
        .mask(&mask("json", ""), &column("json"), &[document])
        .await;
    let text = masked[0].as_deref().unwrap();
    for kept in ["true", "New York", "10001", "home", "555", "grace", ": 7,"] {
        assert!(!text.contains(kept), "{kept} in {text}");
    }
}

/// The masked values of `value`, SQL with `i` in it, for 2,000 numbers.
async fn many(masks: &Masks, mask: &Mask, sql_type: &str, value: &str) -> Vec<String> {
    let expression = mask.expression("t.c", &column(sql_type)).unwrap();
    let sql = format!(
        "SELECT ({expression})::text FROM (SELECT ({value})::{sql_type} AS c FROM generate_series(1, 2000) AS i) AS t"
    );
    let rows = rows_of(&masks.admin, &sql).await;
    rows.into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect()
}

fn luhn(digits: &str) -> u32 {
    digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0') * if place % 2 == 1 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum()
}

fn mod_97(iban: &str) -> u32 {
    let turned = format!("{}{}", &iban[4..], &iban[..4]);
    turned.chars().fold(0, |rest, letter| {
        let digit = letter.to_digit(36).unwrap();
        if digit > 9 {
            (rest * 100 + digit) % 97
        } else {
            (rest * 10 + digit) % 97
        }
    })
}
