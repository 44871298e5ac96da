//! Moments as policy files write them: a day, which lasts until its end in UTC, or an instant with its offset.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use toml::Value;
use toml::value::{Datetime, Offset};

/// An instant, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Seconds since 1970-01-01 00:00 UTC.
    seconds: i64,
}

const DAY: i64 = 86_400;

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            seconds: since.map_or(0, |since| {
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
            }),
        }
    }

    /// A TOML date, its end; an offset date-time; either also as a string. None if it is something else.
    pub(super) fn from_toml(value: &Value) -> Option<Self> {
        match value {
            Value::Datetime(datetime) => Self::from_datetime(datetime),
            Value::String(text) => Self::from_datetime(&text.trim().parse().ok()?),
            _ => None,
        }
    }

    fn from_datetime(datetime: &Datetime) -> Option<Self> {
        let date = datetime.date?;
        let day = days(date.year.into(), date.month.into(), date.day.into()) * DAY;
        let within = match (datetime.time, datetime.offset) {
            (None, None) => DAY - 1,
            (Some(time), Some(offset)) => {
                let minutes = match offset {
                    Offset::Z => 0,
                    Offset::Custom { minutes } => i64::from(minutes),
                };
                let seconds = time.second.map_or(0, i64::from);
                i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + seconds - minutes * 60
            }
            _ => return None,
        };
        Some(Self {
            seconds: day + within,
        })
    }
}

/// As Postgres reads a timestamptz: `2027-01-31 23:59:59+00`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}+00"
        )
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. A year is taken to begin in March, so that the day
/// that comes and goes is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let moment = Moment::from_toml(&Value::String(text.to_owned()));
        assert_eq!(
            moment.map(|moment| moment.to_string()).as_deref(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn a_day_lasts_until_its_end() {
        check("2027-01-31", Some("2027-01-31 23:59:59+00"));
        check("2024-02-29", Some("2024-02-29 23:59:59+00"));
        check("1999-12-31", Some("1999-12-31 23:59:59+00"));
    }

    #[test]
    fn an_instant_needs_its_offset() {
        check("2027-01-31T12:00:00+02:00", Some("2027-01-31 10:00:00+00"));
        check("2027-03-01T00:30:00+01:00", Some("2027-02-28 23:30:00+00"));
        check("2027-01-31 12:00:00Z", Some("2027-01-31 12:00:00+00"));
        for wrong in ["2027-01-31T12:00:00", "12:00:00", "soon", "2027-02-30", ""] {
            check(wrong, None);
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in -80_000..80_000 {
            let (y, m, d) = civil(day);
            assert_eq!(days(y, m, d), day);
        }
    }
}
