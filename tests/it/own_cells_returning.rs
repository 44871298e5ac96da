//! RETURNING of masked columns: `devinprod.remember` notes which rows a statement made, `devinprod.take` hands them to
//! a second statement, when the notes on them have been written.

use crate::own_cells_kit::{armed, done, everywhere, rows};

/// The second statement.
fn taken(token: &str, table: &str, list: &str) -> String {
    format!(
        "SELECT {list} FROM devinprod.take('{token}') AS q
            JOIN devinprod_rows.\"public.{table}\" AS r ON r.devinprod_tableoid = q.tableoid AND r.devinprod_ctid = q.ctid
        ORDER BY q.n"
    )
}

#[tokio::test]
async fn rows_come_back_in_order_and_once() {
    for sealed in everywhere().await {
        let developer = armed(&sealed).await;
        let before = rows(
            &developer,
            "SELECT full_name FROM devinprod_masked.\"public.users\" WHERE id IN (3, 4) ORDER BY id",
        )
        .await;
        done(
            &developer,
            &["INSERT INTO users (id, email, full_name) VALUES (902, 'mine b', 'mine'), (901, 'mine a', 'mine') \
               RETURNING devinprod.remember('one', tableoid, ctid)"],
        )
        .await;
        done(
            &developer,
            &["UPDATE users SET phone = 'mine' WHERE id IN (3, 4) RETURNING devinprod.remember('two', tableoid, ctid)"],
        )
        .await;
        let one = taken("one", "users", "id, email");
        assert_eq!(rows(&developer, &one).await, ["902|mine b", "901|mine a"]);
        assert!(rows(&developer, &one).await.is_empty(), "taken is gone");
        let two = rows(&developer, &taken("two", "users", "full_name, phone")).await;
        let expected: Vec<String> = before.iter().map(|name| format!("{name}|mine")).collect();
        assert_eq!(two, expected);
        // Partitions, and tables without a key.
        done(
            &developer,
            &["INSERT INTO people VALUES (901, 'eu', 'mine eu', 'n'), (902, 'us', 'mine us', 'n'), (903, 'q', 'mine q', 'n') \
               RETURNING devinprod.remember('three', tableoid, ctid)"],
        )
        .await;
        assert_eq!(
            rows(&developer, &taken("three", "people", "id, email")).await,
            ["901|mine eu", "902|mine us", "903|mine q"]
        );
        done(
            &developer,
            &["INSERT INTO keyless VALUES ('mine', 'x') RETURNING devinprod.remember('four', tableoid, ctid)"],
        )
        .await;
        assert_eq!(
            rows(&developer, &taken("four", "keyless", "email")).await,
            ["mine"]
        );
        // What is undone is forgotten.
        done(
            &developer,
            &[
                "SAVEPOINT before",
                "INSERT INTO keyless VALUES ('mine', 'x') RETURNING devinprod.remember('five', tableoid, ctid)",
                "ROLLBACK TO before",
            ],
        )
        .await;
        assert!(
            rows(&developer, &taken("five", "keyless", "email"))
                .await
                .is_empty()
        );
    }
}

#[tokio::test]
async fn what_is_remembered_is_nobody_elses_and_never_stays() {
    for sealed in everywhere().await {
        let developer = armed(&sealed).await;
        done(
            &developer,
            &["INSERT INTO keyless VALUES ('mine', 'x') RETURNING devinprod.remember('token', tableoid, ctid)"],
        )
        .await;
        let other = armed(&sealed).await;
        let stolen = rows(&other, "SELECT count(*) FROM devinprod.take('token')").await;
        assert_eq!(
            stolen,
            ["0"],
            "who knows the token of another sandbox gets nothing"
        );
        assert_eq!(
            other.ask("TABLE devinprod.remembered").await,
            Err("42501".to_owned())
        );
        other.ask("ROLLBACK").await.unwrap();
        // Unarmed, where a COMMIT would keep it, nothing can be remembered or taken.
        for sql in [
            "SELECT devinprod.remember('token', 1::oid, '(0,1)'::tid)",
            "SELECT * FROM devinprod.take('token')",
        ] {
            assert_eq!(other.ask(sql).await, Err("42501".to_owned()), "{sql}");
        }
        // A place that one names oneself shows no more than the view does.
        let real = taken("guess", "users", "email");
        done(
            &developer,
            &["SELECT devinprod.remember('guess', 'users'::regclass, ctid) FROM users WHERE id = 1"],
        )
        .await;
        let shown = rows(&developer, &real).await;
        assert!(shown.len() == 1 && !shown[0].contains("REAL"), "{shown:?}");
        // The seal's private tables and trigger functions are out of reach, armed or not.
        for sql in [
            "TABLE devinprod.written",
            "TABLE devinprod.assigned",
            "INSERT INTO devinprod.written SELECT tableoid, ctid, 0, '{}', '{email}' FROM users WHERE id = 1",
            "DELETE FROM devinprod.departed",
            "CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION devinprod.noted_insert('{email}')",
            "CREATE TABLE bait (email text); CREATE TRIGGER t AFTER INSERT ON bait FOR EACH ROW \
             EXECUTE FUNCTION devinprod.noted_insert('{email}')",
            "ALTER TABLE users DISABLE TRIGGER ALL",
            "SET session_replication_role = replica",
        ] {
            developer.ask("SAVEPOINT before").await.unwrap();
            assert_eq!(developer.ask(sql).await, Err("42501".to_owned()), "{sql}");
            developer.ask("ROLLBACK TO before").await.unwrap();
        }
    }
}
