"""What the payment API takes and gives: validation of requests, and the documented shapes of answers."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from payments.models import Payment

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 100


class CheckoutRequest(serializers.Serializer):
    """What to buy. Limits of `credits` are settings: `GET /api/payment/config` tells them."""

    credits = serializers.IntegerField(help_text="Whole USD of credits.")
    discordId = serializers.RegexField(r"^\d{17,19}$", required=False, allow_null=True, allow_blank=True)
    method = serializers.ChoiceField(
        [Payment.Method.SEPAY.value, Payment.Method.STRIPE.value], default=Payment.Method.SEPAY.value
    )


@extend_schema_field({"type": "string", "description": "An ISO 8601 time, or a date: its whole day in UTC."})
class MomentField(serializers.Field):
    """A time, or a date that stands for its first moment (or its last, for the end of a range)."""

    def __init__(self, *, is_end: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_end = is_end

    def to_internal_value(self, data: Any) -> datetime:
        text = str(data)
        try:
            day = parse_date(text)
            if day is not None:
                first = datetime.combine(day, time.min, tzinfo=UTC)
                return first + timedelta(days=1, milliseconds=-1) if self.is_end else first
            moment = parse_datetime(text)
            if moment is not None:
                return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            pass
        raise serializers.ValidationError("Give a time like 2026-11-22T10:00:00Z, or a date like 2026-11-22.")


class HistoryQuery(serializers.Serializer):
    """Which payments, and which page of them."""

    page = serializers.IntegerField(min_value=1, max_value=1_000_000, default=1)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE_SIZE, default=DEFAULT_PAGE_SIZE)
    status = serializers.ChoiceField(Payment.Status.choices, required=False)

    def get_fields(self) -> dict[str, serializers.Field]:
        # `from` is a word of Python, so it cannot be declared as an attribute.
        window = {"from": MomentField(required=False), "to": MomentField(required=False, is_end=True)}
        return {**super().get_fields(), **window}


class ErrorResponse(serializers.Serializer):
    error = serializers.CharField(help_text="What went wrong and what to do.")
    code = serializers.CharField(help_text="A stable name of the error.")


class CheckoutResponse(serializers.Serializer):
    """A new order and how to pay it: by bank transfer (the fields from `qrCodeUrl`), or at `checkoutUrl`."""

    paymentId = serializers.CharField()
    orderCode = serializers.CharField()
    amount = serializers.FloatField(help_text="Price, in units of the currency.")
    currency = serializers.CharField()
    credits = serializers.FloatField(help_text="USD.")
    expiresAt = serializers.DateTimeField()
    qrCodeUrl = serializers.URLField(required=False, help_text="An image of the code, at SePay.")
    qrData = serializers.CharField(required=False, help_text="The VietQR code's text.")
    qrImage = serializers.CharField(required=False, help_text="The code as a data: URI, without a third party.")
    bank = serializers.CharField(required=False)
    accountNumber = serializers.CharField(required=False)
    accountName = serializers.CharField(required=False)
    memo = serializers.CharField(required=False, help_text="What the transfer must say.")
    checkoutUrl = serializers.URLField(required=False, help_text="Stripe's payment page.")


class StatusResponse(serializers.Serializer):
    status = serializers.ChoiceField(Payment.Status.choices)
    remainingSeconds = serializers.IntegerField(help_text="To pay a pending order; 0 otherwise.")
    credits = serializers.FloatField(required=False, help_text="USD credited with its bonus, once paid.")
    completedAt = serializers.DateTimeField(required=False)


class PaymentResponse(serializers.Serializer):
    id = serializers.CharField()
    orderCode = serializers.CharField(allow_null=True)
    credits = serializers.FloatField()
    amount = serializers.FloatField()
    currency = serializers.CharField()
    bonus = serializers.FloatField(help_text="USD credited by a promotion.")
    status = serializers.ChoiceField(Payment.Status.choices)
    createdAt = serializers.DateTimeField(allow_null=True)
    completedAt = serializers.DateTimeField(allow_null=True)


class HistoryResponse(serializers.Serializer):
    payments = PaymentResponse(many=True)


class HistoryPageResponse(HistoryResponse):
    total = serializers.IntegerField()
    page = serializers.IntegerField()
    totalPages = serializers.IntegerField()


class UserStatsResponse(serializers.Serializer):
    totalPayments = serializers.IntegerField()
    successfulPayments = serializers.IntegerField()
    totalCredits = serializers.FloatField(help_text="USD credited by purchases, without bonus.")
    totalBonus = serializers.FloatField(help_text="USD credited by promotions.")
    totalAmount = serializers.DictField(child=serializers.FloatField(), help_text="Money received, by currency.")
    lastPaymentAt = serializers.DateTimeField(allow_null=True)


class PromotionResponse(serializers.Serializer):
    name = serializers.CharField()
    percent = serializers.FloatField()
    endsAt = serializers.DateTimeField()


class FeaturesResponse(serializers.Serializer):
    purchasing = serializers.BooleanField(help_text="Whether customers can buy now.")
    methods = serializers.ListField(child=serializers.CharField())


class ConfigResponse(serializers.Serializer):
    minCredits = serializers.IntegerField()
    maxCredits = serializers.IntegerField()
    vndRate = serializers.FloatField(help_text="VND for one USD of credits.")
    validityDays = serializers.IntegerField()
    currency = serializers.CharField()
    features = FeaturesResponse()
    notice = serializers.CharField(allow_blank=True, help_text="Why customers cannot buy now; empty when they can.")
    promotion = PromotionResponse(allow_null=True)
