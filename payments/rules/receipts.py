"""The rules for money that was received: whether it was credited before, which order it is for, and what it buys.

Everything here runs inside the transaction that also moves the event on, so all of it happens, once, or none.
docs/payments.md has the rules as a table.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings

from accounts import credits
from accounts.credits import format_time
from accounts.models import Balance
from money.amounts import ZERO, round_usd
from mongo.times import later
from payments.errors import ChangedMeanwhile
from payments.models import OLD_PROVIDER, Payment, WebhookEvent
from payments.orders import codes
from payments.orders.needs_repair import check_payment
from payments.orders.prices import currency_of, rate_of
from payments.orders.promotions import bonus_of
from payments.providers.events import (
    MoneyReceived,
    MoneyReversed,
    OrderUpdate,
    reversal_key,
)
from payments.rules.likeness import Likeness
from payments.rules.renewal import renews_expiry, why_credits_would_expire
from payments.rules.reversals import with_reason
from payments.rules.twins import Twin, close_waiting, find_twins, is_waiting_repeat, pair

Flag = Payment.Flag
Status = WebhookEvent.Status


@dataclass(frozen=True)
class Outcome:
    """What becomes of an event, why, and the payment it concerned."""

    status: WebhookEvent.Status
    reason: str = ""
    payment: Payment | None = None


def apply_receipt(event: WebhookEvent, receipt: MoneyReceived, now: datetime) -> Outcome:
    """Credit the order that the money is for, or say what else becomes of its event. `apply_event` calls it."""
    found = find_orders(receipt.order_codes)
    if known := _find_known(event, receipt, found):
        return known
    if receipt.problem or len(found) != 1:
        return Outcome(Status.REVIEW, receipt.problem or why_no_order(found))
    order = found[0]
    check_payment(order)
    if old := _credited_by_old_system(event, order, receipt):
        return old
    reason = (
        foreign_page(order, receipt)
        or wrong_currency(order, receipt)
        or _too_late(order, receipt, now)
        or why_credits_would_expire(
            username=order.user_id, amount=_base_credits(order, receipt.amount), order=order, now=now
        )
    )
    if reason:
        return Outcome(Status.REVIEW, reason, order)
    payment = credit_order(event=event, order=order, receipt=receipt, actor=event.provider, now=now)
    return Outcome(Status.DONE, payment=payment)


def _find_known(event: WebhookEvent, receipt: MoneyReceived, orders: list[Payment]) -> Outcome | None:
    """Whether this money was, or may have been, reported before: under its id, or by another report of it."""
    same = Payment.objects.filter(provider=event.provider, provider_transaction_id=receipt.transaction_id).first()
    if same is not None:
        check_payment(same)
        return Outcome(Status.IGNORED, "this transaction was credited before", same)
    twins = find_twins(event, receipt, orders)
    for twin in twins:
        if twin.payment is not None:
            check_payment(twin.payment)
        if twin.likeness == Likeness.SAME and (twin.is_credited or twin.is_dismissed):
            pair(event, receipt, twin)
            what = "credited before, from another report of this transfer" if twin.is_credited else "dismissed before"
            return Outcome(Status.IGNORED, f"{what}: {twin}", twin.payment)
    for twin in twins:
        if twin.is_credited:
            return Outcome(Status.REVIEW, look_alike(twin), twin.payment)
    for twin in twins:
        if twin.likeness == Likeness.SAME and is_waiting_repeat(twin, receipt):
            pair(event, receipt, twin)
            return Outcome(Status.IGNORED, f"the same transfer as {twin}", twin.payment)
    return None


def look_alike(twin: Twin) -> str:
    """What staff should know of a report that may be about credited money."""
    return (
        f"it looks like money that was credited before, with payment {twin.payment} ({twin}): "
        "dismiss this one if it is the same, credit it if it is another"
    )


def _credited_by_old_system(event: WebhookEvent, order: Payment, receipt: MoneyReceived) -> Outcome | None:
    """Whether the replaced system, which knew neither our keys nor a pull, credited this transfer."""
    if order.status != Payment.Status.SUCCESS or order.transfer_key:
        return None
    credited_id = str(order.sepay_transaction_id or "")  # Some documents hold a number.
    if credited_id == receipt.transaction_id:
        return Outcome(Status.IGNORED, "this transaction was credited by the replaced system", order)
    if not credited_id or event.source == WebhookEvent.Source.PULL:
        reason = "the replaced system marked this order paid, perhaps by this transfer: credit only another one"
        return Outcome(Status.REVIEW, reason, order)
    return None


def find_orders(codes: tuple[str, ...]) -> list[Payment]:
    """The orders with exactly these codes, at most ten. A list with a code in it, which would match too, is none."""
    found = Payment.objects.filter(order_code__in=codes).order_by("pk")[:20] if codes else []
    return [order for order in found if order.order_code in codes][:10]


def why_no_order(found: list[Payment]) -> str:
    if not found:
        return "no order: the memo holds no code of an order"
    return f"several orders match: {', '.join(str(order) for order in found)}"


def foreign_page(order: Payment, reported: MoneyReceived | OrderUpdate) -> str:
    """Why the payment page that is reported is not the one that was made for the order, or ''.

    Whoever knows a code can have it named by a page of another shop, or by a payment link.
    """
    if not reported.session_id or reported.session_id == order.session_id:
        return ""
    return f"a payment page that was not made for this order: {reported.session_id}"


def wrong_currency(order: Payment, receipt: MoneyReceived | MoneyReversed) -> str:
    """Why the money cannot be compared with the payment, or ''."""
    is_warning = isinstance(receipt, MoneyReversed) and receipt.amount == 0  # Without money there is no currency.
    if is_warning or currency_of(order) == receipt.currency:
        return ""
    return f"wrong currency: {receipt.currency} for an order in {currency_of(order)}"


def _deadline_of(order: Payment) -> datetime | None:
    """Until when the order was to be paid; old documents may only say when they were made, or not even that."""
    if order.expires_at is None and order.created_at is not None:
        return later(order.created_at, timedelta(minutes=settings.ORDER_LIFETIME_MINUTES))
    return order.expires_at


def _too_late(order: Payment, receipt: MoneyReceived, now: datetime) -> str:
    paid_at, deadline = min(receipt.occurred_at, now), _deadline_of(order)
    if deadline is None or paid_at <= later(deadline, timedelta(hours=settings.LATE_PAYMENT_GRACE_HOURS)):
        return ""
    return f"too late: paid at {format_time(paid_at)}, the order expired at {format_time(deadline)}"


def credit_order(
    *, event: WebhookEvent, order: Payment, receipt: MoneyReceived, actor: str, now: datetime, staff_reason: str = ""
) -> Payment:
    """Credit money that is certainly for `order`, at the order's rate; return the payment that records it.

    `receipt.amount` is in units of the order's currency, which the caller has compared; credits and bonus are USD. The
    bonus counts on what was ordered, and only if that was paid in full. Money for an order that was paid before becomes
    a payment of its own, without a bonus. `staff_reason` is why a person decided it; empty = the rules did.

    Call it in the transaction that moves the event on, for money that was not credited before. Not safe to repeat: a
    second call takes it for a second transfer, and the unique keys of the payment refuse that by `IntegrityError`.
    Raises `PaymentNeedsRepair`, `AccountNeedsRepair`, `AccountNotFound`, `InvalidAmount`, `CreditsExpired`
    (`why_credits_would_expire` says why), and
    `ChangedMeanwhile` if the order was paid after it was read.
    """
    check_payment(order)
    is_second = order.status == Payment.Status.SUCCESS
    base, bonus = credits_of_receipt(order, receipt)
    payment = _second_payment(order, base, receipt, now) if is_second else order
    movement = credits.top_up(
        username=order.user_id,
        amount=base,
        bonus=bonus,
        operation=f"payment:{payment.pk}",
        actor=actor,
        reason=with_reason(f"Payment {payment}, {event.provider} transaction {receipt.transaction_id}", staff_reason),
        renews_expiry=renews_expiry(amount=base, order=order),
        now=now,
    )
    after = movement.balance_after(Balance.OPENHANDS)
    manual = [Flag.MANUAL.value] if staff_reason else []
    flags = [*(payment.flags or ()), *_flags(event, order, receipt, now), *manual]
    _mark_paid(
        payment,
        provider=event.provider,
        provider_transaction_id=receipt.transaction_id,
        transfer_key=receipt.transfer_key,
        sepay_transaction_id=receipt.transaction_id if event.provider == "sepay" else None,
        received_amount=receipt.amount,
        credited=base,
        bonus=bonus,
        flags=list(dict.fromkeys(flag for flag in flags if flag != Flag.PROCESSING)),
        credits_before=after - base - bonus,
        credits_after=after,
        completed_at=now,
    )
    wake_reversals(event.provider, receipt.transaction_id, now)
    close_waiting(event=event, receipt=receipt, payment=payment, now=now)
    return payment


def credits_of_receipt(order: Payment, receipt: MoneyReceived) -> tuple[Decimal, Decimal]:
    """The credits and the bonus that money for `order` buys now. USD."""
    is_second = order.status == Payment.Status.SUCCESS
    is_full = receipt.amount >= order.amount
    bonus = bonus_of(credits=order.credits, percent=order.bonus_percent) if is_full and not is_second else ZERO
    return _base_credits(order, receipt.amount), bonus


def _mark_paid(payment: Payment, **fields: Any) -> None:
    """Write what came of the payment, on condition that nothing did yet: it is never paid twice.

    Raises `ChangedMeanwhile` if it is paid already.
    """
    fields["status"] = Payment.Status.SUCCESS
    if not Payment.objects.filter(pk=payment.pk).exclude(status=Payment.Status.SUCCESS).update(**fields):
        raise ChangedMeanwhile(f"Payment {payment}")
    for name, value in fields.items():
        setattr(payment, name, value)


def _base_credits(order: Payment, amount: Decimal) -> Decimal:
    """What `amount` buys at the order's rate, in USD; the price buys what was ordered, whatever its rounding."""
    return order.credits if amount == order.amount else round_usd(amount / rate_of(order))


