//! `devinprod` as a developer starts it, with `DATABASE_URL` of a proxy in this process.

use std::path::PathBuf;
use std::process::Stdio;

use devinprod::cluster::binaries;
use tokio::process::{Child, Command};

use super::harness::wire::Client;
use super::harness::{self, Proxy};

/// The password that everybody has here; it is never to be seen. (The harness' own is too common a word.)
pub const PASSWORD: &str = "secret";

/// What a program said: standard output, standard error, exit code.
pub struct Said {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

/// A proxy, and a folder for files.
pub struct Desk {
    pub proxy: Proxy,
    pub folder: tempfile::TempDir,
}

impl Desk {
    pub async fn new() -> Self {
        Self::of(harness::proxy().await)
    }

    pub fn of(proxy: Proxy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { proxy, folder }
    }

    /// A file in the folder.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The program, not yet started; Postgres' own programs are on its PATH.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let programs = binaries::find().unwrap().program("psql");
        let mut path = programs.parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(env!("CARGO_BIN_EXE_devinprod"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("DATABASE_URL", self.proxy.url())
            .env("PATH", path)
            .env("PSQLRC", "/dev/null")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end. Whatever it says, the password is not in it.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        Self::said(self.command(arguments).spawn().unwrap()).await
    }

    /// Waits for its end.
    pub async fn said(child: Child) -> Said {
        let output = child.wait_with_output().await.unwrap();
        Said {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    /// Runs `devinprod compare` with options on two scripts of psql, and checks its exit status.
    #[track_caller]
    pub fn psql(
        &self,
        options: &[&str],
        a: &str,
        b: &str,
        code: i32,
    ) -> impl Future<Output = Said> + use<'_> {
        let mut words: Vec<String> = vec!["compare".to_owned()];
        words.extend(options.iter().map(|option| (*option).to_owned()));
        for (separator, script) in [("--", a), ("---", b)] {
            words.push(separator.to_owned());
            words.extend(["psql", "-XqAt", "-c", script].map(str::to_owned));
        }
        async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let said = self.run(&words).await;
            assert_eq!(said.code, Some(code), "{}\n{}", said.out, said.err);
            said
        }
    }

    /// No sandbox is left.
    pub async fn nothing_is_left(&self) {
        let url = self.proxy.url().replace("/app", "/devinprod");
        let sandboxes = Client::connect(&url).await.simple("SHOW SANDBOXES").await;
        assert!(!sandboxes.contains("DataRow"), "{sandboxes}");
    }
}
