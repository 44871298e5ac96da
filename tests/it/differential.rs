//! The headline suite: the same transcript of protocol messages runs directly against Postgres and through
//! the proxy, and the answers are the same, message by message. Afterwards a second connection proves that
//! nothing was committed.
//!
//! The transcripts stand in `cases/`, as data. What may differ is named in the case where it differs, with its
//! reason. The direct twin is a copy of the same template, used as a role with the rights that a developer
//! has in a sandbox. All cases of a file run in the same sandbox and the same twin, one after the other.

mod player;
mod script;

use std::fmt::Write as _;

use crate::harness::{self, Setup, TestDatabase};
use crate::masked_kit::{Closed, masked_proxy};
use player::Server;
use script::Case;

/// How much of a line a failure shows, and how many failures of one file.
const SHOWN: (usize, usize) = (240, 12);

macro_rules! differential {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            let text = include_str!(concat!("cases/", stringify!($name), ".txt"));
            check(text, harness::database().await, harness::database().await, Masks::None).await;
        })*

        /// The same, with the tables behind masks that show the value itself: nobody may notice the redirect.
        mod masked {
            use super::*;

            $(#[tokio::test]
            async fn $name() {
                let text = include_str!(concat!("cases/", stringify!($name), ".txt"));
                check(text, harness::database().await, harness::database().await, Masks::Identity).await;
            })*
        }

        /// The same over the real seal, of which an exception lets this developer see all.
        mod excepted {
            use super::*;

            $(#[tokio::test]
            async fn $name() {
                let text = include_str!(concat!("cases/", stringify!($name), ".txt"));
                check(text, harness::database().await, harness::database().await, Masks::Excepted).await;
            })*
        }

        mod postgres18 {
            use super::*;

            $(#[tokio::test]
            async fn $name() {
                let text = include_str!(concat!("cases/", stringify!($name), ".txt"));
                // `.ci/pg` installs it; harness_works says so when it is missing.
                if let (Some(one), Some(two)) = (harness::postgres18().await, harness::postgres18().await) {
                    check(text, one, two, Masks::None).await;
                }
            })*
        }
    };
}

differential!(
    blocks,
    several,
    extended,
    prepared,
    cursors,
    settings,
    constraints,
    time,
    temporary,
    copy,
    notify,
    locks,
    statements
);

/// Masks that show the value itself. The e-mail is clear: a unique violation of a masked column tells no detail, and it
/// cannot be the arbiter of ON CONFLICT.
const IDENTITY: &[Closed] = &[
    Closed::shown("accounts.name", "accounts.name"),
    Closed::shown("accounts.balance", "accounts.balance"),
    Closed::shown("accounts.settings", "accounts.settings"),
    Closed::shown("accounts.created_at", "accounts.created_at"),
    Closed::shown("orders.total", "orders.total"),
    Closed::shown("orders.status", "orders.status"),
    Closed::shown("orders.placed_at", "orders.placed_at"),
];

