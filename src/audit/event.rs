//! [`Event`]: what happened, as plain data.
//!
//! No field may hold a literal value of a statement, a password, or anything else that came from a table.

use std::net::SocketAddr;
use std::time::SystemTime;

use serde::Serialize;

use super::envelope::Envelope;
use super::statement::StatementRecord;

/// One thing that happened. What is not known, or does not apply, is None and is not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When; written as RFC 3339 in UTC, to the microsecond.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub developer: Option<String>,
    /// On which upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// What kind of data the upstream holds: `preprod` and so on, as its configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'static str>,
    /// In which sandbox, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
}

impl Event {
    /// An event that happens now.
    pub fn now(kind: EventKind) -> Self {
        Self {
            time: SystemTime::now(),
            kind,
            developer: None,
            upstream: None,
            stage: None,
            sandbox: None,
            client: None,
        }
    }

    /// Adds who.
    #[must_use]
    pub fn developer(mut self, developer: impl Into<String>) -> Self {
        self.developer = Some(developer.into());
        self
    }

    /// Adds on which upstream.
    #[must_use]
    pub fn upstream(mut self, upstream: impl Into<String>) -> Self {
        self.upstream = Some(upstream.into());
        self
    }

    /// Adds what kind of data the upstream holds.
    #[must_use]
    pub fn stage(mut self, stage: &'static str) -> Self {
        self.stage = Some(stage);
        self
    }

    /// Adds in which sandbox.
    #[must_use]
    pub fn sandbox(mut self, sandbox: impl Into<String>) -> Self {
        self.sandbox = Some(sandbox.into());
        self
    }

    /// Adds from where.
    #[must_use]
    pub fn client(mut self, client: SocketAddr) -> Self {
        self.client = Some(client);
        self
    }

    /// About how many bytes of memory its texts take.
    pub(super) fn size(&self) -> usize {
        let kind = match &self.kind {
            // The shape is shared by all executions of a text; it is counted all the same, as if it were not.
            EventKind::Statement(record) => {
                let values = record.values.as_ref().map_or(0, |values| {
                    let parameters = values.parameters.iter().flatten().map(String::len);
                    values.text.len() + parameters.sum::<usize>()
                });
                values
                    + record.application.len()
                    + record.shape.text.len()
                    + record
                        .shape
                        .relations
                        .iter()
                        .map(String::len)
                        .sum::<usize>()
                    + record
                        .shape
                        .sensitive
                        .iter()
                        .map(String::len)
                        .sum::<usize>()
            }
            EventKind::Refused { message: text, .. }
            | EventKind::ReloadFailed { reason: text }
            | EventKind::SealOpen { what: text }
            | EventKind::Administered { detail: text, .. }
            | EventKind::Gate { why: text, .. } => text.len(),
            EventKind::Evidence { envelope, .. } => envelope.size(),
            _ => 0,
        };
        let names = [&self.developer, &self.upstream, &self.sandbox];
        kind + names.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

/// What happened; written as `"event": "sandbox_begun"` and so on, with its fields beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The proxy accepts clients.
    Started,
    /// The proxy ends.
    Stopped,
    /// The configuration was read again and taken in.
    Reloaded,
    /// The configuration was read again and refused; the old one stays.
    ReloadFailed {
        /// What is wrong with it.
        reason: String,
    },
    /// One statement of a client.
    Statement(Box<StatementRecord>),
    /// A client logged in.
    ClientConnected,
    /// A client is gone.
    ClientDisconnected,
    /// A client did not prove who it is.
    AuthenticationFailed,
    /// A sandbox got its upstream transaction.
    SandboxBegun,
    /// A sandbox's upstream transaction is over; nothing of it was committed.
    SandboxEnded {
        /// Why.
        reason: EndReason,
    },
    /// A client rolled back what another client had been told is committed.
    SandboxTainted,
    /// A developer kept what a sandbox holds under a name.
    SandboxSaved {
        /// The name.
        point: String,
    },
    /// A developer took a sandbox back to a named point.
    SandboxBack {
        /// Its name.
        point: String,
    },
    /// A developer keeps a sandbox against idle time.
    SandboxKept {
        /// For how long, in seconds.
        seconds: u64,
    },
    /// A statement ran inside another client's transaction (`overlap = "join"`).
    Joined,
    /// The proxy refused a connection or a statement.
    Refused {
        /// The SQLSTATE that the client was given.
        sqlstate: String,
        /// The refusal's message.
        message: String,
    },
    /// An upstream's seal no longer holds: its sandboxes end, and none begins.
    SealOpen {
        /// What is wrong with it.
        what: String,
    },
    /// An upstream's seal holds again.
    SealWhole,
    /// The upstream left the transaction that must never end: a promise was nearly broken.
    TransactionLost {
        /// What was seen.
        status: String,
    },
    /// An upstream's policy is another one than before.
    PolicyChanged {
        /// The version in force from now on; None: no policy.
        version: Option<String>,
    },
    /// A budget is nearly used up, and its developer was told.
    BudgetNear {
        /// Which limit, by its words in the policy.
        limit: String,
    },
    /// A budget is used up: what ran into it was cut or refused.
    BudgetExceeded {
        /// Which limit, by its words in the policy.
        limit: String,
    },
    /// The ledger of budgets cannot be reached; the configured choice applies.
    LedgerLost {
        /// What applies meanwhile.
        what: String,
    },
    /// The ledger of budgets can be reached again.
    LedgerBack,
    /// Somebody used a command that changes what others may do or see.
    Administered {
        /// The command, such as `budget grant`.
        command: String,
        /// What it was told; no secret.
        detail: String,
        /// The account of the operating system that ran it.
        account: String,
    },
    /// A developer's command said what a run showed, and the proxy signed that.
    Evidence {
        /// `compare`, `assert` or `rehearse`.
        kind: &'static str,
        /// The commit that it is about, in full.
        commit: String,
        /// Whether it speaks for it.
        passed: bool,
        /// What was signed: a statement of the module `evidence`.
        envelope: Envelope,
    },
    /// Somebody asked whether a change may go on to a stage.
    Gate {
        /// The commit, in full.
        commit: String,
        /// The stage.
        to: String,
        /// Whether it may.
        passed: bool,
        /// What is missing, if something is.
        why: String,
        /// The account of the operating system that asked.
        account: String,
    },
    /// The audit began a log.
    LogBegun {
        /// The log's name, made at random.
        log: String,
        /// The public key that its checkpoints are signed with, base64.
        key: String,
    },
    /// The audit went on with a log that was there.
    LogOpened,
    /// Bytes at the end of the log that are no whole records, left by a power cut, were moved into a file beside it.
    TailSetAside {
        /// The file's name in the log's folder.
        file: String,
        /// How many bytes.
        bytes: u64,
        /// The SHA-256 of these bytes, in hex.
        sha256: String,
    },
    /// Segments that are older than the retention were deleted.
    SegmentsRemoved {
        /// The sequence number of the last record that is gone.
        through: u64,
        /// Its hash, in hex: what the first record that is left is linked to.
        hash: String,
        /// The segments' files.
        files: Vec<String>,
    },
    /// Events are missing here: they came faster than they could be written. Nobody was served meanwhile.
    EventsLost {
        /// How many.
        count: u64,
    },
    /// Checkpoints cannot be brought to their second place; it is tried again.
    SecondPlaceLost {
        /// Why.
        reason: String,
    },
    /// Checkpoints reach their second place again.
    SecondPlaceBack,
    /// The log is not being copied into its database; it is tried again.
    SqlLost {
        /// Why.
        reason: String,
    },
    /// The log is being copied into its database again.
    SqlBack,
    /// Notifications do not reach whom they are for.
    NotifyLost {
        /// The notification's name in the configuration.
        name: String,
        /// Why; no secret.
        reason: String,
    },
    /// Notifications get through again.
    NotifyBack {
        /// The notification's name in the configuration.
        name: String,
    },
}

/// Why a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its developer asked for it.
    Reset,
    /// Nobody used it for `idle_timeout`.
    IdleTimeout,
    /// It reached `max_age`.
    MaxAge,
    /// Others waited for it longer than `block_timeout` while it was idle.
    BlockTimeout,
    /// Its upstream connection broke or was ended by the upstream.
    UpstreamLost,
    /// The upstream was no longer inside the transaction.
    TransactionLost,
    /// It was private to one connection, which is gone.
    ConnectionClosed,
    /// The developer may no longer use the upstream.
    AccessWithdrawn,
    /// The set of exceptions that its developer role belongs to is no longer the developer's.
    ExceptionsWithdrawn,
    /// Code in it set a client_encoding in which its clients' SQL cannot be read safely.
    UnsafeEncoding,
    /// The upstream's seal no longer holds.
    SealOpen,
    /// The proxy stops.
    Shutdown,
}

