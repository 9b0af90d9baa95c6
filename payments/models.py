"""Orders and their payments, over the live collection `payments`, and the inbox of the providers' events."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from money.fields import MoneyField, PercentField
from mongo.fields import (
    AdoptedCharField,
    AdoptedDateTimeField,
    AdoptedDecimalField,
    AdoptedJSONField,
    AdoptedModel,
    AdoptedObjectIdField,
)

OLD_PROVIDER = "sepay"
"""The only provider of the replaced system: what absent means in its documents."""


MOST_PERCENT = 500
"""The largest bonus; anything above is a mistake."""


class Promotion(models.Model):
    """A bonus on what is bought while it runs: from `starts_at` up to, not including, `ends_at`."""

    name = models.CharField(max_length=100)
    percent = PercentField(
        validators=[MinValueValidator(0), MaxValueValidator(MOST_PERCENT)],
        help_text="20 gives 20 % more credits.",
    )
    starts_at = models.DateTimeField("starts", db_column="startsAt")
    ends_at = models.DateTimeField("ends", db_column="endsAt", help_text="The first moment without the bonus.")
    is_active = models.BooleanField("active", db_column="isActive", default=True)

    class Meta:
        db_table = "promotions"
        ordering = ("-starts_at",)
        indexes = (models.Index(fields=["ends_at"], name="promotion_end"),)

    def __str__(self) -> str:
        return f"{self.name} ({self.percent} %)"


class PurchasingState(models.Model):
    """Whether customers can buy: one document. Absent = they can."""

    name = models.CharField(primary_key=True, db_column="_id", max_length=20, editable=False)
    is_on = models.BooleanField("customers can buy", db_column="isOn", default=True)
    notice = models.CharField(
        max_length=500, blank=True, help_text="What customers read while it is off; empty = the standard text."
    )
    changed_by = models.CharField(db_column="changedBy", max_length=150)
    reason = models.CharField(max_length=500, blank=True)
    changed_at = models.DateTimeField(db_column="changedAt")

    class Meta:
        db_table = "purchasing_state"
        verbose_name_plural = "purchasing state"

    def __str__(self) -> str:
        return "Purchasing is on" if self.is_on else "Purchasing is off"


class Payment(AdoptedModel):
    """An order and what became of it. Documents of the replaced system have no `rate` and no `provider`.

    `credits` is what was ordered and `amount` its price in `currency`; what really arrived stands beside them.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Waiting for the money"
        SUCCESS = "success", "Paid"
        FAILED = "failed", "Failed"
        EXPIRED = "expired", "Expired"

    class Flag(models.TextChoices):
        """What staff should know about a payment that was credited all the same."""

        LATE = "late", "Paid after the order expired"
        AFTER_FAILURE = "after_failure", "Paid after the order failed"
        OVER = "over", "More money than ordered"
        UNDER = "under", "Less money than ordered, no bonus"
        SMALL = "small", "Too little to restart the expiry"
        SECOND_TRANSFER = "second_transfer", "Another transfer for an order that was paid"
        OTHER_PROVIDER = "other_provider", "Paid through another provider than ordered"
        PULLED = "pulled", "Found by the pull, its webhook never came"
        MANUAL = "manual", "Credited by hand"
        SPLIT = "split", "Part of a transfer that paid several orders"
        PROCESSING = "processing", "The payer's bank takes its time"
        INQUIRY = "inquiry", "The payer's bank asks about it"
        DISPUTED = "disputed", "Charged back"
        REFUNDED = "refunded", "Refunded, in part or in full"
        CHECK = "check", "A check of the platform: no money came"

    id = AdoptedObjectIdField("ID", auto_created=True, primary_key=True, serialize=False)
    user_id = AdoptedCharField("account", db_column="userId", max_length=100)
    discord_id = AdoptedCharField(
        "Discord id", db_column="discordId", max_length=19, null=True, blank=True, reads_numbers=True
    )
    username = AdoptedCharField(max_length=100, null=True, blank=True)
    credits = MoneyField(help_text="USD ordered.")
    amount = MoneyField(help_text="Price, in units of the currency.")
    currency = AdoptedCharField(max_length=3, default="VND", null=True)
    rate = MoneyField(
        null=True,
        default=None,
        help_text="Units of the currency for one USD, fixed with the order; absent in old documents.",
    )
    bonus_percent = AdoptedDecimalField(
        db_column="bonusPercent", max_digits=6, decimal_places=2, null=True, help_text="Promotion when it was ordered."
    )
    order_code = AdoptedCharField(db_column="orderCode", max_length=60, null=True)
    payment_method = AdoptedCharField(
        db_column="paymentMethod", max_length=20, null=True, help_text="The provider that the customer chose."
    )
    status = AdoptedCharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    session_id = AdoptedCharField(
        "payment page", db_column="sessionId", max_length=100, null=True, help_text="The provider's checkout session."
    )
    provider = AdoptedCharField(max_length=20, null=True, help_text="Who carried the money; absent in old documents.")
    provider_transaction_id = AdoptedCharField(
        "provider transaction", db_column="providerTransactionId", max_length=100, null=True
    )
    provider_charge_id = AdoptedCharField(
        "provider charge",
        db_column="providerChargeId",
        max_length=100,
        null=True,
        editable=False,
        help_text="Another name of the money, which some of its refunds and disputes have alone.",
    )
    transfer_key = AdoptedCharField(
        db_column="transferKey", max_length=80, null=True, help_text="The same for every report of this money."
    )
    sepay_transaction_id = AdoptedCharField(
        db_column="sepayTransactionId", max_length=100, null=True, reads_numbers=True
    )
    received_amount = MoneyField(
        db_column="receivedAmount", null=True, default=None, help_text="Units of the currency."
    )
    credited = MoneyField(null=True, default=None, help_text="USD credited, without bonus.")
    bonus = MoneyField(null=True, default=None, help_text="USD credited by a promotion.")
    refunded_amount = MoneyField(
        db_column="refundedAmount", null=True, default=None, help_text="Units of the currency that went back."
    )
    reversed_credits = MoneyField(
        db_column="reversedCredits", null=True, default=None, help_text="USD reversed of what was credited."
    )
    reversed_bonus = MoneyField(
        db_column="reversedBonus", null=True, default=None, help_text="USD reversed of the bonus."
    )
    last_reversal = AdoptedCharField(db_column="lastReversal", max_length=100, null=True, editable=False)
    flags = AdoptedJSONField(
        default=list, null=True, shape=list, help_text="What staff should know: late, over, under…"
    )
    credits_before = MoneyField(db_column="creditsBefore", null=True, default=None)
    credits_after = MoneyField(db_column="creditsAfter", null=True, default=None)
    created_at = AdoptedDateTimeField("ordered", db_column="createdAt", null=True)
    expires_at = AdoptedDateTimeField("pay before", db_column="expiresAt", null=True)
    completed_at = AdoptedDateTimeField("paid", db_column="completedAt", null=True)

    class Meta:
        db_table = "payments"
        ordering = ("-created_at",)
        constraints = (
            # Only what this platform writes has a rate: old documents may share an order code, or have an empty one.
            models.UniqueConstraint(
                fields=["order_code"], condition=models.Q(rate__gt=0), name="payment_order_code_unique"
            ),
            models.UniqueConstraint(
                fields=["provider", "provider_transaction_id"], name="payment_provider_transaction_unique"
            ),
            models.UniqueConstraint(fields=["transfer_key"], name="payment_transfer_unique"),
        )
        indexes = (
            models.Index(fields=["order_code"], name="payment_order_code"),
            models.Index(fields=["provider_transaction_id"], name="payment_transaction"),
            models.Index(fields=["provider_charge_id"], name="payment_charge"),
            models.Index(fields=["transfer_key"], name="payment_transfer"),
            models.Index(fields=["user_id", "-created_at"], name="payment_account_time"),
            models.Index(fields=["status", "expires_at"], name="payment_status_expiry"),
            models.Index(fields=["-created_at"], name="payment_time"),
        )

    def __str__(self) -> str:
        return self.order_code or str(self.pk)


