"""What a stored event tells people: how much, when, what the payer wrote, the bank's reference. Decides nothing."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from payments.errors import InvalidDecision, MalformedEvent
from payments.inbox.facts import read_fact
from payments.models import WebhookEvent
from payments.orders.prices import value_of
from payments.providers.events import MoneyReceived, MoneyReversed
from payments.rules.twins import read_receipt


@dataclass(frozen=True)
class Told:
    """An event in a few words. What cannot be read is None or ''."""

    amount: Decimal | None = None
    """Units of `currency`, above 0, whichever way the money went."""
    currency: str = ""
    value: Decimal | None = None
    """What received money is worth in USD now; None if nobody can tell, or it is not certain that it came."""
    at: datetime | None = None
    """By the provider, in the time zone that it writes."""
    memo: str = ""
    reference: str = ""
    """The bank's; where there is none, the provider's name of the money, or of the refund or dispute."""
    is_reversal: bool = False
    is_guess: bool = False
    """The body cannot be read: this is what it probably says."""


def tell(event: WebhookEvent) -> Told:
    """What an event tells, whatever is wrong with it. Reads no database."""
    is_guess = False
    try:
        fact: MoneyReceived | MoneyReversed | None = read_fact(event)
    except (MalformedEvent, InvalidDecision):
        fact, is_guess = read_receipt(event)
    if fact is None:
        return Told(is_guess=is_guess)
    if isinstance(fact, MoneyReversed):
        return Told(
            amount=fact.amount or None,
            currency=fact.currency,
            at=fact.occurred_at,
            reference=fact.reversal_id,
            is_reversal=True,
        )
    is_certain = event.is_verified and not fact.problem and not is_guess
    return Told(
        amount=fact.amount,
        currency=fact.currency,
        value=value_of(amount=fact.amount, currency=fact.currency) if is_certain else None,
        at=fact.occurred_at,
        memo=fact.memo,
        reference=fact.reference or fact.transaction_id,
        is_guess=is_guess,
    )
