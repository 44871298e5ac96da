//! What `devinprod setup` does to a database and to those who use it.

use std::process::Command;

use devinprod::cluster::Cluster;
use devinprod::seal::{self, Gravity, Names, SealError, SealOptions};
use tokio_postgres::Client;

use crate::harness::{self, TestDatabase, both, connect};
use crate::seal_kit::{
    PASSWORD, Sealed, answer, options, run_setup, version, wait_for_no_sessions,
};

/// Everything that setup has to close, and names that need quotes.
const HARD_CASE: &str = r#"
    CREATE ROLE "Other ""one""_@" LOGIN PASSWORD 'other';
    CREATE ROLE owner_@ NOLOGIN;
    CREATE SCHEMA "Odd Schema" AUTHORIZATION owner_@;
    GRANT CREATE, USAGE ON SCHEMA "Odd Schema" TO PUBLIC;
    CREATE TABLE "Odd Schema"."Table; --" (id serial PRIMARY KEY, "a b" text, c text);
    ALTER TABLE "Odd Schema"."Table; --" OWNER TO owner_@;
    GRANT INSERT, SELECT, UPDATE ("a b") ON "Odd Schema"."Table; --" TO PUBLIC;
    GRANT USAGE ON SEQUENCE "Odd Schema"."Table; --_id_seq" TO PUBLIC;
    GRANT DELETE, UPDATE ON accounts TO PUBLIC;
    CREATE FUNCTION empty_log() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'DELETE FROM public.order_log';
    CREATE PROCEDURE "Odd Schema"."Do It"(a int, INOUT b text) LANGUAGE sql SECURITY DEFINER AS 'SELECT b';
    CREATE MATERIALIZED VIEW totals AS SELECT sum(total) FROM orders;
    CREATE FOREIGN DATA WRAPPER nothing;
    CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
    GRANT USAGE ON FOREIGN SERVER nowhere TO PUBLIC;
    GRANT USAGE ON FOREIGN DATA WRAPPER nothing TO PUBLIC;
    ALTER DEFAULT PRIVILEGES FOR ROLE owner_@ IN SCHEMA "Odd Schema" GRANT UPDATE ON TABLES TO PUBLIC;
"#;

/// Makes the hard case, with roles named after the database; returns the name of its other role.
async fn make_hard(database: &TestDatabase) -> String {
    let admin = database.connect().await;
    let sql = HARD_CASE.replace('@', &database.name);
    admin.batch_execute(&sql).await.unwrap();
    format!("Other \"one\"_{}", database.name)
}

#[tokio::test]
async fn a_second_setup_finds_nothing_to_do() {
    for database in both().await {
        make_hard(&database).await;
        let options = SealOptions {
            proxy_verifier: None,
            ..options(&database)
        };
        let admin = database.connect().await;
        run_setup(&admin, &options).await;
        let survey = seal::survey(&admin, &options.names).await.unwrap();
        let again = seal::plan(&survey, &options).unwrap();
        assert!(again.is_empty(), "{:#?}", again.steps);
        let more = SealOptions {
            pairs: 6,
            ..options
        };
        run_setup(&admin, &more).await;
        let survey = seal::survey(&admin, &more.names).await.unwrap();
        assert!(seal::plan(&survey, &more).unwrap().is_empty());
    }
}

