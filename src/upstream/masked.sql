-- The masked relations, as the seal's own tables list them. Kinds of rows:
--
-- mr: relation, schema, name, view, the view's oid, rows view, its oid
-- mk: relation, a column of its key; in the key's order
-- mc: relation, column, number, number in the view, is it clear, treatment, because, can GROUP BY not compare it;
--     in the table's order
-- mn: schema and name of another relation that has the name of a masked one
SELECT 'mr', m.relation::oid::text, n.nspname::text, c.relname::text,
       pg_catalog.format('%I.%I', vn.nspname, v.relname), v.oid::text,
       pg_catalog.format('%I.%I', rn.nspname, r.relname), r.oid::text, NULL
FROM devinprod.masked_relation m
     JOIN pg_catalog.pg_class c ON c.oid = m.relation
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN (pg_catalog.pg_class v JOIN pg_catalog.pg_namespace vn ON vn.oid = v.relnamespace) ON v.oid = m.view
     LEFT JOIN (pg_catalog.pg_class r JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace) ON r.oid = m.rows
UNION ALL
(SELECT 'mk', m.relation::oid::text, a.attname::text, NULL, NULL, NULL, NULL, NULL, NULL
 FROM devinprod.masked_relation m, pg_catalog.unnest(m.key) WITH ORDINALITY AS k (number, place), pg_catalog.pg_attribute a
 WHERE a.attrelid = m.relation AND a.attnum = k.number
 ORDER BY m.relation, k.place)
UNION ALL
(SELECT 'mc', a.attrelid::text, a.attname::text, a.attnum::text, v.attnum::text, m.clear::text, m.treatment, m.because,
        (coalesce(inner_type.oid, t.oid) IN (
            'pg_catalog.json'::pg_catalog.regtype, 'pg_catalog.xml'::pg_catalog.regtype,
            'pg_catalog.point'::pg_catalog.regtype, 'pg_catalog.line'::pg_catalog.regtype,
            'pg_catalog.lseg'::pg_catalog.regtype, 'pg_catalog.box'::pg_catalog.regtype,
            'pg_catalog.path'::pg_catalog.regtype, 'pg_catalog.polygon'::pg_catalog.regtype,
            'pg_catalog.circle'::pg_catalog.regtype))::text
 FROM devinprod.masked_relation o
      JOIN devinprod.masked_column m ON m.relation = o.relation
      JOIN pg_catalog.pg_attribute a ON a.attrelid = m.relation AND a.attnum = m.number AND NOT a.attisdropped
      JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_catalog.pg_type inner_type
          ON inner_type.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype WHEN t.typcategory = 'A' THEN t.typelem END
      LEFT JOIN pg_catalog.pg_attribute v ON v.attrelid = o.view AND v.attname = a.attname
 ORDER BY a.attrelid, a.attnum)
UNION ALL
SELECT 'mn', CASE WHEN c.relnamespace = pg_catalog.pg_my_temp_schema() THEN 'pg_temp' ELSE n.nspname::text END,
       c.relname::text, NULL, NULL, NULL, NULL, NULL, NULL
FROM (SELECT DISTINCT c.relname
      FROM devinprod.masked_relation m JOIN pg_catalog.pg_class c ON c.oid = m.relation) AS masked
     JOIN pg_catalog.pg_class c ON c.relname = masked.relname
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
-- What can stand in FROM, or in its way.
WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S', 'i', 'I', 'c')
  AND (c.relnamespace = pg_catalog.pg_my_temp_schema() OR n.nspname NOT LIKE 'pg\_temp\_%')
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND NOT EXISTS (SELECT FROM devinprod.masked_relation o WHERE o.relation = c.oid)
