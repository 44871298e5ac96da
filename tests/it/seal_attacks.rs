//! The seal under attack, straight at Postgres as a developer role; a second connection is the witness.

use devinprod::seal::doctor::{Promise, Verdict};
use devinprod::seal::{self, SealError};

use crate::harness::{self, TestDatabase, connect};
use crate::seal_kit::{Developer, Sealed, answer, fingerprint, memberships};

#[tokio::test]
async fn every_promise_of_the_doctor_holds() {
    all_promises_hold(harness::database().await).await;
}

#[tokio::test]
async fn every_promise_of_the_doctor_holds_on_postgres_18() {
    if let Some(database) = harness::postgres18().await {
        all_promises_hold(database).await;
    }
}

async fn all_promises_hold(database: TestDatabase) {
    let sealed = Sealed::new(database).await;
    let before = fingerprint(&sealed.admin).await;
    let promises = examine(&sealed).await;
    let held = promises.iter().filter(|p| p.verdict == Verdict::Held);
    assert!(held.count() > 50);
    for promise in &promises {
        assert_ne!(promise.verdict, Verdict::Broken, "{promise:?}");
    }
    assert_eq!(before, fingerprint(&sealed.admin).await);
}

async fn examine(sealed: &Sealed) -> Vec<Promise> {
    let connect_as = async |role: &str, password: &str| -> Result<_, SealError> {
        Ok(connect(&sealed.database.url_as(role, password)).await)
    };
    seal::doctor(&sealed.keeper, &sealed.options.names, connect_as)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_doctor_notices_a_broken_seal() {
    let sealed = Sealed::new(harness::database().await).await;
    sealed
        .admin
        .batch_execute("ALTER TABLE devinprod.commit_guard DISABLE TRIGGER refuse_commit; GRANT UPDATE ON accounts TO PUBLIC")
        .await
        .unwrap();
    let promises = examine(&sealed).await;
    let broken: Vec<&str> = promises
        .iter()
        .filter(|p| p.verdict == Verdict::Broken)
        .map(|p| p.text.as_str())
        .collect();
    for expected in ["armed: COMMIT is refused", "unarmed: UPDATE is denied"] {
        assert!(broken.contains(&expected), "{broken:?}");
    }
    let proofs = "SELECT relname FROM pg_class WHERE relname ~ '^devinprod_doctor'";
    let left = answer(sealed.admin.simple_query(proofs).await).unwrap();
    assert!(
        left.is_empty(),
        "the doctor leaves nothing behind: {left:?}"
    );
}

/// Ways to get something committed; each statement is a message of its own, sent whatever came before.
/// `@writer@` is the developer role's own writer.
const ATTACKS: [&[&str]; 38] = [
    &["BEGIN", ARM, WRITE],
    &["BEGIN", ARM, WRITE, "COMMIT AND CHAIN", WRITE],
    &["BEGIN", ARM, WRITE, "ROLLBACK AND CHAIN", WRITE],
    &[
        "BEGIN",
        ARM,
        WRITE,
        "PREPARE TRANSACTION 'a'",
        "COMMIT PREPARED 'a'",
    ],
    // What a pipeline would send before anybody has seen the ROLLBACK.
    &["BEGIN", ARM, "ROLLBACK; UPDATE accounts SET balance = 0"],
    &["BEGIN; SELECT devinprod.arm(); UPDATE accounts SET balance = 0; COMMIT"],
    &["SELECT devinprod.arm(); UPDATE accounts SET balance = 0"],
    &["WITH a AS (SELECT devinprod.arm()) UPDATE accounts SET balance = 0 FROM a"],
    &["BEGIN", "SAVEPOINT a", ARM, "ROLLBACK TO a", WRITE],
    &[
        "BEGIN",
        "SAVEPOINT a",
        "SAVEPOINT b",
        ARM,
        "RELEASE b",
        "ROLLBACK TO a",
        WRITE,
    ],
    &["BEGIN", "SAVEPOINT a", ARM, "RELEASE a", WRITE],
    &[
        "BEGIN",
        ARM,
        "SAVEPOINT a",
        ARM,
        WRITE,
        "ROLLBACK TO a",
        WRITE,
    ],
    &[
        "BEGIN",
        "SAVEPOINT a",
        ARM,
        "PREPARE u AS UPDATE accounts SET balance = 0",
        "EXECUTE u",
        "ROLLBACK TO a",
        "EXECUTE u",
    ],
    &[
        "PREPARE u AS UPDATE accounts SET balance = 0",
        "BEGIN",
        "SAVEPOINT a",
        ARM,
        "EXECUTE u",
        "ROLLBACK TO a",
        "EXECUTE u",
    ],
    &[
        "BEGIN",
        "SAVEPOINT a",
        ARM,
        "DECLARE c CURSOR WITH HOLD FOR SELECT nextval('ticket_numbers')",
        "ROLLBACK TO a",
        "FETCH 1 FROM c",
    ],
    &[
        "BEGIN",
        ARM,
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        WRITE,
    ],
    &[
        "BEGIN",
        "SAVEPOINT a",
        ARM,
        "SET ROLE @writer@",
        "ROLLBACK TO a",
        WRITE,
    ],
    &["BEGIN", ARM, "SET ROLE @writer@", WRITE],
    &[
        "BEGIN",
        ARM,
        "SET LOCAL ROLE @writer@",
        "SELECT devinprod.arm()",
        WRITE,
    ],
    &["BEGIN", ARM, WRITE, "SET CONSTRAINTS ALL IMMEDIATE"],
    &["BEGIN", ARM, WRITE, "SET CONSTRAINTS ALL DEFERRED"],
    &[
        "BEGIN",
        ARM,
        WRITE,
        "SAVEPOINT a",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "ROLLBACK TO a",
    ],
    &["BEGIN", "SET CONSTRAINTS ALL IMMEDIATE", ARM, WRITE],
    &[
        "BEGIN",
        ARM,
        WRITE,
        "SET CONSTRAINTS orders_account_fk IMMEDIATE",
    ],
    &[
        "BEGIN",
        ARM,
        WRITE,
        "DROP TRIGGER refuse_commit ON devinprod.commit_guard CASCADE",
    ],
    &[
        "BEGIN",
        ARM,
        WRITE,
        "DROP OWNED BY CURRENT_USER, @writer@ CASCADE",
    ],
    &[
        "BEGIN",
        ARM,
        WRITE,
        "REASSIGN OWNED BY CURRENT_USER TO @writer@",
    ],
    &["BEGIN", ARM, WRITE, "DISCARD ALL"],
    &[
        "SET session_replication_role = replica",
        "BEGIN",
        ARM,
        WRITE,
    ],
    &["DO $$ BEGIN PERFORM devinprod.arm(); UPDATE accounts SET balance = 0; COMMIT; END $$"],
    &[
        "DO $$ BEGIN BEGIN PERFORM devinprod.arm(); UPDATE accounts SET balance = 0; RAISE 'x'; EXCEPTION WHEN OTHERS THEN UPDATE accounts SET balance = 0; END; END $$",
    ],
    &[
        "DO $$ BEGIN PERFORM devinprod.arm(); UPDATE accounts SET balance = 0; BEGIN SET CONSTRAINTS ALL IMMEDIATE; EXCEPTION WHEN OTHERS THEN NULL; END; END $$",
    ],
    &[
        "BEGIN",
        ARM,
        "CREATE FUNCTION later() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'UPDATE public.accounts SET balance = 0'",
        "GRANT EXECUTE ON FUNCTION later() TO PUBLIC",
        "COMMIT",
        "SELECT later()",
    ],
    &[
        "BEGIN",
        ARM,
        "CREATE SCHEMA mine",
        "CREATE TABLE mine.t ()",
        "CREATE PUBLICATION p",
    ],
    &["BEGIN", ARM, "SELECT lo_from_bytea(0, 'x')"],
    &[
        "BEGIN",
        ARM,
        "GRANT @writer@ TO CURRENT_USER",
        "GRANT @writer@ TO SESSION_USER WITH ADMIN OPTION",
        WRITE,
    ],
    &[
        "BEGIN",
        ARM,
        "CREATE TEMP TABLE commit_guard (armed_by name)",
        "SET search_path = pg_temp",
        WRITE,
    ],
    &[
        "BEGIN",
        ARM,
        "CREATE RULE r AS ON UPDATE TO accounts DO INSTEAD NOTHING",
        "TRUNCATE accounts CASCADE",
        "ALTER TABLE accounts DISABLE TRIGGER ALL",
        WRITE,
    ],
];

const ARM: &str = "SELECT devinprod.arm()";
const WRITE: &str = "UPDATE public.accounts SET balance = 0";

#[tokio::test]
async fn nothing_is_committed_under_any_attack() {
    nothing_is_committed(Sealed::new(harness::database().await).await).await;
}

#[tokio::test]
async fn nothing_is_committed_under_any_attack_on_postgres_18() {
    if let Some(database) = harness::postgres18().await {
        nothing_is_committed(Sealed::new(database).await).await;
    }
}

async fn nothing_is_committed(sealed: Sealed) {
    let developer = sealed.developer().await;
    let writer = developer.lease.role.replace("reader", "writer");
    let before = fingerprint(&sealed.admin).await;
    let member_of = memberships(&sealed.admin, &sealed.options.names).await;
    for attack in ATTACKS {
        let statements: Vec<String> = attack
            .iter()
            .map(|s| s.replace("@writer@", &writer))
            .collect();
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        developer.run_all_and_commit(&statements).await;
        assert_eq!(before, fingerprint(&sealed.admin).await, "{attack:?}");
        let now = memberships(&sealed.admin, &sealed.options.names).await;
        assert_eq!(member_of, now, "{attack:?}");
    }
    // The attacks were real ones: armed, the same write works.
    for statement in ["BEGIN", ARM, WRITE] {
        developer.ask(statement).await.unwrap();
    }
    assert_eq!(
        developer.ask("COMMIT").await.unwrap_err(),
        seal::COMMIT_REFUSED
    );
}

#[tokio::test]
async fn two_sandboxes_write_side_by_side() {
    let sealed = Sealed::new(harness::database().await).await;
    let (first, second) = (sealed.developer().await, sealed.developer().await);
    assert_ne!(first.lease.role, second.lease.role);
    for (developer, id) in [(&first, 1), (&second, 2)] {
        let update = format!("UPDATE accounts SET balance = 7 WHERE id = {id}");
        for statement in ["BEGIN", "SET LOCAL lock_timeout = '2s'", ARM, &update] {
            developer.ask(statement).await.unwrap();
        }
    }
    let own = "SELECT count(*) FROM accounts WHERE balance = 7";
    for developer in [&first, &second] {
        assert_eq!(developer.ask(own).await.unwrap(), ["1"]);
        let pid = "SELECT min(pid) FROM pg_stat_activity WHERE usename = current_user";
        assert_eq!(developer.ask(pid).await.unwrap().len(), 1);
    }
    // Neither may signal the other.
    let other = second.ask("SELECT pg_backend_pid()").await.unwrap();
    let signal = format!("SELECT pg_terminate_backend({})", other[0]);
    assert_eq!(first.ask(&signal).await.unwrap_err(), "42501");
}

/// Shadows of what our functions use, in every schema that a developer can write to; each raises.
const SHADOWS: &str = "
    CREATE FUNCTION pg_temp.trap() RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user USING ERRCODE = 'ZZ999'; END $$;
    CREATE DOMAIN pg_temp.name AS pg_catalog.name CHECK (pg_temp.trap());
    CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.trap());
    CREATE DOMAIN pg_temp.record AS pg_catalog.int4 CHECK (pg_temp.trap());
    CREATE FUNCTION public.trap(pg_catalog.name, pg_catalog.name) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user USING ERRCODE = 'ZZ999'; END $$;
    CREATE OPERATOR public.= (LEFTARG = pg_catalog.name, RIGHTARG = pg_catalog.name, FUNCTION = public.trap);
    CREATE FUNCTION public.trap(pg_catalog.text, pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user USING ERRCODE = 'ZZ999'; END $$;
    CREATE OPERATOR public.!~ (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = public.trap);
    CREATE FUNCTION public.format(pg_catalog.text, VARIADIC pg_catalog.text[]) RETURNS pg_catalog.text
        LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user USING ERRCODE = 'ZZ999'; END $$;
    CREATE TEMP TABLE pair (reader pg_catalog.name, writer pg_catalog.name);
    CREATE TEMP TABLE pg_roles (oid pg_catalog.oid, rolname pg_catalog.name);
    SET search_path = public, pg_temp, pg_catalog";

#[tokio::test]
async fn our_functions_ignore_hostile_operators_and_domains() {
    let sealed = Sealed::new(harness::database().await).await;
    let Developer { client, .. } = sealed.developer().await;
    client
        .batch_execute("BEGIN; SELECT devinprod.arm()")
        .await
        .unwrap();
    client.batch_execute(SHADOWS).await.unwrap();
    let sprung = answer(
        client
            .simple_query("SAVEPOINT a; SELECT 'a'::name = 'b'::name")
            .await,
    );
    assert_eq!(sprung.unwrap_err(), "ZZ999", "the traps work");
    client
        .batch_execute("ROLLBACK TO a; SELECT devinprod.arm()")
        .await
        .unwrap();
    client
        .batch_execute("SELECT pg_catalog.count(*) FROM accounts; ROLLBACK")
        .await
        .unwrap();

    // lease() is called by the proxy alone; a superuser stands in for one with a hostile path.
    let verifier = sealed.options.proxy_verifier.clone().unwrap();
    sealed
        .admin
        .batch_execute(&format!("BEGIN; {SHADOWS}"))
        .await
        .unwrap();
    let call = format!("SELECT devinprod.lease('{verifier}'::pg_catalog.text)");
    let leased = answer(sealed.admin.simple_query(&call).await).unwrap();
    assert!(sealed.options.names.is_ours(&leased[0]));
    sealed.admin.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn the_guard_fires_when_triggers_are_switched_off() {
    let sealed = Sealed::new(harness::database().await).await;
    let role = sealed.options.names.reader(1);
    // As a superuser could be tricked into: the guard's trigger is ENABLE ALWAYS.
    sealed
        .admin
        .batch_execute(&format!(
            "SET session_replication_role = replica; SET SESSION AUTHORIZATION {role}; BEGIN; \
             SELECT devinprod.arm(); UPDATE accounts SET balance = 0"
        ))
        .await
        .unwrap();
    let commit = answer(sealed.admin.simple_query("COMMIT").await);
    assert_eq!(commit.unwrap_err(), seal::COMMIT_REFUSED);
}

#[tokio::test]
async fn only_a_developer_role_can_be_armed() {
    let sealed = Sealed::new(harness::database().await).await;
    let refused = answer(sealed.admin.simple_query(ARM).await).unwrap_err();
    assert_eq!(refused, "42501");
    let keeper = answer(sealed.keeper.simple_query(ARM).await).unwrap_err();
    assert_eq!(keeper, "42501");
    for sql in [
        "SELECT count(*) FROM accounts",
        "CREATE TEMP TABLE t ()",
        "SELECT lo_create(0)",
    ] {
        let refused = answer(sealed.keeper.simple_query(sql).await).unwrap_err();
        assert_eq!(refused, "42501", "the proxy's role does not need: {sql}");
    }
}
