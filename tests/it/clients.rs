//! Real clients, each with a small honest job, through the proxy to a sealed database: nothing is committed.

mod drivers;
mod portals;
mod programs;

use std::future::Future;

use super::harness::{self, Proxy};

/// Runs a job on a fresh proxy; afterwards the upstream's dump must be what it was.
async fn uncommitted<Job, Done>(job: Job)
where
    Job: FnOnce(std::sync::Arc<Proxy>) -> Done,
    Done: Future<Output = ()>,
{
    let proxy = std::sync::Arc::new(harness::proxy().await);
    let before = harness::dump(&proxy.database).await;
    job(proxy.clone()).await;
    assert!(
        harness::dump(&proxy.database).await == before,
        "the dump differs"
    );
}
