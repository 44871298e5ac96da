-- The masked relations, as the seal's own tables list them. Kinds of rows:
--
-- mr: relation, schema, name, view, the view's oid, rows view, its oid, is it a table without rules and BEFORE ROW triggers
-- mk: relation, a column of its key; in the key's order
-- mw: relation, which writes developers are denied, and why
-- mc: relation, column, number, number in the view, is it clear, treatment, because, can GROUP BY not compare it, is it
--     generated; in the table's order
-- mp: 0, version of the policy
-- mt: relation, column, type, what its default is (n: none, k: known, u: unknown), the default or what it is
--     generated from, attidentity and attgenerated, is it NOT NULL, its collation if that is not the type's; behind all mc
-- mx: relation, CHECK constraint, definition
-- mu: relation, unique index, p: primary key, c: constraint, u: index, x: exclusion constraint, column or NULL, expression, predicate, is NULL
--     equal to NULL; a row for each part, in order
-- mn: schema and name of another relation that has the name of a masked one
WITH RECURSIVE changed (relation) AS (
    -- Rules, also those of views; BEFORE, FOR EACH ROW, INSERT or UPDATE
    SELECT r.ev_class FROM pg_catalog.pg_rewrite r
    UNION
    SELECT t.tgrelid FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND t.tgtype & 3 = 3 AND t.tgtype & 20 <> 0 AND t.tgenabled <> 'D'
        AND p.pronamespace IS DISTINCT FROM pg_catalog.to_regnamespace('devinprod')
    UNION
    -- What is written to a table may be written to its children.
    SELECT i.inhparent FROM changed JOIN pg_catalog.pg_inherits i ON i.inhrelid = changed.relation
)
SELECT 'mr', m.relation::text, m.schema::text, m.name::text, m.view, m.view_oid::text, m.rows, m.rows_oid::text,
       (m.relation NOT IN (SELECT changed.relation FROM changed))::text, NULL
FROM devinprod.masked_relation m
UNION ALL
(SELECT 'mk', m.relation::text, k.name::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL
 FROM devinprod.masked_relation m, pg_catalog.unnest(m.key) WITH ORDINALITY AS k (name, place)
 ORDER BY m.relation, k.place)
UNION ALL
-- A seal of an earlier version does not have the column.
SELECT 'mw', m.relation::text, pg_catalog.to_jsonb(m) OPERATOR(pg_catalog.->>) 'withheld', NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM devinprod.masked_relation m
UNION ALL
(SELECT 'mc', m.relation::text, m.name::text, m.number::text, m.view_number::text, m.clear::text, m.treatment, m.because,
        m.ungroupable::text, coalesce(a.attgenerated <> '', false)::text
 FROM devinprod.masked_column m
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = m.relation AND a.attnum = m.number
 ORDER BY m.relation, m.number)
