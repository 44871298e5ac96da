//! What a database has, as far as the seal is concerned: read once, then decided upon without a connection.

use tokio_postgres::{Client, Row};

use super::code::{self, Code};
use super::{Names, SealError, masks, queries};

/// What [`survey()`] found.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The server's version as `server_version_num` has it, e.g. 150018.
    pub version: i32,
    /// The database's name.
    pub database: String,
    /// The database's name as an SQL identifier.
    pub database_identity: String,
    /// Who looked.
    pub administrator: Administrator,
    /// The server is a standby.
    pub in_recovery: bool,
    /// `max_prepared_transactions`.
    pub prepared_transactions: i32,
    /// The readers and the proxy may connect; the writers may make temporary tables and schemas.
    pub database_granted: bool,
    /// All databases of the server.
    pub databases: Vec<String>,
    /// How many sessions developer roles have open.
    pub sessions: i64,
    /// All roles but the predefined `pg_*`.
    pub roles: Vec<Role>,
    /// Who is a member of what.
    pub memberships: Vec<Membership>,
    /// What PUBLIC may do that a developer role must not do unarmed.
    pub public: Vec<PublicGrant>,
    /// What PUBLIC may read of the users' relations; it matters where there is a policy.
    pub public_reads: Vec<PublicGrant>,
    /// The application's SECURITY DEFINER functions.
    pub definers: Vec<Definer>,
    /// Default privileges that will let PUBLIC write to objects made later.
    pub public_defaults: Vec<PublicDefault>,
    /// The users' schemas.
    pub schemas: Vec<Schema>,
    /// The users' tables, views and sequences.
    pub relations: Vec<Relation>,
    /// The roles that make objects there.
    pub creators: Vec<Creator>,
    /// Rights on settings.
    pub parameters: Vec<ParameterGrant>,
    /// The seal's roles that have settings of their own, and the database that these hold in, as SQL.
    pub settings: Vec<(String, Option<String>)>,
    /// What the seal's roles own or are named in.
    pub dependencies: Vec<Dependency>,
    /// What the readers' group may do beyond reading: object and privilege.
    pub excess: Vec<(String, String)>,
    /// The schema `devinprod`, if it is there.
    pub seal: Option<SealState>,
    /// The application's code that runs when a developer writes.
    pub code: Code,
    /// Event triggers, subscriptions and foreign tables: kind and name.
    pub remarks: Vec<(String, String)>,
    /// What there is to mask, and what is masked.
    pub masks: masks::found::Found,
}

/// The role that surveys, and what it may do.
#[derive(Debug, Clone)]
pub struct Administrator {
    /// Its name.
    pub name: String,
    /// SUPERUSER.
    pub superuser: bool,
    /// CREATEROLE.
    pub createrole: bool,
    /// Has the rights of the database's owner.
    pub owns_database: bool,
    /// May grant `pg_read_all_stats`.
    pub grants_stats: bool,
}

/// A role and its attributes; `identity` is its name as an SQL identifier.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each field is the attribute of that name
pub struct Role {
    pub name: String,
    pub superuser: bool,
    pub createdb: bool,
    pub createrole: bool,
    pub replication: bool,
    pub bypassrls: bool,
    pub login: bool,
    pub inherit: bool,
    pub comment: Option<String>,
    pub identity: String,
}

/// `member` is a member of `role`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// What was granted.
    pub role: String,
    /// To whom.
    pub member: String,
    /// WITH ADMIN OPTION.
    pub admin: bool,
}

/// A privilege that PUBLIC holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicGrant {
    /// The word of GRANT for this kind of object: `TABLE`, `ROUTINE` …
    pub class: String,
    /// The object as SQL names it, with `search_path = pg_catalog`.
    pub identity: String,
    /// The privilege, for a column with the column's name: `UPDATE (n)`.
    pub privilege: String,
    /// The object's owner.
    pub owner: String,
    /// Whether who surveys may revoke it.
    pub manageable: bool,
    /// The roles that hold it by name, the owner among them.
    pub named: Vec<String>,
    /// Why it matters.
    pub why: Why,
}

/// Why a privilege of PUBLIC must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// TEMP or CREATE on the database.
    Database,
    /// CREATE on a schema.
    Schema,
    /// A right to read what a policy may close.
    Read,
    /// A right to write to a table or column.
    Table,
    /// A right to advance or set a sequence.
    Sequence,
    /// A function that writes large objects.
    LargeObject,
    /// `pg_logical_emit_message`: what it writes survives a rollback.
    LogicalMessage,
    /// A SECURITY DEFINER function: runs with its owner's rights.
    Definer,
    /// A function in an untrusted language.
    Untrusted,
    /// A function of an extension that reaches outside the transaction.
    Outside,
    /// A foreign server or data wrapper.
    Foreign,
}

