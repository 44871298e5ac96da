-- EXECUTE in DO
DO $$ DECLARE v text; BEGIN EXECUTE 'SELECT email FROM users LIMIT 1' INTO v; RAISE NOTICE '%', v; END $$
DO $$ DECLARE v text; BEGIN EXECUTE format('SELECT %I FROM %I.%I LIMIT 1', 'email', 'public', 'users') INTO v; RAISE EXCEPTION '%', v; END $$
DO $$ DECLARE v public.users; BEGIN SELECT * INTO v FROM public.users LIMIT 1; RAISE NOTICE '%', v; END $$
DO $$ DECLARE v public.users%ROWTYPE; BEGIN SELECT u.* INTO STRICT v FROM public.users u; END $$
DO LANGUAGE plpgsql 'DECLARE r record; BEGIN FOR r IN EXECUTE ''TABLE users'' LOOP RAISE NOTICE ''%'', r; END LOOP; END'
DO $$ BEGIN PERFORM pg_notify('x', email) FROM public.users; END $$
DO $$ BEGIN ASSERT (SELECT false FROM public.users LIMIT 1), (SELECT email FROM public.users LIMIT 1); END $$
DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = (SELECT string_agg(email, ',') FROM public.users), DETAIL = (SELECT notes FROM public.users LIMIT 1), HINT = 'x'; END $$
DO $$ DECLARE c CURSOR FOR SELECT * FROM public.users; r record; BEGIN OPEN c; FETCH c INTO r; RAISE NOTICE '%', r; END $$
DO $$ #print_strict_params on
    DECLARE v text; m text; BEGIN SELECT min(email) INTO m FROM public.users; SELECT 'x' INTO STRICT v WHERE m = 'q'; END $$
