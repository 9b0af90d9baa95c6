"""Prices and the request log, over the live collections `model_pricing` and `request_logs`."""

from decimal import Decimal
from typing import Any, Self

from bson import ObjectId
from bson.errors import InvalidId
from django.core.validators import MinValueValidator
from django.db import models

from accounts.models import Balance
from money.fields import CountField, MoneyField, PriceField
from mongo.collections import collection_of
from mongo.fields import (
    AdoptedBigIntegerField,
    AdoptedBooleanField,
    AdoptedCharField,
    AdoptedDateTimeField,
    AdoptedIdField,
    AdoptedIntegerField,
    AdoptedJSONField,
    AdoptedModel,
    DefaultTrueField,
)
from mongo.unreadable import id_of_text, is_odd_id, text_of_id
from proxy.billing.credit_type import balance_of, is_billed_to


def _price(label: str, column: str, **kwargs: Any) -> PriceField:
    """A price, which a new row does not have until somebody writes it: 0 would make something free."""
    return PriceField(
        label,
        db_column=column,
        default=None,
        help_text="USD per million tokens",
        validators=[MinValueValidator(0)],
        **kwargs,
    )


def _json(label: str, column: str, *, shape: type = dict) -> AdoptedJSONField:
    return AdoptedJSONField(label, db_column=column, default=None, null=True, blank=True, shape=shape)


class OutputMember(models.TextChoices):
    """The members by which an OpenAI request bounds its output: a model may refuse one of them."""

    MAX_TOKENS = "max_tokens", "max_tokens"
    MAX_COMPLETION_TOKENS = "max_completion_tokens", "max_completion_tokens"


class ModelPrice(AdoptedModel):
    """What one model costs on one upstream. Rows of the replaced system (no upstream) hold for both upstreams.

    `proxy/billing/price_rows.py` says what each field may hold, and makes of a row what requests are billed by.
    """

    id = AdoptedIdField(primary_key=True, db_column="_id", max_length=200)
    model_id = AdoptedCharField(
        "model", db_column="modelId", max_length=150, help_text="The name that clients send in `model`."
    )
    upstream = AdoptedCharField(max_length=10, choices=Balance.choices, null=True, blank=True)
    aliases = AdoptedJSONField(
        default=list, null=True, blank=True, shape=list, help_text="Other names that clients may send."
    )
    display_name = AdoptedCharField(db_column="displayName", max_length=150, null=True, blank=True)
    upstream_model_id = AdoptedCharField(
        db_column="upstreamModelId",
        max_length=150,
        null=True,
        blank=True,
        help_text="The name the upstream knows the model by, if another.",
    )
    input_price = _price("input", "inputPricePerMTok")
    output_price = _price("output", "outputPricePerMTok")
    cache_write_price = _price("cache write", "cacheWritePricePerMTok", null=True, blank=True)
    cache_read_price = _price("cache read", "cacheHitPricePerMTok", null=True, blank=True)
    cache_write_1h_price = _price("cache write, 1 hour", "cacheWrite1hPricePerMTok", null=True, blank=True)
    input_audio_price = _price("input, audio", "inputAudioPricePerMTok", null=True, blank=True)
    output_audio_price = _price("output, audio", "outputAudioPricePerMTok", null=True, blank=True)
    input_image_price = _price("input, images", "inputImagePricePerMTok", null=True, blank=True)
    output_image_price = _price("output, images", "outputImagePricePerMTok", null=True, blank=True)
    multiplier = PriceField(null=True, blank=True, default=Decimal(1), validators=[MinValueValidator(0)])
    max_output_tokens = AdoptedBigIntegerField(
        db_column="maxOutputTokens", null=True, blank=True, validators=[MinValueValidator(1)]
    )
    tiers = _json("tiers by input size", "tiers", shape=list)
    option_multipliers = _json("multipliers of options", "optionMultipliers")
    tool_fees = _json("fees of server tools", "toolFees")
    attachment_tokens = _json("input tokens of attachments", "attachmentTokens")
    passed_members = _json("members that pass", "passedMembers", shape=list)
    output_member = AdoptedCharField(
        "member that bounds output",
        db_column="outputMember",
        max_length=40,
        choices=OutputMember.choices,
        null=True,
        blank=True,
    )
    own_input_price = _price("own input", "ownInputPricePerMTok", null=True, blank=True)
    own_output_price = _price("own output", "ownOutputPricePerMTok", null=True, blank=True)
    own_cache_write_price = _price("own cache write", "ownCacheWritePricePerMTok", null=True, blank=True)
    own_cache_write_1h_price = _price("own cache write, 1 hour", "ownCacheWrite1hPricePerMTok", null=True, blank=True)
    own_cache_read_price = _price("own cache read", "ownCacheReadPricePerMTok", null=True, blank=True)
    own_input_audio_price = _price("own input, audio", "ownInputAudioPricePerMTok", null=True, blank=True)
    own_output_audio_price = _price("own output, audio", "ownOutputAudioPricePerMTok", null=True, blank=True)
    own_input_image_price = _price("own input, images", "ownInputImagePricePerMTok", null=True, blank=True)
    own_output_image_price = _price("own output, images", "ownOutputImagePricePerMTok", null=True, blank=True)
    own_option_multipliers = _json("own multipliers of options", "ownOptionMultipliers")
    is_active = DefaultTrueField("active", db_column="isActive")
    created_at = AdoptedDateTimeField(db_column="createdAt", auto_now_add=True)
    updated_at = AdoptedDateTimeField(db_column="updatedAt", auto_now=True)

    class Meta:
        db_table = "model_pricing"
        ordering = ("upstream", "model_id")
        constraints = (models.UniqueConstraint(fields=["upstream", "model_id"], name="price_model_unique"),)

    def __str__(self) -> str:
        return f"{self.model_id} ({self.get_upstream_display() or 'both upstreams'})"


