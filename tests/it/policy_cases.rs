//! `devinprod policy suggest`, `test` and `explain` against a real Postgres.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use devinprod::policy::Policy;
use devinprod::seal::SealOptions;

use crate::harness::{self, TestDatabase};
use crate::seal_kit;

const USERS: &str = "
CREATE TABLE public.users (
    id bigint PRIMARY KEY, email varchar(254) NOT NULL UNIQUE, full_name text NOT NULL, phone text,
    note text, kind text, secret_code text, contact text, city text);
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS 'BEGIN RETURN NEW; END';
CREATE TABLE public.\"Odd Name\" (\"a.b\" integer PRIMARY KEY, \"na\"\"me\" text);
CREATE VIEW public.names AS SELECT full_name FROM public.users;
";

const ROWS: &str = "INSERT INTO public.users SELECT n, 'real' || n || '@corp.example', 'Realname ' || n, '+1 202 555 0' || 100 + n,
    CASE n WHEN 7 THEN 'write to real7@corp.example' ELSE 'none' END, 'kind' || n % 3, 'zyx' || n,
    'contact' || n || '@corp.example', 'Springfield'
FROM generate_series(1, 60) AS n";

const POLICY: &str = r#"
[class.keys]
names = ["id"]
as = "clear"

[table.public.users]
email = "email"
full_name = "person_name"
phone = "phone"
note = "text"
kind = "clear"
secret_code = "deny"
contact = "email"
city = { as = "clear", because = "one town" }

[[exception]]
set = "support"
who = ["@support"]
columns = ["public.users.phone"]
until = 2999-12-31
because = "they call people back"
"#;

const CASES: &str = r#"
[[case]]
name = "users are somebody else"
query = "SELECT id, email, full_name, phone FROM users ORDER BY id"
given = ["INSERT INTO users SELECT n, 'real' || n || '@corp.example', 'Realname ' || n, '+1 202 555 0' || 100 + n FROM generate_series(1, 20) AS n"]
expect = { id = "clear", email = "masked", full_name = "masked", phone = "masked" }

[[case]]
name = "support sees phones"
as = "erin"
groups = ["@support"]
query = "SELECT phone, email FROM users"
expect = { phone = "clear", email = "masked" }

[[case]]
name = "codes are out of reach"
query = "SELECT secret_code FROM users"
expect = "denied"
"#;

fn devinprod(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_devinprod"))
        .arg("policy")
        .args(arguments)
        .current_dir(folder)
        .env_remove("DEVINPROD_ADMIN_URL")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.success(), text(stdout), text(stderr))
}

/// A database with users in it, and nothing else.
async fn users() -> TestDatabase {
    let database = harness::database().await;
    let client = database.connect().await;
    client
        .batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")
        .await
        .unwrap();
    client.batch_execute(USERS).await.unwrap();
    client.batch_execute(ROWS).await.unwrap();
    client.batch_execute("ANALYZE").await.unwrap();
    database
}

async fn seal(database: &TestDatabase, policy: &str) {
    let options = SealOptions {
        policy: Some(Policy::from_text(Path::new("policies/p.toml"), policy).unwrap()),
        ..seal_kit::options(database)
    };
    seal_kit::run_setup(&database.connect().await, &options).await;
}

#[tokio::test]
async fn a_suggested_policy_is_right_closes_what_it_must_and_tells_no_value() {
    let database = users().await;
    let folder = tempfile::tempdir().unwrap();
    let (ok, out, err) = devinprod(folder.path(), &["suggest", "--url", &database.url]);
    assert!(ok, "{err}");
    for line in [
        "id = \"clear\"",
        "email = \"email\"",
        "full_name = \"person_name\"",
        "phone = \"phone\"",
        "secret_code = \"deny\"",
        // By what stands in it, not by its name.
        "contact = \"email\"",
        "note = \"text\"",
        "kind = \"clear\"",
        "\"a.b\" = \"clear\"",
        "[table.public.\"Odd Name\"]",
        "# public.names",
    ] {
        assert!(out.contains(line), "{line:?} is not in:\n{out}");
    }
    for value in [
        "corp.example",
        "Realname",
        "202 555",
        "zyx",
        "Springfield",
        "kind1",
    ] {
        assert!(
            !out.contains(value) && !err.contains(value),
            "{value} is told:\n{out}{err}"
        );
    }
    std::fs::write(folder.path().join("p.toml"), &out).unwrap();
    let (ok, out, err) = devinprod(
        folder.path(),
        &["check", "--strict", "p.toml", "--url", &database.url],
    );
    assert!(ok, "{err}");
    assert!(
        !out.contains("no line names them") || out.contains("public.names."),
        "{out}"
    );

    // Without a look at the rows, what no name tells is denied.
    let (_, out, _) = devinprod(
        folder.path(),
        &["suggest", "--no-sample", "--url", &database.url],
    );
    assert!(out.contains("contact = \"deny\""), "{out}");
}

