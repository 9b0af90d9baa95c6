"""What staff decide about events that the rules could not apply: match, credit, dismiss, or run the rules again.

Every decision has an actor and a reason, moves the credits and the event in one transaction, and is refused once
somebody else has decided.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bson import ObjectId
from django.conf import settings
from django.utils import timezone

from accounts import credits
from accounts.models import Balance
from money.amounts import ZERO
from mongo.transactions import run_in_transaction
from payments.errors import (
    InvalidDecision,
    MalformedEvent,
    NotReviewable,
    PaymentNotFound,
    ProviderRemoved,
)
from payments.inbox import process
from payments.inbox.decision import check_expiry, check_paid, check_reason, check_uncredited, decide_event, uncredited
from payments.inbox.facts import Fact, read_fact, read_money
from payments.models import OLD_PROVIDER, Payment, WebhookEvent
from payments.orders import codes
from payments.orders.needs_repair import check_payment
from payments.orders.prices import CREDITS_CURRENCY, adopt_refundable, currency_of, rate_of, received_of
from payments.providers import all_providers
from payments.providers.events import MoneyReceived, MoneyReversed, ReversalState
from payments.rules.receipts import (
    credit_order,
    credits_of_receipt,
    wake_reversals,
    wrong_currency,
)
from payments.rules.renewal import renews_expiry
from payments.rules.reversals import apply_reversal, with_reason
from payments.rules.twins import Twin, close_waiting, find_twins, read_receipt

Status = WebhookEvent.Status
PULL = WebhookEvent.Source.PULL


def match(
    *, event_key: ObjectId, payment_key: ObjectId, actor: str, reason: str, now: datetime | None = None
) -> Payment:
    """Say which order the money is for, or which payment a refund reverses; the amounts follow from the rules.

    Returns the payment that records it. Raises `NotReviewable`, `PaymentNotFound`, `AlreadyCredited`,
    `InvalidDecision` (another currency: use `credit`; no reason; `check_expiry`), `MalformedEvent` (nobody can read the
    body), `AccountNotFound`, and `ChangedMeanwhile`. A second call raises `NotReviewable`: nothing is credited twice.
    """
    now = now or timezone.now()

    def decide(event: WebhookEvent) -> Payment:
        payment = Payment.objects.filter(pk=payment_key).first()
        if payment is None:
            raise PaymentNotFound
        fact = read_fact(event)
        check_payment(payment)
        if wrong := wrong_currency(payment, fact):
            raise InvalidDecision(f"{wrong}: credit an amount of USD instead.")
        if isinstance(fact, MoneyReversed):
            check_paid(payment)
            fact = replace(fact, problem="")
            operation = f"reversal:{event.pk}"
            apply_reversal(
                payment=payment,
                provider=event.provider,
                fact=fact,
                operation=operation,
                actor=actor,
                now=now,
                staff_reason=reason,
            )
            return payment
        receipt = uncredited(event, fact, payment)
        base, _ = credits_of_receipt(payment, receipt)
        check_expiry(username=payment.user_id, amount=base, order=payment, now=now)
        return credit_order(event=event, order=payment, receipt=receipt, actor=actor, now=now, staff_reason=reason)

    return decide_event(event_key, decide, actor=actor, reason=reason, now=now)


def credit(
    *, event_key: ObjectId, username: str, amount: Decimal, actor: str, reason: str, now: datetime | None = None
) -> Payment:
    """Credit `amount` USD to an account for the money of an event, without an order; return the new payment.

    Raises `NotReviewable`, `AlreadyCredited`, `AccountNotFound`, `InvalidAmount`, `InvalidDecision` (it is a refund;
    there is no reason; `check_expiry`), and `ChangedMeanwhile`. A second call raises `NotReviewable`: nothing is
    credited twice.
    """
    now = now or timezone.now()

    def decide(event: WebhookEvent) -> Payment:
        try:
            fact: Fact | None = read_fact(event)
        except MalformedEvent:
            fact = None  # Staff have read it themselves.
        if isinstance(fact, MoneyReversed):
            raise InvalidDecision("This is a refund or a dispute: match it with its payment, or dismiss it.")
        receipt = uncredited(event, fact) if fact else None
        guess, _ = read_receipt(event)
        if guess and not receipt:
            check_uncredited(event, guess)
        amount_usd = credits.check_amount(amount)
        check_expiry(username=username, amount=size_of_credit(event=event, amount=amount_usd), now=now)
        return _credit_account(
            event, receipt, username=username, amount=amount_usd, actor=actor, reason=reason, now=now
        )

    return decide_event(event_key, decide, actor=actor, reason=reason, now=now)


def size_of_credit(*, event: WebhookEvent, amount: Decimal) -> Decimal:
    """What `credit` of `amount` USD is judged by, when it is asked whether the expiry restarts. USD. Reads only.

    The payment counts as what it is certainly worth, also where staff credit less of it.
    """
    money = read_money(event)
    return max(amount, money.value or ZERO) if money else amount


def dismiss(*, event_key: ObjectId, actor: str, reason: str, now: datetime | None = None) -> None:
    """Close an event without moving credits. Raises `NotReviewable`, `InvalidDecision` (no reason), `ChangedMeanwhile`.

    A second call raises `NotReviewable`.
    """
    now = now or timezone.now()
    decide_event(event_key, lambda event: event.payment, actor=actor, reason=reason, now=now, is_done=False)


def replay(*, event_key: ObjectId, actor: str, reason: str, now: datetime | None = None) -> WebhookEvent:
    """Run the rules again over a stored event (of a release with other rules, or after an order was repaired).

    Only verified events that are in review, dead or ignored can be replayed, never one that is done. The rules know
    what was credited, so it is safe to repeat. Returns the event as it is afterwards. Raises `NotReviewable`,
    `ProviderRemoved`, and `InvalidDecision` without a reason.
    """
    now = now or timezone.now()
    check_reason(reason)
    check_replayable(WebhookEvent.objects.filter(pk=event_key).first())
    replayable = WebhookEvent.objects.filter(
        pk=event_key, is_verified=True, status__in=[Status.REVIEW, Status.DEAD, Status.IGNORED]
    )
    fields = {"status": Status.RECEIVED, "attempts": 0, "next_attempt_at": now}
    if not replayable.update(resolved_by=actor, resolution=f"replayed: {reason}"[:500], **fields):
        raise NotReviewable("Only a verified event in review, dead or ignored can be replayed.")
    process.process_event(event_key=event_key, now=now)
    return WebhookEvent.objects.get(pk=event_key)


def check_replayable(event: WebhookEvent | None) -> None:
    """Raise `ProviderRemoved` if the rules cannot run, because nothing reads the events of this provider any more."""
    if event is not None and event.provider not in {provider.name for provider in all_providers()}:
        raise ProviderRemoved(event.provider)


def record_refund(
    *,
    payment_key: ObjectId,
    amount: Decimal,
    reference: str,
    actor: str,
    reason: str,
    now: datetime | None = None,
) -> Payment:
    """Reverse the credits of money that staff sent back themselves, as a bank transfer; return the payment afterwards.

    `amount` is in units of the payment's currency, above 0 and at most what was received; the same share of credits
    and bonus is reversed, below zero if they were spent. `reference` is the bank's, and makes it happen once: safe to
    repeat. Raises `PaymentNotFound`, `InvalidDecision`, `AccountNotFound`, and `BrokenInvariant`.
    """
    now = now or timezone.now()
    check_reason(reason)

    def run() -> Payment:
        payment = Payment.objects.filter(pk=payment_key).first()
        if payment is None:
            raise PaymentNotFound
        check_payment(payment)
        check_paid(payment)
        adopt_refundable(payment)
        if not 0 < amount <= received_of(payment):
            raise InvalidDecision("The refund must be above 0 and at most what was received.")
        fact = MoneyReversed(
            reversal_id=f"manual:{payment.pk}:{reference}"[:100],
            transaction_id=payment.provider_transaction_id or "",
            amount=amount,
            currency=currency_of(payment),
            state=ReversalState.COUNTED,
            occurred_at=now,
        )
        provider = payment.provider or OLD_PROVIDER
        apply_reversal(
            payment=payment,
            provider=provider,
            fact=fact,
            operation=fact.reversal_id,
            actor=actor,
            now=now,
            staff_reason=reason,
        )
        return payment

    payment = run_in_transaction(run)
    payment.refresh_from_db()
    return payment


def find_look_alikes(event: WebhookEvent, *orders: Payment) -> list[Twin]:
    """What staff should compare an event with before they decide: reports of the same money, or perhaps of it."""
    receipt, _ = read_receipt(event)
    return find_twins(event, receipt, orders) if receipt else []


def _credit_account(
    event: WebhookEvent,
    receipt: MoneyReceived | None,
    *,
    username: str,
    amount: Decimal,
    actor: str,
    reason: str,
    now: datetime,
) -> Payment:
    is_renewal = renews_expiry(amount=size_of_credit(event=event, amount=amount))
    payment = Payment(
        user_id=username,
        username=username,
        credits=amount,
        # What nobody can read counts as what staff saw in it, in USD: so it can be refunded too.
        amount=receipt.amount if receipt else amount,
        currency=receipt.currency if receipt else CREDITS_CURRENCY,
        order_code=codes.generate_code(settings.ORDER_CODE_PREFIX),
        payment_method=event.provider,
        status=Payment.Status.SUCCESS,
        provider=event.provider,
        provider_transaction_id=receipt.transaction_id if receipt else None,
        transfer_key=receipt.transfer_key if receipt else None,
        sepay_transaction_id=receipt.transaction_id if receipt and event.provider == "sepay" else None,
        received_amount=receipt.amount if receipt else None,
        credited=amount,
        bonus=ZERO,
        flags=_flags_of_credit(event, is_small=not is_renewal),
        created_at=now,
        completed_at=now,
    )
    payment.rate = rate_of(payment)
    payment.save(force_insert=True)
    movement = credits.top_up(
        username=username,
        amount=amount,
        operation=f"payment:{payment.pk}",
        actor=actor,
        reason=with_reason(f"Payment {payment}, credited by hand for {event}", reason),
        renews_expiry=is_renewal,
        now=now,
    )
    after = movement.balance_after(Balance.OPENHANDS)
    Payment.objects.filter(pk=payment.pk).update(credits_before=after - amount, credits_after=after)
    if receipt:
        wake_reversals(event.provider, receipt.transaction_id, now)
    probable, _ = read_receipt(event)
    if probable:
        close_waiting(event=event, receipt=probable, payment=payment, now=now)
    return payment


def _flags_of_credit(event: WebhookEvent, *, is_small: bool) -> list[str]:
    flags = {Payment.Flag.MANUAL: True, Payment.Flag.PULLED: event.source == PULL, Payment.Flag.SMALL: is_small}
    return [flag.value for flag, holds in flags.items() if holds]
