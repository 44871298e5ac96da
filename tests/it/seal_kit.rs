//! A sealed database of one test's own.
//!
//! Roles belong to the whole cluster, which tests share, so each database is sealed under names of its own.

use devinprod::seal::{self, Lease, Names, SealOptions};
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::harness::{TestDatabase, connect};

/// A sealed database and who may do what there.
pub struct Sealed {
    pub database: TestDatabase,
    pub options: SealOptions,
    /// A superuser.
    pub admin: Client,
    /// The proxy's own role.
    pub keeper: Client,
}

/// A developer role's own connection, straight to Postgres.
pub struct Developer {
    pub client: Client,
    pub lease: Lease,
}

impl Sealed {
    /// Seals `database` with four pairs.
    pub async fn new(database: TestDatabase) -> Self {
        let options = options(&database);
        Self::with(database, options).await
    }

    /// Seals `database` with these options.
    pub async fn with(database: TestDatabase, options: SealOptions) -> Self {
        let admin = database.connect().await;
        run_setup(&admin, &options).await;
        let keeper = connect(&database.url_as(&options.names.proxy(), PASSWORD)).await;
        Self {
            database,
            options,
            admin,
            keeper,
        }
    }

    /// Leases a developer role and connects as it.
    pub async fn developer(&self) -> Developer {
        let lease = seal::lease(&self.keeper)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let client = connect(&self.database.url_as(&lease.role, &lease.password)).await;
        Developer { client, lease }
    }
}

impl Developer {
    /// Runs statements, each in a message of its own, as far as they go; then tries to commit.
    pub async fn run_all_and_commit(&self, statements: &[&str]) {
        for statement in statements {
            let _ = self.client.simple_query(statement).await;
        }
        let _ = self.client.simple_query("COMMIT").await;
        let _ = self.client.simple_query("ROLLBACK").await;
    }

    /// What one message answers: its rows' first columns, or the SQLSTATE.
    pub async fn ask(&self, sql: &str) -> Result<Vec<String>, String> {
        answer(self.client.simple_query(sql).await)
    }
}

/// The first columns of the rows, or the SQLSTATE.
pub fn answer(result: Result<Vec<SimpleQueryMessage>, Error>) -> Result<Vec<String>, String> {
    match result {
        Ok(messages) => Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect()),
        Err(error) => Err(error
            .code()
            .map_or_else(|| error.to_string(), |code| code.code().to_owned())),
    }
}

/// The proxy role's password in tests.
pub const PASSWORD: &str = "the-keeper-of-a-test";

/// Names of the database's own, four pairs, a known password.
pub fn options(database: &TestDatabase) -> SealOptions {
    SealOptions {
        pairs: 4,
        names: Names::with_prefix(&format!("{}_", database.name)).unwrap(),
        proxy_verifier: Some(postgres_protocol::password::scram_sha_256(
            PASSWORD.as_bytes(),
        )),
        ..SealOptions::default()
    }
}

/// Surveys, plans and applies.
pub async fn run_setup(admin: &Client, options: &SealOptions) {
    let survey = seal::survey(admin, &options.names).await.unwrap();
    let plan = seal::plan(&survey, options).unwrap_or_else(|error| panic!("{error}"));
    seal::apply(admin, &plan)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Waits until the sessions of dropped developers are gone.
pub async fn wait_for_no_sessions(admin: &Client, names: &Names) {
    for _ in 0..100 {
        if seal::survey(admin, names).await.unwrap().sessions == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("a developer role's session does not end");
}

/// All that a commit could have changed, as text, seen by another connection. Sequences are left out:
/// `nextval` leaves gaps.
pub async fn fingerprint(witness: &Client) -> String {
    let row = witness
        .query_one(
            "SELECT concat_ws(E'\\n',
                (SELECT string_agg(a::text, ';' ORDER BY id) FROM accounts a),
                (SELECT string_agg(o::text, ';' ORDER BY id) FROM orders o),
                (SELECT string_agg(l::text, ';' ORDER BY order_id, entry) FROM order_log l),
                (SELECT string_agg(oid::regclass::text || coalesce(relacl::text, ''), ';' ORDER BY oid)
                    FROM pg_class WHERE relkind NOT IN ('i', 't')),
                (SELECT string_agg(nspname::text || coalesce(nspacl::text, ''), ';' ORDER BY nspname)
                    FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'),
                (SELECT string_agg(oid::text || coalesce(proacl::text, ''), ';' ORDER BY oid) FROM pg_proc),
                (SELECT string_agg(typname::text, ';' ORDER BY oid) FROM pg_type),
                (SELECT string_agg(tgname || ' ' || tgenabled::text, ';' ORDER BY oid) FROM pg_trigger),
                (SELECT string_agg(oid::text, ';' ORDER BY oid) FROM pg_largeobject_metadata),
                (SELECT string_agg(gid, ';' ORDER BY gid) FROM pg_prepared_xacts
                    WHERE database = current_database()),
                (SELECT string_agg(extname::text, ';' ORDER BY extname) FROM pg_extension),
                (SELECT count(*) FROM devinprod.commit_guard),
                (SELECT string_agg(pubname::text, ';') FROM pg_publication),
                (SELECT datacl::text FROM pg_database WHERE datname = current_database()))",
            &[],
        )
        .await
        .unwrap();
    row.get(0)
}

/// What developer roles of `names` are members of.
pub async fn memberships(witness: &Client, names: &Names) -> Vec<String> {
    let pattern = format!("{}reader_", names.prefix());
    let rows = witness
        .query(
            "SELECT u.rolname || ' in ' || g.rolname FROM pg_auth_members m
                JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
            WHERE starts_with(u.rolname, $1) OR starts_with(g.rolname, $1) ORDER BY 1",
            &[&pattern],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The server's version, as `server_version_num`: 150018.
pub async fn version(client: &tokio_postgres::Client) -> u32 {
    let row = client
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await
        .unwrap();
    row.get::<_, i32>(0).unsigned_abs()
}