/// A SECURITY DEFINER function of the application.
#[derive(Debug, Clone)]
pub struct Definer {
    /// As SQL names it: `schema.name(types)`.
    pub identity: String,
    /// Its owner, whose rights it runs with.
    pub owner: String,
    /// Whether who surveys may grant on it.
    pub manageable: bool,
    /// The writers may call it.
    pub allowed: bool,
}

/// A default privilege of PUBLIC on objects to come.
#[derive(Debug, Clone)]
pub struct PublicDefault {
    /// Whose objects.
    pub owner: String,
    /// In which schema; None: in all.
    pub schema: Option<String>,
    /// `TABLES`, `SEQUENCES` or `SCHEMAS`.
    pub kind: String,
    /// The privilege.
    pub privilege: String,
    /// Whether who surveys may revoke it.
    pub manageable: bool,
}

/// A schema of a user.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Its name as an SQL identifier.
    pub identity: String,
    /// Its owner.
    pub owner: String,
    /// Whether who surveys may grant on it.
    pub manageable: bool,
    /// The readers have USAGE.
    pub readable: bool,
    /// The writers have USAGE and CREATE.
    pub writable: bool,
}

/// A table, view or sequence of a user.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its schema as an SQL identifier.
    pub schema: String,
    /// Its qualified name as SQL.
    pub identity: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its owner.
    pub owner: String,
    /// Whether who surveys may grant on it.
    pub manageable: bool,
    /// The readers may read it.
    pub readable: bool,
    /// The writers may write to it.
    pub writable: bool,
}

/// What a relation is, as far as the seal tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A table, partitioned or not, or a view.
    Table,
    /// A materialized view: only read.
    Materialized,
    /// A foreign table: only read, since what is written there may not be undone.
    Foreign,
    /// A sequence.
    Sequence,
}

/// A role that owns objects and will make more.
#[derive(Debug, Clone)]
pub struct Creator {
    /// Its name.
    pub name: String,
    /// Whether who surveys may change its default privileges.
    pub manageable: bool,
    /// Its default privileges name the readers and the writers, but for reading tables.
    pub covered: bool,
    /// Developers may read tables that it makes later.
    pub read_later: bool,
}

/// A right to change a setting.
#[derive(Debug, Clone)]
pub struct ParameterGrant {
    /// The setting.
    pub parameter: String,
    /// To whom; None: PUBLIC.
    pub grantee: Option<String>,
    /// `SET` or `ALTER SYSTEM`.
    pub privilege: String,
}

/// Something that depends on one of the seal's roles.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The role.
    pub role: String,
    /// The role owns it; otherwise it is named in its privileges.
    pub owned: bool,
    /// The catalog that the objects are in.
    pub catalog: String,
    /// The database that they are in; empty for what all databases share.
    pub database: String,
    /// How many there are.
    pub count: i32,
}

/// The schema `devinprod` as it was found.
#[derive(Debug, Clone)]
pub struct SealState {
    /// The schema's comment, which names the definition it was made from.
    pub comment: Option<String>,
    /// The schema's owner.
    pub owner: String,
    /// Its functions.
    pub functions: Vec<SealFunction>,
    /// The guard's trigger: enabled ALWAYS, deferrable, initially deferred, its function.
    pub guard: Option<(bool, bool, bool, String)>,
    /// The pairs of reader and writer, and the set of exceptions that each is for.
    pub pairs: Vec<(String, String, Option<String>)>,
}

/// A function of the schema `devinprod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealFunction {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// SECURITY DEFINER.
    pub definer: bool,
    /// Its settings, as `name=value`.
    pub settings: String,
    /// Its source text.
    pub source: String,
}

impl Survey {
    /// The role of that name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }

    /// The role's name as an SQL identifier.
    pub(super) fn quoted(&self, role: &str) -> String {
        self.role(role).map_or_else(
            || format!("\"{}\"", role.replace('"', "\"\"")),
            |found| found.identity.clone(),
        )
    }

    /// Whether `member` was granted `role`.
    pub fn is_member(&self, member: &str, role: &str) -> bool {
        self.memberships
            .iter()
            .any(|m| m.member == member && m.role == role)
    }
}

