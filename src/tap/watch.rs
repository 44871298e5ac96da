//! [`Watch`]: which statement an answer belongs to, from the bytes of both directions. It does no I/O.
//!
//! A client sends ahead of the answers, so what it sent stands in a queue, and each answer is read against the front.
//! After an error the server skips what was sent up to the next Sync, and so does the queue; a ReadyForQuery always
//! brings both back in step.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::{Buf, Bytes};

use super::cut::{Cutter, Piece};
use super::digest::Rows;
use super::execution::{Execution, Outcome, Parameter, Seen};
use crate::sql::split::split;
use crate::wire::backend::Fields;
use crate::wire::frame::Frame;
use crate::wire::frontend::{Frontend, Target};

/// How much of a statement's text is kept, in bytes.
pub const LONGEST_TEXT: usize = 256 * 1024;
/// How many prepared statements or portals of a connection are known at once; then all are forgotten.
const MOST_NAMES: usize = 20_000;

/// One connection, watched.
#[derive(Debug)]
pub struct Watch {
    connection: u64,
    began: Instant,
    from_client: Cutter,
    from_server: Cutter,
    /// Whether the stream could not be read any more.
    lost: bool,
    statements: HashMap<Bytes, Arc<Prepared>>,
    portals: HashMap<Bytes, Portal>,
    queue: VecDeque<Expect>,
    /// The server reads a COPY: it ignores Sync until the data has ended.
    copying_in: bool,
    rows: Rows,
    columns: Option<Arc<[String]>>,
    last_done: Option<Instant>,
    cancel_key: Option<(i32, Bytes)>,
    seen: Vec<Seen>,
}

#[derive(Debug, Default)]
struct Prepared {
    text: Arc<str>,
    types: Vec<u32>,
    /// What a Describe said.
    described_types: OnceLock<Vec<u32>>,
    columns: OnceLock<Arc<[String]>>,
}

#[derive(Debug, Clone)]
struct Portal {
    prepared: Arc<Prepared>,
    parameters: Option<Vec<Parameter>>,
    columns: Arc<OnceLock<Arc<[String]>>>,
}

/// What the server has yet to answer.
#[derive(Debug)]
enum Expect {
    /// A Query of these statements, of which the first so many are done.
    Query {
        statements: Vec<Arc<str>>,
        done: usize,
        sent: Instant,
    },
    Parse(Arc<str>),
    Bind(Arc<str>),
    Describe(Described),
    Execute(Portal, Instant),
    Close,
    Sync,
    Function,
    /// The client's end of a COPY; nothing answers it alone.
    CopyEnd,
}

/// What a Describe spoke of when it was sent; its name may mean something else when the answer comes.
#[derive(Debug)]
enum Described {
    Statement(Arc<Prepared>),
    Portal(Portal),
    Unknown,
}

impl Watch {
    /// A connection that begins; times are counted from `began`.
    pub fn new(connection: u64, began: Instant) -> Self {
        Self {
            connection,
            began,
            from_client: Cutter::new(b"d"),
            from_server: Cutter::new(b"Dd"),
            lost: false,
            statements: HashMap::new(),
            portals: HashMap::new(),
            queue: VecDeque::new(),
            copying_in: false,
            rows: Rows::default(),
            columns: None,
            last_done: None,
            cancel_key: None,
            seen: Vec::new(),
        }
    }

    /// Bytes that the client sent after its startup message. Must be called before the server can have read them.
    pub fn client(&mut self, bytes: &[u8], now: Instant) {
        let mut cutter = std::mem::take(&mut self.from_client);
        let fed = cutter.feed(bytes, |piece| {
            if let Piece::Message { tag, body, whole } = piece {
                self.asked(tag, body, whole, now);
            }
        });
        self.from_client = cutter;
        self.lost |= fed.is_err();
    }

    /// Bytes that the server sent; gives what is known by them.
    pub fn server(&mut self, bytes: &[u8], now: Instant) -> Vec<Seen> {
        let mut cutter = std::mem::take(&mut self.from_server);
        let fed = cutter.feed(bytes, |piece| match piece {
            Piece::Message { tag, body, .. } => self.answered(tag, body, now),
            Piece::Part {
                tag: b'D',
                bytes,
                last,
            } => self.rows.data_row(bytes, last),
            Piece::Part { bytes, last, .. } => self.rows.copy_data(bytes, last),
        });
        self.from_server = cutter;
        self.lost |= fed.is_err();
        std::mem::take(&mut self.seen)
    }

