use super::script::{Action, read};

fn actions(script: &str) -> Vec<Action> {
    read(script)
        .unwrap()
        .into_iter()
        .map(|step| step.action)
        .collect()
}

#[test]
fn a_script_becomes_steps_with_their_lines() {
    let script =
        "-- first\nALTER TABLE a ADD b int;\n\n  UPDATE a SET b = 7\n WHERE c = 'x;y';\n;\n";
    let steps = read(script).unwrap();
    let lines: Vec<_> = steps.iter().map(|step| step.line).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1], 4);
    assert!(!steps[1].shown.contains("x;y"), "{}", steps[1].shown);
}

#[test]
fn nothing_that_ends_a_transaction_is_sent() {
    for script in [
        "COMMIT",
        "/* */ END",
        "ROLLBACK",
        "ABORT WORK",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "COMMIT AND CHAIN",
        "BEGIN",
        "VACUUM",
        "CREATE DATABASE x",
        "ALTER SYSTEM SET a = 1",
        "COPY a TO PROGRAM 'x'",
        "CHECKPOINT",
    ] {
        for action in actions(script) {
            let is_sent = matches!(action, Action::Run { .. } | Action::Savepoint { .. });
            assert!(!is_sent, "{script}: {action:?}");
        }
    }
}

#[test]
fn concurrently_is_left_out_and_said_so() {
    let [Action::Run { sql, note: Some(_) }] = &actions("CREATE INDEX CONCURRENTLY i ON a (b)")[..]
    else {
        panic!("it is rehearsed without CONCURRENTLY")
    };
    assert!(!sql.to_lowercase().contains("concurrently"), "{sql}");
}

#[test]
fn what_is_no_sql_is_told_with_its_line() {
    for (script, line) in [
        ("SELECT 1;\n\\i other.sql\n", 2),
        ("SELECT 1;\n\nCOPY a FROM STDIN;\n1\n", 3),
        ("nonsense", 1),
    ] {
        let error = read(script).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {line}:")), "{error}");
    }
}