#[tokio::test]
async fn removing_the_seal_leaves_nothing() {
    let (cluster, database) = harness::own_cluster().await;
    make_hard(&database).await;
    // It is not given back, as the plan says.
    let undo = format!(
        "ALTER DEFAULT PRIVILEGES FOR ROLE owner_{} IN SCHEMA \"Odd Schema\" REVOKE UPDATE ON TABLES FROM PUBLIC",
        database.name
    );
    let admin = database.connect().await;
    admin.batch_execute(&undo).await.unwrap();
    let dump = || {
        let output = Command::new(client_program(&cluster, "pg_dumpall"))
            .args(["--dbname", &cluster.url("postgres")])
            .env("PGPASSWORD", cluster.password())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let quiet =
            |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
        text.lines().filter(quiet).collect::<Vec<_>>().join("\n")
    };
    let before = dump();
    let sealed = Sealed::new(database).await;
    let names = &sealed.options.names;
    // Any role may change its own default privileges; that is in nobody's way.
    let developer = sealed.developer().await;
    let own = "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC";
    developer.ask(own).await.unwrap();
    drop(developer);
    assert_eq!(holes(&sealed.admin, names).await, Vec::<String>::new());
    assert_ne!(before, dump());
    wait_for_no_sessions(&sealed.admin, names).await;
    remove(&sealed.admin, names).await;
    assert_eq!(before, dump());
    let survey = seal::survey(&sealed.admin, names).await.unwrap();
    assert!(seal::removal(&survey, &[], names).unwrap().is_empty());
}

async fn remove(admin: &Client, names: &Names) {
    let survey = seal::survey(admin, names).await.unwrap();
    let taken = seal::survey_taken(admin, &survey).await.unwrap();
    let plan = seal::removal(&survey, &taken, names).unwrap_or_else(|error| panic!("{error}"));
    seal::apply(admin, &plan)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn other_roles_keep_what_they_had() {
    for database in both().await {
        let other = make_hard(&database).await;
        let name = other.replace('"', "%22").replace(' ', "%20");
        let client = connect(&database.url_as(&name, "other")).await;
        let sealed = Sealed::new(database).await;
        let developer = sealed.developer().await;
        let rights = [
            "CREATE TEMP TABLE mine ()",
            "CREATE TABLE \"Odd Schema\".mine ()",
            "INSERT INTO \"Odd Schema\".\"Table; --\" (c) VALUES ('x')",
            "UPDATE \"Odd Schema\".\"Table; --\" SET \"a b\" = 'x'",
            "DELETE FROM accounts WHERE false",
            "SELECT nextval('\"Odd Schema\".\"Table; --_id_seq\"')",
            "SELECT empty_log()",
            "CALL \"Odd Schema\".\"Do It\"(1, 'x')",
            "SELECT lo_create(0)",
            "SELECT pg_logical_emit_message(true, 'a', 'b')",
            "CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere",
            "CREATE SERVER another FOREIGN DATA WRAPPER nothing",
        ];
        for sql in rights {
            client.batch_execute("BEGIN").await.unwrap();
            answer(client.simple_query(sql).await).unwrap_or_else(|code| panic!("{sql}: {code}"));
            client.batch_execute("ROLLBACK").await.unwrap();
            assert_eq!(developer.ask(sql).await.unwrap_err(), "42501", "{sql}");
        }
        // They did not get more than they had.
        let more = client.simple_query("UPDATE \"Odd Schema\".\"Table; --\" SET c = 'x'");
        assert_eq!(answer(more.await).unwrap_err(), "42501");
    }
}

#[tokio::test]
async fn more_pairs_can_be_added_while_a_sandbox_is_armed() {
    let sealed = Sealed::new(harness::database().await).await;
    let developer = sealed.developer().await;
    developer.ask("BEGIN").await.unwrap();
    developer.ask("SELECT devinprod.arm()").await.unwrap();
    let more = SealOptions {
        pairs: 6,
        proxy_verifier: None,
        ..sealed.options.clone()
    };
    run_setup(&sealed.admin, &more).await;
    let leased = sealed.developer().await.lease.role;
    assert_ne!(leased, developer.lease.role);
    developer
        .ask("UPDATE accounts SET balance = 0")
        .await
        .unwrap();
}

#[tokio::test]
async fn tables_made_later_are_covered() {
    let sealed = Sealed::new(harness::database().await).await;
    sealed
        .admin
        .batch_execute("CREATE TABLE later (id serial PRIMARY KEY)")
        .await
        .unwrap();
    let developer = sealed.developer().await;
    let insert = "INSERT INTO later DEFAULT VALUES";
    assert_eq!(
        developer.ask("SELECT count(*) FROM later").await.unwrap(),
        ["0"]
    );
    assert_eq!(developer.ask(insert).await.unwrap_err(), "42501");
    developer.ask("BEGIN").await.unwrap();
    developer.ask("SELECT devinprod.arm()").await.unwrap();
    developer.ask(insert).await.unwrap();
    assert_eq!(
        developer.ask("COMMIT").await.unwrap_err(),
        seal::COMMIT_REFUSED
    );
}

#[tokio::test]
async fn an_allowed_function_needs_arming() {
    let database = harness::database().await;
    make_hard(&database).await;
    let mut options = options(&database);
    options.allowed_functions = vec!["public.empty_log()".to_owned()];
    let admin = database.connect().await;
    run_setup(&admin, &options).await;
    let keeper = connect(&database.url_as(&options.names.proxy(), PASSWORD)).await;
    let lease = seal::lease(&keeper).await.unwrap();
    let developer = connect(&database.url_as(&lease.role, &lease.password)).await;
    let call = "SELECT empty_log()";
    assert_eq!(
        answer(developer.simple_query(call).await).unwrap_err(),
        "42501"
    );
    let armed = format!("BEGIN; SELECT devinprod.arm(); {call}");
    answer(developer.simple_query(&armed).await).unwrap();
    options.allowed_functions = vec!["public.no_such()".to_owned()];
    let survey = seal::survey(&admin, &options.names).await.unwrap();
    assert!(refusal(&survey, &options).contains("no SECURITY DEFINER function"));
}

/// A program of the cluster's own version, or what PATH has: some packages hold the server's programs alone.
fn client_program(cluster: &Cluster, name: &str) -> std::path::PathBuf {
    let own = cluster.binaries().program(name);
    if own.exists() { own } else { name.into() }
}

#[tokio::test]
async fn the_printed_script_runs_as_it_is() {
    let (cluster, database) = harness::own_cluster().await;
    make_hard(&database).await;
    let options = options(&database);
    let admin = database.connect().await;
    let survey = seal::survey(&admin, &options.names).await.unwrap();
    let script = seal::plan(&survey, &options).unwrap().script();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let output = Command::new(client_program(&cluster, "psql"))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--dbname",
            &database.url,
            "--file",
        ])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(holes(&admin, &options.names).await.is_empty());
}

