--- insert in with
WITH n AS (INSERT INTO users (id, email, full_name, balance) VALUES (100, 'n@example.org', upper('n'), 1.005) RETURNING id, email, full_name, balance, phone) SELECT * FROM n
--- insert everything in with
WITH n AS (INSERT INTO users AS u (id, email, full_name) VALUES (100, 'n@example.org', 'N') RETURNING *) SELECT n.*, o.status FROM n LEFT JOIN orders o ON o.email = n.email
--- insert in with, nobody else sees the row
WITH n AS (INSERT INTO users (id, email, full_name) VALUES (100, 'n@example.org', 'N') RETURNING email) SELECT email, (SELECT count(*) FROM users), (SELECT count(*) FROM users WHERE email = n.email) FROM n
--- insert several rows in with
WITH n AS (INSERT INTO users (id, email, full_name) VALUES (100, 'a', 'A'), (101, 'b', 'B') RETURNING id, email || '!' AS e, full_name) SELECT * FROM n ORDER BY id
--- insert rows with drawn keys in with
WITH n AS (INSERT INTO members (mail, nick) VALUES ('X@example.org', 'x'), ('Y@example.org', DEFAULT) RETURNING id, mail, team, score, number) SELECT * FROM n ORDER BY id
--- insert from a query in with
WITH n AS (INSERT INTO members AS m (mail, nick) SELECT email, 'q' || id FROM users WHERE id < 4 ORDER BY id RETURNING m.id, m.mail, upper(nick)) SELECT * FROM n ORDER BY id
--- insert behind a table of its own, in with
WITH s AS (SELECT email, id FROM users WHERE id < 3), n AS (INSERT INTO members (mail, nick) SELECT email, 's' || id FROM s RETURNING mail, nick) SELECT * FROM n ORDER BY mail
--- insert with a with of its own inside of with
WITH n AS (WITH s AS (SELECT email FROM users WHERE id < 3) INSERT INTO members (mail) SELECT email FROM s RETURNING id, mail) SELECT * FROM n ORDER BY id
--- insert and use it in another insert
WITH n AS (INSERT INTO users (id, email, full_name) VALUES (100, 'n@example.org', 'N') RETURNING id, email) INSERT INTO orders (id, user_id, email) SELECT 500, id, email FROM n
--- insert a row and one that refers to it
WITH n AS (INSERT INTO members (mail) VALUES ('Z@example.org') RETURNING id, mail), o AS (INSERT INTO orders (id, user_id, email) SELECT 600, id, mail FROM n RETURNING id, email) SELECT n.id, n.mail, o.email FROM n, o
--- insert defaults
WITH n AS (INSERT INTO members DEFAULT VALUES RETURNING id, mail, score, nick) SELECT * FROM n
--- insert what does nothing on conflict, in with
WITH n AS (INSERT INTO users (id, email, full_name) VALUES (1, 'a', 'A'), (102, 'b', 'B'), (103, 'c', 'C') ON CONFLICT (id) DO NOTHING RETURNING id, email) SELECT * FROM n
--- insert with drawn values
WITH n AS (INSERT INTO members (mail, nick) VALUES ('r' || random() * 0, 'g'), ('s' || random() * 0, 'h') RETURNING mail, nick) SELECT * FROM n ORDER BY 1
--- insert into another, whose target is not masked
WITH n AS (INSERT INTO orders (id, email) SELECT 700, email FROM users WHERE id = 1 RETURNING id, email) SELECT * FROM n
--- a sub-query in the list, in with
WITH n AS (INSERT INTO users (id, email, full_name) VALUES (100, 'u1@example.org', 'N') ON CONFLICT DO NOTHING RETURNING email, (SELECT count(*) FROM orders o WHERE o.email = users.email)) SELECT * FROM n
--- a sub-query in the list, in with, written
WITH n AS (INSERT INTO members (mail, nick) VALUES ('u1@example.org', 'N') RETURNING mail, (SELECT count(*) FROM orders o WHERE o.email = members.mail), nick::char) SELECT * FROM n
--- whole rows in with
WITH n AS (INSERT INTO users u (id, email, full_name) VALUES (100, 'n@example.org', 'N') RETURNING id) SELECT * FROM n
--- whole rows in with, written
WITH n AS (INSERT INTO users AS u (id, email, full_name) VALUES (100, 'n@example.org', 'N') RETURNING to_jsonb(u) AS j, row_to_json(u.*) AS r) SELECT j, r::text FROM n
--- update in with
WITH n AS (UPDATE users SET full_name = 'F', city = 'X', balance = 2.345 WHERE id IN (2, 3) RETURNING id, email, full_name, balance, city) SELECT * FROM n ORDER BY id
--- update everything in with
WITH n AS (UPDATE users u SET city = 'X' WHERE email = 'u2@example.org' RETURNING *) SELECT * FROM n
--- update from itself in with
WITH n AS (UPDATE users u SET notes = email || city, city = upper(city), phone = notes WHERE id < 4 RETURNING id, notes, city, phone) SELECT * FROM n ORDER BY id
--- update from another in with
WITH n AS (UPDATE users SET notes = o.email, city = o.status FROM orders o WHERE o.id = users.id AND o.id < 3 RETURNING users.id, users.email, notes, o.email AS other) SELECT * FROM n ORDER BY id
--- update from another, everything, in with
WITH n AS (UPDATE members m SET nick = v.n FROM (VALUES ('n1', 'z')) AS v(o, n) WHERE m.nick = v.o RETURNING *) SELECT id, mail, nick, o, n FROM n
--- returning from several, what was assigned
UPDATE users u SET city = o.status, phone = o.email || u.email FROM orders o WHERE o.id = u.id AND u.id < 4 RETURNING u.email, phone, o.email, u.city || o.status
--- update several from a row in with
WITH n AS (UPDATE users SET (notes, city) = (email, 'c'), (phone, born) = ROW(phone || '1', DEFAULT) WHERE id = 5 RETURNING notes, phone, born) SELECT * FROM n
--- update to a default in with
WITH n AS (UPDATE members SET score = DEFAULT, nick = DEFAULT WHERE id < 3 RETURNING id, score, nick, mail) SELECT * FROM n ORDER BY id
--- update of a partition in with
WITH n AS (UPDATE events SET body = 'moved' WHERE id = 5 RETURNING id, body, day) SELECT * FROM n
--- update used by an insert
WITH n AS (UPDATE users SET city = 'Z' WHERE id < 3 RETURNING id, email) INSERT INTO orders (id, email) SELECT id + 800, email FROM n
--- delete into an archive
WITH d AS (DELETE FROM events WHERE body < 'body 4' RETURNING *) INSERT INTO visits (line, at) SELECT body, id FROM d
--- delete and show
WITH d AS (DELETE FROM users WHERE email LIKE 'u1%' RETURNING *) SELECT * FROM d ORDER BY id
--- delete, update and insert at once
WITH d AS (DELETE FROM users WHERE id = 7 RETURNING email), u AS (UPDATE users SET notes = 'x' WHERE id = 8 RETURNING email, notes), i AS (INSERT INTO users (id, email, full_name) VALUES (70, 'seventy', 'S') RETURNING email) SELECT email FROM d UNION ALL SELECT email || notes FROM u UNION ALL SELECT email FROM i ORDER BY 1
--- merge, everything that can happen
MERGE INTO users u USING (VALUES (1, 'one'), (2, 'two'), (500, 'new')) AS s(n, mail) ON u.id = s.n WHEN MATCHED AND s.n = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET email = s.mail WHEN NOT MATCHED THEN INSERT (id, email, full_name) VALUES (s.n, s.mail, 'made') RETURNING merge_action(), u.id, u.email, full_name, s.mail
--- merge, what was
MERGE INTO users u USING (VALUES (1, 'one')) AS s(n, mail) ON u.id = s.n WHEN MATCHED THEN UPDATE SET notes = u.email || u.city, city = 'M' RETURNING u.*
--- merge, everything
MERGE INTO users u USING (VALUES (500, 'new')) AS s(n, mail) ON u.id = s.n WHEN NOT MATCHED THEN INSERT (id, email, full_name, balance) VALUES (s.n, s.mail, 'made', 1.005) RETURNING *
--- merge in with
WITH m AS (MERGE INTO users u USING (VALUES (1, 'one'), (500, 'new')) AS s(n, mail) ON u.id = s.n WHEN MATCHED THEN UPDATE SET email = s.mail WHEN NOT MATCHED THEN INSERT (id, email, full_name) VALUES (s.n, s.mail, 'made') RETURNING merge_action() AS what, u.email, phone) SELECT * FROM m ORDER BY what
--- merge by a masked column
MERGE INTO codes c USING (VALUES ('alpha', 9)) AS s(c, n) ON c.code = s.c WHEN MATCHED THEN UPDATE SET uses = s.n RETURNING uses
--- merge from a masked relation
MERGE INTO orders o USING users u ON o.id = u.id AND u.id < 3 WHEN MATCHED THEN UPDATE SET email = u.email RETURNING o.id, u.email, u.full_name
--- prepared, with parameters in the list
PREPARE p(text, text) AS INSERT INTO members (mail, nick) VALUES ($1, $2) RETURNING mail, $1 || nick AS both, $2;
EXECUTE p('P@example.org', 'p')
