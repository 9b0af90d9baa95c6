"""What customers order: codes, prices, promotions, the switch that stops purchases, and the life of an order."""

from payments.orders.lifecycle import (
    create_order,
    expire_pending,
    fail_order,
    find_payment_of,
    record_session,
    remaining_seconds,
    status_at,
)
from payments.orders.prices import price_of, value_of

__all__ = [
    "create_order",
    "expire_pending",
    "fail_order",
    "find_payment_of",
    "price_of",
    "record_session",
    "remaining_seconds",
    "status_at",
    "value_of",
]
