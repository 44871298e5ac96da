//! Application code that Postgres runs when a developer writes, with more rights than the developer has, or on rows that
//! the developer may not read: it must not be theirs to steer.

use devinprod::seal::{self, Gravity};

use crate::harness::{self, TestDatabase};
use crate::seal_kit::{Sealed, options, run_setup, version};
use crate::seal_masks_kit::{self, USERS};

/// Functions of the attacker's that take the place of Postgres' own, and write down as whom they run.
const SHADOW: &str = "CREATE SCHEMA evil;
    CREATE TABLE evil.seen (who name);
    GRANT USAGE, CREATE ON SCHEMA evil TO PUBLIC;
    GRANT INSERT ON evil.seen TO PUBLIC;
    CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO evil.seen VALUES (current_user); INSERT INTO evil.values VALUES ($1); RETURN $1; END $$;
    CREATE TABLE evil.values (value text);
    GRANT INSERT ON evil.values TO PUBLIC;
    CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO evil.seen VALUES (current_user); INSERT INTO evil.values VALUES ($1); RETURN $1; END $$;
    SET search_path = evil, pg_catalog, public;";

/// The application's code, how a developer sets it off, and what is to be told of it.
struct Attack {
    code: &'static str,
    write: &'static str,
    told: &'static str,
}

/// The function with what stands for `@`, and a trigger that runs it.
const DEFINER: &str =
    "CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER @ AS
        $$ BEGIN NEW.email := lower(NEW.email); RETURN NEW; END $$;
    CREATE TRIGGER tidy BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION tidy();";
const WRITE: &str = "UPDATE accounts SET balance = 1 WHERE id = 1";

const CASCADES: [Attack; 5] = [
    Attack {
        code: "CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN IF lower(OLD.entry) = 'x' THEN RETURN NULL; END IF; RETURN OLD; END $$;
            CREATE TRIGGER tidy BEFORE DELETE ON order_log FOR EACH ROW EXECUTE FUNCTION tidy();",
        write: "DELETE FROM orders WHERE id = 1",
        told: "trigger public.order_log.tidy",
    },
    Attack {
        code: "CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN IF lower(OLD.entry) = 'x' THEN RETURN NULL; END IF; RETURN OLD; END $$;
            CREATE TRIGGER tidy BEFORE DELETE ON order_log FOR EACH ROW EXECUTE FUNCTION tidy();
            ALTER TABLE orders DROP CONSTRAINT orders_account_fk,
                ADD CONSTRAINT orders_account_fk FOREIGN KEY (account_id) REFERENCES accounts ON DELETE CASCADE;",
        write: "DELETE FROM accounts WHERE id = 2",
        told: "trigger public.order_log.tidy",
    },
    Attack {
        code: "CREATE FUNCTION key(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
            CREATE TABLE notes (id int, order_id int REFERENCES orders ON DELETE SET NULL, body text);
            INSERT INTO notes VALUES (1, 1, 'note');
            CREATE INDEX notes_key ON notes (key(body));
            CREATE INDEX notes_order ON notes (order_id);",
        write: "DELETE FROM orders WHERE id = 1",
        told: "index public.notes_key",
    },
    Attack {
        code: "CREATE FUNCTION key(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
            CREATE TABLE notes (id int, order_id int REFERENCES orders ON UPDATE CASCADE, body text,
                CONSTRAINT has_key CHECK (key(body) <> 'x'));
            INSERT INTO notes VALUES (1, 1, 'note');",
        write: "DELETE FROM order_log WHERE order_id = 1; UPDATE orders SET id = 1001 WHERE id = 1",
        told: "constraint public.notes.has_key",
    },
    Attack {
        code: "CREATE FUNCTION first() RETURNS int LANGUAGE plpgsql AS
                $$ BEGIN PERFORM lower('x'); RETURN 2; END $$;
            CREATE TABLE notes (id int, order_id int DEFAULT first() REFERENCES orders ON DELETE SET DEFAULT);
            INSERT INTO notes VALUES (1, 1);",
        write: "DELETE FROM orders WHERE id = 1",
        told: "default public.notes.order_id",
    },
];

