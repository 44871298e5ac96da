//! What changes in a masked database after its seal: noticed by the look that the proxy takes every minute, told with what to
//! do, and closed: a hole ends the sandboxes, and what is no hole gives a developer nothing.

use devinprod::seal::{self, Gravity};

use crate::harness::{self, Proxy, Setup, connect, proxy_with};
use crate::seal_kit::{Developer, Sealed, run_setup};
use crate::seal_masks_kit::{POLICY, REST, USERS, sealed_by};

/// The users, and two tables more: one with partitions, one with row security.
const TABLES: &str = "
    CREATE TABLE visits (id bigint, email text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (100);
    INSERT INTO visits SELECT n, 'real' || n || '@secret.example' FROM generate_series(1, 9) AS n;
    CREATE TABLE files (id bigint PRIMARY KEY, body text);
    ALTER TABLE files ENABLE ROW LEVEL SECURITY;
    CREATE POLICY a_few ON files USING (id < 3);
    INSERT INTO files SELECT n, 'body ' || n FROM generate_series(1, 9) AS n;
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
        $$ BEGIN NEW.email := OLD.email; RETURN NEW; END $$;
    CREATE FUNCTION token() RETURNS text LANGUAGE sql RETURN 'x';
";

const MORE: &str = "
    [table.public.visits]\nid = \"clear\"\nemail = \"email\"
    [table.public.files]\nid = \"clear\"\nbody = { as = \"clear\", because = \"made up\" }
";

struct Change {
    /// What somebody does.
    sql: &'static str,
    gravity: Gravity,
    /// What is said.
    told: &'static str,
    /// What a developer then tries; it must not show a real value. `;` stands between messages.
    attack: &'static str,
    /// How it is undone, where another setup does not put it right.
    undo: &'static str,
}

const fn hole(sql: &'static str, told: &'static str) -> Change {
    Change {
        sql,
        gravity: Gravity::Hole,
        told,
        attack: "",
        undo: "",
    }
}

const fn note(sql: &'static str, told: &'static str, attack: &'static str) -> Change {
    Change {
        gravity: Gravity::Note,
        attack,
        ..hole(sql, told)
    }
}

const CHANGES: [Change; 20] = [
    hole(
        "CREATE TRIGGER keep BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION keep()",
        "trigger public.users.keep",
    ),
    hole(
        "CREATE TRIGGER keep BEFORE UPDATE ON visits_1 FOR EACH ROW EXECUTE FUNCTION keep()",
        "trigger public.visits_1.keep",
    ),
    hole(
        "CREATE RULE copied AS ON INSERT TO users DO ALSO UPDATE users SET city = 'x' WHERE id = NEW.id",
        "rule public.users.copied",
    ),
    hole(
        "ALTER TABLE users ALTER notes SET DEFAULT token(); ALTER TABLE users ALTER phone SET DEFAULT token()",
        "function public.token()",
    ),
    hole("ALTER TABLE users DISABLE TRIGGER ALL", "the seal's triggers on it"),
    hole(
        "ALTER TABLE visits_1 DISABLE TRIGGER \"!devinprod_update_2_own\"",
        "the seal's triggers",
    ),
    hole(
        "DROP TRIGGER \"!devinprod_update_1_0000\" ON users",
        "the seal's triggers on it",
    ),
    hole(
        "CREATE OR REPLACE VIEW devinprod_masked.\"public.users\" AS
            SELECT id, email, full_name, phone, born, balance, city FROM users",
        "the masked views of public.users",
    ),
    hole(
        "CREATE FUNCTION boss() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT email FROM public.users'",
        "owner's rights",
    ),
    hole("GRANT SELECT ON users TO PUBLIC", "PUBLIC may read"),
    hole("GRANT SELECT (email) ON visits_1 TO PUBLIC", "of public.visits_1: email"),
    hole("ALTER TABLE files DISABLE ROW LEVEL SECURITY", "row security of public.files is off"),
    Change {
        undo: "DROP TRIGGER swallow ON devinprod.commit_guard",
        ..hole(
            "CREATE TRIGGER swallow BEFORE INSERT ON devinprod.commit_guard FOR EACH ROW
                EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "the commit guard's trigger",
        )
    },
    Change {
        undo: "DROP RULE swallow ON devinprod.commit_guard",
        ..hole(
            "CREATE RULE swallow AS ON INSERT TO devinprod.commit_guard DO INSTEAD NOTHING",
            "the commit guard's trigger",
        )
    },
    note(
        "DROP POLICY a_few ON files; CREATE POLICY a_few ON files USING (id < 2)",
        "row security of public.files has been changed",
        "SELECT body FROM files WHERE id > 1",
    ),
    note(
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
        "row security of public.users has been changed",
        "SELECT email FROM users",
    ),
    note(
        "ALTER TABLE users ADD secret text DEFAULT 'real secret.example'",
        "public.users has new columns, which are closed: secret",
        "SELECT secret FROM users",
    ),
    note(
        "CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM (100) TO (200);
         INSERT INTO visits VALUES (100, 'real@secret.example')",
        "closed, since they came after the last setup: public.visits_2",
        "SELECT email FROM visits_2;SELECT email FROM devinprod_masked.\"public.visits\";BEGIN;SELECT devinprod.arm();UPDATE visits SET id = 101 WHERE id = 100;SELECT email FROM devinprod_masked.\"public.visits\"",
    ),
    note(
        "CREATE TABLE visits_3 (LIKE visits INCLUDING ALL); INSERT INTO visits_3 VALUES (200, 'real@secret.example');
         ALTER TABLE visits ATTACH PARTITION visits_3 FOR VALUES FROM (200) TO (300)",
        "closed, since they came after the last setup: public.visits_2, public.visits_3",
        "SELECT email FROM visits_3;SELECT email FROM devinprod_masked.\"public.visits\";BEGIN;SELECT devinprod.arm();UPDATE visits SET id = 201 WHERE id = 200;SELECT email FROM devinprod_masked.\"public.visits\"",
    ),
    note(
        "CREATE TABLE more_users () INHERITS (users);
         INSERT INTO more_users SELECT (u).* FROM (SELECT u FROM ONLY users u WHERE id = 1) AS x",
        "closed, since they came after the last setup: public.more_users",
        "SELECT email FROM more_users;SELECT email FROM devinprod_masked.\"public.users\";BEGIN;SELECT devinprod.arm();UPDATE users SET city = 'x';SELECT email FROM devinprod_masked.\"public.users\"",
    ),
];

async fn attacked(developer: &Developer, change: &Change) {
    for message in change
        .attack
        .split(';')
        .filter(|message| !message.is_empty())
    {
        let answer = developer.ask(message).await;
        let told = format!("{answer:?}");
        assert!(
            !told.contains("secret.example") && !told.contains("body"),
            "{}: {message}: {told}",
            change.sql
        );
    }
    let _ = developer.ask("ROLLBACK").await;
}

/// What a look finds: gravity, what, and what to do.
async fn looked(sealed: &Sealed) -> Vec<seal::Finding> {
    seal::verify(&sealed.keeper, &sealed.options.names)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_change_is_noticed_told_and_closed() {
    let sealed = sealed_by(
        harness::database().await,
        &format!("{USERS}{TABLES}"),
        &format!("{POLICY}{MORE}"),
    )
    .await;
    let mut options = sealed.options.clone();
    options.proxy_verifier = None;
    let developer = sealed.developer().await;
    for change in &CHANGES {
        sealed.admin.batch_execute(change.sql).await.unwrap();
        let findings = looked(&sealed).await;
        let found = findings
            .iter()
            .find(|finding| finding.what.contains(change.told));
        let Some(found) = found else {
            panic!("{}: {findings:#?}", change.sql);
        };
        assert_eq!(found.gravity, change.gravity, "{}: {found}", change.sql);
        assert!(!found.remedy.is_empty(), "{found}");
        attacked(&developer, change).await;
        if change.gravity == Gravity::Hole {
            // Put right by what is said: setup, or by hand.
            sealed.admin.batch_execute(change.undo).await.unwrap();
            if change.sql.contains("ROW LEVEL") {
                let on = change.sql.replace("DISABLE", "ENABLE");
                sealed.admin.batch_execute(&on).await.unwrap();
            }
            run_setup(&sealed.admin, &options).await;
            let left: Vec<_> = looked(&sealed)
                .await
                .into_iter()
                .filter(|finding| finding.gravity == Gravity::Hole)
                .collect();
            assert_eq!(left, Vec::new(), "after {}", change.sql);
        }
    }
}

/// A BEFORE ROW trigger of a partition puts the old value back: what the developer seems to have written is a real one.
#[tokio::test]
async fn a_trigger_of_a_partition_makes_no_real_value_an_own_one() {
    let code =
        "CREATE TRIGGER keep BEFORE UPDATE ON visits_1 FOR EACH ROW EXECUTE FUNCTION keep();";
    let sealed = sealed_by(
        harness::database().await,
        &format!("{USERS}{TABLES}{code}"),
        &format!("{POLICY}{MORE}"),
    )
    .await;
    let developer = sealed.developer().await;
    developer.ask("BEGIN").await.unwrap();
    developer.ask("SELECT devinprod.arm()").await.unwrap();
    developer
        .ask("UPDATE visits SET email = 'mine' WHERE id = 1")
        .await
        .unwrap();
    let seen = developer
        .ask("SELECT coalesce(email, 'NULL') FROM devinprod_masked.\"public.visits\" WHERE id = 1")
        .await;
    assert_eq!(seen, Ok(vec!["NULL".to_owned()]));
}

/// A proxy on the users, where code of the application makes UPDATE impossible.
async fn closed() -> Proxy {
    let database = harness::database().await;
    let code = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            $$ BEGIN NEW.city := lower(NEW.city); RETURN NEW; END $$;
        CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();";
    database
        .connect()
        .await
        .batch_execute(&format!("{USERS}{code}"))
        .await
        .unwrap();
    let setup = Setup {
        policy: Some(format!("{POLICY}{REST}")),
        ..Setup::default()
    };
    proxy_with(database, setup).await
}

#[tokio::test]
async fn a_refused_write_says_for_which_code_it_is_refused() {
    let proxy = closed().await;
    let client = connect(&proxy.url()).await;
    let write = "UPDATE users SET city = 'Elsewhere' WHERE id = 1";
    let error = client.simple_query(write).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42501", "{error:?}");
    let hint = error.hint().unwrap_or_default();
    for said in [
        "public.users",
        "no UPDATE",
        "trigger public.users.touch",
        "--pin",
    ] {
        assert!(hint.contains(said), "{hint}");
    }
    // What is not withheld goes on, and reading is no write.
    client
        .simple_query("INSERT INTO users (id, email, full_name) VALUES (99, 'a@b', 'c')")
        .await
        .unwrap();
    client
        .simple_query("SELECT email FROM users")
        .await
        .unwrap();
}
