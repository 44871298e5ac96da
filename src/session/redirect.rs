//! Statements that name masked relations: what is sent in their place, and how the answers are made to look
//! like those of the real tables.

use super::expect::{Expect, Own};
use super::{Session, Stop};
use crate::catalog::{Masked, MaskedRelations};
use crate::plan::{Action, Plan, Redirected};
use crate::sql::{lexer, value};
use crate::wire::frame::HEADER;
use bytes::BytesMut;
use std::sync::Arc;

/// Decides what a name without a schema means.
const SEARCH_PATH: &str = "search_path";

/// Attribute numbers of ctid, tableoid and xmin
/// ([`sysattr.h`](https://github.com/postgres/postgres/blob/master/src/include/access/sysattr.h)), in the
/// order in which a rows view has them behind its other columns.
const SYSTEM_COLUMNS: [i16; 3] = [-1, -6, -2];

impl Session {
    /// What is sent in place of a statement that names masked relations; the floor is held. None: it is sent
    /// as it is. What was planned before may have failed on the way ([`Self::skipping`]).
    pub(super) async fn redirect(&mut self, plan: &Plan) -> Result<Option<Arc<Redirected>>, Stop> {
        let catalog = &self.world()?.catalog;
        let (Some(masked), Action::Forward(_)) = (&catalog.masked, &plan.action) else {
            return Ok(None);
        };
        if catalog.stale && names_any(&plan.text, masked.relations()) && !self.in_failed_block() {
            self.refresh_catalog().await?;
        }
        let sets_path = |expect: &Expect| matches!(expect, Expect::Own(Own::Setting { name, .. }) if name == SEARCH_PATH);
        if self.queue.iter().any(sets_path) {
            self.exchange(false).await?;
        }
        if self.skipping {
            return Ok(None);
        }
        Ok(self.meaning()?.and_then(|masked| plan.redirected(&masked)))
    }

    /// What names mean to this client now.
    pub(super) fn meaning(&mut self) -> Result<Option<Arc<Masked>>, Stop> {
        let path = self
            .plan_view()
            .settings
            .get(SEARCH_PATH)
            .map(str::to_owned);
        let context = self.context.clone();
        let masked = &mut self.world()?.catalog.masked;
        Ok(masked
            .as_mut()
            .map(|masked| masked.seen_with(path.as_deref(), |new| context.plans.meaning(new))))
    }

    fn in_failed_block(&mut self) -> bool {
        self.plan_view()
            .block
            .as_ref()
            .is_some_and(|block| block.failed)
    }

    /// A RowDescription as the real tables would give it: drivers and ORMs look up the columns by their table
    /// and number.
    pub(super) fn map_description(&mut self, message: &mut BytesMut) {
        if let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world())
            && let Some(masked) = &world.catalog.masked
        {
            map_columns(message, masked.relations());
        }
    }
}

/// Puts the real tables' oids and attribute numbers in the place of the views' into a RowDescription, header
/// included.
fn map_columns(message: &mut [u8], relations: &MaskedRelations) {
    let Some(count) = number(message, HEADER).map(u16::from_be_bytes) else {
        return;
    };
    let mut at = HEADER + 2;
    for _ in 0..count {
        let Some(length) = message.get(at..).and_then(|rest| memchr::memchr(0, rest)) else {
            return;
        };
        at += length + 1;
        let (Some(table), Some(column)) = (
            number(message, at).map(u32::from_be_bytes),
            number(message, at + 4).map(i16::from_be_bytes),
        ) else {
            return;
        };
        if table != 0
            && let Some(relation) = relations.by_view(table)
        {
            let visible = relation.visible().count();
            let in_table = relation
                .columns
                .iter()
                .find(|known| known.view_number == Some(column))
                .map(|known| known.number)
                .or_else(|| {
                    let behind = usize::try_from(column).ok()?.checked_sub(visible + 1)?;
                    SYSTEM_COLUMNS.get(behind).copied()
                });
            let (table, column) = in_table.map_or((0, 0), |column| (relation.oid, column));
            if let Some(place) = message.get_mut(at..at + 6) {
                let (oid, number) = place.split_at_mut(4);
                oid.copy_from_slice(&table.to_be_bytes());
                number.copy_from_slice(&column.to_be_bytes());
            }
        }
        // Table, column, type, its size and modifier, format.
        at += 4 + 2 + 4 + 2 + 4 + 2;
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// Whether a statement may name one of them, in any schema.
fn names_any(text: &str, relations: &MaskedRelations) -> bool {
    lexer::significant(text)
        .iter()
        .filter_map(|token| value::identifier(token, text))
        .any(|name| relations.knows(&name))
}
