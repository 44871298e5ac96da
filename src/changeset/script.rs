//! Changes as SQL: a statement for each row, that makes the same change elsewhere.

use super::tables::quoted;
use super::{Change, Column, Row, Table};

/// What a script begins with: values read as they were written, and neither triggers nor foreign keys change anything besides, as far
/// as whoever plays it may say so.
pub const HEAD: &str = "\
BEGIN;
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO';
SET LOCAL intervalstyle = 'postgres';
SET LOCAL bytea_output = 'hex';
SET LOCAL extra_float_digits = 1;
SET LOCAL timezone = 'UTC';
SET LOCAL check_function_bodies = off;
DO $$
BEGIN
    PERFORM set_config('session_replication_role', 'replica', true);
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'triggers fire: this role may not set session_replication_role';
END
$$;";

/// What a script ends with.
pub const TAIL: &str = "COMMIT;";

/// When a statement has its turn, so that none meets a unique value that another is about to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Rows go.
    Delete,
    /// Rows change.
    Update,
    /// Rows come.
    Insert,
}

/// The statements that make a change, each with a semicolon. A row whose unique values change goes and comes back: what holds its new
/// ones may be about to change, too.
pub fn statements(table: &Table, change: &Change) -> Vec<(Turn, String)> {
    match change {
        Change::Insert(row) => vec![(Turn::Insert, insert(table, row))],
        Change::Delete(row) => vec![(Turn::Delete, delete(table, row))],
        Change::Update { before, after } => {
            let changed = change.changed();
            if table.unique.iter().any(|at| changed.contains(at)) && whole(table) {
                return vec![
                    (Turn::Delete, delete(table, before)),
                    (Turn::Insert, insert(table, after)),
                ];
            }
            let cells: Vec<String> = changed
                .iter()
                .filter_map(|at| Some((table.columns.get(*at)?, after.get(*at)?)))
                .filter(|(column, _)| !column.generated)
                .map(|(column, cell)| format!("{} = {}", quoted(&column.name), literal(cell)))
                .collect();
            if cells.is_empty() {
                // Only what the server makes of others.
                return Vec::new();
            }
            let sql = format!(
                "UPDATE {} AS t SET {} WHERE {};",
                place(table),
                cells.join(", "),
                found(table, before)
            );
            vec![(Turn::Update, sql)]
        }
    }
}

/// All of a row is known as it is, so that it can be made again.
fn whole(table: &Table) -> bool {
    table.complete && table.columns.iter().all(|column| !column.masked)
}

fn place(table: &Table) -> String {
    let only = if table.only { "ONLY " } else { "" };
    format!("{only}{}", name(table))
}

fn name(table: &Table) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

fn insert(table: &Table, row: &Row) -> String {
    let written: Vec<(&Column, &Option<String>)> = table
        .columns
        .iter()
        .zip(row)
        .filter(|(column, _)| !column.generated)
        .collect();
    if written.is_empty() {
        return format!("INSERT INTO {} DEFAULT VALUES;", name(table));
    }
    let names: Vec<String> = written
        .iter()
        .map(|(column, _)| quoted(&column.name))
        .collect();
    let cells: Vec<String> = written.iter().map(|(_, cell)| literal(cell)).collect();
    let overriding = if written.iter().any(|(column, _)| column.always_identity) {
        " OVERRIDING SYSTEM VALUE"
    } else {
        ""
    };
    format!(
        "INSERT INTO {} ({}){overriding} VALUES ({});",
        name(table),
        names.join(", "),
        cells.join(", ")
    )
}

fn delete(table: &Table, row: &Row) -> String {
    format!(
        "DELETE FROM {} AS t WHERE {};",
        place(table),
        found(table, row)
    )
}

/// The condition under which a row `t` is this one: by its key, else one of those that read the same.
fn found(table: &Table, row: &Row) -> String {
    if !table.key.is_empty() {
        let equal = |at: &usize| {
            let (column, cell) = (table.columns.get(*at)?, row.get(*at)?);
            Some(format!("t.{} = {}", quoted(&column.name), literal(cell)))
        };
        return table
            .key
            .iter()
            .filter_map(equal)
            .collect::<Vec<_>>()
            .join(" AND ");
    }
    // As text: not every type can be compared. A mask is another elsewhere.
    let same: Vec<String> = table
        .columns
        .iter()
        .zip(row)
        .filter(|(column, _)| !column.masked)
        .map(|(column, cell)| format!("{} IS NOT DISTINCT FROM {}", column.cell, literal(cell)))
        .collect();
    let condition = if same.is_empty() {
        "true".to_owned()
    } else {
        same.join(" AND ")
    };
    format!(
        "(t.tableoid, t.ctid) = (SELECT t.tableoid, t.ctid FROM {} AS t WHERE {condition} LIMIT 1)",
        place(table)
    )
}

/// A cell as a constant, of whatever type it is to be.
fn literal(cell: &Option<String>) -> String {
    match cell {
        Some(text) => format!("'{}'", text.replace('\'', "''")),
        None => "NULL".to_owned(),
    }
}
