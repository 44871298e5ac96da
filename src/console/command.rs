//! What a developer may say to the console.

use std::time::Duration;

use crate::error::{Refusal, SqlState};
use crate::report::units::Span;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    ShowUpstreams,
    ShowSandboxes,
    ShowClients,
    ShowLocks,
    ShowBudgets,
    /// Something is done with one sandbox.
    Sandbox {
        act: SandboxAct,
        name: String,
        upstream: Option<String>,
    },
    ShowPoints,
    /// What a sandbox would have changed.
    ShowDiff {
        name: String,
        upstream: Option<String>,
    },
    /// Evidence is signed and recorded: JSON.
    RecordEvidence(String),
    /// Said by drivers and pools, not by people; answered, and nothing else.
    Ping,
    Begin,
    Commit,
    Rollback,
    Set,
    DiscardAll,
}

/// What can be done with a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxAct {
    /// Everything that it holds is thrown away.
    Reset,
    /// What it holds is kept under a name.
    Save {
        /// The name.
        point: String,
    },
    /// What was done since a point is undone.
    Back {
        /// Its name.
        point: String,
    },
    /// Idle time does not end it for this long; without, not at all.
    Keep {
        /// For how long.
        duration: Option<Duration>,
    },
}

/// The commands of one message; empty if there are none.
///
/// # Errors
/// 42601 if one of them is none: then none of them runs.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, Refusal> {
    tokens(text)?
        .split(|token| *token == Token::Semicolon)
        .filter(|tokens| !tokens.is_empty())
        .map(parse_one)
        .collect()
}

fn parse_one(tokens: &[Token]) -> Result<Command, Refusal> {
    let keywords: Vec<String> = tokens.iter().map(Token::keyword).collect();
    let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
    Ok(match (keywords.as_slice(), tokens) {
        (["help"], _) => Command::Help,
        (["show", "upstreams"], _) => Command::ShowUpstreams,
        (["show", "sandboxes"], _) => Command::ShowSandboxes,
        (["show", "clients"], _) => Command::ShowClients,
        (["show", "locks"], _) => Command::ShowLocks,
        (["show", "budgets"], _) => Command::ShowBudgets,
        (["show", "points"], _) => Command::ShowPoints,
        (["show", "diff", _], [_, _, Token::Name(name)]) => Command::ShowDiff {
            name: name.clone(),
            upstream: None,
        },
        (["show", "diff", _, "on", _], [_, _, Token::Name(name), _, Token::Name(upstream)]) => {
            Command::ShowDiff {
                name: name.clone(),
                upstream: Some(upstream.clone()),
            }
        }
        (
            [verb @ ("reset" | "save" | "return" | "keep"), "sandbox", ..],
            [_, _, Token::Name(name), clauses @ ..],
        ) => with_sandbox(verb, name, clauses).ok_or_else(|| unknown(&keywords))?,
        (["record", "evidence", _], [_, _, Token::Name(claim)]) => {
            Command::RecordEvidence(claim.clone())
        }
        (["select", "1"], _) => Command::Ping,
        (["begin", ..] | ["start", "transaction", ..], _) => Command::Begin,
        (["commit", ..] | ["end", ..], _) => Command::Commit,
        (["rollback", ..] | ["abort", ..], _) => Command::Rollback,
        (["set", _, ..] | ["reset", "all"], _) => Command::Set,
        (["discard", "all"], _) => Command::DiscardAll,
        _ => return Err(unknown(&keywords)),
    })
}

