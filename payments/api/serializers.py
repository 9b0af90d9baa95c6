"""What the payment API takes and gives: the serializers that check requests, and those that make answers."""

import re
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from money.amounts import ZERO
from payments import orders
from payments.models import Payment
from payments.orders.prices import credited_of, currency_of
from payments.providers import selling_providers

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 1000
MAX_PAGE = 1_000_000
SMALL_PAYMENT = "This payment is smaller than an order, so it does not extend how long the credits that you have last."

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}(\.0{1,18})?")


class WholeNumberField(serializers.IntegerField):
    """A whole number: of JSON, or as text in ASCII digits. DRF's own takes digits of every script, and `1_000`."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or (isinstance(data, str) and not _WHOLE_NUMBER.fullmatch(data.strip())):
            self.fail("invalid")
        return int(super().to_internal_value(data))


class CheckoutRequest(serializers.Serializer):
    """What to buy. Limits of `credits` are settings: `GET /api/payment/config` tells them."""

    credits = WholeNumberField(help_text="Whole USD of credits.")
    discordId = serializers.RegexField(r"^[0-9]{17,19}\Z", required=False, allow_null=True, allow_blank=True)

    def get_fields(self) -> dict[str, serializers.Field]:
        # The settings say which providers there are, so this is asked with each request.
        names = [provider.name for provider in selling_providers()]
        method = serializers.ChoiceField(names, default=names[0] if names else "", help_text="What to pay through.")
        return {**super().get_fields(), "method": method}


@extend_schema_field({"type": "string", "description": "An ISO 8601 time, or a date: its whole day in UTC."})
class MomentField(serializers.Field):
    """A time, or a date that stands for its first moment (or its last, for the end of a range)."""

    def __init__(self, *, is_end: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_end = is_end

    def to_internal_value(self, data: Any) -> datetime:
        text = str(data)
        try:
            day = parse_date(text) if text.isascii() else None
            if day is not None:
                first = datetime.combine(day, time.min, tzinfo=UTC)
                return first + timedelta(days=1, milliseconds=-1) if self.is_end else first
            moment = parse_datetime(text) if text.isascii() else None
            if moment is not None:
                return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            pass
        raise serializers.ValidationError("Give a time like 2026-11-22T10:00:00Z, or a date like 2026-11-22.")


class _Lenient(serializers.Field):
    """A field of a list's address: what it cannot read counts as not given, as the pages of customers expect."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        try:
            return super().run_validation(data)
        except serializers.ValidationError:
            return self.get_default()


class LenientNumberField(_Lenient, WholeNumberField):
    """A whole number from 1; a larger one than `most` counts as `most`."""

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        super().__init__(min_value=1, **kwargs)
        self.most = most

    def to_internal_value(self, data: Any) -> int:
        return min(super().to_internal_value(data), self.most)


class LenientChoiceField(_Lenient, serializers.ChoiceField):
    """One of some words."""


class LenientMomentField(_Lenient, MomentField):
    """A time or a date."""


class HistoryQuery(serializers.Serializer):
    """Which payments, and which page of them. Nothing in it is refused: customers' pages send all sorts of things."""

    page = LenientNumberField(most=MAX_PAGE, default=1)
    limit = LenientNumberField(most=MAX_PAGE_SIZE, default=DEFAULT_PAGE_SIZE, help_text=f"At most {MAX_PAGE_SIZE}.")
    status = LenientChoiceField(Payment.Status.choices, required=False)

    def get_fields(self) -> dict[str, serializers.Field]:
        # `from` is a word of Python, so it cannot be declared as an attribute.
        window = {"from": LenientMomentField(required=False), "to": LenientMomentField(required=False, is_end=True)}
        return {**super().get_fields(), **window}


# --- Answers: each is described, and made, by the same serializer ------------------------------------------------


class NumberField(serializers.FloatField):
    """A `Decimal`, as JavaScript writes a number: without a point when it is whole."""

    def to_representation(self, value: Any) -> Any:
        return int(value) if value == value.to_integral_value() else float(value)


class TimeField(serializers.DateTimeField):
    """A time, as JavaScript's `toISOString` writes it: in UTC, with milliseconds and a Z."""

    def to_representation(self, value: datetime) -> str:
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _OfPayment(serializers.Field):
    """A field that is made of a whole payment by a rule, instead of being one of its attributes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"source": "*", **kwargs})


class CurrencyField(_OfPayment, serializers.CharField):
    def to_representation(self, value: Payment) -> str:
        return currency_of(value)


class BonusField(_OfPayment, NumberField):
    """USD of bonus; 0 when there was none."""

    def to_representation(self, value: Payment) -> Any:
        return super().to_representation(value.bonus or ZERO)


class CreditedField(_OfPayment, NumberField):
    """USD that were credited, bonus and all."""

    def to_representation(self, value: Payment) -> Any:
        return super().to_representation(credited_of(value) + (value.bonus or ZERO))


class StatusField(_OfPayment, serializers.ChoiceField):
    """The status as the customer should see it at the time `now` of the context."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=Payment.Status.choices, **kwargs)

    def to_representation(self, value: Payment) -> str:
        return orders.status_at(value, self.context["now"])


