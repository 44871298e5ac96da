//! The catalog queries of the survey. All of them run with `search_path = pg_catalog`, so that what
//! `regclass` and `regprocedure` print is qualified for everything that belongs to a user.
//!
//! Any role may run them: the proxy's own role surveys at start with no rights of its own.

/// One row: what this server, database and administrator are. No parameters.
pub(super) const SETTING: &str = "
SELECT current_setting('server_version_num')::int4, current_database()::text,
    quote_ident(current_database()), current_user::text, r.rolsuper, r.rolcreaterole,
    pg_has_role(d.datdba, 'USAGE'), pg_is_in_recovery(),
    current_setting('max_prepared_transactions')::int4,
    r.rolsuper OR (current_setting('server_version_num')::int4 < 160000 AND r.rolcreaterole)
        OR pg_has_role('pg_read_all_stats', 'USAGE WITH ADMIN OPTION')
FROM pg_roles r, pg_database d
WHERE r.rolname = current_user AND d.datname = current_database()";

/// Whether the groups may use the database, how many sessions developer roles have, and all databases.
/// $1: readers, $2: writers, $3: the proxy, $4: what the readers' names begin with.
pub(super) const DATABASE: &str = "
SELECT 4 = (SELECT count(DISTINCT (x.grantee, x.privilege_type)) FROM pg_database d, aclexplode(d.datacl) x
        WHERE d.datname = current_database()
            AND ((x.grantee IN (to_regrole($1)::oid, to_regrole($3)::oid) AND x.privilege_type = 'CONNECT')
                OR (x.grantee = to_regrole($2)::oid AND x.privilege_type IN ('TEMPORARY', 'CREATE')))),
    (SELECT count(*) FROM pg_stat_activity a WHERE starts_with(a.usename::text, $4)),
    (SELECT array_agg(d.datname::text) FROM pg_database d)";

/// All roles but the predefined ones.
pub(super) const ROLES: &str = "
SELECT r.rolname::text, r.rolsuper, r.rolcreatedb, r.rolcreaterole, r.rolreplication, r.rolbypassrls,
    r.rolcanlogin, r.rolinherit, shobj_description(r.oid, 'pg_authid'), quote_ident(r.rolname)
FROM pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname";

/// Who is a member of what: role, member, with admin option.
pub(super) const MEMBERSHIPS: &str = "
SELECT g.rolname::text, u.rolname::text, bool_or(m.admin_option)
FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
GROUP BY 1, 2 ORDER BY 1, 2";

/// What PUBLIC may do that a developer role must not do unarmed: class (a word of GRANT), identity,
/// privilege, owner, whether this administrator may revoke it, who holds it by name, and why it is here.
pub(super) const PUBLIC_GRANTS: &str = "
WITH acl AS (
    SELECT 'DATABASE' AS class, quote_ident(d.datname) AS identity, d.datdba AS owner,
        coalesce(d.datacl, acldefault('d', d.datdba)) AS acl, NULL::text AS part, 'database' AS why,
        ARRAY['TEMPORARY', 'CREATE'] AS closed
    FROM pg_database d WHERE d.datname = current_database()
    UNION ALL
    SELECT 'SCHEMA', quote_ident(n.nspname), n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)),
        NULL, 'schema', ARRAY['CREATE']
    FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'
    UNION ALL
    SELECT 'TABLE', c.oid::regclass::text, c.relowner, c.relacl, NULL, 'table',
        ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN']
    FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relacl IS NOT NULL
        AND c.relpersistence <> 't' AND c.oid <> 'pg_catalog.pg_settings'::regclass
    UNION ALL
    SELECT 'TABLE', c.oid::regclass::text, c.relowner, a.attacl, quote_ident(a.attname), 'table',
        ARRAY['INSERT', 'UPDATE', 'REFERENCES']
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND c.relpersistence <> 't'
    UNION ALL
    SELECT 'SEQUENCE', c.oid::regclass::text, c.relowner, c.relacl, NULL, 'sequence',
        ARRAY['USAGE', 'UPDATE']
    FROM pg_class c WHERE c.relkind = 'S' AND c.relacl IS NOT NULL AND c.relpersistence <> 't'
    UNION ALL
    SELECT 'ROUTINE',
        CASE WHEN n.nspname = 'pg_catalog' THEN 'pg_catalog.' ELSE '' END || p.oid::regprocedure::text,
        p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)), NULL,
        CASE
            WHEN n.nspname = 'pg_catalog' AND p.proname ~ '^lo' THEN 'large object'
            WHEN n.nspname = 'pg_catalog' AND p.proname = 'pg_logical_emit_message' THEN 'logical message'
            WHEN p.prosecdef THEN 'definer'
            WHEN NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c') THEN 'untrusted'
            ELSE 'outside'
        END,
        ARRAY['EXECUTE']
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE n.nspname <> 'devinprod'
        AND (p.prosecdef
            OR (NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c'))
            OR (n.nspname = 'pg_catalog' AND p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea',
                'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64', 'lo_unlink', 'lo_import',
                'lo_export', 'pg_logical_emit_message'))
            OR EXISTS (
                SELECT FROM pg_depend x JOIN pg_extension e ON e.oid = x.refobjid
                WHERE x.classid = 'pg_proc'::regclass AND x.objid = p.oid
                    AND x.refclassid = 'pg_extension'::regclass AND x.deptype = 'e'
                    AND e.extname IN ('dblink', 'pg_background', 'http', 'pg_net', 'pg_cron', 'plproxy',
                        'aws_s3', 'aws_lambda', 'aws_commons', 'adminpack', 'pg_task', 'pgq_node',
                        'autonomous_transaction', 'oracle_fdw', 'mysql_fdw', 'tds_fdw')))
    UNION ALL
    SELECT 'FOREIGN SERVER', quote_ident(s.srvname), s.srvowner, s.srvacl, NULL, 'foreign',
        ARRAY['USAGE']
    FROM pg_foreign_server s WHERE s.srvacl IS NOT NULL
    UNION ALL
    SELECT 'FOREIGN DATA WRAPPER', quote_ident(w.fdwname), w.fdwowner, w.fdwacl, NULL, 'foreign',
        ARRAY['USAGE']
    FROM pg_foreign_data_wrapper w WHERE w.fdwacl IS NOT NULL
)
SELECT acl.class, acl.identity, x.privilege_type || coalesce(' (' || acl.part || ')', ''),
    pg_get_userbyid(acl.owner)::text, pg_has_role(acl.owner, 'USAGE'),
    ARRAY(
        SELECT DISTINCT r.rolname::text
        FROM aclexplode(acl.acl) y JOIN pg_roles r ON r.oid = y.grantee
        WHERE y.privilege_type = x.privilege_type
    ), acl.why
