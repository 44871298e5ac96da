-- What all masks are made of. The SQL-standard bodies are bound to what they name when they are made, and are
-- inlined into the plpgsql functions below; those hold no operator, no cast and no unqualified name, so a caller's
-- search_path, operators and domains are never looked at.

-- The database's own encoding, so that nothing is converted: a conversion can fail, and its error shows bytes.
DO $bytes$
BEGIN
    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION devinprod.mask_bytes(value text) RETURNS bytea STABLE PARALLEL SAFE
        RETURN convert_to(value, %L)
    $sql$, getdatabaseencoding());
END
$bytes$;
COMMENT ON FUNCTION devinprod.mask_bytes(text) IS 'The bytes of a text, as they are stored.';

CREATE OR REPLACE FUNCTION devinprod.mask_fold(value text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN lower(btrim(left(value, 65536)) COLLATE "C");
COMMENT ON FUNCTION devinprod.mask_fold(text) IS
    'What a mask takes for the same value: spaces around it and ASCII case do not count, nor what is behind 65,536 characters.';

CREATE OR REPLACE FUNCTION devinprod.mask_digest(class text, value text, key bytea) RETURNS bytea STABLE PARALLEL SAFE
RETURN sha256(key || devinprod.mask_bytes(class || ':' || value));
COMMENT ON FUNCTION devinprod.mask_digest(text, text, bytea) IS
    '32 bytes that nobody without the key can compute; another class of values has others.';

CREATE OR REPLACE FUNCTION devinprod.mask_digest(class text, value bytea, key bytea) RETURNS bytea STABLE PARALLEL SAFE
RETURN sha256(key || devinprod.mask_bytes(class || ':') || value);

-- Numbers from a digest: three bytes, six bytes.
CREATE OR REPLACE FUNCTION devinprod.mask_u24(digest bytea, at integer) RETURNS integer IMMUTABLE PARALLEL SAFE
RETURN (get_byte(digest, at) << 16) | (get_byte(digest, at + 1) << 8) | get_byte(digest, at + 2);
CREATE OR REPLACE FUNCTION devinprod.mask_u48(digest bytea, at integer) RETURNS bigint IMMUTABLE PARALLEL SAFE
RETURN (devinprod.mask_u24(digest, at)::bigint << 24) | devinprod.mask_u24(digest, at + 3);

CREATE OR REPLACE FUNCTION devinprod.mask_pick(words name[], number integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN words[1 + number % cardinality(words)]::text;

CREATE OR REPLACE FUNCTION devinprod.mask_hex(digest bytea, at integer, digits integer) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN substr(encode(digest, 'hex'), 1 + 2 * at, digits);

-- What makes a value unique that would not be: up to 24 hexadecimal digits, 4 bits each.
CREATE OR REPLACE FUNCTION devinprod.mask_tag(class text, value text, key bytea, digits integer) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
DECLARE
    digest pg_catalog.bytea := devinprod.mask_digest(class, devinprod.mask_fold(value), key);
BEGIN
    RETURN devinprod.mask_hex(digest, 20, digits);
END
$mask$;

CREATE OR REPLACE FUNCTION devinprod.mask_tagged(words text, room integer, tag text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN left(words, room) || ' ' || tag;

-- The same digits and letters wherever the value is short and has a layout of its own (postcodes, national ids):
-- each digit becomes a digit, each letter a letter of its case, and what people put between them stays.
CREATE OR REPLACE FUNCTION devinprod.mask_shape_of(digest bytea, value text) RETURNS text IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(string_agg(CASE
            WHEN c COLLATE "C" ~ '[0-9]' THEN (get_byte(digest, n::integer - 1) % 10)::text
            WHEN c COLLATE "C" ~ '[A-Z]' THEN chr(65 + get_byte(digest, n::integer - 1) % 26)
            WHEN c COLLATE "C" ~ '[ ()./-]' THEN c
            ELSE chr(97 + get_byte(digest, n::integer - 1) % 26) END, '' ORDER BY n), '')
    FROM unnest(string_to_array(left(btrim(left(value, 64)), 32), NULL)) WITH ORDINALITY AS split (c, n);
END;

-- For values that may be long: all of it counts, as it is.
CREATE OR REPLACE FUNCTION devinprod.mask_long_digest(class text, value text, key bytea) RETURNS bytea STABLE PARALLEL SAFE
RETURN devinprod.mask_digest(class, sha256(devinprod.mask_bytes(value)), key);

