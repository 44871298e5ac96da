//! What a developer with a direct connection would try in order to read what the policy closes.
//!
//! Every attempt runs in a transaction that is rolled back, and none asks for more than one row. Answers are never
//! told: only that there was one.

use tokio_postgres::Client;

use super::{Promise, Verdict, code_of};
use crate::seal::SealError;

/// A way to read; `@table@`, `@column@` and `@view@` stand for what is sensitive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// What must not be possible.
    pub(super) promise: &'static str,
    pub(super) sql: &'static str,
}

/// Tried on each sensitive column; each must be denied.
const COLUMN: [Way; 8] = [
    way("a query", "SELECT @column@ FROM @table@ LIMIT 1"),
    way(
        "a condition",
        "SELECT 1 FROM @table@ WHERE @column@ IS NULL LIMIT 1",
    ),
    way(
        "an order",
        "SELECT 1 FROM @table@ ORDER BY @column@ LIMIT 1",
    ),
    way("COPY", "COPY @table@ (@column@) TO STDOUT"),
    way(
        "a cursor",
        "DECLARE devinprod_doctor CURSOR FOR SELECT @column@ FROM @table@",
    ),
    way(
        "a DO block",
        "DO $devinprod$ BEGIN PERFORM @column@ FROM @table@ LIMIT 1; END $devinprod$",
    ),
    way(
        "SQL in a string",
        "SELECT query_to_xml($devinprod$SELECT @column@ FROM @table@ LIMIT 1$devinprod$, false, false, '')",
    ),
    way(
        "EXPLAIN ANALYZE",
        "EXPLAIN ANALYZE SELECT @column@ FROM @table@ LIMIT 1",
    ),
];

/// Tried on each relation with a sensitive column; each must be denied.
const RELATION: [Way; 4] = [
    way("a whole row", "SELECT t FROM @table@ AS t LIMIT 1"),
    way(
        "a row as JSON",
        "SELECT to_json(t) FROM @table@ AS t LIMIT 1",
    ),
    way("all columns", "TABLE @table@"),
    way("COPY of the table", "COPY @table@ TO STDOUT"),
];

/// The same on tables, once armed.
const ARMED_RELATION: [Way; 2] = [
    way(
        "RETURNING of a DELETE",
        "DELETE FROM @table@ WHERE false RETURNING *",
    ),
    way(
        "a copy of its shape",
        "CREATE TABLE devinprod_doctor (LIKE @table@ INCLUDING ALL)",
    ),
];

/// Tried once armed, which has all the rights that there are; each must be denied.
pub(super) const SEAL: [Way; 14] = [
    way(
        "the masks' key cannot be read",
        "SELECT key FROM devinprod.mask_key",
    ),
    way(
        "the masks' key cannot be changed",
        "UPDATE devinprod.mask_key SET key = key",
    ),
    way(
        "the notes of who wrote what cannot be read",
        "TABLE devinprod.written",
    ),
    way(
        "no note can be forged",
        "INSERT INTO devinprod.written VALUES (1, '(0,1)', 1, '{}', '{}')",
    ),
    way("no note can be removed", "DELETE FROM devinprod.written"),
    way(
        "what an UPDATE named cannot be forged",
        "DELETE FROM devinprod.assigned",
    ),
    way(
        "what is to be returned cannot be looked at",
        "TABLE devinprod.remembered",
    ),
    way(
        "the list of masked columns cannot be changed",
        "UPDATE devinprod.masked_column SET clear = true",
    ),
    way(
        "the policy's version cannot be changed",
        "UPDATE devinprod.policy SET version = version",
    ),
    way(
        "the count of guesses cannot be reset",
        "SELECT setval('devinprod.guesses_0', 0)",
    ),
    way(
        "nothing can be made among the masked views",
        "CREATE VIEW devinprod_masked.devinprod_doctor AS SELECT 1",
    ),
    way(
        "nothing can be made among the views of rows",
        "CREATE VIEW devinprod_rows.devinprod_doctor AS SELECT 1",
    ),
    way(
        "no function of the seal can be replaced",
        "CREATE OR REPLACE FUNCTION devinprod.ours(writer xid) RETURNS boolean LANGUAGE sql RETURN false",
    ),
    way(
        "what others see of statistics stays closed",
        "SELECT 1 FROM pg_catalog.pg_statistic LIMIT 1",
    ),
];

const fn way(promise: &'static str, sql: &'static str) -> Way {
    Way { promise, sql }
}

/// A relation with columns that are not clear, as the seal's own list has it.
pub(super) struct Masked {
    pub(super) table: String,
    pub(super) view: Option<String>,
    pub(super) columns: Vec<String>,
    /// It is a table that can be written to.
    pub(super) written: bool,
    /// What developers see in place of the columns.
    pub(super) treatments: Vec<String>,
}

