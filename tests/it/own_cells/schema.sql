-- Tables in which each masked cell begins with REAL, in all the shapes that have fooled a note about who wrote a cell.

CREATE TABLE users (
    id bigint PRIMARY KEY, email varchar(254) UNIQUE NOT NULL, full_name text NOT NULL, phone text, born date,
    balance numeric(12, 2), city text
);
INSERT INTO users SELECT n, 'REAL email ' || n, 'REAL name ' || n, 'REAL phone ' || n, date '1980-01-01' + n, n * 3.5, 'c'
FROM generate_series(1, 60) n;

CREATE TABLE docs (id int PRIMARY KEY, doc jsonb, tags text[], place point, pair int4range, c text);
INSERT INTO docs SELECT n, jsonb_build_object('ssn', 'REAL ' || n, 'x', 1), ARRAY['REAL ' || n, 'b'], point(n, n),
    int4range(n, n + 1), 'c' FROM generate_series(1, 9) n;

-- Columns stand in another order in one partition, and another is partitioned again.
CREATE TABLE people (id int, region text, email text, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE people_eu PARTITION OF people FOR VALUES IN ('eu');
CREATE TABLE people_us (note text, email text, gone int, region text NOT NULL, id int NOT NULL);
ALTER TABLE people_us DROP COLUMN gone;
ALTER TABLE people ATTACH PARTITION people_us FOR VALUES IN ('us');
CREATE TABLE people_other PARTITION OF people DEFAULT PARTITION BY LIST (region);
CREATE TABLE people_rest PARTITION OF people_other DEFAULT;
INSERT INTO people SELECT n, (ARRAY['eu', 'us', 'xx'])[1 + n % 3], 'REAL email ' || n, 'REAL note ' || n
FROM generate_series(1, 60) n;

CREATE TABLE generated (id int PRIMARY KEY, email text, low text GENERATED ALWAYS AS ('REAL' || lower(email)) STORED, c text);
INSERT INTO generated (id, email) SELECT n, 'REAL email ' || n FROM generate_series(1, 9) n;

-- What a trigger copies, and what a rule copies.
CREATE TABLE copied (email text);
CREATE FUNCTION copy_old() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.copied VALUES (OLD.email);
    RETURN NULL;
END $$;
CREATE TABLE watched (id int PRIMARY KEY, email text, c text);
INSERT INTO watched SELECT n, 'REAL email ' || n FROM generate_series(1, 9) n;
CREATE TRIGGER copies AFTER UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION copy_old();
CREATE TABLE ruled_copy (id int, email text);
CREATE TABLE ruled (id int PRIMARY KEY, email text, c text);
INSERT INTO ruled SELECT n, 'REAL email ' || n FROM generate_series(1, 9) n;
CREATE RULE copies AS ON UPDATE TO ruled DO ALSO INSERT INTO ruled_copy VALUES (OLD.id, OLD.email);

-- A trigger that puts the old value back, and one that harms nobody.
CREATE FUNCTION put_back() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.email := OLD.email;
    RETURN NEW;
END $$;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.c := 'stamped';
    RETURN NEW;
END $$;
CREATE TABLE put_back (id int PRIMARY KEY, email text, other text, c text);
INSERT INTO put_back SELECT n, 'REAL email ' || n, 'REAL other ' || n FROM generate_series(1, 9) n;
CREATE TRIGGER puts_back BEFORE UPDATE ON put_back FOR EACH ROW EXECUTE FUNCTION put_back();
CREATE TABLE stamped (id int PRIMARY KEY, email text, c text);
INSERT INTO stamped SELECT n, 'REAL email ' || n FROM generate_series(1, 9) n;
CREATE TRIGGER stamps BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();

CREATE TABLE parent (email text PRIMARY KEY, c text);
INSERT INTO parent SELECT 'REAL email ' || n, 'c' || n FROM generate_series(1, 9) n;
CREATE TABLE child (id int PRIMARY KEY, email text REFERENCES parent ON UPDATE CASCADE);
INSERT INTO child SELECT n, 'REAL email ' || n FROM generate_series(1, 9) n;

-- A default that calls the application, and one that does not.
CREATE FUNCTION secret() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ SELECT email::text FROM public.users WHERE id = 1 $$;
CREATE TABLE defaults (id int PRIMARY KEY, email text DEFAULT secret(), phone text DEFAULT 'mine by default');

CREATE TABLE keyless (email text, c text);
INSERT INTO keyless SELECT 'REAL email ' || n, 'c' || n FROM generate_series(1, 9) n;

-- A key that is only checked at COMMIT: many rows may have it until then.
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, email text, c text);
INSERT INTO deferred SELECT n, 'REAL email ' || n FROM generate_series(1, 9) n;

-- Children of a plain table have no triggers of it, and no key in common.
CREATE TABLE base (id int PRIMARY KEY, email text, c text);
INSERT INTO base SELECT n, 'REAL email ' || n FROM generate_series(1, 5) n;
CREATE TABLE derived (extra text) INHERITS (base);
INSERT INTO derived SELECT n, 'REAL email ' || n, 'c', 'REAL extra ' || n FROM generate_series(6, 9) n;

-- Code that runs with its owner's rights, which the policy lets developers call.
CREATE FUNCTION give(to_id int, from_id int) RETURNS void LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.users SET phone = (SELECT email FROM public.users WHERE id = from_id) WHERE id = to_id $$;
CREATE FUNCTION double(of_id int) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ INSERT INTO public.users SELECT id + 1000, 'REAL double ' || id, full_name FROM public.users WHERE id = of_id $$;
CREATE FUNCTION wipe() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ TRUNCATE public.keyless $$;
