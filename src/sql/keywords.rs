//! Which words Postgres accepts as a name: the categories of `pg_get_keywords()` (Postgres 15).

/// A word that cannot name a table, a column or a cursor without quotes (`R` and `T` in `pg_get_keywords()`).
pub(crate) fn is_not_a_name(word: &str) -> bool {
    is_reserved(word) || (word.len() <= 16 && listed(TYPE_OR_FUNCTION_NAME, word))
}

/// A word that is an expression or a clause of its own wherever it stands without quotes (`R`).
pub(super) fn is_reserved(word: &str) -> bool {
    word.len() <= 17 && listed(RESERVED, word)
}

fn listed(sorted: &[&str], word: &str) -> bool {
    let folded = word.bytes().map(|byte| byte.to_ascii_lowercase());
    sorted
        .binary_search_by(|keyword| keyword.bytes().cmp(folded.clone()))
        .is_ok()
}

const TYPE_OR_FUNCTION_NAME: &[&str] = &[
    "authorization",
    "binary",
    "collation",
    "concurrently",
    "cross",
    "current_schema",
    "freeze",
    "full",
    "ilike",
    "inner",
    "is",
    "isnull",
    "join",
    "left",
    "like",
    "natural",
    "notnull",
    "outer",
    "overlaps",
    "right",
    "similar",
    "tablesample",
    "verbose",
];

const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_fold_case() {
        assert!(RESERVED.is_sorted() && TYPE_OR_FUNCTION_NAME.is_sorted());
        assert!(
            is_not_a_name("SELECT") && is_not_a_name("current_timestamp") && is_not_a_name("Left")
        );
        assert!(!is_not_a_name("savepoint") && !is_not_a_name("values") && !is_not_a_name("users"));
    }
}
