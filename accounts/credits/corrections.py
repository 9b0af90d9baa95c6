"""Entries for what other programs did to a balance. The balance stays; the ledger learns of what it did not see."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.utils import timezone

from accounts.credits.posting import Cause, Change, Kind, Movement, read_account, write_entry
from accounts.models import Balance, LedgerEntry
from money.amounts import from_bson, round_usd
from mongo.transactions import run_in_transaction


def write_corrections(
    *, username: str, amounts: dict[Balance, Decimal], actor: str, reason: str, now: datetime | None = None
) -> Movement:
    """Write a `correction` entry for each balance whose amount (USD, signed) is not 0. Changes no balance.

    The caller has computed the amounts in the same transaction (`books.corrections`). Of two corrections at once, which
    both saw the same drift, the number in their operation lets one commit: the other is repeated, and sees none. Raises
    `AccountNotFound` and `AccountNeedsRepair`. Not safe to repeat: every call writes other entries.
    """
    changes = [Change(balance, Kind.CORRECTION, round_usd(amount)) for balance, amount in amounts.items() if amount]

    def run() -> Movement:
        document = read_account(username)
        cause = Cause(f"correction:{username}:{_count(username) + 1}", actor, reason, now or timezone.now())
        return Movement(_write(username, changes, document, cause), is_repeat=False)

    return run_in_transaction(run)


def _write(
    username: str, changes: Sequence[Change], document: dict[str, object], cause: Cause
) -> tuple[LedgerEntry, ...]:
    return tuple(
        write_entry(username, change, from_bson(document.get(change.balance.field)), cause) for change in changes
    )


def _count(username: str) -> int:
    """How many entries of earlier corrections the account has: more with each correction."""
    return LedgerEntry.objects.filter(account_id=username, kind=Kind.CORRECTION).count()
