-- what a parser takes for something else
SELECT * FROM ONLY users
SELECT * FROM ONLY (users)
SELECT email AND FROM users
SELECT interval FROM users
SELECT email FROM users UNION ALL TABLE users
SELECT U&"em\0061il" FROM users
SELECT U&"!0065mail" UESCAPE '!' FROM users
SELECT email FROM U&"us\0065rs"
SELECT "email" FROM "users"
SELECT EMAIL FROM USERS
SELECT email FROM public . users
SELECT email FROM "public"."users"
SELECT public.users.email FROM public.users
SELECT canary_nothing.public.users.email FROM canary_nothing.public.users
SELECT email/**/FROM/**/users
SELECT email FROM/* /* nested */ */users
SELECT email -- FROM towns
    FROM users
SELECT email FROM users--
SELECT email FROM users;
SELECT 1; SELECT email FROM users
;;SELECT email FROM users
(SELECT email FROM users)
((TABLE users))
SELECT * FROM (users)
SELECT * FROM (users CROSS JOIN orders)
SELECT * FROM users, users u2
SELECT * FROM users AS towns
SELECT towns.* FROM users AS towns
SELECT * FROM users u(a, b, c)
SELECT b FROM users u(a, b)
SELECT (u).email FROM users u
SELECT (u.*)::text FROM users u
SELECT (SELECT u) FROM users u
SELECT email(u) FROM users u
SELECT u.email FROM users u WHERE u IS NOT NULL
SELECT row(u.*) FROM users u
SELECT ARRAY(SELECT email FROM users)
SELECT ARRAY[u] FROM users u
SELECT EXISTS (TABLE users), (TABLE users LIMIT 1)
VALUES ((SELECT email FROM users LIMIT 1))
SELECT * FROM (VALUES ((SELECT email FROM users LIMIT 1))) v
SELECT CASE WHEN true THEN (SELECT email FROM users LIMIT 1) END
SELECT email FROM users WHERE (email, id) IN (SELECT email, id FROM users)
SELECT email FROM users WHERE email = ANY (ARRAY(SELECT email FROM users))
SELECT count(email), email FROM users GROUP BY CUBE (email)
SELECT email FROM users WINDOW w AS (ORDER BY email)
SELECT e FROM users AS u, LATERAL (SELECT u.email) AS x(e)
SELECT u.e FROM (users AS x JOIN orders AS o ON true) AS j(a, e), users u
SELECT * FROM users JOIN orders USING (id) AS j
SELECT email FROM users TABLESAMPLE bernoulli (100) REPEATABLE (1)
SELECT email FROM users FETCH FIRST 1 ROW WITH TIES
SELECT email FROM users ORDER BY id FETCH FIRST 1 ROW WITH TIES
SELECT ALL email FROM users
SELECT DISTINCT email FROM users
SELECT email users FROM users users
SELECT FROM users
SELECT 'a' 'b', email FROM users
SELECT 'a'
    'b', email FROM users