#[test]
fn cases_run_on_a_dump_in_a_postgres_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "dump.sql",
        &format!("{USERS}\nALTER TABLE public.users OWNER TO shop_app;\n"),
    );
    write("p.toml", &format!("{POLICY}{CASES}"));
    let run = || devinprod(folder.path(), &["test", "p.toml", "--schema", "dump.sql"]);
    let (ok, out, err) = run();
    assert!(ok, "{out}{err}");
    assert!(
        out.contains("ok    support sees phones") && out.contains("3 of 3 cases hold"),
        "{out}"
    );

    // What does not hold is said, with its place, and without a value.
    write(
        "p.toml",
        &format!("{POLICY}{CASES}")
            .replace("phone = \"masked\" }", "phone = \"clear\" }")
            .replace("secret_code = \"deny\"", "secret_code = \"clear\""),
    );
    let (ok, out, err) = run();
    assert!(!ok);
    assert!(
        out.contains("FAIL  users are somebody else")
            && out.contains("phone does not have the real values"),
        "{out}"
    );
    assert!(
        out.contains("FAIL  codes are out of reach") && out.contains("it was answered, not denied"),
        "{out}"
    );
    assert!(err.contains("2 of 3 cases do not hold"), "{err}");
    assert!(
        !out.contains("202 555") && !out.contains("Realname"),
        "{out}"
    );

    write("dump.sql", "CREATE TABLE broken (;");
    let (ok, _, err) = run();
    assert!(
        !ok && err.contains("the dump cannot be loaded: dump.sql:1"),
        "{err}"
    );
}

