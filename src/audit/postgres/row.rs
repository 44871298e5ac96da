//! A line of the log as a row of the table.

use std::error::Error;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use postgres_protocol::types::{date_from_sql, date_to_sql};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::audit::chain::Hash;

/// What a column holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    Day,
    Time,
    List,
    Address,
    Bytes,
}

/// The columns, and where in a line their values stand; those without a place are made here.
const COLUMNS: [(&str, Kind, &str); 30] = [
    ("log", Kind::Text, ""),
    ("sequence", Kind::Number, "/metadata/sequence"),
    ("day", Kind::Day, "/metadata/logged_time"),
    ("logged", Kind::Time, "/metadata/logged_time"),
    ("time", Kind::Time, "/time"),
    ("event", Kind::Text, "/unmapped/event"),
    ("activity", Kind::Text, "/activity_name"),
    ("developer", Kind::Text, "/actor/user/name"),
    ("upstream", Kind::Text, "/database/name"),
    ("stage", Kind::Text, "/unmapped/stage"),
    ("sandbox", Kind::Text, "/unmapped/sandbox"),
    ("client", Kind::Address, "/src_endpoint/ip"),
    ("port", Kind::Number, "/src_endpoint/port"),
    ("application", Kind::Text, "/actor/app_name"),
    ("does", Kind::Text, "/unmapped/does"),
    ("verdict", Kind::Text, "/unmapped/verdict"),
    ("sqlstate", Kind::Text, "/status_code"),
    ("rows", Kind::Number, "/unmapped/rows"),
    ("rows_written", Kind::Number, "/unmapped/rows_written"),
    ("bytes", Kind::Number, "/query_info/bytes"),
    ("duration_us", Kind::Number, "/unmapped/duration_us"),
    ("policy", Kind::Text, "/unmapped/policy"),
    ("fingerprint", Kind::Text, "/query_info/uid"),
    ("statement", Kind::Text, "/query_info/query_string"),
    ("relations", Kind::List, "/unmapped/relations"),
    ("sensitive", Kind::List, "/unmapped/sensitive"),
    ("detail", Kind::Text, ""),
    ("previous", Kind::Bytes, "/unmapped/previous"),
    ("hash", Kind::Bytes, ""),
    ("line", Kind::Text, ""),
];

/// What `detail` leaves out: columns of their own, and what only a verifier reads.
const NO_DETAIL: [&str; 8] = [
    "previous",
    "event",
    "sandbox",
    "stage",
    "clock_behind",
    "checkpoint",
    "signature",
    "envelope",
];

const MILLISECONDS_PER_DAY: u64 = 86_400_000;
/// From 1970-01-01 to 2000-01-01, where Postgres' dates begin.
const DAYS_TO_2000: i32 = 10_957;

/// The columns' names, for a statement.
pub(super) fn names() -> String {
    COLUMNS.map(|(name, ..)| name).join(", ")
}

/// The columns' types, for COPY.
pub(super) fn types() -> Vec<Type> {
    let of = |kind| match kind {
        Kind::Text => Type::TEXT,
        Kind::Number => Type::INT8,
        Kind::Day => Type::DATE,
        Kind::Time => Type::TIMESTAMPTZ,
        Kind::List => Type::TEXT_ARRAY,
        Kind::Address => Type::INET,
        Kind::Bytes => Type::BYTEA,
    };
    COLUMNS.iter().map(|(_, kind, _)| of(*kind)).collect()
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(Option<String>),
    Number(Option<i64>),
    Day(Day),
    Time(SystemTime),
    List(Vec<String>),
    Address(Option<IpAddr>),
    Bytes(Vec<u8>),
}

/// A date, in days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(pub i32);

/// A line, in the order of the columns.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    /// The line's number.
    pub sequence: u64,
    /// When it was written.
    pub day: Day,
    /// Its hash.
    pub hash: Hash,
    cells: Vec<Cell>,
}

