"""Other reports of the same money: found by its facts, told from each other, and closed when the money is credited.

A report of one source answers one of the other (`WebhookEvent.counterpart`). So of two transfers that look the same,
reported once by webhook and twice by the pull, one is the webhook's, and the other is seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.db.models import Q, QuerySet

from mongo.transactions import run_in_transaction
from payments.errors import MalformedEvent
from payments.models import WAITING_FOR_STAFF, Payment, WebhookEvent
from payments.providers import get_provider
from payments.providers.events import MoneyReceived
from payments.rules.likeness import NEAR, REFERENCE_LIFETIME, Likeness, compare

Status = WebhookEvent.Status
Source = WebhookEvent.Source

_LATEST_REPORT = timedelta(days=3)
"""So long after a transfer a version before this one, which did not write when it was, may have received it."""
_MOST_PAYMENTS = 50
"""So many payments of one account are looked through for transfers to one order."""


@dataclass(frozen=True)
class Twin:
    """Another report that is, or may be, about the same money, or a payment whose reports are gone."""

    likeness: Likeness
    event: WebhookEvent | None
    payment: Payment | None
    is_guess: bool = False
    """Its body cannot be read: what it reports is a guess."""
    receipt: MoneyReceived | None = None

    @property
    def is_credited(self) -> bool:
        """Whether it was credited, or closed as a report of what was."""
        if self.payment is None or self.payment.status != Payment.Status.SUCCESS:
            return False
        return self.event is None or self.event.status in (Status.DONE, Status.IGNORED)

    @property
    def is_dismissed(self) -> bool:
        """Whether staff closed it without credits."""
        return self.event is not None and self.event.status == Status.IGNORED and bool(self.event.resolved_by)

    @property
    def is_waiting(self) -> bool:
        """Whether staff still have to decide about it."""
        return self.event is not None and self.event.is_waiting_for_staff

    def __str__(self) -> str:
        return f"event {self.event.event_id}" if self.event else f"payment {self.payment}"


def money_fields(provider: str, receipt: MoneyReceived | None) -> dict[str, Any]:
    """The fields of an event that its money is found by; without money they are empty, not absent."""
    if receipt is None:
        return {"money_key": "", "occurred_at": None, "reference": ""}
    return {
        "money_key": receipt.money_key(provider)[:60],
        "occurred_at": receipt.occurred_at,
        "reference": receipt.transfer.reference[:100] if receipt.transfer else "",
    }


def read_receipt(event: WebhookEvent) -> tuple[MoneyReceived | None, bool]:
    """The money that a stored event reports, and whether that is a guess because its body cannot be read."""
    try:
        provider = get_provider(event.provider)
    except KeyError:
        return None, False
    body = bytes(event.body or b"")
    try:
        fact = provider.read(body=body, headers=event.headers or {}).fact
    except MalformedEvent:
        return provider.guess(body=body, headers=event.headers or {}), True
    return (fact if isinstance(fact, MoneyReceived) else None), False


def find_twins(event: WebhookEvent, receipt: MoneyReceived, orders: Iterable[Payment] = ()) -> list[Twin]:
    """The other reports that are or may be about the money of `event`, the likeliest and credited ones first.

    `orders` are those that it is for: their payments are looked at, whatever their amount. `event` need not be stored.
    Reads only.
    """
    paid = [order for order in orders if order.status == Payment.Status.SUCCESS]
    found = _find_events(event, receipt)
    for other in WebhookEvent.objects.filter(payment_id__in=_payments_beside(paid)) if paid else ():
        found[other.pk] = other
    found.pop(event.pk, None)
    payments: dict[Any, Payment] = {payment.pk: payment for payment in _payments_of(found.values())}
    twins = [_compare(event, receipt, other, payments) for other in found.values()]
    twins += _without_report(event, receipt, paid, twins)
    likely = [_doubt_if_taken(event, receipt, twin, twins) for twin in twins if twin.likeness > Likeness.OTHER]
    return sorted(likely, key=lambda twin: (-twin.likeness, not twin.is_credited, _apart(receipt, twin)))


def _find_events(event: WebhookEvent, receipt: MoneyReceived) -> dict[ObjectId, WebhookEvent]:
    """Events that may be about this money, each query by an index."""
    at, fields = receipt.occurred_at, money_fields(event.provider, receipt)
    events = WebhookEvent.objects
    key, reference = fields["money_key"], fields["reference"]
    queries: list[QuerySet[WebhookEvent]] = [events.filter(transfer_key=receipt.transfer_key)]
    queries.append(events.filter(money_key=key, occurred_at__gte=at - NEAR, occurred_at__lte=at + NEAR))
    if reference:
        day = REFERENCE_LIFETIME
        queries.append(
            events.filter(money_key=key, reference=reference, occurred_at__gte=at - day, occurred_at__lte=at + day)
        )
    if receipt.transfer:
        old = events.filter(money_key=None, occurred_at=None)
        queries.append(old.filter(received_at__gte=at - NEAR, received_at__lte=at + _LATEST_REPORT))
    return {other.pk: other for query in queries for other in query if other.provider == event.provider}


def _payments_beside(orders: Sequence[Payment]) -> list[ObjectId]:
    """The payments of paid orders: their own, and those of further transfers, which have codes of their own."""
    keys: list[Any] = [order.pk for order in orders]
    for order in orders:
        paid = Payment.objects.filter(user_id=order.user_id, status=Payment.Status.SUCCESS)
        keys += paid.order_by("-created_at").values_list("pk", flat=True)[:_MOST_PAYMENTS]
    return keys


def _payments_of(events: Iterable[WebhookEvent]) -> Iterable[Payment]:
    keys = {event.payment_id for event in events if event.payment_id}  # type: ignore[attr-defined]
    return Payment.objects.filter(pk__in=keys) if keys else ()


def _compare(event: WebhookEvent, receipt: MoneyReceived, other: WebhookEvent, payments: dict[Any, Payment]) -> Twin:
    others, is_guess = read_receipt(other)
    likeness = Likeness.OTHER
    if others and other.provider == event.provider:
        likeness = compare(receipt, others, is_one_source=other.source == event.source)
    payment = payments.get(other.payment_id)  # type: ignore[attr-defined]
    twin = Twin(likeness, other, payment, is_guess, others)
    if twin.is_credited and payment and likeness == Likeness.SAME and _names_another_account(receipt, payment):
        return replace(twin, likeness=Likeness.PERHAPS)
    return twin


def _names_another_account(receipt: MoneyReceived, payment: Payment) -> bool:
    """Whether a report says that its money is for somebody else than a payment of it was credited to."""
    if not receipt.order_codes:
        return False
    named = set(Payment.objects.filter(order_code__in=receipt.order_codes).values_list("user_id", flat=True)[:10])
    return bool(named) and payment.user_id not in named


def _without_report(
    event: WebhookEvent, receipt: MoneyReceived, paid: Sequence[Payment], twins: Sequence[Twin]
) -> list[Twin]:
    """Payments that are or may be of this money though no report of them is left to compare."""
    reported = {twin.payment.pk for twin in twins if twin.payment and twin.receipt}
    found = []
    for payment in Payment.objects.filter(transfer_key=receipt.transfer_key):
        was_pulled = Payment.Flag.PULLED in (payment.flags or ())
        is_other_source = was_pulled != (event.source == Source.PULL)
        found.append(Twin(Likeness.SAME if is_other_source else Likeness.PERHAPS, None, payment))
    for order in paid:
        at = order.completed_at
        if receipt.transfer and order.transfer_key and at and abs(at - receipt.occurred_at) <= NEAR:
            found.append(Twin(Likeness.PERHAPS, None, order))
    return [twin for twin in found if twin.payment and twin.payment.pk not in reported]


def _doubt_if_taken(event: WebhookEvent, receipt: MoneyReceived, twin: Twin, others: Sequence[Twin]) -> Twin:
    """The twin; only perhaps the same if one of the two reports is known to be about another report's money."""
    if twin.event is None or twin.likeness < Likeness.SAME or _is_one_id(twin, receipt):
        return twin
    if twin.event.counterpart == event.event_id:
        return twin
    if event.counterpart or twin.event.counterpart:
        is_taken = event.counterpart != twin.event.event_id
    else:
        is_taken = any(_shows_taken(event, receipt, twin, third) for third in others)
    return replace(twin, likeness=Likeness.PERHAPS) if is_taken else twin


