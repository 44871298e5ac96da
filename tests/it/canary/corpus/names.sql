-- built-in functions shadowed
CREATE SCHEMA evil
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'lower %', $1; RETURN $1; END $$
CREATE FUNCTION evil.length(text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'length %', $1; RETURN 9; END $$
CREATE FUNCTION evil.md5(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'md5 %', $1; RETURN $1; END $$
CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'sha256 %', $1; RETURN $1; END $$
CREATE FUNCTION evil.convert_to(text, name) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'convert_to %', $1; RETURN $1::bytea; END $$
CREATE FUNCTION evil.substr(text, int, int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'substr %', $1; RETURN $1; END $$
CREATE FUNCTION evil.encode(bytea, text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'encode %', $1; RETURN ''; END $$
CREATE FUNCTION evil.left(text, int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'left %', $1; RETURN $1; END $$
CREATE FUNCTION evil.coalesce(text, text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'coalesce %', $1; RETURN $1; END $$
CREATE FUNCTION evil.is_filled(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'is_filled %', $1; RETURN true; END $$
CREATE FUNCTION evil.folded(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'folded %', $1; RETURN $1; END $$
SET search_path = evil, pg_catalog, public
SELECT * FROM users
SELECT email, full_name, phone, notes FROM public.users
UPDATE users SET city = 'Oslo' WHERE id = 1
UPDATE public.users SET phone = 'x' WHERE id = 2
UPDATE users SET grade = 'low'
INSERT INTO users (email, full_name, phone) VALUES ('a', 'b', 'c') RETURNING *
UPDATE patients SET ward = 'x'
UPDATE orders SET status = 'x'
SELECT * FROM app.filled
SELECT * FROM user_list
UPDATE visits SET place = 'x'
UPDATE users SET id = id + 500 WHERE id = 3
DELETE FROM users WHERE id = 5
SET app.tenant = 'tenant 1'
SELECT * FROM app.cases
UPDATE app.cases SET tenant = tenant
SET CONSTRAINTS ALL IMMEDIATE
-- functions in the temporary schema
CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'lower %', $1; RETURN $1; END $$
CREATE FUNCTION pg_temp.is_filled(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'is_filled %', $1; RETURN true; END $$
SET search_path = pg_temp, public
SELECT * FROM users
UPDATE users SET city = 'Oslo'
UPDATE patients SET ward = 'x'
-- temporary tables in the place of the application's
CREATE TEMP TABLE member_log (what text, whole text)
UPDATE members SET joined = '2024-02-02'
TABLE pg_temp.member_log
DELETE FROM members
TABLE pg_temp.member_log
SELECT * FROM public.member_log
-- temporary tables in the place of the application's, by another path
CREATE SCHEMA evil
CREATE TABLE evil.member_log (what text, whole text)
SET search_path = evil, public
UPDATE members SET joined = '2024-02-02'
TABLE evil.member_log
-- temporary tables in the place of the catalog
CREATE TEMP TABLE pg_class AS SELECT * FROM pg_catalog.pg_class
CREATE TEMP TABLE pg_roles (rolname name, oid oid)
SET search_path = pg_temp, pg_catalog, public
SELECT * FROM users
SELECT devinprod.arm()
UPDATE users SET city = 'x' RETURNING *
-- temporary tables in the place of the seal's
CREATE TEMP TABLE mask_key AS SELECT 'known'::bytea AS key
CREATE TEMP TABLE masked_relation (a int)
CREATE TEMP TABLE masked_column (a int)
SET search_path = pg_temp, devinprod, public
SELECT * FROM users
SELECT * FROM public.users
INSERT INTO users (email, full_name) VALUES ('a', 'b') RETURNING *
-- operators shadowed
CREATE SCHEMA evil
CREATE FUNCTION evil.tell(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'told % %', $1, $2; RETURN true; END $$
CREATE FUNCTION evil.tell(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'told % %', $1, $2; RETURN true; END $$
CREATE FUNCTION evil.tell(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'told % %', $1, $2; RETURN true; END $$
CREATE FUNCTION evil.tell(bytea, bytea) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'told % %', $1, $2; RETURN true; END $$
CREATE FUNCTION evil.glue(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'glued % %', $1, $2; RETURN $1; END $$
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.tell)
CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.tell)
CREATE OPERATOR evil.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = evil.tell)
CREATE OPERATOR evil.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = evil.tell)
CREATE OPERATOR evil.> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.tell)
CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.glue)
SET search_path = evil, pg_catalog, public
SELECT * FROM users WHERE email = 'x'
SELECT * FROM users JOIN orders ON users.email = orders.user_email
UPDATE users SET city = 'x' WHERE email = 'y' RETURNING *
UPDATE users SET notes = notes || 'y' WHERE id = 1
DELETE FROM users WHERE email = 'x' RETURNING email
INSERT INTO orders (user_email) VALUES ('x')
UPDATE patients SET ward = 'x' WHERE diagnosis = 'y'
SELECT * FROM app.filled
-- types and domains shadowed
CREATE SCHEMA evil
CREATE FUNCTION evil.spy(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'spied %', $1; RETURN true; END $$
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.spy(VALUE))
CREATE DOMAIN evil.name AS pg_catalog.text CHECK (evil.spy(VALUE))
CREATE DOMAIN evil.varchar AS pg_catalog.text CHECK (evil.spy(VALUE))
CREATE DOMAIN evil.date AS pg_catalog.date CHECK (evil.spy(VALUE::pg_catalog.text))
CREATE DOMAIN evil.record AS pg_catalog.text
CREATE DOMAIN evil.regclass AS pg_catalog.text CHECK (evil.spy(VALUE))
SET search_path = evil, pg_catalog, public
SELECT * FROM users
SELECT email::text, full_name::text FROM users
UPDATE users SET city = 'x' RETURNING *
INSERT INTO users (email, full_name, phone) VALUES ('a', 'b', 'c') RETURNING *
UPDATE members SET joined = '2024-03-03'
UPDATE patients SET ward = 'y'
-- a collation and a text search configuration shadowed
CREATE SCHEMA evil
CREATE COLLATION evil."C" (provider = libc, locale = 'C')
CREATE TEXT SEARCH CONFIGURATION evil.simple (COPY = pg_catalog.simple)
SET search_path = evil, pg_catalog, public
UPDATE users SET full_name = full_name
SELECT words FROM users
-- a schema with the name of the user
CREATE SCHEMA AUTHORIZATION CURRENT_USER
SELECT * FROM users
-- a path that leads to the masks
SET search_path = devinprod_masked, devinprod_rows, devinprod, public
SELECT * FROM users
SELECT * FROM "public.users"
TABLE devinprod_rows."public.users"
SELECT email FROM devinprod_masked."public.users"
-- no path at all
SET search_path = ''
SELECT * FROM users
SELECT email FROM public.users
SELECT "public"."users"."email" FROM "public"."users"
SELECT pg_catalog.lower(u.email) FROM public.users u
-- a path in a function
CREATE FUNCTION mine() RETURNS SETOF text LANGUAGE sql SET search_path = app AS 'SELECT email FROM public.users'
SELECT mine()
-- the temporary schema of somebody else
SELECT * FROM pg_temp_1.x
SELECT * FROM pg_toast.pg_toast_1259
SELECT * FROM pg_temp.users
-- toast
SELECT * FROM pg_toast.pg_toast_2619
DO $$ DECLARE t regclass; r record; BEGIN SELECT reltoastrelid INTO t FROM pg_class WHERE relname = 'users';
    FOR r IN EXECUTE 'SELECT * FROM ' || t LOOP RAISE NOTICE '%', r; END LOOP; END $$
