//! Whether developers can read only what the policy opened: judged from the database and the manifest alone, since
//! the proxy, which looks every minute, has no policy of its own to trust.

use std::collections::BTreeSet;

use super::actions::withheld;
use super::found::{Found, FoundRelation, Manifest, Masked};
use super::views::{MASKED, ROWS};
use crate::seal::Names;
use crate::seal::judge::Finding;

const REMEDY: &str = "run devinprod setup --policy";

/// All there is to say of the masks; nothing where no policy was sealed.
pub(in crate::seal) fn judge(found: &Found, names: &Names) -> Vec<Finding> {
    let mut findings = Vec::new();
    let manifest = match &found.manifest {
        Some(manifest) if manifest.policy.is_some() => manifest,
        _ => return findings,
    };
    schemas(found, names, &mut findings);
    masked(found, manifest, &mut findings);
    strange_views(found, manifest, names, &mut findings);
    readable(found, manifest, names, &mut findings);
    set_off(found, names, &mut findings);
    clear(found, manifest, &mut findings);
    functions(found, manifest, &mut findings);
    defaults(found, names, &mut findings);
    for (table, role) in &found.secrets {
        findings.push(Finding::hole(
            format!("{role} may get at devinprod.{table}"),
            format!("REVOKE ALL ON devinprod.{table} FROM {role};"),
        ));
    }
    row_security(found, &mut findings);
    copies(found, &mut findings);
    findings
}

fn schemas(found: &Found, names: &Names, findings: &mut Vec<Finding>) {
    for name in [MASKED, ROWS] {
        match found.schemas.iter().find(|(schema, ..)| schema == name) {
            None => findings.push(Finding::note(
                format!("the schema {name} is missing"),
                REMEDY,
            )),
            Some((_, owner, _, open)) if *owner != names.owner() || *open => {
                findings.push(Finding::hole(
                    format!(
                        "the schema {name} belongs to {owner}, or others may make objects there"
                    ),
                    REMEDY,
                ));
            }
            Some(_) => {}
        }
    }
}

fn masked(found: &Found, manifest: &Manifest, findings: &mut Vec<Finding>) {
    for relation in &manifest.masked {
        let name = format!("{}.{}", relation.schema, relation.name);
        let Some(now) = found.relation(relation.oid) else {
            findings.push(Finding::note(
                format!("{name} is gone; what took its place, if anything, is closed"),
                REMEDY,
            ));
            continue;
        };
        if now.schema != relation.schema || now.name != relation.name {
            findings.push(Finding::note(
                format!("{name} is called {} now", now.identity),
                REMEDY,
            ));
        }
        if relation.then.is_none() || relation.then != relation.now {
            findings.push(Finding::hole(
                format!(
                    "the masked views of {name}, or the seal's triggers on it, have been changed"
                ),
                REMEDY,
            ));
        }
        for (text, oid) in [
            (&relation.view, relation.view_oid),
            (&relation.rows, relation.rows_oid),
        ] {
            let there = oid.is_some_and(|oid| found.views.iter().any(|view| view.oid == oid));
            if let (Some(view), false) = (text, there) {
                findings.push(Finding::hole(format!("the view {view} is missing"), REMEDY));
            }
        }
        written_by(found, relation, findings);
        shown_rows(now, relation.security.as_ref(), findings);
        let known = |number: i16| manifest.columns.contains_key(&(now.oid, number));
        news(now, known, findings);
    }
}

/// What a developer writes reads back as their own where nothing else could have put a real value there.
fn written_by(found: &Found, relation: &Masked, findings: &mut Vec<Finding>) {
    let (Some(facts), Some(_)) = (found.facts.get(&relation.oid), &relation.view) else {
        return;
    };
    let seen = relation.seen.as_deref().unwrap_or_default();
    let new: Vec<String> = facts
        .code()
        .into_iter()
        .filter(|code| seen.lines().all(|line| line != code))
        .collect();
    if !new.is_empty() {
        findings.push(Finding::hole(
            format!(
                "code that came after the seal may change what is written to {}, and its values would be shown as a \
                 developer's own: {}",
                facts.identity,
                new.join(", ")
            ),
            REMEDY,
        ));
    }
}

