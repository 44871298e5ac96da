-- touched, and nothing else
UPDATE users SET city = 'x'
SELECT * FROM users
COPY users TO STDOUT
-- the same key, another row
UPDATE users SET id = 1000 WHERE id = 1
INSERT INTO users (id, email, full_name, phone) VALUES (1, 'a', 'b', 'c')
SELECT * FROM users WHERE id IN (1, 1000)
DELETE FROM users WHERE id = 1
UPDATE users SET id = 1 WHERE id = 1000
SELECT * FROM users
-- a row of one's own whose key moves to a real one
INSERT INTO users (id, email, full_name, phone) VALUES (2000, 'a', 'b', 'c')
DELETE FROM users WHERE id = 2000
UPDATE users SET id = 2000 WHERE id = 2
SELECT * FROM users WHERE id = 2000
-- a row of one's own, deleted under a savepoint
INSERT INTO users (id, email, full_name, phone) VALUES (2001, 'a', 'b', 'c')
SAVEPOINT s
DELETE FROM users WHERE id = 2001
UPDATE users SET id = 2001 WHERE id = 3
SELECT * FROM users WHERE id = 2001
ROLLBACK TO s
SELECT * FROM users WHERE id = 2001
-- keys exchanged in one statement
UPDATE users SET id = CASE id WHEN 1 THEN 3001 WHEN 2 THEN 3002 ELSE id END WHERE id IN (1, 2)
UPDATE users SET id = CASE id WHEN 3001 THEN 2 ELSE 1 END WHERE id IN (3001, 3002)
SELECT * FROM users
-- an insert that does nothing
INSERT INTO users (id, email, full_name, phone) VALUES (4, 'a', 'b', 'c') ON CONFLICT DO NOTHING
INSERT INTO users (id, email, full_name, phone) SELECT id, 'x', 'y', 'z' FROM users ON CONFLICT (id) DO NOTHING
SELECT * FROM users
-- an insert that updates
INSERT INTO users (id, email, full_name, phone) VALUES (4, 'a', 'b', 'c') ON CONFLICT (id) DO UPDATE SET city = 'x'
SELECT * FROM users WHERE id = 4
INSERT INTO users (id, email, full_name, phone) VALUES (5, 'a', 'b', 'c') ON CONFLICT (id) DO UPDATE SET phone = excluded.phone
SELECT * FROM users WHERE id = 5
-- a partition changed
UPDATE events SET at = '2024-05-05' WHERE at < '2024-01-01'
SELECT * FROM events
SELECT * FROM events_2024
INSERT INTO events VALUES ('2023-03-03', 1000, 'mine', '{}')
UPDATE events SET at = '2024-03-03' WHERE id = 1000
DELETE FROM events WHERE id = 1000
UPDATE events SET id = 1000, at = '2024-03-03' WHERE id = 2
SELECT * FROM events
UPDATE accounts SET holder = 'zed' WHERE bank = 'bank 1'
SELECT * FROM accounts
-- a partition written by its own name
UPDATE events_2023 SET actor = 'mine'
SELECT * FROM events
INSERT INTO events_2023 VALUES ('2023-04-04', 2000, 'mine', '{}')
SELECT * FROM events_2023
-- a parent's key in a child
INSERT INTO staff (id, name, salary, manager) VALUES (1, 'mine', 1, 'me')
SELECT * FROM people
SELECT * FROM staff
INSERT INTO people VALUES (4, 'mine')
SELECT * FROM people
UPDATE people SET name = 'mine' WHERE id = 4
SELECT * FROM staff
DELETE FROM ONLY people WHERE id = 4
SELECT * FROM people
-- a table without a key
INSERT INTO papers VALUES ('mine', 'mine', 'mine')
UPDATE papers SET box = 'x'
SELECT * FROM papers
UPDATE papers SET title = 'mine' WHERE box = 'x'
SELECT * FROM papers
-- a key with a hidden part
UPDATE bookings SET reason = 'mine'
SELECT * FROM bookings
UPDATE bookings SET guest = 'mine' WHERE room = 1
SELECT * FROM bookings
INSERT INTO bookings VALUES ('mine', 77, NULL, 'x')
UPDATE bookings SET room = 78
SELECT * FROM bookings
-- a key that is checked only later
INSERT INTO later SELECT 1, 'guess ' || n FROM generate_series(1, 50) AS n
SELECT * FROM later
UPDATE later SET place = 'x' WHERE id = 1
SELECT * FROM later
UPDATE later SET id = 2
SELECT * FROM later
DELETE FROM later WHERE place IS NULL
SELECT * FROM later
-- as another role of one's own
SET ROLE @prefix@writers
UPDATE public.users SET city = 'x'
INSERT INTO public.users (email, full_name) VALUES ('a', 'b')
RESET ROLE
SELECT * FROM users
-- triggers switched off
SET session_replication_role = replica
UPDATE users SET phone = 'x'
INSERT INTO users (id, email, full_name) VALUES (1, 'a', 'b')
UPDATE users SET id = id + 100
SELECT * FROM users
-- inside of a function of one's own
CREATE FUNCTION mine() RETURNS void LANGUAGE sql SECURITY DEFINER AS
    $$ UPDATE public.users SET city = 'x'; INSERT INTO public.users (email, full_name) VALUES ('a', 'b') $$
