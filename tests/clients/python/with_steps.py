"""The steps of ../shop.json, by every driver of Python and by psql: each tells the same, masked or not."""

import asyncio
import json
import pathlib
import subprocess
import unittest

import asyncpg
import psycopg
import sqlalchemy
from sqlalchemy.engine import make_url

from witness import DATABASE_URL, EXPECT_MASKS, UPSTREAM_URL, NothingCommitted

SHOP = json.loads((pathlib.Path(__file__).parent.parent / "shop.json").read_text())


class Psycopg:
    """psycopg 3, each transaction on a connection of its own."""

    def transaction(self, steps):
        with psycopg.connect(DATABASE_URL, cursor_factory=psycopg.RawCursor) as db:
            try:
                for step in steps:
                    if "copy" in step:
                        with db.cursor().copy(step["copy"]) as copy:
                            yield b"".join(map(bytes, copy)).decode()
                    else:
                        cursor = db.execute(step["sql"], step["with"])
                        yield cursor.fetchall() if cursor.description else []
            except psycopg.Error as error:
                db.rollback()
                yield error.sqlstate


class SqlAlchemy:
    """SQLAlchemy's Core, with its pool."""

    def __init__(self):
        self.engine = sqlalchemy.create_engine(make_url(DATABASE_URL).set(drivername="postgresql+psycopg"), pool_size=3)

    def transaction(self, steps):
        try:
            with self.engine.begin() as db:
                for step in steps:
                    if "copy" in step:
                        with db.connection.driver_connection.cursor().copy(step["copy"]) as copy:
                            yield b"".join(map(bytes, copy)).decode()
                    else:
                        sql = step["sql"]
                        for n in range(len(step["with"]), 0, -1):
                            sql = sql.replace(f"${n}", f":p{n}")
                        result = db.execute(sqlalchemy.text(sql), {f"p{n + 1}": value for n, value in enumerate(step["with"])})
                        yield [tuple(row) for row in result] if result.returns_rows else []
        except sqlalchemy.exc.DBAPIError as error:
            yield error.orig.sqlstate


class AsyncPg:
    """asyncpg, with its pool."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.pool = self.wait(asyncpg.create_pool(DATABASE_URL, min_size=2, max_size=3, loop=self.loop))

    def wait(self, work):
        async def run():
            return await work

        return self.loop.run_until_complete(run())

    async def copied(self, db, sql):
        text = bytearray()

        async def sink(data):
            text.extend(data)

        inner = sql.removeprefix("COPY ")
        if inner.startswith("("):
            await db.copy_from_query(inner[1 : inner.rindex(") TO")], output=sink, format="csv")
        else:
            table, columns = inner.split(" TO")[0].split(" ", 1)
            await db.copy_from_table(table, columns=columns.strip("()").split(", "), output=sink)
        return text.decode()

    def transaction(self, steps):
        db = self.wait(self.pool.acquire())
        block = db.transaction()
        self.wait(block.start())
        try:
            for step in steps:
                if "copy" in step:
                    yield self.wait(self.copied(db, step["copy"]))
                else:
                    yield [tuple(row) for row in self.wait(db.fetch(step["sql"], *step["with"]))]
            self.wait(block.commit())
        except asyncpg.PostgresError as error:
            self.wait(block.rollback())
            yield error.sqlstate
        finally:
            self.wait(self.pool.release(db))


class Psql:
    """psql, as somebody types into it."""

    def transaction(self, steps):
        options = ["-XqAt", "--field-separator=\x1f", "--set=VERBOSITY=sqlstate"]
        with subprocess.Popen(
            ["psql", *options, DATABASE_URL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as psql:

            def ask(*typed):
                print(*typed, "\\echo done", sep="\n", file=psql.stdin, flush=True)
                return [line.rstrip("\n") for line in iter(psql.stdout.readline, "done\n")]

            ask("BEGIN;")
            for step in steps:
                sql, values = step.get("copy") or step["sql"], step["with"]
                for n in range(len(values), 0, -1):
                    sql = sql.replace(f"${n}", f":'p{n}'")
                variables = ["\\set p%d '%s'" % (n, str(value).replace("'", "\\'")) for n, value in enumerate(values, 1)]
                lines = ask(*variables, f"{sql};")
                if lines and lines[0].startswith("ERROR:"):
                    yield lines[0].split()[-1]
                    break
                yield "\n".join(lines) if "copy" in step else [tuple(line.split("\x1f")) for line in lines]
            ask("COMMIT;")
            psql.stdin.close()


class Steps(NothingCommitted, unittest.TestCase):
    def take_all(self, driver):
        kept = {}

        def known(value):
            return kept[value[1:]] if isinstance(value, str) and value.startswith(":") else value

        for transaction in SHOP["transactions"]:
            told, error = None, None
            results = driver.transaction(self.bound(transaction["steps"], known))
            for step, told in zip(transaction["steps"], results, strict=False):
                where = (transaction["name"], step)
                if isinstance(told, str) and "copy" not in step:
                    error = told
                    break
                for line in step.get("lines", []):
                    self.assertIn(line, told, where)
                if "rows" in step:
                    shown = [[str(value) for value in row] for row in told]
                    expected = [[str(known(value)) for value in row] for row in step["rows"]]
                    self.assertEqual(len(shown), len(expected), (where, shown))
                    for row, wanted in zip(shown, expected):
                        self.assertEqual([w if w == "*" else v for v, w in zip(row, wanted, strict=True)], wanted, where)
                for name, place in step.get("keep", {}).items():
                    kept[name] = told[0][place]
            self.assertEqual(error, transaction.get("fails"), where)
            # Whatever is left: the end of the transaction.
            self.assertEqual(list(results), [], transaction["name"])
        with psycopg.connect(UPSTREAM_URL) as admin:
            real = admin.execute("SELECT full_name, email FROM customers WHERE id = 42").fetchone()
        self.assertEqual(real != (kept["name"], kept["email"]), EXPECT_MASKS)

    def bound(self, steps, known):
        """The steps with their values, each when it is asked for: an earlier one may have kept them."""
        for step in steps:
            yield {**step, "with": [known(value) for value in step.get("with", [])]}

    def test_psycopg(self):
        self.take_all(Psycopg())

    def test_sqlalchemy(self):
        driver = SqlAlchemy()
        self.addCleanup(driver.engine.dispose)
        self.take_all(driver)

    def test_asyncpg(self):
        driver = AsyncPg()
        self.addCleanup(driver.loop.close)
        self.addCleanup(lambda: driver.wait(driver.pool.close()))
        self.take_all(driver)

    def test_psql(self):
        self.take_all(Psql())


if __name__ == "__main__":
    unittest.main()
