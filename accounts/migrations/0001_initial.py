import accounts.fields
import mongo.fields
import money.fields
import django.core.validators
import django.db.models.deletion
import django_mongodb_backend.fields
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Account",
            fields=[
                (
                    "username",
                    models.CharField(
                        db_column="_id",
                        max_length=100,
                        primary_key=True,
                        serialize=False,
                        validators=[django.core.validators.RegexValidator("^[a-z0-9_-]{3,50}$")],
                    ),
                ),
                (
                    "is_active",
                    mongo.fields.DefaultTrueField(db_column="isActive", default=True, verbose_name="active"),
                ),
                (
                    "role",
                    models.CharField(
                        blank=True,
                        choices=[("user", "User"), ("priority", "Priority"), ("admin", "Admin")],
                        default="user",
                        max_length=20,
                        null=True,
                    ),
                ),
                (
                    "discord_id",
                    models.CharField(
                        blank=True,
                        db_column="discordId",
                        max_length=19,
                        null=True,
                        validators=[
                            django.core.validators.RegexValidator("^\\d{17,19}$", "A Discord id has 17 to 19 digits.")
                        ],
                        verbose_name="Discord id",
                    ),
                ),
                (
                    "legacy_api_key",
                    models.CharField(blank=True, db_column="apiKey", editable=False, max_length=200, null=True),
                ),
                (
                    "api_key_hash",
                    models.CharField(blank=True, db_column="apiKeyHash", editable=False, max_length=64, null=True),
                ),
                (
                    "api_key_prefix",
                    models.CharField(blank=True, db_column="apiKeyPrefix", editable=False, max_length=32, null=True),
                ),
                (
                    "api_key_created_at",
                    models.DateTimeField(blank=True, db_column="apiKeyCreatedAt", editable=False, null=True),
                ),
                (
                    "credits_new",
                    accounts.fields.BalanceField(
                        db_column="creditsNew",
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        editable=False,
                        help_text="USD. Pays for OpenHands.",
                        max_digits=18,
                        verbose_name="OpenHands credits",
                    ),
                ),
                (
                    "credits",
                    accounts.fields.BalanceField(
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        editable=False,
                        help_text="USD. Pays for OhMyGPT.",
                        max_digits=18,
                        verbose_name="OhMyGPT credits",
                    ),
                ),
                (
                    "credits_new_used",
                    accounts.fields.BalanceField(
                        db_column="creditsNewUsed",
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        editable=False,
                        max_digits=18,
                        verbose_name="OpenHands credits used",
                    ),
                ),
                (
                    "credits_used",
                    accounts.fields.BalanceField(
                        db_column="creditsUsed",
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        editable=False,
                        max_digits=18,
                        verbose_name="OhMyGPT credits used",
                    ),
                ),
                (
                    "tokens_user_new",
                    money.fields.CountField(
                        db_column="tokensUserNew", default=0, editable=False, verbose_name="OpenHands tokens"
                    ),
                ),
                (
                    "total_input_tokens",
                    money.fields.CountField(
                        db_column="totalInputTokens", default=0, editable=False, verbose_name="input tokens"
                    ),
                ),
                (
                    "total_output_tokens",
                    money.fields.CountField(
                        db_column="totalOutputTokens", default=0, editable=False, verbose_name="output tokens"
                    ),
                ),
                (
                    "ref_credits",
                    money.fields.MoneyField(
                        db_column="refCredits",
                        decimal_places=8,
                        default=Decimal("0E-8"),
                        editable=False,
                        max_digits=18,
                        verbose_name="referral credits",
                    ),
                ),
                ("holds", accounts.fields.HoldsField(default=dict, editable=False)),
                (
                    "held_since",
                    models.DateTimeField(
                        blank=True,
                        db_column="heldSince",
                        editable=False,
                        help_text="Since when `holds` was never empty.",
                        null=True,
                    ),
                ),
                ("purchased_at", models.DateTimeField(blank=True, db_column="purchasedAt", editable=False, null=True)),
                ("expires_at", models.DateTimeField(blank=True, db_column="expiresAt", editable=False, null=True)),
                ("created_at", models.DateTimeField(blank=True, db_column="createdAt", editable=False, null=True)),
                ("last_login_at", models.DateTimeField(blank=True, db_column="lastLoginAt", editable=False, null=True)),
            ],
            options={
                "db_table": "usersNew",
                "ordering": ("username",),
                "indexes": [
                    models.Index(fields=["api_key_hash"], name="api_key_hash_lookup"),
                    models.Index(fields=["legacy_api_key"], name="api_key_lookup"),
                    models.Index(fields=["expires_at"], name="expires_at_lookup"),
                    models.Index(fields=["discord_id"], name="discord_id_lookup"),
                    models.Index(fields=["held_since"], name="held_since_lookup"),
                ],
                "constraints": [models.UniqueConstraint(fields=("api_key_hash",), name="api_key_hash_unique")],
            },
        ),
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "balance",
                    models.CharField(choices=[("openhands", "OpenHands"), ("ohmygpt", "OhMyGPT")], max_length=10),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("opening", "Opening balance"),
                            ("purchase", "Purchase"),
                            ("bonus", "Bonus"),
                            ("transfer", "Transfer"),
                            ("adjustment", "Adjustment"),
                            ("expiry", "Expiry"),
                            ("refund", "Refund"),
                            ("chargeback", "Chargeback"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "amount",
                    models.DecimalField(decimal_places=8, help_text="USD; negative takes credits away.", max_digits=18),
                ),
                ("balance_after", models.DecimalField(db_column="balanceAfter", decimal_places=8, max_digits=18)),
                (
                    "actor",
                    models.CharField(help_text="Who did it: a staff user, a provider, or the system.", max_length=150),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("operation", models.CharField(help_text="Makes the movement happen exactly once.", max_length=200)),
                ("created_at", models.DateTimeField(db_column="createdAt", verbose_name="time")),
                (
                    "account",
                    models.ForeignKey(
                        db_column="account",
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="ledger_entries",
                        to="accounts.account",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "ledger entries",
                "db_table": "ledger_entries",
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(fields=["operation"], name="ledger_operation_lookup"),
                    models.Index(fields=["account", "-created_at"], name="ledger_account_time"),
                    models.Index(fields=["-created_at"], name="ledger_time"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("operation", "balance", "kind"), name="ledger_operation_unique")
                ],
            },
        ),
    ]
