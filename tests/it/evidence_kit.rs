//! A git work tree and a proxy that signs.

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use devinprod::audit::key::SigningKey;
use serde_json::Value;

use super::compare_kit::{Desk, Said};
use super::harness::{self, Setup, TestDatabase};

/// Whoever reads this in evidence has found a value.
pub const MARKER: &str = "planted-4711";

/// Assertions that hold on the tests' schema.
pub const HOLDS: &str =
    "SELECT o.id FROM orders o LEFT JOIN accounts a ON a.id = o.account_id WHERE a.id IS NULL;";

/// A work tree with a commit, in whose folder commands are started.
pub struct Tree {
    pub desk: Desk,
    pub commit: String,
}

impl Tree {
    /// With a proxy that keeps a log.
    pub async fn new() -> Self {
        Self::on(harness::database().await).await
    }

    /// The same in front of this database.
    pub async fn on(database: TestDatabase) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = "default = { as = \"clear\", opens_unclassified = true, because = \"a test\" }\n\
            [table.public.accounts]\nemail = \"email\"\n";
        let setup = Setup {
            log: Some(folder.path().join("audit")),
            policy: Some(policy.to_owned()),
            ..Setup::default()
        };
        let proxy = harness::proxy_with(database, setup).await;
        let desk = Desk { proxy, folder };
        desk.file("checks.sql", HOLDS);
        desk.file(".gitignore", "/audit*\n");
        let commit = begin(desk.folder.path());
        Self { desk, commit }
    }

    /// A commit of everything that is there; returns its name.
    pub fn commit(&self) -> String {
        commit(self.desk.folder.path())
    }

    /// Runs `devinprod compare` with these options, on one command or on two scripts of psql.
    pub async fn compare(&self, options: &[&str], scripts: &[&str], code: i32) -> Said {
        let mut words = vec!["compare"];
        words.extend(options);
        for (separator, script) in ["--", "---"].into_iter().zip(scripts) {
            words.push(separator);
            words.extend(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", *script]);
        }
        self.run(&words, code).await
    }

    /// Runs the program.
    pub async fn run(&self, words: &[&str], code: i32) -> Said {
        let said = self.desk.run(words).await;
        assert_eq!(
            said.code,
            Some(code),
            "{words:?}\n{}\n{}",
            said.out,
            said.err
        );
        said
    }

    /// The statements in a file of evidence.
    pub fn statements(&self, file: &str) -> Vec<Value> {
        let text = self.desk.read(file);
        text.lines().map(statement).collect()
    }

    /// The proxy's public key.
    pub fn key(&self) -> String {
        let file = self.desk.path("audit.key");
        SigningKey::load(&file).unwrap().public().to_string()
    }
}

/// What an envelope says.
pub fn statement(envelope: &str) -> Value {
    let envelope: Value = serde_json::from_str(envelope).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap());
    serde_json::from_slice(&payload.unwrap()).unwrap()
}

/// Makes a work tree of this folder; returns its commit.
pub fn begin(folder: &Path) -> String {
    git(folder, &["init", "-q"]);
    commit(folder)
}

fn commit(folder: &Path) -> String {
    git(folder, &["add", "-A"]);
    let who = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
    let mut arguments = who.to_vec();
    arguments.extend(["commit", "-q", "--allow-empty", "-m", "x"]);
    git(folder, &arguments);
    git(folder, &["rev-parse", "HEAD"])
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