impl Copied {
    /// A line of the log of this name; what it has not, or has in another form, is null or empty.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn of(log: &str, line: &[u8]) -> serde_json::Result<Self> {
        let value: Value = serde_json::from_slice(line)?;
        let number = |place: &str| value.pointer(place).and_then(Value::as_u64);
        let text = |place: &str| {
            let text = value.pointer(place).and_then(Value::as_str)?;
            // Postgres' text holds no NUL; no name or statement that came over its protocol does.
            Some(text.replace('\0', "\u{fffd}"))
        };
        let hash = Hash::of(line);
        let logged = number("/metadata/logged_time").unwrap_or(0);
        let day = Day(i32::try_from(logged / MILLISECONDS_PER_DAY).unwrap_or(i32::MAX / 2));
        let cell = |(name, kind, place): &(&str, Kind, &str)| match (*name, kind) {
            ("log", _) => Cell::Text(Some(log.to_owned())),
            ("detail", _) => Cell::Text(detail(&value)),
            ("hash", _) => Cell::Bytes(hash.bytes().to_vec()),
            ("line", _) => Cell::Text(Some(String::from_utf8_lossy(line).into_owned())),
            (_, Kind::Text) => Cell::Text(text(place)),
            (_, Kind::Number) => {
                Cell::Number(number(place).map(|n| i64::try_from(n).unwrap_or(i64::MAX)))
            }
            (_, Kind::Day) => Cell::Day(day),
            (_, Kind::Time) => {
                let since = Duration::from_millis(number(place).unwrap_or(0));
                Cell::Time(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH))
            }
            (_, Kind::List) => Cell::List(list(value.pointer(place))),
            (_, Kind::Address) => Cell::Address(text(place).and_then(|ip| ip.parse().ok())),
            (_, Kind::Bytes) => {
                Cell::Bytes(hex::decode(text(place).unwrap_or_default()).unwrap_or_default())
            }
        };
        Ok(Self {
            sequence: number("/metadata/sequence").unwrap_or(0),
            day,
            hash,
            cells: COLUMNS.iter().map(cell).collect(),
        })
    }

    /// The values, for COPY.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &(dyn ToSql + Sync)> {
        self.cells.iter().map(|cell| cell as &(dyn ToSql + Sync))
    }

    /// The columns in which a row of the table differs from the line.
    pub fn differs(&self, row: &Row) -> Vec<&'static str> {
        let differs = |((at, (name, kind, _)), expected): (_, &Cell)| {
            let there = read(row, at, kind);
            (there.as_ref() != Some(expected)).then_some(name)
        };
        let columns = COLUMNS.iter().copied().enumerate();
        columns.zip(&self.cells).filter_map(differs).collect()
    }
}

/// What a row has in a column; None: nothing that can be read as what it should be.
fn read(row: &Row, at: usize, kind: Kind) -> Option<Cell> {
    Some(match kind {
        Kind::Text => Cell::Text(row.try_get(at).ok()?),
        Kind::Number => Cell::Number(row.try_get(at).ok()?),
        Kind::Day => Cell::Day(row.try_get(at).ok()?),
        Kind::Time => Cell::Time(row.try_get(at).ok()?),
        Kind::List => Cell::List(row.try_get(at).ok()?),
        Kind::Address => Cell::Address(row.try_get(at).ok()?),
        Kind::Bytes => Cell::Bytes(row.try_get(at).ok()?),
    })
}

/// What a record that is no statement says in fields of its own: `name=value`, by name.
fn detail(line: &Value) -> Option<String> {
    let unmapped = line.pointer("/unmapped")?.as_object()?;
    if unmapped.get("event")?.as_str()? == "statement" {
        return None;
    }
    let mut parts: Vec<String> = unmapped
        .iter()
        .filter(|(name, _)| !NO_DETAIL.contains(&name.as_str()))
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}={}", text.replace('\0', "\u{fffd}")),
            None => format!("{name}={value}"),
        })
        .collect();
    parts.sort();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn list(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice);
    let texts = items.unwrap_or_default().iter().filter_map(Value::as_str);
    texts.map(|text| text.replace('\0', "\u{fffd}")).collect()
}

impl ToSql for Cell {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Text(value) => value.to_sql(ty, out),
            Self::Number(value) => value.to_sql(ty, out),
            Self::Day(value) => value.to_sql(ty, out),
            Self::Time(value) => value.to_sql(ty, out),
            Self::List(value) => value.to_sql(ty, out),
            Self::Address(value) => value.to_sql(ty, out),
            Self::Bytes(value) => value.to_sql(ty, out),
        }
    }

    // The columns' types are this module's own; Postgres checks what comes.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSql for Day {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        date_to_sql(self.0 - DAYS_TO_2000, out);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::DATE
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Day {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let day = date_from_sql(raw)?;
        Ok(Self(day.saturating_add(DAYS_TO_2000)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::DATE
    }
}
