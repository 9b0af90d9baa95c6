"""What a decision of staff would do, seen before it is made: it is run, read, and rolled back."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from django.utils import timezone

from accounts.errors import BillingError
from accounts.models import Account
from money.amounts import ZERO
from mongo.transactions import is_in_transaction, rehearse
from payments.models import Payment, WebhookEvent
from payments.providers import get_provider
from payments.rules.apply import PaymentNotYetKnown, apply_event
from payments.rules.receipts import Outcome

Result = TypeVar("Result")


@dataclass(frozen=True)
class Effect:
    """What a decision does to a payment and its account. USD."""

    payment: Payment
    credited: Decimal
    bonus: Decimal
    balance_before: Decimal
    balance_after: Decimal


def preview(decide: Callable[[], Payment]) -> Effect:
    """What `decide` (such as a call of `review.match`) would do now; nothing of it is kept. Safe to repeat.

    It is the decision itself that runs, so that it raises here what it would raise then. It has a transaction of its
    own, which is rolled back: within another one it is that of another thread, since transactions do not nest.
    """
    return preview_several(lambda: [decide()])[0]


def preview_several(decide: Callable[[], Sequence[Payment]]) -> list[Effect]:
    """The same of a decision about several payments (`split`); an account's balance after is that after all of them."""
    return _seen(decide, lambda payments: payments)[1]


def preview_rules(event: WebhookEvent, *, now: datetime | None = None) -> tuple[Outcome, Effect | None]:
    """What the rules would make of a verified event if they ran again now, and what that does to its payment.

    The effect is None where the event would concern no payment. What the rules refuse is the reason of a review.
    Nothing of it is kept; a provider is not asked anything. Raises `ProviderRemoved` and `MalformedEvent`.
    """
    provider_event = get_provider(event.provider).read(body=bytes(event.body or b""), headers=event.headers or {})

    def run() -> Outcome:
        again = copy(event)
        again.status, again.attempts = WebhookEvent.Status.RECEIVED, 1
        return apply_event(event=again, provider_event=provider_event, now=now or timezone.now())

    try:
        outcome, effects = _seen(run, lambda outcome: [outcome.payment] if outcome.payment else [])
    except PaymentNotYetKnown as error:
        return Outcome(WebhookEvent.Status.RECEIVED, str(error)), None
    except BillingError as error:
        return Outcome(WebhookEvent.Status.REVIEW, str(error)), None
    return outcome, effects[0] if effects else None


def _seen(run: Callable[[], Result], payments_of: Callable[[Result], Sequence[Payment]]) -> tuple[Result, list[Effect]]:
    """Run it, read what it did to its payments and their accounts, and roll it back."""
    if is_in_transaction():
        with ThreadPoolExecutor(1) as beside:
            return beside.submit(_run_and_roll_back, run, payments_of).result()
    return _run_and_roll_back(run, payments_of)


def _run_and_roll_back(
    run: Callable[[], Result], payments_of: Callable[[Result], Sequence[Payment]]
) -> tuple[Result, list[Effect]]:
    def attempt() -> tuple[Result, list[Payment], dict[str, Account]]:
        result = run()
        payments = [Payment.objects.get(pk=payment.pk) for payment in payments_of(result)]  # As they are stored then.
        return result, payments, _accounts_of(payments)

    result, payments, after = rehearse(attempt)
    before = _accounts_of(payments)
    return result, [_effect(one, before.get(one.user_id), after.get(one.user_id)) for one in payments]


def _accounts_of(payments: Sequence[Payment]) -> dict[str, Account]:
    return {account.pk: account for account in Account.objects.filter(pk__in={one.user_id for one in payments})}


def _effect(payment: Payment, before: Account | None, after: Account | None) -> Effect:
    return Effect(
        payment=payment,
        credited=payment.credited or ZERO,
        bonus=payment.bonus or ZERO,
        balance_before=before.credits_new if before else ZERO,
        balance_after=after.credits_new if after else ZERO,
    )
