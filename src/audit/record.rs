//! A line of the log: written from an [`Event`], and read again.
//!
//! The names are those of OCSF's class Datastore Activity
//! ([6005](https://schema.ocsf.io/1.3.0/classes/datastore_activity)); everything that is recorded uses this one class,
//! connections and refused logins too (activity Connect), so that a reader meets one shape. What OCSF has no name
//! for stands in `unmapped`. `schema.json` says it all, and a test holds each kind of record to it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::{Hash, Head};
use super::checkpoint::Signed;
use super::envelope::Envelope;
use super::event::{Event, EventKind};
use super::statement::{Does, StatementRecord, Verdict};
use super::time::{Utc, milliseconds};

/// The JSON schema of a line.
pub const SCHEMA: &str = include_str!("schema.json");

const CLASS: u32 = 6_005;
const OCSF_VERSION: &str = "1.3.0";
/// A line that is longer, in bytes, is written with its texts and lists cut: names and messages are as long as clients
/// like, and a reader must not be made to hold them.
const LONGEST: usize = 256 << 10;
const LONGEST_TEXT: usize = 1 << 10;
const LONGEST_LIST: usize = 30;
/// The version of what stands in `unmapped`, and of the lines' own rules.
const LOG_VERSION: &str = "1";

/// A line as it is written; the fields are OCSF's.
#[derive(Serialize)]
struct Line<'a> {
    metadata: Metadata,
    time: u64,
    time_dt: String,
    class_uid: u32,
    class_name: &'a str,
    category_uid: u32,
    category_name: &'a str,
    activity_id: u32,
    activity_name: &'a str,
    type_uid: u32,
    severity_id: u32,
    severity: &'a str,
    status_id: u32,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    actor: Actor<'a>,
    src_endpoint: Endpoint,
    dst_endpoint: Named<'a>,
    database: Named<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_info: Option<Query<'a>>,
    unmapped: Unmapped<'a>,
}

