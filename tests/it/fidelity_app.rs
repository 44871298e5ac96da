//! A realistic application on the demo's shop: every step works, masked and unmasked, and answers the same wherever
//! nothing sensitive is asked for.

use std::pin::pin;

use futures::{SinkExt as _, TryStreamExt as _};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::harness::{self, Setup, TestDatabase, connect, dump, proxy_with, scalar};

const SCHEMA: &str = include_str!("../../src/cli/demo/schema.sql");
const DATA: &str = include_str!("../../src/cli/demo/data.sql");
pub(crate) const POLICY: &str = include_str!("../../policies/shop.toml");

pub(crate) async fn shop() -> TestDatabase {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin
        .batch_execute(&format!(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC;
             BEGIN; {SCHEMA}; {DATA}; COMMIT; ANALYZE"
        ))
        .await
        .unwrap();
    database
}

#[tokio::test]
async fn every_step_works_masked_and_unmasked() {
    let mut told = Vec::new();
    for policy in [None, Some(POLICY.replace("upstream = \"shop\"\n", ""))] {
        let masked = policy.is_some();
        let setup = Setup {
            policy,
            ..Setup::default()
        };
        let proxy = proxy_with(shop().await, setup).await;
        let before = dump(&proxy.database).await;
        told.push(run(&proxy.url()).await);
        let real = proxy.database.connect().await;
        let developer = connect(&proxy.url()).await;
        for column in ["email", "full_name", "street"] {
            let sql = format!("SELECT {column} FROM customers WHERE id = 7");
            let same = scalar(&real, &sql).await == scalar(&developer, &sql).await;
            assert_eq!(same, !masked, "{column} of a customer of the shop");
        }
        assert!(
            before == dump(&proxy.database).await,
            "something was committed"
        );
    }
    assert_eq!(
        told[0], told[1],
        "unmasked on the left, masked on the right"
    );
}

/// The steps are what an application does anyway: without devinprod they work too.
#[tokio::test]
async fn every_step_works_straight_at_postgres() {
    let database = shop().await;
    run(&database.url).await;
}

/// Takes every step; what each found is the same for everybody.
async fn run(url: &str) -> Vec<String> {
    let mut client = connect(url).await;
    let mut told = Vec::new();
    let customer = told_by(&mut told, "sign up", sign_up(&mut client).await);
    told_by(&mut told, "log in", log_in(&client).await);
    // Another connection of the pool.
    let mut client = connect(url).await;
    told_by(&mut told, "log in elsewhere", log_in(&client).await);
    told_by(&mut told, "the address is taken", taken(&client).await);
    told_by(&mut told, "search products", search_products(&client).await);
    told_by(
        &mut told,
        "search customers",
        search_customers(&client).await,
    );
    told_by(&mut told, "a page of customers", page(&client).await);
    let order = told_by(&mut told, "order", place_order(&mut client, customer).await);
    told_by(&mut told, "what was ordered", ordered(&client, order).await);
    told_by(&mut told, "refund", refund(&mut client, order).await);
    told_by(
        &mut told,
        "change the profile",
        profile(&client, customer).await,
    );
    told_by(
        &mut told,
        "support",
        support(&client, customer, order).await,
    );
    told_by(&mut told, "change somebody's city", touch(&client).await);
    told_by(&mut told, "report", report(&client).await);
    told_by(&mut told, "export", export(&client).await);
    told_by(&mut told, "import", import(&client).await);
    told_by(&mut told, "upsert", upsert(&client).await);
    told_by(&mut told, "close the account", close(&mut client).await);
    told.into_iter()
        .map(|(step, found)| format!("{step}: {found}"))
        .collect()
}

