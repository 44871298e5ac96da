//! From what a policy file says of a mask to a checked [`Mask`].

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::describe::Description;
use super::mask::{IbanCountry, IdCountry, JsonKeys, Locale, Mask, NamePart, Unit};

/// The farthest that a date may be moved, in days.
const FARTHEST: i64 = 36_500;

const NAME_PARTS: &[(&str, NamePart)] = &[
    ("full", NamePart::Full),
    ("first", NamePart::First),
    ("last", NamePart::Last),
];

/// What a leaf of a document can become; `mask_json_text` knows the same.
const JSON_RULES: &[&str] = &[
    "auto",
    "card",
    "city",
    "clear",
    "company",
    "country",
    "date",
    "email",
    "first_name",
    "hash",
    "iban",
    "ip",
    "last_name",
    "mac",
    "national_id",
    "null",
    "number",
    "password_hash",
    "person_name",
    "phone",
    "postcode",
    "shape",
    "street",
    "text",
    "url",
    "user_name",
    "uuid",
];

/// Why a mask cannot be made of what stands in a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MaskError {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: String,
    /// The parameter that it is about; None if it is the mask's name or a parameter that is missing.
    pub parameter: Option<String>,
}

impl Mask {
    /// The mask of this name, with these parameters.
    ///
    /// # Errors
    /// There is no such mask or parameter, or a parameter's value is none that the mask understands.
    pub fn new(name: &str, parameters: &Table) -> Result<Self, MaskError> {
        let Some(described) = Self::all().iter().find(|mask| mask.name == name) else {
            let names: Vec<_> = Self::all().iter().map(|mask| mask.name).collect();
            return Err(MaskError {
                message: format!("no mask `{name}`"),
                hint: did_you_mean(name, &names),
                parameter: None,
            });
        };
        let given = Given {
            mask: described,
            table: parameters,
        };
        given.check_names()?;
        given.mask()
    }
}

/// The parameters of one mask.
struct Given<'a> {
    mask: &'static Description,
    table: &'a Table,
}