DO $$ BEGIN UPDATE public.users SET city = 'x'; EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END $$
DO $$ DECLARE m text; d text; BEGIN PERFORM email::int FROM public.users; EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL; RAISE NOTICE '% %', m, d; END $$
DO $$ DECLARE m text; BEGIN INSERT INTO public.users (id, email, full_name) VALUES (1, 'x', 'y'); EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS m = PG_EXCEPTION_DETAIL; RAISE NOTICE '%', m; END $$
-- a function whose body is a string
CREATE FUNCTION mine() RETURNS SETOF text LANGUAGE sql AS 'SELECT email FROM public.users'
SELECT mine()
CREATE FUNCTION mine2() RETURNS SETOF public.users LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT * FROM public.users; END'
SELECT * FROM mine2()
CREATE FUNCTION mine3() RETURNS SETOF public.users LANGUAGE sql BEGIN ATOMIC SELECT * FROM public.users; END
SELECT mine3()
CREATE FUNCTION mine4() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'c4'; BEGIN OPEN c FOR EXECUTE 'SELECT * FROM users'; RETURN c; END $$
SELECT mine4()
FETCH ALL FROM c4
CREATE FUNCTION mine5(OUT a text, OUT b text) LANGUAGE plpgsql AS $$ BEGIN SELECT email, notes INTO a, b FROM users; END $$
SELECT * FROM mine5()
CREATE PROCEDURE mine6(INOUT a text) LANGUAGE plpgsql AS $$ BEGIN SELECT email INTO a FROM public.users; END $$
CALL mine6('')
-- with the rights of its owner, who is oneself
CREATE FUNCTION mine() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER SET search_path = public AS 'SELECT email FROM users'
SELECT mine()
-- a function of the application
SELECT app.mail_of(1)
SELECT app.mail_of(id) FROM users
SELECT * FROM app.users_named('%')
SELECT app.users_named(''' OR true --')
SELECT app.mail_as_caller(1)
SELECT app.first_email()
SELECT app.first_email_as_owner()
SELECT app.first_of(email) FROM users
CALL app.copy_mails()
-- a procedure of the application and what it left
CALL app.copy_mails()
SELECT * FROM app.copied
-- prepared in a string
PREPARE p AS SELECT email FROM users WHERE id = $1
EXECUTE p(1)
EXPLAIN ANALYZE EXECUTE p(2)
CREATE TEMP TABLE kept AS EXECUTE p(3)
TABLE kept
-- prepared while the name meant something else
CREATE TEMP TABLE users (email text)
PREPARE p AS SELECT email FROM users
EXECUTE p
DROP TABLE users
EXECUTE p
-- a cursor opened while the name meant something else
CREATE TEMP TABLE users (email text)
DECLARE c CURSOR FOR SELECT * FROM users
DROP TABLE users
FETCH ALL FROM c
SELECT * FROM users
-- a view with the table's name
CREATE TEMP VIEW users AS SELECT * FROM public.users
SELECT * FROM users
TABLE pg_temp.users
-- query functions of the server and its extensions
SELECT query_to_xml('SELECT email FROM public.users', true, true, '')
SELECT query_to_xmlschema('TABLE public.users', true, true, '')
SELECT * FROM crosstab('SELECT id::text, city, email FROM public.users ORDER BY 1') AS c(a text, b text, d text)
SELECT * FROM connectby('public.users', 'id', 'id', '1', 0) AS t(a text, b text, c int)
SELECT * FROM xpath_table('id', 'letter', 'public.users', '/p', 'true') AS t(a int, b text)
SELECT * FROM dblink('dbname=postgres', 'SELECT email FROM public.users') AS t(a text)
SELECT dblink_connect('host=127.0.0.1 dbname=template1')
SELECT hstore(u) FROM public.users u
SELECT each(hstore(u)) FROM users u
SELECT get_raw_page('users', 0)
SELECT * FROM heap_page_items(get_raw_page('public.users', 0))
SELECT * FROM bt_page_items('users_email_key', 1)
SELECT * FROM pgstattuple('public.users')
SELECT similarity(email, 'a'), show_trgm(email) FROM users
SELECT digest(email, 'sha1'), encrypt(email::bytea, 'k', 'aes') FROM users
-- an extension of one's own
CREATE EXTENSION IF NOT EXISTS tablefunc
CREATE EXTENSION IF NOT EXISTS file_fdw
CREATE EXTENSION IF NOT EXISTS postgres_fdw
CREATE EXTENSION IF NOT EXISTS plpython3u
SELECT * FROM crosstab('SELECT id::text, city, email FROM public.users ORDER BY 1') AS c(a text, b text, d text)
-- a foreign table of one's own
CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1')
CREATE FOREIGN TABLE f (email text) SERVER s OPTIONS (table_name 'users')
SELECT * FROM f
-- NOTIFY
LISTEN x
SELECT pg_notify('x', email) FROM users
SELECT pg_notify(email, '') FROM public.users
DO $$ BEGIN EXECUTE format('NOTIFY x, %L', (SELECT email FROM public.users LIMIT 1)); END $$
COMMIT
-- large objects
SELECT lo_get(4242)
SELECT loread(lo_open(4242, 262144), 100)
SELECT encode(lo_get(4242), 'base64')
SELECT * FROM pg_largeobject
SELECT lo_export(4242, '/tmp/canary-lo')
SELECT lo_import('/etc/passwd')
SELECT lo_get(scan) FROM scans
SELECT lo_from_bytea(0, email::bytea) FROM users
SELECT lo_put(4242, 0, 'x')
GRANT SELECT ON LARGE OBJECT 4242 TO PUBLIC
-- a large object of one's own, made of what is read
SELECT lo_from_bytea(777777, convert_to(string_agg(email, ','), 'UTF8')) FROM users
SELECT convert_from(lo_get(777777), 'UTF8')
-- moved through a temporary table and read as statistics
CREATE TEMP TABLE kept AS SELECT email, notes, full_name FROM users
ANALYZE kept
SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'kept'
-- moved through settings
SELECT set_config('search_path', email, true) FROM users LIMIT 1
SHOW search_path
SELECT set_config('application_name', (SELECT email FROM users LIMIT 1), false)
SELECT application_name FROM pg_stat_activity
SELECT set_config('mine.' || substr(email, 1, 9), 'x', false) FROM public.users
SELECT set_config('work_mem', email, false) FROM users
SELECT set_config('TimeZone', email, false) FROM users
SELECT set_config('role', email, false) FROM users
DO $$ BEGIN EXECUTE 'SET mine.x = ' || quote_literal((SELECT email FROM public.users LIMIT 1)); END $$
-- names made of values
DO $$ BEGIN EXECUTE format('CREATE TABLE %I ()', (SELECT email FROM public.users LIMIT 1)); END $$
DO $$ BEGIN EXECUTE format('CREATE ROLE %I', (SELECT email FROM public.users LIMIT 1)); END $$
DO $$ BEGIN EXECUTE format('COMMENT ON TABLE towns IS %L', (SELECT email FROM public.users LIMIT 1)); END $$
SELECT (email || '.nothing')::regclass FROM users
SELECT email::regproc FROM users
SELECT email::regrole FROM public.users
SELECT nextval(email) FROM users
SELECT to_regclass(email), has_table_privilege(email, 'select') FROM users
SELECT pg_sleep(0), dblink_connect(email) FROM users
SELECT pg_read_file(email) FROM users
SELECT pg_advisory_lock(secret_no) FROM users
SELECT objid, classid FROM pg_locks WHERE locktype = 'advisory'
SELECT setseed(balance / 1000000000000000) FROM users
SELECT convert(email::bytea, full_name, 'UTF8') FROM users
SELECT decode(email, 'hex') FROM users
SELECT decode(full_name, email) FROM users
SELECT to_date(email, 'YYYY-MM-DD'), to_timestamp(notes, 'HH') FROM users
SELECT to_number(full_name, '9') FROM users
SELECT 'a' ~ email FROM users
SELECT 'a' ~ ('(' || email) FROM users
SELECT 'x' LIKE (email || '\') FROM users
SELECT regexp_replace('a', 'a', 'x', full_name) FROM users
SELECT extract(email FROM now()) FROM users
SELECT date_part(full_name, now()), date_trunc(notes, now()) FROM users
SELECT now() AT TIME ZONE email FROM users
SELECT jsonb_path_query('{}', email::jsonpath) FROM users
SELECT email::json FROM users
SELECT xmlparse(DOCUMENT email) FROM users
SELECT xpath(full_name, '<a/>') FROM users
SELECT email::tsquery, to_tsquery('a & ' || notes) FROM users
SELECT email::uuid, email::inet, email::macaddr, email::point, email::bit(3), email::oid, email::numeric, email::money, email::date, email::timestamptz, email::interval, email::bytea FROM users
SELECT ('{' || email)::text[], ('[' || full_name)::int4range FROM users
SELECT notes::"char", notes::name, notes::xid, notes::pg_lsn, notes::txid_snapshot FROM users
SELECT email::public.level FROM users
SELECT secret_no::integer FROM users
SELECT balance::smallint FROM users
SELECT balance::numeric(4, 2) FROM users
SELECT born::text::integer FROM users
SELECT chr(secret_no::integer % 100) FROM users
SELECT repeat('a', (secret_no % 10)::integer), lpad('', 5, email) FROM users
SELECT sqrt(-balance), ln(-secret_no), 1 / (balance - balance), power(balance, balance) FROM users
SELECT make_date(secret_no::text::integer, 1, 1) FROM users
SELECT born + secret_no::text::integer FROM users
SELECT born::timestamp + (balance || ' years')::interval FROM users
SELECT width_bucket(balance, 0, 0, 1) FROM users
SELECT factorial(secret_no) FROM users WHERE id = 0
SELECT gcd(secret_no, -9223372036854775808) FROM users
SELECT string_to_table(email, '@'), array_fill(email, ARRAY[2]), array_cat(tags, ARRAY[[1]]::text[]) FROM users
SELECT tags[1:2][5], array_lower(tags, secret_no::int) FROM users
SELECT photo::text, substr(photo, 1, 5), set_bit(photo, 100000, 1) FROM users
SELECT convert_from(photo, 'EUC_JP'), convert_from(photo || '\xff', 'UTF8') FROM users
SELECT email::char(5), email::varchar(3), full_name::character varying(4)::text::public.national_id FROM users
SELECT CASE WHEN email > '' THEN 1 / 0 END FROM users
SELECT normalize(email, NFC), email IS NFC NORMALIZED, unistr('\' || email) FROM users
SELECT parse_ident(email) FROM users
SELECT parse_ident('"' || full_name) FROM users
SELECT pg_input_is_valid(email, 'integer'), pg_input_error_info(email, 'integer') FROM users
