//! The kinds of synthetic values.

/// A kind of synthetic value, with its parameters. [`Mask::new`] makes one from what a policy file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// NULL, whatever the value was.
    Null,
    /// A person's name.
    PersonName {
        /// The whole name, or a part of it.
        part: NamePart,
        /// The language that the names are of.
        locale: Locale,
    },
    /// An e-mail address at example.com, .net or .org.
    Email,
    /// A phone number with the same layout.
    Phone,
    /// A payment card's number that passes the Luhn check.
    Card,
    /// A day or moment near the real one.
    Date {
        /// The farthest, in days.
        days: u32,
    },
    /// A number with as many digits, or from a range.
    Number {
        /// The least and the most; without, as many digits as the real one has.
        range: Option<(i64, i64)>,
    },
    /// Latin words.
    Text,
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

/// What the documentation and the schema for editors say of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Its name in a policy file.
    pub name: &'static str,
    /// What stands where the real value was, in one line.
    pub about: &'static str,
    /// The types of columns that it fits.
    pub types: &'static str,
    /// Its parameters: name, kind of value (`integer`, `string`, `boolean`, `array`), and what it means.
    pub parameters: &'static [(&'static str, &'static str, &'static str)],
}

const LOCALE: (&str, &str, &str) = (
    "locale",
    "string",
    "the names' language: en (default), de, fr, it, nl, pt or tr",
);

const ALL: &[Description] = &[
    Description {
        name: "null",
        about: "NULL",
        types: "any",
        parameters: &[],
    },
    Description {
        name: "person_name",
        about: "a person's name",
        types: "text",
        parameters: &[("part", "string", "full (default), first or last"), LOCALE],
    },
    Description {
        name: "email",
        about: "an e-mail address at example.com, example.net or example.org",
        types: "text of 20 characters or more",
        parameters: &[],
    },
    Description {
        name: "phone",
        about: "a phone number with the same country code and layout",
        types: "text of 15 characters or more",
        parameters: &[],
    },
    Description {
        name: "card",
        about: "a payment card's number that passes the Luhn check",
        types: "text of 16 characters or more, bigint, numeric",
        parameters: &[],
    },
    Description {
        name: "date",
        about: "a day or moment near the real one",
        types: "date, timestamp, timestamptz",
        parameters: &[(
            "days",
            "integer",
            "how many days away it may be, 1 to 36500; 180 unless told",
        )],
    },
    Description {
        name: "number",
        about: "a number of the same sign and as many digits, or one from a range",
        types: "smallint, integer, bigint, numeric, real, double precision, money",
        parameters: &[
            ("min", "integer", "the least; with max"),
            ("max", "integer", "the most; with min"),
        ],
    },
    Description {
        name: "text",
        about: "Latin words, roughly as long as the real text",
        types: "text",
        parameters: &[],
    },
];

impl Mask {
    /// The mask's name in a policy file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::PersonName { .. } => "person_name",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Date { .. } => "date",
            Self::Number { .. } => "number",
            Self::Text => "text",
        }
    }

    /// All that there are.
    pub fn all() -> &'static [Description] {
        ALL
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
