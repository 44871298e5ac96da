//! From SQL text to what is done with it: decided once per text, then carried as data.
//!
//! A [`Plan`] says whether a statement is forwarded, answered by the proxy, or refused. Only a plan can make
//! a [`Sendable`], the only form in which a client's text reaches an upstream, and none is made of a
//! transaction command.

mod cache;
pub mod redirect;
mod redirected;
mod touched;
mod truncate;

pub use cache::PlanCache;
pub use redirected::{RETURNING, Redirected};
pub use touched::Touched;

use crate::error::{Refusal, SqlState};
use crate::sandbox::advisory;
use crate::sql::edit::{Edit, Edits, Rewritten};
use crate::sql::statement::{
    AdvisoryCall, Copy, Kind, LockMode, NotifyCall, SetValue, Statement, Transaction,
};
use crate::sql::{classify, rewrite};
use redirected::Redirects;
use std::sync::Arc;
use touched::Touches;

/// What is done with one statement.
#[derive(Debug)]
pub struct Plan {
    /// The client's own text, or what it was redirected to.
    pub text: String,
    /// What it is.
    pub statement: Statement,
    /// What is done.
    pub action: Action,
    edits: Vec<Edit>,
    /// Back to the client's text, where this one was redirected.
    back: Option<Arc<Rewritten>>,
    redirects: Redirects,
    touches: Touches,
}

/// See [`Plan`].
#[derive(Debug)]
pub enum Action {
    /// EmptyQueryResponse.
    Empty,
    /// A transaction command, answered from the virtual transaction.
    Transaction(Transaction),
    /// It goes to the upstream.
    Forward(Forward),
    /// An advisory lock: the upstream evaluates the arguments, the proxy locks.
    Advisory(advisory::Call),
    /// `SELECT pg_notify(…)`: the upstream evaluates the arguments, the proxy delivers.
    NotifyCall,
    /// Answered by the proxy, from the statement's kind.
    Emulate,
    /// It does not run.
    Refuse(Refusal),
}

/// How a statement is forwarded.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    /// It may write: the sandbox is armed before, and the work is kept after.
    pub effect: bool,
    /// It reads the time: `devinprod.now` must be set before.
    pub now: bool,
    /// It asks `current_setting` for these, which belong to the virtual transaction: `devinprod.` and the name must be set before.
    pub virtual_settings: Vec<String>,
    /// It may change the schema.
    pub ddl: bool,
    /// It takes no snapshot: transaction modes can still be set after it.
    pub utility: bool,
    /// Settings whose value is read back after it, and whether they were set for the transaction only.
    pub captures: Vec<(String, bool)>,
    /// The tag to answer with, where the text that runs is not the client's. If it ends in a space, the number of the
    /// real tag follows.
    pub tag: Option<&'static str>,
    /// A notice for the client.
    pub notice: Option<Refusal>,
}

/// A client's text as it may be sent: never a transaction command, always one statement.
#[derive(Debug, Clone)]
pub struct Sendable {
    rewritten: Rewritten,
    back: Option<Arc<Rewritten>>,
}

impl Sendable {
    /// The text for the upstream.
    pub fn text(&self) -> &str {
        &self.rewritten.text
    }

    /// An error's position (characters, from 1) in the client's own text.
    pub fn original_position(&self, position: usize) -> usize {
        let position = self.rewritten.original_position(position);
        match &self.back {
            Some(back) => back.original_position(position),
            None => position,
        }
    }
}

impl Plan {
    /// Classifies one statement and decides.
    pub fn new(text: &str) -> Self {
        let statement = classify::classify(text);
        let (action, edits) = decide(text, &statement);
        Self {
            text: text.to_owned(),
            statement,
            action,
            edits,
            back: None,
            redirects: Redirects::default(),
            touches: Touches::default(),
        }
    }

    /// The text to send, with further edits that depend on the session (names) or the catalog. None for what
    /// is never sent.
    pub fn sendable(&self, extra: Vec<Edit>) -> Option<Sendable> {
        match self.action {
            Action::Forward(_) | Action::Advisory(_) | Action::NotifyCall => {}
            Action::Empty | Action::Transaction(_) | Action::Emulate | Action::Refuse(_) => {
                return None;
            }
        }
        let mut edits = Edits::default();
        for edit in self.edits.iter().cloned().chain(extra) {
            // Two edits of one place: the first is the more important one, and the text stays whole.
            let _ = edits.add(edit);
        }
        let rewritten = edits
            .apply(&self.text)
            .or_else(|_| Edits::default().apply(&self.text))
            .ok()?;
        Some(Sendable {
            rewritten,
            back: self.back.clone(),
        })
    }

