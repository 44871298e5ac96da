//! Policy files as they are written: nothing checked beyond its type. `check` turns them into a `Policy`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use toml::{Spanned, Value};

use super::Stage;
use crate::report::units::Span;

/// A name that stands before what is said of it, with its place.
type Named<T> = BTreeMap<Spanned<String>, T>;

/// A whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub upstream: Option<Spanned<String>>,
    pub default: Option<Spanned<RawTreatment>>,
    #[serde(default)]
    pub class: Named<RawClass>,
    #[serde(default)]
    pub schema: Named<RawSchema>,
    /// Schema, relation, column.
    #[serde(default)]
    pub table: Named<Named<Named<Spanned<RawTreatment>>>>,
    #[serde(default)]
    pub exception: Vec<Spanned<RawException>>,
    #[serde(default)]
    pub vouch: Vec<RawVouch>,
    #[serde(default)]
    pub allow_function: Vec<RawFunction>,
    #[serde(default)]
    pub case: Vec<Spanned<RawCase>>,
    #[serde(default)]
    pub budget: Vec<Spanned<RawBudget>>,
    pub record_values: Option<Spanned<RawRecordValues>>,
}

/// `[class.email]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawClass {
    pub names: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub except: Vec<Spanned<String>>,
    #[serde(rename = "as")]
    pub treatment: Spanned<RawTreatment>,
}

/// `[schema.reporting]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSchema {
    pub default: Spanned<RawTreatment>,
}

/// `[[exception]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawException {
    pub set: Spanned<String>,
    pub who: Spanned<Vec<Spanned<String>>>,
    pub columns: Spanned<Vec<Spanned<String>>>,
    pub until: Spanned<Value>,
    pub because: Spanned<String>,
}

/// `[[vouch]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVouch {
    #[serde(rename = "for")]
    pub code: Spanned<String>,
    pub because: Spanned<String>,
}

/// `[[allow_function]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFunction {
    pub name: Spanned<String>,
    pub because: Spanned<String>,
}

/// `[[case]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCase {
    pub name: Spanned<String>,
    pub query: Spanned<String>,
    #[serde(rename = "as")]
    pub who: Option<Spanned<String>>,
    #[serde(default)]
    pub groups: Vec<Spanned<String>>,
    #[serde(default)]
    pub given: Vec<String>,
    pub expect: Spanned<RawExpect>,
}

/// `[record_values]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecordValues {
    pub stages: Vec<Stage>,
    pub because: Spanned<String>,
}

/// `[[budget]]`. An amount is a whole number or `"unlimited"`; of bytes also a size.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBudget {
    pub who: Spanned<Vec<Spanned<String>>>,
    pub together: Option<Spanned<bool>>,
    pub table: Option<Spanned<String>>,
    pub class: Option<Spanned<String>>,
    pub sensitive: Option<Spanned<bool>>,
    pub per: Option<Spanned<Span>>,
    pub rows: Option<Spanned<Value>>,
    pub bytes: Option<Spanned<Value>>,
    pub statements: Option<Spanned<Value>>,
    pub failed_guesses: Option<Spanned<Value>>,
    pub rows_per_statement: Option<Spanned<Value>>,
    pub concurrent: Option<Spanned<Value>>,
    pub statements_per_second: Option<Spanned<Value>>,
    pub burst: Option<Spanned<Value>>,
}

/// `expect = "masked"`, or a word for each column that comes back.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RawExpect {
    All(String),
    Columns(BTreeMap<String, String>),
}

/// `"clear"`, `"email"`, or `{ as = "date", keep = "year", because = "…" }`.
#[derive(Debug, Clone)]
pub(super) struct RawTreatment {
    /// `clear`, `deny` or a mask's name.
    pub what: Spanned<String>,
    pub because: Option<String>,
    pub opens_unclassified: Option<bool>,
    /// All the rest, which are the mask's.
    pub parameters: Vec<(Spanned<String>, Value)>,
}

impl<'de> Deserialize<'de> for RawTreatment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreatmentVisitor)
    }
}

struct TreatmentVisitor;

impl<'de> Visitor<'de> for TreatmentVisitor {
    type Value = RawTreatment;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"clear\", \"deny\", the name of a mask, or { as = \"…\" } with what more there is to say")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<RawTreatment, E> {
        Ok(RawTreatment {
            // Its place is that of the whole, which whoever holds this knows.
            what: Spanned::new(0..0, word.to_owned()),
            because: None,
            opens_unclassified: None,
            parameters: Vec::new(),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawTreatment, A::Error> {
        let mut what = None;
        let mut because = None;
        let mut opens_unclassified = None;
        let mut parameters = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            match key.get_ref().as_str() {
                "as" => what = Some(map.next_value()?),
                "because" => because = Some(map.next_value()?),
                "opens_unclassified" => opens_unclassified = Some(map.next_value()?),
                _ => parameters.push((key, map.next_value()?)),
            }
        }
        Ok(RawTreatment {
            what: what.ok_or_else(|| A::Error::missing_field("as"))?,
            because,
            opens_unclassified,
            parameters,
        })
    }
}