FROM acl, aclexplode(acl.acl) x
WHERE x.grantee = 0 AND x.privilege_type = ANY (acl.closed)
GROUP BY acl.class, acl.identity, x.privilege_type, acl.part, acl.owner, acl.acl, acl.why
ORDER BY array_position(ARRAY['DATABASE', 'SCHEMA', 'TABLE', 'SEQUENCE', 'ROUTINE'], acl.class), 2, 3";

/// The users' schemas: identity, owner, manageable, readers have USAGE, writers have USAGE and CREATE.
/// $1: the readers' group, $2: the writers' group.
pub(super) const SCHEMAS: &str = "
SELECT quote_ident(n.nspname), pg_get_userbyid(n.nspowner)::text, pg_has_role(n.nspowner, 'USAGE'),
    EXISTS (SELECT FROM aclexplode(n.nspacl) x
        WHERE x.grantee = to_regrole($1)::oid AND x.privilege_type = 'USAGE'),
    2 = (SELECT count(DISTINCT x.privilege_type) FROM aclexplode(n.nspacl) x
        WHERE x.grantee = to_regrole($2)::oid AND x.privilege_type IN ('USAGE', 'CREATE'))
FROM pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'devinprod', 'devinprod_masked', 'devinprod_rows') ORDER BY 1";

/// The users' relations: schema, identity, kind, owner, manageable, readers may read it, writers may write
/// it. $1: the readers' group, $2: the writers' group.
pub(super) const RELATIONS: &str = "
SELECT quote_ident(n.nspname), c.oid::regclass::text, c.relkind::text, pg_get_userbyid(c.relowner)::text,
    pg_has_role(c.relowner, 'USAGE'),
    EXISTS (SELECT FROM aclexplode(c.relacl) x
        WHERE x.grantee = to_regrole($1)::oid AND x.privilege_type = 'SELECT'),
    CASE WHEN c.relkind = 'S' THEN 1 ELSE 4 END = (
        SELECT count(DISTINCT x.privilege_type) FROM aclexplode(c.relacl) x
        WHERE x.grantee = to_regrole($2)::oid AND x.privilege_type = ANY (
            CASE WHEN c.relkind = 'S' THEN ARRAY['USAGE']
                ELSE ARRAY['INSERT', 'UPDATE', 'DELETE', 'REFERENCES'] END))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_'
    AND n.nspname NOT IN ('information_schema', 'devinprod', 'devinprod_masked', 'devinprod_rows') AND c.relpersistence <> 't'
ORDER BY 1, 2";

