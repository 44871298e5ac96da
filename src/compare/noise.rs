//! In what two runs' results of one statement differ, and so, of two runs of the same program, what is noise.

use std::collections::{BTreeMap, BTreeSet};

use super::run::Statement;
use crate::tap::{Digest, ResultDigest};

/// In what results can differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aspect {
    /// The number of rows.
    Rows,
    /// The columns' names or number.
    Header,
    /// The values of a column, whichever order they are in.
    Column(usize, String),
    /// Each column has the same values, the rows do not.
    Pairing,
    /// The same rows in another order.
    Order,
}

/// In what a statement's results differ, each with the number of executions in which they do.
pub(super) type Aspects = BTreeMap<Aspect, usize>;

/// Compares the results of a statement, execution by execution.
pub(super) fn aspects(one: &Statement, other: &Statement) -> Aspects {
    let ordered = one.text.to_lowercase().contains("order by");
    let mut found = Aspects::new();
    for (a, b) in pairs(&one.results, &other.results) {
        for aspect in differing(a, b, ordered) {
            *found.entry(aspect).or_default() += 1;
        }
    }
    found
}

pub(super) type Result<'a> = &'a ResultDigest;

/// Which result is compared with which: those of the same question, in their order. What has no partner (an id was
/// generated and asked for) is compared by its place, if there are as many on both sides.
fn pairs<'a>(
    one: &'a [(Digest, ResultDigest)],
    other: &'a [(Digest, ResultDigest)],
) -> Vec<(Result<'a>, Result<'a>)> {
    let mut waiting: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
    for (at, (question, _)) in other.iter().enumerate().rev() {
        waiting.entry(*question).or_default().push(at);
    }
    let mut taken = BTreeSet::new();
    let mut pairs = Vec::new();
    let mut alone = Vec::new();
    for (question, result) in one {
        let partner = waiting.get_mut(question).and_then(Vec::pop);
        match partner.and_then(|at| Some((at, other.get(at)?))) {
            Some((at, (_, partner))) => {
                taken.insert(at);
                pairs.push((result, partner));
            }
            None => alone.push(result),
        }
    }
    let left: Vec<Result<'_>> = other
        .iter()
        .enumerate()
        .filter(|(at, _)| !taken.contains(at))
        .map(|(_, (_, result))| result)
        .collect();
    if left.len() == alone.len() {
        pairs.extend(alone.into_iter().zip(left));
    }
    pairs
}

pub(super) fn differing(a: Result<'_>, b: Result<'_>, ordered: bool) -> Vec<Aspect> {
    let names = |result: Result<'_>| -> Vec<String> {
        let names = result.columns.iter().map(|column| column.name.clone());
        names.collect()
    };
    if names(a) != names(b) {
        return vec![Aspect::Header];
    }
    if a.rows != b.rows {
        return vec![Aspect::Rows];
    }
    if a.unordered == b.unordered {
        return match ordered && a.ordered != b.ordered {
            true => vec![Aspect::Order],
            false => Vec::new(),
        };
    }
    let columns = a.columns.iter().zip(&b.columns).enumerate();
    let differing: Vec<Aspect> = columns
        .filter(|(_, (a, b))| a.digest != b.digest)
        .map(|(at, (a, _))| Aspect::Column(at, a.name.clone()))
        .collect();
    match differing.is_empty() {
        true => vec![Aspect::Pairing],
        false => differing,
    }
}

/// What is left of differences when noise is taken out.
pub(super) fn without(mut aspects: Aspects, noise: &Aspects) -> Aspects {
    let has_noise = |wanted: fn(&Aspect) -> bool| noise.keys().any(wanted);
    let noisy_column = has_noise(|aspect| matches!(aspect, Aspect::Column(..)));
    let noisy_rows = has_noise(|aspect| matches!(aspect, Aspect::Rows | Aspect::Header));
    aspects.retain(|aspect, _| {
        !noise.contains_key(aspect)
            && match aspect {
                // Rows with a column of noise in them can be neither paired nor ordered.
                Aspect::Pairing | Aspect::Order => !noisy_column && !noisy_rows,
                // Other rows have other values.
                Aspect::Column(..) => !noisy_rows,
                Aspect::Rows | Aspect::Header => true,
            }
    });
    aspects
}

