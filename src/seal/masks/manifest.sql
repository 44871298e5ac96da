-- What developers see of which column: made from the policy by devinprod setup, read by the proxy. Run as the
-- sealing role. Everybody may read it: it names columns, never a value.

CREATE TABLE IF NOT EXISTS devinprod.policy (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version   text NOT NULL,
    sealed_at timestamptz NOT NULL,
    masks     text NOT NULL,
    functions text
);
COMMENT ON TABLE devinprod.policy IS
    'The policy that the seal was made from, and digests: of the masks'' definition, and of this schema''s functions.';

CREATE TABLE IF NOT EXISTS devinprod.masked_relation (
    relation   oid PRIMARY KEY,
    schema     name NOT NULL,
    name       name NOT NULL,
    view       text,
    view_oid   oid,
    rows       text,
    rows_oid   oid,
    key        name[] NOT NULL,
    definition text NOT NULL,
    found      text
);
ALTER TABLE devinprod.masked_relation ADD COLUMN IF NOT EXISTS seen text, ADD COLUMN IF NOT EXISTS security text,
    ADD COLUMN IF NOT EXISTS withheld text;
COMMENT ON TABLE devinprod.masked_relation IS
    'Relations of which developers do not see all: the views in their place as SQL, the key, and digests: of the '
    'views and the manifest as they were made, and of what the server keeps; the application''s code that writes to it, '
    'a digest of its row security (NULL: off), and which writes developers are denied, with the reason.';

CREATE TABLE IF NOT EXISTS devinprod.masked_column (
    relation    oid NOT NULL REFERENCES devinprod.masked_relation ON DELETE CASCADE,
    number      int2 NOT NULL,
    name        name NOT NULL,
    view_number int2,
    clear       boolean NOT NULL,
    treatment   text NOT NULL,
    because     text NOT NULL,
    ungroupable boolean NOT NULL,
    PRIMARY KEY (relation, number)
);
COMMENT ON TABLE devinprod.masked_column IS
    'Their columns: number in the relation and in its view, what developers see, and where the policy says so.';

CREATE TABLE IF NOT EXISTS devinprod.clear_relation (
    relation oid PRIMARY KEY,
    schema   name NOT NULL,
    name     name NOT NULL,
    columns  int2[] NOT NULL,
    lineage  text
);
ALTER TABLE devinprod.clear_relation ADD COLUMN IF NOT EXISTS security text;
COMMENT ON TABLE devinprod.clear_relation IS
    'Relations that developers read as they are, as far as these columns; for a view, a digest of its definition '
    'and of those of all views below it; for a table, one of its row security (NULL: off).';

CREATE TABLE IF NOT EXISTS devinprod.copied_view (
    relation oid PRIMARY KEY REFERENCES devinprod.masked_relation ON DELETE CASCADE,
    made     text NOT NULL,
    failed   text
);
COMMENT ON TABLE devinprod.copied_view IS
    'Views of the application that were copied over the masked views: a digest of what made the copy, and why there is none.';

REVOKE ALL ON devinprod.copied_view FROM PUBLIC;
GRANT SELECT ON devinprod.copied_view TO PUBLIC;

REVOKE ALL ON devinprod.policy, devinprod.masked_relation, devinprod.masked_column, devinprod.clear_relation
    FROM PUBLIC;
GRANT SELECT ON devinprod.policy, devinprod.masked_relation, devinprod.masked_column, devinprod.clear_relation
    TO PUBLIC;

CREATE OR REPLACE FUNCTION devinprod.excepted(exceptions text, until timestamptz) RETURNS boolean
    LANGUAGE sql STABLE
    RETURN pg_catalog.pg_has_role(SESSION_USER, ('@prefix@exc_' || exceptions)::name, 'MEMBER')
        AND pg_catalog.clock_timestamp() <= until;
COMMENT ON FUNCTION devinprod.excepted(text, timestamptz) IS
    'Whether this session''s developer role belongs to a set of exceptions that has not expired.';
REVOKE ALL ON FUNCTION devinprod.excepted(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION devinprod.excepted(text, timestamptz) TO @readers@;
