//! The SQL of a masked value, of exactly its column's type.

use super::KEY;
use super::mask::{Mask, NamePart};

/// The column that a mask is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its type as `format_type` writes it, domains resolved to their base type: `character varying(254)`.
    pub sql_type: String,
    /// The labels, if it is an enum.
    pub labels: Vec<String>,
    /// No two rows have the same value: it alone is a key.
    pub unique: bool,
}

/// A mask that cannot make values of a column's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

/// What masks tell apart of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Text of any length, or of so many characters at most.
    Text(Option<u32>),
    /// An integer, up to this.
    Integer(i64),
    /// A numeric: digits before and behind the point, if they are set.
    Numeric(Option<(u32, u32)>),
    /// real or double precision.
    Float,
    Money,
    Date,
    Timestamp,
    Other,
}

impl Mask {
    /// SQL that makes a synthetic value of `column`'s type from `value`, the SQL of the real one; NULL stays NULL.
    ///
    /// The SQL names everything with its schema, and reads the key by [`KEY`].
    ///
    /// # Errors
    /// [`Unfit`] if there is no such value of that type.
    pub fn expression(&self, value: &str, column: &Column) -> Result<String, Unfit> {
        let family = Family::of(&column.sql_type);
        let builder = Builder {
            mask: self,
            value,
            column,
            family,
        };
        match self {
            Self::Null => Ok(format!("NULL::{}", column.sql_type)),
            Self::PersonName { part, locale } => {
                let part = match part {
                    NamePart::Full => "person_name",
                    NamePart::First => "first_name",
                    NamePart::Last => "last_name",
                };
                builder.words(&format!("mask_{part}_{}", locale.name()), part)
            }
            Self::Email => match builder.text(20)? {
                Some(longest) if longest < 64 => {
                    builder.call("mask_email", &[&longest.to_string()])
                }
                _ => builder.call("mask_email", &[]),
            },
            Self::Phone => {
                builder.text(15)?;
                let function = if column.unique {
                    "mask_unique_phone"
                } else {
                    "mask_phone"
                };
                builder.call(function, &[])
            }
            Self::Card => {
                if !matches!(family, Family::Integer(i64::MAX) | Family::Numeric(None))
                    && !matches!(family, Family::Numeric(Some((before, _))) if before >= 16)
                {
                    builder.text(16)?;
                }
                builder.call("mask_card", &[])
            }
            Self::Date { days } => {
                let function = match family {
                    Family::Date => "mask_date",
                    Family::Timestamp => "mask_timestamp",
                    _ => return Err(builder.unfit("a date, timestamp or timestamptz")),
                };
                builder.call(function, &[&days.to_string()])
            }
            Self::Number { range } => builder.number(*range),
            Self::Text => builder.words("mask_text", "text"),
        }
    }
}

struct Builder<'a> {
    mask: &'a Mask,
    value: &'a str,
    column: &'a Column,
    family: Family,
}

