//! A database that is sealed with a policy: the users that most tests of masks are about.

use std::path::Path;

use devinprod::policy::Policy;
use devinprod::seal::{self, Finding, Gravity, Names, SealError, SealOptions, SealPlan};
use tokio_postgres::Client;

use crate::harness::{self, TestDatabase};
use crate::seal_kit::{self, Sealed};

/// The users: a key and a city that everybody may see, and the rest.
pub const USERS: &str = "
    CREATE TABLE users (
        id bigint PRIMARY KEY, email varchar(254) UNIQUE NOT NULL, full_name text NOT NULL, phone text, born date,
        balance numeric(12, 2), notes text, city text
    );
    INSERT INTO users SELECT n, 'real' || n || '@secret.example', 'Real Name ' || n, '+1 555 0' || 100 + n,
        date '1980-01-01' + n, n * 3.5, 'real note ' || n, 'City ' || n % 5
    FROM generate_series(1, 50) AS n;
";

/// What opens the harness' own tables.
pub const REST: &str = "
    [table.public.accounts]\n\"*\" = { as = \"clear\", because = \"made up\" }
    [table.public.orders]\n\"*\" = { as = \"clear\", because = \"made up\" }
    [table.public.order_log]\n\"*\" = { as = \"clear\", because = \"made up\" }
";

/// A policy for the users, and all else clear.
pub const POLICY: &str = "
    [table.public.users]
    id = \"clear\"
    city = \"clear\"
    email = \"email\"
    full_name = \"person_name\"
    phone = \"phone\"
    born = \"date\"
    balance = \"null\"
";

/// A policy made of this text and the harness' tables.
pub fn policy(text: &str) -> Policy {
    Policy::from_text(Path::new("policies/test.toml"), &format!("{text}{REST}"))
        .unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// Options with a policy.
pub fn options(database: &TestDatabase, text: &str) -> SealOptions {
    SealOptions {
        policy: Some(policy(text)),
        exception_pairs: 2,
        ..seal_kit::options(database)
    }
}

/// Seals a fresh database, with the users in it, by [`POLICY`].
pub async fn sealed() -> Sealed {
    sealed_by(harness::database().await, USERS, POLICY).await
}

/// Seals a database by a policy, after running some SQL.
pub async fn sealed_by(database: TestDatabase, sql: &str, text: &str) -> Sealed {
    let admin = database.connect().await;
    admin.batch_execute(sql).await.unwrap();
    let options = options(&database, text);
    Sealed::with(database, options).await
}

/// Plans anew.
pub async fn replan(client: &Client, options: &SealOptions) -> Result<SealPlan, SealError> {
    let survey = seal::survey(client, &options.names).await.unwrap();
    seal::plan(&survey, options)
}

/// Takes the seal away.
pub async fn remove(admin: &Client, names: &Names) {
    let survey = seal::survey(admin, names).await.unwrap();
    let taken = seal::survey_taken(admin, &survey).await.unwrap();
    let plan = seal::removal(&survey, &taken, names).unwrap_or_else(|error| panic!("{error}"));
    seal::apply(admin, &plan)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
}

/// What a look at the seal says, of this gravity.
pub async fn said(client: &Client, names: &Names, gravity: Gravity) -> Vec<String> {
    let findings: Vec<Finding> = seal::verify(client, names).await.unwrap();
    findings
        .into_iter()
        .filter(|finding| finding.gravity == gravity)
        .map(|finding| finding.what)
        .collect()
}

/// The holes in a seal.
pub async fn holes(client: &Client, names: &Names) -> Vec<String> {
    said(client, names, Gravity::Hole).await
}
