//! Tries to break the promises on a live upstream, as a developer with a direct connection would.
//!
//! Nothing tried here could do harm if the promise did not hold: unarmed attempts run in a transaction that
//! is rolled back, armed ones leave at most an empty table of a random name, which is then dropped.

use rand::distr::{Alphanumeric, SampleString};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, SimpleQueryMessage};

use super::judge::{Finding, Gravity, judge};
use super::{COMMIT_REFUSED, Lease, Names, SealError, Survey, lease, survey};

mod attempts;
mod quick;
mod reads;

pub use attempts::{ARMED, Armed, UNARMED, Unarmed};
pub use quick::quick;

/// What became of one promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The promise, in words.
    pub text: String,
    /// Whether it held.
    pub verdict: Verdict,
    /// What was tried and what was seen.
    pub seen: String,
}

/// Whether a promise held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was attacked and held.
    Held,
    /// It did not hold.
    Broken,
    /// Postgres does not hold it here; the proxy does.
    LeftToProxy,
    /// It was not attacked, or there is nothing to hold; why is said.
    Note,
}

/// Surveys the upstream over `keeper`, then attacks it as a leased developer role, for which `connect` opens
/// connections by role and password. `keeper` must be the proxy's own role, or a superuser.
pub async fn doctor(
    keeper: &Client,
    names: &Names,
    connect: impl AsyncFn(&str, &str) -> Result<Client, SealError>,
) -> Result<Vec<Promise>, SealError> {
    let survey = survey(keeper, names).await?;
    let mut promises: Vec<Promise> = judge(&survey, names).iter().map(told).collect();
    if survey.in_recovery {
        promises.push(standby(keeper).await?);
        promises.extend(standby_reads(keeper, names).await?);
        return Ok(promises);
    }
    if survey.seal.is_none() {
        promises.push(Promise {
            text: "what a developer role writes is never committed".to_owned(),
            verdict: Verdict::Note,
            seen: "unsealed: the proxy alone keeps sandboxes from committing, and DROP TRIGGER on its \
                   temporary guard defeats it; use such an upstream for the stages local and test"
                .to_owned(),
        });
        return Ok(promises);
    }
    let Lease { role, password } = lease(keeper).await?;
    let found = Target::find(keeper, names, &role).await?;
    let developer = connect(&role, &password).await?;
    for attempt in &UNARMED {
        promises.push(unarmed(&developer, attempt, &found, &survey).await);
    }
    for attempt in &ARMED {
        promises.push(armed(&developer, keeper, attempt, &found).await?);
    }
    promises.extend(reads::reads(&developer).await?);
    promises.push(leftovers(keeper, &role, names).await?);
    Ok(promises)
}

/// What the attempts aim at.
#[derive(Debug, Clone)]
pub struct Target {
    words: Vec<(&'static str, Option<String>)>,
    schema: String,
}

impl Target {
    /// `sql` with its `@words@` filled in; None where this database has no such thing.
    pub fn fill(&self, sql: &str, proof: &str) -> Option<String> {
        let mut text = sql
            .replace("@schema@", &self.schema)
            .replace("@proof@", &format!("{}.{proof}", self.schema));
        for (word, value) in &self.words {
            if text.contains(word) {
                text = text.replace(word, value.as_deref()?);
            }
        }
        Some(text)
    }

