-- The copy of devinprod's audit log. The log's folder is the truth; this is for those who ask in SQL.
CREATE SCHEMA IF NOT EXISTS devinprod_audit;
DO $$
BEGIN
    IF (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'devinprod_audit')
        <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION 'the schema devinprod_audit belongs to another role'
            USING HINT = 'run this as its owner';
    END IF;
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'the audit needs a database whose encoding is UTF8';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'devinprod_audit_writer') THEN
        CREATE ROLE devinprod_audit_writer LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'devinprod_auditor') THEN
        CREATE ROLE devinprod_auditor NOLOGIN;
    END IF;
END $$;

-- A line of a log each.
CREATE TABLE IF NOT EXISTS devinprod_audit.records (
    log text NOT NULL,                  -- the log's name: each proxy has its own
    sequence bigint NOT NULL,           -- the line's number in it, without gaps
    day date NOT NULL,                  -- when it was written, UTC: the partition
    logged timestamptz NOT NULL,        -- when it was written
    time timestamptz NOT NULL,          -- when it happened
    event text NOT NULL,
    activity text,
    developer text,
    upstream text,
    stage text,
    sandbox text,
    client inet,
    port bigint,
    application text,
    does text,
    verdict text,
    sqlstate text,
    rows bigint,
    rows_written bigint,
    bytes bigint,
    duration_us bigint,
    policy text,
    fingerprint text,
    statement text,
    relations text[] NOT NULL,
    sensitive text[] NOT NULL,
    detail text,                        -- what else there is to say, of what is no statement
    previous bytea NOT NULL,            -- the SHA-256 of the line before
    hash bytea NOT NULL,                -- the SHA-256 of the line
    line text NOT NULL,                 -- the line itself: JSON with the names of OCSF 6005
    PRIMARY KEY (log, day, sequence)
) PARTITION BY RANGE (day);
CREATE INDEX IF NOT EXISTS records_developer ON devinprod_audit.records (developer, time);

-- How far each log is copied; written in the same transaction as its records.
CREATE TABLE IF NOT EXISTS devinprod_audit.logs (
    log text PRIMARY KEY,
    first bigint NOT NULL,
    last bigint NOT NULL,
    hash bytea NOT NULL
);