#[tokio::test]
async fn cases_explanations_and_drift_on_a_sealed_upstream() {
    let database = users().await;
    let client = database.connect().await;
    let prefix = format!("{}_", database.name);
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{POLICY}{CASES}");
    std::fs::write(folder.path().join("p.toml"), &text).unwrap();
    let url = database.url.as_str();

    let (ok, _, err) = devinprod(folder.path(), &["test", "p.toml", "--url", url]);
    assert!(
        !ok && err.contains("the database is not sealed with a policy"),
        "{err}"
    );
    seal(&database, &text).await;
    // The seal's roles have another name than the default.
    let (ok, _, err) = devinprod(folder.path(), &["test", "p.toml", "--url", url]);
    assert!(!ok && err.contains("the seal does not hold"), "{err}");
    let test = ["test", "p.toml", "--url", url, "--prefix", &prefix];
    let (ok, out, err) = devinprod(folder.path(), &test);
    assert!(ok && out.contains("3 of 3 cases hold"), "{out}{err}");
    let rows = client
        .query_one("SELECT count(*) FROM users", &[])
        .await
        .unwrap();
    assert_eq!(
        rows.get::<_, i64>(0),
        60,
        "nothing was given to an upstream"
    );

    let configure = |upstreams: &[&str]| {
        let tables = upstreams.iter().map(|name| {
            format!("[[upstream]]\nname = \"{name}\"\nurl = \"{url}\"\nstage = \"preprod\"\nrole_prefix = \"{prefix}\"\n")
        });
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n{}",
            tables.collect::<String>()
        );
        std::fs::write(folder.path().join("devinprod.toml"), text).unwrap();
    };
    configure(&["shop"]);
    let explain = |query: &str, more: &[&str]| {
        let mut arguments = vec!["explain", query, "--file", "p.toml", "--url", url];
        arguments.extend(["--config", "devinprod.toml"]);
        arguments.extend(more);
        devinprod(folder.path(), &arguments)
    };
    let (ok, out, err) = explain(
        "SELECT u.id, email AS mail, upper(note) FROM users u WHERE phone IS NULL",
        &["--as", "dev1"],
    );
    assert!(ok, "{out}{err}");
    for line in [
        "dev1 has no exceptions",
        "id: public.users.id is clear (",
        "mail: public.users.email is masked as email (",
        "p.toml:7)",
        "upper: computed",
        "read besides: public.users.phone is masked as phone",
        "read besides: public.users.note is masked as text",
        "the statement works",
    ] {
        assert!(out.contains(line), "{line:?} is not in:\n{out}");
    }
    let (ok, out, _) = explain(
        "SELECT phone, city FROM users",
        &["--as", "erin", "--group", "@support"],
    );
    assert!(
        ok && out.contains("clear for this set until 2999-12-31 23:59:59+00"),
        "{out}"
    );
    assert!(out.contains(": one town"), "{out}");
    let (ok, out, _) = explain("SELECT secret_code FROM users", &[]);
    assert!(
        !ok && out.contains("public.users.secret_code is denied (") && out.contains("refused: "),
        "{out}"
    );
    let (ok, _, err) = explain("SELECT nothing FROM users", &[]);
    assert!(
        !ok && err.contains("Postgres does not understand the statement"),
        "{err}"
    );

    configure(&["shop", "stock"]);
    let (ok, _, err) = explain("SELECT id FROM users", &[]);
    assert!(
        !ok && err.contains("has not exactly one") && err.contains("--prefix"),
        "{err}"
    );
    configure(&["shop"]);

    let drift = || devinprod(folder.path(), &["suggest", "--drift", "--url", url]);
    let (ok, out, err) = drift();
    assert!(
        ok && out.is_empty() && err.contains("nothing is new since the setup of "),
        "{out}{err}"
    );
    client
        .batch_execute(
            "ALTER TABLE users ADD COLUMN work_email text, DROP COLUMN kind CASCADE;
             CREATE TABLE parcels (id bigint PRIMARY KEY, street text)",
        )
        .await
        .unwrap();
    let (ok, out, err) = drift();
    assert!(!ok && err.contains("closed until setup runs"), "{err}");
    for line in [
        "[table.public.parcels]",
        "[table.public.users]\nwork_email = \"email\"",
        "# gone: 1 of the columns of public.users",
    ] {
        let squeezed = out
            .replace("  # about 0 rows", "")
            .replace("  # about 60 rows", "");
        assert!(squeezed.contains(line), "{line:?} is not in:\n{out}");
    }
    assert!(!out.contains("full_name"), "{out}");

    // Another policy than the one that the seal was made from proves nothing.
    std::fs::write(folder.path().join("p.toml"), format!("{text}\n# changed\n")).unwrap();
    let (ok, _, err) = devinprod(folder.path(), &test);
    assert!(
        !ok && err.contains("the database is sealed with the policy "),
        "{err}"
    );
    let (_, _, err) = explain("SELECT id FROM users", &[]);
    assert!(
        err.contains("what stands here is what the seal says"),
        "{err}"
    );
}

#[tokio::test]
async fn setup_changes_nothing_for_a_policy_that_does_not_fit() {
    let database = users().await;
    let folder = tempfile::tempdir().unwrap();
    let prefix = format!("{}_", database.name);
    let setup = |text: &str| {
        std::fs::write(folder.path().join("p.toml"), text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_devinprod"))
            .args(["setup", "--yes", "--policy", "p.toml", "--pairs", "2"])
            .args(["--prefix", &prefix, "--url", &database.url])
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    let output = setup(&POLICY.replace("full_name =", "fullname ="));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        said.contains("no column `fullname` in public.users")
            && said.contains("did you mean `full_name`?"),
        "{said}"
    );
    let sealed = "SELECT to_regnamespace('devinprod') IS NOT NULL";
    let client = database.connect().await;
    assert_eq!(harness::scalar(&client, sealed).await, "f");
    let output = setup(POLICY);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(harness::scalar(&client, sealed).await, "t");
}

#[test]
fn a_test_needs_cases_and_a_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.toml"), POLICY).unwrap();
    let (ok, _, err) = devinprod(folder.path(), &["test", "p.toml"]);
    assert!(!ok && err.contains("--schema"), "{err}");
    let dump = PathBuf::from("dump.sql");
    let (ok, _, err) = devinprod(
        folder.path(),
        &["test", "p.toml", "--schema", dump.to_str().unwrap()],
    );
    assert!(!ok && err.contains("the policy has no case"), "{err}");
}
