//! A Valkey or Redis server of a test's own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server that listens at a socket in a folder of its own and keeps nothing on disk. It is killed when this is dropped.
pub struct KeyServer {
    folder: TempDir,
    child: Option<Child>,
}

impl KeyServer {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings, such as a port of TCP.
    pub async fn start_with(settings: &[&str]) -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            child: None,
        };
        server.start_again(settings).await;
        server
    }

    /// Where it listens, for a client.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Starts it again after [`Self::kill`], empty, with further settings.
    pub async fn start_again(&mut self, settings: &[&str]) {
        assert!(self.child.is_none());
        let _ = std::fs::remove_file(self.socket());
        let mut command = Command::new(program());
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path())
            .args(settings);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        for _ in 0..3_000 {
            if std::os::unix::net::UnixStream::connect(self.socket()).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} does not listen", program().display());
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// It does nothing any more, and its connections stay open.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Runs a command, such as `["FLUSHALL"]`.
    pub async fn command(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query_async(&mut connection).await.unwrap()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("server.sock")
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let there = folders
        .flat_map(|folder| [folder.join("valkey-server"), folder.join("redis-server")])
        .find(|program| program.is_file());
    there.unwrap_or_else(|| {
        panic!("no valkey-server or redis-server; on Debian: apt-get install redis-server")
    })
}
