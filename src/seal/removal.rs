//! Takes the seal away and gives PUBLIC back what it lost.

use tokio_postgres::Client;

use super::judge::Finding;
use super::plan::{SealPlan, Step};
use super::survey::Survey;
use super::{Names, SealError, code, masks, queries};

/// A privilege that PUBLIC lost to the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The word of GRANT for this kind of object.
    pub class: String,
    /// The object as SQL names it.
    pub identity: String,
    /// The privilege.
    pub privilege: String,
    /// Who got it by name.
    pub given_to: Vec<String>,
    /// Whether the object still exists under this name.
    pub exists: bool,
}

/// What PUBLIC lost to the seal, as setup put it on record; nothing where there is no seal.
pub async fn survey_taken(client: &Client, survey: &Survey) -> Result<Vec<Taken>, SealError> {
    if survey.seal.is_none() {
        return Ok(Vec::new());
    }
    client
        .batch_execute("BEGIN READ ONLY; SET LOCAL search_path = pg_catalog")
        .await?;
    let rows = client.query(queries::TAKEN, &[]).await;
    client.batch_execute("ROLLBACK").await?;
    rows?
        .iter()
        .map(|row| {
            Ok(Taken {
                class: row.try_get(0)?,
                identity: row.try_get(1)?,
                privilege: row.try_get(2)?,
                given_to: row.try_get(3)?,
                exists: row.try_get(4)?,
            })
        })
        .collect()
}

/// What to run so that nothing of the seal is left.
///
/// Fails with [`SealError::Refused`] while sandboxes run.
pub fn removal(survey: &Survey, taken: &[Taken], names: &Names) -> Result<SealPlan, SealError> {
    if survey.sessions > 0 {
        return Err(SealError::Refused(vec![Finding::hole(
            format!("{} sessions of developer roles are open", survey.sessions),
            "stop the proxy, then remove the seal",
        )]));
    }
    let mut plan = SealPlan {
        steps: Vec::new(),
        summary: Vec::new(),
        findings: Vec::new(),
        removes: true,
        names: names.clone(),
    };
    give_back(survey, taken, &mut plan);
    plan.steps.extend(masks::removal(&survey.masks));
    let (steps, findings) = code::unpin(survey);
    plan.steps.extend(steps);
    plan.findings.extend(findings);
    let ours: Vec<&str> = survey
        .roles
        .iter()
        .map(|role| role.name.as_str())
        .filter(|role| names.is_ours(role))
        .collect();
    if !ours.is_empty() {
        let list = ours.join(", ");
        if !survey.administrator.superuser {
            let how = if survey.version >= 160_000 {
                " WITH INHERIT TRUE"
            } else {
                ""
            };
            plan.steps.push(Step::new(
                "To drop what the seal's roles own; it goes with them",
                format!("GRANT {list} TO CURRENT_USER{how};"),
            ));
        }
        plan.steps.push(Step::new(
            "All that the seal's roles own or were granted",
            format!("DROP OWNED BY {list};"),
        ));
        plan.steps.push(Step::new(
            "The roles themselves",
            format!("DROP ROLE {list};"),
        ));
        plan.summary
            .push(format!("the schema devinprod and {} roles go", ours.len()));
    }
    Ok(plan)
}

fn give_back(survey: &Survey, taken: &[Taken], plan: &mut SealPlan) {
    for Taken {
        class,
        identity,
        privilege,
        given_to,
        exists,
    } in taken
    {
        let object = format!("{privilege} on {} {identity}", class.to_lowercase());
        if !exists {
            plan.findings.push(Finding::note(
                format!("{object} cannot be given back to PUBLIC: there is no such object now"),
                "if it was renamed, grant it by hand",
            ));
            continue;
        }
        let mut sql = vec![format!(
            "GRANT {privilege} ON {class} {identity} TO PUBLIC;"
        )];
        let roles: Vec<String> = given_to
            .iter()
            .filter(|role| survey.role(role).is_some())
            .map(|role| survey.quoted(role))
            .collect();
        if !roles.is_empty() {
            let roles = roles.join(", ");
            sql.push(format!(
                "REVOKE {privilege} ON {class} {identity} FROM {roles};"
            ));
        }
        let reason = format!("PUBLIC gets {object} back");
        plan.steps.push(Step::new(reason, sql.join("\n")));
    }
}
