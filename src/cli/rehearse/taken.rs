//! The statements of a migration tool, as they passed, as a script.

use std::collections::BTreeMap;

use crate::cli::Failure;
use crate::sql::classify::classify;
use crate::sql::lexer::{TokenKind, significant};
use crate::sql::statement::{Copy, Kind};
use crate::tap::{Execution, LONGEST_TEXT, Outcome, Parameter};
use crate::upstream::command::literal;

/// What the tool changed, in the order in which it did, one connection after the other. What only reads is left out: its
/// answers on the real data would go to nobody. So is what failed on the copy already, since the tool went on without it.
///
/// # Errors
/// A statement cannot be written down: it is too long, or a parameter has no text form.
pub(super) fn script(executions: &[Execution]) -> Result<String, Failure> {
    let mut connections: BTreeMap<u64, (bool, Vec<String>)> = BTreeMap::new();
    let mut order: Vec<u64> = Vec::new();
    for execution in executions {
        let kind = classify(&execution.text).kind;
        if is_left_out(&kind) || matches!(execution.outcome, Outcome::Failed { .. }) {
            continue;
        }
        let changes = !matches!(
            kind,
            Kind::Transaction(_) | Kind::Set { .. } | Kind::Reset(_) | Kind::ResetAll
        );
        let (has_changed, statements) = connections.entry(execution.connection).or_default();
        if changes && !*has_changed {
            *has_changed = true;
            order.push(execution.connection);
        }
        statements.push(statement(execution)?);
    }
    let mut script = String::new();
    for (_, statements) in order.iter().filter_map(|number| connections.get(number)) {
        for statement in statements {
            script.push_str(statement.trim_end().trim_end_matches(';'));
            // A comment at the end must not swallow the semicolon.
            script.push_str("\n;\n");
        }
    }
    Ok(script)
}

fn is_left_out(kind: &Kind) -> bool {
    match kind {
        Kind::Empty
        | Kind::Read
        | Kind::Show(_)
        | Kind::AdvisoryLock(_)
        | Kind::NotifyCall(_)
        | Kind::Notify { .. }
        | Kind::Listen(_)
        | Kind::Unlisten(_)
        | Kind::Discard(_)
        | Kind::Deallocate(_)
        | Kind::Declare { .. }
        | Kind::Fetch { .. }
        | Kind::Close(_) => true,
        Kind::Copy(copy) => matches!(copy, Copy::ToStdout { .. }),
        _ => false,
    }
}