/// What the attacker's functions wrote down, or the SQLSTATE of the write.
async fn seen(sealed: &Sealed, write: &str) -> Vec<String> {
    let developer = sealed.developer().await;
    developer
        .ask("BEGIN; SELECT devinprod.arm()")
        .await
        .unwrap();
    developer.ask(SHADOW).await.unwrap();
    match developer.ask(write).await {
        Ok(_) => developer
            .ask("SELECT DISTINCT who::text FROM evil.seen")
            .await
            .unwrap(),
        Err(error) => vec![error],
    }
}

/// The same for several writes, each as if it were the only one.
async fn all_seen(sealed: &Sealed, writes: &[&str]) -> Vec<Vec<String>> {
    let developer = sealed.developer().await;
    developer
        .ask("BEGIN; SELECT devinprod.arm()")
        .await
        .unwrap();
    developer.ask(SHADOW).await.unwrap();
    let mut answers = Vec::new();
    for write in writes {
        developer.ask("SAVEPOINT before").await.unwrap();
        answers.push(match developer.ask(write).await {
            Ok(_) => developer
                .ask("SELECT DISTINCT who::text FROM evil.seen")
                .await
                .unwrap(),
            Err(error) => vec![error],
        });
        developer.ask("ROLLBACK TO before").await.unwrap();
    }
    answers
}

async fn with(code: &str) -> TestDatabase {
    let database = harness::database().await;
    database.connect().await.batch_execute(code).await.unwrap();
    database
}

