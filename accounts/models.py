"""Accounts over the live collection `usersNew`, and the ledger of everything that moved their credits."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from accounts.errors import BalanceWriteForbidden
from accounts.fields import BalanceField, HoldsField, KeyHashesField, KeysField
from accounts.undecided import later_date
from money.amounts import ZERO, from_bson
from money.fields import CountField, MoneyField
from mongo.fields import (
    AdoptedBooleanField,
    AdoptedCharField,
    AdoptedDateTimeField,
    AdoptedIdField,
    AdoptedModel,
    AdoptedPositiveIntegerField,
    DefaultTrueField,
)

USERNAME_PATTERN = r"^[a-z0-9_-]{3,50}$"
"""What a new username looks like. Older accounts may have capitals and spaces; they work as they are."""


UNDER_REVIEW_AFTER = datetime(2000, 1, 1, tzinfo=UTC)
"""Accounts under review have a date after this: a condition that their index can serve."""


class Balance(models.TextChoices):
    """The two balances of an account; neither pays for the other."""

    OPENHANDS = "openhands", "OpenHands"
    OHMYGPT = "ohmygpt", "OhMyGPT"

    @property
    def field(self) -> str:
        """The document field that holds it."""
        return "creditsNew" if self is Balance.OPENHANDS else "credits"

    @property
    def used_field(self) -> str:
        """The document field that counts the USD spent from it."""
        return "creditsNewUsed" if self is Balance.OPENHANDS else "creditsUsed"

    @property
    def other(self) -> "Balance":
        return Balance.OHMYGPT if self is Balance.OPENHANDS else Balance.OPENHANDS


def sum_holds(holds: dict[str, Any], balance: Balance) -> Decimal:
    """What the entries of a `holds` field set aside of `balance`, in USD."""
    return sum((from_bson(hold["amount"]) for hold in holds.values() if hold["balance"] == balance), ZERO)


class Role(models.TextChoices):
    USER = "user", "User"
    PRIORITY = "priority", "Priority"
    ADMIN = "admin", "Admin"


class Account(AdoptedModel):
    """One document of `usersNew`; any field but the name may be missing in old ones, and unknown fields are kept.

    Saving writes the fields that are named, and never a balance: `accounts/credits` does that.
    """

    username = AdoptedIdField(
        primary_key=True, db_column="_id", max_length=100, validators=[RegexValidator(USERNAME_PATTERN)]
    )
    is_active = DefaultTrueField("active", db_column="isActive")
    role = AdoptedCharField(max_length=20, choices=Role.choices, default=Role.USER, null=True, blank=True)
    discord_id = AdoptedCharField(
        "Discord id",
        db_column="discordId",
        max_length=19,
        null=True,
        blank=True,
        validators=[RegexValidator(r"^\d{17,19}$", "A Discord id has 17 to 19 digits.")],
        reads_numbers=True,
    )

    legacy_api_key = AdoptedCharField(
        db_column="apiKey", max_length=200, null=True, blank=True, editable=False, is_secret=True
    )
    api_key_hash = AdoptedCharField(
        db_column="apiKeyHash", max_length=64, null=True, blank=True, editable=False, is_secret=True
    )
    api_key_prefix = AdoptedCharField(
        db_column="apiKeyPrefix", max_length=32, null=True, blank=True, editable=False, is_secret=True
    )
    api_key_created_at = AdoptedDateTimeField(db_column="apiKeyCreatedAt", null=True, blank=True, editable=False)
    keys = KeysField()
    key_hashes = KeyHashesField(db_column="keyHashes")

    credits_new = BalanceField("OpenHands credits", db_column="creditsNew", help_text="USD. Pays for OpenHands.")
    credits = BalanceField("OhMyGPT credits", help_text="USD. Pays for OhMyGPT.")
    credits_new_used = BalanceField("OpenHands credits used", db_column="creditsNewUsed")
    credits_used = BalanceField("OhMyGPT credits used", db_column="creditsUsed")
    tokens_user_new = CountField("OpenHands tokens", db_column="tokensUserNew", editable=False)
    total_input_tokens = CountField("input tokens", db_column="totalInputTokens", editable=False)
    total_output_tokens = CountField("output tokens", db_column="totalOutputTokens", editable=False)
    ref_credits = MoneyField("referral credits", db_column="refCredits", editable=False)
    holds = HoldsField()
    held_since = AdoptedDateTimeField(
        db_column="heldSince", null=True, blank=True, editable=False, help_text="Since when `holds` was never empty."
    )

    review_since = AdoptedDateTimeField(
        db_column="reviewSince",
        null=True,
        blank=True,
        editable=False,
        help_text="Since when it is refused because its requests cost more than they held.",
    )

    requests_per_minute = AdoptedPositiveIntegerField(
        db_column="requestsPerMinute", null=True, blank=True, help_text="Empty: the platform's limit. 0: none at all."
    )
    concurrent_requests = AdoptedPositiveIntegerField(
        db_column="concurrentRequests", null=True, blank=True, help_text="Empty: the platform's limit."
    )

    purchased_at = AdoptedDateTimeField(db_column="purchasedAt", null=True, blank=True, editable=False)
    expires_at = AdoptedDateTimeField(db_column="expiresAt", null=True, blank=True, editable=False)
    expires_at_new = AdoptedDateTimeField(
        db_column="expiresAtNew",
        null=True,
        blank=True,
        editable=False,
        help_text="A second date, of later versions of the replaced system. `expiry` is the date that counts.",
    )
    is_migrated = AdoptedBooleanField(
        db_column="migration",
        null=True,
        blank=True,
        editable=False,
        help_text="False: the credits were never divided when the price of a credit changed, and cannot be spent.",
    )
    created_at = AdoptedDateTimeField(db_column="createdAt", null=True, blank=True, editable=False)
    last_login_at = AdoptedDateTimeField(db_column="lastLoginAt", null=True, blank=True, editable=False)

    class Meta:
        db_table = "usersNew"
        ordering = ("username",)
        constraints = (
            models.UniqueConstraint(fields=["api_key_hash"], name="api_key_hash_unique"),
            models.UniqueConstraint(fields=["key_hashes"], name="key_hashes_unique"),
        )
        # The back end cannot use a unique (partial) index for look-ups; a plain one beside it can be used.
        indexes = (
            models.Index(fields=["api_key_hash"], name="api_key_hash_lookup"),
            models.Index(fields=["key_hashes"], name="key_hashes_lookup"),
            models.Index(fields=["legacy_api_key"], name="api_key_lookup"),
            models.Index(fields=["expires_at"], name="expires_at_lookup"),
            models.Index(fields=["discord_id"], name="discord_id_lookup"),
            # The sweeper looks for what has expired and is still there: only such accounts are in these.
            models.Index(fields=["expires_at"], name="openhands_expiry", condition=models.Q(credits_new__gt=0)),
            models.Index(fields=["expires_at"], name="ohmygpt_expiry", condition=models.Q(credits__gt=0)),
            models.Index(fields=["held_since"], name="held_since_lookup"),
            models.Index(
                fields=["review_since"],
                name="under_review",
                condition=models.Q(review_since__gt=UNDER_REVIEW_AFTER),
            ),
        )

    def __str__(self) -> str:
        return self.username

    def save(self, **kwargs: Any) -> None:
        """Write the fields that `update_fields` names, no other. Raises `BalanceWriteForbidden` without it.

        Saving every field would write balances, and what others changed meanwhile, back as they were when this was
        read; and a new account begins with its ledger, in `accounts.registration.create_account`.
        """
        if self._state.adding or kwargs.get("update_fields") is None:
            raise BalanceWriteForbidden("name update_fields to save an account; create_account makes new ones")
        super().save(**kwargs)

    def balance(self, balance: Balance) -> Decimal:
        """What can be held or moved of `balance`, in USD; credits in `holds` are not in it."""
        return self.credits_new if balance is Balance.OPENHANDS else self.credits

    def held(self, balance: Balance) -> Decimal:
        """What requests in flight have set aside of `balance`, in USD."""
        return sum_holds(self.holds, balance)

    @property
    def expiry(self) -> datetime | None:
        """When the credits of both balances expire; None = never."""
        return later_date(self.expires_at, self.expires_at_new)

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether the credits can no longer be spent; null never expires."""
        return self.expiry is not None and self.expiry <= (now or timezone.now())


