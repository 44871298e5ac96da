//! The rehearsal itself: one transaction, a savepoint around each statement, and a look around after each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error};

use super::look::{self, Relations};
use super::script::{Action, Step};
use super::violations;
use super::{Failure, Lock, Options, Outcome, RehearsalError, Report, Statement};
use crate::sql::value::quote_identifier;

/// How often the watcher looks who waits.
const LOOK: Duration = Duration::from_millis(100);

const GUARD: &str = "
CREATE TEMPORARY TABLE devinprod_rehearsal (only_row boolean);
CREATE FUNCTION pg_temp.devinprod_refuse_commit() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $guard$
BEGIN
    IF pg_catalog.current_setting('devinprod.rehearsal', true) = 'check' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'UC001', MESSAGE = 'a rehearsal cannot be committed';
END
$guard$;
CREATE CONSTRAINT TRIGGER devinprod_refuse_commit AFTER INSERT ON pg_temp.devinprod_rehearsal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.devinprod_refuse_commit();
INSERT INTO pg_temp.devinprod_rehearsal VALUES (true);
";

/// Fires what is deferred, the guard excepted. It is undone afterwards, so that all of it is as deferred as before.
const CHECK: &str = "SAVEPOINT devinprod_check; SET LOCAL devinprod.rehearsal = 'check'; SET CONSTRAINTS ALL IMMEDIATE";
const CHECKED: &str = "ROLLBACK TO devinprod_check; RELEASE devinprod_check";

/// Runs a script, and undoes it.
///
/// # Errors
/// See [`super::rehearse`].
pub(super) async fn run(
    client: &Client,
    watcher: Client,
    script: &[Step],
    options: &Options,
) -> Result<Report, RehearsalError> {
    let (server, role) = who(client, options).await?;
    begin(client, options).await?;
    let process: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .await?
        .try_get(0)?;
    let watch = Watch::start(watcher, process, options);
    let mut rehearsal = Rehearsal {
        client,
        autocommit: options.autocommit,
        in_block: false,
        transaction: transaction(client).await?,
        base: look::relations(client).await?,
        now: Relations::new(),
        rows: look::rows_changed(client).await?,
        seen: BTreeSet::new(),
        held: BTreeMap::new(),
        locks: Vec::new(),
    };
    rehearsal.now = rehearsal.base.clone();
    let started = Instant::now();
    let result = rehearsal.all(script).await;
    let milliseconds = milliseconds(started.elapsed());
    // The one thing that must happen; if the connection is gone, so is the transaction.
    let undone = client.batch_execute("ROLLBACK").await;
    let (waited, ended) = watch.stop();
    let statements = result?;
    undone?;
    let worked = statements
        .iter()
        .all(|statement| !matches!(statement.outcome, Outcome::Failed(_) | Outcome::NotReached));
    let mut locks = rehearsal.locks;
    locks.sort_by(|a, b| {
        let strength = |lock: &Lock| look::strength(&lock.mode).map(|(strength, _)| strength);
        strength(b)
            .cmp(&strength(a))
            .then(b.milliseconds.total_cmp(&a.milliseconds))
    });
    Ok(Report {
        worked,
        server,
        role,
        statements,
        locks,
        ended,
        waited,
        milliseconds,
    })
}

/// The server's version and the role that the statements run as.
async fn who(client: &Client, options: &Options) -> Result<(String, String), RehearsalError> {
    let sql = "SELECT current_setting('server_version'), r.rolname, r.rolsuper
        FROM pg_catalog.pg_roles r WHERE r.rolname = coalesce($1, session_user)";
    let row = client.query_opt(sql, &[&options.role]).await?;
    let Some(row) = row else {
        let role = options.role.clone().unwrap_or_default();
        return Err(RehearsalError::Guard(format!(
            "there is no role \"{role}\""
        )));
    };
    let role: String = row.try_get(1)?;
    if row.try_get(2)? {
        return Err(RehearsalError::Superuser(role));
    }
    Ok((row.try_get(0)?, role))
}

async fn begin(client: &Client, options: &Options) -> Result<(), RehearsalError> {
    let mut sql = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {};",
        options.lock_timeout.as_millis(),
        options.time_limit.as_millis()
    );
    if let Some(role) = &options.role {
        sql.push_str(&format!("SET LOCAL ROLE {};", quote_identifier(role)));
    }
    sql.push_str(GUARD);
    client
        .batch_execute(&sql)
        .await
        .map_err(|error| match error.as_db_error() {
            Some(error) => RehearsalError::Guard(error.message().to_owned()),
            None => error.into(),
        })
}

async fn transaction(client: &Client) -> Result<Option<String>, Error> {
    let sql = "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text";
    client.query_one(sql, &[]).await?.try_get(0)
}

