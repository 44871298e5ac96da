//! Whether a pinned search path keeps a developer's objects out.

use crate::seal::close::literal;

/// Whether every name that is looked up by this `search_path` (as `pg_proc.proconfig` has it) means the same whoever calls.
///
/// `pg_temp` must be the last schema, for it comes first where it is not named. Every other schema must be one in which developers
/// cannot make objects, `is_closed` says which: an operator or a function of theirs with fitting argument types would be preferred
/// to Postgres' own, wherever in the path it stands. A schema that is not there, `"$user"` among them, is one that they could make.
pub(super) fn is_safe(search_path: &str, is_closed: &dyn Fn(&str) -> bool) -> bool {
    let Some(mut schemas) = parse(search_path) else {
        return false;
    };
    schemas.pop().as_deref() == Some("pg_temp")
        && schemas
            .iter()
            .all(|schema| schema == "pg_catalog" || is_closed(schema))
}

/// A search path, as `pg_proc.proconfig` has it, in words that SET takes and stores as they were; None if it is none.
pub(super) fn literal_list(search_path: &str) -> Option<String> {
    let schemas = parse(search_path)?;
    let quoted: Vec<String> = schemas.iter().map(|schema| literal(schema)).collect();
    Some(quoted.join(", "))
}

/// The schemas of a list of identifiers; None if it is none.
fn parse(list: &str) -> Option<Vec<String>> {
    let mut schemas = Vec::new();
    let mut rest = list.trim_start();
    loop {
        let schema = if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut characters = quoted.char_indices().peekable();
            loop {
                match characters.next()? {
                    (_, '"') if characters.next_if(|(_, next)| *next == '"').is_some() => {
                        name.push('"')
                    }
                    (at, '"') => {
                        rest = quoted.get(at + 1..)?;
                        break name;
                    }
                    (_, other) => name.push(other),
                }
            }
        } else {
            let end = rest.find([',', '"']).unwrap_or(rest.len());
            let name = rest.get(..end)?.trim_end().to_lowercase();
            rest = rest.get(end..)?;
            if name.is_empty() || name.contains(char::is_whitespace) {
                return None;
            }
            name
        };
        schemas.push(schema);
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(schemas);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_safe_if_nobody_can_put_anything_into_it() {
        for (path, safe) in [
            ("pg_catalog, pg_temp", true),
            ("PG_CATALOG,\"pg_temp\"", true),
            ("pg_temp", true),
            ("Closed, pg_catalog, pg_temp", true),
            ("\"closed\"\"x\", pg_temp", false),
            ("\"Closed\", pg_temp", false),
            ("public, pg_temp", false),
            ("pg_catalog, public, pg_temp", false),
            ("pg_temp, pg_catalog", false),
            ("pg_catalog", false),
            ("\"\"", false),
            ("", false),
            ("\"$user\", pg_temp", false),
            ("pg_catalog, \"pg_temp", false),
            ("pg_catalog pg_temp", false),
            ("pg_catalog, , pg_temp", false),
        ] {
            assert_eq!(is_safe(path, &|schema| schema == "closed"), safe, "{path}");
        }
    }
}
