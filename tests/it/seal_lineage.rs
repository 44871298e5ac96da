//! What is derived from sensitive columns is sensitive: views, materialized views, generated columns, children.

use crate::harness;
use crate::seal_kit::{Developer, Sealed};
use crate::seal_masks_kit::{self, POLICY, USERS, holes, replan};

/// Views over the users; `@` in a name stands where developers read the original.
const VIEWS: &str = "
    CREATE VIEW places AS SELECT id, city FROM users;
    CREATE VIEW sizes AS SELECT count(*) AS n FROM users;
    CREATE VIEW contacts AS SELECT u.id, u.email, upper(u.full_name) AS loud, u.city FROM users u WHERE u.id > 0;
    CREATE VIEW \"Of Contacts\" AS SELECT c.email AS mail, p.city FROM contacts c JOIN places p USING (id);
    CREATE VIEW rich AS SELECT id, city FROM users WHERE balance > 10;
    CREATE VIEW wholes AS SELECT id, u AS whole FROM users u;
    CREATE VIEW both_of AS SELECT city AS value FROM users UNION SELECT email FROM users;
    CREATE VIEW denied AS SELECT id, notes FROM users;
    CREATE VIEW grouped AS SELECT id, email, count(*) AS n FROM users GROUP BY id;
    CREATE MATERIALIZED VIEW kept AS SELECT id, email, city, lower(full_name) AS quiet FROM users;
    CREATE MATERIALIZED VIEW kept_both AS SELECT city AS value FROM users UNION SELECT email FROM users;
    CREATE FUNCTION mails() RETURNS SETOF varchar LANGUAGE sql AS 'SELECT email FROM public.users';
    CREATE MATERIALIZED VIEW kept_mails AS SELECT mails() AS mail;
    CREATE TABLE staff (badge text) INHERITS (users);
    INSERT INTO staff SELECT 1000 + n, 'real-staff' || n || '@secret.example', 'Real Staff ' || n FROM generate_series(1, 3) n;
";

async fn sealed() -> Sealed {
    let policy =
        format!("{POLICY}    notes = \"deny\"\n    [table.public.staff]\n    badge = \"clear\"\n");
    let sql = format!("{USERS}{VIEWS}");
    seal_masks_kit::sealed_by(harness::database().await, &sql, &policy).await
}

async fn read(developer: &Developer, sql: &str) -> String {
    match developer.ask(sql).await {
        Ok(rows) => rows.join("; "),
        Err(error) => error,
    }
}

