//! The commands that the proxy itself sends into an upstream transaction.
//!
//! This is the whole list. There is no COMMIT in it, and no way to make one: what a client wrote reaches the
//! upstream only as a [`crate::plan::Sendable`], which transaction commands cannot become.

use super::text::ClientText;
use std::fmt::Write as _;

/// How an upstream is kept from committing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// By the seal: `devinprod.arm()`.
    Sealed,
    /// By a guard in a temporary table, for the stages local and test (weaker: its owner may drop it).
    Guarded,
    /// By READ ONLY: nothing can be written at all.
    ReadOnly,
}

/// One command of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// BEGIN
    Begin,
    /// ROLLBACK of everything
    Rollback,
    /// SAVEPOINT
    Savepoint(String),
    /// RELEASE SAVEPOINT
    Release(String),
    /// ROLLBACK TO SAVEPOINT
    RollbackTo(String),
    /// The guard and the right to write.
    Arm,
    /// SET TRANSACTION READ ONLY
    ReadOnly,
    /// A setting for the session, by set_config, so that no value is ever read as SQL.
    Set(String, String),
    /// RESET
    Reset(String),
    /// A setting's value, to be captured; NULL if there is no such setting.
    Show(String),
    /// `devinprod.now`: the start of the virtual transaction, so many microseconds ago.
    Now(u128),
    /// SET CONSTRAINTS … IMMEDIATE: checks them now.
    CheckConstraints(Vec<(String, String)>),
    /// The same for those of all tables that this transaction has written to, found by the server: for
    /// schemas with so many that naming them all would cost more.
    CheckTouchedConstraints,
    /// SET CONSTRAINTS … DEFERRED: puts them back.
    DeferConstraints(Vec<(String, String)>),
    /// CLOSE
    CloseCursor(String),
    /// ON COMMIT DROP
    DropTemporary(String),
    /// ON COMMIT DELETE ROWS
    EmptyTemporary(String),
    /// The deferrable constraints, the columns whose default is the time, and whether anything is masked, to
    /// be captured.
    Catalog,
    /// The masked relations, as the seal's own tables list them, to be captured.
    Masked,
    /// PREPARE of a client's statement under our name, again on a new connection. The text was accepted as
    /// [`crate::plan::Sendable`] before.
    Prepare(ClientText),
    /// A statement that fails, so that the upstream's transaction is in the state that the client's is in.
    Poison,
}

impl Command {
    /// The command as one SQL statement; None where this flavor has nothing to do.
    pub fn sql(&self, flavor: Flavor) -> Option<String> {
        Some(match self {
            Self::Begin => match flavor {
                Flavor::Sealed | Flavor::Guarded => {
                    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE".into()
                }
                Flavor::ReadOnly => "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY".into(),
            },
            Self::Rollback => "ROLLBACK".into(),
            Self::Savepoint(name) => format!("SAVEPOINT {name}"),
            Self::Release(name) => format!("RELEASE SAVEPOINT {name}"),
            Self::RollbackTo(name) => format!("ROLLBACK TO SAVEPOINT {name}"),
            Self::Arm => match flavor {
                Flavor::Sealed => "SELECT devinprod.arm()".into(),
                Flavor::Guarded => TEMPORARY_GUARD.into(),
                Flavor::ReadOnly => return None,
            },
            Self::ReadOnly => "SET TRANSACTION READ ONLY".into(),
            Self::Set(name, value) => {
                format!(
                    "SELECT pg_catalog.set_config({}, {}, false)",
                    literal(name),
                    literal(value)
                )
            }
            Self::Reset(name) => format!("RESET {}", setting_name(name)),
            Self::Show(name) => {
                format!("SELECT pg_catalog.current_setting({}, true)", literal(name))
            }
            Self::Now(ago) => format!(
                "SELECT pg_catalog.set_config('devinprod.now', (extract(epoch FROM \
                 pg_catalog.statement_timestamp()) - {ago} / 1000000.0)::pg_catalog.numeric(20, 6)::text, false)"
            ),
            Self::CheckConstraints(names) => {
                format!("SET CONSTRAINTS {} IMMEDIATE", constraint_names(names))
            }
            Self::CheckTouchedConstraints => CHECK_TOUCHED.into(),
            Self::DeferConstraints(names) => {
                format!("SET CONSTRAINTS {} DEFERRED", constraint_names(names))
            }
            Self::CloseCursor(name) => format!("CLOSE {}", identifier(name)),
            Self::DropTemporary(name) => format!("DROP TABLE IF EXISTS pg_temp.{name}"),
            // It may be gone: who dropped it is not followed.
            Self::EmptyTemporary(name) => {
                let name = format!("pg_temp.{name}");
                let body = format!(
                    "BEGIN IF pg_catalog.to_regclass({}) IS NOT NULL THEN DELETE FROM {name}; END IF; END",
                    literal(&name)
                );
                format!("DO LANGUAGE plpgsql {}", literal(&body))
            }
            Self::Catalog => CATALOG.into(),
            Self::Masked => MASKED.into(),
            Self::Prepare(text) => text.text()?.to_owned(),
            Self::Poison => "ROLLBACK TO SAVEPOINT devinprod_no_such_savepoint".into(),
        })
    }
}

