//! Whether what came back is what a case expects. Verdicts never hold a value.

use std::collections::BTreeSet;

use crate::policy::{Expect, Seen};

/// Rows as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub names: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

/// Rows, or an SQLSTATE.
pub(super) type Answer = Result<Table, String>;

/// Real values that a dictionary brings up by chance are no leak: one in so many may.
const CHANCE: usize = 5;

const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// What is not in a masked view is not there at all.
const UNDEFINED_COLUMN: &str = "42703";
const UNDEFINED_TABLE: &str = "42P01";

/// `real` is what the owner of the database gets, `seen` what the developer got.
pub(super) fn judge(expect: &Expect, real: &Answer, seen: &Answer) -> Result<(), String> {
    let real = real
        .as_ref()
        .map_err(|code| format!("the query fails for the database's owner, too ({code})"))?;
    let denied =
        |code: &str| [INSUFFICIENT_PRIVILEGE, UNDEFINED_COLUMN, UNDEFINED_TABLE].contains(&code);
    match (expect, seen) {
        (Expect::Denied, Err(code)) if denied(code) => Ok(()),
        (Expect::Denied, Err(code)) => {
            Err(format!("it failed with {code}, not for want of privileges"))
        }
        (Expect::Denied, Ok(_)) => Err("it was answered, not denied".to_owned()),
        (_, Err(code)) => Err(format!("it failed with {code}")),
        (Expect::All(how), Ok(table)) => {
            if table.names.is_empty() {
                return Err("it has no columns".to_owned());
            }
            if table.names.len() != real.names.len() {
                let (got, all) = (table.names.len(), real.names.len());
                return Err(format!(
                    "{got} columns came back, and the real answer has {all}"
                ));
            }
            (0..table.names.len()).try_for_each(|place| column(*how, real, table, place))
        }
        (Expect::Columns(columns), Ok(table)) => columns.iter().try_for_each(|(name, how)| {
            let place = table.names.iter().position(|column| column == name);
            let place = place.ok_or_else(|| format!("no column {name} came back"))?;
            column(*how, real, table, place)
        }),
    }
}

fn column(how: Seen, real: &Table, seen: &Table, place: usize) -> Result<(), String> {
    let name = seen.names.get(place).map_or("", String::as_str);
    // By name: the developer's `*` may have fewer columns.
    let real_place = match real.names.get(place) {
        Some(same) if same == name => Some(place),
        _ => real.names.iter().position(|column| column == name),
    };
    let real_place = real_place.ok_or_else(|| format!("the real answer has no column {name}"))?;
    let real_values = values(real, real_place);
    let seen_values = values(seen, place);
    let told: BTreeSet<&str> = real_values.iter().flatten().copied().collect();
    if told.is_empty() {
        return Err(format!(
            "the real answer has no value of {name}, so this shows nothing; give the case rows by `given`"
        ));
    }
    let shown: BTreeSet<&str> = seen_values.iter().flatten().copied().collect();
    match how {
        Seen::Clear if sorted(&real_values) == sorted(&seen_values) => Ok(()),
        Seen::Clear => Err(format!("{name} does not have the real values")),
        Seen::Null if seen_values.is_empty() => Err("no row came back".to_owned()),
        Seen::Null if shown.is_empty() => Ok(()),
        Seen::Null => Err(format!("{name} is not NULL everywhere")),
        Seen::Masked if seen_values.is_empty() => Err("no row came back".to_owned()),
        Seen::Masked => {
            let real_ones = told.intersection(&shown).count();
            if real_ones * CHANCE > told.len() {
                return Err(format!(
                    "{real_ones} of the {} real values of {name} came back",
                    told.len()
                ));
            }
            Ok(())
        }
    }
}

fn values(table: &Table, place: usize) -> Vec<Option<&str>> {
    let rows = table.rows.iter();
    rows.map(|row| row.get(place).and_then(|value| value.as_deref()))
        .collect()
}