/// Keeps what a step found, and hands on what the next one needs.
fn told_by<T: Default>(
    told: &mut Vec<(&'static str, String)>,
    step: &'static str,
    result: Result<(T, String), Error>,
) -> T {
    match result {
        Ok((value, found)) => {
            told.push((step, found));
            value
        }
        Err(error) => {
            let detail = error.as_db_error().map(|e| {
                format!(
                    "{} {}; hint: {:?}; detail: {:?}",
                    e.code().code(),
                    e.message(),
                    e.hint(),
                    e.detail()
                )
            });
            panic!("{step}: {error}: {detail:?}; before it: {told:#?}");
        }
    }
}

type Found<T = ()> = Result<(T, String), Error>;

fn found(text: impl Into<String>) -> Found {
    Ok(((), text.into()))
}

const EMAIL: &str = "dev@test.example";

async fn sign_up(client: &mut Client) -> Found<i64> {
    let transaction = client.transaction().await?;
    let known = transaction
        .query_opt("SELECT 1 FROM customers WHERE email = $1", &[&EMAIL])
        .await?;
    assert!(known.is_none());
    let row = transaction
        .query_one(
            "INSERT INTO customers (email, full_name, phone, street, city, postal_code)
             VALUES ($1, $2, $3, $4, $5, $6) RETURNING id, email, full_name, country, created_at = updated_at",
            &[&EMAIL, &"Dev Test", &"+1 202 555 0100", &"1 Test Street", &"Austin", &"73301"],
        )
        .await?;
    transaction.commit().await?;
    let told: (&str, &str, &str, bool) = (row.get(1), row.get(2), row.get(3), row.get(4));
    assert_eq!(told.0, EMAIL);
    Ok((row.get(0), format!("{told:?}")))
}

async fn log_in(client: &Client) -> Found {
    let row = client
        .query_one("SELECT c.id, c.email, c.full_name, c.phone FROM customers c WHERE lower(c.email) = lower($1)", &[&"Dev@Test.example"])
        .await?;
    let told: (&str, &str, Option<&str>) = (row.get(1), row.get(2), row.get(3));
    found(format!("{told:?}"))
}

async fn taken(client: &Client) -> Found {
    let again = client
        .execute(
            "INSERT INTO customers (email, full_name, street, city, postal_code) VALUES ($1, 'x', 'x', 'x', 'x')",
            &[&EMAIL],
        )
        .await;
    let error = again.expect_err("the address is taken");
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error:?}");
    let constraint = error.as_db_error().and_then(|e| e.constraint());
    found(format!("{constraint:?}"))
}

async fn search_products(client: &Client) -> Found {
    let rows = client
        .query(
            "SELECT id, sku, name, price::text FROM products WHERE active AND name ILIKE $1 AND price < $2::text::numeric
             ORDER BY price, id LIMIT 5",
            &[&"%lamp%", &"200"],
        )
        .await?;
    let shown: Vec<(i32, &str, &str)> = rows
        .iter()
        .map(|r| (r.get(0), r.get(1), r.get(3)))
        .collect();
    found(format!("{shown:?}"))
}

/// Whatever name is shown can be searched for.
async fn search_customers(client: &Client) -> Found {
    let shown = client
        .query_one("SELECT full_name, email FROM customers WHERE id = 42", &[])
        .await?;
    let (name, email): (&str, &str) = (shown.get(0), shown.get(1));
    for (sql, value) in [
        (
            "SELECT id FROM customers WHERE lower(full_name) = lower($1)",
            name,
        ),
        ("SELECT id FROM customers WHERE email = $1", email),
        (
            "SELECT c.id FROM customers AS c WHERE c.full_name LIKE '%' || $1 || '%' ORDER BY c.created_at DESC",
            name,
        ),
        (
            "SELECT c.id FROM orders o RIGHT JOIN customers c ON c.id = o.customer_id WHERE c.email = $1 GROUP BY c.id",
            email,
        ),
    ] {
        let rows = client.query(sql, &[&value]).await?;
        assert!(
            rows.iter().any(|row| row.get::<_, i64>(0) == 42),
            "{sql}: {value}"
        );
    }
    found("found")
}

