//! Errors and notices about masked relations: they name the tables that the client named, and a refusal says
//! which column stands in the way, where the policy says so, and what would work.

use super::Session;
use crate::catalog::{MaskedColumn, MaskedRelation, MaskedRelations};
use crate::error::SqlState;
use crate::plan::Plan;
use crate::sql::lexer::{self, TokenKind};
use crate::sql::value;
use crate::wire::backend::Fields;
use crate::wire::frame::HEADER;
use bytes::{Buf, BytesMut};
use std::collections::BTreeSet;
use std::sync::Arc;

const UNDEFINED_COLUMN: &str = "42703";
const UNDEFINED_TABLE: &str = "42P01";
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// The words of statements that write.
const WRITES: [&str; 5] = ["insert", "update", "delete", "merge", "truncate"];

/// The most columns that a hint names.
const NAMED: usize = 3;

impl Session {
    fn masked_relations(&mut self) -> Option<Arc<MaskedRelations>> {
        let world = self.floor.as_mut()?.world().ok()?;
        Some(world.catalog.masked.as_ref()?.relations().clone())
    }

    /// A notice with the real tables' names.
    pub(super) fn with_real_names(&mut self, message: BytesMut) -> BytesMut {
        let Some(relations) = self.masked_relations() else {
            return message;
        };
        let mut body = message.clone();
        body.advance(HEADER);
        let mut fields = Fields::parse(body.freeze());
        if !real_names(&mut fields, &relations) {
            return message;
        }
        let mut out = BytesMut::new();
        fields.write(&mut out, b'N');
        out
    }

    /// An error with the real tables' names, and with what the policy has to say.
    pub(super) fn explain_masked(&mut self, fields: &mut Fields) {
        let Some(relations) = self.masked_relations() else {
            return;
        };
        let code = fields.text(b'C');
        let redirected = self
            .origin
            .as_ref()
            .is_some_and(|origin| origin.redirected.is_some());
        // The upstream may have been sealed anew with another policy.
        if redirected
            && [UNDEFINED_TABLE, INSUFFICIENT_PRIVILEGE].contains(&code.as_str())
            && may_be_sealed_anew(&fields.text(b'M'), &relations)
            && let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world())
        {
            world.catalog.stale = true;
        }
        let denied = match code.as_str() {
            INSUFFICIENT_PRIVILEGE => {
                let denied = denied_relation(&fields.text(b'M'), &relations);
                real_names(fields, &relations);
                denied
            }
            UNDEFINED_COLUMN => {
                real_names(fields, &relations);
                return self.explain_denied_column(fields, &relations);
            }
            _ => {
                real_names(fields, &relations);
                return;
            }
        };
        let Some(relation) = denied else {
            return;
        };
        let origin = self.origin.as_ref();
        let blocked = origin
            .and_then(|origin| origin.redirected.as_ref())
            .and_then(|redirected| redirected.blocked.as_ref());
        if let Some(blocked) = blocked {
            fields.set(
                b'H',
                format!("{}: {}. {}", blocked.what, blocked.because, blocked.instead),
            );
            return;
        }
        let mut words = origin
            .map(|origin| words(&origin.asked))
            .unwrap_or_default();
        // The query inside of a function, which Postgres gives in one of these, between quotes in the last.
        words.extend(identifiers(&fields.text(b'q')));
        words.extend(identifiers(&fields.text(b'W').replace('"', " ")));
        let is_write = WRITES.iter().any(|word| words.contains(*word));
        if let Some(withheld) = relation.withheld.as_ref().filter(|_| is_write) {
            fields.set(b'H', no_write(relation, withheld));
            return;
        }
        fields.set(b'H', hint(relation, &words));
    }

    /// A column that the masked view does not have, because nobody may see it.
    fn explain_denied_column(&self, fields: &mut Fields, relations: &MaskedRelations) {
        let Some(origin) = &self.origin else {
            return;
        };
        let message = fields.text(b'M');
        let Some(name) = missing_column(&message) else {
            return;
        };
        let words = words(&origin.asked);
        let found = relations
            .iter()
            .filter(|relation| words.contains(&relation.name))
            .find_map(|relation| Some((relation, relation.column(&name)?)))
            .filter(|(_, column)| column.view_number.is_none());
        if let Some((relation, column)) = found {
            fields.set(b'C', SqlState::INSUFFICIENT_PRIVILEGE.0);
            fields.set(
                b'M',
                format!(
                    "permission denied for column \"{}\" of relation \"{}\"",
                    column.name, relation.name
                ),
            );
            fields.set(b'H', format!("{}. Leave it out", said(relation, column)));
        }
    }
}