impl Builder<'_> {
    /// The longest text that the column takes; None if there is no limit.
    fn text(&self, at_least: u32) -> Result<Option<u32>, Unfit> {
        match self.family {
            Family::Text(Some(longest)) if longest < at_least => {
                Err(self.unfit(&format!("text of {at_least} characters or more")))
            }
            Family::Text(longest) => Ok(longest),
            _ => Err(self.unfit("text")),
        }
    }

    /// Text from dictionaries, made unique by digits behind it where the column is.
    fn words(&self, function: &str, class: &str) -> Result<String, Unfit> {
        /// 48 bits.
        const DIGITS: u32 = 12;
        let longest = self.text(1)?;
        if !self.column.unique {
            return self.call(function, &[]);
        }
        self.text(DIGITS)?;
        let value = self.input("text");
        let tag = format!("devinprod.mask_tag('{class}', {value}, {KEY}, {DIGITS})");
        let words = format!("devinprod.{function}({value}, {KEY})");
        Ok(match longest {
            None => self.cast(&format!("pg_catalog.concat_ws(' ', {words}, {tag})")),
            Some(longest) if longest > DIGITS + 4 => {
                let room = longest - DIGITS - 1;
                self.cast(&format!(
                    "pg_catalog.concat_ws(' ', pg_catalog.left({words}, {room}), {tag})"
                ))
            }
            Some(_) => self.cast(&tag),
        })
    }

    fn number(&self, range: Option<(i64, i64)>) -> Result<String, Unfit> {
        let (scale, most) = match self.family {
            Family::Integer(most) => (0, most.to_string()),
            Family::Numeric(Some((before, behind))) => (
                behind,
                // The greatest that the type holds: nines before and behind the point.
                format!("{}.{}", nines(before), nines(behind)),
            ),
            Family::Numeric(None) | Family::Float | Family::Money => {
                (2, "9999999999999".to_owned())
            }
            _ => return Err(self.unfit("a number")),
        };
        let scale = scale.to_string();
        match range {
            None => self.call("mask_number", &[&scale, &most]),
            Some((low, high)) => {
                let fits = match self.family {
                    Family::Integer(most) => low >= -most && high <= most,
                    Family::Numeric(Some((before, _))) => {
                        let digits = low
                            .unsigned_abs()
                            .max(high.unsigned_abs())
                            .to_string()
                            .len();
                        digits <= before as usize
                    }
                    _ => true,
                };
                if !fits {
                    return Err(Unfit(format!(
                        "numbers from {low} to {high} do not fit into {}",
                        self.column.sql_type
                    )));
                }
                self.call(
                    "mask_number",
                    &[&low.to_string(), &high.to_string(), &scale],
                )
            }
        }
    }

    /// A mask function's call, as the column's type.
    fn call(&self, function: &str, more: &[&str]) -> Result<String, Unfit> {
        let input = match self.family {
            Family::Integer(_) | Family::Numeric(_) | Family::Float | Family::Money
                if !matches!(self.mask, Mask::Card) =>
            {
                self.input("numeric")
            }
            Family::Date | Family::Timestamp => self.value.to_owned(),
            _ => self.input("text"),
        };
        let more: String = more
            .iter()
            .map(|argument| format!(", {argument}"))
            .collect();
        Ok(self.cast(&format!("devinprod.{function}({input}, {KEY}{more})")))
    }

    /// The real value as text or numeric.
    fn input(&self, sql_type: &str) -> String {
        if self.column.sql_type == sql_type {
            self.value.to_owned()
        } else {
            format!("({})::pg_catalog.{sql_type}", self.value)
        }
    }

    fn cast(&self, call: &str) -> String {
        format!("({call})::{}", self.column.sql_type)
    }

    fn unfit(&self, wanted: &str) -> Unfit {
        Unfit(format!(
            "the mask `{}` makes {wanted}, not {}",
            self.mask.name(),
            self.column.sql_type
        ))
    }
}

impl Family {
    fn of(sql_type: &str) -> Self {
        let (name, arguments) = split_type(sql_type);
        let arguments: Vec<u32> = arguments
            .split(',')
            .filter_map(|number| number.trim().parse().ok())
            .collect();
        match name.rsplit('.').next().unwrap_or_default() {
            "text" | "character varying" | "character" | "citext" => {
                Self::Text(arguments.first().copied())
            }
            "bpchar" => Self::Text(None),
            "name" => Self::Text(Some(63)),
            "smallint" => Self::Integer(i64::from(i16::MAX)),
            "integer" => Self::Integer(i64::from(i32::MAX)),
            "bigint" => Self::Integer(i64::MAX),
            "numeric" => Self::Numeric(match arguments.as_slice() {
                [precision, scale] => Some((precision.saturating_sub(*scale), *scale)),
                [precision] => Some((*precision, 0)),
                _ => None,
            }),
            "real" | "double precision" => Self::Float,
            "money" => Self::Money,
            "date" => Self::Date,
            "timestamp without time zone" | "timestamp with time zone" => Self::Timestamp,
            _ => Self::Other,
        }
    }
}

/// A type's name and what stands in its parentheses: `timestamp(3) without time zone`, `numeric(12,2)`.
fn split_type(sql_type: &str) -> (String, &str) {
    match (sql_type.find('('), sql_type.find(')')) {
        (Some(open), Some(close)) if open < close => (
            format!(
                "{}{}",
                sql_type.get(..open).unwrap_or_default(),
                sql_type.get(close + 1..).unwrap_or_default()
            ),
            sql_type.get(open + 1..close).unwrap_or_default(),
        ),
        _ => (sql_type.to_owned(), ""),
    }
}

fn nines(digits: u32) -> String {
    if digits == 0 {
        return "0".to_owned();
    }
    "9".repeat(digits as usize)
}