class RequestIdField(models.CharField):
    """The log's key: a request id of ours, or the ObjectId of an older document, shown as its 24 hex digits.

    Any other reads as `text_of_id`, by which it is found again.
    """

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, ObjectId) or value is None:
            return value
        if is_odd_id(value):
            return id_of_text(value)
        try:
            return ObjectId(str(value))
        except InvalidId:
            return str(value)

    def from_db_value(self, value: object, expression: object, connection: object) -> str | None:
        if value is None or isinstance(value, ObjectId):
            return None if value is None else str(value)
        return value if type(value) is str and value and not ObjectId.is_valid(value) else text_of_id(value)


class CreditTypeField(models.CharField):
    """The balance that paid: a value of `Balance`, whatever is stored. To migrations it is the field it stores like."""

    def get_prep_value(self, value: Any) -> Any:
        return value  # As it is: conditions name odd values that are stored, and those may be of any type.

    def from_db_value(self, value: object, expression: object, connection: object) -> str:
        return balance_of(value).value

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class RequestLogQuerySet(models.QuerySet["RequestLog"]):
    def billed_to(self, *balances: Balance) -> Self:
        """The requests that one of these balances paid for. Reads, from an index, which credit types occur."""
        return self.filter(is_billed_to(balances, stored=collection_of(self.model).distinct("creditType")))


INPUT_TOKENS = {
    "input_tokens": "inputTokens",
    "cache_write_tokens": "cacheWriteTokens",
    "cache_write_1h_tokens": "cacheWrite1hTokens",
    "cache_read_tokens": "cacheHitTokens",
    "input_audio_tokens": "inputAudioTokens",
    "input_image_tokens": "inputImageTokens",
}
"""The counts of a request log that together are its input: what they are called in a usage, and in the document."""
OUTPUT_TOKENS = {
    "output_tokens": "outputTokens",
    "output_audio_tokens": "outputAudioTokens",
    "output_image_tokens": "outputImageTokens",
}
"""The same for its output."""