class LedgerError(Exception):
    """The ledger is append-only: nothing changes or deletes an entry."""


class LedgerQuerySet(models.QuerySet["LedgerEntry"]):
    """Refuses what would change history."""

    def update(self, **kwargs: Any) -> int:
        raise LedgerError("ledger entries are immutable")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise LedgerError("ledger entries are immutable")


class LedgerEntry(models.Model):
    """One movement of one balance, written in the transaction that moved it. Immutable.

    What requests spend is not here but in the request log; Σ entries − Σ settled costs = balance + open holds.
    """

    class Kind(models.TextChoices):
        OPENING = "opening", "Opening balance"
        PURCHASE = "purchase", "Purchase"
        BONUS = "bonus", "Bonus"
        TRANSFER = "transfer", "Transfer"
        ADJUSTMENT = "adjustment", "Adjustment"
        EXPIRY = "expiry", "Expiry"
        REFUND = "refund", "Refund"
        CHARGEBACK = "chargeback", "Chargeback"
        CORRECTION = "correction", "Correction"

    account = models.ForeignKey(
        Account, on_delete=models.DO_NOTHING, db_column="account", db_index=False, related_name="ledger_entries"
    )
    balance = models.CharField(max_length=10, choices=Balance.choices)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    amount = models.DecimalField(max_digits=18, decimal_places=8, help_text="USD; negative takes credits away.")
    balance_after = models.DecimalField(db_column="balanceAfter", max_digits=18, decimal_places=8)
    actor = models.CharField(max_length=150, help_text="Who did it: a staff user, a provider, or the system.")
    reason = models.CharField(max_length=500, blank=True)
    operation = models.CharField(max_length=200, help_text="Makes the movement happen exactly once.")
    created_at = models.DateTimeField("time", db_column="createdAt")

    objects = LedgerQuerySet.as_manager()

    class Meta:
        db_table = "ledger_entries"
        ordering = ("-created_at", "-id")
        verbose_name_plural = "ledger entries"
        constraints = (
            models.UniqueConstraint(fields=["operation", "balance", "kind"], name="ledger_operation_unique"),
        )
        indexes = (
            models.Index(fields=["operation"], name="ledger_operation_lookup"),
            models.Index(fields=["account", "-created_at"], name="ledger_account_time"),
            models.Index(fields=["-created_at"], name="ledger_time"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.amount} USD ({self.get_balance_display()}, {self.account_id})"

    def save(self, **kwargs: Any) -> None:
        if not self._state.adding:
            raise LedgerError("ledger entries are immutable")
        super().save(**kwargs)

    def delete(self, using: Any = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        raise LedgerError("ledger entries are immutable")
