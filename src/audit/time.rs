//! A point in time as text.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;

/// Displays a time as RFC 3339 in UTC with microseconds; what lies before 1970 reads as 1970.
#[derive(Debug, Clone, Copy)]
pub struct Utc(pub SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elapsed = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = civil_date(elapsed.as_secs() / SECONDS_PER_DAY);
        let second = elapsed.as_secs() % SECONDS_PER_DAY;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            second / 3_600,
            second / 60 % 60,
            second % 60,
            elapsed.subsec_micros()
        )
    }
}

/// Milliseconds since 1970; what lies before is 1970.
pub fn milliseconds(time: SystemTime) -> u64 {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a day (`2026-01-31`) or a time in UTC (`2026-01-31T08:30:00Z`, seconds may have decimals) as milliseconds
/// since 1970.
pub fn parse(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.strip_suffix('Z').unwrap_or(time)),
        None => (text, "00:00:00"),
    };
    let numbers = |text: &str, separator| -> Option<[u64; 3]> {
        let parts: Option<Vec<u64>> = text
            .split(separator)
            .map(|part| part.parse().ok())
            .collect();
        parts?.try_into().ok()
    };
    let (whole, decimals) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(whole, ':')?;
    let milliseconds: u64 = format!("{decimals:0<3}").get(..3)?.parse().ok()?;
    if !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let before: u64 = (1970..year).map(|year| 365 + leap_day(year)).sum();
    let days = (before..before + 366).find(|days| civil_date(*days) == (year, month, day))?;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + milliseconds)
}

/// Year, month and day of the Gregorian calendar, counting days from 1970-01-01.
fn civil_date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while days >= 365 + leap_day(year) {
        days -= 365 + leap_day(year);
        year += 1;
    }
    let lengths = [
        31,
        28 + leap_day(year),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// How many leap days a year has.
fn leap_day(year: u64) -> u64 {
    u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_moments() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_709_164_799, "2024-02-28T23:59:59.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(Utc(time).to_string(), expected, "{seconds}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for seconds in [0, 951_782_400, 1_709_164_799, 4_107_542_400] {
            let time = UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + 7);
            assert_eq!(parse(&Utc(time).to_string()), Some(milliseconds(time)));
        }
        assert_eq!(parse("2000-03-01"), Some(951_868_800_000));
        for wrong in [
            "",
            "2001-02-29",
            "2000-13-01",
            "2000-01-01T24:00:00Z",
            "1969-01-01",
            "7d",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut previous = civil_date(0);
        for day in 1..50_000 {
            let next = civil_date(day);
            let (year, month, date) = previous;
            assert!(
                next == (year, month, date + 1)
                    || next == (year, month + 1, 1)
                    || next == (year + 1, 1, 1),
                "{previous:?} then {next:?}"
            );
            previous = next;
        }
    }
}
