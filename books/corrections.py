"""Closes the books of an account that other programs used: what they moved becomes ledger entries, of no effect.

The customer keeps the balance that is there. Without this the account would drift for ever.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from accounts import credits
from accounts.models import Balance, LedgerEntry
from books.reconciliation import Reconciliation, logged_costs, reconcile_account
from mongo.transactions import run_in_transaction

_SINCE = (LedgerEntry.Kind.OPENING, LedgerEntry.Kind.CORRECTION)


@dataclass(frozen=True)
class Drift:
    """What other programs did to one balance, in USD: `amount` of it moved, `logged` is the use that they wrote down.

    `logged` only helps to understand the amount: those programs log what they could not collect, too.
    """

    found: Reconciliation
    logged: Decimal

    @property
    def balance(self) -> Balance:
        return self.found.balance

    @property
    def amount(self) -> Decimal:
        return self.found.drift


def read_drift(username: str) -> list[Drift]:
    """The balances of an account that its records do not explain, read in one snapshot; empty when it adds up.

    An account that has no ledger yet gets its opening entries, and adds up. Raises `Account.DoesNotExist`, and
    `AccountNeedsRepair` where nobody can say what it has. Safe to repeat.
    """

    def run() -> list[Drift]:
        drifting = [result for result in reconcile_account(username) if result.drift]
        if not drifting:
            return []
        logged = logged_costs(_logged_elsewhere(username))
        return [Drift(result, logged[result.balance]) for result in drifting]

    return run_in_transaction(run)


def accept_drift(*, username: str, actor: str, reason: str) -> list[Drift]:
    """Write ledger entries of kind `correction` for the drift of both balances, and return it. No balance changes.

    Computed and written in one transaction, in which requests and purchases of this platform change nothing: each moves
    balance and records together. Raises `Account.DoesNotExist` and `AccountNeedsRepair`. Safe to repeat and to run
    beside itself: a second call finds nothing, and returns an empty list.
    """

    def run() -> list[Drift]:
        found = read_drift(username)
        if found:
            amounts = {drift.balance: drift.amount for drift in found}
            credits.write_corrections(username=username, amounts=amounts, actor=actor, reason=reason)
        return found

    return run_in_transaction(run)


def _logged_elsewhere(username: str) -> dict[str, Any]:
    """The logs of requests without a hold, which only other programs write, since the books closed last."""
    closed = LedgerEntry.objects.filter(account_id=username, kind__in=_SINCE).order_by("-created_at").first()
    query: dict[str, Any] = {"userId": username, "hold": None}
    return query if closed is None else query | {"createdAt": {"$gte": closed.created_at}}
