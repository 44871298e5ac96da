//! The SQL of a masked value, of exactly its column's type.

use super::KEY;
use super::family::Family;
use super::mask::{Mask, NamePart, Unit};

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

impl Mask {
    /// The names of the masks that can make values of `column`'s type, with the parameters that they have unless told.
    pub fn fitting(column: &Column) -> Vec<&'static str> {
        let fits = |name: &&'static str| {
            // Which value it is, the policy says.
            *name == "constant"
                || Self::new(name, &toml::Table::new())
                    .is_ok_and(|mask| mask.expression("x", column).is_ok())
        };
        Self::all()
            .iter()
            .map(|mask| mask.name)
            .filter(fits)
            .collect()
    }

    /// SQL that makes a synthetic value of `column`'s type from `value`, the SQL of the real one; NULL stays NULL.
    /// An array is masked element by element.
    ///
    /// The SQL names everything with its schema and reads the key by [`KEY`]. A [subject](Mask::subject) is read as
    /// `t.column`.
    ///
    /// # Errors
    /// [`Unfit`] if there is no such value of that type.
    pub fn expression(&self, value: &str, column: &Column) -> Result<String, Unfit> {
        match self {
            Self::Null => return Ok(format!("NULL::{}", column.sql_type)),
            Self::Constant { value: constant } => {
                return Ok(format!(
                    "(CASE WHEN ({value}) IS NOT NULL THEN {}::{} END)::{}",
                    literal(constant),
                    column.sql_type,
                    column.sql_type
                ));
            }
            _ => {}
        }
        if let Some(element) = column.sql_type.strip_suffix("[]") {
            let element = Column {
                sql_type: element.to_owned(),
                labels: column.labels.clone(),
                unique: false,
            };
            let item = self.expression("e.item", &element)?;
            return Ok(format!(
                "CASE WHEN ({value}) IS NOT NULL THEN ARRAY(SELECT {item} \
                 FROM pg_catalog.unnest({value}) WITH ORDINALITY AS e (item, n) ORDER BY e.n)::{} END",
                column.sql_type
            ));
        }
        let builder = Builder {
            mask: self,
            value,
            column,
            family: Family::of(column),
        };
        builder.build()
    }
}

struct Builder<'a> {
    mask: &'a Mask,
    value: &'a str,
    column: &'a Column,
    family: Family,
}

