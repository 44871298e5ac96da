//! The startup parameter `options`: command-line switches for the backend, as libpq's PGOPTIONS sends them.

use crate::error::{Refusal, SqlState};

/// Splits `options` into settings, in the order in which they were written: `-c name=value`, `-cname=value`
/// and `--name=value`, with `-` in a name read as `_`.
///
/// White space separates words and a backslash takes the next character as it is, as Postgres'
/// `pg_split_opts` has it. Every other switch of the `postgres` program is refused with 42601: none of
/// them has a meaning for a client of the proxy.
pub fn split_options(options: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut settings = Vec::new();
    let mut words = split_words(options).into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            // The end of the switches; nothing may follow.
            return words
                .next()
                .map_or(Ok(settings), |word| Err(unknown_switch(&word)));
        }
        let (switch, setting) = if let Some(setting) = word.strip_prefix("--") {
            ("--", setting.to_owned())
        } else if word == "-c" {
            let Some(next) = words.next() else {
                return Err(unknown_switch(&word));
            };
            ("-c ", next)
        } else if let Some(setting) = word.strip_prefix("-c") {
            ("-c ", setting.to_owned())
        } else {
            return Err(unknown_switch(&word));
        };
        let Some((name, value)) = setting.split_once('=') else {
            let message = format!("{switch}{setting} requires a value");
            return Err(Refusal::fatal(SqlState::SYNTAX_ERROR, message));
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn unknown_switch(word: &str) -> Refusal {
    let message = format!("invalid command-line argument for server process: {word}");
    Refusal::fatal(SqlState::SYNTAX_ERROR, message)
        .hint("Use -c name=value or --name=value in the connection's options")
}

fn split_words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = options.chars().peekable();
    loop {
        while rest.next_if(|c| is_space(*c)).is_some() {}
        if rest.peek().is_none() {
            return words;
        }
        let mut word = String::new();
        while let Some(c) = rest.next_if(|c| !is_space(*c)) {
            if c == '\\' {
                // A backslash at the very end escapes nothing and is dropped.
                word.extend(rest.next());
            } else {
                word.push(c);
            }
        }
        words.push(word);
    }
}

/// C's `isspace` in the C locale.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(split_options(options).unwrap(), expected, "{options:?}");
    }

    fn check_refused(options: &str, message: &str) {
        let refusal = split_options(options).unwrap_err();
        assert_eq!(refusal.sqlstate, SqlState::SYNTAX_ERROR, "{options:?}");
        assert_eq!(refusal.message, message, "{options:?}");
    }

    #[test]
    fn settings_in_every_spelling() {
        check("", &[]);
        check(" \t\n", &[]);
        check("-c a=b", &[("a", "b")]);
        check("  -c   a=b  ", &[("a", "b")]);
        check("-ca=b", &[("a", "b")]);
        check("--a=b", &[("a", "b")]);
        check("--search-path=x-y", &[("search_path", "x-y")]);
        check("-c a=1 --b=2 -cc=3", &[("a", "1"), ("b", "2"), ("c", "3")]);
        check(
            "-c devinprod.sandbox=feature-x",
            &[("devinprod.sandbox", "feature-x")],
        );
        check("-c a=b --", &[("a", "b")]);
        check("-c a=", &[("a", "")]);
        check("-c a=b=c", &[("a", "b=c")]);
    }

    #[test]
    fn backslashes_escape_white_space_and_themselves() {
        check(r"-c a=b\ c", &[("a", "b c")]);
        check(r"-c a=b\\c", &[("a", r"b\c")]);
        check(r"-c a=b\\ -c d=e", &[("a", r"b\"), ("d", "e")]);
        check(r"-c a=\é", &[("a", "é")]);
        check(r"-c a=b\", &[("a", "b")]);
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        check_refused("-c a", "-c a requires a value");
        check_refused("--a", "--a requires a value");
        check_refused("-c", "invalid command-line argument for server process: -c");
        check_refused(
            "-- x",
            "invalid command-line argument for server process: x",
        );
        check_refused(
            "-S 64",
            "invalid command-line argument for server process: -S",
        );
        check_refused(
            "word",
            "invalid command-line argument for server process: word",
        );
    }
}