UNION ALL
SELECT 'mp', '0', p.version, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM devinprod.policy p
UNION ALL
SELECT 'mv', pg_catalog.current_setting('server_version_num'), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
UNION ALL
(SELECT 'mt', m.relation::text, m.name::text,
        CASE WHEN e.typnamespace = 'pg_catalog'::pg_catalog.regnamespace OR pg_catalog.starts_with(f.name, n.place)
             THEN f.name ELSE n.place || f.name END,
        CASE WHEN a.attgenerated <> '' THEN 'u' WHEN a.attidentity <> '' THEN 'k'
             WHEN d.oid IS NULL THEN CASE WHEN t.typdefault IS NULL THEN 'n' ELSE 'u' END
             WHEN o.sequence IS NOT NULL THEN CASE WHEN x.text ~ '^nextval\(''[^'']*''::regclass\)$' THEN 'k' ELSE 'u' END
             WHEN o.others THEN 'u' ELSE 'k' END,
        CASE WHEN coalesce(s.sequence, o.sequence) IS NOT NULL
             THEN pg_catalog.format('pg_catalog.nextval(''%s''::pg_catalog.regclass)', coalesce(s.sequence, o.sequence))
             ELSE x.text END,
        a.attidentity::text || a.attgenerated::text, a.attnotnull::text,
        CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN (
            SELECT pg_catalog.format('%I.%I', y.nspname, l.collname)
            FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace y ON y.oid = l.collnamespace
            WHERE l.oid = a.attcollation) END, NULL
 FROM devinprod.masked_column m
      JOIN pg_catalog.pg_attribute a ON a.attrelid = m.relation AND a.attnum = m.number AND NOT a.attisdropped
      JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
      JOIN pg_catalog.pg_type e ON e.oid = CASE WHEN t.typelem <> 0 AND t.typlen = -1 THEN t.typelem ELSE t.oid END
      CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(p.nspname) || '.' FROM pg_catalog.pg_namespace p
                          WHERE p.oid = e.typnamespace) AS n (place)
      CROSS JOIN LATERAL (SELECT pg_catalog.format_type(a.atttypid, a.atttypmod)) AS f (name)
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid)) AS x (text)
      CROSS JOIN LATERAL (
          SELECT pg_catalog.min(q.oid::pg_catalog.int8) AS sequence,
                 coalesce(pg_catalog.bool_or(r.refclassid <> 'pg_catalog.pg_class'::pg_catalog.regclass
                                             OR r.refobjid <> a.attrelid), false) AS others
          FROM pg_catalog.pg_depend r LEFT JOIN pg_catalog.pg_class q
              ON q.oid = r.refobjid AND r.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND q.relkind = 'S'
          WHERE r.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND r.objid = d.oid) AS o
      CROSS JOIN LATERAL (
          SELECT pg_catalog.min(r.objid::pg_catalog.int8) AS sequence FROM pg_catalog.pg_depend r
          WHERE a.attidentity <> '' AND r.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.deptype = 'i'
              AND r.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.refobjid = a.attrelid
              AND r.refobjsubid = a.attnum) AS s)
UNION ALL
(SELECT 'mu', m.relation::text, c.relname::text,
        CASE WHEN i.indisprimary THEN 'p' WHEN i.indisexclusion THEN 'x' WHEN n.oid IS NOT NULL THEN 'c' ELSE 'u' END,
        a.attname::text, pg_catalog.pg_get_indexdef(i.indexrelid, k.place::pg_catalog.int4, true),
        pg_catalog.pg_get_expr(i.indpred, i.indrelid),
        -- Since Postgres 15.
        coalesce(pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct', 'false'), NULL, NULL
 FROM devinprod.masked_relation m JOIN pg_catalog.pg_index i ON i.indrelid = m.relation
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (number, place)
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND a.attnum > 0
      LEFT JOIN pg_catalog.pg_constraint n
          ON n.conindid = i.indexrelid AND n.conrelid = i.indrelid AND n.contype IN ('p', 'u', 'x')
 WHERE k.place <= i.indnkeyatts AND (i.indisunique OR i.indisexclusion) AND i.indislive
 ORDER BY i.indexrelid, k.place)
UNION ALL
SELECT 'mx', m.relation::text, n.conname::text, pg_catalog.pg_get_constraintdef(n.oid), NULL, NULL, NULL, NULL, NULL, NULL
FROM devinprod.masked_relation m JOIN pg_catalog.pg_constraint n ON n.conrelid = m.relation AND n.contype = 'c'
UNION ALL
SELECT 'mn', CASE WHEN c.relnamespace = pg_catalog.pg_my_temp_schema() THEN 'pg_temp' ELSE n.nspname::text END,
       c.relname::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM (SELECT DISTINCT m.name FROM devinprod.masked_relation m) AS masked
     JOIN pg_catalog.pg_class c ON c.relname = masked.name
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
-- Another session's temporary tables are not found by name.
WHERE (c.relnamespace = pg_catalog.pg_my_temp_schema() OR n.nspname NOT LIKE 'pg\_temp\_%')
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND NOT EXISTS (SELECT FROM devinprod.masked_relation o WHERE o.relation = c.oid)
