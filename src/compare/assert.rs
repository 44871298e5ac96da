//! Assertions: statements that must return no row, or a single `true`.

use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::sql::split::split;

/// So many rows of a failure are shown.
const SHOWN: usize = 5;

/// An assertion, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// After which run: `A` or `B`.
    pub run: String,
    /// The file, and the number of the statement's line.
    pub place: String,
    /// The statement.
    pub statement: String,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// Why an assertion failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// In words.
    pub why: String,
    /// The columns' names.
    pub columns: Vec<String>,
    /// The first rows.
    pub rows: Vec<Vec<Option<String>>>,
}

/// A file of assertions.
#[derive(Debug, Clone)]
pub struct File {
    /// Its name, as it is shown.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Checks each statement of a file; `client` is in the sandbox that they are about.
pub async fn check(client: &Client, run: &'static str, file: &File) -> Vec<Checked> {
    let mut checked = Vec::new();
    for span in split(&file.text) {
        let before = file.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let statement = file.text.get(span).unwrap_or_default();
        let failure = match returned(client, statement).await {
            Ok(failure) => failure,
            Err(error) => {
                let why = match error.as_db_error() {
                    Some(error) => format!("{} ({})", error.message(), error.code().code()),
                    None => error.to_string(),
                };
                Some(Failure {
                    why,
                    columns: Vec::new(),
                    rows: Vec::new(),
                })
            }
        };
        checked.push(Checked {
            run: run.to_owned(),
            place: format!("{}:{line}", file.name),
            statement: statement.to_owned(),
            failure,
        });
    }
    checked
}

/// What is wrong with a statement's answer.
async fn returned(
    client: &Client,
    statement: &str,
) -> Result<Option<Failure>, tokio_postgres::Error> {
    let prepared = client.prepare(statement).await?;
    let columns = prepared.columns();
    let is_bool = matches!(columns, [only] if *only.type_() == Type::BOOL);
    let mut failure = Failure {
        why: String::new(),
        columns: columns.iter().map(|c| c.name().to_owned()).collect(),
        rows: Vec::new(),
    };
    let mut count = 0_usize;
    for message in client.simple_query(statement).await? {
        if let SimpleQueryMessage::Row(row) = message {
            count += 1;
            if count <= SHOWN {
                let cells = (0..row.len()).map(|at| row.get(at).map(str::to_owned));
                failure.rows.push(cells.collect());
            }
        }
    }
    let first = failure.rows.first().and_then(|row| row.first());
    let first = first.and_then(Option::as_deref);
    failure.why = match (count, is_bool, first) {
        (0, ..) | (1, true, Some("t")) => return Ok(None),
        (1, true, _) => "it is not true".to_owned(),
        (1, ..) => "1 row".to_owned(),
        (count, ..) => format!("{count} rows"),
    };
    Ok(Some(failure))
}
