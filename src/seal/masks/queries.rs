//! The catalog queries behind [`Found`](super::found::Found). They run with `search_path = pg_catalog`; any role may
//! run them. Digests are of the server's own trees, not of text made from them: text hangs on settings.

/// The users' relations. See `found::relation` for the columns.
pub(super) const RELATIONS: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, quote_ident(n.nspname), c.oid::regclass::text, c.relkind::text,
    pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner, 'USAGE'),
    EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
        AND d.deptype = 'e'),
    ARRAY(SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno),
    c.relispartition,
    coalesce((SELECT (i.indkey::int2[])[0:i.indnkeyatts - 1] FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
            AND i.indpred IS NULL AND i.indexprs IS NULL
            AND NOT EXISTS (SELECT FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) k
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k WHERE NOT a.attnotnull)
            -- A key of a parent says nothing about the rows of its children.
            AND (c.relkind = 'p' OR NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid))
        ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1), '{}'),
    ARRAY(SELECT p.polname::text FROM pg_policy p WHERE c.relrowsecurity AND p.polrelid = c.oid
        AND NOT (0 = ANY (p.polroles)) ORDER BY 1),
    ARRAY(SELECT DISTINCT d.refobjid FROM pg_policy p JOIN pg_depend d ON d.classid = 'pg_policy'::regclass
        AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid
        WHERE p.polrelid = c.oid AND c.relrowsecurity),
    ARRAY(SELECT DISTINCT d.refobjid FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
        AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid
        WHERE r.ev_class = c.oid AND r.rulename = '_RETURN'),
    (SELECT encode(sha256(convert_to(r.ev_action::text, 'UTF8')), 'hex') FROM pg_rewrite r
        WHERE r.ev_class = c.oid AND r.rulename = '_RETURN'),
    CASE WHEN c.relrowsecurity THEN (
        SELECT encode(sha256(convert_to(coalesce(string_agg(concat_ws(' ', p.polname, p.polcmd, p.polpermissive,
            p.polroles, p.polqual, p.polwithcheck), E'\\n' ORDER BY p.polname), ''), 'UTF8')), 'hex')
        FROM pg_policy p WHERE p.polrelid = c.oid) END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('information_schema', 'devinprod', 'devinprod_masked', 'devinprod_rows')
ORDER BY n.nspname, c.relname";

/// Their columns. See `found::column`.
pub(super) const COLUMNS: &str = "
SELECT a.attrelid, a.attnum, a.attname::text, quote_ident(a.attname), format_type(b.type, b.modifier),
    ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = b.type ORDER BY e.enumsortorder),
    CASE WHEN a.attcollation NOT IN (0, b.collation) THEN (
        SELECT quote_ident(n.nspname) || '.' || quote_ident(o.collname)
        FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE o.oid = a.attcollation) END,
    a.attgenerated <> '',
    ARRAY(SELECT DISTINCT d.refobjsubid::int2 FROM pg_attrdef f JOIN pg_depend d
        ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid = a.attrelid
        WHERE a.attgenerated <> '' AND f.adrelid = a.attrelid AND f.adnum = a.attnum
            AND d.refobjsubid NOT IN (0, a.attnum)),
    NOT (b.kind IN ('e', 'r', 'm', 'c') OR EXISTS (
        SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
        WHERE o.opcdefault AND m.amname IN ('btree', 'hash') AND (o.opcintype = b.element OR EXISTS (
            SELECT FROM pg_cast x WHERE x.castsource = b.element AND x.casttarget = o.opcintype
                AND x.castmethod = 'b' AND x.castcontext = 'i')))),
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid
        AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum AND i.indpred IS NULL)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        WITH RECURSIVE step (type, modifier) AS (
            SELECT a.atttypid, a.atttypmod
            UNION ALL
            SELECT d.typbasetype, d.typtypmod FROM step JOIN pg_type d ON d.oid = step.type AND d.typtype = 'd'
        )
        SELECT step.type, step.modifier, y.typtype AS kind, y.typcollation AS collation,
            CASE WHEN y.typelem <> 0 AND y.typlen = -1 THEN y.typelem ELSE y.oid END AS element
        FROM step JOIN pg_type y ON y.oid = step.type WHERE y.typtype <> 'd') b
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('information_schema', 'devinprod', 'devinprod_masked', 'devinprod_rows')
    AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

