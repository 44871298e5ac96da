//! A `devinprod serve` of its own process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A proxy; killed when dropped.
pub struct Process {
    /// The process.
    pub child: Child,
    /// Where it listens.
    pub port: u16,
    /// Its web page, if it has one.
    pub page: Option<String>,
    /// Its folder, if it has one of its own; the configuration is `devinprod.toml`.
    pub folder: Option<tempfile::TempDir>,
}

impl Process {
    /// Starts one in a folder of its own.
    pub fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Self::start_in(folder.path(), config, "");
        process.folder = Some(folder);
        process
    }

    /// Starts one in this folder, after a command of the shell.
    pub fn start_in(folder: &Path, config: &str, shell: &str) -> Self {
        let mut child = serve(folder, config, shell);
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = String::new();
        let mut page = None;
        let port = said
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let port = line
                    .split_once("listening on 127.0.0.1:")
                    .and_then(|(_, port)| port.trim().parse().ok());
                if let Some((_, url)) = line.split_once("the page is at ") {
                    page = Some(url.trim().to_owned());
                }
                before += &line;
                before.push('\n');
                port
            })
            .unwrap_or_else(|| panic!("it does not say where it listens:\n{before}"));
        // Its standard error must not fill up.
        std::thread::spawn(move || said.for_each(drop));
        Self {
            child,
            port,
            page,
            folder: None,
        }
    }

    /// The URL of the database `app` for a user with the password `secret`.
    pub fn url(&self, user: &str) -> String {
        format!("postgres://{user}:secret@127.0.0.1:{}/app", self.port)
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

/// Starts `devinprod serve` with this configuration in this folder; its standard error is piped.
pub fn serve(folder: &Path, config: &str, shell: &str) -> Child {
    let file = folder.join("devinprod.toml");
    fs::write(&file, config).unwrap();
    Command::new("sh")
        .args(["-c", &format!("{shell}\nexec \"$@\""), "sh"])
        .arg(env!("CARGO_BIN_EXE_devinprod"))
        .args(["serve", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
