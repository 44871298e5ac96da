-- Masked relations of every kind, and beside each the two views that `devinprod setup` puts in its place. The views show
-- the real values, so that a statement must give the same with and without the redirect; the role `app_dev` may read no
-- masked column of a table, so that what was not redirected is refused.
CREATE SCHEMA devinprod;
CREATE SCHEMA devinprod_masked;
CREATE SCHEMA devinprod_rows;
CREATE SCHEMA app;

CREATE TABLE users (
    id bigint PRIMARY KEY, email varchar(254) UNIQUE NOT NULL, full_name text NOT NULL, phone text, born date,
    balance numeric(12,2), notes text, city text);
INSERT INTO users
    SELECT n, 'u' || n || '@example.org', 'Name ' || n % 7, CASE WHEN n % 3 > 0 THEN '+39 0' || n END, date '1980-01-01' + n,
           n * 10.5, 'note', (ARRAY['Rome', 'Oslo', 'Lima'])[1 + n % 3]
    FROM generate_series(1, 12) n;
CREATE TABLE orders (id int PRIMARY KEY, user_id bigint, email text, total numeric(8,2), status text);
INSERT INTO orders SELECT n, 1 + n % 8, 'u' || 1 + n % 5 || '@example.org', n * 3, (ARRAY['new', 'paid'])[1 + n % 2]
    FROM generate_series(1, 20) n;
-- Another relation of the same name that nobody masks.
CREATE TABLE app.users (id int PRIMARY KEY, email text);
INSERT INTO app.users VALUES (1, 'app@example.org'), (2, 'two@example.org');
-- Types that GROUP BY cannot compare, a denied column, a generated one.
CREATE TABLE profiles (
    user_id bigint PRIMARY KEY, data json, secret text, level int, spot point,
    doubled int GENERATED ALWAYS AS (level * 2) STORED);
INSERT INTO profiles (user_id, data, secret, level, spot)
    SELECT n, json_build_object('n', n), 's' || n, n % 3, point(n, n) FROM generate_series(1, 6) n;