/// What PUBLIC (''), the readers, the writers and the sealing role hold on relations of users and of the seal:
/// relation, column or 0, holder, privilege. $1: readers, $2: writers, $3: the sealing role.
pub(super) const GRANTS: &str = "
SELECT o.relation, o.number, coalesce(r.rolname::text, ''), x.privilege_type
FROM (
    SELECT c.oid AS relation, 0::int2 AS number, c.relacl AS acl, c.relnamespace AS place, c.relkind AS kind
    FROM pg_class c WHERE c.relacl IS NOT NULL
    UNION ALL
    SELECT a.attrelid, a.attnum, a.attacl, c.relnamespace, c.relkind
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
) o JOIN pg_namespace n ON n.oid = o.place CROSS JOIN aclexplode(o.acl) x
    LEFT JOIN pg_roles r ON r.oid = x.grantee
WHERE o.kind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
    AND n.nspname NOT IN ('information_schema', 'devinprod')
    AND x.grantee IN (0, to_regrole($1)::oid, to_regrole($2)::oid, to_regrole($3)::oid)
GROUP BY 1, 2, 3, 4";

/// What is in the two schemas of views: schema, name, oid, kind, owner.
pub(super) const VIEWS: &str = "
SELECT n.nspname::text, c.relname::text, c.oid, c.relkind::text, pg_get_userbyid(c.relowner)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('devinprod_masked', 'devinprod_rows') AND c.relkind NOT IN ('i', 't')";

/// The two schemas of views: name, owner, the readers have USAGE, somebody else may CREATE there.
/// $1: the readers' group.
pub(super) const SCHEMAS: &str = "
SELECT n.nspname::text, pg_get_userbyid(n.nspowner)::text,
    EXISTS (SELECT FROM aclexplode(n.nspacl) x
        WHERE x.grantee = to_regrole($1)::oid AND x.privilege_type = 'USAGE'),
    EXISTS (SELECT FROM aclexplode(n.nspacl) x
        WHERE x.grantee <> n.nspowner AND x.privilege_type = 'CREATE')
FROM pg_namespace n WHERE n.nspname IN ('devinprod_masked', 'devinprod_rows') ORDER BY 1";

/// Where the sealing role has USAGE: schemas as SQL. $1: the sealing role.
pub(super) const ENTERED: &str = "
SELECT quote_ident(n.nspname) FROM pg_namespace n
WHERE EXISTS (SELECT FROM aclexplode(n.nspacl) x
    WHERE x.grantee = to_regrole($1)::oid AND x.privilege_type = 'USAGE')";

/// Default privileges on tables to come that would open or link them: owner, schema as SQL or NULL, privilege,
/// grantee or '' for PUBLIC, manageable. $1: readers, $2: writers.
pub(super) const DEFAULTS: &str = "
SELECT pg_get_userbyid(d.defaclrole)::text, quote_ident(n.nspname), x.privilege_type,
    coalesce(r.rolname::text, ''), pg_has_role(d.defaclrole, 'USAGE')
FROM pg_default_acl d CROSS JOIN aclexplode(d.defaclacl) x
    LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace LEFT JOIN pg_roles r ON r.oid = x.grantee
WHERE d.defaclobjtype = 'r' AND x.privilege_type IN ('SELECT', 'REFERENCES')
    AND x.grantee IN (0, to_regrole($1)::oid, to_regrole($2)::oid)
ORDER BY 1, 2, 3, 4";

/// Is there a manifest that this role may read?
pub(super) const MANIFEST: &str = "
SELECT coalesce(has_table_privilege(to_regclass('devinprod.clear_relation')::oid, 'SELECT'), false)
    AND has_schema_privilege('devinprod', 'USAGE')";

