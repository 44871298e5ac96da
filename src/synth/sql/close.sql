
-- Who reads a masked view runs its functions; nobody else needs them.
DO $close$
DECLARE
    mask regprocedure;
BEGIN
    FOR mask IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = 'devinprod'::regnamespace AND starts_with(p.proname, 'mask_')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', mask);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO @readers@', mask);
    END LOOP;
END
$close$;
