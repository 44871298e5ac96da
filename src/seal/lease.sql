-- Run as the warden, the one role here that holds CREATEROLE; it owns these two functions and nothing else.

CREATE OR REPLACE FUNCTION devinprod.unsound(reader name) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $unsound$
DECLARE
    attributes pg_catalog.pg_roles%ROWTYPE;
    found pg_catalog.text;
BEGIN
    SELECT r.* INTO attributes FROM pg_catalog.pg_roles r WHERE r.rolname = unsound.reader;
    IF attributes.oid IS NULL THEN
        RETURN 'it does not exist';
    END IF;
    IF attributes.rolsuper OR attributes.rolcreatedb OR attributes.rolcreaterole
        OR attributes.rolreplication OR attributes.rolbypassrls THEN
        RETURN 'it has SUPERUSER, CREATEDB, CREATEROLE, REPLICATION or BYPASSRLS';
    END IF;
    IF NOT attributes.rolinherit OR NOT attributes.rolcanlogin THEN
        RETURN 'it has NOINHERIT or NOLOGIN';
    END IF;
    IF attributes.rolconnlimit < 1 OR attributes.rolconnlimit > 8 THEN
        RETURN 'its connection limit is not between 1 and 8';
    END IF;
    SELECT pg_catalog.string_agg(m.roleid::pg_catalog.regrole::pg_catalog.text, ', ') INTO found
    FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
    WHERE m.member = attributes.oid AND g.rolname <> '@readers@' AND NOT EXISTS (
        SELECT FROM devinprod.pair p
        WHERE p.reader = unsound.reader AND g.rolname = pg_catalog.concat('@prefix@exc_', p.exceptions)
            AND p.exceptions IS NOT NULL);
    IF found IS NOT NULL THEN
        RETURN pg_catalog.concat('it is a member of ', found);
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s WHERE s.setrole = attributes.oid) THEN
        RETURN 'it has settings of its own that devinprod setup has to reset';
    END IF;
    RETURN NULL;
END
$unsound$;
COMMENT ON FUNCTION devinprod.unsound(name) IS 'Why this developer role must not be leased, or NULL.';
REVOKE ALL ON FUNCTION devinprod.unsound(name) FROM PUBLIC;

DROP FUNCTION IF EXISTS devinprod.lease(text);
CREATE OR REPLACE FUNCTION devinprod.lease(verifier text, exceptions text DEFAULT NULL) RETURNS name
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $lease$
DECLARE
    candidate record;
    stray record;
    fault pg_catalog.text;
    faults pg_catalog.text := '';
    skipped pg_catalog.name[] := '{}';
BEGIN
    -- Never a clear password: this text may stand in the server's log.
    IF verifier IS NULL OR verifier !~
        '^SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'devinprod.lease takes a SCRAM-SHA-256 verifier';
    END IF;
    LOOP
        -- A row lock, not an advisory lock: a developer role could hold any advisory lock.
        SELECT p.reader, r.oid, pg_catalog.concat('@prefix@exc_', p.exceptions) AS excepted INTO candidate
        FROM devinprod.pair p JOIN pg_catalog.pg_roles r ON r.rolname = p.reader
        WHERE p.reader <> ALL (skipped) AND p.exceptions IS NOT DISTINCT FROM lease.exceptions
            AND (p.leased_at IS NULL
                OR p.leased_at < pg_catalog.clock_timestamp() - '15 seconds'::pg_catalog.interval)
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_stat_get_activity(NULL) a WHERE a.usesysid = r.oid)
        ORDER BY p.leased_at NULLS FIRST, p.reader
        LIMIT 1
        FOR UPDATE OF p SKIP LOCKED;
        IF NOT FOUND THEN
            IF lease.exceptions IS NOT NULL
                AND NOT EXISTS (SELECT FROM devinprod.pair p WHERE p.exceptions = lease.exceptions) THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'no_data_found',
                    MESSAGE = pg_catalog.format('the seal knows no set of exceptions %s', lease.exceptions),
                    HINT = 'Run devinprod setup with the policy that has it.';
            END IF;
            RAISE EXCEPTION USING
                ERRCODE = 'too_many_connections',
                MESSAGE = pg_catalog.format('all %s developer roles%s are leased',
                    (SELECT pg_catalog.count(*) FROM devinprod.pair p
                        WHERE p.exceptions IS NOT DISTINCT FROM lease.exceptions),
                    ' of the set of exceptions ' || lease.exceptions),
                DETAIL = faults,
                HINT = pg_catalog.format('End a sandbox, or run devinprod setup with a larger --%s.',
                    CASE WHEN lease.exceptions IS NULL THEN 'pairs' ELSE 'exception-pairs' END);
        END IF;
        FOR stray IN
            SELECT DISTINCT m.roleid::pg_catalog.regrole AS granted, m.member::pg_catalog.regrole AS grantee
            FROM pg_catalog.pg_auth_members m
            WHERE (m.member = candidate.oid
                    AND m.roleid <> ALL (ARRAY(SELECT g.oid FROM pg_catalog.pg_roles g
                        WHERE g.rolname = '@readers@' OR g.rolname = candidate.excepted)))
                -- Before Postgres 15 a role could grant itself to others, and so could a developer; since 16
                -- who made the roles stands here too.
                OR (m.roleid = candidate.oid
                    AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 160000)
        LOOP
            BEGIN
                EXECUTE pg_catalog.format('REVOKE %s FROM %s', stray.granted, stray.grantee);
            EXCEPTION WHEN insufficient_privilege THEN
                NULL; -- devinprod.unsound finds it and says so.
            END;
        END LOOP;
        FOR stray IN
            SELECT d.datname
            FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
            WHERE s.setrole = candidate.oid
        LOOP
            BEGIN
                IF stray.datname IS NULL THEN
                    EXECUTE pg_catalog.format('ALTER ROLE %I RESET ALL', candidate.reader);
                ELSE
                    EXECUTE pg_catalog.format(
                        'ALTER ROLE %I IN DATABASE %I RESET ALL', candidate.reader, stray.datname);
                END IF;
            EXCEPTION WHEN insufficient_privilege THEN
                NULL; -- As above; "role" cannot be reset in a function that runs with its owner's rights.
            END;
        END LOOP;
        fault := devinprod.unsound(candidate.reader);
        EXIT WHEN fault IS NULL;
        skipped := skipped || candidate.reader;
        faults := pg_catalog.concat(faults, candidate.reader, ' cannot be leased: ', fault, '. ');
    END LOOP;
    EXECUTE pg_catalog.format('ALTER ROLE %I PASSWORD %L', candidate.reader, verifier);
    UPDATE devinprod.pair p SET leased_at = pg_catalog.clock_timestamp() WHERE p.reader = candidate.reader;
    RETURN candidate.reader;
END
$lease$;
COMMENT ON FUNCTION devinprod.lease(text, text) IS
    'Picks a developer role of this set of exceptions (NULL: of none) that nobody uses, cleans it, sets its '
    'password verifier, and returns its name.';
REVOKE ALL ON FUNCTION devinprod.lease(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION devinprod.lease(text, text) TO @proxy@;
