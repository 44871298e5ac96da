
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

-- password_hash ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_base64(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN left(translate(encode(digest, 'base64'), '+' || chr(10), '.'), 43);

-- What kind of hash it is shows in how it begins; the kind is kept, if there is room for it.
CREATE OR REPLACE FUNCTION devinprod.mask_password_hash_of(digest bytea, value text, longest integer) RETURNS text
    IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN value COLLATE "C" ~ '^[0-9a-fA-F]{32,128}$' AND length(value) <= longest
    THEN left(repeat(encode(digest, 'hex'), 2), length(value))
    WHEN starts_with(value, '$argon2') AND longest >= 98
    THEN '$argon2id$v=19$m=65536,t=3,p=4$' || left(devinprod.mask_base64(digest), 22) || '$'
        || reverse(devinprod.mask_base64(digest))
    WHEN starts_with(value, 'pbkdf2_sha256$') AND longest >= 88
    THEN 'pbkdf2_sha256$600000$' || devinprod.mask_hex(digest, 0, 22) || '$' || devinprod.mask_base64(digest) || '='
    WHEN longest >= 60 THEN '$2b$10$' || devinprod.mask_base64(digest) || devinprod.mask_hex(digest, 0, 10)
    ELSE left(encode(digest, 'hex'), longest) END;

CREATE OR REPLACE FUNCTION devinprod.mask_password_hash(value text, key bytea, longest integer) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_long_digest('password_hash', value, key);
BEGIN
    RETURN devinprod.mask_password_hash_of(digest, value, longest);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_password_hash(text, bytea, integer) IS 'A hash of the same kind that no password has.';

-- partial, hash, bytea --------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_partial(value text, first integer, last integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN length(value) >= 2 * (first + last) THEN left(value, first) || '****' || right(value, last)
    WHEN value IS NOT NULL THEN '****' END;
COMMENT ON FUNCTION devinprod.mask_partial(text, integer, integer) IS
    'The first and last characters, if they are at most half of it, and four stars.';

CREATE OR REPLACE FUNCTION devinprod.mask_hash(value text, key bytea, digits integer) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_long_digest('hash', value, key);
BEGIN
    RETURN devinprod.mask_hex(digest, 0, digits);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_hash(text, bytea, integer) IS 'Hexadecimal digits, 4 bits each; case and spaces count.';

CREATE OR REPLACE FUNCTION devinprod.mask_bytea(value bytea, key bytea) RETURNS bytea
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
BEGIN
    RETURN devinprod.mask_digest('bytea', pg_catalog.sha256(value), key);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_bytea(bytea, bytea) IS '32 bytes.';

-- uuid, ip, mac ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION devinprod.mask_uuid_of(digest bytea) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(overlay(overlay(left(encode(digest, 'hex'), 32) PLACING '4' FROM 13)
    PLACING (ARRAY['8', '9', 'a', 'b'])[1 + get_byte(digest, 31) % 4] FROM 17),
    '^(.{8})(.{4})(.{4})(.{4})', '\1-\2-\3-\4-');

CREATE OR REPLACE FUNCTION devinprod.mask_uuid(value text, key bytea) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('uuid', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_uuid_of(digest);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_uuid(text, bytea) IS 'A UUID of version 4: 122 bits.';

CREATE OR REPLACE FUNCTION devinprod.mask_ip_of(digest bytea, value text, network boolean) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN strpos(value, ':') > 0 AND network THEN '2001:db8:' || devinprod.mask_hex(digest, 0, 4) || '::/48'
    WHEN strpos(value, ':') > 0 THEN '2001:db8' || regexp_replace(devinprod.mask_hex(digest, 0, 24), '(.{4})', ':\1', 'g')
    ELSE '10.' || get_byte(digest, 0) || '.' || get_byte(digest, 1)
        || CASE WHEN network THEN '.0/24' ELSE '.' || (1 + get_byte(digest, 2) % 254) END END;

CREATE OR REPLACE FUNCTION devinprod.mask_ip(value text, key bytea, network boolean) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('ip', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_ip_of(digest, value, network);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_ip(text, bytea, boolean) IS
    'An address in 10.0.0.0/8, or in 2001:db8::/32 where the real one is IPv6; or a network there.';

CREATE OR REPLACE FUNCTION devinprod.mask_mac_of(digest bytea, bytes integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN '02' || regexp_replace(devinprod.mask_hex(digest, 0, 2 * bytes - 2), '(..)', ':\1', 'g');

CREATE OR REPLACE FUNCTION devinprod.mask_mac(value text, key bytea, bytes integer) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest('mac', devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_mac_of(digest, bytes);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_mac(text, bytea, integer) IS 'A locally administered address: it begins with 02.';
