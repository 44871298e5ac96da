//! The kinds of synthetic values.

use std::collections::BTreeMap;

/// A kind of synthetic value, with its parameters. [`Mask::new`] makes one from what a policy file says; what each
/// makes and keeps is in `docs/masks.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// NULL, whatever the value was.
    Null,
    /// The same value in every row.
    Constant {
        /// It, as Postgres reads a value of the column's type.
        value: String,
    },
    /// A person's name.
    PersonName {
        /// The whole name, or a part of it.
        part: NamePart,
        /// The language that the names are of.
        locale: Locale,
    },
    /// A name to log in with.
    UserName,
    /// A hash that no password has.
    PasswordHash,
    /// An e-mail address at example.com, .net or .org.
    Email,
    /// A phone number with the same layout.
    Phone,
    /// A house number and a street.
    Street,
    /// A city.
    City,
    /// Digits and letters where the real one has them.
    Postcode,
    /// A country's name or two-letter code.
    Country,
    /// A company's name.
    Company,
    /// An address at example.com, .net or .org.
    Url,
    /// An IP address or network, of the same version.
    Ip,
    /// A locally administered MAC address.
    Mac,
    /// A UUID of version 4.
    Uuid,
    /// A payment card's number that passes the Luhn check.
    Card,
    /// An IBAN whose check digits are right.
    Iban {
        /// The country.
        country: IbanCountry,
    },
    /// A national identification number.
    NationalId {
        /// The country whose form it has; without, the layout of the real one.
        country: Option<IdCountry>,
    },
    /// A day or moment near the real one.
    Date {
        /// The farthest, in days.
        days: u32,
    },
    /// A day or moment moved as far as all of the same subject.
    DateShift {
        /// The column that says whose date it is.
        subject: String,
        /// The farthest, in days.
        days: u32,
    },
    /// The beginning of its year, month …
    DateCoarse {
        /// Of what.
        unit: Unit,
    },
    /// A number with as many digits, or from a range.
    Number {
        /// The least and the most; without, as many digits as the real one has.
        range: Option<(i64, i64)>,
    },
    /// The multiple of a size that is not above it.
    NumberBucket {
        /// The size of a bucket, at least 2.
        size: i64,
    },
    /// Latin words.
    Text,
    /// A document whose leaves are masked.
    Json {
        /// What a dotted path becomes: a mask's name or `clear`.
        paths: BTreeMap<String, String>,
        /// Which names of fields are kept.
        keys: JsonKeys,
    },
    /// 32 bytes.
    Bytea,
    /// One of an enum's labels, or true or false.
    Enum {
        /// The column that decides; without, the value itself does.
        subject: Option<String>,
    },
    /// The first and last characters, with stars between them.
    Partial {
        /// How many at the beginning.
        first: u32,
        /// How many at the end.
        last: u32,
    },
    /// Hexadecimal digits.
    Hash {
        /// How many; 4 bits each.
        digits: u32,
    },
}

/// Which part of a person's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamePart {
    /// First and last name.
    Full,
    /// The first name.
    First,
    /// The last name.
    Last,
}

/// A language that there are names of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Locale {
    En,
    De,
    Fr,
    It,
    Nl,
    Pt,
    Tr,
}

/// A country whose account numbers are digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum IbanCountry {
    De,
    At,
    Be,
    Dk,
    Es,
    Fi,
    Pl,
    Pt,
    Se,
}

/// A country whose identification numbers can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdCountry {
    /// 9xx-xx-xxxx.
    Us,
    /// QQxxxxxxA.
    Gb,
    /// Eight digits and the letter that checks them.
    Es,
}

/// What a date is cut to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
}

/// Which names of a document's fields are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKeys {
    /// Those that look like a field's name, or that a path names.
    Fields,
    /// All.
    Keep,
    /// Those that a path names.
    Named,
}

