"""asyncpg: the extended protocol with binary values and named statements, COPY, and the pool with its reset query."""

import asyncio
import time
import unittest

import asyncpg

from witness import DATABASE_URL, NothingCommitted


class Asyncpg(NothingCommitted, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.others = []
        self.db = await asyncpg.connect(DATABASE_URL, timeout=10)
        await self.drop()
        await self.db.execute(
            "CREATE TABLE asyncpg_notes (id bigserial PRIMARY KEY, title text NOT NULL UNIQUE,"
            " price numeric(10, 2), tags text[], made timestamptz NOT NULL DEFAULT now())"
        )

    async def asyncTearDown(self):
        # The others first: their open transactions would keep the table.
        for other in self.others:
            await other.close()
        if self.db.is_in_transaction():
            await self.db.execute("ROLLBACK")
        await self.drop()
        await self.db.close()

    async def drop(self):
        await self.db.execute("DROP TABLE IF EXISTS asyncpg_notes; DROP TYPE IF EXISTS asyncpg_mood")

    async def another(self, **options):
        connection = await asyncpg.connect(DATABASE_URL, timeout=10, **options)
        self.others.append(connection)
        return connection

    async def add(self, title, db=None):
        return await (db or self.db).fetchval("INSERT INTO asyncpg_notes (title) VALUES ($1) RETURNING id", title)

    async def titles(self, db=None):
        rows = await (db or self.db).fetch("SELECT title FROM asyncpg_notes ORDER BY title")
        return [row["title"] for row in rows]

    async def test_commit_and_rollback(self):
        async with self.db.transaction():
            await self.add("kept")
        transaction = self.db.transaction()
        await transaction.start()
        await self.add("dropped")
        self.assertTrue(self.db.is_in_transaction())
        await transaction.rollback()
        self.assertFalse(self.db.is_in_transaction())
        self.assertEqual(await self.titles(), ["kept"])
        self.assertEqual(await self.titles(await self.another()), ["kept"])

    async def test_values_and_types(self):
        await self.db.execute("CREATE TYPE asyncpg_mood AS ENUM ('glad', 'sad')")
        # asyncpg asks the catalog how to read a type that it does not know.
        self.assertEqual(await self.db.fetchval("SELECT $1::asyncpg_mood", "glad"), "glad")
        self.assertEqual(await self.db.fetchval("SELECT ARRAY['sad', 'glad']::asyncpg_mood[]"), ["sad", "glad"])
        row = await self.db.fetchrow("SELECT t AS note, 1.50::numeric(10, 2) AS n FROM (SELECT 1 AS a, 'x' AS b) t")
        self.assertEqual((tuple(row["note"]), str(row["n"])), ((1, "x"), "1.50"))
        status = await self.db.execute("INSERT INTO asyncpg_notes (title, tags) VALUES ($1, $2)", "t", ["a", None])
        self.assertEqual(status, "INSERT 0 1")
        self.assertEqual(await self.db.fetchval("SELECT tags FROM asyncpg_notes"), ["a", None])

    async def test_errors_and_recovery(self):
        await self.add("one")
        with self.assertRaises(asyncpg.UniqueViolationError) as caught:
            await self.add("one")
        self.assertEqual(caught.exception.constraint_name, "asyncpg_notes_title_key")
        with self.assertRaises(asyncpg.PostgresSyntaxError) as caught:
            await self.db.fetch("SELECT 1 FROM WHERE")
        self.assertEqual(caught.exception.position, "15")
        with self.assertRaises(asyncpg.UndefinedTableError):
            await self.db.fetch("SELECT * FROM nowhere")
        with self.assertRaises(asyncpg.DivisionByZeroError):
            await self.db.execute("INSERT INTO asyncpg_notes (title) VALUES ('two'); SELECT 1/0")
        self.assertEqual(await self.titles(), ["one"])
        await self.db.execute("BEGIN")
        await self.add("three")
        with self.assertRaises(asyncpg.DivisionByZeroError):
            await self.db.fetch("SELECT 1/$1::int", 0)
        with self.assertRaises(asyncpg.InFailedSQLTransactionError):
            await self.titles()
        self.assertEqual(await self.db.execute("COMMIT"), "ROLLBACK")
        self.assertEqual(await self.titles(), ["one"])

    async def test_nested_transactions(self):
        async with self.db.transaction():
            await self.add("outer")
            with self.assertRaises(asyncpg.DivisionByZeroError):
                async with self.db.transaction():
                    await self.add("inner")
                    await self.db.fetch("SELECT 1/0")
            async with self.db.transaction():
                await self.add("second")
                async with self.db.transaction():
                    await self.add("third")
        self.assertEqual(await self.titles(), ["outer", "second", "third"])

    async def test_isolation_and_read_only(self):
        async with self.db.transaction(isolation="repeatable_read"):
            self.assertEqual(await self.db.fetchval("SHOW transaction_isolation"), "repeatable read")
            await self.add("r")
        with self.assertRaises(asyncpg.ReadOnlySQLTransactionError):
            async with self.db.transaction(readonly=True):
                await self.add("never")
        async with self.db.transaction(isolation="serializable", readonly=True, deferrable=True):
            self.assertEqual(await self.titles(), ["r"])
        self.assertEqual(await self.db.fetchval("SHOW transaction_isolation"), "read committed")

    async def test_cancel(self):
        started = time.monotonic()
        with self.assertRaises(asyncio.TimeoutError):
            await self.db.fetch("SELECT pg_sleep(20)", timeout=0.3)
        self.assertEqual(await self.db.fetchval("SELECT 1"), 1)
        with self.assertRaises(asyncio.TimeoutError):
            async with self.db.transaction():
                await self.add("never")
                await self.db.execute("SELECT pg_sleep(20)", timeout=0.3)
        self.assertLess(time.monotonic() - started, 10)
        self.assertEqual(await self.titles(), [])

    async def test_copy_both_ways(self):
        records = [(f"title {number}", None) for number in range(3000)]
        status = await self.db.copy_records_to_table("asyncpg_notes", records=records, columns=["title", "tags"])
        self.assertEqual(status, "COPY 3000")
        got = bytearray()

        async def collect(data):
            got.extend(data)

        status = await self.db.copy_from_query("SELECT title FROM asyncpg_notes", output=collect, format="csv")
        self.assertEqual((status, got.count(b"\n")), ("COPY 3000", 3000))
        status = await self.db.copy_from_table("asyncpg_notes", columns=["title"], output=collect)
        self.assertEqual((status, got.count(b"\n")), ("COPY 3000", 6000))
        with self.assertRaises(asyncpg.UniqueViolationError):
            await self.db.copy_records_to_table("asyncpg_notes", records=[("title 1",)], columns=["title"])
        self.assertEqual(await self.db.fetchval("SELECT count(*) FROM asyncpg_notes"), 3000)

    async def test_prepared_statements(self):
        add = await self.db.prepare("INSERT INTO asyncpg_notes (title) VALUES ($1) RETURNING id")
        self.assertEqual([p.name for p in add.get_parameters()], ["text"])
        self.assertEqual([(a.name, a.type.name) for a in add.get_attributes()], [("id", "int8")])
        first, second = await add.fetchval("a"), await add.fetchval("b")
        self.assertGreater(second, first)
        with self.assertRaises(asyncpg.UniqueViolationError):
            await add.fetchval("a")
        await add.fetchval("c")
        await self.db.executemany("INSERT INTO asyncpg_notes (title) VALUES ($1)", [(f"m{n}",) for n in range(200)])
        with self.assertRaises(asyncpg.UniqueViolationError):
            await self.db.executemany("INSERT INTO asyncpg_notes (title) VALUES ($1)", [("new",), ("m1",)])
        self.assertEqual(await self.db.fetchval("SELECT count(*) FROM asyncpg_notes"), 203)
        other = await self.another()
        same = await other.prepare("SELECT $1::int + 1")
        mine = await self.db.prepare("SELECT $1::int + 2")
        self.assertEqual((await same.fetchval(1), await mine.fetchval(1), await same.fetchval(2)), (2, 3, 3))

    async def test_a_statement_outlives_a_change_of_its_table(self):
        await self.add("x")
        self.assertEqual(len((await self.db.fetch("SELECT * FROM asyncpg_notes"))[0]), 5)
        await self.db.execute("ALTER TABLE asyncpg_notes ADD COLUMN more int DEFAULT 7")
        self.assertEqual((await self.db.fetch("SELECT * FROM asyncpg_notes"))[0]["more"], 7)

    async def test_cursors(self):
        async with self.db.transaction():
            seen = [row["n"] async for row in self.db.cursor("SELECT n FROM generate_series(1, 120) n", prefetch=25)]
            self.assertEqual(seen, list(range(1, 121)))
            cursor = await self.db.cursor("SELECT n FROM generate_series(1, 10) n")
            self.assertEqual(await cursor.forward(3), 3)
            await self.add("between")
            self.assertEqual((await cursor.fetchrow())["n"], 4)
            self.assertEqual([row["n"] for row in await cursor.fetch(20)], [5, 6, 7, 8, 9, 10])
        with self.assertRaises(asyncpg.NoActiveSQLTransactionError):
            await self.db.cursor("SELECT 1")

    async def test_listen_and_notify(self):
        got = asyncio.Queue()
        listener = await self.another()
        hear = lambda *message: got.put_nowait(message)  # noqa: E731
        await listener.add_listener("asyncpg_news", hear)
        async with self.db.transaction():
            await self.db.execute("SELECT pg_notify($1, $2)", "asyncpg_news", "hello")
            await asyncio.sleep(0.2)
            self.assertTrue(got.empty())
        _, pid, channel, payload = await asyncio.wait_for(got.get(), 5)
        self.assertEqual((pid, channel, payload), (self.db.get_server_pid(), "asyncpg_news", "hello"))
        await self.db.execute("SELECT pg_notify('asyncpg_news', 'again')")
        self.assertEqual((await asyncio.wait_for(got.get(), 5))[3], "again")
        await listener.remove_listener("asyncpg_news", hear)
        await self.db.execute("NOTIFY asyncpg_news")
        await asyncio.sleep(0.2)
        self.assertTrue(got.empty())

    async def test_a_connection_inside_an_open_transaction(self):
        other = await self.another()
        async with self.db.transaction():
            await self.db.fetch("SELECT 1")
            await self.add("from the other", other)
            await self.add("mine")
        self.assertEqual(await self.titles(), ["from the other", "mine"])

    async def test_reset_forgets_the_session(self):
        db = await self.another()
        await db.execute("SET search_path = pg_catalog; SET TimeZone = 'Asia/Tokyo'")
        await db.execute("SELECT pg_advisory_lock(4712)")
        self.assertFalse(await self.db.fetchval("SELECT pg_try_advisory_lock(4712)"))
        await db.reset()
        self.assertTrue(await self.db.fetchval("SELECT pg_try_advisory_lock(4712)"))
        self.assertTrue(await self.db.fetchval("SELECT pg_advisory_unlock(4712)"))
        self.assertNotEqual(await db.fetchval("SHOW TimeZone"), "Asia/Tokyo")
        await self.titles(db)

    async def test_startup_settings(self):
        db = await self.another(server_settings={"application_name": "the suite", "timezone": "Asia/Tokyo"})
        self.assertEqual(await db.fetchval("SHOW TimeZone"), "Asia/Tokyo")
        self.assertEqual(db.get_settings().TimeZone, "Asia/Tokyo")
        self.assertEqual(await db.fetchval("SHOW application_name"), "the suite")
        await db.execute("SET TimeZone = 'Europe/Rome'")
        await db.execute("RESET ALL")
        self.assertEqual(await db.fetchval("SHOW TimeZone"), "Asia/Tokyo")

    async def test_a_pool_of_ten(self):
        async with asyncpg.create_pool(DATABASE_URL, min_size=10, max_size=10, timeout=30) as pool:

            async def work(worker):
                for step in range(10):
                    async with pool.acquire() as db, db.transaction():
                        await self.add(f"w{worker}-{step}", db)
                        await db.execute("SET LOCAL work_mem = '8MB'")
                    async with pool.acquire() as db:
                        found = await db.fetchval(
                            "SELECT count(*) FROM asyncpg_notes WHERE title = $1", f"w{worker}-{step}"
                        )
                        self.assertEqual(found, 1)

            await asyncio.wait_for(asyncio.gather(*[work(worker) for worker in range(10)]), 60)
            self.assertEqual(await pool.fetchval("SELECT count(*) FROM asyncpg_notes"), 100)


if __name__ == "__main__":
    unittest.main()
