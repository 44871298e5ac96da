//! Durations and sizes as Postgres' configuration files write them: `250ms`, `30s`, `8h`, `64MB`.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30)];

/// A duration in a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A number of bytes in a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// The size that `text` says; None if it says none.
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, &SIZE_UNITS).map(Self)
    }
}

impl Span {
    /// The duration that `text` says; None if it says none.
    pub fn parse(text: &str) -> Option<Self> {
        let milliseconds = parse(text, &DURATION_UNITS)?;
        Some(Self(Duration::from_millis(milliseconds)))
    }
}

/// In the largest unit that needs no fraction: `90min`, `1h`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let mut units = DURATION_UNITS.iter().rev();
        let fits = |factor: u64| milliseconds >= factor && milliseconds.is_multiple_of(factor);
        match units.find(|(_, factor)| fits(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", milliseconds / factor),
            None => f.write_str("0ms"),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is not a duration, expected a whole number and a unit: ms, s, min, h or d"
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is not a size, expected a whole number and a unit: B, kB, MB or GB (of 1024)"
            ))
        })
    }
}

/// A whole number followed by one of `units`, with or without a space between; None also on overflow.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units
        .iter()
        .find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("30 s", Some(30_000)),
            ("5min", Some(300_000)),
            ("8h", Some(28_800_000)),
            ("1d", Some(86_400_000)),
            ("0ms", Some(0)),
            ("30", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("5m", None),
            ("30sec", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("é", None),
        ] {
            assert_eq!(parse(text, &DURATION_UNITS), expected, "{text:?}");
        }
    }

    #[test]
    fn a_duration_is_written_in_the_largest_unit_that_fits() {
        for (seconds, expected) in [(3_600, "1h"), (5_400, "90min"), (86_400, "1d"), (61, "61s")] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), expected);
        }
        assert_eq!(Span(Duration::from_millis(1_500)).to_string(), "1500ms");
        assert_eq!(Span(Duration::ZERO).to_string(), "0ms");
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("16B", Some(16)),
            ("8kB", Some(8192)),
            ("64MB", Some(64 << 20)),
            ("1GB", Some(1 << 30)),
            ("64", None),
            ("64mb", None),
        ] {
            assert_eq!(parse(text, &SIZE_UNITS), expected, "{text:?}");
        }
    }
}