/// Tries to read what is closed, as `developer`, who is not armed yet.
pub(super) async fn reads(developer: &Client) -> Result<Vec<Promise>, SealError> {
    let Some(masked) = sensitive(developer).await? else {
        return Ok(vec![Promise {
            text: "what is sensitive is synthetic".to_owned(),
            verdict: Verdict::Note,
            seen: "no policy was ever sealed here: developers read everything as it is".to_owned(),
        }]);
    };
    let columns: usize = masked.iter().map(|relation| relation.columns.len()).sum();
    let mut promises = Vec::new();
    for way in &COLUMN {
        let text = format!(
            "no sensitive column is read by {} ({columns} tried)",
            way.promise
        );
        promises.push(denied(developer, &text, &each_column(way, &masked), "").await);
    }
    for way in &RELATION {
        let text = format!(
            "no sensitive table is read by {} ({} tried)",
            way.promise,
            masked.len()
        );
        promises.push(denied(developer, &text, &each_relation(way, &masked), "").await);
    }
    const ARM: &str = "SELECT devinprod.arm()";
    let (tables, others): (Vec<Masked>, Vec<Masked>) =
        masked.into_iter().partition(|relation| relation.written);
    for way in &ARMED_RELATION {
        let text = format!(
            "armed: no sensitive table is read by {} ({} tried)",
            way.promise,
            tables.len()
        );
        promises.push(denied(developer, &text, &each_relation(way, &tables), ARM).await);
    }
    for way in &SEAL {
        let text = format!("armed: {}", way.promise);
        promises.push(denied(developer, &text, &[way.sql.to_owned()], ARM).await);
    }
    promises.push(statistics(developer).await?);
    promises.push(shadows(developer, tables.iter().chain(&others)).await?);
    promises.push(definers(developer).await?);
    Ok(promises)
}

/// The relations with sensitive columns; None where no policy was ever sealed.
pub(super) async fn sensitive(developer: &Client) -> Result<Option<Vec<Masked>>, SealError> {
    let there: bool = developer
        .query_one(
            "SELECT to_regclass('devinprod.masked_relation') IS NOT NULL",
            &[],
        )
        .await?
        .try_get(0)?;
    if !there {
        return Ok(None);
    }
    let rows = developer
        .query(
            "SELECT format('%I.%I', r.schema, r.name), r.view, array_agg(quote_ident(c.name) ORDER BY c.number),
                k.relkind IN ('r', 'p'), array_agg(DISTINCT c.treatment)
            FROM devinprod.masked_relation r JOIN devinprod.masked_column c USING (relation)
                JOIN pg_catalog.pg_class k ON k.oid = to_regclass(format('%I.%I', r.schema, r.name))
            WHERE NOT c.clear AND EXISTS (SELECT FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = k.oid AND a.attname = c.name AND a.attnum > 0)
            GROUP BY 1, 2, 4 ORDER BY 1",
            &[],
        )
        .await?;
    let masked: Result<_, SealError> = rows
        .iter()
        .map(|row| {
            Ok(Masked {
                table: row.try_get(0)?,
                view: row.try_get(1)?,
                columns: row.try_get(2)?,
                written: row.try_get(3)?,
                treatments: row.try_get(4)?,
            })
        })
        .collect();
    masked.map(Some)
}

fn each_column(way: &Way, masked: &[Masked]) -> Vec<String> {
    let fill = |relation: &Masked, column: &str| {
        way.sql
            .replace("@table@", &relation.table)
            .replace("@column@", column)
    };
    masked
        .iter()
        .flat_map(|relation| {
            relation
                .columns
                .iter()
                .map(move |column| fill(relation, column))
        })
        .collect()
}

fn each_relation(way: &Way, masked: &[Masked]) -> Vec<String> {
    masked
        .iter()
        .map(|relation| way.sql.replace("@table@", &relation.table))
        .collect()
}

/// Each of the statements must be denied; `first` runs before each of them.
async fn denied(developer: &Client, text: &str, statements: &[String], first: &str) -> Promise {
    let mut open = Vec::new();
    for sql in statements {
        let mut answer = developer.batch_execute("BEGIN").await;
        if answer.is_ok() && !first.is_empty() {
            answer = developer.batch_execute(first).await;
        }
        if answer.is_ok() {
            answer = developer.batch_execute(sql).await;
        }
        // 0LP01 and the like would be another reason, which holds only today.
        let is_denied = matches!(&answer, Err(error) if code_of(error) == "42501");
        // A broken connection shows in the next attempt.
        let _ = developer.batch_execute("ROLLBACK").await;
        if !is_denied {
            let how =
                answer.map_or_else(|error| code_of(&error).to_owned(), |()| "done".to_owned());
            open.push(format!("{sql}: {how}"));
        }
    }
    told(text, open)
}

pub(super) fn told(text: &str, open: Vec<String>) -> Promise {
    const SHOWN: usize = 3;
    let more = open.len().saturating_sub(SHOWN);
    let mut seen = open
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if more > 0 {
        seen.push_str(&format!("; and {more} more"));
    }
    Promise {
        text: text.to_owned(),
        verdict: if open.is_empty() {
            Verdict::Held
        } else {
            Verdict::Broken
        },
        seen,
    }
}