/// The roles whose future objects the developer roles should see, because they own a schema or a relation
/// there: name, manageable, whether their default privileges name both groups already, but for reading tables, and
/// whether they do for that.
/// $1: the readers' group, $2: the writers' group.
pub(super) const CREATORS: &str = "
SELECT r.rolname::text, pg_has_role(r.oid, 'USAGE'),
    5 = (SELECT count(DISTINCT (d.defaclobjtype, x.grantee))
        FROM pg_default_acl d, aclexplode(d.defaclacl) x
        WHERE d.defaclrole = r.oid AND d.defaclnamespace = 0 AND d.defaclobjtype IN ('r', 'S', 'n')
            AND x.grantee IN (to_regrole($1)::oid, to_regrole($2)::oid)
            AND (d.defaclobjtype <> 'r' OR x.grantee <> to_regrole($1)::oid)),
    EXISTS (SELECT FROM pg_default_acl d, aclexplode(d.defaclacl) x
        WHERE d.defaclrole = r.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = 'r'
            AND x.grantee = to_regrole($1)::oid AND x.privilege_type = 'SELECT')
FROM pg_roles r
WHERE r.oid IN (
    SELECT c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'devinprod', 'devinprod_masked', 'devinprod_rows')
        AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relpersistence <> 't'
    UNION SELECT n.nspowner FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'devinprod', 'devinprod_masked', 'devinprod_rows'))
    AND r.rolname !~ '^pg_'
ORDER BY 1";

/// The SECURITY DEFINER functions of the application: identity, owner, manageable, writers may call it.
/// $1: the writers' group.
pub(super) const DEFINERS: &str = "
SELECT CASE WHEN n.nspname = 'pg_catalog' THEN 'pg_catalog.' ELSE '' END || p.oid::regprocedure::text,
    pg_get_userbyid(p.proowner)::text, pg_has_role(p.proowner, 'USAGE'),
    EXISTS (SELECT FROM aclexplode(p.proacl) x WHERE x.grantee = to_regrole($1)::oid)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname <> 'devinprod' ORDER BY 1";

/// Default privileges that would give PUBLIC a way to write: owner, schema or NULL, kind, privilege,
/// manageable.
pub(super) const PUBLIC_DEFAULTS: &str = "
SELECT pg_get_userbyid(d.defaclrole)::text, quote_ident(n.nspname),
    CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' ELSE 'SCHEMAS' END,
    x.privilege_type, pg_has_role(d.defaclrole, 'USAGE')
FROM pg_default_acl d CROSS JOIN aclexplode(d.defaclacl) x
    LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
WHERE x.grantee = 0
    AND ((d.defaclobjtype = 'r' AND x.privilege_type <> 'SELECT')
        OR (d.defaclobjtype = 'S' AND x.privilege_type <> 'SELECT')
        OR (d.defaclobjtype = 'n' AND x.privilege_type = 'CREATE'))
ORDER BY 1, 2, 3, 4";