/// What is done with the sandbox `name`; its clauses are a word and a name each.
fn with_sandbox(verb: &str, name: &str, clauses: &[Token]) -> Option<Command> {
    let clauses: Option<Vec<(String, &str)>> = clauses
        .chunks(2)
        .map(|clause| match clause {
            [word @ Token::Name(_), Token::Name(value)] => Some((word.keyword(), value.as_str())),
            _ => None,
        })
        .collect();
    let clauses = clauses?;
    let clauses: Vec<_> = clauses
        .iter()
        .map(|(word, value)| (word.as_str(), *value))
        .collect();
    let (own, upstream) = match *clauses.as_slice() {
        [] => (None, None),
        [("on", upstream)] => (None, Some(upstream)),
        [own] => (Some(own), None),
        [own, ("on", upstream)] => (Some(own), Some(upstream)),
        _ => return None,
    };
    let act = match (verb, own) {
        ("reset", None) => SandboxAct::Reset,
        ("save", Some(("as", point))) => SandboxAct::Save {
            point: point.to_owned(),
        },
        ("return", Some(("to", point))) => SandboxAct::Back {
            point: point.to_owned(),
        },
        ("keep", None) => SandboxAct::Keep { duration: None },
        ("keep", Some(("for", duration))) => SandboxAct::Keep {
            duration: Some(Span::parse(duration)?.0),
        },
        _ => return None,
    };
    Some(Command::Sandbox {
        act,
        name: name.to_owned(),
        upstream: upstream.map(str::to_owned),
    })
}

fn unknown(keywords: &[&str]) -> Refusal {
    let first = keywords.first().copied().unwrap_or_default();
    Refusal::error(
        SqlState::SYNTAX_ERROR,
        "this is not a command of the devinprod console",
    )
    .detail(match first {
        "select" | "insert" | "update" | "delete" | "with" | "table" | "copy" => {
            "There is no data here: the database \"devinprod\" is the proxy itself."
        }
        _ => "The database \"devinprod\" is the proxy itself.",
    })
    .hint("HELP lists the commands")
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A bare word, or what stood in quotes: as written, since sandbox names are not folded.
    Name(String),
    Semicolon,
    Other(char),
}

