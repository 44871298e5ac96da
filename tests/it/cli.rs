//! What the commands around the configuration print, and what they leave behind.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use devinprod::config::{Config, EXAMPLE};
use devinprod::wire::verifier::Verifier;

const CONFIG: &str = r#"developers_file = "who"

[[upstream]]
name = "shop"
url = "postgres://devinprod_proxy:s3cret@localhost/shop"
stage = "preprod"
developers = ["dev1"]
"#;

/// A folder with a configuration in it.
fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("devinprod.toml"), config).unwrap();
    folder
}

fn run(folder: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_devinprod"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .env_remove("DEVINPROD_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that asks for nothing may be gone before it is given anything.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// Runs a command, which must end as `success` says; gives what it printed.
#[track_caller]
fn check(folder: &Path, arguments: &[&str], stdin: &str, success: bool) -> (String, String) {
    let output = run(folder, arguments, stdin);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.success(),
        success,
        "{arguments:?}\n{stdout}\n{stderr}"
    );
    (stdout, stderr)
}

fn verifier(folder: &Path, developer: &str) -> Option<Verifier> {
    let config = Config::load(&folder.join("devinprod.toml")).unwrap().config;
    config.developers.get(developer).map(|d| d.verifier.clone())
}

#[test]
fn config_check_says_what_a_configuration_means() {
    let folder = folder(CONFIG);
    let (stdout, stderr) = check(folder.path(), &["config", "check"], "", true);
    insta::assert_snapshot!(stdout, @r"
    listens on 127.0.0.1:6432, loopback only
    upstream shop: preprod, sandbox, sealed, for nobody
    ");
    insta::assert_snapshot!(stderr, @r#"
    devinprod.toml:7:15: there is no developer "dev1", so this grants nothing
      |
    7 | developers = ["dev1"]
      |               ^^^^^^
    "#);
}

#[test]
fn config_check_underlines_every_problem() {
    let folder = folder(&CONFIG.replace("preprod", "prod").replace(
        "developers =",
        "isolation = \"none\"\nwait = \"1s\"\ndeveloprs =",
    ));
    let (stdout, stderr) = check(folder.path(), &["config", "check"], "", false);
    assert_eq!(stdout, "");
    insta::assert_snapshot!(stderr, @r#"
    devinprod.toml:7:13: an upstream of stage `prod` cannot do without isolation: everything would be committed
      |
    7 | isolation = "none"
      |             ^^^^^^
    hint: `none` is for the stages local and test; use `sandbox` or `read_only`

    devinprod.toml:8:1: unknown setting `wait`, expected one of `name`, `url`, `url_env`, `url_file`, `stage`, `isolation`, `sealed`, `role_prefix`, `developers`, `contact`, `policy`, `sandbox`
      |
    8 | wait = "1s"
      | ^^^^

    devinprod.toml:9:1: unknown setting `developrs`
      |
    9 | developrs = ["dev1"]
      | ^^^^^^^^^
    hint: did you mean `developers`?

    error: devinprod.toml: 3 problems
    "#);
}

#[test]
fn a_missing_configuration_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let (_, stderr) = check(folder.path(), &["config", "check"], "", false);
    assert!(
        stderr.contains("config example > devinprod.toml"),
        "{stderr}"
    );
    let (_, stderr) = check(folder.path(), &["serve"], "", false);
    assert!(stderr.contains("cannot be read"), "{stderr}");
}

#[test]
fn config_example_prints_a_configuration_that_is_right() {
    let (example, _) = check(Path::new("."), &["config", "example"], "", true);
    assert_eq!(example, EXAMPLE);
    let folder = folder(&example);
    check(folder.path(), &["developer", "add", "dev1"], "", true);
    let (stdout, stderr) = check(folder.path(), &["config", "check"], "", true);
    assert_eq!(stderr, "");
    assert!(
        stdout.contains("upstream scratch: local, sandbox, unsealed, for dev1"),
        "{stdout}"
    );
}

#[test]
fn a_developer_comes_changes_and_goes() {
    let folder = folder(CONFIG);
    let folder = folder.path();
    let (password, stderr) = check(folder, &["developer", "add", "dev1"], "", true);
    assert_eq!(password.trim_end().len(), 24, "{password}");
    assert!(stderr.contains("may use: shop"), "{stderr}");
    let first = verifier(folder, "dev1").unwrap();

    let text = fs::read_to_string(folder.join("who")).unwrap();
    assert!(text.starts_with("dev1:SCRAM-SHA-256$4096:"), "{text}");
    assert!(!text.contains(password.trim_end()));
    let mode = folder.join("who").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (_, stderr) = check(folder, &["developer", "add", "dev1"], "", false);
    assert!(
        stderr.contains("exists already") && stderr.contains("hint: "),
        "{stderr}"
    );

    let rotate = ["developer", "rotate", "dev1", "--password-stdin"];
    let (stdout, _) = check(folder, &rotate, "new password\n", true);
    assert_eq!(stdout, "", "a password that was given is not printed");
    assert_ne!(verifier(folder, "dev1").unwrap(), first);
    check(folder, &rotate, "\n", false);

    check(
        folder,
        &["developer", "add", "dev2", "--password-stdin"],
        "x\n",
        true,
    );
    let (stdout, _) = check(folder, &["developer", "list"], "", true);
    assert_eq!(stdout, "dev1\tshop\ndev2\t\n");

    check(folder, &["developer", "remove", "dev1"], "", true);
    assert_eq!(verifier(folder, "dev1"), None);
    let (_, stderr) = check(folder, &["developer", "remove", "dev1"], "", false);
    assert!(stderr.contains("hint: it has dev2"), "{stderr}");
}

#[test]
fn developers_need_a_file_and_a_name_that_fits() {
    let folder = folder(&CONFIG.replace("developers_file", "# developers_file"));
    let (_, stderr) = check(folder.path(), &["developer", "add", "dev1"], "", false);
    assert!(stderr.contains("names no developers' file"), "{stderr}");
    let (_, stderr) = check(folder.path(), &["developer", "add", "a+b"], "", false);
    assert!(stderr.contains("has a '+' in it"), "{stderr}");
    let (_, stderr) = check(
        folder.path(),
        &["developer", "add", "dev1", "--ask"],
        "x\n",
        false,
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn help_teaches() {
    let (stdout, _) = check(Path::new("."), &["--help"], "", true);
    for part in [
        "Where to begin",
        "config example",
        "developer add",
        "DATABASE_URL",
    ] {
        assert!(stdout.contains(part), "{part} is not in:\n{stdout}");
    }
}
