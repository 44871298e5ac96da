//! What PUBLIC loses, so that an unarmed developer role has no way to write, and who gets it back by name.

use std::collections::BTreeMap;

use super::judge::{Finding, OWNER_COMMENT, left_open};
use super::plan::Step;
use super::survey::{PublicGrant, Survey, Why};
use super::{Names, SealOptions};

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
    // With a policy nobody reads by being anybody. What cannot be taken is judged column by column.
    let reads = survey
        .public_reads
        .iter()
        .filter(|grant| options.policy.is_some() && grant.manageable);
    let (ours, beyond): (Vec<&PublicGrant>, Vec<&PublicGrant>) = survey
        .public
        .iter()
        .chain(reads)
        .partition(|grant| grant.manageable);
    closing.findings = left_open(&beyond);
    let mut rows = Vec::new();
    let mut lines: BTreeMap<(Why, String, String), Vec<&str>> = BTreeMap::new();
    for why in Why::ALL {
        let mut sql = Vec::new();
        for (object, grants) in by_object(ours.iter().copied().filter(|grant| grant.why == why)) {
            let (class, identity) = object;
            for (given_to, privileges) in by_recipients(&grants, survey, options) {
                let list = privileges.join(", ");
                let roles = names_of(survey, &given_to);
                sql.push(format!("REVOKE {list} ON {class} {identity} FROM PUBLIC;"));
                if !given_to.is_empty() {
                    sql.push(format!("GRANT {list} ON {class} {identity} TO {roles};"));
                }
                let what = format!("{list} on {}", class.to_lowercase());
                lines.entry((why, what, roles)).or_default().push(identity);
                rows.extend(
                    privileges
                        .iter()
                        .map(|p| row(class, identity, p, &given_to)),
                );
            }
            if why == Why::LargeObject {
                let writers = options.names.writers();
                sql.push(format!("GRANT EXECUTE ON {class} {identity} TO {writers};"));
            }
        }
        if !sql.is_empty() {
            let reason = format!("PUBLIC has {}", why.in_words());
            closing.steps.push(Step::new(reason, sql.join("\n")));
        }
    }
    closing.summary = lines
        .into_iter()
        .map(|((why, what, roles), objects)| {
            let objects = objects.join(", ");
            let back = match roles.as_str() {
                "" => "nobody else needs it by name".to_owned(),
                roles => format!("by name it is given to {roles}"),
            };
            format!("PUBLIC loses {what} {objects} ({}); {back}", why.in_words())
        })
        .collect();
    allow(survey, options, &mut closing);
    closing.record = record(&rows, options);
    closing
}

fn record(rows: &[String], options: &SealOptions) -> Option<Step> {
    (!rows.is_empty()).then(|| {
        Step::new(
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
        )
    })
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
    let by_policy = options
        .policy
        .iter()
        .flat_map(|policy| policy.allowed_functions());
    let mut all: Vec<&String> = options.allowed_functions.iter().chain(by_policy).collect();
    all.sort();
    all.dedup();
    for wanted in all {
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
    let seals = seals(survey);
    for grant in grants {
        let recipients = survey
            .roles
            .iter()
            .filter(|role| {
                !role.superuser
                    && !options.names.is_ours(&role.name)
                    && !seals.iter().any(|names| names.is_ours(&role.name))
                    && role.name != grant.owner
                    && !grant.named.contains(&role.name)
            })
            .map(|role| role.name.as_str())
            .collect();
        groups.entry(recipients).or_default().push(&grant.privilege);
    }
    groups
}

/// The names of the other seals on this server: their roles get nothing here.
fn seals(survey: &Survey) -> Vec<Names> {
    survey
        .roles
        .iter()
        .filter(|role| {
            let comment = role.comment.as_deref().unwrap_or_default();
            comment.starts_with(OWNER_COMMENT)
        })
        .filter_map(|role| Names::with_prefix(role.name.strip_suffix("owner")?).ok())
        .collect()
}

/// The grants of each object, by its class and identity, in the survey's order of classes.
fn by_object<'a>(
    grants: impl Iterator<Item = &'a PublicGrant>,
) -> BTreeMap<(&'a str, &'a str), Vec<&'a PublicGrant>> {
    let mut objects: BTreeMap<(&str, &str), Vec<&PublicGrant>> = BTreeMap::new();
    for grant in grants {
        let object = (grant.class.as_str(), grant.identity.as_str());
        objects.entry(object).or_default().push(grant);
    }
    objects
}

fn names_of(survey: &Survey, roles: &[&str]) -> String {
    let quoted: Vec<String> = roles.iter().map(|role| survey.quoted(role)).collect();
    quoted.join(", ")
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