#[tokio::test]
async fn an_administrator_without_superuser_is_enough() {
    for database in both().await {
        let dba = format!("dba_{}", database.name);
        let admin = database.connect().await;
        let sql = format!(
            "CREATE ROLE {dba} LOGIN CREATEROLE PASSWORD 'dba';
            ALTER DATABASE {} OWNER TO {dba};
            ALTER TABLE accounts OWNER TO {dba}; ALTER TABLE orders OWNER TO {dba};
            GRANT UPDATE ON accounts TO PUBLIC;
            CREATE FUNCTION mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
            ALTER FUNCTION mine() OWNER TO {dba};",
            database.name
        );
        admin.batch_execute(&sql).await.unwrap();
        // Since 15 the schema public belongs to the database's owner.
        if version(&admin).await < 150_000 {
            let sql = format!("ALTER SCHEMA public OWNER TO {dba}");
            admin.batch_execute(&sql).await.unwrap();
        }
        let dba = connect(&database.url_as(&dba, "dba")).await;
        let options = options(&database);
        let survey = seal::survey(&dba, &options.names).await.unwrap();
        let plan = seal::plan(&survey, &options).unwrap_or_else(|error| panic!("{error}"));
        let said: Vec<String> = plan.findings.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|s| s.contains("lo_create")), "{said:?}");
        assert!(said.iter().any(|s| s.contains("order_log")), "{said:?}");
        seal::apply(&dba, &plan)
            .await
            .unwrap_or_else(|error| panic!("{error}"));

        let keeper = connect(&database.url_as(&options.names.proxy(), PASSWORD)).await;
        let lease = seal::lease(&keeper).await.unwrap();
        let developer = connect(&database.url_as(&lease.role, &lease.password)).await;
        let write = "UPDATE accounts SET balance = 0";
        assert_eq!(
            answer(developer.simple_query(write).await).unwrap_err(),
            "42501"
        );
        let armed = format!("BEGIN; SELECT devinprod.arm(); {write}");
        answer(developer.simple_query(&armed).await).unwrap();
        let commit = answer(developer.simple_query("COMMIT").await);
        assert_eq!(commit.unwrap_err(), seal::COMMIT_REFUSED);
        drop(developer);
        let same = SealOptions {
            proxy_verifier: None,
            ..options
        };
        let survey = seal::survey(&dba, &same.names).await.unwrap();
        assert!(seal::plan(&survey, &same).unwrap().is_empty());
        wait_for_no_sessions(&dba, &same.names).await;
        remove(&dba, &same.names).await;
    }
}