    /// How it is forwarded, if it is.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }
}

fn decide(text: &str, statement: &Statement) -> (Action, Vec<Edit>) {
    if let Some(refusal) = refused(text, statement) {
        return (Action::Refuse(refusal), Vec::new());
    }
    let effect = || Forward {
        effect: true,
        ..Forward::default()
    };
    let ddl = || Forward {
        effect: true,
        ddl: true,
        ..Forward::default()
    };
    let utility = || Forward {
        utility: true,
        ..Forward::default()
    };
    let mut edits = Vec::new();
    let mut forward = match &statement.kind {
        Kind::Empty => return (Action::Empty, edits),
        Kind::Transaction(command) => return (Action::Transaction(command.clone()), edits),
        Kind::Read => Forward::default(),
        Kind::EffectfulSelect | Kind::Write => effect(),
        // With any other number of arguments there is no such function, and Postgres says so.
        Kind::AdvisoryLock(call) if !has_advisory_arguments(call) => effect(),
        Kind::AdvisoryLock(call) => return advisory(text, call),
        Kind::NotifyCall(call) => return (Action::NotifyCall, vec![notify_edit(text, call)]),
        Kind::Set { name, local, .. } if is_forwarded_setting(name) => Forward {
            captures: vec![(name.clone(), *local)],
            ..utility()
        },
        Kind::Reset(name) if is_forwarded_setting(name) => utility(),
        Kind::Show(name) if is_forwarded_show(name) => utility(),
        // What it prepares matters at EXECUTE.
        Kind::Prepare { .. } => utility(),
        Kind::Execute { .. } => Forward::default(),
        Kind::Declare { hold, .. } => Forward {
            effect: *hold,
            ..Forward::default()
        },
        Kind::Fetch { .. } | Kind::Close(Some(_)) => Forward::default(),
        Kind::Lock { tables, .. } => {
            let names: Vec<_> = tables
                .iter()
                .filter_map(|t| text.get(t.span.clone()))
                .collect();
            edits.push(whole(
                text,
                format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", ")),
            ));
            utility()
        }
        Kind::Truncate {
            tables,
            restart_identity,
            cascade,
        } => {
            edits.push(whole(
                text,
                truncate::as_delete(text, tables, *restart_identity, *cascade),
            ));
            Forward {
                tag: Some("TRUNCATE TABLE"),
                ..effect()
            }
        }
        Kind::SetConstraints { all: false, .. } => utility(),
        Kind::Copy(Copy::FromStdin) => effect(),
        Kind::Copy(Copy::ToStdout { effect: writes }) => Forward {
            effect: *writes,
            ..Forward::default()
        },
        Kind::CreateTable { .. } | Kind::Ddl | Kind::Code => ddl(),
        Kind::Concurrently { keyword, .. } => {
            edits.push(Edit {
                range: keyword.clone(),
                text: String::new(),
            });
            Forward {
                notice: Some(Refusal::notice(
                    "CONCURRENTLY is left out: a sandbox is one transaction",
                )),
                ..ddl()
            }
        }
        Kind::Maintenance => effect(),
        Kind::Set { .. }
        | Kind::Reset(_)
        | Kind::ResetAll
        | Kind::Show(_)
        | Kind::Discard(_)
        | Kind::Deallocate(_)
        | Kind::Close(None)
        | Kind::Notify { .. }
        | Kind::Listen(_)
        | Kind::Unlisten(_)
        | Kind::SetConstraints { all: true, .. }
        | Kind::Vacuum => return (Action::Emulate, edits),
        // `refused` has answered for all of these.
        Kind::Copy(Copy::File | Copy::Program) | Kind::OutsideTransaction(_) | Kind::Unknown => {
            return (
                Action::Refuse(Refusal::error(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "not supported",
                )),
                edits,
            );
        }
    };
    if edits.is_empty() {
        edits = rewrite::now_edits(text);
        forward.now = !edits.is_empty() && !matches!(statement.kind, Kind::Prepare { .. });
        let (found, names) = rewrite::setting_edits(text, &|name| !is_forwarded_show(name));
        edits.extend(found);
        edits.extend(rewrite::restriction_edits(text));
        // What a PREPARE holds runs with EXECUTE.
        if !matches!(statement.kind, Kind::Prepare { .. }) {
            forward.virtual_settings = names;
        }
    }
    forward.captures.extend(
        statement
            .facts
            .set_config
            .iter()
            .filter_map(|call| Some((call.name.clone()?, call.local.unwrap_or(false)))),
    );
    (Action::Forward(forward), edits)
}

