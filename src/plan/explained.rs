//! What EXPLAIN ANALYZE says was read: [`explained_rows`].

/// The rows that the topmost node of a plan returned in all its loops, from a row of EXPLAIN's output: the first line of
/// its text form, or a whole plan in another form. 0 for any other line
/// ([Postgres, EXPLAIN](https://www.postgresql.org/docs/current/using-explain.html#USING-EXPLAIN-ANALYZE)).
pub fn explained_rows(line: &str) -> u64 {
    if line.trim_start().starts_with("->") {
        return 0;
    }
    let text = line.split_once("(actual ").map(|(_, actual)| {
        let of = |name: &str| number_behind(actual, name);
        (of("rows="), of("loops="))
    });
    let (rows, loops) = text.unwrap_or_else(|| {
        // JSON, YAML and XML write the topmost node's first.
        let of = |names: [&str; 2]| names.iter().find_map(|name| number_behind(line, name));
        (
            of(["Actual Rows", "Actual-Rows"]),
            of(["Actual Loops", "Actual-Loops"]),
        )
    });
    match (rows, loops) {
        (Some(rows), Some(loops)) => (rows * loops).ceil() as u64,
        _ => 0,
    }
}

/// The number that stands behind a name, past quotes, colons, brackets and spaces. Since Postgres 18 rows are averages
/// with two decimals.
fn number_behind(text: &str, name: &str) -> Option<f64> {
    let (_, behind) = text.split_once(name)?;
    let number = behind.trim_start_matches(['"', ':', '>', ' ']);
    let end = number
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(number.len());
    number.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_nodes_rows_are_counted_in_every_form() {
        for (line, rows) in [
            (
                "Seq Scan on t  (cost=0.00..2.00 rows=100 width=4) (actual time=0.01..0.02 rows=7 loops=3)",
                21,
            ),
            ("Seq Scan on t (actual rows=2.50 loops=2)", 5),
            (
                "  ->  Seq Scan on t  (actual time=0.01..0.02 rows=7 loops=1)",
                0,
            ),
            ("Seq Scan on t  (cost=0.00..2.00 rows=100 width=4)", 0),
            ("Execution Time: 0.1 ms", 0),
            (
                "[{\"Plan\": {\"Actual Rows\": 12, \"Actual Loops\": 1, \"Plans\": [{\"Actual Rows\": 99, \"Actual Loops\": 1}]}}]",
                12,
            ),
            ("- Plan:\n    Actual Rows: 12\n    Actual Loops: 2", 24),
            (
                "<Actual-Rows>12</Actual-Rows><Actual-Loops>1</Actual-Loops>",
                12,
            ),
            ("", 0),
        ] {
            assert_eq!(explained_rows(line), rows, "{line}");
        }
    }
}
