//! The one file that prints: stdout carries data, stderr carries talk.
//!
//! A reader that went away (`devinprod … | head`) is no reason to panic, so failed writes are dropped.

use std::io::{self, IsTerminal, Write};

/// One line of data, to stdout.
pub fn line(text: impl AsRef<str>) {
    write_line(io::stdout().lock(), text.as_ref());
}

/// One line of talk, to stderr.
pub fn note(text: impl AsRef<str>) {
    write_line(io::stderr().lock(), text.as_ref());
}

/// How far something is, in a line that the next one takes away; nothing where stderr is no terminal.
pub fn progress(done: u64, total: u64) {
    let stderr = io::stderr();
    if stderr.is_terminal() {
        let text = match total.checked_sub(done) {
            None | Some(0) => "\r\x1b[K".to_owned(),
            Some(_) => {
                let percent = 100 * u128::from(done) / u128::from(total);
                let filled = usize::try_from(percent / 5).unwrap_or_default();
                format!("\r[{:<20}] {percent:>3} %", "#".repeat(filled))
            }
        };
        let mut stderr = stderr.lock();
        let _ = stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush());
    }
}

/// Whether lines of data may be coloured: stdout is a terminal, and [NO_COLOR](https://no-color.org) is not set.
pub fn has_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `error: …` and, if there is something to do about it, `hint: …`, to stderr.
pub fn error_with_hint(message: impl AsRef<str>, hint: Option<&str>) {
    write_line(io::stderr().lock(), &error_text(message.as_ref(), hint));
}

fn error_text(message: &str, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("error: {message}\nhint: {hint}"),
        None => format!("error: {message}"),
    }
}

fn write_line(mut stream: impl Write, text: &str) {
    // Flushed at once: a script that waits for a line on a pipe must see it now.
    let _ = writeln!(stream, "{text}").and_then(|()| stream.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_stands_on_its_own_line() {
        assert_eq!(
            error_text("no such role", Some("run setup")),
            "error: no such role\nhint: run setup"
        );
        assert_eq!(error_text("no such role", None), "error: no such role");
    }

    #[test]
    fn a_closed_stream_is_no_panic() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        write_line(Closed, "text");
    }
}
