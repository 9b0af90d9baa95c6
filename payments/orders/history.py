"""What customers read about their payments. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from math import ceil

from django.db.models import Q, QuerySet

from money.amounts import ZERO
from payments.models import Payment
from payments.orders.lifecycle import status_at
from payments.orders.prices import DEFAULT_CURRENCY, credited_of, currency_of, received_of

Status = Payment.Status


@dataclass(frozen=True)
class Page:
    """One page of an account's payments, newest first."""

    payments: Sequence[Payment]
    total: int
    number: int
    total_pages: int


@dataclass
class Totals:
    """What an account has bought. USD, and money by currency."""

    payments: int = 0
    successful: int = 0
    pending: int = 0
    failed: int = 0
    """Failed or expired, an overdue order too."""
    credits: Decimal = ZERO
    bonus: Decimal = ZERO
    received: dict[str, Decimal] = field(default_factory=dict)
    last_at: datetime | None = None

    @property
    def received_vnd(self) -> Decimal:
        return self.received.get(DEFAULT_CURRENCY, ZERO)


def latest_payments(*, username: str, count: int = 20) -> Sequence[Payment]:
    """The newest payments and orders of an account."""
    return list(_of(username)[:count])


def read_page(
    *,
    username: str,
    page: int,
    size: int,
    now: datetime,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page:
    """One page of an account's payments made from `since` to `until`, both inclusive; overdue orders are expired."""
    found = _of(username)
    if status:
        found = found.filter(_has_status(status, now))
    if since:
        found = found.filter(created_at__gte=since)
    if until:
        found = found.filter(created_at__lte=until)
    total = found.count()
    start = (page - 1) * size
    return Page(list(found[start : start + size]), total, page, max(1, ceil(total / size)))


def read_totals(*, username: str, now: datetime) -> Totals:
    """The sums over all payments of an account, and how its orders stand at `now`."""
    totals = Totals()
    for payment in _of(username):
        totals.payments += 1
        if payment.status != Status.SUCCESS:
            status = status_at(payment, now)
            totals.pending += status == Status.PENDING
            totals.failed += status in (Status.FAILED, Status.EXPIRED)
            continue
        totals.successful += 1
        totals.credits += credited_of(payment)
        totals.bonus += payment.bonus or ZERO
        currency = currency_of(payment)
        totals.received[currency] = totals.received.get(currency, ZERO) + received_of(payment)
        if payment.completed_at and (totals.last_at is None or payment.completed_at > totals.last_at):
            totals.last_at = payment.completed_at
    return totals


def _of(username: str) -> QuerySet[Payment]:
    return Payment.objects.filter(user_id=username).order_by("-created_at")


def _has_status(status: str, now: datetime) -> Q:
    """The stored status, but an overdue pending order counts as expired before the sweeper says so."""
    overdue = Q(status=Status.PENDING, expires_at__lte=now)
    if status == Status.PENDING:
        return Q(status=status) & (Q(expires_at__gt=now) | Q(expires_at=None))
    return Q(status=status) | overdue if status == Status.EXPIRED else Q(status=status)
