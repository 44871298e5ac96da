--- update a clear row by a clear column
UPDATE users SET email = 'new@example.org', city = 'X' WHERE id = 1
--- update by a masked column
UPDATE users SET city = 'X' WHERE email = 'u2@example.org'
--- with alias
UPDATE users AS u SET city = 'X' WHERE u.email LIKE 'u1%' AND u.id > 1
--- schema, three parts
UPDATE public.users SET city = 'X' WHERE public.users.email = 'u2@example.org' OR users.id = 3
--- only
UPDATE ONLY people SET town = name WHERE name > 'B'
--- children
UPDATE people SET town = 'T' WHERE name IN ('Cid', 'Bob')
--- partitions, composite key
UPDATE events SET kind = 'z' WHERE body = 'body 3'
--- no key
UPDATE visits SET at = 9 WHERE line = 'x'
--- masked key
UPDATE codes SET uses = uses + 1 WHERE code = 'alpha'
--- odd names
UPDATE "Odd Table" SET "say ""hi""" = 1 WHERE "E-Mail" = 'a@example.org'
--- set from a masked column
UPDATE users SET city = full_name, notes = notes || email, balance = balance + 1 WHERE id < 4
--- set and where
UPDATE users u SET phone = coalesce(u.phone, 'none'), city = upper(city) WHERE u.phone IS NULL
--- set from a sub-query
UPDATE users SET notes = (SELECT max(o.status) FROM orders o WHERE o.email = users.email)
--- set several from a query
UPDATE users u SET (notes, city) = (SELECT o.status, u.full_name FROM orders o WHERE o.email = u.email ORDER BY o.id LIMIT 1) WHERE id < 8
--- set several from a query of clear columns
UPDATE users u SET (notes, city) = (SELECT o.status, o.email FROM orders o WHERE o.user_id = u.id ORDER BY o.id LIMIT 1)
--- set several from a row
UPDATE users SET (notes, city) = (email, 'c'), (phone, born) = ROW(phone || '1', DEFAULT) WHERE id = 5
--- set in a table without a key
UPDATE visits SET line = line || '!', at = at + 1
--- set with children
UPDATE people SET town = lower(name)
--- where in a sub-query on itself
UPDATE users SET city = 'S' WHERE balance > (SELECT avg(balance) FROM users)
--- where of an unmasked table
UPDATE orders SET status = 'x' WHERE email IN (SELECT email FROM users WHERE full_name = 'Name 2')
--- from
UPDATE users u SET city = o.status FROM orders o WHERE o.user_id = u.id AND u.email = 'u3@example.org' AND o.id = 2
--- from, joined by a masked column
UPDATE users SET city = o.status, notes = o.email || users.email FROM orders o WHERE o.email = users.email AND o.id < 6
--- from, unqualified
UPDATE users SET city = status FROM orders WHERE user_id = users.id AND phone IS NULL AND total = 6
--- from, masked on the other side
UPDATE orders SET status = u.email FROM users u WHERE u.id = orders.user_id AND u.full_name = 'Name 1'
--- from itself
UPDATE users a SET notes = b.email FROM users b WHERE b.id = a.id + 1 AND a.full_name < b.full_name
--- from a join
UPDATE users u SET city = p.level::text FROM orders o JOIN profiles p ON p.user_id = o.user_id WHERE o.user_id = u.id AND (u.email = o.email OR u.phone IS NULL) AND o.id < 9
--- from, nested
UPDATE users u SET city = 'N' FROM orders o WHERE o.user_id = u.id AND EXISTS (SELECT 1 FROM orders x WHERE x.email = u.email AND x.id > o.id)
--- with
WITH x AS (SELECT email FROM users WHERE id < 3) UPDATE users SET city = 'W' WHERE email IN (SELECT email FROM x)
--- with, of the target's name
WITH users AS (SELECT 2 AS id) UPDATE users SET city = 'W' WHERE users.email = 'u2@example.org'
--- returning clear columns
UPDATE users SET email = 'r@example.org' WHERE id = 2 RETURNING id, city
--- returning masked columns
UPDATE users SET full_name = 'R' WHERE id IN (2, 3) RETURNING id, email, full_name AS f, upper(email)
--- returning everything
UPDATE users SET city = 'R' WHERE email = 'u2@example.org' RETURNING *
--- returning with alias
UPDATE users AS u SET city = 'R' WHERE u.id = 4 RETURNING u.*, u.email || u.city AS both
--- returning three parts
UPDATE "public"."users" SET "city" = 'R' WHERE "public"."users"."id" = 4 RETURNING "public"."users"."id", "public"."users"."email"
--- returning from several
UPDATE users u SET city = o.status FROM orders o WHERE o.id = u.id AND u.id < 4 RETURNING u.email, u.city
--- returning with a sub-query
UPDATE users SET city = 'R' WHERE id = 3 RETURNING email, (SELECT count(*) FROM orders WHERE orders.email = users.email)
--- returning system columns
UPDATE users SET city = 'R' WHERE id = 3 RETURNING email, tableoid::regclass
--- returning whole rows
UPDATE users u SET city = 'R' WHERE id = 3 RETURNING row_to_json(u), to_jsonb(u.*), u::text, id
--- delete returning whole rows
DELETE FROM users u WHERE id = 3 RETURNING row_to_json(u), to_jsonb(u.*), u::text, id
--- returning of a partition
UPDATE events SET body = 'moved', day = '2023-07-07' WHERE id = 5 RETURNING id, body, day
--- delete
DELETE FROM visits WHERE line = 'x'
--- delete by key
DELETE FROM orders WHERE email = (SELECT email FROM users WHERE id = 1)
--- delete everything
DELETE FROM events
--- delete with alias
DELETE FROM "Odd Table" t WHERE t."E-Mail" = 'a@example.org'
--- delete using
DELETE FROM profiles p USING users u WHERE u.id = p.user_id AND u.email = 'u2@example.org'
--- delete using, masked target
DELETE FROM events USING orders o WHERE o.id = events.id AND body LIKE '%3'
--- delete returning
DELETE FROM profiles WHERE user_id < 3 RETURNING user_id, data, spot[0] AS x
--- delete returning everything
DELETE FROM events WHERE body = 'body 2' RETURNING *
--- delete returning with alias
DELETE FROM events AS e WHERE e.id = 4 RETURNING e.*, upper(e.body), e.kind k
--- delete using, returning
DELETE FROM events e USING orders o WHERE o.id = e.id AND o.id = 3 RETURNING e.body, o.status, e.body || o.email AS both
--- delete returning, no key
DELETE FROM visits WHERE at = 1 RETURNING line, at
--- delete in with
WITH gone AS (DELETE FROM events WHERE kind = 'a' RETURNING id, body) SELECT * FROM gone ORDER BY id
--- insert
INSERT INTO users (id, email, full_name) VALUES (100, 'n@example.org', 'N'), (101, 'm@example.org', 'M')
--- insert, all columns
INSERT INTO visits VALUES ('z', 5)
--- insert from a query
INSERT INTO orders (id, user_id, email) SELECT 100 + id, id, email FROM users WHERE email > 'u5'
--- insert from itself
INSERT INTO users SELECT id + 200, 'c' || email, full_name, phone, born, balance, notes, city FROM users
--- insert with a sub-query
INSERT INTO users (id, email, full_name) VALUES (102, (SELECT max(email) || 'x' FROM orders), (SELECT full_name FROM users WHERE id = 2))
--- insert from table
INSERT INTO visits TABLE visits
--- insert returning clear columns
INSERT INTO users (id, email, full_name) VALUES (103, 'a', 'b') RETURNING id
--- insert returning masked columns
INSERT INTO users (id, email, full_name) VALUES (104, 'a', 'b'), (105, 'c', 'd') RETURNING id, email, lower(full_name), born
--- insert returning everything
INSERT INTO users AS u (id, email, full_name) VALUES (104, 'a', 'b') RETURNING *
--- insert returning everything of the alias
INSERT INTO users AS u (id, email, full_name) VALUES (104, 'a', 'b') RETURNING u.email, u.*
--- insert into partitions, returning
INSERT INTO events VALUES (50, '2023-02-02', 'x', 'k'), (51, '2025-02-02', 'y', 'k') RETURNING *
--- insert with a query, returning
INSERT INTO visits SELECT email, id FROM users WHERE id < 3 RETURNING line
--- insert with with
WITH x AS (SELECT email FROM users WHERE id = 1) INSERT INTO visits (line) SELECT email FROM x
--- conflict on a clear column
INSERT INTO users (id, email, full_name) VALUES (1, 'c1@example.org', 'C'), (300, 'c2@example.org', 'D') ON CONFLICT (id) DO UPDATE SET city = 'conflict'
--- conflict, excluded masked columns
INSERT INTO users (id, email, full_name, balance, born) VALUES (1, 'c1@example.org', 'C', 5, '2000-01-01'), (2, 'c2@example.org', 'D', 6.5, NULL), (300, 'c3@example.org', 'E', 1, NULL) ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email, full_name = upper(excluded.full_name), balance = excluded.balance, born = excluded.born, city = excluded.city
--- conflict, excluded and own masked columns
INSERT INTO users AS u (id, email, full_name, balance) VALUES (1, 'c1@example.org', 'C', 5) ON CONFLICT (id) DO UPDATE SET balance = u.balance + excluded.balance, notes = u.email WHERE u.full_name IS DISTINCT FROM excluded.full_name
--- conflict, several in parentheses
INSERT INTO users (id, email, full_name) VALUES (1, 'c1@example.org', 'C') ON CONFLICT (id) DO UPDATE SET (email, full_name) = (excluded.email, excluded.full_name || users.phone)
--- conflict, from a query
INSERT INTO users (id, email, full_name) SELECT * FROM unnest(ARRAY[1, 2, 400]::bigint[], ARRAY['x', 'y', 'z'], ARRAY['a', 'b', 'c']) ON CONFLICT (id) DO UPDATE SET email = excluded.email, full_name = excluded.full_name
--- conflict, composite key
INSERT INTO events VALUES (1, '2023-08-30', 'again', 'k') ON CONFLICT (id, day) DO UPDATE SET body = excluded.body
--- conflict, returning
INSERT INTO users (id, email, full_name) VALUES (1, 'c1@example.org', 'C') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING id, email
--- conflict, do nothing
INSERT INTO users (id, email, full_name) VALUES (1, 'c1@example.org', 'C') ON CONFLICT DO NOTHING
--- conflict on a masked column, do nothing
INSERT INTO users (id, email, full_name) VALUES (900, 'u1@example.org', 'C'), (901, 'new@example.org', 'D') ON CONFLICT (email) DO NOTHING
--- conflict on a masked column, do nothing, returning
INSERT INTO users AS u (id, email, full_name, born) VALUES (900, 'u1@example.org', 'C', '2000-01-01'), (901, 'new@example.org', 'D', NULL) ON CONFLICT (email) DO NOTHING RETURNING u.id, email, born
--- conflict on a masked column, do nothing, from a query
INSERT INTO users (email, id, full_name) SELECT 'u' || n || '@example.org', 1000 + n, 'Q' FROM generate_series(10, 15) n ON CONFLICT (email) DO NOTHING
--- conflict on a masked column
INSERT INTO users (id, email, full_name, born, balance) VALUES (900, 'u1@example.org', 'C', '2000-01-01', 1), (901, 'new@example.org', 'D', NULL, 2.5) ON CONFLICT (email) DO UPDATE SET full_name = excluded.full_name, born = excluded.born, city = 'conflict'
--- conflict on a masked column, from a query
WITH x AS (SELECT 7 AS m) INSERT INTO users (id, email, full_name, born) SELECT 1000 + n, 'u' || n || '@example.org', 'Q', '2000-01-01' FROM generate_series(10, 15) n, x ON CONFLICT (email) DO UPDATE SET born = excluded.born
--- conflict on a masked column, condition
INSERT INTO public.users AS u (id, email, full_name, balance) VALUES (900, 'u1@example.org', 'C', 3), (901, 'u2@example.org', 'Name 2', 3), (902, 'u30@example.org', 'X', 1) ON CONFLICT (email) DO UPDATE SET balance = u.balance + excluded.balance, (notes, city) = (u.full_name || excluded.full_name, u.city || '!') WHERE u.full_name <> excluded.full_name
--- conflict on a masked column, returning
INSERT INTO users (id, email, full_name, notes) VALUES (901, 'new@example.org', 'D', DEFAULT) ON CONFLICT (email) DO UPDATE SET full_name = excluded.full_name RETURNING id, email, full_name AS f
--- conflict on a masked column, returning, found
INSERT INTO users AS u (id, email, full_name) VALUES (901, 'u2@example.org', 'D') ON CONFLICT (email) DO UPDATE SET full_name = excluded.full_name || u.email WHERE u.full_name <> 'x' RETURNING u.*
--- conflict on a masked column, returning a clear one
INSERT INTO users (id, email, full_name) VALUES (901, 'u2@example.org', 'D') ON CONFLICT (email) DO UPDATE SET city = 'found' RETURNING id
--- conflict on a masked key
INSERT INTO codes VALUES ('alpha', 5), ('gamma', 6) ON CONFLICT (code) DO UPDATE SET uses = codes.uses + excluded.uses
--- upsert as ActiveRecord writes it
INSERT INTO "users" ("id","email","full_name","phone") VALUES (950, 'u1@example.org', 'Name 1', '1'), (951, 'n@example.org', 'Name', NULL) ON CONFLICT ("email") DO UPDATE SET city=(CASE WHEN ("users"."full_name" IS NOT DISTINCT FROM excluded."full_name" AND "users"."phone" IS NOT DISTINCT FROM excluded."phone") THEN "users".city ELSE 'touched' END),"full_name"=excluded."full_name","phone"=excluded."phone" RETURNING "id"
--- upsert as Prisma writes it
INSERT INTO "public"."users" ("id","email","full_name") VALUES (950, 'u1@example.org', 'P') ON CONFLICT ("email") DO UPDATE SET "full_name" = 'Q', "balance" = "public"."users"."balance" + 1 WHERE ("public"."users"."email" = 'u1@example.org' AND 1=1) RETURNING "public"."users"."id", "public"."users"."email", "public"."users"."full_name"
--- upsert as TypeORM writes it
INSERT INTO "users"("id", "email", "full_name", "notes") VALUES (950, 'u1@example.org', 'T', DEFAULT) ON CONFLICT ( "email" ) DO UPDATE SET "full_name" = EXCLUDED."full_name", "notes" = EXCLUDED."email"  RETURNING "notes", "id"
--- upsert by key as Django writes it
INSERT INTO "users" ("id", "email", "full_name", "born") VALUES (1, 'dj@example.org', 'Dj', '2001-02-03'::date), (960, 'dk@example.org', 'Dk', NULL) ON CONFLICT("id") DO UPDATE SET "email" = EXCLUDED."email", "full_name" = EXCLUDED."full_name", "born" = EXCLUDED."born" RETURNING "users"."id"
--- optimistic lock as Hibernate writes it
update users u1_0 set email='h@example.org',full_name='H' where u1_0.id=3 and u1_0.full_name='Name 3'
--- bulk update as Django writes it
UPDATE "users" SET "full_name" = (CASE WHEN ("users"."id" = 1) THEN 'A' WHEN ("users"."email" = 'u2@example.org') THEN 'B' ELSE NULL END)::text WHERE "users"."id" IN (1, 2)
--- bulk update from values
UPDATE users AS u SET full_name = v.name FROM (VALUES ('u1@example.org', 'A'), ('u2@example.org', 'B')) AS v(email, name) WHERE u.email = v.email RETURNING u.id
--- delete with a limit
DELETE FROM users WHERE id IN (SELECT id FROM users WHERE email LIKE 'u%' ORDER BY email LIMIT 2 FOR UPDATE SKIP LOCKED) RETURNING id, email
--- conflict in with, do nothing
WITH x AS (INSERT INTO users (id, email, full_name) VALUES (900, 'u1@example.org', 'C'), (901, 'y', 'D') ON CONFLICT (email) DO NOTHING RETURNING id) SELECT * FROM x
--- merge
MERGE INTO users u USING orders o ON u.id = o.id WHEN MATCHED AND o.id < 4 THEN UPDATE SET city = o.status WHEN NOT MATCHED THEN DO NOTHING
--- merge on a masked column
MERGE INTO users u USING (SELECT DISTINCT ON (email) email, status, id FROM orders ORDER BY email, id) o ON u.email = o.email WHEN MATCHED AND u.full_name > 'Name 2' THEN UPDATE SET city = u.full_name || o.status, notes = o.email WHEN MATCHED THEN DELETE
--- merge from a masked relation
MERGE INTO orders o USING users ON o.id = users.id WHEN MATCHED AND users.phone IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET email = users.email WHEN NOT MATCHED THEN INSERT (id, email) VALUES (1000 + users.id, users.email)
--- merge, insert
MERGE INTO visits v USING users u ON v.line = u.email WHEN NOT MATCHED AND u.id < 3 THEN INSERT (line, at) VALUES (u.email, u.id)
--- data-modifying with
WITH moved AS (DELETE FROM events WHERE body < 'body 4' RETURNING body), more AS (INSERT INTO visits SELECT body, 7 FROM moved RETURNING at) SELECT count(*), sum(at) FROM more
--- update in with, by a masked column
WITH u AS (UPDATE users SET city = 'CTE' WHERE email = 'u3@example.org' RETURNING id) SELECT orders.id FROM orders, u WHERE orders.user_id = u.id ORDER BY 1
--- several statements of one table
UPDATE users SET city = 'A' WHERE email = 'u1@example.org';
UPDATE users SET email = email || '.x' WHERE city = 'A';
SELECT id, email FROM users WHERE city = 'A'