/// The policy of the manifest: version, digest of the masks' definition, and of the functions as they were.
pub(super) const POLICY: &str = "SELECT version, masks, functions FROM devinprod.policy";

/// The masked relations of the manifest: oid, schema, name, view, rows, definition, found then, found now, the
/// application's code that setup saw, row security then.
pub(super) const MASKED: &str = concat!(
    "SELECT m.relation, m.schema::text, m.name::text, m.view, m.rows, m.view_oid, m.rows_oid, m.definition, \
     m.found, (",
    found!("m"),
    "), to_jsonb(m) ->> 'seen', to_jsonb(m) ->> 'security' FROM devinprod.masked_relation m ORDER BY 2, 3"
);

/// The columns of masked relations: oid, number, may be read, treatment.
pub(super) const MASKED_COLUMNS: &str =
    "SELECT c.relation, c.number, c.clear, c.treatment FROM devinprod.masked_column c";

/// The clear relations of the manifest: oid, schema, name, columns, lineage then, row security then.
pub(super) const CLEAR: &str = "SELECT r.relation, r.schema::text, r.name::text, r.columns, r.lineage, \
     to_jsonb(r) ->> 'security' FROM devinprod.clear_relation r ORDER BY 2, 3";

/// A digest of all functions of the seal, as the server keeps them.
pub(super) const FUNCTIONS: &str = concat!("SELECT ", functions!());

/// Who but their owner may read or write tables of the seal that are not for everybody: table, role or PUBLIC.
pub(super) const SECRETS: &str = "
SELECT DISTINCT c.relname::text, coalesce(r.rolname::text, 'PUBLIC')
FROM pg_class c
    CROSS JOIN LATERAL (
        SELECT x.grantee FROM aclexplode(c.relacl) x
        UNION SELECT y.grantee FROM pg_attribute a, aclexplode(a.attacl) y
        WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) h
    LEFT JOIN pg_roles r ON r.oid = h.grantee
WHERE c.relnamespace = to_regnamespace('devinprod')::oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND h.grantee <> c.relowner AND NOT coalesce(r.rolsuper, false)
    AND c.relname NOT IN ('commit_guard', 'pair', 'taken', 'vouched', 'pinned', 'copied_view', 'policy', 'masked_relation',
        'masked_column', 'clear_relation')
    -- What everybody may read in pg_catalog.
    AND NOT (c.relkind = 'v' AND starts_with(c.relname::text, 'information_schema.'))
ORDER BY 1, 2";

/// What PUBLIC may read of the users' relations, as `queries::PUBLIC_GRANTS` has it; what an extension made is its
/// own business.
pub(in crate::seal) const PUBLIC_READS: &str = "
WITH acl AS (
    SELECT c.oid, c.oid::regclass::text AS identity, c.relowner AS owner, c.relacl AS acl, NULL::text AS part
    FROM pg_class c
    UNION ALL
    SELECT c.oid, c.oid::regclass::text, c.relowner, a.attacl, quote_ident(a.attname)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
)
SELECT 'TABLE', acl.identity, x.privilege_type || coalesce(' (' || acl.part || ')', ''),
    pg_get_userbyid(acl.owner)::text, pg_has_role(acl.owner, 'USAGE'),
    ARRAY(
        SELECT DISTINCT r.rolname::text
        FROM aclexplode(acl.acl) y JOIN pg_roles r ON r.oid = y.grantee
        WHERE y.privilege_type = x.privilege_type
    ), 'read'
FROM acl JOIN pg_class c ON c.oid = acl.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN aclexplode(acl.acl) x
WHERE x.grantee = 0 AND x.privilege_type = 'SELECT' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
    AND n.nspname NOT IN ('information_schema', 'devinprod', 'devinprod_masked', 'devinprod_rows')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
        AND d.deptype = 'e')
GROUP BY acl.identity, x.privilege_type, acl.part, acl.owner, acl.acl
ORDER BY 2, 3";