/// A policy that masks the same columns, and a developer who may see them.
const EXCEPTED: &str = "
    [table.public.accounts]
    id = { as = \"clear\", because = \"a key\" }
    email = { as = \"clear\", because = \"see above\" }
    name = \"person_name\"
    balance = \"null\"
    settings = \"null\"
    created_at = \"null\"
    [table.public.orders]
    id = { as = \"clear\", because = \"a key\" }
    account_id = { as = \"clear\", because = \"a key\" }
    total = \"null\"
    status = \"null\"
    placed_at = \"null\"
    [table.public.order_log]
    \"*\" = { as = \"clear\", because = \"see above\" }
    [table.public.open_orders]
    id = { as = \"clear\", because = \"a key\" }
    account_id = { as = \"clear\", because = \"a key\" }
    total = { as = \"clear\", because = \"see above\" }
    [[vouch]]
    for = \"trigger public.orders.log_order\"
    because = \"what it writes down is clear\"
    [[exception]]
    set = \"all\"
    who = [\"dev1\"]
    columns = [\"public.accounts.name\", \"public.accounts.balance\", \"public.accounts.settings\",
        \"public.accounts.created_at\", \"public.orders.total\", \"public.orders.status\", \"public.orders.placed_at\"]
    until = 2199-12-31
    because = \"they must see what Postgres says\"
";

/// Cases in which the real seal can be seen: EXPLAIN shows what a view looks up, and a failing row only the columns
/// that may be read, since even a table that is clear has no right to columns that come later.
const SHOW_THE_SEAL: [&str; 2] = ["explain", "errors of data"];

/// What stands between the corpus and the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Masks {
    None,
    Identity,
    Excepted,
}

/// Plays all cases of a file on both sides.
async fn check(text: &str, twin: TestDatabase, database: TestDatabase, masks: Masks) {
    let direct = direct_server(&twin).await;
    let setup = Setup {
        sandbox: "overlap_after = \"50ms\"",
        ..Setup::default()
    };
    let proxy = match masks {
        Masks::None => harness::proxy_with(database, setup).await,
        Masks::Identity => masked_proxy(database, IDENTITY, setup).await,
        Masks::Excepted => {
            let policy = Some(EXCEPTED.to_owned());
            harness::proxy_with(database, Setup { policy, ..setup }).await
        }
    };
    let proxied = Server {
        url: proxy.url(),
        tables: tables(&proxy.database).await,
    };
    let before = harness::dump(&proxy.database).await;
    let only = std::env::var("CASE").ok();
    let mut failures = Vec::new();
    for case in script::cases(text) {
        if only
            .as_ref()
            .is_some_and(|only| !case.name.contains(only.as_str()))
        {
            continue;
        }
        if masks == Masks::Excepted && SHOW_THE_SEAL.contains(&case.name.as_str()) {
            continue;
        }
        let expected = direct.play(&case).await;
        let got = proxied.play(&case).await;
        if let Some(failure) = difference(&case, expected, got, masks != Masks::None) {
            failures.push(failure);
        }
    }
    let count = failures.len();
    failures.truncate(SHOWN.1);
    assert!(
        failures.is_empty(),
        "{count} cases differ:\n{}",
        failures.join("\n")
    );
    assert!(
        harness::dump(&proxy.database).await == before,
        "something was committed"
    );
}

/// The twin, as a role that may do what a developer may do in a sandbox.
async fn direct_server(twin: &TestDatabase) -> Server {
    let role = format!("{}_twin", twin.name);
    let admin = twin.connect().await;
    admin
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret';
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO {role};
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
             GRANT CREATE, USAGE ON SCHEMA public TO {role};
             GRANT CREATE, TEMP ON DATABASE {} TO {role}",
            twin.name
        ))
        .await
        .unwrap();
    Server {
        url: twin.url_as(&role, "secret"),
        tables: tables(twin).await,
    }
}

async fn tables(database: &TestDatabase) -> std::collections::BTreeMap<u32, String> {
    let client = database.connect().await;
    let rows = client
        .query("SELECT oid, oid::regclass::text FROM pg_class", &[])
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Where the two transcripts differ first, once what is allowed is taken out of them.
fn difference(
    case: &Case,
    mut expected: Vec<String>,
    mut got: Vec<String>,
    masked: bool,
) -> Option<String> {
    for allowance in case.allowances.iter().filter(|a| masked || !a.masked) {
        let lines = if allowance.proxy {
            &mut got
        } else {
            &mut expected
        };
        let matches = |line: &String| match allowance.pattern.strip_suffix('*') {
            Some(start) => line.starts_with(start),
            None => *line == allowance.pattern,
        };
        match lines.iter().position(matches) {
            Some(index) => {
                lines.remove(index);
            }
            None => {
                return Some(format!(
                    "== {}\n  allowed, but it did not come: {}",
                    case.name, allowance.pattern
                ));
            }
        }
    }
    if expected == got && expected.last().is_none_or(|line| line != player::SILENCE) {
        return None;
    }
    let same = expected
        .iter()
        .zip(&got)
        .take_while(|(one, other)| one == other)
        .count();
    let asked = expected
        .iter()
        .take(same + 1)
        .rfind(|line| line.starts_with("> "))
        .cloned()
        .unwrap_or_default();
    let line = |lines: &[String]| -> String {
        lines
            .get(same)
            .map_or("(nothing more)", String::as_str)
            .chars()
            .take(SHOWN.0)
            .collect()
    };
    let mut report = format!(
        "== {}\n  {}\n",
        case.name,
        asked.chars().take(SHOWN.0).collect::<String>()
    );
    let _ = write!(
        report,
        "  postgres: {}\n  proxy:    {}",
        line(&expected),
        line(&got)
    );
    Some(report)
}
