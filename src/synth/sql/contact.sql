
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
RETURN coalesce(substring(value COLLATE "C" FROM '^(?:[+][0-9]{1,3}[ ./-]|[+][17]|[+][2-689][0-9]|00[0-9]{2}|0)'), '');

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

-- user_name, url ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_user_name_of(digest bytea, longest integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN left(lower(devinprod.mask_pick(devinprod.mask_first_names_en(), devinprod.mask_u24(digest, 0)) COLLATE "C"),
    greatest(longest - 11, 0)) || CASE WHEN longest > 11 THEN '_' ELSE '' END
    || devinprod.mask_hex(digest, 6, least(longest, 10));

CREATE OR REPLACE FUNCTION devinprod.mask_user_name(value text, key bytea, longest integer) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('user_name', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_user_name_of(digest, longest);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_user_name(text, bytea, integer) IS 'ada_0123456789: 40 bits, and a name if there is room.';

CREATE OR REPLACE FUNCTION devinprod.mask_url_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN 'https://example.' || (ARRAY['com', 'net', 'org'])[1 + get_byte(digest, 0) % 3] || '/' || devinprod.mask_hex(digest, 6, 12);

CREATE OR REPLACE FUNCTION devinprod.mask_url(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('url', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_url_of(digest);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_url(text, bytea) IS 'https://example.com/0123456789ab: 48 bits.';

-- street, city, postcode, country, company -------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_street_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN (1 + devinprod.mask_u24(digest, 0) % 9999) || ' '
    || devinprod.mask_pick(devinprod.mask_last_names_en(), devinprod.mask_u24(digest, 3)) || ' '
    || devinprod.mask_pick(devinprod.mask_street_kinds(), devinprod.mask_u24(digest, 6));

CREATE OR REPLACE FUNCTION devinprod.mask_street(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('street', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_street_of(digest);
END
$mask$;

CREATE OR REPLACE FUNCTION devinprod.mask_city_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN devinprod.mask_pick(devinprod.mask_cities(), devinprod.mask_u24(digest, 0));

CREATE OR REPLACE FUNCTION devinprod.mask_city(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('city', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_city_of(digest);
END
$mask$;

CREATE OR REPLACE FUNCTION devinprod.mask_postcode(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('postcode', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_shape_of(digest, value);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_postcode(text, bytea) IS 'Each digit becomes a digit, each letter a letter.';

CREATE OR REPLACE FUNCTION devinprod.mask_is_code(value text) RETURNS boolean IMMUTABLE PARALLEL SAFE
RETURN length(value) <= 2;
CREATE OR REPLACE FUNCTION devinprod.mask_country_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN devinprod.mask_pick(devinprod.mask_countries(), devinprod.mask_u24(digest, 0));
CREATE OR REPLACE FUNCTION devinprod.mask_country_code_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN devinprod.mask_pick(devinprod.mask_country_codes(), devinprod.mask_u24(digest, 0));

CREATE OR REPLACE FUNCTION devinprod.mask_country_code(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('country', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_country_code_of(digest);
END
$mask$;

CREATE OR REPLACE FUNCTION devinprod.mask_country(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('country', devinprod.mask_fold(value), key);
BEGIN
    IF devinprod.mask_is_code(value) THEN
        RETURN devinprod.mask_country_code_of(digest);
    END IF;
    RETURN devinprod.mask_country_of(digest);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_country(text, bytea) IS 'A country''s English name; a code of two letters where the real value is that short.';

CREATE OR REPLACE FUNCTION devinprod.mask_company_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN devinprod.mask_pick(devinprod.mask_last_names_en(), devinprod.mask_u24(digest, 0))
    || CASE WHEN get_byte(digest, 6) < 128 THEN ' and ' ELSE '-' END
    || devinprod.mask_pick(devinprod.mask_last_names_en(), devinprod.mask_u24(digest, 3)) || ' '
    || (ARRAY['Group', 'Inc', 'Ltd', 'LLC', 'Partners', 'Works'])[1 + get_byte(digest, 7) % 6];

CREATE OR REPLACE FUNCTION devinprod.mask_company(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('company', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_company_of(digest);
END
$mask$;
