"""Orders as staff look for them: by a code that was typed by hand, and those that money may be for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bson import ObjectId
from django.conf import settings

from payments.errors import PaymentNotFound
from payments.models import Payment
from payments.orders import codes
from payments.orders.prices import currency_of

MOST_SUGGESTIONS = 5
_EARLIEST = timedelta(days=3)
"""So long before money arrives its order may have been made. An old one is named by its payer."""
_LATEST = timedelta(minutes=15)
"""Clocks differ: an order may seem to be made after it was paid."""
_MOST_ORDERS = 1_000
_MOST_TEXT = 2_000
_MOST_ERRORS = 2
_UNPAID = (Payment.Status.PENDING, Payment.Status.EXPIRED, Payment.Status.FAILED)


def find_order(text: str) -> Payment:
    """The one payment that staff mean by an order code or id, however it was typed. Reads only.

    Hyphens, spaces and small letters do not matter, nor does O for 0 and I or L for 1. Raises `PaymentNotFound`, also
    if several may be meant.
    """
    text = text.strip()
    found = _with_codes([text, text.upper()])
    if not found and ObjectId.is_valid(text):
        found = list(Payment.objects.filter(pk=ObjectId(text)))
    if not found:
        found = _with_codes([codes.normalise(text)])
    if not found:
        found = _with_codes(codes.find_candidates([text], settings.ORDER_CODE_PREFIX))
    if len(found) != 1:
        problem = "More than one payment has" if found else "No payment has"
        raise PaymentNotFound(f"{problem} the order code or id {text!r}.")
    return found[0]


def _with_codes(found: Sequence[str]) -> list[Payment]:
    return list(Payment.objects.filter(order_code__in=set(found) - {""})[:2])


@dataclass(frozen=True)
class Suggestion:
    """An unpaid order that money may be for, and why."""

    order: Payment
    why: str


def suggest_orders(*, text: str, amount: Decimal | None, currency: str, at: datetime) -> list[Suggestion]:
    """The unpaid orders that money may be for, the likeliest first, at most `MOST_SUGGESTIONS`. Reads only.

    `text` is what the payer wrote, or the whole report of it: a code one or two characters away is a reason. The other
    one is the same `amount` (in units of `currency`; None = unknown), ordered not long before `at`.
    """
    made = Payment.objects.filter(created_at__gte=at - _EARLIEST, created_at__lte=at + _LATEST, status__in=_UNPAID)
    normal = codes.normalise(text)[:_MOST_TEXT]
    found: list[tuple[tuple[int, timedelta], Suggestion]] = []
    for order in made.order_by("-created_at")[:_MOST_ORDERS]:
        errors = codes.count_errors(order.order_code or "", normal, most=_MOST_ERRORS)
        is_same = amount is not None and (order.amount, currency_of(order)) == (amount, currency)
        apart = abs(at - order.created_at) if order.created_at else _EARLIEST
        if errors is not None:
            words = f"its code stands there with {errors} wrong" if errors else "its code stands there"
            found.append(((errors, apart), Suggestion(order, f"{words}{', and the same amount' if is_same else ''}")))
        elif is_same:
            found.append(((_MOST_ERRORS + 1, apart), Suggestion(order, f"the same amount, {_minutes(apart)} apart")))
    return [suggestion for _, suggestion in sorted(found, key=lambda pair: pair[0])[:MOST_SUGGESTIONS]]


def _minutes(apart: timedelta) -> str:
    minutes = round(apart.total_seconds() / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"