/// Rights on settings, where they were granted to PUBLIC (NULL) or to anybody: parameter, grantee,
/// privilege. Postgres 15 and later.
pub(super) const PARAMETER_GRANTS: &str = "
SELECT p.parname, r.rolname::text, x.privilege_type
FROM pg_parameter_acl p CROSS JOIN aclexplode(p.paracl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
WHERE NOT coalesce(r.rolsuper, false) ORDER BY 1, 2, 3";

/// Roles with settings of their own: role, the database that they hold in as SQL or NULL.
/// $1: the roles' prefix.
pub(super) const SETTINGS: &str = "
SELECT r.rolname::text, quote_ident(d.datname)
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
    LEFT JOIN pg_database d ON d.oid = s.setdatabase
WHERE starts_with(r.rolname::text, $1) ORDER BY 1, 2";

/// What roles own or are named in: role, 'o' or 'a', catalog, database, how often. $1: the roles' prefix.
pub(super) const DEPENDENCIES: &str = "
SELECT r.rolname::text, s.deptype::text, s.classid::regclass::text, coalesce(d.datname, '')::text,
    count(*)::int4
FROM pg_shdepend s JOIN pg_roles r ON s.refclassid = 'pg_authid'::regclass AND r.oid = s.refobjid
    LEFT JOIN pg_database d ON d.oid = s.dbid
WHERE starts_with(r.rolname::text, $1) AND s.deptype IN ('o', 'a')
    AND s.classid NOT IN ('pg_auth_members'::regclass, 'pg_default_acl'::regclass)
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";

/// Privileges of the readers' group that would let them write unarmed: object, privilege.
/// $1: the readers' group.
pub(super) const EXCESS: &str = "
SELECT o.identity, x.privilege_type FROM (
    SELECT c.oid::regclass::text AS identity, c.relacl AS acl, ARRAY['SELECT'] AS fine FROM pg_class c
    UNION ALL
    SELECT a.attrelid::regclass::text || ' (' || quote_ident(a.attname) || ')', a.attacl, ARRAY['SELECT']
    FROM pg_attribute a WHERE a.attacl IS NOT NULL
    UNION ALL
    SELECT 'schema ' || quote_ident(n.nspname), n.nspacl, ARRAY['USAGE'] FROM pg_namespace n
    UNION ALL
    SELECT 'database ' || quote_ident(d.datname), d.datacl, ARRAY['CONNECT']
    FROM pg_database d WHERE d.datname = current_database()
    UNION ALL
    SELECT p.oid::regprocedure::text, p.proacl,
        CASE WHEN p.prosecdef AND p.pronamespace <> coalesce(to_regnamespace('devinprod')::oid, 0)
            THEN ARRAY[]::text[] ELSE ARRAY['EXECUTE'] END
    FROM pg_proc p
    UNION ALL
    SELECT 'foreign server ' || quote_ident(s.srvname), s.srvacl, ARRAY[]::text[] FROM pg_foreign_server s
) o, aclexplode(o.acl) x
WHERE x.grantee = to_regrole($1)::oid AND x.privilege_type <> ALL (o.fine)
ORDER BY 1, 2";

/// The schema devinprod, if it is there: its comment and owner.
pub(super) const SEAL: &str = "
SELECT obj_description(n.oid, 'pg_namespace'), pg_get_userbyid(n.nspowner)::text
FROM pg_namespace n WHERE n.nspname = 'devinprod'";

/// The functions of the seal: name, owner, runs as its owner, settings, source.
pub(super) const SEAL_FUNCTIONS: &str = "
SELECT p.proname::text, pg_get_userbyid(p.proowner)::text, p.prosecdef,
    coalesce(array_to_string(p.proconfig, '; '), ''), p.prosrc
FROM pg_proc p WHERE p.pronamespace = to_regnamespace('devinprod')::oid ORDER BY 1";

/// How the guard's trigger stands: enabled mode, deferrable, initially deferred, its
/// function. Another trigger or a rule there could keep it from firing.
pub(super) const GUARD: &str = "
SELECT CASE WHEN EXISTS (SELECT FROM pg_trigger o WHERE o.tgrelid = t.tgrelid AND o.oid <> t.oid)
        OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = t.tgrelid) THEN 'not alone' ELSE t.tgenabled::text END,
    t.tgdeferrable, t.tginitdeferred, t.tgfoid::regproc::text
FROM pg_trigger t WHERE t.tgrelid = to_regclass('devinprod.commit_guard')::oid
    AND t.tgname = 'refuse_commit'";

/// The pairs that the seal knows: reader, writer, set of exceptions (which an older seal does not have).
pub(super) const PAIRS: &str = "
SELECT p.reader::text, p.writer::text, to_jsonb(p) ->> 'exceptions' FROM devinprod.pair p ORDER BY 1";

/// What PUBLIC lost: class, identity, privilege, given to, and whether the object is still there.
pub(super) const TAKEN: &str = "
SELECT t.class, t.identity, t.privilege, t.given_to::text[], CASE t.class
        WHEN 'DATABASE' THEN t.identity = quote_ident(current_database())
        WHEN 'SCHEMA' THEN to_regnamespace(t.identity) IS NOT NULL
        WHEN 'TABLE' THEN to_regclass(t.identity) IS NOT NULL
        WHEN 'SEQUENCE' THEN to_regclass(t.identity) IS NOT NULL
        WHEN 'ROUTINE' THEN to_regprocedure(t.identity) IS NOT NULL
        WHEN 'FOREIGN SERVER' THEN EXISTS (
            SELECT FROM pg_foreign_server s WHERE quote_ident(s.srvname) = t.identity)
        WHEN 'FOREIGN DATA WRAPPER' THEN EXISTS (
            SELECT FROM pg_foreign_data_wrapper w WHERE quote_ident(w.fdwname) = t.identity)
        ELSE true
    END
FROM devinprod.taken t ORDER BY 1, 2, 3";

/// What else is worth a word: event triggers, subscriptions, other databases, foreign tables (kind,
/// name).
pub(super) const REMARKS: &str = "
SELECT 'event trigger', evtname::text FROM pg_event_trigger WHERE evtenabled <> 'D'
UNION ALL SELECT 'subscription', subname::text FROM pg_subscription s
    JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()
UNION ALL SELECT 'database', datname::text FROM pg_database
    WHERE datallowconn AND datname <> current_database() AND has_database_privilege('public', oid, 'CONNECT')
UNION ALL SELECT 'foreign table', oid::regclass::text FROM pg_class WHERE relkind = 'f'
ORDER BY 1, 2";
