//! Splices text into a statement and finds the way back from the new text to the old.

use std::ops::Range;

/// One replacement: the byte range of the original text, and what stands there instead. An empty range
/// inserts before its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced, in bytes of the original text.
    pub range: Range<usize>,
    /// What takes its place.
    pub text: String,
}

impl Edit {
    /// A replacement of `range` by `text`.
    pub fn new(range: Range<usize>, text: impl Into<String>) -> Self {
        Self {
            range,
            text: text.into(),
        }
    }
}

/// Two edits that cannot both be made: they overlap, or one is no range of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the edit at bytes {}..{} does not fit the text or overlaps another", range.start, range.end)]
pub struct Misfit {
    /// The range that does not fit.
    pub range: Range<usize>,
}

/// Edits of one text, sorted, none overlapping another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    edits: Vec<Edit>,
}

impl Edits {
    /// No edits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an edit. Insertions at one place keep the order in which they were added, and stand before a replacement that
    /// begins there.
    ///
    /// # Errors
    /// [`Misfit`] if the edit overlaps one that is already there or its range runs backwards; nothing is
    /// changed then.
    pub fn add(&mut self, edit: Edit) -> Result<(), Misfit> {
        let at = self
            .edits
            .partition_point(|other| order(other) <= order(&edit));
        let before = at.checked_sub(1).and_then(|before| self.edits.get(before));
        let overlaps = before.is_some_and(|before| before.range.end > edit.range.start)
            || self
                .edits
                .get(at)
                .is_some_and(|next| next.range.start < edit.range.end);
        if edit.range.start > edit.range.end || overlaps {
            return Err(Misfit { range: edit.range });
        }
        self.edits.insert(at, edit);
        Ok(())
    }

    /// Adds edits until one does not fit.
    ///
    /// # Errors
    /// As [`Edits::add`]; the edits before the one that does not fit stay.
    pub fn extend(&mut self, edits: impl IntoIterator<Item = Edit>) -> Result<(), Misfit> {
        edits.into_iter().try_for_each(|edit| self.add(edit))
    }

    /// Nothing to do?
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The edits in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Edit> {
        self.edits.iter()
    }

    /// Makes the edits.
    ///
    /// # Errors
    /// [`Misfit`] for a range that is not inside of the text or cuts a character.
    pub fn apply(&self, text: &str) -> Result<Rewritten, Misfit> {
        let mut rewritten = Rewritten {
            text: String::with_capacity(
                text.len() + self.edits.iter().map(|edit| edit.text.len()).sum::<usize>(),
            ),
            pieces: Vec::with_capacity(self.edits.len()),
        };
        let mut original = Position::default();
        let mut copied = 0;
        for edit in &self.edits {
            let misfit = || Misfit {
                range: edit.range.clone(),
            };
            let kept = text.get(copied..edit.range.start).ok_or_else(misfit)?;
            let replaced = text.get(edit.range.clone()).ok_or_else(misfit)?;
            rewritten.text.push_str(kept);
            original.pass(kept.chars().count());
            let (kept_to, old, new) = (
                original,
                replaced.chars().count(),
                edit.text.chars().count(),
            );
            rewritten.pieces.push(Piece {
                new_start: kept_to.new,
                new_end: kept_to.new + new,
                old_start: kept_to.old,
                old_end: kept_to.old + old,
            });
            rewritten.text.push_str(&edit.text);
            original = Position {
                old: kept_to.old + old,
                new: kept_to.new + new,
            };
            copied = edit.range.end;
        }
        rewritten
            .text
            .push_str(text.get(copied..).unwrap_or_default());
        Ok(rewritten)
    }
}

/// By place; an insertion before what is replaced there.
fn order(edit: &Edit) -> (usize, bool) {
    (edit.range.start, !edit.range.is_empty())
}

/// Characters passed in the old and in the new text.
#[derive(Clone, Copy, Default)]
struct Position {
    old: usize,
    new: usize,
}

impl Position {
    fn pass(&mut self, kept: usize) {
        self.old += kept;
        self.new += kept;
    }
}

/// A text after its edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The new text.
    pub text: String,
    pieces: Vec<Piece>,
}

