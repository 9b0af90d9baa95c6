"""The JSON shapes of the payment API, as today's clients read them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from money.amounts import ZERO
from payments import orders
from payments.models import Payment, Promotion
from payments.orders.checkout import available_methods
from payments.orders.history import Totals
from payments.orders.prices import credited_of, currency_of
from payments.orders.purchasing import Purchasing


def number_json(value: Decimal) -> int | float:
    """A JSON number as JavaScript writes it: whole numbers without a point."""
    return int(value) if value == value.to_integral_value() else float(value)


def time_json(value: datetime | None) -> str | None:
    """A time as JavaScript's `toISOString` writes it."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z" if value else None


def order_json(order: Payment) -> dict[str, Any]:
    """A new order, without how to pay it."""
    return {
        "paymentId": str(order.pk),
        "orderCode": order.order_code,
        "amount": number_json(order.amount),
        "currency": order.currency,
        "credits": number_json(order.credits),
        "expiresAt": time_json(order.expires_at),
    }


def status_json(payment: Payment, now: datetime) -> dict[str, Any]:
    """How far an order is; clients poll this every few seconds."""
    status = orders.status_at(payment, now)
    answer: dict[str, Any] = {"status": status, "remainingSeconds": orders.remaining_seconds(payment, now)}
    if status == Payment.Status.SUCCESS:
        answer["credits"] = number_json(credited_of(payment) + (payment.bonus or ZERO))
        answer["completedAt"] = time_json(payment.completed_at)
    return answer


def payment_json(payment: Payment, now: datetime) -> dict[str, Any]:
    """One line of the history."""
    return {
        "id": str(payment.pk),
        "orderCode": payment.order_code,
        "credits": number_json(payment.credits),
        "amount": number_json(payment.amount),
        "currency": currency_of(payment),
        "bonus": number_json(payment.bonus or ZERO),
        "status": orders.status_at(payment, now),
        "createdAt": time_json(payment.created_at),
        "completedAt": time_json(payment.completed_at),
    }


def totals_json(totals: Totals) -> dict[str, Any]:
    """What an account has bought in all."""
    return {
        "totalPayments": totals.payments,
        "successfulPayments": totals.successful,
        "totalCredits": number_json(totals.credits),
        "totalBonus": number_json(totals.bonus),
        "totalAmount": {currency: number_json(amount) for currency, amount in totals.received.items()},
        "lastPaymentAt": time_json(totals.last_at),
    }


def config_json(purchasing: Purchasing, promotion: Promotion | None) -> dict[str, Any]:
    """What a client needs to know before a purchase; public."""
    return {
        "minCredits": settings.ORDER_MIN_CREDITS,
        "maxCredits": settings.ORDER_MAX_CREDITS,
        "vndRate": settings.ORDER_VND_PER_USD,
        "validityDays": settings.CREDIT_VALIDITY_DAYS,
        "currency": "VND",
        "features": {"purchasing": purchasing.is_on, "methods": available_methods()},
        "notice": purchasing.notice,
        "promotion": {
            "name": promotion.name,
            "percent": number_json(promotion.percent),
            "endsAt": time_json(promotion.ends_at),
        }
        if promotion
        else None,
    }
