//! Patterns for names of columns: `*email*`, `customers.*name`, `public.customers.notes`.

/// Which columns a pattern means. `*` stands for any characters, also none; letter case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    schema: Option<String>,
    relation: Option<String>,
    column: String,
}

impl Pattern {
    /// A column's pattern, before it perhaps one for its relation, before that perhaps one for the schema;
    /// None if a part is empty or there are more.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts: Vec<String> = text.split('.').map(str::to_lowercase).collect();
        if parts.len() > 3 || parts.iter().any(String::is_empty) {
            return None;
        }
        Some(Self {
            column: parts.pop()?,
            relation: parts.pop(),
            schema: parts.pop(),
        })
    }

    /// Does it mean this column?
    pub fn matches(&self, schema: &str, relation: &str, column: &str) -> bool {
        let is = |pattern: &Option<String>, name: &str| {
            pattern
                .as_ref()
                .is_none_or(|pattern| glob(pattern, &name.to_lowercase()))
        };
        glob(&self.column, &column.to_lowercase())
            && is(&self.relation, relation)
            && is(&self.schema, schema)
    }

    /// Does it mean every column of some relation, whatever its name?
    pub fn is_every_column(&self) -> bool {
        self.column.chars().all(|c| c == '*')
    }
}

/// Does `name` fit `pattern`, in which `*` stands for anything? In time proportional to both lengths.
fn glob(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, fits) in [
            ("email", "email", true),
            ("email", "emails", false),
            ("*email*", "work_email_2", true),
            ("*email*", "EMail", true),
            ("*email", "email_verified", false),
            ("*_at", "created_at", true),
            ("*_at", "at", false),
            ("a*b*a", "aba", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("é*", "Été", true),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches("s", "r", name), fits, "{pattern:?} {name}");
        }
    }

    #[test]
    fn a_pattern_may_name_the_relation_and_the_schema() {
        let pattern = Pattern::parse("hr.staff*.name").unwrap();
        assert!(pattern.matches("HR", "staff_2024", "name"));
        assert!(!pattern.matches("public", "staff", "name"));
        assert!(!pattern.matches("hr", "teams", "name"));
        for wrong in ["", "a.", ".a", "a.b.c.d"] {
            assert_eq!(Pattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_column_is_every_column_of_any_relation() {
        for (text, every) in [("*", true), ("customers.*", true), ("*_id", false)] {
            assert_eq!(Pattern::parse(text).unwrap().is_every_column(), every);
        }
    }
}
