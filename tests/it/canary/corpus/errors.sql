-- a failing check
UPDATE users SET phone = ''
UPDATE users SET phone = '' WHERE id = 1
INSERT INTO users (email, full_name, phone) VALUES ('a', 'b', '')
UPDATE orders SET amount = -1
UPDATE orders SET amount = -1 WHERE note LIKE 'g%'
UPDATE users SET ssn = 'x'
UPDATE users SET email = NULL
UPDATE users SET full_name = NULL WHERE id = 4
UPDATE events SET id = NULL
UPDATE bookings SET guest = NULL
-- a failing unique
UPDATE users SET email = 'same'
UPDATE users SET id = 1
INSERT INTO users (id, email, full_name) VALUES (1, 'a', 'b')
INSERT INTO users SELECT * FROM users
INSERT INTO users (email, full_name, secret_no) SELECT email || 'x', full_name, secret_no FROM users
UPDATE bookings SET room = 1
UPDATE bookings SET guest = 'x', room = 1
UPDATE subscribers SET id = 1
-- a failing exclusion
UPDATE bookings SET during = int4range(1, 1000)
INSERT INTO bookings VALUES ('x', 99, int4range(1, 1000), 'x')
INSERT INTO bookings SELECT 'x', 100 + n, int4range(n, n + 3), 'x' FROM generate_series(1, 100, 3) AS n
-- a failing foreign key
UPDATE orders SET user_email = 'nobody'
UPDATE orders SET user_id = 12345
INSERT INTO orders (user_email) VALUES ('nobody')
INSERT INTO logins VALUES (1, 'nobody')
DELETE FROM users WHERE id = 1
DELETE FROM users
UPDATE users SET email = 'x' WHERE id = 1
UPDATE users SET email = 'x' || id
UPDATE users SET id = id + 1000
TRUNCATE users
TRUNCATE users CASCADE
-- a failing partition
UPDATE events SET at = '1999-01-01'
UPDATE events_2023 SET at = '2024-02-02'
UPDATE accounts_some SET bank = 'x', holder = 'yes'
UPDATE accounts SET holder = '?'
INSERT INTO accounts_some (holder, number) VALUES ('zz', 1)
INSERT INTO accounts (holder, number) VALUES ('???', 1)
INSERT INTO events (at, id) VALUES ('1999-01-01', 1)
UPDATE accounts_some SET holder = 'z' || id FROM (SELECT 1 AS id) AS x
-- a failing policy of rows
SET app.tenant = 'tenant 1'
UPDATE app.cases SET tenant = 'tenant 0'
INSERT INTO app.cases VALUES (77, 'tenant 0', 'x')
INSERT INTO app.cases SELECT id, 'tenant 1', secret FROM app.cases
-- a view's own check
CREATE VIEW mine AS SELECT id, city FROM users WHERE city <> 'x' WITH CHECK OPTION
UPDATE mine SET city = 'x'
UPDATE mine SET city = 'x' WHERE id = 1
INSERT INTO mine (id, city) VALUES (55, 'x')
-- a view of the application as the way to write
UPDATE user_list SET phone = ''
UPDATE user_list SET email = 'x'
INSERT INTO user_list (id, email, full_name) VALUES (1, 'a', 'b')
UPDATE user_mails SET mail = NULL
INSERT INTO user_mails (id, mail) VALUES (1, 'x')
UPDATE user_list SET city = city RETURNING *
DELETE FROM user_mails RETURNING mail
UPDATE app.rich SET id = -1
DELETE FROM app.rich
-- data that does not fit
COPY users (id, email, full_name) FROM STDIN
|1	a	b
COPY users (id, email, full_name, born) FROM STDIN
|55	a	b	not a day
COPY users (id, email, full_name, phone) FROM STDIN
|56	a	b	
COPY orders (user_email) FROM STDIN
|nobody
COPY accounts FROM STDIN
|?	1	x
COPY bookings FROM STDIN
|x	1	[1,1000)	x
-- the error of a function says where it was
CREATE FUNCTION deep(text) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RETURN $1::integer; END $$
SELECT deep(email) FROM users
SELECT deep(full_name) FROM public.users
CREATE FUNCTION deeper() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RETURN deep((SELECT email FROM public.users LIMIT 1)); END $$
SELECT deeper()
-- more rows than one
SELECT (SELECT email FROM users)
SELECT 1 WHERE 'x' = (SELECT full_name FROM public.users)
UPDATE users SET city = (SELECT email FROM users)
-- too long
UPDATE users SET code = full_name || full_name
UPDATE users SET email = repeat(email, 100)
UPDATE users SET id = secret_no * 1000000000000
UPDATE users SET id = balance
INSERT INTO towns SELECT email, repeat(notes, 2000) FROM users
CREATE INDEX big ON towns (country)
-- an index of one's own on what is read
CREATE TABLE mine AS SELECT email, full_name FROM users
INSERT INTO mine SELECT email, full_name FROM users
CREATE UNIQUE INDEX ON mine (email)
CREATE UNIQUE INDEX ON mine ((lower(full_name)))
ALTER TABLE mine ADD CHECK (email < 'a')
ALTER TABLE mine ALTER email TYPE integer USING email::integer
ALTER TABLE mine ADD EXCLUDE USING hash (email WITH =)
ALTER TABLE mine ADD FOREIGN KEY (email) REFERENCES towns (name)
-- a partitioned table of one's own
CREATE TABLE parts (email text) PARTITION BY LIST (email)
INSERT INTO parts SELECT email FROM users
INSERT INTO parts SELECT full_name FROM public.users
