//! The catalog queries behind [`Code`](super::Code). They run with `search_path = pg_catalog`; any role may run them.

/// For the rest of the caller's transaction.
pub(super) const NO_JIT: &str = "SELECT set_config('jit', 'off', true)";

/// Triggers: relation, its identity, name, function, `tgtype`, has transition tables.
///
/// Disabled triggers are left out, and so are those for replicas: a developer role can set neither.
pub(super) const TRIGGERS: &str = "
SELECT t.tgrelid, c.oid::regclass::text, 'trigger ' || c.oid::regclass::text || '.' || quote_ident(t.tgname), t.tgfoid,
    t.tgtype, t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgenabled NOT IN ('D', 'R') AND c.relpersistence <> 't'
    AND n.nspname !~ '^(pg_|devinprod$|devinprod_)' AND n.nspname <> 'information_schema'
    -- The seal's own note who wrote what.
    AND NOT EXISTS (SELECT FROM pg_proc f JOIN pg_namespace s ON s.oid = f.pronamespace
        WHERE f.oid = t.tgfoid AND s.nspname = 'devinprod' AND f.proowner = s.nspowner)
ORDER BY 2, 3";

/// Rules that write: relation, its identity, name, `ev_type`.
pub(super) const RULES: &str = "
SELECT c.oid, c.oid::regclass::text, 'rule ' || c.oid::regclass::text || '.' || quote_ident(r.rulename), r.ev_type::text
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.ev_type IN ('2', '3', '4') AND r.ev_enabled NOT IN ('D', 'R') AND c.relkind IN ('r', 'p')
    AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|devinprod$|devinprod_)' AND n.nspname <> 'information_schema'
ORDER BY 2, 3";

/// Expressions that Postgres computes for a row, and the functions of others than Postgres that they call, also behind an
/// operator or a cast: relation, its identity, name, kind, function, the columns that the expression names.
///
/// Kinds: `check`, `index`, `default`, `generated`, `partition`, `policy`.
pub(super) const EXPRESSIONS: &str = "
WITH code (class, object, oid) AS MATERIALIZED (
    -- The few functions first: from each relation to all that it depends on takes minutes where there are many.
    SELECT d.classid, d.objid, d.refobjid FROM pg_depend d
    WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid >= 16384
    UNION
    SELECT d.classid, d.objid, o.oprcode::oid FROM pg_operator o
        JOIN pg_depend d ON d.refclassid = 'pg_operator'::regclass AND d.refobjid = o.oid
    WHERE o.oprcode::oid >= 16384
    UNION
    SELECT d.classid, d.objid, s.amproc::oid FROM pg_amproc s JOIN pg_opclass o ON o.opcfamily = s.amprocfamily
        JOIN pg_depend d ON d.refclassid = 'pg_opclass'::regclass AND d.refobjid = o.oid
    WHERE s.amproc::oid >= 16384
    UNION
    SELECT d.classid, d.objid, r.oprcode::oid FROM pg_amop s JOIN pg_operator r ON r.oid = s.amopopr
        JOIN pg_opclass o ON o.opcfamily = s.amopfamily
        JOIN pg_depend d ON d.refclassid = 'pg_opclass'::regclass AND d.refobjid = o.oid
    WHERE r.oprcode::oid >= 16384
), users (relation) AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|devinprod$|devinprod_)'
        AND n.nspname <> 'information_schema'
), part (relation, kind, name, class, object, type) AS (
    SELECT k.conrelid, 'check', 'constraint ' || k.conrelid::regclass::text || '.' || quote_ident(k.conname),
        'pg_constraint'::regclass, k.oid, 0::oid
    FROM pg_constraint k WHERE k.contype IN ('c', 'x') AND k.conrelid <> 0
    UNION ALL
    SELECT i.indrelid, 'index', 'index ' || i.indexrelid::regclass::text, 'pg_class'::regclass, i.indexrelid, 0
    FROM pg_index i
    UNION ALL
    SELECT f.adrelid, CASE WHEN a.attgenerated = '' THEN 'default' ELSE 'generated' END,
        'default ' || f.adrelid::regclass::text || '.' || quote_ident(a.attname), 'pg_attrdef'::regclass, f.oid, 0
    FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
    UNION ALL
    SELECT p.polrelid, 'policy', 'policy ' || p.polrelid::regclass::text || '.' || quote_ident(p.polname),
        'pg_policy'::regclass, p.oid, 0
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relrowsecurity
    UNION ALL
    SELECT p.partrelid, 'partition', 'partition key ' || p.partrelid::regclass::text, 'pg_class'::regclass, p.partrelid, 0
    FROM pg_partitioned_table p
    UNION ALL
    SELECT d.relation, 'domain', 'domain ' || format_type(d.type, NULL), 'pg_constraint'::regclass, k.oid, d.number
    FROM (
        WITH RECURSIVE step (relation, number, type) AS (
            SELECT u.relation, a.attnum, a.atttypid FROM users u JOIN pg_attribute a ON a.attrelid = u.relation
            WHERE a.attnum > 0 AND NOT a.attisdropped
            UNION
            SELECT s.relation, s.number, x.type FROM step s JOIN pg_type t ON t.oid = s.type
            CROSS JOIN LATERAL (
                SELECT t.typbasetype WHERE t.typtype = 'd'
                UNION ALL SELECT t.typelem WHERE t.typelem <> 0 AND t.typlen = -1
                UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid
                    AND a.attnum > 0 AND NOT a.attisdropped
            ) x (type)
        )
        SELECT * FROM step
    ) d JOIN pg_constraint k ON k.contypid = d.type
)
SELECT p.relation, p.relation::regclass::text, p.name, p.kind, f.oid,
    CASE WHEN p.kind = 'domain' THEN ARRAY[p.type::int::int2] ELSE ARRAY(
        SELECT DISTINCT d.refobjsubid::int2 FROM pg_depend d
        WHERE d.classid = p.class AND d.objid = p.object AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid = p.relation AND d.refobjsubid > 0 AND p.kind <> 'partition') END
