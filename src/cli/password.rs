//! Where a password comes from.

use std::io::{self, BufRead, IsTerminal, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::Failure;

/// Random bytes of a generated password: 144 bits, 24 characters, none of which a URL must escape.
const GENERATED_BYTES: usize = 18;

/// The longest password that is read, in bytes.
const MAX_PASSWORD: u64 = 1_024;

/// Where a password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Made here.
    Generated,
    /// Asked for twice, not shown.
    Terminal,
    /// The first line of standard input.
    Stdin,
}

/// A password that is not empty.
pub(super) fn obtain(source: Source) -> anyhow::Result<String> {
    match source {
        Source::Generated => Ok(generate()),
        Source::Stdin => checked(read_line(io::stdin().lock())?),
        Source::Terminal => ask(),
    }
}

fn generate() -> String {
    let mut bytes = [0u8; GENERATED_BYTES];
    rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn ask() -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            "standard input is no terminal",
            "`--password-stdin` reads a password from a pipe",
        )
        .into());
    }
    let first = ask_once("password: ")?;
    let second = ask_once("again: ")?;
    if first != second {
        anyhow::bail!("the two are not the same");
    }
    checked(first)
}

fn ask_once(prompt: &str) -> anyhow::Result<String> {
    let quiet = NoEcho::start()?;
    let mut terminal = io::stderr().lock();
    write!(terminal, "{prompt}")?;
    terminal.flush()?;
    let line = read_line(io::stdin().lock());
    drop(quiet);
    writeln!(terminal)?;
    line
}

/// The terminal shows nothing of what is typed while this lives.
struct NoEcho(rustix::termios::Termios);

impl NoEcho {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn read_line(input: impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    input.take(MAX_PASSWORD + 2).read_line(&mut line)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn checked(password: String) -> anyhow::Result<String> {
    anyhow::ensure!(!password.is_empty(), "a password may not be empty");
    anyhow::ensure!(
        password.len() as u64 <= MAX_PASSWORD,
        "a password may have {MAX_PASSWORD} bytes at most"
    );
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passwords_fit_into_a_url_and_differ() {
        let (one, two) = (generate(), generate());
        assert_eq!(one.len(), 24);
        assert_ne!(one, two);
        assert!(
            one.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
    }

    #[test]
    fn one_line_is_read() {
        for (input, expected) in [
            ("s3cret\nmore\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            (" with spaces ", " with spaces "),
            ("", ""),
        ] {
            assert_eq!(read_line(input.as_bytes()).unwrap(), expected);
        }
        let long = "x".repeat(5_000);
        assert!(checked(read_line(long.as_bytes()).unwrap()).is_err());
        assert!(checked(String::new()).is_err());
        assert!(checked("x".repeat(1_024)).is_ok());
    }
}
