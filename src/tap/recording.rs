//! A recording: a client's traffic as JSON Lines that one can read.
//!
//! The first line is a [`Header`], each other one a [`Recorded`] statement. By default every value in it, parameters and
//! literals, is a made-up one of the same shape ([`super::mask`]).

use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::execution::{Execution, Outcome, Parameter};
use super::mask::Mask;

/// The version that is written, and read.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub devinprod_recording: u32,
    /// What was recorded, passwords in URLs left out; the program alone where values are made up.
    pub command: String,
    /// Whether the values are the real ones.
    pub keeps_parameters: bool,
}

/// A statement that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When it was sent, in microseconds since the recording began.
    pub at_us: u64,
    /// Which connection, counted from 1.
    pub connection: u64,
    /// The statement.
    pub statement: String,
    /// Whether it came as a simple Query.
    #[serde(default, skip_serializing_if = "is_false")]
    pub simple: bool,
    /// The types of its parameters (OIDs), as far as known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<u32>,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Value>,
    /// The parameters were too large to be recorded; it cannot be replayed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub incomplete: bool,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Rows returned, or written.
    pub rows: u64,
    /// How it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
}

/// A parameter's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// In the type's text form.
    Text(String),
    /// In the type's binary form, in base64.
    Binary(String),
    /// NULL.
    Null,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(value: &bool) -> bool {
    !value
}

impl Recorded {
    /// What passed, its values as the mask makes them, if there is one.
    pub fn of(execution: &Execution, mask: Option<&Mask>) -> Self {
        let values = execution.parameters.iter().flatten().enumerate();
        let parameters = values.map(|(at, parameter)| {
            let type_oid = execution.types.get(at).copied().unwrap_or(0);
            let masked = mask.map(|mask| mask.parameter(parameter, type_oid));
            Value::of(masked.as_ref().unwrap_or(parameter))
        });
        let (sqlstate, affected) = match &execution.outcome {
            Outcome::Done(_) => (None, execution.outcome.affected()),
            Outcome::Failed { sqlstate, .. } => (Some(sqlstate.clone()), None),
        };
        Self {
            at_us: micros(execution.at),
            connection: execution.connection,
            statement: match mask {
                Some(mask) => mask.statement(&execution.text),
                None => execution.text.to_string(),
            },
            simple: execution.simple,
            types: execution.types.clone(),
            parameters: parameters.collect(),
            incomplete: execution.parameters.is_none(),
            duration_us: micros(execution.duration),
            rows: execution.result.rows.max(affected.unwrap_or(0)),
            sqlstate,
        }
    }

    /// Its parameters, as they are sent.
    ///
    /// # Errors
    ///
    /// One is no base64.
    pub fn bound(&self) -> Result<Vec<Parameter>, base64::DecodeError> {
        self.parameters.iter().map(Value::bound).collect()
    }
}

impl Value {
    fn of(parameter: &Parameter) -> Self {
        let Some(value) = &parameter.value else {
            return Self::Null;
        };
        match std::str::from_utf8(value) {
            Ok(text) if !parameter.binary => Self::Text(text.to_owned()),
            _ => Self::Binary(STANDARD.encode(value)),
        }
    }

    fn bound(&self) -> Result<Parameter, base64::DecodeError> {
        let (binary, value) = match self {
            Self::Text(text) => (false, Some(text.as_bytes().to_vec())),
            Self::Binary(text) => (true, Some(STANDARD.decode(text)?)),
            Self::Null => (false, None),
        };
        Ok(Parameter {
            binary,
            value: value.map(Into::into),
        })
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Writes a line.
///
/// # Errors
///
/// Of the file.
pub fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Of the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line}: {source}")]
    Line {
        /// Its number.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no first line, or it is of another version.
    #[error("it does not begin with {{\"devinprod_recording\":{VERSION}, …}}")]
    Header,
}

/// Reads a recording. A last line that was not written to its end, as when the recorder was killed, is left out.
///
/// # Errors
///
/// It is no recording, or cannot be read.
pub fn read(from: impl BufRead) -> Result<(Header, Vec<Recorded>), ReadError> {
    let mut lines = from.lines();
    let header = lines.next().ok_or(ReadError::Header)??;
    let header: Header = serde_json::from_str(&header).map_err(|_| ReadError::Header)?;
    if header.devinprod_recording != VERSION {
        return Err(ReadError::Header);
    }
    let mut recorded = Vec::new();
    let mut lines = lines.enumerate().peekable();
    while let Some((at, text)) = lines.next() {
        match serde_json::from_str(&text?) {
            Ok(line) => recorded.push(line),
            Err(source) if source.is_eof() && lines.peek().is_none() => {}
            Err(source) => {
                let line = at + 2;
                return Err(ReadError::Line { line, source });
            }
        }
    }
    Ok((header, recorded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Recorded {
        Recorded {
            at_us: 5,
            connection: 1,
            statement: "SELECT $1".to_owned(),
            simple: false,
            types: vec![25],
            parameters: vec![
                Value::Text("a".to_owned()),
                Value::Null,
                Value::Binary("AAE=".to_owned()),
            ],
            incomplete: false,
            duration_us: 7,
            rows: 1,
            sqlstate: None,
        }
    }

    fn file() -> String {
        let header = Header {
            devinprod_recording: VERSION,
            command: "x".to_owned(),
            keeps_parameters: true,
        };
        let mut out = Vec::new();
        write_line(&mut out, &header).unwrap();
        write_line(&mut out, &line()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let (_, recorded) = read(file().as_bytes()).unwrap();
        assert_eq!(recorded, [line()]);
        let bound = recorded[0].bound().unwrap();
        assert_eq!(bound[2].value.as_deref(), Some(&[0, 1][..]));
        assert!(bound[2].binary && !bound[0].binary && bound[1].value.is_none());
    }

    #[test]
    fn what_is_no_recording() {
        let half = file() + "{\"at_us\":";
        assert_eq!(read(half.as_bytes()).unwrap().1.len(), 1);
        for (text, expected) in [
            ("", "does not begin"),
            ("{}", "does not begin"),
            (
                &file().replace("recording\":1", "recording\":2"),
                "does not begin",
            ),
            (&(file() + "{}\n"), "line 3: missing field"),
            (&(file() + "{\"at_us\":\n" + &file()), "line 3: EOF"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
