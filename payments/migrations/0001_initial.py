import accounts.fields
import django.db.models.deletion
import django_mongodb_backend.fields
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Payment",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("user_id", models.CharField(db_column="userId", max_length=100, verbose_name="account")),
                (
                    "discord_id",
                    models.CharField(
                        blank=True, db_column="discordId", max_length=19, null=True, verbose_name="Discord id"
                    ),
                ),
                ("username", models.CharField(blank=True, max_length=100, null=True)),
                (
                    "credits",
                    accounts.fields.MoneyField(
                        decimal_places=8, default=Decimal("0E-8"), help_text="USD ordered.", max_digits=18
                    ),
                ),
                (
                    "amount",
                    accounts.fields.MoneyField(
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        help_text="Price, in units of the currency.",
                        max_digits=18,
                    ),
                ),
                ("currency", models.CharField(default="VND", max_length=3, null=True)),
                (
                    "rate",
                    accounts.fields.MoneyField(
                        decimal_places=8,
                        default=None,
                        help_text="Units of the currency for one USD, fixed with the order.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                ("order_code", models.CharField(db_column="orderCode", max_length=60, null=True)),
                (
                    "payment_method",
                    models.CharField(
                        choices=[("sepay", "SePay")],
                        db_column="paymentMethod",
                        default="sepay",
                        max_length=20,
                        null=True,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Waiting for the money"),
                            ("success", "Paid"),
                            ("failed", "Failed"),
                            ("expired", "Expired"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                (
                    "provider",
                    models.CharField(
                        help_text="Who carries the money; absent in old documents.", max_length=20, null=True
                    ),
                ),
                (
                    "provider_transaction_id",
                    models.CharField(
                        db_column="providerTransactionId",
                        max_length=100,
                        null=True,
                        verbose_name="provider transaction",
                    ),
                ),
                ("sepay_transaction_id", models.CharField(db_column="sepayTransactionId", max_length=100, null=True)),
                (
                    "received_amount",
                    accounts.fields.MoneyField(
                        db_column="receivedAmount", decimal_places=8, default=None, max_digits=18, null=True
                    ),
                ),
                (
                    "credited",
                    accounts.fields.MoneyField(
                        decimal_places=8,
                        default=None,
                        help_text="USD credited, without bonus.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                (
                    "bonus",
                    accounts.fields.MoneyField(
                        decimal_places=8,
                        default=None,
                        help_text="USD credited by a promotion.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                (
                    "flags",
                    models.JSONField(default=list, help_text="What staff should know: late, over, under…", null=True),
                ),
                (
                    "credits_before",
                    accounts.fields.MoneyField(
                        db_column="creditsBefore", decimal_places=8, default=None, max_digits=18, null=True
                    ),
                ),
                (
                    "credits_after",
                    accounts.fields.MoneyField(
                        db_column="creditsAfter", decimal_places=8, default=None, max_digits=18, null=True
                    ),
                ),
                ("created_at", models.DateTimeField(db_column="createdAt", null=True, verbose_name="ordered")),
                ("expires_at", models.DateTimeField(db_column="expiresAt", null=True, verbose_name="pay before")),
                ("completed_at", models.DateTimeField(db_column="completedAt", null=True, verbose_name="paid")),
            ],
            options={
                "db_table": "payments",
                "ordering": ("-created_at",),
                "indexes": [
                    models.Index(fields=["order_code"], name="payment_order_code"),
                    models.Index(fields=["provider_transaction_id"], name="payment_transaction"),
                    models.Index(fields=["user_id", "-created_at"], name="payment_account_time"),
                    models.Index(fields=["status", "expires_at"], name="payment_status_expiry"),
                    models.Index(fields=["-created_at"], name="payment_time"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("provider__gt", "")),
                        fields=("order_code",),
                        name="payment_order_code_unique",
                    ),
                    models.UniqueConstraint(
                        fields=("provider", "provider_transaction_id"), name="payment_provider_transaction_unique"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="WebhookEvent",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("provider", models.CharField(max_length=20)),
                ("event_id", models.CharField(db_column="eventId", max_length=200)),
                ("body", models.BinaryField()),
                ("body_sha256", models.CharField(db_column="bodySha256", max_length=64)),
                ("headers", models.JSONField(default=dict)),
                ("is_verified", models.BooleanField(db_column="isVerified", default=False, verbose_name="verified")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("received", "Received"),
                            ("done", "Done"),
                            ("ignored", "Ignored"),
                            ("review", "Needs review"),
                            ("dead", "Gave up"),
                        ],
                        default="received",
                        max_length=10,
                    ),
                ),
                ("attempts", models.IntegerField(default=0)),
                ("deliveries", models.IntegerField(default=1, help_text="How often the provider sent it.")),
                ("next_attempt_at", models.DateTimeField(db_column="nextAttemptAt", null=True)),
                ("error", models.TextField(blank=True)),
                ("received_at", models.DateTimeField(db_column="receivedAt")),
                ("processed_at", models.DateTimeField(db_column="processedAt", null=True)),
                (
                    "payment",
                    models.ForeignKey(
                        blank=True,
                        db_column="payment",
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        to="payments.payment",
                    ),
                ),
            ],
            options={
                "db_table": "webhook_events",
                "ordering": ("-received_at",),
                "indexes": [
                    models.Index(fields=["provider", "event_id"], name="webhook_event_lookup"),
                    models.Index(fields=["status", "next_attempt_at"], name="webhook_event_due"),
                    models.Index(fields=["-received_at"], name="webhook_event_time"),
                ],
                "constraints": [models.UniqueConstraint(fields=("provider", "event_id"), name="webhook_event_unique")],
            },
        ),
    ]
