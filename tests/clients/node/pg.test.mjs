// node-postgres: simple and extended protocol, named statements, its cursor, COPY streams, and its pool.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { DATABASE_URL, committed, expectCommits } from './witness.mjs'

let atFirst
let db
let others

before(async () => {
  atFirst = await committed()
})

after(async () => {
  if (!expectCommits) assert.deepEqual(await committed(), atFirst)
})

beforeEach(async () => {
  others = []
  db = await connect()
  others.pop()
  await db.query('DROP TABLE IF EXISTS node_notes')
  await db.query(
    'CREATE TABLE node_notes (id serial PRIMARY KEY, title text NOT NULL UNIQUE, body jsonb, made timestamptz DEFAULT now())',
  )
})

afterEach(async () => {
  // The others first: their open transactions would keep the table.
  for (const other of others) await other.end()
  await db.query('ROLLBACK')
  await db.query('DROP TABLE IF EXISTS node_notes')
  await db.end()
})

async function connect() {
  const client = new pg.Client({ connectionString: DATABASE_URL, connectionTimeoutMillis: 10000 })
  await client.connect()
  others.push(client)
  return client
}

const add = async (title, client = db) =>
  (await client.query('INSERT INTO node_notes (title) VALUES ($1) RETURNING id', [title])).rows[0].id
const titles = async (client = db) =>
  (await client.query('SELECT title FROM node_notes ORDER BY title')).rows.map((row) => row.title)
const failsWith = (code) => (error) => {
  assert.equal(error.code, code)
  return true
}

test('commits are seen by others, rollbacks are not', async () => {
  const other = await connect()
  await db.query('BEGIN')
  await add('kept')
  await db.query('COMMIT')
  assert.deepEqual(await titles(other), ['kept'])
  await db.query('BEGIN')
  await add('dropped')
  await db.query('ROLLBACK')
  assert.deepEqual(await titles(other), ['kept'])
})

test('values, fields and tags', async () => {
  const result = await db.query('INSERT INTO node_notes (title, body) VALUES ($1, $2) RETURNING *, now() AS now', [
    'typed',
    { a: [1, 'é'] },
  ])
  assert.equal(result.command, 'INSERT')
  assert.equal(result.rowCount, 1)
  assert.deepEqual(result.fields.map((field) => field.name), ['id', 'title', 'body', 'made', 'now'])
  assert.deepEqual(result.rows[0].body, { a: [1, 'é'] })
  assert.deepEqual(result.rows[0].made, result.rows[0].now)
  const several = await db.query("SELECT 1 AS a; SELECT 2 AS b; INSERT INTO node_notes (title) VALUES ('x')")
  assert.deepEqual(several.map((one) => [one.command, one.rowCount]), [['SELECT', 1], ['SELECT', 1], ['INSERT', 1]])
})

test('errors, and recovery from them', async () => {
  await add('one')
  await assert.rejects(add('one'), (error) => {
    assert.equal(error.constraint, 'node_notes_title_key')
    assert.equal(error.detail, 'Key (title)=(one) already exists.')
    return failsWith('23505')(error)
  })
  await assert.rejects(db.query('SELECT 1 FROM WHERE'), (error) => {
    assert.equal(error.position, '15')
    return failsWith('42601')(error)
  })
  await db.query('BEGIN')
  await add('two')
  await assert.rejects(db.query('SELECT 1/$1::int', [0]), failsWith('22012'))
  await assert.rejects(titles(), failsWith('25P02'))
  assert.equal((await db.query('COMMIT')).command, 'ROLLBACK')
  assert.deepEqual(await titles(), ['one'])
})

test('savepoints', async () => {
  await db.query('BEGIN')
  await add('a')
  await db.query('SAVEPOINT s')
  await add('b')
  await assert.rejects(add('a'), failsWith('23505'))
  await db.query('ROLLBACK TO SAVEPOINT s')
  await db.query('SAVEPOINT s')
  await add('c')
  await db.query('RELEASE SAVEPOINT s')
  await db.query('COMMIT')
  assert.deepEqual(await titles(), ['a', 'c'])
})

test('a statement is cancelled', async () => {
  const other = await connect()
  const sleeping = assert.rejects(db.query('SELECT pg_sleep(20)'), failsWith('57014'))
  await new Promise((resolve) => setTimeout(resolve, 300))
  // node-postgres has no call for it; the message is: a connection of its own, the code, who, the secret.
  const { Socket } = await import('node:net')
  const request = Buffer.alloc(16)
  for (const [at, value] of [16, 80877102, db.processID].entries()) request.writeInt32BE(value, at * 4)
  request.writeInt32BE(db.secretKey, 12)
  const socket = new Socket().connect(db.port, db.host)
  socket.end(request)
  await once(socket, 'close')
  await sleeping
  assert.deepEqual(await titles(), [])
  assert.deepEqual(await titles(other), [])
})

