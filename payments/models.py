"""Orders and their payments, over the live collection `payments`, and the inbox of webhook events."""

from django.db import models

from accounts.fields import MoneyField


class Payment(models.Model):
    """An order and what became of it. Documents of the replaced system have no `provider`.

    `credits` is what was ordered and `amount` its price in `currency`; what really arrived stands beside them.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Waiting for the money"
        SUCCESS = "success", "Paid"
        FAILED = "failed", "Failed"
        EXPIRED = "expired", "Expired"

    class Method(models.TextChoices):
        SEPAY = "sepay", "SePay"

    user_id = models.CharField("account", db_column="userId", max_length=100)
    discord_id = models.CharField("Discord id", db_column="discordId", max_length=19, null=True, blank=True)
    username = models.CharField(max_length=100, null=True, blank=True)
    credits = MoneyField(help_text="USD ordered.")
    amount = MoneyField(help_text="Price, in units of the currency.")
    currency = models.CharField(max_length=3, default="VND", null=True)
    rate = MoneyField(null=True, default=None, help_text="Units of the currency for one USD, fixed with the order.")
    order_code = models.CharField(db_column="orderCode", max_length=60, null=True)
    payment_method = models.CharField(
        db_column="paymentMethod", max_length=20, choices=Method.choices, default=Method.SEPAY, null=True
    )
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    provider = models.CharField(max_length=20, null=True, help_text="Who carries the money; absent in old documents.")
    provider_transaction_id = models.CharField(
        "provider transaction", db_column="providerTransactionId", max_length=100, null=True
    )
    sepay_transaction_id = models.CharField(db_column="sepayTransactionId", max_length=100, null=True)
    received_amount = MoneyField(db_column="receivedAmount", null=True, default=None)
    credited = MoneyField(null=True, default=None, help_text="USD credited, without bonus.")
    bonus = MoneyField(null=True, default=None, help_text="USD credited by a promotion.")
    flags = models.JSONField(default=list, null=True, help_text="What staff should know: late, over, under…")
    credits_before = MoneyField(db_column="creditsBefore", null=True, default=None)
    credits_after = MoneyField(db_column="creditsAfter", null=True, default=None)
    created_at = models.DateTimeField("ordered", db_column="createdAt", null=True)
    expires_at = models.DateTimeField("pay before", db_column="expiresAt", null=True)
    completed_at = models.DateTimeField("paid", db_column="completedAt", null=True)

    class Meta:
        db_table = "payments"
        ordering = ("-created_at",)
        constraints = (
            # Only what this platform writes: old documents may share an order code, or have an empty one.
            models.UniqueConstraint(
                fields=["order_code"], condition=models.Q(provider__gt=""), name="payment_order_code_unique"
            ),
            models.UniqueConstraint(
                fields=["provider", "provider_transaction_id"], name="payment_provider_transaction_unique"
            ),
        )
        indexes = (
            models.Index(fields=["order_code"], name="payment_order_code"),
            models.Index(fields=["provider_transaction_id"], name="payment_transaction"),
            models.Index(fields=["user_id", "-created_at"], name="payment_account_time"),
            models.Index(fields=["status", "expires_at"], name="payment_status_expiry"),
            models.Index(fields=["-created_at"], name="payment_time"),
        )

    def __str__(self) -> str:
        return self.order_code or str(self.pk)


class WebhookEvent(models.Model):
    """One delivery of a provider, stored as it came before anything is done with it. The body is never changed."""

    class Status(models.TextChoices):
        RECEIVED = "received", "Received"
        DONE = "done", "Done"
        IGNORED = "ignored", "Ignored"
        REVIEW = "review", "Needs review"
        DEAD = "dead", "Gave up"

    provider = models.CharField(max_length=20)
    event_id = models.CharField(db_column="eventId", max_length=200)
    body = models.BinaryField()
    body_sha256 = models.CharField(db_column="bodySha256", max_length=64)
    headers = models.JSONField(default=dict)
    is_verified = models.BooleanField("verified", db_column="isVerified", default=False)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.RECEIVED)
    attempts = models.IntegerField(default=0)
    deliveries = models.IntegerField(default=1, help_text="How often the provider sent it.")
    next_attempt_at = models.DateTimeField(db_column="nextAttemptAt", null=True)
    error = models.TextField(blank=True)
    payment = models.ForeignKey(Payment, on_delete=models.DO_NOTHING, null=True, blank=True, db_column="payment")
    received_at = models.DateTimeField(db_column="receivedAt")
    processed_at = models.DateTimeField(db_column="processedAt", null=True)

    class Meta:
        db_table = "webhook_events"
        ordering = ("-received_at",)
        constraints = (models.UniqueConstraint(fields=["provider", "event_id"], name="webhook_event_unique"),)
        indexes = (
            models.Index(fields=["provider", "event_id"], name="webhook_event_lookup"),
            models.Index(fields=["status", "next_attempt_at"], name="webhook_event_due"),
            models.Index(fields=["-received_at"], name="webhook_event_time"),
        )

    def __str__(self) -> str:
        return f"{self.provider} {self.event_id}"