class RequestLog(AdoptedModel):
    """One metered request: the write-ahead record of its cost, and the receipt. Written by `proxy/billing/metering.py`.

    Documents with a `hold` are ours; those of the replaced system have none and count in no reconciliation.
    """

    class UsageSource(models.TextChoices):
        UPSTREAM = "upstream", "Reported by the upstream"
        ESTIMATED = "estimated", "Estimated from the text"
        NONE = "none", "Nothing was used"

    class OwnCostSource(models.TextChoices):
        TOLD = "told", "Told by the upstream"
        RECKONED = "reckoned", "Reckoned from the price row"

    id = RequestIdField("request id", primary_key=True, db_column="_id", max_length=40)
    user_id = AdoptedCharField("account", db_column="userId", max_length=100, null=True)
    api_key_prefix = AdoptedCharField("API key", db_column="apiKeyPrefix", max_length=32, null=True)
    key_id = AdoptedCharField("API key id", db_column="keyId", max_length=24, null=True)
    credit_type = CreditTypeField(
        "balance", db_column="creditType", max_length=10, choices=Balance.choices, default=Balance.OHMYGPT, null=True
    )
    endpoint = AdoptedCharField(max_length=60, null=True)
    model = AdoptedCharField(max_length=150, null=True)
    is_stream = AdoptedBooleanField("streamed", db_column="isStream", null=True)
    input_tokens = CountField(db_column="inputTokens")
    output_tokens = CountField(db_column="outputTokens")
    cache_write_tokens = CountField(db_column="cacheWriteTokens")
    cache_read_tokens = CountField(db_column="cacheHitTokens")
    cache_write_1h_tokens = CountField("cache write tokens, 1 hour", db_column="cacheWrite1hTokens")
    input_audio_tokens = CountField(db_column="inputAudioTokens")
    input_image_tokens = CountField(db_column="inputImageTokens")
    output_audio_tokens = CountField(db_column="outputAudioTokens")
    output_image_tokens = CountField(db_column="outputImageTokens")
    tool_uses = AdoptedJSONField(
        db_column="toolUses", null=True, shape=dict, help_text="How often each server tool was used, by its name."
    )
    tokens_used = CountField("tokens", db_column="tokensUsed")
    cost = MoneyField(db_column="creditsCost", help_text="USD taken from the balance.")
    uncollected = MoneyField(help_text="USD of cost beyond the hold: the operator's loss.")
    own_cost = MoneyField(
        "operator's cost", db_column="ownCost", null=True, default=None, help_text="USD that the upstream took."
    )
    own_cost_source = AdoptedCharField(
        "operator's cost, source", db_column="ownCostSource", max_length=10, choices=OwnCostSource.choices, null=True
    )
    hold = MoneyField("held", null=True, default=None, help_text="USD set aside before the request was forwarded.")
    max_tokens_lowered = AdoptedIntegerField(
        "max_tokens lowered to",
        db_column="maxTokensLowered",
        null=True,
        help_text="Output tokens: the balance afforded no more.",
    )
    price = AdoptedJSONField(null=True, shape=dict, help_text="The price row that this request was billed at.")
    usage_source = AdoptedCharField(db_column="usageSource", max_length=10, choices=UsageSource.choices, null=True)
    usage_problem = AdoptedCharField(db_column="usageProblem", max_length=100, null=True)
    outcome = AdoptedCharField(max_length=60, null=True, help_text="How the request ended.")
    status_code = AdoptedIntegerField("status", db_column="statusCode", null=True)
    is_success = AdoptedBooleanField("succeeded", db_column="isSuccess", null=True)
    latency_ms = AdoptedIntegerField("latency (ms)", db_column="latencyMs", null=True)
    created_at = AdoptedDateTimeField("time", db_column="createdAt", null=True)

    objects = RequestLogQuerySet.as_manager()

    class Meta:
        db_table = "request_logs"
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=["-created_at"], name="log_time"),
            # The last three let an account of any size be reconciled from the index alone.
            models.Index(fields=["user_id", "-created_at", "credit_type", "hold", "cost"], name="log_account_use"),
            models.Index(fields=["credit_type", "-created_at"], name="log_balance_time"),
            # What cost an account most, of all time or of some days.
            models.Index(fields=["user_id", "-cost", "-created_at"], name="log_account_cost"),
        )

    def __str__(self) -> str:
        return str(self.id)

    @property
    def total_input_tokens(self) -> int:
        """All that was read, cached or not."""
        return sum(getattr(self, name) for name in INPUT_TOKENS)

    @property
    def total_output_tokens(self) -> int:
        """All that was written."""
        return sum(getattr(self, name) for name in OUTPUT_TOKENS)


