//! Whether the promises hold: from a [`Survey`] to findings, each with what to do about it.

use std::collections::BTreeMap;
use std::fmt;

use tokio_postgres::Client;

use super::code;
use super::plan::{definition, expected_functions};
use super::survey::{Membership, PublicGrant, Survey, Why, collect};
use super::{Names, SealError, masks, survey};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// A developer role could commit something: setup refuses, and so does the proxy.
    Hole,
    /// Postgres does not hold this promise here; the proxy's analysis does.
    Reliance,
    /// Worth knowing.
    Note,
}

/// Something about a database that the seal has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub gravity: Gravity,
    /// What is so.
    pub what: String,
    /// What to do; empty where there is nothing to do.
    pub remedy: String,
}

impl Finding {
    pub(super) fn hole(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            gravity: Gravity::Hole,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn reliance(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            gravity: Gravity::Reliance,
            ..Self::hole(what, remedy)
        }
    }

    pub(super) fn note(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            gravity: Gravity::Note,
            ..Self::hole(what, remedy)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "\n  hint: {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Is the seal here, and whole? Any role may ask; the proxy does at start, as its own role.
///
/// The upstream is sealed if no finding is a [`Gravity::Hole`].
pub async fn verify(client: &Client, names: &Names) -> Result<Vec<Finding>, SealError> {
    Ok(judge(&survey(client, names).await?, names))
}

/// [`verify`] inside the caller's open transaction, whose search path must be `pg_catalog`: what would be
/// so if it committed.
pub async fn verify_in_transaction(
    client: &Client,
    names: &Names,
) -> Result<Vec<Finding>, SealError> {
    Ok(judge(&collect(client, names).await?, names))
}

/// All there is to say of a database that should be sealed, the worst first.
pub(super) fn judge(survey: &Survey, names: &Names) -> Vec<Finding> {
    let mut findings = seal_faults(survey, names);
    findings.extend(standing(survey, names));
    findings.extend(code::holes(survey));
    findings.extend(left_open(&survey.public.iter().collect::<Vec<_>>()));
    findings.extend(masks::judge(&survey.masks, names));
    findings.extend(survey.public_defaults.iter().map(|default| {
        Finding::hole(
            format!(
                "{} that {} makes later will give {} to PUBLIC",
                default.kind.to_lowercase(),
                default.owner,
                default.privilege
            ),
            "run devinprod setup again: it takes the default privilege away",
        )
    }));
    findings.extend(
        survey
            .settings
            .iter()
            .filter(|(role, _)| names.pair_of(role).is_some())
            .map(|(role, _)| {
                Finding::note(
                    format!("{role} has settings of its own"),
                    "its next lease resets them; what that cannot reset, devinprod setup does",
                )
            }),
    );
    findings.sort_by_key(|finding| finding.gravity);
    findings
}

/// What setup cannot put right by itself: it refuses a database with a hole among these.
pub(super) fn standing(survey: &Survey, names: &Names) -> Vec<Finding> {
    let mut findings = Vec::new();
    attributes(survey, names, &mut findings);
    memberships(survey, names, &mut findings);
    given_away(survey, names, &mut findings);
    parameters(survey, names, &mut findings);
    dependencies(survey, names, &mut findings);
    if let Some(other) = sealed_elsewhere(survey, names) {
        findings.push(Finding::hole(
            format!(
                "the roles {}* already seal the database {other:?}",
                names.prefix()
            ),
            "seal each database of a cluster under names of its own: --prefix",
        ));
    }
    if survey.prepared_transactions > 0 {
        findings.push(Finding::note(
            format!("max_prepared_transactions is {}", survey.prepared_transactions),
            "set it to 0 if nothing uses two-phase commit: a transaction that holds only locks can be \
             prepared, and keeps them",
        ));
    }
    remarks(survey, &mut findings);
    findings
}

fn remarks(survey: &Survey, findings: &mut Vec<Finding>) {
    let all = |kind: &str| -> Option<String> {
        let names: Vec<&str> = survey
            .remarks
            .iter()
            .filter(|(found, _)| found == kind)
            .map(|(_, name)| name.as_str())
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = all("event trigger") {
        findings.push(Finding::note(
            format!("event triggers fire for what developers create and drop: {names}"),
            "see that their functions reach nothing outside the transaction",
        ));
    }
    if let Some(names) = all("subscription") {
        findings.push(Finding::note(
            format!("this is a logical subscriber: {names}"),
            "use a database that replicates nothing: a sandbox's open write blocks the apply worker",
        ));
    }
    if let Some(names) = all("foreign table") {
        findings.push(Finding::note(
            format!("developers may read foreign tables, never write to them: {names}"),
            "",
        ));
    }
    if let Some(names) = all("database") {
        findings.push(Finding::reliance(
            format!(
                "a developer role may connect to other databases of this server, and do there what PUBLIC \
                 may: {names}"
            ),
            "only the proxy has its password; to close it, REVOKE CONNECT ON DATABASE … FROM PUBLIC, or \
             limit the roles in pg_hba.conf",
        ));
    }
}

/// Where the schema `devinprod` differs from its definition.
pub(super) fn seal_faults(survey: &Survey, names: &Names) -> Vec<Finding> {
    const REMEDY: &str = "run devinprod setup";
    let Some(seal) = &survey.seal else {
        return vec![Finding::hole("this database is not sealed", REMEDY)];
    };
    let mut findings = Vec::new();
    let mut fault = |what: String| findings.push(Finding::hole(what, REMEDY));
    if seal.owner != names.owner() {
        fault(format!("the schema devinprod belongs to {}", seal.owner));
    }
    if seal.comment.as_deref() != Some(definition(names).as_str()) {
        fault("the seal was made by another version of devinprod".to_owned());
    }
    for expected in expected_functions(names) {
        match seal.functions.iter().find(|f| f.name == expected.name) {
            None => fault(format!("devinprod.{} is missing", expected.name)),
            Some(found) if *found != expected => {
                fault(format!("devinprod.{} has been changed", expected.name));
            }
            Some(_) => {}
        }
    }
    let guard = (true, true, true, "devinprod.refuse_commit".to_owned());
    if seal.guard.as_ref() != Some(&guard) {
        fault("the commit guard's trigger is missing or has been changed".to_owned());
    }
    if seal.pairs.is_empty() {
        fault("there is no developer role".to_owned());
    }
    for (reader, writer, _) in &seal.pairs {
        let known = names
            .pair_of(reader)
            .is_some_and(|n| names.reader(n) == *reader && names.writer(n) == *writer);
        if !known {
            fault(format!(
                "the pair {reader}, {writer} has names of somebody else"
            ));
        } else if !survey.is_member(reader, &names.readers())
            || !survey.is_member(writer, &names.writers())
        {
            fault(format!(
                "{reader} or {writer} is missing or outside its group"
            ));
        }
    }
    findings
}

fn attributes(survey: &Survey, names: &Names, findings: &mut Vec<Finding>) {
    for role in survey.roles.iter().filter(|role| names.is_ours(&role.name)) {
        let mut wrong: Vec<&str> = [
            (role.superuser, "SUPERUSER"),
            (role.createdb, "CREATEDB"),
            (role.createrole && role.name != names.warden(), "CREATEROLE"),
            (role.replication, "REPLICATION"),
            (role.bypassrls, "BYPASSRLS"),
        ]
        .into_iter()
        .filter_map(|(has, word)| has.then_some(word))
        .collect();
        let logs_in = role.name == names.proxy()
            || names
                .pair_of(&role.name)
                .is_some_and(|n| names.reader(n) == role.name);
        if role.login && !logs_in {
            wrong.push("LOGIN");
        }
        for word in wrong {
            findings.push(Finding::hole(
                format!("the role {} has {word}", role.name),
                format!("ALTER ROLE {} NO{word};", role.name),
            ));
        }
    }
}

fn memberships(survey: &Survey, names: &Names, findings: &mut Vec<Finding>) {
    let stray = |m: &&Membership| {
        names.is_ours(&m.member)
            && !expected_membership(m, names)
            && !excepted_membership(m, survey, names)
    };
    for Membership { role, member, .. } in survey.memberships.iter().filter(stray) {
        findings.push(Finding::hole(
            format!("{member} is a member of {role} and may do what {role} may"),
            format!("REVOKE {} FROM {member};", survey.quoted(role)),
        ));
    }
}

/// Before Postgres 15 a role may grant itself to others, and a developer with a direct connection could.
/// Since 16 whoever made the role is a member with ADMIN OPTION, which is no finding.
fn given_away(survey: &Survey, names: &Names, findings: &mut Vec<Finding>) {
    let is_reader = |role: &str| names.pair_of(role).is_some_and(|n| names.reader(n) == role);
    for Membership {
        role,
        member,
        admin,
    } in &survey.memberships
    {
        let by_itself = survey.version < 160_000 || !admin;
        if is_reader(role) && by_itself && *member != names.warden() {
            let member = survey.quoted(member);
            findings.push(Finding::reliance(
                format!("{role} is granted to {member}, which may read and signal what it may"),
                format!("REVOKE {role} FROM {member}; the next lease of {role} does"),
            ));
        }
    }
}

fn expected_membership(m: &Membership, names: &Names) -> bool {
    let is_writer = |role: &str| names.pair_of(role).is_some_and(|n| names.writer(n) == role);
    let is_reader = |role: &str| names.pair_of(role).is_some_and(|n| names.reader(n) == role);
    (is_reader(&m.member) && m.role == names.readers())
        || (is_writer(&m.member) && m.role == names.writers())
        || (m.member == names.owner() && is_writer(&m.role))
        || (m.member == names.viewer() && m.role == names.readers())
        || (m.member == names.warden() && is_reader(&m.role))
        || (m.member == names.proxy() && m.role == "pg_read_all_stats")
}

/// A developer role of a set of exceptions belongs to that set's group.
fn excepted_membership(m: &Membership, survey: &Survey, names: &Names) -> bool {
    survey.seal.iter().flat_map(|seal| &seal.pairs).any(
        |(reader, _, set)| matches!(set, Some(set) if *reader == m.member && names.exceptions(set) == m.role),
    )
}

fn parameters(survey: &Survey, names: &Names, findings: &mut Vec<Finding>) {
    for grant in &survey.parameters {
        let reaches_us = match &grant.grantee {
            None => true,
            Some(role) => names.is_ours(role),
        };
        if !reaches_us {
            continue;
        }
        let grantee = grant.grantee.as_deref().unwrap_or("PUBLIC");
        let what = format!(
            "{grantee} may {} the parameter {}",
            grant.privilege, grant.parameter
        );
        let remedy = format!(
            "as a superuser: REVOKE {} ON PARAMETER {} FROM {grantee};",
            grant.privilege, grant.parameter
        );
        // ALTER SYSTEM is no part of a transaction, whatever it sets.
        let dangerous = grant.privilege == "ALTER SYSTEM"
            || DANGEROUS_PARAMETERS.contains(&grant.parameter.as_str());
        findings.push(if dangerous {
            Finding::hole(what, remedy)
        } else {
            Finding::note(what, remedy)
        });
    }
}

/// Settings with which a role gets around triggers or privileges, or loads code of its own.
const DANGEROUS_PARAMETERS: [&str; 6] = [
    "session_replication_role",
    "allow_system_table_mods",
    "dynamic_library_path",
    "session_preload_libraries",
    "lo_compat_privileges",
    "zero_damaged_pages",
];

fn dependencies(survey: &Survey, names: &Names, findings: &mut Vec<Finding>) {
    for dependency in &survey.dependencies {
        let role = &dependency.role;
        let in_pair = names.pair_of(role).is_some();
        let group = *role == names.readers() || *role == names.writers();
        let place = if dependency.database.is_empty() {
            "shared by all databases".to_owned()
        } else {
            format!("in database {}", dependency.database)
        };
        let what = format!("{} of {} {place}", dependency.count, dependency.catalog);
        if dependency.owned && (in_pair || group) {
            findings.push(Finding::hole(
                format!("{role} owns objects: {what}"),
                format!(
                    "there: REASSIGN OWNED BY {role} TO somebody else, or DROP OWNED BY {role};"
                ),
            ));
        } else if !dependency.owned && in_pair {
            findings.push(Finding::hole(
                format!("{role} has been granted privileges of its own: {what}"),
                format!("there: DROP OWNED BY {role};"),
            ));
        }
    }
    for (object, privilege) in &survey.excess {
        let readers = names.readers();
        findings.push(Finding::hole(
            format!("{readers} may {privilege} on {object} without being armed"),
            format!("REVOKE {privilege} there FROM {readers};"),
        ));
    }
}

/// The other database of this cluster that the roles' owner says they seal.
fn sealed_elsewhere(survey: &Survey, names: &Names) -> Option<String> {
    let comment = survey.role(&names.owner())?.comment.as_deref()?;
    let database = comment.strip_prefix(OWNER_COMMENT)?;
    let exists = survey.databases.iter().any(|name| name == database);
    (database != survey.database && exists).then(|| database.to_owned())
}

/// What the sealing role's comment says before the database's name.
pub(super) const OWNER_COMMENT: &str = "devinprod: seals the database ";

/// What PUBLIC still has, one finding for each reason and owner.
pub(super) fn left_open(grants: &[&PublicGrant]) -> Vec<Finding> {
    let mut groups: BTreeMap<(Why, &str), Vec<&PublicGrant>> = BTreeMap::new();
    for grant in grants {
        groups
            .entry((grant.why, &grant.owner))
            .or_default()
            .push(grant);
    }
    groups
        .into_iter()
        .map(|((why, owner), grants)| {
            let held: Vec<String> = grants
                .iter()
                .map(|g| {
                    format!(
                        "{} on {} {}",
                        g.privilege,
                        g.class.to_lowercase(),
                        g.identity
                    )
                })
                .collect();
            let sql: Vec<String> = grants
                .iter()
                .map(|g| {
                    format!(
                        "REVOKE {} ON {} {} FROM PUBLIC;",
                        g.privilege, g.class, g.identity
                    )
                })
                .collect();
            let what = format!("PUBLIC has {}: {}", why.in_words(), held.join(", "));
            let remedy = format!(
                "run devinprod setup as {owner} or a superuser, or there: {}",
                sql.join(" ")
            );
            if matches!(why, Why::LargeObject | Why::LogicalMessage) {
                Finding::reliance(
                    format!("{what}; no privilege stops it, only the proxy"),
                    remedy,
                )
            } else {
                Finding::hole(what, remedy)
            }
        })
        .collect()
}

impl Why {
    /// All of them, in the order in which a plan tells them.
    pub(super) const ALL: [Self; 11] = [
        Self::Database,
        Self::Schema,
        Self::Read,
        Self::Table,
        Self::Sequence,
        Self::Definer,
        Self::LargeObject,
        Self::LogicalMessage,
        Self::Untrusted,
        Self::Outside,
        Self::Foreign,
    ];

    /// What an unarmed developer role could do with it.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Database => "the right to make temporary tables or schemas that stay",
            Self::Schema => "the right to make objects in a schema",
            Self::Read => "the right to read tables",
            Self::Table => "the right to write to tables",
            Self::Sequence => "the right to advance sequences",
            Self::LargeObject => "functions that write large objects",
            Self::LogicalMessage => "a function that writes what no rollback takes back",
            Self::Definer => "functions that run with their owner's rights",
            Self::Untrusted => "functions in an untrusted language",
            Self::Outside => "functions that reach outside the transaction",
            Self::Foreign => "the right to keep user mappings or servers",
        }
    }
}
