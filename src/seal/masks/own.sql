-- What a sandbox wrote itself reads back as it was written; what it merely touched stays masked. Run as the
-- sealing role.
--
-- The views show the mask of a cell only where its row version was written by somebody else, or where a note
-- says that this sandbox carried the cell over unchanged; the real cell only where a note says that the developer
-- wrote it. Any other cell of a version that this sandbox wrote is NULL. So a trigger that is missing, disabled or
-- fooled into silence closes a cell and never opens one.
--
-- Notes are rows of the sandbox's own transaction: they go when its writes go, and nobody else sees them.
-- So these tables look empty to the planner: where they are read, a scan of all of it is ruled out.

CREATE TABLE IF NOT EXISTS devinprod.written (
    relation oid NOT NULL,
    version  tid NOT NULL,
    storage  oid NOT NULL,
    kept     text[] NOT NULL,
    own      text[] NOT NULL,
    PRIMARY KEY (relation, version, storage)
);
COMMENT ON TABLE devinprod.written IS
    'Row versions that a sandbox wrote: which columns it carried over, and which a developer wrote. Always empty '
    'to everybody else. storage is the file that the version stands in: after a TRUNCATE it is another one.';

CREATE TABLE IF NOT EXISTS devinprod.assigned (
    relation oid NOT NULL,
    version  tid NOT NULL,
    storage  oid NOT NULL,
    field    text NOT NULL
);
CREATE INDEX IF NOT EXISTS assigned_version ON devinprod.assigned (relation, version, storage);
COMMENT ON TABLE devinprod.assigned IS
    'The masked columns that an UPDATE named, per row version that it made. Always empty to everybody else.';

CREATE TABLE IF NOT EXISTS devinprod.departed (
    root  text NOT NULL,
    depth int4 NOT NULL,
    PRIMARY KEY (root, depth)
);
COMMENT ON TABLE devinprod.departed IS
    'Partitioned tables that a statement is deleting rows from: what it inserts may be a row that moves.';

CREATE TABLE IF NOT EXISTS devinprod.remembered (
    n        int8 GENERATED ALWAYS AS IDENTITY,
    token    text NOT NULL,
    relation oid NOT NULL,
    version  tid NOT NULL
);
CREATE INDEX IF NOT EXISTS remembered_token ON devinprod.remembered (token);
COMMENT ON TABLE devinprod.remembered IS
    'Row versions whose RETURNING has yet to be read. Always empty to everybody else.';

REVOKE ALL ON devinprod.written, devinprod.assigned, devinprod.departed, devinprod.remembered FROM PUBLIC;

CREATE OR REPLACE FUNCTION devinprod.is_real(writer xid, relation oid, version tid, field text) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
AS $is_real$
DECLARE
    answer pg_catalog.bool;
BEGIN
    SELECT CASE WHEN is_real.field = ANY (w.kept) THEN true WHEN is_real.field = ANY (w.own) THEN false END
    INTO answer
    FROM devinprod.written w
    WHERE w.relation = is_real.relation AND w.version = is_real.version
        AND w.storage = pg_catalog.pg_relation_filenode(is_real.relation);
    IF FOUND THEN
        RETURN answer;
    ELSIF devinprod.ours(is_real.writer) THEN
        RETURN NULL;
    END IF;
    RETURN true;
END
$is_real$;
COMMENT ON FUNCTION devinprod.is_real(xid, oid, tid, text) IS
    'Whether a cell holds what was there before the sandbox, so that its mask may be shown. False: its developer '
    'wrote it. NULL: neither is sure.';