/// What does not run at all, and why.
fn refused(text: &str, statement: &Statement) -> Option<Refusal> {
    let position = |at: usize| {
        text.get(..at)
            .map_or(1, |before| before.chars().count() + 1)
    };
    if let Some(name) = &statement.facts.forbidden_function {
        return Some(
            Refusal::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("function {} is not available in a sandbox", name.value),
            )
            .detail("What it does reaches outside of the transaction and would not be undone")
            .position(position(name.span.start)),
        );
    }
    if let Some(place) = &statement.facts.embedded_advisory {
        return Some(
            Refusal::error(
                SqlState::FEATURE_NOT_SUPPORTED,
                "an advisory lock inside of a larger statement is not supported in a sandbox",
            )
            .detail("Advisory locks are kept by the proxy, per client of the sandbox")
            .hint("Take the lock in a statement of its own: SELECT pg_try_advisory_lock(…)")
            .position(position(place.start)),
        );
    }
    for call in &statement.facts.set_config {
        if call.name.as_deref() == Some(CLIENT_ENCODING)
            && let Some(refusal) = call.value.as_deref().and_then(unsafe_encoding)
        {
            return Some(refusal);
        }
    }
    match &statement.kind {
        Kind::Copy(Copy::File | Copy::Program) => Some(
            Refusal::error(SqlState::INSUFFICIENT_PRIVILEGE, "COPY to or from a file or program of the server is not available in a sandbox")
                .hint("Use COPY … FROM STDIN or TO STDOUT, or psql's \\copy"),
        ),
        Kind::OutsideTransaction(what) => Some(
            Refusal::error(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not available in a sandbox"))
                .detail("It cannot run inside a transaction, or reaches beyond this database, and a sandbox is one transaction that is never committed"),
        ),
        Kind::Unknown => {
            let token = crate::sql::lexer::significant(text).first().map(|token| token.span());
            let word = token.clone().and_then(|span| text.get(span)).unwrap_or("");
            Some(
                Refusal::error(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{word}\""))
                    .position(position(token.map_or(0, |span| span.start))),
            )
        }
        Kind::Set { name, value: SetValue::Single(encoding), .. } if name == CLIENT_ENCODING => {
            unsafe_encoding(encoding)
        }
        Kind::Set { name, value, .. } if name == "standard_conforming_strings" => {
            let on = match value {
                SetValue::Single(value) => matches!(value.to_lowercase().as_str(), "on" | "true" | "yes" | "1" | "t" | "y"),
                SetValue::Default => true,
                SetValue::Other => false,
            };
            (!on).then(|| {
                Refusal::error(SqlState::FEATURE_NOT_SUPPORTED, "standard_conforming_strings cannot be turned off through devinprod")
                    .hint("Write E'…' where backslashes are escapes")
            })
        }
        _ => None,
    }
}

/// Refuses the encodings in which a byte of a character may look like a quote or a backslash: the proxy and
/// the server could read the same bytes as different SQL
/// ([Postgres, character sets](https://www.postgresql.org/docs/current/multibyte.html)).
pub fn unsafe_encoding(encoding: &str) -> Option<Refusal> {
    let plain: String = encoding
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase();
    let unsafe_one = [
        "sjis",
        "mskanji",
        "shiftjis",
        "win932",
        "windows932",
        "big5",
        "win950",
        "windows950",
        "gbk",
        "win936",
        "windows936",
        "uhc",
        "win949",
        "windows949",
        "johab",
        "gb18030",
        "shiftjis2004",
        "sjis2004",
    ];
    unsafe_one.contains(&plain.as_str()).then(|| {
        Refusal::error(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("client_encoding {encoding} is not supported through devinprod"),
        )
        .hint("Use UTF8, and convert in the application")
    })
}

