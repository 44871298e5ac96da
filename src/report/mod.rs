//! What is wrong with a file that somebody wrote, with the source line underlined; and reading such files. Also, text as HTML.
//!
//! No password may reach a terminal or a log through here: the value of every `password`, `url` and `ledger`, and the
//! password in every URL, are printed as asterisks.

pub mod html;
pub mod toml_file;
pub mod units;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file, in bytes; None: the file as a whole.
    pub span: Option<Range<usize>>,
    /// What: one line, no final period.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with the text at `span`.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span: Some(span),
            ..Self::whole(message)
        }
    }

    /// A problem with the file as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self {
            span: None,
            message: message.into(),
            hint: None,
        }
    }

    /// The same, with what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Problems of one file, ready to be shown.
///
/// As an error it says why the file cannot be used; the same shape carries warnings.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    path: PathBuf,
    rendered: Vec<String>,
}

impl Report {
    /// In the order of the file.
    pub fn new(path: &Path, text: &str, problems: &[Problem]) -> Self {
        let mut problems: Vec<&Problem> = problems.iter().collect();
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        Self {
            path: path.to_owned(),
            rendered: problems
                .iter()
                .map(|problem| render(path, text, problem))
                .collect(),
        }
    }

    /// The same, with what is wrong with other files behind it.
    #[must_use]
    pub fn and(mut self, others: impl IntoIterator<Item = Self>) -> Self {
        for other in others {
            self.rendered.extend(other.rendered);
        }
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many problems there are.
    pub fn len(&self) -> usize {
        self.rendered.len()
    }

    /// Is there nothing to report?
    pub fn is_empty(&self) -> bool {
        self.rendered.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered.join("\n\n"))
    }
}

/// The same text: whoever unwraps one should be able to read it.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Report {}

/// The closest of `known` to what was written, if one is close enough to be meant.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance <= name.chars().count().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

fn render(path: &Path, text: &str, problem: &Problem) -> String {
    let path = path.display();
    let message = conceal_passwords(&problem.message);
    let mut out = match problem
        .span
        .as_ref()
        .and_then(|span| Excerpt::new(text, span))
    {
        None => format!("{path}: {message}"),
        Some(excerpt) => {
            let number = excerpt.number.to_string();
            let margin = " ".repeat(number.len());
            let source = conceal_values(excerpt.line);
            format!(
                "{path}:{number}:{column}: {message}\n{margin} |\n{number} | {source}\n{margin} | {indent}{underline}",
                column = excerpt.before + 1,
                indent = " ".repeat(excerpt.before),
                underline = "^".repeat(excerpt.marked.max(1)),
            )
        }
    };
    if let Some(hint) = &problem.hint {
        out.push_str("\nhint: ");
        out.push_str(&conceal_passwords(hint));
    }
    out
}

/// The first line of a span, with the columns to underline, in characters.
struct Excerpt<'a> {
    number: usize,
    line: &'a str,
    before: usize,
    marked: usize,
}

impl<'a> Excerpt<'a> {
    fn new(text: &'a str, span: &Range<usize>) -> Option<Self> {
        let head = text.get(..span.start)?;
        let start = head.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(start..)?;
        let line = rest.lines().next().unwrap_or_default();
        let end = span.end.min(start + line.len()).max(span.start);
        Some(Self {
            number: head.matches('\n').count() + 1,
            line,
            before: text.get(start..span.start)?.chars().count(),
            marked: text.get(span.start..end)?.chars().count(),
        })
    }
}

/// A line of the file with an asterisk for every character after `password =`, `url =` and `ledger =`.
fn conceal_values(line: &str) -> String {
    let value_of = |key: &str| {
        let (at, _) = line.match_indices(key).find(|(at, _)| {
            let after = line.get(at + key.len()..).unwrap_or_default();
            after
                .trim_start_matches(['"', '\'', ' ', '\t'])
                .starts_with('=')
        })?;
        Some(at + line.get(at..)?.find('=')? + 1)
    };
    match value_of("password")
        .into_iter()
        .chain(value_of("url"))
        .chain(value_of("ledger"))
        .min()
    {
        Some(at) => {
            let (shown, value) = line.split_at_checked(at).unwrap_or(("", line));
            let hidden = value.chars().map(|c| if c == ' ' { ' ' } else { '*' });
            conceal_passwords(shown) + &hidden.collect::<String>()
        }
        None => conceal_passwords(line),
    }
}

/// An asterisk for every character between `://user:` and the last `@` before white space.
fn conceal_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once("://") {
        out.push_str(head);
        out.push_str("://");
        let end = tail.find(char::is_whitespace).unwrap_or(tail.len());
        let (url, after) = tail.split_at(end);
        match url.rsplit_once('@') {
            Some((credentials, host)) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                out.push_str(user);
                if !password.is_empty() {
                    out.push(':');
                    out.extend(password.chars().map(|_| '*'));
                }
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(url),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, problem: Problem) -> String {
        Report::new(Path::new("f.toml"), text, &[problem]).to_string()
    }

    #[test]
    fn the_line_is_underlined() {
        let text = "a = 1\nç = 22 # x\n";
        let at = text.find("22").unwrap();
        assert_eq!(
            shown(
                text,
                Problem::at(at..at + 2, "`ç` is too much").hint("write 21")
            ),
            "f.toml:2:5: `ç` is too much\n  |\n2 | ç = 22 # x\n  |     ^^\nhint: write 21"
        );
    }

    #[test]
    fn a_span_of_many_lines_shows_its_first() {
        assert_eq!(
            shown("[a]\nb = 1\n", Problem::at(0..9, "m")),
            "f.toml:1:1: m\n  |\n1 | [a]\n  | ^^^"
        );
        assert!(shown("a", Problem::at(1..1, "end")).ends_with("1 | a\n  |  ^"));
        assert_eq!(shown("a", Problem::at(7..9, "beyond")), "f.toml: beyond");
    }

    #[test]
    fn secrets_are_not_shown() {
        for text in [
            "url = \"postgres://u:s3cret@h:5/d\" # and postgres://v:s3cret@h",
            "url = \"postgres://u:s3cr:e@t@h:5/d\"",
            "url = 's3cret",
            "ledger = \"redis+unix:///x?pass=s3cret\"",
            "password=\"s3cret",
            "developer = [{ name = \"a\", \"password\" = \"s3cret\" }]",
            "# was: postgres://u:s3cret@h",
        ] {
            let problem = Problem::at(0..3, "about postgres://u:s3cret@h");
            let out = shown(text, problem.hint("x://a:s3cret@b"));
            assert!(!out.contains("s3cr") && !out.contains("e@t"), "{out}");
        }
        let out = shown("name = 1 # ://u:abc@h", Problem::at(0..4, "m"));
        assert!(out.contains("name = 1 # ://u:***@h\n"), "{out}");
        let out = shown("url_env = \"X\"", Problem::at(0..7, "m"));
        assert!(out.contains("url_env = \"X\""), "{out}");
    }

    #[test]
    fn hints_are_near_misses_only() {
        let known = ["isolation", "stage", "name"];
        assert_eq!(
            did_you_mean("isolaton", known).unwrap(),
            "did you mean `isolation`?"
        );
        assert_eq!(did_you_mean("nmae", known).unwrap(), "did you mean `name`?");
        assert_eq!(did_you_mean("colour", known), None);
    }
}