async fn page(client: &Client) -> Found {
    let rows = client
        .query(
            "SELECT customers.*, (SELECT count(*) FROM orders WHERE orders.customer_id = customers.id) AS orders
             FROM customers WHERE city = $1 ORDER BY id LIMIT 10 OFFSET 20",
            &[&"Boston"],
        )
        .await?;
    let shown: Vec<(i64, &str, i64)> = rows
        .iter()
        .map(|r| (r.get("id"), r.get("city"), r.get("orders")))
        .collect();
    assert!(
        rows.iter()
            .all(|row| row.get::<_, &str>("email").contains('@'))
    );
    found(format!("{shown:?}"))
}

async fn place_order(client: &mut Client, customer: i64) -> Found<i64> {
    let transaction = client.transaction().await?;
    let products = transaction
        .query("SELECT id, price FROM products WHERE active AND stock > 3 ORDER BY id LIMIT 2 FOR UPDATE", &[])
        .await;
    // numeric has no Rust type here; the price is copied by the database.
    let products: Vec<i32> = products?.iter().map(|row| row.get(0)).collect();
    let row = transaction
        .query_one("INSERT INTO orders (customer_id, note) VALUES ($1, $2) RETURNING id, status::text, note", &[&customer, &"Ring twice"])
        .await?;
    let (order, status, note): (i64, String, String) = (row.get(0), row.get(1), row.get(2));
    for product in &products {
        transaction
            .execute(
                "INSERT INTO order_items (order_id, product_id, quantity, unit_price) SELECT $1, id, 2, price FROM products WHERE id = $2",
                &[&order, product],
            )
            .await?;
        transaction
            .execute(
                "UPDATE products SET stock = stock - 2 WHERE id = $1",
                &[product],
            )
            .await?;
    }
    let paid = transaction
        .query_one(
            "INSERT INTO payments (order_id, amount, status, card_holder, card_number, card_expires)
             SELECT o.id, o.total, 'captured', c.full_name, $2, '12/29'
             FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = $1
             RETURNING card_holder, card_number, amount::text",
            &[&order, &"4111111111111111"],
        )
        .await?;
    let changed = transaction
        .query_one("UPDATE orders SET status = 'paid' WHERE id = $1 RETURNING status::text, total::text, note", &[&order])
        .await?;
    transaction.commit().await?;
    let paid: (&str, &str, &str) = (paid.get(0), paid.get(1), paid.get(2));
    let changed: (&str, &str, &str) = (changed.get(0), changed.get(1), changed.get(2));
    Ok((order, format!("{status} {note} {paid:?} {changed:?}")))
}

async fn ordered(client: &Client, order: i64) -> Found {
    let rows = client
        .query(
            "SELECT o.note, c.full_name, c.email, p.card_number, p.card_holder, count(i.*), sum(i.quantity * i.unit_price)::text, o.total::text
             FROM orders o JOIN customers c ON c.id = o.customer_id JOIN payments p ON p.order_id = o.id
             JOIN order_items i ON i.order_id = o.id
             WHERE o.id = $1 GROUP BY o.id, c.id, p.id",
            &[&order],
        )
        .await?;
    let shown: Vec<(&str, &str, &str, &str, i64, &str)> = rows
        .iter()
        .map(|r| (r.get(0), r.get(1), r.get(2), r.get(3), r.get(5), r.get(6)))
        .collect();
    assert_eq!(shown[0].2, EMAIL);
    found(format!("{shown:?}"))
}

async fn refund(client: &mut Client, order: i64) -> Found {
    let transaction = client.transaction().await?;
    let refunded = transaction
        .query(
            "UPDATE payments SET status = 'refunded' WHERE order_id = $1 AND status = 'captured' RETURNING id > 0, status::text, card_number",
            &[&order],
        )
        .await?;
    transaction
        .execute(
            "UPDATE orders SET status = 'cancelled' WHERE id = $1",
            &[&order],
        )
        .await?;
    transaction
        .execute(
            "UPDATE products SET stock = stock + i.quantity FROM order_items i WHERE i.order_id = $1 AND i.product_id = products.id",
            &[&order],
        )
        .await?;
    transaction.commit().await?;
    let shown: Vec<(bool, &str, &str)> = refunded
        .iter()
        .map(|r| (r.get(0), r.get(1), r.get(2)))
        .collect();
    found(format!("{shown:?}"))
}

