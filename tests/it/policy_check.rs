//! `devinprod policy check`: mistakes in policy files, alone and against a live database.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness;

/// The demo's shop.
const SCHEMA: &str = include_str!("../../src/cli/demo/schema.sql");

fn devinprod(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_devinprod"))
        .arg("policy")
        .args(arguments)
        .current_dir(folder)
        .env_remove("DEVINPROD_CONFIG")
        .output()
        .unwrap()
}

fn said(output: &Output) -> (bool, String, String) {
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn the_shops_policy_is_right_and_names_every_column_of_the_shop() {
    let database = harness::database().await;
    let client = database.connect().await;
    // Where the harness' tables are not.
    client
        .batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        .await
        .unwrap();
    client.batch_execute(SCHEMA).await.unwrap();
    client
        .batch_execute(
            "CREATE TRIGGER touch BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
             CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch_updated_at();",
        )
        .await
        .unwrap();
    let arguments = [
        "check",
        "--strict",
        "policies/shop.toml",
        "--url",
        &database.url,
    ];
    let (right, out, err) = said(&devinprod(&root(), &arguments));
    assert!(right, "{err}");
    assert_eq!(err, "", "no warning");
    assert!(
        out.contains("policies/shop.toml: policy ")
            && out.contains(" for the upstream shop; 1 exception"),
        "{out}"
    );
    assert!(out.contains("columns"), "{out}");
    assert!(!out.contains("no line names"), "{out}");
}

#[tokio::test]
async fn what_is_not_there_is_said_with_line_and_hint() {
    let database = harness::database().await;
    let client = database.connect().await;
    client
        .batch_execute(
            "CREATE SCHEMA hr;
             CREATE DOMAIN hr.address AS varchar(200);
             CREATE TABLE users (id bigint PRIMARY KEY, email varchar(254) NOT NULL UNIQUE, mail hr.address,
                national_id text, phone text NOT NULL, wage numeric(12, 2), boss_email varchar(254) REFERENCES users (email));
             CREATE TABLE visits (id bigint, at timestamptz) PARTITION BY RANGE (id);
             CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (9);
             CREATE FUNCTION hr.raise(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
             CREATE VIEW hr.names AS SELECT email FROM users;
             UPDATE pg_class SET reltuples = 200000 WHERE oid = 'users'::regclass;",
        )
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(folder.path().join("p.toml"), text).unwrap();
        said(&devinprod(
            folder.path(),
            &["check", "p.toml", "--url", &database.url],
        ))
    };

    let (right, _, err) = check(
        "[schema.hrr]\ndefault = \"deny\"\n\
         [class.keys]\nnames = [\"*_id\"]\nas = \"clear\"\n\
         [class.national]\nnames = [\"national*\"]\nas = \"text\"\n\
         [table.public.users]\nemial = \"email\"\nwage = \"email\"\n\
         [table.public.user]\nid = \"clear\"\n\
         [table.public.names]\nemail = \"email\"\n\
         [table.hr.names]\nemail = \"email\"\nmail = \"email\"\n\
         [[exception]]\nset = \"s\"\nwho = [\"a\"]\ncolumns = [\"public.users.emial\"]\nuntil = 2999-01-01\nbecause = \"x\"\n",
    );
    assert!(!right);
    for expected in [
        "p.toml:2:11: no schema `hrr`\n",
        "hint: did you mean `hr`?",
        "public.users.national_id is of the class `keys` (clear, ",
        "hint: say which: [table.public.users] national_id = \"…\"",
        "p.toml:10:1: no column `emial` in public.users\n   |\n10 | emial = \"email\"\n   | ^^^^^\nhint: did you mean `email`?",
        "p.toml:11:1: public.users.wage: ",
        "no table or view `user` in public",
        "hint: did you mean `users`?",
        "no table or view `names` in public",
        "hint: there is hr.names",
        "no column `mail` in hr.names",
        "columns = [\"public.users.emial\"]",
        "error: p.toml: 8 problems",
    ] {
        assert!(err.contains(expected), "{expected:?} is not in:\n{err}");
    }

    let (right, out, err) = check(
        "default = \"email\"\n\
         [class.none]\nnames = [\"iban\"]\nas = \"null\"\n\
         [class.email]\nnames = [\"email\", \"mail\"]\nas = \"email\"\n\
         [class.keys]\nnames = [\"id\"]\nas = \"clear\"\n\
         [table.public.users]\nphone = \"null\"\nboss_email = \"text\"\n\
         [table.public.visits_1]\nat = \"date\"\n\
         [[vouch]]\nfor = \"trigger public.users.tuch\"\nbecause = \"x\"\n\
         [[allow_function]]\nname = \"hr.raise(integer)\"\nbecause = \"x\"\n",
    );
    assert!(right, "{err}");
    for expected in [
        "the class `none` matches no column",
        "public.users.phone has no NULL",
        "public.users.email is masked, and a lookup key (public.users_email_key) of about 200000 rows",
        "public.users.boss_email refers to public.users.email, which is masked as email: joins",
        "public.visits_1 is a part of public.visits",
        "there is no trigger public.users.tuch",
        "hr.raise(integer) is not SECURITY DEFINER",
        // The default fits text, and not all the rest.
        "denied instead: ",
        "public.users.wage",
    ] {
        assert!(err.contains(expected), "{expected:?} is not in:\n{err}");
    }
    assert!(
        out.contains("by the default, since no line names them"),
        "{out}"
    );
    assert!(out.contains("\n  public.users.wage"), "{out}");
    // A domain is masked as what it is made of.
    assert!(!err.contains("users.mail:"), "{err}");
}

#[test]
fn without_a_file_those_of_the_folder_are_checked_one_upstream_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (right, _, err) = said(&devinprod(folder.path(), &["check"]));
    assert!(
        !right && err.contains("there is no policy file in policies/"),
        "{err}"
    );

    let policies = folder.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let write = |name: &str, text: &str| std::fs::write(policies.join(name), text).unwrap();
    write("a.toml", "upstream = \"shop\"\ndefault = \"deny\"\n");
    write("b.toml", "upstream = \"hr\"\ndefault = \"deny\"\n");
    write(
        "c.toml",
        "upstream = \"shop\"\n[class.x]\nnames = [\"x\"]\nas = \"email\"\n",
    );
    let (right, out, err) = said(&devinprod(folder.path(), &["check"]));
    assert!(right, "{err}");
    assert!(
        out.contains("policies/a.toml, policies/c.toml: policy "),
        "{out}"
    );
    assert!(out.contains("policies/b.toml: policy "), "{out}");

    write("d.toml", "upstream = \"hr\"\ndefault = \"clear\"\n");
    let (right, out, err) = said(&devinprod(folder.path(), &["check"]));
    assert!(!right);
    assert!(
        out.contains("for the upstream shop"),
        "the other is right: {out}"
    );
    assert!(
        err.contains("policies/d.toml:2:11: ")
            && err.contains("error: policies/d.toml: 2 problems"),
        "{err}"
    );
    let (right, _, err) = said(&devinprod(folder.path(), &["check", "policies/z.toml"]));
    assert!(
        !right && err.contains("policies/z.toml: cannot be read"),
        "{err}"
    );
}

#[test]
fn strict_takes_a_warning_for_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[table.public.t]\na = \"text\"\n[[exception]]\nset = \"s\"\nwho = [\"a\"]\ncolumns = [\"public.t.a\"]\nuntil = 2020-01-01\nbecause = \"x\"\n";
    std::fs::write(folder.path().join("p.toml"), text).unwrap();
    let (right, _, err) = said(&devinprod(folder.path(), &["check", "p.toml"]));
    assert!(right && err.contains("this exception has ended"), "{err}");
    let (right, ..) = said(&devinprod(folder.path(), &["check", "p.toml", "--strict"]));
    assert!(!right);
}
