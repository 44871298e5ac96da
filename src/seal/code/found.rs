//! What a database has of the application's own code.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Row};

use super::queries;
use crate::seal::{Names, SealError};

/// What a database has of it.
#[derive(Debug, Clone, Default)]
pub struct Code {
    pub(super) pieces: Vec<Piece>,
    pub(super) routines: BTreeMap<u32, Routine>,
    pub(super) actions: Vec<Action>,
    pub(super) held: Vec<Held>,
    /// Views and tables with rules, and a relation that what is written to them may be written to.
    pub(super) links: Vec<Link>,
    /// Their functions.
    pub(super) event_triggers: Vec<u32>,
    /// What setup has on record as vouched for.
    pub(super) vouched: BTreeSet<String>,
    /// What setup has on record as pinned.
    pub(super) pinned: Vec<Pinned>,
    /// The names of all functions that are not Postgres' own.
    pub(super) names: BTreeSet<String>,
}

/// A function whose search path setup pinned.
#[derive(Debug, Clone)]
pub(super) struct Pinned {
    pub(super) identity: String,
    /// The search path that it had, as `pg_proc.proconfig` has it.
    pub(super) former: Option<String>,
    /// The one that it has; None where it has none, or where there is no such function.
    pub(super) now: Option<String>,
    /// Whether who asks may alter it.
    pub(super) manageable: bool,
}

/// A piece of code and what it hangs on.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) relation: u32,
    pub(super) identity: String,
    /// `trigger public.orders.log`.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) events: Events,
    pub(super) columns: Vec<i16>,
    /// None: a rule.
    pub(super) routine: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `before` a row or statement, or after; `rows`: it sees all changed rows as a table.
    Trigger {
        before: bool,
        rows: bool,
    },
    Rule,
    Expression,
    Default,
    Policy,
}

/// What is done to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Events {
    pub(super) insert: bool,
    pub(super) update: bool,
    pub(super) delete: bool,
}

/// A function.
#[derive(Debug, Clone)]
pub(super) struct Routine {
    pub(super) oid: u32,
    pub(super) identity: String,
    pub(super) owner: String,
    /// Whether who asks may alter it.
    pub(super) manageable: bool,
    pub(super) definer: bool,
    pub(super) language: String,
    pub(super) search_path: Option<String>,
    pub(super) standard_body: bool,
    pub(super) source: String,
    pub(super) calls: Vec<u32>,
}

/// A foreign key that changes the referencing rows.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub(super) child: u32,
    pub(super) parent: u32,
    pub(super) on_delete: Events,
    pub(super) on_update: Events,
    pub(super) sets_default: bool,
}

/// A relation through which another one may be written to.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// What is written to.
    pub(super) above: u32,
    /// What that leads to.
    pub(super) below: u32,
    /// What leads there; None: a view passes each kind of write on.
    pub(super) by: Option<&'static str>,
}

/// What the writers hold on a relation.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) relation: u32,
    pub(super) identity: String,
    pub(super) owner: String,
    pub(super) manageable: bool,
    pub(super) privileges: BTreeSet<String>,
}

impl Action {
    /// Whether this effect of it on the referencing rows sets a piece off.
    pub(super) fn sets_off(&self, effect: Events, piece: &Piece) -> bool {
        piece.relation == self.child
            && piece.events.meets(effect)
            && (piece.kind != Kind::Default || self.sets_default)
    }
}

impl Routine {
    /// The name by which one vouches for it.
    pub(super) fn name(&self) -> String {
        format!("function {}", self.identity)
    }
}

impl Events {
    pub(super) fn has(self, privilege: &str) -> bool {
        match privilege {
            "INSERT" => self.insert,
            "UPDATE" => self.update,
            _ => self.delete,
        }
    }

    pub(super) fn meets(self, other: Self) -> bool {
        (self.insert && other.insert)
            || (self.update && other.update)
            || (self.delete && other.delete)
    }
}

