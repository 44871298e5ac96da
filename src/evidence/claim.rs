//! [`Claim`]: what a command says that it did.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Refusal, SqlState};

/// The most files that a claim may name.
const MOST_INPUTS: usize = 64;
/// The longest text in a claim, in characters.
const LONGEST: usize = 200;

/// What a command says that it did. It comes from a developer's side: nothing in it is more than their word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What was done.
    pub kind: Kind,
    /// About which commit.
    pub commit: Commit,
    /// What the work tree had to do with it.
    pub tree: Tree,
    /// Whether it speaks for the commit.
    pub passed: bool,
    /// On which upstream, as developers call it.
    pub upstream: String,
    /// What was run: the program's name, and a `?` for each argument.
    pub command: String,
    /// What it was told not to look at; kinds of differences.
    #[serde(default)]
    pub ignored: Vec<String>,
    /// The files that decided it: assertions, the migration, the reference.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Figures of it.
    #[serde(default)]
    pub figures: BTreeMap<Figure, u64>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Two programs ran on the same data, and did the same.
    Compare,
    /// After a program had run, assertions held.
    Assert,
    /// A migration worked on the real data.
    Rehearse,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Compare, Self::Assert, Self::Rehearse];

    /// As it stands in evidence and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compare => "compare",
            Self::Assert => "assert",
            Self::Rehearse => "rehearse",
        }
    }
}

/// What the git work tree, in which the command was started, had to do with the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tree {
    /// It was the commit, with no change.
    Clean,
    /// It was the commit, and files were changed or added.
    Changed,
    /// It was another commit.
    Other,
    /// There was none.
    None,
}

impl Tree {
    /// As it stands in evidence and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Changed => "changed",
            Self::Other => "other",
            Self::None => "none",
        }
    }
}

/// A file that decided it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its name, without a folder.
    pub name: String,
    /// The SHA-256 of what it holds, in hex.
    pub sha256: String,
}

/// A figure. Figures are numbers alone, so that none can hold a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// compare, assert: sessions of the commands.
    Connections,
    /// Statements that ran.
    Statements,
    /// compare: how many things differ.
    Differences,
    /// compare: how many things differ from run to run, and were left out.
    Noise,
    /// assert: how many there were.
    Assertions,
    /// assert: how many did not hold.
    AssertionsFailed,
    /// compare, assert: the exit status of the first command.
    ExitA,
    /// compare: the exit status of the second command.
    ExitB,
    /// The time of the first command, or of the migration, in milliseconds.
    Milliseconds,
    /// compare: the time of the second command, in milliseconds.
    MillisecondsB,
    /// rehearse: rows changed.
    RowsChanged,
    /// rehearse: tables and indexes rewritten.
    Rewritten,
    /// rehearse: the longest time for which a lock would have kept others out, in milliseconds.
    LongestLock,
    /// rehearse: how many sessions waited for it at once.
    Waited,
    /// rehearse: statements that were not run, since no transaction can hold them.
    Skipped,
}

/// The name of a commit in git: SHA-1 or SHA-256, in lower-case hex, in full.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Commit(String);

impl Commit {
    /// Reads one; None: it is none, or abbreviated.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hex && matches!(text.len(), 40 | 64)).then_some(Self(text))
    }

    /// In full.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first characters, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for Commit {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a commit has 40 or 64 hexadecimal digits")
    }
}

impl From<Commit> for String {
    fn from(commit: Commit) -> Self {
        commit.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Claim {
    /// Reads what a command sent.
    ///
    /// # Errors
    /// 22023: it is no claim, or there is more in it than a claim needs.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = |detail: String| {
            Refusal::error(
                SqlState::INVALID_PARAMETER_VALUE,
                "this is no evidence that can be signed",
            )
            .detail(detail)
            .hint("devinprod compare and devinprod rehearse write it; use those of the proxy's own version")
        };
        let claim: Self = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        match claim.excess() {
            None => Ok(claim),
            Some(what) => Err(wrong(what.to_owned())),
        }
    }

    /// What is too much in it.
    pub(super) fn excess(&self) -> Option<&'static str> {
        let is_digest = |text: &String| {
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if self.inputs.len() > MOST_INPUTS || self.ignored.len() > MOST_INPUTS {
            return Some("It names too many files.");
        }
        if !is_name(&self.upstream) || !is_name(&self.command) {
            return Some("The upstream and the command are lines of at most 200 characters.");
        }
        if !self.ignored.iter().all(|text| is_name(text)) {
            return Some("What is ignored are words.");
        }
        let is_input = |input: &Input| is_name(&input.name) && is_digest(&input.sha256);
        if !self.inputs.iter().all(is_input) {
            return Some("A file has a name and a SHA-256 in lower-case hex.");
        }
        None
    }
}

/// Is it one line, not empty and not long? Evidence is printed on terminals.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= LONGEST && !text.chars().any(char::is_control)
}

/// A command as evidence names it: the program without its folder, and a `?` for each argument, since arguments may hold
/// what nobody should see.
pub fn without_arguments(words: &[String]) -> String {
    /// More arguments than this are not counted.
    const MOST: usize = 40;
    let Some((program, arguments)) = words.split_first() else {
        return String::new();
    };
    let name = std::path::Path::new(program).file_name();
    let name = name.map_or_else(|| "?".into(), |name| name.to_string_lossy());
    let mut text: String = name
        .chars()
        .take(LONGEST / 2)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    text.extend(arguments.iter().take(MOST).flat_map(|_| " ?".chars()));
    text
}
