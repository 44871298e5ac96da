//! The short form: what a proxy tries before it uses a sealed upstream.
//!
//! Each attempt is one message, which Postgres runs as one transaction; most end in a statement that fails, so that nothing
//! stays whatever became of the attempt. None waits for the answer to another, so the round trips do not count.

use std::collections::BTreeMap;

use futures::future::join_all;
use tokio_postgres::Client;

use super::attempts::{ARM, PROOF};
use super::reads::{self, Masked, SEAL, SHADOWS};
use super::{ARMED, COMMIT_REFUSED, Promise, Target, UNARMED, Verdict, code_of};
use crate::seal::{Names, SealError};

/// The end of an attempt that must not stay: division_by_zero.
const UNDO: &str = "SELECT 1/0";
/// What such an attempt answers if it was not denied.
const DONE: &str = "22012";
const DENIED: &str = "42501";

/// An attempt waits for nobody: a table that is being altered says nothing of the seal.
const LIMITS: &str = "SET lock_timeout = '500ms'; SET statement_timeout = '5s'";

/// How many reads are tried: of a database with more columns some, others with each start. What a role may read is also
/// asked of all columns at once.
const READS: usize = 2000;

/// How many messages are on their way at once.
const AT_ONCE: usize = 512;

/// Single messages that would get out of a transaction that cannot commit; the guard must refuse each.
const COMMITS: [(&str, &str); 4] = [
    (
        "COMMIT is refused",
        "BEGIN; @arm@; CREATE TEMP TABLE devinprod_proof_1 (); COMMIT",
    ),
    (
        "a transaction of one message is not committed",
        "@arm@; CREATE TEMP TABLE devinprod_proof_2 ()",
    ),
    (
        "COMMIT AND CHAIN is refused",
        "BEGIN; @arm@; CREATE TEMP TABLE devinprod_proof_3 (); COMMIT AND CHAIN; ROLLBACK",
    ),
    (
        "the guard does not fall silent early",
        "@arm@; SET CONSTRAINTS ALL IMMEDIATE",
    ),
];

/// The right to write must go with the guard. Leaves a failed transaction.
const TAKEN_BACK: &str =
    "BEGIN; SAVEPOINT s; @arm@; ROLLBACK TO s; CREATE TEMP TABLE devinprod_proof_4 (); ROLLBACK";

/// One attempt.
struct Attempt {
    promise: String,
    sql: String,
    /// What it answers if the promise holds.
    holds: &'static str,
}

/// Attacks the upstream over `developer`, a connection as the developer role `role` that is given up afterwards. Where
/// nobody can be armed, on a standby, only what may be read is attacked.
///
/// An attempt that could not be made, because of a lock or for want of time, breaks no promise.
pub async fn quick(
    developer: &Client,
    names: &Names,
    role: &str,
    may_arm: bool,
) -> Result<Vec<Promise>, SealError> {
    developer.batch_execute(LIMITS).await?;
    let masked = reads::sensitive(developer).await?;
    let mut attempts = Vec::new();
    if may_arm {
        let target = Target::find(developer, names, role).await?;
        writes(&target, &mut attempts);
    }
    if let Some(masked) = &masked {
        sensitive(masked, may_arm, &mut attempts);
    }
    let mut promises = made(developer, &attempts).await;
    if masked.is_some() {
        promises.push(reads::privileges(developer).await?);
    }
    if may_arm {
        promises.push(taken_back(developer).await);
        if let Some(masked) = &masked {
            promises.push(shadows(developer, masked).await);
        }
    }
    promises.push(reads::definers(developer).await?);
    Ok(promises)
}

fn armed(sql: &str) -> String {
    sql.replace("@arm@", ARM)
}

fn writes(target: &Target, attempts: &mut Vec<Attempt>) {
    // What depends on who owns the database is told by `verify`, and COPY cannot stand in such a message.
    for unarmed in UNARMED
        .iter()
        .filter(|unarmed| unarmed.relies_on.is_none() && !unarmed.sql.starts_with("COPY"))
    {
        if let Some(sql) = target.fill(unarmed.sql, "none") {
            attempts.push(Attempt {
                promise: format!("unarmed: {}", unarmed.promise),
                sql: format!("{sql}; {UNDO}"),
                holds: DENIED,
            });
        }
    }
    for (promise, sql) in COMMITS {
        attempts.push(Attempt {
            promise: format!("armed: {promise}"),
            sql: armed(sql),
            holds: COMMIT_REFUSED,
        });
    }
    // Of the doctor's others those that need no more than to be armed.
    for attempt in ARMED.iter().filter(|attempt| attempt.answers == [DENIED]) {
        let &[_, ARM, PROOF, last] = attempt.sql else {
            continue;
        };
        let Some(last) = target.fill(last, "devinprod_doctor") else {
            continue;
        };
        attempts.push(Attempt {
            promise: format!("armed: {}", attempt.promise),
            sql: format!("{ARM}; {last}; {UNDO}"),
            holds: DENIED,
        });
    }
}