class RefusedRequest(models.Model):
    """A request that was refused before it was forwarded, at no cost: what the customer was told, and what there was.

    Written by `proxy/billing/refusals.py`, which bounds how many there are; MongoDB drops each when it expires. Amounts
    are USD. What is not known is None: of a request that was refused before its body was read, the model.
    """

    id = models.CharField("request id", primary_key=True, db_column="_id", max_length=40)
    user_id = models.CharField("account", db_column="userId", max_length=300)
    created_at = models.DateTimeField("time", db_column="createdAt")
    upstream = models.CharField(max_length=10, choices=Balance.choices)
    endpoint = models.CharField(max_length=100)
    model = models.CharField(max_length=150, null=True)
    code = models.CharField(max_length=40)
    status_code = models.IntegerField("status", db_column="statusCode")
    message = models.CharField("what the customer was told", max_length=2000)
    needed = MoneyField(null=True, default=None)
    available = MoneyField(null=True, default=None)
    held = MoneyField(null=True, default=None)
    worst_case = models.JSONField(db_column="worstCase", null=True)
    balances = models.JSONField(null=True, help_text="What was available of each balance then, as text.")
    holds = models.JSONField(default=list, help_text="What other requests held of the balance then, the largest first.")
    holds_count = models.IntegerField(db_column="holdsCount", default=0)
    api_key_prefix = models.CharField("API key", db_column="apiKeyPrefix", max_length=32)
    expires_at = models.DateTimeField("kept until", db_column="expiresAt")

    class Meta:
        db_table = "refused_requests"
        default_permissions = ("view",)
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=["-created_at"], name="refused_time"),
            models.Index(fields=["user_id", "-created_at"], name="refused_account_time"),
            models.Index(fields=["code", "-created_at"], name="refused_code_time"),
            models.Index(fields=["model", "-created_at"], name="refused_model_time"),
            models.Index(fields=["upstream", "-created_at"], name="refused_upstream_time"),
        )

    def __str__(self) -> str:
        return str(self.id)


class RefusalCount(models.Model):
    """How many refusals of one account on one day (UTC) were kept, and how many only counted. It expires with them."""

    id = models.CharField(primary_key=True, db_column="_id", max_length=330)
    kept = models.IntegerField(default=0)
    not_kept = models.IntegerField(db_column="notKept", default=0)
    expires_at = models.DateTimeField(db_column="expiresAt")

    class Meta:
        db_table = "refusal_counts"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.id)


class IdempotentRequest(models.Model):
    """A plain request that was sent with an `Idempotency-Key`, and its answer. MongoDB drops it when it expires.

    The document has `bill` beside these fields: the request's log as it is to be, kept in one write with the answer
    (`proxy/billing/idempotency.py`).
    """

    id = models.CharField(primary_key=True, db_column="_id", max_length=64)
    body_sha256 = models.CharField(db_column="bodySha256", max_length=64)
    request_id = models.CharField(db_column="requestId", max_length=40)
    process = models.CharField(max_length=32, null=True, help_text="The process that runs the request.")
    answer = models.BinaryField(null=True, help_text="Null while the request runs.")
    created_at = models.DateTimeField(db_column="createdAt")
    expires_at = models.DateTimeField(db_column="expiresAt")

    class Meta:
        db_table = "idempotent_requests"
        indexes = (models.Index(fields=["request_id"], name="idempotent_request_id"),)

    def __str__(self) -> str:
        return str(self.request_id)
