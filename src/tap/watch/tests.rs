use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::wire::{backend, frontend};

/// Both sides of a conversation, as bytes.
#[derive(Default)]
struct Talk(BytesMut);

impl Talk {
    fn message(&mut self, tag: u8, body: &[u8]) -> &mut Self {
        self.0.extend_from_slice(&[tag]);
        let length = body.len() as u32 + 4;
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(body);
        self
    }

    fn columns(&mut self, names: &[&str]) -> &mut Self {
        let mut body = (names.len() as u16).to_be_bytes().to_vec();
        for name in names {
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(&[0; 19]);
        }
        self.message(b'T', &body)
    }

    fn row(&mut self, value: &str) -> &mut Self {
        backend::text_row(&mut self.0, value);
        self
    }

    fn complete(&mut self, tag: &str) -> &mut Self {
        backend::command_complete(&mut self.0, tag);
        self
    }

    fn error(&mut self, sqlstate: &str) -> &mut Self {
        let body = format!("SERROR\0C{sqlstate}\0Mno\0\0");
        self.message(b'E', body.as_bytes())
    }

    fn ready(&mut self) -> &mut Self {
        self.message(b'Z', b"I")
    }
}

fn watch() -> Watch {
    Watch::new(1, Instant::now())
}

fn query(text: &str) -> BytesMut {
    let mut out = Talk::default();
    out.message(b'Q', &[text.as_bytes(), b"\0"].concat());
    out.0
}

/// Parse, Bind, Describe, Execute of the unnamed statement; no Sync.
fn extended(text: &str) -> BytesMut {
    let mut out = BytesMut::new();
    frontend::parse(&mut out, b"", text.as_bytes(), frontend::NO_TYPES);
    frontend::bind(&mut out, b"", b"", frontend::NO_PARAMETERS);
    frontend::describe(&mut out, Target::Portal, b"");
    frontend::execute(&mut out, b"", 0);
    out
}

fn sync() -> BytesMut {
    let mut out = BytesMut::new();
    frontend::sync(&mut out);
    out
}

/// What was seen, one line each.
fn lines(seen: &[Seen]) -> Vec<String> {
    let line = |seen: &Seen| match seen {
        Seen::Execution(run) => {
            let columns = run.result.columns.iter().map(|column| column.name.as_str());
            let columns: Vec<&str> = columns.collect();
            let outcome = match &run.outcome {
                Outcome::Done(tag) => tag,
                Outcome::Failed { sqlstate, .. } => sqlstate,
            };
            format!(
                "{} -> {} rows {columns:?} {outcome}",
                run.text, run.result.rows
            )
        }
        Seen::Error { sqlstate, .. } => format!("error {sqlstate}"),
    };
    seen.iter().map(line).collect()
}

#[test]
fn a_query_of_several_statements() {
    let mut watch = watch();
    watch.client(
        &query("SELECT 1; UPDATE t SET a = 1; SELEC"),
        Instant::now(),
    );
    let mut answer = Talk::default();
    answer.columns(&["n"]).row("1").complete("SELECT 1");
    answer.complete("UPDATE 3").error("42601").ready();
    let seen = watch.server(&answer.0, Instant::now());
    assert_eq!(
        lines(&seen),
        [
            "SELECT 1 -> 1 rows [\"n\"] SELECT 1",
            "UPDATE t SET a = 1 -> 0 rows [] UPDATE 3",
            "SELEC -> 0 rows [] 42601",
        ]
    );
}

#[test]
fn a_pipeline_and_an_error_in_it() {
    let mut watch = watch();
    let now = Instant::now();
    let sent = [
        extended("SELECT 1"),
        sync(),
        extended("SELECT 2"),
        extended("SELECT 3"),
        sync(),
        extended("SELECT 4"),
        sync(),
    ];
    watch.client(&sent.concat(), now);
    let mut answer = Talk::default();
    let good = |answer: &mut Talk, name: &str| {
        answer
            .message(b'1', b"")
            .message(b'2', b"")
            .columns(&[name]);
        answer.row("x").complete("SELECT 1");
    };
    good(&mut answer, "one");
    answer.ready();
    // The second cannot be bound: it and the third are not run.
    answer.message(b'1', b"").error("22P02").ready();
    good(&mut answer, "four");
    answer.ready();
    let seen = watch.server(&answer.0, now);
    assert_eq!(
        lines(&seen),
        [
            "SELECT 1 -> 1 rows [\"one\"] SELECT 1",
            "SELECT 2 -> 0 rows [] 22P02",
            "SELECT 4 -> 1 rows [\"four\"] SELECT 1",
        ]
    );
}

