//! What EXPLAIN ANALYZE says was read: [`Explained`].

/// Reads EXPLAIN's answer row by row: the rows that the topmost node of a plan returned
/// ([Postgres, EXPLAIN](https://www.postgresql.org/docs/current/using-explain.html#USING-EXPLAIN-ANALYZE)).
///
/// A relation or an alias may be named so that it looks like a part of a plan. But its name stands in quotes then, with
/// each of its own doubled, and a string of JSON or YAML has its quotes and line ends escaped.
#[derive(Debug, Clone, Default)]
pub struct Explained {
    /// A name in quotes goes on in the next row.
    quoted: bool,
    /// The topmost node has been read.
    found: bool,
}

impl Explained {
    /// What the next row adds: a line of the text form, or a whole plan in another form.
    pub fn row(&mut self, row: &str) -> u64 {
        if row.contains('\n') {
            return topmost(row);
        }
        if row.is_empty() && !self.quoted {
            // Another plan follows: a rule made several statements of it.
            self.found = false;
        }
        self.quoted ^= row.matches('"').count() % 2 == 1;
        if self.quoted || self.found {
            return 0;
        }
        let Some((_, actual)) = row.rsplit_once("(actual ") else {
            return 0;
        };
        self.found = true;
        product(
            number_behind(actual, "rows="),
            number_behind(actual, "loops="),
        )
    }
}

/// JSON, YAML and XML write the topmost node's numbers first, each on a line of its own.
fn topmost(plan: &str) -> u64 {
    let value = |names: [&str; 3]| {
        plan.lines().find_map(|line| {
            let line = line.trim_start_matches([' ', '-']);
            let value = names.iter().find_map(|name| line.strip_prefix(name))?;
            number_behind(value, "")
        })
    };
    product(
        value(["\"Actual Rows\":", "Actual Rows:", "<Actual-Rows>"]),
        value(["\"Actual Loops\":", "Actual Loops:", "<Actual-Loops>"]),
    )
}

/// Since Postgres 18 rows are averages with two decimals.
fn product(rows: Option<f64>, loops: Option<f64>) -> u64 {
    match (rows, loops) {
        (Some(rows), Some(loops)) => (rows * loops).ceil() as u64,
        _ => 0,
    }
}

/// The number that stands behind a name.
fn number_behind(text: &str, name: &str) -> Option<f64> {
    let (_, behind) = text.split_once(name)?;
    let number = behind.trim_start();
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
        let text = "Seq Scan on t  (cost=0.00..2.00 rows=100 width=4) (actual time=0.01..0.02 rows=7 loops=3)";
        let cases: &[(&[&str], u64)] = &[
            (&[text], 21),
            (&["Seq Scan on t (actual rows=2.50 loops=2)"], 5),
            (
                &[
                    "Limit (actual rows=2 loops=1)",
                    "  ->  Seq Scan on t  (actual time=0.01..0.02 rows=7 loops=1)",
                ],
                2,
            ),
            (&["Seq Scan on t  (cost=0.00..2.00 rows=100 width=4)"], 0),
            (&["Execution Time: 0.1 ms", ""], 0),
            (&[text, "", text], 42),
            (
                &[
                    "[\n  {\n    \"Plan\": {\n      \"Actual Rows\": 12,\n      \"Actual Loops\": 1,\n      \"Plans\": [\n        {\n          \"Actual Rows\": 99,\n          \"Actual Loops\": 1",
                ],
                12,
            ),
            (&["- Plan: \n    Actual Rows: 12\n    Actual Loops: 2"], 24),
            (
                &["<explain>\n <Actual-Rows>12</Actual-Rows>\n <Actual-Loops>1</Actual-Loops>"],
                12,
            ),
        ];
        for (rows, expected) in cases {
            let mut explained = Explained::default();
            let read: u64 = rows.iter().map(|row| explained.row(row)).sum();
            assert_eq!(read, *expected, "{rows:?}");
        }
    }

    #[test]
    fn names_that_look_like_a_plan_hide_nothing() {
        for rows in [
            &["Seq Scan on t \"(actual rows=0 loops=0)\"  (actual rows=7 loops=1)"][..],
            &[
                "Seq Scan on t \"x (actual rows=0 loops=0)",
                "  ->  y\"  (actual rows=7 loops=1)",
            ],
            &[
                "Seq Scan on t \"x\"\" (actual rows=0 loops=0)",
                "",
                "\"  (actual rows=7 loops=1)",
            ],
            &[
                "[\n \"Alias\": \"\\\"Actual Rows\\\": 0\",\n \"Actual Rows\": 7,\n \"Actual Loops\": 1",
            ],
            &["- Plan: \n    Alias: \"Actual Rows: 0\"\n    Actual Rows: 7\n    Actual Loops: 1"],
        ] {
            let mut explained = Explained::default();
            let read: u64 = rows.iter().map(|row| explained.row(row)).sum();
            assert_eq!(read, 7, "{rows:?}");
        }
    }
}