FROM part p JOIN users u ON u.relation = p.relation JOIN code f ON f.class = p.class AND f.object = p.object
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 2, 3, 5";

/// Foreign keys that change the referencing rows: referencing, referenced, its identity, on delete, on update.
pub(super) const ACTIONS: &str = "
SELECT k.conrelid, k.confrelid, k.confrelid::regclass::text, k.confdeltype::text, k.confupdtype::text
FROM pg_constraint k
WHERE k.contype = 'f' AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
ORDER BY k.oid";

/// Views and tables with rules, and what their rules name: what is written to the one may be written to the other, with the
/// rights of the one's owner; and tables with partitions or children, whose code a write to the parent sets off: relation, what
/// it leads to, `ev_type`.
pub(super) const LINKS: &str = "
SELECT DISTINCT r.ev_class, d.refobjid, r.ev_type::text
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
WHERE d.refobjid <> r.ev_class AND c.relkind IN ('r', 'p', 'v') AND c.oid >= 16384
UNION SELECT i.inhparent, i.inhrelid, '1' FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
WHERE c.relkind IN ('r', 'p')";

/// Functions by oid: oid, identity, runs as its owner, language, search path or NULL, has an SQL-standard body, source, the
/// functions that such a body calls, owner, whether who asks may alter it. $1: the oids.
pub(super) const ROUTINES: &str = "
SELECT p.oid, p.oid::regprocedure::text, p.prosecdef, l.lanname::text,
    (SELECT substr(s, 13) FROM unnest(p.proconfig) s WHERE starts_with(lower(s), 'search_path=') LIMIT 1),
    p.prosqlbody IS NOT NULL, p.prosrc,
    ARRAY(SELECT DISTINCT x.oid FROM (
        SELECT d.refobjid AS oid FROM pg_depend d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_proc'::regclass
        UNION ALL
        SELECT o.oprcode::oid FROM pg_depend d JOIN pg_operator o ON o.oid = d.refobjid
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_operator'::regclass
    ) x WHERE x.oid >= 16384),
    pg_get_userbyid(p.proowner)::text, pg_has_role(p.proowner, 'USAGE')
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.oid = ANY ($1::oid[])";

/// The functions of event triggers.
pub(super) const EVENT_TRIGGERS: &str =
    "SELECT DISTINCT evtfoid FROM pg_event_trigger WHERE evtenabled NOT IN ('D', 'R')";

/// The SECURITY DEFINER functions of the application.
pub(super) const DEFINERS: &str = "
SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND p.oid >= 16384 AND n.nspname <> 'devinprod'";

/// What the writers hold of the rights to write: relation, identity, owner, whether who asks may grant there, privileges.
/// $1: the writers' group.
pub(super) const HELD: &str = "
SELECT c.oid, c.oid::regclass::text, pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner, 'USAGE'),
    ARRAY(SELECT DISTINCT x.privilege_type FROM aclexplode(c.relacl) x
        WHERE x.grantee = to_regrole($1)::oid AND x.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'REFERENCES')
        ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v') AND c.relpersistence <> 't'
    AND n.nspname !~ '^(pg_|devinprod$|devinprod_)' AND n.nspname <> 'information_schema'
ORDER BY 2";

/// What the owner of the data vouches for, as setup put it on record.
pub(super) const VOUCHED: &str = "SELECT code FROM devinprod.vouched ORDER BY 1";

/// Is there such a record that this role may read?
pub(super) const HAS_VOUCHED: &str = "
SELECT coalesce(has_table_privilege(to_regclass('devinprod.vouched')::oid, 'SELECT'), false)
    AND has_schema_privilege('devinprod', 'USAGE')";

/// What setup pinned: function, its search path then and now, whether who asks may alter it.
pub(super) const PINNED: &str = "
SELECT f.function, f.former,
    (SELECT substr(s, 13) FROM unnest(p.proconfig) s WHERE starts_with(lower(s), 'search_path=') LIMIT 1),
    coalesce(pg_has_role(p.proowner, 'USAGE'), false)
FROM devinprod.pinned f LEFT JOIN pg_proc p ON p.oid = to_regprocedure(f.function)::oid ORDER BY 1";

/// Is there such a record that this role may read?
pub(super) const HAS_PINNED: &str = "
SELECT coalesce(has_table_privilege(to_regclass('devinprod.pinned')::oid, 'SELECT'), false)
    AND has_schema_privilege('devinprod', 'USAGE')";

/// The names of all functions that are not Postgres' own.
pub(super) const NAMES: &str = "
SELECT coalesce(array_agg(DISTINCT p.proname::text), '{}') FROM pg_proc p
WHERE p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)";
