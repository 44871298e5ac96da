
-- json ------------------------------------------------------------------------------------------------------------

-- The functions with operators in plpgsql run under the search_path that mask_json() has pinned; who calls one of them
-- by themselves has only values of their own to give it.

-- What a text in a document looks like, where no rule says what it is.
CREATE OR REPLACE FUNCTION devinprod.mask_json_kind(value text) RETURNS text IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN value = '' THEN 'clear'
    WHEN length(value) > 2000 THEN 'text'
    WHEN value COLLATE "C" ~ '^[^ @]+@[^ @]+$' THEN 'email'
    WHEN value COLLATE "C" ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' THEN 'uuid'
    WHEN value COLLATE "C" ~* '^https?://' THEN 'url'
    WHEN value COLLATE "C" ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}' THEN 'date'
    WHEN devinprod.mask_is_phone(value) THEN 'phone'
    WHEN value COLLATE "C" ~ '^[0-9 ()./-]+$' THEN 'shape'
    ELSE 'text' END;

CREATE OR REPLACE FUNCTION devinprod.mask_json_date_of(digest bytea, value text) RETURNS text STABLE PARALLEL SAFE
RETURN to_char(timestamp '1950-01-01' + interval '1 second' * (devinprod.mask_u48(digest, 0) % 2366841600),
    CASE WHEN length(value) > 10 THEN 'YYYY-MM-DD"T"HH24:MI:SS"Z"' ELSE 'YYYY-MM-DD' END);

CREATE OR REPLACE FUNCTION devinprod.mask_json_text(value text, key bytea, rule text) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
BEGIN
    RETURN CASE rule
        WHEN 'clear' THEN value
        WHEN 'auto' THEN devinprod.mask_json_text(value, key, devinprod.mask_json_kind(value))
        WHEN 'person_name' THEN devinprod.mask_person_name_en(value, key)
        WHEN 'first_name' THEN devinprod.mask_first_name_en(value, key)
        WHEN 'last_name' THEN devinprod.mask_last_name_en(value, key)
        WHEN 'email' THEN devinprod.mask_email(value, key)
        WHEN 'phone' THEN devinprod.mask_phone(value, key)
        WHEN 'user_name' THEN devinprod.mask_user_name(value, key, 63)
        WHEN 'password_hash' THEN devinprod.mask_password_hash(value, key, 200)
        WHEN 'street' THEN devinprod.mask_street(value, key)
        WHEN 'city' THEN devinprod.mask_city(value, key)
        WHEN 'postcode' THEN devinprod.mask_postcode(value, key)
        WHEN 'country' THEN devinprod.mask_country(value, key)
        WHEN 'company' THEN devinprod.mask_company(value, key)
        WHEN 'url' THEN devinprod.mask_url(value, key)
        WHEN 'ip' THEN devinprod.mask_ip(value, key, false)
        WHEN 'mac' THEN devinprod.mask_mac(value, key, 6)
        WHEN 'uuid' THEN devinprod.mask_uuid(value, key)
        WHEN 'card' THEN devinprod.mask_card(value, key)
        WHEN 'iban' THEN devinprod.mask_iban(value, key, 'DE', 18)
        WHEN 'national_id' THEN devinprod.mask_national_id(value, key)
        WHEN 'hash' THEN devinprod.mask_hash(value, key, 32)
        WHEN 'date' THEN devinprod.mask_json_date_of(devinprod.mask_digest('date', devinprod.mask_fold(value), key), value)
        WHEN 'shape' THEN devinprod.mask_shape_of(devinprod.mask_digest('shape', devinprod.mask_fold(value), key), value)
        ELSE devinprod.mask_text(value, key) END;
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_json_text(text, bytea, text) IS 'What a text in a document becomes.';