    /// Finds a table and a sequence that the armed `reader` may write to.
    pub async fn find(keeper: &Client, names: &Names, reader: &str) -> Result<Self, SealError> {
        let writers = names.writers();
        let writers: &[&(dyn ToSql + Sync)] = &[&writers];
        let (table, sequence, schema) = futures::try_join!(
            keeper.query_opt(TABLE, writers),
            keeper.query_opt(SEQUENCE, writers),
            keeper.query_opt(SCHEMA, writers),
        )?;
        let text = |row: &Option<Row>, place: usize| -> Result<Option<String>, SealError> {
            Ok(row.as_ref().map(|row| row.try_get(place)).transpose()?)
        };
        Ok(Self {
            words: vec![
                ("@table@", text(&table, 0)?),
                ("@column@", text(&table, 1)?),
                ("@sequence@", text(&sequence, 0)?),
                ("@writer@", names.pair_of(reader).map(|n| names.writer(n))),
                ("@proxy@", Some(names.proxy())),
            ],
            schema: text(&schema, 0)?.unwrap_or_else(|| "public".to_owned()),
        })
    }
}

/// A table that $1 may write to, and its first column.
const TABLE: &str = "
SELECT format('%I.%I', n.nspname, c.relname), quote_ident(a.attname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attgenerated = '' AND a.attidentity = ''
WHERE c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) x
    WHERE x.grantee = pg_catalog.to_regrole($1)::pg_catalog.oid AND x.privilege_type = 'UPDATE')
ORDER BY n.nspname, c.relname, a.attnum LIMIT 1";

/// A sequence that $1 may advance.
const SEQUENCE: &str = "
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) x
    WHERE x.grantee = pg_catalog.to_regrole($1)::pg_catalog.oid AND x.privilege_type = 'USAGE')
ORDER BY n.nspname, c.relname LIMIT 1";

/// A schema that $1 may create in.
const SCHEMA: &str = "
SELECT quote_ident(n.nspname) FROM pg_catalog.pg_namespace n
WHERE EXISTS (SELECT FROM pg_catalog.aclexplode(n.nspacl) x
    WHERE x.grantee = pg_catalog.to_regrole($1)::pg_catalog.oid AND x.privilege_type = 'CREATE')
ORDER BY n.nspname LIMIT 1";

fn told(finding: &Finding) -> Promise {
    Promise {
        text: finding.what.clone(),
        verdict: match finding.gravity {
            Gravity::Hole => Verdict::Broken,
            Gravity::Reliance => Verdict::LeftToProxy,
            Gravity::Note => Verdict::Note,
        },
        seen: finding.remedy.clone(),
    }
}

async fn standby(keeper: &Client) -> Result<Promise, SealError> {
    // Needs no privilege, and writes nothing anywhere.
    let answer = keeper
        .batch_execute("BEGIN; SET TRANSACTION READ WRITE; ROLLBACK")
        .await;
    let refused = answer.is_err();
    if refused {
        keeper.batch_execute("ROLLBACK").await?;
    }
    Ok(Promise {
        text: "a standby takes no writes: isolation read_only holds here".to_owned(),
        verdict: if refused {
            Verdict::Held
        } else {
            Verdict::Broken
        },
        seen: described(&answer.map(|()| Vec::new())),
    })
}

/// Nobody can be leased where nothing is written. A url that names a member of the readers' group, as `read_only` needs
/// it, is attacked as it is.
async fn standby_reads(keeper: &Client, names: &Names) -> Result<Vec<Promise>, SealError> {
    let row = keeper
        .query_one(
            "SELECT session_user::text, coalesce(pg_has_role(session_user, to_regrole($1)::oid, 'USAGE'), false)
                AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user)",
            &[&names.readers()],
        )
        .await?;
    let (role, reads): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
    let note = |text: &str, seen: String| Promise {
        text: text.to_owned(),
        verdict: Verdict::Note,
        seen,
    };
    let mut promises = if reads {
        quick(keeper, names, &role, false).await?
    } else {
        vec![note(
            "what is sensitive is not read here",
            format!(
                "not tried: {role} is no developer; give the url of a member of {}, as isolation read_only needs it",
                names.readers()
            ),
        )]
    };
    promises.push(note(
        "nothing is committed, no right outlives its transaction",
        "only the primary can show it: run devinprod doctor there".to_owned(),
    ));
    Ok(promises)
}