/// One replacement, in characters from 0 of both texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    new_start: usize,
    new_end: usize,
    old_start: usize,
    old_end: usize,
}

impl Rewritten {
    /// Where in the original a place of the new text came from, both in characters from 1, as Postgres counts
    /// error positions. A place inside of a replacement is the start of what was replaced.
    pub fn original_position(&self, position: usize) -> usize {
        let place = position.saturating_sub(1);
        let behind = self
            .pieces
            .partition_point(|piece| piece.new_start <= place);
        let Some(piece) = behind.checked_sub(1).and_then(|last| self.pieces.get(last)) else {
            return position;
        };
        if place < piece.new_end {
            piece.old_start + 1
        } else {
            piece.old_end + (place - piece.new_end) + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edits(list: &[(Range<usize>, &str)]) -> Result<Edits, Misfit> {
        let mut edits = Edits::new();
        edits.extend(
            list.iter()
                .map(|(range, text)| Edit::new(range.clone(), *text)),
        )?;
        Ok(edits)
    }

    #[test]
    fn edits_are_made_in_the_order_of_their_places() {
        type Case = (&'static [(Range<usize>, &'static str)], &'static str);
        let cases: &[Case] = &[
            (&[], "abcdef"),
            (&[(4..5, "E"), (0..1, "AA"), (2..2, "-")], "AAb-cdEf"),
            (&[(2..2, "1"), (2..2, "2")], "ab12cdef"),
            (&[(2..3, "C"), (2..2, "+")], "ab+Cdef"),
            (&[(2..2, "+"), (2..3, "C")], "ab+Cdef"),
            (&[(2..3, "C"), (3..3, "+")], "abC+def"),
            (&[(3..3, "+"), (2..3, "C"), (3..4, "D")], "abC+Def"),
            (&[(6..6, "!")], "abcdef!"),
            (&[(0..6, "")], ""),
        ];
        for (list, expected) in cases {
            assert_eq!(
                edits(list).unwrap().apply("abcdef").unwrap().text,
                *expected,
                "{list:?}"
            );
        }
    }

    #[test]
    fn edits_that_do_not_fit_are_refused() {
        assert!(edits(&[(0..3, "x"), (2..4, "y")]).is_err());
        assert!(edits(&[(2..4, "y"), (0..3, "x")]).is_err());
        assert!(edits(&[(0..4, "x"), (2..2, "y")]).is_err());
        assert!(edits(&[(2..2, "y"), (0..4, "x")]).is_err());
        assert!(edits(&[(1..2, "x"), (1..2, "y")]).is_err());
        #[expect(clippy::reversed_empty_ranges)]
        let backwards = edits(&[(3..2, "x")]);
        assert!(backwards.is_err());
        assert!(edits(&[(5..9, "x")]).unwrap().apply("abc").is_err());
        assert!(edits(&[(1..1, "x")]).unwrap().apply("é").is_err());
    }

    #[test]
    fn positions_lead_back_to_the_original() {
        // 1 2 3 4 5 6        1 2 3 4 5 6 7 8
        // é b c d e f   to   é X Y Z d e + f
        let rewritten = edits(&[(2..4, "XYZ"), (6..6, "+")])
            .unwrap()
            .apply("ébcdef")
            .unwrap();
        assert_eq!(rewritten.text, "éXYZde+f");
        let back: Vec<usize> = (1..=9)
            .map(|place| rewritten.original_position(place))
            .collect();
        assert_eq!(back, [1, 2, 2, 2, 4, 5, 6, 6, 7]);
        assert_eq!(rewritten.original_position(0), 0);
    }

    proptest! {
        #[test]
        fn what_was_accepted_can_be_applied_and_mapped(
            list in prop::collection::vec((0_usize..12, 0_usize..4, "[a-zé]{0,3}"), 0..8),
            text in "[a-z]{16}",
        ) {
            let mut edits = Edits::new();
            for (start, length, new) in list {
                let _ = edits.add(Edit::new(start..start + length, new));
            }
            let rewritten = edits.apply(&text).unwrap();
            let mut last = 0;
            for place in 1..=rewritten.text.chars().count() {
                let back = rewritten.original_position(place);
                prop_assert!(last <= back && back <= text.len() + 1);
                last = back;
            }
        }
    }
}