/// What the policy says of a column.
fn said(relation: &MaskedRelation, column: &MaskedColumn) -> String {
    let what = match (column.view_number, column.treatment.as_str()) {
        (None, _) => "is denied to developers".to_owned(),
        (Some(_), treatment) => format!("is masked ({treatment})"),
    };
    let because = if column.because.is_empty() {
        String::new()
    } else {
        format!(", as {} says", column.because)
    };
    format!(
        "Column {}.{}.{} {what}{because}",
        relation.schema, relation.name, column.name
    )
}

/// Why a table cannot be written to.
fn no_write(relation: &MaskedRelation, withheld: &str) -> String {
    format!(
        "Developers get on {}.{} {withheld}. Whoever seals the upstream can open it, by making that code sound (devinprod setup \
         --pin) or, where that is possible, by vouching for it in the policy",
        relation.schema, relation.name
    )
}

fn hint(relation: &MaskedRelation, words: &BTreeSet<String>) -> String {
    let closed: Vec<&MaskedColumn> = relation
        .columns
        .iter()
        .filter(|column| !column.clear && words.contains(&column.name))
        .collect();
    let instead = match &relation.view {
        None => "No column of it can be read".to_owned(),
        Some(_) => "A SELECT of the table by its name, also as a sub-query, is given synthetic values; what reads the table in another way, such as a function, is refused, and so is a write that sets off code of the application for which nobody vouches".to_owned(),
    };
    if closed.is_empty() {
        return format!(
            "The policy masks columns of {}.{}. {instead}",
            relation.schema, relation.name
        );
    }
    let said: Vec<String> = closed
        .iter()
        .take(NAMED)
        .map(|column| said(relation, column))
        .collect();
    format!("{}. {instead}", said.join("; "))
}

/// The masked relation that `permission denied for table users` speaks of; for views its text is the view's
/// name.
fn denied_relation<'a>(
    message: &str,
    relations: &'a MaskedRelations,
) -> Option<&'a MaskedRelation> {
    let (_, what) = message.split_once("permission denied for ")?;
    let (kind, name) = what.split_once(' ')?;
    relations.iter().find(|relation| match kind {
        "view" => view_name(relation).as_deref() == Some(name) || relation.name == name,
        _ => relation.name == name,
    })
}

/// Whether an error can come from another seal than the one that was read: it speaks of one of the seal's views, or of a
/// relation that was open then. That a masked table itself is refused is no news.
fn may_be_sealed_anew(message: &str, relations: &MaskedRelations) -> bool {
    let denied = message
        .split_once("permission denied for ")
        .and_then(|(_, what)| what.split_once(' '));
    match denied {
        Some((_, name)) => !relations.iter().any(|relation| relation.name == name),
        None => true,
    }
}

/// The name in `column "x" does not exist` and `column t.x does not exist`.
fn missing_column(message: &str) -> Option<String> {
    let name = message
        .strip_prefix("column ")?
        .strip_suffix(" does not exist")?;
    let name = match name.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => name.rsplit('.').next()?,
    };
    Some(name.to_owned())
}

/// The identifiers in a statement.
fn words(plan: &Plan) -> BTreeSet<String> {
    identifiers(&plan.text)
}

fn identifiers(text: &str) -> BTreeSet<String> {
    lexer::significant(text)
        .iter()
        .filter(|token| {
            matches!(
                token.kind,
                TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier
            )
        })
        .filter_map(|token| value::identifier(token, text))
        .collect()
}

/// The name of a masked view without its schema, unquoted.
fn view_name(relation: &MaskedRelation) -> Option<String> {
    let view = relation.view.as_deref()?;
    let (_, name) = view.split_once('.')?;
    Some(
        match name
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'))
        {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => name.to_owned(),
        },
    )
}

/// Replaces the names of masked views by those of the relations in whose place they stand. False if there was
/// none.
fn real_names(fields: &mut Fields, relations: &MaskedRelations) -> bool {
    let mut replaced = Vec::new();
    for relation in relations.iter() {
        let Some(name) = view_name(relation) else {
            continue;
        };
        let real = format!("{}.{}", relation.schema, relation.name);
        for view in [&relation.view, &relation.rows].into_iter().flatten() {
            replaced.push((view.clone(), real.clone()));
            replaced.push((view.replace('"', ""), real.clone()));
        }
        replaced.push((format!("view {name}"), format!("table {}", relation.name)));
        replaced.push((
            format!("view \"{name}\""),
            format!("table \"{}\"", relation.name),
        ));
        replaced.push((format!("\"{name}\""), format!("\"{}\"", relation.name)));
    }
    let replaced = &replaced;
    let seen = std::cell::Cell::new(false);
    fields.for_each_text(|text| {
        let text = std::str::from_utf8(text).ok()?;
        let mut new = text.to_owned();
        for (view, real) in replaced {
            if new.contains(view.as_str()) {
                new = new.replace(view.as_str(), real);
            }
        }
        (new != text).then(|| {
            seen.set(true);
            new.into_bytes()
        })
    });
    seen.get()
}