test('a client-side time-out leaves the others alone', async () => {
  const hasty = await connect()
  await hasty.query("SET statement_timeout = '200ms'")
  await assert.rejects(hasty.query('SELECT pg_sleep(20)'), failsWith('57014'))
  assert.deepEqual((await db.query('SELECT pg_sleep(0.4), 1 AS n')).rows[0].n, 1)
})

test('COPY both ways', async () => {
  const lines = Array.from({ length: 5000 }, (_, n) => `title ${n}\n`)
  const into = db.query(copyFrom('COPY node_notes (title) FROM STDIN'))
  await pipeline(Readable.from(lines), into)
  assert.equal(into.rowCount, 5000)
  let bytes = 0
  for await (const chunk of db.query(copyTo('COPY node_notes (title) TO STDOUT'))) bytes += chunk.length
  assert.equal(bytes, lines.join('').length)
  await assert.rejects(
    pipeline(Readable.from(['fresh\n', 'title 1\n']), db.query(copyFrom('COPY node_notes (title) FROM STDIN'))),
    failsWith('23505'),
  )
  assert.equal((await titles()).length, 5000)
})

test('named statements', async () => {
  const other = await connect()
  const double = (client, n) => client.query({ name: 'double', text: 'SELECT $1::int * 2 AS n', values: [n] })
  for (const [client, n] of [[db, 1], [other, 2], [db, 3], [other, 4]]) {
    assert.equal((await double(client, n)).rows[0].n, 2 * n)
  }
  const divide = (n) => db.query({ name: 'divide', text: 'SELECT 12 / $1::int AS n', values: [n] })
  assert.equal((await divide(3)).rows[0].n, 4)
  await assert.rejects(divide(0), failsWith('22012'))
  assert.equal((await divide(4)).rows[0].n, 3)
})

test('cursors', async () => {
  await db.query('BEGIN')
  const cursor = db.query(new Cursor('SELECT n FROM generate_series(1, $1::int) n', [25]))
  assert.equal((await cursor.read(10)).length, 10)
  assert.deepEqual((await cursor.read(1))[0], { n: 11 })
  assert.equal((await cursor.read(100)).length, 14)
  await cursor.close()
  await db.query('DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 9) n')
  assert.deepEqual((await db.query('FETCH 2 FROM walk')).rows, [{ n: 1 }, { n: 2 }])
  await db.query('COMMIT')
  await assert.rejects(db.query('FETCH 2 FROM walk'), failsWith('34000'))
})

test('LISTEN and NOTIFY', async () => {
  const listener = await connect()
  await listener.query('LISTEN node_news')
  const got = []
  listener.on('notification', (message) => got.push(message.payload))
  await db.query('BEGIN')
  await db.query("NOTIFY node_news, 'no'")
  await db.query('ROLLBACK')
  await db.query('BEGIN')
  await add('x')
  await db.query('SELECT pg_notify($1, $2)', ['node_news', 'yes'])
  assert.deepEqual(got, [])
  const heard = once(listener, 'notification')
  await db.query('COMMIT')
  await heard
  assert.deepEqual(got, ['yes'])
})

test('a connection inside of an open transaction', async () => {
  const other = await connect()
  await db.query('BEGIN')
  await db.query('SELECT 1')
  await add('from the other', other)
  await add('mine')
  await db.query('COMMIT')
  assert.deepEqual(await titles(), ['from the other', 'mine'])
})

test('DISCARD ALL forgets the session', async () => {
  const other = await connect()
  await other.query("SET TimeZone = 'Asia/Tokyo'")
  await other.query('SELECT pg_advisory_lock(4713)')
  assert.equal((await db.query('SELECT pg_try_advisory_lock(4713) AS got')).rows[0].got, false)
  await other.query('DISCARD ALL')
  assert.notEqual((await other.query('SHOW TimeZone')).rows[0].TimeZone, 'Asia/Tokyo')
  assert.equal((await db.query('SELECT pg_try_advisory_lock(4713) AS got')).rows[0].got, true)
})

test('a pool of ten', async () => {
  const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 10 })
  try {
    const work = async (worker) => {
      for (let step = 0; step < 10; step++) {
        const client = await pool.connect()
        try {
          await client.query('BEGIN')
          await add(`w${worker}-${step}`, client)
          await client.query('COMMIT')
        } finally {
          client.release()
        }
        const found = await pool.query('SELECT 1 FROM node_notes WHERE title = $1', [`w${worker}-${step}`])
        assert.equal(found.rowCount, 1)
      }
    }
    await Promise.all(Array.from({ length: 10 }, (_, worker) => work(worker)))
    assert.equal((await titles()).length, 100)
  } finally {
    await pool.end()
  }
})
