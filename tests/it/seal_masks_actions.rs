//! Foreign keys' actions run as the owner of the referring table: no error of theirs may show a row to a developer.

use crate::harness;
use crate::seal_masks_kit::{holes, sealed_by};

const TABLES: &str = "
    CREATE TABLE parents (id int PRIMARY KEY, code int UNIQUE NOT NULL, n int);
    INSERT INTO parents SELECT n, n, 0 FROM generate_series(1, 9) AS n;
    CREATE TABLE checked (id int PRIMARY KEY, parent int CHECK (parent > 0) REFERENCES parents ON UPDATE CASCADE, secret text);
    CREATE TABLE needed (id int PRIMARY KEY, parent int NOT NULL REFERENCES parents ON DELETE SET NULL, secret text);
    CREATE TABLE keyed (id int PRIMARY KEY, code int REFERENCES parents (code) ON UPDATE CASCADE, secret text,
        UNIQUE (secret, code));
    CREATE TABLE grandparents (id int PRIMARY KEY, n int);
    INSERT INTO grandparents VALUES (1, 0), (2, 0);
    CREATE TABLE middles (id int PRIMARY KEY REFERENCES grandparents ON UPDATE CASCADE ON DELETE CASCADE);
    INSERT INTO middles VALUES (1), (2);
    CREATE TABLE lowest (id int PRIMARY KEY, middle int NOT NULL CHECK (middle > 0)
        REFERENCES middles ON UPDATE CASCADE ON DELETE SET NULL, secret text);
    CREATE TABLE fine (id int PRIMARY KEY, parent int REFERENCES parents ON UPDATE CASCADE ON DELETE SET NULL, secret text);
    INSERT INTO checked VALUES (1, 1, 'real');
    INSERT INTO needed VALUES (1, 2, 'real');
    INSERT INTO keyed VALUES (1, 3, 'real'), (2, 4, 'real');
    INSERT INTO lowest VALUES (1, 1, 'real');
    INSERT INTO fine VALUES (1, 9, 'real');
";

const POLICY: &str = "
    [table.public.parents]\n\"*\" = { as = \"clear\", because = \"a test\" }
    [table.public.grandparents]\n\"*\" = { as = \"clear\", because = \"a test\" }
    [table.public.middles]\n\"*\" = { as = \"clear\", because = \"a test\" }
    [table.public.checked]\nid = \"clear\"\nparent = \"clear\"\nsecret = \"text\"
    [table.public.needed]\nid = \"clear\"\nparent = \"clear\"\nsecret = \"text\"
    [table.public.keyed]\nid = \"clear\"\ncode = \"clear\"\nsecret = \"text\"
    [table.public.lowest]\nid = \"clear\"\nmiddle = \"clear\"\nsecret = \"text\"
    [table.public.fine]\nid = \"clear\"\nparent = \"clear\"\nsecret = \"text\"
";

/// Each would show a row to somebody who may do it.
const SHOWN: [&str; 6] = [
    "UPDATE parents SET id = -1 WHERE id = 1",
    "DELETE FROM parents WHERE id = 2",
    "UPDATE parents SET code = 4 - 4 * (code - 3) WHERE code IN (3, 4)",
    "UPDATE grandparents SET id = -1 WHERE id = 1",
    "DELETE FROM grandparents WHERE id = 1",
    "UPDATE middles SET id = -1 WHERE id = 1",
];

#[tokio::test]
async fn no_action_shows_a_row() {
    let database = harness::database().await;
    let admin = database.connect().await;
    let sealed = sealed_by(database, TABLES, POLICY).await;
    for sql in SHOWN {
        // The owner sees it, so there is something to hide.
        admin.batch_execute("BEGIN").await.unwrap();
        let error = admin.batch_execute(sql).await.expect_err(sql);
        let shown = format!("{:?}", error.as_db_error());
        assert!(
            shown.contains("real") || sql.contains("code"),
            "{sql}: {shown}"
        );
        admin.batch_execute("ROLLBACK").await.unwrap();
    }
    let developer = sealed.developer().await;
    developer.ask("BEGIN").await.unwrap();
    developer.ask("SELECT devinprod.arm()").await.unwrap();
    for sql in SHOWN {
        developer.ask("SAVEPOINT s").await.unwrap();
        let view = sql.replace(
            "UPDATE parents",
            "UPDATE devinprod_masked.\"public.parents\"",
        );
        for sql in [sql, &view] {
            let error = developer.client.simple_query(sql).await.expect_err(sql);
            assert!(!format!("{error:?}").contains("real"), "{sql}: {error:?}");
            developer.ask("ROLLBACK TO s").await.unwrap();
        }
    }
    // All else can be done.
    for sql in [
        "UPDATE parents SET n = 1",
        "UPDATE grandparents SET n = 1",
        "UPDATE fine SET parent = 8, secret = 'x'",
        "INSERT INTO parents VALUES (50, 50, 50)",
        "DELETE FROM fine",
    ] {
        developer
            .ask(sql)
            .await
            .unwrap_or_else(|code| panic!("{sql}: {code}"));
    }
    assert_eq!(
        holes(&sealed.keeper, &sealed.options.names).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn an_action_that_comes_later_is_a_hole_until_setup_withholds_the_right() {
    let policy = "[table.public.parents]\n\"*\" = { as = \"clear\", because = \"a test\" }\n\
        [table.public.childs]\nid = \"clear\"\nsecret = \"text\"\n";
    let tables = "CREATE TABLE parents (id int PRIMARY KEY, n int); INSERT INTO parents VALUES (1, 1);
        CREATE TABLE childs (id int PRIMARY KEY, secret text); INSERT INTO childs VALUES (1, 'real')";
    let sealed = sealed_by(harness::database().await, tables, policy).await;
    let names = &sealed.options.names;
    assert_eq!(holes(&sealed.keeper, names).await, Vec::<String>::new());
    let later = "ALTER TABLE childs ADD FOREIGN KEY (id) REFERENCES parents ON UPDATE CASCADE;
        ALTER TABLE childs ADD CHECK (id > 0)";
    sealed.admin.batch_execute(later).await.unwrap();
    let found = holes(&sealed.keeper, names).await.join("\n");
    assert!(found.contains("sets off what may fail"), "{found}");
    crate::seal_kit::run_setup(&sealed.admin, &sealed.options).await;
    assert_eq!(holes(&sealed.keeper, names).await, Vec::<String>::new());
}