    /// Whether the stream could not be read to its end, so that executions may be missing.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// What a cancel request for the statement that runs needs: process and secret. None if no answer is missing.
    pub fn running(&self) -> Option<(i32, Bytes)> {
        let is_busy = !self.queue.is_empty();
        self.cancel_key.clone().filter(|_| is_busy)
    }

    fn asked(&mut self, tag: u8, body: Bytes, whole: bool, now: Instant) {
        // Passwords and their proofs are not looked at.
        if tag == b'p' {
            return;
        }
        let message = match (
            Frontend::parse(Frame {
                tag,
                body: body.clone(),
            }),
            whole,
        ) {
            (Ok(message), _) => message,
            (Err(_), true) => return,
            (Err(_), false) => return self.asked_too_much(tag, body, now),
        };
        match message {
            Frontend::Query(text) => self.query(&text, now),
            Frontend::Parse { name, text, types } => self.prepare(name, &text, oids(&types)),
            Frontend::Bind {
                portal,
                statement,
                tail,
            } => self.bind(portal, &statement, parameters(tail)),
            Frontend::Describe { target, name } => {
                let described = match target {
                    Target::Statement => {
                        let prepared = self.statements.get(&name).cloned();
                        prepared.map(Described::Statement)
                    }
                    Target::Portal => self.portals.get(&name).cloned().map(Described::Portal),
                };
                let described = described.unwrap_or(Described::Unknown);
                self.queue.push_back(Expect::Describe(described));
            }
            Frontend::Execute { portal, .. } => {
                let portal = self.portals.get(&portal).cloned();
                let portal = portal.unwrap_or_else(Portal::unknown);
                self.queue.push_back(Expect::Execute(portal, now));
            }
            Frontend::Close { target, name } => {
                match target {
                    Target::Statement => drop(self.statements.remove(&name)),
                    Target::Portal => drop(self.portals.remove(&name)),
                }
                self.queue.push_back(Expect::Close);
            }
            Frontend::Sync if self.copying_in => {}
            Frontend::Sync => self.queue.push_back(Expect::Sync),
            Frontend::FunctionCall => self.queue.push_back(Expect::Function),
            Frontend::CopyDone | Frontend::CopyFail(_) => {
                self.copying_in = false;
                self.queue.push_back(Expect::CopyEnd);
            }
            Frontend::CopyData(_) | Frontend::Flush | Frontend::Terminate => {}
        }
    }

    /// A message of which only the beginning was kept.
    fn asked_too_much(&mut self, tag: u8, mut body: Bytes, now: Instant) {
        match tag {
            b'Q' => self.query(&body, now),
            b'P' => {
                let name = string(&mut body);
                self.prepare(name, &body, Vec::new());
            }
            b'B' => {
                let (portal, statement) = (string(&mut body), string(&mut body));
                self.bind(portal, &statement, None);
            }
            _ => {}
        }
    }

    fn query(&mut self, text: &[u8], now: Instant) {
        let text = kept(text);
        let mut statements: Vec<Arc<str>> = split(&text)
            .into_iter()
            .filter_map(|span| text.get(span))
            .map(Into::into)
            .collect();
        if statements.is_empty() {
            statements.push("".into());
        }
        self.queue.push_back(Expect::Query {
            statements,
            done: 0,
            sent: now,
        });
    }

    fn prepare(&mut self, name: Bytes, text: &[u8], types: Vec<u32>) {
        let text: Arc<str> = kept(text).into();
        if self.statements.len() >= MOST_NAMES {
            self.statements.clear();
        }
        let prepared = Prepared {
            text: text.clone(),
            types,
            ..Prepared::default()
        };
        self.statements.insert(name, Arc::new(prepared));
        self.queue.push_back(Expect::Parse(text));
    }

