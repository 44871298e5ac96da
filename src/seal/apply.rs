//! Runs a plan in one transaction, and looks again before it commits.

use tokio_postgres::Client;

use super::SealError;
use super::judge::{Finding, Gravity, judge};
use super::plan::{LOCK_KEY, PROLOGUE, SealPlan, Step};
use super::survey::collect;

/// Runs `plan` in one transaction; either all of it holds afterwards or nothing has changed.
///
/// Fails with [`SealError::Busy`] while another setup is at work, with [`SealError::Step`] if a statement
/// is refused, and with [`SealError::Refused`] if the database still has a hole when all has run.
pub async fn apply(client: &Client, plan: &SealPlan) -> Result<(), SealError> {
    if plan.is_empty() {
        return Ok(());
    }
    client.batch_execute(PROLOGUE).await?;
    match run(client, plan).await {
        Ok(()) => Ok(client.batch_execute("COMMIT").await?),
        Err(error) => {
            // The first error is the one to tell; a broken connection has rolled back by itself.
            let _ = client.batch_execute("ROLLBACK").await;
            Err(error)
        }
    }
}

async fn run(client: &Client, plan: &SealPlan) -> Result<(), SealError> {
    lock(client).await?;
    for Step { reason, sql } in &plan.steps {
        client
            .batch_execute(sql)
            .await
            .map_err(|source| SealError::Step {
                reason: reason.clone(),
                source,
            })?;
    }
    let survey = collect(client, &plan.names).await?;
    let holes = if plan.removes {
        left_behind(&survey, plan)
    } else {
        judge(&survey, &plan.names)
            .into_iter()
            .filter(|finding| finding.gravity == Gravity::Hole)
            .collect()
    };
    if holes.is_empty() {
        Ok(())
    } else {
        Err(SealError::Refused(holes))
    }
}

/// Takes the lock that keeps two setups of one database apart, until the transaction ends.
async fn lock(client: &Client) -> Result<(), SealError> {
    let row = client
        .query_one(
            "SELECT pg_catalog.pg_try_advisory_xact_lock($1)",
            &[&LOCK_KEY],
        )
        .await?;
    if row.try_get(0)? {
        Ok(())
    } else {
        Err(SealError::Busy)
    }
}

fn left_behind(survey: &super::Survey, plan: &SealPlan) -> Vec<Finding> {
    let roles = survey
        .roles
        .iter()
        .filter(|role| plan.names.is_ours(&role.name))
        .map(|role| Finding::hole(format!("the role {} is still there", role.name), ""));
    let schema = survey
        .seal
        .iter()
        .map(|_| Finding::hole("the schema devinprod is still there", ""));
    roles.chain(schema).collect()
}