/// Row security that setup found in force still is.
fn shown_rows(now: &FoundRelation, then: Option<&String>, findings: &mut Vec<Finding>) {
    match (then, &now.security) {
        (Some(_), None) => findings.push(Finding::hole(
            format!(
                "row security of {} is off, which was in force: developers see all its rows",
                now.identity
            ),
            "switch it on again, or run devinprod setup --policy if that is meant",
        )),
        (then, security) if then != security.as_ref() => findings.push(Finding::note(
            format!(
                "row security of {} has been changed: developers see the rows that it shows now",
                now.identity
            ),
            REMEDY,
        )),
        _ => {}
    }
}

/// Columns that came after the seal are closed.
fn news(relation: &FoundRelation, known: impl Fn(i16) -> bool, findings: &mut Vec<Finding>) {
    let new: Vec<&str> = relation
        .columns
        .iter()
        .filter(|column| !known(column.number))
        .map(|column| column.identity.as_str())
        .collect();
    if !new.is_empty() {
        findings.push(Finding::note(
            format!(
                "{} has new columns, which are closed: {}",
                relation.identity,
                new.join(", ")
            ),
            REMEDY,
        ));
    }
}

/// Everything in the schemas of views is ours, and known.
fn strange_views(found: &Found, manifest: &Manifest, names: &Names, findings: &mut Vec<Finding>) {
    let known: BTreeSet<u32> = manifest
        .masked
        .iter()
        .flat_map(|relation| [relation.view_oid, relation.rows_oid])
        .flatten()
        .collect();
    for view in &found.views {
        let ours = view.kind == 'v' && view.owner == names.owner() && known.contains(&view.oid);
        // A view of this owner reads what developers may read, and nothing else.
        let harmless = view.kind == 'v' && view.owner == names.viewer();
        if !ours && !harmless {
            findings.push(Finding::hole(
                format!("{}.{:?} was not made by setup", view.schema, view.name),
                "drop it; only setup makes anything there",
            ));
        }
    }
}

/// Whoever is a developer reads only clear columns, and links only to those.
fn readable(found: &Found, manifest: &Manifest, names: &Names, findings: &mut Vec<Finding>) {
    let hidden = found.hidden();
    let (readers, writers) = (names.readers(), names.writers());
    let mut closed = Vec::new();
    for relation in found
        .relations
        .iter()
        .filter(|relation| !relation.extension)
    {
        let sensitive: Vec<(i16, &str)> = relation
            .columns
            .iter()
            .filter(|column| {
                hidden
                    .get(&relation.oid)
                    .is_some_and(|hidden| hidden.contains(&column.number))
            })
            .map(|column| (column.number, column.identity.as_str()))
            .collect();
        for holder in ["", readers.as_str(), writers.as_str()] {
            let shown = if holder.is_empty() { "PUBLIC" } else { holder };
            for (privilege, verb) in [("SELECT", "read"), ("REFERENCES", "refer to")] {
                let held = found.held(relation.oid, holder, privilege);
                let open: Vec<&str> = sensitive
                    .iter()
                    .filter(|(number, _)| held.contains(&0) || held.contains(number))
                    .map(|(_, name)| *name)
                    .collect();
                if !open.is_empty() {
                    findings.push(Finding::hole(
                        format!(
                            "{shown} may {verb} what the policy does not open of {}: {}",
                            relation.identity,
                            open.join(", ")
                        ),
                        format!(
                            "run devinprod setup --policy as {}, or there: REVOKE {privilege} ON {} FROM {shown};",
                            relation.owner, relation.identity
                        ),
                    ));
                }
            }
            for privilege in ["TRIGGER", "MAINTAIN"] {
                if !sensitive.is_empty() && !found.held(relation.oid, holder, privilege).is_empty()
                {
                    findings.push(Finding::hole(
                        format!("{shown} holds {privilege} on {}", relation.identity),
                        format!("REVOKE {privilege} ON {} FROM {shown};", relation.identity),
                    ));
                }
            }
        }
        let known = manifest.clear.iter().any(|known| known.oid == relation.oid)
            || manifest
                .masked
                .iter()
                .any(|known| known.oid == relation.oid);
        if !known {
            closed.push(relation.identity.as_str());
        }
    }
    if !closed.is_empty() {
        findings.push(Finding::note(
            format!(
                "closed, since they came after the last setup: {}",
                closed.join(", ")
            ),
            REMEDY,
        ));
    }
}

