//! A developer role for one sandbox.

use postgres_protocol::password::scram_sha_256;
use rand::distr::{Alphanumeric, SampleString};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::SealError;

/// The password's length: 62^32 is more than any guess can reach.
const PASSWORD_LENGTH: usize = 32;

/// A developer role that nobody else uses, with a password that nobody else knows.
///
/// It must be connected within 15 seconds; after that, and whenever it has no session, it may be leased
/// again with another password.
#[derive(Clone)]
pub struct Lease {
    /// The role to log in as.
    pub role: String,
    /// Its password until the next lease.
    pub password: String,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease {{ role: {:?}, password: hidden }}", self.role)
    }
}

/// [`lease_of`] the developers to whom no set of exceptions applies.
pub async fn lease(keeper: &Client) -> Result<Lease, SealError> {
    lease_of(keeper, None).await
}

/// Leases a developer role over `keeper`, a connection of the proxy's own role: one that belongs to a set of the
/// policy's exceptions, or to none.
///
/// Postgres only ever sees the password's verifier. Fails with [`SealError::AllLeased`] if every developer
/// role has a session, had a lease in the last 15 seconds, or is unsound, and with [`SealError::NoSuchSet`] if the seal
/// was made without this set.
pub async fn lease_of(keeper: &Client, set: Option<&str>) -> Result<Lease, SealError> {
    let password = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH);
    let verifier = scram_sha_256(password.as_bytes());
    let answer = keeper
        .query_one(
            "SELECT devinprod.lease($1, $2)::pg_catalog.text",
            &[&verifier, &set],
        )
        .await;
    match answer {
        Ok(row) => Ok(Lease {
            role: row.try_get(0)?,
            password,
        }),
        Err(error) => match (error.as_db_error(), set) {
            (Some(db), _) if *db.code() == SqlState::TOO_MANY_CONNECTIONS => {
                Err(SealError::AllLeased(super::postgres_text(&error)))
            }
            (Some(db), Some(set)) if *db.code() == SqlState::NO_DATA_FOUND => {
                Err(SealError::NoSuchSet(set.to_owned()))
            }
            _ => Err(error.into()),
        },
    }
}