-- A key is kept where it looks like the name of a field; a document whose keys are e-mail addresses is masked there too.
CREATE OR REPLACE FUNCTION devinprod.mask_json_key(name text, key bytea, named boolean, keys text) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
BEGIN
    IF named OR keys = 'keep' OR (keys = 'fields' AND name COLLATE "C" ~ '^[A-Za-z_][A-Za-z_-]{0,39}[0-9]{0,2}$') THEN
        RETURN name;
    END IF;
    RETURN 'key_' || devinprod.mask_hex(devinprod.mask_digest('json key', name, key), 0, 12);
END
$mask$;

-- `rules` maps a dotted path to a mask; what is below a path has its rule, unless it has its own. Arrays have no step
-- of their own. What lies deeper than 60 levels becomes null.
CREATE OR REPLACE FUNCTION devinprod.mask_json_node(
    value jsonb, key bytea, rules jsonb, keys text, rule text, path text, depth integer) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $mask$
BEGIN
    IF rule = 'clear' AND NOT EXISTS (SELECT FROM jsonb_object_keys(rules) AS r WHERE starts_with(r, path || '.')) THEN
        RETURN value;
    ELSIF depth > 60 THEN
        RETURN 'null';
    END IF;
    CASE jsonb_typeof(value)
        WHEN 'object' THEN
            RETURN (
                SELECT coalesce(jsonb_object_agg(
                    devinprod.mask_json_key(e.key, mask_json_node.key, rules ? e.path, keys),
                    devinprod.mask_json_node(e.value, mask_json_node.key, rules, keys,
                        coalesce(rules ->> e.path, rule), e.path, depth + 1)), '{}')
                FROM (SELECT o.key, o.value, concat_ws('.', nullif(mask_json_node.path, ''), replace(o.key, '.', '\.')) AS path
                      FROM jsonb_each(mask_json_node.value) AS o) AS e);
        WHEN 'array' THEN
            RETURN (
                SELECT coalesce(jsonb_agg(devinprod.mask_json_node(e.value, key, rules, keys, rule, path, depth + 1)
                    ORDER BY e.n), '[]')
                FROM jsonb_array_elements(mask_json_node.value) WITH ORDINALITY AS e (value, n));
        WHEN 'string' THEN
            IF rule = 'null' THEN
                RETURN 'null';
            END IF;
            RETURN to_jsonb(devinprod.mask_json_text(value #>> '{}', key, rule));
        WHEN 'number' THEN
            IF rule IN ('auto', 'number', 'text', 'date') THEN
                RETURN to_jsonb(devinprod.mask_number(value::numeric, key, least(scale(value::numeric), 6), 9999999999999999));
            ELSIF rule = 'clear' THEN
                RETURN value;
            ELSIF rule = 'null' THEN
                RETURN 'null';
            END IF;
            RETURN to_jsonb(devinprod.mask_json_text(value #>> '{}', key, rule));
        WHEN 'boolean' THEN
            RETURN CASE rule WHEN 'clear' THEN value WHEN 'null' THEN 'null' ELSE 'false' END;
        ELSE
            RETURN 'null';
    END CASE;
END
$mask$;

CREATE OR REPLACE FUNCTION devinprod.mask_json(value jsonb, key bytea, rules jsonb, keys text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $mask$
BEGIN
    RETURN devinprod.mask_json_node(value, key, rules, keys, 'auto', '', 0);
END
$mask$;
COMMENT ON FUNCTION devinprod.mask_json(jsonb, bytea, jsonb, text) IS
    'The same document with every leaf masked, by the rule of its path or by what it looks like.';

-- A text of type json may hold what jsonb cannot (\u0000, 1e1000000), and the error would quote it; such a document is
-- null as a whole. The subtransaction is why this one cannot run in a parallel worker.
CREATE OR REPLACE FUNCTION devinprod.mask_json(value json, key bytea, rules jsonb, keys text) RETURNS json
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $mask$
BEGIN
    RETURN devinprod.mask_json_node(value::jsonb, key, rules, keys, 'auto', '', 0);
EXCEPTION WHEN OTHERS THEN
    RETURN 'null';
END
$mask$;
