--- plain
SELECT id, email, city FROM users ORDER BY id
--- star
SELECT * FROM users ORDER BY id LIMIT 3 OFFSET 1
--- alias
SELECT u.email e, u.* FROM users u WHERE u.email LIKE 'u1%' ORDER BY u.id
--- alias with AS
SELECT u.email AS from FROM users AS u ORDER BY 1
--- the table's name as qualifier
SELECT users.email FROM users WHERE users.id = 2
--- schema
SELECT users.email FROM public.users ORDER BY 1
--- quoted, three parts, as some ORMs send it
SELECT "public"."users"."id", "public"."users"."email" FROM "public"."users" WHERE ("public"."users"."email" = 'u3@example.org' AND 1=1) ORDER BY "public"."users"."id" ASC LIMIT 1 OFFSET 0
--- three parts with a star
SELECT public.users.* FROM public.users ORDER BY public.users.id
--- upper case, spaces and comments
SELECT /* x */ USERS . Email FROM /* y */ PUBLIC . /* z */ Users -- end
WHERE Id < 4 ORDER BY id
--- unicode name
SELECT U&"em\0061il" FROM U&"us\0065rs" ORDER BY 1
--- quoted odd names
SELECT "Id", "E-Mail", o."say ""hi""" FROM "Odd Table" o ORDER BY "E-Mail"
--- odd names without alias
SELECT "Odd Table"."E-Mail" FROM public."Odd Table" ORDER BY 1
--- search path: another users
SELECT id, email FROM app.users ORDER BY id
--- both users
SELECT a.email, b.email FROM users a JOIN app.users b ON b.id = a.id ORDER BY 1
--- old star
SELECT email FROM users * ORDER BY 1
--- column aliases
SELECT a, b FROM users AS u (a, b) ORDER BY a
--- join
SELECT o.id, u.email FROM orders o JOIN users u ON u.id = o.user_id ORDER BY o.id
--- self join
SELECT a.email, b.email FROM users a JOIN users b ON a.full_name = b.full_name AND a.id < b.id ORDER BY 1, 2
--- left join, parentheses, alias for the join
SELECT j.total, j.full_name FROM (orders o LEFT JOIN users u ON u.id = o.user_id) AS j (oid, uid, oemail, total, status, id, email, full_name) ORDER BY 1
--- nested joins
SELECT o.id, u.email, p.level FROM orders o JOIN users u JOIN profiles p ON p.user_id = u.id ON u.id = o.user_id ORDER BY 1
--- using
SELECT email, u.full_name, o.total FROM users u JOIN orders o USING (email) ORDER BY o.id
--- natural
SELECT * FROM users NATURAL JOIN (SELECT email, total FROM orders) o ORDER BY total
--- cross join, comma
SELECT count(*), max(a.email) FROM users a CROSS JOIN users b, orders
--- full join
SELECT u.email, o.id FROM users u FULL JOIN orders o ON o.user_id = u.id AND u.id > 3 ORDER BY 1, 2
--- left function in a condition
SELECT u.email FROM users u LEFT JOIN orders o ON left(u.email, 2) = left(o.email, 2) AND right(u.email, 1) = 'g' ORDER BY 1, o.id
--- sub-query in FROM
SELECT x.e FROM (SELECT email AS e FROM users WHERE id > 3) x ORDER BY e
--- sub-query in WHERE
SELECT id FROM orders WHERE user_id IN (SELECT id FROM users WHERE email = 'u2@example.org') ORDER BY 1
--- exists, correlated
SELECT email FROM users u WHERE EXISTS (SELECT 1 FROM orders WHERE orders.email = u.email AND orders.status = 'paid') ORDER BY 1
--- scalar sub-query in the list
SELECT id, (SELECT email FROM users WHERE users.id = orders.user_id) FROM orders ORDER BY id
--- array sub-query
SELECT ARRAY(SELECT email FROM users ORDER BY id), ARRAY[1, (SELECT max(id) FROM users)]
--- lateral
SELECT u.email, l.total FROM users u, LATERAL (SELECT o.total FROM orders o WHERE o.email = u.email ORDER BY total LIMIT 1) l ORDER BY 1
--- lateral function
SELECT u.email, s FROM users u CROSS JOIN LATERAL unnest(string_to_array(u.email, '@')) AS s WHERE u.id < 3 ORDER BY 1, 2
--- function in FROM
SELECT n, email FROM generate_series(1, 3) n JOIN users ON users.id = n ORDER BY 1
--- rows from
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) WITH ORDINALITY AS f(a, b, c), users WHERE users.id = f.c ORDER BY c
--- a function with the table's name
SELECT users.email FROM users, json_to_record('{"a": 1}') AS users2(a int) WHERE users.id = a
--- union
SELECT email FROM users UNION SELECT email FROM orders ORDER BY 1
--- union of tables
TABLE users UNION ALL TABLE users ORDER BY 1
--- except with parentheses
(SELECT email FROM users) EXCEPT ((SELECT email FROM orders)) ORDER BY email LIMIT 5
--- parentheses around all of it
((SELECT email FROM users ORDER BY id LIMIT 2) UNION ALL (SELECT email FROM users ORDER BY id DESC LIMIT 2)) ORDER BY 1
--- table
TABLE users
--- table only
TABLE ONLY people
--- values with a sub-query
VALUES (1, (SELECT email FROM users WHERE id = 1)), (2, 'x')
--- cte
WITH u AS (SELECT id, email FROM users) SELECT * FROM u ORDER BY id
--- cte that shadows the table
WITH users AS (SELECT 1 AS id, 'mine' AS email) SELECT email FROM users
--- cte that shadows the table and reads it
WITH users AS (SELECT email || '!' AS email FROM users) SELECT email FROM users ORDER BY 1
--- cte that shadows, schema given
WITH users AS (SELECT 1) SELECT email FROM public.users ORDER BY 1
--- cte seen from a later one
WITH a AS (SELECT email FROM users), users AS (SELECT email FROM a), b AS (SELECT * FROM users) SELECT * FROM b ORDER BY 1
--- nested with
SELECT * FROM (WITH users AS (SELECT 7 AS x) SELECT x FROM users) q, users WHERE users.id = q.x
--- recursive
WITH RECURSIVE r(id, email) AS (SELECT id, email FROM users WHERE id = 1 UNION ALL SELECT u.id, u.email FROM users u JOIN r ON u.id = r.id + 1 WHERE u.id < 5) SELECT * FROM r ORDER BY id
--- recursive that shadows
WITH RECURSIVE users AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM users WHERE id < 3) SELECT * FROM users
--- search and cycle
WITH RECURSIVE r AS (SELECT id, email FROM users WHERE id = 1 UNION ALL SELECT u.id, u.email FROM users u, r WHERE u.id = r.id + 1 AND u.id < 4) SEARCH DEPTH FIRST BY id, email SET o CYCLE id SET c USING p, s AS (SELECT email FROM users) SELECT r.email, c FROM r ORDER BY o
--- materialized
WITH u AS MATERIALIZED (SELECT * FROM users), v AS NOT MATERIALIZED (SELECT * FROM u) SELECT count(v.email) FROM v
--- group by a masked column
SELECT full_name, count(*), sum(balance) FROM users GROUP BY full_name HAVING count(*) > 1 ORDER BY 1
--- group by the key
SELECT u.id, u.email, u.full_name, count(o.id) FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.id ORDER BY u.id
--- group by the key, star
SELECT u.*, count(o.id) FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.id ORDER BY u.id
--- group by the key, everything
SELECT * FROM users GROUP BY id ORDER BY id
--- group by the key, unqualified
SELECT id, email, upper(full_name) FROM users GROUP BY id HAVING max(email) > 'a' AND phone IS NOT NULL ORDER BY email
--- group by the key's number
SELECT id, email FROM users GROUP BY 1 ORDER BY 1
--- group by the key's name in the list
SELECT users.id AS k, email FROM users GROUP BY k ORDER BY 1
--- group by two keys, three parts
SELECT public.users.id, public.users.email, orders.id, sum(orders.total) FROM public.users JOIN public.orders ON orders.user_id = users.id GROUP BY public.users.id, public.orders.id ORDER BY 3
--- group by the key: whole row
SELECT row_to_json(u), count(*) FROM users u JOIN orders o ON o.user_id = u.id GROUP BY u.id ORDER BY u.id
--- group by the key: sub-query
SELECT u.id, (SELECT count(*) FROM orders o WHERE o.email = u.email) FROM users u GROUP BY u.id ORDER BY 1
--- group by the key: order by
SELECT u.id FROM users u GROUP BY u.id ORDER BY u.email DESC, u.born
--- group by the key: ungroupable columns
SELECT p.user_id, p.data, p.spot AS s, p.data ->> 'n' AS n FROM profiles p GROUP BY p.user_id ORDER BY 1
--- group by the key: ungroupable columns, star of another
SELECT p.*, count(*), max(u.email) FROM documents p JOIN users u ON u.id = p.id GROUP BY p.id ORDER BY 1
--- group by the key: everything, ungroupable columns
SELECT * FROM documents GROUP BY id ORDER BY id
--- group by the key: whole row with ungroupable columns
SELECT to_json(d), d.note FROM documents d GROUP BY id ORDER BY id
--- group by the key: whole row to order by
SELECT u.id, u.*, count(*) FROM users u, visits GROUP BY u.id ORDER BY u.*
--- group by a composite key
SELECT e.id, e.day, e.body, count(*) FROM events e, orders GROUP BY e.day, e.id ORDER BY 1
--- group by a part of the key
SELECT e.id, count(e.body) FROM events e GROUP BY e.id ORDER BY 1
--- group by the merged key
SELECT id, u.email, count(*) FROM users u JOIN (SELECT user_id AS id FROM orders) o USING (id) GROUP BY id ORDER BY id
--- grouping sets
SELECT full_name, city, count(*) FROM users GROUP BY ROLLUP (full_name, city) ORDER BY 1, 2
--- aggregates of masked columns alone
SELECT id, max(email), count(DISTINCT phone) FILTER (WHERE email > 'u3'), string_agg(email, ',' ORDER BY full_name), percentile_cont(0.5) WITHIN GROUP (ORDER BY balance) FROM users GROUP BY id ORDER BY id
--- window functions
SELECT email, row_number() OVER (PARTITION BY full_name ORDER BY email), lag(email) OVER w FROM users WINDOW w AS (ORDER BY balance DESC) ORDER BY email
--- window over groups
SELECT u.id, u.email, rank() OVER (ORDER BY u.email), max(u.full_name) OVER () FROM users u GROUP BY u.id ORDER BY 1
--- distinct on
SELECT DISTINCT ON (full_name) full_name, email FROM users ORDER BY full_name, email
--- distinct
SELECT DISTINCT full_name FROM users ORDER BY full_name NULLS FIRST
--- whole row, text
SELECT u::text FROM users u ORDER BY u.id
--- whole row, its fields
SELECT (u).email, (u).* FROM users u ORDER BY (u).id
--- json
SELECT to_jsonb(u) - 'id', json_agg(u) OVER (), jsonb_build_object('e', u.email) FROM users u ORDER BY id
--- row comparison
SELECT id FROM users WHERE (email, city) = ('u1@example.org', 'Oslo') OR ROW(id, email) < ROW(2, 'a') ORDER BY 1
--- expressions
SELECT CASE WHEN email = 'u1@example.org' THEN 'one' WHEN born IS DISTINCT FROM date '1980-01-03' THEN email ELSE NULL END AS c, extract(year FROM born), substring(email FROM 1 FOR 2), born + interval '1' day, phone IS NULL, balance::numeric(6,1)::text || email COLLATE "C", email ~ '^u1' FROM users ORDER BY id
--- casts and types with columns' names
SELECT CAST(notes AS varchar(20)), born::timestamp with time zone AT TIME ZONE 'UTC', text 'x' FROM users ORDER BY id
--- where in a long list
SELECT id FROM users WHERE email IN ('u1@example.org', 'u2@example.org') AND NOT (phone IS NULL) OR balance BETWEEN 10 AND 30 ORDER BY id
--- order by ordinal and expression
SELECT email FROM users ORDER BY length(email), 1 FETCH FIRST 3 ROWS ONLY
--- limit with ties
SELECT full_name FROM users ORDER BY full_name FETCH FIRST 2 ROWS WITH TIES
--- for update
SELECT id, email FROM users WHERE email = 'u1@example.org' FOR UPDATE
--- for update of, skip locked
SELECT u.email, o.id FROM users u JOIN orders o ON o.user_id = u.id ORDER BY o.id LIMIT 2 FOR UPDATE OF u SKIP LOCKED
--- for share without alias
SELECT email FROM users ORDER BY id FOR NO KEY UPDATE OF users NOWAIT
--- partitions
SELECT id, body FROM events ORDER BY id
--- one partition
SELECT body FROM events_new ORDER BY 1
--- only of a partitioned table
SELECT body FROM ONLY events
--- children
SELECT name, tableoid::regclass::text FROM people ORDER BY name
--- only, without children
SELECT p.name FROM ONLY people p ORDER BY 1
--- only, in parentheses
SELECT people.* FROM ONLY (people) JOIN users ON users.id = people.id ORDER BY 1
--- sample
SELECT email FROM users TABLESAMPLE BERNOULLI (50) REPEATABLE (7) ORDER BY 1
--- sample of children, with alias
SELECT p.name, p.id FROM people AS p TABLESAMPLE SYSTEM (100) WHERE p.town > 'A' ORDER BY name
--- sample, only
SELECT name FROM ONLY people TABLESAMPLE bernoulli (100) ORDER BY name
--- system columns
SELECT ctid, tableoid::regclass, email, xmin = xmin AS same FROM users ORDER BY id
--- system columns with alias
SELECT u.ctid, u.*, u.tableoid FROM users u WHERE u.ctid = '(0,2)'
--- system columns and star
SELECT ctid, * FROM users ORDER BY id LIMIT 2
--- system columns and star of a join
SELECT u.ctid, * FROM users u JOIN orders o ON o.user_id = u.id ORDER BY o.id LIMIT 2
--- system columns and whole rows
SELECT ctid, row_to_json(u), to_json(u.*), u::text FROM users u ORDER BY id
--- system columns of another table
SELECT o.ctid, u.email FROM users u JOIN orders o ON o.user_id = u.id ORDER BY o.id
--- no columns
SELECT FROM users
--- count
SELECT count(*) FROM users
--- explain
EXPLAIN (COSTS OFF, FORMAT JSON) SELECT 1 FROM orders
--- a denied column is not there
SELECT user_id, level FROM profiles ORDER BY 1
--- masked key
SELECT code FROM codes WHERE code = 'alpha'
--- no key
SELECT line, count(*) FROM visits GROUP BY line ORDER BY 1
--- names that look like clauses
SELECT u.id AS limit, u.email AS "order", u.city "where" FROM users u WHERE u.id = 1
--- interval, array and row fields
SELECT (ARRAY[email, phone])[1], (ROW(email)).f1 FROM users ORDER BY id
--- xml and json functions
SELECT xmlforest(email AS e, city), json_object('e': email) IS JSON FROM users ORDER BY id LIMIT 1 -- since 16
--- a very nested one
SELECT (((SELECT (((email))) FROM users WHERE (((id = 1)))))) || ((('x')))
--- pagination with a window count
SELECT u.*, count(*) OVER () AS full_count FROM users u WHERE u.email ILIKE '%example%' ORDER BY u.email LIMIT 3
--- a report as an ORM writes it
SELECT "users"."id", "users"."email", COUNT("orders"."id") AS "n", COALESCE(SUM("orders"."total"), 0) AS "sum" FROM "users" LEFT OUTER JOIN "orders" ON ("users"."id" = "orders"."user_id") GROUP BY "users"."id" HAVING COUNT("orders"."id") > 1 ORDER BY "n" DESC, "users"."email" ASC LIMIT 5
--- json of nested rows
SELECT coalesce(json_agg(row_to_json(t)), '[]') FROM (SELECT u.id, u.email, (SELECT json_agg(o ORDER BY o.id) FROM orders o WHERE o.user_id = u.id) AS orders FROM users u ORDER BY u.id LIMIT 2) t
--- keyset pagination
SELECT email FROM users WHERE (email, id) > ('u3@example.org', 3) ORDER BY email, id LIMIT 3
--- any of an array
SELECT id FROM users WHERE email = ANY (ARRAY['u1@example.org', 'u2@example.org']::text[]) ORDER BY id
--- distinct count in having
SELECT city, count(DISTINCT email) FROM users GROUP BY city HAVING count(DISTINCT full_name) > 2 ORDER BY 1
--- anti join
SELECT u.email FROM users u LEFT JOIN orders o ON o.email = u.email WHERE o.id IS NULL ORDER BY 1
