//! The examples in docs/masks.md are what the masks answer.

use std::collections::BTreeSet;

use devinprod::synth::{Column, Mask};

use crate::harness;
use crate::synth_kit::{Masks, column, mask, rows_of};

const PAGE: &str = include_str!("../../docs/masks.md");

#[tokio::test]
async fn the_examples_are_true() {
    let masks = Masks::new(harness::database().await).await;
    masks
        .admin
        .batch_execute("CREATE TYPE mood AS ENUM ('sad', 'it''s fine', 'happy'); SET TimeZone = 'UTC'; SET DateStyle = 'ISO'")
        .await
        .unwrap();
    let mut shown = BTreeSet::new();
    let mut wrong = Vec::new();
    for [what, sql_type, real, synthetic] in rows("| mask | column | real | synthetic |") {
        let mut words = code_spans(&what).into_iter();
        let name = words.next().unwrap();
        let parameters: Vec<_> = words.collect();
        let mask = mask(&name, &parameters.join("\n"));
        let sql_type = code_spans(&sql_type).remove(0);
        let real = code_spans(&real).remove(0);
        let column = column_of(&masks, &sql_type).await;
        let expression = mask.expression("t.c", &column).unwrap();
        let answer = rows_of(
            &masks.admin,
            &format!(
                "SELECT {expression} FROM (SELECT $real${real}$real$::{} AS c, 7 AS patient) AS t",
                column.sql_type
            ),
        )
        .await
        .remove(0)
        .remove(0);
        let answer = answer.map_or_else(|| "NULL".to_owned(), |answer| format!("`{answer}`"));
        if answer != synthetic {
            wrong.push(format!("| {what} | `{sql_type}` | `{real}` | {answer} |"));
        }
        shown.insert(name);
    }
    assert!(wrong.is_empty(), "must be:\n{}", wrong.join("\n"));
    let all: BTreeSet<_> = Mask::all()
        .iter()
        .map(|mask| mask.name.to_owned())
        .collect();
    assert_eq!(shown, all);
}

#[test]
fn the_table_lists_all_masks_and_parameters() {
    let listed: Vec<_> = rows("| mask | for | parameters | keeps |");
    let names: Vec<_> = listed
        .iter()
        .map(|row| code_spans(&row[0]).remove(0))
        .collect();
    let all: Vec<_> = Mask::all().iter().map(|mask| mask.name).collect();
    assert_eq!(names, all);
    for (row, mask) in listed.iter().zip(Mask::all()) {
        let said = code_spans(&row[2]);
        for (parameter, _, _) in mask.parameters {
            assert!(
                said.iter().any(|word| word == parameter),
                "{} of {}",
                parameter,
                mask.name
            );
        }
    }
}

/// The column that a short name of its type means.
async fn column_of(masks: &Masks, sql_type: &str) -> Column {
    let full = rows_of(
        &masks.admin,
        &format!(
            "CREATE TEMP TABLE named (c {sql_type}); SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attrelid = 'pg_temp.named'::regclass AND attname = 'c'; DROP TABLE pg_temp.named"
        ),
    )
    .await;
    column(full[0][0].as_deref().unwrap())
}

/// The rows of the table with this header.
fn rows(header: &str) -> Vec<[String; 4]> {
    let (_, table) = PAGE.split_once(header).unwrap();
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
            // Before the first bar and behind the last there is nothing.
            let cells = cells[1..cells.len() - 1].to_vec();
            <[String; 4]>::try_from(cells)
                .unwrap_or_else(|cells| panic!("{line} has {} cells", cells.len()))
        })
        .collect()
}

/// What stands between backticks.
fn code_spans(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}
