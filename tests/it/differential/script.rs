//! Case files: transcripts of protocol messages as text.
//!
//! ```text
//! == the name of a case
//! connect: client_encoding=LATIN1
//! allow: why the proxy may differ here
//!   + NoticeResponse NOTICE 00000: a line that only the proxy answers, `*` at its end stands for anything
//!   - a line that only Postgres answers
//! allow masked: the same, where the tables are read through masks
//! Query SELECT 1;
//!   a line that begins with white space continues the one before
//! Parse s1 (23): SELECT $1          Parse: SELECT 1 is the unnamed one; the types are optional
//! Bind p1 s1: 1 | NULL              `-` stands for the unnamed portal or statement
//! Bind/binary p1 s1: 1              the results in binary
//! Describe S s1                     Execute p1 2          Close P p1          Sync
//! Flush C                           sends, and reads up to the first of these types, or an error
//! Extended SELECT $1::int | 1       unnamed Parse, Bind, Describe, Execute and Sync in one flush
//! CopyData 1\tone\n                 CopyDone              CopyFail the reason
//! client b                          what follows is said by another connection
//! Wait A                            reads up to the first of these types
//! ```
//!
//! A Query, a Sync, and a CopyDone or CopyFail that ends a simple COPY send what is queued and read up to
//! ReadyForQuery or CopyInResponse.

/// One transcript.
#[derive(Debug, Clone)]
pub struct Case {
    /// The line behind `==`.
    pub name: String,
    /// Startup parameters.
    pub parameters: Vec<(String, String)>,
    /// Differences that are known and wanted.
    pub allowances: Vec<Allowance>,
    /// What is said, each as it stands in the file.
    pub steps: Vec<(String, Step)>,
}

/// A line that only one side answers, in this case only.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// True: the proxy; false: Postgres.
    pub proxy: bool,
    /// Only where the tables are read through masks.
    pub masked: bool,
    /// The line, or its beginning if it ends in `*`.
    pub pattern: String,
}

/// One thing that a client does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Step {
    Client(char),
    Query(Vec<u8>),
    Parse {
        name: String,
        types: Vec<u32>,
        sql: String,
    },
    Bind {
        portal: String,
        statement: String,
        values: Vec<Option<String>>,
        binary: bool,
    },
    Describe(u8, String),
    Execute(String, i32),
    Close(u8, String),
    Extended(String, Vec<Option<String>>),
    Sync,
    Flush(Vec<u8>),
    Wait(Vec<u8>),
    CopyData(Vec<u8>),
    CopyDone,
    CopyFail(String),
}

/// Reads a case file; panics with the line that is wrong.
pub fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in joined(text) {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case {
                name: name.to_owned(),
                parameters: Vec::new(),
                allowances: Vec::new(),
                steps: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().expect("a case begins with ==");
        if let Some(pair) = line.strip_prefix("connect: ") {
            let (name, value) = pair.split_once('=').expect("name=value");
            case.parameters.push((name.to_owned(), value.to_owned()));
        } else if let Some((masked, allowed)) = line
            .strip_prefix("allow: ")
            .map(|allowed| (false, allowed))
            .or_else(|| Some((true, line.strip_prefix("allow masked: ")?)))
        {
            let mut lines = allowed.split('\n');
            let reason = lines.next().unwrap_or_default();
            assert!(
                !reason.trim().is_empty(),
                "{}: allow without a reason",
                case.name
            );
            case.allowances
                .extend(lines.map(|line| allowance(line, masked)));
        } else {
            let step = step(&line);
            case.steps.push((line, step));
        }
    }
    assert!(!cases.is_empty());
    cases
}

fn allowance(line: &str, masked: bool) -> Allowance {
    let (sign, pattern) = line.trim_start().split_at(2);
    assert!(matches!(sign, "+ " | "- "), "not an allowance: {line}");
    Allowance {
        proxy: sign == "+ ",
        masked,
        pattern: pattern.to_owned(),
    }
}

/// The lines, without comments and empty ones; continued lines are joined by a line break.
fn joined(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some(last) if line.starts_with(' ') => {
                last.push('\n');
                last.push_str(line.trim());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn step(line: &str) -> Step {
    let (verb, rest) = line.split_once([' ', '\n']).unwrap_or((line, ""));
    let (verb, rest) = match verb.strip_suffix(':') {
        Some(verb) => (verb, &line[verb.len()..]),
        None => (verb, rest),
    };
    let words = || rest.split_whitespace().map(unnamed).collect::<Vec<_>>();
    let word = |index: usize| words().get(index).cloned().unwrap_or_default();
    let kind = || word(0).bytes().next().expect("S or P");
    match verb {
        "client" => Step::Client(rest.chars().next().expect("a letter")),
        "Query" => Step::Query(unescape(rest)),
        "Parse" => {
            let (head, sql) = rest.split_once(':').expect("Parse name: sql");
            let (name, types) = head.split_once('(').unwrap_or((head, ")"));
            Step::Parse {
                name: unnamed(name.trim()),
                types: types
                    .trim_end_matches([')', ' '])
                    .split(',')
                    .filter_map(|oid| oid.parse().ok())
                    .collect(),
                sql: sql.trim_start().to_owned(),
            }
        }
        "Bind" | "Bind/binary" => {
            let (head, tail) = rest.split_once(':').unwrap_or((rest, ""));
            let mut names = head.split_whitespace().map(unnamed);
            Step::Bind {
                portal: names.next().unwrap_or_default(),
                statement: names.next().unwrap_or_default(),
                values: values(tail),
                binary: verb == "Bind/binary",
            }
        }
        "Describe" => Step::Describe(kind(), word(1)),
        "Close" => Step::Close(kind(), word(1)),
        "Execute" => Step::Execute(word(0), word(1).parse().unwrap_or(0)),
        "Extended" => {
            let (sql, tail) = rest.split_once(" | ").unwrap_or((rest, ""));
            Step::Extended(sql.to_owned(), values(tail))
        }
        "Sync" => Step::Sync,
        "Flush" => Step::Flush(rest.bytes().collect()),
        "Wait" => Step::Wait(rest.bytes().collect()),
        "CopyData" => Step::CopyData(unescape(rest)),
        "CopyDone" => Step::CopyDone,
        "CopyFail" => Step::CopyFail(rest.to_owned()),
        _ => panic!("no such step: {line}"),
    }
}

fn unnamed(name: &str) -> String {
    if name == "-" {
        String::new()
    } else {
        name.to_owned()
    }
}

fn values(text: &str) -> Vec<Option<String>> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    text.split('|')
        .map(str::trim)
        .map(|value| (value != "NULL").then(|| value.to_owned()))
        .collect()
}

/// `\n`, `\t`, `\\` and `\xHH`; any other backslash is itself.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, used) = match (first, tail) {
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'\\', ..]) => (b'\\', 2),
            (b'\\', [b'x', high, low, ..]) => {
                let hex = String::from_utf8(vec![*high, *low]).unwrap();
                (u8::from_str_radix(&hex, 16).unwrap(), 4)
            }
            (byte, _) => (*byte, 1),
        };
        out.push(byte);
        rest = &rest[used..];
    }
    out
}
