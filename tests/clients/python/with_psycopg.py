"""psycopg 3: simple and extended protocol, server-side prepared statements and cursors, COPY, its pool."""

import threading
import time
import unittest

import psycopg
from psycopg import errors
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from witness import DATABASE_URL, NothingCommitted

STATUS = psycopg.pq.TransactionStatus


class Psycopg(NothingCommitted, unittest.TestCase):
    def setUp(self):
        self.db = psycopg.connect(DATABASE_URL, connect_timeout=10)
        self.addCleanup(self.db.close)
        self.others = []
        with self.db.transaction():
            self.db.execute("DROP TABLE IF EXISTS psycopg_lines, psycopg_notes")
            self.db.execute(
                "CREATE TABLE psycopg_notes (id serial PRIMARY KEY, title text NOT NULL UNIQUE,"
                " body jsonb, made timestamptz NOT NULL DEFAULT now())"
            )

    def tearDown(self):
        # The others first: their open transactions would keep the tables.
        for other in self.others:
            other.close()
        self.db.rollback()
        self.db.execute("DROP TABLE IF EXISTS psycopg_lines, psycopg_notes")
        self.db.commit()

    def another(self, **options):
        connection = psycopg.connect(DATABASE_URL, connect_timeout=10, **options)
        self.others.append(connection)
        return connection

    def add(self, title, db=None):
        return (db or self.db).execute(
            "INSERT INTO psycopg_notes (title) VALUES (%s) RETURNING id", [title]
        ).fetchone()[0]

    def titles(self, db=None):
        rows = (db or self.db).execute("SELECT title FROM psycopg_notes ORDER BY title").fetchall()
        return [row[0] for row in rows]

    def test_commit_and_rollback(self):
        self.add("kept")
        self.assertEqual(self.db.info.transaction_status, STATUS.INTRANS)
        self.db.commit()
        self.assertEqual(self.db.info.transaction_status, STATUS.IDLE)
        self.add("dropped")
        self.db.rollback()
        self.assertEqual(self.titles(), ["kept"])
        self.db.commit()
        self.assertEqual(self.titles(self.another()), ["kept"])

    def test_values_and_rows(self):
        self.db.row_factory = dict_row
        cursor = self.db.execute(
            "INSERT INTO psycopg_notes (title, body) VALUES (%s, %s) RETURNING id, title, body, made, now() AS now",
            ["typed", psycopg.types.json.Jsonb({"a": [1, None, "é"]})],
        )
        self.assertEqual([column.name for column in cursor.description], ["id", "title", "body", "made", "now"])
        self.assertEqual(cursor.statusmessage, "INSERT 0 1")
        row = cursor.fetchone()
        self.assertEqual(row["body"], {"a": [1, None, "é"]})
        self.assertEqual(row["made"], row["now"])
        binary = self.db.cursor(binary=True).execute("SELECT 1::int4 AS n, 'x'::text AS t, NULL::text AS z").fetchone()
        self.assertEqual(binary, {"n": 1, "t": "x", "z": None})

    def test_unique_violation_and_recovery(self):
        self.add("one")
        self.db.commit()
        with self.assertRaises(errors.UniqueViolation) as caught:
            self.add("one")
        self.assertEqual(caught.exception.diag.constraint_name, "psycopg_notes_title_key")
        self.assertEqual(caught.exception.diag.table_name, "psycopg_notes")
        self.assertEqual(self.db.info.transaction_status, STATUS.INERROR)
        with self.assertRaises(errors.InFailedSqlTransaction):
            self.titles()
        self.db.rollback()
        self.assertEqual(self.titles(), ["one"])

    def test_syntax_error_says_where(self):
        with self.assertRaises(errors.SyntaxError) as caught:
            self.db.execute("SELECT 1 FROM WHERE")
        self.assertEqual(caught.exception.diag.statement_position, "15")
        self.db.rollback()
        self.assertEqual(self.db.execute("SELECT 1").fetchone(), (1,))

    def test_nested_transactions(self):
        with self.db.transaction():
            self.add("outer")
            with self.assertRaises(errors.DivisionByZero):
                with self.db.transaction():
                    self.add("inner")
                    self.db.execute("SELECT 1/0")
            with self.db.transaction():
                self.add("second")
            with self.db.transaction() as inner:
                self.add("third")
                raise psycopg.Rollback(inner)
        self.assertEqual(self.titles(), ["outer", "second"])
        self.db.rollback()

    def test_savepoints_by_hand(self):
        self.add("a")
        self.db.execute("SAVEPOINT s")
        self.add("b")
        with self.assertRaises(errors.DivisionByZero):
            self.db.execute("SELECT 1/0")
        self.db.execute("ROLLBACK TO s")
        self.assertEqual(self.titles(), ["a"])
        self.add("c")
        self.db.execute("RELEASE s")
        with self.assertRaises(errors.InvalidSavepointSpecification):
            self.db.execute("ROLLBACK TO s")
        self.db.rollback()
        self.assertEqual(self.titles(), [])

    def test_autocommit_survives_errors(self):
        db = self.another(autocommit=True)
        self.db.commit()
        self.add("kept", db)
        for wrong in ["SELECT 1/0", "SELEC", "INSERT INTO psycopg_notes (title) VALUES ('kept')", "TABLE nowhere"]:
            with self.assertRaises(psycopg.Error):
                db.execute(wrong)
            self.assertEqual(db.info.transaction_status, STATUS.IDLE)
        self.assertEqual(self.titles(db), ["kept"])

    def test_several_statements_in_one_query(self):
        db = self.another(autocommit=True)
        cursor = db.execute("SELECT 1; INSERT INTO psycopg_notes (title) VALUES ('x'); SELECT title FROM psycopg_notes")
        results = [cursor.fetchall() if cursor.description else cursor.rowcount for _ in cursor.results()]
        self.assertEqual(results, [[(1,)], 1, [("x",)]])
        with self.assertRaises(errors.DivisionByZero):
            db.execute("INSERT INTO psycopg_notes (title) VALUES ('y'); SELECT 1/0")
        self.assertEqual(self.titles(db), ["x"])

    def test_cancel(self):
        timer = threading.Timer(0.3, self.db.cancel_safe)
        timer.start()
        started = time.monotonic()
        with self.assertRaises(errors.QueryCanceled):
            self.db.execute("SELECT pg_sleep(20)")
        self.assertLess(time.monotonic() - started, 5)
        timer.join()
        self.db.rollback()
        self.assertEqual(self.db.execute("SELECT 1").fetchone(), (1,))

    def test_copy_in_and_out(self):
        with self.db.cursor() as cursor:
            with cursor.copy("COPY psycopg_notes (id, title) FROM STDIN") as copy:
                for number in range(2000):
                    copy.write_row((number + 1000, f"line\t{number}"))
            self.assertEqual(cursor.rowcount, 2000)
            with cursor.copy("COPY (SELECT id, title FROM psycopg_notes ORDER BY id) TO STDOUT") as copy:
                copy.set_types(["int4", "text"])
                rows = list(copy.rows())
        self.assertEqual(len(rows), 2000)
        self.assertEqual(rows[1], (1001, "line\t1"))
        with self.assertRaises(errors.InvalidTextRepresentation):
            with self.db.cursor().copy("COPY psycopg_notes (id) FROM STDIN") as copy:
                copy.write("no number\n")
        self.db.rollback()
        with self.assertRaises(ZeroDivisionError):
            with self.db.cursor().copy("COPY psycopg_notes (title) FROM STDIN") as copy:
                copy.write("x\n")
                raise ZeroDivisionError
        self.db.rollback()
        self.assertEqual(self.titles(), [])

    def test_binary_copy(self):
        with self.db.cursor().copy("COPY psycopg_notes (title) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["text"])
            copy.write_row(("binary",))
        with self.db.cursor().copy("COPY psycopg_notes (title) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["text"])
            self.assertEqual(list(copy.rows()), [("binary",)])
        self.db.rollback()

    def test_prepared_statements(self):
        self.db.prepare_threshold = 2
        for number in range(10):
            self.add(f"n{number}")
            self.assertEqual(self.db.execute("SELECT %s::int + 1", [number]).fetchone(), (number + 1,))
        self.db.commit()
        for number in range(3):
            self.assertEqual(len(self.titles()), 10)
        with self.assertRaises(errors.DivisionByZero):
            for divisor in [3, 2, 1, 0]:
                self.db.execute("SELECT 1 / %s::int", [divisor], prepare=True)
        self.db.rollback()
        self.assertEqual(self.db.execute("SELECT 4 / %s::int", [2], prepare=True).fetchone(), (2,))
        self.db.execute("PREPARE by_hand (int) AS SELECT $1 * 2")
        self.assertEqual(self.db.execute("EXECUTE by_hand (21)").fetchone(), (42,))
        self.db.execute("DEALLOCATE ALL")
        with self.assertRaises(errors.InvalidSqlStatementName):
            self.db.execute("EXECUTE by_hand (21)")
        self.db.rollback()

    def test_pipeline(self):
        with self.db.pipeline():
            self.add("p1")
            cursors = [self.db.execute("SELECT %s::int", [number]) for number in range(20)]
            self.assertEqual([cursor.fetchone()[0] for cursor in cursors], list(range(20)))
        with self.assertRaises(errors.DivisionByZero):
            with self.db.pipeline():
                self.add("p2")
                self.db.execute("SELECT 1/0")
                self.add("p3")
        self.db.rollback()
        self.assertEqual(self.titles(), [])

    def test_executemany(self):
        with self.db.cursor() as cursor:
            cursor.executemany("INSERT INTO psycopg_notes (title) VALUES (%s)", [(f"m{n}",) for n in range(500)])
            self.assertEqual(cursor.rowcount, 500)
        self.db.commit()
        self.assertEqual(len(self.titles()), 500)

    def test_server_side_cursors(self):
        with self.db.cursor(name="walk") as cursor:
            cursor.itersize = 10
            cursor.execute("SELECT n FROM generate_series(1, 95) n")
            self.assertEqual(cursor.fetchmany(3), [(1,), (2,), (3,)])
            self.assertEqual(sum(row[0] for row in cursor), sum(range(4, 96)))
        self.db.commit()
        with self.db.cursor(name="held", withhold=True, scrollable=True) as cursor:
            cursor.execute("SELECT n FROM generate_series(1, 5) n")
            self.db.commit()
            cursor.scroll(4, mode="absolute")
            self.assertEqual(cursor.fetchone(), (5,))
        self.db.execute("DECLARE gone CURSOR FOR SELECT 1")
        self.db.commit()
        with self.assertRaises(errors.InvalidCursorName):
            self.db.execute("FETCH gone")
        self.db.rollback()

    def test_listen_and_notify(self):
        listener = self.another(autocommit=True)
        listener.execute("LISTEN psycopg_news")
        self.db.execute("NOTIFY psycopg_news, 'first'")
        self.db.rollback()
        self.db.execute("SELECT pg_notify('psycopg_news', 'second')")
        self.assertEqual(list(listener.notifies(timeout=0.3)), [])
        self.db.commit()
        got = list(listener.notifies(timeout=5, stop_after=1))
        self.assertEqual([(n.channel, n.payload) for n in got], [("psycopg_news", "second")])
        self.assertEqual(got[0].pid, self.db.info.backend_pid)

    def test_a_connection_inside_an_open_transaction(self):
        self.db.commit()
        self.db.execute("SELECT 1")
        other = self.another()
        other.execute("SET lock_timeout = '5s'")
        other.execute("INSERT INTO psycopg_notes (title) VALUES ('from the other')")
        other.commit()
        self.add("mine")
        self.db.commit()
        self.assertEqual(self.titles(), ["from the other", "mine"])

    def test_settings_belong_to_the_connection(self):
        self.db.execute("SET application_name = 'one'; SET TimeZone = 'Asia/Tokyo'")
        self.db.commit()
        other = self.another()
        self.assertNotEqual(other.execute("SHOW TimeZone").fetchone(), ("Asia/Tokyo",))
        other.rollback()
        self.assertEqual(self.db.execute("SHOW TimeZone").fetchone(), ("Asia/Tokyo",))
        self.assertEqual(self.db.info.parameter_status("TimeZone"), "Asia/Tokyo")
        self.db.execute("SET LOCAL TimeZone = 'Europe/Rome'")
        self.assertEqual(self.db.info.parameter_status("TimeZone"), "Europe/Rome")
        self.db.commit()
        self.assertEqual(self.db.info.parameter_status("TimeZone"), "Asia/Tokyo")
        self.db.execute("SET TimeZone = 'Europe/Oslo'")
        self.db.rollback()
        self.assertEqual(self.db.execute("SHOW TimeZone").fetchone(), ("Asia/Tokyo",))
        self.db.rollback()

    def test_read_only_and_isolation(self):
        self.db.commit()
        self.db.read_only = True
        with self.assertRaises(errors.ReadOnlySqlTransaction):
            self.add("never")
        self.db.rollback()
        self.db.read_only = None
        self.db.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        self.assertEqual(self.db.execute("SHOW transaction_isolation").fetchone(), ("serializable",))
        self.add("serial")
        self.db.commit()
        self.db.isolation_level = None
        self.assertEqual(self.titles(), ["serial"])

    def test_temporary_tables(self):
        with self.db.transaction():
            self.db.execute("CREATE TEMP TABLE scratch (n int) ON COMMIT DROP")
            self.db.execute("INSERT INTO scratch SELECT generate_series(1, 3)")
            self.assertEqual(self.db.execute("SELECT sum(n) FROM scratch").fetchone(), (6,))
        with self.assertRaises(errors.UndefinedTable):
            self.db.execute("TABLE scratch")
        self.db.rollback()

    def test_discard_all(self):
        db = self.another(autocommit=True, prepare_threshold=None)
        db.execute("SET search_path = pg_catalog")
        db.execute("PREPARE p AS SELECT 1")
        db.execute("LISTEN psycopg_news")
        self.assertEqual(db.execute("DISCARD ALL").statusmessage, "DISCARD ALL")
        self.assertNotEqual(db.execute("SHOW search_path").fetchone(), ("pg_catalog",))
        with self.assertRaises(errors.InvalidSqlStatementName):
            db.execute("EXECUTE p")
        self.db.execute("NOTIFY psycopg_news")
        self.db.commit()
        self.assertEqual(list(db.notifies(timeout=0.3)), [])

    def test_advisory_locks_exclude(self):
        self.assertEqual(self.db.execute("SELECT pg_try_advisory_lock(4711)").fetchone(), (True,))
        self.db.commit()
        other = self.another(autocommit=True)
        self.assertEqual(other.execute("SELECT pg_try_advisory_lock(4711)").fetchone(), (False,))
        self.assertEqual(self.db.execute("SELECT pg_advisory_unlock(4711)").fetchone(), (True,))
        self.db.commit()
        self.assertEqual(other.execute("SELECT pg_try_advisory_lock(4711)").fetchone(), (True,))

    def test_a_pool_of_ten(self):
        def reset(connection):
            connection.execute("DISCARD ALL")

        def configure(connection):
            connection.autocommit = True

        with ConnectionPool(DATABASE_URL, min_size=10, max_size=10, kwargs={"prepare_threshold": None},
                            configure=configure, reset=reset, timeout=30) as pool:
            pool.wait(30)
            wrong = []

            def work(worker):
                try:
                    for step in range(10):
                        with pool.connection() as db, db.transaction():
                            self.add(f"w{worker}-{step}", db)
                        with pool.connection() as db:
                            found = db.execute(
                                "SELECT count(*) FROM psycopg_notes WHERE title = %s", [f"w{worker}-{step}"]
                            ).fetchone()
                            if found != (1,):
                                wrong.append((worker, step))
                except Exception as error:  # pylint: disable=broad-except
                    wrong.append(error)

            workers = [threading.Thread(target=work, args=[n]) for n in range(10)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(60)
            self.assertEqual(wrong, [])
        self.assertEqual(len(self.titles()), 100)

    def test_foreign_keys_deferred_to_commit(self):
        self.db.execute(
            "CREATE TABLE psycopg_lines (note_id int REFERENCES psycopg_notes DEFERRABLE INITIALLY DEFERRED)"
        )
        self.db.commit()
        self.db.execute("INSERT INTO psycopg_lines VALUES (77)")
        with self.assertRaises(errors.ForeignKeyViolation):
            self.db.commit()
        self.assertEqual(self.db.info.transaction_status, STATUS.IDLE)
        self.db.execute("INSERT INTO psycopg_lines VALUES (78)")
        self.db.execute("INSERT INTO psycopg_notes (id, title) VALUES (78, 'late')")
        self.db.commit()
        self.assertEqual(self.db.execute("SELECT note_id FROM psycopg_lines").fetchall(), [(78,)])
        self.db.commit()


if __name__ == "__main__":
    unittest.main()