def _shows_taken(event: WebhookEvent, receipt: MoneyReceived, twin: Twin, third: Twin) -> bool:
    """Whether a third report shows that one of two is about the money of yet another."""
    if third.event is None or third.receipt is None or twin.event is None or twin.receipt is None:
        return False
    if third.event.source == twin.event.source and third.receipt.transaction_id == twin.receipt.transaction_id:
        return third.event.counterpart not in (None, "", event.event_id)  # The twin's own id, in another body.
    if third.event.source != event.source:
        return False
    if _is_one_id(third, receipt):
        return third.event.counterpart not in (None, "", twin.event.event_id)
    # A version before this one did not write which report answers which, but which payment both are of.
    return third.is_credited and twin.payment is not None and third.payment == twin.payment


def _apart(receipt: MoneyReceived, twin: Twin) -> timedelta:
    return abs(twin.receipt.occurred_at - receipt.occurred_at) if twin.receipt else timedelta.max


def is_answered_by(event_id: str, twin: Twin) -> bool:
    """Note that the report `event_id` is about the money of `twin`; False if another one of its source is.

    Safe to repeat.
    """
    if twin.event is None:
        return True
    free = WebhookEvent.objects.filter(pk=twin.event.pk)
    free = free.filter(Q(counterpart=None) | Q(counterpart="") | Q(counterpart=event_id))
    return bool(free.update(counterpart=event_id))


