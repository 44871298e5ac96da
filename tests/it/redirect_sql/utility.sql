--- cursor
DECLARE c CURSOR FOR SELECT id, email FROM users ORDER BY id;
FETCH 2 FROM c;
MOVE 1 IN c;
FETCH NEXT FROM c
--- cursor for update, where current of
DECLARE c CURSOR FOR SELECT email FROM users WHERE email = 'u4@example.org' FOR UPDATE;
FETCH c;
UPDATE users SET city = 'cursor' WHERE CURRENT OF c
--- cursor that only reads, where current of
DECLARE c CURSOR FOR SELECT email FROM users WHERE id = 3;
FETCH c;
DELETE FROM users WHERE CURRENT OF c
--- prepare
PREPARE p (text) AS SELECT id, email FROM users WHERE email = $1;
EXECUTE p('u1@example.org');
EXECUTE p('u2@example.org');
DEALLOCATE p
--- prepare without types
PREPARE p AS UPDATE users SET city = $2 WHERE email = $1 AND id = $3;
EXECUTE p('u1@example.org', 'P', 1)
--- prepare an insert with excluded
PREPARE p AS INSERT INTO users (id, email, full_name, born) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET email = excluded.email, born = excluded.born;
EXECUTE p(1, 'p@example.org', 'P', '1999-09-09')
--- copy a table
COPY users TO STDOUT
--- copy columns
COPY public.users (id, "email") TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE (email))
--- copy with old options
COPY users (email, id) TO STDOUT CSV HEADER
--- copy leaves out children
COPY people TO STDOUT
--- copy leaves out generated columns
COPY profiles (user_id, data, level, spot) TO STDOUT
--- copy a query
COPY (SELECT email FROM users ORDER BY id) TO STDOUT
--- create table as
CREATE TABLE mine AS SELECT id, email, full_name FROM users;
SELECT * FROM mine ORDER BY id
--- create table as, with columns and options
CREATE TABLE IF NOT EXISTS mine (a, b) WITH (fillfactor = 70) AS SELECT id, email FROM users WITH NO DATA;
SELECT * FROM mine
--- create table as table
CREATE TEMPORARY TABLE mine ON COMMIT DROP AS TABLE users;
SELECT * FROM mine ORDER BY id
--- select into
SELECT email, count(*) AS n INTO TEMP mine FROM users GROUP BY email;
SELECT * FROM mine ORDER BY 1
--- create view
CREATE VIEW v AS SELECT u.id, u.email, count(o.id) AS orders FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.id;
SELECT * FROM v ORDER BY id
--- create view with options
CREATE OR REPLACE TEMP VIEW v (a, b) WITH (security_barrier) AS SELECT id, email FROM users WHERE email LIKE 'u%' WITH LOCAL CHECK OPTION;
SELECT * FROM v ORDER BY a
--- create recursive view
CREATE RECURSIVE VIEW r (id) AS SELECT min(id) FROM users WHERE email > 'a' UNION ALL SELECT id + 1 FROM r WHERE id < 3;
SELECT * FROM r
--- create materialized view
CREATE MATERIALIZED VIEW mv AS SELECT email FROM users WITH DATA;
SELECT * FROM mv ORDER BY 1
--- a function in SQL
CREATE FUNCTION f(n bigint) RETURNS text LANGUAGE sql STABLE AS $$ SELECT email FROM users WHERE id = n $$;
SELECT f(2)
--- a function in SQL, quoted, several statements
CREATE FUNCTION f() RETURNS bigint AS 'UPDATE users SET city = ''f'' WHERE id = 1; SELECT count(*) FROM users u' LANGUAGE sql;
SELECT 1
--- a function in SQL, quoted
CREATE FUNCTION f() RETURNS bigint AS 'SELECT count(email) FROM ONLY users u' LANGUAGE sql;
SELECT f()
--- a function with a standard body
CREATE FUNCTION f(n bigint) RETURNS text BEGIN ATOMIC UPDATE users SET city = 'g' WHERE email = 'u1@example.org'; SELECT CASE WHEN email > 'a' THEN email ELSE '' END FROM users WHERE id = n; END;
SELECT f(2)
--- a function with RETURN
CREATE FUNCTION f(n bigint) RETURNS text STABLE RETURN (SELECT email FROM users WHERE id = n);
SELECT f(2)
--- a function in PL/pgSQL
CREATE FUNCTION f(OUT total bigint, OUT last text) LANGUAGE plpgsql AS $body$
DECLARE
    r record;
    users_seen int := (SELECT count(email) FROM users);