impl Aspect {
    /// As a sentence about results.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Rows => "another number of rows".to_owned(),
            Self::Header => "other columns".to_owned(),
            Self::Column(at, name) if name.is_empty() => {
                format!("other values in column {}", at + 1)
            }
            Self::Column(_, name) => format!("other values in column {name}"),
            Self::Pairing => "the same values, in other rows".to_owned(),
            Self::Order => "the same rows in another order".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::ColumnDigest;

    fn digest(text: &str) -> Digest {
        Digest::of(&[text.as_bytes()])
    }

    /// A result with the columns `id` and `name`.
    fn result(question: &str, id: &str, name: &str) -> (Digest, ResultDigest) {
        let column = |name: &str, value: &str| ColumnDigest {
            name: name.to_owned(),
            digest: digest(value),
        };
        let rows = digest(&format!("{id}/{name}"));
        let result = ResultDigest {
            rows: 1,
            ordered: rows,
            unordered: rows,
            columns: vec![column("id", id), column("name", name)],
            ..ResultDigest::default()
        };
        (digest(question), result)
    }

    fn statement(results: Vec<(Digest, ResultDigest)>) -> Statement {
        Statement {
            text: "SELECT id, name FROM t ORDER BY id".to_owned(),
            results,
            ..Statement::default()
        }
    }

    fn words(aspects: &Aspects) -> Vec<String> {
        aspects.keys().map(Aspect::words).collect()
    }

    #[test]
    fn the_same_question_is_compared_whenever_it_was_asked() {
        let one = statement(vec![result("a", "1", "x"), result("b", "2", "y")]);
        let other = statement(vec![result("b", "2", "y"), result("a", "1", "x")]);
        assert!(aspects(&one, &other).is_empty());
        let third = statement(vec![result("b", "2", "z"), result("a", "1", "x")]);
        assert_eq!(
            words(&aspects(&one, &third)),
            ["other values in column name"]
        );
    }

    #[test]
    fn noise_of_one_column_hides_no_other() {
        let first = statement(vec![result("id 7", "7", "x")]);
        let second = statement(vec![result("id 8", "8", "x")]);
        let noise = aspects(&first, &second);
        assert_eq!(words(&noise), ["other values in column id"]);
        let other = statement(vec![result("id 9", "9", "x")]);
        assert!(without(aspects(&first, &other), &noise).is_empty());
        let other = statement(vec![result("id 9", "9", "changed")]);
        let left = without(aspects(&first, &other), &noise);
        assert_eq!(words(&left), ["other values in column name"]);
    }

    #[test]
    fn rows_and_order() {
        let (question, one) = result("a", "1", "x");
        let with = |change: fn(&mut ResultDigest)| {
            let mut other = one.clone();
            change(&mut other);
            statement(vec![(question, other)])
        };
        let first = statement(vec![(question, one.clone())]);
        for (other, expected) in [
            (with(|r| r.rows = 2), "another number of rows"),
            (
                with(|r| r.ordered = digest("o")),
                "the same rows in another order",
            ),
            (
                with(|r| r.unordered = digest("o")),
                "the same values, in other rows",
            ),
            (with(|r| r.columns.truncate(1)), "other columns"),
        ] {
            assert_eq!(words(&aspects(&first, &other)), [expected]);
        }
        let mut unordered = first.clone();
        unordered.text = "SELECT 1".to_owned();
        assert!(aspects(&unordered, &with(|r| r.ordered = digest("o"))).is_empty());
    }
}
