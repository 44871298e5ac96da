//! What masks tell apart of a column's type.

use super::expression::Column;

/// What masks tell apart of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Text of any length, or of so many characters at most.
    Text(Option<u32>),
    /// An integer of so many bits and a sign.
    Integer(u32),
    /// A numeric: precision and scale, if they are set.
    Numeric(Option<(u32, i32)>),
    /// real or double precision.
    Float,
    Money,
    Boolean,
    Date,
    Timestamp,
    Uuid,
    /// json or jsonb.
    Json,
    Bytea,
    /// inet.
    Address,
    /// cidr.
    Network,
    /// macaddr or macaddr8, in bytes.
    Mac(u32),
    Other,
}

impl Family {
    pub(super) fn of(column: &Column) -> Self {
        if !column.labels.is_empty() {
            return Self::Other;
        }
        let (name, arguments) = split_type(&column.sql_type);
        let arguments: Vec<i64> = arguments
            .split(',')
            .filter_map(|number| number.trim().parse().ok())
            .collect();
        let length = || {
            arguments
                .first()
                .and_then(|length| u32::try_from(*length).ok())
        };
        match name.as_str() {
            "text" | "character varying" => Self::Text(length()),
            // Without a length it is one character.
            "character" => Self::Text(length().or(Some(1))),
            "bpchar" => Self::Text(None),
            "name" => Self::Text(Some(63)),
            "smallint" => Self::Integer(15),
            "integer" => Self::Integer(31),
            "bigint" => Self::Integer(63),
            "numeric" => Self::numeric(&arguments),
            "real" | "double precision" => Self::Float,
            "money" => Self::Money,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "timestamp without time zone" | "timestamp with time zone" => Self::Timestamp,
            "uuid" => Self::Uuid,
            "json" | "jsonb" => Self::Json,
            "bytea" => Self::Bytea,
            "inet" => Self::Address,
            "cidr" => Self::Network,
            "macaddr" => Self::Mac(6),
            "macaddr8" => Self::Mac(8),
            // An extension's type, in whatever schema it was put.
            name if name == "citext" || name.ends_with(".citext") => Self::Text(None),
            _ => Self::Other,
        }
    }

    fn numeric(arguments: &[i64]) -> Self {
        match arguments {
            [precision, rest @ ..] => Self::Numeric(Some((
                u32::try_from(*precision).unwrap_or(1),
                rest.first()
                    .map_or(0, |scale| i32::try_from(*scale).unwrap_or(0)),
            ))),
            [] => Self::Numeric(None),
        }
    }

    /// The greatest numeric of this precision and scale; the scale may be negative, or above the precision.
    pub(super) fn greatest_numeric(precision: u32, scale: i32) -> String {
        let behind = scale.max(0).unsigned_abs() as usize;
        let nines = "9".repeat(precision as usize);
        if scale <= 0 {
            return nines + &"0".repeat(scale.unsigned_abs() as usize);
        }
        let digits = format!("{nines:0>width$}", width = behind + 1);
        let (before, behind) = digits.split_at(digits.len() - behind);
        format!("{before}.{behind}")
    }
}

/// A type's name and what stands in its parentheses: `timestamp(3) without time zone`, `numeric(12,2)`.
fn split_type(sql_type: &str) -> (String, &str) {
    let parts = sql_type
        .split_once('(')
        .and_then(|(before, rest)| Some((before, rest.split_once(')')?)));
    match parts {
        Some((before, (arguments, after))) => (format!("{before}{after}"), arguments),
        None => (sql_type.to_owned(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::Family;

    #[test]
    fn greatest_numerics() {
        for (precision, scale, greatest) in [
            (12, 2, "9999999999.99"),
            (3, 0, "999"),
            (2, -3, "99000"),
            (3, 3, "0.999"),
            (2, 4, "0.0099"),
        ] {
            assert_eq!(Family::greatest_numeric(precision, scale), greatest);
        }
    }
}