#[tokio::test]
async fn what_leads_around_the_seal_is_refused() {
    let database = harness::database().await;
    let sealed = Sealed::new(database).await;
    let names = &sealed.options.names;
    let (reader, readers) = (names.reader(2), names.readers());
    let cases = [
        (
            format!("GRANT pg_write_all_data TO {reader}"),
            "is a member of pg_write_all_data",
        ),
        (
            format!("GRANT pg_read_all_data TO {readers}"),
            "is a member of pg_read_all_data",
        ),
        (
            format!("GRANT {} TO {reader}", names.writer(3)),
            "is a member of",
        ),
        (format!("ALTER ROLE {reader} SUPERUSER"), "has SUPERUSER"),
        (format!("ALTER ROLE {readers} BYPASSRLS"), "has BYPASSRLS"),
        (format!("ALTER ROLE {} LOGIN", names.owner()), "has LOGIN"),
        (
            format!("GRANT UPDATE ON accounts TO {reader}"),
            "privileges of its own",
        ),
        (
            format!("GRANT UPDATE ON accounts TO {readers}"),
            "without being armed",
        ),
        (
            format!("GRANT CREATE ON SCHEMA public TO {readers}"),
            "without being armed",
        ),
        (
            format!("ALTER VIEW open_orders OWNER TO {reader}"),
            "owns objects",
        ),
        (
            "GRANT SET ON PARAMETER session_replication_role TO PUBLIC".to_owned(),
            "may SET the parameter",
        ),
        (
            format!("GRANT SET ON PARAMETER session_replication_role TO {reader}"),
            "may SET the parameter",
        ),
    ];
    let old = version(&sealed.admin).await < 150_000;
    for (sql, expected) in &cases {
        // Parameters have privileges since 15.
        if old && sql.contains("ON PARAMETER") {
            continue;
        }
        sealed
            .admin
            .batch_execute(&format!("BEGIN; {sql}; SET LOCAL search_path = pg_catalog"))
            .await
            .unwrap();
        let text = inside(&sealed.admin, names).await;
        assert!(text.contains(expected), "{sql}: {text}");
        sealed.admin.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// What the seal's own check says inside the open transaction: an empty plan is applied to look again.
async fn inside(admin: &Client, names: &Names) -> String {
    let findings = seal::verify_in_transaction(admin, names).await.unwrap();
    findings
        .iter()
        .filter(|finding| finding.gravity == Gravity::Hole)
        .map(|finding| format!("{finding}\n"))
        .collect()
}

#[tokio::test]
async fn a_database_is_refused_with_what_to_do() {
    let database = harness::database().await;
    let options = options(&database);
    let admin = database.connect().await;
    let nobody = format!("nobody_{}", database.name);
    admin
        .batch_execute(&format!("CREATE ROLE {nobody} LOGIN PASSWORD 'x'"))
        .await
        .unwrap();
    let client = connect(&database.url_as(&nobody, "x")).await;
    let mut survey = seal::survey(&client, &options.names).await.unwrap();
    let text = refusal(&survey, &options);
    for expected in [
        "neither SUPERUSER nor CREATEROLE",
        "does not own the database",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    survey.administrator.superuser = true;
    survey.in_recovery = true;
    assert!(refusal(&survey, &options).contains("standby"));
    for pairs in [0, 1000] {
        let wrong = SealOptions {
            pairs,
            ..options.clone()
        };
        assert!(matches!(
            seal::plan(&survey, &wrong),
            Err(SealError::Pairs(_))
        ));
    }
}

fn refusal(survey: &seal::Survey, options: &SealOptions) -> String {
    match seal::plan(survey, options) {
        Err(error @ SealError::Refused(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn drift_is_found() {
    let sealed = Sealed::new(harness::database().await).await;
    let names = &sealed.options.names;
    assert_eq!(holes(&sealed.keeper, names).await, Vec::<String>::new());
    let cases = [
        (
            "GRANT INSERT ON orders TO PUBLIC",
            "the right to write to tables",
        ),
        ("GRANT TEMP ON DATABASE @ TO PUBLIC", "temporary tables"),
        (
            "CREATE FUNCTION boss() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
            "owner's rights",
        ),
        (
            "ALTER TABLE devinprod.commit_guard DISABLE TRIGGER refuse_commit",
            "commit guard",
        ),
        (
            "ALTER FUNCTION devinprod.arm() RESET ALL",
            "arm has been changed",
        ),
        (
            "DROP FUNCTION devinprod.lease(text, text)",
            "lease is missing",
        ),
    ];
    for (sql, expected) in cases {
        let sql = sql.replace('@', &sealed.database.name);
        sealed.admin.batch_execute(&sql).await.unwrap();
        let found = holes(&sealed.keeper, names).await.join("\n");
        assert!(found.contains(expected), "{sql}: {found}");
    }
    run_setup(&sealed.admin, &sealed.options).await;
    assert_eq!(holes(&sealed.keeper, names).await, Vec::<String>::new());
}

#[tokio::test]
async fn one_setup_at_a_time() {
    let database = harness::database().await;
    let options = options(&database);
    let (first, second) = (database.connect().await, database.connect().await);
    let survey = seal::survey(&first, &options.names).await.unwrap();
    let plan = seal::plan(&survey, &options).unwrap();
    let held = plan
        .script()
        .lines()
        .find(|line| line.contains("advisory"))
        .unwrap()
        .to_owned();
    first
        .batch_execute(&format!("BEGIN; {held}"))
        .await
        .unwrap();
    assert!(matches!(
        seal::apply(&second, &plan).await,
        Err(SealError::Busy)
    ));
    first.batch_execute("ROLLBACK").await.unwrap();
    seal::apply(&second, &plan).await.unwrap();
}

#[tokio::test]
async fn roles_of_one_prefix_seal_one_database() {
    let sealed = Sealed::new(harness::database().await).await;
    let other = harness::database().await;
    let admin = other.connect().await;
    let survey = seal::survey(&admin, &sealed.options.names).await.unwrap();
    assert!(refusal(&survey, &sealed.options).contains("already seal the database"));

    // A copy that takes the place of a database that is gone may use its roles.
    let mut later = survey;
    later.databases.retain(|name| *name != sealed.database.name);
    let plan = seal::plan(&later, &sealed.options).unwrap();
    assert!(
        plan.script().contains("COMMENT ON ROLE"),
        "{}",
        plan.script()
    );
}

async fn holes(client: &Client, names: &Names) -> Vec<String> {
    let findings = seal::verify(client, names).await.unwrap();
    findings
        .iter()
        .filter(|finding| finding.gravity == Gravity::Hole)
        .map(ToString::to_string)
        .collect()
}
