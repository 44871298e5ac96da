//! Pinning a function's search path as a part of setup, and the way back.

use devinprod::seal::SealOptions;

use crate::harness::{self, TestDatabase, scalar};
use crate::seal_kit::{Sealed, options, run_setup, wait_for_no_sessions};
use crate::seal_masks_kit::{remove, replan};

/// A trigger that anybody who writes could steer, with a search path of its own in place of `@`.
const CODE: &str = "
    CREATE TABLE log (entry text);
    CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET work_mem = '5MB' @ SET jit = off AS
        $$ BEGIN INSERT INTO public.log VALUES (lower(NEW.email)); RETURN NEW; END $$;
    CREATE TRIGGER tidy BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION tidy();";
const WRITE: &str = "BEGIN; SELECT devinprod.arm(); UPDATE public.accounts SET balance = 1";
const SETTINGS: &str = "SELECT proconfig::text FROM pg_proc WHERE oid = 'tidy()'::regprocedure";

async fn with(code: &str) -> (TestDatabase, SealOptions) {
    let database = harness::database().await;
    database.connect().await.batch_execute(code).await.unwrap();
    let options = options(&database);
    (database, options)
}

/// Why a plan is refused.
async fn refusal(database: &TestDatabase, options: &SealOptions) -> String {
    let admin = database.connect().await;
    replan(&admin, options).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_pinned_function_is_sound_and_gets_its_own_path_back() {
    for path in [
        "",
        "SET search_path = public",
        "SET search_path = ''",
        "SET search_path = \"$user\", \"A \"\"b\", public, 'c, d'",
    ] {
        let (database, mut options) = with(&CODE.replace('@', path)).await;
        let before = scalar(&database.connect().await, SETTINGS).await;
        options.pinned = vec!["public.tidy()".to_owned()];
        let sealed = Sealed::with(database, options.clone()).await;
        let pinned = scalar(&sealed.admin, SETTINGS).await;
        assert!(
            pinned.contains("search_path=pg_catalog, pg_temp"),
            "{pinned}"
        );
        let developer = sealed.developer().await;
        assert_eq!(
            developer.ask(WRITE).await,
            Ok(vec![String::new()]),
            "{path}"
        );
        drop(developer);
        // Nothing is left to do, by whatever name it is asked for.
        options.proxy_verifier = None;
        for again in ["public.tidy()", "all"] {
            options.pinned = vec![again.to_owned()];
            let plan = replan(&sealed.admin, &options).await.unwrap();
            assert!(plan.is_empty(), "{again}: {:?}", plan.steps);
        }
        wait_for_no_sessions(&sealed.admin, &options.names).await;
        remove(&sealed.admin, &options.names).await;
        assert_eq!(scalar(&sealed.admin, SETTINGS).await, before, "{path}");
    }
}

#[tokio::test]
async fn all_is_what_the_plan_complains_of_and_no_more() {
    let other = "CREATE FUNCTION unrelated() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN 1; END';";
    let (database, mut options) = with(&format!("{}{other}", CODE.replace('@', ""))).await;
    options.pinned = vec!["all".to_owned()];
    let sealed = Sealed::with(database, options).await;
    let pinned = "SELECT string_agg(function, ' ') FROM devinprod.pinned";
    assert_eq!(scalar(&sealed.admin, pinned).await, "public.tidy()");
    let path = "SELECT count(*) FROM pg_proc WHERE proconfig::text LIKE '%pg_catalog, pg_temp%'
        AND pronamespace = 'public'::regnamespace";
    assert_eq!(scalar(&sealed.admin, path).await, "1");
}

#[tokio::test]
async fn what_would_break_or_is_not_known_is_not_pinned() {
    let unqualified = CODE.replace('@', "").replace("public.log", "log");
    let (database, mut options) = with(&unqualified).await;
    options.pinned = vec!["all".to_owned()];
    let told = refusal(&database, &options).await;
    assert!(told.contains("it names log without a schema"), "{told}");
    for unknown in ["public.nobody()", "public.log_order(x)"] {
        options.pinned = vec![unknown.to_owned()];
        let told = refusal(&database, &options).await;
        assert!(told.contains(&format!("no function {unknown}")), "{told}");
    }
}

#[tokio::test]
async fn what_somebody_changed_since_stays_as_it_is() {
    let (database, mut options) = with(&CODE.replace('@', "")).await;
    options.pinned = vec!["all".to_owned()];
    let sealed = Sealed::with(database, options.clone()).await;
    let change = "ALTER FUNCTION tidy() SET search_path = public, pg_temp";
    sealed.admin.batch_execute(change).await.unwrap();
    let settings = scalar(&sealed.admin, SETTINGS).await;
    remove(&sealed.admin, &options.names).await;
    assert_eq!(scalar(&sealed.admin, SETTINGS).await, settings);
    assert!(settings.contains("public, pg_temp"), "{settings}");
}

#[tokio::test]
async fn who_is_no_superuser_pins_their_own() {
    let (database, mut options) = with(&CODE.replace('@', "")).await;
    let admin = database.connect().await;
    let (dba, name) = (format!("{}_dba", database.name), &database.name);
    admin
        .batch_execute(&format!(
            "CREATE ROLE {dba} LOGIN CREATEROLE PASSWORD 'dba'; ALTER DATABASE {name} OWNER TO {dba};
             ALTER SCHEMA public OWNER TO {dba};"
        ))
        .await
        .unwrap();
    options.pinned = vec!["all".to_owned()];
    let dba_client = crate::harness::connect(&database.url_as(&dba, "dba")).await;
    let told = replan(&dba_client, &options).await.unwrap_err().to_string();
    assert!(
        told.contains("public.tidy() cannot be pinned: it belongs to postgres"),
        "{told}"
    );
    let give = format!(
        "ALTER FUNCTION tidy() OWNER TO {dba};
         DO $$ DECLARE t text; BEGIN FOR t IN SELECT oid::regclass FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
         LOOP EXECUTE 'ALTER TABLE ' || t || ' OWNER TO {dba}'; END LOOP; END $$;"
    );
    admin.batch_execute(&give).await.unwrap();
    let plan = replan(&dba_client, &options).await;
    let plan = plan.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        plan.script()
            .contains("ALTER ROUTINE public.tidy() SET search_path")
    );
    run_setup(&dba_client, &options).await;
    let pinned = scalar(&admin, SETTINGS).await;
    assert!(
        pinned.contains("search_path=pg_catalog, pg_temp"),
        "{pinned}"
    );
}
