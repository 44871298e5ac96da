//! From what a policy file says of a mask to a checked [`Mask`].

use toml::{Table, Value};

use super::mask::{Description, Locale, Mask, NamePart};

/// The farthest that a date may be moved, in days.
const FARTHEST: i64 = 36_500;

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
            "person_name" => Mask::PersonName {
                part: self.choice(
                    "part",
                    &[
                        ("full", NamePart::Full),
                        ("first", NamePart::First),
                        ("last", NamePart::Last),
                    ],
                )?,
                locale: self.locale()?,
            },
            "email" => Mask::Email,
            "phone" => Mask::Phone,
            "card" => Mask::Card,
            "date" => Mask::Date {
                days: self
                    .integer("days", 1, FARTHEST)?
                    .and_then(|days| u32::try_from(days).ok())
                    .unwrap_or(180),
            },
            "number" => Mask::Number {
                range: self.range("min", "max")?,
            },
            "text" => Mask::Text,
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
        let meaning = self.mask.parameters.iter().find(|known| known.0 == name);
        MaskError {
            message: format!("`{name}` of the mask `{}` is {must_be}", self.mask.name),
            hint: format!(
                "`{name}` is {}",
                meaning.map_or("not known", |known| known.2)
            ),
            parameter: Some(name.to_owned()),
        }
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
