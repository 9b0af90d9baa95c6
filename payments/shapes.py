"""The JSON shapes of the payment API, as today's clients read them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from payments.models import Payment


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