/// Asks Postgres itself what this role may read, also by way of roles that it belongs to.
pub(super) async fn privileges(developer: &Client) -> Result<Promise, SealError> {
    let rows = developer
        .query(
            "SELECT format('%I.%I.%I', r.schema, r.name, c.name)
            FROM devinprod.masked_relation r JOIN devinprod.masked_column c USING (relation)
                JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relation AND a.attname = c.name AND a.attnum > 0
            WHERE NOT c.clear AND pg_catalog.has_column_privilege(r.relation, a.attnum, 'SELECT') ORDER BY 1",
            &[],
        )
        .await?;
    let open = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    Ok(told(
        "there is no privilege to read a sensitive column",
        open,
    ))
}

/// `pg_stats` shows the most common values of what one may read.
async fn statistics(developer: &Client) -> Result<Promise, SealError> {
    let rows = developer
        .query(
            "SELECT format('%s of %I.%I', s.attname, s.schemaname, s.tablename)
            FROM pg_catalog.pg_stats s JOIN devinprod.masked_relation r ON r.schema = s.schemaname AND r.name = s.tablename
                JOIN devinprod.masked_column c ON c.relation = r.relation AND c.name = s.attname
            WHERE NOT c.clear ORDER BY 1",
            &[],
        )
        .await?;
    let open = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    Ok(told("statistics show no sensitive column", open))
}

/// Functions and operators of the attacker's own, in front of those of Postgres, that would raise whatever they get.
pub(super) const SHADOWS: &str = "
CREATE SCHEMA devinprod_doctor;
CREATE FUNCTION devinprod_doctor.caught(text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'DP001', MESSAGE = 'caught'; END $$;
CREATE FUNCTION devinprod_doctor.md5(text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'DP001', MESSAGE = 'caught'; END $$;
CREATE FUNCTION devinprod_doctor.lower(text) RETURNS text LANGUAGE sql AS 'SELECT devinprod_doctor.caught($1)';
CREATE FUNCTION devinprod_doctor.upper(text) RETURNS text LANGUAGE sql AS 'SELECT devinprod_doctor.caught($1)';
CREATE FUNCTION devinprod_doctor.btrim(text) RETURNS text LANGUAGE sql AS 'SELECT devinprod_doctor.caught($1)';
CREATE FUNCTION devinprod_doctor.length(text) RETURNS int LANGUAGE sql AS 'SELECT devinprod_doctor.caught($1)::int';
CREATE FUNCTION devinprod_doctor.both(text, text) RETURNS text LANGUAGE sql AS 'SELECT devinprod_doctor.caught($1)';
CREATE FUNCTION devinprod_doctor.same(text, text) RETURNS boolean LANGUAGE sql AS
    'SELECT devinprod_doctor.caught($1) IS NULL';
CREATE OPERATOR devinprod_doctor.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = devinprod_doctor.both);
CREATE OPERATOR devinprod_doctor.= (LEFTARG = text, RIGHTARG = text, FUNCTION = devinprod_doctor.same);
CREATE TEMP TABLE mask_key (key bytea);
CREATE TEMP TABLE written (relation oid, version tid, storage oid, kept text[], own text[]);
SET LOCAL search_path = devinprod_doctor, pg_temp, pg_catalog;
";

async fn shadows(
    developer: &Client,
    masked: impl Iterator<Item = &Masked>,
) -> Result<Promise, SealError> {
    let text = "armed: names of the attacker's own are never looked at by the masks";
    let begun = developer
        .batch_execute(&format!("BEGIN; SELECT devinprod.arm(); {SHADOWS}"))
        .await;
    if let Err(error) = begun {
        developer.batch_execute("ROLLBACK").await?;
        return Ok(Promise {
            text: text.to_owned(),
            verdict: Verdict::Note,
            seen: format!("it could not be tried: {}", code_of(&error)),
        });
    }
    let mut open = Vec::new();
    for view in masked.filter_map(|relation| relation.view.as_ref()) {
        developer
            .batch_execute("SAVEPOINT devinprod_doctor")
            .await?;
        // Whole rows, so that every mask runs.
        let sql = format!("SELECT pg_catalog.count(t) FROM (SELECT * FROM {view} LIMIT 20) AS t");
        let answer = developer.batch_execute(&sql).await;
        if matches!(&answer, Err(error) if code_of(error) == "DP001") {
            open.push(view.clone());
        }
        developer
            .batch_execute("ROLLBACK TO devinprod_doctor")
            .await?;
    }
    developer.batch_execute("ROLLBACK").await?;
    Ok(told(text, open))
}

/// Functions that run with their owner's rights, and so with a right to read.
pub(super) async fn definers(developer: &Client) -> Result<Promise, SealError> {
    let rows = developer
        .query(
            "SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'devinprod')
                AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE') ORDER BY 1",
            &[],
        )
        .await?;
    let open = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    Ok(told(
        "unarmed: no function with its owner's rights can be called",
        open,
    ))
}
