"""One transfer that was for several orders: staff divide it among them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from bson import ObjectId
from django.utils import timezone

from money.amounts import ZERO
from payments.errors import InvalidDecision, PaymentNotFound
from payments.inbox.decision import check_expiry, decide_event, uncredited
from payments.inbox.facts import read_fact
from payments.models import Payment, WebhookEvent
from payments.providers.events import MoneyReceived
from payments.rules.receipts import credit_order, credits_of_receipt, wrong_currency


@dataclass(frozen=True)
class Part:
    """A part of a transfer, in units of its currency, and the order that it is for."""

    order: Payment
    amount: Decimal


def split(
    *, event_key: ObjectId, parts: Sequence[Part], actor: str, reason: str, now: datetime | None = None
) -> list[Payment]:
    """Divide one transfer among several orders, each part by the rules of a match; return the payments that record it.

    The parts are units of the transfer's currency and add up to it; all are credited in one transaction, or none. The
    first payment has the transfer's own transaction id, the others have it with a number behind it. Raises what
    `match` raises, and `InvalidDecision` for parts that do not fit. A second call raises `NotReviewable`.
    """
    now = now or timezone.now()

    def decide(event: WebhookEvent) -> Payment:
        found = check_parts(event=event, parts=parts, now=now)
        fact = read_fact(event)
        if not isinstance(fact, MoneyReceived):
            raise InvalidDecision("Only money that was received can be split.")
        whole = uncredited(event, fact, *(order for order, _ in found))
        for number, (order, receipt) in enumerate(found, start=1):
            end = "" if number == 1 else f"#{number}"
            own = replace(
                receipt,
                transaction_id=f"{whole.transaction_id[: 100 - len(end)]}{end}",
                transfer_key=f"{whole.transfer_key[: 80 - len(end)]}{end}",
            )
            payments.append(
                credit_order(event=event, order=order, receipt=own, actor=actor, now=now, staff_reason=reason)
            )
        keys = [payment.pk for payment in payments]
        for payment in Payment.objects.filter(pk__in=keys):
            Payment.objects.filter(pk=payment.pk).update(flags=[*(payment.flags or ()), Payment.Flag.SPLIT.value])
        return payments[0]

    payments: list[Payment] = []

    def decide_anew(event: WebhookEvent) -> Payment:
        payments.clear()  # A transaction that met another one runs again.
        return decide(event)

    words = "; ".join(f"{part.order} {part.amount.normalize():,f}" for part in parts)
    decide_event(event_key, decide_anew, actor=actor, reason=f"{reason} (split: {words})", now=now)
    return payments


def check_parts(*, event: WebhookEvent, parts: Sequence[Part], now: datetime) -> list[tuple[Payment, MoneyReceived]]:
    """The order and the money of each part, as they are now. Raises what `split` raises for parts that do not fit."""
    fact = read_fact(event)
    if not isinstance(fact, MoneyReceived):
        raise InvalidDecision("Only money that was received can be split.")
    if len(parts) < 2 or len({part.order.pk for part in parts}) != len(parts):
        raise InvalidDecision("Name at least two orders, each once.")
    total = sum((part.amount for part in parts), ZERO)
    if any(part.amount <= 0 for part in parts) or total != fact.amount:
        raise InvalidDecision(
            f"The parts add up to {total.normalize():,f} {fact.currency}; they must be above 0 and add up to "
            f"{fact.amount.normalize():,f}."
        )
    found = []
    for part in parts:
        order = Payment.objects.filter(pk=part.order.pk).first()
        if order is None:
            raise PaymentNotFound
        if wrong := wrong_currency(order, fact):
            raise InvalidDecision(f"{order}: {wrong}.")
        receipt = replace(fact, amount=part.amount)
        check_expiry(username=order.user_id, amount=credits_of_receipt(order, receipt)[0], order=order, now=now)
        found.append((order, receipt))
    return found
