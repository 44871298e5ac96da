
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

-- iban ------------------------------------------------------------------------------------------------------------

-- 18 digits, as many of them as a country's accounts have, or more zeros in front.
CREATE OR REPLACE FUNCTION devinprod.mask_account_of(digest bytea, digits integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN right(repeat('0', greatest(digits - 18, 0)) || lpad((devinprod.mask_u48(digest, 0) % 1000000000)::text, 9, '0')
    || lpad((devinprod.mask_u48(digest, 6) % 1000000000)::text, 9, '0'), digits);

-- The country as numbers: A is 10, Z is 35.
CREATE OR REPLACE FUNCTION devinprod.mask_iban_of(country text, account text, separator text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(country || lpad((98 - (account || (ascii(country) - 55) || (ascii(substr(country, 2)) - 55) || '00')::numeric
    % 97)::text, 2, '0') || account, '(.{4})(?=.)', '\1' || separator, 'g');

CREATE OR REPLACE FUNCTION devinprod.mask_iban(value text, key bytea, country text, digits integer) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    folded pg_catalog.text := devinprod.mask_fold(value);
    digest pg_catalog.bytea := devinprod.mask_digest('iban', devinprod.mask_card_digits(folded), key);
    account pg_catalog.text := devinprod.mask_account_of(digest, digits);
BEGIN
    RETURN devinprod.mask_iban_of(country, account, devinprod.mask_card_separator(folded));
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_iban(text, bytea, text, integer) IS
    'An IBAN of one country whose check digits are right, in groups of four if the real one is.';

-- national_id -----------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_national_id(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('national_id', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_shape_of(digest, value);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_national_id(text, bytea) IS
    'Each digit becomes a digit, each letter a letter, the layout stays; no checksum.';

-- Numbers that no authority gives out, and one that passes its check.
CREATE OR REPLACE FUNCTION devinprod.mask_ssn_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN regexp_replace('9' || lpad((devinprod.mask_u48(digest, 0) % 100000000)::text, 8, '0'), '^(...)(..)', '\1-\2-');
CREATE OR REPLACE FUNCTION devinprod.mask_nino_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN 'QQ' || lpad((devinprod.mask_u24(digest, 0) % 1000000)::text, 6, '0') || chr(65 + get_byte(digest, 3) % 4);
CREATE OR REPLACE FUNCTION devinprod.mask_dni_of(number integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN lpad(number::text, 8, '0') || substr('TRWAGMYFPDXBNJZSQVHLCKE', 1 + number % 23, 1);

CREATE OR REPLACE FUNCTION devinprod.mask_eight_digits(digest bytea) RETURNS integer IMMUTABLE PARALLEL SAFE
RETURN (devinprod.mask_u48(digest, 0) % 100000000)::integer;

CREATE OR REPLACE FUNCTION devinprod.mask_national_id(value text, key bytea, country text) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('national_id',
        devinprod.mask_card_digits(devinprod.mask_fold(value)), key);
    number pg_catalog.int4 := devinprod.mask_eight_digits(digest);
BEGIN
    RETURN devinprod.mask_national_id_of(country, digest, number);
END
$mask$;
CREATE OR REPLACE FUNCTION devinprod.mask_national_id_of(country text, digest bytea, number integer) RETURNS text
    IMMUTABLE PARALLEL SAFE
RETURN CASE country WHEN 'us' THEN devinprod.mask_ssn_of(digest) WHEN 'gb' THEN devinprod.mask_nino_of(digest)
    ELSE devinprod.mask_dni_of(number) END;
COMMENT ON FUNCTION devinprod.mask_national_id(text, bytea, text) IS
    'us: 9xx-xx-xxxx, which is never given out; gb: QQxxxxxxA, likewise; es: eight digits and the letter that checks them.';
