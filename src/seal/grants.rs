//! What developer roles get: to read everything, and to write while armed.

use super::SealOptions;
use super::code::Closed;
use super::judge::Finding;
use super::plan::Step;
use super::survey::{Creator, Relation, RelationKind, Survey};

/// What the two groups get. They are named once per schema, so that the steps stay readable.
///
/// Where there is a policy, or was one, reading is the business of [`masks`](super::masks): here only sequences are. Where code
/// closes a relation, what may be written there is that of [`code`](super::code).
pub(super) fn grants(
    survey: &Survey,
    options: &SealOptions,
    closed: &[Closed],
    findings: &mut Vec<Finding>,
) -> Vec<Step> {
    let names = &options.names;
    let (readers, writers) = (names.readers(), names.writers());
    let masked = options.policy.is_some() || survey.masks.has_policy();
    let mut steps = Vec::new();
    if !survey.database_granted {
        let database = &survey.database_identity;
        steps.push(Step::new(
            "Developer roles may connect; armed, they may make temporary tables and schemas",
            format!(
                "GRANT CONNECT ON DATABASE {database} TO {readers}, {};\n\
                 GRANT TEMPORARY, CREATE ON DATABASE {database} TO {writers};",
                names.proxy()
            ),
        ));
    }
    for schema in &survey.schemas {
        let mut sql = Vec::new();
        let place = &schema.identity;
        if schema.manageable {
            if !schema.readable {
                sql.push(format!("GRANT USAGE ON SCHEMA {place} TO {readers};"));
            }
            if !schema.writable {
                sql.push(format!(
                    "GRANT USAGE, CREATE ON SCHEMA {place} TO {writers};"
                ));
            }
        } else if !schema.readable || !schema.writable {
            findings.push(Finding::note(
                format!("the schema {place} belongs to {}: developers may not see it", schema.owner),
                format!("as {}: GRANT USAGE ON SCHEMA {place} TO {readers}; GRANT USAGE, CREATE ON SCHEMA {place} TO {writers};", schema.owner),
            ));
        }
        let inside: Vec<&Relation> = survey
            .relations
            .iter()
            .filter(|relation| relation.schema == *place)
            .filter(|relation| !masked || relation.kind == RelationKind::Sequence)
            .collect();
        sql.extend(relation_grants(&inside, closed, place, &readers, &writers));
        findings.extend(out_of_reach(&inside));
        if !sql.is_empty() {
            steps.push(Step::new(
                if masked {
                    format!("Schema {place}: may be used; written to only when armed")
                } else {
                    format!("Schema {place}: all may be read; written only when armed")
                },
                sql.join("\n"),
            ));
        }
    }
    steps.extend(default_grants(survey, &readers, &writers, masked, findings));
    steps
}

fn relation_grants(
    inside: &[&Relation],
    closed: &[Closed],
    schema: &str,
    readers: &str,
    writers: &str,
) -> Vec<String> {
    use RelationKind::{Foreign, Materialized, Sequence, Table};
    type Wanted = fn(&Relation) -> bool;
    let cases: [(&str, &str, &[RelationKind], &str, Wanted); 4] = [
        (
            "SELECT",
            "TABLE",
            &[Table, Materialized, Foreign],
            readers,
            |r| !r.readable,
        ),
        ("SELECT", "SEQUENCE", &[Sequence], readers, |r| !r.readable),
        (
            "INSERT, UPDATE, DELETE, REFERENCES",
            "TABLE",
            &[Table],
            writers,
            |r| !r.writable,
        ),
        ("USAGE", "SEQUENCE", &[Sequence], writers, |r| !r.writable),
    ];
    let mut sql = Vec::new();
    for (privileges, word, kinds, group, wanted) in cases {
        let missing: Vec<&str> = inside
            .iter()
            .filter(|r| kinds.contains(&r.kind) && r.manageable && wanted(r))
            .filter(|r| group == readers || closed.iter().all(|c| c.identity != r.identity))
            .map(|r| r.identity.as_str())
            .collect();
        let like_it = inside
            .iter()
            .filter(|r| (r.kind == Sequence) == (word == "SEQUENCE"))
            .count();
        if missing.len() > 3 && missing.len() == like_it {
            sql.push(format!(
                "GRANT {privileges} ON ALL {word}S IN SCHEMA {schema} TO {group};"
            ));
        } else if !missing.is_empty() {
            sql.push(format!(
                "GRANT {privileges} ON {word} {} TO {group};",
                missing.join(", ")
            ));
        }
    }
    sql
}

fn out_of_reach(inside: &[&Relation]) -> Option<Finding> {
    let lost: Vec<String> = inside
        .iter()
        .filter(|r| !r.manageable && !r.readable)
        .map(|r| format!("{} ({})", r.identity, r.owner))
        .collect();
    (!lost.is_empty()).then(|| {
        Finding::note(
            format!(
                "developers will not see what others own: {}",
                lost.join(", ")
            ),
            "run setup as a member of these owners",
        )
    })
}

fn default_grants(
    survey: &Survey,
    readers: &str,
    writers: &str,
    masked: bool,
    findings: &mut Vec<Finding>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let lacking = |creator: &&Creator| !creator.covered || (!masked && !creator.read_later);
    // With a policy, what comes later is closed until somebody opens it.
    let (tables, later): (&[_], _) = if masked {
        (&[("INSERT, UPDATE, DELETE ON TABLES", writers)], "written")
    } else {
        (
            &[
                ("SELECT ON TABLES", readers),
                ("INSERT, UPDATE, DELETE, REFERENCES ON TABLES", writers),
            ],
            "read and written",
        )
    };
    for creator in survey.creators.iter().filter(lacking) {
        let role = survey.quoted(&creator.name);
        if creator.manageable {
            let others = [
                ("SELECT ON SEQUENCES", readers),
                ("USAGE ON SEQUENCES", writers),
                ("USAGE ON SCHEMAS", readers),
                ("USAGE, CREATE ON SCHEMAS", writers),
            ];
            let sql: Vec<String> = tables
                .iter()
                .chain(&others)
                .map(|(what, group)| {
                    format!("ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT {what} TO {group};")
                })
                .collect();
            steps.push(Step::new(
                format!("What {role} makes later is {later} in the same way"),
                sql.join("\n"),
            ));
        } else {
            findings.push(Finding::note(
                format!("developers will not see what {} makes later", creator.name),
                "run setup again after each migration, or run it as a member of that role",
            ));
        }
    }
    steps
}
