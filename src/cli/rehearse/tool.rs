//! What a migration tool would run. It is run against a copy of the schema, in a Postgres of its own without any row but
//! those that say which migrations have run, and what it does there is taken down.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rand::distr::{Alphanumeric, SampleString};
use tokio::process::Command;

use super::taken;
use crate::cli::child::{self, Ended};
use crate::cli::target::Way;
use crate::cli::{Failure, print};
use crate::cluster::{self, Cluster, Options};
use crate::tap::{Execution, Seen, Sink, Tap};
use crate::upstream::address::{Address, Host, SslRoot};

/// Where common tools keep account of what has run: Rails, Django, Alembic, Prisma, Knex, Flyway, Liquibase, Drizzle, Entity
/// Framework, TypeORM and Laravel, Sequelize, goose, sqlx, node-pg-migrate.
const ACCOUNTS: [&str; 19] = [
    "schema_migrations",
    "ar_internal_metadata",
    "django_migrations",
    "django_content_type",
    "alembic_version",
    "_prisma_migrations",
    "knex_migrations",
    "knex_migrations_lock",
    "flyway_schema_history",
    "databasechangelog",
    "databasechangeloglock",
    "__drizzle_migrations",
    "__EFMigrationsHistory",
    "migrations",
    "SequelizeMeta",
    "goose_db_version",
    "_sqlx_migrations",
    "typeorm_metadata",
    "pgmigrations",
];

const DATABASE: &str = "rehearsal";
/// How long connections that the tool left open have for their goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// A tool, and what it needs.
#[derive(Debug)]
pub(super) struct Tool<'a> {
    /// The command.
    pub words: &'a [String],
    /// Variables that it keeps although they may lead to another database.
    pub keep: &'a [String],
    /// Further tables whose rows it reads.
    pub rows: &'a [String],
    /// The role that owns the tables, if another one logs in.
    pub role: Option<&'a str>,
}

#[derive(Default)]
struct Taken(Mutex<Vec<Execution>>);

impl Sink for Taken {
    fn seen(&self, seen: Seen) {
        if let Seen::Execution(execution) = seen {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(*execution);
        }
    }
}

/// Runs the tool on a copy of the schema that the owner sees; returns what it did there, as a script.
///
/// # Errors
/// The copy cannot be made, the tool fails on it, or what it did cannot be written down.
pub(super) async fn script(owner: &Address, tool: &Tool<'_>) -> anyhow::Result<String> {
    let copy = Copy::make(owner, tool).await?;
    let interrupted = child::interruption()?;
    let taken = Arc::new(Taken::default());
    let address: Address = copy.url().parse()?;
    let tap = Tap::start(address.clone(), taken.clone()).await?;
    let command = child::prepare(tool.words, &way(&address, tap.port), tool.keep)?;
    let ended = child::run(command, None, &interrupted).await?;
    tap.finish(GOODBYE).await;
    match ended {
        Ended::Itself(status) if status.success() => {}
        Ended::Itself(status) => {
            let number = child::status_number(status);
            return Err(Failure::new(
                format!("the tool failed with {number} on a copy of the schema, and nothing was rehearsed"),
                "the copy has no rows but those of the tables of migration tools; --rows TABLE copies those of another",
            )
            .into());
        }
        Ended::TooSlow | Ended::Interrupted => anyhow::bail!("the tool was interrupted"),
    }
    let all = std::mem::take(&mut *taken.0.lock().unwrap_or_else(PoisonError::into_inner));
    let script = taken::script(&all)?;
    if script.is_empty() {
        print::note("the tool changed nothing: there is nothing to rehearse");
    }
    Ok(script)
}

/// A tool's way to the copy, by way of the tap.
fn way(address: &Address, port: u16) -> Way {
    let (user, password) = (&address.user, address.password.reveal());
    let url = format!("postgres://{user}:{password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable");
    Way {
        url,
        variables: vec![
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", port.to_string()),
            ("PGUSER", user.clone()),
            ("PGDATABASE", DATABASE.to_owned()),
            ("PGSSLMODE", "disable".to_owned()),
            ("PGPASSWORD", password.to_owned()),
        ],
    }
}

/// A Postgres of our own with the schema in it, gone when it is dropped.
struct Copy {
    cluster: Cluster,
}

