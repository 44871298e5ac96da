"""SQLAlchemy: the ORM on psycopg, its pool with rollback on return, reflection; and its core on asyncpg."""

import asyncio
import datetime
import threading
import unittest
from decimal import Decimal

from sqlalchemy import ForeignKey, MetaData, Numeric, String, Table, create_engine, event, exc, func, insert, inspect
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from witness import DATABASE_URL, NothingCommitted


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "alchemy_authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    profile: Mapped[dict] = mapped_column(JSONB, default=dict)
    joined: Mapped[datetime.datetime] = mapped_column(server_default=func.now())
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "alchemy_books"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("alchemy_authors.id", ondelete="CASCADE"), index=True)
    title: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    author: Mapped[Author] = relationship(back_populates="books")


def engine(driver="psycopg", **options):
    return create_engine(make_url(DATABASE_URL).set(drivername=f"postgresql+{driver}"), **options)


class SqlAlchemy(NothingCommitted, unittest.TestCase):
    def setUp(self):
        self.engine = engine()
        self.addCleanup(self.engine.dispose)
        Base.metadata.drop_all(self.engine)
        Base.metadata.create_all(self.engine)
        self.addCleanup(Base.metadata.drop_all, self.engine)

    def author(self, session, name="Ada", books=2):
        author = Author(name=name, profile={"langs": ["en"]})
        author.books = [Book(title=f"{name} {n}", price=Decimal("9.50") + n) for n in range(books)]
        session.add(author)
        return author

    def names(self):
        with Session(self.engine) as session:
            return list(session.scalars(select(Author.name).order_by(Author.name)))

    def test_create_all_is_seen_and_repeatable(self):
        Base.metadata.create_all(self.engine)
        found = inspect(self.engine)
        self.assertTrue(found.has_table("alchemy_books"))
        columns = {column["name"]: column for column in found.get_columns("alchemy_authors")}
        self.assertEqual(columns["name"]["type"].length, 80)
        self.assertIn("now()", columns["joined"]["default"])
        self.assertEqual(found.get_pk_constraint("alchemy_books")["constrained_columns"], ["id"])
        keys = found.get_foreign_keys("alchemy_books")
        self.assertEqual([(key["referred_table"], key["options"]["ondelete"]) for key in keys], [("alchemy_authors", "CASCADE")])
        self.assertEqual([index["name"] for index in found.get_indexes("alchemy_books")], ["ix_alchemy_books_author_id"])

    def test_objects_live_across_sessions(self):
        with Session(self.engine) as session:
            author = self.author(session)
            session.commit()
            # Refreshed from the database: keys and server defaults.
            self.assertEqual({book.author_id for book in author.books}, {author.id})
            self.assertIsInstance(author.joined, datetime.datetime)
        with Session(self.engine) as session:
            rows = session.execute(
                select(Author.name, func.count(Book.id), func.sum(Book.price))
                .join(Author.books)
                .group_by(Author.id)
                .having(func.count() > 1)
            ).all()
            self.assertEqual(rows, [("Ada", 2, Decimal("20.00"))])
            author = session.scalars(select(Author).options(selectinload(Author.books))).one()
            author.profile = {**author.profile, "langs": ["en", "fr"]}
            author.books.pop()
            session.commit()
        with Session(self.engine) as session:
            author = session.scalars(select(Author).where(Author.profile["langs"].contains(["fr"]))).one()
            self.assertEqual(len(author.books), 1)
            session.delete(author)
            session.commit()
            self.assertEqual(session.scalar(select(func.count()).select_from(Book)), 0)

    def test_the_time_is_that_of_the_transaction(self):
        with Session(self.engine) as session:
            first = self.author(session, "first")
            session.flush()
            second = self.author(session, "second")
            session.flush()
            self.assertEqual(first.joined, second.joined)
            self.assertEqual(session.scalar(select(func.now())).replace(tzinfo=None), first.joined)
            session.commit()
            third = self.author(session, "third")
            session.commit()
            self.assertGreater(third.joined, first.joined)

    def test_rollback_and_unique_violation(self):
        with Session(self.engine) as session:
            self.author(session)
            session.commit()
            self.author(session)
            with self.assertRaises(exc.IntegrityError):
                session.flush()
            with self.assertRaises(exc.PendingRollbackError):
                session.scalars(select(Author)).all()
            session.rollback()
            self.author(session, "Grace")
            session.rollback()
            self.assertEqual(self.names(), ["Ada"])

    def test_savepoints(self):
        with Session(self.engine) as session, session.begin():
            self.author(session, "a")
            for name in ["a", "b", "a", "c"]:
                try:
                    with session.begin_nested():
                        self.author(session, name)
                except exc.IntegrityError:
                    pass
            with session.begin_nested() as nested:
                self.author(session, "d")
                session.flush()
                nested.rollback()
        self.assertEqual(self.names(), ["a", "b", "c"])

    def test_errors_leave_the_connection_usable(self):
        with self.engine.connect() as db:
            for wrong, kind in [
                ("SELECT 1/0", exc.DataError),
                ("SELECT FROM WHERE", exc.ProgrammingError),
                ("TABLE nowhere", exc.ProgrammingError),
            ]:
                with self.assertRaises(kind):
                    db.execute(text(wrong))
                with self.assertRaises(exc.InternalError):
                    db.execute(text("SELECT 1"))
                db.rollback()
                self.assertEqual(db.scalar(text("SELECT 1")), 1)

    def test_bulk_insert_returns_keys_in_order(self):
        with Session(self.engine) as session:
            authors = [Author(name=f"n{number}") for number in range(2500)]
            session.add_all(authors)
            session.flush()
            self.assertEqual(len({author.id for author in authors}), 2500)
            session.commit()
            ids = session.scalars(
                insert(Author).returning(Author.id, sort_by_parameter_order=True),
                [{"name": f"m{number}", "profile": {}} for number in range(2500)],
            ).all()
            self.assertEqual(ids, sorted(ids))
            session.commit()
            self.assertEqual(session.scalar(select(func.count(Author.id))), 5000)

    def test_upsert_update_returning(self):
        with self.engine.begin() as db:
            statement = upsert(Author).values(name="Ada", profile={"v": 1})
            statement = statement.on_conflict_do_update(
                index_elements=["name"], set_={"profile": {"v": 2}}
            ).returning(Author.profile)
            self.assertEqual([db.scalar(statement), db.scalar(statement)], [{"v": 1}, {"v": 2}])
            changed = db.execute(update(Author).values(name=Author.name + "!").returning(Author.name)).scalars().all()
            self.assertEqual(changed, ["Ada!"])

    def test_streaming_by_a_server_side_cursor(self):
        with self.engine.connect() as db:
            rows = db.execution_options(stream_results=True, max_row_buffer=50).execute(
                text("SELECT n FROM generate_series(1, 1000) n")
            )
            self.assertEqual(sum(row.n for row in rows), 500500)

    def test_reflection_of_tables_that_were_there(self):
        metadata = MetaData()
        metadata.reflect(self.engine)
        orders: Table = metadata.tables["orders"]
        self.assertEqual({key.column.table.name for key in orders.foreign_keys}, {"customers"})
        self.assertEqual(orders.c.status.type.enums, ["pending", "paid", "shipped", "delivered", "cancelled"])
        customers = metadata.tables["customers"]
        with self.engine.begin() as db:
            count = db.scalar(select(func.count()).select_from(orders))
            newest = db.execute(
                select(orders.c.number, customers.c.email).join(customers).order_by(orders.c.id.desc()).limit(3)
            ).all()
            self.assertEqual(len(newest), 3)
            someone = db.scalar(select(func.min(customers.c.id)))
            made = db.execute(
                orders.insert().values(customer_id=someone, total=5).returning(orders.c.number, orders.c.placed_at, func.now())
            ).one()
            self.assertTrue(made.number.startswith("ORD-"))
            self.assertEqual(made[1], made[2])
            self.assertEqual(db.scalar(select(func.count()).select_from(orders)), count + 1)
            db.rollback()

    def test_the_pool_rolls_back_on_return(self):
        pooled = engine(pool_size=1, max_overflow=0)
        self.addCleanup(pooled.dispose)
        with pooled.connect() as db:
            db.execute(insert(Author).values(name="forgotten", profile={}))
        with pooled.connect() as db:
            self.assertEqual(db.scalar(select(func.count(Author.id))), 0)
            db.execute(text("SELECT set_config('suite.value', 'x', true)"))
        with pooled.connect() as db:
            self.assertIn(db.scalar(text("SELECT current_setting('suite.value', true)")), ("", None))

    def test_a_pool_that_discards_all(self):
        pooled = engine(pool_size=2, pool_reset_on_return=None, connect_args={"prepare_threshold": None})
        self.addCleanup(pooled.dispose)

        @event.listens_for(pooled, "reset")
        def _reset(connection, _record, _state):
            connection.rollback()
            connection.autocommit = True
            connection.execute("DISCARD ALL")
            connection.autocommit = False

        for _ in range(3):
            with pooled.begin() as db:
                self.assertNotEqual(db.scalar(text("SHOW search_path")), "pg_catalog")
                db.execute(text("SET search_path = pg_catalog"))

    def test_a_pool_of_ten(self):
        pooled = engine(pool_size=10, max_overflow=0, pool_pre_ping=True)
        self.addCleanup(pooled.dispose)
        wrong = []

        def work(worker):
            try:
                for step in range(8):
                    with Session(pooled) as session, session.begin():
                        self.author(session, f"w{worker}-{step}", books=1)
                    with Session(pooled) as session:
                        session.scalars(select(Author).where(Author.name == f"w{worker}-{step}")).one()
            except Exception as error:  # pylint: disable=broad-except
                wrong.append(error)

        workers = [threading.Thread(target=work, args=[n]) for n in range(10)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        self.assertEqual(wrong, [])
        self.assertEqual(len(self.names()), 80)

    def test_autocommit_and_isolation_levels(self):
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.execute(insert(Author).values(name="auto", profile={}))
            with self.assertRaises(exc.IntegrityError):
                db.execute(insert(Author).values(name="auto", profile={}))
        with self.engine.connect().execution_options(isolation_level="SERIALIZABLE") as db:
            self.assertEqual(db.scalar(text("SHOW transaction_isolation")), "serializable")
            self.assertEqual(db.scalar(select(Author.name)), "auto")
        with self.engine.connect().execution_options(postgresql_readonly=True) as db:
            with self.assertRaises(exc.InternalError):
                db.execute(insert(Author).values(name="never", profile={}))
        self.assertEqual(self.names(), ["auto"])

    def test_the_core_on_asyncpg(self):
        async def job():
            db_engine = create_async_engine(make_url(DATABASE_URL).set(drivername="postgresql+asyncpg"))
            try:
                async with db_engine.begin() as db:
                    await db.execute(insert(Author), [{"name": f"a{n}", "profile": {"n": n}} for n in range(50)])
                with self.assertRaises(exc.IntegrityError):
                    async with db_engine.begin() as db:
                        await db.execute(insert(Author).values(name="b", profile={}))
                        await db.execute(insert(Author).values(name="a1", profile={}))
                async with db_engine.connect() as db:
                    streamed = await db.stream(select(Author.profile).order_by(Author.id))
                    return [row.profile["n"] async for row in streamed]
            finally:
                await db_engine.dispose()

        self.assertEqual(asyncio.run(job()), list(range(50)))
        self.assertEqual(len(self.names()), 50)


if __name__ == "__main__":
    unittest.main()
