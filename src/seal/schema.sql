-- The schema devinprod: what makes a developer role's writes uncommittable. Run as the sealing role.
--
-- Every function that runs with its owner's rights pins its search path and ends it in pg_temp, and
-- qualifies what it names: a caller's temporary tables, types and operators are never looked at.

-- For everybody: nothing here is secret, and pg_dump locks every table that it dumps.
GRANT USAGE ON SCHEMA devinprod TO PUBLIC;

CREATE TABLE IF NOT EXISTS devinprod.commit_guard (armed_by name NOT NULL);
COMMENT ON TABLE devinprod.commit_guard IS
    'Always empty: a transaction that has put a row here cannot commit.';

CREATE TABLE IF NOT EXISTS devinprod.pair (
    reader    name PRIMARY KEY,
    writer    name NOT NULL UNIQUE,
    leased_at timestamptz
);
ALTER TABLE devinprod.pair ADD COLUMN IF NOT EXISTS exceptions text;
COMMENT ON TABLE devinprod.pair IS
    'The developer roles: who may log in, what that role is granted while armed, its last lease, and the set of '
    'exceptions that it is for.';

CREATE TABLE IF NOT EXISTS devinprod.taken (
    class     text NOT NULL,
    identity  text NOT NULL,
    privilege text NOT NULL,
    given_to  name[] NOT NULL,
    PRIMARY KEY (class, identity, privilege)
);
COMMENT ON TABLE devinprod.taken IS
    'What PUBLIC lost to the seal, and which roles got it back by name; read when the seal is removed.';

CREATE TABLE IF NOT EXISTS devinprod.vouched (code text PRIMARY KEY);
COMMENT ON TABLE devinprod.vouched IS
    'Code of the application that runs when a developer writes, and that the owner of the data vouches for.';

CREATE TABLE IF NOT EXISTS devinprod.pinned (function text PRIMARY KEY, former text);
COMMENT ON TABLE devinprod.pinned IS
    'Functions of the application whose search_path setup pinned, and the one that they had; read when the seal is removed.';

REVOKE ALL ON devinprod.commit_guard, devinprod.pair, devinprod.taken, devinprod.vouched, devinprod.pinned FROM PUBLIC;
GRANT SELECT ON devinprod.commit_guard, devinprod.pair, devinprod.taken, devinprod.vouched, devinprod.pinned TO PUBLIC;
GRANT SELECT, UPDATE (leased_at) ON devinprod.pair TO @warden@;

CREATE OR REPLACE FUNCTION devinprod.refuse_commit() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $refuse_commit$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'UC001',
        MESSAGE = 'this transaction cannot be committed: what a developer role writes is never kept',
        HINT = 'ROLLBACK ends it.';
END
$refuse_commit$;
COMMENT ON FUNCTION devinprod.refuse_commit() IS 'The commit guard''s trigger: it always raises UC001.';
REVOKE ALL ON FUNCTION devinprod.refuse_commit() FROM PUBLIC;

DROP TRIGGER IF EXISTS refuse_commit ON devinprod.commit_guard;
CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT OR UPDATE ON devinprod.commit_guard
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION devinprod.refuse_commit();
-- ALWAYS: it fires under session_replication_role = replica too.
ALTER TABLE devinprod.commit_guard ENABLE ALWAYS TRIGGER refuse_commit;

CREATE OR REPLACE FUNCTION devinprod.arm() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    -- Without the notice that a role armed twice is a member already.
    SET client_min_messages = warning
AS $arm$
DECLARE
    own_writer pg_catalog.name;
BEGIN
    SELECT p.writer INTO own_writer FROM devinprod.pair p WHERE p.reader = session_user;
    IF own_writer IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = pg_catalog.format('role %I is no developer role and cannot be armed', session_user),
            HINT = 'devinprod.arm() is called by the proxy in a sandbox''s own session.';
    END IF;
    -- One step: both live and die in the same subtransaction.
    INSERT INTO devinprod.commit_guard (armed_by) VALUES (session_user);
    EXECUTE pg_catalog.format('GRANT %I TO %I', own_writer, session_user);
END
$arm$;
COMMENT ON FUNCTION devinprod.arm() IS
    'Gives this session''s developer role the right to write and makes the transaction uncommittable.';
REVOKE ALL ON FUNCTION devinprod.arm() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION devinprod.arm() TO @readers@;

CREATE OR REPLACE FUNCTION devinprod.ours(writer xid) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $ours$
DECLARE
    top pg_catalog.int8 := pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text::pg_catalog.int8;
    ahead pg_catalog.int8;
BEGIN
    IF top IS NULL THEN
        RETURN false;
    END IF;
    -- A row shows 32 bits of its transaction's number. Ours are those from the top one on.
    ahead := (writer::pg_catalog.text::pg_catalog.int8 - top) & 4294967295;
    IF ahead >= 2147483648 THEN
        RETURN false;
    END IF;
    -- A frozen row may show a number of an age ago, which looks like one to come. Ours are never this far
    -- ahead: a transaction has at most 2^28 subtransactions.
    IF ahead > 134217728 AND top + ahead > 268435456 + pg_catalog.pg_snapshot_xmax(
        pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8 THEN
        RETURN false;
    END IF;
    BEGIN
        -- Visible and in progress: ours.
        RETURN coalesce(pg_catalog.pg_xact_status((top + ahead)::pg_catalog.text::pg_catalog.xid8)
            = 'in progress', false);
    EXCEPTION WHEN invalid_parameter_value THEN
        RETURN false; -- It is yet to come.
    END;
END
$ours$;
COMMENT ON FUNCTION devinprod.ours(xid) IS
    'Whether this transaction wrote a row version that it sees with this xmin.';

CREATE OR REPLACE FUNCTION devinprod.latest(relation oid, versions tid[]) RETURNS TABLE (version tid, latest tid)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $latest$
DECLARE
    name pg_catalog.text;
BEGIN
    -- Whoever may see where the rows of a table are.
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) INTO name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = latest.relation AND c.relkind = 'r'
        AND pg_catalog.has_column_privilege(session_user, c.oid, 'ctid', 'SELECT');
    IF name IS NOT NULL THEN
        RETURN QUERY SELECT v.place, pg_catalog.currtid2(name, v.place)
            FROM pg_catalog.unnest(latest.versions) AS v (place);
    END IF;
END
$latest$;
COMMENT ON FUNCTION devinprod.latest(oid, tid[]) IS
    'Where the row is now of which this was a version: the place alone, which no mask hides.';

REVOKE ALL ON FUNCTION devinprod.ours(xid), devinprod.latest(oid, tid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION devinprod.ours(xid), devinprod.latest(oid, tid[]) TO @readers@;
