//! The server process: begun, waited for, and ended, always by its pid.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Options;
use super::binaries::Binaries;
use super::error::Error;
use super::folder::Folder;

/// How long a fast shutdown may take before an immediate one is asked for.
const FAST_LIMIT: Duration = Duration::from_secs(10);
/// How long an immediate shutdown may take before the process is killed.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Waits until its pipe closes, which the system does when the owner ends, however it ends. Then, if the
/// pid file still names the server that it was given, stops it; and removes the folder `$3`, if any.
const WATCHDOG: &str = r#"
read -r _
pid=
read -r pid < "$2/postmaster.pid"
if [ "$pid" = "$1" ]; then
    kill -INT "$pid"
    tries=0
    while [ -e "$2/postmaster.pid" ] && [ "$tries" -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
fi
if [ -n "$3" ]; then rm -rf "$3"; fi
"#;

/// A running postmaster and its watchdog.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    watchdog: Option<Child>,
    log: PathBuf,
}

impl Server {
    /// Begins the server; it is not ready yet.
    pub(super) fn spawn(
        binaries: &Binaries,
        folder: &Folder,
        options: &Options,
        port: u16,
    ) -> Result<Self, Error> {
        let log = folder.log();
        // Begun anew each time: the log's end tells why a start failed.
        let output = fs::File::create(&log).map_err(|source| Error::io("write", &log, source))?;
        let errors = output
            .try_clone()
            .map_err(|source| Error::io("write", &log, source))?;
        let socket_dir = folder
            .socket_dir()
            .map(|dir| dir.display().to_string())
            .unwrap_or_default();
        let mut settings = vec![
            ("port".to_owned(), port.to_string()),
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("unix_socket_directories".to_owned(), socket_dir),
        ];
        if !options.fsync {
            for name in ["fsync", "synchronous_commit", "full_page_writes"] {
                settings.push((name.to_owned(), "off".to_owned()));
            }
        }
        settings.extend(options.settings.iter().cloned());
        let postgres = binaries.program("postgres");
        let mut command = folder.account().command(&postgres);
        command.arg("-D").arg(folder.data());
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let child = command
            .stdout(output)
            .stderr(errors)
            // A group of its own: Ctrl-C in a terminal is for us, and we stop the server in our order.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::io("run", &postgres, source))?;
        // From here on the drop of `server` ends the process, whatever fails.
        let mut server = Self {
            child,
            watchdog: None,
            log,
        };
        let remove = options.ephemeral.then_some(folder.root());
        server.watchdog = Some(server.watch(&folder.data(), remove)?);
        Ok(server)
    }

    /// Waits until the server answers a query.
    pub(super) async fn wait_until_ready(
        &mut self,
        url: &str,
        deadline: tokio::time::Instant,
    ) -> Result<(), Error> {
        loop {
            let ended = self
                .child
                .try_wait()
                .map_err(|source| Error::io("wait for", &self.log, source))?;
            if let Some(status) = ended {
                return Err(Error::Ended {
                    status: status.to_string(),
                    log: last_lines(&self.log),
                });
            }
            if answers(url).await {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::Silent(self.log.clone()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The postmaster's pid.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A fast shutdown, and if that takes too long harder ones.
    pub(super) fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) -> Result<(), Error> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|source| Error::io("kill", &self.log, source))
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.has_ended() {
            return Ok(());
        }
        let pid = Pid::from_child(&self.child);
        for (signal, limit) in [(Signal::INT, FAST_LIMIT), (Signal::QUIT, IMMEDIATE_LIMIT)] {
            // It cannot have been reaped by anybody else, so the pid is still its own.
            let _ = kill_process(pid, signal);
            if wait_until(limit, || self.has_ended()) {
                return Ok(());
            }
        }
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|source| Error::io("kill", &self.log, source))
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    fn watch(&self, data: &Path, remove: Option<&Path>) -> Result<Child, Error> {
        let shell = Path::new("/bin/sh");
        Command::new(shell)
            .args(["-c", WATCHDOG, "devinprod-watchdog"])
            .arg(self.child.id().to_string())
            .arg(data)
            .arg(remove.unwrap_or(Path::new("")))
            .current_dir("/")
            // The system closes this pipe when we end.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|source| Error::io("run", shell, source))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody is left to tell; the watchdog below has another try.
        let ended = self.end();
        if let Some(mut watchdog) = self.watchdog.take() {
            if ended.is_ok() {
                let _ = watchdog.kill();
            } else {
                drop(watchdog.stdin.take());
            }
            let _ = watchdog.wait();
        }
    }
}

/// Stops a server that an earlier process left running in this data directory.
///
/// The caller holds the folder's lock, so no living process of ours owns it.
pub(super) fn stop_leftover(data: &Path) -> Result<(), Error> {
    let Some(pid) = leftover(data) else {
        return Ok(());
    };
    for (signal, limit) in [(Signal::INT, FAST_LIMIT), (Signal::QUIT, IMMEDIATE_LIMIT)] {
        let _ = kill_process(pid, signal);
        // Asked anew each time: where nobody reaps it, its pid stays, but it is no server any more.
        if wait_until(limit, || leftover(data) != Some(pid)) {
            return Ok(());
        }
    }
    Err(Error::Leftover {
        data: data.to_path_buf(),
        pid: pid.as_raw_nonzero().get(),
    })
}

/// The pid in the pid file, if that process lives and really is a server of this data directory: pids are
/// used again, and nothing else may be stopped.
fn leftover(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
    let argument = format!(" -D {} ", data.display());
    command_line(pid)?.contains(&argument).then_some(pid)
}

fn command_line(pid: Pid) -> Option<String> {
    let raw = pid.as_raw_nonzero().get();
    if let Ok(bytes) = fs::read(format!("/proc/{raw}/cmdline")) {
        return Some(String::from_utf8_lossy(&bytes).replace('\0', " "));
    }
    let output = Command::new("ps")
        .args(["-o", "args=", "-p", &raw.to_string()])
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn answers(url: &str) -> bool {
    let attempt = async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let answer = client.simple_query("SELECT 1").await;
        drop(client);
        let _ = connection.await;
        answer
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(2), attempt).await,
        Ok(Ok(_))
    )
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// Polls until `done` or until the time is over; says which. It blocks: drops cannot wait otherwise.
fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if done() {
            return true;
        }
        std::thread::sleep(POLL);
    }
    done()
}