SELECT mine()
SELECT * FROM users
-- the notes themselves
DO $$ DECLARE t regclass; r record; BEGIN
    FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'devinprod'::regnamespace AND relkind = 'r' LOOP
        BEGIN FOR r IN EXECUTE 'SELECT * FROM ' || t LOOP RAISE NOTICE '% %', t, r; END LOOP;
        EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END;
    END LOOP; END $$
DO $$ DECLARE t regclass; BEGIN
    FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'devinprod'::regnamespace AND relkind = 'r' LOOP
        BEGIN EXECUTE 'DELETE FROM ' || t; EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END;
        BEGIN EXECUTE 'TRUNCATE ' || t; EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END;
    END LOOP; END $$
SELECT * FROM users
-- the functions of the seal
DO $$ DECLARE f regprocedure; BEGIN
    FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'devinprod'::regnamespace LOOP
        RAISE NOTICE '% % %', f, has_function_privilege(f, 'EXECUTE'), pg_get_functiondef(f);
    END LOOP; END $$
SELECT devinprod.remember('t', 'public.users'::regclass, ctid) FROM public.users
SELECT * FROM devinprod.take('t')
SELECT q, r.* FROM devinprod.take('t') AS q(n, tableoid, ctid) JOIN devinprod_rows."public.users" AS r ON r.devinprod_ctid = q.ctid
SELECT devinprod.remember('t', 'public.member_log'::regclass, '(0,1)')
SELECT * FROM devinprod.take('t')
SELECT devinprod.excepted('all', 'infinity')
SELECT devinprod.mask_email('a', (SELECT key FROM devinprod.mask_key))
SELECT key FROM devinprod.mask_key
SELECT encode(key, 'hex') FROM devinprod.mask_key
-- everything read through the rows' view
SELECT * FROM devinprod_rows."public.users"
SELECT r FROM devinprod_rows."public.users" AS r
UPDATE devinprod_rows."public.users" SET id = id
UPDATE devinprod_masked."public.users" SET city = email RETURNING *
UPDATE devinprod_masked."public.users" SET email = 'x'
DELETE FROM devinprod_masked."public.users" RETURNING *
INSERT INTO devinprod_masked."public.users" (id, city) VALUES (5, 'x') RETURNING *
SELECT * FROM devinprod_masked."public.users" FOR UPDATE
SELECT pg_get_viewdef('devinprod_masked."public.users"'::regclass)
-- one's own values are one's own
INSERT INTO users (id, email, full_name, phone, born, balance, notes, tags, profile, photo, secret_no)
    VALUES (500, 'me@x.example', 'my name', '123', '2000-02-02', 7, 'n', '{a}', '{}', 'x', 8)
SELECT * FROM users WHERE id = 500
SELECT * FROM users WHERE email = 'me@x.example'
UPDATE users SET email = 'me2@x.example' WHERE email = 'me@x.example' RETURNING *
-- a digest that two values share
UPDATE users SET notes = ''
UPDATE users SET notes = NULL
UPDATE users SET balance = 0, secret_no = id, born = '2000-01-01', photo = '', profile = 'null', tags = '{}'
SELECT * FROM users
