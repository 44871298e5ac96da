//! SHOW DIFF: a changeset on the console, read as the developer who asks, and shown as `devinprod sandbox diff` shows it.

use devinprod::audit::EventKind;
use tokio_postgres::Client;

use crate::changeset_cli::stdout;
use crate::changeset_masked::masked;
use crate::harness::{self, Proxy, Setup, connect, proxy_with};

/// What SHOW DIFF answers, as text, a row a line; NULL is `-`.
async fn diff(console: &Client, of: &str) -> Vec<String> {
    let rows = console.query(&format!("SHOW DIFF {of}"), &[]).await;
    let rows = rows.unwrap_or_else(|error| panic!("{error:?}"));
    rows.iter()
        .map(|row| {
            let text = |at: usize| {
                let cell: Option<String> = match at {
                    2 => row.get::<_, Option<i64>>(2).map(|row| row.to_string()),
                    _ => row.get(at),
                };
                cell.unwrap_or_else(|| "-".to_owned())
            };
            (0..row.len()).map(text).collect::<Vec<_>>().join(" | ")
        })
        .collect()
}

async fn refused(console: &Client, of: &str) -> (String, String) {
    let error = console.query(&format!("SHOW DIFF {of}"), &[]).await;
    let error = error.unwrap_err();
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("no answer: {error:?}"));
    (
        error.code().code().to_owned(),
        format!("{} / {}", error.message(), error.hint().unwrap_or_default()),
    )
}

async fn console(proxy: &Proxy, user: &str) -> Client {
    connect(&proxy.url_for(user).replace("/app", "/devinprod")).await
}

#[tokio::test]
async fn each_cell_that_changed_is_a_row() {
    let proxy = harness::proxy().await;
    let console = console(&proxy, "dev1").await;
    let (code, said) = refused(&console, "default").await;
    assert_eq!(code, "42704", "{said}");
    let developer = connect(&proxy.url()).await;
    developer
        .batch_execute(
            "CREATE TABLE items (id int PRIMARY KEY, name text);
             INSERT INTO items VALUES (1, NULL), (2, '');
             DELETE FROM items WHERE id = 1",
        )
        .await
        .unwrap();
    let seen = diff(&console, "default").await;
    insta::assert_snapshot!(seen.join(" |\n"), @r"
    - | public.items | - | create table | - | - | - | CREATE TABLE public.items (id integer NOT NULL, name text) |
    - | public.items.items_pkey | - | create constraint | - | - | - | ALTER TABLE public.items ADD CONSTRAINT items_pkey PRIMARY KEY (id) |
    public | items | 1 | insert | id=2 | id | - | 2 |
    public | items | 1 | insert | id=2 | name | - | 
    ");
    // As the command line tells it; what was made is not in its CSV.
    let csv = stdout(&proxy, "dev1", &["sandbox", "diff", "--format", "csv"]).await;
    let cells = seen.iter().filter(|line| !line.contains(" | create "));
    assert_eq!(csv.lines().count(), 1 + cells.count(), "{csv}");
    // Theirs, and theirs alone.
    let other = self::console(&proxy, "dev2").await;
    let (code, said) = refused(&other, "default").await;
    assert_eq!(code, "42704", "{said}");
    let (code, _) = refused(&console, "default ON other").await;
    assert_eq!(code, "42704");
    // Whoever reads is on record, where they came from, too.
    let reads = proxy.events().into_iter().filter(|event| {
        let sandbox = event.sandbox.as_deref().unwrap_or_default();
        event.developer.as_deref() == Some("dev1")
            && event.client.is_some()
            && sandbox.starts_with("connection-")
            && matches!(event.kind, EventKind::Statement(_))
    });
    assert!(reads.count() > 3);
    // The sandbox is as it was, and can be used.
    assert_eq!(diff(&console, "default ON app").await, seen);
    developer.batch_execute("DELETE FROM items").await.unwrap();
}

#[tokio::test]
async fn masks_stand_in_it_and_budgets_count_it() {
    let proxy = masked(harness::database().await).await;
    let developer = connect(&proxy.url()).await;
    for sql in [
        "UPDATE users SET city = 'Oslo' WHERE id = 1",
        "UPDATE users SET full_name = 'Real Name 7' WHERE id = 7",
        "UPDATE users SET email = 'mine@own.example' WHERE id = 2",
        "UPDATE mails SET n = n + 100 WHERE n < 4",
        "DELETE FROM visits WHERE id = 3",
        "DELETE FROM vault",
    ] {
        developer.batch_execute(sql).await.unwrap();
    }
    let console = console(&proxy, "dev1").await;
    let seen = diff(&console, "default").await.join("\n");
    let own = seen.replace("Real Name 7", "");
    for marker in ["real", "Real Name", "secret.example", "+1 555"] {
        assert!(!own.contains(marker), "{marker}: {own}");
    }
    for part in [
        "| email | ",
        "| mine@own.example",
        "| Real Name 7",
        "public | vault | - | not shown | - | - | - | 9 deleted, rolled back or not; developers may not read it",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
}

#[tokio::test]
async fn a_budget_that_is_spent_ends_it() {
    let setup = Setup {
        policy: Some(
            "default = { as = \"clear\", opens_unclassified = true, because = \"a test\" }\n\
             [[budget]]\nwho = [\"*\"]\ntable = \"public.accounts\"\nper = \"1h\"\nrows = 50\n"
                .to_owned(),
        ),
        ..Setup::default()
    };
    let proxy = proxy_with(harness::database().await, setup).await;
    let developer = connect(&proxy.url()).await;
    developer
        .batch_execute("INSERT INTO accounts (email, name) SELECT n || '@own.example', 'n' FROM generate_series(1, 300) n")
        .await
        .unwrap();
    let console = console(&proxy, "dev1").await;
    let (code, said) = refused(&console, "default").await;
    assert_eq!(code, "53400", "{said}");
    assert!(said.contains("accounts"), "{said}");
}

#[tokio::test]
async fn what_is_too_large_is_for_the_command_line() {
    let proxy = harness::proxy().await;
    let developer = connect(&proxy.url()).await;
    developer
        .batch_execute(
            "CREATE TABLE many (id int PRIMARY KEY, v text);
             INSERT INTO many SELECT n, 'x' FROM generate_series(1, 5001) n",
        )
        .await
        .unwrap();
    let console = console(&proxy, "dev1").await;
    let (code, said) = refused(&console, "default").await;
    assert_eq!(code, "54000", "{said}");
    assert!(said.contains("`devinprod sandbox diff default`"), "{said}");
    developer
        .batch_execute("DELETE FROM many WHERE id > 2000; UPDATE many SET v = repeat('y', 5000)")
        .await
        .unwrap();
    let (code, _) = refused(&console, "default").await;
    assert_eq!(code, "54000");
    developer
        .batch_execute("DELETE FROM many WHERE id > 9")
        .await
        .unwrap();
    assert_eq!(diff(&console, "default").await.len(), 2 + 18);
    // The proxy takes no row into its memory that is as large as a developer likes.
    developer
        .batch_execute("UPDATE many SET v = repeat('z', 20000000) WHERE id = 1")
        .await
        .unwrap();
    let (code, said) = refused(&console, "default").await;
    assert_eq!(code, "54000", "{said}");
    assert!(
        said.contains("a row that was changed has more than 8 MB"),
        "{said}"
    );
    developer
        .batch_execute("DELETE FROM many WHERE id = 1")
        .await
        .unwrap();
    assert_eq!(diff(&console, "default").await.len(), 2 + 16);
}