impl EndReason {
    /// The reason as it stands in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxAge => "max_age",
            Self::BlockTimeout => "block_timeout",
            Self::UpstreamLost => "upstream_lost",
            Self::TransactionLost => "transaction_lost",
            Self::ConnectionClosed => "connection_closed",
            Self::AccessWithdrawn => "access_withdrawn",
            Self::ExceptionsWithdrawn => "exceptions_withdrawn",
            Self::UnsafeEncoding => "unsafe_encoding",
            Self::SealOpen => "seal_open",
            Self::Shutdown => "shutdown",
        }
    }
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&super::time::Utc(*time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event {
            time: UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001),
            ..Event::now(EventKind::SandboxEnded {
                reason: EndReason::IdleTimeout,
            })
        }
        .developer("dev1")
        .upstream("shop")
        .sandbox("default")
        .client(([127, 0, 0, 1], 4711).into());
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"time":"2023-11-14T22:13:20.000001Z","event":"sandbox_ended","reason":"idle_timeout","developer":"dev1","upstream":"shop","sandbox":"default","client":"127.0.0.1:4711"}"#
        );
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let event = Event {
            time: UNIX_EPOCH,
            ..Event::now(EventKind::Started)
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"time":"1970-01-01T00:00:00.000000Z","event":"started"}"#
        );
    }

    #[test]
    fn a_reason_reads_the_same_everywhere() {
        for reason in [
            EndReason::Reset,
            EndReason::IdleTimeout,
            EndReason::MaxAge,
            EndReason::BlockTimeout,
            EndReason::UpstreamLost,
            EndReason::TransactionLost,
            EndReason::ConnectionClosed,
            EndReason::AccessWithdrawn,
            EndReason::ExceptionsWithdrawn,
            EndReason::UnsafeEncoding,
            EndReason::SealOpen,
            EndReason::Shutdown,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