#[derive(Serialize)]
struct Metadata {
    version: &'static str,
    profiles: [&'static str; 1],
    product: Product,
    log_name: &'static str,
    log_version: &'static str,
    sequence: u64,
    logged_time: u64,
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    vendor_name: &'static str,
}

#[derive(Serialize)]
struct Actor<'a> {
    user: Named<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    app_name: &'a str,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

/// Where a client is; for what no client did, the proxy itself.
#[derive(Serialize)]
#[serde(untagged)]
enum Endpoint {
    Client { ip: IpAddr, port: u16 },
    Proxy { name: &'static str },
}

#[derive(Serialize)]
struct Query<'a> {
    query_string: &'a str,
    uid: &'a str,
    bytes: u64,
}

#[derive(Serialize)]
struct Unmapped<'a> {
    previous: Hash,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_behind: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Statement {
        event: &'static str,
        does: Does,
        verdict: &'static str,
        relations: &'a [String],
        sensitive: &'a [String],
        opaque: bool,
        rows: u64,
        rows_written: u64,
        duration_us: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        policy: Option<&'a str>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        parameters: &'a [Option<String>],
    },
    Checkpoint {
        event: &'static str,
        #[serde(flatten)]
        signed: &'a Signed,
    },
    Other(&'a EventKind),
}

/// A line for this event behind `head`, without a line end; and when it says it was written.
///
/// # Errors
/// None is known.
pub fn event_line(
    event: &Event,
    head: &Head,
    now: SystemTime,
) -> serde_json::Result<(Vec<u8>, u64)> {
    let now = milliseconds(now);
    let logged = head.logged.max(now);
    let (activity_id, activity_name) = activity(&event.kind);
    let (severity_id, severity) = severity(&event.kind);
    let (status_id, status, status_code) = status(&event.kind);
    let statement = match &event.kind {
        EventKind::Statement(record) => Some(&**record),
        _ => None,
    };
    let what = match statement {
        Some(record) => what(record),
        None => What::Other(&event.kind),
    };
    let base = base(head, logged, event.time, what);
    let line = Line {
        activity_id,
        activity_name,
        type_uid: CLASS * 100 + activity_id,
        severity_id,
        severity,
        status_id,
        status,
        status_code,
        duration: statement.map(|record| whole(record.duration.as_millis())),
        actor: Actor {
            user: Named {
                name: event.developer.as_deref().unwrap_or(PROXY),
            },
            app_name: statement.map_or("", |record| &record.application),
        },
        src_endpoint: match event.client {
            Some(client) => Endpoint::Client {
                ip: client.ip(),
                port: client.port(),
            },
            None => Endpoint::Proxy { name: PROXY },
        },
        database: Named {
            name: event.upstream.as_deref().unwrap_or(PROXY),
        },
        table: statement.and_then(only_relation),
        query_info: statement.map(|record| Query {
            query_string: record
                .values
                .as_ref()
                .map_or(&record.shape.text, |values| &values.text),
            uid: &record.shape.fingerprint,
            bytes: record.bytes,
        }),
        unmapped: Unmapped {
            clock_behind: (now < head.logged).then(|| head.logged - now),
            sandbox: event.sandbox.as_deref(),
            stage: event.stage,
            ..base.unmapped
        },
        ..base
    };
    let bytes = serde_json::to_vec(&line)?;
    match bytes.len() <= LONGEST {
        true => Ok((bytes, logged)),
        false => Ok((shortened(&line)?, logged)),
    }
}

/// The line of a checkpoint, without a line end. It is made of the checkpoint alone, so that whoever verifies it can
/// make it again.
///
/// # Errors
/// None is known.
pub fn checkpoint_line(signed: &Signed) -> serde_json::Result<Vec<u8>> {
    let head = signed.checkpoint.head();
    let time = UNIX_EPOCH + Duration::from_millis(head.logged);
    let what = What::Checkpoint {
        event: "checkpoint",
        signed,
    };
    serde_json::to_vec(&base(&head, head.logged, time, what))
}

/// A line behind `head` in which the proxy says something by itself.
fn base<'a>(head: &Head, logged: u64, time: SystemTime, what: What<'a>) -> Line<'a> {
    Line {
        metadata: Metadata {
            version: OCSF_VERSION,
            profiles: ["datetime"],
            product: Product {
                name: "devinprod",
                vendor_name: "devinprod",
            },
            log_name: "devinprod audit",
            log_version: LOG_VERSION,
            sequence: head.next,
            logged_time: logged,
        },
        time: milliseconds(time),
        time_dt: Utc(time).to_string(),
        class_uid: CLASS,
        class_name: "Datastore Activity",
        category_uid: 6,
        category_name: "Application Activity",
        activity_id: 99,
        activity_name: "Checkpoint",
        type_uid: CLASS * 100 + 99,
        severity_id: 1,
        severity: "Informational",
        status_id: 1,
        status: "Success",
        status_code: None,
        duration: None,
        actor: Actor {
            user: Named { name: PROXY },
            app_name: "",
        },
        src_endpoint: Endpoint::Proxy { name: PROXY },
        dst_endpoint: Named { name: PROXY },
        database: Named { name: PROXY },
        table: None,
        query_info: None,
        unmapped: Unmapped {
            previous: head.hash,
            clock_behind: None,
            sandbox: None,
            stage: None,
            what,
        },
    }
}

/// The line with what is long in it cut.
fn shortened(line: &Line) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::to_value(line)?;
    cut(&mut value);
    if let Some(unmapped) = value.get_mut("unmapped").and_then(Value::as_object_mut) {
        unmapped.insert("shortened".to_owned(), true.into());
    }
    serde_json::to_vec(&value)
}

/// Cuts long texts and long lists.
fn cut(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > LONGEST_TEXT => {
            *text = text.chars().take(LONGEST_TEXT).chain(['…']).collect();
        }
        Value::Array(items) => {
            items.truncate(LONGEST_LIST);
            items.iter_mut().for_each(cut);
        }
        Value::Object(fields) => fields.values_mut().for_each(cut),
        _ => {}
    }
}

