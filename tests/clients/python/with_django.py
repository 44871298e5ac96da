"""Django on the demo's shop: inspectdb, a migration of a new table, models, and what an admin's pages ask."""

import io
import unittest
import uuid
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import Count, F, Max, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Concat, Lower, TruncMonth

from witness import DATABASE_URL, EXPECT_COMMITS, EXPECT_MASKS, UPSTREAM_URL, NothingCommitted


def database(url):
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


settings.configure(
    DATABASES={"default": database(DATABASE_URL), "direct": database(UPSTREAM_URL)},
    INSTALLED_APPS=["shop_app"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from shop_app.models import Customer, Order, Review  # noqa: E402  (the models need the settings)


def said(command, *arguments, **options):
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, **options)
    return out.getvalue()


class Django(NothingCommitted, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        said("migrate", "shop_app", verbosity=0)

    @classmethod
    def tearDownClass(cls):
        if EXPECT_COMMITS:
            said("migrate", "shop_app", "zero", verbosity=0)
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE django_migrations")
        connections.close_all()
        super().tearDownClass()

    def setUp(self):
        self.addCleanup(Review.objects.all().delete)
        self.email = f"dev-{uuid.uuid4().hex[:12]}@test.example"
        if EXPECT_COMMITS:
            self.addCleanup(self.clean_up)

    def clean_up(self):
        Order.objects.filter(customer__email__endswith=self.email).delete()
        Customer.objects.filter(email__endswith=self.email).delete()

    def sign_up(self, email=None):
        return Customer.objects.create(
            email=email or self.email, full_name="Dev Test", street="1 Test Street", city="Austin", postal_code="73301"
        )

    def test_the_schema_is_the_real_one(self):
        with connections["direct"].cursor() as cursor:
            tables = sorted(table.name for table in connections["direct"].introspection.get_table_list(cursor))
        self.assertLess({"customers", "order_summaries"}, set(tables))
        through = said("inspectdb", *tables)
        self.assertIn("class Customers(models.Model)", through)
        self.assertEqual(through, said("inspectdb", *tables, database="direct"))
        for table in tables:
            seen = []
            for alias in ["default", "direct"]:
                with connections[alias].cursor() as cursor:
                    introspection = connections[alias].introspection
                    seen.append(
                        (
                            introspection.get_constraints(cursor, table),
                            introspection.get_sequences(cursor, table),
                            introspection.get_relations(cursor, table),
                            introspection.get_table_description(cursor, table),
                        )
                    )
            self.assertEqual(seen[0], seen[1], table)

    def test_a_migration_makes_a_table(self):
        self.assertIn("No changes", said("makemigrations", "--check", "--dry-run"))
        customer = self.sign_up()
        review = Review.objects.create(customer=customer, stars=5, body="Good", author=customer.email)
        with self.assertRaises(IntegrityError), transaction.atomic():
            Review.objects.create(customer=customer, stars=6, body="", author="")
        with self.assertRaises(IntegrityError), transaction.atomic():
            Review.objects.create(customer_id=-1, stars=5, body="", author="")
            connection.check_constraints()
        found = Review.objects.select_related("customer").get(author=F("customer__email"))
        self.assertEqual((found, found.customer.full_name), (review, "Dev Test"))
        somebody = Customer.objects.get(pk=42)
        Review.objects.create(customer=somebody, stars=1, body=somebody.full_name, author=somebody.email)
        again = Customer.objects.filter(reviews__stars=1, reviews__author=F("email")).values_list("id", flat=True)
        self.assertEqual(list(again), [42])
        customer.delete()
        self.assertEqual(Review.objects.count(), 1)

    def test_accounts(self):
        made = self.sign_up()
        got, created = Customer.objects.get_or_create(email=self.email, defaults={"full_name": "x"})
        self.assertEqual((got, created, got.full_name), (made, False, "Dev Test"))
        other = {"street": "2 Test Street", "city": "Boston", "postal_code": "02108"}
        second, created = Customer.objects.get_or_create(email=f"2.{self.email}", defaults={"full_name": "Two", **other})
        self.assertTrue(created)
        changed, created = Customer.objects.update_or_create(email=self.email, defaults={"full_name": "Dev Q. Test"})
        self.assertEqual((changed, created), (made, False))
        made.refresh_from_db()
        self.assertEqual(made.full_name, "Dev Q. Test")
        with self.assertRaises(IntegrityError), transaction.atomic():
            self.sign_up()
        self.assertTrue(Customer.objects.filter(email__iexact=self.email.upper()).exists())
        made.phone = "+1 202 555 0100"
        made.save(update_fields=["phone"])
        self.assertEqual(Customer.objects.filter(phone__startswith="+1 202 555 01", email=self.email).count(), 1)
        Customer.objects.filter(email=self.email).update(full_name=Concat(F("full_name"), Value("!")), city="Denver")
        self.assertEqual(Customer.objects.values("full_name", "city").get(email=self.email), {"full_name": "Dev Q. Test!", "city": "Denver"})
        self.assertEqual(Customer.objects.filter(pk=second.pk).delete()[0], 1)

    def test_bulk(self):
        more = {"full_name": "Bulk", "street": "1 Bulk Street", "city": "Austin", "postal_code": "73301"}
        made = Customer.objects.bulk_create([Customer(email=f"{n}.{self.email}", **more) for n in range(50)])
        self.assertTrue(all(customer.pk for customer in made))
        # By e-mail, which developers see masked.
        again = [Customer(email=f"{n}.{self.email}", **{**more, "full_name": "Again"}) for n in range(3)]
        Customer.objects.bulk_create(again, ignore_conflicts=True)
        self.assertEqual(Customer.objects.filter(email__endswith=self.email, full_name="Bulk").count(), 50)
        for customer in made[:10]:
            customer.full_name = "Changed"
        self.assertEqual(Customer.objects.bulk_update(made, ["full_name"], batch_size=20), 50)
        self.assertEqual(Customer.objects.filter(email__endswith=self.email, full_name="Changed").count(), 10)
        self.assertEqual(len(Customer.objects.in_bulk([f"{n}.{self.email}" for n in range(5)], field_name="email")), 5)
        deleted, _ = Customer.objects.filter(email__endswith=self.email)._raw_delete("default"), None
        self.assertEqual(deleted, 50)

    def test_upsert_by_what_is_masked(self):
        self.sign_up()
        again = Customer(email=self.email, full_name="Upserted", street="x", city="x", postal_code="x")
        Customer.objects.bulk_create([again], update_conflicts=True, unique_fields=["email"], update_fields=["full_name"])
        self.assertEqual(Customer.objects.get(email=self.email).full_name, "Upserted")

    def test_orders_and_locks(self):
        customer = self.sign_up()
        with transaction.atomic():
            locked = Customer.objects.select_for_update().get(email=self.email)
            order = Order.objects.create(customer=locked, number=self.email[:16], note="Ring twice")
            with self.assertRaises(IntegrityError), transaction.atomic():
                Order.objects.create(customer=locked, number=order.number)
            Customer.objects.select_for_update(of=("self",), skip_locked=True).filter(orders=order).update(city="Denver")
        self.assertEqual(Order.objects.select_related("customer").get(note="Ring twice", customer=customer).customer.city, "Denver")
        fetched = Customer.objects.prefetch_related("orders").get(pk=customer.pk)
        self.assertEqual([order.note for order in fetched.orders.all()], ["Ring twice"])
        order.delete()
        customer.delete()

    def test_what_an_admin_asks(self):
        total = Customer.objects.count()
        page = Customer.objects.order_by("-created_at", "-id")[:100]
        self.assertEqual(len(page), 100)
        somebody = page[7]
        real = Customer.objects.using("direct").get(pk=somebody.pk)
        self.assertEqual(somebody.email != real.email and somebody.full_name != real.full_name, EXPECT_MASKS)
        search = Q(email__icontains=somebody.email) | Q(full_name__icontains=somebody.email)
        self.assertIn(somebody, Customer.objects.filter(search))
        self.assertEqual(Customer.objects.filter(search).distinct().count(), Customer.objects.filter(search).count())
        self.assertEqual(Customer.objects.defer("postal_code").only("email").get(pk=somebody.pk).email, somebody.email)
        days = Customer.objects.dates("created_at", "year")
        self.assertTrue(len(days) > 0)
        cities = Customer.objects.values("city").annotate(n=Count("id"), newest=Max("created_at"), last=Max("full_name")).order_by("-n")
        self.assertEqual(sum(row["n"] for row in cities), total)
        best = (
            Customer.objects.annotate(spent=Sum("orders__total"), n=Count("orders"))
            .filter(n__gt=0)
            .order_by("-spent", "id")[:5]
        )
        self.assertTrue(all("@" in row.email and row.spent >= 0 for row in best))
        newest = Order.objects.filter(customer=OuterRef("pk")).order_by("-placed_at").values("note")[:1]
        self.assertEqual(Customer.objects.annotate(newest=Subquery(newest)).filter(pk=42).count(), 1)
        months = Order.objects.annotate(month=TruncMonth("placed_at")).values("month").annotate(sum=Sum("total"))
        self.assertTrue(len(months) > 0)
        names = Customer.objects.annotate(lower=Lower("full_name")).values_list("lower", flat=True).distinct()
        self.assertTrue(all(name == name.lower() for name in names[:50]))
        self.assertEqual(sum(1 for _ in Customer.objects.iterator(chunk_size=500)), total)
        both = Customer.objects.filter(city="Austin").union(Customer.objects.filter(city="Boston"))
        self.assertEqual(len(both), Customer.objects.filter(city__in=["Austin", "Boston"]).count())
        self.assertIn("Scan", Customer.objects.filter(email=somebody.email).explain())
        raw = Customer.objects.raw("SELECT * FROM customers WHERE email = %s", [somebody.email])
        self.assertIn(somebody, list(raw))


if __name__ == "__main__":
    unittest.main()
