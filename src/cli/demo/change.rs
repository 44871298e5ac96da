//! The tour's stops about a change of the shop: what it would have written, what it does differently, whether its migration
//! works, and whether it may go on to production. All but the first start this program, as a CI job would.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::shop::OWNER;
use super::tour::{connect, one, same};
use super::{DEVELOPER, Urls, console_url};

/// What the shop's program did so far.
const OLD: &str = "UPDATE orders SET note = 'checked' WHERE id <= 3";
/// The change, with a mistake.
const WRONG: &str = "UPDATE orders SET note = 'checked' WHERE id <= 30";
/// What must hold after it.
const CHECKS: &str = "SELECT id FROM orders WHERE note = 'checked' AND id > 3";
/// The migration that it needs.
const MIGRATION: &str =
    "ALTER TABLE customers ADD COLUMN loyalty_points integer NOT NULL DEFAULT 0;
UPDATE customers SET loyalty_points = 10 WHERE id <= 100;
CREATE INDEX orders_placed_at ON orders (placed_at);";

/// A change of the shop, twice: with a mistake, and without.
pub(super) struct Change<'a> {
    urls: &'a Urls,
    folder: PathBuf,
    /// Their commits; made up, since there is no repository here.
    wrong: String,
    right: String,
}

impl<'a> Change<'a> {
    /// Writes its files beside the configuration.
    pub(super) fn new(urls: &'a Urls) -> anyhow::Result<Self> {
        let folder = urls.config.with_file_name("tour");
        fs::create_dir_all(&folder)?;
        for (name, text) in [
            ("old.sql", OLD),
            ("wrong.sql", WRONG),
            ("checks.sql", CHECKS),
            ("migration.sql", MIGRATION),
        ] {
            fs::write(folder.join(name), text)?;
        }
        let commit = || hex::encode(rand::random::<[u8; 20]>());
        Ok(Self {
            urls,
            // Commands are started in it.
            folder: folder.canonicalize()?,
            wrong: commit(),
            right: commit(),
        })
    }

    /// What a sandbox would have written, as the console shows it.
    pub(super) async fn is_shown(&self) -> anyhow::Result<String> {
        let sandbox = "tour";
        let own = format!("{DEVELOPER}+{sandbox}:");
        let proxy = &self.urls.proxy;
        let inside = connect(&proxy.replace(&format!("{DEVELOPER}:"), &own)).await?;
        inside
            .batch_execute(
                "UPDATE customers SET city = 'Oslo' WHERE id = 7; DELETE FROM order_items WHERE order_id = 7",
            )
            .await?;
        let console = connect(&console_url(proxy)).await?;
        let shown = rows(&console, &format!("SHOW DIFF {sandbox}")).await?;
        console
            .simple_query(&format!("RESET SANDBOX {sandbox}"))
            .await?;
        let has = |table: &str, change: &str, after: &str| {
            shown.iter().any(|row| {
                let is = |name: &str| row.iter().any(|cell| cell == name);
                is(table) && is(change) && (after.is_empty() || is(after))
            })
        };
        ensure!(
            has("customers", "update", "Oslo") && has("order_items", "delete", ""),
            "the changeset is {shown:?}"
        );
        Ok(format!(
            "customer 7 moves to Oslo, the items of order 7 go: {} cells",
            shown.len()
        ))
    }

    /// The mistake is found by a comparison and an assertion, and is evidence against its commit.
    pub(super) async fn is_compared(&self) -> anyhow::Result<String> {
        let program = program()?;
        let play = [program.as_str(), "sandbox", "import"];
        let asserted = ["compare", "--assert", "checks.sql", "--format", "json"];
        let both = [
            &asserted[..],
            &["--change", &self.wrong, "--"],
            &play,
            &["old.sql", "---"],
            &play,
            &["wrong.sql"],
        ];
        let report = self.says(&both.concat(), 1).await?;
        let found = report
            .pointer("/differences/0/what")
            .and_then(Value::as_str);
        let found = found.context("the comparison found nothing")?;
        let right = [
            &asserted[..],
            &["--change", &self.right, "--"],
            &play,
            &["old.sql"],
        ];
        self.says(&right.concat(), 0).await?;
        Ok(format!("{found}; an assertion fails, too"))
    }

    /// The migration works, as its owner, on the real data, and leaves nothing.
    pub(super) async fn is_rehearsed(&self, outside: &Client) -> anyhow::Result<String> {
        // A sandbox holds the locks of what was written in it, and would be waited for.
        let console = connect(&console_url(&self.urls.proxy)).await?;
        console.simple_query("RESET SANDBOX default").await?;
        let report = self
            .says(
                &[
                    "rehearse",
                    "migration.sql",
                    "--as",
                    OWNER,
                    "--change",
                    &self.right,
                    "--format",
                    "json",
                ],
                0,
            )
            .await?;
        let changed = report.pointer("/statements/1/rows_changed");
        same(&changed.unwrap_or(&Value::Null).to_string(), "100")?;
        let left = "SELECT count(*) FROM pg_attribute WHERE attname = 'loyalty_points'";
        same(&one(outside, left).await?, "0")?;
        let locks = report.pointer("/locks").and_then(Value::as_array);
        Ok(format!(
            "as {OWNER}, 100 rows changed, {} locks told; nothing of it is left",
            locks.map_or(0, Vec::len)
        ))
    }

    /// The gate is closed for the one commit and open for the other.
    pub(super) async fn is_let_through(&self) -> anyhow::Result<String> {
        let config = self.urls.config.canonicalize()?;
        let config = config.display().to_string();
        let mut seen = Vec::new();
        for (commit, code) in [(&self.wrong, 1), (&self.right, 0)] {
            let arguments = [
                "gate", "--change", commit, "--to", "prod", "--config", &config, "--format", "json",
            ];
            let answer = self.says(&arguments, code).await?;
            let checks = answer.pointer("/checks").and_then(Value::as_array);
            let checks = checks.context("the gate did not answer")?;
            let state = |check: &Value| {
                let text = |name| check.get(name).and_then(Value::as_str).unwrap_or("nothing");
                format!("{} {}", text("kind"), text("state"))
            };
            seen.push(checks.iter().map(state).collect::<Vec<_>>().join(", "));
        }
        let seen = seen.join("; open: ");
        same(
            &seen,
            "assert failed, rehearse missing; open: assert passed, rehearse passed",
        )?;
        Ok(format!("closed: {seen}"))
    }

    /// Starts this program, which must end with `code`, and reads the JSON that it prints.
    async fn says(&self, arguments: &[&str], code: i32) -> anyhow::Result<Value> {
        let output = tokio::process::Command::new(program()?)
            .args(arguments)
            .current_dir(&self.folder)
            .env("DATABASE_URL", &self.urls.proxy)
            .env("DEVINPROD_OWNER_URL", &self.urls.direct)
            .stdin(Stdio::null())
            .output()
            .await?;
        let command = arguments.first().copied().unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code),
            "{command} ended with {}: {}",
            output.status,
            said.trim_end()
        );
        serde_json::from_slice(&output.stdout).with_context(|| format!("{command} said no JSON"))
    }
}

/// This program.
fn program() -> anyhow::Result<String> {
    let program = std::env::current_exe()?;
    let program = program.to_str().map(str::to_owned);
    program.context("this program's path is no text")
}

/// All cells, as text.
async fn rows(client: &Client, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for message in client.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned());
            rows.push(cells.collect());
        }
    }
    Ok(rows)
}
