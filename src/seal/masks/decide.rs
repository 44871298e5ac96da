//! What becomes of each relation: a policy applied to what was found. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::found::{Found, FoundColumn, FoundRelation};
use super::lineage::Derived;
use crate::policy::{Decision, Policy, Treatment};
use crate::seal::judge::Finding;
use crate::synth;

/// A relation and what becomes of its columns.
#[derive(Debug, Clone)]
pub(super) struct Decided<'a> {
    pub found: &'a FoundRelation,
    pub columns: Vec<DecidedColumn<'a>>,
    pub access: Access,
}

/// A column and what becomes of it.
#[derive(Debug, Clone)]
pub(super) struct DecidedColumn<'a> {
    pub found: &'a FoundColumn,
    pub decision: Decision,
    /// SQL that makes the synthetic value from the row `t`; None unless it is masked.
    pub mask: Option<String>,
}

/// How developers get at a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// As it is: every column that it has now.
    Clear,
    /// Its clear columns, and a view in its place.
    Masked,
    /// Not at all.
    Closed,
    /// As its extension left it.
    Extension,
    /// The seal cannot change who may read it.
    Foreign,
}

impl DecidedColumn<'_> {
    /// The real value may be read.
    pub fn is_clear(&self) -> bool {
        self.decision.treatment == Treatment::Clear
    }

    /// It stands in the view.
    pub fn is_seen(&self) -> bool {
        self.decision.treatment != Treatment::Deny || !self.decision.exceptions.is_empty()
    }
}

/// Decides about every relation; what the policy's owner should know goes to `findings`.
pub(super) fn decide<'a>(
    found: &'a Found,
    policy: &Policy,
    findings: &mut Vec<Finding>,
) -> Vec<Decided<'a>> {
    let mut state = State {
        found,
        policy,
        done: BTreeMap::new(),
        findings,
    };
    for relation in &found.relations {
        state.relation(relation, &mut BTreeSet::new());
    }
    let mut done = state.done;
    // In the order in which they were found.
    found
        .relations
        .iter()
        .filter_map(|relation| done.remove(&relation.oid))
        .collect()
}

struct State<'a, 'b> {
    found: &'a Found,
    policy: &'b Policy,
    done: BTreeMap<u32, Decided<'a>>,
    findings: &'b mut Vec<Finding>,
}

