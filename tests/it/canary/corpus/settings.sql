-- formats of dates
SET DateStyle = 'SQL, DMY'
SELECT * FROM users
SELECT born, seen, born::text FROM users
SET DateStyle = 'German'
SELECT * FROM users
SET DateStyle = 'Postgres, MDY'
SELECT * FROM users
UPDATE users SET born = born + 1
SELECT born FROM users
-- formats of numbers, bytes, intervals
SET bytea_output = 'escape'
SET extra_float_digits = -15
SET IntervalStyle = 'sql_standard'
SET xmlbinary = 'hex'
SET xmloption = 'document'
SET lc_monetary = 'C'
SET lc_numeric = 'C'
SET TimeZone = 'Pacific/Kiritimati'
SET quote_all_identifiers = on
SET array_nulls = off
SET transform_null_equals = on
SET backslash_quote = on
SET escape_string_warning = off
SELECT * FROM users
SELECT * FROM orders
SELECT * FROM events
UPDATE users SET notes = 'x' WHERE id = 1
SELECT * FROM users
-- strings as they were once
SET standard_conforming_strings = off
SELECT '\', email FROM users --'
SELECT 'a\' , email FROM users -- '
SELECT * FROM users WHERE notes = '\' OR email > '' -- '
-- another encoding
SET client_encoding = 'LATIN1'
SELECT * FROM users
SET client_encoding = 'SQL_ASCII'
SELECT * FROM users
SET client_encoding = 'SJIS'
SELECT email FROM users
SET NAMES 'EUC_KR'
SELECT email FROM users
SET client_encoding = 'UTF8'
-- the planner told what to do
SET enable_seqscan = off
SELECT id FROM users WHERE email = 'x'
SELECT * FROM users WHERE folded(full_name) = 'x'
SET enable_indexscan = off
SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan
PREPARE p AS SELECT * FROM users WHERE email = $1
EXECUTE p('x')
EXPLAIN ANALYZE EXECUTE p('x')
SET force_parallel_mode = on
SET debug_parallel_query = on
SET parallel_setup_cost = 0
SET min_parallel_table_scan_size = 0
SELECT email, count(*) FROM users GROUP BY 1
SET jit = on
SET jit_above_cost = 0
SELECT max(email) FROM users
SET from_collapse_limit = 1
SET join_collapse_limit = 1
SET geqo_threshold = 2
SELECT * FROM users u JOIN orders o ON u.email = o.user_email JOIN logins l ON l.email = u.email
-- row security told what to do
SET row_security = off
SELECT * FROM app.cases
SELECT secret FROM app.cases
-- old forms
SET sql_inheritance = off
SET default_with_oids = on
SET check_function_bodies = off
CREATE FUNCTION mine() RETURNS text LANGUAGE sql AS 'SELECT nothing FROM nowhere'
SET dynamic_library_path = '/tmp'
SET local_preload_libraries = 'x'
SET session_preload_libraries = 'auto_explain'
SET role = postgres
SET session_authorization = postgres
SELECT * FROM users
-- limits
SET work_mem = '64kB'
SET temp_file_limit = 0
SET statement_timeout = 1
SELECT count(*), max(a.email) FROM users a, users b, users c, users d, users e, users f, users g
SET statement_timeout = 0
SET lock_timeout = 1
SET log_lock_waits = on
SET client_min_messages = log
SELECT email FROM users FOR UPDATE
-- a setting of one's own with a function
SELECT set_config('mine.a', array_to_string(ARRAY(SELECT email FROM users), ','), false), current_setting('mine.a')
ALTER ROLE CURRENT_USER SET mine.x = 'y'
ALTER DATABASE CURRENT SET search_path = x
SHOW ALL