/// What setup says of a database, as it is.
async fn findings(database: &TestDatabase) -> String {
    let options = options(database);
    let survey = seal::survey(&database.connect().await, &options.names)
        .await
        .unwrap();
    match seal::plan(&survey, &options) {
        Ok(plan) => plan
            .findings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_definer_trigger_that_could_be_steered_costs_the_right_to_write() {
    for settings in [
        "",
        "SET search_path = public",
        "SET search_path = public, pg_temp",
        "SET search_path = pg_catalog, public, pg_temp",
        "SET search_path = ''",
        "SET search_path = \"$user\", pg_temp",
        "SET search_path = later, pg_temp",
    ] {
        let database = with(&DEFINER.replace('@', settings)).await;
        let told = findings(&database).await;
        assert!(
            told.contains("no UPDATE on public.accounts")
                && told.contains("trigger public.accounts.tidy"),
            "{settings}: {told}"
        );
        let sealed = Sealed::new(database).await;
        assert_eq!(seen(&sealed, WRITE).await, ["42501"], "{settings}");
        // The rest of it can be written to.
        let insert = "INSERT INTO accounts (email, name) VALUES ('a', 'b')";
        assert_eq!(
            seen(&sealed, insert).await,
            Vec::<String>::new(),
            "{settings}"
        );
    }
}

#[tokio::test]
async fn a_definer_trigger_with_a_safe_path_runs_as_it_is() {
    let database = with(&DEFINER.replace('@', "SET search_path = pg_catalog, pg_temp")).await;
    let sealed = Sealed::new(database).await;
    assert_eq!(seen(&sealed, WRITE).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_closed_is_closed_through_views_and_rules() {
    let views = "CREATE VIEW people AS SELECT * FROM accounts; CREATE VIEW a_few AS SELECT id, balance FROM people WHERE id < 5;
        CREATE TABLE wishes (id bigint, balance numeric);
        CREATE RULE granted AS ON INSERT TO wishes DO INSTEAD UPDATE accounts SET balance = NEW.balance WHERE id = NEW.id;
        CREATE RULE asked AS ON UPDATE TO wishes DO INSTEAD UPDATE accounts SET balance = NEW.balance WHERE id = NEW.id;";
    let database = with(&format!("{}{views}", DEFINER.replace('@', ""))).await;
    let sealed = Sealed::new(database).await;
    let writes = [
        "UPDATE people SET balance = 1 WHERE id = 1",
        "UPDATE a_few SET balance = 1 WHERE id = 1",
    ];
    let writes = writes.into_iter().chain([
        "UPDATE wishes SET balance = 1",
        "INSERT INTO wishes VALUES (1, 1)",
    ]);
    let writes: Vec<&str> = writes.collect();
    for answer in all_seen(&sealed, &writes).await {
        assert_eq!(answer, ["42501"]);
    }
    // It is an attack indeed.
    let writers = sealed.options.names.writers();
    let grant = format!("GRANT UPDATE, INSERT ON people, a_few, wishes TO {writers}");
    sealed.admin.batch_execute(&grant).await.unwrap();
    let answers = all_seen(&sealed, &writes).await;
    // An UPDATE of no rows sets nothing off.
    assert_eq!(
        answers,
        [vec!["postgres"], vec!["postgres"], vec![], vec!["postgres"]]
    );
}

#[tokio::test]
async fn what_is_closed_in_a_part_is_closed_in_the_whole() {
    let parts = "CREATE TABLE whole (id bigint, email text) PARTITION BY RANGE (id);
        CREATE TABLE half PARTITION OF whole FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
        CREATE TABLE part PARTITION OF half FOR VALUES FROM (0) TO (5);
        CREATE TABLE parent (id bigint, email text);
        CREATE TABLE child () INHERITS (parent);
        INSERT INTO whole VALUES (1, 'X');
        INSERT INTO child VALUES (1, 'X');
        CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            $$ BEGIN NEW.email := lower(NEW.email); RETURN NEW; END $$;
        CREATE TRIGGER tidy BEFORE UPDATE ON part FOR EACH ROW EXECUTE FUNCTION tidy();
        CREATE TRIGGER tidy BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION tidy();";
    let sealed = Sealed::new(with(parts).await).await;
    let writes = ["part", "half", "whole", "child", "parent"]
        .map(|table| format!("UPDATE public.{table} SET email = 'Y' WHERE id = 1"));
    let writes: Vec<&str> = writes.iter().map(String::as_str).collect();
    for (write, answer) in writes.iter().zip(all_seen(&sealed, &writes).await) {
        assert_eq!(answer, ["42501"], "{write}");
    }
    // It is an attack indeed.
    let writers = sealed.options.names.writers();
    let grant = format!("GRANT UPDATE ON whole, parent TO {writers}");
    sealed.admin.batch_execute(&grant).await.unwrap();
    assert_eq!(
        all_seen(&sealed, &writes).await,
        [["42501"], ["42501"], ["postgres"], ["42501"], ["postgres"]]
    );
}

#[tokio::test]
async fn nobody_can_vouch_for_what_developers_steer() {
    let database = with(&DEFINER.replace('@', "")).await;
    let mut options = options(&database);
    let admin = database.connect().await;
    for vouch in ["trigger public.accounts.tidy", "function public.tidy()"] {
        options.vouched = vec![vouch.to_owned()];
        let told = seal_masks_kit::replan(&admin, &options)
            .await
            .unwrap_err()
            .to_string();
        for said in [
            &format!("nobody can vouch for {vouch}"),
            "setup --pin \"public.tidy()\"",
        ] {
            assert!(told.contains(said), "{told}");
        }
    }
    // With an older seal's vouch on record and its right to write, this is what the trigger does.
    options.vouched.clear();
    let sealed = Sealed::with(database, options).await;
    let writers = sealed.options.names.writers();
    let older = format!(
        "INSERT INTO devinprod.vouched VALUES ('trigger public.accounts.tidy'); GRANT UPDATE ON accounts TO {writers}"
    );
    sealed.admin.batch_execute(&older).await.unwrap();
    assert_eq!(seen(&sealed, WRITE).await, ["postgres"]);
    assert!(holes(&sealed).await.contains("tidy"));
    // A setup takes that right.
    let mut later = sealed.options.clone();
    later.proxy_verifier = None;
    run_setup(&sealed.admin, &later).await;
    assert_eq!(seen(&sealed, WRITE).await, ["42501"]);
    // Pinned, there is nothing to steer, and one may vouch.
    later.pinned = vec!["all".to_owned()];
    later.vouched = vec!["trigger public.accounts.tidy".to_owned()];
    run_setup(&sealed.admin, &later).await;
    assert_eq!(seen(&sealed, WRITE).await, Vec::<String>::new());
    assert!(!holes(&sealed).await.contains("tidy"));
}

#[tokio::test]
async fn what_a_cascade_sets_off_runs_as_the_owner_and_costs_the_right_to_cascade() {
    for attack in CASCADES {
        let database = with(attack.code).await;
        let told = findings(&database).await;
        assert!(told.contains(attack.told), "{}: {told}", attack.told);
        let sealed = Sealed::new(database).await;
        assert_eq!(
            seen(&sealed, attack.write).await,
            ["42501"],
            "{}",
            attack.told
        );
        // It is an attack indeed: with the right to write it works.
        let writers = sealed.options.names.writers();
        let grant =
            format!("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {writers}");
        sealed.admin.batch_execute(&grant).await.unwrap();
        assert_eq!(
            seen(&sealed, attack.write).await,
            ["postgres"],
            "{}",
            attack.told
        );
        assert!(
            holes(&sealed).await.contains(attack.told),
            "{}",
            attack.told
        );
    }
}

#[tokio::test]
async fn a_second_setup_leaves_closed_tables_closed_and_opens_what_was_made_sound() {
    let database = with(CASCADES[0].code).await;
    let sealed = Sealed::new(database).await;
    let mut options = sealed.options.clone();
    options.proxy_verifier = None;
    let survey = seal::survey(&sealed.admin, &options.names).await.unwrap();
    let plan = seal::plan(&survey, &options).unwrap();
    assert!(plan.is_empty(), "{:?}", plan.steps);
    assert!(holes(&sealed).await.is_empty());
    sealed
        .admin
        .batch_execute("ALTER FUNCTION tidy() SET search_path = pg_catalog, pg_temp")
        .await
        .unwrap();
    run_setup(&sealed.admin, &options).await;
    assert_eq!(seen(&sealed, CASCADES[0].write).await, Vec::<String>::new());
}

#[tokio::test]
async fn code_made_later_is_noticed() {
    let sealed = Sealed::new(harness::database().await).await;
    assert!(holes(&sealed).await.is_empty());
    sealed
        .admin
        .batch_execute(&DEFINER.replace('@', ""))
        .await
        .unwrap();
    assert!(
        holes(&sealed)
            .await
            .contains("trigger public.accounts.tidy")
    );
    let mut options = sealed.options.clone();
    options.proxy_verifier = None;
    run_setup(&sealed.admin, &options).await;
    assert!(holes(&sealed).await.is_empty());
}

#[tokio::test]
async fn functions_that_developers_may_call_and_event_triggers_must_have_a_safe_path() {
    let code = "CREATE FUNCTION boss() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT lower('X'::text) $$;";
    let database = with(code).await;
    let admin = database.connect().await;
    let mut options = options(&database);
    options.allowed_functions = vec!["public.boss()".to_owned()];
    let survey = seal::survey(&admin, &options.names).await.unwrap();
    let told = seal::plan(&survey, &options).unwrap_err().to_string();
    assert!(
        told.contains("public.boss()") && told.contains("search_path"),
        "{told}"
    );
    admin
        .batch_execute("ALTER FUNCTION boss() SET search_path = pg_catalog, pg_temp")
        .await
        .unwrap();
    run_setup(&admin, &options).await;

    let event =
        "CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS
            $$ BEGIN PERFORM lower('X'::text); END $$;
        CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl();";
    admin.batch_execute(event).await.unwrap();
    options.proxy_verifier = None;
    let survey = seal::survey(&admin, &options.names).await.unwrap();
    let told = seal::plan(&survey, &options).unwrap_err().to_string();
    assert!(told.contains("public.on_ddl()"), "{told}");
    assert!(version(&admin).await >= 140_000);
}

/// The holes of a sealed database.
async fn holes(sealed: &Sealed) -> String {
    seal::verify(&sealed.keeper, &sealed.options.names)
        .await
        .unwrap()
        .into_iter()
        .filter(|finding| finding.gravity == Gravity::Hole)
        .map(|finding| finding.to_string())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Users of whom `notes` and `full_name` are not readable, and a log that is.
const POLICY: &str = "
    [table.public.users]
    \"*\" = { as = \"clear\", because = \"made up\" }
    notes = \"deny\"
    full_name = \"person_name\"
    [table.public.log]
    \"*\" = { as = \"clear\", because = \"made up\" }
";

/// The function runs for each row that is changed: `@` is its body, behind its language.
const ON_UPDATE: &str = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql @;
    CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();";

/// Seals the users with some code.
async fn masked(code: &str, more: &str) -> Sealed {
    let sql = format!(
        "{USERS} CREATE INDEX users_city ON users (city); CREATE TABLE log (entry text); {code}"
    );
    seal_masks_kit::sealed_by(harness::database().await, &sql, &format!("{POLICY}{more}")).await
}

/// What the attacker and the log know after a write, or its SQLSTATE.
async fn learnt(sealed: &Sealed, write: &str) -> Result<String, String> {
    let developer = sealed.developer().await;
    developer
        .ask("BEGIN; SELECT devinprod.arm()")
        .await
        .unwrap();
    developer.ask(SHADOW).await.unwrap();
    developer.ask(write).await?;
    let known = developer
        .ask("SELECT value FROM evil.values UNION ALL SELECT entry FROM public.log")
        .await
        .unwrap();
    Ok(known.join("; "))
}

const CHANGE: &str = "UPDATE public.users SET city = 'Elsewhere' WHERE id = 1";

#[tokio::test]
async fn code_that_would_be_handed_real_values_costs_the_right_to_write() {
    let cases: [(&str, &str); 8] = [
        (
            "trigger public.users.touch",
            &ON_UPDATE.replace('@', "AS $$ BEGIN IF lower(OLD.notes) = 'x' THEN RETURN NULL; END IF; RETURN NEW; END $$"),
        ),
        (
            "trigger public.users.touch",
            &ON_UPDATE.replace('@', "SET search_path = pg_catalog, public, pg_temp AS \
                $$ BEGIN NEW.full_name := lower(NEW.full_name::varchar); RETURN NEW; END $$"),
        ),
        (
            "trigger public.users.touch",
            &ON_UPDATE.replace('@', "SET search_path = pg_catalog, pg_temp AS \
                $$ BEGIN INSERT INTO public.log VALUES (OLD.notes); RETURN NEW; END $$"),
        ),
        (
            "trigger public.users.touch",
            &ON_UPDATE.replace('@', "SET search_path = pg_catalog, pg_temp AS \
                $$ DECLARE v text := OLD.notes; BEGIN PERFORM public.lower(v::varchar); RETURN NEW; END $$"),
        ),
        (
            "constraint public.users.is_clean",
            "CREATE FUNCTION clean(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
            ALTER TABLE users ADD CONSTRAINT is_clean CHECK (clean(notes) <> 'x');",
        ),
        (
            "index public.users_clean",
            "CREATE FUNCTION clean(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
            CREATE INDEX users_clean ON users (clean(full_name));",
        ),
        (
            "rule public.users.keep",
            "CREATE RULE keep AS ON UPDATE TO users DO ALSO INSERT INTO log VALUES (OLD.notes);",
        ),
        (
            "trigger public.users.audit",
            "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
                $$ BEGIN INSERT INTO public.log SELECT notes FROM old_rows; RETURN NULL; END $$;
            CREATE TRIGGER audit AFTER UPDATE ON users REFERENCING OLD TABLE AS old_rows
                FOR EACH STATEMENT EXECUTE FUNCTION audit();",
        ),
    ];
    for (name, code) in cases {
        let sealed = masked(code, "").await;
        assert_eq!(
            learnt(&sealed, CHANGE).await,
            Err("42501".to_owned()),
            "{name}"
        );
        let mut options = sealed.options.clone();
        options.proxy_verifier = None;
        let plan = seal_masks_kit::replan(&sealed.admin, &options)
            .await
            .unwrap();
        assert!(plan.is_empty(), "{name}: {:?}", plan.steps);
        let told: Vec<String> = plan.findings.iter().map(ToString::to_string).collect();
        assert!(told.join(";").contains(name), "{name}: {told:?}");
        // It is an attack indeed: with the right to write it works.
        let writers = sealed.options.names.writers();
        let grant = format!("GRANT UPDATE ON users TO {writers}");
        sealed.admin.batch_execute(&grant).await.unwrap();
        let learnt = learnt(&sealed, CHANGE).await.unwrap().to_lowercase();
        assert!(learnt.contains("real "), "{name}: {learnt}");
        assert!(holes(&sealed).await.contains(name), "{name}");
    }
}

#[tokio::test]
async fn code_that_keeps_real_values_to_itself_costs_nothing() {
    for code in [
        ON_UPDATE.replace('@', "AS $$ BEGIN NEW.born := lower('2020-01-01'); RETURN NEW; END $$"),
        ON_UPDATE.replace('@', "SET search_path = pg_catalog, pg_temp AS \
            $$ BEGIN NEW.full_name := lower(NEW.full_name); RETURN NEW; END $$"),
        "CREATE FUNCTION clean(text) RETURNS text LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT lower($1); END;
            ALTER TABLE users ADD CONSTRAINT is_clean CHECK (clean(notes) <> 'x');".to_owned(),
        "CREATE FUNCTION clean(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
            CREATE INDEX users_clean ON users (clean(city));".to_owned(),
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.notes := lower(NEW.notes); RETURN NEW; END $$;
            CREATE TRIGGER touch BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION touch();".to_owned(),
    ] {
        let sealed = masked(&code, "").await;
        let learnt = learnt(&sealed, CHANGE).await;
        assert!(learnt.as_ref().is_ok_and(|known| !known.to_lowercase().contains("real ")), "{code}: {learnt:?}");
    }
}

#[tokio::test]
async fn a_policy_vouches_for_code() {
    let code = ON_UPDATE.replace(
        '@',
        "SET search_path = pg_catalog, pg_temp AS \
        $$ BEGIN INSERT INTO public.log VALUES (length(OLD.notes)); RETURN NEW; END $$",
    );
    let vouch = "[[vouch]]\nfor = \"trigger public.users.touch\"\nbecause = \"only its length\"\n";
    let sealed = masked(&code, vouch).await;
    assert_eq!(learnt(&sealed, CHANGE).await, Ok("11".to_owned()));
}

#[tokio::test]
async fn row_security_that_hands_real_values_to_code_that_could_be_steered_is_a_hole() {
    let code = "CREATE FUNCTION seen_by(text) RETURNS boolean LANGUAGE plpgsql STABLE AS
            $$ BEGIN RETURN lower($1) <> 'x'; END $$;
        ALTER TABLE users ENABLE ROW LEVEL SECURITY;
        CREATE POLICY seen ON users USING (seen_by(notes));";
    let sealed = masked("", "").await;
    sealed.admin.batch_execute(code).await.unwrap();
    // What the masked view alone would give away.
    let read = "SELECT count(*) FROM devinprod_masked.\"public.users\"";
    let known = learnt(&sealed, read).await.unwrap();
    assert!(known.contains("real note 1"), "{known}");
    assert!(holes(&sealed).await.contains("policy public.users.seen"));
    let told = seal_masks_kit::replan(&sealed.admin, &sealed.options)
        .await
        .unwrap_err()
        .to_string();
    assert!(told.contains("policy public.users.seen"), "{told}");
}
