//! Masks: what a policy closes, and what developers see in its place.
//!
//! A relation whose every column is clear is read as it is. Of any other, developers hold privileges on the clear
//! columns alone, and two views of the sealing role stand in its place: `devinprod_masked."schema.table"`, with a
//! synthetic value in each masked column, and `devinprod_rows."schema.table"`, with the identity of each row
//! besides. What the policy says is written into the *manifest*, tables of the schema `devinprod` that everybody may
//! read: [`judge()`] needs nothing else to see that a database has changed under the seal.
//!
//! [`found`] looks, [`decide`] applies the policy, [`views`] and [`rights`] say what to run.
//!
//! Nothing here may give developers a privilege on a whole table: a column that comes tomorrow is closed.

#[macro_use]
mod digests;
mod actions;
mod decide;
mod facts;
pub mod found;
mod judge;
mod lineage;
mod own;
mod privileges;
mod queries;
mod rights;
mod tell;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::close::literal;
use super::code::Closed;
use super::judge::Finding;
use super::plan::Step;
use super::{Names, SealOptions, Survey};
use crate::policy::Policy;
use crate::synth;
use decide::{Access, Decided, decide};
use found::{Clear, Found, Manifest, hex};
use privileges::{defaults, opens, privileges, withhold};
use tell::{shown, tell};
use views::{MASKED, ROWS, definition};

pub(super) use found::collect;
pub(super) use judge::judge;
pub(super) use lineage::{sealed, sensitive};
pub(super) use queries::PUBLIC_READS;

const MANIFEST_SQL: &str = include_str!("manifest.sql");

/// The part of a plan that is about reading.
#[derive(Default)]
pub(super) struct MaskPlan {
    /// What to run, in order.
    pub steps: Vec<Step>,
    /// Some of it is run as the sealing role.
    pub owner_works: bool,
    /// What changes, for the reader of the plan.
    pub summary: Vec<String>,
    /// What its owner should know.
    pub findings: Vec<Finding>,
}

/// The same while it is made.
#[derive(Default)]
struct Parts {
    /// Run as the administrator, before anything else of this.
    before: Vec<Step>,
    /// Run as the sealing role.
    owner: Vec<Step>,
    /// Run as the administrator, when the views are there.
    after: Vec<Step>,
    summary: Vec<String>,
    findings: Vec<Finding>,
}

/// What to run so that developers read what the policy opens, and nothing else.
///
/// `redefined`: the functions of the seal itself are made again, so that what the server keeps of them changes.
///
/// `closed`: what developers may not write to for the code that it would set off.
pub(super) fn plan(
    survey: &Survey,
    options: &SealOptions,
    closed: &[Closed],
    redefined: bool,
) -> MaskPlan {
    let found = &survey.masks;
    let Some(policy) = &options.policy else {
        return kept(survey, &options.names, redefined);
    };
    let mut plan = Parts::default();
    let names = &options.names;
    let decided = decide(found, policy, &mut plan.findings);
    let empty = Manifest::default();
    let manifest = found.manifest.as_ref().unwrap_or(&empty);
    groundwork(survey, options, manifest, &mut plan);
    relations(found, manifest, &decided, options, closed, &mut plan);
    gone(found, manifest, &decided, names, &mut plan);
    clear(found, manifest, &decided, names, &mut plan);
    privileges(found, &decided, names, closed, &mut plan);
    defaults(survey, names, &mut plan);
    version(manifest, policy, names, &mut plan);
    tell(manifest, &decided, &mut plan);
    let copies = lineage::copies(survey, &decided, names, !plan.owner.is_empty());
    let mut steps = plan.before;
    let owner_works = redefined || !plan.owner.is_empty() || !copies.is_empty();
    steps.extend(plan.owner);
    steps.extend(copies);
    if owner_works {
        steps.push(stock(names));
    }
    steps.extend(plan.after);
    MaskPlan {
        steps,
        owner_works,
        summary: plan.summary,
        findings: plan.findings,
    }
}

