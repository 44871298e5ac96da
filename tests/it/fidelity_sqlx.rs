//! sqlx on the demo's shop, masked and unmasked: what its `query!` is told when it compiles, and the steps that every
//! driver takes (`tests/clients/shop.json`).

use std::collections::HashMap;

use futures::TryStreamExt as _;
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgPoolOptions, PgRow};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _, SqlStr, TypeInfo as _,
};

use crate::fidelity_app::{POLICY, shop};
use crate::harness::{Proxy, Setup, dump, proxy_with};

/// Statements as a program has them in `query!`.
const QUERIES: [&str; 30] = [
    "SELECT * FROM customers",
    "SELECT * FROM customers WHERE email = $1",
    "SELECT id, email, full_name FROM customers WHERE id = $1",
    "SELECT c.id, c.email AS address, c.birth_date FROM customers AS c WHERE c.birth_date < $1 AND c.city = ANY($2)",
    "SELECT phone, preferences, created_at FROM customers WHERE phone IS NOT NULL LIMIT $1 OFFSET $2",
    "SELECT count(*), max(email), min(birth_date) FROM customers",
    "SELECT city, count(DISTINCT email) AS people FROM customers GROUP BY city",
    "SELECT lower(email) AS lower, full_name || $1 AS greeting, length(street) FROM customers",
    "SELECT o.id, o.status, o.note, c.email, c.phone FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = $1",
    "SELECT o.id, c.email, c.full_name FROM orders o LEFT JOIN customers c ON c.id = o.customer_id",
    "SELECT c.id, c.email, o.id AS order_id, o.note FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.email = $1",
    "SELECT c.email, t.subject, t.body FROM customers c FULL JOIN support_tickets t ON t.customer_id = c.id",
    "SELECT * FROM orders WHERE customer_id = $1 ORDER BY placed_at DESC",
    "SELECT * FROM payments WHERE card_number = $1",
    "SELECT * FROM order_summaries WHERE email = $1",
    "SELECT * FROM products WHERE price < $1 AND attributes @> $2",
    "SELECT id, status FROM orders WHERE status = $1",
    "SELECT EXISTS(SELECT 1 FROM customers WHERE email = $1) AS known",
    "WITH spent AS (SELECT customer_id, sum(total) AS total FROM orders GROUP BY 1) SELECT c.full_name, s.total FROM spent s JOIN customers c ON c.id = s.customer_id",
    "SELECT c.email, row_number() OVER (PARTITION BY c.city ORDER BY c.created_at) FROM customers c",
    "SELECT email FROM customers UNION SELECT card_holder FROM payments",
    "SELECT id, email FROM customers WHERE id = $1 FOR UPDATE",
    "INSERT INTO customers (email, full_name, street, city, postal_code) VALUES ($1, $2, $3, $4, $5)",
    "INSERT INTO customers (email, full_name, street, city, postal_code) VALUES ($1, $2, $3, $4, $5) RETURNING id",
    "INSERT INTO customers (email, full_name, street, city, postal_code) VALUES ($1, $2, $3, $4, $5) RETURNING id, email, phone",
    "INSERT INTO orders (customer_id, note) SELECT id, $2 FROM customers WHERE email = $1 RETURNING *",
    "UPDATE customers SET full_name = $2, phone = $3 WHERE email = $1 RETURNING id, full_name, phone",
    "UPDATE customers SET city = $2 WHERE id = $1 RETURNING *",
    "INSERT INTO products (sku, name, price) VALUES ($1, $2, $3) ON CONFLICT (sku) DO UPDATE SET price = excluded.price RETURNING id, price",
    "INSERT INTO customers (email, full_name, street, city, postal_code) VALUES ($1, $2, 'x', 'x', 'x') ON CONFLICT (email) DO UPDATE SET full_name = excluded.full_name RETURNING id, full_name",
];

async fn served(policy: Option<String>) -> Proxy {
    let setup = Setup {
        policy,
        ..Setup::default()
    };
    proxy_with(shop().await, setup).await
}

fn policies() -> [Option<String>; 2] {
    [None, Some(POLICY.replace("upstream = \"shop\"\n", ""))]
}

/// What the macro makes of a statement: names, types and nullability of its columns, and its parameters' types.
async fn described(db: &mut PgConnection, sql: &'static str) -> String {
    match db.describe(SqlStr::from_static(sql)).await {
        Ok(told) => {
            let columns: Vec<_> = told
                .columns()
                .iter()
                .enumerate()
                .map(|(at, column)| (column.name(), column.type_info().name(), told.nullable(at)))
                .collect();
            format!("{columns:?} <- {:?}", told.parameters)
        }
        Err(error) => format!("{error:?}"),
    }
}

