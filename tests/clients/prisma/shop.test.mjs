// The demo's shop, as an application of Prisma uses it: each step works, masked or not.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from './generated/index.js'
import { DATABASE_URL, UPSTREAM_URL, committed, expectCommits } from './witness.mjs'

const client = (connectionString) => new PrismaClient({ adapter: new PrismaPg({ connectionString }) })
const place = { full_name: 'Dev Test', street: '1 Test Street', city: 'Austin', postal_code: '73301' }
const db = client(DATABASE_URL)
const real = client(UPSTREAM_URL)
let atFirst
let email

before(async () => {
  atFirst = await committed()
})

after(async () => {
  await db.$disconnect()
  await real.$disconnect()
  if (!expectCommits) assert.deepEqual(await committed(), atFirst)
})

beforeEach(() => {
  email = `dev-${randomUUID().slice(0, 12)}@test.example`
})

afterEach(async () => {
  if (!expectCommits) return
  await real.orders.deleteMany({ where: { customers: { email: { endsWith: email } } } })
  await real.customers.deleteMany({ where: { email: { endsWith: email } } })
})

const fails = (promise, code) => assert.rejects(promise, (error) => error.code === code || assert.fail(error))

test('sign up, log in, change, leave', async () => {
  const made = await db.customers.create({ data: { email, ...place } })
  assert.deepEqual([made.email, made.full_name, made.country, made.preferences], [email, 'Dev Test', 'US', {}])
  await fails(db.customers.create({ data: { email, ...place } }), 'P2002')
  assert.equal((await db.customers.findUnique({ where: { email } })).id, made.id)
  assert.equal((await db.customers.findFirst({ where: { email: { equals: email.toUpperCase(), mode: 'insensitive' } } })).id, made.id)
  const changed = await db.customers.update({ where: { email }, data: { phone: '+1 202 555 0100', preferences: { newsletter: true } } })
  assert.deepEqual([changed.phone, changed.email, changed.preferences], ['+1 202 555 0100', email, { newsletter: true }])
  const upserted = await db.customers.upsert({ where: { email }, create: { email, ...place }, update: { full_name: 'Dev Q. Test' } })
  assert.deepEqual([upserted.id, upserted.full_name], [made.id, 'Dev Q. Test'])
  assert.deepEqual(await db.customers.updateMany({ where: { email, phone: { startsWith: '+1 202' } }, data: { city: 'Denver' } }), { count: 1 })
  assert.equal((await db.customers.delete({ where: { email } })).full_name, 'Dev Q. Test')
  await fails(db.customers.delete({ where: { email } }), 'P2025')
})

test('many at once', async () => {
  const data = [0, 1, 2, 3].map((n) => ({ email: `${n}.${email}`, ...place }))
  assert.deepEqual(await db.customers.createMany({ data }), { count: 4 })
  assert.deepEqual(await db.customers.createMany({ data, skipDuplicates: true }), { count: 0 })
  const more = await db.customers.createManyAndReturn({ data: [{ email: `5.${email}`, ...place }], select: { email: true, full_name: true } })
  assert.deepEqual(more, [{ email: `5.${email}`, full_name: 'Dev Test' }])
  assert.equal(await db.customers.count({ where: { email: { endsWith: email } } }), 5)
  assert.deepEqual(await db.customers.deleteMany({ where: { email: { in: data.map((row) => row.email) } } }), { count: 4 })
})

test('transactions', async () => {
  const number = email.slice(4, 16)
  const { order } = await db.$transaction(async (inside) => {
    const customer = await inside.customers.create({ data: { email, ...place } })
    const order = await inside.orders.create({
      data: { number, note: 'Ring twice', customers: { connect: { email } }, support_tickets: { create: { subject: 'Where?', body: 'Tell', customer_id: customer.id } } },
      include: { customers: true, support_tickets: true },
    })
    return { order }
  })
  assert.deepEqual([order.customers.email, order.note, order.support_tickets[0].subject], [email, 'Ring twice', 'Where?'])
  await assert.rejects(
    db.$transaction(async (inside) => {
      await inside.orders.update({ where: { number }, data: { note: 'Gone' } })
      throw new Error('no')
    }),
    /no/,
  )
  const found = await db.customers.findMany({ where: { orders: { some: { number, note: { contains: 'twice' } } } }, include: { orders: true } })
  assert.deepEqual(found.map((row) => [row.email, row.orders[0].note]), [[email, 'Ring twice']])
  const [count, paid] = await db.$transaction([
    db.support_tickets.deleteMany({ where: { customers: { email } } }),
    db.orders.update({ where: { number }, data: { status: 'paid', total: { increment: 5 } }, select: { status: true, note: true } }),
  ])
  assert.deepEqual([count, paid], [{ count: 1 }, { status: 'paid', note: 'Ring twice' }])
  await db.orders.delete({ where: { number } })
})

test('lists and reports', async () => {
  const page = await db.customers.findMany({ orderBy: [{ created_at: 'desc' }, { id: 'desc' }], skip: 60, take: 30, include: { orders: { take: 2 }, _count: true } })
  assert.equal(page.length, 30)
  const [somebody] = page
  const themselves = await real.customers.findUnique({ where: { id: somebody.id } })
  const isMasked = process.env.EXPECT_MASKS === '1'
  for (const column of ['email', 'full_name', 'street']) assert.equal(somebody[column] !== themselves[column], isMasked, column)
  assert.equal((await db.customers.findUnique({ where: { email: somebody.email } })).id, somebody.id)
  const search = { OR: [{ full_name: { contains: somebody.full_name } }, { email: { startsWith: 'nobody' } }] }
  assert.ok((await db.customers.findMany({ where: search, select: { id: true } })).some(({ id }) => id === somebody.id))
  const cities = await db.customers.groupBy({ by: ['city'], _count: { email: true }, _max: { full_name: true }, orderBy: { city: 'asc' } })
  assert.equal(cities.reduce((sum, row) => sum + row._count.email, 0), await db.customers.count())
  assert.deepEqual(await db.orders.aggregate({ _sum: { total: true }, where: { customers: { is: { city: 'Boston' } } } }),
    await real.orders.aggregate({ _sum: { total: true }, where: { customers: { is: { city: 'Boston' } } } }))
  assert.equal((await db.customers.findMany({ distinct: ['city'], select: { city: true } })).length, cities.length)
  const cursor = await db.customers.findMany({ cursor: { email: somebody.email }, take: 3, orderBy: { id: 'asc' } })
  assert.equal(cursor[0].id, somebody.id)
  const raw = await db.$queryRaw`SELECT id, email FROM customers WHERE email = ${somebody.email}`
  assert.deepEqual(raw, [{ id: somebody.id, email: somebody.email }])
  const views = await db.$queryRaw`SELECT full_name, email, items FROM order_summaries ORDER BY id LIMIT 5`
  assert.equal(views.length, 5)
})
