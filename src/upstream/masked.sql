-- The masked relations, as the seal's own tables list them. Kinds of rows:
--
-- mr: relation, schema, name, view, the view's oid, rows view, its oid
-- mk: relation, a column of its key; in the key's order
-- mw: relation, which writes developers are denied, and why
-- mc: relation, column, number, number in the view, is it clear, treatment, because, can GROUP BY not compare it, is it
--     generated; in the table's order
-- mp: 0, version of the policy
-- mn: schema and name of another relation that has the name of a masked one
SELECT 'mr', m.relation::text, m.schema::text, m.name::text, m.view, m.view_oid::text, m.rows, m.rows_oid::text,
       NULL, NULL
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
SELECT 'mn', CASE WHEN c.relnamespace = pg_catalog.pg_my_temp_schema() THEN 'pg_temp' ELSE n.nspname::text END,
       c.relname::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM (SELECT DISTINCT m.name FROM devinprod.masked_relation m) AS masked
     JOIN pg_catalog.pg_class c ON c.relname = masked.name
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
-- Another session's temporary tables are not found by name.
WHERE (c.relnamespace = pg_catalog.pg_my_temp_schema() OR n.nspname NOT LIKE 'pg\_temp\_%')
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND NOT EXISTS (SELECT FROM devinprod.masked_relation o WHERE o.relation = c.oid)
