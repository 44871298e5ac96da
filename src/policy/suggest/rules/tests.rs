//! Cases of columns: what is suggested for them.

use super::*;
use crate::synth;

fn column(name: &str, sql_type: &str) -> Column {
    Column {
        number: 1,
        name: name.to_owned(),
        declared: sql_type.to_owned(),
        shape: synth::Column {
            sql_type: sql_type.to_owned(),
            labels: Vec::new(),
            unique: false,
        },
        not_null: true,
        generated: false,
        indexes: Vec::new(),
        refers_to: None,
        comment: None,
        distinct: None,
    }
}

#[track_caller]
fn check(table: &str, name: &str, sql_type: &str, look: Option<Look>, expected: &str) {
    let relation = Relation {
        schema: "public".to_owned(),
        name: table.to_owned(),
        rows: 1000.0,
        ..Relation::default()
    };
    let advice = advise(
        &Catalog::default(),
        &relation,
        &column(name, sql_type),
        look,
    );
    assert_eq!(
        advice.treatment, expected,
        "{table}.{name}: {}",
        advice.because
    );
}

#[test]
fn names_types_and_samples_decide() {
    for (table, name, sql_type, expected) in [
        ("users", "email", "text", "\"email\""),
        ("users", "workEmail", "text", "\"email\""),
        ("users", "email_verified", "boolean", "\"clear\""),
        (
            "users",
            "email_sent_at",
            "timestamp with time zone",
            "\"clear\"",
        ),
        ("users", "name", "text", "\"person_name\""),
        ("products", "name", "text", "\"deny\""),
        (
            "users",
            "first_name",
            "text",
            "{ as = \"person_name\", part = \"first\" }",
        ),
        ("users", "id", "bigint", "\"clear\""),
        ("users", "team_id", "uuid", "\"clear\""),
        ("users", "national_id", "bigint", "\"deny\""),
        ("users", "api_token", "text", "\"deny\""),
        ("users", "birth_date", "date", "\"date\""),
        (
            "users",
            "born_at",
            "timestamp without time zone",
            "\"date\"",
        ),
        ("users", "email", "integer", "\"deny\""),
        ("users", "gender", "text", "\"deny\""),
        (
            "users",
            "created_at",
            "timestamp with time zone",
            "\"clear\"",
        ),
        ("orders", "note", "text", "\"text\""),
        ("orders", "notebook", "text", "\"text\""),
        ("orders", "balance", "numeric(12,2)", "\"number\""),
        ("orders", "quantity", "integer", "\"clear\""),
        ("orders", "thing", "text", "\"deny\""),
    ] {
        check(table, name, sql_type, None, expected);
    }
    // What is in a column says more than its name.
    check("orders", "status", "text", Some(Look::Email), "\"email\"");
    check(
        "users",
        "secret_thing",
        "text",
        Some(Look::Email),
        "\"deny\"",
    );
    check("orders", "thing", "text", Some(Look::Telling), "\"text\"");
}

#[test]
fn few_different_values_in_many_rows_are_clear() {
    let relation = Relation {
        rows: 1000.0,
        ..Relation::default()
    };
    let mut kind = column("kind", "text");
    let advice = |column: &Column| by_type(&relation, column).treatment;
    assert_eq!(advice(&kind), "\"deny\"");
    kind.distinct = Some(5.0);
    assert_eq!(advice(&kind), "\"clear\"");
    kind.distinct = Some(400.0);
    assert_eq!(advice(&kind), "\"deny\"");
    kind.distinct = Some(-1.0);
    assert_eq!(advice(&kind), "\"deny\"");
}