CREATE TABLE documents (id int PRIMARY KEY, data json, note text);
INSERT INTO documents SELECT n, json_build_object('n', n), 'n' || n FROM generate_series(1, 3) n;
-- Partitions.
CREATE TABLE events (id int, day date, body text, kind text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2024-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2030-01-01');
INSERT INTO events SELECT n, date '2023-06-01' + n * 90, 'body ' || n, (ARRAY['a', 'b'])[1 + n % 2] FROM generate_series(1, 8) n;
-- Children that are no partitions: a key may stand twice.
CREATE TABLE people (id int PRIMARY KEY, name text, town text);
CREATE TABLE staff (id int PRIMARY KEY, salary int) INHERITS (people);
INSERT INTO people VALUES (1, 'Ada', 'Rome'), (2, 'Bob', 'Oslo');
INSERT INTO staff VALUES (1, 'Cid', 'Lima', 100), (3, 'Dee', 'Rome', 200);
-- No key; a masked key; a name that needs quotes; everything denied.
CREATE TABLE visits (line text, at int);
INSERT INTO visits VALUES ('x', 1), ('x', 1), ('y', 2), (NULL, 3);
CREATE TABLE codes (code text PRIMARY KEY, uses int);
INSERT INTO codes VALUES ('alpha', 1), ('beta', 2);
CREATE TABLE "Odd Table" ("Id" int PRIMARY KEY, "E-Mail" text, "say ""hi""" int);
INSERT INTO "Odd Table" VALUES (1, 'a@example.org', 10), (2, 'b@example.org', 20);
CREATE TABLE vault (id int PRIMARY KEY, pin text);
INSERT INTO vault VALUES (1, '0000');

-- Defaults of every kind, several unique indexes.
CREATE TABLE members (
    id bigserial PRIMARY KEY, number int GENERATED ALWAYS AS IDENTITY UNIQUE, mail text, nick varchar(8), team int NOT NULL DEFAULT 1,
    score numeric(6,2) DEFAULT 1.5, seen timestamptz DEFAULT '2024-05-05 00:00:00+00', gone date, lower_mail text GENERATED ALWAYS AS (lower(mail)) STORED,
    CONSTRAINT members_nick UNIQUE (team, nick), CONSTRAINT members_score CHECK (score < 100));
CREATE UNIQUE INDEX members_mail ON members (lower(mail)) WHERE gone IS NULL;
INSERT INTO members (mail, nick, team, seen, gone)
    SELECT 'M' || n || '@example.org', 'n' || n, 1 + n % 2, '2024-01-01', CASE WHEN n > 4 THEN date '2024-02-02' END
    FROM generate_series(1, 6) n;
-- A trigger that changes what is written.
CREATE TABLE tidied (id int PRIMARY KEY, mail text);
CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.mail := lower(NEW.mail); RETURN NEW; END $$;
CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON tidied FOR EACH ROW EXECUTE FUNCTION tidy();
INSERT INTO tidied VALUES (1, 'A');

CREATE TABLE devinprod.remembered (n bigint GENERATED ALWAYS AS IDENTITY, token text, relation oid, version tid);
CREATE FUNCTION devinprod.remember(token text, relation oid, version tid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
AS $$ BEGIN INSERT INTO devinprod.remembered (token, relation, version)
            VALUES (remember.token, remember.relation, remember.version); END $$;
CREATE FUNCTION devinprod.take(token text) RETURNS TABLE (n int8, tableoid oid, ctid tid) LANGUAGE plpgsql SECURITY DEFINER
AS $$ BEGIN RETURN QUERY DELETE FROM devinprod.remembered r WHERE r.token = take.token
                         RETURNING r.n, r.relation, r.version; END $$;

-- masked: what a policy would say of each column; the rest is clear.
CREATE TABLE devinprod.treatment (relation regclass, name text, treatment text);
INSERT INTO devinprod.treatment
    SELECT 'users'::regclass, unnest(ARRAY['email', 'full_name', 'phone', 'born', 'balance', 'notes']), 'mask'
    UNION ALL SELECT 'profiles', unnest(ARRAY['data', 'spot', 'doubled']), 'mask'
    UNION ALL SELECT 'profiles', 'secret', 'deny'
    UNION ALL SELECT 'documents', unnest(ARRAY['data', 'note']), 'mask'
    UNION ALL SELECT c.oid, 'body', 'mask' FROM pg_class c WHERE c.relname IN ('events', 'events_old', 'events_new')
    UNION ALL SELECT c.oid, 'name', 'mask' FROM pg_class c WHERE c.relname IN ('people', 'staff')
    UNION ALL SELECT 'staff', 'salary', 'mask'
    UNION ALL SELECT 'visits', 'line', 'mask'
    UNION ALL SELECT 'codes', 'code', 'mask'
    UNION ALL SELECT '"Odd Table"', 'E-Mail', 'mask'
    UNION ALL SELECT 'members', unnest(ARRAY['mail', 'nick', 'score', 'seen']), 'mask'
    UNION ALL SELECT 'tidied', 'mail', 'mask'
    UNION ALL SELECT 'vault', unnest(ARRAY['id', 'pin']), 'deny';

DO $$
DECLARE
    r record;
    seen text;
    readable text;
    view text;
BEGIN
    FOR r IN SELECT DISTINCT c.oid, n.nspname, c.relname FROM devinprod.treatment t JOIN pg_class c ON c.oid = t.relation
             JOIN pg_namespace n ON n.oid = c.relnamespace
    LOOP
        SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE t.treatment IS DISTINCT FROM 'deny'),
               string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE t.treatment IS NULL)
        INTO seen, readable
        FROM pg_attribute a LEFT JOIN devinprod.treatment t ON t.relation = r.oid AND t.name = a.attname
        WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped;
        view := format('%I', r.nspname || '.' || r.relname);
        IF seen IS NOT NULL THEN
            EXECUTE format('CREATE VIEW devinprod_masked.%s AS SELECT %s FROM %I.%I t', view, seen, r.nspname, r.relname);
            EXECUTE format('CREATE VIEW devinprod_rows.%s AS SELECT %s, t.ctid AS devinprod_ctid, t.tableoid AS devinprod_tableoid,
                            t.xmin AS devinprod_xmin, t.xmax AS devinprod_xmax FROM %I.%I t', view, seen, r.nspname, r.relname);
        END IF;
        EXECUTE format('GRANT SELECT (%s), INSERT, UPDATE, DELETE ON %I.%I TO app_dev',
                       concat_ws(', ', readable, 'ctid, tableoid, xmin'), r.nspname, r.relname);
    END LOOP;
END $$;
-- The manifest, as the proxy reads it.
CREATE TABLE devinprod.policy (version text);
CREATE TABLE devinprod.masked_relation (relation oid, schema name, name name, view text, view_oid oid, rows text, rows_oid oid,
    key name[]);
CREATE TABLE devinprod.masked_column (relation oid, number int2, name name, view_number int2, clear boolean, treatment text,
    because text, ungroupable boolean);
INSERT INTO devinprod.masked_column
    SELECT a.attrelid, a.attnum, a.attname,
           CASE WHEN t.treatment IS DISTINCT FROM 'deny' THEN count(*) FILTER (WHERE t.treatment IS DISTINCT FROM 'deny')
               OVER (PARTITION BY a.attrelid ORDER BY a.attnum) END,
           t.treatment IS NULL, coalesce(t.treatment, 'clear'), 'policy.toml:7',
           a.atttypid IN ('json'::regtype, 'point'::regtype, 'xml'::regtype)
    FROM pg_attribute a LEFT JOIN devinprod.treatment t ON t.relation = a.attrelid AND t.name = a.attname
    WHERE a.attrelid IN (SELECT relation FROM devinprod.treatment) AND a.attnum > 0 AND NOT a.attisdropped;
INSERT INTO devinprod.masked_relation
    SELECT c.oid, n.nspname, c.relname, v.view, to_regclass(v.view), v.rows, to_regclass(v.rows),
           ARRAY(SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
                 WHERE i.indrelid = c.oid AND i.indisprimary
                     AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid AND c.relkind = 'r')
                 ORDER BY a.attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN LATERAL (SELECT format('devinprod_masked.%I', n.nspname || '.' || c.relname),
                                   format('devinprod_rows.%I', n.nspname || '.' || c.relname)) AS v (view, rows)
    WHERE c.oid IN (SELECT relation FROM devinprod.treatment);

GRANT USAGE, CREATE ON SCHEMA public TO app_dev;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app_dev;
GRANT USAGE ON SCHEMA app, devinprod, devinprod_masked, devinprod_rows TO app_dev;
GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA devinprod_masked, devinprod_rows TO app_dev;
GRANT SELECT, INSERT, UPDATE, DELETE, REFERENCES ON orders, app.users TO app_dev;