struct Rehearsal<'a> {
    client: &'a Client,
    autocommit: bool,
    /// The script's own BEGIN is open.
    in_block: bool,
    transaction: Option<String>,
    /// Before the migration, and now.
    base: Relations,
    now: Relations,
    rows: i64,
    /// Locks that were told, and those that are held, with the line and the time at which they were taken.
    seen: BTreeSet<(u32, String)>,
    held: BTreeMap<(u32, String), (usize, Instant)>,
    locks: Vec<Lock>,
}

impl Rehearsal<'_> {
    async fn all(&mut self, script: &[Step]) -> Result<Vec<Statement>, RehearsalError> {
        let mut statements = Vec::new();
        let mut failed = false;
        for step in script {
            let mut statement = Statement {
                line: step.line,
                text: step.shown.clone(),
                outcome: Outcome::NotReached,
                milliseconds: 0.0,
                rows_changed: 0,
                rewritten: Vec::new(),
                built: Vec::new(),
                notes: Vec::new(),
            };
            if !failed {
                self.step(step, &mut statement).await?;
                failed = matches!(statement.outcome, Outcome::Failed(_));
            }
            statements.push(statement);
        }
        self.transaction_ends();
        if !failed
            && let Err(error) = self.check().await?
            && let Some(statement) = statements.last_mut()
        {
            statement.outcome = Outcome::Failed(Box::new(failure(&error, None)));
            let note = "a deferred constraint, found at the end of the transaction";
            statement.notes.push(note.to_owned());
        }
        Ok(statements)
    }

    async fn step(&mut self, step: &Step, statement: &mut Statement) -> Result<(), RehearsalError> {
        let started = Instant::now();
        let result = match &step.action {
            Action::Begin => {
                self.in_block = true;
                statement.outcome = Outcome::Boundary;
                return Ok(());
            }
            Action::Commit => {
                let checked = self.check().await?;
                self.in_block = false;
                statement.outcome = Outcome::Boundary;
                statement.milliseconds = milliseconds(started.elapsed());
                self.transaction_ends();
                match checked {
                    Ok(()) => return Ok(()),
                    Err(error) => Err(error),
                }
            }
            Action::Rollback => {
                let why = "ROLLBACK: what the script undoes again is not rehearsed as undone";
                statement.outcome = Outcome::Skipped(why.to_owned());
                self.in_block = false;
                return Ok(());
            }
            Action::Skip { why } => {
                statement.outcome = Outcome::Skipped(why.clone());
                return Ok(());
            }
            Action::CheckConstraints => self.check().await?,
            Action::Savepoint { sql } => self.execute(sql).await?,
            Action::Run { sql, note } => {
                statement.notes.extend(note.clone());
                self.client
                    .batch_execute("SAVEPOINT devinprod_step")
                    .await?;
                let result = self.execute(sql).await?;
                let after = match &result {
                    Ok(()) => "RELEASE devinprod_step",
                    Err(_) => "ROLLBACK TO devinprod_step",
                };
                statement.milliseconds = milliseconds(started.elapsed());
                self.client
                    .batch_execute(after)
                    .await
                    .map_err(|_| RehearsalError::LeftTransaction)?;
                result
            }
        };
        if statement.milliseconds == 0.0 {
            statement.milliseconds = milliseconds(started.elapsed());
        }
        match result {
            Ok(()) => {
                if statement.outcome == Outcome::NotReached {
                    statement.outcome = Outcome::Ran;
                }
                self.look_around(step, started, statement).await?;
                if self.autocommit && !self.in_block {
                    self.transaction_ends();
                }
            }
            Err(error) => {
                let violations = match &step.action {
                    Action::Run { sql, .. } => violations::find(self.client, &error, sql).await,
                    _ => None,
                };
                statement.outcome = Outcome::Failed(Box::new(failure(&error, violations)));
            }
        }
        Ok(())
    }

    /// One statement, alone, by the extended protocol. What it answers is thrown away.
    async fn execute(
        &self,
        sql: &str,
    ) -> Result<Result<(), tokio_postgres::error::DbError>, RehearsalError> {
        told(self.client.execute(sql, &[]).await.map(|_| ()))
    }

    /// Whether what is deferred holds.
    async fn check(&self) -> Result<Result<(), tokio_postgres::error::DbError>, RehearsalError> {
        let checked = told(self.client.batch_execute(CHECK).await)?;
        self.client.batch_execute(CHECKED).await?;
        Ok(checked)
    }

    async fn look_around(
        &mut self,
        step: &Step,
        started: Instant,
        statement: &mut Statement,
    ) -> Result<(), RehearsalError> {
        if transaction(self.client).await? != self.transaction {
            return Err(RehearsalError::LeftTransaction);
        }
        let rows = look::rows_changed(self.client).await?;
        statement.rows_changed = u64::try_from(rows - self.rows).unwrap_or(0);
        self.rows = rows;
        for lock in look::locks(self.client).await? {
            let feels = self.base.contains_key(&lock.0) && look::strength(&lock.1).is_some();
            if feels && self.seen.insert(lock.clone()) {
                let (relation, mode) = lock;
                // The real one takes this mode alone.
                let mode = if step.is_concurrent() {
                    look::CONCURRENT.to_owned()
                } else {
                    mode
                };
                self.held.insert((relation, mode), (step.line, started));
            }
        }
        let now = look::relations(self.client).await?;
        let rewritten: Vec<u32> = now
            .iter()
            .filter(|(oid, relation)| {
                let before = self.now.get(oid);
                self.base.contains_key(oid)
                    && before
                        .is_some_and(|before| before.file.is_some() && before.file != relation.file)
            })
            .map(|(oid, _)| *oid)
            .collect();
        let made: Vec<u32> = now
            .keys()
            .filter(|oid| !self.now.contains_key(oid))
            .copied()
            .collect();
        statement.rewritten = look::sizes(self.client, &rewritten).await?;
        let built = look::indexes(self.client, &made).await?;
        statement.built = look::sizes(self.client, &built).await?;
        self.now = now;
        Ok(())
    }

    /// The locks that are held would be let go now.
    fn transaction_ends(&mut self) {
        let now = Instant::now();
        for ((oid, mode), (line, since)) in std::mem::take(&mut self.held) {
            let (Some(relation), Some((_, keeps_out))) =
                (self.base.get(&oid), look::strength(&mode))
            else {
                continue;
            };
            self.locks.push(Lock {
                relation: relation.name.clone(),
                mode,
                line,
                milliseconds: milliseconds(now.duration_since(since)),
                keeps_out,
            });
        }
    }
}