/// Stands where a developer or an upstream would, in what the proxy did by itself.
const PROXY: &str = "devinprod";

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// OCSF has room for one table; of several, none is better than any.
fn only_relation(record: &StatementRecord) -> Option<Named<'_>> {
    match record.shape.relations.as_slice() {
        [name] => Some(Named { name }),
        _ => None,
    }
}

fn what(record: &StatementRecord) -> What<'_> {
    What::Statement {
        event: "statement",
        does: record.shape.does,
        verdict: match record.verdict {
            Verdict::Done => "done",
            Verdict::Failed { .. } => "failed",
            Verdict::Refused { .. } => "refused",
            Verdict::Cut { .. } => "cut",
        },
        relations: &record.shape.relations,
        sensitive: &record.shape.sensitive,
        opaque: record.shape.opaque,
        rows: record.rows,
        rows_written: record.rows_written,
        duration_us: whole(record.duration.as_micros()),
        policy: record.policy.as_deref(),
        parameters: record
            .values
            .as_ref()
            .map_or(&[], |values| &values.parameters),
    }
}

/// OCSF's `activity_id` and `activity_name`.
fn activity(kind: &EventKind) -> (u32, &'static str) {
    match kind {
        EventKind::Statement(record) => {
            let first = record.shape.text.split_whitespace().next().unwrap_or("");
            let is = |word: &str| first.eq_ignore_ascii_case(word);
            match record.shape.does {
                Does::Read => (4, "Query"),
                Does::Write if is("UPDATE") => (2, "Update"),
                Does::Write if is("DELETE") || is("TRUNCATE") => (7, "Delete"),
                Does::Write if is("INSERT") => (6, "Create"),
                Does::Write => (5, "Write"),
                Does::Define => (99, "Define"),
                Does::Transact => (99, "Transact"),
                Does::Other => (99, "Command"),
            }
        }
        EventKind::ClientConnected | EventKind::AuthenticationFailed => (3, "Connect"),
        EventKind::ClientDisconnected => (99, "Disconnect"),
        EventKind::Refused { .. } => (99, "Refuse"),
        EventKind::Started
        | EventKind::Stopped
        | EventKind::Reloaded
        | EventKind::ReloadFailed { .. }
        | EventKind::PolicyChanged { .. }
        | EventKind::Administered { .. }
        | EventKind::Gate { .. } => (99, "Administer"),
        EventKind::Evidence { .. } => (99, "Evidence"),
        EventKind::SandboxBegun
        | EventKind::SandboxEnded { .. }
        | EventKind::SandboxTainted
        | EventKind::SandboxSaved { .. }
        | EventKind::SandboxBack { .. }
        | EventKind::SandboxKept { .. }
        | EventKind::Joined => (99, "Sandbox"),
        EventKind::SealOpen { .. } | EventKind::SealWhole | EventKind::TransactionLost { .. } => {
            (99, "Seal")
        }
        EventKind::BudgetNear { .. }
        | EventKind::BudgetExceeded { .. }
        | EventKind::LedgerLost { .. }
        | EventKind::LedgerBack => (99, "Budget"),
        EventKind::LogBegun { .. }
        | EventKind::LogOpened
        | EventKind::TailSetAside { .. }
        | EventKind::SegmentsRemoved { .. }
        | EventKind::EventsLost { .. }
        | EventKind::SecondPlaceLost { .. }
        | EventKind::SecondPlaceBack
        | EventKind::SqlLost { .. }
        | EventKind::SqlBack => (99, "Audit"),
        EventKind::NotifyLost { .. } | EventKind::NotifyBack { .. } => (99, "Notify"),
    }
}

