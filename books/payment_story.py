"""What became of a payment: the money and the credits that came and went back, and every entry that it made.

Reads only. Nothing is added up that cannot be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bson import ObjectId
from django.db.models import QuerySet

from accounts.models import Account, Balance, LedgerEntry
from money.amounts import ZERO
from payments.errors import PaymentNeedsRepair
from payments.models import Payment, Promotion, Reversal, WebhookEvent
from payments.orders.needs_repair import check_payment
from payments.orders.prices import credited_of, refundable_of

MOST_EVENTS = 50
MOST_REVERSALS = 50
MOST_ENTRIES = 200
KINDS_OF_REVERSAL = (LedgerEntry.Kind.REFUND, LedgerEntry.Kind.CHARGEBACK)


@dataclass(frozen=True)
class Sums:
    """What came, what went back of it, and what is left: of money, of credits, or of a bonus."""

    came: Decimal
    went_back: Decimal

    @property
    def net(self) -> Decimal:
        return self.came - self.went_back

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.came + other.came, self.went_back + other.went_back)


@dataclass(frozen=True)
class PaymentStory:
    """A payment with all that belongs to it. Credits, bonus and balances in USD, money in `currency`."""

    is_paid: bool
    is_readable: bool
    money: Sums
    currency: str
    credits: Sums
    bonus: Sums
    promotions: Sequence[Promotion]
    """Those that ran when it was ordered, as they are now."""
    reversals: Sequence[Reversal]
    """Its refunds and disputes, the latest first."""
    events: Sequence[WebhookEvent]
    """The latest first, at most `MOST_EVENTS`."""
    entries: Sequence[LedgerEntry]
    """What it moved, the earliest first. None of a payment of the replaced system, which had no ledger."""
    balance: Decimal | None
    """The OpenHands balance of its account now."""

    @property
    def fell_below_zero(self) -> "Fall | None":
        """The latest refund or dispute of it that left the balance below zero, its bonus included."""
        taken = [one for one in self.entries if one.kind in KINDS_OF_REVERSAL and one.amount < 0]
        last = next((one for one in reversed(taken) if one.balance_after < 0), None)
        if last is None:
            return None
        base = last.operation.removesuffix(":bonus")
        whole = sum((one.amount for one in taken if one.operation.removesuffix(":bonus") == base), ZERO)
        return Fall(account=last.account_id, at=last.created_at, taken=-whole, balance_after=last.balance_after)


@dataclass(frozen=True)
class Fall:
    """A reversal that took off more than was there. USD."""

    account: str
    at: datetime
    taken: Decimal
    balance_after: Decimal

    @property
    def missing(self) -> Decimal:
        """What of it was not there any more."""
        return min(self.taken, -self.balance_after)


def read_story(payment: Payment) -> PaymentStory:
    """Everything that is known of a payment, each by an index."""
    # Nothing can name a payment whose `_id` is something else, as some old documents have it.
    is_named = isinstance(payment.pk, ObjectId)
    events = list(_events_of(payment).order_by("-received_at")[:MOST_EVENTS]) if is_named else []
    of_payment = Reversal.objects.filter(payment_id=payment.pk) if is_named else Reversal.objects.none()
    reversals = list(of_payment.order_by("-occurred_at")[:MOST_REVERSALS])
    account = Account.objects.filter(pk=payment.user_id).first()
    is_known = account is not None and "credits_new" not in account.unreadable
    is_paid, is_readable = payment.status == Payment.Status.SUCCESS, _is_readable(payment)
    money, currency = refundable_of(payment) if is_readable else (ZERO, "")
    counts = is_paid and is_readable
    return PaymentStory(
        is_paid=is_paid,
        is_readable=is_readable,
        money=Sums(money if counts else ZERO, payment.refunded_amount or ZERO),
        currency=currency,
        credits=Sums(credited_of(payment) if counts else ZERO, payment.reversed_credits or ZERO),
        bonus=Sums((payment.bonus or ZERO) if counts else ZERO, payment.reversed_bonus or ZERO),
        promotions=_promotions_at(payment.created_at),
        reversals=reversals,
        events=events,
        entries=_entries_of(payment, events, reversals),
        balance=account.credits_new if account and is_known else None,
    )


def _is_readable(payment: Payment) -> bool:
    try:
        check_payment(payment)
    except PaymentNeedsRepair:
        return False
    return True


def _events_of(payment: Payment) -> QuerySet[WebhookEvent]:
    """Its events; of a part of a split transfer those of the payment that has the whole transfer's id."""
    keys = [payment.pk]
    transaction, mark, _ = (payment.provider_transaction_id or "").rpartition("#")
    if mark:
        whole = Payment.objects.filter(provider=payment.provider, provider_transaction_id=transaction)
        keys += whole.values_list("pk", flat=True)[:1]
    return WebhookEvent.objects.filter(payment_id__in=keys)


def _entries_of(
    payment: Payment, events: Sequence[WebhookEvent], reversals: Sequence[Reversal]
) -> Sequence[LedgerEntry]:
    """The entries of its purchase, and of each refund and dispute, by the operations that made them."""
    own_events = (event for event in events if event.payment_id == payment.pk)  # type: ignore[attr-defined]
    reversed_by = [f"reversal:{event.pk}" for event in own_events]
    reversed_by += [one.reversal_id for one in reversals if one.reversal_id.startswith("manual:")]
    operations = [f"payment:{payment.pk}", *(name + end for name in reversed_by for end in ("", ":bonus"))]
    found = LedgerEntry.objects.filter(operation__in=operations, balance=Balance.OPENHANDS)
    own = [one for one in found[:MOST_ENTRIES] if one.account_id == payment.user_id]
    return sorted(own, key=lambda one: (one.created_at, one.pk))


def _promotions_at(at: datetime | None) -> Sequence[Promotion]:
    return list(Promotion.objects.filter(ends_at__gt=at, starts_at__lte=at)[:5]) if at else []
