//! From a survey to the steps that seal the database: decided here, without a connection.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::close::{close, close_defaults, literal};
use super::code;
use super::grants::grants;
use super::judge::{Finding, Gravity, OWNER_COMMENT, seal_faults, standing};
use super::survey::{SealFunction, Survey};
use super::{Names, SealError, SealOptions, masks, sessions};
use crate::policy::Policy;

const SCHEMA_SQL: &str = include_str!("schema.sql");
const LEASE_SQL: &str = include_str!("lease.sql");
const INFORMATION_SQL: &str = include_str!("information.sql");

/// The key of the advisory lock that keeps two setups of one database apart: `devinprod` in ASCII, cut.
pub(super) const LOCK_KEY: i64 = 0x64_65_76_69_6e_70_72_6f;

/// How many connections one developer role may have at once: the sandbox, and what looks at it.
const READER_CONNECTIONS: u8 = 4;

/// What is to be run, in order, in one transaction.
#[derive(Debug, Clone)]
pub struct SealPlan {
    /// The steps; none when there is nothing to do.
    pub steps: Vec<Step>,
    /// What PUBLIC loses and who gets it back by name, and what else a reader of the plan must know.
    pub summary: Vec<String>,
    /// What the plan leaves as it is.
    pub findings: Vec<Finding>,
    /// Whether the database must be sealed, or free of the seal, once the steps have run.
    pub(super) removes: bool,
    pub(super) names: Names,
}

/// Some statements and why they are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Why, in words.
    pub reason: String,
    /// SQL, each statement with its semicolon.
    pub sql: String,
}

impl Step {
    pub(super) fn new(reason: impl Into<String>, sql: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            sql: sql.into(),
        }
    }
}

impl SealPlan {
    /// Whether everything is as it should be already.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan as a script that psql runs as it is, in one transaction.
    pub fn script(&self) -> String {
        let mut script = String::from("\\set ON_ERROR_STOP on\n");
        script.push_str(PROLOGUE);
        script.push_str(&format!(
            "SELECT pg_catalog.pg_advisory_xact_lock({LOCK_KEY});\n"
        ));
        for step in &self.steps {
            script.push_str(&format!(
                "\n-- {}\n{}\n",
                step.reason.replace('\n', "\n-- "),
                step.sql
            ));
        }
        script.push_str("\nCOMMIT;\n");
        script
    }
}

/// How every run begins. The path is fixed so that names mean what the survey saw.
pub(super) const PROLOGUE: &str = "BEGIN;
SET LOCAL search_path = pg_catalog;
SET LOCAL lock_timeout = '10s';
SET LOCAL client_min_messages = warning;
";

/// What to run so that no developer role can commit a write.
///
/// Fails with [`SealError::Refused`] if the database would have a hole even then.
pub fn plan(survey: &Survey, options: &SealOptions) -> Result<SealPlan, SealError> {
    if !(1..=999).contains(&options.pairs) {
        return Err(SealError::Pairs(options.pairs));
    }
    let names = &options.names;
    let mut findings = inability(survey);
    findings.extend(standing(survey, names));
    let mut steps = roles(survey, options);
    let closing = close(survey, options);
    let defaults = close_defaults(survey);
    findings.extend(closing.findings);
    findings.extend(defaults.findings);
    let definition = definition_steps(survey, options);
    let sensitive = masks::sensitive(survey, options);
    let pins = code::pins(survey, options, &sensitive);
    findings.extend(pins.findings);
    // As it will be.
    let survey = &pins.survey;
    let code = code::plan(survey, options, &sensitive);
    findings.extend(code.findings);
    let masks = masks::plan(survey, options, &code.closed, !definition.is_empty());
    findings.extend(masks.findings);
    let vouched = code::record(survey, options);
    let owner_works = !definition.is_empty()
        || closing.record.is_some()
        || pins.record.is_some()
        || masks.owner_works
        || vouched.is_some();
    let ends = sessions::wait_for(definition.iter().chain(&masks.steps));
    if owner_works {
        steps.extend(borrow(survey, names));
        steps.extend(sessions::end(survey, names).filter(|_| ends));
        steps.extend(definition);
        steps.extend(closing.record);
        steps.extend(pins.record);
        steps.extend(vouched);
    }
    steps.extend(masks.steps);
    if owner_works {
        steps.extend(give_back(survey, names));
    }
    steps.extend(closing.steps);
    steps.extend(pins.steps);
    steps.extend(defaults.steps);
    steps.extend(grants(survey, options, &code.closed, &mut findings));
    steps.extend(code.steps);
    findings.sort_by_key(|finding| finding.gravity);
    let holes: Vec<Finding> = findings
        .iter()
        .filter(|finding| finding.gravity == Gravity::Hole)
        .cloned()
        .collect();
    if !holes.is_empty() {
        return Err(SealError::Refused(holes));
    }
    let mut summary = closing.summary;
    summary.extend(defaults.summary);
    summary.extend(pins.summary);
    summary.extend(sessions::told(survey).filter(|_| ends));
    summary.extend(masks.summary);
    Ok(SealPlan {
        steps,
        summary,
        findings,
        removes: false,
        names: names.clone(),
    })
}