/// Reads what `client`'s database has, in one read-only snapshot. Any role may look.
pub async fn survey(client: &Client, names: &Names) -> Result<Survey, SealError> {
    client
        .batch_execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog",
        )
        .await?;
    let found = collect(client, names).await;
    client.batch_execute("ROLLBACK").await?;
    found
}

/// [`survey()`] inside a transaction of the caller's, whose search path is `pg_catalog`.
pub(super) async fn collect(client: &Client, names: &Names) -> Result<Survey, SealError> {
    let groups = (names.readers(), names.writers());
    let setting = client.query_one(queries::SETTING, &[]).await?;
    let version = setting.try_get(0)?;
    let parameters = if version >= 150_000 {
        rows(client, queries::PARAMETER_GRANTS, &[], parameter).await?
    } else {
        Vec::new()
    };
    let proxy = names.proxy();
    let prefix = format!("{}reader_", names.prefix());
    let database = client
        .query_one(queries::DATABASE, &[&groups.0, &groups.1, &proxy, &prefix])
        .await?;
    let mut public_defaults = rows(client, queries::PUBLIC_DEFAULTS, &[], public_default).await?;
    // Any role may change its own, and what a developer role makes is never committed.
    public_defaults.retain(|default| names.pair_of(&default.owner).is_none());
    let both: &[&str] = &[&groups.0, &groups.1];
    Ok(Survey {
        version,
        database: setting.try_get(1)?,
        database_identity: setting.try_get(2)?,
        administrator: Administrator {
            name: setting.try_get(3)?,
            superuser: setting.try_get(4)?,
            createrole: setting.try_get(5)?,
            owns_database: setting.try_get(6)?,
            grants_stats: setting.try_get(9)?,
        },
        in_recovery: setting.try_get(7)?,
        prepared_transactions: setting.try_get(8)?,
        database_granted: database.try_get(0)?,
        sessions: database.try_get(1)?,
        databases: database.try_get(2)?,
        roles: rows(client, queries::ROLES, &[], role).await?,
        memberships: rows(client, queries::MEMBERSHIPS, &[], membership).await?,
        public: rows(client, queries::PUBLIC_GRANTS, &[], public_grant).await?,
        public_reads: rows(client, masks::PUBLIC_READS, &[], public_grant).await?,
        definers: rows(client, queries::DEFINERS, &[&groups.1], definer).await?,
        public_defaults,
        schemas: rows(client, queries::SCHEMAS, both, schema).await?,
        relations: rows(client, queries::RELATIONS, both, relation).await?,
        creators: rows(client, queries::CREATORS, both, creator).await?,
        parameters,
        settings: rows(client, queries::SETTINGS, &[names.prefix()], role_setting).await?,
        dependencies: rows(client, queries::DEPENDENCIES, &[names.prefix()], dependency).await?,
        excess: rows(client, queries::EXCESS, &[&groups.0], two).await?,
        seal: seal(client).await?,
        code: code::collect(client, names).await?,
        remarks: rows(client, queries::REMARKS, &[], two).await?,
        masks: masks::collect(client, names).await?,
    })
}

async fn seal(client: &Client) -> Result<Option<SealState>, SealError> {
    let Some(row) = client.query_opt(queries::SEAL, &[]).await? else {
        return Ok(None);
    };
    let has_pairs: bool = client
        .query_one(
            "SELECT coalesce(has_table_privilege(to_regclass('devinprod.pair')::oid, 'SELECT'), false) \
             AND has_schema_privilege('devinprod', 'USAGE')",
            &[],
        )
        .await?
        .try_get(0)?;
    Ok(Some(SealState {
        comment: row.try_get(0)?,
        owner: row.try_get(1)?,
        functions: rows(client, queries::SEAL_FUNCTIONS, &[], function).await?,
        guard: rows(client, queries::GUARD, &[], guard).await?.pop(),
        pairs: if has_pairs {
            rows(client, queries::PAIRS, &[], pair).await?
        } else {
            Vec::new()
        },
    }))
}

async fn rows<T>(
    client: &Client,
    query: &str,
    texts: &[&str],
    read: fn(&Row) -> Result<T, SealError>,
) -> Result<Vec<T>, SealError> {
    let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        texts.iter().map(|text| text as _).collect();
    let found = client.query(query, &parameters).await?;
    found.iter().map(read).collect()
}

fn role(row: &Row) -> Result<Role, SealError> {
    Ok(Role {
        name: row.try_get(0)?,
        superuser: row.try_get(1)?,
        createdb: row.try_get(2)?,
        createrole: row.try_get(3)?,
        replication: row.try_get(4)?,
        bypassrls: row.try_get(5)?,
        login: row.try_get(6)?,
        inherit: row.try_get(7)?,
        comment: row.try_get(8)?,
        identity: row.try_get(9)?,
    })
}

