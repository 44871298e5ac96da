// The demo's shop, used as an application uses it: each step works, masked or not.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { randomUUID } from 'node:crypto'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DATABASE_URL, UPSTREAM_URL, committed, expectCommits } from './witness.mjs'

let atFirst
let db
let email

before(async () => {
  atFirst = await committed()
})

after(async () => {
  if (!expectCommits) assert.deepEqual(await committed(), atFirst)
})

beforeEach(async () => {
  email = `dev-${randomUUID().slice(0, 12)}@test.example`
  db = new pg.Client({ connectionString: DATABASE_URL, connectionTimeoutMillis: 10000 })
  await db.connect()
})

afterEach(async () => {
  await db.end()
  if (!expectCommits) return
  const admin = new pg.Client(UPSTREAM_URL)
  await admin.connect()
  await admin.query("DELETE FROM customers WHERE email = $1 OR email LIKE $1 || '.%'", [email])
  await admin.end()
})

const signUp = (client, address) =>
  client.query(
    `INSERT INTO customers (email, full_name, street, city, postal_code, birth_date)
     VALUES ($1, 'Dev Test', '1 Test Street', 'Austin', '73301', '1990-01-02') RETURNING id, email, full_name`,
    [address],
  )

test('sign up, log in, change, leave', async () => {
  await db.query('BEGIN')
  const [{ id, ...told }] = (await signUp(db, email)).rows
  assert.deepEqual(told, { email, full_name: 'Dev Test' })
  await db.query('COMMIT')
  await assert.rejects(signUp(db, email), { code: '23505', constraint: 'customers_email_key' })
  const login = { name: 'log-in', text: 'SELECT id, full_name FROM customers WHERE email = $1', values: [email] }
  for (let n = 0; n < 3; n++) assert.deepEqual((await db.query(login)).rows, [{ id, full_name: 'Dev Test' }])
  const changed = await db.query('UPDATE customers SET phone = $2, city = $3 WHERE id = $1 RETURNING *', [id, '+1 202 555 0100', 'Boston'])
  assert.equal(changed.rows[0].phone, '+1 202 555 0100')
  assert.equal(changed.rows[0].email, email)
  const gone = await db.query('DELETE FROM customers WHERE email = $1 RETURNING full_name', [email])
  assert.deepEqual(gone.rows, [{ full_name: 'Dev Test' }])
})

test('whoever is shown can be found', async () => {
  const [shown] = (await db.query('SELECT * FROM customers WHERE id = $1', [42])).rows
  for (const column of ['email', 'full_name']) {
    const { rows } = await db.query(`SELECT c.id FROM customers c WHERE c.${column} = $1`, [shown[column]])
    assert.ok(rows.some((row) => row.id === '42'), column)
  }
  const list = await db.query('SELECT email, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) FROM customers c ORDER BY c.id LIMIT 30')
  assert.equal(list.rows.length, 30)
  assert.ok(list.rows.every((row) => row.email.includes('@')))
})

test('what a column is called and of which type it is stays as it is', async () => {
  const admin = new pg.Client(UPSTREAM_URL)
  await admin.connect()
  try {
    const sql = 'SELECT c.id, email, full_name, phone, birth_date, c.city AS town, o.note FROM customers c LEFT JOIN orders o ON o.customer_id = c.id LIMIT 1'
    const described = async (client) =>
      (await client.query(sql)).fields.map(({ name, dataTypeID, dataTypeModifier, tableID, columnID }) => ({
        name, dataTypeID, dataTypeModifier, tableID, columnID,
      }))
    assert.deepEqual(await described(db), await described(admin))
  } finally {
    await admin.end()
  }
})

test('import, a cursor and export', async () => {
  const lines = [1, 2, 3].map((n) => `${email}.${n},Dev ${n},${n} Test Street,Austin,73301\n`)
  const sink = db.query(copyFrom('COPY customers (email, full_name, street, city, postal_code) FROM STDIN (FORMAT csv)'))
  await pipeline(Readable.from(lines), sink)
  const cursor = db.query(new Cursor('SELECT email, full_name FROM customers WHERE email LIKE $1 ORDER BY id', [`${email}.%`]))
  assert.deepEqual(await cursor.read(2), [1, 2].map((n) => ({ email: `${email}.${n}`, full_name: `Dev ${n}` })))
  await cursor.close()
  let text = ''
  const source = db.query(copyTo('COPY customers (email, city) TO STDOUT'))
  for await (const part of source) text += part
  assert.ok(text.includes(`${email}.3\tAustin\n`))
  assert.ok(text.split('\n').length > 3000)
})

test('the steps that every driver takes', async () => {
  const { transactions } = JSON.parse(readFileSync(new URL('shop.json', import.meta.url)))
  const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 3 })
  const kept = {}
  const known = (value) => (typeof value === 'string' && value.startsWith(':') ? kept[value.slice(1)] : value)
  const take = async (client, step) => {
    if (step.copy) {
      let text = ''
      for await (const part of client.query(copyTo(step.copy))) text += part
      for (const line of step.lines) assert.ok(text.includes(line), line)
      return
    }
    const { rows } = await client.query({ text: step.sql, values: step.with.map(known), rowMode: 'array' })
    if (step.rows) {
      assert.equal(rows.length, step.rows.length, step.sql)
      step.rows.forEach((wanted, n) =>
        assert.deepEqual(rows[n].map((value, at) => (wanted[at] === '*' ? '*' : String(value))), wanted.map((value) => String(known(value))), step.sql),
      )
    }
    for (const [name, place] of Object.entries(step.keep ?? {})) kept[name] = rows[0][place]
  }
  for (const { name, fails, steps } of transactions) {
    const client = await pool.connect()
    let failed
    try {
      await client.query('BEGIN')
      for (const step of steps) await take(client, step)
      await client.query('COMMIT')
    } catch (error) {
      if (!error.code || error.code === 'ERR_ASSERTION') throw error
      failed = error.code
      await client.query('ROLLBACK')
    } finally {
      client.release()
    }
    assert.equal(failed, fails, name)
  }
  await pool.end()
  const admin = new pg.Client(UPSTREAM_URL)
  await admin.connect()
  const real = (await admin.query('SELECT full_name, email FROM customers WHERE id = 42')).rows[0]
  await admin.end()
  assert.equal(real.full_name !== kept.name && real.email !== kept.email, process.env.EXPECT_MASKS === '1')
})