/// Text as an SQL string literal that reads the same under any setting.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 3);
    if text.contains('\\') {
        out.push_str(" E");
    }
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            '\0' => {}
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// An identifier, quoted.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

/// A setting's name: custom ones have two parts.
fn setting_name(name: &str) -> String {
    name.split('.')
        .map(identifier)
        .collect::<Vec<_>>()
        .join(".")
}

fn constraint_names(names: &[(String, String)]) -> String {
    let mut out = String::new();
    for (schema, name) in names {
        if !out.is_empty() {
            out.push_str(", ");
        }
        let _ = write!(out, "{}.{}", identifier(schema), identifier(name));
    }
    out
}

/// `pg_stat_xact_user_tables` counts what was rolled back, too, so that it names too many tables but never
/// too few, those reached by triggers and cascades included.
const CHECK_TOUCHED: &str = "DO $devinprod$ DECLARE r record; BEGIN \
 FOR r IN SELECT DISTINCT n.nspname, c.conname, \
 bool_and(c.condeferred) OVER (PARTITION BY n.nspname, c.conname) AS deferred \
 FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace \
 WHERE c.condeferrable AND n.nspname <> 'devinprod' AND c.conname <> 'devinprod_refuse' AND EXISTS (SELECT FROM \
 pg_catalog.pg_stat_xact_user_tables t WHERE t.relid IN (c.conrelid, c.confrelid) \
 AND t.n_tup_ins + t.n_tup_upd + t.n_tup_del > 0) \
 LOOP EXECUTE pg_catalog.format('SET CONSTRAINTS %I.%I IMMEDIATE', r.nspname, r.conname); \
 IF r.deferred THEN EXECUTE pg_catalog.format('SET CONSTRAINTS %I.%I DEFERRED', r.nspname, r.conname); END IF; \
 END LOOP; END $devinprod$";

/// The guard of an unsealed upstream: a row whose deferred constraint trigger always raises.
const TEMPORARY_GUARD: &str = "DO $devinprod$ BEGIN \
 IF pg_catalog.to_regclass('pg_temp.devinprod_commit_guard') IS NULL THEN \
 CREATE TEMP TABLE devinprod_commit_guard (one int); \
 CREATE FUNCTION pg_temp.devinprod_refuse_commit() RETURNS trigger LANGUAGE plpgsql AS \
 'BEGIN RAISE EXCEPTION ''a devinprod sandbox cannot commit'' USING ERRCODE = ''UC001''; END'; \
 CREATE CONSTRAINT TRIGGER devinprod_refuse AFTER INSERT ON pg_temp.devinprod_commit_guard \
 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.devinprod_refuse_commit(); \
 END IF; \
 INSERT INTO pg_temp.devinprod_commit_guard VALUES (1); END $devinprod$";

