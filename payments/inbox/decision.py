"""What the decisions of staff about an event share: an actor and a reason, once, and never money credited before."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bson import ObjectId

from mongo.transactions import run_in_transaction
from payments.errors import AlreadyCredited, InvalidDecision, NotReviewable
from payments.inbox import events
from payments.models import Payment, WebhookEvent
from payments.providers.events import MoneyReceived
from payments.rules.likeness import Likeness
from payments.rules.receipts import Outcome
from payments.rules.renewal import why_credits_would_expire
from payments.rules.twins import find_twins

Status = WebhookEvent.Status


def decide_event(
    event_key: ObjectId,
    decision: Callable[[WebhookEvent], Payment | None],
    *,
    actor: str,
    reason: str,
    now: datetime,
    is_done: bool = True,
) -> Payment:
    """Run a decision and close the event with it, in one transaction."""
    check_reason(reason)

    def run() -> Payment | None:
        event = check_waiting(WebhookEvent.objects.filter(pk=event_key).first())
        payment = decision(event)
        status = Status.DONE if is_done else Status.IGNORED
        outcome = Outcome(status, event.error, payment)  # Why it waited stays readable beside the decision.
        events.finish(event=event, outcome=outcome, now=now, resolved_by=actor, resolution=reason[:500])
        return payment

    return run_in_transaction(run)  # type: ignore[return-value]  # None only from `dismiss`, which drops it.


def check_waiting(event: WebhookEvent | None) -> WebhookEvent:
    """The event, if it waits for a decision of staff. Raises `NotReviewable`, which names who has decided."""
    if event is None or not event.is_waiting_for_staff:
        by = (
            f" {event.resolved_by} has decided about it: {event.get_status_display()}."
            if event and event.resolved_by
            else ""
        )
        raise NotReviewable(f"This event does not wait for a decision (any more).{by}")
    return event


def check_expiry(*, username: str, amount: Decimal, order: Payment | None = None, now: datetime) -> None:
    """Raise `InvalidDecision` if `amount` USD would be lost at once: too little to restart an expiry that has come."""
    if reason := why_credits_would_expire(username=username, amount=amount, order=order, now=now):
        raise InvalidDecision(f"{reason[0].upper()}{reason[1:]}.")


def check_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidDecision("Give a reason: others will ask.")


def check_paid(payment: Payment) -> None:
    if payment.status != Payment.Status.SUCCESS:
        raise InvalidDecision(f"Payment {payment} was not paid: there is nothing to reverse.")


def uncredited(event: WebhookEvent, receipt: MoneyReceived, *orders: Payment) -> MoneyReceived:
    """The receipt, unless its money was credited. Staff may say that a look-alike is another transfer."""
    check_uncredited(event, receipt, *orders)
    if Payment.objects.filter(transfer_key=receipt.transfer_key).exists():
        return replace(receipt, transfer_key=f"{receipt.transfer_key}#{event.pk}"[:80])
    return receipt


def check_uncredited(event: WebhookEvent, receipt: MoneyReceived, *orders: Payment) -> None:
    """Raise `AlreadyCredited` for money that certainly was, whichever report of it that followed."""
    same = Payment.objects.filter(provider=event.provider, provider_transaction_id=receipt.transaction_id).first()
    if same is not None:
        raise AlreadyCredited(f"Transaction {receipt.transaction_id} was credited with payment {same}.")
    for twin in find_twins(event, receipt, orders):
        if twin.likeness == Likeness.SAME and twin.is_credited:
            raise AlreadyCredited(f"This money was credited with payment {twin.payment}: {twin} reports it too.")
