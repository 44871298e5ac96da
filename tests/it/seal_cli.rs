//! `devinprod setup` and `devinprod doctor`, as somebody at a terminal or a script meets them.

use std::process::{Command, Stdio};

use devinprod::seal;

use crate::harness::{self, TestDatabase};
use crate::seal_kit::options;

struct Said {
    stdout: String,
    stderr: String,
    success: bool,
}

async fn run(arguments: &[&str], url: &str, environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devinprod"));
    command
        .args(arguments)
        .args(["--url", url])
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    Said {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        success: output.status.success(),
    }
}

async fn is_sealed(database: &TestDatabase) -> bool {
    let admin = database.connect().await;
    let survey = seal::survey(&admin, &options(database).names).await;
    survey.unwrap().seal.is_some()
}

/// What stands in quotes after `url = `.
fn url_in(text: &str) -> &str {
    let after = text.split("url = \"").nth(1).unwrap();
    after.split('"').next().unwrap()
}

#[tokio::test]
async fn setup_then_doctor_then_removal() {
    let database = harness::database().await;
    let prefix = format!("{}_", database.name);
    let setup = ["setup", "--pairs", "2", "--prefix", &prefix];

    let asked = run(&setup, &database.url, &[]).await;
    assert!(!asked.success);
    assert!(
        asked.stderr.contains("PUBLIC loses TEMPORARY"),
        "{}",
        asked.stderr
    );
    assert!(asked.stderr.contains("give --yes"), "{}", asked.stderr);
    assert!(!is_sealed(&database).await);

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("devinprod.toml");
    std::fs::write(&config, "[audit]\nfolder = \"record\"\n").unwrap();
    let on_record = ["--yes", "--config", config.to_str().unwrap()];
    let done = run(&[&setup[..], &on_record].concat(), &database.url, &[]).await;
    assert!(done.success, "{}", done.stderr);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("record/incoming"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert_eq!(left.len(), 1);
    assert!(
        left[0].contains("\"setup\"") && left[0].contains(&database.name),
        "{left:?}"
    );
    assert!(!done.stderr.contains(&database.password), "{}", done.stderr);
    let upstream = url_in(&done.stderr).to_owned();
    assert!(is_sealed(&database).await);

    let again = run(&[&setup[..], &["--yes"]].concat(), &database.url, &[]).await;
    assert!(
        again.stderr.contains("nothing to change"),
        "{}",
        again.stderr
    );
    assert!(
        !again.stderr.contains("url ="),
        "the password is shown once"
    );

    let doctor = run(&["doctor", "--prefix", &prefix], &upstream, &[]).await;
    assert!(doctor.success, "{}{}", doctor.stdout, doctor.stderr);
    assert!(
        doctor.stdout.contains("held    armed: COMMIT is refused"),
        "{}",
        doctor.stdout
    );
    assert!(doctor.stdout.contains(" 0 broken"), "{}", doctor.stdout);

    let admin = database.connect().await;
    let disable = "ALTER TABLE devinprod.commit_guard DISABLE TRIGGER refuse_commit";
    admin.batch_execute(disable).await.unwrap();
    let doctor = run(&["doctor", "--prefix", &prefix], &upstream, &[]).await;
    assert!(!doctor.success);
    assert!(
        doctor.stdout.contains("BROKEN"),
        "{}{}",
        doctor.stdout,
        doctor.stderr
    );

    crate::seal_kit::wait_for_no_sessions(&admin, &options(&database).names).await;
    let remove = run(
        &["setup", "--remove", "--yes", "--prefix", &prefix],
        &database.url,
        &[],
    )
    .await;
    assert!(remove.success, "{}", remove.stderr);
    assert!(!is_sealed(&database).await);
}

#[tokio::test]
async fn printing_changes_nothing_and_hides_the_password() {
    let database = harness::database().await;
    let prefix = format!("{}_", database.name);
    let print = [
        "setup",
        "--print",
        "--prefix",
        &prefix,
        "--proxy-password-env",
        "THE_PASSWORD",
    ];
    let missing = run(&print, &database.url, &[]).await;
    assert!(
        missing.stderr.contains("THE_PASSWORD"),
        "{}",
        missing.stderr
    );
    assert!(!missing.success);

    let said = run(&print, &database.url, &[("THE_PASSWORD", "hush-hush")]).await;
    assert!(said.success, "{}", said.stderr);
    assert!(said.stdout.contains("BEGIN;") && said.stdout.contains("COMMIT;"));
    assert!(said.stdout.contains("PASSWORD 'SCRAM-SHA-256$"));
    assert!(!said.stdout.contains("hush-hush") && !said.stderr.contains("hush-hush"));
    assert!(!is_sealed(&database).await);
}

#[tokio::test]
async fn an_unsealed_upstream_is_recognised() {
    let database = harness::database().await;
    let prefix = format!("{}_", database.name);
    let said = run(&["doctor", "--prefix", &prefix], &database.url, &[]).await;
    assert!(!said.success);
    assert!(
        said.stdout.contains("this database is not sealed"),
        "{}",
        said.stdout
    );
}
