//! A JSON schema of policy files, for editors: made from the masks there are and from what `raw` reads.

use serde_json::{Map, Value, json};

use super::check::SEEN;
use crate::synth::Mask;

/// The schema as text, as it lies in `policies/policy.schema.json`.
pub fn json_schema() -> String {
    let schema = whole();
    // Keys come out in order; what cannot be written is not a value of ours.
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn whole() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A devinprod policy",
        "description": "Which columns are sensitive, and what a developer sees in their place. What decides, the first that says anything: the column's own line, the `*` of its table, a class, the schema's default, the default. What nobody names is denied.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties(),
        "definitions": {
            "treatment": treatment(),
            "reason": {
                "type": "string",
                "minLength": 1,
                "description": "Why, for whoever reviews this in a year."
            }
        }
    })
}

fn properties() -> Value {
    let treatment = json!({ "$ref": "#/definitions/treatment" });
    json!({
        "upstream": {
            "type": "string",
            "description": "The upstream of devinprod.toml that this is for; without, any that names this file."
        },
        "default": described(&treatment, "For a column that nothing else decides about; without, it is denied."),
        "class": {
            "description": "Columns that belong together by their names.",
            "type": "object",
            "additionalProperties": object(
                &["names", "as"],
                json!({
                    "names": texts("Names in which `*` stands for anything, perhaps with the table's or the schema's and the table's before it: \"*email*\", \"staff.*name\"."),
                    "except": texts("Names that are meant by `names`, and are something else."),
                    "as": treatment
                })
            )
        },
        "schema": {
            "description": "By schema.",
            "type": "object",
            "additionalProperties": object(
                &["default"],
                json!({ "default": described(&treatment, "For a column of this schema that no line and no class decides about.") })
            )
        },
        "table": {
            "description": "By schema, table (or view) and column; the column `*` is for all that have no line of their own.",
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": treatment
                }
            }
        },
        "exception": list(
            "Some developers see some masked columns as they are, for a while.",
            &["set", "who", "columns", "until", "because"],
            json!({
                "set": {
                    "type": "string",
                    "pattern": "^[a-z][a-z0-9_]{0,17}$",
                    "description": "The name of the set; it becomes part of a role's."
                },
                "who": texts("Developers, and groups with an @ before their name."),
                "columns": texts("Each as schema.table.column."),
                "until": { "description": "The last day (until its end in UTC), or an instant with its offset." },
                "because": reason()
            })
        ),
        "vouch": list(
            "Code of the application that keeps no real value where a developer can read it.",
            &["for", "because"],
            json!({
                "for": {
                    "type": "string",
                    "description": "\"trigger public.customers.touch\", \"function app.price(integer)\"."
                },
                "because": reason()
            })
        ),
        "allow_function": list(
            "A SECURITY DEFINER function that developers may call.",
            &["name", "because"],
            json!({
                "name": { "type": "string", "description": "schema.name(types)" },
                "because": reason()
            })
        ),
        "case": list(
            "A query, who asks, and what must come back; `devinprod policy test` runs it.",
            &["name", "query", "expect"],
            case()
        ),
        "record_values": {
            "description": "Upstreams of these stages have the literals and parameters of statements in the audit.",
            "type": "object",
            "additionalProperties": false,
            "required": ["stages", "because"],
            "properties": {
                "stages": {
                    "type": "array",
                    "items": { "enum": ["local", "test", "preprod", "prod"] },
                    "description": "Of which upstreams."
                },
                "because": reason()
            }
        },
        "budget": list(
            "How much somebody may read. For the same thing counted, lines that name a developer go before those that name a group, those before `*`, and those before the stage's default; of each kind, all hold.",
            &["who"],
            budget()
        )
    })
}

fn budget() -> Value {
    let amount = |about: &str| {
        json!({
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "const": "unlimited" }],
            "description": about
        })
    };
    json!({
        "who": texts("Developers, groups with an @ before their name, or * for everybody: each by themselves."),
        "together": { "type": "boolean", "description": "All of one group, or of `*`, share it." },
        "table": { "type": "string", "description": "Only what touches this relation: schema.table." },
        "class": { "type": "string", "description": "Only what reads a column of this class." },
        "sensitive": { "const": true, "description": "Only what touches a relation with columns that are not clear." },
        "per": { "type": "string", "pattern": "^[0-9]+ *(ms|s|min|h|d)$", "description": "The window of time; windows begin at full multiples of it, in UTC." },
        "rows": amount("Rows that a client is sent, per window."),
        "bytes": {
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^([0-9]+ *(B|kB|MB|GB)|unlimited)$" }
            ],
            "description": "Bytes of those rows, per window."
        },
        "statements": amount("Statements per window."),
        "failed_guesses": amount("Unique violations and denied permissions on columns that are not clear, per window."),
        "rows_per_statement": amount("Rows of one statement."),
        "concurrent": amount("Statements at the same time."),
        "statements_per_second": amount("Statements per second; faster ones are held up."),
        "burst": { "type": "integer", "minimum": 1, "description": "How many statements may come at once; without, as many as come in a second." }
    })
}