impl Given<'_> {
    fn mask(&self) -> Result<Mask, MaskError> {
        Ok(match self.mask.name {
            "constant" => Mask::Constant {
                value: self.scalar("value")?,
            },
            "person_name" => Mask::PersonName {
                part: self.choice("part", NAME_PARTS)?,
                locale: self.locale()?,
            },
            "user_name" => Mask::UserName,
            "password_hash" => Mask::PasswordHash,
            "email" => Mask::Email,
            "phone" => Mask::Phone,
            "street" => Mask::Street,
            "city" => Mask::City,
            "postcode" => Mask::Postcode,
            "country" => Mask::Country,
            "company" => Mask::Company,
            "url" => Mask::Url,
            "ip" => Mask::Ip,
            "mac" => Mask::Mac,
            "uuid" => Mask::Uuid,
            "card" => Mask::Card,
            "iban" => Mask::Iban {
                country: self.choice("country", IbanCountry::ALL)?,
            },
            "national_id" => Mask::NationalId {
                country: match self.table.contains_key("country") {
                    true => Some(self.choice("country", IdCountry::ALL)?),
                    false => None,
                },
            },
            "date" => Mask::Date {
                days: self.small("days", 1, FARTHEST, 180)?,
            },
            "date_shift" => Mask::DateShift {
                subject: self.required("subject", self.string("subject")?)?,
                days: self.small("days", 1, FARTHEST, 180)?,
            },
            "date_coarse" => Mask::DateCoarse {
                unit: self.choice("unit", Unit::ALL)?,
            },
            "number" => Mask::Number {
                range: self.range("min", "max")?,
            },
            "number_bucket" => Mask::NumberBucket {
                size: self.required("size", self.integer("size", 2, i64::MAX)?)?,
            },
            "text" => Mask::Text,
            "json" => Mask::Json {
                paths: self.paths("paths")?,
                keys: self.choice("keys", JsonKeys::ALL)?,
            },
            "bytea" => Mask::Bytea,
            "enum" => Mask::Enum {
                subject: self.string("subject")?,
            },
            "partial" => Mask::Partial {
                first: self.small("first", 0, 16, 0)?,
                last: self.small("last", 0, 16, 4)?,
            },
            "hash" => Mask::Hash {
                digits: self.small("digits", 8, 64, 32)?,
            },
            _ => Mask::Null,
        })
    }

    fn check_names(&self) -> Result<(), MaskError> {
        let known: Vec<_> = self.mask.parameters.iter().map(|known| known.0).collect();
        match self
            .table
            .keys()
            .find(|name| !known.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(name) => Err(MaskError {
                message: format!("the mask `{}` has no parameter `{name}`", self.mask.name),
                hint: if known.is_empty() {
                    "it has none".to_owned()
                } else {
                    did_you_mean(name, &known)
                },
                parameter: Some(name.clone()),
            }),
        }
    }

    fn locale(&self) -> Result<Locale, MaskError> {
        let choices: Vec<_> = Locale::ALL
            .iter()
            .map(|locale| (locale.name(), *locale))
            .collect();
        self.choice("locale", &choices)
    }

    /// One of some words; the first if it is not given.
    fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, MaskError> {
        let words: Vec<_> = choices.iter().map(|choice| choice.0).collect();
        let wrong = |got: &Value, hint: String| MaskError {
            message: format!(
                "`{name}` of the mask `{}` is {}, not {got}",
                self.mask.name,
                one_of(&words)
            ),
            hint,
            parameter: Some(name.to_owned()),
        };
        let found = match self.table.get(name) {
            None => choices.first(),
            Some(value @ Value::String(word)) => Some(
                choices
                    .iter()
                    .find(|choice| choice.0 == word)
                    .ok_or_else(|| wrong(value, did_you_mean(word, &words)))?,
            ),
            Some(value) => return Err(wrong(value, "write a string".to_owned())),
        };
        match found {
            Some((_, choice)) => Ok(*choice),
            None => Err(MaskError {
                message: format!("`{name}` has no choices"),
                hint: String::new(),
                parameter: Some(name.to_owned()),
            }),
        }
    }

    /// A whole number within bounds; None if it is not given.
    fn integer(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, MaskError> {
        match self.table.get(name) {
            None => Ok(None),
            Some(Value::Integer(number)) if (least..=most).contains(number) => Ok(Some(*number)),
            Some(value) => Err(self.wrong(
                name,
                format!("a whole number from {least} to {most}, not {value}"),
            )),
        }
    }

    /// A whole number within small bounds.
    fn small(&self, name: &str, least: i64, most: i64, unless_told: u32) -> Result<u32, MaskError> {
        let given = self.integer(name, least, most)?;
        Ok(given
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(unless_told))
    }

    /// A text that is not empty; None if it is not given.
    fn string(&self, name: &str) -> Result<Option<String>, MaskError> {
        match self.table.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            Some(value) => Err(self.wrong(name, format!("a string, not {value}"))),
        }
    }

    /// A string, number or boolean, as text.
    fn scalar(&self, name: &str) -> Result<String, MaskError> {
        let text = match self.table.get(name) {
            None => None,
            Some(Value::String(text)) if !text.contains('\0') => Some(text.clone()),
            Some(
                value @ (Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)),
            ) => Some(value.to_string()),
            Some(value) => {
                return Err(self.wrong(name, format!("a string, number or boolean, not {value}")));
            }
        };
        self.required(name, text)
    }

    /// What each path of a document becomes.
    fn paths(&self, name: &str) -> Result<BTreeMap<String, String>, MaskError> {
        let table = match self.table.get(name) {
            None => return Ok(BTreeMap::new()),
            Some(Value::Table(table)) => table,
            Some(value) => {
                return Err(self.wrong(name, format!("a table of paths and masks, not {value}")));
            }
        };
        let mut paths = BTreeMap::new();
        for (path, rule) in table {
            let Value::String(rule) = rule else {
                return Err(self.wrong(name, format!("a table of strings; `{path}` is {rule}")));
            };
            if !JSON_RULES.contains(&rule.as_str()) {
                return Err(MaskError {
                    message: format!("`{rule}` is nothing that the path `{path}` can become"),
                    hint: did_you_mean(rule, JSON_RULES),
                    parameter: Some(name.to_owned()),
                });
            }
            if path.is_empty() || path.split('.').any(str::is_empty) || path.contains('\0') {
                return Err(self.wrong(
                    name,
                    format!("a table of paths like `address.city`; `{path}` is none"),
                ));
            }
            paths.insert(path.clone(), rule.clone());
        }
        Ok(paths)
    }

    fn required<T>(&self, name: &str, given: Option<T>) -> Result<T, MaskError> {
        given.ok_or_else(|| MaskError {
            message: format!("the mask `{}` needs `{name}`", self.mask.name),
            hint: format!("`{name}` is {}", self.meaning(name)),
            parameter: None,
        })
    }

    /// Two whole numbers in order; None if neither is given.
    fn range(&self, low: &str, high: &str) -> Result<Option<(i64, i64)>, MaskError> {
        match (
            self.integer(low, i64::MIN, i64::MAX)?,
            self.integer(high, i64::MIN, i64::MAX)?,
        ) {
            (None, None) => Ok(None),
            (Some(least), Some(most)) if least < most => Ok(Some((least, most))),
            (Some(least), Some(most)) => {
                Err(self.wrong(high, format!("more than `{low}` ({least}), not {most}")))
            }
            (None, Some(_)) => {
                Err(self.wrong(high, format!("given together with `{low}`, not alone")))
            }
            (Some(_), None) => {
                Err(self.wrong(low, format!("given together with `{high}`, not alone")))
            }
        }
    }

    fn wrong(&self, name: &str, must_be: String) -> MaskError {
        MaskError {
            message: format!("`{name}` of the mask `{}` is {must_be}", self.mask.name),
            hint: format!("`{name}` is {}", self.meaning(name)),
            parameter: Some(name.to_owned()),
        }
    }

    fn meaning(&self, name: &str) -> &'static str {
        let known = self.mask.parameters.iter().find(|known| known.0 == name);
        known.map_or("not known", |known| known.2)
    }
}

/// The nearest of the known words, or all of them.
fn did_you_mean(word: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|near| (strsim::damerau_levenshtein(word, near), near))
        .filter(|(distance, near)| *distance <= 1 + near.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(
            || format!("there is {}", one_of(known)),
            |(_, near)| format!("did you mean `{near}`?"),
        )
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => format!("`{word}`"),
        [words @ .., last] => format!("`{}` or `{last}`", words.join("`, `")),
    }
}
