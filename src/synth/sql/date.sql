
-- date ------------------------------------------------------------------------------------------------------------

-- A way of 1 to `most` steps, there or back.
CREATE OR REPLACE FUNCTION devinprod.mask_steps(digest bytea, most bigint) RETURNS bigint IMMUTABLE PARALLEL SAFE
RETURN (1 + devinprod.mask_u48(digest, 0) % most) * CASE WHEN get_byte(digest, 6) < 128 THEN 1 ELSE -1 END;

CREATE OR REPLACE FUNCTION devinprod.mask_date_of(digest bytea, value date, days integer) RETURNS date IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN NOT isfinite(value) THEN value
    WHEN value BETWEEN '0101-01-01' AND '9898-12-31' THEN value + devinprod.mask_steps(digest, days)::integer
    ELSE date '2000-01-01' + devinprod.mask_u24(digest, 8) % 3653 END;

CREATE OR REPLACE FUNCTION devinprod.mask_date(value date, key bytea, days integer) RETURNS date
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('date', pg_catalog.date_send(value), key);
BEGIN
    RETURN devinprod.mask_date_of(digest, value, days);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_date(date, bytea, integer) IS 'Another day, at most so many days away; infinity stays.';

CREATE OR REPLACE FUNCTION devinprod.mask_timestamp_of(digest bytea, value timestamp, days integer) RETURNS timestamp
    IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN NOT isfinite(value) THEN value
    WHEN value BETWEEN '0101-01-01' AND '9898-12-31'
    THEN date_trunc('second', value) + interval '1 second' * devinprod.mask_steps(digest, days::bigint * 86400)
    ELSE timestamp '2000-01-01' + interval '1 second' * (devinprod.mask_u48(digest, 8) % 315619200) END;

CREATE OR REPLACE FUNCTION devinprod.mask_timestamp(value timestamp, key bytea, days integer) RETURNS timestamp
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('date', pg_catalog.timestamp_send(value), key);
BEGIN
    RETURN devinprod.mask_timestamp_of(digest, value, days);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_timestamp(timestamp, bytea, integer) IS
    'Another second, at most so many days away; infinity stays.';

-- A timestamptz is moved as its UTC time is, so the session's time zone does not matter.
CREATE OR REPLACE FUNCTION devinprod.mask_timestamp(value timestamptz, key bytea, days integer) RETURNS timestamptz
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('date', pg_catalog.timestamptz_send(value), key);
BEGIN
    RETURN pg_catalog.timezone('UTC', devinprod.mask_timestamp_of(digest, pg_catalog.timezone('UTC', value), days));
END
$mask$;

-- date_shift ------------------------------------------------------------------------------------------------------

-- All dates of one subject move by the same number of days, so that what lies between them stays.
CREATE OR REPLACE FUNCTION devinprod.mask_date_shift(value date, subject text, key bytea, days integer) RETURNS date
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('date_shift', subject, key);
BEGIN
    RETURN devinprod.mask_date_of(digest, value, days);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_date_shift(date, text, bytea, integer) IS
    'Moved by as many days as all dates of its subject; infinity stays.';

CREATE OR REPLACE FUNCTION devinprod.mask_timestamp_shift_of(digest bytea, value timestamp, days integer) RETURNS timestamp
    IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN NOT isfinite(value) THEN value
    WHEN value BETWEEN '0101-01-01' AND '9898-12-31'
    THEN value + interval '1 day' * devinprod.mask_steps(digest, days)
    ELSE timestamp '2000-01-01' + interval '1 second' * (devinprod.mask_u48(digest, 8) % 315619200) END;

CREATE OR REPLACE FUNCTION devinprod.mask_date_shift(value timestamp, subject text, key bytea, days integer) RETURNS timestamp
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('date_shift', subject, key);
BEGIN
    RETURN devinprod.mask_timestamp_shift_of(digest, value, days);
END
$mask$;
CREATE OR REPLACE FUNCTION devinprod.mask_date_shift(value timestamptz, subject text, key bytea, days integer) RETURNS timestamptz
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('date_shift', subject, key);
BEGIN
    RETURN pg_catalog.timezone('UTC', devinprod.mask_timestamp_shift_of(digest, pg_catalog.timezone('UTC', value), days));
END
$mask$;

-- date_coarse -----------------------------------------------------------------------------------------------------

-- In UTC, whatever the session's time zone: somebody who could choose where days begin would find the moment.
CREATE OR REPLACE FUNCTION devinprod.mask_date_coarse(value timestamp, unit text) RETURNS timestamp IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN NOT isfinite(value) THEN value
    WHEN value BETWEEN '0101-01-01' AND '9898-12-31' THEN date_trunc(unit, value)
    WHEN value IS NOT NULL THEN timestamp '2000-01-01' END;
CREATE OR REPLACE FUNCTION devinprod.mask_date_coarse(value date, unit text) RETURNS date IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN NOT isfinite(value) THEN value
    WHEN value BETWEEN '0101-01-01' AND '9898-12-31' THEN date_trunc(unit, value::timestamp)::date
    WHEN value IS NOT NULL THEN date '2000-01-01' END;
CREATE OR REPLACE FUNCTION devinprod.mask_date_coarse(value timestamptz, unit text) RETURNS timestamptz IMMUTABLE PARALLEL SAFE
RETURN timezone('UTC', devinprod.mask_date_coarse(timezone('UTC', value), unit));
COMMENT ON FUNCTION devinprod.mask_date_coarse(timestamptz, text) IS 'The beginning of its year, month and so on, in UTC; infinity stays.';
