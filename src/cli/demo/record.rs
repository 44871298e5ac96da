//! The demo's audit: its copy in SQL, in a database of its own beside the shop, and whether a statement is found in it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{sleep, timeout};

use super::Secrets;
use crate::audit::postgres::{Options, WRITER, script};
use crate::audit::search::{Filter, search};
use crate::audit::verify::{Against, Verdict, verify};
use crate::cluster::Cluster;
use crate::upstream::admin::admin;

/// The database that the log is copied into.
pub(super) const DATABASE: &str = "audit";

/// Makes it, or completes it.
pub(super) async fn open(cluster: &Cluster, secrets: &Secrets) -> anyhow::Result<()> {
    let client = admin(&cluster.url("postgres").parse()?).await?;
    let there = client
        .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&DATABASE])
        .await?;
    if there.is_none() {
        client
            .batch_execute(&format!("CREATE DATABASE {DATABASE}"))
            .await?;
    }
    let owner = admin(&cluster.url(DATABASE).parse()?).await?;
    let options = Options {
        verifier: Some(secrets.writer_verifier().parse()?),
        retention_days: None,
    };
    Ok(owner.batch_execute(&script(&options)).await?)
}

/// The proxy's own way there.
pub(super) fn url(cluster: &Cluster, secrets: &Secrets) -> String {
    let (password, port) = (&secrets.writer, cluster.port());
    format!("postgres://{WRITER}:{password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable")
}

/// How long a statement may take to get onto the record, and into the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// The number of the record of a statement, as soon as it is there, with another behind it; its text has this word.
pub(super) async fn find(log: &Path, developer: &str, word: &str) -> anyhow::Result<u64> {
    let filter = Filter {
        developer: Some(developer.to_owned()),
        event: Some("statement".to_owned()),
        ..Filter::default()
    };
    let look = || {
        let (mut found, mut last) = (None, 0);
        search(log, &filter, |record, _| {
            last = record.metadata.sequence;
            let text = record.query_info.as_ref().map(|query| &query.query_string);
            if text.is_some_and(|text| text.contains(word)) {
                found = Some(last);
            }
            Ok::<(), std::io::Error>(())
        })?;
        anyhow::Ok(found.filter(|found| *found < last))
    };
    let found = async {
        loop {
            match look()? {
                Some(sequence) => return Ok(sequence),
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(PATIENCE, found)
        .await
        .context("the statement is not on record")?
}

/// Waits until the database has this record, and gives what it says there.
pub(super) async fn find_in_sql(url: &str, sequence: u64) -> anyhow::Result<String> {
    let client = admin(&url.parse()?).await?;
    let sequence = i64::try_from(sequence)?;
    let sql =
        "SELECT format('%s read %s, %s rows', developer, array_to_string(sensitive, ', '), rows)
        FROM devinprod_audit.records WHERE sequence = $1 ORDER BY logged DESC LIMIT 1";
    let found = async {
        loop {
            match client.query_opt(sql, &[&sequence]).await? {
                Some(row) => return Ok(row.try_get(0)?),
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(PATIENCE, found)
        .await
        .context("the record is not in the database")?
}

/// What verifying says of a copy of the log, and of one in which the developer of this record is another.
pub(super) fn tamper(
    log: &Path,
    developer: &str,
    sequence: u64,
) -> anyhow::Result<(Verdict, Verdict)> {
    let copy = tempfile_beside(log);
    std::fs::create_dir_all(&copy)?;
    let verdicts = tamper_in(&copy, log, developer, sequence);
    std::fs::remove_dir_all(&copy)?;
    verdicts
}

fn tamper_in(
    copy: &Path,
    log: &Path,
    developer: &str,
    sequence: u64,
) -> anyhow::Result<(Verdict, Verdict)> {
    let mark = format!("\"sequence\":{sequence},");
    let name = format!("\"user\":{{\"name\":\"{developer}\"}}");
    let mut edited = None;
    for entry in std::fs::read_dir(log)? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        // The proxy goes on writing: a last line that is not whole is not copied.
        let text = std::fs::read_to_string(&path)?;
        let whole = text
            .rfind('\n')
            .map_or("", |end| text.get(..=end).unwrap_or_default());
        let target = copy.join(path.file_name().unwrap_or_default());
        std::fs::write(&target, whole)?;
        if let Some(line) = whole.lines().find(|line| line.contains(&mark)) {
            let changed = line.replace(&name, "\"user\":{\"name\":\"nobody\"}");
            ensure!(changed != line, "the record does not name {developer}");
            edited = Some((target, whole.replace(line, &changed)));
        }
    }
    let before = verify(copy, &Against::default())?;
    let (target, text) = edited.context("the record is not in the log")?;
    std::fs::write(target, text)?;
    Ok((before, verify(copy, &Against::default())?))
}

/// A folder's name that nobody else uses.
fn tempfile_beside(log: &Path) -> std::path::PathBuf {
    log.with_file_name(format!("audit-edited-{}", std::process::id()))
}
