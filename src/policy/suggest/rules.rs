//! What a column's name, type, statistics and sample say that it is.

#[cfg(test)]
mod tests;

use toml::Table;

use super::super::live::{Catalog, Column, Relation};
use super::Look;
use crate::synth::Mask;

/// What to write for a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    /// As TOML.
    pub treatment: String,
    /// Why, in a few words; never a value.
    pub because: String,
}

/// From how many different values on a word is no longer one of a few.
const FEW: f32 = 20.0;

/// What a word of a name means.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    /// A secret, or what nobody should see.
    Closed(&'static str),
    /// One of these masks, the first that there is and that fits; with parameters.
    Masks(&'static [(&'static str, &'static str)], &'static str),
    /// Nothing that tells about anybody.
    Clear(&'static str),
}

use Meaning::{Clear, Closed, Masks};

/// By the words of a name (parted by `_`, or by a capital letter); the first line that fits decides. A word ends
/// with `*` if it only begins like that.
const NAMES: &[(&[&str], Meaning)] = &[
    (
        &["password*", "passwd", "pwd", "passphrase"],
        Masks(&[("password_hash", "")], "named like a password"),
    ),
    (
        &[
            "secret*",
            "token*",
            "apikey",
            "api_key",
            "private",
            "salt",
            "otp",
            "totp",
            "pin",
            "cvv",
            "cvc",
            "credential*",
            "signature",
        ],
        Closed("named like a secret"),
    ),
    (
        &[
            "diagnosis",
            "disease",
            "health",
            "medical",
            "religion",
            "ethnic*",
            "race",
            "gender",
            "sex",
            "orientation",
            "disability",
            "union",
            "criminal*",
            "biometric*",
            "fingerprint*",
            "genetic*",
        ],
        Closed("named like what the law protects most"),
    ),
    (
        &["email*", "e_mail", "mail", "mailbox"],
        Masks(&[("email", "")], "named like an e-mail address"),
    ),
    (
        &[
            "phone*",
            "mobile",
            "cell",
            "cellphone",
            "tel",
            "telephone",
            "fax",
        ],
        Masks(&[("phone", "")], "named like a phone number"),
    ),
    (
        &["iban", "bank_account", "account_number"],
        Masks(
            &[("iban", ""), ("hash", ""), ("text", "")],
            "named like a bank account",
        ),
    ),
    (
        &["card_expires", "card_expiry", "expiry"],
        Closed("named like a card's last month"),
    ),
    (
        &[
            "card_number",
            "card_no",
            "cardnumber",
            "pan",
            "ccn",
            "credit_card",
        ],
        Masks(&[("card", "")], "named like a payment card's number"),
    ),
    (
        &[
            "ssn",
            "sin",
            "nin",
            "national*",
            "passport*",
            "tax*",
            "vat",
            "licence",
            "license",
            "social_security*",
        ],
        Masks(
            &[("national_id", ""), ("hash", "")],
            "named like an official number",
        ),
    ),
    (
        &["born", "birth*", "dob", "birthday"],
        Masks(&[("date", "")], "named like a day of birth"),
    ),
    (
        &["first_name", "firstname", "given_name", "forename", "fname"],
        Masks(&[("person_name", "first")], "named like a first name"),
    ),
    (
        &["last_name", "lastname", "surname", "family_name", "lname"],
        Masks(&[("person_name", "last")], "named like a last name"),
    ),
    (
        &[
            "full_name",
            "fullname",
            "display_name",
            "contact_name",
            "customer_name",
            "holder",
            "card_holder",
            "recipient",
            "author",
            "maiden",
        ],
        Masks(&[("person_name", "")], "named like a person's name"),
    ),
    (
        &[
            "username",
            "user_name",
            "login",
            "nick*",
            "handle",
            "screen_name",
        ],
        Masks(
            &[("user_name", ""), ("hash", ""), ("text", "")],
            "named like a user's name",
        ),
    ),
    (
        &["company*", "employer", "organisation", "organization"],
        Masks(&[("company", ""), ("text", "")], "named like a company"),
    ),
    (
        &["street*", "address*", "addr", "line1", "line2"],
        Masks(&[("street", ""), ("text", "")], "named like an address"),
    ),
    (
        &["zip*", "postal*", "postcode", "plz"],
        Masks(
            &[("postcode", ""), ("text", "")],
            "named like a postal code",
        ),
    ),
    (
        &["city", "town", "village"],
        Masks(&[("city", ""), ("text", "")], "named like a town"),
    ),
    (
        &[
            "lat",
            "lng",
            "lon",
            "latitude",
            "longitude",
            "geo*",
            "location",
            "position_x",
            "coordinates",
        ],
        Closed("named like a place"),
    ),
    (
        &["ip", "ip_address", "ipaddr", "remote_addr"],
        Masks(&[("ip", ""), ("null", "")], "named like an IP address"),
    ),
    (
        &["mac", "mac_address", "device*", "imei", "fcm"],
        Masks(
            &[("mac", ""), ("hash", ""), ("text", "")],
            "named like a device",
        ),
    ),
    (
        &[
            "url", "website", "homepage", "avatar*", "photo*", "picture*", "image*",
        ],
        Masks(&[("url", ""), ("text", "")], "named like a link"),
    ),
    (
        &[
            "note*",
            "comment*",
            "body",
            "subject",
            "message*",
            "description",
            "text",
            "bio",
            "about",
            "remark*",
            "feedback",
            "reason",
            "content*",
            "memo",
        ],
        Masks(&[("text", "")], "people write into it whatever they like"),
    ),
    (
        &[
            "salary",
            "wage*",
            "income",
            "balance",
            "credit*",
            "debt",
            "iban_balance",
            "net_worth",
            "score",
        ],
        Masks(&[("number", "")], "a number that tells about somebody"),
    ),
    (
        &[
            "quantity", "count", "position", "sort*", "version", "stock", "weight*", "priority",
            "attempts", "retries",
        ],
        Clear("a count"),
    ),
    (
        &["currency", "locale", "language", "lang", "timezone", "tz"],
        Clear("a code that many share"),
    ),
];

/// Tables whose `name` is a person's.
const PEOPLE: &[&str] = &[
    "user*",
    "customer*",
    "person*",
    "people",
    "employee*",
    "staff",
    "member*",
    "patient*",
    "contact*",
    "client*",
    "guest*",
    "student*",
    "driver*",
    "author*",
    "profile*",
    "account*",
    "lead*",
    "subscriber*",
];

/// What to write for `column`.
pub(super) fn advise(
    catalog: &Catalog,
    relation: &Relation,
    column: &Column,
    look: Option<Look>,
) -> Advice {
    let words = words(&column.name);
    let named = NAMES
        .iter()
        .find(|(names, _)| names.iter().any(|name| has(&words, name)))
        .map(|(_, meaning)| *meaning);
    if let Some(Closed(why)) = named {
        return deny(why);
    }
    if let Some(advice) = look.and_then(|look| looks(look, column)) {
        return advice;
    }
    if let Some(Masks(masks, why)) = named {
        // A flag about an address is no address.
        return match column.shape.sql_type.as_str() {
            "boolean" => clear("yes or no"),
            _ if is_moment(column) && !why.contains("birth") => clear("a moment"),
            _ => masked(masks, column, why),
        };
    }
    if let Some(advice) = key(catalog, column) {
        return advice;
    }
    if words.last().is_some_and(|word| word == "name")
        && PEOPLE
            .iter()
            .any(|table| has(&self::words(&relation.name), table))
    {
        return masked(
            &[("person_name", "")],
            column,
            "the name of a person, by its table's name",
        );
    }
    match named {
        Some(Clear(why)) => clear(why),
        _ => by_type(relation, column),
    }
}

/// What a sample says, which is more than a name says.
fn looks(look: Look, column: &Column) -> Option<Advice> {
    Some(match look {
        Look::Email => masked(
            &[("email", "")],
            column,
            "the sample looks like e-mail addresses",
        ),
        Look::Phone => masked(
            &[("phone", "")],
            column,
            "the sample looks like phone numbers",
        ),
        Look::Card => masked(
            &[("card", "")],
            column,
            "the sample looks like payment cards",
        ),
        Look::Iban => masked(
            &[("iban", ""), ("text", "")],
            column,
            "the sample looks like bank accounts",
        ),
        Look::Url => masked(
            &[("url", ""), ("text", "")],
            column,
            "the sample looks like links",
        ),
        Look::Telling => masked(
            &[("text", "")],
            column,
            "e-mail addresses or long numbers stand in the sample",
        ),
    })
}

/// Numbers and uuids that only tell rows apart.
fn key(catalog: &Catalog, column: &Column) -> Option<Advice> {
    let plain = matches!(
        column.shape.sql_type.as_str(),
        "smallint" | "integer" | "bigint" | "uuid"
    );
    if !plain {
        return None;
    }
    if let Some((oid, name)) = &column.refers_to {
        let to = catalog
            .by_oid(*oid)
            .map_or(String::new(), |to| format!(" of {}.{name}", to.title()));
        return Some(clear(&format!("a foreign key{}", one_line(&to))));
    }
    let by_name = column.name == "id" || column.name.ends_with("_id");
    (by_name || (column.shape.unique && column.not_null))
        .then(|| clear("a key, which tells nothing by itself"))
}

fn by_type(relation: &Relation, column: &Column) -> Advice {
    let base = column.shape.sql_type.as_str();
    if !column.shape.labels.is_empty() {
        return clear(&format!("one of {} words", column.shape.labels.len()));
    }
    match base {
        "boolean" => return clear("yes or no"),
        "json" | "jsonb" => {
            return masked(&[("json", "")], column, "JSON, in which anything may stand");
        }
        "inet" | "cidr" => return masked(&[("ip", ""), ("null", "")], column, "an IP address"),
        "macaddr" | "macaddr8" => return masked(&[("mac", ""), ("null", "")], column, "a device"),
        "date" => return masked(&[("date", "")], column, "a day"),
        _ => {}
    }
    if is_moment(column) {
        return clear("a moment");
    }
    if is_text(base)
        && let Some(distinct) = column.distinct
        && (0.5..=FEW).contains(&distinct)
        && relation.rows >= 10.0 * distinct
    {
        return clear(&format!("{distinct} different values in all"));
    }
    deny("nothing tells what it is: decide")
}

/// The first of `masks` that there is and that fits the column.
fn masked(masks: &[(&str, &str)], column: &Column, why: &str) -> Advice {
    for (name, part) in masks {
        let mut parameters = Table::new();
        if !part.is_empty() {
            parameters.insert("part".to_owned(), toml::Value::String((*part).to_owned()));
        }
        let fits = Mask::new(name, &parameters)
            .is_ok_and(|mask| mask.expression("x", &column.shape).is_ok());
        if fits {
            let treatment = match *part {
                "" => format!("\"{name}\""),
                part => format!("{{ as = \"{name}\", part = \"{part}\" }}"),
            };
            return Advice {
                treatment,
                because: why.to_owned(),
            };
        }
    }
    deny(&format!("{why}, and no mask fits its type"))
}

fn clear(why: &str) -> Advice {
    Advice {
        treatment: "\"clear\"".to_owned(),
        because: why.to_owned(),
    }
}

fn deny(why: &str) -> Advice {
    Advice {
        treatment: "\"deny\"".to_owned(),
        because: why.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

pub(super) fn is_text(base: &str) -> bool {
    ["text", "character varying", "character", "citext"]
        .iter()
        .any(|kind| {
            base.strip_prefix(kind)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('('))
        })
}

fn is_moment(column: &Column) -> bool {
    column.shape.sql_type.starts_with("timestamp")
}

/// `homeAddress_2` is home, address, 2.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let parts = !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
        if parts {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Do the words of `pattern` stand in a row among `words`?
fn has(words: &[String], pattern: &str) -> bool {
    let wanted: Vec<&str> = pattern.split('_').collect();
    words.windows(wanted.len()).any(|window| {
        window
            .iter()
            .zip(&wanted)
            .all(|(word, wanted)| match wanted.strip_suffix('*') {
                Some(begin) => word.starts_with(begin),
                None => word == wanted,
            })
    })
}
