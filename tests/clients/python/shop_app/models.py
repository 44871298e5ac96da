"""The shop's tables as `manage.py inspectdb` shows them, and a table that the application adds by a migration."""

from django.db import models


class Customer(models.Model):
    id = models.BigAutoField(primary_key=True)
    email = models.CharField(unique=True, max_length=254)
    full_name = models.TextField()
    phone = models.CharField(max_length=32, blank=True, null=True)
    birth_date = models.DateField(blank=True, null=True)
    street = models.TextField()
    city = models.TextField()
    postal_code = models.CharField(max_length=12)
    country = models.CharField(max_length=2, default="US")
    preferences = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        managed = False
        db_table = "customers"


class Order(models.Model):
    id = models.BigAutoField(primary_key=True)
    number = models.CharField(unique=True, max_length=16)
    customer = models.ForeignKey(Customer, models.DO_NOTHING, related_name="orders")
    status = models.TextField(default="pending")
    total = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    note = models.TextField(blank=True, null=True)
    placed_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        managed = False
        db_table = "orders"


class Review(models.Model):
    """New: its migration makes the table, with a foreign key to one that is masked."""

    customer = models.ForeignKey(Customer, models.CASCADE, related_name="reviews")
    stars = models.PositiveSmallIntegerField()
    body = models.TextField()
    author = models.EmailField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(stars__lte=5), name="at_most_five"),
            models.UniqueConstraint(fields=["customer", "stars"], name="one_of_each"),
        ]
        indexes = [models.Index(fields=["-stars"], name="by_stars")]