    fn bind(&mut self, portal: Bytes, statement: &Bytes, parameters: Option<Vec<Parameter>>) {
        let prepared = self.statements.get(statement).cloned().unwrap_or_default();
        let text = prepared.text.clone();
        if self.portals.len() >= MOST_NAMES {
            self.portals.clear();
        }
        let bound = Portal {
            prepared,
            parameters,
            columns: Arc::default(),
        };
        self.portals.insert(portal, bound);
        self.queue.push_back(Expect::Bind(text));
    }

    fn answered(&mut self, tag: u8, body: Bytes, now: Instant) {
        while matches!(self.queue.front(), Some(Expect::CopyEnd)) {
            self.queue.pop_front();
        }
        let front = self.queue.front();
        match (tag, front) {
            (b'1', Some(Expect::Parse(_)))
            | (b'2', Some(Expect::Bind(_)))
            | (b'3', Some(Expect::Close)) => drop(self.queue.pop_front()),
            (b't', Some(Expect::Describe(Described::Statement(prepared)))) => {
                let _ = prepared.described_types.set(oids(&body));
            }
            (b'T' | b'n', Some(Expect::Describe(described))) => {
                let columns = match tag {
                    b'T' => column_names(body),
                    _ => Arc::default(),
                };
                let _ = match described {
                    Described::Statement(prepared) => prepared.columns.set(columns),
                    Described::Portal(portal) => portal.columns.set(columns),
                    Described::Unknown => Ok(()),
                };
                self.queue.pop_front();
            }
            (b'T', _) => self.columns = Some(column_names(body)),
            (b'G', _) => self.copy_begins(),
            (b'C' | b'I' | b's', _) => {
                let tag = body.strip_suffix(b"\0").unwrap_or(&body);
                let tag = String::from_utf8_lossy(tag).into_owned();
                self.done(Outcome::Done(tag), now);
            }
            (b'E', _) => {
                let fields = Fields::parse(body);
                self.failed(fields.text(b'C'), fields.text(b'M'), now);
            }
            (b'Z', _) => self.ready(),
            (b'K', _) => {
                let process = body.first_chunk().copied().map(i32::from_be_bytes);
                self.cancel_key = process.map(|process| (process, body.slice(4..)));
            }
            _ => {}
        }
    }

    /// The server ignores each Sync that it reads before the data has ended.
    fn copy_begins(&mut self) {
        let end = self
            .queue
            .iter()
            .position(|expect| matches!(expect, Expect::CopyEnd));
        self.copying_in = end.is_none();
        let mut at = 0;
        let end = end.unwrap_or(usize::MAX);
        self.queue.retain(|expect| {
            at += 1;
            at > end || !matches!(expect, Expect::Sync)
        });
    }

    fn done(&mut self, outcome: Outcome, now: Instant) {
        let asked = match self.queue.front_mut() {
            Some(Expect::Query {
                statements,
                done,
                sent,
            }) => {
                let text = statements.get(*done).cloned();
                *done += 1;
                let asked = Portal::simple(text.unwrap_or_default());
                Some((asked, *sent, true))
            }
            Some(Expect::Execute(..)) => match self.queue.pop_front() {
                Some(Expect::Execute(portal, sent)) => Some((portal, sent, false)),
                _ => None,
            },
            _ => None,
        };
        if let Some((portal, sent, simple)) = asked {
            self.execution(portal, sent, simple, outcome, now);
        }
    }

    fn execution(
        &mut self,
        portal: Portal,
        sent: Instant,
        simple: bool,
        outcome: Outcome,
        now: Instant,
    ) {
        let columns = self.columns.take();
        let columns = columns
            .or_else(|| portal.columns.get().cloned())
            .or_else(|| portal.prepared.columns.get().cloned());
        let names = columns.iter().flat_map(|names| names.iter());
        let result = self.rows.finish(names.map(String::as_str));
        let prepared = &portal.prepared;
        let types = prepared.described_types.get().unwrap_or(&prepared.types);
        let since = self.last_done.map_or(sent, |done| done.max(sent));
        self.last_done = Some(now);
        self.seen.push(Seen::Execution(Box::new(Execution {
            connection: self.connection,
            at: sent.saturating_duration_since(self.began),
            text: prepared.text.clone(),
            simple,
            types: types.clone(),
            parameters: portal.parameters,
            duration: now.saturating_duration_since(since),
            outcome,
            result,
        })));
    }