impl Copy {
    async fn make(owner: &Address, tool: &Tool<'_>) -> anyhow::Result<Self> {
        let binaries = cluster::binaries::find()
            .map_err(|error| Failure::new(error.to_string(), error.hint()))?;
        let name = Alphanumeric.sample_string(&mut rand::rng(), 12);
        let folder = std::env::temp_dir().join(format!("devinprod-rehearsal-{name}"));
        let options = Options {
            fsync: false,
            ephemeral: true,
            ..Options::new(folder)
        };
        let cluster = Cluster::start(&binaries, options)
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let copy = Self { cluster };
        let admin = crate::upstream::admin::admin(&copy.url_of("postgres").parse()?).await?;
        admin
            .batch_execute(&format!("CREATE DATABASE {DATABASE}"))
            .await?;
        let mut schema = copy.dump(owner, tool)?;
        // The seal is no part of what a migration changes.
        schema.args(["--schema-only", "--exclude-schema=devinprod*"]);
        copy.load(schema).await?;
        let mut rows = copy.dump(owner, tool)?;
        rows.arg("--data-only");
        for table in ACCOUNTS
            .iter()
            .copied()
            .chain(tool.rows.iter().map(String::as_str))
        {
            // In whatever schema; a pattern that matches nothing is passed over.
            rows.arg(format!("--table=*.\"{table}\""));
        }
        copy.load(rows).await?;
        Ok(copy)
    }

    fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    fn url_of(&self, database: &str) -> String {
        format!("{}?sslmode=disable", self.cluster.url(database))
    }

    /// pg_dump of the owner's database; the password is in its environment alone.
    fn dump(&self, owner: &Address, tool: &Tool<'_>) -> anyhow::Result<Command> {
        let mut command = Command::new(self.program("pg_dump")?);
        command.args([
            "--no-owner",
            "--no-privileges",
            "--no-publications",
            "--no-subscriptions",
        ]);
        command.args(tool.role.map(|role| format!("--role={role}")));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        let host = match &owner.host {
            Host::Tcp(host) => host.into(),
            Host::Unix(folder) => folder.clone().into_os_string(),
        };
        command
            .env("PGHOST", host)
            .env("PGPORT", owner.port.to_string())
            .env("PGUSER", &owner.user)
            .env("PGDATABASE", &owner.database)
            .env("PGPASSWORD", owner.password.reveal())
            .env("PGSSLMODE", owner.ssl_mode.as_str())
            .env(
                "PGCONNECT_TIMEOUT",
                owner.connect_timeout.as_secs().to_string(),
            );
        match &owner.ssl_root {
            SslRoot::Unset => {}
            SslRoot::System => drop(command.env("PGSSLROOTCERT", "system")),
            SslRoot::File(file) => drop(command.env("PGSSLROOTCERT", file)),
        }
        Ok(command)
    }

    /// Has psql load what pg_dump writes. Neither's messages are shown beyond their SQLSTATE or first line: they may quote
    /// what is in the database.
    async fn load(&self, mut dump: Command) -> anyhow::Result<()> {
        let mut writes = dump
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("pg_dump cannot be run")?;
        let text: Stdio = match writes.stdout.take() {
            Some(text) => text.try_into()?,
            None => anyhow::bail!("pg_dump has no output"),
        };
        let reads = Command::new(self.program("psql")?)
            .args(["-X", "-q", "-v", "VERBOSITY=sqlstate", "-d"])
            .arg(self.url())
            .env("LC_ALL", "C")
            .stdin(text)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        let (wrote, read) = tokio::join!(writes.wait_with_output(), reads);
        let (wrote, read) = (wrote?, read.context("psql cannot be run")?);
        if !wrote.status.success() {
            let said = String::from_utf8_lossy(&wrote.stderr);
            let said = said.lines().next().unwrap_or("pg_dump failed");
            // No table of a migration tool is there.
            if said.contains("no matching tables were found") {
                return Ok(());
            }
            return Err(Failure::new(
                format!("the schema cannot be copied: {said}"),
                "the owner must be able to read all tables of its schemas; let the tool print its SQL, and rehearse that file",
            )
            .into());
        }
        let errors = String::from_utf8_lossy(&read.stderr);
        let errors = errors.lines().filter(|line| line.contains("ERROR")).count();
        if errors > 0 {
            print::note(format!(
                "{errors} statements of the schema's dump failed on the copy (extensions that are not installed here, code of the seal); the tool sees a database without what they make"
            ));
        }
        Ok(())
    }

    fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        crate::cli::client_program(self.cluster.binaries(), name)
    }
}