def wake_reversals(provider: str, transaction_id: str, now: datetime) -> None:
    """Make the refunds and disputes of a transaction due now, because its payment has arrived.

    They may wait as received or in review. Moves no credits: the next processing does. Safe to repeat, as only what
    waits is touched. Call it in the transaction that records the payment.
    """
    waiting = WebhookEvent.objects.filter(transfer_key=reversal_key(provider, transaction_id), is_verified=True)
    waiting.filter(status__in=[Status.RECEIVED, Status.REVIEW]).update(status=Status.RECEIVED, next_attempt_at=now)


def _flags(event: WebhookEvent, order: Payment, receipt: MoneyReceived, now: datetime) -> list[str]:
    is_second = order.status == Payment.Status.SUCCESS
    deadline = _deadline_of(order)
    is_late = deadline is not None and min(receipt.occurred_at, now) > deadline
    ordered_from = order.payment_method or OLD_PROVIDER
    conditions = {
        Flag.SECOND_TRANSFER: is_second,
        Flag.OVER: not is_second and receipt.amount > order.amount,
        Flag.UNDER: not is_second and receipt.amount < order.amount,
        Flag.SMALL: not renews_expiry(amount=_base_credits(order, receipt.amount), order=order),
        Flag.LATE: not is_second and is_late,
        Flag.AFTER_FAILURE: order.status == Payment.Status.FAILED,
        Flag.OTHER_PROVIDER: ordered_from != event.provider,
        Flag.PULLED: event.source == WebhookEvent.Source.PULL,
    }
    return [flag.value for flag, holds in conditions.items() if holds]


def _second_payment(order: Payment, base: Decimal, receipt: MoneyReceived, now: datetime) -> Payment:
    """A payment document for another transfer to a paid order, under a code of its own."""
    payment = Payment(
        user_id=order.user_id,
        username=order.username,
        discord_id=order.discord_id,
        credits=base,
        amount=receipt.amount,
        currency=currency_of(order),
        rate=rate_of(order),
        order_code=codes.generate_code(settings.ORDER_CODE_PREFIX),
        payment_method=order.payment_method,
        status=Payment.Status.PENDING,
        created_at=now,
    )
    payment.save(force_insert=True)
    return payment