    fn failed(&mut self, sqlstate: String, message: String, now: Instant) {
        self.copying_in = false;
        if let Some(Expect::Query { .. }) = self.queue.front() {
            return self.done(Outcome::Failed { sqlstate, message }, now);
        }
        // The statement that failed is the next one to be executed, or the one that cannot be prepared.
        let mut found = None;
        while let Some(expect) = self.queue.front() {
            if matches!(
                expect,
                Expect::Sync | Expect::Query { .. } | Expect::Function
            ) {
                break;
            }
            match (self.queue.pop_front(), &found) {
                (Some(Expect::Execute(portal, sent)), None | Some((_, None))) => {
                    found = Some((portal, Some(sent)));
                }
                (Some(Expect::Parse(text) | Expect::Bind(text)), None) => {
                    found = Some((Portal::simple(text), None));
                }
                _ => {}
            }
        }
        match found {
            Some((portal, sent)) => {
                let outcome = Outcome::Failed { sqlstate, message };
                self.execution(portal, sent.unwrap_or(now), false, outcome, now);
            }
            None => self.seen.push(Seen::Error { sqlstate, message }),
        }
    }

    fn ready(&mut self) {
        self.copying_in = false;
        self.columns = None;
        while let Some(expect) = self.queue.pop_front() {
            if matches!(
                expect,
                Expect::Sync | Expect::Query { .. } | Expect::Function
            ) {
                break;
            }
        }
        // What a broken statement left behind belongs to nobody.
        drop(self.rows.finish(std::iter::empty()));
    }
}

impl Portal {
    fn unknown() -> Self {
        Self::simple("".into())
    }

    /// A statement without parameters.
    fn simple(text: Arc<str>) -> Self {
        let prepared = Prepared {
            text,
            ..Prepared::default()
        };
        Self {
            prepared: Arc::new(prepared),
            parameters: Some(Vec::new()),
            columns: Arc::default(),
        }
    }
}

/// At most [`LONGEST_TEXT`] of a text, which may not be UTF-8.
fn kept(text: &[u8]) -> String {
    let text = text.get(..LONGEST_TEXT).unwrap_or(text);
    String::from_utf8_lossy(text.strip_suffix(b"\0").unwrap_or(text)).into_owned()
}

fn string(body: &mut Bytes) -> Bytes {
    let end = memchr::memchr(0, body).unwrap_or(body.len());
    let text = body.split_to(end);
    if body.has_remaining() {
        body.advance(1);
    }
    text
}

/// A count and as many OIDs.
fn oids(tail: &[u8]) -> Vec<u32> {
    let oids = tail.get(2..).unwrap_or_default();
    let (oids, _) = oids.as_chunks::<4>();
    oids.iter().copied().map(u32::from_be_bytes).collect()
}

/// The parameters in a Bind's tail; None for a malformed one.
fn parameters(mut tail: Bytes) -> Option<Vec<Parameter>> {
    let count = tail.try_get_u16().ok()?;
    let mut formats = Vec::new();
    for _ in 0..count {
        formats.push(tail.try_get_u16().ok()?);
    }
    let count = usize::from(tail.try_get_u16().ok()?);
    let mut parameters = Vec::new();
    for at in 0..count {
        let value = match usize::try_from(tail.try_get_i32().ok()?) {
            Ok(length) if length <= tail.len() => Some(tail.split_to(length)),
            Ok(_) => return None,
            Err(_) => None,
        };
        // One format is for all of them, none is text.
        let format = formats.get(at).or(match formats.as_slice() {
            [one] => Some(one),
            _ => None,
        });
        parameters.push(Parameter {
            binary: format == Some(&1),
            value,
        });
    }
    Some(parameters)
}

/// The names in a RowDescription.
fn column_names(mut body: Bytes) -> Arc<[String]> {
    let count = body.try_get_u16().unwrap_or(0);
    let mut names = Vec::new();
    for _ in 0..count {
        let name = string(&mut body);
        if body.len() < 18 {
            break;
        }
        body.advance(18);
        names.push(String::from_utf8_lossy(&name).into_owned());
    }
    names.into()
}

#[cfg(test)]
#[path = "watch/tests.rs"]
mod tests;