class WebhookEvent(models.Model):
    """One event of a provider, stored as it came before anything is done with it. The body is never changed.

    What it says is untrusted unless `is_verified`.
    """

    class Status(models.TextChoices):
        RECEIVED = "received", "Received"
        DONE = "done", "Done"
        IGNORED = "ignored", "Ignored"
        REVIEW = "review", "Needs review"
        DEAD = "dead", "Gave up"

    class Source(models.TextChoices):
        WEBHOOK = "webhook", "Webhook"
        PULL = "pull", "Pull"

    provider = models.CharField(max_length=20)
    event_id = models.CharField(db_column="eventId", max_length=200)
    kind = models.CharField("type", max_length=100, blank=True, help_text="The provider's name of the event type.")
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.WEBHOOK)
    transfer_key = models.CharField(
        db_column="transferKey",
        max_length=80,
        null=True,
        help_text="The money it reports, or `for:` and the money that it reverses.",
    )
    money_key = models.CharField(
        db_column="moneyKey",
        max_length=60,
        null=True,
        editable=False,
        help_text="Provider, currency and amount of the money that it reports; empty = none, absent in old documents.",
    )
    occurred_at = models.DateTimeField(
        db_column="occurredAt", null=True, editable=False, help_text="When the money came, by the provider."
    )
    reference = models.CharField(max_length=100, null=True, editable=False, help_text="The bank's, normalised.")
    counterpart = models.CharField(
        max_length=200,
        null=True,
        editable=False,
        help_text="The event id of the other report of the same money: a webhook has one of the pull, and vice versa.",
    )
    body = models.BinaryField()
    body_sha256 = models.CharField(db_column="bodySha256", max_length=64)
    headers = models.JSONField(default=dict)
    is_verified = models.BooleanField("verified", db_column="isVerified", default=False)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.RECEIVED)
    attempts = models.IntegerField(default=0)
    deliveries = models.IntegerField(default=1, help_text="How often the provider sent it.")
    next_attempt_at = models.DateTimeField(db_column="nextAttemptAt", null=True)
    error = models.TextField(blank=True, help_text="Why it waits, was ignored, or failed.")
    payment = models.ForeignKey(Payment, on_delete=models.DO_NOTHING, null=True, blank=True, db_column="payment")
    resolved_by = models.CharField(db_column="resolvedBy", max_length=150, blank=True)
    resolution = models.CharField(max_length=500, blank=True, help_text="Why staff decided as they did.")
    assigned_to = models.CharField(
        "taken by", db_column="assignedTo", max_length=150, null=True, blank=True, help_text="Who works on it."
    )
    needed_review = models.BooleanField(
        db_column="neededReview",
        default=False,
        null=True,
        editable=False,
        help_text="Whether it has ever waited for review, whatever became of it; absent in old documents.",
    )
    gave_up = models.BooleanField(
        db_column="gaveUp", default=False, null=True, editable=False, help_text="The same for given up."
    )
    received_at = models.DateTimeField(db_column="receivedAt")
    processed_at = models.DateTimeField(db_column="processedAt", null=True)

    class Meta:
        db_table = "webhook_events"
        ordering = ("-received_at",)
        constraints = (models.UniqueConstraint(fields=["provider", "event_id"], name="webhook_event_unique"),)
        indexes = (
            models.Index(fields=["provider", "event_id"], name="webhook_event_lookup"),
            models.Index(fields=["status", "next_attempt_at"], name="webhook_event_due"),
            models.Index(fields=["transfer_key"], name="webhook_event_transfer"),
            models.Index(fields=["-received_at"], name="webhook_event_time"),
            models.Index(fields=["provider", "source", "-received_at"], name="webhook_event_source"),
            # The last field is for old documents, which have neither of the first two.
            models.Index(fields=["money_key", "occurred_at", "received_at"], name="webhook_event_money"),
            models.Index(fields=["money_key", "reference", "occurred_at"], name="webhook_event_reference"),
            # Of the events that came in some days, those that needed a person: few.
            models.Index(
                fields=["needed_review", "-received_at"],
                name="webhook_event_needed",
                condition=models.Q(needed_review=True),
            ),
            models.Index(
                fields=["gave_up", "-received_at"], name="webhook_event_gave_up", condition=models.Q(gave_up=True)
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider} {self.event_id}"

    @property
    def is_waiting_for_staff(self) -> bool:
        """Whether a person has to decide what becomes of it."""
        return self.status in WAITING_FOR_STAFF


WAITING_FOR_STAFF = (WebhookEvent.Status.REVIEW, WebhookEvent.Status.DEAD)


class Reversal(AdoptedModel):
    """One refund or dispute of a payment, as the newest of its provider's events reports it."""

    class State(models.TextChoices):
        NOTICE = "notice", "Inquiry"
        CLOSED = "closed", "Inquiry closed"
        COUNTED = "counted", "Reversed"
        CANCELLED = "cancelled", "Reinstated"

    provider = models.CharField(max_length=20)
    reversal_id = models.CharField(db_column="reversalId", max_length=100)
    payment = models.ForeignKey(
        Payment, on_delete=models.DO_NOTHING, db_column="payment", db_index=False, related_name="reversals"
    )
    amount = MoneyField(help_text="Units of the payment's currency.")
    state = models.CharField(max_length=10, choices=State.choices)
    is_dispute = models.BooleanField("dispute", db_column="isDispute", default=False)
    is_cumulative = models.BooleanField(db_column="isCumulative", default=False)
    occurred_at = models.DateTimeField(db_column="occurredAt", help_text="The provider's time of the newest report.")

    class Meta:
        db_table = "payment_reversals"
        ordering = ("-occurred_at",)
        constraints = (models.UniqueConstraint(fields=["provider", "reversal_id"], name="reversal_unique"),)
        indexes = (
            models.Index(fields=["provider", "reversal_id"], name="reversal_lookup"),
            models.Index(fields=["payment"], name="reversal_payment"),
            models.Index(fields=["occurred_at"], name="reversal_time"),
        )

    def __str__(self) -> str:
        return f"{'Dispute' if self.is_dispute else 'Refund'} {self.reversal_id}"


class PullState(models.Model):
    """When a provider is asked next for what its webhooks missed: whoever moves the time on, asks. And how it went."""

    provider = models.CharField(primary_key=True, db_column="_id", max_length=20)
    next_at = models.DateTimeField(db_column="nextAt")
    succeeded_at = models.DateTimeField(db_column="succeededAt", null=True)
    failing_since = models.DateTimeField(
        db_column="failingSince", null=True, help_text="The first failure after the last success."
    )
    error = models.CharField(max_length=500, null=True, help_text="What the latest failure said.")

    class Meta:
        db_table = "payment_pulls"

    def __str__(self) -> str:
        return self.provider
