"""Orders as staff look for them: by a code that was typed by hand, and those that money may be for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bson import ObjectId
from django.conf import settings

from payments.errors import PaymentNotFound
from payments.models import Payment
from payments.orders import codes
from payments.orders.codes import Code, CodeFinder
from payments.orders.prices import currency_of

MOST_SUGGESTIONS = 5
_EARLIEST = timedelta(days=3)
"""So long before money arrives its order may have been made. An old one is named by its payer."""
_LATEST = timedelta(minutes=15)
"""Clocks differ: an order may seem to be made after it was paid."""
_MOST_ORDERS = 1_000
_MOST_TEXT = 2_000
_MOST_ERRORS = 2
_NEEDED = ("order_code", "user_id", "amount", "currency", "credits", "bonus_percent", "status", "created_at")
"""What is read of an order to suggest it."""
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


@dataclass(frozen=True)
class Sought:
    """Money whose order is looked for. `text` is what the payer wrote, or the whole report of it."""

    text: str
    amount: Decimal | None
    """Units of `currency`; None = unknown."""
    currency: str
    at: datetime


def suggest_orders(sought: Sought) -> list[Suggestion]:
    """The unpaid orders that money may be for, the likeliest first, at most `MOST_SUGGESTIONS`. Reads only.

    A code that stands in the text with one or two characters wrong is a reason, and so is the same amount. Only orders
    made not long before the money came are looked at.
    """
    return suggest_for_each([sought])[0] or []


def suggest_for_each(sought: Sequence[Sought], *, most_orders: int = _MOST_ORDERS) -> list[list[Suggestion] | None]:
    """What `suggest_orders` says of each, for a list: orders are read once, at most `most_orders`, the newest first.

    None for money whose orders were not reached, so that nobody knows. Reads only.
    """
    finders = [CodeFinder.of(codes.normalise(one.text)[:_MOST_TEXT]) for one in sought]
    found: list[list[tuple[tuple[int, timedelta], Suggestion]]] = [[] for _ in sought]
    is_reached = [False] * len(sought)
    left = most_orders
    for first, last, members in _windows(sought):
        if left <= 0:
            break
        made = Payment.objects.filter(created_at__gte=first, created_at__lte=last, status__in=_UNPAID)
        orders = [_Candidate.of(order) for order in made.only(*_NEEDED).order_by("-created_at")[:left]]
        left -= len(orders)
        reached = orders[-1].order.created_at if left <= 0 and orders else None
        for index in members:
            one = sought[index]
            is_reached[index] = reached is None or reached <= one.at
            for order in orders:
                if judged := _judge(order, one, finders[index]):
                    found[index].append(judged)
    ranked = [[each for _, each in sorted(rows, key=lambda row: row[0])[:MOST_SUGGESTIONS]] for rows in found]
    return [rows if is_reached[index] else None for index, rows in enumerate(ranked)]


def is_suggested(order: Payment, sought: Sought) -> bool:
    """Whether `suggest_orders` may name this order for that money: the same question, asked of one order. Pure."""
    return _judge(_Candidate.of(order), sought, CodeFinder.of(codes.normalise(sought.text)[:_MOST_TEXT])) is not None


def _windows(sought: Sequence[Sought]) -> Iterator[tuple[datetime, datetime, list[int]]]:
    """The times in which orders are looked for, the latest first, with what each is for; those that meet are one."""
    members: list[int] = []
    first = last = None
    for index in sorted(range(len(sought)), key=lambda index: sought[index].at, reverse=True):
        earliest, latest = sought[index].at - _EARLIEST, sought[index].at + _LATEST
        if first is not None and last is not None and latest < first:
            yield first, last, members
            members, last = [], None
        first, last = earliest, last or latest
        members.append(index)
    if first is not None and last is not None:
        yield first, last, members


@dataclass(frozen=True)
class _Candidate:
    """An order as it is compared with much money."""

    order: Payment
    code: Code
    price: tuple[Decimal, str]

    @classmethod
    def of(cls, order: Payment) -> "_Candidate":
        return cls(order, Code.of(order.order_code or ""), (order.amount, currency_of(order)))


def _judge(one: _Candidate, sought: Sought, finder: CodeFinder) -> tuple[tuple[int, timedelta], Suggestion] | None:
    """Why an order may be meant, and how likely it is: the least is the likeliest. None if nothing speaks for it."""
    errors = finder.count_errors(one.code, most=_MOST_ERRORS)
    is_same = one.price == (sought.amount, sought.currency)
    at = one.order.created_at
    if (errors is None and not is_same) or at is None or not sought.at - _EARLIEST <= at <= sought.at + _LATEST:
        return None
    apart = abs(sought.at - at)
    if errors is None:
        return (_MOST_ERRORS + 1, apart), Suggestion(one.order, f"the same amount, {_minutes(apart)} apart")
    words = f"its code stands there with {errors} wrong" if errors else "its code stands there"
    return (errors, apart), Suggestion(one.order, f"{words}{', and the same amount' if is_same else ''}")


def _minutes(apart: timedelta) -> str:
    minutes = round(apart.total_seconds() / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"