CREATE TABLE IF NOT EXISTS devinprod_audit.settings (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    retention_days integer CHECK (retention_days > 0)
);
INSERT INTO devinprod_audit.settings DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Makes the partition of a day. Attached, not created in place: that would wait for who reads, and others for it.
CREATE OR REPLACE FUNCTION devinprod_audit.begin_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    name text := 'records_' || to_char(day, 'YYYY_MM_DD');
BEGIN
    IF day NOT BETWEEN '1970-01-01' AND current_date + 2 THEN
        RAISE EXCEPTION 'no partition is made for the day %', day
            USING HINT = 'compare the clocks of the proxy and of this server';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('devinprod_audit', 0));
    IF to_regclass('devinprod_audit.' || name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE devinprod_audit.%I (LIKE devinprod_audit.records INCLUDING ALL)', name);
    EXECUTE format('REVOKE ALL ON devinprod_audit.%I FROM PUBLIC', name);
    EXECUTE format('ALTER TABLE devinprod_audit.records ATTACH PARTITION devinprod_audit.%I FOR VALUES FROM (%L) TO (%L)',
        name, day, day + 1);
END $$;

-- Moves on how far a log is copied, from where the writer thinks it is; null: it was not known. Who is wrong about
-- that would leave a gap or write twice, and writes nothing.
CREATE OR REPLACE FUNCTION devinprod_audit.advance(its_log text, was bigint, its_first bigint, its_last bigint, its_hash bytea)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF was IS NULL THEN
        INSERT INTO devinprod_audit.logs VALUES (its_log, its_first, its_last, its_hash);
        RETURN;
    END IF;
    UPDATE devinprod_audit.logs SET last = its_last, hash = its_hash
        WHERE log = its_log AND last = was AND its_first > was AND its_last >= its_first;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the log is not copied up to record %', was USING ERRCODE = 'serialization_failure';
    END IF;
END $$;

-- Drops the days that are older than the retention, and no others, whoever calls it.
CREATE OR REPLACE FUNCTION devinprod_audit.retain() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    kept integer := (SELECT retention_days FROM devinprod_audit.settings);
    old name;
    dropped integer := 0;
BEGIN
    IF kept IS NULL THEN
        RETURN 0;
    END IF;
    FOR old IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'devinprod_audit.records'::regclass
            AND relname < 'records_' || to_char(current_date - kept, 'YYYY_MM_DD')
    LOOP
        EXECUTE format('DROP TABLE devinprod_audit.%I', old);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- Who read which sensitive columns, by day and developer.
CREATE OR REPLACE VIEW devinprod_audit.sensitive_reads AS
SELECT day, developer, upstream, sensitive_column, count(*) AS statements, sum(rows)::bigint AS rows,
    count(*) FILTER (WHERE verdict IN ('cut', 'refused')) AS stopped, min(time) AS first, max(time) AS last
FROM devinprod_audit.records, unnest(sensitive) AS of (sensitive_column)
WHERE event = 'statement'
GROUP BY day, developer, upstream, sensitive_column;

-- What was run, without the columns that only other records have.
CREATE OR REPLACE VIEW devinprod_audit.statements AS
SELECT day, time, developer, client, application, upstream, sandbox, does, verdict, sqlstate, rows, rows_written, bytes,
    duration_us, relations, sensitive, policy, statement, fingerprint, log, sequence
FROM devinprod_audit.records WHERE event = 'statement';

-- Rows by table, day and developer.
CREATE OR REPLACE VIEW devinprod_audit.table_use AS
SELECT day, developer, upstream, relation, does, count(*) AS statements, sum(rows)::bigint AS rows,
    sum(rows_written)::bigint AS rows_written
FROM devinprod_audit.records, unnest(relations) AS of (relation)
WHERE event = 'statement'
GROUP BY day, developer, upstream, relation, does;

-- Who was refused what.
CREATE OR REPLACE VIEW devinprod_audit.refusals AS
SELECT day, time, developer, client, upstream, event, sqlstate, coalesce(statement, detail) AS what, log, sequence
FROM devinprod_audit.records
WHERE verdict IN ('refused', 'cut') OR event IN ('refused', 'authentication_failed', 'budget_exceeded');

-- Who came, and when they left.
CREATE OR REPLACE VIEW devinprod_audit.connections AS
SELECT day, time, developer, client, port, upstream, event, log, sequence
FROM devinprod_audit.records
WHERE event IN ('client_connected', 'client_disconnected', 'authentication_failed');

-- What changed in the rules, or in the proxy.
CREATE OR REPLACE VIEW devinprod_audit.administration AS
SELECT day, time, event, upstream, detail, log, sequence
FROM devinprod_audit.records
WHERE event NOT IN ('statement', 'checkpoint', 'client_connected', 'client_disconnected', 'authentication_failed',
    'refused', 'joined', 'sandbox_begun', 'sandbox_ended', 'budget_near', 'budget_exceeded');

-- Where the chain from line to line is broken: none, unless rows were changed. What `audit verify --sql` finds is more.
CREATE OR REPLACE VIEW devinprod_audit.breaks AS
SELECT log, day, sequence, before AS sequence_before
FROM (
    SELECT log, day, sequence, previous, hash, line,
        lag(sequence) OVER its AS before, lag(hash) OVER its AS hash_before
    FROM devinprod_audit.records WINDOW its AS (PARTITION BY log ORDER BY day, sequence)
) AS linked
WHERE sequence <> before + 1 OR previous <> hash_before OR hash <> sha256(convert_to(line, 'UTF8'));

-- Nobody but the owner may change or delete anything; this also repairs what was granted since.
REVOKE ALL ON SCHEMA devinprod_audit FROM PUBLIC, devinprod_audit_writer, devinprod_auditor;
REVOKE ALL ON ALL TABLES IN SCHEMA devinprod_audit FROM PUBLIC, devinprod_audit_writer, devinprod_auditor;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA devinprod_audit FROM PUBLIC, devinprod_audit_writer, devinprod_auditor;
GRANT USAGE ON SCHEMA devinprod_audit TO devinprod_audit_writer, devinprod_auditor;
GRANT INSERT ON devinprod_audit.records TO devinprod_audit_writer;
GRANT SELECT ON devinprod_audit.logs TO devinprod_audit_writer;
GRANT EXECUTE ON FUNCTION devinprod_audit.begin_day, devinprod_audit.advance, devinprod_audit.retain TO devinprod_audit_writer;
GRANT SELECT ON devinprod_audit.records, devinprod_audit.logs, devinprod_audit.settings, devinprod_audit.sensitive_reads,
    devinprod_audit.statements, devinprod_audit.table_use, devinprod_audit.refusals, devinprod_audit.connections,
    devinprod_audit.administration, devinprod_audit.breaks TO devinprod_auditor;