async fn unarmed(
    developer: &Client,
    attempt: &Unarmed,
    target: &Target,
    survey: &Survey,
) -> Promise {
    let text = format!("unarmed: {}", attempt.promise);
    let Some(sql) = target.fill(attempt.sql, "none") else {
        return Promise {
            text,
            verdict: Verdict::Note,
            seen: "there is no table or sequence to try it on".to_owned(),
        };
    };
    let mut answer = developer.batch_execute("BEGIN").await.map(|()| Vec::new());
    if answer.is_ok() {
        answer = developer.simple_query(&sql).await;
    }
    let denied = matches!(&answer, Err(error) if attempt.answers.contains(&code_of(error)));
    let open = survey
        .public
        .iter()
        .any(|grant| attempt.relies_on == Some(grant.why));
    let seen = format!("{sql}: {}", described(&answer));
    // A broken connection shows in the next attempt.
    let _ = developer.batch_execute("ROLLBACK").await;
    Promise {
        text,
        verdict: match (denied, open) {
            (true, _) => Verdict::Held,
            (false, true) => Verdict::LeftToProxy,
            (false, false) => Verdict::Broken,
        },
        seen,
    }
}

async fn armed(
    developer: &Client,
    keeper: &Client,
    attempt: &Armed,
    target: &Target,
) -> Result<Promise, SealError> {
    let text = format!("armed: {}", attempt.promise);
    let proof = format!(
        "devinprod_doctor_{}",
        Alphanumeric
            .sample_string(&mut rand::rng(), 12)
            .to_lowercase()
    );
    let mut last = Ok(Vec::new());
    let mut trace = Vec::new();
    for statement in attempt.sql {
        let Some(sql) = target.fill(statement, &proof) else {
            return Ok(Promise {
                text,
                verdict: Verdict::Note,
                seen: "there is no table to try it on".to_owned(),
            });
        };
        last = developer.simple_query(&sql).await;
        trace.push(sql);
    }
    let seen = described(&last);
    // Whatever is still open now would be committed by somebody who wants it to be.
    let _ = developer.batch_execute("COMMIT").await;
    let _ = developer.batch_execute("ROLLBACK").await;
    let committed: bool = keeper
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = $1)",
            &[&proof],
        )
        .await?
        .try_get(0)?;
    if committed {
        developer
            .batch_execute(&format!("DROP TABLE {}.{proof}", target.schema))
            .await?;
    }
    let refused = matches!(&last, Err(error) if attempt.answers.contains(&code_of(error)));
    Ok(Promise {
        text,
        verdict: if committed || !refused {
            Verdict::Broken
        } else {
            Verdict::Held
        },
        seen: format!("{}: {seen}", trace.join("; ")),
    })
}

/// After all attempts the role must be a reader and nothing more.
async fn leftovers(keeper: &Client, role: &str, names: &Names) -> Result<Promise, SealError> {
    let survey = survey(keeper, names).await?;
    let more: Vec<&str> = survey
        .memberships
        .iter()
        .filter(|m| m.member == role && m.role != names.readers())
        .map(|m| m.role.as_str())
        .collect();
    Ok(Promise {
        text: "no right to write outlives its transaction".to_owned(),
        verdict: if more.is_empty() {
            Verdict::Held
        } else {
            Verdict::Broken
        },
        seen: if more.is_empty() {
            format!("{role} is a member of {} alone", names.readers())
        } else {
            format!("{role} is still a member of {}", more.join(", "))
        },
    })
}

fn code_of(error: &Error) -> &str {
    error.code().map_or("", |code| code.code())
}

fn described(answer: &Result<Vec<SimpleQueryMessage>, Error>) -> String {
    match answer {
        Ok(_) => "it was done".to_owned(),
        Err(error) => match error.as_db_error() {
            Some(db) if db.code().code() == COMMIT_REFUSED => "the commit was refused".to_owned(),
            Some(db) => db.message().to_owned(),
            None => error.to_string(),
        },
    }
}
