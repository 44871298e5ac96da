//! Sandboxes that hold what a new seal changes: they read the views until they end, so a change of the views would wait for
//! them. A setup that changes those ends them, and none begins before it is done.

use super::Names;
use super::plan::Step;
use super::survey::Survey;

/// How long a session may take to end, in milliseconds.
const PATIENCE: u16 = 5000;

/// What is held off by whoever has read a view, or written to a table with notes, until that transaction ends.
const WAITING: [&str; 6] = [
    "DROP VIEW",
    "CREATE TRIGGER",
    "DROP TRIGGER",
    "CREATE CONSTRAINT TRIGGER",
    "ALTER TABLE",
    "CREATE INDEX",
];

/// Whether some of these steps would wait for sandboxes.
pub(super) fn wait_for<'a>(mut steps: impl Iterator<Item = &'a Step>) -> bool {
    steps.any(|step| WAITING.iter().any(|words| step.sql.contains(words)))
}

/// Ends the transactions of all developer roles of this database; run with the sealing role at hand.
///
/// Postgres tells their clients (57P01). Nothing of theirs is lost that would have been kept.
pub(super) fn end(survey: &Survey, names: &Names) -> Option<Step> {
    let seal = survey.seal.as_ref()?;
    let readers: Vec<&str> = seal
        .pairs
        .iter()
        .map(|(reader, ..)| reader.as_str())
        .filter(|reader| names.pair_of(reader).is_some() && survey.role(reader).is_some())
        .collect();
    if readers.is_empty() {
        return None;
    }
    // Leasing waits for this lock, so that no sandbox takes the place of one that ends.
    let mut sql = format!(
        "SET LOCAL ROLE {};\nLOCK TABLE devinprod.pair IN EXCLUSIVE MODE;\nRESET ROLE;\n",
        names.owner()
    );
    let list = readers.join(", ");
    let borrowed = !survey.administrator.superuser;
    if borrowed {
        // Who is no superuser ends sessions of roles that they belong to.
        let how = if survey.version >= 160_000 {
            " WITH INHERIT TRUE, SET FALSE"
        } else {
            ""
        };
        sql.push_str(&format!("GRANT {list} TO CURRENT_USER{how};\n"));
    }
    sql.push_str(&format!(
        "SELECT pg_terminate_backend(a.pid, {PATIENCE}) FROM pg_stat_activity a\n    \
         WHERE a.datname = current_database() AND a.state <> 'idle' AND a.pid <> pg_backend_pid()\n        \
         AND a.usename IN (SELECT p.reader FROM devinprod.pair p);"
    ));
    if borrowed {
        sql.push_str(&format!("\nREVOKE {list} FROM CURRENT_USER;"));
    }
    Some(Step::new(
        "Sandboxes end, which hold what changes; others begin when this is done",
        sql,
    ))
}

/// A line for the reader of the plan, if there is anybody to end.
pub(super) fn told(survey: &Survey) -> Option<String> {
    (survey.sessions > 0 && survey.seal.is_some()).then(|| {
        format!(
            "{} sessions of developer roles are open: what runs in them ends with the error 57P01, and begins anew when \
             its client connects again",
            survey.sessions
        )
    })
}