#[test]
fn a_named_statement_is_run_again_with_other_parameters() {
    let mut watch = watch();
    let now = Instant::now();
    let mut sent = BytesMut::new();
    frontend::parse(&mut sent, b"s", b"SELECT $1", &[0, 1, 0, 0, 0, 25]);
    frontend::describe(&mut sent, Target::Statement, b"s");
    frontend::sync(&mut sent);
    watch.client(&sent, now);
    let mut answer = Talk::default();
    answer
        .message(b'1', b"")
        .message(b't', &[0, 1, 0, 0, 0, 25]);
    answer.columns(&["name"]).ready();
    assert!(watch.server(&answer.0, now).is_empty());
    let mut questions = Vec::new();
    for value in [&b"a"[..], b"b", b"a"] {
        let mut sent = BytesMut::new();
        let tail = [&[0, 1, 0, 0, 0, 1, 0, 0, 0, 1], value, &[0, 0]].concat();
        frontend::bind(&mut sent, b"", b"s", &tail);
        frontend::execute(&mut sent, b"", 0);
        frontend::sync(&mut sent);
        watch.client(&sent, now);
        let mut answer = Talk::default();
        answer
            .message(b'2', b"")
            .row("x")
            .complete("SELECT 1")
            .ready();
        let seen = watch.server(&answer.0, now);
        let [Seen::Execution(run)] = seen.as_slice() else {
            panic!("{seen:?}");
        };
        assert_eq!(run.types, [25]);
        assert_eq!(run.result.columns[0].name, "name");
        let parameter = &run.parameters.as_ref().unwrap()[0];
        assert_eq!(
            (parameter.binary, parameter.value.as_deref()),
            (false, Some(value))
        );
        questions.push(run.question());
    }
    assert_eq!(questions[0], questions[2]);
    assert_ne!(questions[0], questions[1]);
}

#[test]
fn a_sync_in_the_midst_of_copy_is_ignored_by_the_server() {
    let mut watch = watch();
    let now = Instant::now();
    let mut done = BytesMut::new();
    frontend::copy_data(&mut done, b"1\n");
    frontend::copy_done(&mut done);
    frontend::sync(&mut done);
    let mut begins = Talk::default();
    begins
        .message(b'1', b"")
        .message(b'2', b"")
        .message(b'n', b"")
        .message(b'G', &[0, 0, 0]);
    let mut ends = Talk::default();
    ends.complete("COPY 1").ready();
    let after = |watch: &mut Watch| {
        watch.client(&[extended("SELECT 2"), sync()].concat(), now);
        let mut answer = Talk::default();
        answer
            .message(b'1', b"")
            .message(b'2', b"")
            .columns(&["n"])
            .row("2")
            .complete("SELECT 1")
            .ready();
        lines(&watch.server(&answer.0, now))
    };
    let copy = [extended("COPY t FROM STDIN"), sync()].concat();
    // As libpq does: a Sync behind Execute, and another behind the data.
    watch.client(&copy, now);
    watch.server(&begins.0, now);
    watch.client(&done, now);
    assert_eq!(
        lines(&watch.server(&ends.0, now)),
        ["COPY t FROM STDIN -> 0 rows [] COPY 1"]
    );
    assert_eq!(after(&mut watch), ["SELECT 2 -> 1 rows [\"n\"] SELECT 1"]);
    // All at once, before any answer.
    watch.client(&copy, now);
    watch.client(&done, now);
    watch.server(&begins.0, now);
    assert_eq!(
        lines(&watch.server(&ends.0, now)),
        ["COPY t FROM STDIN -> 0 rows [] COPY 1"]
    );
    assert_eq!(after(&mut watch), ["SELECT 2 -> 1 rows [\"n\"] SELECT 1"]);
}

#[test]
fn an_error_of_no_statement() {
    let mut answer = Talk::default();
    answer.error("57P01");
    assert_eq!(
        lines(&watch().server(&answer.0, Instant::now())),
        ["error 57P01"]
    );
}

proptest! {
    #[test]
    fn nothing_that_passes_makes_it_panic(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..20),
        tags in prop::collection::vec((any::<bool>(), prop::sample::select(b"QPBDECSHdcfpFX123tnTGCIsEZ".to_vec()), prop::collection::vec(any::<u8>(), 0..30)), 0..60),
    ) {
        let mut watch = watch();
        for (client, tag, body) in tags {
            let mut talk = Talk::default();
            talk.message(tag, &body);
            match client {
                true => watch.client(&talk.0, Instant::now()),
                false => drop(watch.server(&talk.0, Instant::now())),
            }
        }
        for (client, bytes) in pieces {
            match client {
                true => watch.client(&bytes, Instant::now()),
                false => drop(watch.server(&bytes, Instant::now())),
            }
        }
    }
}