impl Token {
    fn keyword(&self) -> String {
        match self {
            Self::Name(name) => name.to_ascii_lowercase(),
            Self::Semicolon => ";".to_owned(),
            Self::Other(c) => c.to_string(),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            ';' => (Some(Token::Semicolon), rest.get(1..)),
            '"' | '\'' => {
                let (name, after) = quoted(rest, first)?;
                (Some(Token::Name(name)), Some(after))
            }
            _ if rest.starts_with("--") => (None, rest.split_once('\n').map(|(_, after)| after)),
            _ if rest.starts_with("/*") => (None, rest.split_once("*/").map(|(_, after)| after)),
            _ => match rest.find(|c| !is_name(c)).unwrap_or(rest.len()) {
                0 => (Some(Token::Other(first)), rest.get(first.len_utf8()..)),
                end => {
                    let (name, after) = rest.split_at(end);
                    (Some(Token::Name(name.to_owned())), Some(after))
                }
            },
        };
        tokens.extend(token);
        rest = after.unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$')
}

/// What stands between `quote`s at the start of `text`, and what follows.
fn quoted(text: &str, quote: char) -> Result<(String, &str), Refusal> {
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            name.push(quote);
        } else {
            return Ok((name, text.get(at + 1..).unwrap_or_default()));
        }
    }
    Err(Refusal::error(
        SqlState::SYNTAX_ERROR,
        "a quotation mark is not closed",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::quote_identifier;
    use proptest::prelude::*;

    fn reset(name: &str, upstream: Option<&str>) -> Command {
        act(SandboxAct::Reset, name, upstream)
    }

    fn act(act: SandboxAct, name: &str, upstream: Option<&str>) -> Command {
        Command::Sandbox {
            act,
            name: name.to_owned(),
            upstream: upstream.map(str::to_owned),
        }
    }

    #[test]
    fn points_and_keeping() {
        let point = || "logged in".to_owned();
        let eight_hours = Some(Duration::from_secs(8 * 3600));
        let cases = [
            (
                "SAVE SANDBOX a AS 'logged in'",
                act(SandboxAct::Save { point: point() }, "a", None),
            ),
            (
                "return sandbox a to \"logged in\" on shop",
                act(SandboxAct::Back { point: point() }, "a", Some("shop")),
            ),
            (
                "KEEP SANDBOX as FOR 8h ON on",
                act(
                    SandboxAct::Keep {
                        duration: eight_hours,
                    },
                    "as",
                    Some("on"),
                ),
            ),
            (
                "KEEP SANDBOX a ON shop",
                act(SandboxAct::Keep { duration: None }, "a", Some("shop")),
            ),
            ("SHOW POINTS", Command::ShowPoints),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(vec![expected]), "{text}");
        }
        for text in [
            "SAVE SANDBOX a",
            "SAVE SANDBOX a TO b",
            "RETURN SANDBOX a AS b",
            "KEEP SANDBOX a FOR ever",
            "KEEP SANDBOX a FOR",
            "SAVE SANDBOX a AS b AS c",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn commands() {
        use Command::*;
        let cases: &[(&str, &[Command])] = &[
            ("", &[]),
            (" ; ;", &[]),
            ("-- nothing", &[]),
            ("help", &[Help]),
            ("Show Sandboxes;", &[ShowSandboxes]),
            (
                "/* a;b */ SHOW\nCLIENTS -- c\n;show locks",
                &[ShowClients, ShowLocks],
            ),
            ("SHOW UPSTREAMS", &[ShowUpstreams]),
            ("show Budgets;", &[ShowBudgets]),
            (
                "SHOW DIFF 'Feature x'; show diff on on shop",
                &[
                    ShowDiff {
                        name: "Feature x".to_owned(),
                        upstream: None,
                    },
                    ShowDiff {
                        name: "on".to_owned(),
                        upstream: Some("shop".to_owned()),
                    },
                ],
            ),
            ("RESET SANDBOX feature-x", &[reset("feature-x", None)]),
            (
                "reset sandbox \"A \"\"b\"\";\" on shop",
                &[reset("A \"b\";", Some("shop"))],
            ),
            ("RESET SANDBOX 'é' ON 'x'", &[reset("é", Some("x"))]),
            ("RESET SANDBOX on ON on", &[reset("on", Some("on"))]),
            (
                "record evidence '{\"command\":\"it''s; me\"}'",
                &[RecordEvidence("{\"command\":\"it's; me\"}".to_owned())],
            ),
            ("SELECT 1", &[Ping]),
            (
                "BEGIN ISOLATION LEVEL SERIALIZABLE; COMMIT; ROLLBACK",
                &[Begin, Commit, Rollback],
            ),
            ("SET client_encoding TO 'UTF8'", &[Set]),
            ("DISCARD ALL", &[DiscardAll]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).as_deref(), Ok(*expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_command_names_help() {
        for text in [
            "SELECT * FROM users",
            "RECORD EVIDENCE",
            "RECORD EVIDENCE '{}' '{}'",
            "SHOW",
            "SHOW SANDBOXES x",
            "SHOW DIFF",
            "SHOW DIFF a b",
            "SHOW DIFF a ON",
            "SHOW DIFF (",
            "RESET SANDBOX",
            "RESET SANDBOX a b",
            "HELP; DROP TABLE users",
            "é",
            "(",
        ] {
            let refusal = parse(text).unwrap_err();
            assert_eq!(refusal.sqlstate, SqlState::SYNTAX_ERROR, "{text:?}");
            assert_eq!(refusal.hint.as_deref(), Some("HELP lists the commands"));
        }
        assert!(parse("RESET SANDBOX \"a").is_err());
    }

    proptest! {
        #[test]
        fn any_name_can_be_quoted(name in ".*") {
            let text = format!("RESET SANDBOX {}", quote_identifier(&name));
            prop_assert_eq!(parse(&text).unwrap(), vec![reset(&name, None)]);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