fn sorted<'a>(values: &[Option<&'a str>]) -> Vec<Option<&'a str>> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn table(names: &[&str], rows: &[&[&str]]) -> Answer {
        let value = |value: &&str| (*value != "-").then(|| (*value).to_owned());
        Ok(Table {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            rows: rows
                .iter()
                .map(|row| row.iter().map(value).collect())
                .collect(),
        })
    }

    #[track_caller]
    fn check(expect: &Expect, real: &Answer, seen: &Answer, wrong: Option<&str>) {
        match (judge(expect, real, seen), wrong) {
            (Ok(()), None) => {}
            (Err(why), Some(part)) if why.contains(part) => {}
            (verdict, _) => panic!("{verdict:?}, expected {wrong:?}"),
        }
    }

    #[test]
    fn masked_is_none_of_the_real_values() {
        let masked = Expect::All(Seen::Masked);
        let real = table(&["a"], &[&["x"], &["y"]]);
        check(&masked, &real, &table(&["a"], &[&["p"], &["q"]]), None);
        check(
            &masked,
            &real,
            &table(&["a"], &[&["q"], &["x"]]),
            Some("1 of the 2 real values of a"),
        );
        // In another order, and for another row, it is a real value all the same.
        check(
            &masked,
            &real,
            &table(&["a"], &[&["y"], &["-"]]),
            Some("1 of the 2"),
        );
        check(
            &masked,
            &real,
            &table(&["a"], &[]),
            Some("no row came back"),
        );
        check(
            &masked,
            &table(&["a"], &[]),
            &table(&["a"], &[]),
            Some("shows nothing"),
        );
        check(
            &masked,
            &table(&["a"], &[&["-"]]),
            &table(&["a"], &[&["p"]]),
            Some("shows nothing"),
        );
        check(
            &masked,
            &real,
            &Err("42501".to_owned()),
            Some("it failed with 42501"),
        );
    }

    #[test]
    fn clear_is_all_of_them() {
        let clear = Expect::All(Seen::Clear);
        let real = table(&["a", "b"], &[&["x", "1"], &["y", "2"]]);
        check(
            &clear,
            &real,
            &table(&["a", "b"], &[&["y", "2"], &["x", "1"]]),
            None,
        );
        check(
            &clear,
            &real,
            &table(&["a", "b"], &[&["y", "2"], &["p", "1"]]),
            Some("a does not have"),
        );
        check(
            &clear,
            &real,
            &table(&["a"], &[&["y"], &["x"]]),
            Some("1 columns came back"),
        );
    }

    #[test]
    fn columns_are_found_by_name() {
        let columns = |columns: &[(&str, Seen)]| {
            let columns = columns.iter().map(|(name, how)| ((*name).to_owned(), *how));
            Expect::Columns(columns.collect::<BTreeMap<_, _>>())
        };
        let real = table(&["id", "gone", "a"], &[&["1", "g", "x"], &["2", "h", "y"]]);
        let seen = table(&["id", "a"], &[&["1", "p"], &["2", "-"]]);
        let both = columns(&[("id", Seen::Clear), ("a", Seen::Masked)]);
        check(&both, &real, &seen, None);
        check(
            &columns(&[("gone", Seen::Masked)]),
            &real,
            &seen,
            Some("no column gone"),
        );
        check(
            &columns(&[("a", Seen::Null)]),
            &real,
            &seen,
            Some("not NULL everywhere"),
        );
        let nulls = table(&["a"], &[&["-"]]);
        check(&columns(&[("a", Seen::Null)]), &real, &nulls, None);
    }

    #[test]
    fn denied_is_denied_for_want_of_privileges() {
        let real = table(&["a"], &[&["x"]]);
        check(&Expect::Denied, &real, &Err("42501".to_owned()), None);
        check(&Expect::Denied, &real, &Err("42703".to_owned()), None);
        check(
            &Expect::Denied,
            &real,
            &Err("22012".to_owned()),
            Some("it failed with 22012"),
        );
        check(&Expect::Denied, &real, &real, Some("it was answered"));
        // One that cannot work for anybody shows nothing.
        check(
            &Expect::Denied,
            &Err("42703".to_owned()),
            &Err("42703".to_owned()),
            Some("owner, too (42703)"),
        );
    }
}