/// No error of a foreign key's action shows a row.
fn set_off(found: &Found, names: &Names, findings: &mut Vec<Finding>) {
    for (oid, withheld) in withheld(&found.actions, &found.hidden()) {
        let Some(relation) = found.relation(oid) else {
            continue;
        };
        let writers = names.writers();
        for holder in ["", writers.as_str()] {
            let delete = withheld.delete && !found.held(oid, holder, "DELETE").is_empty();
            let held = found.held(oid, holder, "UPDATE");
            let update = withheld.update.iter().any(|column| held.contains(column))
                || (held.contains(&0) && !withheld.update.is_empty());
            if delete || update {
                let because: Vec<&str> = withheld.because.iter().map(String::as_str).collect();
                findings.push(Finding::hole(
                    format!(
                        "what a developer may do to {} sets off what may fail and show a whole row: {}",
                        relation.identity,
                        because.join(", ")
                    ),
                    REMEDY,
                ));
            }
        }
    }
}

/// Views that were opened still are what they were.
fn clear(found: &Found, manifest: &Manifest, findings: &mut Vec<Finding>) {
    for relation in &manifest.clear {
        let Some(now) = found.relation(relation.oid) else {
            continue;
        };
        if found.lineage(now) != relation.lineage {
            findings.push(Finding::hole(
                format!(
                    "the view {}, which developers read as it is, or a view below it, has been changed",
                    now.identity
                ),
                REMEDY,
            ));
        }
        shown_rows(now, relation.security.as_ref(), findings);
        news(now, |number| relation.columns.contains(&number), findings);
    }
}

/// The functions of the seal are what they were when setup had made them.
pub(super) fn functions_are_whole(found: &Found) -> bool {
    let policy = found.manifest.as_ref().and_then(|m| m.policy.as_ref());
    policy.is_some_and(|(_, _, then)| then.is_some() && *then == found.functions)
}

fn functions(found: &Found, manifest: &Manifest, findings: &mut Vec<Finding>) {
    let Some((_, masks, _)) = &manifest.policy else {
        return;
    };
    if !functions_are_whole(found) {
        findings.push(Finding::hole(
            "functions of the schema devinprod have been changed or added",
            REMEDY,
        ));
    }
    if *masks != super::masks_digest() {
        findings.push(Finding::note(
            "the masks were made by another version of devinprod",
            REMEDY,
        ));
    }
}

fn defaults(found: &Found, names: &Names, findings: &mut Vec<Finding>) {
    for default in found
        .defaults
        .iter()
        .filter(|default| super::opens(default, names))
    {
        let grantee = if default.grantee.is_empty() {
            "PUBLIC"
        } else {
            &default.grantee
        };
        findings.push(Finding::hole(
            format!(
                "tables that {} makes later will give {} to {grantee}",
                default.owner, default.privilege
            ),
            REMEDY,
        ));
    }
}

fn row_security(found: &Found, findings: &mut Vec<Finding>) {
    let masked: BTreeSet<u32> = found
        .manifest
        .iter()
        .flat_map(|manifest| &manifest.masked)
        .filter(|relation| relation.view.is_some())
        .map(|relation| relation.oid)
        .collect();
    for relation in &found.relations {
        if !relation.role_policies.is_empty() && masked.contains(&relation.oid) {
            findings.push(Finding::note(
                format!(
                    "row security of {} has policies for named roles ({}); they show developers no row",
                    relation.identity,
                    relation.role_policies.join(", ")
                ),
                "write policies that hang on settings, or add one TO the sealing role and the readers",
            ));
        }
    }
}

/// Views of which developers see nothing, because no copy could be made.
fn copies(found: &Found, findings: &mut Vec<Finding>) {
    for (relation, copied) in &found.copied {
        if let (Some(why), Some(view)) = (&copied.failed, found.relation(*relation)) {
            findings.push(Finding::note(
                format!("the view {} is closed, since it has no copy over the masked views: {why}", view.identity),
                "name its columns in the policy, or write the view so that its copy can stand on views",
            ));
        }
    }
}
