-- a check of the child fails inside of a cascade
UPDATE users SET id = -1 WHERE id = 1
UPDATE users SET id = -id
UPDATE users SET email = '' WHERE id = 2
UPDATE clinics SET id = -4 WHERE id = 4
INSERT INTO clinics VALUES (4, 'x') ON CONFLICT (id) DO UPDATE SET id = -4
MERGE INTO clinics c USING (SELECT 4 AS id) x ON c.id = x.id WHEN MATCHED THEN UPDATE SET id = -4
-- a child that must not be null
DELETE FROM users WHERE id = 1
DELETE FROM users
DELETE FROM clinics WHERE id = 1
DELETE FROM clinics
-- a unique of the child fails inside of a cascade
UPDATE clinics SET id = 100 + id
UPDATE clinics SET id = -id WHERE id = 2
DELETE FROM clinics WHERE id = 3
-- a code of the child runs inside of a cascade
CREATE SCHEMA evil
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE NOTICE 'lower as %: %', current_user, $1; RETURN $1; END $$
CREATE FUNCTION evil.length(text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE NOTICE 'length as %: %', current_user, $1; RETURN 5; END $$
GRANT ALL ON SCHEMA evil TO PUBLIC
SET search_path = evil, pg_catalog, public
UPDATE clinics SET id = 204 WHERE id = 4
UPDATE clinics SET id = 200 + id
UPDATE users SET id = 200 + id
DELETE FROM clinics WHERE id = 4
-- a trigger of the child fires after a cascade
DELETE FROM clinics WHERE id = 5
MERGE INTO clinics c USING (SELECT 5 AS id) x ON c.id = x.id WHEN MATCHED THEN DELETE
UPDATE clinics SET id = 300 + id
-- a row of the grandchild refers to what is hidden
DELETE FROM clinics WHERE id = 6
DELETE FROM users WHERE id = 3
-- a cascade and what is seen then
UPDATE users SET email = 'mine' || id || '@x'
SELECT user_email FROM orders
DELETE FROM users WHERE id = 4
SELECT user_email, note FROM orders
UPDATE users SET id = id + 50
SELECT * FROM orders
-- deferred
SET CONSTRAINTS ALL DEFERRED
DELETE FROM clinics
UPDATE clinics SET id = -id
SET CONSTRAINTS ALL IMMEDIATE
