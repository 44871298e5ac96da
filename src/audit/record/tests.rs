use super::*;
use crate::audit::EndReason;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::key::SigningKey;
use crate::audit::statement::StatementShape;
use serde_json::Value;
use std::sync::Arc;

fn at(microseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(microseconds)
}

fn statement(verdict: Verdict) -> EventKind {
    EventKind::Statement(Box::new(StatementRecord {
        application: "psql".to_owned(),
        shape: Arc::new(StatementShape {
            text: "SELECT email FROM customers WHERE id = ?".to_owned(),
            fingerprint: "0123456789abcdef".to_owned(),
            does: Does::Read,
            relations: vec!["public.customers".to_owned()],
            sensitive: vec!["public.customers.email".to_owned()],
            opaque: false,
        }),
        rows: 3,
        bytes: 120,
        rows_written: 0,
        duration: Duration::from_micros(1_234),
        verdict,
        policy: Some("v7".into()),
        values: None,
    }))
}

/// One of each kind.
fn kinds() -> Vec<EventKind> {
    let text = || "text".to_owned();
    let state = || "53400".to_owned();
    vec![
        EventKind::Started,
        EventKind::Stopped,
        EventKind::Reloaded,
        EventKind::ReloadFailed { reason: text() },
        statement(Verdict::Done),
        statement(Verdict::Failed { sqlstate: state() }),
        statement(Verdict::Refused { sqlstate: state() }),
        statement(Verdict::Cut { sqlstate: state() }),
        EventKind::ClientConnected,
        EventKind::ClientDisconnected,
        EventKind::AuthenticationFailed,
        EventKind::SandboxBegun,
        EventKind::SandboxEnded {
            reason: EndReason::IdleTimeout,
        },
        EventKind::SandboxTainted,
        EventKind::SandboxSaved { point: text() },
        EventKind::SandboxBack { point: text() },
        EventKind::SandboxKept { seconds: 7 },
        EventKind::Joined,
        EventKind::Refused {
            sqlstate: state(),
            message: text(),
        },
        EventKind::SealOpen { what: text() },
        EventKind::SealWhole,
        EventKind::TransactionLost { status: text() },
        EventKind::PolicyChanged { version: None },
        EventKind::BudgetNear { limit: text() },
        EventKind::BudgetExceeded { limit: text() },
        EventKind::LedgerLost { what: text() },
        EventKind::LedgerBack,
        EventKind::Administered {
            command: text(),
            detail: text(),
            account: text(),
        },
        EventKind::Evidence {
            kind: "assert",
            commit: text(),
            passed: true,
            envelope: Envelope {
                payload_type: text(),
                payload: text(),
                signatures: vec![crate::audit::envelope::Signed {
                    keyid: text(),
                    sig: text(),
                }],
            },
        },
        EventKind::Gate {
            commit: text(),
            to: text(),
            passed: false,
            why: text(),
            account: text(),
        },
        EventKind::LogBegun {
            log: text(),
            key: text(),
        },
        EventKind::LogOpened,
        EventKind::TailSetAside {
            file: text(),
            bytes: 7,
            sha256: Hash::NONE.to_string(),
        },
        EventKind::SegmentsRemoved {
            through: 7,
            hash: Hash::NONE.to_string(),
            files: vec![text()],
        },
        EventKind::EventsLost { count: 7 },
        EventKind::SecondPlaceLost { reason: text() },
        EventKind::SecondPlaceBack,
        EventKind::SqlLost {
            reason: "no connection".to_owned(),
        },
        EventKind::SqlBack,
        EventKind::NotifyLost {
            name: text(),
            reason: text(),
        },
        EventKind::NotifyBack { name: text() },
    ]
}

#[test]
fn a_statement_is_this_line() {
    let event = Event {
        time: at(1_700_000_000_000_001),
        ..Event::now(statement(Verdict::Done))
    }
    .developer("dev1")
    .upstream("shop")
    .stage("preprod")
    .sandbox("default")
    .client(([127, 0, 0, 1], 4711).into());
    let head = Head {
        next: 7,
        ..Head::START
    };
    let (line, logged) = event_line(&event, &head, at(1_700_000_000_009_000)).unwrap();
    assert_eq!(logged, 1_700_000_000_009);
    let zeros = "0".repeat(64);
    assert_eq!(
        String::from_utf8(line).unwrap(),
        [
            r#"{"metadata":{"version":"1.3.0","profiles":["datetime"],"#,
            r#""product":{"name":"devinprod","vendor_name":"devinprod"},"#,
            r#""log_name":"devinprod audit","log_version":"1","sequence":7,"logged_time":1700000000009},"#,
            r#""time":1700000000000,"time_dt":"2023-11-14T22:13:20.000001Z","#,
            r#""class_uid":6005,"class_name":"Datastore Activity","category_uid":6,"category_name":"Application Activity","#,
            r#""activity_id":4,"activity_name":"Query","type_uid":600504,"#,
            r#""severity_id":1,"severity":"Informational","status_id":1,"status":"Success","duration":1,"#,
            r#""actor":{"user":{"name":"dev1"},"app_name":"psql"},"src_endpoint":{"ip":"127.0.0.1","port":4711},"#,
            r#""dst_endpoint":{"name":"devinprod"},"database":{"name":"shop"},"table":{"name":"public.customers"},"#,
            r#""query_info":{"query_string":"SELECT email FROM customers WHERE id = ?","uid":"0123456789abcdef","bytes":120},"#,
            r#""unmapped":{"previous":""#,
            &zeros,
            r#"","sandbox":"default","stage":"preprod","event":"statement","does":"read","verdict":"done","#,
            r#""relations":["public.customers"],"sensitive":["public.customers.email"],"opaque":false,"#,
            r#""rows":3,"rows_written":0,"duration_us":1234,"policy":"v7"}}"#,
        ]
        .concat()
    );
}