/// Looks, inside a transaction of the caller's, whose search path is `pg_catalog`.
pub(in crate::seal) async fn collect(client: &Client, names: &Names) -> Result<Code, SealError> {
    // Catalog queries look costly to the planner, and compiling them takes seconds where running them takes milliseconds.
    client.execute(queries::NO_JIT, &[]).await?;
    let mut pieces: Vec<Piece> = Vec::new();
    for row in client.query(queries::TRIGGERS, &[]).await? {
        pieces.push(trigger(&row)?);
    }
    for row in client.query(queries::RULES, &[]).await? {
        pieces.push(rule(&row)?);
    }
    for row in client.query(queries::EXPRESSIONS, &[]).await? {
        pieces.push(expression(&row)?);
    }
    let mut routines = BTreeMap::new();
    let mut event_triggers: Vec<u32> = Vec::new();
    for row in client.query(queries::EVENT_TRIGGERS, &[]).await? {
        event_triggers.push(row.try_get(0)?);
    }
    let mut wanted: Vec<u32> = pieces.iter().filter_map(|piece| piece.routine).collect();
    wanted.extend(&event_triggers);
    for row in client.query(queries::DEFINERS, &[]).await? {
        wanted.push(row.try_get(0)?);
    }
    while !wanted.is_empty() {
        let mut next = BTreeSet::new();
        for row in client.query(queries::ROUTINES, &[&wanted]).await? {
            let (oid, routine) = routine(&row)?;
            next.extend(routine.calls.iter().copied());
            routines.insert(oid, routine);
        }
        wanted = next
            .into_iter()
            .filter(|oid| !routines.contains_key(oid))
            .collect();
    }
    let mut actions = Vec::new();
    for row in client.query(queries::ACTIONS, &[]).await? {
        actions.push(action(&row)?);
    }
    let mut links = Vec::new();
    for row in client.query(queries::LINKS, &[]).await? {
        links.push(link(&row)?);
    }
    let mut held = Vec::new();
    for row in client.query(queries::HELD, &[&names.writers()]).await? {
        let privileges: Vec<String> = row.try_get(4)?;
        held.push(Held {
            relation: row.try_get(0)?,
            identity: row.try_get(1)?,
            owner: row.try_get(2)?,
            manageable: row.try_get(3)?,
            privileges: privileges.into_iter().collect(),
        });
    }
    let mut vouched = BTreeSet::new();
    if client
        .query_one(queries::HAS_VOUCHED, &[])
        .await?
        .try_get(0)?
    {
        for row in client.query(queries::VOUCHED, &[]).await? {
            vouched.insert(row.try_get(0)?);
        }
    }
    let mut pinned = Vec::new();
    if client
        .query_one(queries::HAS_PINNED, &[])
        .await?
        .try_get(0)?
    {
        for row in client.query(queries::PINNED, &[]).await? {
            pinned.push(Pinned {
                identity: row.try_get(0)?,
                former: row.try_get(1)?,
                now: row.try_get(2)?,
                manageable: row.try_get(3)?,
            });
        }
    }
    let names = client.query_one(queries::NAMES, &[]).await?;
    let names: Vec<String> = names.try_get(0)?;
    Ok(Code {
        pinned,
        names: names.into_iter().collect(),
        pieces,
        routines,
        actions,
        held,
        links,
        event_triggers,
        vouched,
    })
}

fn link(row: &Row) -> Result<Link, SealError> {
    let event: String = row.try_get(2)?;
    Ok(Link {
        above: row.try_get(0)?,
        below: row.try_get(1)?,
        by: match event.as_str() {
            "2" => Some("UPDATE"),
            "3" => Some("INSERT"),
            "4" => Some("DELETE"),
            _ => None,
        },
    })
}

fn trigger(row: &Row) -> Result<Piece, SealError> {
    let bits: i16 = row.try_get(4)?;
    let has = |bit: i16| bits & bit != 0;
    Ok(Piece {
        relation: row.try_get(0)?,
        identity: row.try_get(1)?,
        name: row.try_get(2)?,
        kind: Kind::Trigger {
            before: has(2),
            rows: row.try_get(5)?,
        },
        // The bits of `tgtype`: pg_trigger.h.
        events: Events {
            insert: has(4),
            delete: has(8),
            update: has(16),
        },
        columns: Vec::new(),
        routine: Some(row.try_get(3)?),
    })
}

fn rule(row: &Row) -> Result<Piece, SealError> {
    let event: String = row.try_get(3)?;
    Ok(Piece {
        relation: row.try_get(0)?,
        identity: row.try_get(1)?,
        name: row.try_get(2)?,
        kind: Kind::Rule,
        events: Events {
            update: event == "2",
            insert: event == "3",
            delete: event == "4",
        },
        columns: Vec::new(),
        routine: None,
    })
}

fn expression(row: &Row) -> Result<Piece, SealError> {
    let kind: String = row.try_get(3)?;
    let kind = match kind.as_str() {
        "default" => Kind::Default,
        "policy" => Kind::Policy,
        _ => Kind::Expression,
    };
    Ok(Piece {
        relation: row.try_get(0)?,
        identity: row.try_get(1)?,
        name: row.try_get(2)?,
        kind,
        events: Events {
            insert: true,
            update: true,
            delete: kind == Kind::Policy,
        },
        columns: row.try_get(5)?,
        routine: Some(row.try_get(4)?),
    })
}

fn routine(row: &Row) -> Result<(u32, Routine), SealError> {
    Ok((
        row.try_get(0)?,
        Routine {
            oid: row.try_get(0)?,
            identity: row.try_get(1)?,
            definer: row.try_get(2)?,
            language: row.try_get(3)?,
            search_path: row.try_get(4)?,
            standard_body: row.try_get(5)?,
            source: row.try_get(6)?,
            calls: row.try_get(7)?,
            owner: row.try_get(8)?,
            manageable: row.try_get(9)?,
        },
    ))
}

fn action(row: &Row) -> Result<Action, SealError> {
    let (on_delete, on_update): (String, String) = (row.try_get(3)?, row.try_get(4)?);
    let sets = |action: &str| action == "n" || action == "d";
    Ok(Action {
        child: row.try_get(0)?,
        parent: row.try_get(1)?,
        on_delete: Events {
            insert: false,
            update: sets(&on_delete),
            delete: on_delete == "c",
        },
        on_update: Events {
            insert: false,
            update: sets(&on_update) || on_update == "c",
            delete: false,
        },
        sets_default: on_delete == "d" || on_update == "d",
    })
}
