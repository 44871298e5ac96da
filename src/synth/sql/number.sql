
-- number ----------------------------------------------------------------------------------------------------------

-- How many digits there are before the point, at most 30 of them; 0 has one.
CREATE OR REPLACE FUNCTION devinprod.mask_digits(value numeric) RETURNS integer IMMUTABLE PARALLEL SAFE
RETURN least(length(trunc(abs(value))::text), 30);

CREATE OR REPLACE FUNCTION devinprod.mask_power(digits integer) RETURNS numeric IMMUTABLE PARALLEL SAFE
RETURN ('1' || repeat('0', digits))::numeric;

CREATE OR REPLACE FUNCTION devinprod.mask_step(scale integer) RETURNS numeric IMMUTABLE PARALLEL SAFE
RETURN ('1e-' || scale)::numeric;

-- A number from 0 to 1, without 1; 96 bits decide.
CREATE OR REPLACE FUNCTION devinprod.mask_fraction(digest bytea) RETURNS numeric IMMUTABLE PARALLEL SAFE
RETURN (devinprod.mask_u48(digest, 0) * 281474976710656::numeric + devinprod.mask_u48(digest, 6))
    / 79228162514264337593543950336::numeric;

-- Between low and high, both among the possible ones.
CREATE OR REPLACE FUNCTION devinprod.mask_between(fraction numeric, low numeric, high numeric, scale integer) RETURNS numeric
    IMMUTABLE PARALLEL SAFE
RETURN least(high, trunc(low + (high - low + devinprod.mask_step(scale)) * fraction, scale));

-- The least and the greatest number of so many digits, and of those that the type holds.
CREATE OR REPLACE FUNCTION devinprod.mask_lowest(digits integer, most numeric) RETURNS numeric IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN digits = 1 THEN 0 ELSE least(devinprod.mask_power(digits - 1), trunc(most / 10)) END;
CREATE OR REPLACE FUNCTION devinprod.mask_highest(digits integer, scale integer, most numeric) RETURNS numeric
    IMMUTABLE PARALLEL SAFE
RETURN least(devinprod.mask_power(digits) - devinprod.mask_step(scale), most);

CREATE OR REPLACE FUNCTION devinprod.mask_number_of(fraction numeric, value numeric, low numeric, high numeric, scale integer)
    RETURNS numeric IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IN ('NaN', 'Infinity', '-Infinity') THEN value
    WHEN value < 0 THEN -devinprod.mask_between(fraction, low, high, scale)
    ELSE devinprod.mask_between(fraction, low, high, scale) END;

CREATE OR REPLACE FUNCTION devinprod.mask_number_text(value numeric) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN trim_scale(value)::text;

CREATE OR REPLACE FUNCTION devinprod.mask_number(value numeric, key bytea, scale integer, most numeric) RETURNS numeric
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('number', devinprod.mask_number_text(value), key);
    fraction pg_catalog.numeric := devinprod.mask_fraction(digest);
    digits pg_catalog.int4 := devinprod.mask_digits(value);
    low pg_catalog.numeric := devinprod.mask_lowest(digits, most);
    high pg_catalog.numeric := devinprod.mask_highest(digits, scale, most);
BEGIN
    RETURN devinprod.mask_number_of(fraction, value, low, high, scale);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_number(numeric, bytea, integer, numeric) IS
    'Another number of the same sign and as many digits before the point; NaN and infinity stay.';

CREATE OR REPLACE FUNCTION devinprod.mask_number(value numeric, key bytea, low numeric, high numeric, scale integer)
    RETURNS numeric LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('number', devinprod.mask_number_text(value), key);
    fraction pg_catalog.numeric := devinprod.mask_fraction(digest);
BEGIN
    RETURN devinprod.mask_between(fraction, low, high, scale);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_number(numeric, bytea, numeric, numeric, integer) IS 'A number between two others.';

-- number_bucket ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_number_bucket(value numeric, size numeric, most numeric) RETURNS numeric
    IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IN ('NaN', 'Infinity', '-Infinity') THEN value
    WHEN value IS NOT NULL THEN greatest(least(floor(value / size) * size, most), -most) END;
COMMENT ON FUNCTION devinprod.mask_number_bucket(numeric, numeric, numeric) IS
    'The next multiple of size that is not above the value; NaN and infinity stay.';

-- Integers of a unique column ---------------------------------------------------------------------------------------

-- A permutation of 0 to 2^bits - 1: a Feistel network of eight rounds. Two values never become one.
CREATE OR REPLACE FUNCTION devinprod.mask_unique_number(value bigint, key bytea, bits integer) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $mask$
DECLARE
    -- A negative number stays negative; its complement is permuted.
    number bigint := CASE WHEN value < 0 THEN ~value ELSE value END;
    right_bits integer := bits / 2;
    left_bits integer := bits - right_bits;
    left_half bigint := number >> right_bits;
    right_half bigint := number & ((1::bigint << right_bits) - 1);
    digest bytea;
BEGIN
    FOR round IN 1..8 LOOP
        IF round % 2 = 1 THEN
            digest := devinprod.mask_digest('permutation', round || ':' || right_half, key);
            left_half := left_half # (devinprod.mask_u48(digest, 0) & ((1::bigint << left_bits) - 1));
        ELSE
            digest := devinprod.mask_digest('permutation', round || ':' || left_half, key);
            right_half := right_half # (devinprod.mask_u48(digest, 0) & ((1::bigint << right_bits) - 1));
        END IF;
    END LOOP;
    number := (left_half << right_bits) | right_half;
    RETURN CASE WHEN value < 0 THEN ~number ELSE number END;
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_unique_number(bigint, bytea, integer) IS
    'Another integer of the same sign; two values never become the same one.';

-- enum ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_label_of(digest bytea, labels text[]) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN labels[1 + devinprod.mask_u24(digest, 0) % cardinality(labels)];

CREATE OR REPLACE FUNCTION devinprod.mask_label(value text, key bytea, labels text[]) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('enum', value, key);
BEGIN
    RETURN devinprod.mask_label_of(digest, labels);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_label(text, bytea, text[]) IS 'One of the labels.';

-- The label hangs on the subject alone, so it says nothing of the value.
CREATE OR REPLACE FUNCTION devinprod.mask_label(value text, subject text, key bytea, labels text[]) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('enum of', subject, key);
BEGIN
    RETURN devinprod.mask_label_of(digest, labels);
END
$mask$;
