"""What a stored event says, and what a decision about it would move: for previews and limits. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from money.amounts import ZERO
from payments import orders
from payments.errors import InvalidDecision, MalformedEvent, ProviderRemoved
from payments.models import Payment, WebhookEvent
from payments.orders import search
from payments.orders.search import Sought, Suggestion
from payments.providers import get_provider
from payments.providers.events import MoneyReceived, MoneyReversed
from payments.rules.apply import amount_of_event
from payments.rules.receipts import credits_of_receipt, wrong_currency
from payments.rules.reversals import amount_of_reversal

Fact = MoneyReceived | MoneyReversed


@dataclass(frozen=True)
class Money:
    """What an event says was received: `amount` units of `currency`. `value` is its worth in USD; None if unknown."""

    amount: Decimal
    currency: str
    value: Decimal | None


def read_money(event: WebhookEvent) -> Money | None:
    """The money that an event reports, or None if it reports none that can be read. Reads only.

    Money that is not certain (not verified, test mode, another account) has no known value.
    """
    try:
        fact = read_fact(event)
    except (MalformedEvent, InvalidDecision):
        return None
    if isinstance(fact, MoneyReversed):
        return None
    is_certain = event.is_verified and not fact.problem
    value = orders.value_of(amount=fact.amount, currency=fact.currency) if is_certain else None
    return Money(fact.amount, fact.currency, value)


def credits_of_match(*, event: WebhookEvent, payment: Payment) -> Decimal | None:
    """The credits without bonus that `match` would give now, in USD; None if it would credit nothing. Reads only."""
    try:
        fact = read_fact(event)
    except (MalformedEvent, InvalidDecision):
        return None
    if not isinstance(fact, MoneyReceived) or wrong_currency(payment, fact):
        return None
    return credits_of_receipt(payment, fact)[0]


def suggest_for(event: WebhookEvent) -> list[Suggestion]:
    """The unpaid orders that the money of an event may be for; none for a refund or a dispute. Reads only."""
    return suggest_for_each([event])[0] or []


def suggest_for_each(events: Sequence[WebhookEvent]) -> list[list[Suggestion] | None]:
    """What `suggest_for` says of each of a list; None where so many orders were made that it was not looked for.

    Reads only.
    """
    sought = {index: one for index, event in enumerate(events) if (one := sought_of(event))}
    found = dict(zip(sought, search.suggest_for_each(list(sought.values())), strict=True))
    return [found.get(index, []) for index in range(len(events))]


def sought_of(event: WebhookEvent) -> Sought | None:
    """The money of an event as its order is looked for; None for a refund or a dispute. Reads only."""
    try:
        fact: Fact | None = read_fact(event)
    except (MalformedEvent, InvalidDecision):
        fact = None
    if isinstance(fact, MoneyReversed):
        return None
    return Sought(
        text=bytes(event.body or b"").decode(errors="replace"),
        amount=fact.amount if fact else None,
        currency=fact.currency if fact else "",
        at=min(fact.occurred_at, event.received_at) if fact else event.received_at,
    )


def amount_of_match(*, event: WebhookEvent, payment: Payment) -> Decimal:
    """How much `match` would credit or reverse now, bonus and all, in USD; 0 for what it would refuse. Reads only."""
    try:
        fact = read_fact(event)
    except (MalformedEvent, InvalidDecision):
        return ZERO
    if wrong_currency(payment, fact):
        return ZERO
    if isinstance(fact, MoneyReceived):
        return sum(credits_of_receipt(payment, fact), ZERO)
    if payment.status != Payment.Status.SUCCESS:
        return ZERO
    fact = replace(fact, problem="")
    return amount_of_reversal(payment=payment, provider=event.provider, fact=fact, is_decided=True)


def amount_of_replay(*, event: WebhookEvent) -> Decimal:
    """The most that `replay` would credit or reverse now, bonus and all, in USD. Reads only."""
    try:
        provider_event = get_provider(event.provider).read(body=bytes(event.body or b""), headers=event.headers or {})
    except (MalformedEvent, KeyError):  # The rules will say so; a provider may not be listed any more.
        return ZERO
    return amount_of_event(event=event, provider_event=provider_event)


def read_fact(event: WebhookEvent) -> Fact:
    """What the event says, if it is about money. Raises `MalformedEvent` (or `ProviderRemoved`), `InvalidDecision`."""
    try:
        provider = get_provider(event.provider)
    except KeyError as error:
        raise ProviderRemoved(event.provider) from error
    fact = provider.read(body=bytes(event.body or b""), headers=event.headers or {}).fact
    if not isinstance(fact, MoneyReceived | MoneyReversed):
        raise InvalidDecision("This event moves no money: dismiss it.")
    return fact
