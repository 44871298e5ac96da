//! Evidence of what a command did: which commit it is about, and how the proxy gets to sign it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::Args;
use sha2::{Digest, Sha256};

use super::connect::ProxyUrl;
use super::{Failure, print};
use crate::evidence::{Claim, Commit, Input, Tree};

/// Whether evidence is left, about what, and where.
#[derive(Debug, Args)]
pub(super) struct EvidenceArgs {
    /// The commit that is tried, for the evidence [default: the git work tree's]
    #[arg(long, value_name = "COMMIT")]
    change: Option<String>,
    /// Append the signed evidence to a file, too, one envelope a line
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// Leave no evidence
    #[arg(long, conflicts_with_all = ["change", "evidence"])]
    no_evidence: bool,
}

/// The commit that a command tries.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) commit: Commit,
    pub(super) tree: Tree,
}

impl EvidenceArgs {
    /// Evidence was asked for in so many words: without it the command has failed.
    pub(super) fn is_asked_for(&self) -> bool {
        self.change.is_some() || self.evidence.is_some()
    }

    /// The commit that is tried, and what the work tree has to do with it; None: no evidence is to be left. To be asked
    /// before the command runs, since that may change files.
    ///
    /// # Errors
    /// Evidence was asked for, and there is no such commit.
    pub(super) fn change(&self) -> anyhow::Result<Option<Change>> {
        if self.no_evidence {
            return Ok(None);
        }
        let head = git(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
        let head = head.as_deref().and_then(Commit::parse);
        let commit = match &self.change {
            Some(named) => resolved(named)?,
            None => match &head {
                Some(head) => head.clone(),
                None if self.is_asked_for() => {
                    let hint = "run this in a git work tree, or name it: --change COMMIT";
                    return Err(
                        Failure::new("there is no commit to leave evidence of", hint).into(),
                    );
                }
                None => return Ok(None),
            },
        };
        let tree = match head {
            None => Tree::None,
            Some(head) if head != commit => Tree::Other,
            Some(_) if self.is_changed() => Tree::Changed,
            Some(_) => Tree::Clean,
        };
        Ok(Some(Change { commit, tree }))
    }

    /// Is a file changed or added, other than the one that evidence is written to? If git does not say, it may be.
    fn is_changed(&self) -> bool {
        let mut arguments = vec!["status", "--porcelain", "--untracked-files=normal", "--"];
        let excluded = self.evidence.as_ref().map(|file| {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            format!(":(exclude,literal){}", file.display())
        });
        // What is excluded is taken from what is named before, and nothing named is the whole tree.
        if let Some(excluded) = &excluded
            && self.is_in_tree()
        {
            arguments.extend([":(top)", excluded]);
        }
        git(&arguments).is_none_or(|changed| !changed.is_empty())
    }

    /// Is the file of evidence in the work tree? git knows no other files.
    fn is_in_tree(&self) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        let top = git(&["rev-parse", "--show-toplevel"]).map(PathBuf::from);
        let (Some(top), Some(file)) = (top.as_deref().and_then(real), &self.evidence) else {
            return false;
        };
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => real(folder),
            _ => real(Path::new(".")),
        };
        folder.is_some_and(|folder| folder.starts_with(top))
    }

    /// Has the proxy sign and record these claims. Where evidence was not asked for, what goes wrong is only told.
    ///
    /// # Errors
    /// Evidence was asked for, and there is none.
    pub(super) async fn leave(&self, proxy: &ProxyUrl, claims: &[Claim]) -> anyhow::Result<()> {
        if claims.is_empty() {
            if self.is_asked_for() {
                let hint = "compare two commands, or give --assert";
                return Err(Failure::new("this run shows nothing about a commit", hint).into());
            }
            return Ok(());
        }
        match self.left(proxy, claims).await {
            Err(error) if self.is_asked_for() => Err(error.context("no evidence was left")),
            Err(error) => {
                print::note(format!("no evidence was left: {error:#}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn left(&self, proxy: &ProxyUrl, claims: &[Claim]) -> anyhow::Result<()> {
        let console = proxy.connect().await?;
        let mut lines = String::new();
        for claim in claims {
            let json = serde_json::to_string(claim)?;
            let envelope = console.record_evidence(&json).await?;
            lines.push_str(&envelope);
            lines.push('\n');
            let verdict = if claim.passed { "passed" } else { "failed" };
            let tree = match claim.tree {
                Tree::Clean => String::new(),
                other => format!(", work tree: {}", other.as_str()),
            };
            print::note(format!(
                "evidence: {} {verdict} for {} on {}{tree}",
                claim.kind.as_str(),
                claim.commit.short(),
                claim.upstream
            ));
        }
        if let Some(path) = &self.evidence {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o644)
                .open(path);
            file.and_then(|mut file| file.write_all(lines.as_bytes()))
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }
}

/// The commit of this name: in full, or as git knows it.
///
/// # Errors
/// There is none.
pub(super) fn resolved(named: &str) -> anyhow::Result<Commit> {
    // What begins with a dash would be an option.
    let asked = format!("{named}^{{commit}}");
    let found = match named.starts_with('-') {
        true => None,
        false => git(&[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &asked,
        ]),
    };
    // A commit in full needs no repository: that of another machine's is not known here.
    let commit = found.as_deref().and_then(Commit::parse);
    commit.or_else(|| Commit::parse(named)).ok_or_else(|| {
        let hint = "give it in full, or run this in a git work tree that has it";
        Failure::new(format!("there is no commit \"{named}\""), hint).into()
    })
}

/// What git answers, without the line's end; None: it has failed, or there is no git.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// A file that decided what was found.
pub(super) fn input(path: &str, text: &str) -> Input {
    let name = Path::new(path).file_name();
    let name = name.map_or_else(|| path.into(), |name| name.to_string_lossy());
    Input {
        name: name.chars().filter(|c| !c.is_control()).take(200).collect(),
        sha256: hex::encode(Sha256::digest(text.as_bytes())),
    }
}

/// Milliseconds of a figure that is in seconds.
pub(super) fn milliseconds(seconds: f64) -> u64 {
    // A float beyond the range becomes the range's end.
    (seconds * 1_000.0) as u64
}
