//! What the documentation and the schema for editors say of each mask.

use super::mask::Mask;

/// What the documentation and the schema for editors say of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Its name in a policy file.
    pub name: &'static str,
    /// What stands where the real value was, in one line.
    pub about: &'static str,
    /// The types of columns that it fits; arrays of them too.
    pub types: &'static str,
    /// Its parameters: name, kind of value (`integer`, `string`, `table` of strings, `any` scalar), and what it means.
    pub parameters: &'static [(&'static str, &'static str, &'static str)],
}

impl Mask {
    /// All that there are.
    pub fn all() -> &'static [Description] {
        ALL
    }
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
        name: "constant",
        about: "the same value in every row",
        types: "any",
        parameters: &[("value", "any", "the value: a string, a number or a boolean")],
    },
    Description {
        name: "person_name",
        about: "a person's name",
        types: "text",
        parameters: &[("part", "string", "full (default), first or last"), LOCALE],
    },
    Description {
        name: "user_name",
        about: "a name to log in with",
        types: "text of 8 characters or more",
        parameters: &[],
    },
    Description {
        name: "password_hash",
        about: "a hash of the same kind that no password has",
        types: "text of 32 characters or more",
        parameters: &[],
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
        name: "street",
        about: "a house number and a street",
        types: "text",
        parameters: &[],
    },
    Description {
        name: "city",
        about: "a city's name",
        types: "text",
        parameters: &[],
    },
    Description {
        name: "postcode",
        about: "digits and letters where the real one has them",
        types: "text",
        parameters: &[],
    },
    Description {
        name: "country",
        about: "a country's name, or a code where the real one has two letters",
        types: "text of 2 characters or more",
        parameters: &[],
    },
    Description {
        name: "company",
        about: "a company's name",
        types: "text",
        parameters: &[],
    },
    Description {
        name: "url",
        about: "an address at example.com, example.net or example.org",
        types: "text of 32 characters or more",
        parameters: &[],
    },
    Description {
        name: "ip",
        about: "an address or network of the same version",
        types: "inet, cidr, text of 39 characters or more",
        parameters: &[],
    },
    Description {
        name: "mac",
        about: "a locally administered MAC address",
        types: "macaddr, macaddr8, text of 17 characters or more",
        parameters: &[],
    },
    Description {
        name: "uuid",
        about: "a UUID of version 4",
        types: "uuid, text of 36 characters or more",
        parameters: &[],
    },
    Description {
        name: "card",
        about: "a payment card's number that passes the Luhn check",
        types: "text of 16 characters or more, bigint, numeric",
        parameters: &[],
    },
    Description {
        name: "iban",
        about: "an IBAN whose check digits are right",
        types: "text of 28 characters or more (of 22 for de)",
        parameters: &[(
            "country",
            "string",
            "de (default), at, be, dk, es, fi, pl, pt or se",
        )],
    },
    Description {
        name: "national_id",
        about: "digits and letters where the real one has them, or a country's number",
        types: "text",
        parameters: &[(
            "country",
            "string",
            "us, gb or es: a number that this country never gives out, or that passes its check",
        )],
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
        name: "date_shift",
        about: "a day or moment moved as far as all of the same subject",
        types: "date, timestamp, timestamptz",
        parameters: &[
            (
                "subject",
                "string",
                "the column that says whose date it is (required)",
            ),
            (
                "days",
                "integer",
                "how many days away it may be, 1 to 36500; 180 unless told",
            ),
        ],
    },
    Description {
        name: "date_coarse",
        about: "the beginning of its year, month …, in UTC",
        types: "date, timestamp, timestamptz",
        parameters: &[(
            "unit",
            "string",
            "year (default), quarter, month, week, day or hour",
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
        name: "number_bucket",
        about: "the multiple of a size that is not above it",
        types: "smallint, integer, bigint, numeric, real, double precision, money",
        parameters: &[(
            "size",
            "integer",
            "the size of a bucket, 2 or more (required)",
        )],
    },
    Description {
        name: "text",
        about: "Latin words, roughly as long as the real text",
        types: "text",
        parameters: &[],
    },
    Description {
        name: "json",
        about: "the same document with every leaf masked",
        types: "json, jsonb",
        parameters: &[
            (
                "paths",
                "table",
                "what a dotted path becomes: a mask that makes text, number, null or clear",
            ),
            (
                "keys",
                "string",
                "which names of fields are kept: fields (default: what looks like a field's name), keep (all) or named (those of `paths`)",
            ),
        ],
    },
    Description {
        name: "bytea",
        about: "32 bytes",
        types: "bytea",
        parameters: &[],
    },
    Description {
        name: "enum",
        about: "one of the labels, or true or false",
        types: "enums, boolean",
        parameters: &[(
            "subject",
            "string",
            "the column that decides; required for booleans",
        )],
    },
    Description {
        name: "partial",
        about: "the first and last characters, with four stars between them",
        types: "text",
        parameters: &[
            (
                "first",
                "integer",
                "how many at the beginning, 0 to 16; 0 unless told",
            ),
            (
                "last",
                "integer",
                "how many at the end, 0 to 16; 4 unless told",
            ),
        ],
    },
    Description {
        name: "hash",
        about: "hexadecimal digits",
        types: "text of as many characters",
        parameters: &[(
            "digits",
            "integer",
            "how many, 8 to 64; 32 unless told; 4 bits each",
        )],
    },
];
