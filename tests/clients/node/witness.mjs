// The administrator who looks whether anything was committed.
import pg from 'pg'

export const { DATABASE_URL, UPSTREAM_URL } = process.env
export const expectCommits = process.env.EXPECT_COMMITS === '1'

const OBJECTS = `
  SELECT string_agg(line, E'\\n' ORDER BY line) AS objects FROM (
    SELECT format('%s %s %s', n.nspname, c.relname, c.relkind) AS line
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^(pg_|information_schema$)'
    UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
  ) AS lines`
const TABLES = `
  SELECT format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^(pg_|information_schema$|devinprod)' ORDER BY 1`

/** Objects, and a digest of each table's rows. */
export async function committed() {
  const admin = new pg.Client(UPSTREAM_URL)
  await admin.connect()
  try {
    const state = (await admin.query(OBJECTS)).rows[0]
    for (const { name } of (await admin.query(TABLES)).rows) {
      const digest = `SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') AS digest FROM ${name} t`
      state[name] = (await admin.query(digest)).rows[0].digest
    }
    return state
  } finally {
    await admin.end()
  }
}
