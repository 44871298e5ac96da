//! A command that is started with a database and a clean environment.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::target::Way;
use super::{Failure, print};

/// How long a command may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Itself(ExitStatus),
    /// It was ended, its time was over.
    TooSlow,
    /// It was ended, since devinprod is to end.
    Interrupted,
}

/// The command, not yet started. Of this process' environment it keeps what cannot lead it to another database.
///
/// # Errors
///
/// There are no words.
pub(super) fn prepare(words: &[String], way: &Way, keep: &[String]) -> anyhow::Result<Command> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::new(
            "no command",
            "write it behind --: devinprod run -- npm test",
        )
        .into());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let mut left_out = Vec::new();
    for (name, value) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if leads_elsewhere(&shown, &value) && !keep.iter().any(|kept| *kept == shown) {
            if shown != "DATABASE_URL" {
                left_out.push(shown.into_owned());
            }
            command.env_remove(name);
        }
    }
    if !left_out.is_empty() {
        print::note(format!(
            "left out of the command's environment: {} (--keep NAME keeps one)",
            left_out.join(", ")
        ));
    }
    command.env("DATABASE_URL", &way.url);
    let kept = |name: &str| keep.iter().any(|kept| kept == name);
    for (name, value) in way.variables.iter().filter(|(name, _)| !kept(name)) {
        command.env(name, value);
    }
    Ok(command)
}

/// Whether a variable is one of libpq's or holds the URL of a Postgres.
fn leads_elsewhere(name: &str, value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    name == "DATABASE_URL"
        || name.starts_with("PG")
        || value.contains("postgres://")
        || value.contains("postgresql://")
}

/// Cancelled when this process is asked to end (SIGINT, SIGTERM, SIGHUP).
///
/// # Errors
///
/// No signal can be waited for.
pub(super) fn interruption() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut kinds = Vec::new();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        kinds.push(signal(kind)?);
    }
    let told = token.clone();
    for mut kind in kinds {
        let told = told.clone();
        tokio::spawn(async move {
            if kind.recv().await.is_some() {
                told.cancel();
            }
        });
    }
    Ok(token)
}

/// Runs a command to its end, in a process group of its own, of which nothing is left running. It has nothing to read.
///
/// # Errors
///
/// It cannot be started.
pub(super) async fn run(
    mut command: Command,
    limit: Option<Duration>,
    interrupted: &CancellationToken,
) -> anyhow::Result<Ended> {
    use std::os::unix::process::CommandExt;
    command.process_group(0).stdin(Stdio::null());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .map_err(|error| cannot_start(&program, &error))?;
    let group = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        status = child.wait() => Ended::Itself(status?),
        () = over => Ended::TooSlow,
        () = interrupted.cancelled() => Ended::Interrupted,
    };
    let tell = |signal| {
        // Nobody may be left to tell.
        let _ = group.map(|group| kill_process_group(group, signal));
    };
    tell(Signal::TERM);
    if !matches!(ended, Ended::Itself(_)) {
        let _ = tokio::time::timeout(PATIENCE, child.wait()).await;
        tell(Signal::KILL);
        child.wait().await?;
    }
    Ok(ended)
}

/// Why a program did not start, with what to do.
pub(super) fn cannot_start(program: &str, error: &io::Error) -> Failure {
    Failure::new(
        format!("{program} cannot be started: {error}"),
        "the command is started without a shell; write sh -c '…' for one",
    )
}

/// How it ended, as a shell counts: 128 and the signal's number for a command that was killed.
pub(super) fn status_number(status: ExitStatus) -> i32 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_lead_elsewhere() {
        for (name, value, leads) in [
            ("PGHOST", "prod", true),
            ("PGSERVICEFILE", "", true),
            ("DATABASE_URL", "", true),
            ("BILLING_DB", "postgresql://a@b/c", true),
            ("SPRING_URL", "jdbc:postgresql://b/c", true),
            ("PATH", "/usr/bin", false),
            ("REDIS_URL", "redis://h", false),
        ] {
            assert_eq!(leads_elsewhere(name, OsStr::new(value)), leads, "{name}");
        }
    }
}
