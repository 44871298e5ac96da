-- as it is
SELECT @column@ FROM @table@
-- all of it
SELECT * FROM @table@
-- the whole row
SELECT t FROM @table@ AS t
-- the whole row as text
SELECT t::text FROM @table@ AS t
-- row to json
SELECT row_to_json(t), to_jsonb(t) FROM @table@ AS t
-- aggregated to json
SELECT json_agg(t) FROM @table@ AS t
-- as base64
SELECT encode(convert_to(@column@::text, 'UTF8'), 'base64') FROM @table@
-- as hex
SELECT encode(convert_to(t::text, 'UTF8'), 'hex') FROM @table@ AS t
-- backwards
SELECT reverse(@column@::text) FROM @table@
-- louder
SELECT upper(@column@::text) FROM @table@
-- a digest
SELECT md5(@column@::text) FROM @table@
-- a cast that fails
SELECT @column@::text::integer FROM @table@
-- a cast that fails in a condition
SELECT 1 FROM @table@ WHERE @column@::text::boolean
-- a cast to a type that does not read it
SELECT 1 FROM @table@ WHERE ('1' || @column@::text)::interval > '1 day'
-- sorted and grouped
SELECT @column@::text, count(*) FROM @table@ GROUP BY 1 ORDER BY 1
-- the greatest
SELECT max(@column@::text), string_agg(@column@::text, ',') FROM @table@
-- in a sub-query
SELECT (SELECT s.@column@::text FROM @table@ AS s LIMIT 1)
-- LATERAL
SELECT l.* FROM @table@ AS t, LATERAL (SELECT t.@column@, t) AS l
-- a common table expression
WITH c AS MATERIALIZED (TABLE @table@) SELECT c.@column@ FROM c
-- TABLE
TABLE @table@
-- ONLY
SELECT @column@ FROM ONLY @table@
-- joined with itself
SELECT a.@column@ FROM @table@ AS a JOIN @table@ AS b USING (@column@)
-- natural
SELECT * FROM @table@ AS a NATURAL JOIN @table@ AS b
-- a set operation
SELECT @column@::text FROM @table@ UNION ALL SELECT @column@::text FROM @table@ EXCEPT SELECT NULL
-- a sample
SELECT @column@ FROM @table@ TABLESAMPLE system (100)
-- locked
SELECT @column@ FROM @table@ FOR UPDATE
-- a window
SELECT first_value(@column@::text) OVER (ORDER BY @other@) FROM @table@
-- COPY
COPY @table@ TO STDOUT
-- COPY of a column
COPY @table@ (@column@) TO STDOUT WITH (FORMAT csv)
-- COPY in binary
COPY (SELECT @column@ FROM @table@) TO STDOUT WITH (FORMAT binary)
-- to XML
SELECT table_to_xml('@table@'::regclass, true, false, '')
-- a query in a string
SELECT query_to_xml('SELECT @column@ FROM @table@', true, false, '')
-- a condition that tells
SELECT 1 / (length(@column@::text) - length(@column@::text)) FROM @table@
-- everything in order
EXPLAIN (ANALYZE, VERBOSE, COSTS off) SELECT @column@ FROM @table@ WHERE @column@::text > 'h'
-- RETURNING of an update
UPDATE @table@ SET @other@ = @other@ RETURNING @column@
-- RETURNING of everything
UPDATE @table@ SET @other@ = @other@ RETURNING *
-- deleted and told
DELETE FROM @table@ RETURNING @column@
-- deleted as a row
DELETE FROM @table@ AS t RETURNING t
-- moved over
INSERT INTO @table@ (@column@) SELECT @column@ FROM @table@ RETURNING @column@
-- itself again
UPDATE @table@ SET @column@ = @column@ RETURNING @column@
-- as a default
UPDATE @table@ SET @column@ = DEFAULT RETURNING @column@
-- a null that is refused
UPDATE @table@ SET @other@ = NULL
-- a statistic
SELECT s::text FROM pg_stats AS s WHERE format('%I.%I', schemaname, tablename)::regclass = '@table@'::regclass
-- INSERT that returns a row of its own
INSERT INTO @table@ DEFAULT VALUES RETURNING *
-- a merge
MERGE INTO @table@ AS t USING @table@ AS s ON t.@other@ = s.@other@ WHEN MATCHED THEN UPDATE SET @column@ = s.@column@
-- a DO block that tells
DO $$ DECLARE r record; BEGIN FOR r IN SELECT @column@ AS c FROM @table@ LOOP RAISE NOTICE 'is %', r.c; END LOOP; END $$
-- kept in a temporary table
CREATE TEMP TABLE kept AS SELECT @column@ FROM @table@
TABLE kept
-- kept by SELECT INTO
SELECT * INTO TEMP kept FROM @table@
SELECT kept::text FROM kept
-- a cursor
DECLARE c SCROLL CURSOR FOR SELECT * FROM @table@
FETCH ALL FROM c
FETCH BACKWARD ALL FROM c
-- prepared
PREPARE p AS SELECT @column@ FROM @table@
EXECUTE p
-- touched, then read
UPDATE @table@ SET @other@ = @other@
SELECT * FROM @table@
-- a view of one's own
CREATE VIEW mine AS SELECT @column@ AS c FROM @table@
SELECT c FROM mine
COPY (TABLE mine) TO STDOUT
-- a function of one's own
CREATE FUNCTION tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
    $$ BEGIN RAISE NOTICE 'told %', $1; RETURN true; END $$
SELECT 1 FROM @table@ WHERE tell(@column@::text)
SELECT 1 FROM @table@ AS t WHERE tell(t::text)
-- moved through a setting
SELECT set_config('mine.value', @column@::text, false) FROM @table@
SELECT current_setting('mine.value')
-- a rule on a view of one's own
CREATE VIEW mine AS SELECT @other@ AS c FROM @table@
CREATE RULE tell AS ON UPDATE TO mine DO INSTEAD SELECT * FROM @table@
UPDATE mine SET c = c
-- a function in the place of a column
CREATE FUNCTION peek(@table@) RETURNS text LANGUAGE sql AS $$ SELECT $1::text $$
SELECT t.peek FROM @table@ AS t
-- inherited from
CREATE TABLE mine () INHERITS (@table@)
SELECT * FROM @table@
-- made like
CREATE TABLE mine (LIKE @table@ INCLUDING ALL)
INSERT INTO mine SELECT * FROM @table@
TABLE mine
-- a foreign key to it
CREATE TABLE mine (c text REFERENCES @table@ (@column@))
-- a trigger on it
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'old %', OLD; RETURN NEW; END $$
CREATE TRIGGER spy BEFORE UPDATE ON @table@ FOR EACH ROW EXECUTE FUNCTION spy()
UPDATE @table@ SET @other@ = @other@
-- a rule on it
CREATE RULE spy AS ON UPDATE TO @table@ DO ALSO SELECT OLD.*
UPDATE @table@ SET @other@ = @other@
-- a policy on it
CREATE POLICY spy ON @table@ USING (true)
-- written over and taken back
SAVEPOINT mine
UPDATE @table@ SET @column@ = NULL
ROLLBACK TO mine
SELECT * FROM @table@
-- deleted and made again under its key
DELETE FROM @table@ WHERE false
INSERT INTO @table@ (@other@) SELECT @other@ FROM @table@ ON CONFLICT DO NOTHING
SELECT * FROM @table@