/// An error of the statement is told; one of the connection ends the rehearsal.
fn told(
    result: Result<(), Error>,
) -> Result<Result<(), tokio_postgres::error::DbError>, RehearsalError> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(error) => match error.as_db_error() {
            Some(error) => Ok(Err(error.clone())),
            None => Err(error.into()),
        },
    }
}

fn failure(
    error: &tokio_postgres::error::DbError,
    violations: Option<super::Violations>,
) -> Failure {
    Failure {
        sqlstate: error.code().code().to_owned(),
        message: violations::message(error),
        violations,
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Looks, beside the rehearsal, who waits for it, and cancels it when it stands in the way for too long.
struct Watch {
    most: Arc<AtomicUsize>,
    blocked: Arc<AtomicBool>,
    late: Arc<AtomicBool>,
    task: JoinHandle<()>,
    limits: Options,
}

impl Watch {
    fn start(client: Client, process: i32, options: &Options) -> Self {
        let (most, blocked, late) = (
            Arc::<AtomicUsize>::default(),
            Arc::<AtomicBool>::default(),
            Arc::<AtomicBool>::default(),
        );
        let told = (most.clone(), blocked.clone(), late.clone());
        let limits = options.clone();
        let started = Instant::now();
        let task = tokio::spawn(async move {
            let mut since = None;
            loop {
                tokio::time::sleep(LOOK).await;
                let waiting = look::waiting_for(&client, process).await.unwrap_or(0);
                told.0.fetch_max(waiting, Ordering::Relaxed);
                since = (waiting > 0).then(|| since.unwrap_or_else(Instant::now));
                let blocks =
                    since.is_some_and(|since: Instant| since.elapsed() > limits.block_limit);
                let is_late = started.elapsed() > limits.time_limit;
                if blocks || is_late {
                    if blocks { &told.1 } else { &told.2 }.store(true, Ordering::Relaxed);
                    let sql = "SELECT pg_catalog.pg_cancel_backend($1)";
                    let _ = client.execute(sql, &[&process]).await;
                }
            }
        });
        Self {
            most,
            blocked,
            late,
            task,
            limits: options.clone(),
        }
    }

    /// How many waited at most, and why it was ended, if it was.
    fn stop(self) -> (usize, Option<String>) {
        self.task.abort();
        let ended = if self.blocked.load(Ordering::Relaxed) {
            let limit = self.limits.block_limit.as_secs_f64();
            Some(format!(
                "others waited for it for more than {limit} s, so it was ended"
            ))
        } else if self.late.load(Ordering::Relaxed) {
            let limit = self.limits.time_limit.as_secs_f64();
            Some(format!("it took more than {limit} s, so it was ended"))
        } else {
            None
        };
        (self.most.load(Ordering::Relaxed), ended)
    }
}