SELECT $$a$$, email FROM users
SELECT $x$ ' $x$, email, $y$ " $y$ FROM users
SELECT E'\'', email FROM users
SELECT E'\\', email FROM users --'
SELECT '\', email FROM users --'
SELECT N'a', B'1', X'1', email FROM users
SELECT 'a'::text"email" FROM users
SELECT 1.e, email FROM users
SELECT 1email FROM users
SELECT - - 1, 0x1F, email FROM users
SELECT email COLLATE "C" FROM users
SELECT email::"text" FROM users
SELECT CAST(email AS text) FROM users
SELECT text(email), text 'a' FROM users
SELECT date '2000-01-01', email FROM users
SELECT OVERLAY(email PLACING 'a' FROM 20), POSITION('a' IN email), EXTRACT(year FROM born) FROM users
SELECT email OPERATOR(pg_catalog.||) 'x' FROM users
SELECT email IS DISTINCT FROM NULL, email FROM users
SELECT email BETWEEN SYMMETRIC 'a' AND 'z' AND email > '', email FROM users
SELECT email NOT LIKE 'a' ESCAPE 'b', email FROM users
SELECT (email) FROM users
SELECT (((email))) FROM users
SELECT users.email "FROM" FROM users
SELECT email "from towns" FROM users
SELECT "a""b" FROM users u(a, "a""b")
SELECT email FROM ONLY users u, ONLY (orders)
SELECT * FROM ROWS FROM (unnest(ARRAY(SELECT email FROM users)))
SELECT x FROM unnest((SELECT tags FROM users LIMIT 1)) WITH ORDINALITY AS t(x, n)
SELECT GROUPING(email), email FROM users GROUP BY email
WITH a AS NOT MATERIALIZED (SELECT * FROM users) SELECT * FROM a
WITH RECURSIVE users AS (SELECT 1 AS email UNION SELECT email + 1 FROM users WHERE email < 3) SELECT * FROM users, public.users u
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 2) SEARCH DEPTH FIRST BY n SET o SELECT * FROM t, users
WITH a AS (WITH users AS (SELECT 1) TABLE users) SELECT * FROM a, users
SELECT * FROM users WHERE id IN (WITH users AS (SELECT 1 AS id) SELECT id FROM users)
TABLE ONLY users
TABLE users*
SELECT * FROM users*
INSERT INTO towns TABLE users
INSERT INTO towns (name, country) (SELECT email, notes FROM users) RETURNING *
INSERT INTO towns WITH a AS (SELECT email, notes FROM users) SELECT * FROM a RETURNING name
CREATE TABLE mine AS TABLE users
CREATE TABLE mine AS WITH a AS (TABLE users) TABLE a
CREATE TABLE mine (a) AS SELECT email FROM users WITH NO DATA
SELECT email INTO mine FROM users
SELECT email INTO TEMPORARY TABLE mine FROM users
COPY (SELECT email FROM users) TO STDOUT
COPY users(email) TO STDOUT WITH DELIMITER '|'
COPY BINARY users TO STDOUT
DECLARE c BINARY INSENSITIVE CURSOR WITH HOLD FOR TABLE users
EXPLAIN ANALYZE VERBOSE TABLE users
PREPARE p (int) AS TABLE users
DO 'BEGIN PERFORM * FROM users; END'
LOCK users
SELECT email FROM users FOR UPDATE FOR SHARE
MERGE INTO users USING towns ON name = email WHEN NOT MATCHED THEN DO NOTHING
SELECT JSON_OBJECT('a': email) FROM users
SELECT JSON_ARRAYAGG(email) FROM users
SELECT JSON_QUERY(profile, '$') FROM users
SELECT t.* FROM users, JSON_TABLE(profile, '$' COLUMNS (nick text PATH '$.nick')) t
SELECT email FROM users GROUP BY ALL
SELECT XMLFOREST(email AS "x") FROM users
SELECT email FROM pg_catalog.users
SELECT * FROM pg_temp.users, users
SELECT	email	FROM	users
SELECT email FROM users
SELECT email FROM "users" "users"
SELECT email FROM users_with_a_very_long_name_that_is_cut_somewhere_because_it_has_over_63_bytes
SELECT "tables"."email" FROM "users" "tables"
SELECT email FROM users WHERE id = 1 OR id = 1 OR id = 1 OR id = 1 OR id = 1 OR id = 1 OR id = 1 OR id = 1 OR id = 1 OR id = 1
CALL public.users()
ANALYZE users (email)
SELECT current_setting('x.y', true), email FROM users
SET x.y = 'a'; SELECT email FROM users
BEGIN; SELECT email FROM users; COMMIT
SELECT email FROM users \gexec
SELECT :email FROM users
SELECT ?, email FROM users
SELECT $1, email FROM users
-- a name that is cut at 63 bytes
CREATE TABLE x123456789x123456789x123456789x123456789x123456789x123456789abc (a text)
SELECT * FROM x123456789x123456789x123456789x123456789x123456789x123456789abcdefgh, users
-- cursors of many kinds
DECLARE c BINARY CURSOR FOR SELECT email, secret_no, born FROM users
FETCH ALL IN c
DECLARE "C d" NO SCROLL CURSOR WITHOUT HOLD FOR SELECT u FROM users u
FETCH FORWARD ALL FROM "C d"
MOVE ABSOLUTE 0 IN c
DECLARE h CURSOR WITH HOLD FOR TABLE users
FETCH 3 FROM h
COMMIT
FETCH ALL FROM h
