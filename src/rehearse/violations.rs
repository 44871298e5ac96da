//! The rows that stand in the way of a constraint: how many, and the keys of the first few where developers may see keys.

use sqlparser::ast::{AlterTableOperation, Statement as Parsed, TableConstraint};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

use super::Violations;
use crate::sql::value::quote_identifier;

/// How many keys are named.
const KEYS: i64 = 5;

/// What went wrong, without what may quote a value: Postgres' own message where it names things only, and no detail.
pub(super) fn message(error: &DbError) -> String {
    let code = error.code().code();
    // Integrity constraints, objects, syntax, states, what is not supported, resources: their messages name things.
    let names_only = [
        "23", "42", "25", "0A", "55", "57", "2B", "3D", "3F", "53", "54",
    ];
    let is_plain = code != SqlState::CHECK_VIOLATION.code()
        && names_only.iter().any(|class| code.starts_with(class));
    if is_plain || code == SqlState::CHECK_VIOLATION.code() {
        return error.message().to_owned();
    }
    let place = [
        error.table().map(|table| format!("table \"{table}\"")),
        error.column().map(|column| format!("column \"{column}\"")),
        error
            .constraint()
            .map(|constraint| format!("constraint \"{constraint}\"")),
    ];
    let place: Vec<String> = place.into_iter().flatten().collect();
    let place = if place.is_empty() {
        String::new()
    } else {
        format!(" ({})", place.join(", "))
    };
    format!("an error whose text may quote values of rows, and is not shown{place}")
}

/// The rows that violate what a failed statement asked for; None where that cannot be told.
pub(super) async fn find(client: &Client, error: &DbError, sql: &str) -> Option<Violations> {
    let table = table_of(error)?;
    let (rule, condition) = condition(client, error, sql, &table).await?;
    let count = format!("SELECT count(*) FROM {table} AS t WHERE {condition}");
    let counted = savepoint(client, &count).await?;
    let count: i64 = counted.first()?.try_get(0).ok()?;
    Some(Violations {
        keys: keys(client, &table, &condition).await.unwrap_or_default(),
        table,
        rule,
        count,
    })
}

/// The table that an integrity error names, as SQL.
fn table_of(error: &DbError) -> Option<String> {
    if !error.code().code().starts_with("23") {
        return None;
    }
    let table = quote_identifier(error.table()?);
    Some(match error.schema() {
        Some(schema) => format!("{}.{table}", quote_identifier(schema)),
        None => table,
    })
}

/// What is violated, in words, and the condition on `t` under which a row violates it.
async fn condition(
    client: &Client,
    error: &DbError,
    sql: &str,
    table: &str,
) -> Option<(String, String)> {
    match error.code() {
        code if *code == SqlState::NOT_NULL_VIOLATION => {
            let column = quote_identifier(error.column()?);
            Some((
                format!("{column} is not null"),
                format!("t.{column} IS NULL"),
            ))
        }
        code if *code == SqlState::UNIQUE_VIOLATION => {
            let columns = key_of_detail(error)?;
            Some((
                format!("({columns}) is unique"),
                format!(
                    "({columns}) IN (SELECT {columns} FROM {table} GROUP BY {columns} HAVING count(*) > 1)"
                ),
            ))
        }
        code if *code == SqlState::CHECK_VIOLATION => {
            let expression =
                constraints(sql)
                    .into_iter()
                    .find_map(|constraint| match constraint {
                        TableConstraint::Check(check) => Some(check.expr.to_string()),
                        _ => None,
                    })?;
            Some((
                format!("check ({expression})"),
                format!("NOT ({expression})"),
            ))
        }
        code if *code == SqlState::FOREIGN_KEY_VIOLATION => {
            let key = constraints(sql)
                .into_iter()
                .find_map(|constraint| match constraint {
                    TableConstraint::ForeignKey(key) => Some(key),
                    _ => None,
                })?;
            let own: Vec<String> = key.columns.iter().map(ToString::to_string).collect();
            let other = key.foreign_table.to_string();
            let referred: Vec<String> = if key.referred_columns.is_empty() {
                primary_key(client, &other).await?
            } else {
                key.referred_columns
                    .iter()
                    .map(ToString::to_string)
                    .collect()
            };
            let pairs: Vec<String> = own
                .iter()
                .zip(&referred)
                .map(|(own, other)| format!("r.{other} = t.{own}"))
                .collect();
            let given: Vec<String> = own
                .iter()
                .map(|own| format!("t.{own} IS NOT NULL"))
                .collect();
            Some((
                format!("({}) is in {other}", own.join(", ")),
                format!(
                    "{} AND NOT EXISTS (SELECT FROM {other} AS r WHERE {})",
                    given.join(" AND "),
                    pairs.join(" AND ")
                ),
            ))
        }
        _ => None,
    }
}