impl<'a> State<'a, '_> {
    /// Decides about a relation, after what it hangs on. `open` holds those that are being decided upon.
    fn relation(&mut self, relation: &'a FoundRelation, open: &mut BTreeSet<u32>) {
        if self.done.contains_key(&relation.oid) || !open.insert(relation.oid) {
            return;
        }
        for below in relation.parents.iter().chain(&relation.reads) {
            if let Some(below) = self.found.relation(*below) {
                self.relation(below, open);
            }
        }
        let mut columns: Vec<DecidedColumn<'a>> = relation
            .columns
            .iter()
            .map(|column| DecidedColumn {
                found: column,
                decision: self.column(relation, column),
                mask: None,
            })
            .collect();
        if relation.kind == 'v' || relation.kind == 'm' {
            self.derived_columns(relation, &mut columns);
        }
        self.generated(relation, &mut columns);
        for column in &mut columns {
            self.fit(relation, column);
        }
        let access = self.access(relation, &columns);
        let decided = Decided {
            found: relation,
            columns,
            access,
        };
        self.done.insert(relation.oid, decided);
    }

    /// What the policy says; for what is inherited, what it says of the parent.
    fn column(&self, relation: &FoundRelation, column: &FoundColumn) -> Decision {
        relation
            .parents
            .iter()
            .filter_map(|parent| self.done.get(parent))
            .flat_map(|parent| &parent.columns)
            .filter(|inherited| inherited.found.name == column.name)
            .map(|inherited| inherited.decision.clone())
            .max_by_key(|decision| match decision.treatment {
                Treatment::Clear => 0,
                Treatment::Mask(_) => 1,
                Treatment::Deny => 2,
            })
            .unwrap_or_else(|| {
                self.policy
                    .column(&relation.schema, &relation.name, &column.name)
            })
    }

    /// A generated column tells what it is made of.
    fn generated(&self, relation: &FoundRelation, columns: &mut [DecidedColumn<'a>]) {
        let sensitive: BTreeSet<i16> = columns
            .iter()
            .filter(|column| !column.is_clear())
            .map(|column| column.found.number)
            .collect();
        for column in columns.iter_mut() {
            let source = column
                .found
                .sources
                .iter()
                .find(|source| sensitive.contains(source));
            let Some(source) = source.and_then(|number| relation.column(*number)) else {
                continue;
            };
            if column.is_clear() && !self.names(relation, column.found) {
                column.decision = Decision {
                    treatment: Treatment::Deny,
                    because: format!(
                        "it is generated from the column {}, which is not clear",
                        source.name
                    ),
                    exceptions: Vec::new(),
                };
            }
        }
    }

    /// Whether the policy names just this column.
    fn names(&self, relation: &FoundRelation, column: &FoundColumn) -> bool {
        let found = self
            .policy
            .find(&relation.schema, &relation.name, &column.name);
        matches!(found, crate::policy::Found::Column(_))
    }

    /// Makes the mask's expression, or denies the column where there is none for its type.
    fn fit(&mut self, relation: &FoundRelation, column: &mut DecidedColumn<'a>) {
        let Treatment::Mask(mask) = &column.decision.treatment else {
            return;
        };
        let shape = synth::Column {
            sql_type: column.found.base.clone(),
            labels: column.found.labels.clone(),
            unique: column.found.unique,
        };
        match mask.expression(&format!("t.{}", column.found.identity), &shape) {
            Ok(expression) => column.mask = Some(expression),
            Err(unfit) => {
                let Decision { because, .. } = &column.decision;
                self.findings.push(Finding::note(
                    format!(
                        "{}.{} is denied: {unfit} ({because})",
                        relation.identity, column.found.identity
                    ),
                    "choose a mask for its type in the policy",
                ));
                column.decision.because = format!("{because}, and {unfit}");
                column.decision.treatment = Treatment::Deny;
            }
        }
    }

    fn access(&self, relation: &FoundRelation, columns: &[DecidedColumn<'a>]) -> Access {
        if relation.extension {
            return Access::Extension;
        }
        if !relation.manageable {
            return Access::Foreign;
        }
        if columns.iter().all(DecidedColumn::is_clear) {
            Access::Clear
        } else if relation.kind != 'v' && columns.iter().any(DecidedColumn::is_seen) {
            Access::Masked
        } else {
            Access::Closed
        }
    }

    /// A view runs as its owner, and a materialized view holds its data itself: both are clear if all that they read
    /// is. Else only what the policy names, and plain columns of a materialized view, which are as where they come from.
    fn derived_columns(&self, relation: &FoundRelation, columns: &mut [DecidedColumn<'a>]) {
        let nothing = Derived::default();
        let derived = self.found.derived.get(&relation.oid).unwrap_or(&nothing);
        let sensitive = self.sensitive(derived);
        for column in columns {
            if self.names(relation, column.found) {
                continue;
            }
            let origin = derived
                .origins
                .get(&column.found.number)
                .filter(|_| relation.kind == 'm')
                .and_then(|(below, number)| {
                    let below = self.done.get(below)?;
                    let origin = below.columns.iter().find(|c| c.found.number == *number)?;
                    Some((below, origin))
                });
            column.decision = match (&sensitive, origin) {
                (None, _) => Decision {
                    treatment: Treatment::Clear,
                    because: "all that it reads is clear".to_owned(),
                    exceptions: Vec::new(),
                },
                (Some(_), Some((below, origin))) => Decision {
                    because: format!(
                        "it is {}.{}: {}",
                        below.found.identity, origin.found.identity, origin.decision.because
                    ),
                    ..origin.decision.clone()
                },
                (Some(below), None) => Decision {
                    treatment: Treatment::Deny,
                    because: format!(
                        "it reads {below}, which is not clear, and no line names this column"
                    ),
                    exceptions: Vec::new(),
                },
            };
        }
    }

    /// Something that it reads and that is not clear.
    fn sensitive(&self, derived: &Derived) -> Option<String> {
        if derived.calls {
            return Some("what a function gives it".to_owned());
        }
        derived.reads.iter().find_map(|(oid, number)| {
            let Some(below) = self.done.get(oid) else {
                let relation = self.found.relation(*oid);
                return Some(relation.map_or_else(
                    || "a relation of the system".to_owned(),
                    |relation| relation.identity.clone(),
                ));
            };
            let by_column = matches!(
                below.access,
                Access::Clear | Access::Masked | Access::Closed
            );
            // What it reads without naming a column of it tells no more than how many rows there are.
            let reads =
                |column: &&DecidedColumn<'_>| derived.whole_rows || column.found.number == *number;
            let hidden = below
                .columns
                .iter()
                .filter(reads)
                .find(|column| !column.is_clear());
            match hidden {
                Some(column) => Some(format!(
                    "{}.{}",
                    below.found.identity, column.found.identity
                )),
                None if !by_column => Some(below.found.identity.clone()),
                None => None,
            }
        })
    }
}