fn membership(row: &Row) -> Result<Membership, SealError> {
    Ok(Membership {
        role: row.try_get(0)?,
        member: row.try_get(1)?,
        admin: row.try_get(2)?,
    })
}

fn public_grant(row: &Row) -> Result<PublicGrant, SealError> {
    let why = match row.try_get::<_, &str>(6)? {
        "database" => Why::Database,
        "schema" => Why::Schema,
        "read" => Why::Read,
        "table" => Why::Table,
        "sequence" => Why::Sequence,
        "large object" => Why::LargeObject,
        "logical message" => Why::LogicalMessage,
        "definer" => Why::Definer,
        "untrusted" => Why::Untrusted,
        "outside" => Why::Outside,
        "foreign" => Why::Foreign,
        other => return Err(SealError::Catalog(format!("reason {other}"))),
    };
    Ok(PublicGrant {
        class: row.try_get(0)?,
        identity: row.try_get(1)?,
        privilege: row.try_get(2)?,
        owner: row.try_get(3)?,
        manageable: row.try_get(4)?,
        named: row.try_get(5)?,
        why,
    })
}

fn definer(row: &Row) -> Result<Definer, SealError> {
    Ok(Definer {
        identity: row.try_get(0)?,
        owner: row.try_get(1)?,
        manageable: row.try_get(2)?,
        allowed: row.try_get(3)?,
    })
}

fn public_default(row: &Row) -> Result<PublicDefault, SealError> {
    Ok(PublicDefault {
        owner: row.try_get(0)?,
        schema: row.try_get(1)?,
        kind: row.try_get(2)?,
        privilege: row.try_get(3)?,
        manageable: row.try_get(4)?,
    })
}

fn schema(row: &Row) -> Result<Schema, SealError> {
    Ok(Schema {
        identity: row.try_get(0)?,
        owner: row.try_get(1)?,
        manageable: row.try_get(2)?,
        readable: row.try_get(3)?,
        writable: row.try_get(4)?,
    })
}

fn relation(row: &Row) -> Result<Relation, SealError> {
    let kind = match row.try_get::<_, &str>(2)? {
        "r" | "p" | "v" => RelationKind::Table,
        "m" => RelationKind::Materialized,
        "f" => RelationKind::Foreign,
        "S" => RelationKind::Sequence,
        other => return Err(SealError::Catalog(format!("relkind {other}"))),
    };
    Ok(Relation {
        schema: row.try_get(0)?,
        identity: row.try_get(1)?,
        kind,
        owner: row.try_get(3)?,
        manageable: row.try_get(4)?,
        readable: row.try_get(5)?,
        writable: row.try_get(6)?,
    })
}

fn creator(row: &Row) -> Result<Creator, SealError> {
    Ok(Creator {
        name: row.try_get(0)?,
        manageable: row.try_get(1)?,
        covered: row.try_get(2)?,
        read_later: row.try_get(3)?,
    })
}

fn parameter(row: &Row) -> Result<ParameterGrant, SealError> {
    Ok(ParameterGrant {
        parameter: row.try_get(0)?,
        grantee: row.try_get(1)?,
        privilege: row.try_get(2)?,
    })
}

fn role_setting(row: &Row) -> Result<(String, Option<String>), SealError> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

fn dependency(row: &Row) -> Result<Dependency, SealError> {
    Ok(Dependency {
        role: row.try_get(0)?,
        owned: row.try_get::<_, &str>(1)? == "o",
        catalog: row.try_get(2)?,
        database: row.try_get(3)?,
        count: row.try_get(4)?,
    })
}

fn function(row: &Row) -> Result<SealFunction, SealError> {
    Ok(SealFunction {
        name: row.try_get(0)?,
        owner: row.try_get(1)?,
        definer: row.try_get(2)?,
        settings: row.try_get(3)?,
        source: row.try_get(4)?,
    })
}

fn guard(row: &Row) -> Result<(bool, bool, bool, String), SealError> {
    Ok((
        row.try_get::<_, &str>(0)? == "A",
        row.try_get(1)?,
        row.try_get(2)?,
        row.try_get(3)?,
    ))
}

fn pair(row: &Row) -> Result<(String, String, Option<String>), SealError> {
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}

fn two(row: &Row) -> Result<(String, String), SealError> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}