/// Without a policy nothing changes for readers.
fn kept(survey: &Survey, names: &Names, redefined: bool) -> MaskPlan {
    let mut plan = MaskPlan::default();
    if survey.masks.has_policy() {
        // Only if they were what they should be: a change by somebody else stays a change.
        if redefined && judge::functions_are_whole(&survey.masks) {
            plan.steps.push(stock(names));
            plan.owner_works = true;
        }
        plan.findings.push(Finding::note(
            "what developers may read stays as the last policy left it",
            "give --policy to change it",
        ));
    }
    plan
}

/// What all masked relations share, as SQL.
fn definitions(names: &Names) -> String {
    let parts = [&synth::definition(), own::OWN_SQL, MANIFEST_SQL];
    parts.map(|sql| names.fill(sql)).join("\n")
}

/// A digest of that.
fn masks_digest() -> String {
    hex(&Sha256::new()
        .chain_update(MANIFEST_SQL)
        .chain_update(own::OWN_SQL)
        .chain_update(synth::definition())
        .finalize())
}

/// Records what the server keeps, as the last thing that is run as the sealing role.
pub(super) fn stock(names: &Names) -> Step {
    as_owner(
        names,
        "What the server now keeps of all this, so that a change is noticed",
        concat!(
            "UPDATE devinprod.masked_relation AS m SET found = (",
            found!("m"),
            ");\nUPDATE devinprod.policy SET functions = ",
            functions!(),
            ";"
        ),
    )
}

fn as_owner(names: &Names, reason: impl Into<String>, sql: &str) -> Step {
    let owner = names.owner();
    let sql = sql.trim_end();
    Step::new(
        reason,
        format!("SET LOCAL ROLE {owner};\n{sql}\nRESET ROLE;"),
    )
}

/// The schemas, the functions, the key, the manifest's tables.
fn groundwork(survey: &Survey, options: &SealOptions, manifest: &Manifest, plan: &mut Parts) {
    let names = &options.names;
    let (owner, readers) = (names.owner(), names.readers());
    for schema in [MASKED, ROWS] {
        let known = survey
            .masks
            .schemas
            .iter()
            .find(|(name, ..)| name == schema);
        if known.is_none() {
            plan.before.push(Step::new(
                "A schema of the views that stand in place of sensitive tables",
                format!("CREATE SCHEMA {schema} AUTHORIZATION {owner};"),
            ));
        }
        if known.is_none_or(|(_, _, usable, _)| !usable) {
            plan.owner.push(as_owner(
                names,
                "Developers may use it",
                &format!("GRANT USAGE ON SCHEMA {schema} TO {readers};"),
            ));
        }
    }
    let current = manifest
        .policy
        .as_ref()
        .is_some_and(|(_, masks, functions)| {
            *masks == masks_digest() && functions.is_some() && *functions == survey.masks.functions
        });
    if !current {
        plan.owner.push(as_owner(
            names,
            "The masks: their key, which is made once and never changes, functions, dictionaries; and the manifest",
            &definitions(names),
        ));
    }
}