REVOKE ALL ON FUNCTION devinprod.is_real(xid, oid, tid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION devinprod.is_real(xid, oid, tid, text) TO @readers@;

CREATE OR REPLACE FUNCTION devinprod.plainly(trace text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $plainly$
BEGIN
    IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 150000 THEN
        RETURN true;
    END IF;
    -- The first line is the trigger's. Behind it stands, if the statement was run by a function, its text.
    IF trace ~ '\n' THEN
        RETURN trace ~* '\A[^\n]*\nSQL statement "\s*(update|insert|with)\M' AND trace !~* '\mmerge\M';
    END IF;
    -- A long text would be searched again for each row.
    RETURN coalesce(pg_catalog.length(pg_catalog.current_query()) < 50000
        AND pg_catalog.current_query() !~* '\m(merge|execute)\M', false);
END
$plainly$;
COMMENT ON FUNCTION devinprod.plainly(text) IS
    'Whether the statement that fired a trigger is surely no MERGE, which names the columns of all its branches.';

CREATE OR REPLACE FUNCTION devinprod.noted_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
AS $noted_insert$
DECLARE
    written pg_catalog.text[] := TG_ARGV[0];
BEGIN
    -- A row that an UPDATE moves to another partition is deleted here and inserted there, real values and all.
    IF TG_NARGS > 1 AND EXISTS (SELECT FROM devinprod.departed d
            WHERE d.root = TG_ARGV[1] AND d.depth = pg_catalog.pg_trigger_depth()) THEN
        written := '{}';
    END IF;
    INSERT INTO devinprod.written AS w (relation, version, storage, kept, own)
    VALUES (NEW.tableoid, NEW.ctid, pg_catalog.pg_relation_filenode(NEW.tableoid), '{}', written)
    ON CONFLICT ON CONSTRAINT written_pkey DO UPDATE SET kept = excluded.kept, own = excluded.own;
    RETURN NULL;
END
$noted_insert$;
COMMENT ON FUNCTION devinprod.noted_insert() IS 'Trigger: a developer wrote the columns of a new row.';

CREATE OR REPLACE FUNCTION devinprod.noted_assignment() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $noted_assignment$
BEGIN
    INSERT INTO devinprod.assigned (relation, version, storage, field)
    VALUES (NEW.tableoid, NEW.ctid, pg_catalog.pg_relation_filenode(NEW.tableoid), TG_ARGV[0]);
    RETURN NULL;
END
$noted_assignment$;
COMMENT ON FUNCTION devinprod.noted_assignment() IS 'Trigger: an UPDATE names a masked column.';

CREATE OR REPLACE FUNCTION devinprod.noted_departure() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
AS $noted_departure$
BEGIN
    IF TG_LEVEL = 'ROW' THEN
        INSERT INTO devinprod.departed (root, depth) VALUES (TG_ARGV[0], pg_catalog.pg_trigger_depth())
        ON CONFLICT ON CONSTRAINT departed_pkey DO NOTHING;
    ELSE
        -- Only what this very statement noted, not one around it.
        DELETE FROM devinprod.departed d WHERE d.root = TG_ARGV[0] AND d.depth = pg_catalog.pg_trigger_depth();
    END IF;
    RETURN NULL;
END
$noted_departure$;
COMMENT ON FUNCTION devinprod.noted_departure() IS
    'Trigger: a row leaves a partition; and at the end of the statement, none does any more.';

-- A unique violation tells that a guess is right. Sequences count what a rollback cannot take back; developer roles
-- share one at most with a few others.
DO $guesses$
BEGIN
    FOR slot IN 0..31 LOOP
        EXECUTE pg_catalog.format('CREATE SEQUENCE IF NOT EXISTS devinprod.guesses_%s MINVALUE 0', slot);
    END LOOP;
END
$guesses$;

CREATE OR REPLACE FUNCTION devinprod.counted_guess() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $counted_guess$
DECLARE
    most CONSTANT pg_catalog.int8 := 10000;
    slot pg_catalog.regclass := pg_catalog.format('devinprod.guesses_%s',
        pg_catalog.hashtext(session_user::pg_catalog.text) & 31)::pg_catalog.regclass;
    -- Each hour counts from a number of its own.
    hour pg_catalog.int8 := 1000000
        * pg_catalog.floor(extract(epoch FROM pg_catalog.clock_timestamp()) / 3600)::pg_catalog.int8;
    count pg_catalog.int8 := pg_catalog.nextval(slot) - hour;
BEGIN
    IF count < 0 THEN
        PERFORM pg_catalog.setval(slot, hour);
    ELSIF count > most THEN
        RAISE EXCEPTION USING
            ERRCODE = 'configuration_limit_exceeded',
            MESSAGE = pg_catalog.format('more than %s values were written within an hour to sensitive columns that '
                'are unique', most),
            HINT = 'Each of them tells whether the value is there in reality. Write fewer, or wait for the next hour.';
    END IF;
    RETURN NULL;
END
$counted_guess$;
COMMENT ON FUNCTION devinprod.counted_guess() IS
    'Trigger: bounds the values that a developer role writes to unique sensitive columns, also if it takes them back.';

REVOKE ALL ON FUNCTION devinprod.counted_guess(), devinprod.plainly(text), devinprod.noted_insert(), devinprod.noted_assignment(),
    devinprod.noted_departure() FROM PUBLIC;

CREATE OR REPLACE FUNCTION devinprod.remember(token text, relation oid, version tid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $remember$
BEGIN
    INSERT INTO devinprod.remembered (token, relation, version)
    VALUES (remember.token, remember.relation, remember.version);
END
$remember$;
COMMENT ON FUNCTION devinprod.remember(text, oid, tid) IS
    'Stands in RETURNING: notes which row versions a statement made, to be read when its triggers have run.';

CREATE OR REPLACE FUNCTION devinprod.take(token text) RETURNS TABLE (n int8, tableoid oid, ctid tid)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
AS $take$
BEGIN
    RETURN QUERY DELETE FROM devinprod.remembered r WHERE r.token = take.token
        RETURNING r.n, r.relation, r.version;
END
$take$;
COMMENT ON FUNCTION devinprod.take(text) IS 'The row versions that were remembered under a token; forgotten by it.';

-- For the armed alone: what these write must not outlive the transaction.
REVOKE ALL ON FUNCTION devinprod.remember(text, oid, tid), devinprod.take(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION devinprod.remember(text, oid, tid), devinprod.take(text) TO @writers@;