#[tokio::test]
async fn query_macros_are_told_what_postgres_tells_them() {
    for policy in policies() {
        let proxy = served(policy).await;
        let mut direct = PgConnection::connect(&proxy.database.url).await.unwrap();
        let mut through = PgConnection::connect(&proxy.url()).await.unwrap();
        let mut different = Vec::new();
        for sql in QUERIES {
            let expected = described(&mut direct, sql).await;
            assert!(expected.contains("<-"), "{sql}: {expected}");
            let told = described(&mut through, sql).await;
            if told != expected {
                different.push(format!("{sql}\n  direct:  {expected}\n  through: {told}"));
            }
        }
        assert!(different.is_empty(), "{}", different.join("\n"));
    }
}

#[tokio::test]
async fn every_step_works_in_sqlx() {
    let mut kept = Vec::new();
    for policy in policies() {
        let proxy = served(policy).await;
        let before = dump(&proxy.database).await;
        kept.push(take_steps(&proxy.url()).await);
        assert!(
            before == dump(&proxy.database).await,
            "something was committed"
        );
    }
    for shown in ["name", "email"] {
        assert_ne!(kept[0][shown], kept[1][shown], "{shown} of a customer");
    }
}

#[tokio::test]
async fn every_step_works_in_sqlx_straight_at_postgres() {
    take_steps(&shop().await.url).await;
}

/// Takes all the steps with a pool, and returns what they kept.
async fn take_steps(url: &str) -> HashMap<String, Value> {
    let shop: Value = serde_json::from_str(include_str!("../clients/shop.json")).unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(3)
        .connect(url)
        .await
        .unwrap();
    let mut kept: HashMap<String, Value> = HashMap::new();
    for transaction in shop["transactions"].as_array().unwrap() {
        let name = &transaction["name"];
        let mut block = pool.begin().await.unwrap();
        let mut failed = None;
        for step in transaction["steps"].as_array().unwrap() {
            let known = |value: &Value| match value.as_str().and_then(|name| name.strip_prefix(':'))
            {
                Some(name) => kept[name].clone(),
                None => value.clone(),
            };
            if let Some(sql) = step["copy"].as_str() {
                let parts = block.copy_out_raw(sql).await.unwrap();
                let parts: Vec<_> = parts.try_collect().await.unwrap();
                let text = String::from_utf8(parts.concat()).unwrap();
                for line in step["lines"].as_array().unwrap() {
                    assert!(text.contains(line.as_str().unwrap()), "{name}: {line}");
                }
                continue;
            }
            let mut query = sqlx::query(AssertSqlSafe(step["sql"].as_str().unwrap()));
            for value in step["with"].as_array().unwrap() {
                query = match known(value) {
                    Value::Number(number) => query.bind(number.as_i64()),
                    value => query.bind(value.as_str().map(str::to_owned)),
                };
            }
            let rows = match query.fetch_all(&mut *block).await {
                Ok(rows) => rows.iter().map(values).collect::<Vec<_>>(),
                Err(error) => {
                    let database = error.as_database_error().and_then(|e| e.code());
                    failed = Some(
                        database
                            .unwrap_or_else(|| panic!("{name}: {error}"))
                            .into_owned(),
                    );
                    break;
                }
            };
            if let Some(expected) = step["rows"].as_array() {
                let same =
                    |(value, wanted): (&Value, &Value)| *wanted == "*" || *value == known(wanted);
                let all = rows.len() == expected.len()
                    && rows.iter().zip(expected).all(|(row, wanted)| {
                        let wanted = wanted.as_array().unwrap();
                        row.len() == wanted.len() && row.iter().zip(wanted).all(same)
                    });
                assert!(all, "{name}: {step}: {rows:?}");
            }
            for (name, place) in step["keep"].as_object().into_iter().flatten() {
                let place = usize::try_from(place.as_u64().unwrap()).unwrap();
                kept.insert(name.clone(), rows[0][place].clone());
            }
        }
        assert_eq!(failed.as_deref(), transaction["fails"].as_str(), "{name}");
        match failed {
            Some(_) => block.rollback().await.unwrap(),
            None => block.commit().await.unwrap(),
        }
    }
    pool.close().await;
    kept
}

fn values(row: &PgRow) -> Vec<Value> {
    let value = |at: usize| match row.column(at).type_info().name() {
        "INT8" => row.get::<Option<i64>, _>(at).into(),
        "INT4" => row.get::<Option<i32>, _>(at).into(),
        "BOOL" => row.get::<Option<bool>, _>(at).into(),
        _ => row.get::<Option<String>, _>(at).into(),
    };
    (0..row.len()).map(value).collect()
}
