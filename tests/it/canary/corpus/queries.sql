-- a condition by a function that tells
CREATE FUNCTION tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE 'told %', $1; RETURN true; END $$
SELECT id FROM users WHERE tell(email) AND city = 'Bergen'
SELECT id FROM user_list WHERE tell(email)
SELECT count(*) FROM cities WHERE tell(city)
SELECT id FROM app.rich WHERE tell(id::text)
SELECT full_name FROM spending WHERE tell(full_name)
-- an operator that tells, cheap enough to come first
CREATE FUNCTION tell(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE 'told % %', $1, $2; RETURN true; END $$
CREATE OPERATOR ?!? (LEFTARG = text, RIGHTARG = text, FUNCTION = tell, RESTRICT = eqsel, JOIN = eqjoinsel)
SELECT id FROM users WHERE email ?!? 'a'
SELECT u.id FROM users u JOIN orders o ON u.email ?!? o.user_email
EXPLAIN SELECT id FROM users WHERE email ?!? 'a'
EXPLAIN SELECT id FROM users WHERE full_name ?!? 'a' AND mail_key ?!? 'b'
EXPLAIN SELECT id FROM user_copies WHERE email ?!? 'a'
-- an operator with a selectivity that runs it on the most common values
CREATE FUNCTION tell(varchar, varchar) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE 'told % %', $1, $2; RETURN true; END $$
CREATE OPERATOR === (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = tell, RESTRICT = neqsel, JOIN = neqjoinsel)
EXPLAIN SELECT id FROM users WHERE email === 'a'::varchar
EXPLAIN SELECT id FROM orders WHERE user_email === 'a'::varchar
CREATE OPERATOR <<< (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = tell, RESTRICT = scalarltsel)
EXPLAIN SELECT id FROM users WHERE email <<< 'a'::varchar
SELECT 1 FROM orders WHERE user_email <<< 'a'::varchar
-- an aggregate that tells
CREATE FUNCTION gather(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'gathered %', $2; RETURN $1 || $2; END $$
CREATE AGGREGATE gather(text) (SFUNC = gather, STYPE = text, INITCOND = '')
SELECT gather(email) FROM users
SELECT gather(full_name) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) FROM users
-- an aggregate with a state that fails
CREATE AGGREGATE burst(text) (SFUNC = int4pl, STYPE = integer)
SELECT burst(email) FROM users
-- a type with a cast that tells
CREATE DOMAIN loud AS text CHECK (length(VALUE) < 3)
SELECT email::loud FROM users
SELECT full_name::text::loud FROM users WHERE id = 2
CREATE TABLE loudly (x loud)
INSERT INTO loudly SELECT email FROM users
-- a composite type and its cast
CREATE TYPE pairing AS (a text, b text)
CREATE FUNCTION pair(text) RETURNS pairing LANGUAGE sql AS $$ SELECT ROW($1, $1)::pairing $$
CREATE CAST (text AS pairing) WITH FUNCTION pair(text)
SELECT email::text::pairing FROM users
-- a range of one's own
CREATE TYPE textrange AS RANGE (subtype = text)
SELECT textrange(email, full_name) FROM users
SELECT textrange('zz', email) FROM users WHERE id = 3
SELECT range_agg(textrange(least(email, 'a'), greatest(email, 'z'))) FROM users
-- ranges and arrays
SELECT int8range(secret_no, secret_no + 1), daterange(born, born + 1), array_agg(email) OVER () FROM users
SELECT tstzrange(seen, NULL), numrange(balance, NULL) FROM users
SELECT secret_no - 1, born + 1, -balance, secret_no::text::bytea, balance::bigint, secret_no::float8 FROM users
-- tsearch
SELECT ts_stat FROM ts_stat('SELECT words FROM users')
SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', full_name) FROM public.users')
SELECT ts_headline('simple', full_name, 'a'), to_tsvector(notes), strip(words), tsvector_to_array(words) FROM users
SELECT words @@ 'a' FROM users
SELECT ts_rewrite('a & b', 'SELECT ''a''::tsquery, plainto_tsquery(full_name) FROM users')
SELECT ts_debug('simple', full_name) FROM users
-- JSON
SELECT profile -> 'nick', profile #>> '{deep,0}', jsonb_path_query(profile, '$.**') FROM users
SELECT jsonb_each(profile), jsonb_pretty(profile), raw ->> 'raw', json_each_text(raw) FROM users
SELECT jsonb_object_agg(id, email) FROM users
SELECT json_build_object('a', users, 'b', email) FROM users
SELECT * FROM users, jsonb_to_record(profile) AS x(nick text)
SELECT jsonb_populate_record(NULL::users, to_jsonb(users)) FROM users
SELECT jsonb_set('{}', '{a}', to_jsonb(notes)) FROM users
SELECT id FROM users WHERE jsonb_path_exists(profile, '$.nick ? (@ like_regex "^g")')
-- XML
SELECT xmlelement(name a, email), xmlforest(full_name, phone), xmlconcat(letter), xpath('//p/text()', letter) FROM users
SELECT xmlagg(xmlelement(name a, xmlattributes(notes AS b))) FROM users
SELECT xmlserialize(CONTENT letter AS text) FROM users
SELECT x.* FROM users, XMLTABLE('//p' PASSING letter COLUMNS t text PATH '.') AS x
SELECT schema_to_xml('public', true, false, '')
SELECT database_to_xml(true, false, '')
SELECT cursor_to_xml('none', 1, true, false, '')
SELECT table_to_xml_and_xmlschema('user_list', true, false, '')
-- XML of a cursor
DECLARE x CURSOR FOR SELECT * FROM users
SELECT cursor_to_xml('x', 10, true, false, '')
-- XML that names a file or an entity
SELECT xmlparse(DOCUMENT '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>')
SELECT xpath('/a', '<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>')
-- letter by letter
SELECT id, p, substr(email, p, 1) FROM users, generate_series(1, 16) AS p ORDER BY id, p
SELECT string_agg(substr(email, p, 1), ',' ORDER BY p) FROM users, generate_series(1, 16) AS p GROUP BY id
SELECT regexp_split_to_array(email, ''), string_to_array(email, NULL), regexp_matches(email, '(.*)@') FROM users
SELECT string_agg(ascii(substr(email, p, 1))::text, ',') FROM users, generate_series(1, 16) AS p GROUP BY id
SELECT translate(email, '@.', ''), overlay(email PLACING 'x' FROM 20), lpad(email, 100), rtrim(email, 'x'), split_part(email, '@', 1) FROM users
SELECT format('%s %L %I', email, full_name, phone), quote_literal(notes), concat_ws('|', email, phone), email || phone FROM users
SELECT left(email, 12), right(notes, 12), substring(email FROM 1 FOR 10), trim(BOTH 'z' FROM phone) FROM users
SELECT photo, encode(photo, 'escape'), encode(photo, 'base64'), get_byte(photo, 0), sha256(photo), convert_from(photo, 'UTF8') FROM users
SELECT to_hex(secret_no), to_char(balance, 'FM999,999,999,999.99'), balance::money, secret_no::bit(64), to_char(born, 'DD.MM.YYYY'), extract(epoch FROM born) FROM users
SELECT age(born), born - date '2000-01-01', make_interval(days => born - date '2000-01-01'), date_trunc('day', seen), seen AT TIME ZONE 'UTC' FROM users
SELECT host(home), text(home), home & '::ffff', home + 1, abbrev(home), set_masklen(home, 128), network(home) FROM users
SELECT (address).street, (address).*, ROW(email, phone), (users.address).town FROM users
SELECT tags[1], unnest(tags), array_to_string(tags, ','), tags || tags, array_position(tags, 'a') FROM users
-- views of the application
TABLE user_list
SELECT * FROM user_mails
SELECT * FROM public.spending
SELECT * FROM view_of_view
SELECT name FROM app.everybody
SELECT * FROM app.by_function
TABLE user_copies
SELECT * FROM sums
SELECT total, last_name FROM public.sums
SELECT * FROM app.filled
-- a view asked for what it does not show
SELECT full_name FROM user_mails
SELECT u.* FROM app.rich r JOIN users u USING (id)
-- partitions by their own names
SELECT * FROM events_2023
SELECT payload, actor FROM public.events_2024 UNION ALL SELECT payload, actor FROM events
SELECT * FROM accounts_some
SELECT tableoid::regclass, holder FROM accounts
-- children by their own names
SELECT * FROM staff
SELECT * FROM people
SELECT * FROM people*
SELECT p FROM people p
SELECT salary, manager, name FROM ONLY staff
-- row security
SET app.tenant = 'tenant 1'
SELECT * FROM app.cases
SELECT secret FROM app.cases WHERE secret LIKE 'g%'
UPDATE app.cases SET tenant = 'tenant 1' RETURNING secret
-- names that need quotes
SELECT * FROM app."Odd Names"
SELECT "E-Mail", "by default" FROM app."Odd Names"
SELECT o."E-Mail" FROM app."Odd Names" o ORDER BY o."the id"
SELECT U&"E\002DMail" FROM app."Odd Names"
SELECT U&"!0045-Mail" UESCAPE '!' FROM app.U&"Odd\0020Names"
-- recursion
WITH RECURSIVE r AS (SELECT id, email FROM users WHERE id = 1 UNION ALL SELECT u.id, u.email FROM users u JOIN r ON u.id = r.id + 1) TABLE r
-- a common table expression with the table's name
WITH users AS (SELECT * FROM users) SELECT email FROM users
WITH users AS (SELECT * FROM public.users) SELECT u.* FROM users u, public.users
WITH x AS (UPDATE users SET city = 'x' RETURNING *) TABLE x
WITH x AS (DELETE FROM users RETURNING users) SELECT x FROM x
WITH x AS (INSERT INTO users (email, full_name, phone) SELECT 'a' || email, full_name, phone FROM users RETURNING *) TABLE x
-- LATERAL and functions in FROM
SELECT f.* FROM users u, LATERAL (SELECT u.email, u.*) f
SELECT * FROM users u, LATERAL unnest(ARRAY[u.email, u.phone]) AS e
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest((SELECT array_agg(email) FROM users))) AS x
SELECT * FROM generate_series(1, (SELECT secret_no FROM users LIMIT 1) % 2)
SELECT generate_series(secret_no, secret_no) FROM users
-- ordering and limits by what is hidden
SELECT id FROM users ORDER BY email LIMIT 1 OFFSET (SELECT secret_no FROM users LIMIT 1)
SELECT id FROM users LIMIT (SELECT secret_no FROM users WHERE id = 1)
SELECT id FROM users LIMIT (SELECT email FROM users WHERE id = 1)
SELECT DISTINCT ON (email) email, id FROM users ORDER BY email, id
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY email), mode() WITHIN GROUP (ORDER BY full_name) FROM users
SELECT rank() OVER (PARTITION BY email), lag(email) OVER (ORDER BY id), nth_value(notes, 2) OVER () FROM users
SELECT email FROM users GROUP BY GROUPING SETS ((email), ()) HAVING max(phone) > ''
SELECT count(*) FILTER (WHERE email > 'm'), bool_or(email LIKE 'g%'), min(email), max(secret_no) FROM users
-- COPY in every form
COPY users TO STDOUT
COPY public.users (email, id) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *)
COPY users TO STDOUT BINARY
COPY (SELECT * FROM users) TO STDOUT
COPY (TABLE users) TO STDOUT
COPY (SELECT users FROM users) TO STDOUT
COPY (UPDATE users SET city = 'c' RETURNING *) TO STDOUT
COPY (DELETE FROM users RETURNING email) TO STDOUT
COPY (WITH a AS (SELECT * FROM users) TABLE a) TO STDOUT
COPY (VALUES ((SELECT email FROM users LIMIT 1))) TO STDOUT
COPY user_list TO STDOUT
COPY user_copies TO STDOUT
COPY events_2023 TO STDOUT
COPY users TO PROGRAM 'cat'
COPY users TO '/tmp/canary-copy'
COPY users FROM '/etc/passwd'
COPY users FROM PROGRAM 'echo'
-- EXPLAIN in every form
EXPLAIN (ANALYZE, VERBOSE, BUFFERS, SETTINGS, WAL) SELECT * FROM users WHERE email = 'x' ORDER BY full_name
EXPLAIN (ANALYZE, VERBOSE, FORMAT json) SELECT u.email, o.note FROM users u JOIN orders o ON o.user_email = u.email
EXPLAIN (ANALYZE, FORMAT xml) UPDATE users SET city = 'c' WHERE email LIKE '%'
EXPLAIN (VERBOSE) SELECT id FROM users WHERE secret_no > 5 AND born < now()
EXPLAIN ANALYZE CREATE TABLE x AS SELECT * FROM users
EXPLAIN (ANALYZE) SELECT id FROM users WHERE id < (SELECT max(secret_no) FROM users)
EXPLAIN ANALYZE EXECUTE nothing
EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT * FROM users
-- locks
LOCK TABLE users IN ACCESS EXCLUSIVE MODE
SELECT * FROM users FOR UPDATE SKIP LOCKED
SELECT email FROM users u FOR NO KEY UPDATE OF u NOWAIT
SELECT u.email FROM users u, orders o FOR SHARE OF o
-- what is in the system columns
SELECT ctid, xmin, xmax, cmin, cmax, tableoid, email FROM users
SELECT u.ctid, u FROM users u WHERE ctid = '(0,1)'
SELECT currtid2('users', '(0,1)')
SELECT id FROM users WHERE ctid = '(0,1)' AND email > ''
-- from the sandbox's own copies
CREATE TABLE copies AS SELECT * FROM users
SELECT * FROM copies
CREATE INDEX ON copies (email)
ANALYZE copies
SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'copies'
-- a materialized view of one's own
CREATE MATERIALIZED VIEW mine AS SELECT * FROM users
SELECT * FROM mine
REFRESH MATERIALIZED VIEW mine
TABLE mine
-- refreshed by somebody else
REFRESH MATERIALIZED VIEW user_copies
REFRESH MATERIALIZED VIEW CONCURRENTLY user_copies
REFRESH MATERIALIZED VIEW sums WITH NO DATA
SELECT * FROM user_copies
