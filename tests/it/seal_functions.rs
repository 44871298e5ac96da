//! Every VOLATILE function that a developer role may call has a verdict, held in `function_verdicts.txt`.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::harness::{self, TestDatabase};
use crate::seal_kit::{Sealed, answer};

const VERDICTS: &str = include_str!("function_verdicts.txt");
const WORDS: [&str; 5] = ["harmless", "privilege", "effect", "emulated", "analysis"];

/// `schema.function` to its verdict.
fn verdicts() -> BTreeMap<&'static str, &'static str> {
    let mut verdicts = BTreeMap::new();
    for line in VERDICTS.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (verdict, function) = line.split_once(char::is_whitespace).unwrap();
        assert!(WORDS.contains(&verdict), "{line}");
        let twice = verdicts.insert(function.trim(), verdict);
        assert!(twice.is_none(), "{function} stands there twice");
    }
    verdicts
}

/// The VOLATILE functions, by name, that `role` may call from SQL.
async fn callable(client: &Client, role: &str) -> Vec<String> {
    let rows = client
        .query(
            "SELECT DISTINCT n.nspname || '.' || p.proname
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE p.provolatile = 'v' AND has_function_privilege($1::text, p.oid, 'EXECUTE')
                AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
                AND NOT 'internal'::regtype = ANY (p.proargtypes)
            ORDER BY 1",
            &[&role],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_function_has_a_verdict() {
    walk(harness::database().await).await;
}

#[tokio::test]
async fn every_function_has_a_verdict_on_postgres_18() {
    if let Some(database) = harness::postgres18().await {
        walk(database).await;
    }
}

async fn walk(database: TestDatabase) {
    let sealed = Sealed::new(database).await;
    let names = &sealed.options.names;
    let verdicts = verdicts();
    let unarmed = callable(&sealed.admin, &names.reader(1)).await;
    let armed = callable(&sealed.admin, &names.writer(1)).await;
    let unknown: Vec<&String> = unarmed
        .iter()
        .chain(&armed)
        .filter(|function| !verdicts.contains_key(function.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "no verdict in tests/it/function_verdicts.txt: {unknown:?}"
    );
    assert!(
        unarmed.len() > 100,
        "the walk saw {} functions",
        unarmed.len()
    );

    // What an effect needs beyond the right to call it must need arming.
    for writer in LARGE_OBJECT_WRITERS {
        let function = format!("pg_catalog.{writer}");
        assert!(!unarmed.contains(&function), "{writer} needs no arming");
        assert!(armed.contains(&function), "{writer} cannot be called armed");
    }
    let emit = "pg_catalog.pg_logical_emit_message".to_owned();
    assert!(!unarmed.contains(&emit) && !armed.contains(&emit));
}

const LARGE_OBJECT_WRITERS: [&str; 8] = [
    "lo_creat",
    "lo_create",
    "lo_from_bytea",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "lowrite",
];

/// Calls whose verdict is "privilege", with arguments that would work for somebody who may.
const REFUSED: [&str; 10] = [
    "pg_create_logical_replication_slot('devinprod_test', 'pgoutput')",
    "pg_create_physical_replication_slot('devinprod_test')",
    "pg_drop_replication_slot('devinprod_test')",
    "pg_logical_slot_get_changes('devinprod_test', NULL, NULL)",
    "pg_import_system_collations('pg_catalog')",
    "brin_summarize_new_values('public.accounts_pkey'::regclass)",
    "gin_clean_pending_list('public.accounts_pkey'::regclass)",
    "pg_nextoid('pg_class', 'oid', 'pg_class_oid_index')",
    "binary_upgrade_set_next_pg_authid_oid(1)",
    "setval('public.ticket_numbers', 1000)",
];

#[tokio::test]
async fn what_is_left_to_privileges_is_refused_armed_too() {
    let sealed = Sealed::new(harness::database().await).await;
    let developer = sealed.developer().await;
    let verdicts = verdicts();
    for call in REFUSED {
        let name = call.split('(').next().unwrap();
        assert_eq!(
            verdicts[format!("pg_catalog.{name}").as_str()],
            "privilege",
            "{call}"
        );
        for prefix in ["SELECT 1", "SELECT devinprod.arm()"] {
            let sql = format!("BEGIN; {prefix}; SELECT {call}");
            assert!(developer.ask(&sql).await.is_err(), "{sql}");
            developer.ask("ROLLBACK").await.unwrap();
        }
    }
    let slots = "SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'devinprod_test'";
    let left = answer(sealed.admin.simple_query(slots).await).unwrap();
    assert!(left.is_empty());
}
