//! What foreign keys' actions would show.
//!
//! ON UPDATE CASCADE, ON DELETE SET NULL and their like change the referencing rows as the *owner* of their table. If a
//! constraint of that table refuses, the error prints the row with the owner's eyes: all of it, or the columns of an
//! index. So a developer must not be able to set off an action that a constraint may refuse, where the row has
//! anything that is not clear.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;

use crate::seal::SealError;
use crate::seal::code::Closed;

/// A foreign key with an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    /// Its name.
    name: String,
    /// The relation that refers, and its columns.
    child: u32,
    child_columns: Vec<i16>,
    /// The relation that is referred to, and its columns.
    parent: u32,
    parent_columns: Vec<i16>,
    /// `a`, `r`, `c`, `n` or `d`: nothing, restrict, cascade, set null, set default.
    on_update: char,
    on_delete: char,
    /// A constraint of the child that prints the whole row may refuse an update of its referring columns.
    refuses_update: bool,
    refuses_delete: bool,
    /// The columns of its unique and exclusion constraints that a referring column is part of.
    indexed: Vec<i16>,
}

/// What developers must not do to a relation, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Withheld {
    /// No INSERT.
    pub insert: bool,
    /// No DELETE.
    pub delete: bool,
    /// No UPDATE of these columns; 0: of any.
    pub update: BTreeSet<i16>,
    /// The foreign keys.
    pub because: BTreeSet<String>,
}

impl Withheld {
    /// In words that follow "developers get"; `closed`: the code for which something is withheld.
    pub fn told(&self, closed: Option<&Closed>) -> Option<String> {
        let what: Vec<&str> = [
            (self.insert, "no INSERT"),
            (!self.update.is_empty(), "no UPDATE"),
            (self.delete, "no DELETE"),
        ]
        .into_iter()
        .filter_map(|(withheld, what)| withheld.then_some(what))
        .collect();
        let mut because: Vec<String> =
            closed.map_or_else(Vec::new, |closed| closed.because.clone());
        because.extend(self.because.iter().map(|key| {
            format!("what {key} sets off may fail, and the error would show a whole row")
        }));
        (!what.is_empty()).then(|| format!("{}: {}", what.join(", "), because.join("; ")))
    }
}

/// The columns that are not clear, by relation.
pub(super) type Hidden = BTreeMap<u32, BTreeSet<i16>>;

/// What must be withheld, by relation.
pub(super) fn withheld(actions: &[Action], hidden: &Hidden) -> BTreeMap<u32, Withheld> {
    let nothing = BTreeSet::new();
    let mut withheld: BTreeMap<u32, Withheld> = BTreeMap::new();
    // Until nothing is added: an action sets off actions.
    loop {
        let mut changed = false;
        for action in actions {
            let below = withheld.get(&action.child).cloned().unwrap_or_default();
            let hidden = hidden.get(&action.child).unwrap_or(&nothing);
            let shown_by_index = action.indexed.iter().any(|column| hidden.contains(column));
            let goes_on = action
                .child_columns
                .iter()
                .any(|column| below.update.contains(column));
            let bad = |refuses: bool| !hidden.is_empty() && (refuses || shown_by_index) || goes_on;
            let changes = |kind: char| matches!(kind, 'c' | 'n' | 'd');
            let delete = match action.on_delete {
                'n' | 'd' => bad(action.refuses_delete),
                'c' => below.delete,
                _ => false,
            };
            let update = changes(action.on_update) && bad(action.refuses_update);
            if !delete && !update {
                continue;
            }
            let known = withheld.entry(action.parent).or_default();
            let before = known.clone();
            known.delete |= delete;
            if update {
                known.update.extend(&action.parent_columns);
            }
            known.because.insert(action.name.clone());
            changed |= *known != before;
        }
        if !changed {
            return withheld;
        }
    }
}

/// See [`ACTIONS`].
pub(super) fn action(row: &Row) -> Result<Action, SealError> {
    let letter = |place: usize| -> Result<char, SealError> {
        let text: &str = row.try_get(place)?;
        Ok(text.chars().next().unwrap_or_default())
    };
    Ok(Action {
        name: row.try_get(0)?,
        child: row.try_get(1)?,
        child_columns: row.try_get(2)?,
        parent: row.try_get(3)?,
        parent_columns: row.try_get(4)?,
        on_update: letter(5)?,
        on_delete: letter(6)?,
        refuses_update: row.try_get(7)?,
        refuses_delete: row.try_get(8)?,
        indexed: row.try_get(9)?,
    })
}