/// The columns in `Key (a, b)=(1, 2) is duplicated.`; what they are is never read.
fn key_of_detail(error: &DbError) -> Option<String> {
    let (columns, _) = error.detail()?.strip_prefix("Key (")?.split_once(")=(")?;
    Some(columns.to_owned())
}

/// The constraints that a statement adds. The tree is read, and printed for these conditions alone, which select and
/// change nothing.
fn constraints(sql: &str) -> Vec<TableConstraint> {
    let Ok(parsed) = Parser::parse_sql(&PostgreSqlDialect {}, sql) else {
        return Vec::new();
    };
    parsed
        .into_iter()
        .filter_map(|statement| match statement {
            Parsed::AlterTable(alter) => Some(alter.operations),
            _ => None,
        })
        .flatten()
        .filter_map(|operation| match operation {
            AlterTableOperation::AddConstraint { constraint, .. } => Some(constraint),
            _ => None,
        })
        .collect()
}

/// The columns of a table's primary key, quoted.
async fn primary_key(client: &Client, table: &str) -> Option<Vec<String>> {
    let sql = "SELECT array_agg(quote_ident(a.attname) ORDER BY array_position(i.indkey::int2[], a.attnum))
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = to_regclass($1) AND i.indisprimary";
    client
        .query_one(sql, &[&table])
        .await
        .ok()?
        .try_get(0)
        .ok()?
}

/// The keys of the first violating rows, if the seal lets developers see them as they are. Without a seal with a policy,
/// nobody has said that they may.
async fn keys(client: &Client, table: &str, condition: &str) -> Option<Vec<String>> {
    let key = primary_key(client, table).await?;
    let clear = "SELECT count(*) FROM unnest($2::text[]) AS k(name)
        WHERE EXISTS (SELECT FROM devinprod.masked_column c WHERE c.relation = to_regclass($1)
                AND quote_ident(c.name) = k.name AND c.clear)
            OR EXISTS (SELECT FROM devinprod.clear_relation c JOIN pg_catalog.pg_attribute a
                ON a.attrelid = c.relation AND a.attnum = ANY (c.columns)
                WHERE c.relation = to_regclass($1) AND quote_ident(a.attname) = k.name)";
    client
        .batch_execute("SAVEPOINT devinprod_look")
        .await
        .ok()?;
    let counted = client.query_one(clear, &[&table, &key]).await;
    client
        .batch_execute("ROLLBACK TO devinprod_look")
        .await
        .ok()?;
    let clear: i64 = counted.ok()?.try_get(0).ok()?;
    if usize::try_from(clear) != Ok(key.len()) {
        return None;
    }
    let columns: Vec<String> = key.iter().map(|column| format!("t.{column}")).collect();
    let columns = columns.join(", ");
    let sql = format!(
        "SELECT concat_ws(', ', {columns}) FROM {table} AS t WHERE {condition} ORDER BY {columns} LIMIT {KEYS}"
    );
    let rows = savepoint(client, &sql).await?;
    rows.iter().map(|row| row.try_get(0).ok()).collect()
}

/// A look that may fail, and leaves the transaction as it was.
async fn savepoint(client: &Client, sql: &str) -> Option<Vec<tokio_postgres::Row>> {
    client
        .batch_execute("SAVEPOINT devinprod_look")
        .await
        .ok()?;
    let rows = client.query(sql, &[]).await;
    client
        .batch_execute("ROLLBACK TO devinprod_look")
        .await
        .ok()?;
    rows.ok()
}
