-- a trigger of the application that copies
UPDATE members SET joined = '2024-02-02'
SELECT * FROM member_log
SELECT whole FROM public.member_log
COPY member_log TO STDOUT
-- a trigger of the application that copies what is deleted
DELETE FROM members WHERE id = 1
SELECT * FROM member_log
-- a trigger of the application that tells
UPDATE subscribers SET plan = 'gold'
-- a trigger of the application that notifies
LISTEN subscribers
UPDATE subscribers SET plan = 'gold'
COMMIT
-- a trigger of the application that fails with a value
UPDATE subscribers SET plan = 'bad'
UPDATE subscribers SET plan = 'bad' WHERE id = 2
INSERT INTO subscribers (id, email, plan) VALUES (1, 'x', 'bad') ON CONFLICT (id) DO UPDATE SET plan = excluded.plan
MERGE INTO subscribers s USING (SELECT 1 AS id) x ON s.id = x.id WHEN MATCHED THEN UPDATE SET plan = 'bad'
-- a trigger of the application that puts the old value back
UPDATE patients SET diagnosis = 'mine', ward = 'x'
SELECT * FROM patients
SELECT diagnosis, copy FROM patients
UPDATE patients SET diagnosis = 'mine' WHERE id = 2 RETURNING diagnosis, copy
-- a rule of the application that copies
UPDATE tickets SET state = 'closed'
SELECT * FROM ticket_log
SELECT subject FROM ticket_log
UPDATE ticket_log SET id = id RETURNING *
-- a default that reads
INSERT INTO app."Odd Names" ("the id") VALUES (70) RETURNING *
SELECT "by default", "as owner" FROM app."Odd Names"
INSERT INTO app."Odd Names" ("the id", "E-Mail") VALUES (71, 'x')
TABLE app."Odd Names"
UPDATE app."Odd Names" SET "E-Mail" = DEFAULT, "by default" = DEFAULT, "as owner" = DEFAULT RETURNING *
COPY app."Odd Names" ("the id") FROM STDIN
|72
SELECT * FROM app."Odd Names"
-- a generated column computes a value again
UPDATE users SET full_name = 'my own' WHERE id = 1
SELECT words, mail_key FROM users WHERE id = 1
UPDATE users SET city = 'x' WHERE id = 2
SELECT words, mail_key FROM users WHERE id = 2
UPDATE users SET email = DEFAULT
INSERT INTO users (id, email, full_name, phone) VALUES (90, 'Mine@X.example', 'my own', 'x') RETURNING mail_key, words
-- a function of the index meets a shadow
CREATE FUNCTION length(varchar) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'length %', $1; RETURN 1; END $$
UPDATE users SET city = 'Oslo', grade = 'low'
UPDATE users SET born = '2000-01-01'
-- the application's function replaced
CREATE OR REPLACE FUNCTION public.folded(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE '%', $1; RETURN $1; END $$
CREATE OR REPLACE FUNCTION public.is_filled(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$
DROP FUNCTION app.first_email() CASCADE
ALTER FUNCTION public.folded(text) SET search_path = evil
ALTER FUNCTION app.mail_of(bigint) SECURITY INVOKER
UPDATE users SET city = 'x'
-- an overload that is chosen in its place
CREATE FUNCTION public.is_filled(varchar) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'filled %', $1; RETURN true; END $$
CREATE FUNCTION public.folded(varchar) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'folded %', $1; RETURN $1; END $$
CREATE FUNCTION public.is_filled(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'any %', $1; RETURN true; END $$
UPDATE users SET city = 'x', phone = 'y'
UPDATE users SET notes = 'y'
SELECT * FROM app.filled
-- triggers of one's own
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'old % new %', OLD, NEW; RETURN NEW; END $$
CREATE TRIGGER spy BEFORE UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION spy()
CREATE TRIGGER spy AFTER UPDATE ON public.users REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION spy()
CREATE TRIGGER spy INSTEAD OF UPDATE ON public.user_list FOR EACH ROW EXECUTE FUNCTION spy()
CREATE TRIGGER spy INSTEAD OF UPDATE ON devinprod_masked."public.users" FOR EACH ROW EXECUTE FUNCTION spy()
CREATE CONSTRAINT TRIGGER spy AFTER UPDATE ON public.orders DEFERRABLE FOR EACH ROW EXECUTE FUNCTION spy()
UPDATE users SET city = 'x'
UPDATE user_list SET city = 'x'
UPDATE orders SET status = 'x'
UPDATE devinprod_masked."public.users" SET id = id
-- an event trigger of one's own
CREATE FUNCTION spy() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', (SELECT email FROM public.users LIMIT 1); END $$
CREATE EVENT TRIGGER spy ON ddl_command_end EXECUTE FUNCTION spy()
CREATE TABLE x ()
-- the application's objects changed
ALTER TABLE users ADD COLUMN x text DEFAULT 'y'
ALTER TABLE users DISABLE TRIGGER ALL
ALTER TABLE users OWNER TO CURRENT_USER
ALTER TABLE users NO FORCE ROW LEVEL SECURITY
ALTER VIEW user_list SET (security_invoker = false)
ALTER TABLE users ALTER email TYPE integer USING email::integer
ALTER TABLE events ATTACH PARTITION towns DEFAULT
ALTER TABLE events DETACH PARTITION events_2023
ALTER TABLE staff NO INHERIT people
CREATE OR REPLACE VIEW user_list AS SELECT 1
DROP TRIGGER tell ON subscribers
DROP VIEW user_list
CREATE INDEX ON users (tell(email))
CREATE STATISTICS s ON email, city FROM users
REINDEX TABLE users
CLUSTER users USING users_pkey
ANALYZE VERBOSE users
VACUUM (VERBOSE) users
SECURITY LABEL ON TABLE users IS 'x'
COMMENT ON COLUMN users.email IS 'x'
-- rights given away
GRANT SELECT ON users TO PUBLIC
GRANT SELECT (email) ON users TO CURRENT_USER
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC
GRANT pg_read_all_data TO CURRENT_USER
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC
ALTER ROLE CURRENT_USER SUPERUSER
ALTER ROLE CURRENT_USER BYPASSRLS
REASSIGN OWNED BY postgres TO CURRENT_USER
CREATE ROLE mine SUPERUSER
SELECT email FROM users
-- another role
SET ROLE postgres
SELECT email FROM users
SET SESSION AUTHORIZATION postgres
SELECT email FROM users
SET ROLE @prefix@owner
SELECT email FROM public.users
SET ROLE @prefix@writers
SELECT email FROM public.users
SET ROLE @prefix@readers
SELECT email FROM public.users
SET ROLE @prefix@viewer
SELECT email FROM public.users
SET ROLE @prefix@warden
SELECT email FROM public.users
SET ROLE @prefix@proxy
SELECT email FROM public.users
SET ROLE pg_read_all_data
SELECT email FROM public.users
SET ROLE NONE
RESET SESSION AUTHORIZATION
-- publications and subscriptions
CREATE PUBLICATION p FOR ALL TABLES
CREATE PUBLICATION p FOR TABLE users
CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)
SELECT pg_create_logical_replication_slot('s', 'test_decoding')
SELECT * FROM pg_logical_slot_peek_changes('s', NULL, NULL)
SELECT pg_logical_emit_message(true, 'x', email) FROM users
SELECT pg_export_snapshot()
IMPORT FOREIGN SCHEMA public FROM SERVER s INTO app
LOAD 'auto_explain'