#[test]
fn every_kind_of_line_fits_the_schema_and_is_read_again() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let mut check = |line: &[u8]| {
        let value: Value = serde_json::from_slice(line).unwrap();
        let mut wrong = Vec::new();
        hold(&value, &schema, "", &mut wrong);
        assert!(wrong.is_empty(), "{wrong:?} in {value}");
        seen.insert(value["unmapped"]["event"].as_str().unwrap().to_owned());
        Record::parse(line).unwrap()
    };
    for kind in kinds() {
        let (line, _) = event_line(&Event::now(kind), &Head::START, at(7)).unwrap();
        assert_eq!(check(&line).metadata.sequence, 1);
    }
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::create(&folder.path().join("key")).unwrap();
    let signed = Checkpoint {
        log: "log".to_owned(),
        key: key.public().to_string(),
        first: 1,
        last: 9,
        hash: Hash::of(b"9"),
        previous: Hash::NONE,
        time: 7,
        closes: false,
    }
    .sign(&key);
    let record = check(&checkpoint_line(&signed).unwrap());
    assert_eq!(record.unmapped.signed, Some(signed));
    assert_eq!(record.metadata.sequence, 10);
    let known = schema["properties"]["unmapped"]["properties"]["event"]["enum"].as_array();
    let known: std::collections::BTreeSet<String> = known
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(seen, known, "the schema knows other events than there are");
}

#[test]
fn a_line_has_a_longest_length() {
    let long = "é".repeat(1 << 20);
    let mut kinds = vec![
        EventKind::Refused {
            sqlstate: "42501".to_owned(),
            message: long.clone(),
        },
        statement(Verdict::Done),
    ];
    if let Some(EventKind::Statement(record)) = kinds.last_mut() {
        record.application.clone_from(&long);
        let shape = Arc::make_mut(&mut record.shape);
        shape.relations = vec![long.clone(); 3];
        shape.sensitive = vec!["public.customers.email".to_owned(); 100_000];
    }
    for kind in kinds {
        let event = Event::now(kind).developer("dev1");
        let (line, _) = event_line(&event, &Head::START, at(7)).unwrap();
        assert!(line.len() < LONGEST, "{}", line.len());
        let value: Value = serde_json::from_slice(&line).unwrap();
        let mut wrong = Vec::new();
        hold(
            &value,
            &serde_json::from_str(SCHEMA).unwrap(),
            "",
            &mut wrong,
        );
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(Record::parse(&line).unwrap().actor.user.name, "dev1");
        assert_eq!(value["unmapped"]["shortened"], true);
    }
}

#[test]
fn a_clock_that_goes_backwards_is_said() {
    let head = Head {
        logged: 1_000,
        ..Head::START
    };
    let (line, logged) = event_line(&Event::now(EventKind::Started), &head, at(400_000)).unwrap();
    let line: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(logged, 1_000);
    assert_eq!(line["metadata"]["logged_time"], 1_000);
    assert_eq!(line["unmapped"]["clock_behind"], 600);
}

/// As much of JSON schema as `schema.json` uses.
fn hold(value: &Value, schema: &Value, place: &str, wrong: &mut Vec<String>) {
    for (word, rule) in schema.as_object().unwrap() {
        let fits = match word.as_str() {
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                };
                rule.as_array()
                    .map_or_else(|| is(rule), |any| any.iter().any(is))
            }
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_u64() >= rule.as_u64(),
            "pattern" => {
                assert_eq!(rule, "^[0-9a-f]{64}$");
                let text = value.as_str().unwrap();
                text.len() == 64
                    && text
                        .bytes()
                        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            }
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "items" => {
                for item in value.as_array().unwrap() {
                    hold(item, rule, place, wrong);
                }
                true
            }
            "properties" => {
                for (name, inner) in value.as_object().unwrap() {
                    match rule.get(name) {
                        Some(rule) => hold(inner, rule, &format!("{place}/{name}"), wrong),
                        None => wrong.push(format!("{place}/{name} is not known")),
                    }
                }
                true
            }
            "additionalProperties" | "description" | "title" | "$schema" => true,
            other => panic!("the test does not know the word {other}"),
        };
        if !fits {
            wrong.push(format!("{place}: {word} {rule}, found {value}"));
        }
    }
}