/// What the comment of the schema `devinprod` says: which definition it was made from.
pub(super) fn definition(names: &Names) -> String {
    let digest = Sha256::new()
        .chain_update(names.fill(SCHEMA_SQL))
        .chain_update(names.fill(LEASE_SQL))
        .chain_update(names.fill(INFORMATION_SQL))
        .finalize();
    let hex: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("devinprod: the seal, definition {hex}")
}

/// The functions as they must be found.
pub(super) fn expected_functions(names: &Names) -> Vec<SealFunction> {
    [
        ("refuse_commit", names.owner(), false, SCHEMA_SQL, ""),
        (
            "arm",
            names.owner(),
            true,
            SCHEMA_SQL,
            "; client_min_messages=warning",
        ),
        ("ours", names.owner(), false, SCHEMA_SQL, ""),
        ("latest", names.owner(), true, SCHEMA_SQL, ""),
        ("unsound", names.warden(), false, LEASE_SQL, ""),
        ("lease", names.warden(), true, LEASE_SQL, ""),
    ]
    .into_iter()
    .map(|(name, owner, definer, file, more)| SealFunction {
        name: name.to_owned(),
        owner,
        definer,
        settings: format!("search_path=pg_catalog, pg_temp{more}"),
        source: names
            .fill(file)
            .split(&format!("${name}$"))
            .nth(1)
            .unwrap_or_default()
            .to_owned(),
    })
    .collect()
}

/// What the administrator must be able to do.
fn inability(survey: &Survey) -> Vec<Finding> {
    let admin = &survey.administrator;
    let mut findings = Vec::new();
    if survey.in_recovery {
        findings.push(Finding::hole(
            "this server is a standby and takes no writes",
            "run devinprod setup on its primary; the standby then has the same roles and privileges",
        ));
    }
    if survey.version < 140_000 {
        findings.push(Finding::hole(
            format!("this server is Postgres {}", survey.version / 10_000),
            "devinprod needs Postgres 14 or later",
        ));
    }
    if !admin.superuser && !admin.createrole {
        findings.push(Finding::hole(
            format!("{} has neither SUPERUSER nor CREATEROLE", admin.name),
            "run setup as a role that may make roles",
        ));
    }
    if !admin.superuser && !admin.owns_database {
        findings.push(Finding::hole(
            format!(
                "{} does not own the database {}",
                admin.name, survey.database
            ),
            "run setup as its owner: only the owner can take TEMP from PUBLIC",
        ));
    }
    findings
}

