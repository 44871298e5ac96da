-- The information schema as the owner of the tables sees it. Its views show a role only what the role has
-- rights on or owns; a developer role owns nothing and, unarmed, may write nothing, so that tools which look
-- up keys and constraints there would find none. These copies leave that filter out. What they show can be
-- read in pg_catalog by everybody; the views that are about grants, or that hold passwords, are not copied.

DO $information$
DECLARE
    -- In an order in which each comes behind those that it reads.
    wanted CONSTANT text[] := ARRAY[
        'attributes', 'check_constraints', 'column_column_usage', 'column_domain_usage', 'column_udt_usage', 'columns',
        'constraint_column_usage', 'constraint_table_usage', 'domain_constraints', 'domain_udt_usage', 'domains',
        'key_column_usage', 'parameters', 'referential_constraints', 'routines', 'schemata', 'sequences',
        'table_constraints', 'tables', 'triggered_update_columns', 'triggers', 'user_defined_types',
        'view_column_usage', 'view_routine_usage', 'view_table_usage', 'views',
        'data_type_privileges', 'element_types'];
    -- What a view calls the schema that its rows are about; the first that it has counts.
    places CONSTANT text[] := ARRAY['table_schema', 'constraint_schema', 'event_object_schema', 'specific_schema',
        'udt_schema', 'domain_schema', 'sequence_schema', 'schema_name', 'object_schema', 'user_defined_type_schema',
        'view_schema'];
    one text;
    made text[] := ARRAY[]::text[];
    body text;
    place text;
BEGIN
    FOREACH one IN ARRAY wanted LOOP
        CONTINUE WHEN to_regclass('information_schema.' || one) IS NULL;
        body := rtrim(pg_get_viewdef(('information_schema.' || one)::regclass), E'; \n');
        body := regexp_replace(body, '\m(pg_has_role|has_[a-z_]+_privilege)\(([^()]|\([^()]*\))*\)', 'true', 'g');
        -- What the sealing role may read.
        body := regexp_replace(body, '\mpg_authid\M', 'pg_roles', 'g');
        IF made <> '{}' THEN
            body := regexp_replace(body, '\minformation_schema\.(' || array_to_string(made, '|') || ')\M',
                'devinprod."information_schema.\1" AS \1', 'g');
        END IF;
        SELECT a.attname INTO place
        FROM pg_attribute a JOIN unnest(places) WITH ORDINALITY AS p (name, number) ON a.attname = p.name
        WHERE a.attrelid = ('information_schema.' || one)::regclass
        ORDER BY p.number LIMIT 1;
        EXECUTE format(
            'CREATE OR REPLACE VIEW devinprod.%I AS SELECT v.* FROM (%s) AS v '
            || 'WHERE v.%I::text NOT IN (''devinprod'', ''devinprod_masked'', ''devinprod_rows'')',
            'information_schema.' || one, body, place);
        EXECUTE format('REVOKE ALL ON devinprod.%1$I FROM PUBLIC; GRANT SELECT ON devinprod.%1$I TO @readers@',
            'information_schema.' || one);
        made := made || one;
    END LOOP;
END
$information$;
