"""What went back of the money that was paid, day by day: refunds, and disputes that were lost or are not decided yet.

It is read from the refunds and disputes as they are known now, so that a dispute which is won later is in no day.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby

from bson import ObjectId

from money.amounts import round_usd
from payments.models import Payment, Reversal
from payments.orders.prices import rate_of, refundable_of
from payments.rules.reversals import total_reversed

MOST_REVERSALS = 20_000
"""Of a period; of one with more it is not known what went back."""


@dataclass(frozen=True)
class MoneyBack:
    """What went back of one payment on one day: units of its currency, and USD at its own rate.

    Below 0 where less is reversed than before, such as after a refund that failed.
    """

    at: datetime
    payment: ObjectId
    provider: str
    currency: str
    amount: Decimal
    usd: Decimal


def read_money_back(*, start: datetime, end: datetime) -> list[MoneyBack] | None:
    """What went back from `start` up to, not including, `end`; None if there is too much of it to be added up.

    A refund or dispute counts at the time of the newest report of it. Reads only.
    """
    within = Reversal.objects.filter(occurred_at__gte=start, occurred_at__lt=end)
    keys = list(within.order_by().values_list("payment_id", flat=True)[: MOST_REVERSALS + 1])
    if len(keys) > MOST_REVERSALS:
        return None
    found = Reversal.objects.filter(payment_id__in=list(set(keys))).order_by("payment_id", "occurred_at")
    rows = {key: list(of_payment) for key, of_payment in groupby(found, key=lambda row: row.payment_id)}
    payments = Payment.objects.filter(pk__in=list(rows))
    return [one for payment in payments for one in _of_payment(payment, rows[payment.pk], start, end)]


def _of_payment(payment: Payment, rows: list[Reversal], start: datetime, end: datetime) -> Iterable[MoneyBack]:
    """The differences from one time to the next: together they are what is reversed of the payment."""
    received, currency = refundable_of(payment)
    rate = Decimal(1) if currency == "USD" else rate_of(payment)
    before = Decimal(0)
    for at, _ in groupby(rows, key=lambda row: row.occurred_at.astimezone(UTC)):
        after = total_reversed((row for row in rows if row.occurred_at <= at), received=received)
        if start <= at < end and after != before:
            provider = payment.provider or payment.payment_method or "unknown"
            moved = after - before
            yield MoneyBack(at, payment.pk, provider, currency, moved, round_usd(moved / rate))
        before = after
