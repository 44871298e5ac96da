//! What a developer may say to the console.

use crate::error::{Refusal, SqlState};

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    ShowUpstreams,
    ShowSandboxes,
    ShowClients,
    ShowLocks,
    ShowBudgets,
    ResetSandbox {
        name: String,
        upstream: Option<String>,
    },
    /// Said by drivers and pools, not by people; answered, and nothing else.
    Ping,
    Begin,
    Commit,
    Rollback,
    Set,
    DiscardAll,
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
        (["reset", "sandbox", _], [_, _, Token::Name(name)]) => Command::ResetSandbox {
            name: name.clone(),
            upstream: None,
        },
        (["reset", "sandbox", _, "on", _], [_, _, Token::Name(name), _, Token::Name(upstream)]) => {
            Command::ResetSandbox {
                name: name.clone(),
                upstream: Some(upstream.clone()),
            }
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
        Command::ResetSandbox {
            name: name.to_owned(),
            upstream: upstream.map(str::to_owned),
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
            ("RESET SANDBOX feature-x", &[reset("feature-x", None)]),
            (
                "reset sandbox \"A \"\"b\"\";\" on shop",
                &[reset("A \"b\";", Some("shop"))],
            ),
            ("RESET SANDBOX 'é' ON 'x'", &[reset("é", Some("x"))]),
            ("RESET SANDBOX on ON on", &[reset("on", Some("on"))]),
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
            "SHOW",
            "SHOW SANDBOXES x",
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