async fn profile(client: &Client, customer: i64) -> Found {
    let row = client
        .query_one(
            "UPDATE customers SET phone = $2, full_name = $3, preferences = preferences || '{\"newsletter\": true}'
             WHERE id = $1 RETURNING phone, full_name, email, preferences::text",
            &[&customer, &"+1 303 555 0101", &"Dev Q. Test"],
        )
        .await?;
    let told: (&str, &str, &str, &str) = (row.get(0), row.get(1), row.get(2), row.get(3));
    let count = client
        .query_one(
            "SELECT count(*) FROM customers WHERE phone = '+1 303 555 0101' AND email = $1",
            &[&EMAIL],
        )
        .await?;
    let count: i64 = count.get(0);
    found(format!("{told:?} {count}"))
}

async fn support(client: &Client, customer: i64, order: i64) -> Found {
    let row = client
        .query_one(
            "INSERT INTO support_tickets (customer_id, order_id, priority, subject, body) VALUES ($1, $2, 'high', $3, $4)
             RETURNING subject, body, priority::text",
            &[&customer, &order, &"Where is it?", &"Please tell me."],
        )
        .await?;
    let told: (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
    let open = client
        .query_one(
            "SELECT count(*), count(DISTINCT t.customer_id), max(length(t.body)) > 0 FROM support_tickets t
             JOIN customers c ON c.id = t.customer_id WHERE t.closed_at IS NULL",
            &[],
        )
        .await?;
    let open: (i64, i64, bool) = (open.get(0), open.get(1), open.get(2));
    found(format!("{told:?} {open:?}"))
}

/// What was only touched is there as before, whatever is shown of it.
async fn touch(client: &Client) -> Found {
    let changed = client
        .execute(
            "UPDATE customers SET city = 'Denver' WHERE id BETWEEN 100 AND 119",
            &[],
        )
        .await?;
    let row = client
        .query_one(
            "SELECT count(*), count(email), count(full_name) FROM customers WHERE id BETWEEN 100 AND 119 AND city = 'Denver'",
            &[],
        )
        .await?;
    let seen: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    found(format!("{changed} {seen:?}"))
}

async fn report(client: &Client) -> Found {
    let cities = client
        .query(
            "SELECT c.city, count(DISTINCT c.id), sum(o.total)::text FROM customers c JOIN orders o ON o.customer_id = c.id
             WHERE o.status <> 'cancelled' GROUP BY c.city HAVING count(*) > 10 ORDER BY sum(o.total) DESC LIMIT 3",
            &[],
        )
        .await?;
    let cities: Vec<(&str, i64, &str)> = cities
        .iter()
        .map(|r| (r.get(0), r.get(1), r.get(2)))
        .collect();
    let months = client
        .query(
            "SELECT to_char(date_trunc('month', placed_at), 'YYYY-MM'), sum(total)::text,
                 rank() OVER (ORDER BY sum(total) DESC) FROM orders GROUP BY 1 ORDER BY 3 LIMIT 3",
            &[],
        )
        .await?;
    let months: Vec<(&str, &str, i64)> = months
        .iter()
        .map(|r| (r.get(0), r.get(1), r.get(2)))
        .collect();
    let best = client
        .query(
            "WITH spent AS (SELECT customer_id, sum(total) AS total FROM orders GROUP BY customer_id)
             SELECT c.id, c.full_name, c.email, s.total::text FROM spent s JOIN customers c ON c.id = s.customer_id
             ORDER BY s.total DESC, c.id LIMIT 3",
            &[],
        )
        .await?;
    let best: Vec<(i64, &str)> = best.iter().map(|r| (r.get(0), r.get(3))).collect();
    let overview = client
        .query("SELECT number, full_name, email, items FROM order_summaries ORDER BY id DESC OFFSET 5 LIMIT 2", &[])
        .await?;
    let overview: Vec<(&str, i64)> = overview.iter().map(|r| (r.get(0), r.get(3))).collect();
    found(format!("{cities:?} {months:?} {best:?} {overview:?}"))
}

async fn export(client: &Client) -> Found {
    let mut counts = Vec::new();
    for sql in [
        "COPY (SELECT id, email, full_name, city FROM customers ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)",
        "COPY customers (id, email, phone) TO STDOUT",
        "COPY products TO STDOUT WITH (FORMAT csv)",
        "COPY orders (id, number, note) TO STDOUT WITH (FORMAT binary)",
    ] {
        let stream = pin!(client.copy_out(sql).await?);
        let bytes: Vec<u8> = stream
            .try_fold(Vec::new(), async |mut all, part| {
                all.extend_from_slice(&part);
                Ok(all)
            })
            .await?;
        let lines = bytes.split(|byte| *byte == b'\n').count();
        assert!(bytes.len() > 10_000, "{sql}");
        // In the binary form a line is not a row.
        counts.push(if sql.contains("binary") { 0 } else { lines });
    }
    found(format!("{counts:?}"))
}

async fn import(client: &Client) -> Found {
    let sink = client
        .copy_in("COPY customers (email, full_name, street, city, postal_code) FROM STDIN WITH (FORMAT csv)")
        .await?;
    let mut sink = pin!(sink);
    let text = "one@test.example,One,1 A Street,Boston,02108\ntwo@test.example,Two,2 A Street,Boston,02108\n";
    sink.send(bytes::Bytes::from_static(text.as_bytes()))
        .await?;
    let count = sink.finish().await?;
    let rows = client
        .query("SELECT email, full_name, street FROM customers WHERE email LIKE '%@test.example' ORDER BY id", &[])
        .await?;
    let rows: Vec<(&str, &str, &str)> = rows
        .iter()
        .map(|r| (r.get(0), r.get(1), r.get(2)))
        .collect();
    found(format!("{count} {rows:?}"))
}

/// By a key that is clear.
async fn upsert(client: &Client) -> Found {
    let sql =
        "INSERT INTO products (sku, name, price) VALUES ($1, 'Lamp', 5) ON CONFLICT (sku) DO UPDATE
        SET price = excluded.price + 1, name = products.name || '!' RETURNING name, price::text";
    let mut shown = Vec::new();
    for _ in 0..2 {
        let row = client.query_one(sql, &[&"SKU-TEST"]).await?;
        shown.push((row.get::<_, String>(0), row.get::<_, String>(1)));
    }
    found(format!("{shown:?}"))
}

async fn close(client: &mut Client) -> Found {
    let transaction = client.transaction().await?;
    transaction
        .execute(
            "DELETE FROM payments USING orders o JOIN customers c ON c.id = o.customer_id WHERE payments.order_id = o.id AND c.email = $1",
            &[&EMAIL],
        )
        .await?;
    transaction
        .execute(
            "DELETE FROM orders WHERE customer_id IN (SELECT id FROM customers WHERE email = $1)",
            &[&EMAIL],
        )
        .await?;
    let gone = transaction
        .query(
            "DELETE FROM customers WHERE email = $1 RETURNING email, full_name",
            &[&EMAIL],
        )
        .await?;
    transaction.commit().await?;
    let gone: Vec<(&str, &str)> = gone.iter().map(|r| (r.get(0), r.get(1))).collect();
    let left = client
        .query("SELECT 1 FROM customers WHERE email = $1", &[&EMAIL])
        .await?
        .len();
    found(format!("{gone:?} {left}"))
}
