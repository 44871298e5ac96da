//! What a plan says to who reads it.

use super::decide::{Access, Decided};
use super::found::Manifest;
use super::views::treatment;
use super::{Parts, is_masked};
use crate::seal::judge::Finding;

/// A relation in one line: what developers see of it.
pub(super) fn shown(relation: &Decided<'_>) -> String {
    let name = &relation.found.identity;
    if relation.access != Access::Masked {
        return format!("{name} is closed");
    }
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for column in &relation.columns {
        let treatment = treatment(&column.decision.treatment);
        match groups.iter_mut().find(|(known, _)| *known == treatment) {
            Some((_, columns)) => columns.push(&column.found.identity),
            None => groups.push((treatment, vec![&column.found.identity])),
        }
    }
    let groups: Vec<String> = groups
        .into_iter()
        .map(|(treatment, columns)| match treatment {
            "clear" => format!("clear {}", columns.join(", ")),
            "deny" => format!("denied {}", columns.join(", ")),
            mask => format!("{} as {mask}", columns.join(", ")),
        })
        .collect();
    format!("{name}: {}", groups.join("; "))
}

/// What changes for developers, and what is closed because nobody decided.
pub(super) fn tell(manifest: &Manifest, decided: &[Decided<'_>], plan: &mut Parts) {
    let mut closed = Vec::new();
    for relation in decided {
        let name = &relation.found.identity;
        if is_masked(relation) && relation.access != Access::Masked {
            closed.push(name.as_str());
        }
        let sealed_before = manifest.policy.is_some();
        if relation.access == Access::Extension || !sealed_before {
            continue;
        }
        let was_clear = manifest
            .clear
            .iter()
            .find(|known| known.oid == relation.found.oid);
        for column in &relation.columns {
            let number = column.found.number;
            let was = manifest
                .columns
                .get(&(relation.found.oid, number))
                .map(|(_, treatment)| treatment.as_str())
                .or_else(|| {
                    was_clear
                        .filter(|known| known.columns.contains(&number))
                        .map(|_| "clear")
                });
            let is = treatment(&column.decision.treatment);
            if was != Some(is) {
                let was = was.unwrap_or("closed, being new");
                plan.summary.push(format!(
                    "{name}.{}: {is}; it was {was} ({})",
                    column.found.identity, column.decision.because
                ));
            }
        }
    }
    if !closed.is_empty() {
        plan.findings.push(Finding::note(
            format!(
                "closed, as the policy opens no column of them: {}",
                closed.join(", ")
            ),
            "",
        ));
    }
}