/// Settings that the proxy keeps to itself: they would act on the whole sandbox.
pub fn is_virtual_setting(name: &str) -> bool {
    matches!(
        name,
        "transaction_isolation"
            | "transaction_read_only"
            | "transaction_deferrable"
            | "default_transaction_isolation"
            | "default_transaction_read_only"
            | "default_transaction_deferrable"
            | "idle_in_transaction_session_timeout"
            | "idle_session_timeout"
            | "transaction_timeout"
    )
}

fn is_forwarded_setting(name: &str) -> bool {
    !is_virtual_setting(name) && !name.starts_with("devinprod.")
}

fn is_forwarded_show(name: &str) -> bool {
    is_forwarded_setting(name) && name != "in_hot_standby"
}

fn has_advisory_arguments(call: &AdvisoryCall) -> bool {
    match call.function.as_str() {
        "pg_advisory_unlock_all" => call.arguments.is_empty(),
        _ => matches!(call.arguments.len(), 1 | 2),
    }
}

/// The call's arguments are evaluated and left in a setting; the column keeps its name and type.
fn advisory(text: &str, call: &AdvisoryCall) -> (Action, Vec<Edit>) {
    let Some(kind) = advisory::Call::from_name(&call.function) else {
        return (
            Action::Refuse(Refusal::error(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("function {} is not supported in a sandbox", call.function),
            )),
            Vec::new(),
        );
    };
    let ty = if call.arguments.len() == 2 {
        "int4"
    } else {
        "int8"
    };
    let arguments: Vec<String> = call
        .arguments
        .iter()
        .filter_map(|span| text.get(span.clone()))
        .map(|argument| format!("(({argument})::pg_catalog.{ty})::pg_catalog.text"))
        .collect();
    let value = match arguments.len() {
        0 => "'all'".to_owned(),
        _ => format!("coalesce({}, '')", arguments.join(" || ',' || ")),
    };
    let result = if kind.returns_bool() { "true" } else { VOID };
    // The function itself is named where it never runs, so that Postgres says what is wrong with its arguments. All of them are
    // strict: with a NULL among the arguments nothing happens, and the answer is NULL.
    let behind = format!(
        " WHEN pg_catalog.set_config('{ADVISORY}', {value}, false) = '' THEN NULL ELSE {result} END AS {})",
        call.function
    );
    (
        Action::Advisory(kind),
        vec![
            Edit::new(
                call.call.start..call.call.start,
                "(SELECT CASE WHEN false THEN ",
            ),
            Edit::new(call.call.end..call.call.end, behind),
        ],
    )
}

fn notify_edit(text: &str, call: &NotifyCall) -> Edit {
    let argument =
        |span: &std::ops::Range<usize>| text.get(span.clone()).unwrap_or("NULL").to_owned();
    let hex = |argument: String| {
        format!(
            "pg_catalog.encode(pg_catalog.convert_to(coalesce(({argument})::pg_catalog.text, ''), 'UTF8'), 'hex')"
        )
    };
    Edit {
        range: call.call.clone(),
        text: format!(
            "(SELECT CASE WHEN pg_catalog.set_config('{NOTIFY}', {} || ',' || {}, false) IS NULL THEN {} ELSE {} END AS pg_notify)",
            hex(argument(&call.channel)),
            hex(argument(&call.payload)),
            VOID,
            VOID,
        ),
    }
}

const CLIENT_ENCODING: &str = "client_encoding";
/// Where an advisory call leaves its arguments.
pub const ADVISORY: &str = "devinprod.advisory";
/// Where a pg_notify call leaves its arguments, in hex, with a comma between.
pub const NOTIFY: &str = "devinprod.notify";
/// A value of type void.
const VOID: &str = "''::pg_catalog.void";

fn whole(text: &str, replacement: String) -> Edit {
    Edit {
        range: 0..text.len(),
        text: replacement,
    }
}

/// Modes that LOCK TABLE only pretends to take keep others out of the open transaction.
pub fn is_exclusive(mode: LockMode) -> bool {
    mode >= LockMode::ShareUpdateExclusive
}
