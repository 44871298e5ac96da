//! What must hold for any input: the fuzz targets and `cargo test` call the same functions.
#![allow(dead_code)]

use std::time::Duration;

use bytes::BytesMut;
use devinprod::plan::Plan;
use devinprod::sql::edit::Edits;
use devinprod::sql::{lexer, rewrite, split};
use devinprod::wire::frame;
use devinprod::wire::frontend::Frontend;
use devinprod::wire::options::split_options;
use devinprod::wire::packet::Packet;
use tokio::time::Instant;

/// The largest message that is taken here, in bytes.
const LIMIT: usize = 4096;

/// A client's bytes after its login: the same messages however they are cut, and none that cannot be parsed
/// or refused.
pub fn framing(data: &[u8]) {
    let mut whole = BytesMut::from(data);
    let mut at_once = Vec::new();
    let ended = loop {
        match frame::take(&mut whole, LIMIT) {
            Ok(Some(frame)) => at_once.push(frame),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let mut buffer = BytesMut::new();
    let mut piece_by_piece = Vec::new();
    let mut failed = None;
    'bytes: for byte in data {
        buffer.extend_from_slice(&[*byte]);
        assert!(buffer.len() <= LIMIT, "more is held than the limit allows");
        loop {
            match frame::take(&mut buffer, LIMIT) {
                Ok(Some(frame)) => piece_by_piece.push(frame),
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break 'bytes;
                }
            }
        }
    }
    assert_eq!(at_once, piece_by_piece, "cut differently");
    assert_eq!(ended, failed, "fails differently");
    for frame in at_once {
        let _ = Frontend::parse(frame);
    }
}

/// A client's first packet, without its length.
pub fn startup(data: &[u8]) {
    if let Some((length, _)) = data.split_first_chunk::<4>() {
        let _ = Packet::body_length(u32::from_be_bytes(*length));
    }
    let deadline = Instant::now() + Duration::from_secs(1);
    let Ok(packet) = Packet::parse(data, deadline) else {
        return;
    };
    assert!(!format!("{packet:?}").is_empty());
    if let Packet::Startup { startup, .. } = packet {
        assert!(!startup.user.is_empty(), "nobody is let in");
        assert!(!startup.user.contains('\0') && !startup.database.contains('\0'));
        if let Some(options) = startup.parameter("options") {
            let _ = split_options(options);
        }
    }
}

/// SQL text: its pieces are in order and whole, nothing that is forwarded has a second statement in it, and
/// nothing that is forwarded begins with a word that could end the transaction.
pub fn sql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut end = 0;
    for span in split::split(text) {
        assert!(
            end <= span.start && span.start < span.end,
            "pieces out of order: {span:?}"
        );
        end = span.end;
        let piece = text.get(span).expect("a piece ends between characters");
        statement(piece);
    }
    // The extended protocol sends the text as it is.
    statement(text);
}

fn statement(text: &str) {
    let mut edits = Edits::new();
    edits
        .extend(rewrite::now_edits(text))
        .expect("edits do not overlap");
    edits.apply(text).expect("edits fit the text");
    let plan = Plan::new(text);
    let Some(sendable) = plan.sendable(Vec::new()) else {
        return;
    };
    let sent = sendable.text();
    assert!(
        split::split(sent).len() <= 1 || split::split(text).len() > 1,
        "a second statement: {sent:?}"
    );
    for position in [1, 2, sent.chars().count() + 1] {
        sendable.original_position(position);
    }
    let tokens = lexer::significant(sent);
    let words: Vec<String> = tokens
        .iter()
        .take(5)
        .map(|token| token.text(sent).to_lowercase())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // Before which SET may say for how long: the same command to Postgres.
    let scoped = match words.as_slice() {
        ["set", "local" | "session", rest @ ..] if rest.first() != Some(&"characteristics") => rest,
        ["set", rest @ ..] => rest,
        _ => &[],
    };
    let ends = match words.as_slice() {
        [
            "commit" | "end" | "rollback" | "abort" | "begin" | "start" | "savepoint" | "release",
            ..,
        ]
        | ["prepare", "transaction", ..] => true,
        _ => match scoped {
            ["session", "characteristics", "as", ..] => true,
            // `transaction` may also be the first word of a setting's name: SET transaction.a = 1.
            ["transaction", next, ..] => !matches!(*next, "=" | "to" | "."),
            _ => false,
        },
    };
    assert!(!ends, "{sent:?} is forwarded");
}