class RemainingSecondsField(_OfPayment, serializers.IntegerField):
    """Whole seconds left to pay at the time `now` of the context."""

    def to_representation(self, value: Payment) -> int:
        return orders.remaining_seconds(value, self.context["now"])


class ExpiryRenewedField(_OfPayment, serializers.BooleanField):
    """Whether a paid order restarted the expiry."""

    def to_representation(self, value: Payment) -> bool:
        return Payment.Flag.SMALL not in (value.flags or ())


class NoticeField(_OfPayment, serializers.CharField):
    """What a payment that did not restart the expiry means to the customer."""

    def to_representation(self, value: Payment) -> str:
        return SMALL_PAYMENT


class ErrorResponse(serializers.Serializer):
    error = serializers.CharField(help_text="What went wrong and what to do.")
    code = serializers.CharField(help_text="A stable name of the error.")


class CheckoutResponse(serializers.Serializer):
    """A new order, and how to pay it: the optional fields are those of the provider that was chosen."""

    paymentId = serializers.CharField(source="order.pk")
    orderCode = serializers.CharField(source="order.order_code")
    amount = NumberField(source="order.amount", help_text="Price, in units of the currency.")
    currency = CurrencyField(source="order")
    credits = NumberField(source="order.credits", help_text="USD.")
    expiresAt = TimeField(source="order.expires_at")

    def get_fields(self) -> dict[str, serializers.Field]:
        # The settings say which providers there are, so this is asked with each answer.
        fields = super().get_fields()
        for provider in selling_providers():
            for text in provider.instruction_fields:
                kind = serializers.URLField if text.is_url else serializers.CharField
                source = f"instructions.texts.{text.name}"
                fields.setdefault(text.name, kind(source=source, required=False, help_text=text.help_text))
        return fields


class StatusResponse(serializers.Serializer):
    status = StatusField()
    remainingSeconds = RemainingSecondsField(help_text="To pay a pending order; 0 otherwise.")
    credits = CreditedField(required=False, help_text="USD credited with its bonus, once paid.")
    completedAt = TimeField(
        source="completed_at", required=False, allow_null=True, help_text="Once paid; null if nobody recorded it."
    )

    expiryRenewed = ExpiryRenewedField(
        required=False, help_text="False for a payment that is too small to restart the expiry; otherwise absent."
    )
    notice = NoticeField(required=False, help_text="What to tell the customer then.")

    def to_representation(self, instance: Payment) -> dict[str, Any]:
        answer: dict[str, Any] = super().to_representation(instance)
        if answer["status"] != Payment.Status.SUCCESS:
            del answer["credits"], answer["completedAt"]
        if answer["expiryRenewed"] or answer["status"] != Payment.Status.SUCCESS:
            del answer["expiryRenewed"], answer["notice"]
        return answer


class PaymentResponse(serializers.Serializer):
    id = serializers.CharField(source="pk")
    orderCode = serializers.CharField(source="order_code", allow_null=True)
    credits = NumberField()
    amount = NumberField()
    currency = CurrencyField()
    bonus = BonusField(help_text="USD credited by a promotion.")
    status = StatusField()
    createdAt = TimeField(source="created_at", allow_null=True)
    completedAt = TimeField(source="completed_at", allow_null=True)


class HistoryResponse(serializers.Serializer):
    payments = PaymentResponse(many=True)


class HistoryPageResponse(HistoryResponse):
    total = serializers.IntegerField()
    page = WholeNumberField(source="number")
    totalPages = serializers.IntegerField(source="total_pages")


class UserStatsResponse(serializers.Serializer):
    totalPayments = serializers.IntegerField(source="payments")
    successfulPayments = serializers.IntegerField(source="successful")
    totalCredits = NumberField(source="credits", help_text="USD credited by purchases, without bonus.")
    totalBonus = NumberField(source="bonus", help_text="USD credited by promotions.")
    totalAmount = serializers.DictField(
        source="received", child=NumberField(), help_text="Money received, by currency."
    )
    lastPaymentAt = TimeField(source="last_at", allow_null=True)
    totalVND = NumberField(source="received_vnd", help_text="Money received in VND.")
    successCount = serializers.IntegerField(source="successful")
    pendingCount = serializers.IntegerField(source="pending", help_text="Orders that can still be paid.")
    failedCount = serializers.IntegerField(source="failed", help_text="Orders that failed or expired.")


class PromotionResponse(serializers.Serializer):
    name = serializers.CharField()
    percent = NumberField()
    endsAt = TimeField(source="ends_at")


class ConfigResponse(serializers.Serializer):
    minCredits = serializers.IntegerField(source="min_credits")
    maxCredits = serializers.IntegerField(source="max_credits")
    vndRate = NumberField(source="vnd_per_usd", help_text="VND for one USD of credits.")
    validityDays = serializers.IntegerField(source="validity_days")
    currency = serializers.CharField()
    features = serializers.ListField(child=serializers.CharField(), help_text="What a purchase brings, in sentences.")
    purchasing = serializers.BooleanField(source="purchasing.is_on", help_text="Whether customers can buy now.")
    methods = serializers.ListField(child=serializers.CharField(), help_text="What can be paid through now.")
    notice = serializers.CharField(
        source="purchasing.notice", allow_blank=True, help_text="Why customers cannot buy now; empty when they can."
    )
    promotion = PromotionResponse(allow_null=True)
