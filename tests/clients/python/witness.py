"""Where the suites connect to, and the administrator who looks whether anything was committed.

DATABASE_URL   what the application uses: devinprod, or a plain Postgres
UPSTREAM_URL   straight to the database behind it, as an administrator
EXPECT_MASKS   1 where DATABASE_URL shows the shop's customers masked
EXPECT_COMMITS 1 where DATABASE_URL is a plain Postgres: the same tests must pass there, and what they do is committed
"""

import os

import psycopg

DATABASE_URL = os.environ["DATABASE_URL"]
UPSTREAM_URL = os.environ["UPSTREAM_URL"]
EXPECT_MASKS = os.environ.get("EXPECT_MASKS") == "1"
EXPECT_COMMITS = os.environ.get("EXPECT_COMMITS") == "1"

# Every table's name, columns, and a digest of its rows; but for the seal's own book of leases.
TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^(pg_|information_schema$|devinprod)'
    ORDER BY 1
"""
OBJECTS = """
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT format('%s %s %s', n.nspname, c.relname, c.relkind) AS line
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^(pg_|information_schema$)'
        UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
        UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
        UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ) AS lines
"""


def committed():
    """What the upstream holds, as far as anybody but a sandbox can see: objects, and a digest per table."""
    with psycopg.connect(UPSTREAM_URL, autocommit=True) as admin:
        state = {"objects": admin.execute(OBJECTS).fetchone()[0]}
        for (table,) in admin.execute(TABLES).fetchall():
            digest = f"SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {table} t"
            state[table] = admin.execute(digest).fetchone()[0]
        return state


class NothingCommitted:
    """A class of tests after which the upstream must be as it was."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.before = committed()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        after = committed()
        if not EXPECT_COMMITS and after != cls.before:
            changed = [name for name in after if after[name] != cls.before.get(name)]
            raise AssertionError(f"committed to the upstream: {changed[:5]}")
