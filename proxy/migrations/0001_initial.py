import mongo.fields
import money.fields
import django.core.validators
import proxy.models
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ModelPrice",
            fields=[
                ("id", models.CharField(db_column="_id", max_length=200, primary_key=True, serialize=False)),
                (
                    "model_id",
                    models.CharField(
                        db_column="modelId",
                        help_text="The name that clients send in `model`.",
                        max_length=150,
                        verbose_name="model",
                    ),
                ),
                (
                    "upstream",
                    models.CharField(
                        blank=True,
                        choices=[("openhands", "OpenHands"), ("ohmygpt", "OhMyGPT")],
                        max_length=10,
                        null=True,
                    ),
                ),
                (
                    "aliases",
                    models.JSONField(
                        blank=True, default=list, help_text="Other names that clients may send.", null=True
                    ),
                ),
                ("display_name", models.CharField(blank=True, db_column="displayName", max_length=150, null=True)),
                (
                    "upstream_model_id",
                    models.CharField(
                        blank=True,
                        db_column="upstreamModelId",
                        help_text="The name the upstream knows the model by, if another.",
                        max_length=150,
                        null=True,
                    ),
                ),
                (
                    "input_price",
                    money.fields.MoneyField(
                        db_column="inputPricePerMTok",
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        help_text="USD per million tokens",
                        max_digits=18,
                        validators=[django.core.validators.MinValueValidator(0)],
                        verbose_name="input",
                    ),
                ),
                (
                    "output_price",
                    money.fields.MoneyField(
                        db_column="outputPricePerMTok",
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        help_text="USD per million tokens",
                        max_digits=18,
                        validators=[django.core.validators.MinValueValidator(0)],
                        verbose_name="output",
                    ),
                ),
                (
                    "cache_write_price",
                    money.fields.MoneyField(
                        blank=True,
                        db_column="cacheWritePricePerMTok",
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        help_text="USD per million tokens",
                        max_digits=18,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                        verbose_name="cache write",
                    ),
                ),
                (
                    "cache_read_price",
                    money.fields.MoneyField(
                        blank=True,
                        db_column="cacheHitPricePerMTok",
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        help_text="USD per million tokens",
                        max_digits=18,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                        verbose_name="cache read",
                    ),
                ),
                (
                    "multiplier",
                    money.fields.MoneyField(
                        blank=True,
                        decimal_places=8,
                        default=Decimal("1"),
                        max_digits=18,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "max_output_tokens",
                    models.BigIntegerField(
                        blank=True,
                        db_column="maxOutputTokens",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "is_active",
                    mongo.fields.DefaultTrueField(db_column="isActive", default=True, verbose_name="active"),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, db_column="createdAt")),
                ("updated_at", models.DateTimeField(auto_now=True, db_column="updatedAt")),
            ],
            options={
                "db_table": "model_pricing",
                "ordering": ("upstream", "model_id"),
                "constraints": [models.UniqueConstraint(fields=("upstream", "model_id"), name="price_model_unique")],
            },
        ),
        migrations.CreateModel(
            name="RequestLog",
            fields=[
                (
                    "id",
                    proxy.models.RequestIdField(
                        db_column="_id", max_length=40, primary_key=True, serialize=False, verbose_name="request id"
                    ),
                ),
                ("user_id", models.CharField(db_column="userId", max_length=100, null=True, verbose_name="account")),
                (
                    "api_key_prefix",
                    models.CharField(db_column="apiKeyPrefix", max_length=32, null=True, verbose_name="API key"),
                ),
                (
                    "credit_type",
                    models.CharField(
                        choices=[("openhands", "OpenHands"), ("ohmygpt", "OhMyGPT")],
                        db_column="creditType",
                        default="ohmygpt",
                        max_length=10,
                        null=True,
                        verbose_name="balance",
                    ),
                ),
                ("endpoint", models.CharField(max_length=60, null=True)),
                ("model", models.CharField(max_length=150, null=True)),
                ("is_stream", models.BooleanField(db_column="isStream", null=True, verbose_name="streamed")),
                ("input_tokens", money.fields.CountField(db_column="inputTokens", default=0)),
                ("output_tokens", money.fields.CountField(db_column="outputTokens", default=0)),
                ("cache_write_tokens", money.fields.CountField(db_column="cacheWriteTokens", default=0)),
                ("cache_read_tokens", money.fields.CountField(db_column="cacheHitTokens", default=0)),
                ("tokens_used", money.fields.CountField(db_column="tokensUsed", default=0, verbose_name="tokens")),
                (
                    "cost",
                    money.fields.MoneyField(
                        db_column="creditsCost",
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        help_text="USD taken from the balance.",
                        max_digits=18,
                    ),
                ),
                (
                    "uncollected",
                    money.fields.MoneyField(
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        help_text="USD of cost beyond the hold: the operator's loss.",
                        max_digits=18,
                    ),
                ),
                (
                    "hold",
                    money.fields.MoneyField(
                        decimal_places=8,
                        default=None,
                        help_text="USD set aside before the request was forwarded.",
                        max_digits=18,
                        null=True,
                        verbose_name="held",
                    ),
                ),
                ("price", models.JSONField(help_text="The price row that this request was billed at.", null=True)),
                (
                    "usage_source",
                    models.CharField(
                        choices=[
                            ("upstream", "Reported by the upstream"),
                            ("estimated", "Estimated from the text"),
                            ("none", "Nothing was used"),
                        ],
                        db_column="usageSource",
                        max_length=10,
                        null=True,
                    ),
                ),
                ("usage_problem", models.CharField(db_column="usageProblem", max_length=100, null=True)),
                ("outcome", models.CharField(help_text="How the request ended.", max_length=60, null=True)),
                ("upstream_request_id", models.CharField(db_column="upstreamRequestId", max_length=100, null=True)),
                ("status_code", models.IntegerField(db_column="statusCode", null=True, verbose_name="status")),
                ("is_success", models.BooleanField(db_column="isSuccess", null=True, verbose_name="succeeded")),
                ("latency_ms", models.IntegerField(db_column="latencyMs", null=True, verbose_name="latency (ms)")),
                ("created_at", models.DateTimeField(db_column="createdAt", null=True, verbose_name="time")),
            ],
            options={
                "db_table": "request_logs",
                "ordering": ("-created_at",),
                "indexes": [
                    models.Index(fields=["-created_at"], name="log_time"),
                    models.Index(fields=["user_id", "-created_at"], name="log_account_time"),
                    models.Index(fields=["credit_type", "-created_at"], name="log_balance_time"),
                ],
            },
        ),
    ]
