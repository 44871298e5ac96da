
-- number ----------------------------------------------------------------------------------------------------------

-- How many digits there are before the point, at most 30 of them; 0 has one.
CREATE OR REPLACE FUNCTION devinprod.mask_digits(value numeric) RETURNS integer IMMUTABLE PARALLEL SAFE
RETURN least(length(trunc(abs(value))::text), 30);

CREATE OR REPLACE FUNCTION devinprod.mask_power(digits integer) RETURNS numeric IMMUTABLE PARALLEL SAFE
RETURN ('1' || repeat('0', digits))::numeric;

CREATE OR REPLACE FUNCTION devinprod.mask_step(scale integer) RETURNS numeric IMMUTABLE PARALLEL SAFE
RETURN ('1e-' || scale)::numeric;

-- Between low and high, both among the possible ones; 96 bits decide.
CREATE OR REPLACE FUNCTION devinprod.mask_between(digest bytea, low numeric, high numeric, scale integer) RETURNS numeric
    IMMUTABLE PARALLEL SAFE
RETURN least(high, trunc(low + (high - low + devinprod.mask_step(scale))
    * (devinprod.mask_u48(digest, 0) * 281474976710656::numeric + devinprod.mask_u48(digest, 6))
    / 79228162514264337593543950336::numeric, scale));

CREATE OR REPLACE FUNCTION devinprod.mask_number_of(digest bytea, value numeric, digits integer, scale integer, most numeric)
    RETURNS numeric IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IN ('NaN', 'Infinity', '-Infinity') THEN value
    ELSE CASE WHEN value < 0 THEN -1 ELSE 1 END * devinprod.mask_between(digest,
        CASE WHEN digits = 1 THEN 0 ELSE least(devinprod.mask_power(digits - 1), trunc(most / 10)) END,
        least(devinprod.mask_power(digits) - devinprod.mask_step(scale), most), scale) END;

CREATE OR REPLACE FUNCTION devinprod.mask_number_text(value numeric) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN trim_scale(value)::text;

CREATE OR REPLACE FUNCTION devinprod.mask_number(value numeric, key bytea, scale integer, most numeric) RETURNS numeric
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('number', devinprod.mask_number_text(value), key);
    digits pg_catalog.int4 := devinprod.mask_digits(value);
BEGIN
    RETURN devinprod.mask_number_of(digest, value, digits, scale, most);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_number(numeric, bytea, integer, numeric) IS
    'Another number of the same sign and as many digits before the point; NaN and infinity stay.';

CREATE OR REPLACE FUNCTION devinprod.mask_number(value numeric, key bytea, low numeric, high numeric, scale integer)
    RETURNS numeric LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('number', devinprod.mask_number_text(value), key);
BEGIN
    RETURN devinprod.mask_between(digest, low, high, scale);
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

-- A permutation of 0 … 2^bits - 1: a Feistel network of eight rounds. Two values never become one.
CREATE OR REPLACE FUNCTION devinprod.mask_feistel_round(half bigint, round integer, bits integer, key bytea) RETURNS bigint
    STABLE PARALLEL SAFE
RETURN devinprod.mask_u48(devinprod.mask_digest('permutation', round || ':' || half, key), 0) & ((1::bigint << bits) - 1);

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
BEGIN
    FOR round IN 1..8 LOOP
        IF round % 2 = 1 THEN
            left_half := left_half # devinprod.mask_feistel_round(right_half, round, left_bits, key);
        ELSE
            right_half := right_half # devinprod.mask_feistel_round(left_half, round, right_bits, key);
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
