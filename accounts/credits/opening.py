"""Accounts whose history begins here: new ones, and what old ones had before their ledger began."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from django.utils import timezone
from pymongo.errors import DuplicateKeyError

from accounts.credits.posting import Cause, Change, Kind, accounts, write_entry
from accounts.errors import UsernameTaken
from accounts.models import Balance, LedgerEntry
from money.amounts import ZERO, round_usd
from mongo.collections import Document, current_session
from mongo.transactions import run_in_transaction

OPENING_REASON = "Balance when the ledger of this account began"


def open_account(*, document: Document, now: datetime) -> None:
    """Insert a new account with two empty balances and an open ledger. `document` is the rest of it, with its `_id`.

    Raises `UsernameTaken` on a second call.
    """
    empty = {field: 0.0 for balance in Balance for field in (balance.field, balance.used_field)}

    def run() -> None:
        try:
            accounts().insert_one({**document, **empty, "holds": {}}, session=current_session())
        except DuplicateKeyError as error:
            raise UsernameTaken(f"There is an account {document['_id']!r} already.") from error
        open_ledger(username=document["_id"], amounts=dict.fromkeys(Balance, ZERO), actor="system", now=now)

    run_in_transaction(run)


def open_ledger(*, username: str, amounts: dict[Balance, Decimal], actor: str, now: datetime | None = None) -> bool:
    """Write the `opening` entries of an account: what it had before this ledger began. Changes no balance. USD.

    Returns False when it was open already. Safe to repeat; the amounts of the first call stay.
    """
    cause = Cause(opening_operation(username), actor, OPENING_REASON, now or timezone.now())

    def run() -> bool:
        if is_ledger_open(username):
            return False
        for balance, amount in amounts.items():
            change = Change(balance, Kind.OPENING, round_usd(amount))
            write_entry(username, change, change.amount, cause)
        return True

    return run_in_transaction(run)


def open_ledgers(*, amounts: Mapping[str, Mapping[Balance, Decimal]], actor: str, now: datetime | None = None) -> None:
    """The same for many accounts, in one insertion; the caller has found in this transaction that none is open. USD.

    Raises `IntegrityError` if one is open by then, and opens none.
    """
    now = now or timezone.now()
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            account_id=username,
            balance=balance,
            kind=Kind.OPENING,
            amount=round_usd(amount),
            balance_after=round_usd(amount),
            actor=actor,
            reason=OPENING_REASON,
            operation=opening_operation(username),
            created_at=now,
        )
        for username, balances in amounts.items()
        for balance, amount in balances.items()
    )


def without_ledger(usernames: Sequence[str]) -> list[str]:
    """Those of these accounts that have no `opening` entries yet, in their order."""
    operations = {opening_operation(username): username for username in usernames}
    found = LedgerEntry.objects.filter(operation__in=list(operations)).values_list("operation", flat=True)
    is_open = {operations[operation] for operation in found}
    return [username for username in usernames if username not in is_open]


def is_ledger_open(username: str) -> bool:
    """Whether the account has its `opening` entries, so that its records explain its balances."""
    return LedgerEntry.objects.filter(operation=opening_operation(username)).exists()


def opening_operation(username: str) -> str:
    """The operation of an account's `opening` entries."""
    return f"opening:{username}"
