//! `demo --check`: the tour, taken by the program itself. Each stop is a promise of the README's, tried
//! through the proxy as a developer and looked at from outside as the administrator.

use std::process::ExitCode;

use anyhow::{Context, ensure};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::change::Change;
use super::{DEVELOPER, Secrets, Urls, console_url, record};
use crate::cli::print;
use crate::seal::doctor::Verdict;
use crate::seal::{self, Names, SealError};
use crate::upstream::address::{Address, Password};
use crate::upstream::admin::admin;

/// Takes the tour and says what was seen; fails if a promise did not hold.
pub(super) async fn take(urls: &Urls, secrets: &Secrets) -> anyhow::Result<ExitCode> {
    let outside = connect(&urls.direct).await?;
    // What an earlier run may have left in the developer's sandbox is not this tour's.
    let before = contents(&outside).await?;
    let mut report = Report::default();

    report.stop(
        "the application reads what is there",
        reads(urls, &outside).await,
    );
    report.stop(
        "a pool's connections see each other's commits at once",
        commits(urls, &outside).await,
    );
    report.stop("an error hurts its own statement alone", fails(urls).await);
    report.stop(
        "deferred constraints are checked at COMMIT",
        defers(urls).await,
    );
    report.stop(
        "what is deleted or made is so for the developer alone",
        drops(urls, &outside).await,
    );
    report.stop(
        "work outlives its connections, until the sandbox is reset",
        resets(urls).await,
    );
    report.stop(
        "names, e-mails, phones and cards are made up, everywhere the same",
        masks(urls, &outside).await,
    );
    report.stop(
        "what the developer wrote reads back as written",
        signs_up(urls, &outside).await,
    );
    report.stop(
        "who did what is on record, and a change of the record shows",
        records(urls).await,
    );
    let change = Change::new(urls)?;
    report.stop(
        "what would have been written is shown, cell by cell",
        change.is_shown().await,
    );
    report.stop(
        "what a change does differently is found",
        change.is_compared().await,
    );
    report.stop(
        "a migration is rehearsed on the real data",
        change.is_rehearsed(&outside).await,
    );
    report.stop(
        "a commit goes on with evidence alone",
        change.is_let_through().await,
    );
    report.stop(
        "a wrong password opens nothing",
        locks_out(urls, secrets).await,
    );
    report.stop(
        "without the proxy, Postgres itself refuses the commit",
        attacks(urls).await,
    );
    report.stop(
        "after all this, the database is as it was",
        unchanged(&outside, &before).await,
    );

    print::line(format!(
        "{} promises held, {} broken",
        report.held, report.broken
    ));
    Ok(if report.broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[derive(Default)]
struct Report {
    held: u32,
    broken: u32,
}

impl Report {
    fn stop(&mut self, promise: &str, seen: anyhow::Result<String>) {
        match seen {
            Ok(seen) => {
                self.held += 1;
                print::line(format!("held    {promise}: {seen}"));
            }
            Err(error) => {
                self.broken += 1;
                print::line(format!("BROKEN  {promise}: {error:#}"));
            }
        }
    }
}

async fn reads(urls: &Urls, outside: &Client) -> anyhow::Result<String> {
    let inside = connect(&urls.proxy).await?;
    let sql =
        "SELECT count(*) || ' customers, ' || (SELECT count(*) FROM orders) || ' orders, latest '
        || (SELECT number FROM order_summaries ORDER BY id DESC LIMIT 1) FROM customers";
    let seen = one(&inside, sql).await?;
    same(&seen, &one(outside, sql).await?)?;
    Ok(seen)
}

async fn commits(urls: &Urls, outside: &Client) -> anyhow::Result<String> {
    let mut inside = connect(&urls.proxy).await?;
    let other = connect(&urls.proxy).await?;
    let sql = "SELECT full_name FROM customers WHERE id = 7";
    let real = one(outside, sql).await?;
    let transaction = inside.transaction().await?;
    let order: i64 = transaction
        .query_one(
            "INSERT INTO orders (customer_id) VALUES (7) RETURNING id",
            &[],
        )
        .await?
        .try_get(0)?;
    transaction
        .execute(
            "INSERT INTO order_items (order_id, product_id, quantity, unit_price) VALUES ($1, 1, 2, 10.50)",
            &[&order],
        )
        .await?;
    transaction
        .execute(
            "UPDATE customers SET full_name = $1 WHERE id = 7",
            &[&"Somebody Else"],
        )
        .await?;
    transaction.commit().await?;
    same(&one(&other, sql).await?, "Somebody Else")?;
    let total = one(
        &other,
        &format!("SELECT total FROM orders WHERE id = {order}"),
    )
    .await?;
    same(&total, "21.00")?;
    same(&one(outside, sql).await?, &real)?;
    let outside_orders = one(
        outside,
        &format!("SELECT count(*) FROM orders WHERE id = {order}"),
    )
    .await?;
    same(&outside_orders, "0")?;
    Ok(format!(
        "order {order} over 21.00 and a new name seen by the other connection, neither seen outside"
    ))
}

async fn fails(urls: &Urls) -> anyhow::Result<String> {
    let mut inside = connect(&urls.proxy).await?;
    one(
        &inside,
        "UPDATE products SET stock = 41 WHERE id = 2 RETURNING id",
    )
    .await?;
    refused(&inside, "SELECT 1 / 0", "22012").await?;
    same(
        &one(&inside, "SELECT stock FROM products WHERE id = 2").await?,
        "41",
    )?;
    let transaction = inside.transaction().await?;
    let broken = transaction.simple_query("SELECT nothing").await;
    ensure!(broken.is_err(), "a statement that must fail did not");
    let after = transaction.simple_query("SELECT 1").await;
    let code = after
        .err()
        .and_then(|error| error.code().map(|code| code.code().to_owned()));
    same(code.as_deref().unwrap_or("no error"), "25P02")?;
    transaction.rollback().await?;
    Ok(
        "22012 outside a transaction, 25P02 after an error inside one, earlier work kept"
            .to_owned(),
    )
}

async fn defers(urls: &Urls) -> anyhow::Result<String> {
    let inside = connect(&urls.proxy).await?;
    inside
        .batch_execute(
            "BEGIN;
             INSERT INTO payments (order_id, amount, card_holder, card_number, card_expires)
             VALUES (999999999, 1, 'Nobody', '4000000000000002', '01/30')",
        )
        .await?;
    refused(&inside, "COMMIT", "23503").await?;
    Ok("a payment without an order is taken by INSERT and refused by COMMIT with 23503".to_owned())
}

async fn drops(urls: &Urls, outside: &Client) -> anyhow::Result<String> {
    let inside = connect(&urls.proxy).await?;
    let sql = "SELECT count(*) FROM support_tickets";
    let real = one(outside, sql).await?;
    inside.batch_execute("DELETE FROM payments").await?;
    same(&one(&inside, "SELECT count(*) FROM payments").await?, "0")?;
    inside.batch_execute("DELETE FROM support_tickets").await?;
    same(&one(&inside, sql).await?, "0")?;
    inside
        .batch_execute("CREATE TABLE experiments (n int); INSERT INTO experiments VALUES (1)")
        .await?;
    inside.batch_execute("DROP TABLE experiments").await?;
    refused(&inside, "SELECT * FROM experiments", "42P01").await?;
    same(&one(outside, sql).await?, &real)?;
    Ok(format!(
        "all payments and tickets deleted inside, {real} tickets outside"
    ))
}

async fn resets(urls: &Urls) -> anyhow::Result<String> {
    let again = connect(&urls.proxy).await?;
    let sql = "SELECT full_name FROM customers WHERE id = 7";
    same(&one(&again, sql).await?, "Somebody Else").context("work was lost between connections")?;
    let console = connect(&console_url(&urls.proxy)).await?;
    console.simple_query("RESET SANDBOX default").await?;
    let fresh = connect(&urls.proxy).await?;
    let name = one(&fresh, sql).await?;
    ensure!(name != "Somebody Else", "the reset kept the change");
    Ok(format!(
        "Somebody Else after a reconnect, {name} again after RESET SANDBOX"
    ))
}

/// Every sensitive value of some columns, inside and outside: none may be the same.
async fn masks(urls: &Urls, outside: &Client) -> anyhow::Result<String> {
    let inside = connect(&urls.proxy).await?;
    let mut compared = 0;
    for (table, columns) in [
        ("customers", &["email", "full_name", "phone", "street"][..]),
        ("payments", &["card_holder", "card_number"]),
        ("support_tickets", &["body"]),
    ] {
        for column in columns {
            let sql = format!(
                "SELECT {column}::text FROM {table} WHERE {column} IS NOT NULL ORDER BY id"
            );
            let (seen, real) = (all(&inside, &sql).await?, all(outside, &sql).await?);
            ensure!(
                seen.len() == real.len(),
                "{table}.{column}: {} rows of {}",
                seen.len(),
                real.len()
            );
            let same = seen
                .iter()
                .zip(&real)
                .filter(|(seen, real)| seen == real)
                .count();
            // Made-up names are common names: a few people are called what they are called.
            ensure!(
                same * 50 <= real.len(),
                "{table}.{column}: {same} of {} rows show the real value",
                real.len()
            );
            compared += real.len();
        }
    }
    let joined = "SELECT count(*) FROM payments p JOIN orders o ON o.id = p.order_id
        JOIN customers c ON c.id = o.customer_id AND c.full_name = p.card_holder";
    same(&one(&inside, joined).await?, &one(outside, joined).await?)?;
    let luhn = "SELECT count(*) FILTER (WHERE length(card_number) = 16) = count(*) FROM payments";
    same(&one(&inside, luhn).await?, "t")?;
    let customer = "SELECT full_name || ' <' || email || '>' FROM customers WHERE id = 7";
    Ok(format!(
        "{compared} values compared; customer 7 is {} inside, {} outside",
        one(&inside, customer).await?,
        one(outside, customer).await?
    ))
}

async fn signs_up(urls: &Urls, outside: &Client) -> anyhow::Result<String> {
    const EMAIL: &str = "dev@test.example";
    let inside = connect(&urls.proxy).await?;
    let row = inside
        .query_one(
            "INSERT INTO customers (email, full_name, street, city, postal_code)
             VALUES ($1, 'Dev Eloper', '1 Test Street', 'Boston', '02101') RETURNING id, email",
            &[&EMAIL],
        )
        .await?;
    let (id, email): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    same(&email, EMAIL)?;
    let again = connect(&urls.proxy).await?;
    let found = again
        .query_one(
            "SELECT id, full_name FROM customers WHERE email = $1",
            &[&EMAIL],
        )
        .await?;
    ensure!(
        found.try_get::<_, i64>(0)? == id,
        "another customer was found"
    );
    same(found.try_get(1)?, "Dev Eloper")?;
    let taken = format!(
        "INSERT INTO customers (email, full_name, street, city, postal_code)
         VALUES ('{EMAIL}', 'Twin', 'x', 'y', 'z')"
    );
    refused(&again, &taken, "23505").await?;
    let outside = one(
        outside,
        &format!("SELECT count(*) FROM customers WHERE email = '{EMAIL}'"),
    )
    .await?;
    same(&outside, "0")?;
    Ok(format!(
        "{EMAIL} signed up, was found by a login, and was refused a second time with 23505; not there outside"
    ))
}

/// A read is found in the log and in the database, and a copy of the log in which it is somebody else's is not taken
/// for the log.
async fn records(urls: &Urls) -> anyhow::Result<String> {
    let inside = connect(&urls.proxy).await?;
    let word = format!("on_record_{}", rand::random::<u32>());
    one(
        &inside,
        &format!("SELECT email AS {word} FROM customers WHERE id = 7"),
    )
    .await?;
    one(&inside, "SELECT 1").await?;
    let sequence = record::find(&urls.log, DEVELOPER, &word).await?;
    let said = record::find_in_sql(&urls.record, sequence).await?;
    let (before, after) = record::tamper(&urls.log, DEVELOPER, sequence)?;
    if let Some(finding) = before.findings.first() {
        anyhow::bail!("the log does not verify: {finding}");
    }
    let finding = after
        .findings
        .first()
        .context("an edit of the log was not found")?;
    Ok(format!(
        "record {sequence} in the log and in SQL, {said}; after an edit: {finding}"
    ))
}

async fn locks_out(urls: &Urls, secrets: &Secrets) -> anyhow::Result<String> {
    let wrong = urls.proxy.replace(&secrets.developer, "wrong");
    match connect(&wrong).await {
        Ok(_) => anyhow::bail!("the proxy let it in"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// The doctor's attacks, run as a developer role that is connected straight to Postgres.
async fn attacks(urls: &Urls) -> anyhow::Result<String> {
    let address: Address = urls.direct.parse()?;
    let keeper = admin(&address).await?;
    let connect = async |role: &str, password: &str| {
        let mut own = address.clone();
        role.clone_into(&mut own.user);
        own.password = Password::new(password);
        admin(&own)
            .await
            .map_err(|error| SealError::Connect(Box::new(error)))
    };
    let promises = seal::doctor(&keeper, &Names::default(), connect).await?;
    let broken: Vec<&str> = promises
        .iter()
        .filter(|promise| promise.verdict == Verdict::Broken)
        .map(|promise| promise.text.as_str())
        .collect();
    ensure!(broken.is_empty(), "{}", broken.join("; "));
    let held = promises
        .iter()
        .filter(|promise| promise.verdict == Verdict::Held)
        .count();
    ensure!(held > 0, "nothing was attacked");
    Ok(format!("{held} attacks as a developer role failed"))
}

async fn unchanged(outside: &Client, before: &str) -> anyhow::Result<String> {
    let after = contents(outside).await?;
    same(&after, before)?;
    Ok(format!("{after} before and after"))
}

/// A short digest of every row of the shop and of its tables' definitions.
async fn contents(client: &Client) -> anyhow::Result<String> {
    let tables = client
        .query(
            "SELECT relname::text FROM pg_class
             WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1",
            &[],
        )
        .await?;
    let mut parts = vec![
        "SELECT string_agg(format('%s.%s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod)),
             ',' ORDER BY attrelid::regclass::text, attnum)
         FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE relnamespace = 'public'::regnamespace AND attnum > 0"
            .to_owned(),
    ];
    for table in tables {
        let name: String = table.try_get(0)?;
        parts.push(format!(
            "SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM public.{name} AS t"
        ));
    }
    let parts: Vec<String> = parts
        .iter()
        .map(|part| format!("coalesce(({part}), '')"))
        .collect();
    let sql = format!(
        "SELECT left(encode(sha256(convert_to({}, 'UTF8')), 'hex'), 16)",
        parts.join(" || ")
    );
    one(client, &sql).await
}

pub(super) async fn connect(url: &str) -> anyhow::Result<Client> {
    let address: Address = url.parse()?;
    Ok(admin(&address).await?)
}

/// The first column of all rows, as text.
async fn all(client: &Client, sql: &str) -> anyhow::Result<Vec<String>> {
    let mut values = Vec::new();
    for message in client.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            values.push(row.try_get(0)?.unwrap_or("NULL").to_owned());
        }
    }
    Ok(values)
}

/// The first column of the first row, as text.
pub(super) async fn one(client: &Client, sql: &str) -> anyhow::Result<String> {
    for message in client.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            return Ok(row.try_get(0)?.unwrap_or("NULL").to_owned());
        }
    }
    anyhow::bail!("no row came back from: {sql}")
}

async fn refused(client: &Client, sql: &str, sqlstate: &str) -> anyhow::Result<()> {
    let Err(error) = client.simple_query(sql).await else {
        anyhow::bail!("this must fail and did not: {sql}");
    };
    let code = error.code().map_or("no SQLSTATE", |code| code.code());
    same(code, sqlstate).with_context(|| format!("after {sql}"))
}

pub(super) fn same(seen: &str, expected: &str) -> anyhow::Result<()> {
    ensure!(
        seen == expected,
        "saw {seen:?} where {expected:?} should be"
    );
    Ok(())
}
