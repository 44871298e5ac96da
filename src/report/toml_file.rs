//! From a TOML file to a type, going on after an error to find the next one.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::{Problem, Report, did_you_mean};

/// The text of the file; `if_missing` says what to do where there is none.
///
/// # Errors
/// The file cannot be read.
pub fn file(path: &Path, if_missing: &str) -> Result<String, Report> {
    std::fs::read_to_string(path).map_err(|error| {
        let problem = Problem::whole(format!("cannot be read: {error}"));
        let problem = if error.kind() == std::io::ErrorKind::NotFound {
            problem.hint(if_missing)
        } else {
            problem
        };
        Report::new(path, "", &[problem])
    })
}

/// `file` as seen from the folder of the file at `path`, which names it.
pub fn beside(path: &Path, file: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) => folder.join(file),
        None => file.to_owned(),
    }
}

/// What the text says. After an error, what caused it is taken out and the rest is read again, so that
/// one run finds them all; None if nothing usable was left.
pub fn raw<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = errors.iter().map(problem).collect();
    if !problems.is_empty() {
        return (None, problems);
    }
    let span = table.span();
    let mut table = table.into_inner();
    loop {
        let attempt = toml::Spanned::new(span.clone(), table.clone());
        let error = match T::deserialize(Deserializer::from(attempt)) {
            Ok(raw) => return (Some(raw), problems),
            Err(error) => error,
        };
        problems.push(problem(&error));
        let taken_out = error.span().is_some_and(|span| take_out(&mut table, &span));
        if !taken_out {
            return (None, problems);
        }
    }
}

/// An error of the TOML reader in our words.
fn problem(error: &toml::de::Error) -> Problem {
    let message = error.message();
    let mut named = message.split('`').skip(1).step_by(2);
    let hint = named
        .next()
        .and_then(|written| did_you_mean(written, named));
    let message = match message.split_once(", expected") {
        Some((unknown, _)) if message.starts_with("unknown field") && hint.is_some() => {
            unknown.replace("field", "setting")
        }
        _ => message
            .replace("unknown field", "unknown setting")
            .replace("missing field", "missing setting"),
    };
    Problem {
        span: error.span(),
        message,
        hint,
    }
}

/// Removes the key or value that stands at `span`; false if there is none.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let found = table
        .iter()
        .find(|(key, value)| key.span() == *span || value.span() == *span)
        .map(|(key, _)| key.clone());
    if let Some(key) = found {
        return table.remove(&key).is_some();
    }
    table.iter_mut().any(|(_, value)| match value.get_mut() {
        DeValue::Table(table) => take_out(table, span),
        DeValue::Array(array) => take_out_of_array(array, span),
        _ => false,
    })
}

fn take_out_of_array(array: &mut DeArray<'_>, span: &Range<usize>) -> bool {
    if array.iter().any(|value| value.span() == *span) {
        let all = std::mem::replace(array, DeArray::new());
        *array = all
            .into_iter()
            .filter(|value| value.span() != *span)
            .collect();
        return true;
    }
    array.iter_mut().any(|value| match value.get_mut() {
        DeValue::Table(table) => take_out(table, span),
        DeValue::Array(array) => take_out_of_array(array, span),
        _ => false,
    })
}