#[tokio::test]
async fn views_are_what_they_read() {
    let sealed = sealed().await;
    let developer = sealed.developer().await;
    // As they are: nothing that they read is hidden.
    assert_eq!(
        read(&developer, "SELECT city FROM places WHERE id = 7").await,
        "City 2"
    );
    assert_eq!(read(&developer, "SELECT n FROM sizes").await, "53");
    // Closed, with a copy over the masked views.
    for (view, columns) in [
        ("contacts", "id, email, loud, city"),
        ("Of Contacts", "mail, city"),
        ("rich", "id, city"),
        ("both_of", "value"),
    ] {
        assert_eq!(
            read(&developer, &format!("SELECT * FROM \"{view}\"")).await,
            "42501",
            "{view}"
        );
        let copy = format!("devinprod_masked.\"public.{view}\"");
        let all = format!("SELECT string_agg(v::text, ' ') FROM (SELECT {columns} FROM {copy}) v");
        let shown = read(&developer, &all).await;
        assert_ne!(shown, "42501", "{view}");
        assert!(!shown.to_lowercase().contains("real"), "{view}: {shown}");
        assert!(
            view == "rich" || shown.contains('@') || view == "both_of",
            "{view}: {shown}"
        );
    }
    // The copy is over the masked values.
    let same = "SELECT bool_and(c.email = u.email AND c.city = u.city) FROM devinprod_masked.\"public.contacts\" c
        JOIN devinprod_masked.\"public.users\" u USING (id)";
    assert_eq!(read(&developer, same).await, "t");
    // A balance that nobody may see is NULL, and so no row is rich.
    assert_eq!(
        read(
            &developer,
            "SELECT count(*) FROM devinprod_masked.\"public.rich\""
        )
        .await,
        "0"
    );
    // What is denied cannot be shown by a copy either, nor the type of a whole row, nor what hangs on a primary key.
    for view in ["denied", "wholes"] {
        assert_eq!(
            read(&developer, &format!("SELECT id FROM {view}")).await,
            "42501",
            "{view}"
        );
        let copy = format!("SELECT to_regclass('devinprod_masked.\"public.{view}\"') IS NULL");
        assert_eq!(read(&developer, &copy).await, "t", "{view}");
    }
    assert_eq!(
        holes(&sealed.admin, &sealed.options.names).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_copy_has_no_more_rights_than_a_developer() {
    let sealed = sealed().await;
    let viewer = sealed.options.names.viewer();
    // As if the definition had been misread.
    sealed
        .admin
        .batch_execute(&format!(
            "CREATE OR REPLACE VIEW devinprod_masked.\"public.contacts\" AS
                SELECT u.id, u.email, upper(u.full_name) AS loud, u.city FROM public.users u;
            ALTER VIEW devinprod_masked.\"public.contacts\" OWNER TO {viewer};"
        ))
        .await
        .unwrap();
    let developer = sealed.developer().await;
    assert_eq!(
        read(
            &developer,
            "SELECT email FROM devinprod_masked.\"public.contacts\""
        )
        .await,
        "42501"
    );
}

#[tokio::test]
async fn materialized_views_are_read_by_column() {
    let sealed = sealed().await;
    let developer = sealed.developer().await;
    assert_eq!(
        read(&developer, "SELECT city FROM kept WHERE id = 7").await,
        "City 2"
    );
    for column in ["email", "quiet"] {
        assert_eq!(
            read(&developer, &format!("SELECT {column} FROM kept")).await,
            "42501"
        );
    }
    let same = "SELECT bool_and(k.email = u.email) FROM devinprod_masked.\"public.kept\" k
        JOIN devinprod_masked.\"public.users\" u USING (id)";
    assert_eq!(read(&developer, same).await, "t");
    assert_eq!(
        read(
            &developer,
            "SELECT quiet FROM devinprod_masked.\"public.kept\""
        )
        .await,
        "42703"
    );
    for closed in ["kept_both", "kept_mails"] {
        assert_eq!(
            read(&developer, &format!("SELECT * FROM {closed}")).await,
            "42501",
            "{closed}"
        );
        assert_eq!(
            read(
                &developer,
                &format!("SELECT * FROM devinprod_masked.\"public.{closed}\"")
            )
            .await,
            "42P01",
            "{closed}"
        );
    }
}

#[tokio::test]
async fn a_child_is_what_its_parent_is() {
    let sealed = sealed().await;
    let developer = sealed.developer().await;
    assert_eq!(read(&developer, "SELECT email FROM staff").await, "42501");
    let shown = read(
        &developer,
        "SELECT email FROM devinprod_masked.\"public.staff\"",
    )
    .await;
    assert!(shown.contains('@') && !shown.contains("real"), "{shown}");
}

#[tokio::test]
async fn copies_are_made_once_and_follow_their_originals() {
    let sealed = sealed().await;
    let mut options = sealed.options.clone();
    options.proxy_verifier = None;
    let plan = replan(&sealed.admin, &options).await.unwrap();
    assert!(plan.is_empty(), "{:?}", plan.steps);
    let change = "DROP VIEW grouped; CREATE OR REPLACE VIEW contacts AS
        SELECT u.id, u.email, lower(u.full_name) AS loud, u.city FROM users u";
    sealed.admin.batch_execute(change).await.unwrap();
    let plan = replan(&sealed.admin, &options).await.unwrap();
    devinprod::seal::apply(&sealed.admin, &plan).await.unwrap();
    assert!(replan(&sealed.admin, &options).await.unwrap().is_empty());
    let developer = sealed.developer().await;
    let loud = "SELECT bool_and(loud = lower(loud)) FROM devinprod_masked.\"public.contacts\"";
    assert_eq!(read(&developer, loud).await, "t");
    assert_eq!(
        read(
            &developer,
            "SELECT count(mail) > 0 FROM devinprod_masked.\"public.Of Contacts\""
        )
        .await,
        "t"
    );
    drop(developer);
    crate::seal_kit::wait_for_no_sessions(&sealed.admin, &options.names).await;
    seal_masks_kit::remove(&sealed.admin, &options.names).await;
}
