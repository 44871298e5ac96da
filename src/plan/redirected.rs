//! A statement on masked relations as it is sent: redirected once per text and meaning of names, then kept
//! beside its plan.

use super::redirect::{Blocked, Redirect, TOKEN, redirect};
use super::{Action, Plan, Rewritten, truncate};
use crate::catalog::Masked;
use crate::sql::edit::{Edit, Edits};
use crate::sql::statement::{Kind, LockMode, RelationName};
use std::sync::{Arc, Mutex, PoisonError};

/// Meanings of names for which a plan's redirect is kept: search paths, catalogs of several upstreams.
const KEPT: usize = 4;

/// The setting that `devinprod.remember` and `devinprod.take` are given as their token: a new one for each
/// statement that runs.
pub const RETURNING: &str = "devinprod.returning";

/// What runs in place of a statement that names masked relations.
#[derive(Debug)]
pub struct Redirected {
    /// The statement itself, planned like any other.
    pub plan: Arc<Plan>,
    /// What is sent behind it: its rows and their description are the client's.
    pub returning: Option<Arc<Plan>>,
    /// Why it will be refused, if that can be told.
    pub blocked: Option<Blocked>,
}

/// The redirects of one plan, by what names meant when they were made.
#[derive(Debug, Default)]
pub(super) struct Redirects(Mutex<Vec<Known>>);

/// None: nothing of it is masked.
type Known = (Arc<Masked>, Option<Arc<Redirected>>);

impl Plan {
    /// What is sent instead to a client for whom names mean this; None if nothing of it is masked. Equal
    /// meanings should be the same Arc: they are told apart by it.
    pub fn redirected(&self, masked: &Arc<Masked>) -> Option<Arc<Redirected>> {
        let lock = || {
            self.redirects
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let known = |known: &&Known| Arc::ptr_eq(&known.0, masked);
        if let Some((_, redirected)) = lock().iter().find(known) {
            return redirected.clone();
        }
        let redirected = self.redirect(masked).map(Arc::new);
        let mut redirects = lock();
        if redirects.len() >= KEPT {
            redirects.remove(0);
        }
        redirects.push((masked.clone(), redirected.clone()));
        redirected
    }

    fn redirect(&self, masked: &Masked) -> Option<Redirected> {
        let redirect = match &self.statement.kind {
            Kind::Lock { tables, mode, .. } if *mode == LockMode::AccessShare => {
                reads(&self.text, tables, masked)
            }
            Kind::Lock { tables, .. } => locks(tables, masked),
            _ => redirect(&self.text, &self.statement, masked),
        };
        if redirect.edits.is_empty() && redirect.blocked.is_none() {
            return None;
        }
        let token = |text: &str| {
            text.replace(
                &format!("'{TOKEN}'"),
                &format!("pg_catalog.current_setting('{RETURNING}')"),
            )
        };
        let mut edits = Edits::default();
        for mut edit in redirect.edits {
            edit.text = token(&edit.text);
            // Half a redirect could mean something else: all of it, or none.
            if edits.add(edit).is_err() {
                tracing::warn!("the edits of a redirect overlap; the statement is sent as it is");
                return None;
            }
        }
        let rewritten = edits.apply(&self.text).ok()?;
        let mut plan = Self::rewritten(rewritten);
        if let (Some(tag), Action::Forward(forward)) = (redirect.tag, &mut plan.action) {
            forward.tag = Some(tag);
            if matches!(self.statement.kind, Kind::Lock { .. }) {
                // The block that it runs as is ours, and has no effect.
                forward.effect = false;
            }
        }
        let returning = redirect
            .returning
            .map(|returning| Arc::new(Self::new(&token(&returning.query))));
        Some(Redirected {
            plan: Arc::new(plan),
            returning,
            blocked: redirect.blocked,
        })
    }

    /// The plan of a text that was made from a client's.
    fn rewritten(rewritten: Rewritten) -> Self {
        Self {
            back: Some(Arc::new(rewritten.clone())),
            ..Self::new(&rewritten.text)
        }
    }
}

/// LOCK TABLE asks for rights to the whole table; one of the view locks the table, too.
fn locks(tables: &[RelationName], masked: &Masked) -> Redirect {
    let edits = tables.iter().filter_map(|table| {
        let relation = masked.resolve(table.schema.as_deref(), &table.name)?;
        Some(Edit::new(table.span.clone(), relation.view.clone()?))
    });
    Redirect {
        edits: edits.collect(),
        ..Redirect::default()
    }
}

/// LOCK TABLE … IN ACCESS SHARE MODE, as pg_dump begins. Where a policy holds developers have rights to columns, of tables
/// of which all is clear, too: what reads a table, or the view in its place, holds the same lock for as long.
fn reads(text: &str, tables: &[RelationName], masked: &Masked) -> Redirect {
    let has_policy = masked
        .relations()
        .iter()
        .any(|relation| relation.schema != "information_schema");
    if !has_policy {
        return Redirect::default();
    }
    let sources: Vec<String> = tables
        .iter()
        .enumerate()
        .filter_map(|(number, table)| {
            let view = masked
                .resolve(table.schema.as_deref(), &table.name)
                .and_then(|relation| relation.view.as_deref());
            // The same table may stand there twice.
            let name = view.or_else(|| text.get(table.span.clone()))?;
            Some(format!("{name} AS devinprod_{number}"))
        })
        .collect();
    let sources = sources.join(", ");
    let block = truncate::block(&format!("BEGIN PERFORM FROM {sources} WHERE false; END"));
    Redirect {
        edits: vec![Edit::new(0..text.len(), block)],
        tag: Some("LOCK TABLE"),
        ..Redirect::default()
    }
}
