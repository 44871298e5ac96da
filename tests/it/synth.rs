//! Each mask makes what it promises, of the column's own type, whatever it is given.

use crate::harness;
use crate::synth_kit::{Masks, column, mask};

#[tokio::test]
async fn look() {
    let masks = Masks::new(harness::database().await).await;
    for (name, parameters, sql_type, value) in [
        ("null", "", "text", "'x'"),
        ("person_name", "", "text", "'Grace Hopper'"),
        (
            "person_name",
            "part='last'\nlocale='de'",
            "text",
            "'Grace Hopper'",
        ),
        ("email", "", "character varying(254)", "'Grace@navy.mil'"),
        ("email", "", "character varying(30)", "'Grace@navy.mil'"),
        ("phone", "", "text", "'+1 202 555 0123'"),
        ("phone", "", "text", "'(030) 123-4567'"),
        ("phone", "", "text", "'none'"),
        ("card", "", "text", "'4111 1111 1111 1111'"),
        ("card", "", "bigint", "'4111111111111111'"),
        ("date", "", "date", "'1906-12-09'"),
        (
            "date",
            "",
            "timestamp with time zone",
            "'1906-12-09 12:34:56+03'",
        ),
        ("number", "", "numeric(12,2)", "'1234.56'"),
        ("number", "min=10\nmax=20", "integer", "'1234'"),
        ("text", "", "text", "'Hello'"),
        ("text", "", "text", "repeat('Hello', 30)"),
        ("text", "", "character(9)", "repeat('Hello', 30)"),
    ] {
        let got = masks
            .masked(&mask(name, parameters), &column(sql_type), value)
            .await;
        println!("{name} {sql_type} {value} -> {got}");
    }
}
