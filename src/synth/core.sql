
-- email -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_email_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN lower(devinprod.mask_pick(devinprod.mask_first_names_en(), devinprod.mask_u24(digest, 0)) COLLATE "C") || '.'
    || lower(devinprod.mask_pick(devinprod.mask_last_names_en(), devinprod.mask_u24(digest, 3)) COLLATE "C") || '.'
    || devinprod.mask_hex(digest, 6, 12) || '@example.' || (ARRAY['com', 'net', 'org'])[1 + get_byte(digest, 12) % 3];

CREATE OR REPLACE FUNCTION devinprod.mask_email(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('email', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_email_of(digest);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_email(text, bytea) IS 'ada.lovelace.0123456789ab@example.com: 48 bits and a name.';

CREATE OR REPLACE FUNCTION devinprod.mask_email(value text, key bytea, longest integer) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('email', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_short_email_of(digest, longest);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_email(text, bytea, integer) IS 'For a short column: 0123456789abcdef@example.com.';

CREATE OR REPLACE FUNCTION devinprod.mask_short_email_of(digest bytea, longest integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN devinprod.mask_hex(digest, 6, least(greatest(longest - 12, 1), 24)) || '@example.com';

-- phone -----------------------------------------------------------------------------------------------------------

-- Is it written as phone numbers are: 7 to 14 digits and what people put between them?
CREATE OR REPLACE FUNCTION devinprod.mask_is_phone(value text) RETURNS boolean IMMUTABLE PARALLEL SAFE
RETURN length(value) <= 24 AND value COLLATE "C" ~ '^[+]?[(]?[0-9]([ ()./-]{0,2}[0-9]){6,13}$';

-- The part of it that is kept: the country's code, as far as it can be told, or the leading zero.
CREATE OR REPLACE FUNCTION devinprod.mask_phone_prefix(value text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN coalesce(substring(value COLLATE "C" FROM '^(?:[+][0-9]{1,3}[ ./-]|[+][17]|[+][0-9]{2}|00[0-9]{2}|0)'), '');

CREATE OR REPLACE FUNCTION devinprod.mask_phone_digits(value text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN translate(value, ' ()./-', '');

CREATE OR REPLACE FUNCTION devinprod.mask_phone_rest(value text, prefix text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN substr(value, length(prefix) + 1);

-- As many digits as there were, the first of them 2 to 9, and between them what was there.
CREATE OR REPLACE FUNCTION devinprod.mask_phone_of(digest bytea, prefix text, rest text) RETURNS text STABLE PARALLEL SAFE
RETURN prefix || to_char(
    left((2 + get_byte(digest, 0) % 8)::text || lpad((devinprod.mask_u48(digest, 1) % 10000000000000)::text, 13, '0'),
        length(devinprod.mask_phone_digits(rest)))::bigint,
    'FM' || regexp_replace(regexp_replace(rest COLLATE "C", '[^0-9]+', '"\&"', 'g'), '[0-9]', '0', 'g'));

CREATE OR REPLACE FUNCTION devinprod.mask_any_phone_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN '+999' || lpad((devinprod.mask_u48(digest, 1) % 100000000000)::text, 11, '0');

CREATE OR REPLACE FUNCTION devinprod.mask_phone(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    folded pg_catalog.text := devinprod.mask_fold(value);
    digest pg_catalog.bytea := devinprod.mask_digest('phone', devinprod.mask_phone_digits(folded), key);
    prefix pg_catalog.text;
BEGIN
    IF devinprod.mask_is_phone(folded) THEN
        prefix := devinprod.mask_phone_prefix(folded);
        RETURN devinprod.mask_phone_of(digest, prefix, devinprod.mask_phone_rest(folded, prefix));
    END IF;
    RETURN devinprod.mask_any_phone_of(digest);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_phone(text, bytea) IS
    'Keeps the country''s code and the layout of what looks like a phone number; anything else becomes +999 and 11 digits.';

CREATE OR REPLACE FUNCTION devinprod.mask_unique_phone(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('phone', devinprod.mask_phone_digits(devinprod.mask_fold(value)), key);
BEGIN
    RETURN devinprod.mask_any_phone_of(digest);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_unique_phone(text, bytea) IS '+999, which is no country''s code, and 11 digits.';

-- card ------------------------------------------------------------------------------------------------------------

-- Of 15 digits, which one makes them pass the Luhn check.
CREATE OR REPLACE FUNCTION devinprod.mask_luhn_digit(number bigint) RETURNS integer IMMUTABLE PARALLEL SAFE
RETURN (10 - (@luhn@) % 10)::integer % 10;

-- 4000, as test cards of a well-known scheme begin, eleven digits, and the check digit.
CREATE OR REPLACE FUNCTION devinprod.mask_card_start(digest bytea) RETURNS bigint IMMUTABLE PARALLEL SAFE
RETURN 400000000000000 + devinprod.mask_u48(digest, 0) % 100000000000;

CREATE OR REPLACE FUNCTION devinprod.mask_card_of(start bigint, separator text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN regexp_replace((start * 10 + devinprod.mask_luhn_digit(start))::text, '(\d{4})(?=\d)', '\1' || separator, 'g');

CREATE OR REPLACE FUNCTION devinprod.mask_card_separator(value text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN strpos(value, ' ') > 0 THEN ' ' WHEN strpos(value, '-') > 0 THEN '-' ELSE '' END;

CREATE OR REPLACE FUNCTION devinprod.mask_card_digits(value text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN translate(value, ' -', '');

CREATE OR REPLACE FUNCTION devinprod.mask_card(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    folded pg_catalog.text := devinprod.mask_fold(value);
    digest pg_catalog.bytea := devinprod.mask_digest('card', devinprod.mask_card_digits(folded), key);
    start pg_catalog.int8 := devinprod.mask_card_start(digest);
BEGIN
    RETURN devinprod.mask_card_of(start, devinprod.mask_card_separator(folded));
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_card(text, bytea) IS
    '16 digits that pass the Luhn check, in groups of four if the real ones are.';

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
        CASE WHEN digits = 1 THEN 0 ELSE devinprod.mask_power(digits - 1) END,
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

-- text ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_words_of(digest bytea, at integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN devinprod.mask_pick(devinprod.mask_lorem(), devinprod.mask_u24(digest, at));

CREATE OR REPLACE FUNCTION devinprod.mask_text_of(digest bytea, size integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN upper(left(devinprod.mask_words_of(digest, 0), 1) COLLATE "C") || substr(devinprod.mask_words_of(digest, 0), 2)
    || ' ' || devinprod.mask_words_of(digest, 3)
    || CASE WHEN size < 40 THEN '' ELSE ' ' || devinprod.mask_words_of(digest, 6)
        || ' ' || devinprod.mask_words_of(digest, 9) || ', ' || devinprod.mask_words_of(digest, 12) END
    || CASE WHEN size < 200 THEN '' ELSE ' ' || devinprod.mask_words_of(digest, 15)
        || ' ' || devinprod.mask_words_of(digest, 18) || ', ' || devinprod.mask_words_of(digest, 21)
        || ' ' || devinprod.mask_words_of(digest, 24) || ' ' || devinprod.mask_words_of(digest, 27) END
    || '.';

CREATE OR REPLACE FUNCTION devinprod.mask_size(value text) RETURNS integer IMMUTABLE PARALLEL SAFE
RETURN length(left(value, 200));

CREATE OR REPLACE FUNCTION devinprod.mask_text(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('text', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_text_of(digest, devinprod.mask_size(value));
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_text(text, bytea) IS
    '4, 10 or 20 Latin words: up to 39 characters, up to 199, or more.';
