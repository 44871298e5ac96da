-- Everything in the shop belongs to a role that nobody logs in as, as where migrations are deployed.
-- A table with checks that are still to come cannot change hands.
SET CONSTRAINTS ALL IMMEDIATE;

DO $$
DECLARE
    command text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop_owner') THEN
        CREATE ROLE shop_owner;
    END IF;
    EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO shop_owner', current_database());
    GRANT CREATE ON SCHEMA public TO shop_owner;
    FOR command IN
        -- A sequence that a column owns follows its table.
        SELECT format('ALTER TABLE %s OWNER TO shop_owner', oid::regclass) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S') AND NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype IN ('a', 'i'))
        UNION ALL
        SELECT format('ALTER TYPE %s OWNER TO shop_owner', oid::regtype) FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO shop_owner', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    LOOP
        EXECUTE command;
    END LOOP;
END
$$;
