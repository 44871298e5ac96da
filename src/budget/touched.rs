//! What a statement touches, as far as budgets care.

use std::sync::Arc;

/// What a statement touches. Cheap to clone; the same statement should hand in the same one.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    /// The relations, as the client knows them.
    pub relations: Arc<[TouchedRelation]>,
    /// It may touch others besides (a function whose body nobody has read): then every budget counts it.
    pub unknown: bool,
}

/// A relation that a statement touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchedRelation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns that are not clear and that the statement may show.
    pub sensitive: Vec<String>,
}

impl Touched {
    /// These relations and no others.
    pub fn new(relations: impl Into<Arc<[TouchedRelation]>>) -> Self {
        Self {
            relations: relations.into(),
            unknown: false,
        }
    }

    /// Nobody knows.
    pub fn unknown() -> Self {
        Self {
            unknown: true,
            ..Self::default()
        }
    }

    /// Is it surely the same?
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.relations, &other.relations) && self.unknown == other.unknown
    }
}