fn roles(survey: &Survey, options: &SealOptions) -> Vec<Step> {
    let names = &options.names;
    let mut steps = Vec::new();
    let missing = |name: &str| survey.role(name).is_none();
    let mut role = |name: String, attributes: &str, reason: &str| {
        if missing(&name) {
            steps.push(Step::new(
                reason,
                format!("CREATE ROLE {name} {attributes};"),
            ));
        }
    };
    role(
        names.owner(),
        "NOLOGIN NOINHERIT",
        "The sealing role: owns the schema devinprod, no user's table, and bypasses nothing",
    );
    role(
        names.warden(),
        "NOLOGIN NOINHERIT CREATEROLE",
        "The warden: its one function sets a developer role's password for each lease",
    );
    role(
        names.readers(),
        "NOLOGIN",
        "What every developer role may do",
    );
    if options.policy.is_some() {
        role(
            names.viewer(),
            "NOLOGIN",
            "The owner of copies of views: may read what developers may read",
        );
    }
    role(
        names.writers(),
        "NOLOGIN",
        "What an armed developer role may do besides",
    );
    let verifier = options
        .proxy_verifier
        .as_ref()
        .map(|verifier| format!("PASSWORD {}", literal(verifier)));
    let proxy = names.proxy();
    if missing(&proxy) {
        let password = verifier.unwrap_or_default();
        steps.push(Step::new(
            "The proxy's own role: leases developer roles, looks at pg_stat_activity, nothing else",
            format!("CREATE ROLE {proxy} LOGIN {password};"),
        ));
    } else if let Some(password) = verifier {
        steps.push(Step::new(
            "The proxy's own role gets a new password",
            format!("ALTER ROLE {proxy} {password};"),
        ));
    }
    if !survey.is_member(&proxy, "pg_read_all_stats") && survey.administrator.grants_stats {
        steps.push(Step::new(
            "The proxy sees what its sandboxes wait for",
            format!("GRANT pg_read_all_stats TO {proxy};"),
        ));
    }
    let comment = format!("{OWNER_COMMENT}{}", survey.database);
    if survey
        .role(&names.owner())
        .and_then(|r| r.comment.as_deref())
        != Some(comment.as_str())
    {
        steps.push(Step::new(
            "Roles belong to all databases: this says which one they seal",
            format!(
                "COMMENT ON ROLE {} IS {};",
                names.owner(),
                literal(&comment)
            ),
        ));
    }
    if options.policy.is_some() && !survey.is_member(&names.viewer(), &names.readers()) {
        steps.push(Step::new(
            "The copies of views read what developers may read",
            format!("GRANT {} TO {};", names.readers(), names.viewer()),
        ));
    }
    pair_roles(survey, options, &mut steps);
    reset_settings(survey, names, &mut steps);
    steps
}

/// A role may always change its own settings; some can be reset only here, not by a lease.
fn reset_settings(survey: &Survey, names: &Names, steps: &mut Vec<Step>) {
    let sql: Vec<String> = survey
        .settings
        .iter()
        .filter(|(role, _)| names.pair_of(role).is_some())
        .map(|(role, database)| match database {
            None => format!("ALTER ROLE {role} RESET ALL;"),
            Some(database) => format!("ALTER ROLE {role} IN DATABASE {database} RESET ALL;"),
        })
        .collect();
    if !sql.is_empty() {
        steps.push(Step::new(
            "Developer roles have no settings of their own",
            sql.join("\n"),
        ));
    }
}

fn pair_roles(survey: &Survey, options: &SealOptions, steps: &mut Vec<Step>) {
    let names = &options.names;
    // Since 16 a role needs ADMIN OPTION on what it alters, and membership need not come with it.
    let modern = survey.version >= 160_000;
    let admin = if modern {
        "WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
    } else {
        "WITH ADMIN OPTION"
    };
    let mut sql = Vec::new();
    for set in sets(options) {
        let group = names.exceptions(&set);
        if survey.role(&group).is_none() {
            sql.push(format!("CREATE ROLE {group} NOLOGIN;"));
        }
    }
    for (number, set) in pairs(survey, options) {
        let (reader, writer) = (names.reader(number), names.writer(number));
        if survey.role(&reader).is_none() {
            sql.push(format!(
                "CREATE ROLE {reader} LOGIN INHERIT CONNECTION LIMIT {READER_CONNECTIONS};"
            ));
        }
        if survey.role(&writer).is_none() {
            sql.push(format!("CREATE ROLE {writer} NOLOGIN INHERIT;"));
        }
        let mut grant = |role: &str, member: &str, how: &str| {
            if !survey.is_member(member, role) {
                sql.push(format!("GRANT {role} TO {member}{how};"));
            }
        };
        grant(&names.readers(), &reader, "");
        grant(&names.writers(), &writer, "");
        if let Some(set) = set {
            grant(&names.exceptions(&set), &reader, "");
        }
        grant(&writer, &names.owner(), &format!(" {admin}"));
        if modern {
            grant(&reader, &names.warden(), &format!(" {admin}"));
        }
    }
    if !sql.is_empty() {
        steps.push(Step::new(
            "The developer roles: each sandbox runs as a reader, which is granted its own writer when armed",
            sql.join("\n"),
        ));
    }
}

/// The sets of exceptions that the policy makes.
fn sets(options: &SealOptions) -> Vec<String> {
    options.policy.as_ref().map_or_else(Vec::new, Policy::sets)
}

