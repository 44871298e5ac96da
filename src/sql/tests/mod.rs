//! Tables of statements and what they are.

mod commands;
mod queries;

use super::classify::classify;
use super::statement::{Kind, SetValue, Transaction};

fn kind(text: &str) -> Kind {
    classify(text).kind
}

/// The kind's name, with the one detail that matters.
fn brief(text: &str) -> String {
    match kind(text) {
        Kind::Transaction(transaction) => match transaction {
            Transaction::Begin { start, modes } => format!(
                "begin start={start} {} ro={:?} def={:?}",
                modes
                    .isolation
                    .map_or("-", super::statement::IsolationLevel::as_str),
                modes.read_only,
                modes.deferrable
            ),
            Transaction::Savepoint(name) => format!("savepoint {}", name.value),
            Transaction::Release(name) => format!("release {}", name.value),
            Transaction::RollbackTo(name) => format!("rollback to {}", name.value),
            Transaction::Malformed { at } => format!("malformed at {}", &text[at]),
            other => format!("{other:?}"),
        },
        Kind::Set { name, local, value } => {
            let value = match value {
                SetValue::Single(value) => format!("'{value}'"),
                SetValue::Default => "default".to_owned(),
                SetValue::Other => "list".to_owned(),
            };
            format!("set {}{name} {value}", if local { "local " } else { "" })
        }
        Kind::Lock {
            tables,
            mode,
            nowait,
        } => {
            let names: Vec<_> = tables.into_iter().map(|table| table.name).collect();
            format!("lock {} {mode:?} nowait={nowait}", names.join(","))
        }
        Kind::Truncate {
            tables,
            restart_identity,
            cascade,
        } => {
            let names: Vec<_> = tables
                .into_iter()
                .map(|(table, only)| format!("{}:{only}", table.name))
                .collect();
            format!(
                "truncate {} restart={restart_identity} cascade={cascade}",
                names.join(",")
            )
        }
        Kind::CreateTable {
            temporary,
            on_commit,
            name,
        } => {
            format!(
                "table {} temp={temporary} {on_commit:?}",
                name.map_or("?".to_owned(), |name| name.name)
            )
        }
        Kind::Concurrently { keyword, tag } => format!(
            "{tag} concurrently, without: {}{}",
            &text[..keyword.start],
            &text[keyword.end..]
        ),
        Kind::AdvisoryLock(call) => {
            let arguments: Vec<_> = call
                .arguments
                .iter()
                .map(|span| &text[span.clone()])
                .collect();
            format!(
                "advisory {}[{}] {}",
                call.function,
                arguments.join("|"),
                &text[call.call]
            )
        }
        Kind::NotifyCall(call) => format!(
            "notify call {}|{} {}",
            &text[call.channel], &text[call.payload], &text[call.call]
        ),
        Kind::Notify { channel, payload } => format!("notify {} {payload:?}", channel.value),
        Kind::Listen(name) => format!("listen {}", name.value),
        Kind::Unlisten(name) => format!(
            "unlisten {}",
            name.map_or("*".to_owned(), |name| name.value)
        ),
        Kind::Prepare { name, body, inner } => {
            format!("prepare {} {:?}: {}", name.value, inner.kind, &text[body])
        }
        Kind::Execute { name } => format!("execute {}", name.value),
        Kind::Deallocate(name) => format!(
            "deallocate {}",
            name.map_or("all".to_owned(), |name| name.value)
        ),
        Kind::Declare { name, hold } => format!("declare {} hold={hold}", name.value),
        Kind::Fetch { name, is_move } => {
            format!("{} {}", if is_move { "move" } else { "fetch" }, name.value)
        }
        Kind::Close(name) => format!("close {}", name.map_or("all".to_owned(), |name| name.value)),
        other => format!("{other:?}"),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(brief(text), *expected, "{text}");
    }
}