/// The views and manifests of relations that are not clear.
fn relations(
    found: &Found,
    manifest: &Manifest,
    decided: &[Decided<'_>],
    options: &SealOptions,
    closed: &[Closed],
    plan: &mut Parts,
) {
    let names = &options.names;
    let withheld = withhold(found, decided, closed);
    let vouches = |code: &str| {
        options
            .policy
            .as_ref()
            .is_some_and(|policy| policy.vouches(code))
            || options.vouched.iter().any(|vouched| vouched == code)
    };
    let again = manifest
        .policy
        .as_ref()
        .is_none_or(|(_, masks, _)| *masks != masks_digest());
    for relation in decided.iter().filter(|relation| is_masked(relation)) {
        let facts = found.facts.get(&relation.found.oid);
        let closed = closed
            .iter()
            .find(|closed| closed.relation == relation.found.oid);
        let withheld = withheld.get(&relation.found.oid);
        let denied = withheld.and_then(|withheld| withheld.told(closed));
        let definition = definition(relation, facts, withheld, denied.as_deref(), vouches, names);
        plan.findings
            .extend(unreadable(relation, &definition.closed));
        let known = manifest
            .masked
            .iter()
            .find(|known| known.oid == relation.found.oid);
        let (made, said) = known
            .and_then(|known| known.definition.split_once(' '))
            .unwrap_or_default();
        let make =
            again || made != definition.made || !known.is_some_and(|known| is_whole(found, known));
        if !make && said == definition.said {
            continue;
        }
        let mut sql = String::new();
        if make {
            sql.extend(known.map(drop_views));
            sql.push_str(&definition.views);
        }
        sql.push_str(&definition.manifest);
        plan.owner.push(as_owner(names, shown(relation), &sql));
        if make && !definition.triggers.is_empty() {
            plan.owner.push(Step::new(
                format!(
                    "Triggers on {}, which fire for developers alone and note what they wrote",
                    relation.found.identity
                ),
                definition.triggers.trim_end(),
            ));
        }
        if make && !definition.done.is_empty() {
            plan.owner.push(as_owner(
                names,
                "Nobody else makes triggers with their functions",
                &definition.done,
            ));
        }
    }
}

/// The views of a relation are there, and they and the seal's triggers are what setup made.
fn is_whole(found: &Found, known: &found::Masked) -> bool {
    known.then.is_some()
        && known.then == known.now
        && [known.view_oid, known.rows_oid]
            .iter()
            .flatten()
            .all(|oid| found.views.iter().any(|view| view.oid == *oid))
}

/// What a developer writes but cannot read back.
fn unreadable(relation: &Decided<'_>, closed: &[(String, String)]) -> Option<Finding> {
    let (_, why) = closed.first()?;
    let columns: Vec<&str> = closed.iter().map(|(column, _)| column.as_str()).collect();
    Some(Finding::note(
        format!(
            "what a developer writes into {} of {} reads back as NULL: {why}",
            columns.join(", "),
            relation.found.identity
        ),
        "if that code keeps no real value where a developer can read it, vouch for it in the policy",
    ))
}

/// Whether it has a row in `devinprod.masked_relation`.
fn is_masked(relation: &Decided<'_>) -> bool {
    let all_clear = relation.columns.iter().all(decide::DecidedColumn::is_clear);
    match relation.access {
        Access::Masked | Access::Closed => true,
        Access::Foreign => !all_clear,
        Access::Clear | Access::Extension => false,
    }
}

/// The statements that drop the seal's triggers on a table.
fn drop_triggers(facts: &facts::Facts) -> String {
    let sql: Vec<String> = facts
        .triggers
        .iter()
        .map(|name| {
            let name = name.replace('"', "\"\"");
            format!("DROP TRIGGER \"{name}\" ON {};", facts.identity)
        })
        .collect();
    sql.join("\n")
}

/// Takes the seal's triggers off all tables, so that their functions can go.
pub(super) fn removal(found: &Found) -> Option<Step> {
    let sql: Vec<String> = found
        .facts
        .values()
        .map(drop_triggers)
        .filter(|sql| !sql.is_empty())
        .collect();
    (!sql.is_empty()).then(|| {
        Step::new(
            "The triggers that note what developers wrote",
            sql.join("\n"),
        )
    })
}

fn drop_views(known: &found::Masked) -> String {
    [&known.view, &known.rows]
        .into_iter()
        .flatten()
        .map(|view| format!("DROP VIEW IF EXISTS {view} CASCADE;\n"))
        .collect()
}

/// What is no longer there, or no longer masked.
fn gone(
    found: &Found,
    manifest: &Manifest,
    decided: &[Decided<'_>],
    names: &Names,
    plan: &mut Parts,
) {
    let masked: BTreeSet<u32> = decided
        .iter()
        .filter(|relation| is_masked(relation))
        .map(|relation| relation.found.oid)
        .collect();
    for known in &manifest.masked {
        if masked.contains(&known.oid) {
            continue;
        }
        let name = format!("{}.{}", known.schema, known.name);
        let reason = if found.relation(known.oid).is_some() {
            format!("{name} is clear now")
        } else {
            format!("{name} is gone")
        };
        plan.owner.push(as_owner(
            names,
            reason,
            &format!(
                "{}DELETE FROM devinprod.masked_relation WHERE relation = {};",
                drop_views(known),
                known.oid
            ),
        ));
        let triggers = found.facts.get(&known.oid).map(drop_triggers);
        if let Some(triggers) = triggers.filter(|sql| !sql.is_empty()) {
            plan.after
                .push(Step::new(format!("{name} needs no notes"), triggers));
        }
    }
}

/// The manifest of the clear relations.
fn clear(
    found: &Found,
    manifest: &Manifest,
    decided: &[Decided<'_>],
    names: &Names,
    plan: &mut Parts,
) {
    let mut wanted: BTreeMap<u32, Clear> = BTreeMap::new();
    for relation in decided {
        if relation.access == Access::Extension || is_masked(relation) {
            continue;
        }
        let of = relation.found;
        let clear = Clear {
            oid: of.oid,
            schema: of.schema.clone(),
            name: of.name.clone(),
            columns: of.columns.iter().map(|column| column.number).collect(),
            lineage: found.lineage(of),
            security: of.security.clone(),
        };
        wanted.insert(of.oid, clear);
    }
    let mut sql = Vec::new();
    let mut dropped = Vec::new();
    for known in &manifest.clear {
        if wanted.get(&known.oid) == Some(known) {
            wanted.remove(&known.oid);
        } else {
            dropped.push(known.oid.to_string());
        }
    }
    if !dropped.is_empty() {
        sql.push(format!(
            "DELETE FROM devinprod.clear_relation WHERE relation IN ({});",
            dropped.join(", ")
        ));
    }
    if !wanted.is_empty() {
        let rows: Vec<String> = wanted.values().map(clear_row).collect();
        sql.push(format!(
            "INSERT INTO devinprod.clear_relation (relation, schema, name, columns, lineage, security) VALUES\n    {};",
            rows.join(",\n    ")
        ));
    }
    if !sql.is_empty() {
        plan.owner.push(as_owner(
            names,
            "Which relations developers read as they are",
            &sql.join("\n"),
        ));
    }
}

fn clear_row(clear: &Clear) -> String {
    let columns: Vec<String> = clear.columns.iter().map(ToString::to_string).collect();
    format!(
        "({}, {}, {}, ARRAY[{}]::int2[], {}, {})",
        clear.oid,
        literal(&clear.schema),
        literal(&clear.name),
        columns.join(", "),
        or_null(clear.lineage.as_deref()),
        or_null(clear.security.as_deref())
    )
}

/// A text as SQL, or NULL.
fn or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), literal)
}

fn version(manifest: &Manifest, policy: &Policy, names: &Names, plan: &mut Parts) {
    let masks = masks_digest();
    let same = manifest
        .policy
        .as_ref()
        .is_some_and(|(version, known, _)| version == policy.version() && *known == masks);
    if same && plan.owner.is_empty() {
        return;
    }
    plan.owner.push(as_owner(
        names,
        "Which policy this is",
        &format!(
            "INSERT INTO devinprod.policy (version, sealed_at, masks) VALUES ({}, now(), {})\n\
             ON CONFLICT (only_row) DO UPDATE SET version = excluded.version, sealed_at = excluded.sealed_at, \
             masks = excluded.masks;",
            literal(policy.version()),
            literal(&masks)
        ),
    ));
}
