//! Where row versions are, in few bytes: a bit for each, by table and page.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::Error;

/// Where a row version is: `tableoid` and `ctid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// The table's oid, of a partitioned table the partition's.
    pub table: u32,
    pub tid: Tid,
}

/// A `ctid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tid {
    pub page: u32,
    pub item: u16,
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.page, self.item)
    }
}

impl FromStr for Tid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.split_once(','))
            .and_then(|(page, item)| {
                Some(Self {
                    page: page.parse().ok()?,
                    item: item.parse().ok()?,
                })
            })
            .ok_or(Error::Strange("a row's place"))
    }
}

/// A set of places.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By table and page: a bit for each item.
    pages: BTreeMap<(u32, u32), Vec<u64>>,
    count: u64,
}

impl Places {
    /// Adds one.
    pub(super) fn insert(&mut self, place: Place) {
        let words = self.pages.entry((place.table, place.tid.page)).or_default();
        let (word, bit) = split(place.tid.item);
        if words.len() <= word {
            words.reserve_exact(word + 1 - words.len());
            words.resize(word + 1, 0);
        }
        if let Some(word) = words.get_mut(word)
            && *word & bit == 0
        {
            *word |= bit;
            self.count += 1;
        }
    }

    pub(super) fn contains(&self, place: Place) -> bool {
        let (word, bit) = split(place.tid.item);
        self.pages
            .get(&(place.table, place.tid.page))
            .and_then(|words| words.get(word))
            .is_some_and(|word| word & bit != 0)
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// In order, all behind `place`.
    pub(super) fn after(&self, place: Option<Place>) -> impl Iterator<Item = Place> {
        let first = place.map_or((0, 0), |place| (place.table, place.tid.page));
        self.pages
            .range(first..)
            .flat_map(|(&(table, page), words)| {
                words.iter().zip(0_u16..).flat_map(move |(word, at)| {
                    let word = *word;
                    (0..64_u16)
                        .filter(move |bit| word >> bit & 1 == 1)
                        .map(move |bit| Place {
                            table,
                            tid: Tid {
                                page,
                                item: at * 64 + bit,
                            },
                        })
                })
            })
            .filter(move |found| place.is_none_or(|place| *found > place))
    }

    /// The next ones behind `place`, all of one table, at most so many.
    pub(super) fn batch(&self, place: Option<Place>, most: usize) -> Vec<Place> {
        let mut batch: Vec<Place> = Vec::new();
        for next in self.after(place).take(most) {
            if batch.first().is_some_and(|first| first.table != next.table) {
                break;
            }
            batch.push(next);
        }
        batch
    }
}

fn split(item: u16) -> (usize, u64) {
    (usize::from(item / 64), 1 << (item % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(table: u32, page: u32, item: u16) -> Place {
        Place {
            table,
            tid: Tid { page, item },
        }
    }

    #[test]
    fn a_set_gives_back_what_it_got_in_order() {
        let mut all = vec![
            place(7, 3, 1),
            place(7, 3, 291),
            place(7, 4, 64),
            place(7, u32::MAX - 1, 63),
            place(9, 0, 1165),
        ];
        let mut places = Places::default();
        for place in all.iter().rev().chain(&all) {
            places.insert(*place);
        }
        assert_eq!(places.len(), 5);
        assert_eq!(places.after(None).collect::<Vec<_>>(), all);
        for (at, place) in all.iter().enumerate() {
            assert!(places.contains(*place));
            let behind: Vec<_> = places.after(Some(*place)).collect();
            assert_eq!(behind, all[at + 1..]);
        }
        assert!(!places.contains(place(7, 3, 2)));
        assert!(!places.contains(place(8, 3, 1)));
        // A batch is of one table.
        all.truncate(4);
        assert_eq!(places.batch(None, 10), all);
        assert_eq!(places.batch(None, 2), all[..2]);
        assert_eq!(places.batch(all.last().copied(), 2), [place(9, 0, 1165)]);
    }

    #[test]
    fn places_are_written_as_postgres_does() {
        for text in ["(0,1)", "(4294967294,291)"] {
            assert_eq!(text.parse::<Tid>().unwrap().to_string(), text);
        }
        for text in ["", "(1)", "(1,2", "(-1,2)", "(1,65536)"] {
            assert!(text.parse::<Tid>().is_err(), "{text}");
        }
    }
}