def pair(event: WebhookEvent, receipt: MoneyReceived, twin: Twin) -> None:
    """Note that two reports of different sources are about the same money, in the caller's transaction."""
    if twin.event is None or _is_one_id(twin, receipt):
        return
    if is_answered_by(event.event_id, twin):
        WebhookEvent.objects.filter(pk=event.pk).update(counterpart=twin.event.event_id)
        event.counterpart = twin.event.event_id


def close_waiting(*, event: WebhookEvent, receipt: MoneyReceived, payment: Payment, now: datetime) -> int:
    """Close the other reports of money that is credited with `payment`: nobody needs to look at them. Return how many.

    Call it in the transaction that credits the money, or afterwards. Safe to repeat: only what waits is closed.
    """
    closed = 0
    for twin in find_twins(event, receipt):
        if twin.event is None or twin.receipt is None or twin.likeness < Likeness.SAME:
            continue
        if _names_another_account(twin.receipt, payment):
            continue
        if not _is_one_id(twin, receipt) and event.counterpart not in (None, "", twin.event.event_id):
            continue  # Of several that look the same, one answers it: that was the one before.
        # What was ignored as a repetition of what waited now gets its payment.
        is_open = Q(status__in=[*WAITING_FOR_STAFF, Status.RECEIVED])
        is_repetition = Q(status=Status.IGNORED, payment_id=None, resolved_by="")
        open_event = WebhookEvent.objects.filter(is_open | is_repetition, pk=twin.event.pk)
        if open_event.update(
            status=Status.IGNORED,
            error=f"credited with payment {payment}, by another report of this money: event {event.event_id}"[:2000],
            payment_id=payment.pk,
            processed_at=now,
            next_attempt_at=None,
        ):
            pair(event, receipt, twin)
            closed += 1
    return closed


def keep_up(*, event_key: ObjectId, now: datetime) -> None:
    """Close what waits for staff though its money is credited: other reports of this event's, or the event itself.

    For after an event's own transaction: two reports that came at once did not see each other in theirs. Safe to
    repeat.
    """
    if _find_credit(event_key) is not None:
        run_in_transaction(lambda: _close_all(_find_credit(event_key), now))


@dataclass(frozen=True)
class _Credit:
    """Money that was credited, of which another report still waits."""

    event: WebhookEvent
    receipt: MoneyReceived
    payment: Payment


def _find_credit(event_key: ObjectId) -> _Credit | None:
    """The credit of an event's money, if a report of it waits: this one, or another."""
    event = WebhookEvent.objects.filter(pk=event_key).first()
    receipt, _ = read_receipt(event) if event else (None, False)
    if event is None or receipt is None:
        return None
    same = [twin for twin in find_twins(event, receipt) if twin.likeness == Likeness.SAME and twin.event]
    if event.status == Status.DONE and event.payment and event.payment.status == Payment.Status.SUCCESS:
        is_open = any(twin.is_waiting or twin.event.status == Status.RECEIVED for twin in same if twin.event)
        return _Credit(event, receipt, event.payment) if is_open else None
    if event.is_waiting_for_staff:
        for twin in same:
            if twin.is_credited and twin.event and twin.receipt and twin.payment:
                return _Credit(twin.event, twin.receipt, twin.payment)
    return None


def _close_all(credit: _Credit | None, now: datetime) -> None:
    if credit is not None:
        close_waiting(event=credit.event, receipt=credit.receipt, payment=credit.payment, now=now)


def _is_one_id(twin: Twin, receipt: MoneyReceived) -> bool:
    return twin.receipt is not None and twin.receipt.transaction_id == receipt.transaction_id


def is_reported(event: WebhookEvent, receipt: MoneyReceived) -> bool:
    """Whether what the pull found was reported by a webhook that is decided or waits visibly: it needs no event then.

    By the rule of the inbox. A row that names an order which the webhook did not is no mere repetition. Notes which
    webhook it answers, so that another row which looks the same is seen.
    """
    for twin in find_twins(event, receipt):
        if twin.likeness < Likeness.SAME or twin.event is None or not twin.event.is_verified:
            continue
        if twin.is_credited or twin.is_dismissed or is_waiting_repeat(twin, receipt):
            return _is_one_id(twin, receipt) or is_answered_by(event.event_id, twin)
    return False


def is_waiting_repeat(twin: Twin, receipt: MoneyReceived) -> bool:
    """Whether a report adds nothing to one that waits for staff already.

    One that waits because it may repeat credited money answers no other: once it is dismissed, the other's is unseen.
    """
    if twin.event is None or twin.receipt is None or twin.is_guess or not twin.event.is_verified:
        return False
    if twin.payment is not None and twin.payment.status == Payment.Status.SUCCESS and not _is_one_id(twin, receipt):
        return False
    return twin.event.status == Status.REVIEW and set(receipt.order_codes) <= set(twin.receipt.order_codes)
