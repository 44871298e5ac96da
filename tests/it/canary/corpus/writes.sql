-- a value written to a clear column
UPDATE users SET city = email
SELECT city FROM users
UPDATE users SET city = (SELECT string_agg(email, ',') FROM public.users)
INSERT INTO towns SELECT email, notes FROM users
SELECT * FROM towns
-- a value written to a clear column of another table
UPDATE orders SET status = u.email FROM users u WHERE u.id = orders.user_id
SELECT status FROM orders
UPDATE orders SET status = note
UPDATE orders SET status = (orders).note
UPDATE orders o SET status = o::text
UPDATE orders SET (status, placed_on) = (SELECT email, born FROM users WHERE id = user_id)
SELECT status, placed_on FROM orders
-- ON CONFLICT reads the row that was there
INSERT INTO users (id, email, full_name) VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET city = users.email
INSERT INTO users (id, email, full_name) VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET city = 'x' WHERE users.email LIKE 'g%'
INSERT INTO users (id, email, full_name) VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET city = 'x' RETURNING *
INSERT INTO users (id, email, full_name) VALUES (1, 'a', 'b') ON CONFLICT (email) DO UPDATE SET full_name = users.full_name RETURNING users.*
INSERT INTO users (id, email, full_name) VALUES (1, 'a', 'b') ON CONFLICT ON CONSTRAINT users_email_key DO UPDATE SET city = users.notes
INSERT INTO users AS u (id, email, full_name) VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET city = u::text RETURNING city
INSERT INTO users (id, email, full_name) VALUES (1, 'a', 'b') ON CONFLICT DO NOTHING RETURNING *
INSERT INTO users (id, email, full_name) SELECT id, email, full_name FROM users ON CONFLICT (id) DO UPDATE SET city = excluded.email
SELECT * FROM users
-- MERGE reads the row that was there
MERGE INTO users u USING orders o ON u.email = o.user_email WHEN MATCHED THEN UPDATE SET city = u.email
MERGE INTO users u USING (SELECT 1) x ON true WHEN MATCHED AND u.email > 'a' THEN UPDATE SET city = u.notes
MERGE INTO towns t USING users u ON t.name = u.email WHEN NOT MATCHED THEN INSERT VALUES (u.email, u.notes)
MERGE INTO users u USING orders o ON u.id = o.user_id WHEN MATCHED THEN DELETE RETURNING u.*
SELECT * FROM towns
-- RETURNING in every form
INSERT INTO users (email, full_name, phone) VALUES ('a', 'b', 'c') RETURNING *
INSERT INTO users (email, full_name, phone) VALUES ('a2', 'b', 'c') RETURNING users
INSERT INTO users (email, full_name, phone) VALUES ('a3', 'b', 'c') RETURNING users::text, (SELECT max(email) FROM users)
UPDATE users SET city = 'x' RETURNING email, users.*, upper(full_name), tags[1]
UPDATE users u SET city = 'x' FROM orders o WHERE o.user_id = u.id RETURNING o.*, u.email
UPDATE users SET phone = 'x' || id RETURNING old.phone, new.phone
DELETE FROM users USING orders WHERE orders.user_email = users.email RETURNING users.email, orders.note
DELETE FROM orders RETURNING orders, note
UPDATE events SET at = at + 1 RETURNING *
UPDATE staff SET id = id RETURNING *
UPDATE people SET id = id RETURNING *
UPDATE papers SET box = 'x' RETURNING *
DELETE FROM papers RETURNING title
UPDATE bookings SET during = during RETURNING guest
-- a cursor's row
DECLARE c CURSOR FOR SELECT * FROM users FOR UPDATE
FETCH 1 FROM c
UPDATE users SET city = 'x' WHERE CURRENT OF c RETURNING *
DELETE FROM users WHERE CURRENT OF c RETURNING email
-- a cursor opened before the row is touched
DECLARE c SCROLL CURSOR FOR SELECT * FROM users
UPDATE users SET phone = 'mine'
FETCH ALL FROM c
FETCH BACKWARD ALL FROM c
-- updates by what is hidden
UPDATE users SET city = 'x' WHERE email LIKE 'g%'
UPDATE users SET city = 'x' WHERE secret_no > 500000000000 RETURNING id
DELETE FROM users WHERE notes > 'note m'
UPDATE users SET phone = phone || 'x', notes = upper(notes), balance = balance + 1
SELECT phone, notes, balance FROM users
UPDATE users SET (phone, notes) = (notes, phone)
SELECT phone, notes FROM users
UPDATE users u SET notes = v.email FROM users v WHERE v.id = u.id
SELECT notes FROM users
-- a view that can be written, of one's own
CREATE VIEW mine AS SELECT * FROM users
UPDATE mine SET city = email
SELECT city FROM users
UPDATE mine SET notes = 'x' RETURNING *
INSERT INTO mine (email, full_name) VALUES ('q', 'q') RETURNING *
DELETE FROM mine RETURNING *
-- a view that can be written, over the rows themselves
CREATE VIEW mine WITH (security_invoker = true) AS SELECT id, city, email FROM public.users
UPDATE mine SET city = email RETURNING *
SELECT * FROM mine
-- a rule on a table of one's own
CREATE TABLE mine (x text)
CREATE RULE r AS ON INSERT TO mine DO INSTEAD UPDATE users SET city = email RETURNING city
INSERT INTO mine VALUES ('x') RETURNING x
SELECT city FROM users
-- data in
COPY users (id, email, full_name, phone) FROM STDIN
|60	mine@x	my own	1
SELECT * FROM users WHERE id = 60
COPY orders (user_id, note) FROM STDIN WHERE note > 'a'
|1	x
COPY users (id, email, full_name) FROM STDIN WHERE email IN (SELECT email FROM users)
|61	a	b
-- a table of one's own that inherits
CREATE TABLE mine (LIKE users INCLUDING DEFAULTS INCLUDING GENERATED)
ALTER TABLE mine INHERIT users
ALTER TABLE users INHERIT mine
INSERT INTO mine (email, full_name) VALUES ('a', 'b')
SELECT * FROM users
-- emptied
TRUNCATE orders
TRUNCATE users RESTART IDENTITY CASCADE
SELECT * FROM users