/// The statement with its parameters written in.
fn statement(execution: &Execution) -> Result<String, Failure> {
    let text = &*execution.text;
    if text.len() + 1 >= LONGEST_TEXT {
        return Err(cannot("a statement of the tool is longer than 256 kB"));
    }
    let Some(parameters) = &execution.parameters else {
        return Err(cannot(
            "the parameters of a statement of the tool are too large",
        ));
    };
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for token in significant(text) {
        if token.kind != TokenKind::Parameter {
            continue;
        }
        let number: usize = token
            .text(text)
            .trim_start_matches('$')
            .parse()
            .unwrap_or(0);
        let index = number.checked_sub(1);
        let parameter = index.and_then(|index| parameters.get(index));
        let Some((parameter, index)) = parameter.zip(index) else {
            continue;
        };
        let oid = execution.types.get(index).copied().unwrap_or(0);
        out.push_str(text.get(at..token.start).unwrap_or_default());
        out.push_str(&value(parameter, oid)?);
        at = token.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Ok(out)
}

/// A parameter as SQL. Types by their OIDs
/// ([`pg_type.dat`](https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat)).
fn value(parameter: &Parameter, oid: u32) -> Result<String, Failure> {
    let Some(bytes) = &parameter.value else {
        return Ok("NULL".to_owned());
    };
    let text = || std::str::from_utf8(bytes).ok();
    if !parameter.binary {
        let text = text().ok_or_else(|| cannot("a parameter of the tool is no UTF-8"))?;
        return Ok(typed(&literal(text), oid));
    }
    let written = match (oid, bytes.as_ref()) {
        (16, [flag]) => Some((*flag != 0).to_string()),
        (21, bytes) => bytes
            .try_into()
            .ok()
            .map(|b| i16::from_be_bytes(b).to_string()),
        (23, bytes) => bytes
            .try_into()
            .ok()
            .map(|b| i32::from_be_bytes(b).to_string()),
        (20, bytes) => bytes
            .try_into()
            .ok()
            .map(|b| i64::from_be_bytes(b).to_string()),
        (2950, bytes) if bytes.len() == 16 => Some(hex::encode(bytes)),
        // Microseconds since 2000.
        (1114 | 1184, bytes) => bytes.try_into().ok().map(|b| {
            let zone = if oid == 1184 {
                "timestamptz '2000-01-01 00:00+00'"
            } else {
                "timestamp '2000-01-01'"
            };
            format!(
                "({zone} + {} * interval '1 microsecond')",
                i64::from_be_bytes(b)
            )
        }),
        (17, bytes) => Some(format!("\\x{}", hex::encode(bytes))),
        (18 | 19 | 25 | 114 | 1042 | 1043, _) => text().map(str::to_owned),
        _ => None,
    };
    match (oid, written) {
        (1114 | 1184, Some(written)) => Ok(written),
        (_, Some(written)) => Ok(typed(&literal(&written), oid)),
        (_, None) => Err(cannot(
            "a parameter of the tool has a type whose binary form is not known here",
        )),
    }
}

/// With its type, where the tool named one.
fn typed(literal: &str, oid: u32) -> String {
    let name = match oid {
        16 => "boolean",
        17 => "bytea",
        20 => "bigint",
        21 => "smallint",
        23 => "integer",
        25 => "text",
        114 => "json",
        1043 => "varchar",
        1114 => "timestamp",
        1184 => "timestamptz",
        2950 => "uuid",
        3802 => "jsonb",
        _ => return literal.to_owned(),
    };
    format!("{literal}::{name}")
}

fn cannot(what: &str) -> Failure {
    Failure::new(what, "let the tool print its SQL, and rehearse that file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ran(connection: u64, text: &str, parameters: Vec<(Parameter, u32)>) -> Execution {
        let (parameters, types) = parameters.into_iter().unzip();
        Execution {
            connection,
            at: Duration::ZERO,
            text: text.into(),
            simple: false,
            types,
            parameters: Some(parameters),
            duration: Duration::ZERO,
            outcome: Outcome::Done(String::new()),
            result: Default::default(),
        }
    }

    fn parameter(binary: bool, value: &[u8]) -> Parameter {
        Parameter {
            binary,
            value: Some(value.to_vec().into()),
        }
    }

    #[test]
    fn what_changes_is_kept_with_its_parameters() {
        let mut failed = ran(1, "CREATE TABLE t ()", vec![]);
        failed.outcome = Outcome::Failed {
            sqlstate: "42P07".to_owned(),
            message: String::new(),
        };
        let run = [
            ran(1, "SELECT version FROM schema_migrations", vec![]),
            ran(
                1,
                "SELECT pg_advisory_lock($1)",
                vec![(parameter(false, b"1"), 20)],
            ),
            ran(2, "SET search_path = public", vec![]),
            failed,
            ran(1, "BEGIN", vec![]),
            ran(1, "ALTER TABLE t ADD c text -- why", vec![]),
            ran(
                1,
                "INSERT INTO schema_migrations VALUES ($1, '$2', $2, $3);",
                vec![
                    (parameter(false, b"it's"), 0),
                    (parameter(true, &7i32.to_be_bytes()), 23),
                    (
                        Parameter {
                            binary: false,
                            value: None,
                        },
                        25,
                    ),
                ],
            ),
            ran(1, "COMMIT", vec![]),
        ];
        assert_eq!(
            script(&run).unwrap(),
            "BEGIN\n;\nALTER TABLE t ADD c text -- why\n;\n\
             INSERT INTO schema_migrations VALUES ('it''s', '$2', '7'::integer, NULL)\n;\nCOMMIT\n;\n"
        );
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let unknown = ran(
            1,
            "INSERT INTO t VALUES ($1)",
            vec![(parameter(true, b"\x01\x02"), 600)],
        );
        assert!(script(&[unknown]).is_err());
        let mut large = ran(1, "INSERT INTO t VALUES ($1)", vec![]);
        large.parameters = None;
        assert!(script(&[large]).is_err());
    }
}