/// The foreign keys with actions. Whatever cannot be excluded counts as a refusal: a CHECK that names a referring
/// column, or calls functions of users, or was never validated; NOT NULL where a NULL may come; a partition key.
pub(super) const ACTIONS: &str = "
WITH keys AS (
    SELECT f.oid, f.conname, f.conrelid, f.conkey, f.confrelid, f.confkey, f.confupdtype, f.confdeltype,
        EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = f.conrelid AND k.contype = 'c'
            AND (k.conkey IS NULL OR k.conkey && f.conkey OR NOT k.convalidated
                OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                    AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)))) AS checked,
        EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = f.conrelid AND a.attnum = ANY (f.conkey)
                AND (a.attnotnull OR t.typtype = 'd')) AS needed,
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = f.confrelid AND a.attnum = ANY (f.confkey)
            AND NOT a.attnotnull) AS nullable,
        EXISTS (SELECT FROM pg_partitioned_table p
            WHERE p.partrelid = coalesce(pg_partition_root(f.conrelid), f.conrelid)) AS parted
    FROM pg_constraint f WHERE f.contype = 'f'
        AND (f.confupdtype IN ('c', 'n', 'd') OR f.confdeltype IN ('c', 'n', 'd'))
)
SELECT format('foreign key %s.%s', k.conrelid::regclass, k.conname), k.conrelid, k.conkey, k.confrelid, k.confkey,
    k.confupdtype::text, k.confdeltype::text,
    k.checked OR k.parted OR (k.needed AND (k.confupdtype <> 'c' OR k.nullable)),
    k.checked OR k.parted OR k.needed,
    ARRAY(SELECT DISTINCT c.number FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) AS c (number)
        WHERE i.indrelid = k.conrelid AND (i.indisunique OR i.indisexclusion)
            AND (i.indkey::int2[] && k.conkey OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
        UNION
        -- What an expression or a predicate reads.
        SELECT d.refobjsubid::int2 FROM pg_index i JOIN pg_depend d ON d.classid = 'pg_class'::regclass
            AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
            AND d.refobjsubid > 0
        WHERE i.indrelid = k.conrelid AND (i.indisunique OR i.indisexclusion)
            AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
FROM keys k ORDER BY 1";

#[cfg(test)]
mod tests {
    use super::*;

    fn action(child: u32, parent: u32, on_update: char, on_delete: char, refuses: bool) -> Action {
        Action {
            name: format!("{child} to {parent}"),
            child,
            child_columns: vec![2],
            parent,
            parent_columns: vec![if parent == 1 { 1 } else { 2 }],
            on_update,
            on_delete,
            refuses_update: refuses,
            refuses_delete: refuses,
            indexed: Vec::new(),
        }
    }

    fn check(actions: &[Action], clear: bool, delete: &[u32], update: &[u32]) {
        let hidden: Hidden = (1..=3)
            .filter(|_| !clear)
            .map(|oid| (oid, BTreeSet::from([3])))
            .collect();
        let found = withheld(actions, &hidden);
        let of = |what: fn(&Withheld) -> bool| -> Vec<u32> {
            found
                .iter()
                .filter(|(_, withheld)| what(withheld))
                .map(|(oid, _)| *oid)
                .collect()
        };
        assert_eq!(of(|w| w.delete), delete, "{actions:?}");
        assert_eq!(of(|w| !w.update.is_empty()), update, "{actions:?}");
    }

    #[test]
    fn what_may_be_refused_is_not_set_off() {
        check(&[action(2, 1, 'a', 'c', true)], false, &[], &[]);
        check(&[action(2, 1, 'c', 'r', true)], false, &[], &[1]);
        check(&[action(2, 1, 'c', 'n', true)], false, &[1], &[1]);
        check(&[action(2, 1, 'c', 'n', false)], false, &[], &[]);
        check(&[action(2, 1, 'c', 'n', true)], true, &[], &[]);
        // From the grandchild up.
        let chain = [action(2, 1, 'c', 'c', false), action(3, 2, 'c', 'n', true)];
        check(&chain, false, &[1, 2], &[1, 2]);
        let set_null = [action(2, 1, 'a', 'n', false), action(3, 2, 'n', 'a', true)];
        check(&set_null, false, &[1], &[2]);
    }
}
