"""What a decision of staff would do, seen before it is made: it is run, read, and rolled back."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from accounts.models import Account
from money.amounts import ZERO
from mongo.transactions import is_in_transaction, run_in_transaction
from payments.models import Payment


@dataclass(frozen=True)
class Effect:
    """What a decision does to a payment and its account. USD."""

    payment: Payment
    credited: Decimal
    bonus: Decimal
    balance_before: Decimal
    balance_after: Decimal
    expires_before: datetime | None
    expires_after: datetime | None


class _RollBack(Exception):
    """Ends the transaction of a decision that was only to be seen."""

    def __init__(self, payment: Payment, account: Account) -> None:
        super().__init__("only to be seen")
        self.payment, self.account = payment, account


def preview(decide: Callable[[], Payment]) -> Effect:
    """What `decide` (such as a call of `review.match`) would do now; nothing of it is kept. Safe to repeat.

    It is the decision itself that runs, so that it raises here what it would raise then. It has a transaction of its
    own, which is rolled back: within another one it is that of another thread, since transactions do not nest.
    """
    if is_in_transaction():
        with ThreadPoolExecutor(1) as beside:
            return beside.submit(_preview, decide).result()
    return _preview(decide)


def _preview(decide: Callable[[], Payment]) -> Effect:

    def run() -> Payment:
        payment = Payment.objects.get(pk=decide().pk)  # As it is stored then.
        raise _RollBack(payment, Account.objects.get(pk=payment.user_id))

    try:
        run_in_transaction(run)
    except _RollBack as seen:
        payment, after = seen.payment, seen.account
    before = Account.objects.get(pk=payment.user_id)
    return Effect(
        payment=payment,
        credited=payment.credited or ZERO,
        bonus=payment.bonus or ZERO,
        balance_before=before.credits_new,
        balance_after=after.credits_new,
        expires_before=before.expires_at,
        expires_after=after.expires_at,
    )