/// OCSF's `severity_id` and `severity`.
fn severity(kind: &EventKind) -> (u32, &'static str) {
    match kind {
        EventKind::SealOpen { .. }
        | EventKind::TransactionLost { .. }
        | EventKind::EventsLost { .. } => (5, "Critical"),
        EventKind::TailSetAside { .. } => (4, "High"),
        EventKind::AuthenticationFailed
        | EventKind::BudgetExceeded { .. }
        | EventKind::LedgerLost { .. }
        | EventKind::SecondPlaceLost { .. }
        | EventKind::SqlLost { .. }
        | EventKind::NotifyLost { .. }
        | EventKind::SandboxTainted
        | EventKind::ReloadFailed { .. } => (3, "Medium"),
        EventKind::Refused { .. }
        | EventKind::BudgetNear { .. }
        | EventKind::Gate { passed: false, .. } => (2, "Low"),
        EventKind::Statement(record) => match record.verdict {
            Verdict::Cut { .. } => (3, "Medium"),
            Verdict::Refused { .. } => (2, "Low"),
            Verdict::Done | Verdict::Failed { .. } => (1, "Informational"),
        },
        _ => (1, "Informational"),
    }
}

/// OCSF's `status_id`, `status` and `status_code`, which is the SQLSTATE.
fn status(kind: &EventKind) -> (u32, &'static str, Option<&str>) {
    let code = match kind {
        EventKind::Statement(record) => match &record.verdict {
            Verdict::Done => None,
            Verdict::Failed { sqlstate }
            | Verdict::Refused { sqlstate }
            | Verdict::Cut { sqlstate } => Some(sqlstate.as_str()),
        },
        EventKind::Refused { sqlstate, .. } => Some(sqlstate.as_str()),
        EventKind::AuthenticationFailed => Some("28P01"),
        EventKind::ReloadFailed { .. }
        | EventKind::EventsLost { .. }
        | EventKind::SecondPlaceLost { .. }
        | EventKind::SqlLost { .. }
        | EventKind::NotifyLost { .. }
        | EventKind::Evidence { passed: false, .. }
        | EventKind::Gate { passed: false, .. } => return (2, "Failure", None),
        _ => None,
    };
    match code {
        Some(code) => (2, "Failure", Some(code)),
        None => (1, "Success", None),
    }
}

/// A line that was read: what is needed to verify, search and report. Fields that are not needed are not here.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Record {
    pub metadata: ReadMetadata,
    pub time: u64,
    pub time_dt: String,
    pub activity_name: String,
    pub status: String,
    pub status_code: Option<String>,
    pub actor: ReadActor,
    pub src_endpoint: ReadEndpoint,
    pub database: ReadNamed,
    pub query_info: Option<ReadQuery>,
    pub unmapped: ReadUnmapped,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct ReadMetadata {
    pub sequence: u64,
    pub logged_time: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct ReadActor {
    pub user: ReadNamed,
    #[serde(default)]
    pub app_name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct ReadNamed {
    pub name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct ReadEndpoint {
    pub ip: Option<IpAddr>,
    pub port: Option<u16>,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct ReadQuery {
    pub query_string: String,
    pub uid: String,
    pub bytes: u64,
}

/// What stands in `unmapped`: the fields of each kind of record, as far as they are needed.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct ReadUnmapped {
    pub previous: Hash,
    pub event: String,
    pub sandbox: Option<String>,
    pub stage: Option<String>,
    #[serde(default)]
    pub does: String,
    pub verdict: Option<String>,
    #[serde(default)]
    pub relations: Vec<String>,
    #[serde(default)]
    pub sensitive: Vec<String>,
    #[serde(default)]
    pub rows: u64,
    #[serde(default)]
    pub rows_written: u64,
    pub message: Option<String>,
    pub reason: Option<String>,
    pub command: Option<String>,
    // A log's first line.
    pub log: Option<String>,
    pub key: Option<String>,
    // A note about segments that were removed, or bytes that were set aside.
    pub through: Option<u64>,
    pub hash: Option<Hash>,
    pub file: Option<String>,
    pub bytes: Option<u64>,
    // Evidence.
    pub envelope: Option<Envelope>,
    #[serde(flatten)]
    pub signed: Option<Signed>,
}

impl Record {
    /// Reads a line, without its line end.
    ///
    /// # Errors
    /// It is no record of this log's form.
    pub fn parse(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }
}

#[cfg(test)]
mod tests;
