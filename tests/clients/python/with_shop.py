"""The demo's shop, used as an application uses it, by psycopg and by SQLAlchemy's ORM: each step works, masked or not."""

import datetime
import unittest
import uuid
from decimal import Decimal

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import ForeignKey, String, create_engine, func, select
from sqlalchemy.dialects.postgresql import ENUM, JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, deferred, joinedload, mapped_column, relationship

from witness import DATABASE_URL, EXPECT_COMMITS, UPSTREAM_URL, NothingCommitted


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    full_name: Mapped[str]
    phone: Mapped[str | None]
    birth_date: Mapped[datetime.date | None]
    street: Mapped[str]
    city: Mapped[str]
    # Nobody reads it here, and the shop's policy denies it.
    postal_code: Mapped[str] = deferred(mapped_column())
    preferences: Mapped[dict] = mapped_column(JSONB, default=dict)
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", order_by="Order.id")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    status: Mapped[str] = mapped_column(
        ENUM("pending", "paid", "shipped", "delivered", "cancelled", name="order_status", create_type=False)
    )
    total: Mapped[Decimal] = mapped_column(server_default="0")
    note: Mapped[str | None]
    customer: Mapped[Customer] = relationship(back_populates="orders")


class Shop(NothingCommitted, unittest.TestCase):
    def setUp(self):
        self.email = f"dev-{uuid.uuid4().hex[:12]}@test.example"
        if EXPECT_COMMITS:
            self.addCleanup(self.clean_up)

    def clean_up(self):
        with psycopg.connect(UPSTREAM_URL) as admin:
            admin.execute("DELETE FROM orders USING customers c WHERE c.id = customer_id AND c.email = %s", [self.email])
            admin.execute("DELETE FROM customers WHERE email = %s", [self.email])

    def test_psycopg(self):
        with psycopg.connect(DATABASE_URL, row_factory=dict_row) as db:
            signed_up = db.execute(
                "INSERT INTO customers (email, full_name, street, city, postal_code)"
                " VALUES (%s, %s, %s, %s, %s) RETURNING id, email, full_name",
                [self.email, "Dev Test", "1 Test Street", "Austin", "73301"],
            ).fetchone()
            self.assertEqual((signed_up["email"], signed_up["full_name"]), (self.email, "Dev Test"))
            db.commit()
            with self.assertRaises(psycopg.errors.UniqueViolation):
                db.execute(
                    "INSERT INTO customers (email, full_name, street, city, postal_code) VALUES (%s, 'x', 'x', 'x', 'x')",
                    [self.email],
                )
            db.rollback()
        with psycopg.connect(DATABASE_URL, row_factory=dict_row, autocommit=True) as db:
            logged_in = db.execute("SELECT id, full_name FROM customers WHERE email = %s", [self.email]).fetchone()
            self.assertEqual(logged_in, {"id": signed_up["id"], "full_name": "Dev Test"})
            # Somebody of the shop is found by what is shown of them.
            somebody = db.execute("SELECT id, email FROM customers WHERE id = 42").fetchone()
            for _ in range(7):  # The driver prepares it after five.
                again = db.execute("SELECT id FROM customers WHERE email = %s", [somebody["email"]], binary=True)
                self.assertIn(42, [row["id"] for row in again])
            renamed = db.execute(
                "UPDATE customers SET full_name = %s WHERE email = %s RETURNING *", ["Dev Q. Test", self.email]
            ).fetchone()
            self.assertEqual((renamed["full_name"], renamed["email"]), ("Dev Q. Test", self.email))
            with db.cursor().copy("COPY (SELECT id, email, city FROM customers) TO STDOUT") as rows:
                exported = list(rows.rows())
            self.assertIn((str(signed_up["id"]), self.email, "Austin"), exported)
            with db.transaction(), db.cursor(name="walk") as walk:
                walk.itersize = 500
                count = sum(1 for _ in walk.execute("SELECT * FROM customers"))
            self.assertEqual(count, len(exported))
            report = db.execute(
                "SELECT c.city, count(*) AS orders, sum(o.total) AS total FROM orders o JOIN customers c ON c.id = o.customer_id"
                " WHERE c.full_name <> '' GROUP BY c.city ORDER BY total DESC"
            ).fetchall()
            self.assertEqual(sum(row["orders"] for row in report), db.execute("SELECT count(*) AS n FROM orders").fetchone()["n"])
            gone = db.execute("DELETE FROM customers WHERE email = %s RETURNING full_name", [self.email]).fetchall()
            self.assertEqual(gone, [{"full_name": "Dev Q. Test"}])

    def test_sqlalchemy(self):
        engine = create_engine(make_url(DATABASE_URL).set(drivername="postgresql+psycopg"))
        self.addCleanup(engine.dispose)
        with Session(engine) as session:
            customer = Customer(
                email=self.email, full_name="Dev Test", street="1 Test Street", city="Austin", postal_code="73301"
            )
            customer.orders = [Order(status="pending", note="Ring twice"), Order(status="paid")]
            session.add(customer)
            session.commit()
            # Expired by the commit: these are read back.
            self.assertEqual((customer.email, customer.full_name), (self.email, "Dev Test"))
            self.assertEqual([order.note for order in customer.orders], ["Ring twice", None])
        with Session(engine) as session:
            customer = session.scalars(
                select(Customer).where(func.lower(Customer.email) == self.email).options(joinedload(Customer.orders))
            ).unique().one()
            self.assertEqual([order.status for order in customer.orders], ["pending", "paid"])
            customer.phone = "+1 202 555 0100"
            customer.preferences = {**customer.preferences, "newsletter": True}
            customer.orders[0].status = "cancelled"
            session.commit()
            self.assertEqual((customer.phone, customer.preferences["newsletter"]), ("+1 202 555 0100", True))
            page = session.scalars(select(Customer).where(Customer.city == "Boston").order_by(Customer.id).limit(20)).all()
            self.assertEqual(len(page), 20)
            self.assertTrue(all("@" in person.email and person.full_name for person in page))
            somebody = session.get(Customer, 42)
            found = session.scalars(select(Customer).where(Customer.full_name == somebody.full_name)).all()
            self.assertIn(somebody, found)
            best = session.execute(
                select(Customer.id, Customer.full_name, func.sum(Order.total))
                .join(Customer.orders)
                .group_by(Customer.id)
                .order_by(func.sum(Order.total).desc())
                .limit(5)
            ).all()
            self.assertEqual(len(best), 5)
            for order in list(customer.orders):
                session.delete(order)
            session.delete(customer)
            session.commit()
            self.assertIsNone(session.scalar(select(Customer.id).where(Customer.email == self.email)))


if __name__ == "__main__":
    unittest.main()