/// The pairs that there will be, never fewer than there are, and the set of exceptions that each is for.
fn pairs(survey: &Survey, options: &SealOptions) -> BTreeMap<u16, Option<String>> {
    let names = &options.names;
    let last = survey
        .roles
        .iter()
        .filter_map(|role| names.pair_of(&role.name))
        .max()
        .unwrap_or_default();
    let known = survey.seal.as_ref().map_or(&[][..], |seal| &seal.pairs);
    let mut pairs: BTreeMap<u16, Option<String>> = (1..=last)
        .map(|number| {
            let reader = names.reader(number);
            let set = known.iter().find(|(name, ..)| *name == reader);
            (number, set.and_then(|(.., set)| set.clone()))
        })
        .collect();
    let plain = (None, options.pairs);
    let others = sets(options)
        .into_iter()
        .map(|set| (Some(set), options.exception_pairs));
    for (set, wanted) in std::iter::once(plain).chain(others) {
        let has = pairs.values().filter(|of| **of == set).count();
        for _ in has..usize::from(wanted) {
            let next = pairs.last_key_value().map_or(0, |(number, _)| *number) + 1;
            pairs.insert(next, set.clone());
        }
    }
    pairs
}

/// An administrator who is no superuser becomes a member of the roles that own the seal, for a moment.
pub(super) fn borrow(survey: &Survey, names: &Names) -> Option<Step> {
    if survey.administrator.superuser {
        return None;
    }
    let how = if survey.version >= 160_000 {
        " WITH INHERIT FALSE, SET TRUE"
    } else {
        ""
    };
    Some(Step::new(
        "To act as the roles that own the seal, until the end of this script",
        format!(
            "GRANT {}, {} TO CURRENT_USER{how};",
            names.owner(),
            names.warden()
        ),
    ))
}

fn give_back(survey: &Survey, names: &Names) -> Option<Step> {
    (!survey.administrator.superuser).then(|| {
        Step::new(
            "No longer needed",
            format!(
                "REVOKE {}, {} FROM CURRENT_USER;",
                names.owner(),
                names.warden()
            ),
        )
    })
}

fn definition_steps(survey: &Survey, options: &SealOptions) -> Vec<Step> {
    let names = &options.names;
    let (owner, warden) = (names.owner(), names.warden());
    let mut steps = Vec::new();
    if survey.seal.is_none() {
        steps.push(Step::new(
            "The schema of the seal",
            format!("CREATE SCHEMA devinprod AUTHORIZATION {owner};"),
        ));
    }
    // Not on every run: changing the guard's trigger waits for all armed sandboxes.
    if !seal_faults(survey, names).is_empty() {
        steps.push(Step::new(
            "The commit guard, and devinprod.arm(), which gives the right to write and takes the right to \
             commit in one step",
            format!(
                "SET LOCAL ROLE {owner};\n\n{}\n{}\n\
                 COMMENT ON SCHEMA devinprod IS '{}';\n\
                 GRANT CREATE ON SCHEMA devinprod TO {warden};",
                names.fill(SCHEMA_SQL),
                names.fill(INFORMATION_SQL),
                definition(names),
            ),
        ));
        steps.push(Step::new(
            "devinprod.lease(): the proxy gets a clean developer role for each sandbox",
            format!(
                "SET LOCAL ROLE {warden};\n\n{}\n\
                 SET LOCAL ROLE {owner};\n\
                 REVOKE CREATE ON SCHEMA devinprod FROM {warden};\n\
                 RESET ROLE;",
                names.fill(LEASE_SQL),
            ),
        ));
    }
    let known = survey.seal.as_ref().map_or(&[][..], |seal| &seal.pairs);
    let missing: Vec<String> = pairs(survey, options)
        .into_iter()
        .map(|(number, set)| (names.reader(number), names.writer(number), set))
        .filter(|pair| !known.contains(pair))
        .map(|(reader, writer, set)| {
            let set = set.map_or_else(|| "NULL".to_owned(), |set| literal(&set));
            format!("('{reader}', '{writer}', {set})")
        })
        .collect();
    if !missing.is_empty() {
        steps.push(Step::new(
            "Which writer belongs to which reader",
            format!(
                "SET LOCAL ROLE {owner};\n\
                 INSERT INTO devinprod.pair (reader, writer, exceptions) VALUES\n    {}\nON CONFLICT (reader) DO NOTHING;\n\
                 RESET ROLE;",
                missing.join(",\n    "),
            ),
        ));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_its_source_in_the_files() {
        for function in expected_functions(&Names::default()) {
            assert!(function.source.contains("BEGIN"), "{}", function.name);
        }
    }

    #[test]
    fn no_placeholder_is_left() {
        let names = Names::default();
        for file in [SCHEMA_SQL, LEASE_SQL, INFORMATION_SQL] {
            let filled = names.fill(file);
            assert!(!filled.contains('@'), "a placeholder that is not filled in");
        }
    }
}