impl Mask {
    /// The mask's name in a policy file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Constant { .. } => "constant",
            Self::PersonName { .. } => "person_name",
            Self::UserName => "user_name",
            Self::PasswordHash => "password_hash",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Street => "street",
            Self::City => "city",
            Self::Postcode => "postcode",
            Self::Country => "country",
            Self::Company => "company",
            Self::Url => "url",
            Self::Ip => "ip",
            Self::Mac => "mac",
            Self::Uuid => "uuid",
            Self::Card => "card",
            Self::Iban { .. } => "iban",
            Self::NationalId { .. } => "national_id",
            Self::Date { .. } => "date",
            Self::DateShift { .. } => "date_shift",
            Self::DateCoarse { .. } => "date_coarse",
            Self::Number { .. } => "number",
            Self::NumberBucket { .. } => "number_bucket",
            Self::Text => "text",
            Self::Json { .. } => "json",
            Self::Bytea => "bytea",
            Self::Enum { .. } => "enum",
            Self::Partial { .. } => "partial",
            Self::Hash { .. } => "hash",
        }
    }

    /// The other column of the row that the mask reads; its expression names it `t.column`, quoted.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::DateShift { subject, .. } => Some(subject),
            Self::Enum { subject } => subject.as_deref(),
            _ => None,
        }
    }
}

impl Locale {
    /// All that there are.
    pub const ALL: &[Self] = &[
        Self::En,
        Self::De,
        Self::Fr,
        Self::It,
        Self::Nl,
        Self::Pt,
        Self::Tr,
    ];

    /// Its name in a policy file.
    pub fn name(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
            Self::Fr => "fr",
            Self::It => "it",
            Self::Nl => "nl",
            Self::Pt => "pt",
            Self::Tr => "tr",
        }
    }
}

impl IbanCountry {
    /// All that there are: name in a policy file, ISO code, digits behind the check digits.
    pub const ALL: &[(&str, Self)] = &[
        ("de", Self::De),
        ("at", Self::At),
        ("be", Self::Be),
        ("dk", Self::Dk),
        ("es", Self::Es),
        ("fi", Self::Fi),
        ("pl", Self::Pl),
        ("pt", Self::Pt),
        ("se", Self::Se),
    ];

    /// Its ISO code, and how many digits follow the check digits.
    pub(super) fn code_and_digits(self) -> (&'static str, u32) {
        match self {
            Self::De => ("DE", 18),
            Self::At => ("AT", 16),
            Self::Be => ("BE", 12),
            Self::Dk => ("DK", 14),
            Self::Es => ("ES", 20),
            Self::Fi => ("FI", 14),
            Self::Pl => ("PL", 24),
            Self::Pt => ("PT", 21),
            Self::Se => ("SE", 20),
        }
    }
}

impl IdCountry {
    /// All that there are, by their name in a policy file.
    pub const ALL: &[(&str, Self)] = &[("us", Self::Us), ("gb", Self::Gb), ("es", Self::Es)];

    /// Its name, and how many characters its numbers have.
    pub(super) fn name_and_length(self) -> (&'static str, u32) {
        match self {
            Self::Us => ("us", 11),
            Self::Gb => ("gb", 9),
            Self::Es => ("es", 9),
        }
    }
}

impl Unit {
    /// All that there are, by their name in a policy file.
    pub const ALL: &[(&str, Self)] = &[
        ("year", Self::Year),
        ("quarter", Self::Quarter),
        ("month", Self::Month),
        ("week", Self::Week),
        ("day", Self::Day),
        ("hour", Self::Hour),
    ];

    /// Its name, as `date_trunc` knows it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Quarter => "quarter",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

impl JsonKeys {
    /// All that there are, by their name in a policy file.
    pub const ALL: &[(&str, Self)] = &[
        ("fields", Self::Fields),
        ("keep", Self::Keep),
        ("named", Self::Named),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fields => "fields",
            Self::Keep => "keep",
            Self::Named => "named",
        }
    }
}
