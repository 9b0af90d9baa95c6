"""The rules: what an event does to the order, the balance and itself. docs/payments.md has them as a table.

Everything here runs inside the transaction that also moves the event on, so all of it happens, once, or none.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from money.amounts import ZERO
from payments.models import Payment, WebhookEvent
from payments.orders.needs_repair import check_payment
from payments.providers.events import (
    MoneyReceived,
    MoneyReversed,
    NoMoney,
    OrderState,
    OrderUpdate,
    ProviderEvent,
)
from payments.rules.receipts import (
    Outcome,
    apply_receipt,
    credits_of_receipt,
    find_orders,
    foreign_page,
    wake_reversals,
    why_no_order,
    wrong_currency,
)
from payments.rules.reversals import amount_of_reversal, apply_reversal, contradiction

Flag = Payment.Flag
Status = WebhookEvent.Status


def apply_event(*, event: WebhookEvent, provider_event: ProviderEvent, now: datetime) -> Outcome:
    """Do what a verified event asks for, by the rules, and return what becomes of the event.

    Call it in the transaction that then moves the event on. Safe to repeat: money is known by its transaction, and of a
    reversal's reports the newest counts. Raises `PaymentNotYetKnown` for a refund that came before its payment, and
    `ChangedMeanwhile`; any other `BillingError` (no such account, an impossible amount) sends the event to review.
    """
    match provider_event.fact:
        case MoneyReceived() as receipt:
            return apply_receipt(event, receipt, now)
        case MoneyReversed() as reversal:
            return _apply_reversal(event, reversal, now)
        case OrderUpdate() as update:
            return _apply_update(update, now)
        case NoMoney(reason):
            return Outcome(Status.IGNORED, reason)


def amount_of_event(*, event: WebhookEvent, provider_event: ProviderEvent) -> Decimal:
    """The most that `apply_event` would move now, in USD: as if nothing of it had been credited. Reads only."""
    match provider_event.fact:
        case MoneyReceived() as receipt:
            found = find_orders(receipt.order_codes)
            return ZERO if receipt.problem or len(found) != 1 else sum(credits_of_receipt(found[0], receipt), ZERO)
        case MoneyReversed() as reversal:
            payment = _reversed_payment(event.provider, reversal)
            if payment is None or reversal.problem:
                return ZERO
            return amount_of_reversal(payment=payment, provider=event.provider, fact=reversal)
    return ZERO


ATTEMPTS_BEFORE_REVIEW = 6
"""A refund waits for its payment through so many attempts (about half an hour), then for staff."""


class PaymentNotYetKnown(Exception):
    """A refund came before its payment: events have no order, so it is tried again later."""


def _apply_reversal(event: WebhookEvent, reversal: MoneyReversed, now: datetime) -> Outcome:
    payment = _reversed_payment(event.provider, reversal)
    if payment is not None:
        _keep_charge_id(payment, reversal)
    if payment is None:
        if event.attempts < ATTEMPTS_BEFORE_REVIEW and not reversal.problem:
            raise PaymentNotYetKnown(f"no payment {reversal.transaction_id} yet")
        return Outcome(Status.REVIEW, reversal.problem or f"no payment {reversal.transaction_id} that it could reverse")
    if reason := (
        reversal.problem
        or wrong_currency(payment, reversal)
        or _why_split(payment)
        or contradiction(payment=payment, provider=event.provider, fact=reversal)
    ):
        return Outcome(Status.REVIEW, reason, payment)
    apply_reversal(
        payment=payment,
        provider=event.provider,
        fact=reversal,
        operation=f"reversal:{event.pk}",
        actor=event.provider,
        now=now,
    )
    return Outcome(Status.DONE, payment=payment)


def _why_split(payment: Payment) -> str:
    """Why a refund of a transfer cannot be reversed with this payment alone, or ''."""
    if Flag.SPLIT not in (payment.flags or ()):
        return ""
    return "staff split this transfer over several orders: record a refund with each, then dismiss this"


def _reversed_payment(provider: str, reversal: MoneyReversed) -> Payment | None:
    """The payment that a refund or dispute is about, by either of its names."""
    paid = Payment.objects.filter(provider=provider, status=Payment.Status.SUCCESS)
    payment = paid.filter(provider_transaction_id=reversal.transaction_id).first()
    if payment is None and reversal.charge_id:
        return paid.filter(provider_charge_id=reversal.charge_id).first()
    return payment


def _keep_charge_id(payment: Payment, reversal: MoneyReversed) -> None:
    """Keep the payment's other name, and make events due that have no other one, if it was not known yet."""
    if (
        not reversal.charge_id
        or reversal.problem
        or payment.provider_transaction_id != reversal.transaction_id
        or payment.provider_charge_id == reversal.charge_id
    ):
        return
    Payment.objects.filter(pk=payment.pk).update(provider_charge_id=reversal.charge_id)
    wake_reversals(str(payment.provider), reversal.charge_id, datetime.now(UTC))


PROCESSING_DAYS = 14
"""How long a slow bank may take with a payment that its payer has made."""


def _apply_update(update: OrderUpdate, now: datetime) -> Outcome:
    found = find_orders(update.order_codes)
    if update.problem:
        return Outcome(Status.REVIEW, update.problem, found[0] if len(found) == 1 else None)
    if len(found) != 1:
        return Outcome(Status.IGNORED, why_no_order(found))
    order = found[0]
    if reason := foreign_page(order, update):
        return Outcome(Status.IGNORED, reason, order)
    check_payment(order)
    open_order = Payment.objects.filter(pk=order.pk, status=Payment.Status.PENDING)
    match update.state:
        case OrderState.PROCESSING:
            flags = [*(order.flags or ()), Flag.PROCESSING.value]
            changed = open_order.update(flags=flags, expires_at=now + timedelta(days=PROCESSING_DAYS))
        case OrderState.FAILED:
            changed = open_order.update(status=Payment.Status.FAILED)
        case OrderState.EXPIRED:
            changed = open_order.update(status=Payment.Status.EXPIRED)
    return Outcome(Status.DONE if changed else Status.IGNORED, "" if changed else f"the order is {order.status}", order)
