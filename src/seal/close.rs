//! What PUBLIC loses, so that an unarmed developer role has no way to write, and who gets it back by name.

use std::collections::BTreeMap;

use super::SealOptions;
use super::judge::{Finding, left_open};
use super::plan::Step;
use super::survey::{PublicGrant, Survey, Why};

/// The part of a plan that is about PUBLIC.
#[derive(Default)]
pub(super) struct Closing {
    /// Puts on record what is taken; run as the sealing role, before anything is taken.
    pub record: Option<Step>,
    /// Takes and gives back.
    pub steps: Vec<Step>,
    /// One line per object for the reader of the plan.
    pub summary: Vec<String>,
    /// What cannot be taken.
    pub findings: Vec<Finding>,
}

/// Takes from PUBLIC what would let an unarmed developer role write.
pub(super) fn close(survey: &Survey, options: &SealOptions) -> Closing {
    let mut closing = Closing::default();
    let mut rows = Vec::new();
    let mut objects: BTreeMap<(usize, &str, &str), Vec<&PublicGrant>> = BTreeMap::new();
    for grant in &survey.public {
        if grant.manageable {
            let place = (
                class_order(&grant.class),
                grant.class.as_str(),
                grant.identity.as_str(),
            );
            objects.entry(place).or_default().push(grant);
        } else {
            closing.findings.push(left_open(grant));
        }
    }
    for ((_, class, identity), grants) in objects {
        let mut sql = Vec::new();
        let mut lines = Vec::new();
        for (given_to, privileges) in by_recipients(&grants, survey, options) {
            let list = privileges.join(", ");
            sql.push(format!("REVOKE {list} ON {class} {identity} FROM PUBLIC;"));
            let mut line = format!("PUBLIC loses {list} on {} {identity}", class.to_lowercase());
            if given_to.is_empty() {
                line.push_str("; nobody else needs it by name");
            } else {
                let roles: Vec<String> = given_to.iter().map(|role| survey.quoted(role)).collect();
                let roles = roles.join(", ");
                sql.push(format!("GRANT {list} ON {class} {identity} TO {roles};"));
                line.push_str(&format!("; {roles} get it by name"));
            }
            lines.push(line);
            rows.extend(
                privileges
                    .iter()
                    .map(|privilege| row(class, identity, privilege, &given_to)),
            );
        }
        if grants.iter().any(|grant| grant.why == Why::LargeObject) {
            let writers = options.names.writers();
            sql.push(format!("GRANT EXECUTE ON {class} {identity} TO {writers};"));
        }
        let why = grants.first().map_or("", |grant| grant.why.in_words());
        closing.steps.push(Step::new(
            format!("{}: {why}", lines.join("; ")),
            sql.join("\n"),
        ));
        closing.summary.extend(lines);
    }
    allow(survey, options, &mut closing);
    if !rows.is_empty() {
        closing.record = Some(Step::new(
            "On record, so that --remove can give it back",
            format!(
                "SET LOCAL ROLE {};\n\
                 INSERT INTO devinprod.taken (class, identity, privilege, given_to) VALUES\n    {}\n\
                 ON CONFLICT (class, identity, privilege) DO UPDATE SET given_to = ARRAY(\n    \
                 SELECT unnest(taken.given_to) UNION SELECT unnest(excluded.given_to));\n\
                 RESET ROLE;",
                options.names.owner(),
                rows.join(",\n    ")
            ),
        ));
    }
    closing
}

/// Takes from PUBLIC what default privileges would give it on objects to come.
pub(super) fn close_defaults(survey: &Survey) -> Closing {
    let mut closing = Closing::default();
    for default in &survey.public_defaults {
        let owner = survey.quoted(&default.owner);
        let place = default
            .schema
            .as_ref()
            .map_or_else(String::new, |schema| format!(" IN SCHEMA {schema}"));
        let sql = format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner}{place} REVOKE {} ON {} FROM PUBLIC;",
            default.privilege, default.kind
        );
        let what = format!(
            "{} on {} that {owner} makes later{place}",
            default.privilege,
            default.kind.to_lowercase()
        );
        if default.manageable {
            let line =
                format!("PUBLIC will not get {what}; it is not given back by name or on removal");
            closing.steps.push(Step::new(line.clone(), sql));
            closing.summary.push(line);
        } else {
            closing.findings.push(Finding::hole(
                format!("PUBLIC will get {what}"),
                format!("as {owner}: {sql}"),
            ));
        }
    }
    closing
}

/// The SECURITY DEFINER functions that armed developer roles may call.
fn allow(survey: &Survey, options: &SealOptions, closing: &mut Closing) {
    for wanted in &options.allowed_functions {
        match survey.definers.iter().find(|definer| definer.identity == *wanted) {
            None => closing.findings.push(Finding::hole(
                format!("there is no SECURITY DEFINER function {wanted}"),
                "name it as pg_proc does, with its schema and argument types: app.add(integer,text)",
            )),
            Some(definer) if definer.allowed => {}
            Some(definer) if definer.manageable => closing.steps.push(Step::new(
                format!("Armed developer roles may call {wanted}, which runs as {}", definer.owner),
                format!("GRANT EXECUTE ON ROUTINE {wanted} TO {};", options.names.writers()),
            )),
            Some(definer) => closing.findings.push(Finding::note(
                format!("{wanted} cannot be allowed: it belongs to {}", definer.owner),
                format!(
                    "as {}: GRANT EXECUTE ON ROUTINE {wanted} TO {};",
                    definer.owner,
                    options.names.writers()
                ),
            )),
        }
    }
}

/// The privileges on one object, by the roles that get them back: everybody but the owner, superusers,
/// the seal's own roles, and who holds them by name already.
fn by_recipients<'a>(
    grants: &[&'a PublicGrant],
    survey: &'a Survey,
    options: &SealOptions,
) -> BTreeMap<Vec<&'a str>, Vec<&'a str>> {
    let mut groups: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for grant in grants {
        let recipients = survey
            .roles
            .iter()
            .filter(|role| {
                !role.superuser
                    && !options.names.is_ours(&role.name)
                    && role.name != grant.owner
                    && !grant.named.contains(&role.name)
            })
            .map(|role| role.name.as_str())
            .collect();
        groups.entry(recipients).or_default().push(&grant.privilege);
    }
    groups
}

fn class_order(class: &str) -> usize {
    ["DATABASE", "SCHEMA", "TABLE", "SEQUENCE", "ROUTINE"]
        .iter()
        .position(|known| *known == class)
        .unwrap_or(usize::MAX)
}

fn row(class: &str, identity: &str, privilege: &str, given_to: &[&str]) -> String {
    let roles: Vec<String> = given_to.iter().map(|role| literal(role)).collect();
    format!(
        "({}, {}, {}, ARRAY[{}]::name[])",
        literal(class),
        literal(identity),
        literal(privilege),
        roles.join(", ")
    )
}

/// `text` as an SQL string; with E'' where a backslash needs it.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}
