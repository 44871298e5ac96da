//! The shape of plans: which nodes on which relations, without costs.

use serde_json::Value;
use tokio_postgres::Client;

use super::ask::{Plain, ask};
use super::run::Run;

/// So many statements of a run are explained.
const MOST: usize = 300;

/// Asks for the plan of each statement that has one, with parameters of the run; `client` is in the run's sandbox.
/// A statement that cannot be explained (its table has gone, its parameters were too large) stays without a shape.
pub async fn explain(client: &Client, run: &mut Run) {
    for statement in run.statements.values_mut().take(MOST) {
        let Some(sample) = &statement.sample else {
            continue;
        };
        if !has_plan(&sample.text) {
            continue;
        }
        let text = format!("EXPLAIN (FORMAT JSON) {}", sample.text);
        let rows = ask(client, &text, &sample.types, &sample.parameters).await;
        let json = rows.ok().and_then(|rows| {
            let cell: Plain = rows.first()?.try_get(0).ok()?;
            serde_json::from_str(&cell.0).ok()
        });
        statement.plan = json.as_ref().map(shape);
    }
}

/// What EXPLAIN takes, by the first word.
fn has_plan(text: &str) -> bool {
    let first = text
        .split(|c: char| !c.is_ascii_alphabetic())
        .find(|word| !word.is_empty());
    let words = [
        "select", "with", "table", "values", "insert", "update", "delete", "merge",
    ];
    first.is_some_and(|first| words.contains(&first.to_lowercase().as_str()))
}

/// One line for each node of what `EXPLAIN (FORMAT JSON)` printed, a child behind two blanks more.
fn shape(explained: &Value) -> String {
    let mut out = Vec::new();
    let plan = explained.get(0).and_then(|first| first.get("Plan"));
    if let Some(plan) = plan {
        node(plan, 0, &mut out);
    }
    out.join("\n")
}

fn node(plan: &Value, depth: usize, out: &mut Vec<String>) {
    let field = |name: &str| plan.get(name).and_then(Value::as_str);
    let mut line = "  ".repeat(depth);
    if let Some(join) = field("Join Type").filter(|join| *join != "Inner") {
        line.push_str(join);
        line.push(' ');
    }
    line.push_str(field("Operation").or(field("Node Type")).unwrap_or("?"));
    if let Some(index) = field("Index Name") {
        line.push_str(&format!(" using {index}"));
    }
    if let Some(relation) = field("Relation Name")
        .or(field("CTE Name"))
        .or(field("Function Name"))
    {
        line.push_str(&format!(" on {relation}"));
    }
    out.push(line);
    let children = plan.get("Plans").and_then(Value::as_array);
    for child in children.into_iter().flatten() {
        node(child, depth + 1, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_no_costs() {
        let explained = serde_json::json!([{"Plan": {
            "Node Type": "Nested Loop", "Join Type": "Left", "Total Cost": 12.5,
            "Plans": [
                {"Node Type": "Seq Scan", "Relation Name": "orders", "Plan Rows": 60},
                {"Node Type": "Index Scan", "Relation Name": "accounts", "Index Name": "accounts_pkey"},
            ]
        }}]);
        assert_eq!(
            shape(&explained),
            "Left Nested Loop\n  Seq Scan on orders\n  Index Scan using accounts_pkey on accounts"
        );
    }

    #[test]
    fn what_can_be_explained() {
        assert!(has_plan("(SELECT 1)") && has_plan("/**/ insert into t"));
        assert!(!has_plan("BEGIN") && !has_plan("COPY t TO STDOUT") && !has_plan(""));
    }
}