impl Builder<'_> {
    fn build(&self) -> Result<String, Unfit> {
        let unique = self.column.unique;
        match self.mask {
            Mask::PersonName { part, locale } => {
                let part = match part {
                    NamePart::Full => "person_name",
                    NamePart::First => "first_name",
                    NamePart::Last => "last_name",
                };
                self.words(&format!("mask_{part}_{}", locale.name()), part)
            }
            Mask::Street => self.words("mask_street", "street"),
            Mask::City => self.words("mask_city", "city"),
            Mask::Company => self.words("mask_company", "company"),
            Mask::Text => self.words("mask_text", "text"),
            Mask::Country => match self.text(2)? {
                Some(2) => self.call("mask_country_code", &[]),
                _ => self.call("mask_country", &[]),
            },
            Mask::Postcode => {
                self.text(1)?;
                self.call("mask_postcode", &[])
            }
            Mask::UserName => {
                let longest = self.text(8)?.unwrap_or(63).min(63);
                self.call("mask_user_name", &[&longest.to_string()])
            }
            Mask::PasswordHash => {
                let longest = self.text(32)?.unwrap_or(200).min(200);
                self.call("mask_password_hash", &[&longest.to_string()])
            }
            Mask::Email => match self.text(20)? {
                Some(longest) if longest < 64 => self.call("mask_email", &[&longest.to_string()]),
                _ => self.call("mask_email", &[]),
            },
            Mask::Url => {
                self.text(32)?;
                self.call("mask_url", &[])
            }
            Mask::Phone => {
                self.text(15)?;
                self.call(
                    if unique {
                        "mask_unique_phone"
                    } else {
                        "mask_phone"
                    },
                    &[],
                )
            }
            Mask::Ip => match self.family {
                Family::Network => self.call("mask_ip", &["true"]),
                Family::Address => self.call("mask_ip", &["false"]),
                _ => {
                    self.text(39)?;
                    self.call("mask_ip", &["false"])
                }
            },
            Mask::Mac => match self.family {
                Family::Mac(bytes) => self.call("mask_mac", &[&bytes.to_string()]),
                _ => {
                    self.text(17)?;
                    self.call("mask_mac", &["6"])
                }
            },
            Mask::Uuid => {
                if self.family != Family::Uuid {
                    self.text(36)?;
                }
                self.call("mask_uuid", &[])
            }
            Mask::Card => {
                let longest = match self.family {
                    // Without a room for separators, and so without a sign.
                    Family::Integer(63) | Family::Numeric(None) => Some(16),
                    Family::Numeric(Some((precision, scale)))
                        if whole_digits(precision, scale) >= 16 =>
                    {
                        Some(16)
                    }
                    _ => self.text(16)?,
                };
                self.call_grouped("mask_card", longest, 16, &[])
            }
            Mask::Iban { country } => {
                let (code, digits) = country.code_and_digits();
                let longest = self.text(4 + digits)?;
                let more = [literal(code), digits.to_string()];
                self.call_grouped("mask_iban", longest, 4 + digits, &[&more[0], &more[1]])
            }
            Mask::NationalId { country: None } => {
                self.text(1)?;
                self.call("mask_national_id", &[])
            }
            Mask::NationalId {
                country: Some(country),
            } => {
                let (name, length) = country.name_and_length();
                self.text(length)?;
                self.call("mask_national_id", &[&literal(name)])
            }
            Mask::Date { days } => {
                self.date("mask_date", "mask_timestamp", &[KEY, &days.to_string()])
            }
            Mask::DateShift { subject, days } => self.date(
                "mask_date_shift",
                "mask_date_shift",
                &[&of_row(subject), KEY, &days.to_string()],
            ),
            Mask::DateCoarse {
                unit: Unit::Day | Unit::Hour,
            } if self.family == Family::Date => Err(Unfit(
                "a date is a whole day already: the mask `date_coarse` needs `unit` week or longer"
                    .to_owned(),
            )),
            Mask::DateCoarse { unit } => self.date(
                "mask_date_coarse",
                "mask_date_coarse",
                &[&literal(unit.name())],
            ),
            Mask::Number { range } => self.number(*range),
            Mask::NumberBucket { size } => {
                let (_, most) = self.bounds()?;
                let input = self.input("numeric");
                Ok(self.cast(&format!(
                    "devinprod.mask_number_bucket({input}, {size}, {most})"
                )))
            }
            Mask::Json { paths, keys } => {
                if self.family != Family::Json {
                    return Err(self.unfit("documents"));
                }
                let rules = serde_json::to_string(paths).unwrap_or_default();
                let rules = format!("{}::pg_catalog.jsonb", literal(&rules));
                let keys = literal(keys.name());
                Ok(self.cast(&format!(
                    "devinprod.mask_json({}, {KEY}, {rules}, {keys})",
                    self.value
                )))
            }
            Mask::Bytea => match self.family {
                Family::Bytea => Ok(format!("devinprod.mask_bytea({}, {KEY})", self.value)),
                _ => Err(self.unfit("bytea")),
            },
            Mask::Enum { subject } => self.label(subject.as_deref()),
            Mask::Partial { first, last } => {
                self.text(first + last + 4)?;
                let input = self.input("text");
                Ok(self.cast(&format!("devinprod.mask_partial({input}, {first}, {last})")))
            }
            Mask::Hash { digits } => {
                self.text(*digits)?;
                self.call("mask_hash", &[&digits.to_string()])
            }
            Mask::Null | Mask::Constant { .. } => Err(self.unfit("nothing")),
        }
    }

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
            None => self.cast(&format!("devinprod.mask_tagged({words}, 1000, {tag})")),
            Some(longest) if longest > DIGITS + 4 => {
                let room = longest - DIGITS - 1;
                self.cast(&format!("devinprod.mask_tagged({words}, {room}, {tag})"))
            }
            Some(_) => self.cast(&tag),
        })
    }

    fn date(&self, of_date: &str, of_moment: &str, arguments: &[&str]) -> Result<String, Unfit> {
        let function = match self.family {
            Family::Date => of_date,
            Family::Timestamp => of_moment,
            _ => return Err(self.unfit("a date, timestamp or timestamptz")),
        };
        let (value, arguments) = (self.value, arguments.join(", "));
        Ok(self.cast(&format!("devinprod.{function}({value}, {arguments})")))
    }

    fn number(&self, range: Option<(i64, i64)>) -> Result<String, Unfit> {
        let (scale, most) = self.bounds()?;
        let scale = scale.to_string();
        match (range, self.family) {
            (Some((low, high)), family) => {
                let fits = match family {
                    Family::Integer(bits) => low >= -greatest(bits) && high <= greatest(bits),
                    Family::Numeric(Some((precision, scale))) => {
                        let digits = low
                            .unsigned_abs()
                            .max(high.unsigned_abs())
                            .to_string()
                            .len();
                        i64::try_from(digits).unwrap_or(i64::MAX) <= whole_digits(precision, scale)
                    }
                    _ => true,
                };
                if !fits {
                    return Err(Unfit(format!(
                        "numbers from {low} to {high} do not fit into {}",
                        self.column.sql_type
                    )));
                }
                self.call_number(&[&low.to_string(), &high.to_string(), &scale])
            }
            (None, Family::Integer(bits)) if self.column.unique => {
                let (value, bits) = (self.value, bits.to_string());
                Ok(self.cast(&format!(
                    "devinprod.mask_unique_number(({value})::pg_catalog.int8, {KEY}, {bits})"
                )))
            }
            (None, _) => self.call_number(&[&scale, &most]),
        }
    }

    /// How many digits there are behind the point, and the greatest number that the type holds, or that we make.
    fn bounds(&self) -> Result<(u32, String), Unfit> {
        match self.family {
            Family::Integer(bits) => Ok((0, greatest(bits).to_string())),
            Family::Numeric(Some((precision, scale))) => Ok((
                scale.max(0).unsigned_abs(),
                Family::greatest_numeric(precision, scale),
            )),
            Family::Numeric(None) | Family::Float | Family::Money => {
                Ok((2, "9999999999999".to_owned()))
            }
            _ => Err(self.unfit("a number")),
        }
    }

    fn label(&self, subject: Option<&str>) -> Result<String, Unfit> {
        let labels: Vec<_> = match self.family {
            Family::Boolean if subject.is_some() => vec![literal("false"), literal("true")],
            Family::Boolean => {
                return Err(Unfit(
                    "the mask `enum` of a boolean needs `subject`: of two values, each would always stand for the same"
                        .to_owned(),
                ));
            }
            _ if self.column.labels.is_empty() => return Err(self.unfit("an enum's label")),
            _ => self
                .column
                .labels
                .iter()
                .map(|label| literal(label))
                .collect(),
        };
        let subject = subject.map_or_else(String::new, |subject| format!("{}, ", of_row(subject)));
        Ok(self.cast(&format!(
            "devinprod.mask_label({}, {subject}{KEY}, ARRAY[{}]::pg_catalog.text[])",
            self.input("text"),
            labels.join(", ")
        )))
    }

    /// A call of a mask that groups its digits by four as the real value does, if the column has room for that.
    fn call_grouped(
        &self,
        function: &str,
        longest: Option<u32>,
        digits: u32,
        more: &[&str],
    ) -> Result<String, Unfit> {
        let input = match longest {
            Some(longest) if longest < digits + digits.div_ceil(4) - 1 => {
                format!("pg_catalog.translate({}, ' -', '')", self.input("text"))
            }
            _ => self.input("text"),
        };
        Ok(self.cast(&call(function, &input, more)))
    }

    /// A call of a mask of texts, as the column's type.
    fn call(&self, function: &str, more: &[&str]) -> Result<String, Unfit> {
        Ok(self.cast(&call(function, &self.input("text"), more)))
    }

    fn call_number(&self, more: &[&str]) -> Result<String, Unfit> {
        Ok(self.cast(&call("mask_number", &self.input("numeric"), more)))
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

/// The digits before the point.
fn whole_digits(precision: u32, scale: i32) -> i64 {
    i64::from(precision) - i64::from(scale)
}

/// A column of the masked row, as text; rows without it belong together.
fn of_row(column: &str) -> String {
    let column = column.replace('"', "\"\"");
    format!("COALESCE((t.\"{column}\")::pg_catalog.text, '')")
}

fn call(function: &str, input: &str, more: &[&str]) -> String {
    let more: String = more
        .iter()
        .map(|argument| format!(", {argument}"))
        .collect();
    format!("devinprod.{function}({input}, {KEY}{more})")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The greatest integer of so many bits and a sign.
fn greatest(bits: u32) -> i64 {
    i64::MAX >> (63 - bits.min(63))
}