BEGIN
    FOR r IN SELECT email, id FROM users WHERE email LIKE 'u%' ORDER BY id LOOP
        last := r.email;
    END LOOP;
    IF EXISTS (SELECT 1 FROM users WHERE email = 'u3@example.org') THEN
        UPDATE users SET city = 'plpgsql' WHERE email = 'u3@example.org';
    ELSE
        DELETE FROM users;
    END IF;
    PERFORM 1 FROM users WHERE email = 'nobody';
    IF FOUND THEN RAISE EXCEPTION 'found'; END IF;
    SELECT count(email) INTO STRICT total FROM users WHERE phone IS NOT NULL;
    INSERT INTO visits SELECT email, 8 FROM users WHERE id = 2;
    CASE WHEN (SELECT max(email) FROM users) IS NULL THEN total := 0; ELSE NULL; END CASE;
END $body$;
SELECT * FROM f()
--- a function in PL/pgSQL that returns a query
CREATE FUNCTION f() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT u.email::text FROM users u ORDER BY u.id;
    RETURN;
END $$;
SELECT * FROM f()
--- do
DO $$ BEGIN UPDATE users SET city = (SELECT max(email) FROM users), notes = email WHERE email = 'u5@example.org'; END $$
--- explain analyze of an update that returns
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) UPDATE users SET city = 'E' WHERE email = 'u1@example.org' RETURNING *
--- prepare a conflict on a masked column
PREPARE p AS INSERT INTO users (id, email, full_name, born, balance) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (email) DO UPDATE SET full_name = excluded.full_name, born = $6;
EXECUTE p(900, 'u1@example.org', 'C', '2000-01-01', 1, '2001-01-01');
EXECUTE p(901, 'n1@example.org', 'C', '2000-01-01', 1, '2001-01-01')
--- explain a conflict on a masked column that returns
EXPLAIN (COSTS OFF) INSERT INTO users (id, email, full_name) VALUES (901, 'u2@example.org', 'D') ON CONFLICT (email) DO UPDATE SET city = 'found' RETURNING *
--- like
CREATE TABLE copy (LIKE users);
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'copy'::regclass AND attnum > 0 ORDER BY attnum;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'copy'::regclass AND contype <> 'n' ORDER BY 1
--- like, including all
CREATE TABLE copy (LIKE public.users INCLUDING ALL, extra int REFERENCES orders);
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'copy'::regclass AND attnum > 0 ORDER BY attnum;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'copy'::regclass AND contype <> 'n' ORDER BY 1
--- like, temporary, some options
CREATE TEMP TABLE copy (a int, LIKE members INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY);
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'copy'::regclass AND attnum > 0 ORDER BY attnum;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'copy'::regclass AND contype <> 'n' ORDER BY 1
--- like, defaults and identity
CREATE TABLE copy (LIKE members INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING GENERATED INCLUDING CONSTRAINTS);
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'copy'::regclass AND attnum > 0 ORDER BY attnum;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'copy'::regclass AND contype <> 'n' ORDER BY 1
--- like, odd names
CREATE TABLE copy (LIKE "Odd Table" INCLUDING INDEXES);
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'copy'::regclass AND attnum > 0 ORDER BY attnum;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'copy'::regclass AND contype <> 'n' ORDER BY 1
--- like, denied columns
CREATE TABLE copy (LIKE profiles INCLUDING ALL);
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'copy'::regclass AND attnum > 0 ORDER BY attnum;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'copy'::regclass AND contype <> 'n' ORDER BY 1
--- like, partitions
CREATE TABLE copy (LIKE events INCLUDING ALL);
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'copy'::regclass AND attnum > 0 ORDER BY attnum;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'copy'::regclass AND contype <> 'n' ORDER BY 1