fn sensitive(masked: &[Masked], may_arm: bool, attempts: &mut Vec<Attempt>) {
    let reads = reads_of(masked);
    let one_in = reads.len().div_ceil(READS).max(1);
    let from = rand::random_range(0..one_in);
    attempts.extend(reads.into_iter().skip(from).step_by(one_in));
    for way in SEAL.iter().filter(|_| may_arm) {
        attempts.push(Attempt {
            promise: format!("armed: {}", way.promise),
            sql: format!("{ARM}; {}; {UNDO}", way.sql),
            holds: DENIED,
        });
    }
    if !may_arm {
        attempts.push(Attempt {
            promise: "the masks' key cannot be read".to_owned(),
            sql: "SELECT key FROM devinprod.mask_key".to_owned(),
            holds: DENIED,
        });
    }
}

fn reads_of(masked: &[Masked]) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for relation in masked {
        for column in &relation.columns {
            attempts.push(Attempt {
                promise: "no sensitive column is read".to_owned(),
                sql: format!("SELECT {column} FROM {} LIMIT 1", relation.table),
                holds: DENIED,
            });
        }
        attempts.push(Attempt {
            promise: "no sensitive row is told by a cast that fails".to_owned(),
            sql: format!(
                "SELECT 1 FROM {} AS t WHERE t::text::int4 = 0 LIMIT 1",
                relation.table
            ),
            holds: DENIED,
        });
    }
    attempts
}

/// Makes the attempts, one promise for all that promise the same.
async fn made(developer: &Client, attempts: &[Attempt]) -> Vec<Promise> {
    let mut open: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for some in attempts.chunks(AT_ONCE) {
        let answers = some
            .iter()
            .map(|attempt| developer.batch_execute(&attempt.sql));
        let answers = join_all(answers).await;
        // One that failed in another way than it should may have left a transaction open; a broken connection shows later.
        let _ = developer.batch_execute("ROLLBACK").await;
        for (attempt, answer) in some.iter().zip(answers) {
            let told = open.entry(&attempt.promise).or_default();
            let code = answer.as_ref().map_or_else(code_of, |()| "done");
            if code != attempt.holds && !was_hindered(code) {
                told.push(format!("{}: {}", attempt.sql, shown(code)));
            }
        }
    }
    open.into_iter()
        .map(|(promise, open)| reads::told(promise, open))
        .collect()
}

/// Ends in a failed transaction, so it is alone, and undone.
async fn taken_back(developer: &Client) -> Promise {
    let sql = armed(TAKEN_BACK);
    let answer = developer.batch_execute(&sql).await;
    let code = answer.as_ref().map_or_else(code_of, |()| "done").to_owned();
    // A broken connection shows in the next attempt.
    let _ = developer.batch_execute("ROLLBACK").await;
    let open = if code == DENIED || was_hindered(&code) {
        Vec::new()
    } else {
        vec![format!("{sql}: {}", shown(&code))]
    };
    reads::told("armed: the right to write goes with the guard", open)
}

/// Each kind of mask once, with names of the attacker's own before those of Postgres.
async fn shadows(developer: &Client, masked: &[Masked]) -> Promise {
    let text = "armed: names of the attacker's own are never looked at by the masks";
    let mut kinds: Vec<&str> = Vec::new();
    let mut sql = format!("{ARM}; {SHADOWS}");
    for relation in masked.iter().filter(|relation| relation.written) {
        let is_new = relation
            .treatments
            .iter()
            .any(|treatment| !kinds.contains(&treatment.as_str()));
        if let (true, Some(view)) = (is_new, &relation.view) {
            kinds.extend(relation.treatments.iter().map(String::as_str));
            sql.push_str(&format!(
                "SELECT pg_catalog.count(t) FROM (SELECT * FROM {view} LIMIT 1) AS t;"
            ));
        }
    }
    sql.push_str(UNDO);
    let answer = developer.batch_execute(&sql).await;
    match answer.as_ref().map_or_else(code_of, |()| "done") {
        "DP001" => reads::told(
            text,
            vec!["a mask called the attacker's function".to_owned()],
        ),
        DONE => reads::told(text, Vec::new()),
        other => Promise {
            text: text.to_owned(),
            verdict: Verdict::Note,
            seen: format!("it could not be tried: {other}"),
        },
    }
}

/// Waited too long, or was too much for the server: lock_not_available, query_canceled, class 53.
fn was_hindered(code: &str) -> bool {
    code == "55P03" || code == "57014" || code.starts_with("53")
}

fn shown(code: &str) -> &str {
    if code == DONE || code.is_empty() {
        "done"
    } else {
        code
    }
}