/// See [`Command::Catalog`]; one row per fact: kind, schema, table, name, and a last field.
///
/// Kind `s`, one row: the search path in force, the role, the database, and `t` in the last field if the seal
/// has a list of masked relations.
/// Kind `c`: a deferrable constraint, `t` in the last field if it is initially deferred, `n` if a
/// constraint of the same name in the same schema cannot be deferred.
/// Kind `d`: a column whose default is the time, with the default's expression.
/// Kind `t`: a column of a table that has such a one, with its number.
/// Kind `n`: another relation, by schema and table, of the name of such a table.
/// Kind `i`: a view of the information schema that the seal has a copy of, with its oid and the copy's.
const CATALOG: &str = "WITH timed AS MATERIALIZED (\
 SELECT t.oid, n.nspname, t.relname, a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS expression \
 FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum \
 JOIN pg_catalog.pg_class t ON t.oid = d.adrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace \
 WHERE a.attgenerated = '' AND NOT a.attisdropped AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
 AND (n.nspname NOT LIKE 'pg\\_temp\\_%' OR n.oid = pg_catalog.pg_my_temp_schema()) \
 AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~* \
 '(\\mnow\\(\\)|transaction_timestamp\\(\\)|current_timestamp|current_date|current_time|localtime)') \
 SELECT 's', pg_catalog.current_setting('search_path'), current_user, \
 pg_catalog.current_database(), CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_class c \
 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
 WHERE n.nspname = 'devinprod' AND c.relname = 'masked_relation') THEN 't' ELSE 'f' END \
 UNION ALL \
 SELECT 'i', n.nspname, o.oid::pg_catalog.text, o.relname, v.oid::pg_catalog.text \
 FROM pg_catalog.pg_class v JOIN pg_catalog.pg_class o ON v.relname = 'information_schema.' || o.relname \
 JOIN pg_catalog.pg_namespace n ON n.oid = o.relnamespace AND n.nspname = 'information_schema' \
 JOIN pg_catalog.pg_namespace d ON d.oid = v.relnamespace AND d.nspname = 'devinprod' \
 UNION ALL \
 SELECT 'c', n.nspname, c.conrelid::pg_catalog.regclass::text, c.conname, \
 CASE WHEN NOT c.condeferred THEN 'f' WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE \
 o.connamespace = c.connamespace AND o.conname = c.conname AND NOT o.condeferrable) THEN 'n' ELSE 't' END \
 FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace \
 WHERE c.condeferrable AND n.nspname <> 'devinprod' AND c.conname <> 'devinprod_refuse' \
 AND c.conparentid = 0 \
 UNION ALL \
 SELECT 'd', nspname, relname, attname, expression FROM timed \
 UNION ALL \
 SELECT 't', timed.nspname, timed.relname, a.attname, a.attnum::pg_catalog.text \
 FROM (SELECT DISTINCT oid, nspname, relname FROM timed) AS timed \
 JOIN pg_catalog.pg_attribute a ON a.attrelid = timed.oid AND a.attnum > 0 AND NOT a.attisdropped \
 UNION ALL \
 SELECT 'n', n.nspname, c.relname, '', '' FROM pg_catalog.pg_class c \
 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
 WHERE c.relname IN (SELECT relname FROM timed) AND c.oid NOT IN (SELECT oid FROM timed) AND c.relkind IN ('r', 'p', 'v', 'f', 'm') \
 AND (n.nspname NOT LIKE 'pg\\_temp\\_%' OR n.oid = pg_catalog.pg_my_temp_schema()) \
 AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'devinprod', 'devinprod_masked', 'devinprod_rows')";

/// See [`Command::Masked`].
const MASKED: &str = include_str!("masked.sql");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_the_proxy_sends_can_commit() {
        let commands = [
            Command::Begin,
            Command::Rollback,
            Command::Arm,
            Command::ReadOnly,
            Command::Catalog,
            Command::Masked,
            Command::Set("x'; COMMIT; --".into(), "'); COMMIT; --\\'".into()),
            Command::Reset("a\"; COMMIT".into()),
            Command::CloseCursor("c\"; COMMIT".into()),
        ];
        for command in commands {
            for flavor in [Flavor::Sealed, Flavor::Guarded, Flavor::ReadOnly] {
                let Some(sql) = command.sql(flavor) else {
                    continue;
                };
                assert_eq!(crate::sql::split::split(&sql).len(), 1, "{sql}");
                assert!(
                    !sql.trim_start().to_lowercase().starts_with("commit"),
                    "{sql}"
                );
            }
        }
    }

    #[test]
    fn literals_are_closed_whatever_is_in_them() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
    }
}
