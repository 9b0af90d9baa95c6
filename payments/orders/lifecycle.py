"""The life of an order: made at a price, a rate and a deadline that stay as they were, then paid, failed or expired."""

from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil

from bson import ObjectId
from bson.errors import InvalidId
from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from accounts.errors import AccountDisabled
from accounts.models import Account
from mongo.collections import IS_NO_LIST, collection_of, current_session, wrapper
from mongo.transactions import run_in_transaction
from mongo.unreadable import is_odd_id
from payments.errors import InvalidOrder, PaymentNotFound, TooManyOpenOrders
from payments.models import Payment
from payments.orders import codes
from payments.orders.prices import price_of
from payments.orders.promotions import find_promotion
from payments.orders.purchasing import check_purchasing
from payments.providers import get_seller

COUNTERS = "order_counters"
"""Collection: how many orders an account has ever tried to make. Written so that two at once are made in turn."""

_CODE_ATTEMPTS = 5


def create_order(
    *,
    account: Account,
    credits: int,
    method: str | None = None,
    discord_id: str | None = None,
    now: datetime | None = None,
) -> Payment:
    """Make a pending order of whole USD `credits`, with price, rate, promotion and expiry fixed on it.

    `method` is the name of the provider to pay through; None = the first one that sells. Expired accounts may buy.
    Raises `AccountDisabled`, `InvalidOrder`, `PurchasingOff`, `PaymentMethodUnavailable` for a provider that sells
    nothing, and `TooManyOpenOrders`. Not safe to repeat: every call makes an order.
    """
    now = now or timezone.now()
    check_purchasing()
    if not account.is_active:
        raise AccountDisabled(account.username)
    if not settings.ORDER_MIN_CREDITS <= credits <= settings.ORDER_MAX_CREDITS:
        raise InvalidOrder(
            f"credits must be a whole number from {settings.ORDER_MIN_CREDITS} to {settings.ORDER_MAX_CREDITS} (USD)."
        )
    provider = get_seller(method)
    price = price_of(credits=credits, method=provider.name)
    lifetime = timedelta(minutes=max(settings.ORDER_LIFETIME_MINUTES, provider.min_order_minutes))
    promotion = find_promotion(at=now)
    order = Payment(
        user_id=account.username,
        username=account.username,
        discord_id=discord_id or account.discord_id,
        credits=Decimal(credits),
        amount=price.amount,
        currency=price.currency,
        rate=price.rate,
        bonus_percent=promotion.percent if promotion else None,
        payment_method=provider.name,
        created_at=now,
        expires_at=now + lifetime,
    )
    return _insert_with_code(order, now)


def _insert_with_code(payment: Payment, now: datetime) -> Payment:
    """Store a new payment under a new code; the unique key decides whether the code is new. `now` is the clock.

    A taken code ends its transaction, and the next code has one of its own.
    """
    for attempt in range(_CODE_ATTEMPTS):
        payment.order_code = codes.generate_code(settings.ORDER_CODE_PREFIX)
        try:
            run_in_transaction(lambda: _insert_within_limit(payment, now))
        except IntegrityError:
            if attempt == _CODE_ATTEMPTS - 1:
                raise
        else:
            return payment
    raise AssertionError("unreachable")


def _insert_within_limit(payment: Payment, now: datetime) -> None:
    """Store a new payment, in the caller's transaction, if the account may have one more that is unpaid.

    Raises `TooManyOpenOrders`. Of several at once each writes the account's counter, so that no two of them count the
    same orders: MongoDB lets one go on, and repeats the others.
    """
    counters = wrapper().get_collection(COUNTERS)
    counters.update_one({"_id": payment.user_id}, {"$inc": {"orders": 1}}, upsert=True, session=current_session())
    pending = Payment.objects.filter(user_id=payment.user_id, status=Payment.Status.PENDING, expires_at__gt=now)
    deadlines = sorted(
        order.expires_at
        for order in pending
        # What the payer's bank is at work on has been paid, as far as the customer can.
        if order.expires_at is not None and Payment.Flag.PROCESSING not in (order.flags or ())
    )
    limit = settings.OPEN_ORDERS_LIMIT
    if 0 < limit <= len(deadlines):
        first = deadlines[len(deadlines) - limit]  # When fewer than the limit are left.
        raise TooManyOpenOrders(count=len(deadlines), retry_seconds=ceil((first - now).total_seconds()))
    payment.pk = None  # type: ignore[assignment]  # None is how a new key is asked for.
    payment.save(force_insert=True)


def expire_pending(*, now: datetime | None = None) -> int:
    """Mark the pending orders whose time is over as expired; return how many. Late money still finds them.

    One update conditional on pending, so it never overwrites a payment. Safe to repeat and to run in parallel.
    """
    status = {"$eq": Payment.Status.PENDING.value, **IS_NO_LIST}
    overdue = {"status": status, "expiresAt": {"$lte": now or timezone.now(), **IS_NO_LIST}}
    updated = collection_of(Payment).update_many(overdue, {"$set": {"status": Payment.Status.EXPIRED.value}})
    return int(updated.modified_count)


def fail_order(order: Payment) -> bool:
    """Mark an order that cannot be paid as failed, unless something else happened to it. Safe to repeat."""
    pending = Payment.objects.filter(pk=order.pk, status=Payment.Status.PENDING)
    return bool(pending.update(status=Payment.Status.FAILED))


def record_session(order: Payment, session_id: str) -> None:
    """Note the payment page of an order, so that the pull can ask for it. Safe to repeat."""
    Payment.objects.filter(pk=order.pk).update(session_id=session_id)


def find_payment_of(*, username: str, payment_id: str) -> Payment:
    """A payment of this account. Raises `PaymentNotFound`, also for somebody else's."""
    try:
        key = payment_id if is_odd_id(payment_id) else ObjectId(payment_id)
    except InvalidId as error:
        raise PaymentNotFound from error
    payment = Payment.objects.filter(pk=key, user_id=username).first()
    if payment is None or payment.user_id != username:  # A list of names would match too.
        raise PaymentNotFound
    return payment


def status_at(payment: Payment, now: datetime) -> str:
    """The status as the customer should see it: an overdue order is expired before the sweeper says so."""
    status = payment.status or Payment.Status.PENDING
    if status == Payment.Status.PENDING and payment.expires_at and payment.expires_at <= now:
        return Payment.Status.EXPIRED.value
    return str(status)


def remaining_seconds(payment: Payment, now: datetime) -> int:
    """Whole seconds left to pay a pending order; 0 otherwise."""
    is_open = status_at(payment, now) == Payment.Status.PENDING and "status" not in payment.unreadable
    if not is_open or payment.expires_at is None:
        return 0
    return max(0, int((payment.expires_at - now).total_seconds()))