fn case() -> Value {
    let seen: Vec<&str> = SEEN.iter().map(|(name, _)| *name).collect();
    let mut whole = seen.clone();
    whole.push("denied");
    json!({
        "name": { "type": "string", "description": "What it shows." },
        "query": { "type": "string", "description": "One statement of SQL." },
        "as": { "type": "string", "description": "The developer who asks; without, one of whom the policy has never heard." },
        "groups": texts("The groups of who asks."),
        "given": texts("SQL that the owner runs before, so that there is something to see; not run on an upstream that was named by its URL."),
        "expect": {
            "description": "What must come back: of every column, or by column.",
            "anyOf": [
                { "enum": whole },
                { "type": "object", "additionalProperties": { "enum": seen } }
            ]
        }
    })
}

/// `"clear"`, `"deny"`, a mask's name, or a table with what more there is to say.
fn treatment() -> Value {
    let mut words = vec![
        json!({ "const": "clear", "description": "The real value." }),
        json!({ "const": "deny", "description": "Nothing: the column cannot be named in a query." }),
    ];
    let mut tables = vec![object(
        &["as"],
        json!({
            "as": { "enum": ["clear", "deny"] },
            "because": reason(),
            "opens_unclassified": {
                "type": "boolean",
                "description": "For a default that is `clear`: yes, also what is added tomorrow."
            }
        }),
    )];
    for mask in Mask::all() {
        let about = format!("{}; for {}", mask.about, mask.types);
        words.push(json!({ "const": mask.name, "description": about }));
        let mut properties = Map::new();
        properties.insert(
            "as".to_owned(),
            json!({ "const": mask.name, "description": about }),
        );
        properties.insert("because".to_owned(), reason());
        for (name, kind, meaning) in mask.parameters {
            let value = match *kind {
                "integer" | "string" | "boolean" | "array" | "number" | "object" => {
                    json!({ "type": kind, "description": meaning })
                }
                "table" => json!({
                    "type": "object",
                    "additionalProperties": { "type": "string" },
                    "description": meaning
                }),
                _ => json!({ "description": meaning }),
            };
            properties.insert((*name).to_owned(), value);
        }
        tables.push(object(&["as"], Value::Object(properties)));
    }
    words.extend(tables);
    json!({ "anyOf": words })
}

fn described(value: &Value, description: &str) -> Value {
    json!({ "allOf": [value], "description": description })
}

fn reason() -> Value {
    json!({ "$ref": "#/definitions/reason" })
}

fn texts(description: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties
    })
}

fn list(description: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "type": "array",
        "description": description,
        "items": object(required, properties)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;

    use super::super::raw::{
        RawBudget, RawCase, RawClass, RawException, RawFunction, RawPolicy, RawSchema, RawVouch,
    };
    use super::*;

    #[test]
    fn the_file_for_editors_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/policy.schema.json");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == json_schema(),
            "run: cargo run -- policy schema > policies/policy.schema.json"
        );
    }

    /// The fields of a raw struct, as serde lists them when it meets one that it does not know.
    fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
        let error = match T::deserialize(toml::Deserializer::parse("'?' = 0").unwrap()) {
            Ok(_) => panic!("an unknown field was accepted"),
            Err(error) => error,
        };
        let (_, expected) = error.message().split_once("expected").unwrap();
        let names = expected.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    }

    #[track_caller]
    fn check<T: DeserializeOwned>(schema: &Value, place: &str) {
        let there: BTreeSet<String> = schema
            .pointer(&format!("{place}/properties"))
            .and_then(Value::as_object)
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(there, fields::<T>(), "{place}");
    }

    #[test]
    fn it_has_every_word_that_a_file_may_have() {
        let schema = whole();
        check::<RawPolicy>(&schema, "");
        check::<RawClass>(&schema, "/properties/class/additionalProperties");
        check::<RawSchema>(&schema, "/properties/schema/additionalProperties");
        check::<RawException>(&schema, "/properties/exception/items");
        check::<RawVouch>(&schema, "/properties/vouch/items");
        check::<RawFunction>(&schema, "/properties/allow_function/items");
        check::<RawCase>(&schema, "/properties/case/items");
        check::<RawBudget>(&schema, "/properties/budget/items");
    }
}
